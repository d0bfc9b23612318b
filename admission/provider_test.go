package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// providerRequest is what Gatekeeper sends.
func providerRequest(keys ...string) []byte {
	data, err := json.Marshal(map[string]any{"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest", "request": map[string]any{"keys": keys}})
	if err != nil {
		panic(err)
	}
	return data
}

// provided is a ProviderResponse as Gatekeeper reads it.
type provided struct {
	APIVersion, Kind string
	Response         struct {
		Idempotent bool
		Items      []struct {
			Key, Error string
			Value      any
		}
		SystemError string
	}
}

func (w *world) provide(t testing.TB, path string, keys ...string) provided {
	t.Helper()
	return w.provideRaw(t, path, providerRequest(keys...))
}

func (w *world) provideRaw(t testing.TB, path string, body []byte) (p provided) {
	t.Helper()
	_, answer := w.post(t, path, body)
	if err := json.Unmarshal([]byte(answer), &p); err != nil || p.APIVersion != providerVersion || p.Kind != "ProviderResponse" {
		t.Fatalf("%s: %v: %s", path, err, answer)
	}
	return p
}

// Gatekeeper is told, for each key, what was proved, or why not; and for mutation, the image by its digest.
func TestProvider(t *testing.T) {
	f, keyless := fixtureNamed(t, "image-legacy-key-cosign2"), fixtureNamed(t, "image-legacy-keyless-cosign2")
	for _, f := range []fixture{f, keyless} {
		w := start(t, f.signers(t), f)
		good, tag, unsigned := w.app("@"+f.Digest), w.app(":v1"), w.app("@sha256:"+strings.Repeat("0", 64))
		keys := []string{unsigned, good, "nginx", tag, good}
		got := w.provide(t, "/gatekeeper/verify", keys...)
		if got.Response.SystemError != "" || !got.Response.Idempotent || len(got.Response.Items) != 4 {
			t.Fatalf("%+v", got)
		}
		for _, item := range got.Response.Items {
			want := map[string]string{unsigned: "no signature is attached", "nginx": "no rule", tag: "no digest"}[item.Key]
			if item.Key != good {
				if item.Value != nil || want == "" || !strings.Contains(item.Error, want) {
					t.Errorf("%+v", item)
				}
				continue
			}
			value, _ := item.Value.(map[string]any)
			if item.Error != "" || value["digest"] != f.Digest || value["image"] != good || value["rule"] != "app" || value["exempt"] != false {
				t.Fatalf("%+v", item)
			}
			proof := value["proofs"].([]any)[0].(map[string]any)
			entry := proof["entries"].([]any)[0].(map[string]any)
			if _, ok := entry["logIndex"].(float64); !ok || entry["log"] == "" {
				t.Errorf("the log entry is %v", entry)
			}
			if f.Key != "" && !strings.HasPrefix(fmt.Sprint(proof["key"]), "sha256:") || f.Key == "" && (proof["subject"] != f.Identity || proof["issuer"] != f.Issuer) {
				t.Errorf("the signer is %v", proof)
			}
		}
		got = w.provide(t, "/gatekeeper/pin", keys...)
		for _, item := range got.Response.Items {
			if slices.Contains([]string{good, tag}, item.Key) != (item.Value == good) || (item.Value == nil) != (item.Error != "") {
				t.Errorf("%+v", item)
			}
		}
	}
}

// Whatever goes wrong as a whole is a systemError, and never an answer without errors.
func TestProviderRefuses(t *testing.T) {
	f := fixtureNamed(t, "image-legacy-key-cosign2")
	w := start(t, f.signers(t), f)
	var many []string
	for i := range 65 {
		many = append(many, fmt.Sprintf("example.com/a%d", i))
	}
	for name, body := range map[string][]byte{
		"empty": nil, "no JSON": []byte("x"), "another version": []byte(`{"apiVersion":"externaldata.gatekeeper.sh/v1alpha1","kind":"ProviderRequest","request":{"keys":[]}}`),
		"a response": []byte(`{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderResponse"}`), "keys twice": []byte(`{"request":{"keys":[],"keys":[]}}`),
		"too many": providerRequest(many...), "too large": providerRequest(strings.Repeat("x", 8<<20)),
	} {
		if got := w.provideRaw(t, "/gatekeeper/verify", body); got.Response.SystemError == "" || len(got.Response.Items) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for range w.server.limits.Requests {
		if _, ok := w.server.requests.tryTake(1); !ok {
			t.Fatal("a place is missing")
		}
	}
	if got := w.provide(t, "/gatekeeper/verify", "nginx"); !strings.Contains(got.Response.SystemError, "too many requests") {
		t.Errorf("%+v", got)
	}
	if status, body := w.post(t, "/validate", toJSONText(t, reviewOf(podKind, "CREATE", "default", podOf("x")))); status != 429 || strings.Contains(body, "allowed") {
		t.Errorf("%d %s", status, body)
	}
}
