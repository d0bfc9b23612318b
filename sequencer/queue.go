package sequencer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// keyWeight is what a search key counts for in the queue, in bytes: an index row
// costs the database about what a kilobyte of body does.
const keyWeight = 1 << 10

// item is one caller's entry on its way into the tree.
type item struct {
	leaf storage.NewLeaf // without index and time
}

// weight is what the item costs memory and database, in bytes or their like.
func (it *item) weight() int64 {
	w := int64(len(it.leaf.Body) + len(it.leaf.Data) + keyWeight*len(it.leaf.Keys))
	for _, k := range it.leaf.Keys {
		w += int64(len(k.Value))
	}
	return w
}

// newItem works out what can be worked out before the commit. A leaf that no store
// takes is refused here, so that it cannot fail the batch of others.
func newItem(l tlog.Leaf) (item, error) {
	if len(l.Body) > tlog.MaxLeaf {
		return item{}, fmt.Errorf("leaf of %d bytes is over the limit of %d", len(l.Body), tlog.MaxLeaf)
	}
	for _, k := range l.Keys {
		if len(k.Value) > tlog.MaxKeyValue {
			return item{}, fmt.Errorf("search key of %d bytes is over the limit of %d", len(k.Value), tlog.MaxKeyValue)
		}
	}
	n := storage.NewLeaf{Keys: tlog.SortKeys(l.Keys), Data: l.Attestation}
	n.Body, n.Hash, n.KeySet = l.Body, tlog.LeafHash(l.Body), tlog.KeySetDigest(l.Keys)
	if l.Attestation != nil {
		n.Leaf.Attestation = sha256.Sum256(l.Attestation)
	}
	return item{leaf: n}, nil
}

// batch is a group commit as a value: entries while it waits, then their places.
// Before done is closed only the sequencer's goroutines touch the results;
// afterwards nobody changes anything.
type batch struct {
	items  []item
	weight int64 // of the items
	room   int64 // that the items hold in the queue
	done   chan struct{}

	// Set before done is closed: err, or for every item where it is, and a view
	// under a published checkpoint that covers them all.
	err    error
	places []place
	view   *tlog.View
}

type place struct {
	storage.Existing
	duplicate bool
}

// fail ends the batch with an error, for all its callers.
func (b *batch) fail(err error) {
	b.err = err
	close(b.done)
}

// queue holds the entries that wait for the commit under way to end. It is bounded
// in entries and in weight; an entry counts from the moment it enters until its
// batch has ended, whether or not its caller still waits.
type queue struct {
	limits Limits
	room   *semaphore.Weighted
	unit   int64 // least room of an entry, which bounds their number

	mu      sync.Mutex
	batches []*batch // the last one is still open
	entries int      // in all batches, for metrics
	closed  bool

	wake chan struct{} // has a token if there may be something to take
}

func newQueue(l Limits) *queue {
	return &queue{
		limits: l,
		room:   semaphore.NewWeighted(l.QueueBytes),
		unit:   max(1, l.QueueBytes/int64(l.QueueEntries)),
		wake:   make(chan struct{}, 1),
	}
}

// add puts an entry in the queue and returns its batch and its number there. If
// there is no room for QueueWait it returns ErrBusy: a short wait costs a client
// less than a refusal and a retry.
func (q *queue) add(ctx context.Context, it item) (*batch, int, error) {
	weight := it.weight()
	room := min(max(q.unit, weight), q.limits.QueueBytes) // the heaviest goes in alone
	if !q.room.TryAcquire(room) {
		wait, cancel := context.WithTimeout(ctx, q.limits.QueueWait)
		defer cancel()
		if err := q.room.Acquire(wait, room); err != nil {
			if ctx.Err() != nil {
				return nil, 0, ctx.Err()
			}
			return nil, 0, storage.ErrBusy
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.room.Release(room)
		return nil, 0, errClosed
	}
	var b *batch
	if n := len(q.batches); n > 0 {
		b = q.batches[n-1]
	}
	if b == nil || len(b.items) >= q.limits.BatchEntries || b.weight+weight > q.limits.BatchBytes {
		b = &batch{done: make(chan struct{})}
		q.batches = append(q.batches, b)
	}
	b.items = append(b.items, it)
	b.weight += weight
	b.room += room
	q.entries++
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return b, len(b.items) - 1, nil
}

// take returns the oldest batch, which gets no more entries, or nil if the queue is
// closed and empty.
func (q *queue) take() *batch {
	for {
		q.mu.Lock()
		if len(q.batches) > 0 {
			b := q.batches[0]
			q.batches = q.batches[1:]
			q.entries -= len(b.items)
			q.mu.Unlock()
			return b
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.wake
	}
}

// release gives the room of a batch that has ended to others.
func (q *queue) release(b *batch) { q.room.Release(b.room) }

// close lets nothing more in. What is in the queue still comes out.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries
}

// Limits bound what a log takes on. A zero field means its default.
type Limits struct {
	QueueEntries int           // entries waiting or being committed; default 4,096
	QueueBytes   int64         // their bodies, attestations, and 1 KiB for each search key; default 128 MiB
	QueueWait    time.Duration // how long an entry waits for room before ErrBusy; default 1 s
	BatchEntries int           // entries in one commit; default 1,024
	BatchBytes   int64         // bytes in one commit, counted likewise; default 8 MiB, or one entry
	// CommitTime is how long a batch is tried for while storage fails; default 10 s.
	// Clients give up at 30 s, so a shorter outage is only a slow answer.
	CommitTime time.Duration
}

func (l Limits) withDefaults() Limits {
	or := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	if l.QueueEntries <= 0 {
		l.QueueEntries = 4096
	}
	if l.BatchEntries <= 0 {
		l.BatchEntries = 1024
	}
	or(&l.QueueBytes, 128<<20)
	or(&l.BatchBytes, 8<<20)
	or((*int64)(&l.QueueWait), int64(time.Second))
	or((*int64)(&l.CommitTime), int64(10*time.Second))
	return l
}
