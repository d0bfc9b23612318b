package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// history holds the newest checkpoint of each tree that was seen. A tree is known by its
// origin alone: one that is signed with another key than before is no second tree.
type history struct {
	mu    sync.Mutex
	trees map[string]*seen // by origin
}

// seen is what is remembered of one tree.
type seen struct {
	turn chan struct{} // holds one token: who has it may compare, and move newest
	// newest only grows, and each extends the one before.
	newest atomic.Pointer[signedHead]
}

type signedHead struct {
	*verify.Checkpoint
	signed []byte
}

// tree returns what is remembered of the tree with an origin.
func (c *Client) tree(origin string) *seen {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	s := c.history.trees[origin]
	if s == nil {
		s = &seen{turn: make(chan struct{}, 1)}
		if c.history.trees == nil {
			c.history.trees = map[string]*seen{}
		}
		c.history.trees[origin] = s
	}
	return s
}

// Checkpoints returns the newest checkpoint of each tree that the client has seen, as
// the log signed them, in no particular but a stable order. They are what another
// client can be given as Options.Checkpoints.
func (c *Client) Checkpoints() [][]byte {
	var all [][]byte
	for _, h := range c.newest() {
		all = append(all, h.signed)
	}
	slices.SortFunc(all, bytes.Compare)
	return all
}

// newest returns the newest checkpoint of each tree, ordered by origin.
func (c *Client) newest() []*signedHead {
	c.history.mu.Lock()
	defer c.history.mu.Unlock()
	var all []*signedHead
	for _, s := range c.history.trees {
		if h := s.newest.Load(); h != nil {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b *signedHead) int { return cmp.Compare(a.Origin, b.Origin) })
	return all
}

// restore takes in a checkpoint that was remembered.
func (c *Client) restore(signed []byte) error {
	cp, err := c.checkpoint(signed)
	if err != nil {
		return err
	}
	s := c.tree(cp.Origin)
	if s.newest.Load() != nil {
		return fmt.Errorf("there are two of %q", clip(cp.Origin))
	}
	s.newest.Store(&signedHead{cp, bytes.Clone(signed)})
	return nil
}

// Remember holds the log to a checkpoint that another client remembered: it is verified, proved
// consistent with what this client saw, and remembered, so that Checkpoints has the newer of the
// two. If they do not go together the error is an ErrInconsistent.
func (c *Client) Remember(ctx context.Context, signed []byte) error {
	cp, err := c.checkpoint(signed)
	if err != nil {
		return err
	}
	return c.remember(ctx, cp, signed)
}

// checkpoint verifies a checkpoint of a v1 tree.
func (c *Client) checkpoint(signed []byte) (*verify.Checkpoint, error) {
	cp, err := c.trust.VerifyCheckpoint(signed, nil)
	if err != nil {
		return nil, err
	}
	if !cp.V1 {
		return nil, foreign("checkpoint", "origin %q is not that of a tree of Rekor v1", clip(cp.Origin))
	}
	return cp, nil
}

// remember proves a verified checkpoint consistent with the newest one of its tree,
// and remembers it if it is newer. An older one passes if the newest is proved to
// extend it: answers overtake each other.
func (c *Client) remember(ctx context.Context, cp *verify.Checkpoint, signed []byte) error {
	s := c.tree(cp.Origin)
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	last := s.newest.Load()
	switch {
	case last == nil:
	case !cp.Log.Key.SamePublic(last.Log.Key):
		return inconsistent(cp.Origin, "its tree of size %d is signed with another key than that of size %d was", cp.Size, last.Size)
	case cp.Head == last.Head:
		return nil
	case cp.Size == last.Size:
		return inconsistent(cp.Origin, "at size %d its root hash was %v, and is %v now", cp.Size, last.Root, cp.Root)
	case cp.Size < last.Size:
		_, err := c.consistent(ctx, cp, last.Checkpoint)
		return err
	default:
		if _, err := c.consistent(ctx, last.Checkpoint, cp); err != nil {
			return err
		}
	}
	s.newest.Store(&signedHead{cp, bytes.Clone(signed)})
	return nil
}

// consistent has the log prove that second extends first, and returns the proof.
// A proof that does not hold, or is refused, is an ErrInconsistent.
func (c *Client) consistent(ctx context.Context, first, second *verify.Checkpoint) ([]tlog.Hash, error) {
	_, tree, err := tlog.SplitOriginV1(first.Origin)
	if err != nil {
		return nil, err
	}
	path, err := c.consistencyPath(ctx, tree, first.Size, second.Size)
	var answer *Error
	if errors.As(err, &answer) && answer.Status >= 400 && answer.Status < 500 {
		return nil, inconsistent(first.Origin, "it does not prove that its tree of size %d extends that of size %d: %w", second.Size, first.Size, err)
	}
	if err != nil {
		return nil, err
	}
	if err := verify.VerifyConsistency(first, second, path); err != nil {
		return nil, inconsistent(first.Origin, "%w", err)
	}
	return path, nil
}

// consistencyPath asks for a consistency proof. The path is not verified.
func (t *transport) consistencyPath(ctx context.Context, tree, first, second int64) ([]tlog.Hash, error) {
	if first == 0 || first == second {
		return nil, nil // needs no proof, and there is none
	}
	r := request{path: "/api/v1/log/proof", want: http.StatusOK, limit: maxSmall, query: url.Values{
		"firstSize": {strconv.FormatInt(first, 10)}, "lastSize": {strconv.FormatInt(second, 10)}, "treeID": {strconv.FormatInt(tree, 10)},
	}}
	_, body, err := t.do(ctx, r)
	if err != nil {
		return nil, err
	}
	path, err := parsePath(body)
	if err != nil {
		return nil, malformed("consistency proof", err)
	}
	return path, nil
}

// parsePath reads the hashes of a consistency proof. Its rootHash is not looked at: it
// is that of the present tree, whatever sizes were asked for.
func parsePath(body []byte) ([]tlog.Hash, error) {
	var path []tlog.Hash
	r := strictjson.New(body)
	err := r.Object(func(name []byte) error {
		if string(name) != "hashes" {
			return nil
		}
		return r.Array(func() error {
			if len(path) == verify.MaxProof {
				return fmt.Errorf("it has more than %d hashes", verify.MaxProof)
			}
			text, err := r.Text()
			if err != nil {
				return err
			}
			h, err := tlog.ParseHash(string(text))
			path = append(path, h)
			return err
		})
	})
	if err == nil {
		err = r.End()
	}
	return path, err
}
