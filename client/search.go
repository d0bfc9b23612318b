package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
)

// Query is what to search for. An entry has to match every member that is set; with
// Any, one of them.
type Query struct {
	// Hash is a digest of the artifact, or of what else an entry speaks of: SHA-1, SHA-256,
	// SHA-384 or SHA-512 in hexadecimal, with or without "sha256:" and the like before it.
	Hash string
	// Email and Subject are names in the signer's certificate. A subject may be of any sort.
	Email, Subject string
	// PublicKey is the signer's, or its certificate: PEM.
	PublicKey []byte
	// Any asks for entries that match one member or more.
	Any bool
}

// terms returns what an entry has to match, a term a member.
func (c *Client) terms(q Query) ([][]tlog.Key, error) {
	var terms [][]tlog.Key
	if q.Hash != "" {
		t, err := entry.HashTerm(q.Hash)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	if q.Email != "" {
		terms = append(terms, entry.EmailTerm(q.Email))
	}
	if q.Subject != "" {
		terms = append(terms, entry.SubjectTerm(q.Subject))
	}
	if q.PublicKey != nil {
		t, err := c.parser.PublicKeyTerm("x509", q.PublicKey)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	if len(terms) == 0 {
		return nil, errors.New("nothing is searched for")
	}
	return terms, nil
}

// body returns the query as the API has it (SearchIndex).
func (q Query) body() ([]byte, error) {
	type key struct {
		Format  string `json:"format"`
		Content []byte `json:"content"`
	}
	s := struct {
		Email     string `json:"email,omitempty"`
		Subject   string `json:"subject,omitempty"`
		Hash      string `json:"hash,omitempty"`
		PublicKey *key   `json:"publicKey,omitempty"`
		Operator  string `json:"operator"`
	}{q.Email, q.Subject, q.Hash, nil, "and"}
	if q.Any {
		s.Operator = "or"
	}
	if q.PublicKey != nil {
		s.PublicKey = &key{"x509", q.PublicKey}
	}
	return json.Marshal(s)
}

// SearchResult is the answer to a search: which entries match, by the log's word. The
// entries themselves come from Hits, verified.
type SearchResult struct {
	// CompleteTo is the size of the active tree up to which the log says that the result is
	// complete, older trees included. 0: it does not say. Nothing proves it: a log can
	// leave out what it likes.
	CompleteTo int64
	// Truncated: the log says that there are more matches.
	Truncated bool

	client *Client
	any    bool
	terms  [][]tlog.Key
	ids    []string
}

// Hit is an entry of a search.
type Hit struct {
	*Entry
	// Confirmed: the entry's own body, or the attestation that the body has the hash of,
	// bears out the query. Otherwise that it matches is the log's word alone: the subjects
	// of an in-toto statement, say, are only in the statement, which the log need not
	// have kept. An entry that is not confirmed must not be taken for one about what was
	// searched for.
	//
	// It is no verdict on the signer: anybody can log an entry with any name in a
	// certificate of their own making.
	Confirmed bool
}

// Search asks the log for entries. The order is the log's: newest first, of
// Tallystick.
func (c *Client) Search(ctx context.Context, q Query) (*SearchResult, error) {
	terms, err := c.terms(q)
	if err != nil {
		return nil, err
	}
	body, err := q.body()
	if err != nil {
		return nil, err
	}
	header, answer, err := c.do(ctx, request{path: "/api/v1/index/retrieve", body: body, want: http.StatusOK, limit: maxEntries})
	if err != nil {
		return nil, err
	}
	s := &SearchResult{client: c, any: q.Any, terms: terms, Truncated: header.Get("Tallystick-Truncated") == "true"}
	if text := header.Get("Tallystick-Complete-To"); text != "" {
		if s.CompleteTo, err = strconv.ParseInt(text, 10, 64); err != nil || s.CompleteTo < 0 {
			return nil, malformed("search result", fmt.Errorf("it is said to be complete to %q", clip(text)))
		}
	}
	if s.ids, err = parseIDs(answer); err != nil {
		return nil, malformed("search result", err)
	}
	return s, nil
}

// parseIDs reads a list of entry IDs, and leaves out what is there twice: also a leaf hash
// alone, if there is an ID with it. No two of the rest are IDs of one entry.
func parseIDs(body []byte) ([]string, error) {
	var ids []string
	seen, whole := map[string]bool{}, map[string]bool{} // whole: the leaf hashes of IDs with a tree ID
	r := strictjson.New(body)
	err := r.Array(func() error {
		text, err := r.Text()
		if err != nil {
			return err
		}
		id := string(text)
		if err := checkUUID(id); err != nil {
			return err
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
			if len(id) == 80 {
				whole[id[16:]] = true
			}
		}
		return nil
	})
	if err == nil {
		err = r.End()
	}
	return slices.DeleteFunc(ids, func(id string) bool { return whole[id] }), err
}

// Len returns the number of entries that the log named.
func (s *SearchResult) Len() int { return len(s.ids) }

// Hits returns the entries, verified, in the order of the result. They are fetched in
// batches as the sequence goes on, which ends at the first error; an entry that the log
// named but does not have is one. The sequence can be run again, and fetches again.
func (s *SearchResult) Hits(ctx context.Context) iter.Seq2[*Hit, error] {
	return func(yield func(*Hit, error) bool) {
		for ids := range slices.Chunk(s.ids, MaxRetrieve) {
			batch, err := s.batch(ctx, ids)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, h := range batch {
				if !yield(h, nil) {
					return
				}
			}
		}
	}
}

// batch fetches the entries of up to MaxRetrieve IDs.
func (s *SearchResult) batch(ctx context.Context, ids []string) ([]*Hit, error) {
	got, partial, err := s.client.retrieve(ctx, map[string]any{"entryUUIDs": ids}, len(ids))
	if err != nil {
		return nil, err
	}
	var hits []*Hit
	for _, id := range ids {
		at := slices.IndexFunc(got, func(e *Entry) bool { return e.is(id) })
		if at < 0 {
			return nil, foreign("search result", "the log named entry %s, but does not have it", id)
		}
		h, err := s.confirm(ctx, got[at], partial)
		if err != nil {
			return nil, err
		}
		hits = append(hits, h)
	}
	return hits, nil
}

// confirm holds an entry against the query. partial: the attestation may be had by
// asking for the entry alone.
func (s *SearchResult) confirm(ctx context.Context, e *Entry, partial bool) (*Hit, error) {
	if s.bearsOut(e) {
		return &Hit{e, true}, nil
	}
	if !partial || e.Attestation != nil {
		return &Hit{e, false}, nil
	}
	whole, err := s.client.EntryByUUID(ctx, e.UUID)
	if err != nil {
		return nil, err
	}
	return &Hit{whole, s.bearsOut(whole)}, nil
}

// bearsOut reports whether the entry itself shows that it matches the query.
func (s *SearchResult) bearsOut(e *Entry) bool {
	info, err := s.client.parser.Committed(e.Body)
	if err != nil {
		return false
	}
	keys := info.Keys
	if e.Attestation != nil { // the body has its hash: see verify.Entry
		keys = append(slices.Clip(keys), entry.StatementKeys(e.Attestation)...)
	}
	matches := func(term []tlog.Key) bool {
		return slices.ContainsFunc(term, func(k tlog.Key) bool { return slices.Contains(keys, k) })
	}
	if s.any {
		return slices.ContainsFunc(s.terms, matches)
	}
	return !slices.ContainsFunc(s.terms, func(term []tlog.Key) bool { return !matches(term) })
}
