package postgres_test

import (
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// open opens a store that closes with the test.
func open(t testing.TB, url string, o postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, o)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return open(t, pgtest.Database(t), postgres.Options{Migrate: true})
	})
}

func TestSharedStore(t *testing.T) {
	storagetest.RunShared(t, func(t *testing.T) (a, b storage.Store) {
		url := pgtest.Database(t)
		return open(t, url, postgres.Options{Migrate: true}), open(t, url, postgres.Options{Migrate: true})
	})
}
