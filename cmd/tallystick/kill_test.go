package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/tlog"
)

// envTorture is how many kills TestKill does in all instead of the default.
const envTorture = "TALLYSTICK_TORTURE"

const defaultKills = 36

// Servers, PostgreSQL, or both are killed at random moments under load. Every entry
// that was acknowledged is there afterwards, at its index, under every later
// checkpoint; every checkpoint that anybody ever saw is part of one history; no
// entry is in twice; and check finds nothing.
func TestKill(t *testing.T) {
	kills := defaultKills
	if v := os.Getenv(envTorture); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil {
			t.Fatalf("%s: %v", envTorture, err)
		}
	}
	binary := buildBinary(t)
	t.Run("sqlite", func(t *testing.T) {
		f := newField(t, binary, 1, "")
		f.torture((kills+2)/3, func() { f.servers[0].kill() })
	})
	t.Run("postgres", func(t *testing.T) {
		pg := pgtest.Start(t)
		f := newField(t, binary, 1, pg.Database(t))
		f.torture((kills+1)/3, func() {
			n := f.rnd.IntN(3)
			if n != 0 {
				pg.Kill()
			}
			if n != 1 {
				f.servers[0].kill()
			}
			if n != 0 {
				pg.Restart()
			}
		})
	})
	t.Run("two servers", func(t *testing.T) {
		pg := pgtest.Start(t)
		f := newField(t, binary, 2, pg.Database(t))
		f.torture(kills/3, func() {
			switch f.rnd.IntN(3) {
			case 0:
				pg.Kill()
				pg.Restart()
			case 1:
				f.servers[0].kill()
			default:
				f.servers[1].kill()
			}
		})
	})
}

func buildBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tallystick")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return path
}

// field is a log under torture, with everything that its clients were told.
type field struct {
	t       *testing.T
	rnd     *rand.Rand
	servers []*process
	pool    [][]byte // proposals, each of another artifact

	mu          sync.Mutex
	next        int
	acked       map[int]answer // by number of the proposal
	checkpoints map[string]bool
}

// answer is what a log says of an entry.
type answer struct {
	ID             string
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		InclusionProof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
		} `json:"inclusionProof"`
		SignedEntryTimestamp string `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

func newField(t *testing.T, binary string, servers int, database string) *field {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	f := &field{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), acked: map[int]answer{}, checkpoints: map[string]bool{}}
	f.pool = proposals(t, 20000)
	key := ""
	for i := range servers {
		dir := t.TempDir()
		args := []string{"serve", "--data-dir", dir, "--public-url", "http://log.example", "--shutdown-timeout", "20s"}
		if database != "" {
			args = append(args, "--storage", database)
		}
		if i > 0 {
			args = append(args, "--key", key)
		}
		p := &process{t: t, binary: binary, args: args, dir: dir, addr: freeAddr(t)}
		p.start()
		t.Cleanup(p.kill)
		f.servers = append(f.servers, p)
		key = filepath.Join(dir, "log.key")
	}
	return f
}

// torture lets clients write while hurt is called again and again.
func (f *field) torture(kills int, hurt func()) {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for w := range 8 {
		clients.Go(func() { f.client(f.servers[w%len(f.servers)], stop) })
	}
	for range kills {
		time.Sleep(time.Duration(20+f.rnd.IntN(300)) * time.Millisecond) // the random moment
		hurt()
		for _, p := range f.servers {
			p.ensure()
		}
	}
	close(stop)
	clients.Wait()
	f.audit()
}

// client writes entries, one after another, each until it is acknowledged.
func (f *field) client(p *process, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		f.mu.Lock()
		n := f.next % len(f.pool)
		f.next++
		f.mu.Unlock()
		deadline := time.Now().Add(90 * time.Second)
		for {
			a, err := p.add(f.pool[n])
			if err == nil {
				f.mu.Lock()
				if old, ok := f.acked[n]; ok && old.LogIndex != a.LogIndex {
					f.t.Errorf("entry %d is at %d and at %d", n, old.LogIndex, a.LogIndex)
				}
				f.acked[n] = a
				f.checkpoints[a.Verification.InclusionProof.Checkpoint] = true
				f.mu.Unlock()
				break
			}
			if time.Now().After(deadline) {
				f.t.Errorf("entry %d was never acknowledged: %v", n, err)
				return
			}
			time.Sleep(5 * time.Millisecond) // a client's pause before it tries again
		}
	}
}

// audit holds everything that was ever said against what there is.
func (f *field) audit() {
	t, p := f.t, f.servers[0]
	t.Helper()
	verifier := p.verifier()
	final := p.checkpoint()
	head, err := tlog.OpenCheckpoint([]byte(final), originOf(final), verifier)
	if err != nil {
		t.Fatal(err)
	}
	distinct := min(f.next, len(f.pool))
	if len(f.acked) != distinct || head.Size != int64(distinct) {
		t.Errorf("%d entries were sent, %d acknowledged, and the log has %d", distinct, len(f.acked), head.Size)
	}
	for n, told := range f.acked {
		now := p.get(told.LogIndex)
		if now.ID != told.ID || now.Body != told.Body || now.IntegratedTime != told.IntegratedTime {
			t.Fatalf("entry %d was acknowledged as %s at %d; there is %s now", n, told.ID, told.LogIndex, now.ID)
		}
		proveIncluded(t, told, verifier)
		proveIncluded(t, now, verifier)
	}
	for text := range f.checkpoints {
		c, err := tlog.OpenCheckpoint([]byte(text), originOf(text), verifier)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.VerifyConsistency(c.Head, head.Head, p.consistency(c.Size, head.Size)); err != nil {
			t.Fatalf("a checkpoint of size %d is not part of the history: %v", c.Size, err)
		}
	}
	t.Logf("%d entries, %d checkpoints seen", len(f.acked), len(f.checkpoints))
	for _, p := range f.servers {
		p.stop()
		args := append([]string{"check"}, p.args[1:]...)
		out, err := exec.Command(p.binary, withoutServeFlags(args)...).CombinedOutput()
		if err != nil {
			t.Errorf("check: %v\n%s", err, out)
		}
	}
}

// withoutServeFlags drops the flags that check does not know.
func withoutServeFlags(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--public-url" || args[i] == "--shutdown-timeout" {
			i++
			continue
		}
		out = append(out, args[i])
	}
	return out
}

func originOf(checkpoint string) string {
	origin, _, _ := strings.Cut(checkpoint, "\n")
	return origin
}

func proveIncluded(t *testing.T, a answer, v note.Verifier) {
	t.Helper()
	proof := a.Verification.InclusionProof
	c, err := tlog.OpenCheckpoint([]byte(proof.Checkpoint), originOf(proof.Checkpoint), v)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := base64.StdEncoding.DecodeString(a.Body)
	var path []tlog.Hash
	for _, h := range proof.Hashes {
		hash, err := tlog.ParseHash(h)
		if err != nil {
			t.Fatal(err)
		}
		path = append(path, hash)
	}
	if err := tlog.VerifyInclusion(tlog.LeafHash(body), proof.LogIndex, c.Head, path); err != nil {
		t.Fatalf("entry at %d: %v", a.LogIndex, err)
	}
	if a.Verification.SignedEntryTimestamp == "" {
		t.Fatalf("entry at %d has no signed entry timestamp", a.LogIndex)
	}
}

// process is one server as an operator runs it.
type process struct {
	t      *testing.T
	binary string
	args   []string
	dir    string
	addr   string

	cmd    *exec.Cmd // nil while it is down; only the test's own goroutine touches it
	exited chan struct{}
	log    *output
}

func (p *process) url(path string) string { return "http://" + p.addr + path }

// launch starts the server and does not wait for it.
func (p *process) launch() {
	p.t.Helper()
	p.log = new(output)
	p.cmd = exec.Command(p.binary, append(p.args, "--listen", p.addr)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func(c *exec.Cmd) { c.Wait(); close(exited) }(p.cmd)
	p.exited = exited
}

// start starts the server and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	p.launch()
	p.awaitReady()
}

func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		<-p.exited
		p.cmd = nil
	}
}

// stop ends the server as an operator does.
func (p *process) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(os.Interrupt)
	<-p.exited
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("the server ended with exit code %d:\n%s", code, p.log.String())
	}
	p.cmd = nil
}

// ensure starts the server if it was killed, and waits until it is ready.
func (p *process) ensure() {
	p.t.Helper()
	if p.cmd == nil {
		p.launch()
	}
	p.awaitReady()
}

func (p *process) awaitReady() {
	p.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := http.Get(p.url("/readyz"))
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.exited:
			p.t.Fatalf("the server ended:\n%s", p.log.String())
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server is not ready:\n%s", p.log.String())
		}
	}
}

// output is what a server prints, up to a bound.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b[:min(len(b), max(0, 1<<16-len(o.text)))]...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fetch returns the body of an answer with the wanted status.
func (p *process) fetch(method, path string, body []byte, status int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, p.url(path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != status {
		err = fmt.Errorf("%s %s: %s: %s", method, path, a.Status, data)
	}
	return data, err
}

func (p *process) must(path string) []byte {
	p.t.Helper()
	data, err := p.fetch("GET", path, nil, 200)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

func (p *process) add(proposal []byte) (answer, error) {
	data, err := p.fetch("POST", "/api/v1/log/entries", proposal, 201)
	if err != nil {
		if strings.Contains(err.Error(), ": 4") || strings.Contains(err.Error(), "500 Internal") {
			p.t.Errorf("not an answer for a failure: %v", err)
		}
		return answer{}, err
	}
	return parseAnswer(data)
}

func (p *process) get(index int64) answer {
	p.t.Helper()
	a, err := parseAnswer(p.must(fmt.Sprint("/api/v1/log/entries?logIndex=", index)))
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func parseAnswer(data []byte) (answer, error) {
	var m map[string]answer
	if err := json.Unmarshal(data, &m); err != nil || len(m) != 1 {
		return answer{}, fmt.Errorf("%d entries in the answer, %v", len(m), err)
	}
	for id, a := range m {
		a.ID = id
		return a, nil
	}
	panic("not reached")
}

func (p *process) checkpoint() string {
	p.t.Helper()
	var info struct{ SignedTreeHead string }
	if err := json.Unmarshal(p.must("/api/v1/log"), &info); err != nil {
		p.t.Fatal(err)
	}
	return info.SignedTreeHead
}

func (p *process) consistency(first, last int64) []tlog.Hash {
	p.t.Helper()
	var proof struct{ Hashes []string }
	if err := json.Unmarshal(p.must(fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d", first, last)), &proof); err != nil {
		p.t.Fatal(err)
	}
	var path []tlog.Hash
	for _, h := range proof.Hashes {
		hash, err := tlog.ParseHash(h)
		if err != nil {
			p.t.Fatal(err)
		}
		path = append(path, hash)
	}
	return path
}

func (p *process) verifier() note.Verifier {
	p.t.Helper()
	block, _ := pem.Decode(p.must("/api/v1/log/publicKey"))
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	return tlog.NewECDSAVerifier("log.example", block.Bytes, key.(*ecdsa.PublicKey))
}

// proposals returns n signed entries, of one key.
func proposals(t *testing.T, n int) [][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	out := make([][]byte, n)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < n; i += 4 {
				digest := sha256.Sum256(fmt.Append(nil, "artifact ", i))
				signature, err := ecdsa.SignASN1(crand.Reader, key, digest[:])
				if err != nil {
					t.Error(err)
				}
				out[i] = fmt.Appendf(nil, `{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},`+
					`"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`, digest,
					base64.StdEncoding.EncodeToString(signature), base64.StdEncoding.EncodeToString(public))
			}
		})
	}
	wg.Wait()
	return out
}
