package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"

	"github.com/go-chi/chi/v5"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/storage"
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
	proposed, err := s.cfg.Parser.Propose(body)
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

// hasAttestation reports whether an older entry was logged with its attestation,
// when the limit was higher. What cannot be read counts as absent.
func (s *Server) hasAttestation(ctx context.Context, sh *shard, index int64) bool {
	leaves, err := sh.log.Leaves(ctx, index, 1)
	return err == nil && len(leaves) == 1 && leaves[0].Attestation != (tlog.Hash{})
}

// prove adds signature and inclusion proof to a new entry.
func (s *Server) prove(ctx context.Context, e *proven) (err error) {
	if e.set, err = s.sign(ctx, e); err != nil {
		return err
	}
	if e.path, err = e.view.Inclusion(ctx, e.index); err != nil {
		return fmt.Errorf("proving entry %d: %w", e.index, err)
	}
	return nil
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

func (s *Server) sendEntry(x *exchange, status int, e *proven) {
	b := s.buffer()
	defer s.recycle(b)
	*b = append(appendLogEntry(*b, e), '\n')
	x.sendJSON(status, *b)
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
	e, err := s.reader().entry(r.Context(), sh, index)
	if err != nil {
		return err
	}
	s.sendEntry(x, http.StatusOK, e)
	return nil
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
		e, err := s.reader().entry(r.Context(), sh, index)
		if errors.Is(err, errNoEntry) {
			continue
		}
		if err != nil {
			return err
		}
		s.sendEntry(x, http.StatusOK, e)
		return nil
	}
	return errNoEntry
}

// retrieve answers POST /api/v1/log/entries/retrieve.
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
	b := s.buffer()
	defer s.recycle(b)
	*b = append(*b, '[')
	reader := s.reader()
	for _, w := range wanted {
		e, err := reader.entry(r.Context(), w.shard, w.index)
		if errors.Is(err, errNoEntry) {
			continue
		}
		if err != nil {
			return err
		}
		if len(*b) > 1 {
			*b = append(*b, ',')
		}
		*b = appendLogEntry(*b, e)
	}
	*b = append(*b, "]\n"...)
	x.sendJSON(http.StatusOK, *b)
	return nil
}

// place is where an entry may be.
type place struct {
	shard *shard
	index int64
}

// wanted returns the places that a query asks for, in the order of the answer:
// entry IDs, then leaf hashes and proposals, then indexes. IDs and hashes that are
// in no tree are left out.
func (s *Server) wanted(ctx context.Context, q openapi.SearchLogQuery) ([]place, error) {
	refs, err := s.refs(q)
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
func (s *Server) refs(q openapi.SearchLogQuery) ([]entryRef, error) {
	var refs []entryRef
	for _, id := range q.EntryUUIDs {
		ref, err := parseEntryID(id)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	for _, raw := range q.Entries {
		hash, err := s.cfg.Parser.Lookup(raw)
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

// reader reads entries for one request, each tree at one view.
type reader struct {
	s     *Server
	views map[*shard]*tlog.View
}

func (s *Server) reader() *reader { return &reader{s: s} }

// view returns the shard's view; nil if the log has stopped signing and has no
// checkpoint that it vouches for.
func (rd *reader) view(ctx context.Context, sh *shard) (*tlog.View, error) {
	if v, ok := rd.views[sh]; ok {
		return v, nil
	}
	v, err := sh.log.View(ctx)
	if err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrHalted) {
		return nil, fmt.Errorf("getting the checkpoint: %w", err)
	}
	if rd.views == nil {
		rd.views = map[*shard]*tlog.View{}
	}
	rd.views[sh] = v
	return v, nil
}

// entry returns the entry at an index of a shard, proven as far as it can be;
// errNoEntry if there is none.
func (rd *reader) entry(ctx context.Context, sh *shard, index int64) (*proven, error) {
	view, err := rd.view(ctx, sh) // before the leaf, so that it is not older
	if err != nil {
		return nil, err
	}
	leaves, err := sh.log.Leaves(ctx, index, 1)
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	if len(leaves) == 0 {
		return nil, errNoEntry
	}
	leaf := &leaves[0]
	e := &proven{shard: sh, hash: leaf.Hash, body: leaf.Body, time: leaf.Time, index: leaf.Index}
	if view != nil && index < view.Size {
		err = rd.s.proveOld(ctx, e, view)
	} else {
		err = rd.s.uncovered(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	return e, rd.s.attest(ctx, e, leaf.Attestation)
}

// proveOld adds inclusion proof and signature to an entry that the view covers;
// without the signature if the log has stopped signing.
func (s *Server) proveOld(ctx context.Context, e *proven, view *tlog.View) (err error) {
	e.view = view
	if e.path, err = view.Inclusion(ctx, e.index); err != nil {
		return fmt.Errorf("proving entry %d: %w", e.index, err)
	}
	if e.set, err = s.sign(ctx, e); err != nil && !errors.Is(err, storage.ErrHalted) {
		return err
	}
	return nil
}

// uncovered judges an entry that no published checkpoint covers. If the log has
// stopped signing it is answered without proof; else it is about to be published,
// was acknowledged to nobody, and is not there yet.
func (s *Server) uncovered(ctx context.Context, e *proven) error {
	if set, ok := s.sets.Get(e.setKey()); ok {
		e.set = set
		return nil
	}
	_, err := e.signAnew(ctx)
	switch {
	case errors.Is(err, storage.ErrHalted):
		return nil
	case err != nil:
		return err
	}
	return errNoEntry
}

// attest adds the attestation stored under the digest; zero says there is none.
// One that is gone is damage, and logged, but no reason to refuse the entry.
func (s *Server) attest(ctx context.Context, e *proven, digest tlog.Hash) error {
	if digest == (tlog.Hash{}) {
		return nil
	}
	data, err := e.shard.log.Attestation(ctx, digest)
	if errors.Is(err, storage.ErrNotFound) {
		s.cfg.Logger.ErrorContext(ctx, "attestation is missing", "tree", e.shard.tree, "index", e.index, "digest", digest)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the attestation of entry %d: %w", e.index, err)
	}
	e.attestation, e.attested = data, true
	return nil
}
