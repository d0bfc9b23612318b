package tlog

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// MaxCheckpoint bounds a checkpoint with its signatures, in bytes.
const MaxCheckpoint = 16 << 10

// OriginV1 returns the origin of a v1 tree: "<host> - <tree ID>". Rekor clients
// tell a v1 checkpoint from a v2 one by this form.
func OriginV1(host string, treeID int64) string {
	return host + " - " + strconv.FormatInt(treeID, 10)
}

// SplitOriginV1 returns the host and tree ID of a v1 origin.
func SplitOriginV1(origin string) (host string, treeID int64, err error) {
	host, id, ok := strings.Cut(origin, " - ")
	if ok {
		treeID, err = strconv.ParseInt(id, 10, 64)
	}
	if !ok || err != nil || treeID <= 0 || host == "" {
		return "", 0, fmt.Errorf("origin %.80q is not of the form %q", origin, "<host> - <tree ID>")
	}
	return host, treeID, nil
}

// CheckpointText returns the text of a checkpoint, which is what gets signed (C2SP
// tlog-checkpoint): origin, size and root hash, a line each.
func CheckpointText(origin string, head Head) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n", origin, head.Size, head.Root.Base64())
}

// LogID returns the ID of a log: SHA-256 over its key, a DER SubjectPublicKeyInfo.
func LogID(spki []byte) Hash { return sha256.Sum256(spki) }

// AppendSignature returns the signed note made of a checkpoint text and one
// signature line in Rekor's style: the hint is the first four bytes of the log ID
// (not the key hash of C2SP signed-note).
func AppendSignature(text []byte, name string, logID Hash, signature []byte) []byte {
	raw := append(logID[:4:4], signature...)
	return fmt.Appendf(nil, "%s\n— %s %s\n", text, name, base64.StdEncoding.EncodeToString(raw))
}

// Checkpoint is a parsed checkpoint text.
type Checkpoint struct {
	Origin string
	Head
}

// canonicalSize is a decimal number without sign or leading zeros.
var canonicalSize = regexp.MustCompile(`^(0|[1-9][0-9]{0,18})$`)

// ParseCheckpointText reads a checkpoint text: the part of a note before its blank
// line, with the newline at its end. Lines after the third are extensions, and are
// ignored, but may not be empty.
func ParseCheckpointText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return Checkpoint{}, errors.New("checkpoint has fewer than three lines or no newline at its end")
	}
	for i, l := range lines[:len(lines)-1] {
		if l == "" {
			return Checkpoint{}, fmt.Errorf("checkpoint line %d is empty", i+1)
		}
	}
	c := Checkpoint{Origin: lines[0]}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || !canonicalSize.MatchString(lines[1]) {
		return Checkpoint{}, fmt.Errorf("checkpoint line 2: %.80q is not a tree size", lines[1])
	}
	c.Size = size
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != HashSize {
		return Checkpoint{}, fmt.Errorf("checkpoint line 3: %.80q is not a root hash", lines[2])
	}
	c.Root = Hash(root)
	return c, nil
}

// OpenCheckpoint checks that a checkpoint is signed by the key and carries the
// origin, and returns what it says. Other signatures on it are ignored.
func OpenCheckpoint(signed []byte, origin string, key note.Verifier) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes is over the limit of %d", len(signed), MaxCheckpoint)
	}
	n, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("opening checkpoint: %w", err)
	}
	c, err := ParseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("checkpoint has origin %q, not %q", c.Origin, origin)
	}
	return c, nil
}

// ecdsaVerifier checks Rekor-style signature lines.
type ecdsaVerifier struct {
	name string
	hint uint32
	key  *ecdsa.PublicKey
}

// NewECDSAVerifier returns a note verifier for a v1 log: lines with the log's name,
// the first four bytes of its log ID as key hash, and an ASN.1 DER signature over
// the SHA-256 of the text. spki is the DER SubjectPublicKeyInfo of the key.
func NewECDSAVerifier(name string, spki []byte, key *ecdsa.PublicKey) note.Verifier {
	id := LogID(spki)
	return &ecdsaVerifier{name, uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3]), key}
}

func (v *ecdsaVerifier) Name() string    { return v.name }
func (v *ecdsaVerifier) KeyHash() uint32 { return v.hint }
func (v *ecdsaVerifier) Verify(msg, sig []byte) bool {
	digest := sha256.Sum256(msg)
	return ecdsa.VerifyASN1(v.key, digest[:], sig)
}
