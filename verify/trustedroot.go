package verify

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// trustedRootType is the only media type that is read. Later ones give members a meaning
// that this reader does not know.
const trustedRootType = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

// maxKeyDER is the longest public key in DER: one of sig.MaxRSABits is shorter.
const maxKeyDER = 4096

// ParseTrustedRoot reads a Sigstore trusted root, version 0.1, in JSON
// (protobuf-specs, sigstore_trustroot.proto). Errors are of class ErrMalformed, and so is a trusted
// root that NewTrust would refuse.
//
// A log needs its key, the start of the key's validity, and its ID; keyDetails has to fit
// the key. The members subject and operator are for people: what counts as one authority is
// decided by its key (and URI). checkpointKeyId, which version 0.1 does not use, may only repeat the
// log's ID or its first four bytes.
func ParseTrustedRoot(data []byte) (*Trust, error) {
	if len(data) > MaxTrustedRoot {
		return nil, malformed("trusted root", "%d bytes, more than %d", len(data), MaxTrustedRoot)
	}
	var m Material
	var mediaType string
	err := whole(data, func(r *strictjson.Reader) error {
		if r.Peek() != '{' {
			return errors.New("it is not a JSON object")
		}
		return r.Object(func(name []byte) (err error) {
			switch string(name) {
			case "mediaType":
				mediaType, err = readString(r, "mediaType")
			case "tlogs":
				m.Logs, err = readLogs(r, "tlogs")
			case "ctlogs":
				m.CTLogs, err = readLogs(r, "ctlogs")
			case "certificateAuthorities":
				m.CertificateAuthorities, err = readAuthorities(r, "certificateAuthorities")
			case "timestampAuthorities":
				m.TimestampAuthorities, err = readAuthorities(r, "timestampAuthorities")
			default:
				return unknownMember("a trusted root", name)
			}
			return err
		})
	})
	if err == nil && mediaType != trustedRootType {
		err = fmt.Errorf("its mediaType is %q, not %q", clip(mediaType), trustedRootType)
	}
	if err != nil {
		return nil, malformed("trusted root", "%w", err)
	}
	return NewTrust(m)
}

// otherKeys are types of keys that Sigstore has (PublicKeyDetails) and this package does not. A log with such a key is
// left out, and so is not trusted: it should not keep the others from being read.
var otherKeys = map[string]bool{"ML_DSA_44": true, "ML_DSA_65": true, "ML_DSA_87": true, "LMS_SHA256": true, "LMOTS_SHA256": true}

func readLogs(r *strictjson.Reader, what string) (logs []Log, err error) {
	err = array(r, what, MaxAuthorities, func() error {
		l, err := readLog(r)
		if err != nil {
			return fmt.Errorf("%s[%d]: %w", what, len(logs), err)
		}
		if l.Key != nil {
			logs = append(logs, l)
		}
		return nil
	})
	return logs, err
}

// readLog reads a TransparencyLogInstance. The key is nil if it is of otherKeys.
func readLog(r *strictjson.Reader) (l Log, err error) {
	var hash string
	other := false
	var checkpointID []byte
	_, err = object(r, "it", func(name []byte) (err error) {
		switch string(name) {
		case "baseUrl":
			l.BaseURL, err = readString(r, "baseUrl")
		case "hashAlgorithm":
			hash, err = readString(r, "hashAlgorithm")
		case "publicKey":
			l.Key, l.Valid, other, err = readLogKey(r)
		case "logId":
			l.ID, err = readKeyID(r, "logId")
		case "checkpointKeyId":
			checkpointID, err = readKeyID(r, "checkpointKeyId")
		case "operator":
			_, err = readString(r, "operator")
		default:
			return unknownMember("a log", name)
		}
		return err
	})
	id, checkpoint := string(l.ID), string(checkpointID)
	switch {
	case err != nil:
		return Log{}, err
	case hash != "SHA2_256":
		return Log{}, fmt.Errorf("hashAlgorithm is %q, not SHA2_256", clip(hash))
	case l.Key == nil && !other:
		return Log{}, errors.New("publicKey is missing")
	case id == "":
		return Log{}, errors.New("logId is missing")
	case checkpoint != "" && checkpoint != id && (len(checkpoint) != 4 || !strings.HasPrefix(id, checkpoint)):
		return Log{}, errors.New("checkpointKeyId is another ID than logId: version 0.1 does not know it")
	}
	return l, nil
}

func readKeyID(r *strictjson.Reader, what string) (id []byte, err error) {
	_, err = object(r, what, func(name []byte) (err error) {
		if string(name) != "keyId" {
			return unknownMember(what, name)
		}
		id, err = readBase64(r, what+".keyId", maxLogID)
		return err
	})
	return id, err
}

// readLogKey reads a PublicKey. other says that it is of otherKeys.
func readLogKey(r *strictjson.Reader) (key *sig.Key, valid Window, other bool, err error) {
	var der []byte
	var details string
	present, err := object(r, "publicKey", func(name []byte) (err error) {
		switch string(name) {
		case "rawBytes":
			der, err = readBase64(r, "publicKey.rawBytes", maxKeyDER)
		case "keyDetails":
			details, err = readString(r, "publicKey.keyDetails")
		case "validFor":
			valid, err = readWindow(r, "publicKey.validFor")
		default:
			return unknownMember("publicKey", name)
		}
		return err
	})
	switch {
	case err != nil || !present:
		return nil, Window{}, false, err
	case valid.Start.IsZero():
		return nil, Window{}, false, errors.New("publicKey.validFor.start is missing")
	case otherKeys[details]:
		return nil, valid, true, nil
	}
	key, err = logKey(der, details)
	if err != nil {
		return nil, Window{}, false, fmt.Errorf("publicKey: %w", err)
	}
	return key, valid, false, nil
}

// logKey reads a key of a log in the encoding, and of the type, that its details say
// (sigstore_common.proto, PublicKeyDetails).
func logKey(der []byte, details string) (*sig.Key, error) {
	const oldRSA = "PKCS1_RSA_PKCS1V5" // deprecated, but Sigstore's staging CT log has it
	if details == oldRSA {
		pub, err := x509.ParsePKCS1PublicKey(der)
		if err != nil {
			return nil, fmt.Errorf("keyDetails says %s, which it is not: %w", oldRSA, err)
		}
		if der, err = x509.MarshalPKIXPublicKey(pub); err != nil {
			return nil, err
		}
		return sig.ParsePublicKey(der)
	}
	key, err := sig.ParsePublicKey(der)
	if err != nil {
		return nil, err
	}
	switch details {
	case "PKIX_ECDSA_P256_SHA_256", "PKIX_ECDSA_P384_SHA_384", "PKIX_ECDSA_P521_SHA_512", "PKIX_ED25519",
		"PKIX_RSA_PKCS1V15_2048_SHA256", "PKIX_RSA_PKCS1V15_3072_SHA256", "PKIX_RSA_PKCS1V15_4096_SHA256":
	default:
		return nil, fmt.Errorf("keyDetails %q is not of the keys and signatures that logs have", clip(details))
	}
	if fits := detailsOf(key); details != fits {
		return nil, fmt.Errorf("keyDetails is %s, but the key is of %s", details, fits)
	}
	return key, nil
}

// detailsOf returns the PublicKeyDetails that a log's key has.
func detailsOf(k *sig.Key) string {
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve.Params().BitSize {
		case 256:
			return "PKIX_ECDSA_P256_SHA_256"
		case 384:
			return "PKIX_ECDSA_P384_SHA_384"
		case 521:
			return "PKIX_ECDSA_P521_SHA_512"
		}
	case ed25519.PublicKey:
		return "PKIX_ED25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("PKIX_RSA_PKCS1V15_%d_SHA256", pub.N.BitLen())
	}
	return "none of them"
}

func readAuthorities(r *strictjson.Reader, what string) (authorities []Authority, err error) {
	err = array(r, what, MaxAuthorities, func() error {
		a, err := readAuthority(r)
		if err != nil {
			return fmt.Errorf("%s[%d]: %w", what, len(authorities), err)
		}
		authorities = append(authorities, a)
		return nil
	})
	return authorities, err
}

// readAuthority reads a CertificateAuthority.
func readAuthority(r *strictjson.Reader) (a Authority, err error) {
	_, err = object(r, "it", func(name []byte) (err error) {
		switch string(name) {
		case "subject":
			err = readSubject(r)
		case "uri":
			a.URI, err = readString(r, "uri")
		case "certChain":
			a.Chain, err = readChain(r)
		case "validFor":
			a.Valid, err = readWindow(r, "validFor")
		case "operator":
			_, err = readString(r, "operator")
		default:
			return unknownMember("an authority", name)
		}
		return err
	})
	return a, err
}

// readSubject reads a DistinguishedName, of which nothing is kept: the certificates say it.
func readSubject(r *strictjson.Reader) error {
	_, err := object(r, "subject", func(name []byte) error {
		switch string(name) {
		case "organization", "commonName":
			_, err := readString(r, "subject")
			return err
		}
		return unknownMember("subject", name)
	})
	return err
}

// readChain reads an X509CertificateChain.
func readChain(r *strictjson.Reader) (chain []*x509.Certificate, err error) {
	_, err = object(r, "certChain", func(name []byte) error {
		if string(name) != "certificates" {
			return unknownMember("certChain", name)
		}
		return array(r, "certChain.certificates", sig.MaxChain, func() error {
			what := fmt.Sprintf("certChain.certificates[%d]", len(chain))
			der, err := readRawBytes(r, what)
			if err != nil {
				return err
			}
			key, err := sig.ParseCertificate(der)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			chain = append(chain, key.Certificates[0])
			return nil
		})
	})
	return chain, err
}

func readRawBytes(r *strictjson.Reader, what string) (der []byte, err error) {
	_, err = object(r, what, func(name []byte) (err error) {
		if string(name) != "rawBytes" {
			return unknownMember(what, name)
		}
		der, err = readBase64(r, what+".rawBytes", sig.MaxPEM)
		return err
	})
	return der, err
}

// readWindow reads a TimeRange, both ends of which may be left out.
func readWindow(r *strictjson.Reader, what string) (w Window, err error) {
	_, err = object(r, what, func(name []byte) (err error) {
		switch string(name) {
		case "start":
			w.Start, err = readTime(r, what+".start")
		case "end":
			w.End, err = readTime(r, what+".end")
		default:
			return unknownMember(what, name)
		}
		return err
	})
	return w, err
}

// readTime reads a time in RFC 3339, as protobuf's JSON has it, or null: the zero time.
func readTime(r *strictjson.Reader, what string) (t time.Time, err error) {
	if r.Null() {
		return t, nil
	}
	text, err := readText(r, what)
	if err != nil {
		return t, err
	}
	// Package time is generous, and its zero time, the first moment of the year 1, stands for an open end.
	t, err = time.Parse(time.RFC3339, string(text))
	if err != nil || t.IsZero() || !rfc3339.Match(text) {
		return time.Time{}, fmt.Errorf("%s: %q is not a time in the form of RFC 3339", what, clip(string(text)))
	}
	return t.UTC(), nil
}

var rfc3339 = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$`)

// readString reads text, or null: the same as leaving it out.
func readString(r *strictjson.Reader, what string) (string, error) {
	if r.Null() {
		return "", nil
	}
	text, err := readText(r, what)
	return string(text), err
}
