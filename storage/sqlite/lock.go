package sqlite

import (
	"os"
	"syscall"
)

// lockFile locks the file for this process; the lock ends when the file is closed,
// or the process ends, however it does.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
