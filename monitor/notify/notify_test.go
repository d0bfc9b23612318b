package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/monitor"
)

// queue is a journal in memory. A place in it is the number of the record.
type queue struct {
	alerts   []monitor.Alert
	evidence map[string][]byte
	cursors  map[string]int64
	full     error // of SetCursor
	broken   error // of Alerts
}

func newQueue(alerts ...monitor.Alert) *queue {
	return &queue{alerts: alerts, evidence: map[string][]byte{}, cursors: map[string]int64{}}
}

func (q *queue) Alerts(from int64) iter.Seq2[monitor.Record, error] {
	return func(yield func(monitor.Record, error) bool) {
		for i := from; i < int64(len(q.alerts)); i++ {
			line, err := json.Marshal(q.alerts[i])
			if !yield(monitor.Record{Alert: q.alerts[i], JSON: line, Next: i + 1}, errors.Join(err, q.broken)) {
				return
			}
		}
	}
}

func (q *queue) Cursor(name string) (int64, error) { return q.cursors[name], nil }

func (q *queue) SetCursor(name string, at int64) error {
	if q.full == nil {
		q.cursors[name] = at
	}
	return q.full
}

func (q *queue) Evidence(name string) ([]byte, string, error) {
	data, ok := q.evidence[name]
	if !ok {
		return nil, "", errors.New("there is no such file")
	}
	return data, name, nil
}

func (q *queue) Status() monitor.Status {
	return monitor.Status{Log: "here", Journal: int64(len(q.alerts))}
}

// id returns the ID of alert i.
func id(i int) string { return fmt.Sprintf("%032x", i) }

func match(i int) monitor.Alert {
	return monitor.Alert{ID: id(i), Kind: monitor.KindMatch, Log: "here", Time: time.Unix(1_800_000_000, 0).UTC(), Text: fmt.Sprintf("rule \"r\": log entry %d", i),
		Match: &monitor.Match{Rule: "r", LogIndex: int64(i), UUID: "ab", EntryKind: "dsse", Version: "0.0.1"}}
}

func alarm(i int) monitor.Alert {
	return monitor.Alert{ID: id(i), Kind: monitor.KindFork, Log: "here", Time: time.Unix(1_800_000_000, 0).UTC(), Text: "the log signed two histories", Evidence: "here." + id(i) + ".evidence.json"}
}

func matches(n int) (all []monitor.Alert) {
	for i := range n {
		all = append(all, match(i))
	}
	return all
}

// box is a sink that keeps what it gets, but for what refuse says something about.
type box struct {
	most   int
	refuse func(first string, try int) error
	tries  int
	got    []string
	sizes  []int
	last   Delivery
}

func (b *box) Name() string { return "box" }
func (b *box) Most() int    { return b.most }

func (b *box) Deliver(_ context.Context, alerts []Delivery) error {
	b.tries++
	if b.refuse != nil {
		if err := b.refuse(alerts[0].Alert.ID, b.tries); err != nil {
			return err
		}
	}
	b.sizes = append(b.sizes, len(alerts))
	for _, d := range alerts {
		b.got, b.last = append(b.got, d.Alert.ID), d
	}
	return nil
}

func courier(t *testing.T, q Queue, s Sink, o Options) *Courier {
	t.Helper()
	c, err := NewCourier(q, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func flush(t *testing.T, c *Courier) {
	t.Helper()
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func ids(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, id(i))
	}
	return all
}

// Everything is delivered once, in order, in batches; a new process goes on where the last one was.
func TestInOrder(t *testing.T) {
	q, b := newQueue(matches(5)...), &box{most: 2}
	flush(t, courier(t, q, b, Options{}))
	if !slices.Equal(b.got, ids(0, 5)) || !slices.Equal(b.sizes, []int{2, 2, 1}) {
		t.Errorf("delivered %v in batches of %v", b.got, b.sizes)
	}
	q.alerts = append(q.alerts, match(5))
	c := courier(t, q, b, Options{})
	flush(t, c)
	flush(t, c)
	if !slices.Equal(b.got, ids(0, 6)) {
		t.Errorf("the next process delivered %v", b.got[5:])
	}
	if s := c.Stats(); s != (Stats{Log: "here", Sink: "box", Delivered: 1, At: 6}) {
		t.Errorf("stats: %+v", s)
	}
}

// A batch is bounded in bytes, too; a single alert goes through, however large.
func TestBatchBytes(t *testing.T) {
	q, b := newQueue(alarm(0), alarm(1), alarm(2), alarm(3), alarm(4), alarm(5)), &box{most: 100}
	for i := range q.alerts {
		q.evidence[q.alerts[i].Evidence] = bytes.Repeat([]byte("x"), MaxEvidence)
	}
	q.evidence[q.alerts[5].Evidence] = bytes.Repeat([]byte("x"), MaxEvidence+1)
	flush(t, courier(t, q, b, Options{}))
	if !slices.Equal(b.got, ids(0, 6)) || !slices.Equal(b.sizes, []int{3, 3}) {
		t.Errorf("delivered %v in batches of %v", b.got, b.sizes)
	}
	if b.last.Evidence != nil {
		t.Error("evidence that is too large was delivered")
	}
}

func TestWithoutEvidence(t *testing.T) {
	var log strings.Builder
	q, b := newQueue(alarm(0)), &box{most: 1}
	flush(t, courier(t, q, b, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	if !slices.Equal(b.got, ids(0, 1)) || !strings.Contains(log.String(), "evidence cannot be read") {
		t.Errorf("an alarm whose evidence cannot be read: delivered %v; %s", b.got, &log)
	}
}

// Failures are tried again, after pauses that grow, and the receiver may ask for longer ones. Nothing is skipped, and nothing overtakes.
func TestRetries(t *testing.T) {
	q := newQueue(matches(2)...)
	answers := []error{errors.New("away"), errors.New("away"), &Error{Err: errors.New("busy"), After: 7 * time.Second}, &Error{Err: errors.New("busy"), After: time.Hour}, errors.New("away"), errors.New("away"), nil, errors.New("away"), nil}
	b := &box{most: 1, refuse: func(_ string, try int) error { return answers[try-1] }}
	var waits []time.Duration
	c := courier(t, q, b, Options{MaxWait: 10 * time.Second, MaxRetryAfter: time.Minute, Rand: func() float64 { return 1 - 1e-9 },
		Sleep: func(_ context.Context, d time.Duration) error {
			waits = append(waits, d.Round(time.Millisecond))
			return nil
		}})
	flush(t, c)
	const s = time.Second
	if want := []time.Duration{s, 2 * s, 7 * s, 60 * s, 10 * s, 10 * s, s}; !slices.Equal(waits, want) {
		t.Errorf("waited %v, not %v", waits, want)
	}
	if !slices.Equal(b.got, ids(0, 2)) {
		t.Errorf("delivered %v", b.got)
	}
	if got := c.Stats(); got.Failed != 7 || got.Delivered != 2 || got.Failing || got.PassedOver != 0 {
		t.Errorf("stats: %+v", got)
	}
}

// What is refused is passed over after a day, and not before; what fails is never.
func TestPassedOver(t *testing.T) {
	for _, refused := range []bool{true, false} {
		now, end := time.Unix(1_800_000_000, 0), errors.New("long enough")
		start := now
		q := newQueue(matches(3)...)
		b := &box{most: 1, refuse: func(first string, _ int) error {
			if first != id(1) {
				return nil
			}
			return &Error{Err: errors.New("no"), Refused: refused}
		}}
		c := courier(t, q, b, Options{Now: func() time.Time { return now }, Sleep: func(_ context.Context, d time.Duration) error {
			if now = now.Add(d); now.Sub(start) > 48*time.Hour {
				return end
			}
			return nil
		}})
		err := c.Flush(t.Context())
		s := c.Stats()
		if refused && (err != nil || !slices.Equal(b.got, []string{id(0), id(2)}) || s.PassedOver != 1 || now.Sub(start) < 24*time.Hour) {
			t.Errorf("refused: %v, delivered %v after %v, %+v", err, b.got, now.Sub(start), s)
		}
		if !refused && (!errors.Is(err, end) || !slices.Equal(b.got, ids(0, 1)) || s.PassedOver != 0 || !s.Failing) {
			t.Errorf("failed: %v, delivered %v, %+v", err, b.got, s)
		}
	}
}

// A process that is killed before it notes what it delivered delivers that again, with the same ID.
func TestAtLeastOnce(t *testing.T) {
	q, b := newQueue(matches(2)...), &box{most: 1}
	q.full = errors.New("the disk is full")
	flush(t, courier(t, q, b, Options{}))
	q.full = nil
	flush(t, courier(t, q, b, Options{}))
	if !slices.Equal(b.got, []string{id(0), id(1), id(0), id(1)}) {
		t.Errorf("delivered %v", b.got)
	}
}

// Of a journal that was begun anew everything is delivered.
func TestNewJournal(t *testing.T) {
	q, b := newQueue(matches(2)...), &box{most: 1}
	q.cursors["box"] = 3
	flush(t, courier(t, q, b, Options{}))
	if !slices.Equal(b.got, ids(0, 2)) {
		t.Errorf("delivered %v", b.got)
	}
}

func TestBrokenJournal(t *testing.T) {
	q, b := newQueue(matches(2)...), &box{most: 1}
	q.broken = errors.New("damaged")
	if err := courier(t, q, b, Options{}).Flush(t.Context()); !errors.Is(err, q.broken) || b.tries != 0 {
		t.Errorf("%v, and %d deliveries", err, b.tries)
	}
}

// Run delivers what was there and what comes, and ends with its context, also while it waits.
func TestRun(t *testing.T) {
	q := newQueue(matches(1)...)
	got := make(chan string, 8)
	var away bool
	b := &box{most: 1, refuse: func(first string, _ int) error {
		if away {
			return errors.New("away")
		}
		got <- first
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	sleeping := make(chan bool)
	c := courier(t, q, b, Options{Sleep: func(ctx context.Context, _ time.Duration) error {
		close(sleeping)
		<-ctx.Done()
		return ctx.Err()
	}})
	done := make(chan bool)
	run := func() { defer close(done); c.Run(ctx) }
	go run()
	if first := <-got; first != id(0) {
		t.Errorf("delivered %s", first)
	}
	cancel()
	<-done

	q.alerts, away = append(q.alerts, match(1)), true
	ctx, cancel = context.WithCancel(t.Context())
	done = make(chan bool)
	go run()
	<-sleeping
	cancel()
	<-done
	if !c.Stats().Failing {
		t.Error("it does not say that it fails")
	}
}

// What waits is woken.
func TestWake(t *testing.T) {
	got := make(chan string)
	c := courier(t, &growing{newQueue(), 0}, &box{most: 1, refuse: func(first string, _ int) error { got <- first; return nil }}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	go func() { defer close(done); c.Run(ctx) }()
	for i := range 3 {
		c.Wake()
		c.Wake() // twice is no harm
		if first := <-got; first != id(i) {
			t.Errorf("delivered %s", first)
		}
	}
	cancel()
	for open := true; open; {
		select {
		case <-got:
		case <-done:
			open = false
		}
	}
}

// growing is a journal that grows by one alert whenever it is read after it was delivered.
type growing struct {
	*queue
	n int
}

func (g *growing) Alerts(from int64) iter.Seq2[monitor.Record, error] {
	if int(from) == len(g.alerts) && g.n < 1000 {
		g.n++
		g.alerts = append(g.alerts, match(len(g.alerts)))
	}
	return g.queue.Alerts(from)
}
