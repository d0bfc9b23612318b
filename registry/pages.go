package registry

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// Limits of a list in pages (OCI distribution spec, listing referrers).
const (
	maxPages = 32
	maxLink  = 16 << 10 // bytes of an answer's Link header
)

// nextPage returns the query of the next page of a list, which an answer's header names by a link with the relation
// "next" (RFC 8288). There is none if ok is false. from is the URL of the list. The link has to lead to the same list at the same
// registry: of what it names, only the query is used.
func (g *guard) nextPage(h http.Header, from *url.URL) (query string, ok bool, err error) {
	target, ok, err := nextLink(h.Values("Link"))
	if err != nil || !ok {
		return "", false, err
	}
	u, err := url.Parse(target)
	if err != nil || strings.Contains(u.RawQuery, " ") {
		return "", false, errors.New("its link to the next page is not a URL")
	}
	to := from.ResolveReference(u)
	if to.Scheme != "https" && to.Scheme != "http" || to.User != nil || !g.isRegistry(to) || to.Path != from.Path {
		return "", false, errors.New("its link to the next page does not lead to the same list")
	}
	return to.RawQuery, true, nil
}

// nextLink returns the target of the first link with the relation "next" (RFC 8288, section 3).
func nextLink(headers []string) (target string, ok bool, err error) {
	bad := errors.New("its Link header cannot be read")
	for _, text := range headers {
		if len(text) > maxLink {
			return "", false, bad
		}
		p := linkParser{text}
		for p.skip(", \t"); p.rest != ""; p.skip(", \t") {
			target, relations, ok := p.link()
			if !ok {
				return "", false, bad
			}
			for relation := range strings.FieldsSeq(relations) {
				if strings.EqualFold(relation, "next") {
					return target, true, nil
				}
			}
		}
	}
	return "", false, nil
}

// linkParser reads the value of a Link header from its beginning.
type linkParser struct{ rest string }

func (p *linkParser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

// link reads a link up to the comma that ends it, and returns what it leads to and its relations, between which are spaces.
func (p *linkParser) link() (target, relations string, ok bool) {
	inside, ok := strings.CutPrefix(p.rest, "<")
	if !ok {
		return "", "", false
	}
	if target, p.rest, ok = strings.Cut(inside, ">"); !ok {
		return "", "", false
	}
	given := false
	for {
		p.skip(" \t")
		if p.rest == "" || p.rest[0] == ',' {
			return target, relations, true
		}
		if p.rest[0] != ';' {
			return "", "", false
		}
		p.rest = p.rest[1:]
		name, value, ok := p.parameter()
		if !ok {
			return "", "", false
		}
		if strings.EqualFold(name, "rel") && !given { // section 3.3: the first one counts
			relations, given = value, true
		}
	}
}

// parameter reads a parameter: a name, perhaps with a value that is a token or a quoted string. It may be empty.
func (p *linkParser) parameter() (name, value string, ok bool) {
	p.skip(" \t")
	name = p.until("=;, \t")
	p.skip(" \t")
	if !strings.HasPrefix(p.rest, "=") {
		return name, "", true
	}
	p.rest = p.rest[1:]
	p.skip(" \t")
	if !strings.HasPrefix(p.rest, `"`) {
		return name, p.until(";, \t"), true
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return name, b.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// until reads up to one of these characters.
func (p *linkParser) until(set string) string {
	n := strings.IndexAny(p.rest, set)
	if n < 0 {
		n = len(p.rest)
	}
	read := p.rest[:n]
	p.rest = p.rest[n:]
	return read
}
