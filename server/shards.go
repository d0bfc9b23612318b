package server

import (
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// shard is one tree of the log with what never changes about it.
type shard struct {
	log   Log
	tree  int64
	base  int64  // global index of its first entry
	logID string // SHA-256 of the log key, hexadecimal
	key   string // the log key, PEM
	place int    // in the list of shards
}

// entryID appends the entry ID of a leaf: tree ID and leaf hash, hexadecimal.
func (s *shard) entryID(b []byte, hash tlog.Hash) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[s.tree>>shift&15])
	}
	for _, c := range hash {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// shards are the trees of the log, oldest first; the last one is active. Global
// indexes count through them in this order.
type shards []*shard

// newShards checks that the trees form one log.
func newShards(logs []Log) (shards, error) {
	if len(logs) == 0 {
		return nil, errors.New("no tree to serve")
	}
	var all shards
	for i, l := range logs {
		t := l.Tree()
		if err := all.fits(t); err != nil {
			return nil, err
		}
		all = append(all, &shard{
			log: l, tree: t.ID, base: t.BaseIndex, place: i,
			logID: tlog.LogID(t.PublicKey).String(),
			key:   string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: t.PublicKey})),
		})
	}
	return all, nil
}

// fits checks that a tree can follow the ones before it.
func (all shards) fits(t storage.Tree) error {
	if t.ID <= 0 {
		return fmt.Errorf("tree ID %d is not positive", t.ID)
	}
	if all.byTree(t.ID) != nil {
		return fmt.Errorf("tree %d is listed twice", t.ID)
	}
	if len(all) > 0 && t.BaseIndex < all.active().base {
		return fmt.Errorf("tree %d begins at index %d, before the older tree %d at %d",
			t.ID, t.BaseIndex, all.active().tree, all.active().base)
	}
	return nil
}

func (all shards) active() *shard { return all[len(all)-1] }

// byTree returns the shard with a tree ID; nil if there is none.
func (all shards) byTree(id int64) *shard {
	for _, s := range all {
		if s.tree == id {
			return s
		}
	}
	return nil
}

// parameter returns the shard that the query parameter treeID (decimal digits)
// names: the active one if it is empty, nil if there is none.
func (all shards) parameter(treeID string) *shard {
	if treeID == "" {
		return all.active()
	}
	id, err := strconv.ParseInt(treeID, 10, 64)
	if err != nil {
		return nil
	}
	return all.byTree(id)
}

// resolve returns the shard that holds a global index, or would, and the index
// within it; nil if it is before the first shard.
func (all shards) resolve(global int64) (*shard, int64) {
	for i := len(all) - 1; i >= 0; i-- {
		if s := all[i]; global >= s.base {
			return s, global - s.base
		}
	}
	return nil, 0
}

// entryRef is an entry ID as a client gives it.
type entryRef struct {
	tree int64 // 0 if the ID is a leaf hash only
	hash tlog.Hash
}

// parseEntryID reads an entry ID of 64 or 80 hexadecimal digits. Any other form is
// the fault of our validation.
func parseEntryID(id string) (entryRef, error) {
	var ref entryRef
	if len(id) == 80 {
		tree, err := strconv.ParseInt(id[:16], 16, 64)
		if err != nil || tree == 0 {
			return ref, refuse(400, "invalid entryID %s: %s is not a valid tree ID", id, id[:16])
		}
		ref.tree, id = tree, id[16:]
	}
	var err error
	if ref.hash, err = tlog.ParseHash(id); err != nil {
		return ref, refuse(400, "invalid uuid: %v", err)
	}
	return ref, nil
}
