package sequencer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// commit is the committer: it makes batches durable, in order, and hands them to
// the publisher.
func (l *Log) commit() {
	defer l.done.Done()
	defer close(l.published)
	for b := l.queue.take(); b != nil; b = l.queue.take() {
		start := l.config.Now()
		a := newAttempt(b)
		err := l.commitBatch(a)
		if err != nil {
			l.queue.release(b)
			b.fail(err)
			continue
		}
		if l.config.OnCommit != nil {
			l.config.OnCommit(Commit{Entries: len(b.items), New: len(a.mine), Time: l.config.Now().Sub(start), Tries: a.tries})
		}
		a.settle(b)
		l.published <- b
	}
}

// attempt is the work on one batch, over all its tries.
type attempt struct {
	hashes []tlog.Hash       // each once
	items  map[tlog.Hash]int // hash → the first item with it
	batch  *batch
	// found says where each hash is, after the last try.
	found map[tlog.Hash]storage.Existing
	// mine has what some try of this batch meant to write, and where. A commit whose
	// outcome was unknown is found again by the next try, and is then no duplicate.
	mine  map[tlog.Hash]storage.Existing
	tries int
}

func newAttempt(b *batch) *attempt {
	a := &attempt{batch: b, items: make(map[tlog.Hash]int, len(b.items)), mine: map[tlog.Hash]storage.Existing{}}
	for i := range b.items {
		h := b.items[i].leaf.Hash
		if _, ok := a.items[h]; !ok {
			a.items[h] = i
			a.hashes = append(a.hashes, h)
		}
	}
	return a
}

// commitBatch tries until the batch is committed, the log halts, or time is up.
// Trying again is also how an unknown outcome is resolved: under the lock, the
// leaves that the lost commit wrote are there, or they are not.
func (l *Log) commitBatch(a *attempt) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.config.Limits.CommitTime)
	defer cancel()
	pause := 5 * time.Millisecond
	unknown := false
	for {
		if h := l.halted.Load(); h != nil {
			return h
		}
		a.tries++
		err := l.try(ctx, a)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, storage.ErrHalted):
			return err
		case errors.Is(err, errClock): // which no second try mends
			l.clockFault.Store(&fault{err, l.config.Now().Add(clockPause)})
			return err
		case errors.Is(err, errBehind):
			if err = l.catchUp(ctx); err == nil {
				continue
			}
		}
		unknown = unknown || errors.Is(err, storage.ErrUnknown)
		l.config.Logger.Warn("commit failed", "tree", l.tree.ID, "try", a.tries, "entries", len(a.hashes), "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
			continue
		case <-ctx.Done():
		}
		if unknown {
			return fmt.Errorf("%w; sending the entry again is safe: %w", storage.ErrUnknown, err)
		}
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
}

// try is one commit. On success the tip is where the commit left the tree.
func (l *Log) try(ctx context.Context, a *attempt) error {
	from := l.tip.load()
	var next tip
	var added []tlog.Tile
	request := storage.Request{Known: from.head.Size, Hashes: a.hashes}
	request.Build = func(c storage.Current) (*storage.Batch, error) {
		edge, err := l.follow(from, c)
		if err != nil {
			return nil, err
		}
		if len(c.Existing) < len(a.hashes) { // some get a time
			if err := l.checkClock(c.Clock); err != nil {
				return nil, err
			}
			l.clockFault.Store(nil)
		}
		var b *storage.Batch
		b, next = l.build(a, edge, c)
		if b != nil {
			added = b.Tiles
		}
		return b, nil
	}
	if err := l.config.Store.Commit(ctx, l.tree.ID, request); err != nil {
		return err
	}
	l.tiles.add(added)
	return l.advance(ctx, from, next)
}

// maxSkew is how far this server's clock may be from the database's. Times along a
// tree never go back, so one batch from a server whose clock is years ahead would
// put that time on every entry after it.
const maxSkew = 10 * time.Second

// clockPause is how long Ready tells of a clock that was off. Then it lets an entry
// try again: without one, nobody would notice that the clock was set.
const clockPause = time.Minute

// errClock: this server's clock and the database's are too far apart.
var errClock = fmt.Errorf("%w: clocks differ", storage.ErrUnavailable)

// checkClock refuses to put times on entries with a clock that is off. The database's
// own is zero if it has none.
func (l *Log) checkClock(database time.Time) error {
	if now := l.config.Now(); !database.IsZero() && now.Sub(database).Abs() > maxSkew {
		return fmt.Errorf("%w: this server's clock says %v, the database's %v: set the clock that is wrong",
			errClock, now.UTC().Format(time.RFC3339), database.UTC().Format(time.RFC3339))
	}
	return nil
}

// follow brings the edge from where this server last saw the tree to where the
// commit found it, by the leaf hashes that others added. That the root comes out
// as stored proves that the stored head extends the one this server knows.
func (l *Log) follow(from tip, c storage.Current) (*tlog.Edge, error) {
	if c.Head.Size < from.head.Size {
		return nil, l.halt(wentBack(from.head.Size, c.Head.Size))
	}
	if int64(len(c.Since)) != c.Head.Size-from.head.Size {
		return nil, errBehind
	}
	edge := from.edge.Clone()
	edge.Extend(c.Since)
	if root := edge.Root(); root != c.Head.Root {
		return nil, l.halt(notExtended(from.head.Head, c.Head.Head, fmt.Errorf("its leaves lead to root %v, its head says %v", root, c.Head.Root)))
	}
	return edge, nil
}

// build makes the batch that adds those of the attempt's leaves that are not in the
// tree, and says where all of them are. The batch is nil if there is nothing to add.
func (l *Log) build(a *attempt, edge *tlog.Edge, c storage.Current) (*storage.Batch, tip) {
	a.found = make(map[tlog.Hash]storage.Existing, len(a.hashes))
	b := &storage.Batch{Old: c.Head, New: c.Head}
	b.New.Time = max(c.Head.Time, l.config.Now().Unix()) // never backwards, whatever the clock does
	fresh := make([]tlog.Hash, 0, len(a.hashes))
	for _, h := range a.hashes {
		if e, ok := c.Existing[h]; ok {
			a.found[h] = e
			continue
		}
		leaf := a.batch.items[a.items[h]].leaf
		leaf.Index, leaf.Time = c.Head.Size+int64(len(fresh)), b.New.Time
		b.Leaves = append(b.Leaves, leaf)
		a.found[h] = storage.Existing{Index: leaf.Index, Time: leaf.Time}
		a.mine[h] = a.found[h]
		fresh = append(fresh, h)
	}
	if len(fresh) == 0 {
		return nil, tip{edge, c.Head}
	}
	b.Tiles = edge.Extend(fresh)
	b.New.Head = edge.Head()
	if v := l.view.Load(); v != nil && v.Size <= c.Head.Size {
		b.Checkpoint = v.Checkpoint
	}
	return b, tip{edge, b.New}
}

// settle writes into the batch where its entries are. An item is a duplicate if its
// leaf was there before any try of this batch, or comes after another item with
// the same leaf.
func (a *attempt) settle(b *batch) {
	b.places = make([]place, len(b.items))
	for i := range b.items {
		h := b.items[i].leaf.Hash
		at := a.found[h]
		b.places[i] = place{at, a.mine[h] != at || a.items[h] != i}
	}
}

// catchUp moves the tip to the stored head.
func (l *Log) catchUp(ctx context.Context) error {
	known := l.tip.load() // before the head is read: it moves
	head, err := l.heads.get(ctx)
	if err != nil {
		return err
	}
	return l.learn(ctx, known, head)
}
