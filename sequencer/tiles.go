package sequencer

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// tileCache reads tiles of one tree from storage and keeps the full ones, which
// never change.
type tileCache struct {
	store storage.Store
	tree  int64
	full  *lru.Cache[tlog.TileID, *tlog.Subtrees]
}

func newTileCache(store storage.Store, tree int64, n int) *tileCache {
	full, err := lru.New[tlog.TileID, *tlog.Subtrees](n)
	if err != nil {
		panic(err) // n is not positive: a mistake in this package
	}
	return &tileCache{store, tree, full}
}

// add keeps tiles that were just committed.
func (c *tileCache) add(tiles []tlog.Tile) {
	for _, t := range tiles {
		if len(t.Hashes) == tlog.TileWidth {
			c.full.Add(t.ID(), tlog.NewSubtrees(t.Hashes))
		}
	}
}

// ReadTiles implements tlog.TileReader.
func (c *tileCache) ReadTiles(ctx context.Context, ids []tlog.TileID) ([]*tlog.Subtrees, error) {
	out := make([]*tlog.Subtrees, len(ids))
	var missing []tlog.TileID
	for i, id := range ids {
		if t, ok := c.full.Get(id); ok {
			out[i] = t
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	got, err := c.store.Tiles(ctx, c.tree, missing)
	if err != nil {
		return nil, err
	}
	if len(got) != len(missing) {
		return nil, fmt.Errorf("storage returned %d tiles, not %d", len(got), len(missing))
	}
	next := 0
	for i, id := range ids {
		if out[i] != nil {
			continue
		}
		out[i] = tlog.NewSubtrees(got[next])
		next++
		if id.Width == tlog.TileWidth && len(out[i].Hashes()) == tlog.TileWidth {
			c.full.Add(id, out[i])
		}
	}
	return out, nil
}

// edgeTiles reads the tiles of a tree at one size: the partial ones are in memory.
type edgeTiles struct {
	edge *tlog.Edge
	full *tileCache
}

// ReadTiles implements tlog.TileReader.
func (t edgeTiles) ReadTiles(ctx context.Context, ids []tlog.TileID) ([]*tlog.Subtrees, error) {
	out := make([]*tlog.Subtrees, len(ids))
	var rest []tlog.TileID
	for i, id := range ids {
		if out[i] = t.edge.Tile(id); out[i] == nil {
			rest = append(rest, id)
		}
	}
	if len(rest) == 0 {
		return out, nil
	}
	got, err := t.full.ReadTiles(ctx, rest)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i] == nil {
			out[i], got = got[0], got[1:]
		}
	}
	return out, nil
}
