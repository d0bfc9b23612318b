package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/tallystick/tallystick/verify"
)

// Who has found what he looks for reads no more.
func TestAttachedStops(t *testing.T) {
	r := startRegistry(t)
	f, layer := good(t, r)
	r.attachLegacy(f.Digest, ".sig", layer, layer, layer)
	r.seen()
	for a := range resolve(t, r.digest(f.Digest), Options{}).Attached(t.Context(), Signatures|Attestations) {
		if a.Err != nil || a.Size < int64(len(readFixture(t, f.Payload))+len(layer["annotations"].(map[string]string)[annotationBundle])) {
			t.Errorf("%+v", a)
		}
		break
	}
	asked := strings.Join(r.seen(), "\n")
	if strings.Count(asked, "/blobs/") != 1 || strings.Contains(asked, "referrers") || strings.Contains(asked, ".att") {
		t.Errorf("it asked for\n%s", asked)
	}
}

// Memory is asked for before it is used, once for each answer, and only for the last one is it held: until the next is
// asked for, or nothing more is. Without it nothing is read.
func TestRoom(t *testing.T) {
	r := startRegistry(t)
	f, layer := good(t, r)
	big := r.layer(make([]byte, 1<<20), map[string]string{annotationSignature: "AAAA"})
	r.attachLegacy(f.Digest, ".sig", layer, big, layer)
	r.only("referrers/"+f.Digest, func(w http.ResponseWriter, _ *http.Request) { // says nothing of how much it is
		w.Header().Set("Content-Type", indexType)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		io.WriteString(w, `{"manifests":[]}`)
	})
	var held, most, asked int64
	room := func(_ context.Context, n int64) (func(), error) {
		if held != 0 {
			t.Errorf("%d bytes are held while %d more are asked for", held, n)
		}
		held, most, asked = n, max(most, n), asked+1
		return func() { held -= n }, nil
	}
	r.manifest("v1", map[string]any{"layers": []any{}})
	resolve(t, r.tag("v1"), Options{Room: room})
	i := resolve(t, r.digest(f.Digest), Options{Room: room})
	if held != 0 || asked != 1 {
		t.Errorf("after the digest was looked up, %d bytes are held", held)
	}
	for a := range i.Attached(t.Context(), Signatures) {
		if held < weight*int64(len(readFixture(t, f.Payload))) {
			t.Errorf("%s: %d bytes are held for %d", a.Source, held, a.Size)
		}
		if a.Size > 1<<20 && held != weight<<20 {
			t.Errorf("%d bytes are held for a blob of 1 MiB", held)
		}
	}
	if held != 0 || most != weight*MaxManifest {
		t.Errorf("%d bytes are held in the end; the most were %d", held, most)
	}
	for range i.Attached(t.Context(), Signatures) {
		break
	}
	if held != 0 {
		t.Errorf("%d bytes are held after somebody stopped", held)
	}
	full := errors.New("no room")
	i = resolve(t, r.digest(f.Digest), Options{Room: func(context.Context, int64) (func(), error) { return nil, full }})
	for a := range i.Attached(t.Context(), Signatures) {
		if !errors.Is(a.Err, full) || errors.As(a.Err, new(*verify.Error)) {
			t.Errorf("%+v", a)
		}
	}
}

// A registry that a stranger named has to be public, and to speak TLS, also where the user's own may do without; and what it
// answers is not told.
func TestPublic(t *testing.T) {
	r := startRegistry(t)
	good(t, r)
	r.seen()
	for name, o := range map[string]Options{"": {Public: true}, "HTTP": {Public: true, AllowHTTP: true}} {
		_, err := Resolve(t.Context(), r.tag("v1"), o)
		if err == nil || !strings.Contains(err.Error(), "not a public address") && !strings.Contains(err.Error(), "without TLS") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked := r.seen(); len(asked) != 0 {
		t.Errorf("it asked for %q", asked)
	}
	// A public name may stand for an address inside: that is seen where it connects.
	g := newGuard(r.tag("v1").Context().Registry, Options{Public: true})
	for address, want := range map[string]bool{"127.0.0.1:443": false, "10.0.0.1:443": false, "169.254.169.254:80": false, "[fd00::1]:443": false, "8.8.8.8:443": true} {
		if err := g.control(t.Context(), "tcp", address, nil); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	// Each of these alone would do.
	dialed := false
	g = newGuard(r.tag("v1").Context().Registry, Options{Public: true, AllowHTTP: true, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dialed = true
		return nil, errors.New("dialed")
	}}})
	for url, want := range map[string]string{"https://" + r.host: "not a public address", "http://" + r.host: "without TLS"} {
		if err := g.check(get(t, url)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := g.send(get(t, "https://"+r.host)); err == nil || !strings.Contains(err.Error(), "not a public address") || dialed {
		t.Errorf("it is reached by a transport that does not look at addresses: %v", err)
	}
	secret := "internal secret"
	for text, err := range map[string]error{
		"status 403": &remoteError{&transport.Error{StatusCode: 403, Errors: []transport.Diagnostic{{Message: secret}}}},
		"in order":   malformed("%s", secret),
		"do":         fmt.Errorf("malformed HTTP status code %q", secret),
	} {
		quiet := (&remote{public: true}).quiet(err)
		if got := quiet.Error(); strings.Contains(got, secret) || !strings.Contains(got, text) || !errors.Is(quiet, err) {
			t.Errorf("%v is told as %q", err, got)
		}
		if loud := (&remote{}).quiet(err); loud != err {
			t.Errorf("%v is told as %q", err, loud)
		}
	}
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
