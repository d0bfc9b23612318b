package sequencer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/tlog"
)

const testTree = 1311768467294899695

// rig is everything around a log: one database, one key, and a record of all that
// was ever signed.
type rig struct {
	t        testing.TB
	store    *faultStore
	tree     storage.Tree
	signer   *testSigner
	verifier note.Verifier
	guard    Guard
	limits   Limits
	now      func() time.Time
	watch    time.Duration // an hour unless set: tests decide when a server looks
}

func newRig(t testing.TB) *rig {
	t.Helper()
	signer := newTestSigner(t)
	r := &rig{
		t:      t,
		signer: signer,
		tree:   storage.Tree{ID: testTree, Origin: tlog.OriginV1("log.example", testTree), API: storage.APIv1, State: storage.StateActive, PublicKey: signer.spki, Created: 1},
		store:  &faultStore{Store: newStore(t)},
	}
	r.verifier = tlog.NewECDSAVerifier("log.example", signer.spki, &signer.key.PublicKey)
	if err := r.store.CreateTree(context.Background(), r.tree); err != nil {
		t.Fatal(err)
	}
	r.guard, r.watch = &memoryGuard{}, time.Hour
	return r
}

// second returns the rig of a second server on the same database, with the same key
// and a guard of its own.
func (r *rig) second() *rig {
	s := *r
	s.guard = &memoryGuard{}
	return &s
}

func newStore(t testing.TB) storage.Store {
	s := memory.New()
	t.Cleanup(func() { s.Close() })
	return s
}

// open starts a log; it is closed at the end of the test.
func (r *rig) open() *Log {
	r.t.Helper()
	l, err := Open(context.Background(), r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close(context.Background()) })
	return l
}

func (r *rig) config() Config {
	return Config{Store: r.store, Tree: r.tree, Signer: r.signer, Verifier: r.verifier, Guard: r.guard,
		Limits: r.limits, Now: r.now, Watch: r.watch, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// audit checks the whole history: what is stored is a tree, every head that was
// ever signed is one of its states, and every acknowledged entry is where it was
// said to be.
func (r *rig) audit(acked map[string]storage.Added) {
	r.t.Helper()
	ctx := context.Background()
	head, err := r.store.Store.Head(ctx, r.tree.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	leaves, err := r.store.Store.Leaves(ctx, r.tree.ID, 0, int(head.Size)+10)
	if err != nil || int64(len(leaves)) != head.Size {
		r.t.Fatalf("%d leaves in a tree of size %d, %v", len(leaves), head.Size, err)
	}
	roots := []tlog.Hash{tlog.EmptyRoot}
	seen := map[tlog.Hash]bool{}
	edge := tlog.NewEdge()
	last := int64(0)
	for i, l := range leaves {
		if l.Index != int64(i) || l.Hash != tlog.LeafHash(l.Body) || seen[l.Hash] || l.Time < last {
			r.t.Fatalf("leaf %d is %d, hash %v of %q, time %d after %d, seen before: %v", i, l.Index, l.Hash, l.Body, l.Time, last, seen[l.Hash])
		}
		seen[l.Hash], last = true, l.Time
		edge.Extend([]tlog.Hash{l.Hash})
		roots = append(roots, edge.Root())
	}
	if roots[head.Size] != head.Root {
		r.t.Fatalf("head says root %v at %d, leaves give %v", head.Root, head.Size, roots[head.Size])
	}
	for _, c := range r.signer.checkpoints() {
		if c.Size > head.Size || roots[c.Size] != c.Root {
			r.t.Fatalf("signed size %d, root %v, which is no state of the stored tree of size %d", c.Size, c.Root, head.Size)
		}
	}
	for body, a := range acked {
		if a.Index >= head.Size || string(leaves[a.Index].Body) != body || leaves[a.Index].Time != a.Time {
			r.t.Fatalf("acknowledged %q at %d is lost", body, a.Index)
		}
		r.proves(body, a)
	}
}

// proves checks the promise that an answer carries.
func (r *rig) proves(body string, a storage.Added) {
	r.t.Helper()
	c, err := tlog.OpenCheckpoint(a.View.Checkpoint, r.tree.Origin, r.verifier)
	if err != nil || c.Head != a.View.Head {
		r.t.Fatalf("checkpoint of the answer: %v, %v", c, err)
	}
	path, err := a.View.Inclusion(context.Background(), a.Index)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := tlog.VerifyInclusion(tlog.LeafHash([]byte(body)), a.Index, a.View.Head, path); err != nil {
		r.t.Fatalf("entry %q at %d is not under its checkpoint of size %d: %v", body, a.Index, a.View.Size, err)
	}
}

func leaf(body string) tlog.Leaf {
	return tlog.Leaf{Body: []byte(body), Keys: []tlog.Key{{Type: tlog.KeyIdentity, Value: body[:min(len(body), 100)]}}}
}

// testSigner signs, and remembers every checkpoint text that it signed.
type testSigner struct {
	key  *ecdsa.PrivateKey
	spki []byte

	mu    sync.Mutex
	texts []string
	fail  error
	hang  bool // until the context ends
}

func newTestSigner(t testing.TB) *testSigner {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &testSigner{key: key, spki: spki}
}

func (s *testSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if s.fail != nil {
		return nil, s.fail
	}
	s.texts = append(s.texts, string(message))
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, s.key, digest[:])
}

func (s *testSigner) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// checkpoints returns every head that was signed.
func (s *testSigner) checkpoints() []tlog.Checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []tlog.Checkpoint
	for _, text := range s.texts {
		if c, err := tlog.ParseCheckpointText(text); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// memoryGuard is a Guard that forgets at the end of the test.
type memoryGuard struct {
	mu     sync.Mutex
	record Record
	set    bool
	fail   error
}

func (g *memoryGuard) Load() (Record, bool, error) { return g.record, g.set, nil }

func (g *memoryGuard) Store(r Record) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail == nil {
		g.record, g.set = r, true
	}
	return g.fail
}

func (g *memoryGuard) setFail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = err
}

// faultStore makes calls fail: before they do anything, or after they took effect.
type faultStore struct {
	storage.Store
	mu    sync.Mutex
	fault func(call string) (before, after error)
	fork  storage.Store // if set, answers instead
	skew  time.Duration // if not 0, how far the database's clock is ahead
}

func (s *faultStore) at(call string) (storage.Store, error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := s.Store
	if s.fork != nil {
		store = s.fork
	}
	if s.fault == nil {
		return store, nil, nil
	}
	before, after := s.fault(call)
	return store, before, after
}

func (s *faultStore) set(fault func(call string) (before, after error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

func (s *faultStore) switchTo(other storage.Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fork = other
}

func (s *faultStore) Head(ctx context.Context, tree int64) (storage.Head, error) {
	store, before, after := s.at("head")
	if before != nil {
		return storage.Head{}, before
	}
	h, err := store.Head(ctx, tree)
	return h, errors.Join(err, after)
}

func (s *faultStore) Commit(ctx context.Context, tree int64, r storage.Request) error {
	store, before, after := s.at("commit")
	if s.skew != 0 {
		build := r.Build
		r.Build = func(c storage.Current) (*storage.Batch, error) {
			c.Clock = time.Now().Add(s.skew)
			return build(c)
		}
	}
	if before != nil { // the batch was built, but not written
		build := r.Build
		r.Build = func(c storage.Current) (*storage.Batch, error) {
			if _, err := build(c); err != nil {
				return nil, err
			}
			return nil, before
		}
	}
	if err := store.Commit(ctx, tree, r); err != nil {
		return err
	}
	return after
}

func (s *faultStore) Tiles(ctx context.Context, tree int64, ids []tlog.TileID) ([][]tlog.Hash, error) {
	store, before, after := s.at("tiles")
	if before != nil {
		return nil, before
	}
	t, err := store.Tiles(ctx, tree, ids)
	return t, errors.Join(err, after)
}

func (s *faultStore) Checkpoint(ctx context.Context, tree int64) ([]byte, error) {
	store, before, _ := s.at("checkpoint")
	if before != nil {
		return nil, before
	}
	return store.Checkpoint(ctx, tree)
}

// copyOf returns a new store with the first n leaves of this one, as an old backup
// would have them.
func (r *rig) copyOf(n int64, more ...string) storage.Store {
	r.t.Helper()
	ctx := context.Background()
	leaves, err := r.store.Store.Leaves(ctx, r.tree.ID, 0, int(n))
	if err != nil || int64(len(leaves)) != n {
		r.t.Fatal(len(leaves), err)
	}
	other := *r
	other.store = &faultStore{Store: newStore(r.t)}
	other.guard = &memoryGuard{}
	if err := other.store.CreateTree(ctx, r.tree); err != nil {
		r.t.Fatal(err)
	}
	// The copy is made by a log with the same key; what it signs is not counted, as
	// those are the signatures that were made before the backup.
	counted := len(r.signer.texts)
	l, err := Open(ctx, other.config())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, old := range leaves {
		if _, err := l.Add(ctx, leaf(string(old.Body))); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, body := range more {
		if _, err := l.Add(ctx, leaf(body)); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := l.Close(ctx); err != nil {
		r.t.Fatal(err)
	}
	r.signer.mu.Lock()
	r.signer.texts = r.signer.texts[:counted]
	r.signer.mu.Unlock()
	return other.store.Store
}

func randomRecord(n int64) Record {
	var h tlog.Hash
	new(big.Int).SetInt64(n).FillBytes(h[:])
	return Record{testTree, tlog.Head{Size: n, Root: h}}
}

func seeded(t testing.TB) *mathrand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return mathrand.New(mathrand.NewPCG(seed, 1))
}

func body(parts ...any) string { return strings.ReplaceAll(fmt.Sprintln(parts...), "\n", "") }
