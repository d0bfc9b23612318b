//go:build kubernetes

package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// What stands in policies of deploy/kubernetes/kyverno for what is the reader's own. Nothing else in them is
// replaced: Kyverno's command line judges by what users apply.
const (
	theirImages = "registry.example.com/team"
	theirLog    = "https://log.example.com"
	theirKey    = "PUT-COSIGN-PUB-HERE"
	theirRoot   = "PUT-TUF-ROOT-HERE"
	// What `tallystick trust kyverno` prints, for keys; and for certificates.
	theirTrust = `rekor:
                      url: https://log.example.com
                      pubkey: |-
                        PUT-LOG-PUB-HERE
                    ctlog:
                      ignoreSCT: true`
	theirKeylessTrust = theirTrust + `
                    roots: |-
                      PUT-FULCIO-CERTIFICATE-HERE`
)

// trustKyverno returns the part of a policy that names a log, as it stands there.
func (e *engines) trustKyverno(l *testLog, more ...string) string {
	e.t.Helper()
	return yamlBlock(20, []byte(e.run(args(binary, "trust", "kyverno", "--url", e.log.url, "--data-dir", l.dataDir()), more)))
}

// Kyverno believes the log by the part of a policy that the command writes, and by TUF: policies of
// type SigstoreBundle, and ImageValidatingPolicies, have no other way.
func TestKyverno(t *testing.T) {
	e := newEngines(t)
	key, images := yamlBlock(22, e.read("cosign.pub")), e.registry.host+"/test"
	signed := func(name string, l *testLog, images string) {
		t.Helper()
		e.file(name, deployed(t, "kyverno/signed.yaml", theirImages, images, theirKey, key, theirTrust, e.trustKyverno(l)))
	}
	signed("own.yaml", e.log, images)
	signed("foreign.yaml", e.foreign, images)
	keyless := func(name string, l *testLog, chain, issuer, subject string) {
		t.Helper()
		e.file(name, deployed(t, "kyverno/keyless.yaml", theirImages, images, "https://login.example.com", issuer, "dev@example.com", subject,
			theirKeylessTrust, e.trustKyverno(l, "--fulcio-chain", chain)))
	}
	e.file("other-fulcio.pem", startFulcio(t, e.issuer).chain)
	keyless("keyless.yaml", e.log, "fulcio.pem", e.issuer.people, person)
	keyless("another-person.yaml", e.log, "fulcio.pem", e.issuer.people, "x"+person)
	keyless("another-issuer.yaml", e.log, "fulcio.pem", e.issuer.jobs, person)
	keyless("keyless-foreign.yaml", e.foreign, "fulcio.pem", e.issuer.people, person)
	keyless("another-ca.yaml", e.log, "other-fulcio.pem", e.issuer.people, person)
	e.file("bundle.yaml", deployed(t, "kyverno/bundle.yaml", theirImages, images, theirKey, key))
	validating := func(log string) {
		t.Helper()
		e.file("validating.yaml", deployed(t, "kyverno/imagevalidatingpolicy.yaml", theirImages, images, theirLog, log,
			theirKey, yamlBlock(12, e.read("cosign.pub")), theirRoot, e.base64("tuf/root.json")))
	}
	// A bundle with another statement of the key's, which some take for a signature, as they do not look at what it says.
	// Should they come to refuse it: bundle.yaml and the guide say otherwise.
	scanOnly := candidate{name: "scan", form: "bundle", image: e.registry.push("scan"), refused: noSignature}
	e.attest("bundle", scanOnly.image, time.Now(), "--key", "cosign.key", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")
	// These have one answer to all that they refuse.
	one := func(c candidate, answer string) []string {
		if c.refused == nil {
			return nil
		}
		return args(answer)
	}
	byKeyless := func(c candidate, otherwise []string) []string {
		switch c.name {
		case "unsigned":
			return noSignature
		case "keyless":
			return otherwise
		}
		return args("empty key") // no certificate
	}
	judge := func() {
		t.Helper()
		for _, c := range e.of("legacy") {
			e.kyverno("own.yaml", c, c.refused)
			e.kyverno("keyless.yaml", c, byKeyless(c, nil))
			if c.refused == nil {
				e.kyverno("foreign.yaml", c, wrongLog)
			}
			if c.name == "keyless" {
				e.kyverno("another-person.yaml", c, args("subject mismatch"))
				e.kyverno("another-issuer.yaml", c, args("issuer mismatch"))
				e.kyverno("keyless-foreign.yaml", c, wrongLog)
				e.kyverno("another-ca.yaml", c, wrongCA)
			}
		}
		for _, c := range e.images {
			e.kyverno("validating.yaml", c, one(c, "is not signed by the key"))
		}
		// These take the repository from where the ImageValidatingPolicy left it: its controller has the flags
		// --enableTuf, --tufMirror and --tufRoot instead, the command line has none.
		for _, c := range e.of("bundle") {
			e.kyverno("bundle.yaml", c, one(c, "no matching signatures found"))
		}
	}
	validating(e.log.url)
	judge()
	validating(strings.TrimSuffix(e.tufMirror(), "/tuf"))
	e.log.stop()
	judge()

	e.kyverno("own.yaml", scanOnly, scanOnly.refused)
	scanOnly.refused = nil
	e.kyverno("bundle.yaml", scanOnly, nil)
	e.kyverno("validating.yaml", scanOnly, nil)
	verify := args("verify", "--trusted-root", "trusted-root.json", "--key", "cosign.pub", scanOnly.image.ref)
	e.run(args(cosign3(t)), verify)
	e.refuse(args("its predicate is of type"), args(binary), verify)

	// One that is good does not help another one.
	unsigned := e.images[slices.IndexFunc(e.images, func(c candidate) bool { return c.form == "" })]
	two := bytes.Replace(pod(e.images[0].image.ref), []byte("]}"), []byte(`], initContainers: [{name: i, image: "`+unsigned.image.ref+`"}]}`), 1)
	e.kyvernoPod("own.yaml", "signed, and an init container's", two, unsigned.refused)
	e.kyvernoPod("validating.yaml", "signed, and an init container's", two, one(unsigned, "is not signed by the key"))
	// By a tag: it passes only when it was pinned.
	for _, c := range e.of("legacy") {
		c.image.ref = e.registry.tag(c.image, "of-"+strings.ReplaceAll(c.name, " ", "-"))
		e.kyverno("own.yaml", c, c.refused)
	}
	// What cannot be found out is no reason to admit.
	away := freeAddress(t)
	signed("away.yaml", e.log, away+"/test")
	gone := e.images[0]
	gone.image.ref = strings.Replace(gone.image.ref, e.registry.host, away, 1)
	e.kyverno("away.yaml", gone, args("unverified image"))
	gone.image.ref = away + "/test/app:v1"
	e.kyverno("away.yaml", gone, args("missing digest"))
}

// kyverno has Kyverno judge a Pod of an image by a policy, which has to admit it if there is no reason to refuse it.
func (e *engines) kyverno(policy string, c candidate, refused []string) {
	e.t.Helper()
	e.kyvernoPod(policy, c.String(), pod(c.image.ref), refused)
}

func (e *engines) kyvernoPod(policy, name string, pod []byte, refused []string) {
	e.t.Helper()
	e.file("pod.yaml", pod)
	out, messages, err := e.try(args(tool(e.t, "kyverno-v1.19.1", "kyverno"), "apply", policy, "--resource", "pod.yaml"))
	// A policy that Kyverno does not understand is no rule, and no failure.
	passed := regexp.MustCompile(`pass: [1-9]\d*, fail: 0, warn: 0, error: 0, skip: 0`)
	admitted := err == nil && passed.MatchString(out)
	if refused == nil != admitted || refused != nil && (err == nil || !says(out+messages, refused)) {
		e.t.Errorf("%s, image %s: admitted %v; want it refused for %q (%v)\n%s%s", policy, name, admitted, refused, err, out, messages)
	}
}

// Kyverno admits what was scanned for vulnerabilities lately, and the scan signed and logged.
func TestKyvernoVulnerabilities(t *testing.T) {
	e := newEngines(t)
	e.file("policy.yaml", deployed(t, "kyverno/scanned.yaml", theirImages, e.registry.host+"/test",
		theirKey, yamlBlock(22, e.read("cosign.pub")), theirTrust, e.trustKyverno(e.log)))
	now := time.Now()
	fresh, old := now.Add(-time.Hour), now.Add(-8*24*time.Hour)
	key, logged := args("--key", "cosign.key"), args("--rekor-url", e.log.url)
	own, tooOld := slices.Concat(key, logged), args("an attested scan is older than a week")
	type scan struct {
		ended time.Time
		words []string // cosign's
	}
	rows := []struct {
		name    string
		scans   []scan
		refused []string
		image   image
	}{
		{name: "scanned", scans: []scan{{fresh, own}}},
		{name: "scanned long ago", scans: []scan{{old, own}}, refused: tooOld},
		{name: "scanned in the future", scans: []scan{{now.Add(time.Hour), own}}, refused: args("an attested scan is of the future")},
		{name: "not scanned", refused: noSignature},
		{name: "scanned by a stranger", scans: []scan{{fresh, slices.Concat(args("--key", "foreign.key"), logged)}}, refused: wrongKey},
		{name: "scan in a foreign log", scans: []scan{{fresh, slices.Concat(key, args("--rekor-url", e.foreign.url))}}, refused: wrongLog},
		{name: "scan not logged", scans: []scan{{fresh, slices.Concat(key, args("--tlog-upload=false"))}}, refused: unknown},
		{name: "scanned again", scans: []scan{{old, own}, {fresh, own}}, refused: tooOld},
		{name: "scanned again, in the old one's place", scans: []scan{{old, own}, {fresh, append(own, "--replace")}}},
		{name: "scan of another image", refused: wrongArtifact},
		{name: "another attestation", refused: args("attestions not found for predicate type")}, // Kyverno's spelling
	}
	for i := range rows {
		x := &rows[i]
		x.image = e.registry.push(x.name)
		e.run(args(cosign2(t), "sign", "--yes"), own, args(x.image.ref))
		for _, s := range x.scans {
			e.attest("legacy", x.image, s.ended, s.words...)
		}
		switch x.name {
		case "scan of another image":
			e.registry.transplant(rows[0].image, x.image, attestations)
		case "another attestation":
			e.run(args(cosign2(t), "attest", "--yes", "--type", "spdxjson", "--predicate", e.file("sbom.json", []byte(`{"spdxVersion":"SPDX-2.3"}`))), own, args(x.image.ref))
		}
	}
	judge := func() {
		t.Helper()
		for _, x := range rows {
			e.kyverno("policy.yaml", candidate{name: x.name, image: x.image}, x.refused)
		}
	}
	judge()
	e.log.stop()
	judge()
}

// What the guides call settings.

// kyvernoSettings has a folder that is served as it is, for the TUF repository.
func kyvernoSettings(t *testing.T) map[string]string {
	values := kyvernoImages(t, "IMAGE", "OTHER_IMAGE", "BUNDLED_IMAGE")
	values["TUF_DIR"] = t.TempDir()
	s := httptest.NewServer(http.FileServer(http.Dir(values["TUF_DIR"])))
	t.Cleanup(s.Close)
	values["TUF"] = s.URL
	return values
}

// vulnerabilitiesSettings has what Trivy says of a small image, as if it was said now.
func vulnerabilitiesSettings(t *testing.T) map[string]string {
	values := kyvernoImages(t, "IMAGE", "OTHER_IMAGE")
	when := regexp.MustCompile(`("scan(?:Started|Finished)On": )"[^"]*"`)
	report := when.ReplaceAll(readFile(t, "testdata/trivy-cosign-vuln.json"), []byte(`$1"`+time.Now().UTC().Format(time.RFC3339Nano)+`"`))
	values["SCAN"] = filepath.Join(t.TempDir(), "vuln.json")
	if err := os.WriteFile(values["SCAN"], report, 0o600); err != nil {
		t.Fatal(err)
	}
	return values
}

// kyvernoImages has a log, images, and the policies.
func kyvernoImages(t *testing.T, images ...string) map[string]string {
	t.Helper()
	values := logAndImages(t, images...)
	policies, err := filepath.Abs("../deploy/kubernetes/kyverno")
	if err != nil {
		t.Fatal(err)
	}
	values["IMAGES"], _, _ = strings.Cut(values["IMAGE"], "/app@")
	values["POLICIES"] = policies
	return values
}
