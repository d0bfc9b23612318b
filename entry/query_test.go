package entry

import (
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
)

func TestHashTerm(t *testing.T) {
	hex := strings.Repeat("aB", 64)
	for in, want := range map[string]string{
		hex[:40]: "sha1:" + hex[:40], "sha1:" + hex[:40]: "sha1:" + hex[:40],
		hex[:64]: "sha256:" + hex[:64], "SHA256:" + hex[:64]: "sha256:" + hex[:64],
		hex[:96]: "sha384:" + hex[:96], "sha384:" + hex[:96]: "sha384:" + hex[:96],
		hex: "sha512:" + hex, "sha512:" + hex: "sha512:" + hex,
		"": "", ":": "", "sha256:": "", hex[:62]: "", "sha256:" + hex: "", "md5:" + hex[:32]: "", hex[:32]: "", ":" + hex[:64]: "",
		strings.Repeat("z", 64): "", "sha256:sha256:" + hex[:64]: "",
	} {
		got, err := HashTerm(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v", in, got)
			}
			continue
		}
		want = strings.ToLower(want)
		keys := []tlog.Key{{Type: tlog.KeyDigest, Value: want}}
		if bare, ok := strings.CutPrefix(want, "sha256:"); ok {
			keys = append(keys, tlog.Key{Type: tlog.KeyPublicKey, Value: bare})
		}
		if err != nil || !slices.Equal(got, keys) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, keys)
		}
	}
}

func TestSubjectTerm(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for in, want := range map[string][]tlog.Key{
		"Alice@Example.com": {{Type: tlog.KeyIdentity, Value: "alice@example.com"}},
		"HTTPS://x/Y":       {{Type: tlog.KeyIdentity, Value: "https://x/y"}, {Type: tlog.KeyDigest, Value: "https://x/y"}},
		"gitCommit:AB":      {{Type: tlog.KeyIdentity, Value: "gitcommit:ab"}, {Type: tlog.KeyDigest, Value: "gitcommit:ab"}},
		hash:                {{Type: tlog.KeyIdentity, Value: hash}, {Type: tlog.KeyPublicKey, Value: hash}},
		"sha256:" + hash: {{Type: tlog.KeyIdentity, Value: "sha256:" + hash}, {Type: tlog.KeyDigest, Value: "sha256:" + hash},
			{Type: tlog.KeyPublicKey, Value: hash}},
		"": nil, "a\x00b": nil, "\xff": nil, strings.Repeat("a", tlog.MaxKeyValue+1): nil,
	} {
		if got := SubjectTerm(in); !slices.Equal(got, want) {
			t.Errorf("%.50q: %v, want %v", in, got, want)
		}
	}
	if got := EmailTerm("A@b.C"); !slices.Equal(got, []tlog.Key{{Type: tlog.KeyIdentity, Value: "a@b.c"}}) {
		t.Errorf("e-mail: %v", got)
	}
	if got := EmailTerm("\x00"); got != nil {
		t.Errorf("e-mail: %v", got)
	}
}

func TestPublicKeyTerm(t *testing.T) {
	p, s := newParser(t), testSigner(t, "ecdsa-p256")
	got, err := p.PublicKeyTerm("x509", []byte("\r\n"+s.pem))
	want := []tlog.Key{{Type: tlog.KeyPublicKey, Value: "374721da35655d26616c96913c9e9219aebb137b97adead6cce337880de60e70"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	_, err = p.PublicKeyTerm("pgp", []byte(s.pem))
	wantError(t, err, NotEnabled, 400)
	_, err = p.PublicKeyTerm("x509", []byte("x"))
	wantError(t, err, Invalid, 400)
}

// TestFindable: an entry of every kind is found by its key, its artifact and its
// names, however the v1 API can ask for them.
func TestFindable(t *testing.T) {
	p := newParser(t)
	for name, v := range vectors(t) {
		got, err := p.Propose(v.ProposedEntry)
		if err != nil {
			continue
		}
		for _, rekor := range v.IndexKeysSorted {
			term := SubjectTerm(rekor)
			if byHash, err := HashTerm(rekor); err == nil {
				term = byHash
			}
			if !slices.ContainsFunc(term, func(k tlog.Key) bool { return slices.Contains(got.Leaf.Keys, k) }) {
				t.Errorf("%s: not found by %q (%v)", name, rekor, term)
			}
		}
	}
}
