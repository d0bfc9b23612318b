package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tallystick/tallystick/registry"
	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

// verifyCmd verifies a signature or attestation offline. Its flags have cosign's names.
type verifyCmd struct {
	Artifact     string `arg:"" help:"What was signed: a file; a digest, sha256:…; or an image by its full name, ghcr.io/app@sha256:… or ghcr.io/app:tag. If there is a file of that name, it is meant."`
	EvidenceFile string `arg:"" optional:"" name:"evidence-file" help:"After the word evidence, instead of the artifact: an evidence file, which a monitor wrote when a log lied."`
	trustFlags
	verifyTrust
	verifyPolicy
	verifyEvidence
	AllowHTTPRegistry bool          `name:"allow-http-registry" help:"Read an image's signatures without TLS. (From a registry on this machine they always may be.)"`
	Timeout           time.Duration `name:"timeout" default:"1m" help:"How long the registry may take in all."`
	outputFlags
}

// Help is the long help.
func (*verifyCmd) Help() string {
	return `The signature and what belongs to it are in files (--bundle; or --signature or --attestation and others), and no connection is opened. Or they are attached to an image, and are read from its registry. The log is never asked, and trust is only what --trusted-root or --log-key says.

A tag of an image is looked up once; its digest is printed, and is what is verified. Of several signatures of an image one has to hold; the others are left aside ("--"). No signature at all is a refusal.

"tallystick verify evidence FILE" is about a log that lied: it proves, with the key in --trusted-root or --log-key and nothing else, that the log signed what contradicts itself. Exit code 0: proved. 3: not proved, or only if the log begins the tree where the file says. (A file named evidence is still an artifact: tallystick verify evidence.)

Exit codes: 0, verified: what is marked "ok" was proved, and is what was asked for. 1, it could not be found out: a file cannot be read, the registry is away. 2, the flags make no sense, or the key or policy that they name. 3, refused.

With --output json, {"verified": true, "kind": "file|digest|image", "name", "artifact": "sha256:…", "claims": [{"kind", "text"}], "entries", "times", "key" or "identity", "statement", "notes"}, or {"verified": false, …, "class": "bad proof", "claim", "error"}. Of an image, "signatures" has the same for each. The classes are those of package verify's errors, and "unavailable" for what could not be found out.`
}

// Run verifies.
func (c *verifyCmd) Run(ctx context.Context, p *program, parsed *kong.Context) error {
	if c.EvidenceFile != "" {
		if c.Artifact != evidenceWord {
			return usageError{fmt.Errorf("there are two arguments, %s and %s: one artifact is verified at a time", c.Artifact, c.EvidenceFile)}
		}
		if err := checkEvidence(parsed); err != nil {
			return err
		}
		return c.judgeEvidence(p)
	}
	report := &verifyReport{subject: &verifySubject{name: c.Artifact}}
	out := p.printer(c.outputFlags)
	if err := c.judge(ctx, p, report); err != nil {
		return report.unavailable(out, err)
	}
	// Nothing is printed before everything is known.
	if err := report.print(out); err != nil {
		return err
	}
	return report.verdict()
}

// judge fills in the report, as far as it comes. An error is not a verdict.
func (c *verifyCmd) judge(ctx context.Context, p *program, report *verifyReport) error {
	trust, err := c.trust()
	if err != nil {
		return err
	}
	policy, notes, err := c.policy(trust)
	if err != nil {
		return err
	}
	verifier, err := verify.New(trust, policy, verify.Options{Timestamps: timestamp.Verifier{}})
	if err != nil {
		return c.wrong(err)
	}
	subject, err := readSubject(c.Artifact, c.AllowHTTPRegistry)
	if err != nil {
		return err
	}
	report.subject, report.policy, report.notes = subject, policy, append(subject.notes, notes...)
	candidates, err := c.candidates(ctx, p, subject, policy.PredicateType != "")
	if err != nil {
		return err
	}
	for _, s := range candidates {
		s.judge(verifier, subject.artifact)
		report.signatures = append(report.signatures, s)
	}
	return nil
}

// trust is whom to believe. Where no log is asked for, it may be nobody.
func (c *verifyCmd) trust() (*verify.Trust, error) {
	if !c.trustFlags.given() && c.IgnoreTlog {
		return c.amend(verify.Material{})
	}
	trust, err := c.load()
	if err != nil {
		return nil, err
	}
	return c.amend(trust.Material())
}

// signature is one that is judged.
type signature struct {
	registry.Attached
	result *verify.Result // nil if it was refused, for the reason in Err
}

// judge verifies the signature, if it could be read.
func (s *signature) judge(v *verify.Verifier, a verify.Artifact) {
	if s.Err == nil {
		s.result, s.Err = v.Verify(s.Evidence, a)
	}
}

// candidates returns the signatures that are to be judged: the one in the files that the flags name or, of an
// image, those in its registry. It then looks up the image's tag, if it has one.
func (c *verifyCmd) candidates(ctx context.Context, p *program, s *verifySubject, attestations bool) ([]*signature, error) {
	if c.verifyEvidence.given() {
		if _, tagged := s.image.(name.Tag); tagged {
			return nil, usageError{errors.New("name the image by its digest (…@sha256:…): its registry is not asked where the signature is in files")}
		}
		e, err := c.read()
		if err != nil && !refused(err) {
			return nil, err
		}
		return []*signature{{Attached: registry.Attached{Evidence: e, Err: err}}}, nil
	}
	if s.image == nil {
		return nil, usageError{errors.New("say where the signature is: --bundle FILE, --signature FILE or --attestation FILE (only those of images are looked for, in their registry)")}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	image, err := registry.Resolve(ctx, s.image, registry.Options{
		Transport: p.httpClient().Transport, Keychain: authn.DefaultKeychain, AllowHTTP: c.AllowHTTPRegistry,
	})
	if err != nil {
		return nil, err
	}
	s.artifact = image.Artifact()
	kinds := registry.Signatures
	if attestations {
		kinds = registry.Attestations
	}
	var all []*signature
	for a := range image.Attached(ctx, kinds) {
		all = append(all, &signature{Attached: a})
	}
	return all, nil
}

// verifyReport is what came out.
type verifyReport struct {
	subject    *verifySubject
	policy     verify.Policy
	notes      []string // what was not looked at, and why
	signatures []*signature
}

// proved returns the first signature that verifies, or nil.
func (r *verifyReport) proved() *signature {
	for _, s := range r.signatures {
		if s.result != nil {
			return s
		}
	}
	return nil
}

// verdict is nil if, and only if, a signature verifies.
func (r *verifyReport) verdict() error {
	if r.proved() != nil {
		return nil
	}
	if len(r.signatures) == 0 {
		kind := "signature"
		if r.policy.PredicateType != "" {
			kind = "attestation"
		}
		return imageRefusal{fmt.Errorf("no %s is attached to the image", kind)}
	}
	for _, s := range r.signatures {
		if s.Err == nil {
			return errors.New("a signature was neither proved nor refused")
		}
		if !refused(s.Err) {
			return fmt.Errorf("%s: %w", s.Source, s.Err) // it might have been a good one
		}
	}
	if len(r.signatures) == 1 {
		return r.signatures[0].Err
	}
	return imageRefusal{fmt.Errorf("none of %d signatures holds; %s: %w", len(r.signatures), r.signatures[0].Source, r.signatures[0].Err)}
}

// imageRefusal is a refusal of class verify.ErrPolicy whose text is the reason alone: the class is named after
// policies, and who reads it would look for a fault in his own.
type imageRefusal struct{ reason error }

func (e imageRefusal) Error() string { return e.reason.Error() }

// Unwrap makes it a refusal like the others.
func (e imageRefusal) Unwrap() error {
	return &verify.Error{Class: verify.ErrPolicy, Claim: "signatures", Err: e.reason}
}
