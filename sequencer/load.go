package sequencer

import (
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// load brings up the tip and the first view. Everything that was signed before and
// that this server can know of is held against the database: the guard's record,
// and the checkpoint that the database itself keeps.
func (l *Log) load(ctx context.Context) error {
	signed, head, err := l.readStored(ctx)
	if err != nil {
		return fmt.Errorf("reading the head of tree %d: %w", l.tree.ID, err)
	}
	edge, err := tlog.LoadEdge(ctx, l.tiles, head.Size)
	var stored *tlog.View
	if err == nil {
		l.tip.tip = tip{edge, head}
		stored, err = l.doubt(ctx, l.tip.tip, signed)
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = l.halt(missing(err))
	}
	if errors.Is(err, storage.ErrHalted) {
		return nil
	}
	if err != nil {
		return err
	}
	if stored != nil {
		l.view.Store(stored) // until the head is signed, which may fail for a while
	}
	if _, err := l.sign(l.tip.tip); !errors.Is(err, errSign) {
		return err
	}
	return nil
}

// readStored reads the checkpoint that the database keeps, and then the head: in
// this order, because other servers may commit between the two, and the checkpoint
// of a sound database is never newer than a head read after it.
func (l *Log) readStored(ctx context.Context) (signed []byte, head storage.Head, err error) {
	signed, err = l.config.Store.Checkpoint(ctx, l.tree.ID)
	if err == nil {
		head, err = l.config.Store.Head(ctx, l.tree.ID)
	}
	return signed, head, err
}

// doubt halts the log if this head must not be signed; else it returns the view of
// the stored checkpoint.
func (l *Log) doubt(ctx context.Context, t tip, signed []byte) (*tlog.View, error) {
	if root := t.edge.Root(); root != t.head.Root {
		return nil, l.halt(damaged(root, t.head.Head))
	}
	if err := l.doubtMark(ctx, t); err != nil {
		return nil, err
	}
	return l.storedView(ctx, t, signed)
}

// doubtMark holds the guard's record against the tree.
func (l *Log) doubtMark(ctx context.Context, t tip) error {
	mark, ok, err := l.config.Guard.Load()
	switch {
	case err != nil:
		return err
	case !ok && t.head.Size > 0:
		l.config.Logger.Warn("there is no high-water mark yet: trusting the database that it is not an old copy",
			"tree", l.tree.ID, "size", t.head.Size)
		return nil
	case !ok:
		return nil
	case mark.Tree != l.tree.ID:
		return l.halt(fmt.Errorf("the high-water mark is of tree %d, but the database holds tree %d: this is the data directory of another log",
			mark.Tree, l.tree.ID))
	case mark.Size > t.head.Size:
		return l.halt(wentBack(mark.Size, t.head.Size))
	}
	root, err := tlog.RootAt(ctx, edgeTiles{t.edge, l.tiles}, mark.Size, t.head.Size)
	if err == nil && root != mark.Root {
		return l.halt(notExtended(mark.Head, t.head.Head, errors.New("the high-water mark differs")))
	}
	return err
}

// storedView returns a view of the checkpoint that the database keeps, which is a
// little older than its head; nil if there is none. It halts the log if the tree
// does not extend that checkpoint.
func (l *Log) storedView(ctx context.Context, t tip, signed []byte) (*tlog.View, error) {
	if len(signed) == 0 {
		return nil, nil
	}
	c, err := tlog.OpenCheckpoint(signed, l.tree.Origin, l.config.Verifier)
	if err != nil {
		return nil, l.halt(fmt.Errorf("the checkpoint in the database is not one of this log: %w", err))
	}
	if c.Size > t.head.Size {
		return nil, l.halt(wentBack(c.Size, t.head.Size))
	}
	edge, err := tlog.LoadEdge(ctx, l.tiles, c.Size)
	if err != nil {
		return nil, err
	}
	root, err := tlog.RootAt(ctx, edgeTiles{t.edge, l.tiles}, c.Size, t.head.Size)
	if err != nil {
		return nil, err
	}
	if root != c.Root || edge.Root() != c.Root {
		return nil, l.halt(notExtended(c.Head, t.head.Head, errors.New("the checkpoint in the database differs")))
	}
	return &tlog.View{Head: c.Head, Checkpoint: signed, Tiles: edgeTiles{edge, l.tiles}}, nil
}

// lastView is what a halted log answers reads with: the newest checkpoint that the
// database keeps, if the database still bears it out; else the reason to halt.
func (l *Log) lastView(ctx context.Context) (*tlog.View, error) {
	reason := l.halted.Load()
	l.fallbackMu.Lock()
	defer l.fallbackMu.Unlock()
	if l.fallback != nil {
		return l.fallback, nil
	}
	signed, head, err := l.readStored(ctx)
	if err != nil {
		return nil, err
	}
	edge, err := tlog.LoadEdge(ctx, newTileCache(l.config.Store, l.tree.ID, 64), head.Size)
	if err != nil || edge.Root() != head.Root {
		return nil, reason
	}
	view, err := l.storedView(ctx, tip{edge, head}, signed)
	if err != nil || view == nil {
		return nil, reason
	}
	l.fallback = view
	return view, nil
}

// errTwoHistories is why two heads are not states of one tree.
var errTwoHistories = errors.New("their roots differ")

// Reasons to halt. Each says what was found and what to do.

func wentBack(known, found int64) error {
	return fmt.Errorf("the database holds a tree of size %d, but size %d was signed before: it was restored from an older copy, "+
		"or another database answers; restore the newest copy, one that has all %d entries, and start again", found, known, known)
}

func notExtended(known, found tlog.Head, err error) error {
	return fmt.Errorf("the database's tree of size %d does not extend the tree of size %d with root %v that was signed before, "+
		"it is another history, or damaged: keep this database aside, and restore the one that holds the published tree: %w",
		found.Size, known.Size, known.Root, err)
}

func missing(err error) error {
	return fmt.Errorf("part of the tree is missing in the database; run 'tallystick check': %w", err)
}

func damaged(root tlog.Hash, head tlog.Head) error {
	return fmt.Errorf("what the database holds leads to root %v at size %d, but its head says %v: run 'tallystick check'",
		root, head.Size, head.Root)
}
