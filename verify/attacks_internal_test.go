package verify

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"slices"
	"testing"

	"github.com/tallystick/tallystick/sig"
)

// A digest was computed each time that it was asked for. Now each one is computed once, of the artifact and of
// whatever else was signed.
func TestAttackDigestsAgain(t *testing.T) {
	const content = "content"
	s384, s512, s256 := sha512.Sum384([]byte(content)), sha512.Sum512([]byte(content)), sha256.Sum256([]byte(content))
	want := map[string][]byte{"sha256": s256[:], "sha384": s384[:], "sha512": s512[:]}
	check := func(name string, d func() *digests) {
		t.Helper()
		for algorithm, w := range want {
			first, ok := d().sum(algorithm)
			second, again := d().sum(algorithm)
			if !ok || !again || !bytes.Equal(first, w) {
				t.Errorf("%s: %s is %x, not %x", name, algorithm, first, w)
			} else if &first[0] != &second[0] {
				t.Errorf("%s: %s was computed twice", name, algorithm)
			}
		}
	}
	payload := &proving{e: &Evidence{form: simpleSigning, payload: []byte(content)}}
	check("payload", payload.message)
	artifact := &proving{e: &Evidence{form: messageSignature}, a: digests{artifact: Bytes([]byte(content))}}
	check("artifact", artifact.message)
	pae := sig.PAE("type", []byte(content))
	s384, s512, s256 = sha512.Sum384(pae), sha512.Sum512(pae), sha256.Sum256(pae)
	envelope := &proving{e: &Evidence{form: statement, envelope: &sig.Envelope{PayloadType: "type", Payload: []byte(content)}}}
	check("envelope", envelope.message)

	d := digests{artifact: SHA256(s256)}
	for _, algorithm := range []string{"sha384", "sha512", "sha1", ""} {
		if got, ok := d.sum(algorithm); ok {
			t.Errorf("the %s of a SHA-256 is %x", algorithm, got)
		}
	}
}

// The CT logs in a result were the trust's own.
func TestAttackSharedCTLogs(t *testing.T) {
	ca, ct := newTestCA(t, nil), newTestCTLog(t, newTestKey(t))
	trust := mustTrust(t, Material{CTLogs: []Log{ct.log}})
	key, issuer := newTestKey(t).Public(), ca.chain[0]
	list := sctList(t, ct.sct(t, withList(t, ca, key, nil), issuer, signedAt, ""))
	leaf := withList(t, ca, key, list)
	want, err := ct.log.Key.SPKIHash()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		logs, err := trust.checkSCTs(leaf, issuer, 1)
		if err != nil || !slices.Equal(logs[0].ID, want[:]) {
			t.Fatalf("%v, %v", logs, err)
		}
		clear(logs[0].ID)
		*logs[0] = Log{Valid: Window{End: signedAt.AddDate(-1, 0, 0)}}
	}
}
