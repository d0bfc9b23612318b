package verify

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// CosignSignature is a signature of an image as cosign attaches it to the image in its
// older format: a layer of the image <repository>:sha256-<digest>.sig, or .att for
// attestations, and that layer's annotations. Absent annotations are empty.
type CosignSignature struct {
	Payload     []byte // the layer: the payload that was signed, or a DSSE envelope
	Signature   string // dev.cosignproject.cosign/signature: base64. Empty for an attestation.
	Certificate string // dev.sigstore.cosign/certificate: PEM
	Chain       string // dev.sigstore.cosign/chain: PEM
	Bundle      string // dev.sigstore.cosign/bundle: the log's answer, in JSON
	Timestamp   string // dev.sigstore.cosign/rfc3161timestamp: JSON
}

// ParseCosign reads a signature or attestation of an image in cosign's older format.
// Errors are of class ErrMalformed.
func ParseCosign(s CosignSignature) (*Evidence, error) {
	e := &Evidence{}
	err := func() (err error) {
		for _, text := range []string{s.Signature, s.Certificate, s.Chain, s.Bundle, s.Timestamp} {
			if len(text) > MaxBundle {
				return fmt.Errorf("an annotation has more than %d bytes", MaxBundle)
			}
		}
		if s.Signature == "" {
			if err := e.setEnvelope(s.Payload); err != nil {
				return err
			}
			e.timestamped = s.Payload // see proving.timestamps
		} else {
			if len(s.Payload) > MaxBundle {
				return fmt.Errorf("the payload has more than %d bytes", MaxBundle)
			}
			e.form, e.payload = simpleSigning, s.Payload
			if e.signature, err = decodeBase64([]byte(s.Signature), "signature", MaxSignature); err != nil {
				return err
			}
		}
		if err := e.setCertificates([]byte(s.Certificate), []byte(s.Chain)); err != nil {
			return err
		}
		if s.Bundle != "" {
			err = whole([]byte(s.Bundle), e.readCosignEntry)
			if err != nil {
				return fmt.Errorf("bundle: %w", err)
			}
		}
		if s.Timestamp != "" {
			if err := e.setCosignTimestamp([]byte(s.Timestamp)); err != nil {
				return err
			}
		}
		return e.check()
	}()
	if err != nil {
		return nil, &Error{ErrMalformed, "cosign signature", err}
	}
	return e, nil
}

// ParseCosignBlob reads the bundle that `cosign sign-blob --bundle` and `attest-blob --bundle` write in their
// older format: an object with base64Signature (of an attestation: the DSSE envelope), cert and rekorBundle. timestamp is the file of
// --rfc3161-timestamp, or nil. Errors are of class ErrMalformed.
func ParseCosignBlob(bundle, timestamp []byte) (*Evidence, error) {
	e := &Evidence{}
	err := func() error {
		if len(bundle) > MaxBundle {
			return fmt.Errorf("%d bytes are over the limit of %d", len(bundle), MaxBundle)
		}
		if err := whole(bundle, e.readCosignBlob); err != nil {
			return err
		}
		if len(timestamp) > 0 {
			if err := e.setCosignTimestamp(timestamp); err != nil {
				return err
			}
		}
		return e.check()
	}()
	if err != nil {
		return nil, &Error{ErrMalformed, "cosign bundle", err}
	}
	return e, nil
}

func (e *Evidence) readCosignBlob(r *strictjson.Reader) error {
	_, err := object(r, "bundle", func(name []byte) error {
		switch string(name) {
		case "base64Signature":
			signed, err := readBase64(r, "base64Signature", MaxBundle)
			if err != nil {
				return err
			}
			if bytes.HasPrefix(signed, []byte("{")) {
				err = e.setEnvelope(signed)
				e.timestamped = signed
				return err
			}
			e.form, e.signature = messageSignature, signed
			return nil
		case "cert":
			text, err := readBase64(r, "cert", sig.MaxPEM)
			if err != nil {
				return err
			}
			if bytes.Contains(text, []byte("-----BEGIN PUBLIC KEY-----")) {
				if e.namedKey, err = sig.ParsePEM(text); err == nil && e.namedKey.Certificates != nil {
					err = errors.New("cert is neither a certificate nor a public key")
				}
				return err
			}
			return e.setCertificates(text, nil)
		case "rekorBundle":
			return e.readCosignEntry(r)
		}
		return unknownMember("a cosign bundle", name)
	})
	return err
}

// readCosignEntry reads a log entry as cosign keeps it:
//
//	{"SignedEntryTimestamp":base64,"Payload":{"body":base64,"integratedTime":…,"logIndex":…,"logID":hex}}
func (e *Evidence) readCosignEntry(r *strictjson.Reader) error {
	entry := &Entry{setSuffices: true}
	present, err := object(r, "rekorBundle", func(name []byte) (err error) {
		switch string(name) {
		case "SignedEntryTimestamp":
			entry.SET, err = readBase64(r, "SignedEntryTimestamp", MaxSignature)
		case "Payload":
			_, err = object(r, "Payload", func(name []byte) (err error) {
				switch string(name) {
				case "body":
					entry.Body, err = readBase64(r, "body", MaxEntryBody)
				case "integratedTime":
					entry.IntegratedTime, err = readNumber(r, "integratedTime")
				case "logIndex":
					entry.LogIndex, err = readNumber(r, "logIndex")
				case "logID":
					entry.LogID, err = readHex(r, "logID", maxLogID)
				default:
					return unknownMember("Payload", name)
				}
				return err
			})
		default:
			return unknownMember("a cosign bundle", name)
		}
		return err
	})
	if err != nil || !present {
		return err
	}
	entry.Kind, entry.Version, _, err = readBody(entry.Body)
	e.entries = append(e.entries, entry)
	return err
}

// setCosignTimestamp reads {"SignedRFC3161Timestamp":base64}.
func (e *Evidence) setCosignTimestamp(text []byte) error {
	if len(text) > MaxBundle {
		return errors.New("the timestamp is too long")
	}
	err := whole(text, func(r *strictjson.Reader) error {
		_, err := object(r, "timestamp", func(name []byte) error {
			if string(name) != "SignedRFC3161Timestamp" {
				return unknownMember("a timestamp", name)
			}
			token, err := readBase64(r, "SignedRFC3161Timestamp", MaxTimestamp)
			e.timestamps = append(e.timestamps, token)
			return err
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	return nil
}

// readSimpleSigning returns the digest of the image that a "simple signing" payload names:
//
//	{"critical":{"identity":{"docker-reference":…},"image":{"docker-manifest-digest":…},"type":…},"optional":…}
func readSimpleSigning(payload []byte) (digest string, err error) {
	kind := ""
	err = whole(payload, func(r *strictjson.Reader) error {
		_, err := object(r, "payload", func(name []byte) error {
			switch string(name) {
			case "critical":
				_, err := object(r, "critical", func(name []byte) error {
					switch string(name) {
					case "identity":
						return nil // what the signer called the image
					case "image":
						_, err := object(r, "image", func(name []byte) error {
							if string(name) != "docker-manifest-digest" {
								return unknownMember("image", name)
							}
							text, err := readText(r, "docker-manifest-digest")
							digest = string(text)
							return err
						})
						return err
					case "type":
						text, err := readText(r, "type")
						kind = string(text)
						return err
					}
					return unknownMember("critical", name)
				})
				return err
			case "optional":
				return nil // the signer's annotations
			}
			return unknownMember("a payload", name)
		})
		return err
	})
	if err == nil && kind != "cosign container image signature" && kind != CosignSignType {
		err = fmt.Errorf("its type is %q, not that of an image's signature", clip(kind))
	}
	return digest, err
}
