package storagetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// searchTrees are the trees of the search tests, newest first.
var searchTrees = []int64{TreeID, 20, 10}

// whole returns whole trees, as a query wants them.
func whole(trees []int64) (in []storage.Range) {
	for _, id := range trees {
		in = append(in, storage.Whole(id))
	}
	return in
}

// fill makes the trees and commits n leaves to each, with up to three of the keys.
// It returns what is where.
func fill(t *testing.T, s storage.Store, n int, keys []tlog.Key) map[int64][]storage.NewLeaf {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	all := map[int64][]storage.NewLeaf{}
	for i, id := range searchTrees {
		tree := storage.Tree{ID: id, API: fmt.Sprint(i), State: storage.StateActive, PublicKey: []byte{1}}
		if err := s.CreateTree(t.Context(), tree); err != nil {
			t.Fatal(err)
		}
		w := NewWriter(s)
		w.Tree = id
		for j := range n {
			var own []tlog.Key
			for range r.IntN(4) {
				own = append(own, keys[r.IntN(len(keys))])
			}
			all[id] = append(all[id], Leaf(fmt.Sprintf("%d %d", id, j), own...))
		}
		w.mustCommit(t, all[id]...)
	}
	return all
}

// reference answers a query by looking at every leaf.
func reference(all map[int64][]storage.NewLeaf, q storage.Query) storage.Result {
	res := storage.Result{CompleteTo: map[int64]int64{}}
	for _, in := range q.In {
		id, leaves := in.Tree, all[in.Tree]
		res.CompleteTo[id] = int64(len(leaves))
		for i := len(leaves) - 1; i >= 0; i-- {
			if int64(i) >= in.From && int64(i) < in.To && matches(leaves[i], q) {
				res.Matches = append(res.Matches, storage.Match{Tree: id, Index: int64(i), Hash: leaves[i].Hash})
			}
		}
	}
	if len(res.Matches) > q.Limit {
		res.Matches, res.Truncated = res.Matches[:q.Limit], true
	}
	return res
}

func matches(l storage.NewLeaf, q storage.Query) bool {
	n := 0
	for _, term := range q.Terms {
		if slices.ContainsFunc(term, func(k tlog.Key) bool { return slices.Contains(l.Keys, k) }) {
			n++
		}
	}
	return n > 0 && (!q.All || n == len(q.Terms))
}

// checkSearch compares an answer with the reference's.
func checkSearch(t *testing.T, s storage.Store, all map[int64][]storage.NewLeaf, q storage.Query) {
	t.Helper()
	got, err := s.Search(t.Context(), q)
	want := reference(all, q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	if !slices.Equal(got.Matches, want.Matches) || got.Truncated != want.Truncated || !reflect.DeepEqual(got.CompleteTo, want.CompleteTo) {
		t.Errorf("%+v:\n got %s\nwant %s", q, short(got), short(want))
	}
}

// short writes an answer for a message.
func short(r storage.Result) string {
	var b strings.Builder
	for i, m := range r.Matches {
		if i == 20 {
			b.WriteString("… ")
			break
		}
		fmt.Fprintf(&b, "%d/%d ", m.Tree, m.Index)
	}
	return fmt.Sprintf("%d matches: %struncated %v, complete to %v", len(r.Matches), &b, r.Truncated, r.CompleteTo)
}

func testSearch(t *testing.T, s storage.Store) {
	var keys []tlog.Key
	for i := range 6 {
		keys = append(keys, tlog.Key{Type: tlog.KeyType(1 + i%3), Value: fmt.Sprint("v", i/3)}) // one value, several types
	}
	all := fill(t, s, 60, keys)
	r := rand.New(rand.NewPCG(3, 4))
	keys = append(keys, tlog.Key{Type: tlog.KeyIssuer, Value: "v0"}) // nobody has it
	for range 150 {
		q := storage.Query{All: r.IntN(2) == 0, Limit: 1 + r.IntN(60), In: whole(searchTrees[r.IntN(3):])}
		if r.IntN(2) == 0 {
			slices.Reverse(q.In)
		}
		for i := range q.In {
			switch r.IntN(3) {
			case 0:
				q.In[i].From, q.In[i].To = r.Int64N(70), r.Int64N(70) // may be empty
			case 1:
				q.In[i].From, q.In[i].To = -r.Int64N(3), r.Int64N(70)
			}
		}
		for range r.IntN(4) {
			var term storage.Term
			for range r.IntN(4) {
				term = append(term, keys[r.IntN(len(keys))])
			}
			q.Terms = append(q.Terms, term)
		}
		checkSearch(t, s, all, q)
	}
}

func testSearchLimits(t *testing.T, s storage.Store) {
	k := tlog.Key{Type: tlog.KeyDigest, Value: "sha256:" + strings.Repeat("ab", 32)}
	all := map[int64][]storage.NewLeaf{}
	for i, id := range searchTrees {
		if err := s.CreateTree(t.Context(), storage.Tree{ID: id, API: fmt.Sprint(i), State: storage.StateActive, PublicKey: []byte{1}}); err != nil {
			t.Fatal(err)
		}
		w := NewWriter(s)
		w.Tree = id
		for j := range 4 {
			all[id] = append(all[id], Leaf(fmt.Sprint(id, j), k))
		}
		w.mustCommit(t, all[id]...)
	}
	for limit := 1; limit <= 14; limit++ {
		for _, any := range []bool{true, false} {
			checkSearch(t, s, all, storage.Query{In: whole(searchTrees), Terms: []storage.Term{{k}}, All: any, Limit: limit})
			checkSearch(t, s, all, storage.Query{In: whole(searchTrees), Terms: []storage.Term{{k}, {k}}, All: any, Limit: limit})
		}
	}
	checkSearch(t, s, all, storage.Query{Limit: 5, Terms: []storage.Term{{k}}})
}

// A key that thousands of entries have, and one that few have.
func testSearchFrequentAndRare(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	frequent, rare := tlog.Key{Type: tlog.KeyIssuer, Value: "https://issuer"}, tlog.Key{Type: tlog.KeyIdentity, Value: "jo@example.com"}
	w := NewWriter(s)
	var leaves []storage.NewLeaf
	for i := range 3000 {
		keys := []tlog.Key{frequent}
		if i%1000 == 7 {
			keys = append(keys, rare)
		}
		leaves = append(leaves, Leaf(fmt.Sprint(i), keys...))
	}
	w.mustCommit(t, leaves...)
	all := map[int64][]storage.NewLeaf{TreeID: leaves}
	for _, terms := range [][]storage.Term{{{frequent}, {rare}}, {{rare}, {frequent}}, {{rare, frequent}}, {{frequent}}, {{rare}}} {
		for _, limit := range []int{1, 2, 3, 10, 2999, 3000, 3001} {
			checkSearch(t, s, all, storage.Query{In: whole([]int64{TreeID}), Terms: terms, All: true, Limit: limit})
			checkSearch(t, s, all, storage.Query{In: whole([]int64{TreeID}), Terms: terms, Limit: limit})
		}
	}
}

// Values that trip up databases: each is found, by itself only, and comes back as
// it was.
func testHostileKeys(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	long := strings.Repeat("é", tlog.MaxKeyValue/2)
	values := []string{
		"", "a", "A", "a ", " a", "a\x00", "\x00", "a\x00b", "é", "e\u0301", "\xff\xfe", "%", "_", "a%", "'", "''", "';drop table leaves;--",
		`"`, `\`, `\x00`, "\n", "$1", "{a}", "NULL", long, long[:len(long)-2], long[2:] + "a\x00",
		strings.Repeat("ab", 32), strings.Repeat("AB", 32), "sha256:" + strings.Repeat("ab", 32), "sha256:" + strings.Repeat("Ab", 32),
		string(slices.Repeat([]byte{0xab}, 32)), "\x03" + strings.Repeat("\xab", 32),
	}
	var leaves []storage.NewLeaf
	for i, v := range values {
		for _, typ := range []tlog.KeyType{0, tlog.KeyDigest, tlog.KeyIdentity, 255} {
			leaves = append(leaves, Leaf(fmt.Sprintf("%d %d", i, uint8(typ)), tlog.Key{Type: typ, Value: v}))
		}
	}
	NewWriter(s).mustCommit(t, leaves...)
	all := map[int64][]storage.NewLeaf{TreeID: leaves}
	for _, l := range leaves {
		checkSearch(t, s, all, storage.Query{In: whole([]int64{TreeID}), Terms: []storage.Term{l.Keys}, Limit: 5})
		checkSearch(t, s, all, storage.Query{In: whole([]int64{TreeID}), Terms: []storage.Term{l.Keys, l.Keys}, All: true, Limit: 5})
	}
	keys, err := s.Keys(t.Context(), TreeID, 0, len(leaves))
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range leaves {
		if !slices.Equal(keys[i], l.Keys) {
			t.Errorf("leaf %d has the keys %q, not %q", i, keys[i], l.Keys)
		}
	}
	for _, typ := range []tlog.KeyType{0, tlog.KeyDigest, tlog.KeyIdentity, tlog.KeyIssuer, 255} {
		checkKeysOf(t, s, typ, 3, len(leaves)-5)
	}
	Check(t, s, TreeID)
}

// referenceBeginning answers KeysBeginning by looking at every key.
func referenceBeginning(leaves []storage.NewLeaf, prefix tlog.Key, n int) []tlog.Key {
	var found []tlog.Key
	for _, l := range leaves {
		for _, k := range l.Keys {
			if k.Type == prefix.Type && strings.HasPrefix(k.Value, prefix.Value) && storage.PackKey(k)[1] == 0 {
				found = append(found, k)
			}
		}
	}
	found = tlog.SortKeys(found)
	return found[:min(n, len(found))]
}

func checkBeginning(t *testing.T, s storage.Store, leaves []storage.NewLeaf, prefix tlog.Key, n int) {
	t.Helper()
	got, err := s.KeysBeginning(t.Context(), TreeID, prefix, n)
	want := referenceBeginning(leaves, prefix, n)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the first %d keys beginning with %q: got %q, error %v, want %q", n, prefix, got, err, want)
	}
}

func testKeysBeginning(t *testing.T, s storage.Store) {
	if err := s.CreateTree(t.Context(), storage.Tree{ID: 7, API: "other", State: storage.StateActive, PublicKey: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	CreateTree(t, s)
	other := NewWriter(s)
	other.Tree = 7
	other.mustCommit(t, Leaf("o", tlog.Key{Type: tlog.KeyIdentity, Value: "another tree's"}))
	digest := "sha256:" + strings.Repeat("ab", 32)
	values := []string{
		"", "a", "ab", "abc", "abd", "b", "a\x00", "a\x00b", "a\xff", "a\xff\xff", "a\xff\xffb", "\xff", "\xff\xff\xff", "\x00", "%", "_", "a%", "é", "e",
		strings.Repeat("x", tlog.MaxKeyValue), strings.Repeat("x", tlog.MaxKeyValue-1), "A", digest, digest[:len(digest)-1], digest + "0",
		strings.Repeat("ab", 32), strings.Repeat("ab", 31), "jo@example.com", "joe@example.com", "https://github.com/a/b",
	}
	var leaves []storage.NewLeaf
	for i, v := range values {
		for _, typ := range []tlog.KeyType{0, tlog.KeyDigest, tlog.KeyIdentity, tlog.KeyIssuer, 255} {
			for j := range i%3 + 1 {
				leaves = append(leaves, Leaf(fmt.Sprint(i, " ", uint8(typ), " ", j), tlog.Key{Type: typ, Value: v}))
			}
		}
	}
	NewWriter(s).mustCommit(t, leaves...)
	for _, typ := range []tlog.KeyType{0, tlog.KeyIdentity, tlog.KeyPublicKey, 255} {
		for _, prefix := range append(values, "an", "nobody", "sha256:", strings.Repeat("x", 100)) {
			for _, n := range []int{0, 1, 2, 3, 1000} {
				checkBeginning(t, s, leaves, tlog.Key{Type: typ, Value: prefix}, n)
			}
		}
	}
}

// Prefixes of keys that thousands of leaves have, and of keys that one leaf has.
func testKeysBeginningFrequent(t *testing.T, s storage.Store) {
	CreateTree(t, s)
	var leaves []storage.NewLeaf
	for i := range 3000 {
		leaves = append(leaves, Leaf(fmt.Sprint(i),
			tlog.Key{Type: tlog.KeyIdentity, Value: fmt.Sprintf("team-%d@example.com", i%3)},
			tlog.Key{Type: tlog.KeyIdentity, Value: fmt.Sprintf("u%04d@example.com", i)}))
	}
	NewWriter(s).mustCommit(t, leaves...)
	for _, prefix := range []string{"", "team", "u", "u12", "u123", "v"} {
		for _, n := range []int{1, 3, 4, 101, 5000} {
			checkBeginning(t, s, leaves, tlog.Key{Type: tlog.KeyIdentity, Value: prefix}, n)
		}
	}
}
