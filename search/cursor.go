package search

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/tallystick/tallystick/storage"
)

// A cursor is the place of the last entry that was considered: a byte for its form,
// then tree ID and index, eight bytes each, big endian, in base64 that can stand in a
// URL. Entries that are added come before it, so it means the same for ever.
const (
	cursorForm = 1
	cursorSize = 1 + 8 + 8
)

func (p Place) cursor() string {
	b := make([]byte, 1, cursorSize)
	b[0] = cursorForm
	b = binary.BigEndian.AppendUint64(b, uint64(p.Tree))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Index))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor is the inverse of Place.cursor, without the log index. It takes nothing
// else: each place has one cursor.
func parseCursor(text string) (Place, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text[:min(len(text), 64)])
	if err != nil || len(text) > 64 || len(b) != cursorSize || b[0] != cursorForm {
		return Place{}, bad("cursor", "it is not one that was given out here")
	}
	tree, index := binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	if tree == 0 || tree > math.MaxInt64 || index > math.MaxInt64 {
		return Place{}, bad("cursor", "it is not one that was given out here")
	}
	p := Place{Tree: int64(tree), Index: int64(index)}
	if p.cursor() != text { // line breaks, which the decoder passes over
		return Place{}, bad("cursor", "it is not one that was given out here")
	}
	return p, nil
}

// below returns the parts of the ranges, newest first, that come after a place in the
// order of answers: what is older in its tree, and the trees after it.
func below(ranges []storage.Range, p Place, order func(tree int64) int) []storage.Range {
	var rest []storage.Range
	for _, r := range ranges {
		switch {
		case order(r.Tree) < order(p.Tree):
			r.To = r.From
		case r.Tree == p.Tree:
			r.To = min(r.To, p.Index)
		}
		rest = append(rest, r)
	}
	return rest
}
