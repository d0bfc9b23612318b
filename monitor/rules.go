package monitor

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/internal/strictyaml"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// Limits of a rules file.
const (
	MaxRulesFile  = 1 << 20 // bytes
	MaxLogs       = 64
	MaxRules      = 256
	MaxConditions = 1024 // of a rule, in when and in unless
	MaxReceiptsOf = 256  // files of receipts of a log
	maxRegexp     = 1024 // bytes
)

// Rules are what to look for in entries. They are immutable and may be used by many goroutines.
type Rules struct{ rules []*rule }

// Len returns how many rules there are.
func (r *Rules) Len() int { return len(r.rules) }

// Names returns the rules' names, in the file's order.
func (r *Rules) Names() []string {
	names := make([]string, len(r.rules))
	for i, rule := range r.rules {
		names[i] = rule.name
	}
	return names
}

// of returns the rules for one log.
func (r *Rules) of(log string) []*rule {
	if r == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.rules), func(rule *rule) bool { return rule.logs != nil && !slices.Contains(rule.logs, log) })
}

// rule asks for entries.
type rule struct {
	name         string
	logs         []string // nil: all
	when, unless []condition
}

// condition holds if all of it that is set does.
type condition struct {
	any                         bool
	issuer, subject             string
	issuerRegexp, subjectRegexp *regexp.Regexp
	key, digest, kind           string
	extensions                  []extension
	unreadable                  bool
}

type extension struct{ oid, value string }

// ParseRules reads a rules file in YAML:
//
//	logs:
//	  - name: public                 # a-z, 0-9 and "-"
//	    url: https://rekor.example.com
//	    trustedRoot: root.json       # a file with the log's key; or
//	    logKey: log.pub              # … a file with the public key alone
//	    logURL: https://…            # the log's baseUrl in the trusted root, if it is not the url
//	    from: now                    # do not search what is there already (left out: read it all)
//	    maxSilence: 24h              # alarm if the log does not grow for so long (left out: never)
//	    maxLag: 1h                   # … if entries wait to be read for so long
//	    maxUnreachable: 15m          # … if the log cannot be asked for so long
//	    receipts: [hello.bundle]     # files with entries that the log promised to hold (see ParseReceipts)
//	rules:
//	  - name: release                # raises an alert for each entry that …
//	    logs: [public]               # is in one of these (left out: all)
//	    when:                        # … and of which all of this holds (or: a list; one of them has to hold)
//	      subject: release@example.com
//	      issuer: https://issuer.example.com
//	    unless:                      # … and none of this (a mapping, or a list)
//	      digest: sha256:…
//	  - name: foreign-workflow
//	    when: {extensions: {sourceRepositoryURI: https://github.com/example/app}}
//	    unless: {extensions: {buildConfigURI: https://github.com/example/app/.github/workflows/release.yml@refs/heads/main}}
//	  - name: everything
//	    when: {any: true}
//
// Fields of a condition, all of which have to hold:
//
//   - subject, subjectRegexp: a name in the certificate: an e-mail address, a URI or what else there is;
//   - issuer, issuerRegexp: the OIDC issuer that Fulcio wrote into the certificate;
//   - extensions: Fulcio's extensions of the certificate, exactly, by name (sourceRepositoryURI, buildConfigURI, githubWorkflowRef …:
//     those of fulcio's docs/oid-info.md in this spelling) or by object identifier;
//   - key: "sha256:" and the SHA-256 of the signer's public key (SubjectPublicKeyInfo, DER), in hexadecimal;
//   - digest: "sha256:<hex>" and the like: of the artifact, payload or envelope in the entry's body;
//   - kind: the entry's kind, such as hashedrekord: one of those of Rekor v1, exactly;
//   - unreadable: true: the entry, or the key or certificate of one of its signatures, cannot be read, and so not be searched;
//   - any: true: every entry; then there is no other field.
//
// All that is said of the signer has to hold of ONE signature's key and certificate, in when and in
// unless together: an entry with two signatures is two signers, and the exception of one does not excuse the other.
//
// Text is compared exactly. Regular expressions are RE2; they are unanchored, as in
// cosign, but those of unless have to be anchored at both ends (^…$), so that an exception is no wider than it looks.
//
// Whatever is unknown, given twice, empty or without effect is refused.
func ParseRules(data []byte, o ParseOptions) (*Config, error) {
	if len(data) > MaxRulesFile {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxRulesFile)
	}
	root, err := strictyaml.Read(data)
	if err != nil {
		return nil, err
	}
	r := rulesReader{ParseOptions: o, config: &Config{Rules: &Rules{}}}
	if err := r.read(root); err != nil {
		return nil, err
	}
	return r.config, nil
}

type rulesReader struct {
	ParseOptions
	config *Config
}

func (r *rulesReader) read(root *yaml.Node) error {
	var logs, rules *yaml.Node
	err := strictyaml.Fields(root, "the file", func(name string, key, value *yaml.Node) error {
		switch name {
		case "logs":
			logs = value
		case "rules":
			rules = value
		default:
			if read := r.Fields[name]; read != nil {
				return read(value)
			}
			return strictyaml.Unknown(key, "the file")
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case logs == nil && r.Own == "":
		return errors.New("it has no logs")
	case logs == nil && rules == nil:
		return errors.New("it has neither logs nor rules")
	}
	if logs != nil {
		if err := strictyaml.Elements(logs, "logs", MaxLogs, r.log); err != nil {
			return err
		}
	}
	if rules != nil {
		return strictyaml.Elements(rules, "rules", MaxRules, r.rule)
	}
	return nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q is not a name of 1 to 63 of a-z, 0-9 and \"-\"", clip(name))
	}
	return nil
}

func (r *rulesReader) knows(log string) bool {
	return log == r.Own || slices.ContainsFunc(r.config.Logs, func(l Log) bool { return l.Name == log })
}

func (r *rulesReader) log(n *yaml.Node) error {
	var l Log
	var root, key, logURL string
	var receipts []string
	err := strictyaml.Fields(n, "a log", func(name string, field, value *yaml.Node) (err error) {
		switch name {
		case "name":
			if l.Name, err = strictyaml.Text(value, name); err == nil {
				if err = checkName(l.Name); err != nil {
					err = strictyaml.At(value, "name: %w", err)
				}
			}
		case "url":
			l.URL, err = strictyaml.Text(value, name)
		case "trustedRoot":
			root, err = strictyaml.Text(value, name)
		case "logKey":
			key, err = strictyaml.Text(value, name)
		case "logURL":
			logURL, err = strictyaml.Text(value, name)
		case "from":
			var text string
			if text, err = strictyaml.Text(value, name); err == nil && text != "now" {
				err = strictyaml.At(value, "from is now, or left out")
			}
			l.FromNow = true
		case "maxSilence":
			l.MaxSilence, err = strictyaml.Duration(value, name)
		case "maxLag":
			l.MaxLag, err = strictyaml.Duration(value, name)
		case "maxUnreachable":
			l.MaxUnreachable, err = strictyaml.Duration(value, name)
		case "receipts":
			receipts, err = strictyaml.Texts(value, name, MaxReceiptsOf)
		default:
			err = strictyaml.Unknown(field, "a log")
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case l.Name == "":
		return strictyaml.At(n, "a log has no name")
	case r.knows(l.Name):
		return strictyaml.At(n, "two logs have the name %q", l.Name)
	case l.URL == "":
		return strictyaml.At(n, "log %q has no url", l.Name)
	case (root == "") == (key == ""):
		return strictyaml.At(n, "log %q has either a trustedRoot or a logKey", l.Name)
	case logURL != "" && root == "":
		return strictyaml.At(n, "log %q: logURL has no effect without a trustedRoot", l.Name)
	}
	if err := r.complete(&l, root, key, logURL, receipts); err != nil {
		return strictyaml.At(n, "log %q: %w", l.Name, err)
	}
	r.config.Logs = append(r.config.Logs, l)
	return nil
}

// complete reads the files that a log names.
func (r *rulesReader) complete(l *Log, root, key, logURL string, receipts []string) (err error) {
	if _, err := client.NewRaw(l.URL, client.Options{}); err != nil {
		return err
	}
	var data []byte
	if root != "" {
		if data, err = r.Read(root, verify.MaxTrustedRoot); err != nil {
			return err
		}
		if l.Trust, err = verify.ParseTrustedRoot(data); err == nil {
			l.Trust, err = client.Narrow(l.Trust, l.URL, logURL)
		}
	} else {
		if data, err = r.Read(key, sig.MaxPEM); err != nil {
			return err
		}
		l.Trust, err = verify.TrustLogKey(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", root+key, err)
	}
	for _, path := range receipts {
		data, err := r.Read(path, MaxReceiptFile)
		if err != nil {
			return fmt.Errorf("receipts: %w", err)
		}
		more, err := ParseReceipts(data)
		if err != nil {
			return fmt.Errorf("receipts: %s: %w", path, err)
		}
		l.Receipts = append(l.Receipts, more...)
	}
	return checkReceipts(l.Receipts, l.Trust)
}

func (r *rulesReader) rule(n *yaml.Node) error {
	rule := &rule{}
	err := strictyaml.Fields(n, "a rule", func(name string, key, value *yaml.Node) (err error) {
		switch name {
		case "name":
			if rule.name, err = strictyaml.Text(value, name); err == nil && !short(rule.name, 100) {
				err = strictyaml.At(value, "a rule's name is not short printable text")
			}
		case "logs":
			if rule.logs, err = strictyaml.Texts(value, name, MaxLogs); err == nil {
				for _, l := range rule.logs {
					if !r.knows(l) {
						return strictyaml.At(value, "there is no log %q", clip(l))
					}
				}
			}
		case "when":
			rule.when, err = conditions(value, name)
		case "unless":
			rule.unless, err = conditions(value, name)
		default:
			err = strictyaml.Unknown(key, "a rule")
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case rule.name == "":
		return strictyaml.At(n, "a rule has no name")
	case slices.Contains(r.config.Rules.Names(), rule.name):
		return strictyaml.At(n, "two rules have the name %q", rule.name)
	case rule.when == nil:
		return strictyaml.At(n, "rule %q says not when; every entry is when: {any: true}", rule.name)
	case slices.ContainsFunc(rule.unless, func(c condition) bool { return c.any }):
		return strictyaml.At(n, "rule %q would never raise an alert: unless any", rule.name)
	}
	r.config.Rules.rules = append(r.config.Rules.rules, rule)
	return nil
}

// conditions reads one condition or a list of them.
func conditions(n *yaml.Node, what string) (all []condition, err error) {
	one := func(n *yaml.Node) error {
		c, err := readCondition(n, what)
		all = append(all, c)
		return err
	}
	if n.Kind == yaml.SequenceNode {
		err = strictyaml.Elements(n, what, MaxConditions, one)
	} else {
		err = one(n)
	}
	return all, err
}

func readCondition(n *yaml.Node, what string) (c condition, err error) {
	known := 0
	err = strictyaml.Fields(n, what, func(name string, key, value *yaml.Node) (err error) {
		known++
		switch name {
		case "any":
			c.any = true
			err = strictyaml.True(value, name)
		case "unreadable":
			c.unreadable = true
			err = strictyaml.True(value, name)
		case "issuer":
			c.issuer, err = strictyaml.Text(value, name)
		case "subject":
			c.subject, err = strictyaml.Text(value, name)
		case "issuerRegexp":
			c.issuerRegexp, err = readRegexp(value, name, what == "unless")
		case "subjectRegexp":
			c.subjectRegexp, err = readRegexp(value, name, what == "unless")
		case "key":
			c.key, err = readDigest(value, name)
			if err == nil && (len(c.key) != len("sha256:")+64 || !strings.HasPrefix(c.key, "sha256:")) {
				err = strictyaml.At(value, "key is not \"sha256:\" and 64 hexadecimal digits")
			}
		case "digest":
			c.digest, err = readDigest(value, name)
		case "kind":
			c.kind, err = readKind(value, name)
		case "extensions":
			c.extensions, err = readExtensions(value)
		default:
			err = strictyaml.Unknown(key, what)
		}
		return err
	})
	switch {
	case err != nil:
		return c, err
	case c.any && known > 1:
		return c, strictyaml.At(n, "any: true stands alone")
	case c.unreadable && c.asksSigner():
		return c, strictyaml.At(n, "unreadable: true, and something of the signer, which could not be read: that never holds")
	case c.issuer != "" && c.issuerRegexp != nil, c.subject != "" && c.subjectRegexp != nil:
		return c, strictyaml.At(n, "there is a text and a regular expression for the same thing; leave one out")
	}
	return c, nil
}

// readKind reads the name of a kind of entry. One that Rekor v1 does not have, or in another spelling, would never match.
func readKind(n *yaml.Node, what string) (string, error) {
	text, err := strictyaml.Text(n, what)
	if err != nil {
		return "", err
	}
	if kinds := append(entry.Kinds(), entry.ForeignKinds()...); !slices.Contains(kinds, text) {
		return "", strictyaml.At(n, "%s %q is none of Rekor v1's: %s", what, clip(text), strings.Join(kinds, ", "))
	}
	return text, nil
}

// digestSizes are how many hexadecimal digits a digest has.
var digestSizes = map[string]int{"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}

func readDigest(n *yaml.Node, what string) (string, error) {
	text, err := strictyaml.Text(n, what)
	if err != nil {
		return "", err
	}
	algorithm, value, _ := strings.Cut(text, ":")
	if len(value) == 0 || len(value) != digestSizes[algorithm] || strings.Trim(value, "0123456789abcdefABCDEF") != "" {
		return "", strictyaml.At(n, "%s is not of the form sha256:<hexadecimal>", what)
	}
	return strings.ToLower(text), nil
}

func readRegexp(n *yaml.Node, what string, anchored bool) (*regexp.Regexp, error) {
	text, err := strictyaml.Text(n, what)
	if err != nil {
		return nil, err
	}
	if len(text) > maxRegexp {
		return nil, strictyaml.At(n, "%s has more than %d bytes", what, maxRegexp)
	}
	e, err := regexp.Compile(text)
	if err != nil {
		return nil, strictyaml.At(n, "%s: %w", what, err)
	}
	if anchored && !isAnchored(text) {
		return nil, strictyaml.At(n, "%s: an exception is anchored at both ends, as ^(?:…)$", what)
	}
	return e, nil
}

// isAnchored reports whether a regular expression can match nothing but whole texts.
func isAnchored(expr string) bool {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || len(tree.Sub) < 2 {
		return false
	}
	first, last := tree.Sub[0], tree.Sub[len(tree.Sub)-1]
	return first.Op == syntax.OpBeginText && last.Op == syntax.OpEndText
}

// readExtensions reads a mapping of Fulcio's extensions to values.
func readExtensions(n *yaml.Node) (all []extension, err error) {
	known := make(map[string]string) // OIDs by name and by themselves
	for _, e := range sig.FulcioNames() {
		known[extensionName(e)] = e.OID
		known[e.OID] = e.OID
	}
	err = strictyaml.Fields(n, "extensions", func(name string, key, value *yaml.Node) error {
		oid := known[name]
		if oid == "" {
			return strictyaml.At(key, "extensions: Fulcio has no extension %q; sourceRepositoryURI is one", clip(name))
		}
		if slices.ContainsFunc(all, func(e extension) bool { return e.oid == oid }) {
			return strictyaml.At(key, "extensions: %s is there already, under another name", clip(name))
		}
		text, err := strictyaml.Text(value, name)
		all = append(all, extension{oid, text})
		return err
	})
	return all, err
}

// extensionName returns the name of an extension as rules and alerts have it: "Source Repository URI" is sourceRepositoryURI. One that
// has no name is called by its object identifier.
func extensionName(e sig.Extension) string {
	if e.Name == "" {
		return e.OID
	}
	first, rest, _ := strings.Cut(e.Name, " ")
	return strings.ToLower(first) + strings.NewReplacer(" ", "", "(", "", ")", "").Replace(rest)
}
