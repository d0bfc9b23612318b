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
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
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
// first block are ignored; anything else beside the blocks is an error. Neither
// validity periods nor the chain's signatures are looked at (see VerifyChain).
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
			return newCertificateKey(chain)
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
	return c, nil
}

// ParsePublicKey reads a bare key in PKIX DER (SubjectPublicKeyInfo, RFC 5280).
func ParsePublicKey(der []byte) (*Key, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("invalid public key: %w", err)
	}
	k := &Key{Public: pub}
	if err := k.usable(); err != nil {
		return nil, err
	}
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
	return newCertificateKey([]*x509.Certificate{c})
}

func newCertificateKey(chain []*x509.Certificate) (*Key, error) {
	leaf := chain[0]
	k := &Key{Public: leaf.PublicKey, Certificates: chain}
	if err := k.usable(); err != nil {
		return nil, err
	}
	k.Identities = Identities(leaf)
	k.Issuers = Issuers(leaf)
	k.chain = sync.OnceValue(func() error { return verifyChain(chain) })
	var text bytes.Buffer
	for _, c := range chain {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: c.Raw}))
	}
	k.setPEM(text.Bytes())
	return k, nil
}

func (k *Key) setPEM(text []byte) {
	k.PEM = text
	k.PEMHash = sha256.Sum256(text)
}

// usable reports whether signatures can be checked with the key.
func (k *Key) usable() error {
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n > MaxRSABits {
			return fmt.Errorf("invalid public key: RSA key of %d bits, more than %d", n, MaxRSABits)
		}
		return nil
	}
	return fmt.Errorf("unsupported public key type %T", k.Public)
}

// VerifyChain checks that each certificate leads to the last of the chain, which
// is taken for the root, at the time when the leaf became valid and for any
// purpose. It says nothing about trust. A bare key or a single certificate passes.
// The answer is computed once.
func (k *Key) VerifyChain() error {
	if len(k.Certificates) < 2 {
		return nil
	}
	return k.chain()
}

func verifyChain(chain []*x509.Certificate) error {
	last := len(chain) - 1
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[last])
	for _, c := range chain[1:last] {
		others.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: others,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime:   chain[0].NotBefore,
	})
	if err != nil {
		return fmt.Errorf("certificate chain: %w", err)
	}
	return nil
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
