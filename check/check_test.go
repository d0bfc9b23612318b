package check

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/tlog"
)

const testTree, size = 4711, 700

// testLog is a whole log in memory, of real bodies.
type testLog struct {
	store    storage.Store
	tree     storage.Tree
	verifier note.Verifier
	key      *ecdsa.PrivateKey
	edges    []*tlog.Edge // at the sizes 0, 1, 2, …
	parser   *entry.Parser
}

func newTestLog(t testing.TB) *testLog {
	t.Helper()
	parser, err := entry.New(entry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	spki, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	l := &testLog{
		store: memory.New(), parser: parser, key: key,
		tree:     storage.Tree{ID: testTree, Origin: tlog.OriginV1("log.example", testTree), API: storage.APIv1, State: storage.StateActive, PublicKey: spki, Created: 1},
		verifier: tlog.NewECDSAVerifier("log.example", spki, &key.PublicKey),
		edges:    []*tlog.Edge{tlog.NewEdge()},
	}
	ctx := context.Background()
	if err := l.store.CreateTree(ctx, l.tree); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile("testdata/hashedrekord.json")
	if err != nil {
		t.Fatal(err)
	}
	for l.size() < size {
		l.commit(t, body, int(min(130, size-l.size())))
	}
	if err := l.store.SaveCheckpoint(ctx, testTree, 600, l.sign(l.edges[600].Head())); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testLog) size() int64 { return l.edges[len(l.edges)-1].Size() }

func (l *testLog) sign(head tlog.Head) []byte {
	text := tlog.CheckpointText(l.tree.Origin, head)
	digest := sha256.Sum256(text)
	sig, _ := ecdsa.SignASN1(rand.Reader, l.key, digest[:])
	return tlog.AppendSignature(text, "log.example", tlog.LogID(l.tree.PublicKey), sig)
}

// commit adds n leaves like body, each with a digest of its own; every fifth has an
// attestation.
func (l *testLog) commit(t testing.TB, body []byte, n int) {
	t.Helper()
	old := l.edges[len(l.edges)-1]
	b := &storage.Batch{Old: storage.Head{Head: old.Head()}}
	if old.Size() > 0 {
		b.Old.Time = 1000 + old.Size()/130
	}
	b.New.Time = 1000 + (old.Size()+int64(n))/130
	var hashes []tlog.Hash
	at := bytes.Index(body, []byte(`"value":"`)) + len(`"value":"`)
	for i := range n {
		index := old.Size() + int64(i)
		own := bytes.Clone(body)
		copy(own[at:], fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, index))))
		info, err := l.parser.Committed(own)
		if err != nil {
			t.Fatal(err)
		}
		leaf := storage.NewLeaf{Keys: tlog.SortKeys(info.Keys)}
		leaf.Index, leaf.Time, leaf.Body, leaf.Hash, leaf.KeySet = index, b.New.Time, own, tlog.LeafHash(own), tlog.KeySetDigest(info.Keys)
		if index%5 == 0 {
			leaf.Data = fmt.Append(nil, "attestation of ", index)
			leaf.Leaf.Attestation = sha256.Sum256(leaf.Data)
		}
		b.Leaves = append(b.Leaves, leaf)
		hashes = append(hashes, leaf.Hash)
		next := l.edges[len(l.edges)-1].Clone()
		next.Extend(hashes[i:])
		l.edges = append(l.edges, next)
	}
	next := old.Clone()
	b.Tiles = next.Extend(hashes)
	b.New.Head = next.Head()
	err := l.store.Commit(context.Background(), testTree, storage.Request{Known: old.Size(), Build: func(storage.Current) (*storage.Batch, error) { return b, nil }})
	if err != nil {
		t.Fatal(err)
	}
}

func (l *testLog) config(store storage.Store) Config {
	mark := l.edges[650].Head()
	return Config{Store: store, Tree: l.tree, Verifier: l.verifier, Parser: l.parser, Mark: &mark}
}

func TestSound(t *testing.T) {
	l := newTestLog(t)
	c := l.config(l.store)
	said := int64(0)
	c.Progress = func(done, all int64) {
		if all != size {
			t.Errorf("progress of %d", all)
		}
		said = done
	}
	r, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Head.Size != size || r.Keys != 2*size || r.Attestations != size/5 || r.Checkpoint != 600 || r.Mark != 650 || said != size {
		t.Errorf("%+v, progress up to %d", r, said)
	}
	empty := memory.New()
	if err := empty.CreateTree(context.Background(), l.tree); err != nil {
		t.Fatal(err)
	}
	c = l.config(empty)
	c.Mark = nil
	if r, err := Run(context.Background(), c); err != nil || r.Checkpoint != -1 {
		t.Errorf("an empty log: %+v, %v", r, err)
	}
}

// tampered is the log with something changed in it.
type tampered struct {
	storage.Store
	leaf       func(*storage.Leaf)
	drop       int64 // leaf that is not there; -1 for none
	keys       func(index int64, keys []tlog.Key) []tlog.Key
	tile       func(id tlog.TileID, hashes []tlog.Hash) error
	head       func(*storage.Head)
	checkpoint func([]byte) []byte
	find       func(map[tlog.Hash]int64)
	data       func([]byte) ([]byte, error)
}

func (s *tampered) Head(ctx context.Context, tree int64) (storage.Head, error) {
	h, err := s.Store.Head(ctx, tree)
	if s.head != nil {
		s.head(&h)
	}
	return h, err
}

func (s *tampered) Leaves(ctx context.Context, tree, start int64, n int) ([]storage.Leaf, error) {
	all, err := s.Store.Leaves(ctx, tree, start, n)
	var out []storage.Leaf
	for _, l := range all {
		if s.leaf != nil {
			s.leaf(&l)
		}
		if s.drop < 0 || l.Index != s.drop {
			out = append(out, l)
		}
	}
	if s.drop >= 0 && len(out) < n { // the database would give the next one
		more, _ := s.Store.Leaves(ctx, tree, start+int64(n), 1)
		out = append(out, more...)
	}
	return out, err
}

func (s *tampered) Keys(ctx context.Context, tree, start int64, n int) ([][]tlog.Key, error) {
	keys, err := s.Store.Keys(ctx, tree, start, n)
	for i := range keys {
		if s.keys != nil {
			keys[i] = s.keys(start+int64(i), keys[i])
		}
	}
	return keys, err
}

func (s *tampered) Tiles(ctx context.Context, tree int64, ids []tlog.TileID) ([][]tlog.Hash, error) {
	tiles, err := s.Store.Tiles(ctx, tree, ids)
	for i, id := range ids {
		if s.tile != nil && err == nil {
			own := append([]tlog.Hash(nil), tiles[i]...)
			err = s.tile(id, own)
			tiles[i] = own
		}
	}
	return tiles, err
}

func (s *tampered) Checkpoint(ctx context.Context, tree int64) ([]byte, error) {
	c, err := s.Store.Checkpoint(ctx, tree)
	if s.checkpoint != nil {
		c = s.checkpoint(bytes.Clone(c))
	}
	return c, err
}

func (s *tampered) Find(ctx context.Context, tree int64, hashes []tlog.Hash) (map[tlog.Hash]int64, error) {
	m, err := s.Store.Find(ctx, tree, hashes)
	if s.find != nil {
		s.find(m)
	}
	return m, err
}

func (s *tampered) Attestation(ctx context.Context, tree int64, digest tlog.Hash) ([]byte, error) {
	d, err := s.Store.Attestation(ctx, tree, digest)
	if s.data != nil {
		return s.data(bytes.Clone(d))
	}
	return d, err
}

// Every kind of damage is found, and named.
func TestDamage(t *testing.T) {
	l := newTestLog(t)
	at := func(index int64, change func(*storage.Leaf)) func(*storage.Leaf) {
		return func(leaf *storage.Leaf) {
			if leaf.Index == index {
				change(leaf)
			}
		}
	}
	foreign, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, c := range map[string]struct {
		tampered
		want string
	}{
		"bit in a body":         {tampered{leaf: at(300, func(l *storage.Leaf) { l.Body = bytes.Clone(l.Body); l.Body[90] ^= 1 })}, "leaf 300: its body"},
		"body and hash":         {tampered{leaf: at(300, func(l *storage.Leaf) { l.Body = []byte(`{}`); l.Hash = tlog.LeafHash(l.Body) })}, "leaf 300 cannot be read"},
		"hash only":             {tampered{leaf: at(3, func(l *storage.Leaf) { l.Hash[0] ^= 1 })}, "leaf 3: its body"},
		"time backwards":        {tampered{leaf: at(400, func(l *storage.Leaf) { l.Time -= 3 })}, "leaf 400: its integrated time"},
		"time beyond head":      {tampered{leaf: at(699, func(l *storage.Leaf) { l.Time += 30 })}, "leaf 699: its integrated time"},
		"leaf missing":          {tampered{drop: 401}, "leaf 401 is missing"},
		"last leaf missing":     {tampered{drop: 699}, "leaf 699 is missing"},
		"key missing":           {tampered{keys: func(i int64, k []tlog.Key) []tlog.Key { return k[min(i/500, 1):] }}, "leaf 500: its 1 search keys"},
		"key too many":          {tampered{keys: func(i int64, k []tlog.Key) []tlog.Key { return append(k, tlog.Key{Type: 3, Value: "x"}) }}, "leaf 0: its 3 search keys"},
		"key set and key":       {tampered{keys: func(i int64, k []tlog.Key) []tlog.Key { return k[:1] }, leaf: func(l *storage.Leaf) { l.KeySet = keySet(t, l)[0] }}, "leaf 0 cannot be found by its publicKey"},
		"full tile":             {tampered{tile: flip(tlog.TileID{Level: 0, Index: 1, Width: 256}, 77)}, "tile 0/1: hash 77 is"},
		"upper tile":            {tampered{tile: flip(tlog.TileID{Level: 1, Index: 0, Width: 2}, 1)}, "tile 1/0.p/2: hash 1 is"},
		"tile missing":          {tampered{tile: func(id tlog.TileID, _ []tlog.Hash) error { return missing(id.Index == 1) }}, "tile 0/1 is missing"},
		"root":                  {tampered{head: func(h *storage.Head) { h.Root[9] ^= 1 }}, "the head says root"},
		"head too small":        {tampered{head: func(h *storage.Head) { h.Size = 640; h.Head = l.edges[640].Head() }}, "the high-water mark is of size 650"},
		"head time":             {tampered{head: func(h *storage.Head) { h.Time++ }}, "the head says that the last leaf is of time"},
		"checkpoint bit":        {tampered{checkpoint: func(c []byte) []byte { c[len(c)-9] ^= 1; return c }}, "the stored checkpoint:"},
		"checkpoint of a fork":  {tampered{checkpoint: func([]byte) []byte { return l.sign(tlog.Head{Size: 600, Root: tlog.EmptyRoot}) }}, "the stored checkpoint says root"},
		"checkpoint too large":  {tampered{checkpoint: func([]byte) []byte { return l.sign(tlog.Head{Size: 701, Root: tlog.EmptyRoot}) }}, "the stored checkpoint is of size 701"},
		"foreign checkpoint":    {tampered{checkpoint: func([]byte) []byte { own := *l; own.key = foreign; return own.sign(l.edges[600].Head()) }}, "the stored checkpoint:"},
		"hash index":            {tampered{find: func(m map[tlog.Hash]int64) { delete(m, l.hash(t, 9)) }}, "leaf 9 cannot be found by its hash"},
		"hash index, elsewhere": {tampered{find: func(m map[tlog.Hash]int64) { replace(m, l.hash(t, 9), 8) }}, "leaves 8 and 9 have the same hash"},
		"attestation":           {tampered{data: func(b []byte) ([]byte, error) { b[0] ^= 1; return b, nil }}, "leaf 0: its attestation has"},
		"attestation missing":   {tampered{data: func([]byte) ([]byte, error) { return nil, storage.ErrNotFound }}, "leaf 0: its attestation"},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.tampered
			s.Store = l.store
			if s.drop == 0 {
				s.drop = -1
			}
			_, err := Run(context.Background(), l.config(&s))
			if !errors.Is(err, ErrDamage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want damage that says %q", err, c.want)
			}
		})
	}
	t.Run("mark of a fork", func(t *testing.T) {
		c := l.config(l.store)
		c.Mark = &tlog.Head{Size: 650, Root: tlog.EmptyRoot}
		if _, err := Run(context.Background(), c); !errors.Is(err, ErrDamage) || !strings.Contains(err.Error(), "the high-water mark says root") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("storage down", func(t *testing.T) {
		s := tampered{Store: l.store, drop: -1, tile: func(tlog.TileID, []tlog.Hash) error { return storage.ErrUnavailable }}
		if _, err := Run(context.Background(), l.config(&s)); errors.Is(err, ErrDamage) || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("got %v, want unavailable and no damage", err)
		}
	})
}

// A log that grows while it is checked is no damage.
func TestGrowing(t *testing.T) {
	l := newTestLog(t)
	body, _ := os.ReadFile("testdata/hashedrekord.json")
	s := tampered{Store: l.store, drop: -1}
	grown := false
	s.keys = func(_ int64, k []tlog.Key) []tlog.Key {
		if !grown {
			grown = true
			l.commit(t, body, 300)
			if err := l.store.SaveCheckpoint(context.Background(), testTree, 1000, l.sign(l.edges[1000].Head())); err != nil {
				t.Error(err)
			}
		}
		return k
	}
	if r, err := Run(context.Background(), l.config(&s)); err != nil || r.Head.Size != size || r.Checkpoint != 1000 {
		t.Errorf("%+v, %v", r, err)
	}
}

func keySet(t *testing.T, l *storage.Leaf) []tlog.Hash {
	t.Helper()
	p, _ := entry.New(entry.Options{})
	info, err := p.Committed(l.Body)
	if err != nil {
		t.Fatal(err)
	}
	return []tlog.Hash{tlog.KeySetDigest(tlog.SortKeys(info.Keys)[:1])}
}

func (l *testLog) hash(t *testing.T, index int64) tlog.Hash {
	t.Helper()
	leaves, err := l.store.Leaves(context.Background(), testTree, index, 1)
	if err != nil {
		t.Fatal(err)
	}
	return leaves[0].Hash
}

func replace(m map[tlog.Hash]int64, h tlog.Hash, index int64) {
	if _, ok := m[h]; ok {
		m[h] = index
	}
}

func flip(at tlog.TileID, hash int) func(tlog.TileID, []tlog.Hash) error {
	return func(id tlog.TileID, hashes []tlog.Hash) error {
		if id == at {
			hashes[hash][5] ^= 4
		}
		return nil
	}
}

func missing(yes bool) error {
	if yes {
		return storage.ErrNotFound
	}
	return nil
}
