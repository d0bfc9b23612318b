package server

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's. Their labels have few values: routes come from the
// route table, methods and statuses from the lists in this package.
type metrics struct {
	requests   *prometheus.CounterVec   // route, method, status
	latency    *prometheus.HistogramVec // route, method
	inFlight   prometheus.Gauge
	panics     prometheus.Counter
	newEntries prometheus.Counter
	duplicates prometheus.Counter
	damaged    prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tallystick_http_requests_total",
			Help: "Requests answered, by route of the API, method and status. Status 499: the client went away.",
		}, []string{"route", "method", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tallystick_http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tallystick_http_requests_in_flight",
			Help: "Requests being answered.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tallystick_http_panics_total",
			Help: "Requests that ended in a panic, which is a bug of the server.",
		}),
		newEntries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rekor_new_entries", // Rekor's name, with its meaning
			Help: "Entries logged by this server.",
		}),
		duplicates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tallystick_duplicate_entries_total",
			Help: "Entries sent to this server that were in the log already.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tallystick_damaged_entries_total",
			Help: "Reads of an entry that did not fit the log's checkpoint, and was not signed. Run 'tallystick check'.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.latency, m.inFlight, m.panics, m.newEntries, m.duplicates, m.damaged} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Metrics returns a handler that shows the registry, to be mounted anywhere.
func (s *Server) Metrics() http.Handler {
	return promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})
}

func (s *Server) metricsPage(x *exchange, r *http.Request) error {
	s.Metrics().ServeHTTP(x, r)
	return nil
}

// methodLabel returns the method as a label: one for all that no route has.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions:
		return method
	}
	return "other"
}

// finish ends every request: it answers a panic, and tells log and metrics.
func (s *Server) finish(x *exchange, r *http.Request) {
	if p := recover(); p != nil {
		s.metrics.panics.Inc()
		x.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if x.status != 0 {
			defer panic(http.ErrAbortHandler) // an answer that broke off must not look whole
		} else {
			s.fail(x, r, x.err)
		}
	}
	if x.status == 0 {
		x.status = http.StatusOK // what net/http sends for a handler that wrote nothing
	}
	took := s.cfg.Now().Sub(x.start)
	method := methodLabel(r.Method)
	s.metrics.inFlight.Dec()
	s.metrics.requests.WithLabelValues(x.route, method, strconv.Itoa(x.status)).Inc()
	s.metrics.latency.WithLabelValues(x.route, method).Observe(took.Seconds())
	s.log(x, r, took)
}

// log writes the request's line.
func (s *Server) log(x *exchange, r *http.Request, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case x.status == http.StatusServiceUnavailable:
		level = slog.LevelWarn // of many at once when the log is busy
	case x.status >= 500:
		level = slog.LevelError
	case x.quiet:
		level = slog.LevelDebug
	}
	ctx := r.Context()
	if !s.cfg.Logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", x.id),
		slog.String("method", cut(r.Method, 32)),
		slog.String("path", cut(r.URL.Path, 256)),
		slog.Int("status", x.status),
		slog.Int64("bytes", x.bytes),
		slog.Duration("took", took),
		slog.String("remote", r.RemoteAddr),
		slog.String("agent", cut(r.UserAgent(), 128)),
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("error", logged(x.err)))
	}
	s.cfg.Logger.LogAttrs(ctx, level, "request", attrs...)
}

// logged returns an error's text with the cause that clients are not told.
func logged(err error) string {
	text := err.Error()
	if f, ok := err.(*failure); ok && f.cause != nil {
		text += ": " + f.cause.Error()
	}
	return cut(text, 8<<10)
}

// requestID returns the client's X-Request-ID if it is harmless, else a new one.
func (s *Server) requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); harmless(id) {
		return id
	}
	var b [12]byte
	// Without randomness requests are hard to tell apart in the log; no reason to
	// refuse them.
	io.ReadFull(s.cfg.Rand, b[:])
	return hex.EncodeToString(b[:])
}

// harmless reports whether a request ID is short and of letters, digits, and
// "-", "_", "." only.
func harmless(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
