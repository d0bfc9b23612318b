package migrations

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestEmbedded(t *testing.T) {
	for name, series := range map[string]func() ([]Migration, error){"postgres": Postgres, "sqlite": SQLite} {
		all, err := series()
		if err != nil || len(all) == 0 {
			t.Fatalf("%s: %d migrations, %v", name, len(all), err)
		}
		for _, m := range all {
			if !strings.HasPrefix(m.SQL, "-- ") {
				t.Errorf("%s migration %d does not begin by explaining itself", name, m.Number)
			}
		}
	}
}

func TestLoad(t *testing.T) {
	file := func(names ...string) fstest.MapFS {
		m := fstest.MapFS{}
		for _, n := range names {
			m["x/"+n] = &fstest.MapFile{Data: []byte("-- " + n)}
		}
		return m
	}
	all, err := load(file("0001_a.sql", "0002_b_c.sql", "readme.txt"), "x")
	if err != nil || len(all) != 2 || all[1] != (Migration{2, "b_c", "-- 0002_b_c.sql"}) {
		t.Errorf("got %v, %v", all, err)
	}
	for _, bad := range []fstest.MapFS{file("0002_a.sql"), file("0001_a.sql", "0003_b.sql"), file("0001.sql"), file("a_b.sql")} {
		if all, err := load(bad, "x"); err == nil {
			t.Errorf("loaded %v", all)
		}
	}
}

func TestPending(t *testing.T) {
	all := []Migration{{Number: 1}, {Number: 2}}
	for applied, want := range []int{2, 1, 0} {
		if got, err := Pending(all, applied); err != nil || len(got) != want || want > 0 && got[0].Number != applied+1 {
			t.Errorf("after %d: got %v, %v", applied, got, err)
		}
	}
	for _, applied := range []int{-1, 3} {
		if _, err := Pending(all, applied); !errors.Is(err, ErrUnknown) {
			t.Errorf("after %d: got %v", applied, err)
		}
	}
}
