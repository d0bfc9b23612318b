package forge

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// TSA is a timestamp authority: its key and certificates. What its tokens look like is
// for the test to say.
type TSA struct {
	Name              string
	Key               *Key
	Certificate, Root *x509.Certificate
	From, To          time.Time
}

// NewTSA returns the timestamp authority of a name.
func NewTSA(name string, from, to time.Time) *TSA {
	rootKey, key := P256(name+" root"), P256(name)
	subject := func(cn string) pkix.Name { return pkix.Name{Organization: []string{name}, CommonName: cn} }
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject("root"), NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root = certify(root, root, rootKey, rootKey)
	timeStamping := must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: subject("tsa"), NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{
			// RFC 3161, section 2.3: this usage, alone and critical.
			{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: timeStamping},
		}}
	return &TSA{name, key, certify(leaf, root, key, rootKey), root, from, to}
}

// TrustedRoot returns the authority as an element of a trusted root's timestampAuthorities.
func (a *TSA) TrustedRoot() Object {
	return Object{
		"subject":   Object{"organization": a.Name, "commonName": a.Name},
		"uri":       "https://" + a.Name,
		"certChain": CertificateChain(a.Certificate, a.Root),
		"validFor":  Object{"start": a.From.UTC().Format(time.RFC3339), "end": a.To.UTC().Format(time.RFC3339)},
	}
}
