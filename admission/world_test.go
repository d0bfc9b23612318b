package admission

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
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
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

// fixture is a signature that a real cosign made (see verify/testdata/cosign).
type fixture struct {
	Name, Form, Bundle, Payload, Annotations, Digest, Key, Identity, Issuer, PredicateType string
	Timestamp, Logged                                                                      bool
}

const fixtures = "../verify/testdata/cosign"

func readFixture(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtures, file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// imageFixtures returns those that are of images.
func imageFixtures(t testing.TB) []fixture {
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

func fixtureNamed(t testing.TB, name string) fixture {
	t.Helper()
	for _, f := range imageFixtures(t) {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no fixture %s", name)
	return fixture{}
}

// signers is the part of a rule that the fixture meets.
func (f fixture) signers(t testing.TB) string {
	if f.Key != "" {
		return fmt.Sprintf("keys: [{pem: %q}]", readFixture(t, f.Key))
	}
	return fmt.Sprintf("identities: [{issuer: %q, subject: %q}]", f.Issuer, f.Identity)
}

// images is a registry on loopback. It has the image of the fixtures as test/app:v1.
type images struct {
	t    testing.TB
	host string

	mu        sync.Mutex
	requests  []string
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func startImages(t testing.TB) *images {
	t.Helper()
	r := &images{t: t}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
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
	r.blob("test/app", []byte("{}"))
	r.put("test/app", "v1", manifestType, readFixture(t, "image.json"))
	return r
}

// seen returns the requests since the last call, without the handshakes.
func (r *images) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.DeleteFunc(r.requests, func(s string) bool { return s == "GET /v2/" })
	r.requests = nil
	return all
}

// meddle answers some requests in its own way from now on.
func (r *images) meddle(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

func (r *images) send(method, path, contentType string, body []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.host+"/v2/"+path, bytes.NewReader(body))
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

// put stores a manifest and returns its digest, which is its name if no other is given.
func (r *images) put(repository, reference, mediaType string, manifest []byte) string {
	r.t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(manifest))
	r.send(http.MethodPut, repository+"/manifests/"+cmp.Or(reference, digest), mediaType, manifest)
	return digest
}

type part map[string]any

func (r *images) blob(repository string, content []byte) part {
	r.t.Helper()
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	r.send(http.MethodPost, repository+"/blobs/uploads/?digest="+digest, "application/octet-stream", content)
	return part{"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}
}

func toJSONText(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// attach attaches fixtures to the image of that digest, as cosign does.
func (r *images) attach(repository, digest string, all ...fixture) {
	r.t.Helper()
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	layers := map[string][]part{}
	var referrers []part
	for _, f := range all {
		if f.Bundle != "" {
			layer := r.blob(repository, readFixture(r.t, f.Bundle))
			layer["mediaType"] = bundleType
			manifest := toJSONText(r.t, part{"schemaVersion": 2, "artifactType": bundleType, "config": r.blob(repository, []byte("{}")), "layers": []part{layer}})
			referrers = append(referrers, part{"digest": r.put(repository, "", manifestType, manifest), "artifactType": bundleType, "size": len(manifest), "mediaType": manifestType})
			continue
		}
		layer := r.blob(repository, readFixture(r.t, f.Payload))
		layer["annotations"] = json.RawMessage(readFixture(r.t, f.Annotations))
		suffix := ".sig"
		if f.PredicateType != "" {
			suffix = ".att"
		}
		layers[suffix] = append(layers[suffix], layer)
	}
	tag := strings.Replace(digest, ":", "-", 1)
	for suffix, layers := range layers {
		r.put(repository, tag+suffix, manifestType, toJSONText(r.t, part{"schemaVersion": 2, "config": r.blob(repository, []byte("{}")), "layers": layers}))
	}
	if referrers != nil {
		const indexType = "application/vnd.oci.image.index.v1+json"
		r.put(repository, tag, indexType, toJSONText(r.t, part{"schemaVersion": 2, "mediaType": indexType, "manifests": referrers}))
	}
}

// app names the image of the fixtures.
func (r *images) app(reference string) string { return r.host + "/test/app" + reference }

// fixtureFiles are the files that policies of tests name.
func fixtureFiles(t testing.TB) func(string, int64) ([]byte, error) {
	return func(path string, _ int64) ([]byte, error) { return os.ReadFile(filepath.Join(fixtures, path)) }
}

func parse(t testing.TB, text string) (*Policy, error) {
	return ParsePolicy([]byte(text), PolicyOptions{Read: fixtureFiles(t), Verify: verify.Options{Timestamps: timestamp.Verifier{}, Cache: verify.NewCache(100)}})
}

func mustParse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := parse(t, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// ruleFor is a policy with one rule for the fixtures' repository.
func (r *images) ruleFor(require string) string {
	return fmt.Sprintf("trustedRoots: [trusted_root.json]\nrules:\n- name: app\n  images: [%q]\n  require: {%s}\n", r.host+"/test/app", require)
}

// world is a server over TLS, with its registry.
type world struct {
	*images
	server *Server
	url    string
	client *http.Client // speaks HTTP/2, as API servers do
	http1  *http.Client
	config Config
}

func startWorld(t testing.TB, c Config) *world {
	t.Helper()
	w := &world{config: c}
	var err error
	if w.server, err = New(c); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(w.server.Handler())
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	w.url, w.client = s.URL, s.Client()
	old := w.client.Transport.(*http.Transport).Clone()
	old.ForceAttemptHTTP2, old.TLSClientConfig.NextProtos, old.TLSNextProto = false, []string{"http/1.1"}, map[string]func(string, *tls.Conn) http.RoundTripper{}
	w.http1 = &http.Client{Transport: old}
	t.Cleanup(old.CloseIdleConnections)
	return w
}

// start runs a server with one rule, for the image of the fixtures.
func start(t testing.TB, require string, attached ...fixture) *world {
	t.Helper()
	r := startImages(t)
	for _, f := range attached {
		r.attach("test/app", f.Digest, attached...)
		break
	}
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(require))})
	w.images = r
	r.seen()
	return w
}

// post sends a body and returns the answer.
func (w *world) post(t testing.TB, path string, body []byte) (int, string) {
	t.Helper()
	resp, err := w.client.Post(w.url+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// admissionReview is what an API server sends (recorded from kube-apiserver 1.34), for a test to fill.
type admissionReview struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Request    map[string]any `json:"request"`
}

func reviewOf(kind groupKind, operation, namespace string, object any) admissionReview {
	gvk := map[string]any{"group": kind.group, "version": kind.version, "kind": kind.kind}
	gvr := map[string]any{"group": kind.group, "version": kind.version, "resource": strings.ToLower(kind.kind) + "s"}
	return admissionReview{reviewVersion, "AdmissionReview", map[string]any{
		"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
		"name": "app", "namespace": namespace, "operation": operation,
		"userInfo": map[string]any{"username": "admin", "groups": []string{"system:masters", "system:authenticated"}},
		"object":   object, "oldObject": nil, "dryRun": false,
		"options": map[string]any{"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-run"},
	}}
}

var podKind = groupKind{"", "v1", "Pod"}

// podOf is a pod with these images.
func podOf(images ...string) map[string]any {
	var containers []any
	for i, image := range images {
		containers = append(containers, map[string]any{"name": fmt.Sprintf("c%d", i), "image": image, "resources": map[string]any{}, "imagePullPolicy": "IfNotPresent"})
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "app", "namespace": "default", "labels": map[string]any{"run": "app"}},
		"spec": map[string]any{"containers": containers, "restartPolicy": "Always"}}
}

// answered is an AdmissionReview's answer as an API server reads it.
type answered struct {
	APIVersion, Kind string
	Response         struct {
		UID       string
		Allowed   bool
		Status    struct{ Message, Reason string }
		Patch     []byte
		PatchType string
		Warnings  []string
	}
}

// ask sends a review and returns the answer.
func (w *world) ask(t testing.TB, path string, review admissionReview) answered {
	t.Helper()
	status, body := w.post(t, path, toJSONText(t, review))
	var a answered
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d, %v: %s", path, status, err, body)
	}
	if a.APIVersion != reviewVersion || a.Kind != "AdmissionReview" || a.Response.UID != review.Request["uid"] {
		t.Fatalf("%s: %s", path, body)
	}
	return a
}

// admits fails the test unless a pod with the image is admitted.
func (w *world) admits(t testing.TB, path, image string) answered {
	t.Helper()
	a := w.ask(t, path, reviewOf(podKind, "CREATE", "default", podOf(image)))
	if !a.Response.Allowed || len(a.Response.Warnings) > 0 {
		t.Fatalf("%s of %s is denied: %s %q", path, image, a.Response.Status.Message, a.Response.Warnings)
	}
	return a
}

// denies fails the test unless a pod with the image is denied with a message that has all of these in it.
func (w *world) denies(t testing.TB, path, image string, message ...string) {
	t.Helper()
	a := w.ask(t, path, reviewOf(podKind, "CREATE", "default", podOf(image)))
	if a.Response.Allowed || a.Response.Patch != nil {
		t.Fatalf("%s of %s is admitted", path, image)
	}
	for _, part := range append(message, image) {
		if !strings.Contains(a.Response.Status.Message, part) {
			t.Errorf("%s of %s: %q is not in the message %q", path, image, part, a.Response.Status.Message)
		}
	}
}

// clock is a clock that stands still.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
