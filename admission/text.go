package admission

import (
	"strings"
	"unicode"
)

// clip returns text of strangers, not long, in one line, and without what a terminal would obey.
func clip(s string) string { return clipTo(s, 120) }

func clipTo(s string, most int) string {
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
