package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/tlog"
)

// Entry is a log entry as somebody claims it to be. Nothing of it is true before
// Trust.VerifyEntry says so.
type Entry struct {
	// UUID is the entry ID under which a Rekor v1 API answered with it, in lower-case
	// hexadecimal: the leaf hash, or tree ID and leaf hash. Empty in bundles.
	UUID string
	// LogID is the log's ID: SHA-256 of its key (v1) or C2SP key hash (v2).
	LogID []byte
	// LogIndex is the index in the log: of all its shards together (v1), or of its tree (v2).
	LogIndex int64
	// IntegratedTime is when a v1 log took it in, in Unix seconds. 0 in v2, which does not say.
	IntegratedTime int64
	// Body is the leaf: the canonical entry, in JSON.
	Body []byte
	// Kind and Version are the body's.
	Kind, Version string
	// SET is the signed entry timestamp of a v1 log: a signature over body, time, log ID
	// and index (see tlog.SETMessage).
	SET []byte
	// Proof is the inclusion proof; nil if there is none.
	Proof *InclusionProof
	// Attestation is what a v1 log stored beside the entry: a DSSE envelope's payload. It is checked
	// against the body.
	Attestation []byte

	setSuffices bool   // the format may lack the inclusion proof
	spec        []byte // what the body's kind defines, of an entry that nobody else has; else nil
}

// InclusionProof says where under which checkpoint an entry stands.
type InclusionProof struct {
	Index      int64       // in the tree
	Head       tlog.Head   // of the tree; the same that the checkpoint says
	Path       []tlog.Hash // leaf to root (RFC 6962, section 2.1.1)
	Checkpoint []byte      // the signed note
}

// clone returns a copy that shares nothing.
func (e *Entry) clone() *Entry {
	c := *e
	c.spec = nil
	c.LogID, c.Body, c.SET, c.Attestation = bytes.Clone(e.LogID), bytes.Clone(e.Body), bytes.Clone(e.SET), bytes.Clone(e.Attestation)
	if e.Proof != nil {
		p := *e.Proof
		p.Path, p.Checkpoint = slices.Clone(p.Path), bytes.Clone(p.Checkpoint)
		c.Proof = &p
	}
	return &c
}

// v2 reports whether the body is one of Rekor v2.
func (e *Entry) v2() bool {
	return e.Version == "0.0.2" && (e.Kind == "hashedrekord" || e.Kind == "dsse")
}

// check sees that the entry is whole and consistent in itself. It returns what the body's kind defines.
func (e *Entry) check() (spec []byte, err error) {
	if len(e.Body) == 0 || len(e.Body) > MaxEntryBody {
		return nil, fmt.Errorf("its body has %d bytes, not 1 to %d", len(e.Body), MaxEntryBody)
	}
	kind, version, spec, err := readBody(e.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its body: %w", err)
	case kind != e.Kind || version != e.Version:
		return nil, fmt.Errorf("it is said to be %s %s, but its body is %s %s", clip(e.Kind), clip(e.Version), clip(kind), clip(version))
	case len(e.LogID) == 0:
		return nil, errors.New("the log ID is missing")
	case e.LogIndex < 0 || e.IntegratedTime < 0 || e.IntegratedTime > maxTime:
		return nil, errors.New("its index or time is negative, or beyond the year 9999")
	case e.Proof != nil && len(e.Proof.Path) > MaxProof:
		return nil, fmt.Errorf("its inclusion proof has more than %d hashes", MaxProof)
	case e.Proof != nil && (len(e.Proof.Checkpoint) == 0 || len(e.Proof.Checkpoint) > tlog.MaxCheckpoint):
		return nil, fmt.Errorf("its inclusion proof has a checkpoint of %d bytes, not 1 to %d", len(e.Proof.Checkpoint), tlog.MaxCheckpoint)
	}
	return spec, nil
}

// maxTime is the end of the year 9999, in Unix seconds. Far beyond it, package time counts wrong.
const maxTime = 253402300799

// EntryProof is what was proved of an entry, all of it.
type EntryProof struct {
	Log            Log         // the log that holds it
	LogIndex       int64       // see Entry
	Kind, Version  string      // of its body
	IntegratedTime int64       // Unix seconds, under the SET; 0 if there is none
	SET            bool        // the SET is the log's
	Checkpoint     *Checkpoint // the checkpoint it is under; nil if only a SET was there
	TreeIndex      int64       // its index in that tree

	log *trustedLog
}

// VerifyEntry proves that a trusted log holds the entry, and nothing about what it is of: that is for
// Verifier.Verify. It proves the entry's SET, and its inclusion
// proof up to a checkpoint that the log signed. Whatever of these is there has to
// hold; a v1 entry has to have a SET, a v2 entry a proof, and an entry from an API both.
func (t *Trust) VerifyEntry(e *Entry) (*EntryProof, error) {
	if t == nil || e == nil {
		return nil, malformed("log entry", "there is no trust or no entry")
	}
	if _, err := e.check(); err != nil {
		return nil, &Error{ErrMalformed, e.name(), err}
	}
	p, err := t.verifyEntry(e, nil)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

func (e *Entry) name() string { return "log entry " + strconv.FormatInt(e.LogIndex, 10) }

// verifyEntry is VerifyEntry, and demands a quorum of witnesses. The entry was checked.
func (t *Trust) verifyEntry(e *Entry, w *WitnessPolicy) (p EntryProof, err error) {
	log := t.log(e.LogID)
	if log == nil {
		return p, refuse(ErrUntrustedLog, e.name(), "the log with ID %x is not trusted", e.LogID)
	}
	p = EntryProof{log: log, Log: *log.shown, LogIndex: e.LogIndex, Kind: e.Kind, Version: e.Version}
	if e.v2() {
		err = e.checkV2()
	} else {
		err = e.checkV1(log)
		p.SET, p.IntegratedTime = err == nil, e.IntegratedTime
	}
	if err != nil {
		return p, err
	}
	leaf := tlog.LeafHash(e.Body)
	if e.Proof != nil {
		c, err := t.openCheckpoint(e.Proof.Checkpoint, log, w)
		if err != nil {
			return p, err
		}
		if err := e.prove(c, leaf); err != nil {
			return p, err
		}
		p.Checkpoint, p.TreeIndex = c, e.Proof.Index
	} else if w.demands() {
		return p, refuse(ErrWitness, e.name(), "it has no checkpoint that a witness could have cosigned")
	}
	if e.UUID != "" && !e.isID(leaf, p.Checkpoint) {
		return p, refuse(ErrBadProof, e.name(), "its ID %s is not that of its body in this tree", e.UUID)
	}
	if e.Attestation != nil {
		if err := e.checkAttestation(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// isID reports whether the entry's UUID is its leaf hash, alone or after the ID of its tree.
func (e *Entry) isID(leaf tlog.Hash, c *Checkpoint) bool {
	if e.UUID == leaf.String() {
		return true
	}
	if c == nil || !c.V1 {
		return false
	}
	_, treeID, err := tlog.SplitOriginV1(c.Origin)
	return err == nil && e.UUID == fmt.Sprintf("%016x%v", treeID, leaf)
}

// checkV2 sees that a v2 entry claims nothing that v2 logs do not sign.
func (e *Entry) checkV2() error {
	switch {
	case e.SET != nil || e.IntegratedTime != 0:
		return refuse(ErrBadProof, e.name(), "an entry of Rekor v2 has no SET and no integrated time")
	case e.Proof == nil:
		return refuse(ErrBadProof, e.name(), "an entry of Rekor v2 needs an inclusion proof")
	case e.LogIndex != e.Proof.Index:
		return refuse(ErrBadProof, e.name(), "its index is %d, but its proof is of %d", e.LogIndex, e.Proof.Index)
	}
	return nil
}

// checkV1 proves the SET of a v1 entry.
func (e *Entry) checkV1(log *trustedLog) error {
	switch {
	case e.SET == nil:
		return refuse(ErrBadProof, e.name(), "there is no SET, without which its index and time are nobody's word")
	case e.Proof == nil && !e.setSuffices:
		return refuse(ErrBadProof, e.name(), "there is no inclusion proof")
	case e.Proof != nil && e.LogIndex < e.Proof.Index:
		return refuse(ErrBadProof, e.name(), "its index is less than %d, that in its tree", e.Proof.Index)
	case log.v1 == nil:
		return refuse(ErrUntrustedLog, e.name(), "a log with such a key cannot have signed a SET: Rekor v1 logs sign with ECDSA P-256")
	}
	digest := sha256.Sum256(tlog.SETMessage(e.Body, e.IntegratedTime, log.hexID, e.LogIndex))
	if !ecdsa.VerifyASN1(log.v1, digest[:], e.SET) {
		return refuse(ErrBadProof, e.name(), "the SET is not the log's for this body, time and index")
	}
	if at := time.Unix(e.IntegratedTime, 0); e.IntegratedTime == 0 || !log.Valid.Contains(at) {
		return refuse(ErrUntrustedLog, e.name(), "the log was not trusted at %s, when it took the entry in", at.UTC().Format(time.RFC3339))
	}
	return nil
}

// prove proves that the entry stands under the checkpoint.
func (e *Entry) prove(c *Checkpoint, leaf tlog.Hash) error {
	switch {
	case c.V1 == e.v2():
		return refuse(ErrBadProof, e.name(), "a checkpoint with origin %q does not cover entries of kind %s %s", clip(c.Origin), e.Kind, e.Version)
	case c.Head != e.Proof.Head:
		return refuse(ErrBadProof, e.name(), "the inclusion proof is for size %d and root %v, but the checkpoint says %d and %v",
			e.Proof.Head.Size, e.Proof.Head.Root, c.Size, c.Root)
	}
	if err := tlog.VerifyInclusion(leaf, e.Proof.Index, c.Head, e.Proof.Path); err != nil {
		return refuse(ErrBadProof, e.name(), "inclusion proof: %w", err)
	}
	return nil
}

// sum adds what identifies the entry.
func (e *Entry) sum(d digester) {
	d.text(e.UUID)
	d.bytes(e.LogID)
	d.number(e.LogIndex)
	d.number(e.IntegratedTime)
	d.bytes(e.Body)
	d.text(e.Kind)
	d.text(e.Version)
	d.flag(e.SET != nil)
	d.bytes(e.SET)
	d.flag(e.setSuffices)
	d.flag(e.Attestation != nil)
	d.bytes(e.Attestation)
	d.flag(e.Proof != nil)
	if p := e.Proof; p != nil {
		d.number(p.Index)
		d.number(p.Head.Size)
		d.bytes(p.Head.Root[:])
		d.number(int64(len(p.Path)))
		for _, n := range p.Path {
			d.bytes(n[:])
		}
		d.bytes(p.Checkpoint)
	}
}
