package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/sig"
)

// Limits of a trusted root. What is over them is refused before any cryptography.
const (
	MaxTrustedRoot = 1 << 20 // bytes of a trusted_root.json
	MaxAuthorities = 64      // of each sort: logs, CT logs, certificate and timestamp authorities
)

// Window is a span of time, both ends included. A zero end is open.
type Window struct{ Start, End time.Time }

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool {
	return (w.Start.IsZero() || !t.Before(w.Start)) && (w.End.IsZero() || !t.After(w.End))
}

// open reports whether the window is all of time.
func (w Window) open() bool { return w.Start.IsZero() && w.End.IsZero() }

func (w Window) check() error {
	if !w.Start.IsZero() && !w.End.IsZero() && w.End.Before(w.Start) {
		return errors.New("its validity ends before it starts")
	}
	return nil
}

// Log is a transparency log (or a CT log) that is trusted.
type Log struct {
	// BaseURL is the log's URL. The origin of a v2 log's checkpoints is its host name; a v1
	// log needs none.
	BaseURL string
	// Key is the log's public key.
	Key *sig.Key
	// ID is the log's ID as its entries give it. Nil stands for SHA-256 over the
	// SubjectPublicKeyInfo (Rekor v1, and CT: RFC 6962, section 3.2).
	ID []byte
	// Valid is when the key may have signed.
	Valid Window
}

// Authority is a certificate or timestamp authority that is trusted.
type Authority struct {
	// URI says where it is; for people.
	URI string
	// Chain are its certificates, each issued by the next, the root last. A timestamp
	// authority's first one is its own; a certificate authority's first one issues.
	Chain []*x509.Certificate
	// Valid is when it may have issued.
	Valid Window
}

// Material is what a Trust is made of.
type Material struct {
	Logs                   []Log
	CertificateAuthorities []Authority
	TimestampAuthorities   []Authority
	CTLogs                 []Log
}

// Trust is whom a verifier believes. It is immutable and may be used by many
// goroutines.
type Trust struct {
	material  Material
	byID      map[string]*trustedLog
	list      []*trustedLog
	cas       []certificateAuthority
	tsaGroups []int // of the timestamp authorities: those of one number count once
	digest    [sha256.Size]byte
}

// NewTrust checks and indexes material, of which it keeps copies only. An error is of
// class ErrMalformed: a log without a usable key, two logs of one ID, an empty chain or one of
// more than sig.MaxChain certificates, a certificate in one that the next did not issue, a
// window that ends before it starts, more than MaxAuthorities of a sort. A trust may lack
// any sort: a policy that needs it is then refused.
func NewTrust(m Material) (*Trust, error) {
	t := &Trust{byID: make(map[string]*trustedLog)}
	var err error
	if t.material.Logs, t.list, err = copyLogs(m.Logs, "log"); err != nil {
		return nil, err
	}
	for _, l := range t.list {
		t.byID[l.id] = l
	}
	if t.material.CTLogs, _, err = copyLogs(m.CTLogs, "CT log"); err != nil {
		return nil, err
	}
	if t.material.CertificateAuthorities, err = copyAuthorities(m.CertificateAuthorities, "certificate authority"); err != nil {
		return nil, err
	}
	for _, a := range t.material.CertificateAuthorities {
		ca, err := newCertificateAuthority(a)
		if err != nil {
			return nil, err
		}
		t.cas = append(t.cas, ca)
	}
	if t.material.TimestampAuthorities, err = copyAuthorities(m.TimestampAuthorities, "timestamp authority"); err != nil {
		return nil, err
	}
	t.tsaGroups = groups(t.material.TimestampAuthorities, sameAuthority)
	t.digest = t.material.digest()
	return t, nil
}

func copyLogs(logs []Log, what string) ([]Log, []*trustedLog, error) {
	if len(logs) > MaxAuthorities {
		return nil, nil, malformed("trust", "%d %ss, more than %d", len(logs), what, MaxAuthorities)
	}
	copied := append([]Log(nil), logs...)
	ready := make([]*trustedLog, len(copied))
	seen := make(map[string]int)
	for i := range copied {
		var err error
		if ready[i], err = newTrustedLog(&copied[i]); err != nil {
			return nil, nil, malformed("trust", "%s %d: %w", what, i, err)
		}
		if first, ok := seen[ready[i].id]; ok {
			return nil, nil, malformed("trust", "%s %d has the ID of %s %d, %x", what, i, what, first, ready[i].id)
		}
		seen[ready[i].id] = i
	}
	return copied, ready, nil
}

func copyAuthorities(authorities []Authority, what string) ([]Authority, error) {
	if len(authorities) > MaxAuthorities {
		return nil, malformed("trust", "more than %d of the sort %s: %d", MaxAuthorities, what, len(authorities))
	}
	copied := append([]Authority(nil), authorities...)
	for i := range copied {
		a := &copied[i]
		var err error
		if a.Chain, err = copyChain(a.Chain); err == nil {
			err = a.Valid.check()
		}
		if err != nil {
			return nil, malformed("trust", "%s %d: %w", what, i, err)
		}
	}
	return copied, nil
}

// copyChain reads the certificates again, so that nobody else can change them, and checks
// that each was issued by the next. Neither validity periods nor who the last one is matter here.
func copyChain(chain []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(chain) == 0 || len(chain) > sig.MaxChain {
		return nil, fmt.Errorf("a chain of %d certificates, not 1 to %d", len(chain), sig.MaxChain)
	}
	copied := make([]*x509.Certificate, len(chain))
	for i, c := range chain {
		if c == nil {
			return nil, fmt.Errorf("certificate %d is missing", i)
		}
		k, err := sig.ParseCertificate(bytes.Clone(c.Raw))
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		copied[i] = k.Certificates[0]
	}
	for i, c := range copied[:len(copied)-1] {
		issuer := copied[i+1]
		if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
			return nil, fmt.Errorf("certificate %d names another issuer than certificate %d", i, i+1)
		}
		if err := c.CheckSignatureFrom(issuer); err != nil {
			return nil, fmt.Errorf("certificate %d was not issued by certificate %d: %w", i, i+1, err)
		}
	}
	return copied, nil
}

// TrustLogKey returns the trust in a single Rekor v1 log, known by its public key in
// PEM alone, at any time. Errors are of class ErrMalformed: anything but a bare ECDSA P-256 key.
func TrustLogKey(pem []byte) (*Trust, error) {
	key, err := sig.ParsePEM(pem)
	if err != nil {
		return nil, malformed("log key", "%w", err)
	}
	if pub, ok := key.Public.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() || key.Certificates != nil {
		return nil, malformed("log key", "a Rekor v1 log signs with a bare ECDSA P-256 key, which this is not; "+
			"a v2 log needs a trusted root, because its name is part of what is checked")
	}
	return NewTrust(Material{Logs: []Log{{Key: key}}})
}

// Material returns a copy of what the trust was made of, with the IDs of all logs filled in. Keys and
// certificates are shared: they must not be changed.
func (t *Trust) Material() Material {
	m := t.material
	m.Logs, m.CTLogs = slices.Clone(m.Logs), slices.Clone(m.CTLogs)
	for _, logs := range [][]Log{m.Logs, m.CTLogs} {
		for i := range logs {
			logs[i].ID = bytes.Clone(logs[i].ID)
		}
	}
	m.CertificateAuthorities, m.TimestampAuthorities = slices.Clone(m.CertificateAuthorities), slices.Clone(m.TimestampAuthorities)
	for _, authorities := range [][]Authority{m.CertificateAuthorities, m.TimestampAuthorities} {
		for i := range authorities {
			authorities[i].Chain = slices.Clone(authorities[i].Chain)
		}
	}
	return m
}

// Digest identifies the trust: equal digests, equal verdicts. It depends on the material
// alone, in its order, and not on the form that it was read from.
func (t *Trust) Digest() [32]byte { return t.digest }

// log returns the log of that ID, or nil if it is unknown.
func (t *Trust) log(id []byte) *trustedLog { return t.byID[string(id)] }

// logs returns all logs (CT logs are none), in the order of the material.
func (t *Trust) logs() []*trustedLog { return t.list }

func (m *Material) digest() [sha256.Size]byte {
	d := newDigester("tallystick verify trust 1")
	for _, logs := range [][]Log{m.Logs, m.CTLogs} {
		d.number(int64(len(logs)))
		for _, l := range logs {
			d.text(l.BaseURL)
			d.bytes(l.Key.PEM)
			d.bytes(l.ID)
			d.window(l.Valid)
		}
	}
	for _, authorities := range [][]Authority{m.CertificateAuthorities, m.TimestampAuthorities} {
		d.number(int64(len(authorities)))
		for _, a := range authorities {
			d.text(a.URI)
			d.number(int64(len(a.Chain)))
			for _, c := range a.Chain {
				d.bytes(c.Raw)
			}
			d.window(a.Valid)
		}
	}
	return d.sum()
}

// sameLog reports whether two logs count as one: they have the same key.
func sameLog(a, b Log) bool { return a.Key.SamePublic(b.Key) }

// sameAuthority reports whether two authorities count as one: by the key of their first
// certificates, or by URI, so that one authority with a new key does not become two. Those
// that have no URI cannot be told apart.
func sameAuthority(a, b Authority) bool {
	return a.URI == b.URI || bytes.Equal(a.Chain[0].RawSubjectPublicKeyInfo, b.Chain[0].RawSubjectPublicKeyInfo)
}

// groups numbers all such that those that are the same have the same number, and so have those that are the same as
// something in between.
func groups[T any](all []T, same func(a, b T) bool) []int {
	group := make([]int, len(all))
	for i := range all {
		group[i] = i
		for j := range i {
			if group[i] != group[j] && same(all[i], all[j]) {
				for k, from := 0, group[i]; k <= i; k++ {
					if group[k] == from {
						group[k] = group[j]
					}
				}
			}
		}
	}
	return group
}

// groupCount returns how many numbers there are.
func groupCount(groups []int) int {
	seen := make(map[int]bool)
	for _, g := range groups {
		seen[g] = true
	}
	return len(seen)
}
