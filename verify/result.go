package verify

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result says what was proved: everything in it, and nothing that is not in it.
type Result struct {
	// Claims are what was proved, one by one, in the order in which it was. Explain puts them into words.
	Claims []Claim
	// Artifact is the digest asked about, "sha256:…".
	Artifact Artifact
	// Key is the index in Policy.Keys of the key that signed; -1 if a certificate did.
	Key int
	// Identity is the index in Policy.Identities of the one that matched; -1 if a key signed.
	Identity int
	// Issuer and Subject are the certificate's OIDC issuer and subject alternative name.
	Issuer, Subject string
	// Certificate is the signer's; nil if a key signed.
	Certificate *x509.Certificate
	// Entries are the log entries, in the order of the evidence.
	Entries []EntryProof
	// Times are the moments at which somebody trusted saw the signature: first the logs, in the
	// order of the entries, then the timestamp authorities.
	Times []ProvedTime
	// SCTs are the CT logs that signed for the certificate.
	SCTs []*Log
	// Statement is the in-toto statement that was signed; nil if it was none.
	Statement *Statement
}

// ProvedTime is a moment at which the signature existed.
type ProvedTime struct {
	Time time.Time
	// By is the URL of the log or timestamp authority; empty if it has none.
	By string
}

// Statement is an in-toto statement (v0.1 or v1) about the artifact.
type Statement struct {
	PredicateType string
	Subject       string // the name of the subject that is the artifact
	// Predicate is JSON, as it was signed. What it says is the signer's word.
	Predicate []byte
}

// Claim is one thing that was proved.
type Claim struct {
	Kind ClaimKind
	// Index is which log entry (of ClaimSET, ClaimInclusion, ClaimCheckpoint, ClaimWitnesses
	// and ClaimBody) or which time (of ClaimTimestamp) it is about: in Result.Entries and Result.Times.
	Index int
}

// ClaimKind says what a claim is about.
type ClaimKind string

// The claims that can be proved.
const (
	ClaimStatement   ClaimKind = "statement"    // the statement is about the artifact and of the type
	ClaimSignature   ClaimKind = "signature"    // the key or certificate signed the artifact, or the statement
	ClaimSET         ClaimKind = "set"          // the log promised the entry at a time
	ClaimCheckpoint  ClaimKind = "checkpoint"   // the log signed the checkpoint
	ClaimInclusion   ClaimKind = "inclusion"    // the entry is under the checkpoint
	ClaimWitnesses   ClaimKind = "witnesses"    // a quorum cosigned it
	ClaimBody        ClaimKind = "body"         // the entry is about this signature, key and digest
	ClaimTimestamp   ClaimKind = "timestamp"    // a timestamp authority saw the signature
	ClaimCertificate ClaimKind = "certificate"  // it leads to a trusted authority, at the proved times
	ClaimSCT         ClaimKind = "sct"          // CT logs signed for the certificate
	ClaimIdentity    ClaimKind = "identity"     // it names whom the policy names
	ClaimKeyValid    ClaimKind = "key-validity" // the key was valid at the proved times
)

// clone returns a copy that shares nothing that a caller could change, but the certificate and keys, which nobody
// changes.
func (r *Result) clone() *Result {
	c := *r
	c.Claims, c.Times, c.SCTs = slices.Clone(r.Claims), slices.Clone(r.Times), slices.Clone(r.SCTs)
	c.Entries = slices.Clone(r.Entries)
	for i := range c.Entries {
		if checkpoint := c.Entries[i].Checkpoint; checkpoint != nil {
			copied := *checkpoint
			copied.Cosignatures = slices.Clone(checkpoint.Cosignatures)
			c.Entries[i].Checkpoint = &copied
		}
	}
	if r.Statement != nil {
		s := *r.Statement
		s.Predicate = bytes.Clone(s.Predicate)
		c.Statement = &s
	}
	return &c
}

// Has reports whether a claim of a kind was proved.
func (r *Result) Has(kind ClaimKind) bool {
	if r == nil {
		return false
	}
	for _, c := range r.Claims {
		if c.Kind == kind {
			return true
		}
	}
	return false
}

// Explain puts a claim of the result into words, in one line.
func (r *Result) Explain(c Claim) string {
	if r == nil || !slices.Contains(r.Claims, c) {
		return "not a claim of this result"
	}
	switch c.Kind {
	case ClaimStatement:
		return fmt.Sprintf("the statement is of type %s and about the artifact", clip(r.Statement.PredicateType))
	case ClaimSignature:
		signed, signer := r.Artifact.String(), "the key"
		if r.Statement != nil {
			signed = "the statement"
		}
		if r.Certificate != nil {
			signer = "the certificate's key"
		}
		return fmt.Sprintf("the signature over %s is by %s", signed, signer)
	case ClaimSET:
		e := r.Entries[c.Index]
		return fmt.Sprintf("the log %s signed that it took in entry %d at %s", e.Log.name(), e.LogIndex, utc(time.Unix(e.IntegratedTime, 0)))
	case ClaimCheckpoint:
		e := r.Entries[c.Index]
		return fmt.Sprintf("the log %s signed the checkpoint %q of size %d", e.Log.name(), clip(e.Checkpoint.Origin), e.Checkpoint.Size)
	case ClaimInclusion:
		e := r.Entries[c.Index]
		return fmt.Sprintf("entry %d is leaf %d under that checkpoint's root %v", e.LogIndex, e.TreeIndex, e.Checkpoint.Root)
	case ClaimWitnesses:
		var names []string
		for _, s := range r.Entries[c.Index].Checkpoint.Cosignatures {
			names = append(names, clip(s.Witness))
		}
		return "witnesses cosigned the checkpoint: " + strings.Join(names, ", ")
	case ClaimBody:
		e := r.Entries[c.Index]
		return fmt.Sprintf("entry %d (%s %s) records this signature, signer and digest", e.LogIndex, e.Kind, e.Version)
	case ClaimTimestamp:
		t := r.Times[c.Index]
		return fmt.Sprintf("the timestamp authority %s saw the signature at %s", clip(t.By), utc(t.Time))
	case ClaimCertificate:
		return "the certificate leads to a trusted authority and was valid when it signed"
	case ClaimSCT:
		return fmt.Sprintf("%d CT logs signed for the certificate", len(r.SCTs))
	case ClaimIdentity:
		return fmt.Sprintf("the certificate was issued to %s on the word of %s", clip(r.Subject), clip(r.Issuer))
	case ClaimKeyValid:
		return "the key was valid when it signed"
	}
	return string(c.Kind)
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// name says which log it is: by its URL, or else by its ID.
func (l *Log) name() string {
	if l.BaseURL != "" {
		return clip(l.BaseURL)
	}
	id := l.ID
	if id == nil {
		if h, err := l.Key.SPKIHash(); err == nil {
			id = h[:]
		}
	}
	return fmt.Sprintf("with ID %x", id)
}
