package verify

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
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
	"golang.org/x/mod/sumdb/note"
)

// The authorities in the real trusted roots are those that are written there.
func TestParseTrustedRoot(t *testing.T) {
	for _, tt := range []struct {
		file                 string
		logs, cas, cts, tsas int
	}{
		{"testdata/public-good/trusted_root.json", 1, 2, 2, 1},
		{"testdata/public-good/scaffolding.json", 1, 1, 1, 0},
		{"testdata/public-good/timestamp-trusted_root.json", 0, 0, 0, 1},
		{"testdata/cosign/trusted_root.json", 1, 1, 0, 1},
	} {
		trust, err := ParseTrustedRoot(readTestFile(t, tt.file))
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		m := trust.Material()
		got := []int{len(m.Logs), len(m.CertificateAuthorities), len(m.CTLogs), len(m.TimestampAuthorities)}
		if want := []int{tt.logs, tt.cas, tt.cts, tt.tsas}; !slices.Equal(got, want) {
			t.Errorf("%s has %v authorities, want %v", tt.file, got, want)
		}
		if len(trust.logs()) != tt.logs {
			t.Errorf("%s: %d logs in the index", tt.file, len(trust.logs()))
		}
		for _, l := range append(m.Logs, m.CTLogs...) {
			if want, _ := l.Key.SPKIHash(); !bytes.Equal(l.ID, want[:]) {
				t.Errorf("%s: log %s has the ID %x, want %x", tt.file, l.BaseURL, l.ID, want)
			}
		}
	}

	trust, err := ParseTrustedRoot(readTestFile(t, "testdata/public-good/trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := trust.Material()
	id, _ := base64.StdEncoding.DecodeString("wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0=")
	l := trust.log(id)
	if l == nil || !reflect.DeepEqual(*l.Log, m.Logs[0]) || l.id != string(id) || l.origin != "rekor.sigstore.dev" || l.v1 == nil || l.v2 == nil || l.BaseURL != "https://rekor.sigstore.dev" {
		t.Errorf("the public-good log is %+v", l)
	}
	if trust.log(m.CTLogs[0].ID) != nil || trust.log(id[:31]) != nil || trust.log(nil) != nil {
		t.Error("an unknown log is known")
	}
	if want := (Window{time.Date(2021, 3, 14, 0, 0, 0, 0, time.UTC), time.Date(2022, 10, 31, 23, 59, 59, 999e6, time.UTC)}); m.CTLogs[0].Valid != want {
		t.Errorf("the first CT log is valid in %v, want %v", m.CTLogs[0].Valid, want)
	}
	if want := (Window{Start: time.Date(2022, 4, 13, 20, 6, 15, 0, time.UTC)}); m.CertificateAuthorities[1].Valid != want {
		t.Errorf("the second certificate authority is valid in %v, want %v", m.CertificateAuthorities[1].Valid, want)
	}
	if c := m.CertificateAuthorities[1].Chain; len(c) != 2 || c[0].Subject.CommonName != "sigstore-intermediate" || c[1].Subject.CommonName != "sigstore" {
		t.Errorf("the second certificate authority has the chain %v", c)
	}
	if a := m.TimestampAuthorities[0]; a.URI != "" || len(a.Chain) != 3 || a.Chain[0].IsCA {
		t.Errorf("the timestamp authority is %+v", a)
	}
}

// Every change to a trusted root that could be taken in two ways, or that takes away what
// is needed, is refused.
func TestParseTrustedRootRefuses(t *testing.T) {
	root := string(readTestFile(t, "testdata/public-good/trusted_root.json"))
	const rekorKey = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw=="
	const rekorID = "wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0="
	for _, tt := range []struct{ name, old, new, reason string }{
		{"not an object", root, `[]`, "not a JSON object"},
		{"nothing", root, ``, "not a JSON object"},
		{"null", root, `null`, "not a JSON object"},
		{"empty", root, `{}`, "mediaType"},
		{"cut off", root, root[:len(root)/2], "unexpected end"},
		{"two values", root, root + "{}", "follows"},
		{"no media type", `"mediaType"`, `"tlogs":[],"mediaTypes"`, `no member "mediaTypes"`},
		{"folded name", `"mediaType"`, `"mediatype"`, `no member "mediatype"`},
		{"snake case", `"certificateAuthorities"`, `"certificate_authorities"`, "no member"},
		{"media type 0.2", "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "application/vnd.dev.sigstore.trustedroot.v0.2+json", "mediaType"},
		{"media type of the newer form", "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "application/vnd.dev.sigstore.trustedroot.v0.1+json", "mediaType"},
		{"media type with a space", "+json;version=0.1", "+json; version=0.1", "mediaType"},
		{"media type twice", `"tlogs"`, `"mediaType":"x","tlogs"`, "given twice"},
		{"logs twice", `"ctlogs"`, `"tlogs"`, "given twice"},
		{"unknown member", `"tlogs"`, `"comment":"","tlogs"`, `no member "comment"`},
		{"logs in an object", `"tlogs": [`, `"tlogs": {"a":[],"b":[`, "tlogs is not an array"},
		{"a log that is null", `"tlogs": [`, `"tlogs": [null,`, "hashAlgorithm"},
		{"a log that is text", `"tlogs": [`, `"tlogs": ["x",`, "not an object"},
		{"unknown member of a log", `"baseUrl"`, `"url":"","baseUrl"`, `no member "url"`},
		{"base URL is a number", `"baseUrl": "https://rekor.sigstore.dev"`, `"baseUrl": 1`, "baseUrl is not a string"},
		{"no hash", `"hashAlgorithm": "SHA2_256",`, ``, "hashAlgorithm"},
		{"hash is null", `"hashAlgorithm": "SHA2_256"`, `"hashAlgorithm":null`, "hashAlgorithm"},
		{"other hash", "SHA2_256", "SHA2_512", "hashAlgorithm"},
		{"hash in lower case", "SHA2_256", "sha2_256", "hashAlgorithm"},
		{"hash by number", `"SHA2_256"`, `1`, "hashAlgorithm is not a string"},
		{"no key", `"publicKey"`, `"operator":"sigstore.dev","checkpointKeyId"`, `no member "rawBytes"`},
		{"empty key", rekorKey, "", "publicKey"},
		{"key in URL alphabet", rekorKey, strings.NewReplacer("+", "-", "/", "_").Replace(rekorKey), "rawBytes is not base64"},
		{"key without padding", rekorKey, strings.TrimRight(rekorKey, "="), "rawBytes is not base64"},
		{"key with a line break", rekorKey, rekorKey[:64] + `\n` + rekorKey[64:], "rawBytes is not base64"},
		{"key with left-over bits", rekorKey, strings.Replace(rekorKey, "tw==", "tx==", 1), "rawBytes is not base64"},
		{"key cut off", rekorKey, rekorKey[:64], "invalid public key"},
		{"key not on its curve", rekorKey, "A" + rekorKey[1:], "invalid public key"},
		{"key and more", rekorKey, strings.TrimRight(rekorKey, "=") + "AA", "invalid public key"},
		{"too long a key", rekorKey, strings.Repeat("AAAA", 2000), "more than"},
		{"unknown member of a key", `"rawBytes"`, `"hint":"","rawBytes"`, `no member "hint"`},
		{"no details", `"keyDetails": "PKIX_ECDSA_P256_SHA_256",`, ``, "keyDetails"},
		{"details of another curve", "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384", "keyDetails is PKIX_ECDSA_P384_SHA_384, but"},
		{"details of another type", "PKIX_ECDSA_P256_SHA_256", "PKIX_ED25519", "but the key"},
		{"unknown details", "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P256_HMAC_SHA_256", "not of the keys"},
		{"details by number", `"PKIX_ECDSA_P256_SHA_256"`, `5`, "keyDetails is not a string"},
		{"old RSA name", "PKIX_ECDSA_P256_SHA_256", "PKCS1_RSA_PKCS1V5", "PKCS1_RSA_PKCS1V5, which it is not"},
		{"no start", `"start": "2021-01-12T11:53:27.000Z"`, `"end": "2021-01-12T11:53:27.000Z"`, "start is missing"},
		{"start is null", `"2021-01-12T11:53:27.000Z"`, `null`, "start is missing"},
		{"no validity", `,
        "validFor": {
          "start": "2021-01-12T11:53:27.000Z"
        }`, ``, "start is missing"},
		{"unknown end of a validity", `"start"`, `"Start"`, `no member "Start"`},
		{"start is a number", `"2021-01-12T11:53:27.000Z"`, `1610452407`, "not a string"},
		{"start without a zone", "11:53:27.000Z", "11:53:27.000", "RFC 3339"},
		{"start with a space", "12T11:53:27", "12 11:53:27", "RFC 3339"},
		{"start with a comma", "11:53:27.000Z", "11:53:27,000Z", "RFC 3339"},
		{"start with a short hour", "12T11:53:27", "12T1:53:27", "RFC 3339"},
		{"start in a leap second", "11:53:27", "11:53:60", "RFC 3339"},
		{"start with a short year", "2021-01-12", "21-01-12", "RFC 3339"},
		{"start in lower case", "27.000Z", "27.000z", "RFC 3339"},
		{"start on no day", "2021-01-12", "2021-02-30", "RFC 3339"},
		{"start too exact", "27.000Z", "27.0000000000001Z", "RFC 3339"},
		{"end that is Go's zero time", `"end": "2022-12-31T23:59:59.999Z"`, `"end": "0001-01-01T00:00:00Z"`, "RFC 3339"},
		{"end before start", `"end": "2022-12-31T23:59:59.999Z"`, `"end": "2021-03-07T03:20:28.999Z"`, "ends before it starts"},
		{"no ID", `"logId"`, `"operator":null,"checkpointKeyId"`, "logId is missing"},
		{"empty ID", rekorID, "", "logId is missing"},
		{"ID is null", `"` + rekorID + `"`, "null", "not a string"},
		{"unknown member of an ID", `"keyId"`, `"keyID"`, `no member "keyID"`},
		{"ID too long", rekorID, strings.Repeat("AAAA", 22), "more than 64 bytes"},
		{"checkpoint ID of another key", `"logId"`, `"checkpointKeyId":{"keyId":"wNI9aw=="},"logId"`, "checkpointKeyId is another"},
		{"checkpoint ID of five bytes", `"logId"`, `"checkpointKeyId":{"keyId":"wNI9atQ="},"logId"`, "checkpointKeyId is another"},
		{"two logs of one ID", "CGCS8ChS/2hF0dFrJ4ScRWcYrBY9wzjSbea8IgY2b3I=", "3T0wasbHETJjGR4cmWc3AqJKXrjePK3/h4pygC8p7o4=", "CT log 1 has the ID of CT log 0"},
		{"unknown member of an authority", `"uri"`, `"url"`, `no member "url"`},
		{"unknown member of a subject", `"organization"`, `"organisation"`, `no member "organisation"`},
		{"subject is a number", `"sigstore.dev"`, `1`, "subject is not a string"},
		{"unknown member of a chain", `"certificates"`, `"certs"`, `no member "certs"`},
		{"unknown member of a certificate", `"rawBytes": "MIIB+DCCAX6g`, `"der": "MIIB+DCCAX6g`, `no member "der"`},
		{"empty chain", `"certChain": {`, `"certChain":null,"operator":"a","subject":{`, "given twice"},
		{"no certificate", "MIIB+DCCAX6g", "AIIB+DCCAX6g", "certificates[0]: invalid certificate"},
		{"certificate cut off", "MIIB+DCCAX6g", "", "certificates[0]: invalid certificate"},
		// One bit of the signature in the intermediate certificate.
		{"certificate of another issuer", "dCdliiow=", "dCdliiog=", "was not issued by"},
	} {
		changed := strings.Replace(root, tt.old, tt.new, 1)
		if changed == root {
			t.Errorf("%s: nothing was changed", tt.name)
			continue
		}
		checkMalformed(t, tt.name, []byte(changed), tt.reason)
	}

	for _, key := range []string{``, `,"publicKey":null`} {
		checkMalformed(t, "no key", []byte(`{"mediaType":"`+trustedRootType+`","tlogs":[{"hashAlgorithm":"SHA2_256","logId":{"keyId":"AA=="}`+key+`}]}`), "publicKey is missing")
	}
	checkMalformed(t, "too long", append([]byte(root), bytes.Repeat([]byte(" "), MaxTrustedRoot)...), "more than 1048576")
	checkMalformed(t, "too many logs", []byte(`{"mediaType":"`+trustedRootType+`","tlogs":[`+strings.Repeat("null,", MaxAuthorities)+`null]}`), "tlogs")
	for _, sort := range []string{"certificateAuthorities", "timestampAuthorities"} {
		for _, a := range []string{`{}`, `null`, `{"certChain":{}}`, `{"certChain":{"certificates":[]}}`, `{"certChain":null}`} {
			checkMalformed(t, sort+" "+a, []byte(`{"mediaType":"`+trustedRootType+`","`+sort+`":[`+a+`]}`), "chain of 0")
		}
		many := strings.Repeat(`null,`, MaxAuthorities) + "null"
		checkMalformed(t, "too many "+sort, []byte(`{"mediaType":"`+trustedRootType+`","`+sort+`":[`+many+`]}`), "more than 64")
	}
}

// What trusted roots may say or leave out, and what it does not change.
func TestParseTrustedRootAccepts(t *testing.T) {
	root := string(readTestFile(t, "testdata/public-good/trusted_root.json"))
	want, err := ParseTrustedRoot([]byte(root))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"operator":               {`"logId"`, `"operator":"sigstore.dev","logId"`},
		"operator of a CA":       {`"uri"`, `"operator":"sigstore.dev","uri"`},
		"checkpoint ID":          {`"logId"`, `"checkpointKeyId":{"keyId":"wNI9atQGlz+VWfO6LRygH4QUfY/8W4RFwiT5i5WRgB0="},"logId"`},
		"short checkpoint ID":    {`"logId"`, `"checkpointKeyId":{"keyId":"wNI9ag=="},"logId"`},
		"null checkpoint ID":     {`"logId"`, `"checkpointKeyId":null,"logId"`},
		"null end":               {`"start"`, `"end":null,"start"`},
		"null instead of text":   {`"organization": "GitHub, Inc."`, `"organization":null`},
		"fewer digits of a time": {"27.000Z", "27Z"},
		"another zone":           {"2021-01-12T11:53:27.000Z", "2021-01-12T13:53:27+02:00"},
		"escaped text":           {"rekor.sigstore.dev", `rekor\u002esigstore.dev`},
	} {
		changed := strings.Replace(root, change[0], change[1], 1)
		if changed == root {
			t.Fatalf("%s: nothing was changed", name)
		}
		got, err := ParseTrustedRoot([]byte(changed))
		if err != nil || got.Digest() != want.Digest() {
			t.Errorf("%s: %v, or another digest", name, err)
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(root)); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseTrustedRoot(compact.Bytes()); err != nil || got.Digest() != want.Digest() {
		t.Errorf("compact: %v, or another digest", err)
	}
	empty, err := ParseTrustedRoot([]byte(`{"mediaType":"` + trustedRootType + `"}`))
	if err != nil || len(empty.logs()) != 0 {
		t.Errorf("without anybody: %v", err)
	}
}

// The details of a key have to be those that the key has: each key goes with one name.
func TestKeyDetails(t *testing.T) {
	n := readNotes(t)
	p384, p521 := newECDSA(t, elliptic.P384()), newECDSA(t, elliptic.P521())
	rsaKey, err := x509.ParsePKIXPublicKey(decode(t, n.RSA.SPKI))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{
		"PKIX_ECDSA_P256_SHA_256":       decode(t, n.ECDSA.SPKI),
		"PKIX_ECDSA_P384_SHA_384":       spki(t, p384.Public()),
		"PKIX_ECDSA_P521_SHA_512":       spki(t, p521.Public()),
		"PKIX_ED25519":                  decode(t, n.Ed25519.SPKI),
		"PKIX_RSA_PKCS1V15_2048_SHA256": decode(t, n.RSA.SPKI),
		// Deprecated, in an encoding of its own.
		"PKCS1_RSA_PKCS1V5": x509.MarshalPKCS1PublicKey(rsaKey.(*rsa.PublicKey)),
		// Never those of a log.
		"PKIX_ECDSA_P224": spki(t, newECDSA(t, elliptic.P224()).Public()),
	}
	names := []string{"", "PUBLIC_KEY_DETAILS_UNSPECIFIED", "PKCS1_RSA_PKCS1V5", "PKCS1_RSA_PSS", "PKIX_RSA_PKCS1V5", "PKIX_RSA_PSS",
		"PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_3072_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256", "PKIX_RSA_PKCS1V15_1024_SHA256",
		"PKIX_RSA_PSS_2048_SHA256", "PKIX_ECDSA_P256_HMAC_SHA_256", "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384", "PKIX_ECDSA_P521_SHA_512",
		"PKIX_ED25519", "PKIX_ED25519_PH", "PKIX_ECDSA_P384_SHA_256", "PKIX_ECDSA_P521_SHA_256", "LMS_SHA256", "LMOTS_SHA256", "ML_DSA_44", "none of them"}
	for of, der := range keys {
		for _, name := range names {
			trust, err := ParseTrustedRoot(rootOf("https://log.example.test", der, name, []byte("an ID")))
			if otherKeys[name] { // read, and not trusted
				if err != nil || len(trust.logs()) != 0 || trust.log([]byte("an ID")) != nil {
					t.Errorf("key of %s under %q: %v, or trusted", of, name, err)
				}
				continue
			}
			if ok := name == of; ok != (err == nil) {
				t.Errorf("key of %s under %q: %v", of, name, err)
			} else if !ok {
				checkClass(t, of+" under "+name, err, ErrMalformed)
			} else if l := trust.log([]byte("an ID")); l == nil || l.origin != "log.example.test" || l.v2 == nil {
				t.Errorf("key of %s: the log is %+v", of, l)
			}
		}
	}
	trust, err := ParseTrustedRoot(rootOf("", keys["PKCS1_RSA_PKCS1V5"], "PKCS1_RSA_PKCS1V5", []byte("an ID")))
	if err != nil || !bytes.Equal(trust.log([]byte("an ID")).spki, decode(t, n.RSA.SPKI)) {
		t.Errorf("a PKCS#1 key: %v, or another key", err)
	}
}

// The key hash, the origin and the signatures of v2 logs are those of C2SP and Rekor v2.
func TestNoteVerifiers(t *testing.T) {
	n := readNotes(t)
	for _, v := range []noteKey{n.Ed25519, n.ECDSA, n.RSA} {
		key, err := sig.ParsePublicKey(decode(t, v.SPKI))
		if err != nil {
			t.Fatal(err)
		}
		id := decode(t, v.LogID)
		for _, url := range []string{"https://" + n.Origin, "https://" + n.Origin + ":8443/prefix/", "http://user@" + n.Origin + "?a#b"} {
			trust, err := NewTrust(Material{Logs: []Log{{BaseURL: url, Key: key, ID: id}}})
			if err != nil {
				t.Fatal(err)
			}
			l := trust.log(id)
			if l.origin != n.Origin || l.v2.Name() != n.Origin {
				t.Errorf("%s: the origin is %q", url, l.origin)
			}
			if got, want := l.v2.KeyHash(), keyHashOf(id); got != want {
				t.Errorf("%T: the key hash is %08x, want %08x", key.Public, got, want)
			}
			if _, err := note.Open([]byte(n.Text+"\n"+v.Line), note.VerifierList(l.v2)); err != nil {
				t.Errorf("%T: %v", key.Public, err)
			}
			if _, err := note.Open([]byte(strings.Replace(n.Text, "\n3\n", "\n4\n", 1)+"\n"+v.Line), note.VerifierList(l.v2)); err == nil {
				t.Errorf("%T signed another size", key.Public)
			}
			if _, isECDSA := key.Public.(*ecdsa.PublicKey); isECDSA != (l.v1 != nil) {
				t.Errorf("%T: the v1 key is %v", key.Public, l.v1)
			}
		}
		// Names that cannot stand in a signature line, or that are none.
		for url, origin := range map[string]string{"": "", n.Origin: "", "rekor.example.test:3000": "", ":": "", "https://": "", "/path": "",
			"https://a+b": "a+b", "https://a\u00a0b": "a\u00a0b", "https://a%20b": ""} {
			trust, err := NewTrust(Material{Logs: []Log{{BaseURL: url, Key: key, ID: id}}})
			if err != nil {
				t.Fatal(err)
			}
			if l := trust.log(id); l.v2 != nil || l.origin != origin {
				t.Errorf("%q: the origin is %q, with a verifier %v", url, l.origin, l.v2)
			}
		}
	}

	// On larger curves a log signs with the curve's hash.
	for _, tt := range []struct {
		curve elliptic.Curve
		hash  crypto.Hash
	}{{elliptic.P256(), crypto.SHA256}, {elliptic.P384(), crypto.SHA384}, {elliptic.P521(), crypto.SHA512}} {
		private := newECDSA(t, tt.curve)
		l := logOf(t, "https://log.example.test", private.Public())
		if (l.v1 != nil) != (tt.curve == elliptic.P256()) {
			t.Errorf("%s: the v1 key is %v", tt.curve.Params().Name, l.v1)
		}
		if l.v2.KeyHash() != keyHashOf(l.ID) {
			t.Errorf("%s: the key hash is %08x, and the ID %x", tt.curve.Params().Name, l.v2.KeyHash(), l.ID)
		}
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			signature, err := private.Sign(rand.Reader, digestOf(hash, n.Text), hash)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.v2.Verify([]byte(n.Text), signature); got != (hash == tt.hash) {
				t.Errorf("%s with %s: verified %v", tt.curve.Params().Name, hash, got)
			}
		}
	}

	// The log's own v1 checkpoint.
	v1 := logOf(t, "", mustKey(t, n.ECDSA.SPKI).Public)
	origin, _, _ := strings.Cut(n.ECDSA.V1, "\n")
	if _, err := tlog.OpenCheckpoint([]byte(n.ECDSA.V1), origin, tlog.NewECDSAVerifier(n.Origin, v1.spki, v1.v1)); err != nil {
		t.Error(err)
	}
}

func TestNewTrustRefuses(t *testing.T) {
	n := readNotes(t)
	key, other := mustKey(t, n.ECDSA.SPKI), mustKey(t, n.RSA.SPKI)
	ca := newAuthority(t, 3)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	backwards := Window{now, now.Add(-1)}
	many := make([]Log, MaxAuthorities+1)
	for i := range many {
		many[i] = Log{Key: key, ID: []byte{byte(i)}}
	}
	authorities := slices.Repeat([]Authority{{Chain: ca[2:]}}, MaxAuthorities+1)
	damaged := *ca[0]
	damaged.Raw = append([]byte(nil), damaged.Raw...)
	damaged.Raw[len(damaged.Raw)-1] ^= 1
	long := newAuthority(t, sig.MaxChain+1)
	for name, tt := range map[string]struct {
		m      Material
		reason string
	}{
		"no key":               {Material{Logs: []Log{{}}}, "log 0: it has no key"},
		"an empty key":         {Material{Logs: []Log{{Key: &sig.Key{}}}}, "log 0"},
		"a private key":        {Material{Logs: []Log{{Key: &sig.Key{Public: newECDSA(t, elliptic.P256())}}}}, "log 0"},
		"a small curve":        {Material{Logs: []Log{{Key: &sig.Key{Public: newECDSA(t, elliptic.P224()).Public()}}}}, "P-224"},
		"one ID":               {Material{Logs: []Log{{Key: key, ID: []byte("a")}, {Key: other, ID: []byte("a")}}}, "log 1 has the ID of log 0"},
		"one key":              {Material{Logs: []Log{{Key: key}, {Key: key}}}, "log 1 has the ID of log 0"},
		"one key, ID said":     {Material{Logs: []Log{{Key: key}, {Key: key, ID: decode(t, n.ECDSA.LogID)}}}, "log 1 has the ID of log 0"},
		"one CT log twice":     {Material{CTLogs: []Log{{Key: key}, {Key: key}}}, "CT log 1 has the ID of CT log 0"},
		"empty ID":             {Material{Logs: []Log{{Key: key, ID: []byte{}}}}, "ID has 0 bytes"},
		"long ID":              {Material{Logs: []Log{{Key: key, ID: make([]byte, 65)}}}, "ID has 65 bytes"},
		"log window":           {Material{Logs: []Log{{Key: key, Valid: backwards}}}, "ends before it starts"},
		"CT log window":        {Material{CTLogs: []Log{{Key: key, Valid: backwards}}}, "ends before it starts"},
		"many logs":            {Material{Logs: many}, "more than 64"},
		"many CT logs":         {Material{CTLogs: many}, "more than 64"},
		"many CAs":             {Material{CertificateAuthorities: authorities}, "more than 64"},
		"many TSAs":            {Material{TimestampAuthorities: authorities}, "more than 64"},
		"empty chain":          {Material{CertificateAuthorities: []Authority{{}}}, "chain of 0"},
		"empty TSA chain":      {Material{TimestampAuthorities: []Authority{{}}}, "chain of 0"},
		"long chain":           {Material{CertificateAuthorities: []Authority{{Chain: long}}}, "chain of 11"},
		"nil certificate":      {Material{CertificateAuthorities: []Authority{{Chain: []*x509.Certificate{nil}}}}, "certificate 0 is missing"},
		"empty certificate":    {Material{CertificateAuthorities: []Authority{{Chain: []*x509.Certificate{{}}}}}, "certificate 0"},
		"wrong order":          {Material{CertificateAuthorities: []Authority{{Chain: []*x509.Certificate{ca[1], ca[0], ca[2]}}}}, "names another issuer"},
		"gap":                  {Material{CertificateAuthorities: []Authority{{Chain: []*x509.Certificate{ca[0], ca[2]}}}}, "names another issuer"},
		"namesake":             {Material{CertificateAuthorities: []Authority{{Chain: []*x509.Certificate{ca[0], newAuthority(t, 3)[1]}}}}, "was not issued by"},
		"damaged":              {Material{TimestampAuthorities: []Authority{{Chain: []*x509.Certificate{&damaged, ca[1], ca[2]}}}}, "certificate 0 was not issued by"},
		"issued by no CA":      {Material{TimestampAuthorities: []Authority{{Chain: issuedByLeaf(t)}}}, "was not issued by"},
		"CA window":            {Material{CertificateAuthorities: []Authority{{Chain: ca, Valid: backwards}}}, "ends before it starts"},
		"TSA window":           {Material{TimestampAuthorities: []Authority{{Chain: ca, Valid: backwards}}}, "ends before it starts"},
		"second is of no sort": {Material{Logs: []Log{{Key: key}, {}}}, "log 1: it has no key"},
	} {
		trust, err := NewTrust(tt.m)
		if trust != nil {
			t.Errorf("%s: a trust was returned", name)
		}
		checkClass(t, name, err, ErrMalformed)
		if err != nil && !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v, not %q", name, err, tt.reason)
		}
	}

	for name, m := range map[string]Material{
		"nobody":             {},
		"sole root":          {CertificateAuthorities: []Authority{{Chain: ca[2:]}}},
		"sole issuer":        {CertificateAuthorities: []Authority{{Chain: ca[1:2]}}},
		"without a root":     {CertificateAuthorities: []Authority{{Chain: ca[:2]}}},
		"longest chain":      {CertificateAuthorities: []Authority{{Chain: long[1:]}}},
		"most logs":          {Logs: many[1:]},
		"a moment":           {Logs: []Log{{Key: key, Valid: Window{now, now}}}},
		"longest ID":         {Logs: []Log{{Key: key, ID: make([]byte, 64)}}},
		"one key as two IDs": {Logs: []Log{{Key: key}, {Key: key, ID: []byte("v2")}}},
		"log and CT log":     {Logs: []Log{{Key: key}}, CTLogs: []Log{{Key: key}}},
	} {
		if _, err := NewTrust(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A trust is what it was when it was made, whatever becomes of the material.
func TestNewTrustCopies(t *testing.T) {
	n := readNotes(t)
	key, ca := mustKey(t, n.Ed25519.SPKI), newAuthority(t, 2)
	m := Material{
		Logs:                   []Log{{BaseURL: "https://" + n.Origin, Key: key, ID: []byte("id")}},
		CTLogs:                 []Log{{Key: mustKey(t, n.ECDSA.SPKI)}},
		CertificateAuthorities: []Authority{{URI: "ca", Chain: ca}},
		TimestampAuthorities:   []Authority{{URI: "tsa", Chain: slices.Clone(ca)}},
	}
	trust, err := NewTrust(m)
	if err != nil {
		t.Fatal(err)
	}
	before := trust.Digest()
	m.Logs[0].ID[0]++
	m.Logs[0].BaseURL = "https://evil.example.test"
	clear(key.Public.(ed25519.PublicKey))
	m.CTLogs[0] = Log{}
	m.CertificateAuthorities[0].URI = "other"
	clear(ca[0].Raw)
	*ca[1] = x509.Certificate{}
	m.CertificateAuthorities[0].Chain[0] = nil
	m.TimestampAuthorities[0] = Authority{}

	if got := trust.material.digest(); got != before || trust.Digest() != before {
		t.Error("the trust changed with its material")
	}
	l := trust.log([]byte("id"))
	if l == nil || l.origin != n.Origin {
		t.Fatalf("the log is %+v", l)
	}
	if _, err := note.Open([]byte(n.Text+"\n"+n.Ed25519.Line), note.VerifierList(l.v2)); err != nil {
		t.Error(err)
	}
	if c := trust.Material().CertificateAuthorities[0].Chain[0]; c.CheckSignatureFrom(trust.Material().CertificateAuthorities[0].Chain[1]) != nil {
		t.Error("the chain was changed")
	}
}

// The digest tells every trust from every other, and does not depend on how it came about.
func TestTrustDigest(t *testing.T) {
	n := readNotes(t)
	key, other := mustKey(t, n.ECDSA.SPKI), mustKey(t, n.RSA.SPKI)
	a, b := newAuthority(t, 2), newAuthority(t, 1)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := map[[32]byte]int{}
	for i, m := range []Material{
		{},
		{Logs: []Log{{Key: key}}},
		{CTLogs: []Log{{Key: key}}},
		{Logs: []Log{{Key: other}}},
		{Logs: []Log{{Key: key}, {Key: other}}},
		{Logs: []Log{{Key: key}}, CTLogs: []Log{{Key: other}}},
		{Logs: []Log{{Key: key, BaseURL: "a"}}},
		{Logs: []Log{{Key: key, ID: []byte("a")}}},
		{Logs: []Log{{Key: other, ID: []byte("a")}}},
		{Logs: []Log{{Key: key, Valid: Window{Start: now}}}},
		{Logs: []Log{{Key: key, Valid: Window{End: now}}}},
		{Logs: []Log{{Key: key, Valid: Window{End: now.Add(1)}}}},
		{Logs: []Log{{Key: key, Valid: Window{End: time.Unix(0, 0)}}}},
		{CertificateAuthorities: []Authority{{Chain: a}}},
		{TimestampAuthorities: []Authority{{Chain: a}}},
		{CertificateAuthorities: []Authority{{Chain: a[:1]}}},
		{CertificateAuthorities: []Authority{{Chain: b}}},
		{CertificateAuthorities: []Authority{{Chain: a[:1]}, {Chain: a[1:]}}},
		{CertificateAuthorities: []Authority{{URI: "a", Chain: a}}},
		{CertificateAuthorities: []Authority{{Chain: a, Valid: Window{now, now}}}},
	} {
		trust, err := NewTrust(m)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[trust.Digest()]; ok {
			t.Errorf("materials %d and %d have one digest", j, i)
		}
		seen[trust.Digest()] = i
		again, err := NewTrust(trust.Material())
		if err != nil || again.Digest() != trust.Digest() {
			t.Errorf("material %d, again: %v, or another digest", i, err)
		}
	}
	zone, err := NewTrust(Material{Logs: []Log{{Key: key, ID: decode(t, n.ECDSA.LogID), Valid: Window{Start: now.In(time.FixedZone("", 3600))}}}})
	if err != nil || seen[zone.Digest()] != 9 {
		t.Errorf("a moment in another zone, and an ID said: %v, or another digest", err)
	}
}

func TestTrustLogKey(t *testing.T) {
	n := readNotes(t)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: decode(t, n.ECDSA.SPKI)})
	trust, err := TrustLogKey(text)
	if err != nil {
		t.Fatal(err)
	}
	l := trust.log(decode(t, n.ECDSA.LogID))
	if l == nil || len(trust.logs()) != 1 || l.v1 == nil || l.v2 != nil || l.origin != "" || !l.Valid.open() {
		t.Errorf("the log is %+v", l)
	}
	for name, text := range map[string][]byte{
		"nothing":     nil,
		"not PEM":     decode(t, n.ECDSA.SPKI),
		"Ed25519":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: decode(t, n.Ed25519.SPKI)}),
		"RSA":         pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: decode(t, n.RSA.SPKI)}),
		"P-384":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(t, newECDSA(t, elliptic.P384()).Public())}),
		"certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newAuthority(t, 1)[0].Raw}),
		"two keys":    append(slices.Clone(text), text...),
	} {
		trust, err := TrustLogKey(text)
		checkClass(t, name, err, ErrMalformed)
		if trust != nil {
			t.Errorf("%s: a trust was returned", name)
		}
	}
}

func TestWindow(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := start.Add(time.Hour)
	for _, tt := range []struct {
		w    Window
		at   time.Time
		want bool
	}{
		{Window{}, start, true},
		{Window{start, end}, start, true},
		{Window{start, end}, end, true},
		{Window{start, end}, start.Add(-1), false},
		{Window{start, end}, end.Add(1), false},
		{Window{Start: start}, end, true},
		{Window{Start: start}, start.Add(-1), false},
		{Window{End: end}, start, true},
		{Window{End: end}, end.Add(1), false},
	} {
		if got := tt.w.Contains(tt.at); got != tt.want {
			t.Errorf("%v contains %v: %v", tt.w, tt.at, got)
		}
	}
}

func TestDecodeBase64(t *testing.T) {
	for text, want := range map[string]string{"": "", "AA==": "\x00", "AAA=": "\x00\x00", "+/+/": "\xfb\xff\xbf"} {
		if got, err := decodeBase64([]byte(text), "it", 3); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"A", "AA", "AA=", "AAA", "AB==", "AAB=", "-_-_", "AA==\n", "A\nA==", "\r\n", "AA== ", " AA==", "AA==AA==", "====", "AAAAAA==", "AAAAAAAA"} {
		if got, err := decodeBase64([]byte(text), "it", 3); err == nil || got != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
	if _, err := decodeBase64([]byte("AAAA"), "it", 2); err == nil {
		t.Error("three bytes are at most two")
	}
}

// Trusted roots of strangers lead to a trust that stands on its own, or to an error.
func FuzzParseTrustedRoot(f *testing.F) {
	for _, file := range []string{"testdata/public-good/trusted_root.json", "testdata/public-good/scaffolding.json", "testdata/public-good/timestamp-trusted_root.json"} {
		f.Add(readTestFile(f, file))
	}
	n := readNotes(f)
	f.Add(rootOf("https://"+n.Origin, decode(f, n.Ed25519.SPKI), "PKIX_ED25519", decode(f, n.Ed25519.LogID)))
	f.Add(rootOf("https://"+n.Origin, decode(f, n.RSA.SPKI), "PKIX_RSA_PKCS1V15_2048_SHA256", decode(f, n.RSA.LogID)))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := ParseTrustedRoot(data)
		if err != nil {
			checkClass(t, "trusted root", err, ErrMalformed)
			if trust != nil {
				t.Error("a trust was returned with an error")
			}
			return
		}
		for _, l := range trust.logs() {
			if trust.log(l.ID) != l {
				t.Errorf("log %x is not found", l.ID)
			}
		}
		again, err := NewTrust(trust.Material())
		if err != nil || again.Digest() != trust.Digest() {
			t.Errorf("again: %v, or another digest", err)
		}
	})
}

// notes are the vectors in testdata/notes.json.
type notes struct {
	Origin, Text, Cosigned string
	Ed25519, ECDSA, RSA    noteKey
	Witness                struct {
		Name, VKey, Line string
		Time             int64
	}
}

type noteKey struct{ SPKI, LogID, Line, V1 string }

func readNotes(t testing.TB) (n notes) {
	t.Helper()
	if err := json.Unmarshal(readTestFile(t, "testdata/notes.json"), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func readTestFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func checkMalformed(t *testing.T, name string, root []byte, reason string) {
	t.Helper()
	trust, err := ParseTrustedRoot(root)
	if trust != nil {
		t.Errorf("%s: a trust was returned", name)
	}
	checkClass(t, name, err, ErrMalformed)
	if err != nil && !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %v, not %q", name, err, reason)
	}
}

// checkClass fails unless err is an *Error of that class and of no other.
func checkClass(t testing.TB, name string, err, class error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Class != class || !errors.Is(err, class) {
		t.Errorf("%s: %v, which is not of the class %q", name, err, class)
	}
}

// rootOf returns a trusted root with one log.
func rootOf(url string, der []byte, details string, id []byte) []byte {
	return fmt.Appendf(nil, `{"mediaType":%q,"tlogs":[{"baseUrl":%q,"hashAlgorithm":"SHA2_256","publicKey":{"rawBytes":%q,"keyDetails":%q,"validFor":{"start":"2026-01-01T00:00:00Z"}},"logId":{"keyId":%q}}]}`,
		trustedRootType, url, base64.StdEncoding.EncodeToString(der), details, base64.StdEncoding.EncodeToString(id))
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustKey(t testing.TB, spki string) *sig.Key {
	t.Helper()
	k, err := sig.ParsePublicKey(decode(t, spki))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func spki(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// logOf returns a log with that key, as the only one of a trust.
func logOf(t testing.TB, url string, key crypto.PublicKey) *trustedLog {
	t.Helper()
	trust, err := NewTrust(Material{Logs: []Log{{BaseURL: url, Key: &sig.Key{Public: key}}}})
	if err != nil {
		t.Fatal(err)
	}
	return trust.logs()[0]
}

func digestOf(h crypto.Hash, text string) []byte {
	d := h.New()
	d.Write([]byte(text))
	return d.Sum(nil)
}

func keyHashOf(id []byte) uint32 {
	return uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])
}

// newAuthority returns a chain of that many certificates, the root last. All authorities
// have the same names, and keys of their own.
func newAuthority(t testing.TB, length int) []*x509.Certificate {
	t.Helper()
	chain := make([]*x509.Certificate, length)
	var issuer *x509.Certificate
	var issuerKey *ecdsa.PrivateKey
	for i := length - 1; i >= 0; i-- {
		key := newECDSA(t, elliptic.P256())
		template := &x509.Certificate{
			SerialNumber:          big.NewInt(int64(i + 1)),
			Subject:               pkix.Name{CommonName: fmt.Sprintf("authority %d", i)},
			NotBefore:             time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			NotAfter:              time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC),
			IsCA:                  true,
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageCertSign,
		}
		if issuer == nil {
			issuer, issuerKey = template, key
		}
		chain[i] = issue(t, template, issuer, key, issuerKey)
		issuer, issuerKey = chain[i], key
	}
	return chain
}

// issuedByLeaf returns a chain whose second certificate is none of an authority.
func issuedByLeaf(t testing.TB) []*x509.Certificate {
	t.Helper()
	key := newECDSA(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "no authority"},
		NotBefore:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	leaf := issue(t, template, template, key, key)
	return []*x509.Certificate{issue(t, template, leaf, key, key), leaf}
}

func issue(t testing.TB, template, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
