package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
)

// Key is a signing key.
type Key struct {
	crypto.Signer
	SPKI []byte // SubjectPublicKeyInfo, DER
}

// P256 returns the ECDSA P-256 key of a name.
func P256(name string) *Key { return ecdsaKey(elliptic.P256(), name) }

// P384 returns the ECDSA P-384 key of a name.
func P384(name string) *Key { return ecdsaKey(elliptic.P384(), name) }

// Ed25519 returns the Ed25519 key of a name.
func Ed25519(name string) *Key {
	seed := sha256.Sum256([]byte(name))
	return newKey(ed25519.NewKeyFromSeed(seed[:]))
}

func ecdsaKey(curve elliptic.Curve, name string) *Key {
	seed := sha512.Sum512([]byte(name))
	scalar := seed[:curve.Params().BitSize/8]
	scalar[0] &= 0x7f // below the order of the group
	return newKey(must(ecdsa.ParseRawPrivateKey(curve, scalar)))
}

func newKey(s crypto.Signer) *Key {
	return &Key{s, must(x509.MarshalPKIXPublicKey(s.Public()))}
}

// PEM returns the public key in PEM.
func (k *Key) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.SPKI})
}

// SignMessage signs a message: ECDSA over its SHA-256, or pure Ed25519.
func (k *Key) SignMessage(message []byte) []byte {
	if _, ok := k.Signer.(ed25519.PrivateKey); ok {
		return must(k.Sign(nil, message, crypto.Hash(0)))
	}
	digest := sha256.Sum256(message)
	return k.SignDigest(crypto.SHA256, digest[:])
}

// SignDigest signs a digest: ECDSA, or Ed25519ph, for which it is SHA-512.
func (k *Key) SignDigest(h crypto.Hash, digest []byte) []byte {
	return must(k.Sign(nil, digest, h))
}

// details returns the name that Sigstore has for the key's algorithm
// (sigstore_common.proto, PublicKeyDetails).
func (k *Key) details() string {
	pub, ok := k.Public().(*ecdsa.PublicKey)
	switch {
	case !ok:
		return "PKIX_ED25519"
	case pub.Curve == elliptic.P384():
		return "PKIX_ECDSA_P384_SHA_384"
	}
	return "PKIX_ECDSA_P256_SHA_256"
}
