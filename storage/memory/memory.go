// Package memory keeps trees in memory: a store for trying things out, which
// forgets everything when the process ends, and for tests, in which it misbehaves
// on request (Store.Misbehave).
package memory

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// Store is a storage.Store in memory.
type Store struct {
	mu     sync.RWMutex // covers what follows, and all of every tree but its lock
	trees  []*tree      // oldest first
	fault  func(method string) Fault
	closed bool
}

// tree is one tree. Its slices only grow, and what is in them never changes.
type tree struct {
	storage.Tree
	lock           chan struct{} // holds one token; who has it may commit
	head           storage.Head
	checkpoint     []byte
	checkpointSize int64
	leaves         []storage.Leaf
	keys           [][]tlog.Key
	byHash         map[tlog.Hash]int64
	byKey          map[tlog.Key][]int64 // indexes, ascending
	tiles          map[place][]tlog.Hash
	attestations   map[tlog.Hash][]byte
}

type place struct {
	level int
	index int64
}

// New returns an empty store.
func New() *Store { return new(Store) }

// Fault is how a call fails. The zero Fault is none.
type Fault struct {
	// Err is what the call returns.
	Err error
	// Late makes the call take effect first.
	Late bool
}

// Misbehave makes calls fail. Before each call, f is asked with the name of the
// method ("Commit"). It may be called from many goroutines at once; nil ends the
// misbehaviour. Build is called in a commit that fails late, and not in one that
// fails early.
func (s *Store) Misbehave(f func(method string) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Faults returns a function for Misbehave that lets one call in oneIn fail, in a
// random way that a database could: a read or a readiness check is unavailable; a
// write is unavailable without effect, or has an unknown outcome, with effect or
// without. The same seed gives the same sequence.
func Faults(seed uint64, oneIn int) func(method string) Fault {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	return func(method string) Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(oneIn) > 0 {
			return Fault{}
		}
		unknown := Fault{Err: fmt.Errorf("%s: injected fault: %w", method, storage.ErrUnknown)}
		switch method {
		case "Commit", "CreateTree", "SaveCheckpoint":
			switch r.IntN(3) {
			case 0:
				return unknown
			case 1:
				unknown.Late = true
				return unknown
			}
		}
		return Fault{Err: fmt.Errorf("%s: injected fault: %w", method, storage.ErrUnavailable)}
	}
}

// call runs one method under the fault that was drawn for it.
func (s *Store) call(ctx context.Context, method string, do func() error) error {
	s.mu.RLock()
	closed, draw := s.closed, s.fault
	s.mu.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if closed {
		return fmt.Errorf("the store is closed: %w", storage.ErrUnavailable)
	}
	var f Fault
	if draw != nil {
		f = draw(method)
	}
	if f.Err != nil && !f.Late {
		return f.Err
	}
	if err := do(); err != nil {
		return err
	}
	return f.Err
}

// read runs do with the tree, while nothing changes.
func (s *Store) read(ctx context.Context, method string, id int64, do func(*tree) error) error {
	return s.call(ctx, method, func() error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		t, err := s.tree(id)
		if err != nil {
			return err
		}
		return do(t)
	})
}

// tree finds a tree. The caller holds mu.
func (s *Store) tree(id int64) (*tree, error) {
	for _, t := range s.trees {
		if t.ID == id {
			return t, nil
		}
	}
	return nil, fmt.Errorf("tree %d: %w", id, storage.ErrNotFound)
}

// CreateTree implements storage.Store.
func (s *Store) CreateTree(ctx context.Context, t storage.Tree) error {
	return s.call(ctx, "CreateTree", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, old := range s.trees {
			if old.ID == t.ID || old.API == t.API && old.State == storage.StateActive && t.State == storage.StateActive {
				return fmt.Errorf("tree %d of %s: %w (as tree %d)", t.ID, t.API, storage.ErrExists, old.ID)
			}
		}
		t.PublicKey = bytes.Clone(t.PublicKey)
		s.trees = append(s.trees, &tree{
			Tree: t, lock: make(chan struct{}, 1), head: storage.Head{Head: tlog.EmptyHead()},
			byHash: map[tlog.Hash]int64{}, byKey: map[tlog.Key][]int64{},
			tiles: map[place][]tlog.Hash{}, attestations: map[tlog.Hash][]byte{},
		})
		return nil
	})
}

// Trees implements storage.Store.
func (s *Store) Trees(ctx context.Context) (trees []storage.Tree, err error) {
	err = s.call(ctx, "Trees", func() error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		for _, t := range s.trees {
			c := t.Tree
			c.PublicKey = bytes.Clone(c.PublicKey)
			trees = append(trees, c)
		}
		return nil
	})
	return trees, err
}

// Head implements storage.Store.
func (s *Store) Head(ctx context.Context, id int64) (head storage.Head, err error) {
	err = s.read(ctx, "Head", id, func(t *tree) error {
		head = t.head
		return nil
	})
	return head, err
}

// Checkpoint implements storage.Store.
func (s *Store) Checkpoint(ctx context.Context, id int64) (text []byte, err error) {
	err = s.read(ctx, "Checkpoint", id, func(t *tree) error {
		text = bytes.Clone(t.checkpoint)
		return nil
	})
	return text, err
}

// SaveCheckpoint implements storage.Store.
func (s *Store) SaveCheckpoint(ctx context.Context, id, size int64, checkpoint []byte) error {
	return s.call(ctx, "SaveCheckpoint", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		t, err := s.tree(id)
		if err != nil {
			return err
		}
		t.saveCheckpoint(size, checkpoint)
		return nil
	})
}

func (t *tree) saveCheckpoint(size int64, checkpoint []byte) {
	if len(checkpoint) > 0 && size >= t.checkpointSize {
		t.checkpoint, t.checkpointSize = bytes.Clone(checkpoint), size
	}
}

// Commit implements storage.Store.
func (s *Store) Commit(ctx context.Context, id int64, r storage.Request) error {
	return s.call(ctx, "Commit", func() error {
		s.mu.RLock()
		t, err := s.tree(id)
		s.mu.RUnlock()
		if err != nil {
			return err
		}
		select {
		case t.lock <- struct{}{}:
			defer func() { <-t.lock }()
		case <-ctx.Done():
			return ctx.Err()
		}
		return s.commit(ctx, t, r)
	})
}

// commit does what Commit does, with the tree's lock held.
func (s *Store) commit(ctx context.Context, t *tree, r storage.Request) error {
	s.mu.RLock()
	cur := t.current(r)
	s.mu.RUnlock()
	b, err := r.Build(cur)
	if err != nil || b == nil {
		return err
	}
	if err := b.Check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := t.accepts(b); err != nil {
		return err
	}
	t.apply(b)
	return nil
}

func (t *tree) current(r storage.Request) storage.Current {
	cur := storage.Current{Head: t.head, Existing: map[tlog.Hash]storage.Existing{}}
	if n := t.head.Size - r.Known; r.Known >= 0 && n >= 0 && n <= storage.MaxSince {
		for _, l := range t.leaves[r.Known:] {
			cur.Since = append(cur.Since, l.Hash)
		}
	}
	for _, h := range r.Hashes {
		if i, ok := t.byHash[h]; ok {
			cur.Existing[h] = storage.Existing{Index: i, Time: t.leaves[i].Time}
		}
	}
	return cur
}

// accepts reports why a batch cannot be stored: what the constraints of a database
// would say.
func (t *tree) accepts(b *storage.Batch) error {
	if b.Old != t.head {
		return fmt.Errorf("tree %d is at size %d, root %v; the batch was built on size %d, root %v: %w",
			t.ID, t.head.Size, t.head.Root, b.Old.Size, b.Old.Root, storage.ErrConflict)
	}
	fresh := map[tlog.Hash]bool{}
	for _, l := range b.Leaves {
		if _, ok := t.byHash[l.Hash]; ok || fresh[l.Hash] {
			return fmt.Errorf("leaf hash %v is in the tree already: %w", l.Hash, storage.ErrConflict)
		}
		fresh[l.Hash] = true
	}
	return nil
}

func (t *tree) apply(b *storage.Batch) {
	for _, l := range b.Leaves {
		l.Body = append([]byte{}, l.Body...)
		t.leaves = append(t.leaves, l.Leaf)
		t.keys = append(t.keys, slices.Clone(l.Keys))
		t.byHash[l.Hash] = l.Index
		for _, k := range l.Keys {
			t.byKey[k] = append(t.byKey[k], l.Index)
		}
		if l.Data != nil {
			t.attestations[l.Attestation] = append([]byte{}, l.Data...)
		}
	}
	for _, tile := range b.Tiles {
		t.tiles[place{tile.Level, tile.Index}] = slices.Clone(tile.Hashes)
	}
	t.saveCheckpoint(b.CheckpointSize(), b.Checkpoint)
	t.head = b.New
}

// Tiles implements storage.Store.
func (s *Store) Tiles(ctx context.Context, id int64, ids []tlog.TileID) (tiles [][]tlog.Hash, err error) {
	err = s.read(ctx, "Tiles", id, func(t *tree) error {
		for _, tile := range ids {
			hashes := t.tile(tile)
			if !storage.ValidTile(tile) || len(hashes) < tile.Width {
				return fmt.Errorf("%v of tree %d: %w", tile, id, storage.ErrNotFound)
			}
			tiles = append(tiles, slices.Clone(hashes[:tile.Width]))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tiles, nil
}

// tile returns a tile's hashes, as many as there are.
func (t *tree) tile(id tlog.TileID) []tlog.Hash {
	if hashes, ok := t.tiles[place{id.Level, id.Index}]; ok || id.Level > 0 {
		return hashes
	}
	var hashes []tlog.Hash
	for _, l := range t.slice(id.Index*tlog.TileWidth, tlog.TileWidth-1) {
		hashes = append(hashes, l.Hash)
	}
	return hashes
}

// slice returns up to n leaves from start.
func (t *tree) slice(start int64, n int) []storage.Leaf {
	if start < 0 || start >= int64(len(t.leaves)) || n <= 0 {
		return nil
	}
	return t.leaves[start:][:min(n, len(t.leaves)-int(start))]
}

// Leaves implements storage.Store.
func (s *Store) Leaves(ctx context.Context, id, start int64, n int) (leaves []storage.Leaf, err error) {
	err = s.read(ctx, "Leaves", id, func(t *tree) error {
		leaves = slices.Clone(t.slice(start, n))
		for i := range leaves {
			leaves[i].Body = append([]byte{}, leaves[i].Body...)
		}
		return nil
	})
	return leaves, err
}

// LeavesAt implements storage.Store.
func (s *Store) LeavesAt(ctx context.Context, id int64, indexes []int64) (leaves []storage.Leaf, err error) {
	err = s.at(ctx, "LeavesAt", id, indexes, func(l storage.Leaf) {
		l.Body = append([]byte{}, l.Body...)
		leaves = append(leaves, l)
	})
	if err != nil {
		return nil, err
	}
	return leaves, nil
}

// Times implements storage.Store.
func (s *Store) Times(ctx context.Context, id int64, indexes []int64) (times []int64, err error) {
	err = s.at(ctx, "Times", id, indexes, func(l storage.Leaf) { times = append(times, l.Time) })
	if err != nil {
		return nil, err
	}
	return times, nil
}

// at calls do for the leaf at each index.
func (s *Store) at(ctx context.Context, method string, id int64, indexes []int64, do func(storage.Leaf)) error {
	return s.read(ctx, method, id, func(t *tree) error {
		for _, i := range indexes {
			if i < 0 || i >= int64(len(t.leaves)) {
				return fmt.Errorf("leaf %d of tree %d: %w", i, id, storage.ErrNotFound)
			}
			do(t.leaves[i])
		}
		return nil
	})
}

// Find implements storage.Store.
func (s *Store) Find(ctx context.Context, id int64, hashes []tlog.Hash) (found map[tlog.Hash]int64, err error) {
	err = s.read(ctx, "Find", id, func(t *tree) error {
		found = map[tlog.Hash]int64{}
		for _, h := range hashes {
			if i, ok := t.byHash[h]; ok {
				found[h] = i
			}
		}
		return nil
	})
	return found, err
}

// Attestation implements storage.Store.
func (s *Store) Attestation(ctx context.Context, id int64, digest tlog.Hash) (data []byte, err error) {
	err = s.read(ctx, "Attestation", id, func(t *tree) error {
		d, ok := t.attestations[digest]
		if !ok {
			return fmt.Errorf("attestation %v of tree %d: %w", digest, id, storage.ErrNotFound)
		}
		data = append([]byte{}, d...)
		return nil
	})
	return data, err
}

// Keys implements storage.Store.
func (s *Store) Keys(ctx context.Context, id, start int64, n int) (keys [][]tlog.Key, err error) {
	err = s.read(ctx, "Keys", id, func(t *tree) error {
		for _, l := range t.slice(start, n) {
			keys = append(keys, slices.Clone(t.keys[l.Index]))
		}
		return nil
	})
	return keys, err
}

// KeysOf implements storage.Store.
func (s *Store) KeysOf(ctx context.Context, id int64, typ tlog.KeyType, start int64, n int) (keys [][]tlog.Key, err error) {
	err = s.read(ctx, "KeysOf", id, func(t *tree) error {
		for _, l := range t.slice(start, n) {
			keys = append(keys, slices.DeleteFunc(slices.Clone(t.keys[l.Index]), func(k tlog.Key) bool { return k.Type != typ }))
		}
		return nil
	})
	return keys, err
}

// KeysBeginning implements storage.Store. It looks at every key of the tree.
func (s *Store) KeysBeginning(ctx context.Context, id int64, prefix tlog.Key, n int) (keys []tlog.Key, err error) {
	from, end := storage.PackPrefix(prefix)
	err = s.read(ctx, "KeysBeginning", id, func(t *tree) error {
		for k := range t.byKey {
			if p := storage.PackKey(k); bytes.Compare(from, p) <= 0 && bytes.Compare(p, end) < 0 {
				keys = append(keys, k)
			}
		}
		return nil
	})
	keys = tlog.SortKeys(keys)
	return keys[:min(max(n, 0), len(keys))], err
}

// Search implements storage.Store. It looks at every entry that has one of the
// keys.
func (s *Store) Search(ctx context.Context, q storage.Query) (res storage.Result, err error) {
	err = s.call(ctx, "Search", func() error {
		s.mu.RLock()
		defer s.mu.RUnlock()
		res.CompleteTo = map[int64]int64{}
		for _, in := range q.In {
			t, err := s.tree(in.Tree)
			if err != nil {
				return err
			}
			res.CompleteTo[t.ID] = t.head.Size
			for _, i := range t.search(q, in) {
				res.Matches = append(res.Matches, storage.Match{Tree: t.ID, Index: i, Hash: t.leaves[i].Hash})
			}
		}
		if limit := max(q.Limit, 1); len(res.Matches) > limit {
			res.Matches, res.Truncated = res.Matches[:limit], true
		}
		return nil
	})
	if err != nil {
		return storage.Result{}, err
	}
	return res, nil
}

// search returns the indexes in a range that match, newest first.
func (t *tree) search(q storage.Query, in storage.Range) []int64 {
	terms := map[int64]int{} // how many terms an index matches
	for _, term := range q.Terms {
		seen := map[int64]bool{}
		for _, k := range term {
			for _, i := range t.byKey[k] {
				if !seen[i] && i >= in.From && i < in.To {
					seen[i] = true
					terms[i]++
				}
			}
		}
	}
	var found []int64
	for i, n := range terms {
		if !q.All || n == len(q.Terms) {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// Ready implements storage.Store.
func (s *Store) Ready(ctx context.Context) error {
	return s.call(ctx, "Ready", func() error { return nil })
}

// Close implements storage.Store. Calls after it fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
