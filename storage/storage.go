// Package storage says, in words and types, what a log needs of a place to keep
// it. A Store never hashes, signs or judges: it makes one finished batch durable,
// or nothing, and gives back what was made durable.
//
// What was committed never changes; only the last tile of a level grows at its
// end. So reads need no transaction, and a tile read once can be kept for ever.
//
// storage/storagetest holds the one suite that every implementation passes.
package storage

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/tallystick/tallystick/tlog"
)

// Errors, classed by what the caller does about them. Anything else a Store
// returns is like ErrUnavailable: nothing was written, and it may work later.
var (
	// ErrUnknown: a commit may or may not have taken effect (the connection was
	// lost, say). The caller finds out by committing the same hashes again: those
	// that are in the tree come back in Current.Existing.
	ErrUnknown = errors.New("outcome of the commit is unknown")
	// ErrUnavailable: the database cannot be reached, is full, or is busy beyond
	// its time limit. Nothing was written; later it may work.
	ErrUnavailable = errors.New("storage is unavailable")
	// ErrConflict: the head was not the one the batch was built on, although its
	// row was locked; or a leaf hash was in the tree already. Nothing was written.
	ErrConflict = errors.New("the tree's head changed under the commit")
	// ErrNotFound: there is no such tree, tile, leaf or attestation.
	ErrNotFound = errors.New("not found")
	// ErrExists: a tree like this is there already.
	ErrExists = errors.New("already exists")
	// ErrSchema: the database's schema is newer than this program, or not a
	// Tallystick schema. Only another program or database helps.
	ErrSchema = errors.New("unusable database schema")
	// ErrUnsafe: the database is set up so that it could lose a committed
	// transaction, or is a standby. Only other settings help.
	ErrUnsafe = errors.New("unsafe database settings")
	// ErrInUse: another process has this store open, and it can serve only one.
	ErrInUse = errors.New("in use by another process")
)

// API generations of a tree.
const APIv1 = "rekor-v1"

// States of a tree.
const (
	StateActive   = "active"
	StateReadOnly = "read-only"
)

// Tree is one Merkle tree of the log. Nothing in it changes after it was
// created, except State.
type Tree struct {
	ID        int64  // random, positive
	Origin    string // first line of its checkpoints
	API       string // APIv1
	State     string // StateActive or StateReadOnly
	BaseIndex int64  // sum of the sizes of all older trees of the same API: global index = BaseIndex + index
	PublicKey []byte // the log key, DER SubjectPublicKeyInfo
	Created   int64  // Unix seconds
}

// Head is a tree's head as it is stored.
type Head struct {
	tlog.Head
	// Time is the integrated time of the newest leaf, in Unix seconds; 0 for an
	// empty tree. Along a tree it never decreases.
	Time int64
}

// Leaf is a leaf as it is stored.
type Leaf struct {
	Index int64
	Hash  tlog.Hash
	Time  int64 // integrated time, Unix seconds
	Body  []byte
	// KeySet is the tlog.KeySetDigest of all search keys stored for this leaf.
	KeySet tlog.Hash
	// Attestation is the SHA-256 of the attestation stored for this leaf; zero if
	// there is none.
	Attestation tlog.Hash
}

// NewLeaf is a leaf about to be stored, with what goes beside it. Keys are
// sorted and without repetitions; Data is nil exactly if Leaf.Attestation is zero.
type NewLeaf struct {
	Leaf
	Keys []tlog.Key
	Data []byte
}

// Batch is what one commit makes durable: leaves Old.Size … New.Size-1, in order,
// with their index rows and attestations, the tiles they changed, and the head.
type Batch struct {
	Old, New Head
	Leaves   []NewLeaf
	// Tiles holds every tile that changed: those of level 0 that became full, and
	// all of higher levels that grew. Partial tiles of level 0 are not stored: they
	// are the hashes of the last leaves.
	Tiles []tlog.Tile
	// Checkpoint is the newest checkpoint that was published before this batch, as
	// text; empty to keep the stored one. It is never newer than Old. A server that
	// may not sign serves this one.
	Checkpoint []byte
}

// Existing says where a leaf hash is in the tree already.
type Existing struct {
	Index int64
	Time  int64
}

// Current is the tree as a commit finds it under the lock.
type Current struct {
	Head Head
	// Since holds the leaf hashes from index Request.Known up to Head.Size, in
	// order: what other servers added since the caller last looked. It is nil if
	// those are more than MaxSince, or Known is beyond the head; compare lengths.
	Since []tlog.Hash
	// Clock is the database's own clock when the head was locked; zero if it has none
	// of its own.
	Clock time.Time
	// Existing has the asked-for hashes that are in the tree already.
	Existing map[tlog.Hash]Existing
}

// MaxSince bounds Current.Since.
const MaxSince = 16384

// Request is what a commit begins with.
type Request struct {
	Known  int64       // the tree size that the caller has in memory
	Hashes []tlog.Hash // leaf hashes that the caller wants in the tree, each once
	// Build is called with the head row locked. It returns the batch to be stored,
	// or nil if there is nothing to store (every hash is there already); an error
	// gives up, and is returned by Commit as it is. It must be quick, and may not
	// use the Store. It is called at most once per Commit.
	Build func(Current) (*Batch, error)
}

// Term is a list of keys of which any one has to match. A term without keys
// matches nothing.
type Term []tlog.Key

// Range is a part of a tree: the leaves From … To-1. A To beyond the head stands for
// the head; a range that begins at its end, or after it, is empty.
type Range struct {
	Tree, From, To int64
}

// Whole returns the range of all leaves of a tree, however many it has.
func Whole(tree int64) Range { return Range{tree, 0, math.MaxInt64} }

// Query asks for entries by their keys, newest first.
type Query struct {
	// In are the parts of trees to look in; the answer lists them in this order, so
	// give the newest first.
	In []Range
	// Terms must all match if All, else any one. Without terms nothing matches.
	Terms []Term
	All   bool
	// Limit is the most matches to return, at least 1.
	Limit int
}

// Match is one entry that was found.
type Match struct {
	Tree  int64
	Index int64
	Hash  tlog.Hash
}

// Result is the answer to a Query.
type Result struct {
	Matches   []Match
	Truncated bool // there were more than Limit
	// CompleteTo has, for each tree of the query, the tree size up to which the
	// answer is complete: every entry below it that is in range and matches was
	// considered.
	CompleteTo map[int64]int64
}

// Store keeps trees. All methods may be called at once from many goroutines, and
// several programs may share one database if the implementation says so.
//
// A method that takes a tree ID returns ErrNotFound if there is no such tree.
type Store interface {
	// CreateTree stores a new, empty tree. ErrExists if a tree with the same ID, or
	// an active tree of the same API, is there: of two servers that create the log
	// at once, one is told so.
	CreateTree(ctx context.Context, t Tree) error
	// Trees returns all trees, oldest first.
	Trees(ctx context.Context) ([]Tree, error)

	// Head returns the newest committed head: at least as new as any whose commit,
	// by any program, had returned when Head was called.
	Head(ctx context.Context, tree int64) (Head, error)
	// Checkpoint returns the newest checkpoint stored with a batch or by
	// SaveCheckpoint; empty if there was none yet.
	Checkpoint(ctx context.Context, tree int64) ([]byte, error)
	// SaveCheckpoint stores a published checkpoint that covers size leaves, without
	// a batch (at shutdown). An older one never replaces a newer one.
	SaveCheckpoint(ctx context.Context, tree int64, size int64, checkpoint []byte) error

	// Commit locks the tree's head, calls r.Build with what it finds, and makes the
	// batch that Build returns durable: all of it, or nothing, on stable storage
	// before Commit returns. An error means that nothing was written, except
	// ErrUnknown, after which both is possible. Commits to one tree, by any number
	// of programs, happen one after another.
	Commit(ctx context.Context, tree int64, r Request) error

	// Tiles returns the hashes of the asked-for tiles, in order, each at least as
	// wide as asked (a partial tile may have grown meanwhile) and cut to the asked
	// width. ErrNotFound if one is not there in that width.
	Tiles(ctx context.Context, tree int64, ids []tlog.TileID) ([][]tlog.Hash, error)
	// Leaves returns up to n leaves from index start, in order; fewer, or none, at
	// the end of the tree.
	Leaves(ctx context.Context, tree int64, start int64, n int) ([]Leaf, error)
	// LeavesAt returns the leaves at these indexes, in the order asked for, repeated
	// if they are. ErrNotFound if one is not there.
	LeavesAt(ctx context.Context, tree int64, indexes []int64) ([]Leaf, error)
	// Times returns the integrated times of the leaves at these indexes, in the order
	// asked for. ErrNotFound if one is not there. Along a tree times never decrease: so
	// the first leaf of a time is found by bisection, for many times in the same calls.
	Times(ctx context.Context, tree int64, indexes []int64) ([]int64, error)
	// Find returns the indexes of those of the hashes that are in the tree.
	Find(ctx context.Context, tree int64, hashes []tlog.Hash) (map[tlog.Hash]int64, error)
	// Attestation returns what was stored under a SHA-256.
	Attestation(ctx context.Context, tree int64, digest tlog.Hash) ([]byte, error)
	// Search returns the entries that match, newest first.
	Search(ctx context.Context, q Query) (Result, error)
	// KeysBeginning returns up to n of the different search keys in the tree that have
	// the prefix's type and begin with its value, the first ones in the order of their
	// bytes. Values that are packed (digests, hashes: see PackKey) are not found so. It
	// costs about n lookups, however many leaves have the keys.
	KeysBeginning(ctx context.Context, tree int64, prefix tlog.Key, n int) ([]tlog.Key, error)
	// Keys returns the search keys stored for leaves start … start+n-1: one slice
	// a leaf, each sorted; for the whole-log check.
	Keys(ctx context.Context, tree int64, start int64, n int) ([][]tlog.Key, error)
	// KeysOf is Keys of which only those of one type are returned.
	KeysOf(ctx context.Context, tree int64, typ tlog.KeyType, start int64, n int) ([][]tlog.Key, error)

	// Ready reports whether the store can write at this moment, and why not.
	Ready(ctx context.Context) error
	// Close waits for calls under way and releases what the store holds.
	Close() error
}
