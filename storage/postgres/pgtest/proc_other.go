//go:build !linux

package pgtest

import (
	"os/exec"
	"strconv"
	"strings"
)

// children returns the process IDs of a process's children. PostgreSQL starts no
// grandchildren that touch data.
func children(pid int) []int {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// waitGone has nothing portable to wait on. A server that is restarted too early
// says so.
func waitGone(int) {}
