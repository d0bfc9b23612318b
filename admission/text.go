package admission

import "github.com/tallystick/tallystick/internal/plaintext"

// clip returns text of strangers, not long, in one line, and without what a terminal would obey.
func clip(s string) string { return clipTo(s, 120) }

func clipTo(s string, most int) string { return plaintext.Clip(s, most) }
