package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick/tlog"
)

// greet says on standard output that the server is ready, what the log is, and what
// to try; or, of a log that has halted, why.
func (s *service) greet() {
	key := s.settings.publicKeyPath()
	if abs, err := filepath.Abs(key); err == nil {
		key = abs // the commands below work in any directory
	}
	if err := s.log.Halted(); err != nil {
		fmt.Fprintf(s.program.Stdout, "Tallystick %s is running at %s, but takes no entries: %v\nReads go on.\n", version(), s.url, err)
		return
	}
	fmt.Fprint(s.program.Stdout, banner(s.url, key, s.where.String(), s.identity, s.guard()))
}

// guard says whether the log is protected from a database that went back. "" stands
// for the normal: it is.
func (s *service) guard() string {
	if s.unguarded == 0 {
		return ""
	}
	return fmt.Sprintf("there was no high-water mark %s; from now on it protects from size %d", s.settings.markPath(), s.unguarded)
}

func banner(url, key, where string, log logIdentity, guard string) string {
	var b strings.Builder
	state := "goes on"
	if log.made {
		state = "was made"
	}
	fmt.Fprintf(&b, "Tallystick %s is ready; the log %s.\n\n", version(), state)
	for _, row := range [][2]string{
		{"URL", url},
		{"Log ID", tlog.LogID(log.tree.PublicKey).String()},
		{"Tree ID", fmt.Sprint(log.tree.ID)},
		{"Origin", log.tree.Origin},
		{"Public key", key},
		{"Storage", where},
		{"WARNING", guard},
	} {
		if row[1] == "" {
			continue
		}
		fmt.Fprintf(&b, "  %-11s %s\n", row[0], row[1])
	}
	fmt.Fprintf(&b, `
Say whom to believe and where to sign. (The server has both files, too: /trusted-root.json and /signing-config.json.)

  tallystick trust root --log-key %[2]s --url %[1]s --out trusted-root.json
  tallystick trust signing-config --url %[1]s --out signing-config.json

Sign a file and verify it, with cosign 3. (An image: cosign sign, cosign verify, with IMAGE instead of the files.)

  cosign generate-key-pair
  echo hello > hello.txt
  cosign sign-blob --signing-config signing-config.json --trusted-root trusted-root.json --key cosign.key --bundle hello.bundle -y hello.txt
  cosign verify-blob --trusted-root trusted-root.json --key cosign.pub --bundle hello.bundle hello.txt
  tallystick verify --trusted-root trusted-root.json --key cosign.pub --bundle hello.bundle hello.txt

The same with cosign 2:

  export SIGSTORE_REKOR_PUBLIC_KEY=%[2]s
  cosign sign-blob --rekor-url %[1]s --key cosign.key --bundle hello.v2 -y hello.txt
  cosign verify-blob --rekor-url %[1]s --key cosign.pub --bundle hello.v2 hello.txt

Look at the log:

  tallystick log --rekor-url %[1]s --log-key %[2]s
  rekor-cli --rekor_server %[1]s search --artifact hello.txt

`, strings.TrimSuffix(url, "/"), shellWord(key))
	return b.String()
}

// shellWord quotes a path for a shell, if it needs that.
func shellWord(s string) string {
	if strings.ContainsAny(s, " \t\n\"'$`\\&|;<>()*?[]#~!{}") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
