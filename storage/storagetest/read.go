package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

func testLeafRanges(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	NewWriter(s).mustCommit(t, Leaves("a", 10)...)
	for _, c := range []struct {
		start int64
		n     int
		want  int
	}{
		{0, 10, 10}, {0, 11, 10}, {0, 1, 1}, {9, 1, 1}, {9, 5, 1}, {3, 4, 4}, {10, 1, 0}, {11, 1, 0}, {0, 0, 0}, {5, -1, 0},
		{-1, 5, 0}, {math.MaxInt64, math.MaxInt, 0}, {4, math.MaxInt, 6}, {math.MinInt64, math.MaxInt, 0},
	} {
		leaves, err := s.Leaves(t.Context(), TreeID, c.start, c.n)
		if err != nil || len(leaves) != c.want || len(leaves) > 0 && leaves[0].Index != c.start {
			t.Errorf("Leaves(%d, %d) gave %d leaves, error %v, not %d", c.start, c.n, len(leaves), err, c.want)
		}
		keys, err := s.Keys(t.Context(), TreeID, c.start, c.n)
		if err != nil || len(keys) != c.want {
			t.Errorf("Keys(%d, %d) gave %d key sets, error %v, not %d", c.start, c.n, len(keys), err, c.want)
		}
		for _, typ := range []tlog.KeyType{0, tlog.KeyDigest, tlog.KeyIdentity, tlog.KeyIssuer, 255} {
			checkKeysOf(t, s, typ, c.start, c.n)
		}
	}
}

// checkKeysOf checks that KeysOf is Keys without the keys of other types.
func checkKeysOf(t *testing.T, s storage.Store, typ tlog.KeyType, start int64, n int) {
	t.Helper()
	want, err := s.Keys(t.Context(), TreeID, start, n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.KeysOf(t.Context(), TreeID, typ, start, n)
	if err != nil || len(got) != len(want) {
		t.Fatalf("KeysOf(%d, %d, %d) gave %d key sets, error %v, not %d", typ, start, n, len(got), err, len(want))
	}
	for i := range want {
		want[i] = slices.DeleteFunc(want[i], func(k tlog.Key) bool { return k.Type != typ })
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("leaf %d has the keys %q of type %d, not %q", start+int64(i), got[i], typ, want[i])
		}
	}
}

func testFind(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	leaves := Leaves("a", 5)
	NewWriter(s).mustCommit(t, leaves...)
	got, err := s.Find(t.Context(), TreeID, []tlog.Hash{leaves[3].Hash, {1}, leaves[0].Hash, leaves[3].Hash})
	if err != nil || len(got) != 2 || got[leaves[3].Hash] != 3 {
		t.Errorf("got %v, error %v", got, err)
	}
	for _, none := range [][]tlog.Hash{nil, {{}}} {
		if got, err := s.Find(t.Context(), TreeID, none); err != nil || len(got) != 0 {
			t.Errorf("Find(%v) = %v, error %v", none, got, err)
		}
	}
}

func testAttestations(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	other := storage.Tree{ID: 1, API: "other", State: storage.StateActive, PublicKey: []byte{1}}
	if err := s.CreateTree(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	data := map[tlog.Hash][]byte{
		{1}: []byte("shared"), {2}: bytes.Repeat([]byte("0123456789abcdef"), 1<<16), {3}: {}, {4}: {0, 0xff},
	}
	leaves := Leaves("a", 6)
	for i, d := range []byte{1, 1, 2, 1, 3, 4} {
		leaves[i].Attestation = tlog.Hash{d}
		leaves[i].Data = data[tlog.Hash{d}]
	}
	w := NewWriter(s)
	w.mustCommit(t, leaves[:3]...) // twice in a batch
	w.mustCommit(t, leaves[3:]...) // and again in another
	for digest, want := range data {
		if got, err := s.Attestation(t.Context(), TreeID, digest); err != nil || !bytes.Equal(got, want) {
			t.Errorf("attestation %v has %d bytes, error %v, not %d", digest, len(got), err, len(want))
		}
		_, err := s.Attestation(t.Context(), other.ID, digest)
		wantErr(t, "an attestation of another tree", err, storage.ErrNotFound)
	}
	_, err := s.Attestation(t.Context(), TreeID, tlog.Hash{5})
	wantErr(t, "an attestation that is not there", err, storage.ErrNotFound)
	Check(t, s, TreeID)
}

func testTiles(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	w := NewWriter(s)
	var all []tlog.Hash
	for i, n := range []int{1, 254, 1, 1, 600, 167, 300} {
		leaves := Leaves(fmt.Sprint(i), n)
		for _, l := range leaves {
			all = append(all, l.Hash)
		}
		w.mustCommit(t, leaves...)
		checkWidths(t, s, 0, all)
		checkWidths(t, s, 1, above(all))
	}
	var bad []tlog.TileID
	for _, width := range []int{-1, 0, 257, math.MaxInt} {
		bad = append(bad, tlog.TileID{Width: width})
	}
	for _, index := range []int64{-1, 6, 1 << 55, math.MaxInt64, math.MinInt64} {
		bad = append(bad, tlog.TileID{Index: index, Width: 1}, tlog.TileID{Index: index, Width: 256}, tlog.TileID{Level: 1, Index: index, Width: 1})
	}
	for _, level := range []int{-1, 2, 7, 8, 63, math.MaxInt, math.MinInt} {
		bad = append(bad, tlog.TileID{Level: level, Width: 1})
	}
	for _, id := range bad {
		_, err := s.Tiles(t.Context(), TreeID, []tlog.TileID{{Width: 1}, id})
		wantErr(t, id.String(), err, storage.ErrNotFound)
	}
}

// checkWidths reads the tiles of a level in several widths, in one call, last tile
// first.
func checkWidths(t *testing.T, s storage.Store, level int, hashes []tlog.Hash) {
	t.Helper()
	var ids []tlog.TileID
	var want [][]tlog.Hash
	for start := 0; start < len(hashes); start += tlog.TileWidth {
		part := hashes[start:min(start+tlog.TileWidth, len(hashes))]
		for _, width := range []int{1, 2, 128, 255, 256, len(part) - 1, len(part)} {
			id := tlog.TileID{Level: level, Index: int64(start / tlog.TileWidth), Width: width}
			if width > len(part) {
				_, err := s.Tiles(t.Context(), TreeID, []tlog.TileID{id})
				wantErr(t, id.String(), err, storage.ErrNotFound)
			} else if width > 0 {
				ids, want = append(ids, id), append(want, part[:width])
			}
		}
	}
	slices.Reverse(ids)
	slices.Reverse(want)
	got, err := s.Tiles(t.Context(), TreeID, ids)
	if err != nil || len(got) != len(want) {
		t.Fatalf("reading %d tiles: got %d, error %v", len(ids), len(got), err)
	}
	for i := range ids {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("%v has wrong hashes", ids[i])
		}
	}
}

// Tiles of higher levels grow; the store keeps the widest, at every level there is.
func testUpperTiles(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	hashes := make([]tlog.Hash, tlog.TileWidth)
	for i := range hashes {
		hashes[i] = tlog.LeafHash([]byte{byte(i)})
	}
	w := NewWriter(s)
	for i, width := range []int{1, 2, 100, 255, 256} {
		w.BeforeBatch = func(b *storage.Batch) {
			for level := 1; level < 8; level++ {
				b.Tiles = append(b.Tiles, tlog.Tile{Level: level, Hashes: hashes[:width]})
			}
		}
		w.mustCommit(t, Leaf(fmt.Sprint(i)))
		for level := 1; level < 8; level++ {
			checkWidths(t, s, level, hashes[:width])
		}
	}
}

// While leaves are added, whatever a head covers can be read.
func testReadsWhileCommitting(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	writing, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		defer stop()
		w := NewWriter(s)
		for i := range 40 {
			if err := w.Commit(t.Context(), Leaves(fmt.Sprint("batch ", i), 37)...); err != nil {
				return err
			}
			if err := w.Commit(t.Context(), Leaf(fmt.Sprint(i), tlog.Key{Type: tlog.KeyIdentity, Value: "every"})); err != nil {
				return err
			}
		}
		return nil
	})
	for range 3 {
		g.Go(func() error {
			for writing.Err() == nil {
				if err := readOnce(t.Context(), s); err != nil {
					return err
				}
			}
			return readOnce(t.Context(), s)
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// readOnce reads what a head covers.
func readOnce(ctx context.Context, s storage.Store) error {
	head, err := s.Head(ctx, TreeID)
	if err != nil {
		return err
	}
	hashes, err := checkLeaves(ctx, s, TreeID, head)
	if err != nil {
		return err
	}
	if err := checkTiles(ctx, s, TreeID, hashes); err != nil {
		return err
	}
	res, err := s.Search(ctx, storage.Query{In: whole([]int64{TreeID}), Terms: []storage.Term{{{Type: tlog.KeyIdentity, Value: "every"}}}, Limit: 1000})
	if err != nil {
		return err
	}
	// Every 38th leaf has the key.
	size := res.CompleteTo[TreeID]
	if size < head.Size || int64(len(res.Matches)) != size/38 {
		return fmt.Errorf("at size %d a search found %d entries, complete to %d", head.Size, len(res.Matches), size)
	}
	return nil
}

func testCancelledReads(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	NewWriter(s).mustCommit(t, Leaves("a", 10)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(ctx, s, TreeID) {
		wantErr(t, name, call(), context.Canceled)
	}
	Check(t, s, TreeID) // the store is as good as before
}

func testClosed(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	if err := s.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	for name, call := range calls(t.Context(), s, TreeID) {
		wantErr(t, name+" of a closed store", call(), storage.ErrUnavailable)
	}
	wantErr(t, "Ready of a closed store", s.Ready(t.Context()), storage.ErrUnavailable)
}

func testLeavesAt(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	w := NewWriter(s)
	for i := range 4 { // each batch has a time of its own
		w.mustCommit(t, Leaves(fmt.Sprint(i), 100)...)
	}
	all, err := s.Leaves(t.Context(), TreeID, 0, 400)
	if err != nil {
		t.Fatal(err)
	}
	if all[0].Time == all[100].Time || all[100].Time != all[199].Time {
		t.Fatalf("leaves have the times %d, %d and %d", all[0].Time, all[100].Time, all[199].Time)
	}
	many := make([]int64, 1500)
	for i := range many {
		many[i] = int64(i * 7919 % 400)
	}
	for _, indexes := range [][]int64{nil, {0}, {399}, {3, 399, 0, 3, 100, 99, 0}, many} {
		leaves, err1 := s.LeavesAt(t.Context(), TreeID, indexes)
		times, err2 := s.Times(t.Context(), TreeID, indexes)
		if err1 != nil || err2 != nil || len(leaves) != len(indexes) || len(times) != len(indexes) {
			t.Fatalf("asked for %d leaves, got %d and %d times, errors %v, %v", len(indexes), len(leaves), len(times), err1, err2)
		}
		for n, i := range indexes {
			if !reflect.DeepEqual(leaves[n], all[i]) || times[n] != all[i].Time {
				t.Errorf("asked for leaf %d, got leaf %d and time %d", i, leaves[n].Index, times[n])
			}
		}
	}
	for _, bad := range []int64{-1, 400, math.MaxInt64, math.MinInt64} {
		for _, indexes := range [][]int64{{bad}, {0, bad, 1}} {
			leaves, err := s.LeavesAt(t.Context(), TreeID, indexes)
			wantErr(t, fmt.Sprint("leaves at ", indexes), err, storage.ErrNotFound)
			times, err := s.Times(t.Context(), TreeID, indexes)
			wantErr(t, fmt.Sprint("times at ", indexes), err, storage.ErrNotFound)
			if leaves != nil || times != nil {
				t.Errorf("an error came with leaves %v and times %v", leaves, times)
			}
		}
	}
}
