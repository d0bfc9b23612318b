// Package tufrepo makes and refreshes a TUF repository: files that clients fetch, and
// believe as long as the keys named in a root that they got beforehand have signed
// for them (The Update Framework, version 1.0).
//
// The repository is a folder, to be served by any web server or copied to a mirror:
//
//	N.root.json, root.json     the roots, from 1 on; the newest again under the bare name
//	N.targets.json             names and hashes of the files
//	N.snapshot.json            says which targets are current
//	timestamp.json             says which snapshot is current
//	targets/HASH.NAME          the files, by SHA-256 (consistent snapshots)
//
// There is one role for each of the four. Root and targets are signed seldom, and their
// keys belong offline; snapshot and timestamp are signed anew all the time. Keys are
// PEM files in a folder of their own; only those that are needed have to be there.
//
// Nothing that was published is changed: a new version is a new file, with the version
// after the highest one that is there, and timestamp.json, which makes it current, is
// replaced last.
package tufrepo

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/trust"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Roles are the four roles of a repository.
func Roles() []string {
	return []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}
}

// Limits of a repository that is read.
const (
	maxMetadata = 1 << 20  // bytes of a metadata file
	maxTarget   = 16 << 20 // bytes of a target
	maxRoots    = 256      // roots that a client follows from the one that it has
	maxKeyFiles = 64
	maxKeyFile  = 64 << 10 // bytes of a key file
)

// Lifetimes say how long what a role signs is valid. Clients refuse a repository
// of which anything has expired.
type Lifetimes struct{ Root, Targets, Snapshot, Timestamp time.Duration }

func (l Lifetimes) of(role string) time.Duration {
	return map[string]time.Duration{
		metadata.ROOT: l.Root, metadata.TARGETS: l.Targets, metadata.SNAPSHOT: l.Snapshot, metadata.TIMESTAMP: l.Timestamp,
	}[role]
}

// Repository is a repository and the keys to it. One program at a time may change it.
type Repository struct {
	Dir  string // what clients fetch
	Keys string // PEM files NAME.key; outside of Dir
	// Lifetimes are those of what is signed; all more than zero.
	Lifetimes Lifetimes
	// Now is the moment at which it is signed.
	Now time.Time
}

// State is what a repository says after a call.
type State struct {
	Roles []RoleState // in the order of Roles
	// Written are the files that the call made or replaced, by their paths in the folder,
	// with slashes, in the order in which it did.
	Written []string
	// Keys are the files of the keys that the call made.
	Keys []string
}

// RoleState is what a role signed last.
type RoleState struct {
	Role    string
	Version int64
	Expires time.Time
	// Due says that it should be signed again, but that its keys are not at hand.
	Due bool
}

// Init makes the repository, in a folder that does not exist or is empty: all of it, or
// nothing. (If the program is killed while it writes into a folder that was there, a part
// stays, without timestamp.json.) Keys that are not there are made: one a role (ECDSA P-256, mode
// 0600), ROLE.key, and threshold root keys, of which all sign and that many have to. They
// are made when the folder was found fit to write to.
func (r Repository) Init(targets []trust.Target, threshold int) (_ *State, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if threshold < 1 || threshold > maxKeyFiles/2 {
		return nil, fmt.Errorf("a threshold of %d root keys is not between 1 and %d", threshold, maxKeyFiles/2)
	}
	if _, err := describe(targets); err != nil {
		return nil, err
	}
	to, err := newPlace(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("making the repository: %w", err)
	}
	defer func() { err = errors.Join(err, to.discard()) }()
	c := &change{repository: r}
	if err := c.openKeys(); err != nil {
		return nil, err
	}
	root := metadata.Root(r.expiry(metadata.ROOT))
	for _, role := range Roles() {
		n := 1
		if role == metadata.ROOT {
			n = threshold
		}
		keys, err := c.initialKeys(role, n)
		if err != nil {
			return nil, err
		}
		if err := assign(root, role, keys); err != nil {
			return nil, err
		}
	}
	if err := c.signRoot(root, nil); err != nil {
		return nil, err
	}
	if err := c.newTargets(targets); err != nil {
		return nil, err
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	if err := c.publishWhole(to); err != nil {
		return nil, err
	}
	return c.state(), nil
}

// Change is what Refresh is to do besides.
type Change struct {
	// Targets are what the repository is to hold from now on; nil leaves it as it is.
	Targets []trust.Target
	// Rotate are roles that get new keys, and whose old ones clients no longer accept. The
	// new root is signed with the old root keys, too, which have to be at hand.
	Rotate []string
}

// Refresh brings the repository up to date: it makes the change, signs again what has used
// up half of its lifetime (if the role's keys are at hand; State.Due tells of others), and
// finishes what an earlier call that broke off had begun. If there is nothing to do it
// writes nothing.
//
// Before anything is made current, all of it is checked as clients do: a repository that
// they would refuse, because its root has expired, say, is an error.
func (r Repository) Refresh(do Change) (_ *State, err error) {
	// go-tuf panics over metadata in which something is null.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s holds damaged metadata: %v", r.Dir, p)
		}
	}()
	if err := r.check(); err != nil {
		return nil, err
	}
	c := &change{repository: r}
	if err := c.openKeys(); err != nil {
		return nil, err
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	if err := c.renewRoot(do.Rotate); err != nil {
		return nil, err
	}
	if err := c.renewTargets(do.Targets); err != nil {
		return nil, err
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	if err := c.publish(); err != nil {
		return nil, err
	}
	return c.state(), nil
}

func (r Repository) check() error {
	for _, role := range Roles() {
		if r.Lifetimes.of(role) <= 0 {
			return fmt.Errorf("the lifetime of %s is not more than zero", role)
		}
	}
	if r.Dir == "" || r.Keys == "" {
		return errors.New("the repository or the keys have no folder")
	}
	return checkApart(r.Dir, r.Keys)
}

// newExpiry returns the expiry of a role's new version, in place of one with this expiry. A new
// version that would end before the old one is refused: most likely the clock went back, and clients would
// stop earlier than if nothing had been done. (A shorter lifetime comes into force when the old version is
// due anyway.)
func (r Repository) newExpiry(role string, replaced time.Time) (time.Time, error) {
	expires := r.expiry(role)
	if expires.Before(replaced) {
		return expires, fmt.Errorf("%s signed now would expire at %s, before the version that it replaces (%s): the clock was set back, which says %s, or it is to be valid for fewer days than before; "+
			"set the clock right, or give the days that were given before",
			role, expires.Format(time.RFC3339), replaced.UTC().Format(time.RFC3339), r.Now.UTC().Format(time.RFC3339))
	}
	return expires, nil
}

// expiry returns until when something that is signed now is valid. TUF has whole seconds.
func (r Repository) expiry(role string) time.Time {
	return r.Now.Add(r.Lifetimes.of(role)).UTC().Truncate(time.Second)
}

// due reports whether something that is valid until then should be signed again.
func (r Repository) due(role string, expires time.Time) bool {
	return expires.Sub(r.Now) < r.Lifetimes.of(role)/2
}

// checkRoles refuses names that are no roles.
func checkRoles(names []string) error {
	for _, n := range names {
		if !slices.Contains(Roles(), n) {
			return fmt.Errorf("there is no role %q; there are %q", n, Roles())
		}
	}
	return nil
}
