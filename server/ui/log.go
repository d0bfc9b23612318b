package ui

import (
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/tlog"
)

// Log is what the page about the log shows.
type Log struct {
	Trees []Tree // newest first; the first one takes new entries
	// Last is the integrated time of the newest entry; zero if there is none, or it is
	// not known.
	Last   time.Time
	Halted bool
	// Growth, Recent: nil if they cannot be had at the moment.
	Growth *Growth
	Recent *search.Summary
	// Consistency is what was asked for with the form; nil if nothing was.
	Consistency *Consistency
	Monitor     *Monitor // nil if none runs inside the server
}

// Tree is one tree of the log.
type Tree struct {
	ID, Base   int64
	Origin     string
	State      string
	Created    time.Time
	LogID      string // hexadecimal
	PEM        string // of its key
	Known      bool   // there is a checkpoint
	Head       tlog.Head
	Checkpoint []byte
}

// Consistency is the answer to the question whether a tree of one size extends that of
// another.
type Consistency struct {
	Tree          int64
	First, Second string // as they were asked for
	// Refusal says what was wrong with the question; the rest is unset then.
	Refusal               string
	FirstHead, SecondHead tlog.Head
	Path                  []tlog.Hash
}

// Monitor says what the monitor knows that runs inside the server.
type Monitor struct {
	Size    int64     // entries it has read and verified, of all trees
	Checked time.Time // end of its last round; zero before the first
	Matches int64     // entries that a rule is about
	Alarms  int64     // about the log itself
	Problem string    // what is wrong at the moment; empty if nothing is
}

type logView struct {
	Size       string
	Last       *stamp
	Halted     bool
	Checkpoint string
	Known      bool
	Trees      []treeView
	Growth     *chart
	Charts     []chartLink
	Kinds      []share
	Issuers    []share
	Recent     string // how many entries these are
	Since      *stamp
	Form       consistencyForm
	Result     *consistencyView
	Monitor    *monitorView
}

type treeView struct {
	Tree, Base, Size, Origin, State, LogID, PEM, Root string
	Created                                           *stamp
	Known, Active                                     bool
	Code                                              *code
}

type chartLink struct {
	Name string
	Here bool
}

// share is a name, how often it came, and how large a part that is.
type share struct {
	Name    link
	Spelled string // in ASCII, if it has other letters
	N       string
	Percent string
}

type consistencyForm struct {
	Tree, First, Second string
	Trees               []string
}

type consistencyView struct {
	Refusal                                    string
	Tree, First, Second, FirstRoot, SecondRoot string
	FirstWords, SecondWords, API               string
	Path                                       []string
	Same                                       bool
	Command                                    string
}

type monitorView struct {
	Good                  bool
	Size, Matches, Alarms string
	Checked               *stamp
	Problem               string
}

// Log renders the page about the log.
func (p *Pages) Log(r Request, l Log) ([]byte, error) {
	v := logView{Halted: l.Halted, Last: optional(l.Last, r.Now)}
	var size int64
	for i, t := range l.Trees {
		tv := treeView{
			Tree: strconv.FormatInt(t.ID, 10), Base: number(t.Base), Origin: t.Origin, State: t.State, LogID: t.LogID, PEM: t.PEM,
			Created: optional(t.Created, r.Now), Active: i == 0, Known: t.Known,
		}
		if t.Known {
			tv.Size, tv.Root = number(t.Head.Size), t.Head.Root.String()
			size += t.Head.Size
		}
		if i == 0 || t.LogID != l.Trees[i-1].LogID {
			tv.Code = newCode(t.PEM)
		}
		v.Trees = append(v.Trees, tv)
		v.Form.Trees = append(v.Form.Trees, tv.Tree)
	}
	v.Size = number(size)
	if len(l.Trees) > 0 && l.Trees[0].Known {
		v.Known, v.Checkpoint = true, visible(string(l.Trees[0].Checkpoint), true)
		v.Form.Tree = v.Trees[0].Tree
		v.Form.Second = strconv.FormatInt(l.Trees[0].Head.Size, 10)
	}
	v.showGrowth(l.Growth)
	v.showRecent(l.Recent, r.Now)
	v.showConsistency(l.Consistency, p.site.URL)
	if m := l.Monitor; m != nil {
		v.Monitor = &monitorView{
			Good: m.Problem == "" && m.Alarms == 0, Size: number(m.Size), Matches: number(m.Matches), Alarms: number(m.Alarms),
			Checked: optional(m.Checked, r.Now), Problem: line(m.Problem, 500),
		}
	}
	return p.render(r, "log", "The log", v)
}

func optional(t, now time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := newStamp(t, now)
	return &s
}

func (v *logView) showGrowth(g *Growth) {
	if g == nil {
		return
	}
	c := newChart(*g)
	v.Growth = &c
	for _, s := range Spans() {
		v.Charts = append(v.Charts, chartLink{s.Unit, s.Unit == g.Unit})
	}
}

func (v *logView) showRecent(s *search.Summary, now time.Time) {
	if s == nil || s.Entries == 0 {
		return
	}
	v.Recent, v.Since = count(int64(s.Entries), "entry", "entries"), optional(s.Since, now)
	for _, k := range firstN(s.Kinds, 10) {
		kind, _, _ := strings.Cut(k.Name, " ")
		v.Kinds = append(v.Kinds, newShare(link{line(k.Name, 100), searchLink("kind", kind)}, k.N, s.Entries))
	}
	for _, i := range firstN(s.Issuers, 10) {
		issuer := newShare(nameLink("issuer", i.Name, 300), i.N, s.Entries)
		issuer.Spelled = spelled(i.Name)
		v.Issuers = append(v.Issuers, issuer)
	}
}

func firstN[T any](s []T, n int) []T { return s[:min(n, len(s))] }

func newShare(name link, n, of int) share {
	return share{Name: name, N: number(int64(n)), Percent: percent(float64(n), of)}
}

func (v *logView) showConsistency(c *Consistency, url string) {
	if c == nil {
		return
	}
	v.Form.First, v.Form.Second = line(c.First, 40), line(c.Second, 40)
	r := &consistencyView{Refusal: line(c.Refusal, 500)}
	v.Result = r
	if c.Refusal != "" {
		return
	}
	v.Form.Tree = strconv.FormatInt(c.Tree, 10)
	r.Tree, r.First, r.Second = v.Form.Tree, strconv.FormatInt(c.FirstHead.Size, 10), strconv.FormatInt(c.SecondHead.Size, 10)
	r.FirstRoot, r.SecondRoot = c.FirstHead.Root.String(), c.SecondHead.Root.String()
	r.FirstWords, r.SecondWords = number(c.FirstHead.Size), number(c.SecondHead.Size)
	r.Same = c.FirstHead.Size == c.SecondHead.Size
	r.API = "api/v1/log/proof?firstSize=" + r.First + "&lastSize=" + r.Second + "&treeID=" + r.Tree
	for _, h := range c.Path {
		r.Path = append(r.Path, h.String())
	}
	address, ok := quote(strings.TrimSuffix(url, "/"))
	if !ok || url == "" {
		address = "LOG_URL"
	}
	r.Command = "tallystick proof --rekor-url " + address + " --log-key log.pub --first-size " + r.First + " --last-size " + r.Second + " --tree-id " + r.Tree
}
