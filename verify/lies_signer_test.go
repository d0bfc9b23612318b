package verify_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// Only whom the policy names may have signed, with a key or certificate that was to be believed then.
func TestLiesOfSigners(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	b := m.Bundle()
	k := w.Keyless(forge.Message, w.V1)
	issue := func(change func(*forge.Subject)) func(*forge.Spec) {
		return func(s *forge.Spec) {
			subject := w.Subject()
			change(&subject)
			s.Certificate = w.CA.Issue(subject)
		}
	}
	made := func(change func(*forge.Spec)) forge.Node { return changedSpec(k, change).Make().Bundle() }
	certificate := []any{material, "certificate", "rawBytes"}
	otherSAN := made(issue(func(s *forge.Subject) { s.Email = "boss@example.test" }))
	bothNames := w.byIdentity()
	bothNames.Identities = append(bothNames.Identities, verify.Identity{Issuer: forge.Issuer, Subject: "boss@example.test"})
	foreign := made(func(s *forge.Spec) { s.Certificate = w.ForeignCA.Issue(w.Subject()) })
	foreignChain := changedSpec(k, func(s *forge.Spec) {
		s.Version, s.Certificate = "0.1", w.ForeignCA.Issue(w.Subject())
		s.Chain = []*x509.Certificate{w.ForeignCA.Intermediate, w.ForeignCA.Root}
	}).Make().Bundle()
	self := made(func(s *forge.Spec) { s.Certificate = selfSigned(w) })
	ended := func(path ...any) *verify.Verifier {
		root := forge.With(w.root, "2026-02-01T00:00:00Z", path...)
		return must(verify.New(w.trustIn(t, root), w.byIdentity(), verify.Options{}))
	}
	shortCA := forge.NewCA("ca.example.test", "ca", w.Start, w.Now.Add(-time.Hour))
	byShortCA := must(verify.New(w.trustIn(t, forge.With(w.root, forge.Array{forge.With(shortCA.TrustedRoot(), "2036-01-01T00:00:00Z", "validFor", "end")},
		"certificateAuthorities")), w.byIdentity(), verify.Options{}))
	window := func(valid verify.Window) *verify.Verifier {
		p := w.byKey()
		p.Keys[0].Valid = valid
		return w.verifier(t, p)
	}
	before, after := w.Now.Add(-time.Second), w.Now.Add(time.Second)
	v2 := w.Spec(forge.Message, w.V2).Make().Bundle()
	byOther := w.verifier(t, verify.Policy{Keys: []verify.PublicKey{{PEM: w.OtherAuthor.PEM()}}})
	otherArtifact := verify.SHA256(sha256.Sum256(w.OtherArtifact))
	stampedKey := changedSpec(w.Spec(forge.Message, w.V2), func(s *forge.Spec) {
		s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now))
	}).Make().Bundle()
	identity := func(i verify.Identity) *verify.Verifier {
		return w.verifier(t, verify.Policy{Identities: []verify.Identity{i}})
	}
	wrong, badKey := is(verify.ErrWrongArtifact), is(verify.ErrBadSignature, verify.ErrIdentity)
	w.judge(t, []lie{
		{name: "another artifact", want: wrong, tree: b, a: &otherArtifact},
		{name: "another artifact, whole", want: wrong, tree: b, a: ptr(verify.Bytes(w.OtherArtifact))},
		{name: "the artifact, whole", tree: b, a: ptr(verify.Bytes(w.Artifact))},
		{name: "another algorithm", want: wrong, tree: b, a: ptr(must(verify.ParseDigest(fmt.Sprintf("sha512:%x", sha512.Sum512(w.Artifact)))))},
		{name: "no artifact", want: is(verify.ErrMalformed, verify.ErrWrongArtifact), tree: b, a: &verify.Artifact{}},
		{name: "another digest in the bundle", want: is(verify.ErrWrongArtifact, verify.ErrBadProof, verify.ErrBadSignature), a: &otherArtifact,
			tree: forge.With(b, forge.Base64(digest(w.OtherArtifact)), "messageSignature", "messageDigest", "digest")},
		{name: "another key", want: badKey, tree: b, v: byOther},
		{name: "signature in its other form", want: is(verify.ErrBadProof), tree: forge.With(b, forge.Base64(mirror(m.Signature)), "messageSignature", "signature")},
		{name: "signature by another key, logged", want: badKey, tree: w.other(changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) {})).Make().Bundle(), a: &otherArtifact},
		{name: "certificate where a key is asked for", want: is(verify.ErrIdentity), tree: k.Make().Bundle(), v: w.verifier(t, w.byKey())},
		{name: "key where an identity is asked for", want: is(verify.ErrIdentity), tree: b, v: w.verifier(t, w.byIdentity())},
		{name: "key bundle of a keyless signature", want: is(verify.ErrBadProof), v: w.verifier(t, w.byKey()),
			tree: forge.With(k.Make().Bundle(), forge.Object{"publicKey": forge.Object{"hint": ""}, entries: forge.Get(k.Make().Bundle(), material, entries)}, material)},

		{name: "certificate of the same key for another name", want: is(verify.ErrIdentity, verify.ErrBadProof), tree: forge.With(k.Make().Bundle(), forge.Get(otherSAN, certificate...), certificate...)},
		{name: "certificate of the same key for another name, also trusted", want: is(verify.ErrBadProof), v: w.verifier(t, bothNames),
			tree: forge.With(k.Make().Bundle(), forge.Get(otherSAN, certificate...), certificate...)},
		{name: "another name", want: is(verify.ErrIdentity), tree: otherSAN},
		{name: "name in capitals", want: is(verify.ErrIdentity), tree: made(issue(func(s *forge.Subject) { s.Email = strings.ToUpper(forge.Email) }))},
		{name: "name with another after it", want: is(verify.ErrIdentity, verify.ErrUntrustedCertificate, verify.ErrMalformed), tree: made(issue(func(s *forge.Subject) { s.Email = forge.Email + ".evil.test" }))},
		{name: "another issuer", want: is(verify.ErrIdentity), tree: made(issue(func(s *forge.Subject) { s.Issuer += ".evil.test" }))},
		{name: "no issuer", want: is(verify.ErrIdentity, verify.ErrUntrustedCertificate, verify.ErrMalformed), tree: made(issue(func(s *forge.Subject) { s.Issuer = "" }))},
		{name: "the name as a user name", tree: made(issue(func(s *forge.Subject) { s.Email, s.UserName = "", forge.Email }))},
		{name: "a URI", tree: made(issue(func(s *forge.Subject) { s.Email, s.URI = "", "https://ci.example.test/job" })), v: identity(verify.Identity{Issuer: forge.Issuer, Subject: "https://ci.example.test/job"})},
		{name: "another URI", want: is(verify.ErrIdentity), tree: made(issue(func(s *forge.Subject) { s.Email, s.URI = "", "https://ci.example.test/job2" })), v: identity(verify.Identity{Issuer: forge.Issuer, Subject: "https://ci.example.test/job"})},
		{name: "no name", want: is(verify.ErrIdentity, verify.ErrUntrustedCertificate, verify.ErrMalformed), tree: made(issue(func(s *forge.Subject) { s.Email = "" })), v: identity(verify.Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"})},
		{name: "expression", tree: k.Make().Bundle(), v: identity(verify.Identity{IssuerRegexp: `^https://oidc\.`, SubjectRegexp: `@example\.test$`})},
		{name: "expression of another name", want: is(verify.ErrIdentity), tree: k.Make().Bundle(), v: identity(verify.Identity{IssuerRegexp: `^https://oidc\.`, SubjectRegexp: `@example\.test2$`})},
		{name: "expression of another issuer", want: is(verify.ErrIdentity), tree: k.Make().Bundle(), v: identity(verify.Identity{IssuerRegexp: `^oidc`, SubjectRegexp: `.*`})},
		{name: "extension", want: is(verify.ErrIdentity), tree: k.Make().Bundle(), v: identity(verify.Identity{Issuer: forge.Issuer, Subject: forge.Email, Extensions: map[string]string{"1.3.6.1.4.1.57264.1.12": "https://git.example.test"}})},

		{name: "certificate of a foreign authority", want: is(verify.ErrUntrustedCertificate), tree: foreign},
		{name: "certificate of a foreign authority, with its chain", want: is(verify.ErrUntrustedCertificate), tree: foreignChain},
		{name: "certificate by itself", want: is(verify.ErrUntrustedCertificate), tree: self},
		{name: "certificate of the authority", want: is(verify.ErrUntrustedCertificate, verify.ErrBadSignature, verify.ErrMalformed), tree: made(func(s *forge.Spec) { s.Certificate = w.CA.Intermediate })},
		{name: "certificate for servers", want: is(verify.ErrUntrustedCertificate), tree: made(issue(func(s *forge.Subject) { s.ServerAuth = true }))},
		{name: "certificate of before", want: is(verify.ErrExpired), tree: made(issue(func(s *forge.Subject) { s.To = before }))},
		{name: "certificate of after", want: is(verify.ErrExpired), tree: made(issue(func(s *forge.Subject) { s.From = after }))},
		{name: "certificate up to then", tree: made(issue(func(s *forge.Subject) { s.To = w.Now }))},
		{name: "certificate since then", tree: made(issue(func(s *forge.Subject) { s.From = w.Now }))},
		{name: "authority that is trusted no more", want: is(verify.ErrExpired, verify.ErrUntrustedCertificate), tree: k.Make().Bundle(), v: ended("certificateAuthorities", 0, "validFor", "end")},
		{name: "authority whose certificates expired", want: is(verify.ErrExpired), tree: k.Make().Bundle(), v: byShortCA},
		{name: "certificate without any time", want: is(verify.ErrPolicy), tree: w.Keyless(forge.Message, w.V2).Make().Bundle()},

		{name: "key within its time", tree: b, v: window(verify.Window{Start: w.Now, End: w.Now})},
		{name: "key before its time", want: is(verify.ErrExpired), tree: b, v: window(verify.Window{Start: after})},
		{name: "key after its time", want: is(verify.ErrExpired), tree: b, v: window(verify.Window{End: before})},
		{name: "key with a time, and none proved", want: is(verify.ErrPolicy), tree: v2, v: window(verify.Window{End: after})},
		{name: "key with a time, and a timestamp in it", tree: stampedKey, v: window(verify.Window{End: after})},
		{name: "key with a time, and a timestamp after it", want: is(verify.ErrExpired), tree: stampedKey, v: window(verify.Window{End: before})},
	})
}

// selfSigned returns a certificate of the author by the author, with all that Fulcio would write.
func selfSigned(w *world) *x509.Certificate {
	template := *w.Certificate
	template.ExtraExtensions = template.Extensions
	der := must(x509.CreateCertificate(nil, &template, &template, w.Author.Public(), w.Author.Signer.(*ecdsa.PrivateKey)))
	return must(x509.ParseCertificate(der))
}

// A timestamp has to be right, needed or not, and counts once for each authority.
func TestLiesOfTimestamps(t *testing.T) {
	w := newWorld(t)
	p := w.byIdentity()
	p.SignedTimestamps = 1
	two := p
	two.SignedTimestamps = 2
	ignore := w.byIdentity()
	ignore.IgnoreTimestamps = true
	byOne, byTwo, byNone, ignoring := w.verifier(t, p), w.verifier(t, two), w.verifier(t, w.byIdentity()), w.verifier(t, ignore)
	without := must(verify.New(w.trust, w.byIdentity(), verify.Options{}))
	ended := must(verify.New(w.trustIn(t, forge.With(w.root, "2026-02-01T00:00:00Z", "timestampAuthorities", 0, "validFor", "end")), p, verify.Options{Timestamps: tokens{}}))
	made := func(l *forge.Log, stamps ...func([]byte) []byte) forge.Node {
		s := w.Keyless(forge.Message, l)
		s.Stamp = stamps
		return s.Make().Bundle()
	}
	good, second, foreign := stamp(w.tsas[0], w.Now), stamp(w.tsas[1], w.Now), stamp(w.foreignTSA, w.Now)
	ofOther := func([]byte) []byte { return good([]byte("another signature")) }
	ofArtifact := func([]byte) []byte { return good(w.Artifact) }
	broken := func(signature []byte) []byte { return flip(good(signature), 20) }
	empty := func([]byte) []byte { return nil }
	bad := is(verify.ErrTimestamp)
	w.judge(t, []lie{
		{name: "good", tree: made(w.V2, good), v: byOne},
		{name: "none", want: is(verify.ErrPolicy), tree: made(w.V2), v: byOne},
		{name: "none, with a SET", want: is(verify.ErrPolicy), tree: made(w.V1), v: byOne},
		{name: "foreign authority", want: bad, tree: made(w.V2, foreign), v: byOne},
		{name: "of another signature", want: bad, tree: made(w.V2, ofOther), v: byOne},
		{name: "of the artifact", want: bad, tree: made(w.V2, ofArtifact), v: byOne},
		{name: "broken", want: bad, tree: made(w.V2, broken), v: byOne},
		{name: "empty", want: is(verify.ErrTimestamp, verify.ErrMalformed), tree: made(w.V2, empty), v: byOne},
		{name: "not needed, broken", want: bad, tree: made(w.V1, broken), v: byNone},
		{name: "not needed, of another signature", want: bad, tree: made(w.V1, ofOther), v: byNone},
		{name: "not needed, foreign authority", want: bad, tree: made(w.V1, foreign), v: byNone},
		{name: "not needed, empty", want: is(verify.ErrTimestamp, verify.ErrMalformed), tree: made(w.V1, empty), v: byNone},
		{name: "broken besides a good one", want: bad, tree: made(w.V2, good, broken), v: byOne},
		{name: "foreign besides a good one", want: bad, tree: made(w.V2, foreign, good), v: byOne},
		{name: "broken, ignored", tree: made(w.V1, broken), v: ignoring},
		{name: "good, ignored, and nothing else says the time", want: is(verify.ErrPolicy), tree: made(w.V2, good), v: ignoring},
		{name: "no verifier", want: is(verify.ErrTimestamp, verify.ErrPolicy), tree: made(w.V1, good), v: without},
		{name: "one for two", want: is(verify.ErrPolicy), tree: made(w.V2, good), v: byTwo},
		{name: "the same twice for two", want: is(verify.ErrPolicy, verify.ErrMalformed), tree: made(w.V2, good, good), v: byTwo},
		{name: "one authority twice for two", want: is(verify.ErrPolicy), tree: made(w.V2, good, stamp(w.tsas[0], w.Now.Add(time.Second))), v: byTwo},
		{name: "two for two", tree: made(w.V2, good, second), v: byTwo},
		{name: "before the certificate", want: is(verify.ErrExpired), tree: made(w.V2, stamp(w.tsas[0], w.Now.Add(-time.Hour))), v: byOne},
		{name: "after the certificate", want: is(verify.ErrExpired), tree: made(w.V2, stamp(w.tsas[0], w.Now.Add(time.Hour))), v: byOne},
		{name: "after the certificate besides one in it", want: is(verify.ErrExpired), tree: made(w.V2, good, stamp(w.tsas[1], w.Now.Add(time.Hour))), v: byOne},
		{name: "not needed, after the certificate", want: is(verify.ErrExpired), tree: made(w.V1, stamp(w.tsas[0], w.Now.Add(time.Hour))), v: byNone},
		{name: "authority that is trusted no more", want: is(verify.ErrExpired, verify.ErrTimestamp), tree: made(w.V2, good), v: ended},
	})
}
