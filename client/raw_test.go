package client

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

func (w *world) raw(t testing.TB) *Raw {
	r, err := NewRaw(w.proxy.URL, Options{Sleep: noSleep, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A Raw returns what the log answers, as a Client verifies it.
func TestRaw(t *testing.T) {
	w := newWorld(t, nil)
	c, r := w.client(t), w.raw(t)
	want, err := c.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	trees, err := r.Trees(t.Context())
	if err != nil || len(trees) != 2 {
		t.Fatalf("trees: %+v, %v", trees, err)
	}
	for i, tree := range trees {
		if tree.ID != strconv.FormatInt(want[i].ID, 10) || tree.Head != want[i].Checkpoint.Head || !bytes.Equal(tree.Signed, want[i].Signed) {
			t.Errorf("tree %d: %+v", i, tree)
		}
	}
	leaves, err := r.Leaves(t.Context(), 2, 12)
	if err != nil || len(leaves) != 10 {
		t.Fatalf("leaves: %d, %v", len(leaves), err)
	}
	for i, l := range leaves {
		e, err := c.EntryByIndex(t.Context(), int64(2+i))
		if err != nil {
			t.Fatal(err)
		}
		if l.UUID != e.UUID || l.LogID != hex.EncodeToString(e.LogID) || l.LogIndex != e.LogIndex || l.IntegratedTime != e.IntegratedTime || !bytes.Equal(l.Body, e.Body) || len(l.SET) == 0 {
			t.Errorf("leaf %d: %+v", i, l)
		}
	}
	e, err := r.Entry(t.Context(), 5)
	if err != nil || e.LogIndex != 5 || e.Proof == nil || e.Proof.Index != 2 {
		t.Errorf("entry: %+v, %v", e, err)
	}
	path, err := r.ConsistencyPath(t.Context(), newTree, 3, 9)
	if err != nil || tlog.VerifyConsistency(tlog.Head{Size: 3, Root: w.log.roots[3]}, tlog.Head{Size: 9, Root: w.log.roots[9]}, path) != nil {
		t.Errorf("path: %v, %v", path, err)
	}
	for _, err := range []error{
		second(r.Leaves(t.Context(), 10, 14)), second(r.Leaves(t.Context(), 12, 13)), second(r.Entry(t.Context(), 12)),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("error is %v", err)
		}
	}
	for _, n := range [][2]int64{{-1, 2}, {3, 3}, {3, 2}, {0, 11}} {
		if _, err := r.Leaves(t.Context(), n[0], n[1]); err == nil {
			t.Errorf("leaves %v were asked for", n)
		}
	}
}

// What a log answers to a Raw may be a lie, but not to another question, nor out of bounds.
func TestRawLies(t *testing.T) {
	w := newWorld(t, nil)
	r := w.raw(t)
	honest := string(w.log.serve(t, http.MethodPost, "/api/v1/log/entries/retrieve", []byte(`{"logIndexes":[4,5]}`)).body)
	leaf := func(i int) string {
		return fmt.Sprintf(`{"%064d":{"body":"eA==","integratedTime":1,"logIndex":%d}}`, i, i)
	}
	for name, c := range map[string]struct {
		body  string
		class error // nil: it is taken
		n     int
	}{
		"honest":            {honest, nil, 2},
		"next to nothing":   {"[" + leaf(4) + "," + leaf(5) + "]", nil, 2},
		"other order":       {"[" + leaf(5) + "," + leaf(4) + "]", nil, 2},
		"in one object":     {"[" + strings.TrimSuffix(leaf(4), "}") + "," + strings.TrimPrefix(leaf(5), "{") + "]", nil, 2},
		"one is missing":    {"[" + leaf(4) + "]", ErrNotFound, 1},
		"the first missing": {"[" + leaf(5) + "]", ErrNotFound, 0},
		"none":              {"[]", ErrNotFound, 0},
		"another":           {"[" + leaf(4) + "," + leaf(6) + "]", verify.ErrBadProof, 0},
		"one twice":         {"[" + leaf(4) + "," + leaf(4) + "]", verify.ErrBadProof, 0},
		"too many":          {"[" + leaf(4) + "," + leaf(5) + "," + leaf(5) + "]", verify.ErrMalformed, 0},
		"no array":          {leaf(4), verify.ErrMalformed, 0},
		"null":              {"null", verify.ErrMalformed, 0},
		"more after it":     {"[" + leaf(4) + "," + leaf(5) + "]]", verify.ErrMalformed, 0},
		"another ID":        {strings.Replace("["+leaf(4)+"]", `"0`, `"x`, 1), verify.ErrMalformed, 0},
		"no body":           {strings.Replace("["+leaf(4)+"]", `"body"`, `"b"`, 1), verify.ErrMalformed, 0},
		"no index":          {strings.Replace("["+leaf(4)+"]", `"logIndex"`, `"i"`, 1), verify.ErrMalformed, 0},
		"no time":           {strings.Replace("["+leaf(4)+"]", `"integratedTime"`, `"t"`, 1), verify.ErrMalformed, 0},
		"a line in base64":  {strings.Replace("["+leaf(4)+"]", `eA==`, `eA=\n=`, 1), verify.ErrMalformed, 0},
		"bits in base64":    {strings.Replace("["+leaf(4)+"]", `eA==`, `eB==`, 1), verify.ErrMalformed, 0},
		"a member twice":    {strings.Replace("["+leaf(4)+"]", `"logIndex"`, `"body":"eQ==","logIndex"`, 1), verify.ErrMalformed, 0},
		"a long log ID":     {strings.Replace("["+leaf(4)+"]", `"logIndex"`, `"logID":"`+strings.Repeat("00", 65)+`","logIndex"`, 1), verify.ErrMalformed, 0},
		"a long SET":        {strings.Replace("["+leaf(4)+"]", `"logIndex"`, `"verification":{"signedEntryTimestamp":"`+strings.Repeat("AAAA", verify.MaxSignature)+`"},"logIndex"`, 1), verify.ErrMalformed, 0},
		"a long answer":     {strings.Repeat(" ", maxEntries+1), verify.ErrMalformed, 0},
	} {
		w.proxy.setLie(func(_ *http.Request, a *answer) { a.body = []byte(c.body) })
		got, err := r.Leaves(t.Context(), 4, 6)
		if !errors.Is(err, c.class) || (err == nil) != (c.class == nil) || len(got) != c.n {
			t.Errorf("%s: %d leaves, %v", name, len(got), err)
		}
		for i, l := range got {
			if l.LogIndex != int64(4+i) {
				t.Errorf("%s: leaf %d is %+v", name, i, l)
			}
		}
	}
	w.proxy.setLie(func(_ *http.Request, a *answer) {
		a.body = bytes.Replace(a.body, []byte(`"logIndex":5`), []byte(`"logIndex":6`), 1)
	})
	if _, err := r.Entry(t.Context(), 5); !errors.Is(err, verify.ErrBadProof) {
		t.Errorf("another entry: %v", err)
	}
	w.proxy.setLie(func(_ *http.Request, a *answer) { a.body = []byte("{}") })
	if _, err := r.Entry(t.Context(), 5); !errors.Is(err, verify.ErrBadProof) {
		t.Errorf("no entry: %v", err)
	}
}

// FuzzRaw: whatever a server answers, what is returned is to the question, and bounded.
func FuzzRaw(f *testing.F) {
	w := newWorld(f, nil)
	f.Add(w.log.serve(f, http.MethodPost, "/api/v1/log/entries/retrieve", []byte(`{"logIndexes":[4,5]}`)).body)
	f.Add(w.log.get("/api/v1/log").body)
	f.Add(w.log.get("/api/v1/log/entries?logIndex=5").body)
	f.Add(w.log.get("/api/v1/log/proof?firstSize=3&lastSize=7").body)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := NewRaw("http://log.test", Options{HTTP: &http.Client{Transport: fixed{http.StatusOK, body}}, Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		leaves, err := r.Leaves(t.Context(), 4, 6)
		if err == nil && len(leaves) != 2 || err != nil && len(leaves) > 1 {
			t.Errorf("%d leaves, %v", len(leaves), err)
		}
		for i, l := range leaves {
			if l.LogIndex != int64(4+i) || len(l.UUID) != 64 && len(l.UUID) != 80 {
				t.Errorf("leaf %d is %+v", i, l)
			}
		}
		if e, err := r.Entry(t.Context(), 5); (e == nil) == (err == nil) || e != nil && e.LogIndex != 5 {
			t.Errorf("%+v, %v", e, err)
		}
		if trees, err := r.Trees(t.Context()); (len(trees) == 0) == (err == nil) || len(trees) > MaxTrees {
			t.Errorf("%d trees, %v", len(trees), err)
		}
		if path, _ := r.ConsistencyPath(t.Context(), 1, 3, 7); len(path) > verify.MaxProof {
			t.Errorf("%d hashes", len(path))
		}
	})
}
