package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// readBody reads the outer object of an entry's body: kind, version, and what the kind
// defines.
func readBody(body []byte) (kind, version string, spec []byte, err error) {
	err = whole(body, func(r *strictjson.Reader) error {
		if r.Peek() != '{' {
			return errors.New("not an object")
		}
		return r.Object(func(name []byte) (err error) {
			var text []byte
			switch string(name) {
			case "kind":
				text, err = readText(r, "kind")
				kind = wellKnown(text)
			case "apiVersion":
				text, err = readText(r, "apiVersion")
				version = wellKnown(text)
			case "spec":
				spec, err = r.Raw()
			default:
				return unknownMember("a body", name)
			}
			return err
		})
	})
	if err == nil && (kind == "" || version == "" || spec == nil) {
		err = errors.New("kind, apiVersion or spec is missing")
	}
	return kind, version, spec, err
}

// wellKnown returns the text as a string. Common ones are there already.
func wellKnown(text []byte) string {
	switch string(text) {
	case "hashedrekord":
		return "hashedrekord"
	case "dsse":
		return "dsse"
	case "intoto":
		return "intoto"
	case "0.0.1":
		return "0.0.1"
	case "0.0.2":
		return "0.0.2"
	case "sha256":
		return "sha256"
	}
	return string(text)
}

// signer is the key or certificate that signed.
type signer struct {
	key *sig.Key
	der []byte // of the certificate, or of the key (SubjectPublicKeyInfo)
}

// bind proves that the entry's body is about this evidence: the same signature by the same
// key or certificate over the same bytes.
func (p *proving) bind(entry *Entry) error {
	e, by := p.e, p.by
	if entry.v2() {
		return p.bindV2(entry)
	}
	rec, err := readRecord(entry)
	if err != nil {
		return refuse(ErrBadProof, entry.name(), "its body: %w", err)
	}
	if (e.form == statement) != (entry.Kind == "dsse" || entry.Kind == "intoto") {
		return refuse(ErrBadProof, entry.name(), "an entry of kind %s does not record such a signature", entry.Kind)
	}
	if e.bundled && (entry.Kind == "rekord" || entry.Kind == "intoto" && entry.Version == "0.0.1") {
		return refuse(ErrBadProof, entry.name(), "entries of kind %s %s do not belong into bundles", entry.Kind, entry.Version)
	}
	// An entry has the hash of the envelope as the log got it; of intoto 0.0.2, whatever the client said it was. A bundle has
	// it in an encoding of its own. intoto 0.0.1 has nothing else of the signature.
	if e.rawEnvelope != nil && rec.payloadType == nil || rec.signature == nil {
		sum := sha256.Sum256(e.rawEnvelope)
		if e.rawEnvelope == nil || rec.envelopeHash.algorithm != "sha256" || !bytes.Equal(rec.envelopeHash.digest, sum[:]) {
			return refuse(ErrBadProof, entry.name(), "it records another envelope")
		}
	}
	if rec.signature != nil && !bytes.Equal(rec.signature, e.signature) {
		return refuse(ErrBadProof, entry.name(), "it records another signature")
	}
	if !by.isRecorded(rec.key) {
		return refuse(ErrBadProof, entry.name(), "it records another key or certificate")
	}
	if e.form == statement {
		// Old entries of intoto 0.0.1 have no hash of the payload; that of the envelope covers it.
		if rec.payloadHash.digest != nil || rec.signature != nil {
			sum := sha256.Sum256(e.envelope.Payload)
			if rec.payloadHash.algorithm != "sha256" || !bytes.Equal(rec.payloadHash.digest, sum[:]) {
				return refuse(ErrBadProof, entry.name(), "it records another payload")
			}
		}
		if rec.payloadType != nil && string(rec.payloadType) != e.envelope.PayloadType {
			return refuse(ErrBadProof, entry.name(), "it records another payload type")
		}
		return nil
	}
	if e.bundled && e.hash != rec.hash.algorithm {
		return refuse(ErrBadProof, entry.name(), "it records a %s, and the bundle a %s", clip(rec.hash.algorithm), e.hash)
	}
	digest, ok := p.message().sum(rec.hash.algorithm)
	if !ok || !bytes.Equal(digest, rec.hash.digest) {
		return refuse(ErrBadProof, entry.name(), "it records another digest")
	}
	return nil
}

// isRecorded reports whether PEM text that a log recorded is of the signer. Further certificates in it are
// the log's record of a chain.
func (s signer) isRecorded(text []byte) bool {
	if len(s.key.PEM) > 0 && bytes.Equal(text, s.key.PEM) {
		return true // as logs write it
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	if len(s.key.Certificates) > 0 {
		return block.Type == "CERTIFICATE" && bytes.Equal(block.Bytes, s.der)
	}
	if block.Type != "PUBLIC KEY" {
		return false
	}
	if bytes.Equal(block.Bytes, s.der) {
		return true
	}
	// A key has encodings other than the usual one.
	other, err := sig.ParsePublicKey(block.Bytes)
	return err == nil && s.key.SamePublic(other)
}

// keyDetails returns what a v2 log calls a key: its type with the hash that belongs to it
// (PublicKeyDetails, sigstore_common.proto), and the hash's names.
func keyDetails(k *sig.Key) (details, hash, algorithm string, err error) {
	switch k := k.Public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "PKIX_ECDSA_P256_SHA_256", "SHA2_256", "sha256", nil
		case elliptic.P384():
			return "PKIX_ECDSA_P384_SHA_384", "SHA2_384", "sha384", nil
		case elliptic.P521():
			return "PKIX_ECDSA_P521_SHA_512", "SHA2_512", "sha512", nil
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits == 2048 || bits == 3072 || bits == 4096 {
			return fmt.Sprintf("PKIX_RSA_PKCS1V15_%d_SHA256", bits), "SHA2_256", "sha256", nil
		}
	case ed25519.PublicKey:
		return "PKIX_ED25519_PH", "SHA2_512", "sha512", nil
	}
	return "", "", "", errors.New("no v2 log takes such a key")
}

// bindV2 is bind for Rekor v2: the only body that records this signature is made again, and is the same.
func (p *proving) bindV2(entry *Entry) error {
	e, by := p.e, p.by
	if entry.Kind != "hashedrekord" {
		return refuse(ErrBadProof, entry.name(), "entries of kind %s %s are not verified: current Rekor v2 logs record DSSE signatures as hashedrekord", entry.Kind, entry.Version)
	}
	details, hash, algorithm, err := keyDetails(by.key)
	if err != nil {
		return refuse(ErrBadProof, entry.name(), "%w", err)
	}
	if e.form == simpleSigning {
		return refuse(ErrBadProof, entry.name(), "a v2 log does not record such a signature")
	}
	digest, known := p.message().sum(algorithm)
	if !known || e.hash != "" && e.hash != algorithm {
		return refuse(ErrBadProof, entry.name(), "a v2 log records a %s for such a key, which is not at hand", algorithm)
	}
	verifier := "publicKey"
	if len(by.key.Certificates) > 0 {
		verifier = "x509Certificate"
	}
	b64 := base64.StdEncoding.AppendEncode
	// RFC 8785 sorts members: keyDetails, publicKey, x509Certificate.
	want := make([]byte, 0, len(entry.Body)+64)
	want = append(want, `{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"`...)
	want = append(want, hash...)
	want = append(want, `","digest":"`...)
	want = b64(want, digest)
	want = append(want, `"},"signature":{"content":"`...)
	want = b64(want, e.signature)
	want = append(want, `","verifier":{"keyDetails":"`...)
	want = append(want, details...)
	want = append(want, `","`...)
	want = append(want, verifier...)
	want = append(want, `":{"rawBytes":"`...)
	want = b64(want, by.der)
	want = append(want, `"}}}}}}`...)
	if !bytes.Equal(want, entry.Body) {
		return refuse(ErrBadProof, entry.name(), "its body is not the record of this signature, key and digest")
	}
	return nil
}
