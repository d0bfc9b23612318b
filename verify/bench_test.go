package verify_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// whole is a bundle as bytes, all that it takes to verify it, and its signatures alone.
type whole struct {
	data     []byte
	verifier *verify.Verifier
	artifact verify.Artifact
	bare     []signatureCheck
}

// signatureCheck is one ECDSA signature, over a digest, or of a certificate.
type signatureCheck struct {
	key               *ecdsa.PublicKey
	digest, signature []byte
}

func (c signatureCheck) verify() bool { return ecdsa.VerifyASN1(c.key, c.digest, c.signature) }

func newCheck(key any, message, signature []byte) signatureCheck {
	d := sha256.Sum256(message)
	return signatureCheck{key.(*ecdsa.PublicKey), d[:], signature}
}

// logChecks are the signatures of a v1 entry: SET and checkpoint.
func logChecks(m *forge.Made) []signatureCheck {
	e := m.Entries[0]
	text, _, _ := strings.Cut(e.Log.Checkpoint(e.Size), "\n\n")
	text += "\n"
	note := e.Log.SignCheckpoint(text)
	line := strings.TrimSpace(note[strings.LastIndexByte(strings.TrimSpace(note), ' ')+1:])
	raw := must(base64.StdEncoding.DecodeString(line))
	key := e.Log.Key.Public()
	return []signatureCheck{
		newCheck(key, tlog.SETMessage(e.Body(), e.Time.Unix(), tlog.LogID(e.Log.Key.SPKI).String(), e.LogIndex()), e.SET()),
		newCheck(key, []byte(text), raw[4:]),
	}
}

// keyBundle is signed with a key, and has SET and inclusion proof.
func keyBundle(t testing.TB) *whole {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	return &whole{forge.Encode(m.Bundle()), w.verifier(t, w.byKey()), verify.SHA256(sha256.Sum256(w.Artifact)),
		append(logChecks(m), newCheck(w.Author.Public(), w.Artifact, m.Signature))}
}

// keylessBundle is the same signed with a certificate, below an intermediate one and a root, with P-256 keys all.
func keylessBundle(t testing.TB) *whole {
	w := newWorld(t)
	w.CA = forge.NewP256CA("ca.example.test", w.Start, w.Start.AddDate(10, 0, 0))
	w.Certificate = w.CA.Issue(w.Subject())
	w.root = w.TrustedRoot(forge.Array{})
	w.trust = w.trustIn(t, w.root)
	m := w.Keyless(forge.Message, w.V1).Make()
	chain := []*x509.Certificate{w.Certificate, w.CA.Intermediate, w.CA.Root}
	checks := append(logChecks(m), newCheck(w.Author.Public(), w.Artifact, m.Signature))
	for i, c := range chain[:2] {
		checks = append(checks, newCheck(chain[i+1].PublicKey, c.RawTBSCertificate, c.Signature))
	}
	return &whole{forge.Encode(m.Bundle()), w.verifier(t, w.byIdentity()), verify.SHA256(sha256.Sum256(w.Artifact)), checks}
}

func (w *whole) verify(t testing.TB) {
	e, err := verify.ParseBundle(w.data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.verifier.Verify(e, w.artifact); err != nil {
		t.Fatal(err)
	}
}

func (w *whole) signatures(t testing.TB) {
	for _, c := range w.bare {
		if !c.verify() {
			t.Fatal("signature does not verify")
		}
	}
}

// The signatures that the benchmarks compare with are those of the bundles.
func TestBareSignatures(t *testing.T) {
	for _, w := range []*whole{keyBundle(t), keylessBundle(t)} {
		w.signatures(t)
		w.verify(t)
	}
}

// bench measures a bundle, from its bytes, and its signatures alone, and both by turns, for a ratio
// that a busy machine does not spoil.
func bench(b *testing.B, w *whole) {
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.verify(b)
		}
	})
	b.Run("signatures", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.signatures(b)
		}
	})
	b.Run("ratio", func(b *testing.B) {
		var all, bare time.Duration
		for b.Loop() {
			start := time.Now()
			w.verify(b)
			middle := time.Now()
			w.signatures(b)
			all += middle.Sub(start)
			bare += time.Since(middle)
		}
		b.ReportMetric(float64(all)/float64(bare), "x-bare")
	})
}

func BenchmarkKeyBundle(b *testing.B)     { bench(b, keyBundle(b)) }
func BenchmarkKeylessBundle(b *testing.B) { bench(b, keylessBundle(b)) }

// BenchmarkParseTrustedRoot reads the trusted root of Sigstore's public instance.
func BenchmarkParseTrustedRoot(b *testing.B) {
	data := readFile(b, "testdata", "public-good", "trusted_root.json")
	b.ReportAllocs()
	for b.Loop() {
		parseTrust(b, data)
	}
}

// A key-signed bundle with SET and inclusion proof takes at most 60 allocations, from its
// bytes to the result.
func TestAllocations(t *testing.T) {
	w := keyBundle(t)
	got := testing.AllocsPerRun(200, func() { w.verify(t) })
	t.Logf("%.0f allocations", got)
	if got > 60 {
		t.Errorf("%.0f allocations, more than 60", got)
	}
}
