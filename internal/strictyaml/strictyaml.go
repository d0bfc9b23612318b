// Package strictyaml reads YAML files that people write for the program, strictly: one
// document, without anchors, aliases, merge keys and tags, with no key twice and no value left out. Errors name
// the line.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/internal/plaintext"
)

const (
	// MaxDepth is how deep a document is nested at most.
	MaxDepth = 16
	// MaxFields is how many fields a mapping has at most.
	MaxFields = 256
)

// Read reads one document whose meaning is plain.
func Read(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one YAML document")
	}
	root := doc.Content[0]
	return root, plain(root, 0)
}

func plain(n *yaml.Node, depth int) error {
	switch {
	case depth > MaxDepth:
		return At(n, "nested deeper than %d", MaxDepth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return At(n, "anchors and aliases are not read")
	case n.Style&yaml.TaggedStyle != 0:
		return At(n, "tags are not read")
	case n.Tag == "!!null":
		return At(n, "there is no value; leave the line out")
	}
	if n.Kind == yaml.MappingNode {
		if len(n.Content) > 2*MaxFields {
			return At(n, "more than %d fields", MaxFields)
		}
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
				return At(key, "the name is not plain text")
			}
			for j := 0; j < i; j += 2 {
				if n.Content[j].Value == key.Value {
					return At(key, "%q is on line %d already", short(key.Value), n.Content[j].Line)
				}
			}
		}
	}
	for _, c := range n.Content {
		if err := plain(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// At says where in the file something is wrong.
func At(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
}

// Unknown is the error of a field that is not known.
func Unknown(key *yaml.Node, what string) error {
	return At(key, "%s has no field %q", what, short(key.Value))
}

// Fields calls read for each field of a mapping, which is not empty.
func Fields(n *yaml.Node, what string, read func(name string, key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return At(n, "%s is not a mapping of 1 to %d fields", what, MaxFields)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := read(n.Content[i].Value, n.Content[i], n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// Elements calls read for each element of a list, which has 1 to most of them.
func Elements(n *yaml.Node, what string, most int, read func(*yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || len(n.Content) > most {
		return At(n, "%s is not a list of 1 to %d", what, most)
	}
	for _, e := range n.Content {
		if err := read(e); err != nil {
			return err
		}
	}
	return nil
}

// Texts reads a list of strings, each there once.
func Texts(n *yaml.Node, what string, most int) (all []string, err error) {
	err = Elements(n, what, most, func(e *yaml.Node) error {
		text, err := Text(e, what)
		if err != nil {
			return err
		}
		if slices.Contains(all, text) {
			return At(e, "%s has %q twice", what, short(text))
		}
		all = append(all, text)
		return nil
	})
	return all, err
}

// Text reads a string that is not empty.
func Text(n *yaml.Node, what string) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" {
		return "", At(n, "%s is not text", what)
	}
	return n.Value, nil
}

// True reads the value of a field that is true or not there.
func True(n *yaml.Node, what string) error {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" {
		return At(n, "%s is true, or left out", what)
	}
	return nil
}

// Duration reads a positive duration such as 90s or 24h.
func Duration(n *yaml.Node, what string) (time.Duration, error) {
	text, err := Text(n, what)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, At(n, "%s %q is not a duration such as 24h", what, short(text))
	}
	return d, nil
}

// short is text of the file in a message.
func short(s string) string { return plaintext.Clip(s, 120) }
