package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/openapi"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
)

// statusClientGone is the status, in log and metrics, of a request whose client
// hung up. It is nginx's, and Rekor's.
const statusClientGone = 499

// errNoEntry says that there is no such entry. The answer is an empty 404.
var errNoEntry = errors.New("no such entry")

// errKey says that the log key could not sign, though the log has not stopped
// signing: a key service is away, say.
var errKey = errors.New("the log key cannot be used")

// errUncovered says that an entry is stored, and may have been acknowledged by
// another server, but that no checkpoint here covers it yet.
var errUncovered = errors.New("no checkpoint covers the entry yet")

// errDamaged says that what is stored does not fit the checkpoint. Nothing of it is
// signed.
var errDamaged = errors.New("the stored entry is damaged")

// failure is an error whose text clients may see.
type failure struct {
	status  int
	code    int // in the body
	message string
	cause   error // for the log only; may be nil
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.cause }

// refuse returns the failure for a request that cannot be fulfilled.
func refuse(status int, format string, args ...any) *failure {
	return &failure{status: status, code: status, message: fmt.Sprintf(format, args...)}
}

// classify is the one table from errors to answers. What is not in it is our
// fault: its text could hold host names, paths or SQL, and stays in the log.
func classify(ctx context.Context, err error) *failure {
	f := lookUp(err)
	f.cause = err
	switch {
	case f.status < 500:
	case errors.Is(ctx.Err(), context.Canceled):
		f.status, f.code, f.message = statusClientGone, statusClientGone, "client went away"
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.status, f.code, f.message = http.StatusGatewayTimeout, http.StatusGatewayTimeout,
			"the log took too long; an entry may or may not be in it: send it again"
	}
	return f
}

func lookUp(err error) *failure {
	var (
		own *failure
		bad *openapi.Violation
		ent *entry.Error
		ask *search.Error
	)
	switch {
	case errors.As(err, &own):
		return &failure{status: own.status, code: own.code, message: own.message}
	case errors.As(err, &bad):
		return &failure{status: bad.Status, code: bad.Code, message: bad.Message}
	case errors.As(err, &ent):
		return &failure{status: ent.Status(), code: ent.Code, message: ent.Message}
	case errors.Is(err, errNoEntry):
		return refuse(http.StatusNotFound, "there is no such entry")
	case errors.As(err, &ask):
		return refuse(http.StatusBadRequest, "%s", ask.Error())
	case errors.Is(err, storage.ErrBusy):
		return refuse(http.StatusServiceUnavailable, "too many entries are waiting to be logged; try again")
	case errors.Is(err, storage.ErrHalted):
		return refuse(http.StatusServiceUnavailable, "the log has stopped signing, and takes no entries; its operator has to act")
	case errors.Is(err, errUncovered):
		return refuse(http.StatusServiceUnavailable, "the entry is not under a checkpoint yet; try again")
	case errors.Is(err, errKey):
		return refuse(http.StatusServiceUnavailable, "the log key cannot be used at the moment; try again")
	case errors.Is(err, storage.ErrUnknown):
		return refuse(http.StatusServiceUnavailable, "it is not known whether the entry was logged; send it again")
	case errors.Is(err, storage.ErrUnavailable):
		return refuse(http.StatusServiceUnavailable, "storage is unavailable; try again")
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusGatewayTimeout, "the log took too long; try again")
	}
	return refuse(http.StatusInternalServerError, "internal error; the server's log has it under the ID in X-Request-ID")
}

// retryAfter returns the seconds after which it is worth to try again.
func retryAfter(err error) string {
	switch {
	case errors.Is(err, storage.ErrHalted):
		return "60"
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, errKey):
		return "5"
	}
	return "1"
}

// fail answers with an error.
func (s *Server) fail(x *exchange, r *http.Request, err error) {
	x.err = err
	asPage := x.page || prefersPage(r)
	if errors.Is(err, errNoEntry) && !asPage {
		x.WriteHeader(http.StatusNotFound)
		return
	}
	f := classify(r.Context(), err)
	if f.status == statusClientGone {
		x.WriteHeader(statusClientGone)
		return
	}
	if f.status == http.StatusServiceUnavailable {
		x.Header().Set("Retry-After", retryAfter(err))
	}
	if asPage && s.pages.fail(x, r, f) == nil {
		return
	}
	x.sendJSON(f.status, append(appendError(nil, f.code, f.message), '\n'))
}

// cut shortens what clients sent before it is repeated to them or logged.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "… (" + strconv.Itoa(len(s)) + " bytes)"
}
