package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// RootMediaType is the media type of the trusted roots that Root writes. Readers refuse others,
// the one of version 0.2 included.
const RootMediaType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

// The trusted root in JSON (protobuf-specs, sigstore_trustroot.proto). Bytes are base64, times
// RFC 3339.
type (
	trustedRoot struct {
		MediaType              string     `json:"mediaType"`
		TLogs                  []logJSON  `json:"tlogs"`
		CertificateAuthorities []authJSON `json:"certificateAuthorities"`
		CTLogs                 []logJSON  `json:"ctlogs"`
		TimestampAuthorities   []authJSON `json:"timestampAuthorities"`
	}
	logJSON struct {
		BaseURL       string  `json:"baseUrl"`
		HashAlgorithm string  `json:"hashAlgorithm"`
		PublicKey     keyJSON `json:"publicKey"`
		LogID         struct {
			KeyID []byte `json:"keyId"`
		} `json:"logId"`
	}
	keyJSON struct {
		RawBytes   []byte     `json:"rawBytes"`
		KeyDetails string     `json:"keyDetails"`
		ValidFor   windowJSON `json:"validFor"`
	}
	windowJSON struct {
		Start string `json:"start"`
		End   string `json:"end,omitempty"`
	}
	authJSON struct {
		Subject struct {
			Organization string `json:"organization"`
			CommonName   string `json:"commonName"`
		} `json:"subject"`
		URI       string `json:"uri"`
		CertChain struct {
			Certificates []certJSON `json:"certificates"`
		} `json:"certChain"`
		ValidFor windowJSON `json:"validFor"`
	}
	certJSON struct {
		RawBytes []byte `json:"rawBytes"`
	}
)

// Root returns the material as a Sigstore trusted root, version 0.1, in JSON. The same material
// gives the same bytes, and verify.ParseTrustedRoot reads them back as it. An open start becomes
// the Unix epoch, since some readers demand one.
//
// Material that verify.NewTrust refuses, or with keys that the format has no name for, is an
// error.
func Root(m verify.Material) ([]byte, error) {
	if _, err := verify.NewTrust(m); err != nil {
		return nil, err
	}
	r := trustedRoot{MediaType: RootMediaType}
	var err error
	if r.TLogs, err = logs(m.Logs); err != nil {
		return nil, err
	}
	if r.CTLogs, err = logs(m.CTLogs); err != nil {
		return nil, err
	}
	r.CertificateAuthorities = authorities(m.CertificateAuthorities)
	r.TimestampAuthorities = authorities(m.TimestampAuthorities)
	return marshal(r)
}

func logs(list []verify.Log) ([]logJSON, error) {
	out := make([]logJSON, len(list)) // empty, not null
	for i, l := range list {
		der, err := x509.MarshalPKIXPublicKey(l.Key.Public)
		if err != nil {
			return nil, fmt.Errorf("encoding the key of log %d: %w", i, err)
		}
		details, err := keyDetails(l.Key)
		if err != nil {
			return nil, fmt.Errorf("log %d: %w", i, err)
		}
		o := &out[i]
		o.BaseURL, o.HashAlgorithm = l.BaseURL, "SHA2_256"
		o.PublicKey = keyJSON{der, details, window(l.Valid)}
		if o.LogID.KeyID = l.ID; l.ID == nil {
			id := sha256.Sum256(der)
			o.LogID.KeyID = id[:]
		}
	}
	return out, nil
}

// keyDetails names the algorithm of a key as sigstore_common.proto does.
func keyDetails(k *sig.Key) (string, error) {
	switch p := k.Public.(type) {
	case ed25519.PublicKey:
		return "PKIX_ED25519", nil
	case *ecdsa.PublicKey:
		switch p.Curve.Params().BitSize {
		case 256:
			return "PKIX_ECDSA_P256_SHA_256", nil
		case 384:
			return "PKIX_ECDSA_P384_SHA_384", nil
		case 521:
			return "PKIX_ECDSA_P521_SHA_512", nil
		}
	case *rsa.PublicKey:
		switch n := p.N.BitLen(); n {
		case 2048, 3072, 4096:
			return fmt.Sprintf("PKIX_RSA_PKCS1V15_%d_SHA256", n), nil
		}
	}
	return "", fmt.Errorf("a trusted root has no name for keys such as its (%T)", k.Public)
}

func authorities(list []verify.Authority) []authJSON {
	out := make([]authJSON, len(list))
	for i, a := range list {
		o := &out[i]
		o.URI, o.ValidFor = a.URI, window(a.Valid)
		name := a.Chain[len(a.Chain)-1].Subject
		o.Subject.CommonName = name.CommonName
		if len(name.Organization) > 0 {
			o.Subject.Organization = name.Organization[0]
		}
		for _, c := range a.Chain {
			o.CertChain.Certificates = append(o.CertChain.Certificates, certJSON{c.Raw})
		}
	}
	return out
}

func window(w verify.Window) windowJSON {
	if w.Start.IsZero() {
		w.Start = time.Unix(0, 0)
	}
	out := windowJSON{Start: timestamp(w.Start)}
	if !w.End.IsZero() {
		out.End = timestamp(w.End)
	}
	return out
}

// timestamp writes a time as protobuf's JSON has it.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// marshal returns indented JSON with a newline at its end.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return b.Bytes(), nil
}
