package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// The scripts in testdata/client run the commands that speak to a log. Besides what
// the other scripts have (see TestScripts), there are:
//
//	signer NAME [CURVE|ed25519|ed25519ph]   makes NAME.pub, and NAME.crt for the address
//	                               NAME@example.test; P-256 unless said otherwise
//	sign NAME FILE                 writes FILE.sig, raw, and FILE.sig.b64
//	envelope NAME FILE             writes FILE.dsse, an in-toto statement about FILE
//	bundle NAME FILE [key|old|dsse]        writes FILE.bundle: a Sigstore bundle with the certificate; with a
//	                               hint of the key; in cosign's older form; with FILE.dsse
//	notation NAME FILE [OTHER]     writes FILE, an envelope of Notation's; with another signer's certificate
//	propose NAME FILE [intoto]     writes FILE.json, a proposal: of FILE, or of FILE.dsse
//	lie NAME URL OLD NEW           starts a proxy in front of a log, $NAME_URL, that replaces text in its answers
//	meanwhile NAME URL ARGS…       starts a proxy in front of a log, $NAME_URL, that runs "tallystick ARGS…" before
//	                               it passes on the first answer
//	holds KEYFILE FILE             FILE, JSON, has an entry that verifies with the log's key
//	merge FILE FILE OUT            writes to OUT a trusted root with the logs of two
//	spki KEYFILE                   sets $SPKI, the SHA-256 of the key's SubjectPublicKeyInfo in hexadecimal
//	checkpoint FILE OUT            writes the active tree's checkpoint in FILE, the JSON of "tallystick log", to OUT
func TestClientScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:      "testdata/client",
		Deadline: time.Now().Add(deadline),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "quit": quit, "exits": exits, "get": get, "mode": mode, "signer": makeSigner, "sign": sign,
			"envelope": envelope, "bundle": makeBundle, "notation": makeNotation, "propose": propose, "lie": lie, "holds": holds, "checkpoint": checkpoint,
			"merge": merge, "spki": spki, "meanwhile": meanwhile,
		},
		Setup: func(env *testscript.Env) error {
			env.Values[serversKey{}] = map[string]*running{}
			env.Values[signersKey{}] = map[string]*scriptSigner{}
			env.Setenv("HOME", env.WorkDir+"/home")
			return nil
		},
		RequireExplicitExec: true,
	})
}

type signersKey struct{}

// scriptSigner signs for scripts.
type scriptSigner struct {
	key  crypto.Signer
	opts crypto.SignerOpts
	hash func() hash.Hash // nil: pure Ed25519
	pem  []byte
	cert []byte // DER
}

func signerOf(ts *testscript.TestScript, name string) *scriptSigner {
	all, _ := ts.Value(signersKey{}).(map[string]*scriptSigner)
	if all[name] == nil {
		ts.Fatalf("no signer %s", name)
	}
	return all[name]
}

func makeSigner(ts *testscript.TestScript, neg bool, args []string) {
	s := &scriptSigner{opts: crypto.SHA256, hash: sha256.New}
	var err error
	kind := "P-256"
	if len(args) > 1 {
		kind = args[1]
	}
	curve := elliptic.P256()
	switch kind {
	case "P-384":
		curve, s.opts, s.hash = elliptic.P384(), crypto.SHA384, sha512.New384
	case "P-521":
		curve, s.opts, s.hash = elliptic.P521(), crypto.SHA512, sha512.New
	case "ed25519":
		s.opts, s.hash = crypto.Hash(0), nil
	case "ed25519ph":
		s.opts, s.hash = &ed25519.Options{Hash: crypto.SHA512}, sha512.New
	}
	if strings.HasPrefix(kind, "ed25519") {
		_, s.key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		s.key, err = ecdsa.GenerateKey(curve, rand.Reader)
	}
	ts.Check(err)
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	ts.Check(err)
	s.pem = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: args[0]}, NotAfter: time.Now().Add(time.Hour),
		EmailAddresses: []string{args[0] + "@example.test"}}
	s.cert, err = x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), s.pem, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".der"), s.cert, 0o600))
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".crt"), text, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".crt.b64"), []byte(base64.StdEncoding.EncodeToString(text)), 0o600))
	ts.Value(signersKey{}).(map[string]*scriptSigner)[args[0]] = s
}

func (s *scriptSigner) sign(ts *testscript.TestScript, message []byte) []byte {
	if s.hash != nil {
		h := s.hash()
		h.Write(message)
		message = h.Sum(nil)
	}
	signature, err := s.key.Sign(rand.Reader, message, s.opts)
	ts.Check(err)
	return signature
}

func sign(ts *testscript.TestScript, neg bool, args []string) {
	signature := signerOf(ts, args[0]).sign(ts, []byte(ts.ReadFile(args[1])))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]+".sig"), signature, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]+".sig.b64"), []byte(base64.StdEncoding.EncodeToString(signature)+"\n"), 0o600))
}

func writeJSON(ts *testscript.TestScript, name string, v any) {
	data, err := json.Marshal(v)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
}

func envelope(ts *testscript.TestScript, neg bool, args []string) {
	const payloadType = "application/vnd.in-toto+json"
	digest := sha256.Sum256([]byte(ts.ReadFile(args[1])))
	payload, err := json.Marshal(object{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.test/p", "predicate": object{},
		"subject": []object{{"name": args[1], "digest": object{"sha256": hex.EncodeToString(digest[:])}}}})
	ts.Check(err)
	signature := signerOf(ts, args[0]).sign(ts, sig.PAE(payloadType, payload))
	writeJSON(ts, args[1]+".dsse", object{"payloadType": payloadType, "payload": payload, "signatures": []object{{"sig": signature}}})
}

func makeBundle(ts *testscript.TestScript, neg bool, args []string) {
	s := signerOf(ts, args[0])
	content := []byte(ts.ReadFile(args[1]))
	digest := sha256.Sum256(content)
	form := ""
	if len(args) > 2 {
		form = args[2]
	}
	material := object{"certificate": object{"rawBytes": s.cert}}
	b := object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material}
	switch form {
	case "dsse":
		b["dsseEnvelope"] = json.RawMessage(ts.ReadFile(args[1] + ".dsse"))
	case "key":
		b["verificationMaterial"] = object{"publicKey": object{"hint": "x"}}
		fallthrough
	case "":
		b["messageSignature"] = object{"messageDigest": object{"algorithm": "SHA2_256", "digest": digest[:]}, "signature": s.sign(ts, content)}
	case "old":
		b = object{"base64Signature": s.sign(ts, content), "cert": s.pem, "rekorBundle": nil}
	}
	writeJSON(ts, args[1]+".bundle", b)
}

func makeNotation(ts *testscript.TestScript, neg bool, args []string) {
	s := signerOf(ts, args[0])
	e := newNotationEnvelope(ts.Check, map[crypto.SignerOpts]string{crypto.SHA256: "ES256", crypto.SHA384: "ES384", crypto.SHA512: "ES512"}[s.opts], s.key, crypto.SHA512)
	if h, ok := s.opts.(crypto.Hash); ok && h != 0 {
		e.hash = h
	}
	e.leaf = s.cert
	if len(args) > 2 {
		e.leaf = signerOf(ts, args[2]).cert
	}
	writeJSON(ts, args[1], e.jws(ts.Check))
}

func propose(ts *testscript.TestScript, neg bool, args []string) {
	s := signerOf(ts, args[0])
	if len(args) > 2 {
		writeJSON(ts, args[1]+".json", object{"kind": "intoto", "apiVersion": "0.0.1", "spec": object{
			"content": object{"envelope": ts.ReadFile(args[1] + ".dsse")}, "publicKey": s.pem}})
		return
	}
	content := []byte(ts.ReadFile(args[1]))
	digest := sha256.Sum256(content)
	data, err := proposeDigest(digestOf("sha256", digest[:]), s.sign(ts, content), s.pem)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]+".json"), data, 0o600))
}

func digestOf(algorithm string, value []byte) digest { return digest{algorithm, value} }

func lie(ts *testscript.TestScript, neg bool, args []string) {
	target, err := url.Parse(args[1])
	ts.Check(err)
	p := httputil.NewSingleHostReverseProxy(target)
	p.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte(args[2]), []byte(args[3]))))
		r.Header.Del("Content-Length")
		r.ContentLength = -1
		return err
	}
	s := httptest.NewServer(p)
	ts.Defer(s.Close)
	ts.Setenv(args[0]+"_URL", s.URL)
}

func meanwhile(ts *testscript.TestScript, neg bool, args []string) {
	target, err := url.Parse(args[1])
	ts.Check(err)
	path, err := exec.LookPath("tallystick")
	ts.Check(err)
	cmd := exec.Command("tallystick", args[2:]...)
	cmd.Path, cmd.Err, cmd.Dir = path, nil, ts.Getenv("WORK")
	for _, name := range []string{"PATH", "HOME", "TALLYSTICK_LOG_KEY"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	var once sync.Once
	p := httputil.NewSingleHostReverseProxy(target)
	p.ModifyResponse = func(*http.Response) (err error) {
		once.Do(func() {
			if out, failed := cmd.CombinedOutput(); failed != nil {
				err = fmt.Errorf("%v: %w: %s", cmd.Args, failed, out)
			}
		})
		return err
	}
	s := httptest.NewServer(p)
	ts.Defer(s.Close)
	ts.Setenv(args[0]+"_URL", s.URL)
}

func holds(ts *testscript.TestScript, neg bool, args []string) {
	trust, err := verify.TrustLogKey([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	var result struct{ Entry json.RawMessage }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &result))
	e, err := verify.ParseEntry(result.Entry)
	ts.Check(err)
	p, err := trust.VerifyEntry(e)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "entry %d\n", p.LogIndex)
}

func merge(ts *testscript.TestScript, neg bool, args []string) {
	var one, two map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &one))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &two))
	one["tlogs"] = append(one["tlogs"].([]any), two["tlogs"].([]any)...)
	writeJSON(ts, args[2], one)
}

func spki(ts *testscript.TestScript, neg bool, args []string) {
	block, _ := pem.Decode([]byte(ts.ReadFile(args[0])))
	ts.Setenv("SPKI", fmt.Sprintf("%x", sha256.Sum256(block.Bytes)))
}

func checkpoint(ts *testscript.TestScript, neg bool, args []string) {
	var result struct{ Trees []struct{ Checkpoint string } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &result))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(result.Trees[len(result.Trees)-1].Checkpoint), 0o600))
}
