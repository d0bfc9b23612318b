package admission

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

const goodRule = "- name: app\n  images: [ghcr.io/example/app]\n  require: {identities: [{issuer: 'https://x', subject: y}]}\n"

// A policy that is not plain, or of which a part would have no effect, is refused, and it is said where.
func TestPolicyRefuses(t *testing.T) {
	const trust = "trustedRoots: [trusted_root.json]\n"
	identities := "{identities: [{issuer: 'https://x', subject: y}]}"
	rule := func(fields string) string {
		return trust + "rules:\n- " + strings.ReplaceAll(fields, "\n", "\n  ") + "\n"
	}
	mustParse(t, trust+"rules:\n"+goodRule)
	for text, want := range map[string]string{
		"":                "it is empty",
		"# nothing":       "",
		"rules: []":       "line 1: rules is not a list of 1 to",
		trust:             "it has no rules",
		"[]":              "line 1: the policy is not a mapping",
		"a: 1\n---\nb: 2": "more than one YAML document",
		trust + "rules:\n" + goodRule + "extra: 1":                                                                                                       `the policy has no field "extra"`,
		trust + trust + "rules:\n" + goodRule:                                                                                                            `line 2: "trustedRoots" is on line 1 already`,
		"rules:\n" + goodRule:                                                                                                                            "neither it nor the policy has trustedRoots",
		"trustedRoots: [none.json]\nrules:\n" + goodRule:                                                                                                 "no such file",
		"trustedRoots: [trusted_root.json, trusted_root.json]\nrules:\n" + goodRule:                                                                      "twice",
		"trustedRoots: [trusted_root.json]\nlogKeys: [log.pub]\nrules:\n" + goodRule:                                                                     "has the ID of",
		"logKeys: [p384.pub]\nrules:\n" + goodRule:                                                                                                       "ECDSA P-256",
		"trustedRoots: []\nrules:\n" + goodRule:                                                                                                          "trustedRoots is not a list of 1 to",
		"trustedRoots:\nrules:\n" + goodRule:                                                                                                             "there is no value",
		"trustedRoots: trusted_root.json\nrules:\n" + goodRule:                                                                                           "is not a list",
		trust + "rules:\n- name: a\n  images: [ghcr.io/a/*]\n  allow: true\n":                                                                            "no rule uses the trustedRoots",
		trust + "exemptNamespaces: ['kube-*']\nrules:\n" + goodRule:                                                                                      "no wildcards",
		trust + "exemptNamespaces: [Kube]\nrules:\n" + goodRule:                                                                                          "not the name of a namespace",
		trust + "exemptNamespaces: [a, a]\nrules:\n" + goodRule:                                                                                          "twice",
		trust + "rules:\n" + goodRule + goodRule:                                                                                                         `"ghcr.io/example/app" has no effect`,
		trust + "rules:\n" + goodRule + strings.Replace(goodRule, "example/app", "other", 1):                                                             `two rules have the name "app"`,
		trust + "x: &a 1\nrules: *a":                                                                                                                     "anchors and aliases are not read",
		trust + "rules:\n- !!map {name: a}":                                                                                                              "tags are not read",
		trust + "rules:\n- <<: {name: a}\n  name: b":                                                                                                     "the name is not plain text",
		rule("images: [ghcr.io/a]\nallow: true"):                                                                                                         "a rule has no name",
		rule("name: ''\nallow: true"):                                                                                                                    "name is not text",
		rule("name: 1\nallow: true"):                                                                                                                     "name is not text",
		rule("name: a\nallow: true"):                                                                                                                     "there are no images",
		rule("name: a\nimages: [ghcr.io/a]"):                                                                                                             "either require, or allow: true",
		rule("name: a\nimages: [ghcr.io/a]\nallow: true\nrequire: " + identities):                                                                        "either require, or allow: true",
		rule("name: a\nimages: [ghcr.io/a]\nallow: false"):                                                                                               "allow is true, or left out",
		rule("name: a\nimages: [ghcr.io/a]\nallow: yes"):                                                                                                 "allow is true, or left out",
		rule("name: a\nimages: [ghcr.io/a]\nallow: true\nlogKeys: [log.pub]"):                                                                            "it requires nothing",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {}"):                                                                                                "require is not a mapping of 1",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {logEntries: 1}"):                                                                                   "require",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {identities: []}"):                                                                                  "identities is empty",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {keys: [{pem: x}]}"):                                                                                "require",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {identity: x}"):                                                                                     "identity",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {identities: [{issuer: x}]}"):                                                                       "subject",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {identities: [{issuer: x, subject: y, subjectRegExp: z}]}"):                                         "subjectRegExp",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {predicateType: 'https://x', identities: [{issuer: x, subject: y}]}"):                               "predicateType is not used here",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {time: 2026-01-01T00:00:00Z, identities: [{issuer: x, subject: y}]}"):                               "time is not used here",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {logEntries: 0, identities: [{issuer: x, subject: y}]}"):                                            "logEntries is 0",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {logEntries: 0x1, identities: [{issuer: x, subject: y}]}"):                                          "neither text, nor a number",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {logEntries: 9, identities: [{issuer: x, subject: y}]}"):                                            "require",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {scts: 1, identities: [{issuer: x, subject: y}]}"):                                                  "require",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {inclusionProofs: True, identities: [{issuer: x, subject: y}]}"):                                    "neither text, nor a number",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestationsOnly: true, identities: [{issuer: x, subject: y}]}"):                                   "attestationsOnly needs attestations",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [], identities: [{issuer: x, subject: y}]}"):                                         "attestations is not a list of 1",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{maxAge: 1h}], identities: [{issuer: x, subject: y}]}"):                             "has no type",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: vuln}], identities: [{issuer: x, subject: y}]}"):                             "is not a URI",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x', maxAge: 7d}], identities: [{issuer: x, subject: y}]}"):          "is not a duration",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x', maxAge: -1h}], identities: [{issuer: x, subject: y}]}"):         "is not a duration",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x', age: 1h}], identities: [{issuer: x, subject: y}]}"):             `an attestation has no field "age"`,
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x'}, {type: 'https://x'}], identities: [{issuer: x, subject: y}]}"): "there twice",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestationsOnly: true, attestations: [{type: 'https://x', identities: [{issuer: x, subject: y}]}], identities: [{issuer: x, subject: y}]}"): "have no effect",
		rule(fmt.Sprintf("name: a\nimages: [ghcr.io/a]\nrequire: {keys: [{pem: %q}], attestations: [{type: 'https://x', maxAge: 1h}]}", readFixture(t, "cosign.pub"))):                             "add the line\n  signedTime: /metadata/scanFinishedOn",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x', signedTime: /a}], identities: [{issuer: x, subject: y}]}"):                                                "no effect without maxAge",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x', maxAge: 1h, signedTime: a}], identities: [{issuer: x, subject: y}]}"):                                     "is not a JSON pointer",
		rule("name: a\nimages: [ghcr.io/a]\nrequire: {attestations: [{type: 'https://x', maxAge: 1h, signedTime: /~2}], identities: [{issuer: x, subject: y}]}"):                                   "is not a JSON pointer",
		strings.Repeat("[", 100): "",
		"a: " + strings.Repeat("{a: ", 20) + "1" + strings.Repeat("}", 20): "nested deeper",
		strings.Repeat("#", MaxPolicy+1):                                   "more than",
	} {
		if p, err := parse(t, text); err == nil || p != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.300s\n%v, not %q", text, err, want)
		}
	}
}

// Patterns are anchored, by host and by component, and the first rule that matches decides.
func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, image string
		want           bool
	}{
		{"ghcr.io/example/app", "ghcr.io/example/app:v1", true},
		{"ghcr.io/example/app", "ghcr.io/example/app@sha256:" + strings.Repeat("0", 64), true},
		{"ghcr.io/example/app", "ghcr.io/example/app2", false},
		{"ghcr.io/example/app", "ghcr.io/example/app/x", false},
		{"ghcr.io/example/app", "xghcr.io/example/app", false},
		{"ghcr.io/example/app", "ghcr.io:443/example/app", false},
		{"ghcr.io/example/app", "evil.com/ghcr.io/example/app", false},
		{"ghcr.io/example/*", "ghcr.io/example/app", true},
		{"ghcr.io/example/*", "ghcr.io/example/app/x", false},
		{"ghcr.io/example/*", "ghcr.io/example2/app", false},
		{"ghcr.io/example/app-*", "ghcr.io/example/app-1", true},
		{"ghcr.io/example/app-*", "ghcr.io/example/app", false},
		{"ghcr.io/*/app", "ghcr.io/a/app", true},
		{"ghcr.io/*/app", "ghcr.io/a/b/app", false},
		{"ghcr.io/example/**", "ghcr.io/example/a/b/c", true},
		{"ghcr.io/example/**", "ghcr.io/example", false},
		{"ghcr.io/**", "ghcr.io/example", true},
		{"ghcr.io/**", "ghcr.io.evil.com/example", false},
		{"docker.io/library/nginx", "nginx", true},
		{"docker.io/library/nginx", "docker.io/nginx:1", true},
		{"docker.io/library/nginx", "index.docker.io/library/nginx", true},
		{"docker.io/library/*", "nginx/nginx", false},
		{"docker.io/**", "nginx", true},
		{"docker.io/**", "localhost/nginx", false},
		{"localhost/**", "localhost/nginx", true},
		{"localhost:5000/**", "localhost:5000/nginx", true},
		{"**", "anything.example.com:1/x", true},
		{"**", "nginx", true},
	} {
		p, err := parsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := parseImage(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.matches(repositoryName(ref.Context())); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.image, got)
		}
	}
	for _, bad := range []string{"", "*", "nginx", "library/nginx", "docker.io/nginx", "docker.io/*", "index.docker.io/library/nginx", "*.io/app", "*/app", "ghcr.io", "ghcr.io/", "ghcr.io//a", "ghcr.io/a/", "ghcr.io/A", "ghcr.io/a:v1",
		"ghcr.io/a@sha256:x", "ghcr.io/**/a", "ghcr.io/a**", "ghcr.io/***", "https://ghcr.io/a", "ghcr.io/../a", "ghcr.io/a?", "ghcr.io/[a]", "GHCR.io/a", "ghcr.io/^a$", "a.b/" + strings.Repeat("a/", 300) + "a"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
	for _, c := range []struct {
		first, then string
		want        bool
	}{
		{"**", "ghcr.io/a", true}, {"ghcr.io/**", "ghcr.io/a/*", true}, {"ghcr.io/**", "ghcr.io/a/**", true}, {"ghcr.io/a/**", "ghcr.io/a", false}, {"ghcr.io/a/**", "ghcr.io/**", false},
		{"ghcr.io/a/*", "ghcr.io/a/b", true}, {"ghcr.io/a/*", "ghcr.io/a/b*", true}, {"ghcr.io/a/*", "ghcr.io/a/**", false}, {"ghcr.io/a/b", "ghcr.io/a/*", false}, {"ghcr.io/a", "**", false}, {"ghcr.io/a*", "ghcr.io/ab", true}, {"ghcr.io/a*", "ghcr.io/b", false},
		{"ghcr.io/**", "quay.io/a", false}, {"ghcr.io/a/**", "ghcr.io/a/**", true}, {"ghcr.io/*/**", "ghcr.io/**", false}, {"ghcr.io/**", "ghcr.io/*/**", true},
	} {
		a, _ := parsePattern(c.first)
		b, _ := parsePattern(c.then)
		if got := a.covers(&b); got != c.want {
			t.Errorf("%s covers %s: %v", c.first, c.then, got)
		}
	}
	p := mustParse(t, "trustedRoots: [trusted_root.json]\nrules:\n- {name: one, images: [ghcr.io/example/base], allow: true}\n"+strings.Replace(goodRule, "example/app", "example/*", 1)+"- {name: rest, images: ['**'], allow: true}\n")
	for repository, want := range map[string]string{"ghcr.io/example/base": "one", "ghcr.io/example/x": "app", "quay.io/x": "rest"} {
		if got := p.rule(repository); got == nil || got.name != want {
			t.Errorf("%s: %+v", repository, got)
		}
	}
	if mustParse(t, "trustedRoots: [trusted_root.json]\nrules:\n"+goodRule).rule("quay.io/x") != nil {
		t.Error("what no rule matches has a rule")
	}
}

// A rule that exempts asks no registry, and pins nothing.
func TestAllow(t *testing.T) {
	r := startImages(t)
	w := startWorld(t, Config{Policy: mustParse(t, fmt.Sprintf("rules:\n- {name: system, images: [%q], allow: true}\n", r.host+"/**"))})
	w.images = r
	r.seen()
	for _, path := range []string{"/mutate", "/validate"} {
		if a := w.admits(t, path, r.app(":v1")); a.Response.Patch != nil {
			t.Errorf("it is pinned: %s", a.Response.Patch)
		}
		w.denies(t, path, "nginx", "no rule")
	}
	if got := r.seen(); len(got) != 0 {
		t.Errorf("the registry was asked: %q", got)
	}
	got := w.provide(t, "/gatekeeper/verify", r.app(":v1"))
	if v, _ := got.Response.Items[0].Value.(map[string]any); v["exempt"] != true || v["rule"] != "system" || v["image"] != nil {
		t.Errorf("%+v", got)
	}
}

// The policy's digest is of all its files.
func TestPolicyDigest(t *testing.T) {
	text := "trustedRoots: [x]\nrules:\n" + goodRule
	digest := func(text, root string) [32]byte {
		p, err := ParsePolicy([]byte(text), PolicyOptions{Read: func(string, int64) ([]byte, error) { return append(readFixture(t, "trusted_root.json"), root...), nil }})
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest()
	}
	one := digest(text, "")
	if one != digest(text, "") || one == digest(text, " ") || one == digest(text+"#", "") {
		t.Error("the digest does not follow the files")
	}
}

func TestCredentials(t *testing.T) {
	resolve := func(config, host string) (string, error) {
		repository, err := name.NewRepository(host + "/a/b")
		if err != nil {
			t.Fatal(err)
		}
		a, err := Credentials{Read: func() ([]byte, error) { return []byte(config), nil }}.Resolve(repository)
		if err != nil {
			return "", err
		}
		c, err := a.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		return c.Username + ":" + c.Password, nil
	}
	const config = `{"auths":{"ghcr.io":{"auth":"YTpi"},"https://index.docker.io/v1/":{"username":"c","password":"d"},"*.example.com":{"auth":"YTpi"},"quay.io/org":{"auth":"YTpi"},"10.0.0.1:5000":{"auth":"YTpiOmM="}}}`
	for host, want := range map[string]string{"ghcr.io": "a:b", "index.docker.io": "c:d", "docker.io": "c:d", "ghcr.io:443": ":", "evil.ghcr.io": ":", "ghcr.io.evil.com": ":", "a.example.com": ":", "quay.io": ":", "10.0.0.1:5000": "a:b:c"} {
		if got, err := resolve(config, host); err != nil || got != want {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
	for _, bad := range []string{"", "x", `{"auths":{"ghcr.io":{"auth":"secret"}}}`, `{"auths":{"ghcr.io":{"auth":"c2VjcmV0"}}}`, `{"auths":{"ghcr.io":{},"https://ghcr.io":{}}}`, `{"auths":{"ghcr.io":{},"ghcr.io":{}}}`} {
		if _, err := resolve(bad, "ghcr.io"); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := (Credentials{Read: func() ([]byte, error) { return nil, os.ErrNotExist }}).Resolve(name.MustParseReference("ghcr.io/a").Context()); err == nil {
		t.Error("a file that is not there is no error")
	}
}
