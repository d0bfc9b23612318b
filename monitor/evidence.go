package monitor

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// MaxEvidence bounds an evidence file, in bytes.
const MaxEvidence = 8 << 20

const evidenceFormat = "tallystick evidence 1"

// Evidence is what a log signed that contradicts itself, or seems to, in one document that anybody can verify without asking anybody:
//
//	{"format": "tallystick evidence 1", "logKey": PEM,
//	 "checkpoints": {"first": NOTE, "second": NOTE, "prefixRoot": HEX, "path": [HEX, …]}}
//
// are two checkpoints (C2SP tlog-checkpoint, as Rekor v1 signs them) in the order in which they were seen. If their sizes differ, prefixRoot is the root hash that
// the tree of the larger one had at the size of the smaller one, and path the consistency proof of that (RFC 6962, section 2.1.2): if it is
// another than the smaller one's root hash, the log signed two histories. Both are left out where the log gave no such proof.
//
//	{"format": "tallystick evidence 1", "logKey": PEM,
//	 "promise": {"body": BASE64, "integratedTime": SECONDS, "logID": HEX, "logIndex": N, "signedEntryTimestamp": BASE64},
//	 "leaf": {"base": N, "leafHash": HEX, "path": [HEX, …], "checkpoint": NOTE}}
//
// is a signed entry timestamp, by which the log promised to hold a body at an index, and the inclusion proof of the
// leaf that stands there, under a checkpoint. base is the index in the log of the tree's first leaf, as the file says: no
// log signs that, so this form alone proves nothing (see Finding.Given).
type Evidence struct {
	logKey        string
	first, second []byte // checkpoints; nil if it is about a promise
	prefix        *prefix
	promise       *Receipt
	leaf          *placedLeaf
}

// prefix says what root hash the larger tree had at the smaller one's size.
type prefix struct {
	root tlog.Hash
	path []tlog.Hash
}

// placedLeaf is a leaf that stands at the place of a promise.
type placedLeaf struct {
	base       int64
	hash       tlog.Hash
	path       []tlog.Hash
	checkpoint []byte
}

// LogKey returns the public key, in PEM, that the evidence says to be the log's. Nothing vouches for it: show
// its fingerprint to a human, or better take the key from elsewhere.
func (e *Evidence) LogKey() []byte { return []byte(e.logKey) }

// Finding is what evidence shows.
type Finding struct {
	// Proved: the log broke its word, and nothing but its own signatures is needed to see that. It is false if Given is not "".
	Proved bool
	// Text says in a sentence or two what is proved, or why nothing is.
	Text string
	// Given, if it is not "", says in words what would have to be known besides: if it is true, the log broke its word; if not, nothing
	// is shown. It is never anything but where in the log the tree begins, which Rekor v1 does not sign, and which whoever
	// wrote the file could choose so that an honest log is accused.
	Given string
}

// Verify says what the evidence shows, by the keys of a trust alone. An error means that the evidence is not what it says to
// be: something in it is not signed by a trusted log, or does not hold. It is a *verify.Error.
func (e *Evidence) Verify(trust *verify.Trust) (Finding, error) {
	if trust == nil {
		return Finding{}, &verify.Error{Class: verify.ErrMalformed, Claim: "evidence", Err: errors.New("there is no trust")}
	}
	if e.promise != nil {
		return e.verifyPromise(trust)
	}
	return e.verifyCheckpoints(trust)
}

func badEvidence(format string, args ...any) error {
	return &verify.Error{Class: verify.ErrBadProof, Claim: "evidence", Err: fmt.Errorf(format, args...)}
}

func (e *Evidence) verifyCheckpoints(trust *verify.Trust) (f Finding, err error) {
	first, err := trust.VerifyCheckpoint(e.first, nil)
	if err != nil {
		return f, err
	}
	second, err := trust.VerifyCheckpoint(e.second, nil)
	if err != nil {
		return f, err
	}
	if first.Origin != second.Origin || !first.Log.Key.SamePublic(second.Log.Key) || first.V1 != second.V1 {
		f.Text = fmt.Sprintf("The checkpoints are of different trees or keys, %q and %q: they need not go together.", clip(first.Origin), clip(second.Origin))
		return f, nil
	}
	small, large := first, second
	if small.Size > large.Size {
		small, large = large, small
	}
	if small.Size == large.Size {
		if e.prefix != nil {
			return f, badEvidence("checkpoints of one size need no proof, and have one")
		}
		if f.Proved = small.Root != large.Root; f.Proved {
			f.Text = fmt.Sprintf("The log signed two histories of the tree %q: at size %d with the root hash %v, and with %v.",
				clip(first.Origin), first.Size, first.Root, second.Root)
		} else {
			f.Text = fmt.Sprintf("Both checkpoints say the same of the tree %q, at size %d.", clip(first.Origin), first.Size)
		}
		return f, nil
	}
	if e.prefix == nil {
		f.Text = fmt.Sprintf("The log signed the tree %q at size %d, and then at size %d, root hashes %v and %v. Whether one extends the other is not shown: the log has to prove it.",
			clip(first.Origin), first.Size, second.Size, first.Root, second.Root)
		if second.Size < first.Size {
			f.Text += " That it went back to a smaller tree is no contradiction by itself: the checkpoint may be an old one."
		}
		return f, nil
	}
	if err := tlog.VerifyConsistency(tlog.Head{Size: small.Size, Root: e.prefix.root}, large.Head, e.prefix.path); err != nil {
		return f, badEvidence("what the tree of size %d was at size %d is not proved: %w", large.Size, small.Size, err)
	}
	if f.Proved = e.prefix.root != small.Root; f.Proved {
		f.Text = fmt.Sprintf("The log signed two histories of the tree %q: at size %d with the root hash %v, and a tree of size %d that had the root hash %v at that size.",
			clip(first.Origin), small.Size, small.Root, large.Size, e.prefix.root)
	} else {
		f.Text = fmt.Sprintf("The tree %q of size %d extends that of size %d: there is no contradiction.", clip(first.Origin), large.Size, small.Size)
	}
	return f, nil
}

func (e *Evidence) verifyPromise(trust *verify.Trust) (f Finding, err error) {
	p, l := e.promise, e.leaf
	log, err := newKeyring(trust).verifySET(p.logID, p.body, p.time, p.index, p.set)
	if err != nil {
		return f, badEvidence("the promise: %w", err)
	}
	cp, err := trust.VerifyCheckpoint(l.checkpoint, nil)
	if err != nil {
		return f, err
	}
	if !cp.V1 || !cp.Log.Key.SamePublic(log.Key) {
		f.Text = "Promise and checkpoint are of different logs or keys: they need not go together."
		return f, nil
	}
	at := p.index - l.base
	if err := tlog.VerifyInclusion(l.hash, at, cp.Head, l.path); err != nil {
		return f, badEvidence("the leaf: %w", err)
	}
	promised := tlog.LeafHash(p.body)
	if promised == l.hash {
		f.Text = fmt.Sprintf("The log holds the entry that it promised to hold at log index %d, as leaf %d of the tree %q: there is no contradiction.", p.index, at, clip(cp.Origin))
		return f, nil
	}
	f.Given = fmt.Sprintf("log index %d is the first of tree %q", l.base, clip(cp.Origin))
	f.Text = fmt.Sprintf("The log promised to hold, at log index %d, the entry with leaf hash %v; leaf %d of the tree %q, as it signed it at size %d, is another one, %v.",
		p.index, promised, at, clip(cp.Origin), cp.Size, l.hash)
	return f, nil
}

// The form of an evidence file.
type (
	evidenceJSON struct {
		Format      string           `json:"format"`
		LogKey      string           `json:"logKey"`
		Checkpoints *checkpointsJSON `json:"checkpoints,omitempty"`
		Promise     *promiseJSON     `json:"promise,omitempty"`
		Leaf        *leafJSON        `json:"leaf,omitempty"`
	}
	checkpointsJSON struct {
		First      string   `json:"first"`
		Second     string   `json:"second"`
		PrefixRoot string   `json:"prefixRoot,omitempty"`
		Path       []string `json:"path,omitempty"`
	}
	promiseJSON struct {
		Body []byte `json:"body"`
		Time int64  `json:"integratedTime"`
		ID   string `json:"logID"`
		At   int64  `json:"logIndex"`
		SET  []byte `json:"signedEntryTimestamp"`
	}
	leafJSON struct {
		Base       int64    `json:"base"`
		LeafHash   string   `json:"leafHash"`
		Path       []string `json:"path"`
		Checkpoint string   `json:"checkpoint"`
	}
)

// JSON returns the content of an evidence file. It is the same for the same evidence.
func (e *Evidence) JSON() ([]byte, error) {
	out := evidenceJSON{Format: evidenceFormat, LogKey: e.logKey}
	if p, l := e.promise, e.leaf; p != nil {
		out.Promise = &promiseJSON{Body: p.body, Time: p.time, ID: p.logID, At: p.index, SET: p.set}
		out.Leaf = &leafJSON{Base: l.base, LeafHash: l.hash.String(), Path: hashTexts(l.path), Checkpoint: string(l.checkpoint)}
	} else {
		out.Checkpoints = &checkpointsJSON{First: string(e.first), Second: string(e.second)}
		if e.prefix != nil {
			out.Checkpoints.PrefixRoot, out.Checkpoints.Path = e.prefix.root.String(), hashTexts(e.prefix.path)
		}
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	if text.Len() > MaxEvidence {
		return nil, fmt.Errorf("evidence of %d bytes, more than %d", text.Len(), MaxEvidence)
	}
	return []byte(text.String()), nil
}

func hashTexts(hashes []tlog.Hash) []string {
	texts := []string{}
	for _, h := range hashes {
		texts = append(texts, h.String())
	}
	return texts
}

// ParseEvidence reads an evidence file. Nothing of it is true before Verify says so.
func ParseEvidence(data []byte) (*Evidence, error) {
	e, err := parseEvidence(data)
	if err != nil {
		return nil, &verify.Error{Class: verify.ErrMalformed, Claim: "evidence", Err: err}
	}
	return e, nil
}

func parseEvidence(data []byte) (*Evidence, error) {
	if len(data) > MaxEvidence {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxEvidence)
	}
	e := &Evidence{}
	format := ""
	r := strictjson.New(data)
	err := r.Object(func(name []byte) error {
		switch string(name) {
		case "format":
			return readString(&r, &format)
		case "logKey":
			return readString(&r, &e.logKey)
		case "checkpoints":
			return e.readCheckpoints(&r)
		case "promise":
			e.promise = &Receipt{}
			return e.promise.read(&r)
		case "leaf":
			e.leaf = &placedLeaf{}
			return e.leaf.read(&r)
		}
		return unknown(name)
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return nil, err
	case format != evidenceFormat:
		return nil, fmt.Errorf("it is not a %s", evidenceFormat)
	case (e.first != nil) == (e.promise != nil) || (e.promise != nil) != (e.leaf != nil):
		return nil, errors.New("it has either checkpoints, or a promise and a leaf")
	}
	key, err := sig.ParsePEM([]byte(e.logKey))
	if err != nil || key.Certificates != nil {
		return nil, errors.New("logKey is not a public key")
	}
	return e, nil
}

func (e *Evidence) readCheckpoints(r *strictjson.Reader) error {
	var root, path bool
	p := &prefix{}
	err := r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "first":
			e.first, err = readNote(r)
		case "second":
			e.second, err = readNote(r)
		case "prefixRoot":
			root = true
			p.root, err = readHash(r)
		case "path":
			path = true
			p.path, err = readHashes(r)
		default:
			err = unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case e.first == nil || e.second == nil:
		return errors.New("a checkpoint is missing")
	case path && !root:
		return errors.New("there is a path, but no prefixRoot")
	case root:
		e.prefix = p
	}
	return nil
}

// read reads a promise, all of it.
func (p *Receipt) read(r *strictjson.Reader) error {
	there := 0
	err := r.Object(func(name []byte) (err error) {
		there++
		switch string(name) {
		case "body":
			p.body, err = readBase64(r, verify.MaxEntryBody)
		case "integratedTime":
			p.time, err = readInt(r)
		case "logID":
			if err = readString(r, &p.logID); err == nil {
				if _, bad := hex.DecodeString(p.logID); bad != nil || len(p.logID) > 128 || p.logID != strings.ToLower(p.logID) {
					err = errors.New("logID is not hexadecimal")
				}
			}
		case "logIndex":
			p.index, err = readInt(r)
		case "signedEntryTimestamp":
			p.set, err = readBase64(r, verify.MaxSignature)
		default:
			err = unknown(name)
		}
		return err
	})
	if err == nil && there != 5 {
		err = errors.New("the promise is not whole")
	}
	return err
}

func (l *placedLeaf) read(r *strictjson.Reader) error {
	there := 0
	err := r.Object(func(name []byte) (err error) {
		there++
		switch string(name) {
		case "base":
			l.base, err = readInt(r)
		case "leafHash":
			l.hash, err = readHash(r)
		case "path":
			l.path, err = readHashes(r)
		case "checkpoint":
			l.checkpoint, err = readNote(r)
		default:
			err = unknown(name)
		}
		return err
	})
	if err == nil && there != 4 {
		err = errors.New("the leaf is not whole")
	}
	return err
}

func readNote(r *strictjson.Reader) ([]byte, error) {
	text, err := r.Text()
	if err == nil && (len(text) == 0 || len(text) > tlog.MaxCheckpoint) {
		err = fmt.Errorf("a checkpoint has %d bytes, not 1 to %d", len(text), tlog.MaxCheckpoint)
	}
	return append([]byte(nil), text...), err
}

// readHash reads a hash in lower-case hexadecimal.
func readHash(r *strictjson.Reader) (h tlog.Hash, err error) {
	text, err := r.Text()
	if err == nil {
		if h, err = tlog.ParseHash(string(text)); err == nil && h.String() != string(text) {
			err = errors.New("a hash is not in lower case")
		}
	}
	return h, err
}

func readHashes(r *strictjson.Reader) (all []tlog.Hash, err error) {
	var texts []string
	if err := readHashTexts(r, &texts); err != nil {
		return nil, err
	}
	for _, t := range texts {
		h, err := tlog.ParseHash(t)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// evidenceName returns the name of an evidence file.
func evidenceName(log, id string) string { return log + "." + id + ".evidence.json" }

func isEvidenceName(name string) bool {
	log, rest, _ := strings.Cut(name, ".")
	id, ok := strings.CutSuffix(rest, ".evidence.json")
	return ok && checkName(log) == nil && isID(id)
}
