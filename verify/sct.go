package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tallystick/tallystick/sig"
)

// maxSCTs is the largest number of SCTs that a certificate may hold.
const maxSCTs = 16

// Object identifiers of extensions: RFC 6962, sections 3.1 and 3.3.
const (
	oidPoison = "1.3.6.1.4.1.11129.2.4.3" // of precertificates only
	oidSCTs   = "1.3.6.1.4.1.11129.2.4.2"
)

const claimSCT = "signed certificate timestamps"

// checkSCTs proves that at least n distinct CT logs of the trust, by key, signed for the
// certificate, and returns them. Their SCTs are embedded in it, as for its precertificate
// (RFC 6962, section 3.3). All that are of trusted logs have to hold; those of other logs
// are ignored. issuer is who issued leaf on its proved chain.
//
// Errors: ErrExpired if a log signed at a time when its key was not valid, else
// ErrUntrustedCertificate.
func (t *Trust) checkSCTs(leaf, issuer *x509.Certificate, n int) ([]*Log, error) {
	untrusted := func(format string, args ...any) error {
		return refuse(ErrUntrustedCertificate, claimSCT, format, args...)
	}
	if _, poisoned := extensionBytes(leaf, oidPoison); poisoned {
		return nil, untrusted("it is a precertificate")
	}
	var logs []*Log
	if list, ok := extensionBytes(leaf, oidSCTs); ok {
		scts, err := parseSCTs(list)
		if err != nil {
			return nil, untrusted("%w", err)
		}
		tbs, err := withoutSCTs(leaf.RawTBSCertificate)
		if err != nil {
			return nil, untrusted("%w", err)
		}
		issuerKey := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
		for i := range scts {
			log := t.ctLog(scts[i].logID[:])
			if log == nil {
				continue
			}
			if err := scts[i].verify(log.Key, issuerKey, tbs); err != nil {
				return nil, untrusted("log %x: %w", scts[i].logID, err)
			}
			if at := time.UnixMilli(int64(scts[i].timestamp)); !log.Valid.Contains(at) {
				return nil, refuse(ErrExpired, claimSCT, "log %x signed at %s, when its key was not valid", scts[i].logID, at.UTC().Format(time.RFC3339))
			}
			if !slices.ContainsFunc(logs, func(l *Log) bool { return l.Key.SamePublic(log.Key) }) {
				shown := *log
				shown.ID = bytes.Clone(log.ID)
				logs = append(logs, &shown)
			}
		}
	}
	if len(logs) < n {
		return nil, untrusted("the policy demands those of %d trusted CT logs, and the certificate has them of %d", n, len(logs))
	}
	return logs, nil
}

// ctLog returns the CT log of an ID.
func (t *Trust) ctLog(id []byte) *Log {
	for i := range t.material.CTLogs {
		if l := &t.material.CTLogs[i]; bytes.Equal(l.ID, id) {
			return l
		}
	}
	return nil
}

// sct is a SignedCertificateTimestamp, version 1 (RFC 6962, section 3.2).
type sct struct {
	logID           [sha256.Size]byte
	timestamp       uint64 // Unix milliseconds, at most math.MaxInt64
	extensions      []byte // signed as they are
	hash, algorithm byte   // RFC 5246, section 7.4.1.4.1
	signature       []byte
}

// parseSCTs reads the extension's value: a SignedCertificateTimestampList in a DER
// OCTET STRING.
func parseSCTs(der []byte) ([]sct, error) {
	var octets []byte
	if rest, err := asn1.Unmarshal(der, &octets); err != nil || len(rest) > 0 {
		return nil, errors.New("the extension is not an octet string")
	}
	list, rest, ok := vector(octets)
	if !ok || len(rest) > 0 || len(list) == 0 {
		return nil, errors.New("the list of SCTs is empty, or not as long as it says")
	}
	var all []sct
	for len(list) > 0 {
		if len(all) == maxSCTs {
			return nil, fmt.Errorf("more than %d SCTs", maxSCTs)
		}
		var one []byte
		if one, list, ok = vector(list); !ok {
			return nil, errors.New("an SCT is not as long as it says")
		}
		s, err := parseSCT(one)
		if err != nil {
			return nil, fmt.Errorf("SCT %d: %w", len(all), err)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseSCT(b []byte) (s sct, err error) {
	if len(b) < 1+sha256.Size+8 || b[0] != 0 {
		return sct{}, errors.New("it is cut, or not of version 1")
	}
	copy(s.logID[:], b[1:])
	if s.timestamp = binary.BigEndian.Uint64(b[1+sha256.Size:]); s.timestamp > math.MaxInt64 {
		return sct{}, fmt.Errorf("timestamp %d", s.timestamp)
	}
	var ok bool
	if s.extensions, b, ok = vector(b[1+sha256.Size+8:]); !ok || len(b) < 2 {
		return sct{}, errors.New("it is cut")
	}
	s.hash, s.algorithm = b[0], b[1]
	if s.signature, b, ok = vector(b[2:]); !ok || len(b) > 0 {
		return sct{}, errors.New("its signature is not as long as it says, or not its end")
	}
	return s, nil
}

// vector reads a variable-length vector of TLS whose length has two bytes (RFC 5246,
// section 4.3).
func vector(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

// verify checks the signature, which has to be ECDSA or RSA, over SHA-256 (RFC 6962,
// section 2.1.4).
func (s *sct) verify(key *sig.Key, issuerKey [sha256.Size]byte, tbs []byte) error {
	const sha256Hash, rsaSignature, ecdsaSignature = 4, 1, 3
	goes := false
	switch key.Public.(type) {
	case *rsa.PublicKey:
		goes = s.algorithm == rsaSignature
	case *ecdsa.PublicKey:
		goes = s.algorithm == ecdsaSignature
	}
	if !goes || s.hash != sha256Hash {
		return fmt.Errorf("signature algorithm %d.%d does not go with its key", s.hash, s.algorithm)
	}
	return key.VerifyMessage(crypto.SHA256, s.message(issuerKey, tbs), s.signature)
}

// message returns what the log signed (RFC 6962, section 3.2). tbs has less than 2²⁴ bytes.
func (s *sct) message(issuerKey [sha256.Size]byte, tbs []byte) []byte {
	const (
		version              = 0 // v1
		certificateTimestamp = 0
		precertEntry         = 1
	)
	b := make([]byte, 0, 64+len(tbs)+len(s.extensions))
	b = append(b, version, certificateTimestamp)
	b = binary.BigEndian.AppendUint64(b, s.timestamp)
	b = binary.BigEndian.AppendUint16(b, precertEntry)
	b = append(b, issuerKey[:]...)
	b = append(b, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	b = append(b, tbs...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.extensions)))
	return append(b, s.extensions...)
}

// withoutSCTs returns a TBSCertificate (RFC 5280, section 4.1) without its SCTs: the
// precertificate's, without the poison. All other bytes stay as they are, but lengths.
func withoutSCTs(tbs []byte) ([]byte, error) {
	if len(tbs) > MaxCertificate {
		return nil, fmt.Errorf("certificate of more than %d bytes", MaxCertificate)
	}
	fields, err := elements(tbs, asn1.ClassUniversal, asn1.TagSequence)
	if err != nil {
		return nil, err
	}
	// Extensions are the last field: [3] EXPLICIT SEQUENCE OF Extension.
	last := fields[len(fields)-1]
	explicit, err := elements(last.FullBytes, asn1.ClassContextSpecific, 3)
	if err != nil || len(explicit) != 1 {
		return nil, errors.New("certificate does not end in extensions")
	}
	extensions, err := elements(explicit[0].FullBytes, asn1.ClassUniversal, asn1.TagSequence)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(extensions, func(e asn1.RawValue) bool {
		var id asn1.ObjectIdentifier
		_, err := asn1.Unmarshal(e.Bytes, &id)
		return err == nil && sig.IsOID(id, oidSCTs)
	})
	inner, err := constructed(asn1.ClassUniversal, asn1.TagSequence, kept)
	if err != nil {
		return nil, err
	}
	outer, err := constructed(asn1.ClassContextSpecific, 3, []asn1.RawValue{{FullBytes: inner}})
	if err != nil {
		return nil, err
	}
	fields[len(fields)-1].FullBytes = outer
	return constructed(asn1.ClassUniversal, asn1.TagSequence, fields)
}

// elements returns the elements, at least one, of a constructed DER value.
func elements(der []byte, class, tag int) ([]asn1.RawValue, error) {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if len(rest) > 0 || v.Class != class || v.Tag != tag || !v.IsCompound || len(v.Bytes) == 0 {
		return nil, fmt.Errorf("certificate: no sequence where one is expected")
	}
	var all []asn1.RawValue
	for rest = v.Bytes; len(rest) > 0; {
		var e asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &e); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// constructed is the reverse of elements.
func constructed(class, tag int, all []asn1.RawValue) ([]byte, error) {
	var content []byte
	for _, e := range all {
		content = append(content, e.FullBytes...)
	}
	return asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: content})
}
