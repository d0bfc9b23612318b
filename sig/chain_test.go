package sig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// authority makes certificates for tests; all are signed with its one key.
type authority struct {
	t      testing.TB
	priv   *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, priv: priv}
}

// certificate returns the PEM of a CA certificate for subject by issuer, with the
// authority's own key if pub is nil.
func (a *authority) certificate(subject, issuer string, pub crypto.PublicKey, keyIDs ...string) string {
	a.t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1e9, 0),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{fmt.Sprintf("n%d.example", a.serial)},
		SubjectKeyId: []byte("none"),
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: issuer}}
	if len(keyIDs) == 2 {
		template.SubjectKeyId, parent.SubjectKeyId = []byte(keyIDs[0]), []byte(keyIDs[1])
	}
	if pub == nil {
		pub = a.priv.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, a.priv)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificatePEM(der)
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der}))
}

// modulus returns an RSA key of the given size that nobody has the other half of.
func modulus(bits, e int) *rsa.PublicKey {
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	return &rsa.PublicKey{N: n, E: e}
}

// withSignature replaces the signature of a certificate.
func withSignature(t *testing.T, text string, signature []byte) string {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	var c struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	if _, err := asn1.Unmarshal(block.Bytes, &c); err != nil {
		t.Fatal(err)
	}
	c.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	return certificatePEM(marshalASN1(t, c, ""))
}

// TestCertificateLimits: one check with the key of the first case takes seconds, and
// path building used to repeat it.
func TestCertificateLimits(t *testing.T) {
	a := newAuthority(t)
	// X25519 differs from Ed25519 in the last byte of its identifier (RFC 8410).
	ed, _ := pem.Decode([]byte(a.certificate("root", "root", ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))))
	x25519 := certificatePEM(bytes.Replace(ed.Bytes, []byte{0x2b, 0x65, 0x70}, []byte{0x2b, 0x65, 0x6e}, 1))
	plain := a.certificate("leaf", "root", nil)
	for name, c := range map[string]struct {
		bad, reason string
	}{
		"180,000 bits":            {a.certificate("root", "root", modulus(180000, 1<<31-1)), "RSA key of 180000 bits, more than 8192"},
		"8,193 bits":              {a.certificate("root", "root", modulus(8193, 65537)), "RSA key of 8193 bits, more than 8192"},
		"8,192 bits":              {a.certificate("root", "root", modulus(8192, 1<<31-1)), ""},
		"exponent 2³¹+1":          {a.certificate("root", "root", modulus(2048, 1<<31+1)), "RSA exponent 2147483649, more than 2147483647"},
		"X25519":                  {x25519, "unsupported public key type"},
		"signature of 1024 bytes": {withSignature(t, plain, make([]byte, 1024)), ""},
		"signature of 1025 bytes": {withSignature(t, plain, make([]byte, 1025)), "signature of 1025 bytes, more than 1024"},
	} {
		for i, text := range []string{c.bad, c.bad + plain, plain + c.bad, plain + c.bad + plain, strings.Repeat(plain, MaxChain-1) + c.bad} {
			_, err := ParsePEM([]byte(text))
			if (err == nil) != (c.reason == "") || err != nil && !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%s, chain %d: %v, want %q", name, i, err, c.reason)
			}
		}
	}
}

// TestManyIssuers has as many certificates of one name and key as fit: no
// combination of them leads to the root, and nothing is to be gained by trying.
func TestManyIssuers(t *testing.T) {
	a := newAuthority(t)
	text := a.certificate("leaf", "i", nil)
	for range MaxChain - 2 {
		text += a.certificate("i", "i", nil)
	}
	for root, reason := range map[string]string{
		a.certificate("root", "root", nil): "do not lead to the last one",
		a.certificate("i", "i", nil):       "",
	} {
		k := mustParse(t, text+root)
		err := k.VerifyChain()
		if (err == nil) != (reason == "") || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
}

func TestChainPaths(t *testing.T) {
	a := newAuthority(t)
	cert := func(subject, issuer string, keyIDs ...string) string {
		return a.certificate(subject, issuer, nil, keyIDs...)
	}
	other := newAuthority(t)
	leaf, i1, i2, root := cert("leaf", "1"), cert("1", "2"), cert("2", "root"), cert("root", "root")
	for name, c := range map[string]struct {
		chain  string
		length int // of the path, in signatures to check; -1: there is none
		ok     bool
	}{
		"in order":                  {leaf + i1 + i2 + root, 3, true},
		"any order":                 {leaf + i2 + i1 + root, 3, true},
		"of no use":                 {leaf + cert("x", "y") + i2 + leaf + i1 + root + root, 3, true},
		"one is missing":            {leaf + i2 + root, -1, false},
		"root is not last":          {leaf + i1 + root + i2, 2, true},
		"leaf twice":                {leaf + leaf, 0, true},
		"nothing but the leaf's CA": {leaf + i1, 1, true},
		"shortest":                  {leaf + cert("1", "3") + cert("3", "2") + i1 + i2 + root, 3, true},
		"other key":                 {leaf + i1 + other.certificate("2", "root", nil) + root, 3, false},
		"root of the same name":     {leaf + i1 + i2 + other.certificate("root", "root", nil), 3, false},
		"key IDs":                   {cert("leaf", "1", "l", "b") + cert("1", "2", "a", "c") + cert("1", "root", "b", "none") + root, 2, true},
		"key IDs, no path":          {cert("leaf", "1", "l", "b") + cert("1", "root", "a", "r") + cert("root", "root", "r", "r"), 2, true},
		"root made anew":            {cert("leaf", "root", "l", "n") + cert("root", "root", "n", "o") + cert("root", "root", "o", "o"), 1, true},
	} {
		k := mustParse(t, c.chain)
		path, err := issuers(k.Certificates)
		if err != nil && c.length >= 0 || len(path) != max(0, c.length) {
			t.Errorf("%s: path of %d, %v; want %d", name, len(path), err, c.length)
		}
		if n := candidates(k.Certificates[0], path); n != len(path) {
			t.Errorf("%s: %d checks for a path of %d", name, n, len(path))
		}
		if err := k.VerifyChain(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// candidates counts the signatures that crypto/x509 checks at most: of each
// certificate with each that has its issuer's name.
func candidates(leaf *x509.Certificate, parents []*x509.Certificate) int {
	n := 0
	for i := range parents {
		c := leaf
		if i > 0 {
			c = parents[i-1]
		}
		for _, p := range parents {
			if bytes.Equal(c.RawIssuer, p.RawSubject) {
				n++
			}
		}
	}
	return n
}

func TestChainCost(t *testing.T) {
	a := newAuthority(t)
	for n, reason := range map[int]string{4: "certificate signed by unknown authority", 5: "costs as much as 160 P-256 signatures, more than 128"} {
		text := a.certificate("leaf", "0", nil)
		for i := range n {
			text += a.certificate(fmt.Sprint(i), fmt.Sprint(i+1), modulus(8192, 65537))
		}
		err := mustParse(t, text).VerifyChain()
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%d issuers with RSA-8192: %v, want %q", n, err, reason)
		}
	}
}

func TestCost(t *testing.T) {
	curve := func(c elliptic.Curve) crypto.PublicKey { return &ecdsa.PublicKey{Curve: c} }
	for _, c := range []struct {
		key  crypto.PublicKey
		cost int
	}{
		{ed25519.PublicKey{}, 1}, {curve(elliptic.P224()), 3}, {curve(elliptic.P256()), 1}, {curve(elliptic.P384()), 8}, {curve(elliptic.P521()), 22},
		{modulus(1024, 3), 1}, {modulus(2048, 65537), 2}, {modulus(2049, 65537), 5}, {modulus(3072, 65537), 5}, {modulus(4096, 65537), 8},
		{modulus(8192, 65537), 32}, {modulus(8192, MaxRSAExponent), 105},
	} {
		if got := (&Key{Public: c.key}).Cost(); got != c.cost {
			t.Errorf("%T %v: %d, want %d", c.key, c.key, got, c.cost)
		}
	}
}

// TestRenewedIssuer: of two certificates of one issuer, the one that was valid when
// the leaf was made counts, wherever it stands.
func TestRenewedIssuer(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	year := func(n int) time.Time { return time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC) }
	made := func(subject, issuer string, from, to int) string {
		t.Helper()
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(from)), Subject: pkix.Name{CommonName: subject}, NotBefore: year(from), NotAfter: year(to),
			IsCA: subject != "leaf", BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		der, err := x509.CreateCertificate(rand.Reader, c, &x509.Certificate{Subject: pkix.Name{CommonName: issuer}}, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	leaf, root := made("leaf", "i", 2025, 2026), made("root", "root", 2010, 2040)
	old, now := made("i", "root", 2015, 2020), made("i", "root", 2020, 2030)
	for _, between := range []string{old + now, now + old} {
		if err := mustParse(t, leaf+between+root).VerifyChain(); err != nil {
			t.Error(err)
		}
	}
	if mustParse(t, leaf+old+root).VerifyChain() == nil {
		t.Error("an issuer that had expired passed")
	}
}
