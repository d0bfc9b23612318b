package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What somebody who may create pods, who controls a registry, or who merely reaches the server, tried once.

// Who is slow to say what he asks keeps nobody else from being answered, and not much memory.
func TestSlowBodies(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for i := range 2 * w.server.limits.Requests {
		c, err := tls.Dial("tcp", strings.TrimPrefix(w.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /validate?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{", 7<<20)
		if i%64 == 0 {
			w.admits(t, "/validate", w.app("@"+f.Digest))
		}
	}
	w.admits(t, "/validate", w.app("@"+f.Digest))
	if n := w.server.bodies.inUse(); n != 0 {
		t.Errorf("%d bytes are taken for what may come", n)
	}
}

// A body has a short time of its own to come, however long the caller waits for the answer.
func TestBodyTime(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	noted := &deadlineNoted{ResponseRecorder: httptest.NewRecorder()}
	before := time.Now()
	w.server.Handler().ServeHTTP(noted, httptest.NewRequest(http.MethodPost, "/validate?timeout=30s", strings.NewReader("")))
	if len(noted.at) == 0 || noted.at[0].After(time.Now().Add(bodyTime)) || noted.at[0].Before(before.Add(bodyTime)) {
		t.Errorf("it may come until %v, asked at %v", noted.at, before)
	}
}

type deadlineNoted struct {
	*httptest.ResponseRecorder
	at []time.Time
}

func (d *deadlineNoted) SetReadDeadline(t time.Time) error {
	d.at = append(d.at, t)
	return nil
}

// Bodies that are on the way share their memory, of which they take what has come. What is too much is refused, what is small is
// answered, and all of it comes back.
func TestBodiesAreBounded(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	r.attach("test/app", f.Digest, f)
	const size = 1 << 20
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(f.signers(t))), Limits: Limits{Bodies: size}})
	w.images = r
	read := func(n int) (bodyReader, error) {
		b := bodyReader{room: w.server.bodies, limit: 7 << 20}
		data, err := b.read(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, n))), time.Now().Add(time.Hour))
		if err == nil && len(data) != n {
			t.Errorf("%d bytes of %d were read", len(data), n)
		}
		return b, err
	}
	var all []bodyReader
	for _, n := range []int{400 << 10, 400 << 10, firstBody - 1} {
		b, err := read(n)
		if err != nil || b.taken < int64(n-firstBody) || b.taken > int64(2*n) {
			t.Errorf("%d bytes take %d: %v", n, b.taken, err)
		}
		all = append(all, b)
	}
	b, err := read(100 << 10)
	if !errors.Is(err, errBusy) {
		t.Errorf("too much is read: %v", err)
	}
	image := w.app("@" + f.Digest)
	w.admits(t, "/validate", image)
	large := append(toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf(image))), bytes.Repeat([]byte(" "), 100<<10)...)
	if status, _ := w.post(t, "/validate", large); status != http.StatusTooManyRequests {
		t.Errorf("%d", status)
	}
	for _, b := range append(all, b) {
		b.free()
	}
	if n := w.server.bodies.inUse(); n != 0 {
		t.Errorf("%d bytes are taken for nothing", n)
	}
	if status, answer := w.post(t, "/validate", large); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
}

// A body may be as large as an update of the largest object.
func TestLargeBody(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	body := toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf(w.app("@"+f.Digest))))
	for size, want := range map[int]int{6 << 20: http.StatusOK, 7<<20 + 1: http.StatusRequestEntityTooLarge} {
		if status, answer := w.post(t, "/validate", append(body, bytes.Repeat([]byte(" "), size-len(body))...)); status != want {
			t.Errorf("%d bytes: %d %s", size, status, answer)
		}
	}
}

// slow makes a registry one that does not answer before it is told to.
func (r *images) slow(t testing.TB) {
	release := make(chan struct{})
	r.meddle(func(_ http.ResponseWriter, req *http.Request) bool {
		select {
		case <-release:
		case <-req.Context().Done():
		}
		return true
	})
	t.Cleanup(func() { close(release) })
}

// besiege asks again and again about many images of a registry, for a namespace, until the test ends.
func (w *world) besiege(t testing.TB, r *images, namespace string, requests, each int) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	for i := range requests {
		var all []string
		for j := range each {
			all = append(all, fmt.Sprintf("%s/t/x%d@sha256:%064x", r.host, i*each+j, i*each+j))
		}
		body := toJSONText(t, reviewOf(podKind, "CREATE", namespace, podOf(all...)))
		go func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/validate?timeout=30s", bytes.NewReader(body))
				if err != nil {
					return
				}
				if resp, err := w.client.Do(req); err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		}()
	}
}

// A registry that is slow, or a namespace that asks for much of it, takes neither the places nor the memory of others.
func TestSlowRegistryHoldsUpNobodyElse(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	good, slow, other := startImages(t), startImages(t), startImages(t)
	good.attach("test/app", f.Digest, f)
	other.attach("test/app", f.Digest, f)
	text := strings.Replace(good.ruleFor(f.signers(t)), "images: [", fmt.Sprintf("images: [%q, %q, ", slow.host+"/**", other.host+"/**"), 1) +
		"- {name: cluster, images: [registry.k8s.io/**], allow: true}\n"
	w := startWorld(t, Config{Policy: mustParse(t, text)})
	w.images = good
	w.admits(t, "/validate", good.app("@"+f.Digest)) // from here on it is remembered
	slow.slow(t)
	// More requests than are answered at all, by one namespace, and half as many by another one.
	w.besiege(t, slow, "evil", w.server.limits.Requests+10, 8)
	w.besiege(t, slow, "silly", 3, 20)
	waitFor(t, func() bool { return w.server.checks.all.inUse() >= 8 && w.server.requests.all.inUse() >= 32 })
	w.admits(t, "/validate", good.app("@"+f.Digest))
	w.admits(t, "/validate", "registry.k8s.io/pause:3.10")
	w.denies(t, "/validate", "example.com/x", "no rule")
	w.admits(t, "/mutate", other.app(":v1"))
	w.admits(t, "/validate", other.app("@"+f.Digest))
	if got := w.provide(t, "/gatekeeper/verify", good.app("@"+f.Digest)); got.Response.SystemError != "" || len(got.Response.Items) != 1 || got.Response.Items[0].Value == nil {
		t.Errorf("%+v", got)
	}
	if n := w.server.checks.all.inUse(); n != 8 {
		t.Errorf("%d checks of one slow registry", n)
	}
	if n := w.server.requests.all.inUse(); n > 32+3 {
		t.Errorf("%d requests of two namespaces", n)
	}
}

// What is attached to images takes so much memory and no more, whatever registries send; and one of them takes half of it.
func TestAttachmentsAreBounded(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	good, evil := startImages(t), startImages(t)
	good.attach("test/app", f.Digest, f)
	const size = 10 << 20
	var blobs atomic.Int32
	release := make(chan struct{})
	evil.meddle(func(rw http.ResponseWriter, req *http.Request) bool {
		layer := map[string]any{"digest": "sha256:" + strings.Repeat("0", 64), "size": size, "annotations": map[string]string{"dev.cosignproject.cosign/signature": "AAAA"}}
		switch {
		case strings.HasSuffix(req.URL.Path, ".sig"):
			rw.Header().Set("Content-Type", manifestType)
			rw.Write(toJSONText(t, part{"schemaVersion": 2, "layers": []any{layer, layer, layer}}))
		case strings.Contains(req.URL.Path, "/blobs/"):
			rw.Header().Set("Content-Length", fmt.Sprint(size))
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			blobs.Add(1)
			select {
			case <-release:
			case <-req.Context().Done():
			}
		default:
			return false
		}
		return true
	})
	defer close(release)
	text := strings.Replace(good.ruleFor(f.signers(t)), "images: [", fmt.Sprintf("images: [%q, ", evil.host+"/**"), 1)
	w := startWorld(t, Config{Policy: mustParse(t, text), Limits: Limits{CheckBytes: 160 << 20}})
	w.images = good
	w.besiege(t, evil, "evil", 2, 8)
	waitFor(t, func() bool { return blobs.Load() >= 2 && w.server.bytes.all.inUse() == 80<<20 })
	w.admits(t, "/validate", good.app("@"+f.Digest))
	if n := w.server.bytes.all.inUse(); n != 80<<20 {
		t.Errorf("%d bytes are taken", n)
	}
}

// Images come one by one, and what is large is not kept when it was looked at.
func TestLargeEvidenceIsNotKept(t *testing.T) {
	for size, short := range map[int]bool{100 << 10: true, maxKept: false} {
		a := startAttested(t, map[string]any{"x": strings.Repeat("x", size)}, "")
		a.admits(t, "/validate", a.image)
		a.seen()
		a.admits(t, "/validate", a.image)
		if asked := len(a.seen()) > 0; asked == short {
			t.Errorf("%d bytes are remembered: %v", size, !asked)
		}
		if n := a.server.bytes.all.inUse(); n != 0 {
			t.Errorf("%d bytes are still taken", n)
		}
		for _, e := range a.server.memory.byKey {
			if r := e.Value.(*remembered); r.bytes < 4*r.found[0].Size || r.found[0].Size < int64(size) {
				t.Errorf("%d bytes are counted for %d", r.bytes, size)
			}
		}
	}
}

// Who may name any image has nothing asked inside, and reads nothing of what is answered there: only registries that the
// policy names may be inside, or without TLS.
func TestStrangersRegistries(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	var asked atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Error(rw, "internal secret: "+r.URL.Path, http.StatusForbidden)
	}))
	defer inside.Close()
	host := strings.TrimPrefix(inside.URL, "http://")
	r := startImages(t)
	r.attach("test/app", f.Digest, f)
	text := strings.Replace(r.ruleFor(f.signers(t)), `"]`, `", "**"]`, 1)
	w := startWorld(t, Config{Policy: mustParse(t, text), AllowHTTP: true})
	w.images = r
	w.admits(t, "/mutate", w.app(":v1"))
	for _, path := range []string{"/mutate", "/validate"} {
		image := host + "/some/path@" + f.Digest
		if path == "/mutate" {
			image = host + "/some/path:v1"
		}
		w.denies(t, path, image, "not a public address")
	}
	w.denies(t, "/mutate", "localhost:1/x:v1", "not a public address")
	w.denies(t, "/mutate", "169.254.169.254/latest/meta-data:v1", "not a public address")
	if asked.Load() != 0 {
		t.Errorf("it was asked %d times", asked.Load())
	}
	named := startWorld(t, Config{Policy: mustParse(t, strings.Replace(text, `"**"]`, fmt.Sprintf(`%q, "**"]`, host+"/some/*"), 1))})
	named.denies(t, "/mutate", host+"/some/path:v1", "internal secret") // which is the user's own
}

// An exempt image is stored under its full name: what a short one stands for is the node's to say, not the policy's.
func TestExemptImagesAreNamedInFull(t *testing.T) {
	w := startWorld(t, Config{Policy: mustParse(t, "rules:\n- {name: hub, images: ['docker.io/**'], allow: true}\n")})
	digest := "sha256:" + strings.Repeat("a", 64)
	for image, full := range map[string]string{
		"nginx": "docker.io/library/nginx", "nginx:1": "docker.io/library/nginx:1", "ours/app:v1": "docker.io/ours/app:v1", "index.docker.io/nginx": "docker.io/library/nginx",
		"docker.io/nginx@" + digest: "docker.io/library/nginx@" + digest, "ours/app:v1@" + digest: "docker.io/ours/app:v1@" + digest,
	} {
		a := w.admits(t, "/mutate", image)
		if want := fmt.Sprintf(`[{"op":"replace","path":"/spec/containers/0/image","value":%q}]`, full); string(a.Response.Patch) != want {
			t.Errorf("%s: %s, not %s", image, a.Response.Patch, want)
		}
		w.denies(t, "/validate", image, "not named in full", "name it as "+full+",")
		if got := w.provide(t, "/gatekeeper/pin", image, full); len(got.Response.Items) != 2 || got.Response.Items[0].Value != full || got.Response.Items[1].Value != full {
			t.Errorf("%s: %+v", image, got)
		}
		if got := w.provide(t, "/gatekeeper/verify", image); got.Response.Items[0].Value != nil {
			t.Errorf("%s: %+v", image, got)
		}
		for _, path := range []string{"/mutate", "/validate"} {
			if a := w.admits(t, path, full); a.Response.Patch != nil {
				t.Errorf("%s: %s", full, a.Response.Patch)
			}
		}
	}
}

// The ID of an image on a node is no name: whatever it is of would run, without being pulled.
func TestImageIDs(t *testing.T) {
	w := startWorld(t, Config{Policy: mustParse(t, "rules:\n- {name: all, images: ['**'], allow: true}\n")})
	for _, image := range []string{"sha256:" + strings.Repeat("b", 64), strings.Repeat("b", 64), "sha256:b", "sha512:" + strings.Repeat("0", 127), "sha384:0"} {
		for _, path := range []string{"/mutate", "/validate"} {
			w.denies(t, path, image[:min(len(image), 120)], "the ID of an image on a node")
		}
	}
	for _, image := range []string{"sha256", "sha256:v1", "library/sha256:" + strings.Repeat("b", 64), strings.Repeat("b", 63), "md5:abc"} {
		w.admits(t, "/mutate", image)
	}
}

// The ReplicaSet of a Deployment stays as the Deployment has it: one that is pinned is taken for a stranger's, and made again
// without end. It is judged, and its pods are pinned.
func TestReplicaSetsStayAsTheyAre(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	template := func(image, restarted string) map[string]any {
		return map[string]any{"metadata": map[string]any{"annotations": map[string]any{"kubectl.kubernetes.io/restartedAt": restarted}}, "spec": podOf(image)["spec"]}
	}
	object := func(kind string, template any) map[string]any {
		return map[string]any{"apiVersion": "apps/v1", "kind": kind, "metadata": map[string]any{"name": "x"}, "spec": map[string]any{"template": template}}
	}
	deployment, replicaSet := groupKind{"apps", "v1", "Deployment"}, groupKind{"apps", "v1", "ReplicaSet"}
	// A Deployment from before is restarted: its image stays.
	update := reviewOf(deployment, "UPDATE", "default", object("Deployment", template(w.app(":v1"), "now")))
	update.Request["oldObject"] = object("Deployment", template(w.app(":v1"), "before"))
	for _, path := range []string{"/mutate", "/validate"} {
		for _, review := range []admissionReview{update, reviewOf(replicaSet, "CREATE", "default", object("ReplicaSet", template(w.app(":v1"), "now")))} {
			if a := w.ask(t, path, review); !a.Response.Allowed || a.Response.Patch != nil {
				t.Errorf("%s: allowed %v: %s %s", path, a.Response.Allowed, a.Response.Status.Message, a.Response.Patch)
			}
		}
		if a := w.ask(t, path, reviewOf(replicaSet, "CREATE", "default", object("ReplicaSet", template(w.host+"/test/other:v1", "now")))); a.Response.Allowed {
			t.Errorf("%s: a ReplicaSet that may not run is admitted", path)
		}
	}
	if a := w.admits(t, "/mutate", w.app(":v1")); !strings.Contains(string(a.Response.Patch), f.Digest) {
		t.Errorf("its pods are not pinned: %s", a.Response.Patch)
	}
}

// Gatekeeper remembers answers for minutes. What could not be found out, of any image, is no answer.
func TestWhatIsUnknownIsNoAnswer(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for _, path := range []string{"/gatekeeper/verify", "/gatekeeper/pin"} {
		w.meddle(nil)
		if got := w.provide(t, path, w.app("@"+f.Digest), "nginx"); got.Response.SystemError != "" || len(got.Response.Items) != 2 {
			t.Errorf("%+v", got)
		}
		w.meddle(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		if got := w.provide(t, path, w.app("@sha256:"+strings.Repeat("1", 64)), w.app("@"+f.Digest), "nginx"); got.Response.SystemError == "" || len(got.Response.Items) != 0 {
			t.Errorf("%+v", got)
		}
	}
}
