package search_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/tlog"
)

const (
	treeOld = 10
	treeMid = 20
	treeNew = 0x1122334455667788
)

// condition is a part of a query, and what has to be true of an entry for it.
type condition struct {
	set  func(*search.Query)
	true func(tree int64, l storage.NewLeaf) bool
}

func has(want ...tlog.Key) func(int64, storage.NewLeaf) bool {
	return func(_ int64, l storage.NewLeaf) bool {
		return slices.ContainsFunc(want, func(k tlog.Key) bool { return slices.Contains(l.Keys, k) })
	}
}

func hex64(n int) string { return fmt.Sprintf("%064x", n) }

// randomLog fills three trees with entries that share a few keys.
func randomLog(t *testing.T, r *rand.Rand) *rig {
	g := newRig(t, []int64{treeOld, treeMid, treeNew}, 70, 0)
	n := 0
	for _, id := range []int64{treeOld, treeNew} {
		for clock := int64(1000); clock < 1070; clock += 10 {
			var leaves []storage.NewLeaf
			for range 10 {
				leaves = append(leaves, randomLeaf(r, n))
				n++
			}
			g.add(id, clock, leaves...)
		}
	}
	return g
}

func randomLeaf(r *rand.Rand, n int) storage.NewLeaf {
	keys := []tlog.Key{issuer(fmt.Sprint("https://issuer-", r.IntN(2)))}
	if r.IntN(2) == 0 {
		keys = append(keys, identity(fmt.Sprintf("jo%d@example.com", r.IntN(4))))
	}
	if r.IntN(2) == 0 {
		keys = append(keys, digest("sha256:"+hex64(r.IntN(4))), pubkey(hex64(r.IntN(4))))
	}
	return other([]string{"helm", "tuf"}[r.IntN(2)], n, keys...)
}

func randomCondition(r *rand.Rand, g *rig) condition {
	n := r.IntN(5) // 4 is not there
	jo := fmt.Sprintf("Jo%d@example.com", n)
	who := identity(strings.ToLower(jo))
	any := []tlog.Key{}
	for i := range 4 {
		any = append(any, identity(fmt.Sprintf("jo%d@example.com", i)))
	}
	log := g.logs[treeNew].leaves
	pick := log[r.IntN(len(log))]
	global := r.Int64N(145)
	at := int64(1000 + r.IntN(80))
	switch r.IntN(13) {
	case 0:
		return condition{func(q *search.Query) { q.Identity = jo }, has(who)}
	case 1:
		return condition{func(q *search.Query) { q.IdentityPrefix = "JO" }, has(any...)}
	case 2:
		return condition{func(q *search.Query) { q.Issuer = fmt.Sprint("https://ISSUER-", n) }, has(issuer(fmt.Sprint("https://issuer-", n)))}
	case 3:
		return condition{func(q *search.Query) { q.Digest = hex64(n) }, has(digest("sha256:" + hex64(n)))}
	case 4:
		return condition{func(q *search.Query) { q.PublicKey = hex64(n) }, has(pubkey(hex64(n)))}
	case 5:
		return condition{func(q *search.Query) { q.Index = &global }, func(tree int64, l storage.NewLeaf) bool {
			return g.trees[slices.IndexFunc(g.trees, func(t search.Tree) bool { return t.ID == tree })].Base+l.Index == global
		}}
	case 6:
		return condition{func(q *search.Query) { q.ID = pick.Hash.String() }, func(_ int64, l storage.NewLeaf) bool { return l.Hash == pick.Hash }}
	case 7:
		return condition{func(q *search.Query) { q.Kind = "TUF" }, func(_ int64, l storage.NewLeaf) bool { return strings.Contains(string(l.Body), `"tuf"`) }}
	case 8:
		return condition{func(q *search.Query) { q.From = time.Unix(at, 0) }, func(_ int64, l storage.NewLeaf) bool { return l.Time >= at }}
	case 9:
		return condition{func(q *search.Query) { q.To = time.Unix(at, -1) }, func(_ int64, l storage.NewLeaf) bool { return l.Time < at }}
	case 10:
		id := []int64{treeOld, treeMid, treeNew}[r.IntN(3)]
		return condition{func(q *search.Query) { q.Tree = id }, func(tree int64, _ storage.NewLeaf) bool { return tree == id }}
	case 11: // digits that are a digest, a key, or the ID of an entry
		text := hex64(n)
		if r.IntN(2) == 0 {
			text = pick.Hash.String()
		}
		return condition{func(q *search.Query) { q.Text = text }, func(_ int64, l storage.NewLeaf) bool {
			return l.Hash.String() == text || has(digest("sha256:"+text), pubkey(text))(0, l)
		}}
	}
	return condition{func(q *search.Query) { q.Text = "jo*" }, has(any...)}
}

// want answers by looking at every entry, as it was before later ones came.
func (g *rig) want(conditions []condition, sizes map[int64]int) (uuids []string) {
	for i := len(g.trees) - 1; i >= 0; i-- {
		id := g.trees[i].ID
		leaves := g.logs[id].leaves[:sizes[id]]
		for j := len(leaves) - 1; j >= 0; j-- {
			if !slices.ContainsFunc(conditions, func(c condition) bool { return !c.true(id, leaves[j]) }) {
				uuids = append(uuids, fmt.Sprintf("%016x%v", id, leaves[j].Hash))
			}
		}
	}
	return uuids
}

// Whatever the conditions and the page size, all pages together have exactly the
// entries that match, newest first, also while the log grows.
func TestFindAgainstAll(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	g := randomLog(t, r)
	n, some := 10_000, 0
	for range 250 {
		var q search.Query
		var conditions []condition
		for range r.IntN(4) {
			c := randomCondition(r, g)
			c.set(&q)
			conditions = append(conditions, c)
		}
		before := q
		for _, c := range conditions { // one may have overwritten another
			c.set(&q)
		}
		if before.Text != q.Text || fmt.Sprint(before) != fmt.Sprint(q) || repeats(conditions) {
			continue
		}
		if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
			continue
		}
		sizes := map[int64]int{}
		for id, l := range g.logs {
			sizes[id] = len(l.leaves)
		}
		want := g.want(conditions, sizes)
		for _, limit := range []int{1, 3, 100} {
			q.Limit = limit
			hits, _ := g.all(q, func() {
				if len(g.logs[treeNew].leaves) < 300 {
					g.add(treeNew, 1100, randomLeaf(r, n))
					n++
				}
			})
			if limit == 1 { // what was added before the first page of the next round counts there
				want = g.want(conditions, sizes)
			}
			var got []string
			for _, h := range hits {
				got = append(got, h.UUID)
				g.checkHit(h)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%+v:\n got %d %.200q\nwant %d %.200q", q, len(got), got, len(want), want)
			}
			for id, l := range g.logs {
				sizes[id] = len(l.leaves)
			}
			want = g.want(conditions, sizes)
			some += len(got)
		}
	}
	if some < 1000 {
		t.Errorf("only %d hits", some)
	}
}

// repeats reports whether two conditions are about the same field, of which a query
// holds the last only.
func repeats(conditions []condition) bool {
	for i, c := range conditions {
		for _, d := range conditions[:i] {
			var a, b, both search.Query
			c.set(&a)
			d.set(&b)
			d.set(&both)
			c.set(&both)
			if fmt.Sprint(a) == fmt.Sprint(b) || fmt.Sprint(both) == fmt.Sprint(a) {
				return true
			}
		}
	}
	return false
}

func (g *rig) checkHit(h search.Hit) {
	g.t.Helper()
	base := g.trees[slices.IndexFunc(g.trees, func(t search.Tree) bool { return t.ID == h.Tree })].Base
	l := g.logs[h.Tree].leaves[h.Index]
	if h.LogIndex != base+h.Index || h.Time != time.Unix(l.Time, 0).UTC() || h.Problem != "" || h.Description.Kind == "" {
		g.t.Errorf("hit is %+v", h)
	}
}

// A scan is bounded, says how far it came, and goes on from there.
func TestScan(t *testing.T) {
	g := newRig(t, []int64{treeOld, treeNew}, 3000)
	for i, id := range []int64{treeOld, treeNew} {
		var leaves []storage.NewLeaf
		for j := range 3000 {
			kind := "helm"
			if j == 5 {
				kind = "tuf"
			}
			leaves = append(leaves, other(kind, i*3000+j, issuer("https://issuer")))
		}
		g.add(id, 1000, leaves...)
	}
	for _, q := range []search.Query{{Kind: "tuf"}, {Kind: "tuf", Issuer: "https://issuer"}} {
		page := g.find(q)
		if len(page.Hits) != 0 || page.Scanned != search.MaxScan || page.ScannedTo == nil || *page.ScannedTo != (search.Place{Tree: treeNew, Index: 1000, LogIndex: 4000}) {
			t.Errorf("scanned %d to %v, with %d hits", page.Scanned, page.ScannedTo, len(page.Hits))
		}
		if want := []search.TreeSize{{Tree: treeNew, Size: 3000}, {Tree: treeOld, Size: 3000}}; !slices.Equal(page.CompleteTo, want) {
			t.Errorf("complete to %v", page.CompleteTo)
		}
		hits, pages := g.all(q, nil)
		if len(hits) != 2 || hits[0].LogIndex != 3005 || hits[1].LogIndex != 5 || pages != 3 {
			t.Errorf("%d hits on %d pages", len(hits), pages)
		}
	}
	if page := g.find(search.Query{Limit: 5}); len(page.Hits) != 5 || page.Scanned != 0 || page.Hits[0].LogIndex != 5999 || page.Next == "" {
		t.Errorf("the newest entries are %+v", page)
	}
	if hits, pages := g.all(search.Query{Limit: 100}, nil); len(hits) != 6000 || pages != 60 {
		t.Errorf("%d entries on %d pages", len(hits), pages)
	}
}

// Too many identities are refused, also when they come from several trees; and those
// of trees that are not asked about do not count.
func TestPrefixes(t *testing.T) {
	g := newRig(t, []int64{treeOld, treeNew}, 60)
	for i, id := range []int64{treeOld, treeNew} {
		for j := range 60 {
			g.add(id, 1000, other("helm", i*100+j, identity(fmt.Sprintf("user-%d-%02d@example.com", i, j))))
		}
	}
	for _, q := range []search.Query{{IdentityPrefix: "user"}, {Text: "user*"}, {IdentityPrefix: "u"}} {
		_, err := g.finder.Find(t.Context(), q)
		var bad *search.Error
		if !errors.As(err, &bad) || !strings.Contains(bad.Message, "type more") {
			t.Errorf("%+v: error %v", q, err)
		}
	}
	if n := len(g.find(search.Query{IdentityPrefix: "user", Tree: treeOld, Limit: 100}).Hits); n != 60 {
		t.Errorf("%d entries of one tree", n)
	}
	if n := len(g.find(search.Query{Text: "User-1-0*"}).Hits); n != 10 {
		t.Errorf("%d entries of ten identities", n)
	}
	if n := len(g.find(search.Query{Text: "nobody*"}).Hits); n != 0 {
		t.Errorf("%d entries of nobody", n)
	}
}

// An entry by its ID and another one by what it is about, for one text, on pages of
// their own.
func TestPlaceAndKey(t *testing.T) {
	g := newRig(t, []int64{treeNew})
	named := other("helm", 1)
	about := other("helm", 2, digest("sha256:"+named.Hash.String()))
	for _, leaves := range [][]storage.NewLeaf{{about, named}, {other("helm", 3)}} {
		g.add(treeNew, 1000, leaves...)
		for _, limit := range []int{1, 2} {
			if hits, _ := g.all(search.Query{Text: named.Hash.String(), Limit: limit}, nil); len(hits) != 2 || hits[0].Index != 1 || hits[1].Index != 0 {
				t.Errorf("limit %d: %d hits", limit, len(hits))
			}
		}
	}
}

// Real entries are found by all that people know of them, typed or pasted.
func TestFindReal(t *testing.T) {
	g := newRig(t, []int64{treeOld, treeNew}, 1)
	ca := newCA()
	jo, mo := sign(g, ca, "jo@example.com", "one"), sign(g, ca, "mo@example.com", "two")
	g.add(treeOld, 1000, jo.leaf)
	g.add(treeNew, 2000, mo.leaf)
	commit := strings.Repeat("0a", 20)
	git := sign(g, ca, "git@example.com", commit) // as gitsign logs it
	g.add(treeNew, 3000, git.leaf)
	statement := other("helm", 1, digest("gitcommit:"+commit), digest("sha256:"+jo.digest))
	g.add(treeNew, 4000, statement)

	id := func(tree int64, l storage.NewLeaf) string { return fmt.Sprintf("%016x%v", tree, l.Hash) }
	a, b, c, d := id(treeOld, jo.leaf), id(treeNew, mo.leaf), id(treeNew, git.leaf), id(treeNew, statement)
	oneLine := strings.ReplaceAll(string(jo.certificate), "\n", " ")
	inJSON := strings.ReplaceAll(string(jo.certificate), "\n", `\n`)
	texts := map[string][]string{
		"jo@example.com":                                  {a},
		" JO@Example.Com\n":                               {a},
		"https://issuer.example.com":                      {c, b, a},
		jo.digest:                                         {d, a},
		"SHA256:" + strings.ToUpper(jo.digest):            {d, a},
		"registry.example.com/app:v1@sha256:" + mo.digest: {b},
		"0":                     {a},
		"3":                     {d},
		"4":                     nil,
		a:                       {a},
		strings.ToUpper(a[16:]): {a},
		"https://rekor.example.com/api/v1/log/entries/" + b:       {b},
		"https://rekor.example.com/api/v1/log/entries?logIndex=2": {c},
		"https://log.example.com/entry/2/":                        {c},
		commit:                                                    {d, c},
		string(jo.certificate):                                    {a},
		string(jo.chain):                                          {a},
		oneLine:                                                   {a},
		inJSON:                                                    {a},
		"nobody@example.com":                                      nil,
		"jo*":                                                     {a},
		strings.Repeat("0", 63) + "1":                             nil,
		"0000000000000bad" + a[16:]:                               nil, // not that tree
	}
	for text, want := range texts {
		page := g.find(search.Query{Text: text})
		var got []string
		for _, h := range page.Hits {
			got = append(got, h.UUID)
		}
		if !slices.Equal(got, want) || len(page.Understood) == 0 {
			t.Errorf("%.80q: found %v, not %v; understood %v", text, got, want, page.Understood)
		}
	}
	for _, q := range []search.Query{{PublicKey: string(mo.certificate)}, {PublicKey: string(mo.chain)}, {Digest: mo.digest, Issuer: "https://issuer.example.com"}, {Commit: commit, Identity: "git@example.com"}} {
		if page := g.find(q); len(page.Hits) != 1 {
			t.Errorf("%+v: %d hits", q, len(page.Hits))
		}
	}
	h := g.find(search.Query{Text: "jo@example.com"}).Hits[0]
	if s := h.Description.Signers; h.Problem != "" || h.Description.Kind != "hashedrekord" || len(s) != 1 || s[0].Key.Identities[0] != "jo@example.com" {
		t.Errorf("described as %+v", h)
	}

	for _, ref := range []string{"0", a, a[16:]} {
		e, err := g.finder.Entry(t.Context(), ref)
		if err != nil || e.UUID != a || string(e.Body) != string(jo.leaf.Body) || e.LogIndex != 0 {
			t.Errorf("entry %s is %+v, error %v", ref, e, err)
		}
	}
	for _, ref := range []string{"4", "9223372036854775807", hex64(1), "0000000000000bad" + a[16:]} {
		if _, err := g.finder.Entry(t.Context(), ref); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("entry %s: error %v", ref, err)
		}
	}
	for _, ref := range []string{"", "-1", "x", "9223372036854775808", hex64(1) + "a", "0000000000000000" + a[16:]} {
		var bad *search.Error
		if _, err := g.finder.Entry(t.Context(), ref); !errors.As(err, &bad) {
			t.Errorf("entry %q: error %v", ref, err)
		}
	}

	sum, err := g.finder.Recent(t.Context(), 3)
	if err != nil || sum.Entries != 3 || sum.Since.Unix() != 2000 || fmt.Sprint(sum.Kinds, sum.Issuers) != "[{hashedrekord 0.0.1 2} {helm 0.0.1 1}] [{https://issuer.example.com 2}]" {
		t.Errorf("recent are %+v, error %v", sum, err)
	}
	if sum, err = g.finder.Recent(t.Context(), 1<<40); err != nil || sum.Entries != 4 || sum.Since.Unix() != 1000 {
		t.Errorf("all are %+v, error %v", sum, err)
	}
}

// What cannot be answered is refused, with the field that is at fault.
func TestRefused(t *testing.T) {
	g := newRig(t, []int64{treeNew})
	g.add(treeNew, 1000, other("helm", 1), other("helm", 2))
	firstPage := g.find(search.Query{Limit: 1})
	negative := int64(-1)
	cursor := g.find(search.Query{Kind: "none"}).Next
	if cursor != "" {
		t.Errorf("a whole search has the cursor %q", cursor)
	}
	for want, list := range map[string][]search.Query{
		"text":           {{Text: " "}, {Text: "\xff"}, {Text: "a\x00"}, {Text: strings.Repeat("a", search.MaxText+1)}, {Text: "*@example.com"}, {Text: "*"}, {Text: "sha256:abcd0123"}, {Text: "-----BEGIN CERTIFICATE-----"}, {Text: "-----BEGIN PRIVATE KEY-----AA==-----END PRIVATE KEY-----"}, {Text: "LS0tLS1CRUdJTi"}, {Text: "9223372036854775808"}, {Text: strings.Repeat("x", 3000)}},
		"identity":       {{Identity: "\x00"}, {Identity: strings.Repeat("x", 3000)}, {Identity: "\xff"}},
		"identityPrefix": {{IdentityPrefix: "\x00"}},
		"issuer":         {{Issuer: "\x00"}},
		"digest":         {{Digest: "x"}, {Digest: "sha256:00"}, {Digest: ":00"}, {Digest: "md5:"}},
		"publicKey":      {{PublicKey: "x"}, {PublicKey: "-----BEGIN X-----"}, {PublicKey: strings.Repeat("x", 70000)}},
		"commit":         {{Commit: "abc"}, {Commit: strings.Repeat("x", 40)}},
		"index":          {{Index: &negative}},
		"id":             {{ID: "x"}, {ID: strings.Repeat("0", 80)}, {ID: "f" + strings.Repeat("0", 79)}},
		"kind":           {{Kind: strings.Repeat("x", 65)}, {Kind: "\xff"}},
		"to":             {{From: time.Unix(2, 0), To: time.Unix(2, 0)}, {From: time.Unix(2, 0), To: time.Unix(1, 0)}},
		"treeID":         {{Tree: 1}, {Tree: -1}},
		"limit":          {{Limit: -1}, {Limit: 101}},
		"cursor":         {{Cursor: "x"}, {Cursor: "AQUAAA"}, {Cursor: "AQ"}, {Cursor: firstPage.Next[:len(firstPage.Next)-2]}, {Cursor: firstPage.Next + "AA"}, {Cursor: strings.Repeat("A", 10000)}},
	} {
		for _, q := range list {
			page, err := g.finder.Find(t.Context(), q)
			var bad *search.Error
			if !errors.As(err, &bad) || bad.Field != want || bad.Message == "" || page != nil {
				t.Errorf("%.200s: error %v, not of %s", fmt.Sprintf("%+v", q), err, want)
			}
		}
	}
}

// Storage that fails is told as it is, and damaged entries are not shown.
func TestFailures(t *testing.T) {
	g := newRig(t, []int64{treeNew})
	for i := range 5 {
		g.add(treeNew, 1000, other("helm", i, identity("jo@example.com")))
	}
	global := int64(1)
	calls := map[string]func() error{
		"newest": func() error { _, err := g.finder.Find(t.Context(), search.Query{}); return err },
		"text":   func() error { _, err := g.finder.Find(t.Context(), search.Query{Text: hex64(1)}); return err },
		"prefix": func() error { _, err := g.finder.Find(t.Context(), search.Query{IdentityPrefix: "j"}); return err },
		"times": func() error {
			_, err := g.finder.Find(t.Context(), search.Query{From: time.Unix(5, 0), Index: &global})
			return err
		},
		"id":     func() error { _, err := g.finder.Find(t.Context(), search.Query{ID: hex64(1)}); return err },
		"entry":  func() error { _, err := g.finder.Entry(t.Context(), "1"); return err },
		"counts": func() error { _, err := g.finder.Counts(t.Context(), []time.Time{time.Unix(1000, 0)}); return err },
		"recent": func() error { _, err := g.finder.Recent(t.Context(), 5); return err },
	}
	for name, call := range calls {
		var methods []string
		g.store.Misbehave(func(method string) memory.Fault {
			methods = append(methods, method)
			return memory.Fault{}
		})
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range methods {
			n := 0
			g.store.Misbehave(func(string) memory.Fault {
				if n++; n == i+1 {
					return memory.Fault{Err: storage.ErrUnavailable}
				}
				return memory.Fault{}
			})
			if err := call(); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: %s failed, and the error is %v", name, methods[i], err)
			}
		}
		g.store.Misbehave(nil)
	}
	damaged := other("helm", 9)
	damaged.Body = []byte("{}")
	l := g.logs[treeNew]
	if err := l.writer.Commit(t.Context(), damaged); err != nil {
		t.Fatal(err)
	}
	if page, err := g.finder.Find(t.Context(), search.Query{}); !errors.Is(err, search.ErrDamaged) || page != nil {
		t.Errorf("a damaged entry is shown as %v, error %v", page, err)
	}
	if e, err := g.finder.Entry(t.Context(), "5"); !errors.Is(err, search.ErrDamaged) || e != nil {
		t.Errorf("a damaged entry is shown as %v, error %v", e, err)
	}
}

func TestCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	g := newRig(t, []int64{treeOld, treeMid, treeNew}, 400, 0)
	n, clock := 0, int64(1_000_000)
	for _, id := range []int64{treeOld, treeNew} {
		for range 100 {
			var leaves []storage.NewLeaf
			for range 1 + r.IntN(8) {
				leaves = append(leaves, other("helm", n))
				n++
			}
			g.add(id, clock, leaves...)
			clock += r.Int64N(3) * r.Int64N(1000)
		}
	}
	check := func(boundaries []time.Time) {
		t.Helper()
		calls := 0
		g.store.Misbehave(func(method string) memory.Fault { calls++; return memory.Fault{} })
		got, err := g.finder.Counts(t.Context(), boundaries)
		g.store.Misbehave(nil)
		if err != nil {
			t.Fatal(err)
		}
		if calls > 30 {
			t.Errorf("%d boundaries took %d calls", len(boundaries), calls)
		}
		for i, b := range boundaries {
			want := int64(0)
			for _, l := range g.logs {
				for _, leaf := range l.leaves {
					if time.Unix(leaf.Time, 0).Before(b) {
						want++
					}
				}
			}
			if got[i] != want {
				t.Errorf("before %v there are %d entries, not %d", b, want, got[i])
			}
		}
	}
	check(nil)
	check([]time.Time{{}, time.Unix(0, 0), time.Unix(1_000_000, 0), time.Unix(1_000_000, 1), time.Unix(clock+1, 0), time.Unix(1<<40, 0)})
	for _, n := range []int{1, 2, 3, 90, 300, search.MaxBoundaries} {
		var boundaries []time.Time
		for range n {
			boundaries = append(boundaries, time.Unix(999_900+r.Int64N(clock-999_800), r.Int64N(2)))
		}
		check(boundaries)
	}
	var bad *search.Error
	if _, err := g.finder.Counts(t.Context(), make([]time.Time, search.MaxBoundaries+1)); !errors.As(err, &bad) {
		t.Errorf("too many boundaries: error %v", err)
	}
}
