package server

import (
	"net/http"
	"strconv"
	"time"
)

// exchange is one request and what is answered to it. It is the ResponseWriter
// that all handlers see, and remembers what log and metrics tell about the
// request. It belongs to the request's goroutine.
type exchange struct {
	http.ResponseWriter
	id     string // request ID
	start  time.Time
	route  string // from the route table; label of metrics
	quiet  bool   // logged at debug level: probes
	page   bool   // the route of a page: errors are pages too
	status int    // 0 until the header is written
	bytes  int64
	err    error // why the answer is not a success, for the log
}

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// send writes a whole answer. A failure to write is the client's: there is nobody
// left to tell.
func (x *exchange) send(status int, contentType string, body []byte) {
	h := x.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.WriteHeader(status)
	x.Write(body)
}

const typeJSON = "application/json"

// sendJSON writes a whole JSON answer, newline included.
func (x *exchange) sendJSON(status int, body []byte) { x.send(status, typeJSON, body) }
