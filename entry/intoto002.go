package entry

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// intoto002 is the spec of intoto 0.0.2: a DSSE envelope with a key beside each
// signature.
//
//	{"content":{"envelope":{"payload":base64 of base64,"payloadType":…,
//	   "signatures":[{"keyid":…,"publicKey":base64 of PEM,"sig":base64 of base64}]},
//	 "hash":{…},"payloadHash":{…}}}
//
// The canonical body lacks the payload. Keys are not re-encoded, and the hash is
// what the client says: it is not indexed. The payloadHash is computed.
type intoto002 struct {
	payloadType, payload []byte // payload: base64 text
	signatures           []intotoSignature
	hasSignatures        bool
	hash, payloadHash    digest
}

type intotoSignature struct {
	keyID, key, sig []byte // sig: base64 text
}

func readIntoto002(spec []byte) (intoto002, error) {
	var t intoto002
	err := readSpec(spec, func(r *strictjson.Reader, name string) error {
		if name != "content" {
			return nil
		}
		return readObject(r, name, func(m string) error {
			switch m {
			case "envelope":
				return readObject(r, "content.envelope", func(m string) error { return t.readEnvelope(r, m) })
			case "hash":
				return readDigest(r, "content.hash", &t.hash)
			case "payloadHash":
				return readDigest(r, "content.payloadHash", &t.payloadHash)
			}
			return nil
		})
	})
	if err != nil {
		return t, err
	}
	return t, t.check()
}

func (t *intoto002) readEnvelope(r *strictjson.Reader, member string) error {
	switch member {
	case "payloadType":
		return readText(r, member, &t.payloadType)
	case "payload":
		return readBase64(r, member, &t.payload)
	case "signatures":
		if r.Null() {
			return nil
		}
		t.hasSignatures = true
		return r.Array(func() error { return t.readSignature(r) })
	}
	return nil
}

func (t *intoto002) readSignature(r *strictjson.Reader) error {
	if len(t.signatures) == maxCommitted {
		return fmt.Errorf("more than %d signatures", maxCommitted)
	}
	var s intotoSignature
	err := readObject(r, "signatures", func(m string) error {
		switch m {
		case "keyid":
			return readText(r, m, &s.keyID)
		case "publicKey":
			return readBase64(r, m, &s.key)
		case "sig":
			return readBase64(r, "signature", &s.sig)
		}
		return nil
	})
	t.signatures = append(t.signatures, s)
	return err
}

// check looks at what proposals and canonical bodies have in common.
func (t intoto002) check() error {
	switch {
	case t.payloadType == nil:
		return errors.New("content.envelope.payloadType in body is required")
	case !t.hasSignatures:
		return errors.New("content.envelope.signatures in body is required")
	case len(t.signatures) == 0:
		return errNoSignatures
	}
	for i, s := range t.signatures {
		if s.key == nil || s.sig == nil {
			return fmt.Errorf("content.envelope.signatures.%d.publicKey and .sig in body are required", i)
		}
	}
	return t.hash.isSHA256("content.hash")
}

func proposeIntoto002(p *Parser, spec []byte) (draft, error) {
	t, err := readIntoto002(spec)
	if err != nil {
		return draft{}, err
	}
	if len(t.payload) == 0 {
		return draft{}, errors.New("entry not insertable into log: missing envelope content")
	}
	if len(t.signatures) > MaxSignatures {
		return draft{}, fmt.Errorf("%d signatures, more than %d", len(t.signatures), MaxSignatures)
	}
	e, err := t.envelope()
	if err != nil {
		return draft{}, fmt.Errorf("could not verify envelope: %w", err)
	}
	pems := make([][]byte, len(t.signatures))
	for i, s := range t.signatures {
		pems[i] = s.key
	}
	if _, err := newChecker(e).matchKeys(p, e.Signatures, pems, false); err != nil {
		return draft{}, err
	}
	t.payloadHash = sha256Digest(sha256.Sum256(e.Payload))
	d := draft{body: t.canonical(), attestation: e.Payload}
	for _, s := range t.signatures {
		key, err := p.keys.ParsePEM(s.key)
		if err != nil {
			return draft{}, err
		}
		d.keys.signer(key)
	}
	d.keys.digest(t.payloadHash)
	d.keys.statement(e.PayloadType, e.Payload)
	return d, nil
}

// envelope decodes the inner base64.
func (t intoto002) envelope() (*sig.Envelope, error) {
	payload, err := sig.DecodeBase64(t.payload)
	if err != nil {
		return nil, fmt.Errorf("payload, after one decoding: %w", err)
	}
	if len(payload) == 0 || len(t.payloadType) == 0 {
		return nil, errors.New("payload or payloadType is empty")
	}
	e := &sig.Envelope{PayloadType: string(t.payloadType), Payload: payload}
	for _, s := range t.signatures {
		b, err := sig.DecodeBase64(s.sig)
		if err != nil {
			return nil, fmt.Errorf("sig, after one decoding: %w", err)
		}
		e.Signatures = append(e.Signatures, sig.Signature{KeyID: string(s.keyID), Text: string(s.sig), Sig: b})
	}
	return e, nil
}

func (t intoto002) canonical() []byte {
	size := 320 + len(t.payloadType)
	for _, s := range t.signatures {
		size += len(s.keyID) + (len(s.key)+len(s.sig))*4/3 + 48
	}
	b := newBody("intoto", "0.0.2", size)
	b = append(b, `{"content":{"envelope":{"payloadType":`...)
	b = appendText(b, t.payloadType)
	b = append(b, `,"signatures":[`...)
	for i, s := range t.signatures {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		if len(s.keyID) > 0 {
			b = append(b, `"keyid":`...)
			b = appendText(b, s.keyID)
			b = append(b, ',')
		}
		b = append(b, `"publicKey":`...)
		b = appendBase64(b, s.key)
		b = append(b, `,"sig":`...)
		b = appendBase64(b, s.sig)
		b = append(b, '}')
	}
	b = append(b, `]},"hash":`...)
	b = appendDigest(b, t.hash)
	b = append(b, `,"payloadHash":`...)
	b = appendDigest(b, t.payloadHash)
	return append(b, `}}}`...)
}

func isProposedIntoto002(spec []byte) bool { return hasMember(spec, "content", "envelope", "payload") }

func committedIntoto002(p *Parser, spec []byte) (record, error) {
	t, err := readIntoto002(spec)
	if err != nil {
		return record{}, err
	}
	if err := t.payloadHash.isSHA256("content.payloadHash"); err != nil {
		return record{}, err
	}
	rec := record{body: t.canonical(), payloadType: string(t.payloadType)}
	for _, s := range t.signatures {
		rec.signer(p, s.key, decoded(s.sig))
	}
	rec.payload(t.payloadHash)
	return rec, nil
}
