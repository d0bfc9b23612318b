package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// writer is the one connection that writes, with its statements. It is used by one
// goroutine at a time, always with the token.
type writer struct {
	conn *sql.Conn
	all  []*sql.Stmt // those below

	begin, commit, rollback           *sql.Stmt
	head, existing, since             *sql.Stmt
	guard                             *sql.Stmt
	leaf, key, tile, attestation      *sql.Stmt
	createTree, createHead, saveNotes *sql.Stmt
}

func prepareWriter(ctx context.Context, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn}
	for _, p := range []struct {
		stmt **sql.Stmt
		sql  string
	}{
		{&w.begin, "begin immediate"},
		{&w.commit, "commit"},
		{&w.rollback, "rollback"},
		{&w.head, headSQL},
		{&w.existing, "select idx, time from leaves where tree_id = ? and hash = ?"},
		{&w.since, "select hash from leaves where tree_id = ? and idx >= ? order by idx"},
		// The head moves only from the one that the batch was built on.
		{&w.guard, `update heads set size = ?4, root = ?5, time = ?6,
			checkpoint = case when ?7 <> x'' and ?8 >= checkpoint_size then ?7 else checkpoint end,
			checkpoint_size = case when ?7 <> x'' and ?8 >= checkpoint_size then ?8 else checkpoint_size end
			where tree_id = ?1 and size = ?2 and root = ?3`},
		{&w.leaf, "insert into leaves (tree_id, idx, time, hash, key_set, attestation, body) values (?, ?, ?, ?, ?, ?, ?)"},
		{&w.key, "insert into search_keys (tree_id, idx, key) values (?, ?, ?)"},
		// Only the last tile of a level above 0 is ever there before, and narrower.
		{&w.tile, `insert into tiles (tree_id, level, idx, hashes) values (?, ?, ?, ?)
			on conflict (tree_id, level, idx) do update set hashes = excluded.hashes where length(hashes) < length(excluded.hashes)`},
		{&w.attestation, "insert into attestations (tree_id, digest, data) values (?, ?, ?) on conflict (tree_id, digest) do nothing"},
		{&w.createTree, "insert into trees (tree_id, origin, api, state, base_index, public_key, created) values (?, ?, ?, ?, ?, ?, ?)"},
		{&w.createHead, "insert into heads (tree_id, size, root, time) values (?, 0, ?, 0)"},
		{&w.saveNotes, "update heads set checkpoint = ?3, checkpoint_size = ?2 where tree_id = ?1 and checkpoint_size <= ?2 and ?3 <> x''"},
	} {
		if *p.stmt, err = conn.PrepareContext(ctx, p.sql); err != nil {
			return nil, errors.Join(fmt.Errorf("preparing %q: %w", p.sql, err), w.close())
		}
		w.all = append(w.all, *p.stmt)
	}
	return w, nil
}

// close closes the statements too: SQLite keeps a connection that has any, and does
// not move the WAL into the file.
func (w *writer) close() error {
	var errs []error
	for _, stmt := range w.all {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close())...)
}

// write runs do in a transaction and commits if it returns true. The context ends
// only the wait for the turn: a commit takes milliseconds, and one that is cut short
// helps nobody.
func (s *Store) write(ctx context.Context, what string, do func(context.Context, *writer) (bool, error)) error {
	return s.call(ctx, what, func() error {
		if s.o.ReadOnly {
			return errReadOnly
		}
		select {
		case s.token <- struct{}{}:
			defer func() { <-s.token }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.intact(); err != nil {
			return err
		}
		return s.transaction(context.WithoutCancel(ctx), do)
	})
}

// transaction does what write does, with the token.
func (s *Store) transaction(ctx context.Context, do func(context.Context, *writer) (bool, error)) error {
	w := s.writer
	if _, err := w.begin.ExecContext(ctx); err != nil {
		return err
	}
	open := true
	defer func() { // also if do panics
		if open {
			s.undo(ctx)
		}
	}()
	ok, err := do(ctx, w)
	if err != nil || !ok {
		s.noteFull(err)
		return err
	}
	if _, err := w.commit.ExecContext(ctx); err != nil {
		s.noteFull(err)
		return s.commitFailed(err)
	}
	open = false
	s.full.Store(nil)
	if err := s.intact(); err != nil {
		return fmt.Errorf("%w: %v", storage.ErrUnknown, err) // not ErrUnavailable: it was written
	}
	return nil
}

// undo ends the transaction. SQLite may have done so by itself after an error;
// if it has not and does not now, nothing can be written any more.
func (s *Store) undo(ctx context.Context) {
	_, err := s.writer.rollback.ExecContext(ctx)
	if err == nil {
		return
	}
	if _, err := s.writer.begin.ExecContext(ctx); err == nil {
		if _, err = s.writer.rollback.ExecContext(ctx); err == nil {
			return
		}
	}
	s.breakDown(err)
}

// commitFailed says what became of a transaction whose COMMIT failed. If the disk
// was full or the file locked, the last frame of the write-ahead log was never
// written, so nothing was. After anything else (a failed fsync, above all) it may
// be in the file, though this process does not see it: then nothing more is written
// until the file is opened, and recovered, again.
func (s *Store) commitFailed(err error) error {
	switch code(err) & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY:
		return err
	}
	s.breakDown(err)
	return fmt.Errorf("%w: %w", storage.ErrUnknown, err)
}

// breakDown stops all writes.
func (s *Store) breakDown(err error) {
	err = fmt.Errorf("an earlier write failed in a way that leaves the file in doubt; restart the server: %w: %w", storage.ErrUnavailable, err)
	s.broken.CompareAndSwap(nil, &err)
}

// Commit implements storage.Store.
func (s *Store) Commit(ctx context.Context, tree int64, r storage.Request) error {
	var built error // what r.Build said
	err := s.write(ctx, fmt.Sprintf("committing to tree %d", tree), func(ctxW context.Context, w *writer) (bool, error) {
		cur, err := w.current(ctxW, tree, r)
		if err != nil {
			return false, err
		}
		var b *storage.Batch
		if b, built = r.Build(cur); built == nil && b != nil {
			built = errors.Join(b.Check(), ctx.Err())
		}
		if built != nil || b == nil {
			return false, nil
		}
		return true, w.store(ctxW, tree, b)
	})
	if err != nil {
		return err
	}
	return built
}

// current reads the tree as the commit finds it.
func (w *writer) current(ctx context.Context, tree int64, r storage.Request) (storage.Current, error) {
	cur := storage.Current{Existing: map[tlog.Hash]storage.Existing{}}
	var err error
	if cur.Head, err = scanHead(w.head.QueryRowContext(ctx, tree)); err != nil {
		return cur, err
	}
	for i := range r.Hashes {
		var e storage.Existing
		err := w.existing.QueryRowContext(ctx, tree, r.Hashes[i][:]).Scan(&e.Index, &e.Time)
		if err == nil {
			cur.Existing[r.Hashes[i]] = e
		} else if !errors.Is(err, sql.ErrNoRows) {
			return cur, err
		}
	}
	if n := cur.Head.Size - r.Known; n > 0 && n <= storage.MaxSince {
		cur.Since, err = queryHashes(ctx, w.since, tree, r.Known)
	}
	return cur, err
}

// store writes the batch.
func (w *writer) store(ctx context.Context, tree int64, b *storage.Batch) error {
	res, err := w.guard.ExecContext(ctx, tree, b.Old.Size, b.Old.Root[:], b.New.Size, b.New.Root[:], b.New.Time,
		nonNil(b.Checkpoint), b.CheckpointSize())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("the head is not at size %d, root %v: %w", b.Old.Size, b.Old.Root, storage.ErrConflict))
	}
	for i := range b.Leaves {
		if err := w.storeLeaf(ctx, tree, &b.Leaves[i]); err != nil {
			return err
		}
	}
	var buf []byte
	for _, t := range b.Tiles {
		buf = buf[:0]
		for _, h := range t.Hashes {
			buf = append(buf, h[:]...)
		}
		if _, err := w.tile.ExecContext(ctx, tree, t.Level, t.Index, buf); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) storeLeaf(ctx context.Context, tree int64, l *storage.NewLeaf) error {
	var attestation any // NULL
	if l.Data != nil {
		attestation = l.Attestation[:]
		if _, err := w.attestation.ExecContext(ctx, tree, l.Attestation[:], l.Data); err != nil {
			return err
		}
	}
	if _, err := w.leaf.ExecContext(ctx, tree, l.Index, l.Time, l.Hash[:], l.KeySet[:], attestation, nonNil(l.Body)); err != nil {
		return err
	}
	for _, k := range l.Keys {
		if _, err := w.key.ExecContext(ctx, tree, l.Index, storage.PackKey(k)); err != nil {
			return err
		}
	}
	return nil
}

// CreateTree implements storage.Store.
func (s *Store) CreateTree(ctx context.Context, t storage.Tree) error {
	return s.write(ctx, fmt.Sprintf("creating tree %d of %s", t.ID, t.API), func(ctx context.Context, w *writer) (bool, error) {
		_, err := w.createTree.ExecContext(ctx, t.ID, t.Origin, t.API, t.State, t.BaseIndex, nonNil(t.PublicKey), t.Created)
		if code(err) == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
			return false, storage.ErrExists
		}
		if err != nil {
			return false, err
		}
		_, err = w.createHead.ExecContext(ctx, t.ID, tlog.EmptyRoot[:])
		return err == nil, err
	})
}

// SaveCheckpoint implements storage.Store.
func (s *Store) SaveCheckpoint(ctx context.Context, tree, size int64, checkpoint []byte) error {
	return s.write(ctx, fmt.Sprintf("saving the checkpoint of tree %d", tree), func(ctx context.Context, w *writer) (bool, error) {
		if _, err := scanHead(w.head.QueryRowContext(ctx, tree)); err != nil {
			return false, err
		}
		_, err := w.saveNotes.ExecContext(ctx, tree, size, nonNil(checkpoint))
		return err == nil, err
	})
}

// nonNil returns b, but never nil, which would be NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
