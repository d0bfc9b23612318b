package sig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// Envelope is a DSSE envelope (secure-systems-lab/dsse, envelope.md), decoded.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []Signature
}

// Signature is one signature of an envelope.
type Signature struct {
	KeyID string // what the signer calls the key; "" if absent. Not to be trusted.
	Text  string // the base64 text as it stands in the envelope
	Sig   []byte // what it encodes
}

// PAE returns the bytes that a DSSE signature is over (dsse, protocol.md):
// "DSSEv1", the length of the type, the type, the length of the payload, and the
// payload, with one space between.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len("DSSEv1    ")+2*20+len(payloadType)+len(payload))
	b = append(b, "DSSEv1 "...)
	b = strconv.AppendInt(b, int64(len(payloadType)), 10)
	b = append(b, ' ')
	b = append(b, payloadType...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, ' ')
	return append(b, payload...)
}

// ParseEnvelope reads an envelope of at most maxSignatures signatures, and at least
// one. Base64 may be in the standard or the URL-safe alphabet, padded, with line
// breaks. Unknown members are ignored, but a member that is a known one but for
// case is refused, as is a repeated one: other readers would see another envelope.
func ParseEnvelope(data []byte, maxSignatures int) (*Envelope, error) {
	r := strictjson.New(data)
	var e Envelope
	var payloadType, payload []byte
	err := r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "payloadType":
			payloadType, err = r.Text()
		case "payload":
			payload, err = r.Text()
		case "signatures":
			e.Signatures, err = readSignatures(&r, maxSignatures)
		default:
			err = noVariant(name, "payloadType", "payload", "signatures")
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("DSSE envelope: %w", err)
	case payloadType == nil:
		return nil, errors.New("DSSE envelope has no payloadType")
	case payload == nil:
		return nil, errors.New("DSSE envelope has no payload")
	case len(e.Signatures) == 0:
		return nil, errors.New("DSSE envelope must contain 1 or more signatures")
	}
	e.PayloadType = string(payloadType)
	if e.Payload, err = DecodeBase64(payload); err != nil {
		return nil, fmt.Errorf("DSSE envelope: payload: %w", err)
	}
	return &e, nil
}

func readSignatures(r *strictjson.Reader, limit int) ([]Signature, error) {
	var all []Signature
	err := r.Array(func() error {
		if len(all) == limit {
			return fmt.Errorf("more than %d signatures", limit)
		}
		s, err := readSignature(r)
		all = append(all, s)
		return err
	})
	return all, err
}

func readSignature(r *strictjson.Reader) (Signature, error) {
	var keyID, text []byte
	err := r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "keyid":
			if !r.Null() {
				keyID, err = r.Text()
			}
		case "sig":
			text, err = r.Text()
		default:
			err = noVariant(name, "keyid", "sig")
		}
		return err
	})
	if err != nil {
		return Signature{}, err
	}
	if text == nil {
		return Signature{}, errors.New("signature without sig")
	}
	s := Signature{KeyID: string(keyID), Text: string(text)}
	if s.Sig, err = DecodeBase64(text); err != nil {
		return Signature{}, fmt.Errorf("sig: %w", err)
	}
	return s, nil
}

// noVariant refuses a name that differs from a known one in nothing but case.
func noVariant(name []byte, known ...string) error {
	for _, k := range known {
		if bytes.EqualFold(name, []byte(k)) {
			return fmt.Errorf("member %q is not %q", name, k)
		}
	}
	return nil
}

// DecodeBase64 decodes padded base64 of the standard or, failing that, the
// URL-safe alphabet, as DSSE asks of verifiers. Line breaks are ignored.
func DecodeBase64(text []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(out, text)
	if err != nil {
		if n, err = base64.URLEncoding.Decode(out, text); err != nil {
			return nil, err
		}
	}
	return out[:n], nil
}
