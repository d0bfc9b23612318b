package forge

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// Witness cosigns whatever it is shown (C2SP tlog-cosignature).
type Witness struct {
	Name string
	Key  *Key
	Time time.Time
}

// NewWitness returns a witness whose clock stands still.
func NewWitness(name string, at time.Time) *Witness { return &Witness{name, Ed25519(name), at} }

func (w *Witness) public() ed25519.PublicKey { return w.Key.Public().(ed25519.PublicKey) }

func (w *Witness) hash() []byte {
	sum := sha256.Sum256(append([]byte(w.Name+"\n\x04"), w.public()...))
	return sum[:4]
}

// VKey returns the witness's verifier key.
func (w *Witness) VKey() string {
	return fmt.Sprintf("%s+%x+%s", w.Name, w.hash(), Base64(append([]byte{4}, w.public()...)))
}

// Policy returns the witness as a line of a witness policy (C2SP tlog-policy).
func (w *Witness) Policy(name string) string { return "witness " + name + " " + w.VKey() + "\n" }

// Cosign returns the witness's signature line for a checkpoint text.
func (w *Witness) Cosign(text string) string {
	at := uint64(w.Time.Unix())
	signature := w.Key.SignMessage(fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))
	return NoteLine(w.Name, w.hash(), append(binary.BigEndian.AppendUint64(nil, at), signature...))
}
