package client

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// operation is a use of a client whose answer can be tampered with.
type operation struct {
	path string // of the request whose answer is
	run  func(context.Context, *Client) (any, error)
	// withheld, if set, reports whether what was returned is true, and only less than there
	// is: what the log keeps to itself.
	withheld func(got, want any) bool
}

func operations(w *world) map[string]operation {
	return map[string]operation{
		"log": {"/api/v1/log", func(ctx context.Context, c *Client) (any, error) { return c.Log(ctx) }, nil},
		"by index": {"/api/v1/log/entries", func(ctx context.Context, c *Client) (any, error) { return c.EntryByIndex(ctx, 11) },
			func(got, want any) bool { return got.(*Entry).isWithoutAttestation(want.(*Entry)) }},
		"by ID": {"/api/v1/log/entries/", func(ctx context.Context, c *Client) (any, error) { return c.EntryByUUID(ctx, w.id(11)) },
			func(got, want any) bool { return got.(*Entry).isWithoutAttestation(want.(*Entry)) }},
		"upload": {"/api/v1/log/entries", func(ctx context.Context, c *Client) (any, error) { return c.Upload(ctx, w.proposals[4]) }, nil},
		"entries": {"/api/v1/log/entries/retrieve", func(ctx context.Context, c *Client) (any, error) { return collect(c.Entries(ctx, 10, 12)) },
			func(got, want any) bool {
				g, w := got.([]*Entry), want.([]*Entry)
				return len(g) == 2 && reflect.DeepEqual(g[0], w[0]) && g[1].isWithoutAttestation(w[1])
			}},
		"search": {"/api/v1/index/retrieve", func(ctx context.Context, c *Client) (any, error) { return hits(ctx, c, Query{Hash: w.subject}) },
			func(got, want any) bool { return len(got.([]*Hit)) == 0 }},
		"hits": {"/api/v1/log/entries/retrieve", func(ctx context.Context, c *Client) (any, error) { return hits(ctx, c, Query{Hash: w.subject}) },
			func(got, want any) bool {
				g, w := got.([]*Hit), want.([]*Hit)
				return len(g) == 1 && !g[0].Confirmed && g[0].isWithoutAttestation(w[0].Entry)
			}},
		"consistency": {"/api/v1/log/proof", func(ctx context.Context, c *Client) (any, error) {
			return c.Growth(ctx, Tree{ID: newTree, Base: 3, Checkpoint: w.head}, 3, 7)
		}, nil},
	}
}

func (e *Entry) isWithoutAttestation(whole *Entry) bool {
	if len(e.Attestation) > 0 {
		return false
	}
	less := *whole
	less.Attestation = e.Attestation
	return reflect.DeepEqual(e, &less)
}

func hits(ctx context.Context, c *Client, q Query) ([]*Hit, error) {
	s, err := c.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	return collect(s.Hits(ctx))
}

// Whatever part of an answer is altered, nothing is returned but what an honest answer
// would have given.
func TestTampered(t *testing.T) {
	w := newWorld(t, nil)
	trust := w.key.trust(t)
	w.learn(t)
	for name, op := range operations(w) {
		t.Run(name, func(t *testing.T) {
			honest := &answer{}
			w.proxy.setLie(func(r *http.Request, a *answer) {
				if op.is(r) {
					*honest = *a
				}
			})
			fresh := func() *Client {
				c, err := New(w.proxy.URL, trust, Options{Sleep: noSleep, Retries: -1, Checkpoints: w.seen})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			want, err := op.run(t.Context(), fresh())
			if err != nil || honest.body == nil {
				t.Fatalf("honest: %v, answer %q", err, honest.body)
			}
			n, accepted := 0, 0
			for what, body := range mutants(t, honest.body) {
				n++
				w.proxy.setLie(func(r *http.Request, a *answer) {
					if op.is(r) {
						*a = answer{honest.status, honest.header, body}
					}
				})
				got, err := op.run(t.Context(), fresh())
				op.judge(t, what, got, want, err)
				if err == nil {
					accepted++
				}
			}
			t.Logf("%d mutants, %d without effect", n, accepted)
			if n < 50 || accepted*5 > n {
				t.Errorf("%d of %d mutants had no effect", accepted, n)
			}
		})
	}
}

func (op *operation) is(r *http.Request) bool {
	return r.URL.Path == op.path || strings.HasSuffix(op.path, "/") && strings.HasPrefix(r.URL.Path, op.path)
}

func (op *operation) judge(t *testing.T, what string, got, want any, err error) {
	t.Helper()
	if err == nil {
		if strings.HasPrefix(what, "trailing") || strings.HasPrefix(what, "twofold") {
			t.Errorf("%s: was accepted", what)
		}
		if !reflect.DeepEqual(got, want) && (op.withheld == nil || !op.withheld(got, want)) {
			t.Errorf("%s: was accepted: %+v", what, got)
		}
		return
	}
	var refusal *verify.Error
	if !errors.As(err, &refusal) && !errors.Is(err, ErrNotFound) {
		t.Errorf("%s: error is %v", what, err)
	}
	if v := reflect.ValueOf(got); v.Kind() == reflect.Pointer && !v.IsNil() || v.Kind() == reflect.Slice && op.path == "/api/v1/log" && v.Len() > 0 {
		t.Errorf("%s: something was returned with the error: %+v", what, got)
	}
}

// mutants returns altered forms of a JSON text, each under what was done to it: "verb
// /path/of/member".
func mutants(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	var root any
	decode := func() any {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	root = decode()
	// alter applies a change to a fresh copy.
	alter := func(what string, path []any, change func(any) any) {
		m := apply(decode(), path, change)
		b := encode(t, m)
		if !bytes.Equal(b, encode(t, decode())) {
			out[what] = b
		}
	}
	walk(root, nil, func(path []any, v any) {
		place := ""
		for _, p := range path {
			place += fmt.Sprint("/", p)
		}
		set := func(what string, to any) { alter(what+" "+place, path, func(any) any { return to }) }
		set("null", nil)
		switch v := v.(type) {
		case string:
			for at := range alterations {
				set(fmt.Sprint("alter@", at), alterations[at](v))
			}
			set("number", 7)
		case json.Number:
			n, _ := v.Int64()
			set("more", n+1)
			set("less", n-1)
			set("zero", 0)
			set("negative", -n)
			set("text", v.String())
			set("fraction", json.Number(v.String()+".5"))
		case []any:
			set("empty", []any{})
			if len(v) > 0 {
				set("first-off", v[1:])
				set("last-off", v[:len(v)-1])
				set("twice", append(slices.Clone(v), v[0]))
				set("array-of", []any{v})
			}
			if len(v) > 1 {
				set("swap", append([]any{v[1], v[0]}, v[2:]...))
			}
		case map[string]any:
			for k := range v {
				alter("drop "+place+"/"+k, path, func(o any) any { delete(o.(map[string]any), k); return o })
				alter("rename "+place+"/"+k, path, func(o any) any {
					m := o.(map[string]any)
					m[strings.ToUpper(k[:1])+k[1:]+"_"] = m[k]
					delete(m, k)
					return o
				})
			}
		}
	})
	for i := range 40 {
		cut := len(text) * i / 40
		out[fmt.Sprintf("cut %d", cut)] = text[:cut]
	}
	out["trailing /"] = append(slices.Clone(text), "{}"...)
	out["twofold /"] = bytes.Replace(text, []byte("{"), append(append([]byte("{"), firstMember(text)...), ','), 1)
	if bytes.Equal(out["twofold /"], text) || text[0] != '{' {
		delete(out, "twofold /")
	}
	return out
}

// firstMember returns the first member of a JSON object, name and value.
func firstMember(text []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(text))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return nil
	}
	start := d.InputOffset()
	d.Token()
	var v json.RawMessage
	if d.Decode(&v) != nil {
		return nil
	}
	return text[start:d.InputOffset()]
}

var alterations = []func(string) string{
	func(s string) string { return other(s, 0) },
	func(s string) string { return other(s, len(s)/3) },
	func(s string) string { return other(s, len(s)/2) },
	func(s string) string { return other(s, len(s)*3/4) },
	func(s string) string { return other(s, len(s)-6) },
	func(s string) string { return s[:len(s)/2] },
	func(s string) string { return s + "0" },
	func(s string) string { return s + "\n" },
	func(s string) string { return " " + s },
	func(s string) string { return strings.ToUpper(s) },
	func(string) string { return "" },
}

// other changes one character of a string to another of its kind.
func other(s string, at int) string {
	if at < 0 || at >= len(s) {
		return s
	}
	b := []byte(s)
	switch c := b[at]; {
	case c == '9':
		b[at] = '8'
	case '0' <= c && c < '9':
		b[at] = c + 1
	case c == 'a' || c == 'A':
		b[at] = c + 1
	case c == ' ' || c == '\n':
		b[at] = 'x'
	default:
		b[at] = c - 1
	}
	return string(b)
}

func walk(v any, path []any, visit func([]any, any)) {
	visit(path, v)
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			walk(e, append(slices.Clone(path), k), visit)
		}
	case []any:
		for i, e := range v {
			walk(e, append(slices.Clone(path), i), visit)
		}
	}
}

func apply(v any, path []any, change func(any) any) any {
	if len(path) == 0 {
		return change(v)
	}
	switch k := path[0].(type) {
	case string:
		m := v.(map[string]any)
		m[k] = apply(m[k], path[1:], change)
	case int:
		a := v.([]any)
		a[k] = apply(a[k], path[1:], change)
	}
	return v
}

// A genuine answer to another question is refused.
func TestForeignAnswers(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	foreign := newWorld(t, nil) // another log: another key, the same tree IDs
	for what, lie := range map[string]func(*http.Request) string{
		"another entry":      func(*http.Request) string { return "/api/v1/log/entries?logIndex=6" },
		"of the closed tree": func(*http.Request) string { return "/api/v1/log/entries?logIndex=1" },
		"one before":         func(*http.Request) string { return "/api/v1/log/entries?logIndex=10" },
	} {
		w.proxy.setLie(func(r *http.Request, a *answer) {
			if strings.HasPrefix(r.URL.Path, "/api/v1/log/entries") {
				other := w.log.get(lie(r))
				if r.URL.Path == "/api/v1/log/entries/retrieve" {
					other.body = []byte("[" + string(other.body) + "]")
				}
				*a = answer{a.status, a.header, other.body}
			}
		})
		for name, op := range operations(w) {
			if name == "log" {
				continue
			}
			got, err := op.run(t.Context(), w.client(t))
			if !errors.Is(err, verify.ErrBadProof) && !errors.Is(err, ErrNotFound) {
				t.Errorf("%s for %s: %+v, %v", what, name, got, err)
			}
		}
	}
	w.proxy.setLie(nil)
	w.proxy.setBehind(foreign.log)
	for name, op := range operations(w) {
		if name == "hits" || name == "search" {
			continue // finds nothing there
		}
		if got, err := op.run(t.Context(), w.client(t)); !errors.Is(err, verify.ErrUntrustedLog) && !errors.Is(err, verify.ErrBadProof) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of another log: %+v, %v", name, got, err)
		}
	}
}

// An entry that two trees have is answered as that of the tree that was asked for.
func TestSameLeafInAnotherTree(t *testing.T) {
	w := newWorld(t, nil)
	w.log.add(w.old[0]) // as entry 12
	c := w.client(t)
	e, err := c.EntryByIndex(t.Context(), 12)
	if err != nil {
		t.Fatal(err)
	}
	w.proxy.setLie(func(r *http.Request, a *answer) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/log/entries") {
			a.body = w.log.get("/api/v1/log/entries?logIndex=0").body
		}
	})
	if got, err := c.EntryByUUID(t.Context(), e.UUID); !errors.Is(err, verify.ErrBadProof) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := c.EntryByUUID(t.Context(), e.UUID[16:]); err != nil || got.LogIndex != 0 {
		t.Errorf("by leaf hash: %+v, %v", got, err)
	}
}

// Answers of a batch beside what was asked for, or instead of it, are refused.
func TestForeignInBatch(t *testing.T) {
	w := newWorld(t, nil)
	extra := w.log.get("/api/v1/log/entries?logIndex=6").body
	for name, change := range map[string]func([]byte) []byte{
		"one more": func(b []byte) []byte {
			return append(append(bytes.TrimSuffix(bytes.TrimSpace(b), []byte("]")), ','), append(extra, ']')...)
		},
		"another": func([]byte) []byte { return append(append([]byte{'['}, extra...), ']') },
	} {
		w.proxy.setLie(func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/log/entries/retrieve" {
				a.body = change(a.body)
			}
		})
		if got, err := collect(w.client(t).Entries(t.Context(), 10, 11)); len(got) > 0 || err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err := hits(t.Context(), w.client(t), Query{Hash: w.subject}); len(got) > 0 || err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s in a search: %v, %v", name, got, err)
		}
	}
}

// CVE-2024-51746: a log that answers a search with entries that match one member of the
// query, or none, must not have them taken for matches.
func TestSearchHitsAreHeldAgainstTheQuery(t *testing.T) {
	w := newWorld(t, nil)
	other := newSigner(t)
	w.log.add(other.hashedRekord(t, "evil"))
	c := w.client(t)
	want := Query{Hash: w.subject, PublicKey: w.signer.pem}
	all, err := collect(c.Entries(t.Context(), 0, 13))
	if err != nil {
		t.Fatal(err)
	}
	w.proxy.setLie(func(r *http.Request, a *answer) { // everything is a match
		if r.URL.Path == "/api/v1/index/retrieve" {
			var ids []string
			for _, e := range all {
				ids = append(ids, e.UUID, e.UUID[16:], e.UUID)
			}
			a.body = encode(t, ids)
		}
	})
	got, err := hits(t.Context(), c, want)
	if err != nil || len(got) != 13 {
		t.Fatalf("%d hits, %v", len(got), err)
	}
	for _, h := range got {
		if h.Confirmed != (h.LogIndex == 11) {
			t.Errorf("entry %d: confirmed is %v", h.LogIndex, h.Confirmed)
		}
	}
	got, err = hits(t.Context(), c, Query{Hash: w.subject, PublicKey: other.pem, Any: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range got {
		if h.Confirmed != (h.LogIndex == 11 || h.LogIndex == 12) {
			t.Errorf("any: entry %d: confirmed is %v", h.LogIndex, h.Confirmed)
		}
	}
	// An ID without an entry is an error, not silence.
	w.proxy.setLie(func(r *http.Request, a *answer) {
		if r.URL.Path == "/api/v1/index/retrieve" {
			a.body = encode(t, []string{strings.Repeat("ab", 32)})
		}
	})
	if got, err := hits(t.Context(), c, want); !errors.Is(err, verify.ErrBadProof) || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	for _, complete := range []string{"-1", "x", "99999999999999999999"} {
		w.proxy.setLie(func(r *http.Request, a *answer) { a.header.Set("Tallystick-Complete-To", complete) })
		if s, err := c.Search(t.Context(), want); !errors.Is(err, verify.ErrMalformed) || s != nil {
			t.Errorf("complete to %s: %v, %v", complete, s, err)
		}
	}
}

// get asks the server, past any client.
func (l *realLog) get(path string) *answer { return l.serve(l.t, http.MethodGet, path, nil) }

// What a log says beside its checkpoint has to be what the checkpoint says.
func TestLogInfoContradictsItself(t *testing.T) {
	w := newWorld(t, nil)
	honest := w.log.get("/api/v1/log").body
	for _, x := range [][2]string{
		{`"treeSize":9`, `"treeSize":8`}, {`"treeSize":3`, `"treeSize":4`}, {`"treeID":"1`, `"treeID":"2`},
		{`"rootHash":"` + w.log.roots[9].String(), `"rootHash":"` + w.log.roots[8].String()},
	} {
		w.proxy.setLie(func(_ *http.Request, a *answer) { a.body = bytes.Replace(honest, []byte(x[0]), []byte(x[1]), 1) })
		if got, err := w.client(t).Log(t.Context()); !errors.Is(err, verify.ErrBadProof) || got != nil {
			t.Errorf("%s: %+v, %v", x[1], got, err)
		}
	}
	tree := strings.Index(string(honest), `{"rootHash"`)
	end := strings.Index(string(honest), `]`)
	if tree < 0 || end < tree {
		t.Fatalf("%s", honest)
	}
	twice := string(honest[:end]) + "," + string(honest[tree:end]) + string(honest[end:])
	w.proxy.setLie(func(_ *http.Request, a *answer) { a.body = []byte(twice) })
	if got, err := w.client(t).Log(t.Context()); !errors.Is(err, verify.ErrBadProof) || got != nil {
		t.Errorf("a tree twice: %+v, %v", got, err)
	}
}

// A tree that begins elsewhere than the log says is not taken for another.
func TestGrowthOfAMisplacedTree(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	for _, base := range []int64{0, 2, 4} {
		g, err := w.client(t).Growth(t.Context(), Tree{ID: newTree, Base: base, Checkpoint: w.head}, 2, 6)
		if !errors.Is(err, verify.ErrBadProof) || errors.Is(err, ErrInconsistent) || g != nil {
			t.Errorf("base %d: %+v, %v", base, g, err)
		}
	}
}

// Entries and checkpoints of a Rekor v2 log are not those of a v1 API, though it is
// trusted.
func TestV2IsNotV1(t *testing.T) {
	log := forge.NewLogV2("log2.example.test", forge.P256("log"))
	root := forge.Encode(forge.TrustedRoot(forge.Array{log.TrustedRoot(time.Unix(1, 0), time.Time{})}, nil, nil, nil))
	trust, err := verify.ParseTrustedRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	key := forge.P256("signer")
	digest := sha256.Sum256([]byte("artifact"))
	e := log.Put(forge.HashedRekordV2("SHA2_256", digest[:], key.SignDigest(crypto.SHA256, digest[:]), "PKIX_ECDSA_P256_SHA_256",
		forge.Object{"publicKey": forge.Object{"rawBytes": forge.Base64(key.SPKI)}}), time.Unix(0, 0))
	api := e.API()
	id := e.UUID()
	inner := forge.Without(forge.Without(api[id], "verification", "signedEntryTimestamp"), "integratedTime")
	answer := forge.Encode(forge.Object{id[16:]: inner})
	claimed, err := verify.ParseEntries(answer, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.VerifyEntry(claimed[0]); err != nil {
		t.Fatalf("the entry should hold: %v", err)
	}
	options := Options{HTTP: &http.Client{Transport: fixed{200, answer}}, Retries: -1}
	c, err := New("https://log2.example.test", trust, options)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.EntryByIndex(t.Context(), 0); !errors.Is(err, verify.ErrBadProof) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
	options.Checkpoints = [][]byte{[]byte(log.Checkpoint(1))}
	if _, err := trust.VerifyCheckpoint(options.Checkpoints[0], nil); err != nil {
		t.Fatalf("the checkpoint should hold: %v", err)
	}
	if c, err := New("https://log2.example.test", trust, options); !errors.Is(err, verify.ErrBadProof) || c != nil {
		t.Errorf("%v", err)
	}
}

// A log cannot make two hits of one entry by naming it twice: with its tree, and without.
func TestSearchNamesAnEntryTwice(t *testing.T) {
	w := newWorld(t, nil)
	w.learn(t)
	for _, ids := range [][]string{{w.id(3), w.id(3)[16:]}, {w.id(3)[16:], w.id(3)}, {w.id(3)[16:], w.id(3), w.id(3)[16:], w.id(3)}} {
		w.proxy.setLie(func(r *http.Request, a *answer) {
			if r.URL.Path == "/api/v1/index/retrieve" {
				a.body = encode(t, ids)
			}
		})
		s, err := w.client(t).Search(t.Context(), Query{PublicKey: w.signer.pem})
		if err != nil {
			t.Fatal(err)
		}
		got, err := collect(s.Hits(t.Context()))
		if err != nil || s.Len() != 1 || len(got) != 1 || got[0].UUID != w.id(3) {
			t.Errorf("%q: %d named, hits %+v, %v", ids, s.Len(), got, err)
		}
	}
}
