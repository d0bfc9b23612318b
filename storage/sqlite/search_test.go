package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

func searchKey(typ tlog.KeyType, format string, args ...any) tlog.Key {
	return tlog.Key{Type: typ, Value: fmt.Sprintf(format, args...)}
}

// openForSearch returns a store with n leaves, each with one of 2 issuers and one of
// 200 identities, of which each issuer has 100.
func openForSearch(t *testing.T, n int) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "log.db"), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	storagetest.CreateTree(t, s)
	w := storagetest.NewWriter(s)
	var leaves []storage.NewLeaf
	for i := range n {
		leaves = append(leaves, storagetest.Leaf(fmt.Sprint(i),
			searchKey(tlog.KeyIdentity, "dev%d", i%200), searchKey(tlog.KeyIssuer, "https://i%d", i%2)))
	}
	if err := w.Commit(t.Context(), leaves...); err != nil {
		t.Fatal(err)
	}
	return s
}

// However many keys a term has, it is looked up leaf by leaf, in an index, by its whole
// key: whatever is read beside that is read again for each leaf of the driving term.
func TestSearchPlan(t *testing.T) {
	s := openForSearch(t, 2000)
	for _, n := range []int{1, 2, 4, 5, 20, 100} {
		var term storage.Term
		for i := range n {
			term = append(term, searchKey(tlog.KeyIdentity, "dev%d", 2*i))
		}
		for _, others := range [][]storage.Term{{term}, {term, term}} {
			query, args := searchSQL(others)
			plan := explain(t, s, query, append([]any{storagetest.TreeID, storage.PackKey(searchKey(tlog.KeyIssuer, "https://i1")), 21, 0, 2000}, args...)...)
			probes := 0
			for _, line := range plan {
				switch {
				case !strings.Contains(line, " o "):
				case strings.Contains(line, "idx=?") && strings.Contains(line, "key=?") && strings.HasPrefix(line, "SEARCH"):
					probes++
				default:
					t.Errorf("%d keys: %s", n, line)
				}
			}
			if probes != len(others) || strings.Contains(strings.Join(plan, "\n"), "TEMP B-TREE") {
				t.Errorf("%d keys: the plan is\n%s", n, strings.Join(plan, "\n"))
			}
		}
	}
}

// A term's rows are counted up to the limit for all of its keys together, however many
// these are: so a count is never longer than that, and frequent terms are alike.
func TestRarestTerm(t *testing.T) {
	s := openForSearch(t, 2000)
	tx, err := s.reads.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var many storage.Term // 1000 rows, 10 for each key
	for i := range 100 {
		many = append(many, searchKey(tlog.KeyIdentity, "dev%d", i))
	}
	issuer := storage.Term{searchKey(tlog.KeyIssuer, "https://i1")} // 1000 rows
	for _, c := range []struct {
		terms []storage.Term
		want  int
	}{
		{[]storage.Term{many, issuer}, 0},
		{[]storage.Term{issuer, many}, 0},
		{[]storage.Term{many[:10], many[:5]}, 0},
		{[]storage.Term{many, many[:4]}, 1},
		{[]storage.Term{issuer, many[:3], many[:4]}, 1},
		{[]storage.Term{issuer, nil, many[:4]}, 1},
	} {
		got, err := rarestTerm(t.Context(), tx, storage.Range{Tree: storagetest.TreeID, To: 2000}, c.terms, 50)
		if err != nil || got != c.want {
			t.Errorf("term %d is taken for the rarest, not %d; error %v", got, c.want, err)
		}
	}
}

func explain(t *testing.T, s *Store, query string, args ...any) (plan []string) {
	t.Helper()
	rows, err := s.reads.QueryContext(t.Context(), "explain query plan "+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}
