package verify

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// bundleVersions are the media types of bundles, with their versions.
var bundleVersions = map[string]int{
	"application/vnd.dev.sigstore.bundle+json;version=0.1": 1,
	"application/vnd.dev.sigstore.bundle+json;version=0.2": 2,
	"application/vnd.dev.sigstore.bundle+json;version=0.3": 3,
	"application/vnd.dev.sigstore.bundle.v0.1+json":        1,
	"application/vnd.dev.sigstore.bundle.v0.2+json":        2,
	"application/vnd.dev.sigstore.bundle.v0.3+json":        3,
}

// hashNames are the names of hash algorithms in Sigstore's protocol buffers.
var hashNames = map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}

// ParseBundle reads a Sigstore bundle, version 0.1, 0.2 or 0.3, in JSON
// (sigstore_bundle.proto). It keeps data, which must not change. Errors are of class
// ErrMalformed.
//
// As the versions demand, a bundle of 0.2 or later has an inclusion proof with every log entry, and
// one of 0.3 a single certificate instead of a chain.
func ParseBundle(data []byte) (*Evidence, error) {
	if len(data) > MaxBundle {
		return nil, malformed("bundle", "%d bytes are over the limit of %d", len(data), MaxBundle)
	}
	b := bundle{}
	err := whole(data, b.read)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return nil, &Error{ErrMalformed, "bundle", err}
	}
	return &b.Evidence, nil
}

// bundle is a bundle while it is read.
type bundle struct {
	Evidence
	version   int
	contents  int // members of the oneof "content"
	signers   int // members of the oneof of the verification material
	isChain   bool
	keySigned bool
	material  bool
}

func (b *bundle) read(r *strictjson.Reader) error {
	b.bundled = true
	_, err := object(r, "bundle", func(name []byte) error {
		switch string(name) {
		case "mediaType":
			mediaType, err := readText(r, "mediaType")
			b.version = bundleVersions[string(mediaType)]
			if err == nil && b.version == 0 {
				err = fmt.Errorf("media type %q is not that of a bundle of version 0.1, 0.2 or 0.3", clip(string(mediaType)))
			}
			return err
		case "verificationMaterial":
			present, err := object(r, "verificationMaterial", func(name []byte) error { return b.readMaterial(r, name) })
			b.material = present
			return err
		case "messageSignature":
			present, err := object(r, "messageSignature", func(name []byte) error { return b.readMessageSignature(r, name) })
			if present {
				b.contents++
				b.form = messageSignature
			}
			return err
		case "dsseEnvelope":
			if r.Null() {
				return nil
			}
			b.contents++
			b.form = statement
			var err error
			b.envelope, err = readEnvelope(r)
			return err
		}
		return unknownMember("a bundle", name)
	})
	return err
}

func (b *bundle) readMaterial(r *strictjson.Reader, name []byte) error {
	switch string(name) {
	case "publicKey":
		present, err := object(r, "publicKey", func(name []byte) error {
			if string(name) != "hint" {
				return unknownMember("publicKey", name)
			}
			_, err := readText(r, "hint")
			return err
		})
		if present {
			b.signers++
			b.keySigned = true
		}
		return err
	case "certificate":
		if r.Null() {
			return nil
		}
		b.signers++
		return b.readCertificate(r)
	case "x509CertificateChain":
		present, err := object(r, "x509CertificateChain", func(name []byte) error {
			if string(name) != "certificates" {
				return unknownMember("x509CertificateChain", name)
			}
			return array(r, "certificates", sig.MaxChain, func() error { return b.readCertificate(r) })
		})
		if present {
			b.signers++
			b.isChain = true
		}
		return err
	case "tlogEntries":
		return array(r, "tlogEntries", MaxEntries, func() error {
			e, err := readTransparencyLogEntry(r)
			b.entries = append(b.entries, e)
			return err
		})
	case "timestampVerificationData":
		_, err := object(r, "timestampVerificationData", func(name []byte) error {
			if string(name) != "rfc3161Timestamps" {
				return unknownMember("timestampVerificationData", name)
			}
			return array(r, "rfc3161Timestamps", MaxTimestamps, func() error {
				return element(r, "timestamp", func(name []byte) error {
					if string(name) != "signedTimestamp" {
						return unknownMember("a timestamp", name)
					}
					token, err := readBase64(r, "signedTimestamp", MaxTimestamp)
					b.timestamps = append(b.timestamps, token)
					return err
				})
			})
		})
		return err
	}
	return unknownMember("verificationMaterial", name)
}

// readCertificate reads an X509Certificate. The first one is the signer's.
func (b *bundle) readCertificate(r *strictjson.Reader) error {
	var der []byte
	err := element(r, "certificate", func(name []byte) (err error) {
		if string(name) != "rawBytes" {
			return unknownMember("a certificate", name)
		}
		der, err = readBase64(r, "rawBytes", MaxCertificate)
		return err
	})
	if err != nil {
		return err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if b.certificate == nil {
		b.certificate = c
	} else {
		b.chain = append(b.chain, c)
	}
	return nil
}

func (b *bundle) readMessageSignature(r *strictjson.Reader, name []byte) (err error) {
	switch string(name) {
	case "signature":
		b.signature, err = readBase64(r, "signature", MaxSignature)
		return err
	case "messageDigest":
		_, err = object(r, "messageDigest", func(name []byte) (err error) {
			switch string(name) {
			case "algorithm":
				text, err := readText(r, "algorithm")
				if err != nil {
					return err
				}
				b.hash = hashNames[string(text)]
				if b.hash == "" {
					return fmt.Errorf("messageDigest is of algorithm %q, not SHA2_256, SHA2_384 or SHA2_512", clip(string(text)))
				}
				return nil
			case "digest":
				b.digest, err = readBase64(r, "digest", 64)
				return err
			}
			return unknownMember("messageDigest", name)
		})
		return err
	}
	return unknownMember("messageSignature", name)
}

// check sees that the parts are all there and fit each other and the version.
func (b *bundle) check() error {
	switch {
	case b.version == 0:
		return errors.New("mediaType is missing")
	case b.contents != 1:
		return fmt.Errorf("there are %d of messageSignature and dsseEnvelope, not one", b.contents)
	case !b.material || b.signers != 1:
		return fmt.Errorf("verificationMaterial has %d of publicKey, certificate and x509CertificateChain, not one", b.signers)
	case b.keySigned != (b.certificate == nil):
		return errors.New("x509CertificateChain is empty")
	case !b.isChain && !b.keySigned && b.version < 3:
		return errors.New("bundles have a single certificate since version 0.3")
	case b.isChain && b.version >= 3:
		return errors.New("a bundle of version 0.3 has a certificate, not a chain")
	case b.form == messageSignature && (b.hash == "" || len(b.digest) != hashes[b.hash].Size()):
		return errors.New("messageDigest is missing, or has not the length of its algorithm")
	}
	for _, e := range b.entries {
		if e.SET == nil && b.version == 1 {
			return errors.New("a log entry has no inclusion promise, which bundles of version 0.1 need")
		}
		if e.Proof == nil && b.version >= 2 {
			return errors.New("a log entry has no inclusion proof, which bundles have since version 0.2")
		}
		e.setSuffices = b.version == 1
	}
	return b.Evidence.check()
}
