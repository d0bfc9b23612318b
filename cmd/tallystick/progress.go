package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// progress shows on a terminal how far long work has come, on one line of standard
// error. Anywhere else it shows nothing.
type progress struct {
	w    io.Writer // nil: shows nothing
	what string
	all  int

	mu   sync.Mutex
	done int
}

// progress begins to show work of so many steps.
func (p *program) progress(what string, all int) *progress {
	b := &progress{what: what, all: all}
	if all > 1 && isTerminal(p.Stderr) && p.Env["TERM"] != "dumb" {
		b.w = p.Stderr
		b.show()
	}
	return b
}

// step counts one step as done.
func (b *progress) step() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done++
	b.show()
}

func (b *progress) show() {
	const width = 30
	if b.w != nil {
		full := width * b.done / b.all
		fmt.Fprintf(b.w, "\r[%s%s] %d of %d %s\x1b[K", strings.Repeat("=", full), strings.Repeat(" ", width-full), b.done, b.all, b.what)
	}
}

// hide takes the line away until the next step.
func (b *progress) hide() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
}

// end takes the line away for good.
func (b *progress) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	b.w = nil
}

func (b *progress) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
