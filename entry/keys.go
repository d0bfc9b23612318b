package entry

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
)

// keySet collects search keys. Empty values leave none. A value that cannot be a
// search key (see searchable) is noted: an entry that could not be found by
// something that it has is refused, as one with too many keys is.
type keySet struct {
	keys []tlog.Key
	err  error // names the first value that cannot be a search key
}

func (s *keySet) add(t tlog.KeyType, value string) {
	k, ok := searchable(t, value)
	switch {
	case ok:
		s.keys = append(s.keys, k)
	case value != "" && s.err == nil:
		s.err = unsearchable(t, value)
	}
}

// unsearchable says why a value is not searchable.
func unsearchable(t tlog.KeyType, value string) error {
	what := map[tlog.KeyType]string{tlog.KeyIdentity: "name in the certificate", tlog.KeyIssuer: "issuer in the certificate"}[t]
	if what == "" {
		what = "digest"
	}
	if !validText(value) {
		return fmt.Errorf("%s could not be searched for: %q is not valid UTF-8 or holds a NUL", what, clip(value))
	}
	return fmt.Errorf("%s could not be searched for: %d bytes in lower case, more than %d", what, len(strings.ToLower(value)), tlog.MaxKeyValue)
}

// searchable returns the key with the value in lower case, if it can be one: not
// empty, not longer than tlog.MaxKeyValue, in valid UTF-8 and without NUL, which
// PostgreSQL cannot store.
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
// payload that is not JSON has none. A digest that cannot be a search key is noted.
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
		s.err = cmp.Or(s.err, found.err)
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
	if err == nil {
		s.add(tlog.KeyDigest, string(algorithm)+":"+string(value))
	}
	return err
}

func lenient(data []byte) strictjson.Reader {
	r := strictjson.New(data)
	r.Lenient = true
	return r
}

// complete returns the keys, or an error if they are too many or if there should be
// one that cannot be.
func (s *keySet) complete() ([]tlog.Key, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.list()
}

// list returns the keys that there are, or an error if they are too many.
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
