package plaintext

import "testing"

func TestClip(t *testing.T) {
	for _, c := range []struct {
		s    string
		most int
		want string
	}{
		{"", 5, ""}, {"short", 5, "short"}, {"longer", 5, "longe…"},
		{"a\x1b[2Jb\nc", 20, "a?[2Jb?c"}, {"\u202eevil\u200b", 20, "?evil?"}, {"\xff\xfe", 5, "??"},
		{"aéé", 4, "aé…"}, // a character is not cut in two
	} {
		if got := Clip(c.s, c.most); got != c.want {
			t.Errorf("Clip(%q, %d) is %q, want %q", c.s, c.most, got, c.want)
		}
	}
}
