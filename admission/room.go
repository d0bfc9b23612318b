package admission

import (
	"container/list"
	"context"
	"sync"
)

// room is a number of places, or of bytes, of which some are taken. Those who wait for it get it in their order.
type room struct {
	mu      sync.Mutex
	size    int64
	taken   int64
	waiting list.List // of *waiter
}

type waiter struct {
	n    int64
	turn chan struct{} // closed when it has what it waits for
}

func newRoom(size int64) *room { return &room{size: size} }

// take waits for n. More than there is at all stands for all.
func (r *room) take(ctx context.Context, n int64) error {
	if r.tryTake(n) {
		return nil
	}
	r.mu.Lock()
	w := &waiter{min(n, r.size), make(chan struct{})}
	e := r.waiting.PushBack(w)
	r.serve() // it may have become free meanwhile
	r.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-w.turn: // at the same moment
		r.taken -= w.n
	default:
		r.waiting.Remove(e)
	}
	r.serve()
	return ctx.Err()
}

// tryTake takes n if they are free and nobody waits.
func (r *room) tryTake(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, r.size)
	if r.waiting.Len() > 0 || r.taken+n > r.size {
		return false
	}
	r.taken += n
	return true
}

// give gives back what was taken.
func (r *room) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken -= min(n, r.size)
	r.serve()
}

// serve lets in those whose turn it is. It is called with mu held.
func (r *room) serve() {
	for e := r.waiting.Front(); e != nil; e = r.waiting.Front() {
		w := e.Value.(*waiter)
		if r.taken+w.n > r.size {
			return
		}
		r.taken += w.n
		r.waiting.Remove(e)
		close(w.turn)
	}
}

// inUse returns how much is taken.
func (r *room) inUse() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

// shared is a room of which nobody gets more than a share: no namespace, and no registry's host, takes it all from the others.
type shared struct {
	all   *room
	share int64

	mu    sync.Mutex
	parts map[string]*portion // of those who have or want something
}

type portion struct {
	*room
	users int
}

func newShared(size, share int64) *shared {
	return &shared{all: newRoom(size), share: min(share, size), parts: make(map[string]*portion)}
}

// take waits for n, of the shares of all of these and of the room; who takes for several names them in the same order as
// others do. More than a share stands for a share. What is returned gives it back.
func (s *shared) take(ctx context.Context, n int64, of ...string) (give func(), err error) {
	return s.each(n, of, func(r *room, n int64) error { return r.take(ctx, n) })
}

// tryTake is take without waiting.
func (s *shared) tryTake(n int64, of ...string) (give func(), ok bool) {
	give, err := s.each(n, of, func(r *room, n int64) error {
		if !r.tryTake(n) {
			return errBusy
		}
		return nil
	})
	return give, err == nil
}

func (s *shared) each(n int64, of []string, take func(*room, int64) error) (give func(), err error) {
	n = min(n, s.share)
	var undo []func()
	give = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	for _, name := range of {
		p := s.enter(name)
		undo = append(undo, func() { s.leave(name) })
		if err := take(p.room, n); err != nil {
			give()
			return nil, err
		}
		undo = append(undo, func() { p.give(n) })
	}
	if err := take(s.all, n); err != nil {
		give()
		return nil, err
	}
	undo = append(undo, func() { s.all.give(n) })
	return give, nil
}

func (s *shared) enter(name string) *portion {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[name]
	if p == nil {
		p = &portion{room: newRoom(s.share)}
		s.parts[name] = p
	}
	p.users++
	return p
}

func (s *shared) leave(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[name]
	if p.users--; p.users == 0 {
		delete(s.parts, name)
	}
}
