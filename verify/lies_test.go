package verify_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/tallystick/tallystick/internal/forge"
	"github.com/tallystick/tallystick/verify"
)

// A lie is evidence of which every part is genuine, or signed by those who should know
// better, but which proves nothing of the artifact.
type lie struct {
	name string
	want classes // nil: it is none, and is accepted
	tree forge.Node
	read func(forge.Node) (*verify.Evidence, error) // nil: a bundle
	v    *verify.Verifier                           // nil: the policy that fits the tree's signer
	a    *verify.Artifact                           // nil: the World's
}

// judge tries lies.
func (w *world) judge(t *testing.T, lies []lie) {
	t.Helper()
	key, identity := w.verifier(t, w.byKey()), w.verifier(t, w.byIdentity())
	for _, l := range lies {
		s := &sample{tree: l.tree, read: l.read, v: l.v, a: verify.SHA256(sha256.Sum256(w.Artifact))}
		if l.a != nil {
			s.a = *l.a
		}
		if s.read == nil {
			s.read = readBundle
		}
		if s.v == nil {
			s.v = key
			if bytes.Contains(forge.Encode(l.tree), []byte("ertificate")) {
				s.v = identity
			}
		}
		t.Run(l.name, func(t *testing.T) {
			err := s.try(s.tree)
			switch {
			case l.want == nil && err != nil:
				t.Errorf("%v\n%s", err, forge.Encode(s.tree))
			case l.want != nil && err == nil:
				t.Errorf("accepted:\n%s", forge.Encode(s.tree))
			case l.want != nil && !l.want.match(err):
				t.Errorf("%v; want %v", err, l.want)
			}
		})
	}
}

// is returns the classes that are given.
func is(all ...error) classes { return all }

// changedSpec returns a recipe with a change.
func changedSpec(s forge.Spec, change func(*forge.Spec)) forge.Spec {
	change(&s)
	return s
}

const (
	material = "verificationMaterial"
	entries  = "tlogEntries"
	proof    = "inclusionProof"
	promise  = "inclusionPromise"
)

// entry returns the path of a member of a bundle's first log entry.
func entry(path ...any) []any { return append([]any{material, entries, 0}, path...) }

// withEntry returns the bundle with another log entry in the place of its first.
func withEntry(m *forge.Made, e forge.Node) forge.Node { return forge.With(m.Bundle(), e, entry()...) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func ptr[T any](v T) *T { return &v }

func digest(b []byte) []byte {
	d := sha256.Sum256(b)
	return d[:]
}
