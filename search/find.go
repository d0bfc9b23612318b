package search

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const (
	// chunk is how many places are looked up at once of entries that have to be held
	// against conditions that the index knows nothing of.
	chunk = 64
	// atOnce is how many entries are read at once: what bounds the memory of a scan, and
	// how far a page can go beyond MaxBytes.
	atOnce = 16
	// maxKind is the longest kind, in bytes.
	maxKind = 64
)

// Find returns the entries that match, newest first. Errors are of type *Error if
// the query is at fault, else those of storage, or of the context.
func (f *Finder) Find(ctx context.Context, q Query) (*Page, error) {
	s, err := f.check(q)
	if err != nil {
		return nil, err
	}
	page := &Page{Understood: s.understood}
	if err := f.open(ctx, q, s); err != nil {
		return nil, err
	}
	page.CompleteTo = s.sizes
	if err := f.expand(ctx, q, s); err != nil {
		return nil, err
	}
	if err := f.fill(ctx, s, page); err != nil {
		return nil, err
	}
	return page, nil
}

// search is a query that was read: what of it is known without and with storage.
type search struct {
	limit int
	kind  string
	after *cursor // nil for the first page
	// sizes are those of the trees that are asked about, newest first, up to which the
	// first page of this walk was, or is, complete.
	sizes      []TreeSize
	understood []Meaning
	// terms must all hold.
	terms []storage.Term
	// text, if not nil, must hold: one of its keys, or being at one of its places.
	text *alternatives
	// ranges are the parts of the trees in which entries may be, newest first: one for
	// each tree asked about, perhaps empty.
	ranges []storage.Range
}

type alternatives struct {
	keys   storage.Term
	places []Place
}

// check reads a query, without looking at the log.
func (f *Finder) check(q Query) (*search, error) {
	s := &search{limit: q.Limit, kind: strings.ToLower(q.Kind)}
	switch {
	case q.Limit == 0:
		s.limit = DefaultLimit
	case q.Limit < 0 || q.Limit > MaxLimit:
		return nil, bad("limit", "it is %d, not 1 to %d", q.Limit, MaxLimit)
	}
	if len(q.Kind) > maxKind || !utf8.ValidString(q.Kind) {
		return nil, bad("kind", "no kind has such a name")
	}
	if !q.From.IsZero() && !q.To.IsZero() && seconds(q.To) <= seconds(q.From) {
		return nil, bad("to", "the time range ends before it begins")
	}
	if q.Tree != 0 && f.place(q.Tree) < 0 {
		return nil, bad("treeID", "the log has no tree %d", q.Tree)
	}
	if q.Cursor != "" {
		after, err := parseCursor(q.Cursor)
		if err != nil {
			return nil, err
		}
		if asked := f.asked(q); f.place(after.tree) < 0 || len(after.sizes) > len(asked) {
			return nil, errCursor()
		}
		s.after = after
	}
	if err := s.conditions(q); err != nil {
		return nil, err
	}
	if q.Text == "" {
		return s, nil
	}
	var err error
	s.understood, err = recognise(q.Text)
	return s, err
}

// conditions reads the fields that are looked up as keys.
func (s *search) conditions(q Query) error {
	for _, c := range []struct{ field, value string }{
		{FieldIdentity, q.Identity}, {FieldIssuer, q.Issuer}, {FieldDigest, q.Digest}, {FieldCommit, q.Commit},
	} {
		if c.value == "" {
			continue
		}
		value, err := normal(c.field, c.value)
		if err != nil {
			return err
		}
		s.terms = append(s.terms, term(c.field, value))
	}
	if q.PublicKey == "" {
		return nil
	}
	t, err := keyTerm(q.PublicKey)
	s.terms = append(s.terms, t)
	return err
}

// keyTerm reads Query.PublicKey.
func keyTerm(text string) (storage.Term, error) {
	if len(text) > MaxText {
		return nil, bad(FieldPublicKey, "it has %d bytes, more than %d", len(text), MaxText)
	}
	text = strings.TrimSpace(text)
	if !looksLikePEM(text) {
		value, err := normal(FieldPublicKey, text)
		return term(FieldPublicKey, value), err
	}
	keys, err := readPEM(text)
	if err != nil {
		return nil, bad(FieldPublicKey, "%v", err)
	}
	var t storage.Term
	for _, k := range keys {
		t = append(t, term(FieldPublicKey, hex.EncodeToString(k.PEMHash[:]))...)
	}
	return t, nil
}

// place returns where a tree is in the list, newest first; -1 if it is none of the
// log's.
func (f *Finder) place(tree int64) int {
	return slices.IndexFunc(f.trees, func(t Tree) bool { return t.ID == tree })
}

// at returns the place of an entry.
func (f *Finder) at(tree, index int64) Place {
	return Place{tree, index, f.trees[f.place(tree)].Base + index}
}

// asked returns the trees that a query is about, newest first.
func (f *Finder) asked(q Query) []Tree {
	if i := f.place(q.Tree); i >= 0 {
		return f.trees[i : i+1]
	}
	return f.trees
}

// open finds out which parts of which trees the query is about. What is added later is
// not looked at by this call, nor by those for the pages after it.
func (f *Finder) open(ctx context.Context, q Query, s *search) error {
	trees := f.asked(q)
	for i, t := range trees {
		head, err := f.store.Head(ctx, t.ID)
		if err != nil {
			return fmt.Errorf("reading the head of tree %d: %w", t.ID, err)
		}
		size := head.Size
		if s.after != nil {
			size = min(size, s.after.size(len(trees)-i))
		}
		s.sizes = append(s.sizes, TreeSize{t.ID, size})
		s.ranges = append(s.ranges, storage.Range{Tree: t.ID, To: size})
	}
	if err := f.within(ctx, s.ranges, q.From, q.To); err != nil {
		return err
	}
	if q.Index != nil {
		if *q.Index < 0 {
			return bad(FieldIndex, "it is negative")
		}
		s.only(f.resolve(*q.Index))
	}
	if q.ID != "" {
		id, err := normal(FieldID, q.ID)
		if err != nil {
			return err
		}
		places, err := f.locate(ctx, id)
		if err != nil {
			return err
		}
		s.only(places)
	}
	if s.after != nil {
		s.ranges = below(s.ranges, s.after.tree, s.after.index, f.place)
	}
	return nil
}

// only cuts the ranges to places, of which there is one a tree at most.
func (s *search) only(places []Place) {
	for i := range s.ranges {
		r := &s.ranges[i]
		n := slices.IndexFunc(places, func(p Place) bool { return p.Tree == r.Tree })
		if n < 0 {
			r.To = r.From
			continue
		}
		r.From, r.To = max(r.From, places[n].Index), min(r.To, places[n].Index+1)
	}
}

// has reports whether a place is in one of the ranges.
func (s *search) has(p Place) bool {
	return slices.ContainsFunc(s.ranges, func(r storage.Range) bool {
		return r.Tree == p.Tree && p.Index >= r.From && p.Index < r.To
	})
}

// resolve returns the place with an index in the log, if an entry can be there.
func (f *Finder) resolve(index int64) []Place {
	for _, t := range f.trees {
		if index >= t.Base && index < math.MaxInt64 {
			return []Place{{t.ID, index - t.Base, index}}
		}
	}
	return nil
}

// locate returns the places of the entry with an ID in normal form: in its tree, or,
// if it is a leaf hash alone, in every tree that has it, newest first.
func (f *Finder) locate(ctx context.Context, id string) ([]Place, error) {
	var tree int64
	if len(id) == 80 {
		tree, _ = strconv.ParseInt(id[:16], 16, 64) // cannot fail: normal has read it
		id = id[16:]
	}
	hash, err := tlog.ParseHash(id)
	if err != nil {
		return nil, bad(FieldID, "%v", err)
	}
	var places []Place
	for _, t := range f.trees {
		if tree != 0 && tree != t.ID {
			continue
		}
		found, err := f.store.Find(ctx, t.ID, []tlog.Hash{hash})
		if err != nil {
			return nil, fmt.Errorf("finding an entry by its ID: %w", err)
		}
		if index, ok := found[hash]; ok {
			places = append(places, f.at(t.ID, index))
		}
	}
	return places, nil
}

// expand looks up what prefixes, and the meanings of a text, stand for.
func (f *Finder) expand(ctx context.Context, q Query, s *search) error {
	if q.IdentityPrefix != "" {
		value, err := normal(FieldIdentityPrefix, q.IdentityPrefix)
		if err != nil {
			return err
		}
		t, err := f.beginning(ctx, s, FieldIdentityPrefix, value)
		if err != nil {
			return err
		}
		s.terms = append(s.terms, t)
	}
	if len(s.understood) == 0 {
		return nil
	}
	s.text = &alternatives{}
	for _, m := range s.understood {
		if err := f.alternative(ctx, s, m); err != nil {
			return err
		}
	}
	return nil
}

func (f *Finder) alternative(ctx context.Context, s *search, m Meaning) error {
	switch m.Field {
	case FieldIdentityPrefix:
		t, err := f.beginning(ctx, s, "text", m.Value)
		s.text.keys = append(s.text.keys, t...)
		return err
	case FieldIndex:
		s.text.places = append(s.text.places, f.resolve(parseIndex(m.Value))...)
		return nil
	case FieldID:
		places, err := f.locate(ctx, m.Value)
		s.text.places = append(s.text.places, places...)
		return err
	}
	s.text.keys = append(s.text.keys, term(m.Field, m.Value)...)
	return nil
}

// beginning returns the identities that begin with a prefix, in all trees that are
// asked about.
func (f *Finder) beginning(ctx context.Context, s *search, field, prefix string) (storage.Term, error) {
	var found []tlog.Key
	for _, r := range s.ranges {
		keys, err := f.store.KeysBeginning(ctx, r.Tree, tlog.Key{Type: tlog.KeyIdentity, Value: prefix}, MaxIdentities+1)
		if err != nil {
			return nil, fmt.Errorf("looking for identities: %w", err)
		}
		found = tlog.SortKeys(append(found, keys...))
		if len(found) > MaxIdentities {
			return nil, bad(field, "more than %d identities begin with %q: type more of it", MaxIdentities, cut(prefix))
		}
	}
	return found, nil
}

// cut shortens what is repeated to the asker.
func cut(s string) string {
	const limit = 100
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// fill puts the hits into the page. It takes candidates, newest first, as many as the
// page has room for, and if each has to be held against the kind, chunk by chunk; and
// reads them a few at once.
func (f *Finder) fill(ctx context.Context, s *search, page *Page) error {
	for {
		n := s.limit - len(page.Hits)
		if s.kind != "" {
			n = chunk
		}
		found, more, err := f.candidates(ctx, s, n)
		if err != nil {
			return err
		}
		for rest := found; len(rest) > 0; {
			some := rest[:min(atOnce, len(rest))]
			rest = rest[len(some):]
			full, err := f.take(ctx, s, page, some, more || len(rest) > 0)
			if err != nil || full {
				return err
			}
		}
		if !more {
			return nil
		}
		s.ranges = below(s.ranges, found[len(found)-1].Tree, found[len(found)-1].Index, f.place)
	}
}

// take reads the entries at places and considers them for the page. If it is full, and
// there are more of them, here or after these, the page ends; that is reported.
func (f *Finder) take(ctx context.Context, s *search, page *Page, places []Place, more bool) (full bool, err error) {
	leaves, err := f.leaves(ctx, places)
	if err != nil {
		return false, err
	}
	for i, p := range places {
		if err := f.consider(s, page, p, leaves[i]); err != nil {
			return false, err
		}
		if (more || i < len(places)-1) && s.full(page) {
			page.ScannedTo, page.Next = &p, s.next(p)
			return true, nil
		}
	}
	return false, nil
}

// full reports whether no more may come on a page.
func (s *search) full(page *Page) bool {
	return len(page.Hits) == s.limit || page.Scanned == MaxScan || page.Bytes >= MaxBytes
}

// consider adds an entry to the page, if it is of the kind that is asked for.
func (f *Finder) consider(s *search, page *Page, p Place, l storage.Leaf) error {
	if s.kind != "" {
		page.Scanned++
		if kind, _ := f.parser.Kind(l.Body); kind != s.kind {
			return nil
		}
	}
	hit, err := f.hit(p, l)
	page.Hits = append(page.Hits, hit)
	page.Bytes += len(l.Body)
	return err
}

// candidates returns the newest n places, at least 1, of entries that match but for
// their kind, and whether there are more. None are returned only if there are none.
func (f *Finder) candidates(ctx context.Context, s *search, n int) (found []Place, more bool, err error) {
	if len(s.terms) == 0 && s.text == nil {
		found, more = f.newest(s.ranges, n)
		return found, more, nil
	}
	if s.text == nil || len(s.text.keys) > 0 {
		terms := s.terms
		if s.text != nil {
			terms = append(slices.Clone(terms), s.text.keys)
		}
		if found, more, err = f.matches(ctx, s.ranges, terms, n); err != nil {
			return nil, false, err
		}
	}
	if s.text == nil {
		return found, more, nil
	}
	for _, p := range s.text.places {
		if !s.has(p) || slices.Contains(found, p) {
			continue
		}
		ok, err := f.holds(ctx, s.terms, p)
		if err != nil {
			return nil, false, err
		}
		if ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b Place) int {
		return cmp.Or(cmp.Compare(f.place(a.Tree), f.place(b.Tree)), cmp.Compare(b.Index, a.Index))
	})
	// If there are more matches than were asked for, there are n, and what is older
	// than all of them is cut off here.
	if len(found) > n {
		return found[:n], true, nil
	}
	return found, more, nil
}

// holds reports whether the entry at a place matches all terms.
func (f *Finder) holds(ctx context.Context, terms []storage.Term, p Place) (bool, error) {
	if len(terms) == 0 {
		return true, nil
	}
	found, _, err := f.matches(ctx, []storage.Range{{Tree: p.Tree, From: p.Index, To: p.Index + 1}}, terms, 1)
	return len(found) > 0, err
}

// newest returns the newest n places of ranges.
func (f *Finder) newest(ranges []storage.Range, n int) (found []Place, more bool) {
	for _, r := range ranges {
		for i := r.To - 1; i >= r.From; i-- {
			if len(found) == n {
				return found, true
			}
			found = append(found, f.at(r.Tree, i))
		}
	}
	return found, false
}

// matches searches the index.
func (f *Finder) matches(ctx context.Context, ranges []storage.Range, terms []storage.Term, n int) (found []Place, more bool, err error) {
	in := slices.DeleteFunc(slices.Clone(ranges), func(r storage.Range) bool { return r.From >= r.To })
	if len(in) == 0 {
		return nil, false, nil
	}
	res, err := f.store.Search(ctx, storage.Query{In: in, Terms: terms, All: true, Limit: n})
	if err != nil {
		return nil, false, fmt.Errorf("searching: %w", err)
	}
	for _, m := range res.Matches {
		found = append(found, f.at(m.Tree, m.Index))
	}
	return found, res.Truncated, nil
}

// leaves reads the leaves at places.
func (f *Finder) leaves(ctx context.Context, places []Place) ([]storage.Leaf, error) {
	var all []storage.Leaf
	for len(places) > 0 {
		tree := places[0].Tree
		var indexes []int64
		for len(places) > 0 && places[0].Tree == tree {
			indexes, places = append(indexes, places[0].Index), places[1:]
		}
		leaves, err := f.store.LeavesAt(ctx, tree, indexes)
		if err != nil {
			return nil, fmt.Errorf("reading entries of tree %d: %w", tree, err)
		}
		all = append(all, leaves...)
	}
	return all, nil
}
