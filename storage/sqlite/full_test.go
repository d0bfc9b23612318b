package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// A full disk refuses a batch whole, and does no lasting harm.
func TestFull(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storagetest.CreateTree(t, s)
	pages := func(n int) {
		t.Helper()
		if _, err := s.writer.conn.ExecContext(t.Context(), fmt.Sprintf("pragma max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	pages(40)
	w := storagetest.NewWriter(s)
	acked := 0
	for i := 0; ; i++ {
		err := w.Commit(t.Context(), storagetest.Leaves(fmt.Sprint(i), 50)...)
		if err == nil {
			acked++
			continue
		}
		if !errors.Is(err, storage.ErrUnavailable) || code(err) != sqlite3.SQLITE_FULL {
			t.Errorf("a full disk gave %v", err)
		}
		break
	}
	if n := len(storagetest.Check(t, s, storagetest.TreeID)); acked == 0 || n != acked*50 {
		t.Errorf("there are %d leaves after %d commits of 50", n, acked)
	}
	ready := func() error { return s.Ready(t.Context()) }
	if err := ready(); !errors.Is(err, storage.ErrUnavailable) || code(err) != sqlite3.SQLITE_FULL {
		t.Errorf("after a commit into a full disk, Ready gave %v", err)
	}
	pages(1 << 30)
	if err := w.Commit(t.Context(), storagetest.Leaf("with room again")); err != nil {
		t.Error(err)
	}
	if err := ready(); err != nil {
		t.Errorf("with room again, Ready gave %v", err)
	}
	s.free = func(string) (uint64, error) { return minFree - 1, nil }
	if err := ready(); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "free space") {
		t.Errorf("with hardly any free space, Ready gave %v", err)
	}
	s.free = freeSpace
	storagetest.Check(t, s, storagetest.TreeID)
}
