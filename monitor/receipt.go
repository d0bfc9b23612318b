package monitor

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

const (
	// MaxReceipts is the largest number of receipts of a log.
	MaxReceipts = 4096
	// MaxReceiptFile bounds a file of receipts, in bytes.
	MaxReceiptFile = verify.MaxBundle
)

// Receipt is a promise of a log: the signed entry timestamp of a body, a time and an index. With it may come a checkpoint
// that the log signed for whoever got the receipt.
type Receipt struct {
	logID      string // hexadecimal
	body       []byte
	time       int64 // Unix seconds
	index      int64 // in the log
	set        []byte
	checkpoint []byte // nil if there is none
}

// Index returns the index in the log that was promised.
func (r *Receipt) Index() int64 { return r.index }

// id identifies what was promised, whatever the signature.
func (r *Receipt) id() string {
	h := sha256.New()
	h.Write([]byte("receipt\x00" + r.logID + "\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(r.index)))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(r.time)))
	leaf := tlog.LeafHash(r.body)
	h.Write(leaf[:])
	sum := sha256.Sum256(r.checkpoint)
	h.Write(sum[:])
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// checkReceipts sees that promises are the log's: what it did not sign proves nothing against it.
func checkReceipts(all []Receipt, trust *verify.Trust) error {
	if len(all) > MaxReceipts {
		return fmt.Errorf("%d receipts, more than %d", len(all), MaxReceipts)
	}
	keys := newKeyring(trust)
	for i := range all {
		r := &all[i]
		_, err := keys.verifySET(r.logID, r.body, r.time, r.index, r.set)
		if err == nil && r.checkpoint != nil {
			_, err = trust.VerifyCheckpoint(r.checkpoint, nil)
		}
		if err != nil {
			return fmt.Errorf("the receipt of log entry %d proves nothing: %w", r.index, err)
		}
	}
	return nil
}

// ParseReceipts reads the promises in a file that somebody was given: the answer of the v1 API (entries by UUID, or an array of such
// objects), a TransparencyLogEntry (Sigstore's sigstore_rekor.proto), a Sigstore bundle, or a bundle of cosign's older
// forms. Nothing of them is verified. A file without any is an error.
func ParseReceipts(data []byte) ([]Receipt, error) {
	if len(data) > MaxReceiptFile {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxReceiptFile)
	}
	p := receiptReader{}
	r := strictjson.New(data)
	if r.Peek() == '[' {
		return p.entries(data)
	}
	first := true
	err := r.Object(func(name []byte) error {
		if first && (len(name) == 64 || len(name) == 80) {
			return errAnswer
		}
		first = false
		return p.member(&r, string(name))
	})
	switch {
	case errors.Is(err, errAnswer):
		return p.entries(data)
	case err == nil:
		err = r.End()
	}
	switch {
	case err != nil:
		return nil, err
	case p.kind:
		return p.one(data)
	case p.top.payload || p.top.set != nil:
		err = p.cosign(&p.top)
	}
	if err == nil && len(p.all) == 0 {
		err = errors.New("there is no log entry in it")
	}
	return p.all, err
}

var errAnswer = errors.New("it is an answer of the API")

type receiptReader struct {
	all  []Receipt
	top  cosignReceipt
	kind bool // it is a TransparencyLogEntry
}

// member reads what is of interest at the top of a file.
func (p *receiptReader) member(r *strictjson.Reader, name string) error {
	switch name {
	case "canonicalizedBody":
		p.kind = true
	case "verificationMaterial": // of a Sigstore bundle
		if r.Null() {
			return nil
		}
		return r.Object(func(name []byte) error {
			if string(name) != "tlogEntries" || r.Null() {
				return nil
			}
			return r.Array(func() error {
				raw, err := r.Raw()
				if err != nil {
					return err
				}
				if len(p.all) == verify.MaxEntries {
					return fmt.Errorf("more than %d log entries", verify.MaxEntries)
				}
				_, err = p.one(raw)
				return err
			})
		})
	case "rekorBundle": // of cosign's sign-blob --bundle
		if r.Null() {
			return nil
		}
		var c cosignReceipt
		if err := r.Object(func(name []byte) error { return c.member(r, string(name)) }); err != nil {
			return err
		}
		return p.cosign(&c)
	case "SignedEntryTimestamp", "Payload": // of cosign's annotation dev.sigstore.cosign/bundle
		return p.top.member(r, name)
	}
	return nil
}

func (p *receiptReader) entries(data []byte) ([]Receipt, error) {
	entries, err := verify.ParseEntries(data, MaxReceipts)
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, errors.New("there is no log entry in it")
	}
	for _, e := range entries {
		if err := p.add(e); err != nil {
			return nil, err
		}
	}
	return p.all, nil
}

// one reads a TransparencyLogEntry.
func (p *receiptReader) one(data []byte) ([]Receipt, error) {
	e, err := verify.ParseEntry(data)
	if err != nil {
		return nil, err
	}
	return p.all, p.add(e)
}

func (p *receiptReader) add(e *verify.Entry) error {
	if e.SET == nil {
		return fmt.Errorf("log entry %d has no signed entry timestamp: it is not one of Rekor v1", e.LogIndex)
	}
	r := Receipt{logID: hex.EncodeToString(e.LogID), body: e.Body, time: e.IntegratedTime, index: e.LogIndex, set: e.SET}
	if e.Proof != nil {
		r.checkpoint = e.Proof.Checkpoint
	}
	p.all = append(p.all, r)
	return nil
}

// cosignReceipt is {"SignedEntryTimestamp":base64,"Payload":{"body":base64,"integratedTime":…,"logIndex":…,"logID":hex}}.
type cosignReceipt struct {
	Receipt
	payload bool
}

func (c *cosignReceipt) member(r *strictjson.Reader, name string) (err error) {
	switch name {
	case "SignedEntryTimestamp":
		c.set, err = readBase64(r, verify.MaxSignature)
	case "Payload":
		c.payload = true
		return r.Object(func(name []byte) (err error) {
			switch string(name) {
			case "body":
				c.body, err = readBase64(r, verify.MaxEntryBody)
			case "integratedTime":
				c.time, err = readInt(r)
			case "logIndex":
				c.index, err = readInt(r)
			case "logID":
				var text []byte
				text, err = r.Text()
				c.logID = strings.ToLower(string(text))
			}
			return err
		})
	}
	return err
}

func (p *receiptReader) cosign(c *cosignReceipt) error {
	if !c.payload || c.set == nil || len(c.body) == 0 || c.index < 0 {
		return errors.New("the rekorBundle is not whole")
	}
	p.all = append(p.all, c.Receipt)
	return nil
}

// readBase64 reads base64 of at most so many bytes.
func readBase64(r *strictjson.Reader, most int) ([]byte, error) {
	text, err := r.Text()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil || len(b) > most || base64.StdEncoding.EncodedLen(len(b)) != len(text) {
		return nil, fmt.Errorf("not base64 of at most %d bytes", most)
	}
	return b, nil
}

// readInt reads a whole number from 0 up.
func readInt(r *strictjson.Reader) (int64, error) {
	raw, err := r.Raw()
	if err != nil {
		return 0, err
	}
	n, err := parseInt(string(raw))
	if err != nil {
		return 0, err
	}
	return n, nil
}
