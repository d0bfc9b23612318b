package verify_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// world is the forge's world with two timestamp authorities that are trusted, one that
// is not, and the trust in it, as a verifier reads it.
type world struct {
	*forge.World
	tsas       [2]*forge.TSA
	foreignTSA *forge.TSA
	root       forge.Object
	trust      *verify.Trust
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: forge.NewWorld()}
	end := w.Start.AddDate(10, 0, 0)
	w.tsas = [2]*forge.TSA{forge.NewTSA("tsa0.example.test", w.Start, end), forge.NewTSA("tsa1.example.test", w.Start, end)}
	w.foreignTSA = forge.NewTSA("foreign-tsa.example.test", w.Start, end)
	w.root = w.TrustedRoot(forge.Array{w.tsas[0].TrustedRoot(), w.tsas[1].TrustedRoot()})
	w.trust = w.trustIn(t, w.root)
	return w
}

func (w *world) trustIn(t testing.TB, root forge.Node) *verify.Trust {
	t.Helper()
	trust, err := verify.ParseTrustedRoot(forge.Encode(root))
	if err != nil {
		t.Fatalf("trusted root: %v", err)
	}
	return trust
}

// A token of the forge's timestamp authorities is the time in Unix seconds, eight bytes, and
// a signature over it and the SHA-256 of the message. Package verify/timestamp has the real ones.
type tokens struct{}

func stamp(a *forge.TSA, at time.Time) func([]byte) []byte {
	return func(message []byte) []byte {
		token := binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
		sum := sha256.Sum256(message)
		return append(token, a.Key.SignMessage(append(slices.Clone(token), sum[:]...))...)
	}
}

// VerifyTimestamp checks such a token.
func (tokens) VerifyTimestamp(token, message []byte, authorities []verify.Authority) (time.Time, int, error) {
	if len(token) < 8 {
		return time.Time{}, 0, errors.New("token is too short")
	}
	sum := sha256.Sum256(message)
	digest := sha256.Sum256(append(slices.Clone(token[:8]), sum[:]...))
	for i, a := range authorities {
		if ecdsa.VerifyASN1(a.Chain[0].PublicKey.(*ecdsa.PublicKey), digest[:], token[8:]) {
			return time.Unix(int64(binary.BigEndian.Uint64(token)), 0), i, nil
		}
	}
	return time.Time{}, 0, errors.New("token is of no trusted authority")
}

// byKey and byIdentity are the policies that fit the World's author.
func (w *world) byKey() verify.Policy {
	return verify.Policy{Keys: []verify.PublicKey{{PEM: w.Author.PEM()}}}
}

func (w *world) byIdentity() verify.Policy {
	return verify.Policy{Identities: []verify.Identity{{Issuer: forge.Issuer, Subject: forge.Email}}}
}

// verifier returns a verifier with the forge's timestamps.
func (w *world) verifier(t testing.TB, p verify.Policy) *verify.Verifier {
	t.Helper()
	v, err := verify.New(w.trust, p, verify.Options{Timestamps: tokens{}})
	if err != nil {
		t.Fatalf("policy: %v", err)
	}
	return v
}

// quorum returns a witness policy that wants k of the World's witnesses.
func (w *world) quorum(k int) string {
	var text strings.Builder
	var names []string
	for i, witness := range w.Witnesses {
		name := fmt.Sprintf("w%d", i)
		names = append(names, name)
		text.WriteString(witness.Policy(name))
	}
	fmt.Fprintf(&text, "group all %d %s\nquorum all\n", k, strings.Join(names, " "))
	return text.String()
}

// other returns the recipe of evidence that is just as good, but of another artifact, by
// another author, and at another place of the logs.
func (w *world) other(s forge.Spec) forge.Spec {
	s.Artifact, s.Author = w.OtherArtifact, w.OtherAuthor
	if s.Certificate != nil {
		subject := w.Subject()
		subject.Key, subject.Email = w.OtherAuthor, "other@example.test"
		s.Certificate = w.CA.Issue(subject)
	}
	s.Logs = slices.Clone(s.Logs)
	for i, l := range s.Logs {
		s.Logs[i] = l.Clone()
		s.Logs[i].Add([]byte(`{"between":true}`))
	}
	s.Time = s.Time.Add(time.Minute)
	return s
}

// sample is good evidence in one of its forms, as a tree that a test may change.
type sample struct {
	name string
	tree forge.Node
	// args says that the tree's own members are arguments of a function, not members of JSON.
	args bool
	read func(forge.Node) (*verify.Evidence, error)
	v    *verify.Verifier
	a    verify.Artifact
	// donors are other good evidence of the form, to swap parts with.
	donors map[string]forge.Node
	// free are the paths that may be left out (an asterisk stands for an entry ID).
	free []string
}

// try verifies a variant of the sample.
func (s *sample) try(tree forge.Node) error {
	e, err := s.read(tree)
	if err != nil {
		return err
	}
	_, err = s.v.Verify(e, s.a)
	return err
}

// errArgument says that a variant is none: Go's types do not allow it.
var errArgument = errors.New("no such argument")

func text(n forge.Node, name string) string {
	s, ok := n.(forge.Object)[name]
	if !ok {
		return ""
	}
	out, ok := s.(string)
	if !ok {
		panic(errArgument)
	}
	return out
}

// content returns what is said to be JSON as bytes; text is taken as it is.
func content(n forge.Node, name string) []byte {
	v, ok := n.(forge.Object)[name]
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	return forge.Encode(v)
}

func readBundle(n forge.Node) (*verify.Evidence, error) { return verify.ParseBundle(forge.Encode(n)) }

func readBlob(n forge.Node) (*verify.Evidence, error) {
	return verify.ParseCosignBlob(forge.Encode(n), nil)
}

func readAnnotations(n forge.Node) (*verify.Evidence, error) {
	return verify.ParseCosign(verify.CosignSignature{
		Payload:     content(n, "payload"),
		Signature:   text(n, "dev.cosignproject.cosign/signature"),
		Certificate: text(n, "dev.sigstore.cosign/certificate"),
		Chain:       text(n, "dev.sigstore.cosign/chain"),
		Bundle:      string(content(n, "dev.sigstore.cosign/bundle")),
		Timestamp:   string(content(n, "dev.sigstore.cosign/rfc3161timestamp")),
	})
}

// readSigned reads a signature with log entries that stand apart: the members
// signature (base64) or envelope, certificate (PEM), entry, timestamp (base64).
func readSigned(n forge.Node) (*verify.Evidence, error) {
	s := verify.Signed{Envelope: content(n, "envelope"), Certificate: []byte(text(n, "certificate"))}
	var err error
	signature := text(n, "signature")
	if s.Signature, err = base64.StdEncoding.Strict().DecodeString(signature); err != nil || strings.Contains(signature, "\n") {
		panic(errArgument)
	}
	if entry := content(n, "entry"); entry != nil {
		e, err := verify.ParseEntry(entry)
		if err != nil {
			return nil, err
		}
		s.Entries = append(s.Entries, e)
	}
	return verify.NewEvidence(s)
}

// signed returns evidence as readSigned reads it.
func signed(m *forge.Made, entry forge.Node) forge.Object {
	o := forge.Object{"entry": entry}
	if m.Envelope != nil {
		o["envelope"] = m.Envelope
	} else {
		o["signature"] = forge.Base64(m.Signature)
	}
	if m.Certificate != nil {
		o["certificate"] = string(forge.CertificatePEM(m.Certificate))
	}
	return o
}

// samples returns evidence of every form.
func (w *world) samples(t testing.TB) []*sample {
	var all []*sample
	artifact := verify.SHA256(sha256.Sum256(w.Artifact))
	add := func(name string, s forge.Spec, p verify.Policy, read func(forge.Node) (*verify.Evidence, error),
		tree func(*forge.Made) forge.Node, free ...string) {
		otherArtifact, otherAuthor := s, w.other(s)
		otherArtifact.Artifact, otherAuthor.Artifact = w.OtherArtifact, w.Artifact
		all = append(all, &sample{
			name: name, tree: tree(s.Make()), read: read, v: w.verifier(t, p), a: artifact, free: free,
			donors: map[string]forge.Node{
				"another artifact's": tree(otherArtifact.Make()),
				"another author's":   tree(otherAuthor.Make()),
				"all other":          tree(w.other(s).Make()),
			},
		})
	}
	bundle := func(m *forge.Made) forge.Node { return m.Bundle() }
	apart := func(entry func(forge.Logged) forge.Object) func(*forge.Made) forge.Node {
		return func(m *forge.Made) forge.Node { return signed(m, entry(m.Entries[0])) }
	}
	attested := func(p verify.Policy) verify.Policy { p.PredicateType = forge.Predicate; return p }
	with := func(s forge.Spec, change func(*forge.Spec)) forge.Spec { change(&s); return s }
	old := func(s *forge.Spec) { s.Version, s.Has = "0.1", forge.SETOnly }
	chained := func(s *forge.Spec) {
		s.Version = "0.1"
		s.Chain = append(s.Chain, w.CA.Intermediate)
	}
	stamped := func(s *forge.Spec) {
		s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now), stamp(w.tsas[1], w.Now.Add(time.Second)))
	}
	twice := func(p verify.Policy) verify.Policy { p.SignedTimestamps = 2; return p }
	two := w.byKey()
	two.LogEntries = 2
	cosigned := w.byKey()
	cosigned.Witnesses = w.quorum(2)

	const v1, v2 = "v1 ", "v2 "
	add(v1+"SET, key, bundle 0.1", with(w.Spec(forge.Message, w.V1), old), w.byKey(), readBundle, bundle)
	add(v1+"SET, certificate, bundle 0.1", with(w.Keyless(forge.Message, w.V1), old), w.byIdentity(), readBundle, bundle)
	add(v1+"proof, certificate chain, bundle 0.1", with(w.Keyless(forge.Message, w.V1), chained), w.byIdentity(), readBundle, bundle,
		"verificationMaterial.tlogEntries[0].inclusionProof", "verificationMaterial.x509CertificateChain.certificates[1]")
	add(v1+"proof, key, bundle 0.2, dsse", with(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) { s.Version = "0.2" }), attested(w.byKey()), readBundle, bundle)
	add(v1+"proof, key, bundle 0.3", w.Spec(forge.Message, w.V1), w.byKey(), readBundle, bundle)
	add(v1+"proof, certificate, bundle 0.3", w.Keyless(forge.Message, w.V1), w.byIdentity(), readBundle, bundle)
	add(v1+"proof, certificate, bundle 0.3, dsse", w.Keyless(forge.Attest, w.V1), attested(w.byIdentity()), readBundle, bundle)
	add(v1+"proof, key, bundle 0.3, intoto", with(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) { s.IntotoV2 = true }), attested(w.byKey()), readBundle, bundle)
	add(v1+"proof, certificate, bundle 0.3, timestamps", with(w.Keyless(forge.Message, w.V1), stamped), twice(w.byIdentity()), readBundle, bundle)
	add(v2+"bundle, key", w.Spec(forge.Message, w.V2), w.byKey(), readBundle, bundle)
	add(v2+"bundle, key, ECDSA log", w.Spec(forge.Message, w.V2ECDSA), w.byKey(), readBundle, bundle)
	add(v2+"bundle, key, statement", w.Spec(forge.Attest, w.V2), attested(w.byKey()), readBundle, bundle)
	add(v2+"bundle, certificate, timestamps", with(w.Keyless(forge.Message, w.V2), stamped), twice(w.byIdentity()), readBundle, bundle)
	add("v1 and v2 bundle, key", w.Spec(forge.Message, w.V1, w.V2), two, readBundle, bundle)
	add("cosignatures", with(w.Spec(forge.Message, w.V2), func(s *forge.Spec) { s.Witnesses = w.Witnesses[:2] }), cosigned, readBundle, bundle)
	add("annotation, key", w.Spec(forge.Simple, w.V1), w.byKey(), readAnnotations, func(m *forge.Made) forge.Node { return m.Annotations() })
	add("annotation, certificate", with(w.Keyless(forge.Simple, w.V1), func(s *forge.Spec) {
		s.Chain = append(s.Chain, w.CA.Intermediate, w.CA.Root)
	}), w.byIdentity(), readAnnotations, func(m *forge.Made) forge.Node { return m.Annotations() }, "dev.sigstore.cosign/chain")
	add("annotation, attestation", w.Keyless(forge.Attest, w.V1), attested(w.byIdentity()), readAnnotations, func(m *forge.Made) forge.Node { return m.Annotations() })
	add("blob bundle, key", w.Spec(forge.Message, w.V1), w.byKey(), readBlob, func(m *forge.Made) forge.Node { return forge.Without(m.Blob(), "cert") })
	add("blob bundle, certificate", w.Keyless(forge.Message, w.V1), w.byIdentity(), readBlob, func(m *forge.Made) forge.Node { return m.Blob() })
	add("raw entry, key", w.Spec(forge.Message, w.V1), w.byKey(), readSigned, apart(forge.Logged.API))
	add("raw entry, certificate, attestation", w.Keyless(forge.Attest, w.V1), attested(w.byIdentity()), readSigned, func(m *forge.Made) forge.Node {
		id := m.Entries[0].UUID()
		return signed(m, forge.With(m.Entries[0].API(), forge.Object{"data": forge.Base64(m.Payload)}, id, "attestation"))
	}, "entry.*.attestation", "entry.*.attestation.data")
	tle := func(e forge.Logged) forge.Object { return e.TLE(forge.SETAndProof) }
	add(v1+"TransparencyLogEntry", w.Spec(forge.Message, w.V1), w.byKey(), readSigned, apart(tle))
	add(v2+"TransparencyLogEntry", w.Spec(forge.Message, w.V2), w.byKey(), readSigned, apart(tle))
	for _, s := range all {
		_, s.args = s.tree.(forge.Object)["entry"]
		if _, ok := s.tree.(forge.Object)["payload"]; ok {
			s.args = true
		}
	}
	return all
}

// Every sample is good, and so are the donors, of whom they are of.
func TestSamplesAreGood(t *testing.T) {
	w := newWorld(t)
	for _, s := range w.samples(t) {
		if err := s.try(s.tree); err != nil {
			t.Errorf("%s: %v\n%s", s.name, err, forge.Encode(s.tree))
		}
		for name, tree := range s.donors {
			if err := s.try(tree); err == nil {
				t.Errorf("%s: %s is accepted", s.name, name)
			}
		}
	}
}
