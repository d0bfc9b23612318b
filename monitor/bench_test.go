package monitor

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/tlog"
)

const (
	envServer    = "TALLYSTICK_MONITOR_BENCH_SERVER"
	benchEntries = 200_000
	benchSigners = 5_000 // more than are remembered
)

// TestBenchServer is no test, but the process of a real server with a log of many entries in memory, for BenchmarkMonitor.
func TestBenchServer(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(envServer))
	if err != nil {
		return
	}
	l := newRealLog(t, testKey("log"), nil)
	var verifiers [][]byte
	for i := range benchSigners {
		verifiers = append(verifiers, certificate(t, testKey("dev"), []string{fmt.Sprintf("dev%d@example.com", i)},
			map[int]string{1: google, 8: google, 12: app, 18: workflow, 6: "refs/heads/main"}))
	}
	signature := testKey("dev").SignMessage([]byte("what is signed is not looked at"))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 512 {
		workers.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				digest := sha256.Sum256([]byte(strconv.Itoa(i)))
				body := forge.Encode(forge.HashedRekordV1("sha256", digest[:], signature, verifiers[i%benchSigners]))
				if _, err := l.active.Add(t.Context(), tlog.Leaf{Body: body}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	t.Fatal(http.Serve(listener, l)) // until it is killed
}

// BenchmarkMonitor reads, verifies and searches a log of a server in another process. Run it with -benchtime 1x.
func BenchmarkMonitor(b *testing.B) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchServer$")
	cmd.Env = append(os.Environ(), envServer+"="+strconv.Itoa(benchEntries))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	raw, err := client.NewRaw(strings.TrimSpace(url), client.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("rules:\n")
	for i := range 20 {
		fmt.Fprintf(&text, "  - {name: r%d, when: {subjectRegexp: '^dev%d@', issuer: %s}, unless: {extensions: {buildConfigURI: %s}}}\n", i, i*10, google, []string{workflow, evil}[i%2])
	}
	o := Options{Rules: rules(b, text.String()), Source: raw, RoundEntries: benchEntries / 20}
	log := Log{Name: "bench", URL: "http://log.test", Trust: trustIn(b, testKey("log"))}
	for b.Loop() {
		o.Dir = b.TempDir()
		m, err := Open(log, o)
		if err != nil {
			b.Fatal(err)
		}
		var heaps []uint64
		started := time.Now()
		for more := true; more; {
			r, err := m.Round(b.Context())
			if err != nil || r.Trouble != nil {
				b.Fatal(err, r.Trouble)
			}
			more = r.More
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			heaps = append(heaps, mem.HeapInuse>>20)
		}
		took := time.Since(started)
		s := m.Status()
		if s.Trees[0].Read != benchEntries || s.Raised[KindMatch] != 10*benchEntries/benchSigners {
			b.Fatalf("status is %+v", s)
		}
		b.ReportMetric(benchEntries/took.Seconds(), "entries/s")
		b.Logf("heap in use after each round, MiB: %v", heaps)
		m.Close()
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				b.Logf("most memory of the process: %s", strings.TrimSpace(kb))
			}
		}
	}
}
