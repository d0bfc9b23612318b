package verify

import (
	"bytes"
	"encoding/base64"
	"fmt"
)

// decodeBase64 reads base64 in the standard alphabet with padding (RFC 4648, section 4),
// of at most max bytes decoded. Line breaks and left-over bits, which others pass over, are
// refused: one value has one text. what names the value in the error.
func decodeBase64(text []byte, what string, max int) ([]byte, error) {
	if len(text) > base64.StdEncoding.EncodedLen(max) {
		return nil, fmt.Errorf("%s has more than %d bytes", what, max)
	}
	return decodeBase64Into(make([]byte, base64.StdEncoding.DecodedLen(len(text))), text, what, max)
}

// decodeBase64Into is decodeBase64 into a buffer that is long enough.
func decodeBase64Into(out, text []byte, what string, max int) ([]byte, error) {
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	if err != nil || bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%s is not base64 in the standard alphabet with padding", what)
	}
	if n > max {
		return nil, fmt.Errorf("%s has more than %d bytes", what, max)
	}
	return out[:n], nil
}
