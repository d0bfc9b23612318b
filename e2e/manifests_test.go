//go:build kubernetes

package e2e

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// An API server that knows the resources of all engines takes every manifest, and knows every field in them.
func TestKubernetesManifests(t *testing.T) {
	s, ca := newShell(t), newTLSAuthority(t)
	s.file("ca.crt", ca.certificate)
	c := startCluster(s, ca)
	for _, engine := range args("gatekeeper-v3.23.1", "policy-controller-v0.13.1", "kyverno-v1.19.1", "ratify-v1.4.6", "cert-manager-v1.21.2") {
		definitions, err := filepath.Glob(filepath.Join(tool(t, "definitions-"+engine, "."), "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range definitions {
			if filepath.Base(d) != "values.yaml" {
				c.run(c.kubectl("create", "-f", d))
			}
		}
	}
	// The webhook that converts between the two versions of this kind is not here.
	c.run(c.kubectl("patch", "customresourcedefinition", "clusterimagepolicies.policy.sigstore.dev", "--type=json", `--patch=[{"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}}]`))
	c.run(c.kubectl("wait", "--for=condition=Established", "--all", "customresourcedefinitions", "--timeout="+patience.String()))
	c.run(c.kubectl("create", "namespace", "tallystick"))

	// What is no resource, or is of a kind that a template makes, and what other tests hold against the program that reads it.
	others := args("policy.yaml", "gatekeeper/values.yaml", "gatekeeper/constraint.yaml", "ratify/deployment.yaml")
	all := 0
	root := "../deploy/kubernetes"
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, _ := strings.CutPrefix(path, root+"/")
		if err != nil || d.IsDir() || slices.Contains(others, name) {
			return err
		}
		all++
		s.file("manifest.yaml", []byte(strings.NewReplacer("PUT-FULCIO-CHAIN-HERE", "eA==", "PUT-LOG-PUB-HERE", "eA==", "PUT-ROOT-JSON-HERE", "eA==").Replace(string(readFile(t, path)))))
		if out, messages, err := s.try(c.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "manifest.yaml")); err != nil {
			t.Errorf("%s: %v\n%s%s", name, err, out, messages)
		}
		return nil
	})
	if err != nil || all < 15 {
		t.Errorf("%v: %d manifests", err, all)
	}
}

// The settings for Gatekeeper are ones that its chart has.
func TestGatekeeperValues(t *testing.T) {
	var known, ours map[string]any
	for path, to := range map[string]*map[string]any{tool(t, "definitions-gatekeeper-v3.23.1", "values.yaml"): &known, "../deploy/kubernetes/gatekeeper/values.yaml": &ours} {
		if err := yaml.Unmarshal(readFile(t, path), to); err != nil {
			t.Fatal(err)
		}
	}
	for name := range ours {
		if _, ok := known[name]; !ok {
			t.Errorf("Gatekeeper's chart has no %s", name)
		}
	}
	if len(ours) == 0 {
		t.Error("there are none")
	}
}
