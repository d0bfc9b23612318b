package entry

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"testing"
)

func benchmarkPropose(b *testing.B, name string) {
	v := vectors(b)[name]
	p := newParser(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Propose(v.ProposedEntry); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPropose(b *testing.B) {
	for _, name := range []string{
		"hashedrekord-0.0.1/p256-pem", "hashedrekord-0.0.1/p256-cert-email-uri-dns",
		"dsse-0.0.1/slsa02-pem", "intoto-0.0.1/slsa02-pem", "intoto-0.0.2/slsa02-pem", "rekor-extra/rekord-x509-ecdsa-p256",
	} {
		b.Run(name, func(b *testing.B) { benchmarkPropose(b, name) })
	}
}

func BenchmarkCommitted(b *testing.B) {
	v := vectors(b)["hashedrekord-0.0.1/p256-pem"]
	p := newParser(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Committed([]byte(v.CanonicalBody)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareVerify is what no parser can be faster than.
func BenchmarkBareVerify(b *testing.B) {
	var keys struct {
		Keys map[string]struct{ Private string }
	}
	readJSON(b, "keys", &keys)
	block, _ := pem.Decode([]byte(keys.Keys["ecdsa-p256"].Private))
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	key := k.(*ecdsa.PrivateKey)
	digest := sha256.Sum256([]byte("x"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("bad signature")
		}
	}
}
