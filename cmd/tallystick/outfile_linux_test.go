package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const aDocument = "{\"a\":\"document\"}\n"

func writes(t *testing.T, path string) error {
	t.Helper()
	return (&outFlag{path}).write(&program{}, []byte(aDocument))
}

// A document comes into the file that was meant, which stays what it is.
func TestOutFile(t *testing.T) {
	for name, x := range map[string]struct {
		prepare func(dir string) error // makes dir/at
		file    string                 // below dir, which gets the document
		mode    os.FileMode
		link    bool // dir/at is a symbolic link afterwards
	}{
		"new":      {func(string) error { return nil }, "at", 0o644, false},
		"old":      {func(dir string) error { return os.WriteFile(dir+"/at", []byte("old"), 0o600) }, "at", 0o600, false},
		"the same": {func(dir string) error { return os.WriteFile(dir+"/at", []byte(aDocument), 0o640) }, "at", 0o640, false},
		"a link": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/file", []byte("old"), 0o600), os.Symlink("file", dir+"/at"))
		}, "file", 0o600, true},
		"a link to a new file": {func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/deeper", 0o755), os.Symlink("deeper/new", dir+"/at"))
		}, "deeper/new", 0o644, true},
		"a link to such a link": {func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/deeper", 0o755), os.Symlink("../new", dir+"/deeper/link"), os.Symlink(dir+"/deeper/link", dir+"/at"))
		}, "new", 0o644, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := x.prepare(dir); err != nil {
				t.Fatal(err)
			}
			if err := writes(t, filepath.Join(dir, "at")); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, x.file)
			info, err := os.Lstat(file)
			if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != x.mode || string(readFile(t, file)) != aDocument {
				t.Errorf("%s: %v, %v", x.file, info, err)
			}
			if info, err = os.Lstat(filepath.Join(dir, "at")); err != nil || (info.Mode().Type() == os.ModeSymlink) != x.link {
				t.Errorf("at: %v, %v", info, err)
			}
			if left, err := filepath.Glob(dir + "/.*-*"); err != nil || left != nil {
				t.Errorf("left: %q", left)
			}
		})
	}
	circle := filepath.Join(t.TempDir(), "circle")
	if err := os.Symlink(circle, circle); err != nil {
		t.Fatal(err)
	}
	if err := writes(t, circle); err == nil {
		t.Error("a circle has an end")
	}
	if err := writes(t, t.TempDir()); err == nil {
		t.Error("a folder is written to")
	}
}

// What is not a file is written to, and not replaced.
func TestOutDevice(t *testing.T) {
	for _, path := range []string{"-", "/dev/stdout", ""} {
		var out bytes.Buffer
		if err := (&outFlag{path}).write(&program{Stdout: &out}, []byte(aDocument)); err != nil || out.String() != aDocument {
			t.Errorf("%q: %q, %v", path, &out, err)
		}
	}
	got := shown(t, func(tty *os.File) { // a device that goes with the test
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(tty.Name(), link); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{tty.Name(), link} {
			if err := writes(t, path); err != nil {
				t.Error(err)
			}
		}
		if info, err := os.Stat(tty.Name()); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			t.Errorf("the device is no device any more: %v, %v", info, err)
		}
	})
	if strings.Count(got, strings.TrimSpace(aDocument)) != 2 {
		t.Errorf("it got %q", got)
	}

	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writes(t, fifo); err == nil || !strings.Contains(err.Error(), "nobody reads from it") {
		t.Errorf("a FIFO without a reader: %v", err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := writes(t, fifo); err != nil {
		t.Error(err)
	}
	text := make([]byte, 100)
	if n, err := reader.Read(text); err != nil || string(text[:n]) != aDocument {
		t.Errorf("the reader of a FIFO gets %q, %v", text[:n], err)
	}
}

// The folder of a TUF repository is looked up for each request, and nothing in it makes one wait.
func TestTUFFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tuf")
	put := func(content string) {
		t.Helper()
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "timestamp.json"), []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openTUF(dir); err == nil {
		t.Error("a folder that is not there is served")
	}
	put("old")
	f, err := openTUF(dir)
	if err != nil {
		t.Fatal(err)
	}
	read := func() string {
		file, err := f.Open("timestamp.json")
		if err != nil {
			return err.Error()
		}
		defer file.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(file); err != nil {
			return err.Error()
		}
		return b.String()
	}
	if got := read(); got != "old" {
		t.Errorf("%q", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open("timestamp.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
	put("new")
	if got := read(); got != "new" {
		t.Errorf("after it was made again: %q", got)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := f.Open("fifo.json") // which does not wait
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}
