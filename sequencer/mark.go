package sequencer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tallystick/tallystick/tlog"
)

// Record is the largest head that a server ever signed.
type Record struct {
	Tree int64 // tree ID
	tlog.Head
}

// Guard remembers, outside the database, what was signed. A database that was
// restored from an old copy cannot know that it is old; a Guard can. Its methods
// are called by one goroutine at a time.
type Guard interface {
	// Load returns the record, and false if there never was one.
	Load() (Record, bool, error)
	// Store makes the record durable before it returns. The checkpoint of that head
	// is signed only afterwards, so a Guard may know of a head that was never
	// signed, and must never miss one that was.
	Store(Record) error
}

// Mark is the default Guard: the high-water mark, a small file. It holds two slots
// of text, written in turn and each with a checksum, so that a write torn by a
// power cut leaves the slot before it.
type Mark struct {
	file *os.File
	last Record
	seq  uint64
}

// slotSize is a page, so that no write touches both slots.
const slotSize = 4096

// OpenMark opens the high-water mark, making the file if there is none, and locks
// it: two servers that shared a mark would not notice each other's rollback.
func OpenMark(path string) (*Mark, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the high-water mark: %w", err)
	}
	m := &Mark{file: f}
	if err := m.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("high-water mark %s: %w", path, err)
	}
	return m, nil
}

func (m *Mark) open() error {
	if err := syscall.Flock(int(m.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.New("another tallystick process is using it; give every server a data directory of its own")
	}
	dir, err := os.Open(filepath.Dir(m.file.Name()))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil { // the file's name must survive a power cut too
		return err
	}
	if err := m.file.Sync(); err != nil { // what is read must be durable: it is not written again
		return err
	}
	m.last, m.seq, err = readSlots(m.file)
	return err
}

// ReadMark returns the record in a high-water mark, and false if there is none. It
// does not lock the file: a server may be writing to it.
func ReadMark(path string) (Record, bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("opening the high-water mark: %w", err)
	}
	defer f.Close()
	r, seq, err := readSlots(f)
	if err != nil {
		return Record{}, false, fmt.Errorf("high-water mark %s: %w", path, err)
	}
	return r, seq > 0, nil
}

// readSlots returns the newer record and the number of the write that made it, which
// is 0 for an empty file.
func readSlots(f *os.File) (last Record, seq uint64, err error) {
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, 2*slotSize+1))
	if err != nil || len(raw) == 0 {
		return Record{}, 0, err
	}
	if len(raw) > 2*slotSize {
		return Record{}, 0, errors.New("this is not a high-water mark")
	}
	for i := 0; i*slotSize < len(raw); i++ {
		r, n, err := parseSlot(string(raw[i*slotSize : min(len(raw), (i+1)*slotSize)]))
		if err == nil && n > seq {
			last, seq = r, n
		}
	}
	if seq == 0 {
		return Record{}, 0, errors.New("no slot of it is readable; it must not be deleted without knowing what was signed: " +
			"compare the log's newest published checkpoint with the database before you do")
	}
	return last, seq, nil
}

// Load returns the newest record.
func (m *Mark) Load() (Record, bool, error) { return m.last, m.seq > 0, nil }

// Store writes the record into the slot that holds the older one, and syncs. A
// record smaller than the last is refused.
func (m *Mark) Store(r Record) error {
	if m.seq > 0 && (r.Tree != m.last.Tree || r.Size < m.last.Size || r.Size == m.last.Size && r.Root != m.last.Root) {
		return fmt.Errorf("high-water mark is at size %d of tree %d and cannot go to size %d of tree %d",
			m.last.Size, m.last.Tree, r.Size, r.Tree)
	}
	if m.seq > 0 && r == m.last {
		return nil
	}
	slot := formatSlot(r, m.seq+1)
	if _, err := m.file.WriteAt([]byte(slot), int64((m.seq+1)%2)*slotSize); err != nil {
		return fmt.Errorf("writing the high-water mark: %w", err)
	}
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("syncing the high-water mark: %w", err)
	}
	m.last, m.seq = r, m.seq+1
	return nil
}

// Close releases the file and its lock.
func (m *Mark) Close() error { return m.file.Close() }

const slotHeader = "tallystick high-water mark v1"

// formatSlot returns a slot: what was signed in words, then a checksum over it,
// filled up with spaces.
func formatSlot(r Record, seq uint64) string {
	text := fmt.Sprintf("%s\ntree %d\nsize %d\nroot %s\nwrite %d\n", slotHeader, r.Tree, r.Size, r.Root.Base64(), seq)
	text += fmt.Sprintf("crc32 %08x\n", crc32.ChecksumIEEE([]byte(text)))
	return text + strings.Repeat(" ", slotSize-1-len(text)) + "\n"
}

func parseSlot(slot string) (r Record, seq uint64, err error) {
	var root string
	if _, err := fmt.Sscanf(slot, slotHeader+"\ntree %d\nsize %d\nroot %s\nwrite %d\n", &r.Tree, &r.Size, &root, &seq); err != nil {
		return Record{}, 0, err
	}
	raw, err := base64.StdEncoding.DecodeString(root)
	if err != nil || len(raw) != tlog.HashSize {
		return Record{}, 0, fmt.Errorf("%q is not a root hash", root)
	}
	r.Root = tlog.Hash(raw)
	if r.Size < 0 || formatSlot(r, seq) != slot {
		return Record{}, 0, errors.New("checksum or form is wrong")
	}
	return r, seq, nil
}
