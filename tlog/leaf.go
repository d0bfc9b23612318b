package tlog

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// MaxLeaf is the largest leaf body, in bytes. An entry bundle (C2SP tlog-tiles)
// writes the length of a leaf in two bytes, so a larger leaf could never be
// served as tiles.
const MaxLeaf = 65535

// Leaf is what an accepted entry becomes: the bytes that the tree commits to,
// and what travels beside them.
type Leaf struct {
	// Body is the canonical entry; its LeafHash is in the tree. At most MaxLeaf bytes.
	Body []byte
	// Keys are what the entry is found by. Order and repetitions mean nothing.
	Keys []Key
	// Attestation is the payload that the body only holds a hash of; nil if the
	// entry has none or it is not kept. It is stored under its SHA-256.
	Attestation []byte
}

// KeyType says what a search key is about. The numbers are stored: never reuse one.
type KeyType uint8

const (
	// KeyDigest is a digest that the entry speaks of: its artifact, envelope,
	// payload, or a subject or material of its statement.
	// Value: "<algorithm>:<lower-case hex>", such as "sha256:0248…".
	KeyDigest KeyType = 1
	// KeyPublicKey is the key or certificate that made the signature.
	// Value: lower-case hex of the SHA-256 of its canonical PEM.
	KeyPublicKey KeyType = 2
	// KeyIdentity is a name in the signing certificate: e-mail address, URI, DNS
	// name, IP address or Fulcio user name. Value: the name in lower case.
	KeyIdentity KeyType = 3
	// KeyIssuer is who vouched for the identity: the OIDC issuer that Fulcio wrote
	// into the certificate. Value: the issuer in lower case.
	KeyIssuer KeyType = 4
)

// String returns the type's name as the API and the documentation write it.
func (t KeyType) String() string {
	switch t {
	case KeyDigest:
		return "digest"
	case KeyPublicKey:
		return "publicKey"
	case KeyIdentity:
		return "identity"
	case KeyIssuer:
		return "issuer"
	}
	return "unknown"
}

// MaxKeyValue is the longest value of a search key, in bytes: what 512
// characters (the longest that the v1 API lets a client search for) can take in
// UTF-8. Longer names are not searchable, and leave no key.
const MaxKeyValue = 2048

// Key is one thing by which an entry is found.
type Key struct {
	Type  KeyType
	Value string
}

// Compare orders keys by type, then value.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Type, o.Type), cmp.Compare(k.Value, o.Value))
}

// SortKeys returns the keys in order and without repetitions, in a new slice.
func SortKeys(keys []Key) []Key {
	out := slices.Clone(keys)
	slices.SortFunc(out, Key.Compare)
	return slices.Compact(out)
}

// KeySetDigest returns a digest of a whole key set, whatever its order. It is
// kept with the leaf, so that a lost or added index row can be told although
// some keys cannot be computed from the leaf's body again.
//
// It is SHA-256 over the sorted keys, each as one byte of type, the value's
// length in four bytes (big endian), and the value.
func KeySetDigest(keys []Key) Hash {
	var b bytes.Buffer
	for _, k := range SortKeys(keys) {
		b.WriteByte(byte(k.Type))
		b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(k.Value))))
		b.WriteString(k.Value)
	}
	return sha256.Sum256(b.Bytes())
}
