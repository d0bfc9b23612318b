//go:build linux || darwin || freebsd

package sqlite

import "syscall"

// freeSpace returns the bytes that this user can still write to a folder's file system.
func freeSpace(dir string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(max(st.Bavail, 0)) * uint64(st.Bsize), nil
}
