//go:build kubernetes

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// engines are images in a registry, signed and logged or not, and what admission engines need to tell
// which: the key cosign.pub, a log, and trust in it as a TUF repository, which the log hands out.
type engines struct {
	*shell
	log, foreign *testLog
	fulcio       *fulcio
	issuer       *issuer
	registry     *ociRegistry
	images       []candidate
}

// unknown is why cosign's packages refuse what is not logged; the last reason, when the log cannot be asked.
var unknown = slices.Concat(notLogged, args("searching log query"))

// candidate is an image that wants to be admitted.
type candidate struct {
	name  string // what is wrong with it, if anything
	form  string // that of its signature: "legacy" or "bundle"; empty if nobody signed it
	image image
	tag   string // host/repository:tag, if it has one
	// refused is why who asks for a signature by cosign.key in the log refuses it, as cosign's packages word
	// it; nil for what has one.
	refused []string
}

func (c candidate) String() string { return strings.TrimPrefix(c.form+" "+c.name, " ") }

// newEngines makes them. The repository also names a certificate authority and a CT log, without which
// Kyverno's ImageValidatingPolicy takes none.
func newEngines(t *testing.T) *engines {
	t.Helper()
	e := &engines{shell: newShell(t), log: startLog(t, "sqlite:"), foreign: startLog(t, "sqlite:"), registry: startRegistry(t), issuer: startIssuer(t)}
	e.fulcio = startFulcio(t, e.issuer)
	e.run(args(cosign3(t), "generate-key-pair"))
	e.run(args(cosign3(t), "generate-key-pair", "--output-key-prefix", "foreign"))
	e.file("fulcio.pem", e.fulcio.chain)
	e.file("ct.pub", newPublicKey(t))
	e.file("log.pub", readFile(t, e.log.keyFile))
	e.file("foreign-log.pub", readFile(t, e.foreign.keyFile))
	for _, l := range []struct {
		*testLog
		prefix string
	}{{e.log, ""}, {e.foreign, "foreign-"}} {
		e.run(args(binary, "trust", "root", "--data-dir", l.dataDir(), "--url", l.url, "-o", l.prefix+"trusted-root.json",
			"--fulcio-chain", "fulcio.pem", "--fulcio-url", e.fulcio.url, "--ctlog-key", "ct.pub"))
		e.run(args(binary, "trust", "signing-config", "--url", l.url, "-o", l.prefix+"signing-config.json", "--fulcio-url", e.fulcio.url, "--oidc-url", e.issuer.people))
	}
	e.run(args(binary, "trust", "tuf", "init", "--tuf-dir", "tuf", "--tuf-keys", "keys", "--trusted-root", "trusted-root.json", "--signing-config", "signing-config.json"))
	e.log.with("--tuf-dir", e.path("tuf"))
	e.signAll()
	return e
}

// signAll makes the images and signs them, with cosign 2 in the legacy form and with cosign 3 in bundles.
func (e *engines) signAll() {
	e.t.Helper()
	legacy := args(cosign2(e.t), "sign", "--yes")
	bundle := args(cosign3(e.t), "sign", "--yes")
	keyless := args("--identity-token", e.issuer.person(person))
	for _, x := range []struct {
		candidate
		sign [][]string
	}{
		{candidate{name: "signed", form: "legacy"}, [][]string{legacy, args("--key", "cosign.key", "--rekor-url", e.log.url)}},
		{candidate{name: "foreign key", form: "legacy", refused: wrongKey}, [][]string{legacy, args("--key", "foreign.key", "--rekor-url", e.log.url)}},
		{candidate{name: "foreign log", form: "legacy", refused: wrongLog}, [][]string{legacy, args("--key", "cosign.key", "--rekor-url", e.foreign.url)}},
		{candidate{name: "not logged", form: "legacy", refused: unknown}, [][]string{legacy, args("--key", "cosign.key", "--tlog-upload=false")}},
		{candidate{name: "keyless", form: "legacy", refused: slices.Concat(wrongKey, noKeySigned)}, [][]string{legacy, keyless, args("--rekor-url", e.log.url,
			"--fulcio-url", e.fulcio.url, "--oidc-issuer", e.issuer.people, "--insecure-skip-verify")}},
		{candidate{name: "signed", form: "bundle"}, [][]string{bundle, args("--key", "cosign.key", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")}},
		{candidate{name: "foreign key", form: "bundle", refused: wrongKey}, [][]string{bundle, args("--key", "foreign.key", "--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json")}},
		{candidate{name: "foreign log", form: "bundle", refused: wrongLog}, [][]string{bundle, args("--key", "cosign.key", "--signing-config", "foreign-signing-config.json", "--trusted-root", "foreign-trusted-root.json")}},
		{candidate{name: "not logged", form: "bundle", refused: unknown}, [][]string{bundle, args("--key", "cosign.key", "--use-signing-config=false", "--tlog-upload=false")}},
		{candidate{name: "unsigned", refused: slices.Concat(noSignature, args("No verification results"))}, nil},
	} {
		x.image = e.registry.push(x.String())
		if x.sign != nil {
			e.run(append(x.sign, args(x.image.ref))...)
		}
		e.images = append(e.images, x.candidate)
	}
}

// attest signs and logs a vulnerability scan of an image that ended then, in this form; the words are cosign's.
func (e *engines) attest(form string, img image, ended time.Time, words ...string) {
	e.t.Helper()
	e.file("vuln.json", []byte(`{"invocation":{"parameters":null,"uri":"https://ci.example/1","event_id":"1","builder.id":"ci"},
		"scanner":{"uri":"pkg:golang/scanner@1","version":"1","db":{"uri":"","version":""},"result":{"findings":[]}},
		"metadata":{"scanStartedOn":"`+ended.UTC().Format(time.RFC3339)+`","scanFinishedOn":"`+ended.UTC().Format(time.RFC3339)+`"}}`))
	program := cosign3(e.t)
	if form == "legacy" {
		program = cosign2(e.t)
	}
	e.run(args(program, "attest", "--yes", "--type", "vuln", "--predicate", "vuln.json"), words, args(img.ref))
}

// judge runs an engine's command, which has to accept if there is no reason to refuse, and else to refuse
// for one of the reasons.
func (e *engines) judge(refused []string, command []string) {
	e.t.Helper()
	if refused == nil {
		e.run(command)
		return
	}
	e.refuse(refused, command)
}

// says reports whether an engine's output has one of the reasons.
func says(output string, reasons []string) bool {
	return slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(output, r) })
}

// of returns the images whose signatures have the form, and those that have none.
func (e *engines) of(form string) []candidate {
	return slices.DeleteFunc(slices.Clone(e.images), func(c candidate) bool { return c.form != "" && c.form != form })
}

// tag gives an image a tag, and returns it as host/repository:tag.
func (r *ociRegistry) tag(img image, tag string) string {
	r.t.Helper()
	ref, err := name.ParseReference(img.ref)
	if err != nil {
		r.t.Fatal(err)
	}
	what, err := remote.Get(ref)
	if err != nil {
		r.t.Fatal(err)
	}
	to := ref.Context().Tag(tag)
	if err := remote.Tag(to, what); err != nil {
		r.t.Fatal(err)
	}
	return to.String()
}

// pod returns a Kubernetes Pod of an image, in YAML.
func pod(image string) []byte {
	return []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default}\nspec: {containers: [{name: c, image: \"" + image + "\"}]}\n")
}

// tufMirror serves the TUF repository without the log.
func (e *engines) tufMirror() string {
	e.t.Helper()
	s := httptest.NewServer(http.StripPrefix("/tuf", http.FileServer(http.Dir(e.path("tuf")))))
	e.t.Cleanup(s.Close)
	return s.URL + "/tuf"
}

// base64 returns a file in the form that YAML takes for bytes.
func (e *engines) base64(name string) string {
	e.t.Helper()
	return base64.StdEncoding.EncodeToString(e.read(name))
}

func newPublicKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// indent indents lines, to be put into YAML.
func indent(n int, text []byte) string {
	return strings.Repeat(" ", n) + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n"+strings.Repeat(" ", n))
}

// deployed returns a file of deploy/kubernetes, with values for what stands in it: pairs of old and new text. What is
// not there cannot be replaced.
func deployed(t *testing.T, name string, values ...string) []byte {
	t.Helper()
	text := string(readFile(t, "../deploy/kubernetes/"+name))
	for i := 0; i < len(values); i += 2 {
		if !strings.Contains(text, values[i]) {
			t.Fatalf("%s has no %q", name, values[i])
		}
	}
	return []byte(strings.NewReplacer(values...).Replace(text))
}

// yamlBlock returns lines as they stand in YAML after "|" and the indentation of the first one.
func yamlBlock(n int, text []byte) string { return strings.TrimSpace(indent(n, text)) }
