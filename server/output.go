package server

import (
	"encoding/base64"
	"slices"
)

// output writes a JSON answer through a buffer of bounded size. An answer that fits
// into it goes out with its length. A failure to write is the client's: there is
// nobody left to tell.
type output struct {
	s      *Server
	x      *exchange
	status int
	b      []byte
	pooled *[]byte // where b came from
	err    error   // of the first write that failed
}

const (
	// piece is from how many bytes on the buffer is written out.
	piece = 32 << 10
	// chunk is how many bytes are encoded at once; a multiple of three, so that the
	// pieces of base64 join.
	chunk = 24 << 10
)

// output begins an answer; end ends it.
func (s *Server) output(x *exchange, status int) *output {
	pooled := s.buffer()
	return &output{s: s, x: x, status: status, b: *pooled, pooled: pooled}
}

// end ends the answer with a newline and writes what is left.
func (o *output) end() {
	o.b = append(o.b, '\n')
	if o.x.status == 0 {
		o.x.sendJSON(o.status, o.b)
	} else {
		o.write()
	}
	*o.pooled = o.b
	o.s.recycle(o.pooled)
}

// spill writes the buffer out if it is full.
func (o *output) spill() {
	if len(o.b) >= piece {
		o.write()
	}
}

func (o *output) write() {
	if o.x.status == 0 {
		o.x.Header().Set("Content-Type", typeJSON)
		o.x.WriteHeader(o.status)
	}
	if o.err == nil {
		_, o.err = o.x.Write(o.b)
	}
	o.b = o.b[:0]
}

// logEntry writes an openapi.LogEntry.
func (o *output) logEntry(e *proven) {
	o.b = append(o.b, `{"`...)
	o.b = e.shard.entryID(o.b, e.hash)
	o.b = append(o.b, `":{`...)
	if e.attested {
		o.b = append(o.b, `"attestation":{"data":`...)
		o.base64(e.attestation)
		o.b = append(o.b, `},`...)
	}
	o.b = append(o.b, `"body":`...)
	o.base64(e.body)
	o.b = appendRest(o.b, e)
	o.spill()
}

func (o *output) base64(data []byte) {
	o.b = append(o.b, '"')
	for part := range slices.Chunk(data, chunk) {
		o.b = base64.StdEncoding.AppendEncode(o.b, part)
		o.spill()
	}
	o.b = append(o.b, '"')
}
