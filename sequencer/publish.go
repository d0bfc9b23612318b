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

// signPause is how long reads do not try the key again after it failed.
const signPause = time.Second

// errSign: the head is committed, but there is no checkpoint over it yet.
var errSign = fmt.Errorf("%w: the checkpoint cannot be signed", storage.ErrUnavailable)

// keyFault is a failure to sign; until then reads do not try the key again.
type keyFault struct {
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
		view, err := l.publishTip()
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
// not done yet.
func (l *Log) publishTip() (*tlog.View, error) {
	want := l.current().head.Size
	l.publishing.Lock()
	defer l.publishing.Unlock()
	if v := l.view.Load(); v != nil && v.Size >= want {
		return v, nil
	}
	return l.sign(l.current())
}

// sign makes a head the published one. The caller holds publishing, and the head is
// committed and known to extend the view published before.
func (l *Log) sign(t tip) (*tlog.View, error) {
	if h := l.halted.Load(); h != nil {
		return nil, h
	}
	ctx, cancel := context.WithTimeout(l.ctx, signTime)
	defer cancel()
	text := tlog.CheckpointText(l.tree.Origin, t.head.Head)
	var signature []byte
	err := l.config.Guard.Store(Record{l.tree.ID, t.head.Head})
	if err == nil {
		signature, err = l.config.Signer.Sign(ctx, text)
	}
	if err != nil {
		l.config.Logger.Error("cannot sign the checkpoint", "tree", l.tree.ID, "size", t.head.Size, "error", err)
		err = fmt.Errorf("%w: %w", errSign, err)
		l.keyFault.Store(&keyFault{err, l.config.Now().Add(signPause)})
		return nil, err
	}
	l.keyFault.Store(nil)
	view := &tlog.View{
		Head:       t.head.Head,
		Checkpoint: tlog.AppendSignature(text, l.name, tlog.LogID(l.tree.PublicKey), signature),
		Tiles:      edgeTiles{t.edge, l.tiles},
	}
	l.view.Store(view)
	return view, nil
}

// View returns a view under a published checkpoint, at least as new as any entry
// that any server had acknowledged when View was called. A halted log gives the
// view of the newest checkpoint that it can still vouch for, or the reason why
// there is none. While the log key cannot be used reads go on with the newest
// checkpoint there is.
func (l *Log) View(ctx context.Context) (*tlog.View, error) {
	if l.halted.Load() != nil {
		return l.lastView(ctx)
	}
	before := l.view.Load()
	head, err := l.heads.get(ctx)
	if err != nil {
		return nil, err
	}
	if v := l.view.Load(); v.Size >= head.Size && head.Size > before.Size {
		return v, nil
	}
	fault := l.keyFault.Load()
	switch {
	case head.Head == before.Head:
		return before, nil
	case head.Size < before.Size:
		l.halt(wentBack(before.Size, head.Size))
	case head.Size == before.Size:
		l.halt(notExtended(before.Head, head.Head, errors.New("its root differs")))
	case fault != nil && l.config.Now().Before(fault.until):
		return before, nil
	default:
		view, err := l.publishHead(ctx, head)
		if errors.Is(err, errSign) {
			return before, nil
		}
		if !errors.Is(err, storage.ErrHalted) {
			return view, err
		}
	}
	return l.lastView(ctx)
}

// publishHead publishes a head that was read from storage: this server's own, whose
// publication is under way, or one that another server committed.
func (l *Log) publishHead(ctx context.Context, head storage.Head) (*tlog.View, error) {
	if l.current().head.Size < head.Size {
		if err := l.learn(ctx, head); err != nil {
			return nil, err
		}
	}
	return l.publishTip()
}

// learn moves the tip to a head that another server committed, after proving from
// the stored tiles that it extends the tip.
func (l *Log) learn(ctx context.Context, head storage.Head) error {
	known := l.current()
	edge, err := tlog.LoadEdge(ctx, l.tiles, head.Size)
	if err != nil {
		return err
	}
	if root := edge.Root(); root != head.Root {
		return l.halt(damaged(root, head.Head))
	}
	if known.head.Size > 0 && known.head.Size <= head.Size {
		path, err := tlog.ConsistencyProof(ctx, edgeTiles{edge, l.tiles}, known.head.Size, head.Size, head.Size)
		if err != nil {
			return err
		}
		if err := tlog.VerifyConsistency(known.head.Head, head.Head, path); err != nil {
			return l.halt(notExtended(known.head.Head, head.Head, err))
		}
	}
	l.advance(tip{edge, head})
	return nil
}

// catchUp moves the tip to the stored head.
func (l *Log) catchUp(ctx context.Context) error {
	head, err := l.heads.get(ctx)
	if err != nil {
		return err
	}
	if known := l.current().head.Size; head.Size < known {
		return l.halt(wentBack(known, head.Size))
	}
	return l.learn(ctx, head)
}
