package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// notation is what the log takes of a signature of Notation's (the Notary Project signature specification, "JWS
// envelope"): a JWS in flattened JSON (RFC 7515, section 7.2.2), with the signer's certificates in its header.
type notation struct {
	digest      digest // of the JWS signing input (RFC 7515, section 5.1)
	signature   []byte // ECDSA, in ASN.1 DER
	certificate []byte // of the signer, PEM
}

// notationAlgorithm is an algorithm of JWS (RFC 7518, section 3.4) that logs of the Rekor v1 API take.
type notationAlgorithm struct {
	hash  crypto.Hash
	name  string // of the hash, in the log
	curve elliptic.Curve
}

func notationAlgorithms() map[string]notationAlgorithm {
	return map[string]notationAlgorithm{
		"ES256": {crypto.SHA256, "sha256", elliptic.P256()},
		"ES384": {crypto.SHA384, "sha384", elliptic.P384()},
		"ES512": {crypto.SHA512, "sha512", elliptic.P521()},
	}
}

// jws is a JWS in flattened JSON, in part: its members as they are there.
type jws struct{ payload, protected, signature, leaf []byte }

// parseNotation reads an envelope. That the signature is the certificate's over the digest is not looked at here.
func parseNotation(data []byte) (notation, error) {
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == 0xd2 { // COSE_Sign1 with its tag (RFC 9052)
		return notation{}, errors.New("a COSE envelope, which the log does not take: sign with --signature-format jws")
	}
	j, err := readJWS(data)
	if err != nil {
		return notation{}, fmt.Errorf("not a Notation signature (JWS in JSON): %w", err)
	}
	name, err := j.algorithm()
	if err != nil {
		return notation{}, fmt.Errorf("protected header: %w", err)
	}
	algorithm, ok := notationAlgorithms()[name]
	switch {
	case name == "PS256" || name == "PS384" || name == "PS512":
		return notation{}, fmt.Errorf("an RSA signature with PSS padding (%s), which logs of the Rekor v1 API do not take: sign with an ECDSA key (P-256, P-384 or P-521)", name)
	case !ok:
		return notation{}, fmt.Errorf("algorithm %.80q is none of ES256, ES384 and ES512", name)
	}
	key, err := sig.ParseCertificate(j.leaf)
	if err != nil {
		return notation{}, fmt.Errorf("the first of x5c: %w", err)
	}
	if pub, ok := key.Public.(*ecdsa.PublicKey); !ok || pub.Curve != algorithm.curve {
		return notation{}, fmt.Errorf("the signer's certificate has no key for %s", name)
	}
	der, err := derSignature(j.signature, (algorithm.curve.Params().BitSize+7)/8)
	if err != nil {
		return notation{}, err
	}
	h := algorithm.hash.New()
	h.Write(j.protected)
	h.Write([]byte{'.'})
	h.Write(j.payload)
	return notation{digest{algorithm.name, h.Sum(nil)}, der, key.PEM}, nil
}

// readJWS reads an envelope. Members that are not known are left aside, as RFC 7515 demands; no member may be there twice.
func readJWS(data []byte) (jws, error) {
	var j jws
	r := strictjson.New(data)
	err := r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "payload":
			j.payload, err = readBase64URL(&r, "payload")
		case "protected":
			j.protected, err = readBase64URL(&r, "protected")
		case "signature":
			if j.signature, err = readBase64URL(&r, "signature"); err == nil {
				j.signature, err = decodeBase64URL(j.signature)
			}
		case "signatures":
			err = errors.New("it has several signatures (general JWS): Notation's have one")
		case "header":
			err = r.Object(func(name []byte) (err error) {
				if string(name) == "x5c" {
					j.leaf, err = readLeaf(&r)
				}
				return err
			})
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return jws{}, err
	case j.payload == nil || j.protected == nil || j.signature == nil:
		return jws{}, errors.New("payload, protected or signature is missing")
	case j.leaf == nil:
		return jws{}, errors.New("its header has no certificates (x5c)")
	}
	return j, nil
}

// readBase64URL reads a string that is base64url without padding (RFC 7515, section 2), and returns it as it is there.
func readBase64URL(r *strictjson.Reader, name string) ([]byte, error) {
	text, err := r.Text()
	if err == nil {
		_, err = decodeBase64URL(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

func decodeBase64URL(text []byte) ([]byte, error) {
	if bytes.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, errors.New("line break in base64url")
	}
	return base64.RawURLEncoding.Strict().AppendDecode([]byte{}, text)
}

// readLeaf reads x5c (RFC 7515, section 4.1.6): certificates in base64 of DER, the signer's first, of which it returns that one.
func readLeaf(r *strictjson.Reader) ([]byte, error) {
	var leaf []byte
	err := r.Array(func() error {
		if leaf != nil {
			return nil
		}
		text, err := r.Text()
		if err == nil {
			leaf, err = base64.StdEncoding.Strict().AppendDecode([]byte{}, text)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("x5c: %w", err)
	}
	return leaf, nil
}

// algorithm returns the algorithm of the protected header, in which nothing may change what is signed.
func (j jws) algorithm() (string, error) {
	header, err := decodeBase64URL(j.protected)
	if err != nil {
		return "", err
	}
	var name string
	r := strictjson.New(header)
	err = r.Object(func(member []byte) error {
		switch string(member) {
		case "alg":
			text, err := r.Text()
			name = string(text)
			return err
		case "b64": // RFC 7797: the payload is signed as it is
			return errors.New("b64 is not for Notation signatures")
		}
		return nil
	})
	if err == nil {
		err = r.End()
	}
	return name, err
}

// derSignature makes ASN.1 DER (RFC 3279, section 2.2.3) of an ECDSA signature as JWS has it (RFC 7518, section 3.4): r and s, of
// size bytes each.
func derSignature(raw []byte, size int) ([]byte, error) {
	if len(raw) != 2*size {
		return nil, fmt.Errorf("the signature has %d bytes, not %d", len(raw), 2*size)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:])})
}

// proposeNotation proposes the signature in an envelope, as hashedrekord.
func proposeNotation(envelope []byte) ([]byte, error) {
	n, err := parseNotation(envelope)
	if err != nil {
		return nil, err
	}
	return proposeDigest(n.digest, n.signature, n.certificate)
}
