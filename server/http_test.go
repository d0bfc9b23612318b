package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/storage"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRoutes holds the route table against the specification: no operation is
// missing on either side.
func TestRoutes(t *testing.T) {
	g := newRig(t, nil, withTrust)
	var have []string
	for _, rt := range g.server.table() {
		if strings.HasPrefix(rt.path, "/api/") || rt.path == "/trusted-root.json" || rt.path == "/signing-config.json" {
			have = append(have, rt.method+" "+rt.path)
		}
	}
	want := g.check.Operations()
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("routes %q, specification %q", have, want)
	}
}

func TestMethods(t *testing.T) {
	g := newRig(t, nil)
	for _, x := range []struct{ method, path, allow string }{
		{"DELETE", "/api/v1/log", "GET"},
		{"HEAD", "/api/v1/log", "GET"},
		{"OPTIONS", "/api/v1/log", "GET"},
		{"PUT", "/api/v1/log/entries", "GET,POST"},
		{"HEAD", "/api/v1/log/entries", "GET,POST"},
		{"GET", "/api/v1/index/retrieve", "POST"},
		{"GET", "/api/v1/log/entries/retrieve", "POST"},
		{"POST", "/api/v1/log/entries/" + strings.Repeat("ab", 32), "GET"},
		{"NONSENSE", "/api/v1/log/", "GET"},
		{"POST", "/ping", "GET,HEAD"},
	} {
		w := g.do(x.method, x.path, "")
		if w.Code != 405 || w.Header().Get("Allow") != x.allow {
			t.Errorf("%s %s: %d, Allow %q, not 405 and %q", x.method, x.path, w.Code, w.Header().Get("Allow"), x.allow)
		}
	}
}

func TestPaths(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 2)
	id := string(g.server.shards[0].entryID(nil, g.active().leaves[1].Hash))
	for _, path := range []string{
		"/api/v1/log", "/api/v1/log/", "//api/v1/log", "/api//v1///log//", "/api/v1/log/entries/../",
		"/api/v1/log/entries/" + id + "/", "//api/v1/log/entries//" + id,
	} {
		g.want(200, 0, "GET", path, "")
	}
	for _, path := range []string{"/api", "/api/v1", "/api/v1/log/entries/" + id + "/x", "/api/v1/logs", "/swagger.yaml", "/metricsx"} {
		w := g.want(404, 404, "GET", path, "")
		if got, want := messageOf(w), "path "+path+" was not found"; got != want {
			t.Errorf("message %q, not %q", got, want)
		}
	}
	if w := g.want(404, 404, "GET", "/"+strings.Repeat("x", 5000), ""); w.Body.Len() > 400 {
		t.Errorf("a path of 5000 bytes is repeated: %d bytes", w.Body.Len())
	}
}

func TestCaching(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 1)
	for _, path := range []string{"/api/v1/log", "/api/v1/log/publicKey", "/api/v1/log/proof?lastSize=1", "/api/v1/log/entries?logIndex=0", "/api/v1/log/entries?logIndex=9"} {
		h := g.do("GET", path, "", "If-None-Match", "*", "If-Modified-Since", "Mon, 02 Jan 2040 15:04:05 GMT").Header()
		if h.Get("Cache-Control") != "no-cache, no-store, no-transform, must-revalidate, private, max-age=0" || h.Get("Pragma") != "no-cache" ||
			h.Get("Expires") != "Thu, 01 Jan 1970 00:00:00 GMT" || h.Get("X-Accel-Expires") != "0" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestCORS(t *testing.T) {
	g := newRig(t, nil)
	w := g.want(204, 0, "OPTIONS", "/api/v1/index/retrieve", "", "Origin", "https://search.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Content-Type",
	} {
		if got := w.Header().Get(name); !strings.Contains(got, want) {
			t.Errorf("preflight: %s %q", name, got)
		}
	}
	w = g.want(200, 0, "GET", "/api/v1/log", "", "Origin", "https://search.example")
	for _, name := range []string{"ETag", "Location", "Retry-After", "Tallystick-Complete-To", "Tallystick-Truncated", "Tallystick-Attestation", "X-Request-ID"} {
		if !strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), name) {
			t.Errorf("%s is not exposed", name)
		}
	}
	g.want(405, 405, "DELETE", "/api/v1/log", "", "Origin", "https://search.example")
}

func TestNegotiate(t *testing.T) {
	for _, x := range []struct {
		accept []string
		want   string
	}{
		{nil, "a/pem"},
		{[]string{""}, "a/pem"},
		{[]string{"a/pem"}, "a/pem"},
		{[]string{"b/json"}, "b/json"},
		{[]string{"B/JSON;charset=utf-8"}, "b/json"},
		{[]string{"*/*"}, "a/pem"},
		{[]string{"b/*"}, "b/json"},
		{[]string{"a/pem;q=0.5, b/json"}, "b/json"},
		{[]string{"a/pem;q=0.5", "b/json;q=0.6"}, "b/json"},
		{[]string{"*/*;q=0.9, b/json"}, "b/json"},
		{[]string{"*/*, b/json"}, "b/json"},
		{[]string{"text/html, */*;q=0.8"}, "a/pem"},
		{[]string{"text/plain"}, ""},
		{[]string{"a/pem;q=0"}, ""},
		{[]string{"*"}, ""},
		{[]string{"a/pem;q=x"}, "a/pem"},
		{[]string{"a/pem;q=NaN"}, "a/pem"},
	} {
		if got := negotiate(x.accept, "a/pem", "b/json"); got != x.want {
			t.Errorf("%q: %q, not %q", x.accept, got, x.want)
		}
	}
}

func TestMediaTypes(t *testing.T) {
	g := newRig(t, nil)
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=x",
		"application/json; charset", "application/json ;", "application/json;;=/"} {
		g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", "{}", "Content-Type", kind)
	}
	for _, kind := range []string{"", "text/json", "application/json2", "*/*", "application/json, text/plain", ";", ";application/json"} {
		g.want(415, 415, "POST", "/api/v1/log/entries/retrieve", "{}", "Content-Type", kind)
	}
	g.want(406, 406, "POST", "/api/v1/log/entries/retrieve", "{}", "Accept", "text/html")
	g.want(406, 406, "GET", "/api/v1/log/publicKey", "", "Accept", "text/html")
	var text string
	if err := json.Unmarshal(g.do("GET", "/api/v1/log/publicKey", "", "Accept", "application/json").Body.Bytes(), &text); err != nil ||
		text != g.do("GET", "/api/v1/log/publicKey", "").Body.String() {
		t.Errorf("key as JSON: %q, %v", text, err)
	}
}

// TestBodyLimit checks bodies around the limit, of known and unknown length.
func TestBodyLimit(t *testing.T) {
	for _, limit := range []int64{100, firstRead - 1, firstRead, firstRead + 1, 100_000} {
		g := newRig(t, nil, func(c *Config) { c.MaxBody = limit })
		for _, path := range []string{"/api/v1/log/entries", "/api/v1/log/entries/retrieve", "/api/v1/index/retrieve"} {
			for size, over := range map[int64]bool{limit - 1: false, limit: false, limit + 1: true, 3 * limit: true} {
				for _, known := range []bool{true, false} {
					body := "{}" + strings.Repeat(" ", int(size-2))
					r := httptest.NewRequest("POST", path, strings.NewReader(body))
					r.Header.Set("Content-Type", "application/json")
					if !known {
						r.ContentLength = -1
					}
					w := g.send(r)
					if (w.Code == 413) != over {
						t.Errorf("limit %d, body %d, known %v: %d", limit, size, known, w.Code)
					}
					if want := fmt.Sprintf("request body is over the limit of %d bytes", limit); over && messageOf(w) != want {
						t.Errorf("message %q, not %q", messageOf(w), want)
					}
				}
			}
		}
		g.idle()
	}
}

// TestRefusedBodyIsTaken: a client that sends its whole body before it looks for
// an answer finds the answer, though the body is over the limit.
func TestRefusedBodyIsTaken(t *testing.T) {
	g := newRig(t, nil)
	ts := httptest.NewServer(g.server)
	defer ts.Close()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	size := g.server.cfg.MaxBody + 1<<20
	if _, err := fmt.Fprintf(conn, "POST /api/v1/log/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		size, strings.Repeat(" ", int(size))); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("status %d, not 413", resp.StatusCode)
	}
}

// brokenBody fails after its text.
type brokenBody struct {
	io.Reader
	err error
}

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestBrokenBody(t *testing.T) {
	g := newRig(t, nil)
	r := httptest.NewRequest("POST", "/api/v1/log/entries", brokenBody{strings.NewReader("{"), io.ErrUnexpectedEOF})
	r.Header.Set("Content-Type", "application/json")
	if w := g.send(r); w.Code != 400 || messageOf(w) != "request body ended early" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestSlowBody: a body that does not arrive is given up, and its memory given
// back.
func TestSlowBody(t *testing.T) {
	g := newRig(t, nil, func(c *Config) { c.BodyTimeout = 20 * time.Millisecond })
	ts := httptest.NewServer(g.server)
	defer ts.Close()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/log/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 408 {
		t.Errorf("status %d, not 408", resp.StatusCode)
	}
	g.idle()
}

// TestHangUp: a client that goes away while its entry is being logged costs
// nothing; its request counts as 499.
func TestHangUp(t *testing.T) {
	l := newFakeLog(t, treeA, 0)
	l.block, l.adding = make(chan struct{}), make(chan struct{})
	g := newRig(t, []*fakeLog{l})
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, "POST", "/api/v1/log/entries", strings.NewReader(proposals(t, "hashedrekord-0.0.1.json")[0]))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		g.server.ServeHTTP(w, r)
		close(done)
	}()
	<-l.adding
	cancel()
	<-done
	if w.Code != 499 || w.Body.Len() > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := g.counter("tallystick_http_requests_total", "status", "499"); n != 1 {
		t.Errorf("%v requests with 499", n)
	}
	g.idle()
}

// TestTimeout: a log that does not answer is given up.
func TestTimeout(t *testing.T) {
	l := newFakeLog(t, treeA, 0)
	l.block, l.adding = make(chan struct{}), make(chan struct{}, 1)
	g := newRig(t, []*fakeLog{l}, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	g.want(504, 504, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0])

	// Whatever else the log says when the time is up, that is why.
	ctx, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	if f := classify(ctx, storage.ErrUnknown); f.status != 504 {
		t.Errorf("status %d, not 504", f.status)
	}
	if f := classify(ctx, refuse(400, "x")); f.status != 400 {
		t.Errorf("status %d, not 400", f.status)
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	g := newRig(t, nil, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	g.active().panics = true
	g.want(500, 500, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0], "X-Request-ID", "find-me")
	if n := g.counter("tallystick_http_panics_total"); n != 1 {
		t.Errorf("%v panics counted", n)
	}
	if n := g.counter("tallystick_http_requests_in_flight"); n != 0 {
		t.Errorf("%v requests in flight", n)
	}
	if !strings.Contains(log.String(), "secret detail of a bug") || !strings.Contains(log.String(), "request=find-me") || !strings.Contains(log.String(), "fake_test.go") {
		t.Errorf("log: %s", log.String())
	}
	g.idle()
}

// TestPanicInAnswer: an answer that breaks off in its middle is cut, so that it is
// not taken for a whole one.
func TestPanicInAnswer(t *testing.T) {
	g := newRig(t, nil)
	before := g.counter("tallystick_http_panics_total")
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panicked with %v, not %v", p, http.ErrAbortHandler)
		}
		if n := g.counter("tallystick_http_panics_total"); n != before+1 {
			t.Errorf("%v panics counted", n-before)
		}
	}()
	g.server.metrics.inFlight.Inc()
	x := &exchange{ResponseWriter: httptest.NewRecorder(), status: http.StatusOK, route: "/"}
	r := httptest.NewRequest("GET", "/", nil)
	defer g.server.finish(x, r)
	panic("after the first part")
}

func TestRequestID(t *testing.T) {
	g := newRig(t, nil)
	seen := map[string]bool{}
	for _, given := range []string{"", "a b", "a\tb", strings.Repeat("a", 65), "é", `"`} {
		id := g.do("GET", "/ping", "", "X-Request-ID", given).Header().Get("X-Request-ID")
		if id == given || len(id) != 24 || seen[id] {
			t.Errorf("%q gives %q", given, id)
		}
		seen[id] = true
	}
	if id := g.do("GET", "/ping", "", "X-Request-ID", "A-1_b.c").Header().Get("X-Request-ID"); id != "A-1_b.c" {
		t.Errorf("%q", id)
	}
}

func TestLog(t *testing.T) {
	var log bytes.Buffer
	g := newRig(t, nil, func(c *Config) {
		c.Logger, c.Now = slog.New(slog.NewJSONHandler(&log, nil)), stepClock()
	})
	g.active().addErr = fmt.Errorf("host db1: secret")
	g.want(500, 500, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0])
	var line struct {
		Level, Request, Method, Path, Error string
		Status                              int
		Took                                time.Duration
	}
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line.Level != "ERROR" || line.Status != 500 || line.Method != "POST" || line.Path != "/api/v1/log/entries" ||
		!strings.Contains(line.Error, "host db1") || line.Request == "" || line.Took != time.Millisecond {
		t.Errorf("%s", log.String())
	}
	log.Reset()
	g.want(200, 0, "GET", "/healthz", "")
	if log.Len() > 0 {
		t.Errorf("probe logged: %s", log.String())
	}
}

// counter returns the sum of a metric over the series that have a label with this
// value.
func (g *rig) counter(name string, label ...string) float64 {
	g.t.Helper()
	families, err := g.server.cfg.Registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			fits := len(label) == 0
			for _, l := range m.GetLabel() {
				fits = fits || l.GetName() == label[0] && l.GetValue() == label[1]
			}
			if fits {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// series returns the number of series.
func (g *rig) series() int {
	g.t.Helper()
	families, err := g.server.cfg.Registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	n := 0
	for _, f := range families {
		n += len(f.GetMetric())
	}
	return n
}

// TestSeriesAreFew: random paths, methods and IDs make no new series.
func TestSeriesAreFew(t *testing.T) {
	g := newRig(t, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	request := func() {
		path := fmt.Sprintf("/%x", rng.Uint64())
		switch rng.IntN(3) {
		case 0:
			path = fmt.Sprintf("/api/v1/log/entries/%064x", rng.Uint64())
		case 1:
			path = "/api/v1" + path
		}
		method := "GET"
		if rng.IntN(2) == 0 {
			method = fmt.Sprintf("M%X", rng.Uint32())
		}
		w := httptest.NewRecorder()
		g.server.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	}
	for range 100 {
		request()
	}
	before := g.series()
	for range 10_000 {
		request()
	}
	if after := g.series(); after != before {
		t.Errorf("%d series, then %d", before, after)
	}
	if n := g.counter("tallystick_http_requests_total", "route", "/api/v1/log/entries/{entryUUID}"); n < 3000 {
		t.Errorf("%v requests counted for entries", n)
	}
}

func TestMetrics(t *testing.T) {
	g := newRig(t, nil)
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	g.want(201, 0, "POST", "/api/v1/log/entries", p)
	g.want(201, 0, "POST", "/api/v1/log/entries", p)
	text := g.want(200, 0, "GET", "/metrics", "").Body.String()
	for _, line := range []string{
		"rekor_new_entries 1\n", "tallystick_duplicate_entries_total 1\n",
		`tallystick_http_requests_total{method="POST",route="/api/v1/log/entries",status="201"} 2` + "\n",
		`tallystick_http_request_duration_seconds_count{method="POST",route="/api/v1/log/entries"} 2` + "\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	registry := prometheus.NewRegistry()
	apart := newRig(t, nil, func(c *Config) { c.HideMetrics, c.Registry = true, registry })
	apart.want(404, 404, "GET", "/metrics", "")
	w := httptest.NewRecorder()
	apart.server.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if !strings.Contains(w.Body.String(), "tallystick_http_requests_total") {
		t.Error("no metrics apart")
	}
	if _, err := New(apart.server.cfg); err == nil {
		t.Error("two servers share one registry")
	}
}

func TestPages(t *testing.T) {
	g := newRig(t, nil, withTrust, func(c *Config) { c.PublicURL, c.Version = "https://<b>.example", "v1.2.3" })
	g.active().fill(t, 3)
	home := g.want(200, 0, "GET", "/", "").Body.String()
	for _, want := range []string{"https://&lt;b&gt;.example", "v1.2.3", "<dd>3</dd>", "rekor.example.test - 1311768467294899695"} {
		if !strings.Contains(home, want) {
			t.Errorf("/ has no %q", want)
		}
	}
	docs := g.want(200, 0, "GET", "/docs", "").Body.String()
	for _, rt := range g.server.table() {
		if !strings.Contains(docs, "<code>"+rt.path+"</code>") {
			t.Errorf("/docs has no %s", rt.path)
		}
	}
	w := g.want(200, 0, "GET", "/openapi.yaml", "")
	if w.Body.String() != openapi.RekorV1() || w.Header().Get("Content-Type") != "application/yaml" {
		t.Error("/openapi.yaml is not the specification")
	}
	w = g.want(200, 0, "GET", "/swagger.json", "")
	if w.Body.String() != openapi.RekorV1Swagger() || w.Header().Get("Content-Type") != "application/json" {
		t.Error("/swagger.json is not the OpenAPI 2 document")
	}
	if w := g.want(200, 0, "GET", "/ping", ""); w.Body.String() != "." || w.Header().Get("Content-Type") != "text/plain" {
		t.Errorf("/ping: %s", w.Body)
	}
	g.want(200, 0, "HEAD", "/ping", "")
	g.want(200, 0, "GET", "/readyz", "")
}

// TestManyAtOnce logs, reads and searches from many goroutines through a real
// listener, for the race detector; every write gets its own index.
func TestManyAtOnce(t *testing.T) {
	g := newRig(t, nil)
	ts := httptest.NewServer(g.server)
	defer ts.Close()
	post := func(path, body string) (int, []byte) {
		resp, err := ts.Client().Post(ts.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0, nil
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, b
	}
	var wg sync.WaitGroup
	for _, file := range []string{"hashedrekord-0.0.1.json", "intoto-0.0.1.json", "dsse-0.0.1.json"} {
		for _, p := range proposals(t, file) {
			wg.Go(func() {
				for range 3 {
					if status, b := post("/api/v1/log/entries", p); status != 201 {
						t.Errorf("%d %s", status, b)
					}
					if status, b := post("/api/v1/log/entries/retrieve", `{"logIndexes":[0,1,2]}`); status != 200 {
						t.Errorf("%d %s", status, b)
					}
				}
			})
		}
	}
	wg.Wait()
	ts.Client().CloseIdleConnections()
	if n := g.counter("rekor_new_entries"); int64(n) != g.active().size() {
		t.Errorf("%v new entries counted, %d in the log", n, g.active().size())
	}
}

func TestConfig(t *testing.T) {
	good := newRig(t, nil).server.cfg
	for name, change := range map[string]func(*Config){
		"no logs":        func(c *Config) { c.Logs = nil },
		"no search":      func(c *Config) { c.Search = nil },
		"no parser":      func(c *Config) { c.Parser = nil },
		"negative limit": func(c *Config) { c.MaxBody = -1 },
		"tree twice":     func(c *Config) { c.Logs = append(c.Logs, c.Logs[0]) },
		"tree ID 0":      func(c *Config) { c.Logs = []Log{newFakeLog(t, 0, 0)} },
		"wrong order":    func(c *Config) { c.Logs = []Log{newFakeLog(t, 1, 5), newFakeLog(t, 2, 3)} },
	} {
		c := good
		c.Registry = prometheus.NewRegistry()
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
