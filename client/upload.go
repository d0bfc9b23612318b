package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/tallystick/tallystick/tlog"
)

// Upload logs an entry, and returns it as the log holds it. Sent again it is found,
// not logged again: the same entry has one index in a tree.
//
// The proposal is a JSON object of kind, apiVersion and spec (see package entry for
// the kinds). It is checked here first, signature included; errors of that are
// *entry.Error. What the log answers with has to be, byte for byte, the canonical form
// of what was sent.
func (c *Client) Upload(ctx context.Context, proposal []byte) (*Entry, error) {
	want, err := c.parser.Propose(proposal)
	if err != nil {
		return nil, err
	}
	_, body, err := c.do(ctx, request{path: "/api/v1/log/entries", body: proposal, want: http.StatusCreated, limit: maxEntries})
	var answer *Error
	var e *Entry
	switch {
	case errors.As(err, &answer) && answer.Status == http.StatusConflict:
		e, err = c.existing(ctx, answer, tlog.LeafHash(want.Leaf.Body))
	case err == nil:
		e, err = c.one(ctx, body)
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(e.Body, want.Leaf.Body) {
		return nil, foreign("answer", "the log answered with another entry, %s, than was sent, whose leaf hash is %v", e.UUID, tlog.LeafHash(want.Leaf.Body))
	}
	return e, nil
}

// existing returns the entry that a conflict says is there.
func (c *Client) existing(ctx context.Context, conflict *Error, leaf tlog.Hash) (*Entry, error) {
	uuid := strings.ToLower(path.Base(conflict.location))
	if checkUUID(uuid) != nil || !strings.HasSuffix(uuid, leaf.String()) {
		return nil, foreign("answer", "the log says that the entry is there already, but names %q, not one with leaf hash %v", clip(conflict.location), leaf)
	}
	e, err := c.EntryByUUID(ctx, uuid)
	if err != nil {
		return nil, fmt.Errorf("getting the entry that is there already: %w", err)
	}
	return e, nil
}
