//go:build kubernetes

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// engines are images in a registry, signed and logged or not, and what admission engines need to tell
// which: the key cosign.pub, a log, and trust in it as a TUF repository, which the log hands out.
type engines struct {
	*shell
	log, foreign *testLog
	fulcio       *fulcio
	issuer       *issuer
	registry     *ociRegistry
	images       []candidate
}

// unknown is why cosign's packages refuse what is not logged; the last reason, when the log cannot be asked.
var unknown = slices.Concat(notLogged, args("searching log query"))

// candidate is an image that wants to be admitted.
type candidate struct {
	name  string // what is wrong with it, if anything
	form  string // that of its signature: "legacy" or "bundle"; empty if nobody signed it
	image image
	tag   string // host/repository:tag, if it has one
	// refused is why who asks for a signature by cosign.key in the log refuses it, as cosign's packages word
	// it; nil for what has one.
	refused []string
}

func (c candidate) String() string { return strings.TrimPrefix(c.form+" "+c.name, " ") }

// newEngines makes them. The repository also names a certificate authority and a CT log, without which
// Kyverno's ImageValidatingPolicy takes none.
func newEngines(t *testing.T) *engines {
	t.Helper()
	e := &engines{shell: newShell(t), log: startLog(t, "sqlite:"), foreign: startLog(t, "sqlite:"), registry: startRegistry(t), issuer: startIssuer(t)}
	e.fulcio = startFulcio(t, e.issuer)
	e.run(args(cosign3(t), "generate-key-pair"))
	e.run(args(cosign3(t), "generate-key-pair", "--output-key-prefix", "foreign"))
	e.file("fulcio.pem", e.fulcio.chain)
	e.file("ct.pub", newPublicKey(t))
	e.file("log.pub", readFile(t, e.log.keyFile))
	e.file("foreign-log.pub", readFile(t, e.foreign.keyFile))
	for _, l := range []struct {
		*testLog
		prefix string
	}{{e.log, ""}, {e.foreign, "foreign-"}} {
		e.run(args(binary, "trust", "root", "--data-dir", l.dataDir(), "--url", l.url, "-o", l.prefix+"trusted-root.json",
			"--fulcio-chain", "fulcio.pem", "--fulcio-url", e.fulcio.url, "--ctlog-key", "ct.pub"))
		e.run(args(binary, "trust", "signing-config", "--url", l.url, "-o", l.prefix+"signing-config.json", "--fulcio-url", e.fulcio.url, "--oidc-url", e.issuer.people))
	}
	e.run(args(binary, "trust", "tuf", "init", "--tuf-dir", "tuf", "--tuf-keys", "keys", "--trusted-root", "trusted-root.json", "--signing-config", "signing-config.json"))
	e.log.with("--tuf-dir", e.path("tuf"))
	e.signAll()
	return e
}

// signAll makes the images and signs them, with cosign 2 in the legacy form and with cosign 3 in bundles.
func (e *engines) signAll() {
	e.t.Helper()
	legacy := args(cosign2(e.t), "sign", "--yes")
	bundle := args(cosign3(e.t), "sign", "--yes")
	keyless := args("--identity-token", e.issuer.person(person))
	for _, x := range []struct {
		candidate
		sign [][]string
	}{
		{candidate{name: "signed", form: "legacy"}, [][]string{legacy, args("--key", "cosign.key", "--rekor-url", e.log.url)}},
		{candidate{name: "foreign key", form: "legacy", refused: wrongKey}, [][]string{legacy, args("--key", "foreign.key", "--rekor-url", e.log.url)}},
		{candidate{name: "foreign log", form: "legacy", refused: wrongLog}, [][]string{legacy, args("--key", "cosign.key", "--rekor-url", e.foreign.url)}},
		{candidate{name: "not logged", form: "legacy", refused: unknown}, [][]string{legacy, args("--key", "cosign.key", "--tlog-upload=false")}},
		{candidate{name: "keyless", form: "legacy", refused: slices.Concat(wrongKey, noKeySigned)}, [][]string{legacy, keyless, args("--rekor-url", e.log.url,
			"--fulcio-url", e.fulcio.url, "--oidc-issuer", e.issuer.people, "--insecure-skip-verify")}},
		{candidate{name: "signed", form: "bundle"}, [][]string{bundle, args("--key", "cosign.key", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")}},
		{candidate{name: "foreign key", form: "bundle", refused: wrongKey}, [][]string{bundle, args("--key", "foreign.key", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")}},
		{candidate{name: "foreign log", form: "bundle", refused: wrongLog}, [][]string{bundle, args("--key", "cosign.key", "--signing-config", "foreign-signing-config.json", "--trusted-root", "foreign-trusted-root.json")}},
		{candidate{name: "not logged", form: "bundle", refused: unknown}, [][]string{bundle, args("--key", "cosign.key", "--use-signing-config=false", "--tlog-upload=false")}},
		{candidate{name: "unsigned", refused: slices.Concat(noSignature, args("No verification results"))}, nil},
	} {
		x.image = e.registry.push(x.String())
		if x.sign != nil {
			e.run(append(x.sign, args(x.image.ref))...)
		}
		e.images = append(e.images, x.candidate)
	}
}

// attest signs and logs a vulnerability scan of an image that ended then, in this form; the words are cosign's.
func (e *engines) attest(form string, img image, ended time.Time, words ...string) {
	e.t.Helper()
	e.file("vuln.json", []byte(`{"invocation":{"parameters":null,"uri":"https://ci.example/1","event_id":"1","builder.id":"ci"},
		"scanner":{"uri":"pkg:golang/scanner@1","version":"1","db":{"uri":"","version":""},"result":{"findings":[]}},
		"metadata":{"scanStartedOn":"`+ended.UTC().Format(time.RFC3339)+`","scanFinishedOn":"`+ended.UTC().Format(time.RFC3339)+`"}}`))
	program := cosign3(e.t)
	if form == "legacy" {
		program = cosign2(e.t)
	}
	e.run(args(program, "attest", "--yes", "--type", "vuln", "--predicate", "vuln.json"), words, args(img.ref))
}

// judge runs an engine's command, which has to accept if there is no reason to refuse, and else to refuse
// for one of the reasons.
func (e *engines) judge(refused []string, command []string) {
	e.t.Helper()
	if refused == nil {
		e.run(command)
		return
	}
	e.refuse(refused, command)
}

// says reports whether an engine's output has one of the reasons.
func says(output string, reasons []string) bool {
	return slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(output, r) })
}

// of returns the images whose signatures have the form, and those that have none.
func (e *engines) of(form string) []candidate {
	return slices.DeleteFunc(slices.Clone(e.images), func(c candidate) bool { return c.form != "" && c.form != form })
}

// tag gives an image a tag, and returns it as host/repository:tag.
func (r *ociRegistry) tag(img image, tag string) string {
	r.t.Helper()
	ref, err := name.ParseReference(img.ref)
	if err != nil {
		r.t.Fatal(err)
	}
	what, err := remote.Get(ref)
	if err != nil {
		r.t.Fatal(err)
	}
	to := ref.Context().Tag(tag)
	if err := remote.Tag(to, what); err != nil {
		r.t.Fatal(err)
	}
	return to.String()
}

// pod returns a Kubernetes Pod of an image, in YAML.
func pod(image string) []byte {
	return []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default}\nspec: {containers: [{name: c, image: \"" + image + "\"}]}\n")
}

// tufMirror serves the TUF repository without the log.
func (e *engines) tufMirror() string {
	e.t.Helper()
	s := httptest.NewServer(http.StripPrefix("/tuf", http.FileServer(http.Dir(e.path("tuf")))))
	e.t.Cleanup(s.Close)
	return s.URL + "/tuf"
}

// base64 returns a file in the form that YAML takes for bytes.
func (e *engines) base64(name string) string {
	e.t.Helper()
	return base64.StdEncoding.EncodeToString(e.read(name))
}

func newPublicKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// indent indents lines, to be put into YAML.
func indent(n int, text []byte) string {
	return strings.Repeat(" ", n) + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n"+strings.Repeat(" ", n))
}

// policy-controller believes the log by the TrustRoot that the command writes, and by TUF. It knows legacy
// signatures only, as far as images go.
func TestPolicyController(t *testing.T) {
	e := newEngines(t)
	clusterImagePolicy := func(name, authority string) {
		e.file(name, []byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: ours}
spec:
  images: [{glob: "`+e.registry.host+`/**"}]
  authorities:
  - name: ours
`+indent(4, []byte(authority))+`
    ctlog: {url: "`+e.log.url+`", trustRootRef: ours}
`))
	}
	clusterImagePolicy("key.yaml", "key:\n  data: |\n"+indent(4, e.read("cosign.pub")))
	identity := func(email string) string {
		return "keyless:\n  trustRootRef: ours\n  insecureIgnoreSCT: true\n  identities: [{issuer: \"" + e.issuer.people + "\", subject: \"" + email + "\"}]"
	}
	clusterImagePolicy("keyless.yaml", identity(person))
	clusterImagePolicy("other.yaml", identity("x"+person))

	trust := args(binary, "trust", "policy-controller", "--name", "ours", "--fulcio-chain", "fulcio.pem", "--fulcio-url", e.fulcio.url)
	e.run(trust, args("--url", e.log.url, "--data-dir", e.log.dataDir(), "-o", "own.yaml"))
	e.run(trust, args("--url", e.log.url, "--data-dir", e.foreign.dataDir(), "-o", "foreign.yaml"))
	byTUF := func(mirror string) {
		e.file("tuf.yaml", []byte("apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: ours}\nspec:\n  remote:\n    mirror: "+
			mirror+"\n    root: "+e.base64("tuf/root.json")+"\n"))
	}
	asks := func(policy, trustRoot string, img image) []string {
		return args(tool(t, "policy-controller-v0.13.1", "tester"), "--policy", policy, "--trustroot", trustRoot, "--image", img.ref)
	}
	byKeyless := func(c candidate, otherwise []string) []string {
		switch c.name {
		case "unsigned":
			return noSignature
		case "keyless":
			return otherwise
		}
		return args("nil certificate provided")
	}
	judge := func() {
		t.Helper()
		for _, c := range e.of("legacy") {
			for _, trustRoot := range args("own.yaml", "tuf.yaml") {
				e.judge(c.refused, asks("key.yaml", trustRoot, c.image))
				e.judge(byKeyless(c, nil), asks("keyless.yaml", trustRoot, c.image))
				e.judge(byKeyless(c, wrongIdentity), asks("other.yaml", trustRoot, c.image))
			}
			if c.refused == nil {
				e.refuse(wrongLog, asks("key.yaml", "foreign.yaml", c.image))
			}
		}
	}
	byTUF(e.log.url + "/tuf")
	judge()
	byTUF(e.tufMirror())
	e.log.stop()
	judge()
}

// Kyverno believes the log by the part of a policy that the command writes, and by TUF: policies of
// type SigstoreBundle, and ImageValidatingPolicies, have no other way.
func TestKyverno(t *testing.T) {
	e := newEngines(t)
	clusterPolicy := func(name, kind string, from []byte) {
		e.file(name, []byte(`apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: ours}
spec:
  background: false
  rules:
  - name: signed
    match: {any: [{resources: {kinds: [Pod]}}]}
    verifyImages:
    - type: `+kind+`
      imageReferences: ["`+e.registry.host+`/*"]
      failureAction: Enforce
      mutateDigest: false
      verifyDigest: false
      required: true
      imageRegistryCredentials: {allowInsecureRegistry: true}
      attestors:
      - entries:
        - keys:
            publicKeys: |-
`+indent(14, e.read("cosign.pub"))+`
`+indent(12, from)+"\n"))
	}
	validatingPolicy := func(mirror string) {
		e.file("validating.yaml", []byte(`apiVersion: policies.kyverno.io/v1beta1
kind: ImageValidatingPolicy
metadata: {name: ours}
spec:
  validationActions: [Deny]
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchImageReferences: [{glob: "`+e.registry.host+`/*"}]
  credentials: {allowInsecureRegistry: true}
  validationConfigurations: {mutateDigest: false, verifyDigest: false, required: true}
  attestors:
  - name: key
    cosign:
      key:
        data: |
`+indent(10, e.read("cosign.pub"))+`
      tuf: {mirror: "`+mirror+`/", root: {data: `+e.base64("tuf/root.json")+`}}
  validations:
  - expression: images.containers.map(image, verifyImageSignatures(image, [attestors.key])).all(e, e > 0)
    message: no valid signature
`))
	}
	trust := args(binary, "trust", "kyverno", "--url", e.log.url)
	clusterPolicy("own.yaml", "Cosign", []byte(e.run(trust, args("--data-dir", e.log.dataDir()))))
	clusterPolicy("foreign.yaml", "Cosign", []byte(e.run(trust, args("--data-dir", e.foreign.dataDir()))))
	// With ctlog.ignoreSCT, Kyverno 1.19 gives sigstore-go no sort of timestamp to rely on, which it refuses.
	clusterPolicy("bundle.yaml", "SigstoreBundle", []byte("rekor: {url: "+e.log.url+"}"))
	// These have one answer to all that they refuse.
	one := func(c candidate, answer string) []string {
		if c.refused == nil {
			return nil
		}
		return args(answer)
	}
	judge := func() {
		t.Helper()
		for _, c := range e.of("legacy") {
			e.kyverno("own.yaml", c, c.refused)
			if c.refused == nil {
				e.kyverno("foreign.yaml", c, wrongLog)
			}
		}
		for _, c := range e.images {
			e.kyverno("validating.yaml", c, one(c, "no valid signature"))
		}
		// These take the repository from where the ImageValidatingPolicy left it: its controller has the flags
		// --enableTuf, --tufMirror and --tufRoot instead, the command line has none.
		for _, c := range e.of("bundle") {
			e.kyverno("bundle.yaml", c, one(c, "no matching signatures found"))
		}
	}
	validatingPolicy(e.log.url + "/tuf")
	judge()
	validatingPolicy(e.tufMirror())
	e.log.stop()
	judge()
}

// kyverno has Kyverno judge a Pod of an image by a policy, which has to admit it if there is no reason to refuse it.
func (e *engines) kyverno(policy string, c candidate, refused []string) {
	e.t.Helper()
	e.file("pod.yaml", pod(c.image.ref))
	out, messages, err := e.try(args(tool(e.t, "kyverno-v1.19.1", "kyverno"), "apply", policy, "--resource", "pod.yaml", "--registry"))
	admitted := err == nil && strings.Contains(out, "fail: 0")
	if admitted != (refused == nil) || !admitted && !says(out+messages, refused) {
		e.t.Errorf("%s, image %s: admitted %v; want it refused for %q (%v)\n%s%s", policy, c, admitted, refused, err, out, messages)
	}
}

// Kyverno admits what was scanned for vulnerabilities lately, and the scan signed and logged.
func TestKyvernoVulnerabilities(t *testing.T) {
	e := newEngines(t)
	from := []byte("publicKeys: |-\n" + indent(2, e.read("cosign.pub")) + "\n" + e.run(args(binary, "trust", "kyverno", "--url", e.log.url, "--data-dir", e.log.dataDir())))
	e.file("policy.yaml", []byte(`apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: ours}
spec:
  background: false
  rules:
  - name: scanned
    match: {any: [{resources: {kinds: [Pod]}}]}
    verifyImages:
    - type: Cosign
      imageReferences: ["`+e.registry.host+`/*"]
      failureAction: Enforce
      mutateDigest: false
      verifyDigest: false
      required: true
      imageRegistryCredentials: {allowInsecureRegistry: true}
      attestors:
      - entries:
        - keys:
`+indent(12, from)+`
      attestations:
      - type: https://cosign.sigstore.dev/attestation/vuln/v1
        attestors:
        - entries:
          - keys:
`+indent(14, from)+`
        conditions:
        - all:
          - key: "{{ time_since('', '{{ metadata.scanFinishedOn }}', '') }}"
            operator: LessThanOrEquals
            value: 168h
`))
	now := time.Now()
	key, logged := args("--key", "cosign.key"), args("--rekor-url", e.log.url)
	scans := []struct {
		name    string
		ended   time.Time
		attest  []string // cosign's words; nil if it is not attested
		refused []string
		image   image
	}{
		{name: "scanned", ended: now.Add(-time.Hour), attest: slices.Concat(key, logged)},
		{name: "scanned long ago", ended: now.Add(-8 * 24 * time.Hour), attest: slices.Concat(key, logged), refused: args("attestation checks failed")},
		{name: "not scanned", refused: noSignature},
		{name: "scanned by a stranger", ended: now, attest: slices.Concat(args("--key", "foreign.key"), logged), refused: wrongKey},
		{name: "scan in a foreign log", ended: now, attest: slices.Concat(key, args("--rekor-url", e.foreign.url)), refused: wrongLog},
		{name: "scan not logged", ended: now, attest: slices.Concat(key, args("--tlog-upload=false")), refused: unknown},
	}
	for i, x := range scans {
		scans[i].image = e.registry.push(x.name)
		e.run(args(cosign2(t), "sign", "--yes"), key, logged, args(scans[i].image.ref))
		if x.attest != nil {
			e.attest("legacy", scans[i].image, x.ended, x.attest...)
		}
	}
	judge := func() {
		t.Helper()
		for _, x := range scans {
			e.kyverno("policy.yaml", candidate{name: x.name, image: x.image}, x.refused)
		}
	}
	judge()
	e.log.stop()
	judge()
}
