package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// phase is one way of putting load on a log. It ends after time, or when entries
// (if not 0) were sent.
type phase struct {
	name             string
	writers, readers int
	// rate is 0 for a closed loop: every writer sends its next entry when the last
	// one was answered. Else the loop is open: so many entries a second become due at
	// random moments, whether or not the server keeps up, and latency counts from
	// that moment; writers is then how many requests may be under way.
	rate    float64
	time    time.Duration
	entries int
	// twin: every other client uses a second server on the same database.
	twin bool
}

// outcome is what a phase measured.
type outcome struct {
	phase
	took           time.Duration
	writes, reads  samples
	cpu            usage
	batches, inAll float64 // commits of the server, and entries in them
}

// load puts load on one log. Entries come from the corpus; readers ask for what
// writers logged before.
type load struct {
	address string // host and port of the server
	twin    string // and of a second one; empty if there is none
	observe func() (observation, error)
	auditor *auditor
	corpus  *corpus
	logged  logged
	// every is how often an answer is verified: one of so many.
	every int
}

// logged are the IDs of entries that a log answered; an entry's place in it is not
// its index.
type logged struct {
	mu  sync.Mutex
	ids []string
}

func (l *logged) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

// pick returns any ID and any index that the log has; false if it has none.
func (l *logged) pick() (id string, index int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ids) == 0 {
		return "", 0, false
	}
	return l.ids[rand.IntN(len(l.ids))], rand.IntN(len(l.ids)), true
}

// maxDue bounds the entries that are due in an open loop, and not yet sent.
const maxDue = 1 << 20

// run puts load on the log and measures.
func (l *load) run(p phase) (*outcome, error) {
	before, err := l.observe()
	if err != nil {
		return nil, err
	}
	out := &outcome{phase: p}
	start := time.Now()
	end := start.Add(p.time)
	entries := l.source(p, start, end)
	writes, reads := make([]samples, p.writers), make([]samples, p.readers)
	var writers, readers sync.WaitGroup
	written := make(chan struct{})
	for i := range writes {
		writers.Go(func() { l.write(l.server(p, i), entries, &writes[i]) })
	}
	for i := range reads {
		readers.Go(func() { l.read(l.server(p, i), end, written, &reads[i]) })
	}
	writers.Wait()
	if p.writers > 0 {
		close(written)
	}
	readers.Wait()
	out.took = time.Since(start)
	after, err := l.observe()
	if err != nil {
		return nil, err
	}
	for i := range writes {
		out.writes.add(&writes[i])
	}
	for i := range reads {
		out.reads.add(&reads[i])
	}
	out.cpu = after.cpu.since(before.cpu)
	out.batches, out.inAll = after.batches-before.batches, after.entries-before.entries
	return out, out.judge()
}

// judge refuses an outcome that measured something else than good answers.
func (o *outcome) judge() error {
	for _, s := range []*samples{&o.writes, &o.reads} {
		if len(s.lies) > 0 {
			return fmt.Errorf("%s: %d answers did not verify; the first: %w", o.name, len(s.lies), s.lies[0])
		}
	}
	if len(o.writes.latencies)+len(o.reads.latencies) == 0 {
		return fmt.Errorf("%s: no request had a good answer (writes: %s; reads: %s)", o.name, o.writes.failed(), o.reads.failed())
	}
	return nil
}

// due is an entry that is to be sent, since a moment.
type due struct {
	at    time.Time
	entry []byte
}

// source returns where writers get their entries; false from it ends a writer.
func (l *load) source(p phase, start, end time.Time) func() (due, bool) {
	last := l.corpus.next.Load() + int64(p.entries)
	if p.rate == 0 {
		return func() (due, bool) {
			now := time.Now()
			if now.After(end) || p.entries > 0 && l.corpus.next.Load() >= last {
				return due{}, false
			}
			entry, ok := l.corpus.take()
			return due{now, entry}, ok
		}
	}
	queue := make(chan due, maxDue)
	go func() {
		defer close(queue)
		for at := start; at.Before(end); at = at.Add(time.Duration(rand.ExpFloat64() / p.rate * float64(time.Second))) {
			time.Sleep(time.Until(at))
			entry, ok := l.corpus.take()
			if !ok {
				return
			}
			queue <- due{at, entry}
		}
	}()
	return func() (due, bool) { d, ok := <-queue; return d, ok }
}

// server returns the address that a client uses.
func (l *load) server(p phase, client int) string {
	if p.twin && client%2 == 1 {
		return l.twin
	}
	return l.address
}

func (l *load) write(address string, entries func() (due, bool), s *samples) {
	c := &client{address: address}
	defer c.close()
	for {
		d, ok := entries()
		if !ok {
			return
		}
		status, answer, err := c.post("/api/v1/log/entries", d.entry)
		if l.count(s, d.at, status, http.StatusCreated, answer, err) {
			l.logged.add(string(answer[2:82])) // {"<80 hex digits>":…
		}
	}
}

// read asks for entries by index and by ID in turn, until end or until writers
// are done.
func (l *load) read(address string, end time.Time, written <-chan struct{}, s *samples) {
	c := &client{address: address}
	defer c.close()
	for byID := false; time.Now().Before(end); byID = !byID {
		select {
		case <-written:
			return
		default:
		}
		id, index, ok := l.logged.pick()
		if !ok {
			time.Sleep(time.Millisecond) // until the first writer has an answer
			continue
		}
		path := "/api/v1/log/entries?logIndex=" + strconv.Itoa(index)
		if byID {
			path = "/api/v1/log/entries/" + id
		}
		start := time.Now()
		status, answer, err := c.get(path)
		l.count(s, start, status, http.StatusOK, answer, err)
	}
}

// count takes down one answer and verifies it if its turn has come. It reports
// whether the answer is good.
func (l *load) count(s *samples, start time.Time, status, want int, answer []byte, err error) bool {
	took := time.Since(start)
	switch {
	case err != nil:
		s.fail("no answer")
		return false
	case status != want || len(answer) < 82:
		s.fail(strconv.Itoa(status))
		return false
	}
	s.latencies = append(s.latencies, took)
	if len(s.latencies)%l.every == 0 {
		s.verified++
		if err := l.auditor.verify(answer); err != nil {
			s.lies = append(s.lies, err)
		}
	}
	return true
}
