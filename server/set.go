package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// setKey names an entry whose signed entry timestamp is kept. It has all that is
// signed, so that a signature never goes out with an entry of another history (of a
// database that was restored under a running server, say).
type setKey struct {
	tree  int64
	index int64
	time  int64
	hash  tlog.Hash
}

func (e *proven) setKey() setKey { return setKey{e.shard.tree, e.index, e.time, e.hash} }

// setMessage returns what the entry's signed entry timestamp signs.
func (e *proven) setMessage() []byte {
	return tlog.SETMessage(e.body, e.time, e.shard.logID, e.shard.base+e.index)
}

// sign returns the entry's signed entry timestamp. What it signs never changes, so
// a signature made before is as good as a new one, and costs nothing.
func (s *Server) sign(ctx context.Context, e *proven) ([]byte, error) {
	key := e.setKey()
	if set, ok := s.sets.Get(key); ok {
		return set, nil
	}
	set, err := e.signAnew(ctx)
	if err != nil {
		return nil, err
	}
	s.sets.Add(key, set)
	return set, nil
}

// signAnew signs the timestamp of an entry that was found in the tree. Errors are storage.ErrHalted, errKey, or of
// the context.
func (e *proven) signAnew(ctx context.Context) ([]byte, error) {
	set, err := e.shard.log.SignEntry(ctx, e.setMessage())
	if err != nil && !errors.Is(err, storage.ErrHalted) {
		err = fmt.Errorf("%w: %w", errKey, err)
	}
	if err != nil {
		return nil, fmt.Errorf("signing entry %d: %w", e.index, err)
	}
	return set, nil
}
