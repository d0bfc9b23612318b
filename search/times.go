package search

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/storage"
)

// About how many times are read in one call, and for one boundary in it: few enough
// to be quick, and enough that a log of millions needs few calls.
const (
	probes  = 256
	perSpan = 31
)

// seconds returns the first integrated time, in Unix seconds, that is not before t.
func seconds(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

// span is where a boundary is known to be: the first index whose time is not before
// it is at least lo and at most hi.
type span struct{ lo, hi int64 }

// firstAt returns, for each time in Unix seconds, the index of the first leaf of a
// tree of that size that is not before it; the size if all are. It narrows all spans
// at once; each call reads the times of leaves spread over those that are still open.
func (f *Finder) firstAt(ctx context.Context, tree, size int64, times []int64) ([]int64, error) {
	spans := make([]span, len(times))
	for i := range spans {
		spans[i].hi = size
	}
	for {
		indexes := spread(spans)
		if len(indexes) == 0 {
			break
		}
		found, err := f.store.Times(ctx, tree, indexes)
		if err != nil {
			return nil, fmt.Errorf("reading times of tree %d: %w", tree, err)
		}
		for i := range spans {
			spans[i].narrow(times[i], indexes, found)
		}
	}
	first := make([]int64, len(times))
	for i, s := range spans {
		first[i] = s.lo
	}
	return first, nil
}

// spread returns indexes that cut the open spans into parts of the same size, sorted,
// each once: several for each span if they are few.
func spread(spans []span) []int64 {
	open := slices.DeleteFunc(slices.Clone(spans), func(s span) bool { return s.lo == s.hi })
	slices.SortFunc(open, func(a, b span) int { return int(min(max(a.lo-b.lo, -1), 1)) })
	open = slices.Compact(open)
	var indexes []int64
	for _, s := range open {
		parts := min(min(max(int64(probes/len(open)), 1), perSpan)+1, s.hi-s.lo+1)
		for j := int64(1); j < parts; j++ {
			indexes = append(indexes, s.lo+(s.hi-s.lo)/parts*j+(s.hi-s.lo)%parts*j/parts)
		}
	}
	slices.Sort(indexes)
	return slices.Compact(indexes)
}

// narrow uses what was read: times of leaves, by ascending index.
func (s *span) narrow(time int64, indexes, times []int64) {
	// Times never decrease, so the leaves before the boundary come first.
	n, _ := slices.BinarySearch(times, time)
	if n > 0 {
		s.lo = max(s.lo, indexes[n-1]+1)
	}
	if n < len(indexes) {
		s.hi = min(s.hi, indexes[n])
	}
	s.hi = max(s.hi, s.lo) // of a damaged log, whose times go back, anything is right
}

// Counts returns, for each boundary, how many entries of all trees have an
// integrated time before it. Boundaries may come in any order, at most
// MaxBoundaries of them. It costs some thousand lookups of times, whatever the size
// of the log.
func (f *Finder) Counts(ctx context.Context, boundaries []time.Time) ([]int64, error) {
	if len(boundaries) > MaxBoundaries {
		return nil, bad("boundaries", "there are %d, more than %d", len(boundaries), MaxBoundaries)
	}
	times := make([]int64, len(boundaries))
	for i, b := range boundaries {
		times[i] = seconds(b)
	}
	total := make([]int64, len(boundaries))
	for _, t := range f.trees {
		head, err := f.store.Head(ctx, t.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the head of tree %d: %w", t.ID, err)
		}
		first, err := f.firstAt(ctx, t.ID, head.Size, times)
		if err != nil {
			return nil, err
		}
		for i, n := range first {
			total[i] += n
		}
	}
	return total, nil
}

// within cuts ranges to the entries whose times are from … to; zero for no bound.
func (f *Finder) within(ctx context.Context, ranges []storage.Range, from, to time.Time) error {
	var bounds []int64
	for _, t := range []time.Time{from, to} {
		if !t.IsZero() {
			bounds = append(bounds, seconds(t))
		}
	}
	if len(bounds) == 0 {
		return nil
	}
	for i := range ranges {
		r := &ranges[i]
		first, err := f.firstAt(ctx, r.Tree, r.To, bounds)
		if err != nil {
			return err
		}
		if !from.IsZero() {
			r.From = max(r.From, first[0])
		}
		if !to.IsZero() {
			r.To = min(r.To, first[len(first)-1])
		}
	}
	return nil
}
