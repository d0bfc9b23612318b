package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
)

// Options are how a log is watched. Zero values stand for the defaults named here.
type Options struct {
	// Dir is the directory of state, journal, evidence and cursors. It is made if it is not there. Several logs
	// may share it; of one log, one Monitor at a time may be open.
	Dir string
	// Rules are what to look for. Nil: only the log itself is watched.
	Rules *Rules
	// Source is where the log is read. Default: Log.URL, over HTTP.
	Source Source
	// HTTP makes the requests of the default Source (see client.Options).
	HTTP *http.Client
	// UserAgent says who asks, of the default Source. Default "tallystick-monitor".
	UserAgent string
	// NoSETs: the Source may give entries without signed entry timestamps, for it is the log itself. Those that it gives are checked all the same.
	NoSETs bool
	// Parallel is how many requests for entries are made at once. Default 4.
	Parallel int
	// MaxLeaves is how many leaves are asked for at once. Default client.MaxRetrieve.
	MaxLeaves int
	// RoundEntries is how many entries one round reads at most, so that checkpoints are
	// looked at again while much is read. Default 50,000.
	RoundEntries int64
	// Now is the clock. It is read by many goroutines. Default time.Now.
	Now func() time.Time

	disk disk // of tests
}

// chunkLeaves is how many entries are read before what was found is made durable.
const chunkLeaves = 2048

// Monitor watches one log. Round may be called by one goroutine at a time; all other methods by many, also
// during a round.
type Monitor struct {
	log    Log
	opts   Options
	rules  []*rule
	keys   keyring
	parser *entry.Parser
	disk   disk
	closer []io.Closer

	turn   sync.Mutex // of rounds
	broken bool       // what is in memory may not be what was made durable

	journal *journal
	cursors sync.Mutex

	mu     sync.Mutex // of what follows
	state  *state     // never changed, but replaced
	stored []byte     // the same, as it is in the file
	status Status     // the parts that are not in the state
}

// Open takes up the watch of a log where it was left, or begins it. It makes no request. It fails if another
// Monitor has the log's files open, and if state and journal do not belong together.
func Open(log Log, o Options) (*Monitor, error) {
	if err := checkName(log.Name); err != nil {
		return nil, err
	}
	if log.Trust == nil {
		return nil, errors.New("a monitor needs to be told which log to trust")
	}
	m := &Monitor{log: log, opts: o, rules: o.Rules.of(log.Name), keys: newKeyring(log.Trust), disk: o.disk}
	m.defaults()
	err := m.open()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("monitor of log %q: %w", log.Name, err), m.Close())
	}
	return m, nil
}

func (m *Monitor) defaults() {
	def(&m.log.MaxLag, DefaultMaxLag)
	def(&m.log.MaxUnreachable, DefaultMaxUnreachable)
	def(&m.opts.UserAgent, "tallystick-monitor")
	def(&m.opts.Parallel, 4)
	def(&m.opts.MaxLeaves, client.MaxRetrieve)
	def(&m.opts.RoundEntries, 50_000)
	if m.opts.Now == nil {
		m.opts.Now = time.Now
	}
	m.status = Status{Log: m.log.Name, URL: m.log.URL, Raised: make(map[Kind]int64), Matches: make(map[string]int64), Receipts: len(m.log.Receipts)}
	for _, k := range Kinds() {
		m.status.Raised[k] = 0
	}
	for _, r := range m.rules {
		m.status.Matches[r.name] = 0
	}
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (m *Monitor) open() (err error) {
	if err := checkReceipts(m.log.Receipts, m.log.Trust); err != nil {
		return err
	}
	if m.parser, err = entry.New(entry.Options{}); err != nil {
		return err
	}
	if m.opts.Source == nil {
		if m.opts.Source, err = client.NewRaw(m.log.URL, client.Options{HTTP: m.opts.HTTP, UserAgent: m.opts.UserAgent}); err != nil {
			return err
		}
	}
	if m.disk == nil {
		d, err := openDir(m.opts.Dir)
		if err != nil {
			return err
		}
		m.disk, m.closer = d, append(m.closer, d.root)
		lock, err := d.lock(m.file("lock"))
		if err != nil {
			return err
		}
		m.closer = append(m.closer, lock)
	}
	return m.load()
}

// file returns the name of one of the log's files.
func (m *Monitor) file(what string) string { return m.log.Name + "." + what }

// load reads state and journal, or makes them.
func (m *Monitor) load() error {
	m.broken = true
	name := m.file("state.json")
	stored, err := readFile(m.disk, name, maxState)
	there := !errors.Is(err, fs.ErrNotExist)
	s := &state{journal: -1}
	if there {
		if err == nil {
			s, err = parseState(stored, m.log.Trust)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	if m.journal != nil {
		err = m.journal.cut(s.journal)
	} else {
		m.journal, err = openJournal(m.disk, m.file("alerts.jsonl"), s.journal)
	}
	if err != nil {
		return err
	}
	if !there {
		// From now on there is a state, so that a journal without one is known to have lost it.
		s.journal = 0
		if stored, err = s.encode(); err != nil {
			return err
		}
		if err := replaceFile(m.disk, name, stored); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.state, m.stored = s, stored
	m.mu.Unlock()
	m.broken = false
	return nil
}

// Close ends the watch. No round may be under way.
func (m *Monitor) Close() error {
	var err error
	if m.journal != nil {
		err = m.journal.close()
	}
	for _, c := range slices.Backward(m.closer) { // the lock before the directory
		err = errors.Join(err, c.Close())
	}
	return err
}

// commit makes a state durable, and the alerts that led to it before.
func (m *Monitor) commit(s *state, lines []byte) error {
	if err := m.store(s, lines); err != nil {
		m.broken = true // what was made durable is found out by reading it again
		return fmt.Errorf("keeping what was found: %w", err)
	}
	return nil
}

func (m *Monitor) store(s *state, lines []byte) error {
	s.journal = m.journal.length.Load() + int64(len(lines))
	data, err := s.encode()
	if err != nil {
		return err
	}
	if len(data) > maxState {
		return fmt.Errorf("the state has %d bytes, more than %d", len(data), maxState)
	}
	if bytes.Equal(data, m.stored) {
		return nil
	}
	if err := m.journal.append(lines); err != nil {
		return err
	}
	if err := replaceFile(m.disk, m.file("state.json"), data); err != nil {
		return err
	}
	m.journal.grow(len(lines))
	m.mu.Lock()
	m.state, m.stored = s.clone(), data
	m.mu.Unlock()
	return nil
}

// Record is an alert in the journal.
type Record struct {
	Alert Alert
	// JSON is the alert as it is in the journal: one line, without its end.
	JSON []byte
	// Next is where the next record begins.
	Next int64
}

// Alerts returns the alerts in the journal from a place on: 0, or the Next of a record. It ends at
// what was durable when it began. An error is the last that it yields.
func (m *Monitor) Alerts(from int64) iter.Seq2[Record, error] { return m.journal.alerts(from) }

// Cursor returns the place in the journal that SetCursor last kept under a name, of the form of Log.Name; 0 if there is none. It is for sinks, to
// remember what they have delivered.
func (m *Monitor) Cursor(name string) (int64, error) {
	if err := checkName(name); err != nil {
		return 0, err
	}
	m.cursors.Lock()
	defer m.cursors.Unlock()
	data, err := readFile(m.disk, m.file("cursor."+name), 32)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var at int64
	if err == nil {
		at, err = parseInt(strings.TrimSuffix(string(data), "\n"))
	}
	if err != nil {
		return 0, fmt.Errorf("reading the cursor %s of log %q: %w", name, m.log.Name, err)
	}
	return at, nil
}

// SetCursor keeps a place in the journal, durably.
func (m *Monitor) SetCursor(name string, at int64) error {
	if err := checkName(name); err != nil {
		return err
	}
	if at < 0 || at > m.journal.length.Load() {
		return fmt.Errorf("the journal of log %q has no place %d", m.log.Name, at)
	}
	m.cursors.Lock()
	defer m.cursors.Unlock()
	return replaceFile(m.disk, m.file("cursor."+name), strconv.AppendInt(nil, at, 10))
}

// Evidence returns the content of an evidence file (see Alert.Evidence), and where it is.
func (m *Monitor) Evidence(name string) (content []byte, path string, err error) {
	if !isEvidenceName(name) || !strings.HasPrefix(name, m.log.Name+".") {
		return nil, "", fmt.Errorf("%q is not the name of an evidence file of log %q", clip(name), m.log.Name)
	}
	content, err = readFile(m.disk, name, MaxEvidence)
	return content, filepath.Join(m.opts.Dir, name), err
}

// Status returns the state of the watch: as of the last thing that was made durable, and of now where it says so.
func (m *Monitor) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, out := m.state, m.status
	out.Raised, out.Matches = maps.Clone(out.Raised), maps.Clone(out.Matches)
	for i := range s.trees {
		t := &s.trees[i]
		out.Trees = append(out.Trees, TreeStatus{Origin: t.head.Origin, ID: t.id, Active: !t.closed, Base: s.base(i), Head: t.head.Head,
			Checkpoint: bytes.Clone(t.signed), Read: t.read.size, From: t.from})
	}
	out.Grown, out.Pending, out.Journal = s.grown, s.pending(), m.journal.length.Load()
	if !s.behind.IsZero() {
		out.Behind = max(0, m.opts.Now().Sub(s.behind))
	}
	for _, a := range s.active {
		out.Active = append(out.Active, a.Alarm)
	}
	for i := range m.log.Receipts {
		if _, ok := slices.BinarySearch(s.kept, m.log.Receipts[i].id()); ok {
			out.ReceiptsKept++
		}
	}
	return out
}

// Report is what one round did.
type Report struct {
	// Entries is how many were read and verified.
	Entries int64
	// Matches and Alarms are how many alerts of these sorts were raised; not those that end an alarm.
	Matches, Alarms int
	// More: there is more to read. Call Round again at once.
	More bool
	// Trouble is why the round did not get to its end: what the log did, or that it could not be asked; nil
	// otherwise. What the log did is an alarm; not to be asked becomes one after Log.MaxUnreachable. Alarms
	// that are not over are in Status.Active.
	Trouble error
}

// Round does what has to be done now: see the package's description. An error is one of this machine (state and journal
// cannot be written) or of ctx. Nothing is lost by it: the next Round, or the next Monitor, goes on from
// what was last made durable.
func (m *Monitor) Round(ctx context.Context) (Report, error) {
	m.turn.Lock()
	defer m.turn.Unlock()
	if m.broken {
		if err := m.load(); err != nil {
			return Report{}, err
		}
	}
	r := &round{Monitor: m, s: m.state.clone()}
	err := r.run(ctx)
	if ctx.Err() != nil {
		return r.report, ctx.Err()
	}
	var t *trouble
	if err != nil && !errors.As(err, &t) {
		return r.report, err
	}
	if err := r.finish(t); err != nil {
		return r.report, err
	}
	return r.report, nil
}
