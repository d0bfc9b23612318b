package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/verify"
)

// String says in lines, for people, what the policy demands: with all defaults, and in the order in which its rules are
// tried.
func (p *Policy) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, r := range p.rules {
		line("rule %q", r.name)
		for _, pattern := range r.patterns {
			line("  images %s", pattern.text)
		}
		if r.allow {
			line("  admitted without any proof, and not pinned to a digest")
			continue
		}
		for _, believed := range r.trust {
			line("  believed: %s", believed)
		}
		for _, q := range r.requires {
			line("  required: %s", q.what)
			for _, text := range q.says {
				line("    %s", text)
			}
		}
	}
	line("all other images are denied")
	if len(p.exempt) > 0 {
		line("nothing is verified in namespaces: %s", strings.Join(slices.Sorted(maps.Keys(p.exempt)), ", "))
	}
	return b.String()
}

// describeTrust names those who are believed, one a line.
func describeTrust(t *verify.Trust) (all []string) {
	m := t.Material()
	for _, l := range m.Logs {
		all = append(all, "log "+logName(l))
	}
	for _, l := range m.CTLogs {
		all = append(all, "CT log "+logName(l))
	}
	for _, a := range m.CertificateAuthorities {
		all = append(all, "certificate authority "+authorityName(a))
	}
	for _, a := range m.TimestampAuthorities {
		all = append(all, "timestamp authority "+authorityName(a))
	}
	return all
}

func authorityName(a verify.Authority) string {
	name := ""
	if len(a.Chain) > 0 {
		name = a.Chain[len(a.Chain)-1].Subject.String()
	}
	return strings.TrimSpace(clip(a.URI) + " " + clip(name))
}

// describe says what a policy demands of a signature, one thing a line. keys are the names of its keys.
func describe(p verify.Policy, t *verify.Trust, keys []string) (all []string) {
	for i, k := range p.Keys {
		all = append(all, "by key "+keys[i]+describeWindow(k.Valid))
	}
	for _, i := range p.Identities {
		text := "by " + either(i.Subject, i.SubjectRegexp) + ", says " + either(i.Issuer, i.IssuerRegexp)
		for _, oid := range slices.Sorted(maps.Keys(i.Extensions)) {
			text += fmt.Sprintf(", with %s %q", oid, clipTo(i.Extensions[oid], verify.MaxRegexp))
		}
		all = append(all, text)
	}
	if len(all) > 1 {
		for i := range all[1:] {
			all[i+1] = "or " + all[i+1]
		}
	}
	demanded := func(n int, how, one, more string) {
		switch {
		case n == 1:
			all = append(all, how+" one "+one)
		case n > 1:
			all = append(all, fmt.Sprintf("%s %d %s", how, n, more))
		}
	}
	if p.LogEntries == 0 {
		p.LogEntries = 1
	}
	if p.SCTs == 0 && len(p.Identities) > 0 && len(t.Material().CTLogs) > 0 {
		p.SCTs = 1
	}
	demanded(p.LogEntries, "logged in", "log", "different logs")
	demanded(p.SignedTimestamps, "timestamped by", "authority", "different authorities")
	demanded(p.SCTs, "with a certificate in", "CT log", "different CT logs")
	if p.LogEntries == verify.None {
		all = append(all, "logged or not")
	}
	if p.InclusionProofs {
		all = append(all, "with inclusion proofs")
	}
	if p.Witnesses != "" {
		all = append(all, "under checkpoints that a quorum of witnesses cosigned")
	}
	if p.IgnoreTimestamps {
		all = append(all, "signed timestamps are left aside")
	}
	return all
}

func either(text, expression string) string {
	if expression != "" {
		return "anything like /" + clipTo(expression, verify.MaxRegexp) + "/"
	}
	return clipTo(text, verify.MaxRegexp)
}

func describeWindow(w verify.Window) (text string) {
	if !w.Start.IsZero() {
		text += " from " + w.Start.UTC().Format(time.RFC3339)
	}
	if !w.End.IsZero() {
		text += " until " + w.End.UTC().Format(time.RFC3339)
	}
	return text
}
