package admission

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// A verdict about an image whose signatures are remembered, as /validate gives it to an API server, without TLS. The
// metrics are of single requests (T27: p99 of at most 50 ms).
func BenchmarkWarm(b *testing.B) {
	for _, name := range []string{"image-legacy-key-cosign2", "image-bundle-keyless-timestamp-cosign3"} {
		b.Run(name, func(b *testing.B) {
			f := fixtureNamed(b, name)
			r := startImages(b)
			r.attach("test/app", f.Digest, f)
			s, err := New(Config{Policy: mustParse(b, r.ruleFor(f.signers(b))), Limits: Limits{MemoryTime: time.Hour}})
			if err != nil {
				b.Fatal(err)
			}
			handler := s.Handler()
			body := string(toJSONText(b, reviewOf(podKind, "CREATE", "default", podOf(r.app("@"+f.Digest)))))
			var times []time.Duration
			ask := func() {
				w := httptest.NewRecorder()
				start := time.Now()
				handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate?timeout=10s", strings.NewReader(body)))
				times = append(times, time.Since(start))
				if !strings.Contains(w.Body.String(), `"allowed":true`) {
					b.Fatal(w.Body.String())
				}
			}
			ask()
			times = nil
			r.seen()
			for b.Loop() {
				ask()
			}
			if got := r.seen(); len(got) != 0 {
				b.Errorf("the registry was asked: %q", got)
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "µs-p99")
		})
	}
}
