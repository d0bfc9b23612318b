package verify_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// What is not there proves nothing.
func TestNothing(t *testing.T) {
	w := newWorld(t)
	v, a := w.verifier(t, w.byKey()), verify.Bytes(w.Artifact)
	e := must(readBundle(w.Spec(forge.Message, w.V1).Make().Bundle()))
	var none *verify.Verifier
	for name, c := range map[string]struct {
		v *verify.Verifier
		e *verify.Evidence
		a verify.Artifact
	}{
		"no verifier":       {none, e, a},
		"an empty verifier": {&verify.Verifier{}, e, a},
		"no evidence":       {v, nil, a},
		"empty evidence":    {v, &verify.Evidence{}, a},
		"no artifact":       {v, e, verify.Artifact{}},
	} {
		if r, err := c.v.Verify(c.e, c.a); r != nil || !is(verify.ErrPolicy, verify.ErrMalformed).match(err) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if v, err := verify.New(nil, w.byKey(), verify.Options{}); v != nil || !errors.Is(err, verify.ErrPolicy) {
		t.Errorf("no trust: %v", err)
	}
	p := w.byKey()
	p.SignedTimestamps = 1
	if v, err := verify.New(w.trust, p, verify.Options{}); v != nil || !errors.Is(err, verify.ErrPolicy) {
		t.Errorf("timestamps, and nothing to check them with: %v", err)
	}
}

// Of several signatures, one has to pass.
func TestVerifyAny(t *testing.T) {
	w := newWorld(t)
	v, a := w.verifier(t, w.byKey()), verify.Bytes(w.Artifact)
	good := must(readBundle(w.Spec(forge.Message, w.V1).Make().Bundle()))
	other := w.Spec(forge.Message, w.V1)
	other.Artifact = w.OtherArtifact
	wrong, foreign := must(readBundle(other.Make().Bundle())), must(readBundle(w.Spec(forge.Message, w.ForeignV1).Make().Bundle()))
	for _, c := range []struct {
		name string
		all  []*verify.Evidence
		at   int
		want error
	}{
		{"none", nil, -1, verify.ErrPolicy},
		{"a good one", []*verify.Evidence{good}, 0, nil},
		{"a good one last", []*verify.Evidence{wrong, foreign, good}, 2, nil},
		{"wrong ones", []*verify.Evidence{wrong, foreign}, -1, verify.ErrWrongArtifact},
		{"foreign ones", []*verify.Evidence{foreign, wrong, nil}, -1, verify.ErrUntrustedLog},
		{"nil", []*verify.Evidence{nil}, -1, verify.ErrMalformed},
	} {
		r, at, err := v.VerifyAny(c.all, a)
		if at != c.at || !errors.Is(err, c.want) || (r == nil) != (c.want != nil) {
			t.Errorf("%s: %+v, %d, %v", c.name, r, at, err)
		}
	}
}

// What a policy says beyond thresholds is kept.
func TestPolicyIsKept(t *testing.T) {
	w := newWorld(t)
	with := func(change func(*verify.Policy)) *verify.Verifier {
		p := w.byKey()
		change(&p)
		return w.verifier(t, p)
	}
	old := changedSpec(w.Spec(forge.Message, w.V1), func(s *forge.Spec) { s.Version, s.Has = "0.1", forge.SETOnly }).Make()
	v2 := w.Spec(forge.Message, w.V2)
	cosigned := v2
	cosigned.Witnesses = w.Witnesses
	stamped := v2
	stamped.Stamp = append(stamped.Stamp, stamp(w.tsas[0], w.Now))
	logUntil := func(end string, p verify.Policy) *verify.Verifier {
		root := forge.With(w.root, end, "tlogs", 1, "publicKey", "validFor", "end")
		return must(verify.New(w.trustIn(t, root), p, verify.Options{Timestamps: tokens{}}))
	}
	at := func(when time.Time) verify.Policy { p := w.byKey(); p.Time = when; return p }
	before, after := w.Now.Add(-time.Second).Format(time.RFC3339), w.Now.Add(time.Second).Format(time.RFC3339)
	untrusted := is(verify.ErrUntrustedLog)
	w.judge(t, []lie{
		{name: "SET alone", tree: old.Bundle()},
		{name: "SET alone, and a proof is demanded", want: is(verify.ErrPolicy), tree: old.Bundle(), v: with(func(p *verify.Policy) { p.InclusionProofs = true })},
		{name: "annotation, and a proof is demanded", want: is(verify.ErrPolicy), read: readAnnotations, tree: w.Spec(forge.Simple, w.V1).Make().Annotations(),
			v: with(func(p *verify.Policy) { p.InclusionProofs = true })},
		{name: "proof, and a proof is demanded", tree: w.Spec(forge.Message, w.V1).Make().Bundle(), v: with(func(p *verify.Policy) { p.InclusionProofs = true })},
		{name: "cosigned then", tree: cosigned.Make().Bundle(), v: with(func(p *verify.Policy) { p.Witnesses, p.Time = w.quorum(2), w.Now })},
		{name: "cosigned later", want: is(verify.ErrExpired), tree: cosigned.Make().Bundle(),
			v: with(func(p *verify.Policy) { p.Witnesses, p.Time = w.quorum(2), w.Now.Add(-time.Second) })},
		{name: "v2 log, timestamp in its time", tree: stamped.Make().Bundle(), v: logUntil(after, w.byKey())},
		{name: "v2 log, timestamp after its time", want: untrusted, tree: stamped.Make().Bundle(), v: logUntil(before, w.byKey())},
		{name: "v2 log, asked in its time", tree: v2.Make().Bundle(), v: logUntil(after, at(w.Now))},
		{name: "v2 log, asked after its time", want: untrusted, tree: v2.Make().Bundle(), v: logUntil(before, at(w.Now))},
		{name: "v2 log, SET of a v1 log after its time", want: untrusted, tree: w.Spec(forge.Message, w.V1, w.V2).Make().Bundle(), v: logUntil(before, w.byKey())},
		{name: "blob bundle that names its key", tree: w.Spec(forge.Message, w.V1).Make().Blob(), read: readBlob},
		{name: "blob bundle that names another key", want: is(verify.ErrIdentity, verify.ErrBadSignature), read: readBlob,
			tree: forge.With(w.Spec(forge.Message, w.V1).Make().Blob(), forge.Base64(w.OtherAuthor.PEM()), "cert")},
	})
}

// A result from the cache is that of the same question, and of no other.
func TestCacheAsked(t *testing.T) {
	w := newWorld(t)
	cache := verify.NewCache(10)
	v := must(verify.New(w.trust, w.byKey(), verify.Options{Cache: cache}))
	e := must(readBundle(w.Spec(forge.Message, w.V1).Make().Bundle()))
	first, err := v.Verify(e, verify.Bytes(w.Artifact))
	if err != nil {
		t.Fatal(err)
	}
	again, err := v.Verify(must(readBundle(w.Spec(forge.Message, w.V1).Make().Bundle())), verify.Bytes(w.Artifact))
	if err != nil || !reflect.DeepEqual(again.Claims, first.Claims) {
		t.Errorf("asked again: %+v, not %+v, %v", again, first, err)
	}
	if _, err := v.Verify(e, verify.Bytes(w.OtherArtifact)); !errors.Is(err, verify.ErrWrongArtifact) {
		t.Errorf("another artifact: %v", err)
	}
	other := must(verify.New(w.trust, verify.Policy{Keys: []verify.PublicKey{{PEM: w.OtherAuthor.PEM()}}}, verify.Options{Cache: cache}))
	if _, err := other.Verify(e, verify.Bytes(w.Artifact)); !is(verify.ErrBadSignature, verify.ErrIdentity).match(err) {
		t.Errorf("another policy: %v", err)
	}
	root := forge.With(w.root, forge.Array{w.ForeignV1.TrustedRoot(w.Start, time.Time{})}, "tlogs")
	elsewhere := must(verify.New(w.trustIn(t, root), w.byKey(), verify.Options{Cache: cache}))
	if _, err := elsewhere.Verify(e, verify.Bytes(w.Artifact)); !errors.Is(err, verify.ErrUntrustedLog) {
		t.Errorf("another trust: %v", err)
	}
	// Every altered bundle is another question too.
	for _, s := range w.samples(t) {
		cached := *s
		p := w.byKey()
		if s.name != "v1 proof, key, bundle 0.3" {
			continue
		}
		cached.v = must(verify.New(w.trust, p, verify.Options{Cache: cache}))
		for _, path := range forge.Paths(s.tree) {
			if hint.MatchString(path.String()) {
				continue
			}
			for _, variant := range s.variants(path) {
				err, ok := cached.attempt(variant.tree)
				if ok && err == nil {
					t.Errorf("%s, %s: accepted from the cache", path, variant.name)
				}
			}
		}
	}
}

// Who comes with too little reads what is wanted and what there was, and, of nothing at all, what may have happened.
func TestShortfalls(t *testing.T) {
	w := newWorld(t)
	v1, v2 := w.Spec(forge.Message, w.V1), w.Spec(forge.Message, w.V2)
	stamped := func(at ...time.Time) forge.Node {
		return changedSpec(v1, func(s *forge.Spec) {
			for _, at := range at {
				s.Stamp = append(s.Stamp, stamp(w.tsas[0], at))
			}
		}).Make().Bundle()
	}
	logs := func(n int) func(*verify.Policy) { return func(p *verify.Policy) { p.LogEntries = n } }
	stamps := func(n int) func(*verify.Policy) { return func(p *verify.Policy) { p.SignedTimestamps = n } }
	cosigned := changedSpec(v2, func(s *forge.Spec) { s.Witnesses = w.Witnesses[:1] }).Make().Bundle()
	one := v1.Make().Bundle()
	twice := forge.With(one, forge.Array{forge.Get(one, entry()...), w.again(v1.Make())}, material, entries)
	for _, c := range []struct {
		tree   forge.Node
		policy func(*verify.Policy)
		want   string
	}{
		{forge.Without(one, material, entries), logs(1), "policy not met: log entries: the policy demands 1, and the signature comes with none: it was not logged, or what the log answered was not kept"},
		{one, logs(2), "policy not met: log entries: the policy demands 2, and the signature comes with 1"},
		{twice, logs(2), "policy not met: log entries: the policy demands 2 of different logs, and the signature comes with those of 1"},
		{one, stamps(1), "policy not met: signed timestamps: the policy demands 1, and the signature comes with none: it was not timestamped, or the timestamp was not kept"},
		{stamped(w.Now), stamps(2), "policy not met: signed timestamps: the policy demands 2, and the signature comes with 1"},
		{stamped(w.Now, w.Now.Add(time.Second)), stamps(2), "policy not met: signed timestamps: the policy demands 2 by different authorities, and the signature comes with those by 1"},
		{cosigned, func(p *verify.Policy) { p.Witnesses = w.quorum(2) }, `missing cosignatures: quorum: the policy demands "all", and 1 of 3 witnesses cosigned the checkpoint`},
	} {
		v := w.verifier(t, changedPolicy(w.byKey(), c.policy))
		if _, err := v.Verify(must(readBundle(c.tree)), verify.Bytes(w.Artifact)); err == nil || err.Error() != c.want {
			t.Errorf("%v\nnot %s", err, c.want)
		}
	}
}
