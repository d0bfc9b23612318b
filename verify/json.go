package verify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
)

// unknownMember is the error of a member that the format does not have. Ignoring it would let
// two readers see two things in the same bytes.
func unknownMember(of string, name []byte) error {
	return fmt.Errorf("%s has no member %q", of, clip(string(name)))
}

// object reads an object, or null where null is allowed: the same as leaving it out.
func object(r *strictjson.Reader, what string, member func(name []byte) error) (present bool, err error) {
	if r.Null() {
		return false, nil
	}
	if c := r.Peek(); c != '{' {
		return false, fmt.Errorf("%s is not an object", what)
	}
	return true, r.Object(member)
}

// element reads an object that has to be one: null would be an element that nobody sees.
func element(r *strictjson.Reader, what string, member func(name []byte) error) error {
	present, err := object(r, what, member)
	if err == nil && !present {
		err = fmt.Errorf("%s is null", what)
	}
	return err
}

// array reads an array of at most max elements, or null.
func array(r *strictjson.Reader, what string, max int, element func() error) error {
	if r.Null() {
		return nil
	}
	if c := r.Peek(); c != '[' {
		return fmt.Errorf("%s is not an array", what)
	}
	n := 0
	return r.Array(func() error {
		if n++; n > max {
			return fmt.Errorf("%s has more than %d elements", what, max)
		}
		return element()
	})
}

func readText(r *strictjson.Reader, what string) ([]byte, error) {
	if c := r.Peek(); c != '"' {
		return nil, fmt.Errorf("%s is not a string", what)
	}
	return r.Text()
}

// readBase64 reads base64 text of at most max bytes decoded.
func readBase64(r *strictjson.Reader, what string, max int) ([]byte, error) {
	text, err := readText(r, what)
	if err != nil {
		return nil, err
	}
	if len(text) > base64.StdEncoding.EncodedLen(max) {
		return nil, fmt.Errorf("%s has more than %d bytes", what, max)
	}
	return decodeBase64Into(r.Space(base64.StdEncoding.DecodedLen(len(text))), text, what, max)
}

// readHash reads a hash in base64.
func readHash(r *strictjson.Reader, what string) (h tlog.Hash, err error) {
	text, err := readText(r, what)
	if err != nil {
		return h, err
	}
	var out [tlog.HashSize + 1]byte // 44 characters stand for 33 bytes, less the padding
	if len(text) != base64.StdEncoding.EncodedLen(tlog.HashSize) {
		return h, fmt.Errorf("%s is not a hash of %d bytes in base64", what, tlog.HashSize)
	}
	b, err := decodeBase64Into(out[:], text, what, tlog.HashSize)
	if err == nil && len(b) != tlog.HashSize {
		err = fmt.Errorf("%s has %d bytes, not %d", what, len(b), tlog.HashSize)
	}
	if err == nil {
		h = tlog.Hash(b)
	}
	return h, err
}

// readInt64 reads a number that is not negative: as a string of digits, as protobuf's JSON has it.
func readInt64(r *strictjson.Reader, what string) (int64, error) {
	text, err := readText(r, what)
	if err != nil {
		return 0, err
	}
	return decimal(text, what)
}

// readNumber reads a JSON number that is an integer and not negative.
func readNumber(r *strictjson.Reader, what string) (int64, error) {
	if c := r.Peek(); c < '0' || c > '9' {
		return 0, fmt.Errorf("%s is not a number from zero up", what)
	}
	text, err := r.Raw()
	if err != nil {
		return 0, err
	}
	return decimal(text, what)
}

// decimal reads digits without sign, leading zeros, or anything else.
func decimal(text []byte, what string) (int64, error) {
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil || len(text) > 1 && text[0] == '0' || text[0] == '+' {
		return 0, fmt.Errorf("%s: %q is not a whole number from zero up", what, clip(string(text)))
	}
	return int64(n), nil
}

var errEnd = errors.New("something follows it")

// whole reads one value that is all of data.
func whole(data []byte, read func(r *strictjson.Reader) error) error {
	r := strictjson.New(data)
	if err := read(&r); err != nil {
		return err
	}
	if r.End() != nil {
		return errEnd
	}
	return nil
}
