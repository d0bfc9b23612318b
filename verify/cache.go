package verify

import (
	"container/list"
	"sync"
)

// Cache remembers verdicts: the results of up to a number of successful
// verifications, by the digests of evidence, artifact, trust and policy. Those with a predicate of more than 4 KiB
// are not remembered, so that one takes at most about 16 KB. It may be shared by verifiers and used by many goroutines.
type Cache struct {
	size int

	mu      sync.Mutex
	byKey   map[[32]byte]*list.Element
	entries *list.List // of cached, the most recently used first
}

// maxCachedStatement is the largest predicate and subject name together, in bytes, of a result that is remembered: they are what
// can be large in a result.
const maxCachedStatement = 4 << 10

type cached struct {
	key    [32]byte
	result *Result
}

// NewCache returns a cache of up to size results; the least recently used goes. With a
// size below 1 it remembers nothing.
func NewCache(size int) *Cache {
	return &Cache{size: size, byKey: make(map[[32]byte]*list.Element), entries: list.New()}
}

// get returns the result of that key, or nil. A nil Cache has none.
func (c *Cache) get(key [32]byte) *Result {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.entries.MoveToFront(e)
	return e.Value.(cached).result.clone()
}

// put remembers the result of a successful verification. A nil Cache does nothing.
func (c *Cache) put(key [32]byte, r *Result) {
	if c == nil || c.size < 1 || r.Statement != nil && len(r.Statement.Predicate)+len(r.Statement.Subject) > maxCachedStatement {
		return
	}
	r = r.clone()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		e.Value = cached{key, r}
		c.entries.MoveToFront(e)
		return
	}
	if c.entries.Len() >= c.size {
		last := c.entries.Back()
		delete(c.byKey, last.Value.(cached).key)
		c.entries.Remove(last)
	}
	c.byKey[key] = c.entries.PushFront(cached{key, r})
}
