package storage_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

var packed = []struct {
	value string
	size  int // of the packed key
}{
	{"sha256:" + strings.Repeat("0a", 32), 34},
	{strings.Repeat("0a", 32), 34},
	{"sha1:" + strings.Repeat("0a", 20), 22},
	{"sha384:" + strings.Repeat("0a", 48), 50},
	{"sha512:" + strings.Repeat("0a", 64), 66},
	{"", 2},
	{"sha256:", 9},
	{"sha256:" + strings.Repeat("0A", 32), 73}, // upper case must come back as it was
	{"SHA256:" + strings.Repeat("0a", 32), 73}, // likewise
	{"sha256:" + strings.Repeat("0a", 32) + "0", 74},
	{"sha256:" + strings.Repeat("g", 64), 73},
	{"sha384:" + strings.Repeat("0a", 32), 73},
	{strings.Repeat("0a", 31) + "ａ", 67}, // a full-width letter: three bytes
	{"jo@example.com", 16},
	{"a\x00b\xff%_'\"\\", 11},
	{strings.Repeat("x", tlog.MaxKeyValue), tlog.MaxKeyValue + 2},
}

func TestPackKey(t *testing.T) {
	for _, c := range packed {
		k := tlog.Key{Type: tlog.KeyDigest, Value: c.value}
		b := storage.PackKey(k)
		if len(b) != c.size {
			t.Errorf("PackKey(%q) has %d bytes, not %d", c.value, len(b), c.size)
		}
		if got, err := storage.UnpackKey(b); err != nil || got != k {
			t.Errorf("UnpackKey(PackKey(%q)) = %q, %v", c.value, got, err)
		}
	}
}

// Random values that are often almost, and often exactly, of a packed form.
func TestPackKeyRapid(t *testing.T) {
	key := rapid.Custom(func(t *rapid.T) tlog.Key {
		value := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`(sha1:|sha256:|sha384:|sha512:|)([0-9a-f]{40}|[0-9a-fA-F]{64}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})`),
		).Draw(t, "value")
		return tlog.Key{Type: tlog.KeyType(rapid.IntRange(0, 255).Draw(t, "type")), Value: value}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		pa, pb := storage.PackKey(a), storage.PackKey(b)
		if (a == b) != bytes.Equal(pa, pb) {
			t.Fatalf("%q and %q are packed as %x and %x", a, b, pa, pb)
		}
		if got, err := storage.UnpackKey(pa); err != nil || got != a {
			t.Fatalf("UnpackKey(PackKey(%q)) = %q, %v", a, got, err)
		}
	})
}

// What UnpackKey takes is what PackKey makes, and nothing else.
func FuzzUnpackKey(f *testing.F) {
	for _, c := range packed {
		f.Add(storage.PackKey(tlog.Key{Type: tlog.KeyIdentity, Value: c.value}))
	}
	f.Add([]byte{})
	f.Add([]byte{1, 3, 0})
	f.Add([]byte{1, 9, 0})
	f.Add(append([]byte{1, 0}, strings.Repeat("0a", 32)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := storage.UnpackKey(b)
		if err == nil && !bytes.Equal(storage.PackKey(k), b) {
			t.Errorf("UnpackKey(%x) = %q, which is packed as %x", b, k, storage.PackKey(k))
		}
	})
}
