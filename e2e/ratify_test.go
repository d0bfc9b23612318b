//go:build kubernetes

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// ratify is Ratify's program, with the configuration that deploy/kubernetes/ratify has for a cluster.
type ratify struct{ *engines }

// config writes Ratify's configuration file for what its resources in the cluster say: a store, a verifier and a policy,
// each with its parameters. The key is a file.
func (r *ratify) config(name, key string) {
	r.t.Helper()
	text := deployed(r.t, "ratify/ratify.yaml", "https://log.example.com", r.log.url, "registry.example.com/*", r.registry.host+"/*", "/etc/tallystick/cosign.pub", r.path(key))
	parts := map[string]document{}
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var resource struct {
			Kind string
			Spec struct {
				Name, Type    string
				ArtifactTypes string `yaml:"artifactTypes"`
				Parameters    document
			}
		}
		err := decoder.Decode(&resource)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		part := resource.Spec.Parameters
		part["name"] = resource.Spec.Name
		switch resource.Kind {
		case "Store": // a registry without TLS, and a cache in the test's folder
			part["useHttp"], part["localCachePath"] = true, r.path("ratify-cache")
		case "Verifier":
			part["artifactTypes"] = resource.Spec.ArtifactTypes
		case "Policy":
			part["name"] = map[string]string{"config-policy": "configPolicy"}[resource.Spec.Type]
		}
		parts[resource.Kind] = part
	}
	config, err := json.Marshal(document{
		"executor": document{},
		"store":    document{"version": "1.0.0", "plugins": []document{parts["Store"]}},
		"policy":   document{"version": "1.0.0", "plugin": parts["Policy"]},
		"verifier": document{"version": "1.0.0", "plugins": []document{parts["Verifier"]}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.file(name, config)
}

// asks has Ratify judge an image, which it has to admit if there is no reason to refuse it. The variables are in its environment.
func (r *ratify) asks(config string, c candidate, refused []string, variables ...string) {
	r.t.Helper()
	out := r.with(r.t, variables...).run(args(tool(r.t, "ratify-v1.4.6", "ratify"), "verify", "-s", c.image.ref, "-c", config))
	var report struct{ IsSuccess bool } // the exit code is 0 whatever Ratify finds
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	if report.IsSuccess != (refused == nil) || !report.IsSuccess && !says(out, refused) {
		r.t.Errorf("%s with %s, image %s: admitted %v; want it refused for %q\n%s", config, variables, c, report.IsSuccess, refused, out)
	}
}

// logKey names a log's key as Ratify's deployment does.
func (r *ratify) logKey(name string) string { return "SIGSTORE_REKOR_PUBLIC_KEY=" + r.path(name) }

func newRatify(t *testing.T) *ratify {
	t.Helper()
	r := &ratify{newEngines(t)}
	r.config("ours.json", "cosign.pub")
	return r
}

// Ratify reads legacy signatures. It finds the log's key in cosign's environment variable only.
func TestRatify(t *testing.T) {
	r := newRatify(t)
	r.config("foreign.json", "foreign.pub")
	foreign := r.images[slices.IndexFunc(r.images, func(c candidate) bool { return c.name == "foreign log" && c.form == "legacy" })]
	r.file("broken.pub", []byte("not a key"))
	judge := func() {
		t.Helper()
		for _, c := range r.of("legacy") {
			r.asks("ours.json", c, c.refused, r.logKey("log.pub"))
		}
		r.asks("foreign.json", r.images[0], wrongKey, r.logKey("log.pub"))
		// The log's key is that of another log, or is none; without one it is looked for in Sigstore's public repository, which is away.
		r.asks("ours.json", r.images[0], wrongLog, r.logKey("foreign-log.pub"))
		r.asks("ours.json", foreign, nil, r.logKey("foreign-log.pub"))
		r.asks("ours.json", r.images[0], args("Failed to fetch Rekor public keys"), r.logKey("broken.pub"))
		r.asks("ours.json", r.images[0], args("Failed to fetch Rekor public keys"), r.logKey("none.pub"))
		r.asks("ours.json", r.images[0], args("Failed to fetch Rekor public keys"))
	}
	judge()
	r.log.stop()
	judge()
}

// The part of a Deployment that brings the log's key is one: the variable names the file that is mounted.
func TestRatifyDeployment(t *testing.T) {
	s := newShell(t)
	s.file("patch.yaml", deployed(t, "ratify/deployment.yaml"))
	s.file("deployment.yaml", []byte(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "ratify"}, "spec": {"selector": {}, "template": {
		"spec": {"containers": [{"name": "ratify", "image": "ratify", "env": [{"name": "A", "value": "b"}]}]}}}}`))
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Image        string
						Env          []struct{ Name, Value string }
						VolumeMounts []struct{ Name, MountPath string }
					}
					Volumes []struct {
						Name      string
						ConfigMap struct{ Name string }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(s.run(args(tool(t, "kubectl-v1.34.4", "kubectl"), "patch", "--local", "-f", "deployment.yaml", "--patch-file", "patch.yaml", "-o", "json"))), &d); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.Volumes) != 1 || pod.Volumes[0].ConfigMap.Name != "tallystick-log" {
		t.Fatalf("%+v", pod)
	}
	c := pod.Containers[0]
	if c.Image != "ratify" || len(c.Env) != 2 || len(c.VolumeMounts) != 1 || c.VolumeMounts[0].Name != pod.Volumes[0].Name ||
		!slices.Contains(c.Env, struct{ Name, Value string }{"SIGSTORE_REKOR_PUBLIC_KEY", c.VolumeMounts[0].MountPath + "/log.pub"}) {
		t.Errorf("%+v", c)
	}
}

func ratifySettings(t *testing.T) map[string]string {
	values := logAndImages(t, "IMAGE", "OTHER_IMAGE")
	values["PLAIN_HTTP"] = "true"
	return values
}
