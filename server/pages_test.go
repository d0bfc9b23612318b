package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/server/ui"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/tlog"
)

type object = map[string]any

// person signs with a certificate that says what it is told to say.
type person struct {
	*ecdsa.PrivateKey
	pem []byte
}

// newPerson returns a signer with an e-mail address as name, an issuer, and further
// extensions of Fulcio, by number. Nobody vouches for the certificate; the log does not
// ask.
func newPerson(t testing.TB, email, issuer string, more map[int]string) person {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(0xabcdef), Subject: pkix.Name{CommonName: "c <i>n"},
		NotBefore: time.Unix(1_767_225_000, 0), NotAfter: time.Unix(1_767_225_600, 0).Add(time.Hour),
		EmailAddresses: []string{email},
	}
	if issuer != "" {
		c.ExtraExtensions = append(c.ExtraExtensions, fulcio(1, []byte(issuer)))
	}
	for n, text := range more {
		der, err := asn1.MarshalWithParams(text, "utf8")
		if err != nil {
			t.Fatal(err)
		}
		c.ExtraExtensions = append(c.ExtraExtensions, fulcio(n, der))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return person{key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func fulcio(n int, value []byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: value}
}

func (p person) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	signature, err := ecdsa.SignASN1(rand.Reader, p.PrivateKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// rekord returns a proposal about an artifact.
func (p person) rekord(t testing.TB, artifact string) string {
	return encode(t, object{"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": object{
		"data":      object{"hash": object{"algorithm": "sha256", "value": sha256Hex(artifact)}},
		"signature": object{"content": p.sign(t, []byte(artifact)), "publicKey": object{"content": p.pem}},
	}})
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// intoto returns a proposal whose payload the log keeps.
func (p person) intoto(t testing.TB, payload string) string {
	const payloadType = "application/vnd.in-toto+json"
	envelope := encode(t, object{"payloadType": payloadType, "payload": []byte(payload),
		"signatures": []object{{"sig": p.sign(t, sig.PAE(payloadType, []byte(payload)))}}})
	return encode(t, object{"kind": "intoto", "apiVersion": "0.0.1", "spec": object{
		"content": object{"envelope": envelope}, "publicKey": p.pem}})
}

func statementOf(t testing.TB, name, predicateType string, predicate any) string {
	return encode(t, object{"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "predicate": predicate,
		"subject": []object{{"name": name, "digest": object{"sha256": sha256Hex(name)}}}})
}

// site is a server with entries of all kinds in two trees, and what is known of them.
type site struct {
	*rig
	jo        person
	statement string // that of entry statementAt
	ids       []string
}

const (
	jo         = "jo@example.com"
	joIssuer   = "https://accounts.example.com"
	repository = "https://github.com/acme/widgets"
)

func newSite(t testing.TB, changes ...func(*Config)) *site {
	t.Helper()
	old := newFakeLog(t, treeB, 0)
	old.tree.State = storage.StateReadOnly
	old.fill(t, 3)
	s := &site{rig: newRig(t, []*fakeLog{old, newFakeLog(t, treeA, 3)}, append([]func(*Config){withTrust, func(c *Config) {
		c.PublicURL, c.Version = "https://log.example.test", "v1.2.3"
		c.Now = func() time.Time { return time.Unix(1_767_225_600+7200, 0) }
	}}, changes...)...)}
	for _, file := range []string{"hashedrekord-0.0.1.json", "intoto-0.0.1.json", "dsse-0.0.1.json"} {
		for _, p := range proposals(t, file) {
			s.add(t, p)
		}
	}
	s.jo = newPerson(t, jo, joIssuer, map[int]string{12: repository, 21: "https://github.com/acme/widgets/actions/runs/1"})
	s.statement = statementOf(t, "ghcr.io/acme/widgets", "https://spdx.dev/Document/v2.3", object{"spdxVersion": "SPDX-2.3", "a": []any{}})
	s.add(t, s.jo.intoto(t, s.statement))
	s.add(t, s.jo.rekord(t, "an artifact"))
	return s
}

// add logs a proposal, whatever the log thinks of it being there already.
func (s *site) add(t testing.TB, proposal string) (id string) {
	t.Helper()
	w := s.want(201, 0, "POST", "/api/v1/log/entries", proposal)
	id = path.Base(w.Header().Get("Location"))
	if !slices.Contains(s.ids, id) {
		s.ids = append(s.ids, id)
	}
	return id
}

// last returns the ID of the newest entry, and of the one before.
func (s *site) last() (artifact, statement string) { return s.ids[len(s.ids)-1], s.ids[len(s.ids)-2] }

// get returns the page at a path, parsed.
func (s *site) get(t testing.TB, status int, target string, headers ...string) *html.Node {
	t.Helper()
	w := s.do("GET", target, "", headers...)
	if w.Code != status || w.Header().Get("Content-Type") != typeHTML {
		t.Fatalf("GET %s: status %d of %s, not a page of %d\n%.300s", target, w.Code, w.Header().Get("Content-Type"), status, w.Body)
	}
	return checkPage(t, target, w)
}

// everyPage lists URLs of pages of every kind.
func (s *site) everyPage() map[string]int {
	pages := map[string]int{
		"/": 200, "/docs": 200, "/log": 200, "/log?first=2&second=5": 200, "/log?first=1&second=1": 200, "/log?first=9&second=x": 400, "/log?chart=months": 200,
		"/log?first=2&second=3&tree=42": 200, "/log?first=1&second=1&tree=1": 400, "/log?first=0&second=1": 400, "/log?first=5&second=2": 400, "/log?first=1&second=1000": 400,
		"/search": 200, "/search?text=jo%40example.com": 200, "/search?identityPrefix=jo": 200, "/search?kind=dsse&limit=1": 200, "/search?limit=2": 200,
		"/search?text=nobody%40example.com": 200, "/search?text=+%3F": 303, "/search?digest=zz": 400, "/search?index=x": 400, "/search?text=a&text=b": 400, "/search?%zz": 400,
		"/search?cursor=x": 400, "/search?kind=nonesuch": 200, "/search?treeID=42": 200, "/search?publicKey=" + strings.Repeat("ab", 32): 200,
		"/entry/0": 200, "/entry/99": 404, "/entry/x": 404, "/entry/99/attestation": 404, "/entry/0/attestation": 404,
	}
	for _, id := range s.ids {
		pages["/entry/"+id] = 200
	}
	return pages
}

var inField = regexp.MustCompile(`<input [^>]*>`)

// checkPage holds a page against what is true of all of them, and returns it parsed.
func checkPage(t testing.TB, target string, w *httptest.ResponseRecorder) *html.Node {
	t.Helper()
	if got := w.Header().Get("Content-Security-Policy"); got != ui.Policy {
		t.Errorf("%s: policy %q", target, got)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-cache" {
		t.Errorf("%s: Cache-Control %q", target, got)
	}
	body := w.Body.String()
	// In a field stands what was typed, so that it can be sent again.
	if strings.ContainsAny(inField.ReplaceAllString(body, ""), "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200e\u200f\u061c\ufeff") {
		t.Errorf("%s: characters that turn text, or cannot be seen", target)
	}
	if strings.Contains(body, "ZgotmplZ") {
		t.Errorf("%s: a value that was not wanted in its place", target)
	}
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	c := pageCheck{t: t, target: target, ids: map[string]int{}, labelled: map[string]bool{}}
	c.walk(doc)
	c.finish()
	return doc
}

// pageCheck collects what is wrong with a page.
type pageCheck struct {
	t        testing.TB
	target   string
	ids      map[string]int
	labelled map[string]bool // by label for=
	inputs   []string        // IDs that want a label
	refs     []string        // IDs that are referred to
	level    int             // of the last heading
	h1, main int
}

func (c *pageCheck) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("%s: %s", c.target, fmt.Sprintf(format, args...))
}

// elements are all that pages are made of. Nothing else may come of what strangers
// wrote.
var elements = strings.Fields(`html head meta title link script body a header div span svg path rect line text nav ul ol li main footer p h1 h2 h3 form label input button
	details summary select option section dl dt dd code table caption thead tbody tr th td pre strong bdi time br figure figcaption article log-proof log-consistency`)

func (c *pageCheck) walk(n *html.Node) {
	if n.Type == html.CommentNode {
		c.fail("comment %q", n.Data)
	}
	if n.Type == html.ElementNode {
		c.element(n)
	}
	for k := n.FirstChild; k != nil; k = k.NextSibling {
		c.walk(k)
	}
}

func (c *pageCheck) element(n *html.Node) {
	if !slices.Contains(elements, n.Data) {
		c.fail("element %s", n.Data)
	}
	for _, a := range n.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc", a.Key == "formaction", a.Key == "ping":
			c.fail("attribute %s of %s", a.Key, n.Data)
		case a.Key == "href" || a.Key == "src" || a.Key == "action":
			c.link(n, a.Val)
		case a.Key == "id":
			c.ids[a.Val]++
		case a.Key == "aria-labelledby" || a.Key == "aria-describedby":
			c.refs = append(c.refs, strings.Fields(a.Val)...)
		case a.Key == "for":
			c.labelled[a.Val] = true
		}
	}
	switch n.Data {
	case "script":
		if n.FirstChild != nil || attr(n, "type") != "module" || !strings.HasSuffix(attr(n, "src"), "/page.js") {
			c.fail("a script: %v", n.Attr)
		}
	case "style":
		c.fail("a style element")
	case "h1", "h2", "h3":
		level := int(n.Data[1] - '0')
		if level > c.level+1 {
			c.fail("heading %q comes after one of level %d", text(n), c.level)
		}
		c.level = level
		if level == 1 {
			c.h1++
		}
	case "main":
		c.main++
	case "input", "select":
		if attr(n, "type") != "hidden" {
			c.inputs = append(c.inputs, attr(n, "id"))
		}
	case "table":
		if find(n, "caption") == nil {
			c.fail("a table without a caption")
		}
	case "svg":
		if attr(n, "aria-hidden") != "true" && (attr(n, "role") != "img" || attr(n, "aria-label") == "" && attr(n, "aria-labelledby") == "") {
			c.fail("a picture without a name: %v", n.Attr)
		}
	case "a", "button", "summary":
		if strings.TrimSpace(text(n)) == "" {
			c.fail("%s without words: %v", n.Data, n.Attr)
		}
	}
}

// link checks that a URL leads to this server, by a relative path, or by https to another
// one that learns nothing.
func (c *pageCheck) link(n *html.Node, to string) {
	if strings.HasPrefix(to, "https://") && n.Data == "a" && attr(n, "rel") == "noopener noreferrer" {
		return
	}
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || strings.HasPrefix(to, "//") {
		c.fail("%s leads to %q", n.Data, to)
	}
}

func (c *pageCheck) finish() {
	if c.h1 != 1 || c.main != 1 || c.ids["main"] != 1 {
		c.fail("%d h1, %d main", c.h1, c.main)
	}
	for id, n := range c.ids {
		if n > 1 {
			c.fail("%d elements have the ID %s", n, id)
		}
	}
	for _, id := range c.refs {
		if c.ids[id] != 1 {
			c.fail("no element has the ID %s", id)
		}
	}
	for _, id := range c.inputs {
		if !c.labelled[id] {
			c.fail("the field %q has no label", id)
		}
	}
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// find returns the first element with that name, and id if given.
func find(n *html.Node, name string, id ...string) *html.Node {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name && (len(id) == 0 || attr(d, "id") == id[0]) {
			return d
		}
	}
	return nil
}

func all(n *html.Node, name string) (found []*html.Node) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name {
			found = append(found, d)
		}
	}
	return found
}

// text returns the text in an element, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		switch {
		case d.Type == html.TextNode:
			b.WriteString(d.Data)
		case slices.Contains([]string{"dt", "dd", "th", "td", "p", "div", "li", "option", "br", "title", "text", "figcaption", "h1", "h2", "h3"}, d.Data):
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func wantText(t testing.TB, doc *html.Node, want ...string) {
	t.Helper()
	main := text(find(doc, "main"))
	for _, w := range want {
		if !strings.Contains(main, w) {
			t.Errorf("no %q in: %s", w, main)
		}
	}
}

// Pages of every kind are whole, named and in order for screen readers, and have
// nothing inline; every link and form on them leads somewhere.
func TestEveryPage(t *testing.T) {
	s := newSite(t)
	links := map[string]string{} // path and query → a page that has it
	for target, status := range s.everyPage() {
		if status == 303 {
			s.want(303, 0, "GET", target, "")
			continue
		}
		doc := s.get(t, status, target)
		base, err := url.Parse(target)
		if err != nil {
			base = &url.URL{Path: "/search"}
		}
		for d := range doc.Descendants() {
			for _, key := range []string{"href", "src", "action"} {
				if to := attr(d, key); to != "" && to != "#main" && !strings.HasPrefix(to, "https://") {
					u, err := base.Parse(to)
					if err != nil {
						t.Fatal(err)
					}
					links[u.RequestURI()] = target
				}
			}
		}
		if head := s.do("HEAD", target, ""); head.Code != status || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d", target, head.Code)
		}
	}
	if len(links) < 50 {
		t.Errorf("only %d links", len(links))
	}
	for to, from := range links {
		w := s.do("GET", to, "")
		if w.Code != 200 && !strings.HasPrefix(to, "/search?") { // a search may be refused, and may have been on its page
			t.Errorf("%s leads to %s, which answers %d", from, to, w.Code)
		}
	}
}

// What strangers write is text, wherever it is shown.
func TestHostileText(t *testing.T) {
	corpus := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onfocus=alert(1) autofocus='`, `javascript:alert(1)`, `JaVaScRiPt:alert(1)//https://x.example`,
		`data:text/html,<script>alert(1)</script>`, `</title><script>alert(1)</script>`, `</textarea><svg onload=alert(1)>`, `<!-- --!><b>`, `{{.}}`, `${alert(1)}`,
		`&lt;b&gt;&#x202e;`, "\u202egpj.exe", "a\u2066b\u2069", "z\u200bero", "nul\x00l", "esc\x1b[31m", "line\nbreak\r\n", "\xff\xfe", `\u202e`, `%0d%0aX: y`,
		`https://evil.example/"onmouseover="alert(1)`, `https://user:pass@evil.example/`, `//evil.example/`, `https://evil.example\@good.example`, `</log-proof><script>`, strings.Repeat("w", 900), strings.Repeat("́", 300) + "x",
	}
	s := newSite(t, func(c *Config) { c.Version, c.PublicURL = `"><script>alert(2)</script>`, `javascript:alert(3)` })
	for _, evil := range corpus {
		ascii := strings.Map(func(r rune) rune { // a certificate's e-mail address is ASCII
			if r == 0 || r >= 0x80 {
				return '?'
			}
			return r
		}, evil)
		evil8 := strings.ReplaceAll(strings.ToValidUTF8(evil, "?"), "\x00", "?") // else the log refuses the certificate
		who := newPerson(t, ascii, evil8, map[int]string{9: evil8, 12: "https://evil.example/" + evil8})
		rekord := s.add(t, who.rekord(t, evil))
		about := encode(t, object{"_type": "https://in-toto.io/Statement/v1", "predicateType": evil, "predicate": object{evil: []string{evil}},
			"subject": []object{{"name": evil, "digest": object{evil8: evil8, "sha256": evil8}}}})
		statement := s.add(t, who.intoto(t, about))
		plain := s.add(t, who.intoto(t, `{"`+evil+`":`)) // no JSON
		for _, id := range []string{rekord, statement, plain} {
			doc := s.get(t, 200, "/entry/"+id)
			if proof := find(doc, "log-proof"); proof == nil || attr(proof, "data-uuid") != id {
				t.Errorf("%q: the proof's element is lost", evil)
			}
		}
		w := s.do("GET", "/entry/"+statement+"/attestation", "")
		if w.Code != 200 || w.Body.String() != about || w.Header().Get("Content-Type") != "application/octet-stream" ||
			w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), `attachment; filename="attestation-`) ||
			w.Header().Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
			t.Errorf("attestation: %d %v", w.Code, w.Header())
		}
		value := url.QueryEscape(evil)
		for _, target := range []string{"/search?text=" + value, "/search?cursor=" + value, "/search?kind=" + value, "/search?from=" + value, "/search?index=" + value,
			"/search?identity=" + value, "/search?identityPrefix=" + value, "/search?digest=" + value, "/search?publicKey=" + value, "/search?treeID=" + value, "/search?commit=" + value,
			"/log?first=" + value + "&second=" + value, "/log?chart=" + value, "/log?tree=" + value + "&first=1&second=1", "/entry/" + url.PathEscape(evil)} {
			w := s.do("GET", target, "")
			if w.Code == http.StatusSeeOther {
				if to := w.Header().Get("Location"); !strings.HasPrefix(to, "?") {
					t.Errorf("%s leads to %q", target, to)
				}
				w = s.do("GET", "/search"+w.Header().Get("Location"), "")
			}
			if w.Code != 200 && w.Code != 400 && w.Code != 404 {
				t.Errorf("%s: %d", target, w.Code)
			}
			if w.Header().Get("Content-Type") == typeHTML || !strings.HasPrefix(target, "/entry/") { // with a slash in it, it is no path of a page
				checkPage(t, target, w)
			}
		}
		s.get(t, 404, "/"+url.PathEscape(evil)+"x", "Accept", "text/html")
	}
	for _, target := range []string{"/", "/search?limit=100", "/log", "/docs"} {
		s.get(t, 200, target)
	}
}

func TestEntryPage(t *testing.T) {
	s := newSite(t)
	artifact, statement := s.last()
	doc := s.get(t, 200, "/entry/"+artifact)
	wantText(t, doc, "An artifact with the digest sha256:"+sha256Hex("an artifact")+", signed with a certificate that names "+jo+" and, as who vouched for it, "+joIssuer+
		". The log does not check who issued a certificate. Logged on 1 January 2026, ", "The certificate is signed with its own key.",
		"Source Repository URI "+repository, "Serial number ABCDEF", "ECDSA P-256",
		"--certificate-identity jo@example.com --certificate-oidc-issuer https://accounts.example.com",
		"rekor-cli get --rekor_server https://log.example.test --log-index ")
	proof := find(doc, "log-proof")
	if attr(proof, "data-uuid") != artifact || attr(proof, "data-api") != "../" || attr(proof, "data-shown") != "body" ||
		attr(proof, "data-index") != fmt.Sprint(3+s.active().size()-1) || attr(proof, "data-time") != "1767226560" {
		t.Errorf("the proof's element: %v", proof.Attr)
	}
	var answer map[string]struct {
		Body         []byte
		LogIndex     int64
		Verification struct{ InclusionProof struct{ Hashes []string } }
	}
	if err := json.Unmarshal(s.do("GET", "/api/v1/log/entries/"+artifact, "").Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	e := answer[artifact]
	for _, h := range e.Verification.InclusionProof.Hashes {
		wantText(t, doc, h)
	}
	if body := find(doc, "code", "body"); body.FirstChild.Data != string(e.Body) {
		t.Errorf("the body is %q", body.FirstChild.Data)
	}
	for _, ref := range []string{fmt.Sprint(e.LogIndex), artifact[16:], strings.ToUpper(artifact)} {
		if same := find(s.get(t, 200, "/entry/"+ref), "log-proof"); attr(same, "data-uuid") != artifact {
			t.Errorf("%s is another entry", ref)
		}
	}

	doc = s.get(t, 200, "/entry/"+statement)
	wantText(t, doc, "An in-toto statement of type SPDX document about ghcr.io/acme/widgets, sha256:"+sha256Hex("ghcr.io/acme/widgets")+", signed with a certificate that names "+jo,
		`"a": [], "spdxVersion": "SPDX-2.3"`, "--type https://spdx.dev/Document/v2.3 ghcr.io/acme/widgets@sha256:"+sha256Hex("ghcr.io/acme/widgets"))
	wantText(t, s.get(t, 200, "/entry/1"), "an entry of a kind that this page cannot explain", `{"apiVersion":"0.0.1","kind":"other","spec":{"n":1,"tree":42}}`)
}

// Of names that are not safe to paste, no command is made.
func TestCommandsAreSafe(t *testing.T) {
	s := newSite(t)
	who := newPerson(t, "jo'; rm -rf $HOME; '@example.com", "https://x.example/\u202e\x1b", nil)
	main := text(find(s.get(t, 200, "/entry/"+s.add(t, who.rekord(t, "z"))), "main"))
	for _, want := range []string{`--certificate-identity 'jo'\''; rm -rf $HOME; '\''@example.com' --certificate-oidc-issuer ISSUER`, "not safe to paste"} {
		if !strings.Contains(main, want) {
			t.Errorf("no %q in %s", want, main)
		}
	}
}

// Whatever a certificate says, the page says that it is the certificate's word.
func TestForgedCertificates(t *testing.T) {
	s := newSite(t)
	forged := func(change func(*x509.Certificate)) person {
		t.Helper()
		p := newPerson(t, jo, joIssuer, nil)
		authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(1_767_225_000, 0), NotAfter: time.Unix(1_767_229_200, 0),
			Subject: pkix.Name{CommonName: "sigstore-intermediate", Organization: []string{"sigstore.dev"}}}
		change(c)
		der, err := x509.CreateCertificate(rand.Reader, c, c, &p.PublicKey, authority)
		if err != nil {
			t.Fatal(err)
		}
		p.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		return p
	}
	const caveat = "The log does not check who issued a certificate."
	two := forged(func(c *x509.Certificate) {
		c.DNSNames, c.EmailAddresses = []string{"release.example"}, []string{"mallory@evil.example"}
		c.ExtraExtensions = []pkix.Extension{fulcio(1, []byte(joIssuer))}
	})
	doc := s.get(t, 200, "/entry/"+s.add(t, two.rekord(t, "1")))
	wantText(t, doc, "names release.example and 1 more name and, as who vouched for it, "+joIssuer+". "+caveat, "What the certificate says")
	if strings.Contains(text(find(doc, "main")), "signed with its own key") {
		t.Error("another key signed the certificate")
	}
	wantText(t, s.get(t, 200, "/search?text=MALLORY%40evil.example"), "mallory@evil.example and 1 more name, says the certificate, signed an artifact")
	wantText(t, s.get(t, 200, "/search?identityPrefix=mallory"), "mallory@evil.example and 1 more name")
	wantText(t, s.get(t, 200, "/search?issuer="+url.QueryEscape(joIssuer)), "release.example and 1 more name")

	words := forged(func(c *x509.Certificate) {
		c.DNSNames = []string{"PROVED by this log: release@example.com signed an artifact and"}
	})
	wantText(t, s.get(t, 200, "/entry/"+s.add(t, words.rekord(t, "2"))),
		"signed with a certificate that names “PROVED by this log: release@example.com signed an artifact and”. "+caveat)

	marks := forged(func(c *x509.Certificate) {
		c.Subject.CommonName = "x" + strings.Repeat("\u0337\u0338\u20e0", 300)
		c.EmailAddresses = []string{"a@b.example"}
	})
	w := s.do("GET", "/entry/"+s.add(t, marks.rekord(t, "3")), "")
	if n := strings.Count(w.Body.String(), "\u0338"); n != 2 { // subject, issuer
		t.Errorf("%d combining marks of a kind on two letters", n)
	}
}

// A statement that readers take in different ways is told of, and a subject's name is no
// option of a command.
func TestAmbiguousStatements(t *testing.T) {
	s := newSite(t)
	const told = "The statement can be read in more than one way."
	for more, ambiguous := range map[string]bool{
		`"Subject":[{"name":"ghcr.io/mallory/evil"}]`:              true,
		`"\u017fubject":[]`:                                        true, // Go's reader takes it for an s
		`"predicateType":"x"`:                                      true,
		`"PredicateType":"x"`:                                      true,
		`"subject":[{"name":"a","Name":"b"}]`:                      true,
		`"extra":1,"Extra":2`:                                      false,
		`"predicate":{"subject":1,"Subject":2,"name":"","Name":1}`: false,
	} {
		text := text(find(s.get(t, 200, "/entry/"+s.add(t, s.jo.intoto(t, `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"ghcr.io/acme/good"}],`+more+`}`))), "main"))
		if strings.Contains(text, told) != ambiguous {
			t.Errorf("%s: %.600s", more, text)
		}
	}
	doc := s.get(t, 200, "/entry/"+s.add(t, s.jo.intoto(t, statementOf(t, "--trusted-root=/tmp/evil.json", "--x", object{}))))
	for _, pre := range all(doc, "pre") {
		if strings.HasPrefix(text(pre), "tallystick verify") && (strings.Contains(text(pre), "evil") || !strings.Contains(text(pre), "--type TYPE IMAGE@sha256:")) {
			t.Errorf("an option: %s", text(pre))
		}
	}
}

func TestSearchPages(t *testing.T) {
	s := newSite(t)
	doc := s.get(t, 200, "/search?text=jo%40example.com")
	wantText(t, doc, "2 entries", "Understood as identity jo@example.com.", "Names and issuers are what certificates say.", jo+", says the certificate, signed an artifact",
		"vouched for by "+joIssuer+", it says", "complete up to tree size ", "tree size 3 of tree 42")
	if attr(find(doc, "input", "text"), "value") != jo {
		t.Error("the box is not filled in")
	}
	wantText(t, s.get(t, 200, "/search?identity=nobody%40example.com"), "Nothing found", "Identity nobody@example.com", "What you can try")
	wantText(t, s.get(t, 400, "/search?digest=zz"), "digest: ")

	// A form's empty fields and times without a zone are led to the URL without.
	for from, want := range map[string]string{
		"/search?text=jo&identity=&kind=":             "?text=jo",
		"/search?from=2026-01-02&to=2026-01-03T04:05": "?from=2026-01-02T00%3A00%3A00Z&to=2026-01-03T04%3A05%3A00Z",
		"/search?text=+a+":                            "?text=a",
		"/search?utm_source=x":                        "?",
	} {
		if w := s.want(303, 0, "GET", from, ""); w.Header().Get("Location") != want {
			t.Errorf("%s leads to %q, not %q", from, w.Header().Get("Location"), want)
		}
	}

	// The pages of a search, each by the link on the one before, have every entry once.
	var seen []string
	at := "/search?limit=3"
	for range 100 {
		doc := s.get(t, 200, at)
		next := ""
		for _, a := range all(doc, "a") {
			if u, _ := url.Parse(attr(a, "href")); attr(a, "rel") == "next" {
				next = "/" + strings.TrimPrefix(attr(a, "href"), "./")
			} else if strings.HasPrefix(u.Path, "./entry/") {
				seen = append(seen, path.Base(u.Path))
			}
		}
		if at = next; next == "" {
			break
		}
	}
	slices.Reverse(seen)
	if len(seen) != len(s.ids)+3 || !slices.Equal(seen[3:], s.ids) {
		t.Errorf("the pages have\n%v, not\n%v", seen, s.ids)
	}
}

// Conditions that the form has no field for are sent along with it.
func TestFormKeepsConditions(t *testing.T) {
	s := newSite(t)
	for name, value := range map[string]string{"index": "1", "id": s.ids[0], "commit": strings.Repeat("ab", 20), "publicKey": strings.Repeat("cd", 32)} {
		kept := false
		for _, input := range all(s.get(t, 200, "/search?"+name+"="+value), "input") {
			kept = kept || attr(input, "type") == "hidden" && attr(input, "name") == name && attr(input, "value") == value
		}
		if !kept {
			t.Errorf("the form does not keep %s=%s", name, value)
		}
	}
}

// What is looked at one by one goes on where the page says.
func TestSearchLooksFurther(t *testing.T) {
	s := newSite(t)
	s.active().fill(t, 2100)
	doc := s.get(t, 200, "/search?kind=dsse")
	wantText(t, doc, "Nothing yet", "2,000 entries were read and held against your conditions", "Look further back")
	for _, a := range all(doc, "a") {
		if attr(a, "rel") == "next" {
			wantText(t, s.get(t, 200, "/"+strings.TrimPrefix(attr(a, "href"), "./")), "signed an attestation", "← Newest")
		}
	}
}

func TestLogPage(t *testing.T) {
	s := newSite(t)
	doc := s.get(t, 200, "/log?first=2&second=5")
	active := s.active()
	view := active.view(active.size())
	var hashes fakeTiles
	for _, l := range active.leaves {
		hashes = append(hashes, l.Hash)
	}
	c := find(doc, "log-consistency")
	for key, want := range map[string]string{"data-first": "2", "data-second": "5", "data-tree": fmt.Sprint(treeA), "data-api": "./",
		"data-first-root": slowRoot(hashes[:2]).String(), "data-second-root": slowRoot(hashes[:5]).String()} {
		if attr(c, key) != want {
			t.Errorf("%s is %q, not %q", key, attr(c, key), want)
		}
	}
	path, err := view.Consistency(t.Context(), 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.VerifyConsistency(tlog.Head{Size: 2, Root: slowRoot(hashes[:2])}, tlog.Head{Size: 5, Root: slowRoot(hashes[:5])}, path); err != nil {
		t.Fatal(err)
	}
	for _, h := range path {
		wantText(t, doc, h.String())
	}
	wantText(t, doc, fmt.Sprintf("%d entries are under signed checkpoints", 3+active.size()), s.server.shards[1].logID, "Witnesses None yet.", "Not running.",
		"Entries per hour", fmt.Sprintf("%d entries in the last 48 hours", 3+active.size()), "most in one hour: 19 (1 Jan 00:00)", "hashedrekord 0.0.1", joIssuer, "read-only")
	if c := find(s.get(t, 200, "/log"), "log-consistency"); attr(c, "data-first") != "" {
		t.Errorf("nothing was asked for: %v", c.Attr)
	}
	wantText(t, s.get(t, 200, "/log?chart=months"), "Entries per month", "in the last 24 months")
	wantText(t, s.get(t, 400, "/log?first=1&second=1000"), "not above "+fmt.Sprint(active.size()))
}

type fixedMonitor ui.Monitor

func (m fixedMonitor) Status() ui.Monitor { return ui.Monitor(m) }

func TestMonitorOnPages(t *testing.T) {
	for _, c := range []struct {
		status       fixedMonitor
		home, onPage string
	}{
		{fixedMonitor{Size: 7, Checked: time.Unix(1_767_225_600, 0), Matches: 2}, "Monitor all in order", "All in order 7 entries read and verified, last 1 Jan 2026, 00:00 UTC; 2 that a rule is about; 0 alarms"},
		{fixedMonitor{Problem: "the log is <silent>"}, "Monitor not in order", "Not in order: the log is <silent>"},
		{fixedMonitor{Alarms: 1}, "Monitor alarm", "Not in order"},
	} {
		s := newSite(t, func(cfg *Config) { cfg.Monitor = c.status })
		wantText(t, s.get(t, 200, "/"), c.home)
		wantText(t, s.get(t, 200, "/log"), c.onPage)
	}
}

// What the log's page says about the content is not worked out for each who asks.
func TestSummaryIsKept(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	calls := map[string]int{}
	s.search.Misbehave(func(method string) memory.Fault {
		mu.Lock()
		defer mu.Unlock()
		calls[method]++
		return memory.Fault{}
	})
	s.get(t, 200, "/log")
	first := calls["KeysOf"]
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { s.do("GET", "/log?chart=days", "") })
	}
	wg.Wait()
	s.add(t, s.jo.rekord(t, "one more"))
	s.get(t, 200, "/log")
	if first == 0 || calls["KeysOf"] != first {
		t.Errorf("read %d times at first, %d in the end", first, calls["KeysOf"])
	}
	// A later clock makes a new one.
	now := s.server.cfg.Now().Add(summaryAge)
	s.server.cfg.Now = func() time.Time { return now }
	s.get(t, 200, "/log")
	if calls["KeysOf"] == first {
		t.Error("the summary stays old")
	}
}

// Pages say what is wrong, with the right status, and show what there is.
func TestPagesInTrouble(t *testing.T) {
	s := newSite(t)
	wantText(t, s.get(t, 404, "/entry/99"), "Not found", "This log has no entry 99.")
	wantText(t, s.get(t, 404, "/entry/x%20y"), "neither")
	wantText(t, s.get(t, 404, "/nowhere", "Accept", "text/html,*/*;q=0.8"), "Not found")
	for _, accept := range []string{"", "*/*", "application/json", "text/html;q=0.5,application/json"} {
		s.want(404, 404, "GET", "/nowhere", "", "Accept", accept)
	}
	s.want(404, 404, "GET", "/api/nowhere", "", "Accept", "text/html")
	if w := s.want(405, 0, "POST", "/search", "{}", "Accept", "text/html"); w.Header().Get("Allow") != "GET,HEAD" {
		t.Errorf("%v", w.Header())
	} else {
		checkPage(t, "POST /search", w)
	}
}

func TestPagesWhenHalted(t *testing.T) {
	s := newSite(t)
	artifact, _ := s.last()
	s.active().haltErr, s.active().viewErr, s.active().signErr = storage.ErrHalted, storage.ErrNotFound, storage.ErrHalted
	wantText(t, s.get(t, 200, "/"), "The log has stopped signing.")
	wantText(t, s.get(t, 200, "/log"), "The log has stopped signing.", "no checkpoint at the moment")
	wantText(t, s.get(t, 200, "/entry/"+artifact), "It cannot be proved at the moment", jo)
	wantText(t, s.get(t, 503, "/log?first=1&second=2"), "no checkpoint at the moment")
}

func TestPagesWithoutStorage(t *testing.T) {
	s := newSite(t)
	artifact, _ := s.last()
	s.get(t, 200, "/") // the fake logs are copied
	s.search.Misbehave(func(string) memory.Fault { return memory.Fault{Err: fmt.Errorf("secret: %w", storage.ErrUnavailable)} })
	wantText(t, s.get(t, 200, "/"), "cannot be read at the moment")
	wantText(t, s.get(t, 200, "/log"), "cannot be had at the moment")
	for _, target := range []string{"/search", "/search?text=jo%40example.com", "/entry/" + artifact} {
		wantText(t, s.get(t, 503, target), "Not at the moment", "Storage is unavailable")
	}
	s.search.Misbehave(func(string) memory.Fault { return memory.Fault{Err: errors.New("secret")} })
	wantText(t, s.get(t, 500, "/search"), "Something went wrong here", "X-Request-ID")
}

var importOf = regexp.MustCompile(`(?m)^import .*"\./([a-z]+\.js)";$`)

// The first page with all that it loads is small.
func TestWeight(t *testing.T) {
	s := newSite(t)
	w := s.do("GET", "/", "")
	doc := checkPage(t, "/", w)
	total := w.Body.Len()
	var queue []string
	for d := range doc.Descendants() {
		if d.Type == html.ElementNode && (d.Data == "link" || d.Data == "script") {
			queue = append(queue, "/"+strings.TrimPrefix(attr(d, "href")+attr(d, "src"), "./"))
		}
	}
	seen := map[string]bool{}
	for len(queue) > 0 {
		file := queue[0]
		queue = queue[1:]
		if seen[file] {
			continue
		}
		seen[file] = true
		w := s.want(200, 0, "GET", file, "")
		total += w.Body.Len()
		for _, m := range importOf.FindAllStringSubmatch(w.Body.String(), -1) {
			queue = append(queue, path.Join(path.Dir(file), m[1]))
		}
	}
	if len(seen) < 5 || total > 100<<10 {
		t.Errorf("/ is %d bytes in %d files, more than 100 KiB", total, 1+len(seen))
	}
	t.Logf("%d bytes in %d files", total, 1+len(seen))
}

func TestStaticFiles(t *testing.T) {
	s := newSite(t)
	link := find(s.get(t, 200, "/"), "script")
	hashed := strings.TrimPrefix(attr(link, "src"), ".")
	w := s.want(200, 0, "GET", hashed, "")
	if w.Header().Get("Cache-Control") != cacheForever || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("%v", w.Header())
	}
	s.want(304, 0, "GET", hashed, "", "If-None-Match", w.Header().Get("ETag"))
	for _, other := range []string{"/ui/page.js", "/ui/0123456789abcdef/page.js"} {
		again := s.want(200, 0, "GET", other, "")
		if again.Header().Get("Cache-Control") != "no-cache" || !bytes.Equal(again.Body.Bytes(), w.Body.Bytes()) {
			t.Errorf("%s: %v", other, again.Header())
		}
	}
	if w := s.want(200, 0, "GET", "/ui/page.css", ""); w.Header().Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("%v", w.Header())
	}
	for _, none := range []string{"/ui/", "/ui/none.js", "/ui/a/b/page.js", "/ui/static/page.css/x", "/ui/..%2fui.go", "/ui/templates/layout.html"} {
		s.want(404, 404, "GET", none, "")
	}
}

// Pages can be served below a path of a proxy's: links are relative, whatever the path
// looks like.
func TestPagesBelowAPath(t *testing.T) {
	s := newSite(t)
	artifact, _ := s.last()
	for target, root := range map[string]string{"/": "./", "//": "../", "/log": "./", "/log/": "../", "/entry/" + artifact: "../", "/entry/" + artifact + "/": "../../"} {
		doc := s.get(t, 200, target)
		for _, a := range all(doc, "a") {
			if text(a) == "The log" && attr(a, "href") != root+"log" {
				t.Errorf("%s: %s", target, attr(a, "href"))
			}
		}
	}
	deep := s.get(t, 404, "/"+strings.Repeat("a/", 100), "Accept", "text/html")
	if href := attr(find(deep, "form"), "action"); href != "/search" {
		t.Error(href)
	}
}

// Answers hold no more than the budget allows: a page that would is refused, as one.
func TestPagesKeepTheBudget(t *testing.T) {
	s := newSite(t)
	artifact, _ := s.last()
	held := s.server.answers.account()
	defer held.close()
	if err := held.take(t.Context(), s.server.answers.common.size); err != nil {
		t.Fatal(err)
	}
	if err := held.budget.reserve.take(t.Context(), held.budget.reserve.size); err != nil {
		t.Fatal(err)
	}
	defer held.budget.reserve.sem.Release(held.budget.reserve.size)
	for _, target := range []string{"/search", "/entry/" + artifact, "/log"} {
		wantText(t, s.get(t, 503, target), "Not at the moment")
	}
}

func FuzzPages(f *testing.F) {
	pages, err := ui.New(ui.Site{Name: "log.example.test", URL: "https://log.example.test"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("jo", "https://issuer", "text", `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"ab"}}],"predicateType":"t","predicate":{}}`)
	f.Add("<script>", "javascript:alert(1)", "\u202e", `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":1,"digest":[]},3],"predicate":[[[{}]],"\ud800"]}`)
	parser, err := entry.New(entry.Options{})
	if err != nil {
		f.Fatal(err)
	}
	who := newPerson(f, jo, joIssuer, nil)
	body, err := parser.Propose([]byte(who.rekord(f, "x")))
	if err != nil {
		f.Fatal(err)
	}
	d, err := parser.Describe(body.Leaf.Body)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, issuer, asked, attestation string) {
		key := *d.Signers[0].Key
		key.Identities, key.Issuers = []string{name}, []string{issuer}
		e := ui.Entry{Body: body.Leaf.Body, Attested: true, Attestation: []byte(attestation)}
		e.UUID, e.Time = strings.Repeat("ab", 40), time.Unix(1, 0)
		e.Description = d
		e.Description.Signers = []entry.Signer{{Key: &key, PEM: key.PEM, Signature: []byte("s")}}
		e.Description.PayloadType, e.Problem = issuer, name
		req := ui.Request{Root: "../", Now: time.Unix(100, 0)}
		for _, render := range []func() ([]byte, error){
			func() ([]byte, error) { return pages.Entry(req, e) },
			func() ([]byte, error) {
				return pages.Results(req, ui.Results{Form: ui.Form{"text": {asked}, "kind": {name}, "from": {issuer}}, Refusal: asked, Field: name})
			},
			func() ([]byte, error) {
				return pages.Log(req, ui.Log{Consistency: &ui.Consistency{First: asked, Second: name, Refusal: issuer}})
			},
			func() ([]byte, error) {
				return pages.Problem(req, ui.Problem{Status: 500, Title: "x", Message: asked})
			},
		} {
			page, err := render()
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			w.Body.Write(page)
			w.Header().Set("Content-Security-Policy", ui.Policy)
			w.Header().Set("Cache-Control", "no-cache")
			checkPage(t, "fuzz", w)
		}
	})
}
