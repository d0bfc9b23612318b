package sig

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// maxCachedPEM bounds what one cached key can cost: three certificates are about
// 4 kB. Larger texts are parsed each time.
const maxCachedPEM = 8192

// Cache remembers parsed keys by the SHA-256 of the PEM text they came in; when it
// is full, the least recently used goes. It may be used by many goroutines. A nil
// Cache remembers nothing.
type Cache struct {
	size int

	mu     sync.Mutex // covers what follows
	recent *list.List // of *cached, most recently used first
	keys   map[[sha256.Size]byte]*list.Element
}

type cached struct {
	hash [sha256.Size]byte
	key  *Key
}

// NewCache returns a cache of up to size keys. A key takes about 2 kB, a
// certificate 8 kB, and none more than some ten times maxCachedPEM.
func NewCache(size int) *Cache {
	return &Cache{size: size, recent: list.New(), keys: make(map[[sha256.Size]byte]*list.Element)}
}

// ParsePEM is ParsePEM with a memory for successes.
func (c *Cache) ParsePEM(data []byte) (*Key, error) {
	if c == nil || len(data) > maxCachedPEM {
		return ParsePEM(data)
	}
	hash := sha256.Sum256(data)
	if k := c.get(hash); k != nil {
		return k, nil
	}
	k, err := ParsePEM(data)
	if err == nil {
		c.put(hash, k)
	}
	return k, err
}

func (c *Cache) get(hash [sha256.Size]byte) *Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.keys[hash]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cached).key
}

func (c *Cache) put(hash [sha256.Size]byte, k *Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys[hash] != nil {
		return // another goroutine was faster
	}
	c.keys[hash] = c.recent.PushFront(&cached{hash, k})
	if c.recent.Len() > c.size {
		last := c.recent.Remove(c.recent.Back()).(*cached)
		delete(c.keys, last.hash)
	}
}
