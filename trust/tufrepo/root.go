package tufrepo

import (
	"fmt"
	"slices"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// renewRoot makes a new root if keys are to be rotated or the root is due.
func (c *change) renewRoot(rotate []string) error {
	if err := checkRoles(rotate); err != nil {
		return err
	}
	due := c.repository.due(metadata.ROOT, c.root.Signed.Expires)
	if !due && len(rotate) == 0 {
		return nil
	}
	if !c.canSign(c.root, metadata.ROOT) {
		if len(rotate) > 0 {
			return fmt.Errorf("keys are rotated by a new root, and its keys are not in %s", c.repository.Keys)
		}
		c.setDue(metadata.ROOT)
		return nil
	}
	old := c.root
	root, err := metadata.Root().FromBytes(c.signed[metadata.ROOT]) // a copy
	if err != nil {
		return err
	}
	root.Signed.Version++
	if root.Signed.Expires, err = c.repository.newExpiry(metadata.ROOT, old.Signed.Expires); err != nil {
		return err
	}
	for _, role := range rotate {
		var keys []*key
		for range old.Signed.Roles[role].Threshold {
			k, err := c.generate(role)
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
		if err := assign(root, role, keys); err != nil {
			return err
		}
	}
	return c.signRoot(root, old)
}

// assign makes keys the only ones of a role. The threshold is their number.
func assign(root *metadata.Metadata[metadata.RootType], role string, keys []*key) error {
	for _, id := range slices.Clone(root.Signed.Roles[role].KeyIDs) {
		if err := root.Signed.RevokeKey(id, role); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if err := root.Signed.AddKey(k.public, role); err != nil {
			return err
		}
	}
	root.Signed.Roles[role].Threshold = len(keys)
	return nil
}

// signRoot signs a root with its own root keys, and with those of the old one, unless that is
// nil, and makes it the newest.
func (c *change) signRoot(root, old *metadata.Metadata[metadata.RootType]) error {
	ids := slices.Clone(root.Signed.Roles[metadata.ROOT].KeyIDs)
	if old != nil {
		for _, id := range old.Signed.Roles[metadata.ROOT].KeyIDs {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	data, err := sign(c, root, ids)
	if err != nil {
		return err
	}
	if old == nil {
		c.first = data
		c.signed = map[string][]byte{}
		c.highest = map[string]int64{}
	} else {
		c.later = append(c.later, data)
	}
	c.root, c.newRoot = root, true
	c.signed[metadata.ROOT] = data
	return nil
}
