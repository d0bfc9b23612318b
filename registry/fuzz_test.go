package registry

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tallystick/tallystick/verify"
)

// Whatever a registry sends as a manifest or a list, reading it ends in parts within the limits, or in
// a refusal, and so does reading a layer.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"layers":[{"mediaType":"a","size":12,"digest":"sha256:00","annotations":{"dev.cosignproject.cosign/signature":"AAAA","dev.sigstore.cosign/bundle":"{}","x":1}}]}`,
		`{"manifests":[{"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"sha256:00","size":1},{"artifactType":null},{}]}`,
		`{"layers":null,"manifests":[{"annotations":null,"size":-1}]}`,
		`{"layers":[{"size":1e9}]}`, `{"layers":[[]]}`, `[]`, ``,
	} {
		f.Add([]byte(seed), []byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}`))
	}
	f.Fuzz(func(t *testing.T, manifest, payload []byte) {
		layers, n, err := readParts(manifest, "layers", func(part) bool { return true })
		checkRefusal(t, err)
		if len(layers) > MaxAttached || len(layers) > n || err != nil && layers != nil {
			t.Fatalf("%d of %d layers, %v", len(layers), n, err)
		}
		var list referrerList
		for range 3 { // as if they were pages
			checkRefusal(t, list.read(manifest))
		}
		if found, skipped := list.newest(); len(found) > MaxAttached || skipped < 0 || len(list.bundles) > MaxAttached || len(list.others) > MaxAttached {
			t.Fatalf("%d referrers, %d skipped", len(found), skipped)
		}
		for _, layer := range layers {
			for _, read := range []func(part, []byte) (*verify.Evidence, error){readSignature, readAttestation} {
				e, err := read(layer, payload)
				checkRefusal(t, err)
				if (e == nil) == (err == nil) {
					t.Fatalf("%v and %v", e, err)
				}
			}
		}
	})
}

// Whatever a Link header says, the next page is one of the same list.
func FuzzNextPage(f *testing.F) {
	for _, seed := range []string{`</v2/a/referrers/b?n=1>; rel="next"`, `<?x>; REL = next , <y>; rel="a \"b\" next"`, `<//evil/v2/a/referrers/b>;rel=next`, `<http://r.test/v2/a/referrers/b?q#f>;rel=next`, `<a`, `<>;rel=next`} {
		f.Add(seed)
	}
	registry, err := name.NewRegistry("r.test")
	if err != nil {
		f.Fatal(err)
	}
	g := newGuard(registry, Options{})
	from := &url.URL{Scheme: "https", Host: "r.test", Path: "/v2/a/referrers/b"}
	f.Fuzz(func(t *testing.T, link string) {
		query, ok, err := g.nextPage(http.Header{"Link": {link}}, from)
		if (err != nil || query != "") && ok == (err != nil) {
			t.Fatalf("%q, %v, %v", query, ok, err)
		}
		next := *from
		next.RawQuery = query
		if again, err := url.Parse(next.String()); ok && (err != nil || again.Host != from.Host || again.Path != from.Path || again.RawQuery != query) {
			t.Fatalf("%q leads to %v", link, again)
		}
	})
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, verify.ErrMalformed) {
		t.Fatalf("not a refusal: %v", err)
	}
}
