//go:build kubernetes

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tlsAuthority makes certificates for servers on loopback.
type tlsAuthority struct {
	certificate []byte // PEM
	client      http.Client
	key         *ecdsa.PrivateKey
	parsed      *x509.Certificate
}

func newTLSAuthority(t *testing.T) *tlsAuthority {
	t.Helper()
	a := &tlsAuthority{}
	a.certificate, a.parsed, a.key = a.issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	pool := x509.NewCertPool()
	pool.AddCert(a.parsed)
	a.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	return a
}

// issue makes a certificate: by the authority, or its own.
func (a *tlsAuthority) issue(t *testing.T, c x509.Certificate) ([]byte, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.parsed, a.key
	if parent == nil {
		parent, by = &c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), made, key
}

// server writes certificate and key of a server, as PREFIX.crt and PREFIX.key.
func (a *tlsAuthority) server(s *shell, prefix string) (certificate, key string) {
	s.t.Helper()
	crt, _, private := a.issue(s.t, x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.path(s.file(prefix+".crt", crt)), s.path(s.file(prefix+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// cluster is a Kubernetes API server on loopback, with etcd behind it. Nothing runs the Pods.
type cluster struct {
	*shell
	pods int // that were asked for
}

// startCluster starts one, and makes kubeconfig.yaml for its administrator in the shell's folder, where the authority is ca.crt.
func startCluster(s *shell, ca *tlsAuthority) *cluster {
	s.t.Helper()
	etcd, peers := freeAddress(s.t), freeAddress(s.t)
	(&server{t: s.t, url: "http://" + etcd, ready: "/health", killed: true, command: args(tool(s.t, "etcd", "etcd"), "--data-dir", filepath.Join(s.t.TempDir(), "etcd"),
		"--listen-client-urls", "http://"+etcd, "--advertise-client-urls", "http://"+etcd, "--initial-cluster", "default=http://"+peers,
		"--listen-peer-urls", "http://"+peers, "--initial-advertise-peer-urls", "http://"+peers)}).launch()

	host, port, err := net.SplitHostPort(freeAddress(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	address := "https://" + net.JoinHostPort(host, port)
	crt, key := ca.server(s, "apiserver")
	const token = "administrator"
	s.file("tokens.csv", []byte(token+`,admin,admin,"system:masters"`))
	// Without a controller manager there are no service accounts, so the plug-in that asks for one is off.
	(&server{t: s.t, url: address, ready: "/readyz", killed: true, client: ca.client, command: args(tool(s.t, "kube-apiserver-v1.34.4", "kube-apiserver"),
		"--etcd-servers=http://"+etcd, "--bind-address="+host, "--advertise-address="+host, "--secure-port="+port, "--endpoint-reconciler-type=none",
		"--tls-cert-file="+crt, "--tls-private-key-file="+key, "--cert-dir="+filepath.Join(s.t.TempDir(), "certs"), "--service-cluster-ip-range=10.99.0.0/24",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+crt, "--service-account-signing-key-file="+key,
		"--token-auth-file="+s.path("tokens.csv"), "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount", "--feature-gates=ImageVolume=true")}).launch()
	s.file("kubeconfig.yaml", []byte("apiVersion: v1\nkind: Config\ncurrent-context: ours\ncontexts: [{name: ours, context: {cluster: ours, user: admin}}]\n"+
		"clusters: [{name: ours, cluster: {server: \""+address+"\", certificate-authority: ca.crt}}]\nusers: [{name: admin, user: {token: "+token+"}}]\n"))
	return &cluster{shell: s}
}

// kubectl returns a command of kubectl.
func (c *cluster) kubectl(words ...string) []string {
	c.t.Helper()
	return append(args(tool(c.t, "kubectl-v1.34.4", "kubectl"), "--kubeconfig=kubeconfig.yaml"), words...)
}

// runs asks for a Pod of an image, and returns the image that is stored, or why the Pod is refused.
func (c *cluster) runs(image string, more ...string) (stored, refused string) {
	c.t.Helper()
	c.pods++
	stored, messages, err := c.try(append(c.kubectl("run", fmt.Sprintf("pod-%d", c.pods), "--image="+image, "--restart=Never", "-o", "jsonpath={.spec.containers[0].image}"), more...))
	if err != nil {
		return "", messages
	}
	return stored, ""
}

// until waits for something that the API server takes a moment to do, such as to heed a new webhook.
func (c *cluster) until(what string, done func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("after %v, it is not true that %s", patience, what)
		}
	}
}

// imageOf returns the image of an object's first container.
func (c *cluster) imageOf(object string) string {
	c.t.Helper()
	return c.run(c.kubectl("get", object, "-o", "jsonpath={..containers[0].image}"))
}

// denies sees that a request is refused by the webhook, for one of the reasons.
func (c *cluster) denies(reasons []string, words ...string) {
	c.t.Helper()
	out, messages, err := c.try(c.kubectl(words...))
	if err == nil || !says(messages, reasons) || !says(messages, args("denied the request: tallystick: ")) {
		c.t.Errorf("kubectl %s: %v; want it denied for %q\n%s%s", strings.Join(words, " "), err, reasons, out, messages)
	}
}

// judge asks for Pods of an image, by digest and by tag, which are both to be admitted with that digest, or refused in
// words that tell a person which image of what container is refused and why.
func (c *cluster) judge(x candidate) {
	c.t.Helper()
	for _, image := range args(x.image.ref, x.tag) {
		switch stored, refused := c.runs(image); {
		case x.refused == nil && stored != x.image.ref:
			c.t.Errorf("image %s, asked for as %s, is stored as %q; want %s\n%s", x, image, stored, x.image.ref, refused)
		case x.refused != nil && (!says(refused, x.refused) || !says(refused, args("denied the request: tallystick: image "+image+" of container \"pod-"))):
			c.t.Errorf("image %s, asked for as %s, is stored as %q; want it denied for %q\n%s", x, image, stored, x.refused, refused)
		}
	}
}

// manifests are the documents in a file that users apply.
func manifests(t *testing.T, name string) []string {
	t.Helper()
	return strings.Split(string(readFile(t, "../deploy/kubernetes/"+name)), "\n---\n")
}

// webhook applies the configuration of the webhook that has this path, with the server's address in it.
func (a *admission) webhook(c *cluster, path string) {
	c.t.Helper()
	service := "service: {name: tallystick-admit, namespace: tallystick, path: " + path + "}"
	for _, m := range manifests(c.t, "webhooks.yaml") {
		if strings.Contains(m, service) {
			a.file("webhook.yaml", []byte(strings.ReplaceAll(m, service, "url: "+a.url+path+"\n      caBundle: "+a.base64("ca.crt"))))
			c.run(c.kubectl("apply", "-f", "webhook.yaml"))
			return
		}
	}
	c.t.Fatalf("webhooks.yaml has no webhook with %s", service)
}

// The webhooks of `tallystick admit`, asked by an API server: whatever names an image gets in with the digest that was
// verified, or not at all.
func TestKubernetes(t *testing.T) {
	a := newAdmission(t)
	c := startCluster(a.shell, a.ca)
	all := a.candidates()
	good, unsigned := firstOf(all)
	stores := func(what, image, want string, more ...string) {
		t.Helper()
		if stored, refused := c.runs(image, more...); stored != want {
			t.Errorf("%s: image %s is stored as %q, want %s\n%s", what, image, stored, want, refused)
		}
	}
	refuses := func(what, image, why string) {
		t.Helper()
		if stored, refused := c.runs(image); stored != "" || !says(refused, args(why)) {
			t.Errorf("%s: image %s is stored as %q; want it refused: %s\n%s", what, image, stored, why, refused)
		}
	}
	// The server's own manifest, but for what is cert-manager's to take.
	for _, m := range manifests(t, "admit.yaml") {
		if !strings.Contains(m, "apiVersion: cert-manager.io/") {
			a.file("admit.yaml", []byte(m))
			c.run(c.kubectl("apply", "--validate=strict", "-f", "admit.yaml"))
		}
	}
	a.webhook(c, "/validate")
	c.until("the validating webhook alone does not take a tag for an answer", func() bool {
		_, refused := c.runs(good.tag, "--dry-run=server")
		return says(refused, args("it has no digest"))
	})
	stores("with the validating webhook alone", good.image.ref, good.image.ref)
	a.webhook(c, "/mutate")
	c.until("the mutating webhook makes a digest of a tag", func() bool {
		stored, _ := c.runs(good.tag, "--dry-run=server")
		return stored == good.image.ref
	})

	for _, x := range all {
		c.judge(x)
	}
	refuses("with its registry away", a.away+"/app", "its digest could not be found out")
	refuses("an image of no rule", "nginx", "no rule of the policy is for docker.io/library/nginx")
	stores("in an exempt namespace", unsigned.tag, unsigned.tag, "-n", "kube-system")
	a.everyContainer(c, good, unsigned)
	a.imageVolume(c, good, unsigned)
	a.movedTag(c, good, unsigned)

	// Nobody is asked but the registry.
	example := a.example()
	a.log.stop()
	a.fulcio.stop()
	a.server.stop()
	a.server.start()
	for _, x := range all {
		c.judge(x)
	}
	a.server.stop()
	refuses("without tallystick admit", good.image.ref, "failed calling webhook")
	command := a.server.command
	a.server.command = append(slices.Clip(command), "--mode=warn")
	a.server.start()
	a.warns(c, good, unsigned)
	a.server.stop()
	a.server.command = command
	a.server.start()
	stores("with tallystick admit back", good.image.ref, good.image.ref)
	a.adopt(c, example, good)
}

// warns sees that in warn mode whoever asks for an image that would be refused gets it, and reads why it would be refused.
func (a *admission) warns(c *cluster, good, unsigned candidate) {
	c.t.Helper()
	for _, x := range []candidate{good, unsigned} {
		c.pods++
		_, messages, err := c.try(c.kubectl("run", fmt.Sprintf("pod-%d", c.pods), "--image="+x.image.ref, "--restart=Never"))
		warned := strings.Contains(messages, "Warning: tallystick would deny this: image "+x.image.ref)
		if err != nil || warned != (x.refused != nil) || warned && !says(messages, x.refused) {
			c.t.Errorf("image %s in warn mode: %v; want a warning for %q\n%s", x, err, x.refused, messages)
		}
	}
}

// workloads are the objects that make Pods, by kind, with an image in their template.
func workloads(image string) map[string][]byte {
	all := make(map[string][]byte)
	add := func(version, kind, before, after string) {
		all[kind] = []byte("apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: x, namespace: default}\n" +
			before + "template: {metadata: {labels: {app: x}}, spec: {restartPolicy: Always, containers: [{name: c, image: \"" + image + "\"}]}}" + after + "\n")
	}
	add("v1", "PodTemplate", "", "")
	add("v1", "ReplicationController", "spec: {selector: {app: x}, ", "}")
	for _, kind := range args("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet") {
		add("apps/v1", kind, "spec: {selector: {matchLabels: {app: x}}, ", "}")
	}
	add("batch/v1", "Job", "spec: {", "}")
	add("batch/v1", "CronJob", "spec: {schedule: '@daily', jobTemplate: {spec: {", "}}}")
	for _, kind := range args("Job", "CronJob") {
		all[kind] = bytes.Replace(all[kind], []byte("Always"), []byte("Never"), 1)
	}
	return all
}

// withInit is a Pod with an init container.
func withInit(first, then string) []byte {
	return []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: init, namespace: default}\nspec:\n  initContainers: [{name: first, image: \"" + first +
		"\"}]\n  containers: [{name: c, image: \"" + then + "\"}]\n")
}

// everyContainer sees that no way to name an image is free: init containers, ephemeral containers, changes, and the
// templates of Pods.
func (a *admission) everyContainer(c *cluster, good, unsigned candidate) {
	c.t.Helper()
	wrong := unsigned.refused
	c.file("init.yaml", withInit(unsigned.image.ref, good.image.ref))
	c.denies(wrong, "apply", "-f", "init.yaml")
	c.run(c.kubectl("run", "app", "--image="+good.tag, "--restart=Never"))
	c.denies(wrong, "debug", "app", "--image="+unsigned.tag, "--container=debugger", "--attach=false")
	c.denies(wrong, "set", "image", "pod/app", "app="+unsigned.image.ref)
	c.run(c.kubectl("debug", "app", "--image="+good.tag, "--container=debugger", "--attach=false"))
	if got := c.run(c.kubectl("get", "pod", "app", "-o", "jsonpath={.spec.ephemeralContainers[0].image}")); got != good.image.ref {
		c.t.Errorf("the image of an ephemeral container is stored as %q, want %s", got, good.image.ref)
	}
	for kind := range workloads("") {
		c.file("workload.yaml", workloads(unsigned.tag)[kind])
		if kind == "ReplicaSet" { // which stays as its controller made it; its Pods are judged
			c.run(c.kubectl("apply", "-f", "workload.yaml"))
			if got := c.imageOf(kind + "/x"); got != unsigned.tag {
				c.t.Errorf("the image of a %s is stored as %q, want %s", kind, got, unsigned.tag)
			}
			continue
		}
		c.denies(wrong, "apply", "-f", "workload.yaml")
		c.file("workload.yaml", workloads(good.tag)[kind])
		c.run(c.kubectl("apply", "-f", "workload.yaml"))
		if got := c.imageOf(kind + "/x"); got != good.image.ref {
			c.t.Errorf("the image of a %s is stored as %q, want %s", kind, got, good.image.ref)
		}
	}
	c.denies(wrong, "set", "image", "deployment/x", "*="+unsigned.tag)
	// What has nothing to do with images goes on.
	c.run(c.kubectl("label", "pod", "app", "team=ours"))
	c.run(c.kubectl("delete", "pod", "app", "--now"))
}

// imageVolume sees that what a Pod mounts from an image is judged and pinned as what it runs.
func (a *admission) imageVolume(c *cluster, good, unsigned candidate) {
	c.t.Helper()
	mounting := func(name, image string) {
		c.file("volume.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+", namespace: default}\nspec:\n  containers: [{name: c, image: \""+good.image.ref+
			"\", volumeMounts: [{name: data, mountPath: /data}]}]\n  volumes: [{name: data, image: {reference: \""+image+"\", pullPolicy: IfNotPresent}}]\n"))
	}
	for _, image := range args(unsigned.tag, unsigned.image.ref) {
		mounting("bad", image)
		c.denies(args("image "+image+` of image volume "data" (rule "app"): no signature is attached to it`), "apply", "-f", "volume.yaml")
	}
	mounting("good", good.tag)
	c.run(c.kubectl("apply", "--validate=strict", "-f", "volume.yaml"))
	if got := c.run(c.kubectl("get", "pod", "good", "-o", "jsonpath={.spec.volumes[0].image.reference}")); got != good.image.ref {
		c.t.Errorf("the image of a volume is stored as %q, want %s", got, good.image.ref)
	}
}

// movedTag sees that a Pod keeps the image that was verified, wherever its tag moves.
func (a *admission) movedTag(c *cluster, good, unsigned candidate) {
	c.t.Helper()
	tag := a.registry.tag(good.image, "moving")
	c.run(c.kubectl("run", "moving", "--image="+tag, "--restart=Never"))
	a.registry.tag(unsigned.image, "moving")
	if got := c.imageOf("pod/moving"); got != good.image.ref {
		c.t.Errorf("a moved tag leaves a Pod with %q, want %s", got, good.image.ref)
	}
	c.denies(unsigned.refused, "run", "moved", "--image="+tag, "--restart=Never")
}

// admitSettings has an API server.
func admitSettings(t *testing.T) map[string]string {
	values := logAndImages(t, "IMAGE", "OTHER_IMAGE")
	values["TAG"] = tagged(t, values["IMAGE"], "v1")
	ca, s := newTLSAuthority(t), newShell(t)
	s.file("ca.crt", ca.certificate)
	startCluster(s, ca)
	deploy, err := filepath.Abs("../deploy/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	values["KUBECONFIG"], values["DEPLOY"] = s.path("kubeconfig.yaml"), deploy
	values["ADMIT"], values["METRICS"] = "127.0.0.1:"+quietPort(t), "127.0.0.1:"+quietPort(t)
	return values
}
