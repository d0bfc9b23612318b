package admission

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the metrics of a server. Labels have few values, none of which a caller chooses.
type metrics struct {
	decisions  *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	images     *prometheus.CounterVec
	remembered prometheus.Counter
	policies   *prometheus.CounterVec
	policyTime prometheus.Gauge
	policyBad  prometheus.Gauge
}

func newMetrics(registry *prometheus.Registry, s *Server) *metrics {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tallystick_admission_decisions_total",
			Help: "Requests, by endpoint and decision: admitted, denied, warned (--mode=warn admitted what would be denied), exempt (by namespace), failed (could not be looked at).",
		}, []string{"endpoint", "decision"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tallystick_admission_duration_seconds",
			Help:    "Time until a request was answered.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25},
		}, []string{"endpoint"}),
		images: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tallystick_admission_images_total",
			Help: "Images that were judged: verified, exempt (by a rule), refused, unavailable (it could not be found out; denied too).",
		}, []string{"outcome"}),
		remembered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tallystick_admission_remembered_total",
			Help: "Images that were verified without reading their signatures from the registry again.",
		}),
		policies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tallystick_admission_policy_loads_total",
			Help: "Policies that were read, by result: loaded or broken.",
		}, []string{"result"}),
		policyTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tallystick_admission_policy_loaded_timestamp_seconds",
			Help: "When the policy that is in force was read.",
		}),
		policyBad: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tallystick_admission_policy_broken",
			Help: "1 while the policy's files cannot be read and an older policy is in force.",
		}),
	}
	registry.MustRegister(m.decisions, m.duration, m.images, m.remembered, m.policies, m.policyTime, m.policyBad,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tallystick_admission_requests_in_flight",
			Help: "Requests that are being answered.",
		}, func() float64 { return float64(s.requests.all.inUse()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tallystick_admission_checks_in_flight",
			Help: "Images that are being read from registries and verified.",
		}, func() float64 { return float64(s.checks.all.inUse()) }))
	for _, result := range []string{"loaded", "broken"} {
		m.policies.WithLabelValues(result)
	}
	for _, outcome := range []string{"verified", "exempt", "refused", "unavailable"} {
		m.images.WithLabelValues(outcome)
	}
	return m
}

// decisions are what can become of a request.
var decisions = []string{"admitted", "denied", "warned", "exempt", "failed"}

// expect makes the metrics of an endpoint, at 0, so that an alert sees the first one that is counted.
func (m *metrics) expect(endpoint string) {
	m.duration.WithLabelValues(endpoint)
	for _, d := range decisions {
		m.decisions.WithLabelValues(endpoint, d)
	}
}

func (m *metrics) observe(endpoint, decision string, took time.Duration) {
	m.decisions.WithLabelValues(endpoint, decision).Inc()
	m.duration.WithLabelValues(endpoint).Observe(took.Seconds())
}

func (m *metrics) loaded(p *Policy, now time.Time) {
	m.policies.WithLabelValues("loaded").Inc()
	m.policyTime.Set(float64(now.Unix()))
	m.policyBad.Set(0)
}

func (m *metrics) broken() {
	m.policies.WithLabelValues("broken").Inc()
	m.policyBad.Set(1)
}
