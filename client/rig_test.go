package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sequencer"
	"github.com/tallystick/tallystick/server"
	"github.com/tallystick/tallystick/sig"
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
type logKey struct{ *ecdsa.PrivateKey }

func newLogKey(t testing.TB) logKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return logKey{key}
}

func (k logKey) Sign(_ context.Context, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, k.PrivateKey, digest[:])
}

func (k logKey) spki(t testing.TB) []byte { return marshalKey(t, &k.PublicKey) }

func (k logKey) trust(t testing.TB) *verify.Trust {
	t.Helper()
	trust, err := verify.TrustLogKey(keyPEM(t, &k.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func marshalKey(t testing.TB, key *ecdsa.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func keyPEM(t testing.TB, key *ecdsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: marshalKey(t, key)})
}

// realLog is a real server over a log in memory, which has one closed tree if it was
// made with old entries, and an active one.
type realLog struct {
	http.Handler
	roots []tlog.Hash // of the active tree, by size, as far as add went
	edge  *tlog.Edge
	t     testing.TB
}

// newRealLog makes a log with a key. old are the proposals in its closed tree.
func newRealLog(t testing.TB, key logKey, change func(*server.Config), old ...[]byte) *realLog {
	t.Helper()
	store := memory.New()
	t.Cleanup(func() { store.Close() })
	parser, err := entry.New(entry.Options{MaxAttestation: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	config := server.Config{Search: store, Parser: parser, MaxAttestation: 1 << 20}
	if len(old) > 0 {
		l := openTree(t, store, key, oldTree, 0, storage.StateReadOnly)
		for _, p := range old {
			proposed, err := parser.Propose(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Add(t.Context(), proposed.Leaf); err != nil {
				t.Fatal(err)
			}
		}
		config.Logs = append(config.Logs, l)
	}
	config.Logs = append(config.Logs, openTree(t, store, key, newTree, int64(len(old)), storage.StateActive))
	if change != nil {
		change(&config)
	}
	s, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &realLog{Handler: s, t: t, edge: tlog.NewEdge(), roots: []tlog.Hash{tlog.EmptyRoot}}
}

func openTree(t testing.TB, store storage.Store, key logKey, id, base int64, state string) *sequencer.Log {
	t.Helper()
	tree := storage.Tree{ID: id, Origin: tlog.OriginV1(testHost, id), API: storage.APIv1, State: state, BaseIndex: base, PublicKey: key.spki(t), Created: 1}
	if err := store.CreateTree(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	mark, err := sequencer.OpenMark(filepath.Join(t.TempDir(), "mark"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mark.Close() })
	l, err := sequencer.Open(t.Context(), sequencer.Config{
		Store: store, Tree: tree, Signer: key, Guard: mark, Logger: slog.New(slog.DiscardHandler),
		Verifier: tlog.NewECDSAVerifier(testHost, tree.PublicKey, &key.PublicKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// add logs proposals, past any client.
func (l *realLog) add(proposals ...[]byte) {
	l.t.Helper()
	for _, p := range proposals {
		w := l.serve(l.t, http.MethodPost, "/api/v1/log/entries", p)
		if w.status != http.StatusCreated {
			l.t.Fatalf("adding an entry: %d %s", w.status, w.body)
		}
		entries, err := verify.ParseEntries(w.body, 1)
		if err != nil {
			l.t.Fatal(err)
		}
		l.edge.Extend([]tlog.Hash{tlog.LeafHash(entries[0].Body)})
		l.roots = append(l.roots, l.edge.Root())
	}
}

// answer is what a server answers.
type answer struct {
	status int
	header http.Header
	body   []byte
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

func (p *proxy) setLie(lie func(*http.Request, *answer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lie = lie
}

func (p *proxy) setBehind(h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind = h
}

// requests returns those since the last call.
func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

// noSleep makes a client that waits for nothing.
func noSleep(context.Context, time.Duration) error { return nil }

func newClient(t testing.TB, url string, key logKey, checkpoints ...[]byte) *Client {
	t.Helper()
	c, err := New(url, key.trust(t), Options{Sleep: noSleep, Checkpoints: checkpoints})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signer makes proposals.
type signer struct {
	*ecdsa.PrivateKey
	pem []byte
}

func newSigner(t testing.TB) signer {
	k := newLogKey(t)
	return signer{k.PrivateKey, keyPEM(t, &k.PublicKey)}
}

func (s signer) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	signature, err := ecdsa.SignASN1(rand.Reader, s.PrivateKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type object = map[string]any

// hashedRekord returns a proposal about an artifact.
func (s signer) hashedRekord(t testing.TB, artifact string) []byte {
	digest := sha256.Sum256([]byte(artifact))
	return encode(t, object{"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(digest[:])}},
		"signature": object{"content": s.sign(t, []byte(artifact)), "publicKey": object{"content": s.pem}},
	}})
}

func (s signer) envelope(t testing.TB, subject string) (envelope []byte, digest string) {
	sum := sha256.Sum256([]byte(subject))
	digest = hex.EncodeToString(sum[:])
	payload := encode(t, object{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.test/p",
		"subject": []object{{"name": subject, "digest": object{"sha256": digest}}}, "predicate": object{}})
	const payloadType = "application/vnd.in-toto+json"
	return encode(t, object{"payloadType": payloadType, "payload": payload,
		"signatures": []object{{"sig": s.sign(t, sig.PAE(payloadType, payload))}}}), digest
}

// intoto returns a proposal whose statement the log keeps, and its subject's digest.
func (s signer) intoto(t testing.TB, subject string) ([]byte, string) {
	envelope, digest := s.envelope(t, subject)
	return encode(t, object{"kind": "intoto", "apiVersion": "0.0.1", "spec": object{
		"content": object{"envelope": string(envelope)}, "publicKey": s.pem}}), digest
}

// dsse returns a proposal whose statement the log does not keep.
func (s signer) dsse(t testing.TB, subject string) ([]byte, string) {
	envelope, digest := s.envelope(t, subject)
	return encode(t, object{"kind": "dsse", "apiVersion": "0.0.1", "spec": object{
		"proposedContent": object{"envelope": string(envelope), "verifiers": []string{base64.StdEncoding.EncodeToString(s.pem)}}}}), digest
}

// world is a log with two trees, 3 and 9 entries, behind a proxy.
type world struct {
	key       logKey
	signer    signer
	log       *realLog
	proxy     *proxy
	old       [][]byte // proposals of the closed tree
	proposals [][]byte // of the active tree
	subject   string   // digest of the subject of entry 11, of kind intoto
	unkept    string   // digest of the subject of entry 10, of kind dsse

	head *verify.Checkpoint // of the active tree; see learn
	seen [][]byte           // the checkpoints of both trees; see learn
	ids  map[int64]string   // entry IDs by index; see learn
}

func newWorld(t testing.TB, change func(*server.Config)) *world {
	t.Helper()
	w := &world{key: newLogKey(t), signer: newSigner(t)}
	for i := range 3 {
		w.old = append(w.old, w.signer.hashedRekord(t, fmt.Sprintf("old artifact %d", i)))
	}
	w.log = newRealLog(t, w.key, change, w.old...)
	for i := range 7 {
		w.proposals = append(w.proposals, w.signer.hashedRekord(t, fmt.Sprintf("artifact %d", i)))
	}
	d, unkept := w.signer.dsse(t, "subject of dsse")
	i, subject := w.signer.intoto(t, "subject of intoto")
	w.proposals, w.subject, w.unkept = append(w.proposals, d, i), subject, unkept
	w.log.add(w.proposals...)
	w.proxy = newProxy(t, w.log)
	return w
}

func (w *world) client(t testing.TB, checkpoints ...[]byte) *Client {
	return newClient(t, w.proxy.URL, w.key, checkpoints...)
}

// learn looks up what the tests refer to.
func (w *world) learn(t testing.TB) {
	t.Helper()
	c := newClient(t, w.proxy.URL, w.key)
	trees, err := c.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.head = trees[1].Checkpoint
	w.ids = map[int64]string{}
	for e, err := range c.Entries(t.Context(), 0, 12) {
		if err != nil {
			t.Fatal(err)
		}
		w.ids[e.LogIndex] = e.UUID
	}
	w.seen = c.Checkpoints()
}

func (w *world) id(index int64) string { return w.ids[index] }

// serve makes one request of the server, past any client.
func (l *realLog) serve(t testing.TB, method, path string, body []byte) *answer {
	t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return &answer{w.Code, w.Header(), w.Body.Bytes()}
}
