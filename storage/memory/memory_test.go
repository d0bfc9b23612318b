package memory_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/storage/memory"
	"github.com/tallystick/tallystick/storage/storagetest"
	"github.com/tallystick/tallystick/tlog"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return memory.New() })
}

// A writer that tries again until it is told of success has every leaf in the tree
// once, however the store misbehaves.
func TestFaults(t *testing.T) {
	s := memory.New()
	storagetest.CreateTree(t, s)
	seen := map[error]int{}
	late := 0
	faults := memory.Faults(1, 2)
	s.Misbehave(func(method string) memory.Fault {
		f := faults(method)
		if f.Late {
			late++
		}
		return f
	})
	w := storagetest.NewWriter(s)
	for i := range 200 {
		for {
			err := w.Commit(t.Context(), storagetest.Leaf(fmt.Sprint(i)))
			if err == nil {
				break
			}
			for _, class := range []error{storage.ErrUnknown, storage.ErrUnavailable} {
				if errors.Is(err, class) {
					seen[class]++
				}
			}
		}
	}
	s.Misbehave(nil)
	if n := len(storagetest.Check(t, s, storagetest.TreeID)); n != 200 {
		t.Errorf("there are %d leaves", n)
	}
	if seen[storage.ErrUnknown] == 0 || seen[storage.ErrUnavailable] == 0 || late == 0 || late == seen[storage.ErrUnknown] {
		t.Errorf("faults were %v, of them %d late", seen, late)
	}
}

// Each fault does what it says.
func TestMisbehave(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := memory.New()
		storagetest.CreateTree(t, s)
		boom := errors.New("boom")
		s.Misbehave(func(method string) memory.Fault {
			if method == "Commit" {
				return memory.Fault{Err: boom, Late: late}
			}
			return memory.Fault{}
		})
		if err := storagetest.NewWriter(s).Commit(t.Context(), storagetest.Leaf("a")); err != boom {
			t.Errorf("got error %v", err)
		}
		h, err := s.Head(t.Context(), storagetest.TreeID)
		if err != nil || (h.Size == 1) != late {
			t.Errorf("fault late: %v; the size is %d, error %v", late, h.Size, err)
		}
	}
}

// What the caller does with its own bytes afterwards changes nothing.
func TestCopies(t *testing.T) {
	s := memory.New()
	storagetest.CreateTree(t, s)
	l := storagetest.Leaf("body", tlog.Key{Value: "k"})
	if err := storagetest.NewWriter(s).Commit(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	l.Body[0], l.Keys[0].Value = 'x', "x"
	got, err := s.Leaves(t.Context(), storagetest.TreeID, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	got[0].Body[0] = 'x'
	storagetest.Check(t, s, storagetest.TreeID)
}
