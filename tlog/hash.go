// Package tlog is the arithmetic of a transparency log: leaf hashes, trees,
// tiles, checkpoints and proofs. It computes; it never reads a file, a clock or
// the network, so everything in it can be tested exhaustively and imported by
// a verifier.
//
// The Merkle tree is that of RFC 6962, section 2.1, with SHA-256: a leaf hashes
// as SHA-256(0x00 || body), an inner node as SHA-256(0x01 || left || right), and
// the empty tree has the hash of the empty string.
//
// Sizes and indexes are int64, never negative. A function that is handed an
// impossible one by its own program panics and says so; what comes from outside
// is answered with an error.
package tlog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// HashSize is the length of every hash in the log, in bytes.
const HashSize = sha256.Size

// Hash is a SHA-256 hash: of a leaf, of a node, or of the whole tree.
type Hash [HashSize]byte

// EmptyRoot is the root hash of a tree without leaves: SHA-256 of nothing
// (RFC 6962, section 2.1).
var EmptyRoot = Hash(sha256.Sum256(nil))

// String returns the hash in lower-case hexadecimal, as the Rekor API writes it.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Base64 returns the hash in padded standard base64, as checkpoints write it.
func (h Hash) Base64() string { return base64.StdEncoding.EncodeToString(h[:]) }

// ParseHash reads 64 hexadecimal digits, of either case.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*HashSize {
		return Hash{}, fmt.Errorf("hash has %d hexadecimal digits, not %d", len(s), 2*HashSize)
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("hash %q is not hexadecimal", s)
	}
	return h, nil
}

// LeafHash returns the hash of a leaf with the given body (RFC 6962, section
// 2.1: the 0x00 prefix keeps a leaf from being taken for a node).
func LeafHash(body []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(body)
	var out Hash
	h.Sum(out[:0])
	return out
}

// NodeHash returns the hash of the node above left and right.
func NodeHash(left, right Hash) Hash {
	var b [1 + 2*HashSize]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// Head says what one tree is at one moment: how many leaves it has and the hash
// over all of them. Two heads of one size and different roots are a fork.
type Head struct {
	Size int64
	Root Hash
}

// EmptyHead is the head of a tree without leaves.
func EmptyHead() Head { return Head{Root: EmptyRoot} }
