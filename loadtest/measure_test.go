package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	rand.Shuffle(len(hundred), func(i, j int) { hundred[i], hundred[j] = hundred[j], hundred[i] })
	for _, c := range []struct {
		latencies []time.Duration
		ps        []float64
		want      []time.Duration
	}{
		{hundred, []float64{0.5, 0.9, 0.99, 1}, []time.Duration{50, 90, 99, 100}},
		{[]time.Duration{7}, []float64{0, 0.5, 0.99, 1}, []time.Duration{7, 7, 7, 7}},
		{[]time.Duration{2, 1, 3}, []float64{0.5, 0.99}, []time.Duration{2, 3}},
		{nil, []float64{0.5}, []time.Duration{0}},
	} {
		if got := percentiles(c.latencies, c.ps...); !slices.Equal(got, c.want) {
			t.Errorf("percentiles %v of %d latencies are %v, want %v", c.ps, len(c.latencies), got, c.want)
		}
	}
}

func TestSamplesAddUp(t *testing.T) {
	var sum samples
	for _, status := range []string{"503", "no answer", "503"} {
		one := samples{latencies: []time.Duration{1}, verified: 2}
		one.fail(status)
		sum.add(&one)
	}
	if got, want := sum.failed(), "2 × 503, 1 × no answer"; got != want {
		t.Errorf("failures are %q, want %q", got, want)
	}
	if len(sum.latencies) != 3 || sum.verified != 6 {
		t.Errorf("sum is %+v", sum)
	}
	if got := new(samples).failed(); got != "–" {
		t.Errorf("no failures are %q", got)
	}
}
