package entry

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

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
	// maxWork bounds the signature checks of one entry. A check costs one; with an
	// Ed25519 key, which hashes the whole message each time, one more for each 256 KiB.
	maxWork = 256
)

// checker verifies the signatures of one envelope. The digest is made once.
type checker struct {
	pae    []byte
	digest [sha256.Size]byte
	work   int
}

func newChecker(e *sig.Envelope) *checker {
	pae := sig.PAE(e.PayloadType, e.Payload)
	return &checker{pae: pae, digest: sha256.Sum256(pae)}
}

// verifies reports whether the key made the signature: over SHA-256 for ECDSA and
// RSA, whatever the curve, or pure Ed25519. The error is that of too much work.
func (c *checker) verifies(key *sig.Key, s sig.Signature) (bool, error) {
	_, whole := key.Public.(ed25519.PublicKey)
	c.work++
	if whole {
		c.work += len(c.pae) >> 18
	}
	if c.work > maxWork {
		return false, errors.New("envelope needs too many signature checks")
	}
	if whole {
		return key.VerifyMessage(0, c.pae, s.Sig) == nil, nil
	}
	return key.VerifyDigest(crypto.SHA256, c.digest[:], s.Sig) == nil, nil
}

// matchKeys finds out which key made which signature, as Rekor does for dsse and
// intoto 0.0.2: the keys are taken in order, each has to verify one signature, and is
// credited with the first that it verifies; in the end every signature has to have
// a key. If spare, keys that come after all signatures are accounted for are not
// looked at. Signatures with the same text count as one. The result has the key
// of each signature, by index.
func matchKeys(p *Parser, e *sig.Envelope, pems [][]byte, spare bool) ([]*sig.Key, error) {
	c := newChecker(e)
	keys := make([]*sig.Key, len(e.Signatures))
	missing := len(keys)
	for _, pem := range pems {
		if spare && missing == 0 {
			break
		}
		key, err := p.keys.ParsePEM(pem)
		if err != nil {
			return nil, fmt.Errorf("could not parse public key as x509: %w", err)
		}
		i, err := c.firstOf(key, e.Signatures)
		if err != nil {
			return nil, fmt.Errorf("could not verify envelope: %w", err)
		}
		for j, s := range e.Signatures {
			if s.Text != e.Signatures[i].Text {
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

// firstOf returns the index of the first signature that the key verifies.
func (c *checker) firstOf(key *sig.Key, signatures []sig.Signature) (int, error) {
	for i, s := range signatures {
		ok, err := c.verifies(key, s)
		if ok || err != nil {
			return i, err
		}
	}
	return 0, errors.New("accepted signatures do not match threshold, Found: 0, Expected 1")
}
