package entry

import (
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// rekord is the spec of rekord 0.0.1: a signature over an artifact that is sent
// along. Only x509 keys are accepted.
//
//	{"data":{"content":base64,"hash":{…}},
//	 "signature":{"content":base64,"format":"x509","publicKey":{"content":base64 of PEM}}}
//
// The canonical body has data.hash (SHA-256) in place of data.content.
type rekord struct {
	hash           digest
	data           []byte
	format         []byte
	signature, key []byte
}

func readRekord(spec []byte) (rekord, error) {
	var k rekord
	err := readSpec(spec, func(r *strictjson.Reader, name string) error {
		switch name {
		case "data":
			return readObject(r, "data", func(m string) error {
				switch m {
				case "hash":
					return readDigest(r, "data.hash", &k.hash)
				case "content":
					return readBase64(r, "data content", &k.data)
				case "url":
					return refuseURL(r, "data.url")
				}
				return nil
			})
		case "signature":
			return readObject(r, "signature", func(m string) error { return k.readSignature(r, m) })
		}
		return nil
	})
	return k, err
}

func (k *rekord) readSignature(r *strictjson.Reader, member string) error {
	switch member {
	case "content":
		return readBase64(r, "signature content", &k.signature)
	case "format":
		return readText(r, "signature.format", &k.format)
	case "publicKey":
		return readKeyContent(r, &k.key)
	case "url":
		return refuseURL(r, "signature.url")
	}
	return nil
}

// check looks at what proposals and canonical bodies have in common.
func (k rekord) check() error {
	switch {
	case k.format == nil:
		return errors.New("signature.format in body is required")
	case string(k.format) == "pgp", string(k.format) == "minisign", string(k.format) == "ssh":
		return &Error{NotEnabled, 400, fmt.Sprintf("error processing entry: kind not enabled: rekord with signature format %q", k.format)}
	case string(k.format) != "x509":
		return errors.New("signature.format in body should be one of [pgp minisign x509 ssh]")
	case len(k.signature) == 0:
		return errors.New("'content' must be specified for signature")
	case len(k.key) == 0:
		return errors.New("'content' must be specified for publicKey")
	case !k.hash.given && len(k.data) == 0:
		return errors.New("'content' must be specified for data")
	case !k.hash.given:
		return nil
	}
	if err := k.hash.isSHA256("data.hash"); err != nil {
		return err
	}
	_, err := k.hash.decode(sha256.Size)
	return err
}

func proposeRekord(p *Parser, spec []byte) (draft, error) {
	k, err := readRekord(spec)
	if err != nil {
		return draft{}, err
	}
	if err := k.check(); err != nil {
		return draft{}, err
	}
	if len(k.data) == 0 {
		return draft{}, errors.New("entry not insertable into log: missing data content")
	}
	sum := sha256.Sum256(k.data)
	computed := sha256Digest(sum)
	if k.hash.given && string(k.hash.value) != string(computed.value) {
		return draft{}, fmt.Errorf("SHA mismatch: content has %s, data.hash says %s", computed.value, k.hash.value)
	}
	key, err := p.keys.ParsePEM(k.key)
	if err != nil {
		return draft{}, err
	}
	if err := key.VerifyChain(); err != nil {
		return draft{}, err
	}
	if err := key.VerifyMessage(crypto.SHA256, k.data, k.signature); err != nil {
		return draft{}, fmt.Errorf("verifying signature: %w", err)
	}
	k.hash, k.key = computed, key.PEM
	d := draft{body: k.canonical()}
	d.keys.signer(key)
	d.keys.digest(k.hash)
	return d, nil
}

func (k rekord) canonical() []byte {
	b := newBody("rekord", "0.0.1", len(k.hash.value)+(len(k.signature)+len(k.key))*4/3)
	b = append(b, `{"data":{"hash":`...)
	b = appendDigest(b, k.hash)
	b = append(b, `},"signature":{"content":`...)
	b = appendBase64(b, k.signature)
	b = append(b, `,"format":"x509","publicKey":{"content":`...)
	b = appendBase64(b, k.key)
	return append(b, `}}}}`...)
}

func isProposedRekord(spec []byte) bool { return hasMember(spec, "data", "content") }

func committedRekord(p *Parser, spec []byte) (record, error) {
	k, err := readRekord(spec)
	if err != nil {
		return record{}, err
	}
	if err := k.check(); err != nil {
		return record{}, err
	}
	if !k.hash.given {
		return record{}, errors.New("data.hash in body is required")
	}
	rec := record{}
	if key := rec.signer(p, k.key, k.signature); key != nil {
		k.key = key.PEM
	}
	rec.digest(OfArtifact, k.hash)
	rec.body = k.canonical()
	return rec, nil
}
