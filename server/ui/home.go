package ui

import (
	"time"

	"github.com/tallystick/tallystick/search"
)

// Home is what the first page shows.
type Home struct {
	// Known says that Size and Newest are known at the moment.
	Known  bool
	Size   int64         // entries under checkpoints, of all trees
	Newest []search.Hit  // newest first; nil if they cannot be read at the moment
	Last   time.Time     // integrated time of the newest entry; zero if there is none
	Halted bool          // the log has stopped signing
	Origin string        // of the active tree
	Tree   int64         // its ID
	LogID  string        // SHA-256 of its key, hexadecimal
	Watch  *WatchSummary // nil if no monitor runs inside the server
}

// WatchSummary says in short how the monitor is that runs inside the server.
type WatchSummary struct {
	Good  bool
	Words string
}

type homeView struct {
	Home
	Form formView
	Size string
	Hits []hit
	Last *stamp
}

// Home renders the first page.
func (p *Pages) Home(r Request, h Home) ([]byte, error) {
	v := homeView{Home: h, Form: p.form(nil), Size: number(h.Size), Hits: newHits(h.Newest, r.Now, none)}
	if !h.Last.IsZero() {
		s := newStamp(h.Last, r.Now)
		v.Last = &s
	}
	return p.render(r, "home", "", v)
}
