package search_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/sqlite"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

const (
	benchBatch = 250
	benchDays  = 90
)

// BenchmarkFinder asks a log of 200,000 entries (or as many as TALLYSTICK_BENCH_ENTRIES says), 90 days of
// them, signed with certificates: each entry by a workflow of its own, and by one of 20 people.
//
//	go test -run '^$' -bench Finder ./search
func BenchmarkFinder(b *testing.B) {
	b.Run("postgres", func(b *testing.B) {
		s, err := postgres.Open(b.Context(), pgtest.Database(b), postgres.Options{Migrate: true})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		benchmarkFinder(b, s)
	})
	b.Run("sqlite", func(b *testing.B) {
		s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "log.db"), sqlite.Options{Migrate: true})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		benchmarkFinder(b, s)
	})
}

func benchmarkFinder(b *testing.B, s storage.Store) {
	parser, err := entry.New(entry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fillBench(b, s, start)
	f := search.New(s, parser, []search.Tree{{ID: storagetest.TreeID}})
	var days []time.Time
	for d := range benchDays + 1 {
		days = append(days, start.AddDate(0, 0, d))
	}
	find := func(q search.Query, hits int) func() error {
		return func() error {
			page, err := f.Find(context.Background(), q)
			if err == nil && len(page.Hits) != hits {
				err = fmt.Errorf("%d hits, not %d", len(page.Hits), hits)
			}
			return err
		}
	}
	middle := start.AddDate(0, 0, benchDays/2)
	for _, c := range []struct {
		name string
		ask  func() error
	}{
		{"Newest", find(search.Query{}, 20)},
		{"Identity", find(search.Query{Identity: "person-7@example.com"}, 20)},
		{"RareIdentity", find(search.Query{Identity: "https://ci.example.com/build/0000123"}, 1)},
		{"Issuer", find(search.Query{Issuer: "https://issuer.example.com"}, 20)},
		{"Prefix20FrequentIdentities", find(search.Query{IdentityPrefix: "person-"}, 20)},
		{"Prefix100RareIdentities", find(search.Query{IdentityPrefix: "https://ci.example.com/build/01234"}, 20)},
		{"PrefixRefused", func() error {
			if _, err := f.Find(context.Background(), search.Query{IdentityPrefix: "https://ci"}); err == nil {
				return fmt.Errorf("not refused")
			}
			return nil
		}},
		{"TimeRange", find(search.Query{From: middle, To: middle.AddDate(0, 0, 1)}, 20)},
		{"IdentityInTimeRange", find(search.Query{Identity: "person-7@example.com", To: middle}, 20)},
		{"IssuerAndIdentity", find(search.Query{Identity: "person-7@example.com", Issuer: "https://issuer.example.com"}, 20)},
		{"KindScan2000", find(search.Query{Kind: "dsse"}, 0)},
		{"Limit100", find(search.Query{Limit: 100}, 100)},
		{"Counts90Days", func() error { _, err := f.Counts(context.Background(), days); return err }},
		{"Recent1000", func() error { _, err := f.Recent(context.Background(), 1000); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fillBench commits the entries.
func fillBench(b *testing.B, s storage.Store, start time.Time) {
	storagetest.CreateTree(b, s)
	w := storagetest.NewWriter(s)
	at := start.Unix()
	w.BeforeBatch = func(batch *storage.Batch) {
		batch.New.Time = at
		for i := range batch.Leaves {
			batch.Leaves[i].Time = at
		}
	}
	ca := newCA()
	var certificates []string
	for i := range 2000 {
		cert := ca.Issue(forge.Subject{Email: fmt.Sprintf("person-%d@example.com", i%20), Issuer: "https://issuer.example.com", Key: forge.P256("bench"), From: ca.From.Add(time.Duration(i) * time.Second), To: ca.To})
		certificates = append(certificates, forge.Base64(forge.CertificatePEM(cert)))
	}
	size := 200_000
	if text := os.Getenv("TALLYSTICK_BENCH_ENTRIES"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for n := 0; n < size; n += benchBatch {
		var leaves []storage.NewLeaf
		for i := n; i < n+benchBatch; i++ {
			digest := tlog.LeafHash([]byte(fmt.Sprint(i))).String()
			body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%s"}},"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`,
				digest, strings.Repeat("MEUC", 24), certificates[i%len(certificates)])
			leaves = append(leaves, storagetest.Leaf(body,
				tlog.Key{Type: tlog.KeyDigest, Value: "sha256:" + digest},
				tlog.Key{Type: tlog.KeyPublicKey, Value: tlog.LeafHash([]byte(certificates[i%len(certificates)])).String()},
				identity(fmt.Sprintf("person-%d@example.com", i%20)),
				identity(fmt.Sprintf("https://ci.example.com/build/%07d", i)),
				issuer("https://issuer.example.com")))
		}
		at = start.Unix() + int64(n)*benchDays*86400/int64(size)
		if err := w.Commit(b.Context(), leaves...); err != nil {
			b.Fatal(err)
		}
	}
}
