package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/sqlite"
	"github.com/tallystick/tallystick/tlog"
)

// rounds is how often small and large logs take turns, so that a machine that
// becomes slower or faster meanwhile favours neither.
const rounds = 3

// runScale compares the throughput of small logs, each new, with that of one large
// log.
func (s *settings) runScale(ctx context.Context, dir string, r *report) error {
	r.line("# Throughput as the log grows")
	r.line("")
	r.machine(s.postgres)
	r.line("- %d writers in a closed loop, %v a round; logs filled by bulk commits to the size where a round begins, warmed up for %v.", s.writers, s.time, s.time/5)
	r.phaseTable()
	ratios := &report{}
	ratios.line("")
	for _, backend := range s.storages {
		if err := s.scaleOn(ctx, backend, filepath.Join(dir, backend), r, ratios); err != nil {
			return fmt.Errorf("%s: %w", backend, err)
		}
	}
	r.text.WriteString(ratios.text.String())
	return nil
}

func (s *settings) scaleOn(ctx context.Context, backend, dir string, r, ratios *report) error {
	large, t, err := s.filled(ctx, backend, dir+"-large", s.large)
	if err != nil {
		return err
	}
	defer t.end()
	var small, big pace
	for round := range rounds {
		o, err := s.smallRound(ctx, backend, fmt.Sprintf("%s-small-%d", dir, round), r)
		if err != nil {
			return err
		}
		small.add(o)
		if o, err = s.round(backend, large, t, s.large, r); err != nil {
			return err
		}
		big.add(o)
	}
	ratios.line("- %s: %.0f entries/s at %d entries, %.0f at %d: %.0f %%. CPU time of server and database an entry: %s, %s.", backend,
		small.rate(), s.small, big.rate(), s.large, 100*big.rate()/small.rate(), microseconds(small.cost()), microseconds(big.cost()))
	progress("%s: checking the large log", backend)
	took, memory, err := t.check()
	if err != nil {
		return err
	}
	ratios.line("- %s: tallystick check of the large log took %.0f s and %d MiB of memory at most.", backend, took.Seconds(), memory>>20)
	return nil
}

// pace adds up rounds.
type pace struct {
	entries   int
	took, cpu time.Duration
}

func (p *pace) add(o *outcome) {
	p.entries += len(o.writes.latencies)
	p.took += o.took
	p.cpu += o.cpu.server + o.cpu.database
}

func (p *pace) rate() float64       { return float64(p.entries) / p.took.Seconds() }
func (p *pace) cost() time.Duration { return p.cpu / time.Duration(p.entries) }

func (s *settings) smallRound(ctx context.Context, backend, dir string, r *report) (*outcome, error) {
	l, t, err := s.filled(ctx, backend, dir, s.small)
	if err != nil {
		return nil, err
	}
	defer t.end()
	return s.round(backend, l, t, s.small, r)
}

// round starts the server, measures, and stops it.
func (s *settings) round(backend string, l *load, t *target, size int, r *report) (*outcome, error) {
	warmUp := phase{name: "warm-up", writers: s.writers, time: s.time / 5}
	measured := phase{name: fmt.Sprintf("from %d entries", size), writers: s.writers, time: s.time}
	if err := l.corpus.supply(s.needed(warmUp) + s.needed(measured)); err != nil {
		return nil, err
	}
	if err := t.start(); err != nil {
		return nil, err
	}
	progress("%s: %s", backend, measured.name)
	if _, err := l.run(warmUp); err != nil {
		return nil, err
	}
	o, err := l.run(measured)
	if err != nil {
		return nil, err
	}
	r.phase(backend, o)
	return o, t.stop()
}

// filled makes a log with n entries; its server is stopped, for the caller to end.
func (s *settings) filled(ctx context.Context, backend, dir string, n int) (*load, *target, error) {
	l, t, err := s.newLoad(backend, dir)
	if err != nil {
		return nil, nil, err
	}
	progress("%s: filling a log with %d entries", backend, n)
	if err := errors.Join(t.stop(), l.fill(ctx, t, int64(n))); err != nil {
		t.end()
		return nil, nil, err
	}
	return l, t, nil
}

// fill writes entries into the empty log of a stopped server, past the server: tree
// and index are what the server would have made, but nobody signed anything.
func (l *load) fill(ctx context.Context, t *target, n int64) error {
	store, err := t.openStore(ctx)
	if err != nil {
		return err
	}
	if err := l.fillStore(ctx, store, n); err != nil {
		return errors.Join(err, store.Close())
	}
	return errors.Join(store.Close(), t.settle(ctx))
}

func (t *target) openStore(ctx context.Context) (storage.Store, error) {
	if t.pg != nil {
		return postgres.Open(ctx, t.pg.url, postgres.Options{})
	}
	return sqlite.Open(ctx, t.sqliteFile(), sqlite.Options{})
}

// settle lets PostgreSQL do now what it would do soon after so many rows, in the
// middle of a measurement.
func (t *target) settle(ctx context.Context) error {
	if t.pg == nil {
		return nil
	}
	conn, err := pgx.Connect(ctx, t.pg.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range []string{"vacuum (analyze)", "checkpoint"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// bulk is the number of entries in a bulk commit.
const bulk = 8192

func (l *load) fillStore(ctx context.Context, store storage.Store, n int64) error {
	trees, err := store.Trees(ctx)
	if err != nil {
		return err
	}
	if len(trees) != 1 {
		return fmt.Errorf("the log has %d trees, not 1", len(trees))
	}
	edge := tlog.NewEdge()
	for edge.Size() < n {
		leaves, hashes, err := l.unsigned(edge.Size(), min(bulk, n-edge.Size()))
		if err != nil {
			return err
		}
		old := edge.Head()
		request := storage.Request{Known: old.Size, Build: func(c storage.Current) (*storage.Batch, error) {
			if c.Head.Head != old {
				return nil, fmt.Errorf("the log is at %v, not at %v", c.Head.Head, old)
			}
			b := &storage.Batch{Old: c.Head, Leaves: leaves, Tiles: edge.Extend(hashes)}
			b.New = storage.Head{Head: edge.Head(), Time: leaves[0].Time}
			return b, nil
		}}
		if err := store.Commit(ctx, trees[0].ID, request); err != nil {
			return fmt.Errorf("bulk commit at %d: %w", old.Size, err)
		}
	}
	return nil
}

// unsigned makes leaves like those of signed entries, with random bytes for
// artifact digests and signatures.
func (l *load) unsigned(first, n int64) ([]storage.NewLeaf, []tlog.Hash, error) {
	now := time.Now().Unix()
	var random [sha256.Size + 71]byte // a digest, and a P-256 signature in DER
	leaves, hashes := make([]storage.NewLeaf, n), make([]tlog.Hash, n)
	for i := range leaves {
		if _, err := rand.Read(random[:]); err != nil {
			return nil, nil, err
		}
		signer := l.corpus.signers[i%len(l.corpus.signers)].publicKey
		body := hashedrekord([sha256.Size]byte(random[:sha256.Size]), random[sha256.Size:], signer)
		keyPEM, err := base64.StdEncoding.DecodeString(signer)
		if err != nil {
			return nil, nil, err
		}
		keyHash := sha256.Sum256(keyPEM)
		keys := tlog.SortKeys([]tlog.Key{
			{Type: tlog.KeyDigest, Value: "sha256:" + hex.EncodeToString(random[:sha256.Size])},
			{Type: tlog.KeyPublicKey, Value: hex.EncodeToString(keyHash[:])},
		})
		hashes[i] = tlog.LeafHash(body)
		leaf := storage.Leaf{Index: first + int64(i), Hash: hashes[i], Time: now, Body: body, KeySet: tlog.KeySetDigest(keys)}
		leaves[i] = storage.NewLeaf{Leaf: leaf, Keys: keys}
	}
	return leaves, hashes, nil
}
