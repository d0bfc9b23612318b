package tlog

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The files in testdata were made with Rekor v1.5.4's own packages and checked with
// OpenSSL: a log of seven real entries, its checkpoints and entry timestamps.

func readVectors(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func mustHash(t testing.TB, s string) Hash {
	t.Helper()
	h, err := ParseHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustDecode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRekorTree(t *testing.T) {
	var v struct {
		Leaves []struct{ BodyBase64, LeafHash string }
		Roots  []struct {
			TreeSize int64
			RootHash string
		}
		InclusionProofs []struct {
			LeafIndex, TreeSize int64
			Hashes              []string
		}
		ConsistencyProofs []struct {
			FirstSize, LastSize int64
			Hashes              []string
		}
	}
	readVectors(t, "merkle-7.json", &v)
	edges := []*Edge{NewEdge()}
	store := &tileMap{tiles: map[TileID][]Hash{}}
	for _, l := range v.Leaves {
		h := LeafHash(mustDecode(t, l.BodyBase64))
		if h != mustHash(t, l.LeafHash) {
			t.Fatalf("leaf hash %v, want %s", h, l.LeafHash)
		}
		store.leaves = append(store.leaves, h)
		next := edges[len(edges)-1].Clone()
		next.Extend([]Hash{h})
		edges = append(edges, next)
	}
	for _, r := range v.Roots {
		if got := edges[r.TreeSize].Root(); got != mustHash(t, r.RootHash) {
			t.Errorf("root at %d is %v, want %s", r.TreeSize, got, r.RootHash)
		}
	}
	same := func(got []Hash, want []string) bool {
		hashes := make([]Hash, len(want))
		for i, s := range want {
			hashes[i] = mustHash(t, s)
		}
		return equal(got, hashes)
	}
	ctx := context.Background()
	for _, p := range v.InclusionProofs {
		got, err := InclusionProof(ctx, store, p.LeafIndex, p.TreeSize)
		if err != nil || !same(got, p.Hashes) {
			t.Errorf("inclusion proof of %d in %d: %v, %v, want %v", p.LeafIndex, p.TreeSize, got, err, p.Hashes)
		}
	}
	for _, p := range v.ConsistencyProofs {
		got, err := ConsistencyProof(ctx, store, p.FirstSize, p.LastSize, 7)
		if err != nil || !same(got, p.Hashes) {
			t.Errorf("consistency proof from %d to %d: %v, %v, want %v", p.FirstSize, p.LastSize, got, err, p.Hashes)
		}
	}
	if len(v.Roots) != 8 || len(v.InclusionProofs) != 28 || len(v.ConsistencyProofs) != 28 {
		t.Error("the vectors are not all there")
	}
}

type checkpointVectors struct {
	Hostname, TreeID, SPKIDERBase64, LogID string
	Checkpoints                            []struct {
		Note, Origin, RootHash, SignatureASN1Hex, SignatureName, SignedText string
		TreeSize                                                            int64
	}
}

func TestRekorCheckpoints(t *testing.T) {
	var v checkpointVectors
	readVectors(t, "checkpoint.json", &v)
	spki := mustDecode(t, v.SPKIDERBase64)
	if LogID(spki).String() != v.LogID {
		t.Fatalf("log ID %v, want %s", LogID(spki), v.LogID)
	}
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	verifier := NewECDSAVerifier(v.Hostname, spki, key.(*ecdsa.PublicKey))
	for _, c := range v.Checkpoints {
		host, id, err := SplitOriginV1(c.Origin)
		if err != nil || host != v.Hostname || OriginV1(host, id) != c.Origin {
			t.Errorf("origin %q split into %q, %d, %v", c.Origin, host, id, err)
		}
		head := Head{c.TreeSize, mustHash(t, c.RootHash)}
		text := CheckpointText(c.Origin, head)
		if string(text) != c.SignedText {
			t.Errorf("text %q, want %q", text, c.SignedText)
		}
		got, err := OpenCheckpoint([]byte(c.Note), c.Origin, verifier)
		if err != nil || got.Head != head {
			t.Errorf("opening: %v, %v", got, err)
		}
		sig := hexBytes(t, c.SignatureASN1Hex)
		if note := AppendSignature(text, c.SignatureName, LogID(spki), sig); string(note) != c.Note {
			t.Errorf("signed note %q, want %q", note, c.Note)
		}
		if _, err := OpenCheckpoint([]byte(c.Note), "other - 1", verifier); err == nil {
			t.Error("a checkpoint of another origin was opened")
		}
		for _, bad := range []string{
			strings.Replace(c.Note, "\n"+head.Root.Base64(), "\n"+LeafHash(nil).Base64(), 1),
			strings.Replace(c.Note, "— ", "- ", 1),
			c.Note + strings.Repeat("— x AAAAAAAA\n", 2000),
			c.SignedText, "",
		} {
			if _, err := OpenCheckpoint([]byte(bad), c.Origin, verifier); err == nil {
				t.Errorf("opened a changed checkpoint: %q", bad)
			}
		}
	}
}

func hexBytes(t testing.TB, s string) []byte {
	t.Helper()
	b := make([]byte, len(s)/2)
	for i := range b {
		for _, c := range s[2*i : 2*i+2] {
			b[i] = b[i]<<4 | byte(strings.IndexRune("0123456789abcdef", c))
		}
	}
	return b
}

func TestRekorSET(t *testing.T) {
	var v struct {
		Vectors []struct {
			BodyBase64, LogID, SignedBytes string
			IntegratedTime, LogIndex       int64
		}
	}
	readVectors(t, "set.json", &v)
	for _, s := range v.Vectors {
		got := SETMessage(mustDecode(t, s.BodyBase64), s.IntegratedTime, s.LogID, s.LogIndex)
		if string(got) != s.SignedBytes {
			t.Errorf("signed bytes %s, want %s", got, s.SignedBytes)
		}
	}
	if len(v.Vectors) != 5 {
		t.Error("the vectors are not all there")
	}
}

func TestKeySetDigest(t *testing.T) {
	a, b := Key{KeyDigest, "sha256:00"}, Key{KeyIdentity, "a@example.com"}
	if KeySetDigest([]Key{a, b}) != KeySetDigest([]Key{b, a, b}) {
		t.Error("order or repetition changes the digest")
	}
	seen := map[Hash]bool{}
	for _, set := range [][]Key{{}, {a}, {b}, {a, b}, {{KeyIdentity, "sha256:00"}}, {{KeyDigest, "sha256:0"}, {KeyDigest, "0"}}, {{KeyDigest, "sha256:00"}, {KeyDigest, ""}}} {
		if seen[KeySetDigest(set)] {
			t.Errorf("%v has the digest of another set", set)
		}
		seen[KeySetDigest(set)] = true
	}
}

func FuzzParseCheckpointText(f *testing.F) {
	var v checkpointVectors
	readVectors(f, "checkpoint.json", &v)
	for _, c := range v.Checkpoints {
		f.Add(c.SignedText)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCheckpointText(text)
		if err == nil && c.Size < 0 {
			t.Fatalf("negative size from %q", text)
		}
		if err == nil && strings.Count(text, "\n") == 3 && string(CheckpointText(c.Origin, c.Head)) != text {
			t.Fatalf("%q is not the only form of what it says", text)
		}
		SplitOriginV1(c.Origin)
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	var v checkpointVectors
	readVectors(f, "checkpoint.json", &v)
	spki := mustDecode(f, v.SPKIDERBase64)
	key, _ := x509.ParsePKIXPublicKey(spki)
	verifier := NewECDSAVerifier(v.Hostname, spki, key.(*ecdsa.PublicKey))
	known := map[Head]bool{}
	for _, c := range v.Checkpoints {
		known[Head{c.TreeSize, mustHash(f, c.RootHash)}] = true
		f.Add([]byte(c.Note))
	}
	f.Fuzz(func(t *testing.T, note []byte) {
		c, err := OpenCheckpoint(note, v.Checkpoints[0].Origin, verifier)
		if err == nil && !known[c.Head] {
			t.Fatalf("a checkpoint that was never signed was opened: %q", note)
		}
	})
}
