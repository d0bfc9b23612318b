package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// idle checks that no request holds anything.
func (g *rig) idle() {
	g.t.Helper()
	s := g.server
	for name, l := range map[string]*limiter{
		"bodies": s.bodies.budget.common, "small bodies": s.bodies.budget.reserve,
		"answers": s.answers.common, "small answers": s.answers.reserve, "turns": s.parsing, "searches": s.searching,
	} {
		if !l.sem.TryAcquire(l.size) {
			g.t.Errorf("%s were not given back", name)
			continue
		}
		l.sem.Release(l.size)
	}
}

// impatient makes refusals come at once.
func (g *rig) impatient() {
	for _, b := range []*budget{g.server.bodies.budget, g.server.answers} {
		b.common.wait, b.reserve.wait = 0, 0
	}
	g.server.parsing.wait, g.server.searching.wait = 0, 0
}

// hold takes all that is left of a limiter until the returned function is called.
func hold(t *testing.T, l *limiter) (release func()) {
	t.Helper()
	if !l.sem.TryAcquire(l.size) {
		t.Fatal("in use")
	}
	return func() { l.sem.Release(l.size) }
}

// attest logs an entry with an attestation of size bytes; the first one's are zeros.
func (l *fakeLog) attest(t testing.TB, size int) {
	t.Helper()
	body := fmt.Appendf(nil, `{"kind":"other","spec":%d}`, len(l.leaves))
	data := bytes.Repeat([]byte{byte(len(l.leaves))}, size)
	if _, err := l.Add(context.Background(), tlog.Leaf{Body: body, Attestation: data}); err != nil {
		t.Fatal(err)
	}
}

// stalledBody is a body that sends its text and then nothing until done is closed.
type stalledBody struct {
	text  io.Reader
	stall chan<- struct{} // told when the text is read
	done  <-chan struct{}
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if n, _ := b.text.Read(p); n > 0 {
		return n, nil
	}
	b.stall <- struct{}{}
	<-b.done
	return 0, io.ErrUnexpectedEOF
}

// TestBodiesThatDoNotArrive: any number of requests that only promise a body leave
// room for others.
func TestBodiesThatDoNotArrive(t *testing.T) {
	g := newRig(t, nil, func(c *Config) { c.MaxBodies, c.MaxBody = 1<<20, 100<<10 })
	stall, done := make(chan struct{}), make(chan struct{})
	answered := make(chan struct{})
	const n = 1000
	for i := range n {
		go func() {
			defer func() { answered <- struct{}{} }()
			r := httptest.NewRequest("POST", "/api/v1/log/entries", &stalledBody{strings.NewReader(strings.Repeat("{", i%2)), stall, done})
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = -1
			g.server.ServeHTTP(httptest.NewRecorder(), r)
		}()
	}
	for range n {
		<-stall
	}
	g.want(201, 0, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0])
	g.want(201, 0, "POST", "/api/v1/log/entries", proposals(t, "dsse-0.0.1.json")[0])
	close(done)
	for range n {
		select { // the drain of a refused body stalls again
		case <-stall:
		case <-answered:
			continue
		}
		<-answered
	}
	g.idle()
}

// TestBodyBudget: when large bodies hold all the memory for them, another is
// refused as busy, and small ones go on.
func TestBodyBudget(t *testing.T) {
	g := newRig(t, nil)
	g.impatient()
	budget := g.server.bodies.budget
	release := hold(t, budget.common)
	small, large := "{}"+strings.Repeat(" ", 10_000), "{}"+strings.Repeat(" ", 20_000)
	g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", small)
	w := g.want(503, 503, "POST", "/api/v1/log/entries/retrieve", large)
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("headers %v", w.Header())
	}
	releaseSmall := hold(t, budget.reserve)
	g.want(503, 503, "POST", "/api/v1/log/entries/retrieve", small)
	g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", "{}")
	release()
	releaseSmall()
	g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", large)
	g.idle()
}

// TestRetrieveOnce: an entry that a query names many times, in all ways there are,
// is answered as often, but read once.
func TestRetrieveOnce(t *testing.T) {
	g := newRig(t, nil)
	g.active().attest(t, 1000)
	g.active().fill(t, 1)
	hash := g.active().leaves[0].Hash
	id := string(g.server.shards[0].entryID(nil, hash))
	w := g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"entryUUIDs":["`+strings.Repeat(id+`","`, 5)+hash.String()+`"],"logIndexes":[0,1,0,1]}`)
	var list []json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 10 {
		t.Fatalf("%d entries, not 10: %v", len(list), err)
	}
	for i, want := range []int64{0, 0, 0, 0, 0, 0, 0, 1, 0, 1} {
		if _, e := g.verifyJSON(list[i]); e.LogIndex != want {
			t.Errorf("entry %d of the answer is that at %d, not %d", i, e.LogIndex, want)
		}
	}
	if n := g.active().attestations; n != 1 {
		t.Errorf("attestation was read %d times", n)
	}
	g.idle()
}

// slowWriter is a connection whose client does not read: it holds the answer up.
type slowWriter struct {
	*httptest.ResponseRecorder
	stall chan<- struct{}
	done  <-chan struct{}
}

func (w slowWriter) Write(b []byte) (int, error) {
	w.stall <- struct{}{}
	<-w.done
	return w.ResponseRecorder.Write(b)
}

// TestSlowReaders: what answers hold is bounded. When large ones hold all there is,
// another is refused as busy, and small ones go on.
func TestSlowReaders(t *testing.T) {
	const size, n = 100 << 10, 30
	g := newRig(t, nil, func(c *Config) { c.MaxBody = 1000 })
	g.server.answers = newBudget(8*size, smallAnswer, "too many large answers are being sent; try again")
	g.impatient()
	g.active().attest(t, size)
	g.active().fill(t, 1)
	stall, done, answered := make(chan struct{}), make(chan struct{}), make(chan int, n)
	for range n {
		w := slowWriter{httptest.NewRecorder(), stall, done}
		go func() {
			g.server.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/log/entries?logIndex=0", nil))
			answered <- w.Code
		}()
		<-stall // its answer or its refusal
	}
	rest := g.server.answers.account()
	for rest.try(1) { // what is too little for one more
	}
	g.want(503, 503, "GET", "/api/v1/log/entries?logIndex=0", "")
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=1", ""))
	g.want(200, 0, "POST", "/api/v1/index/retrieve", `{"email":"nobody@example.test"}`)
	rest.close()
	go func() {
		for range stall { // the pieces after the first
		}
	}()
	close(done)
	codes := map[int]int{}
	for range n {
		codes[<-answered]++
	}
	close(stall)
	if codes[200] == 0 || codes[200] > 6 || codes[503] != n-codes[200] {
		t.Errorf("answers by status: %v; there is room for at most 6", codes)
	}
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", ""))
	g.idle()
}

// TestAttestationsInOneAnswer: an answer with many entries has attestations up to a
// limit, and says so; the first is always there.
func TestAttestationsInOneAnswer(t *testing.T) {
	for _, x := range []struct{ size, with int }{{1000, 4}, {maxAttestations / 2, 2}, {maxAttestations/3 + 1, 2}, {maxAttestations, 1}, {maxAttestations + 1, 1}} {
		g := newRig(t, nil)
		for range 4 {
			g.active().attest(t, x.size)
		}
		w := g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[0,1,2,3]}`)
		var list []json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 4 {
			t.Fatalf("%d entries, not 4: %v", len(list), err)
		}
		for i, raw := range list {
			if _, e := g.verifyJSON(raw); (e.Attestation != nil) != (i < x.with) {
				t.Errorf("attestations of %d bytes, entry %d: attestation there: %v", x.size, i, e.Attestation != nil)
			}
		}
		want := ""
		if x.with < 4 {
			want = fmt.Sprintf("left out of %d entries; over 2097152 bytes in one answer", 4-x.with)
		}
		if got := w.Header().Get(headerAttestation); got != want {
			t.Errorf("header %q, not %q", got, want)
		}
		g.idle()
	}
}

// TestLargeAnswers holds answers that are written in pieces against encoding/json.
func TestLargeAnswers(t *testing.T) {
	for _, size := range []int{chunk - 1, chunk, chunk + 1, piece, 5*chunk + 2} {
		g := newRig(t, nil)
		g.active().attest(t, size)
		_, e := g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", ""))
		if e.Attestation == nil || !bytes.Equal(e.Attestation.Data, g.active().data[sha256.Sum256(make([]byte, size))]) {
			t.Errorf("attestation of %d bytes is not the one that was stored", size)
		}
		g.idle()
	}
}

// TestFetch: what turns out larger than guessed is let go while there is no room for
// it.
func TestFetch(t *testing.T) {
	b := newBudget(1000, 100, "busy")
	other := b.account()
	if !other.try(700) {
		t.Fatal("no room")
	}
	go func() {
		for b.common.sem.TryAcquire(0) { // until somebody waits
			runtime.Gosched()
		}
		other.close()
	}()
	a := b.account()
	reads := 0
	got, err := fetch(t.Context(), a, 10, func() (string, int64, error) {
		reads++
		return "x", 300, nil
	})
	if got != "x" || err != nil || reads != 2 || a.held() != 300 {
		t.Errorf("%q, %v after %d reads; %d held", got, err, reads, a.held())
	}
	if _, err := fetch(t.Context(), a, 500, func() (string, int64, error) { return "", 100, nil }); err != nil || a.common != 400 {
		t.Errorf("%v; %d held, not 400", err, a.common)
	}
	b.common.wait = 0
	c := b.account()
	if _, err := fetch(t.Context(), c, 1, func() (string, int64, error) { return "", 701, nil }); err == nil {
		t.Error("more than there is")
	} else if f := classify(t.Context(), err); f.status != 503 {
		t.Errorf("status %d, not 503", f.status)
	}
	a.close()
	c.close()
	if _, err := fetch(t.Context(), c, 1, func() (string, int64, error) { return "", 5000, nil }); err != nil {
		t.Errorf("more than the whole budget, alone: %v", err)
	}
}

// TestTurns: proposals are parsed by as many goroutines as there are processors;
// one more is refused as busy, and what needs no parsing goes on.
func TestTurns(t *testing.T) {
	g := newRig(t, nil)
	g.impatient()
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	release := hold(t, g.server.parsing)
	for _, w := range []*httptest.ResponseRecorder{
		g.want(503, 503, "POST", "/api/v1/log/entries", p),
		g.want(503, 503, "POST", "/api/v1/log/entries/retrieve", `{"entries":[`+p+`]}`),
	} {
		if w.Header().Get("Retry-After") != "1" {
			t.Errorf("headers %v", w.Header())
		}
	}
	g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[0]}`)
	release()
	g.want(201, 0, "POST", "/api/v1/log/entries", p)
	g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"entries":[`+p+`]}`)
	g.idle()

	// Nothing is parsed for a client that went away.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.server.refs(ctx, openapi.SearchLogQuery{Entries: []json.RawMessage{[]byte(p)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestDamage: whatever storage returns that is not in the tree is not signed, is
// told to the operator, and counted.
func TestDamage(t *testing.T) {
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	for name, damage := range map[string]func(l *fakeLog){
		"body":          func(l *fakeLog) { l.leaves[1].Body = []byte(`{"forged":true}`) },
		"body and hash": func(l *fakeLog) { l.leaves[1].Body = []byte(`{}`); l.leaves[1].Hash = tlog.LeafHash([]byte(`{}`)) },
		"hash":          func(l *fakeLog) { l.leaves[1].Hash[0] ^= 1 },
		"index":         func(l *fakeLog) { l.leaves[1].Index = 2 },
		"other leaf":    func(l *fakeLog) { l.leaves[1] = l.leaves[2]; l.leaves[1].Index = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			g := newRig(t, nil, logTo(&log))
			g.active().fill(t, 5)
			g.active().freeze()
			damage(g.active())
			g.want(500, 500, "GET", "/api/v1/log/entries?logIndex=1", "")
			g.want(500, 500, "POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[0,1]}`)
			if n := g.counter("tallystick_damaged_entries_total"); n != 2 {
				t.Errorf("%v damaged entries counted, not 2", n)
			}
			if !strings.Contains(log.String(), "DAMAGE") || g.active().signed > 1 {
				t.Errorf("%d signatures; log: %s", g.active().signed, log.String())
			}
			g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", ""))
			g.idle()
		})
	}
	t.Run("new and duplicate", func(t *testing.T) {
		var log bytes.Buffer
		g := newRig(t, nil, logTo(&log))
		g.active().fill(t, 5)
		lie := lyingLog{g.active(), storage.Added{Index: 2, Time: 1, Duplicate: true, View: g.active().view(5)}}
		g.server.shards[0].log = &lie
		for _, lie.added.Duplicate = range []bool{true, false} {
			if w := g.want(500, 500, "POST", "/api/v1/log/entries", p); w.Header().Get("Location") != "" {
				t.Error("Location of a lie")
			}
		}
		if n := g.counter("tallystick_damaged_entries_total"); n != 2 || g.active().signed != 0 {
			t.Errorf("%v damaged entries counted, %d signatures", n, g.active().signed)
		}
	})
}

// lyingLog says that every entry is in the tree already.
type lyingLog struct {
	*fakeLog
	added storage.Added
}

func (l *lyingLog) Add(context.Context, tlog.Leaf) (storage.Added, error) { return l.added, nil }
