// Package notify delivers the alerts of a monitor: by webhook, by mail, and as metrics.
//
// A [Courier] takes the alerts of one log to one [Sink], in the journal's order. The journal on disk is its queue: it
// remembers, in the monitor's directory, up to where it came. So a receiver that is away loses nothing and
// holds nothing up, and memory does not grow. Each alert is delivered at least once: a process that is killed between a delivery
// and its being noted delivers again. The alert's ID is the same each time.
package notify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/monitor"
)

// Sink is where alerts are delivered to. Its methods are called by many goroutines at once.
type Sink interface {
	// Name is what the sink is called in files and metrics; it is of the form of monitor.Log.Name, and of one log no two have the same.
	Name() string
	// Most is how many alerts it takes at once.
	Most() int
	// Deliver delivers alerts of one log: all or, with an error, none as far as it knows. What the receiver
	// says of them is an *Error.
	Deliver(ctx context.Context, alerts []Delivery) error
}

// Delivery is an alert on its way.
type Delivery struct {
	monitor.Record
	// Evidence is the content of the evidence file; nil if there is none, or it is larger than MaxEvidence.
	Evidence []byte
}

// Limits of what is delivered at once, in bytes.
const (
	MaxEvidence = 256 << 10 // of one alert; a larger file has to be fetched from the monitor's directory
	maxBatch    = 1 << 20   // of all alerts and evidence, but for the first
)

// Error is what a receiver answered to a delivery.
type Error struct {
	Err error
	// After is how long the receiver asks to wait; 0 if it does not say.
	After time.Duration
	// Refused: the receiver does not take just this, now or later. After Options.PassOver it is left in the journal, so that what
	// comes behind it gets through.
	Refused bool
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Queue is where alerts come from: a *monitor.Monitor.
type Queue interface {
	Alerts(from int64) iter.Seq2[monitor.Record, error]
	Cursor(name string) (int64, error)
	SetCursor(name string, at int64) error
	Evidence(name string) (content []byte, path string, err error)
	Status() monitor.Status
}

var _ Queue = (*monitor.Monitor)(nil)

// Options are how a courier works. Zero values stand for the defaults named here.
type Options struct {
	// Logger is told of deliveries that fail. Default: none.
	Logger *slog.Logger
	// MinWait and MaxWait bound the pause after a failure, which doubles with each. Default 1 s, 5 min.
	MinWait, MaxWait time.Duration
	// MaxRetryAfter bounds the pause that a receiver can ask for. Default 1 h.
	MaxRetryAfter time.Duration
	// PassOver is for how long a delivery is tried that the receiver refuses (see Error.Refused). Default 24 h.
	PassOver time.Duration
	// Sleep waits. Default: a timer.
	Sleep func(context.Context, time.Duration) error
	// Rand is 0 ≤ Rand() < 1, to spread the pauses. Default: math/rand.
	Rand func() float64
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o *Options) defaults() {
	def(&o.MinWait, time.Second)
	def(&o.MaxWait, 5*time.Minute)
	def(&o.MaxRetryAfter, time.Hour)
	def(&o.PassOver, 24*time.Hour)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Courier takes the alerts of one log to one sink. Run and Flush are called by one goroutine at a time, the
// other methods by many.
type Courier struct {
	queue Queue
	sink  Sink
	opts  Options
	log   string
	wake  chan struct{}

	at                            atomic.Int64 // in the journal: up to here all is delivered
	delivered, failed, passedOver atomic.Int64
	failing                       atomic.Bool
}

// NewCourier returns a courier that goes on where the last one of this log and sink left off. A sink that is new gets
// everything that is in the journal.
func NewCourier(q Queue, s Sink, o Options) (*Courier, error) {
	o.defaults()
	status := q.Status()
	c := &Courier{queue: q, sink: s, opts: o, log: status.Log, wake: make(chan struct{}, 1)}
	at, err := q.Cursor(s.Name())
	if err != nil {
		return nil, err
	}
	if at > status.Journal { // the journal was begun anew
		o.Logger.Warn("the journal is shorter than what was delivered of it; all that is in it is delivered", "log", c.log, "sink", s.Name())
		at = 0
	}
	c.at.Store(at)
	return c, nil
}

// Stats are numbers about a courier.
type Stats struct {
	Log, Sink string
	// Delivered is how many alerts were delivered, PassedOver how many were given up, Failed how many deliveries failed.
	Delivered, PassedOver, Failed int64
	// Failing: the last delivery failed.
	Failing bool
	// At is the place in the journal up to which all is delivered.
	At int64
}

// Stats returns the numbers of now.
func (c *Courier) Stats() Stats {
	return Stats{Log: c.log, Sink: c.sink.Name(), Delivered: c.delivered.Load(), PassedOver: c.passedOver.Load(), Failed: c.failed.Load(), Failing: c.failing.Load(), At: c.at.Load()}
}

// Wake tells Run that there may be something to deliver.
func (c *Courier) Wake() {
	select {
	case c.wake <- struct{}{}:
	default: // it is told already
	}
}

// Run delivers what is there, and again whenever it is woken, until ctx ends.
func (c *Courier) Run(ctx context.Context) {
	for {
		err := c.Flush(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.opts.Logger.Error("the journal cannot be delivered", "log", c.log, "sink", c.sink.Name(), "error", err)
			c.failing.Store(true)
			if c.opts.Sleep(ctx, c.opts.MaxWait) != nil {
				return
			}
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

// Flush delivers what is in the journal, and tries until it is delivered or ctx ends. Other errors are of the
// journal: it cannot be read.
func (c *Courier) Flush(ctx context.Context) error {
	var since time.Time // of the first failure in a row
	for try := 0; ; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		batch, err := c.next()
		if err != nil || len(batch) == 0 {
			return err
		}
		err = c.sink.Deliver(ctx, batch)
		if err == nil {
			try = 0
			c.failing.Store(false)
			c.delivered.Add(int64(len(batch)))
			c.moveTo(batch[len(batch)-1].Next)
			continue
		}
		if try == 0 {
			since = c.opts.Now()
		}
		c.failing.Store(true)
		c.failed.Add(1)
		if ctx.Err() != nil {
			return fmt.Errorf("%w, while delivering: %w", ctx.Err(), err)
		}
		var said *Error
		if errors.As(err, &said) && said.Refused && c.opts.Now().Sub(since) >= c.opts.PassOver {
			c.opts.Logger.Error("an alert is refused, and passed over; it stays in the journal", "log", c.log, "sink", c.sink.Name(), "alert", batch[0].Alert.ID, "error", err)
			try = 0
			c.passedOver.Add(1)
			c.moveTo(batch[0].Next)
			continue
		}
		wait := c.wait(said, try)
		try++
		c.opts.Logger.Warn("alerts could not be delivered; they will be tried again", "log", c.log, "sink", c.sink.Name(), "in", wait.Round(time.Millisecond), "error", err)
		if ended := c.opts.Sleep(ctx, wait); ended != nil {
			return fmt.Errorf("%w, while waiting to try again after: %w", ended, err)
		}
	}
}

// wait returns how long to wait after a failure.
func (c *Courier) wait(said *Error, try int) time.Duration {
	most := c.opts.MaxWait
	if try < 30 {
		most = min(most, c.opts.MinWait<<try)
	}
	wait := most/2 + time.Duration(c.opts.Rand()*float64(most/2))
	if said != nil {
		wait = max(wait, min(said.After, c.opts.MaxRetryAfter))
	}
	return wait
}

// next returns the alerts that are delivered next.
func (c *Courier) next() ([]Delivery, error) {
	var batch []Delivery
	size := 0
	for r, err := range c.queue.Alerts(c.at.Load()) {
		if err != nil {
			return nil, err
		}
		d := Delivery{Record: r, Evidence: c.evidence(&r.Alert)}
		size += len(r.JSON) + len(d.Evidence)
		if len(batch) > 0 && size > maxBatch {
			break
		}
		if batch = append(batch, d); len(batch) >= c.sink.Most() {
			break
		}
	}
	return batch, nil
}

// evidence returns the evidence of an alert; nil if there is none. If it cannot be read the alert is worth delivering all the same.
func (c *Courier) evidence(a *monitor.Alert) []byte {
	if a.Evidence == "" {
		return nil
	}
	data, _, err := c.queue.Evidence(a.Evidence)
	if err != nil {
		c.opts.Logger.Error("evidence cannot be read", "log", c.log, "alert", a.ID, "error", err)
		return nil
	}
	if len(data) > MaxEvidence {
		return nil
	}
	return data
}

// moveTo notes that all up to a place is delivered.
func (c *Courier) moveTo(at int64) {
	c.at.Store(at)
	if err := c.queue.SetCursor(c.sink.Name(), at); err != nil {
		c.opts.Logger.Error("what was delivered cannot be noted; after a restart it is delivered again", "log", c.log, "sink", c.sink.Name(), "error", err)
	}
}
