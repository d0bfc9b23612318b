package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// auditor verifies what a log answers, with the log's public key and nothing else.
// It shares no code with the server, so that a mistake is not made twice.
type auditor struct {
	key   *ecdsa.PublicKey
	logID [sha256.Size]byte
}

// newAuditor reads the log's public key, PEM.
func newAuditor(text []byte) (*auditor, error) {
	b, _ := pem.Decode(text)
	if b == nil {
		return nil, fmt.Errorf("public key of the log is not PEM: %q", text)
	}
	return newAuditorDER(b.Bytes)
}

func newAuditorDER(spki []byte) (*auditor, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("public key of the log: %w", err)
	}
	p256, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("public key of the log is a %T, not ECDSA", key)
	}
	return &auditor{p256, sha256.Sum256(spki)}, nil
}

// entry is an entry as the v1 API answers it.
type entry struct {
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
		InclusionProof       struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
	} `json:"verification"`
}

// verify checks an answer with one entry: that its ID is the leaf hash of its body,
// the signed entry timestamp, the inclusion proof, and the checkpoint over the
// proof's root.
func (a *auditor) verify(answer []byte) error {
	var entries map[string]entry
	if err := json.Unmarshal(answer, &entries); err != nil {
		return fmt.Errorf("answer is not an entry: %w", err)
	}
	if len(entries) != 1 {
		return fmt.Errorf("answer has %d entries, not 1", len(entries))
	}
	for id, e := range entries {
		if err := a.verifyEntry(id, &e); err != nil {
			return fmt.Errorf("entry %s: %w", id, err)
		}
	}
	return nil
}

func (a *auditor) verifyEntry(id string, e *entry) error {
	body, err := base64.StdEncoding.DecodeString(e.Body)
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(body)
	if len(id) != 80 || id[16:] != hex.EncodeToString(leaf) {
		return fmt.Errorf("leaf hash of the body is %x", leaf)
	}
	if e.LogID != hex.EncodeToString(a.logID[:]) {
		return fmt.Errorf("log ID is %s, not %x", e.LogID, a.logID)
	}
	// RFC 8785 form of the four signed members.
	set := fmt.Sprintf(`{"body":"%s","integratedTime":%d,"logID":"%s","logIndex":%d}`, e.Body, e.IntegratedTime, e.LogID, e.LogIndex)
	if !a.signed([]byte(set), e.Verification.SignedEntryTimestamp) {
		return errors.New("signed entry timestamp is not by the log's key over this entry")
	}
	p := e.Verification.InclusionProof
	size, root, err := a.openCheckpoint(p.Checkpoint)
	if err != nil {
		return err
	}
	if size != p.TreeSize || hex.EncodeToString(root) != p.RootHash {
		return fmt.Errorf("checkpoint is over size %d and root %x, the proof for size %d and root %s", size, root, p.TreeSize, p.RootHash)
	}
	hashes := make([][]byte, len(p.Hashes))
	for i, h := range p.Hashes {
		if hashes[i], err = hex.DecodeString(h); err != nil {
			return fmt.Errorf("inclusion proof: %w", err)
		}
	}
	if p.LogIndex < 0 || p.TreeSize < 0 {
		return fmt.Errorf("inclusion proof is for leaf %d of %d", p.LogIndex, p.TreeSize)
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.LogIndex), uint64(p.TreeSize), leaf, hashes, root)
}

// openCheckpoint checks the only signature of a v1 checkpoint and returns what it
// says. The text ends at the blank line; the signature line is "— name base64",
// of four bytes of log ID and the signature.
func (a *auditor) openCheckpoint(checkpoint string) (size int64, root []byte, err error) {
	text, signature, ok := strings.Cut(checkpoint, "\n\n")
	lines := strings.Split(text, "\n")
	words := strings.Fields(signature)
	if !ok || len(lines) != 3 || len(words) != 3 {
		return 0, nil, fmt.Errorf("checkpoint %q is malformed", checkpoint)
	}
	raw, err := base64.StdEncoding.DecodeString(words[2])
	if err != nil || len(raw) < 5 || string(raw[:4]) != string(a.logID[:4]) || !a.signed([]byte(text+"\n"), raw[4:]) {
		return 0, nil, fmt.Errorf("checkpoint %q is not signed by the log's key", checkpoint)
	}
	size, err1 := strconv.ParseInt(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	return size, root, errors.Join(err1, err2)
}

func (a *auditor) signed(message, signature []byte) bool {
	digest := sha256.Sum256(message)
	return ecdsa.VerifyASN1(a.key, digest[:], signature)
}
