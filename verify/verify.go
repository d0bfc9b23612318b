package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
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

// proving is one verification under way. Each step proves some claims or refuses; all have to pass.
type proving struct {
	*Verifier
	e    *Evidence
	a    digests // of the artifact
	m    digests // of the message that was signed, if it is not the artifact
	r    *Result
	by   signer
	tsas []int // the authorities that timestamped it
}

func (p *proving) claim(kind ClaimKind, index int) {
	p.r.Claims = append(p.r.Claims, Claim{kind, index})
}

// artifact proves that what was signed is about the artifact, and of the type that the policy wants.
func (p *proving) artifact() error {
	want := p.rules.predicateType
	switch p.e.form {
	case messageSignature:
		if want != "" {
			return refuse(ErrWrongArtifact, "artifact", "the policy wants a statement of type %s, and this is a signature without one", clip(want))
		}
		if p.e.digest == nil {
			return nil // nothing but the signature says what was signed
		}
		digest, known := p.a.sum(p.e.hash)
		if !known {
			return refuse(ErrWrongArtifact, "artifact", "the bundle is about a %s, which cannot be compared with %v", p.e.hash, p.r.Artifact)
		}
		if !bytes.Equal(digest, p.e.digest) {
			return refuse(ErrWrongArtifact, "artifact", "the bundle is about %s:%x, not %v", p.e.hash, p.e.digest, p.r.Artifact)
		}
	case simpleSigning:
		if want != "" {
			return refuse(ErrWrongArtifact, "artifact", "the policy wants a statement of type %s, and this is a signature without one", clip(want))
		}
		digest, err := readSimpleSigning(p.e.payload)
		if err != nil {
			return &Error{ErrMalformed, "payload", err}
		}
		if digest != p.r.Artifact.String() {
			return refuse(ErrWrongArtifact, "artifact", "the signature is of the image %s, not %v", clip(digest), p.r.Artifact)
		}
	case statement:
		if p.e.envelope.PayloadType != intotoPayload {
			return refuse(ErrWrongArtifact, "statement", "the payload is of type %q, not %s", clip(p.e.envelope.PayloadType), intotoPayload)
		}
		s, found, err := readStatement(p.e.envelope.Payload, &p.a, p.e.bundled)
		if err != nil {
			return &Error{ErrMalformed, "statement", err}
		}
		if want == "" {
			want = CosignSignType
		}
		if s.PredicateType != want {
			return refuse(ErrWrongArtifact, "statement", "its predicate is of type %q, not %s", clip(s.PredicateType), clip(want))
		}
		if !found {
			return refuse(ErrWrongArtifact, "statement", "none of its subjects is %v", p.r.Artifact)
		}
		p.r.Statement = s
		p.claim(ClaimStatement, 0)
	}
	return nil
}

// signature proves that one of the policy's keys, or the certificate's, signed.
func (p *proving) signature() error {
	const claim = "signature"
	if c := p.e.certificate; c != nil {
		if len(p.rules.identities) == 0 {
			return refuse(ErrIdentity, claim, "a certificate signed, but the policy names keys")
		}
		if err := checkKey(c.PublicKey); err != nil {
			return &Error{ErrUntrustedCertificate, claimCertificate, err}
		}
		key := &sig.Key{Public: c.PublicKey, Certificates: []*x509.Certificate{c}}
		if err := p.signedBy(key); err != nil {
			return refuse(ErrBadSignature, claim, "it is not by the certificate's key: %w", err)
		}
		p.by = signer{key, c.Raw}
		p.r.Certificate = c
		p.claim(ClaimSignature, 0)
		return nil
	}
	if len(p.rules.keys) == 0 {
		return refuse(ErrIdentity, claim, "a key signed, but the policy names identities in certificates")
	}
	for i, k := range p.keys {
		if p.e.namedKey != nil && !p.e.namedKey.SamePublic(k.key) {
			continue
		}
		if p.signedBy(k.key) == nil {
			p.by = k
			p.r.Key = i
			p.claim(ClaimSignature, 0)
			return nil
		}
	}
	if p.e.namedKey != nil {
		return refuse(ErrIdentity, claim, "it is said to be by a key that the policy does not name, or is not by that key")
	}
	return refuse(ErrBadSignature, claim, "it is by none of the policy's keys over this artifact")
}

// signedBy checks the signature over what was signed, with the hash that belongs to the key: of ECDSA, that of the
// curve's size. Older clients used SHA-256 with every curve.
func (p *proving) signedBy(key *sig.Key) error {
	if p.e.form == statement {
		// As in other verifiers of DSSE, a key ID that is not the key's is another key's.
		if id := p.e.envelope.Signatures[0].KeyID; id != "" && id != key.SSHFingerprint() {
			return fmt.Errorf("the signature is said to be by the key %q", clip(id))
		}
	}
	h := crypto.SHA256
	others := false
	switch k := key.Public.(type) {
	case ed25519.PublicKey:
		return p.signedByEd25519(key)
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			h, others = crypto.SHA384, true
		case elliptic.P521():
			h, others = crypto.SHA512, true
		}
	}
	err := p.signedWith(key, h)
	if err != nil && others && (!p.e.bundled || p.e.certificate != nil) {
		err = p.signedWith(key, crypto.SHA256)
	}
	return err
}

// signedWith checks the signature over a digest.
func (p *proving) signedWith(key *sig.Key, h crypto.Hash) error {
	digest, ok := p.message().sum(hashName(h))
	if !ok {
		return fmt.Errorf("such a key signs a %s, which is not known of %v", hashName(h), p.r.Artifact)
	}
	return key.VerifyDigest(h, digest, p.e.signature)
}

// message returns what was signed.
func (p *proving) message() *digests {
	switch {
	case p.e.form == messageSignature:
		return &p.a
	case p.m.artifact.whole:
	case p.e.form == statement:
		p.m.artifact = Artifact{message: sig.PAE(p.e.envelope.PayloadType, p.e.envelope.Payload), whole: true}
	default:
		p.m.artifact = Artifact{message: p.e.payload, whole: true}
	}
	return &p.m
}

// signedByEd25519 checks a signature by an Ed25519 key. Over an artifact it is Ed25519ph, with which alone logs record
// it; over a statement it is pure, or, where a bare key signed for a v2 log, Ed25519ph too; and clients of
// the older formats made pure ones of anything.
func (p *proving) signedByEd25519(key *sig.Key) error {
	message := p.message()
	pure := p.e.form == statement || !p.e.bundled && message.artifact.whole
	prehashed := p.e.form != statement || p.e.certificate == nil && slices.ContainsFunc(p.e.entries, (*Entry).v2)
	if pure && key.VerifyMessage(crypto.SHA512, message.artifact.message, p.e.signature) == nil {
		return nil
	}
	if !prehashed {
		return sig.ErrSignature
	}
	return p.signedWith(key, crypto.SHA512)
}

func hashName(h crypto.Hash) string {
	for name, known := range hashes {
		if known == h {
			return name
		}
	}
	return h.String()
}

// entries proves each log entry, and that it is about this signature.
func (p *proving) entries() error {
	if n := len(p.e.entries); n < p.rules.logEntries {
		return refuse(ErrPolicy, "log entries", "there are %d, and %d are demanded", n, p.rules.logEntries)
	}
	if n := len(p.e.timestamps); n < p.rules.timestamps {
		return refuse(ErrPolicy, "signed timestamps", "there are %d, and %d are demanded", n, p.rules.timestamps)
	}
	for i, entry := range p.e.entries {
		proof, err := p.trust.verifyEntry(entry, p.rules.witnesses)
		if err != nil {
			return err
		}
		if proof.Checkpoint == nil && p.rules.inclusion {
			return refuse(ErrPolicy, entry.name(), "there is a SET, but no inclusion proof, which the policy demands")
		}
		if proof.Checkpoint != nil && !p.rules.time.IsZero() {
			for _, c := range proof.Checkpoint.Cosignatures {
				if c.Time.After(p.rules.time) {
					return refuse(ErrExpired, entry.name(), "the witness %s cosigned at %s, after the time of verification", clip(c.Witness), utc(c.Time))
				}
			}
		}
		if err := p.bind(entry); err != nil {
			return err
		}
		p.r.Entries = append(p.r.Entries, proof)
		if proof.SET {
			p.claim(ClaimSET, i)
			p.r.Times = append(p.r.Times, ProvedTime{time.Unix(proof.IntegratedTime, 0), proof.Log.BaseURL})
		}
		if proof.Checkpoint != nil {
			p.claim(ClaimCheckpoint, i)
			if len(proof.Checkpoint.Cosignatures) > 0 {
				p.claim(ClaimWitnesses, i)
			}
			p.claim(ClaimInclusion, i)
		}
		p.claim(ClaimBody, i)
	}
	return nil
}

// timestamps proves each RFC 3161 timestamp.
func (p *proving) timestamps() error {
	if p.rules.ignoreTimestamps || len(p.e.timestamps) == 0 {
		return nil
	}
	const claim = "timestamp"
	if p.options.Timestamps == nil {
		return refuse(ErrPolicy, claim, "there are timestamps, and nothing to check them with")
	}
	authorities := p.trust.material.TimestampAuthorities
	for _, token := range p.e.timestamps {
		at, by, err := p.options.Timestamps.VerifyTimestamp(token, p.e.timestamped, authorities)
		if err != nil && p.e.rawEnvelope != nil {
			// cosign 2 has the whole envelope timestamped in its older format, cosign 3 the signature.
			at, by, err = p.options.Timestamps.VerifyTimestamp(token, p.e.signature, authorities)
		}
		if err != nil {
			return &Error{ErrTimestamp, claim, err}
		}
		if by < 0 || by >= len(authorities) || at.IsZero() {
			return refuse(ErrInternal, claim, "the verifier named no authority or no time")
		}
		if !authorities[by].Valid.Contains(at) {
			return refuse(ErrExpired, claim, "the timestamp authority %s was not trusted at %s", clip(authorities[by].URI), utc(at))
		}
		p.claim(ClaimTimestamp, len(p.r.Times))
		p.r.Times = append(p.r.Times, ProvedTime{at, authorities[by].URI})
		p.tsas = append(p.tsas, by)
	}
	return nil
}

// logsInTime proves that each v2 log was trusted when the signature was made. Its entries say nothing of times: what
// says so is the SET of another log, a timestamp, or else the policy's own time. If nothing does, it is not asked: then the policy
// names keys that are valid for ever.
func (p *proving) logsInTime() error {
	for i := range p.r.Entries {
		entry := &p.r.Entries[i]
		if entry.SET {
			continue
		}
		for _, t := range p.r.Times {
			if !entry.log.Valid.Contains(t.Time) {
				return refuse(ErrUntrustedLog, p.e.entries[i].name(), "the log was not trusted at %s, when the signature was made", utc(t.Time))
			}
		}
		if at := p.rules.time; len(p.r.Times) == 0 && !at.IsZero() && !entry.log.Valid.Contains(at) {
			return refuse(ErrUntrustedLog, p.e.entries[i].name(), "the log is not trusted at %s, the time of verification", utc(at))
		}
	}
	return nil
}

// signer proves that the key, or the certificate and whom it names, was to be believed when it signed.
func (p *proving) signer() error {
	for _, t := range p.r.Times {
		if !p.rules.time.IsZero() && t.Time.After(p.rules.time) {
			return refuse(ErrExpired, "time", "the signature was made at %s, after the time of verification", utc(t.Time))
		}
	}
	if p.r.Key >= 0 {
		valid := p.rules.keys[p.r.Key].valid
		if valid == (Window{}) {
			return nil
		}
		times, err := p.times()
		if err != nil {
			return err
		}
		for _, at := range times {
			if !valid.Contains(at) {
				return refuse(ErrExpired, "key", "it was not valid at %s", utc(at))
			}
		}
		p.claim(ClaimKeyValid, 0)
		return nil
	}
	times, err := p.times()
	if err != nil {
		return err
	}
	chain, err := p.trust.checkChain(p.e.certificate, times)
	if err != nil {
		return err
	}
	// Certificates beside the signer's prove nothing. They are those of its chain, or the bundle was altered.
	whole := chain
	for _, c := range p.e.chain {
		if contains(whole, c) {
			continue
		}
		// A trusted authority may be one that others, whom nobody has to trust, issued.
		if whole[len(whole)-1].CheckSignatureFrom(c) != nil {
			return refuse(ErrUntrustedCertificate, "certificate chain", "a certificate that came with the signer's, %q, is not of its chain", clip(c.Subject.String()))
		}
		whole = append(whole[:len(whole):len(whole)], c)
	}
	p.claim(ClaimCertificate, 0)
	if p.rules.scts > 0 {
		if p.r.SCTs, err = p.trust.checkSCTs(chain[0], chain[1], p.rules.scts); err != nil {
			return err
		}
		p.claim(ClaimSCT, 0)
	}
	return p.identity()
}

// times returns when the signature is proved to have existed, and refuses if nothing says so. Where the policy does
// without logs and timestamps, its own time says so.
func (p *proving) times() ([]time.Time, error) {
	times := make([]time.Time, 0, len(p.r.Times)+1)
	for _, t := range p.r.Times {
		times = append(times, t.Time)
	}
	if len(times) == 0 {
		if p.rules.time.IsZero() || p.rules.logEntries > 0 || p.rules.timestamps > 0 {
			return nil, refuse(ErrPolicy, "time", "nothing proves when the signature was made")
		}
		times = append(times, p.rules.time)
	}
	return times, nil
}

func contains(chain []*x509.Certificate, c *x509.Certificate) bool {
	for _, other := range chain {
		if other.Equal(c) {
			return true
		}
	}
	return false
}

// identity proves that the certificate names one whom the policy names.
func (p *proving) identity() error {
	issuer, subject, err := signerNames(p.e.certificate)
	if err != nil {
		return err
	}
	for i := range p.rules.identities {
		m := &p.rules.identities[i]
		if m.matches(issuer, subject, func(oid string) (string, bool) { return extension(p.e.certificate, oid) }) {
			p.r.Identity, p.r.Issuer, p.r.Subject = i, issuer, subject
			p.claim(ClaimIdentity, 0)
			return nil
		}
	}
	return refuse(ErrIdentity, "identity", "the certificate names %q on the word of %q, whom the policy does not name", clip(subject), clip(issuer))
}

// thresholds sees that enough distinct authorities hold or saw the signature.
func (p *proving) thresholds() error {
	logs := 0
	for i := range p.r.Entries {
		if !p.sameLogBefore(i) {
			logs++
		}
	}
	if logs < p.rules.logEntries {
		return refuse(ErrPolicy, "log entries", "the signature is in %d trusted logs, and %d are demanded", logs, p.rules.logEntries)
	}
	tsas := make(map[int]bool)
	for _, by := range p.tsas {
		tsas[p.trust.tsaGroups[by]] = true
	}
	if len(tsas) < p.rules.timestamps {
		return refuse(ErrPolicy, "signed timestamps", "%d timestamp authorities saw the signature, and %d are demanded", len(tsas), p.rules.timestamps)
	}
	if p.r.Key < 0 && p.r.Identity < 0 {
		return &Error{ErrInternal, "", errors.New("nobody was found to have signed")}
	}
	return nil
}

// predicate sees that the predicate, which is handed to the caller, can be read in one way only.
func (p *proving) predicate() error {
	if p.r.Statement == nil || p.r.Statement.Predicate == nil {
		return nil
	}
	r := strictjson.New(p.r.Statement.Predicate)
	if p.e.bundled && r.Peek() != '{' {
		return malformed("statement", "its predicate is not an object")
	}
	if err := r.SkipUnique(); err != nil {
		return &Error{ErrMalformed, "statement", fmt.Errorf("its predicate: %w", err)}
	}
	return nil
}

// sameLogBefore reports whether an earlier entry is in a log with the same key.
func (p *proving) sameLogBefore(i int) bool {
	log := p.r.Entries[i].log
	for _, earlier := range p.r.Entries[:i] {
		if sameLog(*earlier.log.Log, *log.Log) {
			return true
		}
	}
	return false
}
