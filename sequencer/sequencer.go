// Package sequencer makes one tree of many callers' entries: it gathers what
// arrives while a commit is under way, commits it as one batch, signs one
// checkpoint over the committed head, and wakes every caller with its index.
//
// Two goroutines do the work. The committer takes batches from the queue and makes
// them durable, one after another. The publisher signs the newest committed head and
// answers the batches below it, while the next commit is under way already. A third,
// the watcher, looks at the database once a second.
// Several servers may run a sequencer each over one database: the storage
// serialises their commits, and each signs heads of the one history that it
// checked for itself.
//
// The rule that everything here serves: no signature over a head that is not
// committed, and none over a head that does not extend every head that was signed
// before. Whatever puts that in doubt halts the log (see Log.halt): it signs no
// more until it is restarted and finds everything in order; reads go on.
package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
	"golang.org/x/mod/sumdb/note"
)

// errClosed is what callers get while the server shuts down; a retry reaches
// another server, or this one after its restart.
var errClosed = fmt.Errorf("%w: the server is shutting down", storage.ErrBusy)

// errBehind: other servers added more than a commit hands over; the edge has to be
// loaded first.
var errBehind = errors.New("the edge in memory is too far behind")

// Signer signs with the log key.
type Signer interface {
	// Sign returns the signature over a message, in the form that checkpoints and
	// entry timestamps of this tree carry (v1: ECDSA P-256, ASN.1 DER, SHA-256).
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// Commit says what a commit did, for metrics.
type Commit struct {
	Entries int           // callers' entries in the batch
	New     int           // leaves that it added
	Time    time.Duration // from taking the batch to its durable commit, retries included
	Tries   int           // 1 if all went well
}

// Config says what a log is made of. Store, Tree, Signer, Verifier and Guard are
// required.
type Config struct {
	Store    storage.Store
	Tree     storage.Tree
	Signer   Signer
	Verifier note.Verifier // of the tree's own checkpoints
	Guard    Guard
	Limits   Limits
	Now      func() time.Time // default time.Now
	Logger   *slog.Logger     // default slog.Default()
	// OnCommit, if not nil, is called by the committer after every commit.
	OnCommit func(Commit)
	// Watch is how often an idle server looks at the database; default 1 s.
	Watch time.Duration
	// CachedTiles is the number of full tiles kept in memory, 17 kB each; default 1,024.
	CachedTiles int
}

// Log is one tree, ready to take entries and to give proofs. Its methods may be
// called by many goroutines at once.
type Log struct {
	config Config
	tree   storage.Tree
	name   string // on signature lines
	tiles  *tileCache
	heads  headReader
	queue  *queue

	tip  tipHolder
	view atomic.Pointer[tlog.View] // the newest published one; nil before the first

	// publishing, a lock, serialises guard, signature and publication: checkpoints are
	// published in order of size. No other lock is taken while it is held, but the tip's.
	publishing chan struct{}
	keyFault   atomic.Pointer[fault] // nil if the last checkpoint could be signed
	clockFault atomic.Pointer[fault] // nil if the last entry could be given a time
	published  chan *batch           // committed, in order, to be answered

	halted     atomic.Pointer[haltError]
	fallbackMu sync.Mutex
	fallback   *tlog.View // what a halted log answers reads with, once it was found

	open       context.Context // ends when Close begins
	beginClose context.CancelFunc
	ctx        context.Context // of the goroutines' storage calls; ends when Close gives up
	cancel     context.CancelFunc
	done       sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error
}

// haltError is why the log stopped signing.
type haltError struct{ reason error }

func (h *haltError) Error() string   { return fmt.Sprintf("%v: %v", storage.ErrHalted, h.reason) }
func (h *haltError) Unwrap() []error { return []error{storage.ErrHalted, h.reason} }

// Open loads a tree, checks that what the database holds extends everything that
// was signed before, signs its head, and starts to take entries. If the check fails,
// or the key cannot be used, Open still succeeds, and Ready says why: the log is
// halted, or tries the key again. An error means that storage could not be read.
func Open(ctx context.Context, c Config) (*Log, error) {
	c.Limits = c.Limits.withDefaults()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.CachedTiles <= 0 {
		c.CachedTiles = 1024
	}
	if c.Watch <= 0 {
		c.Watch = time.Second
	}
	name, _, err := tlog.SplitOriginV1(c.Tree.Origin)
	if err != nil {
		return nil, err
	}
	l := &Log{
		config:     c,
		tree:       c.Tree,
		name:       name,
		tiles:      newTileCache(c.Store, c.Tree.ID, c.CachedTiles),
		queue:      newQueue(c.Limits),
		published:  make(chan *batch, 64),
		publishing: make(chan struct{}, 1),
	}
	l.heads.read = func(ctx context.Context) (storage.Head, error) { return c.Store.Head(ctx, c.Tree.ID) }
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.open, l.beginClose = context.WithCancel(l.ctx)
	l.heads.ctx = l.ctx
	if err := l.load(ctx); err != nil {
		l.cancel()
		return nil, err
	}
	l.done.Add(3)
	go l.commit()
	go l.publish()
	go l.watch()
	return l, nil
}

// Tree returns what is stored about the tree.
func (l *Log) Tree() storage.Tree { return l.tree }

// Add puts a leaf into the tree, or finds it there. It returns when the leaf is
// durable and under a published checkpoint. If ctx ends first, the leaf may be in
// the tree all the same; adding it again finds it.
//
// Errors: storage.ErrBusy, after which nothing was written; storage.ErrHalted,
// storage.ErrUnavailable and storage.ErrUnknown, after which it may have been; ctx's
// own.
func (l *Log) Add(ctx context.Context, leaf tlog.Leaf) (storage.Added, error) {
	if h := l.halted.Load(); h != nil {
		return storage.Added{}, h
	}
	it, err := newItem(leaf)
	if err != nil {
		return storage.Added{}, err
	}
	b, i, err := l.queue.add(ctx, it)
	if err != nil {
		return storage.Added{}, err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return storage.Added{}, ctx.Err()
	}
	if b.err != nil {
		return storage.Added{}, b.err
	}
	p := b.places[i]
	return storage.Added{Index: p.Index, Time: p.Time, Duplicate: p.duplicate, View: b.view}, nil
}

// Halted returns nil, or why the log has stopped signing; that wraps
// storage.ErrHalted.
func (l *Log) Halted() error {
	if h := l.halted.Load(); h != nil {
		return h
	}
	return nil
}

// SignEntry signs an entry timestamp, unless the log is halted.
func (l *Log) SignEntry(ctx context.Context, message []byte) ([]byte, error) {
	if h := l.halted.Load(); h != nil {
		return nil, h
	}
	return l.config.Signer.Sign(ctx, message)
}

// Leaves returns up to n leaves from index start.
func (l *Log) Leaves(ctx context.Context, start int64, n int) ([]storage.Leaf, error) {
	return l.config.Store.Leaves(ctx, l.tree.ID, start, n)
}

// Find returns the indexes of those of the leaf hashes that are in the tree.
func (l *Log) Find(ctx context.Context, hashes []tlog.Hash) (map[tlog.Hash]int64, error) {
	return l.config.Store.Find(ctx, l.tree.ID, hashes)
}

// Attestation returns what was stored under a SHA-256.
func (l *Log) Attestation(ctx context.Context, digest tlog.Hash) ([]byte, error) {
	return l.config.Store.Attestation(ctx, l.tree.ID, digest)
}

// Ready returns nil if the log can take entries at this moment, else why not.
func (l *Log) Ready(ctx context.Context) error {
	if h := l.halted.Load(); h != nil {
		return h
	}
	if err := l.config.Store.Ready(ctx); err != nil {
		return err
	}
	if _, err := l.View(ctx); err != nil {
		return err
	}
	if f := l.keyFault.Load(); f != nil {
		return f.err
	}
	if f := l.clockFault.Load(); f != nil && l.config.Now().Before(f.until) {
		return f.err
	}
	return nil
}

// Stats is what metrics show of a log.
type Stats struct {
	Waiting int   // entries in the queue
	Size    int64 // of the newest published checkpoint
	Time    int64 // Unix seconds: integrated time of the newest committed leaf
	Halted  bool
}

// Stats returns the present state.
func (l *Log) Stats() Stats {
	s := Stats{Waiting: l.queue.waiting(), Time: l.tip.load().head.Time, Halted: l.halted.Load() != nil}
	if v := l.view.Load(); v != nil {
		s.Size = v.Size
	}
	return s
}

// Close lets no more entries in, answers all that are in the queue, stores the last
// checkpoint, and stops. When ctx ends first the rest is answered with an error.
func (l *Log) Close(ctx context.Context) error {
	l.closeOnce.Do(func() { l.closeErr = l.close(ctx) })
	return l.closeErr
}

func (l *Log) close(ctx context.Context) error {
	l.queue.close()
	l.beginClose()
	stopped := make(chan struct{})
	go func() { l.done.Wait(); close(stopped) }()
	var err error
	select {
	case <-stopped:
		if v := l.view.Load(); v != nil && l.halted.Load() == nil {
			err = l.config.Store.SaveCheckpoint(ctx, l.tree.ID, v.Size, v.Checkpoint)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.cancel()
	<-stopped
	return err
}

// halt stops all signing, for good, and returns the error that says so.
func (l *Log) halt(reason error) error {
	h := &haltError{reason}
	if !l.halted.CompareAndSwap(nil, h) {
		return l.halted.Load() // the first reason stands
	}
	l.config.Logger.Error("the log has stopped signing", "tree", l.tree.ID, "reason", reason.Error())
	return h
}
