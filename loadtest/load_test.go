package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fakeLog answers every write with 201 and every read with 200, always with the
// same entry.
func fakeLog(t *testing.T, answer []byte) (*load, *atomic.Int64) {
	var written atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			written.Add(1)
			w.WriteHeader(http.StatusCreated)
		}
		w.Write(answer)
	}))
	t.Cleanup(server.Close)
	auditor, _ := rekorAnswers(t)
	corpus, err := newCorpus(2)
	if err != nil {
		t.Fatal(err)
	}
	if err := corpus.supply(100); err != nil {
		t.Fatal(err)
	}
	observe := func() (observation, error) { return observation{}, nil }
	return &load{address: strings.TrimPrefix(server.URL, "http://"), observe: observe, auditor: auditor, corpus: corpus, every: 3}, &written
}

func compact(t *testing.T, answer []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, answer); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestClosedLoop(t *testing.T) {
	_, a := rekorAnswers(t)
	l, written := fakeLog(t, compact(t, a.Answers[0]))
	o, err := l.run(phase{name: "test", writers: 1, readers: 2, entries: 60, time: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if n := written.Load(); n != 60 || len(o.writes.latencies) != 60 || len(l.logged.ids) != 60 || o.writes.verified != 20 {
		t.Errorf("%d writes arrived, %d were counted, %d kept, %d verified; want 60, 60, 60 and 20",
			n, len(o.writes.latencies), len(l.logged.ids), o.writes.verified)
	}
	if o.writes.failures != nil || o.reads.failures != nil {
		t.Errorf("failures: %v, %v", o.writes.failures, o.reads.failures)
	}
}

func TestOpenLoopSendsWhatIsDue(t *testing.T) {
	_, a := rekorAnswers(t)
	l, written := fakeLog(t, compact(t, a.Answers[0]))
	// So many are due that the supply of 100 ends first.
	o, err := l.run(phase{name: "test", writers: 4, rate: 1e5, time: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if n := written.Load(); n != 100 || len(o.writes.latencies) != 100 {
		t.Errorf("%d writes arrived, %d were counted, want 100", n, len(o.writes.latencies))
	}
}

// One tampered answer fails the run, whether a writer or a reader got it.
func TestTamperedAnswerFailsTheRun(t *testing.T) {
	_, a := rekorAnswers(t)
	tampered := bytes.Replace(compact(t, a.Answers[0]), []byte(`"logIndex":4`), []byte(`"logIndex":5`), 1)
	l, _ := fakeLog(t, tampered)
	if _, err := l.run(phase{name: "test", writers: 1, entries: 9, time: time.Minute}); err == nil {
		t.Error("a writer believed a tampered answer")
	}
	l.logged.add(strings.Repeat("0", 80))
	if _, err := l.run(phase{name: "test", readers: 1, time: 50 * time.Millisecond}); err == nil {
		t.Error("a reader believed a tampered answer")
	}
}

func TestFailuresAreNoLatencies(t *testing.T) {
	l, _ := fakeLog(t, nil)
	o, err := l.run(phase{name: "test", writers: 1, entries: 5, time: time.Minute})
	if err == nil || o.writes.failures["201"] != 5 || len(o.writes.latencies) != 0 {
		t.Errorf("empty answers were counted as %+v, error %v", o.writes, err)
	}
}
