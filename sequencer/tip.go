package sequencer

import (
	"context"
	"fmt"
	"sync"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// tip is a committed head with its edge, which nobody extends any more.
type tip struct {
	edge *tlog.Edge
	head storage.Head
}

// tipHolder holds the newest committed head that this server knows. The committer
// moves it, and so does a reader that learns what another server committed.
type tipHolder struct {
	mu  sync.Mutex
	tip tip
}

func (h *tipHolder) load() tip {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tip
}

// swap moves the tip if it is still where the caller thinks it is.
func (h *tipHolder) swap(from, to tip) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tip.edge != from.edge {
		return false
	}
	h.tip = to
	return true
}

// advance moves the tip to a head that was proved to extend from, or leaves it if it
// is ahead already. If the tip is not at from any more, because somebody else moved
// it meanwhile, that the two are states of one history has to be proved, too: else a
// server whose connections reach two databases could sign heads of both.
func (l *Log) advance(ctx context.Context, from, to tip) error {
	for {
		if to.head.Size >= from.head.Size && l.tip.swap(from, to) {
			return nil
		}
		now := l.tip.load()
		smaller, larger := now, to
		if now.head.Size > to.head.Size {
			smaller, larger = to, now
		}
		root, err := tlog.RootAt(ctx, edgeTiles{larger.edge, l.tiles}, smaller.head.Size, larger.head.Size)
		if err != nil {
			return fmt.Errorf("%w: comparing two heads: %w", storage.ErrUnavailable, err)
		}
		if root != smaller.head.Root {
			return l.halt(notExtended(smaller.head.Head, larger.head.Head, errTwoHistories))
		}
		if larger.edge == now.edge {
			return nil
		}
		from = now
	}
}
