// Loadtest puts load on a tallystick that it starts itself, on SQLite and on
// PostgreSQL, and prints what it measured as a Markdown table.
//
//	go run ./loadtest -program ./tallystick
//
// Writers send hashedrekord entries, each about another artifact and signed before
// anything is measured. Readers ask for entries by index and by ID, and verify a
// share of the answers in full; one wrong answer fails the run. The generator runs
// on the server's machine, so its own CPU time is reported too.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settings are what can be chosen on the command line.
type settings struct {
	program  string
	file     string
	keys     int
	writers  int
	readers  int
	entries  int
	rate     float64
	time     time.Duration
	every    int
	postgres []string
	storages []string
	scale    bool
	audit    bool
	small    int
	large    int
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	flags.StringVar(&s.program, "program", "./tallystick", "the tallystick program")
	flags.StringVar(&s.file, "report", "", "also write the report to this `file`")
	flags.IntVar(&s.keys, "keys", 16, "keys that sign the artifacts")
	flags.IntVar(&s.writers, "writers", 64, "concurrent writers")
	flags.IntVar(&s.readers, "readers", 64, "concurrent readers")
	flags.IntVar(&s.entries, "entries", 100_000, "entries that the many writers log, at most")
	flags.Float64Var(&s.rate, "rate", 1000, "entries a second in the open loop")
	flags.DurationVar(&s.time, "time", 10*time.Second, "length of a phase; the many writers get up to nine times as long for their entries")
	flags.IntVar(&s.every, "verify-every", 16, "verify one answer of so many, of each client")
	postgres := flags.String("postgres", "shared_buffers=512MB,max_wal_size=4GB", "settings of PostgreSQL, separated by commas")
	storages := flags.String("storage", "sqlite,postgres", "what to measure: sqlite, postgres or both")
	flags.BoolVar(&s.scale, "scale", false, "instead, compare a small log with a large one")
	flags.BoolVar(&s.audit, "audit", false, "instead, have a monitor read a small log and a large one")
	flags.IntVar(&s.small, "small", 10_000, "entries of the small log")
	flags.IntVar(&s.large, "large", 2_000_000, "entries of the large log")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *postgres != "" {
		s.postgres = strings.Split(*postgres, ",")
	}
	s.storages = strings.Split(*storages, ",")
	for _, name := range s.storages {
		if name != "sqlite" && name != "postgres" {
			return nil, fmt.Errorf("-storage %q: only sqlite and postgres can be measured", name)
		}
	}
	if flags.NArg() > 0 || min(s.keys, s.writers, s.readers, s.entries, s.every, s.small, s.large) < 1 || s.rate <= 0 || s.time <= 0 {
		return nil, fmt.Errorf("loadtest takes flags only, and all numbers must be more than 0")
	}
	program, err := filepath.Abs(s.program)
	s.program = program
	return s, err
}

func main() {
	s, err := parse(os.Args[1:])
	if err != nil {
		if err == flag.ErrHelp {
			return
		}
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(2)
	}
	if err := s.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

func (s *settings) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tallystick-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &report{}
	switch {
	case s.scale:
		err = s.runScale(ctx, dir, r)
	case s.audit:
		err = s.runAudit(ctx, dir, r)
	default:
		err = s.runLoad(ctx, dir, r)
	}
	if err != nil {
		return err
	}
	return r.write(s.file)
}

// progress tells people what they wait for.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "loadtest: "+format+"\n", args...)
}

// runLoad measures every storage.
func (s *settings) runLoad(ctx context.Context, dir string, r *report) error {
	progress("measuring bare signatures")
	bare, err := bareSignatures(4000)
	if err != nil {
		return err
	}
	r.line("# Load test")
	r.line("")
	r.machine(s.postgres)
	r.line("- Entries: hashedrekord 0.0.1, P-256, %d keys, each entry another artifact, signed beforehand. One answer of %d was verified in full (entry ID, SET, inclusion proof, checkpoint).", s.keys, s.every)
	r.line("- Bare cost of one P-256 verification and one signature, with all processors busy: %s.", microseconds(bare))
	r.phaseTable()
	facts := &report{}
	facts.table("Storage", "Entries", "Bytes an entry on disk", "Peak memory of the server, MiB", "Server CPU an entry", "÷ bare signatures", "Bare COPY, entries/s", "Throughput ÷ bare COPY")
	for _, storage := range s.storages {
		if err := s.measure(ctx, storage, filepath.Join(dir, storage), bare, r, facts); err != nil {
			return fmt.Errorf("%s: %w", storage, err)
		}
	}
	r.text.WriteString(facts.text.String())
	r.line("")
	r.line("Server CPU an entry, batch size for the bare COPY, and throughput are those of %d writers in a closed loop. "+
		"The bare COPY writes the same rows into tables with the same indexes, as many entries a transaction as the server committed at once, with nothing else running. "+
		"For SQLite, the database's CPU time is part of the server's.", s.writers)
	return nil
}

// measure runs all phases on one storage.
func (s *settings) measure(ctx context.Context, storage, dir string, bare time.Duration, r, facts *report) error {
	l, t, err := s.newLoad(storage, dir)
	if err != nil {
		return err
	}
	defer t.end()
	empty, err := t.size(ctx)
	if err != nil {
		return err
	}
	phases := []phase{
		{name: "warm-up", writers: s.writers, time: s.time / 5},
		{name: fmt.Sprintf("%d writers", s.writers), writers: s.writers, time: 9 * s.time, entries: s.entries},
		{name: "1 writer", writers: 1, time: s.time / 2},
		{name: fmt.Sprintf("open loop, %.0f/s", s.rate), writers: 2 * s.writers, rate: s.rate, time: s.time},
		{name: fmt.Sprintf("%d readers", s.readers), readers: s.readers, time: s.time},
		{name: fmt.Sprintf("%d writers and %d readers", s.writers/2, s.readers/2), writers: s.writers / 2, readers: s.readers / 2, time: s.time},
	}
	if t.pg != nil { // one server and two, one after the other, with the second one running
		if err := t.startTwin(); err != nil {
			return err
		}
		l.twin = t.twin.address
		for range 2 {
			phases = append(phases,
				phase{name: fmt.Sprintf("%d writers, again", s.writers), writers: s.writers, time: s.time / 2},
				phase{name: fmt.Sprintf("%d writers on 2 servers", s.writers), writers: s.writers, time: s.time / 2, twin: true})
		}
	}
	var many *outcome
	for i, p := range phases {
		progress("%s: signing artifacts for: %s", storage, p.name)
		if err := l.corpus.supply(s.needed(p)); err != nil {
			return err
		}
		progress("%s: %s, up to %v", storage, p.name, p.time)
		o, err := l.run(p)
		if err != nil {
			return err
		}
		if i > 0 {
			r.phase(storage, o)
		}
		if i == 1 {
			many = o
		}
	}
	return s.facts(ctx, storage, l, t, empty, many, bare, facts)
}

// fastest is how many entries a second are signed for a phase without a number of
// its own: more than any machine will log.
const fastest = 12_000

// needed returns how many entries a phase may send.
func (s *settings) needed(p phase) int {
	switch {
	case p.writers == 0:
		return 0
	case p.entries > 0:
		return p.entries + p.writers
	case p.rate > 0:
		return int(p.rate*p.time.Seconds()*1.2) + 1000
	case p.writers == 1:
		return int(1000 * p.time.Seconds())
	}
	return int(fastest * p.time.Seconds())
}

// newLoad starts a server on an empty log, for the caller to end.
func (s *settings) newLoad(storage, dir string) (l *load, t *target, err error) {
	var pg *database
	if storage == "postgres" {
		if pg, err = startDatabase(s.postgres...); err != nil {
			return nil, nil, err
		}
	}
	t = &target{program: s.program, dir: dir, pg: pg}
	defer func() {
		if err != nil {
			t.end()
		}
	}()
	if err := t.start(); err != nil {
		return nil, nil, err
	}
	key, err := t.get("/api/v1/log/publicKey")
	if err != nil {
		return nil, nil, err
	}
	auditor, err := newAuditor(key)
	if err != nil {
		return nil, nil, err
	}
	corpus, err := newCorpus(s.keys)
	return &load{address: t.address, observe: t.observe, auditor: auditor, corpus: corpus, every: s.every}, t, err
}

// facts adds what is true of a whole log after load.
func (s *settings) facts(ctx context.Context, storage string, l *load, t *target, empty int64, many *outcome, bare time.Duration, facts *report) error {
	entries := len(l.logged.ids)
	memory, err := peakMemory(t.process.Process.Pid)
	if err != nil {
		return err
	}
	if err := t.stop(); err != nil {
		return err
	}
	size, err := t.size(ctx)
	if err != nil {
		return err
	}
	each := many.cpu.server / time.Duration(len(many.writes.latencies))
	copied, share := "–", "–"
	if t.pg != nil {
		progress("%s: bare COPY", storage)
		batch := max(1, int(many.inAll/many.batches+0.5))
		rate, err := bareCopy(ctx, t.pg.url, 60_000, batch, s.time)
		if err != nil {
			return err
		}
		copied = fmt.Sprintf("%.0f (batches of %d)", rate, batch)
		share = fmt.Sprintf("%.0f %%", 100*float64(len(many.writes.latencies))/many.took.Seconds()/rate)
	}
	facts.row(storage, fmt.Sprint(entries), fmt.Sprintf("%.0f", float64(size-empty)/float64(entries)), fmt.Sprintf("%.0f", float64(memory)/(1<<20)),
		microseconds(each), fmt.Sprintf("%.2f", float64(each)/float64(bare)), copied, share)
	return nil
}
