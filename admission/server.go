package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what a Server is made of.
type Config struct {
	Policy *Policy
	// Transport, Keychain and AllowHTTP say how to reach registries: see registry.Options. Only of an *http.Transport (nil stands for
	// http.DefaultTransport) package registry sees which addresses a registry leads to.
	Transport http.RoundTripper
	Keychain  authn.Keychain
	AllowHTTP bool
	// Warn admits what would be denied, with a warning. Gatekeeper is answered as ever: there, constraints say what
	// follows.
	Warn bool
	// Timeout and ProviderTimeout are how long callers of the webhooks (that do not say it in the query, as API
	// servers do) and Gatekeeper wait; 0 stands for 10 and 3 seconds, their own defaults. Answers come within 80 % of it.
	Timeout, ProviderTimeout time.Duration
	Limits                   Limits
	// Now is the clock; nil for time.Now.
	Now func() time.Time
	// Logger gets a line for every decision; nil for none.
	Logger *slog.Logger
	// Metrics gets the metrics; nil for none.
	Metrics *prometheus.Registry
	// HideMetrics leaves /metrics out of Handler.
	HideMetrics bool
}

// Limits bound what callers and registries can use up. 0 stands for the default.
type Limits struct {
	Body        int64         // bytes of a request; 3 MiB, which is what an API server takes itself
	Requests    int           // that are answered at once; 256; beyond it they get 429
	Images      int           // that an object names; 64
	Checks      int           // images that are verified at once; 32; beyond it they wait
	ChecksOfOne int           // … for one object; 8
	ImageBytes  int64         // that are read from a registry for an image; 32 MiB
	Memory      int64         // about how many bytes of signatures are remembered; 64 MiB
	MemoryTime  time.Duration // how long; 30 s. Negative: not at all
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Body:        cmp.Or(l.Body, 3<<20),
		Requests:    cmp.Or(l.Requests, 256),
		Images:      cmp.Or(l.Images, 64),
		Checks:      cmp.Or(l.Checks, 32),
		ChecksOfOne: cmp.Or(l.ChecksOfOne, 8),
		ImageBytes:  cmp.Or(l.ImageBytes, 32<<20),
		Memory:      cmp.Or(l.Memory, 64<<20),
		MemoryTime:  cmp.Or(l.MemoryTime, 30*time.Second),
	}
}

func (l Limits) check() error {
	for _, n := range []int64{l.Body, int64(l.Requests), int64(l.Images), int64(l.Checks), int64(l.ChecksOfOne), l.ImageBytes, l.Memory} {
		if n < 0 {
			return errors.New("a limit is negative")
		}
	}
	return nil
}

// Server answers webhooks and Gatekeeper.
type Server struct {
	policy                   atomic.Pointer[Policy]
	transport                http.RoundTripper
	keychain                 authn.Keychain
	allowHTTP, warn          bool
	timeout, providerTimeout time.Duration
	limits                   Limits
	now                      func() time.Time
	logger                   *slog.Logger
	metrics                  *metrics
	gatherer                 *prometheus.Registry
	hideMetrics              bool
	requests, checks         chan struct{} // one element for each that is under way
	memory                   *memory
}

// New returns a server. An error is one of the configuration.
func New(c Config) (*Server, error) {
	if c.Policy == nil || len(c.Policy.rules) == 0 {
		return nil, errors.New("there is no policy")
	}
	if err := c.Limits.check(); err != nil {
		return nil, err
	}
	s := &Server{
		transport: c.Transport, keychain: c.Keychain, allowHTTP: c.AllowHTTP, warn: c.Warn,
		timeout: cmp.Or(c.Timeout, 10*time.Second), providerTimeout: cmp.Or(c.ProviderTimeout, 3*time.Second),
		limits: c.Limits.withDefaults(), now: c.Now, logger: c.Logger, gatherer: c.Metrics, hideMetrics: c.HideMetrics,
	}
	if s.timeout < 0 || s.providerTimeout < 0 {
		return nil, errors.New("a timeout is negative")
	}
	if s.transport == nil {
		s.transport = http.DefaultTransport
	}
	if _, direct := s.transport.(*http.Transport); !direct {
		s.transport = recovering{s.transport}
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.gatherer == nil {
		s.gatherer = prometheus.NewRegistry()
	}
	s.requests, s.checks = make(chan struct{}, s.limits.Requests), make(chan struct{}, s.limits.Checks)
	s.memory = newMemory(s.limits.MemoryTime, s.limits.Memory, s.now)
	s.metrics = newMetrics(s.gatherer, s)
	s.SetPolicy(c.Policy)
	return s, nil
}

// SetPolicy replaces the policy. Requests under way are answered by the one before it.
func (s *Server) SetPolicy(p *Policy) {
	s.policy.Store(p)
	s.metrics.loaded(p, s.now())
}

// PolicyBroken says that a new policy cannot be read, and the one before it stays in use.
func (s *Server) PolicyBroken() { s.metrics.broken() }

// Handler answers POST /mutate and /validate (AdmissionReview), /gatekeeper/pin and /gatekeeper/verify
// (ProviderRequest), and GET /healthz, /readyz and, unless Config.HideMetrics, /metrics.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, x := range []*exchange{
		{s, "mutate", webhook{s, true}, s.timeout},
		{s, "validate", webhook{s, false}, s.timeout},
		{s, "gatekeeper/pin", provider{s, true}, s.providerTimeout},
		{s, "gatekeeper/verify", provider{s, false}, s.providerTimeout},
	} {
		mux.Handle("POST /"+x.name, x)
		x.s.metrics.expect(x.name)
	}
	s.health(mux)
	if !s.hideMetrics {
		mux.Handle("GET /metrics", s.Metrics())
	}
	return mux
}

// Private answers GET /healthz, /readyz and /metrics, for an address of its own.
func (s *Server) Private() http.Handler {
	mux := http.NewServeMux()
	s.health(mux)
	mux.Handle("GET /metrics", s.Metrics())
	return mux
}

// Metrics answers with the metrics (Prometheus).
func (s *Server) Metrics() http.Handler {
	return promhttp.HandlerFor(s.gatherer, promhttp.HandlerOpts{})
}

// health answers for probes. A server that runs has a policy and is ready: also while the policy's newest files are broken, since it
// goes on with the one before them. Were it not ready then, a wrong edit would stop the cluster, because all servers read the same
// files. PolicyBroken says it in a metric.
func (s *Server) health(mux *http.ServeMux) {
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			io.WriteString(w, "ok\n")
		})
	}
}

// reply is what is answered.
type reply struct {
	status      int
	contentType string
	body        []byte
	decision    string // one of decisions
	message     string // why it is not admitted
	about       []any  // what is logged beside it
}

// endpoint answers one kind of requests.
type endpoint interface {
	// answer answers a request with this body. An error is a fault.
	answer(ctx context.Context, body []byte) (reply, error)
	// refuse answers one that cannot be looked at.
	refuse(status int, message string) reply
}

// exchange is what all endpoints have in common: limits, deadline, log and metrics.
type exchange struct {
	s        *Server
	name     string
	endpoint endpoint
	timeout  time.Duration
}

// ServeHTTP answers a request within 80 % of the time that the caller waits.
func (x *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	answer := x.handle(w, r, start)
	w.Header().Set("Content-Type", answer.contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(answer.status)
	w.Write(answer.body) // an error is the caller's: it gets no answer, which denies
	took := time.Since(start)
	x.s.metrics.observe(x.name, answer.decision, took)
	level := slog.LevelInfo
	if answer.decision != "admitted" && answer.decision != "exempt" {
		level = slog.LevelWarn
	}
	x.s.logger.Log(r.Context(), level, "admission", append([]any{"endpoint", x.name, "decision", answer.decision, "took", took.Round(time.Microsecond), "message", answer.message}, answer.about...)...)
}

func (x *exchange) handle(w http.ResponseWriter, r *http.Request, start time.Time) (out reply) {
	defer func() {
		if fault := recover(); fault != nil {
			x.s.logger.Error("a fault, which denies", "endpoint", x.name, "fault", fmt.Sprint(fault))
			out = x.endpoint.refuse(http.StatusInternalServerError, "an internal error; the server's log has more")
		}
	}()
	select {
	case x.s.requests <- struct{}{}:
		defer func() { <-x.s.requests }()
	default:
		return x.endpoint.refuse(http.StatusTooManyRequests, "too many requests at the moment; try again")
	}
	timeout, err := x.callerTimeout(r)
	if err != nil {
		return x.endpoint.refuse(http.StatusBadRequest, err.Error())
	}
	deadline := start.Add(timeout * 8 / 10)
	ctx, cancel := context.WithDeadline(r.Context(), deadline)
	defer cancel()
	body, err := readBody(w, r, x.s.limits.Body, deadline)
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		return x.endpoint.refuse(status, "the request cannot be read: "+clip(err.Error()))
	}
	if out, err = x.endpoint.answer(ctx, body); err != nil {
		x.s.logger.Error("an answer cannot be written", "endpoint", x.name, "error", err)
		return x.endpoint.refuse(http.StatusInternalServerError, "the answer cannot be written")
	}
	return out
}

// readBody reads a request's body, if it comes before the deadline.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, deadline time.Time) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, err
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	return data, nil
}

// maxTimeout is the longest timeout of a caller: that of a webhook's timeoutSeconds.
const maxTimeout = 30 * time.Second

// callerTimeout returns how long the caller waits: an API server says so in the query.
func (x *exchange) callerTimeout(r *http.Request) (time.Duration, error) {
	said := r.URL.Query()["timeout"]
	if len(said) == 0 {
		return x.timeout, nil
	}
	d, err := time.ParseDuration(said[0])
	if err != nil || len(said) > 1 || d <= 0 {
		return 0, fmt.Errorf("the query's timeout %s is not a duration", strconv.Quote(clip(said[0])))
	}
	return min(d, maxTimeout), nil
}
