package server

import "net/http"

const typeText = "text/plain; charset=utf-8"

// ping answers GET /ping as Rekor does.
func ping(x *exchange, _ *http.Request) error {
	x.send(http.StatusOK, "text/plain", []byte("."))
	return nil
}

// healthz answers GET /healthz: the process answers requests. It asks nothing
// else, so that a database that is away does not get servers restarted.
func healthz(x *exchange, _ *http.Request) error {
	x.send(http.StatusOK, typeText, []byte("ok\n"))
	return nil
}

// readyz answers GET /readyz: entries can be logged, or why not. The reason is a
// general one; the log has it in full.
func (s *Server) readyz(x *exchange, r *http.Request) error {
	err := s.shards.active().log.Ready(r.Context())
	if err == nil {
		x.send(http.StatusOK, typeText, []byte("ready\n"))
		return nil
	}
	x.err = err
	f := classify(r.Context(), err)
	reason := f.message
	if f.status == http.StatusInternalServerError {
		reason = "see the server's log"
	}
	x.Header().Set("Retry-After", retryAfter(err))
	x.send(http.StatusServiceUnavailable, typeText, []byte("not ready: "+reason+"\n"))
	return nil
}
