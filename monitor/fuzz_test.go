package monitor

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
)

// FuzzParseEvidence: whatever is read, nothing is proved of a log that did not sign it, and what is written is read again.
func FuzzParseEvidence(f *testing.F) {
	trust := trustIn(f, testKey("log"))
	proofs := map[string]bool{}
	within(f, func(t testing.TB) {
		for _, e := range samples(t, newWorld(t, oldEntries(), newEntries(9))) {
			data, err := e.JSON()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			finding, err := e.Verify(trust)
			if err != nil {
				f.Fatal(err)
			}
			proofs[finding.Text] = finding.Proved
		}
	})
	other := trustIn(f, testKey("another log"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEvidence(data)
		if err != nil {
			return
		}
		if finding, err := e.Verify(trust); err == nil && finding.Proved && (!proofs[finding.Text] || finding.Given != "") {
			t.Errorf("proved: %+v\n%s", finding, data)
		}
		if finding, err := e.Verify(other); err == nil && finding.Proved {
			t.Errorf("proved of a log that signed nothing: %+v", finding)
		}
		again, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if second, err := ParseEvidence(again); err != nil {
			t.Errorf("%v\n%s", err, again)
		} else if twice, err := second.JSON(); err != nil || !bytes.Equal(twice, again) {
			t.Errorf("%s\nnot %s", twice, again)
		}
	})
}

func FuzzParseRules(f *testing.F) {
	f.Add([]byte(testRules))
	f.Add([]byte("logs: [{name: l, url: 'http://h', logKey: k, receipts: [r], from: now}]\nrules: [{name: x, logs: [l], when: [{issuerRegexp: a}], unless: {subjectRegexp: ^a$, extensions: {buildTrigger: x}}}]"))
	key := testKey("log").PEM()
	p, err := entry.New(entry.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseRules(data, ParseOptions{Own: "own", Read: func(string, int64) ([]byte, error) { return key, nil }})
		if err != nil {
			return
		}
		for _, r := range c.Rules.rules {
			if len(r.when) == 0 {
				t.Errorf("rule %q asks for nothing", r.name)
			}
		}
		search(c.Rules.of("own"), p, bodyBy("payload", key))
	})
}

func FuzzParseState(f *testing.F) {
	trust := trustIn(f, testKey("log"))
	within(f, func(t testing.TB) {
		w := newWorld(t, oldEntries(), newEntries(5))
		m := w.open()
		w.quiet(m)
		f.Add(m.stored)
		w.proxy.set(newRealLog(t, w.key, oldEntries(), numbered("forked", 0, 6)), nil)
		w.round(m)
		f.Add(m.stored)
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data, trust)
		if err != nil {
			return
		}
		if s.pending() < 0 {
			t.Errorf("%d entries are pending", s.pending())
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		second, err := parseState(again, trust)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if twice, err := second.encode(); err != nil || !bytes.Equal(twice, again) {
			t.Errorf("%s\nnot %s", twice, again)
		}
	})
}

func FuzzJournal(f *testing.F) {
	within(f, func(t testing.TB) {
		w := newWorld(t, append(newEntries(2), byDev("mine")))
		m := w.open()
		w.quiet(m)
		text, err := visible(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(text))
	})
	f.Add([]byte(strings.Repeat("x", 3*MaxAlert) + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newMemDisk()
		d.names["j"] = &memData{data: data}
		j, err := openJournal(d, "j", int64(len(data)))
		if err != nil {
			return
		}
		last := int64(0)
		for r, err := range j.alerts(0) {
			if err != nil {
				return
			}
			if r.Next != last+int64(len(r.JSON))+1 || !isID(r.Alert.ID) {
				t.Errorf("record %+v after %d", r, last)
			}
			last = r.Next
		}
		if last != int64(len(data)) {
			t.Errorf("ended at %d of %d", last, len(data))
		}
	})
}

func FuzzParseReceipts(f *testing.F) {
	for _, path := range []string{"public-good/provenance.json", "cosign/blob-attestation-legacy-key-cosign2.json", "cosign/attestation-bundle-key-cosign2.entry.json"} {
		data, err := os.ReadFile("../verify/testdata/" + path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	within(f, func(t testing.TB) { f.Add(newWorld(t, newEntries(2)).log.entry(t, 1)) })
	trust := trustIn(f, testKey("log"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseReceipts(data)
		if err == nil && len(all) == 0 {
			t.Error("there are none, and no error")
		}
		_ = checkReceipts(all, trust)
	})
}

// FuzzCheck: whatever a log answers for an entry, it is refused or described within bounds.
func FuzzCheck(f *testing.F) {
	f.Add([]byte(byDev("x")), int64(1), "", []byte{})
	var r *round
	within(f, func(t testing.TB) {
		w := newWorld(t, newEntries(2))
		w.opts.NoSETs = true
		m := w.open()
		w.quiet(m)
		r = &round{Monitor: m, s: m.state.clone()}
	})
	f.Fuzz(func(t *testing.T, body []byte, at int64, id string, set []byte) {
		var out leaf
		if bad := r.check(&r.s.trees[0], 0, 0, &client.RawLeaf{Body: body, IntegratedTime: at, LogID: id, SET: nil}, &out); bad != nil {
			t.Errorf("refused: %v", bad)
		}
		for _, line := range strings.Split(strings.TrimSuffix(string(out.lines), "\n"), "\n") {
			if _, err := parseAlert([]byte(line)); err != nil {
				t.Errorf("%v: %s", err, line)
			}
		}
		if bad := r.check(&r.s.trees[0], 0, 0, &client.RawLeaf{Body: body, IntegratedTime: at, LogID: id, SET: append([]byte{0}, set...)}, &out); bad == nil {
			t.Error("a timestamp that nobody signed was accepted")
		}
	})
}
