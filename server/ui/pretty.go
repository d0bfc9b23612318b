package ui

import (
	"encoding/json"
	"strings"
)

// maxIndent is how deep lines are indented: more would make small texts large.
const maxIndent = 24

// pretty lays JSON out in lines. Its text stays as it is, byte for byte, repeated
// members and all. Of what is no JSON, or too deep, it returns the text itself. At
// most about most bytes are returned; whole says that this is all.
func pretty(raw []byte, most int) (text string, whole bool) {
	if !json.Valid(raw) {
		return clip(string(raw), most)
	}
	var b strings.Builder
	depth := 0
	feed := func() {
		b.WriteByte('\n')
		for range min(depth, maxIndent) {
			b.WriteString("  ")
		}
	}
	for i := 0; i < len(raw); i++ {
		if b.Len() >= most {
			text, _ := clip(b.String(), most)
			return text, false
		}
		switch c := raw[i]; c {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := stringEnd(raw, i)
			b.Write(raw[i:end])
			i = end - 1
		case '{', '[':
			b.WriteByte(c)
			if next := nextByte(raw, i+1); next == '}' || next == ']' {
				continue
			}
			depth++
			feed()
		case '}', ']':
			if last := b.String()[b.Len()-1]; last != '{' && last != '[' {
				depth--
				feed()
			}
			b.WriteByte(c)
		case ',':
			b.WriteByte(c)
			feed()
		case ':':
			b.WriteString(": ")
		default:
			b.WriteByte(c)
		}
	}
	return clip(b.String(), most)
}

// clip returns at most most bytes of a text, without a part of a character at its end.
func clip(s string, most int) (string, bool) {
	if len(s) <= most {
		return s, true
	}
	return strings.ToValidUTF8(s[:most], ""), false
}

// stringEnd returns where the JSON string that begins at i ends.
func stringEnd(raw []byte, i int) int {
	for i++; raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// nextByte returns the next byte that is no white space.
func nextByte(raw []byte, i int) byte {
	for ; i < len(raw); i++ {
		if c := raw[i]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}
