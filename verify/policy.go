package verify

import (
	"maps"
	"slices"
	"time"
)

// Limits of a policy.
const (
	MaxPolicy     = 1 << 20 // bytes of a policy in JSON
	MaxSigners    = 256     // keys or identities
	MaxExtensions = 32      // extensions of an identity
	MaxRegexp     = 4 << 10 // bytes of a regular expression
)

// None, as a threshold of a Policy, demands nothing. (Zero is the default of each.)
const None = -1

// Policy says what has to be proved. Either Keys or Identities is set, never both; a
// policy that names nobody admits nobody. ParsePolicy reads one in JSON.
//
// New refuses a policy that contradicts itself or could never be met: one that demands
// more than the trust has, or that asks about a time (of certificates, or of keys with a Valid
// window) without log entries, timestamps or Time to prove it by.
type Policy struct {
	// Keys are those of which one has to have signed, each given once.
	Keys []PublicKey
	// Identities are those of which one has to match the signer's certificate.
	Identities []Identity
	// PredicateType is the exact predicateType of the in-toto statement that has to be
	// signed. Empty, it asks for a signature of the artifact itself, in any form that signers
	// give it: over its digest, over cosign's "simple signing" payload, or over a statement
	// of CosignSignType.
	PredicateType string
	// LogEntries is how many distinct logs, by key, have to hold the signature. 0 means 1.
	// With None, a signature without log entries passes too.
	LogEntries int
	// SignedTimestamps is how many distinct timestamp authorities have to have timestamped the signature. 0
	// and None mean none. More needs a verifier for them: see Options.Timestamps.
	SignedTimestamps int
	// SCTs is how many distinct CT logs have to have signed for the signer's certificate. 0
	// means 1 if the trust has CT logs, and else none. With Keys there are none to demand.
	SCTs int
	// InclusionProofs demands an inclusion proof with every log entry. Otherwise the older formats, and bundles of
	// version 0.1, may have a SET alone: the log's promise.
	InclusionProofs bool
	// Witnesses is the quorum of witnesses that every entry's checkpoint needs, in the form of C2SP
	// tlog-policy (see ParseWitnessPolicy). Empty means none.
	Witnesses string
	// Time is the moment for which the question is asked. Nothing may have happened after it. Where
	// the policy demands neither log entries nor timestamps, and so nothing proves when the signature
	// was made, it is taken to have been made then. The zero time is "not said".
	Time time.Time
	// IgnoreTimestamps leaves RFC 3161 timestamps aside, whatever they say. Otherwise one that
	// cannot be checked (no verifier, no trusted authority) is refused.
	IgnoreTimestamps bool
}

// CosignSignType is the predicate type of the statement by which cosign 3 signs an
// image.
const CosignSignType = "https://sigstore.dev/cosign/sign/v1"

// PublicKey is a key whose signatures are accepted.
type PublicKey struct {
	// PEM is the key ("PUBLIC KEY").
	PEM []byte
	// Valid is when it may have signed. If it is not open at both ends, a proof of the time is needed.
	//
	// Logs and timestamp authorities prove that a signature was there at a time, not that it was made then. So End is hard: what they saw
	// before it was signed before it. Start is not: whoever has an older signature can have it logged or timestamped again, and
	// it passes.
	Valid Window
}

// Identity is whom a certificate was issued to, and on whose word. One of Issuer and
// IssuerRegexp, and one of Subject and SubjectRegexp, is set. Regular expressions
// are RE2 and, as in cosign, match anywhere: anchor them with ^ and $, and
// escape dots. They match no text of more than 4 KiB. A certificate without an issuer or a subject
// matches nothing.
type Identity struct {
	Issuer, IssuerRegexp string
	// Subject is the subject alternative name: an e-mail address, a URI, …
	Subject, SubjectRegexp string
	// Extensions are the exact values that Fulcio's certificate extensions all need to have, by
	// object identifier ("1.3.6.1.4.1.57264.1.12").
	Extensions map[string]string
}

// Digest identifies the policy: equal digests, equal verdicts. It depends on the fields,
// and not on the form that they were read from.
func (p Policy) Digest() [32]byte {
	d := newDigester("tallystick verify policy 1")
	d.number(int64(len(p.Keys)))
	for _, k := range p.Keys {
		d.bytes(k.PEM)
		d.window(k.Valid)
	}
	d.number(int64(len(p.Identities)))
	for _, i := range p.Identities {
		d.text(i.Issuer)
		d.text(i.IssuerRegexp)
		d.text(i.Subject)
		d.text(i.SubjectRegexp)
		d.number(int64(len(i.Extensions)))
		for _, oid := range slices.Sorted(maps.Keys(i.Extensions)) {
			d.text(oid)
			d.text(i.Extensions[oid])
		}
	}
	d.text(p.PredicateType)
	d.number(int64(p.LogEntries))
	d.number(int64(p.SignedTimestamps))
	d.number(int64(p.SCTs))
	d.flag(p.InclusionProofs)
	d.text(p.Witnesses)
	d.time(p.Time)
	d.flag(p.IgnoreTimestamps)
	return d.sum()
}
