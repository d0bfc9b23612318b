package sig

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// maxChainCost bounds the signature checks of one chain (see Key.Cost): sixteen
// RSA-4096 issuers, more than a chain can have, or four of RSA-8192.
const maxChainCost = 128

// VerifyChain checks that the leaf leads to the last certificate of the chain,
// which is taken for the root, at the time when the leaf became valid and for any
// purpose. It says nothing about trust. A bare key or a single certificate passes.
// The answer is computed once.
//
// As in Rekor, the certificates between may stand in any order, and some may be of
// no use. Unlike there, one path is chosen by names alone (see issuers) and only that
// one is checked: one signature for each certificate on it but the last, at most
// MaxChain-1 in all. A chain with two issuers of one name on its path is refused.
func (k *Key) VerifyChain() error {
	if len(k.Certificates) < 2 {
		return nil
	}
	return k.chain()
}

func verifyChain(chain []*x509.Certificate) error {
	parents, err := issuers(chain)
	if err != nil {
		return fmt.Errorf("certificate chain: %w", err)
	}
	cost := 0
	for _, c := range parents {
		cost += keyCost(c.PublicKey)
	}
	if cost > maxChainCost {
		return fmt.Errorf("certificate chain: checking it costs as much as %d P-256 signatures, more than %d", cost, maxChainCost)
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	for _, c := range parents[:max(0, len(parents)-1)] {
		others.AddCert(c)
	}
	// Parents have different names, and Verify tries by name: so it has one candidate
	// at each step, and no choice.
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: others,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime:   chain[0].NotBefore,
	})
	if err != nil {
		return fmt.Errorf("certificate chain: %w", err)
	}
	return nil
}

// issuers returns the path to check. Key identifiers are a hint (RFC 5280, section
// 4.2.1.1), and of two certificates of one issuer one may have expired: such hints
// are followed if they lead to the last certificate, and else left aside.
func issuers(chain []*x509.Certificate) ([]*x509.Certificate, error) {
	if path, err := path(chain, hinted); err == nil {
		return path, nil
	}
	return path(chain, named)
}

// path returns the certificates that lead from the leaf, which is not among
// them, to the last of the chain: the shortest such path, or of several the one
// whose certificates come first. No two of them have the same subject. It is empty
// if the leaf is the last certificate itself. No signature is looked at.
func path(chain []*x509.Certificate, issued func(leaf, c, parent *x509.Certificate) bool) ([]*x509.Certificate, error) {
	last := chain[len(chain)-1]
	if chain[0].Equal(last) {
		return nil, nil
	}
	// Breadth first: child has, for each certificate that was reached, the one it was
	// reached from.
	child := map[*x509.Certificate]*x509.Certificate{chain[0]: nil}
	for reached := chain[:1:1]; len(reached) > 0; reached = reached[1:] {
		for _, c := range chain[1:] {
			if _, ok := child[c]; !ok && issued(chain[0], reached[0], c) {
				child[c] = reached[0]
				reached = append(reached, c)
			}
		}
	}
	if _, ok := child[last]; !ok {
		return nil, errors.New("its certificates do not lead to the last one, by the names of their issuers")
	}
	var path []*x509.Certificate
	for c := last; c != chain[0]; c = child[c] {
		for _, p := range path {
			if bytes.Equal(p.RawSubject, c.RawSubject) {
				return nil, fmt.Errorf("two issuers have the same name, %q", c.Subject)
			}
		}
		path = append(path, c)
	}
	slices.Reverse(path)
	return path, nil
}

// named reports whether c says by name that parent issued it.
func named(_, c, parent *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, parent.RawSubject) }

// hinted reports whether c says by name and, if both have one, by key identifier that
// parent issued it, and parent was valid when the leaf became so.
func hinted(leaf, c, parent *x509.Certificate) bool {
	return named(leaf, c, parent) &&
		(len(c.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, parent.SubjectKeyId)) &&
		!leaf.NotBefore.Before(parent.NotBefore) && !leaf.NotBefore.After(parent.NotAfter)
}
