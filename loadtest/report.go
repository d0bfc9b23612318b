package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// report is a Markdown document that grows.
type report struct{ text strings.Builder }

func (r *report) line(format string, args ...any) {
	fmt.Fprintf(&r.text, format+"\n", args...)
}

// row adds a row of a table.
func (r *report) row(cells ...string) { r.line("| %s |", strings.Join(cells, " | ")) }

// table begins a table.
func (r *report) table(headings ...string) {
	r.line("")
	r.row(headings...)
	r.line("|%s", strings.Repeat("---|", len(headings)))
}

// machine says where, of what and when it was measured.
func (r *report) machine(settings []string) {
	r.line("- Machine: %s, %d cores, %s", cpuModel(), runtime.NumCPU(), kernel())
	r.line("- Commit: %s; %s; %s", commit(), runtime.Version(), time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	r.line("- The load generator runs on the same machine. Server: default settings. PostgreSQL: %s, else defaults (fsync on, synchronous_commit on).", strings.Join(settings, ", "))
}

// cpuModel returns the processor's name (proc(5), /proc/cpuinfo).
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(info)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(release))
}

// commit names the checked-out commit; with a + if files differ from it.
func commit() string {
	id, err := exec.Command("git", "describe", "--always", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return "none"
	}
	return strings.TrimSpace(string(id))
}

// phaseTable begins a table of outcomes; phase adds to it.
func (r *report) phaseTable() {
	r.table("Storage", "Load", "Requests", "per s", "p50 ms", "p90 ms", "p99 ms", "max ms", "failed", "verified",
		"server CPU s/1,000", "database CPU s/1,000", "client CPU s/1,000", "entries a commit")
}

// phase adds an outcome: a row for its writes and one for its reads. CPU time is of
// the whole phase, divided by all its requests, so it stands in one row.
func (r *report) phase(storage string, o *outcome) {
	thousands := float64(len(o.writes.latencies)+len(o.reads.latencies)) / 1000
	cpu := func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()/thousands) }
	cost := []string{cpu(o.cpu.server), cpu(o.cpu.database), cpu(o.cpu.client), "–"}
	if o.batches > 0 {
		cost[3] = fmt.Sprintf("%.1f", o.inAll/o.batches)
	}
	for _, s := range []struct {
		what string
		*samples
	}{{"writes", &o.writes}, {"reads", &o.reads}} {
		n := len(s.latencies)
		if n == 0 && len(s.failures) == 0 {
			continue
		}
		cells := []string{storage, o.name + ": " + s.what, fmt.Sprint(n), fmt.Sprintf("%.0f", float64(n)/o.took.Seconds())}
		for _, p := range percentiles(s.latencies, 0.5, 0.9, 0.99, 1) {
			cells = append(cells, milliseconds(p))
		}
		cells = append(cells, s.failed(), fmt.Sprintf("%d, all good", s.verified))
		r.row(append(cells, cost...)...)
		cost = []string{"″", "″", "″", "″"}
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}

func microseconds(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}

// write prints the report, and writes it to a file if one is named.
func (r *report) write(file string) error {
	fmt.Print(r.text.String())
	if file == "" {
		return nil
	}
	return os.WriteFile(file, []byte(r.text.String()), 0o644)
}
