package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// What calls the admission server is told of an authority that outlasts the server's certificate, and stays good when it
// is itself renewed.
func TestAdmissionCertificates(t *testing.T) {
	issuers, certificates := map[string]any{}, map[string]any{}
	for _, d := range documents(t, "admit.yaml") {
		name, _ := member(d, "metadata", "name").(string)
		switch d["kind"] {
		case "Issuer":
			issuers[name] = d["spec"]
		case "Certificate":
			certificates[name] = d["spec"]
		}
	}
	leaf := certificates["tallystick-admit"]
	issuer, _ := member(leaf, "issuerRef", "name").(string)
	secret := member(issuers[issuer], "ca", "secretName")
	var ca any
	for _, c := range certificates {
		if member(c, "secretName") == secret && secret != nil {
			ca = c
		}
	}
	if member(ca, "isCA") != true || member(leaf, "isCA") != nil || member(leaf, "secretName") == secret {
		t.Errorf("the issuer %q of the certificate is no authority of its own: %v", issuer, ca)
	}
	if name, _ := member(ca, "issuerRef", "name").(string); member(issuers[name], "selfSigned") == nil {
		t.Errorf("the authority is not its own, but by %q", name)
	}
	if member(ca, "privateKey", "rotationPolicy") != "Never" {
		t.Error("the authority gets a new key when it is renewed: what it issued before is then refused")
	}
	long, renewed := duration(t, ca, "duration"), duration(t, leaf, "duration")-duration(t, leaf, "renewBefore")
	if long < 5*365*24*time.Hour || renewed <= 0 || renewed > 90*24*time.Hour {
		t.Errorf("the authority is valid for %v, and the certificate is renewed every %v", long, renewed)
	}
	for _, d := range documents(t, "webhooks.yaml") {
		if from := member(d, "metadata", "annotations", "cert-manager.io/inject-ca-from"); from != "tallystick/tallystick-admit" && from != "tallystick/tallystick-admit-ca" {
			t.Errorf("%v has the authority of %v", d["kind"], from)
		}
	}
}

func duration(t *testing.T, v any, path ...any) time.Duration {
	t.Helper()
	text, _ := member(v, path...).(string)
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Errorf("%v: %v", path, err)
	}
	return d
}

// Gatekeeper denies when the admission server is slow or away: the server answers before a Provider's timeout, and that comes
// before the API server stops to wait for Gatekeeper, which has to be a refusal too.
func TestGatekeeperFailsClosed(t *testing.T) {
	var told time.Duration
	for _, d := range documents(t, "admit.yaml") {
		if d["kind"] != "Deployment" {
			continue
		}
		for _, arg := range member(d, "spec", "template", "spec", "containers", 0, "args").([]any) {
			if v, ok := strings.CutPrefix(arg.(string), "--provider-timeout="); ok {
				told, _ = time.ParseDuration(v)
			}
		}
	}
	for _, d := range documents(t, "gatekeeper/provider.yaml") {
		seconds, _ := member(d, "spec", "timeout").(int)
		if told == 0 || time.Duration(seconds)*time.Second != told {
			t.Errorf("the Provider %v has a timeout of %d s, and the server is told %v", member(d, "metadata", "name"), seconds, told)
		}
	}

	var values map[string]any
	if err := yaml.Unmarshal(readFile(t, filepath.Join(kubernetes, "gatekeeper/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	var exempt []any
	for _, webhook := range []string{"validating", "mutating"} {
		seconds, _ := values[webhook+"WebhookTimeoutSeconds"].(int)
		if values[webhook+"WebhookFailurePolicy"] != "Fail" || seconds < 10 || time.Duration(seconds)*time.Second <= 2*told {
			t.Errorf("Gatekeeper's %s webhook: failurePolicy %v, timeoutSeconds %v", webhook, values[webhook+"WebhookFailurePolicy"], seconds)
		}
		labels, _ := values[webhook+"WebhookExemptNamespacesLabels"].(map[string]any)
		names, _ := labels["kubernetes.io/metadata.name"].([]any)
		if len(labels) != 1 || len(names) == 0 || exempt != nil && !slices.Equal(names, exempt) {
			t.Errorf("Gatekeeper's %s webhook exempts %v", webhook, labels)
		}
		exempt = names
	}
	exempt = append(slices.Clone(exempt), "gatekeeper-system") // which the chart adds

	places := map[any]bool{}
	for _, d := range documents(t, "gatekeeper/pin.yaml") {
		for _, to := range member(d, "spec", "applyTo").([]any) {
			kinds, _ := member(to, "kinds").([]any)
			operations, _ := member(to, "operations").([]any)
			if !slices.Equal(kinds, []any{"Pod"}) || !slices.Equal(operations, []any{"CREATE"}) {
				t.Errorf("%v changes %v at %v", member(d, "metadata", "name"), kinds, operations)
			}
		}
		if excluded, _ := member(d, "spec", "match", "excludedNamespaces").([]any); !slices.Equal(excluded, exempt) {
			t.Errorf("%v excludes %v, and Gatekeeper itself %v", member(d, "metadata", "name"), excluded, exempt)
		}
		places[member(d, "spec", "location")] = true
	}
	if len(places) != 2 || !places["spec.containers[name:*].image"] || !places["spec.initContainers[name:*].image"] {
		t.Errorf("images are pinned in %v", places)
	}
	for _, d := range documents(t, "gatekeeper/constraint.yaml") {
		if excluded, _ := member(d, "spec", "match", "excludedNamespaces").([]any); !slices.Equal(excluded, exempt) {
			t.Errorf("the constraint excludes %v, and Gatekeeper itself %v", excluded, exempt)
		}
		if member(d, "spec", "match", "kinds", 0, "kinds", 0) != "Pod" || member(d, "spec", "match", "kinds", 1) != nil || member(d, "spec", "enforcementAction") != "deny" {
			t.Errorf("the constraint is about %v", member(d, "spec", "match", "kinds"))
		}
	}
}
