package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns the two ends of a pseudo-terminal (pts(4)): what a program is
// given, and where what it prints arrives.
func terminal(t *testing.T) (program, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program, person
}

// shown runs the function with a terminal and returns what a person gets to see.
func shown(t *testing.T, f func(tty *os.File)) string {
	t.Helper()
	tty, person := terminal(t)
	var all bytes.Buffer
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(&all, person) // ends with an error (EIO) when the other end is closed
		done <- err
	}()
	f(tty)
	tty.Close()
	<-done
	return all.String()
}

// Colours are for terminals, for people who want them, and for text.
func TestColour(t *testing.T) {
	for name, x := range map[string]struct {
		env    map[string]string
		output string
		want   bool
	}{
		"terminal": {nil, "text", true}, "NO_COLOR": {map[string]string{"NO_COLOR": "1"}, "text", false},
		"empty NO_COLOR": {map[string]string{"NO_COLOR": ""}, "text", true}, "dumb": {map[string]string{"TERM": "dumb"}, "text", false},
		"JSON": {nil, "json", false},
	} {
		got := shown(t, func(tty *os.File) {
			out := (&program{Env: x.env, Stdout: tty}).printer(outputFlags{x.output})
			out.title("title")
			out.proved("done")
			if err := out.end(object{"a": "\x1b"}); err != nil {
				t.Error(err)
			}
		})
		if strings.Contains(got, "\x1b[32mok\x1b[0m") != x.want || strings.Contains(got, "\x1b") != x.want || got == "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	var b bytes.Buffer
	out := (&program{Stdout: &b}).printer(outputFlags{"text"})
	out.proved("done")
	if b.String() != "  ok  done\n" {
		t.Errorf("not a terminal: %q", b.String())
	}
}

// Text of strangers cannot paint, move the cursor, or turn the line around.
func TestClean(t *testing.T) {
	var b bytes.Buffer
	out := (&program{Stdout: &b}).printer(outputFlags{"text"})
	out.field("name", "%s", "a\x1b[31mb\rc\nd\u202ee\u009bf\u200b\x00g\xff")
	if want := "  name             a?[31mb?c?d?e?f??g?\n"; b.String() != want {
		t.Errorf("%q, not %q", b.String(), want)
	}
}

// Nor can it in the JSON form, where it stays what it is, of any command.
func TestCleanJSON(t *testing.T) {
	var b bytes.Buffer
	const hostile = "a\x1b[31mb\u009b2Jc\u202ed\x7f"
	if err := (&program{Stdout: &b}).printer(outputFlags{"json"}).end(object{"subject": hostile}); err != nil {
		t.Fatal(err)
	}
	var got object
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got["subject"] != hostile || strings.ContainsAny(b.String(), "\x1b\u009b\u202e\x7f") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// Nor can it in errors, of which a server writes a part: here the reason phrase.
func TestCleanErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, "HTTP/1.1 404 \x1b[31mgone\u202e\u009b2J\x07\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
			c.Close()
		}
	}()
	code, out, errs := run(t, nil, "trust", "root", "--from-server", "http://"+l.Addr().String(), "--trust-on-first-use")
	if code != exitFailure || out != "" || !strings.Contains(errs, "404 ?[31mgone??2J?\n") || strings.ContainsAny(errs, "\x1b\u202e\u009b\x07") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if got := cleanLines("a\nb\x1bc\r\nd"); got != "a\nb?c?\nd" {
		t.Errorf("%q", got)
	}
}

// A progress bar is for a terminal, and leaves nothing behind.
func TestProgress(t *testing.T) {
	run := func(p *program, n int) {
		b := p.progress("entries", n)
		for range n {
			b.step()
		}
		b.end()
		b.step()
		b.end()
	}
	got := shown(t, func(tty *os.File) { run(&program{Stderr: tty}, 3) })
	for _, want := range []string{"0 of 3 entries", "1 of 3 entries", "[" + strings.Repeat("=", 30) + "] 3 of 3 entries"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("it stays: %q", got)
	}
	for name, p := range map[string]func(*os.File) *program{
		"dumb terminal": func(tty *os.File) *program { return &program{Stderr: tty, Env: map[string]string{"TERM": "dumb"}} },
		"file":          func(*os.File) *program { return &program{Stderr: io.Discard} },
	} {
		if got := shown(t, func(tty *os.File) { run(p(tty), 3) }); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := shown(t, func(tty *os.File) { run(&program{Stderr: tty}, 1) }); got != "" {
		t.Errorf("for one step: %q", got)
	}
}
