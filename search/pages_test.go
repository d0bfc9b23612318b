package search_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// All pages of a walk are about what the first one was about: in every tree, what was
// added since is on none of them, and none says that it would be; nor does any of a tree
// that was added.
func TestOneWalk(t *testing.T) {
	g := newRig(t, []int64{treeOld, treeMid}, 100)
	for i := range 6 {
		g.add(treeOld, 1000, other("helm", i))
		g.add(treeMid, 1000, other("helm", 100+i))
	}
	first := g.find(search.Query{Limit: 2})
	want := []search.TreeSize{{Tree: treeMid, Size: 6}, {Tree: treeOld, Size: 6}}
	if !slices.Equal(first.CompleteTo, want) || len(first.Hits) != 2 {
		t.Fatalf("complete to %v", first.CompleteTo)
	}
	seen, page := len(first.Hits), first
	for n := 0; page.Next != ""; n++ {
		g.add(treeOld, 2000, other("helm", 200+n))
		g.add(treeMid, 2000, other("helm", 300+n))
		page = g.find(search.Query{Limit: 3, Cursor: page.Next})
		seen += len(page.Hits)
		if !slices.Equal(page.CompleteTo, want) {
			t.Errorf("page %d: complete to %v", n+2, page.CompleteTo)
		}
		for _, h := range page.Hits {
			if h.Index >= 6 {
				t.Errorf("page %d has entry %d of tree %d", n+2, h.Index, h.Tree)
			}
		}
	}
	if seen != 12 {
		t.Errorf("%d entries were there, and %d were shown", 12, seen)
	}
	if err := g.store.CreateTree(t.Context(), storage.Tree{ID: treeNew, API: "new", State: storage.StateActive, BaseIndex: 500, PublicKey: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	w := storagetest.NewWriter(g.store)
	w.Tree = treeNew
	if err := w.Commit(t.Context(), other("helm", 1000)); err != nil {
		t.Fatal(err)
	}
	grown := search.New(g.store, g.parser, append(slices.Clone(g.trees), search.Tree{ID: treeNew, Base: 500}))
	page, err := grown.Find(t.Context(), search.Query{Limit: 100, Cursor: first.Next})
	if err != nil || len(page.Hits) != 10 || !slices.Equal(page.CompleteTo, append([]search.TreeSize{{Tree: treeNew}}, want...)) {
		t.Errorf("after a tree was added: %d hits, complete to %v, error %v", len(page.Hits), page.CompleteTo, err)
	}
	one := g.find(search.Query{Limit: 1, Tree: treeOld})
	if page := g.find(search.Query{Limit: 100, Tree: treeOld, Cursor: one.Next}); !slices.Equal(page.CompleteTo, one.CompleteTo) || len(one.CompleteTo) != 1 {
		t.Errorf("of one tree: complete to %v, then %v", one.CompleteTo, page.CompleteTo)
	}
}

// A page ends when its entries are large, however many are asked for, and no more than a
// few are read at once.
func TestLargeEntries(t *testing.T) {
	g := newRig(t, []int64{treeNew})
	const n, size = 100, 100_000
	large := strings.Repeat("x", size)
	for i := range n {
		g.add(treeNew, 1000, other("helm", i, identity("jo@example.com")), storagetest.Leaf(`{"apiVersion":"0.0.1","kind":"large","spec":"`+string(rune('a'+i))+large+`"}`, identity("jo@example.com")))
	}
	for _, q := range []search.Query{{}, {Kind: "large"}, {Identity: "jo@example.com"}, {Identity: "jo@example.com", Kind: "large"}} {
		q.Limit = search.MaxLimit
		page := g.find(q)
		if page.Next == "" || page.Bytes < search.MaxBytes || page.Bytes > search.MaxBytes+2*size {
			t.Errorf("%+v: %d hits of %d bytes, next %q", q, len(page.Hits), page.Bytes, page.Next)
		}
		hits, pages := g.all(q, nil)
		want := 2 * n
		if q.Kind != "" {
			want = n
		}
		if len(hits) != want || pages < n*size/search.MaxBytes {
			t.Errorf("%+v: %d hits on %d pages", q, len(hits), pages)
		}
		for i := range hits[1:] {
			if hits[i+1].Index >= hits[i].Index {
				t.Fatalf("%+v: entry %d comes after %d", q, hits[i+1].Index, hits[i].Index)
			}
		}
		reads := 0
		g.store.Misbehave(func(method string) memory.Fault {
			if method == "LeavesAt" {
				reads++
			}
			return memory.Fault{}
		})
		g.find(q)
		g.store.Misbehave(nil)
		if reads != 2 && q.Kind == "" {
			t.Errorf("%+v: about 20 entries were read in %d calls", q, reads)
		}
	}
	// The last page has no next one, though it is as long as it may be.
	g = newRig(t, []int64{treeNew})
	g.add(treeNew, 1000, other("helm", 1), storagetest.Leaf(`{"kind":"large","spec":"`+strings.Repeat("x", search.MaxBytes)+`"}`))
	if page := g.find(search.Query{Tree: treeNew, Limit: 1}); len(page.Hits) != 1 || page.Next == "" {
		t.Errorf("%d hits, next %q", len(page.Hits), page.Next)
	}
	if page := g.find(search.Query{Kind: "large"}); len(page.Hits) != 1 || page.Next == "" {
		t.Errorf("%d hits, next %q", len(page.Hits), page.Next)
	}
	g = newRig(t, []int64{treeNew})
	g.add(treeNew, 1000, storagetest.Leaf(`{"kind":"large","spec":"`+strings.Repeat("x", search.MaxBytes)+`"}`))
	if page := g.find(search.Query{}); len(page.Hits) != 1 || page.Next != "" {
		t.Errorf("%d hits, next %q", len(page.Hits), page.Next)
	}
}
