package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/tallystick/tallystick/registry"
	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

// faulty is a dependency that goes wrong in one way.
type faulty struct {
	how     string        // "error", "hang", "panic" or "garbage"; "nothing" if it works
	at      string        // of requests: those with this in their path; empty for all
	release chan struct{} // ends what hangs
}

var errInjected = errors.New("injected")

// fail goes wrong, unless it is garbage that is wanted, which each dependency has of its own.
func (f *faulty) fail() error {
	switch f.how {
	case "error":
		return errInjected
	case "hang": // whatever its context says
		<-f.release
		return errInjected
	case "panic":
		panic("injected")
	}
	return nil
}

// faultyTransport is a network, or a registry, that goes wrong.
type faultyTransport struct{ *faulty }

func (f faultyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.how == "nothing" || !strings.Contains(r.URL.Path, f.at) {
		return http.DefaultTransport.RoundTrip(r)
	}
	if err := f.fail(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {manifestType}}, Body: io.NopCloser(strings.NewReader(`{"layers":[{"\u0000`)), Request: r}, nil
}

type faultyKeychain struct{ *faulty }

func (f faultyKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if f.how == "nothing" {
		return authn.Anonymous, nil
	}
	return nil, f.fail()
}

// read is a file of credentials.
func (f *faulty) read() ([]byte, error) {
	if f.how == "nothing" {
		return []byte("{}"), nil
	}
	return []byte(`{"auths":{"\u0000`), f.fail()
}

type faultyTimestamps struct{ *faulty }

func (f faultyTimestamps) VerifyTimestamp(token, signature []byte, from []verify.Authority) (time.Time, int, error) {
	if f.how == "nothing" {
		return timestamp.Verifier{}.VerifyTimestamp(token, signature, from)
	}
	return time.Unix(1<<40, 0), 99, f.fail()
}

// T27: each dependency × {error, hang, panic, garbage} denies, in time, with a message; and admits when it works. (For policy
// files, bodies, what is remembered, and TLS, which are not asked during a check, see the tests below and TestAdmit.)
func TestEveryFaultDenies(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-keyless-timestamp-cosign3")
	legacy := fixtureNamed(t, "image-legacy-key-cosign2")
	tag := strings.Replace(f.Digest, ":", "-", 1)
	for dependency, c := range map[string]struct {
		of     fixture
		at     string
		inject func(*Config, *verify.Options, *faulty)
	}{
		"network":          {f, "", nil},
		"handshake":        {legacy, "/v2/", nil},
		"token server":     {legacy, "/token", nil},
		"tag":              {legacy, "/manifests/v1", nil},
		"signatures":       {legacy, "/manifests/" + tag + ".sig", nil},
		"signature's blob": {legacy, "/blobs/", nil},
		"referrers":        {f, "/referrers/", nil},
		"referrers' tag":   {f, "/manifests/" + tag, nil},
		"bundle's blob":    {f, "/blobs/", nil},
		"keychain":         {legacy, "", func(c *Config, _ *verify.Options, f *faulty) { c.Keychain = faultyKeychain{f} }},
		"credentials file": {legacy, "", func(c *Config, _ *verify.Options, f *faulty) { c.Keychain = Credentials{Read: f.read} }},
		"timestamps":       {f, "", func(_ *Config, o *verify.Options, f *faulty) { o.Timestamps = faultyTimestamps{f} }},
		"clock": {legacy, "", func(c *Config, _ *verify.Options, f *faulty) {
			c.Now = func() time.Time {
				if f.how == "nothing" {
					return time.Now()
				}
				f.fail()
				return time.Time{}
			}
		}},
	} {
		for _, how := range []string{"nothing", "error", "hang", "panic", "garbage"} {
			if dependency == "clock" && (how == "error" || how == "garbage") {
				continue // a wrong clock is for TestMaxAge
			}
			if dependency == "referrers" && how == "garbage" {
				continue // the registry lacks the API as far as we know; its tag is asked
			}
			t.Run(dependency+"/"+how, func(t *testing.T) {
				t.Parallel()
				r := startImages(t)
				r.attach("test/app", f.Digest, c.of)
				if dependency == "token server" {
					r.demandToken()
				}
				fault := &faulty{how: how, at: c.at, release: make(chan struct{})}
				config := Config{Limits: Limits{MemoryTime: -1}}
				var options verify.Options
				if c.inject != nil {
					c.inject(&config, &options, fault)
				} else {
					config.Transport = faultyTransport{fault}
				}
				require := c.of.signers(t)
				if options.Timestamps == nil {
					require += ", ignoreTimestamps: true"
				}
				p, err := ParsePolicy([]byte(r.ruleFor(require)), PolicyOptions{Read: fixtureFiles(t), Verify: options})
				if err != nil {
					t.Fatal(err)
				}
				config.Policy = p
				now := config.Now
				config.Now = nil
				w := startWorld(t, config)
				if now != nil {
					w.server.now = now
				}
				w.images = r
				testFault(t, w, fault)
			})
		}
	}
}

// demandToken makes the registry one that wants a token, of a token server of its own.
func (r *images) demandToken() {
	r.meddle(func(w http.ResponseWriter, req *http.Request) bool {
		switch {
		case req.URL.Path == "/token":
			io.WriteString(w, `{"token":"secret"}`)
		case req.Header.Get("Authorization") != "Bearer secret":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.host+`/token",service="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return false
		}
		return true
	})
}

func testFault(t *testing.T, w *world, fault *faulty) {
	defer close(fault.release)
	// Enough for what works, and what hangs is waited for.
	timeout := 400 * time.Millisecond
	if fault.how == "nothing" {
		timeout = maxTimeout
	}
	for _, path := range []string{"/mutate?timeout=" + timeout.String(), "/validate?timeout=" + timeout.String()} {
		image := w.app(":v1")
		if strings.HasPrefix(path, "/validate") {
			if strings.HasSuffix(fault.at, "/v1") {
				continue // a digest is not looked up
			}
			image = w.app("@" + fixtureNamed(t, "image-legacy-key-cosign2").Digest)
		}
		if fault.how == "nothing" {
			w.admits(t, path, image)
		} else {
			w.denies(t, path, image, "tallystick: image ")
		}
	}
	// Gatekeeper does not say how long it waits: it is made short here.
	e := provider{w.server, true}
	q, err := e.read(providerRequest(w.app(":v1")))
	if err != nil {
		t.Fatal(err)
	}
	out, err := q.answer(deadline(t, timeout*8/10))
	var got provided
	if err == nil {
		err = json.Unmarshal(out.body, &got)
	}
	// What is unsaid today may be said tomorrow: nothing of it is an answer that Gatekeeper would remember. But garbage is, where it is signed
	// or has the digest that was asked for: it will be garbage then.
	items := got.Response.Items
	switch {
	case err != nil || (len(items) == 1) == (got.Response.SystemError != ""):
		t.Errorf("%v: %s", err, out.body)
	case len(items) == 1 && ((items[0].Error == "") != (fault.how == "nothing") || (items[0].Value != nil) != (fault.how == "nothing")):
		t.Errorf("%s", out.body)
	case len(items) == 1 && (fault.how == "hang" || fault.how == "panic" || fault.how == "error" && !strings.Contains(items[0].Error, "bad timestamp")):
		t.Errorf("%s is an answer to remember: %s", fault.how, out.body)
	}
}

// What is remembered counts for nothing by itself: it is verified again, and if it does not hold, the registry is asked.
func TestFaultyMemory(t *testing.T) {
	f, keyless := fixtureNamed(t, "image-legacy-key-cosign2"), fixtureNamed(t, "image-legacy-keyless-cosign2")
	other := start(t, keyless.signers(t), keyless)
	other.admits(t, "/validate", other.app("@"+f.Digest))
	stranger := other.server.memory.get(memoryKey{other.app("@" + f.Digest), registry.Signatures})
	if len(stranger) != 1 {
		t.Fatalf("%d signatures are remembered", len(stranger))
	}
	for name, remembered := range map[string][]registry.Attached{
		"nothing": {}, "an error": {{Source: "x", Err: errInjected}}, "no evidence": {{Source: "x"}}, "empty evidence": {{Source: "x", Evidence: &verify.Evidence{}}}, "somebody else's": stranger,
	} {
		w := start(t, f.signers(t))
		key := memoryKey{w.app("@" + f.Digest), registry.Signatures}
		w.server.memory.keep(key, remembered, 1, time.Now())
		w.denies(t, "/validate", key.image, "no signature is attached")
		if len(w.seen()) == 0 {
			t.Errorf("%s: the registry was not asked", name)
		}
	}
}

// faultyBody is a request's body that goes wrong.
type faultyBody struct {
	*faulty
	io.Reader
}

func (f faultyBody) Read(p []byte) (int, error) {
	if f.how == "garbage" {
		return f.Reader.Read(p)
	}
	return 0, f.fail()
}

// A body that cannot be read, or that comes too slowly, denies, over HTTP/1.1 and HTTP/2.
func TestFaultyBodies(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for path, good := range map[string][]byte{
		"/mutate": toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf(w.app(":v1")))), "/validate": toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf(w.app("@"+f.Digest)))),
		"/gatekeeper/verify": providerRequest(w.app("@" + f.Digest)), "/gatekeeper/pin": providerRequest(w.app(":v1")),
	} {
		said := "cannot be read"
		if strings.HasPrefix(path, "/gatekeeper") {
			said = "systemError"
		}
		for n := range good {
			if n%97 == 0 { // cut short anywhere
				if status, answer := w.post(t, path, good[:n]); status != http.StatusBadRequest || !strings.Contains(answer, said) {
					t.Errorf("%s, the first %d bytes: %d %s", path, n, status, answer)
				}
			}
		}
		for _, how := range []string{"error", "panic", "garbage"} {
			recorder := httptest.NewRecorder()
			body := faultyBody{&faulty{how: how}, bytes.NewReader([]byte{0xff, 0, '{'})}
			w.server.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, body))
			if answer := recorder.Body.String(); recorder.Code < 400 || strings.Contains(answer, "allowed") || strings.Contains(path, "gatekeeper") != strings.Contains(answer, "systemError") {
				t.Errorf("%s, %s: %d %s", path, how, recorder.Code, answer)
			}
		}
		for version, client := range map[int]*http.Client{1: w.http1, 2: w.client} {
			body, never := io.Pipe() // which nobody writes to: what is answered is answered because of the deadline
			resp, err := client.Post(w.url+path+"?timeout=200ms", "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			never.Close()
			if err != nil || resp.ProtoMajor != version || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(answer), said) {
				t.Errorf("%s, %s: %s %v: %s", resp.Proto, path, resp.Status, err, answer)
			}
		}
	}
}

// noted is an endpoint that notes until when it has to answer.
type noted struct{ until time.Time }

func (n *noted) read([]byte) (query, error) { return n, nil }

func (n *noted) by() string { return "somebody" }

func (n *noted) answer(ctx context.Context) (reply, error) {
	n.until, _ = ctx.Deadline()
	return reply{status: http.StatusOK}, nil
}

func (n *noted) refuse(status int, message string) reply {
	return reply{status: status, body: []byte(message)}
}

// An answer has to come within 80 % of the time that the caller waits, and some time before that is over: of what it says, or is known to wait.
func TestDeadline(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for query, want := range map[string]time.Duration{
		"": 8 * time.Second, "?timeout=1s": 700 * time.Millisecond, "?timeout=500ms": 250 * time.Millisecond, "?timeout=1500ms": 1200 * time.Millisecond, "?timeout=30s": 24 * time.Second, "?timeout=10m": 24 * time.Second, "?timeout=5000ms": 4 * time.Second, "?x=y&timeout=1m30s": 24 * time.Second,
	} {
		n := &noted{}
		x := &exchange{w.server, "x", n, 10 * time.Second}
		before := time.Now()
		x.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/"+query, strings.NewReader("")))
		if after := time.Now(); n.until.Before(before.Add(want)) || n.until.After(after.Add(want)) {
			t.Errorf("%q: it has %v, not %v", query, n.until.Sub(before), want)
		}
	}
	for _, timeout := range []string{"x", "-1s", "0s", "1s&timeout=2s", ""} {
		if status, answer := w.post(t, "/validate?timeout="+timeout, toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf("x")))); status != http.StatusBadRequest || !strings.Contains(answer, "is not a duration") {
			t.Errorf("timeout=%s: %d %s", timeout, status, answer)
		}
	}
	// What callers wait who do not say it is configured.
	s, err := New(Config{Policy: w.server.policy.Load(), Timeout: 7 * time.Second, ProviderTimeout: 2 * time.Second})
	if err != nil || s.timeout != 7*time.Second || s.providerTimeout != 2*time.Second {
		t.Errorf("%v, %+v", err, s)
	}
}

// A wrong file denies at the start already, and later leaves the policy before it.
func TestFaultyPolicyFiles(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	text := []byte((&images{host: "example.com"}).ruleFor(f.signers(t)))
	for name, read := range map[string]func(string, int64) ([]byte, error){
		"error":   func(string, int64) ([]byte, error) { return nil, errInjected },
		"panic":   func(string, int64) ([]byte, error) { panic("injected") },
		"garbage": func(string, int64) ([]byte, error) { return []byte("{\x00"), nil },
		"nothing": func(string, int64) ([]byte, error) { return nil, nil },
		"nobody": func(string, int64) ([]byte, error) {
			return []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), nil
		},
	} {
		if p, err := ParsePolicy(text, PolicyOptions{Read: read}); err == nil || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// What hangs keeps its place, so that not more and more hang; the others are told so, in time.
func TestHangingChecksAreBounded(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	fault := &faulty{how: "hang", release: make(chan struct{})}
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(f.signers(t))), Transport: faultyTransport{fault}, Limits: Limits{Checks: 8}})
	w.images = r
	for range 2 {
		w.denies(t, "/mutate?timeout=100ms", w.app(":v1"), "in time")
	}
	if n := w.server.checks.all.inUse(); n != 2 {
		t.Errorf("%d hang", n)
	}
	w.denies(t, "/mutate?timeout=100ms", w.app(":v1"), "tallystick: image ")
	if n := w.server.checks.all.inUse(); n != 2 {
		t.Errorf("%d hang, of at most 2 of one host", n)
	}
	close(fault.release)
}

// An endpoint that panics denies.
func TestEndpointFault(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	w.server.policy.Store(nil)
	for _, path := range []string{"/mutate", "/validate"} {
		status, body := w.post(t, path, toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf("x"))))
		if status != 500 || strings.Contains(body, "allowed") {
			t.Errorf("%d %s", status, body)
		}
	}
	for _, path := range []string{"/gatekeeper/pin", "/gatekeeper/verify"} {
		if got := w.provide(t, path, w.app(":v1")); got.Response.SystemError == "" && got.Response.Items[0].Error == "" {
			t.Errorf("%+v", got)
		}
	}
}
