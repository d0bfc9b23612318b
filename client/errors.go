package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/tallystick/tallystick/verify"
)

// ErrNotFound says, of an *Error, that the log answered that there is no such entry:
// its word, which nothing proves.
var ErrNotFound = errors.New("no such entry")

// ErrInconsistent says that a checkpoint does not go together with one that the
// same log signed before: it shrank, forked, or lost a tree. Such an error is a
// *verify.Error of class ErrBadProof, too.
var ErrInconsistent = errors.New("the log contradicts what it signed before")

// Error is an answer that is no success.
type Error struct {
	// Status is the HTTP status, Code the "code" of the answer: the same, or what tells more.
	Status, Code int
	// Message is the server's, cleaned and clipped.
	Message string

	location string // of a conflict: the path of the entry that is there
	retry    string // Retry-After
}

// Error returns status and message in a line.
func (e *Error) Error() string {
	return fmt.Sprintf("the server answered %d: %s", e.Status, e.Message)
}

// Is makes 404 an ErrNotFound.
func (e *Error) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound
}

// malformed is the error of an answer that cannot be read.
func malformed(what string, err error) error {
	return &verify.Error{Class: verify.ErrMalformed, Claim: what, Err: err}
}

// foreign is the error of an answer that is not to the question: it may hold in
// itself, and is refused all the same.
func foreign(what, format string, args ...any) error {
	return &verify.Error{Class: verify.ErrBadProof, Claim: what, Err: fmt.Errorf(format, args...)}
}

// inconsistent is an ErrInconsistent.
func inconsistent(origin, format string, args ...any) error {
	return &verify.Error{Class: verify.ErrBadProof, Claim: "log " + clip(origin),
		Err: fmt.Errorf("%w: %w", ErrInconsistent, fmt.Errorf(format, args...))}
}

// clip returns text of strangers, short and without what a terminal would obey.
func clip(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
