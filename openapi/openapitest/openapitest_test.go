package openapitest

import (
	"net/http"
	"strings"
	"testing"
)

// TestCheck holds good answers and, for each, one that differs in one place,
// against the specification.
func TestCheck(t *testing.T) {
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Repeat("ab", 32)
	jsonType := http.Header{"Content-Type": {"application/json"}}
	get := jsonType.Clone()
	get.Set("Cache-Control", "no-cache, no-store, no-transform, must-revalidate, private, max-age=0")
	proof := `{"hashes":[],"rootHash":"` + hash + "\"}\n"
	for _, x := range []struct {
		name, method, path string
		status             int
		header             http.Header
		body               string
		ok                 bool
	}{
		{"proof", "GET", "/api/v1/log/proof", 200, get, proof, true},
		{"path with slashes", "GET", "//api/v1//log/proof/", 200, get, proof, true},
		{"no newline", "GET", "/api/v1/log/proof", 200, get, strings.TrimSpace(proof), false},
		{"null for a list", "GET", "/api/v1/log/proof", 200, get, strings.Replace(proof, "[]", "null", 1), false},
		{"hash in upper case", "GET", "/api/v1/log/proof", 200, get, strings.ToUpper(proof), false},
		{"member too many", "GET", "/api/v1/log/proof", 200, get, strings.Replace(proof, "{", `{"x":1,`, 1), false},
		{"cacheable", "GET", "/api/v1/log/proof", 200, jsonType, proof, false},
		{"not JSON type", "GET", "/api/v1/log/proof", 200, http.Header{"Content-Type": {"text/plain"}}, proof, false},
		{"unknown status", "GET", "/api/v1/log/proof", 202, get, proof, false},
		{"error", "GET", "/api/v1/log/proof", 503, jsonType, "{\"code\":503,\"message\":\"x\"}\n", true},
		{"error without code", "GET", "/api/v1/log/proof", 503, jsonType, "{\"message\":\"x\"}\n", false},
		{"no entry", "GET", "/api/v1/log/entries/" + hash, 404, http.Header{}, "", true},
		{"no entry, body", "GET", "/api/v1/log/entries/" + hash, 404, jsonType, "{\"code\":404,\"message\":\"x\"}\n", false},
		{"no path", "GET", "/api/v1/version", 404, jsonType, "{\"code\":404,\"message\":\"x\"}\n", true},
		{"no path, but found", "GET", "/api/v1/version", 200, jsonType, "{}\n", false},
		{"conflict without Location", "POST", "/api/v1/log/entries", 409, jsonType, "{\"code\":409,\"message\":\"x\"}\n", false},
		{"method, no Allow", "DELETE", "/api/v1/log", 405, jsonType, "{\"code\":405,\"message\":\"x\"}\n", false},
		{"search", "GET", "/api/search", 200, get, "{\"completeTo\":[],\"entries\":[]}\n", true},
		{"search, member too many", "GET", "/api/search", 200, get, "{\"completeTo\":[],\"entries\":[],\"x\":1}\n", false},
		{"search, cacheable", "GET", "/api/search", 200, jsonType, "{\"completeTo\":[],\"entries\":[]}\n", false},
		{"outside", "GET", "/ping", 200, http.Header{}, ".", true},
	} {
		err := c.Check(x.method, x.path, x.status, x.header, []byte(x.body))
		if (err == nil) != x.ok {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if n := len(c.Operations()); n != 11 {
		t.Errorf("%d operations, not the 8 of Rekor v1, two besides and our search", n)
	}
}
