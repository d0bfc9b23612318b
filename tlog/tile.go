package tlog

import (
	"context"
	"fmt"
)

// TileHeight is the number of tree levels in a tile, and TileWidth the number of
// hashes in a full one (C2SP tlog-tiles).
const (
	TileHeight = 8
	TileWidth  = 1 << TileHeight
)

// TileID names a tile. The tile of level L and index N holds the hashes
// N*256 … N*256+Width-1 of tree level L*8: for level 0 those are leaf hashes, above
// it roots of full tiles of the level below (C2SP tlog-tiles).
type TileID struct {
	Level int
	Index int64
	Width int // 1 … TileWidth; less than TileWidth is a partial tile
}

// String returns the tile's name for messages: level/index, and its width if partial.
func (t TileID) String() string {
	if t.Width == TileWidth {
		return fmt.Sprintf("tile %d/%d", t.Level, t.Index)
	}
	return fmt.Sprintf("tile %d/%d.p/%d", t.Level, t.Index, t.Width)
}

// Tile is a tile with its hashes; their number is its width.
type Tile struct {
	Level  int
	Index  int64
	Hashes []Hash
}

// ID returns the tile's name.
func (t Tile) ID() TileID { return TileID{t.Level, t.Index, len(t.Hashes)} }

// widthAt returns how many hashes the tile has in a tree of that size; 0 or less
// if the tree does not reach it.
func widthAt(level int, index, size int64) int {
	return int(min(TileWidth, size>>(TileHeight*level)-index<<TileHeight))
}

// EdgeTiles returns the names of the partial tiles of a tree of that size, lowest
// level first. They and the full tiles are all the tree's tiles.
func EdgeTiles(size int64) []TileID {
	var ids []TileID
	for level := 0; size>>(TileHeight*level) > 0; level++ {
		n := size >> (TileHeight * level)
		if w := int(n % TileWidth); w > 0 {
			ids = append(ids, TileID{level, n >> TileHeight, w})
		}
	}
	return ids
}

// Subtrees is a tile with the roots of all perfect subtrees inside it worked out,
// so that a proof is looked up instead of hashed.
type Subtrees struct {
	// rows[r] has the roots of the subtrees over 2^r of the tile's hashes, from the
	// left; rows[0] the hashes themselves.
	rows [TileHeight + 1][]Hash
}

// NewSubtrees works out the subtrees of a tile with these hashes, at most TileWidth.
func NewSubtrees(hashes []Hash) *Subtrees {
	s := new(Subtrees)
	for r := range s.rows {
		if n := len(hashes) >> r; n > 0 {
			s.rows[r] = make([]Hash, 0, n)
		}
	}
	for _, h := range hashes {
		s.append(h)
	}
	return s
}

// Hashes returns the tile's hashes, which the caller must not change.
func (s *Subtrees) Hashes() []Hash { return s.rows[0] }

// append adds a hash to the tile, and the subtrees that it completes.
func (s *Subtrees) append(h Hash) {
	s.rows[0] = append(s.rows[0], h)
	for r := 0; r < TileHeight && len(s.rows[r])%2 == 0; r++ {
		n := len(s.rows[r])
		s.rows[r+1] = append(s.rows[r+1], NodeHash(s.rows[r][n-2], s.rows[r][n-1]))
	}
}

// clone returns a copy that shares nothing.
func (s *Subtrees) clone() *Subtrees {
	c := new(Subtrees)
	for r, row := range s.rows {
		if len(row) > 0 {
			c.rows[r] = append(make([]Hash, 0, TileWidth>>r), row...)
		}
	}
	return c
}

// TileReader reads tiles of one tree: what a proof is made from.
type TileReader interface {
	// ReadTiles returns the asked-for tiles in order, each exactly as wide as asked.
	ReadTiles(ctx context.Context, ids []TileID) ([]*Subtrees, error)
}
