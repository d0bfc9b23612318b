package ui

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sig"
)

const (
	// maxSignersShown is how many signers of one entry are shown whole.
	maxSignersShown = 10
	// maxNames is how many names of one certificate are shown.
	maxNames = 20
)

// signer is a signer with all that the entry says of it.
type signer struct {
	Who     who
	Names   []named // all identities
	Issuers []named
	More    int // names that are not shown

	KeyKind, Fingerprint string
	KeyHref              string
	PEM                  string
	Problem              string // why there is nothing of the above

	Certificate *certificate
}

// named is a name of a certificate.
type named struct {
	link
	Spelled string // in ASCII, if it has other letters
}

type certificate struct {
	Subject, IssuedBy string
	Serial            string
	From, To          stamp
	Lasted            string // validity, in words
	Timely            bool   // the entry was logged while it was valid
	SelfSigned        bool   // its own key signed it
	Extensions        []extension
	Chain             int // further certificates that came with it
}

type extension struct {
	OID, Name string
	Value     link
}

func newSigner(s entry.Signer, logged, now time.Time) signer {
	v := signer{Who: newWho(s, maxWhole, none), PEM: visible(string(s.PEM), true), Problem: line(s.Problem, 300)}
	k := s.Key
	if k == nil {
		if v.Problem == "" {
			v.Problem = "the key cannot be read"
		}
		return v
	}
	v.PEM = string(k.PEM)
	v.KeyKind, v.Fingerprint, v.KeyHref = keyKind(k), fingerprint(k), keyLink(k)
	for i, name := range k.Identities {
		if i == maxNames {
			v.More = len(k.Identities) - i
			break
		}
		v.Names = append(v.Names, named{nameLink("identity", name, maxWhole), spelled(name)})
	}
	for _, issuer := range k.Issuers {
		v.Issuers = append(v.Issuers, named{nameLink("issuer", issuer, maxWhole), spelled(issuer)})
	}
	if len(k.Certificates) > 0 {
		v.Certificate = newCertificate(k.Certificates[0], logged, now)
		v.Certificate.Chain = len(k.Certificates) - 1
	}
	return v
}

func newCertificate(c *x509.Certificate, logged, now time.Time) *certificate {
	v := &certificate{
		Subject: line(c.Subject.String(), 500), IssuedBy: line(c.Issuer.String(), 500), Serial: serial(c.SerialNumber),
		From: newStamp(c.NotBefore, now), To: newStamp(c.NotAfter, now), Lasted: span(c.NotAfter.Sub(c.NotBefore)),
		Timely: !logged.Before(c.NotBefore) && !logged.After(c.NotAfter),
		// Whatever it says of its issuer.
		SelfSigned: c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil,
	}
	for _, e := range sig.FulcioExtensions(c) {
		if len(v.Extensions) == 64 {
			break
		}
		v.Extensions = append(v.Extensions, extension{e.OID, e.Name, link{line(e.Value, maxWhole), webLink(e.Value)}})
	}
	return v
}

// serial writes a serial number as openssl does, in hexadecimal.
func serial(n *big.Int) string {
	if n == nil {
		return ""
	}
	return strings.ToUpper(fmt.Sprintf("%x", n))
}
