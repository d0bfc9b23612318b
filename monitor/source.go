package monitor

import (
	"context"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// Source is a log as a monitor reads it. Nothing that it returns is believed before the
// monitor has verified it. A *client.Raw is one. It is used by many goroutines at once.
//
// Errors: an answer that is there but no good is a *verify.Error (ErrMalformed, ErrBadProof),
// a refusal of the log's a *client.Error; what is not there a client.ErrNotFound. Any other error, and a
// client.Error with a status that says to try again, means that the log could not be asked.
type Source interface {
	// Trees returns the log's trees, oldest first; the last one is active.
	Trees(ctx context.Context) ([]client.RawTree, error)
	// ConsistencyPath returns the consistency proof between two sizes of a tree.
	ConsistencyPath(ctx context.Context, tree, first, second int64) ([]tlog.Hash, error)
	// Leaves returns the leaves with the log indexes from … to-1, at most MaxLeaves, in order.
	Leaves(ctx context.Context, from, to int64) ([]client.RawLeaf, error)
	// Entry returns an entry with all its proofs.
	Entry(ctx context.Context, index int64) (*verify.Entry, error)
}

var _ Source = (*client.Raw)(nil)
