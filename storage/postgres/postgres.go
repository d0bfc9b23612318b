// Package postgres keeps trees in a PostgreSQL database (version 13 or later; 15
// is tested). Any number of servers may share it: commits to one tree queue up on
// the row of its head, and the new head is written only over the one that the
// batch was built on.
//
// All tables are in the database schema "tallystick"; package migrations holds and
// explains them.
//
// # Synchronous replication
//
// If synchronous_standby_names is set, a commit returns when the standby has it,
// and until then nobody sees it: a store that has waited for CommitTimeout closes
// its connection without asking the server to cancel, so the transaction goes on
// waiting with the head locked, and other commits fail, until a standby answers. Two
// things are outside of this promise. If an administrator cancels or ends a backend
// that waits for a standby, or the primary restarts while one waits, PostgreSQL
// itself makes the transaction visible though it may be on no standby; its entries
// are then acknowledged and signed, and a failover before a standby has caught up
// would lose them. And synchronous_commit = remote_write, which is accepted, waits
// for the standby's operating system, not for its disk.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
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
	// servers; 0: 5 seconds. A caller's context must leave more time than that (the
	// sequencer's are of 10 seconds), or SilenceTimeout has no effect.
	LockTimeout time.Duration
	// HoldTimeout is the longest that this server may hold the lock on a head
	// without a word to the database (because it is frozen, or cut off) before the
	// database ends the connection, for the sake of the other servers; 0: 10 seconds.
	HoldTimeout time.Duration
	// SilenceTimeout is the longest that another server, cut off or frozen while it
	// sends its batch, may hold the lock that this one waits for; PostgreSQL has no
	// timer of its own there. A server whose LockTimeout has passed ends such a
	// connection and tries again; only one of its own database role, whose backend has
	// waited for its client that long. 0: twice HoldTimeout.
	SilenceTimeout time.Duration
	// CommitTimeout is the longest that the database may take to store a batch
	// before the outcome counts as unknown; 0: 30 seconds.
	CommitTimeout time.Duration
}

// defaultHold is HoldTimeout's default.
const defaultHold = 10 * time.Second

// fullTime is how long Ready reports that the last commit failed on a full disk.
// Then it lets another one try: without entries coming in, none would ever succeed.
const fullTime = time.Minute

// fullDisk is a commit that failed on a full disk.
type fullDisk struct {
	err error
	at  time.Time
}

// commitConns is the most connections for commits: one a tree works, and another
// checks readiness or saves a checkpoint.
const commitConns = 4

// Store is a storage.Store in a PostgreSQL database.
type Store struct {
	reads, commits *pgxpool.Pool
	o              Options
	full           atomic.Pointer[fullDisk] // the last commit, if it failed so
}

// Open connects to the database with that URL (or key=value string; pgx's syntax).
// The error wraps storage.ErrUnavailable, ErrSchema or ErrUnsafe.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o.LockTimeout = orDefault(o.LockTimeout, 5*time.Second)
	o.HoldTimeout = orDefault(o.HoldTimeout, defaultHold)
	o.SilenceTimeout = orDefault(o.SilenceTimeout, 2*o.HoldTimeout)
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
	c.AfterConnect = o.prepareSession
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

// prepareSession sets what every session needs.
func (o Options) prepareSession(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.PgConn().Exec(ctx, planSettings).ReadAll(); err != nil {
		return err
	}
	// A server that is cut off is noticed by the database's operating system: by
	// probes that go unanswered, or by what is not acknowledged. (Without effect on
	// Unix sockets. Set here, and not at the start of the connection, because poolers
	// refuse parameters there that they do not know.)
	hold := orDefault(o.HoldTimeout, defaultHold)
	probe := strconv.Itoa(max(int(hold/(4*time.Second)), 1)) // seconds; four of them are HoldTimeout
	_, err := conn.Exec(ctx, `select set_config('tcp_keepalives_idle', $1, false), set_config('tcp_keepalives_interval', $1, false),
		set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', $2, false)`, probe, millis(hold))
	return err
}

// planSettings guide the planner. Each query of this package is answered
// by walking an index, in the index's order, with one lookup a row for anything
// else. The planner is told so: left alone it may plan a statement while a table is
// small, or its statistics are old, to read the whole table, and keep that plan
// while the table grows by thousands of rows a second.
const planSettings = `set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off;
set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan`

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
type safety struct{ fsync, fullPageWrites, synchronousCommit, standbys string }

// safetyColumns selects what safety.scan scans.
const safetyColumns = `current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names')`

func (s *safety) fields() []any {
	return []any{&s.fsync, &s.fullPageWrites, &s.synchronousCommit, &s.standbys}
}

// check reports settings with which a committed batch could be lost.
func (s *safety) check() error {
	if s.standbys != "" && s.synchronousCommit == "local" {
		return fmt.Errorf("synchronous_commit is local, but synchronous_standby_names is %q: a failover would lose committed entries; set synchronous_commit to on, or synchronous_standby_names to '': %w",
			s.standbys, storage.ErrUnsafe)
	}
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
	if full := s.full.Load(); full != nil && time.Since(full.at) < fullTime {
		return fmt.Errorf("the last commit failed: %w", full.err)
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
