// Package postgres keeps trees in a PostgreSQL database (version 13 or later; 15
// is tested). Any number of servers may share it: commits to one tree queue up on
// the row of its head, and the new head is written only over the one that the
// batch was built on.
//
// All tables are in the database schema "tallystick"; package migrations holds and
// explains them.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/storage"
)

// Options say how a database is used. The zero value is right for a server whose
// schema is up to date.
type Options struct {
	// Migrate brings the schema up to date at Open. Several servers may do that at
	// once. Without it, Open fails if the schema is behind.
	Migrate bool
	// ReadOnly refuses every write, and lets the database be a standby.
	ReadOnly bool
	// MaxConns is the most connections for reads. 0: what the URL's pool_max_conns
	// says, else 4 or the number of CPUs, whichever is more. Commits and checks of
	// readiness have up to four more of their own, so that slow searches cannot hold them up.
	MaxConns int32
	// LockTimeout is the longest that a commit waits for the commits of other
	// servers; 0: 10 seconds.
	LockTimeout time.Duration
	// HoldTimeout is the longest that this server may hold the lock on a head
	// without a word to the database (because it is frozen, or cut off) before the
	// database ends the connection, for the sake of the other servers; 0: 10 seconds.
	HoldTimeout time.Duration
	// CommitTimeout is the longest that the database may take to store a batch
	// before the outcome counts as unknown; 0: 30 seconds.
	CommitTimeout time.Duration
}

// commitConns is the most connections for commits: one a tree works, and another
// checks readiness or saves a checkpoint.
const commitConns = 4

// Store is a storage.Store in a PostgreSQL database.
type Store struct {
	reads, commits *pgxpool.Pool
	o              Options
}

// Open connects to the database with that URL (or key=value string; pgx's syntax).
// The error wraps storage.ErrUnavailable, ErrSchema or ErrUnsafe.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o.LockTimeout = orDefault(o.LockTimeout, 10*time.Second)
	o.HoldTimeout = orDefault(o.HoldTimeout, 10*time.Second)
	o.CommitTimeout = orDefault(o.CommitTimeout, 30*time.Second)
	s := &Store{o: o}
	var err error
	if s.reads, err = newPool(ctx, url, o, o.MaxConns); err != nil {
		return nil, err
	}
	if s.commits, err = newPool(ctx, url, o, commitConns); err != nil {
		s.reads.Close()
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Migrate brings the schema of the database up to date, and returns the names of
// the migrations that it applied. Open's errors apply.
func Migrate(ctx context.Context, url string) ([]string, error) {
	pool, err := newPool(ctx, url, Options{}, 1)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	return migrate(ctx, pool)
}

func newPool(ctx context.Context, url string, o Options, conns int32) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("reading the database's URL: %w", err) // pgx leaves the password out
	}
	if conns > 0 {
		c.MaxConns = conns
		c.MinConns = min(c.MinConns, conns)
		c.MinIdleConns = min(c.MinIdleConns, conns)
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "tallystick"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	if c.ConnConfig.ValidateConnect == nil && !o.ReadOnly {
		c.ConnConfig.ValidateConnect = refuseStandby
	}
	c.AfterConnect = fixPlans
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return pool, nil
}

// errStandby says that a server is not the one to write to.
var errStandby = errors.New("the database server is a standby, which cannot be written to and lags behind: give the URL of the primary, or of all servers (postgres://a,b/…), of which the primary is chosen")

// refuseStandby makes a new connection fail if it is to a standby; of several
// hosts in a URL, the next one is then tried. So reads never see an old head, and
// the pool finds the new primary after a failover.
func refuseStandby(ctx context.Context, conn *pgconn.PgConn) error {
	res, err := conn.Exec(ctx, "select pg_is_in_recovery()").ReadAll()
	if err != nil {
		return err
	}
	if len(res) == 1 && len(res[0].Rows) == 1 && string(res[0].Rows[0][0]) == "t" {
		return errStandby
	}
	return nil
}

// fixPlans sets what every session needs. Each query of this package is answered
// by walking an index, in the index's order, with one lookup a row for anything
// else. The planner is told so: left alone it may plan a statement while a table is
// small, or its statistics are old, to read the whole table, and keep that plan
// while the table grows by thousands of rows a second.
func fixPlans(ctx context.Context, conn *pgx.Conn) error {
	const settings = `set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off;
set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan`
	_, err := conn.PgConn().Exec(ctx, settings).ReadAll()
	return err
}

// prepare checks the server's settings and the schema.
func (s *Store) prepare(ctx context.Context) error {
	if s.o.ReadOnly {
		return checkSchema(ctx, s.reads)
	}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	if s.o.Migrate {
		_, err := migrate(ctx, s.commits)
		return err
	}
	return checkSchema(ctx, s.commits)
}

// safety holds the settings on which durability rests.
type safety struct{ fsync, fullPageWrites, synchronousCommit string }

// safetyColumns selects what safety.scan scans.
const safetyColumns = `current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')`

func (s *safety) fields() []any { return []any{&s.fsync, &s.fullPageWrites, &s.synchronousCommit} }

// check reports settings with which a committed batch could be lost.
func (s *safety) check() error {
	const mend = "set it to on (alter system set %s = on; select pg_reload_conf()), and look for an override by database, role or connection: %w"
	switch "off" {
	case s.fsync:
		return fmt.Errorf("the database server's fsync is off: a crash would lose committed entries; "+mend, "fsync", storage.ErrUnsafe)
	case s.fullPageWrites:
		return fmt.Errorf("the database server's full_page_writes is off: a crash could damage committed entries; "+mend, "full_page_writes", storage.ErrUnsafe)
	case s.synchronousCommit:
		return fmt.Errorf("synchronous_commit is off: a crash would lose committed entries; "+mend, "synchronous_commit", storage.ErrUnsafe)
	}
	return nil
}

// Ready implements storage.Store.
func (s *Store) Ready(ctx context.Context) error {
	if s.o.ReadOnly {
		return errReadOnly
	}
	var set safety
	var standby bool
	var readOnly string
	err := retry(ctx, s.commits, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "select pg_is_in_recovery(), current_setting('transaction_read_only'), "+safetyColumns).
			Scan(append([]any{&standby, &readOnly}, set.fields()...)...)
	})
	switch {
	case err != nil:
		return fmt.Errorf("asking the database whether it is ready: %w", err)
	case standby:
		return fmt.Errorf("%w: %w", errStandby, storage.ErrUnsafe)
	case readOnly == "on":
		return fmt.Errorf("the database allows no writes (default_transaction_read_only is on): %w", storage.ErrUnavailable)
	}
	return set.check()
}

// Close implements storage.Store.
func (s *Store) Close() error {
	s.reads.Close()
	s.commits.Close()
	return nil
}

// Stats returns the state of the two connection pools, for metrics.
func (s *Store) Stats() (reads, commits *pgxpool.Stat) { return s.reads.Stat(), s.commits.Stat() }
