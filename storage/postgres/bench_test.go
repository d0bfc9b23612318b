package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/storagetest"
)

// BenchmarkCommit compares commits with a bare COPY of the same rows into the same
// tables with the same indexes, one transaction a batch, in turns. "of-copy" is our
// throughput as a part of COPY's.
//
//	go test -run '^$' -bench Commit -benchtime 200x ./storage/postgres
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 16, 128, 1024} {
		b.Run(fmt.Sprint("batch=", n), func(b *testing.B) { benchmarkCommit(b, n) })
	}
}

func benchmarkCommit(b *testing.B, n int) {
	url, twin := pgtest.Database(b), pgtest.Database(b)
	w := storagetest.NewWriter(open(b, url, postgres.Options{Migrate: true}))
	storagetest.CreateTree(b, w.Store)
	open(b, twin, postgres.Options{Migrate: true})
	conn, err := pgx.Connect(b.Context(), twin)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.Context()))
	entries := storagetest.NewEntries(1)
	var ours, copies time.Duration
	size := int64(0)
	for b.Loop() {
		leaves := entries.Next(n)
		start := time.Now()
		if err := w.Commit(b.Context(), leaves...); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := bareCopy(b.Context(), conn, size, leaves); err != nil {
			b.Fatal(err)
		}
		ours, copies = ours+middle.Sub(start), copies+time.Since(middle)
		size += int64(n)
	}
	b.ReportMetric(float64(size)/ours.Seconds(), "entries/s")
	b.ReportMetric(float64(size)/copies.Seconds(), "copy-entries/s")
	b.ReportMetric(copies.Seconds()/ours.Seconds(), "of-copy")
}

// bareCopy writes the rows of leaves and search keys, and nothing else.
func bareCopy(ctx context.Context, conn *pgx.Conn, start int64, leaves []storage.NewLeaf) error {
	var rows, keys [][]any
	for i := range leaves {
		l := &leaves[i]
		rows = append(rows, []any{storagetest.TreeID, start + int64(i), int64(1), l.Hash[:], l.KeySet[:], l.Body})
		for _, k := range l.Keys {
			keys = append(keys, []any{storagetest.TreeID, start + int64(i), storage.PackKey(k)})
		}
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"tallystick", "leaves"}, []string{"tree_id", "idx", "time", "hash", "key_set", "body"}, pgx.CopyFromRows(rows))
		if err != nil {
			return err
		}
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"tallystick", "search_keys"}, []string{"tree_id", "idx", "key"}, pgx.CopyFromRows(keys))
		return err
	})
}

// BenchmarkBytesPerEntry fills a log with 100,000 entries in batches of 128 and
// reports the bytes of disk that each costs, table by table and index by index.
//
//	go test -run '^$' -bench BytesPerEntry -benchtime 1x ./storage/postgres
func BenchmarkBytesPerEntry(b *testing.B) {
	const entries, batch = 100_000, 128
	for b.Loop() {
		url := pgtest.Database(b)
		w := storagetest.NewWriter(open(b, url, postgres.Options{Migrate: true}))
		storagetest.CreateTree(b, w.Store)
		source, bodies := storagetest.NewEntries(1), 0
		for n := 0; n < entries; n += batch {
			leaves := source.Next(min(batch, entries-n))
			for _, l := range leaves {
				bodies += len(l.Body)
			}
			if err := w.Commit(b.Context(), leaves...); err != nil {
				b.Fatal(err)
			}
		}
		sql(b, url, "checkpoint")
		b.ReportMetric(float64(bodies)/entries, "body-B/entry")
		reportSizes(b, url, entries)
	}
}

func reportSizes(b *testing.B, url string, entries float64) {
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.Context()))
	// A table's TOAST rows count as the table's.
	rows, err := conn.Query(b.Context(), `select c.relname, case c.relkind when 'r' then pg_table_size(c.oid) else pg_relation_size(c.oid) end
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = 'tallystick' and c.relkind in ('r', 'i')`)
	if err != nil {
		b.Fatal(err)
	}
	var name string
	var size, total int64
	_, err = pgx.ForEachRow(rows, []any{&name, &size}, func() error {
		total += size
		if perEntry := float64(size) / entries; perEntry >= 1 {
			b.ReportMetric(perEntry, name+"-B/entry")
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(total)/entries, "total-B/entry")
}
