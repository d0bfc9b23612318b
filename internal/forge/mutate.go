package forge

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Mutate returns n with something changed, somewhere: a part left out, repeated,
// replaced, renamed, moved, or swapped with the same part of a donor.
func Mutate(r *rand.Rand, n Node, donors ...Node) Node {
	paths := Paths(n)
	if len(paths) == 0 {
		return odd(r)
	}
	path := paths[r.IntN(len(paths))]
	old := Get(n, path...)
	up, last := path[:len(path)-1], path[len(path)-1]
	switch op := r.IntN(12); op {
	case 0:
		return Without(n, path...)
	case 1:
		return With(n, odd(r), path...)
	case 2: // what stands elsewhere
		return With(n, Get(n, paths[r.IntN(len(paths))]...), path...)
	case 3: // what a donor has there
		if len(donors) > 0 {
			if v, ok := LookUp(donors[r.IntN(len(donors))], path...); ok {
				return With(n, v, path...)
			}
		}
		return With(n, nil, path...)
	case 4: // repeated
		if i, ok := last.(int); ok {
			return With(n, slices.Insert(slices.Clone(Get(n, up...).(Array)), i, old), up...)
		}
		second := old
		if r.IntN(2) == 0 {
			second = value(r, old)
		}
		return With(n, Verbatim(fmt.Sprintf("%s,%s:%s", Encode(old), Encode(last.(string)), Encode(second))), path...)
	case 5: // renamed, or with a double by another name
		name, ok := last.(string)
		if !ok {
			return Without(n, path...)
		}
		other := []string{strings.ToUpper(name), strings.ToLower(name), name + " ", name + "\x00", snakeCase(name), "@type"}[r.IntN(6)]
		if r.IntN(2) == 0 {
			n = Without(n, path...)
		}
		return With(n, old, append(slices.Clone(up), other)...)
	case 6: // with a stranger
		switch v := old.(type) {
		case Object:
			return With(n, odd(r), append(slices.Clone(path), []string{"zzz", "", "id", "hint"}[r.IntN(4)])...)
		case Array:
			return With(n, append(slices.Clone(v), odd(r)), path...)
		}
	case 7: // spelt otherwise
		text := string(Encode(old))
		return With(n, Verbatim([]string{" " + text + " ", text + "\n", "\u00a0" + text, escaped(text), text + "/**/"}[r.IntN(5)]), path...)
	case 8: // in another order
		if a, ok := old.(Array); ok && len(a) > 1 {
			a = slices.Clone(a)
			slices.Reverse(a)
			return With(n, a, path...)
		}
	}
	return With(n, value(r, old), path...)
}

func snakeCase(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// escaped writes the first character of a JSON text's string as an escape.
func escaped(text string) string {
	if len(text) > 2 && text[0] == '"' && text[1] != '\\' && text[1] < 0x80 {
		return fmt.Sprintf(`"\u%04x%s`, text[1], text[2:])
	}
	return text
}

// odd returns a value that is rarely right.
func odd(r *rand.Rand) Node {
	return []Node{nil, true, "", "x", "AA==", Number("0"), Number("1"), Number("-1"), Number("1e3"), Number("9223372036854775807"),
		Number("18446744073709551616"), Array{}, Object{}, Array{nil}, Array{Object{}}, Object{"": nil}, Verbatim(""), Verbatim("{"), Verbatim("NaN")}[r.IntN(19)]
}

// value returns something like old, but different, or spelt differently.
func value(r *rand.Rand, old Node) Node {
	switch v := old.(type) {
	case Number:
		n, _ := strconv.ParseInt(string(v), 10, 64)
		return []Node{Int(n + 1), Int(n - 1), Int(-n), Number(v + ".0"), Number(v + "e0"), string(v)}[r.IntN(6)]
	case string:
		return text(r, v)
	case Array:
		if len(v) > 0 {
			return []Node{v[:len(v)-1], v[1:], v[0]}[r.IntN(3)]
		}
	case Object:
		return Array{v}
	}
	return odd(r)
}

func text(r *rand.Rand, s string) Node {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return []Node{strconv.FormatInt(n+1, 10), strconv.FormatInt(n-1, 10), Int(n), "0" + s, "+" + s, s + ".0", s + "e0", " " + s, "0"}[r.IntN(9)]
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) < 3 {
		return string(MutateBytes(r, []byte(s)))
	}
	switch r.IntN(6) {
	case 0:
		return base64.URLEncoding.EncodeToString(raw)
	case 1:
		return strings.TrimRight(s, "=")
	case 2:
		return s[:len(s)/2] + []string{"\n", "\r\n", " ", "=", "\x00"}[r.IntN(5)] + s[len(s)/2:]
	case 3:
		return string(MutateBytes(r, []byte(s)))
	}
	return Base64(MutateBytes(r, raw))
}

// MutateBytes returns b with a few bytes changed, left out, repeated or added.
func MutateBytes(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(2) {
		if len(b) == 0 {
			return []byte{byte(r.Uint32())}
		}
		i := r.IntN(len(b))
		j := min(len(b), i+1+r.IntN(8))
		switch r.IntN(7) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b = slices.Delete(b, i, j)
		case 2:
			b = slices.Insert(b, i, slices.Clone(b[i:j])...)
		case 3:
			b = slices.Insert(b, i, []byte{'"', ',', ':', '{', '}', '[', ']', ' ', '\n', 0, 'e', '-', '0', 0xff, '\\', '='}[r.IntN(16)])
		case 4:
			b = b[:i]
		case 5: // the case of a letter
			b[i] ^= 0x20
		case 6: // a piece of it elsewhere
			k := r.IntN(len(b))
			b = slices.Insert(b, k, bytes.Clone(b[i:j])...)
		}
	}
	return b
}
