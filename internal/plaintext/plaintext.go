// Package plaintext makes text of strangers fit to be shown.
package plaintext

import (
	"strings"
	"unicode"
)

// Clip returns text of strangers in one line, of not much more than most bytes, and without what a terminal would
// obey. What cannot be printed becomes a question mark; what was cut off, an ellipsis.
func Clip(s string, most int) string {
	long := len(s) > most
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s[:min(len(s), most)])
	if long {
		s = strings.TrimRight(s, "?") + "…"
	}
	return s
}
