package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/sqlite"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// copyFile copies a file.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// killed makes what a killed process leaves: a file and a write-ahead log.
func killed(t *testing.T) (path string) {
	t.Helper()
	from, s := create(t)
	mustCommit(t, s, "a", "b")
	path = filepath.Join(t.TempDir(), "log.db")
	copyFile(t, from, path)
	copyFile(t, from+"-wal", path+"-wal")
	return path
}

// What a process left in the write-ahead log, perhaps without fsync, is made durable
// before the next one acts on it.
func TestSettle(t *testing.T) {
	path := killed(t)
	s := open(t, path, sqlite.Options{})
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() != 0 {
		t.Errorf("the store works on a write-ahead log of %v bytes, error %v", info.Size(), err)
	}
	if n := len(storagetest.Check(t, s, storagetest.TreeID)); n != 2 {
		t.Errorf("there are %d leaves", n)
	}
}

// If that is impossible, because another program reads, the store does not open.
func TestSettleBusy(t *testing.T) {
	path := killed(t)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow("select count(*) from leaves").Scan(&n); err != nil || n != 2 {
		t.Fatalf("another program reads %d leaves, error %v", n, err)
	}
	s := open(t, path, sqlite.Options{BusyTimeout: time.Millisecond})
	if head, err := s.Head(t.Context(), storagetest.TreeID); err != nil || head.Size != 2 {
		t.Errorf("head %+v, %v", head, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// A file that is not there any more, or is another one, is not written to, and the
// server is not ready.
func TestFileSwapped(t *testing.T) {
	move := func(t *testing.T, from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		swap func(t *testing.T, path string)
		text string
	}{
		"removed": {func(t *testing.T, path string) { move(t, path, path+".away") }, "log.db was removed"},
		"replaced": {func(t *testing.T, path string) {
			copyFile(t, path, path+".new")
			move(t, path, path+".away")
			move(t, path+".new", path)
		}, "log.db was replaced"},
		"WAL removed": {func(t *testing.T, path string) { move(t, path+"-wal", path+".away") }, "log.db-wal was removed"},
	} {
		t.Run(name, func(t *testing.T) {
			path, s := create(t)
			mustCommit(t, s, "a")
			c.swap(t, path)
			ready := s.Ready(t.Context())
			for what, err := range map[string]error{"Commit": commit(t, s, "b"), "Ready": ready} {
				if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s gave %v; want %q", what, err, c.text)
				}
			}
			if name != "WAL removed" {
				move(t, path+".away", path)
			}
			if err := commit(t, s, "b"); err == nil {
				t.Error("with the file back, the store wrote again")
			}
		})
	}
}

// A file swapped in the middle of a commit is noticed before the commit is
// acknowledged.
func TestFileSwappedDuringCommit(t *testing.T) {
	path, s := create(t)
	w := storagetest.NewWriter(s)
	w.BeforeBatch = func(*storage.Batch) {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
	}
	err := w.Commit(t.Context(), storagetest.Leaf("a"))
	if !errors.Is(err, storage.ErrUnknown) || errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "log.db was removed") {
		t.Errorf("Commit gave %v", err)
	}
}

// A file may be named by a symbolic link.
func TestSymlink(t *testing.T) {
	path := killed(t)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	s := open(t, link, sqlite.Options{})
	mustCommit(t, s, "c")
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestModes: only the owner reads what a log keeps.
func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.sqlite")
	s, err := sqlite.Open(context.Background(), path, sqlite.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storagetest.CreateTree(t, s)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", info.Name(), info.Mode())
		}
	}
}
