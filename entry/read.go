package entry

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// header is the outer object of an entry.
type header struct {
	kind, version string
	spec          []byte // raw JSON, syntactically good
}

// semver is the pattern of apiVersion in Rekor's OpenAPI document (semver.org).
const semver = `^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`

// maxVersion is the longest apiVersion that is held against the pattern, in bytes.
const maxVersion = 256

// readHeader reads the outer object. Its checks come in Rekor's order: JSON, kind
// present, kind known, apiVersion, spec. What follows the object is ignored.
func (p *Parser) readHeader(raw []byte) (header, error) {
	var h header
	var version, name []byte
	r := strictjson.New(raw)
	switch {
	case r.Peek() == 0 && len(bytes.TrimSpace(raw)) == 0:
		return h, required("proposedEntry")
	case r.Null():
		return h, required("kind")
	}
	err := r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "kind":
			err = readText(&r, "kind", &name)
		case "apiVersion":
			err = readText(&r, "apiVersion", &version)
		case "spec":
			if !r.Null() {
				h.spec, err = r.Raw()
			}
		}
		return err
	})
	if err != nil {
		return h, malformed(err)
	}
	h.kind, h.version = string(name), string(version)
	return h, p.checkHeader(h, version != nil)
}

func (p *Parser) checkHeader(h header, hasVersion bool) error {
	if h.kind == "" {
		return required("kind")
	}
	_, err := find(h.kind, h.version)
	var e *Error
	if errors.As(err, &e) && e.Class == UnknownKind {
		return e
	}
	switch {
	case !hasVersion:
		return required("apiVersion")
	case err != nil && (len(h.version) > maxVersion || !p.semver.MatchString(h.version)):
		return &Error{Incomplete, 605, "apiVersion in body should match '" + semver + "'"}
	case h.spec == nil:
		return required("spec")
	}
	return nil
}

// readText reads a string into dst; null leaves it nil.
func readText(r *strictjson.Reader, name string, dst *[]byte) error {
	if r.Null() {
		return nil
	}
	b, err := r.Text()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*dst = b
	return nil
}

// readBase64 reads a string of padded standard base64, line breaks allowed, into
// dst; null leaves it nil.
func readBase64(r *strictjson.Reader, name string, dst *[]byte) error {
	var text []byte
	if err := readText(r, name, &text); err != nil || text == nil {
		return err
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(b, text)
	if err != nil {
		return fmt.Errorf("failed parsing base64 data for %s: %w", name, err)
	}
	*dst = b[:n]
	return nil
}

// readObject calls member for each member of an object; null has none.
func readObject(r *strictjson.Reader, name string, member func(name string) error) error {
	if r.Null() {
		return nil
	}
	err := r.Object(func(m []byte) error { return member(string(m)) })
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// readSpec calls member for each member of a whole spec.
func readSpec(spec []byte, member func(r *strictjson.Reader, name string) error) error {
	r := strictjson.New(spec)
	return readObject(&r, "spec", func(name string) error { return member(&r, name) })
}

// hasMember reports whether a JSON object has the member named last of path, at
// that place, with a value other than null and the empty string.
func hasMember(object []byte, path ...string) bool {
	r := strictjson.New(object)
	found := false
	for i, want := range path {
		var value []byte
		err := r.Object(func(name []byte) (err error) {
			if string(name) == want {
				value, err = r.Raw()
			}
			return err
		})
		if err != nil || value == nil {
			return false
		}
		if i == len(path)-1 {
			found = string(value) != "null" && string(value) != `""`
		}
		r = strictjson.New(value)
	}
	return found
}

// digest is Rekor's {"algorithm": …, "value": …}.
type digest struct {
	given            bool
	algorithm, value []byte
}

func readDigest(r *strictjson.Reader, name string, d *digest) error {
	if r.Null() {
		return nil
	}
	d.given = true
	return readObject(r, name, func(m string) error {
		switch m {
		case "algorithm":
			return readText(r, "algorithm", &d.algorithm)
		case "value":
			return readText(r, "value", &d.value)
		}
		return nil
	})
}

// isSHA256 checks that the digest is there, with any value: where Rekor does not
// look at a value, neither do we.
func (d digest) isSHA256(name string) error {
	switch {
	case !d.given:
		return fmt.Errorf("%s in body is required", name)
	case d.algorithm == nil:
		return fmt.Errorf("%s.algorithm in body is required", name)
	case string(d.algorithm) != "sha256":
		return fmt.Errorf("%s.algorithm in body should be one of [sha256]", name)
	case d.value == nil:
		return fmt.Errorf("%s.value in body is required", name)
	}
	return nil
}

// decode returns the bytes of a digest that has to have the given size.
func (d digest) decode(size int) ([]byte, error) {
	if len(d.value) != 2*size {
		return nil, fmt.Errorf("invalid value for hash: %d characters, not %d", len(d.value), 2*size)
	}
	out := make([]byte, size)
	if _, err := hex.Decode(out, d.value); err != nil {
		return nil, fmt.Errorf("invalid value for hash: %w", err)
	}
	return out, nil
}
