package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is the CPU time, of all cores together, that each part took.
type usage struct{ server, database, client time.Duration }

func (u usage) since(before usage) usage {
	return usage{u.server - before.server, u.database - before.database, u.client - before.client}
}

// tick is the unit of CPU times in /proc (proc(5): USER_HZ, 100 on all Linux).
const tick = 10 * time.Millisecond

// processCPU returns the CPU time of a process and of its children that have ended
// and been waited for, in steps of 10 ms (proc(5), /proc/pid/stat).
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

// parseStat adds up utime, stime, cutime and cstime, fields 14 to 17. The second
// field is a program name in parentheses, with anything in it.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/pid/stat is %q", stat)
	}
	var sum time.Duration
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/pid/stat is %q: %w", stat, err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// treeCPU returns the CPU time of a process and all its children, ended or not. A
// child that ends meanwhile may be counted late.
func treeCPU(pid int) (time.Duration, error) {
	sum, err := processCPU(pid)
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, f := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		if d, err := processCPU(child); err == nil {
			sum += d
		}
	}
	return sum, nil
}

// ownCPU returns the CPU time of this process.
func ownCPU() (time.Duration, error) { return cpuOf(syscall.RUSAGE_SELF) }

// threadCPU returns the CPU time of the calling thread.
func threadCPU() (time.Duration, error) {
	const rusageThread = 1 // getrusage(2): RUSAGE_THREAD
	return cpuOf(rusageThread)
}

func cpuOf(who int) (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// peakMemory returns the most memory that a process ever had resident, in bytes
// (proc(5), VmHWM).
func peakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("/proc/%d/status has no VmHWM in kB", pid)
	}
	return kilobytes << 10, nil
}

// diskUse returns the size of the files whose path begins with prefix, in bytes.
func diskUse(prefix string) (int64, error) {
	files, err := filepath.Glob(prefix + "*")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return 0, err
		}
		sum += info.Size()
	}
	return sum, nil
}
