// Package timestamp checks RFC 3161 timestamps for package verify. It is a package of
// its own so that nobody compiles it who does not need it.
//
// The signature, the chain, and the rules for a timestamp authority's certificate are
// checked by the library of Sigstore's own authority. It passes over what no signature
// covers, and over some of what RFC 3161 asks of verifiers; that is checked here. What
// a token says beside what is signed has to be right. It may still be said in more than one
// way: certificates of the authority's chain may be there or not, in any order; the NULL
// after the name of an algorithm likewise; and RSA signatures have two names.
package timestamp

import (
	"bytes"
	"crypto"
	_ "crypto/sha1"   // by which RFC 3161 itself identifies a certificate, one that is known already
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/verification"
	"github.com/tallystick/tallystick/verify"
)

const (
	// maxAttributes is the largest size of the signed attributes, in bytes: the library nests
	// as deep as they do, and copies at each level. Usual ones have 250.
	maxAttributes = 4 << 10
	// maxCertificates is the largest number of certificates in a token.
	maxCertificates = 10
)

// Object identifiers: RFC 5652, RFC 3161 and RFC 5035.
const (
	oidSignedData           = "1.2.840.113549.1.7.2"
	oidTSTInfo              = "1.2.840.113549.1.9.16.1.4"
	oidContentType          = "1.2.840.113549.1.9.3"
	oidSigningCertificate   = "1.2.840.113549.1.9.16.2.12"
	oidSigningCertificateV2 = "1.2.840.113549.1.9.16.2.47"
)

// Verifier is a verify.TimestampVerifier. The zero value is ready; it may be used by many
// goroutines.
type Verifier struct{}

var _ verify.TimestampVerifier = Verifier{}

// VerifyTimestamp checks that token, a DER TimeStampResp (RFC 3161), is a timestamp of
// message by one of the authorities: signed with the key of the first certificate of its
// chain, all of which was valid at that time. Message and token are hashed with SHA-256,
// SHA-384 or SHA-512. Of several authorities with the same certificates it returns one
// that was valid itself at that time, if there is one.
func (Verifier) VerifyTimestamp(token, message []byte, authorities []verify.Authority) (t time.Time, authority int, err error) {
	defer func() {
		if fault := recover(); fault != nil { // the library reads what strangers wrote
			t, authority, err = time.Time{}, 0, fmt.Errorf("timestamp: %v", fault)
		}
	}()
	if len(token) > verify.MaxTimestamp {
		return time.Time{}, 0, fmt.Errorf("timestamp of %d bytes, more than %d", len(token), verify.MaxTimestamp)
	}
	r, err := parse(token)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("timestamp: %w", err)
	}
	found := -1
	err = errors.New("timestamp of an authority that is not trusted")
	for i := range authorities {
		if !r.names(authorities[i].Chain[0]) {
			continue
		}
		at, refused := r.verify(token, message, authorities[i].Chain)
		switch {
		case refused != nil:
			err = fmt.Errorf("timestamp: %w", refused)
		case authorities[i].Valid.Contains(at):
			return at, i, nil
		case found < 0:
			t, found = at, i
		}
	}
	if found < 0 {
		return time.Time{}, 0, err
	}
	return t, found, nil
}

// response is a granted TimeStampResp (RFC 3161, section 2.4.2) with nothing in it that
// nobody signed and nobody needs: no free text, no revocation lists, no unsigned
// attributes. The structures inside are those of RFC 5652.
type response struct {
	Status struct{ Status int }
	Token  struct {
		Type       asn1.ObjectIdentifier
		SignedData signedData `asn1:"explicit,tag:0"`
	}
}

type signedData struct {
	Version          int
	DigestAlgorithms []algorithm `asn1:"set"`
	Content          struct {
		Type asn1.ObjectIdentifier
		Info []byte `asn1:"explicit,tag:0"`
	}
	Certificates []asn1.RawValue `asn1:"optional,tag:0"` // a set, often not in the order of DER
	Signers      []signerInfo    `asn1:"set"`
}

type signerInfo struct {
	Version     int
	Certificate struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	DigestAlgorithm    algorithm
	Attributes         []attribute `asn1:"set,tag:0"`
	SignatureAlgorithm algorithm
	Signature          []byte
}

type algorithm struct {
	ID         asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// parse reads a token. What it returns has the form that it has to have. No signature has
// been looked at.
func parse(token []byte) (*response, error) {
	var r response
	rest, err := asn1.Unmarshal(token, &r)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("it is no granted response in DER")
	}
	// Go's reader takes sets in any order and passes over what follows the known members of a
	// sequence. So only what it would write itself counts.
	if again, err := asn1.Marshal(r); err != nil || !bytes.Equal(again, token) {
		return nil, errors.New("it is not in DER, or has parts that nobody signed")
	}
	data := &r.Token.SignedData
	switch {
	case r.Status.Status != 0:
		return nil, fmt.Errorf("status %d, not granted", r.Status.Status)
	case r.Token.Type.String() != oidSignedData || data.Version != 3:
		return nil, errors.New("it is no signed data of version 3")
	case data.Content.Type.String() != oidTSTInfo:
		return nil, errors.New("what is signed is no timestamp")
	case len(data.Signers) != 1 || len(data.DigestAlgorithms) != 1:
		return nil, fmt.Errorf("%d signatures, not 1", len(data.Signers))
	case len(data.Certificates) > maxCertificates:
		return nil, fmt.Errorf("more than %d certificates", maxCertificates)
	}
	return &r, data.Signers[0].check(data.DigestAlgorithms[0])
}

func (s *signerInfo) check(digest algorithm) error {
	if s.Version != 1 {
		return fmt.Errorf("signer of version %d, not 1", s.Version)
	}
	hash := hashes[s.DigestAlgorithm.ID.String()]
	if hash == 0 || !digest.ID.Equal(s.DigestAlgorithm.ID) {
		return fmt.Errorf("hash algorithm %v: not SHA-256, SHA-384 or SHA-512, or not the same in both places", s.DigestAlgorithm.ID)
	}
	if h, ok := signatureAlgorithms[s.SignatureAlgorithm.ID.String()]; !ok || h != 0 && h != hash {
		return fmt.Errorf("signature algorithm %v does not go with its hash", s.SignatureAlgorithm.ID)
	}
	for _, a := range []algorithm{digest, s.DigestAlgorithm, s.SignatureAlgorithm} {
		if p := a.Parameters.FullBytes; len(p) > 0 && !bytes.Equal(p, asn1.NullBytes) {
			return fmt.Errorf("algorithm %v has parameters", a.ID)
		}
	}
	size := 0
	for i, a := range s.Attributes {
		if len(a.Values) != 1 || slices.ContainsFunc(s.Attributes[:i], func(other attribute) bool { return other.Type.Equal(a.Type) }) {
			return fmt.Errorf("signed attribute %v has not one value", a.Type)
		}
		size += len(a.Values[0].FullBytes)
	}
	if size > maxAttributes {
		return fmt.Errorf("signed attributes of %d bytes, more than %d", size, maxAttributes)
	}
	// Without it, something else that the key signed could be taken for a timestamp.
	var content asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(s.attribute(oidContentType), &content); err != nil || content.String() != oidTSTInfo {
		return errors.New("the signed content type is no timestamp")
	}
	return nil
}

// attribute returns the value of a signed attribute, or nil.
func (s *signerInfo) attribute(oid string) []byte {
	for _, a := range s.Attributes {
		if a.Type.String() == oid {
			return a.Values[0].FullBytes
		}
	}
	return nil
}

// hashes and signatureAlgorithms are by object identifier (RFC 5754, RFC 8419). 0 says
// that the name goes with any hash.
var (
	hashes = map[string]crypto.Hash{
		"2.16.840.1.101.3.4.2.1": crypto.SHA256,
		"2.16.840.1.101.3.4.2.2": crypto.SHA384,
		"2.16.840.1.101.3.4.2.3": crypto.SHA512,
	}
	signatureAlgorithms = map[string]crypto.Hash{
		"1.2.840.10045.4.3.2":   crypto.SHA256, // ECDSA
		"1.2.840.10045.4.3.3":   crypto.SHA384,
		"1.2.840.10045.4.3.4":   crypto.SHA512,
		"1.2.840.113549.1.1.1":  0, // RSA, PKCS #1 version 1.5
		"1.2.840.113549.1.1.11": crypto.SHA256,
		"1.2.840.113549.1.1.12": crypto.SHA384,
		"1.2.840.113549.1.1.13": crypto.SHA512,
		"1.3.101.112":           0, // Ed25519
	}
)

// names reports whether the token says that this certificate's key signed it.
func (r *response) names(c *x509.Certificate) bool {
	id := &r.Token.SignedData.Signers[0].Certificate
	return bytes.Equal(id.Issuer.FullBytes, c.RawIssuer) && id.Serial.Cmp(c.SerialNumber) == 0
}

// verify checks the token against the chain of the authority that it names, and returns its time.
func (r *response) verify(token, message []byte, chain []*x509.Certificate) (time.Time, error) {
	data := &r.Token.SignedData
	for i, c := range data.Certificates {
		same := func(raw []byte) bool { return bytes.Equal(raw, c.FullBytes) }
		if !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return same(c.Raw) }) ||
			slices.ContainsFunc(data.Certificates[:i], func(c asn1.RawValue) bool { return same(c.FullBytes) }) {
			return time.Time{}, errors.New("it brings a certificate that is not of the authority's chain, or brings one twice")
		}
	}
	if err := data.Signers[0].identifies(chain[0]); err != nil {
		return time.Time{}, err
	}
	last := len(chain) - 1
	ts, err := verification.VerifyTimestampResponse(token, bytes.NewReader(message), verification.VerifyOpts{
		TSACertificate: chain[0],
		Intermediates:  chain[min(1, last):last],
		Roots:          chain[last:],
		// CurrentTime: the library takes the token's.
	})
	if err != nil {
		return time.Time{}, err
	}
	for _, e := range ts.Extensions {
		if e.Critical {
			return time.Time{}, fmt.Errorf("it has the critical extension %v, which is not known", e.Id)
		}
	}
	for i, c := range chain {
		if ts.Time.Before(c.NotBefore) || ts.Time.After(c.NotAfter) {
			return time.Time{}, fmt.Errorf("certificate %d of the authority's chain was not valid at %s", i, ts.Time.UTC().Format(time.RFC3339))
		}
	}
	return ts.Time, nil
}

// identifies checks that the signed attributes name the certificate by its hash (RFC 3161,
// section 2.4.1, and RFC 5816). Of several certificates there, the first is the signer's.
func (s *signerInfo) identifies(c *x509.Certificate) error {
	value, hash := s.attribute(oidSigningCertificateV2), crypto.SHA256 // if no other is named
	if value == nil {
		value, hash = s.attribute(oidSigningCertificate), crypto.SHA1
	}
	var v struct {
		Certificates []struct {
			Algorithm algorithm `asn1:"optional"`
			Hash      []byte
			// and issuer and serial number, which say no more than the hash
		}
		// and policies, which are for people
	}
	if _, err := asn1.Unmarshal(value, &v); err != nil || len(v.Certificates) == 0 {
		return errors.New("its signed attributes name no certificate")
	}
	id := v.Certificates[0]
	if id.Algorithm.ID != nil {
		hash = hashes[id.Algorithm.ID.String()]
	}
	if hash == 0 {
		return fmt.Errorf("its signed attributes name a certificate by the hash algorithm %v", id.Algorithm.ID)
	}
	h := hash.New()
	h.Write(c.Raw)
	if !bytes.Equal(h.Sum(nil), id.Hash) {
		return errors.New("its signed attributes name another certificate than the authority's")
	}
	return nil
}
