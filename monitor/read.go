package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/tlog"
)

// maxChunkAlerts is how many bytes of alerts end a chunk before it has all its leaves.
const maxChunkAlerts = 4 << 20

// leaf is what is kept of an entry that was read, until it is known to be what the log signed.
type leaf struct {
	hash       tlog.Hash
	lines      []byte   // alerts, as they stand in the journal
	rules      []string // the names of the rules that asked for it
	unreadable bool
	wrongID    bool // the entry ID that the log gave it is not its own
}

// read reads all entries that the checkpoints cover and that were not read, or as many as a round may.
func (r *round) read(ctx context.Context) error {
	for i := range r.s.trees {
		t := &r.s.trees[i]
		for t.pending() > 0 {
			left := r.opts.RoundEntries - r.report.Entries
			if left <= 0 {
				r.report.More = true
				return nil
			}
			if err := r.chunk(ctx, i, min(left, chunkLeaves, t.pending())); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunk reads up to n entries of a tree, and makes durable what was found in those that are under the checkpoint.
func (r *round) chunk(ctx context.Context, i int, n int64) error {
	t := &r.s.trees[i]
	base := r.s.base(i)
	leaves, bad := r.fetch(ctx, t, base, n)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if k, err := r.underCheckpoint(ctx, t, leaves); err != nil || k < len(leaves) {
		earlier := r.rootMismatch(ctx, t, base, base+t.read.size+int64(k), err)
		if bad == nil || bad.away() || !earlier.away() {
			bad = earlier
		}
		leaves = leaves[:k]
	}
	if k := slices.IndexFunc(leaves, func(l leaf) bool { return l.wrongID }); k >= 0 {
		bad = wrongID(t, base+t.read.size+int64(k))
		leaves = leaves[:k]
	}
	if err := r.take(t, leaves); err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	return nil
}

func wrongID(t *tree, index int64) *trouble {
	return &trouble{kind: KindWrongAnswer, tree: t.head.Origin, err: fmt.Errorf("log entry %d: the log gives it an ID that is not that of its body in this tree", index)}
}

// take makes entries part of the state, durably, and the alerts about them.
func (r *round) take(t *tree, leaves []leaf) error {
	if len(leaves) == 0 {
		return nil
	}
	var lines []byte
	t.read = extended(t.read, leaves)
	for i := range leaves {
		lines = append(lines, leaves[i].lines...)
	}
	if r.s.pending() == 0 {
		r.s.behind = time.Time{}
	}
	if err := r.commit(r.s, lines); err != nil {
		return err
	}
	r.report.Entries += int64(len(leaves))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Entries += int64(len(leaves))
	for i := range leaves {
		l := &leaves[i]
		if l.unreadable {
			r.status.Unreadable++
		}
		r.report.Matches += len(l.rules)
		r.status.Raised[KindMatch] += int64(len(l.rules))
		for _, name := range l.rules {
			r.status.Matches[name]++
		}
	}
	return nil
}

// extended returns a tree with leaves added.
func extended(p *peaks, leaves []leaf) *peaks {
	p = p.clone()
	for i := range leaves {
		p.add(leaves[i].hash)
	}
	return p
}

// underCheckpoint returns how many of the leaves are those that the tree's checkpoint covers: nearly always all, else those before the first that is
// not. An error is why no more can be told.
func (r *round) underCheckpoint(ctx context.Context, t *tree, leaves []leaf) (int, error) {
	// Of those before low it is known that they are; of all before high that they are not.
	low, high := 0, len(leaves)+1
	for try := len(leaves); low < high-1; try = (low + high) / 2 {
		is, err := r.isUnder(ctx, t, extended(t.read, leaves[:try]).head())
		if err != nil {
			return low, err
		}
		if is {
			low = try
		} else {
			high = try
		}
	}
	return low, nil
}

// isUnder has the log prove that its tree was at this head.
func (r *round) isUnder(ctx context.Context, t *tree, h tlog.Head) (bool, error) {
	if h.Size == t.head.Size {
		return h == t.head.Head, nil
	}
	path, err := r.opts.Source.ConsistencyPath(ctx, t.id, h.Size, t.head.Size)
	if err != nil {
		return false, err
	}
	return tlog.VerifyConsistency(h, t.head.Head, path) == nil, nil
}

// rootMismatch is the trouble of entries that are not those that the log signed, from an index on. cause is why
// the log could not be asked for a proof, if it could not.
func (r *round) rootMismatch(ctx context.Context, t *tree, base, index int64, cause error) *trouble {
	origin := t.head.Origin
	if cause != nil {
		bad := answered(fmt.Errorf("the log gives no proof of the entries from log index %d on: %w", index, cause), origin, KindInconsistent)
		if refused(cause) {
			bad.kind = KindInconsistent
		}
		return bad
	}
	bad := &trouble{kind: KindRoot, tree: origin, err: fmt.Errorf("log entry %d is not the one that the log signed: with it, the tree %q of size %d has another root hash than %v",
		index, clip(origin), t.head.Size, t.head.Root)}
	// The log signed, with the entry's timestamp, that it stands there.
	leaves, err := r.opts.Source.Leaves(ctx, index, index+1)
	if err != nil || len(leaves) != 1 || leaves[0].LogIndex != index {
		return bad
	}
	l := &leaves[0]
	in, err := r.opts.Source.Entry(ctx, index)
	if err == nil {
		bad.evidence = r.proveBroken(&Receipt{logID: l.LogID, body: l.Body, time: l.IntegratedTime, index: index, set: l.SET}, base, origin, in)
	}
	return bad
}

// fetch reads the next n leaves of a tree, many at once, and checks each by itself. It returns those before the first that is
// not in order, and what is wrong with that. It may return fewer than n, but at least one, without anything being wrong.
func (r *round) fetch(ctx context.Context, t *tree, base, n int64) ([]leaf, *trouble) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	size := int64(min(r.opts.MaxLeaves, chunkLeaves))
	pieces := make([]struct {
		leaves []leaf
		bad    *trouble
	}, (n+size-1)/size)
	var next, weight atomic.Int64
	var stop atomic.Bool
	var workers sync.WaitGroup
	for range min(r.opts.Parallel, len(pieces)) {
		workers.Go(func() {
			for !stop.Load() {
				k := next.Add(1) - 1
				if k >= int64(len(pieces)) {
					return
				}
				p := &pieces[k]
				from := t.read.size + k*size
				p.leaves, p.bad = r.piece(ctx, t, base, from, min(from+size, t.read.size+n))
				for i := range p.leaves {
					weight.Add(int64(len(p.leaves[i].lines)))
				}
				if p.bad != nil || weight.Load() > maxChunkAlerts {
					stop.Store(true)
				}
			}
		})
	}
	workers.Wait()
	all := make([]leaf, 0, n)
	for i := range pieces {
		p := &pieces[i]
		all = append(all, p.leaves...)
		if p.bad != nil {
			return all, p.bad
		}
		if p.leaves == nil { // stop came first
			break
		}
	}
	return all, nil
}

// piece reads and checks the leaves from … to-1 of a tree. With trouble, it returns those before the first that is not in order.
func (r *round) piece(ctx context.Context, t *tree, base, from, to int64) ([]leaf, *trouble) {
	raw, err := r.opts.Source.Leaves(ctx, base+from, base+to)
	bad := wrongCount(err, raw, to-from, base+from, t)
	if bad != nil && !bad.away() && to-from > 1 {
		// One that is not in order spoils the whole answer: which one is it?
		var all []leaf
		for at := from; at < to; at++ {
			one, bad := r.piece(ctx, t, base, at, at+1)
			all = append(all, one...)
			if bad != nil {
				return all, bad
			}
		}
		return all, nil
	}
	if bad != nil {
		return nil, bad
	}
	leaves := make([]leaf, len(raw))
	for i := range raw {
		if bad := r.check(t, from+int64(i), base, &raw[i], &leaves[i]); bad != nil {
			return leaves[:i], bad
		}
	}
	return leaves, nil
}

// wrongCount is the trouble of an answer that is none, or not the one that was asked for.
func wrongCount(err error, raw []client.RawLeaf, n, index int64, t *tree) *trouble {
	if err != nil {
		return answered(fmt.Errorf("log entries from %d on: %w", index, err), t.head.Origin, KindMissing)
	}
	if int64(len(raw)) != n {
		return &trouble{kind: KindWrongAnswer, tree: t.head.Origin, err: fmt.Errorf("%d log entries from %d on were asked for, and %d were answered", n, index, len(raw))}
	}
	return nil
}

// check checks a leaf by itself, and holds the rules against it.
func (r *round) check(t *tree, at, base int64, raw *client.RawLeaf, out *leaf) *trouble {
	index := base + at
	bad := func(kind Kind, err error) *trouble {
		return &trouble{kind: kind, tree: t.head.Origin, err: fmt.Errorf("log entry %d: %w", index, err)}
	}
	if raw.LogIndex != index {
		return bad(KindWrongAnswer, fmt.Errorf("entry %d was answered", raw.LogIndex))
	}
	if raw.SET != nil || !r.opts.NoSETs {
		log, err := r.keys.verifySET(raw.LogID, raw.Body, raw.IntegratedTime, index, raw.SET)
		if err == nil && !log.Key.SamePublic(t.head.Log.Key) {
			err = errors.New("it is signed with another key than its tree")
		}
		if err != nil {
			return bad(KindSET, err)
		}
	}
	out.hash = tlog.LeafHash(raw.Body)
	uuid := fmt.Sprintf("%016x%v", t.id, out.hash)
	out.wrongID = raw.UUID != "" && raw.UUID != uuid && raw.UUID != uuid[16:]
	if len(r.rules) == 0 {
		return nil
	}
	matched, d, unreadable := search(r.rules, r.parser, raw.Body)
	out.unreadable = unreadable
	for _, f := range matched {
		m := f.describe(&d)
		m.LogIndex, m.TreeIndex, m.UUID, m.IntegratedTime = index, at, uuid, raw.IntegratedTime
		line, err := r.matchLine(m, t.head.Origin)
		if err != nil { // of bounded text, there is none
			return bad(KindMalformed, err)
		}
		out.lines = append(out.lines, line...)
		out.rules = append(out.rules, f.rule.name)
	}
	return nil
}

// receipts sees that the log kept its promises.
func (r *round) receipts(ctx context.Context) error {
	changed := false
	for i := range r.log.Receipts {
		p := &r.log.Receipts[i]
		id := p.id()
		at, kept := slices.BinarySearch(r.s.kept, id)
		if kept {
			continue
		}
		err := r.keeps(ctx, p)
		var bad *trouble
		switch {
		case err == nil:
			r.s.kept = slices.Insert(r.s.kept, at, id)
			changed = true
		case errors.As(err, &bad) && !bad.away():
			bad.detail = id
			r.found = append(r.found, bad)
		default:
			return err
		}
	}
	if !changed {
		return nil
	}
	return r.commit(r.s, nil)
}

// keeps proves that the log holds what it promised.
func (r *round) keeps(ctx context.Context, p *Receipt) error {
	if p.checkpoint != nil {
		if err := r.goesWith(ctx, p.checkpoint); err != nil {
			return err
		}
	}
	hidden := func(format string, args ...any) *trouble {
		return &trouble{kind: KindHidden, err: fmt.Errorf("the log promised to hold an entry with leaf hash %v at log index %d, and does not: %w",
			tlog.LeafHash(p.body), p.index, fmt.Errorf(format, args...))}
	}
	i := len(r.s.trees) - 1
	for i > 0 && p.index < r.s.base(i) {
		i--
	}
	t, base := &r.s.trees[i], r.s.base(i)
	if p.index-base >= t.head.Size {
		return hidden("the log has %d entries", base+t.head.Size)
	}
	e, err := r.opts.Source.Entry(ctx, p.index)
	switch {
	case errors.Is(err, client.ErrNotFound):
		return hidden("%w", err)
	case err != nil:
		return answered(fmt.Errorf("log entry %d: %w", p.index, err), t.head.Origin, KindHidden)
	case e.Proof == nil || e.Proof.Index != p.index-base:
		return hidden("the log answers with no inclusion proof of that index")
	}
	if err := r.goesWith(ctx, e.Proof.Checkpoint); err != nil {
		return err
	}
	cp, err := r.log.Trust.VerifyCheckpoint(e.Proof.Checkpoint, nil)
	if err != nil {
		return signed(err, t.head.Origin)
	}
	if cp.Origin != t.head.Origin {
		return hidden("the log proves the inclusion in another tree, %q", clip(cp.Origin))
	}
	if err := tlog.VerifyInclusion(tlog.LeafHash(p.body), e.Proof.Index, cp.Head, e.Proof.Path); err != nil {
		bad := hidden("%w", err)
		bad.evidence = r.proveBroken(p, base, t.head.Origin, e)
		return bad
	}
	return nil
}

// goesWith proves that a checkpoint that came with an entry is of the same history as the log's trees.
func (r *round) goesWith(ctx context.Context, note []byte) error {
	cp, err := r.log.Trust.VerifyCheckpoint(note, nil)
	if err != nil {
		return signed(err, "")
	}
	for i := range r.s.trees {
		if t := &r.s.trees[i]; t.head.Origin == cp.Origin {
			return r.compare(ctx, r.s.base(i), signedHead{t.head, t.signed}, signedHead{cp, note})
		}
	}
	return &trouble{kind: KindShards, err: fmt.Errorf("the log signed a checkpoint of the tree %q, which is not among its trees", clip(cp.Origin))}
}
