package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// Evidence is a signature with all that came with it. Nothing of it is true before
// Verifier.Verify says so. It is immutable.
type Evidence struct {
	form        form
	bundled     bool                // it is a Sigstore bundle, which is stricter than the older formats
	hash        string              // messageSignature: the digest's algorithm, and
	digest      []byte              // … the digest; empty if the format does not say it
	payload     []byte              // simpleSigning: what was signed
	envelope    *sig.Envelope       // statement: what was signed
	rawEnvelope []byte              // … as the log got it; nil if it was encoded anew
	signature   []byte              // over the artifact, the payload, or the envelope's PAE
	timestamped []byte              // what the timestamps are of
	certificate *x509.Certificate   // of the signer; nil if a key signed
	chain       []*x509.Certificate // what came with it
	namedKey    *sig.Key            // the key that signed, if the format says it
	entries     []*Entry
	timestamps  [][]byte
}

// form is what a signature is over.
type form int

const (
	messageSignature form = iota + 1 // the artifact
	simpleSigning                    // cosign's payload, which names an image by its digest
	statement                        // an in-toto statement in a DSSE envelope
)

// Signed is a signature over an artifact with its parts apart.
type Signed struct {
	Signature   []byte   // over the artifact, as it is, not in base64; or
	Envelope    []byte   // a DSSE envelope in JSON, as the log got it
	Certificate []byte   // PEM; nil if a key signed
	Entries     []*Entry // see ParseEntry
	Timestamps  [][]byte // RFC 3161, DER
}

// NewEvidence puts the parts of a signature together: for entries that came from a
// log's API. It copies everything. Errors are of class ErrMalformed.
func NewEvidence(s Signed) (*Evidence, error) {
	e := Evidence{form: messageSignature, signature: bytes.Clone(s.Signature)}
	for _, t := range s.Timestamps {
		e.timestamps = append(e.timestamps, bytes.Clone(t))
	}
	err := func() error {
		if (len(s.Signature) == 0) == (len(s.Envelope) == 0) {
			return errors.New("there is either a signature or an envelope")
		}
		if len(s.Envelope) > 0 {
			if err := e.setEnvelope(bytes.Clone(s.Envelope)); err != nil {
				return err
			}
		}
		for _, entry := range s.Entries {
			if entry == nil {
				return errors.New("a log entry is nil")
			}
			e.entries = append(e.entries, entry.clone())
		}
		if err := e.setCertificates(s.Certificate, nil); err != nil {
			return err
		}
		return e.check()
	}()
	if err != nil {
		return nil, &Error{ErrMalformed, "evidence", err}
	}
	return &e, nil
}

// setEnvelope takes a DSSE envelope as the thing that was signed.
func (e *Evidence) setEnvelope(raw []byte) error {
	if len(raw) > MaxBundle {
		return fmt.Errorf("the envelope has more than %d bytes", MaxBundle)
	}
	e.form, e.rawEnvelope = statement, raw
	err := whole(raw, func(r *strictjson.Reader) (err error) {
		e.envelope, err = readEnvelope(r)
		return err
	})
	if err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	return nil
}

// setCertificates takes the signer's certificate and what came with it, both PEM.
func (e *Evidence) setCertificates(leaf, chain []byte) error {
	all, err := parseCertificates(leaf)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	more, err := parseCertificates(chain)
	if err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	if len(all) == 0 && len(more) > 0 {
		return errors.New("there is a chain, but no certificate")
	}
	if len(all) > 0 {
		e.certificate, e.chain = all[0], append(all[1:len(all):len(all)], more...)
	}
	return nil
}

// parseCertificates reads certificates in PEM and nothing but.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	if len(text) > sig.MaxPEM {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(text), sig.MaxPEM)
	}
	var all []*x509.Certificate
	for text = bytes.TrimSpace(text); len(text) > 0; text = bytes.TrimSpace(text) {
		if !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("not a certificate in PEM")
		}
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("not a certificate in PEM")
		}
		if len(all) == sig.MaxChain {
			return nil, fmt.Errorf("more than %d certificates", sig.MaxChain)
		}
		if len(block.Bytes) > MaxCertificate {
			return nil, fmt.Errorf("a certificate has more than %d bytes", MaxCertificate)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// check sees that the evidence is whole and within limits, whatever it came in, and
// fills in what follows from the rest.
func (e *Evidence) check() error {
	if e.form == statement {
		e.signature = e.envelope.Signatures[0].Sig
	}
	if e.timestamped == nil {
		e.timestamped = e.signature
	}
	switch {
	case len(e.signature) == 0:
		return errors.New("the signature is missing")
	case len(e.signature) > MaxSignature:
		return fmt.Errorf("the signature has more than %d bytes", MaxSignature)
	case len(e.entries) > MaxEntries:
		return fmt.Errorf("there are more than %d log entries", MaxEntries)
	case len(e.timestamps) > MaxTimestamps:
		return fmt.Errorf("there are more than %d timestamps", MaxTimestamps)
	}
	for i, c := range e.chain {
		if c.Equal(e.certificate) || contains(e.chain[:i], c) {
			return errors.New("a certificate is there twice")
		}
	}
	for i, t := range e.timestamps {
		if len(t) == 0 || len(t) > MaxTimestamp {
			return fmt.Errorf("a timestamp has %d bytes", len(t))
		}
		for _, earlier := range e.timestamps[:i] {
			if bytes.Equal(t, earlier) {
				return errors.New("a timestamp is there twice")
			}
		}
	}
	for i, entry := range e.entries {
		var err error
		if entry.spec, err = entry.check(); err != nil {
			return fmt.Errorf("log entry %d: %w", entry.LogIndex, err)
		}
		for _, earlier := range e.entries[:i] {
			if entry.LogIndex == earlier.LogIndex && bytes.Equal(entry.LogID, earlier.LogID) {
				return fmt.Errorf("log entry %d is there twice", entry.LogIndex)
			}
		}
	}
	return nil
}

// readEnvelope reads a DSSE envelope of one signature. (Sigstore's bundles have one,
// and what more than one would say is not defined.)
func readEnvelope(r *strictjson.Reader) (*sig.Envelope, error) {
	e := &sig.Envelope{}
	hasPayload := false
	_, err := object(r, "envelope", func(name []byte) (err error) {
		switch string(name) {
		case "payload":
			hasPayload = true
			e.Payload, err = readBase64(r, "payload", MaxBundle)
			return err
		case "payloadType":
			text, err := readText(r, "payloadType")
			e.PayloadType = string(text)
			return err
		case "signatures":
			return array(r, "signatures", 1, func() error {
				e.Signatures = append(e.Signatures, sig.Signature{})
				s := &e.Signatures[len(e.Signatures)-1]
				return element(r, "signature", func(name []byte) (err error) {
					switch string(name) {
					case "keyid":
						text, err := readText(r, "keyid")
						s.KeyID = string(text)
						return err
					case "sig":
						s.Sig, err = readBase64(r, "sig", MaxSignature)
						return err
					}
					return unknownMember("a signature", name)
				})
			})
		}
		return unknownMember("an envelope", name)
	})
	switch {
	case err != nil:
		return nil, err
	case !hasPayload || len(e.Payload) == 0:
		return nil, errors.New("the payload is missing")
	case len(e.Signatures) != 1 || len(e.Signatures[0].Sig) == 0:
		return nil, errors.New("there is no signature")
	}
	return e, nil
}

// sum identifies the evidence: equal sums, equal verdicts.
func (e *Evidence) sum() [32]byte {
	d := newDigester("tallystick evidence v1")
	d.number(int64(e.form))
	d.flag(e.bundled)
	d.text(e.hash)
	d.bytes(e.digest)
	d.bytes(e.payload)
	if e.envelope != nil {
		d.text(e.envelope.PayloadType)
		d.bytes(e.envelope.Payload)
	}
	d.bytes(e.rawEnvelope)
	d.bytes(e.signature)
	d.bytes(e.timestamped)
	d.flag(e.certificate != nil)
	if e.certificate != nil {
		d.bytes(e.certificate.Raw)
	}
	d.number(int64(len(e.chain)))
	for _, c := range e.chain {
		d.bytes(c.Raw)
	}
	d.flag(e.namedKey != nil)
	if e.namedKey != nil {
		d.bytes(e.namedKey.PEM)
	}
	d.number(int64(len(e.entries)))
	for _, entry := range e.entries {
		entry.sum(d)
	}
	d.number(int64(len(e.timestamps)))
	for _, t := range e.timestamps {
		d.bytes(t)
	}
	return d.sum()
}
