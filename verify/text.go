package verify

import (
	"strings"
	"unicode"
)

// clip returns text of strangers, short and without control characters or such as change the direction of writing.
func clip(s string) string { return clean(s, 120) }

// clean returns text without such characters, cut to a number of bytes.
func clean(s string, most int) string {
	cut := len(s) > most
	if cut {
		s = strings.ToValidUTF8(s[:most], "")
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}
