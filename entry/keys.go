package entry

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
)

// keySet collects search keys. Values that nobody could ask for leave no key: empty
// ones, those longer than tlog.MaxKeyValue, and those that are not valid UTF-8 or hold a
// NUL, which PostgreSQL cannot store.
type keySet struct {
	keys []tlog.Key
}

func (s *keySet) add(t tlog.KeyType, value string) {
	if k, ok := searchable(t, value); ok {
		s.keys = append(s.keys, k)
	}
}

// searchable returns the key with the value in lower case, if it can be one.
func searchable(t tlog.KeyType, value string) (tlog.Key, bool) {
	if len(value) == 0 || len(value) > tlog.MaxKeyValue || !validText(value) {
		return tlog.Key{}, false
	}
	value = strings.ToLower(value) // may be longer than before
	return tlog.Key{Type: t, Value: value}, len(value) <= tlog.MaxKeyValue
}

// validText reports whether a search key's value can be stored and asked for.
func validText(s string) bool {
	return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// signer adds what a key or certificate is found by.
func (s *keySet) signer(k *sig.Key) {
	s.keys = append(s.keys, tlog.Key{Type: tlog.KeyPublicKey, Value: hex.EncodeToString(k.PEMHash[:])})
	for _, name := range k.Identities {
		s.add(tlog.KeyIdentity, name)
	}
	for _, issuer := range k.Issuers {
		s.add(tlog.KeyIssuer, issuer)
	}
}

func (s *keySet) digest(d digest) {
	s.add(tlog.KeyDigest, string(d.algorithm)+":"+string(d.value))
}

// payloadType of statements whose subjects become search keys.
const inTotoType = "application/vnd.in-toto+json"

// statement adds the digests of the subjects of an in-toto statement and of the
// materials of its SLSA provenance (predicate.materials; not SLSA 1's
// resolvedDependencies, as in Rekor), each as "<algorithm>:<value>". What is not
// of the form is passed over: for such payloads Rekor would index less, never more. A
// payload that is not JSON has none.
func (s *keySet) statement(payloadType string, payload []byte) {
	if payloadType != inTotoType {
		return
	}
	var found keySet
	r := lenient(payload)
	err := r.Object(func(name []byte) error {
		switch string(name) {
		case "subject":
			return found.digests(&r)
		case "predicate":
			return found.materials(&r)
		}
		return nil
	})
	if err == nil && r.End() == nil {
		s.keys = append(s.keys, found.keys...)
	}
}

func (s *keySet) materials(r *strictjson.Reader) error {
	if r.Peek() != '{' {
		return nil
	}
	return r.Object(func(name []byte) error {
		if string(name) == "materials" {
			return s.digests(r)
		}
		return nil
	})
}

// digests reads [{"digest": {"<algorithm>": "<value>"}}].
func (s *keySet) digests(r *strictjson.Reader) error {
	if r.Peek() != '[' {
		return nil
	}
	return r.Array(func() error {
		if r.Peek() != '{' {
			return nil
		}
		return r.Object(func(name []byte) error {
			if string(name) != "digest" || r.Peek() != '{' {
				return nil
			}
			return r.Object(func(algorithm []byte) error { return s.statementDigest(r, algorithm) })
		})
	})
}

func (s *keySet) statementDigest(r *strictjson.Reader, algorithm []byte) error {
	if r.Peek() != '"' {
		return nil
	}
	value, err := r.Text()
	if err == nil && len(algorithm)+len(value) <= tlog.MaxKeyValue {
		s.add(tlog.KeyDigest, string(algorithm)+":"+string(value))
	}
	return err
}

func lenient(data []byte) strictjson.Reader {
	r := strictjson.New(data)
	r.Lenient = true
	return r
}

// list returns the keys, or an error if they are too many.
func (s *keySet) list() ([]tlog.Key, error) {
	if len(s.keys) <= MaxKeys {
		return s.keys, nil
	}
	keys := tlog.SortKeys(s.keys)
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("entry has %d search keys, more than %d", len(keys), MaxKeys)
	}
	return keys, nil
}
