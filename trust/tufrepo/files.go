package tufrepo

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// targetsDir is the folder of the files that are delivered.
const targetsDir = "targets"

// Modes of what everybody may read.
const (
	dirMode  = 0o755
	fileMode = 0o644
)

// publish writes what is new, so that a client finds, at any moment, an older or a newer state,
// whole: first what nothing refers to yet, then the root, then timestamp.json. (A client that
// comes between the two last ones, and to which the new root says that the timestamp's key has
// changed, fails, and has to come again.)
func (c *change) publish() error {
	files := c.pending
	if c.newRoot {
		n := c.root.Signed.Version
		files = append(files, file{fmt.Sprintf("%d.root.json", n), c.signed[metadata.ROOT], false})
	}
	// The bare name is for people, and follows also if an earlier call broke off.
	files = append(files, file{"root.json", c.signed[metadata.ROOT], true}, file{"timestamp.json", c.signed[metadata.TIMESTAMP], true})
	for _, f := range files {
		if err := c.write(c.repository.Dir, f); err != nil {
			return fmt.Errorf("writing the repository: %w", err)
		}
	}
	return nil
}

// write writes a file below dir, unless it is there already as it is to be.
func (c *change) write(dir string, f file) error {
	old, err := readFile(dir, filepath.FromSlash(f.path), maxTarget)
	if err == nil && bytes.Equal(old, f.content) {
		return nil
	}
	at := filepath.Join(dir, filepath.FromSlash(f.path))
	if err := os.MkdirAll(filepath.Dir(at), dirMode); err != nil {
		return err
	}
	place := os.Link // unlike a rename, fails if the name is taken
	if f.replace {
		place = os.Rename
	}
	if err := writeFile(at, f.content, fileMode, place); err != nil {
		return err
	}
	c.written = append(c.written, f.path)
	return nil
}

// place is where a new repository is written.
type place struct {
	dir   string // the repository's folder
	tmp   string // a folder beside it, to take its place; empty if the folder is there already
	whole bool   // it was written
}

// newPlace refuses a folder that holds something, and finds out whether a repository can be
// written: beside a folder that is not there, to be put there in one step; else in the folder,
// which may be one that cannot be replaced: a symbolic link, a mount point, the working directory.
func newPlace(dir string) (*place, error) {
	p := &place{dir: filepath.Clean(dir)}
	entries, err := os.ReadDir(p.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(p.dir); err == nil {
			return nil, fmt.Errorf("%s is a symbolic link to what is not there", dir)
		}
		if err := os.MkdirAll(filepath.Dir(p.dir), dirMode); err != nil {
			return nil, err
		}
		p.tmp, err = os.MkdirTemp(filepath.Dir(p.dir), "."+filepath.Base(p.dir)+"-*")
		return p, err
	case err != nil:
		return nil, err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" { // which new file systems have
			return nil, fmt.Errorf("%s is there already, and not empty; to bring a repository up to date, refresh it", dir)
		}
	}
	f, err := os.CreateTemp(p.dir, ".tallystick-*")
	if err != nil {
		return nil, err
	}
	return p, errors.Join(f.Close(), os.Remove(f.Name()))
}

// discard takes away what was written beside the folder, unless it is whole.
func (p *place) discard() error {
	if p.tmp == "" || p.whole {
		return nil
	}
	return os.RemoveAll(p.tmp)
}

// publishWhole writes a new repository: all of it, or nothing.
func (c *change) publishWhole(to *place) error {
	if to.tmp == "" {
		err := c.publish()
		if err != nil {
			return errors.Join(err, c.unpublish())
		}
		to.whole = true
		return nil
	}
	beside := *c
	beside.repository.Dir = to.tmp
	if err := beside.publish(); err != nil {
		return err
	}
	c.written = beside.written
	if err := os.Chmod(to.tmp, dirMode); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	if err := os.Rename(to.tmp, to.dir); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	to.whole = true
	return syncDir(filepath.Dir(to.dir))
}

// unpublish takes away what this change wrote.
func (c *change) unpublish() (err error) {
	for _, f := range slices.Backward(c.written) {
		err = errors.Join(err, os.Remove(filepath.Join(c.repository.Dir, filepath.FromSlash(f))))
	}
	if e := os.Remove(filepath.Join(c.repository.Dir, targetsDir)); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	c.written = nil
	return err
}

// maxVersion is the highest version of metadata that is read or made: of the JSON parsers that clients
// use, all keep such a number.
const maxVersion = 1<<53 - 1

// versions returns the versions of which the folder has a file, for each role, the highest first.
// Names with higher ones than maxVersion are none of ours.
func versions(dir string) (map[string][]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the repository: %w", err)
	}
	all := map[string][]int64{}
	for _, e := range entries {
		number, rest, _ := strings.Cut(e.Name(), ".")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 || n > maxVersion || strconv.FormatInt(n, 10) != number {
			continue
		}
		if role, ok := strings.CutSuffix(rest, ".json"); ok {
			all[role] = append(all[role], n)
		}
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b int64) int { return cmp.Compare(b, a) })
	}
	return all, nil
}

// readFile reads a regular file below dir, of at most limit bytes.
func readFile(dir, name string, limit int64) ([]byte, error) {
	info, err := os.Stat(filepath.Join(dir, name)) // to open a FIFO would take until somebody writes to it
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path.Join(dir, name))
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path.Join(dir, name), limit)
	}
	return data, err
}

// writeFile writes a file beside its place, syncs it, gives it its name with place, and syncs the
// folder.
func writeFile(at string, data []byte, mode fs.FileMode, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(at), "."+filepath.Base(at)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), at); err != nil {
		return err
	}
	return syncDir(filepath.Dir(at))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sameJSON reports whether two documents, or none, mean the same.
func sameJSON(a, b *json.RawMessage) bool {
	if a == nil || b == nil {
		return a == b
	}
	var x, y any
	return json.Unmarshal(*a, &x) == nil && json.Unmarshal(*b, &y) == nil && reflect.DeepEqual(x, y)
}
