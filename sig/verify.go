package sig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512 for crypto.Hash.New
	"errors"
	"fmt"
)

// ErrSignature is the error, perhaps wrapped, of a signature that is not the
// key's over the message.
var ErrSignature = errors.New("signature does not verify")

// VerifyDigest checks a signature over a message of which only the digest, made
// with h, is known: ECDSA in ASN.1 DER, RSA PKCS#1 v1.5, or, for an Ed25519 key,
// Ed25519ph (RFC 8032, section 5.1), whose h has to be SHA-512.
func (k *Key) VerifyDigest(h crypto.Hash, digest, signature []byte) error {
	if len(digest) != h.Size() {
		return fmt.Errorf("%s digest has %d bytes, not %d", h, len(digest), h.Size())
	}
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(pub, digest, signature) {
			return nil
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(pub, h, digest, signature); err == nil {
			return nil
		}
	case ed25519.PublicKey:
		if h != crypto.SHA512 {
			return fmt.Errorf("unsupported hash algorithm: Ed25519ph is over SHA-512, not %s", h)
		}
		if ed25519.VerifyWithOptions(pub, digest, signature, &ed25519.Options{Hash: h}) == nil {
			return nil
		}
	default:
		return fmt.Errorf("unsupported public key type %T", k.Public)
	}
	return ErrSignature
}

// VerifyMessage checks a signature over a message: as VerifyDigest for ECDSA and
// RSA, with the digest made with h; an Ed25519 key takes the message itself (pure
// Ed25519), whatever h.
func (k *Key) VerifyMessage(h crypto.Hash, message, signature []byte) error {
	if pub, ok := k.Public.(ed25519.PublicKey); ok {
		if ed25519.VerifyWithOptions(pub, message, signature, &ed25519.Options{}) == nil {
			return nil
		}
		return ErrSignature
	}
	if h == crypto.SHA256 { // the common one, without an allocation
		digest := sha256.Sum256(message)
		return k.VerifyDigest(h, digest[:], signature)
	}
	d := h.New()
	d.Write(message)
	return k.VerifyDigest(h, d.Sum(nil), signature)
}
