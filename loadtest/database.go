package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/storage/postgres/pgtest"
)

// database is an empty database on a PostgreSQL that runs for this program only,
// with fsync on.
type database struct {
	url string
	pid int // of the server's first process
	tb  *owner
}

// owner lets pgtest be used outside of a test: it does what a test does for it.
type owner struct {
	testing.TB
	cleanups []func()
}

// failure is what ends an owner's work.
type failure struct{ error }

func (o *owner) Helper()           {}
func (o *owner) Cleanup(f func())  { o.cleanups = append(o.cleanups, f) }
func (o *owner) Fatal(args ...any) { panic(failure{errors.New(fmt.Sprint(args...))}) }
func (o *owner) Fatalf(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}
func (o *owner) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// startDatabase starts PostgreSQL. The settings are added to its configuration,
// each as name=value.
func startDatabase(settings ...string) (d *database, err error) {
	d = &database{tb: &owner{}}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			d.stop()
			d, err = nil, r.error
		default:
			panic(r)
		}
	}()
	server := pgtest.Start(d.tb, settings...)
	d.url = server.Database(d.tb)
	pidFile, err := os.ReadFile(filepath.Join(server.Dir, "data", "postmaster.pid"))
	if err != nil {
		panic(failure{err})
	}
	first, _, _ := strings.Cut(string(pidFile), "\n")
	if d.pid, err = strconv.Atoi(strings.TrimSpace(first)); err != nil {
		panic(failure{err})
	}
	return d, nil
}

// stop ends the server and removes its data.
func (d *database) stop() {
	for _, f := range slices.Backward(d.tb.cleanups) {
		f()
	}
	d.tb.cleanups = nil
}
