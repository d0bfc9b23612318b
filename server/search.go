package server

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/storage"
)

// Headers of the answer to a search.
const (
	// headerCompleteTo is the size of the active tree up to which the answer is
	// complete; older trees are searched whole.
	headerCompleteTo = "Tallystick-Complete-To"
	// headerTruncated is "true" if there are more matches than were returned.
	headerTruncated = "Tallystick-Truncated"
)

// search answers POST /api/v1/index/retrieve.
func (s *Server) search(x *exchange, r *http.Request) error {
	body, release, err := s.bodies.read(x, r)
	if err != nil {
		return err
	}
	defer release()
	q, err := openapi.ParseSearchIndex(body)
	if err != nil {
		return err
	}
	terms, err := s.terms(q)
	if err != nil {
		return err
	}
	if len(terms) == 0 {
		x.sendJSON(http.StatusOK, []byte("[]\n"))
		return nil
	}
	result, err := s.cfg.Search.Search(r.Context(), storage.Query{
		Trees: s.newestFirst(), Terms: terms, All: q.And, Limit: s.cfg.MaxResults,
	})
	if err != nil {
		return fmt.Errorf("searching: %w", err)
	}
	return s.sendMatches(x, result)
}

// newestFirst returns the tree IDs in the order of a search.
func (s *Server) newestFirst() []int64 {
	var trees []int64
	for i := len(s.shards) - 1; i >= 0; i-- {
		trees = append(trees, s.shards[i].tree)
	}
	return trees
}

// terms returns what an entry has to match: a term for each member of the query.
// It is empty if nothing can match.
func (s *Server) terms(q openapi.SearchIndex) ([]storage.Term, error) {
	var members []storage.Term
	if q.Hash != "" {
		keys, err := entry.HashTerm(q.Hash)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "%v", err)
		}
		members = append(members, keys)
	}
	if q.PublicKey != nil {
		keys, err := s.cfg.Parser.PublicKeyTerm(q.PublicKey.Format, q.PublicKey.Content)
		if err != nil {
			return nil, err
		}
		members = append(members, keys)
	}
	if q.Email != "" {
		members = append(members, entry.EmailTerm(q.Email))
	}
	if q.Subject != "" {
		members = append(members, entry.SubjectTerm(q.Subject))
	}
	return possible(members, q.And), nil
}

// possible leaves out terms without keys, which match nothing; if all terms have
// to match, nothing does.
func possible(terms []storage.Term, all bool) []storage.Term {
	some := slices.DeleteFunc(slices.Clone(terms), func(t storage.Term) bool { return len(t) == 0 })
	if all && len(some) < len(terms) {
		return nil
	}
	return some
}

// sendMatches writes the entry IDs.
func (s *Server) sendMatches(x *exchange, result storage.Result) error {
	b := s.buffer()
	defer s.recycle(b)
	*b = append(*b, '[')
	for i, m := range result.Matches {
		sh := s.shards.byTree(m.Tree)
		if sh == nil {
			return fmt.Errorf("search found an entry of tree %d, which is not served", m.Tree)
		}
		if i > 0 {
			*b = append(*b, ',')
		}
		*b = append(*b, '"')
		*b = append(sh.entryID(*b, m.Hash), '"')
	}
	*b = append(*b, "]\n"...)
	x.Header().Set(headerCompleteTo, strconv.FormatInt(result.CompleteTo[s.shards.active().tree], 10))
	if result.Truncated {
		x.Header().Set(headerTruncated, "true")
	}
	x.sendJSON(http.StatusOK, *b)
	return nil
}
