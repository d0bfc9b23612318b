package entry

import (
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
)

// What a digest in a body is of.
const (
	OfArtifact = "artifact" // what was signed: a file, mostly
	OfPayload  = "payload"  // what a DSSE envelope carries: a statement, mostly
	OfEnvelope = "envelope" // a whole DSSE envelope, as it was submitted
)

// Description is what a stored body says, for people.
type Description struct {
	Kind, Version string
	// Digests are those that the log has computed or checked: of the artifact
	// (hashedrekord, rekord), or of payload and envelope. The envelope's digest in an
	// intoto 0.0.2 body is the client's claim, and is left out.
	Digests []Digest
	// Signers has an item for each signature, in the body's order; for intoto 0.0.1,
	// whose body has the key but no signature, one item.
	Signers []Signer
	// PayloadType is the media type of the envelope's payload; empty if the body does
	// not have it.
	PayloadType string
	// Attestation is the SHA-256 of the attestation that belongs to the body, kept or
	// not; zero if there is none.
	Attestation tlog.Hash
}

// Digest is a digest in a body.
type Digest struct {
	Of        string // OfArtifact, OfPayload or OfEnvelope
	Algorithm string // "sha256"
	Value     string // hexadecimal
}

// String returns "<algorithm>:<value>", as search keys write it.
func (d Digest) String() string { return d.Algorithm + ":" + d.Value }

// Signer is who made a signature.
type Signer struct {
	// Key is the key, with its certificate if it came in one; nil if it cannot be
	// read: logs that were imported hold such ones.
	Key *sig.Key
	// PEM is the key as it stands in the body.
	PEM []byte
	// Problem says why Key is nil.
	Problem string
	// Signature is the signature that the key made, decoded; nil if the body has none
	// that can be.
	Signature []byte
}

// Describe says what a stored body says. Like Committed, of a body of a kind or
// version that is not in the table it gives kind and version only; and with an
// error, which is an *Error, kind and version if they could be read. Nothing of the
// result may be changed: keys are shared with others.
func (p *Parser) Describe(body []byte) (Description, error) {
	h, err := p.readHeader(body)
	d := Description{Kind: h.kind, Version: h.version}
	if err != nil {
		return d, err
	}
	k, err := find(h.kind, h.version)
	if err != nil {
		return d, nil
	}
	r, err := k.committed(p, h.spec)
	if err != nil {
		return d, invalid(err)
	}
	d.Digests, d.Signers, d.PayloadType, d.Attestation = r.digests, r.signers, r.payloadType, r.attestation
	return d, nil
}

// Kind returns kind and version of a stored body, and looks at nothing else in it:
// for scans over many. Both are empty if the body cannot be read.
func (p *Parser) Kind(body []byte) (kind, version string) {
	h, _ := p.readHeader(body)
	return h.kind, h.version
}
