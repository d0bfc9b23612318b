package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// Log returns a Rekor v1 log, or a CT log, known by its public key: PEM of type "PUBLIC KEY". The
// key may have signed from start on; the zero time stands for always.
func Log(key []byte, url string, start time.Time) (verify.Log, error) {
	k, err := sig.ParsePEM(key)
	if err != nil {
		return verify.Log{}, err
	}
	if k.Certificates != nil {
		return verify.Log{}, errors.New("it is a certificate, not a public key")
	}
	return verify.Log{BaseURL: url, Key: k, Valid: verify.Window{Start: start}}, nil
}

// CertificateAuthority returns an authority that issues signers' certificates, such as Fulcio. The
// chain is PEM: the issuing certificate first, each issued by the next, the root last.
func CertificateAuthority(chain []byte, uri string) (verify.Authority, error) {
	a, err := authority(chain, uri)
	if err == nil && !a.Chain[0].IsCA {
		err = errors.New("the first certificate does not issue any (it is no CA)")
	}
	return a, err
}

// TimestampAuthority returns an authority that issues RFC 3161 timestamps. The chain is PEM: the
// authority's own certificate first, each issued by the next, the root last.
func TimestampAuthority(chain []byte, uri string) (verify.Authority, error) {
	a, err := authority(chain, uri)
	if err == nil && (len(a.Chain) < 2 || a.Chain[0].IsCA) {
		err = errors.New("the first certificate is not that of a timestamp authority, or the root is missing")
	}
	return a, err
}

// authority reads a chain. The authority is valid from the moment at which all its certificates
// were, as protobuf-specs says of CertificateAuthority.valid_for. The end stays open: verifiers
// look at the certificates' own.
func authority(chain []byte, uri string) (verify.Authority, error) {
	k, err := sig.ParsePEM(chain)
	if err != nil {
		return verify.Authority{}, err
	}
	if k.Certificates == nil {
		return verify.Authority{}, errors.New("it is a public key, not a chain of certificates")
	}
	for i, c := range k.Certificates[1:] {
		if err := k.Certificates[i].CheckSignatureFrom(c); err != nil {
			return verify.Authority{}, fmt.Errorf("certificate %d did not issue certificate %d of the chain: %w", i+2, i+1, err)
		}
	}
	return verify.Authority{URI: uri, Chain: k.Certificates, Valid: verify.Window{Start: latestStart(k.Certificates)}}, nil
}

func latestStart(chain []*x509.Certificate) (start time.Time) {
	for _, c := range chain {
		if c.NotBefore.After(start) {
			start = c.NotBefore
		}
	}
	return start
}
