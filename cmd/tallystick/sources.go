package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// maxConfig is the most that is read of a configuration file, in bytes.
const maxConfig = 1 << 20

// keyPasswordVariable holds the password of the log's key file. There is no such
// flag: a command line is for every user of the machine to see.
const keyPasswordVariable = "TALLYSTICK_KEY_PASSWORD"

// sources are where settings come from that are not on the command line: the
// environment, then the file.
type sources struct {
	env  map[string]string
	file string // its path
	set  map[string]fileSetting
}

// fileSetting is one line of the file.
type fileSetting struct {
	value string
	line  int
}

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "TALLYSTICK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settable tells settings from the flags that ask for something once.
func settable(f *kong.Flag) bool { return f.Group != nil || f.Name == "config" }

// loadFile reads the file that --config or TALLYSTICK_CONFIG names, if one does.
// The file may set whatever any command can be told, so that one file serves all.
func (s *sources) loadFile(parser *kong.Kong, args []string) error {
	s.file = s.env[variable("config")]
	trace, err := kong.Trace(parser, args)
	if err != nil {
		return err
	}
	for _, step := range trace.Path {
		if step.Flag != nil && step.Flag.Name == "config" {
			s.file, _ = trace.FlagValue(step.Flag).(string)
		}
	}
	if s.file == "" {
		return nil
	}
	data, err := readLimited(s.file, maxConfig)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	s.set, err = parseConfig(data, settings(parser))
	if err != nil {
		return fmt.Errorf("configuration file %s: %w", s.file, err)
	}
	return nil
}

// settings returns the names of all settings of all commands.
func settings(parser *kong.Kong) map[string]bool {
	names := map[string]bool{}
	for _, cmd := range parser.Model.Children {
		for _, flag := range cmd.Flags {
			if flag.Group != nil {
				names[flag.Name] = true
			}
		}
	}
	return names
}

// parseConfig reads a YAML mapping of settings to values. A value is a scalar, or a
// list of scalars. A name that is not known, or stands twice, is an error with its
// line.
func parseConfig(data []byte, known map[string]bool) (map[string]fileSetting, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one YAML document")
	}
	return parseMapping(doc.Content[0], known)
}

func parseMapping(m *yaml.Node, known map[string]bool) (map[string]fileSetting, error) {
	if m.Kind == yaml.ScalarNode && m.Tag == "!!null" {
		return nil, nil // every line is a comment
	}
	if m.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: expected lines of the form %q", m.Line, "setting: value")
	}
	set := map[string]fileSetting{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		name, node := m.Content[i], m.Content[i+1]
		if !known[name.Value] {
			return nil, fmt.Errorf("line %d: there is no setting %q", name.Line, name.Value)
		}
		if earlier, ok := set[name.Value]; ok {
			return nil, fmt.Errorf("line %d: %q is set on line %d already", name.Line, name.Value, earlier.line)
		}
		value, err := parseValue(node)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", node.Line, name.Value, err)
		}
		set[name.Value] = fileSetting{value, name.Line}
	}
	return set, nil
}

func parseValue(node *yaml.Node) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return "", errors.New("has no value; leave the line out, or write \"\" for the default")
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind != yaml.SequenceNode:
		return "", errors.New("is neither a value nor a list")
	}
	var items []string
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode || strings.Contains(item.Value, ",") {
			return "", errors.New("a list holds plain values without commas")
		}
		items = append(items, item.Value)
	}
	return strings.Join(items, ","), nil
}

// Validate is part of kong.Resolver; all checks are made elsewhere.
func (s *sources) Validate(*kong.Application) error { return nil }

// Resolve returns the value of a flag that is not on the command line; nil leaves it
// at its default.
func (s *sources) Resolve(c *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !settable(flag) || alternativeGiven(c, flag.Name) {
		return nil, nil
	}
	value, origin := s.env[variable(flag.Name)], variable(flag.Name)
	if value == "" {
		setting, given := s.set[flag.Name]
		value, origin = setting.value, fmt.Sprintf("%s line %d", s.file, setting.line)
		if given && value == "" && flag.IsSlice() && flag.HasDefault {
			return nil, fmt.Errorf("%s: the list is empty; leave it out for the default", origin)
		}
	}
	if value == "" {
		return nil, nil
	}
	// Parsed here too, because only here it is known where the value comes from.
	scan := kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: value})
	if err := flag.Parse(scan, newTarget(flag)); err != nil {
		return nil, fmt.Errorf("%s: %s", origin, strings.TrimPrefix(err.Error(), flag.ShortSummary()+": "))
	}
	return value, nil
}

// alternativeGiven reports whether the command line has another flag that stands in for this
// one: what is exported for every day must not be in the way of what is said just now.
func alternativeGiven(c *kong.Context, flag string) bool {
	others := map[string][]string{"log-key": {"trusted-root", "from-server"}, "trusted-root": {"log-key"}}[flag]
	return slices.ContainsFunc(c.Path, func(p *kong.Path) bool {
		return p.Flag != nil && !p.Resolved && slices.Contains(others, p.Flag.Name) && c.FlagValue(p.Flag) != ""
	})
}

// strangers returns environment variables that look like settings and are none:
// misspelt, most likely. Those that Kubernetes makes for a service named
// tallystick are left out.
func (s *sources) strangers(parser *kong.Kong) []string {
	known := map[string]bool{keyPasswordVariable: true, variable("config"): true}
	for name := range settings(parser) {
		known[variable(name)] = true
	}
	var out []string
	for name := range s.env {
		kubernetes := strings.HasPrefix(name, "TALLYSTICK_PORT") || strings.HasPrefix(name, "TALLYSTICK_SERVICE_")
		if strings.HasPrefix(name, "TALLYSTICK_") && !known[name] && !kubernetes {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}

// readSecret reads a password from a file: its content without the line break at
// its end, if there is one.
func readSecret(path string) ([]byte, error) {
	data, err := readLimited(path, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("reading a password: %w", err)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r")), nil
}
