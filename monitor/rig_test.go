package monitor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/sequencer"
	"github.com/tallystick/tallystick/server"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

const (
	testHost = "log.example.test"
	oldTree  = 1193046
	newTree  = 1311768467294899695
)

// logKey is the key of a log.
type logKey struct{ *forge.Key }

func (k logKey) Sign(_ context.Context, message []byte) ([]byte, error) {
	return k.SignMessage(message), nil
}

func trustIn(t testing.TB, keys ...*forge.Key) *verify.Trust {
	t.Helper()
	var m verify.Material
	for _, k := range keys {
		trust, err := verify.TrustLogKey(k.PEM())
		if err != nil {
			t.Fatal(err)
		}
		m.Logs = append(m.Logs, trust.Material().Logs...)
	}
	trust, err := verify.NewTrust(m)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// realLog is a real server over a log in memory. Its trees are those of the
// proposals that it is made with; the last one is active.
type realLog struct {
	http.Handler
	key    *forge.Key
	active *sequencer.Log
	parser *entry.Parser
	trees  [][]tlog.Hash // leaf hashes
}

func newRealLog(t testing.TB, key *forge.Key, trees ...[][]byte) *realLog {
	t.Helper()
	store := memory.New()
	t.Cleanup(func() { store.Close() })
	parser, err := entry.New(entry.Options{MaxAttestation: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := &realLog{key: key, parser: parser}
	config := server.Config{Search: store, Parser: parser, MaxAttestation: 1 << 20}
	base := int64(0)
	for i, proposals := range trees {
		id, state := treeID(i, len(trees)), storage.StateReadOnly
		if i == len(trees)-1 {
			state = storage.StateActive
		}
		l.active = openTree(t, store, key, id, base, state)
		config.Logs = append(config.Logs, l.active)
		l.trees = append(l.trees, nil)
		l.add(t, proposals...)
		base += int64(len(proposals))
	}
	if l.Handler, err = server.New(config); err != nil {
		t.Fatal(err)
	}
	return l
}

// treeID returns the ID of tree i of n. The last two are always the same.
func treeID(i, n int) int64 {
	switch i {
	case n - 1:
		return newTree
	case n - 2:
		return oldTree
	}
	return int64(100 + i)
}

func origin(id int64) string { return tlog.OriginV1(testHost, id) }

func openTree(t testing.TB, store storage.Store, key *forge.Key, id, base int64, state string) *sequencer.Log {
	t.Helper()
	tree := storage.Tree{ID: id, Origin: origin(id), API: storage.APIv1, State: state, BaseIndex: base, PublicKey: key.SPKI, Created: 1}
	if err := store.CreateTree(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	mark, err := sequencer.OpenMark(filepath.Join(t.TempDir(), "mark"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mark.Close() })
	l, err := sequencer.Open(t.Context(), sequencer.Config{
		Store: store, Tree: tree, Signer: logKey{key}, Guard: mark, Logger: slog.New(slog.DiscardHandler),
		Verifier: tlog.NewECDSAVerifier(testHost, tree.PublicKey, key.Public().(*ecdsa.PublicKey)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// add logs proposals in the active tree.
func (l *realLog) add(t testing.TB, proposals ...[]byte) {
	t.Helper()
	for _, p := range proposals {
		proposed, err := l.parser.Propose(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.active.Add(t.Context(), proposed.Leaf); err != nil {
			t.Fatal(err)
		}
		last := len(l.trees) - 1
		l.trees[last] = append(l.trees[last], tlog.LeafHash(proposed.Leaf.Body))
	}
}

// ask makes one request of the server, past any monitor.
func (l *realLog) ask(t testing.TB, method, path string, body []byte) *answer {
	t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return &answer{w.Code, w.Header(), w.Body.Bytes()}
}

// entry returns the log's own answer for an entry.
func (l *realLog) entry(t testing.TB, index int) []byte {
	return l.ask(t, http.MethodGet, "/api/v1/log/entries?logIndex="+strconv.Itoa(index), nil).body
}

// checkpoint signs any head for a tree.
func (l *realLog) checkpoint(id int64, h tlog.Head) string { return signNote(l.key, id, h) }

func signNote(key *forge.Key, id int64, h tlog.Head) string {
	text := tlog.CheckpointText(origin(id), h)
	return string(tlog.AppendSignature(text, testHost, tlog.LogID(key.SPKI), key.SignMessage(text)))
}

// answer is what a server answers.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// json changes the answer's JSON.
func (a *answer) json(t testing.TB, change func(v any) any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		a.body, err = json.Marshal(change(v))
	}
	if err != nil {
		t.Errorf("the answer is not JSON: %v", err)
	}
}

// proxy stands in front of a server, and may lie.
type proxy struct {
	*httptest.Server
	mu     sync.Mutex
	behind http.Handler
	lie    func(*http.Request, *answer)
	seen   []string // requests: method, path and query
}

func newProxy(t testing.TB, behind http.Handler) *proxy {
	p := &proxy{behind: behind}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	behind, lie := p.behind, p.lie
	p.seen = append(p.seen, r.Method+" "+r.URL.RequestURI())
	p.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	behind.ServeHTTP(rec, r)
	a := &answer{rec.Code, rec.Header(), rec.Body.Bytes()}
	if lie != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		lie(r, a)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(a.status)
	w.Write(a.body)
}

func (p *proxy) set(behind http.Handler, lie func(*http.Request, *answer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind, p.lie = behind, lie
}

// requests returns those since the last call.
func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

var (
	testCA   = sync.OnceValue(func() *forge.CA { return forge.NewP256CA("test", testTime(-time.Hour), testTime(time.Hour)) })
	testKeys sync.Map // by name
)

func testTime(d time.Duration) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(d)
}

func testKey(name string) *forge.Key {
	if k, ok := testKeys.Load(name); ok {
		return k.(*forge.Key)
	}
	k, _ := testKeys.LoadOrStore(name, forge.P256(name))
	return k.(*forge.Key)
}

// certified returns the certificate of somebody, in PEM.
func certified(s forge.Subject) []byte {
	s.From, s.To = testTime(0), testTime(10*time.Minute)
	return forge.CertificatePEM(testCA().Issue(s))
}

// proposal returns a hashedrekord about an artifact, signed by a key, with a verifier of that key.
func proposal(artifact string, key *forge.Key, verifier []byte) []byte {
	digest := sha256.Sum256([]byte(artifact))
	return forge.Encode(forge.HashedRekordV1("sha256", digest[:], key.SignMessage([]byte(artifact)), verifier))
}

// numbered returns proposals from … to-1 of a series.
func numbered(series string, from, to int) (all [][]byte) {
	key := testKey("signer")
	for i := from; i < to; i++ {
		all = append(all, proposal(fmt.Sprintf("%s %d", series, i), key, key.PEM()))
	}
	return all
}

// byDev returns a proposal signed by dev@example.com.
func byDev(artifact string) []byte {
	key := testKey("dev")
	return proposal(artifact, key, certified(forge.Subject{Email: "dev@example.com", Issuer: "https://issuer.example.com", Key: key}))
}

// clock is a clock that stands still.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: testTime(0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a log behind a proxy, and what is needed to watch it.
type world struct {
	t     testing.TB
	key   *forge.Key
	log   *realLog
	proxy *proxy
	clock *clock
	dir   string
	watch Log
	opts  Options
}

const testRules = `
rules:
  - {name: dev, when: {subject: dev@example.com, issuer: https://issuer.example.com}}
  - {name: all, when: {any: true}}
`

func newWorld(t testing.TB, trees ...[][]byte) *world {
	w := &world{t: t, key: testKey("log"), clock: newClock(), dir: t.TempDir()}
	w.log = newRealLog(t, w.key, trees...)
	w.proxy = newProxy(t, w.log)
	w.watch = Log{Name: "test", URL: w.proxy.URL, Trust: trustIn(t, w.key)}
	w.opts = Options{Rules: rules(t, testRules), Now: w.clock.Now}
	return w
}

func rules(t testing.TB, text string) *Rules {
	t.Helper()
	c, err := ParseRules([]byte(text), ParseOptions{Own: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Rules
}

// noWait makes a client that does not wait between tries.
func noWait(context.Context, time.Duration) error { return nil }

func (w *world) source() *client.Raw {
	raw, err := client.NewRaw(w.proxy.URL, client.Options{Sleep: noWait, Retries: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) open() *Monitor {
	w.t.Helper()
	o := w.opts
	if o.disk == nil {
		o.Dir = w.dir
	}
	if o.Source == nil {
		o.Source = w.source()
	}
	m, err := Open(w.watch, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { m.Close() })
	return m
}

// round runs one round, which has no errors of this machine.
func (w *world) round(m *Monitor) Report {
	w.t.Helper()
	r, err := m.Round(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// quiet runs rounds to the end, in which nothing is wrong.
func (w *world) quiet(m *Monitor) {
	w.t.Helper()
	for {
		r := w.round(m)
		if r.Trouble != nil {
			w.t.Fatalf("trouble: %v", r.Trouble)
		}
		if !r.More {
			break
		}
	}
	s := m.Status()
	if len(s.Active) > 0 || s.Pending != 0 || s.Complete.IsZero() || s.Trouble != "" {
		w.t.Fatalf("status is %+v", s)
	}
}

func records(t testing.TB, m *Monitor) (all []Alert) {
	t.Helper()
	for r, err := range m.Alerts(0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Alert)
	}
	return all
}

// matched returns the log indexes of a rule's matches, in the journal's order.
func matched(t testing.TB, m *Monitor, rule string) (all []int64) {
	t.Helper()
	for _, a := range records(t, m) {
		if a.Kind == KindMatch && a.Match.Rule == rule {
			all = append(all, a.Match.LogIndex)
		}
	}
	return all
}

func upTo(n int64) (all []int64) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// bulk calls change for each entry of answers with many; it may return another one, or nil to leave
// it out.
func bulk(t testing.TB, change func(uuid string, e map[string]any) (string, map[string]any)) func(*http.Request, *answer) {
	return func(r *http.Request, a *answer) {
		if r.URL.Path != "/api/v1/log/entries/retrieve" || a.status != http.StatusOK {
			return
		}
		a.json(t, func(v any) any {
			out := []any{}
			for _, o := range v.([]any) {
				for uuid, e := range o.(map[string]any) {
					if uuid, e := change(uuid, e.(map[string]any)); e != nil {
						out = append(out, map[string]any{uuid: e})
					}
				}
			}
			return out
		})
	}
}

func indexOf(e map[string]any) int64 {
	n, _ := strconv.ParseInt(string(e["logIndex"].(json.Number)), 10, 64)
	return n
}

// resign gives an entry of an answer the SET that belongs to what it says now.
func resign(key *forge.Key, e map[string]any) {
	body, _ := base64.StdEncoding.DecodeString(e["body"].(string))
	at, _ := strconv.ParseInt(string(e["integratedTime"].(json.Number)), 10, 64)
	message := tlog.SETMessage(body, at, e["logID"].(string), indexOf(e))
	e["verification"].(map[string]any)["signedEntryTimestamp"] = base64.StdEncoding.EncodeToString(key.SignMessage(message))
}

// setBody gives an entry another body.
func setBody(e map[string]any, body []byte) {
	e["body"] = base64.StdEncoding.EncodeToString(body)
}

// body returns an entry's body.
func bodyOf(e map[string]any) []byte {
	body, _ := base64.StdEncoding.DecodeString(e["body"].(string))
	return body
}

// uuidOf returns the entry ID of a body in the active tree.
func uuidOf(body []byte) string { return fmt.Sprintf("%016x%v", int64(newTree), tlog.LeafHash(body)) }

// treeAlone shows the first n entries of a log's first tree as the whole log, which is honest of it.
func treeAlone(t testing.TB, l *realLog, n int) http.Handler {
	edge := tlog.NewEdge()
	edge.Extend(l.trees[0][:n])
	id := treeID(0, len(l.trees))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/log" {
			l.ServeHTTP(w, r)
			return
		}
		head := edge.Head()
		w.Header().Set("Content-Type", "application/json")
		w.Write(forge.Encode(forge.Object{"treeID": strconv.FormatInt(id, 10), "treeSize": forge.Int(head.Size), "rootHash": head.Root.String(),
			"signedTreeHead": l.checkpoint(id, head), "inactiveShards": forge.Array{}}))
	})
}

// scope is a test within a test: what it starts ends with it.
type scope struct {
	testing.TB
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// within calls f and ends what it started: a fuzz target must have nothing in the background.
func within(t testing.TB, f func(t testing.TB)) {
	s := &scope{TB: t}
	f(s)
	for _, end := range slices.Backward(s.cleanups) {
		end()
	}
}
