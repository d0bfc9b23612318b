package registry

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// page is one page of a list of referrers, and its Link header.
type page struct {
	list, link string
	mediaType  string // that of an index, if it is empty
}

// pages makes the registry list referrers in pages, by query; those that are not there do not exist.
func (r *testRegistry) pages(digest string, page func(query string) (page, bool)) {
	r.only("referrers/"+digest, func(w http.ResponseWriter, req *http.Request) {
		p, ok := page(req.URL.RawQuery)
		if !ok {
			http.NotFound(w, req)
			return
		}
		w.Header().Set("Content-Type", cmp.Or(p.mediaType, indexType))
		if p.link != "" {
			w.Header().Set("Link", p.link)
		}
		fmt.Fprint(w, p.list)
	})
}

// listOf is a page with these referrers, which are said to be bundles.
func listOf(digests ...string) string {
	var all []string
	for _, d := range digests {
		all = append(all, fmt.Sprintf(`{"digest":%q,"artifactType":%q,"size":1}`, d, bundleType))
	}
	return `{"manifests":[` + strings.Join(all, ",") + `]}`
}

// A list is read to its end, however its pages are linked.
func TestPages(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	for name, link := range map[string]string{
		"path":               `</v2/test/app/referrers/DIGEST?n=1&last=x%2Fy>; rel="next"`,
		"escaped path":       `</v2/test/app/referrers/ESCAPED?n=1&last=x%2Fy>; rel="next"`,
		"query":              `<?n=1&last=x%2Fy>; rel="next"`,
		"last segment":       `<./DIGEST?n=1&last=x%2Fy>; rel="next"`,
		"URL":                `<http://HOST/v2/test/app/referrers/DIGEST?n=1&last=x%2Fy>; rel="next"`,
		"URL, TLS elsewhere": `<https://HOST/v2/test/app/referrers/DIGEST?n=1&last=x%2Fy#f>; rel="next"`,
		"host":               `<//HOST/v2/test/app/referrers/DIGEST?n=1&last=x%2Fy>; rel="next"`,
		"token":              `<?n=1&last=x%2Fy>;rel=next`,
		"upper case":         `<?n=1&last=x%2Fy>; Rel = NEXT`,
		"more relations":     `<?n=1&last=x%2Fy>; title="a, \"<b>; rel=last"; rel="first next"`,
		"not the first":      `<x>; rel="first", , <?n=1&last=x%2Fy>; foo; rel="next", <y>; rel="last"`,
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			referrer := r.referrer(f.Digest, readFixture(t, f.Bundle))
			link := strings.NewReplacer("HOST", r.host, "DIGEST", f.Digest, "ESCAPED", strings.Replace(f.Digest, ":", "%3A", 1)).Replace(link)
			r.pages(f.Digest, func(query string) (page, bool) {
				switch query {
				case "":
					return page{list: listOf(), link: link}, true
				case "n=1&last=x%2Fy":
					return page{list: `{"manifests":null}`, link: `<?n=2>; rel="next"`}, true
				case "n=2":
					return page{list: listOf(referrer), link: `</v2/test/app/referrers/x>; rel="prev"`}, true
				}
				return page{}, false
			})
			i := resolve(t, r.digest(f.Digest), Options{})
			checkFound(t, slices.Collect(i.Attached(t.Context(), Signatures)), f, i.Artifact())
		})
	}
}

// Links that are not to a next page end the list.
func TestLastPage(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	for _, link := range []string{"", `<?x>; rel="prev"`, `<?x>; rel=nextish`, `<?rel=next>; rel="nextish"`, `<?x>; title="rel=next"`, `<?x>; rel="last"; rel="next"`, ",", `<?x>`} {
		r := startRegistry(t)
		referrer := r.referrer(f.Digest, readFixture(t, f.Bundle))
		r.pages(f.Digest, func(query string) (page, bool) { return page{list: listOf(referrer), link: link}, query == "" })
		i := resolve(t, r.digest(f.Digest), Options{})
		checkFound(t, slices.Collect(i.Attached(t.Context(), Signatures)), f, i.Artifact())
	}
}

// A list that leads elsewhere, in circles, on for ever or nowhere is read as far as it is one; what is on the pages before
// stays, and the end says that there may be more.
func TestHostilePages(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	var strangers atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers.Add(1) }))
	defer stranger.Close()
	const list = "/v2/test/app/referrers/"
	good := func(query string) page { return page{list: listOf()} }
	for name, c := range map[string]struct {
		link string
		then func(query string) page // nil: there is no such page
		want string
	}{
		"another host":       {"<" + stranger.URL + list + f.Digest + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"another host, bare": {"<" + strings.TrimPrefix(stranger.URL, "http:") + list + f.Digest + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"another name":       {`<http://localhost:PORT` + list + f.Digest + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"a user":             {`<http://a:b@HOST` + list + f.Digest + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"another scheme":     {`<ftp://HOST` + list + f.Digest + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"no scheme":          {`<opaque:x>; rel="next"`, good, "does not lead to the same list"},
		"another repository": {`</v2/test/other/referrers/` + f.Digest + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"another digest":     {`<` + list + strings.Replace(f.Digest, "sha256:", "sha256:0", 1) + `?n=1>; rel="next"`, good, "does not lead to the same list"},
		"up":                 {`<../../../../../x?n=1>; rel="next"`, good, "does not lead to the same list"},
		"a space":            {`<?n=1 HTTP/1.1>; rel="next"`, good, "is not a URL"},
		"a bad escape":       {`<%zz>; rel="next"`, good, "is not a URL"},
		"open":               {`<?n=1; rel="next"`, good, "cannot be read"},
		"open quotes":        {`<?n=1>; rel="next`, good, "cannot be read"},
		"no link":            {`?n=1; rel="next"`, good, "cannot be read"},
		"huge":               {`<?` + strings.Repeat("n", maxLink) + `>; rel="next"`, good, "cannot be read"},
		"many links":         {strings.Repeat(`<>,`, maxLink/3) + `<?n=1>; rel="next"`, good, "cannot be read"},
		"the same page":      {`<>; rel="next"`, good, "one before it"},
		"a circle":           {`<?n=1>; rel="next"`, func(string) page { return page{list: listOf(), link: `<` + list + f.Digest + `>; rel="next"`} }, "one before it"},
		"itself":             {`<?n=1>; rel="next"`, func(string) page { return page{list: listOf(), link: `<?n=1>; rel="next"`} }, "one before it"},
		"endless":            {`<?n=1>; rel="next"`, func(query string) page { return page{list: listOf(), link: `<?` + query + `1>; rel="next"`} }, "more than 32 pages"},
		"lost":               {`<?n=1>; rel="next"`, nil, "404"},
		"garbage":            {`<?n=1>; rel="next"`, func(string) page { return page{list: "\x00"} }, "the manifest"},
		"no list":            {`<?n=1>; rel="next"`, func(string) page { return page{list: listOf(), mediaType: "text/html"} }, `a page is of type "text/html"`},
		"large":              {`<?n=1>; rel="next"`, func(string) page { return page{list: strings.Repeat(" ", MaxManifest+1)} }, "more than 4194304 bytes"},
		"large ones": {`<?n=1>; rel="next"`, func(query string) page {
			return page{list: strings.Repeat(" ", MaxManifest-2) + "{}", link: `<?` + query + `1>; rel="next"`}
		}, "more bytes than are read for an image"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			referrer := r.referrer(f.Digest, readFixture(t, f.Bundle))
			_, port, _ := strings.Cut(r.host, ":")
			link := strings.NewReplacer("HOST", r.host, "PORT", port).Replace(c.link)
			r.pages(f.Digest, func(query string) (page, bool) {
				if query == "" {
					return page{list: listOf(referrer), link: link}, true
				}
				if c.then == nil {
					return page{}, false
				}
				return c.then(query), true
			})
			r.seen()
			i := resolve(t, r.digest(f.Digest), Options{})
			found := slices.Collect(i.Attached(t.Context(), Signatures))
			if len(found) != 2 || found[0].Err == nil || !strings.Contains(found[0].Err.Error(), c.want) {
				t.Fatalf("found %+v, which do not say %q", found, c.want)
			}
			if name != "large ones" { // after which nothing more is read
				checkFound(t, found[1:], f, i.Artifact())
			}
			if n := len(r.seen()); n > maxPages+8 {
				t.Errorf("%d requests", n)
			}
		})
	}
	if n := strangers.Load(); n != 0 {
		t.Errorf("strangers were asked %d times", n)
	}
}

// Of a list that is longer than what is read of it, the last ones are read, over all its pages.
func TestLongPages(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	r := startRegistry(t)
	referrer := r.referrer(f.Digest, readFixture(t, f.Bundle))
	var many []string
	for n := range 60 {
		many = append(many, fmt.Sprintf("sha256:%064x", n))
	}
	r.pages(f.Digest, func(query string) (page, bool) {
		switch query {
		case "":
			return page{list: listOf(many...), link: `<?n=1>; rel="next"`}, true
		case "n=1":
			return page{list: listOf(many...), link: `<?n=2>; rel="next"`}, true
		}
		return page{list: listOf(referrer)}, true
	})
	i := resolve(t, r.digest(f.Digest), Options{})
	found := slices.Collect(i.Attached(t.Context(), Signatures))
	if len(found) != 1+MaxAttached || !strings.Contains(found[0].Err.Error(), "the first 57 were not read") {
		t.Fatalf("%d were found: %v", len(found), found[0].Err)
	}
	checkFound(t, found[MaxAttached:], f, i.Artifact())
}
