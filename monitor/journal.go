package monitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync/atomic"
)

// journal is a file of alerts, one JSON object a line. It only grows, but for what no state knows of.
type journal struct {
	disk disk
	name string
	f    file
	// length is how much of the file belongs to it: up to there it is durable, and complete lines.
	length atomic.Int64
}

// openJournal opens a journal of which so many bytes are known to be durable, and cuts off the rest: it was written by a
// round that did not get to its end. Length -1 means that nothing is known of it: then it has to be empty.
func openJournal(d disk, name string, length int64) (*journal, error) {
	f, err := d.open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	j := &journal{disk: d, name: name, f: f}
	if err := j.cut(length); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journal) cut(length int64) error {
	size, err := j.f.Size()
	switch {
	case err != nil:
		return err
	case length < 0 && size > 0:
		return fmt.Errorf("%s has alerts in it, but there is no state that belongs to it: put the state file back, or move the journal away to begin anew", j.name)
	case size < length:
		return fmt.Errorf("%s has %d bytes, but had %d: alerts are lost; put it back, or move it and the state file away to begin anew", j.name, size, length)
	case length < 0:
		length = 0
	}
	if length > 0 {
		var end [1]byte
		if _, err := j.f.ReadAt(end[:], length-1); err != nil {
			return err
		}
		if end[0] != '\n' {
			return fmt.Errorf("%s is not the journal that belongs to the state file: there is no end of an alert at byte %d", j.name, length)
		}
	}
	if size > length {
		if err := j.f.Truncate(length); err != nil {
			return err
		}
	}
	if err := errors.Join(j.f.Sync(), j.disk.sync()); err != nil {
		return err
	}
	j.length.Store(length)
	return nil
}

// append writes lines after the end, and makes them durable. They belong to the journal only after grow.
func (j *journal) append(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := j.f.WriteAt(lines, j.length.Load()); err != nil {
		return err
	}
	return j.f.Sync()
}

// grow makes what was appended part of the journal.
func (j *journal) grow(n int) { j.length.Add(int64(n)) }

func (j *journal) close() error { return j.f.Close() }

// alerts returns the records from a place on.
func (j *journal) alerts(from int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		end := j.length.Load()
		if from < 0 || from > end {
			yield(Record{}, fmt.Errorf("%s has %d bytes; there is nothing at %d", j.name, end, from))
			return
		}
		buffer := make([]byte, 0, 2*MaxAlert)
		for at := from; at < end; {
			n := min(int64(cap(buffer)), end-at)
			buffer = buffer[:n]
			if _, err := j.f.ReadAt(buffer, at); err != nil && !errors.Is(err, io.EOF) {
				yield(Record{}, fmt.Errorf("reading %s: %w", j.name, err))
				return
			}
			rest := buffer
			for {
				line, after, whole := bytes.Cut(rest, []byte("\n"))
				if !whole {
					break
				}
				at += int64(len(line)) + 1
				a, err := parseAlert(line)
				if err != nil {
					yield(Record{}, fmt.Errorf("%s: the alert that ends at byte %d: %w", j.name, at, err))
					return
				}
				if !yield(Record{Alert: a, JSON: bytes.Clone(line), Next: at}, nil) {
					return
				}
				rest = after
			}
			if len(rest) == len(buffer) {
				yield(Record{}, fmt.Errorf("%s: there is no alert at byte %d", j.name, at))
				return
			}
		}
	}
}

// parseAlert reads a line of a journal.
func parseAlert(line []byte) (Alert, error) {
	var a Alert
	if len(line) > MaxAlert {
		return a, fmt.Errorf("it has more than %d bytes", MaxAlert)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return a, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return a, errors.New("there is something after it")
	}
	if !isID(a.ID) || a.Kind == "" || (a.Kind == KindMatch) != (a.Match != nil) {
		return a, errors.New("it is not an alert")
	}
	return a, nil
}

// line returns the alert as it stands in a journal.
func (a *Alert) line() ([]byte, error) {
	line, err := json.Marshal(a)
	if err == nil && len(line) > MaxAlert && a.Match != nil {
		// What is in an alert is bounded, but JSON may write a byte as six.
		short := *a
		match := *a.Match
		match.Digests, match.Signer, match.Clipped = nil, nil, true
		short.Match = &match
		line, err = json.Marshal(&short)
	}
	if err != nil {
		return nil, err
	}
	if len(line) > MaxAlert {
		return nil, fmt.Errorf("an alert has %d bytes, more than %d", len(line), MaxAlert)
	}
	return append(line, '\n'), nil
}

// isID reports whether text has the form of an alert's ID.
func isID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}
