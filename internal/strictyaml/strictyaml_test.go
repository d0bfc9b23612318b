package strictyaml

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What two readers could understand in two ways is refused, with the line.
func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "empty",
		"a: 1\n---\nb: 2":        "more than one",
		"a: &x 1":                "line 1: anchors",
		"a: &x 1\nb: *x":         "anchors",
		"a: !!str 1":             "tags",
		"a:":                     "no value",
		"a: null":                "no value",
		"\na: 1\nb: 2\na: 3":     `line 4: "a" is on line 2 already`,
		"1: a":                   "not plain text",
		"? [a]\n: b":             "not plain text",
		"<<: {a: 1}":             "not plain text",
		strings.Repeat("[", 20):  "",
		strings.Repeat("- ", 20): "",
		"a: [":                   "",
		strings.Repeat("{a: ", 18) + "1" + strings.Repeat("}", 18): "nested deeper",
	} {
		if n, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	}
}

func TestValues(t *testing.T) {
	if _, err := Read([]byte("true: a")); err == nil {
		t.Error("true is a name")
	}
	n, err := Read([]byte("text: a\nempty: ''\nnumber: 1\nyes: true\nno: false\nspan: 90m\nnever: 0s\nlist: [a, b]\ntwice: [a, a]\nnone: []\nmap: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	err = Fields(n, "the file", func(name string, key, value *yaml.Node) error {
		for what, err := range map[string]error{
			"text": second(Text(value, name)), "true": True(value, name), "span": second(Duration(value, name)), "list": second(Texts(value, name, 2)), "short": second(Texts(value, name, 1)),
			"fields": Fields(value, name, func(string, *yaml.Node, *yaml.Node) error { return nil }),
		} {
			if err == nil {
				got[what] = append(got[what], name)
			} else if !strings.HasPrefix(err.Error(), "line ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{"text": "text span never", "true": "yes", "span": "span", "list": "list", "short": "", "fields": ""} {
		if strings.Join(got[what], " ") != want {
			t.Errorf("%s: %q", what, got[what])
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzRead(f *testing.F) {
	f.Add([]byte("a: [1, {b: c}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Read(data)
		if err == nil {
			_ = Fields(n, "it", func(name string, _, value *yaml.Node) error { return second(Texts(value, name, 3)) })
		}
	})
}
