package search_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

// rig is a log of several trees in memory.
type rig struct {
	t      testing.TB
	store  *memory.Store
	parser *entry.Parser
	finder *search.Finder
	trees  []search.Tree // oldest first
	logs   map[int64]*tree
}

// tree is what is in one tree, to hold answers against.
type tree struct {
	writer *storagetest.Writer
	clock  int64
	leaves []storage.NewLeaf
}

// newRig makes trees with these IDs, oldest first; of all but the last, sizes says
// how many entries they are going to have.
func newRig(t testing.TB, ids []int64, sizes ...int64) *rig {
	t.Helper()
	parser, err := entry.New(entry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, store: memory.New(), parser: parser, logs: map[int64]*tree{}}
	base := int64(0)
	for i, id := range ids {
		state := storage.StateReadOnly
		if i == len(ids)-1 {
			state = storage.StateActive
		}
		if err := g.store.CreateTree(t.Context(), storage.Tree{ID: id, API: storage.APIv1, State: state, BaseIndex: base, PublicKey: []byte{1}}); err != nil {
			t.Fatal(err)
		}
		g.trees = append(g.trees, search.Tree{ID: id, Base: base})
		if i < len(sizes) {
			base += sizes[i]
		}
		l := &tree{writer: storagetest.NewWriter(g.store)}
		l.writer.Tree = id
		l.writer.BeforeBatch = func(b *storage.Batch) {
			b.New.Time = max(l.clock, b.Old.Time)
			for i := range b.Leaves {
				b.Leaves[i].Time = b.New.Time
			}
		}
		g.logs[id] = l
	}
	g.finder = search.New(g.store, parser, g.trees)
	return g
}

// add commits leaves to a tree at a time.
func (g *rig) add(id, time int64, leaves ...storage.NewLeaf) {
	g.t.Helper()
	l := g.logs[id]
	l.clock = time
	if err := l.writer.Commit(context.WithoutCancel(g.t.Context()), leaves...); err != nil {
		g.t.Fatal(err)
	}
	for _, leaf := range leaves {
		leaf.Index, leaf.Time = int64(len(l.leaves)), time
		l.leaves = append(l.leaves, leaf)
	}
}

// find asks and fails the test if that fails.
func (g *rig) find(q search.Query) *search.Page {
	g.t.Helper()
	page, err := g.finder.Find(g.t.Context(), q)
	if err != nil {
		g.t.Fatalf("%+v: %v", q, err)
	}
	return page
}

// all asks for all pages and returns the hits of all; between them, change is called.
func (g *rig) all(q search.Query, change func()) (hits []search.Hit, pages int) {
	g.t.Helper()
	for {
		page := g.find(q)
		hits = append(hits, page.Hits...)
		pages++
		if limit := max(q.Limit, 1); q.Limit > 0 && len(page.Hits) > limit {
			g.t.Errorf("%+v: page has %d hits", q, len(page.Hits))
		}
		if (page.Next == "") != (page.ScannedTo == nil) || page.Scanned > search.MaxScan {
			g.t.Errorf("%+v: next %q, scanned %d to %v", q, page.Next, page.Scanned, page.ScannedTo)
		}
		if page.Next == "" {
			return hits, pages
		}
		if q.Cursor = page.Next; change != nil {
			change()
		}
	}
}

// other returns a leaf of a kind, with a body of its own and keys.
func other(kind string, n int, keys ...tlog.Key) storage.NewLeaf {
	return storagetest.Leaf(fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"%s","spec":{"n":%d}}`, kind, n), keys...)
}

func identity(s string) tlog.Key { return tlog.Key{Type: tlog.KeyIdentity, Value: s} }
func issuer(s string) tlog.Key   { return tlog.Key{Type: tlog.KeyIssuer, Value: s} }
func digest(s string) tlog.Key   { return tlog.Key{Type: tlog.KeyDigest, Value: s} }
func pubkey(s string) tlog.Key   { return tlog.Key{Type: tlog.KeyPublicKey, Value: s} }

// signed is a real hashedrekord by a certificate.
type signed struct {
	leaf        storage.NewLeaf
	certificate []byte // PEM
	chain       []byte
	digest      string
}

func sign(g *rig, ca *forge.CA, email string, artifact string) signed {
	g.t.Helper()
	key := forge.P256(email)
	cert := ca.Issue(forge.Subject{Email: email, Issuer: "https://issuer.example.com", Key: key, From: ca.From, To: ca.To})
	sum := sha256.Sum256([]byte(artifact))
	s := signed{
		certificate: forge.CertificatePEM(cert),
		chain:       forge.CertificatePEM(cert, ca.Intermediate),
		digest:      fmt.Sprintf("%x", sum),
	}
	body := forge.Encode(forge.HashedRekordV1("sha256", sum[:], key.SignDigest(crypto.SHA256, sum[:]), s.certificate))
	proposed, err := g.parser.Propose(body)
	if err != nil {
		g.t.Fatal(err)
	}
	s.leaf = storagetest.Leaf(string(proposed.Leaf.Body), proposed.Leaf.Keys...)
	return s
}

func newCA() *forge.CA {
	return forge.NewP256CA("ca.example.com", time.Unix(1_600_000_000, 0), time.Unix(1_900_000_000, 0))
}
