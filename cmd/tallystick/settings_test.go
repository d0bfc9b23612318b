package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/entry"
)

// run runs the program and returns what it printed.
func run(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{Env: env, Stdout: &out, Stderr: &errs}
	code = p.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

// effective returns the settings of serve that are in force.
func effective(t *testing.T, env map[string]string, args ...string) map[string]string {
	t.Helper()
	code, out, errs := run(t, env, append([]string{"serve", "--print-config"}, args...)...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var set map[string]string
	if err := yaml.Unmarshal([]byte(out), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	file := write(t, "listen: file:1\nmax-body: 1KiB\nlog-level: debug\n")
	env := map[string]string{"TALLYSTICK_LISTEN": "env:1", "TALLYSTICK_MAX_BODY": "2KiB", "TALLYSTICK_CONFIG": file, "TALLYSTICK_LOG_LEVEL": ""}
	got := effective(t, env, "--listen", "flag:1")
	for name, want := range map[string]string{"listen": "flag:1", "max-body": "2KiB", "log-level": "debug", "log-format": "text"} {
		if got[name] != want {
			t.Errorf("%s is %q, not %q", name, got[name], want)
		}
	}
	other := write(t, "log-level: error\n")
	if got := effective(t, env, "--config", other)["log-level"]; got != "error" {
		t.Errorf("--config does not come before TALLYSTICK_CONFIG: log-level is %q", got)
	}
}

func TestListsInFile(t *testing.T) {
	for _, text := range []string{"allow-kinds: [dsse, intoto]", "allow-kinds: dsse,intoto", "allow-kinds:\n  - dsse\n  - intoto"} {
		if got := effective(t, nil, "--config", write(t, text))["allow-kinds"]; got != "dsse,intoto" {
			t.Errorf("%q gives %q", text, got)
		}
	}
}

func TestFileRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"listen: a:1\nlisten-adress: x\n": `line 2: there is no setting "listen-adress"`,
		"listen: a:1\n\nlisten: b:1\n":    `line 3: "listen" is set on line 1 already`,
		"listen: {a: b}":                  `line 1: listen: is neither a value nor a list`,
		"allow-kinds: [[a]]":              `line 1: allow-kinds: a list holds plain values`,
		"listen:\n":                       `line 1: listen: has no value`,
		"- listen":                        `line 1: expected lines of the form "setting: value"`,
		"---\na: b\n---\n":                `more than one YAML document`,
		"\nmax-body: much":                `line 2: "much" is not a size`,
		"idle-timeout: 3":                 `line 1: `,
		"config: x":                       `there is no setting "config"`,
		"print-config: true":              `there is no setting "print-config"`,
		"log-format: xml":                 `--log-format must be one of`,
		"listen: 127.0.0.1":               `--listen "127.0.0.1" is not an address and port`,
		"tls-cert: x":                     `--tls-cert and --tls-key go together`,
		"listen: 'a+b:1'":                 `--listen "a+b:1": the host name "a+b" has '+' in it`,
		"listen: 'a b:1'":                 `the host name "a b" has ' ' in it`,
		"\nallow-kinds: []":               `line 2: the list is empty`,
		"allow-kinds: \"\"":               `line 1: the list is empty`,
		"queue-limit: -1":                 `--queue-limit must be more than 0`,
		"public-url: log.example":         `--public-url "log.example" is not a URL`,
	} {
		path := write(t, text)
		code, _, errs := run(t, nil, "serve", "--print-config", "--config", path)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: exit code %d, %q; expected %q", text, code, errs, want)
		}
		if strings.Contains(want, "line") && !strings.Contains(errs, path) {
			t.Errorf("%q: the file is not named: %q", text, errs)
		}
	}
	if code, _, errs := run(t, nil, "serve", "--config", filepath.Join(t.TempDir(), "none")); code != exitUsage || !strings.Contains(errs, "no such file") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestBadValueNamesItsSource(t *testing.T) {
	code, _, errs := run(t, map[string]string{"TALLYSTICK_MAX_BODY": "4MB"}, "serve", "--print-config")
	if want := "tallystick: --max-body: TALLYSTICK_MAX_BODY: \"4MB\" is not a size such as 4MiB, 64KiB or 4096\n"; code != exitUsage || errs != want {
		t.Errorf("exit code %d, %q, not %q", code, errs, want)
	}
}

func TestUnknownVariableIsNamed(t *testing.T) {
	_, _, errs := run(t, map[string]string{
		"TALLYSTICK_LISTN": "x", "TALLYSTICK_PORT_3000_TCP": "x", "TALLYSTICK_SERVICE_HOST": "x", "TALLYSTICK_KEY_PASSWORD": "x",
	}, "version")
	if want := "tallystick: environment variable TALLYSTICK_LISTN names no setting and is not used\n"; errs != want {
		t.Errorf("printed %q, not %q", errs, want)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	env := map[string]string{keyPasswordVariable: "canary"}
	for _, storage := range []string{
		"postgres://u:canary@127.0.0.1:1/d", "postgres://127.0.0.1:1/d?user=u&password=canary",
		"postgres://u:canary@127.0.0.1:1/%zz", "postgres://u:can%zzary@127.0.0.1:1/canary", "mysql://u:canary@h/d",
		"mysql:u:canary@h/d", "u:canary@tcp(h)/d", "canary:x", "host=h user=u password=canary", "password=canary host=::1", "memory:canary",
		"POSTGRES://u:canary@h/d", "postgres:u:canary@h/d",
		"postgres://u@127.0.0.1:1/d?sslpassword=canary", "postgres://u@127.0.0.1:1/d?SSLPassword=canary&passfile=x", "postgres://u@127.0.0.1:1/d?pass%77ord=canary",
		"postgres://u@127.0.0.1:1/d?sslpassword=canary&sslmode=bogus", "postgres://u@127.0.0.1:1/d?password=canary;x",
		"postgres://u:1/canary@127.0.0.1:1/d", "postgres://u:1?canary@127.0.0.1:1/d", "postgres://u:1#canary@127.0.0.1:1/d", "postgres://u:1#canary",
	} {
		for _, args := range [][]string{{"serve", "--print-config"}, {"serve"}, {"migrate"}, {"check"}} {
			code, out, errs := run(t, env, append(args, "--storage", storage, "--data-dir", t.TempDir())...)
			if strings.Contains(out+errs, "canary") {
				t.Errorf("%q with %s (exit code %d) prints the password: %s%s", args, storage, code, out, errs)
			}
			if code == exitOK && len(args) == 1 {
				t.Errorf("%q with %s did nothing wrong", args, storage)
			}
		}
	}
}

// The example shows every setting with its default, and every one is explained.
func TestExampleFile(t *testing.T) {
	example := filepath.Join("..", "..", "deploy", "tallystick.yaml")
	defaults, loaded := effective(t, nil), effective(t, nil, "--config", example)
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var shown map[string]any
	if err := yaml.Unmarshal(data, &shown); err != nil {
		t.Fatal(err)
	}
	for name, want := range defaults {
		if _, ok := shown[name]; !ok {
			t.Errorf("%s is not in %s", name, example)
		}
		if loaded[name] != want {
			t.Errorf("%s: the example has %q, the default is %q", name, loaded[name], want)
		}
	}
	if len(defaults) < 20 {
		t.Errorf("only %d settings were found", len(defaults))
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "4096": 4096, "4KiB": 4096, "4 MiB": 4 << 20, "1GiB": 1 << 30} {
		var got size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d (%v), not %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1MB", "1.5MiB", "9223372036854775807GiB", "1KiBKiB"} {
		if err := new(size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken for a size", text)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("4MiB")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again size
		if s.UnmarshalText([]byte(text)) == nil && (again.UnmarshalText([]byte(s.String())) != nil || again != s) {
			t.Errorf("%q is %d, which is written %q, which is %d", text, s, s, again)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("..", "..", "deploy", "tallystick.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("&a listen: *a\n? [b]\n: c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := parseConfig(data, map[string]bool{"listen": true})
		if _, other := set["data-dir"]; err == nil && other {
			t.Error("an unknown setting was taken")
		}
	})
}

func TestStoragePlaces(t *testing.T) {
	password := write(t, "p@ss:word\n")
	for storage, want := range map[string]place{
		"sqlite:":                {backendSQLite, filepath.Join("dir", "log.sqlite")},
		"sqlite:/x/y.db":         {backendSQLite, "/x/y.db"},
		"sqlite:///x/y.db":       {backendSQLite, "/x/y.db"},
		"memory:":                {backendMemory, ""},
		"postgres://u@h:1/d?a=b": {backendPostgres, "postgres://u:p%40ss%3Aword@h:1/d?a=b"},
	} {
		s := storageSettings{DataDir: "dir", Storage: storage, StoragePasswordFile: password}
		if got, err := s.place(); err != nil || got != want {
			t.Errorf("%s is %+v (%v), not %+v", storage, got, err, want)
		}
	}
	for _, storage := range []string{"", "trillian://h:1/2", "memory:x", "postgres:x", "postgres://u:p@h/d", "postgres://h/d?password=p", "mysql://h/d"} {
		s := storageSettings{DataDir: "dir", Storage: storage, StoragePasswordFile: password}
		if got, err := s.place(); err == nil {
			t.Errorf("%q was taken for %+v", storage, got)
		}
	}
}

// What is no secret is shown, so that one sees which storage is meant.
func TestMaskedStorage(t *testing.T) {
	for storage, want := range map[string]string{
		"sqlite:":        "sqlite:",
		"sqlite:/x/y.db": "sqlite:/x/y.db",
		"memory:":        "memory:",
		"postgres://u@h:1/d?passfile=f&sslmode=disable":  "postgres://u@h:1/d?passfile=f&sslmode=disable",
		"postgresql://u:p@h/d":                           "postgresql://u:xxxxx@h/d",
		"postgres://h/d?sslpassword=p&sslpassword=p&a=b": "postgres://h/d?a=b&sslpassword=xxxxx",
		"postgres://h/d%40x?user=u%40h":                  "postgres://h/d%40x?user=u%40h",
		"postgres://u@h/d?application_name=a@b":          "postgres://u@h/d?application_name=a%40b",
		"mysql://u:p@h/d":                                "mysql://xxxxx",
		"host=h user=u password=p":                       "xxxxx",
	} {
		if got := maskURL(storage); got != want {
			t.Errorf("%q is shown as %q, not %q", storage, got, want)
		}
	}
}

// Every kind is accepted unless some are named; naming none is a mistake.
func TestAllowKinds(t *testing.T) {
	all := strings.Join(entry.Kinds(), ",")
	for _, env := range []map[string]string{nil, {"TALLYSTICK_ALLOW_KINDS": ""}} {
		if got := effective(t, env)["allow-kinds"]; got != all {
			t.Errorf("with %v: %q, not %q", env, got, all)
		}
	}
	if got := effective(t, map[string]string{"TALLYSTICK_ALLOW_KINDS": "dsse"})["allow-kinds"]; got != "dsse" {
		t.Errorf("dsse gives %q", got)
	}
	for _, arg := range []string{"--allow-kinds=", "--allow-kinds=,"} {
		if code, out, errs := run(t, nil, "serve", "--storage=memory:", "--listen=127.0.0.1:-1", arg); code != exitUsage || !strings.Contains(errs, "--allow-kinds") {
			t.Errorf("%s: exit code %d: %s%s", arg, code, out, errs)
		}
	}
}

// What is printed can be read again, and means the same.
func TestPrintedSettings(t *testing.T) {
	_, out, _ := run(t, nil, "serve", "--print-config")
	if code, again, errs := run(t, nil, "serve", "--print-config", "--config", write(t, out)); code != exitOK || again != out {
		t.Errorf("exit code %d: %s%s, not %s", code, again, errs, out)
	}
}
