package entry

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
)

// signer is one of the test keys.
type signer struct {
	crypto.Signer
	pem string
}

func testSigner(t testing.TB, name string) signer {
	t.Helper()
	var file struct {
		Keys map[string]struct{ Private, Public string }
	}
	readJSON(t, "keys", &file)
	block, _ := pem.Decode([]byte(file.Keys[name].Private))
	if block == nil {
		t.Fatalf("no key %q", name)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k.(crypto.Signer), file.Keys[name].Public}
}

// sign signs as DSSE does: over SHA-256, or pure Ed25519.
func (s signer) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	h := crypto.SHA256
	sum := sha256.Sum256(message)
	digest := sum[:]
	if _, ok := s.Public().(ed25519.PublicKey); ok {
		h, digest = 0, message
	}
	out, err := s.Sign(rand.Reader, digest, h)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type object = map[string]any

func proposal(t testing.TB, kind, version string, spec any) []byte {
	return marshal(t, object{"kind": kind, "apiVersion": version, "spec": spec})
}

// envelope signs a payload with some keys.
func envelope(t testing.TB, payloadType string, payload []byte, signers ...signer) []byte {
	var signatures []object
	for _, s := range signers {
		signatures = append(signatures, object{"sig": b64(s.sign(t, sig.PAE(payloadType, payload)))})
	}
	return marshal(t, object{"payloadType": payloadType, "payload": b64(payload), "signatures": signatures})
}

func dsseProposal(t testing.TB, env []byte, verifiers ...signer) []byte {
	var pems []string
	for _, v := range verifiers {
		pems = append(pems, b64([]byte(v.pem)))
	}
	return proposal(t, "dsse", "0.0.1", object{"proposedContent": object{"envelope": string(env), "verifiers": pems}})
}

func intoto001Proposal(t testing.TB, payload []byte, s signer) []byte {
	env := envelope(t, inTotoType, payload, s)
	return proposal(t, "intoto", "0.0.1", object{"publicKey": b64([]byte(s.pem)), "content": object{"envelope": string(env)}})
}

func rekordSpec(t testing.TB, artifact []byte, s signer) object {
	return object{
		"data":      object{"content": b64(artifact)},
		"signature": object{"format": "x509", "content": b64(s.sign(t, artifact)), "publicKey": object{"content": b64([]byte(s.pem))}},
	}
}

func statement(digests int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"subject":[{"digest":{"sha1":"x"`)
	for i := range digests - 1 {
		fmt.Fprintf(&b, `,"a%d":"v"`, i)
	}
	b.WriteString(`}}]}`)
	return b.Bytes()
}

func TestSearchKeyLimits(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	const others = 3 // the key, the payload's hash, the envelope's
	got, err := p.Propose(dsseProposal(t, envelope(t, inTotoType, statement(MaxKeys-others), s), s))
	if err != nil || len(got.Leaf.Keys) != MaxKeys {
		t.Errorf("%d keys, %v; want %d", len(got.Leaf.Keys), err, MaxKeys)
	}
	_, err = p.Propose(dsseProposal(t, envelope(t, inTotoType, statement(MaxKeys-others+1), s), s))
	wantError(t, err, Invalid, 400)
	if want := fmt.Sprintf("%d search keys, more than %d", MaxKeys+1, MaxKeys); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
	// The same digest many times is one key.
	many := []byte(`{"subject":[` + strings.Repeat(`{"digest":{"sha1":"ab"}},`, 2*MaxKeys) + `{}]}`)
	got, err = p.Propose(dsseProposal(t, envelope(t, inTotoType, many, s), s))
	if err != nil || len(got.Leaf.Keys) != others+1 {
		t.Errorf("%d keys, %v; want %d", len(got.Leaf.Keys), err, others+1)
	}
}

func TestStatementKeys(t *testing.T) {
	long := strings.Repeat("f", tlog.MaxKeyValue-len("x:"))
	for payload, want := range map[string][]string{
		`{"subject":[{"digest":{"SHA256":"ABcd","gitCommit":"Q+/="}}]}`:               {"sha256:abcd", "gitcommit:q+/="},
		`{"subject":[{"digest":{"sha1":5,"x":"1"}},7,{"digest":[]},null]}`:            {"x:1"},
		`{"subject":{},"predicate":{"materials":[{"digest":{"m":"1"}}]}}`:             {"m:1"},
		`{"predicate":{"materials":{"digest":{"m":"1"}}}}`:                            nil,
		`{"predicate":[],"subject":[{"digest":{"a":"1","a":"2"}}],"subject":[]}`:      {"a:1", "a:2"},
		`{"predicate":{"resolvedDependencies":[{"digest":{"m":"1"}}]}}`:               nil,
		`{"subject":[{"digest":{"a":"1"}}]`:                                           nil,
		`{"subject":[{"digest":{"a":"1"}}]} x`:                                        nil,
		`[]`:                                                                          nil,
		`{"subject":[{"digest":{"x":"` + long + `"}}]}`:                               {"x:" + long},
		`{"subject":[{"digest":{"x":"` + long + `f"}}]}`:                              nil,
		`{"subject":[{"digest":{"x":"a\u0000b","y":"` + "\xff" + `","z":"\ud800"}}]}`: {"z:\ufffd"},
		`{"subject":[{"digest":{"x":"` + strings.Repeat("Ⱥ", 1000) + `"}}]}`:          nil, // three bytes each in lower case
		strings.Repeat(`{"subject":`, 20000):                                          nil,
	} {
		var s keySet
		s.statement(inTotoType, []byte(payload))
		var got []string
		for _, k := range s.keys {
			got = append(got, k.Value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%.80s: keys %.80q, want %.80q", payload, got, want)
		}
		if refused := strings.Contains(payload, "ffff\"") && want == nil || strings.Contains(payload, "Ⱥ") || strings.Contains(payload, "\xff"); refused != (s.err != nil) {
			t.Errorf("%.80s: %v", payload, s.err)
		}
		s = keySet{}
		if s.statement("text/plain", []byte(payload)); s.keys != nil {
			t.Errorf("%.80s: keys of another payload type", payload)
		}
	}
}

func TestLeafLimit(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	payload := []byte("hello")
	build := func(typeLen int) []byte {
		typ := strings.Repeat("t", typeLen)
		text := b64(s.sign(t, sig.PAE(typ, payload)))
		return proposal(t, "intoto", "0.0.2", object{"content": object{
			"hash": object{"algorithm": "sha256", "value": "x"},
			"envelope": object{"payloadType": typ, "payload": b64([]byte(b64(payload))), "signatures": []object{
				{"sig": b64([]byte(text)), "publicKey": b64([]byte(s.pem)), "keyid": strings.Repeat("k", 96-len(text))},
			}},
		}})
	}
	small, err := p.Propose(build(1))
	if err != nil {
		t.Fatal(err)
	}
	room := tlog.MaxLeaf - len(small.Leaf.Body)
	// The signature's length varies by a few bytes, which its base64 doubles.
	if _, err := p.Propose(build(room - 64)); err != nil {
		t.Errorf("body just below the limit: %v", err)
	}
	_, err = p.Propose(build(room + 64))
	wantError(t, err, Invalid, 400)
	if err != nil && !strings.Contains(err.Error(), "65535") {
		t.Errorf("error %q does not name the limit", err)
	}
	if _, err := p.Lookup(build(room + 64)); err != nil {
		t.Errorf("lookup of a large entry: %v", err)
	}
}

func TestAttestation(t *testing.T) {
	s := testSigner(t, "ecdsa-p256")
	payload := bytes.Repeat([]byte("a"), 100)
	for _, c := range []struct {
		limit int
		kept  bool
	}{{0, false}, {99, false}, {100, true}} {
		p, err := New(Options{MaxAttestation: c.limit})
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Propose(intoto001Proposal(t, payload, s))
		if err != nil {
			t.Fatal(err)
		}
		if kept := bytes.Equal(got.Leaf.Attestation, payload); kept != c.kept || got.AttestationDropped == c.kept {
			t.Errorf("limit %d: kept %v, dropped %v", c.limit, kept, got.AttestationDropped)
		}
		dsse, err := p.Propose(dsseProposal(t, envelope(t, inTotoType, payload, s), s))
		if err != nil || dsse.Leaf.Attestation != nil || dsse.AttestationDropped {
			t.Errorf("dsse has an attestation: %v, %v", dsse, err)
		}
	}
}

func TestKinds(t *testing.T) {
	if got := Kinds(); !slices.Equal(got, []string{"hashedrekord", "intoto", "dsse", "rekord"}) {
		t.Errorf("kinds %q", got)
	}
	if _, err := New(Options{Kinds: []string{"nosuch"}}); err == nil {
		t.Error("unknown kind allowed")
	}
	p, err := New(Options{Kinds: []string{"dsse"}, KeyCache: -1})
	if err != nil {
		t.Fatal(err)
	}
	all := vectors(t)
	if _, err := p.Propose(all["dsse-0.0.1/slsa02-pem"].ProposedEntry); err != nil {
		t.Errorf("allowed kind: %v", err)
	}
	raw := all["hashedrekord-0.0.1/p256-pem"].ProposedEntry
	_, err = p.Propose(raw)
	wantError(t, err, NotEnabled, 400)
	if _, err := p.Lookup(raw); err != nil {
		t.Errorf("lookup of a kind that may not be proposed: %v", err)
	}
}

func TestHeader(t *testing.T) {
	p := newParser(t)
	for _, c := range []struct {
		raw   string
		class Class
		code  int
	}{
		{``, Incomplete, 602},
		{" \n", Incomplete, 602},
		{`[]`, Malformed, 400},
		{`"x"`, Malformed, 400},
		{`{} garbage`, Incomplete, 602},
		{`{"kind":"dsse"`, Malformed, 400},
		{`{"kind":5}`, Malformed, 400},
		{`{"kind":null}`, Incomplete, 602},
		{`{"Kind":"dsse","apiVersion":"0.0.1","spec":{}}`, Incomplete, 602},
		{`{"kind":"dsse","kind":"dsse","apiVersion":"0.0.1","spec":{}}`, Malformed, 400},
		{`{"kind":"dsse","apiVersion":"","spec":{}}`, Incomplete, 605},
		{`{"kind":"dsse","apiVersion":"0.0.1","spec":null}`, Incomplete, 602},
		{`{"kind":"dsse","apiVersion":"0.0.1","spec":{}`, Malformed, 400},
		{`{"kind":"dsse","apiVersion":"0.0.1","spec":[]}`, Invalid, 400},
		{`{"kind":"dsse","apiVersion":"0.0.1","spec":"x"}`, Invalid, 400},
		{`{"kind":"dsse","apiVersion":"0.0.1","spec":{}}`, Invalid, 400},
		{`{"kind":"dsse","apiVersion":"0.0.2","spec":{}}`, UnknownVersion, 400},
		{`{"kind":"dsse","apiVersion":"1.0.0-rc.1+x","spec":{}}`, UnknownVersion, 400},
		{`{"kind":"tuf","apiVersion":"0.0.1","spec":{}}`, NotEnabled, 400},
		{`{"kind":"nosuch"}`, UnknownKind, 422},
		{`{"kind":"` + strings.Repeat("x", 5000) + `"}`, UnknownKind, 422},
		{"{\"kind\":\"\xff\"}", Malformed, 400},
		{`{"kind":"dsse","x":` + strings.Repeat("[", 1e6), Malformed, 400},
	} {
		_, err := p.Propose([]byte(c.raw))
		wantError(t, err, c.class, c.code)
		if err != nil && len(err.Error()) > 600 {
			t.Errorf("message of %d bytes", len(err.Error()))
		}
		_, err = p.Lookup([]byte(c.raw))
		wantError(t, err, c.class, 400)
	}
}

func TestCommittedOfOtherKinds(t *testing.T) {
	p := newParser(t)
	for _, body := range []string{`{"apiVersion":"0.0.1","kind":"tuf","spec":{"x":1}}`, `{"apiVersion":"0.0.9","kind":"dsse","spec":{}}`} {
		info, err := p.Committed([]byte(body))
		if err != nil || info.Keys != nil || info.Kind == "" || info.Version == "" {
			t.Errorf("%s: %+v, %v", body, info, err)
		}
	}
	for _, body := range []string{``, `x`, `{}`, `{"apiVersion":"0.0.1","kind":"dsse","spec":{}}`} {
		if _, err := p.Committed([]byte(body)); err == nil {
			t.Errorf("%q: no error", body)
		}
	}
	odd := `{"apiVersion":"0.0.1","kind":"intoto","spec":{"content":{"hash":{"algorithm":"sha256","value":"ab"}},"publicKey":"bm90IHBlbQ=="}}`
	info, err := p.Committed([]byte(odd))
	if want := []tlog.Key{{Type: tlog.KeyDigest, Value: "sha256:ab"}}; err != nil || !slices.Equal(info.Keys, want) {
		t.Errorf("unreadable key in a body: %+v, %v", info, err)
	}
}

func TestRekord(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	artifact := []byte("artifact")
	sum := sha256.Sum256(artifact)
	for name, c := range map[string]struct {
		change func(data, signature object)
		class  Class
	}{
		"hash given":             {func(d, _ object) { d["hash"] = object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sum)} }, 0},
		"hash in upper case":     {func(d, _ object) { d["hash"] = object{"algorithm": "sha256", "value": fmt.Sprintf("%X", sum)} }, Invalid},
		"hash of something else": {func(d, _ object) { d["hash"] = object{"algorithm": "sha256", "value": strings.Repeat("0", 64)} }, Invalid},
		"hash sha512":            {func(d, _ object) { d["hash"] = object{"algorithm": "sha512", "value": fmt.Sprintf("%x", sum)} }, Invalid},
		"hash empty":             {func(d, _ object) { d["hash"] = object{} }, Invalid},
		"data null":              {func(d, _ object) { d["content"] = nil }, Invalid},
		"url to fetch":           {func(d, _ object) { d["url"] = "http://127.0.0.1/" }, Invalid},
		"url empty":              {func(d, _ object) { d["url"] = "" }, 0},
		"key url":                {func(_, g object) { g["publicKey"].(object)["url"] = "file:///etc/passwd" }, Invalid},
		"signature url":          {func(_, g object) { g["url"] = "http://x" }, Invalid},
		"pgp":                    {func(_, g object) { g["format"] = "pgp" }, NotEnabled},
		"unknown format":         {func(_, g object) { g["format"] = "x" }, Invalid},
		"no format":              {func(_, g object) { delete(g, "format") }, Invalid},
		"other signature":        {func(_, g object) { g["content"] = b64(s.sign(t, []byte("x"))) }, Invalid},
		"signature not base64":   {func(_, g object) { g["content"] = "*" }, Invalid},
		"key missing":            {func(_, g object) { delete(g, "publicKey") }, Invalid},
		"committed form proposed": {func(d, _ object) {
			d["hash"] = object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sum)}
			delete(d, "content")
		}, Invalid},
	} {
		spec := rekordSpec(t, artifact, s)
		c.change(spec["data"].(object), spec["signature"].(object))
		_, err := p.Propose(proposal(t, "rekord", "0.0.1", spec))
		var e *Error
		switch errors.As(err, &e); {
		case c.class == 0 && err != nil, c.class != 0 && (e == nil || e.Class != c.class || e.Code != 400):
			t.Errorf("%s: error %v, want class %d", name, err, c.class)
		}
	}
}

func TestSignatureLimits(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	times := func(n int, s signer) []signer { return slices.Repeat([]signer{s}, n) }
	env := envelope(t, inTotoType, []byte("{}"), times(MaxSignatures+1, s)...)
	_, err := p.Propose(dsseProposal(t, env, s))
	wantError(t, err, Invalid, 400)
	env = envelope(t, inTotoType, []byte("{}"), s)
	_, err = p.Propose(dsseProposal(t, env, times(MaxSignatures+1, s)...))
	wantError(t, err, Invalid, 400)
	if _, err = p.Propose(dsseProposal(t, env, times(MaxSignatures, s)...)); err != nil {
		t.Errorf("%d verifiers: %v", MaxSignatures, err)
	}
}

// TestChainAndURL: a chain has to hold together in hashedrekord and rekord, and
// nothing is fetched.
func TestChainAndURL(t *testing.T) {
	var file struct{ Certificates map[string]string }
	readJSON(t, "keys", &file)
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	artifact := []byte("x")
	sum := sha256.Sum256(artifact)
	for name, c := range map[string]struct {
		chain  string
		change func(data, signature object)
		ok     bool
	}{
		"good chain":      {file.Certificates["email"] + file.Certificates["root"], func(_, _ object) {}, true},
		"no chain":        {file.Certificates["email"] + file.Certificates["uri"], func(_, _ object) {}, false},
		"data.url":        {s.pem, func(d, _ object) { d["url"] = "http://x" }, false},
		"signature.url":   {s.pem, func(_, g object) { g["url"] = "http://x" }, false},
		"publicKey.url":   {s.pem, func(_, g object) { g["publicKey"].(object)["url"] = object{} }, false},
		"empty data.url":  {s.pem, func(d, _ object) { d["url"] = "" }, true},
		"null in its way": {s.pem, func(d, _ object) { d["url"] = nil }, true},
	} {
		for _, kind := range []string{"hashedrekord", "rekord"} {
			spec := rekordSpec(t, artifact, signer{s.Signer, c.chain})
			if kind == "hashedrekord" {
				spec["data"] = object{"hash": object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sum)}}
			}
			c.change(spec["data"].(object), spec["signature"].(object))
			_, err := p.Propose(proposal(t, kind, "0.0.1", spec))
			if c.ok != (err == nil) {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			if !c.ok {
				wantError(t, err, Invalid, 400)
			}
		}
	}
}

// TestKeyEncoding: a key in odd but good PEM is written canonically, except in
// intoto 0.0.2, where the signer's text stays; it is found by the same hash.
func TestKeyEncoding(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	odd := signer{s.Signer, "key:\n" + strings.ReplaceAll(s.pem, "\n", "\r\n") + " "}
	payload := []byte("{}")
	text := b64(s.sign(t, sig.PAE("t", payload)))
	for kind, raw := range map[string][]byte{
		"intoto 0.0.1": intoto001Proposal(t, payload, odd),
		"dsse 0.0.1":   dsseProposal(t, envelope(t, "t", payload, s), odd),
		"rekord 0.0.1": proposal(t, "rekord", "0.0.1", rekordSpec(t, payload, odd)),
		"intoto 0.0.2": proposal(t, "intoto", "0.0.2", object{"content": object{"hash": object{"algorithm": "sha256", "value": "x"}, "envelope": object{
			"payloadType": "t", "payload": b64([]byte(b64(payload))), "signatures": []object{{"sig": b64([]byte(text)), "publicKey": b64([]byte(odd.pem))}}}}}),
	} {
		got, err := p.Propose(raw)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		want := b64([]byte(s.pem))
		if kind == "intoto 0.0.2" {
			want = b64([]byte(odd.pem))
		}
		if !strings.Contains(string(got.Leaf.Body), want) {
			t.Errorf("%s: key is not in the body as it should be: %s", kind, got.Leaf.Body)
		}
		key := tlog.Key{Type: tlog.KeyPublicKey, Value: fmt.Sprintf("%x", sha256.Sum256([]byte(s.pem)))}
		if !slices.Contains(got.Leaf.Keys, key) {
			t.Errorf("%s: no key %v in %v", kind, key, got.Leaf.Keys)
		}
		checkProposed(t, p, raw, got)
	}
}

// TestDSSEOrder follows Rekor: keys in order, each credited with the first signature
// that it verifies.
func TestDSSEOrder(t *testing.T) {
	p := newParser(t)
	a, b, c := testSigner(t, "ecdsa-p256"), testSigner(t, "ecdsa-p256-b"), testSigner(t, "rsa-2048")
	env := envelope(t, "x", []byte("y"), a, b)
	for name, v := range map[string]struct {
		verifiers []signer
		ok        bool
	}{
		"in order": {[]signer{a, b}, true}, "reversed": {[]signer{b, a}, true}, "one missing": {[]signer{a}, false},
		"stranger first": {[]signer{c, a, b}, false}, "stranger last": {[]signer{a, b, c}, true}, "repeated": {[]signer{a, a, b}, true},
	} {
		if _, err := p.Propose(dsseProposal(t, env, v.verifiers...)); (err == nil) != v.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIntoto001KeyID(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p384")
	key, err := sig.ParsePEM([]byte(s.pem))
	if err != nil {
		t.Fatal(err)
	}
	text := b64(s.sign(t, sig.PAE("x", []byte("y"))))
	for _, c := range []struct {
		keyIDs []any
		ok     bool
	}{{[]any{""}, true}, {[]any{nil}, true}, {[]any{key.SSHFingerprint()}, true}, {[]any{"other"}, false}, {[]any{"other", ""}, true}} {
		var signatures []object
		for _, id := range c.keyIDs {
			signatures = append(signatures, object{"keyid": id, "sig": text})
		}
		env := marshal(t, object{"payloadType": "x", "payload": b64([]byte("y")), "signatures": signatures})
		_, err := p.Propose(proposal(t, "intoto", "0.0.1", object{"publicKey": b64([]byte(s.pem)), "content": object{"envelope": string(env)}}))
		if (err == nil) != c.ok {
			t.Errorf("key IDs %q: %v", c.keyIDs, err)
		}
	}
}

// TestKeepsNothing: what Propose returns does not change with the request's buffer.
func TestKeepsNothing(t *testing.T) {
	p := newParser(t)
	for name, v := range vectors(t) {
		raw := bytes.Clone(v.ProposedEntry)
		got, err := p.Propose(raw)
		if err != nil {
			continue
		}
		for i := range raw {
			raw[i] = '#'
		}
		compareKeys(t, got.Leaf.Keys, v.IndexKeysSorted)
		if string(got.Leaf.Body) != v.CanonicalBody || b64(got.Leaf.Attestation) != v.AttestationStoredBase64 {
			t.Errorf("%s: changed with the request", name)
		}
	}
}

// TestText holds appendText against the JCS library that Rekor uses.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("\x00\x01\b\t\n\f\r\x1f \"\\/<&>\x7f\u2028é😀")))).Draw(t, "s")
		in, err := json.Marshal([]string{s})
		if err != nil {
			t.Fatal(err)
		}
		want, err := jsoncanonicalizer.Transform(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := "[" + string(appendText(nil, []byte(s))) + "]"; got != string(want) {
			t.Fatalf("%q is written %s, want %s", s, got, want)
		}
	})
}

// TestHostile puts odd values in the place of every member of every proposal and
// canonical body: an error, or a valid entry, but no panic.
func TestHostile(t *testing.T) {
	p := newParser(t)
	odd := []any{nil, "", "x", "\x00", 1.5, true, []any{}, []any{nil}, []any{"x"}, object{}, object{"content": nil},
		strings.Repeat("A", 1<<16), slices.Repeat([]any{object{}}, 1000), json.RawMessage(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))}
	cases := 0
	all := vectors(t)
	for _, name := range []string{"hashedrekord-0.0.1/p256-cert-chain", "intoto-0.0.1/two-signatures-one-key", "intoto-0.0.2/slsa1-cert-uri-keyid",
		"dsse-0.0.1/two-signatures", "rekor-extra/rekord-x509-cert-chain-hash"} {
		v, ok := all[name]
		if !ok {
			t.Fatalf("no vector %s", name)
		}
		for _, raw := range [][]byte{v.ProposedEntry, []byte(v.CanonicalBody)} {
			var doc any
			if err := json.Unmarshal(raw, &doc); err != nil {
				t.Fatal(err)
			}
			replaceEach(doc, odd, func() {
				cases++
				checkAny(t, p, marshal(t, doc))
			})
		}
		if t.Failed() {
			t.Fatalf("at %s", name)
		}
	}
	t.Log(cases, "cases")
	if cases < 1000 {
		t.Errorf("only %d cases", cases)
	}
}

// replaceEach puts each value in the place of each member and element, calls f,
// and restores what was there; strings that are JSON are gone into, too.
func replaceEach(v any, odd []any, f func()) {
	try := func(old any, set func(any)) {
		for _, o := range odd {
			set(o)
			f()
		}
		set(old)
		var inner any
		if s, ok := old.(string); ok && strings.HasPrefix(s, "{") && json.Unmarshal([]byte(s), &inner) == nil {
			replaceEach(inner, odd, func() {
				b, err := json.Marshal(inner)
				if err != nil {
					panic(err)
				}
				set(string(b))
				f()
			})
			set(old)
		}
		replaceEach(old, odd, f)
	}
	switch v := v.(type) {
	case object:
		for k, old := range v {
			try(old, func(o any) { v[k] = o })
		}
	case []any:
		for i, old := range v {
			try(old, func(o any) { v[i] = o })
		}
	}
}

// checkAny gives any bytes to all three readers and checks what must always hold.
func checkAny(t testing.TB, p *Parser, raw []byte) {
	t.Helper()
	_, errC := p.Committed(raw)
	_, errL := p.Lookup(raw)
	got, errP := p.Propose(raw)
	for _, err := range []error{errC, errL, errP} {
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Class == 0 || e.Message == "" || (e.Status() != 400 && e.Status() != 422)) {
			t.Errorf("%.200s: error %#v", raw, err)
		}
	}
	if errP == nil {
		checkProposed(t, p, raw, got)
	}
}

func checkProposed(t testing.TB, p *Parser, raw []byte, got Proposed) {
	t.Helper()
	body := got.Leaf.Body
	if want, err := jsoncanonicalizer.Transform(body); err != nil || !bytes.Equal(want, body) {
		t.Errorf("%.200s: body is not canonical: %s, want %s (%v)", raw, body, want, err)
	}
	if len(body) > tlog.MaxLeaf || len(got.Leaf.Keys) > MaxKeys {
		t.Errorf("%.200s: %d bytes, %d keys", raw, len(body), len(got.Leaf.Keys))
	}
	for _, in := range [][]byte{raw, body} {
		if h, err := p.Lookup(in); err != nil || h != tlog.LeafHash(body) {
			t.Errorf("lookup by %.200s: %v, %v", in, h, err)
		}
	}
	info, err := p.Committed(body)
	if err != nil || info.Kind != got.Kind || info.Version != got.Version {
		t.Errorf("%.200s: committed: %+v, %v", body, info, err)
	}
	all := make(map[tlog.Key]bool)
	for _, k := range got.Leaf.Keys {
		all[k] = true
	}
	for _, k := range info.Keys {
		if !all[k] {
			t.Errorf("%.200s: committed has key %v, the proposal has not", body, k)
		}
	}
}

func TestECDSAIsDERonly(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	sum := sha256.Sum256([]byte("x"))
	r, q, err := ecdsa.Sign(rand.Reader, s.Signer.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	raw := append(r.FillBytes(make([]byte, 32)), q.FillBytes(make([]byte, 32))...)
	_, err = p.Propose(proposal(t, "hashedrekord", "0.0.1", object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sum)}},
		"signature": object{"content": b64(raw), "publicKey": object{"content": b64([]byte(s.pem))}},
	}))
	wantError(t, err, Invalid, 400)
}
