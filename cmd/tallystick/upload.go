package main

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
)

// uploadsAtOnce is how many uploads are under way at a time. The log commits together
// what comes together.
const uploadsAtOnce = 8

// uploadCmd logs entries.
type uploadCmd struct {
	Artifacts   []string `arg:"" optional:"" name:"artifact" help:"Files that were signed."`
	Signature   []string `name:"signature" sep:"none" placeholder:"FILE" help:"Signature of an artifact, raw or in base64; one for each artifact, in their order."`
	Bundle      []string `name:"bundle" sep:"none" placeholder:"FILE" help:"Sigstore bundle, or one of cosign 2, whose signature is to be logged here."`
	Attestation []string `name:"attestation" sep:"none" placeholder:"FILE" help:"DSSE envelope."`
	Notation    []string `name:"notation" sep:"none" placeholder:"FILE" help:"Signature of Notation's: a JWS envelope, signed with an ECDSA key."`
	Entry       []string `name:"entry" sep:"none" placeholder:"FILE" help:"Proposed entry of the Rekor v1 API, in JSON."`
	Key         string   `name:"key" placeholder:"FILE" xor:"signer" help:"Public key that the signatures verify with (PEM)."`
	Certificate string   `name:"certificate" placeholder:"FILE" xor:"signer" help:"Certificate that the signatures verify with (PEM or DER)."`
	logFlags
	outputFlags
}

// Help says what an upload is.
func (c *uploadCmd) Help() string {
	return `Logs signatures that were made already. What the log answers with is verified, and has to be what was sent. The same entry sent again is found, not logged again.

Exit code 0: everything is in the log. 1: something is not, or it is not known. 3: what the log answered does not hold. With several, all are tried.`
}

// upload is one of the things to upload.
type upload struct {
	source   string // for people
	proposal []byte
	entry    *client.Entry
	err      error
}

// Run uploads.
func (c *uploadCmd) Run(ctx context.Context, p *program) (err error) {
	all, err := c.proposals()
	if err != nil {
		return err
	}
	s, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = s.close(ctx, err) }()
	bar := p.progress("entries", len(all))
	var g errgroup.Group
	g.SetLimit(uploadsAtOnce)
	for _, u := range all {
		g.Go(func() error {
			u.entry, u.err = s.Upload(ctx, u.proposal)
			bar.step()
			return nil
		})
	}
	_ = g.Wait() // each has its error with it
	bar.end()
	return c.report(p, all)
}

// report prints what became of the uploads. Its error is that of one alone, or says how
// many failed, and is a refusal if one of them is.
func (c *uploadCmd) report(p *program, all []*upload) error {
	out, err := p.entryPrinter(c.outputFlags)
	if err != nil {
		return err
	}
	var results []entryResult
	var failed []error
	for _, u := range all {
		if u.err != nil {
			failed = append(failed, u.failure())
			continue
		}
		out.title("%s is entry %d", u.source, u.entry.LogIndex)
		out.summary(u.entry)
		out.proofs(u.entry)
		r := out.result(u.entry)
		r.Source = u.source
		results = append(results, r)
	}
	if err := out.end(object{"entries": append([]entryResult{}, results...)}); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// failure says what went wrong, and with what.
func (u *upload) failure() error {
	var bad *entry.Error
	if errors.As(u.err, &bad) {
		return fmt.Errorf("%s was not sent: %w", u.source, u.err)
	}
	return fmt.Errorf("%s: %w", u.source, u.err)
}

// proposals puts together what is to be uploaded, in order.
func (c *uploadCmd) proposals() ([]*upload, error) {
	ofBundles := make([]string, len(c.Bundle)) // artifacts; "": none was given
	switch n := len(c.Artifacts); {
	case n == len(c.Signature):
	case len(c.Signature) == 0 && n == len(c.Bundle):
		ofBundles = c.Artifacts
	default:
		return nil, usageError{fmt.Errorf("there are %d artifacts, %d --signature and %d --bundle: each artifact needs its one", n, len(c.Signature), len(c.Bundle))}
	}
	parser, err := entry.New(entry.Options{})
	if err != nil {
		return nil, err
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	var all []*upload
	add := func(source string, proposal []byte, err error) error {
		all = append(all, &upload{source: source, proposal: proposal})
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		return nil
	}
	for i, path := range c.Signature {
		signature, err := readSignature(path)
		if err != nil {
			return nil, err
		}
		proposal, err := proposeArtifact(parser, c.Artifacts[i], signature, key)
		if err := add(c.Artifacts[i], proposal, err); err != nil {
			return nil, err
		}
	}
	for i, path := range c.Bundle {
		data, err := readInput(path)
		if err != nil {
			return nil, err
		}
		proposal, err := proposeBundle(parser, data, key, ofBundles[i])
		if err := add(path, proposal, err); err != nil {
			return nil, err
		}
	}
	for _, path := range c.Attestation {
		data, err := readInput(path)
		if err != nil {
			return nil, err
		}
		proposal, err := proposeEnvelope(data, key)
		if err := add(path, proposal, err); err != nil {
			return nil, err
		}
	}
	for _, path := range c.Notation {
		data, err := readInput(path)
		if err != nil {
			return nil, err
		}
		proposal, err := proposeNotation(data)
		if err := add(path, proposal, err); err != nil {
			return nil, err
		}
	}
	for _, path := range c.Entry {
		data, err := readInput(path)
		if err != nil {
			return nil, err
		}
		if err := add(path, data, nil); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, usageError{errors.New("say what to upload: ARTIFACT with --signature, --bundle, --attestation, --notation or --entry")}
	}
	return all, nil
}

// key returns the signer's key or certificate, PEM; nil if none is given, and none needed.
func (c *uploadCmd) key() ([]byte, error) {
	path := c.Key
	if c.Certificate != "" {
		path = c.Certificate
	}
	switch needed := len(c.Signature) > 0 || len(c.Attestation) > 0; {
	case path != "":
		return readKey(path)
	case needed:
		return nil, usageError{errors.New("--signature and --attestation need the signer's --key or --certificate")}
	}
	return nil, nil
}
