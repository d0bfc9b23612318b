package monitor

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sig"
)

// subject is what rules are held against: an entry and one of its signers.
type subject struct {
	entry      *entry.Description
	unreadable bool
	signer     *signer // nil: there is none, or it cannot be read
}

// signer is a signer made ready for comparing.
type signer struct {
	key        *sig.Key
	print      string // "sha256:…"
	extensions []sig.Extension
}

func newSigner(k *sig.Key) *signer {
	s := &signer{key: k}
	if id, err := k.SPKIHash(); err == nil {
		s.print = "sha256:" + hex.EncodeToString(id[:])
	}
	if len(k.Certificates) > 0 {
		s.extensions = sig.FulcioExtensions(k.Certificates[0])
	}
	return s
}

// asksSigner reports whether the condition says something of the signer.
func (c *condition) asksSigner() bool {
	return c.issuer != "" || c.subject != "" || c.issuerRegexp != nil || c.subjectRegexp != nil || c.key != "" || c.extensions != nil
}

// holds reports whether the whole condition holds.
func (c *condition) holds(s *subject) bool {
	if c.any {
		return true
	}
	if c.kind != "" && c.kind != s.entry.Kind ||
		c.unreadable && !s.unreadable ||
		c.digest != "" && !slices.ContainsFunc(s.entry.Digests, func(d entry.Digest) bool { return strings.EqualFold(d.String(), c.digest) }) {
		return false
	}
	if !c.asksSigner() {
		return true
	}
	return s.signer != nil && c.holdsOf(s.signer)
}

func (c *condition) holdsOf(s *signer) bool {
	if c.key != "" && c.key != s.print ||
		c.issuer != "" && !slices.Contains(s.key.Issuers, c.issuer) ||
		c.subject != "" && !slices.Contains(s.key.Identities, c.subject) ||
		c.issuerRegexp != nil && !slices.ContainsFunc(s.key.Issuers, c.issuerRegexp.MatchString) ||
		c.subjectRegexp != nil && !slices.ContainsFunc(s.key.Identities, c.subjectRegexp.MatchString) {
		return false
	}
	for _, want := range c.extensions {
		if !slices.ContainsFunc(s.extensions, func(e sig.Extension) bool { return e.OID == want.oid && e.Value == want.value }) {
			return false
		}
	}
	return true
}

// matches reports whether the rule asks for it.
func (r *rule) matches(s *subject) bool {
	holds := func(c condition) bool { return c.holds(s) }
	return slices.ContainsFunc(r.when, holds) && !slices.ContainsFunc(r.unless, holds)
}

// found is a rule with the signer that it asks for.
type found struct {
	rule   *rule
	signer *signer // nil: none
}

// search holds rules against an entry's body, and returns each rule that asks for it once. The description is what is known
// of the body; unreadable says that it, or one of its signers, is not known.
func search(rules []*rule, p *entry.Parser, body []byte) (matched []found, d entry.Description, unreadable bool) {
	d, err := p.Describe(body)
	unreadable = err != nil || len(d.Signers) == 0
	var signers []*signer
	for _, s := range d.Signers {
		if s.Key == nil {
			unreadable = true
			continue
		}
		signers = append(signers, newSigner(s.Key))
	}
	if len(signers) < max(1, len(d.Signers)) {
		signers = append(signers, nil)
	}
	for _, r := range rules {
		for _, s := range signers {
			if r.matches(&subject{&d, unreadable, s}) {
				matched = append(matched, found{r, s})
				break
			}
		}
	}
	return matched, d, unreadable
}

// Limits of what of an entry is in an alert.
const (
	maxAlertDigests    = 8
	maxAlertNames      = 16
	maxAlertExtensions = 32
	maxAlertText       = 512 // bytes of each text
)

// describe makes a Match of what was found, clipped.
func (f *found) describe(d *entry.Description) *Match {
	m := &Match{Rule: f.rule.name, EntryKind: clipTo(d.Kind, 64), Version: clipTo(d.Version, 64)}
	text := func(s string) string {
		m.Clipped = m.Clipped || len(s) > maxAlertText
		return clipTo(s, maxAlertText)
	}
	texts := func(all []string) (out []string) {
		m.Clipped = m.Clipped || len(all) > maxAlertNames
		for _, s := range all[:min(len(all), maxAlertNames)] {
			out = append(out, text(s))
		}
		return out
	}
	m.Clipped = len(d.Digests) > maxAlertDigests
	for _, digest := range d.Digests[:min(len(d.Digests), maxAlertDigests)] {
		m.Digests = append(m.Digests, text(digest.String()))
	}
	if f.signer == nil {
		return m
	}
	m.Signer = &Signer{Key: f.signer.print, Subjects: texts(f.signer.key.Identities), Issuers: texts(f.signer.key.Issuers)}
	m.Clipped = m.Clipped || len(f.signer.extensions) > maxAlertExtensions
	for _, e := range f.signer.extensions[:min(len(f.signer.extensions), maxAlertExtensions)] {
		if m.Signer.Extensions == nil {
			m.Signer.Extensions = make(map[string]string)
		}
		m.Signer.Extensions[clipTo(extensionName(e), 64)] = text(e.Value)
	}
	return m
}

// text says in a line what was found.
func (m *Match) text() string {
	s := "rule " + strconv.Quote(m.Rule) + ": log entry " + strconv.FormatInt(m.LogIndex, 10)
	if m.EntryKind != "" {
		s += " (" + m.EntryKind + " " + m.Version + ")"
	}
	if m.Signer == nil {
		return s
	}
	switch {
	case len(m.Signer.Subjects) > 0:
		s += " by " + clipTo(m.Signer.Subjects[0], 200)
	default:
		s += " by the key " + m.Signer.Key
	}
	if len(m.Signer.Issuers) > 0 {
		s += " (issuer " + clipTo(m.Signer.Issuers[0], 200) + ")"
	}
	return s
}

// alertID returns the ID of an alert, from what identifies it.
func alertID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
