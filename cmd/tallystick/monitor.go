package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/monitor"
)

// monitorCmd watches logs.
type monitorCmd struct {
	Rules          string        `arg:"" optional:"" name:"rules" help:"The rules (YAML): which logs to watch, what to look for in them, and whom to tell. Without it, the log at --rekor is watched."`
	Once           bool          `name:"once" help:"Read what there is, and end; the exit code says what was found. For CI and cron."`
	Check          bool          `name:"check" help:"Read the rules and the files that they name, say what they are, and end."`
	RekorURL       string        `name:"rekor-url" aliases:"rekor" default:"http://127.0.0.1:3000" group:"trust" help:"URL of the one log to watch, if there are no rules (also --rekor)."`
	LogURL         string        `name:"log-url" placeholder:"URL" group:"trust" help:"URL of the log in the trusted root, if that has several logs and none at --rekor-url."`
	StartAt        string        `name:"start-at" default:"first" enum:"first,now" help:"Without rules: which entries to read. first (all) or now (those that come from now on; the tree is watched all the same)."`
	State          string        `name:"state" placeholder:"DIR" group:"storage" help:"Directory for what was verified, the journal of alerts, and evidence (default: tallystick/monitor in the user's configuration). Made if missing."`
	Interval       time.Duration `name:"interval" default:"1m" group:"timeouts" help:"How long to wait between rounds when everything is read."`
	MaxSilence     time.Duration `name:"max-silence" group:"timeouts" help:"Without rules: raise an alarm if the log does not grow for so long. 0: never."`
	DeliverTimeout time.Duration `name:"deliver-timeout" default:"1m" group:"timeouts" help:"With --once: how long delivering the alerts may take. What is left is delivered by the next run."`
	MetricsListen  string        `name:"metrics-listen" placeholder:"ADDRESS" group:"network" help:"Serve /metrics and /healthz on this address and port, without TLS (not with --once)."`
	LogFormat      string        `name:"log-format" default:"text" enum:"text,json" group:"output" help:"Form of log lines: text or json."`
	LogLevel       string        `name:"log-level" default:"info" enum:"debug,info,warn,error" group:"output" help:"Least important log lines: debug, info, warn or error."`
	trustFlags
}

// Help is the long help.
func (*monitorCmd) Help() string {
	return `It watches logs of the Rekor v1 API: every checkpoint has to be signed by the key that is believed and to extend what was verified before; every entry is read, has to be what the log signed, and is held against the rules. What is found, entries that rules ask for and alarms about the log, is printed to standard output, one JSON object a line, and delivered to the webhooks and mail addresses in the rules. Each alert is delivered at least once, with the same ID each time. What a log signed and should not have is kept in an evidence file that anybody can verify: tallystick verify evidence FILE.

Killed at any moment, it goes on where it was. The rules are read at the start: after a change, start it again; new rules hold for entries that were not read yet. Two monitors cannot use one --state for one log.

With --once, exit code 0: everything was read, and there is nothing to tell. 3: a rule's entry was found, an alarm began, or one that began earlier is not over. 1: a log could not be read to its end, or alerts not delivered, and nothing was found. 2: the flags or the rules make no sense.`
}

// errAlerts says that the monitor found something, which it has printed.
var errAlerts = errors.New("there are alerts")

// ofOneLog are the flags that have no effect with rules.
func ofOneLog() []string {
	return []string{"rekor-url", "log-url", "trusted-root", "log-key", "start-at", "max-silence"}
}

// check finds what a single flag cannot show.
func (c *monitorCmd) check(parsed *kong.Context) error {
	if c.Rules != "" {
		for _, p := range parsed.Path {
			// What is exported for other commands is not in the way.
			if p.Flag != nil && !p.Resolved && slices.Contains(ofOneLog(), p.Flag.Name) {
				return fmt.Errorf("--%s is for one log without rules; with rules, it stands in them", p.Flag.Name)
			}
		}
	}
	for name, d := range map[string]time.Duration{"interval": c.Interval, "deliver-timeout": c.DeliverTimeout} {
		if d <= 0 {
			return fmt.Errorf("--%s must be more than 0", name)
		}
	}
	if c.MaxSilence < 0 {
		return errors.New("--max-silence is less than 0")
	}
	return nil
}

// Run watches until ctx ends or, with --once, everything is read.
func (c *monitorCmd) Run(ctx context.Context, p *program, parsed *kong.Context) (err error) {
	if err := c.check(parsed); err != nil {
		return usageError{err}
	}
	rules, err := c.rules(p)
	if err != nil {
		return err
	}
	if c.Check {
		return c.describe(p, rules)
	}
	dir, err := c.dir(p)
	if err != nil {
		return err
	}
	tuneGC(p.Env)
	common := c.settings()
	w := &watch{logger: common.logger(p.Stderr), interval: c.Interval, rules: rules}
	defer func() { err = errors.Join(err, w.close()) }()
	web := p.httpClient()
	defer web.CloseIdleConnections()
	lines := &lineSink{w: p.Stdout}
	for _, log := range rules.Logs {
		if err := w.open(log, monitor.Options{Dir: dir, HTTP: web, UserAgent: userAgent()}, lines); err != nil {
			return err
		}
	}
	if c.Once {
		return c.once(ctx, w, lines)
	}
	w.logger.Info("watching", "logs", len(w.logs), "rules", rules.count(), "state", dir)
	return c.serve(ctx, w, common)
}

// rules returns what to do: what the file says or, without one, to watch one log.
func (c *monitorCmd) rules(p *program) (*rulesFile, error) {
	if c.Rules != "" {
		return p.readRules(c.Rules, "")
	}
	trust, err := c.load()
	if err != nil {
		return nil, err
	}
	if _, err := client.NewRaw(c.RekorURL, client.Options{}); err != nil {
		return nil, usageError{fmt.Errorf("--rekor-url: %w", err)}
	}
	if trust, err = client.Narrow(trust, c.RekorURL, c.LogURL); err != nil {
		return nil, usageError{fmt.Errorf("%v (--log-url says which of several trusted logs is meant)", err)}
	}
	return &rulesFile{Config: &monitor.Config{Logs: []monitor.Log{{
		Name: logName(c.RekorURL), URL: c.RekorURL, Trust: trust, FromNow: c.StartAt == "now", MaxSilence: c.MaxSilence,
	}}}}, nil
}

// logName returns what a log is called that no rules name.
func logName(rekorURL string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, fileName(rekorURL))
	const digest = 13 // with what is before it
	return strings.Trim(name[:min(len(name)-digest, 50)]+name[len(name)-digest:], "-")
}

// count returns how many rules there are.
func (r *rulesFile) count() int {
	if r.Rules == nil {
		return 0
	}
	return r.Rules.Len()
}

// describe prints what the rules are.
func (c *monitorCmd) describe(p *program, rules *rulesFile) error {
	o := p.printer(outputFlags{})
	for i := range rules.Logs {
		l := &rules.Logs[i]
		o.title("log %s", l.Name)
		o.field("url", "%s", redacted(l.URL))
		if len(l.Receipts) > 0 {
			o.field("receipts", "%d", len(l.Receipts))
		}
	}
	if rules.Rules != nil {
		for _, name := range rules.Rules.Names() {
			o.title("rule %s", name)
		}
	}
	for _, s := range rules.sinks {
		o.title("alerts go to %s", s.Name())
	}
	return o.end(nil)
}

// dir returns where the state is kept.
func (c *monitorCmd) dir(p *program) (string, error) {
	if c.State != "" {
		return c.State, nil
	}
	dir := p.configDir()
	if dir == "" {
		return "", usageError{errors.New("there is no directory for the user's configuration ($HOME is not set): say where to keep what is seen of the logs, with --state DIR")}
	}
	return filepath.Join(dir, "monitor"), nil
}

// settings are those that the helpers of serve take.
func (c *monitorCmd) settings() *serveSettings {
	return &serveSettings{
		ReadHeaderTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ShutdownTimeout: 10 * time.Second, LogFormat: c.LogFormat, LogLevel: c.LogLevel,
	}
}

// serve watches until ctx ends, and serves the metrics.
func (c *monitorCmd) serve(ctx context.Context, w *watch, common *serveSettings) error {
	e := endpoints{settings: common, logger: w.logger}
	defer e.close()
	if c.MetricsListen != "" {
		at, err := e.listen("--metrics-listen", c.MetricsListen)
		if err != nil {
			return err
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(w.metrics(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(w.logger.Handler(), slog.LevelError)}))
		mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
		e.add(at, mux, nil)
		w.logger.Info("metrics are served", "url", "http://"+at.Addr().String()+"/metrics")
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	err := e.serve(ctx)
	cancel()
	<-done
	return err
}

// once reads what there is, and delivers what was found.
func (c *monitorCmd) once(ctx context.Context, w *watch, lines *lineSink) error {
	start := time.Now()
	read, delivered := make([]error, len(w.logs)), make([]error, len(w.logs))
	var all sync.WaitGroup
	for i, l := range w.logs {
		all.Go(func() {
			read[i] = l.once(ctx)
			// Also what was found before it went wrong.
			ctx, cancel := context.WithTimeout(ctx, c.DeliverTimeout)
			defer cancel()
			delivered[i] = l.flush(ctx)
		})
	}
	all.Wait()
	undelivered := errors.Join(delivered...)
	found := lines.found > 0
	for _, l := range w.logs {
		for _, a := range l.Status().Active {
			found = true
			if a.Since.Before(start) { // else it was printed just now
				l.logger.Error("an alarm is not over", "kind", string(a.Kind), "since", a.Since.Format(time.RFC3339), "about", clean(a.Text))
			}
		}
	}
	if !found || ctx.Err() != nil {
		return errors.Join(errors.Join(read...), undelivered)
	}
	if undelivered != nil {
		w.logger.Error("the next run tries again", "error", clean(undelivered.Error()))
	}
	return errAlerts
}
