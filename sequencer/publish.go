package sequencer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// signTime bounds a signature by the log key: a key service that takes longer is down.
const signTime = 5 * time.Second

// errSign: the head is committed, but there is no checkpoint over it yet.
var errSign = fmt.Errorf("%w: the checkpoint cannot be signed", storage.ErrUnavailable)

// signPause is the least time between two tries of a key that failed.
const signPause = 50 * time.Millisecond

// fault is what failed, and for how long that counts. For a key that is as long as
// the try took, so that a key that hangs is not what everybody waits for, and one
// that failed once delays a few writes.
type fault struct {
	err   error
	until time.Time
}

// publish is the publisher: it signs the newest committed head and answers the
// batches below it.
func (l *Log) publish() {
	defer l.done.Done()
	for b := range l.published {
		batches := []*batch{b}
		for more := true; more; {
			select {
			case b, ok := <-l.published:
				if more = ok; ok {
					batches = append(batches, b)
				}
			default:
				more = false
			}
		}
		view, err := l.publishTip(l.ctx)
		for _, b := range batches {
			l.queue.release(b)
			if err != nil {
				b.fail(err)
				continue
			}
			b.view = view
			close(b.done)
		}
	}
}

// publishTip returns a view of the tip, or of a newer head, signing it if that was
// not done yet. The context ends the wait for others that sign.
func (l *Log) publishTip(ctx context.Context) (*tlog.View, error) {
	want := l.tip.load().head.Size
	select {
	case l.publishing <- struct{}{}:
		defer func() { <-l.publishing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if v := l.view.Load(); v != nil && v.Size >= want {
		return v, nil
	}
	if f := l.keyFault.Load(); f != nil && l.config.Now().Before(f.until) {
		return nil, f.err
	}
	return l.sign(l.tip.load())
}

// signAgain tries the key again after it failed.
func (l *Log) signAgain() {
	l.publishing <- struct{}{}
	defer func() { <-l.publishing }()
	_, _ = l.sign(l.tip.load()) // which keeps and logs what went wrong
}

// sign makes a head the published one. The caller holds publishing, and the head is
// committed and known to extend the view published before.
func (l *Log) sign(t tip) (*tlog.View, error) {
	if h := l.halted.Load(); h != nil {
		return nil, h
	}
	ctx, cancel := context.WithTimeout(l.ctx, signTime)
	defer cancel()
	start := l.config.Now()
	text := tlog.CheckpointText(l.tree.Origin, t.head.Head)
	var signature []byte
	err := l.config.Guard.Store(Record{l.tree.ID, t.head.Head})
	if err == nil {
		signature, err = l.config.Signer.Sign(ctx, text)
	}
	if err != nil {
		l.config.Logger.Error("cannot sign the checkpoint", "tree", l.tree.ID, "size", t.head.Size, "error", err)
		err = fmt.Errorf("%w: %w", errSign, err)
		now := l.config.Now()
		l.keyFault.Store(&fault{err, now.Add(max(signPause, now.Sub(start)))})
		return nil, err
	}
	view := &tlog.View{
		Head:       t.head.Head,
		Checkpoint: tlog.AppendSignature(text, l.name, tlog.LogID(l.tree.PublicKey), signature),
		Tiles:      edgeTiles{t.edge, l.tiles},
	}
	l.view.Store(view)
	l.keyFault.Store(nil)
	return view, nil
}

// View returns a view under a published checkpoint, at least as new as any entry
// that any server had acknowledged when View was called. There are two exceptions. A
// halted log gives the view of the newest checkpoint that the database can still
// vouch for. And while this server's key or mark cannot be used, it gives the newest
// checkpoint that it has; entries beyond it that others acknowledged are there
// (Leaves, Find), but cannot be proved yet. If there is no checkpoint at all, the
// error says why.
func (l *Log) View(ctx context.Context) (*tlog.View, error) {
	if l.halted.Load() != nil {
		return l.lastView(ctx)
	}
	if f := l.keyFault.Load(); f != nil { // publisher and watcher try the key again
		return l.viewOr(f.err)
	}
	view, err := l.refresh(ctx)
	switch {
	case errors.Is(err, storage.ErrHalted):
		return l.lastView(ctx)
	case errors.Is(err, errSign):
		return l.viewOr(err)
	}
	return view, err
}

// viewOr returns the newest published view, or err if there is none.
func (l *Log) viewOr(err error) (*tlog.View, error) {
	if v := l.view.Load(); v != nil {
		return v, nil
	}
	return nil, err
}

// refresh reads the head and returns a view of it, or of a newer one, publishing it
// if that was not done yet.
func (l *Log) refresh(ctx context.Context) (*tlog.View, error) {
	before := l.view.Load() // whatever is read after this is no older
	known := l.tip.load()
	head, err := l.heads.get(ctx)
	if err != nil {
		return nil, err
	}
	if before != nil && head.Head == before.Head {
		return before, nil
	}
	if err := l.learn(ctx, known, head); err != nil {
		return nil, err
	}
	return l.publishTip(ctx)
}

// learn takes note of a head that was read from storage after the tip was known: if
// another server committed it, after proving from the stored tiles that it extends
// the tip. It halts the log if the database went back behind it.
func (l *Log) learn(ctx context.Context, known tip, head storage.Head) error {
	switch {
	case head.Size < known.head.Size:
		return l.halt(wentBack(known.head.Size, head.Size))
	case head.Head == known.head.Head:
		return nil
	case head.Size == known.head.Size:
		return l.halt(notExtended(known.head.Head, head.Head, errTwoHistories))
	case head.Size <= l.tip.load().head.Size:
		return nil // our own commit, which is being published
	}
	edge, err := tlog.LoadEdge(ctx, l.tiles, head.Size)
	if errors.Is(err, storage.ErrNotFound) {
		return l.halt(missing(err))
	}
	if err != nil {
		return err
	}
	if root := edge.Root(); root != head.Root {
		return l.halt(damaged(root, head.Head))
	}
	if known.head.Size > 0 {
		path, err := tlog.ConsistencyProof(ctx, edgeTiles{edge, l.tiles}, known.head.Size, head.Size, head.Size)
		if err != nil {
			return err
		}
		if err := tlog.VerifyConsistency(known.head.Head, head.Head, path); err != nil {
			return l.halt(notExtended(known.head.Head, head.Head, err))
		}
	}
	return l.advance(ctx, known, tip{edge, head})
}

// watch looks at the database once in a while, so that an idle server knows, and has
// in its mark, what the others signed; that a halt is noticed without traffic; and
// that a key which failed is tried again.
func (l *Log) watch() {
	defer l.done.Done()
	tick := time.NewTicker(l.config.Watch)
	defer tick.Stop()
	for {
		select {
		case <-l.open.Done():
			return
		case <-tick.C:
		}
		if l.halted.Load() != nil {
			return
		}
		if l.keyFault.Load() != nil {
			l.signAgain()
			continue
		}
		ctx, cancel := context.WithTimeout(l.open, headTime)
		if _, err := l.refresh(ctx); err != nil && !errors.Is(err, errSign) && !errors.Is(err, context.Canceled) {
			l.config.Logger.Warn("cannot look at the database", "tree", l.tree.ID, "error", err)
		}
		cancel()
	}
}
