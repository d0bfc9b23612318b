package entry

import (
	"strings"
	"testing"
)

// The targets share one property, checkAny, and differ in their seeds: one for each
// kind, and one for canonical bodies.

func fuzzKind(f *testing.F, kind string) {
	for name, v := range vectors(f) {
		if strings.Contains(name, kind) {
			f.Add([]byte(v.ProposedEntry))
		}
	}
	fuzzAny(f)
}

func fuzzAny(f *testing.F) {
	p := newParser(f)
	f.Fuzz(func(t *testing.T, raw []byte) { checkAny(t, p, raw) })
}

func FuzzProposeHashedRekord(f *testing.F) { fuzzKind(f, "hashedrekord") }
func FuzzProposeIntoto001(f *testing.F)    { fuzzKind(f, "intoto-0.0.1") }
func FuzzProposeIntoto002(f *testing.F)    { fuzzKind(f, "intoto-0.0.2") }
func FuzzProposeDSSE(f *testing.F)         { fuzzKind(f, "dsse") }
func FuzzProposeRekord(f *testing.F)       { fuzzKind(f, "rekord-x509") }

func FuzzCommitted(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.CanonicalBody))
	}
	fuzzAny(f)
}

func FuzzLookup(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.ProposedEntry))
		f.Add([]byte(v.CanonicalBody))
	}
	p := newParser(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := p.Lookup(raw)
		again, err2 := p.Lookup(raw)
		if h != again || (err == nil) != (err2 == nil) {
			t.Errorf("%v, %v, then %v, %v", h, err, again, err2)
		}
	})
}

func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"subject":[{"digest":{"sha256":"ab"}}],"predicate":{"materials":[{"digest":{"x":"y"}}]}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var s keySet
		s.statement(inTotoType, payload)
		for _, k := range s.keys {
			if _, ok := searchable(k.Type, k.Value); !ok {
				t.Errorf("key %q cannot be asked for", k.Value)
			}
		}
	})
}
