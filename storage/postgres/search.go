package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// searchSQL returns the query for a part of one tree: $1 the tree, $2 the keys of the
// term that drives the search, $3 the most rows, $4 and $5 the range of indexes (the
// end is not in it), and from $6 on the keys of every term that has to match besides.
//
// For each driving key it walks the index (tree_id, key, idx) backwards through the
// range, so newest first, and looks every other term up in the same index for that
// leaf; it stops after $3 hits. The newest $3 of all keys together are among those. One statement
// is one snapshot: the size it returns is that of the tree in which it searched, and
// as a commit is one transaction, the index rows of all leaves below it are there.
// The lookups are written as scalar subqueries so that they stay lookups, and do
// not become a join that reads all rows of a frequent key.
//
// The first row has the size; idx is null if nothing matched.
func searchSQL(others int) string {
	var probes strings.Builder
	for i := range others {
		fmt.Fprintf(&probes, ` and (select true from tallystick.search_keys o
				where o.tree_id = $1 and o.key = any($%d::bytea[]) and o.idx = s.idx limit 1)`, i+6)
	}
	return `select h.size, m.idx, (select l.hash from tallystick.leaves l where l.tree_id = $1 and l.idx = m.idx)
		from tallystick.heads h left join (
			select distinct k.idx from unnest($2::bytea[]) as q (key) cross join lateral (
				select s.idx from tallystick.search_keys s where s.tree_id = $1 and ` + inRange + probes.String() + `
				order by s.key desc, s.idx desc limit $3) k
			order by k.idx desc limit $3) m on true
		where h.tree_id = $1 order by m.idx desc`
}

// inRange says that a row of search_keys has the key and is in the range. It is
// written as two comparisons of rows because only the index (tree_id, key, idx) can
// answer those: told of key and idx one by one, the planner may take the index
// (tree_id, idx) and read all rows of the range.
const inRange = `(s.key, s.idx) >= (q.key, $4::bigint) and (s.key, s.idx) < (q.key, $5::bigint)`

// countSQL counts the rows of a term in a range, but not beyond countMax: enough to
// tell a rare term from a frequent one.
const (
	countMax = 10000
	countSQL = `select count(*) from (select from unnest($2::bytea[]) as q (key) cross join lateral (
			select from tallystick.search_keys s where s.tree_id = $1 and ` + inRange + ` order by s.key desc, s.idx desc limit $3) k
		limit $3) x`
)

// keysBeginningSQL finds the different keys from $2 to $3 (the end is not in it), at
// most $4: a recursive query that goes from each key to the next one in the index
// (tree_id, key, idx), over the rows that the key has, however many (a "loose index
// scan", which PostgreSQL does not do by itself). The last row is null if there are
// no more keys.
const keysBeginningSQL = `with recursive found (value, n) as (
		select (select s.key from tallystick.search_keys s where s.tree_id = $1 and s.key >= $2 and s.key < $3 order by s.key limit 1), 1
		union all
		select (select s.key from tallystick.search_keys s where s.tree_id = $1 and s.key > f.value and s.key < $3 order by s.key limit 1), f.n + 1
		from found f where f.value is not null and f.n < $4)
	select value from found where value is not null order by n`

// KeysBeginning implements storage.Store.
func (s *Store) KeysBeginning(ctx context.Context, tree int64, prefix tlog.Key, n int) (keys []tlog.Key, err error) {
	from, end := storage.PackPrefix(prefix)
	err = s.read(ctx, "search keys", tree, func(conn *pgxpool.Conn) error {
		keys = nil
		if n <= 0 {
			return mustExist(ctx, conn, tree)
		}
		rows, err := conn.Query(ctx, keysBeginningSQL, tree, from, end, n)
		if err != nil {
			return err
		}
		var packed []byte
		_, err = pgx.ForEachRow(rows, []any{&packed}, func() error {
			k, err := storage.UnpackKey(packed)
			keys = append(keys, k)
			return err
		})
		if err == nil && len(keys) == 0 {
			return mustExist(ctx, conn, tree)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// Search implements storage.Store. Each tree is searched in a snapshot of its own.
func (s *Store) Search(ctx context.Context, q storage.Query) (storage.Result, error) {
	res := storage.Result{CompleteTo: map[int64]int64{}}
	limit := max(q.Limit, 1)
	for _, in := range q.In {
		var matches []storage.Match
		var size int64
		err := s.read(ctx, "search results", in.Tree, func(conn *pgxpool.Conn) (err error) {
			// One more than there is room for tells whether the answer is cut off.
			matches, size, err = searchRange(ctx, conn, in, q, limit-len(res.Matches)+1)
			return err
		})
		if err != nil {
			return storage.Result{}, err
		}
		res.CompleteTo[in.Tree] = size
		res.Matches = append(res.Matches, matches...)
		if len(res.Matches) > limit {
			res.Matches, res.Truncated = res.Matches[:limit], true
		}
	}
	return res, nil
}

// searchRange returns the newest n matches in a part of a tree, and the tree's size.
func searchRange(ctx context.Context, conn *pgxpool.Conn, in storage.Range, q storage.Query, n int) (matches []storage.Match, size int64, err error) {
	driver, others, err := plan(ctx, conn, in, q)
	if err != nil {
		return nil, 0, err
	}
	args := []any{in.Tree, driver, n, in.From, in.To}
	for _, o := range others {
		args = append(args, o)
	}
	rows, err := conn.Query(ctx, searchSQL(len(others)), args...)
	if err != nil {
		return nil, 0, err
	}
	var index *int64
	var hash []byte
	tag, err := pgx.ForEachRow(rows, []any{&size, &index, &hash}, func() error {
		if index == nil {
			return nil
		}
		m := storage.Match{Tree: in.Tree, Index: *index}
		matches = append(matches, m)
		return setHash(&matches[len(matches)-1].Hash, hash)
	})
	if err == nil && tag.RowsAffected() == 0 {
		err = storage.ErrNotFound
	}
	return matches, size, err
}

// plan decides which keys drive the search, and which terms are looked up. If any
// term may match, the keys of all of them drive it. If all must match, the rarest
// one does: then a search for a frequent key and a rare one costs what the rare one
// costs. (Of terms that all have countMax entries and more, any may drive it; if
// they hardly ever meet, the search reads all rows of one.)
func plan(ctx context.Context, conn *pgxpool.Conn, in storage.Range, q storage.Query) (driver [][]byte, others [][][]byte, err error) {
	var terms [][][]byte
	for _, t := range q.Terms {
		terms = append(terms, packKeys(t))
	}
	if !q.All || len(terms) < 2 {
		return slices.Concat(terms...), nil, nil
	}
	counts := make([]int64, len(terms))
	b := &pgx.Batch{}
	for i, t := range terms {
		b.Queue(countSQL, in.Tree, t, countMax, in.From, in.To).QueryRow(func(row pgx.Row) error { return row.Scan(&counts[i]) })
	}
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, err
	}
	rarest := slices.Index(counts, slices.Min(counts))
	driver = terms[rarest]
	return driver, slices.Delete(terms, rarest, rarest+1), nil
}

func packKeys(t storage.Term) [][]byte {
	keys := [][]byte{}
	for _, k := range t {
		keys = append(keys, storage.PackKey(k))
	}
	return keys
}
