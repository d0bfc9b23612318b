package main

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/verify"
)

// verifyTrust are authorities that take the place of those in the trusted root.
type verifyTrust struct {
	CertificateChain          string `name:"certificate-chain" placeholder:"FILE" help:"Believe this certificate authority only (PEM): the issuing certificate first, the root last."`
	CARoots                   string `name:"ca-roots" placeholder:"FILE" help:"Believe these certificate authorities only: root certificates (PEM)."`
	CAIntermediates           string `name:"ca-intermediates" placeholder:"FILE" help:"Intermediate certificates that lead to --ca-roots (PEM)."`
	TimestampCertificateChain string `name:"timestamp-certificate-chain" placeholder:"FILE" help:"Believe this timestamp authority only (PEM): its own certificate first, the root last. Demands a signed timestamp."`
}

// amend returns the trust with the authorities of the flags in place of its own.
func (f *verifyTrust) amend(m verify.Material) (*verify.Trust, error) {
	var err error
	switch {
	case f.CertificateChain != "" && (f.CARoots != "" || f.CAIntermediates != ""):
		return nil, usageError{errors.New("--certificate-chain does not go together with --ca-roots and --ca-intermediates")}
	case f.CAIntermediates != "" && f.CARoots == "":
		return nil, usageError{errors.New("--ca-intermediates needs --ca-roots")}
	case f.CertificateChain != "":
		var chain []*x509.Certificate
		chain, err = readCertificates("--certificate-chain", f.CertificateChain)
		m.CertificateAuthorities = []verify.Authority{{URI: f.CertificateChain, Chain: chain}}
	case f.CARoots != "":
		m.CertificateAuthorities, err = f.authorities()
	}
	if err == nil && f.TimestampCertificateChain != "" {
		var chain []*x509.Certificate
		chain, err = readCertificates("--timestamp-certificate-chain", f.TimestampCertificateChain)
		if err == nil && !slices.Contains(chain[0].ExtKeyUsage, x509.ExtKeyUsageTimeStamping) {
			err = fmt.Errorf("--timestamp-certificate-chain %s: the first certificate is not one that signs timestamps", f.TimestampCertificateChain)
		}
		m.TimestampAuthorities = []verify.Authority{{URI: f.TimestampCertificateChain, Chain: chain}}
	}
	if err != nil {
		return nil, err
	}
	trust, err := verify.NewTrust(m)
	if err != nil {
		return nil, fmt.Errorf("%v", err) // of the flags, not of the signature: see refused
	}
	return trust, nil
}

// authorities makes an authority of each root, and of each intermediate certificate with what leads
// from it to a root.
func (f *verifyTrust) authorities() ([]verify.Authority, error) {
	roots, err := readCertificates("--ca-roots", f.CARoots)
	if err != nil {
		return nil, err
	}
	var all []verify.Authority
	for _, root := range roots {
		all = append(all, verify.Authority{URI: f.CARoots, Chain: []*x509.Certificate{root}})
	}
	if f.CAIntermediates == "" {
		return all, nil
	}
	intermediates, err := readCertificates("--ca-intermediates", f.CAIntermediates)
	if err != nil {
		return nil, err
	}
	for i, c := range intermediates {
		chain := []*x509.Certificate{c}
		for !slices.ContainsFunc(roots, chain[len(chain)-1].Equal) {
			issuer := issuerOf(chain[len(chain)-1], roots, intermediates)
			if issuer == nil || len(chain) == sig.MaxChain {
				return nil, fmt.Errorf("--ca-intermediates %s: certificate %d does not lead to one of --ca-roots", f.CAIntermediates, i)
			}
			chain = append(chain, issuer)
		}
		all = append(all, verify.Authority{URI: f.CAIntermediates, Chain: chain})
	}
	return all, nil
}

// issuerOf returns the certificate that issued c, other than itself; nil if it is not there.
func issuerOf(c *x509.Certificate, sets ...[]*x509.Certificate) *x509.Certificate {
	for _, issuer := range slices.Concat(sets...) {
		if !issuer.Equal(c) && bytes.Equal(issuer.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(issuer) == nil {
			return issuer
		}
	}
	return nil
}

// readCertificates reads a PEM file with certificates and nothing else, at least one.
func readCertificates(flag, path string) ([]*x509.Certificate, error) {
	data, err := readLimited(path, sig.MaxPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	var all []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s %s: it has something that is not a certificate in PEM", flag, path)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s %s: certificate %d: %w", flag, path, len(all), err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s %s: there is no certificate in it", flag, path)
	}
	return all, nil
}

// verifyPolicy says who has to have signed, and what else has to be proved.
type verifyPolicy struct {
	Key                 string `name:"key" placeholder:"FILE" help:"The public key that signed (PEM)."`
	Identity            string `name:"certificate-identity" placeholder:"NAME" help:"Whom the signer's certificate names: an e-mail address, a URI, …"`
	IdentityRegexp      string `name:"certificate-identity-regexp" placeholder:"RE" help:"… as a regular expression (RE2). It matches anywhere: begin it with ^ and end it with $."`
	Issuer              string `name:"certificate-oidc-issuer" placeholder:"URL" help:"On whose word: the OIDC issuer in the certificate."`
	IssuerRegexp        string `name:"certificate-oidc-issuer-regexp" placeholder:"RE" help:"… as a regular expression."`
	GithubTrigger       string `name:"certificate-github-workflow-trigger" placeholder:"TEXT" help:"The event that the certificate has to name."`
	GithubSHA           string `name:"certificate-github-workflow-sha" placeholder:"TEXT" help:"… and the commit."`
	GithubName          string `name:"certificate-github-workflow-name" placeholder:"TEXT" help:"… and the workflow."`
	GithubRepository    string `name:"certificate-github-workflow-repository" placeholder:"TEXT" help:"… and the repository."`
	GithubRef           string `name:"certificate-github-workflow-ref" placeholder:"TEXT" help:"… and the ref."`
	Type                string `name:"type" placeholder:"TYPE" help:"An attestation of this predicate type has to be signed, and not the artifact alone: a URI, or slsaprovenance, slsaprovenance02, slsaprovenance1, link, spdx, spdxjson, cyclonedx, vuln, openvex, custom."`
	UseSignedTimestamps bool   `name:"use-signed-timestamps" help:"Demand a signed timestamp (RFC 3161)."`
	IgnoreTlog          bool   `name:"insecure-ignore-tlog" help:"Do not demand that a log holds the signature. What is said of logs still has to be true."`
	IgnoreSCT           bool   `name:"insecure-ignore-sct" help:"Do not demand that a CT log holds the signer's certificate."`
	WitnessPolicy       string `name:"witness-policy" placeholder:"FILE" help:"Witnesses that have to have cosigned the checkpoints (C2SP tlog-policy)."`
	Policy              string `name:"policy" placeholder:"FILE" help:"All of that in a file, instead of these flags (JSON; see ParsePolicy of package verify)."`
}

// predicateTypes are cosign's names of predicate types.
var predicateTypes = map[string]string{
	"custom":           "https://cosign.sigstore.dev/attestation/v1",
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"slsaprovenance1":  "https://slsa.dev/provenance/v1",
	"spdx":             "https://spdx.dev/Document",
	"spdxjson":         "https://spdx.dev/Document",
	"cyclonedx":        "https://cyclonedx.org/bom",
	"link":             "https://in-toto.io/Link/v1",
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
	"openvex":          "https://openvex.dev/ns",
}

// policy returns the policy, and what it leaves aside, in words.
func (c *verifyCmd) policy(trust *verify.Trust) (verify.Policy, []string, error) {
	if c.Policy != "" {
		return c.policyFile(trust)
	}
	p := verify.Policy{}
	var notes []string
	if err := c.signers(&p); err != nil {
		return p, nil, err
	}
	if c.Type != "" {
		p.PredicateType = cmp.Or(predicateTypes[c.Type], c.Type)
		if _, err := url.ParseRequestURI(p.PredicateType); err != nil {
			return p, nil, usageError{fmt.Errorf("--type %q is neither a URI nor one of cosign's names", c.Type)}
		}
	}
	if c.WitnessPolicy != "" {
		text, err := readLimited(c.WitnessPolicy, verify.MaxWitnessPolicy)
		if err != nil {
			return p, nil, fmt.Errorf("--witness-policy: %w", err)
		}
		p.Witnesses = cmp.Or(string(text), "\n") // an empty file is no policy, and refused
	}
	m := trust.Material()
	if len(p.Identities) > 0 && len(m.CertificateAuthorities) == 0 {
		return p, nil, usageError{errNoAuthority}
	}
	switch demanded := c.UseSignedTimestamps || c.TimestampCertificateChain != ""; {
	case demanded && len(m.TimestampAuthorities) == 0:
		return p, nil, usageError{errors.New("--use-signed-timestamps: no timestamp authority is trusted; --trusted-root or --timestamp-certificate-chain says whom to believe")}
	case demanded:
		p.SignedTimestamps = 1
	case len(m.TimestampAuthorities) == 0:
		p.IgnoreTimestamps = true
		notes = append(notes, "signed timestamps were not looked at: no timestamp authority is trusted")
	}
	if c.IgnoreTlog {
		p.LogEntries = verify.None
		notes = append(notes, "no log was demanded to hold the signature")
	}
	if len(p.Identities) > 0 {
		switch {
		case c.IgnoreSCT:
			p.SCTs = verify.None
			notes = append(notes, "no CT log was demanded to hold the certificate")
		case len(m.CTLogs) == 0:
			return p, nil, usageError{errors.New("no CT log is trusted that could have signed for the certificate: use a --trusted-root that has one, or --insecure-ignore-sct if the authority uses none")}
		default:
			p.SCTs = 1
		}
		if c.IgnoreTlog && p.SignedTimestamps == 0 {
			// As in cosign: where nothing says when it was signed, the certificate has to be valid now.
			p.Time = time.Now()
			notes = append(notes, "nothing was demanded to prove when it was signed")
		}
	}
	return p, notes, nil
}

// errNoAuthority says what keyless signatures need.
var errNoAuthority = errors.New("no certificate authority is trusted that could have issued the signer's certificate: use a --trusted-root that has one, or --ca-roots")

// signers says who has to have signed.
func (f *verifyPolicy) signers(p *verify.Policy) error {
	extensions := map[string]string{}
	for oid, value := range map[string]string{ // fulcio, docs/oid-info.md
		"1.3.6.1.4.1.57264.1.2": f.GithubTrigger,
		"1.3.6.1.4.1.57264.1.3": f.GithubSHA,
		"1.3.6.1.4.1.57264.1.4": f.GithubName,
		"1.3.6.1.4.1.57264.1.5": f.GithubRepository,
		"1.3.6.1.4.1.57264.1.6": f.GithubRef,
	} {
		if value != "" {
			extensions[oid] = value
		}
	}
	id := verify.Identity{Issuer: f.Issuer, IssuerRegexp: f.IssuerRegexp, Subject: f.Identity, SubjectRegexp: f.IdentityRegexp, Extensions: extensions}
	keyless := id.Issuer+id.IssuerRegexp+id.Subject+id.SubjectRegexp != "" || len(extensions) > 0
	switch {
	case f.Key != "" && keyless:
		return usageError{errors.New("--key and --certificate-… do not go together")}
	case f.Key != "":
		key, err := readLimited(f.Key, sig.MaxPEM)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		switch parsed, err := sig.ParsePEM(key); {
		case isPrivateKey(key):
			return usageError{fmt.Errorf("--key %s: this is a private key; give the public one (cosign.pub)", f.Key)}
		case err != nil:
			return usageError{fmt.Errorf("--key %s: not a public key: %w", f.Key, err)}
		case parsed.Certificates != nil:
			return usageError{fmt.Errorf("--key %s: this is a certificate; give the public key", f.Key)}
		}
		p.Keys = []verify.PublicKey{{PEM: key}}
		return nil
	case !keyless:
		return usageError{errors.New("say who has to have signed: --key FILE, or --certificate-identity NAME and --certificate-oidc-issuer URL (or their -regexp forms), or --policy FILE")}
	case (id.Subject == "") == (id.SubjectRegexp == ""):
		return usageError{errors.New("one of --certificate-identity and --certificate-identity-regexp has to be given")}
	case (id.Issuer == "") == (id.IssuerRegexp == ""):
		return usageError{errors.New("one of --certificate-oidc-issuer and --certificate-oidc-issuer-regexp has to be given")}
	}
	p.Identities = []verify.Identity{id}
	return nil
}

// policyFile reads --policy. No other flag of the policy may be there: it would not be clear which counts.
func (c *verifyCmd) policyFile(trust *verify.Trust) (verify.Policy, []string, error) {
	rest := c.verifyPolicy
	rest.Policy = ""
	if rest != (verifyPolicy{}) {
		return verify.Policy{}, nil, usageError{errors.New("--policy says everything: it does not go together with --key, --certificate-…, --type, --use-signed-timestamps, --insecure-… and --witness-policy")}
	}
	data, err := readLimited(c.Policy, verify.MaxPolicy)
	if err != nil {
		return verify.Policy{}, nil, fmt.Errorf("--policy: %w", err)
	}
	p, err := verify.ParsePolicy(data)
	if err == nil && len(p.Identities) > 0 && len(trust.Material().CertificateAuthorities) == 0 {
		err = errNoAuthority
	}
	if err != nil {
		return verify.Policy{}, nil, c.wrong(err)
	}
	return p, nil, nil
}

// wrong says what is wrong with the policy. Nothing was judged yet, so that it is an error of use, and the
// class of package verify's error, which says that something is not met, is left out.
func (c *verifyPolicy) wrong(err error) error {
	var e *verify.Error
	if errors.As(err, &e) {
		err = e.Err
		if e.Claim != "" && e.Claim != "policy" {
			err = fmt.Errorf("%s: %w", e.Claim, e.Err)
		}
	}
	if c.Policy != "" {
		err = fmt.Errorf("--policy %s: %w", c.Policy, err)
	}
	return usageError{err}
}
