package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/monitor"
	"github.com/tallystick/tallystick/monitor/notify"
)

// rulesFile is what a rules file says.
type rulesFile struct {
	*monitor.Config
	sinks []notify.Sink
	http  *http.Client // of the sinks; nil if there are none
}

// readRules reads a rules file. Paths in it are relative to its directory. own is the name of a log that need not be in the file; "" for none.
func (p *program) readRules(path, own string) (*rulesFile, error) {
	read := func(name string, limit int64) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(path), name)
		}
		return readLimited(name, limit)
	}
	data, err := readLimited(path, monitor.MaxRulesFile)
	if err != nil {
		return nil, fmt.Errorf("the rules: %w", err)
	}
	web := p.httpClient()
	sinks := notify.Reader{Read: read, Env: func(name string) string { return p.Env[name] }, HTTP: web, UserAgent: userAgent()}
	config, err := monitor.ParseRules(data, monitor.ParseOptions{Read: read, Own: own, Fields: sinks.Fields()})
	if err != nil {
		var file *fs.PathError
		said := fmt.Errorf("the rules %s: %v", path, err) // nothing was judged yet: see refused
		if errors.As(err, &file) {
			return nil, said
		}
		return nil, usageError{said}
	}
	return &rulesFile{config, sinks.Sinks, web}, nil
}

func userAgent() string { return "tallystick/" + version() }

// watch is logs that are watched.
type watch struct {
	logger   *slog.Logger
	interval time.Duration
	// gentle: between rounds that follow one another at once, as while a long log is read for the first time, rest
	// as long as the last one took.
	gentle bool
	rules  *rulesFile
	logs   []*watched
}

// watched is a log that is watched, and those who take its alerts away.
type watched struct {
	*monitor.Monitor
	name     string
	logger   *slog.Logger
	couriers []*notify.Courier
	failure  atomic.Pointer[error] // of this machine, at the last round; nil if there was none
	trouble  string                // what was said last of the log
	complete bool                  // that all was read was said
}

// open begins to watch a log. Alerts go where the rules say, and to one sink more.
func (w *watch) open(log monitor.Log, o monitor.Options, more notify.Sink) error {
	o.Rules = w.rules.Rules
	m, err := monitor.Open(log, o)
	if err != nil {
		return fmt.Errorf("%v", err) // nothing was judged yet: see refused
	}
	l := &watched{Monitor: m, name: log.Name, logger: w.logger.With("log", log.Name)}
	w.logs = append(w.logs, l)
	for _, s := range append(slices.Clone(w.rules.sinks), more) {
		c, err := notify.NewCourier(m, s, notify.Options{Logger: w.logger})
		if err != nil {
			return err
		}
		l.couriers = append(l.couriers, c)
	}
	return nil
}

// metrics returns the metrics of all.
func (w *watch) metrics() *notify.Metrics {
	var all []notify.Watched
	for _, l := range w.logs {
		all = append(all, notify.Watched{Queue: l.Monitor, Couriers: l.couriers})
	}
	return notify.NewMetrics(all)
}

// close ends the watch, which does not run any more.
func (w *watch) close() error {
	var err error
	if w.rules.http != nil {
		w.rules.http.CloseIdleConnections()
	}
	for _, l := range w.logs {
		err = errors.Join(err, l.Close())
	}
	return err
}

// run watches, and delivers, until ctx ends.
func (w *watch) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range w.logs {
		all.Go(func() { w.follow(ctx, l) })
		for _, c := range l.couriers {
			all.Go(func() { c.Run(ctx) })
		}
	}
	all.Wait()
}

// follow watches one log.
func (w *watch) follow(ctx context.Context, l *watched) {
	for {
		start := time.Now()
		report, err := l.round(ctx)
		wait := w.interval
		if err == nil && report.More && report.Trouble == nil {
			wait = 0
			if w.gentle {
				wait = min(w.interval, time.Since(start))
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// round does a round, tells of it, and has what was found delivered.
func (l *watched) round(ctx context.Context) (monitor.Report, error) {
	report, err := l.Round(ctx)
	for _, c := range l.couriers {
		c.Wake()
	}
	if ctx.Err() != nil {
		return report, err
	}
	l.failure.Store(nil)
	if err != nil {
		l.failure.Store(&err)
		l.logger.Error("what was found cannot be kept; it will be found again", "error", err)
		return report, err
	}
	l.tell(report)
	return report, nil
}

// tell writes what is new to the program's log.
func (l *watched) tell(r monitor.Report) {
	l.logger.Debug("a round ended", "entries", r.Entries, "matches", r.Matches, "alarms", r.Alarms, "more", r.More)
	switch {
	case r.Trouble != nil:
		l.complete = false
		if text := clean(r.Trouble.Error()); text != l.trouble {
			l.trouble = text
			l.logger.Warn("the log is not in order, or cannot be asked", "reason", text)
		}
	case r.More:
	case !l.complete:
		l.complete, l.trouble = true, ""
		s := l.Status()
		size := int64(0)
		for i := range s.Trees {
			size += s.Trees[i].Head.Size
		}
		l.logger.Info("everything that there is was read", "size", size, "alarms", len(s.Active))
	}
}

// once does rounds until everything is read that there is. An error says why that was not to be.
func (l *watched) once(ctx context.Context) error {
	for {
		report, err := l.round(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("log %s: %w", l.name, err)
		case report.Trouble != nil:
			return fmt.Errorf("log %s: %v", l.name, report.Trouble) // not a refusal (see refused): it may be an alarm, which is looked at elsewhere
		case !report.More:
			return nil
		}
	}
}

// flush delivers all alerts that there are.
func (l *watched) flush(ctx context.Context) error {
	errs := make([]error, len(l.couriers))
	var all sync.WaitGroup
	for i, c := range l.couriers {
		all.Go(func() {
			if err := c.Flush(ctx); err != nil {
				errs[i] = fmt.Errorf("log %s: alerts were not delivered to %s: %w", l.name, c.Stats().Sink, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
