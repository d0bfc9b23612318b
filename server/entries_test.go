package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// verify checks an answer that is one entry as a client would.
func (g *rig) verify(w *httptest.ResponseRecorder) (string, openapi.LogEntryAnon) {
	g.t.Helper()
	return g.verifyJSON(w.Body.Bytes())
}

// verifyJSON checks an entry with all its proofs, and that it is written as
// encoding/json writes it.
func (g *rig) verifyJSON(raw []byte) (string, openapi.LogEntryAnon) {
	g.t.Helper()
	var m openapi.LogEntry
	if err := json.Unmarshal(raw, &m); err != nil || len(m) != 1 {
		g.t.Fatalf("not one entry: %v\n%s", err, raw)
	}
	g.sameAsReflection(raw, m)
	for id, e := range m {
		l := g.logOf(id)
		if want := tlog.LeafHash(e.Body).String(); id[16:] != want {
			g.t.Errorf("entry ID ends in %s, not in the leaf hash %s", id[16:], want)
		}
		if want := tlog.LogID(l.tree.PublicKey).String(); e.LogID != want {
			g.t.Errorf("log ID %s, not %s", e.LogID, want)
		}
		digest := sha256.Sum256(tlog.SETMessage(e.Body, e.IntegratedTime, e.LogID, e.LogIndex))
		if !ecdsa.VerifyASN1(&l.key.PublicKey, digest[:], e.Verification.SignedEntryTimestamp) {
			g.t.Errorf("signed entry timestamp of %s is wrong", id)
		}
		g.verifyInclusion(l, e)
		return id, e
	}
	return "", openapi.LogEntryAnon{}
}

func (g *rig) logOf(id string) *fakeLog {
	g.t.Helper()
	for _, l := range g.logs {
		if fmt.Sprintf("%016x", l.tree.ID) == id[:16] {
			return l
		}
	}
	g.t.Fatalf("entry ID %s is of no tree", id)
	return nil
}

func (g *rig) verifyInclusion(l *fakeLog, e openapi.LogEntryAnon) {
	g.t.Helper()
	p := e.Verification.InclusionProof
	if p == nil {
		g.t.Fatal("no inclusion proof")
	}
	c, err := tlog.OpenCheckpoint([]byte(p.Checkpoint), l.tree.Origin, tlog.NewECDSAVerifier(testHost, l.tree.PublicKey, &l.key.PublicKey))
	if err != nil {
		g.t.Fatal(err)
	}
	if c.Size != p.TreeSize || c.Root.String() != p.RootHash {
		g.t.Errorf("checkpoint for %d %s, proof for %d %s", c.Size, c.Root, p.TreeSize, p.RootHash)
	}
	if e.LogIndex != p.LogIndex+l.tree.BaseIndex {
		g.t.Errorf("global index %d, index in the tree %d, base %d", e.LogIndex, p.LogIndex, l.tree.BaseIndex)
	}
	var path []tlog.Hash
	for _, s := range p.Hashes {
		h, err := tlog.ParseHash(s)
		if err != nil {
			g.t.Fatal(err)
		}
		path = append(path, h)
	}
	if err := tlog.VerifyInclusion(tlog.LeafHash(e.Body), p.LogIndex, c.Head, path); err != nil {
		g.t.Error(err)
	}
}

// sameAsReflection checks that an answer is what encoding/json makes of the wire
// type.
func (g *rig) sameAsReflection(raw []byte, v any) {
	g.t.Helper()
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		g.t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(raw), bytes.TrimSpace(want.Bytes())) {
		g.t.Errorf("answer is\n%s\nencoding/json writes\n%s", raw, want.Bytes())
	}
}

// TestCreate checks the headers of the answer to a new entry, and that a copy of
// it is answered with the entry that is there.
func TestCreate(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 5)
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	w := g.want(201, 0, "POST", "//api/v1/log/entries/?apiKey=k&x=1", p)
	id, e := g.verify(w)
	if e.LogIndex != 5 {
		t.Errorf("index %d, not 5", e.LogIndex)
	}
	if got, want := w.Header().Get("ETag"), id; got != want {
		t.Errorf("ETag %s, not %s", got, want)
	}
	if got, want := w.Header().Get("Location"), "/api/v1/log/entries/"+id+"?x=1"; got != want {
		t.Errorf("Location %s, not %s", got, want)
	}
	if w.Header().Get("Cache-Control") != "" || w.Header().Get(headerAttestation) != "" {
		t.Errorf("headers %v", w.Header())
	}
	g.active().fill(t, 1)
	again := g.want(201, 0, "POST", "/api/v1/log/entries", p)
	id2, e2 := g.verify(again)
	if id2 != id || e2.LogIndex != 5 || e2.IntegratedTime != e.IntegratedTime {
		t.Errorf("again: %s at %d, not %s at 5", id2, e2.LogIndex, id)
	}
	if e2.Verification.InclusionProof.TreeSize != 7 {
		t.Errorf("again: proof for size %d, not the current 7", e2.Verification.InclusionProof.TreeSize)
	}
	if again.Header().Get("ETag") != id {
		t.Error("again: no ETag")
	}
}

func TestConflict(t *testing.T) {
	g := newRig(t, nil, func(c *Config) { c.ConflictOnDuplicate = true })
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	id, _ := g.verify(g.want(201, 0, "POST", "/api/v1/log/entries", p))
	w := g.want(409, 409, "POST", "/api/v1/log/entries", p)
	if got, want := messageOf(w), "an equivalent entry already exists in the transparency log with UUID "+id; got != want {
		t.Errorf("message %q, not %q", got, want)
	}
	if w.Header().Get("Location") != "/api/v1/log/entries/"+id || w.Header().Get("ETag") != "" {
		t.Errorf("headers %v", w.Header())
	}
	g.verify(g.want(200, 0, "GET", w.Header().Get("Location"), ""))
}

func TestAttestationOverTheLimit(t *testing.T) {
	parser, err := entry.New(entry.Options{MaxAttestation: 10})
	if err != nil {
		t.Fatal(err)
	}
	g := newRig(t, nil, func(c *Config) { c.Parser, c.MaxAttestation = parser, 10 })
	w := g.want(201, 0, "POST", "/api/v1/log/entries", proposals(t, "intoto-0.0.1.json")[0])
	if got := w.Header().Get("Tallystick-Attestation"); got != "not stored; over the limit of 10 bytes" {
		t.Errorf("header %q", got)
	}
	id, _ := g.verify(w)
	if _, e := g.verify(g.want(200, 0, "GET", "/api/v1/log/entries/"+id, "")); e.Attestation != nil {
		t.Error("attestation was stored")
	}
	// Logged before, when the limit was higher: the attestation is there.
	g.active().fill(t, 1)
	g.active().leaves[0].Attestation = tlog.EmptyRoot
	w = g.want(201, 0, "POST", "/api/v1/log/entries", proposals(t, "intoto-0.0.1.json")[0])
	if got := w.Header().Get("Tallystick-Attestation"); got != "" {
		t.Errorf("header %q, though the attestation is stored", got)
	}
}

// TestLogFails checks status, Retry-After and silence about details for every
// error of a log.
func TestLogFails(t *testing.T) {
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	for _, x := range []struct {
		err    error
		status int
		retry  string
	}{
		{storage.ErrBusy, 503, "1"},
		{fmt.Errorf("secret host: %w", storage.ErrUnavailable), 503, "5"},
		{fmt.Errorf("secret path: %w", storage.ErrHalted), 503, "60"},
		{fmt.Errorf("secret host: %w", storage.ErrUnknown), 503, "1"},
		{context.DeadlineExceeded, 504, ""},
		{errors.New("secret SQL"), 500, ""},
		{storage.ErrConflict, 500, ""},
	} {
		g := newRig(t, nil)
		g.active().addErr = x.err
		w := g.want(x.status, x.status, "POST", "/api/v1/log/entries", p)
		if got := w.Header().Get("Retry-After"); got != x.retry {
			t.Errorf("%v: Retry-After %q, not %q", x.err, got, x.retry)
		}
		if w.Header().Get("Location") != "" || w.Header().Get("ETag") != "" {
			t.Errorf("%v: headers of success", x.err)
		}
		g = newRig(t, nil)
		g.active().fill(t, 3)
		g.active().readErr, g.search.err = x.err, x.err
		hash := strings.Repeat("ab", 32)
		g.want(x.status, x.status, "GET", "/api/v1/log/entries?logIndex=1", "")
		g.want(x.status, x.status, "GET", "/api/v1/log/entries/"+hash, "")
		g.want(x.status, x.status, "POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[1]}`)
		g.want(x.status, x.status, "POST", "/api/v1/log/entries/retrieve", `{"entryUUIDs":["`+hash+`"]}`)
		g.want(x.status, x.status, "POST", "/api/v1/index/retrieve", `{"hash":"`+hash+`"}`)
		g.active().readErr, g.active().viewErr = nil, x.err
		g.want(x.status, x.status, "GET", "/api/v1/log", "")
		g.want(x.status, x.status, "GET", "/api/v1/log/proof?lastSize=1", "")
		if !errors.Is(x.err, storage.ErrHalted) { // reads go on
			g.want(x.status, x.status, "GET", "/api/v1/log/entries?logIndex=1", "")
		}
		g.want(200, 0, "GET", "/", "")
		g.active().readyErr = x.err
		g.want(503, 0, "GET", "/readyz", "")
		g.want(200, 0, "GET", "/healthz", "")
	}
}

// TestKeyAway: while the key cannot sign, what needs a signature is refused for
// now; the rest goes on.
func TestKeyAway(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 2)
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", ""))
	g.active().signErr = errors.New("secret host of the key service")
	for _, w := range []*httptest.ResponseRecorder{
		g.want(503, 503, "GET", "/api/v1/log/entries?logIndex=1", ""),
		g.want(503, 503, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0]),
	} {
		if w.Header().Get("Retry-After") != "5" || w.Header().Get("Location") != "" {
			t.Errorf("headers %v", w.Header())
		}
	}
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", ""))
	g.active().signErr = nil
	if _, e := g.verify(g.want(201, 0, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0])); e.LogIndex != 2 {
		t.Errorf("index %d, not 2", e.LogIndex)
	}
}

// TestHalted: a log that has stopped signing answers reads, with what it has.
func TestHalted(t *testing.T) {
	g := newRig(t, nil)
	l := g.active()
	l.fill(t, 6)
	acknowledged, _ := g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=5", ""))
	l.signErr, l.addErr, l.haltErr, l.published = storage.ErrHalted, storage.ErrHalted, storage.ErrHalted, 4

	read := func(index int) openapi.Verification {
		w := g.want(200, 0, "GET", fmt.Sprintf("/api/v1/log/entries?logIndex=%d", index), "")
		var m openapi.LogEntry
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		g.sameAsReflection(w.Body.Bytes(), m)
		for _, e := range m {
			return e.Verification
		}
		return openapi.Verification{}
	}
	if v := read(2); v.InclusionProof == nil || v.InclusionProof.TreeSize != 4 || v.SignedEntryTimestamp != nil {
		t.Errorf("covered entry: %+v", v)
	}
	if v := read(4); v.InclusionProof != nil || v.SignedEntryTimestamp != nil {
		t.Errorf("entry that is not covered: %+v", v)
	}
	if v := read(5); v.InclusionProof != nil || v.SignedEntryTimestamp == nil {
		t.Errorf("entry that is not covered, signed before: %+v", v)
	}
	g.want(200, 0, "GET", "/api/v1/log/entries/"+acknowledged, "")
	g.want(200, 0, "GET", "/api/v1/log", "")
	g.want(503, 503, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0])

	for _, l.viewErr = range []error{storage.ErrNotFound, fmt.Errorf("secret: %w", storage.ErrHalted)} {
		if v := read(2); v.InclusionProof != nil {
			t.Errorf("no checkpoint at all: %+v", v)
		}
		g.want(503, 503, "GET", "/api/v1/log", "")
	}
	g.want(404, 0, "GET", "/api/v1/log/entries?logIndex=6", "")
}

// TestUncovered: an entry that is stored, but not under a checkpoint that this
// server has, may have been acknowledged by another server (this one's key is away,
// say). It is refused for now; nothing is signed to find that out.
func TestUncovered(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 6)
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=5", "")) // its signature is kept
	signed := g.active().signed
	g.active().published = 4
	for index := 4; index < 6; index++ {
		id := string(g.server.shards[0].entryID(nil, g.active().leaves[index].Hash))
		for _, w := range []*httptest.ResponseRecorder{
			g.want(503, 503, "GET", fmt.Sprintf("/api/v1/log/entries?logIndex=%d", index), ""),
			g.want(503, 503, "GET", "/api/v1/log/entries/"+id, ""),
			g.want(503, 503, "POST", "/api/v1/log/entries/retrieve", fmt.Sprintf(`{"logIndexes":[%d]}`, index)),
		} {
			if w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if g.active().signed != signed {
		t.Error("signed an entry that no checkpoint covers")
	}
	g.want(404, 0, "GET", "/api/v1/log/entries?logIndex=6", "")
	g.active().published = -1
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=4", ""))
}

// TestCommittedMeanwhile: an entry that is committed between the view and its read is
// proved with a newer view.
func TestCommittedMeanwhile(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 6)
	g.active().catchUp = true
	g.active().published = 5
	g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=5", ""))
	g.active().published = 5
	w := g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[5,6]}`)
	var list []json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 {
		t.Fatalf("%d entries, not 1: %v", len(list), err)
	}
	g.verifyJSON(list[0])
}

// TestSignaturesAreKept: an entry read again is not signed again.
func TestSignaturesAreKept(t *testing.T) {
	g := newRig(t, nil)
	w := g.want(201, 0, "POST", "/api/v1/log/entries", proposals(t, "hashedrekord-0.0.1.json")[0])
	_, first := g.verify(w)
	_, second := g.verify(g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", ""))
	if !bytes.Equal(first.Verification.SignedEntryTimestamp, second.Verification.SignedEntryTimestamp) {
		t.Error("signed anew")
	}
	if g.active().signed != 1 {
		t.Errorf("%d signatures, not 1", g.active().signed)
	}
}

// twoShards returns a log of two trees, with 3 and 2 entries.
func twoShards(t *testing.T) *rig {
	a, b := newFakeLog(t, treeA, 0), newFakeLog(t, treeB, 3)
	a.fill(t, 3)
	b.key = testKey(t, "ecdsa-p256")
	b.tree.PublicKey = spki(t, b.key)
	b.fill(t, 2)
	return newRig(t, []*fakeLog{a, b})
}

func TestTwoShards(t *testing.T) {
	g := twoShards(t)
	for i := range 5 {
		_, e := g.verify(g.want(200, 0, "GET", fmt.Sprintf("/api/v1/log/entries?logIndex=%d", i), ""))
		if e.LogIndex != int64(i) {
			t.Errorf("index %d gives %d", i, e.LogIndex)
		}
	}
	g.want(404, 0, "GET", "/api/v1/log/entries?logIndex=5", "")

	var info openapi.LogInfo
	w := g.want(200, 0, "GET", "/api/v1/log", "")
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	g.sameAsReflection(w.Body.Bytes(), info)
	if len(info.InactiveShards) != 1 || info.InactiveShards[0].TreeSize != 3 || info.TreeSize != 2 || info.TreeID != "42" {
		t.Errorf("log info %s", w.Body)
	}

	keyA := g.want(200, 0, "GET", fmt.Sprintf("/api/v1/log/publicKey?treeID=%d", int64(treeA)), "").Body.String()
	keyB := g.want(200, 0, "GET", "/api/v1/log/publicKey?treeID=42", "").Body.String()
	if active := g.want(200, 0, "GET", "/api/v1/log/publicKey?treeID=", "").Body.String(); active != keyB || keyA == keyB {
		t.Errorf("keys %s, %s, active %s", keyA, keyB, active)
	}

	g.want(200, 0, "GET", fmt.Sprintf("/api/v1/log/proof?firstSize=2&lastSize=3&treeID=%d", int64(treeA)), "")
	g.want(400, 400, "GET", "/api/v1/log/proof?firstSize=2&lastSize=3", "")
	g.want(400, 400, "GET", "/api/v1/log/proof?lastSize=1&treeID=7", "")
	g.want(400, 400, "GET", "/api/v1/log/proof?lastSize=1&treeID="+strings.Repeat("9", 40), "")

	// A leaf hash is looked for in all trees, an entry ID in its own.
	hash := g.logs[0].leaves[1].Hash.String()
	id, _ := g.verify(g.want(200, 0, "GET", "/api/v1/log/entries/"+hash, ""))
	g.want(404, 0, "GET", fmt.Sprintf("/api/v1/log/entries/%016x%s", treeB, hash), "")

	// Answer order: entry IDs, leaf hashes, indexes.
	second := g.logs[1].leaves[0].Hash.String()
	w = g.want(200, 0, "POST", "/api/v1/log/entries/retrieve",
		`{"logIndexes":[4,0],"entryUUIDs":["`+second+`","`+id+`","`+fmt.Sprintf("%016x", treeB)+hash+`"]}`)
	var list []json.RawMessage
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	var order []int64
	for _, raw := range list {
		_, e := g.verifyJSON(raw)
		order = append(order, e.LogIndex)
	}
	if !slices.Equal(order, []int64{1, 3, 4, 0}) {
		t.Errorf("answer order %v", order)
	}

	// The same leaf in both trees is two entries.
	copied, _ := g.logs[1].Add(t.Context(), tlog.Leaf{Body: g.logs[0].leaves[1].Body})
	if copied.Index != 2 {
		t.Fatal(copied)
	}
	id, _ = g.verify(g.want(200, 0, "GET", "/api/v1/log/entries/"+hash, ""))
	if !strings.HasPrefix(id, fmt.Sprintf("%016x", treeB)) {
		t.Errorf("%s is not the active tree's", id)
	}
	w = g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"entryUUIDs":["`+hash+`"]}`)
	if n := strings.Count(w.Body.String(), `"logID"`); n != 2 {
		t.Errorf("%d entries, not 2", n)
	}
}

// TestSearchTwoShards: the active tree is searched first, and its size told.
func TestSearchTwoShards(t *testing.T) {
	a, b := newFakeLog(t, treeA, 0), newFakeLog(t, treeB, 2)
	p := proposals(t, "hashedrekord-0.0.1.json")[0]
	old := newRig(t, []*fakeLog{a})
	a.fill(t, 1)
	first, _ := old.verify(old.want(201, 0, "POST", "/api/v1/log/entries", p))
	g := newRig(t, []*fakeLog{a, b})
	second, _ := g.verify(g.want(201, 0, "POST", "/api/v1/log/entries", p))
	w := g.want(200, 0, "POST", "/api/v1/index/retrieve", `{"hash":"0248309c19cc5c11e4e662eb6f16a17d1270d8e2bcb916b85fcb7cd2d10856bf"}`)
	if got, want := w.Body.String(), `["`+second+`","`+first+"\"]\n"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	if got := w.Header().Get("Tallystick-Complete-To"); got != "1" {
		t.Errorf("complete to %s, not the active tree's 1", got)
	}
}

// TestTreeParts checks entry IDs with impossible tree IDs.
func TestTreeParts(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 1)
	hash := g.active().leaves[0].Hash.String()
	for tree, status := range map[string]int{
		"0000000000000000": 400, "ffffffffffffffff": 400, "8000000000000000": 400,
		"7fffffffffffffff": 404, "0000000000000001": 404,
	} {
		code := status
		if status == 404 {
			code = 0
		}
		g.want(status, code, "GET", "/api/v1/log/entries/"+tree+hash, "")
		w := g.do("POST", "/api/v1/log/entries/retrieve", `{"entryUUIDs":["`+tree+hash+`"]}`)
		if status == 404 && w.Body.String() != "[]\n" || status == 400 && w.Code != 400 {
			t.Errorf("retrieve %s: %d %s", tree, w.Code, w.Body)
		}
	}
}

func TestConsistency(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 9)
	heads := make([]tlog.Head, 10)
	for i := range heads {
		heads[i] = g.active().view(int64(i)).Head
	}
	for first := 1; first < 10; first++ {
		for last := first; last < 10; last++ {
			w := g.want(200, 0, "GET", fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d", first, last), "")
			var p openapi.ConsistencyProof
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			g.sameAsReflection(w.Body.Bytes(), p)
			var path []tlog.Hash
			for _, s := range p.Hashes {
				h, _ := tlog.ParseHash(s)
				path = append(path, h)
			}
			if err := tlog.VerifyConsistency(heads[first], heads[last], path); err != nil {
				t.Errorf("%d to %d: %v", first, last, err)
			}
			if p.RootHash != heads[9].Root.String() {
				t.Errorf("root hash is not the current one")
			}
		}
	}
	w := g.want(400, 400, "GET", "/api/v1/log/proof?lastSize=10", "")
	if got := messageOf(w); got != "the tree size requested(10) was greater than what is currently observable(9)" {
		t.Error(got)
	}
}

func TestEmptyLog(t *testing.T) {
	g := newRig(t, nil)
	w := g.want(200, 0, "GET", "/api/v1/log", "")
	var info openapi.LogInfo
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if info.TreeSize != 0 || info.RootHash != tlog.EmptyRoot.String() || !strings.HasPrefix(w.Body.String(), `{"inactiveShards":null,`) {
		t.Errorf("%s", w.Body)
	}
	g.want(400, 400, "GET", "/api/v1/log/proof?lastSize=1", "")
	g.want(404, 0, "GET", "/api/v1/log/entries?logIndex=0", "")
	g.want(404, 0, "GET", "/api/v1/log/entries?logIndex=9223372036854775807", "")
	if w := g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", `{"logIndexes":[0]}`); w.Body.String() != "[]\n" {
		t.Errorf("%s", w.Body)
	}
}

// TestSearch finds an entry by everything it can be found by.
func TestSearch(t *testing.T) {
	g := newRig(t, nil)
	var ids []string
	hashed := 0 // how many of them are hashedrekord
	for _, file := range []string{"hashedrekord-0.0.1.json", "intoto-0.0.1.json", "dsse-0.0.1.json"} {
		for _, p := range proposals(t, file) {
			id, _ := g.verify(g.want(201, 0, "POST", "/api/v1/log/entries", p))
			if !slices.Contains(ids, id) { // one is the committed form of another
				ids = append(ids, id)
			}
		}
		if hashed == 0 {
			hashed = len(ids)
		}
	}
	find := func(body string) []string {
		t.Helper()
		w := g.want(200, 0, "POST", "/api/v1/index/retrieve", body)
		var found []string
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Tallystick-Complete-To"); got != fmt.Sprint(len(ids)) {
			t.Errorf("%s: complete to %q, not %d", body, got, len(ids))
		}
		if w.Header().Get("Tallystick-Truncated") != "" {
			t.Errorf("%s: truncated", body)
		}
		return found
	}
	var keys struct {
		Keys map[string]struct{ Public string }
	}
	readJSON(t, "keys.json", &keys)
	key, _ := json.Marshal([]byte(keys.Keys["ecdsa-p256"].Public))
	byKey := find(`{"publicKey":{"format":"x509","content":` + string(key) + `}}`)
	kinds := map[bool]int{}
	last := len(ids)
	for _, id := range byKey {
		at := slices.Index(ids, id)
		if at >= last {
			t.Errorf("entry %d comes after entry %d", at, last)
		}
		last = at
		kinds[at < hashed]++
	}
	if kinds[true] == 0 || kinds[false] == 0 {
		t.Errorf("by key: %d hashedrekord, %d intoto and dsse", kinds[true], kinds[false])
	}
	all := ids[0]
	hash := "0248309c19cc5c11e4e662eb6f16a17d1270d8e2bcb916b85fcb7cd2d10856bf"
	if got := find(`{"hash":"` + strings.ToUpper(hash) + `"}`); !slices.Contains(got, all) {
		t.Errorf("by hash: %v", got)
	}
	if got := find(`{"hash":"sha384:4ca4c609f7b24533656efa7f1f1047461835223edd5178da20820fc0ab33099899221bc2cd25e0583d10afa2c7e065bb"}`); len(got) == 0 {
		t.Error("by SHA-384: nothing")
	}
	or := find(`{"hash":"` + hash + `","publicKey":{"format":"x509","content":` + string(key) + `}}`)
	and := find(`{"operator":"and","hash":"` + hash + `","publicKey":{"format":"x509","content":` + string(key) + `}}`)
	if len(and) == 0 || len(and) >= len(or) {
		t.Errorf("and finds %d, or %d", len(and), len(or))
	}
	if got := find(`{"email":"nobody@example.test"}`); len(got) != 0 {
		t.Errorf("by an unknown e-mail: %v", got)
	}
	if w := g.want(200, 0, "POST", "/api/v1/index/retrieve", `{}`); w.Body.String() != "[]\n" || w.Header().Get("Tallystick-Complete-To") != "" {
		t.Errorf("empty query: %s", w.Body)
	}
	if got := find(`{"subject":"\u0000"}`); len(got) != 0 { // a subject that no key can have
		t.Errorf("by an impossible subject: %v", got)
	}
	g.want(400, 400, "POST", "/api/v1/index/retrieve", `{"publicKey":{"format":"pgp","content":""}}`)
	g.want(400, 400, "POST", "/api/v1/index/retrieve", `{"publicKey":{"format":"x509","content":"eA=="}}`)
}

func TestSearchTruncated(t *testing.T) {
	g := newRig(t, nil, func(c *Config) { c.MaxResults = 1 })
	hash := "sha256:0248309c19cc5c11e4e662eb6f16a17d1270d8e2bcb916b85fcb7cd2d10856bf"
	var with []string // IDs of the entries with the hash
	for _, p := range proposals(t, "hashedrekord-0.0.1.json") {
		id, _ := g.verify(g.want(201, 0, "POST", "/api/v1/log/entries", p))
		if slices.Contains(with, id) {
			continue // one proposal is the committed form of another
		}
		if slices.Contains(g.active().keys[g.active().size()-1], tlog.Key{Type: tlog.KeyDigest, Value: hash}) {
			with = append(with, id)
		}
	}
	if len(with) < 2 {
		t.Fatalf("%d entries with %s", len(with), hash)
	}
	w := g.want(200, 0, "POST", "/api/v1/index/retrieve", `{"hash":"`+hash+`"}`)
	if w.Body.String() != `["`+with[len(with)-1]+"\"]\n" || w.Header().Get("Tallystick-Truncated") != "true" {
		t.Errorf("%s %v", w.Body, w.Header())
	}
}

// TestImpossibleTerms: a term that matches nothing does not match everything.
func TestImpossibleTerms(t *testing.T) {
	some := storage.Term{{Type: tlog.KeyDigest, Value: "x"}}
	if got := possible([]storage.Term{nil, some}, true); len(got) != 0 {
		t.Errorf("and: %v", got)
	}
	if got := possible([]storage.Term{nil, some}, false); len(got) != 1 {
		t.Errorf("or: %v", got)
	}
}
