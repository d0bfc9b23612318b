package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tallystick/tallystick/monitor"
	"github.com/tallystick/tallystick/monitor/notify"
)

// monitoring is a monitor that runs in the test's process.
type monitoring struct {
	metrics string // URL
	out     *output
	end     func() int
}

// startMonitor watches the log at a URL.
func startMonitor(t *testing.T, url string, args ...string) *monitoring {
	t.Helper()
	rules := writeFile(t, "rules.yaml", fmt.Sprintf("logs: [{name: mine, url: %q, logKey: %q}]\nrules: [{name: any, when: {any: true}}]\n",
		url, writeFile(t, "log.pub", fetch(t, url+"/api/v1/log/publicKey"))))
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	m := &monitoring{out: new(output)}
	p := program{Stdout: m.out, Stderr: w}
	done := make(chan int, 1)
	go func() {
		defer w.Close()
		done <- p.Run(ctx, append([]string{"monitor", rules, "--state", t.TempDir(), "--metrics-listen=127.0.0.1:0", "--interval=10ms"}, args...))
	}()
	m.end = sync.OnceValue(func() int { cancel(); return <-done })
	t.Cleanup(func() { m.end() })
	lines := bufio.NewScanner(r)
	for read := false; !(m.metrics != "" && read) && lines.Scan(); {
		if found := regexp.MustCompile(`msg="metrics are served" url=(\S+)`).FindStringSubmatch(lines.Text()); found != nil {
			m.metrics = found[1]
		}
		read = read || strings.Contains(lines.Text(), "everything that there is was read")
	}
	go io.Copy(io.Discard, r)
	if m.metrics == "" {
		t.Fatal("it did not start")
	}
	return m
}

// A monitor ends when it is asked to, and leaves nothing behind.
func TestMonitorEnds(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	url, end := serveInMemory(t)
	m := startMonitor(t, url)
	fetch(t, strings.Replace(m.metrics, "metrics", "healthz", 1))
	if text := fetch(t, m.metrics); !strings.Contains(text, "\ntallystick_monitor_consistent_entries{") {
		t.Error(text)
	}
	if code := m.end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	end()
	http.DefaultClient.CloseIdleConnections()
}

// hookServer receives alerts. It fails at first, and counts what it takes, by ID.
type hookServer struct {
	*httptest.Server
	mu    sync.Mutex
	fails int
	got   map[string]int
	body  map[string]string
	came  chan struct{}
}

func startHooks(t *testing.T, fails int) *hookServer {
	h := &hookServer{fails: fails, got: map[string]int{}, body: map[string]string{}, came: make(chan struct{}, 1)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.fails > 0 || err != nil {
			h.fails--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		id := r.Header.Get("Idempotency-Key")
		if was := h.body[id]; was != "" && was != string(body) {
			t.Errorf("alert %s is first %s, then %s", id, was, body)
		}
		h.got[id]++
		h.body[id] = string(body)
		select {
		case h.came <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// ids returns the IDs of what it took.
func (h *hookServer) ids() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.got {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// await waits until it has so many alerts.
func (h *hookServer) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(deadline)
	for len(h.ids()) < n {
		select {
		case <-h.came:
		case <-timeout:
			t.Fatalf("%d alerts came, not %d", len(h.ids()), n)
		}
	}
}

func (h *hookServer) config(t *testing.T) string {
	return fmt.Sprintf("webhooks: [{name: test, url: %q, secretFile: %q}]\n", h.URL, writeFile(t, "secret", strings.Repeat("s", 32)))
}

// journaled returns the alerts in a journal, and says if one of them is there twice.
func journaled(t *testing.T, path string) (ids []string, indexes []int64) {
	t.Helper()
	for line := range bytes.Lines(readFile(t, path)) {
		var a monitor.Alert
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if slices.Contains(ids, a.ID) {
			t.Errorf("alert %s is there twice", a.ID)
		}
		ids = append(ids, a.ID)
		if a.Match != nil {
			indexes = append(indexes, a.Match.LogIndex)
		} else {
			t.Errorf("there is an alarm: %s", line)
		}
	}
	slices.Sort(ids)
	return ids, indexes
}

// A server watches its own log: what the rules ask for is delivered, shown on its page, and not found again after a restart.
func TestServeMonitor(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	hooks := startHooks(t, 1)
	defer hooks.Close()
	dir := t.TempDir()
	rules := writeFile(t, "rules.yaml", hooks.config(t)+"rules: [{name: any, when: {any: true}, logs: [self]}]\n")
	args := []string{"--storage=sqlite:", "--data-dir", dir, "--monitor", rules, "--monitor-interval=10ms"}
	url, end := serveInMemory(t, args...)
	pool := proposals(t, 30)
	post(t, url, pool[:20]...)
	hooks.await(t, 20)
	metrics := fetch(t, url+"/metrics")
	for _, want := range []string{`tallystick_monitor_alerts_total{log="self",rule="any"} 20`, `tallystick_monitor_read_entries{log="self"} 20`, `tallystick_monitor_deliveries_total{log="self",result="failed",sink="webhook-test"} 1`} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			t.Errorf("%s is not in the metrics", want)
		}
	}
	if page := fetch(t, url+"/log"); !strings.Contains(page, "All in order") {
		t.Errorf("the page does not say how the monitor is: %s", page)
	}
	if code := end(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	url, end = serveInMemory(t, args...)
	post(t, url, pool[20:]...)
	hooks.await(t, 30)
	end()
	ids, indexes := journaled(t, filepath.Join(dir, "monitor", "self.alerts.jsonl"))
	if want := sequence(30); !slices.Equal(indexes, want) {
		t.Errorf("found %v", indexes)
	}
	if !slices.Equal(ids, hooks.ids()) {
		t.Errorf("the journal has %v, and %v were delivered", ids, hooks.ids())
	}
	http.DefaultClient.CloseIdleConnections()
}

func sequence(n int64) (all []int64) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// post logs entries, one after the other.
func post(t *testing.T, url string, proposals ...[]byte) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, p := range proposals {
		resp, err := client.Post(url+"/api/v1/log/entries", "application/json", bytes.NewReader(p))
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated || err != nil {
			t.Errorf("%s: %v: %s", resp.Status, err, body)
			return
		}
	}
}

// Whatever is wrong with the rules of a server's own monitor ends the start.
func TestServeMonitorCannot(t *testing.T) {
	key := writeFile(t, "log.pub", foreignP256)
	for rules, want := range map[string]string{
		"rules: []\n": "rules",
		"rules: [{name: a, when: {any: true}, logs: [other]}]\n":                 `there is no log "other"`,
		"logs: [{name: a, url: 'http://127.0.0.1:1', logKey: " + key + "}]\n":    "a server watches its own log only",
		"logs: [{name: self, url: 'http://127.0.0.1:1', logKey: " + key + "}]\n": "two logs have the name",
		"typo: 1\n": "typo",
	} {
		code, _, errs := run(t, nil, "serve", "--storage=memory:", "--listen=127.0.0.1:0", "--data-dir", t.TempDir(), "--monitor", writeFile(t, "rules.yaml", rules))
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", rules, code, errs)
		}
	}
	if code, _, errs := run(t, nil, "serve", "--storage=memory:", "--listen=127.0.0.1:0", "--data-dir", t.TempDir(), "--monitor", "none.yaml"); code != exitFailure || !strings.Contains(errs, "no such file") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// A monitor is killed at random moments while its log grows. Afterwards, each entry is in the journal exactly once, and the webhook
// got each alert.
func TestMonitorKill(t *testing.T) {
	const kills, entries = 12, 400
	binary := buildBinary(t)
	url, end := serveInMemory(t)
	defer end()
	hooks := startHooks(t, 3)
	state := t.TempDir()
	rules := writeFile(t, "rules.yaml", fmt.Sprintf("logs: [{name: mine, url: %q, logKey: %q}]\nrules: [{name: any, when: {any: true}}]\n%s",
		url, writeFile(t, "log.pub", fetch(t, url+"/api/v1/log/publicKey")), hooks.config(t)))
	pool := proposals(t, entries)
	grown := make(chan struct{})
	go func() {
		defer close(grown)
		post(t, url, pool...)
	}()
	printed := map[string]bool{}
	var out bytes.Buffer
	command := func(args ...string) *exec.Cmd {
		c := exec.Command(binary, append([]string{"monitor", rules, "--state", state, "--interval", "1ms"}, args...)...)
		c.Stdout = &out
		return c
	}
	for range kills {
		c := command()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond) // the random moment
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait()
	}
	<-grown
	var exit *exec.ExitError
	if err := command("--once").Run(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitAlerts) {
		t.Fatal(err)
	}
	ids, indexes := journaled(t, filepath.Join(state, "mine.alerts.jsonl"))
	if !slices.Equal(indexes, sequence(entries)) {
		t.Errorf("found %v", indexes)
	}
	if !slices.Equal(ids, hooks.ids()) {
		t.Errorf("the journal has %d alerts, and %d were delivered", len(ids), len(hooks.ids()))
	}
	for line := range bytes.Lines(out.Bytes()) {
		for at := range bytes.SplitSeq(line, []byte(`{"id":"`)) { // a line that was cut off is followed by the next
			if len(at) > 32 {
				printed[string(at[:32])] = true
			}
		}
	}
	for _, id := range ids {
		if !printed[id] {
			t.Errorf("alert %s was not printed", id)
		}
	}
	again := 0
	for _, n := range hooks.got {
		again += n - 1
	}
	t.Logf("%d alerts; %d deliveries were repeated", len(ids), again)
	if names, err := os.ReadDir(state); err != nil || len(names) > 8 {
		t.Errorf("%v: what is left: %v", err, names)
	}
}

// What deploy/ starts are commands and settings that there are.
func TestMonitorDeployments(t *testing.T) {
	rules := writeFile(t, "rules.yaml", fmt.Sprintf("logs: [{name: mine, url: 'http://127.0.0.1:1', logKey: %q}]\n", writeFile(t, "log.pub", foreignP256)))
	check := func(env map[string]string, words []string) {
		t.Helper()
		i := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "/rules.yaml") })
		if i < 0 || words[0] != "monitor" {
			t.Fatalf("it runs %q", words)
		}
		words[i] = rules
		if code, out, errs := run(t, env, append(words, "--check")...); code != exitOK || errs != "" || !strings.Contains(out, "log mine") {
			t.Errorf("%q: exit code %d, %s", words, code, errs)
		}
	}
	env, words := map[string]string{}, []string(nil)
	for line := range strings.Lines(string(readFile(t, filepath.Join("..", "..", "deploy", "tallystick-monitor.service")))) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "Environment":
			name, value, _ := strings.Cut(value, "=")
			env[name] = value
		case "ExecStart":
			words = strings.Fields(value)[1:]
		}
	}
	if len(env) != 2 {
		t.Errorf("settings: %v", env)
	}
	check(env, words)

	seen := false
	for _, d := range documents(t, "monitor.yaml") {
		if d["kind"] != "Deployment" {
			continue
		}
		seen = true
		pod := member(d, "spec", "template", "spec")
		container := member(pod, "containers", 0)
		words = nil
		for _, arg := range member(container, "args").([]any) {
			words = append(words, arg.(string))
		}
		var mounts []any
		for _, m := range member(container, "volumeMounts").([]any) {
			mounts = append(mounts, member(m, "mountPath"))
		}
		if !slices.Equal(mounts, []any{"/etc/tallystick", "/var/lib/tallystick"}) || !slices.Contains(words, "--state=/var/lib/tallystick") || !slices.Contains(words, "/etc/tallystick/rules.yaml") {
			t.Errorf("volumes at %v, and %q", mounts, words)
		}
		check(nil, words)
		if member(pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" || member(container, "securityContext", "readOnlyRootFilesystem") != true || member(pod, "automountServiceAccountToken") != false {
			t.Error("the pod may do more than it needs")
		}
		if member(d, "spec", "replicas") != 1 || member(d, "spec", "strategy", "type") != "Recreate" {
			t.Error("two may run at once, of which one cannot lock the state")
		}
	}
	if !seen {
		t.Error("there is no Deployment")
	}
}

// Evidence whose signatures hold, and which contradicts nothing, proves nothing.
func TestHonestEvidence(t *testing.T) {
	url, end := serveInMemory(t)
	defer end()
	key := fetch(t, url+"/api/v1/log/publicKey")
	checkpoint := func() string {
		var log struct{ SignedTreeHead string }
		if err := json.Unmarshal([]byte(fetch(t, url+"/api/v1/log")), &log); err != nil {
			t.Fatal(err)
		}
		return log.SignedTreeHead
	}
	pool := proposals(t, 2)
	post(t, url, pool[0])
	first := checkpoint()
	post(t, url, pool[1])
	for what, second := range map[string]string{"Both checkpoints say the same": first, "Whether one extends the other is not shown": checkpoint()} {
		evidence, err := json.Marshal(object{"format": "tallystick evidence 1", "logKey": key, "checkpoints": object{"first": first, "second": second}})
		if err != nil {
			t.Fatal(err)
		}
		code, out, errs := run(t, nil, "verify", "evidence", writeFile(t, "e.json", string(evidence)), "--log-key", writeFile(t, "log.pub", key))
		if code != exitRefused || !strings.Contains(out, what) || strings.Contains(out, "  ok  ") || !strings.Contains(errs, what) {
			t.Errorf("%s: exit code %d: %s%s", what, code, out, errs)
		}
	}
}

// Whoever writes a file can choose where the tree begins, so that an honest log seems to have another entry where it promised one. That
// is not proved.
func TestMadeUpBrokenPromise(t *testing.T) {
	url, end := serveInMemory(t)
	defer end()
	key := fetch(t, url+"/api/v1/log/publicKey")
	post(t, url, proposals(t, 2)...)
	entry := func(index int) (e map[string]any, uuid string) {
		var all map[string]map[string]any
		if err := json.Unmarshal([]byte(fetch(t, fmt.Sprintf("%s/api/v1/log/entries?logIndex=%d", url, index))), &all); err != nil {
			t.Fatal(err)
		}
		for uuid, e = range all {
		}
		return e, uuid
	}
	promised, _ := entry(1)
	other, uuid := entry(0)
	evidence, err := json.Marshal(object{"format": "tallystick evidence 1", "logKey": key,
		"promise": object{"body": promised["body"], "integratedTime": int64(promised["integratedTime"].(float64)), "logID": promised["logID"], "logIndex": 1,
			"signedEntryTimestamp": member(promised, "verification", "signedEntryTimestamp")},
		"leaf": object{"base": 1, "leafHash": uuid[len(uuid)-64:], "path": member(other, "verification", "inclusionProof", "hashes"),
			"checkpoint": member(other, "verification", "inclusionProof", "checkpoint")}})
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, nil, "verify", "evidence", writeFile(t, "e.json", string(evidence)), "--log-key", writeFile(t, "log.pub", key))
	words := "proved only if log index 1 is the first of tree "
	if code != exitRefused || !strings.Contains(out, words) || strings.Contains(out, "  ok  ") || !strings.Contains(errs, words) {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	t.Log(out, errs)
}

// What an alert quotes of strangers does not move a terminal's cursor, and is still the same JSON.
func TestLineSink(t *testing.T) {
	var out strings.Builder
	text := "a\x7f\u009b31m\u202eb"
	line, err := json.Marshal(monitor.Alert{ID: strings.Repeat("a", 32), Kind: monitor.KindFork, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	s := &lineSink{w: &out}
	if err := s.Deliver(t.Context(), []notify.Delivery{{Record: monitor.Record{JSON: line}}, {Record: monitor.Record{JSON: line, Alert: monitor.Alert{Ends: "x"}}}}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x7f\u009b\u202e") || strings.Count(out.String(), "\n") != 2 || s.found != 1 {
		t.Errorf("%q, %d found", out.String(), s.found)
	}
	var a monitor.Alert
	first, _, _ := strings.Cut(out.String(), "\n")
	if err := json.Unmarshal([]byte(first), &a); err != nil || a.Text != text {
		t.Errorf("%v: %q", err, a.Text)
	}
}
