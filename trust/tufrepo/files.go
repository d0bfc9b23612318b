package tufrepo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

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

// publishWhole writes a new repository beside its place, and puts it there in one step.
func (c *change) publishWhole() (err error) {
	dir := filepath.Clean(c.repository.Dir)
	if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	whole := *c
	whole.repository.Dir = tmp
	if err := whole.publish(); err != nil {
		return err
	}
	c.written = whole.written
	if err := os.Chmod(tmp, dirMode); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil { // replaces an empty folder
		return fmt.Errorf("making the repository: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

// checkEmpty refuses a folder that holds something.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is there already, and not empty; to bring a repository up to date, refresh it", dir)
	}
	return err
}

// versions returns the highest version of which the folder has a file, for each role.
func versions(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the repository: %w", err)
	}
	highest := map[string]int64{}
	for _, e := range entries {
		number, rest, _ := strings.Cut(e.Name(), ".")
		n, err := strconv.ParseInt(number, 10, 64)
		if role, ok := strings.CutSuffix(rest, ".json"); ok && err == nil && n > highest[role] {
			highest[role] = n
		}
	}
	return highest, nil
}

// readFile reads a regular file below dir, of at most limit bytes.
func readFile(dir, name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path.Join(dir, name))
	}
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
