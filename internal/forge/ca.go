package forge

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"time"
)

// CA is a certificate authority as Fulcio is one: a root that issued an intermediate that
// issues certificates for signers.
type CA struct {
	Name               string
	Root, Intermediate *x509.Certificate
	Key                *Key // the intermediate's
	From, To           time.Time
}

// NewCA returns the authority of a name, whose certificates are valid from … to, with the
// keys that the name keys stands for.
func NewCA(name, keys string, from, to time.Time) *CA {
	return newCA(name, P384(keys+" root"), P256(keys+" intermediate"), from, to)
}

// NewP256CA returns an authority whose keys are P-256, the root's too.
func NewP256CA(name string, from, to time.Time) *CA {
	return newCA(name, P256(name+" root"), P256(name+" intermediate"), from, to)
}

func newCA(name string, rootKey, key *Key, from, to time.Time) *CA {
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{name}, CommonName: name + " root"},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root = certify(root, root, rootKey, rootKey)
	intermediate := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{Organization: []string{name}, CommonName: name + " intermediate"},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	intermediate = certify(intermediate, root, key, rootKey)
	return &CA{name, root, intermediate, key, from, to}
}

// certify issues a certificate of template for key.
func certify(template, parent *x509.Certificate, key, parentKey *Key) *x509.Certificate {
	der := must(x509.CreateCertificate(nil, template, parent, key.Public(), parentKey.Signer))
	return must(x509.ParseCertificate(der))
}

// Subject is whom a certificate is issued to.
type Subject struct {
	Email, URI, UserName string // the subject alternative name; UserName only without the others
	Issuer               string // OIDC issuer
	Key                  *Key
	From, To             time.Time
	ServerAuth           bool // for TLS servers instead of code signing
}

// Issue returns a certificate with Fulcio's extensions (fulcio, docs/oid-info.md).
func (ca *CA) Issue(s Subject) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(3), NotBefore: s.From, NotAfter: s.To,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(s.Issuer)},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: must(asn1.MarshalWithParams(s.Issuer, "utf8"))},
		},
	}
	if s.ServerAuth {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if s.Email != "" {
		c.EmailAddresses = []string{s.Email}
	}
	if s.URI != "" {
		c.URIs = []*url.URL{must(url.Parse(s.URI))}
	}
	if s.UserName != "" {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: otherName(s.UserName)})
	}
	return certify(c, ca.Intermediate, s.Key, ca.Key)
}

// otherName returns a SAN extension with Fulcio's user name in it.
func otherName(name string) []byte {
	type other struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"utf8,explicit,tag:0"`
	}
	der := must(asn1.MarshalWithParams(other{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 7}, name}, "tag:0"))
	return must(asn1.Marshal([]asn1.RawValue{{FullBytes: der}}))
}

// CertificatePEM returns certificates in PEM.
func CertificatePEM(chain ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// CertificateChain returns certificates as Sigstore's X509CertificateChain.
func CertificateChain(chain ...*x509.Certificate) Object {
	var all Array
	for _, c := range chain {
		all = append(all, Object{"rawBytes": Base64(c.Raw)})
	}
	return Object{"certificates": all}
}

// TrustedRoot returns the authority as an element of a trusted root's
// certificateAuthorities.
func (ca *CA) TrustedRoot() Object {
	return Object{
		"subject":   Object{"organization": ca.Name, "commonName": ca.Name},
		"uri":       "https://" + ca.Name,
		"certChain": CertificateChain(ca.Intermediate, ca.Root),
		"validFor":  Object{"start": ca.From.UTC().Format(time.RFC3339), "end": ca.To.UTC().Format(time.RFC3339)},
	}
}

// TrustedRoot returns a trusted root, version 0.1.
func TrustedRoot(tlogs, cas, tsas, ctlogs Array) Object {
	return Object{
		"mediaType":              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":                  tlogs,
		"certificateAuthorities": cas,
		"timestampAuthorities":   tsas,
		"ctlogs":                 ctlogs,
	}
}
