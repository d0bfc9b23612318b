package entry

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
)

// dsse is the spec of dsse 0.0.1: a DSSE envelope and the keys that verify it.
//
//	{"proposedContent":{"envelope":JSON as a string,"verifiers":[base64 of PEM]}}
//
// The canonical body has hashes and signatures only, signatures sorted by text:
//
//	{"envelopeHash":{…},"payloadHash":{…},"signatures":[{"signature":base64,"verifier":base64 of PEM}]}
type dsse struct {
	proposed                  bool
	envelope                  []byte
	verifiers                 [][]byte
	hasVerifiers              bool
	envelopeHash, payloadHash digest
	signatures                []dsseSignature
}

type dsseSignature struct {
	text, verifier []byte
}

func readDSSE(spec []byte) (dsse, error) {
	var d dsse
	err := readSpec(spec, func(r *strictjson.Reader, name string) error {
		switch name {
		case "proposedContent":
			d.proposed = r.Peek() != 'n'
			return readObject(r, name, func(m string) error { return d.readProposed(r, m) })
		case "envelopeHash":
			return readDigest(r, name, &d.envelopeHash)
		case "payloadHash":
			return readDigest(r, name, &d.payloadHash)
		case "signatures":
			return d.readSignatures(r)
		}
		return nil
	})
	return d, err
}

func (d *dsse) readProposed(r *strictjson.Reader, member string) error {
	switch member {
	case "envelope":
		return readText(r, member, &d.envelope)
	case "verifiers":
		if r.Null() {
			return nil
		}
		d.hasVerifiers = true
		return r.Array(func() error {
			if len(d.verifiers) == MaxSignatures {
				return fmt.Errorf("more than %d verifiers", MaxSignatures)
			}
			var pem []byte
			err := readBase64(r, "verifier", &pem)
			if err == nil && len(pem) == 0 {
				err = errors.New("empty verifier")
			}
			d.verifiers = append(d.verifiers, pem)
			return err
		})
	}
	return nil
}

func (d *dsse) readSignatures(r *strictjson.Reader) error {
	if r.Null() {
		return nil
	}
	return r.Array(func() error {
		if len(d.signatures) == maxCommitted {
			return fmt.Errorf("more than %d signatures", maxCommitted)
		}
		var s dsseSignature
		err := readObject(r, "signatures", func(m string) error {
			switch m {
			case "signature":
				return readText(r, m, &s.text)
			case "verifier":
				return readBase64(r, m, &s.verifier)
			}
			return nil
		})
		d.signatures = append(d.signatures, s)
		return err
	})
}

func proposeDSSE(p *Parser, spec []byte) (draft, error) {
	d, err := readDSSE(spec)
	if err != nil {
		return draft{}, err
	}
	if err := d.checkProposal(); err != nil {
		return draft{}, err
	}
	e, err := sig.ParseEnvelope(d.envelope, MaxSignatures)
	if err != nil {
		return draft{}, err
	}
	for _, s := range e.Signatures {
		if !isBase64([]byte(s.Text)) {
			return draft{}, errors.New("signature in the envelope is not padded base64 of the standard alphabet: its canonical form could not be read again")
		}
	}
	keys, err := newChecker(e).matchKeys(p, e.Signatures, d.verifiers, true)
	if err != nil {
		return draft{}, err
	}
	d.payloadHash = sha256Digest(sha256.Sum256(e.Payload))
	d.envelopeHash = sha256Digest(sha256.Sum256(d.envelope))
	var out draft
	for i, s := range e.Signatures {
		d.signatures = append(d.signatures, dsseSignature{[]byte(s.Text), keys[i].PEM})
		out.keys.signer(keys[i])
	}
	d.sortSignatures()
	out.body = d.canonical()
	out.keys.digest(d.payloadHash)
	out.keys.digest(d.envelopeHash)
	out.keys.statement(e.PayloadType, e.Payload)
	return out, nil
}

func (d dsse) checkProposal() error {
	computed := d.envelopeHash.given || d.payloadHash.given || len(d.signatures) > 0
	switch {
	case d.proposed && computed:
		return errors.New("either proposedContent or envelopeHash, payloadHash, and signatures must be present but not both")
	case !d.proposed && computed:
		return errors.New("entry not insertable into log: missing proposed content")
	case !d.proposed:
		return errors.New("either proposedContent or envelopeHash, payloadHash, and signatures must be present")
	case d.envelope == nil:
		return errors.New("proposedContent.envelope in body is required")
	case !d.hasVerifiers:
		return errors.New("proposedContent.verifiers in body is required")
	case len(d.verifiers) == 0:
		return errors.New("proposedContent.verifiers in body should have at least 1 items")
	}
	return nil
}

// sortSignatures puts signatures into the body's order, each text once.
func (d *dsse) sortSignatures() {
	slices.SortStableFunc(d.signatures, func(a, b dsseSignature) int {
		return cmp.Compare(string(a.text), string(b.text))
	})
	d.signatures = slices.CompactFunc(d.signatures, func(a, b dsseSignature) bool {
		return string(a.text) == string(b.text)
	})
}

func (d dsse) canonical() []byte {
	size := 256
	for _, s := range d.signatures {
		size += len(s.text) + len(s.verifier)*4/3 + 40
	}
	b := newBody("dsse", "0.0.1", size)
	b = append(b, `{"envelopeHash":`...)
	b = appendDigest(b, d.envelopeHash)
	b = append(b, `,"payloadHash":`...)
	b = appendDigest(b, d.payloadHash)
	b = append(b, `,"signatures":[`...)
	for i, s := range d.signatures {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"signature":`...)
		b = appendText(b, s.text)
		b = append(b, `,"verifier":`...)
		b = appendBase64(b, s.verifier)
		b = append(b, '}')
	}
	return append(b, `]}}`...)
}

func isProposedDSSE(spec []byte) bool { return hasMember(spec, "proposedContent") }

func committedDSSE(p *Parser, spec []byte) (record, error) {
	d, err := readDSSE(spec)
	if err != nil {
		return record{}, err
	}
	if err := d.checkCommitted(); err != nil {
		return record{}, err
	}
	var rec record
	for _, s := range d.signatures {
		rec.signer(p, s.verifier, decoded(s.text))
	}
	rec.digest(OfPayload, d.payloadHash)
	rec.digest(OfEnvelope, d.envelopeHash)
	slices.SortStableFunc(d.signatures, func(a, b dsseSignature) int {
		return cmp.Compare(string(a.text), string(b.text))
	})
	rec.body = d.canonical()
	return rec, nil
}

// decoded returns what a signature's text stands for; nil if it is not base64.
func decoded(text []byte) []byte {
	b, err := sig.DecodeBase64(text)
	if err != nil {
		return nil
	}
	return b
}

func (d dsse) checkCommitted() error {
	if len(d.signatures) == 0 {
		return errNoSignatures
	}
	for _, s := range d.signatures {
		if len(s.verifier) == 0 || !isBase64(s.text) {
			return errors.New("signatures need a verifier and a signature in standard base64")
		}
	}
	return errors.Join(d.envelopeHash.isSHA256("envelopeHash"), d.payloadHash.isSHA256("payloadHash"))
}

// isBase64 reports whether s is padded base64 of the standard alphabet, not empty,
// without line breaks: Rekor's pattern for signatures in a dsse body.
func isBase64(s []byte) bool {
	if len(s) == 0 || len(s)%4 != 0 {
		return false
	}
	end := len(s)
	for pad := 0; pad < 2 && s[end-1] == '='; pad++ {
		end--
	}
	for _, c := range s[:end] {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}
