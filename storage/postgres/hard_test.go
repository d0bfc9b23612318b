package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// A server that falls silent in the middle of sending its batch, where PostgreSQL
// has no timer, loses the lock to one that waits for it.
func TestSilentHolder(t *testing.T) {
	db := pgtest.Database(t)
	other := open(t, db, postgres.Options{Migrate: true, LockTimeout: 100 * time.Millisecond, SilenceTimeout: time.Millisecond})
	patient := open(t, db, postgres.Options{LockTimeout: time.Millisecond})
	storagetest.CreateTree(t, other)
	conn, err := pgx.Connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.PgConn().Conn().Close()
	pc := conn.PgConn()
	if _, err := pc.Exec(t.Context(), `begin; set local idle_in_transaction_session_timeout = 1000;
		select from tallystick.heads for update`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	pc.Frontend().SendParse(&pgproto3.Parse{Query: "select 1"})
	pc.Frontend().Send(&pgproto3.Flush{})
	if err := pc.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := pc.Frontend().Receive(); err != nil { // from here on it waits for more
		t.Fatalf("%v, %v", m, err)
	}
	err = storagetest.NewWriter(patient).Commit(t.Context(), storagetest.Leaf("patient"))
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("beside a holder that is silent for less than SilenceTimeout: %v", err)
	}
	if err := storagetest.NewWriter(other).Commit(t.Context(), storagetest.Leaf("other")); err != nil {
		t.Errorf("beside a silent holder: %v", err)
	}
}

// While no standby answers, a commit stays invisible, however long it takes and
// whoever waits for it.
func TestSynchronousReplication(t *testing.T) {
	srv := pgtest.Start(t)
	db := srv.Database(t)
	s := open(t, db, postgres.Options{Migrate: true, CommitTimeout: 200 * time.Millisecond})
	other := open(t, db, postgres.Options{LockTimeout: 500 * time.Millisecond, SilenceTimeout: time.Millisecond})
	storagetest.CreateTree(t, s)
	reload := func(set string) { sql(t, db, "alter system set "+set, "select pg_reload_conf()") }
	reload("synchronous_standby_names = 'nobody'")
	awaitSetting(t, db, "synchronous_standby_names", "nobody")
	if err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("a")); !errors.Is(err, storage.ErrUnknown) {
		t.Errorf("without a standby, Commit gave %v", err)
	}
	err := storagetest.NewWriter(other).Commit(t.Context(), storagetest.Leaf("a"))
	if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "lock") {
		t.Errorf("while a commit waits for a standby, another gave %v", err)
	}
	if h, err := other.Head(t.Context(), storagetest.TreeID); err != nil || h.Size != 0 {
		t.Errorf("a leaf that is on no standby is visible: %v, %v", h, err)
	}
	reload("synchronous_standby_names = ''")
	awaitSetting(t, db, "synchronous_standby_names", "")
	patient := open(t, db, postgres.Options{})
	if err := storagetest.NewWriter(patient).Commit(t.Context(), storagetest.Leaf("a")); err != nil {
		t.Errorf("with the wait over, Commit gave %v", err)
	}
	if n := len(storagetest.Check(t, patient, storagetest.TreeID)); n != 1 {
		t.Errorf("there are %d leaves", n)
	}
}

// awaitSetting waits until new sessions have a setting.
func awaitSetting(t *testing.T, db, name, value string) {
	t.Helper()
	for {
		if query(t, db, "select current_setting($1)", name) == value {
			return
		}
	}
}

// query returns the text that a query gives, on a connection of its own.
func query(t *testing.T, db, text string, args ...any) (s string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), text, args...).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLocalCommit(t *testing.T) {
	srv := pgtest.Start(t, "synchronous_commit=local")
	db := srv.Database(t)
	open(t, db, postgres.Options{Migrate: true}) // without standbys, local is all there is
	sql(t, db, "alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()")
	awaitSetting(t, db, "synchronous_standby_names", "nobody")
	refused(t, db, postgres.Options{}, storage.ErrUnsafe, "synchronous_commit is local")
}

// The database's clock is that of the moment when the head was locked, not of when
// the wait for the lock began.
func TestClock(t *testing.T) {
	db := pgtest.Database(t)
	s := open(t, db, postgres.Options{Migrate: true})
	storagetest.CreateTree(t, s)
	conn, err := pgx.Connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "begin; select from tallystick.heads for update"); err != nil {
		t.Fatal(err)
	}
	var clock time.Time
	var g errgroup.Group
	g.Go(func() error {
		return s.Commit(t.Context(), storagetest.TreeID, storage.Request{Build: func(cur storage.Current) (*storage.Batch, error) {
			clock = cur.Clock
			return nil, nil
		}})
	})
	for query(t, db, "select count(*)::text from pg_locks where not granted and locktype = 'transactionid'") == "0" {
	}
	var released time.Time
	if err := conn.QueryRow(t.Context(), "select clock_timestamp()").Scan(&released); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if clock.Before(released) {
		t.Errorf("the head was locked after %v, but the clock says %v", released, clock)
	}
}
