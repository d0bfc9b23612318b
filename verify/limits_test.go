package verify_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// What is over a limit is refused before anything is computed.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	b := m.Bundle()
	repeat := func(v forge.Node, n int) forge.Array {
		var a forge.Array
		for range n {
			a = append(a, v)
		}
		return a
	}
	tle := forge.Get(b, entry()...)
	token := forge.Object{"signedTimestamp": forge.Base64(stamp(w.tsas[0], w.Now)(m.Signature))}
	hash := forge.Base64(m256("x"))
	long := func(max int) string { return forge.Base64(make([]byte, max+1)) }
	huge := strings.Repeat("A", verify.MaxBundle)
	for name, data := range map[string][]byte{
		"bundle":                []byte(`{"mediaType":"` + huge + `"}`),
		"spaces":                append(bytes.Repeat([]byte(" "), verify.MaxBundle), forge.Encode(b)...),
		"entries":               forge.Encode(forge.With(b, repeat(tle, verify.MaxEntries+1), material, entries)),
		"timestamps":            forge.Encode(forge.With(b, forge.Object{"rfc3161Timestamps": repeat(token, verify.MaxTimestamps+1)}, material, "timestampVerificationData")),
		"proof":                 forge.Encode(forge.With(b, repeat(hash, verify.MaxProof+1), entry(proof, "hashes")...)),
		"body":                  forge.Encode(forge.With(b, forge.Base64(make([]byte, verify.MaxEntryBody+1)), entry("canonicalizedBody")...)),
		"checkpoint":            forge.Encode(forge.With(b, strings.Repeat("x\n", 1<<16), entry(proof, "checkpoint", "envelope")...)),
		"certificate":           forge.Encode(forge.With(b, forge.Object{"certificate": forge.Object{"rawBytes": long(verify.MaxCertificate)}}, material)),
		"signature":             forge.Encode(forge.With(b, long(verify.MaxSignature), "messageSignature", "signature")),
		"digest":                forge.Encode(forge.With(b, long(64), "messageSignature", "messageDigest", "digest")),
		"timestamp":             forge.Encode(forge.With(b, forge.Object{"rfc3161Timestamps": forge.Array{forge.Object{"signedTimestamp": long(verify.MaxTimestamp)}}}, material, "timestampVerificationData")),
		"SET":                   forge.Encode(forge.With(b, long(verify.MaxSignature), entry(promise, "signedEntryTimestamp")...)),
		"root hash":             forge.Encode(forge.With(b, long(32), entry(proof, "rootHash")...)),
		"log ID":                forge.Encode(forge.With(b, long(1<<16), entry("logId", "keyId")...)),
		"nesting":               []byte(strings.Repeat(`{"verificationMaterial":`, 100000)),
		"arrays":                []byte(`{"verificationMaterial":` + strings.Repeat(`[`, 100000)),
		"members":               []byte(`{` + strings.Repeat(`"a":1,`, 100000) + `"b":1}`),
		"nothing":               nil,
		"null":                  []byte("null"),
		"an array":              []byte("[]"),
		"an object":             []byte("{}"),
		"two values":            append(forge.Encode(b), forge.Encode(b)...),
		"a byte after it":       append(forge.Encode(b), 'x'),
		"a zero byte after it":  append(forge.Encode(b), 0),
		"a byte order mark":     append([]byte("\ufeff"), forge.Encode(b)...),
		"invalid UTF-8":         bytes.Replace(forge.Encode(b), []byte("author"), []byte("\xff"), 1),
		"a lone surrogate":      bytes.Replace(forge.Encode(b), []byte("author"), []byte(`\ud800`), 1),
		"UTF-16":                append([]byte{0xfe, 0xff, 0}, forge.Encode(b)...),
		"a control character":   bytes.Replace(forge.Encode(b), []byte("author"), []byte("\x01"), 1),
		"a comment":             append([]byte("/**/"), forge.Encode(b)...),
		"a comma at the end":    bytes.Replace(forge.Encode(b), []byte("}}"), []byte("},}"), 1),
		"names without quotes":  bytes.Replace(forge.Encode(b), []byte(`"mediaType"`), []byte("mediaType"), 1),
		"single quotes":         bytes.ReplaceAll(forge.Encode(b), []byte(`"`), []byte("'")),
		"half of it":            forge.Encode(b)[:len(forge.Encode(b))/2],
		"all but its last byte": forge.Encode(b)[:len(forge.Encode(b))-1],
	} {
		if _, err := verify.ParseBundle(data); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	escaped := bytes.Replace(forge.Encode(b), []byte("mediaType"), []byte(`\u006dediaType`), 1)
	if _, err := verify.ParseBundle(escaped); err != nil {
		t.Errorf("a name with an escape: %v", err)
	}
}

// A digest is written in one way.
func TestParseDigest(t *testing.T) {
	w := newWorld(t)
	want := verify.Bytes(w.Artifact).String()
	a, err := verify.ParseDigest(want)
	if err != nil || a.String() != want || verify.SHA256(sha256.Sum256(w.Artifact)).String() != want {
		t.Fatalf("%s: %v, %v", want, a, err)
	}
	digits := strings.TrimPrefix(want, "sha256:")
	for _, s := range []string{"", ":", digits, "sha256", "sha256:", ":" + digits, "sha256:" + digits[2:], "sha256:" + digits + "00", "sha256:" + strings.ToUpper(digits),
		"SHA256:" + digits, "sha512:" + digits, "sha1:" + digits[:40], "md5:" + digits[:32], "sha256: " + digits, want + " ", want + "\n", " " + want,
		"sha256:" + digits[:63] + "g", "sha256:" + want, "sha-256:" + digits} {
		if a, err := verify.ParseDigest(s); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	}
}

// The same of entries, which have no bundle around them.
func TestEntryLimits(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	id, answer, tle := m.Entries[0].UUID(), m.Entries[0].API(), m.Entries[0].TLE(forge.SETAndProof)
	huge := bytes.Repeat([]byte(" "), verify.MaxBundle)
	for name, data := range map[string][]byte{
		"TransparencyLogEntry too large":        append(huge, forge.Encode(tle)...),
		"answer too large":                      append(huge, forge.Encode(answer)...),
		"TransparencyLogEntry without log":      forge.Encode(forge.Without(tle, "logId")),
		"TransparencyLogEntry without body":     forge.Encode(forge.Without(tle, "canonicalizedBody")),
		"TransparencyLogEntry without kind":     forge.Encode(forge.Without(tle, "kindVersion")),
		"TransparencyLogEntry of another kind":  forge.Encode(forge.With(tle, "dsse", "kindVersion", "kind")),
		"TransparencyLogEntry, no checkpoint":   forge.Encode(forge.Without(tle, proof, "checkpoint")),
		"TransparencyLogEntry, long proof":      forge.Encode(forge.With(tle, forge.Verbatim("["+strings.Repeat(`"`+forge.Base64(m256("x"))+`",`, 64)+`""]`), proof, "hashes")),
		"TransparencyLogEntry, long checkpoint": forge.Encode(forge.With(tle, strings.Repeat("x", 1<<15), proof, "checkpoint", "envelope")),
		"answer without log":                    forge.Encode(forge.Without(answer, id, "logID")),
		"answer without body":                   forge.Encode(forge.Without(answer, id, "body")),
		"answer is a list":                      forge.Encode(forge.Object{id: forge.Array{}}),
		"answer is null":                        forge.Encode(forge.Object{id: nil}),
		"answer by no ID":                       forge.Encode(forge.Object{"x": answer[id]}),
		"nothing":                               nil,
		"null":                                  []byte("null"),
		"a list":                                []byte("[]"),
		"a list of nothing":                     []byte("[{}]"),
		"an object":                             []byte("{}"),
		"text":                                  []byte(`"x"`),
		"two answers":                           append(forge.Encode(answer), forge.Encode(answer)...),
	} {
		if e, err := verify.ParseEntry(data); e != nil || !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	for name, data := range map[string][]byte{
		"too large":    append(huge, forge.Encode(answer)...),
		"too many":     forge.Encode(forge.Array{answer, answer, answer}),
		"not a list":   []byte("1"),
		"a list of no": []byte("[1]"),
	} {
		if all, err := verify.ParseEntries(data, 2); all != nil || !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("entries, %s: %v, %v", name, all, err)
		}
	}
	if all, err := verify.ParseEntries(forge.Encode(forge.Array{answer, answer}), 2); err != nil || len(all) != 2 {
		t.Errorf("two entries: %v, %v", all, err)
	}

	// Entries that a program makes itself are seen to as well.
	for name, change := range map[string]func(*verify.Entry){
		"no body":                func(e *verify.Entry) { e.Body = nil },
		"a body too large":       func(e *verify.Entry) { e.Body = make([]byte, verify.MaxEntryBody+1) },
		"no log":                 func(e *verify.Entry) { e.LogID = nil },
		"a negative index":       func(e *verify.Entry) { e.LogIndex = -1 },
		"a negative time":        func(e *verify.Entry) { e.IntegratedTime = -1 },
		"another kind":           func(e *verify.Entry) { e.Kind = "dsse" },
		"another version":        func(e *verify.Entry) { e.Version = "0.0.2" },
		"a long proof":           func(e *verify.Entry) { e.Proof.Path = make([]tlog.Hash, verify.MaxProof+1) },
		"no checkpoint":          func(e *verify.Entry) { e.Proof.Checkpoint = nil },
		"a long checkpoint":      func(e *verify.Entry) { e.Proof.Checkpoint = make([]byte, tlog.MaxCheckpoint+1) },
		"a negative size":        func(e *verify.Entry) { e.Proof.Head.Size = -1 },
		"a negative tree index":  func(e *verify.Entry) { e.Proof.Index = -1 },
		"an ID that is none":     func(e *verify.Entry) { e.UUID = "x" },
		"an attestation of none": func(e *verify.Entry) { e.Attestation = []byte{} },
	} {
		e := must(verify.ParseEntry(forge.Encode(answer)))
		if _, err := w.trust.VerifyEntry(e); err != nil {
			t.Fatal(err)
		}
		change(e)
		if p, err := w.trust.VerifyEntry(e); p != nil || !is(verify.ErrMalformed, verify.ErrBadProof).match(err) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// And of checkpoints.
func TestCheckpointLimits(t *testing.T) {
	w := newWorld(t)
	note := func(l *forge.Log) []byte { return []byte(l.Checkpoint(3)) }
	text, lines, _ := strings.Cut(w.V2.Checkpoint(3), "\n\n")
	stranger := forge.NewWitness("x", w.Now).Cosign(text + "\n")
	for name, c := range map[string]struct {
		signed []byte
		want   classes
	}{
		"nothing":               {nil, is(verify.ErrMalformed)},
		"a foreign v1 log's":    {note(w.ForeignV1), is(verify.ErrUntrustedLog)},
		"a foreign v2 log's":    {note(w.ForeignV2), is(verify.ErrUntrustedLog, verify.ErrBadProof)},
		"an unknown log's":      {note(forge.NewLogV2("x.example.test", w.V2.Key)), is(verify.ErrUntrustedLog)},
		"too long":              {[]byte(text + "\n\n" + lines + strings.Repeat(stranger, 300)), is(verify.ErrMalformed)},
		"of too many":           {[]byte(text + "\n\n" + lines + strings.Repeat("— x AAAAAAA=\n", 101)), is(verify.ErrMalformed)},
		"without a new line":    {bytes.TrimSuffix(note(w.V2), []byte("\n")), is(verify.ErrMalformed)},
		"v1 without a new line": {bytes.TrimSuffix(note(w.V1), []byte("\n")), is(verify.ErrMalformed)},
		"without signatures":    {[]byte(text + "\n"), is(verify.ErrMalformed)},
		"of a long signature":   {[]byte(w.V1.Origin() + "\n3\n" + forge.Base64(make([]byte, 32)) + "\n\n" + forge.NoteLine(w.V1.Host, w.V1.ID()[:4], make([]byte, 8000))), is(verify.ErrMalformed, verify.ErrBadProof)},
	} {
		if got, err := w.trust.VerifyCheckpoint(c.signed, nil); got != nil || !c.want.match(err) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	good := must(w.trust.VerifyCheckpoint(note(w.V2), nil))
	for name, c := range map[string]struct {
		first, second *verify.Checkpoint
		proof         []tlog.Hash
	}{
		"no first":         {nil, good, nil},
		"no second":        {good, nil, nil},
		"nobody's":         {&verify.Checkpoint{}, &verify.Checkpoint{}, nil},
		"a long proof":     {good, good, make([]tlog.Hash, 2*verify.MaxProof+1)},
		"a proof too many": {good, good, make([]tlog.Hash, 1)},
	} {
		if err := verify.VerifyConsistency(c.first, c.second, c.proof); !is(verify.ErrMalformed, verify.ErrBadProof).match(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
