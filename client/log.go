package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// MaxTrees is the largest number of trees of a log that a client deals with.
const MaxTrees = 256

// Tree is the state of one tree of a log: a shard.
type Tree struct {
	ID int64
	// Active: it takes new entries.
	Active bool
	// Base is the index in the log of the tree's first entry: the sum of the older trees'
	// sizes.
	Base int64
	// Checkpoint is the tree's present one, and Signed the same as the log signed it.
	Checkpoint *verify.Checkpoint
	Signed     []byte
	// Extends is the newest head that the client had seen of the tree before. It was proved
	// that the tree extends it. Nil: the client had not seen the tree.
	Extends *tlog.Head
}

// Log returns the log's trees, oldest first; the last one is active. Each checkpoint
// is signed by the log, and consistent with what the client saw of the tree
// before: a tree that is smaller than it was, is another, is signed with another key, or
// is gone, is an ErrInconsistent.
func (c *Client) Log(ctx context.Context) ([]Tree, error) {
	before := c.newest()
	_, body, err := c.do(ctx, request{path: "/api/v1/log", want: http.StatusOK, limit: maxSmall})
	if err != nil {
		return nil, err
	}
	said, err := parseLogInfo(body)
	if err != nil {
		return nil, malformed("log info", err)
	}
	var trees []Tree
	base := int64(0)
	for i, info := range said {
		t, err := c.judge(ctx, info, before)
		if err != nil {
			return nil, err
		}
		t.Active, t.Base = i == len(said)-1, base
		base += t.Checkpoint.Size
		if base < 0 {
			return nil, malformed("log info", errors.New("the trees' sizes are too large"))
		}
		trees = append(trees, *t)
	}
	if err := checkPresent(trees, before); err != nil {
		return nil, err
	}
	return trees, nil
}

// judge verifies what the log says of one tree.
func (c *Client) judge(ctx context.Context, info treeInfo, before []*signedHead) (*Tree, error) {
	cp, err := c.checkpoint(info.signed)
	if err != nil {
		return nil, err
	}
	_, id, err := tlog.SplitOriginV1(cp.Origin)
	if err != nil {
		return nil, malformed("checkpoint", err)
	}
	if info.id != strconv.FormatInt(id, 10) || info.head != cp.Head {
		return nil, foreign("log info", "it says tree %s, size %d and root hash %v, but the checkpoint tree %d, size %d and root hash %v",
			clip(info.id), info.head.Size, info.head.Root, id, cp.Size, cp.Root)
	}
	t := &Tree{ID: id, Checkpoint: cp, Signed: info.signed}
	for _, b := range before {
		if b.Origin != cp.Origin {
			continue
		}
		if cp.Size < b.Size {
			return nil, inconsistent(cp.Origin, "its tree had %d entries, and has %d now", b.Size, cp.Size)
		}
		t.Extends = &b.Head
	}
	// It is compared with the newest, which extends what was there before.
	if err := c.remember(ctx, cp, info.signed); err != nil {
		return nil, err
	}
	return t, nil
}

// checkPresent sees that no tree is gone, or there twice.
func checkPresent(trees []Tree, before []*signedHead) error {
	origins := map[string]bool{}
	for _, t := range trees {
		if origins[t.Checkpoint.Origin] {
			return foreign("log info", "tree %d is in it twice", t.ID)
		}
		origins[t.Checkpoint.Origin] = true
	}
	for _, b := range before {
		if !origins[b.Origin] {
			return inconsistent(b.Origin, "the tree had %d entries, and is no longer among those of the log", b.Size)
		}
	}
	return nil
}

// treeInfo is what a log says of one tree.
type treeInfo struct {
	id     string
	head   tlog.Head
	signed []byte
}

// parseLogInfo reads the answer of GET /api/v1/log: the inactive trees, oldest first,
// and the active one.
func parseLogInfo(body []byte) ([]treeInfo, error) {
	var active treeInfo
	var trees []treeInfo
	r := strictjson.New(body)
	err := r.Object(func(name []byte) error {
		if string(name) != "inactiveShards" {
			return active.read(&r, name)
		}
		if r.Null() {
			return nil
		}
		return r.Array(func() error {
			if len(trees) == MaxTrees-1 {
				return fmt.Errorf("more than %d trees", MaxTrees)
			}
			var t treeInfo
			err := r.Object(func(name []byte) error { return t.read(&r, name) })
			trees = append(trees, t)
			return err
		})
	})
	if err == nil {
		err = r.End()
	}
	return append(trees, active), err
}

func (t *treeInfo) read(r *strictjson.Reader, name []byte) (err error) {
	var text []byte
	switch string(name) {
	case "treeID":
		text, err = r.Text()
		t.id = string(text)
	case "treeSize":
		t.head.Size, err = readInt(r)
	case "signedTreeHead":
		text, err = r.Text()
		t.signed = append([]byte(nil), text...)
	case "rootHash":
		if text, err = r.Text(); err == nil {
			t.head.Root, err = tlog.ParseHash(string(text))
		}
	}
	return err
}
