// Package ui makes the pages that people read: templates, styles and scripts, all
// embedded. It renders what it is given; it asks nobody for anything.
//
// Whatever strangers wrote (identities, statements, search texts) is a string in a
// template's data, which html/template escapes by context. No type of html/template
// that says "this is safe" is used. Characters that cannot be seen, or that turn the
// text around them, are replaced by their code points (see visible), and links lead
// to this server, or to https URLs of plain form (see webLink).
package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"strings"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

// Policy is the Content-Security-Policy of every page.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Site is what is the same on all pages of a server.
type Site struct {
	Name    string // the log's host name
	URL     string // its address; empty if it is not known
	Version string // of the program; may be empty
	// Trust and Metrics say that there are /trusted-root.json with
	// /signing-config.json, and /metrics.
	Trust, Metrics bool
	// Trees are the IDs of all trees, newest first, and Kinds the kinds of entries that
	// can be asked for.
	Trees []int64
	Kinds []string
}

// Request is what a page has to know of the request that it answers.
type Request struct {
	// Root is the relative URL of the server's root, with a slash at its end: "./" or
	// "../". A proxy may serve the pages below a path of its own.
	Root string
	Now  time.Time
}

// Pages renders. It is immutable and may be used by many goroutines.
type Pages struct {
	site  Site
	pages map[string]*template.Template
	files files
}

// New parses the templates.
func New(site Site) (*Pages, error) {
	p := &Pages{site: site, pages: map[string]*template.Template{}}
	var err error
	if p.files, err = readFiles(); err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/page-*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		t, err := template.New("").Funcs(helpers()).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", name)
		if err != nil {
			return nil, fmt.Errorf("parsing pages: %w", err)
		}
		p.pages[strings.TrimSuffix(strings.TrimPrefix(name, "templates/page-"), ".html")] = t
	}
	return p, nil
}

// frame is the data of the layout, which has a page's own in Page.
type frame struct {
	Site
	Root   string
	Static string // URL of the folder of static files, relative to Root
	Title  string // of the window: what the page is, before the log's name
	Here   string // which page of the navigation this is
	Page   any
}

// render returns a page.
func (p *Pages) render(r Request, name, title string, data any) ([]byte, error) {
	var b bytes.Buffer
	f := frame{p.site, r.Root, p.files.folder, title, name, data}
	if err := p.pages[name].ExecuteTemplate(&b, "layout", f); err != nil {
		return nil, fmt.Errorf("page %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// helpers are functions that templates call.
func helpers() template.FuncMap {
	return template.FuncMap{
		"inc": func(n int) int { return n + 1 },
		// part and list hand the root on to a part of a page, which needs it for links.
		"part": func(root string, form formView) any {
			return struct {
				Root string
				Form formView
			}{root, form}
		},
		"list": func(root string, hits []hit) any {
			return struct {
				Root string
				Hits []hit
			}{root, hits}
		},
	}
}
