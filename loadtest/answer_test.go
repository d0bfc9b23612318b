package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// answers are what Rekor itself answered, with its public key.
type answers struct {
	PublicKey []byte
	Answers   []json.RawMessage
}

func rekorAnswers(t testing.TB) (*auditor, answers) {
	t.Helper()
	text, err := os.ReadFile("testdata/rekor-answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var a answers
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	auditor, err := newAuditorDER(a.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return auditor, a
}

func TestAuditorAcceptsRekor(t *testing.T) {
	auditor, a := rekorAnswers(t)
	for i, answer := range a.Answers {
		if err := auditor.verify(answer); err != nil {
			t.Errorf("answer %d: %v", i, err)
		}
	}
}

// Every change to an answer is noticed, whatever member it is in.
func TestAuditorRefusesLies(t *testing.T) {
	auditor, a := rekorAnswers(t)
	zero := strings.Repeat("0", 64)
	lies := map[string]func(id string, e *entry) string{
		"entry ID":   func(id string, e *entry) string { return id[:16] + zero },
		"body":       func(id string, e *entry) string { e.Body = "e30="; return id },
		"time":       func(id string, e *entry) string { e.IntegratedTime++; return id },
		"log ID":     func(id string, e *entry) string { e.LogID = zero; return id },
		"index":      func(id string, e *entry) string { e.LogIndex++; return id },
		"SET":        func(id string, e *entry) string { e.Verification.SignedEntryTimestamp[9] ^= 1; return id },
		"proof":      func(id string, e *entry) string { e.Verification.InclusionProof.Hashes[0] = zero; return id },
		"short":      func(id string, e *entry) string { e.Verification.InclusionProof.Hashes = nil; return id },
		"leaf index": func(id string, e *entry) string { e.Verification.InclusionProof.LogIndex ^= 1; return id },
		"root":       func(id string, e *entry) string { e.Verification.InclusionProof.RootHash = zero; return id },
		"size":       func(id string, e *entry) string { e.Verification.InclusionProof.TreeSize++; return id },
		"checkpoint": func(id string, e *entry) string {
			c := &e.Verification.InclusionProof.Checkpoint
			*c = strings.Replace(*c, "\n7\n", "\n8\n", 1)
			return id
		},
		"no checkpoint": func(id string, e *entry) string { e.Verification.InclusionProof.Checkpoint = ""; return id },
	}
	for name, lie := range lies {
		var entries map[string]entry
		if err := json.Unmarshal(a.Answers[0], &entries); err != nil {
			t.Fatal(err)
		}
		for id, e := range entries {
			answer, err := json.Marshal(map[string]entry{lie(id, &e): e})
			if err != nil {
				t.Fatal(err)
			}
			if err := auditor.verify(answer); err == nil {
				t.Errorf("a lie about the %s passed", name)
			}
		}
	}
	for _, answer := range []string{"", "[]", "{}", `{"a":{}}`, "null", string(bytes.TrimRight(a.Answers[0], "}\n "))} {
		if auditor.verify([]byte(answer)) == nil {
			t.Errorf("answer %.40q passed", answer)
		}
	}
}

func FuzzAuditor(f *testing.F) {
	auditor, a := rekorAnswers(f)
	known := map[string]entry{}
	for _, answer := range a.Answers {
		f.Add([]byte(answer))
		var entries map[string]entry
		if err := json.Unmarshal(answer, &entries); err != nil {
			f.Fatal(err)
		}
		for id, e := range entries {
			known[id[16:]+e.Body] = e
		}
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if auditor.verify(answer) != nil {
			return
		}
		var entries map[string]entry
		if err := json.Unmarshal(answer, &entries); err != nil {
			t.Fatal(err)
		}
		for id, e := range entries {
			if _, ok := known[id[16:]+e.Body]; !ok {
				t.Errorf("an entry passed that Rekor never signed: %s", answer)
			}
		}
	})
}
