package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi/openapitest"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

const testHost = "rekor.example.test"

// fakeLog is a Log in memory. Its fields besides mu may be set before use, or with
// set.
type fakeLog struct {
	tree storage.Tree
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves []storage.Leaf
	keys   [][]tlog.Key
	data   map[tlog.Hash][]byte
	clock  int64
	signed int // calls of SignEntry that signed
	// attestations counts the calls of Attestation.
	attestations int
	// frozen, if set, is the view whatever the leaves say later.
	frozen *tlog.View

	addErr, viewErr, signErr, readErr, readyErr, haltErr error
	// catchUp: the next view is that of published, those after it of all.
	catchUp bool
	// published is the size of the view if not negative; else all.
	published int64
	// checkpoint and setSignature are used instead of fresh signatures, if set.
	checkpoint   []byte
	setSignature []byte
	// block, if set, is waited for by Add, with its context; adding says that it waits.
	block  chan struct{}
	adding chan struct{}
	panics bool
}

func newFakeLog(t testing.TB, id, base int64) *fakeLog {
	key := testKey(t, "log-p256")
	return &fakeLog{
		tree: storage.Tree{ID: id, Origin: tlog.OriginV1(testHost, id), API: storage.APIv1,
			State: storage.StateActive, BaseIndex: base, PublicKey: spki(t, key)},
		key: key, data: map[tlog.Hash][]byte{}, clock: 1_767_225_600, published: -1,
	}
}

// testKey returns a key of the vectors, which are public and for tests only.
func testKey(t testing.TB, name string) *ecdsa.PrivateKey {
	t.Helper()
	var file struct {
		Keys map[string]struct{ Private string }
	}
	readJSON(t, "keys.json", &file)
	block, _ := pem.Decode([]byte(file.Keys[name].Private))
	if block == nil {
		t.Fatalf("no key %s", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PrivateKey)
}

func spki(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func readJSON(t testing.TB, name string, v any) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (l *fakeLog) Tree() storage.Tree { return l.tree }

func (l *fakeLog) Add(ctx context.Context, leaf tlog.Leaf) (storage.Added, error) {
	if l.panics {
		panic("secret detail of a bug")
	}
	if l.block != nil {
		l.adding <- struct{}{}
		select {
		case <-l.block:
		case <-ctx.Done():
			return storage.Added{}, ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addErr != nil {
		return storage.Added{}, l.addErr
	}
	hash := tlog.LeafHash(leaf.Body)
	for _, old := range l.leaves {
		if old.Hash == hash {
			return storage.Added{Index: old.Index, Time: old.Time, Duplicate: true, View: l.view(l.size())}, nil
		}
	}
	l.clock += 60
	stored := storage.Leaf{Index: l.size(), Hash: hash, Time: l.clock, Body: leaf.Body}
	if leaf.Attestation != nil {
		stored.Attestation = sha256.Sum256(leaf.Attestation)
		l.data[stored.Attestation] = leaf.Attestation
	}
	l.leaves, l.keys = append(l.leaves, stored), append(l.keys, leaf.Keys)
	return storage.Added{Index: stored.Index, Time: stored.Time, View: l.view(l.size())}, nil
}

func (l *fakeLog) size() int64 { return int64(len(l.leaves)) }

// view returns the view at a size, signed.
func (l *fakeLog) view(size int64) *tlog.View {
	tiles := make(fakeTiles, size)
	for i := range tiles {
		tiles[i] = l.leaves[i].Hash
	}
	head := tlog.Head{Size: size, Root: slowRoot(tiles)}
	text := tlog.CheckpointText(l.tree.Origin, head)
	signed := l.checkpoint
	if signed == nil {
		signed = tlog.AppendSignature(text, testHost, tlog.LogID(l.tree.PublicKey), l.sign(text))
	}
	return &tlog.View{Head: head, Checkpoint: signed, Tiles: tiles}
}

// freeze keeps the present tree, so that leaves can be damaged.
func (l *fakeLog) freeze() { l.frozen = l.view(l.size()) }

func (l *fakeLog) sign(message []byte) []byte {
	digest := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, l.key, digest[:])
	if err != nil {
		panic(err)
	}
	return sig
}

func (l *fakeLog) View(context.Context) (*tlog.View, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.viewErr != nil {
		return nil, l.viewErr
	}
	if l.frozen != nil {
		return l.frozen, nil
	}
	if size := l.published; size >= 0 {
		if l.catchUp {
			l.published = -1
		}
		return l.view(size), nil
	}
	return l.view(l.size()), nil
}

func (l *fakeLog) SignEntry(_ context.Context, message []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.signErr != nil {
		return nil, l.signErr
	}
	l.signed++
	if l.setSignature != nil {
		return l.setSignature, nil
	}
	return l.sign(message), nil
}

func (l *fakeLog) Leaves(_ context.Context, start int64, n int) ([]storage.Leaf, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readErr != nil || start >= l.size() {
		return nil, l.readErr
	}
	return l.leaves[start:min(start+int64(n), l.size())], nil
}

func (l *fakeLog) Find(_ context.Context, hashes []tlog.Hash) (map[tlog.Hash]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := map[tlog.Hash]int64{}
	for _, h := range hashes {
		for _, leaf := range l.leaves {
			if leaf.Hash == h {
				found[h] = leaf.Index
			}
		}
	}
	return found, l.readErr
}

func (l *fakeLog) Attestation(_ context.Context, digest tlog.Hash) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attestations++
	data, ok := l.data[digest]
	if !ok {
		return nil, storage.ErrNotFound
	}
	return data, nil
}

func (l *fakeLog) Halted() error { return l.haltErr }

func (l *fakeLog) Ready(context.Context) error { return l.readyErr }

// fakeTiles are leaf hashes, as tiles; worked out anew at each read.
type fakeTiles []tlog.Hash

func (f fakeTiles) ReadTiles(_ context.Context, ids []tlog.TileID) ([]*tlog.Subtrees, error) {
	var out []*tlog.Subtrees
	for _, id := range ids {
		step := int64(1) << (tlog.TileHeight * id.Level)
		var hashes []tlog.Hash
		for i := range int64(id.Width) {
			at := (id.Index*tlog.TileWidth + i) * step
			hashes = append(hashes, slowRoot(f[at:at+step]))
		}
		out = append(out, tlog.NewSubtrees(hashes))
	}
	return out, nil
}

// slowRoot is the definition in RFC 6962, section 2.1.
func slowRoot(h []tlog.Hash) tlog.Hash {
	switch len(h) {
	case 0:
		return tlog.EmptyRoot
	case 1:
		return h[0]
	}
	k := 1
	for 2*k < len(h) {
		k *= 2
	}
	return tlog.NodeHash(slowRoot(h[:k]), slowRoot(h[k:]))
}

// fakeSearch is a real store in memory, which gets what the fake logs have before
// each call.
type fakeSearch struct {
	*memory.Store
	logs []*fakeLog
	err  error // if set, every search fails

	mu      sync.Mutex
	writers map[*fakeLog]*storagetest.Writer
	copied  map[*fakeLog]int
}

func newFakeSearch(logs []*fakeLog) *fakeSearch {
	return &fakeSearch{Store: memory.New(), logs: logs, writers: map[*fakeLog]*storagetest.Writer{}, copied: map[*fakeLog]int{}}
}

func (f *fakeSearch) Search(ctx context.Context, q storage.Query) (storage.Result, error) {
	if f.err != nil {
		return storage.Result{}, f.err
	}
	if err := f.catchUp(ctx); err != nil {
		return storage.Result{}, err
	}
	return f.Store.Search(ctx, q)
}

func (f *fakeSearch) Head(ctx context.Context, tree int64) (storage.Head, error) {
	if err := f.catchUp(ctx); err != nil {
		return storage.Head{}, err
	}
	return f.Store.Head(ctx, tree)
}

func (f *fakeSearch) Find(ctx context.Context, tree int64, hashes []tlog.Hash) (map[tlog.Hash]int64, error) {
	if err := f.catchUp(ctx); err != nil {
		return nil, err
	}
	return f.Store.Find(ctx, tree, hashes)
}

// catchUp copies what is new in the logs.
func (f *fakeSearch) catchUp(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.logs {
		if err := f.copy(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeSearch) copy(ctx context.Context, l *fakeLog) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.writers[l] == nil {
		tree := l.tree
		tree.API = fmt.Sprint(tree.ID) // two of one API are not both active
		if err := f.CreateTree(ctx, tree); err != nil {
			return err
		}
		f.writers[l] = storagetest.NewWriter(f.Store)
		f.writers[l].Tree = tree.ID
	}
	for i := f.copied[l]; i < len(l.leaves); i++ {
		leaf := storage.NewLeaf{Leaf: l.leaves[i], Keys: tlog.SortKeys(l.keys[i])}
		leaf.Attestation = tlog.Hash{}
		w := f.writers[l]
		w.BeforeBatch = func(b *storage.Batch) { b.New.Time, b.Leaves[0].Time = leaf.Time, leaf.Time }
		if err := w.Commit(ctx, leaf); err != nil {
			return err
		}
		f.copied[l]++
	}
	return nil
}

// rig is a server over fake logs.
type rig struct {
	t      testing.TB
	server *Server
	logs   []*fakeLog
	search *fakeSearch
	check  *openapitest.Checker
}

const (
	treeA = 1311768467294899695 // that of the vectors
	treeB = 42
)

// newRig returns a server over the logs (default: an empty one), after the changes
// to its configuration.
func newRig(t testing.TB, logs []*fakeLog, changes ...func(*Config)) *rig {
	t.Helper()
	if logs == nil {
		logs = []*fakeLog{newFakeLog(t, treeA, 0)}
	}
	parser, err := entry.New(entry.Options{MaxAttestation: 100 << 10})
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, logs: logs, search: newFakeSearch(logs)}
	cfg := Config{Search: g.search, Parser: parser, MaxAttestation: 100 << 10}
	for _, l := range logs {
		cfg.Logs = append(cfg.Logs, l)
	}
	for _, change := range changes {
		change(&cfg)
	}
	if g.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if g.check, err = openapitest.New(); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *rig) active() *fakeLog { return g.logs[len(g.logs)-1] }

// do sends a request and holds the answer against the specification and against
// what is true of every answer.
func (g *rig) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return g.send(r)
}

func (g *rig) send(r *http.Request) *httptest.ResponseRecorder {
	g.t.Helper()
	w := httptest.NewRecorder()
	g.server.ServeHTTP(w, r)
	if r.Method == http.MethodHead {
		w.Body.Reset() // as net/http does
	}
	if err := g.check.Check(r.Method, r.URL.Path, w.Code, w.Header(), w.Body.Bytes()); err != nil {
		g.t.Errorf("%v\n%s", err, w.Body)
	}
	for _, name := range []string{"X-Request-Id", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"} {
		if w.Header().Get(name) == "" {
			g.t.Errorf("%s %s: no %s header", r.Method, r.URL, name)
		}
	}
	for _, secret := range []string{"secret", "goroutine", ".go:", "storage:", "/tallystick/"} {
		if strings.Contains(w.Body.String(), secret) {
			g.t.Errorf("%s %s: the answer has %q in it:\n%s", r.Method, r.URL, secret, w.Body)
		}
	}
	return w
}

// want sends a request and checks the status and the code in the body.
func (g *rig) want(status, code int, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	w := g.do(method, target, body, headers...)
	if got := codeOf(w); w.Code != status || got != code {
		g.t.Errorf("%s %s: status %d code %d, not %d and %d\n%s", method, target, w.Code, got, status, code, w.Body)
	}
	return w
}

// codeOf returns the code in a JSON error; 0 if there is none.
func codeOf(w *httptest.ResponseRecorder) int {
	var e struct{ Code int }
	json.Unmarshal(w.Body.Bytes(), &e)
	return e.Code
}

// messageOf returns the message in a JSON error.
func messageOf(w *httptest.ResponseRecorder) string {
	var e struct{ Message string }
	json.Unmarshal(w.Body.Bytes(), &e)
	return e.Message
}

// refused reports whether a vector is one that Rekor accepts and this server does
// not: a signature in URL-safe base64, whose committed form nobody can parse.
func refused(name string) bool { return name == "urlsafe-base64-signature" }

// proposals returns the proposed entries of a vector file that are accepted,
// compact.
func proposals(t testing.TB, file string) []string {
	t.Helper()
	var f struct {
		Vectors []struct {
			Name          string
			ProposedEntry json.RawMessage
		}
	}
	readJSON(t, file, &f)
	var out []string
	for _, v := range f.Vectors {
		if refused(v.Name) {
			continue
		}
		var b bytes.Buffer
		if err := json.Compact(&b, v.ProposedEntry); err != nil {
			t.Fatal(err)
		}
		out = append(out, b.String())
	}
	return out
}

// fill logs n entries that no proposal made.
func (l *fakeLog) fill(t testing.TB, n int) {
	t.Helper()
	for range n {
		body := fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"other","spec":{"n":%d,"tree":%d}}`, len(l.leaves), l.tree.ID)
		if _, err := l.Add(context.Background(), tlog.Leaf{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
}

// logTo sends the server's log to w.
func logTo(w io.Writer) func(*Config) {
	return func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(w, nil)) }
}

// stepClock is a clock that moves a millisecond at each look.
func stepClock() func() time.Time {
	var mu sync.Mutex
	now := time.Unix(1_800_000_000, 0)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Millisecond)
		return now
	}
}
