package main

import (
	"bytes"
	"crypto/sha256"
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
	"sync/atomic"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// imageRegistry is a registry on loopback that has the image of the fixtures, under the
// tag v1.
type imageRegistry struct {
	t      *testing.T
	host   string
	digest string
	away   atomic.Bool // it answers with 503
	asked  atomic.Int32
}

func startImages(t *testing.T) *imageRegistry {
	t.Helper()
	r := &imageRegistry{t: t, digest: fixtureNamed(t, "image-legacy-key-cosign2").Digest}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		if r.away.Load() && req.URL.Path != "/v2/" {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	r.host = strings.TrimPrefix(s.URL, "http://")
	for _, blob := range []string{"{}"} {
		r.blob([]byte(blob))
	}
	r.put("v1", "application/vnd.oci.image.manifest.v1+json", readFile(t, verifyFixture{}.path("image.json")))
	return r
}

func (r *imageRegistry) name(reference string) string { return r.host + "/test/app" + reference }

func (r *imageRegistry) send(method, path, contentType string, body []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.host+"/v2/test/app/"+path, bytes.NewReader(body))
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
}

// put stores a manifest under a reference, or under its digest, which it returns.
func (r *imageRegistry) put(reference, mediaType string, manifest []byte) string {
	r.t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(manifest))
	if reference == "" {
		reference = digest
	}
	r.send(http.MethodPut, "manifests/"+reference, mediaType, manifest)
	return digest
}

type ociPart map[string]any

func (r *imageRegistry) blob(content []byte) ociPart {
	r.t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	r.send(http.MethodPost, "blobs/uploads/?digest="+digest, "application/octet-stream", content)
	return ociPart{"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
}

func (r *imageRegistry) json(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// attach attaches the fixtures to the image of that digest as cosign does; those of one tag in that order.
func (r *imageRegistry) attach(digest string, all ...verifyFixture) {
	r.t.Helper()
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	layers := map[string][]ociPart{}
	var referrers []ociPart
	for _, f := range all {
		if f.Bundle != "" {
			layer := r.blob(readFile(r.t, f.path(f.Bundle)))
			layer["mediaType"] = bundleType
			manifest := r.json(ociPart{"schemaVersion": 2, "artifactType": bundleType, "config": r.blob([]byte("{}")), "layers": []ociPart{layer}})
			referrers = append(referrers, ociPart{"digest": r.put("", "application/vnd.oci.image.manifest.v1+json", manifest), "artifactType": bundleType, "size": len(manifest),
				"mediaType": "application/vnd.oci.image.manifest.v1+json"})
			continue
		}
		layer := r.blob(readFile(r.t, f.path(f.Payload)))
		layer["annotations"] = json.RawMessage(readFile(r.t, f.path(f.Annotations)))
		suffix := ".sig"
		if f.PredicateType != "" {
			suffix = ".att"
		}
		layers[suffix] = append(layers[suffix], layer)
	}
	tag := strings.Replace(digest, ":", "-", 1)
	for suffix, layers := range layers {
		r.put(tag+suffix, "application/vnd.oci.image.manifest.v1+json", r.json(ociPart{"schemaVersion": 2, "config": r.blob([]byte("{}")), "layers": layers}))
	}
	if referrers != nil {
		r.put(tag, "application/vnd.oci.image.index.v1+json", r.json(ociPart{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": referrers}))
	}
}

// What cosign attached to an image is found in the registry, by digest and by tag, and verified.
func TestVerifyImage(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, f := range readFixtures(t) {
		if strings.HasPrefix(f.Form, "blob") {
			continue
		}
		r := startImages(t)
		r.attach(f.Digest, f)
		for _, reference := range []string{"@" + f.Digest, ":v1", ":v1@" + f.Digest} {
			code, out, errs := verifying(t, append(f.who(), r.name(reference))...)
			if code != exitOK || !strings.Contains(out, "image "+r.name(reference)+"\n") || !strings.Contains(out, f.Digest) {
				t.Errorf("%s: exit code %d, not %d\n%s%s", f.Name, code, exitOK, out, errs)
			}
		}
		// Its signatures do not help another image that they are attached to.
		other := r.put("other", "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}`))
		r.attach(other, f)
		if code, out, errs := verifying(t, append(f.who(), r.name(":other"))...); code != exitRefused || strings.Contains(out, "  ok  ") {
			t.Errorf("%s, of another image: exit code %d\n%s%s", f.Name, code, out, errs)
		}
	}
}

// Zero signatures, and zero of the kind that is asked for, are a refusal.
func TestCVE_2022_35930_NoSignatureIsNoSuccess(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	signature, attestation := fixtureNamed(t, "image-legacy-key-cosign2"), fixtureNamed(t, "attestation-legacy-key-cosign2")
	bundle, statement := fixtureNamed(t, "image-bundle-key-cosign3"), fixtureNamed(t, "attestation-bundle-key-cosign3")
	for what, c := range map[string]struct {
		attached []verifyFixture
		asked    verifyFixture
		says     string
	}{
		"nothing, a signature is asked for":                {nil, signature, "signature"},
		"nothing, an attestation is asked for":             {nil, attestation, "attestation"},
		"an attestation, a signature is asked for":         {[]verifyFixture{attestation, statement}, signature, ""},
		"a signature, an attestation is asked for":         {[]verifyFixture{signature, bundle}, attestation, ""},
		"an attestation of another type than is asked for": {[]verifyFixture{attestation, statement}, func() verifyFixture { f := attestation; f.PredicateType = "vuln"; return f }(), ""},
	} {
		r := startImages(t)
		r.attach(r.digest, c.attached...)
		for _, output := range []string{"text", "json"} {
			code, out, errs := verifying(t, append(c.asked.who(), "-o", output, r.name(":v1"))...)
			if code != exitRefused || !strings.Contains(out, "NOT verified") && !strings.Contains(out, `"verified": false`) || strings.Contains(out, `"verified": true`) ||
				len(c.attached) == 0 && !strings.Contains(errs, "tallystick: no "+c.says+" is attached to the image\n") ||
				output == "json" && !strings.Contains(out, `"class": "`) {
				t.Errorf("%s: exit code %d\n%s%s", what, code, out, errs)
			}
		}
	}
}

// Of several signatures one has to hold; of the others it is said why they do not.
func TestVerifySeveral(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	keyless, bundle := fixtureNamed(t, "image-legacy-keyless-cosign2"), fixtureNamed(t, "image-bundle-key-cosign3")
	r := startImages(t)
	r.attach(r.digest, keyless, f, bundle)
	code, out, errs := verifying(t, append(f.who(), r.name(":v1"))...)
	if code != exitOK || !strings.Contains(out, "verified: 2 of 3 signatures\n") || strings.Count(out, "  --  left aside: identity mismatch") != 1 || strings.Count(out, "signature        ") != 3 ||
		strings.Contains(out, "  NO  ") || strings.LastIndex(out, "  ok  ") > strings.Index(out, "left aside") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, _ = verifying(t, append(f.who(), "-o", "json", r.name(":v1"))...)
	var d verifyDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitOK || !d.Verified || d.Artifact != r.digest || d.Kind != "image" || len(d.Signatures) != 3 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	for i, want := range []bool{false, true, true} {
		s := d.Signatures[i]
		if s.Verified != want || (s.Error == "") != want || (s.Class == "identity mismatch") == want || (len(s.Claims) > 0) != want || s.Source == "" {
			t.Errorf("signature %d: %+v", i, s)
		}
	}
	// None of them is by this key.
	code, out, errs = verifying(t, append(with(f.who(), "--key", writeFile(t, "key", foreignP256)), r.name(":v1"))...)
	if code != exitRefused || strings.Count(out, "  NO  ") != 3 || strings.Contains(out, "  ok  ") || !strings.Contains(errs, "tallystick: none of 3 signatures holds") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// A registry that is away is no refusal, unless something good was found before.
func TestVerifyRegistryAway(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	r.attach(r.digest, f)
	r.away.Store(true)
	code, out, errs := verifying(t, append(f.who(), r.name(":v1"))...)
	if code != exitFailure || out != "" || !strings.Contains(errs, "looking up") {
		t.Errorf("by tag: exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = verifying(t, append(f.who(), r.name("@"+r.digest))...)
	if code != exitFailure || !strings.Contains(out, "NOT verified") {
		t.Errorf("by digest: exit code %d\n%s%s", code, out, errs)
	}
	code, out, _ = verifying(t, append(f.who(), "-o", "json", r.name("@"+r.digest))...)
	if code != exitFailure || !strings.Contains(out, `"class": "unavailable"`) || strings.Contains(out, `"verified": true`) {
		t.Errorf("by digest: exit code %d\n%s", code, out)
	}
	code, out, errs = verifying(t, append(f.who(), "127.0.0.1:1/test/app@"+r.digest)...)
	if code != exitFailure || !strings.Contains(errs, "refused") {
		t.Errorf("nobody listens: exit code %d\n%s%s", code, out, errs)
	}
	code, _, errs = verifying(t, append(f.who(), "--timeout", "1ns", r.name(":v1"))...)
	if code != exitFailure || !strings.Contains(errs, "deadline") {
		t.Errorf("no time: exit code %d\n%s", code, errs)
	}
}

// Where the signature is in files, the registry is not asked, and neither is the log.
func TestVerifyAsksNobody(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	r := startImages(t)
	before := r.asked.Load()
	for _, reference := range []string{"@" + f.Digest, ":v1@" + f.Digest} {
		if code, out, errs := verifying(t, append(f.args(t), r.name(reference))...); code != exitOK || !strings.Contains(out, "image ") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
	}
	if code, _, _ := verifying(t, append(f.args(t), r.name(":v1"))...); code != exitUsage {
		t.Errorf("a tag: exit code %d", code)
	}
	if n := r.asked.Load() - before; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// The credentials of docker are used, for the registry that they are for.
func TestVerifyCredentials(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	inner := startImages(t)
	inner.attach(inner.digest, f)
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if seen = append(seen, user+":"+password); user != "user" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, "http://"+inner.host+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	config := fmt.Sprintf(`{"auths":{%q:{"auth":"dXNlcjpzZWNyZXQ="},"other.example.com":{"auth":"b3RoZXI6c2VjcmV0"}}}`, host)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := verifying(t, append(f.who(), host+"/test/app@"+f.Digest)...)
	if code != exitOK || !slices.Contains(seen, "user:secret") {
		t.Errorf("exit code %d, %q\n%s%s", code, seen, out, errs)
	}
}
