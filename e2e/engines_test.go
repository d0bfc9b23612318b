//go:build engines

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
)

// engines are images in a registry, the log that they are in, and the trust in it.
type engines struct {
	*shell
	log *testLog
	// legacy and bundle were signed by cosign.key and logged, in both forms; nobody signed unsigned, and
	// nobody logged unlogged, which has a bundle.
	legacy, bundle, unlogged, unsigned image
	registry                           *ociRegistry
}

// newEngines makes them, and a TUF repository, which the log hands out. The repository also names a
// certificate authority and a CT log, without which Kyverno's ImageValidatingPolicy takes none.
func newEngines(t *testing.T) *engines {
	t.Helper()
	e := &engines{shell: newShell(t), log: startLog(t, "sqlite:"), registry: startRegistry(t)}
	e.run(args(cosign3(t), "generate-key-pair"))
	e.legacy, e.bundle = e.registry.push("legacy"), e.registry.push("bundle")
	e.unlogged, e.unsigned = e.registry.push("unlogged"), e.registry.push("unsigned")

	ca := startFulcio(t, startIssuer(t))
	e.file("fulcio.pem", ca.chain)
	e.file("ct.pub", newPublicKey(t))
	e.run(args(binary, "trust", "root", "--data-dir", e.log.dataDir(), "--url", e.log.url, "-o", "trusted-root.json",
		"--fulcio-chain", "fulcio.pem", "--fulcio-url", ca.url, "--ctlog-key", "ct.pub"))
	e.run(args(binary, "trust", "signing-config", "--url", e.log.url, "-o", "signing-config.json"))
	e.run(args(binary, "trust", "tuf", "init", "--tuf-dir", "tuf", "--tuf-keys", "keys", "--trusted-root", "trusted-root.json", "--signing-config", "signing-config.json"))
	e.log.with("--tuf-dir", e.path("tuf"))

	e.run(args(cosign2(t), "sign", "--key", "cosign.key", "--yes", "--rekor-url", e.log.url, e.legacy.ref))
	e.run(args(cosign3(t), "sign", "--key", "cosign.key", "--yes", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json", e.bundle.ref))
	e.run(args(cosign3(t), "sign", "--key", "cosign.key", "--yes", "--use-signing-config=false", "--tlog-upload=false", e.unlogged.ref))
	return e
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

// policy-controller believes the log by the TrustRoot that the command writes, and by TUF.
func TestPolicyController(t *testing.T) {
	e := newEngines(t)
	e.file("policy.yaml", []byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: ours}
spec:
  images: [{glob: "`+e.registry.host+`/**"}]
  authorities:
  - name: key
    key:
      data: |
`+indent(8, e.read("cosign.pub"))+`
    ctlog: {url: "`+e.log.url+`", trustRootRef: ours}
`))
	foreign := startLog(t, "sqlite:")
	trust := args(binary, "trust", "policy-controller", "--name", "ours", "--url", e.log.url)
	e.run(trust, args("--data-dir", e.log.dataDir(), "-o", "own.yaml"))
	e.run(trust, args("--data-dir", foreign.dataDir(), "-o", "foreign.yaml"))
	e.file("tuf.yaml", []byte("apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {name: ours}\nspec:\n  remote:\n    mirror: "+
		e.log.url+"/tuf\n    root: "+base64.StdEncoding.EncodeToString(e.read("tuf/root.json"))+"\n"))
	asks := func(trustRoot string, img image) []string {
		return args(tool(t, "policy-controller-v0.13.1", "tester"), "--policy", "policy.yaml", "--trustroot", trustRoot, "--image", img.ref)
	}
	for _, trustRoot := range args("own.yaml", "tuf.yaml") {
		e.run(asks(trustRoot, e.legacy))
		e.refuse(noSignature, asks(trustRoot, e.unsigned))
	}
	e.refuse(wrongLog, asks("foreign.yaml", e.legacy))
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
	foreign := startLog(t, "sqlite:")
	trust := args(binary, "trust", "kyverno", "--url", e.log.url)
	clusterPolicy("own.yaml", "Cosign", []byte(e.run(trust, args("--data-dir", e.log.dataDir()))))
	clusterPolicy("foreign.yaml", "Cosign", []byte(e.run(trust, args("--data-dir", foreign.dataDir()))))
	// With ctlog.ignoreSCT, Kyverno 1.19 gives sigstore-go no sort of timestamp to rely on, which it refuses.
	clusterPolicy("bundle.yaml", "SigstoreBundle", []byte("rekor: {url: "+e.log.url+"}"))
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
      tuf: {mirror: "`+e.log.url+`/tuf/", root: {data: `+base64.StdEncoding.EncodeToString(e.read("tuf/root.json"))+`}}
  validations:
  - expression: images.containers.map(image, verifyImageSignatures(image, [attestors.key])).all(e, e > 0)
    message: no valid signature
`))
	for _, x := range []struct {
		policy    string
		img       image
		admitted  bool
		withImage string
	}{
		{"own.yaml", e.legacy, true, "legacy"}, {"own.yaml", e.unsigned, false, "unsigned"}, {"foreign.yaml", e.legacy, false, "legacy"},
		{"validating.yaml", e.legacy, true, "legacy"}, {"validating.yaml", e.bundle, true, "bundle"},
		{"validating.yaml", e.unsigned, false, "unsigned"}, {"validating.yaml", e.unlogged, false, "unlogged"},
		// These take the repository from where the ImageValidatingPolicy left it: its controller has the flags
		// --enableTuf, --tufMirror and --tufRoot instead, the command line has none.
		{"bundle.yaml", e.bundle, true, "bundle"}, {"bundle.yaml", e.unsigned, false, "unsigned"}, {"bundle.yaml", e.unlogged, false, "unlogged"},
	} {
		e.file("pod.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default}\nspec: {containers: [{name: c, image: \""+x.img.ref+"\"}]}\n"))
		out, messages, err := e.try(args(tool(t, "kyverno-v1.19.1", "kyverno"), "apply", x.policy, "--resource", "pod.yaml", "--registry"))
		if admitted := err == nil && strings.Contains(out, "fail: 0"); admitted != x.admitted {
			t.Errorf("%s, the %s image: admitted %v, want %v (%v)\n%s%s", x.policy, x.withImage, admitted, x.admitted, err, out, messages)
		}
	}
}
