package search

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/tallystick/tallystick/storage"
)

// cursor says where a walk through the pages of a query is: at the entry that was
// considered last. Entries that are added come before it, so it means the same for
// ever. It also says what the first page knew of the log: all pages are about that.
//
// It is written as a byte for its form, tree ID, index, and sizes, each as a varint of
// encoding/binary, in base64 that can stand in a URL.
type cursor struct {
	tree, index int64
	// sizes are the sizes up to which the first page was complete, of the trees that were
	// asked about, newest first. A tree that came to the log since comes before them.
	sizes []int64
}

const (
	cursorForm = 1
	// maxCursor is the longest cursor, in bytes of its text: that of a log of some
	// hundred trees.
	maxCursor = 4096
)

func errCursor() error { return bad("cursor", "it is not one that was given out here") }

// next returns the cursor after an entry.
func (s *search) next(p Place) string {
	c := cursor{tree: p.Tree, index: p.Index}
	for _, t := range s.sizes {
		c.sizes = append(c.sizes, t.Size)
	}
	return c.String()
}

func (c *cursor) String() string {
	b := binary.AppendUvarint([]byte{cursorForm}, uint64(c.tree))
	b = binary.AppendUvarint(b, uint64(c.index))
	for _, n := range c.sizes {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// size returns the size of a tree, which is the n-th from the end of those asked about;
// 0 if there was no such tree.
func (c *cursor) size(n int) int64 {
	if n > len(c.sizes) {
		return 0
	}
	return c.sizes[len(c.sizes)-n]
}

// parseCursor is the inverse of cursor.String. It takes nothing else: each cursor has
// one text.
func parseCursor(text string) (*cursor, error) {
	if len(text) > maxCursor {
		return nil, errCursor()
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != cursorForm {
		return nil, errCursor()
	}
	var numbers []int64
	for b = b[1:]; len(b) > 0; {
		n, length := binary.Uvarint(b)
		if length <= 0 || n > math.MaxInt64 {
			return nil, errCursor()
		}
		numbers, b = append(numbers, int64(n)), b[length:]
	}
	if len(numbers) < 3 || numbers[0] == 0 {
		return nil, errCursor()
	}
	c := &cursor{numbers[0], numbers[1], numbers[2:]}
	if c.String() != text { // line breaks, which the decoder passes over, and long varints
		return nil, errCursor()
	}
	return c, nil
}

// below returns the parts of the ranges, newest first, that come after a place in the
// order of answers: what is older in its tree, and the trees after it.
func below(ranges []storage.Range, tree, index int64, order func(tree int64) int) []storage.Range {
	var rest []storage.Range
	for _, r := range ranges {
		switch {
		case order(r.Tree) < order(tree):
			r.To = r.From
		case r.Tree == tree:
			r.To = min(r.To, index)
		}
		rest = append(rest, r)
	}
	return rest
}
