package client

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

// fixed answers every request with the same bytes.
type fixed struct {
	status int
	body   []byte
}

func (f fixed) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: f.status, Header: http.Header{"Location": {string(f.body)}, "Retry-After": {string(f.body)}}, Body: io.NopCloser(bytes.NewReader(f.body)), Request: r}, nil
}

// FuzzAnswer: whatever a server answers, nothing is returned that the log did not sign.
func FuzzAnswer(f *testing.F) {
	w := newWorld(f, nil)
	w.learn(f)
	bodies := map[string]bool{}
	for i := range int64(12) {
		e, err := w.client(f).EntryByIndex(f.Context(), i)
		if err != nil {
			f.Fatal(err)
		}
		bodies[string(e.Body)] = true
	}
	for _, path := range []string{"/api/v1/log", "/api/v1/log/publicKey", "/api/v1/log/proof?firstSize=3&lastSize=7", "/api/v1/log/entries?logIndex=5", "/api/v1/log/entries?logIndex=11"} {
		f.Add(200, w.log.get(path).body)
	}
	f.Add(201, w.log.serve(f, http.MethodPost, "/api/v1/log/entries", w.proposals[2]).body)
	f.Add(200, w.log.serve(f, http.MethodPost, "/api/v1/log/entries/retrieve", []byte(`{"logIndexes":[4,5]}`)).body)
	f.Add(200, []byte(`["`+w.id(5)+`"]`))
	f.Add(409, []byte(w.id(5)))
	f.Add(503, []byte("1"))
	trust := w.key.trust(f)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		c, err := New("http://log.test", trust, Options{HTTP: &http.Client{Transport: fixed{status, body}}, Sleep: noSleep, Retries: 1, Checkpoints: w.seen})
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		check := func(e *Entry, err error) {
			if (e == nil) == (err == nil) || e != nil && !bodies[string(e.Body)] {
				t.Errorf("returned %+v, %v", e, err)
			}
		}
		check(c.EntryByIndex(ctx, 5))
		check(c.EntryByUUID(ctx, w.id(5)))
		check(c.Upload(ctx, w.proposals[2]))
		for e, err := range c.Entries(ctx, 4, 6) {
			check(e, err)
		}
		if s, err := c.Search(ctx, Query{PublicKey: w.signer.pem}); err == nil {
			for h, err := range s.Hits(ctx) {
				if err == nil {
					check(h.Entry, nil)
				}
			}
		}
		if trees, err := c.Log(ctx); err == nil && (len(trees) != 2 || trees[1].Checkpoint.Head != w.head.Head) {
			t.Errorf("trees are %+v", trees)
		}
		if g, err := c.Growth(ctx, Tree{ID: newTree, Base: 3, Checkpoint: w.head}, 0, 9); err != nil || g.Second != w.head.Head {
			t.Errorf("from nothing: %+v, %v", g, err)
		}
		if _, err := c.consistent(ctx, w.head, w.head); err != nil {
			t.Error(err)
		}
		_, _ = c.Growth(ctx, Tree{ID: newTree, Base: 3, Checkpoint: w.head}, 3, 7)
		_, _ = FetchKey(ctx, "http://log.test", Options{HTTP: &http.Client{Transport: fixed{status, body}}, Retries: -1})
	})
}
