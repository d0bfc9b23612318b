package verify

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/sig/strictjson"
)

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

// enough refuses a signature that comes with fewer than the policy demands. why is how it may have come to have none.
func enough(claim string, demanded, n int, why string) error {
	switch {
	case n >= demanded:
		return nil
	case n == 0:
		return refuse(ErrPolicy, claim, "the policy demands %d, and the signature comes with none: %s", demanded, why)
	}
	return refuse(ErrPolicy, claim, "the policy demands %d, and the signature comes with %d", demanded, n)
}

// entries proves each log entry, and that it is about this signature.
func (p *proving) entries() error {
	if err := enough("log entries", p.rules.logEntries, len(p.e.entries), "it was not logged, or what the log answered was not kept"); err != nil {
		return err
	}
	if err := enough("signed timestamps", p.rules.timestamps, len(p.e.timestamps), "it was not timestamped, or the timestamp was not kept"); err != nil {
		return err
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
		return refuse(ErrPolicy, "log entries", "the policy demands %d of different logs, and the signature comes with those of %d", p.rules.logEntries, logs)
	}
	tsas := make(map[int]bool)
	for _, by := range p.tsas {
		tsas[p.trust.tsaGroups[by]] = true
	}
	if len(tsas) < p.rules.timestamps {
		return refuse(ErrPolicy, "signed timestamps", "the policy demands %d by different authorities, and the signature comes with those by %d", p.rules.timestamps, len(tsas))
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
