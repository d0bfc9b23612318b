package entry

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
)

// What is described of a canonical body is what Rekor indexes it by.
func TestDescribe(t *testing.T) {
	p := newParser(t)
	for name, v := range vectors(t) {
		if strings.HasSuffix(name, refusedVector) {
			continue
		}
		body := []byte(v.CanonicalBody)
		d, err := p.Describe(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		info, err := p.Committed(body)
		if err != nil || d.Kind != info.Kind || d.Version != info.Version || d.Attestation != info.Attestation {
			t.Errorf("%s: described %s %s, attestation %v; Committed says %+v, error %v", name, d.Kind, d.Version, d.Attestation, info, err)
		}
		if kind, version := p.Kind(body); kind != d.Kind || version != d.Version {
			t.Errorf("%s: kind is %q %q", name, kind, version)
		}
		var keys []tlog.Key
		of := map[string]int{}
		for _, g := range d.Digests {
			keys = append(keys, KeyTerm(tlog.KeyDigest, g.String())...)
			of[g.Of]++
		}
		for _, s := range d.Signers {
			if s.Key == nil || s.Problem != "" || !slices.Equal(s.PEM, s.Key.PEM) && d.Kind != "intoto" {
				t.Errorf("%s: the key %q was not read: %s", name, s.PEM, s.Problem)
				continue
			}
			if (s.Signature == nil) != (d.Kind == "intoto" && d.Version == "0.0.1") {
				t.Errorf("%s: the signature is %x", name, s.Signature)
			}
			var set keySet
			set.signer(s.Key)
			keys = append(keys, set.keys...)
		}
		if !slices.Equal(tlog.SortKeys(keys), tlog.SortKeys(info.Keys)) {
			t.Errorf("%s: described are %q, indexed are %q", name, keys, info.Keys)
		}
		want := map[string]string{"hashedrekord": "artifact", "rekord": "artifact", "dsse": "payload envelope"}[d.Kind]
		for _, w := range strings.Fields(want) {
			if of[w] != 1 {
				t.Errorf("%s: has %d digests of its %s", name, of[w], w)
			}
		}
		if d.Kind == "intoto" && (of[OfPayload] != 1 || of[OfEnvelope] != map[string]int{"0.0.1": 1, "0.0.2": 0}[d.Version]) {
			t.Errorf("%s: digests are %v", name, d.Digests)
		}
		if (d.PayloadType != "") != (d.Version == "0.0.2") {
			t.Errorf("%s: payload type is %q", name, d.PayloadType)
		}
	}
}

// Bodies that an imported log may hold: a key that cannot be read, unknown kinds,
// and damaged ones.
func TestDescribeStrange(t *testing.T) {
	p := newParser(t)
	pem := base64.StdEncoding.EncodeToString([]byte("not a key"))
	body := `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"` + strings.Repeat("0a", 32) +
		`"}},"signature":{"content":"AQI=","publicKey":{"content":"` + pem + `"}}}}`
	d, err := p.Describe([]byte(body))
	if err != nil || len(d.Signers) != 1 || d.Signers[0].Key != nil || string(d.Signers[0].PEM) != "not a key" || d.Signers[0].Problem == "" ||
		hex.EncodeToString(d.Signers[0].Signature) != "0102" || len(d.Digests) != 1 || d.Digests[0].String() != "sha256:"+strings.Repeat("0a", 32) {
		t.Errorf("got %+v, error %v", d, err)
	}
	for body, want := range map[string]struct {
		kind, version string
		fails         bool
	}{
		`{"apiVersion":"0.0.1","kind":"helm","spec":{}}`:         {"helm", "0.0.1", false},
		`{"apiVersion":"9.9.9","kind":"dsse","spec":{}}`:         {"dsse", "9.9.9", false},
		`{"apiVersion":"0.0.1","kind":"dsse","spec":{}}`:         {"dsse", "0.0.1", true},
		`{"apiVersion":"0.0.1","kind":"no such kind","spec":{}}`: {"no such kind", "0.0.1", true},
		`{"apiVersion":"0.0.1","kind":"dsse"`:                    {"", "", true},
		``:                                                       {"", "", true},
		`[]`:                                                     {"", "", true},
	} {
		d, err := p.Describe([]byte(body))
		if d.Kind != want.kind || d.Version != want.version || (err != nil) != want.fails {
			t.Errorf("%s: %q %q, error %v", body, d.Kind, d.Version, err)
		}
		if kind, version := p.Kind([]byte(body)); kind != d.Kind || version != d.Version {
			t.Errorf("%s: kind is %q %q", body, kind, version)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	for name, v := range vectors(f) {
		if !strings.HasSuffix(name, refusedVector) {
			f.Add([]byte(v.CanonicalBody))
		}
	}
	p := newParser(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := p.Describe(body)
		info, err2 := p.Committed(body)
		if d.Kind != info.Kind || d.Version != info.Version || err != nil && err2 == nil {
			t.Errorf("described as %q %q, error %v; committed as %q %q, error %v", d.Kind, d.Version, err, info.Kind, info.Version, err2)
		}
		if err == nil && d.Attestation != info.Attestation {
			t.Errorf("attestations are %v and %v", d.Attestation, info.Attestation)
		}
	})
}
