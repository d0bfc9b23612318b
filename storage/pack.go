package storage

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/tlog"
)

// Forms of a packed key's value: the second byte of every packed key. They are
// stored: never change or reuse one.
const (
	formText   = 0 // the value's bytes as they are
	formHex    = 1 // 64 lower-case hex digits, as 32 bytes
	formSHA1   = 2 // "sha1:" and 40 lower-case hex digits, as 20 bytes
	formSHA256 = 3
	formSHA384 = 4
	formSHA512 = 5
)

// packing is a form that halves a value: a prefix, then a fixed number of bytes
// in lower-case hexadecimal.
type packing struct {
	form   byte
	prefix string
	bytes  int
}

// packings lists the forms besides formText. No value fits two of them.
func packings() [5]packing {
	return [...]packing{
		{formSHA256, "sha256:", 32},
		{formHex, "", 32},
		{formSHA1, "sha1:", 20},
		{formSHA384, "sha384:", 48},
		{formSHA512, "sha512:", 64},
	}
}

// PackKey returns the bytes that stand for a search key in a database: one byte
// for its type, one for the form of its value, then the value; a digest or hash in
// hexadecimal takes half its length. Nothing is lost: two keys have the same bytes
// only if they are equal, and UnpackKey gives the key back. The longest result has
// tlog.MaxKeyValue+2 bytes.
func PackKey(k tlog.Key) []byte {
	for _, p := range packings() {
		digits, ok := strings.CutPrefix(k.Value, p.prefix)
		if !ok || len(digits) != 2*p.bytes || strings.ContainsFunc(digits, notLowerHex) {
			continue
		}
		out := make([]byte, 2, 2+p.bytes)
		out[0], out[1] = byte(k.Type), p.form
		out, _ = hex.AppendDecode(out, []byte(digits)) // cannot fail: digits were checked
		return out
	}
	return append([]byte{byte(k.Type), formText}, k.Value...)
}

// PackPrefix returns the bounds of the packed keys that stand for keys of the
// prefix's type whose value begins with its value: from … end, without end. Keys
// whose value is packed in another form are not among them.
func PackPrefix(prefix tlog.Key) (from, end []byte) {
	from = append([]byte{byte(prefix.Type), formText}, prefix.Value...)
	end = bytes.Clone(from)
	for end[len(end)-1] == 0xff { // never the form, which is the second byte
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return from, end
}

func notLowerHex(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }

// UnpackKey is the inverse of PackKey. It refuses bytes that PackKey never makes.
func UnpackKey(b []byte) (tlog.Key, error) {
	if len(b) < 2 {
		return tlog.Key{}, fmt.Errorf("packed key has %d bytes, not at least 2", len(b))
	}
	k := tlog.Key{Type: tlog.KeyType(b[0]), Value: string(b[2:])}
	if b[1] == formText {
		if packed := PackKey(k); packed[1] != formText {
			return tlog.Key{}, fmt.Errorf("packed key holds %q as text, not in form %d", k.Value, packed[1])
		}
		return k, nil
	}
	for _, p := range packings() {
		if p.form != b[1] {
			continue
		}
		if len(b) != 2+p.bytes {
			return tlog.Key{}, fmt.Errorf("packed key of form %d has %d bytes, not %d", p.form, len(b), 2+p.bytes)
		}
		k.Value = p.prefix + hex.EncodeToString(b[2:])
		return k, nil
	}
	return tlog.Key{}, fmt.Errorf("packed key has unknown form %d", b[1])
}
