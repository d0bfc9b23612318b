package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

const (
	// maxState bounds a state file, in bytes.
	maxState = 8 << 20
	// maxActive is the largest number of alarms that are not over: one of each kind for the log and
	// each tree, and one for each receipt.
	maxActive = MaxReceipts + 32*client.MaxTrees
)

// state is what a monitor knows, as of the last thing that was made durable.
type state struct {
	journal int64 // bytes
	raised  int64 // alarms that were ever raised: part of their IDs
	trees   []tree
	active  []activeAlarm
	kept    []string // IDs of receipts that were found to be kept, sorted
	grown   time.Time
	behind  time.Time // since when there has been something to read; zero if there is nothing
	away    time.Time // since when the log cannot be asked; zero if it can
}

// tree is what is known of a tree.
type tree struct {
	id     int64
	signed []byte             // the newest checkpoint, as the log signed it, and
	head   *verify.Checkpoint // … verified
	closed bool               // it takes no more entries
	read   *peaks             // the entries that were read; not more than head has
	from   int64              // the first one that was searched
}

func (t *tree) pending() int64 { return t.head.Size - t.read.size }

// activeAlarm is an alarm that is not over.
type activeAlarm struct {
	Alarm
	detail string // tells alarms of one kind and tree apart
}

func (a *activeAlarm) is(kind Kind, tree, detail string) bool {
	return a.Kind == kind && a.Tree == tree && a.detail == detail
}

// clone returns a copy that can be changed.
func (s *state) clone() *state {
	c := *s
	c.trees, c.active, c.kept = slices.Clone(s.trees), slices.Clone(s.active), slices.Clone(s.kept)
	return &c
}

// pending returns how many entries the checkpoints cover that were not read.
func (s *state) pending() (n int64) {
	for i := range s.trees {
		n += s.trees[i].pending()
	}
	return n
}

// base returns the index in the log of the first entry of a tree: the older ones' sizes.
func (s *state) base(tree int) (n int64) {
	for i := range tree {
		n += s.trees[i].head.Size
	}
	return n
}

// The form of a state file.
type (
	stateJSON struct {
		Format  string      `json:"format"`
		Journal int64       `json:"journal"`
		Raised  int64       `json:"raised"`
		Grown   int64       `json:"grown,omitempty"`  // Unix nanoseconds
		Behind  int64       `json:"behind,omitempty"` // …
		Away    int64       `json:"away,omitempty"`   // …
		Trees   []treeJSON  `json:"trees"`
		Active  []alarmJSON `json:"active"`
		Kept    []string    `json:"kept"`
	}
	treeJSON struct {
		Checkpoint string   `json:"checkpoint"`
		Closed     bool     `json:"closed"`
		From       int64    `json:"from"`
		Read       int64    `json:"read"`
		Peaks      []string `json:"peaks"`
	}
	alarmJSON struct {
		ID       string `json:"id"`
		Kind     string `json:"kind"`
		Tree     string `json:"tree,omitempty"`
		Detail   string `json:"detail,omitempty"`
		Since    int64  `json:"since"`
		Text     string `json:"text"`
		Evidence string `json:"evidence,omitempty"`
	}
)

const stateFormat = "tallystick monitor state 1"

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// encode returns the content of a state file.
func (s *state) encode() ([]byte, error) {
	out := stateJSON{Format: stateFormat, Journal: s.journal, Raised: s.raised, Grown: nanos(s.grown), Behind: nanos(s.behind), Away: nanos(s.away),
		Trees: []treeJSON{}, Active: []alarmJSON{}, Kept: s.kept}
	if out.Kept == nil {
		out.Kept = []string{}
	}
	for _, t := range s.trees {
		j := treeJSON{Checkpoint: string(t.signed), Closed: t.closed, From: t.from, Read: t.read.size, Peaks: []string{}}
		for _, h := range t.read.hashes {
			j.Peaks = append(j.Peaks, h.String())
		}
		out.Trees = append(out.Trees, j)
	}
	for _, a := range s.active {
		out.Active = append(out.Active, alarmJSON{a.ID, string(a.Kind), a.Tree, a.detail, nanos(a.Since), a.Text, a.Evidence})
	}
	data, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// parseState reads a state file. Its checkpoints have to be signed by the log that is trusted, and of what was read so far it has
// to be true, as far as that can be seen. Members that are unknown or missing are errors: a file of another kind, or damaged, must not pass for one
// with nothing in it.
func parseState(data []byte, trust *verify.Trust) (*state, error) {
	var in stateJSON
	if err := in.parse(data); err != nil {
		return nil, err
	}
	s := &state{journal: in.Journal, raised: in.Raised, grown: fromNanos(in.Grown), behind: fromNanos(in.Behind), away: fromNanos(in.Away), kept: in.Kept}
	for _, t := range in.Trees {
		now, err := t.tree(trust)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(s.trees, func(o tree) bool { return o.head.Origin == now.head.Origin }) {
			return nil, fmt.Errorf("tree %q is in it twice", clip(now.head.Origin))
		}
		s.trees = append(s.trees, *now)
	}
	for i, t := range s.trees {
		if t.closed != (i < len(s.trees)-1) {
			return nil, errors.New("not the last tree, and the last alone, is the one that takes entries")
		}
	}
	for _, a := range in.Active {
		if !isID(a.ID) || !slices.Contains(Kinds(), Kind(a.Kind)) || a.Evidence != "" && !isEvidenceName(a.Evidence) {
			return nil, errors.New("an alarm in it is not one")
		}
		s.active = append(s.active, activeAlarm{Alarm{ID: a.ID, Kind: Kind(a.Kind), Tree: a.Tree, Since: fromNanos(a.Since), Text: a.Text, Evidence: a.Evidence}, a.Detail})
	}
	if !slices.IsSorted(s.kept) || slices.ContainsFunc(s.kept, func(id string) bool { return !isID(id) }) {
		return nil, errors.New("its receipts are not in order")
	}
	return s, nil
}

func (t *treeJSON) tree(trust *verify.Trust) (*tree, error) {
	head, err := trust.VerifyCheckpoint([]byte(t.Checkpoint), nil)
	if err != nil {
		return nil, fmt.Errorf("it is of another log, or the log's key is no longer trusted: %w", err)
	}
	_, id, err := tlog.SplitOriginV1(head.Origin)
	if err != nil || !head.V1 {
		return nil, fmt.Errorf("tree %q is not one of Rekor v1", clip(head.Origin))
	}
	var hashes []tlog.Hash
	for _, text := range t.Peaks {
		h, err := tlog.ParseHash(text)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	read, err := newPeaks(t.Read, hashes)
	if err != nil {
		return nil, err
	}
	if read.size > head.Size || read.size == head.Size && read.head() != head.Head || t.From > read.size {
		return nil, fmt.Errorf("what was read of tree %q is not what its checkpoint says", clip(head.Origin))
	}
	return &tree{id: id, signed: []byte(t.Checkpoint), head: head, closed: t.Closed, read: read, from: t.From}, nil
}

// parse reads the JSON.
func (s *stateJSON) parse(data []byte) error {
	if len(data) > maxState {
		return fmt.Errorf("%d bytes, more than %d", len(data), maxState)
	}
	r := strictjson.New(data)
	there := 0
	err := r.Object(func(name []byte) (err error) {
		there++
		switch string(name) {
		case "format":
			return readString(&r, &s.Format)
		case "journal":
			s.Journal, err = readInt(&r)
		case "raised":
			s.Raised, err = readInt(&r)
		case "grown":
			there--
			s.Grown, err = readInt(&r)
		case "behind":
			there--
			s.Behind, err = readInt(&r)
		case "away":
			there--
			s.Away, err = readInt(&r)
		case "trees":
			return r.Array(func() error {
				if len(s.Trees) == client.MaxTrees {
					return fmt.Errorf("more than %d trees", client.MaxTrees)
				}
				var t treeJSON
				err := t.read(&r)
				s.Trees = append(s.Trees, t)
				return err
			})
		case "active":
			return r.Array(func() error {
				if len(s.Active) == maxActive {
					return fmt.Errorf("more than %d alarms", maxActive)
				}
				var a alarmJSON
				err := a.read(&r)
				s.Active = append(s.Active, a)
				return err
			})
		case "kept":
			return r.Array(func() error {
				if len(s.Kept) == 16*MaxReceipts {
					return errors.New("too many receipts")
				}
				var id string
				err := readString(&r, &id)
				s.Kept = append(s.Kept, id)
				return err
			})
		default:
			return unknown(name)
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	if err == nil && (there != 6 || s.Format != stateFormat) {
		err = fmt.Errorf("it is not a %s", stateFormat)
	}
	return err
}

func (t *treeJSON) read(r *strictjson.Reader) error {
	there := 0
	err := r.Object(func(name []byte) (err error) {
		there++
		switch string(name) {
		case "checkpoint":
			return readString(r, &t.Checkpoint)
		case "closed":
			t.Closed, err = readBool(r)
		case "from":
			t.From, err = readInt(r)
		case "read":
			t.Read, err = readInt(r)
		case "peaks":
			return readHashTexts(r, &t.Peaks)
		default:
			return unknown(name)
		}
		return err
	})
	if err == nil && there != 5 {
		err = errors.New("a tree in it is not whole")
	}
	return err
}

func (a *alarmJSON) read(r *strictjson.Reader) error {
	return r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "id":
			return readString(r, &a.ID)
		case "kind":
			return readString(r, &a.Kind)
		case "tree":
			return readString(r, &a.Tree)
		case "detail":
			return readString(r, &a.Detail)
		case "since":
			a.Since, err = readInt(r)
		case "text":
			return readString(r, &a.Text)
		case "evidence":
			return readString(r, &a.Evidence)
		default:
			return unknown(name)
		}
		return err
	})
}

func unknown(name []byte) error {
	return fmt.Errorf("%s is not known", strconv.Quote(clip(string(name))))
}

func readString(r *strictjson.Reader, s *string) error {
	text, err := r.Text()
	*s = string(text)
	return err
}

func readBool(r *strictjson.Reader) (bool, error) {
	raw, err := r.Raw()
	if err == nil && string(raw) != "true" && string(raw) != "false" {
		err = fmt.Errorf("%s is neither true nor false", clip(string(raw)))
	}
	return string(raw) == "true", err
}

// readHashTexts reads a list of at most verify.MaxProof texts.
func readHashTexts(r *strictjson.Reader, all *[]string) error {
	return r.Array(func() error {
		if len(*all) == verify.MaxProof {
			return fmt.Errorf("more than %d hashes", verify.MaxProof)
		}
		var text string
		err := readString(r, &text)
		*all = append(*all, text)
		return err
	})
}
