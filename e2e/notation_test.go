package e2e

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"slices"
	"strings"
	"testing"
)

// notation is the Notary Project's program, with a certificate authority and keys on these curves that it certified, which
// are named like them.
type notation struct {
	*shell
	registry *ociRegistry
}

func newNotation(t *testing.T, curves ...string) *notation {
	t.Helper()
	n := &notation{newShell(t), startRegistry(t)}
	n.shell = n.with(t, "NOTATION_CONFIG="+n.path("config"))
	ec := func(curve, subject, name string, words ...string) {
		t.Helper()
		n.run(args("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:"+curve, "-noenc", "-days", "1",
			"-subj", "/C=US/ST=WA/O=example.com/CN="+subject, "-keyout", name+".key", "-out", name+".crt"), words)
	}
	ec("P-256", "Root", "root", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	keys := []document{}
	for _, curve := range curves {
		ec(curve, curve, curve, "-CA", "root.crt", "-CAkey", "root.key", "-addext", "basicConstraints=critical,CA:false",
			"-addext", "keyUsage=critical,digitalSignature", "-addext", "extendedKeyUsage=codeSigning", "-addext", "subjectAltName=email:"+curve+"@example.com")
		n.file(curve+".chain", slices.Concat(n.read(curve+".crt"), n.read("root.crt")))
		keys = append(keys, document{"name": curve, "keyPath": n.path(curve + ".key"), "certPath": n.path(curve + ".chain")})
	}
	if err := os.Mkdir(n.path("config"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.document("config/signingkeys.json", document{"keys": keys})
	n.document("config/trustpolicy.json", document{"version": "1.0", "trustPolicies": []document{{"name": "ours", "registryScopes": args("*"),
		"signatureVerification": document{"level": "strict"}, "trustStores": args("ca:ours"), "trustedIdentities": args("*")}}})
	n.run(n.command("cert", "add", "--type", "ca", "--store", "ours", "root.crt"))
	return n
}

func (n *notation) command(words ...string) []string {
	return append(args(tool(n.t, "notation-v1.3.2", "notation")), words...)
}

// document writes a document as a file.
func (n *notation) document(name string, d document) {
	n.t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		n.t.Fatal(err)
	}
	n.file(name, text)
}

// sign has Notation sign an image, and verify it, and writes the envelope that it attached.
func (n *notation) sign(img image, key, format, envelope string) {
	n.t.Helper()
	n.run(n.command("sign", "--insecure-registry", "--key", key, "--signature-format", format, img.ref))
	n.run(n.command("verify", "--insecure-registry", img.ref))
	var index struct {
		Manifests []struct{ Digest, ArtifactType string }
	}
	if err := json.Unmarshal(n.registry.fetch("manifests/sha256-"+img.digest), &index); err != nil || len(index.Manifests) != 1 {
		n.t.Fatalf("image %s has %d signatures, %v", img.ref, len(index.Manifests), err)
	}
	n.file(envelope, n.registry.fetch("blobs/"+n.registry.layers(index.Manifests[0].Digest)[0].Digest))
}

// Signatures that Notation made, on every curve that it knows, are logged: the entry is about what was signed, rekor-cli's
// and this program's verification agree, and it is found by all that the log knows of it.
func TestNotation(t *testing.T) {
	hashes := map[string]func() hash.Hash{"P-256": sha256.New, "P-384": sha512.New384, "P-521": sha512.New}
	n := newNotation(t, "P-256", "P-384", "P-521")
	l := startLog(t, "sqlite:")
	r := newRekorCLI(t, l)
	log := args("--rekor-url", l.url, "--log-key", l.keyFile)
	index := 0
	for curve, hash := range hashes {
		envelope := curve + ".jws"
		n.sign(n.registry.push("signed with "+curve), curve, "jws", envelope)
		upload := append(args(binary, "upload", "--notation", envelope), log...)
		for range 2 { // the second time it is there
			if out := n.run(upload); !strings.Contains(out, fmt.Sprintf("%s is entry %d\n", envelope, index)) {
				t.Errorf("%s: %s", curve, out)
			}
			l.grew(int64(index), 1)
		}
		var e struct{ Protected, Payload, Signature string }
		if err := json.Unmarshal(n.read(envelope), &e); err != nil {
			t.Fatal(err)
		}
		h := hash()
		h.Write([]byte(e.Protected + "." + e.Payload))
		digest := fmt.Sprintf("sha%d:%x", h.Size()*8, h.Sum(nil))

		var got gotten
		r.ask(&got, "get", "--log-index", fmt.Sprint(index))
		var record struct {
			HashedRekordObj struct {
				Data struct {
					Hash struct{ Algorithm, Value string }
				}
				Signature struct {
					PublicKey struct{ Content []byte }
				}
			}
		}
		body, err := json.Marshal(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &record); err != nil {
			t.Fatal(err)
		}
		found := record.HashedRekordObj
		if got := found.Data.Hash.Algorithm + ":" + found.Data.Hash.Value; got != digest || string(found.Signature.PublicKey.Content) != string(n.read(curve+".crt")) {
			t.Errorf("%s: the entry is about %s, want %s; signed by\n%s", curve, got, digest, found.Signature.PublicKey.Content)
		}
		var proved verified
		r.ask(&proved, "verify", "--uuid", got.UUID)
		for _, words := range [][]string{{"--sha", digest}, {"--public-key", curve + ".crt"}, {"--email", curve + "@example.com"}} {
			if out := n.run(args(binary, "search"), words, log); !strings.Contains(out, fmt.Sprintf("entry %d\n", index)) || !strings.Contains(out, "\n1 entry found") ||
				!strings.Contains(out, "ok  the log holds it, and it is about what was searched for") {
				t.Errorf("%s: search %v: %s", curve, words, out)
			}
		}
		index++

		// An envelope that was changed in any of its parts is not sent.
		for _, part := range args(e.Protected, e.Payload, e.Signature) {
			raw, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			n.file("changed.jws", []byte(strings.Replace(string(n.read(envelope)), part, base64.RawURLEncoding.EncodeToString(raw), 1)))
			n.refuse(args("changed.jws was not sent: error processing entry: verifying signature"), args(binary, "upload", "--notation", "changed.jws"), log)
		}
		l.grew(int64(index), 0)
	}

	// What the log has no place for.
	n.sign(n.registry.push("in COSE"), "P-256", "cose", "image.cose")
	n.refuse(args("a COSE envelope"), args(binary, "upload", "--notation", "image.cose"), log)
	n.run(n.command("cert", "generate-test", "test"))
	n.run(n.command("cert", "add", "--type", "ca", "--store", "ours", "config/localkeys/test.crt"))
	n.sign(n.registry.push("with RSA"), "test", "jws", "rsa.jws")
	n.refuse(args("PSS padding (PS256)"), args(binary, "upload", "--notation", "rsa.jws"), log)
	l.grew(int64(index), 0)
}

// notationSettings has images in a registry that Notation asks without TLS, which is one by this name.
func notationSettings(t *testing.T) map[string]string {
	values := logAndImages(t)
	r := startRegistry(t)
	local := strings.Replace(r.host, "127.0.0.1", "localhost", 1)
	values["REGISTRY"] = "http://" + local
	for _, name := range args("IMAGE", "OTHER_IMAGE", "THIRD_IMAGE") {
		values[name] = strings.Replace(r.push("application "+name).ref, r.host, local, 1)
	}
	return values
}
