package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// auditRules are what the monitor holds every entry against: none of them matches.
const auditRules = `logs: [{name: log, url: "http://%s", logKey: %q}]
rules:
  - {name: name, when: {subjectRegexp: '@example\.com$'}, unless: {issuer: https://login.example.com}}
  - {name: workflow, when: {extensions: {sourceRepositoryURI: https://github.com/example/app}}}
  - {name: key, when: {key: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}}
`

// runAudit measures how fast a monitor reads a small log and a large one over HTTP, and how much memory
// it takes: about as much for both.
func (s *settings) runAudit(ctx context.Context, dir string, r *report) error {
	r.line("# A monitor that reads a log")
	r.line("")
	r.machine(s.postgres)
	r.line("- tallystick monitor --once with three rules, from a tallystick serve beside it. It verifies every signed entry timestamp, which the server signs when it is asked, and every leaf hash.")
	r.table("Storage", "Entries", "Entries/s", "CPU of the monitor, µs an entry", "CPU of the server and database, µs an entry", "Peak memory of the monitor, MiB")
	for _, backend := range s.storages {
		for _, n := range []int{s.small, s.large} {
			if err := s.auditOne(ctx, backend, filepath.Join(dir, fmt.Sprint(backend, n)), n, r); err != nil {
				return fmt.Errorf("%s: %w", backend, err)
			}
		}
	}
	return nil
}

// auditOne measures one log.
func (s *settings) auditOne(ctx context.Context, backend, dir string, n int, r *report) error {
	_, t, err := s.filled(ctx, backend, dir, n)
	if err != nil {
		return err
	}
	defer t.end()
	if err := t.start(); err != nil {
		return err
	}
	rules := dir + "-rules.yaml"
	if err := os.WriteFile(rules, fmt.Appendf(nil, auditRules, t.address, filepath.Join(t.dir, "log.pub")), 0o600); err != nil {
		return err
	}
	progress("%s: a monitor reads %d entries", backend, n)
	before, err := t.observe()
	if err != nil {
		return err
	}
	cmd := exec.Command(t.program, "monitor", rules, "--once", "--state", dir+"-state")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// What wait4(2) says of memory counts this process in, from before the other program began.
	peak, err := int64(0), error(nil)
	for waiting := true; waiting; {
		select {
		case err = <-ended:
			waiting = false
		case <-time.After(20 * time.Millisecond):
			if now, gone := peakMemory(cmd.Process.Pid); gone == nil {
				peak = now
			}
		}
	}
	took := time.Since(start)
	if err != nil {
		return fmt.Errorf("%s monitor: %w; it said:\n%s", t.program, err, &out)
	}
	after, err := t.observe()
	if err != nil {
		return err
	}
	served := after.cpu.since(before.cpu)
	own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	each := func(d time.Duration) string {
		return fmt.Sprintf("%.0f", float64(d.Microseconds())/float64(n))
	}
	r.row(backend, fmt.Sprint(n), fmt.Sprintf("%.0f", float64(n)/took.Seconds()), each(own), each(served.server+served.database), fmt.Sprint(peak>>20))
	return t.stop()
}
