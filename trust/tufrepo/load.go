package tufrepo

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// load reads the repository and checks what it uses of it: the roots lead to each other; the
// newest targets, snapshot and timestamp are those with the highest version that the root's keys
// signed. Whether anything has expired does not matter yet.
func (c *change) load() error {
	if err := c.loadRoots(); err != nil {
		return err
	}
	there, err := versions(c.repository.Dir)
	if err != nil {
		return err
	}
	c.highest = map[string]int64{}
	for role, list := range there {
		c.highest[role] = list[0]
	}
	if c.targets, err = newest(c, metadata.TARGETS, there, metadata.Targets()); err != nil {
		return err
	}
	if c.targets == nil {
		return fmt.Errorf("%s holds no targets that its root's keys signed", c.repository.Dir)
	}
	if c.snapshot, err = newest(c, metadata.SNAPSHOT, there, metadata.Snapshot()); err != nil {
		return err
	}
	return c.loadTimestamp()
}

// loadRoots follows the roots from the first on, as clients do.
func (c *change) loadRoots() error {
	var trusted *trustedmetadata.TrustedMetadata
	for n := 1; ; n++ {
		data, err := readFile(c.repository.Dir, fmt.Sprintf("%d.root.json", n), maxMetadata)
		if errors.Is(err, fs.ErrNotExist) && n > 1 {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the repository: %w", err)
		}
		if n > maxRoots {
			return fmt.Errorf("%s has more than %d roots", c.repository.Dir, maxRoots)
		}
		if n == 1 {
			c.first = data
			trusted, err = trustedmetadata.New(data)
		} else {
			c.later = append(c.later, data)
			_, err = trusted.UpdateRoot(data)
		}
		if err != nil {
			return fmt.Errorf("%d.root.json: %w", n, err)
		}
		c.signed = map[string][]byte{metadata.ROOT: data}
	}
	c.root = trusted.Root
	return checkRoot(c.root)
}

// checkRoot refuses roots of repositories that this package does not make.
func checkRoot(root *metadata.Metadata[metadata.RootType]) error {
	if !root.Signed.ConsistentSnapshot {
		return errors.New("the root has no consistent snapshots, as other programs' repositories may; this one cannot refresh it")
	}
	for _, role := range Roles() {
		if root.Signed.Roles[role] == nil {
			return fmt.Errorf("the root has no role %s", role)
		}
	}
	return nil
}

// loadTimestamp reads timestamp.json. Its version counts even if other keys signed it, as after a
// rotation that broke off; the rest does not.
func (c *change) loadTimestamp() error {
	data, err := readFile(c.repository.Dir, "timestamp.json", maxMetadata)
	if err != nil {
		return fmt.Errorf("reading the repository: %w", err)
	}
	t, err := metadata.Timestamp().FromBytes(data)
	if err != nil {
		return fmt.Errorf("timestamp.json: %w", err)
	}
	c.highest[metadata.TIMESTAMP] = t.Signed.Version
	if c.root.VerifyDelegate(metadata.TIMESTAMP, t) == nil {
		c.timestamp, c.signed[metadata.TIMESTAMP] = t, data
	}
	return nil
}

// newest returns the role's metadata of the highest version that the root's keys signed; nil if
// there is none.
func newest[T metadata.Roles](c *change, role string, there map[string][]int64, empty *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	for _, n := range there[role] {
		data, err := readFile(c.repository.Dir, fmt.Sprintf("%d.%s.json", n, role), maxMetadata)
		if err != nil {
			return nil, fmt.Errorf("reading the repository: %w", err)
		}
		m, err := empty.FromBytes(data)
		if err != nil {
			return nil, fmt.Errorf("%d.%s.json: %w", n, role, err)
		}
		if c.root.VerifyDelegate(role, m) == nil && version(m) == n {
			c.signed[role] = data
			return m, nil
		}
	}
	return nil, nil
}

func version[T metadata.Roles](m *metadata.Metadata[T]) int64 {
	switch s := any(&m.Signed).(type) {
	case *metadata.TargetsType:
		return s.Version
	case *metadata.SnapshotType:
		return s.Version
	}
	return 0
}
