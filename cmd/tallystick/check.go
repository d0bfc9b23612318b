package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick/check"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/keys"
	"github.com/tallystick/tallystick/sequencer"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// checkCmd reads a whole log again.
type checkCmd struct {
	keySettings
	storageSettings
}

// Help says what the exit codes mean.
func (c *checkCmd) Help() string {
	return `Reads every leaf of every tree, and compares leaves, hashes, tiles, head, checkpoint, high-water mark, search keys and the log's key with each other. The server may go on running.

Exit code 0: everything is in order. 3: damage was found; the first one is named. 1: the check could not be made.`
}

// Run checks all trees. It writes nothing.
func (c *checkCmd) Run(ctx context.Context, p *program, src *sources) error {
	where, err := c.place()
	if err != nil {
		return err
	}
	record, err := c.readMark(p)
	if err != nil {
		return err
	}
	store, err := where.openReadOnly(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	trees, err := store.Trees(ctx)
	if err != nil {
		return fmt.Errorf("reading the trees of the log in %s: %w", where, err)
	}
	if len(trees) == 0 && record != nil {
		return p.damaged(fmt.Errorf("%s holds no log, but the high-water mark %s says that tree %d was signed up to size %d", where, c.markPath(), record.Tree, record.Size))
	}
	if len(trees) == 0 {
		return fmt.Errorf("%s holds no log", where)
	}
	spki, err := c.expectedKey(ctx, p, src)
	if err != nil {
		return err
	}
	for _, tree := range trees {
		if err := c.checkTree(ctx, p, store, tree, record, spki); err != nil {
			return err
		}
	}
	return p.checkMarkTree(trees, record)
}

// damaged prints what was found.
func (p *program) damaged(err error) error {
	fmt.Fprintf(p.Stdout, "DAMAGE: %v\n", err)
	return errDamage
}

// checkMarkTree says whether the tree that the high-water mark is of was among those
// that were checked.
func (p *program) checkMarkTree(trees []storage.Tree, record *sequencer.Record) error {
	if record == nil {
		return nil
	}
	for _, t := range trees {
		if t.ID == record.Tree {
			return nil
		}
	}
	return p.damaged(fmt.Errorf("the high-water mark is of tree %d, which is not in the database", record.Tree))
}

func (c *checkCmd) checkTree(ctx context.Context, p *program, store storage.Store, tree storage.Tree, record *sequencer.Record, spki []byte) error {
	if spki != nil && tree.State == storage.StateActive && !bytes.Equal(spki, tree.PublicKey) {
		return p.damaged(fmt.Errorf("tree %d says that its log ID is %s, but the log's key has %s", tree.ID, tlog.LogID(tree.PublicKey), tlog.LogID(spki)))
	}
	config, err := checkConfig(store, tree)
	if err != nil {
		return p.damaged(err)
	}
	if record != nil && record.Tree == tree.ID {
		config.Mark = &record.Head
	}
	config.Progress = func(done, all int64) {
		fmt.Fprintf(p.Stderr, "tree %d: %d of %d leaves checked\n", tree.ID, done, all)
	}
	report, err := check.Run(ctx, config)
	if errors.Is(err, check.ErrDamage) {
		return p.damaged(fmt.Errorf("tree %d (%s): %w", tree.ID, tree.Origin, err))
	}
	if err != nil {
		return fmt.Errorf("tree %d could not be checked: %w", tree.ID, err)
	}
	fmt.Fprintf(p.Stdout, "tree %d (%s) is in order: %d leaves, root hash %s, %d search keys, %d attestations, %s, %s, %s\n",
		tree.ID, tree.Origin, report.Head.Size, report.Head.Root, report.Keys, report.Attestations,
		upTo("checkpoint", report.Checkpoint), upTo("high-water mark", report.Mark), keyState(spki, tree))
	return nil
}

// keyState says whether the tree's key was compared with one from outside the
// database.
func keyState(spki []byte, tree storage.Tree) string {
	switch {
	case spki == nil:
		return "the log's public key not at hand"
	case tree.State != storage.StateActive:
		return "key not compared (the tree is closed)"
	}
	return "the log's public key fits"
}

func upTo(what string, size int64) string {
	if size < 0 {
		return what + " not at hand"
	}
	return fmt.Sprintf("%s at size %d", what, size)
}

// checkConfig reads what a tree says about itself.
func checkConfig(store storage.Store, tree storage.Tree) (check.Config, error) {
	host, _, err := tlog.SplitOriginV1(tree.Origin)
	if err != nil {
		return check.Config{}, fmt.Errorf("tree %d: %w", tree.ID, err)
	}
	public, err := x509.ParsePKIXPublicKey(tree.PublicKey)
	key, ok := public.(*ecdsa.PublicKey)
	if err != nil || !ok {
		return check.Config{}, fmt.Errorf("tree %d: the public key stored with it is not an ECDSA key (%v)", tree.ID, err)
	}
	parser, err := entry.New(entry.Options{})
	if err != nil {
		return check.Config{}, err
	}
	return check.Config{Store: store, Tree: tree, Parser: parser, Verifier: tlog.NewECDSAVerifier(host, tree.PublicKey, key)}, nil
}

// expectedKey returns the log's public key from outside the database: that of
// --key, else log.pub in the data directory, else nil.
func (c *checkCmd) expectedKey(ctx context.Context, p *program, src *sources) ([]byte, error) {
	if c.Key != "" {
		k, err := keys.Open(ctx, c.Key, c.password(src))
		if err != nil {
			return nil, err
		}
		return k.SPKI(), nil
	}
	data, err := readLimited(c.publicKeyPath(), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(p.Stderr, "there is no %s: the key in the database was not compared with the log's\n", c.publicKeyPath())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not a public key in PEM", c.publicKeyPath())
	}
	return block.Bytes, nil
}

// readMark returns the high-water mark, or nil, with a notice, if there is none. One
// that cannot be read is damage. It is read before the database is, so it is not
// ahead of a sound one.
func (c *checkCmd) readMark(p *program) (*sequencer.Record, error) {
	record, found, err := sequencer.ReadMark(c.markPath())
	if err != nil {
		return nil, p.damaged(err)
	}
	if !found {
		fmt.Fprintf(p.Stderr, "there is no high-water mark %s: it was not compared\n", c.markPath())
		return nil, nil
	}
	return &record, nil
}
