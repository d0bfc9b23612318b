package timestamp

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
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	rfc3161 "github.com/digitorus/timestamp"
	"github.com/tallystick/tallystick/verify"
)

// issued is when all tokens were made that a test makes.
var issued = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// tsa is a timestamp authority.
type tsa struct {
	t     testing.TB
	chain []*x509.Certificate // its own, an intermediate, the root
	keys  []crypto.Signer
}

// newTSA makes an authority. change, if not nil, changes what will be its certificate i, 0 for its own.
func newTSA(t testing.TB, key crypto.Signer, change func(i int, c *x509.Certificate)) *tsa {
	t.Helper()
	a := &tsa{t: t, chain: make([]*x509.Certificate, 3), keys: []crypto.Signer{key, newKey(t, elliptic.P256()), newKey(t, elliptic.P256())}}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i >= 0; i-- {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: []string{"tsa", "intermediate", "root"}[i]},
			NotBefore: issued.AddDate(-20, 0, 0), NotAfter: issued.AddDate(200, 0, 0),
			BasicConstraintsValid: true, IsCA: i > 0, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if i > 0 {
			c.KeyUsage = x509.KeyUsageCertSign
		} else {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
		}
		if change != nil {
			change(i, c)
		}
		parent, signer := c, a.keys[i]
		if i < 2 {
			parent, signer = a.chain[i+1], a.keys[i+1]
		}
		a.chain[i] = a.issue(c, parent, a.keys[i].Public(), signer)
	}
	return a
}

func (a *tsa) issue(c, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made
}

func newKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *tsa) authority() verify.Authority { return verify.Authority{Chain: a.chain} }

// token makes one as the authority would. The hash is of both message and signature.
func (a *tsa) token(message string, hash crypto.Hash, change func(*rfc3161.Timestamp)) []byte {
	a.t.Helper()
	ts := &rfc3161.Timestamp{HashAlgorithm: hash, HashedMessage: digest(hash, []byte(message)), Time: issued, Policy: asn1.ObjectIdentifier{1, 2, 3}, SerialNumber: big.NewInt(1)}
	if change != nil {
		change(ts)
	}
	token, err := ts.CreateResponseWithOpts(a.chain[0], a.keys[0], hash)
	if err != nil {
		a.t.Fatal(err)
	}
	return token
}

// edit returns DER in which the content of one element is another: of the child path[0] of
// the outermost element, of its child path[1], and so on. All lengths are right again.
func edit(t testing.TB, der []byte, change func(content []byte) []byte, path ...int) []byte {
	t.Helper()
	outer := elements(t, der)[0]
	if len(path) == 0 {
		outer.Bytes = change(outer.Bytes)
	} else {
		children := elements(t, outer.Bytes)
		children[path[0]].FullBytes = edit(t, children[path[0]].FullBytes, change, path[1:]...)
		outer.Bytes = join(children)
	}
	outer.FullBytes = nil
	return marshal(t, outer)
}

func elements(t testing.TB, content []byte) []asn1.RawValue {
	t.Helper()
	var all []asn1.RawValue
	for len(content) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(content, &v)
		if err != nil {
			t.Fatal(err)
		}
		all, content = append(all, v), rest
	}
	return all
}

func join(all []asn1.RawValue) []byte {
	var content []byte
	for _, v := range all {
		content = append(content, v.FullBytes...)
	}
	return content
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// remake changes what a token says and, if key is not nil, signs it with that.
func remake(t testing.TB, token []byte, key crypto.Signer, change func(d *signedData, s *signerInfo)) []byte {
	t.Helper()
	var r response
	if _, err := asn1.Unmarshal(token, &r); err != nil {
		t.Fatal(err)
	}
	d := &r.Token.SignedData
	s := &d.Signers[0]
	change(d, s)
	if key != nil {
		hash, ok := hashes[s.DigestAlgorithm.ID.String()]
		if !ok {
			hash = crypto.SHA1
		}
		setAttribute(s, "1.2.840.113549.1.9.4", marshal(t, digest(hash, d.Content.Info)))
		der, err := asn1.MarshalWithParams(s.Attributes, "set")
		if err != nil {
			t.Fatal(err)
		}
		if _, pure := key.(ed25519.PrivateKey); pure {
			s.Signature, err = key.Sign(nil, der, crypto.Hash(0))
		} else {
			s.Signature, err = key.Sign(rand.Reader, digest(hash, der), hash)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return marshal(t, r)
}

func setAttribute(s *signerInfo, oid string, value []byte) {
	for i, a := range s.Attributes {
		if a.Type.String() == oid {
			s.Attributes[i].Values = []asn1.RawValue{{FullBytes: value}}
		}
	}
}

func digest(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// recorded are the timestamps of real signatures.
type recorded struct {
	token, message []byte
	authorities    []verify.Authority
	at             time.Time // from another reader
}

func readRecorded(t testing.TB) []recorded {
	t.Helper()
	authorities := func(name string) []verify.Authority {
		data, err := os.ReadFile(filepath.Join("../testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		trust, err := verify.ParseTrustedRoot(data)
		if err != nil {
			t.Fatal(err)
		}
		return trust.Material().TimestampAuthorities
	}
	public := slices.Concat(authorities("public-good/trusted_root.json"), authorities("public-good/timestamp-trusted_root.json"))
	local := authorities("cosign/trusted_root.json")
	bundles, err := filepath.Glob("../testdata/cosign/*-bundle-*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	for _, file := range append(bundles, "../testdata/public-good/timestamp.json") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		type signature struct {
			Sig       []byte `json:"sig"`
			Signature []byte `json:"signature"`
		}
		var b struct {
			VerificationMaterial struct {
				TimestampVerificationData struct {
					Rfc3161Timestamps []struct{ SignedTimestamp []byte }
				}
			}
			MessageSignature signature
			DSSEEnvelope     struct{ Signatures []signature }
		}
		if strings.HasSuffix(file, ".entry.json") {
			continue
		}
		if err := json.Unmarshal(data, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		message := b.MessageSignature.Signature
		if message == nil {
			message = b.DSSEEnvelope.Signatures[0].Sig
		}
		for _, s := range b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps {
			r := recorded{token: s.SignedTimestamp, message: message, authorities: public}
			if strings.Contains(file, "cosign") {
				r.authorities = local
			}
			ts, err := rfc3161.ParseResponse(r.token)
			if err != nil {
				t.Fatal(err)
			}
			r.at = ts.Time
			all = append(all, r)
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d timestamps are recorded", len(all))
	}
	return all
}

func TestRecorded(t *testing.T) {
	var v Verifier
	for i, r := range readRecorded(t) {
		at, by, err := v.VerifyTimestamp(r.token, r.message, r.authorities)
		if err != nil || !at.Equal(r.at) || by != len(r.authorities)-1 {
			t.Errorf("token %d: %v by %d, %v; want %v", i, at, by, err, r.at)
		}
		if at, _, err := v.VerifyTimestamp(r.token, append(r.message, 0), r.authorities); err == nil || !at.IsZero() {
			t.Errorf("token %d is of another message too: %v", i, err)
		}
		if _, _, err := v.VerifyTimestamp(r.token, r.message, r.authorities[:by]); err == nil {
			t.Errorf("token %d is of an authority that is not there", i)
		}
	}
}

// TestEveryByte: a token that was altered anywhere is refused, signed part or not.
func TestEveryByte(t *testing.T) {
	all := readRecorded(t)
	a := newTSA(t, newKey(t, elliptic.P256()), nil)
	bag := recorded{a.token("x", crypto.SHA256, func(ts *rfc3161.Timestamp) { ts.AddTSACertificate = true }), []byte("x"), []verify.Authority{a.authority()}, issued}
	for n, r := range []recorded{all[0], all[len(all)-1], bag} {
		refused := func(token []byte, what string, i int) {
			if _, _, err := (Verifier{}).VerifyTimestamp(token, r.message, r.authorities); err == nil {
				t.Errorf("token %d of %d bytes holds with byte %d %s", n, len(r.token), i, what)
			}
		}
		for i := range r.token {
			for _, mask := range []byte{1 << (i % 8), 0x20, 0xff} {
				altered := bytes.Clone(r.token)
				altered[i] ^= mask
				refused(altered, "altered", i)
			}
			refused(r.token[:i], "cut", i)
			refused(slices.Insert(bytes.Clone(r.token), i, 0), "before it inserted", i)
			refused(slices.Delete(bytes.Clone(r.token), i, i+1), "left out", i)
		}
		refused(append(bytes.Clone(r.token), 0), "appended", len(r.token))
	}
}

func TestAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{
		"P-256": newKey(t, elliptic.P256()), "P-384": newKey(t, elliptic.P384()), "P-521": newKey(t, elliptic.P521()), "RSA": rsaKey, "Ed25519": edKey,
	} {
		a := newTSA(t, key, nil)
		renewed := newTSA(t, key, func(i int, c *x509.Certificate) { c.SerialNumber.SetInt64(7) })
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			for _, bag := range [][]*x509.Certificate{nil, a.chain[:1], a.chain} {
				token := remake(t, a.token("message", hash, nil), key, func(d *signedData, _ *signerInfo) { d.Certificates = raw(bag) })
				when, by, err := Verifier{}.VerifyTimestamp(token, []byte("message"), []verify.Authority{renewed.authority(), a.authority()})
				if err != nil || !when.Equal(issued) || by != 1 {
					t.Errorf("%s, %v, %d certificates: %v by %d, %v", name, hash, len(bag), when, by, err)
				}
			}
		}
	}
}

// raw is the bag of certificates of a token; nil for none.
func raw(bag []*x509.Certificate) []asn1.RawValue {
	var all []asn1.RawValue
	for _, c := range bag {
		all = append(all, asn1.RawValue{FullBytes: c.Raw})
	}
	return all
}

// TestSameAuthorityTwice: of two windows for the same certificates, the one counts in which the time lies.
func TestSameAuthorityTwice(t *testing.T) {
	a := newTSA(t, newKey(t, elliptic.P256()), nil)
	token := a.token("x", crypto.SHA256, nil)
	past, present := a.authority(), a.authority()
	past.Valid.End, present.Valid.Start = issued.Add(-time.Second), issued
	for _, c := range []struct {
		authorities []verify.Authority
		by          int
	}{
		{[]verify.Authority{past, present}, 1}, {[]verify.Authority{present, past}, 0}, {[]verify.Authority{past, past}, 0},
	} {
		if _, by, err := (Verifier{}).VerifyTimestamp(token, []byte("x"), c.authorities); err != nil || by != c.by {
			t.Errorf("authority %d, %v; want %d", by, err, c.by)
		}
	}
}

// The places in a token, as paths for edit.
func status() []int     { return []int{0} }
func signed() []int     { return []int{1, 1, 0} }
func signer() []int     { return []int{1, 1, 0, 4, 0} }
func attributes() []int { return []int{1, 1, 0, 4, 0, 3} }

// TestForm: what the structure of a token may not be, whoever signed it.
func TestForm(t *testing.T) {
	a := newTSA(t, newKey(t, elliptic.P256()), nil)
	good := a.token("message", crypto.SHA256, nil)
	appended := func(more ...byte) func([]byte) []byte {
		return func(content []byte) []byte { return slices.Concat(content, more) }
	}
	reordered := func(order ...int) func([]byte) []byte {
		return func(content []byte) []byte {
			var all []asn1.RawValue
			for _, i := range order {
				all = append(all, elements(t, content)[i])
			}
			return join(all)
		}
	}
	put := func(content ...byte) func([]byte) []byte { return func([]byte) []byte { return content } }
	list := func(content []byte) []byte {
		all := elements(t, content)
		return join(slices.Insert(all, 4, asn1.RawValue{FullBytes: []byte{0xa1, 0}}))
	}
	text := []byte{0x30, 3, 0x0c, 1, 'x'}
	for name, c := range map[string]struct {
		token  []byte
		reason string
	}{
		"nothing":                  {nil, "no granted response"},
		"no response":              {[]byte{0x30, 0}, "no granted response"},
		"large":                    {make([]byte, verify.MaxTimestamp+1), "more than 65536"},
		"more after it":            {append(slices.Clone(good), 0), "no granted response"},
		"indefinite length":        {slices.Concat([]byte{0x30, 0x80}, good[4:], []byte{0, 0}), "no granted response"},
		"granted with changes":     {edit(t, good, put(2, 1, 1), status()...), "status 1"},
		"rejected":                 {edit(t, good, put(2, 1, 2), status()...), "status 2"},
		"negative status":          {edit(t, good, put(2, 1, 0xff), status()...), "status -1"},
		"free text":                {edit(t, good, appended(text...), status()...), "nobody signed"},
		"more in the response":     {edit(t, good, appended(text...)), "nobody signed"},
		"more in the signed data":  {edit(t, good, appended(text...), signed()...), "nobody signed"},
		"revocation list":          {edit(t, good, list, signed()...), "no granted response"},
		"data":                     {edit(t, good, put(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1), 1, 0), "no signed data"},
		"version 1":                {edit(t, good, put(1), 1, 1, 0, 0), "no signed data of version 3"},
		"two hash algorithms":      {edit(t, good, reordered(0, 0), 1, 1, 0, 1), "signatures"},
		"two signatures":           {edit(t, good, reordered(0, 0), 1, 1, 0, 4), "2 signatures"},
		"no signature":             {edit(t, good, put(), 1, 1, 0, 4), "0 signatures"},
		"signer of version 3":      {edit(t, good, put(3), append(signer(), 0)...), "signer of version 3"},
		"unsigned attributes":      {edit(t, good, appended(0xa1, 0), signer()...), "nobody signed"},
		"no signed attributes":     {edit(t, good, reordered(0, 1, 2, 4, 5), signer()...), "no granted response"},
		"attributes in disorder":   {edit(t, good, reordered(1, 0, 2, 3), attributes()...), "not in DER"},
		"certificate without type": {edit(t, good, appended(5, 0), 1, 1, 0, 3), "not of the authority's chain"},
	} {
		when, _, err := Verifier{}.VerifyTimestamp(c.token, []byte("message"), []verify.Authority{a.authority()})
		if err == nil || !strings.Contains(err.Error(), c.reason) || !when.IsZero() {
			t.Errorf("%s: %v, %v; want %q", name, when, err, c.reason)
		}
	}
	if token := edit(t, good, appended(), signer()...); !bytes.Equal(token, good) {
		t.Error("edit changes more than it should")
	}
}

// TestSigned: what a trusted authority may not have signed, and what it has to have.
func TestSigned(t *testing.T) {
	const message = "message"
	key, sha1 := newKey(t, elliptic.P256()), asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	a, other := newTSA(t, key, nil), newTSA(t, newKey(t, elliptic.P256()), nil)
	good := a.token(message, crypto.SHA256, nil)
	type change = func(d *signedData, s *signerInfo)
	certificate := func(v any) change {
		return func(_ *signedData, s *signerInfo) { setAttribute(s, oidSigningCertificateV2, marshal(t, v)) }
	}
	type byDefault struct{ Hash []byte }
	type byName struct {
		Algorithm algorithm
		Hash      []byte
	}
	attributed := func(value any) change {
		return func(_ *signedData, s *signerInfo) {
			s.Attributes = append(s.Attributes, attribute{asn1.ObjectIdentifier{1, 2, 3}, []asn1.RawValue{{FullBytes: marshal(t, value)}}})
		}
	}
	for name, c := range map[string]struct {
		change change
		reason string // "" if it holds
	}{
		"nothing changed":    {func(*signedData, *signerInfo) {}, ""},
		"one attribute more": {attributed(1), ""},
		"large attribute":    {attributed(make([]byte, maxAttributes)), "signed attributes of"},
		"attribute twice":    {func(_ *signedData, s *signerInfo) { s.Attributes = append(s.Attributes, s.Attributes[1]) }, "not one value"},
		"attribute of two values": {func(_ *signedData, s *signerInfo) {
			s.Attributes[1].Values = append(s.Attributes[1].Values, s.Attributes[1].Values[0])
		}, "not one value"},
		"of data": {func(d *signedData, _ *signerInfo) { d.Content.Type = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1} }, "what is signed is no timestamp"},
		"signed as data": {func(_ *signedData, s *signerInfo) {
			setAttribute(s, oidContentType, marshal(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}))
		}, "signed content type"},
		"SHA-1 signature": {func(d *signedData, s *signerInfo) {
			d.DigestAlgorithms[0].ID, s.DigestAlgorithm.ID, s.SignatureAlgorithm.ID = sha1, sha1, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
		}, "hash algorithm 1.3.14.3.2.26"},
		"hash algorithms differ": {func(d *signedData, s *signerInfo) { d.DigestAlgorithms[0].ID = sha1 }, "not the same in both places"},
		"signature algorithm differs": {func(_ *signedData, s *signerInfo) {
			s.SignatureAlgorithm.ID = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
		}, "does not go with its hash"},
		"signature algorithm is not known": {func(_ *signedData, s *signerInfo) {
			s.SignatureAlgorithm.ID = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 1}
		}, "does not go with its hash"},
		"NULL": {func(d *signedData, s *signerInfo) {
			d.DigestAlgorithms[0].Parameters, s.DigestAlgorithm.Parameters = asn1.NullRawValue, asn1.NullRawValue
		}, ""},
		"parameters": {func(_ *signedData, s *signerInfo) { s.SignatureAlgorithm.Parameters.FullBytes = []byte{4, 0} }, "has parameters"},
		"SHA-1 of the message": {func(d *signedData, _ *signerInfo) {
			imprint := byName{algorithm{ID: sha1}, digest(crypto.SHA1, []byte(message))}
			d.Content.Info = edit(t, d.Content.Info, func(content []byte) []byte {
				all := elements(t, content)
				all[2].FullBytes = marshal(t, imprint)
				return join(all)
			})
		}, "weak hash"},
		"certificate is not named":  {func(_ *signedData, s *signerInfo) { s.Attributes = s.Attributes[:3] }, "name no certificate"},
		"certificate list is empty": {certificate([][]byDefault{{}}), "name no certificate"},
		"certificate is another":    {certificate([][]byDefault{{{digest(crypto.SHA256, other.chain[0].Raw)}}}), "name another certificate"},
		"certificate comes second":  {certificate([][]byDefault{{{digest(crypto.SHA256, a.chain[1].Raw)}, {digest(crypto.SHA256, a.chain[0].Raw)}}}), "name another certificate"},
		"certificate comes first":   {certificate([][]byDefault{{{digest(crypto.SHA256, a.chain[0].Raw)}, {digest(crypto.SHA256, a.chain[1].Raw)}}}), ""},
		"certificate by SHA-512":    {certificate([][]byName{{{algorithm{ID: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}}, digest(crypto.SHA512, a.chain[0].Raw)}}}), ""},
		"certificate by SHA-1":      {certificate([][]byName{{{algorithm{ID: sha1}, digest(crypto.SHA1, a.chain[0].Raw)}}}), "name a certificate by"},
		"certificate as in RFC 3161": {func(_ *signedData, s *signerInfo) {
			s.Attributes[3] = attribute{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}, []asn1.RawValue{{FullBytes: marshal(t, [][]byDefault{{{digest(crypto.SHA1, a.chain[0].Raw)}}})}}}
		}, ""},
	} {
		token := remake(t, good, key, c.change)
		when, _, err := Verifier{}.VerifyTimestamp(token, []byte(message), []verify.Authority{a.authority()})
		if c.reason == "" {
			if err != nil || !when.Equal(issued) {
				t.Errorf("%s: %v, %v", name, when, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.reason) || !when.IsZero() {
			t.Errorf("%s: %v, %v; want %q", name, when, err, c.reason)
		}
	}
}

// TestAuthority: whose token it has to be, and what the authority's certificates have to be at its time.
func TestAuthority(t *testing.T) {
	const message = "message"
	key := newKey(t, elliptic.P256())
	a, foreign := newTSA(t, key, nil), newTSA(t, newKey(t, elliptic.P256()), nil) // of the same names and numbers
	timeStamping, codeSigning := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}
	expired := func(which int) func(int, *x509.Certificate) {
		return func(i int, c *x509.Certificate) {
			if i == which {
				c.NotAfter = issued.Add(-time.Second)
			}
		}
	}
	usage := func(critical bool, ids ...asn1.ObjectIdentifier) func(int, *x509.Certificate) {
		return func(i int, c *x509.Certificate) {
			if i == 0 {
				c.ExtraExtensions[0].Critical, c.ExtraExtensions[0].Value = critical, marshal(t, ids)
			}
		}
	}
	changed := func(change func(int, *x509.Certificate)) *tsa { return newTSA(t, key, change) }
	at := func(when time.Time) []byte {
		return a.token(message, crypto.SHA256, func(ts *rfc3161.Timestamp) { ts.Time = when })
	}
	extended := func(critical bool) []byte {
		e := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: critical, Value: []byte{5, 0}}
		return a.token(message, crypto.SHA256, func(ts *rfc3161.Timestamp) { ts.ExtraExtensions = []pkix.Extension{e} })
	}
	bag := func(certificates ...*x509.Certificate) []byte {
		return remake(t, a.token(message, crypto.SHA256, nil), nil, func(d *signedData, _ *signerInfo) { d.Certificates = raw(certificates) })
	}
	for name, c := range map[string]struct {
		by     *tsa
		token  []byte // nil: one of the authority's
		reason string // "" if it holds
	}{
		"good":                    {a, nil, ""},
		"own certificate last":    {a, bag(a.chain[1], a.chain[0]), ""},
		"extension":               {a, extended(false), ""},
		"critical extension":      {a, extended(true), "critical extension 1.2.3.4"},
		"other message":           {a, a.token("other", crypto.SHA256, nil), "hashed messages don't match"},
		"other authority":         {changed(func(_ int, c *x509.Certificate) { c.SerialNumber.SetInt64(7) }), a.token(message, crypto.SHA256, nil), "not trusted"},
		"authority of the name":   {a, foreign.token(message, crypto.SHA256, nil), "name another certificate"},
		"key of another":          {a, remake(t, a.token(message, crypto.SHA256, nil), foreign.keys[0], func(*signedData, *signerInfo) {}), "verification failure"},
		"foreign in the bag":      {a, bag(a.chain[0], foreign.chain[1]), "not of the authority's chain"},
		"twice in the bag":        {a, bag(a.chain[0], a.chain[0]), "twice"},
		"too many in the bag":     {a, bag(slices.Repeat(a.chain[:1], maxCertificates+1)...), "more than 10 certificates"},
		"only issuers in the bag": {a, bag(a.chain[1:]...), "No certificate for signer"},

		"before":                 {a, at(issued.AddDate(-30, 0, 0)), "expired or is not yet valid"},
		"after":                  {a, at(issued.AddDate(201, 0, 0)), "expired or is not yet valid"},
		"no time":                {a, at(time.Time{}), "not valid at 0001-01-01"}, // which crypto/x509 takes for now
		"intermediate expired":   {changed(expired(1)), nil, "expired or is not yet valid"},
		"root expired":           {changed(expired(2)), nil, "expired or is not yet valid"},
		"usage is not critical":  {changed(usage(false, timeStamping)), nil, "must set EKU to critical"},
		"usage is another":       {changed(usage(true, codeSigning)), nil, "incompatible key usage"},
		"usages are two":         {changed(usage(true, timeStamping, codeSigning)), nil, "expected only one"},
		"an authority of others": {changed(func(_ int, c *x509.Certificate) { c.IsCA = true }), nil, "not a CA"},
		"intermediate's usage": {changed(func(i int, c *x509.Certificate) {
			if i == 1 {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
			}
		}), nil, "incompatible key usage"},
	} {
		if c.token == nil {
			c.token = c.by.token(message, crypto.SHA256, nil)
		}
		when, _, err := Verifier{}.VerifyTimestamp(c.token, []byte(message), []verify.Authority{c.by.authority()})
		if c.reason == "" {
			if err != nil || !when.Equal(issued) {
				t.Errorf("%s: %v, %v", name, when, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.reason) || !when.IsZero() {
			t.Errorf("%s: %v, %v; want %q", name, when, err, c.reason)
		}
	}
	good := a.token(message, crypto.SHA256, nil)
	if _, _, err := (Verifier{}).VerifyTimestamp(good, []byte(message), nil); err == nil {
		t.Error("accepted by no authority")
	}
	if _, _, err := (Verifier{}).VerifyTimestamp(good, []byte(message), []verify.Authority{{}}); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("a panic becomes %v", err)
	}
	self := verify.Authority{Chain: a.chain[:1]} // the authority's own certificate is all that is trusted
	if _, _, err := (Verifier{}).VerifyTimestamp(good, []byte(message), []verify.Authority{self}); err != nil {
		t.Errorf("a chain of one: %v", err)
	}
}

// TestCVE202639984: the token was signed with a certificate that the authority's issuer gave to
// somebody else, for another use, and brings the authority's own certificate along, to which the
// rules for such certificates were applied.
func TestCVE202639984(t *testing.T) {
	a := newTSA(t, newKey(t, elliptic.P256()), nil)
	attacker := newKey(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: "attacker"}, NotBefore: a.chain[0].NotBefore, NotAfter: a.chain[0].NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	for _, serial := range []int64{99, 1} { // the second is the number of the authority's own
		template.SerialNumber.SetInt64(serial)
		theirs := a.issue(template, a.chain[1], attacker.Public(), a.keys[1])
		forger := &tsa{t, []*x509.Certificate{theirs, a.chain[1], a.chain[2]}, []crypto.Signer{attacker, nil, nil}}
		forged := forger.token("x", crypto.SHA256, nil)
		for _, bag := range [][]*x509.Certificate{nil, {theirs}, {theirs, a.chain[0]}, {a.chain[0], theirs}, {a.chain[0]}, {theirs, a.chain[0], a.chain[1], a.chain[2]}} {
			for _, named := range []*x509.Certificate{theirs, a.chain[0]} {
				for _, hashed := range []*x509.Certificate{theirs, a.chain[0]} {
					token := remake(t, forged, attacker, func(d *signedData, s *signerInfo) {
						d.Certificates = raw(bag)
						s.Certificate.Serial = named.SerialNumber
						setAttribute(s, oidSigningCertificateV2, marshal(t, [][]struct{ Hash []byte }{{{digest(crypto.SHA256, hashed.Raw)}}}))
					})
					if _, _, err := (Verifier{}).VerifyTimestamp(token, []byte("x"), []verify.Authority{a.authority()}); err == nil {
						t.Errorf("number %d, %d certificates, %q named, %q hashed: it holds", serial, len(bag), named.Subject, hashed.Subject)
					}
				}
			}
		}
	}
}

// FuzzVerifyTimestamp: of a good token nothing else holds than forms of it with the same signature.
func FuzzVerifyTimestamp(f *testing.F) {
	r := readRecorded(f)[0]
	want, err := parse(r.token)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.token)
	f.Add(remake(f, r.token, nil, func(d *signedData, _ *signerInfo) { d.Certificates = raw(r.authorities[0].Chain) }))
	f.Add([]byte("\x30\x03\x02\x01\x00"))
	f.Fuzz(func(t *testing.T, token []byte) {
		when, _, err := Verifier{}.VerifyTimestamp(token, r.message, r.authorities)
		if err != nil {
			return
		}
		got, err := parse(token)
		if err != nil {
			t.Fatal(err)
		}
		g, w := got.Token.SignedData.Signers[0], want.Token.SignedData.Signers[0]
		if !when.Equal(r.at) || !bytes.Equal(got.Token.SignedData.Content.Info, want.Token.SignedData.Content.Info) ||
			!bytes.Equal(marshal(t, g.Attributes), marshal(t, w.Attributes)) || !bytes.Equal(g.Signature, w.Signature) {
			t.Errorf("another token holds: %x", token)
		}
	})
}
