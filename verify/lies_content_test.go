package verify_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// A statement is about the artifact and of the type asked for, or it proves nothing.
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

// cosign's payload names the image, or it proves nothing.
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
