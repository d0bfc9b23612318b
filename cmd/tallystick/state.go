package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// keep writes what was seen of the log to the state file, for the next run. Runs at the same
// time write one after the other: what another one wrote in the meantime is proved consistent
// with what this one saw, or the file is left as it is. If the two contradict each other the
// error is a client.ErrInconsistent.
func (s *session) keep(ctx context.Context) error {
	s.kept = true
	if slices.EqualFunc(s.Checkpoints(), s.before, slices.Equal) {
		return nil
	}
	// Also of a run that was interrupted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	if err := s.merge(ctx); err != nil {
		return fmt.Errorf("what was seen of the log could not be kept: %w", err)
	}
	return nil
}

func (s *session) merge(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	lock, err := lockFile(ctx, s.path+".lock")
	if err != nil {
		return err
	}
	defer lock.Close()
	there, err := readState(s.path)
	if err != nil {
		return err
	}
	for _, signed := range there {
		if slices.ContainsFunc(s.before, func(b []byte) bool { return bytes.Equal(b, signed) }) {
			continue // the log was held to it from the beginning
		}
		if _, err := s.VerifyCheckpoint(signed); err != nil { // nothing that the log did
			return fmt.Errorf("another run wrote to %s in the meantime: %v", s.path, err)
		}
		if err := s.Remember(ctx, signed); err != nil {
			return fmt.Errorf("another run saw the log in the meantime: %w", err)
		}
	}
	return writeState(s.path, s.Checkpoints())
}

// lockFile takes the lock of a file, which it makes if it is not there, and waits for it as
// long as ctx lasts. The lock goes with the file's Close, or the process.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another process has had %s locked for too long", path), f.Close())
		}
	}
}

// state is the form of the state file.
type state struct {
	// Checkpoints are the newest ones of each tree, as the log signed them.
	Checkpoints []string `json:"checkpoints"`
}

// maxState is the most that is read of a state file, in bytes.
const maxState = 8 << 20

// readState returns the checkpoints in a state file, and none if there is no file.
func readState(path string) ([][]byte, error) {
	data, err := readLimited(path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all [][]byte
	if err == nil {
		all, err = parseState(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state file %s: %w", path, err)
	}
	return all, nil
}

// parseState reads the JSON of a state. A member that is not known is an error: a file of
// another kind, or damaged, must not pass for one with nothing in it.
func parseState(data []byte) ([][]byte, error) {
	var all [][]byte
	found := false
	r := strictjson.New(data)
	err := r.Object(func(name []byte) error {
		if string(name) != "checkpoints" {
			return fmt.Errorf("%q is not known", name)
		}
		found = true
		return r.Array(func() error {
			text, err := r.Text()
			all = append(all, bytes.Clone(text))
			return err
		})
	})
	if err == nil {
		err = r.End()
	}
	if err == nil && !found {
		err = errors.New("it has no checkpoints")
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// writeState replaces the file as a whole.
func writeState(path string, checkpoints [][]byte) error {
	s := state{[]string{}}
	for _, c := range checkpoints {
		s.Checkpoints = append(s.Checkpoints, string(c))
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return putFile(path, append(data, '\n'), os.Rename)
}

// putFile writes a file beside path, syncs it, gives it its name with place, and syncs the
// directory. Only the user may read the file.
func putFile(path string, data []byte, place func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it was not renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
