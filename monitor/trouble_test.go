package monitor

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A server, proxy or firewall that fails is no lie: the log is away, which is told when it lasts. A log that
// answers that it has no proof is not.
func TestProofStatus(t *testing.T) {
	for status, lie := range map[int]bool{400: true, 404: true, 422: true,
		401: false, 403: false, 405: false, 408: false, 410: false, 429: false, 500: false, 501: false, 502: false, 503: false, 504: false, 520: false} {
		within(t, func(t testing.TB) {
			w := newWorld(t, newEntries(5))
			m := w.open()
			w.quiet(m)
			w.log.add(t, numbered("new", 5, 8)...)
			w.proxy.set(w.log, func(r *http.Request, a *answer) {
				if strings.HasSuffix(r.URL.Path, "/proof") {
					a.status, a.body = status, []byte(`{"code":1,"message":"no"}`)
				}
			})
			alarm := func() Kind {
				w.round(m)
				if a := m.Status().Active; len(a) > 0 {
					return a[0].Kind
				}
				return ""
			}
			first, later := Kind(""), KindUnreachable
			if lie {
				first, later = KindInconsistent, KindInconsistent
			}
			if got := alarm(); got != first {
				t.Errorf("%d, once: %q", status, got)
			}
			w.clock.add(16 * time.Minute)
			if got := alarm(); got != later {
				t.Errorf("%d, for a while: %q", status, got)
			}
			w.proxy.set(w.log, nil)
			w.quiet(m)
		})
	}
}
