package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sequencer"
	"github.com/tallystick/tallystick/server"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/trust"
	"github.com/tallystick/tallystick/verify"
)

// serveCmd runs a server.
type serveCmd struct {
	serveSettings
	PrintConfig bool `name:"print-config" help:"Print the settings that are in force, as a configuration file with secrets masked, and end."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, p *program, src *sources, parsed *kong.Context) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	if c.PrintConfig {
		return printSettings(p.Stdout, parsed.Selected().Flags)
	}
	parser, err := c.parser()
	if err != nil {
		return usageError{err}
	}
	tuneGC(p.Env)
	s := &service{settings: &c.serveSettings, program: p, logger: c.logger(p.Stderr), parser: parser, registry: prometheus.NewRegistry()}
	defer s.close()
	if err := s.start(ctx, src); err != nil {
		return err
	}
	s.greet()
	return s.run(ctx)
}

// gcPercent lets the heap grow to three times what is alive before the garbage
// collector runs, instead of twice (the default of 100). A server keeps little alive
// (tens of MB, most of it cached tiles) and makes much short-lived garbage for each
// upload, so that the collector takes a noticeable part of the CPU under load: with
// 400, 11 % less CPU was measured. 200 has a good part of that and costs no more
// memory than what is alive.
const gcPercent = 200

// tuneGC sets that for the process, unless GOGC is set. GOMEMLIMIT works as ever.
func tuneGC(env map[string]string) {
	if env["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
}

func (s *serveSettings) parser() (*entry.Parser, error) {
	parser, err := entry.New(entry.Options{Kinds: s.AllowKinds, MaxAttestation: int(s.MaxAttestation)})
	if err != nil {
		return nil, fmt.Errorf("--allow-kinds: %w", err)
	}
	return parser, nil
}

// service is a running server: what start opened, and close closes, newest first.
type service struct {
	settings *serveSettings
	program  *program
	logger   *slog.Logger
	parser   *entry.Parser
	registry *prometheus.Registry

	where     place
	scratch   string // for a log in memory: a directory that ends with it
	identity  logIdentity
	log       *sequencer.Log
	cert      *certificate
	endpoints endpoints
	public    endpoint
	private   endpoint // for metrics; without a listener if they are served on public
	url       string
	trust     verify.Material // the authorities beside the log
	signing   []byte          // the signing config
	rules     *rulesFile      // of the monitor; nil if there is none
	watch     *watch          // the monitor; nil if there is none
	tuf       fs.FS           // the TUF repository; nil if there is none
	unguarded int64           // size of the tree at a start that found no high-water mark; else 0

	closers []func()
}

func (s *service) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// later registers what close does.
func (s *service) later(what string, f func() error) {
	s.closers = append(s.closers, func() {
		if err := f(); err != nil {
			s.logger.Error("stopping: "+what, "error", err)
		}
	})
}

// start brings everything up, in an order in which each step can still be refused
// without harm: nothing is made before the settings were found good and the
// addresses are taken, and nothing is signed before data directory, storage, key and
// high-water mark were found to belong together. Clients that connect meanwhile wait.
func (s *service) start(ctx context.Context, src *sources) error {
	ctx, cancel := context.WithTimeout(ctx, s.settings.StartTimeout)
	defer cancel()
	var err error
	if s.where, err = s.settings.place(); err != nil {
		return err
	}
	if s.settings.TLSCert != "" {
		if s.cert, err = newCertificate(s.settings.TLSCert, s.settings.TLSKey, s.logger); err != nil {
			return err
		}
	}
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.openMaterial(); err != nil {
		return err
	}
	if s.settings.Monitor != "" {
		if s.rules, err = s.program.readOwnRules(s.settings.Monitor); err != nil {
			return err
		}
	}
	mark, err := s.openDataDir()
	if err != nil {
		return err
	}
	store, err := s.where.open(ctx)
	if err != nil {
		return err
	}
	s.later("closing the storage", store.Close)
	if s.identity, err = s.identify(ctx, src, store, mark); err != nil {
		return err
	}
	if err := s.openLog(ctx, store, mark); err != nil {
		return err
	}
	if err := s.openMonitor(); err != nil {
		return err
	}
	return s.answer(ctx, store)
}

// openMaterial reads the trust material beside the log's.
func (s *service) openMaterial() (err error) {
	if s.trust, err = s.settings.authorities(); err != nil {
		return err
	}
	if _, err := trust.Root(s.trust); err != nil { // the log comes later, and will not be to blame
		return fmt.Errorf("making the trusted root: %v", err)
	}
	if s.signing, err = s.settings.signingConfig(strings.TrimSuffix(s.url, "/")); err != nil {
		return usageError{err}
	}
	if s.settings.TUFDir == "" {
		return nil
	}
	s.tuf, err = openTUF(s.settings.TUFDir)
	return err
}

// trustedRoot returns the trusted root with all trees of the log.
func (s *service) trustedRoot(ctx context.Context, store storage.Store) ([]byte, error) {
	trees, err := store.Trees(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the trees of the log in %s: %w", s.where, err)
	}
	if s.trust.Logs, err = treeLogs(trees, strings.TrimSuffix(s.url, "/")); err != nil {
		return nil, err
	}
	root, err := trust.Root(s.trust)
	if err != nil {
		return nil, fmt.Errorf("making the trusted root: %v", err)
	}
	return root, nil
}

// openDataDir makes the data directory and takes the high-water mark in it, which
// is locked as long as the server runs.
func (s *service) openDataDir() (*sequencer.Mark, error) {
	if err := os.MkdirAll(s.settings.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	path := s.settings.markPath()
	if s.where.backend == backendMemory {
		if err := s.makeScratch(); err != nil {
			return nil, err
		}
		path = filepath.Join(s.scratch, "log.mark")
	} else {
		s.warnOpen("the data directory", s.settings.DataDir, "chmod 700")
	}
	mark, err := sequencer.OpenMark(path)
	if err != nil {
		return nil, err
	}
	s.later("closing the high-water mark", mark.Close)
	return mark, nil
}

// makeScratch makes the directory for the mark and the key of a log in memory. Such a
// log and one that is kept must not have the same key, whichever comes first: what
// is signed for the one would pass for entries of the other. So a key that is made
// for it ends with it, and a data directory of a log that is kept is refused.
func (s *service) makeScratch() error {
	for _, kept := range []string{s.settings.markPath(), s.settings.defaultKeyPath()} {
		if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the data directory %s is one of a log that is kept (it has %s), so it cannot be used for a log in memory; name another with --data-dir", s.settings.DataDir, kept)
		}
	}
	dir, err := os.MkdirTemp("", "tallystick-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	s.later("removing the temporary directory", func() error { return os.RemoveAll(dir) })
	s.scratch = dir
	return nil
}

// keyPath returns where the key is that serve makes.
func (s *service) keyPath() string {
	if s.scratch != "" {
		return filepath.Join(s.scratch, "log.key")
	}
	return s.settings.defaultKeyPath()
}

// identify finds or makes the log, and puts its public key where people look for it.
func (s *service) identify(ctx context.Context, src *sources, store storage.Store, mark *sequencer.Mark) (logIdentity, error) {
	set := s.settings
	host, guessed, err := hostOf(set.PublicURL, set.Listen)
	if err != nil {
		return logIdentity{}, usageError{err}
	}
	i := identity{
		store: store, where: s.where.String(), record: mark.Load, markPath: set.markPath(),
		keyRef: set.Key, keyPath: s.keyPath(), password: set.password(src),
		host: host, guessed: guessed, publicURL: set.PublicURL, now: time.Now,
	}
	log, err := i.open(ctx)
	if err != nil {
		return logIdentity{}, err
	}
	s.warnOpen("the log's key", i.keyName(), "chmod 600")
	return log, log.key.WritePublic(set.publicKeyPath())
}

// warnOpen says if other users of the machine than the server's can reach a file or
// directory: those of its group, or all.
func (s *service) warnOpen(what, path, remedy string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.logger.Warn("other users of this machine can reach "+what+"; "+remedy+" it", "path", path, "mode", info.Mode().Perm().String())
	}
}

func (s *service) openLog(ctx context.Context, store storage.Store, mark *sequencer.Mark) error {
	tree, key := s.identity.tree, s.identity.key
	host, _, err := tlog.SplitOriginV1(tree.Origin)
	if err != nil {
		return err
	}
	_, guarded, err := mark.Load() // before the log is opened, which sets it
	if err != nil {
		return err
	}
	metrics := newLogMetrics(s.registry)
	s.log, err = sequencer.Open(ctx, sequencer.Config{
		Store: store, Tree: tree, Signer: key, Guard: mark,
		Verifier: tlog.NewECDSAVerifier(host, key.SPKI(), key.PublicKey()),
		Limits:   sequencer.Limits{QueueEntries: s.settings.QueueLimit},
		Logger:   s.logger,
		OnCommit: metrics.committed,
	})
	if err != nil {
		return fmt.Errorf("opening the log %q: %w", tree.Origin, err)
	}
	if size := s.log.Stats().Size; !guarded && size > 0 {
		s.unguarded = size
		s.logger.Warn("there was no high-water mark: whether the database is an old copy cannot be told; from now on the mark protects the log from its present size on",
			"mark", s.settings.markPath(), "size", size)
	}
	metrics.watch(s.registry, s.log, time.Now)
	s.later("closing the log", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), s.settings.ShutdownTimeout)
		defer cancel()
		return s.log.Close(ctx)
	})
	return nil
}

// listen takes the addresses. Requests are answered once run is called.
func (s *service) listen() (err error) {
	set := s.settings
	s.endpoints = endpoints{settings: set, logger: s.logger}
	s.later("closing the listeners", s.endpoints.close)
	if s.public, err = s.endpoints.listen("--listen", set.Listen); err != nil {
		return err
	}
	s.url = set.url(s.public.Addr())
	if set.MetricsListen != "" {
		s.private, err = s.endpoints.listen("--metrics-listen", set.MetricsListen)
	}
	return err
}

// answer says what answers at the addresses.
func (s *service) answer(ctx context.Context, store storage.Store) error {
	set := s.settings
	root, err := s.trustedRoot(ctx, store)
	if err != nil {
		return err
	}
	config := server.Config{
		Logs: []server.Log{s.log}, Search: store, Parser: s.parser,
		TrustedRoot: root, SigningConfig: s.signing, TUF: s.tuf,
		ConflictOnDuplicate: set.V1Duplicates == "conflict",
		MaxBody:             int64(set.MaxBody),
		MaxAttestation:      int(set.MaxAttestation),
		MaxResults:          set.MaxSearchResults,
		Timeout:             set.RequestTimeout,
		BodyTimeout:         set.BodyTimeout,
		PublicURL:           s.url,
		Version:             version(),
		Logger:              s.logger,
		Registry:            s.registry,
		HideMetrics:         set.MetricsListen != "",
	}
	if s.watch != nil {
		config.Monitor = s.watch
	}
	api, err := server.New(config)
	if err != nil {
		return err
	}
	s.endpoints.add(s.public, api, s.cert)
	if s.private.Listener == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", api.Metrics())
	s.endpoints.add(s.private, mux, nil)
	s.logger.Info("metrics are served", "url", "http://"+s.private.Addr().String()+"/metrics")
	return nil
}

// url returns the URL to show: the public one, else that of the listener.
func (s *serveSettings) url(a net.Addr) string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	scheme := "http"
	if s.TLSCert != "" {
		scheme = "https"
	}
	address := a.String()
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		address = fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return scheme + "://" + address
}

// run answers requests until ctx ends. Whatever was accepted by then is answered.
func (s *service) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { s.followHangup(ctx) })
	if s.watch != nil {
		all.Go(func() { s.watch.run(ctx) })
	}
	return s.endpoints.serve(ctx)
}

// followHangup reads the TLS certificate again at every SIGHUP.
func (s *service) followHangup(ctx context.Context) {
	for {
		select {
		case <-s.program.Hangup:
			if s.cert != nil {
				s.cert.again()
			}
		case <-ctx.Done():
			return
		}
	}
}
