package verify_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// These tests are attacks that were once possible, or good evidence that was once refused. Each says what
// could be done.

// changedPolicy returns a policy with a change.
func changedPolicy(p verify.Policy, change func(*verify.Policy)) verify.Policy {
	change(&p)
	return p
}

// attested returns the policy that asks for the forge's statement.
func attested(p verify.Policy) verify.Policy {
	p.PredicateType = forge.Predicate
	return p
}

// counting counts what it is asked.
type counting struct{ asked *int }

func (c counting) VerifyTimestamp(token, message []byte, authorities []verify.Authority) (time.Time, int, error) {
	*c.asked++
	return tokens{}.VerifyTimestamp(token, message, authorities)
}

// A v2 log says nothing of time, and when its key was trusted was compared with timestamps alone. A log
// whose key had been given up, and was perhaps stolen, went on to count where the SET of another log said the time,
// where timestamps were ignored, and where the policy itself said the time.
func TestAttackLogOutOfTime(t *testing.T) {
	w := newWorld(t)
	stamped := func(s *forge.Spec) { s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now)) }
	key, certificate := w.Spec(forge.Message, w.V1, w.V2), w.Keyless(forge.Message, w.V1, w.V2)
	alone := w.Spec(forge.Message, w.V2)
	two := func(p *verify.Policy) { p.LogEntries = 2 }
	ignoring := func(p *verify.Policy) { p.LogEntries, p.IgnoreTimestamps = 2, true }
	now := func(p *verify.Policy) { p.Time = w.Now }
	optional := func(p *verify.Policy) { p.Time, p.LogEntries = w.Now, verify.None }
	const validFor = "validFor"
	trusts := map[string]struct {
		root forge.Node
		want classes
	}{
		"in time":     {w.root, nil},
		"ended":       {forge.With(w.root, "2026-06-01T00:00:00Z", "tlogs", 1, "publicKey", validFor, "end"), is(verify.ErrUntrustedLog)},
		"not started": {forge.With(w.root, "2026-08-01T00:00:00Z", "tlogs", 1, "publicKey", validFor, "start"), is(verify.ErrUntrustedLog)},
	}
	var lies []lie
	for log, c := range trusts {
		trust := w.trustIn(t, c.root)
		add := func(name string, s forge.Spec, p verify.Policy) {
			v := must(verify.New(trust, p, verify.Options{Timestamps: tokens{}}))
			lies = append(lies, lie{name: log + ", " + name, want: c.want, tree: s.Make().Bundle(), v: v})
		}
		add("SET, key", key, changedPolicy(w.byKey(), two))
		add("SET, certificate", certificate, changedPolicy(w.byIdentity(), two))
		add("SET and timestamp", changedSpec(key, stamped), changedPolicy(w.byKey(), two))
		add("SET and ignored timestamp", changedSpec(key, stamped), changedPolicy(w.byKey(), ignoring))
		add("timestamp", changedSpec(alone, stamped), w.byKey())
		add("time of the policy, key", alone, changedPolicy(w.byKey(), now))
		add("time of the policy, certificate", w.Keyless(forge.Message, w.V2), changedPolicy(w.byIdentity(), optional))
	}
	w.judge(t, lies)
}

// What was signed was copied and hashed anew for each key of the policy: a bundle of some megabytes took seconds and
// gigabytes of garbage before it was refused.
func TestAttackWorkOfKeys(t *testing.T) {
	w := newWorld(t)
	var p verify.Policy
	for i := range verify.MaxSigners {
		p.Keys = append(p.Keys, verify.PublicKey{PEM: forge.P256(fmt.Sprint("key ", i)).PEM()})
	}
	v := w.verifier(t, attested(p))
	const size = 1 << 20
	m := changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) {
		s.EditPayload = func(o forge.Object) forge.Node {
			return forge.With(o, forge.Object{"x": strings.Repeat("x", size)}, "predicate")
		}
	}).Make()
	for name, e := range map[string]*verify.Evidence{"bundle": must(readBundle(m.Bundle())), "annotation": must(readAnnotations(m.Annotations()))} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := v.Verify(e, verify.Bytes(w.Artifact))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, verify.ErrBadSignature) {
			t.Errorf("%s: %v", name, err)
		}
		// One copy, and some KiB for each key.
		if n := after.TotalAlloc - before.TotalAlloc; n > 4*size {
			t.Errorf("%s: %d keys and %d bytes allocate %d bytes", name, len(p.Keys), size, n)
		}
	}
}

// Each digest in a statement, which strangers write, had the artifact hashed again: 2048 times. A hash
// allocates, and so shows: digests that have to be computed make no more allocations than such as nobody knows.
func TestAttackWorkOfSubjects(t *testing.T) {
	w := newWorld(t)
	v := w.verifier(t, attested(w.byKey()))
	allocations := func(algorithms ...string) float64 {
		e := must(readBundle(changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) {
			s.EditPayload = func(o forge.Object) forge.Node {
				var all forge.Array
				for range verify.MaxSubjects {
					d := forge.Object{}
					for _, a := range algorithms {
						d[a] = strings.Repeat("ab", 48)
					}
					all = append(all, forge.Object{"digest": d})
				}
				return forge.With(o, all, "subject")
			}
		}).Make().Bundle()))
		return testing.AllocsPerRun(1, func() {
			if _, err := v.Verify(e, verify.Bytes(w.Artifact)); !errors.Is(err, verify.ErrWrongArtifact) {
				t.Error(err)
			}
		})
	}
	if known, unknown := allocations("sha384", "sha512"), allocations("sha38x", "sha51x"); known > unknown+100 {
		t.Errorf("%v allocations for digests that are computed, %v for others", known, unknown)
	}
}

// A witness that cosigned after the time asked about counted. And a log could say a time so late that package time took
// it for one long ago, when a key was still valid.
func TestAttackTimesToCome(t *testing.T) {
	w := newWorld(t)
	p := changedPolicy(w.byKey(), func(p *verify.Policy) { p.Witnesses, p.Time = w.quorum(1), w.Now })
	cosigned := func(at time.Time) forge.Node {
		return changedSpec(w.Spec(forge.Message, w.V2), func(s *forge.Spec) {
			s.Witnesses = []*forge.Witness{forge.NewWitness(w.Witnesses[0].Name, at)}
		}).Make().Bundle()
	}
	lies := []lie{
		{name: "cosigned then", tree: cosigned(w.Now), v: w.verifier(t, p)},
		{name: "cosigned later", want: is(verify.ErrExpired), tree: cosigned(w.Now.Add(time.Second)), v: w.verifier(t, p)},
	}
	const end = 253402300799 // of the year 9999
	for at, want := range map[int64]classes{end: nil, end + 1: is(verify.ErrMalformed), math.MaxInt64 - 62135596800 + 1: is(verify.ErrMalformed), math.MaxInt64: is(verify.ErrMalformed)} {
		m := changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Time = time.Unix(at, 0) }).Make()
		lies = append(lies,
			lie{name: fmt.Sprint("bundle at ", at), want: want, tree: m.Bundle()},
			lie{name: fmt.Sprint("blob at ", at), want: want, tree: forge.Without(m.Blob(), "cert"), read: readBlob},
			lie{name: fmt.Sprint("answer at ", at), want: want, tree: signed(m, m.Entries[0].API()), read: readSigned})
	}
	w.judge(t, lies)
}

// A caller that changed a result, so as to show it, changed what a cache said to the next one.
func TestAttackSharedResults(t *testing.T) {
	w := newWorld(t)
	p := changedPolicy(attested(w.byKey()), func(p *verify.Policy) { p.Witnesses = w.quorum(2) })
	data := forge.Encode(changedSpec(w.Spec(forge.Attest, w.V2), func(s *forge.Spec) {
		s.Witnesses = w.Witnesses[:2]
		s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now))
	}).Make().Bundle())
	ask := func(v *verify.Verifier) *verify.Result {
		return must(v.Verify(must(verify.ParseBundle(data)), verify.Bytes(w.Artifact)))
	}
	want := ask(w.verifier(t, p))
	caching := must(verify.New(w.trust, p, verify.Options{Timestamps: tokens{}, Cache: verify.NewCache(1)}))
	for i := range 3 { // computed, remembered, and remembered again
		r := ask(caching)
		if !reflect.DeepEqual(r, want) {
			t.Fatalf("answer %d: %+v\nwant %+v", i, r, want)
		}
		c := r.Entries[0].Checkpoint
		c.Origin, c.Cosignatures[0].Witness = "spoiled", "spoiled"
		r.Entries[0].LogIndex, r.Claims[0], r.Times[0] = 99, verify.Claim{}, verify.ProvedTime{}
		r.Statement.PredicateType = "spoiled"
		clear(r.Statement.Predicate)
		r.Key = 99
	}
}

// The logs in results and in checkpoints, and the lists in a trust's material, were the trust's own: to change one was to
// change whom every verifier believed.
func TestAttackSharedTrust(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.Keyless(forge.Message, w.V1).Make(), w.Spec(forge.Message, w.V2).Make()
	stampedV2 := changedSpec(v2.Spec, func(s *forge.Spec) { s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now)) }).Make()
	good := []lie{{name: "v1", tree: v1.Bundle()}, {name: "v2", tree: v2.Bundle()}, {name: "v2, timestamp", tree: stampedV2.Bundle()}}
	w.judge(t, good)
	spoil := func(l *verify.Log) {
		clear(l.ID)
		*l = verify.Log{Valid: verify.Window{End: w.Start}}
	}

	r := must(w.verifier(t, w.byIdentity()).Verify(must(readBundle(v1.Bundle())), verify.Bytes(w.Artifact)))
	spoil(&r.Entries[0].Log)
	spoil(&r.Entries[0].Checkpoint.Log)
	r = must(w.verifier(t, w.byKey()).Verify(must(readBundle(v2.Bundle())), verify.Bytes(w.Artifact)))
	spoil(&r.Entries[0].Checkpoint.Log)
	spoil(&r.Entries[0].Log)
	spoil(&must(w.trust.VerifyCheckpoint([]byte(w.V2ECDSA.Checkpoint(3)), nil)).Log)
	m := w.trust.Material()
	for i := range m.Logs {
		spoil(&m.Logs[i])
	}
	clear(m.CertificateAuthorities[0].Chain)
	clear(m.TimestampAuthorities[0].Chain)
	clear(m.CertificateAuthorities)
	clear(m.TimestampAuthorities)
	w.judge(t, append(good, lie{name: "v2 ECDSA", tree: w.Spec(forge.Message, w.V2ECDSA).Make().Bundle()}))
	if again := w.trust.Material(); again.Logs[0].Key == nil || !bytes.Equal(again.Logs[0].ID, w.V1.ID()) || again.TimestampAuthorities[0].Chain[0] == nil {
		t.Errorf("%+v", again)
	}
}

// NewEvidence kept what it was given: what was verified could then be changed, or changed while it was.
func TestAttackSharedEvidence(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.Spec(forge.Message, w.V1).Make(), w.Keyless(forge.Attest, w.V1).Make()
	for name, c := range map[string]struct {
		made   *forge.Made
		signed verify.Signed
		p      verify.Policy
	}{
		"signature": {v1, verify.Signed{Signature: v1.Signature}, w.byKey()},
		"envelope":  {v2, verify.Signed{Envelope: forge.Encode(v2.Envelope), Certificate: forge.CertificatePEM(v2.Certificate)}, attested(w.byIdentity())},
	} {
		entry := must(verify.ParseEntry(forge.Encode(c.made.Entries[0].API())))
		c.signed.Signature = bytes.Clone(c.signed.Signature)
		c.signed.Entries = []*verify.Entry{entry}
		c.signed.Timestamps = [][]byte{stamp(w.tsas[0], w.Now)(c.made.Signature)}
		e := must(verify.NewEvidence(c.signed))
		for _, b := range [][]byte{c.signed.Signature, c.signed.Envelope, c.signed.Certificate, c.signed.Timestamps[0], entry.Body, entry.LogID, entry.SET, entry.Proof.Checkpoint} {
			clear(b)
		}
		clear(entry.Proof.Path)
		*entry.Proof = verify.InclusionProof{}
		*entry = verify.Entry{}
		clear(c.signed.Entries)
		clear(c.signed.Timestamps)
		if _, err := w.verifier(t, c.p).Verify(e, verify.Bytes(w.Artifact)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Evidence could be altered and still pass: the left-over bits of base64 in the signature lines of a v2
// checkpoint, a certificate where a key was to be, a certificate in a bundle of a version that has chains. And a policy
// could not insist on inclusion proofs, so that they could be taken away.
func TestAttackAltered(t *testing.T) {
	w := newWorld(t)
	p := changedPolicy(w.byKey(), func(p *verify.Policy) { p.Witnesses = w.quorum(1) })
	cosigned := changedSpec(w.Spec(forge.Message, w.V2), func(s *forge.Spec) { s.Witnesses = w.Witnesses[:2] }).Make()
	note := forge.Get(cosigned.Bundle(), entry(proof, "checkpoint", "envelope")...).(string)
	note += forge.NoteLine("stranger.example.test", []byte("hint"), []byte("nobody looks at it."))
	withNote := func(s string) forge.Node {
		return forge.With(cosigned.Bundle(), s, entry(proof, "checkpoint", "envelope")...)
	}
	bad, unmet := is(verify.ErrMalformed), is(verify.ErrPolicy)
	lies := []lie{{name: "note", tree: withNote(note), v: w.verifier(t, p)}}
	lines := strings.SplitAfter(note, "\n")
	for i, line := range lines {
		bare := strings.TrimRight(line, "=\n")
		if !strings.HasPrefix(line, "— ") {
			continue
		}
		last := len(bare) - 1
		altered := slices.Clone(lines)
		altered[i] = bare[:last] + string(nextDigit(bare[last])) + line[last+1:]
		lies = append(lies, lie{name: fmt.Sprint("left-over bits in line ", i), want: bad, tree: withNote(strings.Join(altered, "")), v: w.verifier(t, p)})
	}
	if len(lies) != 1+1+2+1 {
		t.Fatalf("the note has another number of signatures:\n%s", note)
	}

	blob := w.Spec(forge.Message, w.V1).Make().Blob()
	disguised := append([]byte("-----BEGIN PUBLIC KEY-----\n"), forge.CertificatePEM(w.Certificate)...)
	keyless := w.Keyless(forge.Message, w.V1).Make().Bundle()
	old := changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Version, s.Has = "0.1", forge.SETOnly }).Make().Bundle()
	proved := changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Version = "0.1" }).Make().Bundle()
	image := w.Spec(forge.Simple, w.V1).Make().Annotations()
	insisting := w.verifier(t, changedPolicy(w.byKey(), func(p *verify.Policy) { p.InclusionProofs = true }))
	w.judge(t, append(lies,
		lie{name: "blob with its key", tree: blob, read: readBlob},
		lie{name: "blob with a certificate for a key", want: bad, tree: forge.With(blob, forge.Base64(disguised), "cert"), read: readBlob},
		lie{name: "certificate, 0.3", tree: keyless},
		lie{name: "certificate, 0.2", want: bad, tree: forge.With(keyless, "application/vnd.dev.sigstore.bundle+json;version=0.2", "mediaType")},
		lie{name: "certificate, 0.1", want: bad, tree: forge.With(keyless, "application/vnd.dev.sigstore.bundle.v0.1+json", "mediaType")},
		lie{name: "SET alone", tree: old},
		lie{name: "SET alone, proofs wanted", want: unmet, tree: old, v: insisting},
		lie{name: "SET and proof, proofs wanted", tree: proved, v: insisting},
		lie{name: "annotation", tree: image, read: readAnnotations},
		lie{name: "annotation, proofs wanted", want: unmet, tree: image, read: readAnnotations, v: insisting},
		lie{name: "blob, proofs wanted", want: unmet, tree: blob, read: readBlob, v: insisting},
	))
}

// One timestamp authority that had changed its key, and once its name, was taken for two if its first and last entries in
// the trusted root were compared, and nothing in between.
func TestAttackAuthorityTwice(t *testing.T) {
	w := newWorld(t)
	other := forge.NewTSA("tsa2.example.test", w.Start, w.Start.AddDate(10, 0, 0))
	first, renewed := w.tsas[0].TrustedRoot(), w.tsas[1].TrustedRoot()
	between := forge.With(first, renewed["uri"], "uri") // the first one's key, and the renewed one's name
	stamps := func(all ...*forge.TSA) forge.Node {
		return changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) {
			for _, a := range all {
				s.Stamp = append(s.Stamp, stamp(a, w.Now))
			}
		}).Make().Bundle()
	}
	two := changedPolicy(w.byKey(), func(p *verify.Policy) { p.SignedTimestamps = 2 })
	for name, order := range map[string]forge.Array{
		"123": {first, between, renewed}, "132": {first, renewed, between}, "213": {between, first, renewed},
		"231": {between, renewed, first}, "312": {renewed, first, between}, "321": {renewed, between, first},
	} {
		if _, err := verify.New(w.trustIn(t, w.TrustedRoot(order)), two, verify.Options{Timestamps: tokens{}}); !errors.Is(err, verify.ErrPolicy) {
			t.Errorf("%s: one authority can be two: %v", name, err)
		}
		trust := w.trustIn(t, w.TrustedRoot(append(order, other.TrustedRoot())))
		v := must(verify.New(trust, two, verify.Options{Timestamps: tokens{}}))
		w.judge(t, []lie{
			{name: name + ", one authority", want: is(verify.ErrPolicy), tree: stamps(w.tsas[0], w.tsas[1]), v: v},
			{name: name + ", two authorities", tree: stamps(w.tsas[1], other), v: v},
		})
	}
}

// In the older formats, statements are read as in-toto wants: what is not known is ignored. Good evidence was refused
// for it. In bundles, which other verifiers read strictly, it stays refused, and so does anywhere what one reader
// could take for a member that another one does not see.
func TestAttackStrictStatements(t *testing.T) {
	w := newWorld(t)
	hex256 := fmt.Sprintf("%x", sha256.Sum256(w.Artifact))
	subject := func(more string, v forge.Node) func(forge.Object) forge.Node {
		return func(o forge.Object) forge.Node { return forge.With(o, v, "subject", 0, more) }
	}
	digests := func(d forge.Object) func(forge.Object) forge.Node { return subject("digest", d) }
	member := func(name string, v forge.Node) func(forge.Object) forge.Node {
		return func(o forge.Object) forge.Node { return forge.With(o, v, name) }
	}
	bad := is(verify.ErrMalformed)
	var lies []lie
	for name, c := range map[string]struct {
		edit   func(forge.Object) forge.Node
		legacy classes // in the older format
	}{
		"predicate text, as of attest --type spdx": {member("predicate", "SPDXVersion: SPDX-2.2\n"), nil},
		"unknown member":                        {member("vendor", forge.Object{"a": nil}), nil},
		"unknown member of a subject":           {subject("vendor", "x"), nil},
		"a digest that is no hexadecimal":       {digests(forge.Object{"sha256": hex256, "dirHash": "h1:qqq="}), nil},
		"the digest that is no hexadecimal":     {digests(forge.Object{"sha256": "h1:qqq="}), bad},
		"a digest that is no text":              {digests(forge.Object{"sha256": hex256, "dirHash": forge.Number("1")}), bad},
		"unknown member twice":                  {member("a", forge.Verbatim(`1,"a":2`)), bad},
		"a member of the predicate twice":       {member("predicate", forge.Verbatim(`{"a":1,"a":2}`)), bad},
		"predicateType but for case":            {member("PredicateType", "x"), bad},
		"subject but for case, as Unicode sees": {member("ſubject", forge.Array{}), bad},
		"name of a subject but for case":        {subject("Name", "x"), bad},
		"digest of a subject but for case":      {subject("DIGEST", forge.Object{"sha256": hex256}), bad},
	} {
		m := changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) { s.EditPayload = c.edit }).Make()
		v := w.verifier(t, attested(w.byKey()))
		lies = append(lies,
			lie{name: name + ", annotation", want: c.legacy, tree: m.Annotations(), read: readAnnotations, v: v},
			lie{name: name + ", bundle", want: bad, tree: m.Bundle(), v: v})
	}
	w.judge(t, lies)
}

// Good evidence was refused that clients make, or made.
func TestAttackStrictEvidence(t *testing.T) {
	w := newWorld(t)
	ed := forge.Ed25519("ed25519 author")
	byEd := func(s *forge.Spec) { s.Author = ed }
	subject := w.Subject()
	subject.Key = ed
	issued := func(s *forge.Spec) { s.Author, s.Certificate = ed, w.CA.Issue(subject) }
	edPolicy := attested(verify.Policy{Keys: []verify.PublicKey{{PEM: ed.PEM()}}})
	edKey := w.verifier(t, edPolicy)
	edUnlogged := w.verifier(t, changedPolicy(edPolicy, func(p *verify.Policy) { p.LogEntries = verify.None }))
	ph := changedSpec(w.Spec(forge.Attest, w.V2), byEd).Make().Bundle()

	// intoto 0.0.1, without and with the hash of the payload that later servers record.
	m := w.Spec(forge.Attest, w.V1).Make()
	intoto := func(change func(forge.Node) forge.Node) forge.Node {
		body := forge.IntotoV1(forge.Encode(m.Envelope), m.Payload, w.Author.PEM())
		return forge.Object{"payload": m.Envelope, "dev.sigstore.cosign/bundle": w.V1.Clone().Put(change(body), w.Now).RekorBundle()}
	}
	other := w.other(m.Spec).Make()
	otherIntoto := forge.IntotoV1(forge.Encode(other.Envelope), other.Payload, w.Author.PEM())
	content := func(member string) []any { return []any{"spec", "content", member} }
	byKey := w.verifier(t, attested(w.byKey()))

	// A chain goes up to the root, of which the trust may have the lower end alone.
	image := w.Keyless(forge.Simple, w.V1)
	chained := func(chain ...*x509.Certificate) forge.Node {
		return changedSpec(image, func(s *forge.Spec) { s.Chain = chain }).Make().Annotations()
	}
	low := forge.With(w.root, forge.CertificateChain(w.CA.Intermediate), "certificateAuthorities", 0, "certChain")
	byLow := must(verify.New(w.trustIn(t, low), w.byIdentity(), verify.Options{}))
	stranger := is(verify.ErrUntrustedCertificate)

	wrong := is(verify.ErrBadProof)
	w.judge(t, []lie{
		{name: "Ed25519ph by a key for no log", want: is(verify.ErrBadSignature), tree: forge.Without(ph, material, entries), v: edUnlogged},
		{name: "Ed25519ph by a key for a v2 log", tree: ph, v: edKey},
		{name: "Ed25519 by a key for a v1 log", tree: changedSpec(w.Spec(forge.Attest, w.V1), byEd).Make().Bundle(), v: edKey},
		{name: "Ed25519ph by a certificate", want: is(verify.ErrBadSignature), tree: changedSpec(w.Spec(forge.Attest, w.V2), issued).Make().Bundle(),
			v: w.verifier(t, attested(w.byIdentity()))},

		{name: "intoto 0.0.1", read: readAnnotations, v: byKey, tree: intoto(func(b forge.Node) forge.Node { return b })},
		{name: "intoto 0.0.1 without payloadHash", read: readAnnotations, v: byKey, tree: intoto(func(b forge.Node) forge.Node { return forge.Without(b, content("payloadHash")...) })},
		{name: "intoto 0.0.1 of another payload", want: wrong, read: readAnnotations, v: byKey, tree: intoto(func(b forge.Node) forge.Node {
			return forge.With(b, forge.Get(otherIntoto, content("payloadHash")...), content("payloadHash")...)
		})},
		{name: "intoto 0.0.1 of another envelope", want: wrong, read: readAnnotations, v: byKey, tree: intoto(func(b forge.Node) forge.Node {
			return forge.Without(forge.With(b, forge.Get(otherIntoto, content("hash")...), content("hash")...), content("payloadHash")...)
		})},
		{name: "intoto 0.0.1 without hash", want: wrong, read: readAnnotations, v: byKey, tree: intoto(func(b forge.Node) forge.Node { return forge.Without(b, content("hash")...) })},
		{name: "dsse without payloadHash", want: wrong, v: byKey, tree: changedSpec(m.Spec, func(s *forge.Spec) {
			s.EditBody = func(b forge.Object) forge.Node { return forge.Without(b, "spec", "payloadHash") }
		}).Make().Bundle()},

		{name: "chain", read: readAnnotations, tree: chained(w.CA.Intermediate, w.CA.Root)},
		{name: "chain above what is trusted", read: readAnnotations, v: byLow, tree: chained(w.CA.Intermediate, w.CA.Root)},
		{name: "chain to another root", want: stranger, read: readAnnotations, v: byLow, tree: chained(w.CA.Intermediate, w.ForeignCA.Root)},
		{name: "chain of another authority", want: stranger, read: readAnnotations, v: byLow, tree: chained(w.ForeignCA.Intermediate, w.ForeignCA.Root)},
		{name: "chain with a root besides", want: stranger, read: readAnnotations, v: byLow, tree: chained(w.CA.Intermediate, w.CA.Root, w.ForeignCA.Root)},
	})
}

// Errors quoted what strangers wrote in full: megabytes, for whoever logs them.
func TestAttackLongErrors(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("\U000e0001", 3000) // ten bytes each, once quoted
	twice := forge.Verbatim(fmt.Sprintf(`{"%s":"00","%[1]s":"00"}`, long))
	statement := func(v forge.Node, path ...any) error {
		m := changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) {
			s.EditPayload = func(o forge.Object) forge.Node { return forge.With(o, v, path...) }
		}).Make()
		_, err := w.verifier(t, attested(w.byKey())).Verify(must(readBundle(m.Bundle())), verify.Bytes(w.Artifact))
		return err
	}
	bundle := func(v forge.Node, path ...any) error {
		_, err := readBundle(forge.With(w.Spec(forge.Message, w.V1).Make().Bundle(), v, path...))
		return err
	}
	checkpoint := func(text string) error {
		_, err := w.trust.VerifyCheckpoint([]byte(w.V1.SignCheckpoint(text)), nil)
		return err
	}
	origin, root := w.V1.Origin(), forge.Base64(make([]byte, 32))
	short := long[:300*len("\U000e0001")] // a checkpoint is no longer
	for name, err := range map[string]error{
		"digest twice":           statement(twice, "subject", 0, "digest"),
		"digest":                 statement("x", "subject", 0, "digest", long),
		"_type":                  statement(long, "_type"),
		"predicateType":          statement(long, "predicateType"),
		"member of a statement":  statement("x", long),
		"predicate twice":        statement(twice, "predicate"),
		"member twice":           bundle(twice, material),
		"member":                 bundle("x", long),
		"media type":             bundle(long, "mediaType"),
		"algorithm":              bundle(long, "messageSignature", "messageDigest", "algorithm"),
		"number":                 bundle(long, entry("logIndex")...),
		"kind":                   bundle(long, entry("kindVersion", "kind")...),
		"size of a checkpoint":   checkpoint(origin + "\n" + short + "\n" + root + "\n"),
		"root of a checkpoint":   checkpoint(origin + "\n1\n" + short + "\n"),
		"origin of a checkpoint": checkpoint(short + " - 1\n1\n" + root + "\n"),
		"entry ID":               func() error { _, err := verify.ParseEntries([]byte(`{"`+long+`":{}}`), 1); return err }(),
		"digest to parse":        func() error { _, err := verify.ParseDigest(long); return err }(),
	} {
		if err == nil || len(err.Error()) > 1024 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A cache held the artifacts, and predicates of any size: gigabytes, for a cache of some hundred results. What it has it
// does not ask the timestamp verifier about.
func TestAttackCacheMemory(t *testing.T) {
	w := newWorld(t)
	for size, want := range map[int]int{1 << 10: 1, 4000: 1, 4<<10 + 1: 2} {
		asked := 0
		v := must(verify.New(w.trust, attested(w.byKey()), verify.Options{Timestamps: counting{&asked}, Cache: verify.NewCache(8)}))
		e := must(readBundle(changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) {
			s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now))
			s.EditPayload = func(o forge.Object) forge.Node {
				return forge.With(o, forge.Verbatim(`{"x":"`+strings.Repeat("x", size-len(`{"x":""}`))+`"}`), "predicate")
			}
		}).Make().Bundle()))
		for range 2 {
			r := must(v.Verify(e, verify.Bytes(w.Artifact)))
			if len(r.Statement.Predicate) != size {
				t.Fatalf("the predicate has %d bytes, not %d", len(r.Statement.Predicate), size)
			}
			if !reflect.DeepEqual(r.Artifact, verify.SHA256(sha256.Sum256(w.Artifact))) {
				t.Error("a result has more of the artifact than its digest")
			}
		}
		if asked != want {
			t.Errorf("a result with a predicate of %d bytes was computed %d times, not %d", size, asked, want)
		}
	}
}

// What a program forgot to set made it panic.
func TestAttackNil(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V1).Make()
	answer := forge.Encode(m.Entries[0].API())
	entry, evidence := must(verify.ParseEntry(answer)), must(readBundle(m.Bundle()))
	noTrust, noVerifier := (*verify.Trust)(nil), (*verify.Verifier)(nil)
	v := w.verifier(t, w.byKey())
	artifact := verify.Bytes(w.Artifact)
	checkpoint := must(w.trust.VerifyCheckpoint([]byte(w.V1.Checkpoint(2)), nil))
	consistency := func(l *verify.Log) error {
		other := verify.Checkpoint{Checkpoint: checkpoint.Checkpoint, V1: true}
		if l != nil {
			other.Log = *l
		}
		return verify.VerifyConsistency(checkpoint, &other, nil)
	}
	second := func(_ any, err error) error { return err }
	third := func(_ *verify.Result, _ int, err error) error { return err }
	for name, err := range map[string]error{
		"VerifyEntry of nothing":          second(w.trust.VerifyEntry(nil)),
		"VerifyEntry of an empty entry":   second(w.trust.VerifyEntry(&verify.Entry{})),
		"VerifyEntry by no trust":         second(noTrust.VerifyEntry(entry)),
		"VerifyEntry by an empty trust":   second(new(verify.Trust).VerifyEntry(entry)),
		"VerifyCheckpoint of nothing":     second(w.trust.VerifyCheckpoint(nil, nil)),
		"VerifyCheckpoint by empty trust": second(new(verify.Trust).VerifyCheckpoint([]byte(w.V1.Checkpoint(2)), nil)),
		"VerifyConsistency of nothing":    verify.VerifyConsistency(nil, nil, nil),
		"VerifyConsistency, no log":       consistency(nil),
		"VerifyConsistency, empty log":    consistency(&verify.Log{}),
		"VerifyConsistency, empty key":    consistency(&verify.Log{Key: &sig.Key{}}),
		"VerifyAny by nobody":             third(noVerifier.VerifyAny([]*verify.Evidence{evidence}, artifact)),
		"VerifyAny of nothing":            third(v.VerifyAny([]*verify.Evidence{nil}, artifact)),
		"NewEvidence of no entry":         second(verify.NewEvidence(verify.Signed{Signature: []byte("x"), Entries: []*verify.Entry{nil}})),
		"NewTrust of an empty log":        second(verify.NewTrust(verify.Material{Logs: []verify.Log{{}}})),
		"NewTrust of an empty key":        second(verify.NewTrust(verify.Material{Logs: []verify.Log{{Key: &sig.Key{}}}})),
		"NewTrust of no certificate":      second(verify.NewTrust(verify.Material{CertificateAuthorities: []verify.Authority{{Chain: []*x509.Certificate{nil}}}})),
		"ParseEntries, up to -1":          second(verify.ParseEntries(answer, -1)),
	} {
		if err == nil || errors.Is(err, verify.ErrInternal) { // which says that it panicked
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range []*verify.Result{{}, must(v.Verify(evidence, artifact))} {
		for _, c := range []verify.Claim{{}, {Kind: verify.ClaimStatement}, {Kind: verify.ClaimWitnesses}, {Kind: verify.ClaimSET, Index: 7}, {Kind: verify.ClaimTimestamp, Index: -1}} {
			if got := r.Explain(c); got != "not a claim of this result" {
				t.Errorf("%+v: %s", c, got)
			}
		}
	}
}

// A v2 checkpoint that is no signed note was said to be one with a bad signature, or of an unknown log.
func TestAttackMalformedNotes(t *testing.T) {
	w := newWorld(t)
	m := w.Spec(forge.Message, w.V2).Make()
	good := w.V2.Checkpoint(m.Entries[0].Size)
	body, line, _ := strings.Cut(good, "\n\n")
	strange := func(origin string) string { return strings.Replace(good, w.V2.Host, origin, 1) }
	for name, note := range map[string]string{
		"without a blank line":    body + "\n" + line,
		"without the last line":   good[:len(good)-1],
		"with carriage returns":   strings.ReplaceAll(good, "\n", "\r\n"),
		"with a zero byte":        strange("\x00"),
		"of invalid UTF-8":        strange("\xff"),
		"with text after it":      good + "text\n",
		"with a hyphen":           good + strings.Replace(line, "—", "-", 1),
		"with no dash":            good + "x AAAAAAA=\n",
		"with a line of no name":  good + "—  AAAAAAA=\n",
		"with no signature":       good + "— x\n",
		"with an empty signature": good + "— x \n",
		"with a short signature":  good + "— x AAAAAA==\n",
		"with a third word":       good + "— x AAAAAAA= x\n",
		"with URL-safe base64":    good + "— x ______8=\n",
		"without padding":         good + "— x AAAAAAA\n",
	} {
		if _, err := w.trust.VerifyCheckpoint([]byte(note), nil); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(name, "UTF-8") { // a bundle with that is not JSON
			w.judge(t, []lie{{name: name, want: is(verify.ErrMalformed), tree: forge.With(m.Bundle(), note, entry(proof, "checkpoint", "envelope")...)}})
		}
	}
}

// A bundle of 32 timestamps had them all checked before it was found to lack log entries.
func TestAttackWorkOfTimestamps(t *testing.T) {
	w := newWorld(t)
	asked := 0
	verifier := func(p verify.Policy) *verify.Verifier {
		return must(verify.New(w.trust, p, verify.Options{Timestamps: counting{&asked}}))
	}
	b := changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now)) }).Make().Bundle()
	two := func(p *verify.Policy) { p.LogEntries = 2 }
	twoStamps := func(p *verify.Policy) { p.SignedTimestamps = 2 }
	unmet := is(verify.ErrPolicy)
	w.judge(t, []lie{
		{name: "no entries", want: unmet, tree: forge.Without(b, material, entries), v: verifier(w.byKey())},
		{name: "too few entries", want: unmet, tree: b, v: verifier(changedPolicy(w.byKey(), two))},
		{name: "too few timestamps", want: unmet, tree: b, v: verifier(changedPolicy(w.byKey(), twoStamps))},
	})
	if asked != 0 {
		t.Errorf("%d timestamps were checked for nothing", asked)
	}
	w.judge(t, []lie{{name: "enough", tree: b, v: verifier(w.byKey())}})
	if asked != 1 {
		t.Errorf("%d timestamps were checked, not 1", asked)
	}
}

// The first good one of several signatures wins, and a refusal says why of each: it is of the first one's class
// and of no other.
func TestVerifyAnySaysWhy(t *testing.T) {
	w := newWorld(t)
	v, artifact := w.verifier(t, w.byKey()), verify.Bytes(w.Artifact)
	read := func(s forge.Spec) *verify.Evidence { return must(readBundle(s.Make().Bundle())) }
	good := w.Spec(forge.Message, w.V1)
	later := changedSpec(good, func(s *forge.Spec) { s.Time = w.Now.Add(time.Hour) })
	foreign, byOther := w.Spec(forge.Message, w.ForeignV1), changedSpec(good, func(s *forge.Spec) { s.Author = w.OtherAuthor })

	r, i, err := v.VerifyAny([]*verify.Evidence{read(byOther), read(later), read(good), nil}, artifact)
	if err != nil || i != 1 || !r.Times[0].Time.Equal(later.Time) {
		t.Errorf("the second of four: %+v, %d, %v", r, i, err)
	}
	bad := []*verify.Evidence{read(foreign), read(byOther), nil}
	r, i, err = v.VerifyAny(bad, artifact)
	if r != nil || i != -1 || !errors.Is(err, verify.ErrUntrustedLog) || errors.Is(err, verify.ErrBadSignature) || errors.Is(err, verify.ErrMalformed) {
		t.Fatalf("three bad ones: %+v, %d, %v", r, i, err)
	}
	for n, e := range bad {
		_, one := v.Verify(e, artifact)
		if !strings.Contains(err.Error(), fmt.Sprintf("signature %d: %v", n, one)) {
			t.Errorf("%v\nsays nothing of signature %d: %v", err, n, one)
		}
	}
}
