package admission

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/registry"
)

// Each test is named for an advisory against another admission controller, and shows that its cause is absent here.

// A registry, or somebody on the way, that answers differently on a second fetch gets nothing in: the tag is looked up
// once, for all containers, and what comes out is the digest that was verified.
func TestCVE_2022_47633_TagIsResolvedOnceAndPinned(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	evil := []byte(`{"schemaVersion":2,"mediaType":"` + manifestType + `","layers":[]}`)
	var lookups atomic.Int32
	w.meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/test/app/manifests/v1" {
			return false
		}
		if lookups.Add(1) == 1 {
			return false
		}
		rw.Header().Set("Content-Type", manifestType)
		rw.Write(evil)
		return true
	})
	a := w.ask(t, "/mutate", reviewOf(podKind, "CREATE", "default", podOf(w.app(":v1"), w.app(":v1"))))
	if !a.Response.Allowed || strings.Count(string(a.Response.Patch), f.Digest) != 2 || lookups.Load() != 1 {
		t.Fatalf("%d lookups, patch %s", lookups.Load(), a.Response.Patch)
	}
	// The validating webhook gets what was pinned and asks for nothing by tag. The unpinned image is denied.
	w.admits(t, "/validate", w.app("@"+f.Digest))
	w.denies(t, "/validate", w.app(":v1"), "no digest")
	if lookups.Load() != 1 {
		t.Errorf("the tag was looked up %d times", lookups.Load())
	}
	// The next request sees the other image, which is not signed.
	w.denies(t, "/mutate", w.app(":v1"), "no signature is attached")
}

// A compromised registry does not choose the digest: neither by a header, nor by sending other bytes for a digest.
func TestCVE_2023_47630_RegistryDoesNotChooseTheDigest(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	evil := []byte(`{"schemaVersion":2,"mediaType":"` + manifestType + `","layers":[]}`)
	w.meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/test/app/manifests/v1" && r.URL.Path != "/v2/test/app/manifests/"+f.Digest {
			return false
		}
		rw.Header().Set("Content-Type", manifestType)
		rw.Header().Set("Docker-Content-Digest", f.Digest) // a lie
		rw.Write(evil)
		return true
	})
	w.denies(t, "/mutate", w.app(":v1"), "no signature is attached")
}

// No field of a policy is ignored: each makes the difference between admitted and denied. (Unknown fields are refused: see
// TestPolicyRefusals.)
func TestCVE_2025_29778_EveryFieldDenies(t *testing.T) {
	keyless := fixtureNamed(t, "image-bundle-keyless-timestamp-cosign3")
	key := fixtureNamed(t, "image-legacy-key-cosign2")
	spdx := fixtureNamed(t, "attestation-legacy-key-cosign2")
	const spdxType = "https://spdx.dev/Document"
	old := fixtureNamed(t, "attestation-legacy-keyless-cosign2")
	const spdxOnly = ", attestationsOnly: true, attestations: [{type: '" + spdxType + "', "
	identity := func(fields string) string { return "identities: [{" + fields + "}]" }
	issuer, subject := fmt.Sprintf("issuer: %q", keyless.Issuer), fmt.Sprintf("subject: %q", keyless.Identity)
	for name, c := range map[string]struct {
		attached   []fixture
		good, evil string
	}{
		"issuer":           {[]fixture{keyless}, identity(issuer + ", " + subject), identity("issuer: 'https://x', " + subject)},
		"subject":          {[]fixture{keyless}, identity(issuer + ", " + subject), identity(issuer + ", subject: x")},
		"issuerRegexp":     {[]fixture{keyless}, identity("issuerRegexp: '^http://127.*jobs$', " + subject), identity("issuerRegexp: '^https://x$', " + subject)},
		"subjectRegexp":    {[]fixture{keyless}, identity(issuer + ", subjectRegexp: '^https://github.com/example/'"), identity(issuer + ", subjectRegexp: '^https://github.com/evil/'")},
		"extensions":       {[]fixture{keyless}, identity(issuer + ", " + subject), identity(issuer + ", " + subject + `, extensions: {"1.3.6.1.4.1.57264.1.12": "https://github.com/example/other"}`)},
		"keys":             {[]fixture{key}, key.signers(t), fmt.Sprintf("keys: [{pem: %q}]", readFixture(t, "p521.pub"))},
		"validFor":         {[]fixture{key}, key.signers(t), fmt.Sprintf("keys: [{pem: %q, validFor: {end: 2020-01-01T00:00:00Z}}]", readFixture(t, key.Key))},
		"signedTimestamps": {[]fixture{key}, key.signers(t), key.signers(t) + ", signedTimestamps: 1"},
		"type":             {[]fixture{key, spdx}, key.signers(t) + ", attestations: [{type: '" + spdxType + "'}]", key.signers(t) + ", attestations: [{type: 'https://slsa.dev/provenance/v1'}]"},
		"maxAge":           {[]fixture{old}, old.signers(t) + spdxOnly + "maxAge: 800000h}]", old.signers(t) + spdxOnly + "maxAge: 1ns}]"},
		"signedTime":       {[]fixture{old}, old.signers(t) + spdxOnly + "maxAge: 800000h}]", old.signers(t) + spdxOnly + "maxAge: 800000h, signedTime: /created}]"},
		"attestationsOnly": {[]fixture{spdx}, key.signers(t) + ", attestationsOnly: true, attestations: [{type: '" + spdxType + "'}]", key.signers(t) + ", attestations: [{type: '" + spdxType + "'}]"},
		"witnesses":        {[]fixture{key}, key.signers(t), key.signers(t) + `, witnesses: "witness w sigsum.org+e4ade967+AZuUY6B08pW3QVHu8uvsrxWPcAv9nykap2Nb4oxCee+r\nquorum w\n"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, c.good, c.attached...)
			w.admits(t, "/mutate", w.app(":v1"))
			p, err := parse(t, w.ruleFor(c.evil))
			if err != nil {
				t.Fatal(err)
			}
			w.server.SetPolicy(p) // what was admitted before is remembered, and does not count
			w.denies(t, "/mutate", w.app(":v1"))
			w.denies(t, "/validate", w.app("@"+key.Digest))
		})
	}
}

// An error skips no check: what is attached beside an unreadable signature does not matter, and each error denies (see
// TestEveryFaultDenies).
func TestCVE_2025_46342_ErrorsSkipNothing(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	w.meddle(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/test/app/") {
			http.Error(rw, "forbidden", http.StatusForbidden)
			return true
		}
		return false
	})
	w.denies(t, "/mutate", w.app(":v1"), "digest could not be found out")
	w.denies(t, "/validate", w.app("@"+f.Digest), "could not be read")
}

// Exceptions are in the server's policy alone, for whole namespaces by their exact names. What users write into objects
// makes none: neither a namespace in the object, nor labels, nor annotations.
func TestCVE_2024_48921_ExceptionsAreThePolicys(t *testing.T) {
	r := startImages(t)
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := startWorld(t, Config{Policy: mustParse(t, "exemptNamespaces: [kube-system]\n"+r.ruleFor(f.signers(t)))})
	for namespace, exempt := range map[string]bool{"kube-system": true, "kube-system2": false, "Kube-system": false, "kube": false, "": false, "default": false, "kube-system ": false} {
		for _, path := range []string{"/mutate", "/validate"} {
			if a := w.ask(t, path, reviewOf(podKind, "CREATE", namespace, podOf("example.com/bad"))); a.Response.Allowed != exempt || a.Response.Patch != nil {
				t.Errorf("%q: allowed %v", namespace, a.Response.Allowed)
			}
		}
	}
	pod := podOf("example.com/bad")
	pod["metadata"] = map[string]any{"name": "app", "namespace": "kube-system"}
	if w.ask(t, "/validate", reviewOf(podKind, "CREATE", "default", pod)).Response.Allowed {
		t.Error("the namespace of the object counts, which its author writes")
	}
}

// No label switches the check off, as policy.sigstore.dev/include does in policy-controller. (Nor do namespaces' labels: see
// TestKubernetesManifests.)
func TestLabelsSwitchNothingOff(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for _, label := range []string{"policy.sigstore.dev/include", "policy.sigstore.dev/exclude", "admission.gatekeeper.sh/ignore", "tallystick/ignore", "webhooks.kyverno.io/exclude"} {
		for _, value := range []string{"true", "false", ""} {
			pod := podOf("example.com/bad")
			pod["metadata"] = map[string]any{"name": "app", "namespace": "default", "labels": map[string]any{label: value}, "annotations": map[string]any{label: value, "kubernetes.io/config.mirror": "x"}}
			if w.ask(t, "/validate", reviewOf(podKind, "CREATE", "default", pod)).Response.Allowed {
				t.Errorf("%s=%s switches the check off", label, value)
			}
		}
	}
}

// Credentials go to the registry that they are for, and to no other host, wherever it leads.
func TestCVE_2025_27403_CredentialsStayWithTheirRegistry(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	var leaked atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
	}))
	defer thief.Close()
	r := startImages(t)
	r.attach("test/app", f.Digest, f)
	var asked atomic.Int32
	r.meddle(func(rw http.ResponseWriter, req *http.Request) bool {
		user, password, _ := req.BasicAuth()
		switch {
		case user != "user" || password != "secret":
			rw.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		case strings.HasSuffix(req.URL.Path, "/manifests/elsewhere"):
			http.Redirect(rw, req, thief.URL+"/v2/test/app/manifests/elsewhere", http.StatusTemporaryRedirect)
			return true
		}
		asked.Add(1)
		return false
	})
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, base64.StdEncoding.EncodeToString([]byte("user:secret")))
	keychain := Credentials{Read: func() ([]byte, error) { return []byte(config), nil }}
	text := r.ruleFor(f.signers(t))
	text = strings.Replace(text, "images: [", fmt.Sprintf("images: [%q, ", strings.TrimPrefix(thief.URL, "http://")+"/**"), 1)
	w := startWorld(t, Config{Policy: mustParse(t, text), Keychain: keychain})
	w.images = r
	w.admits(t, "/mutate", w.app(":v1"))
	if asked.Load() == 0 {
		t.Error("the registry did not get its credentials")
	}
	w.denies(t, "/mutate", w.app(":elsewhere"))
	w.denies(t, "/mutate", strings.TrimPrefix(thief.URL, "http://")+"/test/app:v1")
	if leaked.Load() != 0 {
		t.Errorf("credentials were sent to another host %d times", leaked.Load())
	}
}

// Endless signatures end at a limit, and deny.
func TestCVE_2023_33957_33958_EndlessSignatures(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, fmt.Sprintf("keys: [{pem: %q}]", readFixture(t, "p384.pub")), f)
	layer := w.blob("test/app", readFixture(t, f.Payload))
	layer["annotations"] = json.RawMessage(readFixture(t, f.Annotations))
	tag := strings.Replace(f.Digest, ":", "-", 1)
	w.put("test/app", tag+".sig", manifestType, toJSONText(t, part{"schemaVersion": 2, "config": w.blob("test/app", []byte("{}")), "layers": slices.Repeat([]part{layer}, 2000)}))
	w.seen()
	w.denies(t, "/validate", w.app("@"+f.Digest), "no signature of it will do", "more")
	if n := len(w.seen()); n > 80 {
		t.Errorf("%d requests", n)
	}
}

// Endless bytes end at a limit, and deny.
func TestCVE_2023_25656_EndlessBytes(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	var sent atomic.Int64
	for _, part := range []string{"/manifests/", "/blobs/"} {
		w.meddle(func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, part) {
				return false
			}
			rw.Header().Set("Content-Type", manifestType)
			chunk := []byte(strings.Repeat(" ", 1<<16))
			for {
				n, err := rw.Write(chunk)
				sent.Add(int64(n))
				if err != nil {
					return true
				}
			}
		})
		if part == "/manifests/" {
			w.denies(t, "/mutate", w.app(":v1"), "bytes")
		}
		w.denies(t, "/validate", w.app("@"+f.Digest), "bytes")
	}
	// Manifests end at 4 MiB; what is on the way in buffers comes on top, here and in the kernel.
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

// A compromised registry cannot pass one image off as another: a genuine signature counts for the image that it is of, whatever it is
// attached to, in both forms.
func TestCVE_2023_33959_SignatureOfAnotherImage(t *testing.T) {
	for _, name := range []string{"image-legacy-key-cosign2", "image-bundle-key-cosign3"} {
		f := fixtureNamed(t, name)
		w := start(t, f.signers(t), f)
		evil := w.put("test/app", "v2", manifestType, []byte(`{"schemaVersion":2,"mediaType":"`+manifestType+`","layers":[]}`))
		w.attach("test/app", evil, f)
		w.admits(t, "/mutate", w.app(":v1"))
		w.denies(t, "/mutate", w.app(":v2"), "wrong artifact")
		w.denies(t, "/validate", w.app("@"+evil), "wrong artifact")
	}
}

// Kyverno called URLs of policies and objects, with its service account's token (CVE-2026-22039, -41323, -40868, -4789,
// GHSA-fmqp, -qr4g, -459x, -8wfp). Here nothing is called but the registry of the image's name, whatever URLs the policy, the object, the
// certificate and the log's entry have; and it gets no token, whatever the caller shows.
func TestCVE_2026_22039_NothingIsCalledButTheRegistry(t *testing.T) {
	var called atomic.Int32
	spy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	defer spy.Close()
	f, keyless := fixtureNamed(t, "image-legacy-key-cosign2"), fixtureNamed(t, "image-legacy-keyless-cosign2")
	r := startImages(t)
	r.attach("test/app", f.Digest, f, keyless)
	who := fmt.Sprintf("{issuer: %q, subject: %q}, {issuer: %q, subject: %q}, {issuerRegexp: %q, subject: x}", keyless.Issuer, keyless.Identity, spy.URL, spy.URL, "^"+spy.URL+"$")
	text := r.ruleFor("identities: ["+who+"]") + fmt.Sprintf("- {name: spy, images: [%q], require: {attestationsOnly: true, identities: [%s], attestations: [{type: %q}]}}\n", r.host+"/test/other", who, spy.URL+"/type")
	watched := &watchedTransport{}
	w := startWorld(t, Config{Policy: mustParse(t, text), Transport: watched})
	w.images = r
	pod := podOf(r.app("@"+f.Digest), r.host+"/test/other:v1", strings.TrimPrefix(spy.URL, "http://")+"/no/rule:v1")
	pod["metadata"] = map[string]any{"name": "app", "annotations": map[string]any{"url": spy.URL, "kyverno.io/api-call": spy.URL}, "labels": map[string]any{"policy": spy.URL},
		"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": spy.URL}}}
	spec := pod["spec"].(map[string]any)
	spec["imagePullSecrets"] = []any{map[string]any{"name": spy.URL}}
	spec["serviceAccountName"] = spy.URL
	spec["volumes"] = []any{map[string]any{"name": "v", "nfs": map[string]any{"server": spy.URL, "path": "/"}}, map[string]any{"name": "u", "image": map[string]any{"reference": spy.URL}}}
	spec["containers"].([]any)[0].(map[string]any)["livenessProbe"] = map[string]any{"httpGet": map[string]any{"host": spy.URL, "port": 80}}
	review := reviewOf(podKind, "CREATE", "default", pod)
	review.Request["userInfo"] = map[string]any{"username": spy.URL, "extra": map[string]any{"token": []string{"secret"}}}
	for _, path := range []string{"/mutate", "/validate"} {
		request, err := http.NewRequest(http.MethodPost, w.url+path, bytes.NewReader(toJSONText(t, review)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer secret")
		resp, err := w.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		w.admits(t, path, r.app("@"+f.Digest)) // nothing that it needs is kept from it
	}
	if called.Load() != 0 {
		t.Errorf("somebody else was called %d times", called.Load())
	}
	requests := watched.all()
	if len(requests) < 5 {
		t.Errorf("only %d requests were seen", len(requests))
	}
	for _, request := range requests {
		if request.URL.Host != r.host || request.Method != http.MethodGet || request.Header.Get("Authorization") != "" || strings.Contains(fmt.Sprint(request.Header), "secret") {
			t.Errorf("%s %s %v", request.Method, request.URL, request.Header)
		}
	}
}

// watchedTransport notes all requests.
type watchedTransport struct {
	mu       sync.Mutex
	requests []*http.Request
}

func (w *watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests = append(w.requests, r.Clone(r.Context()))
	w.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func (w *watchedTransport) all() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

// Little input makes little work (CVE-2026-23881: an engine's variables multiplied what they stood for): a policy multiplies nothing, and
// an object costs a few requests an image, and an answer of some kilobytes.
func TestCVE_2026_23881_Amplification(t *testing.T) {
	for name, policy := range map[string]string{
		"aliases":             "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nrules: [*c]\n",
		"merged":              "x: &x {a: 1}\nrules: [{<<: *x}]\n",
		"nested":              "rules: " + strings.Repeat("[", 100_000),
		"rules":               "logKeys: [log.pub]\nrules:\n" + strings.Repeat("- {name: a, images: [a.b/c], allow: true}\n", 10_000),
		"a repeated regexp":   "logKeys: [log.pub]\nrules:\n- {name: a, images: [a.b/c], require: {identities: [{issuer: a, subjectRegexp: '((a{100}){100}){100}'}]}}\n",
		"an endless pattern":  "rules:\n- {name: a, images: ['a.b/" + strings.Repeat("*a", 100_000) + "'], allow: true}\n",
		"files without limit": "trustedRoots: [" + strings.Repeat("trusted_root.json,", 1000) + "]\nrules:\n" + goodRule,
	} {
		if _, err := parse(t, policy); err == nil {
			t.Errorf("%s: the policy is taken", name)
		}
	}
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	var types []string
	for i := range MaxAttested {
		types = append(types, fmt.Sprintf("{type: 'https://example.com/%d'}", i))
	}
	r := startImages(t)
	text := strings.Replace(r.ruleFor(f.signers(t)+", attestations: ["+strings.Join(types, ", ")+"]"), "test/app", "**", 1)
	w := startWorld(t, Config{Policy: mustParse(t, text)})
	var images []string
	for i := range 64 {
		images = append(images, fmt.Sprintf("%s/test/%s%d@%s", r.host, strings.Repeat("a", 300), i, f.Digest))
	}
	r.seen()
	for _, path := range []string{"/mutate", "/validate"} {
		a := w.ask(t, path, reviewOf(podKind, "CREATE", "default", podOf(slices.Repeat(images, 1)...)))
		if n := len(a.Response.Status.Message); a.Response.Allowed || n > maxMessage+10 {
			t.Errorf("allowed %v, with %d bytes", a.Response.Allowed, n)
		}
		if n := len(r.seen()); n > 4*len(images) {
			t.Errorf("%s: %d requests for %d images", path, n, len(images))
		}
	}
}

// No input makes a fault (CVE-2025-47281, CVE-2026-41485: engines that panicked on an expression). The fuzz targets go on from
// here.
func TestCVE_2025_47281_2026_41485_NothingPanics(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	r.attach("test/app", f.Digest, f)
	var log lockedBuffer
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(f.signers(t))), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	good := string(toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf(r.app("@"+f.Digest)))))
	bodies := []string{"", "null", "[]", "0", `"`, "{", "{}{}", strings.Repeat("[", 1<<20), strings.Repeat(`{"a":`, 1<<18), `{"request":` + strings.Repeat("[", 1<<20), string([]byte{0xff, 0xfe}), "\ufeff" + good}
	for _, value := range []string{"null", "0", "-1", "1e999", "true", `""`, `"{{@}}"`, `"\u0000"`, `"\ud800"`, "[]", "{}", "[null]", "[{}]", "[[]]", `{"":null}`, strings.Repeat("[", 20000) + strings.Repeat("]", 20000)} {
		for _, member := range []string{"request", "uid", "kind", "operation", "namespace", "object", "oldObject", "metadata", "spec", "containers", "image", "name", "apiVersion"} {
			name := `"` + member + `":`
			for at := 0; ; {
				i := strings.Index(good[at:], name)
				if i < 0 {
					break
				}
				at += i + len(name)
				bodies = append(bodies, good[:at]+value+","+good[at:], good[:at]+value+good[at+len(valueAt(good[at:])):])
			}
		}
	}
	for _, body := range bodies {
		for _, path := range []string{"/mutate", "/validate", "/gatekeeper/verify"} {
			w.server.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		}
	}
	if text := log.String(); strings.Contains(text, "level=ERROR") || strings.Count(text, "msg=admission") != 3*len(bodies) {
		t.Errorf("%d bodies:\n%.2000s", len(bodies), text)
	}
}

// valueAt returns the JSON value that text begins with.
func valueAt(text string) string {
	d := json.NewDecoder(strings.NewReader(text))
	var v json.RawMessage
	if d.Decode(&v) != nil {
		return ""
	}
	return text[:d.InputOffset()]
}

// lockedBuffer is a buffer for many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// What identities attested is as old as the earliest proved time says. What is too old is refused, and so is what is from the future; what is
// remembered ages as well.
func TestMaxAge(t *testing.T) {
	spdx := fixtureNamed(t, "attestation-legacy-keyless-cosign2")
	r := startImages(t)
	r.attach("test/app", spdx.Digest, spdx)
	p := mustParse(t, r.ruleFor(spdx.signers(t)+", attestationsOnly: true, attestations: [{type: 'https://spdx.dev/Document', maxAge: 168h}]"))
	made := loggedAt(t, spdx)
	c := &clock{now: made.Add(time.Minute)}
	w := startWorld(t, Config{Policy: p, Now: c.time, Limits: Limits{MemoryTime: 1000 * time.Hour}})
	w.images = r
	w.admits(t, "/validate", w.app("@"+spdx.Digest))
	c.advance(167 * time.Hour)
	w.admits(t, "/validate", w.app("@"+spdx.Digest))
	c.advance(time.Hour)
	w.denies(t, "/validate", w.app("@"+spdx.Digest), "attestation of type https://spdx.dev/Document", "longer ago than 168h")
	c.advance(-169 * time.Hour)
	w.denies(t, "/validate", w.app("@"+spdx.Digest), "in the future")
}

func loggedAt(t *testing.T, f fixture) time.Time {
	t.Helper()
	var annotations map[string]string
	var bundle struct {
		Payload struct{ IntegratedTime int64 }
	}
	if err := json.Unmarshal(readFixture(t, f.Annotations), &annotations); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(annotations["dev.sigstore.cosign/bundle"]), &bundle); err != nil || bundle.Payload.IntegratedTime == 0 {
		t.Fatal("the fixture has no time", err)
	}
	return time.Unix(bundle.Payload.IntegratedTime, 0)
}

// Only what was verified is remembered, for a short time, by digest; and it is verified again.
func TestMemory(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	c := &clock{now: time.Now()}
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(f.signers(t))), Now: c.time})
	w.images = r
	digest := w.app("@" + f.Digest)
	w.denies(t, "/validate", digest) // which is not remembered
	r.attach("test/app", f.Digest, f)
	r.seen()
	w.admits(t, "/validate", digest)
	if len(r.seen()) == 0 {
		t.Error("nothing was asked")
	}
	w.admits(t, "/validate", digest)
	if got := r.seen(); len(got) != 0 {
		t.Errorf("the registry was asked again: %q", got)
	}
	w.admits(t, "/mutate", w.app(":v1"))
	if got := r.seen(); !slices.Equal(got, []string{"GET /v2/test/app/manifests/v1"}) {
		t.Errorf("the registry was asked %q", got)
	}
	c.advance(31 * time.Second)
	w.admits(t, "/validate", digest)
	if len(r.seen()) == 0 {
		t.Error("it is remembered for too long")
	}
	// Another repository with the same image is another image.
	p := mustParse(t, strings.Replace(r.ruleFor(f.signers(t)), "test/app", "test/**", 1))
	w.server.SetPolicy(p)
	w.denies(t, "/validate", r.host+"/test/other@"+f.Digest)
}

// The memory is bounded in bytes and in number; the oldest goes first.
func TestMemoryIsBounded(t *testing.T) {
	c := &clock{now: time.Now()}
	m := newMemory(time.Minute, 100, c.time)
	key := func(i int) memoryKey { return memoryKey{image: fmt.Sprint(i)} }
	found := []registry.Attached{{Source: "x"}}
	for i := range 3 {
		m.keep(key(i), found, 40, c.time())
	}
	if m.get(key(0)) != nil || m.get(key(1)) == nil || m.get(key(2)) == nil || m.bytes != 80 {
		t.Errorf("%d bytes of at most 100", m.bytes)
	}
	m.keep(key(3), found, 101, c.time())
	m.keep(key(4), found, 1, c.time().Add(-time.Minute))
	if m.get(key(3)) != nil || m.get(key(4)) != nil || m.get(key(2)) == nil {
		t.Error("what is too large or too old is remembered")
	}
	for i := range 2 * maxRemembered {
		m.keep(key(i), found, 0, c.time())
	}
	if n := len(m.byKey); n != maxRemembered || m.order.Len() != n {
		t.Errorf("%d images are remembered", n)
	}
	c.advance(time.Minute)
	if m.get(key(2*maxRemembered-1)) != nil || len(m.byKey) != 0 || m.bytes != 0 {
		t.Error("what is too old is kept")
	}
}
