package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tallystick/tallystick/storage"
)

// file is the database's file and its write-ahead log, as they were opened.
type file struct {
	path, walPath string
	main, wal     fs.FileInfo
}

// statFile looks at the file of that path, which SQLite must have open.
func statFile(path string) (file, error) {
	real, err := filepath.EvalSymlinks(path) // SQLite keeps the log beside the real file
	if err != nil {
		return file{}, err
	}
	f := file{path: path, walPath: real + "-wal"}
	var errWAL error
	f.main, err = os.Stat(f.path)
	f.wal, errWAL = os.Stat(f.walPath)
	return f, errors.Join(err, errWAL)
}

// errMoved: what is written would not be found under the file's name.
var errMoved = errors.New("the file is not the one that was opened")

// check reports whether another file, or none, has come to have one of the names:
// errMoved, or that this cannot be told now.
func (f *file) check() error {
	for _, p := range []struct {
		path string
		was  fs.FileInfo
	}{{f.path, f.main}, {f.walPath, f.wal}} {
		now, err := os.Stat(p.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s was removed or renamed while it was in use", errMoved, p.path)
		case err != nil:
			return fmt.Errorf("%w: looking at %s: %w", storage.ErrUnavailable, p.path, err)
		case !os.SameFile(now, p.was):
			return fmt.Errorf("%w: %s was replaced by another file while it was in use", errMoved, p.path)
		}
	}
	return nil
}

// intact reports why the store may not write any more. Files that were removed or
// replaced can still be written to, but nobody would find there what was committed:
// so the store is done with writing for good, even if the files come back.
func (s *Store) intact() error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	err := s.file.check()
	if errors.Is(err, errMoved) {
		s.breakDown(err)
		return *s.broken.Load()
	}
	if err != nil {
		return err
	}
	return nil
}

// minFree is the free space, in bytes, below which the store is not ready: the
// write-ahead log of a few large batches.
const minFree = 16 << 20

// fullTime is how long Ready reports that the last commit failed for lack of space
// although there seems to be some (because of a quota, say). Then it lets another
// one try: without entries coming in, none would ever succeed.
const fullTime = time.Minute

// fullDisk is a commit that failed for lack of space.
type fullDisk struct {
	err error
	at  time.Time
}

// noteFull remembers that a commit failed, if it was for lack of space.
func (s *Store) noteFull(err error) {
	if code(err)&0xff == sqlite3.SQLITE_FULL {
		s.full.Store(&fullDisk{err, time.Now()})
	}
}

// room reports that there is no space to write.
func (s *Store) room() error {
	if full := s.full.Load(); full != nil && time.Since(full.at) < fullTime {
		return fmt.Errorf("the last commit failed: %w", full.err)
	}
	dir := filepath.Dir(s.file.walPath)
	free, err := s.free(dir)
	if err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	if free < minFree {
		return fmt.Errorf("%s has %d bytes of free space, less than %d: %w", dir, free, minFree, storage.ErrUnavailable)
	}
	return nil
}

// create makes the file if it is not there, for its owner only: what SQLite puts
// beside it gets the same mode.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
