package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// sql runs statements on a connection of its own.
func sql(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// refused opens a store that must not open.
func refused(t *testing.T, url string, o postgres.Options, want error, text string) {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, o)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("opening gave %v; want %v, with %q", err, want, text)
	}
}

func TestUnsafeSettings(t *testing.T) {
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			srv := pgtest.Start(t, setting+"=off")
			refused(t, srv.Database(t), postgres.Options{Migrate: true}, storage.ErrUnsafe, "alter system set "+setting+" = on")
		})
	}
}

// A setting that becomes unsafe later stops commits, and readiness.
func TestUnsafeLater(t *testing.T) {
	srv := pgtest.Start(t)
	url := srv.Database(t)
	s := open(t, url, postgres.Options{Migrate: true})
	storagetest.CreateTree(t, s)
	sql(t, url, "alter role postgres set synchronous_commit = off")
	srv.Kill()
	srv.Restart()
	err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("a"))
	if !errors.Is(err, storage.ErrUnsafe) {
		t.Errorf("committing gave %v", err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, storage.ErrUnsafe) {
		t.Errorf("Ready gave %v", err)
	}
	if n := len(storagetest.Check(t, s, storagetest.TreeID)); n != 0 {
		t.Errorf("there are %d leaves", n)
	}
}

// A standby is good for reading only. A server that becomes one stops taking commits
// and answering for the head.
func TestStandby(t *testing.T) {
	srv := pgtest.Start(t)
	url := srv.Database(t)
	before := open(t, url, postgres.Options{Migrate: true})
	storagetest.CreateTree(t, before)
	if err := storagetest.NewWriter(before).Commit(t.Context(), storagetest.Leaf("a")); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	if err := os.WriteFile(filepath.Join(srv.Dir, "data", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	srv.Restart()
	refused(t, url, postgres.Options{Migrate: true}, storage.ErrUnsafe, "standby")
	for what, err := range map[string]error{
		"Ready":  before.Ready(t.Context()),
		"Commit": storagetest.NewWriter(before).Commit(t.Context(), storagetest.Leaf("b")),
		"Head":   func() error { _, err := before.Head(t.Context(), storagetest.TreeID); return err }(),
	} {
		if !errors.Is(err, storage.ErrUnsafe) {
			t.Errorf("%s on a server that became a standby gave %v", what, err)
		}
	}
	reader := open(t, url, postgres.Options{ReadOnly: true})
	if n := len(storagetest.Check(t, reader, storagetest.TreeID)); n != 1 {
		t.Errorf("on the standby there are %d leaves", n)
	}
}

func TestReadOnly(t *testing.T) {
	url := pgtest.Database(t)
	refused(t, url, postgres.Options{ReadOnly: true, Migrate: true}, storage.ErrSchema, "tallystick migrate")
	w := open(t, url, postgres.Options{Migrate: true})
	storagetest.CreateTree(t, w)
	r := open(t, url, postgres.Options{ReadOnly: true})
	for what, err := range map[string]error{
		"Commit":         storagetest.NewWriter(r).Commit(t.Context(), storagetest.Leaf("a")),
		"CreateTree":     r.CreateTree(t.Context(), storage.Tree{ID: 5, API: "x", State: storage.StateActive}),
		"SaveCheckpoint": r.SaveCheckpoint(t.Context(), storagetest.TreeID, 1, []byte("c")),
		"Ready":          r.Ready(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "for reading only") {
			t.Errorf("%s gave %v", what, err)
		}
	}
	if err := storagetest.NewWriter(w).Commit(t.Context(), storagetest.Leaf("a")); err != nil {
		t.Fatal(err)
	}
	if n := len(storagetest.Check(t, r, storagetest.TreeID)); n != 1 {
		t.Errorf("there are %d leaves", n)
	}
}

func TestUnreachable(t *testing.T) {
	refused(t, "postgres://127.0.0.1:1/x?connect_timeout=5", postgres.Options{}, storage.ErrUnavailable, "127.0.0.1")
	_, err := postgres.Open(t.Context(), "postgres://user:secret@host:port/x", postgres.Options{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("opening a malformed URL gave %v", err)
	}
}

// Servers that start at the same moment on an empty database, whose transactions
// would see nothing of each other by default.
func TestMigrateConcurrently(t *testing.T) {
	url := pgtest.Database(t) + "&default_transaction_isolation=repeatable%20read"
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			s, err := postgres.Open(t.Context(), url, postgres.Options{Migrate: true})
			if err != nil {
				return err
			}
			return s.Close()
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if names, err := postgres.Migrate(t.Context(), url); err != nil || len(names) != 0 {
		t.Errorf("after that, migrating did %v, error %v", names, err)
	}
}

func TestSchema(t *testing.T) {
	url := pgtest.Database(t)
	refused(t, url, postgres.Options{}, storage.ErrSchema, "tallystick migrate")
	sql(t, url, "create table leaves (mine integer)", "create table migrations (number text)") // another program's, in another schema
	names, err := postgres.Migrate(t.Context(), url)
	if err != nil || len(names) == 0 || names[0] != "0001_log" {
		t.Errorf("migrating did %v, error %v", names, err)
	}
	open(t, url, postgres.Options{})
	sql(t, url, "insert into tallystick.migrations (number, name) values (1000, 'future')")
	for _, o := range []postgres.Options{{}, {Migrate: true}, {ReadOnly: true}} {
		refused(t, url, o, storage.ErrSchema, "version 1000")
	}
	if _, err := postgres.Migrate(t.Context(), url); !errors.Is(err, storage.ErrSchema) {
		t.Errorf("migrating a newer schema gave %v", err)
	}
	foreign := pgtest.Database(t)
	sql(t, foreign, "create schema tallystick", "create table tallystick.theirs (x integer)")
	refused(t, foreign, postgres.Options{Migrate: true}, storage.ErrSchema, "not those of this program")
}

// A user who may not create schemas can use one that an administrator made.
func TestUnprivilegedUser(t *testing.T) {
	base := pgtest.Database(t)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	role := strings.TrimPrefix(u.Path, "/")
	sql(t, base, "create role "+role+" login")
	t.Cleanup(func() { sql(t, base, "drop owned by "+role, "drop role "+role) })
	q := u.Query()
	q.Set("user", role)
	u.RawQuery, u.User = q.Encode(), nil
	refused(t, u.String(), postgres.Options{Migrate: true}, storage.ErrUnavailable, "create schema tallystick authorization")
	sql(t, base, "create schema tallystick authorization "+role)
	s := open(t, u.String(), postgres.Options{Migrate: true})
	storagetest.CreateTree(t, s)
	if err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("a")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
