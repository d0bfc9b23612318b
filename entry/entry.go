// Package entry turns what a client submits into what the tree commits to: it
// reads a proposed entry, checks its signature, writes its canonical form (RFC
// 8785, byte for byte what Rekor v1 writes) and finds its search keys. It does no
// I/O and keeps nothing but a cache of parsed keys.
//
// A proposal is a JSON object of three members, kind, apiVersion and spec. Kinds
// and versions stand in one table (see table). Unknown members are ignored; null is
// as good as absent; member names match exactly, and a member that is given twice
// in an object that is read is refused; bytes after the object are ignored, as
// Rekor ignores them.
package entry

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
)

// MaxKeys is the largest number of search keys of one entry. An entry with more
// is refused rather than indexed in part, as is one with a key that is too long
// (tlog.MaxKeyValue): search is complete. It is enough for the largest statement
// that sigstore-go verifies, 1,024 subjects, with three digests each.
const MaxKeys = 4096

// DefaultKeyCache is how many parsed keys and certificates a Parser remembers
// unless told otherwise.
const DefaultKeyCache = 1024

// Options say what a Parser accepts.
type Options struct {
	// Kinds are the kinds that may be proposed; nil means all that are known (see
	// Kinds). Entries of other kinds can still be looked up.
	Kinds []string
	// MaxAttestation is the largest attestation that is kept, in bytes of the decoded
	// payload. An entry with a larger one is accepted without it. 0 keeps none.
	MaxAttestation int
	// KeyCache is how many parsed keys are remembered; 0 means DefaultKeyCache, a
	// negative number none.
	KeyCache int
}

// Parser reads entries. It may be used by many goroutines.
type Parser struct {
	opts   Options
	keys   *sig.Cache
	semver *regexp.Regexp
}

// New returns a Parser. It is an error to allow a kind that is not known.
func New(opts Options) (*Parser, error) {
	for _, k := range opts.Kinds {
		if !slices.Contains(Kinds(), k) {
			return nil, fmt.Errorf("kind %q is not one of %q", k, Kinds())
		}
	}
	p := &Parser{opts: opts, semver: regexp.MustCompile(semver)}
	switch {
	case opts.KeyCache == 0:
		p.keys = sig.NewCache(DefaultKeyCache)
	case opts.KeyCache > 0:
		p.keys = sig.NewCache(opts.KeyCache)
	}
	return p, nil
}

// Proposed is an accepted entry, ready to be logged. Nothing in it is shared with
// the request.
type Proposed struct {
	Kind, Version string
	Leaf          tlog.Leaf
	// AttestationDropped: the entry has an attestation, which is not kept because it
	// is larger than Options.MaxAttestation.
	AttestationDropped bool
}

// Info is what a stored body tells by itself.
type Info struct {
	Kind, Version string
	// Keys are the search keys that follow from the body: some, perhaps not all, of
	// the keys that the entry was logged with.
	Keys []tlog.Key
	// Attestation is the SHA-256 of the attestation that belongs to the body, kept or
	// not; zero if there is none.
	Attestation tlog.Hash
}

// kind is one version of one kind of entry.
type kind struct {
	name, version string
	// propose reads the spec of a proposal, checks its signatures and returns what
	// is to be logged.
	propose func(*Parser, []byte) (draft, error)
	// committed reads the spec of a canonical body.
	committed func(*Parser, []byte) (record, error)
	// proposal reports whether a spec is that of a proposal, not of a canonical body.
	// It is nil if canonical bodies are proposals, too.
	proposal func([]byte) bool
}

// draft is a proposal that was found good.
type draft struct {
	body        []byte
	keys        keySet
	attestation []byte // nil if the kind has none
}

// record is what a canonical body says.
type record struct {
	body        []byte // canonical again
	keys        keySet
	digests     []Digest
	signers     []Signer
	payloadType string
	attestation tlog.Hash
}

// table lists what can be proposed.
var table = [...]kind{
	{"hashedrekord", "0.0.1", proposeHashedRekord, committedHashedRekord, nil},
	{"intoto", "0.0.1", proposeIntoto001, committedIntoto001, isProposedIntoto001},
	{"intoto", "0.0.2", proposeIntoto002, committedIntoto002, isProposedIntoto002},
	{"dsse", "0.0.1", proposeDSSE, committedDSSE, isProposedDSSE},
	{"rekord", "0.0.1", proposeRekord, committedRekord, isProposedRekord},
}

// foreign are the kinds that Rekor v1 has besides: known, never accepted.
var foreign = [...]string{"helm", "tuf", "rfc3161", "jar", "cose", "rpm", "alpine"}

// ForeignKinds returns the names of the kinds that Rekor v1 has besides Kinds. They are never accepted here, but may stand in other logs.
func ForeignKinds() []string { return slices.Clone(foreign[:]) }

// Kinds returns the names of the kinds that can be proposed.
func Kinds() []string {
	var names []string
	for _, k := range table {
		if !slices.Contains(names, k.name) {
			names = append(names, k.name)
		}
	}
	return names
}

// find returns the table's entry for a kind and version. Errors are of class
// UnknownKind, NotEnabled or UnknownVersion.
func find(name, version string) (*kind, error) {
	known := false
	for i := range table {
		if table[i].name != name {
			continue
		}
		if table[i].version == version {
			return &table[i], nil
		}
		known = true
	}
	switch {
	case known:
		return nil, &Error{UnknownVersion, 400, fmt.Sprintf("error processing entry: %s version %q is not supported", name, clip(version))}
	case slices.Contains(foreign[:], name):
		return nil, notEnabled(name)
	}
	return nil, unknownKind(name)
}

// Propose reads one proposed entry, from its first byte on, and returns what is to
// be logged. Every error is an *Error.
func (p *Parser) Propose(raw []byte) (Proposed, error) {
	h, err := p.readHeader(raw)
	if err != nil {
		return Proposed{}, err
	}
	k, err := find(h.kind, h.version)
	if err != nil {
		return Proposed{}, err
	}
	if p.opts.Kinds != nil && !slices.Contains(p.opts.Kinds, k.name) {
		return Proposed{}, notEnabled(k.name)
	}
	d, err := k.propose(p, h.spec)
	if err != nil {
		return Proposed{}, invalid(err)
	}
	if len(d.body) > tlog.MaxLeaf {
		return Proposed{}, invalid(fmt.Errorf("canonical entry has %d bytes, more than the %d that a leaf of the log can have", len(d.body), tlog.MaxLeaf))
	}
	keys, err := d.keys.complete()
	if err != nil {
		return Proposed{}, invalid(err)
	}
	out := Proposed{Kind: k.name, Version: k.version, Leaf: tlog.Leaf{Body: d.body, Keys: keys}}
	if d.attestation != nil && len(d.attestation) > p.opts.MaxAttestation {
		out.AttestationDropped = true
	} else {
		out.Leaf.Attestation = d.attestation
	}
	return out, nil
}

// Lookup returns the leaf hash that an entry has in the log, if it is there: of a
// proposal, whose signature is checked as by Propose, or of a canonical body.
// Options.Kinds does not matter. Every error is an *Error, answered with 400 even
// if the kind is missing or unknown.
func (p *Parser) Lookup(raw []byte) (tlog.Hash, error) {
	h, err := p.readHeader(raw)
	if err != nil {
		return tlog.Hash{}, inQuery(err)
	}
	k, err := find(h.kind, h.version)
	if err != nil {
		return tlog.Hash{}, inQuery(err)
	}
	if k.proposal == nil || k.proposal(h.spec) {
		d, err := k.propose(p, h.spec)
		if err != nil {
			return tlog.Hash{}, invalid(err)
		}
		return tlog.LeafHash(d.body), nil
	}
	r, err := k.committed(p, h.spec)
	if err != nil {
		return tlog.Hash{}, invalid(err)
	}
	return tlog.LeafHash(r.body), nil
}

// Committed says what a stored body tells. A body of a kind or version that is not
// in the table gives kind and version only. A public key in it that cannot be read
// yields no keys, but no error: logs that were imported hold such ones. With an
// error, kind and version are set if they could be read.
func (p *Parser) Committed(body []byte) (Info, error) {
	h, err := p.readHeader(body)
	if err != nil {
		return Info{Kind: h.kind, Version: h.version}, err
	}
	info := Info{Kind: h.kind, Version: h.version}
	k, err := find(h.kind, h.version)
	if err != nil {
		return info, nil
	}
	r, err := k.committed(p, h.spec)
	if err != nil {
		return info, invalid(err)
	}
	info.Attestation = r.attestation
	info.Keys, err = r.keys.list()
	return info, invalid(err)
}

var errNoSignatures = errors.New("signatures in body should have at least 1 items")
