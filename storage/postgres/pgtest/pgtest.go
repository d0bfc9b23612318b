// Package pgtest gives tests a throw-away PostgreSQL, with fsync on, made from
// the binaries that Debian installs (or any others on the PATH).
//
// Most tests want a fresh, empty database and nothing else:
//
//	func TestSomething(t *testing.T) {
//		url := pgtest.Database(t)
//		…
//	}
//
// All of them share one server a test process. It starts at the first call and
// stops when the process ends, however it ends; no TestMain is needed. If the
// environment variable TALLYSTICK_TEST_POSTGRES holds the URL of a server (whose
// user may create databases), that one is used and none is started.
//
// Tests that hurt the server start one of their own:
//
//	srv := pgtest.Start(t)
//	url := srv.Database(t)
//	srv.Kill()    // SIGKILL to all its processes at once, like a power cut
//	srv.Restart() // it recovers, and listens at the same URL
//
// PostgreSQL refuses to run as root, so tests that run as root start it as the
// user "postgres".
package pgtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvURL names the environment variable with the URL of a server to use instead
// of starting one.
const EnvURL = "TALLYSTICK_TEST_POSTGRES"

// startTimeout bounds how long a server may take to accept connections: recovery
// after a kill on a busy machine takes seconds.
const startTimeout = time.Minute

// Database makes a fresh, empty database on the process's shared server, and
// returns its URL. It is dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	base, err := sharedURL()
	if err != nil {
		t.Fatalf("starting the shared PostgreSQL: %v", err)
	}
	return createDatabase(t, base, true)
}

// shared starts the process's server at the first call. It is never stopped by
// the process: its watchdog stops it when the process is gone.
var shared = sync.OnceValues(func() (*Server, error) { return newServer(nil) })

// sharedURL returns the URL of the server that tests share.
func sharedURL() (string, error) {
	if u := os.Getenv(EnvURL); u != "" {
		return u, nil
	}
	s, err := shared()
	if err != nil {
		return "", err
	}
	return s.url("postgres"), nil
}

// createDatabase makes a database beside the one of the URL base.
func createDatabase(t testing.TB, base string, drop bool) string {
	t.Helper()
	name := "tallystick_test_" + strings.ToLower(rand.Text()[:12])
	if err := exec1(base, "create database "+name); err != nil {
		t.Fatalf("creating database %s: %v", name, err)
	}
	if drop {
		t.Cleanup(func() {
			if err := exec1(base, "drop database if exists "+name+" with (force)"); err != nil {
				t.Errorf("dropping database %s: %v", name, err)
			}
		})
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("parsing the server's URL: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// exec1 runs one statement on a connection of its own.
func exec1(url, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// Server is a PostgreSQL server of one test.
type Server struct {
	Dir  string // holds the data folder and the Unix socket
	Port int    // on 127.0.0.1, and of the socket

	t        testing.TB // of the test that owns it; nil for the shared one
	postgres string     // path of the server program
	settings []string   // the test's own, as name=value
	cred     *syscall.SysProcAttr
	cmd      *exec.Cmd
	log      *logWatcher
	alive    io.Closer // what the watchdog watches; here so that it is not collected
}

// Start starts a server that belongs to the test and stops with it. Settings are
// added to its configuration, each as name=value ("fsync=off").
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := newServer(settings)
	if err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	s.t = t
	t.Cleanup(func() {
		s.Kill()
		if err := os.RemoveAll(s.Dir); err != nil {
			t.Errorf("removing PostgreSQL's folder: %v", err)
		}
	})
	return s
}

// Database makes a fresh, empty database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return createDatabase(t, s.url("postgres"), false)
}

// url returns the URL of a database, over the Unix socket.
func (s *Server) url(database string) string {
	q := url.Values{"host": {s.Dir}, "port": {strconv.Itoa(s.Port)}, "user": {"postgres"}, "sslmode": {"disable"}}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: q.Encode()}).String()
}

// Kill sends SIGKILL to all of the server's processes and waits until they are
// gone. Nothing is flushed; the operating system keeps what was written. It does
// nothing if the server is down.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	// Stopped first, the postmaster can start no child that we would miss.
	pm := s.cmd.Process
	_ = pm.Signal(syscall.SIGSTOP)
	children := children(pm.Pid)
	_ = pm.Kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = s.cmd.Wait()
	for _, pid := range children {
		waitGone(pid)
	}
	s.cmd = nil
}

// Restart starts the server again after Kill or Stop, and returns when it accepts
// connections.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("restarting PostgreSQL: %v", err)
	}
}

// Stop shuts the server down in order ("fast": it ends its connections first).
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Log returns what the server wrote to its log since it was last started.
func (s *Server) Log() string { return s.log.String() }

// newServer makes a data folder and starts a server on it.
func newServer(settings []string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := makeDir(cred)
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, postgres: filepath.Join(bin, "postgres"), settings: settings, cred: cred}
	if err := s.watchdog(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "postgres", "--auth=trust",
		"--no-sync", "--encoding=UTF8", "--locale=C")
	initdb.Dir, initdb.SysProcAttr = dir, cred
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(dir))
	}
	if s.Port, err = freePort(); err != nil {
		return nil, err
	}
	return s, s.start()
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

// start runs the server and waits until it says that it accepts connections.
func (s *Server) start() error {
	args := []string{"-D", s.data(), "-k", s.Dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port)}
	for _, v := range append([]string{"fsync=on", "max_connections=200", "lc_messages=C", "log_min_messages=warning"}, s.settings...) {
		args = append(args, "-c", v)
	}
	cmd := exec.Command(s.postgres, args...)
	cmd.Dir, cmd.SysProcAttr = s.Dir, s.cred
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stderr = w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return errors.Join(err, r.Close())
	}
	s.cmd, s.log = cmd, newLogWatcher(r)
	select {
	case <-s.log.ready:
		return nil
	case <-s.log.ended:
		err = errors.New("postgres ended")
	case <-time.After(startTimeout):
		err = fmt.Errorf("postgres was not ready after %v", startTimeout)
	}
	s.Kill()
	return fmt.Errorf("%w; it said:\n%s", err, s.Log())
}

// watchdog starts a process that outlives this one by a moment: when this one is
// gone (the pipe is closed, whatever the reason) it stops the server, if there is
// one, and removes the folder.
func (s *Server) watchdog() error {
	const script = `read _
if [ -f "$0/data/postmaster.pid" ]; then
	pid=$(head -n 1 "$0/data/postmaster.pid")
	kill -QUIT "$pid"
	n=0
	while kill -0 "$pid" && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
fi
rm -rf "$0"`
	cmd := exec.Command("sh", "-c", script, s.Dir)
	attr := *s.cred
	attr.Setpgid = true // a ^C at the terminal is for the test, not for its watchdog
	cmd.SysProcAttr, cmd.Dir = &attr, "/"
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.alive = alive
	return cmd.Start()
}

// logWatcher reads a server's log; it keeps the end of it.
type logWatcher struct {
	ready chan struct{} // closed when the server accepts connections
	ended chan struct{} // closed when the log ends

	mu   sync.Mutex
	tail bytes.Buffer
}

// maxLog bounds the part of a server's log that is kept, in bytes.
const maxLog = 1 << 20

func newLogWatcher(r io.ReadCloser) *logWatcher {
	l := &logWatcher{ready: make(chan struct{}), ended: make(chan struct{})}
	go l.read(r)
	return l
}

func (l *logWatcher) read(r io.ReadCloser) {
	defer close(l.ended)
	defer r.Close()
	isReady := false
	for sc := bufio.NewScanner(r); sc.Scan(); {
		l.add(sc.Text())
		if !isReady && strings.Contains(sc.Text(), "database system is ready to accept") {
			isReady = true
			close(l.ready)
		}
	}
}

func (l *logWatcher) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tail.Len() > maxLog {
		l.tail.Reset()
	}
	l.tail.WriteString(line + "\n")
}

func (l *logWatcher) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tail.String()
}

// binaries finds the folder of PostgreSQL's programs: Debian's, newest version
// first, or where the PATH has them.
func binaries() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	if initdb, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(initdb))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no PostgreSQL found: install it (apt-get install postgresql), or set %s to a server's URL", EnvURL)
}

// unprivileged returns how to start a process as a user that PostgreSQL accepts.
func unprivileged() (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("tests run as root, and PostgreSQL needs another user: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// makeDir makes the server's folder. It is in /tmp, not in TMPDIR, because the
// other user must reach it and a Unix socket's path may have only 107 bytes.
func makeDir(attr *syscall.SysProcAttr) (string, error) {
	dir, err := os.MkdirTemp("/tmp", "pgtest")
	if err != nil || attr.Credential == nil {
		return dir, err
	}
	return dir, os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid))
}

// freePort returns a TCP port that is free at this moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
