package verify_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// A lie is evidence of which every part is genuine, or signed by those who should know
// better, but which proves nothing of the artifact.
type lie struct {
	name string
	want classes // nil: it is none, and is accepted
	tree forge.Node
	read func(forge.Node) (*verify.Evidence, error) // nil: a bundle
	v    *verify.Verifier                           // nil: the policy that fits the tree's signer
	a    *verify.Artifact                           // nil: the World's
}

// judge tries lies.
func (w *world) judge(t *testing.T, lies []lie) {
	t.Helper()
	key, identity := w.verifier(t, w.byKey()), w.verifier(t, w.byIdentity())
	for _, l := range lies {
		s := &sample{tree: l.tree, read: l.read, v: l.v, a: verify.SHA256(sha256.Sum256(w.Artifact))}
		if l.a != nil {
			s.a = *l.a
		}
		if s.read == nil {
			s.read = readBundle
		}
		if s.v == nil {
			s.v = key
			if bytes.Contains(forge.Encode(l.tree), []byte("ertificate")) {
				s.v = identity
			}
		}
		t.Run(l.name, func(t *testing.T) {
			err := s.try(s.tree)
			switch {
			case l.want == nil && err != nil:
				t.Errorf("%v\n%s", err, forge.Encode(s.tree))
			case l.want != nil && err == nil:
				t.Errorf("accepted:\n%s", forge.Encode(s.tree))
			case l.want != nil && !l.want.match(err):
				t.Errorf("%v; want %v", err, l.want)
			}
		})
	}
}

func is(all ...error) classes { return all }

// spec returns a recipe with a change.
func changedSpec(s forge.Spec, change func(*forge.Spec)) forge.Spec {
	change(&s)
	return s
}

const (
	material = "verificationMaterial"
	entries  = "tlogEntries"
	proof    = "inclusionProof"
	promise  = "inclusionPromise"
)

// entry returns the path of a member of a bundle's first log entry.
func entry(path ...any) []any { return append([]any{material, entries, 0}, path...) }

// withEntry returns the bundle with another log entry in the place of its first.
func withEntry(m *forge.Made, e forge.Node) forge.Node { return forge.With(m.Bundle(), e, entry()...) }

func TestLiesOfLogs(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.Spec(forge.Message, w.V1).Make(), w.Spec(forge.Message, w.V2).Make()
	v2e := w.Spec(forge.Message, w.V2ECDSA).Make()
	bundle1, bundle2 := v1.Bundle(), v2.Bundle()
	other := w.other(w.Spec(forge.Message, w.V1)).Make()
	body1, body2 := must(forge.Decode(v1.Entries[0].Body())), must(forge.Decode(v2.Entries[0].Body()))
	put := func(l *forge.Log, body forge.Node) forge.Logged { return l.Clone().Put(body, w.Now) }
	v2in1, v1in2, v1in2e := put(w.V1, body2), put(w.V2, body1), put(w.V2ECDSA, body1)

	// The same entry under a later and an earlier head of the same tree.
	grown := v1.Entries[0]
	grown.Log.Add([]byte(`{"later":true}`))
	later := grown
	later.Size = grown.Log.Size()
	small := grown
	small.Size = grown.Index + 1
	neighbour := grown
	neighbour.Index = 1

	foreign := w.Spec(forge.Message, w.ForeignV1).Make().Bundle()
	foreign2 := w.Spec(forge.Message, w.ForeignV2).Make().Bundle()
	twin := forge.NewLogV2("twin.log.example.test", w.V2.Key)
	root := forge.With(w.root, append(slices.Clone(w.root["tlogs"].(forge.Array)), twin.TrustedRoot(w.Start, time.Time{})), "tlogs")
	two := w.byKey()
	two.LogEntries = 2
	byTwo := w.verifier(t, two)
	byTwins, err := verify.New(w.trustIn(t, root), two, verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	more := func(b forge.Node, extra ...forge.Node) forge.Node {
		return forge.With(b, append(slices.Clone(forge.Get(b, material, entries).(forge.Array)), extra...), material, entries)
	}
	tle := forge.Get(bundle1, entry()...)
	set := func(b forge.Node, s []byte) forge.Node {
		return forge.With(b, forge.Object{"signedEntryTimestamp": forge.Base64(s)}, entry(promise)...)
	}
	over := w.root
	ended := forge.With(w.root, "2026-02-01T00:00:00Z", "tlogs", 0, "publicKey", "validFor", "end")
	byEnded, err := verify.New(w.trustIn(t, ended), w.byKey(), verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	unstarted := forge.With(over, "2027-01-01T00:00:00Z", "tlogs", 0, "publicKey", "validFor", "start")
	byUnstarted, err := verify.New(w.trustIn(t, unstarted), w.byKey(), verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	early := w.byKey()
	early.Time = w.Now.Add(-time.Second)
	late := w.byKey()
	late.Time = w.Now
	bad := is(verify.ErrBadProof)
	w.judge(t, []lie{
		{name: "v2 body under a v1 checkpoint", want: bad, tree: withEntry(v2, v2in1.TLE(forge.ProofOnly))},
		{name: "v2 body under a v1 checkpoint, with a SET and a time", want: bad, tree: withEntry(v2, v2in1.TLE(forge.SETAndProof))},
		{name: "v2 body under a v1 checkpoint, with a SET and no time", want: bad, tree: withEntry(v2, forge.Without(v2in1.TLE(forge.SETAndProof), "integratedTime"))},
		{name: "v2 body with a SET alone", want: bad, tree: forge.With(withEntry(v2, v2in1.TLE(forge.SETOnly)),
			"application/vnd.dev.sigstore.bundle+json;version=0.1", "mediaType")},
		{name: "v1 body under a v2 checkpoint", want: bad, tree: withEntry(v1, v1in2.TLE(forge.ProofOnly))},
		{name: "v1 body under a v2 checkpoint, with a SET", want: is(verify.ErrBadProof, verify.ErrUntrustedLog), tree: withEntry(v1, forge.With(
			forge.With(v1in2.TLE(forge.ProofOnly), forge.Object{"signedEntryTimestamp": forge.Base64(v1in2.SET())}, promise), "1782864000", "integratedTime"))},
		{name: "v1 body under a v2 checkpoint, with a SET of the same ECDSA key", want: bad, tree: withEntry(v1, forge.With(
			forge.With(v1in2e.TLE(forge.ProofOnly), forge.Object{"signedEntryTimestamp": forge.Base64(v1in2e.SET())}, promise), fmt.Sprint(w.Now.Unix()), "integratedTime"))},
		{name: "v2 entry with a SET", want: bad, tree: set(v2e.Bundle(), v2e.Entries[0].SET())},
		{name: "v2 entry with a time", want: bad, tree: forge.With(bundle2, fmt.Sprint(w.Now.Unix()), entry("integratedTime")...)},
		{name: "v2 entry with an index of its own", want: bad, tree: forge.With(bundle2, fmt.Sprint(v2.Entries[0].Index+1), entry("logIndex")...)},
		{name: "v2 entry with an empty promise", tree: forge.With(bundle2, nil, entry(promise)...)},
		{name: "v1 entry without a SET", want: bad, tree: forge.Without(bundle1, entry(promise)...)},
		{name: "v1 entry without a SET and time", want: bad, tree: forge.Without(forge.Without(bundle1, entry(promise)...), entry("integratedTime")...)},

		{name: "SET of another entry", want: bad, tree: set(bundle1, other.Entries[0].SET())},
		{name: "SET of another log", want: bad, tree: set(bundle1, w.ForeignV1.SET(v1.Entries[0].Body(), v1.Entries[0].LogIndex(), w.Now))},
		{name: "SET for another time", want: bad, tree: set(bundle1, w.V1.SET(v1.Entries[0].Body(), v1.Entries[0].LogIndex(), w.Now.Add(time.Second)))},
		{name: "SET for another index", want: bad, tree: set(bundle1, w.V1.SET(v1.Entries[0].Body(), v1.Entries[0].LogIndex()+1, w.Now))},
		{name: "SET for the index in the tree", want: bad, tree: set(bundle1, w.V1.SET(v1.Entries[0].Body(), int64(v1.Entries[0].Index), w.Now))},
		{name: "SET by the author", want: bad, tree: set(bundle1, (&forge.Log{Host: w.V1.Host, TreeID: 1, Key: w.Author}).SET(v1.Entries[0].Body(), v1.Entries[0].LogIndex(), w.Now))},
		{name: "SET in its other form", tree: set(bundle1, mirror(v1.Entries[0].SET()))},

		{name: "proof of another leaf", want: bad, tree: forge.With(bundle1, neighbour.TLE(forge.SETAndProof)[proof], entry(proof)...)},
		{name: "proof of another entry", want: bad, tree: forge.With(bundle1, forge.Get(other.Bundle(), entry(proof)...), entry(proof)...)},
		{name: "proof under a later head", tree: forge.With(bundle1, later.TLE(forge.SETAndProof)[proof], entry(proof)...)},
		{name: "proof under an earlier head", tree: forge.With(bundle1, small.TLE(forge.SETAndProof)[proof], entry(proof)...)},
		{name: "checkpoint of a later head", want: bad, tree: forge.With(bundle1, grown.Log.Checkpoint(grown.Log.Size()), entry(proof, "checkpoint", "envelope")...)},
		{name: "checkpoint of an earlier head", want: bad, tree: forge.With(bundle1, grown.Log.Checkpoint(grown.Index+1), entry(proof, "checkpoint", "envelope")...)},
		{name: "checkpoint before the entry", want: bad, tree: forge.With(bundle1, grown.Log.Checkpoint(grown.Index), entry(proof, "checkpoint", "envelope")...)},
		{name: "checkpoint of an empty tree", want: bad, tree: forge.With(bundle1, grown.Log.Checkpoint(0), entry(proof, "checkpoint", "envelope")...)},
		{name: "path and checkpoint of a later head", want: bad, tree: forge.With(forge.With(bundle1,
			forge.Get(later.TLE(forge.SETAndProof), proof, "hashes"), entry(proof, "hashes")...),
			grown.Log.Checkpoint(grown.Log.Size()), entry(proof, "checkpoint", "envelope")...)},
		{name: "checkpoint of a foreign log", want: bad, tree: forge.With(bundle1, forge.Get(foreign, entry(proof, "checkpoint")...), entry(proof, "checkpoint")...)},
		{name: "checkpoint of a v2 log", want: bad, tree: forge.With(bundle1, w.V2.Checkpoint(3), entry(proof, "checkpoint", "envelope")...)},
		{name: "v1 checkpoint in a v2 entry", want: bad, tree: forge.With(bundle2, w.V1.Checkpoint(3), entry(proof, "checkpoint", "envelope")...)},

		{name: "entry of a foreign log", want: is(verify.ErrUntrustedLog), tree: foreign},
		{name: "entry of a foreign v2 log", want: is(verify.ErrUntrustedLog), tree: foreign2},
		{name: "entry of a foreign log by the trusted one's ID", want: bad, tree: forge.With(foreign, forge.Base64(w.V1.ID()), entry("logId", "keyId")...)},
		{name: "entry of a foreign v2 log by the trusted one's ID", want: bad, tree: forge.With(foreign2, forge.Base64(w.V2.ID()), entry("logId", "keyId")...)},
		{name: "entry of a foreign log besides", want: is(verify.ErrUntrustedLog), tree: more(bundle1, forge.Get(foreign, entry()...))},
		{name: "genuine entry of another signature", want: bad, tree: forge.With(bundle1, forge.Get(other.Bundle(), entry()...), entry()...)},
		{name: "genuine entry of another signature besides", want: bad, tree: more(bundle1, forge.Get(other.Bundle(), entry()...))},
		{name: "genuine v2 entry of another signature besides", want: bad, tree: more(bundle1, forge.Get(w.other(w.Spec(forge.Message, w.V2)).Make().Bundle(), entry()...))},
		{name: "entry of a foreign log with a broken one", want: is(verify.ErrUntrustedLog, verify.ErrBadProof),
			tree: more(foreign, forge.With(tle, "0", "logIndex"))},
		{name: "the same entry twice for two", want: is(verify.ErrPolicy, verify.ErrMalformed), tree: more(bundle1, tle), v: byTwo},
		{name: "the same entry at two heads for two", want: is(verify.ErrPolicy, verify.ErrMalformed), tree: more(bundle1, later.TLE(forge.SETAndProof)), v: byTwo},
		{name: "two entries of one log for two", want: is(verify.ErrPolicy, verify.ErrMalformed), tree: more(bundle1, w.again(v1)), v: byTwo},
		{name: "two logs with one key for two", want: is(verify.ErrPolicy), tree: w.Spec(forge.Message, w.V2, twin).Make().Bundle(), v: byTwins},
		{name: "one entry for two", want: is(verify.ErrPolicy), tree: bundle1, v: byTwo},
		{name: "two logs for two", tree: w.Spec(forge.Message, w.V1, w.V2).Make().Bundle(), v: byTwo},
		{name: "no entry", want: is(verify.ErrPolicy, verify.ErrMalformed), tree: forge.Without(bundle1, material, entries)},

		{name: "after the log's key ended", want: is(verify.ErrUntrustedLog), tree: bundle1, v: byEnded},
		{name: "before the log's key started", want: is(verify.ErrUntrustedLog), tree: bundle1, v: byUnstarted},
		{name: "after the time asked about", want: is(verify.ErrExpired, verify.ErrPolicy), tree: bundle1, v: w.verifier(t, early)},
		{name: "at the time asked about", tree: bundle1, v: w.verifier(t, late)},
	})
}

// again returns another genuine entry of the same log about the same signature.
func (w *world) again(m *forge.Made) forge.Node {
	l := m.Entries[0].Log.Clone()
	return l.Put(must(forge.Decode(m.Entries[0].Body())), w.Now).TLE(forge.SETAndProof)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// mirror returns the other form of a P-256 signature: (r, -s).
func mirror(der []byte) []byte {
	var s struct{ R, S *big.Int }
	must(asn1.Unmarshal(der, &s))
	s.S.Sub(elliptic.P256().Params().N, s.S)
	return must(asn1.Marshal(s))
}

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

func ptr[T any](v T) *T { return &v }

func digest(b []byte) []byte {
	d := sha256.Sum256(b)
	return d[:]
}

// selfSigned returns a certificate of the author by the author, with all that Fulcio would write.
func selfSigned(w *world) *x509.Certificate {
	template := *w.Certificate
	template.ExtraExtensions = template.Extensions
	der := must(x509.CreateCertificate(nil, &template, &template, w.Author.Public(), w.Author.Signer.(*ecdsa.PrivateKey)))
	return must(x509.ParseCertificate(der))
}

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

func TestLiesOfStatements(t *testing.T) {
	w := newWorld(t)
	p := w.byKey()
	p.PredicateType = forge.Predicate
	ask := w.verifier(t, p)
	other := p
	other.PredicateType = "https://predicates.example.test/build/v2"
	prefix := p
	prefix.PredicateType = strings.TrimSuffix(forge.Predicate, "/v1")
	edited := func(change func(forge.Object) forge.Node) forge.Node {
		s := w.Spec(forge.Attest, w.V1)
		s.EditPayload = change
		return s.Make().Bundle()
	}
	set := func(v forge.Node, path ...any) forge.Node {
		return edited(func(o forge.Object) forge.Node { return forge.With(o, v, path...) })
	}
	twice := func(path ...any) forge.Node {
		return edited(func(o forge.Object) forge.Node {
			v := string(forge.Encode(forge.Get(o, path...)))
			return forge.With(o, forge.Verbatim(fmt.Sprintf(`%s,%q:%s`, v, path[len(path)-1], v)), path...)
		})
	}
	besides := func(name string, v forge.Node, path ...any) forge.Node {
		return edited(func(o forge.Object) forge.Node {
			return forge.With(o, v, append(slices.Clone(path), name)...)
		})
	}
	subject := func(d forge.Object) forge.Object { return forge.Object{"name": "x", "digest": d} }
	good := forge.Get(forge.Statement("", sha256.Sum256(w.Artifact)), "subject", 0)
	hex256 := fmt.Sprintf("%x", sha256.Sum256(w.Artifact))
	hex512 := fmt.Sprintf("%x", sha512.Sum512(w.Artifact))
	otherHex := fmt.Sprintf("%x", sha256.Sum256(w.OtherArtifact))
	a512 := must(verify.ParseDigest("sha512:" + hex512))
	many := forge.Array{}
	for range verify.MaxSubjects + 1 {
		many = append(many, good)
	}
	digests := forge.Object{"sha256": hex256}
	for i := range verify.MaxSubjectDigests {
		digests[fmt.Sprintf("alg%d", i)] = "00"
	}
	typed := func(payloadType string) forge.Node {
		s := w.Spec(forge.Attest, w.V1)
		s.PayloadType = payloadType
		return s.Make().Bundle()
	}
	b := w.Spec(forge.Attest, w.V1).Make().Bundle()
	envelope := func(change func(forge.Object) forge.Node) forge.Node {
		return forge.With(b, change(forge.Get(b, "dsseEnvelope").(forge.Object)), "dsseEnvelope")
	}
	twoSignatures := func(sigs ...[]byte) forge.Node {
		return envelope(func(e forge.Object) forge.Node {
			var all forge.Array
			for _, s := range sigs {
				all = append(all, forge.Object{"sig": forge.Base64(s)})
			}
			return forge.With(e, all, "signatures")
		})
	}
	m := w.Spec(forge.Attest, w.V1).Make()
	keyID := func(id string) forge.Node { return forge.With(b, id, "dsseEnvelope", "signatures", 0, "keyid") }
	byOther := w.OtherAuthor.SignMessage(forge.PAE(forge.InTotoType, m.Payload))
	cosignSign := edited(func(o forge.Object) forge.Node { return forge.With(o, verify.CosignSignType, "predicateType") })
	v2 := w.Spec(forge.Attest, w.V2)
	v2.EditPayload = func(o forge.Object) forge.Node { return forge.With(o, otherHex, "subject", 0, "digest", "sha256") }
	message := w.Spec(forge.Message, w.V1).Make().Bundle()
	// What is signed is a message that reads as the envelope's PAE, and the reverse.
	pae := w.Spec(forge.Message, w.V1)
	pae.Artifact = forge.PAE(forge.InTotoType, m.Payload)
	confused := forge.With(forge.Without(pae.Make().Bundle(), "messageSignature"), m.Envelope, "dsseEnvelope")
	wrong, bad := is(verify.ErrWrongArtifact), is(verify.ErrMalformed)
	either := is(verify.ErrWrongArtifact, verify.ErrMalformed)
	lies := []lie{
		{name: "good", tree: b},
		{name: "another type asked", want: wrong, tree: b, v: w.verifier(t, other)},
		{name: "its beginning asked", want: wrong, tree: b, v: w.verifier(t, prefix)},
		{name: "statement where a signature is asked", want: wrong, tree: b, v: w.verifier(t, w.byKey())},
		{name: "cosign's statement where a signature is asked", tree: cosignSign, v: w.verifier(t, w.byKey())},
		{name: "signature where a statement is asked", want: wrong, tree: message},
		{name: "another artifact", want: wrong, tree: b, a: ptr(verify.SHA256(sha256.Sum256(w.OtherArtifact)))},
		{name: "another subject", want: wrong, tree: set(otherHex, "subject", 0, "digest", "sha256")},
		{name: "another subject, v2", want: wrong, tree: v2.Make().Bundle()},
		{name: "a subject with SHA-512 only", want: wrong, tree: set(forge.Array{subject(forge.Object{"sha512": hex512})}, "subject")},
		{name: "a subject with SHA-512, asked for it", tree: set(forge.Array{subject(forge.Object{"sha512": hex512})}, "subject"), a: &a512},
		{name: "a subject with SHA-256 called sha512", want: either, tree: set(forge.Array{subject(forge.Object{"sha512": hex256})}, "subject")},
		{name: "a subject with the digest called SHA256", want: either, tree: set(forge.Array{subject(forge.Object{"SHA256": hex256})}, "subject")},
		{name: "a subject whose digest is longer", want: either, tree: set(hex256+"00", "subject", 0, "digest", "sha256")},
		{name: "a subject whose digest is shorter", want: either, tree: set(hex256[:62], "subject", 0, "digest", "sha256")},
		{name: "a subject whose digest is empty", want: either, tree: set("", "subject", 0, "digest", "sha256")},
		{name: "a subject whose digest is a number", want: bad, tree: set(forge.Number("1"), "subject", 0, "digest", "sha256")},
		{name: "a subject without digests", want: either, tree: set(forge.Object{}, "subject", 0, "digest")},
		{name: "a subject without digest", want: either, tree: set(forge.Array{forge.Object{"name": "x"}}, "subject")},
		{name: "the digest in the name", want: either, tree: set(forge.Array{forge.Object{"name": "sha256:" + hex256, "digest": forge.Object{"sha256": otherHex}}}, "subject")},
		{name: "the digest in the predicate", want: wrong, tree: edited(func(o forge.Object) forge.Node {
			return forge.With(forge.With(o, forge.Object{"subject": forge.Array{good}}, "predicate"), otherHex, "subject", 0, "digest", "sha256")
		})},
		{name: "a second subject", tree: set(forge.Array{subject(forge.Object{"sha256": otherHex}), good}, "subject")},
		{name: "no subjects", want: either, tree: set(forge.Array{}, "subject")},
		{name: "subject null", want: either, tree: set(nil, "subject")},
		{name: "subject an object", want: bad, tree: set(good, "subject")},
		{name: "too many subjects", want: bad, tree: set(many, "subject")},
		{name: "too many digests", want: bad, tree: set(digests, "subject", 0, "digest")},
		{name: "another predicate type", want: wrong, tree: set(other.PredicateType, "predicateType")},
		{name: "no predicate type", want: either, tree: edited(func(o forge.Object) forge.Node { return forge.Without(o, "predicateType") })},
		{name: "predicate type null", want: either, tree: set(nil, "predicateType")},
		{name: "predicate type in capitals", want: wrong, tree: set(strings.ToUpper(forge.Predicate), "predicateType")},
		{name: "predicate type with a slash", want: wrong, tree: set(forge.Predicate+"/", "predicateType")},
		{name: "another statement type", want: either, tree: set("https://in-toto.io/Statement/v2", "_type")},
		{name: "the first statement type", tree: set("https://in-toto.io/Statement/v0.1", "_type")},
		{name: "no statement type", want: either, tree: edited(func(o forge.Object) forge.Node { return forge.Without(o, "_type") })},
		{name: "predicateType twice", want: bad, tree: twice("predicateType")},
		{name: "subject twice", want: bad, tree: twice("subject")},
		{name: "_type twice", want: bad, tree: twice("_type")},
		{name: "predicate twice", want: bad, tree: twice("predicate")},
		{name: "digest twice", want: bad, tree: twice("subject", 0, "digest")},
		{name: "sha256 twice", want: bad, tree: twice("subject", 0, "digest", "sha256")},
		{name: "name twice", want: bad, tree: twice("subject", 0, "name")},
		{name: "PredicateType besides", want: bad, tree: besides("PredicateType", other.PredicateType)},
		{name: "Subject besides", want: bad, tree: besides("Subject", forge.Array{good})},
		{name: "Digest besides", want: bad, tree: besides("Digest", forge.Object{}, "subject", 0)},
		{name: "statement an array", want: bad, tree: edited(func(o forge.Object) forge.Node { return forge.Array{o} })},
		{name: "statement twice", want: bad, tree: edited(func(o forge.Object) forge.Node {
			return forge.Verbatim(string(forge.Encode(o)) + string(forge.Encode(o)))
		})},
		{name: "statement empty", want: bad, tree: edited(func(forge.Object) forge.Node { return forge.Verbatim("") })},
		{name: "statement null", want: bad, tree: edited(func(forge.Object) forge.Node { return nil })},
		{name: "statement with a byte order mark", want: bad, tree: edited(func(o forge.Object) forge.Node { return forge.Verbatim("\ufeff" + string(forge.Encode(o))) })},
		{name: "payload type text", want: either, tree: typed("text/plain")},
		{name: "payload type in capitals", want: either, tree: typed(strings.ToUpper(forge.InTotoType))},
		{name: "payload type with a parameter", want: either, tree: typed(forge.InTotoType + ";v=1")},
		{name: "cosign's payload in an envelope", want: either, tree: edited(func(forge.Object) forge.Node { return forge.SimpleSigning(sha256.Sum256(w.Artifact)) })},
		{name: "predicate a list", want: bad, tree: set(forge.Array{}, "predicate")},
		{name: "predicate text", want: bad, tree: set("x", "predicate")},
		{name: "predicate a number", want: bad, tree: set(forge.Number("3"), "predicate")},
		{name: "no predicate", tree: edited(func(o forge.Object) forge.Node { return forge.Without(o, "predicate") })},
		{name: "a member of the predicate twice", want: bad, tree: twice("predicate", "level")},
		{name: "a member deep in the predicate twice", want: bad, tree: twice("predicate", "builder", "id")},
		{name: "another's key ID", want: is(verify.ErrMalformed, verify.ErrBadSignature, verify.ErrIdentity), tree: keyID("x")},
		{name: "an empty key ID", tree: keyID("")},
		{name: "the key's key ID", tree: keyID(fingerprint(t, w.Author))},
		{name: "two signatures", want: bad, tree: twoSignatures(m.Signature, m.Signature)},
		{name: "two signatures, one of another", want: bad, tree: twoSignatures(m.Signature, byOther)},
		{name: "no signatures", want: bad, tree: twoSignatures()},
		{name: "an empty signature", want: is(verify.ErrMalformed, verify.ErrBadSignature), tree: twoSignatures(nil)},
		{name: "a signature over the payload alone", want: is(verify.ErrBadSignature), tree: twoSignatures(w.Author.SignMessage(m.Payload))},
		{name: "a message that is the envelope's", want: is(verify.ErrBadProof), tree: confused},
		{name: "message and envelope", want: bad, tree: forge.With(b, forge.Get(message, "messageSignature"), "messageSignature")},
		{name: "neither message nor envelope", want: bad, tree: forge.Without(b, "dsseEnvelope")},
	}
	for i := range lies {
		if lies[i].v == nil {
			lies[i].v = ask
		}
	}
	w.judge(t, lies)
}

// fingerprint returns what OpenSSH calls a key, which is its key ID in DSSE.
func fingerprint(t *testing.T, k *forge.Key) string {
	t.Helper()
	key, err := sig.ParsePublicKey(k.SPKI)
	if err != nil {
		t.Fatal(err)
	}
	return key.SSHFingerprint()
}

func TestLiesOfPayloads(t *testing.T) {
	w := newWorld(t)
	made := func(change func(forge.Object) forge.Node) forge.Node {
		s := w.Spec(forge.Simple, w.V1)
		s.EditPayload = change
		return s.Make().Annotations()
	}
	set := func(v forge.Node, path ...any) forge.Node {
		return made(func(o forge.Object) forge.Node { return forge.With(o, v, path...) })
	}
	image := []any{"critical", "image", "docker-manifest-digest"}
	good := fmt.Sprintf("sha256:%x", sha256.Sum256(w.Artifact))
	other := fmt.Sprintf("sha256:%x", sha256.Sum256(w.OtherArtifact))
	twice := func(first, second string, path ...any) forge.Node {
		return set(forge.Verbatim(fmt.Sprintf(`%s,%q:%s`, first, path[len(path)-1], second)), path...)
	}
	quoted := func(s string) string { return `"` + s + `"` }
	a := w.Spec(forge.Simple, w.V1).Make().Annotations()
	reserialised := forge.With(a, strings.ReplaceAll(forge.Get(a, "payload").(string), `":`, `": `), "payload")
	wrong, bad := is(verify.ErrWrongArtifact), is(verify.ErrMalformed)
	either := is(verify.ErrWrongArtifact, verify.ErrMalformed)
	lies := []lie{
		{name: "good", tree: a},
		{name: "another image", want: wrong, tree: set(other, image...)},
		{name: "another artifact", want: wrong, tree: a, a: ptr(verify.SHA256(sha256.Sum256(w.OtherArtifact)))},
		{name: "digest in capitals", want: either, tree: set(strings.ToUpper(good), image...)},
		{name: "digest without algorithm", want: either, tree: set(strings.TrimPrefix(good, "sha256:"), image...)},
		{name: "digest of another algorithm", want: either, tree: set(strings.Replace(good, "sha256", "sha512", 1), image...)},
		{name: "digest with a space", want: either, tree: set(good+" ", image...)},
		{name: "digest null", want: either, tree: set(nil, image...)},
		{name: "no digest", want: either, tree: made(func(o forge.Object) forge.Node { return forge.Without(o, image...) })},
		{name: "no image", want: either, tree: made(func(o forge.Object) forge.Node { return forge.Without(o, "critical", "image") })},
		{name: "nothing critical", want: either, tree: made(func(o forge.Object) forge.Node { return forge.Without(o, "critical") })},
		{name: "another type", want: either, tree: set("atomic container signature", "critical", "type")},
		{name: "no type", want: either, tree: made(func(o forge.Object) forge.Node { return forge.Without(o, "critical", "type") })},
		{name: "digest twice", want: bad, tree: twice(quoted(good), quoted(other), image...)},
		{name: "digest twice, the good one last", want: bad, tree: twice(quoted(other), quoted(good), image...)},
		{name: "critical twice", want: bad, tree: twice(string(forge.Encode(forge.SimpleSigning(sha256.Sum256(w.Artifact))["critical"])), `{}`, "critical")},
		{name: "Critical besides", want: bad, tree: set(forge.Object{}, "Critical")},
		{name: "Docker-Manifest-Digest besides", want: bad, tree: set(other, "critical", "image", "Docker-Manifest-Digest")},
		{name: "an annotation", tree: set(forge.Object{"build": forge.Number("7")}, "optional")},
		{name: "digest among the annotations", want: wrong, tree: made(func(o forge.Object) forge.Node {
			return forge.With(forge.With(o, other, image...), forge.Object{"critical": o["critical"]}, "optional")
		})},
		{name: "payload twice", want: bad, tree: made(func(o forge.Object) forge.Node { return forge.Verbatim(string(forge.Encode(o)) + "{}") })},
		{name: "written anew", want: is(verify.ErrBadSignature, verify.ErrBadProof), tree: reserialised},
		{name: "the statement of an attestation", want: either, tree: made(func(forge.Object) forge.Node { return forge.Statement(forge.Predicate, sha256.Sum256(w.Artifact)) })},
		{name: "no bundle", want: is(verify.ErrPolicy), tree: forge.Without(a, "dev.sigstore.cosign/bundle")},
		{name: "no signature", want: is(verify.ErrMalformed, verify.ErrBadSignature), tree: forge.Without(a, "dev.cosignproject.cosign/signature")},
	}
	for i := range lies {
		lies[i].read = readAnnotations
	}
	w.judge(t, lies)
}

// What a log says in an entry's body is what it takes the signature to be. A body that says
// anything else is refused, although the log signed it.
func TestLiesInBodies(t *testing.T) {
	w := newWorld(t)
	keyed, certified := w.byKey(), w.byIdentity()
	keyed.PredicateType, certified.PredicateType = forge.Predicate, forge.Predicate
	timed := certified
	timed.SignedTimestamps = 1
	stamped := func(s forge.Spec) forge.Spec { s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now)); return s }
	timedMessage := w.byIdentity()
	timedMessage.SignedTimestamps = 1
	total := 0
	for _, c := range []struct {
		name string
		spec forge.Spec
		p    verify.Policy
		free []string
	}{
		{"hashedrekord 0.0.1, key", w.Spec(forge.Message, w.V1), w.byKey(), nil},
		{"hashedrekord 0.0.1, certificate", w.Keyless(forge.Message, w.V1), w.byIdentity(), nil},
		// A bundle does not have the envelope in the form in which it was uploaded, so that its hash says nothing.
		{"dsse 0.0.1, key", w.Spec(forge.Attest, w.V1), keyed, []string{"spec.envelopeHash, another's", "spec.envelopeHash.value"}},
		{"dsse 0.0.1, certificate", w.Keyless(forge.Attest, w.V1), certified, []string{"spec.envelopeHash, another's", "spec.envelopeHash.value"}},
		{"intoto 0.0.2, key", changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) { s.IntotoV2 = true }), keyed, []string{"spec.content.hash, another's", "spec.content.hash, left out", "spec.content.hash, null", "spec.content.hash.value"}},
		{"hashedrekord 0.0.2, key", w.Spec(forge.Message, w.V2), w.byKey(), nil},
		{"hashedrekord 0.0.2, certificate", stamped(w.Keyless(forge.Message, w.V2)), timedMessage, nil},
		{"hashedrekord 0.0.2, statement, key", w.Spec(forge.Attest, w.V2), keyed, nil},
		{"hashedrekord 0.0.2, statement, certificate", stamped(w.Keyless(forge.Attest, w.V2)), timed, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := w.verifier(t, c.p)
			var body forge.Node
			c.spec.EditBody = func(o forge.Object) forge.Node { body = o; return o }
			c.spec.Make()
			otherSpec := w.other(c.spec)
			var donor forge.Node
			otherSpec.EditBody = func(o forge.Object) forge.Node { donor = o; return o }
			otherSpec.Make()
			s := &sample{tree: body, donors: map[string]forge.Node{"another": donor}, read: readBundle, v: v, a: verify.SHA256(sha256.Sum256(w.Artifact))}
			n := 0
			for _, path := range forge.Paths(body) {
				for _, variant := range s.bodies(path) {
					c.spec.EditBody = func(forge.Object) forge.Node { return variant.tree }
					m := c.spec.Make()
					m.Entries[0].Kind, m.Entries[0].Version = body.(forge.Object)["kind"].(string), body.(forge.Object)["apiVersion"].(string)
					err := s.try(m.Bundle())
					n++
					free := harmless(path, variant.name) || slices.ContainsFunc(c.free, func(f string) bool { return strings.HasPrefix(path.String()+", "+variant.name, f) })
					switch {
					case err == nil && !free:
						t.Errorf("%s, %s: accepted", path, variant.name)
					case err != nil && !is(verify.ErrMalformed, verify.ErrBadProof).match(err):
						t.Errorf("%s, %s: %v", path, variant.name, err)
					}
				}
			}
			total += n
		})
	}
	t.Logf("%d bodies", total)
}

// harmless reports whether a v1 body says the same after a change: hexadecimal as the uploader wrote it, or
// something after the PEM block.
func harmless(path forge.Path, name string) bool {
	p := path.String()
	return strings.HasSuffix(p, "ash.value") && name == "in capitals" ||
		(strings.HasSuffix(p, "publicKey.content") || strings.HasSuffix(p, "verifier") || strings.HasSuffix(p, "signatures[0].publicKey")) && name == "a zero byte longer"
}

// bodies returns the variants of what is at path of a body.
func (s *sample) bodies(path forge.Path) []variant {
	var all []variant
	old := forge.Get(s.tree, path...)
	put := func(name string, v forge.Node) { all = append(all, variant{name, forge.With(s.tree, v, path...), nil}) }
	all = append(all, variant{"left out", forge.Without(s.tree, path...), nil})
	for name, v := range map[string]forge.Node{"null": nil, "a number": forge.Number("1"), "a string": "MQ==", "an array": forge.Array{}, "an object": forge.Object{}} {
		if fmt.Sprintf("%T", v) != fmt.Sprintf("%T", old) {
			put(name, v)
		}
	}
	switch last := path[len(path)-1].(type) {
	case string:
		text := string(forge.Encode(old))
		put("twice", forge.Verbatim(text+`,"`+last+`":`+text))
		put("and in capitals", forge.Verbatim(text+`,"`+strings.ToUpper(last)+`":`+text))
	case int:
		parent := path[:len(path)-1]
		all = append(all, variant{"twice", forge.With(s.tree, append(slices.Clone(forge.Get(s.tree, parent...).(forge.Array)), old), parent...), nil})
	}
	switch v := old.(type) {
	case string:
		for _, t := range texts(v) {
			put(t.name, t.text)
		}
	}
	if v, ok := look(s.donors["another"], path); ok && !bytes.Equal(forge.Encode(v), forge.Encode(old)) {
		put("another's", v)
	}
	return all
}

func TestLiesOfCheckpoints(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.Spec(forge.Message, w.V1).Make(), w.Spec(forge.Message, w.V2).Make()
	note := func(m *forge.Made, checkpoint string) forge.Node {
		return forge.With(m.Bundle(), checkpoint, entry(proof, "checkpoint", "envelope")...)
	}
	text := func(m *forge.Made) string {
		s, _, _ := strings.Cut(m.Entries[0].Log.Checkpoint(m.Entries[0].Size), "\n\n")
		return s + "\n"
	}
	resigned := func(m *forge.Made, change func(lines []string) []string) forge.Node {
		lines := change(strings.Split(strings.TrimSuffix(text(m), "\n"), "\n"))
		return note(m, m.Entries[0].Log.SignCheckpoint(strings.Join(lines, "\n")+"\n"))
	}
	line := func(m *forge.Made, i int, v string) forge.Node {
		return resigned(m, func(lines []string) []string { lines[i] = v; return lines })
	}
	root := m256("another root")
	good1, good2 := v1.Entries[0].Log.Checkpoint(v1.Entries[0].Size), v2.Entries[0].Log.Checkpoint(v2.Entries[0].Size)
	stranger := forge.NewWitness("stranger.example.test", w.Now)
	signedBy := func(m *forge.Made, name string, hint []byte, key *forge.Key) string {
		return text(m) + "\n" + forge.NoteLine(name, hint, key.SignMessage([]byte(text(m))))
	}
	l1, l2 := w.V1, w.V2
	key1, key2 := l1.ID()[:4], l2.ID()[:4]
	c2spECDSA := sha256.Sum256(append([]byte(w.V2ECDSA.Host+"\n\x02"), w.V2ECDSA.Key.SPKI...))
	v2e := w.Spec(forge.Message, w.V2ECDSA).Make()
	bad := is(verify.ErrBadProof)
	either := is(verify.ErrBadProof, verify.ErrMalformed, verify.ErrUntrustedLog)
	w.judge(t, []lie{
		{name: "v1 another root", want: bad, tree: line(v1, 2, forge.Base64(root))},
		{name: "v2 another root", want: bad, tree: line(v2, 2, forge.Base64(root))},
		{name: "v1 another size", want: bad, tree: line(v1, 1, "13")},
		{name: "v2 another size", want: bad, tree: line(v2, 1, "13")},
		{name: "v1 size 0", want: bad, tree: line(v1, 1, "0")},
		{name: "v1 negative size", want: either, tree: line(v1, 1, "-6")},
		{name: "v1 size with a zero", want: either, tree: line(v1, 1, "06")},
		{name: "v1 size with a plus", want: either, tree: line(v1, 1, "+6")},
		{name: "v1 size too large", want: either, tree: line(v1, 1, "18446744073709551622")},
		{name: "v1 root without padding", want: either, tree: line(v1, 2, strings.TrimRight(forge.Base64(root), "="))},
		{name: "v1 root in hexadecimal", want: either, tree: line(v1, 2, fmt.Sprintf("%x", root))},
		{name: "v1 origin of v2", want: bad, tree: line(v1, 0, l1.Host)},
		{name: "v2 origin of v1", want: bad, tree: line(v2, 0, l2.Host+" - 1")},
		{name: "v1 origin of another host", want: either, tree: line(v1, 0, "evil.example.test - 1")},
		{name: "v1 origin without host", want: either, tree: line(v1, 0, " - 1")},
		{name: "v1 origin without tree", want: either, tree: line(v1, 0, l1.Host+" - ")},
		{name: "v1 origin with tree 0", want: either, tree: line(v1, 0, l1.Host+" - 0")},
		{name: "v1 origin with a negative tree", want: either, tree: line(v1, 0, l1.Host+" - -1")},
		{name: "v1 origin with a tree too large", want: either, tree: line(v1, 0, l1.Host+" - 18446744073709551615")},
		{name: "v1 origin of another tree of the log", tree: line(v1, 0, l1.Host+" - 7")},
		{name: "v2 origin of another host", want: either, tree: line(v2, 0, "evil.example.test")},
		{name: "v2 origin with a path", want: either, tree: line(v2, 0, l2.Host+"/log")},
		{name: "v2 origin in capitals", want: either, tree: line(v2, 0, strings.ToUpper(l2.Host))},
		{name: "v2 with an extension", tree: resigned(v2, func(l []string) []string { return append(l, "extension") })},
		{name: "v1 with an empty line", want: either, tree: resigned(v1, func(l []string) []string { return append(l, "", "x") })},
		{name: "v2 with an empty line", want: either, tree: resigned(v2, func(l []string) []string { return append(l, "", "x") })},
		{name: "v1 two lines", want: either, tree: resigned(v1, func(l []string) []string { return l[:2] })},
		{name: "v2 two lines", want: either, tree: resigned(v2, func(l []string) []string { return l[:2] })},

		{name: "v1 with a second signature", want: either, tree: note(v1, good1+stranger.Cosign(text(v1)))},
		{name: "v1 with its signature twice", want: either, tree: note(v1, good1+signatureLines(good1))},
		{name: "v1 with a second key's signature first", want: either, tree: note(v1, strings.Replace(good1, "\n\n", "\n\n"+stranger.Cosign(text(v1)), 1))},
		{name: "v1 signed under another name", want: either, tree: note(v1, signedBy(v1, "evil.example.test", key1, l1.Key))},
		{name: "v1 signed under its origin", want: either, tree: note(v1, signedBy(v1, l1.Origin(), key1, l1.Key))},
		{name: "v1 signed with another hint", want: either, tree: note(v1, signedBy(v1, l1.Host, key2, l1.Key))},
		{name: "v1 signed by the author", want: either, tree: note(v1, signedBy(v1, l1.Host, key1, w.Author))},
		{name: "v1 signed by the v2 log", want: either, tree: note(v1, signedBy(v1, l1.Host, key2, l2.Key))},
		{name: "v2 signed under another name", want: either, tree: note(v2, signedBy(v2, "evil.example.test", key2, l2.Key))},
		{name: "v2 signed with another hint", want: either, tree: note(v2, signedBy(v2, l2.Host, key1, l2.Key))},
		{name: "v2 signed by the author", want: either, tree: note(v2, signedBy(v2, l2.Host, key2, w.Author))},
		{name: "v2 signed by the v1 log", want: either, tree: note(v2, signedBy(v2, l2.Host, key1, l1.Key))},
		{name: "v2 with a stranger's line", tree: note(v2, good2+stranger.Cosign(text(v2)))},
		{name: "v2 with a stranger's line first", tree: note(v2, strings.Replace(good2, "\n\n", "\n\n"+stranger.Cosign(text(v2)), 1))},
		{name: "v2 with a stranger's line alone", want: either, tree: note(v2, text(v2)+"\n"+stranger.Cosign(text(v2)))},
		{name: "v2 with a broken line of the log besides", want: either, tree: note(v2, good2+forge.NoteLine(l2.Host, key2, make([]byte, 64)))},
		{name: "v2 with a broken line of the log first", want: either, tree: note(v2, strings.Replace(good2, "\n\n", "\n\n"+forge.NoteLine(l2.Host, key2, make([]byte, 64)), 1))},
		{name: "v2 ECDSA with C2SP's key hash", want: either, tree: note(v2e, signedBy(v2e, w.V2ECDSA.Host, c2spECDSA[:4], w.V2ECDSA.Key))},
		{name: "v2 with too much", want: is(verify.ErrMalformed, verify.ErrBadProof), tree: note(v2, good2+strings.Repeat(stranger.Cosign(text(v2)), 200))},
	})
}

func m256(s string) []byte { return digest([]byte(s)) }

// signatureLines returns the signature lines of a note.
func signatureLines(note string) string {
	_, lines, _ := strings.Cut(note, "\n\n")
	return lines
}

func TestLiesOfWitnesses(t *testing.T) {
	w := newWorld(t)
	asking := func(k int) *verify.Verifier {
		p := w.byKey()
		p.Witnesses = w.quorum(k)
		return w.verifier(t, p)
	}
	made := func(l *forge.Log, ws ...*forge.Witness) *forge.Made {
		s := w.Spec(forge.Message, l)
		s.Witnesses = ws
		return s.Make()
	}
	cosigned := func(ws ...*forge.Witness) forge.Node { return made(w.V2, ws...).Bundle() }
	m := made(w.V2, w.Witnesses[0])
	e := m.Entries[0]
	body, _, _ := strings.Cut(e.Log.Checkpoint(e.Size), "\n\n")
	body += "\n"
	plus := func(lines string) forge.Node {
		return forge.With(m.Bundle(), e.Log.Checkpoint(e.Size, w.Witnesses[0])+lines, entry(proof, "checkpoint", "envelope")...)
	}
	second := w.Witnesses[1]
	stranger := forge.NewWitness("stranger.example.test", w.Now)
	impostor := forge.NewWitness(second.Name, w.Now)
	impostor.Key = forge.Ed25519("impostor")
	mid := func(line string, i int) string { // a bit of a signature line changed
		b := []byte(line)
		b[i] = nextDigit(b[i])
		return string(b)
	}
	never := forge.NewWitness(second.Name, time.Unix(0, 0))
	older := forge.NewWitness(w.Witnesses[0].Name, w.Now.Add(-time.Hour))
	plain := second.Key.SignMessage([]byte(body))
	two := made(w.V1)
	none := is(verify.ErrWitness)
	some := is(verify.ErrWitness, verify.ErrBadProof, verify.ErrMalformed)
	w.judge(t, []lie{
		{name: "two of two", tree: cosigned(w.Witnesses[0], second), v: asking(2)},
		{name: "three of two", tree: cosigned(w.Witnesses...), v: asking(2)},
		{name: "in another order", tree: cosigned(second, w.Witnesses[0]), v: asking(2)},
		{name: "one of two", want: none, tree: cosigned(second), v: asking(2)},
		{name: "none of one", want: none, tree: cosigned(), v: asking(1)},
		{name: "a stranger", want: none, tree: cosigned(stranger), v: asking(1)},
		{name: "a stranger besides", tree: cosigned(w.Witnesses[0], stranger), v: asking(1)},
		{name: "one twice", want: some, tree: cosigned(second, second), v: asking(2)},
		{name: "one at two times", want: some, tree: plus(older.Cosign(body)), v: asking(2)},
		{name: "another checkpoint's", want: some, tree: plus(second.Cosign("x\n1\n" + forge.Base64(m256("x")) + "\n")), v: asking(2)},
		{name: "another checkpoint's, not needed", want: some, tree: plus(second.Cosign("x\n1\n" + forge.Base64(m256("x")) + "\n")), v: asking(1)},
		{name: "an impostor's", want: some, tree: plus(impostor.Cosign(body)), v: asking(2)},
		{name: "a bit changed", want: some, tree: plus(mid(second.Cosign(body), 60)), v: asking(2)},
		{name: "a bit changed, not needed", want: some, tree: plus(mid(second.Cosign(body), 60)), v: asking(1)},
		{name: "without a time", want: some, tree: plus(forge.NoteLine(second.Name, hintOf(second), plain)), v: asking(2)},
		{name: "at time 0", want: some, tree: plus(never.Cosign(body)), v: asking(2)},
		{name: "a v1 checkpoint", want: is(verify.ErrWitness, verify.ErrBadProof, verify.ErrPolicy), tree: two.Bundle(), v: asking(1)},
		{name: "a v1 checkpoint, cosigned", want: some, tree: made(w.V1, w.Witnesses...).Bundle(), v: asking(1)},
		{name: "SET alone", want: some, tree: changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Version, s.Has = "0.1", forge.SETOnly }).Make().Bundle(), v: asking(1)},
		{name: "cosigned before the log's line", tree: forge.With(m.Bundle(), body+"\n"+w.Witnesses[0].Cosign(body)+signatureLines(e.Log.Checkpoint(e.Size)), entry(proof, "checkpoint", "envelope")...), v: asking(1)},
		{name: "not signed by the log", want: is(verify.ErrBadProof, verify.ErrUntrustedLog), tree: forge.With(m.Bundle(), body+"\n"+w.Witnesses[0].Cosign(body), entry(proof, "checkpoint", "envelope")...), v: asking(1)},
	})
}

// hintOf returns the key hash of a witness, as its verifier key gives it.
func hintOf(w *forge.Witness) []byte {
	var hint []byte
	_, err := fmt.Sscanf(strings.Split(w.VKey(), "+")[1], "%x", &hint)
	if err != nil {
		panic(err)
	}
	return hint
}

func TestLiesOfAnswers(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	a := w.Keyless(forge.Attest, w.V1).Make()
	p := w.byIdentity()
	p.PredicateType = forge.Predicate
	attested := w.verifier(t, p)
	id, answer := m.Entries[0].UUID(), m.Entries[0].API()
	inner := answer[id]
	other := w.other(w.Spec(forge.Message, w.V1)).Make()
	under := func(id string) forge.Node { return signed(m, forge.Object{id: inner}) }
	kept := func(data []byte) forge.Node {
		return signed(a, forge.With(a.Entries[0].API(), forge.Object{"data": forge.Base64(data)}, a.Entries[0].UUID(), "attestation"))
	}
	withAttestation := forge.With(answer, forge.Object{"data": forge.Base64([]byte("x"))}, id, "attestation")
	wrong, bad := is(verify.ErrBadProof), is(verify.ErrMalformed)
	lies := []lie{
		{name: "good", tree: signed(m, answer)},
		{name: "by the leaf hash alone", tree: under(id[16:])},
		{name: "by another leaf hash", want: wrong, tree: under(id[:16] + other.Entries[0].UUID()[16:])},
		{name: "by another leaf hash alone", want: wrong, tree: under(other.Entries[0].UUID()[16:])},
		{name: "by another tree", want: wrong, tree: under("0000000000000001" + id[16:])},
		{name: "by tree 0", want: is(verify.ErrBadProof, verify.ErrMalformed), tree: under("0000000000000000" + id[16:])},
		{name: "in capitals", want: bad, tree: under(strings.ToUpper(id))},
		{name: "by nothing", want: bad, tree: under("")},
		{name: "by a short ID", want: bad, tree: under(id[:60])},
		{name: "of two entries", want: bad, tree: signed(m, forge.Object{id: inner, other.Entries[0].UUID(): other.Entries[0].API()[other.Entries[0].UUID()]})},
		{name: "of none", want: bad, tree: signed(m, forge.Object{})},
		{name: "twice", want: bad, tree: signed(m, forge.With(answer, forge.Verbatim(string(forge.Encode(inner))+`,"`+id+`":`+string(forge.Encode(inner))), id))},
		{name: "of another signature", want: wrong, tree: signed(m, other.Entries[0].API())},
		{name: "without a proof", want: is(verify.ErrBadProof, verify.ErrMalformed), tree: signed(m, forge.Without(answer, id, "verification", "inclusionProof"))},
		{name: "without a SET", want: is(verify.ErrBadProof, verify.ErrMalformed), tree: signed(m, forge.Without(answer, id, "verification", "signedEntryTimestamp"))},
		{name: "without verification", want: is(verify.ErrBadProof, verify.ErrMalformed), tree: signed(m, forge.Without(answer, id, "verification"))},
		{name: "with an attestation that it cannot have", want: wrong, tree: signed(m, withAttestation)},
		{name: "with its attestation", tree: kept(a.Payload), v: attested},
		{name: "with another attestation", want: wrong, tree: kept([]byte("{}")), v: attested},
		{name: "with an empty attestation", want: is(verify.ErrBadProof, verify.ErrMalformed), tree: kept(nil), v: attested},
		{name: "with its attestation in base64 again", want: wrong, tree: kept([]byte(forge.Base64(a.Payload))), v: attested},
		{name: "an envelope written anew", want: wrong, v: attested, tree: forge.With(signed(a, a.Entries[0].API()),
			strings.ReplaceAll(string(forge.Encode(a.Envelope)), `":`, `": `), "envelope")},
	}
	for i := range lies {
		lies[i].read = readSigned
	}
	w.judge(t, lies)
}

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
	huge := strings.Repeat("A", verify.MaxBundle)
	for name, data := range map[string][]byte{
		"bundle":                []byte(`{"mediaType":"` + huge + `"}`),
		"spaces":                append(bytes.Repeat([]byte(" "), verify.MaxBundle), forge.Encode(b)...),
		"entries":               forge.Encode(forge.With(b, repeat(tle, verify.MaxEntries+1), material, entries)),
		"timestamps":            forge.Encode(forge.With(b, forge.Object{"rfc3161Timestamps": repeat(token, verify.MaxTimestamps+1)}, material, "timestampVerificationData")),
		"proof":                 forge.Encode(forge.With(b, repeat(hash, verify.MaxProof+1), entry(proof, "hashes")...)),
		"body":                  forge.Encode(forge.With(b, forge.Base64(make([]byte, verify.MaxEntryBody+1)), entry("canonicalizedBody")...)),
		"checkpoint":            forge.Encode(forge.With(b, strings.Repeat("x\n", 1<<16), entry(proof, "checkpoint", "envelope")...)),
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
