package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// print writes the report.
func (r *verifyReport) print(out *printer) error {
	out.title("%s %s", r.subject.kind, r.subject.name)
	if r.subject.kind != "digest" {
		out.field("digest", "%v", r.subject.artifact)
	}
	several := r.subject.image != nil && len(r.signatures) != 1
	// Those that hold come first. Beside them, the others do not count.
	var good, bad []*signature
	for _, s := range r.signatures {
		if s.result != nil {
			good = append(good, s)
		} else {
			bad = append(bad, s)
		}
	}
	for _, s := range slices.Concat(good, bad) {
		if s.Source != "" {
			out.field("signature", "%s", s.Source)
		}
		switch {
		case s.result != nil:
			for _, c := range s.result.Claims {
				out.proved("%s", s.result.Explain(c))
			}
		case len(good) > 0:
			out.unproved("left aside: %v", s.Err)
		default:
			out.failed("%v", s.Err)
		}
	}
	for _, note := range r.notes {
		out.unproved("%s", note)
	}
	switch n := len(good); {
	case n > 0 && several:
		out.print(out.paint(green, fmt.Sprintf("verified: %d of %d signatures", n, len(r.signatures))))
	case n > 0:
		out.print(out.paint(green, "verified"))
	case len(r.signatures) == 0:
		out.print(out.paint(red, "NOT verified: there are no signatures"))
	default:
		out.print(out.paint(red, "NOT verified"))
	}
	return out.end(r.document())
}

// unavailable writes, if the output is JSON, that it could not be found out, and returns why not. Wrong flags have no
// such form: nothing was tried.
func (r *verifyReport) unavailable(out *printer, err error) error {
	var usage usageError
	if !out.asJSON || errors.As(err, &usage) {
		return err
	}
	d := verifyDocument{Kind: r.subject.kind, Name: r.subject.name, Notes: r.notes, verdictDocument: refusedDocument(err)}
	if digest := r.subject.artifact.String(); digest != (verify.Artifact{}).String() {
		d.Artifact = digest // else it is what could not be found out
	}
	return errors.Join(err, out.end(d))
}

// The JSON form. Its members are explained in the command's help and in the documents; what is there is
// not renamed.
type (
	verifyDocument struct {
		Verified bool   `json:"verified"`
		Kind     string `json:"kind"`
		Name     string `json:"name"`
		Artifact string `json:"artifact"`
		verdictDocument
		Notes      []string            `json:"notes,omitempty"`
		Signatures []signatureDocument `json:"signatures,omitempty"`
	}
	signatureDocument struct {
		Verified bool   `json:"verified"`
		Source   string `json:"source"`
		verdictDocument
	}
	// verdictDocument is what was proved, or why not.
	verdictDocument struct {
		Claims    []claimDocument    `json:"claims,omitempty"`
		Entries   []entryDocument    `json:"entries,omitempty"`
		Times     []timeDocument     `json:"times,omitempty"`
		Key       string             `json:"key,omitempty"` // SHA-256 of the SubjectPublicKeyInfo
		Identity  *identityDocument  `json:"identity,omitempty"`
		Statement *statementDocument `json:"statement,omitempty"`
		Class     string             `json:"class,omitempty"`
		Claim     string             `json:"claim,omitempty"`
		Error     string             `json:"error,omitempty"`
	}
	claimDocument struct {
		Kind string `json:"kind"`
		Text string `json:"text"`
	}
	entryDocument struct {
		Log            string              `json:"log,omitempty"` // its URL
		LogID          string              `json:"logID"`
		LogIndex       int64               `json:"logIndex"`
		Kind           string              `json:"kind"`
		Version        string              `json:"version"`
		IntegratedTime string              `json:"integratedTime,omitempty"`
		Checkpoint     *checkpointDocument `json:"checkpoint,omitempty"`
	}
	checkpointDocument struct {
		Origin    string         `json:"origin"`
		Size      int64          `json:"size"`
		Root      string         `json:"root"`
		TreeIndex int64          `json:"treeIndex"`
		Witnesses []timeDocument `json:"witnesses,omitempty"`
	}
	timeDocument struct {
		Time string `json:"time"`
		By   string `json:"by,omitempty"`
	}
	identityDocument struct {
		Subject string `json:"subject"`
		Issuer  string `json:"issuer"`
	}
	statementDocument struct {
		PredicateType string          `json:"predicateType"`
		Subject       string          `json:"subject,omitempty"`
		Predicate     json.RawMessage `json:"predicate,omitempty"`
	}
)

func (r *verifyReport) document() verifyDocument {
	d := verifyDocument{Kind: r.subject.kind, Name: r.subject.name, Artifact: r.subject.artifact.String(), Notes: r.notes}
	if s := r.proved(); s != nil {
		d.Verified, d.verdictDocument = true, provedDocument(s.result, r.policy)
	} else {
		d.verdictDocument = refusedDocument(r.verdict())
	}
	for _, s := range r.signatures {
		if s.Source == "" {
			continue // the only one, from files
		}
		each := signatureDocument{Source: s.Source}
		if s.result != nil {
			each.Verified, each.verdictDocument = true, provedDocument(s.result, r.policy)
		} else {
			each.verdictDocument = refusedDocument(s.Err)
		}
		d.Signatures = append(d.Signatures, each)
	}
	return d
}

// refusedDocument says why not.
func refusedDocument(err error) verdictDocument {
	d := verdictDocument{Class: "unavailable", Error: clean(err.Error())}
	var e *verify.Error
	if errors.As(err, &e) {
		d.Class, d.Claim = e.Class.Error(), clean(e.Claim)
	}
	return d
}

// provedDocument says what was proved.
func provedDocument(r *verify.Result, p verify.Policy) verdictDocument {
	var d verdictDocument
	for _, c := range r.Claims {
		d.Claims = append(d.Claims, claimDocument{string(c.Kind), clean(r.Explain(c))})
	}
	for _, e := range r.Entries {
		entry := entryDocument{Log: e.Log.BaseURL, LogID: hex.EncodeToString(e.Log.ID), LogIndex: e.LogIndex, Kind: e.Kind, Version: e.Version}
		if e.SET {
			entry.IntegratedTime = rfc3339(time.Unix(e.IntegratedTime, 0))
		}
		if c := e.Checkpoint; c != nil {
			entry.Checkpoint = &checkpointDocument{Origin: c.Origin, Size: c.Size, Root: c.Root.String(), TreeIndex: e.TreeIndex}
			for _, w := range c.Cosignatures {
				entry.Checkpoint.Witnesses = append(entry.Checkpoint.Witnesses, timeDocument{rfc3339(w.Time), w.Witness})
			}
		}
		d.Entries = append(d.Entries, entry)
	}
	for _, t := range r.Times {
		d.Times = append(d.Times, timeDocument{rfc3339(t.Time), t.By})
	}
	if r.Key >= 0 {
		if key, err := sig.ParsePEM(p.Keys[r.Key].PEM); err == nil {
			if hash, err := key.SPKIHash(); err == nil {
				d.Key = "sha256:" + hex.EncodeToString(hash[:])
			}
		}
	}
	if r.Identity >= 0 {
		d.Identity = &identityDocument{r.Subject, r.Issuer}
	}
	if s := r.Statement; s != nil {
		d.Statement = &statementDocument{s.PredicateType, s.Subject, s.Predicate}
	}
	return d
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
