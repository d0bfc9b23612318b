package client

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/server"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// collect runs a sequence to its end or first error.
func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func TestLog(t *testing.T) {
	w := newWorld(t, nil)
	trees, err := w.client(t).Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(trees) != 2 || trees[0].ID != oldTree || trees[0].Active || trees[0].Base != 0 || trees[0].Checkpoint.Size != 3 ||
		trees[1].ID != newTree || !trees[1].Active || trees[1].Base != 3 || trees[1].Checkpoint.Size != 9 || trees[1].Checkpoint.Root != w.log.roots[9] {
		t.Errorf("trees are %+v", trees)
	}
}

func TestUploadAndGet(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	proposal := w.signer.hashedRekord(t, "a new artifact")
	e, err := c.Upload(t.Context(), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if e.LogIndex != 12 || e.Proof.Index != 9 || e.TreeID != newTree || len(e.UUID) != 80 || e.Kind != "hashedrekord" || e.Proved.Checkpoint.Size != 10 {
		t.Errorf("uploaded %+v", e)
	}
	again, err := c.Upload(t.Context(), proposal)
	if err != nil || again.LogIndex != 12 {
		t.Errorf("uploaded again: %+v, %v", again, err)
	}
	byIndex, err := c.EntryByIndex(t.Context(), 12)
	if err != nil || byIndex.UUID != e.UUID {
		t.Errorf("by index: %+v, %v", byIndex, err)
	}
	for _, id := range []string{e.UUID, e.UUID[16:], strings.ToUpper(e.UUID)} {
		if got, err := c.EntryByUUID(t.Context(), id); err != nil || got.UUID != e.UUID || got.LogIndex != 12 {
			t.Errorf("by ID %s: %+v, %v", id, got, err)
		}
	}
	kept, err := c.EntryByIndex(t.Context(), 11)
	if err != nil || !strings.Contains(string(kept.Attestation), w.subject) {
		t.Errorf("attestation: %+v, %v", kept, err)
	}
	old, err := c.EntryByIndex(t.Context(), 2)
	if err != nil || old.TreeID != oldTree || old.Proved.Checkpoint.Size != 3 {
		t.Errorf("of the closed tree: %+v, %v", old, err)
	}
}

func TestNotFound(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	for _, err := range []error{
		second(c.EntryByIndex(t.Context(), 12)),
		second(c.EntryByUUID(t.Context(), strings.Repeat("0", 64))),
		second(collect(c.Entries(t.Context(), 12, 13))),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("error is %v", err)
		}
	}
	if err := second(c.EntryByUUID(t.Context(), "../log")); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("error is %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// A log that answers 409 is asked for the entry that is there.
func TestUploadConflict(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.ConflictOnDuplicate = true })
	c := w.client(t)
	e, err := c.Upload(t.Context(), w.proposals[4])
	if err != nil || e.LogIndex != 7 {
		t.Fatalf("%+v, %v", e, err)
	}
	other, err := c.EntryByIndex(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{"", "/", "/api/v1/log/entries/" + other.UUID, "/api/v1/log/entries/" + e.UUID + "/../../x", "//[::1/" + e.UUID[:79]} {
		w.proxy.setLie(func(_ *http.Request, a *answer) {
			if a.status == http.StatusConflict {
				a.header.Set("Location", location)
			}
		})
		if got, err := c.Upload(t.Context(), w.proposals[4]); !errors.Is(err, verify.ErrBadProof) || got != nil {
			t.Errorf("with the location %q: %+v, %v", location, got, err)
		}
	}
	// Another host in it does not matter: only the ID is looked at.
	w.proxy.setLie(func(_ *http.Request, a *answer) {
		if a.status == http.StatusConflict {
			a.header.Set("Location", "https://elsewhere.example.test/"+e.UUID)
		}
	})
	if got, err := c.Upload(t.Context(), w.proposals[4]); err != nil || got.LogIndex != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is no entry is refused before it is sent.
func TestUploadRefusesBadProposals(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	wrong := strings.Replace(string(w.proposals[0]), `"value":"`, `"value":"00`, 1)
	for _, proposal := range []string{"", "{}", `{"kind":"alpine","apiVersion":"0.0.1","spec":{}}`, wrong} {
		var e *entry.Error
		if _, err := c.Upload(t.Context(), []byte(proposal)); !errors.As(err, &e) {
			t.Errorf("%q: %v", proposal, err)
		}
	}
	if seen := w.proxy.requests(); len(seen) > 0 {
		t.Errorf("requests were made: %q", seen)
	}
}

func TestEntries(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 20 {
		w.log.add(w.signer.hashedRekord(t, fmt.Sprint("more ", i)))
	}
	c := w.client(t)
	w.proxy.requests()
	all, err := collect(c.Entries(t.Context(), 0, 32))
	if err != nil || len(all) != 32 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	for i, e := range all {
		if e.LogIndex != int64(i) {
			t.Errorf("entry %d has index %d", i, e.LogIndex)
		}
	}
	if seen := w.proxy.requests(); len(seen) != 4 {
		t.Errorf("requests for 32 entries: %q", seen)
	}
	// What is there comes before the error of what is not.
	some, err := collect(c.Entries(t.Context(), 29, 40))
	if len(some) != 3 || !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "entry 32") {
		t.Errorf("%d entries, %v", len(some), err)
	}
	for range c.Entries(t.Context(), 0, 32) {
		break // may stop anywhere
	}
	if none, err := collect(c.Entries(t.Context(), 5, 5)); len(none) > 0 || err != nil {
		t.Errorf("%d entries, %v", len(none), err)
	}
}

func TestGrowth(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	for i := range 9 { // sizes up to 18
		w.log.add(w.signer.hashedRekord(t, fmt.Sprint("more ", i)))
	}
	trees, err := c.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tree := trees[1]
	for first := range int64(19) {
		for second := first; second < 19; second++ {
			g, err := c.Growth(t.Context(), tree, first, second)
			if err != nil {
				t.Fatalf("%d to %d: %v", first, second, err)
			}
			if g.First != (tlog.Head{Size: first, Root: w.log.roots[first]}) || g.Second != (tlog.Head{Size: second, Root: w.log.roots[second]}) {
				t.Fatalf("%d to %d: %+v", first, second, g)
			}
		}
	}
	for _, sizes := range [][2]int64{{-1, 2}, {3, 2}, {2, 19}} {
		if g, err := c.Growth(t.Context(), tree, sizes[0], sizes[1]); err == nil || g != nil {
			t.Errorf("%v: %+v, %v", sizes, g, err)
		}
	}
	if g, err := c.Growth(t.Context(), trees[0], 1, 3); err != nil || g.First.Size != 1 {
		t.Errorf("of the closed tree: %+v, %v", g, err)
	}
}

func TestConsistency(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	before, err := c.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.log.add(w.signer.hashedRekord(t, "more"))
	after, err := c.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path, err := c.Consistency(t.Context(), before[1].Checkpoint, after[1].Checkpoint)
	if err != nil || len(path) == 0 {
		t.Errorf("%v, %v", path, err)
	}
	if path, err := c.Consistency(t.Context(), after[1].Checkpoint, before[1].Checkpoint); err == nil || path != nil {
		t.Errorf("backwards: %v, %v", path, err)
	}
	if path, err := c.Consistency(t.Context(), before[0].Checkpoint, after[1].Checkpoint); !errors.Is(err, verify.ErrBadProof) || path != nil {
		t.Errorf("of two trees: %v, %v", path, err)
	}
}

func TestSearch(t *testing.T) {
	w := newWorld(t, nil)
	other := newSigner(t)
	w.log.add(other.hashedRekord(t, "artifact 3"))
	c := w.client(t)
	digest := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	for name, x := range map[string]struct {
		query     Query
		indexes   []int64
		confirmed bool
	}{
		"hash":                 {Query{Hash: digest("artifact 3")}, []int64{12, 6}, true},
		"hash and key":         {Query{Hash: digest("artifact 3"), PublicKey: other.pem}, []int64{12}, true},
		"hash or key":          {Query{Hash: digest("artifact 4"), PublicKey: other.pem, Any: true}, []int64{12, 7}, true},
		"closed tree":          {Query{Hash: digest("old artifact 1")}, []int64{1}, true},
		"subject, kept":        {Query{Hash: w.subject}, []int64{11}, true},
		"subject, not kept":    {Query{Hash: w.unkept}, []int64{10}, false},
		"hash in the subject":  {Query{Subject: digest("artifact 5")}, []int64{8}, true},
		"nobody's e-mail":      {Query{Email: "nobody@example.test"}, nil, true},
		"hash, nobody's email": {Query{Hash: digest("artifact 3"), Email: "nobody@example.test"}, nil, true},
		"key":                  {Query{PublicKey: w.signer.pem}, []int64{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := c.Search(t.Context(), x.query)
			if err != nil {
				t.Fatal(err)
			}
			hits, err := collect(s.Hits(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			var indexes []int64
			for _, h := range hits {
				indexes = append(indexes, h.LogIndex)
				if h.Confirmed != x.confirmed {
					t.Errorf("entry %d: confirmed is %v", h.LogIndex, h.Confirmed)
				}
			}
			if !slices.Equal(indexes, x.indexes) || s.Len() != len(indexes) || s.CompleteTo != 10 || s.Truncated {
				t.Errorf("found %v, not %v (%d, complete to %d, truncated %v)", indexes, x.indexes, s.Len(), s.CompleteTo, s.Truncated)
			}
		})
	}
	for _, q := range []Query{{}, {Any: true}, {Hash: "abc"}, {PublicKey: []byte("no key")}} {
		if s, err := c.Search(t.Context(), q); err == nil || s != nil {
			t.Errorf("%+v: %+v, %v", q, s, err)
		}
	}
}

func TestSearchTruncated(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.MaxResults = 2 })
	s, err := w.client(t).Search(t.Context(), Query{PublicKey: w.signer.pem})
	if err != nil || !s.Truncated || s.Len() != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// An attestation that a batch had no room for is asked for by itself.
func TestSearchLargeAttestations(t *testing.T) {
	w := newWorld(t, nil)
	var oldest string
	for i := range 3 {
		p, digest := w.signer.intoto(t, strings.Repeat("long ", 180_000)+fmt.Sprint(i))
		w.log.add(p)
		if i == 0 {
			oldest = digest
		}
	}
	c := w.client(t)
	s, err := c.Search(t.Context(), Query{PublicKey: w.signer.pem})
	if err != nil {
		t.Fatal(err)
	}
	s.terms = [][]tlog.Key{{{Type: tlog.KeyDigest, Value: "sha256:" + oldest}}} // whose attestation is left out
	n := 0
	for h, err := range s.Hits(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if h.Confirmed != (n == 2) || n == 2 && h.Attestation == nil {
			t.Errorf("hit %d: confirmed is %v", n, h.Confirmed)
		}
		if n++; n == 3 {
			break
		}
	}
	if seen := w.proxy.requests(); !slices.ContainsFunc(seen, func(r string) bool { return strings.HasPrefix(r, "GET /api/v1/log/entries/") }) {
		t.Errorf("it was not asked for by itself: %q", seen)
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	var g errgroup.Group
	for i := range 16 {
		proposals := [][]byte{w.signer.hashedRekord(t, fmt.Sprint("first ", i)), w.signer.hashedRekord(t, fmt.Sprint("second ", i))}
		g.Go(func() error {
			for _, p := range proposals {
				e, err := c.Upload(t.Context(), p)
				if err != nil {
					return err
				}
				if _, err := c.EntryByUUID(t.Context(), e.UUID); err != nil {
					return err
				}
				if _, err := c.Log(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if newest := c.newest(); len(newest) != 2 || newest[1].Size != 41 && newest[0].Size != 41 {
		t.Errorf("remembered %v", newest)
	}
}

func TestNew(t *testing.T) {
	a, b := newLogKey(t), newLogKey(t)
	trust := func(urls ...string) *verify.Trust {
		var m verify.Material
		for i, u := range urls {
			key, err := sig.ParsePublicKey([]logKey{a, b}[i].spki(t))
			if err != nil {
				t.Fatal(err)
			}
			m.Logs = append(m.Logs, verify.Log{BaseURL: u, Key: key})
		}
		trust, err := verify.NewTrust(m)
		if err != nil {
			t.Fatal(err)
		}
		return trust
	}
	for name, x := range map[string]struct {
		url   string
		trust *verify.Trust
		named string
		logs  int // 0: refused
	}{
		"no trust":             {"http://a.test", nil, "", 0},
		"no log":               {"http://a.test", trust(), "", 0},
		"another URL":          {"http://a.test", trust("https://b.test"), "", 1},
		"one of two":           {"http://a.test/", trust("HTTP://A.test", "http://b.test"), "", 1},
		"two keys":             {"http://a.test", trust("http://a.test", "http://a.test/"), "", 2},
		"two keys, other URL":  {"http://127.0.0.1:3000", trust("http://a.test", "http://a.test"), "", 2},
		"which of two":         {"http://127.0.0.1:3000", trust("http://a.test", "http://b.test"), "", 0},
		"that one":             {"http://127.0.0.1:3000", trust("http://a.test", "http://b.test"), "http://b.test", 1},
		"none of two":          {"http://a.test", trust("http://a.test", "http://b.test"), "http://c.test", 0},
		"other path":           {"http://a.test/x", trust("http://a.test/y", "http://a.test/z"), "", 0},
		"not the only one":     {"http://a.test", trust("http://a.test"), "http://c.test", 0},
		"no URL":               {"a.test:3000", trust("http://a.test"), "", 0},
		"no scheme for a log":  {"ftp://a.test", trust("http://a.test"), "", 0},
		"query":                {"http://a.test?x", trust("http://a.test"), "", 0},
		"no host":              {"http:///x", trust("http://a.test"), "", 0},
		"fragment of a secret": {"http://a.test#x", trust("http://a.test"), "", 0},
	} {
		c, err := New(x.url, x.trust, Options{LogURL: x.named})
		if (err == nil) != (x.logs > 0) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(c.trust.Material().Logs) != x.logs {
			t.Errorf("%s: %d logs are believed, not %d", name, len(c.trust.Material().Logs), x.logs)
		}
	}
}

func TestFetchKey(t *testing.T) {
	w := newWorld(t, nil)
	got, err := FetchKey(t.Context(), w.proxy.URL, Options{})
	if want := string(keyPEM(t, &w.key.PublicKey)); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"-----BEGIN", `"-----BEGIN"`, `""`, "", `"` + "\\u0000"} {
		w.proxy.setLie(func(_ *http.Request, a *answer) { a.body = []byte(bad) })
		if got, err := FetchKey(t.Context(), w.proxy.URL, Options{}); !errors.Is(err, verify.ErrMalformed) || got != nil {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
}

// Rekor has the key in PEM alone, and others may have it in JSON alone.
func TestFetchKeyForms(t *testing.T) {
	key := newLogKey(t)
	want := string(keyPEM(t, &key.PublicKey))
	for name, server := range map[string]http.HandlerFunc{
		"Rekor": func(w http.ResponseWriter, r *http.Request) { // as v1.5.4 answers
			if accept := r.Header.Get("Accept"); accept != "application/x-pem-file" {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusNotAcceptable)
				fmt.Fprint(w, `{"code":406,"message":"unsupported media type requested, only [application/x-pem-file] are available"}`)
				return
			}
			w.Header().Set("Content-Type", "application/x-pem-file")
			fmt.Fprint(w, want)
		},
		"JSON": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(append(encode(t, want), '\n'))
		},
	} {
		p := newProxy(t, server)
		if got, err := FetchKey(t.Context(), p.URL, Options{Retries: -1}); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A password in a URL is in no error.
func TestNoPasswordInErrors(t *testing.T) {
	key := newLogKey(t)
	var two []verify.Log
	for _, at := range []string{"https://a.test", "https://b.test"} {
		two = append(two, verify.Log{BaseURL: at, Key: newLogKey(t).trust(t).Material().Logs[0].Key})
	}
	trust, err := verify.NewTrust(verify.Material{Logs: two})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"ftp://me:secret@log.test", "me:secret@log.test", "https://me:se\x00secret@log.test", "https://me:secret@log.test"} {
		_, err := New(at, trust, Options{})
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "log.test") {
			t.Errorf("%q: %v", at, err)
		}
	}
	_, err = New("https://a.test", trust, Options{LogURL: "https://me:secret@log.test"})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	_, err = New("http://me:secret@127.0.0.1:1", key.trust(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FetchKey(t.Context(), "http://me:secret@127.0.0.1:1", Options{Retries: -1}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
