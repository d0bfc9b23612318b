package monitor

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/tlog"
)

// An honest log raises nothing however it grows, and every entry is searched once.
func TestHonest(t *testing.T) {
	w := newWorld(t, numbered("oldest", 0, 7), numbered("old", 0, 3), append(numbered("new", 0, 4), byDev("mine")))
	m := w.open()
	w.quiet(m)
	total := int64(15)
	for n := range 12 {
		w.log.add(t, numbered("more", 10*n, 10*n+n)...)
		total += int64(n)
		w.clock.add(time.Minute)
		if n%4 == 3 { // another process goes on
			m.Close()
			m = w.open()
		}
		w.quiet(m)
		if got := matched(t, m, "all"); !slices.Equal(got, upTo(total)) {
			t.Fatalf("after %d entries: matches are of %v", total, got)
		}
	}
	if got := matched(t, m, "dev"); !slices.Equal(got, []int64{14}) {
		t.Errorf("of dev: %v", got)
	}
	s := m.Status()
	if len(s.Trees) != 3 || s.Trees[0].ID != 100 || s.Trees[0].Active || s.Trees[2].Base != 10 || !s.Trees[2].Active || s.Trees[2].Read != total-10 {
		t.Errorf("trees are %+v", s.Trees)
	}
	var found Alert
	for _, a := range records(t, m) {
		if a.Kind != KindMatch {
			t.Errorf("an alarm: %+v", a)
		} else if a.Match.Rule == "dev" {
			found = a
		}
	}
	d := found.Match
	if d.TreeIndex != 4 || d.EntryKind != "hashedrekord" || d.Version != "0.0.1" || d.Signer == nil || !slices.Equal(d.Signer.Subjects, []string{"dev@example.com"}) ||
		!slices.Equal(d.Signer.Issuers, []string{"https://issuer.example.com"}) || len(d.Digests) != 1 || len(d.UUID) != 80 || d.IntegratedTime == 0 || d.Clipped {
		t.Errorf("found %+v %+v", d, d.Signer)
	}
	if d.Signer.Extensions["issuer"] != "https://issuer.example.com" {
		t.Errorf("extensions are %v", d.Signer.Extensions)
	}
}

// A log whose active tree gives way to a new one is read across.
func TestRotation(t *testing.T) {
	w := newWorld(t, numbered("old", 0, 6))
	// The first tree is the old one of the log after.
	first, after := numbered("old", 0, 9), numbered("new", 0, 5)
	later := newRealLog(t, w.key, first, after)
	w.proxy.set(treeAlone(t, later, 6), nil)
	m := w.open()
	w.quiet(m)
	w.proxy.set(later, nil)
	w.quiet(m)
	if got := matched(t, m, "all"); !slices.Equal(got, upTo(14)) {
		t.Errorf("matches are of %v", got)
	}
	m.Close()
	w.quiet(w.open())
}

// From now: nothing of what is there is searched, all that comes is, and the past is held to.
func TestFromNow(t *testing.T) {
	for n := range 20 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, numbered("old", 0, 3), numbered("new", 0, n))
			w.watch.FromNow = true
			m := w.open()
			w.quiet(m)
			if r := records(t, m); len(r) > 0 {
				t.Fatalf("records: %+v", r)
			}
			if seen := w.proxy.requests(); len(seen) > 3 {
				t.Errorf("requests: %v", seen)
			}
			w.log.add(t, numbered("more", 0, 3)...)
			w.quiet(m)
			base := int64(3 + n)
			if got := matched(t, m, "all"); !slices.Equal(got, []int64{base, base + 1, base + 2}) {
				t.Errorf("matches are of %v", got)
			}
			if s := m.Status(); s.Trees[1].From != int64(n) || s.Trees[0].From != 3 {
				t.Errorf("trees are %+v", s.Trees)
			}
		})
	}
}

// From now on, although the log could not be asked for the newest entry of its second tree at first.
func TestFromNowInterrupted(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	w.watch.FromNow = true
	w.proxy.set(w.log, func(r *http.Request, a *answer) {
		if r.URL.Query().Get("logIndex") == "11" {
			a.status = 503
		}
	})
	m := w.open()
	if r := w.round(m); r.Trouble == nil || len(m.Status().Trees) != 0 {
		t.Fatalf("%+v, trees %+v", r, m.Status().Trees)
	}
	w.proxy.set(w.log, nil)
	w.quiet(m)
	if trees := m.Status().Trees; len(trees) != 2 || trees[0].From != 3 || trees[1].From != 9 || len(records(t, m)) != 0 {
		t.Errorf("trees %+v, alerts %+v", trees, records(t, m))
	}
}

// Of many entries one round reads what it may, and says that there is more.
func TestRounds(t *testing.T) {
	w := newWorld(t, numbered("old", 0, 12), numbered("new", 0, 55))
	w.opts.RoundEntries, w.opts.MaxLeaves, w.opts.Parallel = 20, 7, 3
	m := w.open()
	for i, want := range []int64{20, 20, 20, 7} {
		r := w.round(m)
		if r.Entries != want || r.More != (i < 3) || r.Trouble != nil {
			t.Errorf("round %d: %+v", i, r)
		}
		if s := m.Status(); s.Pending != 67-min(67, 20*int64(i+1)) {
			t.Errorf("round %d: %+v", i, s)
		}
	}
	if got := matched(t, m, "all"); !slices.Equal(got, upTo(67)) {
		t.Errorf("matches are of %v", got)
	}
}

// Cursors are kept, by name, and never point beyond the journal.
func TestCursor(t *testing.T) {
	w := newWorld(t, numbered("new", 0, 5))
	m := w.open()
	w.quiet(m)
	var ends []int64
	for r, err := range m.Alerts(0) {
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, r.Next)
	}
	if at, err := m.Cursor("webhook"); at != 0 || err != nil {
		t.Errorf("at first: %d, %v", at, err)
	}
	if err := m.SetCursor("webhook", ends[2]); err != nil {
		t.Fatal(err)
	}
	m.Close()
	m = w.open()
	at, err := m.Cursor("webhook")
	if at != ends[2] || err != nil {
		t.Fatalf("then: %d, %v", at, err)
	}
	n := 0
	for r, err := range m.Alerts(at) {
		if err != nil || r.Alert.Match.LogIndex != int64(3+n) {
			t.Errorf("record %d: %+v, %v", n, r, err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d records", n)
	}
	for _, bad := range []int64{-1, ends[4] + 1} {
		if err := m.SetCursor("webhook", bad); err == nil {
			t.Errorf("the cursor was set to %d", bad)
		}
		for _, err := range m.Alerts(bad) {
			if err == nil {
				t.Errorf("there is a record at %d", bad)
			}
		}
	}
	for _, err := range m.Alerts(ends[1] + 1) {
		if err == nil {
			t.Error("there is a record in the middle of one")
		}
	}
	if err := m.SetCursor("../x", 0); err == nil {
		t.Error("a cursor was kept elsewhere")
	}
}

// Of one log one monitor watches with the same directory.
func TestLock(t *testing.T) {
	w := newWorld(t, numbered("new", 0, 1))
	m := w.open()
	o := w.opts
	o.Dir, o.Source = w.dir, w.source()
	if second, err := Open(w.watch, o); err == nil {
		second.Close()
		t.Fatal("two monitors watch the same log")
	}
	other := w.watch
	other.Name = "other"
	second, err := Open(other, o)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	m.Close()
	w.open()
}

func TestPeaks(t *testing.T) {
	p, edge := &peaks{}, tlog.NewEdge()
	for range 1100 {
		if p.head() != edge.Head() {
			t.Fatalf("at size %d: %v, not %v", p.size, p.head(), edge.Head())
		}
		h := tlog.Hash{0: byte(rand.Int()), 1: byte(p.size), 2: byte(p.size >> 8)}
		if q, err := newPeaks(p.size, slices.Clone(p.hashes)); err != nil || q.head() != p.head() {
			t.Fatalf("again: %v", err)
		}
		p.add(h)
		edge.Extend([]tlog.Hash{h})
	}
	if _, err := newPeaks(5, p.hashes[:1]); err == nil {
		t.Error("a tree of 5 is made of one perfect subtree")
	}
}

// What proofs tell of smaller trees is what those were.
func TestProofs(t *testing.T) {
	l := forge.NewLogV1(testHost, newTree, testKey("log"))
	for l.Size() < 36 {
		l.Add(nil)
	}
	head := func(n int) tlog.Head { return tlog.Head{Size: int64(n), Root: l.Root(n)} }
	for size := 1; size <= l.Size(); size++ {
		for i := range size {
			path := l.Inclusion(i, size)
			if p, err := peaksBefore(int64(i), int64(size), path); err != nil || p.head() != head(i) {
				t.Errorf("before leaf %d of %d: %v", i, size, err)
			}
			if _, err := peaksBefore(int64(i), int64(size), append(path, tlog.Hash{})); err == nil && i > 0 {
				t.Errorf("before leaf %d of %d: a longer proof is taken", i, size)
			}
			if i == 0 {
				continue
			}
			root, ok := prefixRoot(int64(i), int64(size), l.Consistency(i, size))
			if power := i&(i-1) == 0; ok == power || ok && root != l.Root(i) {
				t.Errorf("from %d to %d: %v, %v", i, size, root, ok)
			}
		}
		if size >= 16 { // leaf 15 is one that was added here
			root, rest, ok := subtreeRoot(tlog.LeafHash(nil), 16, l.Inclusion(15, size))
			if !ok || root != l.Root(16) || tlog.VerifyConsistency(head(16), head(size), rest) != nil {
				t.Errorf("the first 16 of %d: %v, %v", size, root, ok)
			}
		}
	}
}
