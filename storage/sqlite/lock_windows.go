package sqlite

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile locks the file for this process; the lock ends when the file is closed,
// or the process ends, however it does.
func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
}
