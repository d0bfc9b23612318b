package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	trustedRoot   = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}]}` + "\n"
	signingConfig = `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogUrls":[{}],"rekorTlogConfig":{}}` + "\n"
)

func withTrust(c *Config) {
	c.TrustedRoot, c.SigningConfig = []byte(trustedRoot), []byte(signingConfig)
}

func TestTrustDocuments(t *testing.T) {
	g := newRig(t, nil, withTrust)
	for path, want := range map[string]string{"/trusted-root.json": trustedRoot, "/signing-config.json": signingConfig} {
		w := g.want(200, 0, "GET", path, "")
		if w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("%s: %s %v", path, w.Body, w.Header())
		}
		etag := w.Header().Get("ETag")
		if w := g.want(304, 0, "GET", path, "", "If-None-Match", etag); w.Body.Len() != 0 {
			t.Errorf("%s again: %s", path, w.Body)
		}
		g.want(200, 0, "GET", path, "", "If-None-Match", `"`+strings.Repeat("0", 64)+`"`)
		if w := g.want(200, 0, "HEAD", path, ""); w.Header().Get("ETag") != etag {
			t.Errorf("HEAD %s: %v", path, w.Header())
		}
		g.want(405, 405, "POST", path, "{}")
		if home := g.want(200, 0, "GET", "/", "").Body.String(); !strings.Contains(home, `href="./`+path[1:]+`"`) {
			t.Errorf("/ does not lead to %s", path)
		}
	}
	if one, two := g.do("GET", "/trusted-root.json", "").Header().Get("ETag"), g.do("GET", "/signing-config.json", "").Header().Get("ETag"); one == two {
		t.Error("both have the same ETag")
	}
	without := newRig(t, nil)
	for _, path := range []string{"/trusted-root.json", "/signing-config.json", "/tuf/root.json"} {
		without.want(404, 404, "GET", path, "")
	}
}

// Of a TUF repository's folder clients get what is metadata or a target, and nothing else
// that may be there.
func TestTUF(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "tuf")
	for name, content := range map[string]string{
		"timestamp.json": "stamp", "root.json": "root", "1.root.json": "first", "targets/ab.trusted_root.json": "trust", "targets/cd.rekor.pub": "key",
		"root.key": "private", "targets/.hidden": "private", ".x.json": "private", "other/a.json": "private", "targets/deeper/a.json": "private", "targets.json/x": "private",
		"../outside.json": "private", "../other.json": "private",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(parent, "outside.json"), filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../other.json", filepath.Join(dir, "targets", "link")); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"circle.json": "circle.json", "nowhere.json": "nothing.json", "2.root.json": "1.root.json"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	g := newRig(t, nil, func(c *Config) { c.TUF = root.FS() })
	for path, want := range map[string][3]string{
		"/tuf/timestamp.json":                {"stamp", "application/json", "no-cache"},
		"/tuf/root.json":                     {"root", "application/json", "no-cache"},
		"/tuf/2.root.json":                   {"first", "application/json", "public, max-age=86400"}, // a link inside of the folder
		"/tuf/1.root.json":                   {"first", "application/json", "public, max-age=86400"},
		"/tuf//targets/ab.trusted_root.json": {"trust", "application/json", "public, max-age=86400"},
		"/tuf/targets/cd.rekor.pub":          {"key", "application/octet-stream", "public, max-age=86400"},
	} {
		w := g.want(200, 0, "GET", path, "")
		if got := [3]string{w.Body.String(), w.Header().Get("Content-Type"), w.Header().Get("Cache-Control")}; got != want {
			t.Errorf("%s: %q, not %q", path, got, want)
		}
		if w := g.want(200, 0, "HEAD", path, ""); w.Header().Get("Content-Length") == "" {
			t.Errorf("HEAD %s: %v", path, w.Header())
		}
	}
	for _, path := range []string{
		"/tuf", "/tuf/", "/tuf/3.root.json", "/tuf/targets", "/tuf/targets/", "/tuf/root.key", "/tuf/.x.json", "/tuf/targets/.hidden", "/tuf/other/a.json",
		"/tuf/targets/deeper/a.json", "/tuf/targets/deeper", "/tuf/targets.json", "/tuf/../outside.json", "/tuf/%2e%2e/outside.json", "/tuf/..%2foutside.json",
		"/tuf/targets/..%2f..%2foutside.json", "/tuf/targets/%2e%2e", "/tuf/targets/..%5cx", "/tuf/a%00.json", "/tuf/targets/" + strings.Repeat("x", 300), "/tuf/%ff.json",
	} {
		w := g.want(404, 404, "GET", path, "")
		if strings.Contains(w.Body.String(), "private") {
			t.Errorf("%s: %s", path, w.Body)
		}
		if strings.HasPrefix(path, "/tuf/3") && w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s may be cached as missing: %v", path, w.Header())
		}
	}
	// Links that lead out of the folder, or in circles.
	for _, path := range []string{"/tuf/link.json", "/tuf/targets/link", "/tuf/circle.json", "/tuf/nowhere.json"} {
		if w := g.want(404, 404, "GET", path, ""); strings.Contains(w.Body.String(), "private") {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
	g.want(405, 405, "POST", "/tuf/root.json", "")
	if n := g.counter("tallystick_http_requests_total", "route", "/tuf/*"); n < 20 {
		t.Errorf("%v requests counted", n)
	}
}

// FuzzTUFName: no name leads to a folder, out of one, or to a hidden file.
func FuzzTUFName(f *testing.F) {
	for _, seed := range []string{"root.json", "targets/a.b", "targets/../x.json", "../x.json", "targets/.a", "a/b.json", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !tufName(name) {
			return
		}
		rest := strings.TrimPrefix(name, "targets/")
		if strings.ContainsAny(rest, `/\`) || strings.HasPrefix(rest, ".") || strings.Contains(name, "\x00") || utf8.ValidString(name) && !fs.ValidPath(name) {
			t.Errorf("%q", name)
		}
	})
}
