package search

import (
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/sig"
)

// Fields of a Meaning. They are the names of the API's parameters.
const (
	FieldIdentity       = "identity"
	FieldIdentityPrefix = "identityPrefix"
	FieldIssuer         = "issuer"
	FieldDigest         = "digest"
	FieldPublicKey      = "publicKey"
	FieldCommit         = "commit"
	FieldIndex          = "index"
	FieldID             = "id"
)

// Meaning is one thing that a text can mean.
type Meaning struct {
	Field string // one of the constants above
	// Value is the value of that field of a Query, in the form in which it is looked
	// up: in lower case, digests with their algorithm, a key as the SHA-256 of its PEM.
	Value string
	// Words say what was understood, for people: "identity jo@example.com". The text
	// is the asker's.
	Words string
}

// Recognise returns what a text can mean; of ambiguous texts several things. It is
// empty if the text cannot mean anything. These are known:
//
//   - an identity: e-mail address, URI, DNS name, user name; with "*" at its end, the
//     beginning of identities
//   - an issuer: any http or https URL (which may be an identity as well)
//   - a digest, "sha256:<hex>", or 40, 64, 96 or 128 hexadecimal digits alone
//   - an image reference with a digest: "registry.example.com/app@sha256:<hex>"
//   - a Git commit: 40 or 64 hexadecimal digits
//   - an index in the log: decimal digits
//   - an entry ID: 80 or 64 hexadecimal digits; or a URL that ends in one, or in
//     "/entry/<index>", or has a parameter logIndex
//   - a public key or certificate: PEM, also in one line, with "\n" for line breaks, or
//     in base64 as it stands in an entry; or the SHA-256 of its canonical PEM
func Recognise(text string) []Meaning {
	m, _ := recognise(text)
	return m
}

// recognise is Recognise that says, of a text without a meaning, why.
func recognise(text string) ([]Meaning, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return nil, bad("text", "it is empty")
	case len(text) > MaxText:
		return nil, bad("text", "it has %d bytes, more than %d", len(text), MaxText)
	case !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0:
		return nil, bad("text", "it is not valid text")
	case looksLikePEM(text):
		return recognisePEM(text)
	case all(text, isDigit) && len(text) < 20:
		return recogniseIndex(text)
	case all(text, isHex):
		if m := recogniseHex(strings.ToLower(text)); m != nil {
			return m, nil
		}
	}
	if prefix, ok := strings.CutSuffix(text, "*"); ok {
		return one(FieldIdentityPrefix, prefix)
	}
	if strings.HasPrefix(text, "*") {
		return nil, bad("text", "identities are found by how they begin, not by how they end: write “jo@*”")
	}
	var meanings []Meaning
	for _, field := range textFields(text) {
		m, err := one(field, text)
		if err != nil {
			return nil, bad("text", "%s", err.(*Error).Message)
		}
		meanings = append(meanings, m...)
	}
	return append(meanings, inURL(text)...), nil
}

// one returns the meaning of a text as one field.
func one(field, text string) ([]Meaning, error) {
	value, err := normal(field, text)
	if err != nil {
		return nil, &Error{"text", err.(*Error).Message}
	}
	return []Meaning{meaning(field, value)}, nil
}

// textFields returns what a text may be that is neither PEM nor a number.
func textFields(text string) []string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 && isKnownDigest(text[i+1:]) { // an image reference
		return []string{FieldDigest}
	}
	name, value, hasColon := strings.Cut(text, ":")
	switch {
	case isKnownDigest(text):
		if strings.EqualFold(name, "sha256") {
			return []string{FieldDigest, FieldPublicKey}
		}
		return []string{FieldDigest}
	case hasColon && name != "" && len(value) >= 8 && all(value, isHex): // of another algorithm
		return []string{FieldDigest, FieldIdentity}
	case isURL(text):
		return []string{FieldIdentity, FieldIssuer}
	}
	return []string{FieldIdentity}
}

func recogniseIndex(text string) ([]Meaning, error) {
	if _, err := strconv.ParseInt(text, 10, 64); err != nil {
		return nil, bad("text", "no entry has so large an index")
	}
	return one(FieldIndex, text)
}

// recogniseHex returns what hexadecimal digits alone may be; nil if nothing: an
// identity, then.
func recogniseHex(digits string) (meanings []Meaning) {
	var fields []string
	switch len(digits) {
	case 40:
		fields = []string{FieldCommit, FieldDigest}
	case 64:
		fields = []string{FieldDigest, FieldPublicKey, FieldID, FieldCommit}
	case 80:
		fields = []string{FieldID}
	case 96, 128:
		fields = []string{FieldDigest}
	}
	for _, f := range fields {
		value, err := normal(f, digits)
		if err != nil { // an ID whose tree part is no tree ID
			continue
		}
		meanings = append(meanings, meaning(f, value))
	}
	return meanings
}

// inURL returns the entry that a URL of a log, or of a page about one, names.
func inURL(text string) []Meaning {
	u, err := url.Parse(text)
	if !isURL(text) || err != nil {
		return nil
	}
	if index := u.Query().Get("logIndex"); index != "" {
		if value, err := normal(FieldIndex, index); err == nil {
			return []Meaning{meaning(FieldIndex, value)}
		}
	}
	before, last := cutLast(strings.TrimSuffix(u.Path, "/"))
	if value, err := normal(FieldID, last); err == nil {
		return []Meaning{meaning(FieldID, value)}
	}
	if _, before = cutLast(before); before == "entry" || before == "entries" {
		if value, err := normal(FieldIndex, last); err == nil {
			return []Meaning{meaning(FieldIndex, value)}
		}
	}
	return nil
}

// cutLast cuts a path before its last segment.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func isURL(text string) bool {
	lower := strings.ToLower(text[:min(len(text), len("https://"))])
	return strings.HasPrefix(lower, "https://") || strings.HasPrefix(lower, "http://")
}

// recognisePEM returns the keys that a PEM text holds: what was pasted as a whole,
// and, of a chain, its first certificate alone: entries hold the one or the other.
func recognisePEM(text string) ([]Meaning, error) {
	keys, err := readPEM(text)
	if err != nil {
		return nil, bad("text", "%v", err)
	}
	var meanings []Meaning
	for _, k := range keys {
		m := meaning(FieldPublicKey, hex.EncodeToString(k.PEMHash[:]))
		m.Words = describeKey(k)
		meanings = append(meanings, m)
	}
	return meanings, nil
}

// describeKey says what a pasted key is.
func describeKey(k *sig.Key) string {
	switch {
	case len(k.Certificates) == 0:
		return "the pasted public key"
	case len(k.Identities) > 0:
		return "the pasted certificate of " + k.Identities[0]
	}
	return "the pasted certificate"
}

// meaning puts a normal value into words.
func meaning(field, value string) Meaning {
	words := map[string]string{
		FieldIdentity:       "identity ",
		FieldIdentityPrefix: "identities that begin with ",
		FieldIssuer:         "issuer ",
		FieldDigest:         "digest ",
		FieldPublicKey:      "key or certificate whose PEM has the SHA-256 ",
		FieldCommit:         "Git commit ",
		FieldIndex:          "entry with the index ",
		FieldID:             "entry with the ID ",
	}[field]
	return Meaning{field, value, words + value}
}
