package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/keys"
	"github.com/tallystick/tallystick/sequencer"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// trees is a Store of which only the list of trees works.
type trees struct {
	storage.Store
	list   []storage.Tree
	before func() // called once, between the first look and the creation
}

func (s *trees) Trees(context.Context) ([]storage.Tree, error) { return s.list, nil }

func (s *trees) CreateTree(_ context.Context, t storage.Tree) error {
	if s.before != nil {
		s.before()
	}
	if len(s.list) > 0 {
		return storage.ErrExists
	}
	s.list = append(s.list, t)
	return nil
}

// aServer returns the identity of a server with an empty data directory.
func aServer(t *testing.T, store storage.Store) *identity {
	t.Helper()
	dir := t.TempDir()
	return &identity{
		store: store, where: "the database", markPath: filepath.Join(dir, "log.mark"), keyPath: filepath.Join(dir, "log.key"),
		record: func() (sequencer.Record, bool, error) { return sequencer.Record{}, false, nil },
		host:   "log.example", now: func() time.Time { return time.Unix(1700000000, 0) },
	}
}

func TestIdentityMadeOnce(t *testing.T) {
	store := &trees{}
	s := aServer(t, store)
	first, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !first.made || first.tree.ID <= 0 || first.tree.Origin != tlog.OriginV1("log.example", first.tree.ID) ||
		first.tree.API != storage.APIv1 || first.tree.State != storage.StateActive || first.tree.Created != 1700000000 {
		t.Errorf("made %+v", first)
	}
	second, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if second.made || second.tree.ID != first.tree.ID || second.key.LogID() != first.key.LogID() {
		t.Errorf("the second start has %+v, the first had %+v", second, first)
	}
}

// A start that ended between key and tree leaves a key. The next start uses it.
func TestIdentityAfterCrashBetweenKeyAndTree(t *testing.T) {
	s := aServer(t, &trees{})
	key, err := keys.Generate(s.keyPath)
	if err != nil {
		t.Fatal(err)
	}
	log, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if log.key.LogID() != key.LogID() {
		t.Error("another key was made")
	}
}

// Two servers make the log at once: with one key between them both get the same
// log; with a key each, the later one is refused and keeps no useless key.
func TestIdentityRace(t *testing.T) {
	for _, shared := range []bool{true, false} {
		store := &trees{}
		winner, loser := aServer(t, store), aServer(t, store)
		if shared {
			loser.keyPath = winner.keyPath
		}
		var won logIdentity
		store.before = func() {
			store.before = nil
			var err error
			if won, err = winner.open(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		log, err := loser.open(t.Context())
		if shared {
			if err != nil || log.tree.ID != won.tree.ID || log.made {
				t.Errorf("with one key: %+v, %v; the other server has tree %d", log, err, won.tree.ID)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "another server made the log in the same moment") {
			t.Errorf("with two keys: error is %v", err)
		}
		if _, err := os.Stat(loser.keyPath); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the useless key is still there (%v)", err)
		}
		if len(store.list) != 1 {
			t.Errorf("there are %d trees", len(store.list))
		}
	}
}

func TestIdentityRefusals(t *testing.T) {
	store := &trees{}
	owner := aServer(t, store)
	log, err := owner.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	otherKey := filepath.Join(t.TempDir(), "other.key")
	if _, err := keys.Generate(otherKey); err != nil {
		t.Fatal(err)
	}
	record := func(tree int64) func() (sequencer.Record, bool, error) {
		return func() (sequencer.Record, bool, error) {
			return sequencer.Record{Tree: tree, Head: tlog.Head{Size: 7}}, true, nil
		}
	}
	noRecord := owner.record
	startNew := func(i *identity) { i.store, i.record = &trees{}, noRecord }
	for name, c := range map[string]struct {
		change func(*identity)
		want   []string
	}{
		"key gone":           {func(i *identity) { i.keyPath += ".gone" }, []string{"the key of the log is gone", log.tree.Origin, owner.keyPath + ".gone", "--key"}},
		"named key gone":     {func(i *identity) { i.keyRef = otherKey + ".gone" }, []string{"the key of the log is gone", otherKey + ".gone"}},
		"wrong key":          {func(i *identity) { i.keyRef = otherKey }, []string{"does not fit", tlog.LogID(log.tree.PublicKey).String(), otherKey}},
		"another log's mark": {func(i *identity) { i.record = record(log.tree.ID ^ 1) }, []string{"of another log", i64(log.tree.ID ^ 1), log.tree.Origin}},
		"other name":         {func(i *identity) { i.publicURL, i.host = "https://new.example", "new.example" }, []string{`"new.example"`, `"log.example"`}},
		"no tree any more": {func(i *identity) { i.store, i.record = &trees{}, record(log.tree.ID) },
			[]string{"database is gone", i64(log.tree.ID), "size 7"}},
		"no active tree": {func(i *identity) {
			i.store = &trees{list: []storage.Tree{{ID: 1, API: storage.APIv1, State: storage.StateReadOnly}}}
		}, []string{"none of them is active"}},
		"guessed name":            {func(i *identity) { startNew(i); i.guessed = true }, []string{"--public-url", "the database holds no log yet"}},
		"impossible name":         {func(i *identity) { startNew(i); i.host = "no such+host" }, []string{`"no such+host"`}},
		"no name":                 {func(i *identity) { startNew(i); i.host = "" }, []string{"the host name is empty"}},
		"new log, named key gone": {func(i *identity) { startNew(i); i.keyRef = otherKey + ".gone" }, []string{"no file", otherKey + ".gone"}},
	} {
		i := *owner
		i.record = record(log.tree.ID)
		c.change(&i)
		_, err := i.open(t.Context())
		if err == nil {
			t.Errorf("%s: not refused", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error does not say %q:\n%v", name, want, err)
			}
		}
	}
	if len(store.list) != 1 {
		t.Errorf("there are %d trees", len(store.list))
	}
	// The same server, with nothing changed, goes on; a name that it does not need is
	// no matter.
	owner.record, owner.guessed = record(log.tree.ID), true
	owner.publicURL = "https://log.example"
	if _, err := owner.open(t.Context()); err != nil {
		t.Error(err)
	}
}

func i64(n int64) string { return tlog.OriginV1("", n)[len(" - "):] }

func TestHostOf(t *testing.T) {
	for _, c := range []struct {
		url, listen, host string
		guessed           bool
	}{
		{"https://Log.example:8443/rekor", "0.0.0.0:1", "log.example", false},
		{"", "127.0.0.1:3000", "127.0.0.1", false},
		{"", "[::1]:0", "::1", false},
		{"", "Log.example:0", "log.example", false},
		{"", "0.0.0.0:3000", "localhost", true},
		{"", "[::]:3000", "localhost", true},
		{"", ":3000", "localhost", true},
	} {
		host, guessed, err := hostOf(c.url, c.listen)
		if host != c.host || guessed != c.guessed || err != nil {
			t.Errorf("%q, %q: %q %v %v, not %q %v", c.url, c.listen, host, guessed, err, c.host, c.guessed)
		}
	}
	for _, url := range []string{"log.example", "ftp://x", "https://", "https://u:p@x", "https://x?y", "https://bücher.example", "https://a b"} {
		if _, _, err := hostOf(url, ":1"); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
}
