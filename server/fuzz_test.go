package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/storage"
)

// FuzzServer sends anything to the whole handler. Nothing may panic, be answered
// with a fault of the server, or break the specification.
func FuzzServer(f *testing.F) {
	for _, file := range []string{"http-validation.json", "invalid-entries.json"} {
		for _, v := range readVectors(f, file) {
			body := string(v.RequestBody)
			if v.RequestBodyText != nil {
				body = *v.RequestBodyText
			}
			f.Add(v.Method, v.Path, v.RequestHeaders["Accept"], body)
		}
	}
	for _, p := range proposals(f, "dsse-0.0.1.json") {
		f.Add("POST", "/api/v1/log/entries", "", p)
	}
	l := newFakeLog(f, treeA, 0)
	l.fill(f, 5)
	g := newRig(f, []*fakeLog{l})
	l.addErr = storage.ErrBusy // so that the log stays small
	f.Fuzz(func(t *testing.T, method, target, accept, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !validMethod(method) {
			return // net/http does not let it through
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), RemoteAddr: "x"}
		if accept != "" {
			r.Header["Accept"] = []string{accept}
		}
		w := httptest.NewRecorder()
		g.server.ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != 503 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if err := g.check.Check(method, u.Path, w.Code, w.Header(), w.Body.Bytes()); err != nil {
			t.Errorf("%v\n%s", err, w.Body)
		}
	})
}

// validMethod reports whether net/http would hand a method to a handler: a token
// of RFC 9110, section 5.6.2.
func validMethod(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// FuzzAccept reads any Accept header.
func FuzzAccept(f *testing.F) {
	f.Add("text/html,*/*;q=0.8")
	f.Add("application/json;q=0")
	f.Fuzz(func(t *testing.T, accept string) {
		switch got := negotiate([]string{accept}, typePEM, typeJSON); got {
		case "", typePEM, typeJSON:
		default:
			t.Errorf("%q", got)
		}
	})
}

// FuzzEntryID reads any entry ID.
func FuzzEntryID(f *testing.F) {
	f.Add(strings.Repeat("a", 64))
	f.Add(strings.Repeat("0", 80))
	f.Fuzz(func(t *testing.T, id string) {
		ref, err := parseEntryID(id)
		if err == nil && (len(id) == 80) != (ref.tree > 0) {
			t.Errorf("%q is of tree %d", id, ref.tree)
		}
	})
}
