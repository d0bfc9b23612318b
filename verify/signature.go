package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/sig"
)

// signature proves that one of the policy's keys, or the certificate's, signed.
func (p *proving) signature() error {
	const claim = "signature"
	if c := p.e.certificate; c != nil {
		if len(p.rules.identities) == 0 {
			return refuse(ErrIdentity, claim, "a certificate signed, but the policy names keys")
		}
		if err := checkKey(c.PublicKey); err != nil {
			return &Error{ErrUntrustedCertificate, claimCertificate, err}
		}
		key := &sig.Key{Public: c.PublicKey, Certificates: []*x509.Certificate{c}}
		if err := p.signedBy(key); err != nil {
			return refuse(ErrBadSignature, claim, "it is not by the certificate's key: %w", err)
		}
		p.by = signer{key, c.Raw}
		p.r.Certificate = c
		p.claim(ClaimSignature, 0)
		return nil
	}
	if len(p.rules.keys) == 0 {
		return refuse(ErrIdentity, claim, "a key signed, but the policy names identities in certificates")
	}
	for i, k := range p.keys {
		if p.e.namedKey != nil && !p.e.namedKey.SamePublic(k.key) {
			continue
		}
		if p.signedBy(k.key) == nil {
			p.by = k
			p.r.Key = i
			p.claim(ClaimSignature, 0)
			return nil
		}
	}
	if p.e.namedKey != nil {
		return refuse(ErrIdentity, claim, "it is said to be by a key that the policy does not name, or is not by that key")
	}
	return refuse(ErrBadSignature, claim, "it is by none of the policy's keys over this artifact")
}

// signedBy checks the signature over what was signed, with the hash that belongs to the key: of ECDSA, that of the
// curve's size. Older clients used SHA-256 with every curve.
func (p *proving) signedBy(key *sig.Key) error {
	if p.e.form == statement {
		// As in other verifiers of DSSE, a key ID that is not the key's is another key's.
		if id := p.e.envelope.Signatures[0].KeyID; id != "" && id != key.SSHFingerprint() {
			return fmt.Errorf("the signature is said to be by the key %q", clip(id))
		}
	}
	h := crypto.SHA256
	others := false
	switch k := key.Public.(type) {
	case ed25519.PublicKey:
		return p.signedByEd25519(key)
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			h, others = crypto.SHA384, true
		case elliptic.P521():
			h, others = crypto.SHA512, true
		}
	}
	err := p.signedWith(key, h)
	if err != nil && others && (!p.e.bundled || p.e.certificate != nil) {
		err = p.signedWith(key, crypto.SHA256)
	}
	return err
}

// signedWith checks the signature over a digest.
func (p *proving) signedWith(key *sig.Key, h crypto.Hash) error {
	digest, ok := p.message().sum(hashName(h))
	if !ok {
		return fmt.Errorf("such a key signs a %s, which is not known of %v", hashName(h), p.r.Artifact)
	}
	return key.VerifyDigest(h, digest, p.e.signature)
}

// message returns what was signed.
func (p *proving) message() *digests {
	switch {
	case p.e.form == messageSignature:
		return &p.a
	case p.m.artifact.whole:
	case p.e.form == statement:
		p.m.artifact = Artifact{message: sig.PAE(p.e.envelope.PayloadType, p.e.envelope.Payload), whole: true}
	default:
		p.m.artifact = Artifact{message: p.e.payload, whole: true}
	}
	return &p.m
}

// signedByEd25519 checks a signature by an Ed25519 key. Over an artifact it is Ed25519ph, with which alone logs record
// it; over a statement it is pure, or, where a bare key signed for a v2 log, Ed25519ph too; and clients of
// the older formats made pure ones of anything.
func (p *proving) signedByEd25519(key *sig.Key) error {
	message := p.message()
	pure := p.e.form == statement || !p.e.bundled && message.artifact.whole
	prehashed := p.e.form != statement || p.e.certificate == nil && slices.ContainsFunc(p.e.entries, (*Entry).v2)
	if pure && key.VerifyMessage(crypto.SHA512, message.artifact.message, p.e.signature) == nil {
		return nil
	}
	if !prehashed {
		return sig.ErrSignature
	}
	return p.signedWith(key, crypto.SHA512)
}

func hashName(h crypto.Hash) string {
	for name, known := range hashes {
		if known == h {
			return name
		}
	}
	return h.String()
}
