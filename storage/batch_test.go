package storage_test

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

func head(size, time int64) storage.Head {
	return storage.Head{Head: tlog.Head{Size: size}, Time: time}
}

func leaf(index int64, keys ...tlog.Key) storage.NewLeaf {
	return storage.NewLeaf{Leaf: storage.Leaf{Index: index}, Keys: keys}
}

func key(v string) tlog.Key { return tlog.Key{Type: tlog.KeyIdentity, Value: v} }

func TestBatchCheck(t *testing.T) {
	data, digest := leaf(0), leaf(0)
	data.Data = []byte{}
	digest.Attestation = tlog.Hash{1}
	one := func(l storage.NewLeaf) storage.Batch {
		return storage.Batch{Old: head(0, 0), New: head(1, 1), Leaves: []storage.NewLeaf{l}}
	}
	tile := func(level int, index int64, width int) storage.Batch {
		return storage.Batch{Tiles: []tlog.Tile{{Level: level, Index: index, Hashes: make([]tlog.Hash, width)}}}
	}
	for _, c := range []struct {
		name  string
		batch storage.Batch
		want  string // in the error; empty for none
	}{
		{"empty", storage.Batch{}, ""},
		{"one leaf", one(leaf(0, key("a"), key("b"))), ""},
		{"size", storage.Batch{New: head(1, 0)}, "0 leaves between the sizes 0 and 1"},
		{"negative size", storage.Batch{Old: head(-1, 0), New: head(-1, 0)}, "between the sizes"},
		{"time", storage.Batch{Old: head(0, 2), New: head(0, 1)}, "back in time"},
		{"index", one(leaf(1)), "leaf 1 in the place of leaf 0"},
		{"no digest", one(data), "attestation"},
		{"no data", one(digest), "attestation"},
		{"repeated keys", one(leaf(0, key("a"), key("a"))), "unsorted or repeated"},
		{"unsorted keys", one(leaf(0, key("b"), key("a"))), "unsorted or repeated"},
		{"longest key", one(leaf(0, key(strings.Repeat("a", tlog.MaxKeyValue)))), ""},
		{"long key", one(leaf(0, key(strings.Repeat("a", tlog.MaxKeyValue+1)))), "2049 bytes"},
		{"full tile", tile(0, 1<<55-1, 256), ""},
		{"tile outside", tile(0, 1<<55, 256), "impossible"},
		{"partial tile", tile(0, 0, 255), "impossible"},
		{"partial upper tile", tile(1, 0, 255), ""},
		{"wide tile", tile(1, 0, 257), "impossible"},
		{"empty tile", tile(1, 0, 0), "impossible"},
		{"top tile", tile(7, 0, 1), ""},
		{"second top tile", tile(7, 1, 1), "impossible"},
		{"level", tile(8, 0, 1), "impossible"},
		{"negative level", tile(-1, 0, 1), "impossible"},
		{"negative tile", tile(1, -1, 1), "impossible"},
		{"checkpoint", storage.Batch{Checkpoint: []byte("o\n0\nr\n")}, ""},
		{"newer checkpoint", storage.Batch{Checkpoint: []byte("o\n1\nr\n")}, "newer than its old head"},
	} {
		err := c.batch.Check()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestCheckpointSize(t *testing.T) {
	for text, want := range map[string]int64{
		"o\n5\nr\n\n— o x\n":           5,
		"o\n0\nr\n":                    0,
		"":                             7,
		"o":                            7,
		"o\n-1\nr\n":                   7,
		"o\n99999999999999999999\nr\n": 7,
	} {
		b := storage.Batch{Old: head(7, 0), Checkpoint: []byte(text)}
		if got := b.CheckpointSize(); got != want {
			t.Errorf("CheckpointSize(%q) = %d, not %d", text, got, want)
		}
	}
}
