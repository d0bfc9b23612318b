package differential

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rfc3161 "github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	sigoptions "github.com/sigstore/sigstore/pkg/signature/options"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

// question is one that both verifiers are asked in the same words.
type question struct {
	name     string
	trust    []byte // trusted root
	key      []byte // PEM; or
	identity verify.Identity
	// predicateType is asked of ours alone; sigstore-go leaves it to its callers.
	predicateType string
	logs          int
	digest        string
}

// verifiers are both verifiers, ready to be asked.
type verifiers struct {
	ours   *verify.Verifier
	digest verify.Artifact
	theirs *sgverify.Verifier
	policy sgverify.PolicyBuilder
}

func (q question) ready(t testing.TB) *verifiers {
	t.Helper()
	fatal := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatalf("%s: %v", q.name, err)
		}
	}
	trust, err := verify.ParseTrustedRoot(q.trust)
	fatal(err)
	material, err := root.NewTrustedRootFromJSON(q.trust)
	fatal(err)
	p := verify.Policy{PredicateType: q.predicateType, LogEntries: q.logs}
	theirs := root.TrustedMaterialCollection{material}
	options := []sgverify.VerifierOption{sgverify.WithTransparencyLog(max(1, q.logs))}
	var whom sgverify.PolicyOption
	if q.key != nil {
		p.Keys = []verify.PublicKey{{PEM: q.key}}
		block, _ := pem.Decode(q.key)
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		fatal(err)
		var load []signature.LoadOption
		if q.predicateType == "" {
			load = append(load, sigoptions.WithED25519ph())
		}
		verifier, err := signature.LoadDefaultVerifier(public, load...)
		fatal(err)
		key := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
		theirs = append(theirs, root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil }))
		options = append(options, sgverify.WithNoObserverTimestamps())
		whom = sgverify.WithKey()
	} else {
		p.Identities = []verify.Identity{q.identity}
		identity, err := sgverify.NewShortCertificateIdentity(q.identity.Issuer, q.identity.IssuerRegexp, q.identity.Subject, q.identity.SubjectRegexp)
		fatal(err)
		options = append(options, sgverify.WithObserverTimestamps(1))
		if len(trust.Material().CTLogs) > 0 {
			options = append(options, sgverify.WithSignedCertificateTimestamps(1))
		}
		whom = sgverify.WithCertificateIdentity(identity)
	}
	v := &verifiers{}
	v.ours, err = verify.New(trust, p, verify.Options{Timestamps: timestamp.Verifier{}})
	fatal(err)
	v.theirs, err = sgverify.NewVerifier(theirs, options...)
	fatal(err)
	v.digest, err = verify.ParseDigest(q.digest)
	fatal(err)
	algorithm, digits, _ := strings.Cut(q.digest, ":")
	var digest []byte
	_, err = fmt.Sscanf(digits, "%x", &digest)
	fatal(err)
	v.policy = sgverify.NewPolicy(sgverify.WithArtifactDigest(algorithm, digest), whom)
	return v
}

func (v *verifiers) askOurs(data []byte) error {
	e, err := verify.ParseBundle(data)
	if err != nil {
		return err
	}
	_, err = v.ours.Verify(e, v.digest)
	return err
}

// askTheirs takes a panic for a no.
func (v *verifiers) askTheirs(data []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return err
	}
	_, err = v.theirs.Verify(&b, v.policy)
	return err
}

// seed is a good bundle to start from. With a recipe, its parts can be changed before they are signed.
type seed struct {
	question
	*verifiers
	bundle forge.Node
	spec   *forge.Spec
}

// seeds returns bundles of the forge, of cosign, and of Sigstore's public instance.
func seeds(t testing.TB) []*seed {
	t.Helper()
	w := forge.NewWorld()
	tsa := forge.NewTSA("tsa.example.test", w.Start, w.Start.AddDate(10, 0, 0))
	trust := forge.Encode(w.TrustedRoot(forge.Array{tsa.TrustedRoot()}))
	var all []*seed
	add := func(name string, s forge.Spec, change func(*forge.Spec)) {
		if change != nil {
			change(&s)
		}
		q := question{name: name, trust: trust, digest: s.Signed(), logs: len(s.Logs)}
		if s.Certificate != nil {
			q.identity = verify.Identity{Issuer: forge.Issuer, Subject: forge.Email}
		} else {
			q.key = s.Author.PEM()
		}
		if s.Content == forge.Attest {
			q.predicateType = forge.Predicate
			q.digest = fmt.Sprintf("sha256:%x", s.Digest()) // the statement's
		}
		all = append(all, &seed{question: q, spec: &s, bundle: s.Make().Bundle()})
	}
	old := func(s *forge.Spec) { s.Version, s.Has = "0.1", forge.SETOnly }
	chained := func(s *forge.Spec) { s.Version, s.Chain = "0.1", append(s.Chain, w.CA.Intermediate) }
	stamped := func(s *forge.Spec) {
		s.Stamp = append(s.Stamp, func(signature []byte) []byte { return stamp(tsa, signature, w.Now) })
	}
	add("v1, key, 0.1", w.Spec(forge.Message, w.V1), old)
	add("v1, key, 0.3", w.Spec(forge.Message, w.V1), nil)
	add("v1, key, 0.2, dsse", w.Spec(forge.Attest, w.V1), func(s *forge.Spec) { s.Version = "0.2" })
	add("v1, key, 0.3, intoto", w.Spec(forge.Attest, w.V1), func(s *forge.Spec) { s.IntotoV2 = true })
	add("v1, certificate chain, 0.1", w.Keyless(forge.Message, w.V1), chained)
	add("v1, certificate, 0.3", w.Keyless(forge.Message, w.V1), nil)
	add("v1, certificate, 0.3, dsse", w.Keyless(forge.Attest, w.V1), nil)
	add("v1, certificate, 0.3, timestamp", w.Keyless(forge.Message, w.V1), stamped)
	add("v2, key", w.Spec(forge.Message, w.V2), nil)
	add("v2, key, ECDSA log", w.Spec(forge.Message, w.V2ECDSA), nil)
	add("v2, key, statement", w.Spec(forge.Attest, w.V2), nil)
	add("v2, key, cosigned", w.Spec(forge.Message, w.V2), func(s *forge.Spec) { s.Witnesses = w.Witnesses })
	add("v2, certificate, timestamp", w.Keyless(forge.Message, w.V2), stamped)
	add("v2, certificate, timestamp, statement", w.Keyless(forge.Attest, w.V2), stamped)
	by := func(k *forge.Key) func(*forge.Spec) { return func(s *forge.Spec) { s.Author = k } }
	add("v1, P-384", w.Spec(forge.Message, w.V1), by(forge.P384("author")))
	add("v2, P-384", w.Spec(forge.Message, w.V2), by(forge.P384("author")))
	add("v1, Ed25519", w.Spec(forge.Message, w.V1), by(forge.Ed25519("author")))
	add("v2, Ed25519", w.Spec(forge.Message, w.V2), by(forge.Ed25519("author")))
	add("v1, Ed25519, dsse", w.Spec(forge.Attest, w.V1), by(forge.Ed25519("author")))
	add("v1 and v2, key", w.Spec(forge.Message, w.V1, w.V2), nil)

	read := func(q question, file ...string) {
		data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "verify", "testdata"}, file...)...))
		if err != nil {
			t.Fatal(err)
		}
		n, err := forge.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		q.name = strings.Join(file, "/")
		all = append(all, &seed{question: q, bundle: n})
	}
	text := func(file ...string) []byte {
		data, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "verify", "testdata"}, file...)...))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var fixtures []struct {
		Form, Bundle, Digest, Key, Identity, Issuer, PredicateType string
		Logged                                                     bool
	}
	if err := json.Unmarshal(text("cosign", "index.json"), &fixtures); err != nil {
		t.Fatal(err)
	}
	for _, f := range fixtures {
		if !strings.HasSuffix(f.Form, "-bundle") || !f.Logged || f.Key != "" && f.Key != "cosign.pub" {
			continue
		}
		q := question{trust: text("cosign", "trusted_root.json"), digest: f.Digest, predicateType: f.PredicateType}
		if f.Key != "" {
			q.key = text("cosign", f.Key)
		} else {
			q.identity = verify.Identity{Issuer: f.Issuer, Subject: f.Identity}
		}
		read(q, "cosign", f.Bundle)
	}
	for _, file := range []string{"provenance.json", "provenance-v2.json"} {
		q := question{trust: text("public-good", "trusted_root.json"),
			identity: verify.Identity{Issuer: "https://token.actions.githubusercontent.com", SubjectRegexp: "^https://github.com/sigstore/sigstore-js/"}}
		q.digest, q.predicateType = statementOf(t, text("public-good", file))
		read(q, "public-good", file)
	}
	for _, s := range all {
		s.verifiers = s.ready(t)
	}
	return all
}

// stamp returns an RFC 3161 timestamp.
func stamp(a *forge.TSA, message []byte, at time.Time) []byte {
	digest := sha256.Sum256(message)
	token := rfc3161.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: at,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true}
	der, err := token.CreateResponseWithOpts(a.Certificate, a.Key.Signer, crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return der
}

// statementOf returns the digest of a statement's subject and its predicate type.
func statementOf(t testing.TB, data []byte) (digest, predicateType string) {
	t.Helper()
	var b struct{ DSSEEnvelope struct{ Payload []byte } }
	var s struct {
		PredicateType string
		Subject       []struct{ Digest struct{ SHA512 string } }
	}
	if err := errors.Join(json.Unmarshal(data, &b)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.DSSEEnvelope.Payload, &s); err != nil {
		t.Fatal(err)
	}
	return "sha512:" + s.Subject[0].Digest.SHA512, s.PredicateType
}

// mutant returns a variant of the seed: a part of it changed before it was signed, logged or
// put under a checkpoint, or after, in the bundle's members or in its bytes. What is signed is signed by those
// who are trusted.
func (s *seed) mutant(r *rand.Rand, all []*seed) (how string, data []byte) {
	n, how := s.bundle, "bundle"
	donor := all[r.IntN(len(all))].bundle
	if s.spec != nil && r.IntN(2) == 0 {
		how, n = s.resigned(r)
		if r.IntN(4) > 0 {
			return how, forge.Encode(n)
		}
	}
	if r.IntN(5) == 0 {
		return how + ", bytes", forge.MutateBytes(r, forge.Encode(n))
	}
	for range 1 + r.IntN(2) {
		n = forge.Mutate(r, n, donor)
	}
	return how + ", members", forge.Encode(n)
}

// resigned changes a part before it is signed.
func (s *seed) resigned(r *rand.Rand) (how string, n forge.Node) {
	spec := *s.spec
	part := r.IntN(5)
	switch {
	case part == 0 && spec.Content != forge.Attest:
		part = 1
	case part == 4 && spec.Certificate == nil:
		part = 2
	}
	switch part {
	case 4:
		spec.Certificate = reissued(r, spec)
		return "certificate", spec.Make().Bundle()
	case 0:
		spec.EditPayload = func(o forge.Object) forge.Node { return change(r, o, forge.SimpleSigning(spec.Digest())) }
		return "statement", spec.Make().Bundle()
	case 1:
		others := []forge.Node{forge.HashedRekordV1("sha256", make([]byte, 32), make([]byte, 70), spec.Author.PEM()),
			forge.DSSEV1(nil, nil, make([]byte, 70), spec.Author.PEM())}
		spec.EditBody = func(o forge.Object) forge.Node { return change(r, o, others...) }
		m := spec.Make()
		// The entry is said to be what it was before.
		was := s.spec.Make()
		for i := range m.Entries {
			m.Entries[i].Kind, m.Entries[i].Version = was.Entries[i].Kind, was.Entries[i].Version
		}
		return "body", m.Bundle()
	case 2:
		m := spec.Make()
		return "checkpoint", recheck(r, m)
	}
	// An entry of one generation in a log of the other, or with parts of another place.
	m := spec.Make()
	i := r.IntN(len(m.Entries))
	e := &m.Entries[i]
	switch r.IntN(5) {
	case 0:
		other := *e.Log
		if other.TreeID = 0; !e.Log.V2() {
			other.Base = 0
		} else {
			other.TreeID = 7
		}
		e.Log = &other
	case 1:
		e.Log.Add([]byte("{}"))
		e.Size = e.Log.Size() - r.IntN(3)
	case 2:
		e.Time = e.Time.Add(time.Duration(r.IntN(1200)-600) * time.Second)
	case 3:
		e.Log.Base += int64(r.IntN(3)) - 1
	case 4:
		m.Has = forge.Has(r.IntN(3))
		m.Version = []string{"0.1", "0.2", "0.3"}[r.IntN(3)]
	}
	return "entry", m.Bundle()
}

// reissued returns a certificate that the authority, or one of the same name, issued to somebody, at some time.
func reissued(r *rand.Rand, spec forge.Spec) *x509.Certificate {
	w := forge.NewWorld()
	s := w.Subject()
	switch r.IntN(9) {
	case 0:
		s.From = s.From.Add(time.Duration(r.IntN(240)-120) * time.Second)
	case 1:
		s.To = spec.Time.Add(time.Duration(r.IntN(240)-120) * time.Second)
	case 2:
		s.Email = string(forge.MutateBytes(r, []byte(s.Email)))
		for _, c := range []byte(s.Email) {
			if c > 0x7f { // no certificate can say it
				s.Email = "x"
				break
			}
		}
	case 3:
		s.Email, s.UserName = "", s.Email
	case 4:
		s.URI = "https://example.test/x"
		if r.IntN(2) == 0 {
			s.Email = ""
		}
	case 5:
		s.Issuer = []string{"", s.Issuer + "/", strings.ToUpper(s.Issuer), "x"}[r.IntN(4)]
	case 6:
		s.ServerAuth = true
	case 7:
		s.Email = ""
	case 8:
		w.CA = w.ForeignCA
	}
	return w.CA.Issue(s)
}

// change changes a tree, in its members, in how it is written, or in its bytes.
func change(r *rand.Rand, n forge.Node, donors ...forge.Node) forge.Node {
	switch r.IntN(6) {
	case 0:
		return forge.Verbatim(forge.MutateBytes(r, forge.Encode(n)))
	case 1:
		var indented bytes.Buffer
		if json.Indent(&indented, forge.Encode(n), "", " ") == nil {
			return forge.Verbatim(indented.Bytes())
		}
	}
	return forge.Mutate(r, n, donors...)
}

// recheck signs another checkpoint.
func recheck(r *rand.Rand, m *forge.Made) forge.Node {
	i := r.IntN(len(m.Entries))
	e := m.Entries[i]
	good := e.Log.Checkpoint(e.Size, e.Witnesses...)
	text, lines, _ := strings.Cut(good, "\n\n")
	switch r.IntN(7) {
	case 0:
		text = string(forge.MutateBytes(r, []byte(text)))
	case 1:
		text += "\n" + []string{"extension", "", " ", "—", "\r"}[r.IntN(5)]
	case 2:
		all := strings.Split(text, "\n")
		all[r.IntN(len(all))] = []string{"0", "", e.Log.Host + " - 1", e.Log.Host, "x - 1", "x"}[r.IntN(6)]
		text = strings.Join(all, "\n")
	case 3: // as it is, with further lines
		stranger := forge.NewWitness("stranger", e.Time)
		line := []string{stranger.Cosign(text + "\n"), lines, "— x AAAA\n", "— x AAAAAAAA\n", "\n", "x\n", forge.NoteLine(e.Log.Host, e.Log.ID()[:4], make([]byte, 70))}[r.IntN(7)]
		note := good + line
		if r.IntN(2) == 0 {
			note = text + "\n\n" + line + lines
		}
		return withCheckpoint(m, i, note)
	case 4:
		return withCheckpoint(m, i, text+"\n\n"+forge.NoteLine([]string{e.Log.Host, e.Log.Origin(), "x", ""}[r.IntN(4)], e.Log.ID()[:4], e.Log.Key.SignMessage([]byte(text+"\n"))))
	case 5:
		return withCheckpoint(m, i, string(forge.MutateBytes(r, []byte(good))))
	case 6:
		other := e.Log.Clone()
		other.Add([]byte("{}"))
		return withCheckpoint(m, i, other.Checkpoint(other.Size()))
	}
	return withCheckpoint(m, i, e.Log.SignCheckpoint(text+"\n"))
}

func withCheckpoint(m *forge.Made, i int, note string) forge.Node {
	b := m.Bundle()
	if m.Has == forge.SETOnly {
		return b
	}
	return forge.With(b, note, "verificationMaterial", "tlogEntries", i, "inclusionProof", "checkpoint", "envelope")
}

// Nothing is accepted that sigstore-go refuses, whatever is changed in a good bundle, also
// by those who sign its parts. TALLYSTICK_DIFFERENTIAL is how many bundles are tried, and
// TALLYSTICK_SEED another number to start the changes from.
func TestDifferential(t *testing.T) {
	tries, start := setting(t, "TALLYSTICK_DIFFERENTIAL", 4000), setting(t, "TALLYSTICK_SEED", 1)
	all := seeds(t)
	for _, s := range all {
		data := forge.Encode(s.bundle)
		if ours, theirs := s.askOurs(data), s.askTheirs(data); ours != nil || theirs != nil {
			t.Errorf("%s: the good bundle: ours says %v, sigstore-go %v", s.name, ours, theirs)
		}
	}
	var next, both, neither, oursOnly, theirsOnly atomic.Int64
	var mu sync.Mutex
	strict := map[string]int{} // what was changed → how often we alone refused
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(tries); i = next.Add(1) - 1 {
				r := rand.New(rand.NewPCG(uint64(start), uint64(i)))
				s := all[r.IntN(len(all))]
				how, data := s.mutant(r, all)
				ask := s.verifiers
				if r.IntN(20) == 0 { // what was asked about something else
					ask = all[r.IntN(len(all))].verifiers
				}
				ours, theirs := ask.askOurs(data), ask.askTheirs(data)
				switch {
				case errors.Is(ours, verify.ErrInternal):
					t.Errorf("bundle %d (%s, %s): %v\n%s", i, s.name, how, ours, data)
				case ours == nil && theirs != nil:
					if oursOnly.Add(1) <= 20 {
						t.Errorf("bundle %d (%s, %s): accepted, but sigstore-go says: %v\n%s", i, s.name, how, theirs, data)
					}
				case ours == nil:
					both.Add(1)
				case theirs == nil:
					theirsOnly.Add(1)
					mu.Lock()
					strict[how]++
					mu.Unlock()
				default:
					neither.Add(1)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d bundles: both accepted %d and refused %d; sigstore-go alone accepted %d (by what was changed: %v), we alone %d",
		tries, both.Load(), neither.Load(), theirsOnly.Load(), strict, oursOnly.Load())
	if n := int(both.Load()); n < tries/100 || n > tries/2 {
		t.Errorf("%d of %d bundles are accepted by both: the changes are too harsh, or too mild", n, tries)
	}
}

// setting returns a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
