package entry

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/tlog"
)

// The functions below turn one field of a v1 index query into the search keys of
// which any one has to match. Rekor keeps all keys in one untyped list; where a
// field could therefore find an entry by a key of another type, it does so here.

// hashSizes are the digests that a hash query can name, by hexadecimal digits.
var hashSizes = map[int]string{40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}

// HashTerm reads a hash query: hexadecimal digits, of either case, with or without
// "sha1:", "sha256:", "sha384:" or "sha512:" before them. A SHA-256 may be that of
// a public key as well.
func HashTerm(hash string) ([]tlog.Key, error) {
	hash = strings.ToLower(hash)
	name, digits, prefixed := strings.Cut(hash, ":")
	if !prefixed {
		name, digits = hashSizes[len(hash)], hash
	}
	if _, err := hex.DecodeString(digits); err != nil || name == "" || name != hashSizes[len(digits)] {
		return nil, errors.New("hash is not a SHA-1, SHA-256, SHA-384 or SHA-512 in hexadecimal, with or without its algorithm and a colon before it")
	}
	term := []tlog.Key{{Type: tlog.KeyDigest, Value: name + ":" + digits}}
	if name == "sha256" {
		term = append(term, tlog.Key{Type: tlog.KeyPublicKey, Value: digits})
	}
	return term, nil
}

// EmailTerm reads an e-mail query. A term without keys matches nothing.
func EmailTerm(email string) []tlog.Key { return KeyTerm(tlog.KeyIdentity, email) }

// KeyTerm reads a query for one key of a type, by its value of either case. A term
// without keys matches nothing: the value cannot be a search key.
func KeyTerm(t tlog.KeyType, value string) []tlog.Key {
	k, ok := searchable(t, value)
	if !ok {
		return nil
	}
	return []tlog.Key{k}
}

// SubjectTerm reads a subject query: an identity, or, as in Rekor, the text of a
// digest of any algorithm or of a public key's hash. A term without keys matches
// nothing.
func SubjectTerm(subject string) []tlog.Key {
	k, ok := searchable(tlog.KeyIdentity, subject)
	if !ok {
		return nil
	}
	term := []tlog.Key{k}
	if strings.Contains(k.Value, ":") {
		term = append(term, tlog.Key{Type: tlog.KeyDigest, Value: k.Value})
	}
	if h := strings.TrimPrefix(k.Value, "sha256:"); len(h) == 2*tlog.HashSize {
		if _, err := hex.DecodeString(h); err == nil {
			term = append(term, tlog.Key{Type: tlog.KeyPublicKey, Value: h})
		}
	}
	return term
}

// PublicKeyTerm reads a publicKey query: the decoded content, PEM of a key or of
// certificates, in the format "x509". Other formats and unreadable keys are errors
// of class NotEnabled and Invalid.
func (p *Parser) PublicKeyTerm(format string, content []byte) ([]tlog.Key, error) {
	if format != "x509" {
		return nil, &Error{NotEnabled, 400, fmt.Sprintf("public keys of format %q cannot be searched for here, only x509", clip(format))}
	}
	key, err := p.keys.ParsePEM(content)
	if err != nil {
		return nil, &Error{Invalid, 400, "public key provided could not be parsed: " + clip(err.Error())}
	}
	return []tlog.Key{{Type: tlog.KeyPublicKey, Value: hex.EncodeToString(key.PEMHash[:])}}, nil
}
