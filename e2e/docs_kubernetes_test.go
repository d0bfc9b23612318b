//go:build kubernetes

package e2e

import (
	"maps"
	"slices"
	"testing"
)

// TestKubernetesGuides runs the guides that call programs of admission engines.
func TestKubernetesGuides(t *testing.T) {
	all := guides{
		"admit.md":   admitSettings,
		"kyverno.md": kyvernoSettings, "vulnerabilities.md": vulnerabilitiesSettings,
		"policy-controller.md": policyControllerSettings, "ratify.md": ratifySettings,
	}
	if names := slices.Sorted(maps.Keys(all)); !slices.Equal(names, engineGuides()) {
		t.Fatalf("TestGuideLinks takes %q for the guides that run here; these are %q", engineGuides(), names)
	}
	all.run(t, map[string]string{
		"kyverno": tool(t, "kyverno-v1.19.1", "kyverno"), "policy-controller-tester": tool(t, "policy-controller-v0.13.1", "tester"),
		"kubectl": tool(t, "kubectl-v1.34.4", "kubectl"),
		"ratify":  tool(t, "ratify-v1.4.6", "ratify"),
	})
}
