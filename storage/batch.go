package storage

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/tallystick/tallystick/tlog"
)

// Check reports what is malformed in a batch, so that a mistake of the caller is
// refused instead of stored. Every Store calls it before it writes. It does not
// hash: whether roots and tiles are right is for the caller.
func (b *Batch) Check() error {
	if b.Old.Size < 0 || b.New.Size != b.Old.Size+int64(len(b.Leaves)) {
		return fmt.Errorf("batch has %d leaves between the sizes %d and %d", len(b.Leaves), b.Old.Size, b.New.Size)
	}
	if b.New.Time < b.Old.Time {
		return fmt.Errorf("batch goes back in time, from %d to %d", b.Old.Time, b.New.Time)
	}
	for i := range b.Leaves {
		if err := b.Leaves[i].check(b.Old.Size + int64(i)); err != nil {
			return err
		}
	}
	for _, t := range b.Tiles {
		if err := checkTile(t); err != nil {
			return err
		}
	}
	if n := b.CheckpointSize(); n > b.Old.Size {
		return fmt.Errorf("batch brings a checkpoint of size %d, newer than its old head of size %d", n, b.Old.Size)
	}
	return nil
}

func (l *NewLeaf) check(index int64) error {
	if l.Index != index {
		return fmt.Errorf("batch has leaf %d in the place of leaf %d", l.Index, index)
	}
	if (l.Data == nil) != (l.Attestation == tlog.Hash{}) {
		return fmt.Errorf("leaf %d has an attestation without its digest, or the digest without it", index)
	}
	for i, k := range l.Keys {
		if len(k.Value) > tlog.MaxKeyValue {
			return fmt.Errorf("leaf %d has a search key of %d bytes, more than %d", index, len(k.Value), tlog.MaxKeyValue)
		}
		if i > 0 && l.Keys[i-1].Compare(k) >= 0 {
			return fmt.Errorf("leaf %d has its search keys unsorted or repeated", index)
		}
	}
	return nil
}

func checkTile(t tlog.Tile) error {
	id := t.ID()
	if !ValidTile(id) || t.Level == 0 && id.Width != tlog.TileWidth {
		return fmt.Errorf("batch has an impossible %v", id)
	}
	return nil
}

// maxLevel is the highest tile level of a tree whose size is an int64.
const maxLevel = 7

// ValidTile reports whether a tile of that name can be in any tree.
func ValidTile(id tlog.TileID) bool {
	return id.Level >= 0 && id.Level <= maxLevel && id.Index >= 0 && id.Width >= 1 && id.Width <= tlog.TileWidth &&
		id.Index <= math.MaxInt64>>(tlog.TileHeight*(id.Level+1))
}

// CheckpointSize returns the tree size that the batch's checkpoint covers: its
// second line (C2SP tlog-checkpoint). If that cannot be read it is Old.Size, which
// the checkpoint cannot exceed. Stores keep it, so that an older checkpoint never
// replaces a newer one, whoever brings it.
func (b *Batch) CheckpointSize() int64 {
	_, rest, _ := bytes.Cut(b.Checkpoint, []byte("\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil || n < 0 {
		return b.Old.Size
	}
	return n
}
