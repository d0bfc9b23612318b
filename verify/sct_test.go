package verify

import (
	"bytes"
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
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/sig"
)

// testCTLog is a CT log.
type testCTLog struct {
	key crypto.Signer
	log Log
}

func newTestCTLog(t testing.TB, key crypto.Signer) *testCTLog {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public, err := sig.ParsePublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCTLog{key, Log{Key: public}}
}

// sct signs for a precertificate. It follows RFC 6962, section 3.2, on its own.
func (l *testCTLog) sct(t testing.TB, precertificate, issuer *x509.Certificate, at time.Time, extensions string) []byte {
	t.Helper()
	id, err := l.log.Key.SPKIHash()
	if err != nil {
		t.Fatal(err)
	}
	stamp := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	tail := append(binary.BigEndian.AppendUint16(nil, uint16(len(extensions))), extensions...)
	issuerKey := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	tbs := precertificate.RawTBSCertificate
	message := slices.Concat([]byte{0, 0}, stamp, []byte{0, 1}, issuerKey[:], binary.BigEndian.AppendUint32(nil, uint32(len(tbs)))[1:], tbs, tail)
	algorithm, digest, opts := byte(3), sha256.Sum256(message), crypto.SignerOpts(crypto.SHA256)
	signed := digest[:]
	switch l.key.(type) {
	case *rsa.PrivateKey:
		algorithm = 1
	case ed25519.PrivateKey:
		algorithm, signed, opts = 7, message, crypto.Hash(0)
	}
	signature, err := l.key.Sign(rand.Reader, signed, opts)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte{0}, id[:], stamp, tail, []byte{4, algorithm}, binary.BigEndian.AppendUint16(nil, uint16(len(signature))), signature)
}

// sctList is a list of SCTs as it stands in a certificate.
func sctList(t testing.TB, scts ...[]byte) []byte {
	t.Helper()
	var list []byte
	for _, s := range scts {
		list = append(binary.BigEndian.AppendUint16(list, uint16(len(s))), s...)
	}
	return asn1DER(t, append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...), "")
}

// withList is a signer's certificate with a list of SCTs in the midst of its extensions; without
// one if list is nil.
func withList(t testing.TB, ca *testCA, key crypto.PublicKey, list []byte) *x509.Certificate {
	t.Helper()
	return ca.issueTo(key, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte("before")}, {Id: asn1.ObjectIdentifier{1, 2, 4}, Value: []byte("after")}}
		if list != nil {
			c.ExtraExtensions = slices.Insert(c.ExtraExtensions, 1, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: list})
		}
	})
}

func TestCheckSCTs(t *testing.T) {
	ca := newTestCA(t, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, large, rsaLog, edLog, unknown := newTestCTLog(t, newTestKey(t)), newTestCTLog(t, p384), newTestCTLog(t, rsaKey), newTestCTLog(t, edKey), newTestCTLog(t, newTestKey(t))
	old := newTestCTLog(t, newTestKey(t))
	old.log.Valid = Window{signedAt, signedAt.Add(time.Hour)}
	trust := mustTrust(t, Material{CTLogs: []Log{p256.log, large.log, rsaLog.log, edLog.log, old.log}})

	key, issuer := newTestKey(t).Public(), ca.chain[0]
	pre := withList(t, ca, key, nil)
	by := func(l *testCTLog) []byte { return l.sct(t, pre, issuer, signedAt, "") }
	altered := func(s []byte, i int, b byte) []byte { s = bytes.Clone(s); s[i] = b; return s }
	good := by(p256)
	end := 1 + 32 + 8 + 2 // where the algorithm stands
	for name, c := range map[string]struct {
		list   []byte
		n      int
		logs   int // that count; -1: refused
		class  error
		reason string
	}{
		"ECDSA":             {sctList(t, good), 1, 1, nil, ""},
		"P-384":             {sctList(t, by(large)), 1, 1, nil, ""},
		"RSA":               {sctList(t, by(rsaLog)), 1, 1, nil, ""},
		"two logs":          {sctList(t, good, by(rsaLog)), 2, 2, nil, ""},
		"more than asked":   {sctList(t, good, by(rsaLog)), 0, 2, nil, ""},
		"with extensions":   {sctList(t, p256.sct(t, pre, issuer, signedAt, "extensions")), 1, 1, nil, ""},
		"sixteen":           {sctList(t, slices.Repeat([][]byte{good}, 16)...), 1, 1, nil, ""},
		"first moment":      {sctList(t, by(old)), 1, 1, nil, ""},
		"last moment":       {sctList(t, old.sct(t, pre, issuer, signedAt.Add(time.Hour), "")), 1, 1, nil, ""},
		"of others too":     {sctList(t, by(unknown), good), 1, 1, nil, ""},
		"of others, unread": {sctList(t, altered(by(unknown), end, 9)), 0, 0, nil, ""},
		"none, none asked":  {nil, 0, 0, nil, ""},

		"none":               {nil, 1, -1, ErrUntrustedCertificate, "demands those of 1 trusted CT logs, and the certificate has them of 0"},
		"only of others":     {sctList(t, by(unknown)), 1, -1, ErrUntrustedCertificate, "demands those of 1 trusted CT logs, and the certificate has them of 0"},
		"twice the same":     {sctList(t, good, good), 2, -1, ErrUntrustedCertificate, "demands those of 2 trusted CT logs, and the certificate has them of 1"},
		"twice the same log": {sctList(t, good, p256.sct(t, pre, issuer, signedAt.Add(time.Second), "")), 2, -1, ErrUntrustedCertificate, "demands those of 2 trusted CT logs, and the certificate has them of 1"},
		"before its key":     {sctList(t, good, old.sct(t, pre, issuer, signedAt.Add(-time.Millisecond), "")), 1, -1, ErrExpired, "2024-05-06T07:08:08Z"},
		"after its key":      {sctList(t, good, old.sct(t, pre, issuer, signedAt.Add(time.Hour+time.Millisecond), "")), 1, -1, ErrExpired, ""},
		"false and late":     {sctList(t, altered(old.sct(t, pre, issuer, signedAt.Add(2*time.Hour), ""), 40, 0x55)), 1, -1, ErrUntrustedCertificate, "does not verify"},

		"one is false":        {sctList(t, good, altered(by(rsaLog), 40, 0x55)), 1, -1, ErrUntrustedCertificate, "does not verify"},
		"none asked, false":   {sctList(t, altered(good, 40, 0x55)), 0, -1, ErrUntrustedCertificate, "does not verify"},
		"of another issuer":   {sctList(t, p256.sct(t, pre, ca.chain[1], signedAt, "")), 1, -1, ErrUntrustedCertificate, "does not verify"},
		"of another":          {sctList(t, p256.sct(t, withList(t, ca, newTestKey(t).Public(), nil), issuer, signedAt, "")), 1, -1, ErrUntrustedCertificate, "does not verify"},
		"of the certificate":  {sctList(t, p256.sct(t, withList(t, ca, key, sctList(t, good)), issuer, signedAt, "")), 1, -1, ErrUntrustedCertificate, "does not verify"},
		"of another log":      {sctList(t, slices.Concat(good[:1], by(rsaLog)[1:33], good[33:])), 1, -1, ErrUntrustedCertificate, "does not go with its key"},
		"Ed25519":             {sctList(t, by(edLog)), 1, -1, ErrUntrustedCertificate, "does not go with its key"},
		"anonymous":           {sctList(t, altered(by(edLog), end+1, 0)), 1, -1, ErrUntrustedCertificate, "does not go with its key"},
		"SHA-1":               {sctList(t, altered(good, end, 2)), 1, -1, ErrUntrustedCertificate, "does not go with its key"},
		"says RSA":            {sctList(t, altered(good, end+1, 1)), 1, -1, ErrUntrustedCertificate, "does not go with its key"},
		"version 2":           {sctList(t, altered(good, 0, 1)), 1, -1, ErrUntrustedCertificate, "not of version 1"},
		"year 292278994":      {sctList(t, altered(good, 33, 0x80)), 1, -1, ErrUntrustedCertificate, "timestamp 922337"},
		"cut":                 {sctList(t, good[:len(good)-1]), 1, -1, ErrUntrustedCertificate, "not as long as it says"},
		"cut at algorithm":    {sctList(t, good[:end+1]), 1, -1, ErrUntrustedCertificate, "cut"},
		"cut in its head":     {sctList(t, good[:20]), 1, -1, ErrUntrustedCertificate, "cut"},
		"more in it":          {sctList(t, append(bytes.Clone(good), 0)), 1, -1, ErrUntrustedCertificate, "not its end"},
		"seventeen":           {sctList(t, slices.Repeat([][]byte{good}, 17)...), 1, -1, ErrUntrustedCertificate, "more than 16"},
		"no SCT":              {sctList(t), 1, -1, ErrUntrustedCertificate, "list of SCTs is empty"},
		"an empty SCT":        {sctList(t, good, nil), 1, -1, ErrUntrustedCertificate, "cut"},
		"more after the list": {asn1DER(t, slices.Concat(binary.BigEndian.AppendUint16(nil, uint16(2+len(good))), binary.BigEndian.AppendUint16(nil, uint16(len(good))), good, []byte{0}), ""), 1, -1, ErrUntrustedCertificate, "not as long as it says"},
		"half an SCT's head":  {asn1DER(t, []byte{0, 1, 0}, ""), 1, -1, ErrUntrustedCertificate, "an SCT is not as long as it says"},
		"an SCT too long":     {asn1DER(t, []byte{0, 3, 0, 2, 0}, ""), 1, -1, ErrUntrustedCertificate, "an SCT is not as long as it says"},
		"nothing":             {[]byte{}, 1, -1, ErrUntrustedCertificate, "not an octet string"},
		"no octets":           {[]byte{5, 0}, 1, -1, ErrUntrustedCertificate, "not an octet string"},
		"more after it":       {append(sctList(t, good), 0), 1, -1, ErrUntrustedCertificate, "not an octet string"},
	} {
		logs, err := trust.checkSCTs(withList(t, ca, key, c.list), issuer, c.n)
		if c.logs < 0 {
			checkRefusal(t, name, err, c.class, c.reason)
		} else if err != nil || len(logs) != c.logs {
			t.Errorf("%s: %d logs, %v", name, len(logs), err)
		}
		if err != nil && logs != nil {
			t.Errorf("%s: refused, and %d logs", name, len(logs))
		}
	}

	// One key under two IDs is one log.
	twin := p256.log
	twin.ID = bytes.Repeat([]byte{7}, 32)
	twins := mustTrust(t, Material{CTLogs: []Log{p256.log, twin}})
	leaf := withList(t, ca, key, sctList(t, good, slices.Concat(good[:1], twin.ID, good[33:])))
	if logs, err := twins.checkSCTs(leaf, issuer, 1); err != nil || len(logs) != 1 {
		t.Errorf("a log with two IDs: %d, %v", len(logs), err)
	}
	_, err = twins.checkSCTs(leaf, issuer, 2)
	checkRefusal(t, "a log with two IDs", err, ErrUntrustedCertificate, "demands those of 2 trusted CT logs, and the certificate has them of 1")

	poisoned := ca.issueTo(key, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3}, Value: []byte{5, 0}}}
	})
	_, err = trust.checkSCTs(poisoned, issuer, 0)
	checkRefusal(t, "precertificate", err, ErrUntrustedCertificate, "precertificate")
}

// TestEveryByteOfSCTs: a list that was altered anywhere is refused.
func TestEveryByteOfSCTs(t *testing.T) {
	ca, log := newTestCA(t, nil), newTestCTLog(t, newTestKey(t))
	trust, key := mustTrust(t, Material{CTLogs: []Log{log.log}}), newTestKey(t).Public()
	list := sctList(t, log.sct(t, withList(t, ca, key, nil), ca.chain[0], signedAt, "x"))
	refused := func(list []byte, what string, i int) {
		if _, err := trust.checkSCTs(withList(t, ca, key, list), ca.chain[0], 1); err == nil {
			t.Errorf("of %d bytes, byte %d %s", len(list), i, what)
		}
	}
	for i := range list {
		for _, mask := range []byte{1 << (i % 8), 0xff} {
			altered := bytes.Clone(list)
			altered[i] ^= mask
			refused(altered, "altered", i)
		}
		refused(list[:i], "cut", i)
		refused(slices.Delete(bytes.Clone(list), i, i+1), "left out", i)
		refused(slices.Insert(bytes.Clone(list), i, 0), "inserted before", i)
	}
	if _, err := trust.checkSCTs(withList(t, ca, key, list), ca.chain[0], 1); err != nil {
		t.Errorf("not altered: %v", err)
	}
}

// FuzzParseSCTs: what is read is what was there, to the last byte.
func FuzzParseSCTs(f *testing.F) {
	list, _ := extensionBytes(publicCertificate(f, "dsse.json"), oidSCTs)
	f.Add(list)
	one, err := hex.DecodeString("0433" + "0031" + "002f" + "00" + "00000000000000000000000000000000000000000000000000000000000000000000000000000001" + "0000" + "0403" + "000000")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Fuzz(func(t *testing.T, der []byte) {
		all, err := parseSCTs(der)
		if err != nil {
			return
		}
		var again [][]byte
		for _, s := range all {
			b := append([]byte{0}, s.logID[:]...)
			b = binary.BigEndian.AppendUint64(b, s.timestamp)
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(s.extensions))), s.extensions...)
			b = append(b, s.hash, s.algorithm)
			again = append(again, append(binary.BigEndian.AppendUint16(b, uint16(len(s.signature))), s.signature...))
		}
		if len(all) == 0 || len(all) > maxSCTs || !bytes.Equal(sctList(t, again...), der) {
			t.Errorf("%x reads as %x", der, again)
		}
	})
}
