package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// Raw reads a log without judging it: what it returns is what somebody answered, bounded and well
// formed, and nothing of it is true before the caller has verified it. It is for monitors, which
// have to see a lie as it was told. Everybody else wants a Client.
//
// It may be used by many goroutines.
type Raw struct{ transport }

// NewRaw returns a Raw of the log at baseURL (see New). Of the options, LogURL and
// Checkpoints mean nothing to it.
func NewRaw(baseURL string, o Options) (*Raw, error) {
	t, err := newTransport(baseURL, o)
	if err != nil {
		return nil, err
	}
	return &Raw{*t}, nil
}

// Narrow returns the trust in the log at a URL, as New does it: only the logs that have
// this URL (or logURL, if that is not empty) as their BaseURL; all of them, if they are one log.
func Narrow(trust *verify.Trust, baseURL, logURL string) (*verify.Trust, error) {
	return narrow(trust, baseURL, logURL)
}

// RawTree is what a log says of one of its trees.
type RawTree struct {
	// ID is the tree's ID as the answer has it, and Head its state. Both stand in Signed, too.
	ID   string
	Head tlog.Head
	// Signed is the checkpoint, as the log is said to have signed it.
	Signed []byte
}

// Trees returns the log's trees, oldest first; the last one is said to be active. There are
// 1 to MaxTrees.
func (r *Raw) Trees(ctx context.Context) ([]RawTree, error) {
	_, body, err := r.do(ctx, request{path: "/api/v1/log", want: http.StatusOK, limit: maxSmall})
	if err != nil {
		return nil, err
	}
	said, err := parseLogInfo(body)
	if err != nil {
		return nil, malformed("log info", err)
	}
	trees := make([]RawTree, len(said))
	for i, t := range said {
		trees[i] = RawTree{ID: t.id, Head: t.head, Signed: t.signed}
	}
	return trees, nil
}

// ConsistencyPath returns what is said to be the consistency proof (RFC 6962, section 2.1.2) between two sizes of a tree: nil if
// first is 0 or the sizes are equal, which needs no proof and no request.
func (r *Raw) ConsistencyPath(ctx context.Context, tree, first, second int64) ([]tlog.Hash, error) {
	return r.consistencyPath(ctx, tree, first, second)
}

// Entry returns what the log says the entry with this index to be, with all its proofs. If
// the log says that there is none the error is an ErrNotFound.
func (r *Raw) Entry(ctx context.Context, index int64) (*verify.Entry, error) {
	_, body, err := r.do(ctx, request{path: "/api/v1/log/entries", query: url.Values{"logIndex": {strconv.FormatInt(index, 10)}},
		want: http.StatusOK, limit: maxEntries})
	if err != nil {
		return nil, err
	}
	all, err := verify.ParseEntries(body, 1)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, foreign("answer", "it has no entry")
	}
	if all[0].LogIndex != index {
		return nil, foreign("answer", "entry %d was asked for, and entry %d was answered", index, all[0].LogIndex)
	}
	return all[0], nil
}

// RawLeaf is an entry as the log answers with many at once, without its inclusion proof: what
// the tree commits to, and what the signed entry timestamp is of.
type RawLeaf struct {
	// UUID is the entry ID that the log gave it, in lower-case hexadecimal: the leaf hash, or tree ID and leaf hash.
	UUID string
	// LogID is the log's ID in hexadecimal, as the answer has it.
	LogID string
	// LogIndex is the index in the log, and IntegratedTime when the log took it in, in Unix seconds.
	LogIndex, IntegratedTime int64
	// Body is the leaf. It need not be an entry of a kind that anybody knows, nor JSON.
	Body []byte
	// SET is the signed entry timestamp; nil if there is none.
	SET []byte
}

// Leaves returns the leaves with the indexes from … to-1, of which there are 1 to
// MaxRetrieve, in order. If the log answers without one of them, those before it are
// returned, with an error that is an ErrNotFound; if it refuses them all as not found, none.
func (r *Raw) Leaves(ctx context.Context, from, to int64) ([]RawLeaf, error) {
	n := to - from
	if from < 0 || n < 1 || n > MaxRetrieve {
		return nil, fmt.Errorf("there are no leaves %d to %d, or too many to ask for at once", from, to-1)
	}
	indexes := make([]int64, n)
	for i := range indexes {
		indexes[i] = from + int64(i)
	}
	query, err := json.Marshal(map[string]any{"logIndexes": indexes})
	if err != nil {
		return nil, err
	}
	_, body, err := r.do(ctx, request{path: "/api/v1/log/entries/retrieve", body: query, want: http.StatusOK, limit: maxEntries})
	if err != nil {
		return nil, err
	}
	got, err := parseLeaves(body, int(n))
	if err != nil {
		return nil, malformed("log entries", err)
	}
	all := make([]RawLeaf, n)
	there := make([]bool, n)
	for _, l := range got {
		at := l.LogIndex - from
		if at < 0 || at >= n {
			return nil, foreign("answer", "entry %d was answered, which was not asked for", l.LogIndex)
		}
		if there[at] {
			return nil, foreign("answer", "entry %d is in it twice", l.LogIndex)
		}
		all[at], there[at] = l, true
	}
	for i := range all {
		if !there[i] {
			return all[:i], fmt.Errorf("entry %d: %w", from+int64(i), ErrNotFound)
		}
	}
	return all, nil
}

// parseLeaves reads an array of objects of entries by their UUIDs, at most so many. What is not
// in a RawLeaf is passed over: proofs and attestations.
func parseLeaves(body []byte, most int) ([]RawLeaf, error) {
	all := make([]RawLeaf, 0, most)
	r := strictjson.New(body)
	err := r.Array(func() error {
		return r.Object(func(name []byte) error {
			if len(all) == most {
				return fmt.Errorf("there are more than the %d that were asked for", most)
			}
			if err := checkUUID(string(name)); err != nil {
				return err
			}
			all = append(all, RawLeaf{UUID: string(name)})
			return all[len(all)-1].read(&r)
		})
	})
	if err == nil {
		err = r.End()
	}
	return all, err
}

// read reads an entry (LogEntryAnon).
func (l *RawLeaf) read(r *strictjson.Reader) error {
	var body, index, at bool
	err := r.Object(func(name []byte) (err error) {
		switch string(name) {
		case "body":
			body = true
			l.Body, err = readBytes(r, verify.MaxEntryBody)
		case "integratedTime":
			at = true
			l.IntegratedTime, err = readInt(r)
		case "logIndex":
			index = true
			l.LogIndex, err = readInt(r)
		case "logID":
			var text []byte
			text, err = r.Text()
			l.LogID = strings.ToLower(string(text))
			if _, bad := hex.DecodeString(l.LogID); err == nil && (bad != nil || len(l.LogID) > 128) {
				err = fmt.Errorf("%q is not a log ID", clip(l.LogID))
			}
		case "verification":
			if r.Null() {
				return nil
			}
			return r.Object(func(name []byte) (err error) {
				if string(name) == "signedEntryTimestamp" {
					l.SET, err = readBytes(r, verify.MaxSignature)
				}
				return err
			})
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	})
	if err == nil && !(body && index && at) {
		err = fmt.Errorf("entry %s has no body, time or index", l.UUID)
	}
	return err
}

// readBytes reads base64 of at most so many bytes.
func readBytes(r *strictjson.Reader, most int) ([]byte, error) {
	text, err := r.Text()
	if err != nil {
		return nil, err
	}
	if base64.StdEncoding.DecodedLen(len(text)) > most+2 || bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("it is not base64 of at most %d bytes", most)
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(b, text)
	if err != nil || n > most {
		return nil, fmt.Errorf("it is not base64 of at most %d bytes", most)
	}
	return b[:n], nil
}
