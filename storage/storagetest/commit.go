package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

func testTrees(t *testing.T, s storage.Store) {
	trees := []storage.Tree{
		{ID: 9, Origin: "a - 9", API: storage.APIv1, State: storage.StateReadOnly, PublicKey: []byte{0, 1}, Created: 7},
		{ID: 5, Origin: "a - 5", API: storage.APIv1, State: storage.StateActive, BaseIndex: 1 << 40, PublicKey: []byte("k"), Created: 5},
		{ID: 1<<63 - 1, Origin: "a ü", API: "rekor-v2", State: storage.StateActive, PublicKey: []byte("k"), Created: 6},
		{ID: 7, Origin: "a - 7", API: storage.APIv1, State: storage.StateReadOnly, PublicKey: []byte("k"), Created: 6},
	}
	if got, err := s.Trees(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("a new store has trees %v, error %v", got, err)
	}
	for _, tree := range trees {
		if err := s.CreateTree(t.Context(), tree); err != nil {
			t.Fatalf("creating tree %d: %v", tree.ID, err)
		}
	}
	sameID := storage.Tree{ID: 9, Origin: "b", API: "other", State: storage.StateActive, PublicKey: []byte("k")}
	wantErr(t, "a tree with an ID that is taken", s.CreateTree(t.Context(), sameID), storage.ErrExists)
	second := storage.Tree{ID: 6, Origin: "b", API: storage.APIv1, State: storage.StateActive, PublicKey: []byte("k")}
	wantErr(t, "a second active tree", s.CreateTree(t.Context(), second), storage.ErrExists)
	if got, err := s.Trees(t.Context()); err != nil || !reflect.DeepEqual(got, trees) {
		t.Errorf("got trees\n%v, error %v, want\n%v", got, err, trees)
	}
}

func testCreateTreeRace(t *testing.T, a, b storage.Store) {
	stores := []storage.Store{a, b}
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = stores[i%2].CreateTree(t.Context(), storage.Tree{ID: int64(i + 1), API: storage.APIv1, State: storage.StateActive, PublicKey: []byte{1}})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			wantErr(t, "losing the race", err, storage.ErrExists)
		}
	}
	if trees, err := a.Trees(t.Context()); made != 1 || len(trees) != 1 || err != nil {
		t.Errorf("%d of %d servers made the tree; there are %d, error %v", made, len(errs), len(trees), err)
	}
}

// calls returns all methods that take a tree, as functions.
func calls(ctx context.Context, s storage.Store, tree int64) map[string]func() error {
	return map[string]func() error{
		"Head":           func() error { _, err := s.Head(ctx, tree); return err },
		"Checkpoint":     func() error { _, err := s.Checkpoint(ctx, tree); return err },
		"SaveCheckpoint": func() error { return s.SaveCheckpoint(ctx, tree, 1, []byte("c")) },
		"Commit": func() error {
			return s.Commit(ctx, tree, storage.Request{Hashes: []tlog.Hash{{1}}, Build: func(storage.Current) (*storage.Batch, error) { return nil, nil }})
		},
		"Tiles":               func() error { _, err := s.Tiles(ctx, tree, []tlog.TileID{{Width: 1}}); return err },
		"Tiles of nothing":    func() error { _, err := s.Tiles(ctx, tree, nil); return err },
		"Leaves":              func() error { _, err := s.Leaves(ctx, tree, 0, 1); return err },
		"LeavesAt":            func() error { _, err := s.LeavesAt(ctx, tree, []int64{0}); return err },
		"LeavesAt of nothing": func() error { _, err := s.LeavesAt(ctx, tree, nil); return err },
		"Times":               func() error { _, err := s.Times(ctx, tree, []int64{0}); return err },
		"Times of nothing":    func() error { _, err := s.Times(ctx, tree, nil); return err },
		"Find":                func() error { _, err := s.Find(ctx, tree, []tlog.Hash{{1}}); return err },
		"Find of nothing":     func() error { _, err := s.Find(ctx, tree, nil); return err },
		"Attestation":         func() error { _, err := s.Attestation(ctx, tree, tlog.Hash{1}); return err },
		"Search": func() error {
			_, err := s.Search(ctx, storage.Query{In: whole([]int64{TreeID, tree}), Terms: []storage.Term{{{Value: "x"}}}, Limit: 1})
			return err
		},
		"Keys":                func() error { _, err := s.Keys(ctx, tree, 0, 1); return err },
		"KeysOf":              func() error { _, err := s.KeysOf(ctx, tree, tlog.KeyIssuer, 0, 1); return err },
		"KeysBeginning":       func() error { _, err := s.KeysBeginning(ctx, tree, tlog.Key{Value: "x"}, 1); return err },
		"KeysBeginning, none": func() error { _, err := s.KeysBeginning(ctx, tree, tlog.Key{Value: "x"}, 0); return err },
	}
}

func testUnknownTree(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	for name, call := range calls(t.Context(), s, TreeID+1) {
		wantErr(t, name, call(), storage.ErrNotFound)
	}
}

func testEmptyTree(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	if h := mustHead(t, s); h != (storage.Head{Head: tlog.EmptyHead()}) {
		t.Errorf("an empty tree has the head %v", h)
	}
	if c, err := s.Checkpoint(t.Context(), TreeID); err != nil || len(c) != 0 {
		t.Errorf("an empty tree has the checkpoint %q, error %v", c, err)
	}
	_, err := s.Tiles(t.Context(), TreeID, []tlog.TileID{{Width: 1}})
	wantErr(t, "a tile of an empty tree", err, storage.ErrNotFound)
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("a new store is not ready: %v", err)
	}
	Check(t, s, TreeID)
}

func testCommitSizes(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	w := NewWriter(s)
	var all []tlog.Hash
	for i, n := range []int{1, 0, 2, 1, 252, 0, 1, 255, 256, 257, 1} {
		leaves := Leaves(fmt.Sprint("batch ", i), n)
		before := mustHead(t, s)
		w.mustCommit(t, leaves...)
		for _, l := range leaves {
			all = append(all, l.Hash)
		}
		h := mustHead(t, s)
		if h.Size != int64(len(all)) || h.Head != w.edge.Head() || h.Time <= before.Time {
			t.Fatalf("after %d leaves the head is %v; before the last batch it was %v", len(all), h, before)
		}
		if got := Check(t, s, TreeID); !slices.Equal(got, all) {
			t.Fatalf("after batch %d the tree holds other leaves", i)
		}
	}
}

func testLeafFields(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	leaves := []storage.NewLeaf{Leaf(""), Leaf("\x00\xff'\"\\"), Leaf(string(make([]byte, tlog.MaxLeaf))), Leaf("attested")}
	leaves[3].Data, leaves[3].Attestation = []byte("data"), tlog.Hash{31: 1}
	leaves[2].KeySet = tlog.Hash{1, 2, 3}
	w := NewWriter(s)
	var want []storage.Leaf
	w.BeforeBatch = func(b *storage.Batch) {
		for _, l := range b.Leaves {
			want = append(want, l.Leaf)
		}
	}
	w.mustCommit(t, leaves[0], leaves[1])
	w.mustCommit(t, leaves[2], leaves[3])
	got, err := s.Leaves(t.Context(), TreeID, 0, 10)
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %d leaves, error %v", len(got), err)
	}
	for i := range want {
		if string(got[i].Body) != string(want[i].Body) {
			t.Errorf("leaf %d has a body of %d bytes, not %d, or others", i, len(got[i].Body), len(want[i].Body))
		}
		got[i].Body, want[i].Body = nil, nil
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}

func testSince(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	leaves := Leaves("a", 10)
	NewWriter(s).mustCommit(t, leaves...)
	for known := range int64(13) {
		cur := current(t, s, storage.Request{Known: known})
		var want []tlog.Hash
		for _, l := range leaves[min(known, 10):] {
			want = append(want, l.Hash)
		}
		if !slices.Equal(cur.Since, want) || cur.Head != mustHead(t, s) {
			t.Errorf("knowing %d leaves: got %d hashes since and the head %v", known, len(cur.Since), cur.Head)
		}
	}
}

func testMaxSince(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	w := NewWriter(s)
	var all []storage.NewLeaf
	for i := range 4 {
		batch := Leaves(fmt.Sprint(i), storage.MaxSince/4)
		for j := range batch {
			batch[j].Keys, batch[j].KeySet = nil, tlog.KeySetDigest(nil)
		}
		all = append(all, batch...)
		w.mustCommit(t, batch...)
	}
	if cur := current(t, s, storage.Request{}); len(cur.Since) != storage.MaxSince {
		t.Errorf("got %d hashes since, not MaxSince", len(cur.Since))
	}
	w.mustCommit(t, Leaf("one more"))
	if cur := current(t, s, storage.Request{}); cur.Since != nil {
		t.Errorf("got %d hashes since, although those are more than MaxSince", len(cur.Since))
	}
	cur := current(t, s, storage.Request{Known: 1})
	if len(cur.Since) != storage.MaxSince || cur.Since[0] != all[1].Hash {
		t.Errorf("got %d hashes since, not MaxSince", len(cur.Since))
	}
}

// current returns what Build is given.
func current(t *testing.T, s storage.Store, r storage.Request) (cur storage.Current) {
	t.Helper()
	r.Build = func(c storage.Current) (*storage.Batch, error) {
		cur = c
		return nil, nil
	}
	if err := s.Commit(t.Context(), TreeID, r); err != nil {
		t.Fatalf("committing nothing: %v", err)
	}
	return cur
}

func testExisting(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	w := NewWriter(s)
	leaves := Leaves("a", 300)
	w.mustCommit(t, leaves[:5]...)
	first := mustHead(t, s).Time
	w.mustCommit(t, leaves[5:]...)
	r := storage.Request{Hashes: []tlog.Hash{leaves[4].Hash, {1}, leaves[5].Hash, leaves[0].Hash, leaves[299].Hash, tlog.EmptyRoot}}
	want := map[tlog.Hash]storage.Existing{
		leaves[4].Hash: {Index: 4, Time: first}, leaves[0].Hash: {Index: 0, Time: first},
		leaves[5].Hash: {Index: 5, Time: mustHead(t, s).Time}, leaves[299].Hash: {Index: 299, Time: mustHead(t, s).Time},
	}
	if got := current(t, s, r).Existing; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := current(t, s, storage.Request{}).Existing; len(got) != 0 {
		t.Errorf("asked for nothing, got %v", got)
	}
}

// What may not be stored leaves no trace and frees the lock.
func testRefusals(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	leaves := Leaves("a", 300)
	NewWriter(s).mustCommit(t, leaves...)
	anything := errors.New("any error")
	for _, c := range []struct {
		name  string
		spoil func(*storage.Batch)
		want  error
	}{
		{"old size too small", func(b *storage.Batch) { b.Old.Size--; b.New.Size--; shift(b, -1) }, storage.ErrConflict},
		{"old size too big", func(b *storage.Batch) { b.Old.Size++; b.New.Size++; shift(b, 1) }, storage.ErrConflict},
		{"old root wrong", func(b *storage.Batch) { b.Old.Root[0] ^= 1 }, storage.ErrConflict},
		{"empty old head", func(b *storage.Batch) { b.Old = storage.Head{Head: tlog.EmptyHead()}; b.New.Size = 300; shift(b, -300) }, storage.ErrConflict},
		{"a hash twice", func(b *storage.Batch) { b.Leaves[7].Hash = b.Leaves[299].Hash }, storage.ErrConflict},
		{"a hash of the tree", func(b *storage.Batch) { b.Leaves[299].Hash = leaves[17].Hash }, storage.ErrConflict},
		{"a missing leaf", func(b *storage.Batch) { b.Leaves = b.Leaves[1:] }, anything},
		{"a partial tile of level 0", func(b *storage.Batch) { b.Tiles[0].Hashes = b.Tiles[0].Hashes[1:] }, anything},
	} {
		before := mustHead(t, s)
		w := NewWriter(s)
		w.BeforeBatch = c.spoil
		err := w.Commit(t.Context(), attested(Leaves("b", 300))...)
		if c.want != anything {
			wantErr(t, c.name, err, c.want)
		}
		if err == nil || errors.Is(err, storage.ErrUnknown) || mustHead(t, s) != before {
			t.Fatalf("%s: error %v, and the head is %v", c.name, err, mustHead(t, s))
		}
		_, err = s.Attestation(t.Context(), TreeID, tlog.Hash{0xa7})
		wantErr(t, c.name+": its attestation", err, storage.ErrNotFound)
		if got := Check(t, s, TreeID); len(got) != 300 {
			t.Fatalf("%s: there are %d leaves", c.name, len(got))
		}
	}
	NewWriter(s).mustCommit(t, Leaves("b", 300)...)
	Check(t, s, TreeID)
}

func shift(b *storage.Batch, by int64) {
	for i := range b.Leaves {
		b.Leaves[i].Index += by
	}
}

func attested(leaves []storage.NewLeaf) []storage.NewLeaf {
	leaves[0].Attestation, leaves[0].Data = tlog.Hash{0xa7}, []byte("data")
	return leaves
}

func testBuildSaysNo(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	no := errors.New("no")
	for _, want := range []error{no, nil} {
		n := 0
		err := s.Commit(t.Context(), TreeID, storage.Request{Build: func(storage.Current) (*storage.Batch, error) {
			n++
			return nil, want
		}})
		if err != want || n != 1 {
			t.Errorf("Build was called %d times and returned %v; Commit returned %v", n, want, err)
		}
	}
	NewWriter(s).mustCommit(t, Leaf("a")) // the lock is free
	Check(t, s, TreeID)
}

func testBuildPanics(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic in Build did not reach the caller")
			}
		}()
		_ = s.Commit(t.Context(), TreeID, storage.Request{Build: func(storage.Current) (*storage.Batch, error) { panic("in Build") }})
	}()
	NewWriter(s).mustCommit(t, Leaf("a")) // the lock is free
	Check(t, s, TreeID)
}

func testCheckpoints(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	ctx := t.Context()
	note := func(size int64, who string) []byte {
		return fmt.Appendf(nil, "origin\n%d\nroot\n\n— %s sig\n", size, who)
	}
	want := func(what string, text []byte) {
		t.Helper()
		if got, err := s.Checkpoint(ctx, TreeID); err != nil || string(got) != string(text) {
			t.Errorf("%s: the checkpoint is %q, error %v, not %q", what, got, err, text)
		}
	}
	save := func(size int64, text []byte) {
		t.Helper()
		if err := s.SaveCheckpoint(ctx, TreeID, size, text); err != nil {
			t.Errorf("saving a checkpoint of size %d: %v", size, err)
		}
	}
	w := NewWriter(s)
	commit := func(text []byte) {
		t.Helper()
		w.BeforeBatch = func(b *storage.Batch) { b.Checkpoint = text }
		w.mustCommit(t, Leaves(fmt.Sprint(w.edge.Size()), 10)...)
	}
	save(0, note(0, "a"))
	want("at size 0", note(0, "a"))
	commit(nil)
	want("a batch without", note(0, "a"))
	save(10, note(10, "a"))
	want("saved", note(10, "a"))
	save(9, note(9, "a"))
	want("saved an older one", note(10, "a"))
	commit(note(10, "b"))
	want("a batch with another of the same size", note(10, "b"))
	commit(note(20, "a"))
	want("a batch with a newer one", note(20, "a"))
	save(30, note(30, "a"))
	commit(note(20, "b"))
	want("a batch with an older one", note(30, "a"))
	save(40, nil)
	want("saved nothing", note(30, "a"))
	w.BeforeBatch = func(b *storage.Batch) { b.Checkpoint = note(40, "c") }
	w.mustCommit(t) // no leaf, only a checkpoint
	want("a batch with nothing else", note(40, "c"))
	Check(t, s, TreeID)
}

func testLargeBatch(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	w := NewWriter(s)
	for b := range 3 {
		leaves := make([]storage.NewLeaf, 1024)
		for i := range leaves {
			body := fmt.Sprintf("%d %d %02000d", b, i, i)
			keys := []tlog.Key{{Type: tlog.KeyIdentity, Value: "all"}}
			for k := range 8 {
				keys = append(keys, tlog.Key{Type: tlog.KeyDigest, Value: "sha256:" + tlog.LeafHash(fmt.Append(nil, body, k)).String()})
			}
			leaves[i] = Leaf(body, keys...)
		}
		w.mustCommit(t, leaves...)
	}
	if n := len(Check(t, s, TreeID)); n != 3072 {
		t.Errorf("there are %d leaves", n)
	}
}

// Many writers, each with its own leaves and some that others have too.
func testConcurrent(t *testing.T, a, b storage.Store) {
	CreateTree(t, a)
	const writers, rounds = 8, 12
	var g errgroup.Group
	for i := range writers {
		w := NewWriter([]storage.Store{a, b}[i%2])
		g.Go(func() error {
			for r := range rounds {
				own := Leaves(fmt.Sprintf("%d %d", i, r), 1+(i*7+r)%40)
				if err := w.Commit(t.Context(), append(own, Leaves(fmt.Sprint("shared ", r), 5)...)...); err != nil {
					return fmt.Errorf("writer %d, round %d: %w", i, r, err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	want := map[tlog.Hash]bool{}
	for r := range rounds {
		for i := range writers {
			for _, l := range Leaves(fmt.Sprintf("%d %d", i, r), 1+(i*7+r)%40) {
				want[l.Hash] = true
			}
		}
		for _, l := range Leaves(fmt.Sprint("shared ", r), 5) {
			want[l.Hash] = true
		}
	}
	got := Check(t, b, TreeID)
	for _, h := range got {
		delete(want, h)
	}
	if len(want) > 0 {
		t.Errorf("%d leaves are missing", len(want))
	}
}

// Whoever asks after a commit has returned sees it, on any server.
func testReadYourWrites(t *testing.T, a, b storage.Store) {
	CreateTree(t, a)
	stores := []storage.Store{a, b}
	writers := []*Writer{NewWriter(a), NewWriter(b)}
	for i := range 50 {
		w := writers[i%3%2]
		w.mustCommit(t, Leaf(fmt.Sprint(i)))
		for _, s := range stores {
			if h := mustHead(t, s); h.Size != int64(i+1) {
				t.Fatalf("after %d commits a store is at size %d", i+1, h.Size)
			}
		}
	}
	Check(t, a, TreeID)
}

// A writer that gives up waiting disturbs nobody, and wrote nothing.
func testCancelWhileWaiting(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	locked, finish := make(chan struct{}), make(chan struct{})
	patient := NewWriter(s)
	patient.BeforeBatch = func(*storage.Batch) {
		close(locked)
		<-finish
	}
	done := make(chan error)
	go func() { done <- patient.Commit(t.Context(), Leaf("patient")) }()
	<-locked
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { gaveUp <- NewWriter(s).Commit(ctx, Leaf("impatient")) }()
	cancel()
	if err := <-gaveUp; err == nil || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("who gave up waiting for the lock got error %v", err)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Errorf("who had the lock got error %v", err)
	}
	if n := len(Check(t, s, TreeID)); n != 1 {
		t.Errorf("there are %d leaves", n)
	}
	NewWriter(s).mustCommit(t, Leaf("next"))
}

// Contexts end at random moments: before, in Build, and while the batch is
// written. What was acknowledged is there; what failed is not there, or said that
// it may be.
func testCancelAnywhere(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	var mu sync.Mutex
	outcome := map[tlog.Hash]error{}
	var wg sync.WaitGroup
	for i := range 4 {
		r := rand.New(rand.NewPCG(uint64(i), 0))
		wg.Go(func() {
			for round := range 25 {
				ctx, cancel := context.WithCancel(t.Context())
				w := NewWriter(s)
				switch r.IntN(4) {
				case 0:
					cancel()
				case 1:
					w.BeforeBatch = func(*storage.Batch) { cancel() }
				case 2:
					w.BeforeBatch = func(*storage.Batch) { go cancel() }
				case 3:
					go cancel()
				}
				leaves := Leaves(fmt.Sprintf("%d %d", i, round), 1+r.IntN(20))
				err := w.Commit(ctx, leaves...)
				cancel()
				mu.Lock()
				for _, l := range leaves {
					outcome[l.Hash] = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	there := map[tlog.Hash]bool{}
	for _, h := range Check(t, s, TreeID) {
		there[h] = true
	}
	for h, err := range outcome {
		if !errors.Is(err, storage.ErrUnknown) && there[h] != (err == nil) {
			t.Errorf("a commit returned %v; its leaf is there: %v", err, there[h])
		}
	}
	NewWriter(s).mustCommit(t, Leaf("at the end"))
}
