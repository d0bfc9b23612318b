package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxDepth is how deep a policy is nested at most. Six levels are in use.
const maxDepth = 16

// readYAML reads one document whose meaning is plain: without anchors, aliases, merge keys and tags of its
// own, and with no key twice in a mapping.
func readYAML(data []byte) (*yaml.Node, error) {
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
	case depth > maxDepth:
		return at(n, "nested deeper than %d", maxDepth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return at(n, "anchors and aliases are not read")
	case n.Style&yaml.TaggedStyle != 0:
		return at(n, "tags are not read")
	case n.Tag == "!!null":
		return at(n, "there is no value; leave the line out")
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag != "!!str" {
				return at(key, "the name is not plain text")
			}
			for j := 0; j < i; j += 2 {
				if n.Content[j].Value == key.Value {
					return at(key, "%q is on line %d already", clip(key.Value), n.Content[j].Line)
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

// at says where in the file something is wrong.
func at(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
}

// maxFields is how many fields a mapping has at most (extensions of an identity: verify.MaxExtensions).
const maxFields = 256

// fields calls read for each field of a mapping, which is not empty.
func fields(n *yaml.Node, what string, read func(name string, key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 || len(n.Content) > 2*maxFields {
		return at(n, "%s is not a mapping of 1 to %d fields", what, maxFields)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := read(n.Content[i].Value, n.Content[i], n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func unknownField(key *yaml.Node, what string) error {
	return at(key, "%s has no field %q", what, clip(key.Value))
}

// elements calls read for each element of a list, which has 1 to most of them.
func elements(n *yaml.Node, what string, most int, read func(*yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || len(n.Content) > most {
		return at(n, "%s is not a list of 1 to %d", what, most)
	}
	for _, e := range n.Content {
		if err := read(e); err != nil {
			return err
		}
	}
	return nil
}

// texts reads a list of strings, each there once.
func texts(n *yaml.Node, what string, most int) (all []string, err error) {
	err = elements(n, what, most, func(e *yaml.Node) error {
		text, err := readText(e, what)
		if err != nil {
			return err
		}
		if slices.Contains(all, text) {
			return at(e, "%s has %q twice", what, clip(text))
		}
		all = append(all, text)
		return nil
	})
	return all, err
}

// readText reads a string that is not empty.
func readText(n *yaml.Node, what string) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Value == "" {
		return "", at(n, "%s is not text", what)
	}
	return n.Value, nil
}

// readTrue reads the value of a field that is true or not there.
func readTrue(n *yaml.Node, what string) error {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" {
		return at(n, "%s is true, or left out", what)
	}
	return nil
}

// object is a JSON object in the making.
type object []member

type member struct {
	name  string
	value json.RawMessage
}

func (o object) bytes() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name) // of a string it has no errors
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// toJSON writes a plain node as JSON. Of scalars it knows text, times (which are text), numbers from 0 up
// in their usual form, true and false.
func toJSON(n *yaml.Node) (json.RawMessage, error) {
	switch n.Kind {
	case yaml.MappingNode:
		var o object
		for i := 0; i+1 < len(n.Content); i += 2 {
			value, err := toJSON(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			o = append(o, member{n.Content[i].Value, value})
		}
		return o.bytes(), nil
	case yaml.SequenceNode:
		var b bytes.Buffer
		b.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			value, err := toJSON(e)
			if err != nil {
				return nil, err
			}
			b.Write(value)
		}
		b.WriteByte(']')
		return b.Bytes(), nil
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!str", "!!timestamp":
			return json.Marshal(n.Value)
		case "!!bool":
			if n.Value == "true" || n.Value == "false" {
				return json.RawMessage(n.Value), nil
			}
		case "!!int":
			if i, err := strconv.ParseUint(n.Value, 10, 32); err == nil && strconv.FormatUint(i, 10) == n.Value {
				return json.RawMessage(n.Value), nil
			}
		}
	}
	return nil, at(n, "%q is neither text, nor a number from 0 up, nor true or false", clip(n.Value))
}
