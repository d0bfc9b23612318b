package server

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/server/ui"
)

// results answers GET /search. The URL of an answer has what was asked for and
// nothing else: what a form sends beside it, empty fields and times that are not as
// the API writes them, is led to that URL first.
func (p *pages) results(x *exchange, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return refuse(http.StatusBadRequest, "the query cannot be read")
	}
	clean, changed := tidy(values)
	if changed {
		x.Header().Set("Cache-Control", revalidated)
		x.Header().Set("Location", "?"+clean.Encode())
		x.WriteHeader(http.StatusSeeOther)
		return nil
	}
	res := ui.Results{Form: ui.Form(clean)}
	held := p.server.answers.account()
	defer held.close()
	status := http.StatusOK
	q, err := readSearch(clean)
	if err == nil {
		res.Page, err = p.server.findPage(r.Context(), held, q)
	}
	if err != nil {
		var bad *search.Error
		var own *failure
		switch {
		case errors.As(err, &bad):
			res.Field, res.Refusal = bad.Field, sentence(bad.Message)
		case errors.As(err, &own) && own.status == http.StatusBadRequest:
			res.Refusal = sentence(own.message)
		default:
			return err
		}
		x.err, status = err, http.StatusBadRequest
	}
	body, err := p.ui.Results(p.request(x, r), res)
	return p.send(x, status, body, err)
}

// tidy returns the parameters of a search that are not empty, and says whether these
// are other ones than it was given. What is given twice stays, and is refused later.
func tidy(values url.Values) (clean url.Values, changed bool) {
	clean = url.Values{}
	for _, name := range searchParameters() {
		list, ok := values[name]
		if !ok {
			continue
		}
		if len(list) == 1 {
			value := list[0]
			// A name that is certified may begin or end with a space.
			if !slices.Contains([]string{"identity", "identityPrefix", "issuer"}, name) {
				value = strings.TrimSpace(value)
			}
			if name == "from" || name == "to" {
				value = moment8601(value)
			}
			changed = changed || value != list[0]
			list = []string{value}
		}
		if list[0] != "" || len(list) > 1 {
			clean[name] = list
		}
	}
	return clean, changed || len(clean) != len(values)
}

// moment8601 writes a date, or a time without a zone, which people mean in UTC, as RFC
// 3339 wants it. Anything else stays as it is.
func moment8601(s string) string {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02 15:04", time.DateTime} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return s
}
