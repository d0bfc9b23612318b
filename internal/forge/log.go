package forge

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/tlog"
)

// Log is a transparency log that logs whatever it is told.
type Log struct {
	Host   string
	TreeID int64 // of a v1 log; 0 makes it a v2 log
	Base   int64 // a v1 log's index of the tree's first leaf
	Key    *Key
	leaves []tlog.Hash
	bodies [][]byte
}

// NewLogV1 returns a Rekor v1 log whose tree has some leaves already, after older trees.
func NewLogV1(host string, treeID int64, key *Key) *Log {
	l := &Log{Host: host, TreeID: treeID, Base: 1000, Key: key}
	return l.fill()
}

// NewLogV2 returns a Rekor v2 log whose tree has some leaves already.
func NewLogV2(host string, key *Key) *Log {
	return (&Log{Host: host, Key: key}).fill()
}

func (l *Log) fill() *Log {
	for i := range 3 {
		l.Add(fmt.Appendf(nil, `{"filler":"%s","number":%d}`, l.Host, i))
	}
	return l
}

// V2 reports whether it is a Rekor v2 log.
func (l *Log) V2() bool { return l.TreeID == 0 }

// Origin returns the first line of the log's checkpoints.
func (l *Log) Origin() string {
	if l.V2() {
		return l.Host
	}
	return fmt.Sprintf("%s - %d", l.Host, l.TreeID)
}

// ID returns the log ID: SHA-256 of the SPKI, or for a v2 log with an Ed25519 key the key
// hash of C2SP signed-note in full.
func (l *Log) ID() []byte {
	sum := sha256.Sum256(l.Key.SPKI)
	if pub, ok := l.Key.Public().(ed25519.PublicKey); ok && l.V2() {
		sum = sha256.Sum256(append([]byte(l.Host+"\n\x01"), pub...))
	}
	return sum[:]
}

// Size returns how many leaves the tree has.
func (l *Log) Size() int { return len(l.leaves) }

// Add appends a leaf and two others after it, and returns its index.
func (l *Log) Add(body []byte) int {
	index := len(l.leaves)
	for _, b := range [][]byte{body, fmt.Appendf(nil, `{"next":%d}`, index), fmt.Appendf(nil, `{"next":%d}`, index+1)} {
		l.leaves = append(l.leaves, tlog.LeafHash(b))
		l.bodies = append(l.bodies, b)
	}
	return index
}

// Clone returns a log of the same past, whose future is its own.
func (l *Log) Clone() *Log {
	c := *l
	c.leaves, c.bodies = slices.Clone(l.leaves), slices.Clone(l.bodies)
	return &c
}

// Root returns the root hash of the first size leaves (RFC 6962, section 2.1).
func (l *Log) Root(size int) tlog.Hash { return rootOf(l.leaves[:size]) }

func rootOf(leaves []tlog.Hash) tlog.Hash {
	switch len(leaves) {
	case 0:
		return tlog.EmptyRoot
	case 1:
		return leaves[0]
	}
	k := split(len(leaves))
	return tlog.NodeHash(rootOf(leaves[:k]), rootOf(leaves[k:]))
}

// split returns the largest power of two below n.
func split(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

// Inclusion returns the inclusion proof of a leaf in the tree of the first size leaves.
func (l *Log) Inclusion(index, size int) []tlog.Hash { return inclusion(l.leaves[:size], index) }

func inclusion(leaves []tlog.Hash, index int) []tlog.Hash {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if index < k {
		return append(inclusion(leaves[:k], index), rootOf(leaves[k:]))
	}
	return append(inclusion(leaves[k:], index-k), rootOf(leaves[:k]))
}

// Consistency returns the consistency proof between two sizes.
func (l *Log) Consistency(first, second int) []tlog.Hash {
	return consistency(l.leaves[:second], first, true)
}

func consistency(leaves []tlog.Hash, first int, known bool) []tlog.Hash {
	if first == len(leaves) {
		if known {
			return nil
		}
		return []tlog.Hash{rootOf(leaves)}
	}
	k := split(len(leaves))
	if first <= k {
		return append(consistency(leaves[:k], first, known), rootOf(leaves[k:]))
	}
	return append(consistency(leaves[k:], first-k, false), rootOf(leaves[:k]))
}

// Checkpoint returns the signed checkpoint of the first size leaves, cosigned.
func (l *Log) Checkpoint(size int, witnesses ...*Witness) string {
	root := l.Root(size)
	return l.SignCheckpoint(fmt.Sprintf("%s\n%d\n%s\n", l.Origin(), size, Base64(root[:])), witnesses...)
}

// SignCheckpoint signs any text as a checkpoint.
func (l *Log) SignCheckpoint(text string, witnesses ...*Witness) string {
	note := text + "\n" + NoteLine(l.Host, l.ID()[:4], l.Key.SignMessage([]byte(text)))
	for _, w := range witnesses {
		note += w.Cosign(text)
	}
	return note
}

// NoteLine returns a signature line of a note (C2SP signed-note).
func NoteLine(name string, hint, signature []byte) string {
	return "— " + name + " " + base64.StdEncoding.EncodeToString(slices.Concat(hint, signature)) + "\n"
}

// SET returns the signed entry timestamp of a body.
func (l *Log) SET(body []byte, logIndex int64, at time.Time) []byte {
	return l.Key.SignMessage(Encode(Object{"body": Base64(body), "integratedTime": Int(at.Unix()),
		"logID": hex.EncodeToString(l.ID()), "logIndex": Int(logIndex)}))
}

// Has is what an entry that a log answers with contains.
type Has int

// The parts of an entry.
const (
	SETOnly Has = iota
	ProofOnly
	SETAndProof
)

// Logged is an entry in a log.
type Logged struct {
	Log           *Log
	Index, Size   int // of the leaf, and of the tree in which it is proved
	Time          time.Time
	Kind, Version string
	Witnesses     []*Witness
}

// Put logs a body, and proves it in the tree as it then is.
func (l *Log) Put(body Node, at time.Time, witnesses ...*Witness) Logged {
	o, _ := body.(Object)
	kind, _ := o["kind"].(string)
	version, _ := o["apiVersion"].(string)
	index := l.Add(Encode(body))
	return Logged{l, index, l.Size(), at, kind, version, witnesses}
}

// Body returns the entry's body.
func (e Logged) Body() []byte { return e.Log.bodies[e.Index] }

// LogIndex returns the entry's index in the log, which in v1 counts older trees.
func (e Logged) LogIndex() int64 { return e.Log.Base + int64(e.Index) }

// SET returns the entry's signed entry timestamp.
func (e Logged) SET() []byte { return e.Log.SET(e.Body(), e.LogIndex(), e.Time) }

// TLE returns the entry as a TransparencyLogEntry (sigstore_rekor.proto), which in v2 has a proof only.
func (e Logged) TLE(has Has) Object {
	tle := Object{
		"logIndex":          fmt.Sprint(e.LogIndex()),
		"logId":             Object{"keyId": Base64(e.Log.ID())},
		"kindVersion":       Object{"kind": e.Kind, "version": e.Version},
		"canonicalizedBody": Base64(e.Body()),
	}
	if e.Log.V2() {
		has = ProofOnly
	} else {
		tle["integratedTime"] = fmt.Sprint(e.Time.Unix())
	}
	if has != ProofOnly {
		tle["inclusionPromise"] = Object{"signedEntryTimestamp": Base64(e.SET())}
	}
	if has != SETOnly {
		root := e.Log.Root(e.Size)
		hashes := Array{}
		for _, h := range e.Log.Inclusion(e.Index, e.Size) {
			hashes = append(hashes, Base64(h[:]))
		}
		tle["inclusionProof"] = Object{
			"logIndex":   fmt.Sprint(e.Index),
			"treeSize":   fmt.Sprint(e.Size),
			"rootHash":   Base64(root[:]),
			"hashes":     hashes,
			"checkpoint": Object{"envelope": e.Log.Checkpoint(e.Size, e.Witnesses...)},
		}
	}
	return tle
}

// UUID returns the entry ID: tree ID and leaf hash.
func (e Logged) UUID() string {
	leaf := e.Log.leaves[e.Index]
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(e.Log.TreeID))) + leaf.String()
}

// API returns the entry as the v1 API answers with it.
func (e Logged) API() Object {
	root := e.Log.Root(e.Size)
	hashes := Array{}
	for _, h := range e.Log.Inclusion(e.Index, e.Size) {
		hashes = append(hashes, h.String())
	}
	return Object{e.UUID(): Object{
		"body":           Base64(e.Body()),
		"integratedTime": Int(e.Time.Unix()),
		"logID":          hex.EncodeToString(e.Log.ID()),
		"logIndex":       Int(e.LogIndex()),
		"verification": Object{
			"signedEntryTimestamp": Base64(e.SET()),
			"inclusionProof": Object{
				"logIndex":   Int(int64(e.Index)),
				"treeSize":   Int(int64(e.Size)),
				"rootHash":   root.String(),
				"hashes":     hashes,
				"checkpoint": e.Log.Checkpoint(e.Size),
			},
		},
	}}
}

// RekorBundle returns the entry as cosign's annotation dev.sigstore.cosign/bundle has it.
func (e Logged) RekorBundle() Object {
	return Object{
		"SignedEntryTimestamp": Base64(e.SET()),
		"Payload": Object{
			"body":           Base64(e.Body()),
			"integratedTime": Int(e.Time.Unix()),
			"logID":          hex.EncodeToString(e.Log.ID()),
			"logIndex":       Int(e.LogIndex()),
		},
	}
}

// TrustedRoot returns the log as an element of a trusted root's tlogs or ctlogs.
func (l *Log) TrustedRoot(from, to time.Time) Object {
	valid := Object{"start": from.UTC().Format(time.RFC3339)}
	if !to.IsZero() {
		valid["end"] = to.UTC().Format(time.RFC3339)
	}
	return Object{
		"baseUrl":       "https://" + l.Host,
		"hashAlgorithm": "SHA2_256",
		"publicKey":     Object{"rawBytes": Base64(l.Key.SPKI), "keyDetails": l.Key.details(), "validFor": valid},
		"logId":         Object{"keyId": Base64(l.ID())},
	}
}
