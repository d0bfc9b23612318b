package sequencer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Many callers at once, with repeats: every one gets the place of its entry and a
// proof, repeats get the same place, and the history is whole.
func TestAdd(t *testing.T) {
	r := newRig(t)
	l := r.open()
	var mu sync.Mutex
	acked := map[string]storage.Added{}
	fresh := 0
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 40 {
				b := body("entry", (w*40+i)%900) // some come twice
				a, err := l.Add(context.Background(), leaf(b))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if old, ok := acked[b]; ok && (old.Index != a.Index || old.Time != a.Time) {
					t.Errorf("%s is at %d and at %d", b, old.Index, a.Index)
				}
				if !a.Duplicate {
					fresh++
				}
				acked[b] = a
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if fresh != 900 {
		t.Errorf("%d answers said that the entry was new, of 900 entries", fresh)
	}
	r.audit(acked)
	if s := l.Stats(); s.Size != 900 || s.Waiting != 0 || s.Halted {
		t.Errorf("stats %+v", s)
	}
}

// What a server answers is under a checkpoint that its own later answers, and those
// of a second server, extend; the second server sees it at once.
func TestTwoServers(t *testing.T) {
	r := newRig(t)
	a, b := r.open(), r.second().open()
	acked := map[string]storage.Added{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			own, other := a, b
			if w%2 == 1 {
				own, other = b, a
			}
			for i := range 60 {
				name := body("entry", w/2, i) // both servers get each entry
				added, err := own.Add(context.Background(), leaf(name))
				if err != nil {
					t.Error(err)
					return
				}
				view, err := other.View(context.Background())
				if err != nil || view.Size < added.View.Size {
					t.Errorf("the other server is at %v, %v after an answer at %d", view, err, added.View.Size)
					return
				}
				at, err := other.Find(context.Background(), []hash{hashOf(name)})
				if err != nil || at[hashOf(name)] != added.Index {
					t.Errorf("%s is at %d for one server, %v, %v for the other", name, added.Index, at, err)
				}
				mu.Lock()
				acked[name] = added
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.audit(acked)
	if len(acked) != 8*60 {
		t.Errorf("%d entries", len(acked))
	}
}

// A second server that has seen nothing of a long stretch catches up by tiles.
func TestCatchUp(t *testing.T) {
	r := newRig(t)
	late := r.open()
	fast := r.second()
	fast.limits = Limits{QueueEntries: 40000, BatchEntries: 10000, BatchBytes: 1 << 30}
	early := fast.open()
	var wg sync.WaitGroup
	const n = storage.MaxSince + 500
	for w := range 50 {
		wg.Go(func() {
			for i := w; i < n; i += 50 {
				if i%50 < 50 {
					if _, err := early.Add(context.Background(), leaf(body("e", i))); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	added, err := late.Add(context.Background(), leaf("late"))
	if err != nil || added.Index != n {
		t.Fatalf("%+v, %v", added, err)
	}
	r.audit(map[string]storage.Added{"late": added})
}

// Every storage call fails now and then, before or after it took effect, alone and
// twice in a row, under load and across restarts. No answer is ever wrong, no entry
// is lost, no head outside the one history is signed.
func TestFaults(t *testing.T) {
	rnd := seeded(t)
	for round := range 15 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			r := newRig(t)
			r.limits = Limits{CommitTime: 300 * time.Millisecond}
			acked := map[string]storage.Added{}
			var mu sync.Mutex
			rate := []int{2, 4, 10}[rnd.IntN(3)]
			for restart := range 4 {
				r.store.set(nil)
				l, err := Open(context.Background(), r.config())
				if err != nil {
					t.Fatal(err)
				}
				var faults sync.Mutex
				r.store.set(func(call string) (before, after error) {
					faults.Lock()
					defer faults.Unlock()
					kind := []error{storage.ErrUnavailable, storage.ErrUnknown}
					switch {
					case rnd.IntN(rate) > 0:
						return nil, nil
					case rnd.IntN(2) == 0:
						return storage.ErrUnavailable, nil
					default:
						return nil, kind[rnd.IntN(2)] // even "nothing was written" may be a lie
					}
				})
				var wg sync.WaitGroup
				for w := range 8 {
					wg.Go(func() {
						for i := range 12 {
							b := body("entry", restart, w/2, i)
							a, err := l.Add(context.Background(), leaf(b))
							if err == nil {
								mu.Lock()
								acked[b] = a
								mu.Unlock()
							} else if !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrUnknown) {
								t.Errorf("adding: %v", err)
							}
							if _, err := l.View(context.Background()); errors.Is(err, storage.ErrHalted) {
								t.Errorf("halted by mere failures: %v", err)
							}
						}
					})
				}
				wg.Wait()
				r.store.set(nil)
				if err := l.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			r.audit(acked)
			if len(acked) == 0 {
				t.Error("nothing was acknowledged")
			}
		})
	}
}

// A retry after a lost answer finds the entry, and the first attempt is told that
// it was not there before.
func TestUnknownOutcome(t *testing.T) {
	r := newRig(t)
	l := r.open()
	first := true
	r.store.set(func(call string) (error, error) {
		if call == "commit" && first {
			first = false
			return nil, storage.ErrUnknown
		}
		return nil, nil
	})
	a, err := l.Add(context.Background(), leaf("once"))
	if err != nil || a.Duplicate || a.Index != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	again, err := l.Add(context.Background(), leaf("once"))
	if err != nil || !again.Duplicate || again.Index != 0 || again.Time != a.Time {
		t.Fatalf("%+v, %v", again, err)
	}
	r.audit(map[string]storage.Added{"once": again})
}

// An old copy of the database, or one with another history: nothing is signed, the
// reason is given, reads go on. While running and at the start.
func TestRollback(t *testing.T) {
	ctx := context.Background()
	fill := func(t *testing.T, r *rig, l *Log) {
		for i := range 10 {
			if _, err := l.Add(ctx, leaf(body("entry", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		n    int64
		more []string
		want string
	}{
		"older":           {6, nil, "older copy"},
		"empty":           {0, nil, "older copy"},
		"another history": {6, []string{"x1", "x2", "x3", "x4"}, "another history"},
		"longer, another": {6, []string{"x1", "x2", "x3", "x4", "x5", "x6"}, "another history"},
	}
	halted := func(t *testing.T, r *rig, l *Log, want string, signed int) {
		t.Helper()
		_, err := l.Add(ctx, leaf("new"))
		if !errors.Is(err, storage.ErrHalted) || !strings.Contains(err.Error(), want) {
			t.Errorf("adding: %v, want a halt that says %q", err, want)
		}
		if err := l.Ready(ctx); !errors.Is(err, storage.ErrHalted) {
			t.Errorf("ready: %v", err)
		}
		if _, err := l.SignEntry(ctx, []byte("x")); !errors.Is(err, storage.ErrHalted) {
			t.Errorf("signed an entry timestamp: %v", err)
		}
		if n := len(r.signer.texts); n != signed {
			t.Errorf("%d signatures after the rollback: %q", n-signed, r.signer.texts[signed:])
		}
		if leaves, err := l.Leaves(ctx, 0, 3); err != nil || (len(leaves) != 3 && want != "older copy") {
			t.Errorf("reading leaves: %d, %v", len(leaves), err)
		}
		if v, err := l.View(ctx); err == nil {
			if v.Size > 0 {
				r.proves("entry 0", storage.Added{View: v})
			}
		} else if !errors.Is(err, storage.ErrHalted) {
			t.Errorf("view: %v", err)
		}
	}
	for name, c := range cases {
		t.Run("at the start/"+name, func(t *testing.T) {
			r := newRig(t)
			l := r.open()
			fill(t, r, l)
			l.Close(ctx)
			r.store.switchTo(r.copyOf(c.n, c.more...))
			signed := len(r.signer.texts)
			halted(t, r, r.open(), c.want, signed)
		})
		t.Run("seen by a write/"+name, func(t *testing.T) {
			r := newRig(t)
			l := r.open()
			fill(t, r, l)
			r.store.switchTo(r.copyOf(c.n, c.more...))
			signed := len(r.signer.texts)
			halted(t, r, l, c.want, signed)
		})
		t.Run("seen by a read/"+name, func(t *testing.T) {
			r := newRig(t)
			l := r.open()
			fill(t, r, l)
			r.store.switchTo(r.copyOf(c.n, c.more...))
			signed := len(r.signer.texts)
			l.View(ctx)
			halted(t, r, l, c.want, signed)
		})
	}
}

// A leaf that no store would take is refused alone.
func TestUnfitLeaf(t *testing.T) {
	l := newRig(t).open()
	if _, err := l.Add(context.Background(), leaf(strings.Repeat("x", tlog.MaxLeaf+1))); err == nil {
		t.Error("a leaf over the limit was added")
	}
	long := tlog.Leaf{Body: []byte("x"), Keys: []tlog.Key{{Type: tlog.KeyIdentity, Value: strings.Repeat("x", tlog.MaxKeyValue+1)}}}
	if _, err := l.Add(context.Background(), long); err == nil {
		t.Error("a key over the limit was added")
	}
}

// A server that starts while another one writes finds nothing wrong, whatever is
// committed between its reads.
func TestStartBesideWriter(t *testing.T) {
	r := newRig(t)
	writer := r.open()
	ctx := context.Background()
	n := 0
	write := func() {
		if _, err := writer.Add(ctx, leaf(body("entry", n))); err != nil {
			t.Fatal(err)
		}
		n++
	}
	write()
	second := r.second()
	second.store = &faultStore{Store: r.store.Store}
	second.store.set(func(string) (error, error) { write(); write(); return nil, nil })
	l := second.open()
	second.store.set(nil)
	if err := l.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	r.audit(nil)
}

// A halted log answers reads with the checkpoint that the database keeps.
func TestHaltedReads(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	l := r.open()
	for i := range 10 {
		if _, err := l.Add(ctx, leaf(body("entry", i))); err != nil {
			t.Fatal(err)
		}
	}
	l.Close(ctx)
	r.store.switchTo(r.copyOf(6))
	l = r.open()
	v, err := l.View(ctx)
	if err != nil || v.Size != 6 { // SaveCheckpoint at Close made it that of the last leaf
		t.Fatalf("view %+v, %v", v, err)
	}
	for i := range int64(6) {
		r.proves(body("entry", i), storage.Added{Index: i, View: v})
	}
}

// A caller that gives up costs the others nothing, and its entry is either in the
// log or found again by a retry.
func TestHangUp(t *testing.T) {
	r := newRig(t)
	l := r.open()
	block := make(chan struct{})
	r.store.set(func(call string) (error, error) {
		if call == "commit" {
			<-block
		}
		return nil, nil
	})
	var patient sync.WaitGroup
	acked := map[string]storage.Added{}
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(context.Background())
	var gone sync.WaitGroup
	for i := range 8 {
		gone.Go(func() {
			if _, err := l.Add(ctx, leaf(body("impatient", i))); !errors.Is(err, context.Canceled) {
				t.Errorf("impatient: %v", err)
			}
		})
		patient.Go(func() {
			b := body("patient", i)
			a, err := l.Add(context.Background(), leaf(b))
			if err != nil {
				t.Errorf("patient: %v", err)
			}
			mu.Lock()
			acked[b] = a
			mu.Unlock()
		})
	}
	cancel()
	gone.Wait()
	close(block)
	patient.Wait()
	for i := range 8 {
		b := body("impatient", i)
		a, err := l.Add(context.Background(), leaf(b))
		if err != nil {
			t.Fatal(err)
		}
		acked[b] = a
	}
	r.audit(acked)
	if v, _ := l.View(context.Background()); v.Size != 16 {
		t.Errorf("%d leaves", v.Size)
	}
}

// The queue is bounded in entries and in bytes; what does not fit is refused before
// anything is written, and room comes back.
func TestQueueBound(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		size   int
	}{
		"entries": {Limits{QueueEntries: 4, QueueWait: time.Millisecond}, 10},
		"bytes":   {Limits{QueueBytes: 45_000, QueueWait: time.Millisecond}, 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.limits = c.limits
			l := r.open()
			block := make(chan struct{})
			r.store.set(func(call string) (error, error) {
				if call == "commit" {
					<-block
				}
				return nil, nil
			})
			var wg sync.WaitGroup
			results := make(chan error, 10)
			for i := range 10 {
				wg.Go(func() {
					_, err := l.Add(context.Background(), leaf(strings.Repeat("x", c.size)+fmt.Sprint(i)))
					results <- err
				})
			}
			for range 6 { // those that do not fit are told while the commit still hangs
				if err := <-results; !errors.Is(err, storage.ErrBusy) {
					t.Errorf("got %v, want busy", err)
				}
			}
			close(block)
			wg.Wait()
			for range 4 {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			if _, err := l.Add(context.Background(), leaf("room again")); err != nil {
				t.Error(err)
			}
		})
	}
}

// While the key cannot be used, or the mark not be written, nothing is acknowledged
// and reads go on; afterwards a retry finds the entry.
func TestKeyOutage(t *testing.T) {
	ctx := context.Background()
	for name, fail := range map[string]func(*rig, error){
		"key":  func(r *rig, err error) { r.signer.setFail(err) },
		"mark": func(r *rig, err error) { r.guard.(*memoryGuard).setFail(err) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.watch = time.Millisecond
			l := r.open()
			if _, err := l.Add(ctx, leaf("before")); err != nil {
				t.Fatal(err)
			}
			fail(r, errors.New("down"))
			if _, err := l.Add(ctx, leaf("during")); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("adding: %v", err)
			}
			if v, err := l.View(ctx); err != nil || v.Size != 1 {
				t.Errorf("view %+v, %v", v, err)
			}
			if err := l.Ready(ctx); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("ready: %v", err)
			}
			fail(r, nil)
			for l.Ready(ctx) != nil {
				time.Sleep(time.Millisecond) // until the watcher has tried again
			}
			if v, err := l.View(ctx); err != nil || v.Size != 2 {
				t.Errorf("view %+v, %v", v, err)
			}
			a, err := l.Add(ctx, leaf("during"))
			if err != nil || a.Index != 1 {
				t.Errorf("%+v, %v", a, err)
			}
			r.audit(map[string]storage.Added{"during": a})
		})
	}
}

// A key that hangs delays reads once, and not one after another; none beyond its
// deadline.
func TestKeyHangs(t *testing.T) {
	r := newRig(t)
	l, other := r.open(), r.second()
	other.signer = newTestSigner(t)
	other.signer.key, other.signer.spki = r.signer.key, r.signer.spki
	writer := other.open()
	if _, err := writer.Add(context.Background(), leaf("x")); err != nil {
		t.Fatal(err)
	}
	r.signer.mu.Lock()
	r.signer.hang = true
	r.signer.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := l.View(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	wg.Wait() // all but the one that signs are back at their deadline
	for range 5 {
		if v, err := l.View(context.Background()); err != nil || v.Size != 0 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	if l.keyFault.Load() == nil {
		t.Error("the fault is not known")
	}
}

// A key that fails once delays a few writes, and does not wait for the watcher.
func TestKeyHiccup(t *testing.T) {
	r := newRig(t) // whose watcher looks once an hour
	l := r.open()
	r.signer.setFail(errors.New("throttled"))
	if _, err := l.Add(context.Background(), leaf("first")); !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("adding: %v", err)
	}
	r.signer.setFail(nil)
	for {
		_, err := l.Add(context.Background(), leaf("second"))
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // as a client that tries again
	}
	if err := l.Ready(context.Background()); err != nil {
		t.Error(err)
	}
	r.audit(nil)
}

// A server whose key cannot be used at its start gives reads the stored checkpoint,
// and goes on when the key is back.
func TestStartWithoutKey(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	l := r.open()
	if _, err := l.Add(ctx, leaf("x")); err != nil {
		t.Fatal(err)
	}
	l.Close(ctx)
	r.signer.setFail(errors.New("down"))
	r.watch = time.Millisecond
	l = r.open()
	v, err := l.View(ctx)
	if err != nil || v.Size != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	if l.Ready(ctx) == nil {
		t.Error("ready without a key")
	}
	r.signer.setFail(nil)
	for l.Ready(ctx) != nil {
		time.Sleep(time.Millisecond) // until the watcher has tried again
	}
	r.audit(nil)
}

// A server that was idle while another one wrote knows what that one signed: when the
// database is then an older copy, it signs nothing.
func TestIdleServerKnows(t *testing.T) {
	r := newRig(t)
	a := r.open()
	idle := r.second()
	idle.watch = time.Millisecond
	b := idle.open()
	for i := range 10 {
		if _, err := a.Add(context.Background(), leaf(body("entry", i))); err != nil {
			t.Fatal(err)
		}
	}
	for b.Stats().Size < 10 {
		time.Sleep(time.Millisecond) // until the watcher has looked
	}
	if idle.guard.(*memoryGuard).record.Size != 10 {
		t.Error("the mark does not know")
	}
	r.store.switchTo(r.copyOf(7))
	if _, err := b.Add(context.Background(), leaf("other")); !errors.Is(err, storage.ErrHalted) {
		t.Errorf("adding: %v", err)
	}
	r.audit(nil)
}

// splitStore is a database cluster after a failover that fenced nobody: reads reach
// the new primary, a commit under way ends on the old one.
type splitStore struct {
	storage.Store
	reads  storage.Store
	before func() // a commit returns
	once   sync.Once
}

func (s *splitStore) Head(ctx context.Context, tree int64) (storage.Head, error) {
	return s.reads.Head(ctx, tree)
}

func (s *splitStore) Tiles(ctx context.Context, tree int64, ids []tlog.TileID) ([][]tlog.Hash, error) {
	return s.reads.Tiles(ctx, tree, ids)
}

func (s *splitStore) Commit(ctx context.Context, tree int64, r storage.Request) error {
	err := s.Store.Commit(ctx, tree, r)
	s.once.Do(s.before)
	return err
}

// Heads of two databases are never both signed, although each extends what was
// signed before.
func TestSplitBrain(t *testing.T) {
	ctx := context.Background()
	for name, extra := range map[string][]string{"shorter": {"x"}, "same size": {"x", "y"}, "longer": {"x", "y", "z"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			l := r.open()
			for i := range 5 {
				if _, err := l.Add(ctx, leaf(body("entry", i))); err != nil {
					t.Fatal(err)
				}
			}
			l.Close(ctx)
			split := &splitStore{Store: r.store.Store, reads: r.store.Store}
			fork := r.copyOf(5, extra...)
			c := r.config()
			c.Store = split
			l, err := Open(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close(ctx)
			split.before = func() {
				split.reads = fork
				l.View(ctx)
			}
			l.tryBatch(t, "a", "b")
			roots := map[int64]tlog.Hash{}
			for _, c := range r.signer.checkpoints() {
				if old, ok := roots[c.Size]; ok && old != c.Root {
					t.Errorf("two roots of size %d were signed", c.Size)
				}
				roots[c.Size] = c.Root
			}
			if _, fork := roots[7]; fork && len(roots) > 2 && l.Halted() == nil {
				t.Errorf("signed %d heads and did not halt", len(roots))
			}
			if l.Halted() == nil {
				t.Error("not halted")
			}
		})
	}
}

// tryBatch commits entries as one batch.
func (l *Log) tryBatch(t *testing.T, bodies ...string) {
	t.Helper()
	b := &batch{done: make(chan struct{})}
	for _, body := range bodies {
		it, err := newItem(leaf(body))
		if err != nil {
			t.Fatal(err)
		}
		b.items = append(b.items, it)
	}
	if err := l.commitBatch(newAttempt(b)); err == nil {
		l.publishTip(context.Background())
	}
}

// Catching up beside readers halts nothing: the reader's head query may begin, and
// end in a newer tip, between any two steps of the committer.
func TestCatchUpBesideReaders(t *testing.T) {
	r := newRig(t)
	l, other := r.open(), r.second().open()
	ctx := context.Background()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := other.Add(ctx, leaf(body("entry", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := l.View(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3000 {
		if err := l.catchUp(ctx); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
	r.audit(nil)
}

// A clock that is far from the database's puts no time on any entry.
func TestSkew(t *testing.T) {
	r := newRig(t)
	r.limits.CommitTime = 20 * time.Millisecond
	l := r.open()
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		if err := l.checkClock(time.Now().Add(off)); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "clock") {
			t.Errorf("off by %v: %v", off, err)
		}
	}
	for _, fine := range []time.Time{{}, time.Now(), time.Now().Add(3 * time.Second)} {
		if err := l.checkClock(fine); err != nil {
			t.Error(err)
		}
	}
}

// A server with a wrong clock says so at once, is not ready, and still finds entries
// that are there.
func TestSkewedServer(t *testing.T) {
	r := newRig(t)
	l := r.open()
	ctx := context.Background()
	if _, err := l.Add(ctx, leaf("before")); err != nil {
		t.Fatal(err)
	}
	r.store.skew = time.Hour
	commits := 0
	r.store.set(func(call string) (error, error) {
		if call == "commit" {
			commits++
		}
		return nil, nil
	})
	if _, err := l.Add(ctx, leaf("new")); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("adding: %v", err)
	}
	if commits != 1 {
		t.Errorf("tried %d times what no second try mends", commits)
	}
	if err := l.Ready(ctx); !errors.Is(err, errClock) {
		t.Errorf("ready: %v", err)
	}
	if a, err := l.Add(ctx, leaf("before")); err != nil || !a.Duplicate {
		t.Errorf("%+v, %v", a, err)
	}
	r.store.skew = 0
	if _, err := l.Add(ctx, leaf("new")); err != nil {
		t.Error(err)
	}
	if err := l.Ready(ctx); err != nil {
		t.Errorf("ready: %v", err)
	}
	r.audit(nil)
}

// An entry with many search keys weighs as much as it costs: few of them fill the
// queue, and a batch of them is small.
func TestKeysWeigh(t *testing.T) {
	q := newQueue(Limits{QueueWait: time.Millisecond}.withDefaults())
	heavy := tlog.Leaf{Body: []byte("x")}
	for i := range 4000 {
		heavy.Keys = append(heavy.Keys, tlog.Key{Type: tlog.KeyIdentity, Value: fmt.Sprint(i)})
	}
	it, err := newItem(heavy)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; n < 1000; n++ {
		if _, _, err = q.add(context.Background(), it); err != nil {
			break
		}
	}
	if !errors.Is(err, storage.ErrBusy) || n > 40 {
		t.Errorf("%d entries of 4,000 search keys fit, then %v", n, err)
	}
	for b := q.take(); b != nil && n > 0; b = q.take() {
		if len(b.items) > 2 {
			t.Errorf("a batch of %d such entries", len(b.items))
		}
		n -= len(b.items)
		q.release(b)
		if n == 0 {
			break
		}
	}
	if !q.room.TryAcquire(q.limits.QueueBytes) {
		t.Error("room was lost")
	}
}

// Whatever the clock does, integrated times never go back.
func TestClock(t *testing.T) {
	r := newRig(t)
	rnd := seeded(t)
	r.now = func() time.Time { return time.Unix(1700000000+rnd.Int64N(7200)-3600, 0) }
	l := r.open()
	acked := map[string]storage.Added{}
	for i := range 50 {
		a, err := l.Add(context.Background(), leaf(body(i)))
		if err != nil {
			t.Fatal(err)
		}
		acked[body(i)] = a
	}
	r.audit(acked)
}

// Close answers what was accepted, keeps the last checkpoint, and takes no more.
func TestClose(t *testing.T) {
	r := newRig(t)
	l := r.open()
	block := make(chan struct{})
	began := make(chan struct{}, 100)
	r.store.set(func(call string) (error, error) {
		if call == "commit" {
			began <- struct{}{}
			<-block
		}
		return nil, nil
	})
	results := make(chan error, 20)
	for i := range 20 {
		go func() {
			_, err := l.Add(context.Background(), leaf(body(i)))
			results <- err
		}()
	}
	<-began
	for l.queue.waiting() < 1 {
		time.Sleep(time.Millisecond) // until some wait behind the first commit
	}
	closed := make(chan error)
	go func() { closed <- l.Close(context.Background()) }()
	close(block)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	good := int64(0)
	for range 20 {
		if err := <-results; err == nil {
			good++
		} else if !errors.Is(err, storage.ErrBusy) {
			t.Error(err)
		}
	}
	head, _ := r.store.Head(context.Background(), r.tree.ID)
	if head.Size != good || good < 2 {
		t.Errorf("%d entries were acknowledged, %d are stored", good, head.Size)
	}
	saved, _ := r.store.Checkpoint(context.Background(), r.tree.ID)
	if !strings.Contains(string(saved), fmt.Sprintf("\n%d\n", head.Size)) {
		t.Errorf("stored checkpoint %q", saved)
	}
	if _, err := l.Add(context.Background(), leaf("late")); !errors.Is(err, storage.ErrBusy) {
		t.Errorf("adding after close: %v", err)
	}
	r.audit(nil)
}
