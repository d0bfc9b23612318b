package client

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/verify"
)

// recorder is a client whose waits are recorded and not waited.
type recorder struct {
	*Client
	mu    sync.Mutex
	waits []time.Duration
}

func newRecorder(t *testing.T, w *world, o Options) *recorder {
	r := &recorder{}
	o.Sleep = func(_ context.Context, d time.Duration) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.waits = append(r.waits, d)
		return nil
	}
	o.Rand = func() float64 { return 1 }
	o.Checkpoints = w.seen
	c, err := New(w.proxy.URL, w.key.trust(t), o)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = c
	return r
}

// failing makes the first answers be of a status; 0 breaks the connection.
func failing(times, status int, header http.Header) func(*http.Request, *answer) {
	var n atomic.Int64
	return func(_ *http.Request, a *answer) {
		if n.Add(1) > int64(times) {
			return
		}
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		*a = answer{status, header, []byte("<html>busy</html>")}
		if a.header == nil {
			a.header = http.Header{}
		}
	}
}

// Every request is tried again where that can help, the upload, too, and only there.
func TestRetries(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	for name, op := range operations(w) {
		for status, again := range map[int]bool{0: true, 408: true, 429: true, 502: true, 503: true, 504: true,
			200: false, 201: false, 204: false, 400: false, 401: false, 403: false, 404: false, 409: false, 413: false, 422: false, 500: false, 501: false} {
			c := newRecorder(t, w, Options{})
			w.proxy.setLie(failing(1, status, nil))
			got, err := op.run(t.Context(), c.Client)
			if status == http.StatusConflict && name == "upload" {
				continue // see TestUploadConflict
			}
			if (err == nil) != again || len(c.waits) > 0 != again {
				t.Errorf("%s, %d: %+v, %v, waited %v", name, status, got, err, c.waits)
			}
			var e *Error
			if status >= 400 && !again && (!errors.As(err, &e) || e.Status != status || e.Code != status) {
				t.Errorf("%s, %d: %v", name, status, err)
			}
		}
	}
}

func TestBackOff(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	second := time.Second
	for name, x := range map[string]struct {
		fail    int
		status  int
		after   string
		options Options
		waits   []time.Duration
		ok      bool
	}{
		"exponential":    {4, 503, "", Options{}, []time.Duration{second / 2, second, 2 * second, 4 * second}, true},
		"gives up":       {5, 503, "", Options{}, []time.Duration{second / 2, second, 2 * second, 4 * second}, false},
		"up to a limit":  {4, 0, "", Options{MaxWait: second}, []time.Duration{second / 2, second, second, second}, true},
		"once more":      {2, 503, "", Options{Retries: 1}, []time.Duration{second / 2}, false},
		"never":          {1, 503, "", Options{Retries: -1}, nil, false},
		"asked for":      {1, 503, "7", Options{}, []time.Duration{7 * second}, true},
		"a date":         {1, 429, now.Add(9 * second).Format(http.TimeFormat), Options{}, []time.Duration{9 * second}, true},
		"a date past":    {1, 429, now.Add(-second).Format(http.TimeFormat), Options{}, []time.Duration{second / 2}, true},
		"too much":       {1, 503, "86400", Options{MaxRetryAfter: 3 * second}, []time.Duration{3 * second}, true},
		"far too much":   {1, 503, "99999999999999999999", Options{}, []time.Duration{second / 2}, true},
		"nonsense":       {1, 503, "-3", Options{}, []time.Duration{second / 2}, true},
		"beyond the end": {1, 503, "50", Options{Total: 40 * second}, nil, false},
	} {
		x.options.Now = func() time.Time { return now }
		c := newRecorder(t, w, x.options)
		w.proxy.setLie(failing(x.fail, x.status, http.Header{"Retry-After": {x.after}}))
		_, err := c.EntryByIndex(t.Context(), 5)
		if (err == nil) != x.ok || !slices.Equal(c.waits, x.waits) {
			t.Errorf("%s: waited %v, not %v; %v", name, c.waits, x.waits, err)
		}
	}
}

// The jitter is between a half and the whole of a wait.
func TestJitter(t *testing.T) {
	o := Options{Rand: func() float64 { return 0 }}
	o.defaults()
	tr := &transport{opts: o}
	for try, want := range map[int]time.Duration{0: 250 * time.Millisecond, 3: 2 * time.Second, 10: 7500 * time.Millisecond, 1000: 7500 * time.Millisecond} {
		if got, again := tr.wait(io.ErrUnexpectedEOF, try); got != want || !again {
			t.Errorf("try %d: %v, %v", try, got, again)
		}
	}
}

// A context that ends, ends the tries.
func TestContextEnds(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	w.proxy.setLie(func(_ *http.Request, a *answer) {
		cancel()
		a.status = 503
	})
	c, err := New(w.proxy.URL, w.key.trust(t), Options{MinWait: time.Hour, MaxWait: time.Hour, Total: 10 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := c.EntryByIndex(ctx, 5); err == nil || e != nil {
		t.Errorf("%v, %v", e, err)
	}
	if n := len(w.proxy.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	if _, err := c.EntryByIndex(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.opts.Sleep = func(context.Context, time.Duration) error { return context.Canceled }
	var e *Error
	if _, err := c.EntryByIndex(t.Context(), 5); !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Status != 503 {
		t.Error(err)
	}
}

// A server that does not answer is given up after the time of a try.
func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	c, err := New(s.URL, newLogKey(t).trust(t), Options{Timeout: time.Millisecond, Retries: 1, Sleep: noSleep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Log(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// An upload that is tried again sends all of it again.
func TestUploadIsRepeatedWhole(t *testing.T) {
	w := newWorld(t, nil)
	c := newRecorder(t, w, Options{})
	var sent []string
	fail := failing(2, 503, nil)
	w.proxy.setLie(func(r *http.Request, a *answer) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			sent = append(sent, string(body))
			fail(r, a)
		}
	})
	p := w.signer.hashedRekord(t, "again and again")
	e, err := c.Upload(t.Context(), p)
	if err != nil || e.LogIndex != 12 {
		t.Fatalf("%+v, %v", e, err)
	}
	if !slices.Equal(sent, []string{string(p), string(p), string(p)}) {
		t.Errorf("sent %q", sent)
	}
}

func TestRedirects(t *testing.T) {
	w := newWorld(t, nil)
	elsewhere := newProxy(t, w.log)
	other := strings.Replace(w.proxy.URL, "127.0.0.1", "localhost", 1)
	for name, x := range map[string]struct {
		status int
		to     func(*http.Request) string
		ok     bool
	}{
		"same host":          {307, func(r *http.Request) string { return "/moved" + r.URL.RequestURI() }, true},
		"permanently":        {308, func(r *http.Request) string { return w.proxy.URL + "/moved" + r.URL.RequestURI() }, true},
		"another port":       {307, func(r *http.Request) string { return elsewhere.URL + r.URL.RequestURI() }, false},
		"another host":       {307, func(r *http.Request) string { return other + r.URL.RequestURI() }, false},
		"another scheme":     {307, func(*http.Request) string { return "file:///etc/passwd" }, false},
		"round and round":    {307, func(r *http.Request) string { return r.URL.RequestURI() }, false},
		"without its method": {303, func(r *http.Request) string { return "/moved" + r.URL.RequestURI() }, false},
	} {
		w.proxy.setLie(func(r *http.Request, a *answer) {
			if rest, moved := strings.CutPrefix(r.URL.RequestURI(), "/moved"); moved {
				body, _ := io.ReadAll(r.Body)
				*a = *w.log.serve(t, r.Method, rest, body)
			} else {
				*a = answer{x.status, http.Header{"Location": {x.to(r)}}, nil}
			}
		})
		c := newRecorder(t, w, Options{})
		e, err := c.Upload(t.Context(), w.proposals[1])
		if (err == nil) != x.ok || !x.ok && !errors.Is(err, errRedirect) || len(c.waits) > 0 {
			t.Errorf("%s: %+v, %v, waited %v", name, e, err, c.waits)
		}
	}
}

// A redirect from https to http is not followed.
func TestNoDowngrade(t *testing.T) {
	w := newWorld(t, nil)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, w.proxy.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	c, err := New(s.URL, w.key.trust(t), Options{HTTP: s.Client(), Sleep: noSleep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Log(t.Context()); !errors.Is(err, errRedirect) {
		t.Error(err)
	}
	// A certificate that does not hold is no reason to try again.
	waited := false
	c, err = New(s.URL, w.key.trust(t), Options{Sleep: func(context.Context, time.Duration) error { waited = true; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Log(t.Context()); err == nil || waited {
		t.Errorf("%v, waited %v", err, waited)
	}
}

// Answers are read up to a limit.
func TestLimits(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	w.proxy.setLie(func(_ *http.Request, a *answer) {
		a.body = append(a.body, strings.Repeat(" ", maxEntries)...)
	})
	for name, op := range operations(w) {
		c := newRecorder(t, w, Options{})
		if got, err := op.run(t.Context(), c.Client); !errors.Is(err, verify.ErrMalformed) || len(c.waits) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	w.proxy.setLie(func(_ *http.Request, a *answer) {
		*a = answer{500, http.Header{}, []byte(`{"code":500,"message":"` + strings.Repeat("x", 8<<20) + `"}`)}
	})
	if _, err := w.client(t).Log(t.Context()); err == nil || len(err.Error()) > 500 {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	w := newWorld(t, nil)
	for name, x := range map[string]struct {
		status  int
		body    string
		code    int
		message string
	}{
		"the API's":   {422, `{"code":602,"message":"x in body is required"}`, 602, "x in body is required"},
		"a proxy's":   {403, "<html>", 403, "Forbidden"},
		"nothing":     {500, "", 500, "Internal Server Error"},
		"no message":  {500, `{"code":7}`, 500, "Internal Server Error"},
		"bad code":    {500, `{"code":"7","message":"m"}`, 500, "Internal Server Error"},
		"for eyes":    {400, `{"code":400,"message":"a\u001b[31mb\r\nc\u202ed"}`, 400, "a?[31mb??c?d"},
		"very long":   {400, `{"code":400,"message":"` + strings.Repeat("ä", 300) + `"}`, 400, strings.Repeat("ä", 150) + "…"},
		"unknown one": {499, "", 499, ""},
	} {
		w.proxy.setLie(func(_ *http.Request, a *answer) { *a = answer{x.status, http.Header{}, []byte(x.body)} })
		_, err := w.client(t).Log(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Status != x.status || e.Code != x.code || e.Message != x.message {
			t.Errorf("%s: %v (%+v)", name, err, e)
		}
		if err != nil && !strings.Contains(err.Error(), "GET /api/v1/log: the server answered "+strconv.Itoa(x.status)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is sent says who sends it; a base URL may have a path and a password, and the
// latter is in no error.
func TestRequests(t *testing.T) {
	w := newWorld(t, nil)
	var got *http.Request
	w.proxy.setLie(func(r *http.Request, a *answer) {
		got = r
		*a = *w.log.serve(t, r.Method, strings.TrimPrefix(r.URL.RequestURI(), "/pre/fix"), nil)
	})
	u, err := url.Parse(w.proxy.URL + "/pre/fix/")
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("me", "canary")
	c, err := New(u.String(), w.key.trust(t), Options{UserAgent: "test/1", Sleep: noSleep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.EntryByIndex(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if user, password, _ := got.BasicAuth(); got.URL.Path != "/pre/fix/api/v1/log/entries" || got.UserAgent() != "test/1" || user != "me" || password != "canary" {
		t.Errorf("%s %s", got.URL, got.UserAgent())
	}
	w.proxy.Close()
	if _, err := c.Log(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}
