package monitor

import "time"

// Kind says what an alert is about.
type Kind string

// KindMatch: an entry is one that a rule asks for. All other kinds are alarms: about the log, or about the monitor's view of it.
const KindMatch Kind = "match"

// Alarms about the log's history. The first is proved by its evidence; of the others the evidence, where there
// is any, holds what the log signed.
const (
	// KindFork: the log signed two trees that contradict each other.
	KindFork Kind = "fork"
	// KindInconsistent: the log does not prove that its tree extends what it signed before.
	KindInconsistent Kind = "inconsistent"
	// KindRollback: the tree is smaller than one that the log signed before.
	KindRollback Kind = "rollback"
	// KindStale: as KindRollback, but what it shows is proved to be an older state of the same tree.
	KindStale Kind = "stale-head"
	// KindShards: a tree is gone, in another place, or was closed and has changed since.
	KindShards Kind = "shards-changed"
)

// Alarms about what the log answers.
const (
	// KindUnknownKey: a checkpoint is signed by a key that is not trusted.
	KindUnknownKey Kind = "unknown-key"
	// KindBadSignature: a checkpoint names the trusted key, which did not sign it.
	KindBadSignature Kind = "bad-signature"
	// KindMalformed: an answer cannot be read.
	KindMalformed Kind = "malformed"
	// KindWrongAnswer: an answer contradicts itself, or is not to the question.
	KindWrongAnswer Kind = "wrong-answer"
	// KindMissing: the log does not have an entry that its checkpoint covers.
	KindMissing Kind = "missing-entry"
	// KindRoot: the entries are not those that the log signed: their hashes do not lead to the checkpoint's root hash.
	KindRoot Kind = "root-mismatch"
	// KindSET: a signed entry timestamp is not the log's.
	KindSET Kind = "bad-timestamp"
	// KindHidden: an entry that the log promised to hold (see Receipt) is not where it should be.
	KindHidden Kind = "hidden-entry"
)

// Alarms about time.
const (
	// KindLagging: entries have been waiting to be read for longer than Log.MaxLag.
	KindLagging Kind = "lagging"
	// KindSilent: the log has not grown for longer than Log.MaxSilence.
	KindSilent Kind = "silent"
	// KindUnreachable: the log could not be asked for longer than Log.MaxUnreachable.
	KindUnreachable Kind = "unreachable"
)

// Kinds returns all kinds of alerts.
func Kinds() []Kind {
	return []Kind{KindMatch, KindFork, KindInconsistent, KindRollback, KindStale, KindShards, KindUnknownKey, KindBadSignature,
		KindMalformed, KindWrongAnswer, KindMissing, KindRoot, KindSET, KindHidden, KindLagging, KindSilent, KindUnreachable}
}

// MaxAlert is the most bytes that an alert has in JSON.
const MaxAlert = 64 << 10

// Alert is something that somebody should know of.
type Alert struct {
	// ID is the same for the same thing, whenever it is found: 32 hexadecimal digits. An alarm that is over and comes back has a new ID.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Log is the log's name in the rules.
	Log string `json:"log"`
	// Time is when it was found, by the monitor's clock, in UTC.
	Time time.Time `json:"time"`
	// Text says in a line what it is. What it quotes of strangers is cleaned and clipped.
	Text string `json:"text"`
	// Tree is the origin of the tree that it is about, if it is about one.
	Tree string `json:"tree,omitempty"`
	// Ends is the ID of the alarm that this alert says to be over. It is of the same kind.
	Ends string `json:"ends,omitempty"`
	// Evidence is the name of the evidence file (see Monitor.Evidence), if there is evidence.
	Evidence string `json:"evidence,omitempty"`
	// Match is the entry, of KindMatch.
	Match *Match `json:"match,omitempty"`
}

// Match is an entry that a rule asks for.
type Match struct {
	// Rule is the rule's name.
	Rule string `json:"rule"`
	// LogIndex is the index in the log, TreeIndex that in the tree, UUID the entry ID of tree ID and leaf hash.
	LogIndex  int64  `json:"logIndex"`
	TreeIndex int64  `json:"treeIndex"`
	UUID      string `json:"uuid"`
	// IntegratedTime is when the log took the entry in, by its word, in Unix seconds.
	IntegratedTime int64 `json:"integratedTime"`
	// EntryKind and Version are the body's.
	EntryKind string `json:"entryKind"`
	Version   string `json:"apiVersion"`
	// Digests are what the entry is about, as "sha256:<hex>".
	Digests []string `json:"digests,omitempty"`
	// Signer is whom the rule matched; nil if the rule asks for no signer and the entry has none that can be read.
	Signer *Signer `json:"signer,omitempty"`
	// Clipped: the entry says more than what is in this alert.
	Clipped bool `json:"clipped,omitempty"`
}

// Signer is a key or certificate that made a signature. The names are what the
// certificate says: whether its issuer is to be believed was not looked at.
type Signer struct {
	// Key is the key's fingerprint, "sha256:" and the SHA-256 of its SubjectPublicKeyInfo in hexadecimal.
	Key      string   `json:"key"`
	Subjects []string `json:"subjects,omitempty"`
	Issuers  []string `json:"issuers,omitempty"`
	// Extensions are Fulcio's, by their names as in rules, such as sourceRepositoryURI.
	Extensions map[string]string `json:"extensions,omitempty"`
}
