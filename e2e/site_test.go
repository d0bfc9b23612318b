package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"
)

// site is a log with something in it, to be looked at.
type site struct {
	*judge
	*author
	logged []loggedEntry
	commit string // the ID of a Git commit that was signed
}

// loggedEntry is a submission with what the log calls it.
type loggedEntry struct {
	submission
	id    string
	index int64
}

// newSite starts a log and fills it with every kind of entry, signed with a key and with a certificate.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{judge: newJudge(t, startLog(t, "sqlite:")), author: newAuthor(t), commit: "0123456789abcdef0123456789abcdef01234567"}
	for _, label := range args("first", "second", "third") {
		for _, sub := range s.submissions(label) {
			s.add(sub)
		}
	}
	s.add(s.certified([]byte("a certified artifact")))
	s.add(s.certified([]byte(s.commit))) // as gitsign does
	return s
}

// certified is an artifact signed with the author's certificate.
func (a *author) certified(artifact []byte) submission {
	a.t.Helper()
	digest := sha256.Sum256(artifact)
	return submission{kind: "hashedrekord", version: "0.0.1", artifact: artifact, signature: a.sign(artifact),
		verifier: a.certificate, digest: hex.EncodeToString(digest[:])}
}

func (s *site) add(sub submission) loggedEntry {
	s.judge.t.Helper()
	id, entry := s.upload(propose(s.judge.t, sub))
	e := loggedEntry{sub, id, *entry.LogIndex}
	s.logged = append(s.logged, e)
	return e
}

// of returns the first entry of a kind.
func (s *site) of(kind string) loggedEntry {
	s.judge.t.Helper()
	for _, e := range s.logged {
		if e.kind == kind {
			return e
		}
	}
	s.judge.t.Fatalf("there is no %s", kind)
	panic("not reached")
}

// sentinel is a script that runs in every page before its own, and defines what hostile texts call. If one is taken for a
// script, there is a variable pwnedBy.
const sentinel = `globalThis.pwned = (n) => { globalThis.pwnedBy = n; };`

// hostile are texts that browsers take for more than text, if a page lets them.
var hostile = []string{
	`<script>pwned(1)</script>`,
	`"><script>pwned(2)</script>`,
	`'><img src=x onerror=pwned(3)>`,
	`" autofocus onfocus="pwned(4)`,
	`' onmouseover='pwned(5)`,
	`</script><script>pwned(6)</script>`,
	`</textarea></title></style><svg onload=pwned(7)>`,
	`<iframe srcdoc="<script>parent.pwned(8)</script>">`,
	`<a href="javascript:pwned(9)">`,
	`javascript:pwned(10)//`,
	`data:text/html,<script>pwned(11)</script>`,
	`{{pwned(12)}}${pwned(12)}#{pwned(12)}`,
	`<base href=//example.org/><form action=//example.org/><button autofocus>`,
	`<!--><svg/onload=pwned(14)>-->`,
	`<log-proof data-uuid=x data-api=//example.org/></log-proof>`,
	`&lt;script&gt;pwned(16)&lt;/script&gt;`,
	`\u003cscript\u003epwned(17)\u003c/script\u003e`,
	`<style>*{background:url(//example.org/)}</style>`,
	`<meta http-equiv=refresh content="0;url=javascript:pwned(19)">`,
}

// hostileCertificate is a certificate that has the text wherever a certificate can have one: its subject, its names, and the
// extensions that Fulcio writes.
func (a *author) hostileCertificate(text string) []byte {
	a.t.Helper()
	name := func(tag int) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)}
	}
	names := []asn1.RawValue{name(1), name(6)} // RFC 5280: rfc822Name, uniformResourceIdentifier
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: text, Organization: args(text)},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	extend := func(id asn1.ObjectIdentifier, value []byte) {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	}
	fulcio := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n} }
	marshal := func(value any, params string) []byte {
		der, err := asn1.MarshalWithParams(value, params)
		if err != nil {
			a.t.Fatal(err)
		}
		return der
	}
	for n := 1; n <= 6; n++ {
		extend(fulcio(n), []byte(text))
	}
	for n := 8; n <= 24; n++ {
		extend(fulcio(n), marshal(text, "utf8"))
	}
	// A name that the log refuses is left out, so that the rest gets in.
	for ; ; names = names[:len(names)-1] {
		t := *template
		if len(names) > 0 {
			t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: marshal(names, "")})
		}
		der, err := x509.CreateCertificate(rand.Reader, &t, &t, &a.key.PublicKey, a.key)
		if err != nil {
			a.t.Fatal(err)
		}
		if _, err := x509.ParseCertificate(der); err == nil {
			return block("CERTIFICATE", der)
		} else if len(names) == 0 {
			a.t.Fatal(err)
		}
	}
}

// hostileEntries logs entries that have the text everywhere, and returns their IDs.
func (s *site) hostileEntries(text string) []string {
	s.judge.t.Helper()
	certificate := s.hostileCertificate(text)
	artifact := []byte("hostile: " + text)
	digest := sha256.Sum256(artifact)
	payload, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": text,
		"subject":   []any{map[string]any{"name": text, "digest": map[string]string{"sha256": hex.EncodeToString(digest[:])}}},
		"predicate": map[string]any{text: []string{text}, "__proto__": map[string]string{"x": text}},
	})
	if err != nil {
		s.judge.t.Fatal(err)
	}
	return []string{
		s.post(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
			"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(digest[:])}},
			"signature": map[string]any{"content": s.sign(artifact), "publicKey": map[string]any{"content": certificate}}}}),
		s.post(dsseEntry(s.envelope("application/vnd.in-toto+json", payload), certificate)),
		s.post(dsseEntry(s.envelope(text, []byte(text)), certificate)),
	}
}

func dsseEntry(envelope, verifier []byte) map[string]any {
	return map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
		"proposedContent": map[string]any{"envelope": string(envelope), "verifiers": [][]byte{verifier}}}}
}

// post logs a proposal as it is, and returns the entry's ID.
func (s *site) post(proposal any) string {
	s.judge.t.Helper()
	body, err := json.Marshal(proposal)
	if err != nil {
		s.judge.t.Fatal(err)
	}
	answer, err := http.Post(s.log.url+"/api/v1/log/entries", "application/json", bytes.NewReader(body))
	if err != nil {
		s.judge.t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusCreated {
		s.judge.t.Fatalf("logging %s: %s, %v: %s", body, answer.Status, err, said)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(said, &entries); err != nil {
		s.judge.t.Fatal(err)
	}
	for id := range entries {
		return id
	}
	s.judge.t.Fatal("the answer has no entry")
	panic("not reached")
}
