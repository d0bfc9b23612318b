package e2e

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

// fixture is a signature that cosign made, with what it takes to verify it. Files
// are named within the fixtures' folder.
type fixture struct {
	Name   string `json:"name"`
	Cosign string `json:"cosign"` // its version
	// Form is "image", "attestation" (of an image), "blob" or "blob-attestation", with
	// "-legacy" or "-bundle".
	Form string `json:"form"`
	// Bundle is a Sigstore bundle or, of a legacy blob, what cosign sign-blob --bundle
	// wrote. (Of a legacy blob-attestation, that has a DSSE envelope as its signature.)
	Bundle string `json:"bundle,omitempty"`
	// Payload and Annotations are the layer that cosign attached to the image, and
	// its annotations, in the legacy form.
	Payload     string `json:"payload,omitempty"`
	Annotations string `json:"annotations,omitempty"`
	// TimestampFile is what cosign sign-blob --rfc3161-timestamp wrote, in the legacy form.
	TimestampFile string `json:"timestampFile,omitempty"`
	// Entry is the log's answer to GET /api/v1/log/entries?logIndex=…; empty if it is not logged.
	Entry string `json:"entry,omitempty"`
	// Artifact is the file that was signed, and Digest its digest, "sha256:…". Of an
	// image it is the manifest.
	Artifact string `json:"artifact"`
	Digest   string `json:"digest"`
	// Either Key, a public key, or Identity and Issuer say who signed.
	Key      string `json:"key,omitempty"`
	Identity string `json:"identity,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	// PredicateType of attestations.
	PredicateType string `json:"predicateType,omitempty"`
	Timestamp     bool   `json:"timestamp"` // there is a signed timestamp (RFC 3161)
	Logged        bool   `json:"logged"`
	// CosignRefuses says that cosign refuses what it wrote there: see cannotVerify.
	CosignRefuses bool `json:"cosignRefuses,omitempty"`
}

// TestFixtures makes signatures in every form that cosign 2 and 3 write, with a key
// and keyless, with and without a signed timestamp, logged and not.
//
// With the variable TALLYSTICK_FIXTURES it writes them into that folder, as they are
// in verify/testdata/cosign.
func TestFixtures(t *testing.T) {
	dir := cmp.Or(os.Getenv("TALLYSTICK_FIXTURES"), t.TempDir())
	w := newWorkshop(t)
	k := &keeper{w, dir, nil}
	for _, c := range slices.Concat(legacyCosigns(), bundleCosigns()) {
		for _, what := range works() {
			for _, how := range signings() {
				k.add(w.sign(c, what, how))
			}
		}
	}
	for _, how := range w.otherKeys() {
		c := bundleCosigns()[1]
		if how.pair == "ed25519" { // with which cosign makes no bundle
			c = legacyCosigns()[0]
		}
		k.add(w.sign(c, works()[2], how))
	}
	intoto := legacyCosigns()[0]
	intoto.write = args("--rekor-entry-type=intoto")
	k.add(w.sign(intoto, works()[1], signing{name: "key-intoto", pair: "cosign"}))

	for to, from := range map[string]string{"trusted_root.json": "trusted-root.json", "log.pub": "log.pub", "fulcio.pem": "fulcio.pem", "tsa.pem": "tsa.pem"} {
		k.keep(to, w.read(from))
	}
	index, err := json.MarshalIndent(k.kept, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	k.keep("index.json", append(index, '\n'))

	for _, f := range k.kept {
		t.Run(f.Name, func(t *testing.T) { k.verify(t, f) })
	}
}

// verify has package verify prove a fixture, and its log entry as the log's API has it.
func (k *keeper) verify(t *testing.T, f fixture) {
	trusted, err := verify.ParseTrustedRoot(k.fixture(t, "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := k.evidence(t, f)
	if err != nil {
		t.Fatal(err)
	}
	policy := verify.Policy{PredicateType: f.PredicateType}
	if f.Key != "" {
		policy.Keys = []verify.PublicKey{{PEM: k.fixture(t, f.Key)}}
	} else {
		policy.Identities = []verify.Identity{{Issuer: f.Issuer, Subject: f.Identity}}
	}
	if f.Timestamp {
		policy.SignedTimestamps = 1
	}
	if !f.Logged {
		policy.LogEntries = verify.None
	}
	v, err := verify.New(trusted, policy, verify.Options{Timestamps: timestamp.Verifier{}})
	if err != nil {
		t.Fatal(err)
	}
	result, err := v.Verify(evidence, verify.Bytes(k.fixture(t, f.Artifact)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Logged != (len(result.Entries) == 1) {
		t.Errorf("%d log entries were proved", len(result.Entries))
	}
	_, err = v.Verify(evidence, verify.Bytes([]byte("another artifact")))
	if !errors.Is(err, verify.ErrWrongArtifact) && !errors.Is(err, verify.ErrBadSignature) {
		t.Errorf("another artifact: %v", err)
	}
	if f.Logged {
		entry, err := verify.ParseEntry(k.fixture(t, f.Entry))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trusted.VerifyEntry(entry); err != nil {
			t.Error(err)
		}
	}
}

// evidence reads a fixture's signature.
func (k *keeper) evidence(t *testing.T, f fixture) (*verify.Evidence, error) {
	switch f.Form {
	case "blob-legacy", "blob-attestation-legacy":
		var timestamped []byte
		if f.TimestampFile != "" {
			timestamped = k.fixture(t, f.TimestampFile)
		}
		return verify.ParseCosignBlob(k.fixture(t, f.Bundle), timestamped)
	case "image-legacy", "attestation-legacy":
		var a map[string]string
		if err := json.Unmarshal(k.fixture(t, f.Annotations), &a); err != nil {
			t.Fatal(err)
		}
		return verify.ParseCosign(verify.CosignSignature{Payload: k.fixture(t, f.Payload), Signature: a["dev.cosignproject.cosign/signature"],
			Certificate: a["dev.sigstore.cosign/certificate"], Chain: a["dev.sigstore.cosign/chain"],
			Bundle: a["dev.sigstore.cosign/bundle"], Timestamp: a["dev.sigstore.cosign/rfc3161timestamp"]})
	}
	return verify.ParseBundle(k.fixture(t, f.Bundle))
}

// fixture reads a file of the fixtures' folder.
func (k *keeper) fixture(t *testing.T, name string) []byte {
	t.Helper()
	return readFile(t, filepath.Join(k.dir, name))
}

// otherKeys makes key pairs that cosign imports, of other algorithms than its own.
func (w *workshop) otherKeys() []signing {
	w.t.Helper()
	p384, err384 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err521 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rsa2048, errRSA := rsa.GenerateKey(rand.Reader, 2048)
	_, edwards, errEdwards := ed25519.GenerateKey(rand.Reader)
	if err := cmp.Or(err384, err521, errRSA, errEdwards); err != nil {
		w.t.Fatal(err)
	}
	var made []signing
	for _, k := range []struct {
		name string
		key  any
	}{{"p384", p384}, {"p521", p521}, {"rsa", rsa2048}, {"ed25519", edwards}} {
		der, err := x509.MarshalPKCS8PrivateKey(k.key)
		if err != nil {
			w.t.Fatal(err)
		}
		w.file(k.name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		w.run(args(cosign3(w.t), "import-key-pair", "--key", k.name+".pem", "--output-key-prefix", k.name, "--yes"))
		made = append(made, signing{name: k.name, pair: k.name})
	}
	return made
}

// keeper keeps fixtures in a folder.
type keeper struct {
	*workshop
	dir  string
	kept []fixture
}

// keep writes a file into the fixtures' folder.
func (k *keeper) keep(name string, content []byte) string {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, name), content, 0o644); err != nil {
		k.t.Fatal(err)
	}
	return name
}

// add makes a fixture of a signature.
func (k *keeper) add(s signed) {
	k.t.Helper()
	f := fixture{Name: s.name, Form: s.work.name + "-" + s.cosign.form(), Cosign: s.cosign.version(),
		Bundle: s.bundle, Payload: s.payload, Annotations: s.annotations, TimestampFile: s.timestamp, Artifact: s.artifact, Digest: s.digest,
		Key: s.key, Identity: s.identity, Issuer: s.issuer, PredicateType: s.work.predicateType, Timestamp: s.timestamped, Logged: !s.unlogged,
		CosignRefuses: s.cosign.cannotVerify(s.work, s.signing)}
	for _, name := range args(f.Bundle, f.Payload, f.Annotations, f.TimestampFile, f.Key) {
		if name != "" {
			k.keep(name, k.read(name))
		}
	}
	if s.work.image {
		f.Artifact = k.keep("image.json", s.registry.fetch("manifests/"+s.digest))
	} else {
		k.keep(f.Artifact, k.read(f.Artifact))
	}
	if f.Logged {
		f.Entry = k.keep(f.Name+".entry.json", k.log.get(fmt.Sprintf("/api/v1/log/entries?logIndex=%d", s.index)))
	}
	k.kept = append(k.kept, f)
}

// version is the version of this cosign.
func (c cosign) version() string {
	return map[string]string{"cosign2": "2.6.5", "cosign3": "3.1.3"}[c.name]
}
