package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick/sig"
)

// minRSABits is the smallest RSA key of a certificate.
const minRSABits = 2048

// Object identifiers: RFC 5280, section 4.2.1.6, and Fulcio's extensions
// (fulcio, docs/oid-info.md), all of which are below one.
const (
	oidSAN             = "2.5.29.17"
	oidFulcio          = "1.3.6.1.4.1.57264.1."
	oidFulcioIssuer    = oidFulcio + "1"
	oidFulcioIssuerDER = oidFulcio + "8"
)

const claimCertificate = "certificate"

// certificateAuthority is an Authority that issues certificates to signers, made ready.
type certificateAuthority struct {
	Authority
	root, intermediates *x509.CertPool // its certificates, timeless
}

// newCertificateAuthority makes an authority ready whose chain has been checked. A chain of
// one certificate is the root alone. An error is of class ErrMalformed: a weak key.
func newCertificateAuthority(a Authority) (certificateAuthority, error) {
	ca := certificateAuthority{Authority: a, root: x509.NewCertPool(), intermediates: x509.NewCertPool()}
	for i, c := range a.Chain {
		if err := checkKey(c.PublicKey); err != nil {
			return certificateAuthority{}, malformed("certificate authority", "%q, certificate %d: %w", clip(a.URI), i, err)
		}
		pool := ca.intermediates
		if i == len(a.Chain)-1 {
			pool = ca.root
		}
		pool.AddCert(timeless(c))
	}
	return ca, nil
}

// timeless returns a copy of a certificate that is valid at all times. With such copies
// crypto/x509 says whether a chain holds apart from time; validAt says the rest.
func timeless(c *x509.Certificate) *x509.Certificate {
	always := *c
	always.NotBefore, always.NotAfter = time.Time{}, time.Unix(1<<40, 0)
	return &always
}

// checkChain proves that leaf leads to a certificate authority of the trust that was
// valid, with all certificates on the path, at each of the times (at least one), and may
// sign code: it is no CA, and has that extended key usage and, if it says anything of key
// usage, digitalSignature. It returns the path, leaf first, root last, which has
// at least two certificates.
//
// Errors: ErrIdentity if leaf has not exactly one name, ErrExpired if nothing but time is
// against it, else ErrUntrustedCertificate.
func (t *Trust) checkChain(leaf *x509.Certificate, times []time.Time) ([]*x509.Certificate, error) {
	if len(times) == 0 || slices.ContainsFunc(times, time.Time.IsZero) {
		return nil, refuse(ErrInternal, claimCertificate, "checked at no time, or at one that is not said")
	}
	bare, err := checkSigner(leaf)
	if err != nil {
		return nil, err
	}
	err = refuse(ErrUntrustedCertificate, claimCertificate, "it leads to none of %d trusted certificate authorities", len(t.cas))
	var expired error
	for i := range t.cas {
		chains, x509err := bare.Verify(x509.VerifyOptions{
			Roots:         t.cas[i].root,
			Intermediates: t.cas[i].intermediates,
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
			CurrentTime:   times[0], // all are timeless, and the clock is not to be read
		})
		if x509err != nil {
			if !errors.As(x509err, new(x509.UnknownAuthorityError)) {
				err = refuse(ErrUntrustedCertificate, claimCertificate, "authority %q: %s", clip(t.cas[i].URI), clip(x509err.Error()))
			}
			continue
		}
		for _, chain := range chains {
			if len(chain) < 2 {
				continue // it is trusted as a root; that says nothing of a signer
			}
			path := t.cas[i].originals(leaf, chain)
			if expired = t.cas[i].validAt(path, times); expired == nil {
				return path, nil
			}
		}
	}
	if expired != nil {
		err = expired
	}
	return nil, err
}

// checkSigner checks what a signer's certificate has to be, whoever issued it, and returns
// a timeless copy of it whose subject alternative name counts as understood: crypto/x509
// does not know Fulcio's user names.
func checkSigner(leaf *x509.Certificate) (*x509.Certificate, error) {
	if len(leaf.Raw) > MaxCertificate {
		return nil, refuse(ErrUntrustedCertificate, claimCertificate, "it has %d bytes, more than %d", len(leaf.Raw), MaxCertificate)
	}
	if _, err := subjectName(leaf); err != nil { // early: names cost time where an authority is limited to some
		return nil, err
	}
	if err := checkKey(leaf.PublicKey); err != nil {
		return nil, refuse(ErrUntrustedCertificate, claimCertificate, "%w", err)
	}
	switch {
	case leaf.IsCA:
		return nil, refuse(ErrUntrustedCertificate, claimCertificate, "it is an authority's, not a signer's")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning):
		return nil, refuse(ErrUntrustedCertificate, claimCertificate, "its extended key usage is not code signing")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, refuse(ErrUntrustedCertificate, claimCertificate, "its key usage is not digital signature")
	}
	bare := timeless(leaf)
	bare.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(bare.UnhandledCriticalExtensions),
		func(id asn1.ObjectIdentifier) bool { return sig.IsOID(id, oidSAN) })
	return bare, nil
}

// originals returns the certificates of which a chain has timeless copies.
func (ca *certificateAuthority) originals(leaf *x509.Certificate, chain []*x509.Certificate) []*x509.Certificate {
	path := []*x509.Certificate{leaf}
	for _, c := range chain[1:] {
		path = append(path, ca.Chain[slices.IndexFunc(ca.Chain, c.Equal)])
	}
	return path
}

// validAt reports whether the authority and all of a path were valid at all of the times.
func (ca *certificateAuthority) validAt(path []*x509.Certificate, times []time.Time) error {
	for _, at := range times {
		if !ca.Valid.Contains(at) {
			return refuse(ErrExpired, claimCertificate, "authority %q was not valid at %s", clip(ca.URI), at.UTC().Format(time.RFC3339))
		}
		for i, c := range path {
			if at.Before(c.NotBefore) || at.After(c.NotAfter) {
				what := "it"
				if i > 0 {
					what = fmt.Sprintf("its issuer's, %q,", clip(c.Subject.String()))
				}
				return refuse(ErrExpired, claimCertificate, "%s was valid from %s to %s, and so not at %s", what,
					c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

// checkKey reports whether a certificate's key is of a kind that sig knows, neither weak nor
// so large that using it costs too much.
func checkKey(key crypto.PublicKey) error {
	switch pub := key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey: // crypto/x509 reads P-224 to P-521 only
		return nil
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < minRSABits || n > sig.MaxRSABits {
			return fmt.Errorf("RSA key of %d bits, not %d to %d", n, minRSABits, sig.MaxRSABits)
		}
		if pub.E > sig.MaxRSAExponent {
			return fmt.Errorf("RSA exponent %d, more than %d", pub.E, sig.MaxRSAExponent)
		}
		return nil
	}
	return fmt.Errorf("unsupported public key type %T: not RSA, ECDSA or Ed25519", key)
}

// signerNames returns the OIDC issuer and the subject alternative name of a certificate.
// Issuer is "" if it has no such extension. It refuses, with ErrIdentity, a certificate
// without a name or with more than one, of any kind, or with two different issuers:
// which one is meant would be for the attacker to choose.
func signerNames(leaf *x509.Certificate) (issuer, subject string, err error) {
	for _, oid := range []string{oidFulcioIssuer, oidFulcioIssuerDER} {
		value, there := extensionBytes(leaf, oid)
		if !there {
			continue
		}
		text, _ := fulcioText(oid, value)
		if text == "" || issuer != "" && text != issuer {
			return "", "", refuse(ErrIdentity, claimCertificate, "its OIDC issuer cannot be read, or is not the same in both extensions")
		}
		issuer = text
	}
	if subject, err = subjectName(leaf); err != nil {
		return "", "", err
	}
	return issuer, subject, nil
}

// subjectName returns the only name of a certificate. See signerNames.
func subjectName(leaf *x509.Certificate) (string, error) {
	san, _ := extensionBytes(leaf, oidSAN)
	var all []asn1.RawValue
	if rest, err := asn1.Unmarshal(san, &all); err != nil || len(rest) > 0 || len(all) != 1 {
		return "", refuse(ErrIdentity, claimCertificate, "it has %d subject alternative names, not 1", len(all))
	}
	names := sig.Identities(leaf)
	if len(names) != 1 || !isText(names[0]) || names[0] == "" {
		return "", refuse(ErrIdentity, claimCertificate, "its subject alternative name is of a kind that is not known, or no text")
	}
	return names[0], nil
}

// extension returns the text of one of Fulcio's extensions; false if it is not
// there, or no text.
func extension(leaf *x509.Certificate, oid string) (string, bool) {
	value, ok := extensionBytes(leaf, oid)
	if !ok || !strings.HasPrefix(oid, oidFulcio) {
		return "", false
	}
	return fulcioText(oid, value)
}

// extensionBytes returns what an extension holds. (crypto/x509 reads no certificate that has
// an extension twice.)
func extensionBytes(c *x509.Certificate, oid string) ([]byte, bool) {
	for _, e := range c.Extensions {
		if sig.IsOID(e.Id, oid) {
			return e.Value, true
		}
	}
	return nil, false
}

// fulcioText reads the value of one of Fulcio's extensions: .1 to .6 are the bare
// text, the others a DER UTF8String.
func fulcioText(oid string, value []byte) (string, bool) {
	if n := strings.TrimPrefix(oid, oidFulcio); len(n) != 1 || n < "1" || n > "6" {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(value, &v)
		if err != nil || len(rest) > 0 || v.Class != asn1.ClassUniversal || v.Tag != asn1.TagUTF8String || v.IsCompound {
			return "", false
		}
		value = v.Bytes
	}
	if !isText(string(value)) {
		return "", false
	}
	return string(value), true
}

// isText reports whether people can read s: valid UTF-8 without control characters.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }
