package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/keys"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
)

// serveInMemory runs a server and returns its URL, and what ends it.
func serveInMemory(t *testing.T, args ...string) (url string, end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	p := program{Stdout: w, Stderr: io.Discard}
	done := make(chan int, 1)
	go func() {
		defer w.Close()
		done <- p.Run(ctx, append([]string{"serve", "--storage=memory:", "--listen=127.0.0.1:0", "--data-dir", t.TempDir()}, args...))
	}()
	lines := bufio.NewScanner(r)
	for url == "" && lines.Scan() {
		if u, ok := strings.CutPrefix(lines.Text(), "  URL "); ok {
			url = strings.TrimSpace(u)
		}
	}
	go io.Copy(io.Discard, r)
	return url, func() int {
		cancel()
		return <-done
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", url, resp.Status, err, body)
	}
	return string(body)
}

// Two servers live in one process, and leave nothing behind.
func TestTwoServersInOneProcess(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	first, endFirst := serveInMemory(t)
	second, endSecond := serveInMemory(t)
	if a, b := fetch(t, first+"/api/v1/log"), fetch(t, second+"/api/v1/log"); a == b {
		t.Errorf("both servers have the log %s", a)
	}
	if a, b := endFirst(), endSecond(); a != exitOK || b != exitOK {
		t.Errorf("exit codes %d and %d", a, b)
	}
}

// Every metric that the alert rules and the dashboard speak of is one that a server, an admission server or a monitor has, before
// anything happened.
func TestAlertRules(t *testing.T) {
	url, end := serveInMemory(t)
	defer end()
	fetch(t, url+"/ping")
	a := startAdmit(t, admitPolicy(t, &imageRegistry{host: "127.0.0.1:1"}, []byte(foreignP256)))
	m := startMonitor(t, url)
	metrics := fetch(t, url+"/metrics") + fetch(t, "http://"+a.private+"/metrics") + fetch(t, m.metrics)
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(readFile(t, filepath.Join("..", "..", "deploy", "alerts.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	seen := 0
	check := func(what, expr string) {
		for _, name := range regexp.MustCompile(`\b(tallystick|rekor)_[a-z_]+`).FindAllString(expr, -1) {
			seen++
			if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(metrics) {
				t.Errorf("%s: there is no metric %s", what, name)
			}
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			check(r.Alert, r.Expr)
		}
	}
	var board struct {
		Templating struct {
			List []struct{ Name, Query string }
		}
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(readFile(t, filepath.Join("..", "..", "deploy", "grafana", "tallystick.json")), &board); err != nil {
		t.Fatal(err)
	}
	places := map[int]bool{}
	for _, v := range board.Templating.List {
		check("variable "+v.Name, v.Query)
	}
	for _, p := range board.Panels {
		if places[p.ID] {
			t.Errorf("two panels have the ID %d", p.ID)
		}
		places[p.ID] = true
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
	if seen < 40 {
		t.Errorf("only %d metrics were found", seen)
	}
}

// A request under way when the server is asked to stop is answered; a later one is
// not taken.
func TestGracefulStop(t *testing.T) {
	e, p := testEndpoints(t, time.Minute)
	entered, release := make(chan struct{}), make(chan struct{})
	e.add(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "done")
	}), nil)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- e.serve(ctx) }()
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + p.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	cancel()
	for { // until the listener is closed
		c, err := net.Dial("tcp", p.Addr().String())
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			c.Close()
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request under way: %v", err)
	default:
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A request that does not end is cut off at the shutdown timeout, and that is said.
func TestStopTimeout(t *testing.T) {
	e, p := testEndpoints(t, time.Millisecond)
	entered := make(chan struct{})
	e.add(p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}), nil)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- e.serve(ctx) }()
	go http.Get("http://" + p.Addr().String())
	<-entered
	cancel()
	if err := <-stopped; err == nil || !strings.Contains(err.Error(), "still under way") {
		t.Errorf("error is %v", err)
	}
}

// A listener that fails ends the server.
func TestServeEndsWithListener(t *testing.T) {
	e, p := testEndpoints(t, time.Second)
	e.add(p, http.NotFoundHandler(), nil)
	p.Close()
	if err := e.serve(t.Context()); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("error is %v", err)
	}
}

func testEndpoints(t *testing.T, shutdown time.Duration) (*endpoints, endpoint) {
	t.Helper()
	e := &endpoints{settings: &serveSettings{ShutdownTimeout: shutdown}, logger: slog.New(slog.DiscardHandler)}
	p, err := e.listen("--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return e, p
}

func TestHealthcheck(t *testing.T) {
	url, end := serveInMemory(t)
	if code, out, errs := run(t, nil, "healthcheck", "--url", url+"/"); code != exitOK || out != "ready\n" {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	end()
	if code, _, _ := run(t, nil, "healthcheck", "--url", url); code != exitFailure {
		t.Errorf("exit code %d for a server that is gone", code)
	}
	if code, _, _ := run(t, nil, "healthcheck", "--url", "::"); code != exitUsage {
		t.Errorf("exit code %d for a URL that is none", code)
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"/a/b.pub": "/a/b.pub", "/a b/it's": `'/a b/it'\''s'`} {
		if got := shellWord(in); got != want {
			t.Errorf("%s is quoted as %s, not %s", in, got, want)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for text, want := range map[string]string{"s": "s", "s\n": "s", "s\r\n": "s", "s\n\n": "s\n", " s ": " s "} {
		got, err := readSecret(write(t, text))
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q gives %q (%v), not %q", text, got, err, want)
		}
	}
}

// Servers that start at once on one empty PostgreSQL make one log between them. One
// that has another key is refused, and no key is left where it does not belong.
func TestServersStartTogether(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared.key")
	if _, err := keys.Generate(shared); err != nil {
		t.Fatal(err)
	}
	database := pgtest.Database(t)
	urls := make([]string, 3)
	ends := make([]func() int, 3)
	var all sync.WaitGroup
	for i := range urls {
		all.Go(func() {
			urls[i], ends[i] = serveInMemory(t, "--storage", database, "--key", shared, "--public-url", "http://log.example", "--listen=127.0.0.1:0")
		})
	}
	all.Wait()
	// A fourth one, with no key, comes too late.
	dir := t.TempDir()
	code, _, errs := run(t, nil, "serve", "--storage", database, "--data-dir", dir, "--listen=127.0.0.1:0")
	if code != exitFailure || !strings.Contains(errs, "the key of the log is gone") {
		t.Errorf("a server without the key: exit code %d, %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "log.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made (%v)", err)
	}
	for _, end := range ends {
		if code := end(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}
	code, out, errs := run(t, nil, "check", "--storage", database, "--key", shared, "--data-dir", dir)
	if code != exitOK || strings.Count(out, "is in order") != 1 {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
}

// A mark that was lost leaves the log without protection until the next one, and
// that is said where an operator looks: in the greeting and in the log.
func TestLostMark(t *testing.T) {
	f := newField(t, buildBinary(t), 1, "")
	p := f.servers[0]
	for i := range 3 {
		if _, err := p.add(f.pool[i]); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()
	mark := filepath.Join(p.dir, "log.mark")
	if err := os.Remove(mark); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.stop()
	for _, want := range []string{
		"  WARNING     there was no high-water mark " + mark + "; from now on it protects from size 3\n",
		"level=WARN msg=\"there was no high-water mark:",
	} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("not said: %s\n%s", want, p.log.String())
		}
	}
	p.start()
	p.stop()
	if strings.Contains(p.log.String(), "no high-water mark") {
		t.Errorf("said of a mark that is there:\n%s", p.log.String())
	}
}

// A health check with the settings of a server asks that server.
func TestHealthcheckURL(t *testing.T) {
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{nil, "http://127.0.0.1:3000"},
		{[]string{"TALLYSTICK_LISTEN=0.0.0.0:3001"}, "http://127.0.0.1:3001"},
		{[]string{"TALLYSTICK_LISTEN=:3001", "TALLYSTICK_TLS_CERT=c.pem"}, "https://127.0.0.1:3001"},
		{[]string{"TALLYSTICK_LISTEN=[::]:3001"}, "http://[::1]:3001"},
		{[]string{"TALLYSTICK_LISTEN=10.1.2.3:3001", "TALLYSTICK_TLS_CERT=c.pem"}, "https://10.1.2.3:3001"},
	} {
		src := &sources{env: environment(c.flags)}
		var cmds commands
		parser, err := (&program{Stdout: io.Discard, Stderr: io.Discard}).parser(&cmds, src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse([]string{"healthcheck"}); err != nil {
			t.Fatal(err)
		}
		if got, err := cmds.Healthcheck.url(); got != c.want || err != nil {
			t.Errorf("%q: %s (%v), not %s", c.flags, got, err, c.want)
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "127.0.0.1"} {
		if code, _, errs := run(t, map[string]string{"TALLYSTICK_LISTEN": listen}, "healthcheck"); code != exitUsage || !strings.Contains(errs, "--listen") {
			t.Errorf("%s: exit code %d, %s", listen, code, errs)
		}
	}
}

// The image says nothing on the command line that would come before a variable.
func TestImageListensWhereItsVariableSays(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nENV TALLYSTICK_LISTEN=0.0.0.0:3000\n", "\nCMD [\"serve\"]\n"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the Dockerfile has no line %q", want)
		}
	}
}

func TestBuildVersion(t *testing.T) {
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "abc"}
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3":               {Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{revision}},
		"commit abc":           {Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{revision}},
		"commit abc, modified": {Settings: []debug.BuildSetting{revision, {Key: "vcs.modified", Value: "true"}}},
		"devel":                {Main: debug.Module{Version: "(devel)"}},
	} {
		if got := buildVersion(&info); got != want {
			t.Errorf("%+v is version %q, not %q", info, got, want)
		}
	}
}

// The operator's GOGC is not touched.
func TestTuneGC(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, c := range []struct {
		env  map[string]string
		want int
	}{{map[string]string{"GOGC": "70"}, 70}, {nil, gcPercent}} {
		debug.SetGCPercent(70)
		tuneGC(c.env)
		if got := debug.SetGCPercent(70); got != c.want {
			t.Errorf("with %v the collector is at %d, not %d", c.env, got, c.want)
		}
	}
}
