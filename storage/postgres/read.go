package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const (
	createSQL = `with made as (
			insert into tallystick.trees (tree_id, origin, api, state, base_index, public_key, created)
			values ($1, $2, $3, $4, $5, $6, $7) returning tree_id)
		insert into tallystick.heads (tree_id, size, root, time) select tree_id, 0, $8, 0 from made`

	treesSQL = `select tree_id, origin, api, state, base_index, public_key, created from tallystick.trees order by position`

	headSQL = `select size, root, time, pg_is_in_recovery() from tallystick.heads where tree_id = $1`

	checkpointSQL = `select checkpoint from tallystick.heads where tree_id = $1`

	saveCheckpointSQL = `update tallystick.heads set checkpoint = $3, checkpoint_size = $2
		where tree_id = $1 and checkpoint_size <= $2 and $3 <> ''::bytea`

	// One row for each tile asked for, in order; NULL if the tile is not there.
	readTilesSQL = `select (select substring(t.hashes for w.width * 32) from tallystick.tiles t
			where t.tree_id = $1 and t.level = w.level and t.idx = w.idx)
		from unnest($2::smallint[], $3::bigint[], $4::integer[]) with ordinality as w (level, idx, width, n)
		order by w.n`

	readHashesSQL = `select hash from tallystick.leaves where tree_id = $1 and idx >= $2 and idx < $3 order by idx`

	readLeavesSQL = `select idx, time, hash, key_set, attestation, body from tallystick.leaves
		where tree_id = $1 and idx >= $2 and idx < $3 order by idx`

	readLeavesAtSQL = `select idx, time, hash, key_set, attestation, body from tallystick.leaves
		where tree_id = $1 and idx = any($2::bigint[])`

	readTimesSQL = `select idx, time from tallystick.leaves where tree_id = $1 and idx = any($2::bigint[])`

	readKeysSQL = `select idx, key from tallystick.search_keys where tree_id = $1 and idx >= $2 and idx < $3 order by idx`

	// The first byte of a packed key is its type.
	readKeysOfSQL = `select idx, key from tallystick.search_keys where tree_id = $1 and idx >= $2 and idx < $3 and substring(key for 1) = $4 order by idx`

	attestationSQL = `select data from tallystick.attestations where tree_id = $1 and digest = $2`
)

// read runs do with a connection; what it returns is classed and says what was
// tried.
func (s *Store) read(ctx context.Context, what string, tree int64, do func(*pgxpool.Conn) error) error {
	if err := retry(ctx, s.reads, do); err != nil {
		return fmt.Errorf("reading %s of tree %d: %w", what, tree, err)
	}
	return nil
}

// mustExist returns ErrNotFound if there is no such tree.
func mustExist(ctx context.Context, conn *pgxpool.Conn, tree int64) error {
	var yes bool
	err := conn.QueryRow(ctx, "select exists (select from tallystick.heads where tree_id = $1)", tree).Scan(&yes)
	if err == nil && !yes {
		return fmt.Errorf("tree %d: %w", tree, storage.ErrNotFound)
	}
	return err
}

// notFound turns the absence of a row into ErrNotFound.
func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return storage.ErrNotFound
	}
	return err
}

// CreateTree implements storage.Store.
func (s *Store) CreateTree(ctx context.Context, t storage.Tree) error {
	err := s.exec(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		_, err := conn.Exec(ctx, createSQL, t.ID, t.Origin, t.API, t.State, t.BaseIndex, nonNil(t.PublicKey), t.Created, tlog.EmptyRoot[:])
		return err
	})
	if code(err) == codeUniqueViolation {
		err = storage.ErrExists
	}
	if err != nil {
		return fmt.Errorf("creating tree %d of %s: %w", t.ID, t.API, err)
	}
	return nil
}

// exec runs one statement that writes. Once it is sent, the caller's context does
// not stop it.
func (s *Store) exec(ctx context.Context, do func(context.Context, *pgxpool.Conn) error) error {
	if s.o.ReadOnly {
		return errReadOnly
	}
	var result error
	err := retry(ctx, s.commits, func(conn *pgxpool.Conn) error {
		// So that the statement is not the one to find out that the connection is dead.
		if err := conn.Ping(ctx); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.CommitTimeout)
		defer cancel()
		if err := do(ctx, conn); err != nil {
			result = classWrite(err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return result
}

// Trees implements storage.Store.
func (s *Store) Trees(ctx context.Context) (trees []storage.Tree, err error) {
	err = retry(ctx, s.reads, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, treesSQL)
		if err != nil {
			return err
		}
		trees, err = pgx.CollectRows(rows, pgx.RowToStructByPos[storage.Tree])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the trees: %w", err)
	}
	return trees, nil
}

// Head implements storage.Store.
func (s *Store) Head(ctx context.Context, tree int64) (head storage.Head, err error) {
	err = s.read(ctx, "the head", tree, func(conn *pgxpool.Conn) error {
		var standby bool
		err := scanHead(conn.QueryRow(ctx, headSQL, tree), &head, &standby)
		if err == nil && standby && !s.o.ReadOnly {
			_ = conn.Conn().Close(ctx) // a proxy led us to a standby, which may lag behind
			return errStandby
		}
		return notFound(err)
	})
	return head, err
}

// Checkpoint implements storage.Store.
func (s *Store) Checkpoint(ctx context.Context, tree int64) (text []byte, err error) {
	err = s.read(ctx, "the checkpoint", tree, func(conn *pgxpool.Conn) error {
		return notFound(conn.QueryRow(ctx, checkpointSQL, tree).Scan(&text))
	})
	return text, err
}

// SaveCheckpoint implements storage.Store.
func (s *Store) SaveCheckpoint(ctx context.Context, tree, size int64, checkpoint []byte) error {
	err := s.exec(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		tag, err := conn.Exec(ctx, saveCheckpointSQL, tree, size, nonNil(checkpoint))
		if err == nil && tag.RowsAffected() == 0 {
			return mustExist(ctx, conn, tree)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("saving the checkpoint of tree %d at size %d: %w", tree, size, err)
	}
	return nil
}

// Tiles implements storage.Store.
func (s *Store) Tiles(ctx context.Context, tree int64, ids []tlog.TileID) (tiles [][]tlog.Hash, err error) {
	err = s.read(ctx, "tiles", tree, func(conn *pgxpool.Conn) (err error) {
		tiles, err = readTiles(ctx, conn, tree, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tiles, nil
}

func readTiles(ctx context.Context, conn *pgxpool.Conn, tree int64, ids []tlog.TileID) ([][]tlog.Hash, error) {
	levels, indexes, widths := make([]int16, len(ids)), make([]int64, len(ids)), make([]int32, len(ids))
	for i, id := range ids {
		if !storage.ValidTile(id) {
			return nil, fmt.Errorf("%v: %w", id, storage.ErrNotFound)
		}
		levels[i], indexes[i], widths[i] = int16(id.Level), id.Index, int32(id.Width)
	}
	rows, err := conn.Query(ctx, readTilesSQL, tree, levels, indexes, widths)
	if err != nil {
		return nil, err
	}
	packed, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, err
	}
	tiles := make([][]tlog.Hash, len(ids))
	for i, id := range ids {
		tiles[i] = splitHashes(packed[i])
		if packed[i] == nil && id.Level == 0 && id.Width < tlog.TileWidth {
			if tiles[i], err = leafTile(ctx, conn, tree, id); err != nil {
				return nil, err
			}
		}
		if len(tiles[i]) < id.Width {
			return nil, fmt.Errorf("%v: %w", id, storage.ErrNotFound)
		}
	}
	if len(ids) == 0 {
		return tiles, mustExist(ctx, conn, tree)
	}
	return tiles, nil
}

// leafTile makes a partial tile of level 0 from the leaves.
func leafTile(ctx context.Context, conn *pgxpool.Conn, tree int64, id tlog.TileID) ([]tlog.Hash, error) {
	start := id.Index * tlog.TileWidth
	rows, err := conn.Query(ctx, readHashesSQL, tree, start, start+int64(id.Width))
	if err != nil {
		return nil, err
	}
	return scanHashes(rows)
}

// splitHashes cuts a stored tile into its hashes.
func splitHashes(b []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes
}

// end returns the index after n leaves from start; at least start.
func end(start int64, n int) int64 {
	if start > math.MaxInt64-int64(max(n, 0)) {
		return math.MaxInt64
	}
	return start + int64(max(n, 0))
}

// Leaves implements storage.Store.
func (s *Store) Leaves(ctx context.Context, tree, start int64, n int) (leaves []storage.Leaf, err error) {
	err = s.read(ctx, "leaves", tree, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, readLeavesSQL, tree, start, end(start, n))
		if err != nil {
			return err
		}
		leaves, err = pgx.CollectRows(rows, scanLeaf)
		if err == nil && (len(leaves) == 0 || start < 0) {
			leaves = nil
			return mustExist(ctx, conn, tree)
		}
		return err
	})
	return leaves, err
}

// LeavesAt implements storage.Store.
func (s *Store) LeavesAt(ctx context.Context, tree int64, indexes []int64) ([]storage.Leaf, error) {
	var found []storage.Leaf
	err := s.read(ctx, "leaves", tree, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, readLeavesAtSQL, tree, nonNilIndexes(indexes))
		if err != nil {
			return err
		}
		if found, err = pgx.CollectRows(rows, scanLeaf); err != nil || len(found) > 0 {
			return err
		}
		return mustExist(ctx, conn, tree)
	})
	if err != nil {
		return nil, err
	}
	byIndex := make(map[int64]storage.Leaf, len(found))
	for _, l := range found {
		byIndex[l.Index] = l
	}
	return inOrder(tree, indexes, byIndex)
}

// Times implements storage.Store.
func (s *Store) Times(ctx context.Context, tree int64, indexes []int64) ([]int64, error) {
	found := map[int64]int64{}
	err := s.read(ctx, "times", tree, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, readTimesSQL, tree, nonNilIndexes(indexes))
		if err != nil {
			return err
		}
		var index, time int64
		_, err = pgx.ForEachRow(rows, []any{&index, &time}, func() error {
			found[index] = time
			return nil
		})
		if err != nil || len(found) > 0 {
			return err
		}
		return mustExist(ctx, conn, tree)
	})
	if err != nil {
		return nil, err
	}
	return inOrder(tree, indexes, found)
}

// nonNilIndexes returns the list, but not NULL for an empty one.
func nonNilIndexes(indexes []int64) []int64 {
	if indexes == nil {
		return []int64{}
	}
	return indexes
}

// inOrder returns what was found at each index, in the order asked for.
func inOrder[T any](tree int64, indexes []int64, found map[int64]T) ([]T, error) {
	var list []T
	for _, i := range indexes {
		v, ok := found[i]
		if !ok {
			return nil, fmt.Errorf("leaf %d of tree %d: %w", i, tree, storage.ErrNotFound)
		}
		list = append(list, v)
	}
	return list, nil
}

func scanLeaf(row pgx.CollectableRow) (l storage.Leaf, err error) {
	var hash, keySet, attestation []byte
	if err := row.Scan(&l.Index, &l.Time, &hash, &keySet, &attestation, &l.Body); err != nil {
		return l, err
	}
	if attestation != nil {
		err = setHash(&l.Attestation, attestation)
	}
	return l, errors.Join(err, setHash(&l.Hash, hash), setHash(&l.KeySet, keySet))
}

// Find implements storage.Store.
func (s *Store) Find(ctx context.Context, tree int64, hashes []tlog.Hash) (map[tlog.Hash]int64, error) {
	existing := map[tlog.Hash]storage.Existing{}
	err := s.read(ctx, "leaf hashes", tree, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, existingSQL, tree, byteSlices(hashes))
		if err != nil {
			return err
		}
		if err := scanExisting(rows, existing); err != nil || len(existing) > 0 {
			return err
		}
		return mustExist(ctx, conn, tree)
	})
	if err != nil {
		return nil, err
	}
	found := make(map[tlog.Hash]int64, len(existing))
	for h, e := range existing {
		found[h] = e.Index
	}
	return found, nil
}

// Attestation implements storage.Store.
func (s *Store) Attestation(ctx context.Context, tree int64, digest tlog.Hash) (data []byte, err error) {
	err = s.read(ctx, "an attestation", tree, func(conn *pgxpool.Conn) error {
		return notFound(conn.QueryRow(ctx, attestationSQL, tree, digest[:]).Scan(&data))
	})
	return data, err
}

// Keys implements storage.Store.
func (s *Store) Keys(ctx context.Context, tree, start int64, n int) (keys [][]tlog.Key, err error) {
	err = s.read(ctx, "search keys", tree, func(conn *pgxpool.Conn) (err error) {
		keys, err = readKeys(ctx, conn, readKeysSQL, tree, start, n)
		return err
	})
	return keys, err
}

// KeysOf implements storage.Store.
func (s *Store) KeysOf(ctx context.Context, tree int64, typ tlog.KeyType, start int64, n int) (keys [][]tlog.Key, err error) {
	err = s.read(ctx, "search keys", tree, func(conn *pgxpool.Conn) (err error) {
		keys, err = readKeys(ctx, conn, readKeysOfSQL, tree, start, n, []byte{byte(typ)})
		return err
	})
	return keys, err
}

// readKeys runs a statement whose arguments are a tree, a range, and more.
func readKeys(ctx context.Context, conn *pgxpool.Conn, statement string, tree, start int64, n int, more ...any) ([][]tlog.Key, error) {
	var size int64
	err := conn.QueryRow(ctx, "select size from tallystick.heads where tree_id = $1", tree).Scan(&size)
	if err != nil {
		return nil, notFound(err)
	}
	stop := min(end(start, n), size)
	if start < 0 || stop <= start {
		return nil, nil
	}
	rows, err := conn.Query(ctx, statement, append([]any{tree, start, stop}, more...)...)
	if err != nil {
		return nil, err
	}
	keys := make([][]tlog.Key, stop-start)
	var index int64
	var packed []byte
	_, err = pgx.ForEachRow(rows, []any{&index, &packed}, func() error {
		k, err := storage.UnpackKey(packed)
		keys[index-start] = append(keys[index-start], k)
		return err
	})
	for i := range keys {
		keys[i] = tlog.SortKeys(keys[i])
	}
	return keys, err
}
