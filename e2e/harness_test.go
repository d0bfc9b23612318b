package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that normally takes a moment: a server
// starting or stopping, a client's command. It only ends what hangs.
const patience = time.Minute

// binary is the tallystick program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tallystick-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "tallystick")
	build := exec.Command("go", "build", "-o", binary, "./cmd/tallystick")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building tallystick: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// tool returns the path of a client program, given as folder and name in the
// cache of tools.
func tool(t *testing.T, folder, name string) string {
	t.Helper()
	dir := os.Getenv("TALLYSTICK_TOOLS")
	if dir == "" {
		dir = filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache")), "tallystick", "tools")
	}
	path := filepath.Join(dir, folder, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("client program is missing: %v\nrun `make e2e-tools`, or e2e-kubernetes, in the root of the repository first", err)
	}
	return path
}

// server is a program that serves HTTP, and may be stopped and started again.
type server struct {
	t       *testing.T
	url     string
	ready   string   // path that answers 200 when the server can work
	command []string // the program and its arguments
	client  http.Client
	killed  bool // when it is to end; nobody cares how it stops
	process *exec.Cmd
	ended   chan error // has how the process ended, once it did
	output  lockedBuffer
}

// serve starts a server, and makes it stop at the end of the test.
func serve(t *testing.T, url, ready string, command ...string) *server {
	t.Helper()
	s := &server{t: t, url: url, ready: ready, command: command}
	s.launch()
	return s
}

// launch starts the server, and makes it stop at the end of the test.
func (s *server) launch() {
	s.t.Helper()
	s.t.Cleanup(func() {
		if s.process != nil {
			s.stop()
		}
		if s.t.Failed() {
			s.t.Logf("output of %s at %s:\n%s", filepath.Base(s.command[0]), s.url, s.output.String())
		}
	})
	s.start()
}

// start runs the server and returns when it can work.
func (s *server) start() {
	s.t.Helper()
	s.process = exec.Command(s.command[0], s.command[1:]...)
	s.process.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TALLYSTICK_") })
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		s.process = nil
		s.t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func(p *exec.Cmd, ended chan<- error) { ended <- p.Wait() }(s.process, s.ended)
	s.await()
}

// await returns when the server can work.
func (s *server) await() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		answer, err := s.client.Get(s.url + s.ready)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(answer.Status)
		}
		select {
		case ended := <-s.ended:
			s.process = nil
			s.t.Fatalf("%s at %s ended before it was ready: %v", s.command[0], s.url, ended)
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s at %s was not ready after %v: %v", s.command[0], s.url, patience, err)
		}
	}
}

// stop asks the server to end, as an init system does, and waits until it did.
func (s *server) stop() {
	s.t.Helper()
	if s.killed {
		s.process.Process.Kill()
		<-s.ended
		s.process = nil
		return
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Errorf("stopping %s: %v", s.command[0], err)
	}
	kill := time.AfterFunc(patience, func() { s.process.Process.Kill() })
	defer kill.Stop()
	if err := <-s.ended; err != nil {
		s.t.Errorf("%s did not stop in order: %v", s.command[0], err)
	}
	s.process = nil
}

// get returns the body of a good answer.
func (s *server) get(path string) []byte {
	s.t.Helper()
	answer, err := s.client.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s, %v: %s", path, answer.Status, err, body)
	}
	return body
}

// testLog is a tallystick of its own: a data directory, a port, and a process.
type testLog struct {
	*server
	keyFile string // the log's public key, PEM, where serve puts it
}

// startLog starts a log that keeps its entries in storage, and makes it stop at
// the end of the test.
func startLog(t *testing.T, storage string) *testLog {
	t.Helper()
	dir, address := filepath.Join(t.TempDir(), "data"), freeAddress(t)
	return &testLog{
		server: serve(t, "http://"+address, "/readyz",
			binary, "serve", "--listen", address, "--data-dir", dir, "--storage", storage),
		keyFile: filepath.Join(dir, "log.pub"),
	}
}

// size returns the number of entries in the log.
func (l *testLog) size() int64 {
	l.t.Helper()
	var info struct{ TreeSize int64 }
	if err := json.Unmarshal(l.get("/api/v1/log"), &info); err != nil {
		l.t.Fatal(err)
	}
	return info.TreeSize
}

// grew checks that the log has n entries more than before, and returns its size.
func (l *testLog) grew(before, n int64) int64 {
	l.t.Helper()
	now := l.size()
	if now != before+n {
		l.t.Errorf("the log has %d entries, want %d more than the %d before", now, n, before)
	}
	return now
}

// readFile returns a file's content.
func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// freeAddress returns a loopback address that nobody listens on. The port is
// known before the server starts because the server has to come back to it.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// shell runs client programs in a folder and a home of their own, without a way
// to any server that is not on loopback.
type shell struct {
	t   *testing.T
	dir string
	env []string
}

func newShell(t *testing.T) *shell {
	dir := t.TempDir()
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "COSIGN_") || strings.HasPrefix(v, "SIGSTORE_") ||
			strings.HasPrefix(v, "REKOR_") || strings.HasPrefix(v, "XDG_")
	})
	// Nobody listens on port 9. Programs written in Go never use a proxy for loopback.
	const noWayOut = "http://127.0.0.1:9"
	env = append(env, "HOME="+dir, "COSIGN_PASSWORD=", "HTTP_PROXY="+noWayOut, "HTTPS_PROXY="+noWayOut)
	return &shell{t, dir, env}
}

// with returns the shell with a variable more in its environment, and for
// another (sub)test.
func (s *shell) with(t *testing.T, variables ...string) *shell {
	return &shell{t, s.dir, append(slices.Clone(s.env), variables...)}
}

// path returns the path of a file in the shell's folder.
func (s *shell) path(name string) string { return filepath.Join(s.dir, name) }

// file makes a file in the shell's folder.
func (s *shell) file(name string, content []byte) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// read returns a file of the shell's folder.
func (s *shell) read(name string) []byte {
	s.t.Helper()
	return readFile(s.t, s.path(name))
}

// run runs a program that must succeed and returns its standard output.
func (s *shell) run(words ...[]string) string {
	s.t.Helper()
	args := slices.Concat(words...)
	out, messages, err := s.try(args)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, messages)
	}
	return out
}

// refuse runs a program that must fail, and say one of the reasons.
func (s *shell) refuse(reasons []string, words ...[]string) {
	s.t.Helper()
	args := slices.Concat(words...)
	out, messages, err := s.try(args)
	if err == nil {
		s.t.Errorf("%s: succeeded, but must fail\n%s%s", strings.Join(args, " "), out, messages)
		return
	}
	for _, r := range reasons {
		if strings.Contains(out+messages, r) {
			return
		}
	}
	s.t.Errorf("%s: failed, but for none of the reasons %q: %v\n%s%s", strings.Join(args, " "), reasons, err, out, messages)
}

func (s *shell) try(args []string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(s.t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = s.dir, s.env
	var out, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &messages
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	hung := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer hung.Stop()
	err = cmd.Wait()
	return out.String(), messages.String(), err
}

// args makes one list of words, to be read as a command line.
func args(words ...string) []string { return words }

// lockedBuffer is a buffer that a process writes to while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
