package admission

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/verify"
)

// maxSkew is how far in the future a time may lie: clocks differ.
const maxSkew = 5 * time.Minute

// checkAge sees that what was verified is not too old.
//
// Of a certificate's signature the time is when a log or timestamp authority saw it: it has to lie within the minutes of the
// certificate's life, so it is when it was made. A key signs at any time, and what it signed once anybody can log
// anew; so of a key's signature that time says only that it was made before, and the age is that of a time in what was signed.
func (q *requirement) checkAge(r *verify.Result, now time.Time) error {
	if q.maxAge == 0 {
		return nil
	}
	if !q.byKey {
		if len(r.Times) == 0 {
			return refusalf("nothing proves its time")
		}
		earliest := r.Times[0].Time
		for _, t := range r.Times {
			if t.Time.Before(earliest) {
				earliest = t.Time
			}
		}
		if err := q.young("proved", earliest, now); err != nil {
			return err
		}
	}
	if q.signedTime == nil {
		if q.byKey {
			return refusalf("nothing that was signed says its time") // ParsePolicy makes no such requirement
		}
		return nil
	}
	if r.Statement == nil {
		return refusalf("it is no attestation")
	}
	signed, err := q.signedTime.read(r.Statement.Predicate)
	if err != nil {
		return refusalf("the time in its predicate, %s: %w", clip(q.signedTime.String()), err)
	}
	return q.young("signed", signed, now)
}

func (q *requirement) young(which string, t, now time.Time) error {
	switch age := now.Sub(t); {
	case age < -maxSkew:
		return refusalf("its %s time, %s, is in the future", which, t.UTC().Format(time.RFC3339))
	case age > q.maxAge:
		return refusalf("it is from %s, longer ago than %s", t.UTC().Format(time.RFC3339), q.maxAge)
	}
	return nil
}

// Limits of a pointer to a time.
const (
	maxPointer = 512 // bytes
	maxTime    = 64  // bytes of the time
)

// pointer leads to a value in JSON through the members of objects (JSON Pointer, RFC 6901, without lists).
type pointer []string

// parsePointer reads a pointer such as /metadata/scanFinishedOn.
func parsePointer(text string) (pointer, error) {
	bad := fmt.Errorf("%q is not a JSON pointer such as /metadata/scanFinishedOn", clip(text))
	if len(text) > maxPointer || !strings.HasPrefix(text, "/") {
		return nil, bad
	}
	var p pointer
	for part := range strings.SplitSeq(text[1:], "/") {
		for i := range len(part) {
			if part[i] == '~' && (i+1 == len(part) || part[i+1] != '0' && part[i+1] != '1') {
				return nil, bad
			}
		}
		p = append(p, strings.NewReplacer("~0", "~", "~1", "/").Replace(part))
	}
	return p, nil
}

func (p pointer) String() string {
	var b strings.Builder
	for _, name := range p {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}

// read returns the time to which the pointer leads (RFC 3339).
func (p pointer) read(data []byte) (t time.Time, err error) {
	r := strictjson.New(data)
	found := false
	if err := p.descend(&r, func(value string) (err error) {
		found = true
		if len(value) > maxTime {
			return errors.New("it is not a time")
		}
		if t, err = time.Parse(time.RFC3339, value); err != nil {
			return fmt.Errorf("%q is not a time such as 2026-01-31T12:00:00Z", clip(value))
		}
		return nil
	}); err != nil {
		return time.Time{}, err
	}
	if err := r.End(); err != nil {
		return time.Time{}, err
	}
	if !found || t.IsZero() {
		return time.Time{}, errors.New("there is none")
	}
	return t, nil
}

// descend hands the text at the end of the pointer to use.
func (p pointer) descend(r *strictjson.Reader, use func(string) error) error {
	if len(p) == 0 {
		value, err := text(r)
		if err != nil {
			return errors.New("it is not a text")
		}
		return use(value)
	}
	if r.Peek() != '{' {
		return errors.New("there is none")
	}
	return r.Object(func(member []byte) error {
		if string(member) != p[0] {
			return nil
		}
		return p[1:].descend(r, use)
	})
}
