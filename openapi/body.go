package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-openapi/strfmt"
)

// MaxRetrieve is the most entries that one POST /api/v1/log/entries/retrieve may
// ask for.
const MaxRetrieve = 10

// maxSubject is the longest subject to search for, in characters.
const maxSubject = 512

// SearchIndex is the body of POST /api/v1/index/retrieve. Empty members do not
// take part.
type SearchIndex struct {
	Email   string
	Subject string
	// Hash is "<algorithm>:<hexadecimal>", in lower case.
	Hash      string
	PublicKey *SearchKey
	// And says that all members must match, instead of any.
	And bool
}

// SearchKey is a public key or certificate to search by.
type SearchKey struct {
	Format  string // pgp, x509, minisign, ssh or tuf
	Content []byte
}

// decode reads one JSON value and ignores what follows it, as Rekor does. Name is
// the body's name in the specification.
func decode(name string, body []byte, v any) error {
	err := json.NewDecoder(bytes.NewReader(body)).Decode(v)
	switch {
	case errors.Is(err, io.EOF):
		return Required(name, "body")
	case err != nil:
		return Unparsable(name, err)
	}
	return nil
}

// ParseSearchIndex reads and checks the body of POST /api/v1/index/retrieve.
func ParseSearchIndex(body []byte) (SearchIndex, error) {
	// The type has no name because its name would stand in messages.
	var q struct {
		Email     string `json:"email"`
		Hash      string `json:"hash"`
		Operator  string `json:"operator"`
		PublicKey *struct {
			Content []byte  `json:"content"`
			Format  *string `json:"format"`
		} `json:"publicKey"`
		Subject string `json:"subject"`
	}
	if err := decode("query", body, &q); err != nil {
		return SearchIndex{}, err
	}
	s := SearchIndex{Email: q.Email, Subject: q.Subject, And: q.Operator == "and"}
	if q.Email != "" && !strfmt.IsEmail(q.Email) {
		return SearchIndex{}, wrongType("email", "body", "email", q.Email)
	}
	if q.Hash != "" {
		var ok bool
		if s.Hash, ok = normalHash(q.Hash); !ok {
			return SearchIndex{}, noMatch("hash", "body", patternHash)
		}
	}
	if err := oneOf("operator", q.Operator, "", "and", "or"); err != nil {
		return SearchIndex{}, err
	}
	if k := q.PublicKey; k != nil {
		if k.Format == nil {
			return SearchIndex{}, Required("publicKey.publicKey.format", "body")
		}
		if err := oneOf("publicKey.publicKey.format", *k.Format, "pgp", "x509", "minisign", "ssh", "tuf"); err != nil {
			return SearchIndex{}, err
		}
		s.PublicKey = &SearchKey{*k.Format, k.Content}
	}
	if utf8.RuneCountInString(q.Subject) > maxSubject {
		return SearchIndex{}, invalid(CodeTooLong, "subject in body should be at most %d chars long", maxSubject)
	}
	return s, nil
}

// normalHash checks a hash to search for, adds the algorithm that its length says
// if it has none, and writes it in lower case.
func normalHash(s string) (string, bool) {
	algorithm, digits, named := strings.Cut(s, ":")
	if !named {
		digits = s
	}
	var want string
	switch len(digits) {
	case 40:
		want = "sha1"
	case 64:
		want = "sha256"
	case 96:
		want = "sha384"
	case 128:
		want = "sha512"
	default:
		return "", false
	}
	if named && algorithm != want || !all(digits, isHex) {
		return "", false
	}
	return want + ":" + strings.ToLower(digits), true
}

// oneOf checks a value against the list; an empty first item allows the value to
// be absent, and is not told.
func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	if allowed[0] == "" {
		allowed = allowed[1:]
	}
	return invalid(CodeEnum, "%s in body should be one of %v", name, allowed)
}

// SearchLogQuery is the body of POST /api/v1/log/entries/retrieve. All lists
// together have at most MaxRetrieve items.
type SearchLogQuery struct {
	EntryUUIDs []string // 64 or 80 hexadecimal digits each, of either case
	LogIndexes []int64  // global indexes, at least 0
	Entries    []json.RawMessage
}

// list is a JSON array of which at most MaxRetrieve+1 items are kept: enough to
// tell that it is too long, and no more memory than that for a body of a million
// items. It is nil if the array is null.
type list[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	if len(raw) == 0 || raw[0] != '[' {
		return json.Unmarshal(raw, (*[]T)(l)) // says what is wrong
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return err
	}
	*l = list[T]{}
	for dec.More() && len(*l) <= MaxRetrieve {
		var item T
		if err := dec.Decode(&item); err != nil {
			return err
		}
		*l = append(*l, item)
	}
	return nil
}

// ParseSearchLogQuery reads and checks the body of POST
// /api/v1/log/entries/retrieve, except what is inside Entries.
func ParseSearchLogQuery(body []byte) (SearchLogQuery, error) {
	// The type has no name because its name would stand in messages.
	var q struct {
		Entries    list[json.RawMessage] `json:"entries"`
		EntryUUIDs list[string]          `json:"entryUUIDs"`
		LogIndexes list[*int64]          `json:"logIndexes"`
	}
	if err := decode("entry", body, &q); err != nil {
		return SearchLogQuery{}, err
	}
	if err := items("entries", q.Entries); err != nil {
		return SearchLogQuery{}, err
	}
	if err := checkEntryIDs(q.EntryUUIDs); err != nil {
		return SearchLogQuery{}, err
	}
	indexes, err := checkIndexes(q.LogIndexes)
	if err != nil {
		return SearchLogQuery{}, err
	}
	if len(q.Entries)+len(q.EntryUUIDs)+len(indexes) > MaxRetrieve {
		return SearchLogQuery{}, &Violation{http.StatusUnprocessableEntity, http.StatusUnprocessableEntity,
			fmt.Sprintf("more than max allowed %d entries in request", MaxRetrieve)}
	}
	return SearchLogQuery{q.EntryUUIDs, indexes, q.Entries}, nil
}

func checkEntryIDs(ids []string) error {
	if err := items("entryUUIDs", ids); err != nil {
		return err
	}
	for i, id := range ids {
		if !isEntryID(id) {
			return noMatch("entryUUIDs."+strconv.Itoa(i), "body", patternEntryID)
		}
	}
	return nil
}

func checkIndexes(list []*int64) ([]int64, error) {
	if err := items("logIndexes", list); err != nil {
		return nil, err
	}
	indexes := make([]int64, len(list))
	for i, n := range list {
		name := "logIndexes." + strconv.Itoa(i)
		if n == nil {
			return nil, Required(name, "body")
		}
		if err := minimum(name, "body", *n, 0); err != nil {
			return nil, err
		}
		indexes[i] = *n
	}
	return indexes, nil
}

// ProposedEntry checks that there is a body of POST /api/v1/log/entries. What is
// in it is for package entry to judge.
func ProposedEntry(body []byte) error {
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return Required("proposedEntry", "body")
	}
	return nil
}
