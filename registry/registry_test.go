package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/tallystick/tallystick/verify"
)

// testRegistry is go-containerregistry's registry over HTTP on loopback. A test may take
// requests away from it, and sees which ones it got.
type testRegistry struct {
	t    *testing.T
	host string

	mu        sync.Mutex
	requests  []string // "GET /v2/…"
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

// repository is where all images are.
const repository = "test/app"

func startRegistry(t *testing.T, o ...ggcr.Option) *testRegistry {
	t.Helper()
	r := &testRegistry{t: t}
	inner := ggcr.New(append(o, ggcr.Logger(log.New(io.Discard, "", 0)))...)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, req.Method+" "+req.URL.Path)
		intercept := r.intercept
		r.mu.Unlock()
		if intercept == nil || !intercept(w, req) {
			inner.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(s.Close)
	r.host = strings.TrimPrefix(s.URL, "http://")
	return r
}

// only answers the path (after the repository) in its own way from now on.
func (r *testRegistry) only(path string, answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.intercept
	r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/v2/"+repository+"/"+path {
			answer(w, req)
			return true
		}
		return before != nil && before(w, req)
	}
}

// seen returns the requests since the last call.
func (r *testRegistry) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.requests
	r.requests = nil
	return all
}

func (r *testRegistry) send(method, path, contentType string, body []byte) *http.Response {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.host+"/v2/"+repository+"/"+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		r.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	return resp
}

// blob stores a blob and returns its descriptor.
func (r *testRegistry) blob(mediaType string, content []byte) map[string]any {
	r.t.Helper()
	digest := digestOf(content)
	r.send(http.MethodPost, "blobs/uploads/?digest="+digest, "application/octet-stream", content)
	return map[string]any{"mediaType": mediaType, "size": len(content), "digest": digest}
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	bundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// manifest stores a manifest under a tag or, if that is empty, its digest, which it returns.
func (r *testRegistry) manifest(tag string, m map[string]any) string {
	r.t.Helper()
	m["schemaVersion"] = 2
	if m["mediaType"] == nil {
		m["mediaType"] = manifestType
	}
	data := toJSON(r.t, m)
	if tag == "" {
		tag = digestOf(data)
	}
	r.send(http.MethodPut, "manifests/"+tag, m["mediaType"].(string), data)
	return digestOf(data)
}

// attachBundle stores a bundle as cosign does, and adds it to the index under the tag.
func (r *testRegistry) attachBundle(digest, artifactType string, bundle []byte) {
	r.t.Helper()
	referrer := r.referrer(digest, bundle)
	tag := "manifests/" + digestTag(digest)
	index := map[string]any{"manifests": []any{}}
	if resp, err := http.Get("http://" + r.host + "/v2/" + repository + "/" + tag); err == nil {
		if resp.StatusCode == http.StatusOK {
			if err := json.NewDecoder(resp.Body).Decode(&index); err != nil {
				r.t.Fatal(err)
			}
		}
		resp.Body.Close()
	}
	index["mediaType"] = indexType
	index["manifests"] = append(index["manifests"].([]any), map[string]any{
		"mediaType": manifestType, "size": 1, "digest": referrer, "artifactType": artifactType,
	})
	r.manifest(digestTag(digest), index)
}

// bundleOf makes a manifest of these layers the only referrer, a bundle by what is said of it.
func (r *testRegistry) bundleOf(digest string, layers ...any) {
	r.t.Helper()
	referrer := r.manifest("", map[string]any{"layers": append([]any{}, layers...)})
	r.manifest(digestTag(digest), map[string]any{"mediaType": indexType, "manifests": []any{
		map[string]any{"mediaType": manifestType, "size": 1, "digest": referrer, "artifactType": bundleType},
	}})
}

// referrer stores a bundle and the manifest that refers to the image.
func (r *testRegistry) referrer(digest string, bundle []byte) string {
	return r.manifest("", map[string]any{
		"artifactType": bundleType,
		"config":       r.blob(emptyMediaType, []byte("{}")),
		"layers":       []any{r.blob(bundleType, bundle)},
		"subject":      map[string]any{"mediaType": manifestType, "size": 1, "digest": digest},
	})
}

// attachLegacy adds a layer with annotations under a tag made from the digest.
func (r *testRegistry) attachLegacy(digest, suffix string, layers ...map[string]any) {
	all := []any{}
	for _, l := range layers {
		all = append(all, l)
	}
	r.manifest(digestTag(digest)+suffix, map[string]any{"config": r.blob("application/vnd.oci.image.config.v1+json", []byte("{}")), "layers": all})
}

func (r *testRegistry) layer(payload []byte, annotations map[string]string) map[string]any {
	d := r.blob("application/vnd.dev.cosign.simplesigning.v1+json", payload)
	d["annotations"] = annotations
	return d
}

func (r *testRegistry) tag(tag string) name.Tag {
	r.t.Helper()
	ref, err := name.NewTag(r.host + "/" + repository + ":" + tag)
	if err != nil {
		r.t.Fatal(err)
	}
	return ref
}

func (r *testRegistry) digest(digest string) name.Digest {
	r.t.Helper()
	ref, err := name.NewDigest(r.host + "/" + repository + "@" + digest)
	if err != nil {
		r.t.Fatal(err)
	}
	return ref
}

// resolve resolves a reference that has to be there.
func resolve(t *testing.T, ref name.Reference, o Options) *Image {
	t.Helper()
	i, err := Resolve(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fixture is a signature that a real cosign made (see verify/testdata/cosign).
type fixture struct {
	Name, Form, Bundle, Payload, Annotations, Digest, Key, Identity, Issuer, PredicateType string
	Timestamp, Logged                                                                      bool
}

const fixtures = "../verify/testdata/cosign"

func readFixture(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtures, file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// imageFixtures returns those that are of images.
func imageFixtures(t *testing.T) []fixture {
	t.Helper()
	var all []fixture
	if err := json.Unmarshal(readFixture(t, "index.json"), &all); err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(f fixture) bool { return strings.HasPrefix(f.Form, "blob") })
	if len(all) < 32 {
		t.Fatalf("%d fixtures of images", len(all))
	}
	return all
}

func fixtureNamed(t *testing.T, name string) fixture {
	t.Helper()
	for _, f := range imageFixtures(t) {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no fixture %s", name)
	return fixture{}
}

// attach stores what the fixture has as cosign does.
func (r *testRegistry) attach(f fixture) {
	r.t.Helper()
	if f.Bundle != "" {
		r.attachBundle(f.Digest, bundleType, readFixture(r.t, f.Bundle))
		return
	}
	suffix := ".sig"
	if strings.HasPrefix(f.Form, "attestation") {
		suffix = ".att"
	}
	r.attachLegacy(f.Digest, suffix, r.legacyLayer(f))
}

// legacyLayer stores the layer of a fixture.
func (r *testRegistry) legacyLayer(f fixture) map[string]any {
	r.t.Helper()
	var annotations map[string]string
	mustDecode(r.t, readFixture(r.t, f.Annotations), &annotations)
	return r.layer(readFixture(r.t, f.Payload), annotations)
}

// verifier judges a fixture, all but its timestamps.
func (f fixture) verifier(t *testing.T) *verify.Verifier {
	t.Helper()
	trust, err := verify.ParseTrustedRoot(readFixture(t, "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	p := verify.Policy{PredicateType: f.PredicateType, IgnoreTimestamps: true}
	if f.Key != "" {
		p.Keys = []verify.PublicKey{{PEM: readFixture(t, f.Key)}}
	} else {
		p.Identities = []verify.Identity{{Issuer: f.Issuer, Subject: f.Identity}}
	}
	v, err := verify.New(trust, p, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What cosign attached is found, wherever it is, and verifies for the digest asked for.
func TestAttached(t *testing.T) {
	for _, f := range imageFixtures(t) {
		t.Run(f.Name, func(t *testing.T) {
			r := startRegistry(t)
			r.attach(f)
			i := resolve(t, r.digest(f.Digest), Options{})
			if i.Artifact().String() != f.Digest || i.Name.DigestStr() != f.Digest {
				t.Fatalf("it is of %v, not %s", i.Artifact(), f.Digest)
			}
			kind := Signatures
			if f.PredicateType != "" {
				kind = Attestations
			}
			checkFound(t, slices.Collect(i.Attached(t.Context(), kind)), f, i.Artifact())
			if f.Bundle == "" {
				other := resolve(t, r.digest(f.Digest), Options{})
				if got := slices.Collect(other.Attached(t.Context(), Signatures|Attestations&^kind)); kind == Attestations && len(got) != 0 {
					t.Errorf("an attestation is found among signatures: %v", got)
				}
			}
		})
	}
}

func checkFound(t *testing.T, found []Attached, f fixture, a verify.Artifact) {
	t.Helper()
	if len(found) != 1 || found[0].Err != nil || found[0].Evidence == nil {
		t.Fatalf("found %+v, not one that can be read", found)
	}
	if _, err := f.verifier(t).Verify(found[0].Evidence, a); (err == nil) != f.Logged {
		t.Errorf("%s: %v, and logged is %v", found[0].Source, err, f.Logged)
	}
	other := verify.SHA256([32]byte{1})
	if _, err := f.verifier(t).Verify(found[0].Evidence, other); err == nil {
		t.Errorf("%s: it verifies another image", found[0].Source)
	}
}

// The list of referrers may be that of the API, and artifactType may be anything that clients and
// registries are known to write there.
func TestReferrers(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	bundle := readFixture(t, f.Bundle)
	for _, artifactType := range []string{bundleType, "application/vnd.dev.sigstore.bundle+json;version=0.3", emptyMediaType, ""} {
		t.Run("tag "+artifactType, func(t *testing.T) {
			r := startRegistry(t)
			r.attachBundle(f.Digest, artifactType, bundle)
			i := resolve(t, r.digest(f.Digest), Options{})
			checkFound(t, slices.Collect(i.Attached(t.Context(), Signatures)), f, i.Artifact())
		})
	}
	t.Run("API", func(t *testing.T) {
		r := startRegistry(t, ggcr.WithReferrersSupport(true)) // which writes the config's media type
		r.referrer(f.Digest, bundle)
		i := resolve(t, r.digest(f.Digest), Options{})
		checkFound(t, slices.Collect(i.Attached(t.Context(), Signatures)), f, i.Artifact())
	})
	t.Run("API, and a charset", func(t *testing.T) {
		r := startRegistry(t)
		referrer := r.referrer(f.Digest, bundle)
		r.only("referrers/"+f.Digest, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", strings.ToUpper(indexType[:1])+indexType[1:]+"; charset=utf-8")
			fmt.Fprintf(w, `{"manifests":[{"digest":%q,"artifactType":%q}]}`, referrer, bundleType)
		})
		i := resolve(t, r.digest(f.Digest), Options{})
		checkFound(t, slices.Collect(i.Attached(t.Context(), Signatures)), f, i.Artifact())
	})
	t.Run("not bundles", func(t *testing.T) {
		r := startRegistry(t)
		r.attachBundle(f.Digest, "application/spdx+json", []byte("not looked at"))
		sbom := r.manifest("", map[string]any{"layers": []any{r.blob("application/spdx+json", []byte("{}"))}})
		r.only("manifests/"+digestTag(f.Digest), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", indexType)
			fmt.Fprintf(w, `{"manifests":[{"digest":%q,"artifactType":""}]}`, sbom)
		})
		if got := slices.Collect(resolve(t, r.digest(f.Digest), Options{}).Attached(t.Context(), Signatures)); len(got) != 0 {
			t.Errorf("other referrers are reported: %+v", got)
		}
	})
}

// Nothing attached is nothing, and no error.
func TestNothingAttached(t *testing.T) {
	r := startRegistry(t)
	digest := r.manifest("v1", map[string]any{"layers": []any{}})
	if got := slices.Collect(resolve(t, r.tag("v1"), Options{}).Attached(t.Context(), Signatures|Attestations)); len(got) != 0 {
		t.Errorf("found %+v", got)
	}
	want := []string{"GET /v2/", "GET /v2/test/app/manifests/v1", "GET /v2/test/app/manifests/" + digestTag(digest) + ".sig",
		"GET /v2/test/app/manifests/" + digestTag(digest) + ".att", "GET /v2/test/app/referrers/" + digest,
		"GET /v2/test/app/manifests/" + digestTag(digest)}
	if got := slices.DeleteFunc(r.seen(), func(s string) bool { return !strings.HasPrefix(s, "GET ") }); !slices.Equal(got, want) {
		t.Errorf("requests %q, not %q", got, want)
	}
}

// A tag is looked up once. What it stands for later changes nothing. (CVE-2022-47633, CVE-2023-47630)
func TestTagIsResolvedOnce(t *testing.T) {
	r := startRegistry(t)
	f := imageFixtures(t)[0]
	r.attach(f)
	r.manifest("other", map[string]any{"layers": []any{}, "annotations": map[string]any{"this": "other"}})
	answers := 0
	r.only("manifests/v1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64)) // a lie
		if answers++; answers == 1 {
			w.Write(readFixture(t, "image.json"))
			return
		}
		io.WriteString(w, `{"schemaVersion":2,"layers":[]}`)
	})
	i := resolve(t, r.tag("v1"), Options{})
	if i.Artifact().String() != f.Digest {
		t.Fatalf("resolved to %v, not the digest of what came, %s", i.Artifact(), f.Digest)
	}
	for range 2 {
		checkFound(t, slices.Collect(i.Attached(t.Context(), Signatures)), f, i.Artifact())
	}
	if answers != 1 {
		t.Errorf("the tag was looked up %d times", answers)
	}
}

// A media type may have parameters.
func TestTypeWithParameters(t *testing.T) {
	r := startRegistry(t)
	r.only("manifests/v1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", manifestType+"; charset=utf-8")
		io.WriteString(w, anImage)
	})
	resolve(t, r.tag("v1"), Options{})
}

// Of an image for several platforms, the index's digest counts.
func TestIndex(t *testing.T) {
	r := startRegistry(t)
	child := r.manifest("", map[string]any{"layers": []any{}})
	index := r.manifest("multi", map[string]any{"mediaType": indexType, "manifests": []any{
		map[string]any{"mediaType": manifestType, "digest": child, "size": 1, "platform": map[string]any{"os": "linux", "architecture": "amd64"}},
	}})
	if got := resolve(t, r.tag("multi"), Options{}).Artifact().String(); got != index {
		t.Errorf("resolved to %s, not the index %s", got, index)
	}
}

func TestResolveRefuses(t *testing.T) {
	r := startRegistry(t)
	r.only("manifests/strange", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
		io.WriteString(w, "{}")
	})
	sha512, err := name.NewDigest(r.host + "/test/app@sha512:" + strings.Repeat("0", 128))
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []name.Reference{r.tag("absent"), r.tag("strange"), sha512} {
		if i, err := Resolve(t.Context(), ref, Options{}); err == nil || i != nil {
			t.Errorf("%v: %v, %v", ref, i, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Resolve(ctx, r.tag("strange"), Options{}); err == nil {
		t.Error("the context is not looked at")
	}
}
