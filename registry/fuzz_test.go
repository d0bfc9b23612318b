package registry

import (
	"errors"
	"testing"

	"github.com/tallystick/tallystick/verify"
)

// Whatever a registry sends as a manifest or a list, reading it ends in parts within the limits, or in
// a refusal, and so does reading a layer.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"layers":[{"mediaType":"a","size":12,"digest":"sha256:00","annotations":{"dev.cosignproject.cosign/signature":"AAAA","dev.sigstore.cosign/bundle":"{}","x":1}}]}`,
		`{"manifests":[{"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"sha256:00","size":1},{"artifactType":null},{}]}`,
		`{"layers":null,"manifests":[{"annotations":null,"size":-1}]}`,
		`{"layers":[{"size":1e9}]}`, `{"layers":[[]]}`, `[]`, ``,
	} {
		f.Add([]byte(seed), []byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}`))
	}
	f.Fuzz(func(t *testing.T, manifest, payload []byte) {
		layers, n, err := readParts(manifest, "layers", func(part) bool { return true })
		checkRefusal(t, err)
		if len(layers) > MaxAttached || len(layers) > n || err != nil && layers != nil {
			t.Fatalf("%d of %d layers, %v", len(layers), n, err)
		}
		found, skipped, err := readReferrers(manifest)
		checkRefusal(t, err)
		if len(found) > MaxAttached || skipped < 0 || err != nil && found != nil {
			t.Fatalf("%d referrers, %d skipped, %v", len(found), skipped, err)
		}
		for _, layer := range layers {
			for _, read := range []func(part, []byte) (*verify.Evidence, error){readSignature, readAttestation} {
				e, err := read(layer, payload)
				checkRefusal(t, err)
				if (e == nil) == (err == nil) {
					t.Fatalf("%v and %v", e, err)
				}
			}
		}
	})
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, verify.ErrMalformed) {
		t.Fatalf("not a refusal: %v", err)
	}
}
