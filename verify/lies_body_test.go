package verify_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

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
	if v, ok := forge.LookUp(s.donors["another"], path...); ok && !bytes.Equal(forge.Encode(v), forge.Encode(old)) {
		put("another's", v)
	}
	return all
}
