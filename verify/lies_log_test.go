package verify_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// Parts of one log entry do not prove another, one generation of Rekor not the other, and one log is not two.
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

// mirror returns the other form of a P-256 signature: (r, -s).
func mirror(der []byte) []byte {
	var s struct{ R, S *big.Int }
	must(asn1.Unmarshal(der, &s))
	s.S.Sub(elliptic.P256().Params().N, s.S)
	return must(asn1.Marshal(s))
}

// What a v1 API answers is about the entry that its ID, its body and its attestation say, all three.
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

// Entries of kinds that are not made any more count in the forms of their time, and in no
// bundle. Nor do those that record the signature in a way of their own.
func TestOldKinds(t *testing.T) {
	w := newWorld(t)
	p := w.byKey()
	p.PredicateType = forge.Predicate
	ask := w.verifier(t, p)
	rekord := func(o forge.Object) forge.Node { // records what a hashedrekord does
		value := forge.Get(o, "spec", "data", "hash", "value").(string)
		return forge.RekordV1(must(hex.DecodeString(value)), forge.Bytes(o, "spec", "signature", "content"), w.Author.PEM())
	}
	with := func(s forge.Spec, edit func(forge.Object) forge.Node) *forge.Made {
		s.EditBody = edit
		return s.Make()
	}
	simple, message, attest := w.Spec(forge.Simple, w.V1), w.Spec(forge.Message, w.V1), w.Spec(forge.Attest, w.V1)
	attestV2 := w.Spec(forge.Attest, w.V2)
	old := message
	old.Version, old.Has = "0.1", forge.SETOnly
	m := attest.Make()
	intoto := func(envelope, payload []byte, k *forge.Key) func(forge.Object) forge.Node {
		return func(forge.Object) forge.Node { return forge.IntotoV1(envelope, payload, k.PEM()) }
	}
	envelope, other := forge.Encode(m.Envelope), []byte("another")
	good := intoto(envelope, m.Payload, w.Author)
	bad := is(verify.ErrBadProof)
	w.judge(t, []lie{
		{name: "rekord, annotation", tree: with(simple, rekord).Annotations(), read: readAnnotations},
		{name: "rekord of another format, annotation", want: bad, read: readAnnotations, tree: with(simple, func(o forge.Object) forge.Node {
			return forge.With(rekord(o), "pgp", "spec", "signature", "format")
		}).Annotations()},
		{name: "rekord, blob bundle", tree: forge.Without(with(message, rekord).Blob(), "cert"), read: readBlob},
		{name: "rekord, bundle", want: bad, tree: with(message, rekord).Bundle()},
		{name: "rekord, bundle 0.1", want: bad, tree: with(old, rekord).Bundle()},
		{name: "intoto 0.0.1, annotation", tree: with(attest, good).Annotations(), read: readAnnotations, v: ask},
		{name: "intoto 0.0.1 of another envelope, annotation", want: bad, tree: with(attest, intoto(other, m.Payload, w.Author)).Annotations(), read: readAnnotations, v: ask},
		{name: "intoto 0.0.1 of another payload, annotation", want: bad, tree: with(attest, intoto(envelope, other, w.Author)).Annotations(), read: readAnnotations, v: ask},
		{name: "intoto 0.0.1 of another key, annotation", want: bad, tree: with(attest, intoto(envelope, m.Payload, w.OtherAuthor)).Annotations(), read: readAnnotations, v: ask},
		{name: "intoto 0.0.1, bundle", want: bad, tree: with(attest, good).Bundle(), v: ask},
		{name: "intoto 0.0.1 for a message", want: bad, tree: with(message, intoto(envelope, w.Artifact, w.Author)).Bundle()},
		{name: "dsse 0.0.2", want: bad, v: ask, tree: with(attestV2, func(forge.Object) forge.Node {
			return forge.Object{"apiVersion": "0.0.2", "kind": "dsse", "spec": forge.Object{"dsseV002": forge.Object{
				"payloadHash": forge.Object{"algorithm": "SHA2_256", "digest": forge.Base64(digest(m.Payload))},
				"signatures": forge.Array{forge.Object{"content": forge.Base64(m.Signature), "verifier": forge.Object{
					"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": forge.Object{"rawBytes": forge.Base64(w.Author.SPKI)}}}},
			}}}
		}).Bundle()},
		{name: "another algorithm than the bundle's", want: bad, a: ptr(verify.Bytes(w.Artifact)), tree: with(message, func(forge.Object) forge.Node {
			sum := sha512.Sum512(w.Artifact)
			return forge.HashedRekordV1("sha512", sum[:], w.Spec(forge.Message).Make().Signature, w.Author.PEM())
		}).Bundle()},
		{name: "another type of PEM", want: bad, tree: with(message, func(o forge.Object) forge.Node {
			key := bytes.ReplaceAll(w.Author.PEM(), []byte("PUBLIC KEY"), []byte("EC PUBLIC KEY"))
			return forge.With(o, forge.Base64(key), "spec", "signature", "publicKey", "content")
		}).Bundle()},
		{name: "hashedrekord for a statement", want: bad, v: ask, tree: with(attest, func(forge.Object) forge.Node {
			return forge.HashedRekordV1("sha256", digest(forge.PAE(forge.InTotoType, m.Payload)), m.Signature, w.Author.PEM())
		}).Bundle()},
	})
}
