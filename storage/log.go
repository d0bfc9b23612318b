package storage

import (
	"errors"

	"github.com/tallystick/tallystick/tlog"
)

// What a log over a Store answers its callers with. It stands here, below both,
// because the sequencer (and later a log kept elsewhere) gives it and the APIs
// take it.

// Errors of a log, besides those of a Store.
var (
	// ErrBusy: the queue is full. Nothing was written; the caller may come back in
	// a second.
	ErrBusy = errors.New("too many entries are waiting to be logged")
	// ErrHalted: the log does not sign, because it cannot be sure that what it
	// would sign extends everything it signed before. The text wrapped around it
	// says why and what to do. Reads go on. An entry that was on its way may have been
	// written.
	ErrHalted = errors.New("the log has stopped signing")
)

// Added says where an entry is in the tree, durably.
type Added struct {
	Index     int64 // in the tree
	Time      int64 // integrated time, Unix seconds
	Duplicate bool  // it was there before this call
	// View is under a published checkpoint and covers the entry.
	View *tlog.View
}
