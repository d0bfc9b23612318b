package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"net"
	"os"
	"strings"
	"time"

	"github.com/tallystick/tallystick/keys"
	"github.com/tallystick/tallystick/sequencer"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
)

// identity brings together the three things that make a log this log: the tree in
// the database, the key, and the high-water mark. Either all fit and the log goes
// on, or nothing is there yet and the log is made, once. Anything else is refused,
// because going on could sign a second history.
type identity struct {
	store     storage.Store
	where     string // the storage, for messages
	record    func() (sequencer.Record, bool, error)
	markPath  string
	keyRef    string // --key; empty means the key file at keyPath
	keyPath   string
	password  func() ([]byte, error)
	host      string // names the log if it is made now
	guessed   bool   // host is a guess, which is good enough to go on but names no log
	publicURL string // --public-url; empty if not given
	now       func() time.Time
}

// logIdentity is what identity.open finds or makes.
type logIdentity struct {
	tree storage.Tree
	key  *keys.Key
	made bool // the log was made by this call
}

func (i *identity) open(ctx context.Context) (logIdentity, error) {
	tree, err := i.activeTree(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		return i.create(ctx)
	}
	if err != nil {
		return logIdentity{}, err
	}
	return i.resume(ctx, tree)
}

// activeTree returns the v1 tree that takes entries; ErrNotFound if there is no v1
// tree at all.
func (i *identity) activeTree(ctx context.Context) (storage.Tree, error) {
	trees, err := i.store.Trees(ctx)
	if err != nil {
		return storage.Tree{}, fmt.Errorf("reading the trees of the log in %s: %w", i.where, err)
	}
	seen := 0
	for _, t := range trees {
		if t.API != storage.APIv1 {
			continue
		}
		if t.State == storage.StateActive {
			return t, nil
		}
		seen++
	}
	if seen > 0 {
		return storage.Tree{}, fmt.Errorf("%s has %d v1 trees, and none of them is active", i.where, seen)
	}
	return storage.Tree{}, storage.ErrNotFound
}

// resume opens the key of a tree that is there, and checks that it is its key.
func (i *identity) resume(ctx context.Context, tree storage.Tree) (logIdentity, error) {
	if err := i.checkRecord(tree); err != nil {
		return logIdentity{}, err
	}
	if err := i.checkHost(tree); err != nil {
		return logIdentity{}, err
	}
	key, err := i.openKey(ctx)
	if errors.Is(err, keys.ErrNotFound) {
		return logIdentity{}, fmt.Errorf("the key of the log is gone: %s holds the log %q (log ID %s), but: %w\n"+
			"Put the key back, from a backup or from another server of this log, or name it with --key. "+
			"Without its key the log cannot go on. To begin a new log, use an empty database and an empty data directory",
			i.where, tree.Origin, tlog.LogID(tree.PublicKey), err)
	}
	if err != nil {
		return logIdentity{}, err
	}
	if err := i.checkKey(tree, key); err != nil {
		return logIdentity{}, err
	}
	return logIdentity{tree: tree, key: key}, nil
}

// checkKey says whether the key is the tree's.
func (i *identity) checkKey(tree storage.Tree, key *keys.Key) error {
	if bytes.Equal(tree.PublicKey, key.SPKI()) {
		return nil
	}
	return fmt.Errorf("the key does not fit the log: %s holds the log %q with log ID %s, but the key %s has log ID %s\n"+
		"Name the right key with --key, or the right database with --storage",
		i.where, tree.Origin, tlog.LogID(tree.PublicKey), i.keyName(), tlog.LogID(key.SPKI()))
}

// checkRecord says whether the high-water mark is one of this tree.
func (i *identity) checkRecord(tree storage.Tree) error {
	record, found, err := i.record()
	if err != nil {
		return err
	}
	if !found || record.Tree == tree.ID {
		return nil
	}
	return fmt.Errorf("the data directory is one of another log: %s was written for tree %d (at size %d), but %s holds the log %q\n"+
		"Name the data directory of this log with --data-dir (a new server of it begins with an empty one and a copy of the key), or the right database with --storage",
		i.markPath, record.Tree, record.Size, i.where, tree.Origin)
}

// checkHost refuses a --public-url with which clients would not accept the log: they
// want the name in its checkpoints to occur in the URL they use.
func (i *identity) checkHost(tree storage.Tree) error {
	if i.publicURL == "" {
		return nil
	}
	host, _, err := tlog.SplitOriginV1(tree.Origin)
	if err != nil {
		return fmt.Errorf("tree %d in %s: %w", tree.ID, i.where, err)
	}
	if host == i.host {
		return nil
	}
	return fmt.Errorf("--public-url %s has the host name %q, but the log was made with the name %q (origin %q)\n"+
		"The name is in every checkpoint that was signed and never changes. Use a URL with that host name, or leave --public-url out",
		i.publicURL, i.host, host, tree.Origin)
}

// create makes the log. The key is on stable storage before the tree is, so that
// there is never a tree without its key; a start that ended between the two leaves
// a key, which the next start uses.
func (i *identity) create(ctx context.Context) (logIdentity, error) {
	record, found, err := i.record()
	if err != nil {
		return logIdentity{}, err
	}
	if found {
		return logIdentity{}, fmt.Errorf("the log's database is gone: %s says that tree %d was signed up to size %d, but %s holds no log\n"+
			"Name the right database with --storage, or restore it. To begin a new log, use an empty data directory",
			i.markPath, record.Tree, record.Size, i.where)
	}
	if err := i.checkNewName(); err != nil {
		return logIdentity{}, err
	}
	key, generated, err := i.openOrGenerate(ctx)
	if err != nil {
		return logIdentity{}, err
	}
	tree, err := i.newTree(key)
	if err != nil {
		return logIdentity{}, err
	}
	err = i.store.CreateTree(ctx, tree)
	if errors.Is(err, storage.ErrExists) {
		return i.joinOther(ctx, key, generated)
	}
	if err != nil {
		return logIdentity{}, fmt.Errorf("making the log in %s: %w", i.where, err)
	}
	return logIdentity{tree, key, true}, nil
}

// checkNewName refuses a name that a log could not live with: it is never changed.
func (i *identity) checkNewName() error {
	if i.guessed {
		return usageError{fmt.Errorf("%s holds no log yet, and a new one has no name: --listen says no address to reach it by, and the name is in every checkpoint, for ever\n"+
			"Set --public-url to the URL by which clients will reach it, such as https://log.example.com (for this machine only: http://localhost:3000)", i.where)}
	}
	if err := checkHostName(i.host); err != nil {
		return usageError{fmt.Errorf("no log can be named %q: %w", i.host, err)}
	}
	return nil
}

// joinOther takes the log that another server made in the same moment. If that
// server has another key this one cannot take part; a key generated a moment ago,
// which never signed anything, is removed again.
func (i *identity) joinOther(ctx context.Context, key *keys.Key, generated bool) (logIdentity, error) {
	tree, err := i.activeTree(ctx)
	if err != nil {
		return logIdentity{}, err
	}
	if err := i.checkKey(tree, key); err != nil {
		if generated {
			err = errors.Join(err, os.Remove(i.keyPath), os.Remove(keys.PublicPath(i.keyPath)))
		}
		return logIdentity{}, fmt.Errorf("another server made the log in the same moment, with its own key; "+
			"copy that server's key to %s, or name it with --key, and start again: %w", i.keyPath, err)
	}
	if err := i.checkHost(tree); err != nil {
		return logIdentity{}, err
	}
	return logIdentity{tree: tree, key: key}, nil
}

func (i *identity) openOrGenerate(ctx context.Context) (key *keys.Key, generated bool, err error) {
	key, err = i.openKey(ctx)
	if i.keyRef != "" || !errors.Is(err, keys.ErrNotFound) {
		return key, false, err
	}
	key, err = keys.Generate(i.keyPath)
	if errors.Is(err, fs.ErrExist) { // made by another process since
		key, err = i.openKey(ctx)
		return key, false, err
	}
	return key, true, err
}

func (i *identity) openKey(ctx context.Context) (*keys.Key, error) {
	return keys.Open(ctx, i.keyName(), i.password)
}

func (i *identity) keyName() string {
	if i.keyRef != "" {
		return i.keyRef
	}
	return i.keyPath
}

func (i *identity) newTree(key *keys.Key) (storage.Tree, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(math.MaxInt64))
	if err != nil {
		return storage.Tree{}, fmt.Errorf("choosing a tree ID: %w", err)
	}
	id := n.Int64() + 1
	return storage.Tree{
		ID:        id,
		Origin:    tlog.OriginV1(i.host, id),
		API:       storage.APIv1,
		State:     storage.StateActive,
		PublicKey: key.SPKI(),
		Created:   i.now().Unix(),
	}, nil
}

// checkHostName says whether a host can name a log. A checkpoint is a signed note,
// and a name on one is not empty and has neither white space nor a plus sign (C2SP
// signed-note). Beyond that only printable ASCII is taken, so that the name is what
// clients find in the URL they use.
func checkHostName(host string) error {
	if host == "" {
		return errors.New("the host name is empty")
	}
	for _, r := range host {
		if r <= ' ' || r > '~' || strings.ContainsRune(`+"\<>`, r) {
			return fmt.Errorf("the host name %q has %q in it; write international names in their xn-- form", host, r)
		}
	}
	return nil
}

// hostOf returns the name that a log gets: the host of --public-url, else of the
// listen address. guessed is true if that address says nothing ("every interface"),
// so that the name can only be guessed.
func hostOf(publicURL, listen string) (host string, guessed bool, err error) {
	if publicURL != "" {
		u, err := parsePublicURL(publicURL)
		if err != nil {
			return "", false, err
		}
		return strings.ToLower(u.Hostname()), false, nil
	}
	host, _, err = net.SplitHostPort(listen)
	if err != nil {
		return "", false, fmt.Errorf("--listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "localhost", true, nil
	}
	return strings.ToLower(host), false, nil
}
