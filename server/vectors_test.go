package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
)

// vector is a request, and the answer of Rekor 1.5.4's generated HTTP layer.
type vector struct {
	Name, Method, Path string
	RequestHeaders     map[string]string
	RequestBody        json.RawMessage
	RequestBodyText    *string

	Status              int
	ResponseContentType string
	ResponseText        string
	BodyCode            int
	BodyMessage         string
}

func readVectors(t testing.TB, name string) []vector {
	t.Helper()
	var file struct{ Cases []vector }
	readJSON(t, name, &file)
	return file.Cases
}

// send sends the vector's request to a log of three entries.
func (v *vector) send(g *rig) *httptest.ResponseRecorder {
	body := string(v.RequestBody)
	if v.RequestBodyText != nil {
		body = *v.RequestBodyText
	}
	var headers []string
	for name, value := range v.RequestHeaders {
		headers = append(headers, name, value)
	}
	switch v.Name {
	case "POST entries with Content-Type text/plain":
		headers = append(headers, "Content-Type", "text/plain")
	case "POST entries without Content-Type":
		headers = append(headers, "Content-Type", "")
	}
	return g.do(v.Method, v.Path, body, headers...)
}

// deviation is where this server answers other than the vector says.
type deviation struct {
	status, code int
	why          string
}

func deviations() map[string]deviation {
	return map[string]deviation{
		"body is not JSON": {400, 400, "500 makes clients send it again"},
		"intoto 0.0.2: content.hash missing (rekor answers 500; a new server should answer 400)": {400, 400, "a fault of the request"},
		"index: hash sha384 refused":                    {200, 0, "searchable"},
		"index: publicKey url (dropped in rekor 1.5.0)": {400, 400, "the vector's handler is a stub; Rekor's own refuses a search without a key"},
	}
}

// TestVectors sends all validation vectors, and holds status, code and type
// against Rekor's; for codes of validation also the message.
func TestVectors(t *testing.T) {
	for _, file := range []string{"http-validation.json", "invalid-entries.json"} {
		for _, v := range readVectors(t, file) {
			t.Run(v.Name, func(t *testing.T) {
				g := newRig(t, nil)
				g.active().fill(t, 3)
				w := v.send(g)
				status, code := v.Status, v.BodyCode
				if d, ok := deviations()[v.Name]; ok {
					status, code = d.status, d.code
				}
				if w.Code != status || codeOf(w) != code {
					t.Fatalf("status %d code %d, not %d and %d\n%s", w.Code, codeOf(w), status, code, w.Body)
				}
				if status != v.Status {
					return
				}
				if got := w.Header().Get("Content-Type"); got != v.ResponseContentType {
					t.Errorf("Content-Type %q, not %q", got, v.ResponseContentType)
				}
				if code > 422 && v.Name != "index: hash wrong length" || code == 415 || code == 405 || code == 406 || code == 404 {
					if got := messageOf(w); got != v.BodyMessage {
						t.Errorf("message %q, not %q", got, v.BodyMessage)
					}
				}
			})
		}
	}
}

// TestLogEntryVectors rebuilds the tree of the vectors, and holds whole answers
// against Rekor's, byte for byte, with its signatures in place of ours.
func TestLogEntryVectors(t *testing.T) {
	var merkle struct {
		Leaves []struct{ BodyBase64 []byte }
	}
	readJSON(t, "merkle-7.json", &merkle)
	var file struct {
		Vectors []struct {
			Case, EntryID string
			Response      json.RawMessage
		}
	}
	readJSON(t, "log-entry.json", &file)
	for i, v := range file.Vectors {
		t.Run(v.Case, func(t *testing.T) {
			base := int64(100 * i) // as in the second vector
			l := newFakeLog(t, treeA, base)
			for _, leaf := range merkle.Leaves {
				l.Add(t.Context(), tlog.Leaf{Body: leaf.BodyBase64})
			}
			var want map[string]struct {
				IntegratedTime int64
				Verification   struct {
					InclusionProof       struct{ Checkpoint string }
					SignedEntryTimestamp []byte
				}
			}
			if err := json.Unmarshal(v.Response, &want); err != nil {
				t.Fatal(err)
			}
			e := want[v.EntryID]
			l.leaves[4].Time = e.IntegratedTime
			l.checkpoint = []byte(e.Verification.InclusionProof.Checkpoint)
			l.setSignature = e.Verification.SignedEntryTimestamp
			logs := []*fakeLog{l}
			if base > 0 {
				logs = []*fakeLog{newFakeLog(t, treeB, 0), l}
			}
			g := newRig(t, logs)
			var compact bytes.Buffer
			if err := json.Compact(&compact, v.Response); err != nil {
				t.Fatal(err)
			}
			compact.WriteByte('\n')
			got := g.want(200, 0, "GET", "/api/v1/log/entries/"+strings.ToUpper(v.EntryID), "").Body.Bytes()
			if !bytes.Equal(got, compact.Bytes()) {
				t.Errorf("got  %s\nwant %s", got, compact.Bytes())
			}
		})
	}
}

// TestProposals logs all proposals of the vectors, and reads each back in every
// way there is.
func TestProposals(t *testing.T) {
	g := newRig(t, nil)
	for _, file := range []string{"hashedrekord-0.0.1.json", "intoto-0.0.1.json", "dsse-0.0.1.json"} {
		var f struct {
			Vectors []struct {
				Name, LeafHash, AttestationStoredBase64 string
				ProposedEntry                           json.RawMessage
			}
		}
		readJSON(t, file, &f)
		for _, v := range f.Vectors {
			if refused(v.Name) {
				g.want(400, 400, "POST", "/api/v1/log/entries", string(v.ProposedEntry))
				continue
			}
			w := g.want(201, 0, "POST", "/api/v1/log/entries", string(v.ProposedEntry))
			id, e := g.verify(w)
			if id[16:] != v.LeafHash {
				t.Errorf("%s %s: leaf hash %s, not %s", file, v.Name, id[16:], v.LeafHash)
			}
			if e.Attestation != nil {
				t.Errorf("%s %s: attestation in the 201", file, v.Name)
			}
			for _, body := range []string{`{"entryUUIDs":["` + id + `"]}`, `{"entryUUIDs":["` + v.LeafHash + `"]}`, `{"entries":[` + string(v.ProposedEntry) + `]}`} {
				w := g.want(200, 0, "POST", "/api/v1/log/entries/retrieve", body)
				var list []json.RawMessage
				if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 {
					t.Fatalf("%s %s: %s gives %s", file, v.Name, body, w.Body)
				}
				if got, _ := g.verifyJSON(list[0]); got != id {
					t.Errorf("%s %s: retrieved %s, not %s", file, v.Name, got, id)
				}
			}
			_, e = g.verify(g.want(200, 0, "GET", "/api/v1/log/entries/"+v.LeafHash, ""))
			if want := v.AttestationStoredBase64; (e.Attestation == nil) != (want == "") ||
				want != "" && base64.StdEncoding.EncodeToString(e.Attestation.Data) != want {
				t.Errorf("%s %s: attestation %v, not %.40s", file, v.Name, e.Attestation, want)
			}
		}
	}
}
