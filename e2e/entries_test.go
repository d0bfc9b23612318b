package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// author signs things with a P-256 key and has a self-made certificate for it.
type author struct {
	t           *testing.T
	key         *ecdsa.PrivateKey
	publicKey   []byte // PEM
	certificate []byte // PEM, for email
	email       string
}

func newAuthor(t *testing.T) *author {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	const email = "Author@example.com"
	template := &x509.Certificate{
		SerialNumber:   big.NewInt(1),
		Subject:        pkix.Name{CommonName: "author"},
		NotBefore:      time.Now().Add(-time.Hour),
		NotAfter:       time.Now().Add(time.Hour),
		EmailAddresses: []string{email},
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &author{t, key, block("PUBLIC KEY", spki), block("CERTIFICATE", certificate), email}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *author) sign(message []byte) []byte {
	a.t.Helper()
	digest := sha256.Sum256(message)
	signature, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		a.t.Fatal(err)
	}
	return signature
}

// submission is something to be logged, in the words of rekor's tools.
type submission struct {
	kind, version string
	artifact      []byte // the DSSE envelope for dsse and intoto
	signature     []byte // nil for dsse and intoto: it is in the envelope
	verifier      []byte // public key or certificate, PEM
	payload       []byte // of the envelope
	digest        string // hex SHA-256 of what a search would ask for
}

func (s submission) String() string { return s.kind + ":" + s.version }

// submissions returns one of every kind and version, about things named after label.
func (a *author) submissions(label string) []submission {
	artifact := []byte("an artifact named " + label)
	digest := sha256.Sum256(artifact)
	detached := submission{version: "0.0.1", artifact: artifact, signature: a.sign(artifact),
		verifier: a.publicKey, digest: hex.EncodeToString(digest[:])}
	all := []submission{detached, detached}
	all[0].kind, all[1].kind = "hashedrekord", "rekord"
	for _, v := range [][2]string{{"dsse", "0.0.1"}, {"intoto", "0.0.1"}, {"intoto", "0.0.2"}} {
		payload, envelope := a.attest(label + v[0] + v[1])
		digest := sha256.Sum256(payload)
		all = append(all, submission{kind: v[0], version: v[1], artifact: envelope, verifier: a.publicKey,
			payload: payload, digest: hex.EncodeToString(digest[:])})
	}
	return all
}

// attest makes an in-toto statement about something named label, and a DSSE
// envelope around it with the author's signature.
func (a *author) attest(label string) (payload, envelope []byte) {
	a.t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	digest := sha256.Sum256([]byte(label))
	payload = fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://example.com/predicate","subject":[{"name":%q,"digest":{"sha256":"%x"}}],"predicate":{}}`, label, digest)
	return payload, a.envelope(payloadType, payload)
}

// envelope makes a DSSE envelope around a payload with the author's signature.
func (a *author) envelope(payloadType string, payload []byte) []byte {
	a.t.Helper()
	preAuthenticationEncoding := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
	envelope, err := json.Marshal(map[string]any{
		"payloadType": payloadType,
		"payload":     base64.StdEncoding.EncodeToString(payload),
		"signatures":  []map[string]string{{"sig": base64.StdEncoding.EncodeToString(a.sign(preAuthenticationEncoding))}},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return envelope
}
