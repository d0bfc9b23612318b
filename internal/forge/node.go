package forge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Node is a JSON value: Object, Array, string, Number, bool, nil or Verbatim.
type Node any

// Object is a JSON object. It is written with its members in order of their names.
type Object map[string]Node

// Array is a JSON array.
type Array []Node

// Number is a JSON number as it is written.
type Number string

// Verbatim is text that is written as it is, be it JSON or not.
type Verbatim string

// Path leads to a part of a Node: names of members (string) and indexes (int).
type Path []any

// String returns the path in the form a.b[0].c.
func (p Path) String() string {
	var b bytes.Buffer
	for _, step := range p {
		switch s := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", s)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s)
		}
	}
	return b.String()
}

// Int returns the number n.
func Int(n int64) Number { return Number(strconv.FormatInt(n, 10)) }

// Base64 returns b as text, as JSON has bytes.
func Base64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// Encode writes n as JSON without white space. Strings are written without needless
// escapes, so that an ASCII Node without floating-point numbers is in the form of RFC 8785.
func Encode(n Node) []byte { return appendNode(nil, n) }

func appendNode(b []byte, n Node) []byte {
	switch n := n.(type) {
	case Object:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(n)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendNode(b, name), ':')
			b = appendNode(b, n[name])
		}
		return append(b, '}')
	case Array:
		b = append(b, '[')
		for i, v := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendNode(b, v)
		}
		return append(b, ']')
	case string:
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		must(0, e.Encode(n))
		return append(b, bytes.TrimSuffix(text.Bytes(), []byte("\n"))...)
	case Number:
		return append(b, n...)
	case Verbatim:
		return append(b, n...)
	case bool:
		return strconv.AppendBool(b, n)
	case nil:
		return append(b, "null"...)
	}
	panic(fmt.Sprintf("forge: %T is no Node", n))
}

// Decode reads JSON that Encode could have written, or anything else that encoding/json
// reads.
func Decode(data []byte) (Node, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return fromJSON(v), nil
}

func fromJSON(v any) Node {
	switch v := v.(type) {
	case map[string]any:
		o := Object{}
		for name, member := range v {
			o[name] = fromJSON(member)
		}
		return o
	case []any:
		a := make(Array, len(v))
		for i := range v {
			a[i] = fromJSON(v[i])
		}
		return a
	case json.Number:
		return Number(v)
	}
	return v
}

// Get returns the part at path; it has to be there.
func Get(n Node, path ...any) Node {
	for _, step := range path {
		switch s := step.(type) {
		case int:
			n = n.(Array)[s]
		case string:
			member, ok := n.(Object)[s]
			if !ok {
				panic(fmt.Sprintf("forge: there is no %s", Path(path)))
			}
			n = member
		}
	}
	return n
}

// LookUp returns the part at path, if it is there.
func LookUp(n Node, path ...any) (v Node, ok bool) {
	defer func() {
		if recover() != nil {
			v, ok = nil, false
		}
	}()
	return Get(n, path...), true
}

// Bytes returns what the base64 text at path stands for.
func Bytes(n Node, path ...any) []byte {
	return must(base64.StdEncoding.DecodeString(Get(n, path...).(string)))
}

// With returns n with v in the place of what is at path. n stays as it is.
func With(n Node, v Node, path ...any) Node {
	return edit(n, path, func(parent Node, last any) Node {
		switch p := parent.(type) {
		case Object:
			p[last.(string)] = v
		case Array:
			p[last.(int)] = v
		}
		return parent
	}, v)
}

// Without returns n without what is at path. n stays as it is.
func Without(n Node, path ...any) Node {
	return edit(n, path, func(parent Node, last any) Node {
		switch p := parent.(type) {
		case Object:
			delete(p, last.(string))
			return p
		case Array:
			return slices.Delete(p, last.(int), last.(int)+1)
		}
		return parent
	}, nil)
}

// edit copies the containers on the way to path and lets change work on the last one.
func edit(n Node, path Path, change func(parent Node, last any) Node, whole Node) Node {
	if len(path) == 0 {
		return whole
	}
	switch p := n.(type) {
	case Object:
		p = maps.Clone(p)
		n = p
		if len(path) > 1 {
			name := path[0].(string)
			p[name] = edit(p[name], path[1:], change, whole)
		}
	case Array:
		p = slices.Clone(p)
		n = p
		if len(path) > 1 {
			p[path[0].(int)] = edit(p[path[0].(int)], path[1:], change, whole)
		}
	default:
		panic(fmt.Sprintf("forge: %s leads into %T", path, n))
	}
	if len(path) == 1 {
		return change(n, path[0])
	}
	return n
}

// Paths returns the ways to all parts of n but n itself, outermost first, in order.
func Paths(n Node) []Path {
	var all []Path
	var walk func(n Node, at Path)
	walk = func(n Node, at Path) {
		if len(at) > 0 {
			all = append(all, slices.Clone(at))
		}
		switch n := n.(type) {
		case Object:
			for _, name := range slices.Sorted(maps.Keys(n)) {
				walk(n[name], append(at, name))
			}
		case Array:
			for i := range n {
				walk(n[i], append(at, i))
			}
		}
	}
	walk(n, nil)
	return all
}
