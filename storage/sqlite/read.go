package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const headSQL = "select size, root, time from heads where tree_id = ?"

// readStatements are used by all connections that read.
type readStatements struct {
	head, checkpoint, trees, tile, hashes, leaves, leaf, time, keys, keysOf, nextKey, find, attestation *sql.Stmt
}

func prepareReads(ctx context.Context, db *sql.DB) (r readStatements, err error) {
	for _, p := range []struct {
		stmt **sql.Stmt
		sql  string
	}{
		{&r.head, headSQL},
		{&r.checkpoint, "select checkpoint from heads where tree_id = ?"},
		{&r.trees, "select tree_id, origin, api, state, base_index, public_key, created from trees order by position"},
		{&r.tile, "select substr(hashes, 1, ?) from tiles where tree_id = ? and level = ? and idx = ?"},
		{&r.hashes, "select hash from leaves where tree_id = ? and idx >= ? and idx < ? order by idx"},
		{&r.leaves, "select idx, time, hash, key_set, attestation, body from leaves where tree_id = ? and idx >= ? and idx < ? order by idx"},
		{&r.leaf, "select idx, time, hash, key_set, attestation, body from leaves where tree_id = ? and idx = ?"},
		{&r.time, "select time from leaves where tree_id = ? and idx = ?"},
		{&r.keys, "select idx, key from search_keys where tree_id = ? and idx >= ? and idx < ? order by idx"},
		{&r.keysOf, "select idx, key from search_keys where tree_id = ? and idx >= ? and idx < ? and substr(key, 1, 1) = ? order by idx"},
		{&r.nextKey, "select key from search_keys indexed by search_keys_by_key where tree_id = ? and key >= ? and key < ? order by key limit 1"},
		{&r.find, "select idx from leaves where tree_id = ? and hash = ?"},
		{&r.attestation, "select data from attestations where tree_id = ? and digest = ?"},
	} {
		if *p.stmt, err = db.PrepareContext(ctx, p.sql); err != nil {
			return r, fmt.Errorf("preparing %q: %w", p.sql, err)
		}
	}
	return r, nil
}

// read runs a read of a tree; its error is classed and says what was tried.
func (s *Store) read(ctx context.Context, what string, tree int64, do func() error) error {
	return s.call(ctx, fmt.Sprintf("reading %s of tree %d", what, tree), do)
}

// mustExist returns ErrNotFound if there is no such tree.
func (s *Store) mustExist(ctx context.Context, tree int64) error {
	_, err := scanHead(s.find.head.QueryRowContext(ctx, tree))
	return err
}

func scanHead(row *sql.Row) (h storage.Head, err error) {
	var root []byte
	if err := row.Scan(&h.Size, &root, &h.Time); err != nil {
		return h, err
	}
	return h, setHash(&h.Root, root)
}

// setHash copies a hash out of a row.
func setHash(h *tlog.Hash, b []byte) error {
	if len(b) != tlog.HashSize {
		return fmt.Errorf("the file has a hash of %d bytes, not %d", len(b), tlog.HashSize)
	}
	*h = tlog.Hash(b)
	return nil
}

// each runs a query and calls scan for each row.
func each(ctx context.Context, stmt *sql.Stmt, args []any, scan func(*sql.Rows) error) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	for rows.Next() && err == nil {
		err = scan(rows)
	}
	return errors.Join(err, rows.Err(), rows.Close())
}

// queryHashes returns the hashes that are a query's first column.
func queryHashes(ctx context.Context, stmt *sql.Stmt, args ...any) (hashes []tlog.Hash, err error) {
	var b sql.RawBytes
	err = each(ctx, stmt, args, func(rows *sql.Rows) error {
		if err := rows.Scan(&b); err != nil {
			return err
		}
		var h tlog.Hash
		err := setHash(&h, b)
		hashes = append(hashes, h)
		return err
	})
	return hashes, err
}

// Trees implements storage.Store.
func (s *Store) Trees(ctx context.Context) (trees []storage.Tree, err error) {
	err = s.call(ctx, "reading the trees", func() error {
		return each(ctx, s.find.trees, nil, func(rows *sql.Rows) error {
			var t storage.Tree
			err := rows.Scan(&t.ID, &t.Origin, &t.API, &t.State, &t.BaseIndex, &t.PublicKey, &t.Created)
			trees = append(trees, t)
			return err
		})
	})
	return trees, err
}

// Head implements storage.Store.
func (s *Store) Head(ctx context.Context, tree int64) (head storage.Head, err error) {
	err = s.read(ctx, "the head", tree, func() (err error) {
		head, err = scanHead(s.find.head.QueryRowContext(ctx, tree))
		return err
	})
	return head, err
}

// Checkpoint implements storage.Store.
func (s *Store) Checkpoint(ctx context.Context, tree int64) (text []byte, err error) {
	err = s.read(ctx, "the checkpoint", tree, func() error {
		return s.find.checkpoint.QueryRowContext(ctx, tree).Scan(&text)
	})
	return text, err
}

// Tiles implements storage.Store.
func (s *Store) Tiles(ctx context.Context, tree int64, ids []tlog.TileID) (tiles [][]tlog.Hash, err error) {
	err = s.read(ctx, "tiles", tree, func() error {
		for _, id := range ids {
			t, err := s.tile(ctx, tree, id)
			if err != nil {
				return err
			}
			tiles = append(tiles, t)
		}
		if len(ids) == 0 {
			return s.mustExist(ctx, tree)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tiles, nil
}

// tile reads one tile: a partial one of level 0 from the leaves, unless it has
// become full.
func (s *Store) tile(ctx context.Context, tree int64, id tlog.TileID) ([]tlog.Hash, error) {
	if !storage.ValidTile(id) {
		return nil, fmt.Errorf("%v: %w", id, storage.ErrNotFound)
	}
	var packed sql.RawBytes
	var hashes []tlog.Hash
	err := each(ctx, s.find.tile, []any{id.Width * tlog.HashSize, tree, id.Level, id.Index}, func(rows *sql.Rows) error {
		if err := rows.Scan(&packed); err != nil {
			return err
		}
		hashes = splitHashes(packed)
		return nil
	})
	if err == nil && hashes == nil && id.Level == 0 && id.Width < tlog.TileWidth {
		start := id.Index * tlog.TileWidth
		hashes, err = queryHashes(ctx, s.find.hashes, tree, start, start+int64(id.Width))
	}
	if err == nil && len(hashes) < id.Width {
		err = fmt.Errorf("%v: %w", id, storage.ErrNotFound)
	}
	return hashes, err
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
	err = s.read(ctx, "leaves", tree, func() error {
		if start >= 0 {
			err := each(ctx, s.find.leaves, []any{tree, start, end(start, n)}, func(rows *sql.Rows) error {
				l, err := scanLeaf(rows)
				leaves = append(leaves, l)
				return err
			})
			if err != nil || len(leaves) > 0 {
				return err
			}
		}
		return s.mustExist(ctx, tree)
	})
	return leaves, err
}

// LeavesAt implements storage.Store.
func (s *Store) LeavesAt(ctx context.Context, tree int64, indexes []int64) (leaves []storage.Leaf, err error) {
	err = s.read(ctx, "leaves", tree, func() error {
		for n, i := range indexes {
			err := each(ctx, s.find.leaf, []any{tree, i}, func(rows *sql.Rows) error {
				l, err := scanLeaf(rows)
				leaves = append(leaves, l)
				return err
			})
			if err != nil {
				return err
			}
			if len(leaves) == n {
				return fmt.Errorf("leaf %d: %w", i, storage.ErrNotFound)
			}
		}
		return s.mustExist(ctx, tree)
	})
	if err != nil {
		return nil, err
	}
	return leaves, nil
}

// Times implements storage.Store.
func (s *Store) Times(ctx context.Context, tree int64, indexes []int64) ([]int64, error) {
	times := make([]int64, len(indexes))
	err := s.read(ctx, "times", tree, func() error {
		for n, i := range indexes {
			if err := s.find.time.QueryRowContext(ctx, tree, i).Scan(&times[n]); err != nil {
				return err
			}
		}
		return s.mustExist(ctx, tree)
	})
	if err != nil {
		return nil, err
	}
	return times, nil
}

func scanLeaf(rows *sql.Rows) (l storage.Leaf, err error) {
	var hash, keySet, attestation sql.RawBytes
	if err := rows.Scan(&l.Index, &l.Time, &hash, &keySet, &attestation, &l.Body); err != nil {
		return l, err
	}
	if attestation != nil {
		err = setHash(&l.Attestation, attestation)
	}
	return l, errors.Join(err, setHash(&l.Hash, hash), setHash(&l.KeySet, keySet))
}

// Find implements storage.Store.
func (s *Store) Find(ctx context.Context, tree int64, hashes []tlog.Hash) (found map[tlog.Hash]int64, err error) {
	err = s.read(ctx, "leaf hashes", tree, func() error {
		found = map[tlog.Hash]int64{}
		for i := range hashes {
			var index int64
			err := s.find.find.QueryRowContext(ctx, tree, hashes[i][:]).Scan(&index)
			if err == nil {
				found[hashes[i]] = index
			} else if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		if len(found) == 0 {
			return s.mustExist(ctx, tree)
		}
		return nil
	})
	return found, err
}

// Attestation implements storage.Store.
func (s *Store) Attestation(ctx context.Context, tree int64, digest tlog.Hash) (data []byte, err error) {
	err = s.read(ctx, "an attestation", tree, func() error {
		return s.find.attestation.QueryRowContext(ctx, tree, digest[:]).Scan(&data)
	})
	return data, err
}

// Keys implements storage.Store.
func (s *Store) Keys(ctx context.Context, tree, start int64, n int) (keys [][]tlog.Key, err error) {
	return s.readKeys(ctx, s.find.keys, tree, start, n)
}

// KeysOf implements storage.Store.
func (s *Store) KeysOf(ctx context.Context, tree int64, typ tlog.KeyType, start int64, n int) (keys [][]tlog.Key, err error) {
	return s.readKeys(ctx, s.find.keysOf, tree, start, n, []byte{byte(typ)}) // the first byte of a packed key
}

// readKeys runs a statement whose arguments are a tree, a range, and more.
func (s *Store) readKeys(ctx context.Context, stmt *sql.Stmt, tree, start int64, n int, more ...any) (keys [][]tlog.Key, err error) {
	err = s.read(ctx, "search keys", tree, func() error {
		head, err := scanHead(s.find.head.QueryRowContext(ctx, tree))
		stop := min(end(start, n), head.Size)
		if err != nil || start < 0 || stop <= start {
			return err
		}
		keys = make([][]tlog.Key, stop-start)
		err = each(ctx, stmt, append([]any{tree, start, stop}, more...), func(rows *sql.Rows) error {
			var index int64
			var packed sql.RawBytes
			if err := rows.Scan(&index, &packed); err != nil {
				return err
			}
			k, err := storage.UnpackKey(packed)
			keys[index-start] = append(keys[index-start], k)
			return err
		})
		for i := range keys {
			keys[i] = tlog.SortKeys(keys[i])
		}
		return err
	})
	return keys, err
}

// KeysBeginning implements storage.Store. It walks the index (tree_id, key, idx) from
// one key to the next, over the rows that each has: the smallest bytes after a key
// are the key and a zero.
func (s *Store) KeysBeginning(ctx context.Context, tree int64, prefix tlog.Key, n int) (keys []tlog.Key, err error) {
	from, end := storage.PackPrefix(prefix)
	err = s.read(ctx, "search keys", tree, func() error {
		for len(keys) < n {
			var packed []byte
			err := s.find.nextKey.QueryRowContext(ctx, tree, from, end).Scan(&packed)
			if errors.Is(err, sql.ErrNoRows) {
				break
			}
			if err != nil {
				return err
			}
			k, err := storage.UnpackKey(packed)
			if err != nil {
				return err
			}
			keys, from = append(keys, k), append(packed, 0)
		}
		return s.mustExist(ctx, tree)
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// countMax bounds how far the rows of a term are counted: enough to tell a rare
// term from a frequent one.
const countMax = 10000

// Search implements storage.Store. It is one read transaction, so one snapshot: the
// index rows of all leaves below the head that it sees are there, because a commit
// is one transaction too.
func (s *Store) Search(ctx context.Context, q storage.Query) (res storage.Result, err error) {
	err = s.call(ctx, "searching", func() error {
		tx, err := s.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		res, err = searchTrees(ctx, tx, q)
		return err
	})
	if err != nil {
		return storage.Result{}, err
	}
	return res, nil
}

func searchTrees(ctx context.Context, tx *sql.Tx, q storage.Query) (storage.Result, error) {
	res := storage.Result{CompleteTo: map[int64]int64{}}
	limit := max(q.Limit, 1)
	for _, in := range q.In {
		head, err := scanHead(tx.QueryRowContext(ctx, headSQL, in.Tree))
		if err != nil {
			return res, err
		}
		res.CompleteTo[in.Tree] = head.Size
		// One more than there is room for tells whether the answer is cut off.
		found, err := searchRange(ctx, tx, in, q, limit-len(res.Matches)+1)
		if err != nil {
			return res, err
		}
		for _, i := range found {
			m := storage.Match{Tree: in.Tree, Index: i}
			var hash []byte
			if err := tx.QueryRowContext(ctx, "select hash from leaves where tree_id = ? and idx = ?", in.Tree, i).Scan(&hash); err != nil {
				return res, fmt.Errorf("leaf %d has search keys but no row: %w", i, err)
			}
			if err := setHash(&m.Hash, hash); err != nil {
				return res, err
			}
			res.Matches = append(res.Matches, m)
		}
		if len(res.Matches) > limit {
			res.Matches, res.Truncated = res.Matches[:limit], true
		}
	}
	return res, nil
}

// searchRange returns the indexes of the newest n matches in a part of a tree.
//
// For each key of the driving term it walks the index (tree_id, key, idx)
// backwards through the range, so newest first, and looks every other term up for
// that leaf; it stops after n hits. The newest n of all keys together are among those. If any term may
// match, all keys together are the driving term. If all must, it is the rarest one:
// then a search for a frequent key and a rare one costs what the rare one costs. (Of
// terms that all have countMax entries and more, any may drive it; if they hardly
// ever meet, the search reads all rows of one.)
func searchRange(ctx context.Context, tx *sql.Tx, in storage.Range, q storage.Query, n int) ([]int64, error) {
	driver, others := storage.Term(slices.Concat(q.Terms...)), []storage.Term(nil)
	if q.All && len(q.Terms) > 1 {
		rarest, err := rarestTerm(ctx, tx, in, q.Terms, countMax)
		if err != nil {
			return nil, err
		}
		driver, others = q.Terms[rarest], slices.Delete(slices.Clone(q.Terms), rarest, rarest+1)
	}
	query, args := searchSQL(others)
	var found []int64
	for _, k := range driver {
		rows, err := tx.QueryContext(ctx, query, append([]any{in.Tree, storage.PackKey(k), n, in.From, in.To}, args...)...)
		if err != nil {
			return nil, err
		}
		for rows.Next() && err == nil {
			var i int64
			err = rows.Scan(&i)
			found = append(found, i)
		}
		if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	slices.Reverse(found)
	return found[:min(n, len(found))], nil
}

// searchSQL returns the query for one key of the driving term, and its arguments
// from the sixth on. The lookups are written as scalar subqueries so that they stay
// lookups by whole keys: an exists with several keys SQLite (3.51) may turn into a join
// that reads the whole range for each driving row.
func searchSQL(others []storage.Term) (string, []any) {
	var probes strings.Builder
	var args []any
	for _, o := range others {
		if len(o) == 0 {
			probes.WriteString(" and false")
			continue
		}
		probes.WriteString(" and (select true from search_keys o where o.tree_id = ?1 and o.idx = s.idx and o.key in (")
		for i, k := range o {
			if i > 0 {
				probes.WriteString(", ")
			}
			args = append(args, storage.PackKey(k))
			fmt.Fprintf(&probes, "?%d", 5+len(args))
		}
		probes.WriteString(") limit 1)")
	}
	return `select s.idx from search_keys s indexed by search_keys_by_key where s.tree_id = ?1 and s.key = ?2 and s.idx >= ?4 and s.idx < ?5` + probes.String() + `
		order by s.idx desc limit ?3`, args
}

// rarestTerm returns the place of the term with the fewest rows in the range; of those
// that have limit rows and more, the first.
func rarestTerm(ctx context.Context, tx *sql.Tx, in storage.Range, terms []storage.Term, limit int) (int, error) {
	rarest, fewest := 0, math.MaxInt
	for i, t := range terms {
		n := 0
		for _, k := range t {
			if n == limit {
				break
			}
			var m int
			err := tx.QueryRowContext(ctx, "select count(*) from (select 1 from search_keys indexed by search_keys_by_key where tree_id = ? and key = ? and idx >= ? and idx < ? limit ?)",
				in.Tree, storage.PackKey(k), in.From, in.To, limit-n).Scan(&m)
			if err != nil {
				return 0, err
			}
			n += m
		}
		if n < fewest {
			rarest, fewest = i, n
		}
	}
	return rarest, nil
}
