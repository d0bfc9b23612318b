package ui

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible replaces what cannot be seen, or turns the text around it, by its code
// point: controls, characters of bidirectional text, zero-width ones, spaces other
// than the usual one, bytes that are no UTF-8, and marks on top of maxMarks others,
// which would cover the lines around. Line breaks stay if lines is set.
func visible(s string, lines bool) string {
	if plain(s, lines) {
		return s
	}
	var b strings.Builder
	marks := 0
	for i, r := range s {
		marks = countMarks(marks, r)
		switch {
		case r == '\n' && lines:
			b.WriteByte('\n')
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, "⟨byte %02X⟩", s[i])
		case hidden(r) || marks > maxMarks:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// plain reports whether visible leaves s as it is.
func plain(s string, lines bool) bool {
	marks := 0
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		marks = countMarks(marks, r)
		return marks > maxMarks || hidden(r) && !(lines && r == '\n')
	})
}

// maxMarks is how many combining marks may stand on one letter. No script needs more.
const maxMarks = 3

// countMarks returns how many combining marks there are in a row with r as the last.
func countMarks(before int, r rune) int {
	if r >= 0x300 && unicode.In(r, unicode.Mn, unicode.Me) {
		return before + 1
	}
	return 0
}

// hidden reports whether a character cannot be told from nothing, from a space, or
// changes how others are shown.
func hidden(r rune) bool {
	switch {
	case r == ' ' || r > ' ' && r < 0x7f:
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zs, unicode.Zl, unicode.Zp,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point, unicode.Noncharacter_Code_Point):
		return true
	}
	return r == 0x2800 // the empty Braille pattern
}

// line returns a string of a stranger as one line of at most n characters.
func line(s string, n int) string { return cut(visible(cut(s, n), false), 8*n) }

// name returns a name that a stranger chose, as line does. One with spaces, or with what
// cannot be seen, could be read as words of the page: it stands in quotation marks.
func name(s string, n int) string {
	shown := line(s, n)
	if plain(s, false) && !strings.ContainsAny(s, " “”") {
		return shown
	}
	return "“" + strings.NewReplacer("“", "⟨U+201C⟩", "”", "⟨U+201D⟩").Replace(shown) + "”"
}

// cut shortens a string to about n characters, in whole ones, and says how long it
// was.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	count := 0
	for i := range s {
		if count == n {
			return s[:i] + "… (" + number(int64(len(s))) + " bytes)"
		}
		count++
	}
	return s
}

// spelled returns how a name is written in ASCII if it has letters of other scripts,
// which may look like Latin ones; else "".
func spelled(s string) string {
	for _, r := range s {
		if r >= 0x80 && !hidden(r) {
			return strings.Trim(strconv.QuoteToASCII(cut(s, 500)), `"`)
		}
	}
	return ""
}

// number writes an integer with commas between thousands.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// count writes a number of things: "1 entry", "1,000 entries".
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// webLink returns the URL if it may be made a link: https, a plain host name, and
// nothing in it that would look like something else; else "".
func webLink(s string) string {
	if len(s) > 1000 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>`{}|^'", r) }) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || !strings.HasPrefix(s, "https://") || u.User != nil || u.Opaque != "" || !plainHost(u.Hostname()) {
		return ""
	}
	return s
}

func plainHost(host string) bool {
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || strings.ContainsFunc(l, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		}) {
			return false
		}
	}
	return true
}

// quote writes a word for a POSIX shell, so that it is taken as it is. ok is false if
// it has characters that nobody should paste into a terminal, quoted or not: a
// terminal acts on some of them itself.
func quote(s string) (word string, ok bool) {
	if !plain(s, false) || len(s) > 4000 {
		return "", false
	}
	if s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("@%_+=:,./-", r)
	}) {
		return s, true
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", true
}

// argument is quote for a word that is an argument of its own: one that begins with a
// hyphen could be taken for an option, quoted or not.
func argument(s string) (word string, ok bool) {
	if strings.HasPrefix(s, "-") {
		return "", false
	}
	return quote(s)
}
