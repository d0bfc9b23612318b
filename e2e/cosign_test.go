package e2e

import (
	"encoding/base64"
	"encoding/json"
	"testing"
)

// cosign is one version of cosign writing and reading signatures in one of the
// two forms that are about: the legacy one (the log's answer is an annotation
// beside the signature) or Sigstore bundles.
type cosign struct {
	name    string
	program func(t *testing.T) string
	// Extra flags that choose the form, for commands that write and that read.
	write, read []string
	// trustedRoot says that trust in the log comes from a trusted root and a
	// signing config, not from an environment variable and a URL.
	trustedRoot bool
}

func cosign2(t *testing.T) string { return tool(t, "cosign-v2.6.5", "cosign") }
func cosign3(t *testing.T) string { return tool(t, "cosign-v3.1.3", "cosign") }

// legacyCosigns are the versions of cosign, set to the legacy form.
func legacyCosigns() []cosign {
	return []cosign{
		{name: "cosign2", program: cosign2},
		{name: "cosign3", program: cosign3,
			write: args("--use-signing-config=false", "--new-bundle-format=false"),
			read:  args("--new-bundle-format=false")},
	}
}

// bundleCosigns are the versions of cosign, set to the bundle form.
func bundleCosigns() []cosign {
	return []cosign{
		{name: "cosign2", program: cosign2, trustedRoot: true,
			write: args("--new-bundle-format"), read: args("--new-bundle-format")},
		{name: "cosign3", program: cosign3, trustedRoot: true},
	}
}

// signer is somebody with cosign, a key pair made by it, a registry, and a log
// to publish signatures in.
type signer struct {
	*shell
	cosign   cosign
	registry *ociRegistry
	log      *testLog
	command  string // path of cosign
	// Flags of every command that writes, and that reads, signatures.
	writing, reading []string
}

// newSigner gives t a signer. Files in its folder: cosign.key, cosign.pub, and
// foreign.pub, the public key of somebody else.
func newSigner(t *testing.T, c cosign, l *testLog) *signer {
	t.Helper()
	s := &signer{shell: newShell(t), cosign: c, registry: startRegistry(t), log: l, command: c.program(t)}
	s.run(args(s.command, "generate-key-pair"))
	s.run(args(s.command, "generate-key-pair", "--output-key-prefix", "foreign"))
	s.trust(l)
	return s
}

// trust makes the signer use, and trust, that log and no other.
func (s *signer) trust(l *testLog) {
	s.t.Helper()
	s.log = l
	if !s.cosign.trustedRoot {
		s.shell = s.shell.with(s.t, "SIGSTORE_REKOR_PUBLIC_KEY="+l.keyFile)
		s.writing = append(args("--key", "cosign.key", "--rekor-url", l.url, "--yes"), s.cosign.write...)
		s.reading = append(args("--rekor-url", l.url), s.cosign.read...)
		return
	}
	v3 := cosign3(s.t)
	s.run(args(v3, "trusted-root", "create", "--out", "trusted-root.json",
		"--rekor", "url="+l.url+",public-key="+l.keyFile+",start-time=2024-01-01T00:00:00Z"))
	s.run(args(v3, "signing-config", "create", "--out", "signing-config.json", "--rekor-config", "ANY",
		"--rekor", "url="+l.url+",api-version=1,start-time=2024-01-01T00:00:00Z,operator=e2e"))
	s.writing = append(args("--key", "cosign.key", "--signing-config", "signing-config.json",
		"--trusted-root", "trusted-root.json", "--yes"), s.cosign.write...)
	s.reading = append(args("--trusted-root", "trusted-root.json"), s.cosign.read...)
}

// does returns the beginning of a command line that writes.
func (s *signer) does(subcommand string) []string {
	return append(args(s.command, subcommand), s.writing...)
}

// checks returns the beginning of a command line that reads, with somebody's public key.
func (s *signer) checks(subcommand, key string) []string {
	return append(args(s.command, subcommand, "--key", key), s.reading...)
}

// pushSigned pushes an image, signs it, and sees one entry more in the log.
func (s *signer) pushSigned(content string) image {
	s.t.Helper()
	before := s.log.size()
	img := s.registry.push(content)
	s.run(s.does("sign"), args(img.ref))
	s.log.grew(before, 1)
	return img
}

// Why cosign refuses, as the versions and forms word it.
var (
	noSignature   = args("no signatures found", "no valid bundles exist in registry", "no matching attestations: \n")
	wrongKey      = args("comparing public key PEMs", "transparency log certificate does not match")
	wrongArtifact = args("invalid or missing digest in claim", "no matching subject digest found", "matching bundle to payload",
		"signature does not verify", "provided artifact digest", "invalid signature when validating ASN.1 encoded signature")
	notLogged = args("offline verification failed", "signature not found in transparency log", "not enough verified log entries")
	wrongLog  = args("rekor log public key not found", "not enough verified log entries")
	logLied   = args("unable to verify SET", "unable to verify bundle", "not enough verified log entries", "failed to verify log inclusion")
	logIsGone = args("connection refused")
)

func TestCosignImages(t *testing.T) {
	eachCosign(t, legacyCosigns(), func(t *testing.T, c cosign, storage newStorage) {
		s := newSigner(t, c, startLog(t, storage(t)))
		img := s.pushSigned("an application")

		s.run(s.checks("verify", "cosign.pub"), args("--offline", img.ref))
		s.refuse(wrongKey, s.checks("verify", "foreign.pub"), args("--offline", img.ref))

		unsigned := s.registry.push("an application that nobody signed")
		s.refuse(noSignature, s.checks("verify", "cosign.pub"), args(unsigned.ref))
		s.registry.transplant(img, unsigned, signatures)
		s.refuse(wrongArtifact, s.checks("verify", "cosign.pub"), args(unsigned.ref))

		asked := s.pushSigned("another application")
		s.registry.dropLogEntries(asked, signatures)
		s.refuse(notLogged, s.checks("verify", "cosign.pub"), args("--offline", asked.ref))
		s.run(s.checks("verify", "cosign.pub"), args(asked.ref))

		s.log.stop()
		s.run(s.checks("verify", "cosign.pub"), args("--offline", img.ref))
		s.refuse(logIsGone, s.checks("verify", "cosign.pub"), args(asked.ref))
		s.log.start()
		s.run(s.checks("verify", "cosign.pub"), args(asked.ref))
	})
}

func TestCosignAttestations(t *testing.T) {
	eachCosign(t, legacyCosigns(), func(t *testing.T, c cosign, storage newStorage) {
		s := newSigner(t, c, startLog(t, storage(t)))
		img, asked := s.registry.push("an application"), s.registry.push("another application")
		for _, p := range predicates() {
			s.file(p.file, p.content)
			for _, img := range []image{img, asked} {
				before := s.log.size()
				s.run(s.does("attest"), args("--type", p.kind, "--predicate", p.file, img.ref))
				s.log.grew(before, 1)
			}
			s.run(s.checks("verify-attestation", "cosign.pub"), args("--offline", "--type", p.kind, img.ref))
			s.refuse(wrongKey, s.checks("verify-attestation", "foreign.pub"), args("--offline", "--type", p.kind, img.ref))
		}
		s.refuse(args("none of the attestations matched"), s.checks("verify-attestation", "cosign.pub"), args("--offline", "--type", "slsaprovenance", img.ref))

		s.registry.dropLogEntries(asked, attestations)
		for _, p := range predicates() {
			s.refuse(notLogged, s.checks("verify-attestation", "cosign.pub"), args("--offline", "--type", p.kind, asked.ref))
			s.run(s.checks("verify-attestation", "cosign.pub"), args("--type", p.kind, asked.ref))
		}

		unsigned := s.registry.push("an application that nobody attested")
		s.refuse(noSignature, s.checks("verify-attestation", "cosign.pub"), args("--type", "vuln", unsigned.ref))
		s.registry.transplant(img, unsigned, attestations)
		s.refuse(wrongArtifact, s.checks("verify-attestation", "cosign.pub"), args("--type", "vuln", unsigned.ref))

		s.log.stop()
		s.run(s.checks("verify-attestation", "cosign.pub"), args("--offline", "--type", "vuln", img.ref))
		s.refuse(logIsGone, s.checks("verify-attestation", "cosign.pub"), args("--type", "vuln", asked.ref))
	})
}

func TestCosignBlobs(t *testing.T) {
	eachCosign(t, legacyCosigns(), func(t *testing.T, c cosign, storage newStorage) {
		s := newSigner(t, c, startLog(t, storage(t)))
		s.file("blob", []byte("an artifact"))
		s.file("tampered", []byte("an artifact!"))
		before := s.log.size()
		s.run(s.does("sign-blob"), args("--bundle", "bundle.json", "--output-signature", "signature", "blob"))
		s.log.grew(before, 1)

		offline := args("--offline", "--bundle", "bundle.json")
		s.run(s.checks("verify-blob", "cosign.pub"), offline, args("blob"))
		s.refuse(wrongArtifact, s.checks("verify-blob", "cosign.pub"), offline, args("tampered"))
		s.refuse(wrongKey, s.checks("verify-blob", "foreign.pub"), offline, args("blob"))

		s.file("later.json", edit(t, s.read("bundle.json"), func(b map[string]any) {
			payload := b["rekorBundle"].(map[string]any)["Payload"].(map[string]any)
			payload["integratedTime"] = payload["integratedTime"].(float64) + 1
		}))
		s.refuse(logLied, s.checks("verify-blob", "cosign.pub"), args("--offline", "--bundle", "later.json", "blob"))

		online := args("--signature", "signature")
		s.run(s.checks("verify-blob", "cosign.pub"), online, args("blob"))
		s.refuse(wrongArtifact, s.checks("verify-blob", "cosign.pub"), online, args("tampered"))

		s.log.stop()
		s.run(s.checks("verify-blob", "cosign.pub"), offline, args("blob"))
		s.refuse(logIsGone, s.checks("verify-blob", "cosign.pub"), online, args("blob"))
	})
}

func TestCosignBundles(t *testing.T) {
	eachCosign(t, bundleCosigns(), func(t *testing.T, c cosign, storage newStorage) {
		s := newSigner(t, c, startLog(t, storage(t)))
		img := s.pushSigned("an application")
		s.run(s.checks("verify", "cosign.pub"), args(img.ref))
		s.refuse(wrongKey, s.checks("verify", "foreign.pub"), args(img.ref))
		unsigned := s.registry.push("an application that nobody signed")
		s.refuse(noSignature, s.checks("verify", "cosign.pub"), args(unsigned.ref))

		attested := s.registry.push("an attested application")
		for _, p := range predicates() {
			before := s.log.size()
			s.run(s.does("attest"), args("--type", p.kind, "--predicate", s.file(p.file, p.content), attested.ref))
			s.log.grew(before, 1)
			s.run(s.checks("verify-attestation", "cosign.pub"), args("--type", p.kind, attested.ref))
			s.refuse(wrongKey, s.checks("verify-attestation", "foreign.pub"), args("--type", p.kind, attested.ref))
		}
		s.refuse(noSignature, s.checks("verify-attestation", "cosign.pub"), args("--type", "vuln", unsigned.ref))

		foreign := startLog(t, storage(t))
		s.log.stop()
		s.run(s.checks("verify", "cosign.pub"), args(img.ref))
		s.run(s.checks("verify-attestation", "cosign.pub"), args("--type", "vuln", attested.ref))
		s.trust(foreign)
		s.refuse(wrongLog, s.checks("verify", "cosign.pub"), args(img.ref))
		s.refuse(wrongLog, s.checks("verify-attestation", "cosign.pub"), args("--type", "vuln", attested.ref))
	})
}

func TestCosignBlobBundles(t *testing.T) {
	eachCosign(t, bundleCosigns(), func(t *testing.T, c cosign, storage newStorage) {
		s := newSigner(t, c, startLog(t, storage(t)))
		s.file("blob", []byte("an artifact"))
		s.file("tampered", []byte("an artifact!"))
		before := s.log.size()
		s.run(s.does("sign-blob"), args("--bundle", "bundle.json", "blob"))
		s.log.grew(before, 1)

		s.log.stop()
		s.run(s.checks("verify-blob", "cosign.pub"), args("--bundle", "bundle.json", "blob"))
		s.refuse(wrongArtifact, s.checks("verify-blob", "cosign.pub"), args("--bundle", "bundle.json", "tampered"))
		s.refuse(wrongKey, s.checks("verify-blob", "foreign.pub"), args("--bundle", "bundle.json", "blob"))
		for name, lie := range bundleLies() {
			s.file(name+".json", edit(t, s.read("bundle.json"), func(b map[string]any) {
				lie(b["verificationMaterial"].(map[string]any)["tlogEntries"].([]any)[0].(map[string]any))
			}))
			s.refuse(logLied, s.checks("verify-blob", "cosign.pub"), args("--bundle", name+".json", "blob"))
		}
		s.log.start()
		s.trust(startLog(t, storage(t)))
		s.refuse(wrongLog, s.checks("verify-blob", "cosign.pub"), args("--bundle", "bundle.json", "blob"))
	})
}

// bundleLies are changes to what the log said in a bundle.
func bundleLies() map[string]func(entry map[string]any) {
	proof := func(e map[string]any) map[string]any { return e["inclusionProof"].(map[string]any) }
	zeroHash := base64.StdEncoding.EncodeToString(make([]byte, 32))
	return map[string]func(map[string]any){
		"time":  func(e map[string]any) { e["integratedTime"] = "1700000000" },
		"index": func(e map[string]any) { e["logIndex"] = "77" },
		"proof": func(e map[string]any) { proof(e)["hashes"] = []string{zeroHash} },
		"root":  func(e map[string]any) { proof(e)["rootHash"] = zeroHash },
		"checkpoint": func(e map[string]any) {
			proof(e)["checkpoint"] = map[string]any{"envelope": "a - 1\n1\n" + zeroHash + "\n\n— a AAAAAAAA\n"}
		},
		"promise": func(e map[string]any) { e["inclusionPromise"] = map[string]any{"signedEntryTimestamp": zeroHash} },
	}
}

// An entry of another log, however good, is worth nothing to whoever trusts this one.
func TestCosignForeignLog(t *testing.T) {
	eachCosign(t, legacyCosigns(), func(t *testing.T, c cosign, storage newStorage) {
		ours, foreign := startLog(t, storage(t)), startLog(t, storage(t))
		s := newSigner(t, c, foreign)
		img := s.pushSigned("an application")
		s.run(s.checks("verify", "cosign.pub"), args("--offline", img.ref))
		s.trust(ours)
		s.refuse(wrongLog, s.checks("verify", "cosign.pub"), args("--offline", img.ref))
		s.registry.dropLogEntries(img, signatures)
		s.refuse(notLogged, s.checks("verify", "cosign.pub"), args(img.ref))
		s.trust(foreign)
		s.run(s.checks("verify", "cosign.pub"), args(img.ref))
	})
}

// predicate is something that cosign can attest of an image.
type predicate struct {
	kind, file string
	content    []byte
}

func predicates() []predicate {
	return []predicate{
		{"vuln", "vuln.json", []byte(`{"invocation":{"parameters":null,"uri":"https://ci.example/1","event_id":"1","builder.id":"ci"},
			"scanner":{"uri":"pkg:golang/scanner@1","version":"1","db":{"uri":"","version":""},"result":{"findings":[]}},
			"metadata":{"scanStartedOn":"2026-01-02T03:04:05Z","scanFinishedOn":"2026-01-02T03:04:06Z"}}`)},
		{"spdxjson", "sbom.json", []byte(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"app",
			"documentNamespace":"https://example.com/app","creationInfo":{"created":"2026-01-02T03:04:05Z","creators":["Tool: e2e"]},
			"packages":[{"name":"app","SPDXID":"SPDXRef-app","downloadLocation":"NOASSERTION","filesAnalyzed":false}],"relationships":[]}`)},
	}
}

// edit returns a JSON document, changed.
func edit(t *testing.T, document []byte, change func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(document, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eachCosign runs a test with every cosign and every storage.
func eachCosign(t *testing.T, cosigns []cosign, test func(*testing.T, cosign, newStorage)) {
	for _, c := range cosigns {
		t.Run(c.name, func(t *testing.T) {
			eachStorage(t, func(t *testing.T, storage newStorage) { test(t, c, storage) })
		})
	}
}
