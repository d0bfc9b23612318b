package ui

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/tlog"
)

// Entry is what there is to say of one entry.
type Entry struct {
	search.Hit
	Body []byte
	// LogID is the SHA-256 of the log key, in hexadecimal.
	LogID string
	// Proof is nil if the log has no checkpoint that covers the entry.
	Proof *Proof
	// Promised says that the log signs the entry's timestamp (SET).
	Promised bool
	// Attested says that the log keeps the attestation, which Attestation is. It may be
	// read by the page only up to a limit.
	Attested    bool
	Attestation []byte
}

// Proof is the inclusion proof of an entry.
type Proof struct {
	Path       []tlog.Hash // leaf to root
	Head       tlog.Head
	Checkpoint []byte
}

// entryView is the data of the page.
type entryView struct {
	hit
	UUID, LeafHash, LogID   string
	Unix                    int64 // integrated time, Unix seconds
	Tree, TreeIndex         string
	Words                   sentence
	SelfSigned              bool // a certificate is signed with its own key
	Signers                 []signer
	MoreSigners             int
	Digests                 []digestRow
	PayloadType             string
	Attestation             string // SHA-256 that the body names
	Attested                bool
	Statement               *statement
	Proof                   *proofView
	Promised                bool
	Body, Pretty            string
	Exact                   bool // Body is the body, and not a form of it that can be shown
	Commands                []command
	API, APIIndex, Download string
}

type digestRow struct {
	Of string
	link
}

type proofView struct {
	Path       []string
	Size       string
	Root       string
	Checkpoint string
}

// sentence is the entry in words.
type sentence struct {
	Who    []who
	Named  bool // a name of Who is from a certificate
	More   int
	What   string // "An in-toto statement"
	Type   string // of the predicate: in words, or as it is
	About  string // a subject's name; empty if there is none
	Digest link
	Others int // further subjects
}

// Entry renders the page of an entry.
func (p *Pages) Entry(r Request, e Entry) ([]byte, error) {
	d := &e.Description
	v := entryView{
		hit: newHit(&e.Hit, r.Now, none), Unix: e.Time.Unix(), UUID: e.UUID, LeafHash: tlog.LeafHash(e.Body).String(), LogID: e.LogID,
		Tree: strconv.FormatInt(e.Tree, 10), TreeIndex: strconv.FormatInt(e.Hit.Index, 10),
		PayloadType: line(d.PayloadType, 200), Attested: e.Attested, Promised: e.Promised,
		API: "api/v1/log/entries/" + e.UUID, Download: "entry/" + e.UUID + "/attestation",
	}
	for i, s := range d.Signers {
		if i == maxSignersShown {
			v.MoreSigners = len(d.Signers) - i
			break
		}
		v.Signers = append(v.Signers, newSigner(s, e.Time, r.Now))
		c := v.Signers[i].Certificate
		v.SelfSigned = v.SelfSigned || c != nil && c.SelfSigned
	}
	for _, digest := range d.Digests {
		v.Digests = append(v.Digests, digestRow{digest.Of, link{line(digest.String(), 200), searchLink("digest", digest.String())}})
	}
	if d.Attestation != (tlog.Hash{}) {
		v.Attestation = "sha256:" + d.Attestation.String()
	}
	if e.Attested {
		v.Statement = readStatement(e.Attestation)
	}
	if e.Proof != nil {
		v.Proof = &proofView{Size: number(e.Proof.Head.Size), Root: e.Proof.Head.Root.String(), Checkpoint: visible(string(e.Proof.Checkpoint), true)}
		for _, h := range e.Proof.Path {
			v.Proof.Path = append(v.Proof.Path, h.String())
		}
	}
	v.showBody(e.Body)
	v.Words = tell(d, v.Statement)
	v.Commands = p.commands(&e, v.Statement)
	return p.render(r, "entry", "Entry "+v.Index, v)
}

// showBody shows the body as it is, if a browser can show it so, and laid out.
func (v *entryView) showBody(body []byte) {
	text, _ := pretty(body, 4*tlog.MaxLeaf)
	v.Pretty = visible(text, true)
	v.Body = string(body)
	// HTML has no carriage return, and drops a line break at the start.
	v.Exact = plain(v.Body, true) && !bytes.HasPrefix(body, []byte("\n"))
	if !v.Exact {
		v.Body = visible(v.Body, true)
	}
}

// tell puts an entry into words.
func tell(d *entry.Description, st *statement) sentence {
	s := sentence{What: capital(object(d))}
	for i, one := range d.Signers {
		if i == maxSigners {
			s.More = len(d.Signers) - i
			break
		}
		s.Who = append(s.Who, newWho(one, maxWhole, none))
		s.Named = s.Named || s.Who[i].IsName
	}
	if len(d.Digests) > 0 {
		digest := d.Digests[0]
		s.Digest = link{line(digest.String(), 200), searchLink("digest", digest.String())}
	}
	if st == nil || !st.IsStatement {
		return s
	}
	s.What, s.Type = "An in-toto statement", st.Words
	if s.Type == "" {
		s.Type = name(st.PredicateType, maxWhole)
	}
	s.Digest = link{}
	if len(st.Subjects) > 0 {
		first := st.Subjects[0]
		s.About = name(first.Name, maxWhole)
		if len(first.Digests) > 0 {
			s.Digest = first.Digests[0]
		}
		s.Others = len(st.Subjects) + st.MoreSubjects - 1
	}
	return s
}

// capital begins a sentence with an ASCII letter.
func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
