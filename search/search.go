// Package search finds entries by what people know of them, and says what entries
// say. It works on a storage.Store and the trees of a log; it signs nothing and
// proves nothing: whoever has to rely on an entry asks the API for its proof.
//
// Three questions are answered from the index that each entry has rows in: by key
// (storage.Query), by the beginning of an identity (Store.KeysBeginning), and by
// time: integrated times never decrease along a tree, so the entries of a time
// range are a range of indexes, found by bisection. All other conditions (a kind)
// are held against the entries one by one, newest first, and that by at most MaxScan
// of them in one call: the page says how far it looked, and its cursor goes on from
// there.
//
// If several keys must hold together and all are frequent, the index is walked along
// one of them for as long as the others do not meet it: the cost of a page grows with
// the log then, and only the context bounds it. So a server lets few searches run at a
// time.
package search

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const (
	// MaxLimit is the most hits of one page.
	MaxLimit = 100
	// DefaultLimit is the limit of a query that has none.
	DefaultLimit = 20
	// MaxScan is the most entries that one call of Find reads to hold them against
	// conditions that the index knows nothing of.
	MaxScan = 2000
	// MaxBytes is the length of all bodies of hits at which a page ends, even if there is
	// room for more hits: with descriptions, they take several times as much memory.
	MaxBytes = 1 << 20
	// MaxIdentities is the most different identities that a prefix may stand for.
	MaxIdentities = 100
	// MaxBoundaries is the most boundaries of one call of Counts.
	MaxBoundaries = 1000
	// MaxRecent is the most entries that Recent looks at.
	MaxRecent = 1000
	// MaxText is the longest text that is recognised, in bytes: that of the longest
	// PEM.
	MaxText = 65535
)

// Error is a query that cannot be answered as it is: the asker's fault, to be
// answered with 400. Every other error is of storage, or of the context.
type Error struct {
	Field   string // the field of the query that is at fault, as the API writes it: "identityPrefix"
	Message string // a sentence for people, which names no field
}

func (e *Error) Error() string { return e.Field + ": " + e.Message }

func bad(field, format string, args ...any) error {
	return &Error{field, fmt.Sprintf(format, args...)}
}

// Query says which entries to find. All conditions that are given have to hold; the
// zero Query asks for the newest entries. Letters of either case are the same.
type Query struct {
	// Text is whatever a person typed or pasted: any of its meanings (see Recognise)
	// may hold.
	Text string
	// Identity is a name in the signer's certificate: an e-mail address, a URI, a DNS
	// name or what else it certifies.
	Identity string
	// IdentityPrefix is what the identity begins with. It is refused if more than
	// MaxIdentities different identities begin with it.
	IdentityPrefix string
	// Issuer is the OIDC issuer that vouched for the identity.
	Issuer string
	// Digest is that of an artifact, payload or envelope, or of a subject or material
	// of a statement: "sha256:<hex>", or the hexadecimal digits alone; of any algorithm
	// if it is named.
	Digest string
	// PublicKey is a key or certificate in PEM, or the SHA-256 of its canonical PEM in
	// hexadecimal, which is how the index knows it.
	PublicKey string
	// Commit is the ID of a Git commit: 40 or 64 hexadecimal digits.
	Commit string
	// Index is the index in the log (of all its trees); nil for none.
	Index *int64
	// ID is an entry ID: 80 hexadecimal digits, or 64, the leaf hash alone.
	ID string
	// Kind is the entry's kind: "dsse".
	Kind string
	// From and To bound the integrated time: From ≤ time < To. Zero for no bound.
	From, To time.Time
	// Tree is the ID of the tree to look in; 0 for all.
	Tree int64

	// Limit is the most hits of the page, at most MaxLimit; 0 for DefaultLimit.
	Limit int
	// Cursor is Page.Next of the page before; empty for the first.
	Cursor string
}

// Place is where an entry is.
type Place struct {
	Tree     int64 // tree ID
	Index    int64 // in the tree
	LogIndex int64 // in the log
}

// Hit is an entry that was found. Its body has the hash that stands in the tree's
// leaves, but no proof was made that they lead to a checkpoint.
type Hit struct {
	Place
	UUID string    // entry ID: tree ID and leaf hash, 80 hexadecimal digits
	Time time.Time // integrated time, UTC
	// Description is what the body says. Nothing in it may be changed.
	Description entry.Description
	// Problem says why the description is not whole; empty if it is.
	Problem string
}

// Entry is one entry with its body.
type Entry struct {
	Hit
	Body []byte // the canonical body, JSON
	// Attestation is the SHA-256 of the attestation that is stored with the entry;
	// zero if none is.
	Attestation tlog.Hash
}

// Page is a part of what was found.
type Page struct {
	// Hits are the entries that match, newest first: at most Query.Limit of them, fewer if
	// they are large (MaxBytes), and none twice on all pages together.
	Hits []Hit
	// Next is the cursor of the next page; empty if this is the last one. It is a place
	// in the log: entries that are added meanwhile are on none of the pages, which neither
	// repeat nor skip anything. A page may have a next one without having hits itself.
	Next string
	// ScannedTo is how far the search came: every entry that matches and is at
	// that place or newer is on this page or one before. Nil if this is the last page.
	ScannedTo *Place
	// Scanned is how many entries were read and held against conditions that the
	// index knows nothing of.
	Scanned int
	// CompleteTo is, for each tree that was asked about, newest first, the size up to
	// which it was searched by this page and those before it: on all pages that of the
	// first. A tree that came to the log since has size 0.
	CompleteTo []TreeSize
	// Bytes is how long the bodies of the hits are together: of what the descriptions
	// hold in memory, a measure.
	Bytes int
	// Understood are the meanings that Query.Text was taken for.
	Understood []Meaning
}

// TreeSize is the size of a tree.
type TreeSize struct {
	Tree, Size int64
}

// Summary is what the newest entries are.
type Summary struct {
	Entries int       // how many were looked at
	Since   time.Time // integrated time of the oldest of them; zero if there is none
	// Kinds counts kinds, as "kind version", the most frequent first. What cannot be
	// read is "unreadable".
	Kinds []Count
	// Issuers counts the entries that each issuer vouched for, the most frequent first.
	// An entry may have none, or several.
	Issuers []Count
}

// Count is how often a name came.
type Count struct {
	Name string
	N    int
}

// Tree is one tree of the log.
type Tree struct {
	ID   int64
	Base int64 // log index of its first entry
}

// Store is what is needed of a storage.Store.
type Store interface {
	Head(ctx context.Context, tree int64) (storage.Head, error)
	Leaves(ctx context.Context, tree int64, start int64, n int) ([]storage.Leaf, error)
	LeavesAt(ctx context.Context, tree int64, indexes []int64) ([]storage.Leaf, error)
	Times(ctx context.Context, tree int64, indexes []int64) ([]int64, error)
	Find(ctx context.Context, tree int64, hashes []tlog.Hash) (map[tlog.Hash]int64, error)
	Search(ctx context.Context, q storage.Query) (storage.Result, error)
	KeysOf(ctx context.Context, tree int64, typ tlog.KeyType, start int64, n int) ([][]tlog.Key, error)
	KeysBeginning(ctx context.Context, tree int64, prefix tlog.Key, n int) ([]tlog.Key, error)
}

// Finder answers questions about one log. It may be used by many goroutines, and
// keeps nothing between calls.
type Finder struct {
	store  Store
	parser *entry.Parser
	trees  []Tree // newest first
}

// New returns a Finder over the trees of a log, oldest first.
func New(store Store, parser *entry.Parser, trees []Tree) *Finder {
	f := &Finder{store: store, parser: parser}
	for i := len(trees) - 1; i >= 0; i-- {
		f.trees = append(f.trees, trees[i])
	}
	return f
}
