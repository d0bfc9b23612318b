package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tallystick/tallystick/admission"
)

// admitCmd runs the admission server.
type admitCmd struct {
	Policy            string        `arg:"" name:"policy" help:"The policy (YAML): which images may run."`
	Check             bool          `name:"check" help:"Read the policy and the files that it names, print what they say, and end; for those who write policies, and for CI."`
	Mode              string        `name:"mode" default:"enforce" enum:"enforce,warn" group:"policy" help:"What webhooks do with an image that may not run: enforce (deny it) or warn (admit it with a warning)."`
	Listen            string        `name:"listen" default:":8443" group:"network" help:"Address and port to listen on."`
	TLSCert           string        `name:"tls-cert" placeholder:"FILE" group:"network" help:"Certificate chain (PEM); needed unless --check is given. Read again when the file changes, or at SIGHUP."`
	TLSKey            string        `name:"tls-key" placeholder:"FILE" group:"network" help:"Private key of the certificate (PEM); likewise."`
	ClientCA          string        `name:"client-ca" placeholder:"FILE" group:"network" help:"Answer only those whose certificate one of these authorities issued (PEM): the API server, Gatekeeper. Read again when the file changes. Probes then need --metrics-listen."`
	MetricsListen     string        `name:"metrics-listen" placeholder:"ADDRESS" group:"network" help:"Serve /metrics, and /healthz and /readyz too, on this address and port, without TLS."`
	RegistryConfig    string        `name:"registry-config" placeholder:"FILE" group:"network" help:"Credentials for registries, in the form of Docker's config.json; read at each use. By default those of the user's Docker configuration."`
	AllowHTTPRegistry bool          `name:"allow-http-registry" group:"network" help:"Read from registries without TLS. (From a registry on this machine they always may be.)"`
	WebhookTimeout    time.Duration `name:"webhook-timeout" default:"10s" group:"timeouts" help:"How long callers of a webhook wait that do not say it; API servers say it. The answer comes within 80 % of it."`
	ProviderTimeout   time.Duration `name:"provider-timeout" default:"3s" group:"timeouts" help:"How long Gatekeeper waits (spec.timeout of its Provider)."`
	MaxRequests       int           `name:"max-requests" default:"128" group:"limits" help:"Most requests that are answered at once; for one namespace, a quarter."`
	MaxChecks         int           `name:"max-checks" default:"32" group:"limits" help:"Most images that are read from registries at once; for one namespace, and of one registry, a quarter."`
	MaxImages         int           `name:"max-images" default:"64" group:"limits" help:"Most images of one object."`
	MaxCheckBytes     size          `name:"max-check-bytes" default:"128MiB" group:"limits" help:"About how much memory images that are being read take; for one namespace, and of one registry, half."`
	MaxBodyBytes      size          `name:"max-body-bytes" default:"64MiB" group:"limits" help:"How much memory requests that are being read take."`
	MaxImageBytes     size          `name:"max-image-bytes" default:"32MiB" group:"limits" help:"Most that is read of an image's signatures."`
	ShutdownTimeout   time.Duration `name:"shutdown-timeout" default:"30s" group:"timeouts" help:"How long requests under way may take after SIGTERM."`
	LogFormat         string        `name:"log-format" default:"text" enum:"text,json" group:"output" help:"Form of log lines: text or json."`
	LogLevel          string        `name:"log-level" default:"info" enum:"debug,info,warn,error" group:"output" help:"Least important log lines: debug, info, warn or error. Decisions are info; those that deny, warn."`
}

// Help is the long help.
func (*admitCmd) Help() string {
	return `It answers over HTTPS: /mutate, a mutating webhook, which replaces tags by the digests that were verified; /validate, a validating webhook, which denies images without a digest and verifies the others; /gatekeeper/verify and /gatekeeper/pin, for Gatekeeper as an external data provider. Verification is offline: the log is not asked, and registries are asked for digests and for what is attached to an image.

Every error denies. The policy and the files that it names are read again every few seconds, and used when they stay the same for a second; a new one that is broken is not used, and said in the log and the metric tallystick_admission_policy_broken. --check reads them before you use them. deploy/kubernetes has an example of the policy and of what a cluster needs.`
}

// reloadEvery is how often the files are looked at.
const reloadEvery = 5 * time.Second

// check finds what a single flag cannot show.
func (c *admitCmd) check() error {
	if !c.Check && (c.TLSCert == "" || c.TLSKey == "") {
		return errors.New("missing flags: --tls-cert=FILE and --tls-key=FILE (webhooks are called over TLS alone)")
	}
	for name, n := range map[string]int64{
		"webhook-timeout": int64(c.WebhookTimeout), "provider-timeout": int64(c.ProviderTimeout), "shutdown-timeout": int64(c.ShutdownTimeout),
		"max-requests": int64(c.MaxRequests), "max-checks": int64(c.MaxChecks), "max-images": int64(c.MaxImages), "max-image-bytes": int64(c.MaxImageBytes),
		"max-check-bytes": int64(c.MaxCheckBytes), "max-body-bytes": int64(c.MaxBodyBytes),
	} {
		if n <= 0 {
			return fmt.Errorf("--%s must be more than 0", name)
		}
	}
	if c.WebhookTimeout > maxWebhookTimeout || c.ProviderTimeout > maxWebhookTimeout {
		return fmt.Errorf("--webhook-timeout and --provider-timeout are at most %v, as a webhook's timeoutSeconds is", maxWebhookTimeout)
	}
	return nil
}

const maxWebhookTimeout = 30 * time.Second

// Run answers until ctx ends.
func (c *admitCmd) Run(ctx context.Context, p *program) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	common := c.settings()
	logger := common.logger(p.Stderr)
	policies := newPolicyFile(c.Policy, p.Settle, logger)
	load := policies.load
	if c.Check {
		load = func(context.Context) (*admission.Policy, error) { return policies.read() }
	}
	policy, err := load(ctx)
	if err != nil {
		return fmt.Errorf("the policy %s: %w", c.Policy, err)
	}
	if c.Check {
		_, err := fmt.Fprint(p.Stdout, policy)
		return err
	}
	tuneGC(p.Env)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registries := p.httpClient()
	defer registries.CloseIdleConnections()
	server, err := admission.New(admission.Config{
		Policy: policy, Warn: c.Mode == "warn",
		Transport: registries.Transport, Keychain: c.keychain(), AllowHTTP: c.AllowHTTPRegistry,
		Timeout: c.WebhookTimeout, ProviderTimeout: c.ProviderTimeout,
		Limits: admission.Limits{Requests: c.MaxRequests, Checks: c.MaxChecks, Images: c.MaxImages, ImageBytes: int64(c.MaxImageBytes),
			CheckBytes: int64(c.MaxCheckBytes), Bodies: int64(c.MaxBodyBytes)},
		Logger: logger, Metrics: metrics, HideMetrics: c.MetricsListen != "",
	})
	if err != nil {
		return err
	}
	cert, err := newCertificate(c.TLSCert, c.TLSKey, logger)
	if err != nil {
		return err
	}
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tallystick_admission_certificate_expiry_timestamp_seconds",
		Help: "Until when the TLS certificate is valid. API servers call nobody whose certificate has expired.",
	}, cert.expiry))
	clients, err := newClientCA(c.ClientCA, logger)
	if err != nil {
		return err
	}
	e := endpoints{settings: common, logger: logger}
	defer e.close()
	public, err := e.listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	e.add(public, server.Handler(), cert)
	clients.demand(e.all[0].server.TLSConfig)
	metricsAt := public.Addr()
	if c.MetricsListen != "" {
		private, err := e.listen("--metrics-listen", c.MetricsListen)
		if err != nil {
			return err
		}
		e.add(private, server.Private(), nil)
		metricsAt = private.Addr()
	}
	logger.Info("admission is answered", "address", public.Addr().String(), "metrics", metricsAt.String(), "mode", c.Mode, "policy", c.Policy, "rules", policy.Rules())
	if c.Mode == "warn" {
		logger.Warn("--mode=warn: images that may not run are admitted")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.follow(ctx, p, func(forced bool) {
			policies.follow(ctx, server)
			clients.follow()
			if forced {
				cert.again()
			}
		})
	}()
	err = e.serve(ctx)
	cancel()
	<-done
	return err
}

// follow looks at the files again and again, and at SIGHUP at once.
func (c *admitCmd) follow(ctx context.Context, p *program, look func(forced bool)) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			look(false)
		case <-p.Hangup:
			look(true)
		case <-ctx.Done():
			return
		}
	}
}

// settings are those that the helpers of serve take.
func (c *admitCmd) settings() *serveSettings {
	return &serveSettings{
		ReadHeaderTimeout: 10 * time.Second,
		BodyTimeout:       maxWebhookTimeout,
		WriteTimeout:      maxWebhookTimeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		ShutdownTimeout:   c.ShutdownTimeout,
		LogFormat:         c.LogFormat,
		LogLevel:          c.LogLevel,
	}
}

// keychain returns where the credentials for registries are.
func (c *admitCmd) keychain() authn.Keychain {
	if c.RegistryConfig == "" {
		return authn.DefaultKeychain
	}
	return admission.Credentials{Read: func() ([]byte, error) { return readLimited(c.RegistryConfig, admission.MaxCredentials) }}
}
