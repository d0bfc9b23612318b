package monitor

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/tallystick/tallystick/tlog"
)

// peaks is a tree of which only that is kept which is needed to add leaves and to know the root: the roots of the
// perfect subtrees that it is made of (RFC 6962, section 2.1), largest first.
type peaks struct {
	size   int64
	hashes []tlog.Hash
}

// newPeaks returns the tree of a size with these subtrees, of which there have to be as many as it has.
func newPeaks(size int64, hashes []tlog.Hash) (*peaks, error) {
	if size < 0 || bits.OnesCount64(uint64(size)) != len(hashes) {
		return nil, fmt.Errorf("a tree of size %d is not made of %d perfect subtrees", size, len(hashes))
	}
	return &peaks{size, hashes}, nil
}

// add adds a leaf.
func (p *peaks) add(leaf tlog.Hash) {
	for n := p.size; n&1 == 1; n >>= 1 {
		last := len(p.hashes) - 1
		leaf = tlog.NodeHash(p.hashes[last], leaf)
		p.hashes = p.hashes[:last]
	}
	p.hashes = append(p.hashes, leaf)
	p.size++
}

// head returns the tree's head.
func (p *peaks) head() tlog.Head {
	h := tlog.EmptyHead()
	h.Size = p.size
	for i := len(p.hashes) - 1; i >= 0; i-- {
		if i == len(p.hashes)-1 {
			h.Root = p.hashes[i]
		} else {
			h.Root = tlog.NodeHash(p.hashes[i], h.Root)
		}
	}
	return h
}

func (p *peaks) clone() *peaks { return &peaks{p.size, slices.Clone(p.hashes)} }

// peaksBefore returns the tree of all leaves before one, from the inclusion proof of that: its perfect subtrees are the
// hashes that come in from the left on the way up (RFC 9162, section 2.1.3.2; on the tree's right edge, all do). Nothing of the proof is verified: the
// caller compares the root that the tree gets when the leaf is added.
func peaksBefore(index, size int64, path []tlog.Hash) (*peaks, error) {
	if index < 0 || index >= size {
		return nil, fmt.Errorf("no leaf %d in a tree of size %d", index, size)
	}
	var left []tlog.Hash
	at, last := index, size-1
	for _, h := range path {
		if at&1 == 1 || at == last {
			left = append(left, h)
		}
		at, last = at>>1, last>>1
	}
	slices.Reverse(left)
	return newPeaks(index, left)
}

// prefixRoot returns the root hash that a consistency proof between two sizes, 0 < first < second, gives the smaller tree,
// whatever the smaller tree was said to be (RFC 9162, section 2.1.4.2). It is not told whether the proof holds. Of a first that is a
// power of two there is none: the proof leaves it out.
func prefixRoot(first, second int64, path []tlog.Hash) (root tlog.Hash, ok bool) {
	if first <= 0 || first >= second || first&(first-1) == 0 || len(path) == 0 {
		return root, false
	}
	at, last := first-1, second-1
	for at&1 == 1 {
		at, last = at>>1, last>>1
	}
	root = path[0]
	for _, h := range path[1:] {
		if at&1 == 1 || at == last {
			root = tlog.NodeHash(h, root)
		}
		at, last = at>>1, last>>1
	}
	return root, true
}

// subtreeRoot returns the root hash of the first 2^k leaves, from the inclusion proof of the last of them, and the rest of the
// proof, which is a consistency proof (RFC 6962, section 2.1.2) from that size to the tree's.
func subtreeRoot(leaf tlog.Hash, first int64, path []tlog.Hash) (root tlog.Hash, rest []tlog.Hash, ok bool) {
	k := bits.TrailingZeros64(uint64(first))
	if first <= 0 || first&(first-1) != 0 || len(path) < k {
		return root, nil, false
	}
	root = leaf
	for _, h := range path[:k] {
		root = tlog.NodeHash(h, root)
	}
	return root, path[k:], true
}
