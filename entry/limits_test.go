package entry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
)

func newSigner(t testing.TB) signer {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{priv, publicPEM(t, priv.Public())}
}

func publicPEM(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// certified returns the signer with a certificate that it made for itself.
func certified(t testing.TB, s signer, template *x509.Certificate) signer {
	t.Helper()
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Unix(0, 0), time.Unix(1e9, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.Public(), s.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s.Signer, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// modulus returns an RSA key of the given size that nobody has the other half of.
func modulus(bits, i int) *rsa.PublicKey {
	n := new(big.Int).SetBit(big.NewInt(int64(2*i+1)), bits-1, 1)
	return &rsa.PublicKey{N: n, E: 65537}
}

// TestChecksAreCounted: what was tried is not tried again, whatever it is wrapped in.
func TestChecksAreCounted(t *testing.T) {
	p, s := newParser(t), testSigner(t, "rsa-2048")
	e := &sig.Envelope{PayloadType: "x", Payload: []byte("y")}
	good := s.sign(t, sig.PAE("x", []byte("y")))
	signatures := func(good []byte, last int, same bool) []sig.Signature {
		all := make([]sig.Signature, MaxSignatures)
		for i := range all {
			b := make([]byte, len(good))
			if !same {
				b[0] = byte(i)
			}
			all[i] = sig.Signature{Text: fmt.Sprint(i), Sig: b}
		}
		all[last].Sig = good
		return all
	}
	bare := slices.Repeat([][]byte{[]byte(s.pem)}, MaxSignatures)
	mixed := slices.Clone(bare)
	for i := range mixed {
		switch i % 3 {
		case 1:
			mixed[i] = []byte(strings.Repeat("\n", i) + s.pem)
		case 2:
			mixed[i] = []byte(certified(t, s, &x509.Certificate{DNSNames: []string{fmt.Sprint("n", i)}}).pem)
		}
	}
	last := MaxSignatures - 1
	for name, c := range map[string]struct {
		signatures []sig.Signature
		pems       [][]byte
		checks     int
	}{
		"one key many times":          {signatures(good, last, false), bare, MaxSignatures},
		"one key in many coats":       {signatures(good, last, false), mixed, MaxSignatures},
		"first fits":                  {signatures(good, 0, false), mixed, 1},
		"one signature many times":    {signatures(good, last, true), mixed, 2},
		"one signature and no key":    {signatures(make([]byte, 256), last, true), mixed, 1},
		"a key that fits nothing":     {signatures(make([]byte, 256), last, false), bare, MaxSignatures - 1}, // first and last are the same
		"one bad signature, one key":  {signatures(make([]byte, 256), last, true)[:1], bare[:1], 1},
		"one good signature, one key": {signatures(good, 0, true)[:1], bare, 1},
	} {
		c2 := newChecker(e)
		if _, err := c2.matchKeys(p, c.signatures, c.pems, false); c2.checks != c.checks {
			t.Errorf("%s: %d checks, want %d (%v)", name, c2.checks, c.checks, err)
		}
	}
}

// TestRoomForSigners holds maxWork against what its comment promises: n keys with n
// signatures, and no more than that.
func TestRoomForSigners(t *testing.T) {
	curve := func(c elliptic.Curve) crypto.PublicKey {
		priv, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return priv.Public()
	}
	for _, c := range []struct {
		key     crypto.PublicKey
		signers int
		payload int // bytes
	}{
		{curve(elliptic.P256()), 22, 0}, {modulus(2048, 0), 16, 0}, {curve(elliptic.P384()), 7, 0}, {modulus(4096, 0), 7, 0},
		{curve(elliptic.P521()), 4, 0}, {modulus(8192, 0), 3, 0}, {ed25519.PublicKey(make([]byte, 32)), 2, 3 << 20},
	} {
		check := newChecker(&sig.Envelope{Payload: make([]byte, c.payload)})
		key := &sig.Key{Public: c.key}
		var err error
		for err == nil {
			_, err = check.verifies(key, sig.Signature{Sig: []byte{1}})
		}
		if lo, hi := c.signers*(c.signers+1)/2, (c.signers+1)*(c.signers+2)/2; check.checks < lo || check.checks >= hi {
			t.Errorf("%T, cost %d: %d checks, want %d to %d, for %d signers", c.key, key.Cost(), check.checks, lo, hi-1, c.signers)
		}
		if check.work > maxWork {
			t.Errorf("%T: work %d", c.key, check.work)
		}
	}
}

func TestTooMuchWork(t *testing.T) {
	p := newParser(t)
	var strangers []signer
	var signatures []object
	for i := range MaxSignatures {
		strangers = append(strangers, signer{pem: publicPEM(t, modulus(8192, i))})
		garbage := make([]byte, 1024)
		garbage[1023] = byte(i)
		signatures = append(signatures, object{"sig": b64(garbage)})
	}
	env := marshal(t, object{"payloadType": "x", "payload": "eQ==", "signatures": signatures})
	_, err := p.Propose(dsseProposal(t, env, strangers...))
	wantError(t, err, Invalid, 400)
	if want := "too many signature checks: after 8, the next would make the work that of 288 P-256 checks, more than 272"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	// As many signers as an envelope may have.
	var signers []signer
	for range MaxSignatures {
		signers = append(signers, newSigner(t))
	}
	backwards := slices.Clone(signers)
	slices.Reverse(backwards)
	for _, verifiers := range [][]signer{signers, backwards} {
		if _, err := p.Propose(dsseProposal(t, envelope(t, "x", []byte("y"), signers...), verifiers...)); err != nil {
			t.Errorf("%d signers: %v", len(signers), err)
		}
	}
}

// TestBadVersionIsCheap: the pattern is not compiled again for each bad request.
func TestBadVersionIsCheap(t *testing.T) {
	p := newParser(t)
	for version, code := range map[string]int{"x": 605, "7.0.0": 400, "1.0.0-" + strings.Repeat("a", maxVersion-6): 400, "1.0.0-" + strings.Repeat("a", maxVersion-5): 605} {
		raw := proposal(t, "dsse", version, object{})
		var err error
		if n := testing.AllocsPerRun(20, func() { _, err = p.Propose(raw) }); n > 60 {
			t.Errorf("%.20s: %v allocations", version, n)
		}
		var e *Error
		if e, _ = err.(*Error); e == nil || e.Code != code {
			t.Errorf("%.20s: %v, want code %d", version, err, code)
		}
	}
}

// TestRSASizes: a modulus of 2,041 bits fills as many bytes as one of 2,048, by which
// Rekor judges.
func TestRSASizes(t *testing.T) {
	for bits, want := range map[int]bool{1024: false, 2040: false, 2041: true, 2047: true, 2048: true, 2049: false, 3065: true, 3072: true, 4090: true, 4096: true, 4097: false, 8192: false} {
		if got := pairAllowed(modulus(bits, 0), crypto.SHA256); got != want {
			t.Errorf("RSA of %d bits: %v", bits, got)
		}
		if pairAllowed(modulus(bits, 0), crypto.SHA512) {
			t.Errorf("RSA of %d bits with SHA-512", bits)
		}
	}
}

// TestManySubjects is the largest statement that sigstore-go verifies.
func TestManySubjects(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	var subjects []string
	for i := range 1024 {
		sum := sha256.Sum256(fmt.Append(nil, i))
		subjects = append(subjects, fmt.Sprintf(`{"name":"n","digest":{"sha1":"%x","sha256":"%x","sha512":"%x%x"}}`, sum[:20], sum, sum, sum))
	}
	payload := []byte(`{"subject":[` + strings.Join(subjects, ",") + `]}`)
	got, err := p.Propose(dsseProposal(t, envelope(t, inTotoType, payload, s), s))
	if err != nil || len(got.Leaf.Keys) != 3*1024+3 {
		t.Errorf("%d keys, %v", len(got.Leaf.Keys), err)
	}
}

// TestUnsearchable: an entry that could not be found by a name or digest that it has
// is refused.
func TestUnsearchable(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	uri := func(n int) *x509.Certificate {
		u := &url.URL{Scheme: "https", Host: "a.example", Path: "/" + strings.Repeat("x", n-len("https://a.example/"))}
		return &x509.Certificate{URIs: []*url.URL{u}}
	}
	issuer := func(text string) *x509.Certificate {
		oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
		return &x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: oid, Value: []byte(text)}}}
	}
	for name, c := range map[string]struct {
		certificate *x509.Certificate
		payload     string
		reason      string
	}{
		"longest name":       {uri(tlog.MaxKeyValue), "{}", ""},
		"name too long":      {uri(tlog.MaxKeyValue + 1), "{}", "name in the certificate could not be searched for: 2049 bytes in lower case, more than 2048"},
		"longest issuer":     {issuer(strings.Repeat("i", tlog.MaxKeyValue)), "{}", ""},
		"issuer too long":    {issuer(strings.Repeat("i", tlog.MaxKeyValue+1)), "{}", "issuer in the certificate could not be searched for: 2049 bytes"},
		"issuer with NUL":    {issuer("a\x00b"), "{}", `issuer in the certificate could not be searched for: "a\x00b" is not valid UTF-8 or holds a NUL`},
		"digest too long":    {uri(99), `{"subject":[{"digest":{"x":"` + strings.Repeat("f", tlog.MaxKeyValue) + `"}}]}`, "digest could not be searched for: 2050 bytes"},
		"digest, no JSON":    {uri(99), `{"subject":[{"digest":{"x":"` + strings.Repeat("f", tlog.MaxKeyValue) + `"}}]`, ""},
		"digest in lower ca": {uri(99), `{"subject":[{"digest":{"x":"` + strings.Repeat("Ⱥ", 1000) + `"}}]}`, "digest could not be searched for: 3002 bytes"},
	} {
		cs := certified(t, s, c.certificate)
		raw := dsseProposal(t, envelope(t, inTotoType, []byte(c.payload), cs), cs)
		got, err := p.Propose(raw)
		if c.reason == "" {
			if err != nil || len(got.Leaf.Keys) != 4 && name != "digest, no JSON" {
				t.Errorf("%s: %d keys, %v", name, len(got.Leaf.Keys), err)
			}
			continue
		}
		wantError(t, err, Invalid, 400)
		if err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
		if _, err := p.Lookup(raw); err != nil {
			t.Errorf("%s: lookup: %v", name, err)
		}
	}
	// A log that was imported may hold one.
	long := certified(t, s, uri(tlog.MaxKeyValue+1))
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%064x"}},"signature":{"content":"eA==","publicKey":{"content":%q}}}}`, 1, b64([]byte(long.pem)))
	info, err := p.Committed([]byte(body))
	if err != nil || len(info.Keys) != 2 {
		t.Errorf("committed: %+v, %v", info, err)
	}
	_, err = p.Propose([]byte(body))
	wantError(t, err, Invalid, 400)
}
