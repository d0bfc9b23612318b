package tufrepo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/trust"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// renewTargets makes new targets if they changed, are due, or are signed with keys that the new
// root does not have.
func (c *change) renewTargets(files []trust.Target) error {
	if files != nil {
		infos, err := describe(files)
		if err != nil {
			return err
		}
		if !sameTargets(infos, c.targets.Signed.Targets) {
			return c.newTargets(files)
		}
	}
	rotated := c.root.VerifyDelegate(metadata.TARGETS, c.targets) != nil
	if !rotated && !c.repository.due(metadata.TARGETS, c.targets.Signed.Expires) {
		return nil
	}
	if !rotated && !c.canSign(c.root, metadata.TARGETS) {
		c.setDue(metadata.TARGETS)
		return nil
	}
	return c.signTargets(c.targets.Signed.Targets)
}

// newTargets signs for files, and puts them in.
func (c *change) newTargets(files []trust.Target) error {
	infos, err := describe(files)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := hex.EncodeToString(infos[f.Name].Hashes["sha256"]) + "." + f.Name
		c.pending = append(c.pending, file{targetsDir + "/" + name, f.Content, true})
	}
	return c.signTargets(infos)
}

func (c *change) signTargets(infos map[string]*metadata.TargetFiles) error {
	var replaced time.Time
	if c.targets != nil {
		replaced = c.targets.Signed.Expires
	}
	version, expires, err := c.next(metadata.TARGETS, replaced)
	if err != nil {
		return err
	}
	t := metadata.Targets(expires)
	t.Signed.Targets = infos
	t.Signed.Version = version
	if err := signRole(c, metadata.TARGETS, t); err != nil {
		return err
	}
	c.targets = t
	c.pending = append(c.pending, file{fmt.Sprintf("%d.targets.json", t.Signed.Version), c.signed[metadata.TARGETS], false})
	return nil
}

// describe says of files what targets metadata does.
func describe(files []trust.Target) (map[string]*metadata.TargetFiles, error) {
	if len(files) == 0 {
		return nil, errors.New("a repository without files is of no use")
	}
	infos := map[string]*metadata.TargetFiles{}
	for _, f := range files {
		switch {
		case f.Name == "" || f.Name[0] == '.' || strings.ContainsAny(f.Name, `/\`) || len(f.Name) > 128:
			return nil, fmt.Errorf("%q cannot be the name of a target", f.Name)
		case infos[f.Name] != nil:
			return nil, fmt.Errorf("two targets are named %s", f.Name)
		case len(f.Content) > maxTarget:
			return nil, fmt.Errorf("target %s has more than %d bytes", f.Name, maxTarget)
		}
		sum := sha256.Sum256(f.Content)
		info := metadata.TargetFile()
		info.Path, info.Length = f.Name, int64(len(f.Content))
		// One hash only: clients take any of those given to ask for the file.
		info.Hashes = metadata.Hashes{"sha256": sum[:]}
		if f.Custom != nil {
			custom := slices.Clone(f.Custom)
			info.Custom = &custom
		}
		infos[f.Name] = info
	}
	return infos, nil
}

func sameTargets(a, b map[string]*metadata.TargetFiles) bool {
	return maps.EqualFunc(a, b, func(x, y *metadata.TargetFiles) bool {
		return x.Length == y.Length && bytes.Equal(x.Hashes["sha256"], y.Hashes["sha256"]) && sameJSON(x.Custom, y.Custom)
	})
}

const (
	targetsFile  = metadata.TARGETS + ".json"
	snapshotFile = metadata.SNAPSHOT + ".json"
)

func (c *change) renewSnapshot() error {
	current := c.snapshot != nil && c.snapshot.Signed.Meta[targetsFile] != nil &&
		c.snapshot.Signed.Meta[targetsFile].Version == c.targets.Signed.Version &&
		c.root.VerifyDelegate(metadata.SNAPSHOT, c.snapshot) == nil
	if current && !c.repository.due(metadata.SNAPSHOT, c.snapshot.Signed.Expires) {
		return nil
	}
	if current && !c.canSign(c.root, metadata.SNAPSHOT) {
		c.setDue(metadata.SNAPSHOT)
		return nil
	}
	var replaced time.Time
	if c.snapshot != nil {
		replaced = c.snapshot.Signed.Expires
	}
	version, expires, err := c.next(metadata.SNAPSHOT, replaced)
	if err != nil {
		return err
	}
	s := metadata.Snapshot(expires)
	s.Signed.Meta[targetsFile] = metadata.MetaFile(c.targets.Signed.Version)
	s.Signed.Version = version
	if err := signRole(c, metadata.SNAPSHOT, s); err != nil {
		return err
	}
	c.snapshot = s
	c.pending = append(c.pending, file{fmt.Sprintf("%d.snapshot.json", s.Signed.Version), c.signed[metadata.SNAPSHOT], false})
	return nil
}

func (c *change) renewTimestamp() error {
	current := c.timestamp != nil && c.timestamp.Signed.Meta[snapshotFile] != nil &&
		c.timestamp.Signed.Meta[snapshotFile].Version == c.snapshot.Signed.Version &&
		c.root.VerifyDelegate(metadata.TIMESTAMP, c.timestamp) == nil
	if current && !c.repository.due(metadata.TIMESTAMP, c.timestamp.Signed.Expires) {
		return nil
	}
	if current && !c.canSign(c.root, metadata.TIMESTAMP) {
		c.setDue(metadata.TIMESTAMP)
		return nil
	}
	var replaced time.Time
	if c.timestamp != nil {
		replaced = c.timestamp.Signed.Expires
	}
	version, expires, err := c.next(metadata.TIMESTAMP, replaced)
	if err != nil {
		return err
	}
	t := metadata.Timestamp(expires)
	t.Signed.Meta[snapshotFile] = metadata.MetaFile(c.snapshot.Signed.Version)
	t.Signed.Version = version
	if err := signRole(c, metadata.TIMESTAMP, t); err != nil {
		return err
	}
	c.timestamp = t
	return nil
}

// next returns version and expiry of what a role signs now, in place of something with that expiry.
func (c *change) next(role string, replaced time.Time) (version int64, expires time.Time, err error) {
	if c.highest[role] >= maxVersion {
		return 0, expires, fmt.Errorf("after version %d of %s there is none", c.highest[role], role)
	}
	expires, err = c.repository.newExpiry(role, replaced)
	return c.highest[role] + 1, expires, err
}

// signRole signs with all keys of a role that are at hand.
func signRole[T metadata.Roles](c *change, role string, m *metadata.Metadata[T]) error {
	if !c.canSign(c.root, role) {
		return fmt.Errorf("%s has to be signed, and %d of its keys have to be in %s, but are not", role, c.root.Signed.Roles[role].Threshold, c.repository.Keys)
	}
	data, err := sign(c, m, c.root.Signed.Roles[role].KeyIDs)
	if err != nil {
		return err
	}
	c.signed[role] = data
	return nil
}

// sign signs with those of the keys that are at hand, and returns the whole as it is written.
func sign[T metadata.Roles](c *change, m *metadata.Metadata[T], ids []string) ([]byte, error) {
	m.ClearSignatures()
	for _, id := range ids {
		if k := c.keys[id]; k != nil {
			if _, err := m.Sign(k.signer); err != nil {
				return nil, fmt.Errorf("signing with %s: %w", k.path, err)
			}
		}
	}
	data, err := m.ToBytes(true)
	if err != nil {
		return nil, fmt.Errorf("writing metadata: %w", err)
	}
	return append(data, '\n'), nil
}

// canSign reports whether as many keys of a role are at hand as it needs.
func (c *change) canSign(root *metadata.Metadata[metadata.RootType], role string) bool {
	n := 0
	for _, id := range root.Signed.Roles[role].KeyIDs {
		if c.keys[id] != nil {
			n++
		}
	}
	return n >= root.Signed.Roles[role].Threshold
}

func (c *change) setDue(role string) {
	if c.due == nil {
		c.due = map[string]bool{}
	}
	c.due[role] = true
}
