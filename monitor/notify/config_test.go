package notify

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/monitor"
)

// parse reads a rules file with these fields at its top.
func parse(r *Reader, text string) error {
	_, err := monitor.ParseRules([]byte(text+"\nrules: [{name: r, when: {any: true}}]\n"), monitor.ParseOptions{Own: "self", Fields: r.Fields()})
	return err
}

// files is a reader whose files have these contents; others are not there.
func files(content map[string]string) *Reader {
	return &Reader{
		Read: func(path string, limit int64) ([]byte, error) {
			text, ok := content[path]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			return []byte(text), nil
		},
		Env: func(name string) string { return map[string]string{"SECRET": testSecret}[name] },
	}
}

func TestConfig(t *testing.T) {
	r := files(map[string]string{"s": testSecret + "\n", "pw": "secret\r\n"})
	err := parse(r, `
webhooks:
  - {name: ops, url: "https://hooks.example.com/canary", secretFile: s, timeout: 3s}
  - {name: local, url: "http://127.0.0.1:1/", secretEnv: SECRET}
  - {name: plain, url: "http://hooks.example.com/", secretEnv: SECRET, plainHTTP: true}
mail:
  - {name: ops, server: "smtp.example.com:587", username: u, passwordFile: pw, from: "Tallystick <t@example.com>", to: [a@example.com, "B <b@example.com>"]}
  - {name: local, server: "localhost:25", security: none, from: t@example.com, to: [a@example.com]}
`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range r.Sinks {
		names = append(names, s.Name())
	}
	if got := fmt.Sprint(names); got != "[webhook-ops webhook-local webhook-plain mail-ops mail-local]" {
		t.Errorf("sinks %s", got)
	}
	m := r.Sinks[3].(*Mail)
	if m.password != "secret" || m.security != startTLS || len(m.to) != 2 || m.from.Name != "Tallystick" || string(r.Sinks[0].(*Webhook).secret) != testSecret {
		t.Errorf("%+v", m)
	}
}

func TestConfigRefusals(t *testing.T) {
	const hook, post = "name: ops, url: 'https://h.example/canary'", "name: ops, server: 'h.example:25', from: t@h.example, to: [a@h.example]"
	for text, want := range map[string]string{
		"webhooks: []": "webhooks", "webhooks: {}": "webhooks", "mail: x": "mail",
		"webhooks: [{" + hook + "}]":                                                                                       "the secret: there is none",
		"webhooks: [{" + hook + ", secretFile: none}]":                                                                     "file does not exist",
		"webhooks: [{" + hook + ", secretFile: empty}]":                                                                    "the file is empty",
		"webhooks: [{" + hook + ", secretFile: short}]":                                                                    "it has 5 bytes",
		"webhooks: [{" + hook + ", secretFile: long}]":                                                                     "it has 1025 bytes",
		"webhooks: [{" + hook + ", secretFile: coded}]":                                                                    "it has 23 bytes",
		"webhooks: [{" + hook + ", secretFile: broken}]":                                                                   "not base64",
		"webhooks: [{" + hook + ", secretEnv: NONE}]":                                                                      "variable NONE is not set",
		"webhooks: [{" + hook + ", secretEnv: SECRET, secretFile: s}]":                                                     "not in both",
		"webhooks: [{" + hook + ", secretEnv: SECRET, retries: 3}]":                                                        "retries",
		"webhooks: [{" + hook + ", secretEnv: SECRET, plainHTTP: false}]":                                                  "plainHTTP",
		"webhooks: [{" + hook + ", secretEnv: SECRET, timeout: 0s}]":                                                       "timeout",
		"webhooks: [{url: 'https://h.example/', secretEnv: SECRET}]":                                                       "no name",
		"webhooks: [{name: Ops, url: 'https://h.example/', secretEnv: SECRET}]":                                            "name is not",
		"webhooks: [{name: " + strings.Repeat("a", 49) + "}]":                                                              "name is not",
		"webhooks: [{name: ops, secretEnv: SECRET}]":                                                                       "url: it is not one",
		"webhooks: [{name: ops, url: 'ftp://h.example/canary', secretEnv: SECRET}]":                                        "url: it is not one",
		"webhooks: [{name: ops, url: 'https://u:canary@h.example/', secretEnv: SECRET}]":                                   "has a user",
		"webhooks: [{name: ops, url: 'https://h.example/canary#f', secretEnv: SECRET}]":                                    "url: it is not one",
		"webhooks: [{name: ops, url: 'https:///canary', secretEnv: SECRET}]":                                               "url: it is not one",
		"webhooks: [{name: ops, url: 'http://h.example/canary', secretEnv: SECRET}]":                                       "not https",
		"webhooks: [{name: ops, url: 'http://127.0.0.1.h.example/canary', secretEnv: SECRET}]":                             "not https",
		"webhooks: [{" + hook + ", secretEnv: SECRET}, {" + hook + ", secretEnv: SECRET}]":                                 "two have the name",
		"mail: [{" + post + ", security: ssl}]":                                                                            "security is",
		"mail: [{" + post + ", security: none}]":                                                                           "on this machine only",
		"mail: [{" + post + ", username: u}]":                                                                              "go together",
		"mail: [{" + post + ", passwordFile: s}]":                                                                          "go together",
		"mail: [{" + post + ", username: u, passwordFile: none}]":                                                          "file does not exist",
		"mail: [{" + post + ", subject: x}]":                                                                               "subject",
		"mail: [{name: ops, server: h.example, from: t@h.example, to: [a@h.example]}]":                                     "host and port",
		"mail: [{name: ops, server: ':25', from: t@h.example, to: [a@h.example]}]":                                         "host and port",
		"mail: [{name: ops, from: t@h.example, to: [a@h.example]}]":                                                        "host and port",
		"mail: [{server: 'h.example:25', from: t@h.example, to: [a@h.example]}]":                                           "no name",
		"mail: [{name: ops, server: 'h.example:25', to: [a@h.example]}]":                                                   "from or to is missing",
		"mail: [{name: ops, server: 'h.example:25', from: t@h.example}]":                                                   "from or to is missing",
		"mail: [{name: ops, server: 'h.example:25', from: t@h.example, to: []}]":                                           "to",
		"mail: [{name: ops, server: 'h.example:25', from: t, to: [a@h.example]}]":                                          "from is not an address",
		"mail: [{name: ops, server: 'h.example:25', from: t@h.example, to: [\"a@h.example\\r\\nRCPT TO:<b@h.example>\"]}]": "to is not an address",
		"mail: [{name: ops, server: 'h.example:25', from: t@h.example, to: ['a@h.example, b@h.example']}]":                 "to is not an address",
	} {
		r := files(map[string]string{"s": testSecret, "empty": "\n", "short": "short", "long": strings.Repeat("x", 1025), "coded": "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY=", "broken": "whsec_*"})
		err := parse(r, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
		if strings.Contains(text, "none") && strings.Contains(text, "File") && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: that the file is not there cannot be told: %v", text, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add("webhooks: [{name: ops, url: 'https://h.example/', secretEnv: SECRET}]")
	f.Add("mail: [{name: ops, server: 'h.example:25', from: T <t@h.example>, to: [a@h.example], security: tls, username: u, passwordFile: s}]")
	f.Fuzz(func(t *testing.T, text string) {
		r := files(map[string]string{"s": testSecret})
		if parse(r, text) != nil {
			return
		}
		for _, s := range r.Sinks {
			if m, ok := s.(*Mail); ok {
				message, err := m.compose([]Delivery{delivery(match(0), "")})
				if err != nil {
					t.Fatal(err)
				}
				readMail(t, message)
			}
		}
	})
}
