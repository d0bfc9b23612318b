package monitor

import (
	"time"

	"github.com/tallystick/tallystick/tlog"
)

// Status is the state of the watch of one log: for metrics and pages.
type Status struct {
	// Log is the log's name, URL its URL.
	Log, URL string
	// Trees are the log's trees, oldest first, as they were last verified.
	Trees []TreeStatus
	// LastRound is when a round last ended; zero if none has since the Monitor was opened. Trouble
	// is what the last one ended with, in words; "" if nothing.
	LastRound time.Time
	Trouble   string
	// Complete is when a round last ended with everything read and in order that the log had; zero if none has since the Monitor was opened.
	Complete time.Time
	// Grown is when the log was last seen to have grown; zero if it was never seen.
	Grown time.Time
	// Behind is for how long entries have been waiting to be read, now; 0 if none are.
	Behind time.Duration
	// Pending is how many entries the verified checkpoints cover that were not read yet.
	Pending int64
	// Entries is how many were read since the Monitor was opened, Unreadable how many of these were of a kind or had a
	// signer that cannot be read, so that rules could see less of them.
	Entries, Unreadable int64
	// Journal is the journal's length in bytes: where the next record will begin.
	Journal int64
	// Raised is how many alerts of each kind were made durable since the Monitor was opened, Matches of these by rule.
	Raised  map[Kind]int64
	Matches map[string]int64
	// Active are the alarms that are not over, oldest first.
	Active []Alarm
	// Receipts is how many there are, and ReceiptsKept how many were found to be kept.
	Receipts, ReceiptsKept int
}

// TreeStatus is the state of one tree.
type TreeStatus struct {
	Origin string
	ID     int64
	// Active: it takes new entries.
	Active bool
	// Base is the index in the log of its first entry.
	Base int64
	// Head is what the log signed, as of the last verified checkpoint, and Checkpoint that checkpoint.
	Head       tlog.Head
	Checkpoint []byte
	// Read is how many of its entries were read and are under that checkpoint. From is the first one that was searched.
	Read, From int64
}

// Alarm is an alarm that is not over.
type Alarm struct {
	ID    string
	Kind  Kind
	Tree  string
	Since time.Time
	Text  string
	// Evidence is the name of the evidence file, if there is evidence.
	Evidence string
}
