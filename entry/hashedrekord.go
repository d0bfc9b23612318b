package entry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// hashedRekord is the spec of hashedrekord 0.0.1: a signature over a digest.
//
//	{"data":{"hash":{"algorithm":…,"value":hex}},
//	 "signature":{"content":base64,"publicKey":{"content":base64 of PEM}}}
//
// The canonical body is of the same form, and a proposal itself.
type hashedRekord struct {
	hash           digest
	signature, key []byte
}

func readHashedRekord(spec []byte) (hashedRekord, error) {
	var h hashedRekord
	err := readSpec(spec, func(r *strictjson.Reader, name string) error {
		switch name {
		case "data":
			return readObject(r, "data", func(m string) error {
				switch m {
				case "hash":
					return readDigest(r, "data.hash", &h.hash)
				case "url":
					return refuseURL(r, "data.url")
				}
				return nil
			})
		case "signature":
			return readObject(r, "signature", func(m string) error {
				switch m {
				case "content":
					return readBase64(r, "signature content", &h.signature)
				case "publicKey":
					return readKeyContent(r, &h.key)
				case "url":
					return refuseURL(r, "signature.url")
				}
				return nil
			})
		}
		return nil
	})
	return h, err
}

// readKeyContent reads {"content": base64 of PEM}.
func readKeyContent(r *strictjson.Reader, key *[]byte) error {
	return readObject(r, "publicKey", func(m string) error {
		switch m {
		case "content":
			return readBase64(r, "public key content", key)
		case "url":
			return refuseURL(r, "publicKey.url")
		}
		return nil
	})
}

// refuseURL refuses a member that asks the log to fetch something, unless it is
// null or empty.
func refuseURL(r *strictjson.Reader, name string) error {
	value, err := r.Raw()
	if err == nil && string(value) != "null" && string(value) != `""` {
		err = fmt.Errorf("%s is given, but the log fetches nothing: send the content", name)
	}
	return err
}

// check looks at everything but the key and the signature, and returns the hash
// function and the digest.
func (h hashedRekord) check() (crypto.Hash, []byte, error) {
	switch {
	case h.signature == nil:
		return 0, nil, errors.New("signature in body is required")
	case len(h.signature) == 0:
		return 0, nil, errors.New("verifying signature: the signature is empty")
	case !h.hash.given:
		return 0, nil, errors.New("data.hash in body is required")
	case h.hash.algorithm == nil || h.hash.value == nil:
		return 0, nil, errors.New("data.hash.algorithm and data.hash.value in body are required")
	case h.key == nil:
		return 0, nil, errors.New("signature.publicKey.content in body is required")
	}
	var alg crypto.Hash
	switch string(h.hash.algorithm) {
	case "sha256":
		alg = crypto.SHA256
	case "sha384":
		alg = crypto.SHA384
	case "sha512":
		alg = crypto.SHA512
	default:
		return 0, nil, errors.New("data.hash.algorithm in body should be one of [sha256 sha384 sha512]")
	}
	value, err := h.hash.decode(alg.Size())
	return alg, value, err
}

func proposeHashedRekord(p *Parser, spec []byte) (draft, error) {
	h, err := readHashedRekord(spec)
	if err != nil {
		return draft{}, err
	}
	alg, value, err := h.check()
	if err != nil {
		return draft{}, err
	}
	key, err := p.keys.ParsePEM(h.key)
	if err != nil {
		return draft{}, err
	}
	if err := key.VerifyChain(); err != nil {
		return draft{}, err
	}
	if err := key.VerifyDigest(alg, value, h.signature); err != nil {
		return draft{}, fmt.Errorf("verifying signature: %w", err)
	}
	if !pairAllowed(key.Public, alg) {
		return draft{}, errors.New("entry algorithms are not allowed")
	}
	h.key = key.PEM
	d := draft{body: h.canonical()}
	d.keys.signer(key)
	d.keys.digest(h.hash)
	return d, nil
}

// pairAllowed holds Rekor's default client-signing-algorithms: only these pairs of
// key and hash are accepted. An RSA key's size is counted in whole bytes, as there: a
// modulus of 2,041 to 2,047 bits, which some old key generators make, passes for
// 2,048 (sigstore/sigstore, pkg/signature/algorithm_registry.go).
func pairAllowed(key crypto.PublicKey, hash crypto.Hash) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := key.Size() * 8
		return hash == crypto.SHA256 && (bits == 2048 || bits == 3072 || bits == 4096)
	case *ecdsa.PublicKey:
		switch key.Curve.Params().Name {
		case "P-256":
			return hash == crypto.SHA256
		case "P-384":
			return hash == crypto.SHA384
		case "P-521":
			return hash == crypto.SHA512
		}
	case ed25519.PublicKey:
		return hash == crypto.SHA512
	}
	return false
}

func (h hashedRekord) canonical() []byte {
	b := newBody("hashedrekord", "0.0.1", len(h.hash.value)+(len(h.signature)+len(h.key))*4/3)
	b = append(b, `{"data":{"hash":`...)
	b = appendDigest(b, h.hash)
	b = append(b, `},"signature":{"content":`...)
	b = appendBase64(b, h.signature)
	b = append(b, `,"publicKey":{"content":`...)
	b = appendBase64(b, h.key)
	return append(b, `}}}}`...)
}

func committedHashedRekord(p *Parser, spec []byte) (record, error) {
	h, err := readHashedRekord(spec)
	if err != nil {
		return record{}, err
	}
	if _, _, err := h.check(); err != nil {
		return record{}, err
	}
	rec := record{body: h.canonical()}
	rec.digest(OfArtifact, h.hash)
	rec.signer(p, h.key, h.signature)
	return rec, nil
}

// signer notes a key in a canonical body and the signature that it made, if the body
// has it; with its search keys, if it can be read.
func (rec *record) signer(p *Parser, pem, signature []byte) *sig.Key {
	key, err := p.keys.ParsePEM(pem)
	if err != nil {
		rec.signers = append(rec.signers, Signer{PEM: pem, Problem: err.Error(), Signature: signature})
		return nil
	}
	rec.signers = append(rec.signers, Signer{Key: key, PEM: pem, Signature: signature})
	rec.keys.signer(key)
	return key
}

// digest notes a digest in a canonical body, and its search key.
func (rec *record) digest(of string, d digest) {
	rec.digests = append(rec.digests, Digest{of, string(d.algorithm), string(d.value)})
	rec.keys.digest(d)
}
