package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// newFileMode is that of a document's new file: what it holds is for everybody.
const newFileMode = 0o644

// writeDocument writes a document to the path. A file is replaced whole or not at all, and keeps its
// permissions; of a symbolic link, it is the one that the link leads to. What is not a
// file, such as a device or a FIFO, is written to as it is. A FIFO has to have a reader.
func writeDocument(path string, document []byte) error {
	mode := fs.FileMode(newFileMode)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if path, err = linkEnd(path); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return writeStraight(path, document)
	default:
		mode = info.Mode().Perm()
		if info.Size() == int64(len(document)) {
			if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, document) {
				return nil
			}
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	return replaceFile(path, document, mode)
}

// writeStraight writes to what is not a file.
func writeStraight(path string, document []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		return fmt.Errorf("%w (nobody reads from it)", err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(document)
	return errors.Join(err, f.Close())
}

// replaceFile writes a file beside its place and puts it there.
func replaceFile(path string, document []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(document)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// maxLinks is how many symbolic links are followed.
const maxLinks = 40

// linkEnd returns where a path leads whose end is not there: the path itself, unless it is a symbolic link.
func linkEnd(path string) (string, error) {
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil // it is none
		}
		if !filepath.IsAbs(to) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(path)) // .. is meant after its links
			if err != nil {
				return "", err
			}
			to = filepath.Join(dir, to)
		}
		path = to
	}
	return "", fmt.Errorf("%s: more than %d symbolic links", path, maxLinks)
}
