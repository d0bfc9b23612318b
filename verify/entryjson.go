package verify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
)

// ParseEntry reads one log entry in JSON: the answer of a Rekor v1 API, which is an
// object of one entry by its UUID, or a TransparencyLogEntry (v1 or v2; Sigstore's
// sigstore_rekor.proto). Errors are of class ErrMalformed.
func ParseEntry(data []byte) (*Entry, error) {
	if e, err := parseTransparencyLogEntry(data); err == nil {
		return e, nil
	} else if !looksLikeAnswer(data) {
		return nil, &Error{ErrMalformed, "log entry", err}
	}
	all, err := ParseEntries(data, 1)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, malformed("log entry", "the answer has none")
	}
	return all[0], nil
}

// looksLikeAnswer reports whether the first member's name is a UUID's.
func looksLikeAnswer(data []byte) bool {
	is := false
	stop := errors.New("enough")
	r := strictjson.New(data)
	_ = r.Object(func(name []byte) error {
		_, err := parseUUID(name)
		is = err == nil
		return stop
	})
	return is
}

func parseTransparencyLogEntry(data []byte) (*Entry, error) {
	if len(data) > MaxBundle {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(data), MaxBundle)
	}
	var e *Entry
	err := whole(data, func(r *strictjson.Reader) (err error) {
		e, err = readTransparencyLogEntry(r)
		return err
	})
	if err == nil {
		_, err = e.check()
	}
	return e, err
}

// readTransparencyLogEntry reads a TransparencyLogEntry in protobuf's JSON.
func readTransparencyLogEntry(r *strictjson.Reader) (*Entry, error) {
	e := &Entry{}
	_, err := object(r, "log entry", func(name []byte) (err error) {
		switch string(name) {
		case "logIndex":
			e.LogIndex, err = readInt64(r, "logIndex")
		case "logId":
			_, err = object(r, "logId", func(name []byte) (err error) {
				if string(name) != "keyId" {
					return unknownMember("logId", name)
				}
				e.LogID, err = readBase64(r, "keyId", maxLogID)
				return err
			})
		case "kindVersion":
			_, err = object(r, "kindVersion", func(name []byte) error {
				text, err := readText(r, "kindVersion")
				switch string(name) {
				case "kind":
					e.Kind = wellKnown(text)
				case "version":
					e.Version = wellKnown(text)
				default:
					return unknownMember("kindVersion", name)
				}
				return err
			})
		case "integratedTime":
			e.IntegratedTime, err = readInt64(r, "integratedTime")
		case "inclusionPromise":
			_, err = object(r, "inclusionPromise", func(name []byte) (err error) {
				if string(name) != "signedEntryTimestamp" {
					return unknownMember("inclusionPromise", name)
				}
				e.SET, err = readBase64(r, "signedEntryTimestamp", MaxSignature)
				return err
			})
		case "inclusionProof":
			p := &InclusionProof{}
			var present bool
			present, err = object(r, "inclusionProof", func(name []byte) error { return p.readProto(r, name) })
			if present {
				e.Proof = p
			}
		case "canonicalizedBody":
			e.Body, err = readBase64(r, "canonicalizedBody", MaxEntryBody)
		default:
			return unknownMember("a log entry", name)
		}
		return err
	})
	return e, err
}

func (p *InclusionProof) readProto(r *strictjson.Reader, name []byte) (err error) {
	switch string(name) {
	case "logIndex":
		p.Index, err = readInt64(r, "logIndex")
	case "rootHash":
		p.Head.Root, err = readHash(r, "rootHash")
	case "treeSize":
		p.Head.Size, err = readInt64(r, "treeSize")
	case "hashes":
		p.Path = make([]tlog.Hash, 0, 32)
		err = array(r, "hashes", MaxProof, func() error {
			h, err := readHash(r, "a hash of the inclusion proof")
			p.Path = append(p.Path, h)
			return err
		})
	case "checkpoint":
		_, err = object(r, "checkpoint", func(name []byte) (err error) {
			if string(name) != "envelope" {
				return unknownMember("checkpoint", name)
			}
			p.Checkpoint, err = readText(r, "envelope")
			return err
		})
	default:
		return unknownMember("inclusionProof", name)
	}
	return err
}

// ParseEntries reads up to max log entries of a Rekor v1 API: an object of entries by
// their UUIDs, or an array of such objects (…/entries/retrieve). Errors are of class
// ErrMalformed.
func ParseEntries(data []byte, max int) ([]*Entry, error) {
	if len(data) > MaxBundle {
		return nil, malformed("log entries", "%d bytes are over the limit of %d", len(data), MaxBundle)
	}
	var all []*Entry
	err := whole(data, func(r *strictjson.Reader) error {
		one := func() error {
			if r.Peek() != '{' {
				return errors.New("not an object of log entries")
			}
			return r.Object(func(name []byte) error {
				if len(all) >= max {
					return fmt.Errorf("there are more than %d entries", max)
				}
				e, err := readAnswer(r, name)
				all = append(all, e)
				return err
			})
		}
		if r.Peek() == '[' {
			return r.Array(one)
		}
		return one()
	})
	if err != nil {
		return nil, &Error{ErrMalformed, "log entries", err}
	}
	return all, nil
}

// readAnswer reads an entry as a Rekor v1 API answers with it (LogEntryAnon).
func readAnswer(r *strictjson.Reader, uuid []byte) (*Entry, error) {
	e := &Entry{}
	var err error
	if e.UUID, err = parseUUID(uuid); err != nil {
		return nil, err
	}
	if r.Peek() != '{' {
		return nil, errors.New("a log entry is not an object")
	}
	err = r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "body":
			e.Body, err = readBase64(r, "body", MaxEntryBody)
		case "integratedTime":
			e.IntegratedTime, err = readNumber(r, "integratedTime")
		case "logID":
			e.LogID, err = readHex(r, "logID", maxLogID)
		case "logIndex":
			e.LogIndex, err = readNumber(r, "logIndex")
		case "attestation":
			_, err = object(r, "attestation", func(name []byte) (err error) {
				if string(name) != "data" {
					return unknownMember("attestation", name)
				}
				e.Attestation, err = readBase64(r, "attestation", MaxBundle)
				if err == nil && len(e.Attestation) == 0 {
					err = errors.New("the attestation is empty")
				}
				return err
			})
		case "verification":
			_, err = object(r, "verification", func(name []byte) (err error) {
				switch string(name) {
				case "signedEntryTimestamp":
					e.SET, err = readBase64(r, "signedEntryTimestamp", MaxSignature)
				case "inclusionProof":
					p := &InclusionProof{}
					var present bool
					present, err = object(r, "inclusionProof", func(name []byte) error { return p.readAnswer(r, name) })
					if present {
						e.Proof = p
					}
				default:
					return unknownMember("verification", name)
				}
				return err
			})
		default:
			return unknownMember("a log entry", name)
		}
		return err
	})
	if err == nil {
		e.Kind, e.Version, _, err = readBody(e.Body)
	}
	if err == nil {
		_, err = e.check()
	}
	return e, err
}

func (p *InclusionProof) readAnswer(r *strictjson.Reader, name []byte) (err error) {
	switch string(name) {
	case "logIndex":
		p.Index, err = readNumber(r, "logIndex")
	case "rootHash":
		p.Head.Root, err = readHexHash(r, "rootHash")
	case "treeSize":
		p.Head.Size, err = readNumber(r, "treeSize")
	case "hashes":
		err = array(r, "hashes", MaxProof, func() error {
			h, err := readHexHash(r, "a hash of the inclusion proof")
			p.Path = append(p.Path, h)
			return err
		})
	case "checkpoint":
		p.Checkpoint, err = readText(r, "checkpoint")
	default:
		return unknownMember("inclusionProof", name)
	}
	return err
}

// readHex reads lower-case hexadecimal of at most max bytes decoded.
func readHex(r *strictjson.Reader, what string, max int) ([]byte, error) {
	text, err := readText(r, what)
	if err != nil {
		return nil, err
	}
	b := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(b, text); err != nil || len(b) > max || bytes.ContainsAny(text, "ABCDEF") {
		return nil, fmt.Errorf("%s is not lower-case hexadecimal of up to %d bytes", what, max)
	}
	return b, nil
}

func readHexHash(r *strictjson.Reader, what string) (tlog.Hash, error) {
	b, err := readHex(r, what, tlog.HashSize)
	if err == nil && len(b) != tlog.HashSize {
		err = fmt.Errorf("%s has %d bytes, not %d", what, len(b), tlog.HashSize)
	}
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.Hash(b), nil
}

// parseUUID reads an entry ID: a leaf hash, or a tree ID and a leaf hash.
func parseUUID(name []byte) (string, error) {
	if len(name) != 64 && len(name) != 80 || strings.Trim(string(name), "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not an entry ID", clip(string(name)))
	}
	return string(name), nil
}
