package trust

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/verify"
	"go.yaml.in/yaml/v3"
)

// PolicyController returns the material as a TrustRoot resource of sigstore's policy-controller
// (policy.sigstore.dev/v1alpha1) with this name, in YAML: what a ClusterImagePolicy names in
// trustRootRef.
//
// A TrustRoot cannot say from when to when something is valid: what is in it is trusted at any
// time. So material with an end, or with a log ID that is not the hash of its key (a Rekor v2 log),
// is an error, and so is material without a URL, which policy-controller demands of everything. Its
// webhook also demands a certificate or timestamp authority; see WithoutAuthority.
func PolicyController(m verify.Material, name string) ([]byte, error) {
	if _, err := verify.NewTrust(m); err != nil {
		return nil, err
	}
	if name == "" {
		return nil, errors.New("the TrustRoot has no name")
	}
	keys := newMapping()
	for _, part := range []struct {
		name string
		list func() (*yaml.Node, error)
	}{
		{"certificateAuthorities", func() (*yaml.Node, error) { return trustRootAuthorities(m.CertificateAuthorities) }},
		{"tLogs", func() (*yaml.Node, error) { return trustRootLogs(m.Logs) }},
		{"ctLogs", func() (*yaml.Node, error) { return trustRootLogs(m.CTLogs) }},
		{"timestampAuthorities", func() (*yaml.Node, error) { return trustRootAuthorities(m.TimestampAuthorities) }},
	} {
		l, err := part.list()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		keys.add(part.name, l)
	}
	metadata, spec, resource := newMapping(), newMapping(), newMapping()
	metadata.text("name", name)
	spec.add("sigstoreKeys", keys.node)
	resource.text("apiVersion", "policy.sigstore.dev/v1alpha1")
	resource.text("kind", "TrustRoot")
	resource.add("metadata", metadata.node)
	resource.add("spec", spec.node)
	return resource.bytes()
}

// WithoutAuthority reports whether the webhook of policy-controller will refuse the material's
// TrustRoot, because it has neither a certificate nor a timestamp authority.
func WithoutAuthority(m verify.Material) bool {
	return len(m.CertificateAuthorities) == 0 && len(m.TimestampAuthorities) == 0
}

func trustRootLogs(logs []verify.Log) (*yaml.Node, error) {
	var items []*yaml.Node
	for i, l := range logs {
		if err := timeless(l.BaseURL, l.Valid); err != nil {
			return nil, fmt.Errorf("log %d: %w", i+1, err)
		}
		if !v1(l) {
			return nil, fmt.Errorf("log %d: its ID is not the hash of its key (it is a Rekor v2 log), which a TrustRoot cannot say", i+1)
		}
		o := newMapping()
		o.text("baseURL", l.BaseURL)
		o.text("hashAlgorithm", "sha-256")
		o.text("publicKey", base64.StdEncoding.EncodeToString(l.Key.PEM))
		items = append(items, o.node)
	}
	return list(items), nil
}

func trustRootAuthorities(authorities []verify.Authority) (*yaml.Node, error) {
	var items []*yaml.Node
	for i, a := range authorities {
		if err := timeless(a.URI, a.Valid); err != nil {
			return nil, fmt.Errorf("authority %d: %w", i+1, err)
		}
		// Both names are for people, and neither may be empty.
		name := a.Chain[len(a.Chain)-1].Subject
		common, organization := name.CommonName, ""
		if len(name.Organization) > 0 {
			organization = name.Organization[0]
		}
		subject, o := newMapping(), newMapping()
		subject.text("organization", firstOf(organization, common, "unnamed"))
		subject.text("commonName", firstOf(common, organization, "unnamed"))
		o.add("subject", subject.node)
		o.text("uri", a.URI)
		o.text("certChain", base64.StdEncoding.EncodeToString(chainPEM(a.Chain)))
		items = append(items, o.node)
	}
	return list(items), nil
}

// timeless refuses what a TrustRoot would trust longer than the material does, and what it
// demands a URL of.
func timeless(url string, valid verify.Window) error {
	if !valid.End.IsZero() {
		return fmt.Errorf("it is valid until %s only, which a TrustRoot cannot say; leave it out", timestamp(valid.End))
	}
	if url == "" {
		return errors.New("its URL is not known, and policy-controller demands one")
	}
	return checkURL(url)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
