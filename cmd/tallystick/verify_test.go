package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/verify"
)

// verifyFixture is a signature that a real cosign made (see verify/testdata/cosign, whose
// index.json it is a part of).
type verifyFixture struct {
	Name, Form, Bundle, Payload, Annotations, TimestampFile, Entry, Artifact, Digest, Key, Identity, Issuer, PredicateType string
	Timestamp, Logged                                                                                                      bool
}

func (verifyFixture) path(name string) string {
	return filepath.Join("..", "..", "verify", "testdata", "cosign", name)
}

func readFixtures(t *testing.T) []verifyFixture {
	t.Helper()
	var all []verifyFixture
	if err := json.Unmarshal(readFile(t, verifyFixture{}.path("index.json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 64 {
		t.Fatalf("%d fixtures", len(all))
	}
	return all
}

func fixtureNamed(t *testing.T, name string) verifyFixture {
	t.Helper()
	all := readFixtures(t)
	i := slices.IndexFunc(all, func(f verifyFixture) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("there is no fixture %s", name)
	}
	return all[i]
}

// artifact is the last argument: the file or, of the older format of images, its digest.
func (f verifyFixture) artifact() string {
	if f.Bundle != "" {
		return f.path(f.Artifact)
	}
	return f.Digest
}

// who are the flags that say who signed what, and how it is proved.
func (f verifyFixture) who() []string {
	args := []string{"verify", "--trusted-root", f.path("trusted_root.json")}
	if f.Key != "" {
		args = append(args, "--key", f.path(f.Key))
	} else {
		args = append(args, "--certificate-identity", f.Identity, "--certificate-oidc-issuer", f.Issuer, "--insecure-ignore-sct")
	}
	if f.PredicateType != "" {
		args = append(args, "--type", f.PredicateType)
	}
	if f.Timestamp {
		args = append(args, "--use-signed-timestamps")
	}
	if !f.Logged {
		args = append(args, "--insecure-ignore-tlog")
	}
	return args
}

// args are all flags that verify the fixture from files.
func (f verifyFixture) args(t *testing.T) []string {
	t.Helper()
	args := f.who()
	if f.TimestampFile != "" {
		args = append(args, "--rfc3161-timestamp", f.path(f.TimestampFile))
	}
	if f.Bundle != "" {
		return append(args, "--bundle", f.path(f.Bundle))
	}
	if f.PredicateType != "" {
		args = append(args, "--attestation", f.path(f.Payload))
	} else {
		args = append(args, "--payload", f.path(f.Payload))
	}
	var annotations map[string]string
	if err := json.Unmarshal(readFile(t, f.path(f.Annotations)), &annotations); err != nil {
		t.Fatal(err)
	}
	for flag, name := range map[string]string{
		"--signature": "dev.cosignproject.cosign/signature", "--certificate": "dev.sigstore.cosign/certificate",
		"--bundle": "dev.sigstore.cosign/bundle", "--rfc3161-timestamp": "dev.sigstore.cosign/rfc3161timestamp",
	} {
		if text := annotations[name]; text != "" {
			args = append(args, flag, writeFile(t, "annotation", text))
		}
	}
	return args
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeFile writes a file into a folder of its own and returns its path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verifying runs the program in this process.
func verifying(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return run(t, nil, args...)
}

// with returns args with a flag's value replaced, or the flag added.
func with(args []string, flag string, value string) []string {
	args = slices.Clone(args)
	if i := slices.Index(args, flag); i >= 0 {
		args[i+1] = value
		return args
	}
	return append(args, flag, value)
}

// without returns args without a flag and, if it has one, its value.
func without(args []string, flag string) []string {
	i := slices.Index(args, flag)
	n := 2
	if i+1 >= len(args) || strings.HasPrefix(args[i+1], "--") {
		n = 1
	}
	return slices.Concat(args[:i], args[i+n:])
}

// What is not so is refused, with the class that it is.
func TestVerifyRefuses(t *testing.T) {
	otherKey := writeFile(t, "key.pem", string(readFile(t, verifyFixture{}.path("p384.pub"))))
	ours := verifyFixture{}.path("log.pub")
	foreignLog := writeFile(t, "log.pub", foreignP256)
	for _, name := range []string{"blob-bundle-key-cosign3", "blob-legacy-key-cosign2", "image-legacy-key-cosign3", "attestation-bundle-key-cosign3", "attestation-legacy-key-cosign2"} {
		f := fixtureNamed(t, name)
		good := f.args(t)
		for what, c := range map[string]struct {
			args  []string
			class string
		}{
			"foreign key":         {with(good, "--key", otherKey), "signature"},
			"foreign log":         {with(without(good, "--trusted-root"), "--log-key", foreignLog), "untrusted log"},
			"demands a timestamp": {append(slices.Clone(good), "--use-signed-timestamps"), "policy not met"},
			"another type":        {with(good, "--type", "slsaprovenance1"), "wrong artifact"},
			"identity":            {append(without(good, "--key"), "--certificate-identity", "a", "--certificate-oidc-issuer", "b", "--insecure-ignore-sct"), "identity mismatch"},
		} {
			code, out, errs := verifying(t, append(c.args, f.artifact())...)
			if code != exitRefused || !strings.Contains(errs, c.class) || !strings.Contains(out, "NOT verified") || strings.Contains(out, "  ok  ") {
				t.Errorf("%s, %s: exit code %d\n%s%s", name, what, code, out, errs)
			}
		}
		if code, out, errs := verifying(t, append(with(without(good, "--trusted-root"), "--log-key", ours), f.artifact())...); code != exitOK {
			t.Errorf("%s with the log's key: exit code %d\n%s%s", name, code, out, errs)
		}
	}
	f := fixtureNamed(t, "blob-bundle-keyless-timestamp-cosign3")
	good := f.args(t)
	for what, args := range map[string][]string{
		"identity":       with(good, "--certificate-identity", "x"+f.Identity),
		"issuer":         with(good, "--certificate-oidc-issuer", f.Issuer+"/"),
		"identity RE":    with(without(good, "--certificate-identity"), "--certificate-identity-regexp", "^x"),
		"repository":     with(good, "--certificate-github-workflow-repository", "another/one"),
		"other CA":       with(good, "--certificate-chain", f.path("tsa.pem")),
		"other roots":    with(good, "--ca-roots", f.path("tsa.pem")),
		"key":            append(without(without(without(good, "--certificate-identity"), "--certificate-oidc-issuer"), "--insecure-ignore-sct"), "--key", f.path("cosign.pub")),
		"witnesses":      with(good, "--witness-policy", writeFile(t, "policy", "witness w1 witness.example/1+a10c19f4+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\nquorum w1\n")),
		"policy":         {"verify", "--trusted-root", f.path("trusted_root.json"), "--bundle", f.path(f.Bundle), "--policy", writeFile(t, "policy.json", `{"identities":[{"issuer":"a","subject":"b"}],"scts":"none"}`)},
		"broken bundle":  with(good, "--bundle", writeFile(t, "bundle.json", "{")),
		"bundle of none": with(good, "--bundle", writeFile(t, "bundle.json", "{}")),
	} {
		if code, out, errs := verifying(t, append(args, f.artifact())...); code != exitRefused || strings.Contains(out, "  ok  ") {
			t.Errorf("%s: exit code %d\n%s%s", what, code, out, errs)
		}
	}
	for what, args := range map[string][]string{
		"identity RE": with(without(good, "--certificate-identity"), "--certificate-identity-regexp", "^https://github[.]com/example/"),
		"issuer RE":   with(without(good, "--certificate-oidc-issuer"), "--certificate-oidc-issuer-regexp", "/jobs$"),
		"roots":       with(good, "--ca-roots", f.path("fulcio.pem")),
		"chain":       with(good, "--certificate-chain", f.path("fulcio.pem")),
		"TSA":         with(without(good, "--use-signed-timestamps"), "--timestamp-certificate-chain", f.path("tsa.pem")),
		"policy":      {"verify", "--trusted-root", f.path("trusted_root.json"), "--bundle", f.path(f.Bundle), "--policy", writeFile(t, "policy.json", `{"identities":[{"issuer":"`+f.Issuer+`","subject":"`+f.Identity+`"}],"scts":"none","signedTimestamps":1}`)},
		"no trusted root": append(without(good, "--trusted-root"), "--log-key", ours, "--ca-roots", f.path("fulcio.pem"),
			"--timestamp-certificate-chain", f.path("tsa.pem")),
	} {
		if code, out, errs := verifying(t, append(args, f.artifact())...); code != exitOK || !strings.HasSuffix(out, "\nverified\n") {
			t.Errorf("%s: exit code %d\n%s%s", what, code, out, errs)
		}
	}
}

// foreignP256 is a key that signed nothing here.
const foreignP256 = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAklr6gBJrCOSjwOu10Zx5LPfc5g+
Nom4zEb4imdmfj0yaMaO8WUKRgKSTFN54lzkD9bFadN8WWkVpdGs1CYEJQ==
-----END PUBLIC KEY-----
`

// The parts of a signature come in files of their own, too.
func TestVerifyParts(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-keyless-cosign3")
	var bundle struct {
		MessageSignature     struct{ Signature []byte }
		VerificationMaterial struct {
			Certificate struct{ RawBytes []byte }
			TlogEntries []json.RawMessage
		}
	}
	if err := json.Unmarshal(readFile(t, f.path(f.Bundle)), &bundle); err != nil {
		t.Fatal(err)
	}
	certificate := "-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(bundle.VerificationMaterial.Certificate.RawBytes) + "\n-----END CERTIFICATE-----\n"
	raw := string(bundle.MessageSignature.Signature)
	signatures := []string{raw, base64.StdEncoding.EncodeToString([]byte(raw)), base64.StdEncoding.EncodeToString([]byte(raw)) + "\n"}
	certificates := []string{certificate, base64.StdEncoding.EncodeToString([]byte(certificate))}
	entries := []string{string(readFile(t, f.path(f.Entry))), string(bundle.VerificationMaterial.TlogEntries[0])}
	for _, s := range signatures {
		for _, c := range certificates {
			for _, e := range entries {
				args := append(f.who(), "--signature", writeFile(t, "signature", s), "--certificate", writeFile(t, "certificate", c), "--entry", writeFile(t, "entry", e))
				for _, artifact := range []string{f.path(f.Artifact), f.Digest} {
					if code, out, errs := verifying(t, append(args, artifact)...); code != exitOK || !strings.Contains(out, "is by the certificate's key") {
						t.Errorf("exit code %d\n%s%s", code, out, errs)
					}
				}
			}
		}
	}
	// So does a timestamp.
	timestamped := fixtureNamed(t, "blob-legacy-keyless-timestamp-cosign2")
	var legacy struct{ Base64Signature, Cert string }
	if err := json.Unmarshal(readFile(t, timestamped.path(timestamped.Bundle)), &legacy); err != nil {
		t.Fatal(err)
	}
	var wrapped struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal(readFile(t, timestamped.path(timestamped.TimestampFile)), &wrapped); err != nil {
		t.Fatal(err)
	}
	parts := append(timestamped.who(), "--signature", writeFile(t, "signature", legacy.Base64Signature), "--certificate", writeFile(t, "certificate", legacy.Cert),
		"--entry", timestamped.path(timestamped.Entry))
	for _, file := range []string{timestamped.path(timestamped.TimestampFile), writeFile(t, "timestamp", string(wrapped.SignedRFC3161Timestamp))} {
		code, out, errs := verifying(t, append(slices.Clone(parts), "--rfc3161-timestamp", file, f.Digest)...)
		if code != exitOK || !strings.Contains(out, "saw the signature at") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
	}
	for _, content := range []string{`{"SignedRFC3161Timestamp":"AAAA"}`, `{"SignedRFC3161Timestamp":1}`, `{"x":""}`, `{"SignedRFC3161Timestamp":"AA"}`, `{} {}`, "x"} {
		code, out, errs := verifying(t, append(slices.Clone(parts), "--rfc3161-timestamp", writeFile(t, "timestamp", content), f.Digest)...)
		if code != exitRefused {
			t.Errorf("%s: exit code %d\n%s%s", content, code, out, errs)
		}
	}
	// Of an attestation as cosign attached it to an image, it is in either form, too.
	attestation := fixtureNamed(t, "attestation-legacy-keyless-timestamp-cosign2")
	args := attestation.args(t)
	if err := json.Unmarshal(readFile(t, args[slices.Index(args, "--rfc3161-timestamp")+1]), &wrapped); err != nil {
		t.Fatal(err)
	}
	der := with(args, "--rfc3161-timestamp", writeFile(t, "timestamp", string(wrapped.SignedRFC3161Timestamp)))
	if code, out, errs := verifying(t, append(der, attestation.Digest)...); code != exitOK || !strings.Contains(out, "saw the signature at") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	// An entry that is of another signature is none of this one's. (CVE-2022-36056, CVE-2022-23649)
	other := fixtureNamed(t, "blob-bundle-keyless-cosign2")
	args = append(f.who(), "--signature", writeFile(t, "signature", raw), "--certificate", writeFile(t, "certificate", certificate), "--entry", other.path(other.Entry))
	if code, out, errs := verifying(t, append(args, f.Digest)...); code != exitRefused || !strings.Contains(errs, "bad proof") {
		t.Errorf("another's entry: exit code %d\n%s%s", code, out, errs)
	}
}

// edited returns the path of a copy of a JSON file that was changed.
func edited(t *testing.T, path string, change func(map[string]any)) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(readFile(t, path), &v); err != nil {
		t.Fatal(err)
	}
	change(v)
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "edited.json", string(data))
}

// What proves when it was signed, and for what certificate, is demanded as cosign does.
func TestVerifyDemands(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-keyless-timestamp-cosign3")
	plain, unlogged := fixtureNamed(t, "blob-bundle-keyless-cosign3"), fixtureNamed(t, "blob-bundle-keyless-unlogged-cosign3")
	blob := f.path(f.Artifact)
	withCT := edited(t, f.path("trusted_root.json"), func(root map[string]any) {
		log := maps.Clone(root["tlogs"].([]any)[0].(map[string]any))
		log["baseUrl"] = "http://ct.example"
		root["ctlogs"] = []any{log}
	})
	noTSA := edited(t, f.path("trusted_root.json"), func(root map[string]any) { delete(root, "timestampAuthorities") })
	for what, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no SCT":                       {without(with(plain.args(t), "--trusted-root", withCT), "--insecure-ignore-sct"), exitRefused, "certificate timestamps"},
		"no SCT, and none is demanded": {with(plain.args(t), "--trusted-root", withCT), exitOK, "no CT log was demanded"},
		"no timestamp":                 {append(plain.args(t), "--use-signed-timestamps"), exitRefused, "policy not met: signed timestamps"},
		"no timestamp, and a chain":    {with(plain.args(t), "--timestamp-certificate-chain", f.path("tsa.pem")), exitRefused, "policy not met: signed timestamps"},
		"a timestamp, no TSA":          {with(without(f.args(t), "--use-signed-timestamps"), "--trusted-root", noTSA), exitOK, "signed timestamps were not looked at"},
		"a foreign timestamp":          {with(f.args(t), "--timestamp-certificate-chain", foreignTSA(t)), exitRefused, "bad timestamp"},
		"a foreign one, not demanded":  {with(without(f.args(t), "--use-signed-timestamps"), "--timestamp-certificate-chain", foreignTSA(t)), exitRefused, "bad timestamp"},
		"not logged":                   {without(unlogged.args(t), "--insecure-ignore-tlog"), exitRefused, "policy not met: log entries"},
		"nothing proves the time":      {with(without(unlogged.args(t), "--use-signed-timestamps"), "--trusted-root", noTSA), exitRefused, "expired"},
	} {
		code, out, errs := verifying(t, append(c.args, blob)...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit code %d, not %d, or without %q\n%s%s", what, code, c.code, c.says, out, errs)
		}
	}
	if len(without(f.args(t), "--use-signed-timestamps")) == len(f.args(t)) {
		t.Error("the fixture has no timestamp")
	}
}

// A certificate may come from one's own authority, with an intermediate one, and be
// valid now. A timestamp of one's own comes in a file.
func TestVerifyOwnAuthority(t *testing.T) {
	root := issue(t, nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	middle := issue(t, root, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	signer := issue(t, middle, x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, KeyUsage: x509.KeyUsageDigitalSignature, EmailAddresses: []string{"me@example.com"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte("https://issuer.example")}},
	})
	digest := sha256.Sum256([]byte("content"))
	signature, err := ecdsa.SignASN1(rand.Reader, signer.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	other := issue(t, nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	base := []string{
		"verify", "--insecure-ignore-tlog", "--insecure-ignore-sct", "--certificate-identity", "me@example.com", "--certificate-oidc-issuer", "https://issuer.example",
		"--signature", writeFile(t, "signature", string(signature)), "--certificate", writeFile(t, "signer.pem", signer.pem), writeFile(t, "content", "content"),
	}
	for what, c := range map[string]struct {
		args []string
		code int
	}{
		"chain":                     {[]string{"--certificate-chain", writeFile(t, "chain.pem", middle.pem+root.pem)}, exitOK},
		"roots and intermediates":   {[]string{"--ca-roots", writeFile(t, "roots.pem", other.pem+root.pem), "--ca-intermediates", writeFile(t, "middle.pem", middle.pem)}, exitOK},
		"roots alone":               {[]string{"--ca-roots", writeFile(t, "roots.pem", other.pem+root.pem)}, exitRefused},
		"other roots":               {[]string{"--ca-roots", writeFile(t, "roots.pem", other.pem)}, exitRefused},
		"other root, intermediates": {[]string{"--ca-roots", writeFile(t, "roots.pem", other.pem), "--ca-intermediates", writeFile(t, "middle.pem", middle.pem)}, exitFailure},
		"chain in the wrong order":  {[]string{"--certificate-chain", writeFile(t, "chain.pem", root.pem+middle.pem)}, exitFailure},
		"chain and text":            {[]string{"--certificate-chain", writeFile(t, "chain.pem", middle.pem+root.pem+"and more")}, exitFailure},
		"nobody":                    {nil, exitUsage},
	} {
		if code, out, errs := verifying(t, append(slices.Clone(base), c.args...)...); code != c.code {
			t.Errorf("%s: exit code %d, not %d\n%s%s", what, code, c.code, out, errs)
		}
	}
	// Certificates that issued each other lead nowhere, and end.
	loop := verifyTrust{CARoots: writeFile(t, "roots.pem", other.pem), CAIntermediates: writeFile(t, "loop.pem", crossed(t))}
	if _, err := loop.authorities(); err == nil {
		t.Error("a loop leads to a root")
	}
}

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
	pem string
}

// issue makes a certificate that is valid now; by nobody is by itself.
func issue(t *testing.T, by *issued, template x509.Certificate) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issueFor(t, by, template, key)
}

func issueFor(t *testing.T, by *issued, template x509.Certificate, key *ecdsa.PrivateKey) *issued {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	if template.Subject.CommonName == "" && template.IsCA {
		template.Subject.CommonName = serial.String()
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if by == nil {
		by = &issued{Certificate: &template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, by.Certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// crossed returns two certificates of which each issued the other.
func crossed(t *testing.T) string {
	t.Helper()
	ca := func(name string) x509.Certificate {
		return x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: name}}
	}
	a, b := issue(t, nil, ca("a")), issue(t, nil, ca("b"))
	return issueFor(t, b, ca("a"), a.key).pem + issueFor(t, a, ca("b"), b.key).pem
}

// foreignTSA returns the chain of a timestamp authority that timestamped nothing here.
func foreignTSA(t *testing.T) string {
	t.Helper()
	root := issue(t, nil, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	tsa := issue(t, root, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}, KeyUsage: x509.KeyUsageDigitalSignature})
	return writeFile(t, "tsa.pem", tsa.pem+root.pem)
}

// What cannot be tried is no refusal, and what makes no sense is said before anything is tried.
func TestVerifyCannot(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	keyless := fixtureNamed(t, "blob-bundle-keyless-cosign3")
	timestamped := fixtureNamed(t, "blob-legacy-keyless-timestamp-cosign2")
	good, blob := f.args(t), f.path(f.Artifact)
	envelope := fixtureNamed(t, "attestation-legacy-key-cosign2")
	folder := t.TempDir()
	empty := writeFile(t, "empty", "")
	private := writeFile(t, "cosign.key", string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")})))
	identities := writeFile(t, "identities.json", `{"identities":[{"issuer":"a","subject":"b"}]}`)
	contradiction := writeFile(t, "contradiction.json", `{"identities":[{"issuer":"a","subject":"b"}],"signedTimestamps":1,"ignoreTimestamps":true}`)
	withPolicy := func(file string) []string { return append(without(with(good, "--policy", file), "--key"), blob) }
	for what, c := range map[string]struct {
		code int
		args []string
		says string
	}{
		"no trust":                   {exitUsage, append(without(good, "--trusted-root"), blob), "say whom to believe"},
		"two trusts":                 {exitUsage, append(with(good, "--log-key", f.path("log.pub")), blob), "do not go together"},
		"trust is not there":         {exitFailure, append(with(good, "--trusted-root", "absent"), blob), "no such file"},
		"trust is something else":    {exitFailure, append(with(good, "--trusted-root", blob), blob), "--trusted-root"},
		"nobody":                     {exitUsage, append(without(good, "--key"), blob), "say who has to have signed"},
		"key and identity":           {exitUsage, append(with(good, "--certificate-identity", "a"), blob), "do not go together"},
		"key and workflow":           {exitUsage, append(with(good, "--certificate-github-workflow-ref", "a"), blob), "do not go together"},
		"no issuer":                  {exitUsage, append(without(keyless.args(t), "--certificate-oidc-issuer"), blob), "--certificate-oidc-issuer"},
		"no identity":                {exitUsage, append(without(keyless.args(t), "--certificate-identity"), blob), "--certificate-identity"},
		"two identities":             {exitUsage, append(with(keyless.args(t), "--certificate-identity-regexp", "a"), blob), "--certificate-identity"},
		"bad regular expression":     {exitUsage, append(with(without(keyless.args(t), "--certificate-identity"), "--certificate-identity-regexp", "("), blob), "missing closing"},
		"key is not there":           {exitFailure, append(with(good, "--key", "absent"), blob), "--key: open absent"},
		"key is something else":      {exitUsage, append(with(good, "--key", blob), blob), "not a public key"},
		"key is private":             {exitUsage, append(with(good, "--key", private), blob), "this is a private key; give the public one (cosign.pub)"},
		"key is a certificate":       {exitUsage, append(with(good, "--key", f.path("fulcio.pem")), blob), "this is a certificate"},
		"no SCTs to be had":          {exitUsage, append(without(keyless.args(t), "--insecure-ignore-sct"), blob), "--insecure-ignore-sct"},
		"no CA":                      {exitUsage, append(with(without(keyless.args(t), "--trusted-root"), "--log-key", f.path("log.pub")), blob), "use a --trusted-root that has one, or --ca-roots"},
		"no CA, a policy":            {exitUsage, without(with(withPolicy(identities), "--log-key", f.path("log.pub")), "--trusted-root"), "--policy " + identities + ": no certificate authority is trusted"},
		"no TSA":                     {exitUsage, append(with(append(without(good, "--trusted-root"), "--use-signed-timestamps"), "--log-key", f.path("log.pub")), blob), "no timestamp authority"},
		"chain and roots":            {exitUsage, append(with(with(good, "--certificate-chain", f.path("fulcio.pem")), "--ca-roots", f.path("fulcio.pem")), blob), "does not go together"},
		"intermediates alone":        {exitUsage, append(with(good, "--ca-intermediates", f.path("fulcio.pem")), blob), "--ca-roots"},
		"intermediates of others":    {exitFailure, append(with(with(good, "--ca-intermediates", f.path("tsa.pem")), "--ca-roots", f.path("fulcio.pem")), blob), "does not lead to"},
		"roots that are none":        {exitFailure, append(with(good, "--ca-roots", blob), blob), "not a certificate"},
		"no roots":                   {exitFailure, append(with(good, "--ca-roots", empty), blob), "no certificate"},
		"chain in the wrong order":   {exitFailure, append(with(good, "--timestamp-certificate-chain", f.path("fulcio.pem")), blob), "timestamps"},
		"type":                       {exitUsage, append(with(good, "--type", "spdy"), blob), "--type"},
		"policy and key":             {exitUsage, append(with(good, "--policy", blob), blob), "--policy says everything"},
		"policy is something else":   {exitUsage, withPolicy(blob), "tallystick: --policy " + blob + ": "},
		"policy is not there":        {exitFailure, withPolicy("absent"), "--policy: open absent"},
		"policy contradicts itself":  {exitUsage, withPolicy(contradiction), "tallystick: --policy " + contradiction + ": it demands timestamps, and ignores them"},
		"policy cannot be met":       {exitUsage, withPolicy(writeFile(t, "p", `{"identities":[{"issuer":"a","subject":"b"}],"scts":9}`)), ": it demands SCTs"},
		"policy with unknown member": {exitUsage, withPolicy(writeFile(t, "p", `{"keys":[{"pem":"x"}],"subjectRegExp":"a"}`)), "subjectRegExp"},
		"witness policy is empty":    {exitUsage, append(with(good, "--witness-policy", empty), blob), "no quorum"},
		"no signature":               {exitUsage, append(without(good, "--bundle"), blob), "say where the signature is"},
		"no signature, a digest":     {exitUsage, append(without(good, "--bundle"), f.Digest), "say where the signature is"},
		"bundle is not there":        {exitFailure, append(with(good, "--bundle", "absent"), blob), "--bundle: open absent"},
		"bundle is a folder":         {exitFailure, append(with(good, "--bundle", folder), blob), "--bundle"},
		"bundle is empty":            {exitFailure, append(with(good, "--bundle", empty), blob), "empty"},
		"bundle and signature":       {exitUsage, append(with(good, "--signature", blob), blob), "--bundle has the signature"},
		"bundle and entry":           {exitUsage, append(with(good, "--entry", f.path(f.Entry)), blob), "--bundle has the signature"},
		"bundle and timestamp":       {exitUsage, append(with(good, "--rfc3161-timestamp", f.path(timestamped.TimestampFile)), blob), "has its own"},
		"log's part alone":           {exitUsage, append(with(good, "--bundle", writeFile(t, "b", `{"SignedEntryTimestamp":"AAAA","Payload":{}}`)), blob), "the signature is missing"},
		"certificate alone":          {exitUsage, append(with(without(good, "--bundle"), "--certificate", f.path("fulcio.pem")), blob), "do not go together"},
		"payload alone":              {exitUsage, append(with(without(good, "--bundle"), "--payload", blob), blob), "do not go together"},
		"two signatures":             {exitUsage, append(with(with(without(good, "--bundle"), "--signature", blob), "--attestation", blob), blob), "do not go together"},
		"two entries":                {exitUsage, append(with(envelope.args(t), "--entry", f.path(f.Entry)), f.Digest), "both say"},
		"a tag, and a bundle":        {exitUsage, append(slices.Clone(good), "127.0.0.1:1/test/app:v1"), "by its digest"},
		"artifact is a folder":       {exitFailure, append(slices.Clone(good), folder), "not a regular file"},
		"artifact is a misspelling":  {exitUsage, append(without(good, "--bundle"), "blob.tx"), "tallystick: no such file: blob.tx; nor"},
		"artifact has no tag":        {exitUsage, append(without(good, "--bundle"), "127.0.0.1:1/test/app"), "no such file"},
		"short digest":               {exitUsage, append(slices.Clone(good), "sha256:00"), "no such file"},
		"no artifact":                {exitUsage, good, "artifact"},
		"unknown output":             {exitUsage, append(with(good, "--output", "yaml"), blob), "--output"},
	} {
		code, out, errs := verifying(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || strings.Contains(errs, "policy not met") || out != "" {
			t.Errorf("%s: exit code %d, not %d, or without %q:\n%s%s", what, code, c.code, c.says, out, errs)
		}
	}
}

// Trust never comes from the log, nor from the variables that other programs read.
func TestCVE_2023_47122_TrustIsOnlyWhatIsGiven(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	args := append(without(f.args(t), "--trusted-root"), f.path(f.Artifact))
	for _, name := range []string{"SIGSTORE_REKOR_PUBLIC_KEY", "SIGSTORE_ROOT_FILE", "SIGSTORE_TRUSTED_ROOT"} {
		t.Setenv(name, f.path("log.pub"))
	}
	if code, out, errs := verifying(t, args...); code != exitUsage {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// A fault of the program is no success, and says nothing that could be taken for it: neither one in the
// verifier nor one anywhere else.
func TestCVE_2026_44310_PanicIsNoSuccess(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	args := append(f.args(t), f.path(f.Artifact))
	if os.Getenv("TALLYSTICK_TEST_PANIC") != "" {
		p := program{Stdout: panicking{}, Stderr: os.Stderr}
		os.Exit(p.Run(context.Background(), args))
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "TALLYSTICK_TEST_PANIC=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() == 0 || !strings.Contains(stderr.String(), "injected") {
		t.Errorf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	// In the verifier, it is a refusal that is none of the signature's.
	err := error(&verify.Error{Class: verify.ErrInternal, Err: errors.New("injected")})
	r := verifyReport{subject: &verifySubject{}, signatures: []*signature{{}}}
	r.signatures[0].Err = err
	if got := r.verdict(); !errors.Is(got, err) || refused(got) || r.proved() != nil {
		t.Errorf("the verdict is %v", got)
	}
	// Whatever was neither proved nor refused was not proved.
	if (&verifyReport{subject: &verifySubject{}, signatures: []*signature{{}}}).verdict() == nil {
		t.Error("nothing was proved, and that is a success")
	}
}

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("injected") }

// A result that cannot be written is no success.
func TestVerifyCannotWrite(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	for _, output := range []string{"text", "json"} {
		p := program{Stdout: full{}, Stderr: new(bytes.Buffer)}
		if code := p.Run(t.Context(), append(f.args(t), "--output", output, f.path(f.Artifact))); code != exitFailure {
			t.Errorf("%s: exit code %d", output, code)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A file comes before everything else that its name could mean, and the output says so.
func TestVerifyTakesTheFile(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	args := f.args(t)
	for i, a := range args { // of another folder, from now on
		if strings.HasPrefix(a, "..") {
			args[i], _ = filepath.Abs(a)
		}
	}
	blob := readFile(t, f.path(f.Artifact))
	t.Chdir(t.TempDir())
	names := []string{"sha256:" + strings.Repeat("0", 64), "localhost:5000/app:v1"}
	if err := os.Mkdir("localhost:5000", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(name, blob, 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := verifying(t, append(slices.Clone(args), name)...)
		if code != exitOK || !strings.Contains(out, "file "+name) || !strings.Contains(out, "there is a file of this name") || !strings.Contains(out, f.Digest) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}

// A large file is verified by its SHA-256, without being read into memory.
func TestVerifyLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(maxWholeArtifact + 1); err != nil { // takes no space
		t.Fatal(err)
	}
	a, err := readArtifact(path)
	const want = "sha256:da6ce8755151acd05195db67ebce3ee0fb5f4012e71e821cc5750f3304eaf41e" // of so many zeros
	if err != nil || a.String() != want {
		t.Errorf("%v, %v", a, err)
	}
}

// Whatever is in the files, reading them ends in evidence or in an error, and in none of the program's own.
func FuzzVerifyFiles(f *testing.F) {
	fixture := verifyFixture{}
	for _, name := range []string{"blob-bundle-key-cosign3.json", "blob-legacy-keyless-timestamp-cosign2.json", "image-bundle-keyless-timestamp-cosign3.json"} {
		bundle, err := os.ReadFile(fixture.path(name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bundle, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte(`{"SignedRFC3161Timestamp":"AAAA"}`))
	}
	f.Add([]byte(`{"SignedEntryTimestamp":"AAAA","Payload":{"body":"e30=","integratedTime":1,"logIndex":0,"logID":"00"}}`), []byte("AAAA"), []byte("{}"), []byte{}, []byte{}, []byte{}, []byte("x"))
	f.Add([]byte{}, []byte("AAAA\n"), []byte{}, []byte(`{"payload":"e30=","payloadType":"t","signatures":[{"sig":"AAAA"}]}`), []byte("LS0t"), []byte(`{"logIndex":"1"}`), []byte{})
	f.Fuzz(func(t *testing.T, bundle, signature, payload, attestation, certificate, entry, timestamp []byte) {
		in := files{bundle, signature, payload, attestation, certificate, entry, timestamp}
		for _, file := range []*[]byte{&in.bundle, &in.signature, &in.payload, &in.attestation, &in.certificate, &in.entry, &in.timestamp} {
			if len(*file) == 0 {
				*file = nil
			}
		}
		e, err := in.evidence()
		var usage usageError
		if (e == nil) == (err == nil) || err != nil && !errors.Is(err, verify.ErrMalformed) && !errors.As(err, &usage) {
			t.Fatalf("%v and %v", e, err)
		}
	})
}

// The JSON form has what the text has.
func TestVerifyJSON(t *testing.T) {
	f := fixtureNamed(t, "attestation-bundle-keyless-timestamp-cosign3")
	code, out, errs := verifying(t, append(f.args(t), "-o", "json", f.path(f.Artifact))...)
	var d verifyDocument
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil || code != exitOK || errs != "" {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	var kinds []string
	for _, c := range d.Claims {
		kinds = append(kinds, c.Kind)
		if c.Text == "" {
			t.Errorf("claim %s has no text", c.Kind)
		}
		if c.Kind == "signature" && c.Text != "the signature over the statement is by the certificate's key" {
			t.Errorf("claim %s: %s", c.Kind, c.Text)
		}
	}
	if want := []string{"statement", "signature", "set", "checkpoint", "inclusion", "body", "timestamp", "certificate", "identity"}; !slices.Equal(kinds, want) {
		t.Errorf("claims %q, not %q", kinds, want)
	}
	switch {
	case !d.Verified, d.Artifact != f.Digest, d.Kind != "file", d.Name != f.path(f.Artifact), d.Class != "", d.Error != "", len(d.Signatures) != 0:
		t.Errorf("%s", out)
	case d.Identity == nil || d.Identity.Subject != f.Identity || d.Identity.Issuer != f.Issuer || d.Key != "":
		t.Errorf("signer: %s", out)
	case d.Statement == nil || d.Statement.PredicateType != f.PredicateType || !json.Valid(d.Statement.Predicate):
		t.Errorf("statement: %s", out)
	case len(d.Entries) != 1 || d.Entries[0].Kind != "dsse" || d.Entries[0].Checkpoint == nil || d.Entries[0].IntegratedTime == "" || len(d.Entries[0].LogID) != 64:
		t.Errorf("entries: %s", out)
	case len(d.Times) != 2 || len(d.Notes) != 1:
		t.Errorf("times and notes: %s", out)
	}
	f = fixtureNamed(t, "blob-bundle-key-cosign3")
	_, out, _ = verifying(t, append(f.args(t), "-o", "json", f.path(f.Artifact))...)
	if d = (verifyDocument{}); json.Unmarshal([]byte(out), &d) != nil || !d.Verified || !strings.HasPrefix(d.Key, "sha256:") || d.Identity != nil || d.Statement != nil {
		t.Errorf("%s", out)
	}
	code, out, _ = verifying(t, append(f.args(t), "-o", "json", f.path("image.json"))...)
	if d = (verifyDocument{}); json.Unmarshal([]byte(out), &d) != nil || code != exitRefused || d.Verified || d.Class != "wrong artifact" || d.Claim != "artifact" || d.Error == "" || len(d.Claims) != 0 || len(d.Entries) != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// What could not be found out has a document, too. Wrong flags have none.
func TestVerifyUnavailable(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	image := startImages(t)
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		args                 []string
		kind, name, artifact string
	}{
		"no bundle":       {append(f.who(), "--bundle", missing, f.path(f.Artifact)), "file", f.path(f.Artifact), f.Digest},
		"no tag":          {append(f.who(), image.name(":missing")), "image", image.name(":missing"), ""},
		"no trusted root": {append(with(f.args(t), "--trusted-root", missing), f.path(f.Artifact)), "", f.path(f.Artifact), ""},
	} {
		code, out, errs := verifying(t, append(c.args, "--output", "json")...)
		var d verifyDocument
		if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitFailure || errs == "" || !strings.Contains(out, `"verified": false`) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, errs)
			continue
		}
		if d.Verified || d.Class != "unavailable" || d.Error == "" || d.Kind != c.kind || d.Name != c.name || d.Artifact != c.artifact && c.artifact != "" || c.artifact == "" && d.Artifact != "" {
			t.Errorf("%s: %s", name, out)
		}
		if code, out, errs = verifying(t, c.args...); code != exitFailure || out != "" || errs == "" {
			t.Errorf("%s as text: exit code %d, %q, %q", name, code, out, errs)
		}
	}
	if code, out, _ := verifying(t, append(f.args(t), "--output", "json", "neither/a/file nor an image")...); code != exitUsage || out != "" {
		t.Errorf("no artifact: exit code %d, %q", code, out)
	}
}

// Nothing that a stranger wrote reaches the terminal as more than text.
func TestVerifyOutputIsText(t *testing.T) {
	f := fixtureNamed(t, "blob-bundle-key-cosign3")
	path := writeFile(t, "a\x1b[2Jb\u202ec\u009bd", "content")
	for _, output := range []string{"text", "json"} {
		_, out, errs := verifying(t, append(f.args(t), "-o", output, path)...)
		if strings.ContainsAny(out+errs, "\x1b\u202e\u009b") || !strings.Contains(out, "wrong artifact") {
			t.Errorf("%q %q", out, errs)
		}
	}
	in := "{\"a\u202e\":\"\u0085\U000e0001\x7f\",\"b\":\"ä\"}"
	var before, after map[string]string
	escaped := escapeControls([]byte(in))
	if json.Unmarshal([]byte(in), &before) != nil || json.Unmarshal(escaped, &after) != nil || before["a\u202e"] != after["a\u202e"] || after["b"] != "ä" {
		t.Errorf("%s is not %s", escaped, in)
	}
	if want := `{"a\u202e":"\u0085\udb40\udc01\u007f","b":"ä"}`; string(escaped) != want {
		t.Errorf("%s, not %s", escaped, want)
	}
}
