package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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

type kindVersion struct{ kind, version string }

// record is what the body of a v1 entry says, whatever its kind.
type record struct {
	format       []byte // rekord
	signature    []byte
	key          []byte // PEM
	hash         recordedHash
	payloadHash  recordedHash
	envelopeHash recordedHash
	payloadType  []byte // intoto 0.0.2
	signatures   int
}

type recordedHash struct {
	algorithm string
	digest    []byte
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

// readRecord reads the body of a v1 entry, of the kinds that record signatures.
func readRecord(entry *Entry) (*record, error) {
	spec := entry.spec
	if spec == nil {
		var err error
		if _, _, spec, err = readBody(entry.Body); err != nil {
			return nil, err
		}
	}
	rec := &record{}
	var read func(r *strictjson.Reader, name []byte) error
	switch (kindVersion{entry.Kind, entry.Version}) {
	case kindVersion{"hashedrekord", "0.0.1"}, kindVersion{"rekord", "0.0.1"}:
		read = rec.readHashedRekord
	case kindVersion{"dsse", "0.0.1"}:
		read = rec.readDSSE
	case kindVersion{"intoto", "0.0.1"}, kindVersion{"intoto", "0.0.2"}:
		read = rec.readIntoto
	default:
		return nil, fmt.Errorf("entries of kind %s %s cannot be compared with a signature", clip(entry.Kind), clip(entry.Version))
	}
	err := whole(spec, func(r *strictjson.Reader) error {
		_, err := object(r, "spec", func(name []byte) error { return read(r, name) })
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(rec.key) == 0 || rec.signatures > 1:
		return nil, errors.New("it does not record one signature by one key")
	case rec.format != nil && string(rec.format) != "x509":
		return nil, fmt.Errorf("it records a signature of format %q", clip(string(rec.format)))
	case entry.Kind == "dsse" && rec.envelopeHash.digest == nil:
		return nil, errors.New("it records no envelope")
	case entry.Kind == "intoto" && (rec.payloadType == nil) != (entry.Version == "0.0.1"):
		return nil, errors.New("it is not of its own version")
	case rec.signature == nil && (entry.Kind != "intoto" || entry.Version != "0.0.1"):
		return nil, errors.New("it records no signature")
	}
	return rec, nil
}

// readHashedRekord reads a member of the spec of hashedrekord 0.0.1:
//
//	{"data":{"hash":{"algorithm":…,"value":hex}},
//	 "signature":{"content":base64,"publicKey":{"content":base64 of PEM}}}
//
// or of rekord 0.0.1, whose signature has a member "format" as well.
func (rec *record) readHashedRekord(r *strictjson.Reader, name []byte) error {
	switch string(name) {
	case "data":
		_, err := object(r, "data", func(name []byte) error {
			if string(name) != "hash" {
				return unknownMember("data", name)
			}
			return rec.hash.read(r)
		})
		return err
	case "signature":
		_, err := object(r, "signature", func(name []byte) (err error) {
			switch string(name) {
			case "content":
				rec.signature, err = readBase64(r, "signature", MaxSignature)
			case "format":
				rec.format, err = readText(r, "format")
			case "publicKey":
				_, err = object(r, "publicKey", func(name []byte) (err error) {
					if string(name) != "content" {
						return unknownMember("publicKey", name)
					}
					rec.key, err = readBase64(r, "publicKey", sig.MaxPEM)
					return err
				})
			default:
				return unknownMember("signature", name)
			}
			return err
		})
		return err
	}
	return unknownMember("spec", name)
}

// readDSSE reads a member of the spec of dsse 0.0.1:
//
//	{"envelopeHash":{…},"payloadHash":{…},"signatures":[{"signature":base64,"verifier":base64 of PEM}]}
func (rec *record) readDSSE(r *strictjson.Reader, name []byte) error {
	switch string(name) {
	case "envelopeHash":
		return rec.envelopeHash.read(r)
	case "payloadHash":
		return rec.payloadHash.read(r)
	case "signatures":
		return array(r, "signatures", MaxEntries, func() error {
			rec.signatures++
			return element(r, "signature", func(name []byte) (err error) {
				switch string(name) {
				case "signature":
					rec.signature, err = readBase64(r, "signature", MaxSignature)
				case "verifier":
					rec.key, err = readBase64(r, "verifier", sig.MaxPEM)
				default:
					return unknownMember("a signature", name)
				}
				return err
			})
		})
	}
	return unknownMember("spec", name)
}

// readIntoto reads a member of the spec of intoto 0.0.1:
//
//	{"content":{"hash":{…},"payloadHash":{…}},"publicKey":base64 of PEM}
//
// or 0.0.2, in which signatures are in base64 twice:
//
//	{"content":{"envelope":{"payloadType":…,"signatures":[{"publicKey":base64 of PEM,"sig":…}]},"hash":{…},"payloadHash":{…}}}
func (rec *record) readIntoto(r *strictjson.Reader, name []byte) (err error) {
	switch string(name) {
	case "publicKey":
		rec.key, err = readBase64(r, "publicKey", sig.MaxPEM)
		return err
	case "content":
		_, err = object(r, "content", func(name []byte) error {
			switch string(name) {
			case "hash":
				return rec.envelopeHash.read(r)
			case "payloadHash":
				return rec.payloadHash.read(r)
			case "envelope":
				_, err := object(r, "envelope", func(name []byte) (err error) {
					switch string(name) {
					case "payloadType":
						rec.payloadType, err = readText(r, "payloadType")
						return err
					case "signatures":
						return array(r, "signatures", MaxEntries, func() error {
							rec.signatures++
							return element(r, "signature", func(name []byte) error { return rec.readIntotoSignature(r, name) })
						})
					}
					return unknownMember("envelope", name)
				})
				return err
			}
			return unknownMember("content", name)
		})
		return err
	}
	return unknownMember("spec", name)
}

func (rec *record) readIntotoSignature(r *strictjson.Reader, name []byte) (err error) {
	switch string(name) {
	case "keyid":
		_, err = readText(r, "keyid")
	case "publicKey":
		rec.key, err = readBase64(r, "publicKey", sig.MaxPEM)
	case "sig":
		var text []byte
		if text, err = readBase64(r, "sig", 2*MaxSignature); err == nil {
			rec.signature, err = decodeBase64(text, "sig", MaxSignature)
		}
	default:
		return unknownMember("a signature", name)
	}
	return err
}

// read reads {"algorithm":…,"value":hex}.
func (h *recordedHash) read(r *strictjson.Reader) error {
	err := element(r, "hash", func(name []byte) error {
		text, err := readText(r, "hash")
		if err != nil {
			return err
		}
		switch string(name) {
		case "algorithm":
			h.algorithm = wellKnown(text)
		case "value":
			h.digest = r.Space(hex.DecodedLen(len(text)))
			if _, err := hex.Decode(h.digest, text); err != nil {
				return errors.New("a hash is not hexadecimal")
			}
		default:
			return unknownMember("hash", name)
		}
		return nil
	})
	if known, ok := hashes[h.algorithm]; err == nil && (!ok || len(h.digest) != known.Size()) {
		err = fmt.Errorf("a hash of %d bytes is not a %q", len(h.digest), clip(h.algorithm))
	}
	return err
}

// checkAttestation proves that what a log stored beside a v1 entry is what was signed.
func (e *Entry) checkAttestation() error {
	rec, err := readRecord(e)
	if err != nil {
		return refuse(ErrBadProof, e.name(), "attestation: %w", err)
	}
	sum := sha256.Sum256(e.Attestation)
	if rec.payloadHash.algorithm != "sha256" || !bytes.Equal(rec.payloadHash.digest, sum[:]) {
		return refuse(ErrBadProof, e.name(), "the attestation is not the one that the entry records")
	}
	return nil
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
