// Package server is the HTTP side of the log: the Rekor v1 API, health, metrics
// and pages for people.
//
// A request goes through one place after another: ServeHTTP (request ID, CORS,
// time limit, log, metrics, panics), the route table (path, method, Accept), a
// handler, and, if that returns an error, the one error table. Nothing here hashes
// a tree or knows where the log is kept: that is behind the interface Log.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"runtime"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/search"
)

// Config is what a server is made of. Logs, Search and Parser are required; zero
// values of the rest stand for the defaults named here.
type Config struct {
	// Logs are the trees of the log, oldest first. The last one takes new entries.
	Logs   []Log
	Search Searcher
	// Parser reads what clients send. Its options say which kinds are accepted.
	Parser *entry.Parser

	// ConflictOnDuplicate answers an entry that is in the log already with 409, as
	// Rekor does, instead of 201 and the entry that is there.
	ConflictOnDuplicate bool
	// MaxBody is the largest request body, in bytes. Default 4 MiB.
	MaxBody int64
	// MaxBodies bounds the bytes of all request bodies held at once; what they are
	// parsed into takes a few times that. A quarter is for small bodies. Default 64
	// MiB; at least three times MaxBody.
	MaxBodies int64
	// MaxAnswers bounds the bytes of what all answers that are being written hold of
	// entries, attestations and search results. A quarter is for small answers.
	// Default 128 MiB; at least what ten of the largest entries take.
	MaxAnswers int64
	// MaxAttestation is the limit in bytes that Parser keeps attestations under. It
	// is told to clients, and how much room is made before one is read.
	MaxAttestation int
	// MaxResults is the most entry IDs in the answer to a search. Default 10,000.
	MaxResults int
	// Timeout is for one whole request. Default 30 seconds.
	Timeout time.Duration
	// BodyTimeout is for a request body to arrive. Default 10 seconds.
	BodyTimeout time.Duration
	// MaxSignatures is how many signed entry timestamps are kept in memory, so that
	// entries read often are not signed each time; 250 bytes each. Default 32,768.
	MaxSignatures int

	// Monitor says how the monitor is that runs inside the server; nil if none does.
	Monitor MonitorStatus

	// PublicURL is the log's address, and Version the program's; both are shown to
	// people.
	PublicURL string
	Version   string

	// TrustedRoot and SigningConfig are JSON documents that are served as they are, at
	// /trusted-root.json and /signing-config.json; nil leaves them out.
	TrustedRoot, SigningConfig []byte
	// TUF is a TUF repository, served below /tuf/; nil for none. Its files have to be
	// io.Seekers, as those of os.Root are.
	TUF fs.FS

	// Logger gets one line a request. Default: none.
	Logger *slog.Logger
	// Registry gets the server's metrics, and is what /metrics shows. Default: a new
	// one.
	Registry *prometheus.Registry
	// HideMetrics leaves out /metrics: Server.Metrics is mounted elsewhere.
	HideMetrics bool

	// Rand makes request IDs. Default: crypto/rand.
	Rand io.Reader
	// Now is the clock that requests are timed with. Default: time.Now.
	Now func() time.Time
}

// defaults fills in what is not set.
func (c *Config) defaults() {
	def(&c.MaxBody, 4<<20)
	def(&c.MaxBodies, 64<<20)
	c.MaxBodies = max(c.MaxBodies, 3*c.MaxBody+4*smallBody)
	def(&c.MaxAnswers, 128<<20)
	c.MaxAnswers = max(c.MaxAnswers, 2*(openapi.MaxRetrieve*(c.MaxBody+entryCost)+int64(c.MaxAttestation)))
	def(&c.MaxResults, 10_000)
	def(&c.Timeout, 30*time.Second)
	def(&c.BodyTimeout, 10*time.Second)
	def(&c.MaxSignatures, 32768)
	def(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// check says what is impossible about a configuration.
func (c *Config) check() error {
	switch {
	case c.Search == nil || c.Parser == nil:
		return errors.New("server needs a Searcher and a Parser")
	case c.MaxBody < 0 || c.MaxAttestation < 0 || c.MaxResults < 0 || c.MaxSignatures < 0 || c.Timeout < 0 || c.BodyTimeout < 0:
		return errors.New("a limit is negative")
	}
	return nil
}

// Server serves the API. It is an http.Handler, and may be used by many goroutines.
type Server struct {
	cfg     Config
	shards  shards
	finder  *search.Finder
	bodies  bodies
	answers *budget
	// parsing has a turn for each processor: proposals are parsed, and their
	// signatures checked, by no more goroutines than can do so at once.
	parsing *limiter
	// searching has turns for fewer searches than storage has connections for reads:
	// whatever is searched for, however slow it is to find, entries can be read.
	searching *limiter
	sets      *lru.Cache[setKey, []byte]
	metrics   *metrics
	mux       *chi.Mux
	pages     *pages
	// buffers holds *[]byte that answers are built in.
	buffers sync.Pool
}

// New returns a server. It does no I/O.
func New(cfg Config) (*Server, error) {
	cfg.defaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	all, err := newShards(cfg.Logs)
	if err != nil {
		return nil, err
	}
	sets, err := lru.New[setKey, []byte](cfg.MaxSignatures)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	s := &Server{
		cfg: cfg, shards: all, finder: newFinder(cfg, all), sets: sets, metrics: m,
		bodies: bodies{cfg.MaxBody, cfg.BodyTimeout,
			newBudget(cfg.MaxBodies, smallBody, "too many request bodies are being read; try again")},
		answers:   newBudget(cfg.MaxAnswers, smallAnswer, "too many large answers are being sent; try again"),
		parsing:   newLimiter(int64(runtime.GOMAXPROCS(0)), "too many entries are being checked; try again"),
		searching: newLimiter(searches(), "too many searches are running; try again"),
	}
	s.buffers.New = func() any { return new([]byte) }
	if s.pages, err = newPages(s); err != nil {
		return nil, err
	}
	s.mux = s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, start: s.cfg.Now(), route: routeUnknown, id: s.requestID(r)}
	s.metrics.inFlight.Inc()
	defer s.finish(x, r)
	setCommonHeaders(w.Header(), x.id)
	if preflight(r) {
		x.route = routePreflight
		answerPreflight(x)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	// Every path has one place in the route table, which looks at the method itself.
	// So the router is told a clean path and always the same method.
	route := chi.NewRouteContext()
	route.RoutePath = path.Clean("/" + r.URL.Path)
	route.RouteMethod = http.MethodGet
	s.mux.ServeHTTP(x, r.WithContext(context.WithValue(ctx, chi.RouteCtxKey, route)))
}

// setCommonHeaders sets the headers of every answer.
func setCommonHeaders(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "ETag, Location, Retry-After, "+
		headerAttestation+", "+headerCompleteTo+", "+headerTruncated+", X-Request-ID")
}

// preflight reports whether a browser asks what it may send (Fetch standard, CORS).
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

func answerPreflight(x *exchange) {
	h := x.Header()
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	h.Set("Access-Control-Allow-Headers", "Accept, Content-Type, X-Request-ID, X-Requested-With")
	h.Set("Access-Control-Max-Age", "600")
	x.WriteHeader(http.StatusNoContent)
}

// buffer returns an empty buffer for an answer; recycle takes it back.
func (s *Server) buffer() *[]byte {
	b := s.buffers.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

// maxRecycled is the largest buffer that is kept for the next answer, so that a few
// large attestations do not stay in memory for ever.
const maxRecycled = 256 << 10

func (s *Server) recycle(b *[]byte) {
	if cap(*b) <= maxRecycled {
		s.buffers.Put(b)
	}
}
