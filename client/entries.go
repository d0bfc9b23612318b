package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// Entry is an entry that a trusted log holds.
type Entry struct {
	// Entry is what the log answered with. All of it was verified: UUID, which is that of
	// the body in its tree; Body, IntegratedTime and LogIndex under the signed entry
	// timestamp; the inclusion proof under the checkpoint; and the attestation, if there is
	// one, by the body. That its signer's certificate is to be believed was not.
	verify.Entry
	// TreeID is the ID of the tree that holds it.
	TreeID int64
	// Proved says what was proved, by which log and under which checkpoint.
	Proved verify.EntryProof
}

// LeafHash returns the hash of the entry's leaf.
func (e *Entry) LeafHash() tlog.Hash { return tlog.LeafHash(e.Body) }

// EntryByIndex returns the entry with this index in the log. If there is none the
// error is an ErrNotFound.
func (c *Client) EntryByIndex(ctx context.Context, index int64) (*Entry, error) {
	e, err := c.get(ctx, request{path: "/api/v1/log/entries", query: url.Values{"logIndex": {strconv.FormatInt(index, 10)}}})
	if err != nil {
		return nil, err
	}
	if e.LogIndex != index {
		return nil, foreign("answer", "entry %d was asked for, and entry %d was answered", index, e.LogIndex)
	}
	return e, nil
}

// EntryByUUID returns the entry with this ID: 80 hexadecimal digits, of tree ID and
// leaf hash, or the 64 of the leaf hash. If there is none the error is an ErrNotFound.
func (c *Client) EntryByUUID(ctx context.Context, uuid string) (*Entry, error) {
	uuid = strings.ToLower(uuid)
	if err := checkUUID(uuid); err != nil {
		return nil, err
	}
	e, err := c.get(ctx, request{path: "/api/v1/log/entries/" + uuid})
	if err != nil {
		return nil, err
	}
	if !e.is(uuid) {
		return nil, foreign("answer", "entry %s was asked for, and entry %s was answered", uuid, e.UUID)
	}
	return e, nil
}

func (c *Client) get(ctx context.Context, r request) (*Entry, error) {
	r.want, r.limit = http.StatusOK, maxEntries
	_, body, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.one(ctx, body)
}

// one verifies an answer with one entry.
func (c *Client) one(ctx context.Context, body []byte) (*Entry, error) {
	all, err := c.verified(ctx, body, 1)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, foreign("answer", "it has no entry")
	}
	return all[0], nil
}

// verified reads up to max entries and verifies them.
func (c *Client) verified(ctx context.Context, body []byte, max int) ([]*Entry, error) {
	claimed, err := verify.ParseEntries(body, max)
	if err != nil {
		return nil, err
	}
	var all []*Entry
	for _, e := range claimed {
		v, err := c.verify(ctx, e)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// verify proves that the log holds an entry, under a checkpoint that is consistent
// with those seen before.
func (c *Client) verify(ctx context.Context, claimed *verify.Entry) (*Entry, error) {
	p, err := c.trust.VerifyEntry(claimed)
	if err != nil {
		return nil, err
	}
	what := "log entry " + strconv.FormatInt(claimed.LogIndex, 10)
	if p.Checkpoint == nil || !p.Checkpoint.V1 || !p.SET || claimed.Proof == nil {
		return nil, foreign(what, "it is not one of Rekor v1 with all its proofs")
	}
	_, tree, err := tlog.SplitOriginV1(p.Checkpoint.Origin)
	if err != nil {
		return nil, malformed(what, err)
	}
	e := &Entry{Entry: *claimed, TreeID: tree, Proved: *p}
	e.UUID = fmt.Sprintf("%016x%v", tree, e.LeafHash()) // the log may have given the leaf hash alone
	if err := c.remember(ctx, p.Checkpoint, claimed.Proof.Checkpoint); err != nil {
		return nil, err
	}
	return e, nil
}

// is reports whether the entry is the one of an ID, of either length.
func (e *Entry) is(uuid string) bool { return uuid == e.UUID || uuid == e.UUID[16:] }

// checkUUID sees that text has the form of an entry ID, in lower case.
func checkUUID(uuid string) error {
	if len(uuid) != 64 && len(uuid) != 80 || strings.Trim(uuid, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is not an entry ID: 64 or 80 hexadecimal digits", clip(uuid))
	}
	return nil
}

// Entries returns the entries from index from up to, and without, index to, in order.
// They are asked for in batches. The sequence ends at the first error; that the log
// has no entry of an index is an ErrNotFound.
func (c *Client) Entries(ctx context.Context, from, to int64) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for at := max(from, 0); at < to; at += MaxRetrieve {
			batch, err := c.batch(ctx, at, min(at+MaxRetrieve, to))
			for _, e := range batch {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// batch returns the entries from index from up to, and without, index to. With an
// error, it returns those before the one that is missing, or none.
func (c *Client) batch(ctx context.Context, from, to int64) ([]*Entry, error) {
	var indexes []int64
	for i := from; i < to; i++ {
		indexes = append(indexes, i)
	}
	got, _, err := c.retrieve(ctx, map[string]any{"logIndexes": indexes}, len(indexes))
	if err != nil {
		return nil, err
	}
	all := make([]*Entry, len(indexes))
	for _, e := range got {
		if e.LogIndex < from || e.LogIndex >= to {
			return nil, foreign("answer", "entry %d was answered, which was not asked for", e.LogIndex)
		}
		all[e.LogIndex-from] = e
	}
	for i, e := range all {
		if e == nil {
			return all[:i], fmt.Errorf("entry %d: %w", from+int64(i), ErrNotFound)
		}
	}
	return all, nil
}

// retrieve asks for up to MaxRetrieve entries at once, and verifies them. Which ones they
// are is not checked. partial: the log left attestations out.
func (c *Client) retrieve(ctx context.Context, query any, n int) (all []*Entry, partial bool, err error) {
	body, err := json.Marshal(query)
	if err != nil {
		return nil, false, err
	}
	header, answer, err := c.do(ctx, request{path: "/api/v1/log/entries/retrieve", body: body, want: http.StatusOK, limit: maxEntries})
	if err != nil {
		return nil, false, err
	}
	all, err = c.verified(ctx, answer, n)
	return all, header.Get("Tallystick-Attestation") != "", err
}
