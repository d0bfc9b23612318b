package verify

import (
	"encoding/binary"
	"sync"
	"testing"
)

func cacheKey(n int) (key [32]byte) {
	binary.BigEndian.PutUint64(key[24:], uint64(n))
	return key
}

// The cache holds as many results as it may, and lets go of the one that was not used
// for longest.
func TestCache(t *testing.T) {
	c := NewCache(3)
	results := make([]*Result, 6)
	for i := range results {
		results[i] = &Result{Key: i}
	}
	has := func(want ...int) {
		t.Helper()
		for i := range results {
			var expected *Result
			for _, n := range want {
				if n == i {
					expected = results[i]
				}
			}
			// Looked up without get, which counts as use.
			e, ok := c.byKey[cacheKey(i)]
			if ok != (expected != nil) || ok && expected != nil && e.Value.(cached).result.Key != expected.Key {
				t.Errorf("result %d is there: %v; want %v", i, ok, want)
			}
		}
		if c.entries.Len() != len(want) || len(c.byKey) != len(want) {
			t.Errorf("%d and %d results, want %d", c.entries.Len(), len(c.byKey), len(want))
		}
	}
	has()
	if c.get(cacheKey(0)) != nil {
		t.Error("the empty cache has a result")
	}
	for i := range 3 {
		c.put(cacheKey(i), results[i])
	}
	has(0, 1, 2)
	if got := c.get(cacheKey(0)); got == nil || got.Key != 0 || got == results[0] {
		t.Errorf("result 0 is %v", got)
	}
	c.put(cacheKey(3), results[3]) // 1 was not used
	has(0, 2, 3)
	c.put(cacheKey(2), results[2]) // 2 is used again
	has(0, 2, 3)
	c.put(cacheKey(4), results[4])
	has(2, 3, 4)
	c.put(cacheKey(5), results[5])
	has(2, 4, 5)
	replaced := &Result{Key: 9}
	c.put(cacheKey(4), replaced)
	if got := c.get(cacheKey(4)); got == nil || got.Key != 9 || got == replaced {
		t.Errorf("result 4 is %v", got)
	}
	if c.get(cacheKey(3)) != nil {
		t.Error("result 3 is still there")
	}

	for name, c := range map[string]*Cache{"nil": nil, "zero": {}, "size 0": NewCache(0), "size -1": NewCache(-1)} {
		c.put(cacheKey(1), results[1])
		if c.get(cacheKey(1)) != nil {
			t.Errorf("%s remembers", name)
		}
	}
}

// Many goroutines may use a cache, and it never holds more than it may, nor mixes up keys.
func TestCacheConcurrently(t *testing.T) {
	const size, keys = 8, 32
	c := NewCache(size)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				n := (i*7 + g*13) % keys
				if got := c.get(cacheKey(n)); got != nil && got.Key != n {
					t.Errorf("key %d has the result %d", n, got.Key)
				}
				c.put(cacheKey(n), &Result{Key: n})
			}
		})
	}
	wg.Wait()
	if c.entries.Len() != size || len(c.byKey) != size {
		t.Errorf("it holds %d and %d, want %d", c.entries.Len(), len(c.byKey), size)
	}
}
