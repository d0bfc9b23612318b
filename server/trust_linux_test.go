package server

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is no file, and would not be opened before somebody writes to it, is not there.
func TestTUFSpecialFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	g := newRig(t, nil, func(c *Config) { c.TUF = root.FS() })
	g.want(404, 404, "GET", "/tuf/fifo.json", "")
}
