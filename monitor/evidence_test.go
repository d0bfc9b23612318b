package monitor

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// samples returns evidence of each form that proves something, made by hand: a fork at one size, at two, and a broken promise.
func samples(t testing.TB, w *world) map[string]*Evidence {
	t.Helper()
	leaves := w.log.trees[1]
	forked := append(append([]tlog.Hash(nil), leaves[:4]...), tlog.LeafHash([]byte("x")), tlog.LeafHash([]byte("y")), tlog.LeafHash([]byte("z")))
	head := func(all []tlog.Hash, n int) []byte {
		return []byte(w.log.checkpoint(newTree, tlog.Head{Size: int64(n), Root: rootOf(all[:n])}))
	}
	key := string(w.key.PEM())
	entries, err := verify.ParseEntries(w.log.entry(t, 3+5), 1)
	if err != nil {
		t.Fatal(err)
	}
	in := entries[0]
	broken := receipts(t, promise(t, w, 3+5, byDev("hidden")))[0]
	return map[string]*Evidence{
		"one size":  {logKey: key, first: head(leaves, 6), second: head(forked, 6)},
		"two sizes": {logKey: key, first: head(leaves, 6), second: head(forked, 7), prefix: &prefix{rootOf(forked[:6]), consistency(forked, 6, true)}},
		"went back": {logKey: key, first: head(leaves, 9), second: head(forked, 5), prefix: &prefix{rootOf(leaves[:5]), consistency(leaves[:9], 5, true)}},
		"promise":   {logKey: key, promise: &broken, leaf: &placedLeaf{base: 3, hash: tlog.LeafHash(in.Body), path: in.Proof.Path, checkpoint: in.Proof.Checkpoint}},
	}
}

// Evidence proves what it proves to anybody who trusts the log's key, and whatever byte of it is changed, nothing else.
func TestEvidence(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	for name, e := range samples(t, w) {
		data, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseEvidence(data)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, data)
		}
		want, err := read.Verify(w.watch.Trust)
		if err != nil || want.Proved != (name != "promise") || (want.Given != "") != (name == "promise") {
			t.Fatalf("%s: %+v, %v", name, want, err)
		}
		t.Log(want.Text, want.Given)
		accepted := 0
		for i := range data {
			for _, flip := range []byte{1, 0x20} {
				changed := bytes.Clone(data)
				changed[i] ^= flip
				e, err := ParseEvidence(changed)
				if err != nil {
					continue
				}
				accepted++
				if got, err := e.Verify(w.watch.Trust); err == nil && got != want {
					t.Errorf("%s: byte %d changed: %+v\n%s", name, i, got, changed)
				}
			}
		}
		if accepted == 0 {
			t.Errorf("%s: no change was verified at all", name)
		}
		for _, trust := range []*verify.Trust{nil, trustIn(t, testKey("another log"))} {
			if f, err := read.Verify(trust); err == nil || f.Proved {
				t.Errorf("%s: against another log: %+v, %v", name, f, err)
			}
		}
	}
}

// An honest log cannot be accused.
func TestHonestEvidence(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	leaves := w.log.trees[1]
	head := func(n int) []byte {
		return []byte(w.log.checkpoint(newTree, tlog.Head{Size: int64(n), Root: rootOf(leaves[:n])}))
	}
	oldHead := []byte(w.log.checkpoint(oldTree, tlog.Head{Size: 3, Root: rootOf(w.log.trees[0])}))
	otherHead := []byte(signNote(testKey("another log"), newTree, tlog.Head{Size: 6, Root: rootOf(leaves[1:7])}))
	both := trustIn(t, w.key, testKey("another log"))
	key := string(w.key.PEM())
	for name, e := range map[string]*Evidence{
		"grown":                 {first: head(5), second: head(9), prefix: &prefix{rootOf(leaves[:5]), consistency(leaves[:9], 5, true)}},
		"grown, from nothing":   {first: head(0), second: head(9), prefix: &prefix{tlog.EmptyRoot, nil}},
		"grown, no proof":       {first: head(5), second: head(9)},
		"an older one":          {first: head(9), second: head(5)},
		"an older one, proved":  {first: head(9), second: head(8), prefix: &prefix{rootOf(leaves[:8]), consistency(leaves[:9], 8, true)}},
		"the same":              {first: head(9), second: head(9)},
		"trees of another kind": {first: oldHead, second: head(3)},
		"keys of two logs":      {first: head(6), second: otherHead},
	} {
		e.logKey = key
		data, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if e, err = ParseEvidence(data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f, err := e.Verify(both)
		if err != nil || f.Proved || f.Text == "" {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		t.Log(name+":", f.Text)
	}
	wrong := tlog.Hash{1}
	for name, e := range map[string]*Evidence{
		"a prefix of its own":       {first: head(5), second: head(9), prefix: &prefix{wrong, consistency(leaves[:9], 5, true)}},
		"a prefix at a power of 2":  {first: head(8), second: head(9), prefix: &prefix{wrong, consistency(leaves[:9], 8, true)}},
		"another path":              {first: head(5), second: head(9), prefix: &prefix{rootOf(leaves[:6]), consistency(leaves[:9], 6, true)}},
		"no path":                   {first: head(5), second: head(9), prefix: &prefix{wrong, nil}},
		"a proof for one size":      {first: head(9), second: head(9), prefix: &prefix{wrong, nil}},
		"a prefix of nothing":       {first: head(0), second: head(9), prefix: &prefix{wrong, nil}},
		"not signed":                {first: head(5), second: bytes.Replace(head(9), []byte("\n9\n"), []byte("\n8\n"), 1)},
		"another log's, not signed": {first: otherHead, second: bytes.Replace(otherHead, []byte("\n6\n"), []byte("\n7\n"), 1)},
	} {
		if f, err := e.Verify(both); !errors.Is(err, verify.ErrBadProof) || f.Proved {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// That a promise was broken is not proved, but only if the tree begins where the evidence says: whoever wrote it could choose that.
func TestPromiseEvidence(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	trust := w.watch.Trust
	in := func(i int) *verify.Entry {
		entries, err := verify.ParseEntries(w.log.entry(t, 3+i), 1)
		if err != nil {
			t.Fatal(err)
		}
		return entries[0]
	}
	kept := receipts(t, w.log.entry(t, 3+5))[0]
	at := func(i int, base int64) *placedLeaf {
		e := in(i)
		return &placedLeaf{base: base, hash: tlog.LeafHash(e.Body), path: e.Proof.Path, checkpoint: e.Proof.Checkpoint}
	}
	if f, err := (&Evidence{promise: &kept, leaf: at(5, 3)}).Verify(trust); err != nil || f.Proved || f.Given != "" {
		t.Errorf("a promise that was kept: %+v, %v", f, err)
	}
	if f, err := (&Evidence{promise: &kept, leaf: at(6, 2)}).Verify(trust); err != nil || f.Proved || !strings.Contains(f.Given, "log index 2 is the first of tree") {
		t.Errorf("a false beginning of the tree: %+v, %v", f, err)
	}
	broken := receipts(t, promise(t, w, 3+5, byDev("hidden")))[0]
	if f, err := (&Evidence{promise: &broken, leaf: at(5, 3)}).Verify(trust); err != nil || f.Proved || !strings.Contains(f.Given, "log index 3 is the first of tree") {
		t.Errorf("a promise that was broken: %+v, %v", f, err)
	}
	elsewhere := at(6, 2)
	elsewhere.checkpoint = []byte(signNote(testKey("another log"), newTree, w.headAt(9)))
	if f, err := (&Evidence{promise: &kept, leaf: elsewhere}).Verify(trustIn(t, w.key, testKey("another log"))); err != nil || f.Proved {
		t.Errorf("a promise of one log, a tree of another: %+v, %v", f, err)
	}
	bad := map[string]*Evidence{
		"another leaf":       {promise: &kept, leaf: at(6, 3)},
		"before the tree":    {promise: &kept, leaf: at(5, 9)},
		"a negative base":    {promise: &kept, leaf: at(5, -1)},
		"a leaf of no proof": {promise: &kept, leaf: at(5, 3)},
		"no promise":         {promise: &kept, leaf: at(5, 3)},
	}
	bad["a leaf of no proof"].leaf.hash[0]++
	forged := kept
	forged.body = append(bytes.Clone(kept.body), ' ')
	bad["no promise"].promise = &forged
	for name, e := range bad {
		if f, err := e.Verify(trust); !errors.Is(err, verify.ErrBadProof) || f.Proved {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// What is not evidence is told so.
func TestParseEvidence(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	all := samples(t, w)
	for name, e := range all {
		good, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range [][2]string{{`"format"`, `"form"`}, {"evidence 1", "evidence 2"}, {`"logKey"`, `"more": 1, "logKey"`}, {"BEGIN PUBLIC", "BEGIN PRIVATE"}, {"{", "[{"}, {"}\n}", "}"},
			{`"first"`, `"third"`}, {`"body"`, `"b"`}, {`"leaf"`, `"leaves"`}, {`"logID": "`, `"logID": "A`}} {
			bad := strings.Replace(string(good), change[0], change[1], 1)
			if bad == string(good) {
				continue
			}
			if e, err := ParseEvidence([]byte(bad)); !errors.Is(err, verify.ErrMalformed) || e != nil {
				t.Errorf("%s, %q: %v", name, change, err)
			}
		}
	}
	mixed := *all["promise"]
	mixed.first, mixed.second = all["one size"].first, all["one size"].second
	for _, bad := range []string{"", "null", "{}", strings.Repeat(" ", MaxEvidence+1)} {
		if _, err := ParseEvidence([]byte(bad)); !errors.Is(err, verify.ErrMalformed) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}
