package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
)

// Labels of requests that are not in the route table.
const (
	routeUnknown   = "unknown"
	routePreflight = "preflight"
)

// handler answers a request, or returns an error before it wrote anything.
type handler func(x *exchange, r *http.Request) error

// route is one method of one path.
type route struct {
	method  string
	path    string // chi's pattern
	summary string // for people
	serve   handler
	// offers are the media types of the answer; if set, Accept is held against them.
	offers []string
	// head says that HEAD is answered as GET, without the body. Rekor refuses it in
	// its API.
	head bool
	// fresh says that the answer may not be cached.
	fresh bool
	// quiet says that requests are logged at debug level.
	quiet bool
}

// table lists all routes, in the order in which people should read them.
func (s *Server) table() []route {
	json := []string{typeJSON}
	key := []string{typePEM, typeJSON}
	list := []route{
		{"POST", "/api/v1/log/entries", "Log an entry", s.createEntry, json, false, false, false},
		{"GET", "/api/v1/log/entries", "Entry by index (?logIndex=)", s.entryByIndex, json, false, true, false},
		{"GET", "/api/v1/log/entries/{entryUUID}", "Entry by ID or leaf hash", s.entryByID, json, false, true, false},
		{"POST", "/api/v1/log/entries/retrieve", "Up to ten entries by ID, index or proposal", s.retrieve, json, false, false, false},
		{"POST", "/api/v1/index/retrieve", "Search for entry IDs by hash, e-mail, subject or key", s.search, json, false, false, false},
		{"GET", "/api/v1/log", "Tree size, root hash, checkpoint", s.logInfo, json, false, true, false},
		{"GET", "/api/v1/log/proof", "Consistency proof (?firstSize=&lastSize=&treeID=)", s.consistency, json, false, true, false},
		{"GET", "/api/v1/log/publicKey", "The log's public key, PEM (?treeID=)", s.publicKey, key, false, true, false},
		{"GET", "/api/search", "Find entries by what is known of them: the API behind the search page", s.searchAPI, json, false, true, false},
		{"GET", "/search.openapi.yaml", "The specification of /api/search", s.pages.searchAPI, nil, true, false, false},
		{"GET", "/openapi.yaml", "The specification of this API", s.pages.openapi, nil, true, false, false},
		{"GET", "/swagger.json", "The same, converted to OpenAPI 2", s.pages.swagger, nil, true, false, false},
		{"GET", "/", "Search page, for people", page(s.pages.home), nil, true, false, false},
		{"GET", "/search", "What was found: parameters as of /api/search", page(s.pages.results), nil, true, false, false},
		{"GET", "/entry/{ref}", "An entry, by entry ID or index", page(s.pages.entry), nil, true, false, false},
		{"GET", "/entry/{ref}/attestation", "The attestation that the log keeps of it, as a file", page(s.pages.attestation), nil, true, false, false},
		{"GET", "/log", "The log: size, checkpoint, keys, growth, consistency (?first=&second=&tree=&chart=)", page(s.pages.logPage), nil, true, false, false},
		{"GET", "/docs", "This page", page(s.pages.docs), nil, true, false, false},
		{"GET", "/ui/*", "Style sheets and scripts of the pages", s.pages.file, nil, true, false, true},
		{"GET", "/ping", "Answers “.”", ping, nil, true, false, true},
		{"GET", "/healthz", "200 if the server is alive", healthz, nil, true, false, true},
		{"GET", "/readyz", "200 if entries can be logged, else 503 and why", s.readyz, nil, true, false, true},
	}
	if s.cfg.TrustedRoot != nil {
		list = append(list, route{"GET", "/trusted-root.json", "Whom to believe: Sigstore trusted root with the log's keys", newDocument(s.cfg.TrustedRoot).serve, nil, true, false, false})
	}
	if s.cfg.SigningConfig != nil {
		list = append(list, route{"GET", "/signing-config.json", "Where to sign: Sigstore signing config with the log's URL", newDocument(s.cfg.SigningConfig).serve, nil, true, false, false})
	}
	if s.cfg.TUF != nil {
		list = append(list, route{"GET", "/tuf/*", "The TUF repository with both: metadata and targets", s.tufFile, nil, true, false, false})
	}
	if !s.cfg.HideMetrics {
		list = append(list, route{"GET", "/metrics", "Prometheus metrics", s.metricsPage, nil, true, false, true})
	}
	return list
}

// routes returns the router of the table.
func (s *Server) routes() *chi.Mux {
	mux := chi.NewMux()
	paths := map[string][]route{}
	for _, rt := range s.table() {
		paths[rt.path] = append(paths[rt.path], rt)
	}
	for path, list := range paths {
		mux.Get(path, s.resource(list))
	}
	mux.NotFound(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w.(*exchange), r, refuse(http.StatusNotFound, "path %s was not found", cut(r.URL.Path, 256)))
	})
	return mux
}

// resource serves the routes of one path.
func (s *Server) resource(list []route) http.HandlerFunc {
	var allow []string
	for _, rt := range list {
		allow = append(allow, rt.method)
		if rt.head {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange) // ServeHTTP made it
		x.route = list[0].path
		for i := range list {
			if rt := &list[i]; rt.method == r.Method || rt.head && r.Method == http.MethodHead {
				s.serve(rt, x, r)
				return
			}
		}
		x.Header().Set("Allow", strings.Join(allow, ","))
		s.fail(x, r, refuse(http.StatusMethodNotAllowed, "method %s is not allowed, but [%s] are",
			cut(r.Method, 32), strings.Join(allow, ",")))
	}
}

func (s *Server) serve(rt *route, x *exchange, r *http.Request) {
	x.quiet = rt.quiet
	if rt.fresh {
		forbidCaching(x.Header())
	}
	if rt.offers != nil && negotiate(r.Header["Accept"], rt.offers...) == "" {
		s.fail(x, r, refuse(http.StatusNotAcceptable, "unsupported media type requested, only [%s] are available",
			strings.Join(rt.offers, " ")))
		return
	}
	if err := rt.serve(x, r); err != nil {
		s.fail(x, r, err)
	}
}

// forbidCaching sets the headers that Rekor sets on answers that change with the
// tree. X-Accel-Expires is nginx's.
func forbidCaching(h http.Header) {
	h.Set("Cache-Control", "no-cache, no-store, no-transform, must-revalidate, private, max-age=0")
	h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	h.Set("X-Accel-Expires", "0")
}
