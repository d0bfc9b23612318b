// Package openapitest holds answers of a server against the specification in
// package openapi. It is for tests: nothing in the program imports it, so that
// the validator behind it is not linked in.
package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/tallystick/tallystick/openapi"
)

// Checker holds answers against the specifications. It may be used by many
// goroutines.
type Checker struct {
	v1, search *openapi3.T
}

// New loads the specifications, and fails if one is not valid OpenAPI.
func New() (*Checker, error) {
	v1, err1 := load("rekor-v1.yaml", openapi.RekorV1())
	search, err2 := load("search.yaml", openapi.Search())
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &Checker{v1, search}, nil
}

func load(name, text string) (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", name, err)
	}
	if err := doc.Validate(loader.Context); err != nil {
		return nil, fmt.Errorf("%s is not valid OpenAPI: %w", name, err)
	}
	return doc, nil
}

// Operations returns "METHOD /path" of every operation of the specifications.
func (c *Checker) Operations() []string {
	var out []string
	for _, doc := range []*openapi3.T{c.v1, c.search} {
		for p, item := range doc.Paths.Map() {
			for method := range item.Operations() {
				out = append(out, method+" "+p)
			}
		}
	}
	return out
}

// Check returns what is wrong with an answer to a request with this method and
// path. Of paths outside /api/v1 only those in the specifications are checked, and only GET:
// else everything is right.
func (c *Checker) Check(method, urlPath string, status int, header http.Header, body []byte) error {
	if err := c.check(method, path.Clean("/"+urlPath), status, header, body); err != nil {
		return fmt.Errorf("answer %d to %s %s is not as specified: %w", status, method, urlPath, err)
	}
	return nil
}

func (c *Checker) check(method, urlPath string, status int, header http.Header, body []byte) error {
	item := c.item(urlPath)
	besides := !strings.HasPrefix(urlPath, "/api/v1") && (item == nil || method != http.MethodGet)
	if besides || status == http.StatusNoContent && method == http.MethodOptions {
		return nil
	}
	if item == nil {
		return c.plainError(method, status, http.StatusNotFound, header, body)
	}
	op := item.GetOperation(method)
	if op == nil {
		if header.Get("Allow") == "" {
			return fmt.Errorf("no Allow header")
		}
		return c.plainError(method, status, http.StatusMethodNotAllowed, header, body)
	}
	ref := op.Responses.Value(strconv.Itoa(status))
	if ref == nil {
		if status < 400 {
			return fmt.Errorf("status is not in the specification")
		}
		ref = op.Responses.Default()
	}
	return response(ref.Value, header, body)
}

// plainError checks the JSON error for a path or method that is not specified.
func (c *Checker) plainError(method string, status, want int, header http.Header, body []byte) error {
	if status != want {
		return fmt.Errorf("status is not %d, though there is no such operation", want)
	}
	if method == http.MethodHead {
		return nil
	}
	return response(c.v1.Components.Responses["Error"].Value, header, body)
}

// item returns what is specified for a path; nil if nothing is.
func (c *Checker) item(urlPath string) *openapi3.PathItem {
	for _, doc := range []*openapi3.T{c.v1, c.search} {
		if item := doc.Paths.Value(urlPath); item != nil {
			return item
		}
	}
	for p, item := range c.v1.Paths.Map() {
		prefix, _, ok := strings.Cut(p, "{")
		if rest := strings.TrimPrefix(urlPath, prefix); ok && rest != urlPath && rest != "" && !strings.Contains(rest, "/") {
			return item
		}
	}
	return nil
}

func response(r *openapi3.Response, header http.Header, body []byte) error {
	for name, ref := range r.Headers {
		if err := checkHeader(name, ref.Value, header); err != nil {
			return err
		}
	}
	if len(r.Content) == 0 {
		if len(body) > 0 || header.Get("Content-Type") != "" {
			return fmt.Errorf("body %.100q with Content-Type %q, not an empty one", body, header.Get("Content-Type"))
		}
		return nil
	}
	ct := header.Get("Content-Type")
	media := r.Content[ct]
	if media == nil {
		return fmt.Errorf("Content-Type %q is not in the specification", ct)
	}
	if ct != "application/json" {
		return media.Schema.Value.VisitJSON(string(body))
	}
	return checkJSON(media.Schema.Value, body)
}

func checkJSON(schema *openapi3.Schema, body []byte) error {
	if !bytes.HasSuffix(body, []byte("\n")) {
		return fmt.Errorf("JSON does not end with a newline")
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return schema.VisitJSON(v, openapi3.MultiErrors())
}

func checkHeader(name string, h *openapi3.Header, header http.Header) error {
	values := header.Values(name)
	if len(values) == 0 {
		if h.Required {
			return fmt.Errorf("no %s header", name)
		}
		return nil
	}
	if len(values) > 1 {
		return fmt.Errorf("%d %s headers", len(values), name)
	}
	var v any = values[0]
	if h.Schema.Value.Type.Is(openapi3.TypeInteger) {
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		v = float64(n)
	}
	if err := h.Schema.Value.VisitJSON(v); err != nil {
		return fmt.Errorf("header %s: %w", name, err)
	}
	return nil
}
