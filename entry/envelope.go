package entry

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/sig"
)

// Limits on what one envelope can cost. Real ones have one or two signatures.
const (
	// MaxSignatures is the largest number of signatures in an envelope, and of keys
	// sent with it. Each key may have to be tried with each signature.
	MaxSignatures = 16
	// maxCommitted is the same for canonical bodies, which cost no checks and may
	// come from logs with other limits.
	maxCommitted = 512
	// maxWork bounds the signature checks of one entry, in checks with a P-256 key
	// (sig.Key.Cost): some 20 ms. n signatures by n keys take n(n+1)/2 checks. So there
	// is room for 16 keys of P-256, Ed25519 or RSA-2048, 7 of P-384 or RSA-4096, 4 of
	// P-521, 3 of RSA-8192, and for two Ed25519 keys that sign 3 MiB.
	maxWork = 272
	// hashUnit is how much an Ed25519 check, which hashes the whole message each time,
	// hashes in the time of a P-256 check, in bytes.
	hashUnit = 40 << 10
)

// checker verifies the signatures of one envelope. The digest is made once, and no
// key is tried twice with a signature.
type checker struct {
	pae    []byte
	digest [sha256.Size]byte
	tried  []trial
	checks int // made so far
	work   int // that they cost, like maxWork
}

// trial is what a key gave: the index of the first signature that it verifies, or
// an error.
type trial struct {
	key   *sig.Key
	first int
	err   error
}

func newChecker(e *sig.Envelope) *checker {
	pae := sig.PAE(e.PayloadType, e.Payload)
	return &checker{pae: pae, digest: sha256.Sum256(pae)}
}

// verifies reports whether the key made the signature: over SHA-256 for ECDSA and
// RSA, whatever the curve, or pure Ed25519. The error is that of too much work.
func (c *checker) verifies(key *sig.Key, s sig.Signature) (bool, error) {
	_, whole := key.Public.(ed25519.PublicKey)
	cost := key.Cost()
	if whole {
		cost += len(c.pae) / hashUnit
	}
	if c.checks > 0 && c.work+cost > maxWork { // the first is bounded by the size of the body
		return false, fmt.Errorf("envelope needs too many signature checks: after %d, the next would make the work that of %d P-256 checks, more than %d", c.checks, c.work+cost, maxWork)
	}
	c.checks++
	c.work += cost
	if whole {
		return key.VerifyMessage(0, c.pae, s.Sig) == nil, nil
	}
	return key.VerifyDigest(crypto.SHA256, c.digest[:], s.Sig) == nil, nil
}

// matchKeys finds out which key made which signature, as Rekor does for dsse and
// intoto 0.0.2: the keys are taken in order, each has to verify one signature, and is
// credited with the first that it verifies; in the end every signature has to have
// a key. If spare, keys that come after all signatures are accounted for are not
// looked at. Signatures with the same text count as one. A key that is repeated is
// credited with the same signature again. The result has the key of each signature,
// by index.
func (c *checker) matchKeys(p *Parser, signatures []sig.Signature, pems [][]byte, spare bool) ([]*sig.Key, error) {
	keys := make([]*sig.Key, len(signatures))
	missing := len(keys)
	for _, pem := range pems {
		if spare && missing == 0 {
			break
		}
		key, err := p.keys.ParsePEM(pem)
		if err != nil {
			return nil, fmt.Errorf("could not parse public key as x509: %w", err)
		}
		i, err := c.firstOf(key, signatures)
		if err != nil {
			return nil, fmt.Errorf("could not verify envelope: %w", err)
		}
		for j, s := range signatures {
			if s.Text != signatures[i].Text {
				continue
			}
			if keys[j] == nil {
				missing--
			}
			keys[j] = key
		}
	}
	if missing > 0 {
		return nil, errors.New("all signatures must have a key that verifies it")
	}
	return keys, nil
}

// firstOf returns the index of the first signature that the key verifies. All calls
// must be for the same signatures: a key that comes again, in whatever PEM, gets the
// same answer without a check.
func (c *checker) firstOf(key *sig.Key, signatures []sig.Signature) (int, error) {
	for _, t := range c.tried {
		if t.key.SamePublic(key) {
			return t.first, t.err
		}
	}
	first, err := c.tryAll(key, signatures)
	c.tried = append(c.tried, trial{key, first, err})
	return first, err
}

func (c *checker) tryAll(key *sig.Key, signatures []sig.Signature) (int, error) {
	for i, s := range signatures {
		again := func(t sig.Signature) bool { return bytes.Equal(t.Sig, s.Sig) }
		if slices.ContainsFunc(signatures[:i], again) {
			continue // has failed already
		}
		ok, err := c.verifies(key, s)
		if ok || err != nil {
			return i, err
		}
	}
	return 0, errors.New("accepted signatures do not match threshold, Found: 0, Expected 1")
}
