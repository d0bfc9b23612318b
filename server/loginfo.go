package server

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const typePEM = "application/x-pem-file"

// logInfo answers GET /api/v1/log.
func (s *Server) logInfo(x *exchange, r *http.Request) error {
	b := s.buffer()
	defer s.recycle(b)
	*b = append(*b, `{"inactiveShards":`...)
	last := len(s.shards) - 1
	if last == 0 {
		*b = append(*b, "null,"...)
	}
	for i, sh := range s.shards {
		v, err := currentView(r, sh)
		if err != nil {
			return err
		}
		switch {
		case i == last:
			*b = append(appendShardInfo(*b, sh, v), "}\n"...)
		case i == 0:
			*b = append(appendShardInfo(append(*b, "[{"...), sh, v), '}')
		default:
			*b = append(appendShardInfo(append(*b, ",{"...), sh, v), '}')
		}
		if i == last-1 {
			*b = append(*b, "],"...)
		}
	}
	x.sendJSON(http.StatusOK, *b)
	return nil
}

// currentView returns the shard's view; ErrHalted if there is none.
func currentView(r *http.Request, sh *shard) (*tlog.View, error) {
	v, err := sh.log.View(r.Context())
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("tree %d has no checkpoint: %w", sh.tree, storage.ErrHalted)
	}
	if err != nil {
		return nil, fmt.Errorf("getting the checkpoint: %w", err)
	}
	return v, nil
}

// consistency answers GET /api/v1/log/proof.
func (s *Server) consistency(x *exchange, r *http.Request) error {
	q, err := openapi.Proof(r.URL.Query())
	if err != nil {
		return err
	}
	if q.FirstSize > q.LastSize {
		return refuse(http.StatusBadRequest, "firstSize(%d) must be less than lastSize(%d)", q.FirstSize, q.LastSize)
	}
	sh := s.shards.parameter(q.TreeID)
	if sh == nil {
		return refuse(http.StatusBadRequest, "invalid tree ID specified: %s", cut(q.TreeID, 32))
	}
	v, err := currentView(r, sh)
	if err != nil {
		return err
	}
	if q.LastSize > v.Size {
		return refuse(http.StatusBadRequest, "the tree size requested(%d) was greater than what is currently observable(%d)",
			q.LastSize, v.Size)
	}
	path, err := v.Consistency(r.Context(), q.FirstSize, q.LastSize)
	if err != nil {
		return fmt.Errorf("proving consistency of %d and %d: %w", q.FirstSize, q.LastSize, err)
	}
	b := s.buffer()
	defer s.recycle(b)
	*b = append(appendConsistency(*b, path, v.Root), '\n')
	x.sendJSON(http.StatusOK, *b)
	return nil
}

// publicKey answers GET /api/v1/log/publicKey: with PEM, or with the PEM as a JSON
// string to a client that likes JSON better.
func (s *Server) publicKey(x *exchange, r *http.Request) error {
	id, err := openapi.TreeID(r.URL.Query())
	if err != nil {
		return err
	}
	kind := negotiate(r.Header["Accept"], typePEM, typeJSON)
	sh := s.shards.parameter(id)
	if sh == nil {
		x.err = fmt.Errorf("no tree %s", cut(id, 32))
		// Rekor sends its JSON error under the media type of the key.
		x.send(http.StatusBadRequest, kind, append(appendError(nil, http.StatusBadRequest, "Bad Request"), '\n'))
		return nil
	}
	if kind == typeJSON {
		x.sendJSON(http.StatusOK, append(appendString(nil, sh.key), '\n'))
		return nil
	}
	x.send(http.StatusOK, typePEM, []byte(sh.key))
	return nil
}
