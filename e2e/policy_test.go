//go:build kubernetes

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// examplePolicy is deploy/kubernetes/policy.yaml, with what is of this world in the place of its examples, and images to hold
// it to.
type examplePolicy struct {
	text   string
	images []candidate
}

// example makes them. The file itself has to load, as it is.
func (a *admission) example() examplePolicy {
	a.t.Helper()
	shipped := string(readFile(a.t, "../deploy/kubernetes/policy.yaml"))
	a.file("example.yaml", []byte(shipped))
	if said := a.run(args(binary, "admit", "example.yaml", "--check")); !strings.Contains(said, "\nrule \"team\"\n  images registry.example.com/team/*\n") {
		a.t.Errorf("the example policy says\n%s", said)
	}
	team, releases := startRegistry(a.t), startRegistry(a.t)
	_, key, _ := strings.Cut(shipped, "-----BEGIN PUBLIC KEY-----")
	key, _, _ = strings.Cut(key, "-----END PUBLIC KEY-----")
	// Fulcio here has no CT log, of which the example takes an SCT for granted.
	a.run(args(binary, "trust", "root", "--data-dir", a.log.dataDir(), "--url", a.log.url, "--fulcio-chain", "fulcio.pem", "--fulcio-url", a.fulcio.url, "-o", "example-root.json"))
	text := shipped
	for example, ours := range map[string]string{
		"[trusted-root.json]": "[example-root.json]",
		"-----BEGIN PUBLIC KEY-----" + key + "-----END PUBLIC KEY-----": strings.TrimSpace(indent(12, a.read("cosign.pub"))),
		"registry.example.com/team/*":                                   team.host + "/test/*",
		"ghcr.io/example/app\n":                                         releases.host + "/test/app\n",
		"https://token.actions.githubusercontent.com\n              subject: https://github.com/example/scanner/.github/workflows/scan.yaml@refs/heads/main": a.issuer.people + "\n              subject: " + person,
		"https://token.actions.githubusercontent.com\n          # Regular":                                                                                   a.issuer.jobs + "\n          # Regular",
	} {
		if strings.Count(text, example) != 1 {
			a.t.Fatalf("the example policy has not one %q", example)
		}
		text = strings.Replace(text, example, ours, 1)
	}
	a.file("provenance.json", []byte(`{"buildDefinition":{"buildType":"https://ci.example/build","externalParameters":{}},"runDetails":{"builder":{"id":"https://ci.example"}}}`))
	scan := func(form, email string) func(image) {
		return func(img image) {
			log := args("--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")
			if form == "legacy" {
				log = args("--rekor-url", a.log.url, "--fulcio-url", a.fulcio.url, "--oidc-issuer", a.issuer.people, "--insecure-skip-verify")
			}
			a.attest(form, img, time.Now(), append(log, "--identity-token", a.issuer.person(email))...)
		}
	}
	sign := func(img image) {
		a.run(args(cosign3(a.t), "sign", "--yes", "--key", "cosign.key", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json", img.ref))
	}
	build := func(ref string) func(image) {
		return func(img image) {
			a.run(args(cosign3(a.t), "attest", "--yes", "--type", "slsaprovenance1", "--predicate", "provenance.json", "--signing-config", "signing-config.json",
				"--trusted-root", "trusted-root.json", "--identity-token", a.issuer.jobFor(ref), img.ref))
		}
	}
	all := examplePolicy{text: text}
	for i, x := range []struct {
		name    string
		in      *ociRegistry
		make    []func(image)
		refused []string
	}{
		{"signed and scanned", team, []func(image){sign, scan("bundle", person)}, nil},
		{"signed and scanned, in the older form", team, []func(image){sign, scan("legacy", person)}, nil},
		{"not scanned", team, []func(image){sign}, args("no attestation of type https://cosign.sigstore.dev/attestation/vuln/v1 of it is among")},
		{"scanned by another person", team, []func(image){sign, scan("bundle", "x"+person)}, args("whom the policy does not name")},
		{"scanned, and not signed", team, []func(image){scan("bundle", person)}, args("no signature of it is among")},
		{"built for a tag", releases, []func(image){build("refs/tags/v1.2.3")}, nil},
		{"built for a branch", releases, []func(image){build("refs/heads/main")}, args("whom the policy does not name")},
		{"built by nobody", releases, []func(image){sign}, args("no attestation of type https://slsa.dev/provenance/v1 of it is among")},
	} {
		img := x.in.push(x.name)
		for _, make := range x.make {
			make(img)
		}
		all.images = append(all.images, candidate{name: x.name, image: img, tag: x.in.tag(img, fmt.Sprintf("v%d", i)), refused: x.refused})
	}
	return all
}

// adopt has the server read the example policy, while it runs, and decide by it.
func (a *admission) adopt(c *cluster, x examplePolicy, foreign candidate) {
	c.t.Helper()
	a.file("policy.yaml", []byte(x.text))
	a.run(args(binary, "admit", "policy.yaml", "--check"))
	if err := a.server.process.Process.Signal(syscall.SIGHUP); err != nil {
		c.t.Fatal(err)
	}
	c.until("the example policy is in force", func() bool {
		_, refused := c.runs(foreign.image.ref, "--dry-run=server")
		return says(refused, args("no rule of the policy is for "))
	})
	for _, x := range x.images {
		c.judge(x)
	}
	const exempt = "registry.k8s.io/pause:3.10"
	if stored, refused := c.runs(exempt); stored != exempt {
		c.t.Errorf("image %s is stored as %q\n%s", exempt, stored, refused)
	}
}
