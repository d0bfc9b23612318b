package sig

import (
	"crypto/x509"
	"encoding/asn1"
	"strconv"
	"unicode/utf8"
)

// Object identifiers: RFC 5280, section 4.2.1.6, and Fulcio's extensions
// (fulcio, docs/oid-info.md).
const (
	oidSAN             = "2.5.29.17"
	oidFulcioIssuer    = "1.3.6.1.4.1.57264.1.1" // the issuer's text, bare
	oidFulcioUserName  = "1.3.6.1.4.1.57264.1.7" // as an OtherName of the SAN
	oidFulcioIssuerDER = "1.3.6.1.4.1.57264.1.8" // the issuer as a DER UTF8String
)

// IsOID reports whether an object identifier is the one that text writes with dots. It does not allocate, as
// String does.
func IsOID(id asn1.ObjectIdentifier, text string) bool {
	var buffer [64]byte
	b := buffer[:0]
	for i, n := range id {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b) == text
}

// Identities returns the subject alternative names of a certificate as they are
// written there: DNS names, e-mail addresses, IP addresses, URIs, and Fulcio's user
// names (an OtherName). Other kinds of names are left out.
func Identities(c *x509.Certificate) []string {
	var names []string
	names = append(names, c.DNSNames...)
	names = append(names, c.EmailAddresses...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	for _, ext := range c.Extensions {
		if IsOID(ext.Id, oidSAN) {
			names = append(names, otherNames(ext.Value)...)
		}
	}
	return names
}

// otherName is RFC 5280's OtherName with the only value that Fulcio uses.
type otherName struct {
	ID    asn1.ObjectIdentifier
	Value string `asn1:"utf8,explicit,tag:0"`
}

// otherNames returns Fulcio's user names among the general names of a SAN
// extension; what cannot be read is left out.
func otherNames(der []byte) []string {
	var all []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &all); err != nil || len(rest) > 0 {
		return nil
	}
	var names []string
	for _, v := range all {
		if v.Class != asn1.ClassContextSpecific || v.Tag != 0 {
			continue
		}
		var n otherName
		_, err := asn1.UnmarshalWithParams(v.FullBytes, &n, "tag:0")
		if err == nil && IsOID(n.ID, oidFulcioUserName) {
			names = append(names, n.Value)
		}
	}
	return names
}

// Issuers returns the OIDC issuers that Fulcio wrote into a certificate, of either
// form, each once.
func Issuers(c *x509.Certificate) []string {
	var issuers []string
	for _, ext := range c.Extensions {
		var issuer string
		switch {
		case IsOID(ext.Id, oidFulcioIssuer):
			issuer = string(ext.Value)
		case IsOID(ext.Id, oidFulcioIssuerDER):
			if rest, err := asn1.Unmarshal(ext.Value, &issuer); err != nil || len(rest) > 0 {
				continue
			}
		}
		if issuer != "" && utf8.ValidString(issuer) && (len(issuers) == 0 || issuers[0] != issuer) {
			issuers = append(issuers, issuer)
		}
	}
	return issuers
}
