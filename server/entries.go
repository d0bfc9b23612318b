package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"

	"github.com/go-chi/chi/v5"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/tlog"
)

// headerAttestation says, on the answer to a new entry, that its attestation was
// not stored.
const headerAttestation = "Tallystick-Attestation"

// createEntry answers POST /api/v1/log/entries.
func (s *Server) createEntry(x *exchange, r *http.Request) error {
	body, release, err := s.bodies.read(x, r)
	if err != nil {
		return err
	}
	defer release()
	if err := openapi.ProposedEntry(body); err != nil {
		return err
	}
	proposed, err := s.propose(r.Context(), body)
	if err != nil {
		return err
	}
	sh := s.shards.active()
	added, err := sh.log.Add(r.Context(), proposed.Leaf)
	if err != nil {
		return fmt.Errorf("adding an entry: %w", err)
	}
	e := &proven{
		shard: sh, hash: tlog.LeafHash(proposed.Leaf.Body), body: proposed.Leaf.Body,
		time: added.Time, index: added.Index, view: added.View,
	}
	id := string(sh.entryID(nil, e.hash))
	x.Header().Set("Location", location(r.URL, id))
	if added.Duplicate {
		s.metrics.duplicates.Inc()
		if s.cfg.ConflictOnDuplicate {
			return refuse(http.StatusConflict, "an equivalent entry already exists in the transparency log with UUID %s", id)
		}
	} else {
		s.metrics.newEntries.Inc()
	}
	if err := s.prove(r.Context(), e); err != nil {
		x.Header().Del("Location")
		return err
	}
	x.Header().Set("ETag", id)
	if proposed.AttestationDropped && !(added.Duplicate && s.hasAttestation(r.Context(), sh, added.Index)) {
		x.Header().Set(headerAttestation, fmt.Sprintf("not stored; over the limit of %d bytes", s.cfg.MaxAttestation))
	}
	s.sendEntry(x, http.StatusCreated, e)
	return nil
}

// propose parses a proposal when it has its turn.
func (s *Server) propose(ctx context.Context, raw []byte) (entry.Proposed, error) {
	if err := s.parsing.take(ctx, 1); err != nil {
		return entry.Proposed{}, err
	}
	defer s.parsing.sem.Release(1)
	return s.cfg.Parser.Propose(raw)
}

// lookup returns the leaf hash of a proposal, when it has its turn.
func (s *Server) lookup(ctx context.Context, raw []byte) (tlog.Hash, error) {
	if err := s.parsing.take(ctx, 1); err != nil {
		return tlog.Hash{}, err
	}
	defer s.parsing.sem.Release(1)
	return s.cfg.Parser.Lookup(raw)
}

// hasAttestation reports whether an older entry was logged with its attestation,
// when the limit was higher. What cannot be read counts as absent.
func (s *Server) hasAttestation(ctx context.Context, sh *shard, index int64) bool {
	leaves, err := sh.log.Leaves(ctx, index, 1)
	return err == nil && len(leaves) == 1 && leaves[0].Attestation != (tlog.Hash{})
}

// prove adds to an entry its inclusion proof under e.view and its signature. The
// proof is checked first: whatever storage holds, nothing is signed that is not in
// the tree. (The integrated time is not in the tree, and is taken as it is stored.)
func (s *Server) prove(ctx context.Context, e *proven) (err error) {
	if e.path, err = e.view.Inclusion(ctx, e.index); err != nil {
		return fmt.Errorf("proving entry %d: %w", e.index, err)
	}
	if err := tlog.VerifyInclusion(e.hash, e.index, e.view.Head, e.path); err != nil {
		return s.damaged(ctx, e, err)
	}
	e.set, err = s.sign(ctx, e)
	return err
}

// damaged tells operators about an entry that does not fit the tree.
func (s *Server) damaged(ctx context.Context, e *proven, reason error) error {
	s.metrics.damaged.Inc()
	s.cfg.Logger.ErrorContext(ctx, "DAMAGE: a stored entry does not fit the log's checkpoint, and is not signed; run 'tallystick check'",
		"tree", e.shard.tree, "index", e.index, "leafHash", e.hash, "reason", reason.Error())
	return fmt.Errorf("entry %d of tree %d: %w: %w", e.index, e.shard.tree, errDamaged, reason)
}

// location returns the path of a new entry, relative to the server: that of the
// request, and the ID. An API key in the query is left out, as Rekor does.
func location(u *url.URL, id string) string {
	l := url.URL{Path: path.Join(path.Clean("/"+u.Path), id)}
	if u.RawQuery != "" {
		q := u.Query()
		q.Del("apiKey")
		l.RawQuery = q.Encode()
	}
	return l.String()
}

// sendEntry answers with one entry.
func (s *Server) sendEntry(x *exchange, status int, e *proven) {
	out := s.output(x, status)
	out.logEntry(e)
	out.end()
}

// entryByIndex answers GET /api/v1/log/entries.
func (s *Server) entryByIndex(x *exchange, r *http.Request) error {
	global, err := openapi.LogIndex(r.URL.Query())
	if err != nil {
		return err
	}
	sh, index := s.shards.resolve(global)
	if sh == nil {
		return errNoEntry
	}
	reader := s.reader()
	defer reader.close()
	e, err := reader.entry(r.Context(), sh, index)
	if err != nil {
		return err
	}
	return reader.send(x, r, e)
}

// entryByID answers GET /api/v1/log/entries/{entryUUID}.
func (s *Server) entryByID(x *exchange, r *http.Request) error {
	id := chi.URLParam(r, "entryUUID")
	if err := openapi.EntryID(id); err != nil {
		return err
	}
	ref, err := parseEntryID(id)
	if err != nil {
		return err
	}
	reader := s.reader()
	defer reader.close()
	for i := len(s.shards) - 1; i >= 0; i-- { // the active one first
		sh := s.shards[i]
		if ref.tree != 0 && ref.tree != sh.tree {
			continue
		}
		found, err := sh.log.Find(r.Context(), []tlog.Hash{ref.hash})
		if err != nil {
			return fmt.Errorf("finding entry %s: %w", id, err)
		}
		index, ok := found[ref.hash]
		if !ok {
			continue
		}
		e, err := reader.entry(r.Context(), sh, index)
		if errors.Is(err, errNoEntry) {
			continue
		}
		if err != nil {
			return err
		}
		return reader.send(x, r, e)
	}
	return errNoEntry
}

// retrieve answers POST /api/v1/log/entries/retrieve. Everything that can fail comes
// before the answer begins.
func (s *Server) retrieve(x *exchange, r *http.Request) error {
	body, release, err := s.bodies.read(x, r)
	if err != nil {
		return err
	}
	defer release()
	q, err := openapi.ParseSearchLogQuery(body)
	if err != nil {
		return err
	}
	wanted, err := s.wanted(r.Context(), q)
	if err != nil {
		return err
	}
	reader := s.reader()
	defer reader.close()
	found, err := reader.entries(r.Context(), wanted)
	if err != nil {
		return err
	}
	without, err := reader.attestAll(r.Context(), found)
	if err != nil {
		return err
	}
	if without > 0 {
		x.Header().Set(headerAttestation, fmt.Sprintf("left out of %d entries; over %d bytes in one answer", without, maxAttestations))
	}
	s.sendEntries(x, found)
	return nil
}

// sendEntries answers with a list of entries.
func (s *Server) sendEntries(x *exchange, found []*proven) {
	out := s.output(x, http.StatusOK)
	out.b = append(out.b, '[')
	for i, e := range found {
		if i > 0 {
			out.b = append(out.b, ',')
		}
		out.logEntry(e)
	}
	out.b = append(out.b, ']')
	out.end()
}

// place is where an entry may be.
type place struct {
	shard *shard
	index int64
}

// wanted returns the places that a query asks for, in the order of the answer:
// entry IDs, then leaf hashes and proposals, then indexes. IDs and hashes
// that are in no tree are left out.
func (s *Server) wanted(ctx context.Context, q openapi.SearchLogQuery) ([]place, error) {
	refs, err := s.refs(ctx, q)
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, refs)
	if err != nil {
		return nil, err
	}
	var full, plain []place
	for _, ref := range refs {
		for i, sh := range s.shards {
			index, ok := found[i][ref.hash]
			switch {
			case !ok:
			case ref.tree == sh.tree:
				full = append(full, place{sh, index})
			case ref.tree == 0:
				plain = append(plain, place{sh, index})
			}
		}
	}
	all := append(full, plain...)
	for _, global := range q.LogIndexes {
		if sh, index := s.shards.resolve(global); sh != nil {
			all = append(all, place{sh, index})
		}
	}
	return all, nil
}

// refs returns what a query names by hash: its entry IDs, then its proposals.
func (s *Server) refs(ctx context.Context, q openapi.SearchLogQuery) ([]entryRef, error) {
	var refs []entryRef
	for _, id := range q.EntryUUIDs {
		ref, err := parseEntryID(id)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	for _, raw := range q.Entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hash, err := s.lookup(ctx, raw)
		if err != nil {
			return nil, err
		}
		refs = append(refs, entryRef{hash: hash})
	}
	return refs, nil
}

// find looks all refs up in each shard that one of them may be in; the answer has
// an item for each shard.
func (s *Server) find(ctx context.Context, refs []entryRef) ([]map[tlog.Hash]int64, error) {
	found := make([]map[tlog.Hash]int64, len(s.shards))
	for i, sh := range s.shards {
		var hashes []tlog.Hash
		for _, ref := range refs {
			if ref.tree == 0 || ref.tree == sh.tree {
				hashes = append(hashes, ref.hash)
			}
		}
		if len(hashes) == 0 {
			continue
		}
		var err error
		if found[i], err = sh.log.Find(ctx, hashes); err != nil {
			return nil, fmt.Errorf("finding entries: %w", err)
		}
	}
	return found, nil
}
