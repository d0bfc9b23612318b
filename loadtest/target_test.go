package main

import "testing"

func TestMetric(t *testing.T) {
	const text = "# TYPE a histogram\na_bucket{le=\"1\"} 3\na_sum_of 1\na_sum 12.5\na_count 4\n"
	if got, err := metric(text, "a_sum"); err != nil || got != 12.5 {
		t.Errorf("a_sum is %v, %v, want 12.5", got, err)
	}
	if got, err := metric(text, "b"); err == nil {
		t.Errorf("a missing metric is %v", got)
	}
}
