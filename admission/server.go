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
	// Body is how many bytes a request has; 7 MiB: of an update there are two objects in it, each up to 3 MiB, which is what an API server
	// takes itself. Bodies is how many bytes of requests that have not been read to their end there are at once; 64 MiB; beyond it
	// requests get 429.
	Body, Bodies int64
	Requests     int           // that are answered at once; 128, of one namespace a quarter; beyond it they get 429
	Images       int           // that an object names; 64
	Checks       int           // images that are read from registries at once; 32, for one namespace and of one registry's host a quarter; beyond it they wait
	CheckBytes   int64         // about how many bytes of memory these take; 128 MiB, for one namespace and of one host half; beyond it they wait
	ImageBytes   int64         // that are read from a registry for an image; 32 MiB
	Memory       int64         // about how many bytes of signatures are remembered; 64 MiB
	MemoryTime   time.Duration // how long; 30 s. Negative: not at all
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Body:       cmp.Or(l.Body, 7<<20),
		Bodies:     cmp.Or(l.Bodies, 64<<20),
		Requests:   cmp.Or(l.Requests, 128),
		Images:     cmp.Or(l.Images, 64),
		Checks:     cmp.Or(l.Checks, 32),
		CheckBytes: cmp.Or(l.CheckBytes, 128<<20),
		ImageBytes: cmp.Or(l.ImageBytes, 32<<20),
		Memory:     cmp.Or(l.Memory, 64<<20),
		MemoryTime: cmp.Or(l.MemoryTime, 30*time.Second),
	}
}

func (l Limits) check() error {
	for _, n := range []int64{l.Body, l.Bodies, int64(l.Requests), int64(l.Images), int64(l.Checks), l.CheckBytes, l.ImageBytes, l.Memory} {
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
	bodies                   *room        // bytes
	requests, checks, bytes  *shared      // places; and the memory of checks
	asked                    atomic.Int64 // requests of Gatekeeper
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
	quarter := func(n int) *shared { return newShared(int64(n), max(1, int64(n)/4)) }
	s.bodies = newRoom(s.limits.Bodies)
	s.requests, s.checks = quarter(s.limits.Requests), quarter(s.limits.Checks)
	s.bytes = newShared(s.limits.CheckBytes, max(1, s.limits.CheckBytes/2))
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
	// read reads a request's body, of which it keeps nothing. An error says why there is nothing to answer.
	read(body []byte) (query, error)
	// refuse answers one that cannot be looked at.
	refuse(status int, message string) reply
}

// query is a request that was read.
type query interface {
	// by is who asks, among whom the server is shared; empty if nobody knows.
	by() string
	// answer answers it. An error is a fault.
	answer(ctx context.Context) (reply, error)
}

// exchange is what all endpoints have in common: limits, deadline, log and metrics.
type exchange struct {
	s        *Server
	name     string
	endpoint endpoint
	timeout  time.Duration
}

// within returns how long an answer may take if the caller waits so long: 80 %, and not so much of it if that leaves less than
// 300 ms for the way there and back, and for a machine that is busy.
func within(timeout time.Duration) time.Duration {
	return max(min(timeout*8/10, timeout-300*time.Millisecond), timeout/2)
}

// bodyTime is how long a body may take to come: API servers have it ready.
const bodyTime = 2 * time.Second

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
	timeout, err := x.callerTimeout(r)
	if err != nil {
		return x.endpoint.refuse(http.StatusBadRequest, err.Error())
	}
	ctx, cancel := context.WithDeadline(r.Context(), start.Add(within(timeout)))
	defer cancel()
	q, refused := x.read(w, r, start.Add(min(within(timeout), bodyTime)))
	if q == nil {
		return refused
	}
	// Only now: whoever is slow to say what he wants keeps nobody else from being answered.
	var of []string
	if by := q.by(); by != "" {
		of = append(of, by)
	}
	give, ok := x.s.requests.tryTake(1, of...)
	if !ok {
		return x.tooMany()
	}
	defer give()
	if out, err = q.answer(ctx); err != nil {
		x.s.logger.Error("an answer cannot be written", "endpoint", x.name, "error", err)
		return x.endpoint.refuse(http.StatusInternalServerError, "the answer cannot be written")
	}
	return out
}

func (x *exchange) tooMany() reply {
	return x.endpoint.refuse(http.StatusTooManyRequests, "too many requests at the moment; try again")
}

// read reads the request's body, if it comes before the deadline; q is nil if there is nothing to answer.
func (x *exchange) read(w http.ResponseWriter, r *http.Request, deadline time.Time) (q query, refused reply) {
	body := bodyReader{room: x.s.bodies, limit: x.s.limits.Body}
	defer body.free()
	data, err := body.read(w, r, deadline)
	tooLarge := new(http.MaxBytesError)
	switch {
	case errors.Is(err, errBusy):
		return nil, x.tooMany()
	case errors.As(err, &tooLarge):
		return nil, x.endpoint.refuse(http.StatusRequestEntityTooLarge, "the request cannot be read: "+clip(err.Error()))
	case err != nil:
		return nil, x.endpoint.refuse(http.StatusBadRequest, "the request cannot be read: "+clip(err.Error()))
	}
	if q, err = x.endpoint.read(data); err != nil {
		return nil, x.endpoint.refuse(http.StatusBadRequest, err.Error())
	}
	return q, reply{}
}

// bodyReader reads a body into memory that all bodies share. What counts is what has come, and not what a caller says will
// come: so those who send slowly take little.
type bodyReader struct {
	room  *room
	limit int64
	taken int64
}

// firstBody is what every body may take, in bytes.
const firstBody = 8 << 10

func (b *bodyReader) read(w http.ResponseWriter, r *http.Request, deadline time.Time) ([]byte, error) {
	if r.ContentLength > b.limit {
		return nil, &http.MaxBytesError{Limit: b.limit}
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, err
	}
	from := http.MaxBytesReader(w, r.Body, b.limit)
	data := make([]byte, 0, firstBody)
	for {
		if len(data) == cap(data) {
			if !b.room.tryTake(int64(cap(data))) {
				return nil, errBusy
			}
			b.taken += int64(cap(data))
			data = append(make([]byte, 0, 2*cap(data)), data...)
		}
		n, err := from.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case err == nil:
		case err != io.EOF:
			return nil, err
		default:
			if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return nil, err
			}
			return data, nil
		}
	}
}

// free gives back what the body took.
func (b *bodyReader) free() { b.room.give(b.taken) }

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
