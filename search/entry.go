package search

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// ErrDamaged says that a stored entry does not have the hash that is stored with it.
// Nothing of it is shown; the whole-log check names it.
var ErrDamaged = errors.New("the stored entry is damaged")

// hit describes the leaf at a place.
func (f *Finder) hit(p Place, l storage.Leaf) (Hit, error) {
	hash := tlog.LeafHash(l.Body)
	if hash != l.Hash || l.Index != p.Index {
		return Hit{}, fmt.Errorf("entry %d of tree %d: %w", p.Index, p.Tree, ErrDamaged)
	}
	h := Hit{
		Place: p,
		UUID:  fmt.Sprintf("%016x", p.Tree) + hex.EncodeToString(hash[:]),
		Time:  time.Unix(l.Time, 0).UTC(),
	}
	var err error
	if h.Description, err = f.parser.Describe(l.Body); err != nil {
		h.Problem = err.Error()
	}
	return h, nil
}

// Entry returns one entry: ref is an entry ID (80 hexadecimal digits, or 64, the leaf
// hash alone) or an index in the log (decimal digits). The error wraps
// storage.ErrNotFound if there is none, and is of type *Error if ref is neither.
func (f *Finder) Entry(ctx context.Context, ref string) (*Entry, error) {
	places, err := f.refer(ctx, ref)
	if err != nil {
		return nil, err
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("entry %s: %w", cut(ref), storage.ErrNotFound)
	}
	p := places[0]
	leaves, err := f.store.LeavesAt(ctx, p.Tree, []int64{p.Index})
	if err != nil {
		return nil, fmt.Errorf("reading entry %d of tree %d: %w", p.Index, p.Tree, err)
	}
	hit, err := f.hit(p, leaves[0])
	if err != nil {
		return nil, err
	}
	return &Entry{hit, leaves[0].Body, leaves[0].Attestation}, nil
}

// refer returns the places that an entry ID or an index stands for.
func (f *Finder) refer(ctx context.Context, ref string) ([]Place, error) {
	if id, err := normal(FieldID, ref); err == nil {
		return f.locate(ctx, id)
	}
	value, err := normal(FieldIndex, ref)
	if err != nil {
		return nil, bad("entry", "it is neither an entry ID (80 hexadecimal digits, or 64) nor an index (decimal digits)")
	}
	return f.resolve(parseIndex(value)), nil
}

// Recent says what the newest n entries are, at most MaxRecent.
func (f *Finder) Recent(ctx context.Context, n int) (*Summary, error) {
	sum := &Summary{}
	kinds, issuers := map[string]int{}, map[string]int{}
	n = min(n, MaxRecent)
	for _, t := range f.trees {
		head, err := f.store.Head(ctx, t.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the head of tree %d: %w", t.ID, err)
		}
		for end := head.Size; end > 0 && sum.Entries < n; {
			start := max(end-min(chunk, int64(n-sum.Entries)), 0)
			if err := f.tally(ctx, t.ID, start, int(end-start), sum, kinds, issuers); err != nil {
				return nil, err
			}
			end = start
		}
	}
	sum.Kinds, sum.Issuers = counts(kinds), counts(issuers)
	return sum, nil
}

// tally counts n leaves from start on. Issuers come from the search keys: that is
// quicker than to read certificates.
func (f *Finder) tally(ctx context.Context, tree, start int64, n int, sum *Summary, kinds, issuers map[string]int) error {
	leaves, err := f.store.Leaves(ctx, tree, start, n)
	if err != nil {
		return fmt.Errorf("reading entries of tree %d: %w", tree, err)
	}
	keys, err := f.store.KeysOf(ctx, tree, tlog.KeyIssuer, start, n)
	if err != nil {
		return fmt.Errorf("reading search keys of tree %d: %w", tree, err)
	}
	if len(leaves) != n || len(keys) != n {
		return fmt.Errorf("tree %d has %d leaves and %d sets of keys from %d, not %d", tree, len(leaves), len(keys), start, n)
	}
	for i, l := range leaves {
		kind, version := f.parser.Kind(l.Body)
		if kind == "" {
			kind = "unreadable"
		}
		kinds[strings.TrimSpace(kind+" "+version)]++
		for _, k := range keys[i] {
			issuers[k.Value]++
		}
	}
	sum.Entries += n
	sum.Since = time.Unix(leaves[0].Time, 0).UTC()
	return nil
}

// counts lists what was counted, the most frequent first.
func counts(m map[string]int) []Count {
	var list []Count
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, Count{name, m[name]})
	}
	slices.SortStableFunc(list, func(a, b Count) int { return cmp.Compare(b.N, a.N) })
	return list
}
