package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// firstRead is the buffer that a body of unknown or great length begins with.
	// It doubles as bytes arrive, so that a client that only promises a large body
	// takes no memory for it.
	firstRead = 16 << 10
	// maxWait is how long a body waits for others to give back memory before its
	// request is refused: short, so that the refusal comes before clients give up.
	maxWait = time.Second
)

// bodies reads request bodies within limits.
type bodies struct {
	limit   int64               // bytes of one body
	timeout time.Duration       // for one body to arrive
	budget  *semaphore.Weighted // bytes of all bodies that are held at once
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
	held := int64(0)
	release = func() { b.budget.Release(held) }
	body, err = b.fill(r, &held)
	if err != nil {
		release()
		b.drain(r)
		return nil, nil, err
	}
	// Else the deadline would end the wait for the log.
	conn.SetReadDeadline(time.Time{})
	return body, release, nil
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
func (b *bodies) drain(r *http.Request) { io.CopyN(io.Discard, r.Body, b.limit) }

// fill reads the body into memory that it takes from the budget; held counts it.
func (b *bodies) fill(r *http.Request, held *int64) ([]byte, error) {
	size := int64(firstRead)
	if r.ContentLength >= 0 {
		size = min(size, r.ContentLength+1)
	}
	var buf []byte
	for {
		if len(buf) == cap(buf) {
			if err := b.acquire(r.Context(), size); err != nil {
				return nil, err
			}
			*held += size
			grown := make([]byte, len(buf), int64(len(buf))+size)
			copy(grown, buf)
			buf = grown
			size = min(int64(cap(buf)), b.limit+1-int64(cap(buf)))
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

func (b *bodies) acquire(ctx context.Context, n int64) error {
	if b.budget.TryAcquire(n) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if b.budget.Acquire(wait, n) != nil {
		return refuse(http.StatusServiceUnavailable, "too many request bodies are being read; try again")
	}
	return nil
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
