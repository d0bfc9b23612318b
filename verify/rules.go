package verify

import (
	"crypto/x509"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/sig"
)

// rules is a policy made ready.
type rules struct {
	keys                         []ruleKey
	identities                   []matcher
	predicateType                string
	logEntries, timestamps, scts int // 0: none is demanded
	inclusion                    bool
	witnesses                    *WitnessPolicy // nil: none are
	time                         time.Time
	ignoreTimestamps             bool
	digest                       [32]byte // Policy.Digest
}

type ruleKey struct {
	key   *sig.Key
	valid Window
}

// compile checks a policy, by itself and against the trust that has to bear it. Errors
// are of class ErrPolicy.
func (p Policy) compile(t *Trust) (*rules, error) {
	r, err := p.rules()
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, refuse(ErrPolicy, "policy", "there is no trust to judge by")
	}
	m := &t.material
	if len(p.Identities) > 0 && p.SCTs == 0 && len(m.CTLogs) > 0 {
		r.scts = 1
	}
	for _, need := range []struct {
		what     string
		n, known int
	}{
		{"log entries of distinct logs", r.logEntries, groupCount(groups(m.Logs, sameLog))},
		{"timestamps of distinct authorities", r.timestamps, groupCount(t.tsaGroups)},
		{"SCTs of distinct CT logs", r.scts, groupCount(groups(m.CTLogs, sameLog))},
	} {
		if need.n > need.known {
			return nil, refuse(ErrPolicy, "policy", "it demands %s, %d of them, but %d are trusted", need.what, need.n, need.known)
		}
	}
	if len(p.Identities) > 0 && len(m.CertificateAuthorities) == 0 {
		return nil, refuse(ErrPolicy, "policy", "it names identities, but no certificate authority is trusted")
	}
	return r, nil
}

// rules is compile for all that does not depend on the trust.
func (p Policy) rules() (*rules, error) {
	bad := func(format string, args ...any) (*rules, error) {
		return nil, refuse(ErrPolicy, "policy", format, args...)
	}
	r := &rules{
		predicateType:    p.PredicateType,
		time:             p.Time,
		inclusion:        p.InclusionProofs,
		ignoreTimestamps: p.IgnoreTimestamps,
		digest:           p.Digest(),
	}
	if (len(p.Keys) == 0) == (len(p.Identities) == 0) {
		return bad("it has to have either keys or identities: it has %d and %d", len(p.Keys), len(p.Identities))
	}
	if n := max(len(p.Keys), len(p.Identities)); n > MaxSigners {
		return bad("%d keys or identities, more than %d", n, MaxSigners)
	}
	if p.LogEntries < None || p.SignedTimestamps < None || p.SCTs < None {
		return bad("a threshold is below zero")
	}
	r.logEntries = max(p.LogEntries, 0)
	if p.LogEntries == 0 {
		r.logEntries = 1
	}
	r.timestamps, r.scts = max(p.SignedTimestamps, 0), max(p.SCTs, 0)
	if r.timestamps > 0 && p.IgnoreTimestamps {
		return bad("it demands timestamps, and ignores them")
	}
	if r.scts > 0 && len(p.Keys) > 0 {
		return bad("it demands SCTs, which only certificates have, but names keys")
	}
	timed := len(p.Identities) > 0
	for i, k := range p.Keys {
		key, err := parseRuleKey(k)
		if err != nil {
			return bad("key %d: %w", i, err)
		}
		for j, other := range r.keys {
			if key.key.SamePublic(other.key) {
				return bad("keys %d and %d are the same", j, i)
			}
		}
		r.keys = append(r.keys, key)
		timed = timed || !k.Valid.open()
	}
	for i, identity := range p.Identities {
		m, err := newMatcher(identity)
		if err != nil {
			return bad("identity %d: %w", i, err)
		}
		r.identities = append(r.identities, m)
	}
	if p.Witnesses != "" {
		w, err := ParseWitnessPolicy([]byte(p.Witnesses))
		if err != nil {
			return nil, err
		}
		if r.logEntries == 0 {
			return bad("it demands witnesses of entries, but no entries")
		}
		r.witnesses = w
	}
	if timed && r.logEntries == 0 && r.timestamps == 0 && p.Time.IsZero() {
		return bad("nothing would prove when a signature was made: it demands neither log entries nor timestamps, and says no time")
	}
	return r, nil
}

func parseRuleKey(k PublicKey) (ruleKey, error) {
	key, err := sig.ParsePEM(k.PEM)
	if err != nil {
		return ruleKey{}, err
	}
	if key.Certificates != nil {
		return ruleKey{}, fmt.Errorf("it is a certificate, not a public key")
	}
	return ruleKey{key, k.Valid}, k.Valid.check()
}

// matcher is an Identity made ready.
type matcher struct {
	issuer, subject textMatcher
	extensions      []extensionValue
}

type extensionValue struct{ oid, value string }

func newMatcher(i Identity) (m matcher, err error) {
	if m.issuer, err = newTextMatcher(i.Issuer, i.IssuerRegexp); err != nil {
		return m, fmt.Errorf("issuer: %w", err)
	}
	if m.subject, err = newTextMatcher(i.Subject, i.SubjectRegexp); err != nil {
		return m, fmt.Errorf("subject: %w", err)
	}
	if len(i.Extensions) > MaxExtensions {
		return m, fmt.Errorf("%d extensions, more than %d", len(i.Extensions), MaxExtensions)
	}
	for _, oid := range slices.Sorted(maps.Keys(i.Extensions)) {
		if id, err := x509.ParseOID(oid); err != nil || id.String() != oid || !strings.HasPrefix(oid, oidFulcio) {
			return m, fmt.Errorf("extension %q is not an object identifier of Fulcio's, %s…", clip(oid), oidFulcio)
		}
		if i.Extensions[oid] == "" {
			return m, fmt.Errorf("extension %s has an empty value", oid)
		}
		m.extensions = append(m.extensions, extensionValue{oid, i.Extensions[oid]})
	}
	return m, nil
}

// matches reports whether a certificate with that issuer and subject is meant;
// extension looks up the value of a Fulcio extension by OID.
func (m *matcher) matches(issuer, subject string, extension func(oid string) (string, bool)) bool {
	if !m.issuer.matches(issuer) || !m.subject.matches(subject) {
		return false
	}
	for _, e := range m.extensions {
		if value, ok := extension(e.oid); !ok || value != e.value {
			return false
		}
	}
	return true
}

// textMatcher is an exact text, or a regular expression.
type textMatcher struct {
	exact string
	re    *regexp.Regexp // nil for exact
}

// maxMatched is the longest text, in bytes, that a regular expression is tried on. The
// cost is that of text and expression multiplied, and a stranger writes the text.
const maxMatched = 4 << 10

func newTextMatcher(exact, expression string) (textMatcher, error) {
	switch {
	case (exact == "") == (expression == ""):
		return textMatcher{}, fmt.Errorf("one of the text and the regular expression has to be given")
	case expression == "":
		return textMatcher{exact: exact}, nil
	case len(expression) > MaxRegexp:
		return textMatcher{}, fmt.Errorf("a regular expression of %d bytes, more than %d", len(expression), MaxRegexp)
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return textMatcher{}, err
	}
	if regexpSize(tree) > maxRegexpSize {
		return textMatcher{}, fmt.Errorf("the regular expression is too large once its repetitions are written out")
	}
	re, err := regexp.Compile(expression)
	return textMatcher{re: re}, err
}

// maxRegexpSize bounds what a regular expression takes in memory, some dozens of bytes
// for each, and on each character of text.
const maxRegexpSize = 10000

// regexpSize returns about how many instructions and characters an expression compiles to.
func regexpSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += regexpSize(sub)
	}
	if re.Op == syntax.OpRepeat { // of at most 1000 in all, nested ones multiplied
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// matches reports whether text is meant. Empty text, as of a certificate that does not say, never is.
func (m *textMatcher) matches(text string) bool {
	if m.re == nil {
		return text != "" && text == m.exact
	}
	return text != "" && len(text) <= maxMatched && m.re.MatchString(text)
}
