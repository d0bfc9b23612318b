package tlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// The slow, obvious twin: RFC 6962, section 2.1, as it is written.

func referenceRoot(leaves []Hash) Hash {
	switch n := int64(len(leaves)); n {
	case 0:
		return EmptyRoot
	case 1:
		return leaves[0]
	default:
		k := referenceSplit(n)
		return NodeHash(referenceRoot(leaves[:k]), referenceRoot(leaves[k:]))
	}
}

func referenceSplit(n int64) int64 {
	k := int64(1)
	for k*2 < n {
		k *= 2
	}
	return k
}

func referencePath(m int64, leaves []Hash) []Hash {
	n := int64(len(leaves))
	if n == 1 {
		return nil
	}
	k := referenceSplit(n)
	if m < k {
		return append(referencePath(m, leaves[:k]), referenceRoot(leaves[k:]))
	}
	return append(referencePath(m-k, leaves[k:]), referenceRoot(leaves[:k]))
}

func referenceSubproof(m int64, leaves []Hash, b bool) []Hash {
	n := int64(len(leaves))
	if m == n {
		if b {
			return nil
		}
		return []Hash{referenceRoot(leaves)}
	}
	k := referenceSplit(n)
	if m <= k {
		return append(referenceSubproof(m, leaves[:k], b), referenceRoot(leaves[k:]))
	}
	return append(referenceSubproof(m-k, leaves[k:], false), referenceRoot(leaves[:k]))
}

func testLeaves(n int) []Hash {
	leaves := make([]Hash, n)
	for i := range leaves {
		leaves[i] = LeafHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	return leaves
}

// tileMap keeps what Extend says is to be stored, as a Store would: partial tiles
// of level 0 come from the leaves.
type tileMap struct {
	leaves []Hash
	tiles  map[TileID][]Hash // by full name, whatever the width
}

func (m *tileMap) add(tiles []Tile) {
	for _, t := range tiles {
		m.tiles[TileID{Level: t.Level, Index: t.Index}] = t.Hashes
	}
}

func (m *tileMap) ReadTiles(_ context.Context, ids []TileID) ([]*Subtrees, error) {
	out := make([]*Subtrees, len(ids))
	for i, id := range ids {
		hashes := m.tiles[TileID{Level: id.Level, Index: id.Index}]
		if id.Level == 0 && hashes == nil {
			hashes = m.leaves[id.Index*TileWidth:]
		}
		if len(hashes) < id.Width {
			return nil, fmt.Errorf("%v has only %d hashes", id, len(hashes))
		}
		out[i] = NewSubtrees(hashes[:id.Width])
	}
	return out, nil
}

// Every tree up to 300 leaves, and some around the places where tiles fill up:
// roots, tiles and all proofs against the reference and the verifier.
func TestSmallTrees(t *testing.T) {
	leaves := testLeaves(600)
	store := &tileMap{leaves: leaves, tiles: map[TileID][]Hash{}}
	edge := NewEdge()
	ctx := context.Background()
	for size := int64(0); size <= 600; size++ {
		if size > 0 {
			store.add(edge.Extend(leaves[size-1 : size]))
		}
		head := edge.Head()
		if want := referenceRoot(leaves[:size]); head.Root != want || head.Size != size {
			t.Fatalf("size %d: edge says %d, root %v, want %v", size, head.Size, head.Root, want)
		}
		loaded, err := LoadEdge(ctx, store, size)
		if err != nil || loaded.Head() != head {
			t.Fatalf("size %d: loaded edge has head %v, %v, want %v", size, loaded.Head(), err, head)
		}
		if size > 40 && size%97 != 0 && (size < 254 || size > 258) && (size < 510 || size > 514) {
			continue
		}
		view := &View{Head: head, Tiles: store}
		for i := int64(0); i < size; i++ {
			path, err := view.Inclusion(ctx, i)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(path, referencePath(i, leaves[:size])) {
				t.Fatalf("inclusion proof of %d in %d differs from the reference", i, size)
			}
			if err := VerifyInclusion(leaves[i], i, head, path); err != nil {
				t.Fatalf("inclusion of %d in %d: %v", i, size, err)
			}
		}
		for first := int64(1); first <= size; first++ {
			path, err := view.Consistency(ctx, first, size)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(path, referenceSubproof(first, leaves[:size], true)) {
				t.Fatalf("consistency proof from %d to %d differs from the reference", first, size)
			}
			if err := VerifyConsistency(Head{first, referenceRoot(leaves[:first])}, head, path); err != nil {
				t.Fatalf("consistency from %d to %d: %v", first, size, err)
			}
			root, err := RootAt(ctx, store, first, size)
			if err != nil || root != referenceRoot(leaves[:first]) {
				t.Fatalf("root at %d in %d: %v, %v", first, size, root, err)
			}
		}
	}
}

// However the leaves are cut into batches, past two levels of tiles, the tiles and
// the root are the same; and an edge that was thrown away leaves no trace.
func TestBatches(t *testing.T) {
	const n = 70000
	leaves := testLeaves(n)
	want := referenceRoot(leaves)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		store := &tileMap{leaves: leaves, tiles: map[TileID][]Hash{}}
		edge := NewEdge()
		for edge.Size() < n {
			size := []int64{1, 2, 255, 256, 257, 1000, 5000, 65536}[rnd.IntN(8)]
			end := min(edge.Size()+size, n)
			next := edge.Clone()
			next.Extend(testLeaves(3)) // a batch that failed
			next = edge.Clone()
			store.add(next.Extend(leaves[edge.Size():end]))
			edge = next
		}
		if edge.Root() != want {
			t.Fatalf("seed %d: root %v, want %v", seed, edge.Root(), want)
		}
		full, _ := store.ReadTiles(context.Background(), []TileID{{1, 0, 256}, {1, 1, 17}, {2, 0, 1}})
		if full[2].Hashes()[0] != referenceRoot(leaves[:65536]) || full[1].Hashes()[16] != referenceRoot(leaves[65536+16*256:65536+17*256]) {
			t.Fatalf("seed %d: upper tiles are wrong", seed)
		}
		view := &View{Head: edge.Head(), Tiles: store}
		for range 20 {
			i, first := rnd.Int64N(n), 1+rnd.Int64N(n)
			second := first + rnd.Int64N(n-first+1)
			path, err := view.Inclusion(context.Background(), i)
			if err == nil {
				err = VerifyInclusion(leaves[i], i, view.Head, path)
			}
			if err != nil {
				t.Fatalf("seed %d: inclusion of %d: %v", seed, i, err)
			}
			path, err = view.Consistency(context.Background(), first, second)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := RootAt(context.Background(), store, first, n)
			b, _ := RootAt(context.Background(), store, second, n)
			if err := VerifyConsistency(Head{first, a}, Head{second, b}, path); err != nil {
				t.Fatalf("seed %d: consistency from %d to %d: %v", seed, first, second, err)
			}
		}
	}
}

// Proofs that do not exist are refused, and wrong ones do not verify.
func TestProofErrors(t *testing.T) {
	leaves := testLeaves(5)
	store := &tileMap{leaves: leaves, tiles: map[TileID][]Hash{}}
	edge := NewEdge()
	store.add(edge.Extend(leaves))
	view := &View{Head: edge.Head(), Tiles: store}
	ctx := context.Background()
	for _, i := range []int64{-1, 5, 1 << 62} {
		if _, err := view.Inclusion(ctx, i); err == nil {
			t.Errorf("inclusion proof of leaf %d of 5", i)
		}
		if VerifyInclusion(leaves[0], i, view.Head, nil) == nil {
			t.Errorf("leaf %d of 5 verified", i)
		}
	}
	for _, p := range [][2]int64{{0, 3}, {3, 2}, {1, 6}, {-1, 3}} {
		if _, err := view.Consistency(ctx, p[0], p[1]); err == nil {
			t.Errorf("consistency proof from %d to %d of 5", p[0], p[1])
		}
	}
	path, _ := view.Inclusion(ctx, 2)
	for i := range path {
		bad := append([]Hash(nil), path...)
		bad[i][7] ^= 1
		if VerifyInclusion(leaves[2], 2, view.Head, bad) == nil {
			t.Errorf("inclusion proof with a flipped bit in hash %d verified", i)
		}
	}
	if VerifyInclusion(leaves[2], 3, view.Head, path) == nil || VerifyInclusion(leaves[1], 2, view.Head, path) == nil {
		t.Error("inclusion proof of another leaf verified")
	}
	if VerifyConsistency(Head{0, LeafHash(nil)}, view.Head, nil) == nil || VerifyConsistency(Head{3, EmptyRoot}, view.Head, nil) == nil {
		t.Error("consistency from a wrong head verified")
	}
	if VerifyConsistency(view.Head, Head{3, EmptyRoot}, nil) == nil {
		t.Error("a smaller tree extends a larger one")
	}
	if err := VerifyConsistency(EmptyHead(), view.Head, nil); err != nil {
		t.Errorf("a tree extends the empty one: %v", err)
	}
}

func equal(a, b []Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func BenchmarkExtend(b *testing.B) {
	leaves := testLeaves(64)
	edge := NewEdge()
	edge.Extend(testLeaves(100000))
	b.ReportAllocs()
	for b.Loop() {
		next := edge.Clone()
		next.Extend(leaves)
		next.Root()
		edge = next
	}
}

func BenchmarkInclusion(b *testing.B) {
	leaves := testLeaves(100000)
	edge := NewEdge()
	edge.Extend(leaves)
	store := cached{}
	for _, t := range NewEdge().Extend(leaves) {
		store[t.ID()] = NewSubtrees(t.Hashes)
	}
	for _, id := range EdgeTiles(100000) {
		store[id] = edge.Tile(id)
	}
	view := &View{Head: edge.Head(), Tiles: store}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := view.Inclusion(context.Background(), 54321); err != nil {
			b.Fatal(err)
		}
	}
}

type cached map[TileID]*Subtrees

func (c cached) ReadTiles(_ context.Context, ids []TileID) ([]*Subtrees, error) {
	out := make([]*Subtrees, len(ids))
	for i, id := range ids {
		out[i] = c[id]
	}
	return out, nil
}
