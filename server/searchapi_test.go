package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/tlog"
)

// ask searches, and checks the answer by the specification and against the v1 API's
// entries.
func (g *rig) ask(parameters ...string) openapi.SearchPage {
	g.t.Helper()
	values := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		values.Set(parameters[i], parameters[i+1])
	}
	w := g.want(200, 0, "GET", "/api/search?"+values.Encode(), "")
	var page openapi.SearchPage
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&page); err != nil {
		g.t.Fatal(err)
	}
	for _, e := range page.Entries {
		l := g.logOf(e.UUID)
		leaf := l.leaves[e.TreeIndex]
		if e.UUID[16:] != leaf.Hash.String() || e.LogIndex != l.tree.BaseIndex+e.TreeIndex || e.IntegratedTime != leaf.Time || e.TreeID != fmt.Sprint(l.tree.ID) {
			g.t.Errorf("%v: entry %+v is not leaf %d of tree %d at %d", parameters, e, leaf.Index, l.tree.ID, leaf.Time)
		}
	}
	return page
}

// askAll asks for all pages; between them, change is called.
func (g *rig) askAll(change func(), parameters ...string) (indexes []int64, first openapi.SearchPage) {
	g.t.Helper()
	first = g.ask(parameters...)
	for page := first; ; page = g.ask(append(slices.Clone(parameters), "cursor", page.Next)...) {
		for _, e := range page.Entries {
			indexes = append(indexes, e.LogIndex)
		}
		if (page.Next == "") != (page.ScannedTo == nil) {
			g.t.Errorf("%v: next %q, scanned to %v", parameters, page.Next, page.ScannedTo)
		}
		if page.Next == "" {
			return indexes, first
		}
		if change != nil {
			change()
		}
	}
}

func indexesOf(page openapi.SearchPage) (indexes []int64) {
	for _, e := range page.Entries {
		indexes = append(indexes, e.LogIndex)
	}
	return indexes
}

// certified logs the hashedrekord of the vectors that is signed with a certificate,
// among others, and returns the rig and that entry.
func certified(t *testing.T) (*rig, openapi.SearchEntry) {
	t.Helper()
	old, active := newFakeLog(t, treeB, 0), newFakeLog(t, treeA, 3)
	old.fill(t, 3)
	g := newRig(t, []*fakeLog{old, active})
	for _, file := range []string{"hashedrekord-0.0.1.json", "intoto-0.0.1.json", "dsse-0.0.1.json"} {
		for _, p := range proposals(t, file) {
			g.want(201, 0, "POST", "/api/v1/log/entries", p)
		}
	}
	from, to := time.Unix(1_600_000_000, 0), time.Unix(1_900_000_000, 0)
	key := forge.P256("signer")
	cert := forge.NewP256CA("ca.example.com", from, to).Issue(forge.Subject{Email: "jo@example.com", Issuer: "https://issuer.example.com", Key: key, From: from, To: to})
	sum := sha256.Sum256([]byte("artifact"))
	body := forge.Encode(forge.HashedRekordV1("sha256", sum[:], key.SignDigest(crypto.SHA256, sum[:]), forge.CertificatePEM(cert)))
	_, made := g.verify(g.want(201, 0, "POST", "/api/v1/log/entries", string(body)))
	active.fill(t, 3)
	page := g.ask("index", fmt.Sprint(made.LogIndex))
	if len(page.Entries) != 1 || len(page.Entries[0].Signers) != 1 {
		t.Fatalf("found %+v", page)
	}
	return g, page.Entries[0]
}

// TestAPISearch: each condition alone finds the entry, and the same one with another
// value does not; and all of them together find it.
func TestAPISearch(t *testing.T) {
	g, e := certified(t)
	l := g.active()
	info, err := g.server.cfg.Parser.Describe(l.leaves[e.TreeIndex].Body)
	if err != nil {
		t.Fatal(err)
	}
	who := e.Signers[0]
	certificate := string(info.Signers[0].PEM)
	conditions := []struct{ name, value, other string }{
		{"identity", strings.ToUpper(who.Identities[0]), "nobody@example.com"},
		{"identityPrefix", who.Identities[0][:3], "~"},
		{"issuer", who.Issuers[0], "https://nobody.example.com"},
		{"digest", e.Artifact, "sha256:" + strings.Repeat("00", 32)},
		{"publicKey", certificate, strings.Repeat("00", 32)},
		{"publicKey", who.PublicKeySHA256, strings.Repeat("00", 32)},
		{"index", fmt.Sprint(e.LogIndex), "0"},
		{"id", e.UUID, strings.Repeat("00", 32)},
		{"id", e.UUID[16:], fmt.Sprintf("%016x", treeB) + e.UUID[16:]},
		{"kind", "hashedrekord", "dsse"},
		{"from", fmt.Sprint(e.IntegratedTime - 1), fmt.Sprint(e.IntegratedTime + 1)},
		{"to", fmt.Sprint(e.IntegratedTime + 2), fmt.Sprint(e.IntegratedTime)},
		{"treeID", fmt.Sprint(treeA), fmt.Sprint(treeB)},
		{"text", " " + who.Identities[0], "nobody@example.com"},
		{"text", strings.ReplaceAll(certificate, "\n", " "), strings.Repeat("00", 32)},
		{"text", e.UUID, "0"},
	}
	finds := func(parameters ...string) bool {
		indexes, _ := g.askAll(nil, append(parameters, "limit", "7")...)
		return slices.Contains(indexes, e.LogIndex)
	}
	all := url.Values{}
	for _, c := range conditions {
		if !finds(c.name, c.value) {
			t.Errorf("not found by %s=%.100s", c.name, c.value)
		}
		if finds(c.name, c.other) {
			t.Errorf("found by %s=%.100s", c.name, c.other)
		}
		all.Set(c.name, c.value)
	}
	var together []string
	for name := range all {
		together = append(together, name, all.Get(name))
	}
	if page := g.ask(together...); !slices.Equal(indexesOf(page), []int64{e.LogIndex}) || len(page.Understood) != 1 || page.Understood[0].Field != "id" {
		t.Errorf("together they find %v, understood as %v", indexesOf(page), page.Understood)
	}
	for _, c := range conditions {
		alone := slices.Clone(together)
		alone[slices.Index(alone, c.name)+1] = c.other
		if page := g.ask(alone...); len(page.Entries) != 0 {
			t.Errorf("with %s=%.100s there is %v", c.name, c.other, indexesOf(page))
		}
	}
	if page := g.ask("identity", "", "text", "", "limit", "", "from", "", "index", ""); len(page.Entries) != 20 {
		t.Errorf("without conditions there are %d entries", len(page.Entries))
	}
}

// TestAPISearchCommit finds a commit that gitsign logged.
func TestAPISearchCommit(t *testing.T) {
	g := newRig(t, nil)
	commit := strings.Repeat("0a", 20)
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(commit)))
	for _, k := range []string{sum, "gitcommit:" + commit, "sha1:" + commit, "gittree:" + commit} {
		leaf := tlog.Leaf{Body: []byte(`{"kind":"` + k + `"}`), Keys: []tlog.Key{{Type: tlog.KeyDigest, Value: k}}}
		if _, err := g.active().Add(context.Background(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	if got := indexesOf(g.ask("commit", strings.ToUpper(commit))); !slices.Equal(got, []int64{2, 1, 0}) {
		t.Errorf("found %v", got)
	}
}

// TestAPISearchPages: pages of any size put together are one large answer, across
// trees, and what is added between them changes nothing.
func TestAPISearchPages(t *testing.T) {
	g, _ := certified(t)
	for _, parameters := range [][]string{{}, {"kind", "dsse"}, {"issuer", "https://issuer.example.com"}, {"from", "1"}, {"text", "3"}, {"treeID", fmt.Sprint(treeB)}} {
		for _, limit := range []string{"1", "2", "7", "99"} {
			n := g.active().size()
			whole := g.ask(append(slices.Clone(parameters), "limit", "100")...)
			want := indexesOf(whole)
			if limit == "1" && (len(want) == 0 || whole.Next != "") {
				t.Fatalf("%v: %d entries, next %q", parameters, len(want), whole.Next)
			}
			added := 0
			got, first := g.askAll(func() {
				if added++; added < 3 {
					g.active().fill(t, 1)
				}
			}, append(slices.Clone(parameters), "limit", limit)...)
			if !slices.Equal(got, want) {
				t.Errorf("%v, limit %s: %v, not %v", parameters, limit, got, want)
			}
			for _, c := range first.CompleteTo {
				if c.TreeID == fmt.Sprint(treeA) && c.Size != n || c.TreeID == fmt.Sprint(treeB) && c.Size != 3 {
					t.Errorf("complete to %v", first.CompleteTo)
				}
			}
		}
	}
}

// TestAPISearchRefusals: what cannot be answered is refused with words that name the
// parameter.
func TestAPISearchRefusals(t *testing.T) {
	g := newRig(t, nil)
	for i := range 101 {
		leaf := tlog.Leaf{Body: fmt.Appendf(nil, `{"kind":"x%d"}`, i), Keys: []tlog.Key{{Type: tlog.KeyIdentity, Value: fmt.Sprintf("u%d@example.com", i)}}}
		if _, err := g.active().Add(context.Background(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	private := url.QueryEscape("-----BEGIN PRIVATE KEY-----AAAA-----END PRIVATE KEY-----")
	for query, want := range map[string]string{
		"nosuch=1":                        `"nosuch"`,
		"Identity=a":                      `"Identity"`,
		"identity=a&identity=b":           "identity: ",
		"limit=0":                         "limit: ",
		"limit=101":                       "limit: ",
		"limit=-1":                        "limit: ",
		"limit=x":                         "limit: ",
		"limit=99999999999999999999":      "limit: ",
		"index=-1":                        "index: ",
		"index=%2b1":                      "index: ",
		"index=9223372036854775808":       "index: ",
		"treeID=0":                        "treeID: ",
		"treeID=5":                        "treeID: ",
		"treeID=x":                        "treeID: ",
		"id=x":                            "id: ",
		"commit=abc":                      "commit: ",
		"digest=abc":                      "digest: ",
		"publicKey=abc":                   "publicKey: ",
		"publicKey=" + private:            "private key",
		"text=" + private:                 "private key",
		"text=%00":                        "text: ",
		"text=%ff":                        "text: ",
		"identity=%ff":                    "identity: ",
		"identityPrefix=u":                "type more",
		"text=u*":                         "type more",
		"cursor=x":                        "cursor: ",
		"from=yesterday":                  "from: ",
		"from=-1":                         "from: ",
		"to=99999999999999999":            "to: ",
		"from=2026-01-31":                 "from: ",
		"from=0001-01-01T00:00:00Z":       "from: ",
		"from=5&to=5":                     "to: ",
		"kind=" + strings.Repeat("x", 65): "kind: ",
		"a=%zz":                           "cannot be read",
		"a=1;b=2":                         "cannot be read",
	} {
		w := g.want(400, 400, "GET", "/api/search?"+query, "")
		if m := messageOf(w); !strings.Contains(m, want) {
			t.Errorf("%.80s: message %q has no %q", query, m, want)
		}
	}
	g.want(405, 405, "POST", "/api/search", "{}")
	g.want(406, 406, "GET", "/api/search", "", "Accept", "text/html")
	if w := g.do("OPTIONS", "/api/search", "", "Access-Control-Request-Method", "GET", "Origin", "https://elsewhere.example.com"); w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	g.idle()
}

// TestAPISearchFails: what storage says goes through the error table, and a damaged
// entry is a fault of the server, which it counts.
func TestAPISearchFails(t *testing.T) {
	g := newRig(t, nil)
	g.active().fill(t, 3)
	g.ask()
	for err, want := range map[error]int{storage.ErrUnavailable: 503, context.DeadlineExceeded: 504, storage.ErrSchema: 500} {
		g.search.Misbehave(func(method string) memory.Fault {
			if method == "LeavesAt" {
				return memory.Fault{Err: fmt.Errorf("secret host: %w", err)}
			}
			return memory.Fault{}
		})
		g.want(want, want, "GET", "/api/search", "")
	}
	g.search.Misbehave(nil)
	g.active().leaves = append(g.active().leaves, storage.Leaf{Index: 3, Hash: tlog.Hash{1}, Time: g.active().clock, Body: []byte("{}")})
	g.active().keys = append(g.active().keys, nil)
	g.want(500, 500, "GET", "/api/search", "")
	if n := g.counter("tallystick_damaged_entries_total"); n != 1 {
		t.Errorf("%v damaged entries", n)
	}
	if page := g.ask("to", fmt.Sprint(g.active().leaves[2].Time)); len(page.Entries) != 2 {
		t.Errorf("%d entries before it", len(page.Entries))
	}
	g.idle()
}

// TestAPISearchBudget: what searches hold is charged to the answers' budget: large
// pages and scans are refused when it is used up, and small ones go on.
func TestAPISearchBudget(t *testing.T) {
	g := newRig(t, nil)
	g.impatient()
	for i := range 40 {
		body := fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"helm","spec":"%d%s"}`, i, strings.Repeat("x", 20_000))
		if _, err := g.active().Add(context.Background(), tlog.Leaf{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	release := hold(t, g.server.answers.common)
	g.ask("index", "1000")
	for _, query := range []string{"", "kind=helm", "kind=none"} {
		if w := g.want(503, 503, "GET", "/api/search?"+query, ""); w.Header().Get("Retry-After") != "1" {
			t.Errorf("headers %v", w.Header())
		}
	}
	release()
	if n := len(g.ask("kind", "helm", "limit", "40").Entries); n != 40 {
		t.Errorf("%d entries", n)
	}
	g.idle()
}

// countingSearch counts the calls of Search that are under way. Each says on entered
// that it is, and waits for release.
type countingSearch struct {
	*fakeSearch
	mu        sync.Mutex
	now, most int
	entered   chan struct{}
	release   chan struct{}
}

func (c *countingSearch) Search(ctx context.Context, q storage.Query) (storage.Result, error) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	c.entered <- struct{}{}
	<-c.release
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	return c.fakeSearch.Search(ctx, q)
}

// TestAPISearchTurns: few searches run at a time, by API and pages together; the others
// are refused as busy, and what is no search goes on.
func TestAPISearchTurns(t *testing.T) {
	var store *countingSearch
	g := newRig(t, nil, func(c *Config) {
		store = &countingSearch{fakeSearch: c.Search.(*fakeSearch), entered: make(chan struct{}), release: make(chan struct{})}
		c.Search = store
	})
	g.impatient()
	g.active().fill(t, 3)
	if n := searches(); n < 2 || n > max(2, int64(runtime.NumCPU()/2)) {
		t.Fatalf("%d searches at a time", n)
	}
	var running sync.WaitGroup
	for range searches() {
		running.Go(func() {
			w := httptest.NewRecorder()
			g.server.ServeHTTP(w, httptest.NewRequest("GET", "/api/search?identity=a", nil))
			if w.Code != 200 {
				t.Errorf("a search that has a turn: %d", w.Code)
			}
		})
		<-store.entered
	}
	if w := g.want(503, 503, "GET", "/api/search?identity=a", ""); w.Header().Get("Retry-After") != "1" {
		t.Errorf("headers %v", w.Header())
	}
	if w := g.do("GET", "/search?text=a", ""); w.Code != 503 {
		t.Errorf("page of a search that has no turn: %d", w.Code)
	}
	g.want(200, 0, "GET", "/api/v1/log/entries?logIndex=0", "")
	close(store.release)
	running.Wait()
	go func() { <-store.entered }()
	g.ask("identity", "a")
	if store.most != int(searches()) {
		t.Errorf("%d searches ran at a time", store.most)
	}
	g.idle()
}

// TestAPISearchLarge: a page of large entries is cut off, is charged as what it is, and
// its cursor goes on.
func TestAPISearchLarge(t *testing.T) {
	g := newRig(t, nil)
	const n, size = 30, 100_000
	for i := range n {
		body := fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"helm","spec":"%d%s"}`, i, strings.Repeat("x", size))
		if _, err := g.active().Add(context.Background(), tlog.Leaf{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	first := g.ask("limit", "100")
	if len(first.Entries) < search.MaxBytes/size || len(first.Entries) > search.MaxBytes/size+1 || first.Next == "" {
		t.Errorf("%d entries on a page, next %q", len(first.Entries), first.Next)
	}
	if all, _ := g.askAll(nil, "limit", "100"); len(all) != n || all[0] != n-1 || all[n-1] != 0 {
		t.Errorf("all pages have %v", all)
	}
	held := g.server.answers.account()
	page, err := g.server.findPage(t.Context(), held, search.Query{Limit: 100})
	if err != nil || held.held() != int64(len(page.Hits))*hitCost+described*int64(page.Bytes) || held.held() > hitCost*search.MaxLimit+described*(search.MaxBytes+2*size) {
		t.Errorf("%d bytes are charged, error %v", held.held(), err)
	}
	held.close()
	g.idle()
}

// The parts of an entry are those of its description.
func TestSearchEntry(t *testing.T) {
	parser, err := entry.New(entry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"hashedrekord-0.0.1.json", "intoto-0.0.1.json", "dsse-0.0.1.json"} {
		for _, p := range proposals(t, file) {
			proposed, err := parser.Propose([]byte(p))
			if err != nil {
				t.Fatal(err)
			}
			d, err := parser.Describe(proposed.Leaf.Body)
			if err != nil {
				t.Fatal(err)
			}
			e := searchEntry(search.Hit{Description: d})
			for _, part := range []string{e.Artifact, e.Payload, e.Envelope} {
				if part != "" && !slices.Contains(proposed.Leaf.Keys, tlog.Key{Type: tlog.KeyDigest, Value: part}) {
					t.Errorf("%s: %q is no search key", e.Kind, part)
				}
			}
			if (e.Artifact != "") != (e.Kind == "hashedrekord") || (e.Envelope != "") != (e.Kind != "hashedrekord") || len(e.Signers) == 0 {
				t.Errorf("%+v", e)
			}
			for _, s := range e.Signers {
				if block, _ := pem.Decode(d.Signers[0].PEM); block == nil || !slices.Contains(proposed.Leaf.Keys, tlog.Key{Type: tlog.KeyPublicKey, Value: s.PublicKeySHA256}) {
					t.Errorf("%s: %q is no search key", e.Kind, s.PublicKeySHA256)
				}
			}
		}
	}
}

// Whatever the parameters, the answer is as specified, and no fault of the server.
func FuzzAPISearch(f *testing.F) {
	for _, s := range []string{"", "limit=1", "kind=dsse&limit=3", "text=jo%40example.com", "index=1&from=5&to=1800000000", "treeID=42", "id=" + strings.Repeat("00", 40),
		"identityPrefix=a&issuer=b&digest=sha256:" + strings.Repeat("00", 32), "cursor=ASoCBQ", "publicKey=" + strings.Repeat("00", 32), "text=*", "commit=" + strings.Repeat("00", 20),
		"text=https://a/entry/2", "from=2026-01-31T00:00:00Z"} {
		f.Add(s)
	}
	l := newFakeLog(f, treeB, 0)
	l.fill(f, 5)
	parser, err := entry.New(entry.Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range proposals(f, "hashedrekord-0.0.1.json") {
		proposed, err := parser.Propose([]byte(p))
		if err != nil {
			f.Fatal(err)
		}
		if _, err := l.Add(context.Background(), proposed.Leaf); err != nil {
			f.Fatal(err)
		}
	}
	g := newRig(f, []*fakeLog{l})
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/api/search", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		g.server.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 400 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if err := g.check.Check("GET", "/api/search", w.Code, w.Header(), w.Body.Bytes()); err != nil {
			t.Errorf("%v\n%s", err, w.Body)
		}
		if w.Code == 400 && !bytes.Contains(w.Body.Bytes(), []byte(`"message":"`)) {
			t.Errorf("no words: %s", w.Body)
		}
	})
}
