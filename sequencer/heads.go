package sequencer

import (
	"context"
	"sync"
	"time"

	"github.com/tallystick/tallystick/storage"
)

// headReader lets any number of readers share head queries. A reader gets the
// answer of a query that began after the reader asked, so it sees every commit that
// had returned by then; while one query is under way the next gathers readers.
type headReader struct {
	ctx  context.Context
	read func(context.Context) (storage.Head, error)

	mu      sync.Mutex
	next    *headQuery // gathers readers; nil if nobody waits
	running bool
}

type headQuery struct {
	done chan struct{}
	head storage.Head
	err  error
}

// headTime bounds one head query.
const headTime = 5 * time.Second

func (r *headReader) get(ctx context.Context) (storage.Head, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &headQuery{done: make(chan struct{})}
	}
	q := r.next
	if !r.running {
		r.running = true
		go r.run()
	}
	r.mu.Unlock()
	select {
	case <-q.done:
		return q.head, q.err
	case <-ctx.Done():
		return storage.Head{}, ctx.Err()
	}
}

// run makes queries as long as somebody waits for one.
func (r *headReader) run() {
	for {
		r.mu.Lock()
		q := r.next
		r.next = nil
		r.running = q != nil
		r.mu.Unlock()
		if q == nil {
			return
		}
		ctx, cancel := context.WithTimeout(r.ctx, headTime)
		q.head, q.err = r.read(ctx)
		cancel()
		close(q.done)
	}
}
