package monitor

import (
	"context"
	"encoding/hex"

	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// evidence returns two checkpoints as evidence.
func (r *round) evidence(first, second signedHead) *Evidence {
	return &Evidence{logKey: string(first.Log.Key.PEM), first: first.signed, second: second.signed}
}

// proved returns evidence of two checkpoints if it proves something, else nil.
func (r *round) proved(e *Evidence) *Evidence {
	if f, err := e.Verify(r.log.Trust); err != nil || !f.Proved {
		return nil
	}
	return e
}

// proveFork returns the proof that two checkpoints of different sizes are of two histories, or nil if the log gave
// nothing that proves it. path is what it gave for a consistency proof.
func (r *round) proveFork(ctx context.Context, base int64, old, now signedHead, path []tlog.Hash) *Evidence {
	small, large := old, now
	if small.Size > large.Size {
		small, large = large, small
	}
	e := r.evidence(old, now)
	if small.Size == 0 {
		e.prefix = &prefix{root: tlog.EmptyRoot}
		return r.proved(e)
	}
	if root, ok := prefixRoot(small.Size, large.Size, path); ok {
		e.prefix = &prefix{root, path}
		return r.proved(e)
	}
	if small.Size&(small.Size-1) != 0 {
		return nil
	}
	// A consistency proof from a perfect tree leaves its root out. The inclusion proof of the last
	// entry in it does not.
	in, err := r.opts.Source.Entry(ctx, base+small.Size-1)
	if err != nil || in.Proof == nil || in.Proof.Index != small.Size-1 {
		return nil
	}
	cp, err := r.log.Trust.VerifyCheckpoint(in.Proof.Checkpoint, nil)
	if err != nil {
		return nil
	}
	for _, leaf := range leafHashes(in) {
		if tlog.VerifyInclusion(leaf, in.Proof.Index, cp.Head, in.Proof.Path) != nil {
			continue
		}
		root, rest, ok := subtreeRoot(leaf, small.Size, in.Proof.Path)
		if !ok {
			continue
		}
		e := r.evidence(small, signedHead{cp, in.Proof.Checkpoint})
		if cp.Size > small.Size {
			e.prefix = &prefix{root, rest}
		}
		if e = r.proved(e); e != nil {
			return e
		}
	}
	return nil
}

// leafHashes returns what the leaf of an entry may be: that of its body, or what its ID says.
func leafHashes(e *verify.Entry) []tlog.Hash {
	all := []tlog.Hash{tlog.LeafHash(e.Body)}
	if len(e.UUID) >= 2*tlog.HashSize {
		var h tlog.Hash
		if _, err := hex.Decode(h[:], []byte(e.UUID[len(e.UUID)-2*tlog.HashSize:])); err == nil && h != all[0] {
			all = append(all, h)
		}
	}
	return all
}

// contradicts reports whether evidence of a promise shows that it was broken. Its base has to be that of the verified trees, and not what
// somebody says: then what the evidence takes for granted (Finding.Given) is so.
func (r *round) contradicts(e *Evidence) bool {
	f, err := e.Verify(r.log.Trust)
	return err == nil && f.Given != ""
}

// proveBroken returns the evidence that a promise was not kept, from what the log says to be the entry at its index; nil
// if that shows nothing. base is the index in the log of the first entry of the tree, by the sizes of the verified trees before it. To
// others, who do not know it, the evidence proves this only if they find the same.
func (r *round) proveBroken(promise *Receipt, base int64, origin string, in *verify.Entry) *Evidence {
	if in == nil || in.Proof == nil || in.Proof.Index != promise.index-base {
		return nil
	}
	cp, err := r.log.Trust.VerifyCheckpoint(in.Proof.Checkpoint, nil)
	if err != nil || cp.Origin != origin {
		return nil
	}
	for _, leaf := range leafHashes(in) {
		e := &Evidence{logKey: string(cp.Log.Key.PEM), promise: promise,
			leaf: &placedLeaf{base: base, hash: leaf, path: in.Proof.Path, checkpoint: in.Proof.Checkpoint}}
		if r.contradicts(e) {
			return e
		}
	}
	return nil
}
