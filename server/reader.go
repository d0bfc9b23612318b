package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

const (
	// entryCost is what an entry takes besides its body and attestation: hashes of
	// the proof, signature, structures; and the room made before an entry is read.
	entryCost = 4 << 10
	// smallAnswer is the most bytes of one answer in the reserve for small ones: ten
	// usual entries without attestations.
	smallAnswer = 64 << 10
	// maxAttestations is the most bytes of attestations in an answer with several
	// entries. The first attestation is always in it.
	maxAttestations = 2 << 20
)

// reader reads entries for one request, each tree at one view. What it has read is
// charged to the budget of answers until close.
type reader struct {
	s     *Server
	held  *account
	views map[*shard]*tlog.View
}

func (s *Server) reader() *reader { return &reader{s: s, held: s.answers.account()} }

// close gives the memory back. Nothing may refer to what was read any more.
func (rd *reader) close() { rd.held.close() }

// view returns the shard's view; nil if the log has stopped signing and has no
// checkpoint that it vouches for.
func (rd *reader) view(ctx context.Context, sh *shard) (*tlog.View, error) {
	if v, ok := rd.views[sh]; ok {
		return v, nil
	}
	v, err := sh.log.View(ctx)
	if err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrHalted) {
		return nil, fmt.Errorf("getting the checkpoint: %w", err)
	}
	if rd.views == nil {
		rd.views = map[*shard]*tlog.View{}
	}
	rd.views[sh] = v
	return v, nil
}

// entry returns the entry at an index of a shard, without its attestation, and
// proven as far as it can be; errNoEntry if there is none.
func (rd *reader) entry(ctx context.Context, sh *shard, index int64) (*proven, error) {
	view, err := rd.view(ctx, sh) // before the leaf, so that it is not older
	if err != nil {
		return nil, err
	}
	leaf, err := rd.leaf(ctx, sh, index)
	if err != nil {
		return nil, err
	}
	// The hash is that of the body, whatever is stored as such.
	e := &proven{
		shard: sh, hash: tlog.LeafHash(leaf.Body), body: leaf.Body,
		time: leaf.Time, index: index, digest: leaf.Attestation,
	}
	if leaf.Hash != e.hash || leaf.Index != index {
		return nil, rd.s.damaged(ctx, e, fmt.Errorf("stored are index %d and leaf hash %v", leaf.Index, leaf.Hash))
	}
	if (view == nil || index >= view.Size) && sh.log.Halted() == nil {
		// It was committed after the view was taken; a new one covers it, unless this
		// server cannot sign.
		delete(rd.views, sh)
		if view, err = rd.view(ctx, sh); err != nil {
			return nil, err
		}
	}
	if view == nil || index >= view.Size {
		return e, rd.s.uncovered(e)
	}
	e.view = view
	if err := rd.s.prove(ctx, e); err != nil && !errors.Is(err, storage.ErrHalted) {
		return nil, err
	}
	return e, nil
}

// leaf reads one leaf; errNoEntry if there is none. How large it is shows only
// then; the connections to the database bound how much is read at once.
func (rd *reader) leaf(ctx context.Context, sh *shard, index int64) (storage.Leaf, error) {
	return fetch(ctx, rd.held, entryCost, func() (storage.Leaf, int64, error) {
		leaves, err := sh.log.Leaves(ctx, index, 1)
		if err != nil {
			return storage.Leaf{}, 0, fmt.Errorf("reading entry %d: %w", index, err)
		}
		if len(leaves) == 0 {
			return storage.Leaf{}, 0, errNoEntry
		}
		return leaves[0], entryCost + int64(len(leaves[0].Body)), nil
	})
}

// uncovered judges an entry that no checkpoint at hand covers. If the log has
// stopped signing it is answered without proof. Else its checkpoint is on its way,
// or this server's key is away while another server's acknowledged the entry: it is
// wrong to say that there is none.
func (s *Server) uncovered(e *proven) error {
	if e.shard.log.Halted() == nil {
		return fmt.Errorf("entry %d of tree %d: %w", e.index, e.shard.tree, errUncovered)
	}
	e.set, _ = s.sets.Get(e.setKey())
	return nil
}

// entries reads the entries at all places; those that are not there are left out. A
// place that comes again gives the same entry again, which is read and held once.
func (rd *reader) entries(ctx context.Context, places []place) ([]*proven, error) {
	var found []*proven
	read := make(map[place]*proven, len(places))
	for _, p := range places {
		if e := read[p]; e != nil {
			found = append(found, e)
			continue
		}
		e, err := rd.entry(ctx, p.shard, p.index)
		if errors.Is(err, errNoEntry) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, e)
		read[p] = e
	}
	return found, nil
}

// send answers with one entry and its attestation.
func (rd *reader) send(x *exchange, r *http.Request, e *proven) error {
	if err := rd.attest(r.Context(), e); err != nil {
		return err
	}
	rd.s.sendEntry(x, http.StatusOK, e)
	return nil
}

// attest adds the attestation of an entry that has one. One that is gone, or is not what
// it is stored as, is damage, and told to the operator, but no reason to refuse the
// entry, which does without.
func (rd *reader) attest(ctx context.Context, e *proven) error {
	if e.digest == (tlog.Hash{}) {
		return nil
	}
	data, err := fetch(ctx, rd.held, int64(rd.s.cfg.MaxAttestation), func() ([]byte, int64, error) {
		data, err := e.shard.log.Attestation(ctx, e.digest)
		if sum := sha256.Sum256(data); err == nil && sum != e.digest {
			err = fmt.Errorf("%w: the attestation has the SHA-256 %v", errDamaged, tlog.Hash(sum))
		}
		return data, int64(len(data)), err
	})
	switch {
	case errors.Is(err, errDamaged):
		rd.damagedAttestation(ctx, e, err)
		return nil
	case errors.Is(err, storage.ErrNotFound):
		rd.s.cfg.Logger.ErrorContext(ctx, "attestation is missing", "tree", e.shard.tree, "index", e.index, "digest", e.digest)
		return nil
	case err != nil:
		return fmt.Errorf("reading the attestation of entry %d: %w", e.index, err)
	}
	e.attestation, e.attested = data, true
	return nil
}

// damagedAttestation tells the operator of an attestation that nobody gets to see.
func (rd *reader) damagedAttestation(ctx context.Context, e *proven, reason error) {
	rd.s.metrics.damaged.Inc()
	rd.s.cfg.Logger.ErrorContext(ctx, "DAMAGE: a stored attestation is not that of its entry, and is not shown; run 'tallystick check'",
		"tree", e.shard.tree, "index", e.index, "digest", e.digest, "reason", reason.Error())
}

// attestAll adds attestations as long as they are within maxAttestations, and
// returns how many entries were left without theirs.
func (rd *reader) attestAll(ctx context.Context, found []*proven) (without int, err error) {
	total := 0
	for i, e := range found {
		if e.digest == (tlog.Hash{}) || slices.Contains(found[:i], e) {
			continue
		}
		if total > maxAttestations {
			without++
			continue
		}
		if err := rd.attest(ctx, e); err != nil {
			return 0, err
		}
		size := len(e.attestation)
		if total += size; total > maxAttestations && total > size {
			rd.held.give(min(int64(size), rd.held.held()))
			e.attestation, e.attested = nil, false
			without++
		}
	}
	return without, nil
}
