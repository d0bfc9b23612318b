package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"

	"github.com/tallystick/tallystick/verify"
)

// outputFlags say in which form results are printed.
type outputFlags struct {
	Output string `name:"output" short:"o" default:"text" enum:"text,json" help:"Form of the result: text, for people, or json, one document."`
}

// printer writes results to standard output: lines for people, or one JSON document.
// Text is cleaned: what strangers wrote cannot move the cursor of a terminal.
type printer struct {
	w      io.Writer
	asJSON bool
	colour bool
	err    error // of the first write that failed
}

// printer returns the printer of a command. It colours lines on a terminal only, and
// not where NO_COLOR is set (no-color.org) or the terminal is a dumb one.
func (p *program) printer(f outputFlags) *printer {
	return &printer{
		w: p.Stdout, asJSON: f.Output == "json",
		colour: isTerminal(p.Stdout) && p.Env["NO_COLOR"] == "" && p.Env["TERM"] != "dumb",
	}
}

// isTerminal reports whether a person looks at the stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// SGR parameters (ECMA-48, section 8.3.117).
const (
	green  = "32"
	red    = "31"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

// paint returns text in a colour, if colours are on.
func (o *printer) paint(sgr, text string) string {
	if !o.colour {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// title prints a heading.
func (o *printer) title(format string, args ...any) {
	o.print(o.paint(bold, clean(fmt.Sprintf(format, args...))))
}

// field prints a name and a value in columns.
func (o *printer) field(name, format string, args ...any) {
	o.print("  " + o.paint(faint, fmt.Sprintf("%-16s", name)) + " " + clean(fmt.Sprintf(format, args...)))
}

// proved prints one thing that holds.
func (o *printer) proved(format string, args ...any) { o.mark(green, "ok", format, args...) }

// unproved prints one thing that nobody proved, and that is no error.
func (o *printer) unproved(format string, args ...any) { o.mark(yellow, "--", format, args...) }

// failed prints one thing that does not hold.
func (o *printer) failed(format string, args ...any) { o.mark(red, "NO", format, args...) }

func (o *printer) mark(sgr, mark, format string, args ...any) {
	o.print("  " + o.paint(sgr, mark) + "  " + clean(fmt.Sprintf(format, args...)))
}

// print writes a line as it is, unless the output is JSON.
func (o *printer) print(line string) {
	if !o.asJSON && o.err == nil {
		_, o.err = fmt.Fprintln(o.w, line)
	}
}

// end writes the result, if the output is JSON, and returns what went wrong in
// writing, if anything did.
func (o *printer) end(result any) error {
	if o.asJSON && o.err == nil {
		var document bytes.Buffer
		e := json.NewEncoder(&document)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if o.err = e.Encode(result); o.err == nil {
			_, o.err = o.w.Write(escapeControls(document.Bytes()))
		}
	}
	return o.err
}

// escapeControls writes what a terminal would obey as escapes in JSON, which mean the same. Outside of
// strings, JSON has no such characters.
func escapeControls(document []byte) []byte {
	var out strings.Builder
	for _, r := range string(document) {
		if r >= 0x7f && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
			continue
		}
		out.WriteRune(r)
	}
	return []byte(out.String())
}

// clean returns text without what a terminal would obey: control characters, and
// those that change the direction of writing (Unicode category Cf).
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// cleanLines cleans text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// refused reports whether an error says that something does not hold, as opposed to
// that it could not be found out.
func refused(err error) bool {
	var e *verify.Error
	return errors.As(err, &e) && !errors.Is(err, verify.ErrInternal)
}
