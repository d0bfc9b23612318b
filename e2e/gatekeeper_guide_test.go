package e2e

import (
	"path/filepath"
	"testing"
)

// gatekeeperSettings has images of one repository, one of which has a tag, and the manifests.
func gatekeeperSettings(t *testing.T) map[string]string {
	values, r := logAndImages(t), startRegistry(t)
	values["IMAGE"], values["OTHER_IMAGE"], values["PORT"] = r.push("application").ref, r.push("another").ref, quietPort(t)
	values["TAG"], values["MANIFESTS"] = tagged(t, values["IMAGE"], "v1"), manifestFolder(t, "gatekeeper")
	return values
}

// manifestFolder returns the path of a folder in deploy/kubernetes.
func manifestFolder(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../deploy/kubernetes", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
