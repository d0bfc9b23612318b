package monitor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// receipts returns the promises in an answer or bundle.
func receipts(t testing.TB, data []byte) []Receipt {
	t.Helper()
	all, err := ParseReceipts(data)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A log that keeps its promises is believed once, and asked no more.
func TestReceiptsKept(t *testing.T) {
	w := newWorld(t, oldEntries(), newEntries(9))
	for i := range 12 {
		w.watch.Receipts = append(w.watch.Receipts, receipts(t, w.log.entry(t, i))...)
	}
	m := w.open()
	w.quiet(m)
	if s := m.Status(); s.Receipts != 12 || s.ReceiptsKept != 12 {
		t.Errorf("status is %+v", s)
	}
	m.Close()
	w.log.add(t, numbered("new", 9, 12)...)
	w.watch.Receipts = append(w.watch.Receipts, receipts(t, w.log.entry(t, 13))...)
	m = w.open()
	w.proxy.requests()
	w.quiet(m)
	asked := slices.DeleteFunc(w.proxy.requests(), func(r string) bool { return !strings.Contains(r, "logIndex=") })
	if s := m.Status(); s.ReceiptsKept != 13 || len(asked) != 1 {
		t.Errorf("status is %+v; asked for %q", s, asked)
	}
}

// An entry that was promised and is not there is missed: by its place in the tree, by another one that stands there, or by
// the checkpoint that came with the promise.
func TestReceiptsBroken(t *testing.T) {
	hidden := byDev("hidden")
	for name, c := range map[string]struct {
		promised func(w *world) []byte // by whom is not the question
		kind     Kind
		evidence int
		tell     func(w *world)
	}{
		"another stands there":           {func(w *world) []byte { return promise(t, w, 3+5, hidden) }, KindHidden, conditional, nil},
		"another stands there, old tree": {func(w *world) []byte { return promise(t, w, 1, hidden) }, KindHidden, conditional, nil},
		"beyond the end":                 {func(w *world) []byte { return promise(t, w, 3+9, hidden) }, KindHidden, none, nil},
		"said not to be there": {func(w *world) []byte { return withoutProof(t, w.log.entry(t, 3+5)) }, KindHidden, none, func(w *world) {
			w.proxy.set(w.log, func(r *http.Request, a *answer) {
				if r.URL.Query().Get("logIndex") == "8" {
					a.status = 404
				}
			})
		}},
		"proved in another tree": {func(w *world) []byte { return withoutProof(t, w.log.entry(t, 3+1)) }, KindHidden, none, func(w *world) {
			w.proxy.set(w.log, func(r *http.Request, a *answer) {
				if r.URL.Query().Get("logIndex") == "4" {
					a.body = []byte(strings.Replace(string(w.log.entry(t, 1)), `"logIndex":1,"verification"`, `"logIndex":4,"verification"`, 1))
				}
			})
		}},
		"proved at another place": {func(w *world) []byte { return promise(t, w, 3+5, newEntries(9)[6]) }, KindHidden, none, func(w *world) {
			w.proxy.set(w.log, func(r *http.Request, a *answer) {
				if r.URL.Query().Get("logIndex") == "8" {
					a.body = bytes.Replace(w.log.entry(t, 3+6), []byte(`"logIndex":9`), []byte(`"logIndex":8`), 1)
				}
			})
		}},
		"proved in another history": {func(w *world) []byte { return promise(t, w, 3+5, hidden) }, KindFork, provable, func(w *world) {
			e := newEntries(9)
			e[5] = hidden
			forked := newRealLog(t, w.key, oldEntries(), e)
			w.proxy.set(w.log, func(r *http.Request, a *answer) {
				if r.URL.Query().Get("logIndex") == "8" {
					a.body = forked.entry(t, 3+5)
				}
			})
		}},
		"a checkpoint of another history": {func(w *world) []byte {
			return newRealLog(t, w.key, oldEntries(), append(newEntries(4), hidden)).entry(t, 3+4)
		}, KindFork, provable, nil},
		"a checkpoint of another history, same size": {func(w *world) []byte {
			e := newEntries(9)
			e[5] = hidden
			return newRealLog(t, w.key, oldEntries(), e).entry(t, 3+5)
		}, KindFork, provable, nil},
		"a checkpoint of a larger tree": {func(w *world) []byte { return newRealLog(t, w.key, oldEntries(), newEntries(12)).entry(t, 3+5) }, KindInconsistent, kept, nil},
		"a checkpoint of an unknown tree": {func(w *world) []byte {
			a := &answer{body: w.log.entry(t, 3+5)}
			a.json(t, func(v any) any {
				for uuid, e := range v.(map[string]any) {
					e.(map[string]any)["verification"].(map[string]any)["inclusionProof"].(map[string]any)["checkpoint"] = signNote(w.key, 77, w.headAt(9))
					return map[string]any{uuid[16:]: e}
				}
				return nil
			})
			return a.body
		}, KindShards, none, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, oldEntries(), newEntries(9))
			w.watch.Receipts = receipts(t, c.promised(w))
			if c.tell != nil {
				c.tell(w)
			}
			m := w.open()
			r := w.round(m)
			s := m.Status()
			if r.Alarms != 1 || len(s.Active) != 1 || s.Active[0].Kind != c.kind || s.ReceiptsKept != 0 || s.Pending != 0 {
				t.Fatalf("the round: %+v %+v", r, s.Active)
			}
			t.Log(s.Active[0].Text)
			checkEvidence(t, m, s.Active[0].Evidence, w.watch.Trust, c.evidence)
			if r := w.round(m); r.Alarms != 0 || len(m.Status().Active) != 1 {
				t.Errorf("the round after: %+v", r)
			}
		})
	}
}

// promise returns the log's answer for an index, with a promise of another entry there and no proof.
func promise(t testing.TB, w *world, index int, proposal []byte) []byte {
	proposed, err := w.log.parser.Propose(proposal)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{body: w.log.entry(t, index-1)}
	a.json(t, func(v any) any {
		for _, e := range v.(map[string]any) {
			e := e.(map[string]any)
			e["logIndex"] = json.Number(fmt.Sprint(index))
			delete(e["verification"].(map[string]any), "inclusionProof")
			setBody(e, proposed.Leaf.Body)
			resign(w.key, e)
			return map[string]any{uuidOf(proposed.Leaf.Body): e}
		}
		return nil
	})
	return a.body
}

func withoutProof(t testing.TB, entry []byte) []byte {
	a := &answer{body: entry}
	a.json(t, func(v any) any {
		for _, e := range v.(map[string]any) {
			delete(e.(map[string]any)["verification"].(map[string]any), "inclusionProof")
		}
		return v
	})
	return a.body
}

// A receipt that the log did not sign is no receipt.
func TestReceiptsForged(t *testing.T) {
	w := newWorld(t, newEntries(4))
	good := w.log.entry(t, 2)
	o := w.opts
	o.Dir, o.Source = w.dir, w.source()
	for name, change := range map[string]func(e map[string]any){
		"body":  func(e map[string]any) { setBody(e, append(bodyOf(e), ' ')) },
		"index": func(e map[string]any) { e["logIndex"] = json.Number("3") },
		"key":   func(e map[string]any) { resign(testKey("another log"), e) },
		"checkpoint": func(e map[string]any) {
			e["verification"].(map[string]any)["inclusionProof"].(map[string]any)["checkpoint"] = signNote(testKey("another log"), newTree, w.headAt(4))
		},
	} {
		a := &answer{body: good}
		a.json(t, func(v any) any {
			for uuid, e := range v.(map[string]any) {
				change(e.(map[string]any))
				return map[string]any{uuid[16:]: e}
			}
			return nil
		})
		log := w.watch
		log.Receipts = receipts(t, a.body)
		if m, err := Open(log, o); err == nil || !strings.Contains(err.Error(), "proves nothing") {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

// Receipts come in the forms that clients keep.
func TestParseReceipts(t *testing.T) {
	for path, indexes := range map[string][]int64{
		"rekor/log-entry.json vectors 0 response":                     {4},
		"rekor/log-entry.json vectors 1 transparencyLogEntry":         {104},
		"public-good/provenance.json":                                 nil,
		"public-good/dsse.json":                                       nil,
		"cosign/blob-attestation-legacy-key-cosign2.json":             nil,
		"cosign/blob-attestation-legacy-key-cosign2.json rekorBundle": nil,
		"cosign/attestation-legacy-key-cosign2.entry.json":            nil,
		"cosign/blob-attestation-bundle-key-cosign2.json":             nil,
		"cosign/attestation-bundle-keyless-cosign3.entry.json":        nil,
	} {
		name, inner, _ := strings.Cut(path, " ")
		data, err := os.ReadFile(filepath.Join("../verify/testdata", name))
		if err != nil {
			t.Error(err)
			continue
		}
		data = part(t, data, inner)
		all, err := ParseReceipts(data)
		if err != nil || len(all) == 0 {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for i, want := range indexes {
			if all[i].Index() != want {
				t.Errorf("%s: index %d", path, all[i].Index())
			}
		}
	}
}

// part returns a part of a JSON document.
func part(t testing.TB, data []byte, path string) []byte {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(path) {
		switch at := v.(type) {
		case map[string]any:
			v = at[p]
		case []any:
			v = at[int(p[0]-'0')]
		}
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if path == "" {
		return data
	}
	return out
}
