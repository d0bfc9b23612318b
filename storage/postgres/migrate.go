package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/migrations"
	"github.com/tallystick/tallystick/storage"
)

// migrationLock is the key of the advisory lock under which migrations run: the
// letters "tally".
const migrationLock = 0x74616c6c79

// migrate applies the migrations that the database lacks and returns their names.
// Whoever comes second waits for the first, and finds nothing left to do.
func migrate(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	all, err := migrations.Postgres()
	if err != nil {
		return nil, err
	}
	// Whatever the default is: each statement must see what the one before us did.
	readCommitted := pgx.TxOptions{IsoLevel: pgx.ReadCommitted}
	var done []string
	for {
		var name string
		err := pgx.BeginTxFunc(ctx, pool, readCommitted, func(tx pgx.Tx) (err error) {
			name, err = migrateOnce(ctx, tx, all)
			return err
		})
		if err != nil {
			return done, class(fmt.Errorf("migrating the database: %w", err))
		}
		if name == "" {
			return done, nil
		}
		done = append(done, name)
	}
}

// migrateOnce applies the next migration, if there is one, and returns its name.
func migrateOnce(ctx context.Context, tx pgx.Tx, all []migrations.Migration) (string, error) {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return "", err
	}
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
	if applied == 0 {
		if err := createSchema(ctx, tx); err != nil {
			return "", err
		}
	}
	m := pending[0]
	name := fmt.Sprintf("%04d_%s", m.Number, m.Name)
	if _, err := tx.Conn().PgConn().Exec(ctx, m.SQL).ReadAll(); err != nil {
		return "", fmt.Errorf("migration %s: %w", name, err)
	}
	_, err = tx.Exec(ctx, "insert into tallystick.migrations (number, name) values ($1, $2)", m.Number, m.Name)
	return name, err
}

// createSchema makes the schema, unless an administrator did (who may not want to
// let this user do it), and the table that records migrations.
func createSchema(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	err := tx.QueryRow(ctx, "select exists (select from pg_namespace where nspname = 'tallystick')").Scan(&exists)
	if err != nil {
		return err
	}
	if !exists {
		if _, err := tx.Exec(ctx, "create schema tallystick"); err != nil {
			return fmt.Errorf("creating the schema tallystick (an administrator can do it instead: create schema tallystick authorization <user>): %w", err)
		}
	}
	_, err = tx.Exec(ctx, `create table if not exists tallystick.migrations (
		number  integer primary key,
		name    text not null,
		applied timestamptz not null default now())`)
	return err
}

// querier is a pool, connection or transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// version returns the number of the newest migration that was applied; 0 for none.
func version(ctx context.Context, q querier) (n int, err error) {
	var recorded, tables bool
	err = q.QueryRow(ctx, `select to_regclass('tallystick.migrations') is not null,
		exists (select from pg_tables where schemaname = 'tallystick')`).Scan(&recorded, &tables)
	switch {
	case err != nil:
		return 0, err
	case !recorded && tables:
		return 0, fmt.Errorf("the schema tallystick has tables, but not those of this program: %w", storage.ErrSchema)
	case !recorded:
		return 0, nil
	}
	err = q.QueryRow(ctx, "select coalesce(max(number), 0) from tallystick.migrations").Scan(&n)
	return n, err
}

// checkSchema reports whether the schema is the one this program works with.
func checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	all, err := migrations.Postgres()
	if err != nil {
		return err
	}
	applied, err := version(ctx, pool)
	if err != nil {
		return class(fmt.Errorf("reading the schema's version: %w", err))
	}
	pending, err := migrations.Pending(all, applied)
	if err == nil && len(pending) > 0 {
		err = errors.New("run `tallystick migrate` first")
	}
	if err != nil {
		return fmt.Errorf("the database's schema is version %d of %d: %w: %w", applied, len(all), storage.ErrSchema, err)
	}
	return nil
}
