package entry

import (
	"encoding/base64"
	"encoding/hex"
)

// Canonical bodies are written straight, members in the order that RFC 8785 sorts
// them into. All member names here are ASCII, so that order is the bytes' own.

// newBody begins a canonical body; the spec and a closing brace follow. Size is a
// guess at the length of the spec.
func newBody(kind, version string, size int) []byte {
	b := make([]byte, 0, size+128)
	b = append(b, `{"apiVersion":"`...)
	b = append(b, version...)
	b = append(b, `","kind":"`...)
	b = append(b, kind...)
	return append(b, `","spec":`...)
}

// appendText appends a JSON string (RFC 8785, section 3.2.2.2). It must be valid
// UTF-8, which strictjson sees to.
func appendText(b, s []byte) []byte {
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		default:
			b = appendControl(b, c)
		}
	}
	return append(b, '"')
}

func appendControl(b []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(b, `\b`...)
	case '\t':
		return append(b, `\t`...)
	case '\n':
		return append(b, `\n`...)
	case '\f':
		return append(b, `\f`...)
	case '\r':
		return append(b, `\r`...)
	}
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// appendBase64 appends bytes as a string of standard base64.
func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

func appendDigest(b []byte, d digest) []byte {
	b = append(b, `{"algorithm":`...)
	b = appendText(b, d.algorithm)
	b = append(b, `,"value":`...)
	b = appendText(b, d.value)
	return append(b, '}')
}

// sha256Digest is the digest that a computed SHA-256 is written as.
func sha256Digest(sum [32]byte) digest {
	return digest{true, []byte("sha256"), hex.AppendEncode(nil, sum[:])}
}
