package admission

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// What waits is served in its order, what gives up takes nothing, and everything comes back.
func TestRoom(t *testing.T) {
	r := newRoom(10)
	if !r.tryTake(100) || r.inUse() != 10 {
		t.Fatal("more than there is does not stand for all")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if r.take(gone, 1) == nil || r.tryTake(1) {
		t.Error("a place is there twice")
	}
	got := make(chan int64, 3)
	for i, n := range []int64{7, 3, 4} {
		go func() {
			if err := r.take(t.Context(), n); err == nil {
				got <- n
			}
		}()
		waitFor(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.waiting.Len() == i+1 })
	}
	impatient, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- r.take(impatient, 1) }()
	waitFor(t, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.waiting.Len() == 4 })
	r.give(100)
	if a, b := <-got, <-got; a+b != 10 || len(got) != 0 {
		t.Errorf("%d and %d were first", a, b)
	}
	if r.tryTake(1) {
		t.Error("somebody came before those who wait")
	}
	cancel()
	if <-left == nil {
		t.Error("who gave up has something")
	}
	r.give(7)
	if <-got != 4 {
		t.Error("the last one was not served")
	}
	r.give(3)
	r.give(4)
	if r.inUse() != 0 || r.waiting.Len() != 0 {
		t.Errorf("%d are in use, %d wait", r.inUse(), r.waiting.Len())
	}
}

// waitFor waits until it is so.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for !done() {
		time.Sleep(time.Millisecond)
	}
}

// Nobody gets more than a share, and nothing is kept of those who have gone.
func TestShared(t *testing.T) {
	s := newShared(8, 2)
	var all []func()
	for i := range 4 {
		for range 2 {
			give, ok := s.tryTake(1, fmt.Sprint("namespace ", i), "host")
			if ok != (i == 0) { // all of one host
				t.Fatalf("%d: %v", i, ok)
			}
			if ok {
				all = append(all, give)
			}
		}
	}
	if give, ok := s.tryTake(100, "namespace 1"); !ok || s.all.inUse() != 4 {
		t.Error("more than a share does not stand for a share")
	} else {
		give()
	}
	if _, ok := s.tryTake(1, "namespace 0"); ok {
		t.Error("a namespace has more than its share")
	}
	for _, give := range all {
		give()
	}
	if s.all.inUse() != 0 || len(s.parts) != 0 {
		t.Errorf("%d are in use by %d", s.all.inUse(), len(s.parts))
	}
	// All at once.
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				cancel()
			}
			if give, err := s.take(ctx, 1, fmt.Sprint("namespace ", i%3), fmt.Sprint("host ", i%5)); err == nil {
				give()
			}
		})
	}
	group.Wait()
	if s.all.inUse() != 0 || len(s.parts) != 0 {
		t.Errorf("%d are in use by %d", s.all.inUse(), len(s.parts))
	}
}
