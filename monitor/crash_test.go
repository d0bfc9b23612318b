package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/client"
)

// memDisk is a disk whose machine can stop at any operation. What was not synced then may be lost.
type memDisk struct {
	names  map[string]*memData
	synced map[string]*memData // the names as they are durable
	// ops counts operations. At operation stop the machine stops, or, with once, only this operation fails.
	ops, stop int
	once      bool
	torn      bool // the operation that fails does half of its work
}

type memData struct{ data, synced []byte }

var errStopped = errors.New("the machine has stopped")

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memData{}, synced: map[string]*memData{}, stop: -1}
}

// op reports whether an operation fails.
func (d *memDisk) op() error {
	d.ops++
	if d.ops == d.stop || d.ops > d.stop && d.stop >= 0 && !d.once {
		return errStopped
	}
	return nil
}

// restarted returns the disk as it is after the machine has stopped: all that was written is there (as if the process alone had been killed), or only what
// was synced.
func (d *memDisk) restarted(all bool) *memDisk {
	from, out := d.synced, newMemDisk()
	if all {
		from = d.names
	}
	for name, f := range from {
		data := f.synced
		if all {
			data = f.data
		}
		c := &memData{bytes.Clone(data), bytes.Clone(data)}
		out.names[name], out.synced[name] = c, c
	}
	return out
}

func (d *memDisk) open(name string, flag int) (file, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	f := d.names[name]
	if f == nil {
		if flag&os.O_CREATE == 0 {
			return nil, fs.ErrNotExist
		}
		f = &memData{}
		d.names[name] = f
	}
	if flag&os.O_TRUNC != 0 {
		f.data = nil
	}
	return &memFile{d, f}, nil
}

func (d *memDisk) rename(from, to string) error {
	if err := d.op(); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *memDisk) sync() error {
	if err := d.op(); err != nil {
		return err
	}
	d.synced = maps.Clone(d.names)
	return nil
}

type memFile struct {
	d *memDisk
	f *memData
}

func (f *memFile) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(f.f.data).ReadAt(p, at)
}

func (f *memFile) WriteAt(p []byte, at int64) (int, error) {
	err := f.d.op()
	if err != nil {
		if !f.d.torn {
			return 0, err
		}
		p = p[:len(p)/2]
	}
	for int64(len(f.f.data)) < at {
		f.f.data = append(f.f.data, 0)
	}
	f.f.data = append(f.f.data[:at:at], append(bytes.Clone(p), f.f.data[min(int64(len(f.f.data)), at+int64(len(p))):]...)...)
	return len(p), err
}

func (f *memFile) Truncate(n int64) error {
	if err := f.d.op(); err != nil {
		return err
	}
	f.f.data = bytes.Clone(f.f.data[:n])
	return nil
}

func (f *memFile) Sync() error {
	if err := f.d.op(); err != nil {
		return err
	}
	f.f.synced = bytes.Clone(f.f.data)
	return nil
}

func (f *memFile) Size() (int64, error) { return int64(len(f.f.data)), f.d.op() }
func (f *memFile) Close() error         { return f.d.op() }

// direct makes requests of a handler without a network.
type direct struct{ h http.Handler }

func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	d.h.ServeHTTP(w, r)
	return w.Result(), nil
}

// history is what a monitor sees: an honest log, a fork of it, the honest log again, grown.
type history struct {
	steps []http.Handler
	at    *direct
	watch Log
	opts  Options
	ops   int // how many operations of the disk the last life had
}

func newHistory(t *testing.T) *history {
	w := newWorld(t, oldEntries(), newEntries(5))
	forked := newRealLog(t, w.key, oldEntries(), numbered("forked", 0, 6))
	grown := newRealLog(t, w.key, oldEntries(), append(newEntries(8), byDev("mine")))
	h := &history{steps: []http.Handler{w.log, forked, grown}, at: &direct{}, watch: w.watch, opts: w.opts}
	h.watch.Receipts = receipts(t, w.log.entry(t, 4))
	raw, err := client.NewRaw("http://log.test", client.Options{HTTP: &http.Client{Transport: h.at}, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	h.opts.Source, h.opts.RoundEntries, h.opts.MaxLeaves = raw, 4, 3
	return h
}

// outcome is what is kept when a history is over.
type outcome struct {
	journal string
	active  int
	read    int64
	kept    int
}

// visible returns the journal as a sink sees it.
func visible(m *Monitor) (string, error) {
	var b strings.Builder
	for r, err := range m.Alerts(0) {
		if err != nil {
			return "", err
		}
		b.Write(r.JSON)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// live lets a monitor live through a history. After what is no crash it goes on by itself; after a crash again returns the disk on
// which another one starts.
func (h *history) live(t *testing.T, d *memDisk, again func(*memDisk) *memDisk) outcome {
	seen := "" // what a sink has seen, and must never miss again
	var m *Monitor
	start := func() {
		for {
			o := h.opts
			o.disk = d
			var err error
			if m, err = Open(h.watch, o); err == nil {
				break
			}
			if !errors.Is(err, errStopped) {
				t.Fatal(err)
			}
			d = again(d)
		}
		if n := int64(len(d.names["test.alerts.jsonl"].data)); n != m.journal.length.Load() {
			t.Fatalf("the journal's file has %d bytes, not %d", n, m.journal.length.Load())
		}
		now, err := visible(m)
		if err != nil || !strings.HasPrefix(now, seen) {
			t.Fatalf("a sink has seen\n%s\nand now\n%s\n%v", seen, now, err)
		}
	}
	start()
	for _, step := range h.steps {
		h.at.h = step
		for {
			r, err := m.Round(t.Context())
			now, bad := visible(m)
			if bad != nil || !strings.HasPrefix(now, seen) {
				t.Fatalf("a sink has seen\n%s\nand now\n%s\n%v", seen, now, bad)
			}
			seen = now
			if err == nil && !r.More {
				break
			}
			if err != nil && !errors.Is(err, errStopped) {
				t.Fatal(err)
			}
			if err != nil && !d.once {
				d = again(d)
				start()
			}
		}
	}
	s := m.Status()
	d.stop = -1
	h.ops = d.ops
	for _, a := range records(t, m) {
		if a.Evidence == "" {
			continue
		}
		if data, _, err := m.Evidence(a.Evidence); err != nil {
			t.Errorf("evidence %s: %v", a.Evidence, err)
		} else if e, err := ParseEvidence(data); err != nil {
			t.Error(err)
		} else if f, err := e.Verify(h.watch.Trust); err != nil || !f.Proved && f.Given == "" {
			t.Errorf("evidence: %+v, %v", f, err)
		}
	}
	return outcome{seen, len(s.Active), s.Trees[1].Read, s.ReceiptsKept}
}

// Whenever the machine stops, or an operation fails, no alert is lost or doubled, and what was seen by a sink stays.
func TestStops(t *testing.T) {
	h := newHistory(t)
	whole := newMemDisk()
	want := h.live(t, whole, nil)
	if want.active != 0 || want.read != 9 || want.kept != 1 || strings.Count(want.journal, "\n") != 12+1+2 {
		t.Fatalf("without a stop: %+v", want)
	}
	ops := h.ops
	t.Logf("%d operations", ops)
	for stop := 1; stop <= ops; stop++ {
		for _, mode := range []string{"lost", "kept", "torn", "fails once"} {
			d := newMemDisk()
			d.stop, d.once, d.torn = stop, mode == "fails once", mode == "torn"
			if mode == "fails once" {
				d.torn = true
			}
			stops := 0
			got := h.live(t, d, func(d *memDisk) *memDisk {
				stops++
				return d.restarted(mode != "lost")
			})
			if got != want {
				t.Fatalf("%s at operation %d: %+v\nnot %+v", mode, stop, got, want)
			}
			if mode != "fails once" && stops != 1 {
				t.Errorf("%s at operation %d: stopped %d times", mode, stop, stops)
			}
		}
	}
}

// Files that do not belong together are told apart from those that do.
func TestForeignFiles(t *testing.T) {
	h := newHistory(t)
	h.at.h = h.steps[0]
	open := func(change func(d *memDisk)) (*Monitor, error) {
		d := newMemDisk()
		h.live(t, d, nil)
		d = d.restarted(true)
		change(d)
		o := h.opts
		o.disk = d
		return Open(h.watch, o)
	}
	const state, journal = "test.state.json", "test.alerts.jsonl"
	edit := func(name, old, new string) func(*memDisk) {
		return func(d *memDisk) {
			f := d.names[name]
			if !bytes.Contains(f.data, []byte(old)) {
				t.Fatalf("there is no %q in %s", old, f.data)
			}
			f.data = bytes.Replace(f.data, []byte(old), []byte(new), 1)
		}
	}
	for name, change := range map[string]func(d *memDisk){
		"no state":                func(d *memDisk) { delete(d.names, state) },
		"no journal":              func(d *memDisk) { delete(d.names, journal) },
		"a shorter journal":       func(d *memDisk) { d.names[journal].data = d.names[journal].data[:100] },
		"another journal":         func(d *memDisk) { d.names[journal].data = bytes.Repeat([]byte("x"), 1<<16) },
		"an empty state":          func(d *memDisk) { d.names[state].data = nil },
		"half a state":            func(d *memDisk) { d.names[state].data = d.names[state].data[:200] },
		"another form":            edit(state, "state 1", "state 2"),
		"more read than there is": edit(state, `"read": 9`, `"read": 17`),
		"altered checkpoint":      edit(state, `1311768467294899695\n9\n`, `1311768467294899695\n8\n`),
		"altered peak": func(d *memDisk) {
			f := d.names[state]
			at := bytes.Index(f.data, []byte(`"peaks"`)) + 20
			f.data[at] ^= 1
		},
		"unknown member": edit(state, `"raised"`, `"risen"`),
		"closed":         edit(state, `"closed": true`, `"closed": false`),
	} {
		if m, err := open(change); err == nil {
			m.Close()
			t.Errorf("%s: was opened", name)
		} else {
			t.Log(name+":", err)
		}
	}
	if m, err := open(func(*memDisk) {}); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
	h.watch.Trust = trustIn(t, testKey("another log"))
	h.watch.Receipts = nil
	d := newMemDisk()
	o := h.opts
	o.disk = d
	if m, err := Open(h.watch, o); err != nil {
		t.Error(err)
	} else {
		m.Close()
	}
}

const envVictim = "TALLYSTICK_MONITOR_VICTIM"

// TestVictim is no test, but the process that TestKilled kills: it watches a log until it is killed.
func TestVictim(t *testing.T) {
	dir, url, ok := strings.Cut(os.Getenv(envVictim), "|")
	if !ok {
		return
	}
	w := &world{t: t, key: testKey("log"), proxy: &proxy{Server: &httptest.Server{URL: url}}, dir: dir}
	w.watch = Log{Name: "test", URL: url, Trust: trustIn(t, w.key)}
	w.opts = Options{Rules: rules(t, testRules), RoundEntries: 3, MaxLeaves: 3, Now: newClock().Now}
	m := w.open()
	for {
		if _, err := m.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A monitor that is killed again and again, at any moment, while the log grows, ends up with each entry in its journal once.
func TestKilled(t *testing.T) {
	w := newWorld(t, numbered("old", 0, 5), numbered("new", 0, 5))
	total := 10
	for n := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
		cmd.Env = append(os.Environ(), envVictim+"="+w.dir+"|"+w.proxy.URL)
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, io.Discard
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It is killed when it has asked for so much, which is another moment each time.
		for asked := 0; asked < 3+2*n; {
			w.log.add(t, numbered("new", total-5, total-4)...)
			total++
			asked += len(w.proxy.requests())
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil || strings.Contains(out.String(), "FAIL") {
			t.Fatalf("it ended by itself: %s", out)
		}
	}
	m := w.open()
	w.quiet(m)
	got := matched(t, m, "all")
	if fmt.Sprint(got) != fmt.Sprint(upTo(int64(total))) {
		t.Errorf("of %d entries: %v", total, got)
	}
}

// After an operation that failed, what is on disk decides: it may have been done all the same. Then the log does something else, and the machine stops.
func TestFailsThenStops(t *testing.T) {
	h := newHistory(t)
	h.opts.RoundEntries = 0
	malformed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("?", 1000)) })
	begin := func(d *memDisk) *Monitor {
		o := h.opts
		o.disk = d
		m, err := Open(h.watch, o)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for fail := 1; ; fail++ {
		failed := true
		for stop := 1; stop <= 20; stop++ {
			d := newMemDisk()
			h.at.h = h.steps[0]
			m := begin(d)
			if _, err := m.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.ops, d.stop, d.once = 0, fail, true
			h.at.h = h.steps[1]
			_, err := m.Round(t.Context())
			failed = err != nil
			d.ops, d.stop, d.once = 0, stop, false
			h.at.h = malformed
			m.Round(t.Context())
			m = begin(d.restarted(true))
			alerts := map[string]Kind{}
			for _, a := range records(t, m) {
				if alerts[a.ID] != "" {
					t.Errorf("failed at %d, stopped at %d: alert %s is there twice", fail, stop, a.ID)
				}
				alerts[a.ID] = a.Kind
			}
			for _, a := range m.Status().Active {
				if alerts[a.ID] != a.Kind {
					t.Errorf("failed at %d, stopped at %d: alarm %s has no alert", fail, stop, a.Kind)
				}
			}
		}
		if !failed {
			break
		}
	}
}
