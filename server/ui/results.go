package ui

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/search"
)

// Form is the search form, filled in as the asker did.
type Form url.Values

// fields are the form's fields beside the box, by the API's parameters. Those
// that are not in the form, such as a Git commit, come by links and stay in the URL.
func (f Form) get(name string) string {
	if v := f[name]; len(v) > 0 {
		return cut(v[0], search.MaxText)
	}
	return ""
}

// formView is a form as the template wants it.
type formView struct {
	Text, Identity, IdentityPrefix, Issuer, Digest, PublicKey, Commit, Index, ID, Kind, From, To, Tree string
	Open                                                                                               bool // more than the box is filled in
	Kinds                                                                                              []string
	Trees                                                                                              []string
}

func (p *Pages) form(f Form) formView {
	v := formView{
		Text: f.get("text"), Identity: f.get("identity"), IdentityPrefix: f.get("identityPrefix"), Issuer: f.get("issuer"),
		Digest: f.get("digest"), PublicKey: f.get("publicKey"), Commit: f.get("commit"), Index: f.get("index"), ID: f.get("id"),
		Kind: f.get("kind"), From: f.get("from"), To: f.get("to"), Tree: f.get("treeID"), Kinds: p.site.Kinds,
	}
	if v.Kind != "" && !slices.Contains(v.Kinds, v.Kind) {
		v.Kinds = append([]string{line(v.Kind, 60)}, v.Kinds...)
	}
	for _, t := range p.site.Trees {
		v.Trees = append(v.Trees, strconv.FormatInt(t, 10))
	}
	for name, values := range f {
		if name != "text" && name != "cursor" && name != "limit" && len(values) > 0 && values[0] != "" {
			v.Open = true
		}
	}
	return v
}

// condition is one thing that was asked for, in words.
type condition struct{ Name, Value string }

// conditions are all that were asked for beside the text.
func (f Form) conditions() []condition {
	var all []condition
	for _, c := range []struct{ name, words string }{
		{"text", "Search text"},
		{"identity", "Identity"}, {"identityPrefix", "Identity begins with"}, {"issuer", "Issuer"}, {"digest", "Digest"},
		{"publicKey", "Key or certificate"}, {"commit", "Git commit"}, {"index", "Index"}, {"id", "Entry ID"},
		{"kind", "Kind"}, {"from", "Not before"}, {"to", "Before"}, {"treeID", "Tree"},
	} {
		if v := f.get(c.name); v != "" {
			all = append(all, condition{c.words, line(v, 300)})
		}
	}
	return all
}

// with returns the URL of the same search, relative to the server's root, with one
// parameter set or, if empty, left out.
func (f Form) with(name, value string) string {
	q := url.Values{}
	for k, v := range f {
		if k != name && len(v) > 0 && v[0] != "" {
			q.Set(k, v[0])
		}
	}
	if value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return "search"
	}
	return "search?" + q.Encode()
}

// wants reports whether the search was for that name of a certificate.
func (f Form) wants(name string) bool {
	begins := func(with string) bool {
		return with != "" && len(name) >= len(with) && strings.EqualFold(name[:len(with)], with)
	}
	text := strings.TrimSpace(f.get("text"))
	prefix, star := strings.CutSuffix(text, "*")
	return strings.EqualFold(name, text) || strings.EqualFold(name, f.get("identity")) || begins(f.get("identityPrefix")) || star && begins(prefix)
}

// Results is the answer to a search.
type Results struct {
	Form Form
	// Page is what was found; nil if the query is at fault, as Refusal says.
	Page *search.Page
	// Refusal is a sentence for people, and Field the field of the query that it is
	// about, as the API writes it.
	Refusal, Field string
}

type resultsView struct {
	Form       formView
	Conditions []condition
	Understood []string
	Hits       []hit
	Newest     string // URL; empty on the first page
	Older      string // URL; empty on the last page
	Here       string // URL of this page
	API        string
	Refusal    string
	Field      string
	CompleteTo []treeSize
	Scanned    string // how many entries were looked at one by one; empty if none
	ScannedTo  string // log index
	All        bool   // nothing was asked for: these are the newest entries
}

type treeSize struct{ Tree, Size string }

// Results renders the page of a search.
func (p *Pages) Results(r Request, res Results) ([]byte, error) {
	v := resultsView{Form: p.form(res.Form), Conditions: res.Form.conditions(), Refusal: line(res.Refusal, 1000), Field: line(res.Field, 100)}
	v.All = len(v.Conditions) == 0
	v.Here = res.Form.with("", "")
	v.API = "api/" + v.Here
	if res.Form.get("cursor") != "" {
		v.Newest = res.Form.with("cursor", "")
	}
	if res.Page != nil {
		v.show(res.Page, res.Form, r.Now)
	}
	return p.render(r, "results", "Search", v)
}

func (v *resultsView) show(found *search.Page, f Form, now time.Time) {
	for _, m := range found.Understood {
		v.Understood = append(v.Understood, line(m.Words, 300))
	}
	v.Hits = newHits(found.Hits, now, f.wants)
	if found.Next != "" {
		v.Older = f.with("cursor", found.Next)
	}
	for _, t := range found.CompleteTo {
		v.CompleteTo = append(v.CompleteTo, treeSize{strconv.FormatInt(t.Tree, 10), number(t.Size)})
	}
	if found.Scanned > 0 && !v.All {
		v.Scanned = count(int64(found.Scanned), "entry was", "entries were")
		if found.ScannedTo != nil {
			v.ScannedTo = fmt.Sprint(found.ScannedTo.LogIndex)
		}
	}
}
