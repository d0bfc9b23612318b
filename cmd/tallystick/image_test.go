package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A tag is looked up in its registry; a digest needs none.
func TestSearchByImage(t *testing.T) {
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest)))
	asked := 0
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // OCI distribution spec
		switch asked++; r.URL.Path {
		case "/v2/":
		case "/v2/team/app/manifests/1":
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			fmt.Fprint(w, manifest)
		default:
			http.NotFound(w, r)
		}
	}))
	defer images.Close()
	image := strings.TrimPrefix(images.URL, "http://") + "/team/app"
	url, end := serveInMemory(t)
	defer end()
	key := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(fetch(t, url+"/api/v1/log/publicKey")), 0o600); err != nil {
		t.Fatal(err)
	}
	search := func(reference string) (int, string) {
		code, out, errs := run(t, map[string]string{"HOME": t.TempDir()}, "search", "--rekor-url", url, "--log-key", key, "--image", reference)
		return code, out + errs
	}
	for reference, asks := range map[string]bool{image + ":1": true, image + "@" + digest: false} {
		asked = 0
		if code, said := search(reference); code != exitOK || !strings.Contains(said, "0 entries found") || asked > 0 != asks {
			t.Errorf("%s: exit code %d, %d requests: %s", reference, code, asked, said)
		}
	}
	if code, said := search(image + ":2"); code != exitFailure || !strings.Contains(said, "looking up") {
		t.Errorf("a tag that is not there: exit code %d: %s", code, said)
	}
}

// A registry that does not answer is not waited for longer than --timeout.
func TestSearchByImageTimeout(t *testing.T) {
	end := make(chan struct{})
	images := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	defer images.Close()
	defer close(end)
	image := strings.TrimPrefix(images.URL, "http://") + "/team/app:1"
	code, out, errs := run(t, map[string]string{"HOME": t.TempDir()}, "search", "--image", image, "--timeout", "50ms")
	if code != exitFailure || out != "" || !strings.Contains(errs, "deadline") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, _, errs := run(t, nil, "search", "--image", image, "--timeout", "0s"); code != exitUsage || !strings.Contains(errs, "--timeout") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
