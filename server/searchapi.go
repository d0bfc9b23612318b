package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/search"
)

const (
	// hitCost is what a hit takes in memory besides what its body is read into.
	hitCost = 2 << 10
	// described is how many times its body's size the description of an entry takes:
	// certificates, parsed, and the JSON that is made of them.
	described = 8
	// scanCost is the room that is made for a search that reads entries to hold them
	// against its conditions: what is held of them at once.
	scanCost = 4 << 20
	// maxYear is the last year that a time of a query may be in, as in RFC 3339.
	maxYear = 9999
)

// searches returns how many searches may run at once. The stores have as many
// connections for reads as there are processors, and at least four, unless they are
// configured otherwise.
func searches() int64 { return max(2, int64(runtime.GOMAXPROCS(0))/2) }

// newFinder returns the Finder over all trees.
func newFinder(cfg Config, all shards) *search.Finder {
	var trees []search.Tree
	for _, sh := range all {
		trees = append(trees, search.Tree{ID: sh.tree, Base: sh.base})
	}
	return search.New(cfg.Search, cfg.Parser, trees)
}

// searchParameters are those that GET /api/search knows.
func searchParameters() []string {
	return []string{"text", "identity", "identityPrefix", "issuer", "digest", "publicKey", "commit",
		"index", "id", "kind", "from", "to", "treeID", "limit", "cursor"}
}

// searchAPI answers GET /api/search.
func (s *Server) searchAPI(x *exchange, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, "the query cannot be read: %s", cut(err.Error(), 200))
	}
	for name := range values {
		if !slices.Contains(searchParameters(), name) {
			return refuse(http.StatusBadRequest, "there is no parameter %q", cut(name, 64))
		}
	}
	q, err := readSearch(values)
	if err != nil {
		return err
	}
	held := s.answers.account()
	defer held.close()
	page, err := s.findPage(r.Context(), held, q)
	if err != nil {
		return err
	}
	body, err := json.Marshal(searchPage(page))
	if err != nil {
		return fmt.Errorf("writing a search page: %w", err)
	}
	x.sendJSON(http.StatusOK, append(body, '\n'))
	return nil
}

// findPage finds a page; what it holds is charged to the account. A search is given a
// turn first, so that what searches have read, and was not charged yet, is little, too:
// search.MaxBytes and what is read at once, of each.
func (s *Server) findPage(ctx context.Context, held *account, q search.Query) (*search.Page, error) {
	if q.Kind != "" {
		if err := held.take(ctx, scanCost); err != nil {
			return nil, err
		}
		defer held.give(scanCost)
	}
	page, err := fetch(ctx, held, smallAnswer/2, func() (*search.Page, int64, error) {
		if err := s.searching.take(ctx, 1); err != nil {
			return nil, 0, err
		}
		defer s.searching.sem.Release(1)
		page, err := s.finder.Find(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		return page, int64(len(page.Hits))*hitCost + described*int64(page.Bytes), nil
	})
	if errors.Is(err, search.ErrDamaged) {
		s.metrics.damaged.Inc()
		s.cfg.Logger.ErrorContext(ctx, "DAMAGE: a stored entry is not what its hash says, and is not shown; run 'tallystick check'", "reason", err.Error())
	}
	return page, err
}

// readSearch reads the parameters of a search, for the API and for forms: an empty
// one is as good as none.
func readSearch(values url.Values) (search.Query, error) {
	var q search.Query
	for _, p := range []struct {
		name string
		into *string
	}{
		{"text", &q.Text}, {"identity", &q.Identity}, {"identityPrefix", &q.IdentityPrefix}, {"issuer", &q.Issuer}, {"digest", &q.Digest},
		{"publicKey", &q.PublicKey}, {"commit", &q.Commit}, {"id", &q.ID}, {"kind", &q.Kind}, {"cursor", &q.Cursor},
	} {
		var err error
		if *p.into, err = single(values, p.name); err != nil {
			return q, err
		}
	}
	index, given, err := number(values, "index")
	if err != nil {
		return q, err
	}
	if given {
		q.Index = &index
	}
	if q.Tree, given, err = number(values, "treeID"); err != nil {
		return q, err
	} else if given && q.Tree == 0 {
		return q, refuse(http.StatusBadRequest, "treeID: the log has no tree 0")
	}
	limit, given, err := number(values, "limit")
	if err != nil {
		return q, err
	}
	if given && (limit < 1 || limit > search.MaxLimit) {
		return q, refuse(http.StatusBadRequest, "limit: it is %d, not 1 to %d", limit, search.MaxLimit)
	}
	q.Limit = int(limit)
	if q.From, err = moment(values, "from"); err != nil {
		return q, err
	}
	q.To, err = moment(values, "to")
	return q, err
}

// single returns the value of a parameter; empty if it is not given.
func single(values url.Values, name string) (string, error) {
	switch list := values[name]; len(list) {
	case 0:
		return "", nil
	case 1:
		return list[0], nil
	}
	return "", refuse(http.StatusBadRequest, "%s: it is given more than once", name)
}

// number reads a parameter of decimal digits.
func number(values url.Values, name string) (n int64, given bool, err error) {
	text, err := single(values, name)
	if err != nil || text == "" {
		return 0, false, err
	}
	unsigned, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, false, refuse(http.StatusBadRequest, "%s: %q is not a number in decimal digits, or is too large", name, cut(text, 64))
	}
	return int64(unsigned), true, nil
}

// moment reads a parameter that is a time: RFC 3339, or Unix seconds.
func moment(values url.Values, name string) (time.Time, error) {
	text, err := single(values, name)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, text)
	if seconds, notNumber := strconv.ParseUint(text, 10, 63); notNumber == nil {
		t, err = time.Unix(int64(seconds), 0), nil
	}
	if year := t.UTC().Year(); err != nil || year < 1 || year > maxYear || t.IsZero() {
		return time.Time{}, refuse(http.StatusBadRequest, "%s: %q is not a time: RFC 3339, as 2026-01-31T00:00:00Z, or Unix seconds", name, cut(text, 64))
	}
	return t, nil
}

// searchPage writes a page as the API does.
func searchPage(p *search.Page) openapi.SearchPage {
	out := openapi.SearchPage{Entries: []openapi.SearchEntry{}, Next: p.Next, CompleteTo: []openapi.SearchTreeSize{}}
	for _, h := range p.Hits {
		out.Entries = append(out.Entries, searchEntry(h))
	}
	if p.ScannedTo != nil {
		place := searchPlace(*p.ScannedTo)
		out.ScannedTo = &place
	}
	for _, t := range p.CompleteTo {
		out.CompleteTo = append(out.CompleteTo, openapi.SearchTreeSize{TreeID: strconv.FormatInt(t.Tree, 10), Size: t.Size})
	}
	for _, m := range p.Understood {
		out.Understood = append(out.Understood, openapi.SearchMeaning(m))
	}
	return out
}

func searchPlace(p search.Place) openapi.SearchPlace {
	return openapi.SearchPlace{TreeID: strconv.FormatInt(p.Tree, 10), TreeIndex: p.Index, LogIndex: p.LogIndex}
}

func searchEntry(h search.Hit) openapi.SearchEntry {
	d := h.Description
	e := openapi.SearchEntry{
		UUID: h.UUID, SearchPlace: searchPlace(h.Place), IntegratedTime: h.Time.Unix(),
		Kind: d.Kind, APIVersion: d.Version, PayloadType: d.PayloadType,
		Signers: []openapi.SearchSigner{}, Problem: h.Problem,
	}
	for _, g := range d.Digests {
		switch g.Of {
		case entry.OfArtifact:
			e.Artifact = g.String()
		case entry.OfPayload:
			e.Payload = g.String()
		case entry.OfEnvelope:
			e.Envelope = g.String()
		}
	}
	for _, s := range d.Signers {
		signer := openapi.SearchSigner{Identities: []string{}, Issuers: []string{}}
		if s.Key != nil {
			signer.Identities = append(signer.Identities, s.Key.Identities...)
			signer.Issuers = append(signer.Issuers, s.Key.Issuers...)
			signer.PublicKeySHA256 = hex.EncodeToString(s.Key.PEMHash[:])
		}
		e.Signers = append(e.Signers, signer)
	}
	return e
}
