package trust_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/trust"
	"github.com/tallystick/tallystick/verify"
)

// logKey is a public key, and logRoot the trusted root of its log alone.
const logKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnwRE7xCYDwRlDY7mdQGFYpqOG0v/
wn5YgV4nV+0CLMof+MzNkbsZuTYULg7KlHL2Qahvq7WcEBI5thtJEodnXQ==
-----END PUBLIC KEY-----
`

const logRoot = `{
  "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
  "tlogs": [
    {
      "baseUrl": "https://log.example.test",
      "hashAlgorithm": "SHA2_256",
      "publicKey": {
        "rawBytes": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnwRE7xCYDwRlDY7mdQGFYpqOG0v/wn5YgV4nV+0CLMof+MzNkbsZuTYULg7KlHL2Qahvq7WcEBI5thtJEodnXQ==",
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "validFor": {
          "start": "2025-01-01T00:00:00Z"
        }
      },
      "logId": {
        "keyId": "+ZC1sJHswQoFrvm4EfPv9S8UbNKpwGDjJwSdvb+GxK4="
      }
    }
  ],
  "certificateAuthorities": [],
  "ctlogs": [],
  "timestampAuthorities": []
}
`

var start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestRootIsAsWritten(t *testing.T) {
	m := verify.Material{Logs: []verify.Log{must[verify.Log](t)(trust.Log([]byte(logKey), "https://log.example.test", start))}}
	if got := must[[]byte](t)(trust.Root(m)); string(got) != logRoot {
		t.Errorf("got\n%s\nwant\n%s", got, logRoot)
	}
	m.Logs[0].Valid.Start = time.Time{}
	if got := string(must[[]byte](t)(trust.Root(m))); got != strings.Replace(logRoot, "2025-", "1970-", 1) {
		t.Errorf("an open start gives\n%s", got)
	}
}

// What a root is made of is read back from it, by the one reader that matters here.
func TestRootRoundTrip(t *testing.T) {
	m := material(t)
	first := must[[]byte](t)(trust.Root(m))
	read := must[*verify.Trust](t)(verify.ParseTrustedRoot(first))
	if want := must[*verify.Trust](t)(verify.NewTrust(m)); read.Digest() != want.Digest() {
		t.Errorf("%s\nis not the material that it was made of", first)
	}
	if again := must[[]byte](t)(trust.Root(read.Material())); string(again) != string(first) {
		t.Errorf("written again:\n%s\nfirst:\n%s", again, first)
	}
}

func TestRootRefuses(t *testing.T) {
	l := must[verify.Log](t)(trust.Log([]byte(logKey), "", start))
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2560))
	for name, m := range map[string]verify.Material{
		"one log twice":     {Logs: []verify.Log{l, l}},
		"a log without key": {Logs: []verify.Log{{BaseURL: "https://log.example.test"}}},
		"an odd RSA key":    {CTLogs: []verify.Log{must[verify.Log](t)(trust.Log(publicPEM(t, small.Public()), "", start))}},
		"no chain":          {CertificateAuthorities: []verify.Authority{{}}},
	} {
		if out, err := trust.Root(m); err == nil {
			t.Errorf("%s: accepted: %s", name, out)
		}
	}
}

// Chains and keys that are something else than they should be are not taken.
func TestReading(t *testing.T) {
	ca, tsa := newChain(t, true), newChain(t, false)
	for name, read := range map[string]func() error{
		"a key as CA": func() error { _, err := trust.CertificateAuthority([]byte(logKey), ""); return err },
		"a TSA as CA": func() error { _, err := trust.CertificateAuthority(tsa.pem, ""); return err },
		"a CA as TSA": func() error { _, err := trust.TimestampAuthority(ca.pem, ""); return err },
		"a TSA alone": func() error { _, err := trust.TimestampAuthority(tsa.first(), ""); return err },
		"two chains": func() error {
			_, err := trust.CertificateAuthority(append(ca.pem, newChain(t, true).pem...), "")
			return err
		},
		"backwards": func() error { _, err := trust.CertificateAuthority(ca.backwards(), ""); return err },
		"nothing":   func() error { _, err := trust.CertificateAuthority(nil, ""); return err },
		"a certificate as log": func() error {
			_, err := trust.Log(ca.pem, "", start)
			return err
		},
	} {
		if read() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	a := must[verify.Authority](t)(trust.CertificateAuthority(ca.pem, "https://ca.example.test"))
	if got, want := a.Valid, (verify.Window{Start: ca.certs[0].NotBefore}); got != want {
		t.Errorf("window %v, not %v: from when the whole chain was valid", got, want)
	}
}

func TestSigningConfig(t *testing.T) {
	s := trust.Services{Log: "https://log.example.test", Operator: "example", Start: start}
	const alone = `{
  "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
  "rekorTlogUrls": [
    {
      "url": "https://log.example.test",
      "majorApiVersion": 1,
      "validFor": {
        "start": "2025-01-01T00:00:00Z"
      },
      "operator": "example"
    }
  ],
  "rekorTlogConfig": {
    "selector": "ANY"
  }
}
`
	if got := must[[]byte](t)(trust.SigningConfig(s)); string(got) != alone {
		t.Errorf("got\n%s\nwant\n%s", got, alone)
	}
	s.Fulcio, s.OIDC, s.TSA = "https://ca.example.test", "https://oidc.example.test/auth", "https://tsa.example.test/api/v1/timestamp"
	var all map[string]json.RawMessage
	if err := json.Unmarshal(must[[]byte](t)(trust.SigningConfig(s)), &all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"caUrls": s.Fulcio, "oidcUrls": s.OIDC, "rekorTlogUrls": s.Log, "tsaUrls": s.TSA} {
		var list []struct {
			URL             string
			MajorAPIVersion int
			ValidFor        struct{ Start time.Time }
			Operator        string
		}
		if err := json.Unmarshal(all[name], &list); err != nil || len(list) != 1 {
			t.Fatalf("%s: %s (%v)", name, all[name], err)
		}
		if e := list[0]; e.URL != want || e.MajorAPIVersion != 1 || !e.ValidFor.Start.Equal(start) || e.Operator != "example" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if string(all["tsaConfig"]) == "" {
		t.Error("there is a timestamp authority, but no tsaConfig")
	}
	for name, bad := range map[string]trust.Services{
		"no log":      {Operator: "example"},
		"no operator": {Log: "https://log.example.test"},
		"no URL":      {Log: "log.example.test", Operator: "example"},
		"a password":  {Log: "https://log.example.test", Fulcio: "https://a:b@ca.example.test", Operator: "example"},
	} {
		if out, err := trust.SigningConfig(bad); err == nil {
			t.Errorf("%s: accepted: %s", name, out)
		}
	}
}

// FuzzChain: whatever is taken for a chain makes a trusted root that reads back.
func FuzzChain(f *testing.F) {
	f.Add(newChain(f, true).pem)
	f.Add(newChain(f, false).pem)
	f.Add([]byte(logKey))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m verify.Material
		if a, err := trust.CertificateAuthority(data, "https://ca.example.test"); err == nil {
			m.CertificateAuthorities = append(m.CertificateAuthorities, a)
		}
		if a, err := trust.TimestampAuthority(data, ""); err == nil {
			m.TimestampAuthorities = append(m.TimestampAuthorities, a)
		}
		if l, err := trust.Log(data, "", start); err == nil {
			m.Logs = append(m.Logs, l)
		}
		root, err := trust.Root(m)
		if err != nil {
			return
		}
		read, err := verify.ParseTrustedRoot(root)
		if err != nil {
			t.Fatalf("%v: %s", err, root)
		}
		if again, err := trust.Root(read.Material()); err != nil || string(again) != string(root) {
			t.Fatalf("%v: %s, not %s", err, again, root)
		}
	})
}

// material is some of everything, with and without ends.
func material(t testing.TB) verify.Material {
	t.Helper()
	ecdsaLog := must[verify.Log](t)(trust.Log([]byte(logKey), "https://log.example.test", start))
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v2 := must[verify.Log](t)(trust.Log(publicPEM(t, edPublic), "https://log.example.test", start.Add(time.Hour+time.Nanosecond)))
	v2.ID = []byte(strings.Repeat("i", 32))
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	old := must[verify.Log](t)(trust.Log(publicPEM(t, p384.Public()), "https://old.example.test", start))
	old.Valid.End = start.Add(24 * time.Hour)
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	return verify.Material{
		Logs:   []verify.Log{old, ecdsaLog, v2},
		CTLogs: []verify.Log{must[verify.Log](t)(trust.Log(publicPEM(t, rsaKey.Public()), "https://ct.example.test/a&b", start))},
		CertificateAuthorities: []verify.Authority{
			must[verify.Authority](t)(trust.CertificateAuthority(newChain(t, true).pem, "https://ca.example.test")),
			must[verify.Authority](t)(trust.CertificateAuthority(newChain(t, true).pem, "https://ca2.example.test")),
		},
		TimestampAuthorities: []verify.Authority{
			must[verify.Authority](t)(trust.TimestampAuthority(newChain(t, false).pem, "https://tsa.example.test/api/v1/timestamp")),
		},
	}
}

// plain is material of a log with everything that belongs to it, all valid without end.
func plain(t testing.TB) verify.Material {
	t.Helper()
	ct := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m := material(t)
	m.Logs = m.Logs[1:2]
	m.CTLogs[0] = must[verify.Log](t)(trust.Log(publicPEM(t, ct.Public()), "https://ct.example.test", start))
	return m
}

func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must[[]byte](t)(x509.MarshalPKIXPublicKey(key))})
}

// chain is a chain of two: one that a root issued, a CA or not, and the root.
type chain struct {
	certs []*x509.Certificate
	pem   []byte
}

func newChain(t testing.TB, ca bool) chain {
	t.Helper()
	rootKey := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root", Organization: []string{"Example: Ltd"}},
		NotBefore: start, NotAfter: start.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	second := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "second"},
		NotBefore: start.AddDate(0, 1, 0), NotAfter: start.AddDate(9, 0, 0), IsCA: ca, BasicConstraintsValid: true,
	}
	if ca {
		second.KeyUsage = x509.KeyUsageCertSign
	} else {
		second.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	}
	var c chain
	for _, der := range [][]byte{
		must[[]byte](t)(x509.CreateCertificate(rand.Reader, second, root, key.Public(), rootKey)),
		must[[]byte](t)(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)),
	} {
		c.certs = append(c.certs, must[*x509.Certificate](t)(x509.ParseCertificate(der)))
		c.pem = append(c.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return c
}

func (c chain) first() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certs[0].Raw})
}

func (c chain) backwards() []byte {
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certs[1].Raw}), c.first()...)
}
