package differential

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
)

// BenchmarkBundles verifies the same bundles, from their bytes and with verifiers made before,
// with this project's verifier and with sigstore-go's, by turns.
func BenchmarkBundles(b *testing.B) {
	for _, s := range seeds(b) {
		switch s.name {
		case "v1, key, 0.3", "v1, certificate, 0.3", "v2, key", "public-good/provenance-v2.json":
		default:
			continue
		}
		b.Run(s.name, func(b *testing.B) { s.compare(b) })
	}
}

func (s *seed) compare(b *testing.B) {
	data := forge.Encode(s.bundle)
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		err := s.askOurs(data)
		middle := time.Now()
		if err == nil {
			err = s.askTheirs(data)
		}
		ours += middle.Sub(start)
		theirs += time.Since(middle)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "ns/ours")
	b.ReportMetric(float64(theirs.Nanoseconds())/float64(b.N), "ns/sigstore-go")
	b.ReportMetric(float64(theirs)/float64(ours), "x-faster")
	b.ReportMetric(testing.AllocsPerRun(10, func() { _ = s.askOurs(data) }), "allocs/ours")
	b.ReportMetric(testing.AllocsPerRun(10, func() { _ = s.askTheirs(data) }), "allocs/sigstore-go")
	b.ReportMetric(0, "ns/op") // of both together it says nothing
}
