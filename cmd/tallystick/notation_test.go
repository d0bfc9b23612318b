package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sig"
)

// notationEnvelope is an envelope of Notation's, made here: as Notation makes it (the tests under e2e have real ones), but for
// what a test changes before it is put together.
type notationEnvelope struct {
	algorithm string
	key       crypto.Signer
	hash      crypto.Hash
	protected map[string]any
	leaf      []byte // DER
}

func newNotationEnvelope(check func(error), algorithm string, key crypto.Signer, hash crypto.Hash) *notationEnvelope {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	return &notationEnvelope{algorithm, key, hash, map[string]any{"alg": algorithm, "cty": "application/vnd.cncf.notary.payload.v1+json",
		"crit": []string{"io.cncf.notary.signingScheme"}, "io.cncf.notary.signingScheme": "notary.x509"}, der}
}

func newECDSAEnvelope(t testing.TB, algorithm string, curve elliptic.Curve, hash crypto.Hash) *notationEnvelope {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newNotationEnvelope(must(t), algorithm, key, hash)
}

// must ends a test at an error.
func must(t testing.TB) func(error) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// jws signs, and returns the members of the envelope.
func (e *notationEnvelope) jws(check func(error)) map[string]any {
	header, err := json.Marshal(e.protected)
	check(err)
	protected := base64.RawURLEncoding.EncodeToString(header)
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"targetArtifact":{"digest":"sha256:00"}}`))
	h := e.hash.New()
	h.Write([]byte(protected + "." + payload))
	var raw []byte
	switch key := e.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
		check(err)
		size := (key.Params().BitSize + 7) / 8
		raw = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case *rsa.PrivateKey:
		raw, err = rsa.SignPSS(rand.Reader, key, e.hash, h.Sum(nil), nil)
		check(err)
	}
	return map[string]any{"payload": payload, "protected": protected, "signature": base64.RawURLEncoding.EncodeToString(raw),
		"header": map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(e.leaf), "AAAA"}, "io.cncf.notary.signingAgent": "test"}}
}

func encodeJWS(t testing.TB, members map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Every algorithm that Notation has for ECDSA keys becomes an entry, in which signature, certificate and digest belong together.
func TestNotation(t *testing.T) {
	for name, a := range notationAlgorithms() {
		e := newECDSAEnvelope(t, name, a.curve, a.hash)
		for range 20 { // r and s with leading zeros and ones
			text := encodeJWS(t, e.jws(must(t)))
			n, err := parseNotation(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			key, err := sig.ParsePEM(n.certificate)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := key.VerifyDigest(a.hash, n.digest.value, n.signature); err != nil || n.digest.algorithm != a.name || len(key.Certificates) != 1 {
				t.Fatalf("%s: %v; digest %s, %d certificates", name, err, n.digest.algorithm, len(key.Certificates))
			}
			parser, err := entry.New(entry.Options{})
			if err != nil {
				t.Fatal(err)
			}
			proposal, err := proposeNotation(text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Propose(proposal); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// An envelope that Notation 1.3.2 made.
func TestNotationReal(t *testing.T) {
	text, err := os.ReadFile("testdata/notation.jws")
	must(t)(err)
	n, err := parseNotation(text)
	must(t)(err)
	key, err := sig.ParsePEM(n.certificate)
	must(t)(err)
	if err := key.VerifyDigest(crypto.SHA256, n.digest.value, n.signature); err != nil || !slices.Equal(key.Identities, []string{"releases@example.com"}) {
		t.Errorf("%v; signed by %q", err, key.Identities)
	}
}

// What cannot be logged, or could be read in two ways, is refused with words that tell why.
func TestNotationRefused(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := newECDSAEnvelope(t, "ES256", elliptic.P256(), crypto.SHA256)
	changed := func(change func(map[string]any)) []byte {
		members := good.jws(must(t))
		change(members)
		return encodeJWS(t, members)
	}
	protected := func(text string) []byte {
		return changed(func(m map[string]any) { m["protected"] = base64.RawURLEncoding.EncodeToString([]byte(text)) })
	}
	header := func(x5c any) []byte {
		return changed(func(m map[string]any) { m["header"] = map[string]any{"x5c": x5c} })
	}
	text := string(encodeJWS(t, good.jws(must(t))))
	rsaEnvelope := encodeJWS(t, newNotationEnvelope(must(t), "PS256", rsaKey, crypto.SHA256).jws(must(t)))
	rsaLeaf := base64.StdEncoding.EncodeToString(newNotationEnvelope(must(t), "PS256", rsaKey, crypto.SHA256).leaf)
	for name, c := range map[string]struct {
		envelope []byte
		want     string
	}{
		"COSE":                {[]byte{0xd2, 0x84, 0x58}, "COSE"},
		"empty":               {nil, "not a Notation signature"},
		"compact":             {[]byte("e30.e30.AAAA"), "not a Notation signature"},
		"RSA":                 {rsaEnvelope, "PSS padding (PS256)"},
		"PKCS #1":             {protected(`{"alg":"RS256"}`), "none of ES256"},
		"no algorithm":        {protected(`{}`), "none of ES256"},
		"none":                {protected(`{"alg":"none"}`), "none of ES256"},
		"algorithm twice":     {protected(`{"alg":"ES256","alg":"ES384"}`), "twice"},
		"more after it":       {protected(`{"alg":"ES256"}{}`), "protected header"},
		"unencoded payload":   {protected(`{"alg":"ES256","b64":false,"crit":["b64"]}`), "b64"},
		"another curve":       {protected(`{"alg":"ES384"}`), "has no key for ES384"},
		"RSA certificate":     {header([]string{rsaLeaf}), "has no key for ES256"},
		"no certificates":     {header([]string{}), "no certificates"},
		"no header":           {changed(func(m map[string]any) { delete(m, "header") }), "no certificates"},
		"certificate":         {header([]string{"AAAA"}), "invalid certificate"},
		"certificate's form":  {header([]string{"_-"}), "x5c"},
		"one certificate":     {header("AAAA"), "x5c"},
		"no payload":          {changed(func(m map[string]any) { delete(m, "payload") }), "missing"},
		"no protected":        {changed(func(m map[string]any) { delete(m, "protected") }), "missing"},
		"no signature":        {changed(func(m map[string]any) { delete(m, "signature") }), "missing"},
		"several":             {changed(func(m map[string]any) { m["signatures"] = []any{} }), "several signatures"},
		"payload twice":       {[]byte(strings.Replace(text, `{`, `{"payload":"e30",`, 1)), "twice"},
		"payload's break":     {changed(func(m map[string]any) { m["payload"] = "e3\n0" }), "line break"},
		"payload's padding":   {changed(func(m map[string]any) { m["payload"] = "e30=" }), "payload"},
		"payload's last bits": {changed(func(m map[string]any) { m["payload"] = "e31" }), "payload"},
		"another alphabet":    {changed(func(m map[string]any) { m["payload"] = "++++" }), "payload"},
		"short signature":     {changed(func(m map[string]any) { m["signature"] = "AAAA" }), "3 bytes, not 64"},
		"more after":          {[]byte(text + "{}"), "not a Notation signature"},
	} {
		n, err := parseNotation(c.envelope)
		if err == nil || !strings.Contains(err.Error(), c.want) || n.signature != nil {
			t.Errorf("%s: %v; want it refused: %s", name, err, c.want)
		}
	}
	// Members that are not known change nothing, here or in the header.
	if _, err := parseNotation(changed(func(m map[string]any) { m["more"] = "x" })); err != nil {
		t.Error(err)
	}
}

// Whatever is in an envelope, it is refused, or of the form that the log takes.
func FuzzNotation(f *testing.F) {
	real, err := os.ReadFile("testdata/notation.jws")
	must(f)(err)
	f.Add(real)
	f.Add([]byte{0xd2, 0x84})
	f.Add([]byte(`{"payload":"e30","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AAAA","header":{"x5c":["AAAA"]}}`))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		n, err := parseNotation(envelope)
		if err != nil {
			return
		}
		key, err := sig.ParsePEM(n.certificate)
		if err != nil || len(n.signature) == 0 || len(n.digest.value) == 0 {
			t.Fatalf("%+v: %v", n, err)
		}
		if _, ok := key.Public.(*ecdsa.PublicKey); !ok {
			t.Fatalf("key %T", key.Public)
		}
	})
}
