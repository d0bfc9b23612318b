package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/server/ui"
	"github.com/tallystick/tallystick/tlog"
)

// rendered is how many times the size of a body the page about it takes.
const rendered = 8

// entry answers GET /entry/{ref}: an entry ID, or an index in the log.
func (p *pages) entry(x *exchange, r *http.Request) error {
	s := p.server
	reader := s.reader()
	defer reader.close()
	found, e, err := p.lookUp(r.Context(), reader, chi.URLParam(r, "ref"))
	if err != nil {
		return err
	}
	if err := attest(r.Context(), reader, found, e); err != nil {
		return err
	}
	if err := reader.held.take(r.Context(), rendered*int64(len(e.body)+min(len(e.attestation), smallAnswer))); err != nil {
		return err
	}
	v := ui.Entry{
		Hit: found.Hit, Body: e.body, LogID: e.shard.logID, Promised: len(e.set) > 0,
		Attested: e.attested, Attestation: e.attestation,
	}
	if e.view != nil {
		v.Proof = &ui.Proof{Path: e.path, Head: e.view.Head, Checkpoint: e.view.Checkpoint}
	}
	body, err := p.ui.Entry(p.request(x, r), v)
	return p.send(x, http.StatusOK, body, err)
}

// lookUp returns an entry that a URL names, described and proved, without its
// attestation.
func (p *pages) lookUp(ctx context.Context, rd *reader, ref string) (*search.Entry, *proven, error) {
	s := p.server
	found, err := fetch(ctx, rd.held, smallAnswer/2, func() (*search.Entry, int64, error) {
		found, err := s.finder.Entry(ctx, ref)
		if err != nil {
			return nil, 0, err
		}
		return found, hitCost + described*int64(len(found.Body)), nil
	})
	var bad *search.Error
	switch {
	case errors.As(err, &bad):
		return nil, nil, refuse(http.StatusNotFound, "entries have an entry ID (80 hexadecimal digits, or 64) or an index (decimal digits), and %q is neither", cut(ref, 100))
	case isMissing(err):
		return nil, nil, refuse(http.StatusNotFound, "this log has no entry %s", cut(ref, 100))
	case err != nil:
		return nil, nil, err
	}
	sh := s.shards.byTree(found.Tree)
	if sh == nil {
		return nil, nil, errNoEntry
	}
	e, err := rd.entry(ctx, sh, found.Index)
	return found, e, err
}

// attest adds the attestation of an entry, if it is the one that the body names: what is
// stored with an entry besides its body no proof covers.
func attest(ctx context.Context, rd *reader, found *search.Entry, e *proven) error {
	if named := found.Description.Attestation; e.digest != (tlog.Hash{}) && e.digest != named {
		rd.damagedAttestation(ctx, e, fmt.Errorf("the body names %v", named))
		return nil
	}
	return rd.attest(ctx, e)
}

// attestation answers GET /entry/{ref}/attestation: as a file, since strangers wrote it.
func (p *pages) attestation(x *exchange, r *http.Request) error {
	reader := p.server.reader()
	defer reader.close()
	found, e, err := p.lookUp(r.Context(), reader, chi.URLParam(r, "ref"))
	if err != nil {
		return err
	}
	if err := attest(r.Context(), reader, found, e); err != nil {
		return err
	}
	if !e.attested {
		return refuse(http.StatusNotFound, "the log keeps no attestation of entry %s", strconv.FormatInt(e.shard.base+e.index, 10))
	}
	h := x.Header()
	h.Set("Content-Disposition", `attachment; filename="`+attestationName(e.digest, e.attestation)+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", cacheLong)
	x.send(http.StatusOK, "application/octet-stream", e.attestation)
	return nil
}

func attestationName(digest tlog.Hash, content []byte) string {
	name := "attestation-" + digest.String()[:16]
	if json.Valid(content) {
		return name + ".json"
	}
	return name + ".bin"
}
