package verify_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// A nil trust made VerifyCheckpoint panic, and a key that is a nil pointer NewTrust.
func TestAttackMoreNil(t *testing.T) {
	w := newWorld(t)
	noTrust := (*verify.Trust)(nil)
	for name, f := range map[string]func() error{
		"VerifyCheckpoint v1": func() error { _, err := noTrust.VerifyCheckpoint([]byte(w.V1.Checkpoint(2)), nil); return err },
		"VerifyCheckpoint v2": func() error { _, err := noTrust.VerifyCheckpoint([]byte(w.V2.Checkpoint(2)), nil); return err },
		"NewTrust": func() error {
			_, err := verify.NewTrust(verify.Material{Logs: []verify.Log{{Key: &sig.Key{Public: (*ecdsa.PublicKey)(nil)}}}})
			return err
		},
		"Explain": func() error { return errors.New((*verify.Result)(nil).Explain(verify.Claim{})) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if fault := recover(); fault != nil {
					t.Error(fault)
				}
			}()
			if f() == nil {
				t.Error("no error")
			}
		})
	}
}

// What package note calls malformed was of class ErrBadProof.
func TestAttackMoreMalformedNotes(t *testing.T) {
	w := newWorld(t)
	good := w.V2.Checkpoint(3)
	body, _, _ := strings.Cut(good, "\n\n")
	for name, note := range map[string]string{
		"without signature lines": body + "\n\n",
		"with a line of nothing":  good + "\n",
		"with a plus in a name":   good + "— a+b AAAAAAA=\n",
		"with a space in a name":  good + "— a\u00a0b AAAAAAA=\n",
	} {
		if _, err := w.trust.VerifyCheckpoint([]byte(note), nil); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Error texts were as long as strangers made them.
func TestAttackMoreLongErrors(t *testing.T) {
	w := newWorld(t)
	san := must(asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 6, Bytes: append([]byte("http://"), bytes.Repeat([]byte("%zz"), 15000)...)}}))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: w.Start, NotAfter: w.Now,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}}
	der := must(x509.CreateCertificate(nil, template, template, w.Author.Public(), w.Author.Signer))
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	typed := append(pem.EncodeToMemory(&pem.Block{Type: strings.Repeat("A", 20000), Bytes: der[:10]}), "-----BEGIN PUBLIC KEY-----"...)
	bundle, blob, image := w.Keyless(forge.Message, w.V1).Make().Bundle(), w.Keyless(forge.Message, w.V1).Make().Blob(), w.Keyless(forge.Simple, w.V1).Make().Annotations()
	second := func(_ any, err error) error { return err }
	entry := func(change func(*verify.Entry)) error {
		e := must(verify.ParseEntry(forge.Encode(w.Spec(forge.Message, w.V1).Make().Entries[0].API())))
		change(e)
		_, err := w.trust.VerifyEntry(e)
		return err
	}
	for name, err := range map[string]error{
		"certificate in a bundle":       second(readBundle(forge.With(bundle, forge.Base64(der), material, "certificate", "rawBytes"))),
		"certificate in a blob":         second(readBlob(forge.With(blob, forge.Base64(certificate), "cert"))),
		"certificate in an annotation":  second(readAnnotations(forge.With(image, string(certificate), "dev.sigstore.cosign/certificate"))),
		"type of PEM in a blob":         second(readBlob(forge.With(blob, forge.Base64(typed), "cert"))),
		"origin of a checkpoint":        second(w.trust.VerifyCheckpoint([]byte(w.V1.SignCheckpoint(strings.Repeat("\U000e0001", 250)+" - 99999999999999999999\n1\n"+forge.Base64(make([]byte, 32))+"\n")), nil)),
		"log ID of a program's entry":   entry(func(e *verify.Entry) { e.LogID = make([]byte, 1<<20) }),
		"entry ID of a program's entry": entry(func(e *verify.Entry) { e.UUID = strings.Repeat("\n", 1<<20) }),
	} {
		if err == nil || len(err.Error()) > 1024 {
			text := fmt.Sprint(err)
			t.Errorf("%s: %d bytes: %.100s", name, len(text), text)
		}
	}
}

// The subject's name is the other part of a result that strangers make large.
func TestAttackMoreCacheMemory(t *testing.T) {
	w := newWorld(t)
	asked := 0
	v := must(verify.New(w.trust, attested(w.byKey()), verify.Options{Timestamps: counting{&asked}, Cache: verify.NewCache(8)}))
	e := must(readBundle(changedSpec(w.Spec(forge.Attest, w.V1), func(s *forge.Spec) {
		s.Stamp = append(s.Stamp, stamp(w.tsas[0], w.Now))
		s.EditPayload = func(o forge.Object) forge.Node {
			return forge.With(o, strings.Repeat("n", 1<<20), "subject", 0, "name")
		}
	}).Make().Bundle()))
	for range 2 {
		must(v.Verify(e, verify.Bytes(w.Artifact)))
	}
	if asked != 2 {
		t.Error("a result with a name of 1 MiB is remembered")
	}
}

// A result's predicate was the evidence's payload: to change it changed the next verdict on the (immutable) evidence.
func TestAttackMoreSharedPredicate(t *testing.T) {
	w := newWorld(t)
	v := w.verifier(t, attested(w.byKey()))
	e := must(readBundle(w.Spec(forge.Attest, w.V1).Make().Bundle()))
	r := must(v.Verify(e, verify.Bytes(w.Artifact)))
	clear(r.Statement.Predicate)
	if _, err := v.Verify(e, verify.Bytes(w.Artifact)); err != nil {
		t.Error(err)
	}
}

// All results and checkpoints shared one copy of the log.
func TestAttackMoreSharedLog(t *testing.T) {
	w := newWorld(t)
	b := w.Spec(forge.Message, w.V1).Make().Bundle()
	v := w.verifier(t, w.byKey())
	ask := func() *verify.Result { return must(v.Verify(must(readBundle(b)), verify.Bytes(w.Artifact))) }
	first := ask()
	first.Entries[0].Log = verify.Log{BaseURL: "https://evil.example.test"}
	if r := ask(); r.Times[0].By != "https://v1.log.example.test" || r.Entries[0].Log.Key == nil {
		t.Errorf("the next result is by %q", r.Times[0].By)
	}
	c := must(w.trust.VerifyCheckpoint([]byte(w.V1.Checkpoint(3)), nil))
	if err := verify.VerifyConsistency(c, c, nil); err != nil {
		t.Error(err)
	}
}

// A cosignature could be of a time that no calendar has.
func TestAttackMoreCosignatureTime(t *testing.T) {
	w := newWorld(t)
	late := forge.NewWitness(w.Witnesses[0].Name, time.Unix(1<<62, 0))
	s := changedSpec(w.Spec(forge.Message, w.V2), func(s *forge.Spec) { s.Witnesses = []*forge.Witness{late} })
	v := w.verifier(t, changedPolicy(w.byKey(), func(p *verify.Policy) { p.Witnesses = w.quorum(1) }))
	if r, err := v.Verify(must(readBundle(s.Make().Bundle())), verify.Bytes(w.Artifact)); err == nil {
		t.Error(r.Entries[0].Checkpoint.Cosignatures)
	}
}
