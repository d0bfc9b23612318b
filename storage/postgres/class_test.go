package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallystick/tallystick/storage"
)

// Only what the server says of a statement is certain.
func TestClassWrite(t *testing.T) {
	server := func(severity, code string) error {
		return fmt.Errorf("wrapped: %w", &pgconn.PgError{Severity: "whatever", SeverityUnlocalized: severity, Code: code})
	}
	for _, c := range []struct {
		err  error
		want error
	}{
		{server("ERROR", "53100"), storage.ErrUnavailable}, // disk full
		{server("ERROR", "40001"), storage.ErrUnavailable}, // serialization failure
		{server("ERROR", "57014"), storage.ErrUnavailable}, // canceled
		{server("ERROR", codeReadOnly), storage.ErrUnavailable},
		{server("ERROR", codeUniqueViolation), storage.ErrConflict},
		{server("ERROR", codeDivisionByZero), storage.ErrConflict},
		{server("ERROR", codeUndefinedTable), storage.ErrSchema},
		{server("FATAL", "57P01"), storage.ErrUnknown}, // an administrator ended the connection
		{server("FATAL", codeUniqueViolation), storage.ErrUnknown},
		{server("PANIC", "53100"), storage.ErrUnknown},
		{io.ErrUnexpectedEOF, storage.ErrUnknown},
		{context.DeadlineExceeded, storage.ErrUnknown},
		{context.Canceled, storage.ErrUnknown},
	} {
		got := classWrite(c.err)
		if !errors.Is(got, c.want) || !errors.Is(got, c.err) {
			t.Errorf("%v is classed as %v, not %v", c.err, got, c.want)
		}
		if unknown := errors.Is(got, storage.ErrUnknown); unknown != (c.want == storage.ErrUnknown) {
			t.Errorf("%v: is the outcome unknown? %v", c.err, unknown)
		}
	}
}
