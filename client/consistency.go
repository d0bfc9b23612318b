package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// VerifyCheckpoint proves that the log signed a checkpoint. Nothing is asked of the log,
// and the checkpoint is not remembered: it may be an old one.
func (c *Client) VerifyCheckpoint(signed []byte) (*verify.Checkpoint, error) {
	return c.checkpoint(signed)
}

// Consistency has the log prove that second extends first, and returns the proof, which
// was verified. The checkpoints are verified ones, of one tree of this log. If the proof
// does not hold, or the log refuses to give one, the error is an ErrInconsistent.
func (c *Client) Consistency(ctx context.Context, first, second *verify.Checkpoint) ([]tlog.Hash, error) {
	if first.Size > second.Size {
		return nil, fmt.Errorf("a tree of size %d cannot extend one of size %d", second.Size, first.Size)
	}
	return c.consistent(ctx, first, second)
}

// Growth is a proof that a tree of a log extends an older state of itself.
type Growth struct {
	First, Second tlog.Head
	// Path is the consistency proof (RFC 6962, section 2.1.2).
	Path []tlog.Hash
}

// Growth proves that a tree, as it was when it had second entries, extends what it was
// when it had first; 0 <= first <= second <= tree.Checkpoint.Size. The tree is one
// that Log returned. Both root hashes are proved under the log's checkpoints, too.
func (c *Client) Growth(ctx context.Context, tree Tree, first, second int64) (*Growth, error) {
	if first < 0 || first > second || second > tree.Checkpoint.Size {
		return nil, fmt.Errorf("there is no proof from size %d to %d of a tree of size %d", first, second, tree.Checkpoint.Size)
	}
	g := &Growth{}
	var err error
	if g.First, err = c.headAt(ctx, tree, first); err != nil {
		return nil, err
	}
	if g.Second, err = c.headAt(ctx, tree, second); err != nil {
		return nil, err
	}
	if g.Path, err = c.consistencyPath(ctx, tree.ID, first, second); err != nil {
		return nil, err
	}
	if err := tlog.VerifyConsistency(g.First, g.Second, g.Path); err != nil {
		return nil, inconsistent(tree.Checkpoint.Origin, "%w", err)
	}
	return g, nil
}

// headAt returns the head that a tree had at an older size. Its root hash is worked out
// from the inclusion proof of the entry that came next.
func (c *Client) headAt(ctx context.Context, tree Tree, size int64) (tlog.Head, error) {
	switch size {
	case 0:
		return tlog.EmptyHead(), nil
	case tree.Checkpoint.Size:
		return tree.Checkpoint.Head, nil
	}
	e, err := c.EntryByIndex(ctx, tree.Base+size)
	if err != nil {
		return tlog.Head{}, err
	}
	if e.TreeID != tree.ID || e.Proof.Index != size {
		return tlog.Head{}, foreign("answer", "entry %d is entry %d of tree %d, not entry %d of tree %d", e.LogIndex, e.Proof.Index, e.TreeID, size, tree.ID)
	}
	root, err := rootBefore(e.Proof)
	if err != nil {
		return tlog.Head{}, malformed("inclusion proof", err)
	}
	return tlog.Head{Size: size, Root: root}, nil
}

// rootBefore returns the root hash of the tree of all leaves before the one that a
// proof, which holds, is of. Their perfect subtrees, of which that tree is made (RFC
// 6962, section 2.1), are just the hashes of the proof that come in from the left.
func rootBefore(p *verify.InclusionProof) (root tlog.Hash, err error) {
	found := false
	// The walk up the tree is that of RFC 9162, section 2.1.3.2.
	index, last := p.Index, p.Head.Size-1
	for _, h := range p.Path {
		switch {
		case last == 0:
			return root, errors.New("it is too long")
		case index%2 == 1 || index == last:
			if found {
				root = tlog.NodeHash(h, root)
			} else {
				root, found = h, true
			}
			for index%2 == 0 {
				index, last = index/2, last/2
			}
		}
		index, last = index/2, last/2
	}
	if !found || last != 0 {
		return root, errors.New("it is too short")
	}
	return root, nil
}
