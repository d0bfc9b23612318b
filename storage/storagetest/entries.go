package storagetest

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// Entries makes leaves like those of real logs, for measuring: a hashedrekord of
// about 900 bytes, made by one of 1000 keys. The same source gives the same leaves.
type Entries struct{ random *rand.ChaCha8 }

// NewEntries returns a source of leaves.
func NewEntries(seed uint64) *Entries {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return &Entries{rand.NewChaCha8(s)}
}

// Next returns n leaves, each with two search keys: a digest of its own and its
// public key.
func (e *Entries) Next(n int) []storage.NewLeaf {
	leaves := make([]storage.NewLeaf, n)
	for i := range leaves {
		signer := e.random.Uint64() % 1000
		digest := tlog.LeafHash(e.bytes(8)).String()
		body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%s"}},"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`,
			digest, base64.StdEncoding.EncodeToString(e.bytes(71)), base64.StdEncoding.EncodeToString(e.bytes(432)))
		leaves[i] = Leaf(body,
			tlog.Key{Type: tlog.KeyDigest, Value: "sha256:" + digest},
			tlog.Key{Type: tlog.KeyPublicKey, Value: tlog.LeafHash(binary.LittleEndian.AppendUint64(nil, signer)).String()})
	}
	return leaves
}

func (e *Entries) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = e.random.Read(b) // never fails
	return b
}
