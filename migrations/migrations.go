// Package migrations holds the database schemas as numbered SQL files, one
// series a database, embedded in the program. A file is applied once, in a
// transaction of its own, and its number recorded; the stores do that
// (`tallystick migrate`, and `tallystick serve` when it starts). A file that was
// released is never edited: a change is a new file.
package migrations

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// ErrUnknown is wrapped by the error of Pending that says that the database was
// migrated by another program: a newer version of this one, most likely.
var ErrUnknown = errors.New("the database has migrations that this program does not know")

// Migration is one step of a schema.
type Migration struct {
	Number int    // 1, 2, 3, …
	Name   string // the file's name without number and extension
	SQL    string // one or more statements
}

// Postgres returns the migrations for PostgreSQL, in order.
func Postgres() ([]Migration, error) { return load(files, "postgres") }

// SQLite returns the migrations for SQLite, in order.
func SQLite() ([]Migration, error) { return load(files, "sqlite") }

// load reads the files of a folder, which are named <number>_<name>.sql and
// numbered from 1 without gaps.
func load(fsys fs.FS, dir string) ([]Migration, error) {
	names, err := fs.Glob(fsys, dir+"/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []Migration
	for i, name := range names {
		number, title, ok := strings.Cut(strings.TrimSuffix(path.Base(name), ".sql"), "_")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s is not named %04d_<name>.sql", name, i+1)
		}
		sql, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		all = append(all, Migration{n, title, string(sql)})
	}
	return all, nil
}

// Pending returns the migrations that are still to be applied to a database whose
// newest applied one has that number (0: none).
func Pending(all []Migration, applied int) ([]Migration, error) {
	if applied < 0 || applied > len(all) {
		return nil, fmt.Errorf("the database's schema is version %d, and this program knows versions up to %d: %w", applied, len(all), ErrUnknown)
	}
	return all[applied:], nil
}
