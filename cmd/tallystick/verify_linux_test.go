package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutSockets is a program that runs another one, which is killed by SIGSYS when it asks
// the kernel for a socket, of whatever kind.
func withoutSockets() {
	fail := func(what string, err error) {
		fmt.Fprintf(os.Stderr, "without-sockets: %s: %v\n", what, err)
		os.Exit(125)
	}
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if arch == 0 {
		fail(runtime.GOARCH, errors.ErrUnsupported)
	}
	// seccomp_data has the number of the system call, then the architecture (linux/seccomp.h).
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKETPAIR, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS},
	}
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		fail(os.Args[1], err)
	}
	runtime.LockOSThread() // which execve then takes the filter from
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fail("no_new_privs", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		fail("seccomp", err)
	}
	fail(path, syscall.Exec(path, os.Args[1:], os.Environ()))
}

// offline runs shell commands in a network namespace of their own. Those that ask for a socket are killed.
func offline(t *testing.T, commands ...string) (out []string) {
	t.Helper()
	flags := "-n"
	if os.Geteuid() != 0 {
		flags = "-rn"
	}
	// Each of them prints its exit code last.
	script := "exec 2>&1\n"
	for _, c := range commands {
		script += c + "\nprintf '%s\\0' $?\n"
	}
	text, err := exec.Command("unshare", flags, "without-sockets", "sh", "-c", script).Output()
	out = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if err != nil || len(out) != len(commands) {
		t.Fatalf("%v (unshare is part of util-linux)\n%s", err, text)
	}
	return out
}

// The program that is built verifies every signature that a real cosign made, in every form, without a socket, and
// refuses it for another artifact.
func TestVerifyOpensNoSocket(t *testing.T) {
	binary := buildBinary(t)
	other := writeFile(t, "other.txt", "another artifact")
	all := readFixtures(t)
	var commands []string
	command := func(args []string, artifact string) {
		words := []string{binary}
		for _, a := range append(args, artifact) {
			words = append(words, shellWord(a))
		}
		commands = append(commands, strings.Join(words, " "))
	}
	for _, f := range all {
		args := f.args(t)
		command(slices.Clone(args), f.artifact())
		command(args, other)
	}
	for i, out := range offline(t, commands...) {
		f, want := all[i/2], exitRefused
		if i%2 == 0 {
			want = exitOK
		}
		if !strings.HasSuffix(out, "\n"+strconv.Itoa(want)) || (want == exitOK) != strings.Contains(out, "\nverified\n") {
			t.Errorf("%s: the exit code is not %d: %s\n%s", f.Name, want, commands[i], out)
		}
	}
}

// The test above means something: what asks for a socket is killed, and the namespace leads nowhere.
func TestSocketsAreSeen(t *testing.T) {
	f := fixtureNamed(t, "image-bundle-key-cosign3")
	killed := strconv.Itoa(128 + int(syscall.SIGSYS))
	out := offline(t,
		"tallystick version",
		"tallystick verify --trusted-root "+f.path("trusted_root.json")+" --key "+f.path(f.Key)+" 127.0.0.1:1/test/app@"+f.Digest,
		"grep -c : /proc/net/dev",
	)
	if !strings.HasSuffix(out[0], "\n0") || !strings.HasSuffix(out[1], killed) || out[2] != "1\n0" {
		t.Errorf("these ended not with 0, with %s, and with one interface: %q", killed, out)
	}
}
