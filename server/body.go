package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

const (
	// firstRead is the buffer that a body begins with. It is not charged: a
	// connection costs the server more than that, and one that only promises a body
	// takes nothing from the others.
	firstRead = 512
	// growth is by how much the buffer grows when it is full: so what is charged for
	// a body is at most this many times what arrived of it.
	growth = 4
	// smallBody is the most bytes of one body in the reserve for small ones. Most
	// entries are smaller.
	smallBody = 16 << 10
)

// bodies reads request bodies within limits.
type bodies struct {
	limit   int64         // bytes of one body
	timeout time.Duration // for one body to arrive
	budget  *budget       // bytes of all bodies that are held at once
}

// read returns the whole body and a function that gives its memory back to the
// budget, to be called when nothing refers to the body any more.
func (b *bodies) read(x *exchange, r *http.Request) (body []byte, release func(), err error) {
	// A recorder in a test has no deadlines; every real connection has.
	conn := http.NewResponseController(x.ResponseWriter)
	conn.SetReadDeadline(time.Now().Add(b.timeout))
	if err := b.head(r); err != nil {
		b.drain(r)
		return nil, nil, err
	}
	held := b.budget.account()
	body, err = b.fill(r, held)
	if err != nil {
		held.close()
		b.drain(r)
		return nil, nil, err
	}
	// Else the deadline would end the wait for the log.
	conn.SetReadDeadline(time.Time{})
	return body, held.close, nil
}

// head refuses a body by what its headers say.
func (b *bodies) head(r *http.Request) error {
	if r.ContentLength > b.limit {
		return b.tooLarge()
	}
	if r.ContentLength != 0 {
		return checkContentType(r.Header)
	}
	return nil
}

// drain reads on for a while after a body was refused: many clients look for an
// answer only when they have sent everything, and see a closed connection instead.
// A client that asked whether to send is not asked to.
func (b *bodies) drain(r *http.Request) {
	if r.Header.Get("Expect") == "" {
		io.CopyN(io.Discard, r.Body, b.limit)
	}
}

// fill reads the body into memory that it charges as bytes arrive.
func (b *bodies) fill(r *http.Request, held *account) ([]byte, error) {
	buf := make([]byte, 0, b.capacity(r, 0, firstRead))
	for {
		if len(buf) == cap(buf) {
			size := b.capacity(r, int64(cap(buf)), growth*int64(cap(buf)))
			if err := held.take(r.Context(), size-int64(cap(buf))); err != nil {
				return nil, err
			}
			grown := make([]byte, len(buf), size)
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > b.limit:
			return nil, b.tooLarge()
		case errors.Is(err, io.EOF):
			return slices.Clip(buf), nil
		case err != nil:
			return nil, b.unread(err)
		}
	}
}

// capacity returns the size of the buffer that follows one of size now: next, or
// less if the body cannot be that long; with one byte more than the body, to see its
// end, or that it is over the limit.
func (b *bodies) capacity(r *http.Request, now, next int64) int64 {
	next = min(next, b.limit+1)
	if r.ContentLength >= now {
		next = min(next, r.ContentLength+1)
	}
	return next
}

func (b *bodies) tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "request body is over the limit of %d bytes", b.limit)
}

// unread is the error for a body that did not arrive whole.
func (b *bodies) unread(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &failure{http.StatusRequestTimeout, http.StatusRequestTimeout,
			"request body did not arrive within " + b.timeout.String(), err}
	}
	return &failure{http.StatusBadRequest, http.StatusBadRequest, "request body ended early", err}
}
