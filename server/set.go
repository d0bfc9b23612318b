package server

import (
	"context"

	"github.com/tallystick/tallystick/tlog"
)

// setKey names an entry whose signed entry timestamp is kept.
type setKey struct {
	tree  int64
	index int64
}

// setMessage returns what the entry's signed entry timestamp signs.
func (e *proven) setMessage() []byte {
	return tlog.SETMessage(e.body, e.time, e.shard.logID, e.shard.base+e.index)
}

// sign returns the entry's signed entry timestamp. What it signs never changes, so
// a signature made before is as good as a new one, and costs nothing.
func (s *Server) sign(ctx context.Context, e *proven) ([]byte, error) {
	key := setKey{e.shard.tree, e.index}
	if set, ok := s.sets.Get(key); ok {
		return set, nil
	}
	set, err := e.shard.log.SignEntry(ctx, e.setMessage())
	if err != nil {
		return nil, err
	}
	s.sets.Add(key, set)
	return set, nil
}
