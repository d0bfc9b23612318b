package tlog

import "context"

// View is a tree at one published checkpoint. It is immutable and may be used by
// many goroutines.
type View struct {
	Head
	// Checkpoint is the signed text. It is for this head.
	Checkpoint []byte
	// Tiles reads the tiles of the tree at this size.
	Tiles TileReader
}

// Inclusion returns the inclusion proof, leaf to root, of the leaf with that index
// under this view's root (RFC 6962, section 2.1.1). The index must be below Size.
func (v *View) Inclusion(ctx context.Context, index int64) ([]Hash, error) {
	return InclusionProof(ctx, v.Tiles, index, v.Size)
}

// Consistency returns the consistency proof between two sizes of this tree (RFC
// 6962, section 2.1.2), 1 <= first <= second <= Size. It is empty if they are equal.
func (v *View) Consistency(ctx context.Context, first, second int64) ([]Hash, error) {
	return ConsistencyProof(ctx, v.Tiles, first, second, v.Size)
}
