package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// signedAt is when all certificates are valid that a test makes, unless it says otherwise.
var signedAt = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// testCA is a certificate authority.
type testCA struct {
	t     testing.TB
	chain []*x509.Certificate // the intermediate that issues, and the root
	keys  []crypto.Signer
}

// newTestCA makes one. change, if not nil, changes what will be its certificate i.
func newTestCA(t testing.TB, change func(i int, c *x509.Certificate)) *testCA {
	t.Helper()
	ca := &testCA{t, make([]*x509.Certificate, 2), []crypto.Signer{newTestKey(t), newTestKey(t)}}
	for i := 1; i >= 0; i-- {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: []string{"intermediate", "root"}[i]},
			NotBefore: signedAt.AddDate(-1, 0, 0), NotAfter: signedAt.AddDate(1, 0, 0),
			BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if change != nil {
			change(i, c)
		}
		parent := c
		if i == 0 {
			parent = ca.chain[1]
		}
		ca.chain[i] = issueCertificate(t, c, parent, ca.keys[i].Public(), ca.keys[1])
	}
	return ca
}

// issue makes a certificate for a signer.
func (ca *testCA) issue(change func(*x509.Certificate)) *x509.Certificate {
	ca.t.Helper()
	return ca.issueTo(newTestKey(ca.t).Public(), change)
}

func (ca *testCA) issueTo(key crypto.PublicKey, change func(*x509.Certificate)) *x509.Certificate {
	ca.t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: signedAt.Add(-time.Minute), NotAfter: signedAt.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{"dev@example.com"},
	}
	if change != nil {
		change(c)
	}
	return issueCertificate(ca.t, c, ca.chain[0], key, ca.keys[0])
}

func issueCertificate(t testing.TB, c, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func newTestKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// weakKey is an RSA key of which nobody has the other half.
func weakKey(bits, exponent int) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), bits-1, 1), E: exponent}
}

func trustAuthorities(t testing.TB, chains ...[]*x509.Certificate) *Trust {
	t.Helper()
	var m Material
	for _, chain := range chains {
		m.CertificateAuthorities = append(m.CertificateAuthorities, Authority{Chain: chain})
	}
	return mustTrust(t, m)
}

func mustTrust(t testing.TB, m Material) *Trust {
	t.Helper()
	trust, err := NewTrust(m)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func asn1DER(t testing.TB, v any, params string) []byte {
	t.Helper()
	der, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// fulcioNamed gives a certificate a name of Fulcio's own kind and, as Fulcio does, calls it critical.
func fulcioNamed(t testing.TB, c *x509.Certificate, name string) {
	t.Helper()
	c.EmailAddresses = nil
	c.ExtraExtensions = append(c.ExtraExtensions, sanExtension(t, otherName(t, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 7}, name)))
}

func otherName(t testing.TB, id asn1.ObjectIdentifier, name string) asn1.RawValue {
	t.Helper()
	return asn1.RawValue{FullBytes: asn1DER(t, struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"utf8,explicit,tag:0"`
	}{id, name}, "tag:0")}
}

func sanExtension(t testing.TB, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: asn1DER(t, names, "")}
}

// checkRefusal reports whether an error is of a class, and says what it should.
func checkRefusal(t *testing.T, name string, err, class error, reason string) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) || !errors.Is(err, class) || !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %v; want %v, %q", name, err, class, reason)
	}
}

func TestCheckChain(t *testing.T) {
	ca := newTestCA(t, nil)
	changed := func(which int, change func(*x509.Certificate)) *testCA {
		return newTestCA(t, func(i int, c *x509.Certificate) {
			if i == which {
				change(c)
			}
		})
	}
	valid := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = signedAt.Add(from), signedAt.Add(to) }
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	for name, c := range map[string]struct {
		ca     *testCA // nil for ca
		leaf   func(*x509.Certificate)
		key    crypto.PublicKey // nil for one of P-256
		times  []time.Time      // nil for signedAt
		class  error            // nil if the chain holds
		reason string
	}{
		"good":            {},
		"RSA":             {key: rsaKey.Public()},
		"Ed25519":         {key: edKey.Public()},
		"Fulcio's name":   {leaf: func(c *x509.Certificate) { fulcioNamed(t, c, "me!example.com") }},
		"any usage":       {leaf: func(c *x509.Certificate) { c.KeyUsage = 0 }},
		"two times":       {times: []time.Time{signedAt, signedAt.Add(time.Minute)}},
		"first and last":  {leaf: valid(0, time.Hour), times: []time.Time{signedAt, signedAt.Add(time.Hour)}},
		"no time":         {times: []time.Time{}, class: ErrInternal},
		"time not said":   {times: []time.Time{signedAt, {}}, class: ErrInternal},
		"before it":       {leaf: valid(time.Second, time.Hour), class: ErrExpired, reason: "it was valid from 2024-05-06T07:08:10Z to 2024-05-06T08:08:09Z, and so not at 2024-05-06T07:08:09Z"},
		"after it":        {leaf: valid(-time.Hour, -time.Second), class: ErrExpired},
		"after it, later": {times: []time.Time{signedAt, signedAt.Add(11 * time.Minute)}, class: ErrExpired},

		// CVE-2026-24122: authorities that had expired when they issued, or when the signature was made.
		"intermediate expired":        {ca: changed(0, valid(-time.Hour, -time.Second)), class: ErrExpired, reason: `issuer's, "CN=intermediate"`},
		"intermediate expired before": {ca: changed(0, valid(-9*time.Hour, -time.Hour)), class: ErrExpired, reason: `issuer's, "CN=intermediate"`},
		"intermediate not yet valid":  {ca: changed(0, valid(time.Second, time.Hour)), class: ErrExpired, reason: `issuer's, "CN=intermediate"`},
		"root expired":                {ca: changed(1, valid(-time.Hour, -time.Second)), class: ErrExpired, reason: `issuer's, "CN=root"`},
		"root expired between":        {ca: changed(1, valid(-time.Hour, time.Minute)), times: []time.Time{signedAt, signedAt.Add(2 * time.Minute)}, class: ErrExpired},
		"expired, and of other use": {ca: changed(1, valid(-time.Hour, -time.Second)), leaf: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
			class: ErrUntrustedCertificate},

		"an authority": {leaf: func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }, class: ErrUntrustedCertificate, reason: "an authority's"},
		"no use":       {leaf: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, class: ErrUntrustedCertificate, reason: "not code signing"},
		"any use":      {leaf: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, class: ErrUntrustedCertificate, reason: "not code signing"},
		"other usage":  {leaf: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, class: ErrUntrustedCertificate, reason: "not digital signature"},
		"critical":     {leaf: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }, class: ErrUntrustedCertificate, reason: "unhandled critical extension"},
		"critical, and Fulcio's name": {leaf: func(c *x509.Certificate) {
			fulcioNamed(t, c, "me!example.com")
			c.ExtraExtensions = append(c.ExtraExtensions, critical)
		}, class: ErrUntrustedCertificate, reason: "unhandled critical extension"},
		"large": {leaf: func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, MaxCertificate)}}
		}, class: ErrUntrustedCertificate, reason: "more than 65536"},
		"RSA-2047":      {key: weakKey(2047, 65537), class: ErrUntrustedCertificate, reason: "2047 bits"},
		"RSA-8193":      {key: weakKey(8193, 65537), class: ErrUntrustedCertificate, reason: "8193 bits"},
		"huge exponent": {key: weakKey(2048, 1<<31+1), class: ErrUntrustedCertificate, reason: "exponent"},
		"no name":       {leaf: func(c *x509.Certificate) { c.EmailAddresses = nil }, class: ErrIdentity},
		"many names":    {leaf: func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{"a.example"}, 1000) }, class: ErrIdentity},

		"intermediate for servers": {ca: changed(0, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), class: ErrUntrustedCertificate, reason: "incompatible key usage"},
		"intermediate for code":    {ca: changed(0, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })},
		"name constraint":          {ca: changed(0, func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"example.org"} }), class: ErrUntrustedCertificate, reason: "not authorized to sign for this name"},
		"path length":              {ca: changed(1, func(c *x509.Certificate) { c.MaxPathLenZero = true }), class: ErrUntrustedCertificate, reason: "too many intermediates"},
	} {
		if c.ca == nil {
			c.ca = ca
		}
		if c.key == nil {
			c.key = newTestKey(t).Public()
		}
		if c.times == nil {
			c.times = []time.Time{signedAt}
		}
		leaf := c.ca.issueTo(c.key, c.leaf)
		unhandled := len(leaf.UnhandledCriticalExtensions)
		path, err := trustAuthorities(t, c.ca.chain).checkChain(leaf, c.times)
		if c.class != nil {
			checkRefusal(t, name, err, c.class, c.reason)
		} else if err != nil || len(path) != 3 || path[0] != leaf || !path[1].Equal(c.ca.chain[0]) || !path[2].Equal(c.ca.chain[1]) {
			t.Errorf("%s: %d certificates, %v", name, len(path), err)
		}
		if err != nil && path != nil || len(leaf.UnhandledCriticalExtensions) != unhandled || leaf.NotAfter.Year() > 2100 {
			t.Errorf("%s: a refused path, or the certificate was changed", name)
		}
	}
}

func TestCheckChainAuthorities(t *testing.T) {
	ca, other, now := newTestCA(t, nil), newTestCA(t, nil), []time.Time{signedAt}
	leaf := ca.issue(nil)
	window := func(from, to time.Duration) Window { return Window{signedAt.Add(from), signedAt.Add(to)} }
	past, present := window(-time.Hour, -time.Second), window(0, 0)
	of := func(all ...Authority) *Trust { return mustTrust(t, Material{CertificateAuthorities: all}) }

	for name, c := range map[string]struct {
		trust  *Trust
		class  error
		reason string
	}{
		"none":              {of(), ErrUntrustedCertificate, "none of 0"},
		"of the same name":  {of(Authority{Chain: other.chain}), ErrUntrustedCertificate, "none of 1"},
		"only the root":     {of(Authority{Chain: ca.chain[1:]}), ErrUntrustedCertificate, "none of 1"}, // intermediates are the trust's, not the signer's
		"intermediate only": {of(Authority{Chain: ca.chain[:1]}), nil, ""},
		"its window":        {of(Authority{Chain: ca.chain, Valid: present}), nil, ""},
		"its window passed": {of(Authority{URI: "https://ca.example", Chain: ca.chain, Valid: past}), ErrExpired, `authority "https://ca.example" was not valid`},
		"two windows":       {of(Authority{Chain: ca.chain, Valid: past}, Authority{Chain: ca.chain, Valid: present}), nil, ""},
		"another passed":    {of(Authority{Chain: other.chain, Valid: past}), ErrUntrustedCertificate, "none of 1"},
		"passed and others": {of(Authority{Chain: other.chain}, Authority{Chain: ca.chain, Valid: past}, Authority{Chain: other.chain}), ErrExpired, ""},
		"the second":        {of(Authority{Chain: other.chain}, Authority{Chain: ca.chain}), nil, ""},
	} {
		path, err := c.trust.checkChain(leaf, now)
		if c.class != nil {
			checkRefusal(t, name, err, c.class, c.reason)
		} else if err != nil || len(path) < 2 || !path[1].Equal(ca.chain[0]) {
			t.Errorf("%s: %d certificates, %v", name, len(path), err)
		}
	}

	// A certificate is not its own authority, and a trusted authority is no signer.
	key := newTestKey(t)
	self := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Subject: pkix.Name{CommonName: "self"},
		KeyUsage: leaf.KeyUsage, ExtKeyUsage: leaf.ExtKeyUsage, EmailAddresses: leaf.EmailAddresses}
	alone := issueCertificate(t, self, self, key.Public(), key)
	_, err := trustAuthorities(t, []*x509.Certificate{alone}).checkChain(alone, now)
	checkRefusal(t, "trusted itself", err, ErrUntrustedCertificate, "")
	_, err = trustAuthorities(t, ca.chain).checkChain(alone, now)
	checkRefusal(t, "self-signed", err, ErrUntrustedCertificate, "none of 1")

	weak := *self
	weak.IsCA, weak.BasicConstraintsValid = true, true
	for name, key := range map[string]*rsa.PublicKey{"RSA key of 1024 bits": weakKey(1024, 65537), "exponent": weakKey(2048, 1<<31+1)} {
		c := issueCertificate(t, &weak, &weak, key, newTestKey(t))
		_, err = NewTrust(Material{CertificateAuthorities: []Authority{{Chain: []*x509.Certificate{c}}}})
		checkRefusal(t, name, err, ErrMalformed, name)
	}
}

func TestSignerNames(t *testing.T) {
	ca := newTestCA(t, nil)
	u, err := url.Parse("https://github.com/Org/repo/.github/workflows/a.yml@refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	fulcio := func(n int, value []byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: value}
	}
	utf8 := func(s string) []byte { return asn1DER(t, s, "utf8") }
	issuers := func(all ...pkix.Extension) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtraExtensions = all }
	}
	names := func(all ...asn1.RawValue) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.EmailAddresses, c.ExtraExtensions = nil, []pkix.Extension{sanExtension(t, all...)}
		}
	}
	general := func(tag int, value string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
	}
	mail, user := general(1, "dev@example.com"), otherName(t, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 7}, "me!example.com")
	foreign := otherName(t, asn1.ObjectIdentifier{1, 2, 3}, "me!example.com")
	directory := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 0}}

	for name, c := range map[string]struct {
		change          func(*x509.Certificate)
		issuer, subject string // both "" if it is refused
	}{
		"e-mail":                {nil, "", "dev@example.com"},
		"URI":                   {func(c *x509.Certificate) { c.EmailAddresses, c.URIs = nil, []*url.URL{u} }, "", u.String()},
		"DNS":                   {func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = nil, []string{"a.example"} }, "", "a.example"},
		"IP":                    {func(c *x509.Certificate) { c.EmailAddresses, c.IPAddresses = nil, []net.IP{net.IPv4(192, 0, 2, 1)} }, "", "192.0.2.1"},
		"Fulcio's":              {names(user), "", "me!example.com"},
		"none":                  {func(c *x509.Certificate) { c.EmailAddresses = nil }, "", ""},
		"empty list":            {names(), "", ""},
		"empty name":            {names(general(1, "")), "", ""},
		"two of a kind":         {func(c *x509.Certificate) { c.EmailAddresses = []string{"dev@example.com", "dev@example.org"} }, "", ""},
		"twice the same":        {func(c *x509.Certificate) { c.EmailAddresses = []string{"dev@example.com", "dev@example.com"} }, "", ""},
		"two kinds":             {func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} }, "", ""},
		"mail and user":         {names(mail, user), "", ""},
		"user and mail":         {names(user, mail), "", ""},
		"two users":             {names(user, user), "", ""},
		"a foreign one":         {names(foreign), "", ""},
		"mail, foreign":         {names(mail, foreign), "", ""},
		"a directory":           {names(directory), "", ""},
		"mail, and a directory": {names(mail, directory), "", ""},
		"a line break":          {names(general(1, "dev@example.com\nroot@example.com")), "", ""},
		"a zero":                {names(general(1, "dev@example.com\x00.example.org")), "", ""},

		"issuer":           {issuers(fulcio(1, []byte("https://one.example"))), "https://one.example", "dev@example.com"},
		"issuer in DER":    {issuers(fulcio(8, utf8("https://one.example"))), "https://one.example", "dev@example.com"},
		"issuer in both":   {issuers(fulcio(8, utf8("https://one.example")), fulcio(1, []byte("https://one.example"))), "https://one.example", "dev@example.com"},
		"two issuers":      {issuers(fulcio(1, []byte("https://one.example")), fulcio(8, utf8("https://two.example"))), "", ""},
		"empty issuer":     {issuers(fulcio(1, nil)), "", ""},
		"issuer, no DER":   {issuers(fulcio(1, []byte("https://one.example")), fulcio(8, []byte("https://one.example"))), "", ""},
		"issuer, no UTF-8": {issuers(fulcio(1, []byte("https://one.example\xff"))), "", ""},
		"issuer, no text":  {issuers(fulcio(8, utf8("https://one.example\n"))), "", ""},
	} {
		leaf := ca.issue(c.change)
		issuer, subject, err := signerNames(leaf)
		if issuer != c.issuer || subject != c.subject {
			t.Errorf("%s: %q, %q, %v", name, issuer, subject, err)
		}
		if c.subject == "" {
			checkRefusal(t, name, err, ErrIdentity, "")
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExtension(t *testing.T) {
	fulcio := func(n int, value []byte) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: value}
	}
	leaf := newTestCA(t, nil).issue(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{
			fulcio(1, []byte("bare")), fulcio(6, []byte("refs/heads/main")), fulcio(2, []byte("\xff")), fulcio(3, nil),
			fulcio(9, asn1DER(t, "ü", "utf8")), fulcio(10, asn1DER(t, "a", "ia5")), fulcio(11, append(asn1DER(t, "a", "utf8"), 0)), fulcio(12, []byte("bare")),
			fulcio(13, asn1DER(t, "", "utf8")), fulcio(22, asn1DER(t, "public", "utf8")), {Id: asn1.ObjectIdentifier{1, 2, 3}, Value: asn1DER(t, "a", "utf8")},
		}
	})
	for oid, want := range map[string]string{"1": "bare", "6": "refs/heads/main", "3": "", "9": "ü", "13": "", "22": "public"} {
		if got, ok := extension(leaf, "1.3.6.1.4.1.57264.1."+oid); got != want || !ok {
			t.Errorf("%s: %q, %t", oid, got, ok)
		}
	}
	for _, oid := range []string{"1.3.6.1.4.1.57264.1.2", "1.3.6.1.4.1.57264.1.4", "1.3.6.1.4.1.57264.1.10", "1.3.6.1.4.1.57264.1.11", "1.3.6.1.4.1.57264.1.12", "1.3.6.1.4.1.57264.1.", "1.2.3", "2.5.29.17", ""} {
		if got, ok := extension(leaf, oid); got != "" || ok {
			t.Errorf("%s: %q, %t", oid, got, ok)
		}
	}
}

// publicCertificate returns the signer's certificate of a bundle that Sigstore's services made.
func publicCertificate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	var bundle struct {
		VerificationMaterial struct {
			Certificate          struct{ RawBytes []byte }
			X509CertificateChain struct {
				Certificates []struct{ RawBytes []byte }
			}
		}
	}
	if err := json.Unmarshal(publicFile(t, name), &bundle); err != nil {
		t.Fatal(err)
	}
	der := bundle.VerificationMaterial.Certificate.RawBytes
	if der == nil {
		der = bundle.VerificationMaterial.X509CertificateChain.Certificates[0].RawBytes
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func publicFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "public-good", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func publicTrust(t testing.TB, name string) *Trust {
	t.Helper()
	trust, err := ParseTrustedRoot(publicFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// TestPublicCertificates: certificates of Sigstore's services, with all that they prove.
func TestPublicCertificates(t *testing.T) {
	public, test := publicTrust(t, "trusted_root.json"), publicTrust(t, "othername-trusted_root.json")
	const workflow = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
	for name, c := range map[string]struct {
		trust, other    *Trust
		path            int
		issuer, subject string
	}{
		"dsse.json":          {public, test, 3, "https://github.com/login/oauth", "brian@dehamer.com"},
		"provenance.json":    {public, test, 3, "https://token.actions.githubusercontent.com", workflow},
		"provenance-v2.json": {public, test, 3, "https://token.actions.githubusercontent.com", workflow},
		"othername.json":     {test, public, 2, "http://oidc.local:8080", "foo!oidc.local"},
	} {
		leaf := publicCertificate(t, name)
		path, err := c.trust.checkChain(leaf, []time.Time{leaf.NotBefore, leaf.NotAfter})
		if err != nil || len(path) != c.path {
			t.Errorf("%s: a path of %d, %v", name, len(path), err)
			continue
		}
		if logs, err := c.trust.checkSCTs(leaf, path[1], 1); err != nil || len(logs) != 1 {
			t.Errorf("%s: SCTs of %d logs, %v", name, len(logs), err)
		}
		if issuer, subject, err := signerNames(leaf); issuer != c.issuer || subject != c.subject || err != nil {
			t.Errorf("%s: %q, %q, %v", name, issuer, subject, err)
		}
		_, err = c.trust.checkChain(leaf, []time.Time{leaf.NotAfter.Add(1)})
		checkRefusal(t, name, err, ErrExpired, "")
		_, err = c.other.checkChain(leaf, []time.Time{leaf.NotBefore})
		checkRefusal(t, name, err, ErrUntrustedCertificate, "")
		_, err = c.other.checkSCTs(leaf, path[1], 1)
		checkRefusal(t, name, err, ErrUntrustedCertificate, "demands those of 1 trusted CT logs, and the certificate has them of 0")
		_, err = c.trust.checkSCTs(leaf, path[1], 2)
		checkRefusal(t, name, err, ErrUntrustedCertificate, "demands those of 2 trusted CT logs, and the certificate has them of 1")
		_, err = c.trust.checkSCTs(leaf, path[0], 0)
		checkRefusal(t, name, err, ErrUntrustedCertificate, "does not verify")
	}
}

// FuzzCertificate: nothing here panics on what crypto/x509 reads, and what has no SCTs stays as it is.
func FuzzCertificate(f *testing.F) {
	for _, name := range []string{"dsse.json", "provenance.json", "othername.json"} {
		f.Add(publicCertificate(f, name).Raw)
	}
	ca := newTestCA(f, nil)
	f.Add(ca.issue(nil).Raw)
	f.Add(ca.issue(func(c *x509.Certificate) { c.EmailAddresses = nil; c.ExtKeyUsage = nil; c.KeyUsage = 0 }).Raw)
	trust, test := publicTrust(f, "trusted_root.json"), publicTrust(f, "othername-trusted_root.json")
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if _, subject, err := signerNames(c); (err == nil) != (subject != "") {
			t.Errorf("name %q, %v", subject, err)
		}
		for _, e := range c.Extensions {
			extension(c, e.Id.String())
		}
		for _, trust := range []*Trust{trust, test} {
			path, err := trust.checkChain(c, []time.Time{c.NotBefore})
			if (err == nil) != (len(path) >= 2) {
				t.Errorf("a path of %d, %v", len(path), err)
			}
			if err == nil {
				if _, err := trust.checkSCTs(c, path[1], 1); err != nil {
					t.Errorf("issued without SCTs: %v", err)
				}
			}
			_, _ = trust.checkSCTs(c, c, 1)
		}
		tbs, err := withoutSCTs(c.RawTBSCertificate)
		if _, ok := extensionBytes(c, oidSCTs); !ok && err == nil && string(tbs) != string(c.RawTBSCertificate) {
			t.Errorf("%x became %x", c.RawTBSCertificate, tbs)
		}
	})
}
