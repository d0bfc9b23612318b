package verify

import (
	"errors"
	"fmt"
)

// The classes of errors: what a caller can do about a refusal. Every error of this
// package is an [*Error] that is (errors.Is) exactly one of them.
var (
	// ErrMalformed: the input cannot be read, is over a limit, or contradicts itself.
	ErrMalformed = errors.New("malformed")
	// ErrUntrustedLog: the entry or checkpoint is of a log that is not trusted, or was not
	// when the entry was made.
	ErrUntrustedLog = errors.New("untrusted log")
	// ErrBadProof: what a trusted log is said to have signed or proved does not hold: a SET, a
	// checkpoint, an inclusion or consistency proof; or an entry is not about this signature.
	ErrBadProof = errors.New("bad proof")
	// ErrWrongArtifact: something was signed, but not this artifact, or it is of another
	// predicate type than asked for.
	ErrWrongArtifact = errors.New("wrong artifact")
	// ErrBadSignature: the signature over the artifact is not that of the key.
	ErrBadSignature = errors.New("bad signature")
	// ErrIdentity: it was signed, but by none of those whom the policy names.
	ErrIdentity = errors.New("identity mismatch")
	// ErrUntrustedCertificate: the certificate leads to no trusted authority, or lacks what it
	// must have, such as an SCT.
	ErrUntrustedCertificate = errors.New("untrusted certificate")
	// ErrExpired: a certificate, a key or an authority was not valid when the signature was made.
	ErrExpired = errors.New("expired")
	// ErrTimestamp: an RFC 3161 timestamp does not hold, or its authority is not trusted.
	ErrTimestamp = errors.New("bad timestamp")
	// ErrWitness: the checkpoint lacks the cosignatures that the policy demands, or one is wrong.
	ErrWitness = errors.New("missing cosignatures")
	// ErrPolicy: the policy is not one, or demands more than was proved (fewer log entries or
	// timestamps than its thresholds).
	ErrPolicy = errors.New("policy not met")
	// ErrInternal: a fault of the program. It denies like every other.
	ErrInternal = errors.New("internal error")
)

// Error is a refusal.
type Error struct {
	// Class is one of the Err… values above.
	Class error
	// Claim is what was being proved, such as "inclusion proof of log entry 0".
	Claim string
	// Err is the reason. Its text may quote the input, cleaned and clipped.
	Err error
}

// maxErrorText bounds the text of an error, in bytes: what is quoted in it may be long.
const maxErrorText = 800

// Error returns class, claim and reason in a line of at most some 800 bytes that can be printed anywhere.
func (e *Error) Error() string {
	if e.Claim == "" {
		return clean(fmt.Sprintf("%v: %v", e.Class, e.Err), maxErrorText)
	}
	return clean(fmt.Sprintf("%v: %s: %v", e.Class, e.Claim, e.Err), maxErrorText)
}

// Unwrap returns class and reason.
func (e *Error) Unwrap() []error { return []error{e.Class, e.Err} }

func refuse(class error, claim, format string, args ...any) error {
	return &Error{class, claim, fmt.Errorf(format, args...)}
}

func malformed(claim, format string, args ...any) error {
	return refuse(ErrMalformed, claim, format, args...)
}
