package search

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/storage"
)

func TestRecognise(t *testing.T) {
	h := func(n int) string { return strings.Repeat("0a", n/2) }
	for text, want := range map[string]string{
		"jo@example.com":               "identity=jo@example.com",
		"Jo@Example.com ":              "identity=jo@example.com",
		"example.com":                  "identity=example.com",
		"spiffe://example.com/x":       "identity=spiffe://example.com/x",
		"https://accounts.example.com": "identity=https://accounts.example.com issuer=https://accounts.example.com",
		"deadbeef":                     "identity=deadbeef",
		"12":                           "index=12",
		"007":                          "index=7",
		"9223372036854775807":          "index=9223372036854775807",
		"9223372036854775808":          "",
		"12345678901234567890":         "identity=12345678901234567890",
		h(40):                          "commit=" + h(40) + " digest=sha1:" + h(40),
		h(64):                          "digest=sha256:" + h(64) + " publicKey=" + h(64) + " id=" + h(64) + " commit=" + h(64),
		strings.ToUpper(h(64)):         "digest=sha256:" + h(64) + " publicKey=" + h(64) + " id=" + h(64) + " commit=" + h(64),
		h(80):                          "id=" + h(80),
		strings.Repeat("0", 80):        "identity=" + strings.Repeat("0", 80),
		h(96):                          "digest=sha384:" + h(96),
		h(128):                         "digest=sha512:" + h(128),
		"sha256:" + h(64):              "digest=sha256:" + h(64) + " publicKey=" + h(64),
		"SHA512:" + h(128):             "digest=sha512:" + h(128),
		"gitCommit:" + h(40):           "digest=gitcommit:" + h(40) + " identity=gitcommit:" + h(40),
		"sha256:" + h(40):              "",
		"ghcr.io/a/b@sha256:" + h(64):  "digest=sha256:" + h(64),
		"a@b:5000/c@sha256:" + h(64):   "digest=sha256:" + h(64),
		"ghcr.io/a/b:v1":               "identity=ghcr.io/a/b:v1",
		"https://github.com/org/*":     "identityPrefix=https://github.com/org/",
		"*":                            "",
		"*@example.com":                "",
		"":                             "",
		"a\x00b":                       "",
		"https://l.example.com/api/v1/log/entries/" + h(80): "identity=https://l.example.com/api/v1/log/entries/" + h(80) + " issuer=https://l.example.com/api/v1/log/entries/" + h(80) + " id=" + h(80),
		"https://l.example.com/?logIndex=5":                 "identity=https://l.example.com/?logindex=5 issuer=https://l.example.com/?logindex=5 index=5",
		"http://l.example.com/entry/5":                      "identity=http://l.example.com/entry/5 issuer=http://l.example.com/entry/5 index=5",
		"http://l.example.com/pull/5":                       "identity=http://l.example.com/pull/5 issuer=http://l.example.com/pull/5",
	} {
		var got []string
		for _, m := range Recognise(text) {
			got = append(got, m.Field+"="+m.Value)
			if !strings.HasSuffix(m.Words, m.Value) {
				t.Errorf("%q: words are %q", text, m.Words)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

// A pasted key has the same meaning however its lines break.
func TestRecognisePEM(t *testing.T) {
	text := string(forge.P256("a").PEM())
	want := Recognise(text)
	if len(want) != 1 || want[0].Field != FieldPublicKey || want[0].Words != "the pasted public key" {
		t.Fatalf("recognised as %v", want)
	}
	for _, variant := range []string{
		strings.ReplaceAll(text, "\n", "\r\n"), strings.ReplaceAll(text, "\n", " "), strings.ReplaceAll(text, "\n", ""),
		strings.ReplaceAll(text, "\n", `\n`), strings.ReplaceAll(text, "\n", `\r\n`), "  key: |\n    " + strings.ReplaceAll(text, "\n", "\n    "), forge.Base64([]byte(text)),
	} {
		if got := Recognise(variant); !slices.Equal(got, want) {
			t.Errorf("%q is recognised as %v", variant, got)
		}
	}
	for _, bad := range []string{text[:100], text + text, strings.Replace(text, "MF", "M*", 1), strings.ReplaceAll(text, "PUBLIC", "EC PRIVATE"), forge.Base64([]byte(text))[:100],
		strings.Repeat(text, 11)} {
		if got := Recognise(bad); got != nil {
			t.Errorf("%q is recognised as %v", bad, got)
		}
	}
}

// Whatever is typed, each meaning is one that can be looked up, and stays the same
// when it is read again.
func FuzzRecognise(f *testing.F) {
	for _, s := range []string{"jo@example.com", "a*", "12", strings.Repeat("0a", 20), strings.Repeat("0a", 32), strings.Repeat("0a", 40),
		"sha256:" + strings.Repeat("0a", 32), "x@sha1:" + strings.Repeat("0A", 20), "https://a/entry/5?logIndex=7", "http://%", "*",
		string(forge.P256("a").PEM()), forge.Base64(forge.P256("a").PEM()), "-----BEGIN A-----\n-----END A-----", "a:0123456789"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		meanings, err := recognise(text)
		if (err == nil) != (len(meanings) > 0) {
			t.Fatalf("%d meanings, error %v", len(meanings), err)
		}
		for _, m := range meanings {
			again, err := normal(m.Field, m.Value)
			if err != nil || again != m.Value || !utf8.ValidString(m.Words) {
				t.Errorf("%+v is read again as %q, error %v", m, again, err)
			}
			switch m.Field {
			case FieldIdentityPrefix, FieldIndex, FieldID:
			default:
				if len(term(m.Field, m.Value)) == 0 {
					t.Errorf("%+v has no keys", m)
				}
			}
			for _, k := range term(m.Field, m.Value) {
				if back, err := storage.UnpackKey(storage.PackKey(k)); err != nil || back != k {
					t.Errorf("key %q comes back as %q, error %v", k, back, err)
				}
			}
		}
	})
}

// Each cursor has one text, and nothing else is one.
func FuzzCursor(f *testing.F) {
	f.Add((&cursor{1, 0, []int64{0}}).String())
	f.Add((&cursor{1<<63 - 1, 1<<63 - 1, []int64{1<<63 - 1, 5}}).String())
	f.Add("")
	f.Add("AQ")
	f.Add("AgEAAA")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err == nil && (c.String() != text || c.tree <= 0 || c.index < 0 || len(c.sizes) == 0 || slices.Min(c.sizes) < 0) {
			t.Errorf("%q is read as %v, whose text is %q", text, c, c)
		}
	})
}

// Spans of any size are narrowed to the end, and by few calls.
func FuzzSpread(f *testing.F) {
	f.Add(int64(0), int64(1), int64(5), int64(9))
	f.Add(int64(0), int64(1)<<62, int64(3), int64(3))
	f.Fuzz(func(t *testing.T, a, b, c, d int64) {
		if a < 0 || b < a || c < 0 || d < c {
			return
		}
		spans := []span{{a, b}, {c, d}, {a, b}}
		open := a < b || c < d
		indexes := spread(spans)
		if (len(indexes) > 0) != open || len(indexes) > 2*probes || !slices.IsSorted(indexes) {
			t.Fatalf("%v is spread as %v", spans, indexes)
		}
		for _, s := range spans {
			inside := slices.ContainsFunc(indexes, func(i int64) bool { return i >= s.lo && i < s.hi })
			if inside != (s.lo < s.hi) && s.lo < s.hi {
				t.Errorf("%v has nothing inside of %v", indexes, fmt.Sprint(s))
			}
		}
	})
}
