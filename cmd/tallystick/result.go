package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
)

// entryResult is an entry as --output json shows it.
type entryResult struct {
	Source         string          `json:"source,omitempty"` // what was uploaded
	UUID           string          `json:"uuid"`
	LogIndex       int64           `json:"logIndex"`
	TreeID         string          `json:"treeID"`
	IntegratedTime int64           `json:"integratedTime"`
	Kind           string          `json:"kind"`
	Version        string          `json:"apiVersion"`
	Body           json.RawMessage `json:"body"`
	// Keys are what the entry speaks of, as its body shows it.
	Keys []keyResult `json:"searchKeys"`
	// Confirmed is set for the hits of a search.
	Confirmed *bool    `json:"confirmed,omitempty"`
	Proved    []string `json:"proved"`
	// Entry is the log's own answer (LogEntry of the API), for other programs.
	Entry map[string]logEntry `json:"entry"`
}

type keyResult struct {
	Type string `json:"type"`
	// Of says what a digest of an attestation's entry is of: its envelope or its payload.
	Of string `json:"of,omitempty"`
	// Value is, of a public key, the SHA-256 of its SubjectPublicKeyInfo, as "sha256:…".
	Value string `json:"value"`
	// PEMSHA256 is the hash by which the log's index knows a public key or certificate: of its PEM.
	PEMSHA256 string `json:"pemSHA256,omitempty"`
}

// logEntry is LogEntryAnon of the API.
type logEntry struct {
	Attestation    *attestationData `json:"attestation,omitempty"`
	Body           []byte           `json:"body"`
	IntegratedTime int64            `json:"integratedTime"`
	LogID          string           `json:"logID"`
	LogIndex       int64            `json:"logIndex"`
	Verification   struct {
		InclusionProof       inclusionResult `json:"inclusionProof"`
		SignedEntryTimestamp []byte          `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

type attestationData struct {
	Data []byte `json:"data"`
}

type inclusionResult struct {
	Checkpoint string    `json:"checkpoint"`
	Hashes     []hexHash `json:"hashes"`
	LogIndex   int64     `json:"logIndex"`
	RootHash   hexHash   `json:"rootHash"`
	TreeSize   int64     `json:"treeSize"`
}

// hexHash is a hash that JSON shows in hexadecimal.
type hexHash tlog.Hash

func (h hexHash) MarshalText() ([]byte, error) { return []byte(tlog.Hash(h).String()), nil }

func hexHashes(hashes []tlog.Hash) []hexHash {
	out := make([]hexHash, len(hashes))
	for i, h := range hashes {
		out[i] = hexHash(h)
	}
	return out
}

func inclusionOf(e *client.Entry) inclusionResult {
	return inclusionResult{
		Checkpoint: string(e.Proof.Checkpoint), Hashes: hexHashes(e.Proof.Path), LogIndex: e.Proof.Index,
		RootHash: hexHash(e.Proof.Head.Root), TreeSize: e.Proof.Head.Size,
	}
}

// entryPrinter shows entries.
type entryPrinter struct {
	*printer
	parser *entry.Parser
}

func (p *program) entryPrinter(f outputFlags) (*entryPrinter, error) {
	parser, err := entry.New(entry.Options{})
	return &entryPrinter{p.printer(f), parser}, err
}

// keys returns what the entry speaks of, as far as its body shows it.
func (o *entryPrinter) keys(e *client.Entry) []keyResult {
	info, err := o.parser.Committed(e.Body)
	if err != nil {
		return nil // of a kind, or in a form, that this program does not know
	}
	var all []keyResult
	prints, names := fingerprints(e.Body), digestNames(e.Body)
	for _, k := range tlog.SortKeys(info.Keys) {
		r := keyResult{Type: k.Type.String(), Value: k.Value}
		switch k.Type {
		case tlog.KeyPublicKey:
			r.Value, r.PEMSHA256 = prints[k.Value], k.Value
		case tlog.KeyDigest:
			r.Of = names[k.Value]
		}
		all = append(all, r)
	}
	return all
}

// fingerprints returns the SHA-256 of the SubjectPublicKeyInfo of every key and certificate in
// a body, whatever its kind, as "sha256:…", by the SHA-256 of its PEM.
func fingerprints(body []byte) map[string]string {
	all := map[string]string{}
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if err != nil {
			return all // the end
		}
		text, _ := token.(string)
		pem, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !bytes.Contains(pem, []byte("-----BEGIN")) {
			continue
		}
		key, err := sig.ParsePEM(pem)
		if err != nil {
			continue
		}
		if hash, err := key.SPKIHash(); err == nil {
			all[hex.EncodeToString(key.PEMHash[:])] = "sha256:" + hex.EncodeToString(hash[:])
		}
	}
}

// digestNames says what the digests in an attestation's body (of kind dsse or intoto) are of.
func digestNames(body []byte) map[string]string {
	type digest struct{ Algorithm, Value string }
	var b struct {
		Spec struct {
			EnvelopeHash, PayloadHash digest
			Content                   struct{ Hash, PayloadHash digest }
		}
	}
	if json.Unmarshal(body, &b) != nil {
		return nil
	}
	name := func(d digest) string { return strings.ToLower(d.Algorithm + ":" + d.Value) } // as a search key has it
	return map[string]string{
		name(b.Spec.EnvelopeHash): "envelope", name(b.Spec.Content.Hash): "envelope",
		name(b.Spec.PayloadHash): "payload", name(b.Spec.Content.PayloadHash): "payload",
	}
}

// result returns an entry for JSON.
func (o *entryPrinter) result(e *client.Entry) entryResult {
	r := entryResult{
		UUID: e.UUID, LogIndex: e.LogIndex, TreeID: strconv.FormatInt(e.TreeID, 10), IntegratedTime: e.IntegratedTime,
		Kind: e.Kind, Version: e.Version, Body: e.Body, Keys: append([]keyResult{}, o.keys(e)...),
	}
	l := logEntry{Body: e.Body, IntegratedTime: e.IntegratedTime, LogID: hex.EncodeToString(e.LogID), LogIndex: e.LogIndex}
	l.Verification.InclusionProof, l.Verification.SignedEntryTimestamp = inclusionOf(e), e.SET
	if len(e.Attestation) > 0 {
		l.Attestation = &attestationData{e.Attestation}
	}
	r.Entry = map[string]logEntry{e.UUID: l}
	r.Proved = claims(e)
	return r
}

// claims returns what the client proved of an entry, line by line.
func claims(e *client.Entry) []string {
	c := e.Proved.Checkpoint
	all := []string{
		fmt.Sprintf("log %x took it in at %s, as entry %d (signed entry timestamp)", e.LogID, unixTime(e.IntegratedTime), e.LogIndex),
		fmt.Sprintf("it is entry %d of the %d of tree %q, root hash %v (inclusion proof)", e.Proof.Index, c.Size, c.Origin, c.Root),
		"the log signed that tree (checkpoint)",
	}
	if len(e.Attestation) > 0 {
		all = append(all, "the attestation is the one that the entry is about")
	}
	return all
}

func unixTime(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// summary prints what an entry is.
func (o *entryPrinter) summary(e *client.Entry) {
	o.field("UUID", "%s", e.UUID)
	o.field("logged at", "%s", unixTime(e.IntegratedTime))
	o.field("kind", "%s %s", e.Kind, e.Version)
	const most = 20
	keys := o.keys(e)
	for _, k := range keys[:min(len(keys), most)] {
		name := k.Type
		switch {
		case k.Of != "":
			name = k.Of + " digest"
		case k.PEMSHA256 != "":
			name = "public key"
		}
		o.field(name, "%s", k.Value)
	}
	if len(keys) > most {
		o.field("…", "and %d more", len(keys)-most)
	}
	if len(e.Attestation) > 0 {
		o.field("attestation", "%d bytes", len(e.Attestation))
	}
}

// proofs prints what was proved of an entry.
func (o *entryPrinter) proofs(e *client.Entry) {
	for _, c := range claims(e) {
		o.proved("%s", c)
	}
}

// document prints indented JSON.
func (o *entryPrinter) document(title string, body []byte) {
	o.title("%s", title)
	var v any
	text := []byte(nil)
	if json.Unmarshal(body, &v) == nil {
		text, _ = json.MarshalIndent(v, "  ", "  ")
	}
	if text == nil {
		text = body
	}
	for line := range strings.Lines("  " + string(text)) {
		o.print(clean(strings.TrimRight(line, "\n")))
	}
}
