package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// What is proposed to a log is only put together here: that the signature is the key's
// over the artifact is checked by entry.Parser.Propose, which says exactly what is wrong.

// maxSignature is the most that is read of a file with a signature, in bytes.
const maxSignature = 64 << 10

// maxRekord is the largest artifact that is sent whole, in bytes. (A server of ours takes bodies
// of 4 MiB.)
const maxRekord = 2 << 20

// readKey reads a public key or certificates, as PEM: also DER, and the base64 of PEM
// that cosign writes certificates in.
func readKey(path string) ([]byte, error) {
	data, err := readLimited(path, sig.MaxPEM)
	if err != nil {
		return nil, err
	}
	text, err := keyText(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

func keyText(data []byte) ([]byte, error) {
	if text, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil {
		data = text
	}
	key, err := sig.ParsePEM(data)
	if err != nil && !bytes.Contains(data, []byte("-----BEGIN")) {
		if key, err = sig.ParseCertificate(data); err != nil {
			key, err = sig.ParsePublicKey(data)
		}
	}
	if isPrivateKey(data) {
		return nil, errors.New("this is a private key: the log takes the public one (cosign.pub), and the signature made before")
	}
	if err != nil {
		return nil, fmt.Errorf("neither a public key nor a certificate: %w", err)
	}
	return key.PEM, nil
}

// isPrivateKey reports whether data is a private key in PEM, encrypted or not.
func isPrivateKey(data []byte) bool {
	block, _ := pem.Decode(data)
	return block != nil && strings.Contains(block.Type, "PRIVATE")
}

// readSignature reads a signature, raw or in base64.
func readSignature(path string) ([]byte, error) {
	data, err := readLimited(path, maxSignature)
	if err != nil {
		return nil, err
	}
	if raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil {
		return raw, nil
	}
	return data, nil
}

type object = map[string]any

// proposal returns a proposal as JSON.
func proposal(kind string, spec object) ([]byte, error) {
	return json.Marshal(object{"kind": kind, "apiVersion": "0.0.1", "spec": spec})
}

// digest is a named digest.
type digest struct {
	algorithm string
	value     []byte
}

// digestFor returns the digest of a file that a signature with the key is over, by the
// log's rules: SHA-256, but SHA-384 for P-384, and SHA-512 for P-521 and Ed25519(ph).
func digestFor(key *sig.Key, path string) (digest, error) {
	d, h := digest{algorithm: "sha256"}, hash.Hash(sha256.New())
	switch pub := key.Public.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve.Params().Name {
		case "P-384":
			d.algorithm, h = "sha384", sha512.New384()
		case "P-521":
			d.algorithm, h = "sha512", sha512.New()
		}
	case ed25519.PublicKey:
		d.algorithm, h = "sha512", sha512.New()
	}
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	_, err = io.Copy(h, f)
	d.value = h.Sum(nil)
	return d, err
}

// proposeArtifact proposes a signature over a file: as hashedrekord or, if the signature
// is a pure Ed25519 one, which no digest serves for, as rekord, with the file.
func proposeArtifact(parser *entry.Parser, path string, signature, keyPEM []byte) ([]byte, error) {
	key, err := sig.ParsePEM(keyPEM)
	if err != nil {
		return nil, err
	}
	d, err := digestFor(key, path)
	if err != nil {
		return nil, err
	}
	p, err := proposeDigest(d, signature, keyPEM)
	if _, ok := key.Public.(ed25519.PublicKey); !ok || err != nil {
		return p, err
	}
	if _, err := parser.Propose(p); err == nil {
		return p, nil
	}
	content, err := readLimited(path, maxRekord)
	if err != nil {
		return nil, fmt.Errorf("a pure Ed25519 signature takes the whole artifact to the log: %w", err)
	}
	return proposal("rekord", object{
		"data":      object{"content": content},
		"signature": object{"format": "x509", "content": signature, "publicKey": object{"content": keyPEM}},
	})
}

func proposeDigest(d digest, signature, keyPEM []byte) ([]byte, error) {
	return proposal("hashedrekord", object{
		"data":      object{"hash": object{"algorithm": d.algorithm, "value": hex.EncodeToString(d.value)}},
		"signature": object{"content": signature, "publicKey": object{"content": keyPEM}},
	})
}

// proposeEnvelope proposes a DSSE envelope in JSON, as dsse.
func proposeEnvelope(envelope, keyPEM []byte) ([]byte, error) {
	return proposal("dsse", object{
		"proposedContent": object{"envelope": string(envelope), "verifiers": [][]byte{keyPEM}},
	})
}

// bundle is what is needed of a Sigstore bundle (sigstore_bundle.proto, in JSON, versions
// 0.1 to 0.3), or of the one that cosign 2 writes for blobs. Whatever is wrong with it, the
// log gets what a signature was checked over, or nothing.
type bundle struct {
	MediaType            string `json:"mediaType"`
	VerificationMaterial struct {
		Certificate          *rawBytes `json:"certificate"`
		X509CertificateChain struct {
			Certificates []rawBytes `json:"certificates"`
		} `json:"x509CertificateChain"`
	} `json:"verificationMaterial"`
	MessageSignature *struct {
		MessageDigest struct {
			Algorithm string `json:"algorithm"`
			Digest    []byte `json:"digest"`
		} `json:"messageDigest"`
		Signature []byte `json:"signature"`
	} `json:"messageSignature"`
	DSSEEnvelope json.RawMessage `json:"dsseEnvelope"`

	Base64Signature []byte `json:"base64Signature"`
	Cert            string `json:"cert"` // PEM, or base64 of it: of a certificate or a key
}

type rawBytes struct {
	RawBytes []byte `json:"rawBytes"`
}

// proposeBundle proposes the signature of a bundle. The key is needed where the
// bundle has no certificate, the artifact (a path) where it does not say the digest.
func proposeBundle(parser *entry.Parser, data []byte, keyPEM []byte, artifact string) ([]byte, error) {
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("not a bundle: %w", err)
	}
	own, err := b.key()
	if err != nil {
		return nil, err
	}
	switch {
	case own != nil && keyPEM != nil && !bytes.Equal(own, keyPEM):
		return nil, errors.New("--key or --certificate is not what is in the bundle")
	case own != nil:
		keyPEM = own
	case keyPEM == nil:
		return nil, usageError{errors.New("the bundle names its key by a hint only: give --key")}
	}
	m := b.MessageSignature
	switch {
	case len(b.DSSEEnvelope) > 0 && artifact != "":
		return nil, usageError{errors.New("the bundle holds an attestation, which needs no artifact")}
	case len(b.DSSEEnvelope) > 0:
		return proposeEnvelope(b.DSSEEnvelope, keyPEM)
	case b.Base64Signature != nil && artifact == "":
		return nil, usageError{errors.New("a bundle of this form needs the artifact, too")}
	case b.Base64Signature != nil:
		return proposeArtifact(parser, artifact, b.Base64Signature, keyPEM)
	case m == nil:
		return nil, errors.New("the bundle holds no signature")
	case artifact != "":
		return proposeArtifact(parser, artifact, m.Signature, keyPEM)
	}
	algorithm, ok := map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}[m.MessageDigest.Algorithm]
	if !ok {
		return nil, usageError{errors.New("the bundle does not say the artifact's digest: give the artifact, too")}
	}
	return proposeDigest(digest{algorithm, m.MessageDigest.Digest}, m.Signature, keyPEM)
}

// key returns the key or certificate in a bundle, as PEM; nil if there is none.
func (b *bundle) key() ([]byte, error) {
	material := b.VerificationMaterial
	switch {
	case material.Certificate != nil:
		return keyText(material.Certificate.RawBytes)
	case len(material.X509CertificateChain.Certificates) > 0:
		return keyText(material.X509CertificateChain.Certificates[0].RawBytes)
	case b.Cert != "":
		return keyText([]byte(b.Cert))
	}
	return nil, nil
}

// readInput reads a file of at most what a log could take.
func readInput(path string) ([]byte, error) { return readLimited(path, verify.MaxBundle) }
