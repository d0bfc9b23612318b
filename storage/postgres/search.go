package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallystick/tallystick/storage"
)

// searchSQL returns the query for one tree: $1 the tree, $2 the keys of the term
// that drives the search, $3 the most rows, and from $4 on the keys of every term
// that has to match besides.
//
// For each driving key it walks the index (tree_id, key, idx) backwards, so newest
// first, and looks every other term up in the same index for that leaf; it stops
// after $3 hits. The newest $3 of all keys together are among those. One statement
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
				where o.tree_id = $1 and o.key = any($%d::bytea[]) and o.idx = s.idx limit 1)`, i+4)
	}
	return `select h.size, m.idx, (select l.hash from tallystick.leaves l where l.tree_id = $1 and l.idx = m.idx)
		from tallystick.heads h left join (
			select distinct k.idx from unnest($2::bytea[]) as q (key) cross join lateral (
				select s.idx from tallystick.search_keys s where s.tree_id = $1 and s.key = q.key` + probes.String() + `
				order by s.idx desc limit $3) k
			order by k.idx desc limit $3) m on true
		where h.tree_id = $1 order by m.idx desc`
}

// countSQL counts the rows of a term, but not beyond countMax: enough to tell a rare
// term from a frequent one.
const (
	countMax = 10000
	countSQL = `select count(*) from (select from tallystick.search_keys where tree_id = $1 and key = any($2::bytea[]) limit $3) x`
)

// Search implements storage.Store. Each tree is searched in a snapshot of its own.
func (s *Store) Search(ctx context.Context, q storage.Query) (storage.Result, error) {
	res := storage.Result{CompleteTo: map[int64]int64{}}
	limit := max(q.Limit, 1)
	for _, tree := range q.Trees {
		var matches []storage.Match
		var size int64
		err := s.read(ctx, "search results", tree, func(conn *pgxpool.Conn) (err error) {
			// One more than there is room for tells whether the answer is cut off.
			matches, size, err = searchTree(ctx, conn, tree, q, limit-len(res.Matches)+1)
			return err
		})
		if err != nil {
			return storage.Result{}, err
		}
		res.CompleteTo[tree] = size
		res.Matches = append(res.Matches, matches...)
		if len(res.Matches) > limit {
			res.Matches, res.Truncated = res.Matches[:limit], true
		}
	}
	return res, nil
}

// searchTree returns the newest n matches in one tree, and the tree's size.
func searchTree(ctx context.Context, conn *pgxpool.Conn, tree int64, q storage.Query, n int) (matches []storage.Match, size int64, err error) {
	driver, others, err := plan(ctx, conn, tree, q)
	if err != nil {
		return nil, 0, err
	}
	args := []any{tree, driver, n}
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
		m := storage.Match{Tree: tree, Index: *index}
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
func plan(ctx context.Context, conn *pgxpool.Conn, tree int64, q storage.Query) (driver [][]byte, others [][][]byte, err error) {
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
		b.Queue(countSQL, tree, t, countMax).QueryRow(func(row pgx.Row) error { return row.Scan(&counts[i]) })
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
