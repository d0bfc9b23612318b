package admission

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
)

// What is read of an AdmissionReview is what encoding/json reads, no panic comes of it, and each image that an object
// names where a pod has images is found.
func FuzzAdmissionReview(f *testing.F) {
	for _, namespace := range []string{"default", ""} {
		f.Add(toJSONText(f, reviewOf(podKind, "CREATE", namespace, podOf("nginx", "ghcr.io/a/b:c"))))
	}
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"x","kind":{"group":"batch","version":"v1","kind":"CronJob"},"operation":"CREATE","object":{"apiVersion":"batch/v1","kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{"volumes":[{"name":"v","image":{"reference":"a"}}]}}}}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseReview(data)
		if err != nil {
			return
		}
		uses, err := findImages(v.object, v.kind, 10)
		if err != nil {
			return
		}
		if v.kind != podKind {
			return
		}
		var review struct {
			Request struct {
				Object struct {
					Spec struct {
						Containers, InitContainers, EphemeralContainers []struct{ Image string }
						Volumes                                         []struct{ Image *struct{ Reference string } }
					}
				}
			}
		}
		if json.Unmarshal(data, &review) != nil {
			return // encoding/json folds case, and so may see other members
		}
		found := func(image string) bool {
			return slices.ContainsFunc(uses, func(u use) bool { return u.image == image })
		}
		exact := !bytes.ContainsAny(data, `\`) && bytes.Equal(data, bytes.ToValidUTF8(data, nil))
		spec := review.Request.Object.Spec
		for _, c := range slices.Concat(spec.Containers, spec.InitContainers, spec.EphemeralContainers) {
			if exact && c.Image != "" && !found(c.Image) && bytes.Contains(data, []byte(`"image"`)) && !foldedMembers(data) {
				t.Errorf("the image %q is not found", c.Image)
			}
		}
		for _, u := range uses {
			if u.image == "" || u.pointer == "" {
				t.Errorf("%+v", u)
			}
		}
	})
}

// foldedMembers reports whether there may be a member that encoding/json takes for another one.
func foldedMembers(data []byte) bool {
	for _, exact := range []string{"image", "containers", "initContainers", "ephemeralContainers", "spec", "object", "request"} {
		folded := bytes.Count(bytes.ToLower(data), bytes.ToLower([]byte(`"`+exact+`"`)))
		if folded != bytes.Count(data, []byte(`"`+exact+`"`)) {
			return true
		}
	}
	return bytes.ContainsAny(data, "ſK") // which fold to s and k
}

func FuzzProviderRequest(f *testing.F) {
	f.Add(providerRequest("nginx", "ghcr.io/a/b@sha256:00"))
	f.Add(providerRequest())
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseProviderRequest(data, 10)
		if err == nil && len(keys) > 10 {
			t.Errorf("%d keys", len(keys))
		}
	})
}

// A policy that is taken has rules, each of which either allows or requires something.
func FuzzPolicy(f *testing.F) {
	root := readFixture(f, "trusted_root.json")
	f.Add([]byte("trustedRoots: [a]\nexemptNamespaces: [kube-system]\nrules:\n" + goodRule))
	f.Add([]byte("logKeys: [a]\nrules:\n- {name: a, images: [a.b/*], require: {identities: [{issuer: a, subject: b}], attestations: [{type: 'https://a', maxAge: 1h}]}}\n- {name: b, images: ['**'], allow: true}"))
	if example, err := os.ReadFile("../deploy/kubernetes/policy.yaml"); err == nil {
		f.Add(example)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy(data, PolicyOptions{Read: func(_ string, limit int64) ([]byte, error) {
			if int64(len(root)) > limit {
				return nil, errors.New("too large")
			}
			return root, nil
		}})
		if err != nil {
			return
		}
		if len(p.rules) == 0 {
			t.Error("there are no rules")
		}
		for _, r := range p.rules {
			if r.allow == (len(r.requires) > 0) || r.allow == (r.kinds != 0) || len(r.patterns) == 0 || r.name == "" {
				t.Errorf("%+v", r)
			}
			for _, q := range r.requires {
				if q.verifier == nil || q.what == "" {
					t.Errorf("%+v", q)
				}
			}
		}
	})
}

// What is taken for a reference has a name that reads back to itself, and the digest that it names.
func FuzzImage(f *testing.F) {
	for _, s := range []string{"nginx", "ghcr.io/a/b:c", "localhost:5000/a@sha256:6970ef51f54a3e4f7a5ccd707d95be3077298a0f68b1ebb25c124d38f6a78ad6", "a.b/c__d/e-f:G@sha256:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := parseImage(s)
		if err != nil {
			return
		}
		again, err := parseImage(repositoryName(ref.Context()) + ":x")
		if err != nil || again.Context().Name() != ref.Context().Name() {
			t.Errorf("%q: %v, %v", s, again, err)
		}
	})
}

// Credentials that are found are of one entry, and bad input is an error and no panic.
func FuzzCredentials(f *testing.F) {
	f.Add([]byte(`{"auths":{"ghcr.io":{"auth":"YTpi"},"https://index.docker.io/v1/":{"username":"c","password":"d"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := findCredentials(data, "ghcr.io"); err == nil && c != nil && !bytes.Contains(data, []byte("auths")) && !bytes.Contains(data, []byte(`\u`)) {
			t.Errorf("%+v", c)
		}
	})
}
