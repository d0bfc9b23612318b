// Package strictjson reads JSON (RFC 8259) that strangers wrote, member by
// member, without building a tree of it.
//
// It differs from encoding/json where that is generous and two readers could see
// two meanings in the same bytes: member names match exactly, an object that is
// read may not name a member twice, and text must be valid UTF-8 without lone
// surrogates. Work and memory are linear in the input, and nesting is bounded.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// MaxDepth is the deepest nesting of a skipped value (that of encoding/json).
	MaxDepth = 10000
	// MaxMembers is the largest number of members of an object that is read, unless
	// the Reader is Lenient: each name is compared with those before it.
	MaxMembers = 256
)

// Reader is a cursor over one JSON text. After an error its position is
// undefined. The zero value reads the empty text.
type Reader struct {
	data  []byte
	pos   int
	space []byte // see Space
	// Lenient accepts repeated members (each is handed out), any number of them,
	// and strings that are not valid Unicode, as encoding/json does: for payloads that
	// somebody else defined. Text may then return invalid UTF-8.
	Lenient bool
}

// New returns a Reader at the start of data, which it keeps and never changes.
func New(data []byte) Reader { return Reader{data: data} }

// spaceBlock is how much is allocated at once for small parts.
const spaceBlock = 8 << 10

// Space returns n bytes to decode a part of the text into, such as base64. Small parts of one text share
// allocations.
func (r *Reader) Space(n int) []byte {
	if n > len(r.space) {
		if n >= spaceBlock {
			return make([]byte, n)
		}
		r.space = make([]byte, max(n, min(len(r.data), spaceBlock)))
	}
	got := r.space[:n:n]
	r.space = r.space[n:]
	return got
}

// Peek returns the first byte of the next value ('{', '[', '"', 't', 'f', 'n', '-'
// or a digit, if the text is JSON), or 0 at the end.
func (r *Reader) Peek() byte {
	for ; r.pos < len(r.data); r.pos++ {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
		default:
			return r.data[r.pos]
		}
	}
	return 0
}

// Null reports whether the next value is null, and reads it if so.
func (r *Reader) Null() bool {
	return r.Peek() == 'n' && r.literal("null") == nil
}

// End returns an error unless nothing but white space is left.
func (r *Reader) End() error {
	if r.Peek() != 0 || r.pos < len(r.data) {
		return r.unexpected("the end")
	}
	return nil
}

// Object reads an object and calls member for each of its members. If member
// returns nil without having read the value, the value is skipped. The name is
// valid only during the call.
func (r *Reader) Object(member func(name []byte) error) error {
	if err := r.token('{'); err != nil {
		return err
	}
	if r.Peek() == '}' {
		r.pos++
		return nil
	}
	var few [16][]byte
	seen := few[:0]
	for {
		r.Peek()
		name, err := r.Text()
		if err != nil {
			return err
		}
		if !r.Lenient {
			if seen, err = addName(seen, name); err != nil {
				return err
			}
		}
		if err := r.token(':'); err != nil {
			return err
		}
		if err := r.element(func() error { return member(name) }); err != nil {
			return err
		}
		if done, err := r.more('}'); done || err != nil {
			return err
		}
	}
}

// Array reads an array and calls element before each of its values. If element
// returns nil without having read the value, the value is skipped.
func (r *Reader) Array(element func() error) error {
	if err := r.token('['); err != nil {
		return err
	}
	if r.Peek() == ']' {
		r.pos++
		return nil
	}
	for {
		if err := r.element(element); err != nil {
			return err
		}
		if done, err := r.more(']'); done || err != nil {
			return err
		}
	}
}

// Text reads a string and returns what it stands for. The slice is part of the
// input if the string had no escapes: it must not be changed.
func (r *Reader) Text() ([]byte, error) {
	if r.Peek() != '"' {
		return nil, r.unexpected("a string")
	}
	start := r.pos + 1
	escaped, err := r.skipString()
	if err != nil {
		return nil, err
	}
	raw := r.data[start : r.pos-1]
	if !escaped {
		return raw, nil
	}
	return unescape(r.Space(len(raw))[:0], raw), nil
}

// Raw reads any value and returns its bytes, which are part of the input.
func (r *Reader) Raw() ([]byte, error) {
	r.Peek()
	start := r.pos
	if err := r.Skip(); err != nil {
		return nil, err
	}
	return r.data[start:r.pos], nil
}

// Skip reads any value. It checks the syntax, not repeated members.
func (r *Reader) Skip() error {
	var nest []byte // the closing bytes that are waited for
	for {
		c := r.Peek()
		if c == '{' || c == '[' {
			r.pos++
			opened := c + 2 // '{' and '}', '[' and ']' are two apart in ASCII
			if len(nest) == MaxDepth {
				return fmt.Errorf("JSON is nested deeper than %d", MaxDepth)
			}
			if r.Peek() != opened {
				nest = append(nest, opened)
				if err := r.skipName(opened); err != nil {
					return err
				}
				continue
			}
			r.pos++
		} else if err := r.skipScalar(c); err != nil {
			return err
		}
		for {
			if len(nest) == 0 {
				return nil
			}
			closing := nest[len(nest)-1]
			done, err := r.more(closing)
			if err != nil {
				return err
			}
			if !done {
				if err := r.skipName(closing); err != nil {
					return err
				}
				break
			}
			nest = nest[:len(nest)-1]
		}
	}
}

// SkipUnique reads any value, and refuses it if an object in it, at any depth, names a member twice. Unlike
// Object it takes any number of members; its work is linear.
func (r *Reader) SkipUnique() error { return r.skipUnique(0) }

func (r *Reader) skipUnique(depth int) error {
	c := r.Peek()
	if c != '{' && c != '[' {
		return r.skipScalar(c)
	}
	if depth == MaxDepth {
		return fmt.Errorf("JSON is nested deeper than %d", MaxDepth)
	}
	r.pos++
	closing := c + 2
	if r.Peek() == closing {
		r.pos++
		return nil
	}
	var seen map[string]bool
	if c == '{' {
		seen = make(map[string]bool)
	}
	for {
		if c == '{' {
			r.Peek()
			name, err := r.Text()
			if err != nil {
				return err
			}
			if seen[string(name)] {
				return fmt.Errorf("member %.80q is given twice", name)
			}
			seen[string(name)] = true
			if err := r.token(':'); err != nil {
				return err
			}
		}
		if err := r.skipUnique(depth + 1); err != nil {
			return err
		}
		if done, err := r.more(closing); done || err != nil {
			return err
		}
	}
}

// element calls f and, if f read nothing, skips the value.
func (r *Reader) element(f func() error) error {
	r.Peek()
	before := r.pos
	if err := f(); err != nil {
		return err
	}
	if r.pos == before {
		return r.Skip()
	}
	return nil
}

// skipName reads a member's name and colon, if we are in an object.
func (r *Reader) skipName(closing byte) error {
	if closing != '}' {
		return nil
	}
	if r.Peek() != '"' {
		return r.unexpected("a member name")
	}
	if _, err := r.skipString(); err != nil {
		return err
	}
	return r.token(':')
}

func (r *Reader) skipScalar(c byte) error {
	switch {
	case c == '"':
		_, err := r.skipString()
		return err
	case c == 't':
		return r.literal("true")
	case c == 'f':
		return r.literal("false")
	case c == 'n':
		return r.literal("null")
	case c == '-' || isDigit(c):
		return r.skipNumber()
	}
	return r.unexpected("a value")
}

func (r *Reader) token(c byte) error {
	if r.Peek() != c {
		return r.unexpected(fmt.Sprintf("%q", c))
	}
	r.pos++
	return nil
}

// more reads a comma (false) or the closing byte (true).
func (r *Reader) more(closing byte) (done bool, err error) {
	switch r.Peek() {
	case ',':
		r.pos++
		return false, nil
	case closing:
		r.pos++
		return true, nil
	}
	return false, r.unexpected(fmt.Sprintf("',' or %q", closing))
}

func (r *Reader) literal(s string) error {
	if !bytes.HasPrefix(r.data[r.pos:], []byte(s)) {
		return r.unexpected(s)
	}
	r.pos += len(s)
	return nil
}

// skipNumber reads a number (RFC 8259, section 6).
func (r *Reader) skipNumber() error {
	if r.at() == '-' {
		r.pos++
	}
	if r.at() == '0' {
		r.pos++
	} else if r.digits() == 0 {
		return r.unexpected("a digit")
	}
	if r.at() == '.' {
		r.pos++
		if r.digits() == 0 {
			return r.unexpected("a digit")
		}
	}
	if c := r.at(); c == 'e' || c == 'E' {
		r.pos++
		if c := r.at(); c == '+' || c == '-' {
			r.pos++
		}
		if r.digits() == 0 {
			return r.unexpected("a digit")
		}
	}
	return nil
}

func (r *Reader) at() byte {
	if r.pos < len(r.data) {
		return r.data[r.pos]
	}
	return 0
}

func (r *Reader) digits() int {
	start := r.pos
	for isDigit(r.at()) {
		r.pos++
	}
	return r.pos - start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// skipString reads a string, from its opening quote, and reports whether it has
// escapes.
func (r *Reader) skipString() (escaped bool, err error) {
	start := r.pos
	high := byte(0)
	for i := start + 1; i < len(r.data); i++ {
		switch c := r.data[i]; {
		case c == '"':
			r.pos = i + 1
			if high >= utf8.RuneSelf && !r.Lenient && !utf8.Valid(r.data[start:i]) {
				return false, fmt.Errorf("string at byte %d is not valid UTF-8", start)
			}
			return escaped, nil
		case c == '\\':
			escaped = true
			n, err := r.escape(r.data[i:])
			if err != nil {
				return false, fmt.Errorf("%w at byte %d", err, i)
			}
			i += n - 1
		case c < 0x20:
			return false, fmt.Errorf("control character in string at byte %d", i)
		default:
			high |= c
		}
	}
	return false, errors.New("unexpected end of JSON input")
}

var errEscape = errors.New("invalid escape in string")

// escape checks the escape sequence at the start of b and returns its length; a
// surrogate pair counts as one.
func (r *Reader) escape(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, errEscape
	}
	if b[1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), b[1]) < 0 {
			return 0, errEscape
		}
		return 2, nil
	}
	c, ok := codeUnit(b)
	switch {
	case !ok:
		return 0, errEscape
	case !utf16.IsSurrogate(c) || r.Lenient:
		return 6, nil
	}
	low, ok := codeUnit(b[6:])
	if !ok || utf16.DecodeRune(c, low) == utf8.RuneError {
		return 0, errors.New("lone surrogate in string")
	}
	return 12, nil
}

// codeUnit reads \uXXXX at the start of b.
func codeUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var v rune
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			v = v<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// unescape appends what the inside of a string, checked by skipString, stands for: never more than it takes.
func unescape(out, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			c, _ := codeUnit(raw[i-1:])
			i += 4
			if utf16.IsSurrogate(c) {
				low, _ := codeUnit(raw[i+1:])
				if c = utf16.DecodeRune(c, low); c != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, c)
		default:
			out = append(out, raw[i])
		}
	}
	return out
}

func addName(seen [][]byte, name []byte) ([][]byte, error) {
	for _, s := range seen {
		if bytes.Equal(s, name) {
			return nil, fmt.Errorf("member %.80q is given twice", name)
		}
	}
	if len(seen) == MaxMembers {
		return nil, fmt.Errorf("object has more than %d members", MaxMembers)
	}
	return append(seen, name), nil
}

func (r *Reader) unexpected(wanted string) error {
	if r.pos >= len(r.data) {
		return errors.New("unexpected end of JSON input")
	}
	return fmt.Errorf("byte %d is %q, where %s is wanted", r.pos, r.data[r.pos], wanted)
}
