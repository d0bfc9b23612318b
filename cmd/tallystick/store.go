package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/sqlite"
)

// Back ends that --storage can name.
const (
	backendSQLite   = "sqlite"
	backendPostgres = "postgres"
	backendMemory   = "memory"
)

// place is where a log is kept, read from --storage.
type place struct {
	backend string
	address string // a path for SQLite, a URL for PostgreSQL; may hold a password
}

// String names the place for people, without its password.
func (p place) String() string {
	switch p.backend {
	case backendSQLite:
		return "SQLite file " + p.address
	case backendPostgres:
		return "PostgreSQL " + maskURL(p.address)
	}
	return "memory (lost when the server ends)"
}

// open opens the storage, bringing its schema up to date.
func (p place) open(ctx context.Context) (storage.Store, error) {
	switch p.backend {
	case backendSQLite:
		store, err := sqlite.Open(ctx, p.address, sqlite.Options{Migrate: true})
		return named(p, store, err)
	case backendPostgres:
		store, err := postgres.Open(ctx, p.address, postgres.Options{Migrate: true})
		return named(p, store, err)
	}
	return memory.New(), nil
}

// openReadOnly opens the storage of a log that is there, and changes nothing in it.
func (p place) openReadOnly(ctx context.Context) (storage.Store, error) {
	switch p.backend {
	case backendSQLite:
		store, err := sqlite.Open(ctx, p.address, sqlite.Options{ReadOnly: true})
		return named(p, store, err)
	case backendPostgres:
		store, err := postgres.Open(ctx, p.address, postgres.Options{ReadOnly: true})
		return named(p, store, err)
	}
	return nil, usageError{errors.New("a log in memory is there only for the server that holds it")}
}

// named says in the error which storage it is about. (A nil pointer must not become
// a storage.Store that is not nil.)
func named[S storage.Store](p place, store S, err error) (storage.Store, error) {
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", p, err)
	}
	return store, nil
}

// place reads --storage and the password that goes with it.
func (s *storageSettings) place() (place, error) {
	scheme, rest, _ := strings.Cut(s.Storage, ":")
	switch scheme {
	case "sqlite":
		if rest == "" {
			rest = filepath.Join(s.DataDir, "log.sqlite")
		}
		return place{backendSQLite, strings.TrimPrefix(rest, "//")}, nil
	case "memory":
		if rest != "" {
			return place{}, usageError{errors.New("--storage: memory: takes nothing behind it")}
		}
		return place{backend: backendMemory}, nil
	case "postgres", "postgresql":
		return s.postgres()
	}
	return place{}, usageError{fmt.Errorf("--storage names no storage (%s); it can be memory:, sqlite:, sqlite:PATH or postgres://USER@HOST/DATABASE", maskURL(s.Storage))}
}

func (s *storageSettings) postgres() (place, error) {
	u, query, ok := parsePostgres(s.Storage)
	if !ok {
		// Not shown: any part of it may be the password.
		return place{}, usageError{errors.New("--storage is not a URL such as postgres://USER@HOST:5432/DATABASE (special characters, above all in a password, are written as %xx; --storage-password-file spares that)")}
	}
	if s.StoragePasswordFile == "" {
		return place{backendPostgres, s.Storage}, nil
	}
	if _, has := u.User.Password(); has || query.Has("password") {
		return place{}, usageError{fmt.Errorf("--storage has a password in it and --storage-password-file is given too")}
	}
	secret, err := readSecret(s.StoragePasswordFile)
	if err != nil {
		return place{}, err
	}
	u.User = url.UserPassword(u.User.Username(), string(secret))
	return place{backendPostgres, u.String()}, nil
}
