package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/tlog"
)

// An old copy of the database is put in place of the new one. The server signs
// nothing, answers reads with the checkpoint that the copy holds, refuses writes,
// and says what to do; with the newest copy back it goes on.
func TestRestore(t *testing.T) {
	binary := buildBinary(t)
	t.Run("sqlite", func(t *testing.T) {
		f := newField(t, binary, 1, "")
		p := f.servers[0]
		database := filepath.Join(p.dir, "log.sqlite")
		testRestore(t, f, func(old string) func() {
			// The database is a file and its write-ahead log; a stopped server has only the file.
			copyFile(t, database, old)
			return func() { copyFile(t, old, database) }
		})
	})
	t.Run("postgres", func(t *testing.T) {
		url := pgtest.Database(t)
		f := newField(t, binary, 1, url)
		n := 0
		testRestore(t, f, func(string) func() {
			n++
			copied := fmt.Sprintf("%s_copy%d", databaseName(t, url), n)
			execSQL(t, url, "create database "+copied+" template "+databaseName(t, url))
			t.Cleanup(func() { execSQL(t, url, "drop database if exists "+copied) })
			return func() {
				execSQL(t, url, "drop database "+databaseName(t, url))
				execSQL(t, url, "create database "+databaseName(t, url)+" template "+copied)
			}
		})
	})
}

// testRestore drives the scene; backup copies the database of a stopped server and
// returns how to put the copy back.
func testRestore(t *testing.T, f *field, backup func(to string) (restore func())) {
	p := f.servers[0]
	add := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if _, err := p.add(f.pool[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, 5)
	p.stop()
	restoreOld := backup(filepath.Join(t.TempDir(), "old"))
	p.start()
	add(5, 9)
	p.stop()
	restoreNew := backup(filepath.Join(t.TempDir(), "new"))
	restoreOld()

	p.startUnready()
	if _, err := p.add(f.pool[20]); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a write was answered %v", err)
	}
	verifier := p.verifier()
	var info struct {
		SignedTreeHead string
		TreeSize       int64
	}
	if err := json.Unmarshal(p.must("/api/v1/log"), &info); err != nil || info.TreeSize != 5 {
		t.Errorf("log info %+v, %v", info, err)
	}
	if _, err := tlog.OpenCheckpoint([]byte(info.SignedTreeHead), originOf(info.SignedTreeHead), verifier); err != nil {
		t.Error(err)
	}
	a := p.get(3)
	if a.Verification.SignedEntryTimestamp != "" {
		t.Error("an entry timestamp was signed")
	}
	a.Verification.SignedEntryTimestamp = "none" // proveIncluded wants one
	proveIncluded(t, a, verifier)
	if data, err := p.fetch("POST", "/api/v1/index/retrieve", []byte(`{"hash":"sha256:`+strings.Repeat("0", 64)+`"}`), 200); err != nil || strings.TrimSpace(string(data)) != "[]" {
		t.Errorf("search: %s, %v", data, err)
	}
	for !strings.Contains(p.log.String(), "takes no entries") && !strings.Contains(p.log.String(), "is ready") {
		time.Sleep(time.Millisecond) // until the server has greeted
	}
	if strings.Contains(p.log.String(), "is ready") {
		t.Errorf("a halted server says that it is ready:\n%s", p.log.String())
	}
	if !strings.Contains(p.log.String(), "restored from an older copy") || !strings.Contains(p.log.String(), "restore the newest copy") {
		t.Errorf("the server does not say what to do:\n%s", p.log.String())
	}
	p.stop()

	restoreNew()
	p.start()
	add(9, 12)
	if head := p.checkpoint(); !strings.Contains(head, "\n12\n") {
		t.Errorf("checkpoint %q", head)
	}
}

// startUnready starts a server that will not get ready.
func (p *process) startUnready() {
	p.t.Helper()
	p.launch()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := http.Get(p.url("/readyz"))
		if err == nil {
			r.Body.Close()
			if r.StatusCode != http.StatusServiceUnavailable {
				p.t.Fatalf("/readyz says %s", r.Status)
			}
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server does not listen:\n%s", p.log.String())
		}
	}
}

// Clients that give up after ten milliseconds cost patient ones nothing, and what
// they sent is in the log once, or found by a retry.
func TestImpatient(t *testing.T) {
	f := newField(t, buildBinary(t), 1, pgtest.Database(t))
	p := f.servers[0]
	stop := make(chan struct{})
	var impatient, patient sync.WaitGroup
	for w := range 4 {
		impatient.Go(func() {
			client := &http.Client{Timeout: 10 * time.Millisecond}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				r, err := client.Post(p.url("/api/v1/log/entries"), "application/json", strings.NewReader(string(f.pool[10000+w*1000+i%20])))
				if err == nil {
					r.Body.Close()
				}
			}
		})
	}
	for w := range 20 {
		patient.Go(func() {
			for i := range 30 {
				a, err := p.add(f.pool[w*30+i])
				if err != nil {
					t.Errorf("patient client: %v", err)
					return
				}
				f.mu.Lock()
				f.acked[w*30+i] = a
				f.checkpoints[a.Verification.InclusionProof.Checkpoint] = true
				f.mu.Unlock()
			}
		})
	}
	patient.Wait()
	close(stop)
	impatient.Wait()
	for w := range 4 {
		for i := range 20 {
			a, err := p.add(f.pool[10000+w*1000+i])
			if err != nil {
				t.Fatal(err)
			}
			f.acked[10000+w*1000+i] = a
		}
	}
	f.next = len(f.acked)
	f.audit()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(from + suffix); err == nil {
			t.Fatalf("%s%s is there after the server stopped", from, suffix)
		}
		os.Remove(to + suffix)
	}
}

func databaseName(t *testing.T, url string) string {
	t.Helper()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return c.Database
}

// execSQL runs a statement in the maintenance database.
func execSQL(t *testing.T, url, sql string) {
	t.Helper()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c.Database = "postgres"
	conn, err := pgx.ConnectConfig(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}
