package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// verdict is an expression: what the check of a proof came to.
func verdict(element string) string {
	return `document.querySelector("` + element + `")?.dataset.verdict`
}

// is waits for a verdict.
func (p *tab) is(element, want string) {
	p.t.Helper()
	p.await(fmt.Sprintf(`%s && !["busy", %q].includes(%[1]s)`, verdict(element), ""))
	if got := eval[string](p, verdict(element)); got != want {
		p.failed(element+" is "+got+", want "+want, nil)
	}
}

// shown says how: green that a verdict is shown in full green, as one is that rests on no key but the user's; byServer that it is good by the
// server's own key only.
func (p *tab) shown(element string) (green, byServer bool) {
	p.t.Helper()
	has := func(class string) bool {
		return eval[bool](p, fmt.Sprintf(`document.querySelector(%q).classList.contains(%q)`, element, class))
	}
	good, byServer := has("proof--good"), has("proof--by-server")
	return good && !byServer, good && byServer
}

// shows is an expression: whether the page has the entry, or a link to it.
func shows(e loggedEntry) string {
	return fmt.Sprintf(`document.querySelector('main a[href*="%s"], main a[href$="entry/%d"], log-proof[data-uuid="%[1]s"]')`, e.id, e.index)
}

// search types a text into the box of the first page, sends it, and waits for the answer.
func (p *tab) search(text string) {
	p.t.Helper()
	p.do("searching", chromedp.SendKeys(chromedp.CSS(`form[data-file-search] [name=text]`), text+kb.Enter))
	p.arrives()
}

// arrives waits until a page other than the first one is there. (The first one shows the newest entries, too.)
func (p *tab) arrives() {
	p.t.Helper()
	p.await(`/\/search$|\/entry\//.test(location.pathname) && document.readyState === "complete"`)
}

// Everything that people look for is found by typing it into the one box.
func TestBrowserSearch(t *testing.T) {
	s, b := newSite(t), startBrowser(t)
	keyed, certified, signedCommit := s.of("hashedrekord"), s.logged[len(s.logged)-2], s.logged[len(s.logged)-1]
	oneLine := func(pem []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", " ") }
	for _, c := range []struct {
		name, text string
		found      []loggedEntry
		not        []loggedEntry
	}{
		{"email", "author@example.com", []loggedEntry{certified, signedCommit}, []loggedEntry{keyed}},
		{"email in capitals", s.email, []loggedEntry{certified}, []loggedEntry{keyed}},
		{"prefix", "author@*", []loggedEntry{certified}, []loggedEntry{keyed}},
		{"digest", "sha256:" + keyed.digest, []loggedEntry{keyed}, []loggedEntry{certified}},
		{"bare digest", keyed.digest, []loggedEntry{keyed}, []loggedEntry{certified}},
		{"image", "registry.example.com/app@sha256:" + keyed.digest, []loggedEntry{keyed}, []loggedEntry{certified}},
		{"index", strconv.FormatInt(certified.index, 10), []loggedEntry{certified}, nil},
		{"entry ID", certified.id, []loggedEntry{certified}, []loggedEntry{keyed}},
		{"leaf hash", certified.id[16:], []loggedEntry{certified}, []loggedEntry{keyed}},
		{"public key", oneLine(s.publicKey), []loggedEntry{keyed}, []loggedEntry{certified}},
		{"certificate", oneLine(s.certificate), []loggedEntry{certified}, []loggedEntry{keyed}},
		{"Git commit", s.commit, []loggedEntry{signedCommit}, []loggedEntry{keyed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.open(t, desktop)
			p.visit(s.log.url + "/")
			p.search(c.text)
			for _, e := range c.found {
				p.await(shows(e))
			}
			for _, e := range c.not {
				if eval[bool](p, shows(e)+" !== null") {
					t.Errorf("entry %d is shown, too", e.index)
				}
			}
			if strangers := p.strangers(s.log.url); len(strangers) > 0 {
				t.Errorf("the page asked others: %q", strangers)
			}
			p.shoot("search-" + strings.ReplaceAll(c.name, " ", "-"))
		})
	}

	t.Run("nothing found", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/")
		p.search("nobody@example.com")
		p.shoot("search-nothing")
		if eval[bool](p, `document.querySelector("main a[href*='entry/']") !== null`) {
			t.Error("something is shown")
		}
		p.axe()
	})

	file := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(file, keyed.artifact, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("chosen file", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/")
		p.do("choosing a file", chromedp.SetUploadFiles(chromedp.CSS(".file-search input[type=file]"), args(file), chromedp.NodeReady))
		p.arrives()
		p.await(shows(keyed))
		if at := eval[string](p, "location.href"); !strings.HasSuffix(at, "/search?digest=sha256%3A"+keyed.digest) {
			t.Errorf("the search has the URL %s", at)
		}
	})
	t.Run("dropped file", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/")
		p.await(`document.querySelector(".file-search-button")`)
		p.drop("body", "artifact", keyed.artifact)
		p.arrives()
		p.await(shows(keyed))
	})
	t.Run("filters", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/search?kind=dsse")
		p.await(shows(s.of("dsse")))
		if eval[bool](p, shows(keyed)+" !== null") {
			t.Error("a hashedrekord is shown")
		}
		p.visit(s.log.url + "/search?identity=author%40example.com&to=2020-01-01T00%3A00%3A00Z")
		if eval[bool](p, shows(certified)+" !== null") {
			t.Error("an entry of a later time is shown")
		}
		p.shoot("search-filters")
	})
	t.Run("permalink", func(t *testing.T) {
		p := b.open(t, desktop)
		for _, id := range args(certified.id, strconv.FormatInt(certified.index, 10)) {
			p.visit(s.log.url + "/entry/" + id)
			p.is("log-proof", "good")
		}
	})
}

// drop drops a file on an element.
func (p *tab) drop(selector, name string, content []byte) {
	p.t.Helper()
	numbers, err := json.Marshal(strings.Split(strings.Trim(fmt.Sprint(content), "[]"), " "))
	if err != nil {
		p.t.Fatal(err)
	}
	eval[bool](p, fmt.Sprintf(`(() => {
		const data = new DataTransfer();
		data.items.add(new File([Uint8Array.from(%s, Number)], %q));
		for (const type of ["dragenter", "dragover", "drop"]) {
			document.querySelector(%q).dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
		}
		return true;
	})()`, numbers, name, selector))
}

// tamperer is a proxy that changes answers on their way.
type tamperer struct {
	*httptest.Server
	change atomic.Pointer[func(path string, answer []byte) []byte]
}

func startTamperer(t *testing.T, behind string) *tamperer {
	t.Helper()
	home, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	m := &tamperer{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(home)
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(r *http.Response) error {
			change := m.change.Load()
			if change == nil {
				return nil
			}
			var b bytes.Buffer
			if _, err := b.ReadFrom(r.Body); err != nil {
				return err
			}
			r.Body.Close()
			changed := (*change)(r.Request.URL.RequestURI(), b.Bytes())
			r.Body = http.NoBody
			if len(changed) > 0 {
				r.Body = readCloser{bytes.NewReader(changed)}
			}
			r.ContentLength = int64(len(changed))
			r.Header.Set("Content-Length", strconv.Itoa(len(changed)))
			return nil
		},
	}
	m.Server = httptest.NewServer(proxy)
	t.Cleanup(m.Close)
	return m
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// alter changes answers whose path has the beginning; nil: none.
func (m *tamperer) alter(path string, change func(answer []byte) []byte) {
	if change == nil {
		m.change.Store(nil)
		return
	}
	f := func(at string, answer []byte) []byte {
		if strings.HasPrefix(at, path) {
			return change(bytes.Clone(answer))
		}
		return answer
	}
	m.change.Store(&f)
}

// The browser says that a proof holds if it does, and that it does not if anything was changed on its way.
func TestBrowserProof(t *testing.T) {
	s, b := newSite(t), startBrowser(t)
	m := startTamperer(t, s.log.url)
	e := s.logged[4]

	t.Run("every kind is green", func(t *testing.T) {
		p := b.open(t, desktop)
		for i, e := range s.logged {
			p.visit(m.URL + "/entry/" + e.id)
			p.is("log-proof", "good")
			if said := p.text(".proof-verdict"); !strings.Contains(said, fmt.Sprintf("holds this entry as number %d,", e.index)) {
				t.Errorf("entry %d: the page says %q", i, said)
			}
			if eval[bool](p, `document.querySelector("log-proof svg") === null || document.querySelectorAll(".proof-step--good").length < 7`) {
				t.Errorf("entry %d: there is no picture, or a step is missing", i)
			}
		}
		p.shoot("proof-good")
		if strangers := p.strangers(m.URL); len(strangers) > 0 {
			t.Errorf("the page asked others: %q", strangers)
		}
	})

	t.Run("a change is red", func(t *testing.T) {
		other := s.log.get("/api/v1/log/entries/" + s.logged[7].id)
		changes := map[string]func([]byte) []byte{
			"another entry": func([]byte) []byte { return other },
			"another entry under this ID": func([]byte) []byte {
				return bytes.Replace(other, []byte(s.logged[7].id), []byte(e.id), 1)
			},
			"no SET": func(a []byte) []byte {
				return bytes.Replace(a, []byte(`"signedEntryTimestamp":`), []byte(`"unsignedEntryTimestamp":`), 1)
			},
			"a member more": func(a []byte) []byte {
				return bytes.Replace(a, []byte(`"logIndex":`), []byte(`"logIndex":4,"logIndex":`), 1)
			},
			"a byte less":    func(a []byte) []byte { return a[:len(a)-3] },
			"nothing":        func([]byte) []byte { return nil },
			"a page instead": func([]byte) []byte { return []byte("<!doctype html><title>Sign in</title>") },
		}
		for i := range 16 {
			changes[fmt.Sprintf("byte at %d of 16", i)] = func(a []byte) []byte {
				a[len(a)*i/16] ^= 1
				return a
			}
		}
		p := b.open(t, desktop)
		for name, change := range changes {
			m.alter("/api/v1/log/entries/", change)
			p.visit(m.URL + "/entry/" + e.id)
			p.is("log-proof", "bad")
			said := p.text(".proof-verdict")
			if !strings.Contains(said, "NOT proved") || name == "another entry" && !strings.Contains(said, "another entry than the one that was asked for") {
				t.Errorf("%s: the page says %q", name, said)
			}
		}
		m.alter("/api/v1/log/entries/", func(a []byte) []byte {
			return bytes.Replace(a, []byte(`"hashes":["`), []byte(`"hashes":["`+strings.Repeat("0", 64)+`","`), 1)
		})
		p.visit(m.URL + "/entry/" + e.id)
		p.is("log-proof", "bad")
		m.alter("/api/v1/log/entries/", flipFirstHash)
		p.visit(m.URL + "/entry/" + e.id)
		p.is("log-proof", "bad")
		p.shoot("proof-bad")
		p.axe()

		// A key that is not the log's.
		m.alter("/api/v1/log/publicKey", func([]byte) []byte { return s.publicKey })
		p.visit(m.URL + "/entry/" + e.id)
		p.is("log-proof", "bad")
		// A page that shows another body than the one that was proved.
		m.alter("/entry/", func(page []byte) []byte {
			return bytes.ReplaceAll(page, []byte("apiVersion&#34;:&#34;0.0"), []byte("apiVersion&#34;:&#34;1.0"))
		})
		p.visit(m.URL + "/entry/" + e.id)
		p.is("log-proof", "bad")
		if said := p.text(".proof-verdict"); !strings.Contains(said, "shows another body") {
			t.Errorf("the page says %q", said)
		}
		// Or another index, or another time.
		for _, attribute := range args(` data-index="`, ` data-time="`) {
			m.alter("/entry/", func(page []byte) []byte {
				return bytes.Replace(page, []byte(attribute), []byte(attribute+"1"), 1)
			})
			p.visit(m.URL + "/entry/" + e.id)
			p.is("log-proof", "bad")
			if said := p.text(".proof-verdict"); !strings.Contains(said, "shows another index or time") {
				t.Errorf("the page says %q", said)
			}
		}
		m.alter("", nil)
		p.visit(m.URL + "/entry/" + e.id)
		p.is("log-proof", "good")
	})

	t.Run("keys of one's own", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/entry/" + e.id)
		p.is("log-proof", "good")
		if _, byServer := p.shown("log-proof"); !byServer || !strings.Contains(p.text(".proof-verdict"), "In the log, by this server's key.") || strings.Contains(p.text(".proof-verdict"), "Proved") {
			t.Errorf("with the server's key the page says %q", p.text(".proof-verdict"))
		}
		give := func(text string) {
			t.Helper()
			eval[bool](p, fmt.Sprintf(`(() => {
				document.querySelector("log-proof .proof-keys").open = true;
				document.querySelector("log-proof .proof-key-paste").value = %s;
				document.querySelector("log-proof .proof-key-paste").closest("fieldset").querySelector("button").click();
				return true;
			})()`, literal(text)))
		}
		give("not a key")
		p.await(`document.querySelector("log-proof .proof-key-status").textContent.includes("cannot be used")`)
		p.is("log-proof", "unknown")
		give(string(s.publicKey))
		p.await(verdict("log-proof") + ` === "bad" && document.querySelector(".proof-verdict").textContent.includes("none of the keys")`)
		give(string(readFile(t, s.log.keyFile)))
		p.await(verdict("log-proof") + ` === "good" && document.querySelector(".proof-verdict").textContent.includes("a key that you gave")`)
		p.shoot("proof-own-key")
		p.axe()
		if green, _ := p.shown("log-proof"); !green || !strings.Contains(p.text(".proof-verdict"), "Proved.") {
			t.Errorf("with the user's key the page says %q", p.text(".proof-verdict"))
		}
		// It is kept for other pages, and nothing that the server says of its key matters then.
		p.visit(s.log.url + "/entry/" + s.logged[6].id)
		p.is("log-proof", "good")
		if said := p.text(".proof-verdict"); !strings.Contains(said, "a key that you gave") {
			t.Errorf("the page says %q", said)
		}
		eval[bool](p, `([...document.querySelectorAll("log-proof .proof-keys button")].find((b) => b.textContent.includes("this server's key")).click(), true)`)
		p.await(verdict("log-proof") + ` === "good" && document.querySelector(".proof-verdict").textContent.includes("this server gave")`)
		p.drop("log-proof .proof-drop", "trusted-root.json", s.log.get("/trusted-root.json"))
		p.await(verdict("log-proof") + ` === "good" && document.querySelector(".proof-verdict").textContent.includes("a key that you gave")`)
		// What was kept and cannot be read is no reason to believe the server, nor to forget it.
		eval[bool](p, `(localStorage.setItem("tallystick keys", "not a key"), true)`)
		p.visit(s.log.url + "/entry/" + e.id)
		p.is("log-proof", "unknown")
		if said := p.text(".proof-verdict"); !strings.Contains(said, "cannot be read") || eval[string](p, `localStorage.getItem("tallystick keys")`) != "not a key" {
			t.Errorf("the page says %q", said)
		}
		p.shoot("proof-unreadable-key")
		p.axe()
		eval[bool](p, `([...document.querySelectorAll("log-proof .proof-keys button")].find((b) => b.textContent.includes("this server's key")).click(), true)`)
		p.await(verdict("log-proof") + ` === "good" && localStorage.getItem("tallystick keys") === null`)
	})

	t.Run("without WebCrypto it is grey", func(t *testing.T) {
		p := b.open(t, desktop)
		p.expect("Cross-Origin-Opener-Policy header has been ignored") // it has a meaning for secure contexts only
		p.visit(strings.Replace(s.log.url, "127.0.0.1", outsider, 1) + "/entry/" + e.id)
		p.is("log-proof", "unknown")
		if said := p.text(".proof-verdict"); !strings.Contains(said, "plain HTTP") {
			t.Errorf("the page says %q", said)
		}
		p.shoot("proof-unknown")
		p.axe()
	})

	t.Run("consistency", func(t *testing.T) {
		p := b.open(t, desktop)
		for _, sizes := range [][2]int{{1, 2}, {3, 7}, {4, 8}, {5, 17}, {6, 6}} {
			p.visit(fmt.Sprintf("%s/log?first=%d&second=%d", m.URL, sizes[0], sizes[1]))
			p.is("log-consistency", "consistent")
		}
		p.visit(m.URL + "/log?first=5&second=13")
		p.is("log-consistency", "consistent")
		if said := p.text(".proof-verdict"); !strings.Contains(said, "only a checkpoint that you kept can tell") || strings.Contains(said, "only grew") {
			t.Errorf("the page says %q", said)
		}
		p.shoot("consistency-good")
		p.axe()
		m.alter("/api/v1/log/proof", flipFirstHash)
		p.visit(m.URL + "/log?first=5&second=13")
		p.is("log-consistency", "bad")
		p.shoot("consistency-bad")
		m.alter("/api/v1/log?", flipFirstHash)
		m.alter("/log?", func(page []byte) []byte { // other roots in the page itself
			at := bytes.Index(page, []byte("data-first-root=\"")) + len("data-first-root=\"")
			page[at] = "01"[(page[at]-'0'+1)&1]
			return page
		})
		p.visit(m.URL + "/log?first=5&second=13")
		p.is("log-consistency", "bad")
		m.alter("", nil)

		var info struct{ SignedTreeHead string }
		if err := json.Unmarshal(s.log.get("/api/v1/log"), &info); err != nil {
			t.Fatal(err)
		}
		s.add(s.certified([]byte("a later artifact")))
		p.visit(m.URL + "/log")
		p.await(`document.querySelector("log-consistency .proof-kept")`)
		compare := `(() => {
			const kept = document.querySelector("log-consistency .proof-kept");
			kept.open = true;
			kept.querySelector("textarea").value = %s;
			kept.querySelector("button").click();
			return true;
		})()`
		eval[bool](p, fmt.Sprintf(compare, literal(info.SignedTreeHead)))
		p.is("log-consistency", "good")
		if said := p.text(".proof-verdict"); !strings.Contains(said, "The log only grew") {
			t.Errorf("the page says %q", said)
		}
		p.shoot("consistency-kept")
		eval[bool](p, fmt.Sprintf(compare, literal(strings.Replace(info.SignedTreeHead, "\n1", "\n2", 1))))
		p.await(verdict("log-consistency") + ` === "bad"`)
	})
}

// flipFirstHash changes the first digit of the first hash of a proof.
func flipFirstHash(answer []byte) []byte {
	const before = `"hashes":["`
	if at := bytes.Index(answer, []byte(before)); at >= 0 {
		if at += len(before); answer[at] == '0' {
			answer[at] = '1'
		} else {
			answer[at] = '0'
		}
	}
	return answer
}

// pages are those that people see, with something on them.
func (s *site) pages() map[string]string {
	return map[string]string{
		"home":               "/",
		"search":             "/search?text=author%40example.com",
		"entry-hashedrekord": "/entry/" + s.logged[len(s.logged)-1].id,
		"entry-dsse":         "/entry/" + s.of("dsse").id,
		"entry-intoto":       "/entry/" + s.of("intoto").id,
		"log":                "/log?first=3&second=11",
		"docs":               "/docs",
		"missing":            "/entry/" + strings.Repeat("0", 15) + "1" + strings.Repeat("0", 64),
	}
}

// Every page can be used by everybody: in the dark, on a telephone, with a keyboard, with a screen reader, without scripts.
func TestBrowserLooks(t *testing.T) {
	s, b := newSite(t), startBrowser(t)
	for _, how := range []looks{
		desktop, {name: "desktop-dark", width: 1280, dark: true}, {name: "wide", width: 1920},
		{name: "phone", width: 360}, {name: "phone-dark", width: 360, dark: true},
		{name: "plain", width: 1280, noScript: true}, {name: "plain-phone", width: 360, noScript: true},
	} {
		t.Run(how.name, func(t *testing.T) {
			p := b.open(t, how)
			p.expect("404 (Not Found)") // the missing page
			for name, path := range s.pages() {
				p.visit(s.log.url + path)
				if strings.HasPrefix(name, "entry-") && !how.noScript {
					p.is("log-proof", "good")
				}
				if name == "log" && !how.noScript {
					p.is("log-consistency", "consistent")
				}
				p.shoot(name + "-" + how.name)
				if wide := eval[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
					t.Errorf("%s scrolls sideways, by %d pixels", name, wide)
				}
				if eval[bool](p, `[...document.querySelectorAll(".proof-picture")].some((f) => f.scrollWidth > f.clientWidth)`) {
					t.Errorf("%s has a picture that is wider than its place", name)
				}
				// The page's ground is what was asked for: the sum of red, green and blue.
				if ground := eval[int](p, `getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)`); (ground < 384) != how.dark {
					t.Errorf("%s has a ground of brightness %d of 765", name, ground)
				}
				if !how.noScript { // axe-core is a script
					p.axe()
				}
			}
			if strangers := p.strangers(s.log.url); len(strangers) > 0 {
				t.Errorf("the pages asked others: %q", strangers)
			}
		})
	}

	t.Run("without scripts", func(t *testing.T) {
		p := b.open(t, looks{name: "plain", width: 1280, noScript: true})
		p.visit(s.log.url + "/")
		p.search("author@example.com")
		e := s.logged[len(s.logged)-1]
		p.await(shows(e))
		p.visit(s.log.url + "/entry/" + e.id)
		if said := p.text("main"); !strings.Contains(said, e.digest) || !strings.Contains(said, s.email) {
			t.Errorf("the page of an entry shows neither digest nor identity:\n%s", said)
		}
		if said := p.text("log-proof"); said == "" {
			t.Error("the page does not say that scripts check the proof")
		}
	})

	t.Run("keyboard", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/")
		for range 12 {
			if eval[bool](p, `document.activeElement.name === "text"`) {
				break
			}
			p.do("pressing Tab", chromedp.KeyEvent(kb.Tab))
		}
		p.do("typing", chromedp.KeyEvent("author@example.com"+kb.Enter))
		p.arrives()
		p.await(shows(s.logged[len(s.logged)-1]))
		// Everything that can be used can be reached, in the order in which it stands there.
		reached := eval[int](p, `[...document.querySelectorAll("a[href], button, input, select, textarea, summary")].filter((e) => e.tabIndex > 0).length`)
		if reached != 0 {
			t.Errorf("%d elements have an order of their own", reached)
		}
	})

	t.Run("weight", func(t *testing.T) {
		p := b.open(t, desktop)
		p.visit(s.log.url + "/")
		p.await(`document.readyState === "complete" && document.querySelector(".file-search-button")`)
		const limit = 100 << 10
		if total := p.total(); total == 0 || total > limit {
			t.Errorf("the first page has %d bytes, more than %d: %q", total, limit, p.requests)
		} else {
			t.Logf("the first page has %d bytes in %d requests", total, len(p.requests))
		}
	})
}

// Whatever strangers put into the log, on the pages it is text.
func TestBrowserHostile(t *testing.T) {
	s, b := newSite(t), startBrowser(t)
	var ids [][]string
	for _, text := range hostile {
		ids = append(ids, s.hostileEntries(text))
	}
	p := b.open(t, desktop)
	p.expect("status of 400") // what is no search
	p.expect("status of 404")
	inert := func(where string) {
		t.Helper()
		got := eval[string](p, `JSON.stringify([...document.querySelectorAll("*")].flatMap((e) => [...e.attributes]
			.filter((a) => /^on/i.test(a.name) || a.name === "srcdoc" || a.name === "style" || /^(href|src|action|formaction|xlink:href)$/i.test(a.name) && !/^(https?:|data:(image|,)|mailto:|#|[^:]*(\/|\?|#|$))/i.test(a.value))
			.map((a) => e.tagName + " " + a.name + "=" + a.value)))`)
		if got != "[]" {
			t.Errorf("%s has %s", where, got)
		}
		if eval[bool](p, `"pwnedBy" in globalThis || document.querySelectorAll("script:not([src]), iframe, base, object, embed, form[action^='//'], main style, main meta").length > 0`) {
			t.Errorf("%s has what strangers wrote as more than text", where)
		}
		if c := p.complaints(); len(c) > 0 {
			t.Fatalf("%s: %q", where, c)
		}
	}
	for i, text := range hostile {
		for _, id := range ids[i] {
			p.visit(s.log.url + "/entry/" + id)
			p.is("log-proof", "good")
			inert("the page of an entry with " + text)
			if eval[bool](p, `!document.body.textContent.includes(`+literal(text)+`)`) {
				t.Errorf("the page of entry %s does not show %s", id, text)
			}
		}
		if i == 2 {
			p.shoot("hostile-entry")
		}
		// Not everything everywhere, for time: each is searched for, and put into some of the other places.
		places := args("/search?identityPrefix=", "/search?issuer=", "/search?digest=", "/search?publicKey=", "/search?commit=", "/search?kind=", "/search?from=",
			"/search?to=", "/search?treeID=", "/search?cursor=", "/search?id=", "/search?index=", "/search?limit=", "/log?first=", "/log?second=", "/log?tree=", "/log?chart=", "/entry/", "/")
		for n, where := range append(args("/search?text=", "/search?identity="), places...) {
			if n < 2 || (n+i)%5 == 0 {
				p.visit(s.log.url + where + url.QueryEscape(text))
				inert(where + text)
			}
		}
	}
	// A log can answer its own page with such texts, too.
	m := startTamperer(t, s.log.url)
	answer := s.log.get("/api/v1/log/entries/" + s.logged[0].id)
	for _, text := range hostile {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		inner := quoted[1 : len(quoted)-1]
		body := fmt.Appendf(nil, `{"apiVersion":%s,"kind":%[1]s,"spec":{}}`, quoted)
		for _, lie := range [][]byte{
			fmt.Appendf(nil, `{%s:{}}`, quoted),
			bytes.Replace(answer, []byte(`"body":"`), fmt.Appendf(nil, `%s:1,"body":"`, quoted), 1),
			bytes.Replace(answer, []byte(`"checkpoint":"`), fmt.Appendf(nil, `"checkpoint":"%s`, inner), 1),
			regexp.MustCompile(`"checkpoint":"[^ ]*`).ReplaceAllLiteral(answer, append([]byte(`"checkpoint":"`), inner...)),
			regexp.MustCompile(`"body":"[^"]*`).ReplaceAllLiteral(answer, fmt.Appendf(nil, `"body":"%s`, base64.StdEncoding.EncodeToString(body))),
		} {
			m.alter("/api/v1/log/entries/", func([]byte) []byte { return lie })
			p.visit(m.URL + "/entry/" + s.logged[0].id)
			p.is("log-proof", "bad")
			inert("the proof of an answer with " + text)
		}
	}
	for _, path := range args("/", "/log", "/search?kind=dsse", "/search") {
		p.visit(s.log.url + path)
		inert(path)
		p.shoot("hostile" + strings.NewReplacer("/", "-", "?", "-", "=", "-").Replace(path))
	}
	for _, r := range p.strangers(s.log.url) {
		if !strings.HasPrefix(r, m.URL+"/") {
			t.Errorf("the pages asked %s", r)
		}
	}
}

// The requests of Rekor's own search page (sigstore/rekor-search-ui), which is on another origin: by e-mail, subject, hash, commit, UUID and
// index, with the headers that its generated client sends.
func TestBrowserOtherOrigin(t *testing.T) {
	s, b := newSite(t), startBrowser(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(`<!doctype html><html lang=en><title>Another page</title><link rel=icon href="data:,">`))
	}))
	defer elsewhere.Close()
	p := b.open(t, desktop)
	p.visit(elsewhere.URL)
	signed := s.logged[len(s.logged)-1]
	const client = `(async () => {
		const base = %s;
		const ask = async (path, body) => {
			const answer = await fetch(base + path, {
				method: body ? "POST" : "GET", body: body && JSON.stringify(body),
				headers: new Headers({Accept: "application/json", ...(body ? {"Content-Type": "application/json"} : {})}),
			});
			if (!answer.ok || !answer.headers.get("Content-Type").startsWith("application/json")) {
				throw new Error(path + ": " + answer.status);
			}
			return answer.json();
		};
		const commit = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(%s)));
		const queries = [
			{email: %s}, {subject: %s}, {hash: "sha256:" + %s}, {hash: "sha256:" + [...commit].map((b) => b.toString(16).padStart(2, "0")).join("")},
		];
		const found = [];
		for (const query of queries) {
			const ids = await ask("/api/v1/index/retrieve", query);
			const entries = await Promise.all(ids.map((id) => ask("/api/v1/log/entries/" + encodeURI(id))));
			found.push(entries.map((e) => Object.keys(e)[0]));
		}
		found.push(Object.keys(await ask("/api/v1/log/entries?logIndex=%d")));
		found.push(Object.keys(await ask("/api/v1/log/entries/%s")));
		return JSON.stringify(found);
	})()`
	said := eval[string](p, fmt.Sprintf(client, literal(s.log.url), literal(s.commit), literal(s.email), literal(s.email), literal(signed.digest), signed.index, signed.id))
	var found [][]string
	if err := json.Unmarshal([]byte(said), &found); err != nil {
		t.Fatal(err)
	}
	for i, ids := range found {
		if !strings.Contains(strings.Join(ids, " "), signed.id) {
			t.Errorf("request %d found %q, not %s", i, ids, signed.id)
		}
	}
	if len(found) != 6 {
		t.Errorf("%d answers", len(found))
	}
	// A page elsewhere cannot put ours into a frame.
	eval[bool](p, fmt.Sprintf(`new Promise((done) => {
		const frame = document.createElement("iframe");
		frame.src = %s;
		frame.onload = () => done(true);
		document.body.append(frame);
	})`, literal(s.log.url+"/")))
	p.await("true")
	framed := false
	for _, c := range p.complaints() {
		framed = framed || strings.Contains(c, "frame-ancestors")
	}
	if !framed {
		t.Errorf("the log's page lets itself be framed: %q", p.complaints())
	}
	p.expect("frame-ancestors")
}
