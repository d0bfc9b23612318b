package openapi_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/openapi"
)

// vector is a request and the answer that Rekor 1.5.4's generated layer gave.
type vector struct {
	Name, Method, Path string
	RequestBody        json.RawMessage
	RequestBodyText    *string
	RequestHeaders     map[string]string
	Status             int
	BodyCode           int
	BodyMessage        string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/http-validation.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// validate runs the check that belongs to a path; ok is false if there is none.
func validate(path string, body []byte) (err error, ok bool) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, false
	}
	switch p := strings.Trim(strings.TrimPrefix(u.Path, "/api/v1"), "/"); {
	case p == "log/entries" && body == nil:
		_, err = openapi.LogIndex(u.Query())
	case p == "log/entries":
		err = openapi.ProposedEntry(body)
	case p == "log/proof":
		_, err = openapi.Proof(u.Query())
	case p == "log/publicKey":
		_, err = openapi.TreeID(u.Query())
	case p == "index/retrieve":
		_, err = openapi.ParseSearchIndex(body)
	case p == "log/entries/retrieve":
		_, err = openapi.ParseSearchLogQuery(body)
	case strings.HasPrefix(p, "log/entries/"):
		err = openapi.EntryID(strings.TrimPrefix(p, "log/entries/"))
	default:
		return nil, false
	}
	return err, true
}

// TestVectors holds every check against what Rekor's generated layer answered:
// status, code and message.
func TestVectors(t *testing.T) {
	checked := 0
	for _, v := range vectors(t) {
		body := []byte(v.RequestBody)
		if v.RequestBodyText != nil {
			body = []byte(*v.RequestBodyText)
		}
		if v.Method == "POST" && body == nil {
			body = []byte{}
		}
		if v.Method != "GET" && v.Method != "POST" {
			continue
		}
		err, ok := validate(v.Path, body)
		if !ok {
			continue
		}
		checked++
		var bad *openapi.Violation
		switch v.Name {
		case "index: hash sha384 refused":
			v.BodyCode = 0 // searchable here
		case "index: hash wrong length":
			v.BodyMessage = strings.Replace(v.BodyMessage, "|^(sha256", "|^(sha384:)?[0-9a-fA-F]{96}$|^(sha256", 1)
		case "proof: firstSize above lastSize", "publicKey: unknown treeID", "retrieve: unknown kind in entries":
			v.BodyCode = 0 // for the handler to judge
		case "POST entries with Content-Type text/plain", "POST entries without Content-Type":
			v.BodyCode = 0 // not the body's fault
		}
		if v.BodyCode == 0 {
			if err != nil {
				t.Errorf("%s: refused: %v", v.Name, err)
			}
			continue
		}
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v, not a violation with code %d", v.Name, err, v.BodyCode)
			continue
		}
		if bad.Status != v.Status || bad.Code != v.BodyCode || bad.Message != v.BodyMessage {
			t.Errorf("%s:\n got %d %d %s\nwant %d %d %s", v.Name,
				bad.Status, bad.Code, bad.Message, v.Status, v.BodyCode, v.BodyMessage)
		}
	}
	if checked < 40 {
		t.Errorf("only %d vectors were checked", checked)
	}
}

// TestLimits checks the edges that the vectors do not have.
func TestLimits(t *testing.T) {
	code := func(err error) int {
		var bad *openapi.Violation
		if err == nil {
			return 0
		}
		if !errors.As(err, &bad) {
			t.Fatalf("%v is not a violation", err)
		}
		return bad.Code
	}
	search := func(body string) int { _, err := openapi.ParseSearchIndex([]byte(body)); return code(err) }
	retrieve := func(body string) int { _, err := openapi.ParseSearchLogQuery([]byte(body)); return code(err) }
	proof := func(query string) int {
		q, _ := url.ParseQuery(query)
		_, err := openapi.Proof(q)
		return code(err)
	}
	for _, x := range []struct {
		name      string
		got, want int
	}{
		{"subject of 512 characters", search(`{"subject":"` + strings.Repeat("é", 512) + `"}`), 0},
		{"subject of 513 characters", search(`{"subject":"` + strings.Repeat("é", 513) + `"}`), 603},
		{"hash named sha256 of SHA-1 length", search(`{"hash":"sha256:` + strings.Repeat("0", 40) + `"}`), 605},
		{"hash with algorithm in upper case", search(`{"hash":"SHA256:` + strings.Repeat("0", 64) + `"}`), 605},
		{"bare SHA-384", search(`{"hash":"` + strings.Repeat("0", 96) + `"}`), 0},
		{"key not base64", search(`{"publicKey":{"format":"x509","content":"*"}}`), 400},
		{"not JSON", search(`{`), 400},
		{"white space", search(" \n"), 602},
		{"null", search(`null`), 0},
		{"bytes after the object", search(`{} x`), 0},
		{"empty lists", retrieve(`{"logIndexes":[]}`), 612},
		{"empty entries", retrieve(`{"entries":[]}`), 612},
		{"10 in all", retrieve(`{"logIndexes":[0,1,2,3,4],"entries":[{},{},{},{},{}]}`), 0},
		{"11 in all", retrieve(`{"logIndexes":[0,1,2,3,4,5],"entries":[{},{},{},{},{}]}`), 422},
		{"11 entries", retrieve(`{"entries":[{},{},{},{},{},{},{},{},{},{},{}]}`), 611},
		{"null for an index", retrieve(`{"logIndexes":[null]}`), 602},
		{"object for a list", retrieve(`{"logIndexes":{}}`), 400},
		{"index over int64", retrieve(`{"logIndexes":[9223372036854775808]}`), 400},
		{"firstSize 0", proof("firstSize=0&lastSize=1"), 609},
		{"firstSize empty", proof("firstSize=&lastSize=1"), 0},
		{"lastSize empty", proof("lastSize="), 602},
		{"treeID empty", proof("lastSize=1&treeID="), 0},
		{"treeID signed", proof("lastSize=1&treeID=%2B1"), 605},
		{"last value counts", proof("lastSize=x&lastSize=1"), 0},
	} {
		if x.got != x.want {
			t.Errorf("%s: code %d, not %d", x.name, x.got, x.want)
		}
	}
}

// TestNormalForm checks what a search is turned into.
func TestNormalForm(t *testing.T) {
	hex := strings.Repeat("aB", 32)
	s, err := openapi.ParseSearchIndex([]byte(`{"hash":"` + hex + `","operator":"and"}`))
	if err != nil || s.Hash != "sha256:"+strings.ToLower(hex) || !s.And {
		t.Errorf("%+v, %v", s, err)
	}
	if s, _ := openapi.ParseSearchIndex([]byte(`{}`)); s.And {
		t.Error("the default operator is not or")
	}
}

// TestLongListsAreCut: of a list of a million items only one more than allowed is
// kept, whatever memory the rest would take.
func TestLongListsAreCut(t *testing.T) {
	body := []byte(`{"entries":[` + strings.Repeat("1,", 1<<20) + `1]}`)
	n := testing.AllocsPerRun(1, func() {
		if _, err := openapi.ParseSearchLogQuery(body); err == nil {
			t.Error("accepted")
		}
	})
	if n > 200 {
		t.Errorf("%v allocations for a list that is too long", n)
	}
}

func FuzzBodies(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.RequestBody))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := openapi.ParseSearchLogQuery(body)
		checkViolation(t, err)
		if n := len(q.Entries) + len(q.EntryUUIDs) + len(q.LogIndexes); n > openapi.MaxRetrieve {
			t.Errorf("%d items", n)
		}
		_, err = openapi.ParseSearchIndex(body)
		checkViolation(t, err)
		checkViolation(t, openapi.ProposedEntry(body))
	})
}

func FuzzQueries(f *testing.F) {
	for _, v := range vectors(f) {
		_, query, _ := strings.Cut(v.Path, "?")
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, _ := url.ParseQuery(query)
		p, err := openapi.Proof(q)
		checkViolation(t, err)
		if err == nil && (p.FirstSize < 1 || p.LastSize < 1) {
			t.Errorf("sizes %d, %d", p.FirstSize, p.LastSize)
		}
		i, err := openapi.LogIndex(q)
		checkViolation(t, err)
		if err == nil && i < 0 {
			t.Errorf("index %d", i)
		}
		checkViolation(t, openapi.EntryID(query))
	})
}

func checkViolation(t *testing.T, err error) {
	t.Helper()
	var bad *openapi.Violation
	if err != nil && (!errors.As(err, &bad) || bad.Status < 400 || bad.Status > 499) {
		t.Errorf("%v (%s) is not a fault of the request", err, strconv.Quote(err.Error()))
	}
}
