package admission

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/internal/strictyaml"
	"github.com/tallystick/tallystick/registry"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// Limits of a policy.
const (
	MaxPolicy     = 1 << 20 // bytes of the file
	MaxRules      = 256
	MaxPatterns   = 256 // of a rule
	MaxNamespaces = 64
	MaxAttested   = 16 // attestations that a rule requires
	MaxTrustFiles = 16
)

// Policy says which images may run. It is immutable and may be used by many goroutines.
type Policy struct {
	rules  []*rule
	hosts  map[string]bool // registries that a pattern names
	exempt map[string]bool
	digest [sha256.Size]byte
}

// rule is what holds for the images of some patterns.
type rule struct {
	name     string
	patterns []pattern
	allow    bool // nothing is required
	requires []requirement
	kinds    registry.Kind // what to read of an image
	trust    []string      // who is believed, in words
}

// requirement is one thing that has to be proved of an image.
type requirement struct {
	what   string // in words
	typ    string // the predicate type; empty for the image's signature
	maxAge time.Duration
	// signedTime leads to the time in the predicate that maxAge is about, too; nil if there is none.
	signedTime pointer
	byKey      bool // keys sign it, not identities
	verifier   *verify.Verifier
	keys       []string // for each of the policy's keys, "sha256:" and the digest of the SubjectPublicKeyInfo
	says       []string // what else it demands, in words
}

// PolicyOptions are what a policy is read with.
type PolicyOptions struct {
	// Read returns the content of a file that the policy names, of at most limit bytes.
	Read func(path string, limit int64) ([]byte, error)
	// Verify are the options of all verifiers of the policy.
	Verify verify.Options
}

// ParsePolicy reads a policy in YAML:
//
//	trustedRoots: [trusted-root.json]     # files: the logs and authorities that are believed
//	logKeys: [log.pub]                    # … or files with the public keys of Rekor v1 logs alone
//	exemptNamespaces: [kube-system]       # nothing is verified there
//	rules:                                # the first one that matches an image decides
//	  - name: system
//	    images: [registry.k8s.io/**]
//	    allow: true                       # without any proof, and not pinned
//	  - name: app
//	    images: [ghcr.io/example/*, ghcr.io/example/charts/**]
//	    require:
//	      keys: [{pem: "…"}]              # or identities: …; and all other fields of verify.ParsePolicy
//	      attestations:                   # but predicateType and time: these say what they would
//	        - type: https://cosign.sigstore.dev/attestation/vuln/v1
//	          maxAge: 168h                # by the time in the predicate that signedTime leads to
//	          signedTime: /metadata/scanFinishedOn
//	          identities: …               # by whom, if not by those above
//
// signedTime is a JSON pointer (RFC 6901, through objects alone) into the predicate, to a time (RFC 3339), which is the signer's
// word. With keys, maxAge needs it: whoever has an attestation can log it again, at a time of his choosing. What identities signed
// has to be young by the earliest time that a log or timestamp authority proves, which their certificates bind; and by signedTime as
// well, if it is there.
//
// An image that no rule matches is denied. With attestationsOnly: true beside attestations, the image need not be signed
// itself. A rule may have trustedRoots and logKeys of its own, which take the place of those at the top.
//
// Whatever is unknown, given twice, empty, or without effect (a pattern that an earlier rule covers, trust that no
// rule uses, signedTime without maxAge) is refused.
func ParsePolicy(data []byte, o PolicyOptions) (policy *Policy, err error) {
	defer func() { // YAML and regular expressions are read by other people's code
		if fault := recover(); fault != nil {
			policy, err = nil, fmt.Errorf("a fault while it was read: %v", fault)
		}
	}()
	if len(data) > MaxPolicy {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxPolicy)
	}
	root, err := strictyaml.Read(data)
	if err != nil {
		return nil, err
	}
	p := policyReader{PolicyOptions: o, hash: sha256.New(), policy: &Policy{exempt: make(map[string]bool), hosts: make(map[string]bool)}}
	p.hashed(data)
	if err := p.read(root); err != nil {
		return nil, err
	}
	p.policy.digest = [sha256.Size]byte(p.hash.Sum(nil))
	return p.policy, nil
}

// Digest identifies the content of the policy's file and of those it names.
func (p *Policy) Digest() [sha256.Size]byte { return p.digest }

// Rules returns how many rules there are.
func (p *Policy) Rules() int { return len(p.rules) }

// rule returns the first rule for a repository, or nil.
func (p *Policy) rule(repository string) *rule {
	for _, r := range p.rules {
		if slices.ContainsFunc(r.patterns, func(p pattern) bool { return p.matches(repository) }) {
			return r
		}
	}
	return nil
}

type policyReader struct {
	PolicyOptions
	hash      hash.Hash
	policy    *Policy
	trust     *verify.Trust // at the top; nil if there is none
	trustUsed bool
}

// hashed adds the content of a file to the policy's digest.
func (p *policyReader) hashed(content []byte) {
	fmt.Fprintf(p.hash, "%d:", len(content))
	p.hash.Write(content)
}

func (p *policyReader) read(root *yaml.Node) error {
	var trust trustFiles
	var rules *yaml.Node
	err := strictyaml.Fields(root, "the policy", func(name string, key, value *yaml.Node) (err error) {
		switch name {
		case "exemptNamespaces":
			return p.namespaces(value)
		case "rules":
			rules = value
			return nil
		}
		if known, err := trust.field(name, value); known || err != nil {
			return err
		}
		return strictyaml.Unknown(key, "the policy")
	})
	if err != nil {
		return err
	}
	if rules == nil {
		return errors.New("it has no rules")
	}
	if trust.given() {
		if p.trust, err = p.load(trust); err != nil {
			return err
		}
	}
	if err := strictyaml.Elements(rules, "rules", MaxRules, p.rule); err != nil {
		return err
	}
	if p.trust != nil && !p.trustUsed {
		return errors.New("no rule uses the trustedRoots and logKeys of the policy; leave them out")
	}
	return nil
}

var namespaceForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

func (p *policyReader) namespaces(n *yaml.Node) error {
	all, err := strictyaml.Texts(n, "exemptNamespaces", MaxNamespaces)
	for _, namespace := range all {
		if !namespaceForm.MatchString(namespace) {
			return strictyaml.At(n, "exemptNamespaces: %q is not the name of a namespace (there are no wildcards)", clip(namespace))
		}
		p.policy.exempt[namespace] = true
	}
	return err
}

// trustFiles name what is believed.
type trustFiles struct{ roots, keys []string }

func (t *trustFiles) given() bool { return t.roots != nil || t.keys != nil }

func (t *trustFiles) field(name string, value *yaml.Node) (known bool, err error) {
	switch name {
	case "trustedRoots":
		t.roots, err = strictyaml.Texts(value, name, MaxTrustFiles)
	case "logKeys":
		t.keys, err = strictyaml.Texts(value, name, MaxTrustFiles)
	default:
		return false, nil
	}
	return true, err
}

// load reads the files, and believes all that is in one of them.
func (p *policyReader) load(files trustFiles) (*verify.Trust, error) {
	var all verify.Material
	add := func(path string, limit int64, parse func([]byte) (*verify.Trust, error)) error {
		data, err := p.Read(path, limit)
		if err != nil {
			return err
		}
		p.hashed(data)
		t, err := parse(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, plainReason(err))
		}
		m := t.Material()
		all.Logs = append(all.Logs, m.Logs...)
		all.CTLogs = append(all.CTLogs, m.CTLogs...)
		all.CertificateAuthorities = append(all.CertificateAuthorities, m.CertificateAuthorities...)
		all.TimestampAuthorities = append(all.TimestampAuthorities, m.TimestampAuthorities...)
		return nil
	}
	for _, path := range files.roots {
		if err := add(path, verify.MaxTrustedRoot, verify.ParseTrustedRoot); err != nil {
			return nil, fmt.Errorf("trustedRoots: %w", err)
		}
	}
	for _, path := range files.keys {
		if err := add(path, sig.MaxPEM, verify.TrustLogKey); err != nil {
			return nil, fmt.Errorf("logKeys: %w", err)
		}
	}
	t, err := verify.NewTrust(all)
	if err != nil {
		return nil, fmt.Errorf("trustedRoots and logKeys together: %w", plainReason(err))
	}
	return t, nil
}

// plainReason returns the reason of a refusal without its class: "policy not met" is of images.
func plainReason(err error) error {
	var e *verify.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Claim == "" || e.Claim == "policy" {
		return e.Err
	}
	return fmt.Errorf("%s: %w", e.Claim, e.Err)
}

func (p *policyReader) rule(n *yaml.Node) error {
	r := &rule{}
	var trust trustFiles
	var require *yaml.Node
	err := strictyaml.Fields(n, "a rule", func(name string, key, value *yaml.Node) (err error) {
		switch name {
		case "name":
			r.name, err = strictyaml.Text(value, "name")
			return err
		case "images":
			return p.patterns(r, value)
		case "allow":
			r.allow = true
			return strictyaml.True(value, "allow")
		case "require":
			require = value
			return nil
		}
		if known, err := trust.field(name, value); known || err != nil {
			return err
		}
		return strictyaml.Unknown(key, "a rule")
	})
	if err != nil {
		return err
	}
	switch {
	case r.name == "":
		return strictyaml.At(n, "a rule has no name")
	case len(r.name) > 100 || r.name != clip(r.name):
		return strictyaml.At(n, "a rule's name is not short printable text")
	case slices.ContainsFunc(p.policy.rules, func(o *rule) bool { return o.name == r.name }):
		return strictyaml.At(n, "two rules have the name %q", r.name)
	case len(r.patterns) == 0:
		return strictyaml.At(n, "rule %q: there are no images", r.name)
	case r.allow == (require != nil):
		return strictyaml.At(n, "rule %q: it has either require, or allow: true", r.name)
	case r.allow && trust.given():
		return strictyaml.At(n, "rule %q: it requires nothing, and so uses no trustedRoots and logKeys", r.name)
	}
	if require != nil {
		t := p.trust
		if trust.given() {
			if t, err = p.load(trust); err != nil {
				return strictyaml.At(n, "rule %q: %w", r.name, err)
			}
		} else {
			p.trustUsed = true
		}
		if t == nil {
			return strictyaml.At(n, "rule %q: neither it nor the policy has trustedRoots or logKeys", r.name)
		}
		if err := p.require(r, t, require); err != nil {
			return fmt.Errorf("rule %q: %w", r.name, err)
		}
		r.trust = describeTrust(t)
	}
	p.policy.rules = append(p.policy.rules, r)
	return nil
}

func (p *policyReader) patterns(r *rule, n *yaml.Node) error {
	return strictyaml.Elements(n, "images", MaxPatterns, func(e *yaml.Node) error {
		text, err := strictyaml.Text(e, "images")
		if err != nil {
			return err
		}
		now, err := parsePattern(text)
		if err != nil {
			return strictyaml.At(e, "images: %w", err)
		}
		for _, earlier := range append(p.policy.rules, r) {
			for _, before := range earlier.patterns {
				if before.covers(&now) {
					return strictyaml.At(e, "images: %q has no effect: %q comes first", clip(text), clip(before.text))
				}
			}
		}
		r.patterns = append(r.patterns, now)
		if now.host != "" {
			p.policy.hosts[now.host] = true
		}
		return nil
	})
}

// require reads what has to be proved. All fields but those of this package are read by verify.ParsePolicy.
func (p *policyReader) require(r *rule, t *verify.Trust, n *yaml.Node) error {
	var base object
	var attestations *yaml.Node
	only := false
	err := strictyaml.Fields(n, "require", func(name string, key, value *yaml.Node) error {
		switch name {
		case "attestations":
			attestations = value
			return nil
		case "attestationsOnly":
			only = true
			return strictyaml.True(value, name)
		case "predicateType":
			return strictyaml.At(key, "predicateType is not used here; attestations say which are required")
		case "time":
			return strictyaml.At(key, "time is not used here; images are judged when they are asked for")
		}
		converted, err := toJSON(value)
		base = append(base, member{name, converted})
		return err
	})
	if err != nil {
		return err
	}
	if only && attestations == nil {
		return strictyaml.At(n, "attestationsOnly needs attestations")
	}
	if !only {
		q, err := p.requirement(t, base)
		if err != nil {
			return strictyaml.At(n, "require: %w", err)
		}
		q.what = "signature"
		r.requires = append(r.requires, q)
		r.kinds |= registry.Signatures
	}
	if attestations == nil {
		return nil
	}
	r.kinds |= registry.Attestations
	baseUsed := !only
	err = strictyaml.Elements(attestations, "attestations", MaxAttested, func(e *yaml.Node) error {
		q, own, err := p.attestation(t, base, e)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(r.requires, func(o requirement) bool { return o.typ == q.typ }) {
			return strictyaml.At(e, "attestations: the type %q is there twice", clip(q.typ))
		}
		baseUsed = baseUsed || !own
		r.requires = append(r.requires, q)
		return nil
	})
	if err == nil && !baseUsed && slices.ContainsFunc(base, member.isSigner) {
		err = strictyaml.At(n, "all attestations say by whom, and the image need not be signed: keys and identities of require have no effect")
	}
	return err
}

// isSigner reports whether a member says who has to have signed.
func (m member) isSigner() bool { return m.name == "keys" || m.name == "identities" }

// attestation reads one attestation that is required; own says if it has signers of its own.
func (p *policyReader) attestation(t *verify.Trust, base object, n *yaml.Node) (q requirement, own bool, err error) {
	var typ string
	var maxAge time.Duration
	var signedTime pointer
	var signers object
	err = strictyaml.Fields(n, "an attestation", func(name string, key, value *yaml.Node) (err error) {
		switch name {
		case "type":
			typ, err = strictyaml.Text(value, name)
			if u, bad := url.Parse(typ); err == nil && (bad != nil || u.Scheme == "" || u.Host == "") {
				err = strictyaml.At(value, "type %q is not a URI such as https://cosign.sigstore.dev/attestation/vuln/v1", clip(typ))
			}
		case "maxAge":
			maxAge, err = strictyaml.Duration(value, name)
		case "signedTime":
			var text string
			if text, err = strictyaml.Text(value, name); err == nil {
				if signedTime, err = parsePointer(text); err != nil {
					err = strictyaml.At(value, "signedTime: %w", err)
				}
			}
		case "keys", "identities":
			m := member{name: name}
			m.value, err = toJSON(value)
			signers = append(signers, m)
		default:
			err = strictyaml.Unknown(key, "an attestation")
		}
		return err
	})
	switch {
	case err != nil:
		return q, false, err
	case typ == "":
		return q, false, strictyaml.At(n, "an attestation has no type")
	}
	all := append(object{}, base...)
	if own = signers != nil; own {
		all = append(slices.DeleteFunc(all, member.isSigner), signers...)
	}
	quoted, err := toJSON(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: typ})
	if err != nil {
		return q, own, err
	}
	q, err = p.requirement(t, append(all, member{"predicateType", quoted}))
	if err != nil {
		return q, own, strictyaml.At(n, "attestation %s: %w", clip(typ), err)
	}
	switch {
	case signedTime != nil && maxAge == 0:
		return q, own, strictyaml.At(n, "attestation %s: signedTime has no effect without maxAge", clip(typ))
	case maxAge > 0 && q.byKey && signedTime == nil:
		return q, own, strictyaml.At(n, "attestation %s: with keys, maxAge needs signedTime, because anybody can log an old attestation again: add the line\n"+
			"  signedTime: /metadata/scanFinishedOn\nor where else its predicate says its time (JSON pointer; the value is RFC 3339)", clip(typ))
	}
	q.what, q.typ, q.maxAge, q.signedTime = "attestation of type "+clip(typ), typ, maxAge, signedTime
	if maxAge > 0 && !q.byKey {
		q.says = append(q.says, fmt.Sprintf("at most %v old, by the time that is proved", maxAge))
	}
	if signedTime != nil {
		q.says = append(q.says, fmt.Sprintf("at most %v old, by %s in its predicate", maxAge, clipTo(signedTime.String(), maxPointer)))
	}
	return q, own, nil
}

// requirement makes a verifier for a policy in JSON.
func (p *policyReader) requirement(t *verify.Trust, policy object) (q requirement, err error) {
	parsed, err := verify.ParsePolicy(policy.bytes())
	if err != nil {
		return q, plainReason(err)
	}
	if q.verifier, err = verify.New(t, parsed, p.Verify); err != nil {
		return q, plainReason(err)
	}
	q.byKey = len(parsed.Keys) > 0
	for _, k := range parsed.Keys {
		key, err := sig.ParsePEM(k.PEM)
		if err != nil {
			return q, err
		}
		id, err := key.SPKIHash()
		if err != nil {
			return q, err
		}
		q.keys = append(q.keys, fmt.Sprintf("sha256:%x", id))
	}
	q.says = describe(parsed, t, q.keys)
	return q, nil
}
