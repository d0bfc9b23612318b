package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/admission"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

// cachedVerdicts is how many verifications an admission server remembers. One takes some KB, of which up to 4 are a predicate (see
// verify.Cache), and with the certificate and the witnesses at most about 16: 32 MiB in all.
const cachedVerdicts = 2048

// policyFile is a policy that follows its file, and the files that it names.
type policyFile struct {
	path    string
	options admission.PolicyOptions
	settle  time.Duration
	wait    func(context.Context, time.Duration)
	current [32]byte // digest of the one in force
	broken  followed
}

// newPolicyFile returns the policy of that file. Paths in it are relative to the file's directory.
func newPolicyFile(path string, settle time.Duration, logger *slog.Logger) *policyFile {
	return &policyFile{path: path, settle: cmp.Or(settle, time.Second), wait: wait, broken: followed{logger: logger}, options: admission.PolicyOptions{
		Read: func(name string, limit int64) ([]byte, error) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(path), name)
			}
			return readLimited(name, limit)
		},
		Verify: verify.Options{Timestamps: timestamp.Verifier{}, Cache: verify.NewCache(cachedVerdicts)},
	}}
}

// maxLooks is how often the policy is looked at, at the start, for it to settle.
const maxLooks = 10

// load reads the policy for the first time.
func (f *policyFile) load(ctx context.Context) (p *admission.Policy, err error) {
	for range maxLooks {
		if p, err = f.settled(ctx); err == nil {
			f.current = p.Digest()
		}
		if !errors.Is(err, errUnsettled) {
			return p, err
		}
	}
	return nil, err
}

var errUnsettled = errors.New("its files are being changed")

// settled reads the policy. One that is not in force has to be the same in two looks: a file that is being written is, up to
// there, often a policy too, and one that demands less.
func (f *policyFile) settled(ctx context.Context) (*admission.Policy, error) {
	first, firstErr := f.read()
	if firstErr == nil && first.Digest() == f.current {
		return first, nil
	}
	if f.wait(ctx, f.settle); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p, err := f.read()
	switch {
	case firstErr != nil && err != nil:
		return nil, err
	case firstErr != nil || err != nil || p.Digest() != first.Digest():
		return nil, errUnsettled
	}
	return p, nil
}

func (f *policyFile) read() (*admission.Policy, error) {
	data, err := readLimited(f.path, admission.MaxPolicy)
	if err != nil {
		return nil, err
	}
	return admission.ParsePolicy(data, f.options)
}

// wait waits until then, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// follow reads the policy again, and hands it to the server if it is another one. One that cannot be read
// changes nothing; one that is being written is for the next time.
func (f *policyFile) follow(ctx context.Context, s *admission.Server) {
	p, err := f.settled(ctx)
	if errors.Is(err, errUnsettled) || ctx.Err() != nil {
		return
	}
	if err != nil {
		if f.broken.complain("the policy cannot be read again; the one before it stays in use", err) {
			s.PolicyBroken()
		}
		return
	}
	if p.Digest() == f.current && f.broken.last == "" {
		return
	}
	f.current, f.broken.last = p.Digest(), ""
	s.SetPolicy(p)
	f.broken.logger.Info("the policy was read again", "file", f.path, "rules", p.Rules())
}

// clientCA is whose certificates callers have to show. It follows its file.
type clientCA struct {
	path   string
	pool   atomic.Pointer[x509.CertPool]
	data   string
	broken followed
}

// newClientCA returns the authorities of a file; nil if no file is named.
func newClientCA(path string, logger *slog.Logger) (*clientCA, error) {
	if path == "" {
		return nil, nil
	}
	c := &clientCA{path: path, broken: followed{logger: logger}}
	return c, c.read()
}

func (c *clientCA) read() error {
	data, err := readLimited(c.path, sig.MaxPEM)
	if err != nil || c.pool.Load() != nil && string(data) == c.data {
		return err
	}
	all, err := readCertificates("--client-ca", c.path)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	for _, cert := range all {
		pool.AddCert(cert)
	}
	c.data = string(data)
	c.pool.Store(pool)
	return nil
}

// follow reads the file again. One that cannot be read changes nothing.
func (c *clientCA) follow() {
	if c == nil {
		return
	}
	if err := c.read(); err != nil {
		c.broken.complain("--client-ca cannot be read again; the authorities before it stay in use", err)
		return
	}
	c.broken.last = ""
}

// demand makes connections show a certificate of these authorities. Sessions are not resumed, so that each is
// checked by the authorities of its time.
func (c *clientCA) demand(config *tls.Config) {
	if c == nil {
		return
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.SessionTicketsDisabled = true
	config.NextProtos = []string{"h2", "http/1.1"}
	base := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := base.Clone()
		now.ClientCAs = c.pool.Load()
		return now, nil
	}
}

// expiry is until when the certificate that is in use is valid, in Unix seconds.
func (c *certificate) expiry() float64 {
	now, err := c.get(nil)
	if err != nil {
		return 0
	}
	return float64(now.Leaf.NotAfter.Unix())
}

// followed remembers what was complained about, to say it once.
type followed struct {
	logger *slog.Logger
	last   string
}

// complain reports whether it is something new.
func (f *followed) complain(what string, err error) bool {
	if err.Error() == f.last {
		return false
	}
	f.last = err.Error()
	f.logger.Error(what, "error", err)
	return true
}
