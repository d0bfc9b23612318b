package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/storage"
)

var errReadOnly = errors.New("the store is open for reading only")

// SQLSTATE codes that mean something to us (PostgreSQL manual, appendix A).
const (
	codeUniqueViolation = "23505"
	codeDivisionByZero  = "22012" // the guard on the head (see guardSQL)
	codeReadOnly        = "25006"
	codeUndefinedTable  = "42P01"
	codeLockTimeout     = "55P03"
	codeDiskFull        = "53100"
)

// retry runs do, which must have no effect on the database, with a connection. It
// runs it again if the connection turns out to be dead, as all idle ones do after
// the server was restarted. What it returns is classed.
func retry(ctx context.Context, pool *pgxpool.Pool, do func(*pgxpool.Conn) error) error {
	for left := pool.Config().MaxConns; ; left-- {
		dead, err := once(ctx, pool, do)
		if err == nil {
			return nil
		}
		if !dead || left == 0 || ctx.Err() != nil {
			return class(err)
		}
	}
}

// once runs do with a connection, and reports whether that was dead.
func once(ctx context.Context, pool *pgxpool.Pool, do func(*pgxpool.Conn) error) (dead bool, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	err = do(conn)
	return conn.Conn().IsClosed(), err
}

// class wraps an error of a call that had no effect in the one of package storage
// that fits. An error of that package, or of the caller's context, stays as it is.
func class(err error) error {
	var known error
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, errStandby):
		known = storage.ErrUnsafe
	case code(err) == codeUniqueViolation, code(err) == codeDivisionByZero:
		known = storage.ErrConflict
	case code(err) == codeUndefinedTable:
		known = storage.ErrSchema
	default:
		known = storage.ErrUnavailable
	}
	for _, e := range []error{storage.ErrNotFound, storage.ErrUnsafe, storage.ErrSchema} {
		if errors.Is(err, e) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", known, err)
}

// classWrite is class for an error of statements that end a transaction. Only if
// the server says that a statement failed (severity ERROR) is it certain that
// nothing was written. After anything else — no answer, or the server ending the
// connection (FATAL), which it can do between the commit and its answer — the
// outcome is unknown.
func classWrite(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.SeverityUnlocalized == "ERROR" || pgconn.SafeToRetry(err) {
		return class(err)
	}
	return fmt.Errorf("%w: %w", storage.ErrUnknown, err)
}

// code returns the SQLSTATE of an error from the server, or "".
func code(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
