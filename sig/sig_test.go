package sig

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

type testKeys struct {
	Keys         map[string]struct{ Private, Public string }
	Certificates map[string]string
}

func readKeys(t testing.TB) testKeys {
	t.Helper()
	data, err := os.ReadFile("testdata/keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var k testKeys
	if err := json.Unmarshal(data, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k testKeys) private(t testing.TB, name string) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode([]byte(k.Keys[name].Private))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(crypto.Signer)
}

func mustParse(t testing.TB, text string) *Key {
	t.Helper()
	k, err := ParsePEM([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParsePEM(t *testing.T) {
	keys := readKeys(t)
	p256, email, root := keys.Keys["ecdsa-p256"].Public, keys.Certificates["email"], keys.Certificates["root"]
	for name, c := range map[string]struct{ in, want string }{
		"key":                    {p256, p256},
		"key, CRLF and space":    {"\r\n  " + strings.ReplaceAll(p256, "\n", "\r\n") + "\t\n", p256},
		"key, text before":       {"a key:\n" + p256, p256},
		"key, header":            {strings.Replace(p256, "-----\n", "-----\nA: b\n\n", 1), p256},
		"certificate":            {email, email},
		"chain":                  {email + "\n" + root, email + root},
		"ten certificates":       {strings.Repeat(email, MaxChain), strings.Repeat(email, MaxChain)},
		"eleven certificates":    {strings.Repeat(email, MaxChain+1), ""},
		"two keys":               {p256 + p256, ""},
		"key after certificate":  {email + p256, ""},
		"certificate after key":  {p256 + email, ""},
		"text after":             {p256 + "x", ""},
		"text after certificate": {email + "x", ""},
		"private key":            {keys.Keys["ecdsa-p256"].Private, ""},
		"nothing":                {"", ""},
		"no PEM":                 {"x", ""},
		"type of old":            {strings.ReplaceAll(p256, "PUBLIC KEY", "EC PUBLIC KEY"), ""},
		"certificate as key":     {strings.ReplaceAll(email, "CERTIFICATE", "PUBLIC KEY"), ""},
		"key as certificate":     {strings.ReplaceAll(p256, "PUBLIC KEY", "CERTIFICATE"), ""},
		"certificate, other":     {strings.ReplaceAll(email, "CERTIFICATE", "TRUSTED CERTIFICATE"), ""},
		"too large":              {p256 + strings.Repeat(" ", MaxPEM), ""},
	} {
		k, err := ParsePEM([]byte(c.in))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
			continue
		}
		if err != nil || string(k.PEM) != c.want || k.PEMHash != sha256.Sum256([]byte(c.want)) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

func TestParseDER(t *testing.T) {
	keys := readKeys(t)
	for _, text := range []string{keys.Keys["rsa-2048"].Public, keys.Certificates["uri"]} {
		block, _ := pem.Decode([]byte(text))
		parse := ParsePublicKey
		if block.Type == typeCertificate {
			parse = ParseCertificate
		}
		k, err := parse(block.Bytes)
		if err != nil || string(k.PEM) != text {
			t.Errorf("%s: %v", block.Type, err)
		}
		if _, err := parse(append(block.Bytes, 0)); err == nil {
			t.Errorf("%s: a byte too many is accepted", block.Type)
		}
	}
}

func TestUnusableKeys(t *testing.T) {
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	large := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), MaxRSABits, 1), E: 65537}
	for _, pub := range []any{x25519.PublicKey(), large} {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParsePublicKey(der); err == nil {
			t.Errorf("%T is accepted", pub)
		}
	}
}

// TestFingerprints has what ssh-keygen and openssl say of the test keys.
func TestFingerprints(t *testing.T) {
	keys := readKeys(t)
	for name, want := range map[string]string{
		"ecdsa-p256": "SHA256:D1Rc2Bnk6KxlVPoG7s5yJtsSHdMGsBWrl8PpVJ651Ic",
		"ecdsa-p384": "SHA256:AC4Dvw6saof3oaTCl4yiswtmk2k+o1MF6TsDruweiH0",
		"ecdsa-p521": "SHA256:CeDJfhEfBOFv3OFxKKPaVTbRgeC3P8f4cv+xW8SVxEI",
		"rsa-2048":   "SHA256:26G+kot6Ij+Oa+I9VSYEXDfczT4+5j+MmqWU1R3xdv0",
		"ed25519":    "SHA256:gNIcDitqCSy+qwumb9cov3816FQNV730Y2Xy8zHmj04",
	} {
		if got := mustParse(t, keys.Keys[name].Public).SSHFingerprint(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	h, err := mustParse(t, keys.Certificates["email"]).SPKIHash()
	block, _ := pem.Decode([]byte(keys.Keys["ecdsa-p256"].Public))
	if err != nil || h != sha256.Sum256(block.Bytes) {
		t.Errorf("SPKI hash %x, %v", h, err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if f := (&Key{Public: p224.Public()}).SSHFingerprint(); f != "" {
		t.Errorf("P-224: %s", f)
	}
}

func TestVerify(t *testing.T) {
	keys := readKeys(t)
	message := []byte("message")
	for _, name := range []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "ed25519"} {
		key, priv := mustParse(t, keys.Keys[name].Public), keys.private(t, name)
		hashes := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
		if name == "ed25519" {
			hashes = hashes[2:]
			pure, err := priv.Sign(rand.Reader, message, crypto.Hash(0))
			if err != nil {
				t.Fatal(err)
			}
			if err := key.VerifyMessage(crypto.SHA256, message, pure); err != nil {
				t.Errorf("pure Ed25519: %v", err)
			}
			if err := key.VerifyMessage(crypto.SHA256, []byte("other"), pure); !errors.Is(err, ErrSignature) {
				t.Errorf("pure Ed25519, other message: %v", err)
			}
			sum := sha256.Sum256(message)
			if err := key.VerifyDigest(crypto.SHA256, sum[:], pure); err == nil {
				t.Error("Ed25519ph over SHA-256 is accepted")
			}
		}
		for _, h := range hashes {
			d := h.New()
			d.Write(message)
			digest := d.Sum(nil)
			signature, err := priv.Sign(rand.Reader, digest, h)
			if err != nil {
				t.Fatal(err)
			}
			if err := key.VerifyDigest(h, digest, signature); err != nil {
				t.Errorf("%s, %s: %v", name, h, err)
			}
			if name != "ed25519" {
				if err := key.VerifyMessage(h, message, signature); err != nil {
					t.Errorf("%s, %s, message: %v", name, h, err)
				}
			}
			digest[0] ^= 1
			if err := key.VerifyDigest(h, digest, signature); !errors.Is(err, ErrSignature) {
				t.Errorf("%s, %s, other digest: %v", name, h, err)
			}
			if err := key.VerifyDigest(h, digest[1:], signature); err == nil {
				t.Errorf("%s, %s: short digest is accepted", name, h)
			}
			if err := key.VerifyDigest(h, digest, nil); err == nil {
				t.Errorf("%s, %s: no signature is accepted", name, h)
			}
		}
	}
	pss, err := rsa.SignPSS(rand.Reader, keys.private(t, "rsa-2048").(*rsa.PrivateKey), crypto.SHA256, make([]byte, 32), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := mustParse(t, keys.Keys["rsa-2048"].Public).VerifyDigest(crypto.SHA256, make([]byte, 32), pss); !errors.Is(err, ErrSignature) {
		t.Errorf("RSA-PSS: %v", err)
	}
}

func TestVerifyChain(t *testing.T) {
	keys := readKeys(t)
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"key": {keys.Keys["ed25519"].Public, true}, "leaf": {keys.Certificates["email"], true},
		"leaf, root": {keys.Certificates["email"] + keys.Certificates["root"], true},
		"root, leaf": {keys.Certificates["root"] + keys.Certificates["email"], false},
		"two leaves": {keys.Certificates["email"] + keys.Certificates["uri"], false},
	} {
		k := mustParse(t, c.text)
		for range 2 { // computed, then remembered
			if err := k.VerifyChain(); (err == nil) != c.ok {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// certificate makes a self-signed certificate with the given names.
func certificate(t *testing.T, template *x509.Certificate) *Key {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Unix(0, 0), time.Unix(1e9, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func marshalASN1(t *testing.T, v any, params string) []byte {
	t.Helper()
	b, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIdentities(t *testing.T) {
	u, err := url.Parse("https://github.com/Org/repo/.github/workflows/a.yml@refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	fulcio := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
	issuer := append(slices.Clone(fulcio), 1)
	issuerDER := append(slices.Clone(fulcio), 8)
	k := certificate(t, &x509.Certificate{
		DNSNames: []string{"a.example"}, EmailAddresses: []string{"A@b.example"}, URIs: []*url.URL{u},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")},
		ExtraExtensions: []pkix.Extension{
			{Id: issuer, Value: []byte("https://one.example")},
			{Id: issuerDER, Value: marshalASN1(t, "https://Two.example", "utf8")},
		},
	})
	want := []string{"a.example", "A@b.example", "192.0.2.1", "2001:db8::1", u.String()}
	if !slices.Equal(k.Identities, want) {
		t.Errorf("identities %q, want %q", k.Identities, want)
	}
	if want := []string{"https://one.example", "https://Two.example"}; !slices.Equal(k.Issuers, want) {
		t.Errorf("issuers %q, want %q", k.Issuers, want)
	}

	user := marshalASN1(t, otherName{append(slices.Clone(fulcio), 7), "User!example.com"}, "tag:0")
	foreign := marshalASN1(t, otherName{asn1.ObjectIdentifier{1, 2, 3}, "foreign"}, "tag:0")
	san := marshalASN1(t, []asn1.RawValue{{FullBytes: foreign}, {FullBytes: user}}, "")
	k = certificate(t, &x509.Certificate{ExtraExtensions: []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san},
		{Id: issuer, Value: []byte("https://one.example")},
		{Id: issuerDER, Value: marshalASN1(t, "https://one.example", "utf8")},
	}})
	if want := []string{"User!example.com"}; !slices.Equal(k.Identities, want) {
		t.Errorf("identities %q, want %q", k.Identities, want)
	}
	if want := []string{"https://one.example"}; !slices.Equal(k.Issuers, want) {
		t.Errorf("issuers %q, want %q", k.Issuers, want)
	}

	k = certificate(t, &x509.Certificate{ExtraExtensions: []pkix.Extension{
		{Id: issuer, Value: []byte("\xff")}, {Id: issuerDER, Value: []byte("no DER")},
	}})
	if k.Identities != nil || k.Issuers != nil {
		t.Errorf("identities %q, issuers %q of unreadable extensions", k.Identities, k.Issuers)
	}
}

func TestCache(t *testing.T) {
	keys := readKeys(t)
	a, b, c := []byte(keys.Keys["ecdsa-p256"].Public), []byte(keys.Keys["ed25519"].Public), []byte(keys.Keys["rsa-2048"].Public)
	cache := NewCache(2)
	get := func(text []byte) *Key {
		t.Helper()
		k, err := cache.ParsePEM(text)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first, second := get(a), get(b)
	if get(a) != first || get(b) != second {
		t.Error("a key was parsed again")
	}
	get(a)
	get(c) // displaces b, the least recently used
	if get(a) != first {
		t.Error("a recently used key was forgotten")
	}
	if get(b) == second {
		t.Error("the least recently used key was kept")
	}
	if n := len(cache.keys); n != 2 || cache.recent.Len() != 2 {
		t.Errorf("%d keys are kept, want 2", n)
	}
	large := append(bytes.Repeat([]byte("\n"), maxCachedPEM), a...)
	if once := get(large); once == get(large) {
		t.Error("a large text is kept")
	}
	if _, err := cache.ParsePEM([]byte("x")); err == nil {
		t.Error("no error")
	}
	if k, err := (*Cache)(nil).ParsePEM(a); err != nil || k == nil {
		t.Errorf("nil cache: %v", err)
	}
}

func TestCacheConcurrent(t *testing.T) {
	keys := readKeys(t)
	cache := NewCache(2)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				for name, k := range keys.Keys {
					got, err := cache.ParsePEM([]byte(k.Public))
					if err != nil || string(got.PEM) != k.Public {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestPAE is the example of the DSSE specification (protocol.md).
func TestPAE(t *testing.T) {
	if got := string(PAE("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("PAE %q", got)
	}
	if got := string(PAE("", nil)); got != "DSSEv1 0  0 " {
		t.Errorf("empty PAE %q", got)
	}
}

func TestParseEnvelope(t *testing.T) {
	e, err := ParseEnvelope([]byte(` {"extra":{"payload":1},"payload":"aGk_","payloadType":"t","signatures":[{"sig":"AA==","keyid":"k","cert":0},{"sig":"_w==\n","keyid":null}]} `), 2)
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Payload) != "hi?" || e.PayloadType != "t" || len(e.Signatures) != 2 {
		t.Errorf("%+v", e)
	}
	if s := e.Signatures; s[0].KeyID != "k" || s[0].Text != "AA==" || !bytes.Equal(s[0].Sig, []byte{0}) || s[1].KeyID != "" || s[1].Text != "_w==\n" || !bytes.Equal(s[1].Sig, []byte{0xff}) {
		t.Errorf("%+v", s)
	}
	const good = `{"payload":"aGk=","payloadType":"t","signatures":[{"sig":"AA=="}]}`
	for name, text := range map[string]string{
		"empty":             ``,
		"array":             `[]`,
		"two":               good + good,
		"cut":               good[:len(good)-1],
		"no payload":        strings.Replace(good, `"payload":"aGk=",`, ``, 1),
		"no type":           strings.Replace(good, `"payloadType":"t",`, ``, 1),
		"no signatures":     strings.Replace(good, `[{"sig":"AA=="}]`, `[]`, 1),
		"null signatures":   strings.Replace(good, `[{"sig":"AA=="}]`, `null`, 1),
		"null signature":    strings.Replace(good, `{"sig":"AA=="}`, `null`, 1),
		"no sig":            strings.Replace(good, `"sig":"AA=="`, ``, 1),
		"three signatures":  strings.Replace(good, `{"sig":"AA=="}`, `{"sig":"AA=="},{"sig":"AA=="},{"sig":"AA=="}`, 1),
		"bad base64":        strings.Replace(good, `AA==`, `A`, 1),
		"bad payload":       strings.Replace(good, `aGk=`, `*`, 1),
		"mixed alphabets":   strings.Replace(good, `aGk=`, `_-+/`, 1),
		"second payload":    strings.Replace(good, `{"payload"`, `{"payload":"","payload"`, 1),
		"payload in case":   strings.Replace(good, `{"payload"`, `{"Payload":"","payload"`, 1),
		"sig in case":       strings.Replace(good, `{"sig"`, `{"SIG":"","sig"`, 1),
		"payload as number": strings.Replace(good, `"aGk="`, `1`, 1),
	} {
		if e, err := ParseEnvelope([]byte(text), 2); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzParsePEM(f *testing.F) {
	keys := readKeys(f)
	for _, k := range keys.Keys {
		f.Add([]byte(k.Public))
	}
	f.Add([]byte(keys.Certificates["email"] + keys.Certificates["root"]))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParsePEM(data)
		if err != nil {
			return
		}
		_ = k.VerifyChain()
		_ = k.SSHFingerprint()
		again, err := ParsePEM(k.PEM)
		if err != nil || !bytes.Equal(again.PEM, k.PEM) || again.PEMHash != k.PEMHash {
			t.Errorf("canonical text reads differently: %v", err)
		}
		if err := k.VerifyMessage(crypto.SHA256, data, []byte("x")); err == nil {
			t.Error("x is a signature")
		}
	})
}

func FuzzParseCertificate(f *testing.F) {
	for _, c := range readKeys(f).Certificates {
		block, _ := pem.Decode([]byte(c))
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := ParseCertificate(der)
		if err != nil {
			return
		}
		if again, err := ParsePEM(k.PEM); err != nil || !slices.Equal(again.Identities, k.Identities) {
			t.Errorf("canonical text reads differently: %v", err)
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	f.Add([]byte(`{"payload":"aGk=","payloadType":"t","signatures":[{"sig":"AA==","keyid":"k"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data, 4)
		if err != nil {
			return
		}
		// What we accept, encoding/json reads the same way.
		var std struct {
			PayloadType string `json:"payloadType"`
			Payload     string `json:"payload"`
			Signatures  []struct {
				KeyID string `json:"keyid"`
				Sig   string `json:"sig"`
			} `json:"signatures"`
		}
		if err := json.Unmarshal(data, &std); err != nil {
			t.Fatal(err)
		}
		payload, err := DecodeBase64([]byte(std.Payload))
		if err != nil || std.PayloadType != e.PayloadType || !bytes.Equal(payload, e.Payload) || len(std.Signatures) != len(e.Signatures) {
			t.Fatalf("%+v, encoding/json: %+v", e, std)
		}
		for i, s := range e.Signatures {
			if std.Signatures[i].KeyID != s.KeyID || std.Signatures[i].Sig != s.Text {
				t.Fatalf("%+v, encoding/json: %+v", e, std)
			}
		}
	})
}
