package postgres

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

// planned are the statements that read tables that grow, with the arguments of
// one call.
func planned() map[string][]any {
	hashes := [][]byte{make([]byte, 32), make([]byte, 32)}
	return map[string][]any{
		existingSQL:      {storagetest.TreeID, hashes},
		sinceSQL:         {storagetest.TreeID, int64(10), int64(100)},
		readTilesSQL:     {storagetest.TreeID, []int16{0}, []int64{0}, []int32{256}},
		readHashesSQL:    {storagetest.TreeID, int64(0), int64(255)},
		readLeavesSQL:    {storagetest.TreeID, int64(0), int64(255)},
		readKeysSQL:      {storagetest.TreeID, int64(0), int64(255)},
		readKeysOfSQL:    {storagetest.TreeID, int64(0), int64(255), []byte{4}},
		attestationSQL:   {storagetest.TreeID, hashes[0]},
		countSQL:         {storagetest.TreeID, hashes, 10, 0, 1000},
		searchSQL(0):     {storagetest.TreeID, hashes, 10, 0, 1000},
		searchSQL(2):     {storagetest.TreeID, hashes, 10, 0, 1000, hashes, hashes},
		readTimesSQL:     {storagetest.TreeID, []int64{0, 100, 3}},
		readLeavesAtSQL:  {storagetest.TreeID, []int64{0, 100, 3}},
		keysBeginningSQL: {storagetest.TreeID, []byte{3, 0}, []byte{3, 1}, 100},
	}
}

// explain returns the plan of a statement as a session of ours runs it.
func explain(t *testing.T, s *Store, options, statement string, args []any) string {
	t.Helper()
	conn, err := s.reads.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	// Prepared by name, so that the plan is a generic one, as pgx's are.
	if _, err := conn.Exec(t.Context(), "prepare x as "+statement); err != nil {
		t.Fatal(err)
	}
	defer conn.Exec(context.WithoutCancel(t.Context()), "deallocate x")
	literals := make([]string, len(args))
	for i, a := range args {
		literals[i] = literal(a)
	}
	rows, err := conn.Query(t.Context(), fmt.Sprintf("explain (%s) execute x(%s)", options, strings.Join(literals, ", ")))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// literal writes an argument as SQL.
func literal(a any) string {
	list := func(n int, at func(int) any, typ string) string {
		s := make([]string, n)
		for i := range s {
			s[i] = literal(at(i))
		}
		return "array[" + strings.Join(s, ", ") + "]::" + typ + "[]"
	}
	switch a := a.(type) {
	case []byte:
		return fmt.Sprintf(`'\x%x'::bytea`, a)
	case [][]byte:
		return list(len(a), func(i int) any { return a[i] }, "bytea")
	case []int16:
		return list(len(a), func(i int) any { return a[i] }, "smallint")
	case []int32:
		return list(len(a), func(i int) any { return a[i] }, "integer")
	case []int64:
		return list(len(a), func(i int) any { return a[i] }, "bigint")
	}
	return fmt.Sprint(a)
}

// Whatever the planner knows, and when it planned, every statement walks an index:
// in an empty log, and in one that grew since.
func TestPlans(t *testing.T) {
	s, err := Open(t.Context(), pgtest.Database(t), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storagetest.CreateTree(t, s)
	check := func(when string) {
		for statement, args := range planned() {
			plan := explain(t, s, "costs off", statement, args)
			for _, bad := range []string{"Seq Scan on leaves", "Seq Scan on search_keys", "Seq Scan on tiles", "Seq Scan on attestations",
				"Bitmap", "Hash Join", "Merge Join", "Hash Semi", "Filter: ((key", "Filter: ((s.key"} {
				if strings.Contains(plan, bad) {
					t.Errorf("%s: the plan of\n%s\nhas %q:\n%s", when, statement, bad, plan)
				}
			}
		}
	}
	check("empty")
	w := storagetest.NewWriter(s)
	for i := range 5 {
		if err := w.Commit(t.Context(), storagetest.Leaves(fmt.Sprint(i), 1000)...); err != nil {
			t.Fatal(err)
		}
	}
	check("grown")
	if _, err := s.reads.Exec(t.Context(), "analyze"); err != nil {
		t.Fatal(err)
	}
	check("analyzed")
}

// A search for a frequent key and a rare one reads about as many rows as the rare
// one has; one for a frequent key reads what it returns.
func TestSearchCost(t *testing.T) {
	s, err := Open(t.Context(), pgtest.Database(t), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storagetest.CreateTree(t, s)
	frequent, rare := tlog.Key{Type: tlog.KeyIssuer, Value: "frequent"}, tlog.Key{Type: tlog.KeyIdentity, Value: "rare"}
	w := storagetest.NewWriter(s)
	for i := range 10 {
		var leaves []storage.NewLeaf
		for j := range 1000 {
			keys := []tlog.Key{frequent}
			if j == 0 {
				keys = append(keys, rare)
			}
			leaves = append(leaves, storagetest.Leaf(fmt.Sprint(i, " ", j), keys...))
		}
		if err := w.Commit(t.Context(), leaves...); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := s.reads.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, terms := range [][]storage.Term{{{frequent}, {rare}}, {{rare}, {frequent}}, {{frequent}}} {
		driver, others, err := plan(t.Context(), conn, storage.Whole(storagetest.TreeID), storage.Query{Terms: terms, All: true})
		if err != nil {
			t.Fatal(err)
		}
		args := []any{storagetest.TreeID, driver, 11, int64(0), int64(math.MaxInt64)}
		for _, o := range others {
			args = append(args, o)
		}
		text := explain(t, s, "analyze, costs off, timing off", searchSQL(len(others)), args)
		if n := rowsRead(text); n > 100 {
			t.Errorf("%v: reads %d rows:\n%s", terms, n, text)
		}
	}
}

// The keys that begin with a prefix cost as many rows as there are keys, however many
// leaves have them; times cost the rows that are asked for; and a search in a range reads
// what it returns.
func TestRangeCosts(t *testing.T) {
	s, err := Open(t.Context(), pgtest.Database(t), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storagetest.CreateTree(t, s)
	w := storagetest.NewWriter(s)
	for i := range 10 {
		var leaves []storage.NewLeaf
		for j := range 1000 {
			leaves = append(leaves, storagetest.Leaf(fmt.Sprint(i, " ", j),
				tlog.Key{Type: tlog.KeyIdentity, Value: fmt.Sprint("few-", j%3)},
				tlog.Key{Type: tlog.KeyIdentity, Value: fmt.Sprint("own-", i, "-", j)}))
		}
		if err := w.Commit(t.Context(), leaves...); err != nil {
			t.Fatal(err)
		}
	}
	prefix := func(value string, n int) []any {
		from, end := storage.PackPrefix(tlog.Key{Type: tlog.KeyIdentity, Value: value})
		return []any{storagetest.TreeID, from, end, n}
	}
	few := [][]byte{storage.PackKey(tlog.Key{Type: tlog.KeyIdentity, Value: "few-1"})}
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			if _, err := s.reads.Exec(t.Context(), "analyze"); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name, sql string
			args      []any
			most      int
		}{
			{"few keys", keysBeginningSQL, prefix("few", 101), 20},
			{"many keys", keysBeginningSQL, prefix("own", 50), 250},
			{"times", readTimesSQL, []any{storagetest.TreeID, []int64{0, 5000, 9999}}, 3},
			{"range", searchSQL(0), []any{storagetest.TreeID, few, 10, 3000, 4000}, 50},
			{"end of a range", searchSQL(0), []any{storagetest.TreeID, few, 10, 3000, 3010}, 50},
		} {
			text := explain(t, s, "analyze, costs off, timing off", c.sql, c.args)
			if n := rowsRead(text); n > c.most {
				t.Errorf("%s, analyzed %v: reads %d rows:\n%s", c.name, analyzed, n, text)
			}
		}
	}
}

// rowsRead adds up the rows that the scans of a plan returned or filtered out.
func rowsRead(plan string) int {
	total := 0
	for _, m := range regexp.MustCompile(`(?:Scan.*rows=(\d+) loops=(\d+))|Removed by Filter: (\d+)`).FindAllStringSubmatch(plan, -1) {
		number := func(s string) int {
			n, _ := strconv.Atoi(s)
			return n
		}
		total += number(m[1])*number(m[2]) + number(m[3])
	}
	return total
}
