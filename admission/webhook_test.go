package admission

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// What cosign signed and the log holds is admitted: by tag, pinned to its digest, and by digest. What is not logged is
// refused.
func TestSignedIsAdmitted(t *testing.T) {
	for _, f := range imageFixtures(t) {
		t.Run(f.Name, func(t *testing.T) {
			require := f.signers(t)
			if f.PredicateType != "" {
				require += fmt.Sprintf(", attestationsOnly: true, attestations: [{type: %q}]", f.PredicateType)
			}
			w := start(t, require, f)
			if !f.Logged {
				for _, path := range []string{"/mutate", "/validate"} {
					w.denies(t, path, w.app("@"+f.Digest), `rule "app"`, "will do", "the signature comes with none: it was not logged")
				}
				return
			}
			a := w.admits(t, "/mutate", w.app(":v1"))
			var patches []patch
			if err := json.Unmarshal(a.Response.Patch, &patches); err != nil {
				t.Fatal(err)
			}
			if want := (patch{"replace", "/spec/containers/0/image", w.app("@" + f.Digest)}); a.Response.PatchType != "JSONPatch" || len(patches) != 1 || patches[0] != want {
				t.Errorf("the patch is %s", a.Response.Patch)
			}
			for _, path := range []string{"/mutate", "/validate"} {
				for _, reference := range []string{"@" + f.Digest, ":v1@" + f.Digest, ":any@" + f.Digest} {
					if a := w.admits(t, path, w.app(reference)); a.Response.Patch != nil {
						t.Errorf("%s changes %s: %s", path, reference, a.Response.Patch)
					}
				}
			}
			w.denies(t, "/validate", w.app(":v1"), "no digest", "mutating webhook")
		})
	}
}

// Who is not named, or not in a log that is trusted, is refused, in words for people.
func TestRefusals(t *testing.T) {
	key, keyless := fixtureNamed(t, "image-legacy-key-cosign2"), fixtureNamed(t, "image-legacy-keyless-cosign2")
	bundle, attestation := fixtureNamed(t, "image-bundle-key-cosign3"), fixtureNamed(t, "attestation-legacy-key-cosign2")
	foreign := fmt.Sprintf("keys: [{pem: %q}]", readFixture(t, "p384.pub"))
	other := `identities: [{issuer: "https://issuer.example.com", subject: dev@example.com}]`
	spdx := `attestations: [{type: "https://spdx.dev/Document"}]`
	for name, c := range map[string]struct {
		require  string
		attached []fixture
		message  []string
	}{
		"unsigned":                        {key.signers(t), nil, []string{"no signature is attached", "never signed"}},
		"foreign key":                     {foreign, []fixture{key}, []string{"bad signature"}},
		"foreign key, bundle":             {foreign, []fixture{bundle}, []string{"no signature of it will do", "referrer sha256:"}},
		"foreign identity":                {other, []fixture{keyless}, []string{"identity mismatch"}},
		"key, identity wanted":            {other, []fixture{key, bundle}, []string{"a key signed, but the policy names identities"}},
		"identity, key wanted":            {key.signers(t), []fixture{keyless}, []string{"a certificate signed, but the policy names keys"}},
		"attestation for a signature":     {key.signers(t), []fixture{attestation}, []string{"no signature is attached"}},
		"signature for an attestation":    {key.signers(t) + ", attestationsOnly: true, " + spdx, []fixture{key}, []string{"no attestation of type https://spdx.dev/Document is attached"}},
		"the attestation is missing":      {key.signers(t) + ", " + spdx, []fixture{key, bundle}, []string{"no attestation of type https://spdx.dev/Document of it"}},
		"the signature is missing":        {key.signers(t) + ", " + spdx, []fixture{attestation}, []string{"no signature of it"}},
		"two logs are wanted":             {key.signers(t) + ", logEntries: 1, inclusionProofs: true", []fixture{keyless}, []string{"will do"}},
		"attestation by somebody else":    {key.signers(t) + `, attestations: [{type: "https://spdx.dev/Document", ` + foreign + `}]`, []fixture{key, attestation}, []string{"no attestation of type", "bad signature"}},
		"another type than what is there": {key.signers(t) + `, attestations: [{type: "https://cosign.sigstore.dev/attestation/vuln/v1"}]`, []fixture{key, attestation}, []string{"no attestation of type https://cosign.sigstore.dev/attestation/vuln/v1 of it is among"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, c.require, c.attached...)
			for range 2 { // nothing of it is remembered
				w.denies(t, "/mutate", w.app(":v1"), append(c.message, `container "c0"`, `rule "app"`)...)
				w.denies(t, "/validate", w.app("@"+key.Digest), c.message...)
			}
		})
	}
}

// A log that the trusted root does not name helps nobody.
func TestForeignLog(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	r.attach("test/app", f.Digest, f)
	for trust, denied := range map[string]bool{"logKeys: [log.pub]": false, "logKeys: [cosign.pub]": true} {
		w := startWorld(t, Config{Policy: mustParse(t, strings.Replace(r.ruleFor(f.signers(t)), "trustedRoots: [trusted_root.json]", trust, 1))})
		w.images = r
		if denied {
			w.denies(t, "/mutate", r.app(":v1"), "untrusted log")
		} else {
			w.admits(t, "/mutate", r.app(":v1"))
		}
	}
}

// Every place of every kind that can name an image is looked at, and pinned.
func TestEveryPlaceIsJudged(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for kind, path := range podSpecs {
		for member, what := range lists {
			object := func(image string) map[string]any {
				spec := podOf(w.app("@" + f.Digest))["spec"].(map[string]any)
				element := map[string]any{"name": "x", "image": image}
				if member == "volumes" {
					element["image"] = map[string]any{"reference": image, "pullPolicy": "IfNotPresent"}
					spec[member] = []any{map[string]any{"name": "v", "emptyDir": map[string]any{}}, element}
				} else if list, ok := spec[member].([]any); ok {
					spec[member] = append(list, element)
				} else {
					spec[member] = []any{map[string]any{"name": "y", "image": w.app("@" + f.Digest)}, element}
				}
				all := spec
				for i := len(path) - 2; i >= 0; i-- {
					all = map[string]any{path[i+1]: all}
				}
				return map[string]any{"apiVersion": kind.apiVersion(), "kind": kind.kind, "metadata": map[string]any{"name": "app"}, path[0]: all}
			}
			a := w.ask(t, "/mutate", reviewOf(kind, "CREATE", "default", object(w.app(":v1"))))
			pointer := "/" + strings.Join(path, "/") + "/" + member + "/1/image"
			if member == "volumes" {
				pointer += "/reference"
			}
			if kind.kind == "ReplicaSet" { // see TestReplicaSetsStayAsTheyAre
				pointer = ""
			}
			if want := fmt.Sprintf(`[{"op":"replace","path":%q,"value":%q}]`, pointer, w.app("@"+f.Digest)); !a.Response.Allowed || string(a.Response.Patch) != want && (pointer != "" || a.Response.Patch != nil) {
				t.Errorf("%v %s: allowed %v (%s), patch %s, not %s", kind, member, a.Response.Allowed, a.Response.Status.Message, a.Response.Patch, want)
			}
			for _, bad := range []string{w.host + "/test/other:v1", ""} {
				for _, endpoint := range []string{"/mutate", "/validate"} {
					a := w.ask(t, endpoint, reviewOf(kind, "CREATE", "default", object(bad)))
					if a.Response.Allowed || !strings.Contains(a.Response.Status.Message, what+` "x"`) {
						t.Errorf("%v %s, %s, %q: allowed %v: %q", kind, member, endpoint, bad, a.Response.Allowed, a.Response.Status.Message)
					}
				}
			}
		}
	}
}

// One image of many that may not run denies the object, and so does one of which nothing is known.
func TestOneOfMany(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	good := w.app("@" + f.Digest)
	a := w.ask(t, "/validate", reviewOf(podKind, "CREATE", "default", podOf(good, good, w.host+"/test/other@"+f.Digest, "nginx", w.app(":v1"))))
	m := a.Response.Status.Message
	if a.Response.Allowed || strings.Count(m, "image ") != 3 || !strings.Contains(m, "no rule of the policy is for docker.io/library/nginx") || !strings.Contains(m, `container "c4"`) {
		t.Errorf("allowed %v: %s", a.Response.Allowed, m)
	}
	if got := w.seen(); len(got) > 4 {
		t.Errorf("an image that is there twice was judged twice: %q", got)
	}
}

// An update starts nothing where name and image stay, and is judged where they do not.
func TestUpdates(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	update := func(before, after map[string]any, subResource string) answered {
		r := reviewOf(podKind, "UPDATE", "default", after)
		r.Request["oldObject"] = before
		r.Request["subResource"] = subResource
		return w.ask(t, "/mutate", r)
	}
	bad := "example.com/bad:v1"
	if a := update(podOf(bad), podOf(bad), ""); !a.Response.Allowed || a.Response.Patch != nil {
		t.Errorf("a pod that runs cannot be changed: %s", a.Response.Status.Message)
	}
	if a := update(podOf(w.app(":v1")), podOf(w.app(":v1")), ""); !a.Response.Allowed || a.Response.Patch != nil {
		t.Errorf("a pod that runs is restarted: %s", a.Response.Patch)
	}
	for name, after := range map[string]map[string]any{
		"another image": podOf("example.com/other:v1"), "one more": podOf(bad, bad), "none of it": podOf("example.com/bad:v2"),
	} {
		if a := update(podOf(bad), after, ""); a.Response.Allowed {
			t.Errorf("%s is admitted", name)
		}
	}
	debug := podOf(w.app("@" + f.Digest))
	debug["spec"].(map[string]any)["ephemeralContainers"] = []any{map[string]any{"name": "debugger", "image": bad}}
	if a := update(podOf(w.app("@"+f.Digest)), debug, "ephemeralcontainers"); a.Response.Allowed || !strings.Contains(a.Response.Status.Message, `ephemeral container "debugger"`) {
		t.Errorf("an ephemeral container is not judged: %s", a.Response.Status.Message)
	}
	moved := podOf(w.app("@" + f.Digest))
	moved["spec"].(map[string]any)["ephemeralContainers"] = []any{map[string]any{"name": "c0", "image": bad}}
	if a := update(podOf(bad), moved, "ephemeralcontainers"); a.Response.Allowed {
		t.Error("an ephemeral container passes for a container of the same name")
	}
	created := reviewOf(podKind, "CREATE", "default", podOf(bad))
	created.Request["oldObject"] = podOf(bad)
	if w.ask(t, "/validate", created).Response.Allowed {
		t.Error("what is created passes for what was there")
	}
	for _, old := range []any{nil, "garbage", map[string]any{}, map[string]any{"kind": "Pod"}} {
		r := reviewOf(podKind, "UPDATE", "default", podOf(bad))
		r.Request["oldObject"] = old
		if w.ask(t, "/validate", r).Response.Allowed {
			t.Errorf("with the old object %v it is admitted", old)
		}
	}
}

// What is not a request for a pod or its like is denied, not passed over.
func TestUnknownIsDenied(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	good := podOf(w.app("@" + f.Digest))
	for name, c := range map[string]struct {
		kind      groupKind
		operation string
		object    any
		message   string
	}{
		"another kind":        {groupKind{"", "v1", "Service"}, "CREATE", map[string]any{"apiVersion": "v1", "kind": "Service"}, "kind v1 Service are not known"},
		"another version":     {groupKind{"apps", "v1beta1", "Deployment"}, "CREATE", good, "apps/v1beta1 Deployment are not known"},
		"exec":                {groupKind{"", "v1", "PodExecOptions"}, "CONNECT", map[string]any{}, `operation "CONNECT"`},
		"delete":              {podKind, "DELETE", nil, `operation "DELETE"`},
		"no operation":        {podKind, "", good, `operation ""`},
		"no object":           {podKind, "CREATE", nil, "has no object"},
		"not an object":       {podKind, "CREATE", []any{}, "there is no object"},
		"empty":               {podKind, "CREATE", map[string]any{}, "is said to be a v1 Pod"},
		"another object":      {podKind, "CREATE", map[string]any{"apiVersion": "v1", "kind": "Service", "spec": map[string]any{}}, "and is a v1 Service"},
		"no spec":             {podKind, "CREATE", map[string]any{"apiVersion": "v1", "kind": "Pod"}, "has no spec"},
		"no template":         {groupKind{"apps", "v1", "Deployment"}, "CREATE", map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{}}, "has no /spec/template"},
		"spec is a list":      {podKind, "CREATE", map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": []any{}}, "'{'"},
		"containers are text": {podKind, "CREATE", map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": map[string]any{"containers": "x"}}, "'['"},
		"image is a number":   {podKind, "CREATE", map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": map[string]any{"containers": []any{map[string]any{"image": 1}}}}, "a string"},
		"too many images": {podKind, "CREATE", podOf(func() (all []string) {
			for i := range 65 {
				all = append(all, fmt.Sprintf("example.com/a%d", i))
			}
			return all
		}()...), "more than 64 images"},
	} {
		for _, path := range []string{"/mutate", "/validate"} {
			a := w.ask(t, path, reviewOf(c.kind, c.operation, "default", c.object))
			if a.Response.Allowed || !strings.Contains(a.Response.Status.Message, c.message) {
				t.Errorf("%s: %v %q", name, a.Response.Allowed, a.Response.Status.Message)
			}
		}
	}
	for _, body := range []string{"", "{}", "null", "[]", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}`, `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"x"}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"x","uid":"y"}}`, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"x"}} {}`} {
		if status, answer := w.post(t, "/validate", []byte(body)); status != 400 || strings.Contains(answer, "allowed") {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}

// References that runtimes and this program could read in different ways are refused.
func TestReferences(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	for _, bad := range []string{w.app("@" + f.Digest + "@" + f.Digest), w.app("@sha512:" + strings.Repeat("0", 128)), w.app("@" + strings.ToUpper(f.Digest)), w.host + "//test/app@" + f.Digest,
		w.host + "/test/../test/app@" + f.Digest, w.host + "/test/app/@" + f.Digest, " " + w.app("@"+f.Digest), w.app("@"+f.Digest) + "\n", "http://" + w.app("@"+f.Digest), w.host + "/Test/app@" + f.Digest,
		w.app("@" + f.Digest + "?x"), w.app("%2e@" + f.Digest), w.app(":v1:v2"), strings.Repeat("a", 600)} {
		for _, path := range []string{"/mutate", "/validate"} {
			if a := w.ask(t, path, reviewOf(podKind, "CREATE", "default", podOf(bad))); a.Response.Allowed || !strings.Contains(a.Response.Status.Message, "image reference") {
				t.Errorf("%q: allowed %v, %q", bad, a.Response.Allowed, a.Response.Status.Message)
			}
		}
	}
	if got := w.seen(); len(got) != 0 {
		t.Errorf("the registry was asked: %q", got)
	}
}

// In warn mode everything is admitted, what would be denied with a warning, and what is verified is pinned.
func TestWarnMode(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	r := startImages(t)
	r.attach("test/app", f.Digest, f)
	w := startWorld(t, Config{Policy: mustParse(t, r.ruleFor(f.signers(t))), Warn: true})
	a := w.ask(t, "/mutate", reviewOf(podKind, "CREATE", "default", podOf("nginx", r.app(":v1"))))
	if !a.Response.Allowed || len(a.Response.Warnings) != 1 || !strings.Contains(a.Response.Warnings[0], "would deny this: image nginx") || !strings.Contains(string(a.Response.Patch), f.Digest) {
		t.Errorf("%+v", a.Response)
	}
	a = w.ask(t, "/validate", reviewOf(groupKind{"", "v1", "Service"}, "CREATE", "default", map[string]any{}))
	if !a.Response.Allowed || len(a.Response.Warnings) != 1 {
		t.Errorf("%+v", a.Response)
	}
}
