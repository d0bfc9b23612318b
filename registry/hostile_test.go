package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/verify"
)

// good returns an image with one good signature, and that signature.
func good(t *testing.T, r *testRegistry) (f fixture, layer map[string]any) {
	t.Helper()
	f = fixtureNamed(t, "image-legacy-key-cosign2")
	r.attach(f)
	return f, r.legacyLayer(f)
}

// verified returns how many of what was found verify, and checks that the others say why not.
func verified(t *testing.T, i *Image, f fixture, found []Attached) int {
	t.Helper()
	n := 0
	for _, a := range found {
		if (a.Evidence == nil) == (a.Err == nil) || a.Source == "" {
			t.Errorf("%+v has not either evidence or an error", a)
			continue
		}
		if a.Err != nil {
			continue
		}
		if _, err := f.verifier(t).Verify(a.Evidence, i.Artifact()); err == nil {
			n++
		}
	}
	return n
}

// One signature that cannot be read, for whatever reason, hides no other and counts for nothing.
func TestUnreadableOnes(t *testing.T) {
	empty := fmt.Sprintf("sha256:%064x", 0)
	for name, bad := range map[string]func(r *testRegistry) map[string]any{
		"no annotations": func(r *testRegistry) map[string]any { return r.layer([]byte("{}"), nil) },
		"not base64": func(r *testRegistry) map[string]any {
			return r.layer([]byte("{}"), map[string]string{annotationSignature: "?"})
		},
		"bad bundle": func(r *testRegistry) map[string]any {
			return r.layer([]byte("{}"), map[string]string{annotationSignature: "AAAA", annotationBundle: "{"})
		},
		"absent":           func(r *testRegistry) map[string]any { return map[string]any{"digest": empty, "size": 2} },
		"no digest":        func(r *testRegistry) map[string]any { return map[string]any{"size": 2} },
		"path for digest":  func(r *testRegistry) map[string]any { return map[string]any{"digest": "../../../secret", "size": 2} },
		"too large":        func(r *testRegistry) map[string]any { return map[string]any{"digest": empty, "size": MaxLayer + 1} },
		"negative size":    func(r *testRegistry) map[string]any { return map[string]any{"digest": empty, "size": -1} },
		"another's digest": func(r *testRegistry) map[string]any { d := r.layer([]byte("{}"), nil); d["size"] = 1; return d },
		"foreign URL": func(r *testRegistry) map[string]any {
			return map[string]any{"digest": empty, "size": 2, "urls": []any{"http://" + r.host + "/foreign"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			f, layer := good(t, r)
			r.attachLegacy(f.Digest, ".sig", bad(r), layer, bad(r))
			i := resolve(t, r.digest(f.Digest), Options{})
			found := slices.Collect(i.Attached(t.Context(), Signatures))
			if len(found) != 3 || found[0].Err == nil || found[2].Err == nil {
				t.Errorf("found %+v", found)
			}
			if n := verified(t, i, f, found); n != 1 {
				t.Errorf("%d verify, not 1", n)
			}
			if refused := errors.As(found[0].Err, new(*verify.Error)); refused == (name == "absent" || name == "foreign URL") {
				t.Errorf("%v is a refusal: %v", found[0].Err, refused)
			}
			for _, request := range r.seen() {
				if strings.Contains(request, "foreign") || strings.Contains(request, "secret") {
					t.Errorf("it asked for %s", request)
				}
			}
		})
	}
}

// A source that fails is reported, and the others are read.
func TestSourcesFail(t *testing.T) {
	fail := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":[{"code":"DENIED"}]}`, code) }
	}
	garbage := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", indexType)
			io.WriteString(w, text)
		}
	}
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		refused bool // for what it holds
	}{
		"503":        {fail(503), false},
		"403":        {fail(403), false},
		"401":        {fail(401), false},
		"not JSON":   {garbage("<html>"), true},
		"no object":  {garbage("[]"), true},
		"twice":      {garbage(`{"layers":[],"layers":[],"manifests":[],"manifests":[]}`), true},
		"wrong":      {garbage(`{"layers":{},"manifests":{}}`), true},
		"truncated":  {garbage(`{"layers":[{"digest":"sha256:`), true},
		"after it":   {garbage(`{} {}`), true},
		"deep":       {garbage(`{"layers":[` + strings.Repeat("[", 100000)), true},
		"not a list": {garbage(`{"layers":[1],"manifests":[1]}`), true},
		"sizes":      {garbage(`{"layers":[{"size":1e3}],"manifests":[{"size":1e3}]}`), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			f, _ := good(t, r)
			tag := digestTag(f.Digest)
			for _, path := range []string{"manifests/" + tag + ".att", "manifests/" + tag} {
				r.only(path, c.answer)
			}
			i := resolve(t, r.digest(f.Digest), Options{})
			found := slices.Collect(i.Attached(t.Context(), Signatures|Attestations))
			if len(found) != 3 || verified(t, i, f, found) != 1 {
				t.Fatalf("found %+v", found)
			}
			for _, a := range found[1:] {
				if refused := errors.As(a.Err, new(*verify.Error)); refused != c.refused {
					t.Errorf("%s: %v is a refusal: %v", a.Source, a.Err, refused)
				}
			}
		})
	}
}

// Endless signatures: the last ones are read, with so many requests. (CVE-2023-46737, CVE-2024-29903)
func TestEndlessSignatures(t *testing.T) {
	r := startRegistry(t)
	f, layer := good(t, r)
	junk := r.layer([]byte("{}"), map[string]string{annotationSignature: "AAAA"})
	layers := make([]map[string]any, 0, 5000)
	for range cap(layers) - 1 {
		layers = append(layers, junk)
	}
	r.attachLegacy(f.Digest, ".sig", append(layers, layer)...)
	r.seen()
	i := resolve(t, r.digest(f.Digest), Options{})
	found := slices.Collect(i.Attached(t.Context(), Signatures))
	if len(found) != MaxAttached+1 || verified(t, i, f, found) != 1 {
		t.Errorf("%d were read", len(found))
	}
	if found[0].Err == nil || !strings.Contains(found[0].Err.Error(), "the first 4936 were not read") {
		t.Errorf("it does not say that some were not read: %v", found[0].Err)
	}
	if n := len(r.seen()); n > MaxAttached+8 {
		t.Errorf("%d requests", n)
	}
}

// Endless referrers: those that are said to be bundles come first.
func TestEndlessReferrers(t *testing.T) {
	r := startRegistry(t)
	f, _ := good(t, r)
	var list strings.Builder
	list.WriteString(`{"manifests":[`)
	for n := range 15000 {
		fmt.Fprintf(&list, `{"mediaType":%q,"digest":"sha256:%064x","size":1,"artifactType":%q},`, manifestType, n, []string{"", "application/spdx+json", bundleType}[n%3])
	}
	list.WriteString(`{}]}`)
	r.only("referrers/"+f.Digest, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", indexType)
		io.WriteString(w, list.String())
	})
	r.seen()
	i := resolve(t, r.digest(f.Digest), Options{})
	found := slices.Collect(i.Attached(t.Context(), Signatures))
	if len(found) != 1+1+MaxAttached || verified(t, i, f, found) != 1 {
		t.Errorf("%d were found", len(found))
	}
	if n := len(r.seen()); n > MaxAttached+8 {
		t.Errorf("%d requests", n)
	}
	if list.Reset(); !strings.Contains(found[1].Err.Error(), "the first 4936 were not read") {
		t.Errorf("it says %v", found[1].Err)
	}
}

// Answers without an end are cut off: manifests, blobs, the handshake, errors.
func TestEndlessBytes(t *testing.T) {
	endless := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			block := make([]byte, 1<<20)
			for r.Context().Err() == nil {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}
	}
	for name, code := range map[string]int{"200": 200, "404": 404, "500": 500} {
		for _, path := range []string{"manifests/%s.sig", "manifests/%s", "referrers/%s", "blobs/%s"} {
			t.Run(path+" "+name, func(t *testing.T) {
				r := startRegistry(t)
				f, layer := good(t, r)
				of := digestTag(f.Digest)
				if strings.HasPrefix(path, "referrers") {
					of = f.Digest
				}
				if strings.HasPrefix(path, "blobs") {
					of = layer["digest"].(string)
				}
				r.only(fmt.Sprintf(path, of), endless(code))
				i := resolve(t, r.digest(f.Digest), Options{MaxBytes: 8 << 20})
				found := slices.Collect(i.Attached(t.Context(), Signatures))
				if len(found) == 0 || found[0].Err == nil && found[len(found)-1].Err == nil {
					t.Errorf("found %+v", found)
				}
			})
		}
	}
	t.Run("handshake", func(t *testing.T) {
		r := startRegistry(t)
		r.intercept = func(w http.ResponseWriter, req *http.Request) bool { endless(200)(w, req); return true }
		if _, err := Resolve(t.Context(), r.tag("v1"), Options{MaxBytes: 8 << 20}); err == nil {
			t.Error("it was resolved")
		}
	})
}

// All answers together are bounded, too.
func TestMaxBytes(t *testing.T) {
	r := startRegistry(t)
	f, layer := good(t, r)
	big := r.layer(make([]byte, 1<<20), map[string]string{annotationSignature: "AAAA"})
	r.attachLegacy(f.Digest, ".sig", layer, big, big, big, layer)
	i := resolve(t, r.digest(f.Digest), Options{MaxBytes: 2<<20 + 100000})
	found := slices.Collect(i.Attached(t.Context(), Signatures))
	if n := verified(t, i, f, found); n != 1 || found[4].Err == nil {
		t.Errorf("%d verify: %+v", n, found)
	}
	if !errors.As(found[4].Err, new(*verify.Error)) {
		t.Errorf("it is no refusal: %v", found[4].Err)
	}
}

// Redirects without an end, too.
func TestEndlessRedirects(t *testing.T) {
	r := startRegistry(t)
	f, _ := good(t, r)
	r.only("referrers/"+f.Digest, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, req.URL.Path, http.StatusTemporaryRedirect)
	})
	i := resolve(t, r.digest(f.Digest), Options{})
	found := slices.Collect(i.Attached(t.Context(), Signatures))
	if len(found) != 2 || found[1].Err == nil || verified(t, i, f, found) != 1 {
		t.Errorf("found %+v", found)
	}
	// Whoever asks more often than the limit gets no more, whatever it is.
	for range maxRequests {
		for range i.Attached(t.Context(), Signatures) {
		}
	}
	if n := len(r.seen()); n > maxRequests+10 {
		t.Errorf("%d requests", n)
	}
}

// What comes under a digest has that digest.
func TestWrongDigest(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	bundle := readFixture(t, f.Bundle)
	changed := bytes.Clone(bundle)
	changed[bytes.Index(bundle, []byte(`"hint":"`))+len(`"hint":"`)] ^= 1 // which no verifier looks at
	for name, c := range map[string]struct {
		path string
		sent []byte
	}{
		"another manifest":                 {"manifests/", []byte(`{"layers":[]}`)},
		"another blob":                     {"blobs/", []byte(`{}`)},
		"another blob of the same size":    {"blobs/", changed},
		"the blob, and something after it": {"blobs/", append(bytes.Clone(bundle), ' ')},
		"less than the blob":               {"blobs/", bundle[:len(bundle)-1]},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			r.attach(f)
			r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, c.path+"sha256:") {
					return false
				}
				w.Header().Set("Docker-Content-Digest", req.URL.Path[strings.Index(req.URL.Path, "sha256:"):])
				w.Write(c.sent)
				return true
			}
			found := slices.Collect(resolve(t, r.digest(f.Digest), Options{}).Attached(t.Context(), Signatures))
			if len(found) != 1 || !errors.As(found[0].Err, new(*verify.Error)) || !strings.Contains(found[0].Err.Error(), "registry: ") {
				t.Errorf("found %+v", found)
			}
		})
	}
}

// A size that is not the blob's is no size to read.
func TestWrongSize(t *testing.T) {
	r := startRegistry(t)
	f, layer := good(t, r)
	layer["size"] = layer["size"].(int) + 1
	r.attachLegacy(f.Digest, ".sig", layer)
	found := slices.Collect(resolve(t, r.digest(f.Digest), Options{}).Attached(t.Context(), Signatures))
	if len(found) != 1 || found[0].Err == nil {
		t.Errorf("found %+v", found)
	}
}

// What is at the wrong place is not read as something else.
func TestMisplaced(t *testing.T) {
	signature, attestation := fixtureNamed(t, "image-legacy-key-cosign2"), fixtureNamed(t, "attestation-legacy-key-cosign2")
	bundle := readFixture(t, fixtureNamed(t, "image-bundle-key-cosign3").Bundle)
	for name, attach := range map[string]func(r *testRegistry){
		"a signature among attestations":  func(r *testRegistry) { r.attachLegacy(signature.Digest, ".att", r.legacyLayer(signature)) },
		"an attestation among signatures": func(r *testRegistry) { r.attachLegacy(signature.Digest, ".sig", r.legacyLayer(attestation)) },
		"a bundle that has two layers": func(r *testRegistry) {
			r.bundleOf(signature.Digest, r.blob(bundleType, bundle), r.blob(bundleType, bundle))
		},
		"a bundle that has no layer":       func(r *testRegistry) { r.bundleOf(signature.Digest) },
		"a bundle that is something else":  func(r *testRegistry) { r.bundleOf(signature.Digest, r.blob("text/plain", bundle)) },
		"a bundle that is not one, within": func(r *testRegistry) { r.bundleOf(signature.Digest, r.blob(bundleType, []byte("{}"))) },
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			attach(r)
			found := slices.Collect(resolve(t, r.digest(signature.Digest), Options{}).Attached(t.Context(), Signatures|Attestations))
			if len(found) != 1 || !errors.As(found[0].Err, new(*verify.Error)) {
				t.Errorf("found %+v", found)
			}
		})
	}
}

// A registry that does not answer costs the time that the context has.
func TestSilentRegistry(t *testing.T) {
	r := startRegistry(t)
	f, _ := good(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	r.only("manifests/"+digestTag(f.Digest)+".sig", func(w http.ResponseWriter, req *http.Request) {
		cancel() // the time is up while it waits
		<-req.Context().Done()
	})
	found := slices.Collect(resolve(t, r.digest(f.Digest), Options{}).Attached(ctx, Signatures))
	if len(found) != 2 || !errors.Is(found[0].Err, context.Canceled) || !errors.Is(found[1].Err, context.Canceled) {
		t.Errorf("found %+v", found)
	}
}

// What a registry writes into errors is short, and text.
func TestErrorsAreText(t *testing.T) {
	hostile := strings.Repeat("\x1b[2J\u202e\r\n", 1000)
	r := startRegistry(t)
	f, _ := good(t, r)
	tag := digestTag(f.Digest)
	r.only("manifests/"+tag+".sig", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, hostile, http.StatusForbidden) })
	r.only("manifests/"+tag+".att", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"layers":[],"%[1]s":1,"%[1]s":2}`, strings.Repeat("x", 10000))
	})
	r.only("manifests/"+tag, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"manifests":[{"digest":"%s"}]}`, strings.Repeat("\u202e", 1000))
	})
	r.only("manifests/v1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", strings.Repeat("x", 10000))
	})
	_, err := Resolve(t.Context(), r.tag("v1"), Options{})
	texts := []string{err.Error()}
	for a := range resolve(t, r.digest(f.Digest), Options{}).Attached(t.Context(), Signatures|Attestations) {
		texts = append(texts, a.Source, a.Err.Error())
	}
	if len(texts) != 7 {
		t.Errorf("%d texts: %q", len(texts), texts)
	}
	for _, text := range texts {
		if strings.ContainsAny(text, "\x1b\u202e\r\n") || len(text) > 1000 {
			t.Errorf("%d bytes: %q", len(text), text)
		}
	}
}
