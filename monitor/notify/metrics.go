package notify

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallystick/tallystick/monitor"
)

// Watched is a log that is watched, and where its alerts go.
type Watched struct {
	Queue
	Couriers []*Courier
}

// Metrics are the metrics of monitors: a prometheus.Collector. They are read from the monitors when they are asked for. Their labels are bounded: logs,
// rules and sinks are those of the rules file.
type Metrics struct {
	all   []Watched
	descs []*prometheus.Desc

	size, read, lagEntries, lagSeconds          *prometheus.Desc
	entries, unreadable, alarms, active, alerts *prometheus.Desc
	round, complete, growth                     *prometheus.Desc
	undelivered, deliveries, failing            *prometheus.Desc
}

// NewMetrics returns the metrics of these monitors.
func NewMetrics(all []Watched) *Metrics {
	m := &Metrics{all: all}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("tallystick_monitor_"+name, help, append([]string{"log"}, labels...), nil)
		m.descs = append(m.descs, d)
		return d
	}
	m.size = desc("consistent_entries", "Entries under the newest checkpoints that were proved consistent with everything before, of all trees.")
	m.read = desc("read_entries", "Entries that were read and are under those checkpoints, those included that were there before the watch began.")
	m.lagEntries = desc("lag_entries", "Entries under verified checkpoints that wait to be read.")
	m.lagSeconds = desc("lag_seconds", "For how long entries have been waiting to be read; 0 if none are.")
	m.entries = desc("entries_total", "Entries that were read and verified.")
	m.unreadable = desc("unreadable_entries_total", "Entries of these of a kind, or with a signer, that cannot be read, so that rules see less of them.")
	m.alarms = desc("alarms_total", "Alarms about the log that began.", "kind")
	m.active = desc("active_alarms", "Alarms about the log that are not over.", "kind")
	m.alerts = desc("alerts_total", "Entries that a rule asks for.", "rule")
	m.round = desc("last_round_timestamp_seconds", "When a round last ended, however; 0 before the first.")
	m.complete = desc("last_complete_timestamp_seconds", "When a round last ended with everything read and in order; 0 before the first.")
	m.growth = desc("last_growth_timestamp_seconds", "When the log was last seen to have grown; 0 if it never was.")
	m.undelivered = desc("undelivered_bytes", "Bytes of alerts in the journal that were not delivered yet.", "sink")
	m.deliveries = desc("deliveries_total", "Alerts that were delivered (result delivered) or given up (passed-over), and deliveries that failed and are tried again (failed).", "sink", "result")
	m.failing = desc("delivery_failing", "1 if the last delivery failed; else 0.", "sink")
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for i := range m.all {
		m.collect(out, &m.all[i])
	}
}

func (m *Metrics) collect(out chan<- prometheus.Metric, w *Watched) {
	s := w.Status()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, append([]string{s.Log}, labels...)...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	var size, read int64
	for i := range s.Trees {
		size += s.Trees[i].Head.Size
		read += s.Trees[i].Read
	}
	send(m.size, gauge, float64(size))
	send(m.read, gauge, float64(read))
	send(m.lagEntries, gauge, float64(s.Pending))
	send(m.lagSeconds, gauge, s.Behind.Seconds())
	send(m.entries, counter, float64(s.Entries))
	send(m.unreadable, counter, float64(s.Unreadable))
	active := make(map[monitor.Kind]int)
	for i := range s.Active {
		active[s.Active[i].Kind]++
	}
	for _, k := range monitor.Kinds() {
		if k != monitor.KindMatch {
			send(m.alarms, counter, float64(s.Raised[k]), string(k))
			send(m.active, gauge, float64(active[k]), string(k))
		}
	}
	for rule, n := range s.Matches {
		send(m.alerts, counter, float64(n), rule)
	}
	send(m.round, gauge, seconds(s.LastRound))
	send(m.complete, gauge, seconds(s.Complete))
	send(m.growth, gauge, seconds(s.Grown))
	for _, c := range w.Couriers {
		c := c.Stats()
		send(m.undelivered, gauge, float64(max(0, s.Journal-c.At)), c.Sink)
		send(m.deliveries, counter, float64(c.Delivered), c.Sink, "delivered")
		send(m.deliveries, counter, float64(c.Failed), c.Sink, "failed")
		send(m.deliveries, counter, float64(c.PassedOver), c.Sink, "passed-over")
		failing := 0.
		if c.Failing {
			failing = 1
		}
		send(m.failing, gauge, failing, c.Sink)
	}
}

// seconds returns a time in Unix seconds; 0 if there is none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
