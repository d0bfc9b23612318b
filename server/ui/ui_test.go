package ui

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"jo@example.com":  "jo@example.com",
		"Jörg 日本":         "Jörg 日本",
		"a\u202egpj.exe":  "a⟨U+202E⟩gpj.exe",
		"a\u00a0b":        "a⟨U+00A0⟩b",
		"a\u200bb\ufeff":  "a⟨U+200B⟩b⟨U+FEFF⟩",
		"a\x00\x1b[1m\n":  "a⟨U+0000⟩⟨U+001B⟩[1m⟨U+000A⟩",
		"a\xffb":          "a⟨byte FF⟩b",
		"a\ufffdb":        "a\ufffdb",
		"\U000e0041":      "⟨U+E0041⟩",
		"\u3164\u115f":    "⟨U+3164⟩⟨U+115F⟩",
		"\u2800":          "⟨U+2800⟩",
		"\ue000\ufdd0":    "⟨U+E000⟩⟨U+FDD0⟩",
		"tab\tin the way": "tab⟨U+0009⟩in the way",

		"e\u0301\u0302\u0303x\u0301":       "e\u0301\u0302\u0303x\u0301",
		"e\u0301\u0302\u0303\u0489\u0304x": "e\u0301\u0302\u0303⟨U+0489⟩⟨U+0304⟩x",
	} {
		if got := visible(in, false); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
	if got := visible("a\nb\r", true); got != "a\nb⟨U+000D⟩" {
		t.Errorf("lines: %q", got)
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"jo@example.com": "jo@example.com", "": "", "Jo Doe": "“Jo Doe”", "a\tb": "“a⟨U+0009⟩b”", "a” b “c": "“a⟨U+201D⟩ b ⟨U+201C⟩c”", "\u202ex": "“⟨U+202E⟩x”",
	} {
		if got := name(in, 100); got != want {
			t.Errorf("%q: %s, not %s", in, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	if got := line(strings.Repeat("é", 100), 10); got != strings.Repeat("é", 10)+"… (200 bytes)" {
		t.Error(got)
	}
	if got := spelled("dev@ex\u0430mple.com"); got != `dev@ex\u0430mple.com` {
		t.Error(got)
	}
	if got := spelled("dev@example.com\u202e"); got != "" {
		t.Error(got)
	}
	for n, want := range map[int64]string{0: "0", 12: "12", 123: "123", 1234: "1,234", 1234567: "1,234,567", -1234: "-1,234", -123: "-123", math.MaxInt64: "9,223,372,036,854,775,807"} {
		if got := number(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestWebLink(t *testing.T) {
	for _, good := range []string{"https://github.com/acme/widgets", "https://x.example:8443/a?b=c#d", "https://a-b.example"} {
		if webLink(good) != good {
			t.Errorf("%s is no link", good)
		}
	}
	for _, bad := range []string{"", "http://github.com", "javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "https://", "https://localhost/", "https://user@x.example/",
		"https://x.example\\@y.example", "https://x.example/\"", "https://x.example/<b>", "https://x.example/\u202e", "https://xn.examp\u0430le/", " https://x.example", "https://x..example", "//x.example",
		"https://X.EXAMPLE/", "HTTPS://x.example/", "https://x.example/" + strings.Repeat("a", 1000), "https:x.example", "https://[::1]/"} {
		if webLink(bad) != "" {
			t.Errorf("%s is a link", bad)
		}
	}
}

// A quoted word is that word for a real shell.
func TestQuote(t *testing.T) {
	words := []string{"", "a", "-n", "--x", "a b", "$HOME", "`id`", "$(id)", "a'b", "''", "'; id; '", "a\\b", "\"", "!x", "*", "~", "#", "a&b|c;d<e>f(g)", "Jörg", "{a,b}", "[a]", "a=b", "%s", "https://x.example/a?b=c&d"}
	script := ""
	for _, w := range words {
		q, ok := quote(w)
		if !ok {
			t.Errorf("%q is not quoted", w)
		}
		script += "printf '%s\\n' " + q + "\n"
	}
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); !slices.Equal(got, words) {
		t.Errorf("the shell has\n%q, not\n%q", got, words)
	}
	for _, w := range []string{"a\nb", "\x1b[201~", "\u202e", "\x00", "\xff", "\u200b", strings.Repeat("a", 5000)} {
		if q, ok := quote(w); ok {
			t.Errorf("%q is quoted as %s", w, q)
		}
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a'b $(id)")
	f.Fuzz(func(t *testing.T, s string) {
		q, ok := quote(s)
		if !ok {
			return
		}
		out, err := exec.Command("sh", "-c", "printf %s "+q).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q is %s, which the shell takes for %q (%v)", s, q, out, err)
		}
	})
}

func TestPretty(t *testing.T) {
	got, whole := pretty([]byte(`{"a":[1,{"b":"x{[,:\"\\"},[],{}],"a":null , "c" : true}`), 1000)
	want := "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x{[,:\\\"\\\\\"\n    },\n    [],\n    {}\n  ],\n  \"a\": null,\n  \"c\": true\n}"
	if got != want || !whole {
		t.Errorf("%s %v", got, whole)
	}
	for _, in := range []string{"{", "", "no JSON", `"a" "b"`} {
		if got, whole := pretty([]byte(in), 100); got != in || !whole {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got, whole := pretty([]byte(strings.Repeat("[", 9000)+strings.Repeat("]", 9000)), 5000); len(got) > 5000 || whole {
		t.Errorf("%d bytes", len(got))
	}
	if got, whole := pretty([]byte(`"ééé"`), 4); got != `"é` || whole {
		t.Errorf("%q", got)
	}
}

func FuzzPretty(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"x"},[],{}],"c":true}`), 50)
	f.Add([]byte(`[ { } , [ ] ]`), 500)
	f.Fuzz(func(t *testing.T, raw []byte, most int) {
		most = min(max(most, 0), 1<<16)
		text, whole := pretty(raw, most)
		if len(text) > most {
			t.Errorf("%d bytes, more than %d", len(text), most)
		}
		if !whole || !json.Valid(raw) {
			return
		}
		var before, after bytes.Buffer
		if err := json.Compact(&before, raw); err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&after, []byte(text)); err != nil || before.String() != after.String() {
			t.Errorf("%s became %s (%v)", before.String(), after.String(), err)
		}
	})
}

func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"ab"}}],"predicateType":"t","predicate":{}}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":{"name":1},"predicate":"\ud800"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := readStatement(raw)
		if len(s.Subjects) > maxSubjects || len(s.Predicate) > 40*maxShown || len(s.Raw) > 40*maxShown {
			t.Error("too much")
		}
		for _, text := range []string{s.PredicateType, s.Type} {
			if !plain(text, false) {
				t.Errorf("%q", text)
			}
		}
		if !plain(s.Predicate, true) || !plain(s.Raw, true) {
			t.Error("what cannot be seen is not shown")
		}
	})
}

func TestStatement(t *testing.T) {
	s := readStatement([]byte(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2","subject":[` +
		strings.Repeat(`{"name":"a","digest":{"sha256":"`+strings.Repeat("ab", 32)+`","odd":"x"}},`, 59) + `{"name":"last","digest":{}}],"predicate":{"x":1}}`))
	if !s.IsStatement || s.Words != "SLSA provenance" || len(s.Subjects) != maxSubjects || s.MoreSubjects != 10 || s.Predicate != "{\n  \"x\": 1\n}" {
		t.Errorf("%+v", s)
	}
	first := s.Subjects[0]
	if first.Name != "a" || len(first.Digests) != 2 || first.Digests[0].Href != "search?digest=sha256%3A"+strings.Repeat("ab", 32) || first.Digests[1].Href != "" {
		t.Errorf("%+v", first)
	}
	if s := readStatement([]byte(`{"_type":"other"}`)); s.IsStatement || s.Raw == "" {
		t.Errorf("%+v", s)
	}
}

func TestBoundaries(t *testing.T) {
	now := time.Date(2026, 3, 31, 23, 59, 59, 0, time.FixedZone("x", 3600)) // 22:59:59 UTC
	for _, c := range []struct {
		span        Span
		first, last string
	}{
		{Span{Hours, 48}, "2026-03-29T23:00:00Z", "2026-03-31T23:00:00Z"},
		{Span{Days, 90}, "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"},
		{Span{Months, 24}, "2024-04-01T00:00:00Z", "2026-04-01T00:00:00Z"},
	} {
		got := c.span.Boundaries(now)
		if len(got) != c.span.N+1 || got[0].Format(time.RFC3339) != c.first || got[c.span.N].Format(time.RFC3339) != c.last {
			t.Errorf("%v: %d, %v to %v", c.span, len(got), got[0], got[len(got)-1])
		}
		if !slices.IsSortedFunc(got, time.Time.Compare) {
			t.Error("not in order")
		}
	}
}

func TestChart(t *testing.T) {
	span := Span{Hours, 4}
	c := newChart(Growth{span, span.Boundaries(time.Date(2026, 1, 1, 3, 30, 0, 0, time.UTC)), []int64{0, 5, 10, 1}})
	if len(c.Bars) != 3 || len(c.Rows) != 3 || c.Max != "10" || c.Half != "5" || c.Words != "16 entries in the last 4 hours; most in one hour: 10 (1 Jan 02:00)" {
		t.Errorf("%+v", c)
	}
	if b := c.Bars[1]; b != (bar{"52.500%", "20.000%", "12.0", "150.0", "1 Jan 02:00: 10 entries"}) {
		t.Errorf("%+v", b)
	}
	empty := newChart(Growth{span, span.Boundaries(time.Unix(0, 0)), make([]int64, 4)})
	if len(empty.Bars) != 0 || empty.Words != "0 entries in the last 4 hours" {
		t.Errorf("%+v", empty)
	}
}

func TestSpan(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for d, want := range map[time.Duration]string{
		0: "just now", time.Second: "1 second ago", 59 * time.Second: "59 seconds ago", time.Minute: "1 minute ago", 90 * time.Minute: "1 hour ago",
		47 * time.Hour: "1 day ago", 59 * 24 * time.Hour: "1 month ago", 800 * 24 * time.Hour: "2 years ago", -time.Hour: "in the future", -time.Second: "just now",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v: %s, not %s", d, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	c := newCode("https://log.example")
	if c == nil || c.Size < 21+2*quiet || !strings.HasPrefix(c.Path, "M4 4h7v1h-7z") { // the corner of a finder pattern
		t.Errorf("%+v", c)
	}
	if newCode(strings.Repeat("x", 10000)) != nil {
		t.Error("a code for too much")
	}
}

var (
	rule  = regexp.MustCompile(`(?s):root \{(.*?)\n\s*\}`)
	color = regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`)
)

// Every text has enough contrast to what is behind it, in both schemes (WCAG 2.2, 1.4.3).
func TestContrast(t *testing.T) {
	css, err := staticFiles.ReadFile("static/page.css")
	if err != nil {
		t.Fatal(err)
	}
	schemes := rule.FindAllStringSubmatch(string(css), -1)
	if len(schemes) != 2 {
		t.Fatalf("%d blocks of colours", len(schemes))
	}
	colors := map[string]float64{}
	for i, scheme := range schemes {
		for _, m := range color.FindAllStringSubmatch(scheme[1], -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		for text, grounds := range map[string]string{
			"ink": "paper card sunk accent-tint", "soft": "paper card sunk accent-tint", "accent": "paper card sunk accent-tint", "accent-ink": "accent",
			"good": "paper card good-tint", "bad": "paper card accent-tint bad-tint", "warn": "paper card accent-tint warn-tint",
		} {
			for ground := range strings.FieldsSeq(grounds) {
				a, b := colors[text], colors[ground]
				if a == 0 && b == 0 {
					t.Fatalf("no colours %s and %s", text, ground)
				}
				if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < 4.5 {
					t.Errorf("scheme %d: %s on %s has %.2f : 1", i, text, ground, ratio)
				}
			}
		}
	}
}

// luminance is the relative luminance of a colour (WCAG 2.2).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= .04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
