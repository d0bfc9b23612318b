package admission

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/tallystick/tallystick/verify"
)

// faulty is a dependency that goes wrong in one way.
type faulty struct {
	how     string        // "error", "hang", "panic" or "garbage"
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
	if !strings.Contains(r.URL.Path, f.at) {
		return http.DefaultTransport.RoundTrip(r)
	}
	if err := f.fail(); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {manifestType}}, Body: io.NopCloser(strings.NewReader(`{"layers":[{"\u0000`)), Request: r}, nil
}

type faultyKeychain struct{ *faulty }

func (f faultyKeychain) Resolve(authn.Resource) (authn.Authenticator, error) { return nil, f.fail() }

type faultyTimestamps struct{ *faulty }

func (f faultyTimestamps) VerifyTimestamp([]byte, []byte, []verify.Authority) (time.Time, int, error) {
	return time.Unix(1<<40, 0), 99, f.fail()
}

// T27: each dependency × {error, hang, panic, garbage} denies, in time, with a message.
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
		"tag":              {legacy, "/manifests/v1", nil},
		"signatures":       {legacy, "/manifests/" + tag + ".sig", nil},
		"signature's blob": {legacy, "/blobs/", nil},
		"referrers":        {f, "/referrers/", nil},
		"referrers' tag":   {f, "/manifests/" + tag, nil},
		"bundle's blob":    {f, "/blobs/", nil},
		"keychain":         {legacy, "", func(c *Config, _ *verify.Options, f *faulty) { c.Keychain = faultyKeychain{f} }},
		"timestamps":       {f, "", func(_ *Config, o *verify.Options, f *faulty) { o.Timestamps = faultyTimestamps{f} }},
		"clock": {legacy, "", func(c *Config, _ *verify.Options, f *faulty) {
			c.Now = func() time.Time { f.fail(); return time.Time{} }
		}},
	} {
		for _, how := range []string{"error", "hang", "panic", "garbage"} {
			if dependency == "clock" && how != "panic" {
				continue // a wrong clock is for TestMaxAge
			}
			if dependency == "referrers" && how == "garbage" {
				continue // the registry lacks the API as far as we know; its tag is asked
			}
			t.Run(dependency+"/"+how, func(t *testing.T) {
				t.Parallel()
				r := startImages(t)
				r.attach("test/app", f.Digest, c.of)
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
				if dependency == "clock" {
					now := config.Now
					config.Now = nil
					w := startWorld(t, config)
					w.server.now = now
					w.images = r
					testFault(t, w, fault)
					return
				}
				w := startWorld(t, config)
				w.images = r
				testFault(t, w, fault)
			})
		}
	}
}

func testFault(t *testing.T, w *world, fault *faulty) {
	defer close(fault.release)
	for _, path := range []string{"/mutate?timeout=400ms", "/validate?timeout=400ms"} {
		image := w.app(":v1")
		if strings.HasPrefix(path, "/validate") {
			if strings.HasSuffix(fault.at, "/v1") {
				continue // a digest is not looked up
			}
			image = w.app("@" + fixtureNamed(t, "image-legacy-key-cosign2").Digest)
		}
		w.denies(t, path, image, "tallystick: image ")
	}
	// Gatekeeper does not say how long it waits: it is made short here.
	w.server.providerTimeout = 400 * time.Millisecond
	e := &exchange{w.server, "gatekeeper/pin", provider{w.server, true}, w.server.providerTimeout}
	out, err := e.endpoint.answer(deadline(t, 320*time.Millisecond), providerRequest(w.app(":v1")))
	var got provided
	if err == nil {
		err = json.Unmarshal(out.body, &got)
	}
	if err != nil || len(got.Response.Items) != 1 || got.Response.Items[0].Error == "" || got.Response.Items[0].Value != nil {
		t.Errorf("%v: %s", err, out.body)
	}
}

// A wrong file denies at the start already, and later leaves the policy before it.
func TestFaultyPolicyFiles(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	text := []byte((&images{host: "example.com"}).ruleFor(f.signers(t)))
	for name, read := range map[string]func(string, int64) ([]byte, error){
		"error":   func(string, int64) ([]byte, error) { return nil, errInjected },
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
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(f.signers(t))), Transport: faultyTransport{fault}, Limits: Limits{Checks: 2}})
	w.images = r
	for range 2 {
		w.denies(t, "/mutate?timeout=100ms", w.app(":v1"), "in time")
	}
	if n := len(w.server.checks); n != 2 {
		t.Errorf("%d hang", n)
	}
	w.denies(t, "/mutate?timeout=100ms", w.app(":v1"), "tallystick: image ")
	if n := len(w.server.checks); n != 2 {
		t.Errorf("%d hang, of at most 2", n)
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
