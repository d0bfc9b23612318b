// Package keys opens and makes the keys that a log signs with.
//
// A key is a file (PEM) or is held by a key management service, which is reached
// through sigstore's plug-in programs (sigstore-kms-<scheme>), so that no cloud
// SDK is part of this program.
//
// The log key of a v1 tree is ECDSA on P-256 and signs SHA-256: rekor-cli, cosign
// and sigstore-go check v1 checkpoints and signed entry timestamps with nothing
// else. Any other key is refused.
package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Errors of Open, by what the caller does about them. All others mean that the
// key is there and could not be used.
var (
	// ErrNotFound: there is no such file, or no plug-in program for the scheme.
	ErrNotFound = errors.New("key not found")
	// ErrPassword: the key is encrypted, and no password was given or a wrong one.
	ErrPassword = errors.New("key is protected by a password")
	// ErrKeyType: the key is not ECDSA P-256.
	ErrKeyType = errors.New("unsupported key type")
)

// Key signs for one log. It may be used by many goroutines.
type Key struct {
	public *ecdsa.PublicKey
	spki   []byte // DER SubjectPublicKeyInfo of public
	signer signer
}

// signer makes ASN.1 DER ECDSA signatures over the SHA-256 of a message.
type signer interface {
	sign(ctx context.Context, message []byte) ([]byte, error)
}

// Open returns the key that ref names: a URI such as "awskms://…" is a key of a
// key management service, anything else the path of a PEM file.
//
// A file holds a PKCS#8 ("PRIVATE KEY") or SEC 1 ("EC PRIVATE KEY") key, or one
// encrypted with a password: by cosign ("ENCRYPTED SIGSTORE PRIVATE KEY" or
// "ENCRYPTED COSIGN PRIVATE KEY") or as PKCS#8 ("ENCRYPTED PRIVATE KEY", PBES2).
// password is called at most once, only for an encrypted key; it may be nil.
//
// The public key of a service's key is fetched once, now. ctx bounds this call
// only, not later signatures.
func Open(ctx context.Context, ref string, password func() ([]byte, error)) (*Key, error) {
	if strings.Contains(ref, "://") {
		return openKMS(ctx, ref)
	}
	return openFile(ref, password)
}

// Sign returns the ASN.1 DER ECDSA signature over SHA-256(message). A key of a
// service honours ctx, and what the service returns was verified.
func (k *Key) Sign(ctx context.Context, message []byte) ([]byte, error) {
	return k.signer.sign(ctx, message)
}

// PublicKey returns the public key. It must not be changed.
func (k *Key) PublicKey() *ecdsa.PublicKey { return k.public }

// SPKI returns the public key as DER SubjectPublicKeyInfo. It must not be changed.
func (k *Key) SPKI() []byte { return k.spki }

// LogID returns the SHA-256 of SPKI: what Rekor calls the log ID.
func (k *Key) LogID() [sha256.Size]byte { return sha256.Sum256(k.spki) }

// PEM returns the public key as PEM ("PUBLIC KEY").
func (k *Key) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.spki})
}

// newKey checks that public may be the key of a v1 log.
func newKey(public crypto.PublicKey, s signer) (*Key, error) {
	p, ok := public.(*ecdsa.PublicKey)
	if !ok || p.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: the key is %s, but the log key of a v1 tree must be ECDSA P-256", ErrKeyType, describe(public))
	}
	spki, err := x509.MarshalPKIXPublicKey(p)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return &Key{public: p, spki: spki, signer: s}, nil
}

// describe names a key's type as people know it.
func describe(public crypto.PublicKey) string {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + p.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", p.N.BitLen())
	}
	return fmt.Sprintf("of type %T", public)
}

// local signs in this process, without I/O.
type local struct{ private *ecdsa.PrivateKey }

func (l local) sign(_ context.Context, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, l.private, digest[:])
}
