package verify_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// refuses verifies evidence that must be refused.
func (w *world) refuses(t *testing.T, v *verify.Verifier, e *verify.Evidence, err error, want ...error) {
	t.Helper()
	if err == nil {
		_, err = v.Verify(e, verify.SHA256(sha256.Sum256(w.Artifact)))
	}
	switch {
	case err == nil:
		t.Error("accepted")
	case !classes(want).match(err):
		t.Errorf("%v; want %v", err, want)
	}
}

// cosign compared the SET with the log's key, and never the signature in it with the one
// that was being verified: anybody's genuine bundle would do.
func TestCVE_2022_23649(t *testing.T) {
	w := newWorld(t)
	mine := w.Spec(forge.Simple, w.V1).Make()
	for name, other := range map[string]*forge.Made{
		"another author's": w.other(w.Spec(forge.Simple, w.V1)).Make(),
		"the author's over another artifact": changedSpec(w.Spec(forge.Simple, w.V1), func(s *forge.Spec) {
			s.Artifact = w.OtherArtifact
		}).Make(),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := readAnnotations(forge.With(mine.Annotations(), other.Entries[0].RekorBundle(), "dev.sigstore.cosign/bundle"))
			w.refuses(t, w.verifier(t, w.byKey()), e, err, verify.ErrBadProof)
		})
	}
}

// cosign verify-blob accepted a bundle for another signature; left the identity unchecked if
// there was a bundle; took an invalid bundle for none and an invalid entry for a valid one.
func TestCVE_2022_36056(t *testing.T) {
	w := newWorld(t)
	mine, other := w.Keyless(forge.Message, w.V1).Make(), w.other(w.Keyless(forge.Message, w.V1)).Make()
	ask := w.verifier(t, w.byIdentity())
	t.Run("bundle of another signature", func(t *testing.T) {
		e, err := readBlob(forge.With(mine.Blob(), other.Entries[0].RekorBundle(), "rekorBundle"))
		w.refuses(t, ask, e, err, verify.ErrBadProof)
	})
	t.Run("another identity", func(t *testing.T) {
		e, err := readBlob(mine.Blob())
		w.refuses(t, w.verifier(t, verify.Policy{Identities: []verify.Identity{{Issuer: forge.Issuer, Subject: "other@example.test"}}}), e, err, verify.ErrIdentity)
	})
	t.Run("invalid bundle", func(t *testing.T) {
		for _, bad := range []forge.Node{nil, forge.Object{}, "", forge.Array{}, forge.Object{"SignedEntryTimestamp": "", "Payload": forge.Object{}}} {
			e, err := readBlob(forge.With(mine.Blob(), bad, "rekorBundle"))
			w.refuses(t, ask, e, err, verify.ErrMalformed, verify.ErrPolicy, verify.ErrBadProof)
		}
	})
	t.Run("invalid entry", func(t *testing.T) {
		for _, body := range []string{"", "{}", "null", `{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}`, `{"kind":"hashedrekord"}`, `{"kind":"other","apiVersion":"1","spec":{}}`} {
			l := w.V1.Clone()
			logged := l.Put(forge.Verbatim(body), w.Now)
			e, err := readBlob(forge.With(mine.Blob(), logged.RekorBundle(), "rekorBundle"))
			w.refuses(t, ask, e, err, verify.ErrMalformed, verify.ErrBadProof)
		}
	})
}

// With a trusted root, cosign returned early and compared a new-style bundle's entry with
// nothing: any entry of the log was accepted.
func TestCVE_2026_22703(t *testing.T) {
	w := newWorld(t)
	for _, l := range []*forge.Log{w.V1, w.V2} {
		for _, c := range []forge.Content{forge.Message, forge.Attest} {
			p := w.byKey()
			if c == forge.Attest {
				p.PredicateType = forge.Predicate
			}
			mine, other := w.Spec(c, l).Make().Bundle(), w.other(w.Spec(c, l)).Make().Bundle()
			e, err := readBundle(forge.With(mine, forge.Get(other, entry()...), entry()...))
			w.refuses(t, w.verifier(t, p), e, err, verify.ErrBadProof)
		}
	}
}

// cosign swallowed errors of the predicate-type check, or left it out: statements that could
// not be read, or were of another type, passed.
func TestCVE_2026_39395(t *testing.T) {
	w := newWorld(t)
	p := w.byKey()
	p.PredicateType = forge.Predicate
	for name, change := range map[string]func(forge.Object) forge.Node{
		"not JSON":       func(forge.Object) forge.Node { return forge.Verbatim("x") },
		"a list":         func(o forge.Object) forge.Node { return forge.Array{o} },
		"no type":        func(o forge.Object) forge.Node { return forge.Without(o, "predicateType") },
		"an empty type":  func(o forge.Object) forge.Node { return forge.With(o, "", "predicateType") },
		"type is a list": func(o forge.Object) forge.Node { return forge.With(o, forge.Array{forge.Predicate}, "predicateType") },
		"another type": func(o forge.Object) forge.Node {
			return forge.With(o, "https://slsa.dev/provenance/v1", "predicateType")
		},
		"another statement": func(o forge.Object) forge.Node { return forge.With(o, "https://example.test", "_type") },
	} {
		t.Run(name, func(t *testing.T) {
			for _, l := range []*forge.Log{w.V1, w.V2} {
				s := w.Spec(forge.Attest, l)
				s.EditPayload = change
				e, err := readBundle(s.Make().Bundle())
				w.refuses(t, w.verifier(t, p), e, err, verify.ErrMalformed, verify.ErrWrongArtifact)
			}
		})
	}
}

// A valid attestation counted, although it was of another type than the one that was asked for.
func TestCVE_2022_35929(t *testing.T) {
	w := newWorld(t)
	p := w.byIdentity()
	p.PredicateType = "https://cosign.sigstore.dev/attestation/vuln/v1"
	e, err := readAnnotations(w.Keyless(forge.Attest, w.V1).Make().Annotations())
	w.refuses(t, w.verifier(t, p), e, err, verify.ErrWrongArtifact)
}

// policy-controller did the same: and a signature passed for an attestation.
func TestCVE_2022_35930(t *testing.T) {
	w := newWorld(t)
	p := w.byIdentity()
	p.PredicateType = forge.Predicate
	e, err := readAnnotations(w.Keyless(forge.Simple, w.V1).Make().Annotations())
	w.refuses(t, w.verifier(t, p), e, err, verify.ErrWrongArtifact)
	e, err = readAnnotations(w.Keyless(forge.Attest, w.V1).Make().Annotations())
	w.refuses(t, w.verifier(t, w.byIdentity()), e, err, verify.ErrWrongArtifact)
}

// cosign took certificates whose issuers had expired when they signed.
func TestCVE_2026_24122(t *testing.T) {
	w := newWorld(t)
	for name, ends := range map[string]time.Time{"before": w.Now.Add(-time.Second), "long before": w.Start.AddDate(0, 1, 0)} {
		t.Run(name, func(t *testing.T) {
			ca := forge.NewCA("ca.example.test", "ca", w.Start, ends)
			s := w.Keyless(forge.Message, w.V1)
			s.Certificate = ca.Issue(w.Subject())
			authority := forge.With(ca.TrustedRoot(), "2036-01-01T00:00:00Z", "validFor", "end")
			trust := w.trustIn(t, forge.With(w.root, forge.Array{authority}, "certificateAuthorities"))
			v, err := verify.New(trust, w.byIdentity(), verify.Options{})
			if err != nil {
				t.Fatal(err)
			}
			e, err := readBundle(s.Make().Bundle())
			w.refuses(t, v, e, err, verify.ErrExpired)
		})
	}
}

// sigstore-go counted entries, not logs: a threshold of two was met by one log.
func TestCVE_2026_49834(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	for n := 2; n <= 4; n++ {
		p := w.byKey()
		p.LogEntries = 2
		b := m.Bundle()
		all := forge.Array{forge.Get(b, entry()...)}
		l := m.Entries[0].Log.Clone()
		for range n - 1 {
			all = append(all, l.Put(must(forge.Decode(m.Entries[0].Body())), w.Now).TLE(forge.SETAndProof))
		}
		e, err := readBundle(forge.With(b, all, material, entries))
		w.refuses(t, w.verifier(t, p), e, err, verify.ErrPolicy)
	}
	p := w.byIdentity()
	p.SignedTimestamps = 2
	s := w.Keyless(forge.Message, w.V1)
	for i := range 4 {
		s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now.Add(time.Duration(i)*time.Second)))
	}
	e, err := readBundle(s.Make().Bundle())
	w.refuses(t, w.verifier(t, p), e, err, verify.ErrPolicy)
}

// sigstore-go ignored when a bare key was valid.
func TestCVE_2026_54787(t *testing.T) {
	w := newWorld(t)
	e, err := readBundle(w.Spec(forge.Message, w.V1).Make().Bundle())
	if err != nil {
		t.Fatal(err)
	}
	for _, valid := range []verify.Window{{End: w.Now.Add(-time.Second)}, {Start: w.Now.Add(time.Second)}} {
		p := w.byKey()
		p.Keys[0].Valid = valid
		w.refuses(t, w.verifier(t, p), e, nil, verify.ErrExpired)
	}
	e, err = readBundle(w.Spec(forge.Message, w.V2).Make().Bundle())
	p := w.byKey()
	p.Keys[0].Valid = verify.Window{End: w.Now.AddDate(1, 0, 0)}
	w.refuses(t, w.verifier(t, p), e, err, verify.ErrPolicy)
}

// sigstore-go read on and on: entries, timestamps and subjects without end.
func TestCVE_2024_45395(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	b := m.Bundle()
	tle := string(forge.Encode(forge.Get(b, entry()...)))
	for name, tree := range map[string]forge.Node{
		"entries":    forge.With(b, forge.Verbatim("["+strings.Repeat(tle+",", 2000)+tle+"]"), material, entries),
		"timestamps": forge.With(b, forge.Verbatim(`{"rfc3161Timestamps":[`+strings.Repeat(`{"signedTimestamp":"AAAA"},`, 100000)+`{}]}`), material, "timestampVerificationData"),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := readBundle(tree)
			w.refuses(t, w.verifier(t, w.byKey()), e, err, verify.ErrMalformed)
		})
	}
	p := w.byKey()
	p.PredicateType = forge.Predicate
	v := w.verifier(t, p)
	subject := fmt.Sprintf(`{"name":"x","digest":{"sha256":"%x"}}`, sha256.Sum256(w.Artifact))
	for name, v2 := range map[string]forge.Verbatim{
		"subjects": forge.Verbatim("[" + strings.Repeat(subject+",", 50000) + subject + "]"),
		"digests":  forge.Verbatim(`[{"name":"x","digest":{` + strings.Repeat(`"sha256":"00",`, 50000) + `"a":""}}]`),
	} {
		t.Run(name, func(t *testing.T) {
			s := w.Spec(forge.Attest, w.V1)
			s.EditPayload = func(o forge.Object) forge.Node { return forge.With(o, v2, "subject") }
			e, err := readBundle(s.Make().Bundle())
			w.refuses(t, v, e, err, verify.ErrMalformed)
		})
	}
}

// gitsign searched the log for a commit and its key; the log answered with entries of either,
// and the first was trusted.
func TestCVE_2024_51746(t *testing.T) {
	w := newWorld(t)
	mine := w.Spec(forge.Message, w.V1).Make()
	sameKey := changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Artifact = w.OtherArtifact }).Make()
	sameArtifact := w.other(w.Spec(forge.Message, w.V1))
	sameArtifact.Artifact = w.Artifact
	answer := forge.Array{sameKey.Entries[0].API(), sameArtifact.Make().Entries[0].API(), mine.Entries[0].API()}
	all, err := verify.ParseEntries(forge.Encode(answer), 10)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	v := w.verifier(t, w.byKey())
	for i, one := range all {
		if _, err := w.trust.VerifyEntry(one); err != nil {
			t.Errorf("entry %d is genuine, but: %v", i, err)
		}
		e, err := verify.NewEvidence(verify.Signed{Signature: mine.Signature, Entries: []*verify.Entry{one}})
		if i < 2 {
			w.refuses(t, v, e, err, verify.ErrBadProof)
		} else if _, err := v.Verify(e, verify.SHA256(sha256.Sum256(w.Artifact))); err != nil {
			t.Error(err)
		}
	}
}

// gitsign asked the log for the key with which to verify the log.
func TestCVE_2023_47122(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.ForeignV1).Make()
	e, err := readSigned(signed(m, m.Entries[0].API()))
	w.refuses(t, w.verifier(t, w.byKey()), e, err, verify.ErrUntrustedLog)
	// Nor does a log get in by saying that it is another one.
	id := m.Entries[0].UUID()
	e, err = readSigned(signed(m, forge.With(m.Entries[0].API(), fmt.Sprintf("%x", w.V1.ID()), id, "logID")))
	w.refuses(t, w.verifier(t, w.byKey()), e, err, verify.ErrBadProof)
}

// panicking is a timestamp verifier with a fault.
type panicking struct{}

// VerifyTimestamp panics.
func (panicking) VerifyTimestamp([]byte, []byte, []verify.Authority) (time.Time, int, error) {
	panic("a fault")
}

// lying is a timestamp verifier that answers nonsense.
type lying struct{ authority int }

// VerifyTimestamp names an authority that there is not.
func (l lying) VerifyTimestamp([]byte, []byte, []verify.Authority) (time.Time, int, error) {
	return time.Time{}, l.authority, nil
}

// gitsign recovered from a panic, and ended as if all was well.
func TestCVE_2026_44310(t *testing.T) {
	w := newWorld(t)
	s := w.Keyless(forge.Message, w.V1)
	s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now))
	e, err := readBundle(s.Make().Bundle())
	if err != nil {
		t.Fatal(err)
	}
	for name, faulty := range map[string]verify.TimestampVerifier{"panics": panicking{}, "authority -1": lying{-1}, "authority 2": lying{2}, "no time": lying{0}} {
		t.Run(name, func(t *testing.T) {
			v, err := verify.New(w.trust, w.byIdentity(), verify.Options{Timestamps: faulty})
			if err != nil {
				t.Fatal(err)
			}
			r, err := v.Verify(e, verify.SHA256(sha256.Sum256(w.Artifact)))
			if r != nil || !errors.Is(err, verify.ErrInternal) && !(name != "panics" && errors.Is(err, verify.ErrTimestamp)) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// gitsign verified what it had written anew from what it had read, not the bytes that were
// signed and that others would read.
func TestCVE_2026_44309(t *testing.T) {
	w := newWorld(t)
	s := w.Spec(forge.Simple, w.V1)
	a := s.Make().Annotations()
	payload := forge.Get(a, "payload").(string)
	for name, other := range map[string]string{
		"white space":  strings.Replace(payload, ":", ": ", 1),
		"escape":       strings.Replace(payload, "critical", `\u0063ritical`, 1),
		"order":        `{"optional":null,` + strings.Replace(payload[1:], `,"optional":null`, "", 1),
		"line at end":  payload + "\n",
		"more members": strings.Replace(payload, `"optional":null`, `"optional":{}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if other == payload {
				t.Fatal("nothing was changed")
			}
			e, err := readAnnotations(forge.With(a, other, "payload"))
			w.refuses(t, w.verifier(t, w.byKey()), e, err, verify.ErrBadSignature, verify.ErrBadProof)
		})
	}
	// The same of a statement, which a reader could write anew without loss.
	p := w.byKey()
	p.PredicateType = forge.Predicate
	b := w.Spec(forge.Attest, w.V1).Make().Bundle()
	statement := forge.Bytes(b, "dsseEnvelope", "payload")
	e, err := readBundle(forge.With(b, forge.Base64(bytes.ReplaceAll(statement, []byte(","), []byte(", "))), "dsseEnvelope", "payload"))
	w.refuses(t, w.verifier(t, p), e, err, verify.ErrBadSignature)
}
