// Package sig reads public keys, certificates and DSSE envelopes, and checks
// signatures. It needs nothing but the standard library, keeps no state, reads no
// clock, and trusts nobody: whether a certificate is to be believed is for its
// callers to judge.
package sig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

const (
	// MaxPEM is the largest PEM text that is looked at, in bytes. More would not fit
	// into a leaf of the log.
	MaxPEM = 65535
	// MaxChain is the largest number of certificates in a chain, leaf included.
	MaxChain = 10
	// MaxRSABits is the largest RSA modulus: a check's cost grows with its square.
	// It is the limit of crypto/tls.
	MaxRSABits = 8192
	// MaxRSAExponent is the largest RSA exponent, that of crypto/rsa: a check's cost
	// grows with its length.
	MaxRSAExponent = 1<<31 - 1
	// MaxCertificateSignature is the longest signature of a certificate, in bytes: no
	// longer one could be checked.
	MaxCertificateSignature = MaxRSABits / 8
)

const (
	typePublicKey   = "PUBLIC KEY"
	typeCertificate = "CERTIFICATE"
)

// Key is a public key, bare or in a certificate. It is immutable and may be used
// by many goroutines.
type Key struct {
	// Public is an *ecdsa.PublicKey, an *rsa.PublicKey or an ed25519.PublicKey.
	Public crypto.PublicKey
	// Certificates is the chain that the key came in, leaf first; nil for a bare key.
	Certificates []*x509.Certificate
	// PEM is the canonical text: the key as PKIX DER, or each certificate as it is,
	// in 64 columns, without headers, each block ending in a newline.
	PEM []byte
	// PEMHash is the SHA-256 of PEM, by which Rekor's index knows a key.
	PEMHash [sha256.Size]byte
	// Identities are the names in the leaf certificate, as they are written there.
	Identities []string
	// Issuers are the OIDC issuers that Fulcio wrote into the leaf certificate.
	Issuers []string

	chain func() error
}

// ParsePEM reads a PKIX public key ("PUBLIC KEY"), a certificate, or a chain of up
// to MaxChain certificates, leaf first. White space around and text before the
// first block are ignored; anything else beside the blocks is an error. The key of
// every certificate has to be usable, not the leaf's alone. Neither validity periods
// nor the chain's signatures are looked at (see VerifyChain).
func ParsePEM(data []byte) (*Key, error) {
	if len(data) > MaxPEM {
		return nil, fmt.Errorf("invalid public key: %d bytes of PEM, more than %d", len(data), MaxPEM)
	}
	block, rest := pem.Decode(bytes.TrimSpace(data))
	if block == nil {
		return nil, errors.New("invalid public key: failure decoding PEM")
	}
	if block.Type == typePublicKey && len(rest) == 0 {
		return ParsePublicKey(block.Bytes)
	}
	var chain []*x509.Certificate
	for {
		c, err := certificateIn(block)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
		if len(rest) == 0 {
			return newCertificateKey(chain), nil
		}
		if len(chain) == MaxChain {
			return nil, fmt.Errorf("invalid public key: more than %d certificates", MaxChain)
		}
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("invalid public key: failure decoding PEM after a first block")
		}
	}
}

func certificateIn(block *pem.Block) (*x509.Certificate, error) {
	if block.Type != typeCertificate {
		return nil, fmt.Errorf("invalid public key: cannot handle type %q here", block.Type)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("invalid certificate: %w", err)
	}
	if n := len(c.Signature); n > MaxCertificateSignature {
		return nil, fmt.Errorf("invalid certificate: signature of %d bytes, more than %d", n, MaxCertificateSignature)
	}
	if err := usable(c.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return c, nil
}

// ParsePublicKey reads a bare key in PKIX DER (SubjectPublicKeyInfo, RFC 5280).
func ParsePublicKey(der []byte) (*Key, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("invalid public key: %w", err)
	}
	if err := usable(pub); err != nil {
		return nil, err
	}
	k := &Key{Public: pub}
	canonical, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	k.setPEM(pem.EncodeToMemory(&pem.Block{Type: typePublicKey, Bytes: canonical}))
	return k, nil
}

// ParseCertificate reads one certificate in DER.
func ParseCertificate(der []byte) (*Key, error) {
	c, err := certificateIn(&pem.Block{Type: typeCertificate, Bytes: der})
	if err != nil {
		return nil, err
	}
	return newCertificateKey([]*x509.Certificate{c}), nil
}

// newCertificateKey makes a Key of certificates that certificateIn has passed.
func newCertificateKey(chain []*x509.Certificate) *Key {
	leaf := chain[0]
	k := &Key{Public: leaf.PublicKey, Certificates: chain}
	k.Identities = Identities(leaf)
	k.Issuers = Issuers(leaf)
	k.chain = sync.OnceValue(func() error { return verifyChain(chain) })
	var text bytes.Buffer
	for _, c := range chain {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: c.Raw}))
	}
	k.setPEM(text.Bytes())
	return k
}

func (k *Key) setPEM(text []byte) {
	k.PEM = text
	k.PEMHash = sha256.Sum256(text)
}

// usable reports whether signatures can be checked with the key, at a bounded cost.
func usable(key crypto.PublicKey) error {
	switch pub := key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey: // crypto/x509 reads P-224 to P-521 only
		return nil
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n > MaxRSABits {
			return fmt.Errorf("invalid public key: RSA key of %d bits, more than %d", n, MaxRSABits)
		}
		if pub.E > MaxRSAExponent {
			return fmt.Errorf("invalid public key: RSA exponent %d, more than %d", pub.E, MaxRSAExponent)
		}
		return nil
	}
	return fmt.Errorf("unsupported public key type %T: not RSA, ECDSA or Ed25519", key)
}

// Cost returns what one signature check with the key takes, in checks with a P-256
// key (some 70 µs), rounded up: 1 for Ed25519 (and its hashing comes on top), 8 for
// P-384, 22 for P-521; 2 for RSA-2048, 8 for RSA-4096, 32 for RSA-8192 with the
// usual exponent 65537, and up to 3.3 times that with larger ones.
func (k *Key) Cost() int { return keyCost(k.Public) }

// keyCost follows measurements of Go 1.26 on amd64.
func keyCost(key crypto.PublicKey) int {
	switch pub := key.(type) {
	case *rsa.PublicKey:
		kibits := (pub.N.BitLen() + 1023) / 1024
		steps := bits.Len(uint(pub.E)) + bits.OnesCount(uint(pub.E)) // 19 for 65537
		return 1 + (kibits*kibits*steps-1)/38
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return 1
		case elliptic.P224():
			return 3
		case elliptic.P384():
			return 8
		}
		return 22
	}
	return 1
}

// SamePublic reports whether two keys are the same public key, whatever certificate
// they came in.
func (k *Key) SamePublic(other *Key) bool {
	pub, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(other.Public)
}

// SPKIHash returns the SHA-256 of the key's SubjectPublicKeyInfo: the log ID of a
// log's key.
func (k *Key) SPKIHash() ([sha256.Size]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("encoding public key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// SSHFingerprint returns the fingerprint that OpenSSH prints for the key,
// "SHA256:" and unpadded base64, or "" if OpenSSH has no such key type. The hash is
// over the wire encoding of RFC 4253, section 6.6, RFC 5656 and RFC 8709.
func (k *Key) SSHFingerprint() string {
	var b []byte
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		b = sshString(b, []byte("ssh-rsa"))
		b = sshInt(b, binary.BigEndian.AppendUint64(nil, uint64(pub.E)))
		b = sshInt(b, pub.N.Bytes())
	case *ecdsa.PublicKey:
		curve, ok := map[string]string{"P-256": "nistp256", "P-384": "nistp384", "P-521": "nistp521"}[pub.Curve.Params().Name]
		point, err := pub.Bytes()
		if !ok || err != nil {
			return ""
		}
		b = sshString(b, []byte("ecdsa-sha2-"+curve))
		b = sshString(b, []byte(curve))
		b = sshString(b, point)
	case ed25519.PublicKey:
		b = sshString(b, []byte("ssh-ed25519"))
		b = sshString(b, pub)
	default:
		return ""
	}
	sum := sha256.Sum256(b)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func sshString(b, s []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// sshInt appends a positive integer as RFC 4251's mpint: shortest, with a zero byte
// in front if the first bit is set.
func sshInt(b, n []byte) []byte {
	n = bytes.TrimLeft(n, "\x00")
	if len(n) > 0 && n[0] >= 0x80 {
		n = append([]byte{0}, n...)
	}
	return sshString(b, n)
}
