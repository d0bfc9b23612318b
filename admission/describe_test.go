package admission

import (
	"fmt"
	"strings"
	"testing"
)

// A policy says what it demands, defaults and all.
func TestPolicyInWords(t *testing.T) {
	keyless := fixtureNamed(t, "image-bundle-keyless-timestamp-cosign3")
	p := mustParse(t, fmt.Sprintf(`trustedRoots: [trusted_root.json]
exemptNamespaces: [monitoring, kube-system]
rules:
- {name: cluster, images: [registry.k8s.io/**], allow: true}
- name: team
  images: [registry.example.com/team/*, registry.example.com/app]
  logKeys: [log.pub]
  require:
    keys: [{pem: %q, validFor: {start: 2026-01-01T00:00:00Z, end: 2027-01-01T00:00:00Z}}, {pem: %q}]
    attestations: [{type: "https://spdx.dev/Document", maxAge: 90m, signedTime: /creationInfo/created}]
- name: people
  images: ["**"]
  require:
    identities: [{issuerRegexp: "^https://a$", subject: "b\u001b[2J", extensions: {"1.3.6.1.4.1.57264.1.12": c}}]
    logEntries: none
    signedTimestamps: 1
    inclusionProofs: true
`, readFixture(t, "cosign.pub"), readFixture(t, "p384.pub")))
	got := p.String()
	for _, want := range []string{
		"rule \"cluster\"\n  images registry.k8s.io/**\n  admitted without any proof, and not pinned to a digest\n",
		"rule \"team\"\n  images registry.example.com/team/*\n  images registry.example.com/app\n  believed: log ",
		"\n  required: signature\n    by key sha256:", " from 2026-01-01T00:00:00Z until 2027-01-01T00:00:00Z\n    or by key sha256:", "\n    logged in one log\n",
		"\n  required: attestation of type https://spdx.dev/Document\n    by key", "\n    logged in one log\n    at most 1h30m0s old, by /creationInfo/created in its predicate\n",
		"\n  believed: timestamp authority http",
		"\n    by b?[2J, says anything like /^https://a$/, with 1.3.6.1.4.1.57264.1.12 \"c\"\n    timestamped by one authority\n    logged or not\n    with inclusion proofs\n",
		"\nall other images are denied\nnothing is verified in namespaces: kube-system, monitoring\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	_, team, _ := strings.Cut(got, `rule "team"`)
	team, _, _ = strings.Cut(team, `rule "people"`)
	if n := strings.Count(team, "believed: "); n != 1 {
		t.Errorf("a rule with a log key of its own believes %d:\n%s", n, team)
	}
	if !strings.Contains(mustParse(t, (&images{host: "example.com"}).ruleFor(keyless.signers(t)+", signedTimestamps: 1")).String(), keyless.Identity) {
		t.Error("the identity is not named")
	}
}
