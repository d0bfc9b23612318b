package verify_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
	"github.com/tallystick/tallystick/verify/timestamp"
)

func readFile(t testing.TB, name ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readJSON(t testing.TB, v any, name ...string) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, name...), v); err != nil {
		t.Fatalf("%s: %v", filepath.Join(name...), err)
	}
}

func parseTrust(t testing.TB, root []byte) *verify.Trust {
	t.Helper()
	trust, err := verify.ParseTrustedRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// What a Rekor v1 log answered, in the API's form and in protobuf's, from its first tree
// and from a second one.
func TestRekorAnswers(t *testing.T) {
	trust := parseTrust(t, readFile(t, "testdata", "rekor", "trusted-root.json"))
	var file struct {
		Vectors []struct {
			Case, EntryID                  string
			Response, TransparencyLogEntry json.RawMessage
		}
	}
	readJSON(t, &file, "testdata", "rekor", "log-entry.json")
	for _, v := range file.Vectors {
		for name, data := range map[string]json.RawMessage{"response": v.Response, "TransparencyLogEntry": v.TransparencyLogEntry} {
			e, err := verify.ParseEntry(data)
			if err != nil {
				t.Errorf("%s, %s: %v", v.Case, name, err)
				continue
			}
			p, err := trust.VerifyEntry(e)
			if err != nil {
				t.Errorf("%s, %s: %v", v.Case, name, err)
				continue
			}
			if !p.SET || p.Checkpoint == nil || !p.Checkpoint.V1 || p.Kind != "hashedrekord" || p.LogIndex < p.TreeIndex {
				t.Errorf("%s, %s: %+v", v.Case, name, p)
			}
		}
	}
	if len(file.Vectors) != 2 {
		t.Errorf("%d answers", len(file.Vectors))
	}
}

// What a Rekor v2 log answered: an entry, a checkpoint, and the same with a cosignature.
func TestRekorV2Answer(t *testing.T) {
	var checkpoint struct {
		Origin      string
		NoteText    string
		Ed25519     struct{ SPKIBase64, LogIDFullBase64, SignatureLine string }
		Cosigned    string `json:"servedCheckpointEd25519PlusWitness"`
		Witness     struct{ VKeyType04 string }
		ECDSAP256   struct{ SPKIBase64, LogIDFullBase64, SignatureLine, RekorV1StyleCheckpoint string }
		RSA2048     struct{ SPKIBase64, SignatureLine string }
		TreeSize    int64
		RootHashHex string
	}
	readJSON(t, &checkpoint, "testdata", "rekor", "checkpoint-v2.json")
	log := func(spki, id, details string) forge.Object {
		return forge.Object{"baseUrl": "https://" + checkpoint.Origin, "hashAlgorithm": "SHA2_256", "logId": forge.Object{"keyId": id},
			"publicKey": forge.Object{"rawBytes": spki, "keyDetails": details, "validFor": forge.Object{"start": "2025-01-01T00:00:00Z"}}}
	}
	ed25519 := log(checkpoint.Ed25519.SPKIBase64, checkpoint.Ed25519.LogIDFullBase64, "PKIX_ED25519")
	ecdsa := log(checkpoint.ECDSAP256.SPKIBase64, checkpoint.ECDSAP256.LogIDFullBase64, "PKIX_ECDSA_P256_SHA_256")
	trust := parseTrust(t, forge.Encode(forge.TrustedRoot(forge.Array{ed25519, ecdsa}, forge.Array{}, forge.Array{}, forge.Array{})))

	for name, signed := range map[string]string{
		"Ed25519":  checkpoint.NoteText + "\n" + checkpoint.Ed25519.SignatureLine,
		"ECDSA":    checkpoint.NoteText + "\n" + checkpoint.ECDSAP256.SignatureLine,
		"cosigned": checkpoint.Cosigned,
		"both":     checkpoint.NoteText + "\n" + checkpoint.Ed25519.SignatureLine + checkpoint.ECDSAP256.SignatureLine,
		"v1":       checkpoint.ECDSAP256.RekorV1StyleCheckpoint,
	} {
		c, err := trust.VerifyCheckpoint([]byte(signed), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.Size != checkpoint.TreeSize || c.Root.String() != checkpoint.RootHashHex || c.V1 != (name == "v1") {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if _, err := trust.VerifyCheckpoint([]byte(checkpoint.NoteText+"\n"+checkpoint.RSA2048.SignatureLine), nil); err == nil {
		t.Error("a signature line of a key that is not trusted suffices")
	}
	quorum, err := verify.ParseWitnessPolicy([]byte("witness w " + checkpoint.Witness.VKeyType04 + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := trust.VerifyCheckpoint([]byte(checkpoint.Cosigned), quorum); err != nil || len(c.Cosignatures) != 1 {
		t.Errorf("cosigned: %+v, %v", c, err)
	}
	if _, err := trust.VerifyCheckpoint([]byte(checkpoint.NoteText+"\n"+checkpoint.Ed25519.SignatureLine), quorum); err == nil {
		t.Error("the cosignature is not missed")
	}

	var answer struct{ Response json.RawMessage }
	readJSON(t, &answer, "testdata", "rekor", "tle-response-example.json")
	e, err := verify.ParseEntry(answer.Response)
	if err != nil {
		t.Fatal(err)
	}
	p, err := trust.VerifyEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	if p.SET || p.Checkpoint == nil || p.Checkpoint.V1 || p.LogIndex != 23 || p.TreeIndex != 23 || p.Checkpoint.Size != 30 {
		t.Errorf("%+v", p)
	}
}

// Checkpoints of a Rekor v1 log at three sizes, and what proves that one tree grew.
func TestRekorCheckpoints(t *testing.T) {
	trust := parseTrust(t, readFile(t, "testdata", "rekor", "trusted-root.json"))
	var file struct {
		Checkpoints []struct {
			Note     string
			TreeSize int64
		}
	}
	readJSON(t, &file, "..", "tlog", "testdata", "checkpoint.json")
	var tree struct {
		ConsistencyProofs []struct {
			FirstSize, LastSize int64
			Hashes              []string
		}
	}
	readJSON(t, &tree, "..", "tlog", "testdata", "merkle-7.json")
	at := map[int64]*verify.Checkpoint{}
	for _, c := range file.Checkpoints {
		got, err := trust.VerifyCheckpoint([]byte(c.Note), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Size != c.TreeSize || !got.V1 {
			t.Errorf("%+v, want size %d", got, c.TreeSize)
		}
		at[c.TreeSize] = got
	}
	n := 0
	for _, p := range tree.ConsistencyProofs {
		first, second := at[p.FirstSize], at[p.LastSize]
		if first == nil || second == nil {
			continue
		}
		n++
		var path []tlog.Hash
		for _, h := range p.Hashes {
			path = append(path, must(tlog.ParseHash(h)))
		}
		if err := verify.VerifyConsistency(first, second, path); err != nil {
			t.Errorf("%d to %d: %v", p.FirstSize, p.LastSize, err)
		}
		if err := verify.VerifyConsistency(first, second, append(path, tlog.Hash{})); err == nil {
			t.Errorf("%d to %d: a hash too many is accepted", p.FirstSize, p.LastSize)
		}
		if first != second {
			if err := verify.VerifyConsistency(second, first, path); err == nil {
				t.Errorf("%d to %d: accepted backwards", p.FirstSize, p.LastSize)
			}
		}
	}
	if n != 6 {
		t.Errorf("%d proofs between the checkpoints, want 6", n)
	}
}

// Two checkpoints are of one tree only if they have one log and one origin.
func TestConsistencyOfTwoTrees(t *testing.T) {
	w := newWorld(t)
	open := func(l *forge.Log, size int) *verify.Checkpoint {
		return must(w.trust.VerifyCheckpoint([]byte(l.Checkpoint(size)), nil))
	}
	otherTree := *w.V1
	otherTree.TreeID++
	if err := verify.VerifyConsistency(open(w.V1, 3), open(w.V1, 9), w.V1.Consistency(3, 9)); err != nil {
		t.Error(err)
	}
	for name, second := range map[string]*verify.Checkpoint{"tree": open(&otherTree, 9), "log": open(w.V2, 9)} {
		if err := verify.VerifyConsistency(open(w.V1, 3), second, w.V1.Consistency(3, 9)); err == nil {
			t.Errorf("another %s's checkpoint is accepted", name)
		}
	}
}

// rekorVector is a body as Rekor writes it, with what it was made of.
type rekorVector struct {
	Name          string
	CanonicalBody string
	ProposedEntry struct {
		Kind, APIVersion string
		Spec             struct {
			Data struct {
				Hash struct{ Algorithm, Value string }
			}
			Signature struct {
				Content   []byte
				PublicKey struct{ Content []byte }
			}
			ProposedContent struct {
				Envelope  string
				Verifiers [][]byte
			}
			PublicKey []byte
			Content   struct{ Envelope json.RawMessage }
		}
	}
}

// evidence returns the vector's signature with its body in a log of the forge, the key,
// and the artifact: the one whose digest is recorded, or the statement's first subject.
func (v *rekorVector) evidence(t *testing.T, w *world) (e *verify.Evidence, key []byte, a, predicateType string) {
	t.Helper()
	l := w.V1.Clone()
	logged := l.Put(forge.Verbatim(v.CanonicalBody), w.Now)
	entry, err := verify.ParseEntry(forge.Encode(logged.API()))
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	s := verify.Signed{Entries: []*verify.Entry{entry}}
	spec := v.ProposedEntry.Spec
	switch v.ProposedEntry.Kind + " " + v.ProposedEntry.APIVersion {
	case "hashedrekord 0.0.1":
		s.Signature, key = spec.Signature.Content, spec.Signature.PublicKey.Content
		a = spec.Data.Hash.Algorithm + ":" + spec.Data.Hash.Value
	case "dsse 0.0.1":
		s.Envelope, key = []byte(spec.ProposedContent.Envelope), spec.ProposedContent.Verifiers[0]
	case "intoto 0.0.1":
		var envelope string
		must(0, json.Unmarshal(spec.Content.Envelope, &envelope))
		s.Envelope, key = []byte(envelope), spec.PublicKey
	case "intoto 0.0.2":
		var envelope struct {
			PayloadType string
			Payload     []byte
			Signatures  []struct{ Sig, PublicKey []byte }
		}
		must(0, json.Unmarshal(spec.Content.Envelope, &envelope))
		key = envelope.Signatures[0].PublicKey
		s.Envelope = forge.Encode(forge.Object{"payloadType": envelope.PayloadType, "payload": string(envelope.Payload),
			"signatures": forge.Array{forge.Object{"sig": string(envelope.Signatures[0].Sig)}}})
	}
	if s.Envelope != nil {
		var envelope struct{ Payload []byte }
		_ = json.Unmarshal(s.Envelope, &envelope) // one vector is not in standard base64
		var statement struct {
			PredicateType string
			Subject       []struct{ Digest map[string]string }
		}
		if json.Unmarshal(envelope.Payload, &statement) == nil && len(statement.Subject) > 0 {
			a, predicateType = "sha256:"+statement.Subject[0].Digest["sha256"], statement.PredicateType
		}
	}
	if strings.Contains(string(key), "CERTIFICATE") {
		s.Certificate, key = key, nil
	}
	if e, err = verify.NewEvidence(s); err != nil {
		t.Logf("%s: %v", v.Name, err)
	}
	return e, key, a, predicateType
}

// Bodies as Rekor v1 writes them, of every kind and of keys of every sort, are about
// the signatures that they were made of.
func TestRekorBodies(t *testing.T) {
	w := newWorld(t)
	verified := []string{}
	for _, file := range []string{"hashedrekord-0.0.1.json", "dsse-0.0.1.json", "intoto-0.0.1.json", "intoto-0.0.2.json"} {
		var vectors struct{ Vectors []rekorVector }
		readJSON(t, &vectors, "..", "entry", "testdata", file)
		for _, v := range vectors.Vectors {
			e, key, digest, predicateType := v.evidence(t, w)
			if e == nil || key == nil || digest == "" {
				continue
			}
			a := must(verify.ParseDigest(digest))
			ver := w.verifier(t, verify.Policy{Keys: []verify.PublicKey{{PEM: key}}, PredicateType: predicateType})
			if _, err := ver.Verify(e, a); err != nil {
				t.Errorf("%s, %s: %v", file, v.Name, err)
				continue
			}
			verified = append(verified, v.ProposedEntry.Kind+" "+v.Name)
			// Nor does it pass for another vector's, or another key's.
			if _, err := w.verifier(t, verify.Policy{Keys: []verify.PublicKey{{PEM: w.Author.PEM()}}, PredicateType: predicateType}).Verify(e, a); err == nil {
				t.Errorf("%s, %s: another key is accepted", file, v.Name)
			}
		}
	}
	want := []string{
		"hashedrekord p256-pem", "hashedrekord p256-pem-crlf-whitespace", "hashedrekord p384-pem", "hashedrekord p521-pem", "hashedrekord ed25519ph-pem",
	}
	t.Logf("%d verified: %s", len(verified), strings.Join(verified, "; "))
	for _, name := range want {
		if !slices.Contains(verified, name) {
			t.Errorf("%s is not among them", name)
		}
	}
}

// Bodies as Rekor v2 writes them, of keys of every sort.
func TestRekorV2Bodies(t *testing.T) {
	w := newWorld(t)
	var file struct {
		Vectors []struct {
			Name, CanonicalBody string
			Request             struct {
				HashedRekordRequestV002 struct {
					Digest    []byte
					Signature struct {
						Content  []byte
						Verifier struct{ PublicKey struct{ RawBytes []byte } }
					}
				}
			}
		}
	}
	readJSON(t, &file, "testdata", "rekor", "hashedrekord-valid.json")
	n := 0
	for _, v := range file.Vectors {
		r := v.Request.HashedRekordRequestV002
		key := r.Signature.Verifier.PublicKey.RawBytes
		if key == nil || strings.Contains(v.Name, "dsse") || r.Signature.Content == nil {
			continue
		}
		logged := w.V2.Clone().Put(forge.Verbatim(v.CanonicalBody), w.Now)
		logged.Kind, logged.Version = "hashedrekord", "0.0.2"
		entry, err := verify.ParseEntry(forge.Encode(logged.TLE(forge.ProofOnly)))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		e, err := verify.NewEvidence(verify.Signed{Signature: r.Signature.Content, Entries: []*verify.Entry{entry}})
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		algorithm := map[int]string{32: "sha256", 48: "sha384", 64: "sha512"}[len(r.Digest)]
		a := must(verify.ParseDigest(algorithm + ":" + hex.EncodeToString(r.Digest)))
		pem := fmt.Sprintf("-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n", base64.StdEncoding.EncodeToString(key))
		if _, err := w.verifier(t, verify.Policy{Keys: []verify.PublicKey{{PEM: []byte(pem)}}}).Verify(e, a); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		n++
	}
	if n < 6 {
		t.Errorf("%d bodies", n)
	}
}

// Bundles that Sigstore's own services made verify, with SCTs and all, and not for anybody else.
func TestPublicGood(t *testing.T) {
	const github = "https://token.actions.githubusercontent.com"
	const slsa02, slsa1 = "https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"
	for _, c := range []struct {
		bundle, root, predicateType string
		identity                    verify.Identity
	}{
		{"provenance.json", "trusted_root.json", slsa02, verify.Identity{Issuer: github, SubjectRegexp: `^https://github\.com/sigstore/sigstore-js/`}},
		{"provenance-v2.json", "trusted_root.json", slsa1, verify.Identity{Issuer: github, SubjectRegexp: `^https://github\.com/sigstore/sigstore-js/`}},
		{"dsse.json", "trusted_root.json", "", verify.Identity{IssuerRegexp: ".*", SubjectRegexp: "@"}},
		{"othername.json", "othername-trusted_root.json", "", verify.Identity{IssuerRegexp: ".*", SubjectRegexp: ".*"}},
	} {
		t.Run(c.bundle, func(t *testing.T) {
			data := readFile(t, "testdata", "public-good", c.bundle)
			trust := parseTrust(t, readFile(t, "testdata", "public-good", c.root))
			e, err := verify.ParseBundle(data)
			if err != nil {
				t.Fatal(err)
			}
			digest, predicateType := subjectOf(t, data)
			if c.predicateType != "" && predicateType != c.predicateType {
				t.Errorf("predicate type %s", predicateType)
			}
			ask := func(p verify.Policy, digest string) (*verify.Result, error) {
				v, err := verify.New(trust, p, verify.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return v.Verify(e, must(verify.ParseDigest(digest)))
			}
			p := verify.Policy{Identities: []verify.Identity{c.identity}, PredicateType: predicateType}
			r, err := ask(p, digest)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Has(verify.ClaimSET) || !r.Has(verify.ClaimIdentity) || predicateType != "" && r.Statement.PredicateType != predicateType {
				t.Errorf("%+v", r)
			}
			if len(trust.Material().CTLogs) > 0 && !r.Has(verify.ClaimSCT) {
				t.Error("no SCT was proved")
			}
			other := p
			other.Identities = []verify.Identity{{IssuerRegexp: ".*", Subject: "somebody@else.test"}}
			if _, err := ask(other, digest); !is(verify.ErrIdentity).match(err) {
				t.Errorf("another identity: %v", err)
			}
			other = p
			other.PredicateType += "x"
			if _, err := ask(other, digest); !is(verify.ErrWrongArtifact).match(err) {
				t.Errorf("another predicate type: %v", err)
			}
			if _, err := ask(p, otherDigest(digest)); !is(verify.ErrWrongArtifact).match(err) {
				t.Errorf("another digest: %v", err)
			}
		})
	}
	two := readFile(t, "testdata", "public-good", "dsse-two-signatures.json")
	if _, err := verify.ParseBundle(two); !is(verify.ErrMalformed).match(err) {
		t.Errorf("two signatures: %v", err)
	}
}

// subjectOf returns digest and predicate type of a bundle's statement.
func subjectOf(t *testing.T, bundle []byte) (digest, predicateType string) {
	t.Helper()
	var b struct {
		DSSEEnvelope     struct{ Payload []byte }
		MessageSignature struct {
			MessageDigest struct{ Digest []byte }
		}
	}
	must(0, json.Unmarshal(bundle, &b))
	if d := b.MessageSignature.MessageDigest.Digest; d != nil {
		return fmt.Sprintf("sha256:%x", d), ""
	}
	var s struct {
		PredicateType string
		Subject       []struct{ Digest map[string]string }
	}
	must(0, json.Unmarshal(b.DSSEEnvelope.Payload, &s))
	for _, algorithm := range []string{"sha512", "sha256"} {
		if d := s.Subject[0].Digest[algorithm]; d != "" {
			return algorithm + ":" + d, s.PredicateType
		}
	}
	t.Fatalf("no digest in %s", b.DSSEEnvelope.Payload)
	return "", ""
}

// otherDigest returns another digest of the same algorithm.
func otherDigest(digest string) string {
	last := byte('0')
	if strings.HasSuffix(digest, "0") {
		last = '1'
	}
	return digest[:len(digest)-1] + string(last)
}

// fixture is a signature that cosign made: see testdata/cosign/README.md.
type fixture struct {
	Name, Cosign, Form, Bundle, Payload, Annotations, TimestampFile, Entry, Artifact, Digest string
	Key, Identity, Issuer, PredicateType                                                     string
	Timestamp, Logged                                                                        bool
}

func (f *fixture) read(t *testing.T) (*verify.Evidence, error) {
	file := func(name string) []byte {
		if name == "" {
			return nil
		}
		return readFile(t, "testdata", "cosign", name)
	}
	switch {
	case f.Payload != "":
		var a map[string]string
		readJSON(t, &a, "testdata", "cosign", f.Annotations)
		return verify.ParseCosign(verify.CosignSignature{
			Payload: file(f.Payload), Signature: a["dev.cosignproject.cosign/signature"], Certificate: a["dev.sigstore.cosign/certificate"],
			Chain: a["dev.sigstore.cosign/chain"], Bundle: a["dev.sigstore.cosign/bundle"], Timestamp: a["dev.sigstore.cosign/rfc3161timestamp"],
		})
	case strings.HasSuffix(f.Form, "-legacy"):
		return verify.ParseCosignBlob(file(f.Bundle), file(f.TimestampFile))
	}
	return verify.ParseBundle(file(f.Bundle))
}

// policy returns one that the fixture meets.
func (f *fixture) policy(t *testing.T) verify.Policy {
	p := verify.Policy{PredicateType: f.PredicateType}
	if f.Key != "" {
		p.Keys = []verify.PublicKey{{PEM: readFile(t, "testdata", "cosign", f.Key)}}
	} else {
		p.Identities = []verify.Identity{{Issuer: f.Issuer, Subject: f.Identity}}
	}
	if f.Timestamp {
		p.SignedTimestamps = 1
	}
	if !f.Logged {
		p.LogEntries = verify.None
	}
	return p
}

// Whatever real cosign made verifies, and not for another artifact, signer, log or type.
func TestCosignFixtures(t *testing.T) {
	var fixtures []*fixture
	readJSON(t, &fixtures, "testdata", "cosign", "index.json")
	if len(fixtures) < 50 {
		t.Errorf("only %d fixtures", len(fixtures))
	}
	root := readFile(t, "testdata", "cosign", "trusted_root.json")
	trust := parseTrust(t, root)
	stranger := newWorld(t)
	foreignLog := must(forge.Decode(root)).(forge.Object)
	foreignLog = forge.With(foreignLog, forge.Array{stranger.V1.TrustedRoot(stranger.Start.AddDate(-10, 0, 0), time.Time{})}, "tlogs").(forge.Object)
	foreignCA := forge.With(must(forge.Decode(root)), forge.Array{stranger.CA.TrustedRoot()}, "certificateAuthorities")
	for _, f := range fixtures {
		t.Run(f.Name, func(t *testing.T) {
			e, err := f.read(t)
			if err != nil {
				t.Fatal(err)
			}
			artifact := verify.Bytes(readFile(t, "testdata", "cosign", f.Artifact))
			ask := func(trust *verify.Trust, a verify.Artifact, change func(*verify.Policy)) (*verify.Result, error) {
				p := f.policy(t)
				if change != nil {
					change(&p)
				}
				v, err := verify.New(trust, p, verify.Options{Timestamps: timestamp.Verifier{}})
				if err != nil {
					return nil, err
				}
				return v.Verify(e, a)
			}
			asked := []verify.Artifact{artifact}
			if f.Key == "" || f.Key == "cosign.pub" || f.Key == "rsa.pub" { // the others sign no SHA-256
				asked = append(asked, must(verify.ParseDigest(f.Digest)))
			}
			for _, a := range asked {
				r, err := ask(trust, a, nil)
				if err != nil {
					t.Errorf("%s: %v", a, err)
					continue
				}
				if r.Artifact.String() != a.String() || (r.Certificate == nil) != (f.Key != "") || len(r.Entries) == 0 == f.Logged {
					t.Errorf("%+v", r)
				}
			}
			refused := func(name string, trust *verify.Trust, a verify.Artifact, want classes, change func(*verify.Policy)) {
				if _, err := ask(trust, a, change); !want.match(err) {
					t.Errorf("%s: %v", name, err)
				}
			}
			refused("another artifact", trust, verify.Bytes([]byte("another")), is(verify.ErrWrongArtifact, verify.ErrBadSignature), nil)
			refused("another digest", trust, must(verify.ParseDigest(otherDigest(f.Digest))), is(verify.ErrWrongArtifact, verify.ErrBadSignature), nil)
			refused("another predicate type", trust, artifact, is(verify.ErrWrongArtifact), func(p *verify.Policy) { p.PredicateType += "x" })
			if f.PredicateType != "" {
				refused("no predicate type", trust, artifact, is(verify.ErrWrongArtifact), func(p *verify.Policy) { p.PredicateType = "" })
			}
			if f.Key != "" {
				refused("another key", trust, artifact, is(verify.ErrBadSignature, verify.ErrIdentity), func(p *verify.Policy) { p.Keys[0].PEM = stranger.Author.PEM() })
				refused("an identity", trust, artifact, is(verify.ErrIdentity), func(p *verify.Policy) {
					p.Keys, p.Identities = nil, []verify.Identity{{IssuerRegexp: ".*", SubjectRegexp: ".*"}}
				})
			} else {
				refused("another subject", trust, artifact, is(verify.ErrIdentity), func(p *verify.Policy) { p.Identities[0].Subject += "x" })
				refused("another issuer", trust, artifact, is(verify.ErrIdentity), func(p *verify.Policy) { p.Identities[0].Issuer += "x" })
				refused("another authority", stranger.trustIn(t, foreignCA), artifact, is(verify.ErrUntrustedCertificate, verify.ErrExpired), nil)
				refused("a key", trust, artifact, is(verify.ErrIdentity, verify.ErrBadSignature), func(p *verify.Policy) {
					p.Identities, p.Keys = nil, []verify.PublicKey{{PEM: stranger.Author.PEM()}}
				})
			}
			if f.Logged {
				refused("another log", stranger.trustIn(t, foreignLog), artifact, is(verify.ErrUntrustedLog), nil)
				refused("two logs", trust, artifact, is(verify.ErrPolicy), func(p *verify.Policy) { p.LogEntries = 2 })
			} else {
				refused("a log", trust, artifact, is(verify.ErrPolicy), func(p *verify.Policy) { p.LogEntries = 1 })
			}
			if f.Entry != "" {
				entry, err := verify.ParseEntry(readFile(t, "testdata", "cosign", f.Entry))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := trust.VerifyEntry(entry); err != nil {
					t.Errorf("the log's answer: %v", err)
				}
			}
		})
	}
}
