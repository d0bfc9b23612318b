package verify

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Artifact is what is asked about: something of this digest.
type Artifact struct {
	algorithm string // "sha256", "sha384" or "sha512"
	digest    []byte
	message   []byte // the artifact itself, if it is at hand
	whole     bool
}

// Bytes returns the artifact with this content. A caller that has only a digest uses
// SHA256 or ParseDigest; it cannot check pure Ed25519 signatures, which are not made over a digest.
func Bytes(content []byte) Artifact {
	sum := sha256.Sum256(content)
	return Artifact{"sha256", sum[:], content, true}
}

// SHA256 returns the artifact with this digest.
func SHA256(digest [sha256.Size]byte) Artifact {
	return Artifact{algorithm: "sha256", digest: digest[:]}
}

var hashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// ParseDigest returns the artifact with a digest in the form "sha256:<hex>" (or
// sha384, sha512), in lower case, as image references have it.
func ParseDigest(s string) (Artifact, error) {
	algorithm, digits, _ := strings.Cut(s, ":")
	h, ok := hashes[algorithm]
	digest, err := hex.DecodeString(digits)
	if !ok || err != nil || len(digest) != h.Size() || strings.ToLower(digits) != digits {
		return Artifact{}, malformed("digest", "%q is not sha256:, sha384: or sha512: and as many lower-case hexadecimal digits as it has", clip(s))
	}
	return Artifact{algorithm: algorithm, digest: digest}, nil
}

// String returns the digest in the form that ParseDigest reads.
func (a Artifact) String() string { return fmt.Sprintf("%s:%x", a.algorithm, a.digest) }

// bare returns the artifact without its content.
func (a Artifact) bare() Artifact { return Artifact{algorithm: a.algorithm, digest: a.digest} }

// digests remembers the digests of an artifact, or of another message: it may be long, and asked for often.
type digests struct {
	artifact Artifact
	known    [3][]byte
}

// sum returns the digest by an algorithm, if it can be had.
func (d *digests) sum(algorithm string) ([]byte, bool) {
	if algorithm == d.artifact.algorithm {
		return d.artifact.digest, true
	}
	h, ok := hashes[algorithm]
	if !ok || !d.artifact.whole {
		return nil, false
	}
	slot := 0
	switch h {
	case crypto.SHA384:
		slot = 1
	case crypto.SHA512:
		slot = 2
	}
	if d.known[slot] == nil {
		if h == crypto.SHA256 {
			sum := sha256.Sum256(d.artifact.message)
			d.known[slot] = sum[:]
		} else {
			f := h.New()
			f.Write(d.artifact.message)
			d.known[slot] = f.Sum(nil)
		}
	}
	return d.known[slot], true
}
