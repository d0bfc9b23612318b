package server

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/tallystick/tallystick/openapi"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pages serves what is for people.
type pages struct {
	server    *Server
	templates *template.Template
}

func newPages(s *Server) (*pages, error) {
	t, err := template.ParseFS(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing pages: %w", err)
	}
	return &pages{s, t}, nil
}

// home answers GET /: what this server is.
func (p *pages) home(x *exchange, r *http.Request) error {
	sh := p.server.shards.active()
	return p.send(x, "home.html", map[string]any{
		"URL":     p.server.cfg.PublicURL,
		"Version": p.server.cfg.Version,
		"Origin":  sh.log.Tree().Origin,
		"TreeID":  sh.tree,
		"LogID":   sh.logID,
		"Size":    p.size(r.Context()),
		"Metrics": !p.server.cfg.HideMetrics,
		"Trust":   p.server.cfg.TrustedRoot != nil && p.server.cfg.SigningConfig != nil,
	})
}

// size returns the number of entries under the current checkpoint, as text.
func (p *pages) size(ctx context.Context) string {
	sh := p.server.shards.active()
	v, err := sh.log.View(ctx)
	if err != nil {
		return "not known at the moment"
	}
	return fmt.Sprint(sh.base + v.Size)
}

// docs answers GET /docs: the route table, and where the API differs from Rekor's.
func (p *pages) docs(x *exchange, _ *http.Request) error {
	type row struct{ Method, Path, Summary string }
	var api, rest []row
	for _, rt := range p.server.table() {
		line := row{rt.method, rt.path, rt.summary}
		if strings.HasPrefix(rt.path, "/api/") {
			api = append(api, line)
		} else {
			rest = append(rest, line)
		}
	}
	return p.send(x, "docs.html", map[string]any{
		"API":             api,
		"Rest":            rest,
		"MaxBody":         p.server.cfg.MaxBody,
		"MaxResults":      p.server.cfg.MaxResults,
		"MaxRetrieve":     openapi.MaxRetrieve,
		"Attestation":     headerAttestation,
		"MaxAttestations": maxAttestations,
		"CompleteTo":      headerCompleteTo,
		"Truncated":       headerTruncated,
		"Conflict":        p.server.cfg.ConflictOnDuplicate,
	})
}

// openapi answers GET /openapi.yaml.
func (p *pages) openapi(x *exchange, _ *http.Request) error {
	x.send(http.StatusOK, "application/yaml", []byte(openapi.RekorV1()))
	return nil
}

// swagger answers GET /swagger.json, as Rekor does.
func (p *pages) swagger(x *exchange, _ *http.Request) error {
	x.sendJSON(http.StatusOK, []byte(openapi.RekorV1Swagger()))
	return nil
}

func (p *pages) send(x *exchange, name string, data any) error {
	var b bytes.Buffer
	if err := p.templates.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	x.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	x.Header().Set("Cache-Control", "no-cache")
	x.send(http.StatusOK, "text/html; charset=utf-8", b.Bytes())
	return nil
}
