package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tallystick/tallystick/sequencer"
)

// logMetrics are the metrics of the sequencer. They have no labels, and stand for
// the active tree.
type logMetrics struct {
	batch    prometheus.Histogram
	added    prometheus.Counter
	duration prometheus.Histogram
	retries  prometheus.Counter
}

// newLogMetrics registers them, and those of the process.
func newLogMetrics(registry *prometheus.Registry) *logMetrics {
	m := &logMetrics{
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tallystick_commit_entries",
			Help:    "Entries in one commit, duplicates included.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		added: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tallystick_committed_leaves_total",
			Help: "Leaves that this server added to the tree.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tallystick_commit_duration_seconds",
			Help:    "Time of one durable commit, retries included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tallystick_commit_retries_total",
			Help: "Commits that were tried again, because storage failed or another server came first.",
		}),
	}
	registry.MustRegister(m.batch, m.added, m.duration, m.retries,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "tallystick_build_info",
			Help:        "Always 1; the label has the version.",
			ConstLabels: prometheus.Labels{"version": version()},
		}, func() float64 { return 1 }))
	return m
}

// committed is told of every commit.
func (m *logMetrics) committed(c sequencer.Commit) {
	m.batch.Observe(float64(c.Entries))
	m.added.Add(float64(c.New))
	m.duration.Observe(c.Time.Seconds())
	m.retries.Add(float64(max(0, c.Tries-1)))
}

// watch registers the gauges that are read from the log when they are asked for.
func (m *logMetrics) watch(registry *prometheus.Registry, log *sequencer.Log, now func() time.Time) {
	gauge := func(name, help string, value func(sequencer.Stats) float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(log.Stats()) }))
	}
	gauge("tallystick_queue_entries", "Entries that wait to be committed.",
		func(s sequencer.Stats) float64 { return float64(s.Waiting) })
	gauge("tallystick_tree_size", "Leaves under the newest checkpoint that this server published.",
		func(s sequencer.Stats) float64 { return float64(s.Size) })
	gauge("tallystick_head_age_seconds", "Time since the newest entry that this server knows of was logged; 0 while there is none.",
		func(s sequencer.Stats) float64 {
			if s.Time == 0 {
				return 0
			}
			return now().Sub(time.Unix(s.Time, 0)).Seconds()
		})
	gauge("tallystick_halted", "1 if the log has stopped signing, which takes an operator; else 0.",
		func(s sequencer.Stats) float64 {
			if s.Halted {
				return 1
			}
			return 0
		})
}
