package monitor

import (
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/internal/plaintext"
)

// clip returns text of strangers, not long, in one line, and without what a terminal would obey.
func clip(s string) string { return clipTo(s, 300) }

func clipTo(s string, most int) string { return plaintext.Clip(s, most) }

// short says of clean text that it is printable and not longer than most.
func short(s string, most int) bool { return s != "" && len(s) <= most && s == clipTo(s, most) }

// parseInt reads a whole number from 0 up, in its usual form.
func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a whole number from 0 up", clip(s))
	}
	return n, nil
}
