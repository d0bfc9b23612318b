package verify_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// orderly sees that an error is one of package verify's, of a class that is not ErrInternal.
func orderly(t *testing.T, err error) {
	t.Helper()
	var e *verify.Error
	if err == nil {
		return
	}
	if !errors.As(err, &e) || errors.Is(err, verify.ErrInternal) || len(err.Error()) > 4096 {
		t.Fatalf("%T: %v", err, err)
	}
}

// addFiles adds files of testdata as seeds.
func addFiles(f *testing.F, add func([]byte), patterns ...string) {
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(names) == 0 {
			f.Fatalf("no seeds like %s: %v", pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			add(data)
		}
	}
}

// Whatever the bytes, reading a bundle ends well, and judging what was read too.
func FuzzParseBundle(f *testing.F) {
	w := newWorld(f)
	var asked []*verify.Verifier
	for _, p := range []verify.Policy{w.byKey(), w.byIdentity(), {Keys: w.byKey().Keys, PredicateType: forge.Predicate}} {
		asked = append(asked, w.verifier(f, p))
	}
	for _, s := range w.samples(f) {
		if _, ok := s.tree.(forge.Object)["mediaType"]; ok {
			f.Add(forge.Encode(s.tree))
		}
	}
	addFiles(f, func(b []byte) { f.Add(b) }, "public-good/*.json", "cosign/*-bundle-*.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := verify.ParseBundle(data)
		if err != nil {
			orderly(t, err)
			if !errors.Is(err, verify.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		for _, v := range asked {
			_, err := v.Verify(e, verify.SHA256(sha256.Sum256(w.Artifact)))
			orderly(t, err)
		}
	})
}

// The same of a signature in cosign's older forms.
func FuzzParseCosign(f *testing.F) {
	w := newWorld(f)
	key, identity := w.verifier(f, w.byKey()), w.verifier(f, w.byIdentity())
	for _, s := range w.samples(f) {
		o := s.tree.(forge.Object)
		switch {
		case o["payload"] != nil:
			f.Add(content(o, "payload"), text(o, "dev.cosignproject.cosign/signature"), text(o, "dev.sigstore.cosign/certificate"), text(o, "dev.sigstore.cosign/chain"),
				content(o, "dev.sigstore.cosign/bundle"), content(o, "dev.sigstore.cosign/rfc3161timestamp"))
		case o["rekorBundle"] != nil:
			f.Add([]byte(nil), "", "", "", forge.Encode(s.tree), []byte(nil))
		}
	}
	addFiles(f, func(b []byte) { f.Add([]byte(nil), "", "", "", b, []byte(nil)) }, "cosign/blob-legacy-*.json")
	f.Fuzz(func(t *testing.T, payload []byte, signature, certificate, chain string, bundle, timestamp []byte) {
		read := []func() (*verify.Evidence, error){
			func() (*verify.Evidence, error) {
				return verify.ParseCosign(verify.CosignSignature{Payload: payload, Signature: signature, Certificate: certificate, Chain: chain,
					Bundle: string(bundle), Timestamp: string(timestamp)})
			},
			func() (*verify.Evidence, error) { return verify.ParseCosignBlob(bundle, timestamp) },
		}
		for _, parse := range read {
			e, err := parse()
			if err != nil {
				orderly(t, err)
				continue
			}
			for _, v := range []*verify.Verifier{key, identity} {
				_, err := v.Verify(e, verify.SHA256(sha256.Sum256(w.Artifact)))
				orderly(t, err)
			}
		}
	})
}

// The same of log entries, alone and as a log's answer to a search.
func FuzzParseEntry(f *testing.F) {
	w := newWorld(f)
	trusts := []*verify.Trust{w.trust, parseTrust(f, readFile(f, "testdata", "rekor", "trusted-root.json")), parseTrust(f, readFile(f, "testdata", "cosign", "trusted_root.json"))}
	for _, s := range w.samples(f) {
		if entry := s.tree.(forge.Object)["entry"]; entry != nil {
			f.Add(forge.Encode(entry))
			f.Add(forge.Encode(forge.Array{entry, entry}))
		}
	}
	addFiles(f, func(b []byte) { f.Add(b) }, "cosign/*.entry.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := verify.ParseEntries(data, 4)
		orderly(t, err)
		if len(all) > 4 {
			t.Fatalf("%d entries", len(all))
		}
		e, err := verify.ParseEntry(data)
		orderly(t, err)
		if err == nil {
			all = append(all, e)
		}
		for _, e := range all {
			for _, trust := range trusts {
				p, err := trust.VerifyEntry(e)
				orderly(t, err)
				if err == nil && !p.SET && p.Checkpoint == nil {
					t.Fatal("nothing was proved")
				}
			}
		}
	})
}

// A good bundle that was changed is accepted only if all that it says is still what good
// bundles say.
func FuzzVerifyMutated(f *testing.F) {
	w := newWorld(f)
	var all []*sample
	known := map[string]bool{}
	for _, s := range w.samples(f) {
		if _, ok := s.tree.(forge.Object)["mediaType"]; ok {
			all = append(all, s)
			maps.Copy(known, parts(s.tree))
		}
	}
	for i := range all {
		for seed := range uint64(8) {
			f.Add(uint8(i), seed, []byte(nil))
		}
		f.Add(uint8(i), uint64(0), forge.Encode(all[i].tree))
	}
	f.Fuzz(func(t *testing.T, which uint8, seed uint64, data []byte) {
		s := all[int(which)%len(all)]
		good := forge.Encode(s.tree)
		if data == nil {
			r := rand.New(rand.NewPCG(seed, 0))
			if seed%2 == 0 {
				data = forge.MutateBytes(r, good)
			} else {
				data = forge.Encode(forge.Mutate(r, s.tree, all[r.IntN(len(all))].tree))
			}
		}
		e, err := verify.ParseBundle(data)
		if err == nil {
			_, err = s.v.Verify(e, s.a)
		}
		orderly(t, err)
		if err == nil && !says(data, known) {
			t.Errorf("%s: accepted:\n%s\nfor:\n%s", s.name, data, good)
		}
	})
}

// parts takes a bundle apart into what stands for itself: content, signer, certificates, entries,
// their SETs and their proofs, and timestamps. What says nothing is left away: the hint, an
// empty key ID, signature lines (those of the log were verified), the form of ECDSA
// signatures, and which of the versions it is that have the same members.
func parts(bundle forge.Node) map[string]bool {
	all := map[string]bool{}
	add := func(name string, n forge.Node) { all[name+" "+string(forge.Encode(n))] = true }
	for name, n := range object(bundle) {
		switch name {
		case "mediaType":
		case material:
			for name, n := range object(n) {
				switch name {
				case "publicKey":
					add(name, forge.Without(n, "hint"))
				case "certificate":
					add("certificate", n)
				case "x509CertificateChain":
					for _, c := range array(object(n)["certificates"]) {
						add("certificate", c)
					}
				case entries:
					for _, e := range array(n) {
						entryParts(e, add)
					}
				case "timestampVerificationData":
					for _, t := range array(object(n)["rfc3161Timestamps"]) {
						add("timestamp", t)
					}
				default:
					add(name, n)
				}
			}
		case "dsseEnvelope":
			if id, ok := forge.LookUp(n, "signatures", 0, "keyid"); ok && id == "" {
				n = forge.Without(n, "signatures", 0, "keyid")
			}
			add(name, n)
		default:
			add(name, n)
		}
	}
	return all
}

func entryParts(e forge.Node, add func(string, forge.Node)) {
	if set, ok := forge.LookUp(e, promise, "signedEntryTimestamp"); ok {
		if text, ok := set.(string); ok {
			set = canonical(text)
		}
		add("SET of "+string(forge.Encode(object(e)["logIndex"])), set)
	}
	if p := object(e)[proof]; p != nil {
		if note, ok := forge.LookUp(p, "checkpoint", "envelope"); ok {
			text, _ := note.(string)
			text, _, _ = strings.Cut(text, "\n\n")
			p = forge.With(p, text, "checkpoint", "envelope")
		}
		add("proof of "+string(forge.Encode(object(e)["canonicalizedBody"])), p)
	}
	add("entry", forge.Without(forge.Without(e, promise), proof))
}

func object(n forge.Node) forge.Object { o, _ := n.(forge.Object); return withoutNulls(o) }
func array(n forge.Node) forge.Array   { a, _ := n.(forge.Array); return a }

func withoutNulls(o forge.Object) forge.Object {
	o = maps.Clone(o)
	maps.DeleteFunc(o, func(_ string, n forge.Node) bool { return n == nil })
	return o
}

// says reports whether all that a bundle says is among what is known.
func says(data []byte, known map[string]bool) bool {
	n, err := forge.Decode(data)
	if err != nil || !distinct(data) {
		return false
	}
	for part := range parts(n) {
		if !known[part] {
			return false
		}
	}
	return true
}

// canonical returns one of the two forms of an ECDSA signature in base64.
func canonical(text string) string {
	der, err := decode(text)
	if err != nil {
		return text
	}
	other := forge.Base64(mirror(der))
	return min(text, other)
}

func decode(text string) (der []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("not ECDSA")
		}
	}()
	der = forge.Bytes(forge.Object{"x": text}, "x")
	mirror(der)
	return der, nil
}

// distinct reports whether no object in data names a member twice.
func distinct(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	var walk func() bool
	walk = func() bool {
		token, err := d.Token()
		if err != nil {
			return err == io.EOF
		}
		switch token {
		case json.Delim('{'):
			names := map[string]bool{}
			for d.More() {
				name, err := d.Token()
				if err != nil || names[name.(string)] {
					return false
				}
				names[name.(string)] = true
				if !walk() {
					return false
				}
			}
			_, err = d.Token()
		case json.Delim('['):
			for d.More() {
				if !walk() {
					return false
				}
			}
			_, err = d.Token()
		}
		return err == nil
	}
	return walk()
}
