package sqlite_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/sqlite"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

// open opens a store that closes with the test.
func open(t testing.TB, path string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *sqlite.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("closing the store: %v", err)
	}
}

// create makes a file with an empty tree.
func create(t testing.TB) (path string, s *sqlite.Store) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "log.db")
	s = open(t, path, sqlite.Options{Migrate: true})
	storagetest.CreateTree(t, s)
	return path, s
}

func commit(t *testing.T, s storage.Store, bodies ...string) error {
	t.Helper()
	var leaves []storage.NewLeaf
	for _, b := range bodies {
		leaves = append(leaves, storagetest.Leaf(b))
	}
	return storagetest.NewWriter(s).Commit(t.Context(), leaves...)
}

func mustCommit(t *testing.T, s storage.Store, bodies ...string) {
	t.Helper()
	if err := commit(t, s, bodies...); err != nil {
		t.Fatal(err)
	}
}

// refused opens a file that must not open.
func refused(t *testing.T, path string, o sqlite.Options, want error, text string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, o)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("opening gave %v; want %v, with %q", err, want, text)
	}
}

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return open(t, filepath.Join(t.TempDir(), "a %41?#&ü.db"), sqlite.Options{Migrate: true})
	})
}

func TestReopen(t *testing.T) {
	path, s := create(t)
	mustCommit(t, s, "a")
	closeStore(t, s)
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 2 {
		t.Errorf("closed, the store left %v", names) // the file and its lock; no WAL
	}
	s = open(t, path, sqlite.Options{})
	mustCommit(t, s, "b")
	if n := len(storagetest.Check(t, s, storagetest.TreeID)); n != 2 {
		t.Errorf("there are %d leaves", n)
	}
}

func TestOneProcess(t *testing.T) {
	path, s := create(t)
	for _, o := range []sqlite.Options{{}, {Migrate: true}} {
		refused(t, path, o, storage.ErrInUse, path+".lock")
	}
	if _, err := sqlite.Migrate(t.Context(), path); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("migrating a file in use gave %v", err)
	}
	mustCommit(t, s, "a")
	closeStore(t, s)
	mustCommit(t, open(t, path, sqlite.Options{}), "b")
}

func TestReadOnly(t *testing.T) {
	path, w := create(t)
	r := open(t, path, sqlite.Options{ReadOnly: true})
	mustCommit(t, w, "a", "b")
	for what, err := range map[string]error{
		"Commit":         commit(t, r, "c"),
		"CreateTree":     r.CreateTree(t.Context(), storage.Tree{ID: 5, API: "x", State: storage.StateActive}),
		"SaveCheckpoint": r.SaveCheckpoint(t.Context(), storagetest.TreeID, 1, []byte("c")),
		"Ready":          r.Ready(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "for reading only") {
			t.Errorf("%s gave %v", what, err)
		}
	}
	if n := len(storagetest.Check(t, r, storagetest.TreeID)); n != 2 {
		t.Errorf("there are %d leaves", n)
	}
	closeStore(t, w)
	if n := len(storagetest.Check(t, r, storagetest.TreeID)); n != 2 {
		t.Errorf("with the writer gone there are %d leaves", n)
	}
	refused(t, filepath.Join(t.TempDir(), "none.db"), sqlite.Options{ReadOnly: true}, storage.ErrUnavailable, "none.db")
}

// raw runs statements on a file.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestSchema(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	refused(t, file("none"), sqlite.Options{}, storage.ErrUnavailable, "none")
	if names, err := sqlite.Migrate(t.Context(), file("new")); err != nil || len(names) == 0 || names[0] != "0001_log" {
		t.Errorf("migrating did %v, error %v", names, err)
	}
	if names, err := sqlite.Migrate(t.Context(), file("new")); err != nil || len(names) != 0 {
		t.Errorf("migrating again did %v, error %v", names, err)
	}
	closeStore(t, open(t, file("new"), sqlite.Options{}))
	raw(t, file("new"), "insert into migrations (number, name) values (1000, 'future')")
	for _, o := range []sqlite.Options{{}, {Migrate: true}, {ReadOnly: true}} {
		refused(t, file("new"), o, storage.ErrSchema, "version 1000")
	}
	raw(t, file("foreign"), "create table leaves (mine integer)")
	refused(t, file("foreign"), sqlite.Options{Migrate: true}, storage.ErrSchema, "another program's")
	raw(t, file("marked"), "pragma application_id = 7")
	refused(t, file("marked"), sqlite.Options{Migrate: true}, storage.ErrSchema, "another program's")
	if err := os.WriteFile(file("text"), []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file("text"), sqlite.Options{Migrate: true}, storage.ErrSchema, "not a database")
	if err := os.WriteFile(file("empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file("empty"), sqlite.Options{}, storage.ErrSchema, "tallystick migrate")
	closeStore(t, open(t, file("empty"), sqlite.Options{Migrate: true}))
}

// childEnv tells the test binary, started by a test, what to do and to which file.
const childEnv = "TALLYSTICK_TEST_SQLITE_CHILD"

// child starts this test binary again to do something to a file.
func child(t *testing.T, what, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+what+":"+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// TestChild is the other process of the tests below. By itself it does nothing.
func TestChild(t *testing.T) {
	what, path, _ := strings.Cut(os.Getenv(childEnv), ":")
	switch what {
	case "commit":
		commitForEver(t, path)
	case "limit":
		commitIntoLimit(t, path)
	}
}

// commitForEver commits and prints the leaf hashes after each commit.
func commitForEver(t *testing.T, path string) {
	s := open(t, path, sqlite.Options{})
	w := storagetest.NewWriter(s)
	for i := 0; ; i++ {
		leaves := storagetest.Leaves(fmt.Sprint(os.Getpid(), " ", i), 1+i%200)
		if err := w.Commit(t.Context(), leaves...); err != nil {
			t.Fatal(err)
		}
		for _, l := range leaves {
			fmt.Println("acked", l.Hash)
		}
	}
}

// kill -9 at any moment loses nothing that was acknowledged.
func TestKilledProcess(t *testing.T) {
	path, s := create(t)
	closeStore(t, s)
	acked := map[tlog.Hash]bool{}
	for round := range 10 {
		cmd, out := child(t, "commit", path)
		for n := 0; out.Scan(); n++ {
			if n == 200*round+100 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if text, ok := strings.CutPrefix(out.Text(), "acked "); ok {
				if h, err := tlog.ParseHash(text); err == nil { // else cut off by the kill
					acked[h] = true
				}
			}
		}
		_ = cmd.Wait()
		s := open(t, path, sqlite.Options{})
		there := map[tlog.Hash]bool{}
		for _, h := range storagetest.Check(t, s, storagetest.TreeID) {
			there[h] = true
		}
		for h := range acked {
			if !there[h] {
				t.Fatalf("round %d: of %d acknowledged leaves, %v is lost", round, len(acked), h)
			}
		}
		closeStore(t, s)
	}
}

// commitIntoLimit commits until the operating system refuses to let files grow:
// a write error that is not a full disk.
func commitIntoLimit(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	limit := unix.Rlimit{Cur: 2 << 20, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, sqlite.Options{})
	w := storagetest.NewWriter(s)
	for i := 0; ; i++ {
		err := w.Commit(t.Context(), storagetest.Leaves(fmt.Sprint(i), 500)...)
		if err == nil {
			fmt.Println("acked")
			continue
		}
		if !errors.Is(err, storage.ErrUnknown) {
			t.Fatalf("a failed write gave %v", err)
		}
		break
	}
	limit.Cur = unix.RLIM_INFINITY // too late: the store does not know what it has
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Commit": commit(t, s, "more"), "Ready": s.Ready(t.Context())} {
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "restart") {
			t.Errorf("after a failed write, %s gave %v", what, err)
		}
	}
	storagetest.Check(t, s, storagetest.TreeID) // reads go on
	fmt.Println("done")
}

// After a write error at the commit the store writes no more, and the next process
// finds a whole tree.
func TestWriteError(t *testing.T) {
	path, s := create(t)
	closeStore(t, s)
	cmd, out := child(t, "limit", path)
	acked, done := 0, false
	var all strings.Builder
	for out.Scan() {
		fmt.Fprintln(&all, out.Text())
		switch out.Text() {
		case "acked":
			acked++
		case "done":
			done = true
		}
	}
	if err := cmd.Wait(); err != nil || !done || acked == 0 {
		t.Fatalf("the other process had %d commits, and ended with %v:\n%s", acked, err, &all)
	}
	n := len(storagetest.Check(t, open(t, path, sqlite.Options{}), storagetest.TreeID))
	if n != acked*500 && n != (acked+1)*500 {
		t.Errorf("there are %d leaves after %d commits of 500", n, acked)
	}
}

// BenchmarkCommit measures commits by batch size.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 16, 128, 1024} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) {
			_, s := create(b)
			w, entries := storagetest.NewWriter(s), storagetest.NewEntries(1)
			for b.Loop() {
				b.StopTimer()
				leaves := entries.Next(n)
				b.StartTimer()
				if err := w.Commit(b.Context(), leaves...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkBytesPerEntry fills a log with 100,000 entries in batches of 128 and
// reports the bytes of disk that each costs, table by table and index by index.
//
//	go test -run '^$' -bench BytesPerEntry -benchtime 1x ./storage/sqlite
func BenchmarkBytesPerEntry(b *testing.B) {
	const entries, batch = 100_000, 128
	for b.Loop() {
		path, s := create(b)
		w, source := storagetest.NewWriter(s), storagetest.NewEntries(1)
		for n := 0; n < entries; n += batch {
			if err := w.Commit(b.Context(), source.Next(min(batch, entries-n))...); err != nil {
				b.Fatal(err)
			}
		}
		closeStore(b, s)
		reportSizes(b, path, entries)
	}
}

func reportSizes(b *testing.B, path string, entries float64) {
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/entries, "total-B/entry")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("select name, sum(pgsize) from dbstat group by name")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var size float64
		if err := rows.Scan(&name, &size); err != nil {
			b.Fatal(err)
		}
		if size/entries >= 1 {
			b.ReportMetric(size/entries, name+"-B/entry")
		}
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
}
