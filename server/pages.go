package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/server/ui"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const (
	typeHTML = "text/html; charset=utf-8"
	// newestShown is how many entries the first page shows.
	newestShown = 8
	// cacheForever is for what is under a URL of its own content.
	cacheForever = "public, max-age=31536000, immutable"
)

// MonitorStatus says how the monitor is that runs inside the server.
type MonitorStatus interface {
	// Status returns what it knows at this moment. It does no I/O, and may be called
	// from many goroutines at once. Anybody may read what it returns.
	Status() ui.Monitor
}

// pages serves what is for people.
type pages struct {
	server    *Server
	ui        *ui.Pages
	summaries summaries
}

func newPages(s *Server) (*pages, error) {
	site := ui.Site{
		Name: s.cfg.PublicURL, URL: s.cfg.PublicURL, Version: s.cfg.Version,
		Trust: s.cfg.TrustedRoot != nil && s.cfg.SigningConfig != nil, Metrics: !s.cfg.HideMetrics, Kinds: entry.Kinds(),
	}
	if host, _, err := tlog.SplitOriginV1(s.shards.active().log.Tree().Origin); err == nil {
		site.Name = host
	}
	for _, sh := range slices.Backward(s.shards) {
		site.Trees = append(site.Trees, sh.tree)
	}
	made, err := ui.New(site)
	if err != nil {
		return nil, err
	}
	return &pages{server: s, ui: made, summaries: newSummaries()}, nil
}

// page marks the route of a page: its errors are pages too.
func page(h handler) handler {
	return func(x *exchange, r *http.Request) error {
		x.page = true
		return h(x, r)
	}
}

// request is what a page has to know of the request.
func (p *pages) request(x *exchange, r *http.Request) ui.Request {
	// The URL's path as the browser has it, of which the last segment does not count.
	const most = 16
	depth := strings.Count(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	root := "/"
	switch {
	case depth == 0:
		root = "./"
	case depth <= most:
		root = strings.Repeat("../", depth)
	}
	return ui.Request{Root: root, Now: x.start}
}

// send answers with a page that was rendered.
func (p *pages) send(x *exchange, status int, body []byte, err error) error {
	if err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Security-Policy", ui.Policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", revalidated)
	x.send(status, typeHTML, body)
	return nil
}

// prefersPage reports whether the asker would rather see a page than JSON: a
// browser, on a path that is not the API's.
func prefersPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && negotiate(r.Header["Accept"], typeJSON, "text/html") == "text/html"
}

// fail answers with an error page.
func (p *pages) fail(x *exchange, r *http.Request, f *failure) error {
	body, err := p.ui.Problem(p.request(x, r), ui.Problem{
		Status: f.status, Title: titleOf(f.status), Message: sentence(f.message), Request: x.id,
	})
	return p.send(x, f.status, body, err)
}

func titleOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "This cannot be answered"
	case http.StatusNotFound:
		return "Not found"
	case http.StatusServiceUnavailable:
		return "Not at the moment"
	case http.StatusGatewayTimeout:
		return "It took too long"
	case http.StatusInternalServerError:
		return "Something went wrong here"
	}
	return http.StatusText(status)
}

// sentence writes the message of an error as one.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// home answers GET /: a box to search with, and the newest entries.
func (p *pages) home(x *exchange, r *http.Request) error {
	s := p.server
	sh := s.shards.active()
	h := ui.Home{
		Origin: sh.log.Tree().Origin, Tree: sh.tree, LogID: sh.logID, Halted: sh.log.Halted() != nil,
	}
	h.Size, h.Known = p.size(r.Context())
	held := s.answers.account()
	defer held.close()
	// A page without them is better than none.
	found, err := s.findPage(r.Context(), held, search.Query{Limit: newestShown})
	if err == nil {
		h.Newest = found.Hits
	} else {
		h.Known, x.err = false, err
	}
	if len(h.Newest) > 0 {
		h.Last = h.Newest[0].Time
	}
	if m := s.cfg.Monitor; m != nil {
		h.Watch = watchSummary(m.Status())
	}
	body, err := p.ui.Home(p.request(x, r), h)
	return p.send(x, http.StatusOK, body, err)
}

func watchSummary(m ui.Monitor) *ui.WatchSummary {
	switch {
	case m.Alarms > 0:
		return &ui.WatchSummary{Words: "alarm"}
	case m.Problem != "":
		return &ui.WatchSummary{Words: "not in order"}
	}
	return &ui.WatchSummary{Good: true, Words: "all in order"}
}

// size returns how many entries are under checkpoints.
func (p *pages) size(ctx context.Context) (size int64, known bool) {
	for _, sh := range p.server.shards {
		v, err := sh.log.View(ctx)
		if err != nil {
			return 0, false
		}
		size += v.Size
	}
	return size, true
}

// docs answers GET /docs: the route table, and where the API differs from Rekor's.
func (p *pages) docs(x *exchange, r *http.Request) error {
	cfg := &p.server.cfg
	d := ui.Docs{
		MaxBody: cfg.MaxBody, MaxResults: cfg.MaxResults, MaxRetrieve: openapi.MaxRetrieve, MaxAttestations: maxAttestations,
		HeaderAttestation: headerAttestation, HeaderComplete: headerCompleteTo, HeaderTrimmed: headerTruncated,
		Conflict: cfg.ConflictOnDuplicate,
	}
	for _, rt := range p.server.table() {
		line := ui.Route{Method: rt.method, Path: rt.path, Summary: rt.summary}
		if strings.HasPrefix(rt.path, "/api/") {
			d.API = append(d.API, line)
		} else {
			d.Rest = append(d.Rest, line)
		}
	}
	body, err := p.ui.Docs(p.request(x, r), d)
	return p.send(x, http.StatusOK, body, err)
}

// file answers GET /ui/*: style sheets, scripts, pictures.
func (p *pages) file(x *exchange, r *http.Request) error {
	f, forever, ok := p.ui.File(chi.URLParam(r, "*"))
	if !ok {
		return refuse(http.StatusNotFound, "path %s was not found", cut(r.URL.Path, 256))
	}
	h := x.Header()
	h.Set("Cache-Control", revalidated)
	if forever {
		h.Set("Cache-Control", cacheForever)
	}
	h.Set("ETag", f.ETag)
	h.Set("Content-Type", f.Type)
	h.Set("Content-Security-Policy", "default-src 'none'")
	http.ServeContent(x, r, "", time.Time{}, bytes.NewReader(f.Content))
	return nil
}

// openapi answers GET /openapi.yaml.
func (p *pages) openapi(x *exchange, _ *http.Request) error {
	x.send(http.StatusOK, "application/yaml", []byte(openapi.RekorV1()))
	return nil
}

// searchAPI answers GET /search.openapi.yaml.
func (p *pages) searchAPI(x *exchange, _ *http.Request) error {
	x.send(http.StatusOK, "application/yaml", []byte(openapi.Search()))
	return nil
}

// swagger answers GET /swagger.json, as Rekor does.
func (p *pages) swagger(x *exchange, _ *http.Request) error {
	x.sendJSON(http.StatusOK, []byte(openapi.RekorV1Swagger()))
	return nil
}

// isMissing reports whether an error says that there is no such entry.
func isMissing(err error) bool {
	return errors.Is(err, errNoEntry) || errors.Is(err, storage.ErrNotFound)
}
