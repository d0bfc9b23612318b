package admission

import (
	"container/list"
	"sync"
	"time"

	"github.com/tallystick/tallystick/registry"
)

// memory remembers for a short time the signatures by which an image, by repository and digest, was admitted, so that
// the pods of one workload do not each read them from the registry. Only signatures that were proved are
// remembered, and they are verified again each time. What a tag stands for, what was refused, and what has an attestation
// of more than maxKept, is not remembered.
type memory struct {
	ttl      time.Duration
	maxBytes int64
	now      func() time.Time

	mu    sync.Mutex
	byKey map[memoryKey]*list.Element
	order *list.List // of remembered, the oldest first
	bytes int64
}

type memoryKey struct {
	image string // repository@digest
	kinds registry.Kind
}

type remembered struct {
	key   memoryKey
	found []registry.Attached
	bytes int64 // about
	until time.Time
}

// maxRemembered is how many images are remembered at most.
const maxRemembered = 4096

func newMemory(ttl time.Duration, maxBytes int64, now func() time.Time) *memory {
	return &memory{ttl: ttl, maxBytes: maxBytes, now: now, byKey: make(map[memoryKey]*list.Element), order: list.New()}
}

// get returns what is remembered, or nil.
func (m *memory) get(key memoryKey) []registry.Attached {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(m.now())
	if e, ok := m.byKey[key]; ok {
		return e.Value.(*remembered).found
	}
	return nil
}

// put remembers by what an image was proved, as it was read at a time.
func (m *memory) put(key memoryKey, proofs []proof, read time.Time) {
	var found []registry.Attached
	var bytes int64
	for _, p := range proofs {
		if p.found.Evidence == nil {
			return
		}
		found = append(found, p.found)
		bytes += p.size()
	}
	m.keep(key, found, bytes, read)
}

func (m *memory) keep(key memoryKey, found []registry.Attached, bytes int64, read time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	until := read.Add(m.ttl)
	if e, ok := m.byKey[key]; ok {
		m.remove(e)
	}
	if bytes > m.maxBytes || !until.After(now) {
		return
	}
	m.byKey[key] = m.order.PushBack(&remembered{key, found, bytes, until})
	m.bytes += bytes
	m.forget(now)
}

// forget removes what is too old, or too much. It is called with mu held.
func (m *memory) forget(now time.Time) {
	for e := m.order.Front(); e != nil; e = m.order.Front() {
		r := e.Value.(*remembered)
		if now.Before(r.until) && m.bytes <= m.maxBytes && m.order.Len() <= maxRemembered {
			return
		}
		m.remove(e)
	}
}

func (m *memory) remove(e *list.Element) {
	r := m.order.Remove(e).(*remembered)
	delete(m.byKey, r.key)
	m.bytes -= r.bytes
}
