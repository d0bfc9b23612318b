package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// bareSignatures returns the CPU time of one P-256 verification and one P-256
// signature, one after the other, with every processor busy at it: the least that
// any log of signed entries has to do for each of them. (With one processor busy it
// would be less than a server under load can reach, where processors share a core.)
func bareSignatures(rounds int) (time.Duration, error) {
	var wg errgroup.Group
	times := make([]time.Duration, runtime.NumCPU())
	for i := range times {
		wg.Go(func() (err error) {
			times[i], err = signAndVerify(rounds)
			return err
		})
	}
	err := wg.Wait()
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return sum / time.Duration(len(times)), err
}

// signAndVerify returns the CPU time of one signature and its verification, on one
// thread.
func signAndVerify(rounds int) (time.Duration, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var start time.Duration
	for i := range 2 * rounds { // the first half warms up
		if i == rounds {
			if start, err = threadCPU(); err != nil {
				return 0, err
			}
		}
		digest := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err != nil {
			return 0, err
		}
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			return 0, errors.New("a signature just made does not verify")
		}
	}
	end, err := threadCPU()
	return (end - start) / time.Duration(rounds), err
}

// bareTable is a table that takes rows for every entry.
type bareTable struct {
	name    string
	columns []string
	rows    [][][]any // by entry
}

// bareCopy copies rows that a log wrote into tables with the same columns,
// constraints and indexes, one transaction for every batch entries, and returns
// the entries a second: what PostgreSQL itself allows on this machine, with nobody
// verifying, hashing or signing anything beside it. It stops after limit.
func bareCopy(ctx context.Context, url string, entries, batch int, limit time.Duration) (rate float64, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	tables := []*bareTable{{name: "leaves"}, {name: "search_keys"}}
	for _, t := range tables {
		if err := t.prepare(ctx, conn, entries); err != nil {
			return 0, fmt.Errorf("table %s for the bare COPY: %w", t.name, err)
		}
		entries = min(entries, len(t.rows))
	}
	done := 0
	start := time.Now()
	for done < entries && time.Since(start) < limit {
		n := min(batch, entries-done)
		if err := copyBatch(ctx, conn, tables, done, done+n); err != nil {
			return 0, fmt.Errorf("bare COPY: %w", err)
		}
		done += n
	}
	return float64(done) / time.Since(start).Seconds(), nil
}

// prepare reads the log's rows for its first entries, and makes an empty table
// like the log's.
func (t *bareTable) prepare(ctx context.Context, conn *pgx.Conn, entries int) error {
	_, err := conn.Exec(ctx, fmt.Sprintf("create schema if not exists bare; create table bare.%[1]s (like tallystick.%[1]s including all)", t.name))
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, "select * from tallystick."+t.name+" where idx < $1 order by idx", entries)
	if err != nil {
		return err
	}
	defer rows.Close()
	index := 0
	for i, f := range rows.FieldDescriptions() {
		t.columns = append(t.columns, f.Name)
		if f.Name == "idx" {
			index = i
		}
	}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		for int64(len(t.rows)) <= values[index].(int64) {
			t.rows = append(t.rows, nil)
		}
		t.rows[len(t.rows)-1] = append(t.rows[len(t.rows)-1], values)
	}
	return rows.Err()
}

// copyBatch copies the rows of the entries from … to-1, and commits.
func copyBatch(ctx context.Context, conn *pgx.Conn, tables []*bareTable, from, to int) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) // nothing after a commit
	for _, t := range tables {
		rows := pgx.CopyFromRows(slices.Concat(t.rows[from:to]...))
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"bare", t.name}, t.columns, rows); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}
