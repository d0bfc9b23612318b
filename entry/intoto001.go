package entry

import (
	"crypto/sha256"
	"errors"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
)

// intoto001 is the spec of intoto 0.0.1: a DSSE envelope and one key.
//
//	{"content":{"envelope":JSON as a string},"publicKey":base64 of PEM}
//
// The canonical body has content.hash (of the envelope) and content.payloadHash in
// place of the envelope; very old ones lack the latter. Hashes in a proposal are
// ignored: they are computed.
type intoto001 struct {
	envelope          []byte
	hash, payloadHash digest
	key               []byte
}

func readIntoto001(spec []byte) (intoto001, error) {
	var t intoto001
	err := readSpec(spec, func(r *strictjson.Reader, name string) error {
		switch name {
		case "content":
			return readObject(r, name, func(m string) error {
				switch m {
				case "envelope":
					return readText(r, m, &t.envelope)
				case "hash":
					return readDigest(r, "content.hash", &t.hash)
				case "payloadHash":
					return readDigest(r, "content.payloadHash", &t.payloadHash)
				}
				return nil
			})
		case "publicKey":
			return readBase64(r, "public key", &t.key)
		}
		return nil
	})
	if err == nil && t.key == nil {
		err = errors.New("publicKey in body is required")
	}
	return t, err
}

func proposeIntoto001(p *Parser, spec []byte) (draft, error) {
	t, err := readIntoto001(spec)
	if err != nil {
		return draft{}, err
	}
	if len(t.envelope) == 0 {
		return draft{}, errors.New("entry not insertable into log: missing envelope content")
	}
	key, err := p.keys.ParsePEM(t.key)
	if err != nil {
		return draft{}, err
	}
	e, err := sig.ParseEnvelope(t.envelope, MaxSignatures)
	if err != nil {
		return draft{}, err
	}
	if err := verifyOne(key, e); err != nil {
		return draft{}, err
	}
	if len(e.Payload) == 0 || e.PayloadType == "" {
		return draft{}, errors.New("entry not insertable into log: invalid DSSE envelope: payload or payloadType is empty")
	}
	t.hash = sha256Digest(sha256.Sum256(t.envelope))
	t.payloadHash = sha256Digest(sha256.Sum256(e.Payload))
	t.key = key.PEM
	d := draft{body: t.canonical(), attestation: e.Payload}
	d.keys.signer(key)
	d.keys.digest(t.hash)
	d.keys.digest(t.payloadHash)
	d.keys.statement(e.PayloadType, e.Payload)
	return d, nil
}

// verifyOne asks that the key made one of the signatures. One whose key ID is not
// empty and not the key's OpenSSH fingerprint does not count.
func verifyOne(key *sig.Key, e *sig.Envelope) error {
	var candidates []sig.Signature
	for _, s := range e.Signatures {
		if s.KeyID != "" {
			if f := key.SSHFingerprint(); f != "" && f != s.KeyID {
				continue
			}
		}
		candidates = append(candidates, s)
	}
	_, err := newChecker(e).firstOf(key, candidates)
	return err
}

func (t intoto001) canonical() []byte {
	b := newBody("intoto", "0.0.1", 256+len(t.key)*4/3)
	b = append(b, `{"content":{"hash":`...)
	b = appendDigest(b, t.hash)
	if t.payloadHash.given {
		b = append(b, `,"payloadHash":`...)
		b = appendDigest(b, t.payloadHash)
	}
	b = append(b, `},"publicKey":`...)
	b = appendBase64(b, t.key)
	return append(b, `}}`...)
}

func isProposedIntoto001(spec []byte) bool { return hasMember(spec, "content", "envelope") }

func committedIntoto001(p *Parser, spec []byte) (record, error) {
	t, err := readIntoto001(spec)
	if err != nil {
		return record{}, err
	}
	if err := t.hash.isSHA256("content.hash"); err != nil {
		return record{}, err
	}
	var rec record
	if t.payloadHash.given {
		if err := t.payloadHash.isSHA256("content.payloadHash"); err != nil {
			return record{}, err
		}
		rec.payload(t.payloadHash)
	}
	rec.digest(OfEnvelope, t.hash)
	if key := rec.signer(p, t.key, nil); key != nil {
		t.key = key.PEM
	}
	rec.body = t.canonical()
	return rec, nil
}

// payload notes the hash of the payload, which names the attestation as well.
func (rec *record) payload(d digest) {
	rec.digest(OfPayload, d)
	if b, err := d.decode(sha256.Size); err == nil {
		rec.attestation = tlog.Hash(b)
	}
}
