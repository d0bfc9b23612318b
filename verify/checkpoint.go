package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/tlog"
)

// Checkpoint is what a trusted log signed about its tree.
type Checkpoint struct {
	tlog.Checkpoint               // origin, size and root hash
	Log             Log           // whose signature it is
	V1              bool          // it has the form of Rekor v1, "<host> - <tree ID>"
	Cosignatures    []Cosignature // of the witnesses that were asked for
}

// Cosignature is a witness's word that it saw this checkpoint, and none that
// contradicts it, at a time (C2SP tlog-cosignature).
type Cosignature struct {
	Witness string
	Time    time.Time
}

// VerifyCheckpoint proves that a trusted log signed the checkpoint and, if w is not
// nil, that a quorum of witnesses did.
//
// A v1 checkpoint has exactly one signature line, the log's, under the host name of
// its origin. A v2 checkpoint has one of the log's, whose name is the origin, which is the host name in
// the log's URL; lines of the witnesses in w must hold, and other lines are ignored.
func (t *Trust) VerifyCheckpoint(signed []byte, w *WitnessPolicy) (*Checkpoint, error) {
	if t == nil {
		return nil, malformed("checkpoint", "there is no trust")
	}
	return t.openCheckpoint(signed, nil, w)
}

// openCheckpoint is VerifyCheckpoint for one log, or for whichever signed if log is nil.
func (t *Trust) openCheckpoint(signed []byte, log *trustedLog, w *WitnessPolicy) (*Checkpoint, error) {
	const claim = "checkpoint"
	if len(signed) > tlog.MaxCheckpoint {
		return nil, malformed(claim, "%d bytes are over the limit of %d", len(signed), tlog.MaxCheckpoint)
	}
	first, _, _ := bytes.Cut(signed, []byte("\n"))
	if hasTreeID(first) {
		if w.demands() {
			return nil, refuse(ErrWitness, claim, "origin %q: a checkpoint of Rekor v1 carries no cosignatures", clip(string(first)))
		}
		return t.openV1(signed, log)
	}
	if err := checkSignatureLines(signed); err != nil {
		return nil, &Error{ErrMalformed, claim, err}
	}
	candidates := t.logs()
	if log != nil {
		candidates = []*trustedLog{log}
	}
	c, err := openV2(signed, string(first), candidates, w)
	if c == nil && err == nil && log != nil {
		err = refuse(ErrBadProof, claim, "it is not signed by the log as %q, the host name in its URL", clip(string(first)))
	} else if c == nil && err == nil {
		err = refuse(ErrUntrustedLog, claim, "no trusted log signed it as %q", clip(string(first)))
	}
	return c, err
}

// checkSignatureLines sees that a note is well-formed and its signature lines are what they look like. note.Open takes base64 with left-over
// bits, and of two lines by one name and key it looks at the first alone.
func checkSignatureLines(signed []byte) error {
	at := bytes.LastIndex(signed, []byte("\n\n"))
	if at < 0 || at+2 == len(signed) || signed[len(signed)-1] != '\n' || !isNoteText(signed) {
		return errors.New("it is not a signed note")
	}
	var seen [][]byte
	for rest := signed[at+2:]; len(rest) > 0; {
		if len(seen) == maxSignatureLines {
			return fmt.Errorf("it has more than %d signatures", maxSignatureLines)
		}
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		fields, ok := bytes.CutPrefix(line, []byte("— "))
		name, encoded, found := bytes.Cut(fields, []byte(" "))
		raw, err := decodeBase64(encoded, "a signature", tlog.MaxCheckpoint)
		if !ok || !found || !isKeyName(string(name)) || err != nil || len(raw) < 5 {
			return errors.New("a signature line is not of the form of a signed note")
		}
		who := append(append([]byte(nil), name...), raw[:4]...)
		for _, s := range seen {
			if bytes.Equal(s, who) {
				return fmt.Errorf("two signatures are by the same key, %q", clip(string(name)))
			}
		}
		seen = append(seen, who)
	}
	return nil
}

const maxSignatureLines = 100 // that of note.Open

// hasTreeID reports whether an origin has the form of Rekor v1. It is as loose as
// other verifiers are: what they take for v1, we do not take for v2.
func hasTreeID(origin []byte) bool {
	at := bytes.LastIndex(origin, []byte(" - "))
	return at >= 0 && at+3 < len(origin) && len(bytes.Trim(origin[at+3:], "0123456789")) == 0
}

// openV1 proves that the log, or any if it is nil, signed a checkpoint of the form of Rekor v1:
//
//	<host> - <tree ID>
//	<size>
//	<root, base64>
//
//	— <host> <base64 of the log ID's first four bytes and an ECDSA signature of the text above>
//
// It does by hand what note.Open does: that takes most of the allocations of a verification, and its leniences (further
// lines, of which one has to hold) are not wanted here.
func (t *Trust) openV1(signed []byte, log *trustedLog) (*Checkpoint, error) {
	const claim = "checkpoint"
	at := bytes.LastIndex(signed, []byte("\n\n"))
	if at < 0 || !isNoteText(signed) {
		return nil, malformed(claim, "it is not a signed note")
	}
	text, signature := signed[:at+1], signed[at+2:]
	c, err := tlog.ParseCheckpointText(string(text))
	if err != nil {
		return nil, &Error{ErrMalformed, claim, err}
	}
	host, _, err := tlog.SplitOriginV1(c.Origin)
	if err != nil {
		return nil, &Error{ErrMalformed, claim, err}
	}
	rest, ok := bytes.CutPrefix(signature, []byte("— "))
	name, encoded, found := bytes.Cut(rest, []byte(" "))
	encoded, ended := bytes.CutSuffix(encoded, []byte("\n"))
	if !ok || !found || !ended || bytes.IndexByte(encoded, '\n') >= 0 || string(name) != host {
		return nil, malformed(claim, "origin %q: a checkpoint of Rekor v1 has one signature line, under the name %q", clip(c.Origin), clip(host))
	}
	var buffer [256]byte
	if len(encoded) > base64.StdEncoding.EncodedLen(len(buffer)) {
		return nil, malformed(claim, "its signature is too long")
	}
	raw, err := decodeBase64Into(buffer[:], encoded, "its signature", len(buffer))
	if err != nil || len(raw) < 5 {
		return nil, malformed(claim, "its signature is not base64 of a key hash and a signature")
	}
	digest := sha256.Sum256(text)
	known := false
	for _, candidate := range t.logs() {
		if log != nil && candidate != log || candidate.v1 == nil || candidate.v1Hint != [4]byte(raw) {
			continue
		}
		if ecdsa.VerifyASN1(candidate.v1, digest[:], raw[4:]) {
			return &Checkpoint{Checkpoint: c, Log: *candidate.shown, V1: true}, nil
		}
		known = true
	}
	if !known && log == nil {
		return nil, refuse(ErrUntrustedLog, claim, "no trusted log signed it as %q", clip(c.Origin))
	}
	return nil, refuse(ErrBadProof, claim, "it is not signed by the log as %q", clip(c.Origin))
}

// isNoteText reports whether a note holds nothing but text and new lines (C2SP signed-note).
func isNoteText(signed []byte) bool {
	for _, c := range signed {
		if c < ' ' && c != '\n' {
			return false
		}
	}
	return utf8.Valid(signed)
}

// notSignedBy reports whether a note has no signature line of the key at all.
func notSignedBy(err error) bool {
	var unverified *note.UnverifiedNoteError
	return errors.As(err, &unverified)
}

// openV2 proves that one of the logs signed a checkpoint of the C2SP form. It returns nil if none did.
func openV2(signed []byte, origin string, candidates []*trustedLog, w *WitnessPolicy) (*Checkpoint, error) {
	for _, log := range candidates {
		if log.v2 == nil || log.origin != origin {
			continue
		}
		keys := []note.Verifier{log.v2}
		if w != nil {
			keys = append(keys, w.verifiers()...)
		}
		n, err := note.Open(signed, note.VerifierList(keys...))
		if notSignedBy(err) {
			continue
		}
		if err != nil {
			return nil, refuse(ErrBadProof, "checkpoint", "origin %q: %w", clip(origin), err)
		}
		if !has(n.Sigs, log.v2) {
			continue
		}
		text, err := tlog.ParseCheckpointText(n.Text)
		if err != nil {
			return nil, &Error{ErrMalformed, "checkpoint", err}
		}
		c := &Checkpoint{Checkpoint: text, Log: *log.shown}
		if w != nil {
			if c.Cosignatures, err = w.quorum(n.Sigs); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
	return nil, nil
}

func has(signatures []note.Signature, by note.Verifier) bool {
	for _, s := range signatures {
		if s.Name == by.Name() && s.Hash == by.KeyHash() {
			return true
		}
	}
	return false
}

// VerifyConsistency proves that two checkpoints are of one tree (one log and one
// origin), and that the second's extends the first's. Errors are of class ErrBadProof, or ErrMalformed.
func VerifyConsistency(first, second *Checkpoint, proof []tlog.Hash) error {
	const claim = "consistency"
	switch {
	case first == nil || second == nil || !isKey(first.Log.Key) || !isKey(second.Log.Key):
		return malformed(claim, "a checkpoint is missing")
	case !first.Log.Key.SamePublic(second.Log.Key) || first.Origin != second.Origin || first.V1 != second.V1:
		return refuse(ErrBadProof, claim, "the checkpoints are of different trees: %q and %q", clip(first.Origin), clip(second.Origin))
	case len(proof) > MaxProof:
		return malformed(claim, "the proof has more than %d hashes", MaxProof)
	}
	if err := tlog.VerifyConsistency(first.Head, second.Head, proof); err != nil {
		return refuse(ErrBadProof, claim, "size %d to %d of %q: %w", first.Size, second.Size, clip(first.Origin), err)
	}
	return nil
}
