package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/tlog"
)

// logCmd prints the state of a log.
type logCmd struct {
	logFlags
	outputFlags
}

// Help says what is compared with what.
func (c *logCmd) Help() string {
	return `Prints the log's trees with their checkpoints. Each checkpoint has to be signed by the log, and each tree has to extend what was seen of it in earlier runs (of any command, with the same --state): a log that shrinks, forks or loses a tree is caught.

Exit code 0: everything holds. 1: the log could not be asked, or what was seen of it not be kept. 3: something does not hold.`
}

// treeResult is the JSON of one tree.
type treeResult struct {
	TreeID     string  `json:"treeID"`
	Active     bool    `json:"active"`
	Origin     string  `json:"origin"`
	TreeSize   int64   `json:"treeSize"`
	RootHash   hexHash `json:"rootHash"`
	BaseIndex  int64   `json:"baseIndex"`
	LogID      string  `json:"logID"`
	PublicKey  string  `json:"publicKey"` // PEM
	Checkpoint string  `json:"checkpoint"`
	// SeenSize is the tree size of which it was proved that this one extends it; absent if the
	// tree was not seen before.
	SeenSize *int64 `json:"seenSize,omitempty"`
}

// Run prints the trees.
func (c *logCmd) Run(ctx context.Context, p *program) (err error) {
	s, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = s.close(ctx, err) }()
	trees, err := s.Log(ctx)
	if err != nil {
		return err
	}
	unkept := s.keep(ctx)
	if refused(unkept) {
		return unkept
	}
	out := p.printer(c.outputFlags)
	result := struct {
		Trees []treeResult `json:"trees"`
	}{[]treeResult{}}
	for _, t := range trees {
		r, err := newTreeResult(t)
		if err != nil {
			return err
		}
		out.tree(t, r, unkept == nil)
		result.Trees = append(result.Trees, r)
	}
	return errors.Join(out.end(result), unkept)
}

func newTreeResult(t client.Tree) (treeResult, error) {
	id, err := t.Checkpoint.Log.Key.SPKIHash()
	r := treeResult{
		TreeID: strconv.FormatInt(t.ID, 10), Active: t.Active, Origin: t.Checkpoint.Origin, TreeSize: t.Checkpoint.Size,
		RootHash: hexHash(t.Checkpoint.Root), BaseIndex: t.Base, LogID: tlog.Hash(id).String(), PublicKey: string(t.Checkpoint.Log.Key.PEM), Checkpoint: string(t.Signed),
	}
	if t.Extends != nil {
		r.SeenSize = &t.Extends.Size
	}
	return r, err
}

// tree prints a tree. kept: the next run will know what was seen of it.
func (o *printer) tree(t client.Tree, r treeResult, kept bool) {
	kind := "closed"
	if t.Active {
		kind = "takes new entries"
	}
	o.title("tree %d (%s)", t.ID, kind)
	o.field("origin", "%s", r.Origin)
	o.field("size", "%d", r.TreeSize)
	o.field("root hash", "%s", t.Checkpoint.Root)
	if t.Base > 0 {
		o.field("first index", "%d", t.Base)
	}
	o.field("log ID", "%s", r.LogID)
	o.proved("the log signed this checkpoint")
	switch {
	case r.SeenSize != nil:
		o.proved("it extends what was seen before, at size %d", *r.SeenSize)
	case kept:
		o.unproved("this tree was not seen before: from now on it is held to this checkpoint")
	default:
		o.unproved("this tree was not seen before")
	}
}
