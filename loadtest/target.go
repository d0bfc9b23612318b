package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience bounds the start and the stop of a server.
const patience = 2 * time.Minute

// target is a tallystick under load, with its default settings, in a process of
// its own.
type target struct {
	program string
	dir     string    // data directory; its log goes beside it
	pg      *database // where it keeps its entries; nil for SQLite in the data directory
	address string    // host and port, once it was started
	process *exec.Cmd // nil if it does not run
	key     string    // of another server's log; empty for one of its own
	twin    *target   // a second server on the same database; nil for none
}

// startTwin starts a second server on the same database.
func (t *target) startTwin() error {
	t.twin = &target{program: t.program, dir: t.dir + "-twin", pg: t.pg, key: filepath.Join(t.dir, "log.key")}
	return t.twin.start()
}

// sqliteFile is where the server keeps its entries, if not in PostgreSQL.
func (t *target) sqliteFile() string { return filepath.Join(t.dir, "log.sqlite") }

// start starts the server, at the address that it had before, and returns when it
// can write.
func (t *target) start() error {
	if err := t.choosePort(); err != nil {
		return err
	}
	output, err := os.OpenFile(t.dir+".output", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close() // the process has its own
	args := []string{"serve", "--listen", t.address, "--data-dir", t.dir, "--storage", t.storage()}
	if t.key != "" {
		args = append(args, "--key", t.key)
	}
	t.process = exec.Command(t.program, args...)
	t.process.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TALLYSTICK_") })
	t.process.Stdout, t.process.Stderr = output, output
	if err := t.process.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", t.program, err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err = t.get("/readyz"); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(output.Name())
			return errors.Join(fmt.Errorf("%s was not ready after %v: %w; it said:\n%s", t.program, patience, err, said), t.stop())
		}
	}
}

// stop ends the server in order. It does nothing if none runs.
func (t *target) stop() error {
	if t.twin != nil {
		if err := t.twin.stop(); err != nil {
			return err
		}
		t.twin = nil
	}
	if t.process == nil {
		return nil
	}
	p := t.process
	t.process = nil
	kill := time.AfterFunc(patience, func() { p.Process.Kill() })
	defer kill.Stop()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("%s serve: %w", t.program, err)
	}
	return nil
}

// check checks the log of a stopped server; it returns the time that it took and the
// most memory, in bytes.
func (t *target) check() (time.Duration, int64, error) {
	cmd := exec.Command(t.program, "check", "--data-dir", t.dir, "--storage", t.storage())
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("%s check: %w; it said:\n%s", t.program, err, out)
	}
	took := time.Since(start)
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return took, usage.Maxrss << 10, nil
}

// storage returns the setting that says where the log is kept.
func (t *target) storage() string {
	if t.pg != nil {
		return t.pg.url
	}
	return "sqlite:"
}

// end stops the server and its database, whatever comes of it.
func (t *target) end() {
	if err := t.stop(); err != nil {
		progress("%v", err)
	}
	if t.pg != nil {
		t.pg.stop()
	}
}

func (t *target) choosePort() error {
	if t.address != "" {
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	t.address = l.Addr().String()
	return l.Close()
}

// get returns the body of a good answer.
func (t *target) get(path string) ([]byte, error) {
	answer, err := http.Get("http://" + t.address + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, answer.Status, body)
	}
	return body, err
}

// observation is what is known of a running server at one moment.
type observation struct {
	cpu              usage
	batches, entries float64 // commits so far, and entries in them
}

// Metrics of the server: a histogram of the entries in each commit.
const batchMetric = "tallystick_commit_entries"

func (t *target) observe() (observation, error) {
	metrics, err := t.get("/metrics")
	if err != nil {
		return observation{}, err
	}
	var o observation
	var errs [5]error
	o.batches, errs[0] = metric(string(metrics), batchMetric+"_count")
	o.entries, errs[1] = metric(string(metrics), batchMetric+"_sum")
	o.cpu.server, errs[2] = processCPU(t.process.Process.Pid)
	o.cpu.client, errs[3] = ownCPU()
	if t.pg != nil {
		o.cpu.database, errs[4] = treeCPU(t.pg.pid)
	}
	if t.twin != nil {
		twin, err := t.twin.observe()
		o.batches, o.entries, o.cpu.server = o.batches+twin.batches, o.entries+twin.entries, o.cpu.server+twin.cpu.server
		errs[0] = errors.Join(errs[0], err)
	}
	return o, errors.Join(errs[:]...)
}

// metric returns the value of a metric without labels from the Prometheus text
// format.
func metric(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the server has no metric %s", name)
}

// size returns what the log takes on disk, in bytes, without PostgreSQL's
// write-ahead log.
func (t *target) size(ctx context.Context) (int64, error) {
	if t.pg == nil {
		return diskUse(t.sqliteFile())
	}
	conn, err := pgx.Connect(ctx, t.pg.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	var n int64
	err = conn.QueryRow(ctx, "select pg_database_size(current_database())").Scan(&n)
	return n, err
}
