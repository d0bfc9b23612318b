package monitor

import (
	"errors"
	"net/http"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/verify"
)

// trouble is something that a log did, or that it could not be asked.
type trouble struct {
	kind     Kind   // "" if it could not be asked
	tree     string // origin; "" if it is about the log
	detail   string // tells alarms of one kind and tree apart
	err      error
	evidence *Evidence // nil if there is none
	fresh    bool      // it was raised in this round
}

func (t *trouble) Error() string { return t.err.Error() }
func (t *trouble) Unwrap() error { return t.err }

// away reports whether the log could not be asked.
func (t *trouble) away() bool { return t.kind == "" }

// answered returns the trouble that an error of a Source is: missing says what it is if something is not there.
func answered(err error, tree string, missing Kind) *trouble {
	t := &trouble{tree: tree, err: err}
	switch {
	case errors.Is(err, client.ErrNotFound):
		t.kind = missing
	case errors.Is(err, verify.ErrMalformed):
		t.kind = KindMalformed
	case errors.Is(err, verify.ErrBadProof):
		t.kind = KindWrongAnswer
	}
	return t
}

// signed returns the trouble that a checkpoint is which cannot be verified.
func signed(err error, tree string) *trouble {
	t := &trouble{kind: KindMalformed, tree: tree, err: err}
	switch {
	case errors.Is(err, verify.ErrUntrustedLog):
		t.kind = KindUnknownKey
	case errors.Is(err, verify.ErrBadProof):
		t.kind = KindBadSignature
	}
	return t
}

// refused reports whether an error is that the log answered that it cannot do what it was asked: the statuses with which Rekor v1 says that of
// a proof (openapi.yaml: 400, 404; 422 of go-openapi). All others, of a server in trouble, or of a proxy, firewall or limit of
// rates before it, say nothing about the log: it could not be asked.
func refused(err error) bool {
	var answer *client.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
