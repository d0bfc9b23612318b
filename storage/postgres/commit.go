package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// A commit makes two round trips, each one pipeline of statements. The first
// begins a transaction, locks the head's row and reads; it waits there while other
// servers commit. Isolation is READ COMMITTED, so each statement after the lock
// sees all that was committed by then. The second writes and commits.
const (
	beginSQL = "begin isolation level read committed"

	// The lock on the head must not be waited for, nor held, for ever.
	timeoutsSQL = `select set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)`

	// PostgreSQL 17 and later end a transaction that takes longer than it can.
	timeoutSQL17 = `select set_config('transaction_timeout', $1, true)`

	// The settings and the clock are read outside, that is after the wait for the
	// lock; inside, PostgreSQL would compute them before.
	lockSQL = `select size, root, time, ` + safetyColumns + `, clock_timestamp()
		from (select size, root, time from tallystick.heads where tree_id = $1 for update) head`

	// A row's xmax is the transaction that has locked it, if that one still goes on.
	// State_change is when its client last sent a message. A backend that waits for
	// anything else than its client is at work; one that waits for a standby must not
	// be ended, because that would make its transaction visible.
	endSilentSQL = `select coalesce(bool_or(pg_terminate_backend(a.pid)), false)
		from tallystick.heads h
		join pg_locks l on l.locktype = 'transactionid' and l.transactionid = h.xmax and l.granted
		join pg_stat_activity a on a.pid = l.pid
		where h.tree_id = $1 and a.usename = current_user and a.wait_event_type = 'Client'
		and a.state_change < clock_timestamp() - $2::bigint * interval '1 millisecond'`

	existingSQL = `select hash, idx, time from tallystick.leaves where tree_id = $1 and hash = any($2)`

	sinceSQL = `select hash from tallystick.leaves where tree_id = $1 and idx >= $2
		and (select size from tallystick.heads where tree_id = $1) <= $2 + $3 order by idx`

	// The head moves only from the one that the batch was built on. If it is
	// another, no row is updated and the division by zero aborts the transaction:
	// the server then skips the rest of the pipeline, COMMIT included, without
	// another round trip.
	guardSQL = `with moved as (
			update tallystick.heads
			set size = $4, root = $5, time = $6,
				checkpoint = case when $7 <> ''::bytea and $8 >= checkpoint_size then $7 else checkpoint end,
				checkpoint_size = case when $7 <> ''::bytea and $8 >= checkpoint_size then $8 else checkpoint_size end
			where tree_id = $1 and size = $2 and root = $3
			returning 1)
		select 1 / count(*) from moved`

	leavesSQL = `insert into tallystick.leaves (tree_id, idx, time, hash, key_set, attestation, body)
		select $1, * from unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[])`

	keysSQL = `insert into tallystick.search_keys (tree_id, idx, key) select $1, * from unnest($2::bigint[], $3::bytea[])`

	// Only the last tile of a level above 0 is ever there before, and narrower.
	tilesSQL = `insert into tallystick.tiles as t (tree_id, level, idx, hashes)
		select $1, * from unnest($2::smallint[], $3::bigint[], $4::bytea[])
		on conflict (tree_id, level, idx) do update set hashes = excluded.hashes
		where octet_length(t.hashes) < octet_length(excluded.hashes)`

	attestationsSQL = `insert into tallystick.attestations (tree_id, digest, data)
		select $1, * from unnest($2::bytea[], $3::bytea[]) on conflict (tree_id, digest) do nothing`
)

// Commit implements storage.Store. The context ends the wait for the lock; once the
// batch is on its way to the database, only Options.CommitTimeout does, because
// giving up then would help nobody and leave the outcome unknown.
func (s *Store) Commit(ctx context.Context, tree int64, r storage.Request) error {
	if s.o.ReadOnly {
		return errReadOnly
	}
	wrote := false
	build := r.Build
	r.Build = func(c storage.Current) (*storage.Batch, error) {
		b, err := build(c)
		wrote = b != nil
		return b, err
	}
	built, err := s.tryCommit(ctx, tree, r)
	if code(err) == codeLockTimeout && s.endSilent(ctx, tree) {
		built, err = s.tryCommit(ctx, tree, r)
	}
	if err != nil {
		return fmt.Errorf("locking the head of tree %d: %w", tree, err)
	}
	switch {
	case built == nil && wrote:
		s.full.Store(nil)
	case code(built) == codeDiskFull:
		s.full.Store(&fullDisk{built, time.Now()})
	}
	return built
}

// tryCommit is Commit without help against a silent holder of the lock. If err is
// nil, r.Build was called, and built says what became of it and its batch.
func (s *Store) tryCommit(ctx context.Context, tree int64, r storage.Request) (built, err error) {
	var b *storage.Batch
	err = retry(ctx, s.commits, func(conn *pgxpool.Conn) error {
		cur, err := s.lock(ctx, conn.Conn(), tree, r)
		if err != nil {
			rollback(ctx, conn.Conn())
			return err
		}
		// From here on nothing is tried again: what follows is kept in built.
		if b, built = r.Build(cur); built == nil && b != nil {
			built = b.Check()
		}
		if built == nil && b != nil {
			built = ctx.Err()
		}
		if built != nil || b == nil {
			rollback(ctx, conn.Conn())
			return nil
		}
		built = s.write(ctx, conn.Conn(), tree, b)
		return nil
	})
	return built, err
}

// endSilent ends the connection that holds the lock on the tree's head, if its
// server has been silent for too long, and reports whether it did.
func (s *Store) endSilent(ctx context.Context, tree int64) (ended bool) {
	err := s.commits.QueryRow(ctx, endSilentSQL, tree, max(s.o.SilenceTimeout.Milliseconds(), 1)).Scan(&ended)
	return err == nil && ended
}

// lock makes the first round trip.
func (s *Store) lock(ctx context.Context, conn *pgx.Conn, tree int64, r storage.Request) (storage.Current, error) {
	cur := storage.Current{Existing: map[tlog.Hash]storage.Existing{}}
	var set safety
	b := &pgx.Batch{}
	b.Queue(beginSQL)
	b.Queue(timeoutsSQL, millis(s.o.LockTimeout), millis(s.o.HoldTimeout))
	if serverVersion(conn) >= 17 {
		b.Queue(timeoutSQL17, millis(s.o.LockTimeout+s.o.HoldTimeout+s.o.CommitTimeout))
	}
	b.Queue(lockSQL, tree).QueryRow(func(row pgx.Row) error {
		return scanHead(row, &cur.Head, append(set.fields(), &cur.Clock)...)
	})
	if len(r.Hashes) > 0 {
		b.Queue(existingSQL, tree, byteSlices(r.Hashes)).Query(func(rows pgx.Rows) error {
			return scanExisting(rows, cur.Existing)
		})
	}
	b.Queue(sinceSQL, tree, r.Known, storage.MaxSince).Query(func(rows pgx.Rows) error {
		since, err := scanHashes(rows)
		if len(since) > 0 {
			cur.Since = since
		}
		return err
	})
	err := conn.SendBatch(ctx, b).Close()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return cur, storage.ErrNotFound
	case err != nil:
		if code(err) == codeReadOnly {
			// The server was the primary and is not any more: look for the new one.
			_ = conn.Close(ctx)
		}
		return cur, err
	}
	return cur, set.check()
}

// serverVersion returns the major version of the server, 0 if that is not a number.
func serverVersion(conn *pgx.Conn) int {
	v := conn.PgConn().ParameterStatus("server_version") // such as "17.2 (Debian 17.2-1)" or "18beta1"
	digits := strings.IndexFunc(v+" ", func(r rune) bool { return r < '0' || r > '9' })
	n, _ := strconv.Atoi(v[:digits])
	return n
}

func scanHead(row pgx.Row, h *storage.Head, more ...any) error {
	var root []byte
	if err := row.Scan(append([]any{&h.Size, &root, &h.Time}, more...)...); err != nil {
		return err
	}
	return setHash(&h.Root, root)
}

func scanExisting(rows pgx.Rows, existing map[tlog.Hash]storage.Existing) error {
	var hash []byte
	var e storage.Existing
	_, err := pgx.ForEachRow(rows, []any{&hash, &e.Index, &e.Time}, func() error {
		var h tlog.Hash
		if err := setHash(&h, hash); err != nil {
			return err
		}
		existing[h] = e
		return nil
	})
	return err
}

func scanHashes(rows pgx.Rows) ([]tlog.Hash, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (h tlog.Hash, err error) {
		var b []byte
		if err := row.Scan(&b); err != nil {
			return h, err
		}
		return h, setHash(&h, b)
	})
}

// setHash copies a hash out of a row.
func setHash(h *tlog.Hash, b []byte) error {
	if len(b) != tlog.HashSize {
		return fmt.Errorf("the database has a hash of %d bytes, not %d", len(b), tlog.HashSize)
	}
	*h = tlog.Hash(b)
	return nil
}

// write makes the second round trip. If it fails, the connection is closed without
// the request to cancel that pgx sends then: cancelled while it waits for a
// synchronous standby, the transaction would be visible, though on no standby.
func (s *Store) write(ctx context.Context, conn *pgx.Conn, tree int64, b *storage.Batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.CommitTimeout)
	defer cancel()
	defer forbidCancel(conn)()
	p := &pgx.Batch{}
	p.Queue(guardSQL, tree, b.Old.Size, b.Old.Root[:], b.New.Size, b.New.Root[:], b.New.Time,
		nonNil(b.Checkpoint), b.CheckpointSize())
	queueLeaves(p, tree, b.Leaves)
	queueTiles(p, tree, b.Tiles)
	p.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("the database answered %q to a commit", tag)
		}
		return nil
	})
	err := conn.SendBatch(ctx, p).Close()
	if err == nil {
		return nil
	}
	rollback(ctx, conn)
	return fmt.Errorf("committing leaves %d to %d of tree %d: %w", b.Old.Size, b.New.Size, tree, classWrite(err))
}

// forbidCancel makes requests to cancel what the connection does ineffective, until
// the function that it returns is called; for good if the connection is closed then.
// Pgx sends one whenever it closes a busy connection, and has no switch for that; but
// the key in it is that of SecretKey, and the server ignores a request with a wrong one.
func forbidCancel(conn *pgx.Conn) (allow func()) {
	key := conn.PgConn().SecretKey()
	saved := bytes.Clone(key)
	clear(key)
	return func() {
		if !conn.IsClosed() {
			copy(key, saved)
		}
	}
}

func queueLeaves(p *pgx.Batch, tree int64, leaves []storage.NewLeaf) {
	n := len(leaves)
	if n == 0 {
		return
	}
	indexes, times := make([]int64, n), make([]int64, n)
	hashes, keySets, attested, bodies := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
	var keyIndexes []int64
	var keys, digests, data [][]byte
	for i := range leaves {
		l := &leaves[i]
		indexes[i], times[i] = l.Index, l.Time
		hashes[i], keySets[i], bodies[i] = l.Hash[:], l.KeySet[:], nonNil(l.Body)
		for _, k := range l.Keys {
			keyIndexes, keys = append(keyIndexes, l.Index), append(keys, storage.PackKey(k))
		}
		if l.Data != nil {
			attested[i] = l.Attestation[:] // else NULL
			digests, data = append(digests, l.Attestation[:]), append(data, l.Data)
		}
	}
	p.Queue(leavesSQL, tree, indexes, times, hashes, keySets, attested, bodies)
	if len(keys) > 0 {
		p.Queue(keysSQL, tree, keyIndexes, keys)
	}
	if len(digests) > 0 {
		p.Queue(attestationsSQL, tree, digests, data)
	}
}

func queueTiles(p *pgx.Batch, tree int64, tiles []tlog.Tile) {
	n := len(tiles)
	if n == 0 {
		return
	}
	levels, indexes, hashes := make([]int16, n), make([]int64, n), make([][]byte, n)
	for i, t := range tiles {
		levels[i], indexes[i] = int16(t.Level), t.Index
		hashes[i] = make([]byte, 0, len(t.Hashes)*tlog.HashSize)
		for _, h := range t.Hashes {
			hashes[i] = append(hashes[i], h[:]...)
		}
	}
	p.Queue(tilesSQL, tree, levels, indexes, hashes)
}

// rollbackTimeout bounds how long ending a failed transaction may take.
const rollbackTimeout = 5 * time.Second

// rollback ends the transaction so that the lock is free when the call returns. A
// connection on which that fails is closed, and the server does it.
func rollback(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if _, err := conn.PgConn().Exec(ctx, "rollback").ReadAll(); err != nil {
		_ = conn.Close(ctx)
	}
}

// millis writes a duration as PostgreSQL reads timeouts; never 0, which is none.
func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// byteSlices returns the hashes as pgx takes them. They share memory.
func byteSlices(hashes []tlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

// nonNil returns b, but never nil, which would be NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
