package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// Verifier checks evidence by one trust and one policy. It is immutable and may be
// used by many goroutines.
type Verifier struct {
	trust   *Trust
	rules   *rules
	keys    []signer // those of the rules, ready for comparison
	options Options
}

// Options are what a Verifier may use besides trust and policy.
type Options struct {
	// Timestamps checks RFC 3161 timestamps (see verify/timestamp). Without it, evidence that has some is refused,
	// unless Policy.IgnoreTimestamps.
	Timestamps TimestampVerifier
	// Cache remembers results; nil for none. Verifiers that share one have the same Timestamps: it tells
	// only those with from those without.
	Cache *Cache
}

// New returns a verifier. An error is of class ErrPolicy: a policy that contradicts
// itself, names nobody, or asks for what the trust cannot give.
func New(t *Trust, p Policy, o Options) (*Verifier, error) {
	if t == nil {
		return nil, refuse(ErrPolicy, "", "there is no trust")
	}
	compiled, err := p.compile(t)
	if err != nil {
		return nil, err
	}
	if compiled.timestamps > 0 && o.Timestamps == nil {
		return nil, refuse(ErrPolicy, "signed timestamps", "the policy demands %d, but there is nothing to check them with", compiled.timestamps)
	}
	v := &Verifier{trust: t, rules: compiled, options: o}
	for _, k := range compiled.keys {
		der, err := x509.MarshalPKIXPublicKey(k.key.Public)
		if err != nil {
			return nil, &Error{ErrPolicy, "key", err}
		}
		v.keys = append(v.keys, signer{k.key, der})
	}
	return v, nil
}

// Verify proves all that the policy demands of the evidence about the artifact, and
// all else that the evidence claims. A nil error means that everything in the
// result was proved; with an error, which is an *Error, there is no result.
//
// A fault of the program, here or in a verifier that was handed in, denies as ErrInternal.
func (v *Verifier) Verify(e *Evidence, a Artifact) (r *Result, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			r, err = nil, refuse(ErrInternal, "", "%v", fault)
		}
	}()
	switch {
	case v == nil || v.trust == nil || v.rules == nil:
		return nil, refuse(ErrPolicy, "", "there is no verifier: it is made by New")
	case e == nil || e.form == 0 || a.digest == nil:
		return nil, malformed("evidence", "there is no evidence or no artifact")
	case v.options.Cache == nil:
		return v.verify(e, a)
	}
	key := v.cacheKey(e, a)
	if r := v.options.Cache.get(key); r != nil {
		return r, nil
	}
	if r, err = v.verify(e, a); err == nil {
		v.options.Cache.put(key, r)
	}
	return r, err
}

// VerifyAny is Verify for several signatures of one artifact, of which one has to pass: as where a registry has
// them from several signers. It returns the result of the first that passes, and its index. If none
// does, or there are none, the error says why of each; it is of the class of the first, or ErrPolicy.
func (v *Verifier) VerifyAny(all []*Evidence, a Artifact) (*Result, int, error) {
	var refusals []error
	for i, e := range all {
		r, err := v.Verify(e, a)
		if err == nil {
			return r, i, nil
		}
		refusals = append(refusals, fmt.Errorf("signature %d: %w", i, err))
	}
	if len(refusals) == 0 {
		return nil, -1, refuse(ErrPolicy, "", "there is no signature")
	}
	class := ErrInternal
	if first := new(Error); errors.As(refusals[0], &first) {
		class = first.Class
	}
	return nil, -1, refuse(class, "", "none of %d signatures will do: %v", len(all), errors.Join(refusals...))
}

func (v *Verifier) cacheKey(e *Evidence, a Artifact) [sha256.Size]byte {
	d := newDigester("tallystick verdict v1")
	trust, evidence := v.trust.Digest(), e.sum()
	d.bytes(trust[:])
	d.bytes(v.rules.digest[:])
	d.bytes(evidence[:])
	d.text(a.algorithm)
	d.bytes(a.digest)
	d.flag(a.whole) // which decides what can be compared
	d.flag(v.options.Timestamps != nil)
	return d.sum()
}

// verify is Verify without the cache.
func (v *Verifier) verify(e *Evidence, a Artifact) (*Result, error) {
	p := proving{Verifier: v, e: e, a: digests{artifact: a}}
	p.r = &Result{Artifact: a.bare(), Key: -1, Identity: -1, Claims: make([]Claim, 0, 12), Entries: make([]EntryProof, 0, len(e.entries))}
	if err := p.artifact(); err != nil {
		return nil, err
	}
	if err := p.signature(); err != nil {
		return nil, err
	}
	if err := p.entries(); err != nil {
		return nil, err
	}
	if err := p.timestamps(); err != nil {
		return nil, err
	}
	if err := p.logsInTime(); err != nil {
		return nil, err
	}
	if err := p.signer(); err != nil {
		return nil, err
	}
	if err := p.predicate(); err != nil {
		return nil, err
	}
	if err := p.thresholds(); err != nil {
		return nil, err
	}
	return p.r, nil
}
