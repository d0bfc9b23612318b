package admission

import (
	"bytes"
	"encoding/json"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/internal/strictyaml"
)

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
	return nil, strictyaml.At(n, "%q is neither text, nor a number from 0 up, nor true or false", clip(n.Value))
}
