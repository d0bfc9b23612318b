package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// digester hashes a sequence of values. Each is written with its length before it, so that
// different sequences of values are different bytes.
type digester struct{ h hash.Hash }

// newDigester starts a digest. The label says of what, and in which encoding.
func newDigester(label string) digester {
	d := digester{sha256.New()}
	d.text(label)
	return d
}

func (d digester) bytes(b []byte) {
	d.number(int64(len(b)))
	d.h.Write(b)
}

func (d digester) text(s string) { d.bytes([]byte(s)) }

func (d digester) number(n int64) {
	d.h.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func (d digester) flag(b bool) {
	if b {
		d.number(1)
	} else {
		d.number(0)
	}
}

// time writes a moment, whatever its time zone.
func (d digester) time(t time.Time) {
	d.number(t.Unix())
	d.number(int64(t.Nanosecond()))
}

func (d digester) window(w Window) {
	d.time(w.Start)
	d.time(w.End)
}

func (d digester) sum() [sha256.Size]byte { return [sha256.Size]byte(d.h.Sum(nil)) }
