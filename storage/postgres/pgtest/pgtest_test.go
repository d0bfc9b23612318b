package pgtest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/storage/postgres/pgtest"
)

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var s string
	if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDatabase(t *testing.T) {
	a, b := pgtest.Database(t), pgtest.Database(t)
	if a == b {
		t.Fatalf("two databases have one URL, %s", a)
	}
	if got := query(t, a, "show fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
	if got := query(t, b, "select count(*)::text from pg_tables where schemaname = 'public'"); got != "0" {
		t.Errorf("a fresh database has %s tables", got)
	}
}

func TestKillAndRestart(t *testing.T) {
	srv := pgtest.Start(t, "work_mem=5MB")
	url := srv.Database(t)
	query(t, url, "with x as (select 1) select set_config('a.b', 'c', false)")
	srv.Kill()
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Fatal("a killed server accepts connections")
	}
	srv.Restart()
	if got := query(t, url, "show work_mem"); got != "5MB" {
		t.Errorf("work_mem is %s", got)
	}
	if !strings.Contains(srv.Log(), "not properly shut down") {
		t.Errorf("the server did not recover; it said:\n%s", srv.Log())
	}
	srv.Stop()
	srv.Restart()
	query(t, url, "select 'up'")
	if strings.Contains(srv.Log(), "not properly shut down") {
		t.Error("an orderly stop was none")
	}
}
