package search

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// digestSizes are the digests that can be told by their length, in hexadecimal
// digits.
var digestSizes = map[string]int{"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}

// normal returns a field's value in the form in which it is looked up. Of names, spaces
// at the ends are a part: certificates may hold such ones. A PEM is not among them (see
// readPEM). The error is an *Error.
func normal(field, value string) (string, error) {
	if !utf8.ValidString(value) { // lower case would be
		return "", bad(field, "it is not valid text")
	}
	lower := strings.ToLower(strings.TrimSpace(value))
	switch field {
	case FieldIndex:
		n, err := strconv.ParseInt(lower, 10, 64)
		if err != nil || n < 0 || !all(lower, isDigit) {
			return "", bad(field, "it is not the index of an entry: decimal digits")
		}
		return strconv.FormatInt(n, 10), nil
	case FieldID:
		if !all(lower, isHex) || len(lower) != 64 && len(lower) != 80 {
			return "", bad(field, "it is not an entry ID: 80 hexadecimal digits, or 64")
		}
		if tree, err := strconv.ParseInt(lower[:16], 16, 64); len(lower) == 80 && (err != nil || tree == 0) {
			return "", bad(field, "%s, its first 16 digits, is not a tree ID", lower[:16])
		}
		return lower, nil
	case FieldCommit:
		if !all(lower, isHex) || len(lower) != 40 && len(lower) != 64 {
			return "", bad(field, "it is not the ID of a Git commit: 40 or 64 hexadecimal digits")
		}
		return lower, nil
	case FieldPublicKey:
		lower = strings.TrimPrefix(lower, "sha256:")
		if !all(lower, isHex) || len(lower) != 64 {
			return "", bad(field, "it is neither PEM nor the SHA-256 of a PEM in hexadecimal")
		}
		return lower, nil
	case FieldDigest:
		return normalDigest(lower)
	}
	lower = strings.ToLower(value)
	if len(entry.KeyTerm(tlog.KeyIdentity, lower)) == 0 {
		return "", bad(field, "it is empty, longer than %d bytes, or not valid text", tlog.MaxKeyValue)
	}
	return lower, nil
}

// parseIndex reads an index in normal form.
func parseIndex(value string) int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return math.MaxInt64 // where no entry is
	}
	return n
}

// normalDigest returns "<algorithm>:<hex>".
func normalDigest(value string) (string, error) {
	if i := strings.LastIndexByte(value, '@'); i >= 0 && isKnownDigest(value[i+1:]) {
		value = value[i+1:] // an image reference
	}
	algorithm, digits, named := strings.Cut(value, ":")
	switch {
	case !named:
		for name, size := range digestSizes {
			if len(value) == size && all(value, isHex) {
				return name + ":" + value, nil
			}
		}
	case isKnownDigest(value):
		return value, nil
	case digestSizes[algorithm] == 0 && algorithm != "" && digits != "" && len(entry.KeyTerm(tlog.KeyDigest, value)) > 0:
		return value, nil // of an algorithm that statements may use
	}
	return "", bad(FieldDigest, "it is not a digest: SHA-1, SHA-256, SHA-384 or SHA-512 in hexadecimal, with or without its algorithm and a colon before it")
}

// isKnownDigest reports whether a text, of either case, is an algorithm of
// digestSizes, a colon and as many digits as it has.
func isKnownDigest(s string) bool {
	algorithm, digits, ok := strings.Cut(s, ":")
	size := digestSizes[strings.ToLower(algorithm)]
	return ok && size > 0 && len(digits) == size && all(digits, isHex)
}

// term returns the search keys that stand for a field's normal value, of which any
// may match. Indexes, IDs and prefixes have none.
func term(field, value string) storage.Term {
	switch field {
	case FieldIdentity:
		return entry.KeyTerm(tlog.KeyIdentity, value)
	case FieldIssuer:
		return entry.KeyTerm(tlog.KeyIssuer, value)
	case FieldDigest:
		return entry.KeyTerm(tlog.KeyDigest, value)
	case FieldPublicKey:
		return entry.KeyTerm(tlog.KeyPublicKey, value)
	case FieldCommit:
		return commitTerm(value)
	}
	return nil
}

// commitTerm returns how entries speak of a Git commit: gitsign logs the SHA-256 of
// the hexadecimal digits of its ID; statements name it as gitCommit (in-toto's
// digest set), or as the SHA-1 that it mostly is.
func commitTerm(id string) storage.Term {
	sum := sha256.Sum256([]byte(id))
	name := "sha1:"
	if len(id) == 64 {
		name = "sha256:"
	}
	t := storage.Term{
		{Type: tlog.KeyDigest, Value: "sha256:" + hex.EncodeToString(sum[:])},
		{Type: tlog.KeyDigest, Value: "gitcommit:" + id},
	}
	return append(t, tlog.Key{Type: tlog.KeyDigest, Value: name + id})
}

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
