package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/postgres"
	"github.com/tallystick/tallystick/storage/postgres/pgtest"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

// Waiting for the lock has an end.
func TestLockTimeout(t *testing.T) {
	url := pgtest.Database(t)
	patient := open(t, url, postgres.Options{Migrate: true})
	hasty := open(t, url, postgres.Options{LockTimeout: time.Millisecond})
	storagetest.CreateTree(t, patient)
	w := storagetest.NewWriter(patient)
	w.BeforeBatch = func(*storage.Batch) {
		err := storagetest.NewWriter(hasty).Commit(t.Context(), storagetest.Leaf("hasty"))
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "lock") {
			t.Errorf("waiting for the lock in vain gave %v", err)
		}
	}
	if err := w.Commit(t.Context(), storagetest.Leaf("patient")); err != nil {
		t.Error(err)
	}
	if n := len(storagetest.Check(t, hasty, storagetest.TreeID)); n != 1 {
		t.Errorf("there are %d leaves", n)
	}
}

// A server that is frozen with the lock in its hands loses it.
func TestHoldTimeout(t *testing.T) {
	url := pgtest.Database(t)
	frozen := open(t, url, postgres.Options{Migrate: true, HoldTimeout: time.Millisecond})
	other := open(t, url, postgres.Options{})
	storagetest.CreateTree(t, other)
	w := storagetest.NewWriter(frozen)
	w.BeforeBatch = func(*storage.Batch) {
		if err := storagetest.NewWriter(other).Commit(t.Context(), storagetest.Leaf("other")); err != nil {
			t.Errorf("beside a frozen server: %v", err)
		}
	}
	err := w.Commit(t.Context(), storagetest.Leaf("frozen"))
	if err == nil {
		t.Error("the frozen server's commit succeeded")
	}
	if n := len(storagetest.Check(t, other, storagetest.TreeID)); n != 1 {
		t.Errorf("there are %d leaves", n)
	}
	if err := frozen.Ready(t.Context()); err != nil {
		t.Errorf("thawed, it got %v", err)
	}
}

// What the database refuses in the second round trip, early or at the commit
// itself, is not written, and says so.
func TestRefusedByDatabase(t *testing.T) {
	for when, trigger := range map[string]string{
		"statement": "create trigger full_disk before insert on tallystick.leaves execute function full_disk()",
		"commit":    "create constraint trigger full_disk after insert on tallystick.leaves deferrable initially deferred for each row execute function full_disk()",
	} {
		url := pgtest.Database(t)
		s := open(t, url, postgres.Options{Migrate: true})
		storagetest.CreateTree(t, s)
		sql(t, url, `create function full_disk() returns trigger language plpgsql as
			$$ begin raise exception 'no space left on device' using errcode = 'disk_full'; end $$`, trigger)
		err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("a"))
		if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: a full disk gave %v", when, err)
		}
		if n := len(storagetest.Check(t, s, storagetest.TreeID)); n != 0 {
			t.Errorf("%s: there are %d leaves", when, n)
		}
		if err := s.Ready(t.Context()); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: on a full disk, Ready gave %v", when, err)
		}
		sql(t, url, "drop trigger full_disk on tallystick.leaves")
		if err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("a")); err != nil {
			t.Errorf("%s: with room again: %v", when, err)
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("%s: with room again, Ready gave %v", when, err)
		}
	}
}

// proxy stands between a store and the database, and can cut the line.
type proxy struct {
	net.Listener
	socket string
	// cut says what becomes of connections: passed through, or closed when the client
	// next says something: before it reaches the server, or after the server has
	// answered, with the answer lost.
	cut atomic.Int32
}

const (
	passThrough int32 = iota
	cutBefore
	cutAfter
)

// newProxy returns a proxy and the URL that leads through it.
func newProxy(t *testing.T, base string) (*proxy, string) {
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	dir := t.TempDir()
	socket := ".s.PGSQL." + q.Get("port")
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, socket: filepath.Join(q.Get("host"), socket)}
	t.Cleanup(func() { _ = l.Close() })
	go p.serve()
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		go p.forward(client, server, cutBefore)
		go p.forward(server, client, cutAfter)
	}
}

// forward copies until the line is to be cut in this direction.
func (p *proxy) forward(from, to net.Conn, cut int32) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || p.cut.Load() == cut {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// The connection is lost while the batch is committed: without effect, and with
// effect. Both are unknown to the store, and a second attempt finds out.
func TestUnknownOutcome(t *testing.T) {
	url := pgtest.Database(t)
	direct := open(t, url, postgres.Options{Migrate: true})
	storagetest.CreateTree(t, direct)
	p, through := newProxy(t, url)
	s := open(t, through, postgres.Options{})
	size := 0
	commit := func(w *storagetest.Writer, body string) error {
		return w.Commit(t.Context(), storagetest.Leaf(body, tlog.Key{Value: body}))
	}
	for round := range 4 {
		for _, cut := range []int32{cutBefore, cutAfter} {
			w := storagetest.NewWriter(s)
			name := fmt.Sprint(round, cut)
			if err := commit(w, "warm up "+name); err != nil { // prepares the statements
				t.Fatal(err)
			}
			w.BeforeBatch = func(*storage.Batch) { p.cut.Store(cut) }
			err := commit(w, name)
			p.cut.Store(passThrough)
			w.BeforeBatch = nil
			if !errors.Is(err, storage.ErrUnknown) {
				t.Fatalf("a lost connection (%d) gave %v", cut, err)
			}
			size++
			if cut == cutAfter {
				size++
			}
			// The server may still be at work on what it was sent: the lock waits for it.
			if err := commit(w, "after "+name); err != nil {
				t.Fatalf("after a lost connection: %v", err)
			}
			size++
			if n := len(storagetest.Check(t, direct, storagetest.TreeID)); n != size {
				t.Fatalf("cut %d: there are %d leaves, not %d", cut, n, size)
			}
			if err := commit(w, name); err != nil {
				t.Fatal(err)
			}
			if cut == cutBefore {
				size++
			}
			if n := len(storagetest.Check(t, direct, storagetest.TreeID)); n != size {
				t.Fatalf("cut %d, tried again: there are %d leaves, not %d", cut, n, size)
			}
		}
	}
}

// A connection lost before the batch is sent is replaced without a word, however
// many idle ones died.
func TestDeadConnections(t *testing.T) {
	srv := pgtest.Start(t)
	url := srv.Database(t)
	s := open(t, url, postgres.Options{Migrate: true})
	storagetest.CreateTree(t, s)
	for i := range 3 {
		var g errgroup.Group
		for range 20 { // fill the pool
			g.Go(func() error { _, err := s.Trees(t.Context()); return err })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		srv.Kill()
		if err := s.Ready(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("without a server, Ready gave %v", err)
		}
		if err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("x")); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("without a server, Commit gave %v", err)
		}
		srv.Restart()
		if err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf(fmt.Sprint(i))); err != nil {
			t.Errorf("after a restart, Commit gave %v", err)
		}
		if h, err := s.Head(t.Context(), storagetest.TreeID); err != nil || h.Size != int64(i+1) {
			t.Errorf("after a restart, Head gave %v, %v", h, err)
		}
	}
}

// writers commit until ctx ends, through any trouble, and record what was
// acknowledged.
type writers struct {
	mu    sync.Mutex
	acked map[tlog.Hash]bool
	count atomic.Int64
	more  chan struct{} // gets something, if there is room, after each acknowledgement
}

func (ws *writers) run(ctx context.Context, s storage.Store, name string) error {
	w := storagetest.NewWriter(s)
	for i := 0; ctx.Err() == nil; i++ {
		leaves := storagetest.Leaves(fmt.Sprint(name, " ", i), 1+i%50)
		// The writer's own context is not ctx: trouble comes from the database only.
		err := w.Commit(context.WithoutCancel(ctx), leaves...)
		switch {
		case err == nil:
			ws.mu.Lock()
			for _, l := range leaves {
				ws.acked[l.Hash] = true
			}
			ws.mu.Unlock()
			ws.count.Add(1)
			select {
			case ws.more <- struct{}{}:
			default:
			}
		case errors.Is(err, storage.ErrUnknown), errors.Is(err, storage.ErrUnavailable):
			i-- // the same again
		default:
			return err
		}
	}
	return nil
}

// check reports acknowledged leaves that are not in the tree.
func (ws *writers) check(t *testing.T, s storage.Store) {
	t.Helper()
	for _, h := range storagetest.Check(t, s, storagetest.TreeID) {
		delete(ws.acked, h)
	}
	if len(ws.acked) > 0 {
		t.Fatalf("%d acknowledged leaves are lost", len(ws.acked))
	}
}

// trouble runs three writers on two stores and calls hurt rounds times in between,
// each time after some more commits.
func trouble(t *testing.T, url string, rounds int, hurt func()) *writers {
	a := open(t, url, postgres.Options{Migrate: true})
	b := open(t, url, postgres.Options{})
	storagetest.CreateTree(t, a)
	ws := &writers{acked: map[tlog.Hash]bool{}, more: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(t.Context())
	g, failed := errgroup.WithContext(ctx)
	for i, s := range []storage.Store{a, b, a} {
		g.Go(func() error { return ws.run(ctx, s, fmt.Sprint("writer ", i)) })
	}
	await := func(n int64) {
		for target := ws.count.Load() + n; ws.count.Load() < target; {
			select {
			case <-ws.more:
			case <-failed.Done():
				return
			}
		}
	}
	for range rounds {
		await(5)
		hurt()
	}
	await(5) // it goes on
	stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	ws.check(t, b)
	return ws
}

// The server ends our connections at any moment (an administrator, a failover).
func TestTerminatedBackends(t *testing.T) {
	url := pgtest.Database(t)
	trouble(t, url, 40, func() {
		sql(t, url, `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and application_name = 'tallystick'`)
	})
	// Nothing is left behind in a transaction.
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var n int
	err = conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity
		where datname = current_database() and state like 'idle in transaction%'`).Scan(&n)
	if err != nil || n != 0 {
		t.Errorf("%d connections are idle in a transaction, error %v", n, err)
	}
}

// PostgreSQL dies, with all its processes at once, and comes back.
func TestKilledServer(t *testing.T) {
	srv := pgtest.Start(t)
	trouble(t, srv.Database(t), 8, func() {
		srv.Kill()
		srv.Restart()
	})
}
