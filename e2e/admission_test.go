//go:build kubernetes

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// admission is `tallystick admit` for the images of engines, and for more of them.
type admission struct {
	*engines
	server *server
	url    string
	ca     *tlsAuthority
	// people has images that are to be signed by a person, not by a key.
	people *ociRegistry
	// away is the host of a registry that is not there.
	away string
}

// newAdmission starts it.
func newAdmission(t *testing.T) *admission {
	t.Helper()
	a := &admission{engines: newEngines(t), ca: newTLSAuthority(t), people: startRegistry(t), away: freeAddress(t)}
	a.file("ca.crt", a.ca.certificate)
	policy := a.file("policy.yaml", []byte(`trustedRoots: [trusted-root.json]
exemptNamespaces: [kube-system]
rules:
  - name: app
    images: [`+a.registry.host+`/test/*, `+a.away+`/**]
    require:
      keys:
        - pem: |
`+indent(12, a.read("cosign.pub"))+`
  - name: people
    images: [`+a.people.host+`/**]
    require:
      identities: [{issuer: "`+a.issuer.people+`", subject: "`+person+`"}]
      scts: none # this Fulcio has no CT log
`))
	address, metrics := freeAddress(t), freeAddress(t)
	a.url = "https://" + address
	crt, key := a.ca.server(a.shell, "admit")
	a.server = serve(t, "http://"+metrics, "/readyz", binary, "admit", a.path(policy),
		"--listen", address, "--metrics-listen", metrics, "--tls-cert", crt, "--tls-key", key)
	return a
}

// candidates returns the images of engines, and those that people signed. Why they are refused is in the words of `tallystick admit`.
func (a *admission) candidates() []candidate {
	a.t.Helper()
	words := map[string]string{
		"foreign key": "it is by none of the policy's keys", "foreign log": "is not trusted", "not logged": "log entries: there are 0, and 1 are demanded",
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
	for i, c := range all {
		r := a.registry
		if strings.HasPrefix(c.image.ref, a.people.host) {
			r = a.people
		}
		all[i].tag = r.tag(c.image, fmt.Sprintf("v%d", i))
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

// firstOf returns the first image that is to be admitted, and the first that nobody signed.
func firstOf(all []candidate) (good, unsigned candidate) {
	good = all[slices.IndexFunc(all, func(x candidate) bool { return x.refused == nil })]
	return good, all[slices.IndexFunc(all, func(x candidate) bool { return x.form == "" })]
}
