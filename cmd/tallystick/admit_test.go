package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/admission"
)

// admitting is `tallystick admit` in this process.
type admitting struct {
	t       *testing.T
	dir     string
	ca      *issued
	until   time.Time // when the server's certificate ends
	hangup  chan os.Signal
	address string
	private string // address of metrics
	end     func() int

	mu   sync.Mutex
	text strings.Builder // what it logged
}

// write replaces a file that the server reads.
func (a *admitting) write(name, content string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// writeCertificate makes a certificate for the server.
func (a *admitting) writeCertificate() {
	a.t.Helper()
	c := issue(a.t, a.ca, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"tallystick-admit.tallystick.svc"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.until = c.NotAfter
	a.write("tls.crt", c.pem)
	a.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

func newAuthority(t *testing.T) *issued {
	return issue(t, nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "ca"}})
}

// startAdmit runs the program with that policy.
func startAdmit(t *testing.T, policy string, args ...string) *admitting {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", filepath.Join(t.TempDir(), "none"))
	a := &admitting{t: t, dir: t.TempDir(), ca: newAuthority(t), hangup: make(chan os.Signal)}
	a.writeCertificate()
	a.write("trusted-root.json", string(readFile(t, verifyFixture{}.path("trusted_root.json"))))
	a.write("ca.pem", a.ca.pem)
	path := a.write("policy.yaml", policy)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	p := program{Stdout: io.Discard, Stderr: w, Hangup: a.hangup, Settle: time.Millisecond}
	done := make(chan int, 1)
	go func() {
		defer w.Close()
		done <- p.Run(ctx, append([]string{"admit", path, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0",
			"--tls-cert", filepath.Join(a.dir, "tls.crt"), "--tls-key", filepath.Join(a.dir, "tls.key")}, args...))
	}()
	ready := make(chan struct{})
	address := regexp.MustCompile(`msg="admission is answered" address=(\S+) metrics=(\S+)`)
	go func() {
		defer close(ready)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			a.mu.Lock()
			a.text.WriteString(lines.Text() + "\n")
			a.mu.Unlock()
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				a.address, a.private = m[1], m[2]
				ready <- struct{}{}
			}
		}
	}()
	<-ready
	a.end = sync.OnceValue(func() int { cancel(); return <-done })
	t.Cleanup(func() { a.end() })
	if a.address == "" {
		t.Fatalf("it did not start: %s", a.logged())
	}
	return a
}

func (a *admitting) logged() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.String()
}

// look makes the server look at its files, and returns when it has.
func (a *admitting) look() {
	a.hangup <- syscall.SIGHUP
	a.hangup <- syscall.SIGHUP // which is taken after the first one was followed
}

// client is a caller, with a certificate or without.
func (a *admitting) client(with *issued) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(a.ca.Certificate)
	config := &tls.Config{RootCAs: pool}
	if with != nil {
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{with.Raw}, PrivateKey: with.key}}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

// ask asks a webhook about a pod with an image.
func (a *admitting) ask(path, image string) (allowed bool, text string) {
	a.t.Helper()
	review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},"operation":"CREATE","namespace":"default",`+
		`"object":{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"app","image":%q}]}}}}`, image)
	resp, err := a.client(nil).Post("https://"+a.address+path, "application/json", strings.NewReader(review))
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Response struct{ Allowed bool } }
	body, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(body, &answer) != nil {
		a.t.Fatalf("%s %v: %s", resp.Status, err, body)
	}
	return answer.Response.Allowed, string(body)
}

func admitPolicy(t *testing.T, r *imageRegistry, key []byte) string {
	return fmt.Sprintf("trustedRoots: [trusted-root.json]\nrules:\n- name: app\n  images: [%q]\n  require: {keys: [{pem: %q}]}\n", r.host+"/test/*", key)
}

// The program admits what is signed and logged, follows its files, keeps the policy it has when a new one is broken, and
// ends with all that it started.
func TestAdmit(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	r.attach(r.digest, f)
	good := admitPolicy(t, r, readFile(t, f.path(f.Key)))
	a := startAdmit(t, good)
	if allowed, text := a.ask("/mutate?timeout=10s", r.name(":v1")); !allowed || !strings.Contains(text, "JSONPatch") {
		t.Fatal(text)
	}
	if allowed, text := a.ask("/validate", r.name("@"+r.digest)); !allowed {
		t.Fatal(text)
	}
	if allowed, text := a.ask("/validate", r.name(":v1")); allowed || !strings.Contains(text, "no digest") {
		t.Error(text)
	}
	if text := fetch(t, "http://"+a.private+"/readyz"); text != "ok\n" {
		t.Error(text)
	}

	// A broken policy is said once, and changes nothing; files that it names are part of it.
	for _, broken := range []string{good + "extra: 1\n", "", strings.Replace(good, "trusted-root.json", "none.json", 1)} {
		a.write("policy.yaml", broken)
		before := strings.Count(a.logged(), "the one before it stays in use")
		a.look()
		a.look()
		if allowed, text := a.ask("/validate", r.name("@"+r.digest)); !allowed {
			t.Error(text)
		}
		if n := strings.Count(a.logged(), "the one before it stays in use") - before; n != 1 {
			t.Errorf("it was said %d times", n)
		}
		if m := fetch(t, "http://"+a.private+"/metrics"); !strings.Contains(m, "\ntallystick_admission_policy_broken 1\n") {
			t.Error("the metric does not say it")
		}
		if text := fetch(t, "http://"+a.private+"/readyz"); text != "ok\n" { // fetch wants 200
			t.Error(text)
		}
	}
	a.write("policy.yaml", admitPolicy(t, r, []byte(foreignP256)))
	a.look()
	if allowed, text := a.ask("/validate", r.name("@"+r.digest)); allowed || !strings.Contains(text, "bad signature") {
		t.Error(text)
	}
	a.write("policy.yaml", good)
	a.look()
	if allowed, text := a.ask("/validate", r.name("@"+r.digest)); !allowed {
		t.Error(text)
	}
	m := fetch(t, "http://"+a.private+"/metrics")
	for _, want := range []string{"\ntallystick_admission_policy_broken 0\n", `tallystick_admission_decisions_total{decision="denied",endpoint="validate"} 2`, `tallystick_admission_images_total{outcome="verified"}`, "go_goroutines"} {
		if !strings.Contains(m, want) {
			t.Errorf("%q is not in the metrics:\n%s", want, m)
		}
	}
	a.write("trusted-root.json", "{}")
	a.look()
	if allowed, _ := a.ask("/validate", r.name("@"+r.digest)); !allowed {
		t.Error("a broken trusted root has an effect")
	}

	// The certificate follows its files, too.
	a.ca = newAuthority(t)
	a.writeCertificate()
	a.look()
	if allowed, text := a.ask("/validate", r.name("@"+r.digest)); !allowed {
		t.Error(text)
	}
	for name, broken := range map[string]string{"tls.crt": "garbage", "tls.key": ""} {
		good := string(readFile(t, filepath.Join(a.dir, name)))
		before := strings.Count(a.logged(), "the TLS certificate cannot be read again; the one before it stays in use")
		a.write(name, broken)
		a.look()
		if allowed, text := a.ask("/validate", r.name("@"+r.digest)); !allowed {
			t.Error(text)
		}
		if strings.Count(a.logged(), "the TLS certificate cannot be read again; the one before it stays in use") == before {
			t.Errorf("nothing is said of a broken %s", name)
		}
		a.write(name, good)
		a.look()
	}
	if until := fmt.Sprintf("\ntallystick_admission_certificate_expiry_timestamp_seconds %g\n", float64(a.until.Unix())); !strings.Contains(fetch(t, "http://"+a.private+"/metrics"), until) {
		t.Errorf("%q is not in the metrics", until)
	}
	if code := a.end(); code != exitOK {
		t.Errorf("exit code %d: %s", code, a.logged())
	}
	if log := a.logged(); !strings.Contains(log, "decision=denied") || !strings.Contains(log, "decision=admitted") {
		t.Error(log)
	}
}

// A policy that is being written is often a policy, and a weaker one. It is used when it has stayed the same, at the start and later.
func TestAdmitPolicySettles(t *testing.T) {
	a := &admitting{t: t, dir: t.TempDir()}
	a.write("trusted-root.json", string(readFile(t, verifyFixture{}.path("trusted_root.json"))))
	good := admitPolicy(t, &imageRegistry{host: "example.com"}, []byte(foreignP256))
	half := strings.Replace(good, "test/*", "**", 1)
	path := a.write("policy.yaml", half)
	newFile := func(settled func()) *policyFile {
		f := newPolicyFile(path, time.Hour, slog.New(slog.DiscardHandler))
		f.wait = func(context.Context, time.Duration) { settled() }
		return f
	}
	server := func(f *policyFile) *admission.Server {
		p, err := f.load(t.Context())
		if err != nil || p.Digest() != f.current {
			t.Fatal(err)
		}
		s, err := admission.New(admission.Config{Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	whole := func() [32]byte {
		a.write("policy.yaml", good)
		p, err := newFile(func() {}).read()
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}()
	a.write("policy.yaml", half)
	var f *policyFile
	f = newFile(func() { a.write("policy.yaml", good) })
	s := server(f)
	if f.current != whole {
		t.Error("half a policy was used at the start")
	}
	for _, first := range []string{half, "rules: ["} {
		a.write("policy.yaml", first)
		if f.follow(t.Context(), s); f.current != whole || f.broken.last != "" {
			t.Errorf("half a policy was used, or complained about: %s", f.broken.last)
		}
	}
	f.wait = func(context.Context, time.Duration) {}
	a.write("policy.yaml", half)
	if f.follow(t.Context(), s); f.current == whole {
		t.Error("a policy that stays is not used")
	}
	n := 0
	f = newFile(func() { n++; a.write("policy.yaml", good+strings.Repeat("#", n)) })
	if _, err := f.load(t.Context()); !errors.Is(err, errUnsettled) || n != maxLooks {
		t.Errorf("after %d looks: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f = newPolicyFile(path, time.Hour, slog.New(slog.DiscardHandler))
	if _, err := f.load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it waits when the program ends: %v", err)
	}
}

// What the program started ends with it.
func TestAdmitLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	a := startAdmit(t, admitPolicy(t, &imageRegistry{host: "127.0.0.1:1"}, []byte(foreignP256)))
	for _, image := range []string{"nginx", "127.0.0.1:1/test/app:v1"} {
		if allowed, text := a.ask("/mutate?timeout=1s", image); allowed {
			t.Error(text)
		}
	}
	if code := a.end(); code != exitOK {
		t.Errorf("exit code %d: %s", code, a.logged())
	}
}

// With --client-ca nobody else is answered, whatever path is asked for.
func TestAdmitClients(t *testing.T) {
	r := startImages(t)
	authority := newAuthority(t)
	client := func(by *issued) *issued {
		return issue(t, by, x509.Certificate{Subject: pkix.Name{CommonName: "apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	file := writeFile(t, "clients.pem", authority.pem)
	a := startAdmit(t, admitPolicy(t, r, []byte(foreignP256)), "--client-ca", file)
	get := func(with *issued) error {
		resp, err := a.client(with).Get("https://" + a.address + "/healthz")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get(client(authority)); err != nil {
		t.Error(err)
	}
	other := newAuthority(t)
	for what, with := range map[string]*issued{"none": nil, "another authority's": client(other), "its own": client(nil)} {
		if get(with) == nil {
			t.Errorf("who has a certificate that is %s is answered", what)
		}
	}
	fetch(t, "http://"+a.private+"/healthz")
	for _, content := range []string{"garbage", other.pem} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a.look()
	}
	if get(client(authority)) == nil || get(client(other)) != nil {
		t.Error("--client-ca does not follow its file")
	}
}

// Whatever is wrong at the start ends it.
func TestAdmitCannot(t *testing.T) {
	dir := t.TempDir()
	a := &admitting{t: t, dir: dir, ca: newAuthority(t)}
	a.writeCertificate()
	a.write("trusted-root.json", string(readFile(t, verifyFixture{}.path("trusted_root.json"))))
	good := a.write("good.yaml", admitPolicy(t, &imageRegistry{host: "example.com"}, []byte(foreignP256)))
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no policy":          {[]string{"--tls-cert", cert, "--tls-key", key}, exitUsage, "policy"},
		"no certificate":     {[]string{good}, exitUsage, "--tls-cert"},
		"no key":             {[]string{good, "--tls-cert", cert}, exitUsage, "--tls-key"},
		"no such policy":     {[]string{filepath.Join(dir, "none"), "--tls-cert", cert, "--tls-key", key}, exitFailure, "no such file"},
		"broken policy":      {[]string{writeFile(t, "p", "rules: []"), "--tls-cert", cert, "--tls-key", key}, exitFailure, "line 1: rules"},
		"no such key":        {[]string{good, "--tls-cert", cert, "--tls-key", "none"}, exitFailure, "TLS certificate"},
		"client CA":          {[]string{good, "--tls-cert", cert, "--tls-key", key, "--client-ca", key}, exitFailure, "--client-ca"},
		"mode":               {[]string{good, "--tls-cert", cert, "--tls-key", key, "--mode=audit"}, exitUsage, "--mode must be one of"},
		"timeout":            {[]string{good, "--tls-cert", cert, "--tls-key", key, "--webhook-timeout=1m"}, exitUsage, "at most 30s"},
		"timeout of nothing": {[]string{good, "--tls-cert", cert, "--tls-key", key, "--provider-timeout=0s"}, exitUsage, "--provider-timeout must be more than 0"},
		"address":            {[]string{good, "--tls-cert", cert, "--tls-key", key, "--listen=256.0.0.1:1"}, exitFailure, "--listen"},
	} {
		code, _, errs := run(t, nil, append([]string{"admit"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit code %d, %s", name, code, errs)
		}
	}
}

// --check says what a policy demands, or what is wrong with it, and starts nothing.
func TestAdmitCheck(t *testing.T) {
	a := &admitting{t: t, dir: t.TempDir()}
	a.write("trusted-root.json", string(readFile(t, verifyFixture{}.path("trusted_root.json"))))
	example := string(readFile(t, filepath.Join(kubernetes, "policy.yaml")))
	code, out, errs := run(t, nil, "admit", a.write("policy.yaml", example), "--check")
	if code != exitOK || errs != "" || !strings.HasPrefix(out, "rule \"cluster\"\n") || !strings.HasSuffix(out, "\nnothing is verified in namespaces: kube-system\n") {
		t.Errorf("exit code %d: %s\n%s", code, errs, out)
	}
	for broken, want := range map[string]string{
		example + "typo: 1\n": `the policy has no field "typo"`,
		strings.Replace(example, "trusted-root.json]", "none.json]", 1): "no such file",
	} {
		if code, out, errs := run(t, nil, "admit", a.write("policy.yaml", broken), "--check"); code != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("exit code %d: %s\n%s", code, errs, out)
		}
	}
}

const kubernetes = "../../deploy/kubernetes"

// documents returns the YAML documents of a manifest.
func documents(t *testing.T, name string) (all []map[string]any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(readFile(t, filepath.Join(kubernetes, name))))
	d.KnownFields(true)
	for {
		var one map[string]any
		err := d.Decode(&one)
		if err == io.EOF {
			break
		}
		if err != nil || one["apiVersion"] == nil || one["kind"] == nil || one["metadata"] == nil {
			t.Fatalf("%s: %v: %v", name, err, one)
		}
		all = append(all, one)
	}
	return all
}

// member returns what is at a path in a document.
func member(v any, path ...any) any {
	for _, p := range path {
		switch at := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[at]
		case int:
			l, _ := v.([]any)
			if at >= len(l) {
				return nil
			}
			v = l[at]
		}
	}
	return v
}

// The manifests start the program as they say, with the example policy; the webhooks lead to it and deny without it.
func TestKubernetesManifests(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	a := startAdmit(t, string(readFile(t, filepath.Join(kubernetes, "policy.yaml"))))
	if allowed, text := a.ask("/validate", "registry.k8s.io/pause:3.10"); !allowed {
		t.Error(text)
	}
	if allowed, _ := a.ask("/validate", "quay.io/x@"+f.Digest); allowed {
		t.Error("what no rule is for is admitted")
	}

	var args []string
	var service, namespace, dnsName string
	for _, d := range documents(t, "admit.yaml") {
		switch d["kind"] {
		case "Deployment":
			for _, arg := range member(d, "spec", "template", "spec", "containers", 0, "args").([]any) {
				args = append(args, strings.NewReplacer("/etc/tallystick-tls/", a.dir+"/", "/etc/tallystick/", a.dir+"/").Replace(arg.(string)))
			}
			spec := member(d, "spec", "template", "spec")
			if member(spec, "automountServiceAccountToken") != false || member(spec, "containers", 0, "securityContext", "readOnlyRootFilesystem") != true {
				t.Error("the pod has rights that it does not need")
			}
			for i, name := range []string{"--listen", "--metrics-listen"} {
				port := member(spec, "containers", 0, "ports", i, "containerPort")
				if name == "--listen" && port != 8443 || name == "--metrics-listen" && !strings.Contains(strings.Join(args, " "), fmt.Sprintf("--metrics-listen=:%d", port)) {
					t.Errorf("%s is not the port %v", name, port)
				}
			}
		case "Service":
			service, namespace = member(d, "metadata", "name").(string), member(d, "metadata", "namespace").(string)
		case "Certificate":
			if member(d, "spec", "isCA") != true {
				dnsName = member(d, "spec", "dnsNames", 0).(string)
			}
		case "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding":
			t.Errorf("there is a %s", d["kind"])
		}
	}
	if dnsName != service+"."+namespace+".svc" {
		t.Errorf("the certificate is for %s, the service is %s in %s", dnsName, service, namespace)
	}
	args = append(args, "--listen=256.0.0.1:1") // where it ends, after all else was read
	if code, _, errs := run(t, nil, args...); code != exitFailure || !strings.Contains(errs, "--listen") {
		t.Errorf("%q: exit code %d: %s", args, code, errs)
	}

	paths := map[string]string{"MutatingWebhookConfiguration": "/mutate", "ValidatingWebhookConfiguration": "/validate"}
	webhooks := documents(t, "webhooks.yaml")
	for _, d := range webhooks {
		w := member(d, "webhooks", 0)
		path, _ := member(w, "clientConfig", "service", "path").(string)
		if path != paths[d["kind"].(string)] || path == "" || member(w, "clientConfig", "service", "name") != service || member(w, "clientConfig", "service", "namespace") != namespace {
			t.Errorf("%s leads to %q", d["kind"], path)
		}
		for name, want := range map[string]any{"failurePolicy": "Fail", "matchPolicy": "Equivalent", "sideEffects": "None", "timeoutSeconds": 10} {
			if got := member(w, name); got != want {
				t.Errorf("%s: %s is %v", d["kind"], name, got)
			}
		}
		if path == "/mutate" && member(w, "reinvocationPolicy") != "IfNeeded" {
			t.Error("reinvocationPolicy is not IfNeeded")
		}
		if member(w, "namespaceSelector", "matchExpressions", 0, "key") != "kubernetes.io/metadata.name" || member(w, "objectSelector") != nil {
			t.Errorf("%s can be switched off by a label", d["kind"])
		}
		resources := fmt.Sprint(member(w, "rules"))
		for _, want := range []string{"pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers", "deployments", "statefulsets", "daemonsets", "jobs", "cronjobs"} {
			if !strings.Contains(resources, want) {
				t.Errorf("%s: %s is not asked about", d["kind"], want)
			}
		}
		// A ReplicaSet that is not as its Deployment has it is made again and again.
		if strings.Contains(resources, "replicasets") || strings.Contains(resources, "*") {
			t.Errorf("%s is asked about %s", d["kind"], resources)
		}
		if allowed, text := a.ask(path, "quay.io/x@"+f.Digest); allowed {
			t.Error(text)
		}
	}
	if len(webhooks) != 2 {
		t.Errorf("%d webhook configurations", len(webhooks))
	}
}

// Gatekeeper's resources belong together, and the providers' URLs are answered.
func TestGatekeeperManifests(t *testing.T) {
	r := startImages(t)
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r.attach(r.digest, f)
	a := startAdmit(t, admitPolicy(t, r, readFile(t, f.path(f.Key))))
	template, constraint := documents(t, "gatekeeper/template.yaml")[0], documents(t, "gatekeeper/constraint.yaml")[0]
	kind := member(template, "spec", "crd", "spec", "names", "kind")
	if constraint["kind"] != kind || strings.ToLower(kind.(string)) != member(template, "metadata", "name") {
		t.Errorf("the constraint is a %v, the template %v is of %v", constraint["kind"], member(template, "metadata", "name"), kind)
	}
	providers := map[any]bool{}
	for _, d := range documents(t, "gatekeeper/provider.yaml") {
		providers[member(d, "metadata", "name")] = true
		url := strings.Replace(member(d, "spec", "url").(string), "tallystick-admit.tallystick.svc:443", a.address, 1)
		resp, err := a.client(nil).Post(url, "application/json", strings.NewReader(
			fmt.Sprintf(`{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderRequest","request":{"keys":[%q,"nginx"]}}`, r.name("@"+r.digest))))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if text := string(body); strings.Count(text, `"value"`) != 1 || strings.Count(text, `"error"`) != 1 || strings.Contains(text, "systemError") {
			t.Errorf("%s: %s", url, text)
		}
	}
	rego := member(template, "spec", "targets", 0, "rego").(string)
	if !providers["tallystick"] || !strings.Contains(rego, `"provider": "tallystick"`) {
		t.Error("the template asks another provider")
	}
	for _, d := range documents(t, "gatekeeper/pin.yaml") {
		data := member(d, "spec", "parameters", "assign", "externalData")
		if !providers[member(data, "provider")] || member(data, "failurePolicy") != "Fail" || member(data, "dataSource") != "ValueAtLocation" {
			t.Errorf("%v", data)
		}
	}
}
