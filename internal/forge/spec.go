package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.Hash.New
	"crypto/x509"
	"fmt"
	"strconv"
	"time"
)

// Content is what a signature is over.
type Content int

// The sorts of contents.
const (
	Message Content = iota // the artifact
	Simple                 // cosign's payload that names an image by its digest
	Attest                 // an in-toto statement about the artifact
)

// Names that appear in what is made.
const (
	InTotoType  = "application/vnd.in-toto+json"
	StatementV1 = "https://in-toto.io/Statement/v1"
	Predicate   = "https://predicates.example.test/build/v1"
)

// Spec says what evidence to make.
type Spec struct {
	Artifact []byte
	Author   *Key
	// Certificate is the author's, if there is one, and Chain what comes with it in bundles before 0.3.
	Certificate *x509.Certificate
	Chain       []*x509.Certificate
	Content     Content
	// Version is the bundle's: "0.1", "0.2" or "0.3".
	Version string
	// Logs get an entry each, of which there is what Has says.
	Logs      []*Log
	Has       Has
	Witnesses []*Witness
	Time      time.Time
	// IntotoV2 asks v1 logs for intoto entries where they else would make dsse ones.
	IntotoV2 bool
	// Stamp makes timestamps of the signature.
	Stamp []func(signature []byte) []byte
	// What follows changes parts before they are signed and logged, if set.
	EditPayload func(payload Object) Node
	EditBody    func(body Object) Node
	PayloadType string // of the envelope; "" means InTotoType
}

// Made is evidence, in parts.
type Made struct {
	Spec
	Payload   []byte // Simple, Attest: what was signed
	Signature []byte
	Envelope  Object // Attest
	Entries   []Logged
	Stamps    [][]byte
}

// Digest returns the artifact's SHA-256.
func (s Spec) Digest() [32]byte { return sha256.Sum256(s.Artifact) }

// Signed returns the digest that entries give of the artifact, "sha256:…" or, by other keys, sha384 or sha512.
func (s Spec) Signed() string {
	h, name, _ := s.hash()
	return fmt.Sprintf("%s:%x", name, digestOf(h, s.Artifact))
}

// Statement returns an in-toto statement about artifacts with these SHA-256 digests.
func Statement(predicateType string, digests ...[32]byte) Object {
	var subjects Array
	for i, d := range digests {
		subjects = append(subjects, Object{"name": "artifact" + strconv.Itoa(i), "digest": Object{"sha256": fmt.Sprintf("%x", d)}})
	}
	return Object{"_type": StatementV1, "subject": subjects, "predicateType": predicateType,
		"predicate": Object{"builder": Object{"id": "https://builder.example.test"}, "level": Number("3")}}
}

// SimpleSigning returns cosign's payload for an image.
func SimpleSigning(digest [32]byte) Object {
	return Object{
		"critical": Object{
			"identity": Object{"docker-reference": "registry.example.test/app"},
			"image":    Object{"docker-manifest-digest": fmt.Sprintf("sha256:%x", digest)},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	}
}

// PAE returns what a DSSE signature is over.
func PAE(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// hash returns the digest algorithm that goes with the author's key where entries are
// made over a digest, with its names in v1 entries and in Sigstore's protobuf.
func (s Spec) hash() (h crypto.Hash, v1, proto string) {
	switch k := s.Author.Public().(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return crypto.SHA384, "sha384", "SHA2_384"
		}
	case ed25519.PublicKey:
		return crypto.SHA512, "sha512", "SHA2_512"
	}
	return crypto.SHA256, "sha256", "SHA2_256"
}

func digestOf(h crypto.Hash, message []byte) []byte {
	d := h.New()
	d.Write(message)
	return d.Sum(nil)
}

// Make makes it. The logs stay as they are: entries are made in clones of them.
func (s Spec) Make() *Made {
	m := &Made{Spec: s}
	h, _, _ := s.hash()
	switch message := s.message(m); {
	case s.Content == Attest && (len(s.Logs) == 0 || !s.Logs[0].V2()):
		m.Signature = s.Author.SignMessage(message)
	default:
		m.Signature = s.Author.SignDigest(h, digestOf(h, message))
	}
	if s.Content == Attest {
		m.Envelope = Object{"payload": Base64(m.Payload), "payloadType": s.payloadType(),
			"signatures": Array{Object{"sig": Base64(m.Signature)}}}
	}
	for _, l := range s.Logs {
		body := m.body(l)
		if s.EditBody != nil {
			m.Entries = append(m.Entries, l.Clone().Put(s.EditBody(body), s.Time, s.Witnesses...))
			continue
		}
		m.Entries = append(m.Entries, l.Clone().Put(body, s.Time, s.Witnesses...))
	}
	for _, stamp := range s.Stamp {
		m.Stamps = append(m.Stamps, stamp(m.Signature))
	}
	return m
}

func (s Spec) payloadType() string {
	if s.PayloadType != "" {
		return s.PayloadType
	}
	return InTotoType
}

// message returns what is signed, and notes the payload.
func (s Spec) message(m *Made) []byte {
	var payload Object
	switch s.Content {
	case Simple:
		payload = SimpleSigning(s.Digest())
	case Attest:
		payload = Statement(Predicate, s.Digest())
	default:
		return s.Artifact
	}
	var node Node = payload
	if s.EditPayload != nil {
		node = s.EditPayload(payload)
	}
	m.Payload = Encode(node)
	if s.Content == Attest {
		return PAE(s.payloadType(), m.Payload)
	}
	return m.Payload
}

// verifier returns key or certificate as entries of v1 logs have it.
func (s Spec) verifier() []byte {
	if s.Certificate != nil {
		return CertificatePEM(s.Certificate)
	}
	return s.Author.PEM()
}

// body returns the log entry's body.
func (m *Made) body(l *Log) Object {
	h, v1, proto := m.hash()
	message := m.Artifact
	switch m.Content {
	case Simple:
		message = m.Payload
	case Attest:
		message = PAE(m.payloadType(), m.Payload)
	}
	if l.V2() {
		verifier := Object{"publicKey": Object{"rawBytes": Base64(m.Author.SPKI)}}
		if m.Certificate != nil {
			verifier = Object{"x509Certificate": Object{"rawBytes": Base64(m.Certificate.Raw)}}
		}
		details := m.Author.details()
		if h == crypto.SHA512 {
			details = "PKIX_ED25519_PH"
		}
		return HashedRekordV2(proto, digestOf(h, message), m.Signature, details, verifier)
	}
	switch {
	case m.Content != Attest:
		return HashedRekordV1(v1, digestOf(h, message), m.Signature, m.verifier())
	case m.IntotoV2:
		return IntotoV2(Encode(m.Envelope), m.payloadType(), m.Payload, m.Signature, m.verifier())
	}
	return DSSEV1(Encode(m.Envelope), m.Payload, m.Signature, m.verifier())
}
