// Package sqlite keeps trees in an SQLite file, without cgo. It serves one process
// at a time: another one that opens the file for writing is turned away. Reading
// (Options.ReadOnly) is possible beside it.
//
// The file is in WAL mode with synchronous=FULL: a commit is on stable storage when
// it returns. There is one connection that writes, and several that read, which
// neither wait for it nor hold it up.
//
// At Open for writing, what the last process left in the write-ahead log is moved
// into the file, and synced, before anything is read from it. Before and after each
// commit, and in Ready, the file and its log must still be those that were opened;
// if one was removed or replaced, nothing more is written until the server is
// restarted. (Reads go on, from the files that were opened; the lock file is not
// watched.)
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tallystick/tallystick/migrations"
	"github.com/tallystick/tallystick/storage"
)

// Options say how a file is used. The zero value is right for a server whose
// schema is up to date.
type Options struct {
	// Migrate brings the schema up to date at Open, and makes the file if it is not
	// there. Without it, Open fails if the schema is behind.
	Migrate bool
	// ReadOnly refuses every write. The file must be there; another process may be
	// writing to it.
	ReadOnly bool
	// MaxConns is the most connections for reads; 0: 4, or the number of CPUs if that
	// is more.
	MaxConns int
	// BusyTimeout is the longest to wait for another program that has locked the file
	// (a backup tool, say); 0: 10 seconds.
	BusyTimeout time.Duration
}

// Caches of one connection, in KiB. The operating system caches the file too, so
// these save a system call a page. A batch that changes more pages than the writer's
// holds (about 500 leaves) costs some more, and works. A reader drops its cache
// whenever it finds that the writer has committed, so a large one would be wasted.
const (
	writeCache = 6 << 10
	readCache  = 1 << 10
)

// applicationID marks the file as ours (PRAGMA application_id): "Taly".
const applicationID = 0x54616c79

// Store is a storage.Store in an SQLite file.
type Store struct {
	o    Options
	lock *os.File // nil if read-only
	file file     // zero if read-only

	reads *sql.DB
	find  readStatements

	writes *sql.DB       // nil if read-only; has one connection
	token  chan struct{} // who puts something in may use writer
	writer *writer
	broken atomic.Pointer[error]            // why no write is possible until the file is opened again
	full   atomic.Pointer[fullDisk]         // the last commit, if it failed so
	free   func(dir string) (uint64, error) // freeSpace, but in tests

	life   sync.RWMutex // held for reading by every call; Close waits for them
	closed bool
}

// Open opens the file with that path. The error wraps storage.ErrUnavailable,
// ErrSchema or ErrInUse.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.MaxConns <= 0 {
		o.MaxConns = max(4, runtime.NumCPU())
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 10 * time.Second
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, token: make(chan struct{}, 1), free: freeSpace}
	if err := s.open(ctx, path); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, class(ctx, err)), s.Close())
	}
	return s, nil
}

// Migrate brings the file's schema up to date, makes it if it is not there, and
// returns the names of the migrations that it applied. Open's errors apply.
func Migrate(ctx context.Context, path string) (applied []string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s := &Store{o: Options{Migrate: true, MaxConns: 1, BusyTimeout: 10 * time.Second}}
	applied, err = s.openWriter(ctx, path)
	if err != nil {
		err = fmt.Errorf("migrating %s: %w", path, class(ctx, err))
	}
	return applied, errors.Join(err, s.Close())
}

func (s *Store) open(ctx context.Context, path string) (err error) {
	if !s.o.ReadOnly {
		if _, err := s.openWriter(ctx, path); err != nil {
			return err
		}
		if s.writer, err = prepareWriter(ctx, s.writes); err != nil {
			return err
		}
	}
	if s.reads, err = connect(path, "ro", s.o, readCache, s.o.MaxConns); err != nil {
		return err
	}
	if s.o.ReadOnly {
		if err := checkSchema(ctx, s.reads); err != nil {
			return err
		}
	}
	s.find, err = prepareReads(ctx, s.reads)
	return err
}

// openWriter locks the file and brings it into shape.
func (s *Store) openWriter(ctx context.Context, path string) (applied []string, err error) {
	if s.lock, err = lock(path + ".lock"); err != nil {
		return nil, err
	}
	if s.o.Migrate {
		if err := create(path); err != nil {
			return nil, err
		}
	}
	if s.writes, err = connect(path, "rw", s.o, writeCache, 1); err != nil {
		return nil, err
	}
	if s.o.Migrate {
		if applied, err = migrate(ctx, s.writes); err != nil {
			return applied, err
		}
	}
	if err := checkSchema(ctx, s.writes); err != nil {
		return applied, err
	}
	var journal string
	if err := s.writes.QueryRowContext(ctx, "pragma journal_mode = wal").Scan(&journal); err != nil {
		return applied, err
	}
	if journal != "wal" {
		return applied, fmt.Errorf("journal_mode is %q, not wal: does the file system support it? %w", journal, storage.ErrUnsafe)
	}
	if err := settle(ctx, s.writes, path); err != nil {
		return applied, err
	}
	s.file, err = statFile(path)
	return applied, err
}

// settle makes durable what is in the file, before anything in it is signed. A
// process that died between the last write of a commit and its fsync has left a
// commit that this process sees, in the operating system's cache, but a power cut
// would take away. So the write-ahead log is moved into the file, with fsync.
func settle(ctx context.Context, db *sql.DB, path string) error {
	var busy, frames, moved int
	if err := db.QueryRowContext(ctx, "pragma wal_checkpoint(truncate)").Scan(&busy, &frames, &moved); err != nil {
		return fmt.Errorf("moving the write-ahead log into the file: %w", err)
	}
	if busy != 0 && moved < frames {
		// Another program is reading, a backup say. What cannot be moved is made durable
		// where it is. (SQLite's locks are on other files, so closing this one frees none.)
		real, err := filepath.EvalSymlinks(path) // SQLite keeps the log beside the real file
		if err == nil {
			err = syncFile(real + "-wal")
		}
		if err != nil {
			return fmt.Errorf("making the write-ahead log durable: %w", err)
		}
	}
	dir, err := os.Open(filepath.Dir(path)) // a new file's name must last, too
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lock takes the lock that keeps other processes away. It is a file of its own,
// because closing any handle of the database file would free SQLite's locks.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s is locked (%w): stop the other process first", storage.ErrInUse, path, err), f.Close())
	}
	return f, nil
}

// connect returns a pool of conns connections. It does not touch the file yet.
func connect(path, mode string, o Options, cache, conns int) (*sql.DB, error) {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", o.BusyTimeout.Milliseconds()),
		"synchronous(full)",
		"fullfsync(on)", // macOS: through the disk's cache, too
		fmt.Sprintf("cache_size(-%d)", cache),
		"temp_store(memory)",
		"journal_size_limit(67108864)",
		"trusted_schema(off)",
	}}
	slashed := filepath.ToSlash(path)
	if slashed[0] != '/' {
		slashed = "/" + slashed
	}
	c, err := driver.NewConnector((&url.URL{Scheme: "file", Path: slashed, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// migrate applies the migrations that the file lacks and returns their names.
func migrate(ctx context.Context, db *sql.DB) (names []string, err error) {
	all, err := migrations.SQLite()
	if err != nil {
		return nil, err
	}
	for {
		name, err := migrateOnce(ctx, db, all)
		if err != nil || name == "" {
			return names, err
		}
		names = append(names, name)
	}
}

// migrateOnce applies the next migration, if there is one, and returns its name.
func migrateOnce(ctx context.Context, db *sql.DB, all []migrations.Migration) (string, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback()
	applied, err := version(ctx, tx)
	if err != nil {
		return "", err
	}
	pending, err := migrations.Pending(all, applied)
	if err != nil {
		return "", fmt.Errorf("%w: %w", storage.ErrSchema, err)
	}
	if len(pending) == 0 {
		return "", nil
	}
	m := pending[0]
	name := fmt.Sprintf("%04d_%s", m.Number, m.Name)
	for _, sql := range []string{
		fmt.Sprintf("pragma application_id = %d", applicationID),
		"create table if not exists migrations (number integer primary key, name text not null, applied text not null default current_timestamp) strict",
		m.SQL,
	} {
		if _, err := tx.ExecContext(ctx, sql); err != nil {
			return "", fmt.Errorf("migration %s: %w", name, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "insert into migrations (number, name) values (?, ?)", m.Number, m.Name); err != nil {
		return "", err
	}
	return name, tx.Commit()
}

// querier is a pool or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// version returns the number of the newest migration that was applied; 0 for an
// empty file. A file of another program is refused.
func version(ctx context.Context, q querier) (n int, err error) {
	var id, tables int
	err = errors.Join(
		q.QueryRowContext(ctx, "pragma application_id").Scan(&id),
		q.QueryRowContext(ctx, "select count(*) from sqlite_master").Scan(&tables))
	switch {
	case err != nil:
		return 0, err
	case id == applicationID:
		err = q.QueryRowContext(ctx, "select coalesce(max(number), 0) from migrations").Scan(&n)
		return n, err
	case id != 0 || tables > 0:
		return 0, fmt.Errorf("the file is another program's database (application_id is %#x, not %#x): %w", id, applicationID, storage.ErrSchema)
	}
	return 0, nil
}

// checkSchema reports whether the schema is the one this program works with.
func checkSchema(ctx context.Context, db *sql.DB) error {
	all, err := migrations.SQLite()
	if err != nil {
		return err
	}
	applied, err := version(ctx, db)
	if err != nil {
		return err
	}
	pending, err := migrations.Pending(all, applied)
	if err == nil && len(pending) > 0 {
		err = errors.New("run `tallystick migrate` first")
	}
	if err != nil {
		return fmt.Errorf("the file's schema is version %d of %d: %w: %w", applied, len(all), storage.ErrSchema, err)
	}
	return nil
}

// Ready implements storage.Store.
func (s *Store) Ready(ctx context.Context) error {
	return s.call(ctx, "checking readiness", func() error {
		if s.o.ReadOnly {
			return errReadOnly
		}
		if err := s.intact(); err != nil {
			return err
		}
		if err := s.room(); err != nil {
			return err
		}
		var one int
		return s.reads.QueryRowContext(ctx, "select 1 from migrations limit 1").Scan(&one)
	})
}

// Close implements storage.Store.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.reads != nil {
		errs = append(errs, s.reads.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.writes != nil {
		errs = append(errs, s.writes.Close()) // the last connection moves the WAL into the file
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Stats returns the state of the connections that read, for metrics.
func (s *Store) Stats() sql.DBStats { return s.reads.Stats() }

var errReadOnly = errors.New("the store is open for reading only")

// call runs a method's work while the store is open; its error is classed and
// says what was tried.
func (s *Store) call(ctx context.Context, what string, do func() error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed {
		return fmt.Errorf("%s: the store is closed: %w", what, storage.ErrUnavailable)
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, class(ctx, err))
	}
	return nil
}

// classes lists the errors that are classed already.
func classes() []error {
	return []error{storage.ErrUnknown, storage.ErrUnavailable, storage.ErrConflict, storage.ErrNotFound, storage.ErrExists,
		storage.ErrSchema, storage.ErrUnsafe, storage.ErrInUse, errReadOnly, context.Canceled, context.DeadlineExceeded}
}

// class wraps an error of a call that had no effect in the one of package storage
// that fits. One of that package, or of the caller's context, stays as it is.
func class(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	for _, c := range classes() {
		if errors.Is(err, c) {
			return err
		}
	}
	if errors.Is(err, sql.ErrNoRows) {
		return storage.ErrNotFound
	}
	known := storage.ErrUnavailable
	switch code(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		known = storage.ErrConflict
	case sqlite3.SQLITE_NOTADB:
		known = storage.ErrSchema
	case sqlite3.SQLITE_INTERRUPT:
		if ctx.Err() != nil {
			known = ctx.Err()
		}
	}
	return fmt.Errorf("%w: %w", known, err)
}

// code returns SQLite's extended result code, or 0.
func code(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
