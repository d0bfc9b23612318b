//go:build kubernetes

package e2e

import (
	"encoding/json"
	"testing"
)

// Ratify reads legacy signatures. It finds the log's key in cosign's environment variable only.
func TestRatify(t *testing.T) {
	e := newEngines(t)
	config := func(name, key string) {
		t.Helper()
		text, err := json.Marshal(document{
			"executor": document{},
			"store": document{"version": "1.0.0", "plugins": []document{
				{"name": "oras", "useHttp": true, "cosignEnabled": true, "localCachePath": e.path("ratify-cache")}}},
			"policy": document{"version": "1.0.0", "plugin": document{
				"name": "configPolicy", "artifactVerificationPolicies": document{"default": "any"}}},
			"verifier": document{"version": "1.0.0", "plugins": []document{
				{"name": "cosign", "artifactTypes": "application/vnd.dev.cosign.artifact.sig.v1+json", "trustPolicies": []document{
					{"name": "ours", "scopes": args(e.registry.host + "/*"), "keys": []document{{"file": e.path(key)}}, "tLogVerify": true, "rekorURL": e.log.url}}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		e.file(name, text)
	}
	config("ours.json", "cosign.pub")
	config("foreign.json", "foreign.pub")
	asks := func(config, logKey string, c candidate, refused []string) {
		t.Helper()
		out := e.with(t, "SIGSTORE_REKOR_PUBLIC_KEY="+e.path(logKey)).run(args(tool(t, "ratify-v1.4.6", "ratify"), "verify", "-s", c.image.ref, "-c", config))
		var report struct{ IsSuccess bool } // the exit code is 0 whatever Ratify finds
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if report.IsSuccess != (refused == nil) || !report.IsSuccess && !says(out, refused) {
			t.Errorf("%s with %s, image %s: admitted %v; want it refused for %q\n%s", config, logKey, c, report.IsSuccess, refused, out)
		}
	}
	judge := func() {
		t.Helper()
		for _, c := range e.of("legacy") {
			asks("ours.json", "log.pub", c, c.refused)
		}
		asks("foreign.json", "log.pub", e.images[0], wrongKey)
		asks("ours.json", "foreign-log.pub", e.images[0], wrongLog)
	}
	judge()
	e.log.stop()
	judge()
}
