package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tallystick/tallystick/client"
)

// searchCmd looks for entries.
type searchCmd struct {
	Artifact  string `name:"artifact" placeholder:"FILE" help:"Entries about this file, by its SHA-256."`
	SHA       string `name:"sha" placeholder:"DIGEST" help:"Entries about this digest: SHA-1, SHA-256, SHA-384 or SHA-512 in hexadecimal, with or without sha256: and the like."`
	Image     string `name:"image" placeholder:"REF" help:"Entries about this container image, by the digest in the reference (no registry is asked then), or the one that its registry gives."`
	Email     string `name:"email" placeholder:"ADDRESS" help:"Entries whose certificate names this e-mail address."`
	Subject   string `name:"subject" placeholder:"NAME" help:"Entries whose certificate names this: a URI, an e-mail address, …"`
	PublicKey string `name:"public-key" placeholder:"FILE" help:"Entries signed with this key or certificate (PEM)."`
	Any       bool   `name:"any" help:"Entries that match one of these, not only those that match all."`
	Limit     int    `name:"limit" default:"100" help:"Most entries to print."`
	logFlags
	outputFlags
}

// Help says what can be believed of a result.
func (c *searchCmd) Help() string {
	return `Every entry is verified, and held against the query: "--" stands before one that says itself nothing of what was searched for, so that it matches by the log's word alone. That there are no more is the log's word, too.

Exit code 0: the log was searched, whatever was found. 1: it could not be. 3: what the log answered does not hold.`
}

// query returns what to search for.
func (c *searchCmd) query(ctx context.Context, p *program) (q client.Query, err error) {
	n := 0
	for _, given := range []string{c.Artifact, c.SHA, c.Image} {
		if given != "" {
			n++
		}
	}
	switch {
	case n > 1:
		return q, usageError{errors.New("--artifact, --sha and --image do not go together")}
	case n == 0 && c.Email == "" && c.Subject == "" && c.PublicKey == "":
		return q, usageError{errors.New("say what to search for: --artifact, --sha, --image, --email, --subject or --public-key")}
	case c.Limit <= 0:
		return q, usageError{errors.New("--limit must be more than 0")}
	case c.Timeout <= 0:
		return q, usageError{errTimeout}
	}
	q = client.Query{Hash: c.SHA, Email: c.Email, Subject: c.Subject, Any: c.Any}
	switch {
	case c.Artifact != "":
		q.Hash, err = fileDigest(c.Artifact)
	case c.Image != "":
		ctx, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		image, err := p.resolveImage(ctx, c.Image)
		if err != nil {
			return q, err
		}
		q.Hash = image.Name.DigestStr()
	}
	if err == nil && c.PublicKey != "" {
		q.PublicKey, err = readKey(c.PublicKey)
	}
	return q, err
}

// fileDigest returns the SHA-256 of a file, as "sha256:…".
func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// searchResult is the JSON of a search.
type searchResult struct {
	Hits []entryResult `json:"hits"`
	// Found is how many entries the log named; those over the limit are not among the hits.
	Found      int   `json:"found"`
	CompleteTo int64 `json:"completeTo,omitempty"`
	Truncated  bool  `json:"truncated"`
}

// Run prints what is found.
func (c *searchCmd) Run(ctx context.Context, p *program) (err error) {
	q, err := c.query(ctx, p)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = s.close(ctx, err) }()
	found, err := s.Search(ctx, q)
	if err != nil {
		return err
	}
	out, err := p.entryPrinter(c.outputFlags)
	if err != nil {
		return err
	}
	result := searchResult{Hits: []entryResult{}, Found: found.Len(), CompleteTo: found.CompleteTo, Truncated: found.Truncated}
	bar := p.progress("entries", min(found.Len(), c.Limit))
	defer bar.end()
	for h, err := range found.Hits(ctx) {
		if err != nil {
			return err
		}
		bar.hide()
		result.Hits = append(result.Hits, out.hit(h))
		bar.step()
		if len(result.Hits) == c.Limit {
			break
		}
	}
	bar.end()
	out.tail(result)
	return out.end(result)
}

// hit prints one.
func (o *entryPrinter) hit(h *client.Hit) entryResult {
	o.title("entry %d", h.LogIndex)
	o.summary(h.Entry)
	if h.Confirmed {
		o.proved("the log holds it, and it is about what was searched for")
	} else {
		o.proved("the log holds it")
		o.unproved("not confirmed: only the log says that this entry matches")
	}
	r := o.result(h.Entry)
	r.Confirmed = &h.Confirmed
	return r
}

// tail says what can be said of the result as a whole.
func (o *entryPrinter) tail(r searchResult) {
	line := fmt.Sprintf("%d entries found", r.Found)
	if r.Found == 1 {
		line = "1 entry found"
	}
	if n := len(r.Hits); n < r.Found {
		line += fmt.Sprintf(", of which the first %d are shown (--limit)", n)
	}
	switch {
	case r.Truncated:
		line += "; there are more, says the log, than it returns"
	case r.CompleteTo > 0:
		line += fmt.Sprintf("; that is all up to tree size %d, says the log", r.CompleteTo)
	default:
		line += "; the log does not say whether that is all"
	}
	o.title("%s", line)
}
