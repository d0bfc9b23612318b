package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata run the real program. Besides testscript's own commands
// they have:
//
//	start NAME [args…]       runs "tallystick serve" on a free port, waits for its
//	                         greeting, and sets $NAME_URL, $NAME_ADDRESS (its host and
//	                         port) and $NAME_TREE
//	[!] quit NAME [SIGNAL]   sends TERM or the named signal, and waits for the end;
//	                         its output is then in NAME.out and NAME.err
//	waiterr NAME REGEXP      waits until a line of its standard error matches
//	[!] get URL [CA FILE]    prints what a GET answers; fails unless that is 200
//	exits CODE args…         runs "tallystick args…", which ends with that exit code
//	mode PERMISSIONS FILE    compares a file's permissions, octal
//	certificate NAME HOST    makes NAME.crt and NAME.key for a host, self-signed
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:      "testdata",
		Deadline: time.Now().Add(deadline), // of programs that should have refused to run
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "quit": quit, "waiterr": waitErr, "get": get, "mode": mode, "exits": exits, "certificate": makeCertificate,
		},
		Setup: func(env *testscript.Env) error {
			env.Values[serversKey{}] = map[string]*running{}
			return nil
		},
		RequireExplicitExec: true,
	})
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tallystick": main, "without-sockets": withoutSockets})
}

// running is a server under test. Its output is read line by line by one goroutine
// a stream, which ends when the program does.
type running struct {
	cmd      *exec.Cmd
	out, err *lines
}

// lines collects what a program prints.
type lines struct {
	text bytes.Buffer // to be read after done is closed
	next chan string  // every line; closed at the end
	done chan struct{}
}

func collect(r io.Reader) *lines {
	l := &lines{next: make(chan string, 4096), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		defer close(l.next)
		s := bufio.NewScanner(r)
		for s.Scan() {
			fmt.Fprintln(&l.text, s.Text())
			l.next <- s.Text()
		}
	}()
	return l
}

// wait returns the first match in the lines that were not looked at yet.
func (l *lines) wait(re *regexp.Regexp) []string {
	for line := range l.next {
		if m := re.FindStringSubmatch(line); m != nil {
			return m
		}
	}
	return nil
}

// deadline ends a server that hangs, so that a test fails and does not stay.
const deadline = 2 * time.Minute

func start(ts *testscript.TestScript, neg bool, args []string) {
	name := args[0]
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	cmd := exec.CommandContext(ctx, "tallystick", append([]string{"serve", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	path, err := exec.LookPath("tallystick") // put on the PATH by testscript.Main
	ts.Check(err)
	cmd.Path, cmd.Err = path, nil
	cmd.Dir = ts.Getenv("WORK")
	for _, kv := range []string{"PATH", "HOME", "TMPDIR", "TALLYSTICK_KEY_PASSWORD", "TALLYSTICK_PUBLIC_URL"} {
		if v := ts.Getenv(kv); v != "" {
			cmd.Env = append(cmd.Env, kv+"="+v)
		}
	}
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	s := &running{cmd, collect(stdout), collect(stderr)}
	ts.Defer(func() { cancel(); s.end() })
	servers(ts)[name] = s
	found := map[string]string{}
	for _, what := range []string{"URL", "Tree ID"} {
		m := s.out.wait(regexp.MustCompile(`^  ` + what + ` +(\S+)$`))
		if m == nil {
			<-s.err.done
			ts.Fatalf("%s ended without its greeting: %s", name, s.err.text.String())
		}
		found[what] = m[1]
	}
	ts.Setenv(name+"_URL", found["URL"])
	_, address, _ := strings.Cut(found["URL"], "://")
	ts.Setenv(name+"_ADDRESS", address)
	ts.Setenv(name+"_TREE", found["Tree ID"])
}

// end waits for the program and its output.
func (s *running) end() error {
	for range s.out.next {
	}
	for range s.err.next {
	}
	return s.cmd.Wait()
}

type serversKey struct{}

// servers returns the running servers of a script.
func servers(ts *testscript.TestScript) map[string]*running {
	m, ok := ts.Value(serversKey{}).(map[string]*running)
	if !ok {
		ts.Fatalf("no servers")
	}
	return m
}

func quit(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	sig := syscall.SIGTERM
	if len(args) > 1 {
		sig = signals[args[1]]
	}
	s := servers(ts)[args[0]]
	delete(servers(ts), args[0])
	ts.Check(s.cmd.Process.Signal(sig))
	err := s.end()
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".out"), s.out.text.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".err"), s.err.text.Bytes(), 0o600))
	if neg != (err != nil) {
		ts.Fatalf("%s ended with: %v\n%s", args[0], err, s.err.text.String())
	}
}

func waitErr(ts *testscript.TestScript, neg bool, args []string) {
	if servers(ts)[args[0]].err.wait(regexp.MustCompile(args[1])) == nil {
		ts.Fatalf("%s ended and never said %q", args[0], args[1])
	}
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	client := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	if len(args) > 1 {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(ts.ReadFile(args[1])))
		client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	resp, err := client.Get(args[0])
	if err == nil {
		var body []byte
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Fprintf(ts.Stdout(), "%s", body)
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", resp.Status)
		}
	}
	if neg != (err != nil) {
		ts.Fatalf("GET %s: %v", args[0], err)
	}
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	code := 0
	if err := ts.Exec("tallystick", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().Perm(); got != os.FileMode(want) {
		ts.Fatalf("%s has mode %o, not %o", args[1], got, want)
	}
}

func makeCertificate(ts *testscript.TestScript, neg bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: args[0]},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(args[1]); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{args[1]}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	write := func(ext, kind string, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+ext), text, 0o600))
	}
	write(".crt", "CERTIFICATE", der)
	write(".key", "PRIVATE KEY", private)
}
