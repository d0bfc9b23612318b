//go:build kubernetes

package e2e

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// policyController is policy-controller's program for trying policies, and the manifests.
type policyController struct{ *engines }

// policy writes a ClusterImagePolicy of deploy/kubernetes/policy-controller as name.
func (p *policyController) policy(name, of string, values ...string) {
	p.t.Helper()
	p.file(name, deployed(p.t, "policy-controller/"+of, slices.Concat(args("https://log.example.com", p.log.url, "registry.example.com/team/**", p.registry.host+"/**"), values)...))
}

// keyless writes a policy that names who has to have signed.
func (p *policyController) keyless(name, email string) {
	p.t.Helper()
	p.policy(name, "keyless.yaml", "https://login.example.com", p.issuer.people, "dev@example.com", email)
}

// changed writes a policy as another one, with old text in place of new text.
func (p *policyController) changed(name, from, old, new string) {
	p.t.Helper()
	text := string(p.read(from))
	if strings.Count(text, old) != 1 {
		p.t.Fatalf("%s does not have once: %s", from, old)
	}
	p.file(name, []byte(strings.Replace(text, old, new, 1)))
}

// trust writes the TrustRoot that believes a log.
func (p *policyController) trust(name string, l *testLog, more ...string) {
	p.t.Helper()
	p.run(args(binary, "trust", "policy-controller", "--fulcio-chain", "fulcio.pem", "--fulcio-url", p.fulcio.url,
		"--url", p.log.url, "--log-key", l.keyFile, "-o", name), more)
}

// byTUF writes the TrustRoot that believes a TUF repository.
func (p *policyController) byTUF(mirror string) {
	p.t.Helper()
	p.file("tuf.yaml", deployed(p.t, "policy-controller/trustroot-tuf.yaml", "https://log.example.com/tuf", mirror, "PUT-ROOT-JSON-HERE", p.base64("tuf/root.json")))
}

// judges has it judge an image, which it has to admit if there is no reason to refuse it.
func (p *policyController) judges(policy, trustRoot string, img image, refused []string) {
	p.t.Helper()
	p.judge(refused, args(tool(p.t, "policy-controller-v0.13.1", "tester"), "--policy", policy, "--trustroot", trustRoot, "--image", img.ref))
}

func newPolicyController(t *testing.T) *policyController {
	t.Helper()
	p := &policyController{newEngines(t)}
	p.policy("key.yaml", "clusterimagepolicy.yaml", "PUT-COSIGN-PUB-HERE", yamlBlock(10, p.read("cosign.pub")))
	p.keyless("keyless.yaml", person)
	p.trust("own.yaml", p.log)
	return p
}

// policy-controller believes the log by the TrustRoot that the command writes, and by TUF. It knows legacy
// signatures only, as far as images go.
func TestPolicyController(t *testing.T) {
	p := newPolicyController(t)
	p.keyless("other.yaml", "x"+person)
	p.trust("foreign.yaml", p.foreign)
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
		for _, c := range p.of("legacy") {
			for _, trustRoot := range args("own.yaml", "tuf.yaml") {
				p.judges("key.yaml", trustRoot, c.image, c.refused)
				p.judges("keyless.yaml", trustRoot, c.image, byKeyless(c, nil))
				p.judges("other.yaml", trustRoot, c.image, byKeyless(c, wrongIdentity))
			}
			if c.refused == nil {
				p.judges("key.yaml", "foreign.yaml", c.image, wrongLog)
			}
			if c.name == "keyless" {
				p.judges("keyless.yaml", "foreign.yaml", c.image, wrongLog)
			}
		}
	}
	p.byTUF(p.log.url + "/tuf")
	judge()
	p.byTUF(p.tufMirror())
	p.log.stop()
	judge()
}

// The TrustRoot in deploy/kubernetes is of the form that the command writes.
func TestPolicyControllerTrustRoot(t *testing.T) {
	p := newPolicyController(t)
	var written, deploys map[string]any
	for name, to := range map[string]*map[string]any{"own.yaml": &written, p.file("deploys.yaml", deployed(t, "policy-controller/trustroot.yaml",
		"https://log.example.com", p.log.url, "https://fulcio.example.com", p.fulcio.url, "PUT-ORGANIZATION-HERE", "sigstore", "PUT-COMMON-NAME-HERE", "sigstore",
		"PUT-FULCIO-CHAIN-HERE", p.base64("fulcio.pem"), "PUT-LOG-PUB-HERE", p.base64("log.pub"))): &deploys} {
		if err := yaml.Unmarshal(p.read(name), to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if !reflect.DeepEqual(written, deploys) {
		t.Errorf("the command writes\n%s\nthe manifest is\n%s", p.read("own.yaml"), p.read("deploys.yaml"))
	}
	p.judges("key.yaml", "deploys.yaml", p.images[0].image, nil)
}

// What switches the log off, so that the manifests warn of it; and policies with which nothing is admitted.
func TestPolicyControllerTraps(t *testing.T) {
	p := newPolicyController(t)
	tsa := startTimestamper(t)
	p.file("tsa.pem", tsa.chain)
	p.trust("timestamps.yaml", p.log, "--tsa-chain", "tsa.pem", "--tsa-url", tsa.endpoint())
	unlogged := candidate{name: "not logged", image: p.registry.push("timestamped, not logged")}
	p.run(args(cosign2(t), "sign", "--yes", "--identity-token", p.issuer.person(person), "--fulcio-url", p.fulcio.url, "--oidc-issuer", p.issuer.people,
		"--insecure-skip-verify", "--tlog-upload=false", "--timestamp-server-url", tsa.endpoint(), unlogged.image.ref))
	p.judges("keyless.yaml", "timestamps.yaml", unlogged.image, unknown)

	const log = "      ctlog:\n"
	p.changed("timestamps-policy.yaml", "keyless.yaml", log, "      rfc3161timestamp: {trustRootRef: tallystick}\n"+log)
	p.judges("timestamps-policy.yaml", "timestamps.yaml", unlogged.image, nil)

	notLogged := p.images[slices.IndexFunc(p.images, func(c candidate) bool { return c.name == "not logged" && c.form == "legacy" })]
	p.changed("no-log.yaml", "key.yaml", log+"        url: "+p.log.url+"\n        trustRootRef: tallystick\n", "")
	p.judges("no-log.yaml", "own.yaml", notLogged.image, nil)

	p.changed("unknown.yaml", "key.yaml", "trustRootRef: tallystick", "trustRootRef: another")
	p.judges("unknown.yaml", "own.yaml", p.images[0].image, args("trustRootRef another not found"))
	p.changed("misspelled.yaml", "key.yaml", log, "      tlog:\n")
	p.judges("misspelled.yaml", "own.yaml", notLogged.image, args("tlog"))
	p.changed("bundle.yaml", "keyless.yaml", log, "      signatureFormat: bundle\n"+log)
	p.judges("bundle.yaml", "own.yaml", p.images[0].image, args("bundle support for image signatures is not yet implemented"))
}

func policyControllerSettings(t *testing.T) map[string]string {
	values, i := logAndImages(t, "IMAGE", "OTHER_IMAGE"), startIssuer(t)
	f, s := startFulcio(t, i), newShell(t)
	values["FULCIO"], values["FULCIO_CHAIN"] = f.url, s.path(s.file("fulcio.pem", f.chain))
	values["ISSUER"], values["TOKEN"], values["MANIFESTS"] = i.people, i.person(person), manifestFolder(t, "policy-controller")
	return values
}
