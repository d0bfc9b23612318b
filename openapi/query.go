package openapi

import (
	"net/url"
	"strconv"
)

// Patterns of the specification, as the messages quote them.
const (
	patternEntryID = `^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$`
	patternTreeID  = `^[0-9]+$`
	patternHash    = `^(sha512:)?[0-9a-fA-F]{128}$|^(sha384:)?[0-9a-fA-F]{96}$|^(sha256:)?[0-9a-fA-F]{64}$|^(sha1:)?[0-9a-fA-F]{40}$`
)

// LogIndex reads the query of GET /api/v1/log/entries: the global index, at least 0.
func LogIndex(q url.Values) (int64, error) {
	return requiredInt(q, "logIndex", 0)
}

// EntryID checks the last segment of GET /api/v1/log/entries/{entryUUID}: 64 or 80
// hexadecimal digits of either case.
func EntryID(id string) error {
	if !isEntryID(id) {
		return noMatch("entryUUID", "path", patternEntryID)
	}
	return nil
}

// ProofQuery is the query of GET /api/v1/log/proof. That FirstSize is at most
// LastSize is not checked.
type ProofQuery struct {
	FirstSize int64 // at least 1
	LastSize  int64 // at least 1
	// TreeID is decimal digits, any number of them; empty for the active tree.
	TreeID string
}

// Proof reads the query of GET /api/v1/log/proof.
func Proof(q url.Values) (ProofQuery, error) {
	p := ProofQuery{FirstSize: 1}
	var err error
	if s := last(q["firstSize"]); s != "" {
		if p.FirstSize, err = parseInt("firstSize", s, 1); err != nil {
			return ProofQuery{}, err
		}
	}
	if p.LastSize, err = requiredInt(q, "lastSize", 1); err != nil {
		return ProofQuery{}, err
	}
	if p.TreeID, err = TreeID(q); err != nil {
		return ProofQuery{}, err
	}
	return p, nil
}

// TreeID reads the parameter treeID: decimal digits, any number of them; empty if
// it is absent or empty.
func TreeID(q url.Values) (string, error) {
	id := last(q["treeID"])
	if !all(id, isDigit) {
		return "", noMatch("treeID", "query", patternTreeID)
	}
	return id, nil
}

func requiredInt(q url.Values, name string, least int64) (int64, error) {
	s := last(q[name])
	if s == "" {
		return 0, Required(name, "query")
	}
	return parseInt(name, s, least)
}

func parseInt(name, s string, least int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, wrongType(name, "query", "int64", s)
	}
	return n, minimum(name, "query", n, least)
}

// last returns the last value of a parameter given several times, as go-openapi
// takes it.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func isEntryID(s string) bool {
	return (len(s) == 64 || len(s) == 80) && all(s, isHex)
}

func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
