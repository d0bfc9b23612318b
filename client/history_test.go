package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/verify"
)

// TestForks: what a log signed before, it has to stand by, in this client and in one
// that has its checkpoints.
func TestForks(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	// fork has the log's key and tree, and four other entries at its end, of which the
	// first is the tree's sixth.
	fork := func(size int) *realLog {
		l := newRealLog(t, w.key, nil, w.old...)
		n := min(size, 5)
		l.add(w.proposals[:n]...)
		for i := n; i < size; i++ {
			l.add(w.signer.hashedRekord(t, fmt.Sprint("fork ", i)))
		}
		return l
	}
	uses := map[string]func(context.Context, *Client) (any, error){
		"log":      func(ctx context.Context, c *Client) (any, error) { return c.Log(ctx) },
		"by index": func(ctx context.Context, c *Client) (any, error) { return c.EntryByIndex(ctx, 5) },
		"by ID":    func(ctx context.Context, c *Client) (any, error) { return c.EntryByUUID(ctx, w.id(5)) },
		"upload":   func(ctx context.Context, c *Client) (any, error) { return c.Upload(ctx, w.proposals[2]) },
		"entries":  func(ctx context.Context, c *Client) (any, error) { return collect(c.Entries(ctx, 4, 6)) },
		"search":   func(ctx context.Context, c *Client) (any, error) { return hits(ctx, c, Query{PublicKey: w.signer.pem}) },
	}
	for what, other := range map[string]*realLog{
		"fork of the same size": fork(9), "longer fork": fork(14), "shorter fork": fork(7), "shrunk": fork(5), "empty": fork(0),
	} {
		for name, use := range uses {
			if what == "empty" && name != "log" && name != "upload" {
				continue // its closed tree is as it was: all of these entries are gone, or nothing is said
			}
			// A client that saw the log itself, one that has its checkpoints, and one that was let down before.
			for who, checkpoints := range map[string][][]byte{"saw": nil, "restored": w.seen} {
				w.proxy.setBehind(w.log)
				c := w.client(t, checkpoints...)
				if checkpoints == nil {
					if _, err := c.Log(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				w.proxy.setBehind(other)
				for range 2 { // an error is not forgotten
					got, err := use(t.Context(), c)
					if !errors.Is(err, ErrInconsistent) || !errors.Is(err, verify.ErrBadProof) {
						t.Errorf("%s, %s, %s: %+v, %v", what, name, who, got, err)
					}
				}
				if all := c.Checkpoints(); len(all) != 2 || string(all[0])+string(all[1]) != string(w.seen[0])+string(w.seen[1]) {
					t.Errorf("%s, %s, %s: it was remembered", what, name, who)
				}
				w.proxy.setBehind(w.log)
				if _, err := use(t.Context(), c); err != nil {
					t.Errorf("%s, %s, %s: the log itself: %v", what, name, who, err)
				}
			}
		}
	}
}

// A log whose trees were replaced contradicts itself, though the key is the same.
func TestReplacedTree(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	w.proxy.setBehind(newRealLog(t, w.key, nil)) // without the closed tree
	if got, err := w.client(t, w.seen...).Log(t.Context()); !errors.Is(err, ErrInconsistent) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// An answer that is older than what was seen passes for an entry, if what was seen
// extends it, and never for the log's present state.
func TestStaleAnswers(t *testing.T) {
	w := newWorld(t, nil)
	staleLog, staleEntry := w.log.get("/api/v1/log"), w.log.get("/api/v1/log/entries?logIndex=6")
	w.log.add(w.signer.hashedRekord(t, "more"), w.signer.hashedRekord(t, "and more"))
	c := w.client(t)
	if _, err := c.Log(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.proxy.setLie(func(r *http.Request, a *answer) {
		switch r.URL.Path {
		case "/api/v1/log":
			*a = *staleLog
		case "/api/v1/log/entries":
			*a = *staleEntry
		}
	})
	if got, err := c.Log(t.Context()); !errors.Is(err, ErrInconsistent) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if e, err := c.EntryByIndex(t.Context(), 6); err != nil || e.Proved.Checkpoint.Size != 9 {
		t.Errorf("%+v, %v", e, err)
	}
	if newest := c.newest(); newest[0].Size != 11 && newest[1].Size != 11 {
		t.Errorf("remembered %+v", newest)
	}
	w.proxy.setLie(func(r *http.Request, a *answer) {
		switch r.URL.Path {
		case "/api/v1/log/proof":
			a.body = []byte(`{"hashes":[],"rootHash":""}`)
		case "/api/v1/log/entries":
			*a = *staleEntry
		}
	})
	if e, err := c.EntryByIndex(t.Context(), 6); !errors.Is(err, ErrInconsistent) || e != nil {
		t.Errorf("without a proof: %+v, %v", e, err)
	}
}

// That a log cannot be asked for a proof is no contradiction, but nothing is returned.
func TestProofUnavailable(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	w.log.add(w.signer.hashedRekord(t, "more"))
	c := w.client(t, w.seen...)
	for _, status := range []int{500, 503, 404, 400} {
		w.proxy.setLie(func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log/proof" {
				*a = answer{status, http.Header{}, nil}
			}
		})
		got, err := c.EntryByIndex(t.Context(), 6)
		var e *Error
		if got != nil || !errors.As(err, &e) || e.Status != status || errors.Is(err, ErrInconsistent) != (status < 500) {
			t.Errorf("%d: %+v, %v", status, got, err)
		}
	}
	w.proxy.setLie(nil)
	if _, err := c.EntryByIndex(t.Context(), 6); err != nil {
		t.Error(err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	foreign := newWorld(t, nil)
	foreign.learn(t)
	tampered := []byte(strings.Replace(string(w.seen[0]), "\n3\n", "\n4\n", 1))
	if string(tampered) == string(w.seen[0]) {
		tampered = []byte(strings.Replace(string(w.seen[0]), "\n9\n", "\n8\n", 1))
	}
	for what, checkpoints := range map[string][][]byte{
		"foreign": foreign.seen, "tampered": {tampered}, "twice": {w.seen[0], w.seen[0]}, "empty": {nil},
	} {
		c, err := New(w.proxy.URL, w.key.trust(t), Options{Checkpoints: checkpoints})
		if err == nil || c != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// One request for a proof serves all entries under one checkpoint.
func TestProofsAreAskedForOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	w.log.add(w.signer.hashedRekord(t, "more"))
	c := w.client(t, w.seen...)
	w.proxy.requests()
	if _, err := collect(c.Entries(t.Context(), 3, 13)); err != nil {
		t.Fatal(err)
	}
	if seen := w.proxy.requests(); len(seen) != 2 {
		t.Errorf("requests: %q", seen)
	}
}

// A second key that is trusted does not make a fork another tree: not with the tree's own
// key gone, and not beside it.
func TestForkUnderAnotherKey(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	other := newLogKey(t)
	material := w.key.trust(t).Material()
	material.Logs = append(material.Logs, other.trust(t).Material().Logs...)
	both, err := verify.NewTrust(material)
	if err != nil {
		t.Fatal(err)
	}
	fork := newRealLog(t, other, nil, w.old...)
	for i := range 12 {
		fork.add(w.signer.hashedRekord(t, fmt.Sprint("fork ", i)))
	}
	same := newRealLog(t, other, nil, w.old...) // not even a fork: what a tree is signed with is its own
	same.add(w.proposals...)
	for what, l := range map[string]*realLog{"fork": fork, "same entries": same} {
		w.proxy.setBehind(l)
		c, err := New(w.proxy.URL, both, Options{Sleep: noSleep, Checkpoints: w.seen})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Log(t.Context()); !errors.Is(err, ErrInconsistent) || got != nil {
			t.Errorf("%s: log: %+v, %v", what, got, err)
		}
		if got, err := c.EntryByIndex(t.Context(), 7); !errors.Is(err, ErrInconsistent) || got != nil {
			t.Errorf("%s: entry: %+v, %v", what, got, err)
		}
		if now := c.Checkpoints(); string(now[0])+string(now[1]) != string(w.seen[0])+string(w.seen[1]) {
			t.Errorf("%s: it was remembered", what)
		}
	}
	if c, err := New(w.proxy.URL, both, Options{Checkpoints: append(w.seen, fork.checkpoint(t))}); err == nil {
		t.Errorf("both were restored: %q", c.Checkpoints())
	}
}

// checkpoint returns the active tree's.
func (l *realLog) checkpoint(t testing.TB) []byte {
	t.Helper()
	info, err := parseLogInfo(l.get("/api/v1/log").body)
	if err != nil {
		t.Fatal(err)
	}
	return info[len(info)-1].signed
}

// What a tree is said to extend was proved.
func TestTreeExtends(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	w.log.add(w.signer.hashedRekord(t, "more"))
	for _, x := range []struct {
		checkpoints [][]byte
		old, active int64 // sizes; -1: none
	}{{nil, -1, -1}, {w.seen, 3, 9}} {
		c := w.client(t, x.checkpoints...)
		for range 2 {
			trees, err := c.Log(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []int64{x.old, x.active} {
				if e := trees[i].Extends; want < 0 && e != nil || want >= 0 && (e == nil || e.Size != want) {
					t.Errorf("tree %d extends %+v, not size %d", i, e, want)
				}
			}
			x.old, x.active = 3, 10
		}
	}
	trees, err := w.client(t, w.seen...).Log(t.Context())
	if err != nil || *trees[1].Extends != w.head.Head {
		t.Errorf("%+v, %v", trees, err)
	}
}

// Two clients that saw the log go on from what both saw.
func TestRemember(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	old := w.log.checkpoint(t)
	w.log.add(w.signer.hashedRekord(t, "more"))
	newer := w.log.checkpoint(t)
	fork := newRealLog(t, w.key, nil, w.old...)
	for i := range 10 {
		fork.add(w.signer.hashedRekord(t, fmt.Sprint("fork ", i)))
	}
	forked := fork.checkpoint(t)
	for _, x := range []struct {
		name         string
		has, is      []byte
		want         []byte
		inconsistent bool
	}{
		{"first", nil, old, old, false},
		{"newer", old, newer, newer, false},
		{"older", newer, old, newer, false},
		{"the same", newer, newer, newer, false},
		{"fork, longer", old, forked, old, true},
		{"fork, shorter", forked, old, forked, true},
		{"fork, same size", newer, forked, newer, true},
	} {
		var has [][]byte
		if x.has != nil {
			has = [][]byte{x.has}
		}
		c := w.client(t, has...)
		err := c.Remember(t.Context(), x.is)
		if (err != nil) != x.inconsistent || err != nil && !errors.Is(err, ErrInconsistent) {
			t.Errorf("%s: %v", x.name, err)
		}
		if now := c.Checkpoints(); len(now) != 1 || string(now[0]) != string(x.want) {
			t.Errorf("%s: %q", x.name, now)
		}
	}
	foreign := newWorld(t, nil)
	c := w.client(t)
	if err := c.Remember(t.Context(), foreign.log.checkpoint(t)); err == nil || len(c.Checkpoints()) != 0 {
		t.Errorf("foreign: %v", err)
	}
}
