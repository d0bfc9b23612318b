package sequencer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/tlog"
)

type hash = tlog.Hash

func hashOf(body string) hash { return tlog.LeafHash([]byte(body)) }

func TestMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mark")
	m, err := OpenMark(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := m.Load(); ok || err != nil {
		t.Fatalf("a new mark has a record: %v, %v", ok, err)
	}
	if _, err := OpenMark(path); err == nil || !strings.Contains(err.Error(), "another tallystick process") {
		t.Errorf("a second process opened it: %v", err)
	}
	for n := int64(0); n < 5; n++ {
		if err := m.Store(randomRecord(n)); err != nil {
			t.Fatal(err)
		}
	}
	fork := randomRecord(4)
	fork.Root[0] ^= 1
	foreign := randomRecord(9)
	foreign.Tree++
	for _, r := range []Record{randomRecord(3), fork, foreign} {
		if m.Store(r) == nil {
			t.Errorf("went from size 4 to %+v", r)
		}
	}
	if err := m.Store(randomRecord(4)); err != nil {
		t.Errorf("the same record again: %v", err)
	}
	if r, ok, err := ReadMark(path); err != nil || !ok || r != randomRecord(4) {
		t.Errorf("reading beside the server: %+v, %v, %v", r, ok, err)
	}
	if _, ok, err := ReadMark(path + "x"); ok || err != nil {
		t.Errorf("a mark that is not there: %v, %v", ok, err)
	}
	m.Close()
	raw, _ := os.ReadFile(path)

	// A torn write of either slot leaves the record of one of the two.
	for cut := 0; cut < len(raw); cut += 101 {
		torn := append([]byte(nil), raw...)
		for i := cut; i < min(len(torn), (cut/slotSize+1)*slotSize); i++ {
			torn[i] = 0
		}
		got := reopen(t, torn)
		if got.Size != 4 && got.Size != 3 {
			t.Fatalf("torn at %d: %+v", cut, got)
		}
	}
	if got := reopen(t, raw); got != randomRecord(4) {
		t.Errorf("reopened: %+v", got)
	}
	for _, bad := range []string{"hello", strings.Repeat(" ", 1024), strings.Repeat("x", 2000)} {
		p := filepath.Join(t.TempDir(), "mark")
		os.WriteFile(p, []byte(bad), 0o600)
		if m, err := OpenMark(p); err == nil {
			t.Errorf("opened %q", bad[:5])
			m.Close()
		}
		if _, _, err := ReadMark(p); err == nil {
			t.Errorf("read %q", bad[:5])
		}
	}
}

func reopen(t *testing.T, raw []byte) Record {
	t.Helper()
	p := filepath.Join(t.TempDir(), "mark")
	os.WriteFile(p, raw, 0o600)
	m, err := OpenMark(p)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, _, _ := m.Load()
	return r
}

func FuzzMarkSlot(f *testing.F) {
	f.Add(formatSlot(randomRecord(7), 3))
	f.Fuzz(func(t *testing.T, slot string) {
		r, seq, err := parseSlot(slot)
		if err == nil && formatSlot(r, seq) != slot {
			t.Fatalf("%q is not the only form of %+v", slot, r)
		}
	})
}
