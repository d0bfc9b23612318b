package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

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
