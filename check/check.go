// Package check re-reads a whole log and holds everything that is stored against
// everything else: leaves against hashes, hashes against tiles, tiles against the
// head, the head against the checkpoint and the high-water mark, and search keys
// against the leaves. It streams: memory does not grow with the log.
//
// It needs no quiet log: what is checked is the tree at the size that it had when
// the check began.
package check

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// ErrDamage: the log is not what it says it is. The error wrapped around it names the
// first damage exactly. Any other error means that the check could not be made.
var ErrDamage = errors.New("the log is damaged")

// Config says what to check. Store, Tree, Verifier and
// Parser are required.
type Config struct {
	Store storage.Store
	Tree  storage.Tree
	// Verifier checks the stored checkpoint's signature.
	Verifier note.Verifier
	// Mark is the high-water mark, if it is at hand.
	Mark *tlog.Head
	// Parser reads stored bodies.
	Parser *entry.Parser
	// Progress, if not nil, is called about once a second with the number of leaves
	// checked so far and the number in all.
	Progress func(done, all int64)
	Now      func() time.Time // default time.Now
}

// Report says what was checked.
type Report struct {
	Head         tlog.Head
	Keys         int64 // search keys
	Attestations int64 // leaves with an attestation
	Checkpoint   int64 // size of the stored checkpoint; -1 if there is none
	Mark         int64 // size of the high-water mark; -1 if there is none
}

// batchLeaves is how many leaves are read at once: a multiple of the tile width, and
// a few MB.
const batchLeaves = 4 * tlog.TileWidth

// Run checks a tree. On damage it returns an error that wraps ErrDamage, and the
// report up to there.
func Run(ctx context.Context, c Config) (Report, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &run{Config: c, edge: tlog.NewEdge(), said: c.Now()}
	r.report.Checkpoint, r.report.Mark = -1, -1
	head, err := c.Store.Head(ctx, c.Tree.ID)
	if err != nil {
		return r.report, fmt.Errorf("reading the head: %w", err)
	}
	r.head, r.report.Head = head, head.Head
	steps := []func(context.Context) error{r.leaves, r.checkRoot, r.edgeTiles, r.checkpoint, r.mark}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

// run is one check under way.
type run struct {
	Config
	head   storage.Head
	edge   *tlog.Edge // of the leaves read so far
	time   int64      // of the last leaf
	report Report
	said   time.Time
}

func damage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamage, fmt.Sprintf(format, args...))
}

// leaves reads all leaves with their keys and tiles.
func (r *run) leaves(ctx context.Context) error {
	for r.edge.Size() < r.head.Size {
		start := r.edge.Size()
		n := int(min(batchLeaves, r.head.Size-start))
		leaves, err := r.Store.Leaves(ctx, r.Tree.ID, start, n)
		if err != nil {
			return fmt.Errorf("reading leaves from %d: %w", start, err)
		}
		keys, err := r.Store.Keys(ctx, r.Tree.ID, start, n)
		if err != nil {
			return fmt.Errorf("reading search keys from leaf %d: %w", start, err)
		}
		if len(keys) < len(leaves) {
			return damage("the search keys of leaf %d are missing", start+int64(len(keys)))
		}
		hashes := make([]tlog.Hash, n)
		for i, l := range leaves {
			if err := r.leaf(ctx, start+int64(i), l, keys[i]); err != nil {
				return err
			}
			hashes[i] = l.Hash
		}
		if len(leaves) < n {
			return damage("leaf %d is missing; the head says %d leaves", start+int64(len(leaves)), r.head.Size)
		}
		if err := r.found(ctx, start, hashes); err != nil {
			return err
		}
		if err := r.tiles(ctx, r.edge.Extend(hashes)); err != nil {
			return err
		}
		r.progress()
	}
	return nil
}

// leaf checks one leaf by itself.
func (r *run) leaf(ctx context.Context, index int64, l storage.Leaf, keys []tlog.Key) error {
	switch {
	case l.Index != index:
		return damage("leaf %d is missing: leaf %d follows", index, l.Index)
	case tlog.LeafHash(l.Body) != l.Hash:
		return damage("leaf %d: its body has the hash %v, but the hash stored with it is %v", index, tlog.LeafHash(l.Body), l.Hash)
	case l.Time < r.time:
		return damage("leaf %d: its integrated time %d is before that of the leaf before it, %d", index, l.Time, r.time)
	case l.Time > r.head.Time:
		return damage("leaf %d: its integrated time %d is after that of the head, %d", index, l.Time, r.head.Time)
	case tlog.KeySetDigest(keys) != l.KeySet:
		return damage("leaf %d: its %d search keys are not those that were stored with it", index, len(keys))
	}
	r.time = l.Time
	r.report.Keys += int64(len(keys))
	info, err := r.Parser.Committed(l.Body)
	if e := (*entry.Error)(nil); errors.As(err, &e) && e.Class == entry.UnknownKind {
		return r.attestation(ctx, index, l) // of a kind that this program only stores
	}
	if err != nil {
		return damage("leaf %d cannot be read as an entry: %v", index, err)
	}
	for _, k := range info.Keys {
		if _, ok := slices.BinarySearchFunc(keys, k, tlog.Key.Compare); !ok { // a Store gives them sorted
			return damage("leaf %d cannot be found by its %v %q", index, k.Type, k.Value)
		}
	}
	return r.attestation(ctx, index, l)
}

// attestation checks what is stored beside a leaf.
func (r *run) attestation(ctx context.Context, index int64, l storage.Leaf) error {
	if l.Attestation == (tlog.Hash{}) {
		return nil
	}
	r.report.Attestations++
	data, err := r.Store.Attestation(ctx, r.Tree.ID, l.Attestation)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return damage("leaf %d: its attestation %v is missing", index, l.Attestation)
	case err != nil:
		return fmt.Errorf("reading the attestation of leaf %d: %w", index, err)
	case sha256.Sum256(data) != l.Attestation:
		return damage("leaf %d: its attestation has the SHA-256 %x, not %v", index, sha256.Sum256(data), l.Attestation)
	}
	return nil
}

// found checks that leaves are found by their hashes.
func (r *run) found(ctx context.Context, start int64, hashes []tlog.Hash) error {
	at, err := r.Store.Find(ctx, r.Tree.ID, hashes)
	if err != nil {
		return fmt.Errorf("finding leaves from %d by hash: %w", start, err)
	}
	for i, h := range hashes {
		index := start + int64(i)
		if got, ok := at[h]; !ok {
			return damage("leaf %d cannot be found by its hash %v", index, h)
		} else if got != index {
			return damage("leaves %d and %d have the same hash %v", min(got, index), max(got, index), h)
		}
	}
	return nil
}

// tiles checks those of the tiles that are full.
func (r *run) tiles(ctx context.Context, tiles []tlog.Tile) error {
	full := slices.DeleteFunc(tiles, func(t tlog.Tile) bool { return len(t.Hashes) < tlog.TileWidth })
	return r.compare(ctx, full)
}

// edgeTiles checks the partial tiles.
func (r *run) edgeTiles(ctx context.Context) error {
	var partial []tlog.Tile
	for _, id := range tlog.EdgeTiles(r.edge.Size()) {
		partial = append(partial, tlog.Tile{Level: id.Level, Index: id.Index, Hashes: r.edge.Tile(id).Hashes()})
	}
	return r.compare(ctx, partial)
}

// compare holds stored tiles against those that follow from the leaves.
func (r *run) compare(ctx context.Context, tiles []tlog.Tile) error {
	for _, want := range tiles {
		got, err := r.Store.Tiles(ctx, r.Tree.ID, []tlog.TileID{want.ID()})
		if errors.Is(err, storage.ErrNotFound) {
			return damage("%v is missing", want.ID())
		}
		if err != nil {
			return fmt.Errorf("reading %v: %w", want.ID(), err)
		}
		for i, h := range want.Hashes {
			if got[0][i] != h {
				return damage("%v: hash %d is %v, but the leaves give %v", want.ID(), i, got[0][i], h)
			}
		}
	}
	return nil
}

// checkRoot checks the head.
func (r *run) checkRoot(context.Context) error {
	if root := r.edge.Root(); root != r.head.Root {
		return damage("the head says root %v at size %d, but the leaves give %v", r.head.Root, r.head.Size, root)
	}
	if r.head.Size > 0 && r.time != r.head.Time {
		return damage("the head says that the last leaf is of time %d, but it is of %d", r.head.Time, r.time)
	}
	return nil
}

// checkpoint checks the stored checkpoint.
func (r *run) checkpoint(ctx context.Context) error {
	signed, err := r.Store.Checkpoint(ctx, r.Tree.ID)
	if err != nil {
		return fmt.Errorf("reading the checkpoint: %w", err)
	}
	if len(signed) == 0 {
		return nil
	}
	c, err := tlog.OpenCheckpoint(signed, r.Tree.Origin, r.Verifier)
	if err != nil {
		return damage("the stored checkpoint: %v", err)
	}
	r.report.Checkpoint = c.Size
	return r.extends(ctx, "the stored checkpoint", c.Head)
}

// mark checks the high-water mark.
func (r *run) mark(ctx context.Context) error {
	if r.Mark == nil {
		return nil
	}
	r.report.Mark = r.Mark.Size
	return r.extends(ctx, "the high-water mark", *r.Mark)
}

// extends checks that the tree extends a head that was signed. The tiles it reads
// have been checked. A checkpoint newer than the head that the check began with is
// no damage: the log has grown meanwhile.
func (r *run) extends(ctx context.Context, what string, old tlog.Head) error {
	if old.Size > r.head.Size {
		now, err := r.Store.Head(ctx, r.Tree.ID)
		if err != nil {
			return fmt.Errorf("reading the head: %w", err)
		}
		if old.Size > now.Size {
			return damage("%s is of size %d, but the tree has only %d leaves: the database is an older copy", what, old.Size, now.Size)
		}
		return nil
	}
	root, err := tlog.RootAt(ctx, storedTiles{r.Store, r.Tree.ID}, old.Size, r.head.Size)
	if err != nil {
		return fmt.Errorf("computing the root at size %d: %w", old.Size, err)
	}
	if root != old.Root {
		return damage("%s says root %v at size %d, but the leaves give %v", what, old.Root, old.Size, root)
	}
	return nil
}

// progress tells how far the check has come, about once a second.
func (r *run) progress() {
	if now := r.Now(); r.Progress != nil && (now.Sub(r.said) >= time.Second || r.edge.Size() == r.head.Size) {
		r.said = now
		r.Progress(r.edge.Size(), r.head.Size)
	}
}

// storedTiles reads tiles without keeping them.
type storedTiles struct {
	store storage.Store
	tree  int64
}

func (t storedTiles) ReadTiles(ctx context.Context, ids []tlog.TileID) ([]*tlog.Subtrees, error) {
	got, err := t.store.Tiles(ctx, t.tree, ids)
	if err != nil {
		return nil, err
	}
	out := make([]*tlog.Subtrees, len(got))
	for i, hashes := range got {
		out[i] = tlog.NewSubtrees(hashes)
	}
	return out, nil
}
