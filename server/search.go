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
	if q == (openapi.SearchIndex{And: q.And}) { // asks for nothing, of which no tree size is the measure
		x.sendJSON(http.StatusOK, []byte("[]\n"))
		return nil
	}
	// Terms may be empty because nothing can match. That is a result like others, and
	// says up to which tree size it is complete.
	held := s.answers.account()
	defer held.close()
	result, err := fetch(r.Context(), held, smallAnswer/2, func() (storage.Result, int64, error) {
		result, err := s.cfg.Search.Search(r.Context(), storage.Query{
			In: s.newestFirst(), Terms: terms, All: q.And, Limit: s.cfg.MaxResults,
		})
		return result, int64(len(result.Matches)) * matchCost, err
	})
	if err != nil {
		return fmt.Errorf("searching: %w", err)
	}
	return s.sendMatches(x, result)
}

// matchCost is what one match takes in memory.
const matchCost = 64

// newestFirst returns all trees, whole, in the order of a search.
func (s *Server) newestFirst() []storage.Range {
	var trees []storage.Range
	for i := len(s.shards) - 1; i >= 0; i-- {
		trees = append(trees, storage.Whole(s.shards[i].tree))
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
	for _, m := range result.Matches {
		if s.shards.byTree(m.Tree) == nil {
			return fmt.Errorf("search found an entry of tree %d, which is not served", m.Tree)
		}
	}
	x.Header().Set(headerCompleteTo, strconv.FormatInt(result.CompleteTo[s.shards.active().tree], 10))
	if result.Truncated {
		x.Header().Set(headerTruncated, "true")
	}
	out := s.output(x, http.StatusOK)
	out.b = append(out.b, '[')
	for i, m := range result.Matches {
		if i > 0 {
			out.b = append(out.b, ',')
		}
		out.b = append(out.b, '"')
		out.b = append(s.shards.byTree(m.Tree).entryID(out.b, m.Hash), '"')
		out.spill()
	}
	out.b = append(out.b, ']')
	out.end()
	return nil
}
