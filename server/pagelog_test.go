package server

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/storage"
)

// A summary that could not be made is not tried again for a few seconds, however many ask;
// unless it was only that the asker went away.
func TestSummaryFails(t *testing.T) {
	s := newSummaries()
	now := time.Unix(1_767_225_600, 0)
	tries, fail := 0, errors.New("storage is away")
	make := func(ctx context.Context) (*summary, error) {
		tries++
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if fail != nil {
			return nil, fail
		}
		return &summary{}, nil
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		after time.Duration
		ctx   context.Context
		heals bool
		tries int
		fails bool
	}{
		{0, t.Context(), false, 1, true},
		{time.Second, t.Context(), false, 1, true},
		{summaryAge, t.Context(), false, 2, true},
		{summaryAge + time.Second, t.Context(), true, 2, true},
		{2 * summaryAge, t.Context(), true, 3, false},
		{2*summaryAge + time.Second, t.Context(), false, 3, false},
	} {
		if c.heals {
			fail = nil
		}
		_, err := s.get(c.ctx, now.Add(c.after), 1, make)
		if tries != c.tries || (err != nil) != c.fails {
			t.Errorf("after %v: %d tries, error %v", c.after, tries, err)
		}
	}
	s, tries = newSummaries(), 0
	for range 20 { // a turn is there for those, too, that have gone
		s.get(gone, now, 1, make)
	}
	if _, err := s.get(t.Context(), now, 1, make); err != nil {
		t.Errorf("after askers that went away: %v", err)
	}
}

// Of a log that has stopped signing, consistency cannot be proved now; that is no fault of
// who asks.
func TestConsistencyWhenHalted(t *testing.T) {
	s := newSite(t)
	for _, l := range s.logs {
		l.viewErr, l.haltErr = storage.ErrHalted, errors.New("halt")
	}
	if w := s.do("GET", "/log?first=1&second=2", ""); w.Code != 503 || w.Header().Get("Retry-After") != "60" {
		t.Errorf("status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := s.do("GET", "/log?first=1&second=2&tree=1", ""); w.Code != 400 || w.Header().Get("Retry-After") != "" {
		t.Errorf("no such tree: status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
}

// Names are certified with spaces at their ends, too. As a condition they are found as
// they are; what is typed into the one box is trimmed.
func TestNamesWithSpaces(t *testing.T) {
	s := newSite(t)
	const odd = " odd@example.com "
	id := s.add(t, newPerson(t, odd, joIssuer, nil).rekord(t, "odd"))
	for query, want := range map[string]bool{
		"identity=" + url.QueryEscape(odd):                    true,
		"identity=" + url.QueryEscape(strings.TrimSpace(odd)): false,
		"identityPrefix=+odd":                                 true,
		"identityPrefix=odd":                                  false,
		"text=" + url.QueryEscape(strings.TrimSpace(odd)):     false,
	} {
		w := s.do("GET", "/search?"+query, "")
		if w.Code != 200 || strings.Contains(w.Body.String(), id) != want {
			t.Errorf("%s: status %d, found %v", query, w.Code, !want)
		}
		if api := s.do("GET", "/api/search?"+query, ""); api.Code != 200 || strings.Contains(api.Body.String(), id) != want {
			t.Errorf("API, %s: status %d, found %v", query, api.Code, !want)
		}
	}
	if w := s.do("GET", "/search?text=+jo%40example.com+", ""); w.Code != 303 || w.Header().Get("Location") != "?text=jo%40example.com" {
		t.Errorf("the box: status %d to %s", w.Code, w.Header().Get("Location"))
	}
}
