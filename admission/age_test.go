package admission

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
)

// attested is a server, and an image in its registry of which a key attested something.
type attested struct {
	*world
	image string
	clock *clock
	made  forge.Spec
	forge *forge.World
}

const vuln = "https://cosign.sigstore.dev/attestation/vuln/v1"

// startAttested makes one with that predicate, that a log saw a minute ago. The policy demands nothing but the attestation, with these fields
// beside its type.
func startAttested(t *testing.T, predicate map[string]any, fields string) *attested {
	t.Helper()
	f := forge.NewWorld()
	s := f.Spec(forge.Attest, f.V1)
	s.Artifact = readFixture(t, "image.json")
	s.EditPayload = func(p forge.Object) forge.Node {
		p["predicateType"] = vuln
		node, err := forge.Decode(toJSONText(t, predicate))
		if err != nil {
			t.Fatal(err)
		}
		p["predicate"] = node
		return p
	}
	a := &attested{made: s, forge: f, clock: &clock{now: s.Time.Add(time.Minute)}}
	r := startImages(t)
	a.image = r.app(fmt.Sprintf("@sha256:%x", sha256.Sum256(s.Artifact)))
	text := fmt.Sprintf("trustedRoots: [root]\nrules:\n- name: app\n  images: [%q]\n  require: {keys: [{pem: %q}], attestationsOnly: true, attestations: [{type: %q%s}]}\n",
		r.host+"/test/app", f.Author.PEM(), vuln, fields)
	root := forge.Encode(f.TrustedRoot(nil))
	p, err := ParsePolicy([]byte(text), PolicyOptions{Read: func(string, int64) ([]byte, error) { return root, nil }})
	if err != nil {
		t.Fatal(err)
	}
	a.world = startWorld(t, Config{Policy: p, Now: a.clock.time})
	a.images = r
	a.attachBundle(t)
	return a
}

// attachBundle attaches the attestation as it was logged at the recipe's time, and nothing else.
func (a *attested) attachBundle(t *testing.T) {
	t.Helper()
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	r := a.images
	layer := r.blob("test/app", forge.Encode(a.made.Make().Bundle()))
	layer["mediaType"] = bundleType
	manifest := toJSONText(t, part{"schemaVersion": 2, "artifactType": bundleType, "config": r.blob("test/app", []byte("{}")), "layers": []part{layer}})
	digest := r.put("test/app", "", manifestType, manifest)
	const indexType = "application/vnd.oci.image.index.v1+json"
	_, image, _ := strings.Cut(a.image, "@")
	r.put("test/app", strings.Replace(image, ":", "-", 1), indexType, toJSONText(t, part{"schemaVersion": 2, "mediaType": indexType,
		"manifests": []part{{"digest": digest, "artifactType": bundleType, "size": len(manifest), "mediaType": manifestType}}}))
}

// What a key attested is as old as it says itself: whoever has it can log it again, and then it has a young entry.
func TestSignedTime(t *testing.T) {
	at := func(t time.Time) map[string]any {
		return map[string]any{"metadata": map[string]any{"scanFinishedOn": t.UTC().Format(time.RFC3339)}}
	}
	logged := forge.NewWorld().Now
	const fields = ", maxAge: 168h, signedTime: /metadata/scanFinishedOn"
	a := startAttested(t, at(logged), fields)
	a.admits(t, "/validate", a.image)
	a.clock.advance(168 * time.Hour)
	a.denies(t, "/validate", a.image, "attestation of type "+vuln, "longer ago than 168h")
	a.made.Time = a.clock.time() // somebody logs it again
	a.attachBundle(t)
	a.denies(t, "/validate", a.image, "longer ago than 168h")

	for name, c := range map[string]struct {
		predicate map[string]any
		want      string
	}{
		"future":     {at(logged.Add(10 * time.Minute)), "its signed time, 2026-07-01T00:10:00Z, is in the future"},
		"old":        {at(logged.Add(-169 * time.Hour)), "longer ago than 168h"},
		"none":       {map[string]any{"metadata": map[string]any{}}, "there is none"},
		"elsewhere":  {map[string]any{"scanFinishedOn": at(logged)["metadata"].(map[string]any)["scanFinishedOn"]}, "there is none"},
		"no text":    {map[string]any{"metadata": map[string]any{"scanFinishedOn": map[string]any{}}}, "not a text"},
		"null":       {map[string]any{"metadata": map[string]any{"scanFinishedOn": nil}}, "not a text"},
		"a date":     {map[string]any{"metadata": map[string]any{"scanFinishedOn": "2026-07-01"}}, "is not a time such as"},
		"a long one": {map[string]any{"metadata": map[string]any{"scanFinishedOn": "2026-07-01T00:00:00." + strings.Repeat("0", 1000) + "Z"}}, "not a time"},
		"a list":     {map[string]any{"metadata": []any{}}, "there is none"},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAttested(t, c.predicate, fields)
			a.denies(t, "/validate", a.image, c.want)
		})
	}
}

// A certificate binds a signature to the minutes that a log proves; the time in the attestation has to hold too, if it is asked for.
func TestSignedTimeOfIdentities(t *testing.T) {
	spdx := fixtureNamed(t, "attestation-legacy-keyless-cosign2")
	r := startImages(t)
	r.attach("test/app", spdx.Digest, spdx)
	c := &clock{now: loggedAt(t, spdx).Add(time.Minute)}
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(spdx.signers(t)+", attestationsOnly: true, attestations: [{type: 'https://spdx.dev/Document', maxAge: 1h, signedTime: /creationInfo/created}]")), Now: c.time})
	w.images = r
	w.denies(t, "/validate", w.app("@"+spdx.Digest), "the time in its predicate, /creationInfo/created: there is none")
	c.advance(time.Hour)
	w.denies(t, "/validate", w.app("@"+spdx.Digest), "longer ago than 1h")
}

func FuzzPointer(f *testing.F) {
	f.Add("/metadata/scanFinishedOn", `{"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}`)
	f.Add("/~0~1/", `{"~/":{"":"2026-01-01T00:00:00Z"}}`)
	f.Add("/a", `{"a":"2026-01-01T00:00:00Z","a":"2027-01-01T00:00:00Z"}`)
	f.Add("/a/b", `{"a":[{"b":null}]}`)
	f.Fuzz(func(t *testing.T, text, data string) {
		p, err := parsePointer(text)
		if err != nil {
			if p != nil {
				t.Fatal(p)
			}
			return
		}
		if p.String() != text {
			t.Fatalf("%q is %q", text, p.String())
		}
		if at, err := p.read([]byte(data)); (err != nil) != at.IsZero() {
			t.Fatalf("%v %v", at, err)
		}
	})
}
