package strictjson

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

var texts = []string{
	`null`, `true`, `false`, `0`, `-0`, `-1.5e+3`, `1E9`, `01`, `1.`, `.5`, `1e`, `-`, `+1`, `NaN`,
	`""`, `"a"`, `"\u00e9\n\/\"\\"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ud83dx"`, `"\x"`, `"\u12"`, `"`, "\"\n\"", "\"\xff\"", "\"\u00e9\"",
	`{}`, `{ }`, `[]`, `[ ]`, `{"a":1}`, `{"a":1,"b":[{},[],"x",{"c":null}]}`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":1 "b":2}`, `[1,]`, `[1 2]`, `[,]`, `{"a":1]`, `[1}`,
	`{"a":1,"a":2}`, ` [1] `, `[1] x`, ``, ` `, `{"":{"":{"":0}}}`, "\ufeff{}", `tru`, `nul`,
	strings.Repeat("[", 500) + strings.Repeat("]", 500),
}

// TestAgainstEncodingJSON holds Skip against the standard library's parser: they
// accept the same texts, but for those that are not Unicode.
func TestAgainstEncodingJSON(t *testing.T) {
	for _, s := range texts {
		compare(t, []byte(s))
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range texts {
		f.Add([]byte(s))
	}
	f.Fuzz(compare)
}

func compare(t *testing.T, data []byte) {
	for _, lenient := range []bool{true, false} {
		r := New(data)
		r.Lenient = lenient
		err := r.Skip()
		if err == nil {
			err = r.End()
		}
		if want := json.Valid(data) && (lenient || isUnicode(data)); (err == nil) != want {
			t.Fatalf("%q (lenient %v): error %v, want valid %v", data, lenient, err, want)
		}
	}
	r := New(data)
	text, err := r.Text()
	if err != nil || r.End() != nil {
		return
	}
	var want string
	if err := json.Unmarshal(data, &want); err != nil || string(text) != want {
		t.Fatalf("%q reads as %q, want %q (%v)", data, text, want, err)
	}
}

// isUnicode reports whether a valid JSON text has neither invalid UTF-8 nor lone
// surrogates: the standard library turns both into U+FFFD.
func isUnicode(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(replaceFFFD(string(data))))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return false
	}
	return !hasFFFD(v)
}

// replaceFFFD takes real U+FFFD, literal or escaped, out of a JSON text.
func replaceFFFD(s string) string {
	s = strings.ReplaceAll(s, "\ufffd", "x")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+5 < len(s) && strings.EqualFold(s[i:i+6], `\ufffd`):
			b.WriteString("x")
			i += 5
		case s[i] == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hasFFFD(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "\ufffd")
	case []any:
		for _, e := range v {
			if hasFFFD(e) {
				return true
			}
		}
	case map[string]any:
		for k, e := range v {
			if strings.Contains(k, "\ufffd") || hasFFFD(e) {
				return true
			}
		}
	}
	return false
}

func TestObject(t *testing.T) {
	r := New([]byte(` { "a" : "1", "\u0062":["x", {"y":2}, "z"], "c":{"a":1,"a":2}, "d":null} tail`))
	var a string
	var list []string
	err := r.Object(func(name []byte) error {
		switch string(name) {
		case "a":
			b, err := r.Text()
			a = string(b)
			return err
		case "b":
			return r.Array(func() error {
				if r.Peek() != '"' {
					return nil
				}
				b, err := r.Text()
				list = append(list, string(b))
				return err
			})
		case "d":
			if !r.Null() {
				t.Error("d is not null")
			}
		}
		return nil
	})
	if err != nil || a != "1" || strings.Join(list, "") != "xz" {
		t.Errorf("a %q, list %q, error %v", a, list, err)
	}
	if r.End() == nil {
		t.Error("bytes after the value are not seen")
	}
}

func TestRefused(t *testing.T) {
	many := "{" + strings.Repeat(`"a":1,`, MaxMembers)
	for i := range MaxMembers {
		many = strings.Replace(many, `"a"`, `"`+strings.Repeat("b", i+1)+`"`, 1)
	}
	for name, s := range map[string]string{
		"repeated member":            `{"a":1,"b":2,"a":3}`,
		"repeated member, escaped":   `{"a":1,"\u0061":3}`,
		"too many members":           many + `"last":1}`,
		"too deep":                   `{"a":` + strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1) + "}",
		"not an object":              `[]`,
		"value missing":              `{"a":}`,
		"end within":                 `{"a":1`,
		"string where name expected": `{"a":1,}`,
	} {
		r := New([]byte(s))
		if err := r.Object(func([]byte) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r := New([]byte(many[:len(many)-1] + "}"))
	if err := r.Object(func([]byte) error { return nil }); err != nil {
		t.Errorf("%d members: %v", MaxMembers, err)
	}
	r = New([]byte(`{"a":1,"a":2}`))
	r.Lenient = true
	if err := r.Object(func([]byte) error { return nil }); err != nil {
		t.Errorf("lenient, repeated member: %v", err)
	}
}

// SkipUnique reads what Skip reads, but for repeated members, however deep and however written.
func TestSkipUnique(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: true, `[]`: true, `3`: true, `"a"`: true, `null`: true,
		`{"a":1,"b":[{"a":1},{"a":2}],"c":{"a":{"a":1}}}`: true,
		`{"a":1,"a":1}`:            false,
		`{"a":1,"\u0061":1}`:       false,
		`[{"b":{"a":1,"a":2}}]`:    false,
		`{"a":1,}`:                 false,
		`{"a"}`:                    false,
		`{"a":1]`:                  false,
		`[1,2`:                     false,
		`{"a":"\ud800"}`:           false,
		strings.Repeat("[", 20000): false,
	} {
		r := New([]byte(text))
		err := r.SkipUnique()
		if err == nil {
			err = r.End()
		}
		if (err == nil) != want {
			t.Errorf("%.40s: %v, but want it read: %v", text, err, want)
		}
	}
	many := "{"
	for i := range 5000 {
		many += fmt.Sprintf("%q:%d,", fmt.Sprint(i), i)
	}
	r := New([]byte(many + `"x":1}`))
	if err := r.SkipUnique(); err != nil {
		t.Error(err)
	}
	r = New([]byte(many + `"4321":1}`))
	if r.SkipUnique() == nil {
		t.Error("a member among 5000 that is there twice was accepted")
	}
}
