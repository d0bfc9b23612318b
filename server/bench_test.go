package server

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// readyLog is a fakeLog whose view costs nothing, so that benchmarks measure the
// server.
type readyLog struct {
	*fakeLog
	view  *tlog.View
	added storage.Added
}

func (l *readyLog) View(context.Context) (*tlog.View, error) { return l.view, nil }

func (l *readyLog) Add(context.Context, tlog.Leaf) (storage.Added, error) { return l.added, nil }

// subtreesReader is one tile.
type subtreesReader []*tlog.Subtrees

func (r subtreesReader) ReadTiles(context.Context, []tlog.TileID) ([]*tlog.Subtrees, error) {
	return r, nil
}

func newBench(b *testing.B) *rig {
	l := newFakeLog(b, treeA, 0)
	for _, p := range proposals(b, "hashedrekord-0.0.1.json") {
		g := newRig(b, []*fakeLog{l})
		g.do("POST", "/api/v1/log/entries", p)
	}
	l.fill(b, 256-len(l.leaves))
	v := l.view(l.size())
	all := make([]tlog.Hash, 256)
	for i := range all {
		all[i] = l.leaves[i].Hash
	}
	v.Tiles = subtreesReader{tlog.NewSubtrees(all)}
	g := newRig(b, []*fakeLog{l}, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(io.Discard, nil)) })
	g.server.shards[0].log = &readyLog{l, v, storage.Added{Index: 0, Time: 1, Duplicate: true, View: v}}
	return g
}

func BenchmarkEntryByIndex(b *testing.B) {
	g := newBench(b)
	r := httptest.NewRequest("GET", "/api/v1/log/entries?logIndex=0", nil)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		g.server.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

func BenchmarkCreateEntry(b *testing.B) {
	g := newBench(b)
	p := proposals(b, "hashedrekord-0.0.1.json")[0]
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/api/v1/log/entries", strings.NewReader(p))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		g.server.ServeHTTP(w, r)
		if w.Code != 201 {
			b.Fatal(w.Body)
		}
	}
}
