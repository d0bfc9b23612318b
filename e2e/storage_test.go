package e2e

import (
	"testing"

	"github.com/tallystick/tallystick/storage/postgres/pgtest"
)

// newStorage returns a storage for a new log, as --storage takes it.
type newStorage func(t *testing.T) string

// eachStorage runs a test with every database that Tallystick keeps entries in.
func eachStorage(t *testing.T, test func(*testing.T, newStorage)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, func(*testing.T) string { return "sqlite:" })
	})
	t.Run("postgres", func(t *testing.T) {
		test(t, func(t *testing.T) string { return pgtest.Database(t) })
	})
}
