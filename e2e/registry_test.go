package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ociRegistry is a container registry on loopback, in memory. It has no referrers
// API, so clients keep what belongs to an image under tags made from its digest.
type ociRegistry struct {
	t    *testing.T
	host string
}

func startRegistry(t *testing.T) *ociRegistry {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return &ociRegistry{t, strings.TrimPrefix(s.URL, "http://")}
}

// image is an image in the registry, by its digest.
type image struct {
	ref    string // host/repository@sha256:…
	digest string // hex
}

// push makes an image whose only layer holds content, and pushes it. Other
// content is another image.
func (r *ociRegistry) push(content string) image {
	r.t.Helper()
	layer := static.NewLayer([]byte(content), types.OCILayer)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		r.t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		r.t.Fatal(err)
	}
	ref, err := name.NewDigest(r.host + "/test/app@" + digest.String())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		r.t.Fatal(err)
	}
	return image{ref.String(), digest.Hex}
}

// tagged gives an image a tag, and returns it as host/repository:tag.
func tagged(t *testing.T, image, tag string) string {
	t.Helper()
	ref, err := name.NewDigest(image)
	if err != nil {
		t.Fatal(err)
	}
	what, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	to := ref.Context().Tag(tag)
	if err := remote.Tag(to, what); err != nil {
		t.Fatal(err)
	}
	return to.String()
}

// Suffixes of the tags where cosign keeps an image's signatures and attestations, in
// the legacy form, and its bundles, where the registry has no referrers API.
const (
	signatures   = ".sig"
	attestations = ".att"
	bundles      = ""
)

// dropLogEntries takes the log's answers away from what cosign attached to an
// image, so that only the log itself can tell whether the signature was logged.
func (r *ociRegistry) dropLogEntries(img image, suffix string) {
	r.t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.manifest(http.MethodGet, img, suffix, nil), &m); err != nil {
		r.t.Fatal(err)
	}
	dropped := 0
	for _, layer := range m["layers"].([]any) {
		annotations := layer.(map[string]any)["annotations"].(map[string]any)
		if _, ok := annotations["dev.sigstore.cosign/bundle"]; ok {
			delete(annotations, "dev.sigstore.cosign/bundle")
			dropped++
		}
	}
	if dropped == 0 {
		r.t.Fatalf("cosign attached no log entry to %s", img.ref)
	}
	stripped, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.manifest(http.MethodPut, img, suffix, stripped)
}

// transplant gives an image what cosign attached to another one.
func (r *ociRegistry) transplant(from, to image, suffix string) {
	r.t.Helper()
	r.manifest(http.MethodPut, to, suffix, r.manifest(http.MethodGet, from, suffix, nil))
}

// attached is a layer of what is attached to an image.
type attached struct {
	MediaType, Digest string
	Annotations       map[string]string
}

// layers returns the layers of a manifest, which is given by its tag or digest.
func (r *ociRegistry) layers(reference string) []attached {
	r.t.Helper()
	var m struct{ Layers []attached }
	if err := json.Unmarshal(r.fetch("manifests/"+reference), &m); err != nil || len(m.Layers) == 0 {
		r.t.Fatalf("manifest %s has %d layers, %v", reference, len(m.Layers), err)
	}
	return m.Layers
}

// bundle returns the only Sigstore bundle that is attached to an image.
func (r *ociRegistry) bundle(img image) []byte {
	r.t.Helper()
	var referrers struct{ Manifests []attached }
	if err := json.Unmarshal(r.fetch("manifests/sha256-"+img.digest), &referrers); err != nil || len(referrers.Manifests) != 1 {
		r.t.Fatalf("%s has %d referrers, %v; want 1", img.ref, len(referrers.Manifests), err)
	}
	return r.fetch("blobs/" + r.layers(referrers.Manifests[0].Digest)[0].Digest)
}

// fetch gets what the registry has of the images, such as "blobs/sha256:…".
func (r *ociRegistry) fetch(path string) []byte {
	r.t.Helper()
	answer, err := http.Get("http://" + r.host + "/v2/test/app/" + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s, %v: %s", path, answer.Status, err, got)
	}
	return got
}

// manifest gets or puts the manifest that cosign attached to an image.
func (r *ociRegistry) manifest(method string, img image, suffix string, body []byte) []byte {
	r.t.Helper()
	url := "http://" + r.host + "/v2/test/app/manifests/sha256-" + img.digest + suffix
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", string(types.OCIManifestSchema1))
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		r.t.Fatalf("%s %s: %s, %v: %s", method, url, answer.Status, err, got)
	}
	return got
}
