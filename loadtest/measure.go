package main

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// samples are the outcomes of one kind of request. One goroutine writes; the
// samples of many are added up when all are done.
type samples struct {
	latencies []time.Duration // of the good answers
	failures  map[string]int  // the others, by HTTP status or "no answer"
	verified  int             // good answers that were also verified
	lies      []error         // those that did not verify
}

func (s *samples) fail(what string) {
	if s.failures == nil {
		s.failures = map[string]int{}
	}
	s.failures[what]++
}

// add takes over the outcomes of another goroutine.
func (s *samples) add(o *samples) {
	s.latencies = append(s.latencies, o.latencies...)
	for what, n := range o.failures {
		if s.failures == nil {
			s.failures = map[string]int{}
		}
		s.failures[what] += n
	}
	s.verified += o.verified
	s.lies = append(s.lies, o.lies...)
}

// failed returns the failures as text, "–" if there were none.
func (s *samples) failed() string {
	text := ""
	for _, what := range slices.Sorted(maps.Keys(s.failures)) {
		if text != "" {
			text += ", "
		}
		text += strconv.Itoa(s.failures[what]) + " × " + what
	}
	if text == "" {
		return "–"
	}
	return text
}

// percentiles returns, for each p between 0 and 1, the smallest latency that at
// least the share p of all are not above (the nearest-rank method); 1 gives the
// largest. It sorts the latencies. Without any, all results are 0.
func percentiles(latencies []time.Duration, ps ...float64) []time.Duration {
	slices.Sort(latencies)
	out := make([]time.Duration, len(ps))
	for i, p := range ps {
		if n := len(latencies); n > 0 {
			rank := int(math.Ceil(p * float64(n)))
			out[i] = latencies[min(max(rank, 1), n)-1]
		}
	}
	return out
}
