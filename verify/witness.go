package verify

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Limits of a witness policy.
const (
	MaxWitnesses     = 64       // witnesses and groups together
	MaxWitnessPolicy = 64 << 10 // bytes
)

// WitnessPolicy says which witnesses have to have cosigned a checkpoint. It is
// immutable.
type WitnessPolicy struct {
	members   []member // in the order of the text: a group after those in it
	cosigners []note.Verifier
	none      bool   // "quorum none"
	demanded  int    // else, the index of the member that makes the quorum,
	name      string // and its name
}

// member is a witness or a group.
type member struct {
	key    *cosigner // nil for a group
	of     []int     // a group's members
	needed int       // how many of them
}

// ParseWitnessPolicy reads a policy in the form of C2SP tlog-policy: lines "witness
// <name> <vkey> [URL]", "group <name> all|any|<k> <member>…" and one "quorum
// <name>|none". Text from a word that begins with # to the end of the line is a comment. Lines
// "log …" are ignored, and so are URLs. Witness keys are Ed25519 cosigners (vkey type 4; type 1 is
// taken as one).
//
// Errors are of class ErrPolicy. Refused is all that is unknown or could be taken in two
// ways: a name or key that is given twice, a member that is defined later, or of two groups
// (it would count twice), or more than MaxWitnesses witnesses and groups. With "quorum
// none" the policy demands nothing; the lines of its witnesses still have to hold.
func ParseWitnessPolicy(text []byte) (*WitnessPolicy, error) {
	const claim = "witness policy"
	if len(text) > MaxWitnessPolicy {
		return nil, refuse(ErrPolicy, claim, "%d bytes, more than %d", len(text), MaxWitnessPolicy)
	}
	p := policyParser{defined: make(map[string]int), grouped: make(map[int]bool), keys: make(map[string]string)}
	for i, line := range strings.Split(string(text), "\n") {
		if err := p.line(line); err != nil {
			return nil, refuse(ErrPolicy, claim, "line %d: %w", i+1, err)
		}
	}
	if !p.hasQuorum {
		return nil, refuse(ErrPolicy, claim, "it has no quorum line")
	}
	return &p.policy, nil
}

// policyParser is a policy, line by line.
type policyParser struct {
	policy    WitnessPolicy
	hasQuorum bool
	defined   map[string]int    // names, by index in policy.members
	grouped   map[int]bool      // members that are in a group
	keys      map[string]string // the witnesses' key bytes, and their names
}

func (p *policyParser) line(line string) error {
	for _, c := range []byte(line) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return errors.New("it has a control character")
		}
	}
	words, err := policyWords(line)
	if err != nil || len(words) == 0 {
		return err
	}
	switch n := len(words) - 1; {
	case words[0] == "log" && (n == 1 || n == 2):
		return nil
	case words[0] == "witness" && (n == 2 || n == 3):
		return p.witness(words[1], words[2])
	case words[0] == "group" && n >= 3:
		return p.group(words[1], words[2], words[3:])
	case words[0] == "quorum" && n == 1:
		return p.quorum(words[1])
	}
	return fmt.Errorf("%q is not a line of a policy", clip(line))
}

// policyWords splits a line at spaces and tabs, up to a comment. C2SP has comments only on
// lines of their own, and Tessera from any # on: the words that are left here are the same
// to both, or they are refused.
func policyWords(line string) ([]string, error) {
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	for i, w := range words {
		switch strings.IndexByte(w, '#') {
		case -1:
		case 0:
			return words[:i], nil
		default:
			return nil, fmt.Errorf("a # is inside of %q", clip(w))
		}
	}
	return words, nil
}

func (p *policyParser) define(name string, m member) error {
	if name == "none" {
		return errors.New(`"none" is not a name`)
	}
	if _, ok := p.defined[name]; ok {
		return fmt.Errorf("the name %q is given twice", clip(name))
	}
	if len(p.policy.members) == MaxWitnesses {
		return fmt.Errorf("more than %d witnesses and groups", MaxWitnesses)
	}
	p.defined[name] = len(p.policy.members)
	p.policy.members = append(p.policy.members, m)
	return nil
}

func (p *policyParser) witness(name, vkey string) error {
	key, err := parseCosigner(vkey)
	if err != nil {
		return fmt.Errorf("witness %q: %w", clip(name), err)
	}
	// Its name is not part of what a witness signs: who has the key, is the witness.
	if other, ok := p.keys[string(key.key)]; ok {
		return fmt.Errorf("witness %q has the key of witness %q", clip(name), clip(other))
	}
	p.keys[string(key.key)] = name
	p.policy.cosigners = append(p.policy.cosigners, key)
	return p.define(name, member{key: key})
}

func (p *policyParser) group(name, threshold string, names []string) error {
	var m member
	for _, n := range names {
		i, ok := p.defined[n]
		switch {
		case !ok:
			return fmt.Errorf("no line before this one defines %q", clip(n))
		case p.grouped[i]:
			return fmt.Errorf("%q is already in a group", clip(n))
		}
		p.grouped[i] = true
		m.of = append(m.of, i)
	}
	switch threshold {
	case "all":
		m.needed = len(m.of)
	case "any":
		m.needed = 1
	default:
		k, err := decimal([]byte(threshold), "threshold")
		if err != nil || k < 1 || k > int64(len(m.of)) {
			return fmt.Errorf("%q is not all, any or a number from 1 to %d", clip(threshold), len(m.of))
		}
		m.needed = int(k)
	}
	return p.define(name, m)
}

func (p *policyParser) quorum(name string) error {
	if p.hasQuorum {
		return errors.New("a second quorum line")
	}
	p.hasQuorum = true
	if name == "none" {
		p.policy.none = true
		return nil
	}
	i, ok := p.defined[name]
	if !ok {
		return fmt.Errorf("no line before this one defines %q", clip(name))
	}
	p.policy.demanded, p.policy.name = i, name
	return nil
}

// demands reports whether there has to be a cosignature.
func (w *WitnessPolicy) demands() bool { return w != nil && !w.none }

// verifiers returns the witnesses' verifiers, which check C2SP cosignature/v1 lines.
func (w *WitnessPolicy) verifiers() []note.Verifier { return w.cosigners }

// quorum evaluates the policy over signatures of one checkpoint that note.Open has verified
// with verifiers, perhaps among others, and returns the cosignatures. The error is of class
// ErrWitness.
func (w *WitnessPolicy) quorum(verified []note.Signature) ([]Cosignature, error) {
	var seen []Cosignature
	met := make([]bool, len(w.members))
	for i, m := range w.members {
		if m.key != nil {
			c, ok := m.key.among(verified)
			if ok {
				seen = append(seen, c)
			}
			met[i] = ok
			continue
		}
		n := 0
		for _, j := range m.of {
			if met[j] {
				n++
			}
		}
		met[i] = n >= m.needed
	}
	if w.none || w.demanded < len(met) && met[w.demanded] {
		return seen, nil
	}
	return nil, refuse(ErrWitness, "quorum", "the policy demands %q, and %d of %d witnesses cosigned the checkpoint",
		clip(w.name), len(seen), len(w.cosigners))
}

// cosigner checks the signature lines of a witness with an Ed25519 key (C2SP
// tlog-cosignature, cosignature/v1).
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// parseCosigner reads a verifier key (C2SP signed-note): a name, the key hash in
// hexadecimal, and the algorithm and key in base64, with + between. A key for plain
// Ed25519 signatures is taken for that of the cosigner with the same name and key.
func parseCosigner(vkey string) (*cosigner, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	digits, text, _ := strings.Cut(rest, "+")
	hash, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) != 8 || !isKeyName(name) {
		return nil, errors.New("its verifier key is not <name>+<key hash>+<key>")
	}
	key, err := decodeBase64([]byte(text), "its verifier key", 1+maxKeyDER)
	if err != nil {
		return nil, err
	}
	if len(key) == 0 {
		return nil, errors.New("its verifier key is empty")
	}
	algorithm, key := string(key[:1]), key[1:]
	if algorithm != noteEd25519 && algorithm != noteCosignature {
		return nil, fmt.Errorf("its verifier key is of type %02x: only Ed25519 (04, 01) is known", algorithm)
	}
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("its Ed25519 key has %d bytes, not %d", len(key), ed25519.PublicKeySize)
	}
	if uint32(hash) != keyHash(name, algorithm, key) {
		return nil, fmt.Errorf("its key hash is not %s", digits)
	}
	return &cosigner{name, keyHash(name, noteCosignature, key), key}, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

func (c *cosigner) Verify(msg, signature []byte) bool {
	at, ok := cosignatureTime(signature)
	if !ok {
		return false
	}
	text := fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at)
	return ed25519.Verify(c.key, append(text, msg...), signature[8:])
}

// cosignatureTime returns the time in Unix seconds that a cosignature begins with. No
// witness has seen the first moment, or one that is past all calendars.
func cosignatureTime(signature []byte) (int64, bool) {
	if len(signature) != 8+ed25519.SignatureSize {
		return 0, false
	}
	at := binary.BigEndian.Uint64(signature)
	return int64(at), at != 0 && at <= maxTime
}

// among returns the witness's cosignature, if it is among those that were verified.
func (c *cosigner) among(verified []note.Signature) (Cosignature, bool) {
	for _, s := range verified {
		if s.Name != c.name || s.Hash != c.hash {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4 {
			return Cosignature{}, false
		}
		at, ok := cosignatureTime(raw[4:])
		return Cosignature{Witness: c.name, Time: time.Unix(at, 0).UTC()}, ok
	}
	return Cosignature{}, false
}
