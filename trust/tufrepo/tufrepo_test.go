package tufrepo_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/tallystick/tallystick/trust"
	"github.com/tallystick/tallystick/trust/tufrepo"
)

const day = 24 * time.Hour

var (
	now    = time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC)
	filesA = []trust.Target{
		{Name: "trusted_root.json", Content: []byte("root A")},
		{Name: "rekor.pub", Content: []byte("key"), Custom: json.RawMessage(`{"sigstore":{"usage":"Rekor"}}`)},
	}
	filesB = []trust.Target{
		{Name: "trusted_root.json", Content: []byte("root B")},
		{Name: "rekor.pub", Content: []byte("key"), Custom: json.RawMessage(`{ "sigstore": {"usage": "Rekor"}}`)},
	}
)

// newRepository returns one that is not made yet.
func newRepository(t testing.TB) tufrepo.Repository {
	dir := t.TempDir()
	return tufrepo.Repository{
		Dir: filepath.Join(dir, "tuf"), Keys: filepath.Join(dir, "keys"), Now: now,
		Lifetimes: tufrepo.Lifetimes{Root: 400 * day, Targets: 300 * day, Snapshot: 30 * day, Timestamp: 20 * day},
	}
}

// made returns one that is made, with filesA.
func made(t testing.TB) tufrepo.Repository {
	t.Helper()
	r := newRepository(t)
	if _, err := r.Init(filesA, 1); err != nil {
		t.Fatal(err)
	}
	return r
}

func after(r tufrepo.Repository, d time.Duration) tufrepo.Repository {
	r.Now = now.Add(d)
	return r
}

func refresh(t testing.TB, r tufrepo.Repository, c tufrepo.Change) *tufrepo.State {
	t.Helper()
	s, err := r.Refresh(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// versions returns those of root, targets, snapshot and timestamp.
func versions(s *tufrepo.State) (v [4]int64) {
	for i, r := range s.Roles {
		v[i] = r.Version
	}
	return v
}

// client is somebody with a root, who fetches over HTTP with go-tuf's own client and
// remembers what he saw.
type client struct {
	t     testing.TB
	cache string
	root  []byte
}

func newClient(t testing.TB, r tufrepo.Repository) *client {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(r.Dir, "1.root.json"))
	if err != nil {
		t.Fatal(err)
	}
	return &client{t, t.TempDir(), root}
}

// fetch returns all files of a repository, as they are at a moment.
func (c *client) fetch(dir string, at time.Time) (map[string]string, error) {
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	cfg, err := config.New(server.URL, c.root)
	if err != nil {
		return nil, err
	}
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = c.cache, filepath.Join(c.cache, "targets")
	up, err := updater.New(cfg)
	if err != nil {
		return nil, err
	}
	up.UnsafeSetRefTime(at)
	if err := up.Refresh(); err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, info := range up.GetTopLevelTargets() {
		info.Path = name
		_, content, err := up.DownloadTarget(info, "", "")
		if err != nil {
			return nil, err
		}
		files[name] = string(content)
	}
	return files, nil
}

// sees checks that the client gets the files.
func (c *client) sees(r tufrepo.Repository, want []trust.Target) {
	c.t.Helper()
	got, err := c.fetch(r.Dir, r.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range want {
		all[f.Name] = string(f.Content)
	}
	if !maps.Equal(got, all) {
		c.t.Errorf("a client gets %q, not %q", got, all)
	}
}

func list(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestInit(t *testing.T) {
	r := newRepository(t)
	s, err := r.Init(filesA, 1)
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, r).sees(r, filesA)
	if v := versions(s); v != [4]int64{1, 1, 1, 1} {
		t.Errorf("versions %v", v)
	}
	if want := r.Now.Add(400 * day).Truncate(time.Second); !s.Roles[0].Expires.Equal(want) {
		t.Errorf("the root expires %v, not %v", s.Roles[0].Expires, want)
	}
	if got := list(t, r.Keys); !slices.Equal(got, []string{"root.key", "snapshot.key", "targets.key", "timestamp.key"}) {
		t.Errorf("keys %q", got)
	}
	for _, k := range s.Keys {
		if info, err := os.Stat(k); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", k, info.Mode(), err)
		}
	}
	for _, f := range list(t, r.Dir) {
		info, err := os.Stat(filepath.Join(r.Dir, f))
		if err != nil || info.Mode().Perm() != 0o644 || strings.HasPrefix(filepath.Base(f), ".") {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
	if got := list(t, filepath.Dir(r.Dir)); len(got) != len(s.Written)+4 {
		t.Errorf("files %q, written %q", got, s.Written)
	}
}

func TestInitRefuses(t *testing.T) {
	r := made(t)
	if _, err := r.Init(filesA, 1); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a repository is made again: %v", err)
	}
	for name, change := range map[string]func(*tufrepo.Repository){
		"keys in it":            func(r *tufrepo.Repository) { r.Keys = filepath.Join(r.Dir, "a", "keys") },
		"keys are it":           func(r *tufrepo.Repository) { r.Keys = r.Dir },
		"keys in it, by a link": func(r *tufrepo.Repository) { r.Keys = filepath.Join(link(t, r.Dir), "keys") },
		"it is a link":          func(r *tufrepo.Repository) { r.Dir, r.Keys = link(t, r.Dir), filepath.Join(r.Dir, "keys") },
		"no folder":             func(r *tufrepo.Repository) { r.Dir = "" },
		"no folder for keys":    func(r *tufrepo.Repository) { r.Keys = "" },
		"no lifetime":           func(r *tufrepo.Repository) { r.Lifetimes.Snapshot = 0 },
	} {
		r := newRepository(t)
		change(&r)
		if _, err := r.Init(filesA, 1); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if keys, err := filepath.Glob(filepath.Join(r.Dir, "*", "*.key")); err != nil || keys != nil {
			t.Errorf("%s: keys were made: %q", name, keys)
		}
	}
	for name, files := range map[string][]trust.Target{
		"none": nil, "a folder": {{Name: "a/b"}}, "hidden": {{Name: ".a"}}, "no name": {{}}, "twice": {{Name: "a"}, {Name: "a"}},
		"huge": {{Name: "a", Content: make([]byte, 17<<20)}},
	} {
		r := newRepository(t)
		if _, err := r.Init(files, 1); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Stat(r.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was made: %v", name, err)
		}
	}
	for _, threshold := range []int{0, -1, 1000} {
		if _, err := newRepository(t).Init(filesA, threshold); err == nil {
			t.Errorf("a threshold of %d: accepted", threshold)
		}
	}
}

// A folder that is there and empty is written into, and stays the one that it is.
func TestInitInPlace(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, r *tufrepo.Repository){
		"an empty folder":       func(*testing.T, *tufrepo.Repository) {},
		"a symbolic link":       func(t *testing.T, r *tufrepo.Repository) { r.Dir = link(t, r.Dir) },
		"the working directory": func(t *testing.T, r *tufrepo.Repository) { t.Chdir(r.Dir); r.Dir = "." },
		"a new file system": func(t *testing.T, r *tufrepo.Repository) {
			if err := os.Mkdir(filepath.Join(r.Dir, "lost+found"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			if err := os.Mkdir(r.Dir, 0o750); err != nil {
				t.Fatal(err)
			}
			prepare(t, &r)
			before, err := os.Stat(r.Dir)
			if err != nil {
				t.Fatal(err)
			}
			s, err := r.Init(filesA, 1)
			if err != nil {
				t.Fatal(err)
			}
			if after, err := os.Stat(r.Dir); err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() {
				t.Errorf("the folder is another one: %v, %v", after, err)
			}
			if got := list(t, r.Dir+"/."); len(got) != len(s.Written) || s.Written[len(s.Written)-1] != "timestamp.json" {
				t.Errorf("files %q, written %q", got, s.Written)
			}
			newClient(t, r).sees(r, filesA)
		})
	}
}

// Where no repository can be made, no keys are.
func TestInitMakesNoKeysInVain(t *testing.T) {
	for name, prepare := range map[string]func(r *tufrepo.Repository) error{
		"a file":            func(r *tufrepo.Repository) error { return os.WriteFile(r.Dir, nil, 0o644) },
		"below a file":      func(r *tufrepo.Repository) error { f := r.Dir; r.Dir += "/x"; return os.WriteFile(f, nil, 0o644) },
		"a link to nowhere": func(r *tufrepo.Repository) error { return os.Symlink(r.Keys+"/nowhere", r.Dir) },
		"not empty":         func(r *tufrepo.Repository) error { return os.MkdirAll(filepath.Join(r.Dir, "x"), 0o755) },
		"no place to write": func(r *tufrepo.Repository) error { r.Dir = "/proc/self/fdinfo/tuf"; return nil },
		"no lifetime":       func(r *tufrepo.Repository) error { r.Lifetimes.Root = 0; return nil },
	} {
		r := newRepository(t)
		if err := prepare(&r); err != nil {
			t.Fatal(err)
		}
		if s, err := r.Init(filesA, 1); err == nil {
			t.Errorf("%s: made %+v", name, s)
		}
		if _, err := os.Stat(r.Keys); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: and yet it made keys: %v", name, err)
		}
	}
	r := newRepository(t)
	if _, err := r.Init([]trust.Target{{Name: "a/b"}}, 1); err == nil {
		t.Error("a bad name: accepted")
	}
	if _, err := os.Stat(r.Keys); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("and yet it made keys: %v", err)
	}
}

// link returns a symbolic link to a folder, which it makes.
func link(t testing.TB, dir string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(dir, at)); err != nil {
		t.Fatal(err)
	}
	return at
}

// A key that is there is used, also after a call that broke off before there was a repository.
func TestInitTakesKeys(t *testing.T) {
	r := newRepository(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(os.Mkdir(r.Keys, 0o700), os.WriteFile(filepath.Join(r.Keys, "targets.key"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := r.Init(filesA, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Keys) != 3 {
		t.Errorf("keys made: %q", s.Keys)
	}
	newClient(t, r).sees(r, filesA)
}

func TestRefreshWithNothingToDo(t *testing.T) {
	r := made(t)
	for range 2 {
		for _, c := range []tufrepo.Change{{}, {Targets: filesA}} {
			if s := refresh(t, after(r, 9*day), c); s.Written != nil || s.Keys != nil || versions(s) != [4]int64{1, 1, 1, 1} {
				t.Errorf("%+v", s)
			}
		}
	}
}

// With the online keys only, what they sign is kept fresh, and a client that has seen an
// older state follows. It is told in time that the others are due.
func TestRefreshOnline(t *testing.T) {
	r := made(t)
	c := newClient(t, r)
	c.sees(r, filesA)
	drop(t, r, "root", "targets")
	for _, x := range []struct {
		days int
		want [4]int64
		due  []string
	}{
		{11, [4]int64{1, 1, 1, 2}, nil},
		{12, [4]int64{1, 1, 1, 2}, nil},
		{16, [4]int64{1, 1, 2, 3}, nil},
		{151, [4]int64{1, 1, 3, 4}, []string{"targets"}},
		{299, [4]int64{1, 1, 4, 5}, []string{"root", "targets"}},
	} {
		r := after(r, time.Duration(x.days)*day)
		s := refresh(t, r, tufrepo.Change{})
		if got := versions(s); got != x.want {
			t.Errorf("day %d: versions %v, not %v", x.days, got, x.want)
		}
		var due []string
		for _, role := range s.Roles {
			if role.Due {
				due = append(due, role.Role)
			}
		}
		if !slices.Equal(due, x.due) {
			t.Errorf("day %d: due: %q, not %q", x.days, due, x.due)
		}
		c.sees(r, filesA)
	}
	before := list(t, r.Dir)
	if _, err := after(r, 301*day).Refresh(tufrepo.Change{}); err == nil || !strings.Contains(err.Error(), "targets is expired") {
		t.Errorf("with expired targets: %v", err)
	}
	if got := list(t, r.Dir); !slices.Equal(got, before) {
		t.Errorf("and yet it wrote: %q", got)
	}
}

func drop(t testing.TB, r tufrepo.Repository, roles ...string) {
	t.Helper()
	for _, role := range roles {
		if err := os.Remove(filepath.Join(r.Keys, role+".key")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefreshTargets(t *testing.T) {
	r := made(t)
	c := newClient(t, r)
	c.sees(r, filesA)
	s := refresh(t, r, tufrepo.Change{Targets: filesB})
	if v := versions(s); v != [4]int64{1, 2, 2, 2} {
		t.Errorf("versions %v", v)
	}
	c.sees(r, filesB)
	newClient(t, r).sees(r, filesB)
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		drop(t, r, role)
		before := list(t, r.Dir)
		if _, err := r.Refresh(tufrepo.Change{Targets: filesA}); err == nil || !strings.Contains(err.Error(), role+" has to be signed") {
			t.Errorf("without the key of %s: %v", role, err)
		}
		if got := list(t, r.Dir); !slices.Equal(got, before) {
			t.Errorf("and yet it wrote: %q", got)
		}
	}
	c.sees(r, filesB)
}

func TestRefreshRoot(t *testing.T) {
	r := made(t)
	c := newClient(t, r)
	c.sees(r, filesA)
	r = after(r, 390*day)
	s := refresh(t, r, tufrepo.Change{})
	if v := versions(s); v != [4]int64{2, 2, 2, 2} || len(s.Keys) != 0 {
		t.Errorf("versions %v, keys made %q", v, s.Keys)
	}
	c.sees(r, filesA)
	if one, two := read(t, r, "2.root.json"), read(t, r, "root.json"); one != two {
		t.Error("root.json is not the newest root")
	}
}

func read(t testing.TB, r tufrepo.Repository, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// After a rotation clients follow, and the old keys are of no use any more.
func TestRotate(t *testing.T) {
	for _, roles := range [][]string{{"timestamp"}, {"snapshot"}, {"targets"}, {"root"}, tufrepo.Roles()} {
		t.Run(strings.Join(roles, ","), func(t *testing.T) {
			r := made(t)
			c := newClient(t, r)
			c.sees(r, filesA)
			s := refresh(t, r, tufrepo.Change{Rotate: roles})
			if v := versions(s); v[0] != 2 || len(s.Keys) != len(roles) {
				t.Errorf("versions %v, keys made %q", v, s.Keys)
			}
			c.sees(r, filesA)
			var root struct {
				Signed struct {
					Keys  map[string]any
					Roles map[string]struct{ KeyIDs []string }
				}
			}
			if err := json.Unmarshal([]byte(read(t, r, "root.json")), &root); err != nil {
				t.Fatal(err)
			}
			if len(root.Signed.Keys) != 4 {
				t.Errorf("the root has %d keys", len(root.Signed.Keys))
			}
			for _, role := range roles {
				if strings.Contains(read(t, r, "1.root.json"), root.Signed.Roles[role].KeyIDs[0]) {
					t.Errorf("the key of %s is the old one", role)
				}
			}
			drop(t, r, roles...) // the old ones
			s = refresh(t, r, tufrepo.Change{Targets: filesB, Rotate: []string{"timestamp"}})
			if s.Roles[0].Version != 3 {
				t.Errorf("root %d after a second rotation", s.Roles[0].Version)
			}
			c.sees(r, filesB)
			newClient(t, r).sees(r, filesB)
		})
	}
	r := made(t)
	if _, err := r.Refresh(tufrepo.Change{Rotate: []string{"mirror"}}); err == nil {
		t.Error("a role that is none is rotated")
	}
	drop(t, r, "root")
	before := list(t, r.Dir)
	if _, err := r.Refresh(tufrepo.Change{Rotate: []string{"timestamp"}}); err == nil {
		t.Error("rotated without the root's key")
	}
	if got := list(t, r.Dir); !slices.Equal(got, before) || len(list(t, r.Keys)) != 3 {
		t.Errorf("and yet it wrote: %q", got)
	}
}

func TestThreshold(t *testing.T) {
	r := newRepository(t)
	if _, err := r.Init(filesA, 3); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, r)
	c.sees(r, filesA)
	drop(t, r, "root-2")
	if _, err := r.Refresh(tufrepo.Change{Rotate: []string{"root"}}); err == nil {
		t.Error("two keys of three sign a root")
	}
	r = newRepository(t)
	if _, err := r.Init(filesA, 3); err != nil {
		t.Fatal(err)
	}
	c = newClient(t, r)
	if s := refresh(t, r, tufrepo.Change{Rotate: []string{"root"}}); len(s.Keys) != 3 {
		t.Errorf("keys made: %q", s.Keys)
	}
	c.sees(r, filesA)
}

// A call may break off between any two writes: what a client sees then is an older or a newer
// state, whole, and the next call goes on, without taking any version back.
func TestBrokenOff(t *testing.T) {
	for name, change := range map[string]tufrepo.Change{
		"targets": {Targets: filesB},
		"root":    {Rotate: []string{"root"}},
		"all":     {Targets: filesB, Rotate: tufrepo.Roles()},
		"online":  {Targets: filesB, Rotate: []string{"timestamp", "snapshot"}},
	} {
		t.Run(name, func(t *testing.T) {
			old := made(t)
			whole := old
			whole.Dir = filepath.Join(t.TempDir(), "tuf")
			copyDir(t, old.Dir, whole.Dir)
			s := refresh(t, whole, change)
			if i := slices.Index(s.Written, "timestamp.json"); i >= 0 && i != len(s.Written)-1 {
				t.Errorf("%q are written after timestamp.json", s.Written[i+1:])
			}
			for n := range len(s.Written) {
				part := old
				part.Dir = filepath.Join(t.TempDir(), "tuf")
				copyDir(t, old.Dir, part.Dir)
				for _, f := range s.Written[:n] {
					copyFile(t, filepath.Join(whole.Dir, f), filepath.Join(part.Dir, f))
				}
				c := newClient(t, old)
				c.sees(old, filesA)
				newRoot := slices.Contains(s.Written[:n], "2.root.json")
				if _, err := c.fetch(part.Dir, now); err != nil && !newRoot {
					t.Errorf("after %q: %v", s.Written[:n], err)
				}
				again := refresh(t, part, tufrepo.Change{Targets: filesB})
				c.sees(part, filesB)
				highest := versions(s)
				for i, v := range versions(again) {
					if i == 0 && v > highest[0] || i > 0 && v < 2 && name != "root" {
						t.Errorf("after %q: versions %v", s.Written[:n], versions(again))
					}
				}
			}
		})
	}
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Versions that were published once are not used again, even if timestamp.json went back.
func TestVersionsNeverGoBack(t *testing.T) {
	r := made(t)
	old := read(t, r, "timestamp.json")
	refresh(t, r, tufrepo.Change{Targets: filesB})
	published := read(t, r, "2.snapshot.json")
	if err := os.WriteFile(filepath.Join(r.Dir, "timestamp.json"), []byte(old), 0o644); err != nil {
		t.Fatal(err)
	}
	if s := refresh(t, r, tufrepo.Change{Targets: filesA}); versions(s) != [4]int64{1, 3, 3, 2} {
		t.Errorf("versions %v", versions(s))
	}
	if read(t, r, "2.snapshot.json") != published {
		t.Error("what was published has changed")
	}
}

// A name with a huge version costs no more than another, and the next one after it is told apart from
// those that clients cannot count to.
func TestHugeVersion(t *testing.T) {
	other := made(t)
	for name, want := range map[string]int64{"9999999999999": 10000000000000, "9007199254740991": 0, "9223372036854775807": 2, "007": 2, "+7": 2} {
		r := made(t)
		copyFile(t, filepath.Join(other.Dir, "1.targets.json"), filepath.Join(r.Dir, name+".targets.json"))
		s, err := r.Refresh(tufrepo.Change{Targets: filesB})
		if want == 0 {
			if err == nil {
				t.Errorf("%s: %+v", name, s)
			}
			continue
		}
		if err != nil || s.Roles[1].Version != want {
			t.Errorf("%s: %+v, %v", name, s, err)
			continue
		}
		newClient(t, r).sees(r, filesB)
	}
}

// With a clock that was set back nothing is signed: it would end before what is there.
func TestClockSetBack(t *testing.T) {
	for name, x := range map[string]struct {
		first, then time.Duration
		change      tufrepo.Change
	}{
		"targets":   {0, -time.Hour, tufrepo.Change{Targets: filesB}},
		"snapshot":  {16 * day, 10 * day, tufrepo.Change{Targets: filesB}},
		"timestamp": {11 * day, 9 * day, tufrepo.Change{Targets: filesB}},
		"root":      {0, -time.Hour, tufrepo.Change{Rotate: []string{"root"}}},
	} {
		r := made(t)
		refresh(t, after(r, x.first), tufrepo.Change{})
		before, keys := list(t, r.Dir), list(t, r.Keys)
		_, err := after(r, x.then).Refresh(x.change)
		if err == nil || !strings.Contains(err.Error(), name+" signed now would expire at ") {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(list(t, r.Dir), before) || !slices.Equal(list(t, r.Keys), keys) {
			t.Errorf("%s: and yet it wrote: %q", name, list(t, r.Dir))
		}
		refresh(t, after(r, x.first+time.Hour), x.change)
	}
}

// What somebody put into the folder is not signed for: the newest targets are the newest that the
// key of targets signed.
func TestForgedTargets(t *testing.T) {
	r, other := made(t), made(t)
	refresh(t, other, tufrepo.Change{Targets: filesB})
	copyDir(t, filepath.Join(other.Dir, "targets"), filepath.Join(r.Dir, "forged"))
	for _, f := range list(t, filepath.Join(r.Dir, "forged")) {
		copyFile(t, filepath.Join(r.Dir, "forged", f), filepath.Join(r.Dir, "targets", f))
	}
	copyFile(t, filepath.Join(other.Dir, "2.targets.json"), filepath.Join(r.Dir, "2.targets.json"))
	c := newClient(t, r)
	r = after(r, 200*day)
	if s := refresh(t, r, tufrepo.Change{}); versions(s) != [4]int64{2, 3, 2, 2} {
		t.Errorf("versions %v", versions(s))
	}
	c.sees(r, filesA)
}

// A file that was damaged is put back when it is given again.
func TestDamagedTarget(t *testing.T) {
	r := made(t)
	if err := glob(r, "targets/*.rekor.pub", func(p string) error { return os.WriteFile(p, []byte("kez"), 0o644) }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Refresh(tufrepo.Change{Targets: filesB}); err != nil {
		t.Fatal(err)
	}
	newClient(t, r).sees(r, filesB)
}

func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(tufrepo.Repository) error{
		"no timestamp":  func(r tufrepo.Repository) error { return os.Remove(filepath.Join(r.Dir, "timestamp.json")) },
		"no root":       func(r tufrepo.Repository) error { return os.Remove(filepath.Join(r.Dir, "1.root.json")) },
		"no targets":    func(r tufrepo.Repository) error { return os.Remove(filepath.Join(r.Dir, "1.targets.json")) },
		"other targets": func(r tufrepo.Repository) error { return edit(r, "1.targets.json", "rekor.pub", "bekor.pub") },
		"other root":    func(r tufrepo.Repository) error { return edit(r, "1.root.json", `"version": 1`, `"version": 4`) },
		"no JSON": func(r tufrepo.Repository) error {
			return os.WriteFile(filepath.Join(r.Dir, "timestamp.json"), []byte("x"), 0o644)
		},
		"huge":     func(r tufrepo.Repository) error { return os.Truncate(filepath.Join(r.Dir, "timestamp.json"), 2<<20) },
		"a folder": func(r tufrepo.Repository) error { return os.Mkdir(filepath.Join(r.Dir, "2.root.json"), 0o755) },
		"a damaged file": func(r tufrepo.Repository) error {
			return glob(r, "targets/*.rekor.pub", func(p string) error { return os.WriteFile(p, []byte("kez"), 0o644) })
		},
		"a missing file": func(r tufrepo.Repository) error { return glob(r, "targets/*.rekor.pub", os.Remove) },
		"a key for us": func(r tufrepo.Repository) error {
			return os.WriteFile(filepath.Join(r.Keys, "x.key"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600)
		},
		"another's roles": func(r tufrepo.Repository) error { return edit(r, "1.root.json", `"snapshot": {`, `"snapshat": {`) },
	} {
		r := made(t)
		if err := damage(r); err != nil {
			t.Fatal(err)
		}
		before := list(t, r.Dir)
		if _, err := after(r, 20*day).Refresh(tufrepo.Change{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := list(t, r.Dir); !slices.Equal(got, before) {
			t.Errorf("%s: and yet it wrote: %q", name, got)
		}
	}
}

func edit(r tufrepo.Repository, name, from, to string) error {
	path := filepath.Join(r.Dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), from) {
		return fmt.Errorf("%s has no %s", name, from)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o644)
}

func glob(r tufrepo.Repository, pattern string, f func(string) error) error {
	found, err := filepath.Glob(filepath.Join(r.Dir, pattern))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%q: %v", found, err)
	}
	return f(found[0])
}

// FuzzRefresh: whatever the files of a repository hold, a refresh refuses it, or leaves one that
// clients take.
func FuzzRefresh(f *testing.F) {
	names := []string{"1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json", "2.root.json"}
	seed := made(f)
	for i, name := range names[:4] {
		data, err := os.ReadFile(filepath.Join(seed.Dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data)
	}
	f.Add(uint8(0), []byte(`{"signed":{"_type":"root","roles":{"root":null},"keys":{"a":null}},"signatures":[]}`))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		r := after(seed, 20*day)
		r.Dir = filepath.Join(t.TempDir(), "tuf")
		copyDir(t, seed.Dir, r.Dir)
		if err := os.WriteFile(filepath.Join(r.Dir, names[int(which)%len(names)]), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Refresh(tufrepo.Change{}); err == nil {
			newClient(t, r).sees(r, filesA)
		}
	})
}

// FuzzKey: what is no key is an error.
func FuzzKey(f *testing.F) {
	seed := made(f)
	for _, name := range []string{"root.key", "targets.key"} {
		data, err := os.ReadFile(filepath.Join(seed.Keys, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := seed
		r.Keys = filepath.Join(t.TempDir(), "keys")
		copyDir(t, seed.Keys, r.Keys)
		if err := os.WriteFile(filepath.Join(r.Keys, "another.key"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := r.Refresh(tufrepo.Change{}); err == nil && s.Written != nil {
			t.Errorf("written: %q", s.Written)
		}
	})
}
