package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/alecthomas/kong"

	"github.com/tallystick/tallystick/monitor"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// evidenceWord stands, as the first of two arguments of verify, for an evidence file of a monitor's.
const evidenceWord = "evidence"

// evidenceResult is the JSON of "verify evidence".
type evidenceResult struct {
	Proved bool   `json:"proved"`
	Kind   string `json:"kind"` // "evidence"
	Name   string `json:"name"`
	LogKey string `json:"logKey,omitempty"` // fingerprint of the key that the evidence names
	Text   string `json:"text,omitempty"`
	Given  string `json:"given,omitempty"` // it would be proved if this were known
	Class  string `json:"class,omitempty"`
	Error  string `json:"error,omitempty"`
}

// checkEvidence finds flags that have no effect on evidence.
func checkEvidence(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if p.Flag != nil && !p.Resolved && !slices.Contains([]string{"trusted-root", "log-key", "output", "config"}, p.Flag.Name) {
			return usageError{fmt.Errorf("--%s has no effect on evidence", p.Flag.Name)}
		}
	}
	return nil
}

// judgeEvidence verifies an evidence file. Only if it is proved that the log broke its word, with nothing taken for granted, the error is nil.
func (c *verifyCmd) judgeEvidence(p *program) error {
	trust, err := c.load()
	if err != nil {
		return err
	}
	data, err := readLimited(c.EvidenceFile, monitor.MaxEvidence)
	if err != nil {
		return err
	}
	out := p.printer(c.outputFlags)
	r := evidenceResult{Kind: evidenceWord, Name: c.EvidenceFile}
	out.title("evidence %s", c.EvidenceFile)
	refusal := r.judge(data, trust, out)
	switch {
	case refusal == nil:
	case r.Given != "":
		out.failed("proved only if %s. %s", r.Given, r.Text)
	default:
		out.failed("not proved: %s", r.Error)
	}
	if err := out.end(r); err != nil {
		return err
	}
	return refusal
}

// judge fills in the result, and prints it.
func (r *evidenceResult) judge(data []byte, trust *verify.Trust, out *printer) error {
	e, err := monitor.ParseEvidence(data)
	if err == nil {
		r.LogKey = fingerprint(e.LogKey())
		out.field("log key", "%s (what the evidence says; only the key that you gave counts)", r.LogKey)
		var f monitor.Finding
		if f, err = e.Verify(trust); err == nil {
			r.Text, r.Given = f.Text, f.Given
			switch r.Proved = f.Proved; {
			case f.Given != "":
				err = fmt.Errorf("proved only if %s. %s", f.Given, f.Text)
			case !f.Proved:
				err = errors.New(f.Text)
			}
			if err != nil {
				err = &verify.Error{Class: verify.ErrBadProof, Claim: evidenceWord, Err: err}
			}
		}
	}
	if err != nil {
		d := refusedDocument(err)
		r.Error, r.Class = d.Error, d.Class
		return err
	}
	out.proved("proved: the log lied. %s", r.Text)
	return nil
}

// fingerprint returns the SHA-256 of a public key's SubjectPublicKeyInfo, in the form of rules and alerts.
func fingerprint(pem []byte) string {
	key, err := sig.ParsePEM(pem)
	if err != nil {
		return ""
	}
	sum, err := key.SPKIHash()
	if err != nil {
		return ""
	}
	return "sha256:" + hex.EncodeToString(sum[:])
}
