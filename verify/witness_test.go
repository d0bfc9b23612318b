package verify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// The witness of the vectors makes a quorum, under either type of its key.
func TestWitnessVectors(t *testing.T) {
	n := readNotes(t)
	name, rest, _ := strings.Cut(n.Witness.VKey, "+")
	_, text, _ := strings.Cut(rest, "+")
	key := ed25519.PublicKey(decode(t, text)[1:])
	asLog, err := note.NewEd25519VerifierKey(name, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, vkey := range []string{n.Witness.VKey, asLog} {
		w, err := ParseWitnessPolicy([]byte("witness w1 " + vkey + "\nquorum w1\n"))
		if err != nil {
			t.Fatal(err)
		}
		if v := w.verifiers(); len(v) != 1 || v[0].Name() != n.Witness.Name || fmt.Sprintf("%08x", v[0].KeyHash()) != "6ac45c4d" {
			t.Errorf("the verifiers are %v", v)
		}
		opened, err := note.Open([]byte(n.Cosigned), note.VerifierList(w.verifiers()...))
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.quorum(opened.Sigs)
		if want := (Cosignature{n.Witness.Name, time.Unix(n.Witness.Time, 0).UTC()}); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("cosignatures %v, %v; want %v", got, err, want)
		}
	}

	// Every bit of the line counts, and so does the text.
	w, err := ParseWitnessPolicy([]byte("witness w1 " + n.Witness.VKey + "\nquorum w1\n"))
	if err != nil {
		t.Fatal(err)
	}
	v := w.verifiers()[0]
	signature := decode(t, strings.Fields(n.Witness.Line)[2])[4:]
	if !v.Verify([]byte(n.Text), signature) {
		t.Fatal("the line does not verify")
	}
	if v.Verify([]byte(n.Text+"extension\n"), signature) || v.Verify([]byte(n.Text[1:]), signature) || v.Verify(nil, signature) {
		t.Error("it verifies over another text")
	}
	for i := range 8 * len(signature) {
		changed := bytes.Clone(signature)
		changed[i/8] ^= 1 << (i % 8)
		if v.Verify([]byte(n.Text), changed) {
			t.Errorf("it verifies with bit %d changed", i)
		}
	}
	for _, changed := range [][]byte{nil, signature[:8], signature[8:], signature[:71], append(bytes.Clone(signature), 0)} {
		if v.Verify([]byte(n.Text), changed) {
			t.Errorf("it verifies with %d bytes", len(changed))
		}
	}
}

// A witness that signs an impossible time has not cosigned.
func TestCosignatureTime(t *testing.T) {
	w := newWitness(1)
	policy := mustWitnessPolicy(t, "witness w "+w.vkey()+"\nquorum w")
	for at, want := range map[uint64]bool{0: false, 1: true, 1770000000: true, maxTime: true, maxTime + 1: false, 1 << 62: false, 1<<63 - 1: false, 1 << 63: false, 1<<64 - 1: false} {
		opened, err := note.Open([]byte(testText+"\n"+w.line(testText, at)), note.VerifierList(policy.verifiers()...))
		if (err == nil) != want {
			t.Errorf("time %d: %v", at, err)
		}
		if err != nil {
			continue
		}
		got, err := policy.quorum(opened.Sigs)
		if err != nil || len(got) != 1 || got[0].Time.Unix() != int64(at) {
			t.Errorf("time %d: %v, %v", at, got, err)
		}
	}
	// A plain signature over the text is no cosignature.
	plain := append(binary.BigEndian.AppendUint64(nil, 1), ed25519.Sign(w.private, []byte(testText))...)
	if policy.verifiers()[0].Verify([]byte(testText), plain) {
		t.Error("a plain signature was taken for a cosignature")
	}
}

func TestQuorum(t *testing.T) {
	var lines strings.Builder
	witnesses := map[string]*testWitness{}
	for i, name := range []string{"x1", "x2", "x3", "y1", "y2", "y3"} {
		witnesses[name] = newWitness(byte(i))
		fmt.Fprintf(&lines, "witness %s %s https://%s.example.test/\n", name, witnesses[name].vkey(), name)
	}
	groups := lines.String() + `
		# The example of C2SP tlog-policy.
		group X-witnesses 2 x1 x2 x3
		group Y-witnesses any y1 y2 y3   # one is enough
		group X-and-Y all X-witnesses Y-witnesses
		log whatever
	`
	for _, tt := range []struct{ policy, met, missed string }{
		{lines.String() + "quorum none", "|x1|x1 y1", ""},
		{lines.String() + "quorum x1", "x1|x1 y1 y2", "|x2|x2 x3 y1 y2 y3"},
		{groups + "quorum X-witnesses", "x1 x2|x2 x3|x1 x2 x3 y1", "|x1|x3|x1 y1 y2 y3"},
		{groups + "quorum Y-witnesses", "y1|y2|y3|y1 y2|y3 x1", "|x1|x1 x2 x3"},
		{groups + "quorum X-and-Y", "x1 x2 y1|x2 x3 y2 y3|x1 x2 x3 y1 y2 y3", "|x1 x2|x1 x2 x3|x1 y1 y2 y3|y1"},
		{groups + "quorum x3", "x3|x3 y1", "|x1 x2 y1"},
		{lines.String() + "group G 3 x1 x2 x3\nquorum G", "x1 x2 x3", "x1 x2|x1 x3 y1 y2"},
		{lines.String() + "group G all x1\nquorum G", "x1", "x2"},
		{lines.String() + "group A 1 x1 x2\ngroup B 2 A x3 y1\nquorum B", "x1 x3|x2 y1|x3 y1|x1 x2 x3", "x1 x2|x1|x3|y1 y2"},
	} {
		policy := mustWitnessPolicy(t, tt.policy)
		check := func(names string, want bool) {
			var signed []note.Signature
			for _, name := range strings.Fields(names) {
				signed = append(signed, witnesses[name].signature(testText, uint64(1770000000+len(signed))))
			}
			got, err := policy.quorum(signed)
			if (err == nil) != want {
				t.Errorf("%s: cosigned by %q: %v", tt.policy[strings.LastIndex(tt.policy, "quorum"):], names, err)
			}
			if err != nil {
				checkClass(t, names, err, ErrWitness)
			}
			if want != (len(got) == len(signed)) && len(signed) > 0 {
				t.Errorf("cosigned by %q: cosignatures %v", names, got)
			}
		}
		for _, names := range strings.Split(tt.met, "|") {
			check(names, true)
		}
		if tt.missed != "" {
			for _, names := range strings.Split(tt.missed, "|") {
				check(names, false)
			}
		}
	}

	// Each counts once, and nobody for another.
	policy := mustWitnessPolicy(t, groups+"quorum X-witnesses")
	x1, stranger := witnesses["x1"].signature(testText, 1), newWitness(99).signature(testText, 1)
	renamed, misread := witnesses["x2"].signature(testText, 1), witnesses["x2"].signature(testText, 1)
	renamed.Name += "x"
	misread.Hash++
	broken := witnesses["x2"].signature(testText, 1)
	broken.Base64 = "?"
	short := witnesses["x2"].signature(testText, 1)
	short.Base64 = "AA=="
	for name, second := range map[string]note.Signature{"itself": x1, "a stranger": stranger, "a namesake": renamed, "another key": misread, "nonsense": broken, "too little": short} {
		if got, err := policy.quorum([]note.Signature{x1, second}); err == nil || got != nil {
			t.Errorf("two with %s: %v", name, got)
		}
	}
	if _, err := new(WitnessPolicy).quorum([]note.Signature{x1}); !errors.Is(err, ErrWitness) {
		t.Errorf("the zero policy: %v", err)
	}
}

func TestParseWitnessPolicyRefuses(t *testing.T) {
	a, b := newWitness(1), newWitness(2)
	A, B := "witness a "+a.vkey()+"\n", "witness b "+b.vkey()+"\n"
	again := *a
	again.name = "another.example.test"
	number := func(n int) string { return strings.Repeat("x", n) }
	name, rest, _ := strings.Cut(a.vkey(), "+")
	hash, key, _ := strings.Cut(rest, "+")
	raw := decode(t, key)
	vkey := func(name string, algorithm byte, key []byte) string {
		all := append([]byte{algorithm}, key...)
		return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, string(all[:1]), key), base64.StdEncoding.EncodeToString(all))
	}
	tooMany := &strings.Builder{}
	for i := range MaxWitnesses + 1 {
		fmt.Fprintf(tooMany, "witness w%d %s\n", i, newWitness(byte(i)).vkey())
	}
	most := &strings.Builder{}
	for i := range MaxWitnesses / 2 {
		fmt.Fprintf(most, "witness w%d %s\ngroup g%d all w%d\n", i, newWitness(byte(i)).vkey(), i, i)
	}
	for _, tt := range []struct{ name, text, reason string }{
		{"nothing", "", "no quorum"},
		{"no quorum", A, "no quorum"},
		{"two quorums", A + "quorum a\nquorum a", "second quorum"},
		{"two quorums, none", "quorum none\nquorum none", "second quorum"},
		{"unknown quorum", A + "quorum b", `defines "b"`},
		{"later quorum", "quorum a\n" + A, `defines "a"`},
		{"quorum of two", A + B + "quorum a b", "not a line"},
		{"empty quorum", A + "quorum", "not a line"},
		{"unknown line", A + "quorum a\nthreshold 1", "not a line"},
		{"upper case", A + "QUORUM a", "not a line"},
		{"glued", A + "quorum=a", "not a line"},
		{"witness without a key", "witness a\nquorum a", "not a line"},
		{"witness with too much", "witness a " + a.vkey() + " https://a b\nquorum a", "not a line"},
		{"name twice", A + "witness a " + b.vkey() + "\nquorum a", `"a" is given twice`},
		{"name of a witness and a group", A + "group a any a\nquorum a", `"a" is given twice`},
		{"a group twice", A + B + "group g any a\ngroup g any b\nquorum g", `"g" is given twice`},
		{"key twice", A + "witness b " + a.vkey() + "\nquorum a", "has the key of"},
		{"key under another name", A + "witness b " + again.vkey() + "\nquorum a", "has the key of"},
		{"key of another type", A + "witness b " + vkey(name, 1, raw[1:]) + "\nquorum a", "has the key of"},
		{"witness named none", "witness none " + a.vkey() + "\nquorum none", `"none" is not a name`},
		{"group named none", A + "group none any a\nquorum none", `"none" is not a name`},
		{"none in a group", A + "group g any a none\nquorum g", `defines "none"`},
		{"group without members", A + "group g any\nquorum g", "not a line"},
		{"group of itself", A + "group g any a g\nquorum g", `defines "g"`},
		{"group of a later one", A + "group g any a b\n" + B + "quorum g", `defines "b"`},
		{"member twice", A + B + "group g 2 a a\nquorum g", `"a" is already in a group`},
		{"member of two groups", A + B + "group g any a b\ngroup h all a\nquorum h", `"a" is already in a group`},
		{"group in two groups", A + B + "group g any a\ngroup h any g b\ngroup i any g\nquorum h", `"g" is already in a group`},
		{"none of one", A + "group g 0 a\nquorum g", "from 1 to 1"},
		{"two of one", A + "group g 2 a\nquorum g", "from 1 to 1"},
		{"less than none", A + "group g -1 a\nquorum g", "from 1 to 1"},
		{"signed number", A + "group g +1 a\nquorum g", "from 1 to 1"},
		{"leading zero", A + "group g 01 a\nquorum g", "from 1 to 1"},
		{"hexadecimal", A + "group g 0x1 a\nquorum g", "from 1 to 1"},
		{"not whole", A + "group g 1.0 a\nquorum g", "from 1 to 1"},
		{"2^64+1", A + "group g 18446744073709551617 a\nquorum g", "from 1 to 1"},
		{"most", A + "group g most a\nquorum g", "from 1 to 1"},
		{"carriage return", A + "quorum a\r\n", "control character"},
		{"NUL", A + "quorum a\x00\n", "control character"},
		{"delete", A + "quorum a\x7f\n", "control character"},
		{"form feed", A + "quorum\fa\n", "control character"},
		{"control character in a comment", A + "quorum a # \x1b[2J\n", "control character"},
		{"Unicode space", A + "quorum\u00a0a\n", "not a line"},
		{"# in a name", "witness a#b " + a.vkey() + "\nquorum a#b", "a # is inside"},
		{"# in a URL", "witness a " + a.vkey() + " https://a/#b\nquorum a", "a # is inside"},
		{"# before a name", "witness #a " + a.vkey() + "\nquorum #a", "not a line"},
		{"log without a key", "log\nquorum none", "not a line"},
		{"log with too much", "log a b c\nquorum none", "not a line"},
		{"too long", number(MaxWitnessPolicy + 1), "65537 bytes"},
		{"too many witnesses", tooMany.String() + "quorum w0", "more than 64"},
		{"too many groups", most.String() + "group g any g0\nquorum g0", "more than 64"},
		{"key without a name", "witness a +" + rest + "\nquorum a", "not <name>"},
		{"key of a URL", "witness a https://w.example.test\nquorum a", "not <name>"},
		{"key with a short hash", "witness a " + name + "+" + hash[1:] + "+" + key + "\nquorum a", "not <name>"},
		{"key with a signed hash", "witness a " + name + "++" + hash[1:] + "+" + key + "\nquorum a", "not <name>"},
		{"key without a hash", "witness a " + name + "+" + key + "\nquorum a", "not <name>"},
		{"key with another hash", "witness a " + name + "+00000000+" + key + "\nquorum a", "key hash is not 00000000"},
		{"key with the other type's hash", fmt.Sprintf("witness a %s+%08x+%s\nquorum a", name, keyHash(name, "\x01", raw[1:]), key), "key hash is not"},
		{"key without padding", "witness a " + strings.TrimRight(vkey(name, 4, raw[1:32]), "=") + "\nquorum a", "base64"},
		{"key without bytes", "witness a " + name + "+" + hash + "+\nquorum a", "empty"},
		{"key cut off", "witness a " + vkey(name, 4, raw[1:32]) + "\nquorum a", "31 bytes"},
		{"key and more", "witness a " + vkey(name, 4, append(bytes.Clone(raw[1:]), 0)) + "\nquorum a", "33 bytes"},
		{"ECDSA", "witness a " + vkey(name, 2, raw[1:]) + "\nquorum a", "of type 02"},
		{"ML-DSA-44", "witness a " + vkey(name, 6, make([]byte, 1312)) + "\nquorum a", "of type 06"},
		{"name with a space", "witness a " + vkey("w\u00a0x", 4, raw[1:]) + "\nquorum a", "not <name>"},
		{"name of bytes that are no text", "witness a " + vkey("w\xff", 4, raw[1:]) + "\nquorum a", "not <name>"},
	} {
		w, err := ParseWitnessPolicy([]byte(tt.text))
		if w != nil {
			t.Errorf("%s: a policy was returned", tt.name)
		}
		checkClass(t, tt.name, err, ErrPolicy)
		if err != nil && !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v, not %q", tt.name, err, tt.reason)
		}
	}

	for name, text := range map[string]string{
		"none":                   "quorum none",
		"no newline at the end":  A + "quorum a",
		"space all over":         " \t" + strings.ReplaceAll(A, " ", " \t ") + "\n\n\t\n \tquorum\ta \n",
		"comments":               "# a\n  # b #\n" + A + "quorum a # the end\n",
		"logs":                   "log x\nlog x https://x\n" + A + "quorum a",
		"opaque names":           "witness \xff\xfe " + a.vkey() + "\nquorum \xff\xfe",
		"names like words":       "witness all " + a.vkey() + "\ngroup any all all\nquorum any",
		"key in upper case":      "witness a " + name + "+" + strings.ToUpper(hash) + "+" + key + "\nquorum a",
		"witnesses after quorum": A + "quorum a\n" + B,
		"as many as may be":      most.String() + "quorum g0",
	} {
		if _, err := ParseWitnessPolicy([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Texts of strangers are a policy that can be evaluated, or refused.
func FuzzParseWitnessPolicy(f *testing.F) {
	a, b := newWitness(1), newWitness(2)
	f.Add("witness a " + a.vkey() + "\nwitness b " + b.vkey() + " https://b\ngroup g 2 a b # both\nlog x\nquorum g\n")
	f.Add("witness a " + a.vkey() + "\ngroup g any a\ngroup h all g\nquorum h")
	f.Add("quorum none")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWitnessPolicy([]byte(text))
		if err != nil {
			checkClass(t, "policy", err, ErrPolicy)
			if w != nil {
				t.Error("a policy was returned with an error")
			}
			return
		}
		var all []note.Signature
		for _, v := range w.verifiers() {
			all = append(all, note.Signature{Name: v.Name(), Hash: v.KeyHash(), Base64: base64.StdEncoding.EncodeToString(append(make([]byte, 11), append([]byte{1}, make([]byte, 64)...)...))})
		}
		if got, err := w.quorum(all); err != nil || len(got) != len(all) {
			t.Errorf("%d of %d witnesses make no quorum: %v", len(got), len(all), err)
		}
		if _, err := w.quorum(nil); (err == nil) != w.none {
			t.Errorf("nobody cosigned: %v", err)
		}
	})
}

const testText = "log.example.test\n3\nz3Y6BByBzu8VeKYIP3XGG+8uABTyo+aDqX/Pylvn8Zo=\n"

// testWitness cosigns.
type testWitness struct {
	name    string
	private ed25519.PrivateKey
}

func newWitness(n byte) *testWitness {
	seed := bytes.Repeat([]byte{n}, ed25519.SeedSize)
	return &testWitness{fmt.Sprintf("witness.example.test/%d", n), ed25519.NewKeyFromSeed(seed)}
}

func (w *testWitness) public() []byte { return w.private.Public().(ed25519.PublicKey) }

func (w *testWitness) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, keyHash(w.name, "\x04", w.public()), base64.StdEncoding.EncodeToString(append([]byte{4}, w.public()...)))
}

func (w *testWitness) signature(text string, at uint64) note.Signature {
	hash := keyHash(w.name, "\x04", w.public())
	raw := binary.BigEndian.AppendUint32(nil, hash)
	raw = binary.BigEndian.AppendUint64(raw, at)
	raw = append(raw, ed25519.Sign(w.private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	return note.Signature{Name: w.name, Hash: hash, Base64: base64.StdEncoding.EncodeToString(raw)}
}

func (w *testWitness) line(text string, at uint64) string {
	return fmt.Sprintf("— %s %s\n", w.name, w.signature(text, at).Base64)
}

func mustWitnessPolicy(t testing.TB, text string) *WitnessPolicy {
	t.Helper()
	w, err := ParseWitnessPolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return w
}
