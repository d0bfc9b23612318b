package tlog

import (
	"context"
	"fmt"
)

// Edge is the right edge of a tree: its partial tiles. It is all that is needed
// to add leaves and to know the root, whatever the size of the tree. An Edge is
// owned by one goroutine while it grows; once nobody extends it any more it may
// be read by many.
type Edge struct {
	size   int64
	levels []*Subtrees // by tile level; the last tile, never full
}

// NewEdge returns the edge of the empty tree.
func NewEdge() *Edge { return new(Edge) }

// LoadEdge reads the edge of a tree of that size. It checks nothing: the caller
// compares Root with what it should be.
func LoadEdge(ctx context.Context, tiles TileReader, size int64) (*Edge, error) {
	ids := EdgeTiles(size)
	got, err := tiles.ReadTiles(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading the right edge of a tree of size %d: %w", size, err)
	}
	e := &Edge{size: size}
	for i, id := range ids {
		if n := len(got[i].Hashes()); n != id.Width {
			return nil, fmt.Errorf("%v has %d hashes", id, n)
		}
		for len(e.levels) <= id.Level {
			e.levels = append(e.levels, new(Subtrees))
		}
		e.levels[id.Level] = got[i].clone()
	}
	return e, nil
}

// Size returns the tree's size.
func (e *Edge) Size() int64 { return e.size }

// Head returns the tree's head.
func (e *Edge) Head() Head { return Head{e.size, e.Root()} }

// Clone returns a copy that can be extended on its own.
func (e *Edge) Clone() *Edge {
	c := &Edge{size: e.size, levels: make([]*Subtrees, len(e.levels))}
	for i, s := range e.levels {
		c.levels[i] = s.clone()
	}
	return c
}

// Root returns the tree's root hash.
func (e *Edge) Root() Hash {
	root, empty := EmptyRoot, true
	for _, s := range e.levels {
		width := len(s.rows[0])
		for r := 0; r < TileHeight; r++ {
			if width>>r&1 == 0 {
				continue
			}
			subtree := s.rows[r][width>>r-1]
			if empty {
				root, empty = subtree, false
			} else {
				root = NodeHash(subtree, root)
			}
		}
	}
	return root
}

// Extend adds leaves. It returns the tiles that have to be stored: those of level 0
// that became full, and all of higher levels that grew. Their hashes must not be
// changed, and stay as they are when the edge grows on.
func (e *Edge) Extend(leaves []Hash) []Tile {
	var full []Tile
	grown := make([]bool, len(e.levels), len(e.levels)+1)
	for _, h := range leaves {
		e.size++
		for level := 0; ; level++ {
			if level == len(e.levels) {
				e.levels = append(e.levels, new(Subtrees))
				grown = append(grown, false)
			}
			s := e.levels[level]
			s.append(h)
			grown[level] = true
			if len(s.rows[0]) < TileWidth {
				break
			}
			full = append(full, Tile{level, e.size>>(TileHeight*(level+1)) - 1, s.rows[0]})
			h = s.rows[TileHeight][0] // the full tile's root goes into the level above
			e.levels[level] = new(Subtrees)
		}
	}
	for level, s := range e.levels {
		if n := len(s.rows[0]); level > 0 && n > 0 && grown[level] {
			full = append(full, Tile{level, e.size >> (TileHeight * (level + 1)), s.rows[0][:n:n]})
		}
	}
	return full
}

// Tile returns the partial tile of that name, or nil if it is not this edge's.
func (e *Edge) Tile(id TileID) *Subtrees {
	if id.Level >= len(e.levels) || id.Index != e.size>>(TileHeight*(id.Level+1)) {
		return nil
	}
	if s := e.levels[id.Level]; len(s.rows[0]) == id.Width {
		return s
	}
	return nil
}
