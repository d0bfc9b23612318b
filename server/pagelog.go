package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/server/ui"
	"github.com/tallystick/tallystick/tlog"
)

// logPage answers GET /log: what there is to know about the log itself.
func (p *pages) logPage(x *exchange, r *http.Request) error {
	s := p.server
	values := r.URL.Query()
	held := s.answers.account()
	defer held.close()
	if err := held.take(r.Context(), smallAnswer); err != nil {
		return err
	}
	l := ui.Log{Halted: s.shards.active().log.Halted() != nil}
	views := map[*shard]*tlog.View{}
	var size int64
	for _, sh := range slices.Backward(s.shards) {
		t := sh.log.Tree()
		tree := ui.Tree{ID: t.ID, Base: t.BaseIndex, Origin: t.Origin, State: t.State, LogID: sh.logID, PEM: sh.key}
		if t.Created > 0 {
			tree.Created = time.Unix(t.Created, 0)
		}
		v, err := currentView(r, sh)
		if err == nil {
			tree.Known, tree.Head, tree.Checkpoint = true, v.Head, v.Checkpoint
			views[sh] = v
			size += v.Size
		} else {
			x.err = err
		}
		l.Trees = append(l.Trees, tree)
	}
	sum, err := p.summaries.get(r.Context(), x.start, size, func(ctx context.Context) (*summary, error) { return p.summarise(ctx, x.start) })
	if err == nil {
		l.Growth, l.Recent, l.Last = sum.growthOf(values.Get("chart")), sum.recent, sum.last
	} else {
		x.err = err
	}
	if m := s.cfg.Monitor; m != nil {
		status := m.Status()
		l.Monitor = &status
	}
	status := http.StatusOK
	if values.Has("first") || values.Has("second") {
		if l.Consistency, status, err = p.prove(r.Context(), views, values); err != nil {
			return err
		}
		if status == http.StatusServiceUnavailable {
			x.Header().Set("Retry-After", retryAfter(x.err))
		}
	}
	body, err := p.ui.Log(p.request(x, r), l)
	return p.send(x, status, body, err)
}

// prove answers the form that asks whether one size of a tree extends another, and
// says with which status.
func (p *pages) prove(ctx context.Context, views map[*shard]*tlog.View, values url.Values) (*ui.Consistency, int, error) {
	c := &ui.Consistency{First: values.Get("first"), Second: values.Get("second")}
	sh := p.server.shards.parameter(values.Get("tree"))
	if sh == nil {
		c.Refusal = "This log has no such tree."
		return c, http.StatusBadRequest, nil
	}
	c.Tree = sh.tree
	v := views[sh]
	if v == nil {
		c.Refusal = "The log has no checkpoint at the moment."
		return c, http.StatusServiceUnavailable, nil
	}
	first, err1 := strconv.ParseInt(c.First, 10, 64)
	second, err2 := strconv.ParseInt(c.Second, 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		c.Refusal = "Two sizes are needed, in decimal digits."
	case first < 1 || first > second || second > v.Size:
		c.Refusal = fmt.Sprintf("The earlier size has to be 1 or more, the later one not below it, and not above %d, the size of the tree.", v.Size)
	}
	if c.Refusal != "" {
		return c, http.StatusBadRequest, nil
	}
	var err error
	if c.FirstHead, err = headAt(ctx, v, first); err != nil {
		return nil, 0, err
	}
	if c.SecondHead, err = headAt(ctx, v, second); err != nil {
		return nil, 0, err
	}
	if c.Path, err = v.Consistency(ctx, first, second); err != nil {
		return nil, 0, fmt.Errorf("proving consistency of %d and %d: %w", first, second, err)
	}
	return c, http.StatusOK, nil
}

func headAt(ctx context.Context, v *tlog.View, size int64) (tlog.Head, error) {
	root, err := tlog.RootAt(ctx, v.Tiles, size, v.Size)
	if err != nil {
		return tlog.Head{}, fmt.Errorf("computing the root at size %d: %w", size, err)
	}
	return tlog.Head{Size: size, Root: root}, nil
}

const (
	// recentEntries is how many entries kinds and issuers are counted of.
	recentEntries = 1000
	// summaryAge is how old a summary may be while the log grows.
	summaryAge = 5 * time.Second
)

// summary is what the log's page says about its content.
type summary struct {
	made   time.Time
	size   int64
	growth []ui.Growth
	recent *search.Summary
	last   time.Time // integrated time of the newest entry
	early  bool      // all entries are within the first span
}

// growthOf returns the chart that is asked for; if none is, the one that shows most.
func (s *summary) growthOf(unit string) *ui.Growth {
	for i := range s.growth {
		if s.growth[i].Unit == unit {
			return &s.growth[i]
		}
	}
	if s.early {
		return &s.growth[0]
	}
	return &s.growth[1]
}

// summaries holds the newest summary. However many ask, one at a time makes a new one,
// and that every few seconds at most, even if it fails.
type summaries struct {
	turn chan struct{} // holds one token; who has it may use the rest
	*kept
}

type kept struct {
	last   *summary
	failed time.Time // when one could not be made, for the reason
	reason error     // nil if the last one was made
}

func newSummaries() summaries {
	s := summaries{make(chan struct{}, 1), &kept{}}
	s.turn <- struct{}{}
	return s
}

// get returns a summary of the log of that size: the last one if it is of the same size
// and hour, or not old. If one could not be made, the error is that of the last try for
// as long.
func (s *summaries) get(ctx context.Context, now time.Time, size int64, make func(context.Context) (*summary, error)) (*summary, error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := s.last; l != nil && (now.Sub(l.made) < summaryAge || l.size == size && now.Truncate(time.Hour).Equal(l.made.Truncate(time.Hour))) {
		return l, nil
	}
	if s.reason != nil && now.Sub(s.failed) < summaryAge {
		return nil, s.reason
	}
	made, err := make(ctx)
	if err != nil {
		// That one asker has gone away says nothing to the next.
		if !errors.Is(ctx.Err(), context.Canceled) {
			s.failed, s.reason = now, err
		}
		return nil, err
	}
	made.made, made.size = now, size
	s.last, s.reason = made, nil
	return made, nil
}

// summarise reads what a summary is made of.
func (p *pages) summarise(ctx context.Context, now time.Time) (*summary, error) {
	s := p.server
	held := s.answers.account()
	defer held.close()
	if err := held.take(ctx, scanCost); err != nil {
		return nil, err
	}
	var boundaries []time.Time
	for _, span := range ui.Spans() {
		boundaries = append(boundaries, span.Boundaries(now)...)
	}
	before, err := s.finder.Counts(ctx, boundaries)
	if err != nil {
		return nil, fmt.Errorf("counting entries: %w", err)
	}
	if len(before) != len(boundaries) {
		return nil, errors.New("counts are missing")
	}
	sum := &summary{early: before[0] == 0}
	for _, span := range ui.Spans() {
		g := ui.Growth{Span: span, Boundaries: boundaries[:span.N+1]}
		for i := range span.N {
			g.Counts = append(g.Counts, before[i+1]-before[i])
		}
		sum.growth = append(sum.growth, g)
		boundaries, before = boundaries[span.N+1:], before[span.N+1:]
	}
	if sum.recent, err = s.finder.Recent(ctx, recentEntries); err != nil {
		return nil, err
	}
	newest, err := s.findPage(ctx, held, search.Query{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(newest.Hits) > 0 {
		sum.last = newest.Hits[0].Time
	}
	return sum, nil
}
