package tufrepo

import (
	"os"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// A new repository that cannot be written into its folder leaves none of its files there.
func TestUnpublish(t *testing.T) {
	dir := t.TempDir()
	to, err := newPlace(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &change{
		repository: Repository{Dir: dir},
		pending:    []file{{"targets/a", []byte("a"), true}, {"1.targets.json", []byte("b"), false}, {"1.targets.json/x", nil, false}},
		signed:     map[string][]byte{metadata.ROOT: nil, metadata.TIMESTAMP: nil},
	}
	if err := c.publishWhole(to); err == nil {
		t.Fatal("a file is a folder")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 || to.whole {
		t.Errorf("left: %v, %v", left, err)
	}
}
