package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// proofCmd prints proofs.
type proofCmd struct {
	whichEntry
	Checkpoint []string `name:"checkpoint" sep:"none" placeholder:"FILE" help:"Prove that the log extends this checkpoint; given twice: that the second extends the first."`
	FirstSize  *int64   `name:"first-size" placeholder:"N" help:"Prove that the tree extends what it was when it had N entries."`
	LastSize   *int64   `name:"last-size" placeholder:"N" help:"With --first-size: the later tree size (default: that of now)."`
	TreeID     int64    `name:"tree-id" placeholder:"ID" help:"With --first-size: the tree (default: the one that takes new entries)."`
	logFlags
	outputFlags
}

// Help says what can be proved.
func (c *proofCmd) Help() string {
	return `Has the log prove that it holds an entry (--log-index or --uuid), that its tree extends a checkpoint that was kept (--checkpoint FILE), or an older state of itself (--first-size). The proof is verified, and printed.

Exit code 0: proved. 1: the log could not be asked. 3: it does not hold.`
}

// growthResult is the JSON of a consistency proof.
type growthResult struct {
	TreeID string     `json:"treeID"`
	First  headResult `json:"first"`
	Second headResult `json:"second"`
	Hashes []hexHash  `json:"hashes"`
}

type headResult struct {
	TreeSize int64   `json:"treeSize"`
	RootHash hexHash `json:"rootHash"`
}

func newGrowthResult(tree int64, first, second tlog.Head, path []tlog.Hash) growthResult {
	return growthResult{strconv.FormatInt(tree, 10), headResult{first.Size, hexHash(first.Root)}, headResult{second.Size, hexHash(second.Root)}, hexHashes(path)}
}

// Run prints the proof.
func (c *proofCmd) Run(ctx context.Context, p *program) (err error) {
	n := 0
	for _, given := range []bool{c.whichEntry.given(), len(c.Checkpoint) > 0, c.FirstSize != nil} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return usageError{errors.New("say what to prove: --log-index or --uuid, --checkpoint, or --first-size")}
	case len(c.Checkpoint) > 2:
		return usageError{errors.New("--checkpoint goes once or twice")}
	case c.FirstSize == nil && (c.LastSize != nil || c.TreeID != 0):
		return usageError{errors.New("--last-size and --tree-id go with --first-size")}
	}
	if c.whichEntry.given() {
		if err := c.check(); err != nil {
			return err
		}
	}
	s, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = s.close(ctx, err) }()
	switch {
	case c.FirstSize != nil:
		return c.growth(ctx, p, s.Client)
	case len(c.Checkpoint) > 0:
		return c.consistency(ctx, p, s.Client)
	}
	return c.inclusion(ctx, p, s.Client)
}

func (c *proofCmd) inclusion(ctx context.Context, p *program, log *client.Client) error {
	e, err := c.get(ctx, log)
	if err != nil {
		return err
	}
	out, err := p.entryPrinter(c.outputFlags)
	if err != nil {
		return err
	}
	out.title("entry %d", e.LogIndex)
	out.field("UUID", "%s", e.UUID)
	out.field("leaf hash", "%s", e.LeafHash())
	out.path(e.Proof.Path)
	out.proofs(e)
	return out.end(struct {
		UUID           string          `json:"uuid"`
		InclusionProof inclusionResult `json:"inclusionProof"`
	}{e.UUID, inclusionOf(e)})
}

// path prints the hashes of a proof.
func (o *printer) path(path []tlog.Hash) {
	for _, h := range path {
		o.field("proof", "%s", h)
	}
}

func (c *proofCmd) growth(ctx context.Context, p *program, log *client.Client) error {
	trees, err := log.Log(ctx)
	if err != nil {
		return err
	}
	tree, err := c.tree(trees)
	if err != nil {
		return err
	}
	last := tree.Checkpoint.Size
	if c.LastSize != nil {
		last = *c.LastSize
	}
	g, err := log.Growth(ctx, tree, *c.FirstSize, last)
	if err != nil {
		return err
	}
	out := p.printer(c.outputFlags)
	out.growth(tree.Checkpoint.Origin, g.First, g.Second, g.Path)
	out.proved("the root hashes are those that the log's tree had, under its checkpoint of size %d", tree.Checkpoint.Size)
	return out.end(newGrowthResult(tree.ID, g.First, g.Second, g.Path))
}

func (o *printer) growth(origin string, first, second tlog.Head, path []tlog.Hash) {
	o.title("tree %q", origin)
	o.field("first", "size %d, root hash %v", first.Size, first.Root)
	o.field("second", "size %d, root hash %v", second.Size, second.Root)
	o.path(path)
	o.proved("the second extends the first (consistency proof)")
}

func (c *proofCmd) tree(trees []client.Tree) (client.Tree, error) {
	if c.TreeID == 0 {
		return trees[len(trees)-1], nil
	}
	for _, t := range trees {
		if t.ID == c.TreeID {
			return t, nil
		}
	}
	return client.Tree{}, fmt.Errorf("the log has no tree %d", c.TreeID)
}

func (c *proofCmd) consistency(ctx context.Context, p *program, log *client.Client) error {
	var kept []*verify.Checkpoint
	for _, path := range c.Checkpoint {
		signed, err := readLimited(path, tlog.MaxCheckpoint)
		if err != nil {
			return err
		}
		cp, err := log.VerifyCheckpoint(signed)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		kept = append(kept, cp)
	}
	switch {
	case len(kept) == 1:
		now, err := present(ctx, log, kept[0])
		if err != nil {
			return err
		}
		kept = append(kept, now)
	case kept[0].Origin != kept[1].Origin:
		return usageError{fmt.Errorf("the checkpoints are of two trees, %q and %q", kept[0].Origin, kept[1].Origin)}
	case kept[0].Size > kept[1].Size:
		return usageError{fmt.Errorf("the checkpoint of size %d cannot extend the one of size %d: give the older one first", kept[1].Size, kept[0].Size)}
	}
	first, second := kept[0], kept[1]
	path, err := log.Consistency(ctx, first, second)
	if err != nil {
		return err
	}
	_, tree, err := tlog.SplitOriginV1(first.Origin)
	if err != nil {
		return err
	}
	out := p.printer(c.outputFlags)
	out.growth(first.Origin, first.Head, second.Head, path)
	out.proved("the log signed both checkpoints")
	return out.end(newGrowthResult(tree, first.Head, second.Head, path))
}

// present returns the present checkpoint of the tree of one that was kept.
func present(ctx context.Context, log *client.Client, kept *verify.Checkpoint) (*verify.Checkpoint, error) {
	trees, err := log.Log(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range trees {
		switch {
		case t.Checkpoint.Origin != kept.Origin:
		case t.Checkpoint.Size < kept.Size:
			return nil, contradiction("the tree %q had %d entries, and has %d now", kept.Origin, kept.Size, t.Checkpoint.Size)
		default:
			return t.Checkpoint, nil
		}
	}
	return nil, contradiction("the tree %q is no longer among those of the log", kept.Origin)
}

// contradiction is the error of a log that does not stand by a checkpoint that was kept.
func contradiction(format string, args ...any) error {
	return &verify.Error{Class: verify.ErrBadProof, Claim: "checkpoint", Err: fmt.Errorf("%w: %w", client.ErrInconsistent, fmt.Errorf(format, args...))}
}
