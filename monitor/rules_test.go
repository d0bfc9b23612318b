package monitor

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// certificate returns a certificate with names and Fulcio's extensions, by the last number of their identifiers.
func certificate(t testing.TB, key *forge.Key, names []string, extensions map[int]string) []byte {
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: testTime(0), NotAfter: testTime(time.Hour)}
	for _, name := range names {
		if u, err := url.Parse(name); err == nil && u.Scheme != "" {
			c.URIs = append(c.URIs, u)
		} else {
			c.EmailAddresses = append(c.EmailAddresses, name)
		}
	}
	for n, value := range extensions {
		der := []byte(value)
		if n > 6 {
			var err error
			if der, err = asn1.MarshalWithParams(value, "utf8"); err != nil {
				t.Fatal(err)
			}
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: der})
	}
	der, err := x509.CreateCertificate(nil, c, c, key.Public(), key.Signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return forge.CertificatePEM(parsed)
}

// signers are those of the entries that rules are held against.
type signers = [][]byte // PEM

// bodyBy returns a dsse body with these signers, of a payload.
func bodyBy(payload string, by ...[]byte) []byte {
	b := forge.DSSEV1([]byte(payload+" envelope"), []byte(payload), []byte("signature"), nil)
	var all forge.Array
	for _, pem := range by {
		all = append(all, forge.Object{"signature": forge.Base64([]byte("signature")), "verifier": forge.Base64(pem)})
	}
	return forge.Encode(forge.With(b, all, "spec", "signatures"))
}

const (
	app      = "https://github.com/example/app"
	workflow = app + "/.github/workflows/release.yml@refs/heads/main"
	evil     = app + "/.github/workflows/evil.yml@refs/heads/main"
	actions  = "https://token.actions.githubusercontent.com"
	google   = "https://accounts.google.com"
)

// A rule asks for just what it says.
func TestMatch(t *testing.T) {
	key, other := testKey("signer"), testKey("other")
	spki := hexSPKI(t, key)
	dev := certificate(t, key, []string{"dev@example.com"}, map[int]string{1: google, 8: google})
	mallory := certificate(t, other, []string{"mallory@example.com"}, map[int]string{1: google})
	foreign := certificate(t, other, []string{"dev@example.com"}, map[int]string{8: actions})
	build := certificate(t, key, []string{workflow}, map[int]string{8: actions, 12: app, 18: workflow, 6: "refs/heads/main"})
	bad := certificate(t, other, []string{evil}, map[int]string{8: actions, 12: app, 18: evil})
	two := certificate(t, key, []string{"a@example.com", "b@example.com"}, map[int]string{8: google})
	unreadable := []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n")
	const sum = "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5" // of "payload"
	for _, c := range []struct {
		rule string
		yes  []signers
		no   []signers
	}{
		{"when: {any: true}", []signers{{dev}, {key.PEM()}, {unreadable}}, nil},
		{"when: {subject: dev@example.com}", []signers{{dev}, {foreign}, {mallory, dev}}, []signers{{mallory}, {two}, {key.PEM()}, {unreadable}}},
		{"when: {subject: dev@example}", nil, []signers{{dev}}},
		{"when: {subject: DEV@example.com}", nil, []signers{{dev}}},
		{"when: {subject: b@example.com}", []signers{{two}}, []signers{{dev}}},
		{"when: {issuer: " + google + "}", []signers{{dev}, {mallory}}, []signers{{foreign}, {build}}},
		// issuer and subject are of one certificate.
		{"when: {subject: dev@example.com, issuer: " + google + "}", []signers{{dev}, {foreign, dev}}, []signers{{foreign}, {foreign, mallory}, {mallory, foreign}}},
		{"when: {subjectRegexp: '@example\\.com$'}", []signers{{dev}, {two}}, []signers{{build}}},
		{"when: {subjectRegexp: dev, issuerRegexp: githubusercontent}", []signers{{foreign}}, []signers{{dev}, {build, dev}}},
		{"when: {key: 'sha256:" + spki + "'}", []signers{{dev}, {key.PEM()}, {mallory, build}}, []signers{{mallory}, {unreadable}}},
		{"when: {key: 'sha256:" + strings.ToUpper(spki) + "'}", []signers{{dev}}, nil},
		{"when: {digest: 'sha256:" + sum + "'}", []signers{{dev}, {unreadable}}, nil},
		{"when: {digest: 'sha256:" + strings.Repeat("0", 64) + "'}", nil, []signers{{dev}}},
		{"when: {kind: dsse}", []signers{{dev}}, nil},
		{"when: {kind: intoto}", nil, []signers{{dev}}},
		{"when: {kind: dsse, subject: dev@example.com}", []signers{{dev}}, []signers{{mallory}}},
		{"when: {unreadable: true}", []signers{{unreadable}, {dev, unreadable}}, []signers{{dev}}},
		{"when: {unreadable: true, kind: rekord}", nil, []signers{{unreadable}}},
		{"when: {extensions: {sourceRepositoryURI: " + app + "}}", []signers{{build}, {bad}}, []signers{{dev}}},
		{"when: {extensions: {1.3.6.1.4.1.57264.1.12: " + app + "}}", []signers{{build}, {bad}}, []signers{{dev}}},
		{"when: {extensions: {sourceRepositoryURI: " + app + ", buildConfigURI: " + workflow + "}}", []signers{{build}}, []signers{{bad}}},
		{"when: {extensions: {githubWorkflowRef: refs/heads/main}}", []signers{{build}}, []signers{{bad}}},
		{"when: [{subject: dev@example.com}, {subject: mallory@example.com}]", []signers{{dev}, {mallory}}, []signers{{two}}},
		// Exceptions.
		{"when: {subject: dev@example.com}\n    unless: {issuer: " + google + "}", []signers{{foreign}, {dev, foreign}}, []signers{{dev}, {dev, mallory}}},
		{"when: {extensions: {sourceRepositoryURI: " + app + "}}\n    unless: {extensions: {buildConfigURI: " + workflow + "}}",
			[]signers{{bad}, {build, bad}, {bad, build}}, []signers{{build}, {dev}}},
		{"when: {any: true}\n    unless: [{subject: dev@example.com}, {subjectRegexp: '^[ab]@example\\.com$'}]", []signers{{mallory}, {dev, unreadable}, {unreadable}}, []signers{{dev}, {two}, {dev, two}}},
		{"when: {any: true}\n    unless: {kind: dsse}", nil, []signers{{dev}, {unreadable}}},
		{"when: {kind: dsse}\n    unless: {unreadable: true}", []signers{{dev}}, []signers{{unreadable}, {dev, unreadable}}},
	} {
		r := rules(t, "rules:\n  - name: r\n    "+c.rule).of("test")
		p, err := entry.New(entry.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for want, all := range map[bool][]signers{true: c.yes, false: c.no} {
			for i, by := range all {
				found, _, _ := search(r, p, bodyBy("payload", by...))
				if (len(found) == 1) != want || len(found) > 1 {
					t.Errorf("%s: %v, %d: %d found", c.rule, want, i, len(found))
				}
			}
		}
	}
}

func hexSPKI(t testing.TB, k *forge.Key) string {
	c, err := verify.TrustLogKey(k.PEM())
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(c.Material().Logs[0].ID)
}

// Bodies that cannot be read are told to whoever asks for them, and never make a match that was not asked for.
func TestUnreadable(t *testing.T) {
	p, err := entry.New(entry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	asked := rules(t, `rules: [{name: unreadable, when: {unreadable: true}}, {name: all, when: {any: true}}, {name: dev, when: {subjectRegexp: ".*"}}]`).of("test")
	for _, body := range []string{"", "\x00", "null", "{}", `{"kind":"alpine","apiVersion":"0.0.1","spec":{}}`, `{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}`,
		`{"kind":"new","apiVersion":"1.0.0","spec":{}}`, strings.Repeat("[", 1<<16)} {
		found, d, unreadable := search(asked, p, []byte(body))
		if !unreadable || len(found) != 2 || found[0].rule.name != "unreadable" || found[1].rule.name != "all" {
			t.Errorf("%.20q: %v %+v %v", body, found, d, unreadable)
		}
		if _, err := (&Alert{ID: alertID(), Kind: KindMatch, Match: found[0].describe(&d)}).line(); err != nil {
			t.Error(err)
		}
	}
}

// What is in an alert is bounded, whatever is in an entry.
func TestAlertBounds(t *testing.T) {
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("%d%s@example.com", i, strings.Repeat("<", 600)))
	}
	extensions := map[int]string{}
	for i := 8; i < 60; i++ {
		extensions[i] = strings.Repeat("\u2028<", 60)
	}
	by := certificate(t, testKey("signer"), names, extensions)
	p, err := entry.New(entry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	found, d, _ := search(rules(t, testRules).of("test"), p, bodyBy("x", by))
	if len(found) != 1 || found[0].signer == nil {
		t.Fatalf("found %+v", found)
	}
	m := found[0].describe(&d)
	if !m.Clipped || len(m.Signer.Subjects) != maxAlertNames || len(m.Signer.Extensions) > maxAlertExtensions {
		t.Errorf("match is %+v", m)
	}
	a := Alert{ID: alertID("x"), Kind: KindMatch, Match: m, Text: m.text()}
	line, err := a.line()
	if err != nil || len(line) > MaxAlert {
		t.Fatalf("%d bytes, %v", len(line), err)
	}
	if _, err := parseAlert(line[:len(line)-1]); err != nil {
		t.Error(err)
	}
}

// A whole file.
func TestParseRules(t *testing.T) {
	key := testKey("log")
	w := newWorld(t, newEntries(2))
	files := map[string][]byte{"log.pub": key.PEM(), "hello.bundle": w.log.entry(t, 1)}
	read := func(path string, limit int64) ([]byte, error) {
		if data, ok := files[path]; ok {
			return data, nil
		}
		return nil, os.ErrNotExist
	}
	c, err := ParseRules([]byte(`
logs:
  - name: ours
    url: https://log.example.com
    logKey: log.pub
    from: now
    maxSilence: 24h
    maxLag: 30m
    maxUnreachable: 5m
    receipts: [hello.bundle]
  - {name: other, url: "http://127.0.0.1:3000/", logKey: log.pub}
rules:
  - {name: one, logs: [ours], when: {subject: a@example.com}}
  - {name: two, when: [{kind: dsse}, {key: "sha256:`+strings.Repeat("ab", 32)+`"}], unless: {subjectRegexp: "^a$"}}
`), ParseOptions{Read: read})
	if err != nil {
		t.Fatal(err)
	}
	l := c.Logs[0]
	if len(c.Logs) != 2 || l.Name != "ours" || !l.FromNow || l.MaxSilence != 24*time.Hour || l.MaxLag != 30*time.Minute || l.MaxUnreachable != 5*time.Minute ||
		len(l.Receipts) != 1 || l.Receipts[0].Index() != 1 || c.Logs[1].FromNow || c.Logs[1].Trust == nil {
		t.Errorf("logs are %+v", c.Logs)
	}
	if !slices.Equal(c.Rules.Names(), []string{"one", "two"}) || len(c.Rules.of("ours")) != 2 || len(c.Rules.of("other")) != 1 {
		t.Errorf("rules are %+v", c.Rules)
	}
	root := "{name: r, url: 'https://rekor.sigstore.dev', trustedRoot: root.json}"
	files["root.json"], err = os.ReadFile("../verify/testdata/public-good/trusted_root.json")
	if err != nil {
		t.Fatal(err)
	}
	if c, err = ParseRules([]byte("logs: ["+root+"]"), ParseOptions{Read: read}); err != nil || len(c.Logs[0].Trust.Material().Logs) != 1 {
		t.Errorf("a trusted root: %v", err)
	}
	log := "logs: [{name: l, url: 'http://h', logKey: log.pub}]\n"
	for _, bad := range []string{
		"", "[]", "rules: []", "logs: []", "logs: 1", log + "rules: {}", log + "more: 1", log + log,
		"logs: [{url: 'http://h', logKey: log.pub}]",
		"logs: [{name: l, logKey: log.pub}]",
		"logs: [{name: l, url: 'http://h'}]",
		"logs: [{name: l, url: 'ftp://h', logKey: log.pub}]",
		"logs: [{name: l, url: 'http://h', logKey: gone}]",
		"logs: [{name: l, url: 'http://h', logKey: hello.bundle}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub, trustedRoot: root.json}]",
		"logs: [{name: l, url: 'https://elsewhere', trustedRoot: log.pub}]",
		"logs: [{name: L, url: 'http://h', logKey: log.pub}]",
		"logs: [{name: ../l, url: 'http://h', logKey: log.pub}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub}, {name: l, url: 'http://h', logKey: log.pub}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub, from: then}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub, maxSilence: -1h}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub, maxLag: 1}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub, logURL: 'http://x'}]",
		"logs: [{name: l, url: 'http://h', logKey: log.pub, receipts: [log.pub]}]",
		"logs: [{name: r, url: 'https://rekor.sigstore.dev', trustedRoot: root.json, receipts: [hello.bundle]}]",
		log + "rules: [{when: {any: true}}]",
		log + "rules: [{name: x}]",
		log + "rules: [{name: x, when: {}}]",
		log + "rules: [{name: x, when: []}]",
		log + "rules: [{name: x, when: {any: false}}]",
		log + "rules: [{name: x, when: {any: true, kind: dsse}}]",
		log + "rules: [{name: x, when: {kind: dsee}}]",
		log + "rules: [{name: x, when: {kind: hashedRekord}}]",
		log + "rules: [{name: x, when: {any: true}, unless: {kind: 'hashedrekord:0.0.1'}}]",
		log + "rules: [{name: x, when: {any: true}, unless: {any: true}}]",
		log + "rules: [{name: x, when: {subject: ''}}]",
		log + "rules: [{name: x, when: {subject: 1}}]",
		log + "rules: [{name: x, when: {subject: a, subjectRegexp: b}}]",
		log + "rules: [{name: x, when: {subjectRegexp: '('}}]",
		log + "rules: [{name: x, when: {unreadable: true, subject: a}}]",
		log + "rules: [{name: x, when: {any: true}, unless: {subjectRegexp: a}}]",
		log + "rules: [{name: x, when: {any: true}, unless: {subjectRegexp: '^a|b$'}}]",
		log + "rules: [{name: x, when: {any: true}, unless: {subjectRegexp: '(?m)^a$'}}]",
		log + "rules: [{name: x, when: {any: true}, unless: {issuerRegexp: '^a'}}]",
		log + "rules: [{name: x, when: {key: 'sha256:00'}}]",
		log + "rules: [{name: x, when: {key: 'sha512:" + strings.Repeat("0", 128) + "'}}]",
		log + "rules: [{name: x, when: {digest: '" + strings.Repeat("0", 64) + "'}}]",
		log + "rules: [{name: x, when: {digest: 'md5:" + strings.Repeat("0", 32) + "'}}]",
		log + "rules: [{name: x, when: {extensions: {sourceRepository: a}}}]",
		log + "rules: [{name: x, when: {extensions: {sourceRepositoryURI: a, 1.3.6.1.4.1.57264.1.12: a}}}]",
		log + "rules: [{name: x, when: {extensions: {}}}]",
		log + "rules: [{name: x, when: {any: true}, logs: [other]}]",
		log + "rules: [{name: x, when: {any: true}}, {name: x, when: {any: true}}]",
		log + "rules: [{name: x, when: {any: true}, then: 1}]",
		log + "rules: [{name: \"x\\ty\", when: {any: true}}]",
	} {
		if _, err := ParseRules([]byte(bad), ParseOptions{Read: read}); err == nil {
			t.Errorf("was accepted: %s", bad)
		} else if strings.Contains(err.Error(), "\n") && !strings.Contains(err.Error(), "yaml") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := ParseRules([]byte(log), ParseOptions{Read: func(string, int64) ([]byte, error) { return nil, errors.New("no") }}); err == nil {
		t.Error("a key that cannot be read was accepted")
	}
}
