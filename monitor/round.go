package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// round is one round of a Monitor. It changes s, and makes it durable as it goes on.
type round struct {
	*Monitor
	s      *state
	report Report
	found  []*trouble // alarms that did not end the round
}

// run does what a round does, but for alarms. Errors are a *trouble, or of this machine.
func (r *round) run(ctx context.Context) error {
	trees, err := r.opts.Source.Trees(ctx)
	if err != nil {
		return answered(fmt.Errorf("the log could not be asked for its checkpoints: %w", err), "", "")
	}
	heads, err := r.heads(trees)
	if err != nil {
		return err
	}
	if err := r.advance(ctx, heads); err != nil {
		return err
	}
	if err := r.commit(r.s, nil); err != nil {
		return err
	}
	if err := r.read(ctx); err != nil || r.report.More {
		return err
	}
	return r.receipts(ctx)
}

// signedHead is a checkpoint with what was verified of it.
type signedHead struct {
	*verify.Checkpoint
	signed []byte
}

// heads verifies the checkpoints of the log's trees.
func (r *round) heads(trees []client.RawTree) ([]signedHead, error) {
	if len(trees) == 0 || len(trees) > client.MaxTrees {
		return nil, &trouble{kind: KindWrongAnswer, err: fmt.Errorf("the log names %d trees, not 1 to %d", len(trees), client.MaxTrees)}
	}
	var heads []signedHead
	for _, t := range trees {
		cp, err := r.log.Trust.VerifyCheckpoint(t.Signed, nil)
		if err != nil {
			return nil, signed(fmt.Errorf("tree %s: %w", clip(t.ID), err), "")
		}
		_, id, err := tlog.SplitOriginV1(cp.Origin)
		switch {
		case !cp.V1 || err != nil:
			err = fmt.Errorf("its checkpoint is not one of Rekor v1, but has the origin %q", clip(cp.Origin))
		case t.ID != strconv.FormatInt(id, 10) || t.Head != cp.Head:
			err = fmt.Errorf("it is said to have size %d and root hash %v, but its checkpoint is of tree %d with %d and %v", t.Head.Size, t.Head.Root, id, cp.Size, cp.Root)
		case slices.ContainsFunc(heads, func(h signedHead) bool { return h.Origin == cp.Origin }):
			err = errors.New("it is named twice")
		}
		if err != nil {
			return nil, &trouble{kind: KindWrongAnswer, err: fmt.Errorf("tree %s: %w", clip(t.ID), err)}
		}
		heads = append(heads, signedHead{cp, t.Signed})
	}
	return heads, nil
}

// advance sees that the trees extend what was verified of them before, and takes them for the state.
func (r *round) advance(ctx context.Context, heads []signedHead) error {
	for i := range r.s.trees {
		origin := r.s.trees[i].head.Origin
		if i < len(heads) && heads[i].Origin == origin {
			continue
		}
		if slices.ContainsFunc(heads, func(h signedHead) bool { return h.Origin == origin }) {
			return &trouble{kind: KindShards, tree: origin, err: fmt.Errorf("tree %q stands in another place among the log's trees than before, which changes the index of every entry after it", clip(origin))}
		}
		return &trouble{kind: KindShards, tree: origin, err: fmt.Errorf("tree %q, of %d entries, is no longer among the log's trees", clip(origin), r.s.trees[i].head.Size)}
	}
	old := len(r.s.trees)
	grew := len(heads) > old
	for i := range old {
		grew = grew || heads[i].Size > r.s.trees[i].head.Size
		if err := r.follow(ctx, i, heads[i]); err != nil {
			return err
		}
	}
	added, err := r.begin(ctx, r.s.base(old), heads[old:], old == 0 && r.log.FromNow)
	if err != nil {
		return err
	}
	r.s.trees = append(r.s.trees, added...)
	for i := range r.s.trees {
		r.s.trees[i].closed = i < len(heads)-1
	}
	now := r.opts.Now().UTC()
	if grew {
		r.s.grown = now
	}
	if r.s.pending() > 0 && r.s.behind.IsZero() {
		r.s.behind = now
	}
	return nil
}

// begin returns the state of trees that were not there before. base is the index in the log of the first one's first entry. With
// fromNow, what is in them already is not to be read. It is all of them or none: trees of a first round that are half there would be
// read from their start by the next one.
func (r *round) begin(ctx context.Context, base int64, heads []signedHead, fromNow bool) (added []tree, err error) {
	for _, h := range heads {
		t := tree{signed: h.signed, head: h.Checkpoint, read: &peaks{}}
		_, t.id, _ = tlog.SplitOriginV1(h.Origin) // heads has looked at it
		if fromNow {
			if t.read, err = r.newest(ctx, base, h); err != nil {
				return nil, err
			}
			t.from = h.Size
		}
		added = append(added, t)
		base += h.Size
	}
	return added, nil
}

// follow takes a new checkpoint of a tree, if it extends the old one.
func (r *round) follow(ctx context.Context, i int, now signedHead) error {
	t := &r.s.trees[i]
	old := signedHead{t.head, t.signed}
	err := r.compare(ctx, r.s.base(i), old, now)
	if now.Size < old.Size {
		return r.wentBack(old, now, err)
	}
	switch {
	case err != nil:
		return err
	case old.Head == now.Head:
		return nil
	case t.closed:
		return &trouble{kind: KindShards, tree: old.Origin, evidence: r.evidence(old, now),
			err: fmt.Errorf("tree %q was closed with %d entries, and has %d now, which changes the index of every entry after it", clip(old.Origin), old.Size, now.Size)}
	}
	t.head, t.signed = now.Checkpoint, now.signed
	return nil
}

// wentBack is the trouble of a tree that is smaller than it was. err is what comparing them gave.
func (r *round) wentBack(old, now signedHead, err error) error {
	var t *trouble
	switch {
	case err == nil:
		return &trouble{kind: KindStale, tree: old.Origin, evidence: r.evidence(old, now),
			err: fmt.Errorf("the log shows tree %q at size %d, although it signed it at size %d before; it is an older state of the same tree", clip(old.Origin), now.Size, old.Size)}
	case errors.As(err, &t) && t.kind == KindFork:
		return t
	}
	return &trouble{kind: KindRollback, tree: old.Origin, evidence: r.evidence(old, now),
		err: fmt.Errorf("tree %q had %d entries, and has %d now; that it is an older state of the same tree is not proved: %w", clip(old.Origin), old.Size, now.Size, err)}
}

// compare has the log prove that two checkpoints of a tree, in the order in which they were seen, are of one history.
func (r *round) compare(ctx context.Context, base int64, old, now signedHead) error {
	origin := old.Origin
	switch {
	case !old.Log.Key.SamePublic(now.Log.Key):
		return &trouble{kind: KindInconsistent, tree: origin, evidence: r.evidence(old, now),
			err: fmt.Errorf("tree %q is signed with another key at size %d than it was at size %d", clip(origin), now.Size, old.Size)}
	case old.Head == now.Head:
		return nil
	case old.Size == now.Size:
		return &trouble{kind: KindFork, tree: origin, evidence: r.evidence(old, now),
			err: fmt.Errorf("the log signed two trees %q of size %d, with the root hashes %v and %v", clip(origin), now.Size, old.Root, now.Root)}
	}
	small, large := old, now
	if small.Size > large.Size {
		small, large = large, small
	}
	_, id, err := tlog.SplitOriginV1(origin)
	if err != nil {
		return err
	}
	path, err := r.opts.Source.ConsistencyPath(ctx, id, small.Size, large.Size)
	if err == nil {
		if err = verify.VerifyConsistency(small.Checkpoint, large.Checkpoint, path); err == nil {
			return nil
		}
	} else if t := answered(err, origin, KindInconsistent); t.away() && !refused(err) {
		return t
	}
	if e := r.proveFork(ctx, base, old, now, path); e != nil {
		return &trouble{kind: KindFork, tree: origin, evidence: e,
			err: fmt.Errorf("the log signed two histories of tree %q, at sizes %d and %d", clip(origin), old.Size, now.Size)}
	}
	return &trouble{kind: KindInconsistent, tree: origin, evidence: r.evidence(old, now),
		err: fmt.Errorf("the log does not prove that its tree %q of size %d extends that of size %d: %w", clip(origin), large.Size, small.Size, err)}
}

// newest returns what has to be known of a tree to go on from a checkpoint, without its entries.
func (r *round) newest(ctx context.Context, base int64, h signedHead) (*peaks, error) {
	if h.Size == 0 {
		return &peaks{}, nil
	}
	index := base + h.Size - 1
	e, err := r.opts.Source.Entry(ctx, index)
	if err != nil {
		return nil, answered(fmt.Errorf("log entry %d, the newest of its tree: %w", index, err), "", KindMissing)
	}
	wrong := func(err error) error {
		return &trouble{kind: KindWrongAnswer, err: fmt.Errorf("the inclusion proof of log entry %d does not lead to the tree's root hash: %w", index, err)}
	}
	if e.Proof == nil || e.Proof.Index != h.Size-1 {
		return nil, wrong(errors.New("it is not of that entry"))
	}
	p, err := peaksBefore(e.Proof.Index, e.Proof.Head.Size, e.Proof.Path)
	if err != nil {
		return nil, wrong(err)
	}
	p.add(tlog.LeafHash(e.Body))
	if p.head() != h.Head {
		return nil, wrong(fmt.Errorf("it leads to %v, not %v", p.head().Root, h.Root))
	}
	return p, nil
}

// finish raises alarms and ends those that are over. t is what ended the round, if it did not get to its end.
func (r *round) finish(t *trouble) error {
	now := r.opts.Now().UTC()
	s := r.s
	if t != nil {
		r.report.Trouble = t.err
		if !t.away() {
			r.found = append(r.found, t)
		}
	}
	if r.reached(t, now) {
		r.found = append(r.found, &trouble{kind: KindUnreachable, err: fmt.Errorf("the log could not be asked since %s: %w", s.away.Format(time.RFC3339), t.err)})
	}
	if s.pending() == 0 {
		s.behind = time.Time{}
	}
	if !s.behind.IsZero() && now.Sub(s.behind) >= r.log.MaxLag {
		r.found = append(r.found, &trouble{kind: KindLagging, err: fmt.Errorf("entries have been waiting to be read since %s; there are %d now", s.behind.Format(time.RFC3339), s.pending())})
	}
	if r.log.MaxSilence > 0 && !s.grown.IsZero() && now.Sub(s.grown) >= r.log.MaxSilence {
		r.found = append(r.found, &trouble{kind: KindSilent, err: fmt.Errorf("the log has not grown since %s", s.grown.Format(time.RFC3339))})
	}
	complete := t == nil && !r.report.More
	lines, err := r.alarms(now, func(a *activeAlarm) bool {
		switch a.Kind {
		case KindLagging, KindSilent:
			return true // they were judged just now
		case KindUnreachable:
			return t == nil || !t.away()
		}
		return complete
	})
	if err != nil {
		return err
	}
	if err := r.commit(s, lines); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.LastRound, r.status.Trouble = now, ""
	if t != nil {
		r.status.Trouble = clipTo(t.Error(), maxAlarmText)
	}
	if complete && len(r.found) == 0 {
		r.status.Complete = now
	}
	for _, f := range r.found {
		if f.fresh {
			r.status.Raised[f.kind]++
		}
	}
	return nil
}

// reached notes whether the log could be asked. It reports whether it could not for too long.
func (r *round) reached(t *trouble, now time.Time) (away bool) {
	if t == nil || !t.away() {
		r.s.away = time.Time{}
		return false
	}
	if r.s.away.IsZero() {
		r.s.away = now
	}
	return now.Sub(r.s.away) >= r.log.MaxUnreachable
}

const (
	maxAlarmText   = 1500 // bytes
	maxAlarmTree   = 300
	maxAlarmDetail = 64
)

// alarms returns the journal's lines of the alarms that begin and end now. over says of an alarm that was not
// found now whether it would have been.
func (r *round) alarms(now time.Time, over func(*activeAlarm) bool) (lines []byte, err error) {
	s := r.s
	add := func(a *Alert) error {
		line, err := a.line()
		lines = append(lines, line...)
		return err
	}
	for _, f := range r.found {
		tree := clipTo(f.tree, maxAlarmTree)
		if slices.ContainsFunc(s.active, func(a activeAlarm) bool { return a.is(f.kind, tree, f.detail) }) {
			continue
		}
		s.raised++
		a := Alarm{ID: alertID("alarm", r.log.Name, string(f.kind), tree, f.detail, strconv.FormatInt(s.raised, 10)),
			Kind: f.kind, Tree: tree, Since: now, Text: clipTo(f.Error(), maxAlarmText)}
		if f.evidence != nil {
			data, err := f.evidence.JSON()
			if err == nil {
				a.Evidence = evidenceName(r.log.Name, a.ID)
				err = replaceFile(r.disk, a.Evidence, data)
			}
			if err != nil {
				return nil, fmt.Errorf("keeping evidence: %w", err)
			}
		}
		s.active = append(s.active, activeAlarm{a, f.detail})
		f.fresh = true
		r.report.Alarms++
		if err := add(&Alert{ID: a.ID, Kind: a.Kind, Log: r.log.Name, Time: now, Text: a.Text, Tree: a.Tree, Evidence: a.Evidence}); err != nil {
			return nil, err
		}
	}
	var still []activeAlarm
	for i := range s.active {
		a := &s.active[i]
		found := slices.ContainsFunc(r.found, func(f *trouble) bool { return a.is(f.kind, clipTo(f.tree, maxAlarmTree), f.detail) })
		if found || !over(a) {
			still = append(still, *a)
			continue
		}
		if err := add(&Alert{ID: alertID("end", a.ID), Kind: a.Kind, Log: r.log.Name, Time: now, Text: "It is over: " + a.Text, Tree: a.Tree, Ends: a.ID}); err != nil {
			return nil, err
		}
	}
	s.active = still
	return lines, nil
}

// matchLine returns the journal's line of a match.
func (r *round) matchLine(m *Match, tree string) ([]byte, error) {
	a := &Alert{ID: alertID("match", r.log.Name, tree, strconv.FormatInt(m.TreeIndex, 10), m.UUID, m.Rule),
		Kind: KindMatch, Log: r.log.Name, Time: r.opts.Now().UTC(), Text: m.text(), Tree: clipTo(tree, maxAlarmTree), Match: m}
	return a.line()
}
