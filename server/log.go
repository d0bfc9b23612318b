package server

import (
	"context"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// Log is what the v1 API needs of one tree. All methods may be called at once by
// many goroutines. Their errors are those of package storage, and of the context.
type Log interface {
	// Tree describes the tree. It does no I/O; only State may change between calls.
	Tree() storage.Tree
	// Add puts a leaf into the tree, unless it is there already, and returns when it
	// is durable and under a published checkpoint. After ErrBusy nothing was written;
	// after any other error it may have been. Adding the same leaf again is always
	// right.
	Add(ctx context.Context, leaf tlog.Leaf) (storage.Added, error)
	// View returns the newest published checkpoint: at least as new as any entry that
	// was acknowledged, by any server, before the call. Of a log that has stopped
	// signing it is the last stored checkpoint, which may cover less than the tree
	// holds; storage.ErrNotFound or ErrHalted if there is none. While the key cannot
	// be used it is the newest checkpoint that there is, and may be too old as well.
	View(ctx context.Context) (*tlog.View, error)
	// SignEntry returns the log key's signature over the message of a signed entry
	// timestamp. storage.ErrHalted if the log has stopped signing; any other error
	// means that the key cannot be used now.
	SignEntry(ctx context.Context, message []byte) ([]byte, error)
	// Halted returns why the log has stopped signing, as storage.ErrHalted; nil if it
	// has not. It does no I/O.
	Halted() error
	// Leaves returns up to n leaves from index start, in order.
	Leaves(ctx context.Context, start int64, n int) ([]storage.Leaf, error)
	// Find returns the indexes of those of the leaf hashes that are in the tree.
	Find(ctx context.Context, hashes []tlog.Hash) (map[tlog.Hash]int64, error)
	// Attestation returns what was stored under a SHA-256.
	Attestation(ctx context.Context, digest tlog.Hash) ([]byte, error)
	// Ready reports whether Add would work at this moment, and why not.
	Ready(ctx context.Context) error
}

// Searcher finds entries by their search keys, and reads what was found: a
// storage.Store.
type Searcher = search.Store
