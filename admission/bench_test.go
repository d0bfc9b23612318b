package admission

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// An answer of /validate over TLS (HTTP/2, one connection, as from an API server), with a registry in the same process: warm, of an
// image whose signatures are remembered, and cold, of one whose signatures are read from the registry each time. The metrics are of
// single requests (T27: a warm p99 of at most 50 ms).
//
//	go test -run '^$' -bench Answer -benchtime 5000x ./admission
func BenchmarkAnswer(b *testing.B) {
	for _, name := range []string{"image-legacy-key-cosign2", "image-bundle-key-cosign3", "image-bundle-keyless-timestamp-cosign3"} {
		for temperature, remember := range map[string]time.Duration{"warm": time.Hour, "cold": -1} {
			b.Run(temperature+"/"+name, func(b *testing.B) {
				f := fixtureNamed(b, name)
				r := startImages(b)
				r.attach("test/app", f.Digest, f)
				w := startWorld(b, Config{Policy: mustParse(b, r.ruleFor(f.signers(b))), Limits: Limits{MemoryTime: remember}})
				body := toJSONText(b, reviewOf(podKind, "CREATE", "default", podOf(r.app("@"+f.Digest))))
				ask := func() time.Duration {
					start := time.Now()
					resp, err := w.client.Post(w.url+"/validate?timeout=10s", "application/json", bytes.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					answer, err := io.ReadAll(resp.Body)
					took := time.Since(start)
					resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(answer), `"allowed":true`) {
						b.Fatalf("%v: %s", err, answer)
					}
					return took
				}
				ask()
				r.seen()
				var times []time.Duration
				for b.Loop() {
					times = append(times, ask())
				}
				if asked := len(r.seen()) > 0; asked != (temperature == "cold") {
					b.Errorf("the registry was asked: %v", asked)
				}
				slices.Sort(times)
				for percent, unit := range map[int]string{50: "ms-p50", 99: "ms-p99"} {
					b.ReportMetric(float64(times[len(times)*percent/100].Microseconds())/1000, unit)
				}
			})
		}
	}
}
