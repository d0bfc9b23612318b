package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// maxHeader bounds the header of a request, in bytes.
const maxHeader = 64 << 10

// endpoint is one address that is served.
type endpoint struct {
	net.Listener
	name   string
	server *http.Server
}

// endpoints are all addresses of one server.
type endpoints struct {
	settings *serveSettings
	logger   *slog.Logger
	open     []net.Listener
	all      []endpoint
}

// listen takes an address; name is the setting that it comes from.
func (e *endpoints) listen(name, address string) (endpoint, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return endpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	e.open = append(e.open, l)
	return endpoint{Listener: l, name: name}, nil
}

// add says what answers requests at an address, with TLS if there is a certificate.
func (e *endpoints) add(p endpoint, handler http.Handler, cert *certificate) {
	s := e.settings
	p.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: s.ReadHeaderTimeout,
		ReadTimeout:       s.ReadHeaderTimeout + s.BodyTimeout,
		WriteTimeout:      s.WriteTimeout,
		IdleTimeout:       s.IdleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(e.logger.Handler(), slog.LevelDebug),
	}
	if cert != nil {
		p.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}
	}
	e.all = append(e.all, p)
}

// close frees the addresses. serve has done so already if it was called.
func (e *endpoints) close() error {
	for _, l := range e.open {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}

// serve answers requests until ctx ends or a listener fails. Then it takes no more
// of them and waits until those under way have been answered, for at most the
// shutdown timeout.
func (e *endpoints) serve(ctx context.Context) error {
	failed := make(chan error, len(e.all))
	for _, p := range e.all {
		go func() { failed <- p.serve() }()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		e.logger.Info("stopping: requests under way are answered first", "timeout", e.settings.ShutdownTimeout)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.settings.ShutdownTimeout)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, len(e.all))
	for i, p := range e.all {
		all.Go(func() { errs[i] = p.stop(ctx) })
	}
	all.Wait()
	return errors.Join(append(errs, err)...)
}

func (p endpoint) serve() error {
	var err error
	if p.server.TLSConfig != nil {
		err = p.server.ServeTLS(p.Listener, "", "")
	} else {
		err = p.server.Serve(p.Listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

func (p endpoint) stop(ctx context.Context) error {
	if err := p.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s: requests were still under way at the end of --shutdown-timeout: %w", p.name, err), p.server.Close())
	}
	return nil
}

// certificate is a TLS certificate that follows its files: one that was renewed is
// used from the next connection on.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu    sync.Mutex
	cert  *tls.Certificate
	stamp stamp
}

// stamp tells whether the files changed.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

func newCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	return c, c.load()
}

// get returns the certificate for a connection. If the files changed and cannot be
// used (half written, say), the one before them stays.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := c.look()
	if err != nil {
		now = stamp{} // so that one complaint is made, not one a connection
	}
	if now != c.stamp {
		c.stamp = now
		c.reload()
	}
	return c.cert, nil
}

// again reads the files again, changed or not.
func (c *certificate) again() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reload()
}

// reload is called with mu held.
func (c *certificate) reload() {
	if err := c.load(); err != nil {
		c.logger.Error("the TLS certificate cannot be read again; the one before it stays in use", "error", err)
		return
	}
	c.logger.Info("the TLS certificate was read again", "file", c.certFile)
}

func (c *certificate) load() error {
	now, err := c.look()
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	c.stamp = now // before reading: a change since then is seen next time
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.cert = &cert
	return nil
}

func (c *certificate) look() (stamp, error) {
	cert, err := os.Stat(c.certFile)
	if err != nil {
		return stamp{}, err
	}
	key, err := os.Stat(c.keyFile)
	if err != nil {
		return stamp{}, err
	}
	return stamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}
