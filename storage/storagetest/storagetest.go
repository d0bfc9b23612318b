// Package storagetest holds the one suite that every storage.Store passes, and
// what it is made of: a Writer that commits as a server does, and Check, which
// reads a whole tree back and compares it with itself. Tests of crashes and of
// other back ends use them too.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// Run runs the suite. Each call of open returns an empty store that no other has
// to do with; it is closed by open's own t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, storage.Store)
	}{
		{"Trees", testTrees},
		{"UnknownTree", testUnknownTree},
		{"EmptyTree", testEmptyTree},
		{"CommitSizes", testCommitSizes},
		{"LeafFields", testLeafFields},
		{"LeafRanges", testLeafRanges},
		{"LeavesAt", testLeavesAt},
		{"Find", testFind},
		{"Since", testSince},
		{"MaxSince", testMaxSince},
		{"Existing", testExisting},
		{"Refusals", testRefusals},
		{"BuildSaysNo", testBuildSaysNo},
		{"BuildPanics", testBuildPanics},
		{"Checkpoints", testCheckpoints},
		{"Attestations", testAttestations},
		{"Tiles", testTiles},
		{"UpperTiles", testUpperTiles},
		{"LargeBatch", testLargeBatch},
		{"Search", testSearch},
		{"SearchLimits", testSearchLimits},
		{"SearchFrequentAndRare", testSearchFrequentAndRare},
		{"HostileKeys", testHostileKeys},
		{"KeysBeginning", testKeysBeginning},
		{"KeysBeginningFrequent", testKeysBeginningFrequent},
		{"Concurrent", func(t *testing.T, s storage.Store) { testConcurrent(t, s, s) }},
		{"CancelWhileWaiting", testCancelWhileWaiting},
		{"CancelAnywhere", testCancelAnywhere},
		{"ReadsWhileCommitting", testReadsWhileCommitting},
		{"CancelledReads", testCancelledReads},
		{"Closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// RunShared runs what concerns stores that share one database. Each call of open
// returns two on an empty database.
func RunShared(t *testing.T, open func(t *testing.T) (a, b storage.Store)) {
	t.Run("Concurrent", func(t *testing.T) {
		a, b := open(t)
		testConcurrent(t, a, b)
	})
	t.Run("ReadYourWrites", func(t *testing.T) {
		a, b := open(t)
		testReadYourWrites(t, a, b)
	})
	t.Run("CreateTree", func(t *testing.T) {
		a, b := open(t)
		testCreateTreeRace(t, a, b)
	})
}

// TreeID is the ID of the tree that CreateTree makes.
const TreeID int64 = 0x1122334455667788

// CreateTree makes an active v1 tree.
func CreateTree(t testing.TB, s storage.Store) {
	t.Helper()
	tree := storage.Tree{ID: TreeID, Origin: "localhost - 1", API: storage.APIv1, State: storage.StateActive, PublicKey: []byte{1}, Created: 1_700_000_000}
	if err := s.CreateTree(t.Context(), tree); err != nil {
		t.Fatalf("creating the tree: %v", err)
	}
}

// Leaf returns a leaf with that body and those keys; its index and time are still
// to be set.
func Leaf(body string, keys ...tlog.Key) storage.NewLeaf {
	keys = tlog.SortKeys(keys)
	return storage.NewLeaf{
		Leaf: storage.Leaf{Hash: tlog.LeafHash([]byte(body)), Body: []byte(body), KeySet: tlog.KeySetDigest(keys)},
		Keys: keys,
	}
}

// Leaves returns n different leaves, each with a key of its own and one that all
// leaves with the name share.
func Leaves(name string, n int) []storage.NewLeaf {
	leaves := make([]storage.NewLeaf, n)
	for i := range leaves {
		body := fmt.Sprintf("%s %d", name, i)
		leaves[i] = Leaf(body,
			tlog.Key{Type: tlog.KeyDigest, Value: "sha256:" + tlog.LeafHash([]byte(body)).String()},
			tlog.Key{Type: tlog.KeyIdentity, Value: name})
	}
	return leaves
}

// Writer commits to one tree as a server does: it keeps the tree's right edge in
// memory, catches up with what others added, and drops leaves that are there
// already. It is used by one goroutine.
type Writer struct {
	Store storage.Store
	Tree  int64
	// BeforeBatch, if not nil, may change the batch about to be stored.
	BeforeBatch func(*storage.Batch)

	edge *tlog.Edge
	time int64
}

// NewWriter returns a writer that knows nothing yet about the tree.
func NewWriter(s storage.Store) *Writer {
	return &Writer{Store: s, Tree: TreeID, edge: tlog.NewEdge(), time: 1_700_000_000}
}

// Commit makes sure that the leaves are in the tree.
func (w *Writer) Commit(ctx context.Context, leaves ...storage.NewLeaf) error {
	hashes := make([]tlog.Hash, len(leaves))
	for i, l := range leaves {
		hashes[i] = l.Hash
	}
	var grown *tlog.Edge
	err := w.Store.Commit(ctx, w.Tree, storage.Request{
		Known: w.edge.Size(), Hashes: hashes,
		Build: func(cur storage.Current) (b *storage.Batch, err error) {
			grown, b, err = w.build(cur, leaves)
			return b, err
		},
	})
	if err == nil && grown != nil {
		w.edge = grown
	}
	return err
}

// build makes the batch, and the edge that the tree has after it.
func (w *Writer) build(cur storage.Current, leaves []storage.NewLeaf) (*tlog.Edge, *storage.Batch, error) {
	edge := w.edge.Clone()
	if edge.Size()+int64(len(cur.Since)) != cur.Head.Size {
		return nil, nil, fmt.Errorf("knew %d leaves and was given %d more, but the tree has %d", edge.Size(), len(cur.Since), cur.Head.Size)
	}
	edge.Extend(cur.Since)
	if edge.Root() != cur.Head.Root {
		return nil, nil, fmt.Errorf("at size %d the stored root is %v, not %v", edge.Size(), cur.Head.Root, edge.Root())
	}
	w.time++
	b := &storage.Batch{Old: cur.Head, New: storage.Head{Time: max(w.time, cur.Head.Time)}}
	var fresh []tlog.Hash
	for _, l := range leaves {
		if _, ok := cur.Existing[l.Hash]; ok {
			continue
		}
		l.Index, l.Time = cur.Head.Size+int64(len(fresh)), b.New.Time
		b.Leaves, fresh = append(b.Leaves, l), append(fresh, l.Hash)
	}
	if len(leaves) > 0 && len(fresh) == 0 {
		return edge, nil, nil
	}
	b.Tiles = edge.Extend(fresh)
	b.New.Head = edge.Head()
	if w.BeforeBatch != nil {
		w.BeforeBatch(b)
	}
	return edge, b, nil
}

// mustCommit commits and fails the test if that fails.
func (w *Writer) mustCommit(t *testing.T, leaves ...storage.NewLeaf) {
	t.Helper()
	if err := w.Commit(t.Context(), leaves...); err != nil {
		t.Fatalf("committing %d leaves at size %d: %v", len(leaves), w.edge.Size(), err)
	}
}

// Check reads the whole tree back and reports whether everything in it fits
// together: indexes, leaf hashes, root, all tiles, search keys with their digest,
// and whether the leaves can be found by hash. It returns the leaf hashes.
func Check(t testing.TB, s storage.Store, tree int64) []tlog.Hash {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	head, err := s.Head(ctx, tree)
	if err != nil {
		t.Fatalf("reading the head: %v", err)
	}
	hashes, err := checkLeaves(ctx, s, tree, head)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkTiles(ctx, s, tree, hashes); err != nil {
		t.Fatal(err)
	}
	found, err := s.Find(ctx, tree, hashes)
	if err != nil {
		t.Fatalf("finding %d hashes: %v", len(hashes), err)
	}
	want := map[tlog.Hash]int64{}
	for i, h := range hashes {
		want[h] = int64(i)
	}
	if !maps.Equal(found, want) {
		t.Fatalf("of %d leaves %d were found by hash, or at other places", len(want), len(found))
	}
	return hashes
}

// checkLeaves checks leaves, keys and root.
func checkLeaves(ctx context.Context, s storage.Store, tree int64, head storage.Head) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	edge := tlog.NewEdge()
	for int64(len(hashes)) < head.Size {
		start := int64(len(hashes))
		n := min(1000, int(head.Size-start))
		leaves, err1 := s.Leaves(ctx, tree, start, n)
		keys, err2 := s.Keys(ctx, tree, start, n)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if len(leaves) != n || len(keys) != n {
			return nil, fmt.Errorf("got %d leaves and %d key sets from %d, not %d", len(leaves), len(keys), start, n)
		}
		for i, l := range leaves {
			switch {
			case l.Index != start+int64(i):
				return nil, fmt.Errorf("leaf %d is in the place of leaf %d", l.Index, start+int64(i))
			case l.Hash != tlog.LeafHash(l.Body):
				return nil, fmt.Errorf("leaf %d has another hash than its body", l.Index)
			case l.KeySet != tlog.KeySetDigest(keys[i]):
				return nil, fmt.Errorf("leaf %d has other keys than its digest says: %q", l.Index, keys[i])
			case l.Time > head.Time:
				return nil, fmt.Errorf("leaf %d has time %d, after the head's %d", l.Index, l.Time, head.Time)
			}
			hashes = append(hashes, l.Hash)
		}
		edge.Extend(hashes[start:])
	}
	if more, err := s.Leaves(ctx, tree, head.Size, 1); err == nil && len(more) > 0 {
		if now, err := s.Head(ctx, tree); err == nil && now == head {
			return nil, fmt.Errorf("there are leaves beyond the tree's size %d", head.Size)
		}
	}
	if edge.Root() != head.Root {
		return nil, fmt.Errorf("the root of the %d leaves is %v, and the head says %v", head.Size, edge.Root(), head.Root)
	}
	return hashes, nil
}

// checkTiles compares all tiles with the textbook: level by level, from the leaves.
func checkTiles(ctx context.Context, s storage.Store, tree int64, hashes []tlog.Hash) error {
	for level := 0; len(hashes) > 0; level++ {
		var ids []tlog.TileID
		var want [][]tlog.Hash
		for part := range slices.Chunk(hashes, tlog.TileWidth) {
			ids = append(ids, tlog.TileID{Level: level, Index: int64(len(ids)), Width: len(part)})
			want = append(want, part)
		}
		got, err := s.Tiles(ctx, tree, ids)
		if err != nil {
			return fmt.Errorf("reading the %d tiles of level %d: %w", len(ids), level, err)
		}
		for i := range ids {
			if !slices.Equal(got[i], want[i]) {
				return fmt.Errorf("%v has wrong hashes", ids[i])
			}
		}
		hashes = above(hashes)
	}
	return nil
}

// above returns the hashes of the tile level above those of one level.
func above(hashes []tlog.Hash) []tlog.Hash {
	var up []tlog.Hash
	for len(hashes) >= tlog.TileWidth {
		row := hashes[:tlog.TileWidth]
		for len(row) > 1 {
			var next []tlog.Hash
			for pair := range slices.Chunk(row, 2) {
				next = append(next, tlog.NodeHash(pair[0], pair[1]))
			}
			row = next
		}
		up, hashes = append(up, row[0]), hashes[tlog.TileWidth:]
	}
	return up
}

// wantErr reports an error that is not the wanted one.
func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// mustHead reads the head.
func mustHead(t *testing.T, s storage.Store) storage.Head {
	t.Helper()
	h, err := s.Head(t.Context(), TreeID)
	if err != nil {
		t.Fatalf("reading the head: %v", err)
	}
	return h
}
