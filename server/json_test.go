package server

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzString holds strings against encoding/json with HTML escaping off.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "a—b\n", "<&>\"\\", "\x00\x1f\x7f\b\f\r\t", "\u2028\u2029\ufffd", "\xff\xc3", "\xe2\x80", "😀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		w := bytes.TrimSuffix(want.Bytes(), []byte("\n"))
		if got := appendString(nil, s); !bytes.Equal(got, w) {
			t.Errorf("%q: %s, not %s", s, got, w)
		}
		if got := appendString(nil, []byte(s)); !bytes.Equal(got, w) {
			t.Errorf("%q as bytes: %s, not %s", s, got, w)
		}
	})
}
