package trust_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/trust"
	"github.com/tallystick/tallystick/verify"
)

// trustRoot is what policy-controller v0.13.1 reads, field by field.
type trustRoot struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		SigstoreKeys struct {
			CertificateAuthorities []trustRootAuthority `yaml:"certificateAuthorities"`
			TLogs                  []trustRootLog       `yaml:"tLogs"`
			CTLogs                 []trustRootLog       `yaml:"ctLogs"`
			TimestampAuthorities   []trustRootAuthority `yaml:"timestampAuthorities"`
		} `yaml:"sigstoreKeys"`
	}
}

type trustRootLog struct {
	BaseURL       string `yaml:"baseURL"`
	HashAlgorithm string `yaml:"hashAlgorithm"`
	PublicKey     string `yaml:"publicKey"`
}

type trustRootAuthority struct {
	Subject struct {
		Organization string
		CommonName   string `yaml:"commonName"`
	}
	URI       string
	CertChain string `yaml:"certChain"`
}

func readYAML[T any](t *testing.T, data []byte) (v T) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(string(data)))
	d.KnownFields(true)
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v:\n%s", err, data)
	}
	return v
}

func unbase64(t *testing.T, text string) string {
	t.Helper()
	return string(must[[]byte](t)(base64.StdEncoding.DecodeString(text)))
}

func TestPolicyController(t *testing.T) {
	m := plain(t)
	r := readYAML[trustRoot](t, must[[]byte](t)(trust.PolicyController(m, "our-log")))
	if r.APIVersion != "policy.sigstore.dev/v1alpha1" || r.Kind != "TrustRoot" || r.Metadata.Name != "our-log" {
		t.Errorf("%s %s %s", r.APIVersion, r.Kind, r.Metadata.Name)
	}
	keys := r.Spec.SigstoreKeys
	if len(keys.TLogs) != 1 || keys.TLogs[0].BaseURL != "https://log.example.test" || keys.TLogs[0].HashAlgorithm != "sha-256" || unbase64(t, keys.TLogs[0].PublicKey) != logKey {
		t.Errorf("tLogs: %+v", keys.TLogs)
	}
	if len(keys.CTLogs) != 1 || unbase64(t, keys.CTLogs[0].PublicKey) != string(m.CTLogs[0].Key.PEM) {
		t.Errorf("ctLogs: %+v", keys.CTLogs)
	}
	for what, x := range map[string]struct {
		got  []trustRootAuthority
		want []verify.Authority
	}{"certificateAuthorities": {keys.CertificateAuthorities, m.CertificateAuthorities}, "timestampAuthorities": {keys.TimestampAuthorities, m.TimestampAuthorities}} {
		if len(x.got) != len(x.want) {
			t.Fatalf("%s: %+v", what, x.got)
		}
		for i, a := range x.got {
			chain := must[*sig.Key](t)(sig.ParsePEM([]byte(unbase64(t, a.CertChain))))
			if a.URI != x.want[i].URI || a.Subject.Organization != "Example: Ltd" || a.Subject.CommonName != "root" ||
				len(chain.Certificates) != 2 || !chain.Certificates[0].Equal(x.want[i].Chain[0]) || strings.HasSuffix(unbase64(t, a.CertChain), "\n\n") {
				t.Errorf("%s: %+v", what, a)
			}
		}
	}
	if trust.WithoutAuthority(m) || !trust.WithoutAuthority(verify.Material{Logs: m.Logs}) {
		t.Error("WithoutAuthority is wrong")
	}
	alone := string(must[[]byte](t)(trust.PolicyController(verify.Material{Logs: m.Logs}, "x")))
	if !strings.Contains(alone, "certificateAuthorities: []\n") {
		t.Errorf("a log alone gives\n%s", alone)
	}
}

// What a TrustRoot would make more of than the material says is refused.
func TestPolicyControllerRefuses(t *testing.T) {
	for name, change := range map[string]func(*verify.Material){
		"a log with an end":      func(m *verify.Material) { m.Logs[0].Valid.End = start.AddDate(1, 0, 0) },
		"a CA with an end":       func(m *verify.Material) { m.CertificateAuthorities[0].Valid.End = start.AddDate(1, 0, 0) },
		"a v2 log":               func(m *verify.Material) { m.Logs[0].ID = []byte(strings.Repeat("i", 32)) },
		"a log without URL":      func(m *verify.Material) { m.Logs[0].BaseURL = "" },
		"a TSA without URL":      func(m *verify.Material) { m.TimestampAuthorities[0].URI = "" },
		"a URL that is none":     func(m *verify.Material) { m.CTLogs[0].BaseURL = "somewhere" },
		"material without chain": func(m *verify.Material) { m.CertificateAuthorities[0].Chain = nil },
	} {
		m := plain(t)
		change(&m)
		if out, err := trust.PolicyController(m, "x"); err == nil {
			t.Errorf("%s: accepted:\n%s", name, out)
		}
	}
	if _, err := trust.PolicyController(plain(t), ""); err == nil {
		t.Error("no name: accepted")
	}
}

// attestor is the part of a Kyverno v1.19.1 attestor that Kyverno writes.
type attestor struct {
	Rekor struct{ URL, PubKey string }
	CTLog struct {
		IgnoreSCT    bool `yaml:"ignoreSCT"`
		PubKey       string
		TSACertChain string `yaml:"tsaCertChain"`
	}
	Roots string
}

func TestKyverno(t *testing.T) {
	m := plain(t)
	alone := must[[]byte](t)(trust.Kyverno(verify.Material{Logs: m.Logs}, "https://log.example.test"))
	const want = `rekor:
  url: https://log.example.test
  pubkey: |-
    -----BEGIN PUBLIC KEY-----
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnwRE7xCYDwRlDY7mdQGFYpqOG0v/
    wn5YgV4nV+0CLMof+MzNkbsZuTYULg7KlHL2Qahvq7WcEBI5thtJEodnXQ==
    -----END PUBLIC KEY-----
ctlog:
  ignoreSCT: true
`
	if string(alone) != want {
		t.Errorf("got\n%s\nwant\n%s", alone, want)
	}
	all := readYAML[attestor](t, must[[]byte](t)(trust.Kyverno(m, "https://log.example.test")))
	if all.CTLog.IgnoreSCT || all.CTLog.PubKey+"\n" != string(m.CTLogs[0].Key.PEM) {
		t.Errorf("ctlog: %+v", all.CTLog)
	}
	tsa := must[*sig.Key](t)(sig.ParsePEM([]byte(all.CTLog.TSACertChain)))
	if len(tsa.Certificates) != 2 || !tsa.Certificates[0].Equal(m.TimestampAuthorities[0].Chain[0]) {
		t.Errorf("tsaCertChain: %s", all.CTLog.TSACertChain)
	}
	if n := strings.Count(all.Roots, "BEGIN CERTIFICATE"); n != 2 {
		t.Fatalf("%d roots, not the issuing certificates of two authorities:\n%s", n, all.Roots)
	}
	if first := must[*sig.Key](t)(sig.ParsePEM([]byte(all.Roots[:strings.Index(all.Roots, "-----END")] + "-----END CERTIFICATE-----"))); !first.Certificates[0].Equal(m.CertificateAuthorities[0].Chain[0]) {
		t.Error("the first root is not the issuing certificate")
	}
}

// Of several keys an attestor gets the newest; one that was closed never.
func TestKyvernoChooses(t *testing.T) {
	m := material(t) // closed, open, v2; CT log with RSA
	m.CTLogs = nil
	got := readYAML[attestor](t, must[[]byte](t)(trust.Kyverno(m, "https://log.example.test")))
	if got.Rekor.PubKey+"\n" != logKey {
		t.Errorf("pubkey:\n%s", got.Rekor.PubKey)
	}
	for name, change := range map[string]func(*verify.Material){
		"no log":           func(m *verify.Material) { m.Logs = nil },
		"closed logs only": func(m *verify.Material) { m.Logs = m.Logs[:1] },
		"an RSA CT log":    func(m *verify.Material) { m.CTLogs = material(t).CTLogs },
		"closed CAs": func(m *verify.Material) {
			m.CertificateAuthorities = m.CertificateAuthorities[:1]
			m.CertificateAuthorities[0].Valid.End = start.AddDate(1, 0, 0)
		},
		"a closed TSA": func(m *verify.Material) { m.TimestampAuthorities[0].Valid.End = start.AddDate(1, 0, 0) },
	} {
		m := material(t)
		m.CTLogs = nil
		change(&m)
		if out, err := trust.Kyverno(m, "https://log.example.test"); err == nil {
			t.Errorf("%s: accepted:\n%s", name, out)
		}
	}
	if _, err := trust.Kyverno(m, "nowhere"); err == nil {
		t.Error("no URL: accepted")
	}
}

func TestTargets(t *testing.T) {
	m := material(t)
	m.Logs = append(m.Logs, plain(t).CTLogs[0]) // a second one that old clients know
	root := must[[]byte](t)(trust.Root(m))
	signing := must[[]byte](t)(trust.SigningConfig(trust.Services{Log: "https://log.example.test", Operator: "x"}))
	var names []string
	for _, f := range must[[]trust.Target](t)(trust.Targets(root, signing)) {
		about := ""
		if f.Custom != nil {
			var c struct {
				Sigstore struct{ Usage, Status, URI string }
			}
			if err := json.Unmarshal(f.Custom, &c); err != nil {
				t.Fatal(err)
			}
			about = " " + c.Sigstore.Usage + " " + c.Sigstore.Status + " " + c.Sigstore.URI
		}
		names = append(names, f.Name+about)
		if f.Name == "rekor.pub" && string(f.Content) != logKey {
			t.Errorf("rekor.pub:\n%s", f.Content)
		}
	}
	want := []string{
		"trusted_root.json", "signing_config.v0.2.json",
		"rekor.pub Rekor Active https://log.example.test", "rekor_2.pub Rekor Active https://ct.example.test",
		"ctfe.pub CTFE Active https://ct.example.test/a&b",
		"fulcio.crt.pem Fulcio Active https://ca.example.test", "fulcio_2.crt.pem Fulcio Active https://ca2.example.test",
		"tsa.crt.pem TSA Active https://tsa.example.test/api/v1/timestamp",
	}
	if got := strings.Join(names, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if _, err := trust.Targets(signing, nil); err == nil {
		t.Error("a signing config as trusted root: accepted")
	}
	if _, err := trust.Targets(root, root); err == nil {
		t.Error("a trusted root as signing config: accepted")
	}
}

// FuzzTargets: what is no trusted root or signing config is an error, nothing worse.
func FuzzTargets(f *testing.F) {
	f.Add([]byte(logRoot), []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`))
	f.Fuzz(func(t *testing.T, root, signing []byte) {
		files, err := trust.Targets(root, signing)
		if err == nil && len(files) < 1 {
			t.Error("no files, and no error")
		}
	})
}
