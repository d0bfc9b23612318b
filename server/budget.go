package server

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// maxWait is how long a request waits for others to give back what it needs before
// it is refused: short, so that the refusal comes before clients give up.
const maxWait = time.Second

// limiter bounds what many requests hold at once. It may be used by many
// goroutines.
type limiter struct {
	sem    *semaphore.Weighted
	size   int64
	wait   time.Duration
	refuse string // what the client is told with the 503
}

func newLimiter(size int64, refusal string) *limiter {
	return &limiter{semaphore.NewWeighted(size), size, maxWait, refusal}
}

// take waits a short time for n; if there is no room for it by then, the error is a
// 503.
func (l *limiter) take(ctx context.Context, n int64) error {
	if l.sem.TryAcquire(n) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	if l.sem.Acquire(wait, n) != nil {
		return refuse(http.StatusServiceUnavailable, "%s", l.refuse)
	}
	return nil
}

// budget bounds the bytes that all requests together hold of one kind. A part is
// for requests that hold little, so that those that hold much, by sending or
// reading slowly, do not keep them out.
type budget struct {
	common  *limiter
	reserve *limiter
	small   int64 // the most bytes that one request may hold of the reserve
}

// newBudget returns a budget of size bytes, a quarter of them reserved for requests
// that hold at most small bytes. The quarter has room for at least one of these.
func newBudget(size, small int64, refusal string) *budget {
	reserve := max(size/4, small)
	return &budget{newLimiter(size-reserve, refusal), newLimiter(reserve, refusal), small}
}

// account is what one request holds of a budget. It belongs to the request's
// goroutine.
type account struct {
	budget          *budget
	common, reserve int64
}

func (b *budget) account() *account { return &account{budget: b} }

// take charges n bytes, waiting a short time for them; if there is no room by then
// the error is a 503. A request that needs more than the whole budget takes all of
// it.
func (a *account) take(ctx context.Context, n int64) error {
	if a.try(n) {
		return nil
	}
	if a.held()+n <= a.budget.small {
		if err := a.budget.reserve.take(ctx, n); err != nil {
			return err
		}
		a.reserve += n
		return nil
	}
	n = a.fit(n)
	if err := a.budget.common.take(ctx, n); err != nil {
		return err
	}
	a.common += n
	return nil
}

// try charges n bytes if there is room for them now.
func (a *account) try(n int64) bool {
	n = a.fit(n)
	if n > 0 && !a.budget.common.sem.TryAcquire(n) {
		return false
	}
	a.common += n
	return true
}

// fit cuts n to what the account can ever get.
func (a *account) fit(n int64) int64 { return min(n, a.budget.common.size-a.common) }

func (a *account) held() int64 { return a.common + a.reserve }

// give gives n bytes back, at most what is held.
func (a *account) give(n int64) {
	first := min(n, a.common)
	a.budget.common.sem.Release(first)
	a.common -= first
	a.budget.reserve.sem.Release(n - first)
	a.reserve -= n - first
}

// close gives all back.
func (a *account) close() { a.give(a.held()) }

// fetch reads something whose size is known only afterwards, within the account: it
// takes room for a guess, and gives back what was too much. If the guess was too
// small and there is no room for the rest, it lets go of what it read, waits for
// room, and reads again.
func fetch[T any](ctx context.Context, a *account, guess int64, read func() (T, int64, error)) (T, error) {
	var none T
	before := a.held()
	if err := a.take(ctx, guess); err != nil {
		return none, err
	}
	for {
		value, size, err := read()
		charged := a.held() - before
		switch {
		case err != nil:
			return none, err
		case size <= charged:
			a.give(charged - size)
			return value, nil
		case a.try(size - charged):
			return value, nil
		}
		value = none // so that it can be collected during the wait
		if err := a.take(ctx, size-charged); err != nil {
			return none, err
		}
	}
}
