package tlog

import (
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// VerifyInclusion gives the verdict of the merkle library on every proof of every tree of up to 40
// leaves, and on the same proofs for other places and sizes, shortened, lengthened and altered.
func TestVerifyInclusionAgrees(t *testing.T) {
	var leaves []Hash
	agreed := 0
	for size := int64(1); size <= 40; size++ {
		leaves = append(leaves, LeafHash([]byte{byte(size)}))
		root := referenceRoot(leaves)
		for index := int64(0); index < size; index++ {
			path := referencePath(index, leaves)
			for _, p := range variants(path) {
				for _, at := range []int64{index, index + 1, index - 1, index ^ 2, 0, size - 1} {
					for _, n := range []int64{size, size + 1, size - 1, 2 * size, size ^ 4} {
						head := Head{n, root}
						got := VerifyInclusion(leaves[index], at, head, p)
						good := n > 0 && at >= 0 && at < n && proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(at), uint64(n), leaves[index][:], rawHashes(p), root[:]) == nil
						if (got == nil) != good {
							t.Fatalf("leaf %d as %d of %d, tree of %d, %d hashes: %v, but the library accepts: %v", index, at, n, size, len(p), got, good)
						}
						if good {
							agreed++
						}
					}
				}
			}
		}
	}
	if agreed < 40*41/2 {
		t.Errorf("only %d proofs were good", agreed)
	}
}

func variants(path []Hash) [][]Hash {
	all := [][]Hash{path, append(path[:len(path):len(path)], EmptyRoot)}
	for i := range path {
		altered := append([]Hash(nil), path...)
		altered[i][i] ^= 1
		without := append(append([]Hash(nil), path[:i]...), path[i+1:]...)
		all = append(all, altered, without)
	}
	return all
}

func BenchmarkVerifyInclusion(b *testing.B) {
	var leaves []Hash
	for i := range 1 << 12 {
		leaves = append(leaves, LeafHash([]byte{byte(i), byte(i >> 8)}))
	}
	head, path := Head{int64(len(leaves)), referenceRoot(leaves)}, referencePath(1234, leaves)
	b.ReportAllocs()
	for b.Loop() {
		if err := VerifyInclusion(leaves[1234], 1234, head, path); err != nil {
			b.Fatal(err)
		}
	}
}
