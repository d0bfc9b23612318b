package main

import (
	"context"
	"errors"

	"github.com/tallystick/tallystick/client"
)

// whichEntry names one entry.
type whichEntry struct {
	LogIndex *int64 `name:"log-index" placeholder:"N" help:"Its index in the log."`
	UUID     string `name:"uuid" placeholder:"ID" help:"Its entry ID: tree ID and leaf hash, or the leaf hash alone, in hexadecimal."`
}

func (w whichEntry) given() bool { return w.LogIndex != nil || w.UUID != "" }

func (w whichEntry) check() error {
	switch {
	case (w.LogIndex != nil) == (w.UUID != ""):
		return usageError{errors.New("name the entry by either --log-index or --uuid")}
	case w.LogIndex != nil && *w.LogIndex < 0:
		return usageError{errors.New("--log-index is negative")}
	}
	return nil
}

func (w whichEntry) get(ctx context.Context, c *client.Client) (*client.Entry, error) {
	if w.LogIndex != nil {
		return c.EntryByIndex(ctx, *w.LogIndex)
	}
	return c.EntryByUUID(ctx, w.UUID)
}

// getCmd prints one entry.
type getCmd struct {
	whichEntry
	logFlags
	outputFlags
}

// Help says what the exit codes mean.
func (c *getCmd) Help() string {
	return `Prints the entry, and what was proved of it. Nothing is printed that was not proved.

Exit code 0: it is there and holds. 1: there is none, says the log, or it could not be asked. 3: what the log answered does not hold.`
}

// Run prints the entry.
func (c *getCmd) Run(ctx context.Context, p *program) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	s, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = s.close(ctx, err) }()
	e, err := c.get(ctx, s.Client)
	if err != nil {
		return err
	}
	out, err := p.entryPrinter(c.outputFlags)
	if err != nil {
		return err
	}
	out.title("entry %d", e.LogIndex)
	out.summary(e)
	out.proofs(e)
	out.document("body", e.Body)
	if len(e.Attestation) > 0 {
		out.document("attestation", e.Attestation)
	}
	return out.end(out.result(e))
}
