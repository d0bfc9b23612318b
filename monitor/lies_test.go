package monitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// what is expected of an alarm's evidence.
const (
	none        = iota // there is none
	kept               // there is some, which proves nothing by itself
	provable           // it proves that the log broke its word
	conditional        // it does if the tree begins where the monitor knows it to begin
)

// lie is a way in which a log can lie to a monitor that has seen the first 9 entries of its
// active tree, after 3 in an old one, when it has 14.
type lie struct {
	name     string
	kind     Kind
	evidence int
	// tell makes the log lie.
	tell func(t *testing.T, w *world)
	// taken is how many entries of the active tree were read and found in order all the same.
	taken int64
	// fresh: it is told to a monitor that has seen nothing.
	fresh bool
}

var (
	oldEntries = func() [][]byte { return numbered("old", 0, 3) }
	newEntries = func(n int) [][]byte { return numbered("new", 0, n) }
)

// another makes the log show another history, signed by the same key.
func another(entries func() [][]byte) func(*testing.T, *world) {
	return func(t *testing.T, w *world) { w.proxy.set(newRealLog(t, w.key, oldEntries(), entries()), nil) }
}

// answers makes the log lie about entries.
func answers(change func(w *world, uuid string, e map[string]any) (string, map[string]any)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.proxy.set(w.log, bulk(t, func(uuid string, e map[string]any) (string, map[string]any) { return change(w, uuid, e) }))
	}
}

// info makes the log lie about its trees.
func info(change func(w *world, active map[string]any) map[string]any) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		w.proxy.set(w.log, func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log" {
				a.json(t, func(v any) any { return change(w, v.(map[string]any)) })
			}
		})
	}
}

// signedInfo makes the log sign a head for its active tree.
func signedInfo(key string, head func(w *world) tlog.Head) func(*testing.T, *world) {
	return info(func(w *world, active map[string]any) map[string]any {
		h := head(w)
		active["treeSize"], active["rootHash"] = h.Size, h.Root.String()
		active["signedTreeHead"] = signNote(testKey(key), newTree, h)
		return active
	})
}

// headAt is the head that the active tree had at a size.
func (w *world) headAt(n int) tlog.Head {
	edge := tlog.NewEdge()
	edge.Extend(w.log.trees[len(w.log.trees)-1][:n])
	return edge.Head()
}

// bodyAt is the body of an entry.
func (w *world) bodyAt(i int) []byte {
	entries, err := verify.ParseEntries(w.log.entry(w.t, i), 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return entries[0].Body
}

var lies = []lie{
	// 1. A leaf is rewritten.
	{name: "rewritten leaf, same size as before", kind: KindFork, evidence: provable, tell: another(func() [][]byte {
		e := newEntries(9)
		e[4] = byDev("rewritten")
		return e
	})},
	{name: "rewritten leaf, grown since", kind: KindFork, evidence: provable, tell: another(func() [][]byte {
		e := newEntries(14)
		e[4] = byDev("rewritten")
		return e
	})},
	{name: "rewritten leaf of a closed tree", kind: KindFork, evidence: provable, tell: func(t *testing.T, w *world) {
		old := oldEntries()
		old[1] = byDev("rewritten")
		w.proxy.set(newRealLog(t, w.key, old, newEntries(14)), nil)
	}},
	// 2. A leaf is dropped.
	{name: "dropped leaf, same size", kind: KindFork, evidence: provable, tell: another(func() [][]byte { return slices.Delete(newEntries(10), 4, 5) })},
	{name: "dropped leaf, grown since", kind: KindFork, evidence: provable, tell: another(func() [][]byte { return slices.Delete(newEntries(14), 4, 5) })},
	{name: "dropped leaf, smaller", kind: KindRollback, evidence: kept, tell: another(func() [][]byte { return slices.Delete(newEntries(9), 4, 5) })},
	{name: "entry left out of an answer", kind: KindMissing, taken: 2, tell: answers(func(_ *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			return "", nil
		}
		return uuid, e
	})},
	{name: "entry said not to be there", kind: KindMissing, taken: 2, tell: func(t *testing.T, w *world) {
		w.proxy.set(w.log, func(r *http.Request, a *answer) {
			var q struct{ LogIndexes []int64 }
			if r.URL.Path == "/api/v1/log/entries/retrieve" {
				body := new(bytes.Buffer)
				body.ReadFrom(r.Body)
				if json.Unmarshal(body.Bytes(), &q) == nil && slices.Contains(q.LogIndexes, 3+11) {
					a.status, a.body = 404, []byte(`{"code":404,"message":"gone"}`)
				}
			}
		})
	}},
	// 3. Leaves are reordered.
	{name: "reordered, same size", kind: KindFork, evidence: provable, tell: another(func() [][]byte {
		e := newEntries(9)
		e[4], e[6] = e[6], e[4]
		return e
	})},
	{name: "reordered in an answer", kind: KindRoot, evidence: conditional, taken: 1, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if i := indexOf(e); i == 3+10 || i == 3+12 {
			body := w.bodyAt(int(3 + 10 + 3 + 12 - i))
			setBody(e, body)
			resign(w.key, e)
			return uuidOf(body), e
		}
		return uuid, e
	})},
	{name: "reordered in an answer, indexes and all", kind: KindRoot, taken: 1, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if i := indexOf(e); i == 3+10 || i == 3+12 {
			e["logIndex"] = json.Number(strconv.FormatInt(3+10+3+12-i, 10))
			resign(w.key, e)
		}
		return uuid, e
	})},
	// 4. A leaf is there twice.
	{name: "duplicated, grown since", kind: KindFork, evidence: provable, tell: func(t *testing.T, w *world) {
		// No log of ours would do this: its tree is made by hand.
		leaves := slices.Insert(slices.Clone(w.log.trees[1]), 4, w.log.trees[1][3])
		w.proxy.set(handMade(t, w.log, leaves), nil)
	}},
	{name: "duplicated in an answer", kind: KindRoot, evidence: conditional, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			setBody(e, w.bodyAt(3+10))
			resign(w.key, e)
			return uuidOf(bodyOf(e)), e
		}
		return uuid, e
	})},
	{name: "entry answered twice", kind: KindWrongAnswer, taken: 1, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+10 {
			e["logIndex"] = json.Number("14")
			resign(w.key, e)
		}
		return uuid, e
	})},
	// 5. The log forks.
	{name: "forked before what was seen", kind: KindFork, evidence: provable, tell: another(func() [][]byte { return append(newEntries(5), numbered("forked", 0, 9)...) })},
	{name: "forked, same size", kind: KindFork, evidence: provable, tell: another(func() [][]byte { return append(newEntries(5), numbered("forked", 0, 4)...) })},
	{name: "forked, no proof at all", kind: KindInconsistent, evidence: kept, tell: func(t *testing.T, w *world) {
		w.proxy.set(newRealLog(t, w.key, oldEntries(), append(newEntries(5), numbered("forked", 0, 9)...)), func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log/proof" {
				a.status, a.body = 400, []byte(`{"code":400,"message":"no"}`)
			}
		})
	}},
	// 6. The log is rolled back.
	{name: "rolled back", kind: KindRollback, evidence: kept, tell: another(func() [][]byte { return newEntries(6) })},
	{name: "rolled back to nothing", kind: KindStale, evidence: kept, tell: signedInfo("log", func(*world) tlog.Head { return tlog.EmptyHead() })},
	{name: "rolled back and another", kind: KindRollback, evidence: kept, tell: another(func() [][]byte { return numbered("forked", 0, 6) })},
	// 7. A wrong key.
	{name: "another key", kind: KindUnknownKey, tell: func(t *testing.T, w *world) {
		w.proxy.set(newRealLog(t, testKey("another log"), oldEntries(), newEntries(14)), nil)
	}},
	{name: "altered signature", kind: KindBadSignature, tell: info(func(_ *world, active map[string]any) map[string]any {
		note := active["signedTreeHead"].(string)
		at := len(note) - 12
		active["signedTreeHead"] = note[:at] + string("AB"[strings.IndexByte("BA", note[at])&1]) + note[at+1:]
		return active
	})},
	{name: "altered checkpoint", kind: KindBadSignature, tell: info(func(w *world, active map[string]any) map[string]any {
		h := w.headAt(13)
		note := active["signedTreeHead"].(string)
		_, signature, _ := strings.Cut(note, "\n\n")
		active["signedTreeHead"] = string(tlog.CheckpointText(origin(newTree), h)) + "\n" + signature
		active["treeSize"], active["rootHash"] = h.Size, h.Root.String()
		return active
	})},
	// 8. A wrong size.
	{name: "wrong size beside the checkpoint", kind: KindWrongAnswer, tell: info(func(_ *world, active map[string]any) map[string]any {
		active["treeSize"] = 15
		return active
	})},
	{name: "wrong size signed", kind: KindInconsistent, evidence: kept, tell: signedInfo("log", func(w *world) tlog.Head {
		h := w.headAt(14)
		h.Size = 15
		return h
	})},
	{name: "smaller wrong size signed", kind: KindInconsistent, evidence: kept, tell: signedInfo("log", func(w *world) tlog.Head {
		h := w.headAt(14)
		h.Size = 13
		return h
	})},
	{name: "wrong size signed, at first", kind: KindInconsistent, fresh: true, taken: -1, tell: signedInfo("log", func(w *world) tlog.Head {
		h := w.headAt(14)
		h.Size = 15
		return h
	})},
	{name: "wrong root signed, at first", kind: KindRoot, fresh: true, taken: -1, tell: signedInfo("log", func(w *world) tlog.Head {
		h := w.headAt(14)
		h.Root[0]++
		return h
	})},
	// 9. A stale head.
	{name: "stale head", kind: KindStale, evidence: kept, tell: signedInfo("log", func(w *world) tlog.Head { return w.headAt(6) })},
	{name: "stale head at a power of two", kind: KindStale, evidence: kept, tell: signedInfo("log", func(w *world) tlog.Head { return w.headAt(8) })},
	// 10. An altered body.
	{name: "altered body with the right hash beside it", kind: KindRoot, evidence: conditional, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			setBody(e, bytes.Replace(bodyOf(e), []byte("sha256"), []byte("sha512"), 1))
			resign(w.key, e)
		}
		return uuid, e
	})},
	{name: "altered body, not signed again", kind: KindSET, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			setBody(e, append(bodyOf(e), ' '))
		}
		return uuid, e
	})},
	{name: "body that is no entry", kind: KindRoot, evidence: conditional, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			setBody(e, []byte("\x00"))
			resign(w.key, e)
		}
		return uuid, e
	})},
	{name: "another's ID", kind: KindWrongAnswer, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			return uuidOf([]byte("another")), e
		}
		return uuid, e
	})},
	// Altered timestamps.
	{name: "altered time", kind: KindSET, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			e["integratedTime"] = json.Number("1767323046")
		}
		return uuid, e
	})},
	{name: "no timestamp", kind: KindSET, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			delete(e["verification"].(map[string]any), "signedEntryTimestamp")
		}
		return uuid, e
	})},
	{name: "another log's timestamp", kind: KindSET, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			resign(testKey("another log"), e)
		}
		return uuid, e
	})},
	{name: "another log ID", kind: KindSET, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			id := tlog.LogID(testKey("another log").SPKI)
			e["logID"] = id.String()
			resign(testKey("another log"), e)
		}
		return uuid, e
	})},
	{name: "time of nothing", kind: KindSET, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			e["integratedTime"] = json.Number("0")
			resign(w.key, e)
		}
		return uuid, e
	})},
	// Trees.
	{name: "a tree is gone", kind: KindShards, tell: info(func(_ *world, active map[string]any) map[string]any {
		active["inactiveShards"] = []any{}
		return active
	})},
	{name: "the active tree is gone", kind: KindShards, tell: info(func(_ *world, active map[string]any) map[string]any {
		old := active["inactiveShards"].([]any)[0].(map[string]any)
		old["inactiveShards"] = []any{}
		return old
	})},
	{name: "the trees change places", kind: KindShards, tell: info(func(_ *world, active map[string]any) map[string]any {
		old := active["inactiveShards"].([]any)[0].(map[string]any)
		delete(active, "inactiveShards")
		old["inactiveShards"] = []any{active}
		return old
	})},
	{name: "a tree is there twice", kind: KindWrongAnswer, tell: info(func(_ *world, active map[string]any) map[string]any {
		old := active["inactiveShards"].([]any)
		active["inactiveShards"] = append(old, old[0])
		return active
	})},
	{name: "a closed tree grows", kind: KindShards, evidence: kept, tell: func(t *testing.T, w *world) {
		w.proxy.set(newRealLog(t, w.key, numbered("old", 0, 4), newEntries(14)), nil)
	}},
	{name: "a tree of another kind", kind: KindUnknownKey, tell: info(func(_ *world, active map[string]any) map[string]any {
		active["signedTreeHead"] = strings.Replace(active["signedTreeHead"].(string), " - ", " + ", 1)
		return active
	})},
	// What cannot be read.
	{name: "no JSON", kind: KindMalformed, tell: func(t *testing.T, w *world) {
		w.proxy.set(w.log, func(r *http.Request, a *answer) { a.body = []byte("<html>") })
	}},
	{name: "entries that are none", kind: KindMalformed, taken: 0, tell: func(t *testing.T, w *world) {
		w.proxy.set(w.log, func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log/entries/retrieve" {
				a.body = []byte(`[{"` + strings.Repeat("0", 80) + `":{}}]`)
			}
		})
	}},
	{name: "one entry cannot be read", kind: KindMalformed, taken: 2, tell: answers(func(w *world, uuid string, e map[string]any) (string, map[string]any) {
		if indexOf(e) == 3+11 {
			e["body"] = "?"
		}
		return uuid, e
	})},
	{name: "no proof of entries", kind: KindInconsistent, tell: func(t *testing.T, w *world) {
		w.opts.RoundEntries = 2
		w.proxy.set(w.log, func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log/proof" && r.URL.Query().Get("firstSize") != "9" {
				a.status, a.body = 400, []byte(`{"code":400,"message":"no"}`)
			}
		})
	}},
}

// handMade shows a log whose active tree has these leaves. It answers with its state and its proofs.
func handMade(t testing.TB, l *realLog, leaves []tlog.Hash) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch q := r.URL.Query(); {
		case r.URL.Path == "/api/v1/log":
			a := &answer{body: l.ask(t, http.MethodGet, "/api/v1/log", nil).body}
			a.json(t, func(v any) any {
				edge := tlog.NewEdge()
				edge.Extend(leaves)
				active := v.(map[string]any)
				active["treeSize"], active["rootHash"] = edge.Size(), edge.Root().String()
				active["signedTreeHead"] = l.checkpoint(newTree, edge.Head())
				return active
			})
			w.Write(a.body)
		case r.URL.Path == "/api/v1/log/proof" && q.Get("treeID") == strconv.Itoa(newTree):
			first, _ := strconv.Atoi(q.Get("firstSize"))
			last, _ := strconv.Atoi(q.Get("lastSize"))
			hashes := forge.Array{}
			for _, h := range consistency(leaves[:last], first, true) {
				hashes = append(hashes, h.String())
			}
			w.Write(forge.Encode(forge.Object{"rootHash": tlog.EmptyRoot.String(), "hashes": hashes}))
		default:
			l.ServeHTTP(w, r)
		}
	})
}

// rootOf and consistency are RFC 6962, section 2.1.
func rootOf(leaves []tlog.Hash) tlog.Hash {
	edge := tlog.NewEdge()
	edge.Extend(leaves)
	return edge.Root()
}

func consistency(leaves []tlog.Hash, first int, known bool) []tlog.Hash {
	if first == len(leaves) {
		if known {
			return nil
		}
		return []tlog.Hash{rootOf(leaves)}
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	if first <= k {
		return append(consistency(leaves[:k], first, known), rootOf(leaves[k:]))
	}
	return append(consistency(leaves[k:], first-k, false), rootOf(leaves[:k]))
}

// Each lie is caught in the round in which it is told, as what it is; the alarm is raised once; what was in order
// is not lost; and when the log is honest again, the alarm is over and everything is read.
func TestLies(t *testing.T) {
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) { l.test(t) })
	}
}

func (l *lie) test(t *testing.T) {
	seen := int64(9)
	w := newWorld(t, oldEntries(), newEntries(int(seen)))
	if l.fresh {
		seen = 0
	} else {
		m := w.open()
		w.quiet(m)
		m.Close()
	}
	w.log.add(t, numbered("new", 9, 14)...)
	l.tell(t, w)
	m := w.open()
	r := w.round(m)
	if r.Trouble == nil || r.Alarms != 1 {
		t.Fatalf("the round: %+v", r)
	}
	s := m.Status()
	if len(s.Active) != 1 || s.Active[0].Kind != l.kind || s.Raised[l.kind] != 1 || s.Trouble == "" {
		t.Fatalf("alarms are %+v", s.Active)
	}
	alarm := s.Active[0]
	t.Log(alarm.Text)
	if l.taken >= 0 && s.Trees[len(s.Trees)-1].Read != seen+l.taken {
		t.Errorf("%d entries were read, not %d", s.Trees[len(s.Trees)-1].Read, seen+l.taken)
	}
	checkEvidence(t, m, alarm.Evidence, w.watch.Trust, l.evidence)
	for range 2 { // it goes on, also after a restart
		if r := w.round(m); r.Alarms != 0 || r.Trouble == nil {
			t.Errorf("the round after: %+v", r)
		}
		m.Close()
		m = w.open()
	}
	if got := m.Status().Active; len(got) != 1 || got[0].ID != alarm.ID {
		t.Errorf("then, alarms are %+v", got)
	}
	w.proxy.set(w.log, nil)
	w.clock.add(time.Minute)
	if l.fresh {
		return // it was told a lie first: to that it holds
	}
	w.quiet(m)
	if got := matched(t, m, "all"); !slices.Equal(got, upTo(17)) {
		t.Errorf("matches are of %v", got)
	}
	var ids []string
	for _, a := range records(t, m) {
		if a.Kind != KindMatch {
			ids = append(ids, a.ID, a.Ends)
		}
	}
	if len(ids) != 4 || ids[0] != alarm.ID || ids[1] != "" || ids[3] != alarm.ID {
		t.Errorf("alarms in the journal: %q", ids)
	}
}

// checkEvidence verifies an evidence file, and that no byte of it can be changed so that it proves something else.
func checkEvidence(t *testing.T, m *Monitor, name string, trust *verify.Trust, want int) {
	t.Helper()
	if (name == "") != (want == none) {
		t.Fatalf("evidence is %q", name)
	}
	if want == none {
		return
	}
	data, path, err := m.Evidence(name)
	if err != nil || !strings.HasSuffix(path, name) {
		t.Fatalf("%s: %v", path, err)
	}
	e, err := ParseEvidence(data)
	if err != nil {
		t.Fatal(err)
	}
	f, err := e.Verify(trust)
	if err != nil || f.Proved != (want == provable) || (f.Given != "") != (want == conditional) || f.Text == "" {
		t.Fatalf("evidence: %+v, %v\n%s", f, err, data)
	}
	if again, err := e.JSON(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("evidence is written as %s, %v, not %s", again, err, data)
	}
	if _, err := e.Verify(trustIn(t, testKey("another log"))); !errors.Is(err, verify.ErrUntrustedLog) && !errors.Is(err, verify.ErrBadProof) {
		t.Errorf("evidence against another log: %v", err)
	}
	if _, err := verify.TrustLogKey(e.LogKey()); err != nil {
		t.Errorf("the key in it: %v", err)
	}
}

// Whatever two sizes: a fork is proved from what the log itself gives.
func TestForkSizes(t *testing.T) {
	for _, before := range []int{1, 2, 3, 4, 7, 8, 13, 16} {
		for _, more := range []int{0, 1, 9} {
			for _, at := range []int{0, before - 1} {
				w := newWorld(t, numbered("new", 0, before))
				w.opts.Rules = nil
				m := w.open()
				w.quiet(m)
				e := numbered("new", 0, before+more)
				e[at] = byDev("rewritten")
				w.proxy.set(newRealLog(t, w.key, e), nil)
				w.round(m)
				s := m.Status()
				if len(s.Active) != 1 || s.Active[0].Kind != KindFork {
					t.Fatalf("from %d to %d, leaf %d: alarms are %+v", before, before+more, at, s.Active)
				}
				checkEvidence(t, m, s.Active[0].Evidence, w.watch.Trust, provable)
				m.Close()
			}
		}
	}
}

// A log that stands still is silent, in time; and one that is away, away.
func TestTime(t *testing.T) {
	w := newWorld(t, newEntries(4))
	w.watch.MaxSilence, w.watch.MaxUnreachable = 24*time.Hour, time.Hour
	m := w.open()
	w.quiet(m)
	w.clock.add(24*time.Hour - 1)
	w.quiet(m)
	w.clock.add(1)
	m.Close()
	m = w.open() // it is not forgotten
	if r := w.round(m); r.Alarms != 1 || r.Trouble != nil || m.Status().Active[0].Kind != KindSilent {
		t.Fatalf("silent: %+v %+v", r, m.Status().Active)
	}
	w.log.add(t, byDev("at last"))
	w.quiet(m)

	w.proxy.set(w.log, func(_ *http.Request, a *answer) { a.status = 503 })
	for _, step := range []time.Duration{0, time.Hour - 1} {
		w.clock.add(step)
		if r := w.round(m); r.Alarms != 0 || r.Trouble == nil || len(m.Status().Active) > 0 {
			t.Errorf("away for %v: %+v", step, r)
		}
	}
	w.clock.add(1)
	if r := w.round(m); r.Alarms != 1 || m.Status().Active[0].Kind != KindUnreachable {
		t.Errorf("unreachable: %+v", r)
	}
	w.proxy.set(w.log, nil)
	w.quiet(m)
}

// Entries that a log withholds without saying so make the monitor lag.
func TestLagging(t *testing.T) {
	w := newWorld(t, newEntries(4))
	m := w.open()
	w.quiet(m)
	w.log.add(t, numbered("new", 4, 8)...)
	w.proxy.set(w.log, func(r *http.Request, a *answer) {
		if r.URL.Path == "/api/v1/log/entries/retrieve" {
			a.status = 503
		}
	})
	w.watch.MaxUnreachable = 100 * time.Hour
	if r := w.round(m); r.Alarms != 0 || r.Trouble == nil {
		t.Fatalf("at first: %+v", r)
	}
	w.clock.add(DefaultMaxLag)
	w.round(m)
	kinds := map[Kind]bool{}
	for _, a := range m.Status().Active {
		kinds[a.Kind] = true
	}
	if s := m.Status(); !kinds[KindLagging] || s.Pending != 4 || s.Behind != DefaultMaxLag {
		t.Errorf("status is %+v", s)
	}
	w.proxy.set(w.log, nil)
	w.quiet(m)
}

// A hostile server wastes nobody's time but its own.
func TestHostile(t *testing.T) {
	w := newWorld(t, newEntries(4))
	for name, h := range map[string]http.HandlerFunc{
		"endless trees": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"inactiveShards":[`)
			for {
				if _, err := fmt.Fprint(w, `{"treeID":"1","treeSize":0,"signedTreeHead":"","rootHash":"`+tlog.EmptyRoot.String()+`"},`); err != nil {
					return
				}
			}
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		s := httptest.NewServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		w.proxy.Server.URL, w.dir = s.URL, t.TempDir()
		m := w.open()
		if r := w.round(m); r.Trouble == nil {
			t.Errorf("%s: %+v", name, r)
		}
		s.Close()
	}
}

// A key that is trusted, too, is not the tree's.
func TestAnotherTrustedKey(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	w.watch.Trust = trustIn(t, w.key, testKey("another log"))
	m := w.open()
	w.quiet(m)
	w.log.add(t, byDev("mine"))
	w.proxy.set(w.log, bulk(t, func(uuid string, e map[string]any) (string, map[string]any) {
		id := tlog.LogID(testKey("another log").SPKI)
		e["logID"] = id.String()
		resign(testKey("another log"), e)
		return uuid, e
	}))
	if w.round(m); len(m.Status().Active) != 1 || m.Status().Active[0].Kind != KindSET {
		t.Fatalf("alarms are %+v", m.Status().Active)
	}
	w.proxy.set(w.log, nil)
	w.quiet(m)
	w.proxy.set(newRealLog(t, testKey("another log"), oldEntries(), append(newEntries(9), byDev("mine"))), nil)
	if w.round(m); len(m.Status().Active) != 1 || m.Status().Active[0].Kind != KindInconsistent {
		t.Fatalf("alarms are %+v", m.Status().Active)
	}
	data, _, err := m.Evidence(m.Status().Active[0].Evidence)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEvidence(data)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := e.Verify(w.watch.Trust); err != nil || f.Proved {
		t.Errorf("evidence: %+v, %v", f, err)
	}
}

// A checkpoint of Rekor v2, signed by the same key, is not one of a tree of v1.
func TestCheckpointV2(t *testing.T) {
	w := newWorld(t, newEntries(4))
	m := w.watch.Trust.Material()
	m.Logs[0].BaseURL = "https://" + testHost
	var err error
	if w.watch.Trust, err = verify.NewTrust(m); err != nil {
		t.Fatal(err)
	}
	h := w.headAt(4)
	text := tlog.CheckpointText(testHost, h)
	note := tlog.AppendSignature(text, testHost, tlog.LogID(w.key.SPKI), w.key.SignMessage(text))
	if _, err := w.watch.Trust.VerifyCheckpoint(note, nil); err != nil {
		t.Fatal(err)
	}
	info(func(_ *world, active map[string]any) map[string]any {
		active["signedTreeHead"], active["treeID"] = string(note), "0"
		return active
	})(t, w)
	mon := w.open()
	if w.round(mon); len(mon.Status().Active) != 1 || mon.Status().Active[0].Kind != KindWrongAnswer {
		t.Errorf("alarms are %+v", mon.Status().Active)
	}
}

// Who begins from now is not begun with a lie.
func TestFromNowLies(t *testing.T) {
	for name, c := range map[string]struct {
		kind Kind
		lie  func(e map[string]any)
	}{
		"another body": {KindWrongAnswer, func(e map[string]any) { setBody(e, []byte(`{"kind":"x","apiVersion":"0.0.1","spec":{}}`)) }},
		"another index": {KindWrongAnswer, func(e map[string]any) {
			e["verification"].(map[string]any)["inclusionProof"].(map[string]any)["logIndex"] = 4
		}},
		"another path": {KindWrongAnswer, func(e map[string]any) {
			hashes := e["verification"].(map[string]any)["inclusionProof"].(map[string]any)["hashes"].([]any)
			hashes[0], hashes[1] = hashes[1], hashes[0]
		}},
		"no proof": {KindWrongAnswer, func(e map[string]any) { delete(e["verification"].(map[string]any), "inclusionProof") }},
	} {
		w := newWorld(t, newEntries(6))
		w.watch.FromNow = true
		w.proxy.set(w.log, func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log/entries" {
				a.json(t, func(v any) any {
					for uuid, e := range v.(map[string]any) {
						c.lie(e.(map[string]any))
						return map[string]any{uuid: e}
					}
					return nil
				})
			}
		})
		m := w.open()
		if w.round(m); len(m.Status().Active) != 1 || m.Status().Active[0].Kind != c.kind || len(m.Status().Trees) > 0 {
			t.Errorf("%s: alarms are %+v", name, m.Status().Active)
		}
		w.proxy.set(w.log, nil)
		w.quiet(m)
	}
}

// An alarm is over when everything was looked at and is in order, and not before.
func TestAlarmsStay(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	w.opts.RoundEntries = 4
	m := w.open()
	w.quiet(m)
	another(func() [][]byte { return append(newEntries(5), numbered("forked", 0, 4)...) })(t, w)
	w.round(m)
	active := func(want ...Kind) {
		t.Helper()
		var got []Kind
		for _, a := range m.Status().Active {
			got = append(got, a.Kind)
		}
		if !slices.Equal(got, want) {
			t.Errorf("alarms are %v, not %v", got, want)
		}
	}
	active(KindFork)
	w.proxy.set(w.log, func(_ *http.Request, a *answer) { a.body = []byte("?") })
	w.round(m)
	active(KindFork, KindMalformed)
	w.proxy.set(w.log, func(_ *http.Request, a *answer) { a.status = 503 })
	w.round(m)
	active(KindFork, KindMalformed)
	w.log.add(t, numbered("new", 9, 15)...)
	w.proxy.set(w.log, nil)
	if r := w.round(m); !r.More {
		t.Fatalf("the round: %+v", r)
	}
	active(KindFork, KindMalformed)
	w.quiet(m)
	active()
}
