package tlog

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// span is a run of leaves, lo … hi-1, that has a hash of its own in some tree: lo is
// a multiple of the largest power of two in hi-lo.
type span struct{ lo, hi int64 }

// subtree is a perfect subtree: node index, from the left, of a tree level.
type subtree struct {
	level int
	index int64
}

// splitPoint returns the largest power of two below n; n is at least 2 (k in RFC
// 6962, section 2.1).
func splitPoint(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }

// inclusionSpans returns the spans whose hashes are the inclusion proof, leaf to
// root: PATH(m, D[n]) of RFC 6962, section 2.1.1.
func inclusionSpans(index int64, s span) []span {
	if s.hi-s.lo == 1 {
		return nil
	}
	mid := s.lo + splitPoint(s.hi-s.lo)
	if index < mid {
		return append(inclusionSpans(index, span{s.lo, mid}), span{mid, s.hi})
	}
	return append(inclusionSpans(index, span{mid, s.hi}), span{s.lo, mid})
}

// consistencySpans returns the spans whose hashes are the consistency proof:
// SUBPROOF(m, D[n], b) of RFC 6962, section 2.1.2, with first counted from 0. known
// is b: the verifier has the hash of the first span already.
func consistencySpans(first int64, s span, known bool) []span {
	if first == s.hi {
		if known {
			return nil
		}
		return []span{s}
	}
	mid := s.lo + splitPoint(s.hi-s.lo)
	if first <= mid {
		return append(consistencySpans(first, span{s.lo, mid}, known), span{mid, s.hi})
	}
	return append(consistencySpans(first, span{mid, s.hi}, false), span{s.lo, mid})
}

// subtrees returns the perfect subtrees that make up a span, left to right.
func (s span) subtrees() []subtree {
	var out []subtree
	for lo, rest := s.lo, s.hi-s.lo; rest > 0; {
		level := bits.Len64(uint64(rest)) - 1
		out = append(out, subtree{level, lo >> level})
		lo += 1 << level
		rest -= 1 << level
	}
	return out
}

// place says where in which tile a subtree's root stands, in a tree of that size.
func (n subtree) place(size int64) (id TileID, row int, pos int64) {
	level, row := n.level/TileHeight, n.level%TileHeight
	perTile := TileHeight - row // log2 of how many such subtrees a tile has
	index := n.index >> perTile
	return TileID{level, index, widthAt(level, index, size)}, row, n.index - index<<perTile
}

// hashSpans returns the hashes of spans of a tree of that size, reading all tiles
// that are needed at once.
func hashSpans(ctx context.Context, tiles TileReader, size int64, spans []span) ([]Hash, error) {
	var ids []TileID
	at := make(map[TileID]int)
	parts := make([][]subtree, len(spans))
	for i, s := range spans {
		parts[i] = s.subtrees()
		for _, n := range parts[i] {
			id, _, _ := n.place(size)
			if _, ok := at[id]; !ok {
				at[id] = len(ids)
				ids = append(ids, id)
			}
		}
	}
	got, err := tiles.ReadTiles(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if n := len(got[i].Hashes()); n != id.Width {
			return nil, fmt.Errorf("%v has %d hashes", id, n)
		}
	}
	hashes := make([]Hash, len(spans))
	for i, p := range parts {
		for j := len(p) - 1; j >= 0; j-- {
			id, row, pos := p[j].place(size)
			h := got[at[id]].rows[row][pos]
			if j == len(p)-1 {
				hashes[i] = h
			} else {
				hashes[i] = NodeHash(h, hashes[i])
			}
		}
	}
	return hashes, nil
}

// InclusionProof returns the inclusion proof, leaf to root, of a leaf in a tree of
// that size, 0 <= index < size, from the tiles of that tree.
func InclusionProof(ctx context.Context, tiles TileReader, index, size int64) ([]Hash, error) {
	if index < 0 || index >= size {
		return nil, fmt.Errorf("no leaf %d in a tree of size %d", index, size)
	}
	return hashSpans(ctx, tiles, size, inclusionSpans(index, span{0, size}))
}

// ConsistencyProof returns the proof that the tree of size second extends the tree
// of size first, 1 <= first <= second <= size, from the tiles of the tree at size.
func ConsistencyProof(ctx context.Context, tiles TileReader, first, second, size int64) ([]Hash, error) {
	if first < 1 || first > second || second > size {
		return nil, fmt.Errorf("no consistency proof from %d to %d in a tree of size %d", first, second, size)
	}
	return hashSpans(ctx, tiles, size, consistencySpans(first, span{0, second}, true))
}

// RootAt returns the root hash that the tree had when its size was at, 0 <= at <=
// size, from the tiles of the tree at size.
func RootAt(ctx context.Context, tiles TileReader, at, size int64) (Hash, error) {
	if at < 0 || at > size {
		return Hash{}, fmt.Errorf("no root of size %d in a tree of size %d", at, size)
	}
	if at == 0 {
		return EmptyRoot, nil
	}
	hashes, err := hashSpans(ctx, tiles, size, []span{{0, at}})
	if err != nil {
		return Hash{}, err
	}
	return hashes[0], nil
}

// VerifyInclusion checks that a leaf with this hash stands at index under head (RFC
// 9162, section 2.1.3.2). It allocates nothing.
func VerifyInclusion(leaf Hash, index int64, head Head, path []Hash) error {
	if index < 0 || index >= head.Size {
		return fmt.Errorf("no leaf %d in a tree of size %d", index, head.Size)
	}
	root, at, last := leaf, index, head.Size-1 // at and last are node indexes of one level
	for _, sibling := range path {
		if last == 0 {
			return errors.New("the inclusion proof is too long")
		}
		if at&1 == 1 || at == last {
			root = NodeHash(sibling, root)
			for at&1 == 0 && at != 0 { // the last node of a level that has none to pair with moves up
				at >>= 1
				last >>= 1
			}
		} else {
			root = NodeHash(root, sibling)
		}
		at >>= 1
		last >>= 1
	}
	if last != 0 {
		return errors.New("the inclusion proof is too short")
	}
	if root != head.Root {
		return fmt.Errorf("the inclusion proof leads to the root %v, not %v", root, head.Root)
	}
	return nil
}

// VerifyConsistency checks that second extends first. Every tree extends the empty
// one, for which there is no proof: the path must then be empty.
func VerifyConsistency(first, second Head, path []Hash) error {
	if first.Size < 0 || first.Size > second.Size {
		return fmt.Errorf("a tree of size %d does not extend one of size %d", second.Size, first.Size)
	}
	if first.Size == 0 {
		if first.Root != EmptyRoot || len(path) > 0 {
			return fmt.Errorf("an empty tree has root %v and needs no proof, not %v and %d hashes", EmptyRoot, first.Root, len(path))
		}
		return nil
	}
	return proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(first.Size), uint64(second.Size), rawHashes(path), first.Root[:], second.Root[:])
}

// rawHashes returns the hashes in the form that the merkle library takes.
func rawHashes(hashes []Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}
