//go:build kubernetes

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// admission is `tallystick admit` for the images of engines, and for more of them.
type admission struct {
	*engines
	server *server
	url    string
	ca     *tlsAuthority
	// people has images that are to be signed by a person, not by a key; described, those that are to have an SBOM; scanned, those
	// that are to be scanned within the last week; forgotten, those that are to be scanned within no time at all.
	people, described, scanned, forgotten *ociRegistry
	// away is the host of a registry that is not there.
	away string
}

// newAdmission starts it.
func newAdmission(t *testing.T) *admission {
	t.Helper()
	a := &admission{engines: newEngines(t), ca: newTLSAuthority(t), away: freeAddress(t),
		people: startRegistry(t), described: startRegistry(t), scanned: startRegistry(t), forgotten: startRegistry(t)}
	a.file("sbom.spdx.json", readFile(t, "testdata/syft.spdx.json"))
	key := indent(12, a.read("cosign.pub"))
	a.file("ca.crt", a.ca.certificate)
	policy := a.file("policy.yaml", []byte(`trustedRoots: [trusted-root.json]
exemptNamespaces: [kube-system]
rules:
  - name: app
    images: [`+a.registry.host+`/test/*, `+a.away+`/**]
    require:
      keys:
        - pem: |
`+key+`
  - name: described
    images: [`+a.described.host+`/**]
    require:
      keys:
        - pem: |
`+key+`
      attestations: [{type: "https://spdx.dev/Document"}]
  - name: scanned
    images: [`+a.scanned.host+`/**]
    require:
      keys:
        - pem: |
`+key+`
      attestations: [{type: "https://cosign.sigstore.dev/attestation/vuln/v1", maxAge: 168h, signedTime: /metadata/scanFinishedOn}]
  - name: forgotten
    images: [`+a.forgotten.host+`/**]
    require:
      keys:
        - pem: |
`+key+`
      attestations: [{type: "https://cosign.sigstore.dev/attestation/vuln/v1", maxAge: 1ns, signedTime: /metadata/scanFinishedOn}]
  - name: people
    images: [`+a.people.host+`/**]
    require:
      identities: [{issuer: "`+a.issuer.people+`", subject: "`+person+`"}]
      scts: none # this Fulcio has no CT log
`))
	address, metrics := freeAddress(t), freeAddress(t)
	a.url = "https://" + address
	crt, private := a.ca.server(a.shell, "admit")
	a.server = serve(t, "http://"+metrics, "/readyz", binary, "admit", a.path(policy),
		"--listen", address, "--metrics-listen", metrics, "--tls-cert", crt, "--tls-key", private)
	return a
}

// candidates returns the images of engines, and those that people signed. Why they are refused is in the words of `tallystick admit`.
func (a *admission) candidates() []candidate {
	a.t.Helper()
	words := map[string]string{
		"foreign key": "it is by none of the policy's keys", "foreign log": "is not trusted", "not logged": "log entries: the policy demands 1, and the signature comes with none: it was not logged",
		"keyless": "a certificate signed, but the policy names keys", "unsigned": "it was never signed",
	}
	all := slices.Clone(a.images)
	for i, c := range all {
		if c.refused != nil {
			all[i].refused = args(words[c.name])
		}
	}
	stranger := args("whom the policy does not name")
	all = append(all,
		a.byPerson("by the person", "legacy", person, nil), a.byPerson("by the person", "bundle", person, nil),
		a.byPerson("by another person", "legacy", "x"+person, stranger), a.byPerson("by another person", "bundle", "x"+person, stranger),
		a.byPerson("by the person, not logged", "legacy", person, args(words["not logged"]), "--tlog-upload=false"),
		candidate{name: "by nobody", image: a.people.push("by nobody"), refused: args(words["unsigned"])})
	for _, form := range args("legacy", "bundle") {
		all = append(all,
			a.attested(a.described, candidate{name: "with an SBOM", form: form}, "spdxjson", "cosign.key"),
			a.attested(a.described, candidate{name: "with a stranger's SBOM", form: form, refused: args(words["foreign key"])}, "spdxjson", "foreign.key"),
			a.attested(a.described, candidate{name: "with a scan for an SBOM", form: form, refused: args("no attestation of type https://spdx.dev/Document ")}, "vuln", "cosign.key"),
			a.attested(a.described, candidate{name: "without SBOM", form: form, refused: args("no attestation of type https://spdx.dev/Document ")}, "", ""),
			a.attested(a.scanned, candidate{name: "scanned", form: form}, "vuln", "cosign.key"),
			a.attested(a.scanned, candidate{name: "scanned by a stranger", form: form, refused: args(words["foreign key"])}, "vuln", "foreign.key"),
			a.attested(a.scanned, candidate{name: "not scanned", form: form, refused: args("no attestation of type https://cosign.sigstore.dev/attestation/vuln/v1 ")}, "", ""),
			a.attested(a.forgotten, candidate{name: "scanned long ago", form: form, refused: args("longer ago than 1ns")}, "vuln", "cosign.key"))
	}
	for i, c := range all {
		all[i].tag = a.registry.tag(c.image, fmt.Sprintf("v%d", i))
	}
	return all
}

// byPerson makes an image that somebody signed with a certificate of Fulcio's. If it is to be admitted, cosign and
// `tallystick verify` accept it too.
func (a *admission) byPerson(name, form, email string, refused []string, more ...string) candidate {
	a.t.Helper()
	c := candidate{name: name, form: form, refused: refused}
	c.image = a.people.push(c.String())
	sign := args(cosign3(a.t), "sign", "--yes", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")
	if form == "legacy" {
		sign = args(cosign2(a.t), "sign", "--yes", "--rekor-url", a.log.url, "--fulcio-url", a.fulcio.url, "--oidc-issuer", a.issuer.people, "--insecure-skip-verify")
	}
	a.run(sign, args("--identity-token", a.issuer.person(email)), more, args(c.image.ref))
	if refused != nil {
		return c
	}
	who := args("--certificate-identity", email, "--certificate-oidc-issuer", a.issuer.people, "--insecure-ignore-sct", c.image.ref)
	a.run(args(binary, "verify", "--trusted-root", "trusted-root.json"), who)
	if form == "bundle" {
		a.run(args(cosign3(a.t), "verify", "--trusted-root", "trusted-root.json"), who)
		return c
	}
	a.with(a.t, "SIGSTORE_REKOR_PUBLIC_KEY="+a.path("log.pub")).run(args(cosign2(a.t), "verify", "--offline", "--ca-roots", "fulcio.pem"), who)
	return c
}

// attested makes an image that cosign.key signed, and of which this key signed a scan ("vuln") or an SBOM ("spdxjson"), if any.
func (a *admission) attested(r *ociRegistry, c candidate, what, key string) candidate {
	a.t.Helper()
	c.image = r.push(c.String())
	program, log := cosign3(a.t), args("--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")
	if c.form == "legacy" {
		program, log = cosign2(a.t), args("--rekor-url", a.log.url)
	}
	a.run(args(program, "sign", "--yes", "--key", "cosign.key"), log, args(c.image.ref))
	by := append(log, "--key", key)
	switch what {
	case "vuln":
		a.attest(c.form, c.image, time.Now(), by...)
	case "spdxjson":
		a.run(args(program, "attest", "--yes", "--type", "spdxjson", "--predicate", "sbom.spdx.json"), by, args(c.image.ref))
	}
	return c
}

// firstOf returns the first image that is to be admitted, and the first that nobody signed.
func firstOf(all []candidate) (good, unsigned candidate) {
	good = all[slices.IndexFunc(all, func(x candidate) bool { return x.refused == nil })]
	return good, all[slices.IndexFunc(all, func(x candidate) bool { return x.form == "" })]
}
