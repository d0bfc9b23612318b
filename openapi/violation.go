package openapi

import (
	"fmt"
	"net/http"
)

// Codes of go-openapi for what is wrong with a request. They stand in the body of
// an answer with status 422.
const (
	CodeType     = 601 // not of the type or format
	CodeRequired = 602 // missing
	CodeTooLong  = 603
	CodePattern  = 605
	CodeEnum     = 606 // not one of the allowed values
	CodeMinimum  = 609 // number too small
	CodeMaxItems = 611
	CodeMinItems = 612
)

// Violation is a request that breaks the specification.
type Violation struct {
	Status  int // HTTP status of the answer
	Code    int // code in its body
	Message string
}

func (v *Violation) Error() string { return v.Message }

// invalid returns a violation with one of the codes above 600.
func invalid(code int, format string, args ...any) *Violation {
	return &Violation{http.StatusUnprocessableEntity, code, fmt.Sprintf(format, args...)}
}

// Required says that a member or parameter is missing. Where is "body", "query"
// or "path".
func Required(name, where string) *Violation {
	return invalid(CodeRequired, "%s in %s is required", name, where)
}

// Unparsable says that the body is not JSON of the right shape. Name is the body's
// name in the specification.
func Unparsable(name string, reason error) *Violation {
	return &Violation{http.StatusBadRequest, http.StatusBadRequest,
		fmt.Sprintf("parsing %s body from %q failed, because %v", name, "", reason)}
}

func wrongType(name, where, typ, value string) *Violation {
	return invalid(CodeType, "%s in %s must be of type %s: %q", name, where, typ, value)
}

func noMatch(name, where, pattern string) *Violation {
	return invalid(CodePattern, "%s in %s should match '%s'", name, where, pattern)
}

// items checks the length of a list that may be absent (nil).
func items[T any](name string, list []T) error {
	switch {
	case list != nil && len(list) == 0:
		return invalid(CodeMinItems, "%s in body should have at least 1 items", name)
	case len(list) > MaxRetrieve:
		return invalid(CodeMaxItems, "%s in body should have at most %d items", name, MaxRetrieve)
	}
	return nil
}

func minimum(name, where string, value, least int64) error {
	if value < least {
		return invalid(CodeMinimum, "%s in %s should be greater than or equal to %d", name, where, least)
	}
	return nil
}
