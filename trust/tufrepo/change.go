package tufrepo

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// change is a repository as it is, and as it is going to be.
type change struct {
	repository Repository
	keys       keyring
	made       []string // key files made by this change

	first     []byte   // 1.root.json
	later     [][]byte // the roots after it, the new one included
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]

	highest map[string]int64  // of each role, the highest version that there is a file of
	signed  map[string][]byte // by role: what is current, as it is written
	due     map[string]bool
	// pending are the files to write: those that no client sees before timestamp.json, then
	// the root, then timestamp.json.
	pending []file
	newRoot bool
	written []string
}

// file is one to write.
type file struct {
	path    string // below the folder, with slashes
	content []byte
	// replace allows another content to be there: of files whose name says it (which then are
	// damaged), and of those that change. Numbered metadata never is.
	replace bool
}

// finish makes snapshot and timestamp follow, and checks the whole as a client would see it.
func (c *change) finish() error {
	if err := c.renewSnapshot(); err != nil {
		return err
	}
	if err := c.renewTimestamp(); err != nil {
		return err
	}
	return c.verify()
}

// verify goes through the whole as a client does that knows nothing but the first root.
func (c *change) verify() error {
	trusted, err := trustedmetadata.New(c.first)
	if err != nil {
		return fmt.Errorf("the first root: %w", err)
	}
	trusted.RefTime = c.repository.Now
	for _, data := range c.later {
		if _, err := trusted.UpdateRoot(data); err != nil {
			return fmt.Errorf("the new root: %w", err)
		}
	}
	if _, err := trusted.UpdateTimestamp(c.signed[metadata.TIMESTAMP]); err != nil {
		return fmt.Errorf("clients would refuse the repository: %w", err)
	}
	if _, err := trusted.UpdateSnapshot(c.signed[metadata.SNAPSHOT], false); err != nil {
		return fmt.Errorf("clients would refuse the repository: %w", err)
	}
	if _, err := trusted.UpdateTargets(c.signed[metadata.TARGETS]); err != nil {
		return fmt.Errorf("clients would refuse the repository: %w", err)
	}
	return c.verifyFiles()
}

// verifyFiles checks that every target is there or about to be.
func (c *change) verifyFiles() error {
	for name, info := range c.targets.Signed.Targets {
		hash := hex.EncodeToString(info.Hashes["sha256"])
		path := targetsDir + "/" + hash + "." + name
		if slices.ContainsFunc(c.pending, func(f file) bool { return f.path == path }) {
			continue
		}
		content, err := readFile(c.repository.Dir, filepath.FromSlash(path), maxTarget)
		if err != nil {
			return fmt.Errorf("target %s: %w", name, err)
		}
		if err := info.VerifyLengthHashes(content); err != nil {
			return fmt.Errorf("%s is damaged: %w", path, err)
		}
	}
	return nil
}

func (c *change) state() *State {
	s := &State{Written: c.written, Keys: c.made}
	for role, x := range map[string]struct {
		version int64
		expires time.Time
	}{
		metadata.ROOT:      {c.root.Signed.Version, c.root.Signed.Expires},
		metadata.TARGETS:   {c.targets.Signed.Version, c.targets.Signed.Expires},
		metadata.SNAPSHOT:  {c.snapshot.Signed.Version, c.snapshot.Signed.Expires},
		metadata.TIMESTAMP: {c.timestamp.Signed.Version, c.timestamp.Signed.Expires},
	} {
		s.Roles = append(s.Roles, RoleState{role, x.version, x.expires, c.due[role]})
	}
	slices.SortFunc(s.Roles, func(a, b RoleState) int {
		return slices.Index(Roles(), a.Role) - slices.Index(Roles(), b.Role)
	})
	return s
}
