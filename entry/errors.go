package entry

import (
	"errors"
	"fmt"
)

// Class says what is wrong with an entry, so that a caller can decide what to do
// about it.
type Class int

const (
	// Malformed: the bytes are not a JSON object with usable members. Answer 400
	// (Rekor v1 says 500, on which clients retry).
	Malformed Class = iota + 1
	// Incomplete: kind, apiVersion or spec is missing, or apiVersion is not a
	// semantic version. Answer 422.
	Incomplete
	// UnknownKind: nobody knows that kind. Answer 422 to a proposal; in a query, 400,
	// or leave the item out.
	UnknownKind
	// UnknownVersion: the kind is known, this version of it is not. Answer 400; in a
	// query the item may be left out.
	UnknownVersion
	// NotEnabled: entries of that kind are not accepted here. Answer 400; in a query
	// the item may be left out.
	NotEnabled
	// Invalid: the entry itself is at fault: schema, key, signature or size. Answer
	// 400; sending it again is no use.
	Invalid
)

// Error is what is wrong with an entry, and how the Rekor API says it.
type Error struct {
	Class Class
	// Code is the "code" of the JSON error: 400, or one of go-openapi's validation
	// codes: 422 (kind), 602 (required), 605 (pattern).
	Code    int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Status returns the HTTP status of the answer: 422 for validation codes, else 400.
func (e *Error) Status() int {
	if e.Code == 400 {
		return 400
	}
	return 422
}

func malformed(err error) *Error {
	return &Error{Malformed, 400, "error parsing entry: " + clip(err.Error())}
}

func required(member string) *Error {
	return &Error{Incomplete, 602, member + " in body is required"}
}

func unknownKind(name string) *Error {
	return &Error{UnknownKind, 422, fmt.Sprintf("invalid kind value: %q", clip(name))}
}

func notEnabled(name string) *Error {
	return &Error{NotEnabled, 400, fmt.Sprintf("error processing entry: kind not enabled: %q", name)}
}

// invalid wraps what a kind complained about; nil stays nil.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Invalid, 400, "error processing entry: " + clip(err.Error())}
}

// inQuery turns an error of readHeader or find into its form for a query: 400.
func inQuery(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Code != 400 {
		return &Error{e.Class, 400, "error parsing entry: " + e.Message}
	}
	return err
}

// clip bounds the parts of a message that come from the client.
func clip(s string) string {
	const limit = 300
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
