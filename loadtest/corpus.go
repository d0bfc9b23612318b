package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// corpus is a supply of entries to be logged, each about an artifact of its own
// and signed already, so that signing them costs nothing while something is
// measured. It may be used by many goroutines.
type corpus struct {
	signers   []artifactSigner
	salt      [16]byte // makes the artifacts of one run differ from those of every other
	proposals [][]byte // JSON
	next      atomic.Int64
}

// artifactSigner is a key that signs artifacts.
type artifactSigner struct {
	key       *ecdsa.PrivateKey
	publicKey string // base64 of PEM, as an entry carries it
}

func newCorpus(keys int) (*corpus, error) {
	c := &corpus{}
	if _, err := rand.Read(c.salt[:]); err != nil {
		return nil, err
	}
	for range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return nil, err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
		c.signers = append(c.signers, artifactSigner{key, base64.StdEncoding.EncodeToString(text)})
	}
	return c, nil
}

// supply signs artifacts until n more entries can be taken.
func (c *corpus) supply(n int) error {
	first := len(c.proposals)
	missing := n - (first - int(c.next.Load()))
	if missing <= 0 {
		return nil
	}
	c.proposals = append(c.proposals, make([][]byte, missing)...)
	var group sync.WaitGroup
	workers := runtime.NumCPU()
	errs := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for i := first + w; i < len(c.proposals) && errs[w] == nil; i += workers {
				c.proposals[i], errs[w] = c.propose(i)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// propose makes the i-th entry: hashedrekord 0.0.1 with P-256.
func (c *corpus) propose(i int) ([]byte, error) {
	s := c.signers[i%len(c.signers)]
	digest := sha256.Sum256(binary.BigEndian.AppendUint64(c.salt[:], uint64(i)))
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, digest[:])
	if err != nil {
		return nil, err
	}
	return hashedrekord(digest, signature, s.publicKey), nil
}

// hashedrekord writes an entry. Its members stand in the order of RFC 8785, so it
// is also the leaf body that the entry becomes.
func hashedrekord(digest [sha256.Size]byte, signature []byte, publicKey string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`,
		digest, base64.StdEncoding.EncodeToString(signature), publicKey)
}

// take returns an entry that was not taken before, or false if all were.
func (c *corpus) take() ([]byte, bool) {
	i := c.next.Add(1) - 1
	if i >= int64(len(c.proposals)) {
		return nil, false
	}
	p := c.proposals[i]
	return p, true
}
