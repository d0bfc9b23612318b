package server

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/tallystick/tallystick/tlog"
)

// The answers are written by hand: reflection over them would cost more than the
// database. The tests hold each one against encoding/json and the types in
// package openapi.

// proven is an entry with its proofs, ready to be written.
type proven struct {
	shard *shard
	hash  tlog.Hash
	body  []byte
	time  int64 // integrated time, Unix seconds
	index int64 // in the tree
	set   []byte
	// view and path are the inclusion proof; view is nil if there is none.
	view *tlog.View
	path []tlog.Hash
	// digest is the SHA-256 of the attestation; zero if there is none. attestation
	// counts only if attested.
	digest      tlog.Hash
	attestation []byte
	attested    bool
}

// appendRest writes the end of an openapi.LogEntry, after its body.
func appendRest(b []byte, e *proven) []byte {
	b = append(b, `,"integratedTime":`...)
	b = strconv.AppendInt(b, e.time, 10)
	b = append(b, `,"logID":"`...)
	b = append(b, e.shard.logID...)
	b = append(b, `","logIndex":`...)
	b = strconv.AppendInt(b, e.shard.base+e.index, 10)
	b = append(b, `,"verification":{`...)
	if e.view != nil {
		b = append(b, `"inclusionProof":`...)
		b = appendInclusion(b, e)
		if e.set != nil {
			b = append(b, ',')
		}
	}
	if e.set != nil {
		b = append(b, `"signedEntryTimestamp":`...)
		b = appendBase64(b, e.set)
	}
	return append(b, `}}}`...)
}

// appendInclusion writes an openapi.InclusionProof.
func appendInclusion(b []byte, e *proven) []byte {
	b = append(b, `{"checkpoint":`...)
	b = appendString(b, e.view.Checkpoint)
	b = append(b, `,"hashes":`...)
	b = appendHashes(b, e.path)
	b = append(b, `,"logIndex":`...)
	b = strconv.AppendInt(b, e.index, 10)
	b = append(b, `,"rootHash":`...)
	b = appendHash(b, e.view.Root)
	b = append(b, `,"treeSize":`...)
	b = strconv.AppendInt(b, e.view.Size, 10)
	return append(b, '}')
}

// appendConsistency writes an openapi.ConsistencyProof.
func appendConsistency(b []byte, path []tlog.Hash, root tlog.Hash) []byte {
	b = append(b, `{"hashes":`...)
	b = appendHashes(b, path)
	b = append(b, `,"rootHash":`...)
	b = appendHash(b, root)
	return append(b, '}')
}

// appendShardInfo writes the members of an openapi.ShardInfo, without braces.
func appendShardInfo(b []byte, s *shard, v *tlog.View) []byte {
	b = append(b, `"rootHash":`...)
	b = appendHash(b, v.Root)
	b = append(b, `,"signedTreeHead":`...)
	b = appendString(b, v.Checkpoint)
	b = append(b, `,"treeID":"`...)
	b = strconv.AppendInt(b, s.tree, 10)
	b = append(b, `","treeSize":`...)
	return strconv.AppendInt(b, v.Size, 10)
}

// appendError writes an openapi.Error.
func appendError(b []byte, code int, message string) []byte {
	b = append(b, `{"code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"message":`...)
	b = appendString(b, message)
	return append(b, '}')
}

func appendHashes(b []byte, hashes []tlog.Hash) []byte {
	b = append(b, '[')
	for i, h := range hashes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendHash(b, h)
	}
	return append(b, ']')
}

func appendHash(b []byte, h tlog.Hash) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range h {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return append(b, '"')
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

// appendString writes a JSON string as encoding/json does with HTML escaping off.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			b = appendASCII(b, c)
			i++
			continue
		}
		n := min(len(s)-i, utf8.UTFMax)
		r, size := utf8.DecodeRuneInString(string(s[i : i+n]))
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, `\ufffd`...)
		case r == '\u2028':
			b = append(b, `\u2028`...)
		case r == '\u2029':
			b = append(b, `\u2029`...)
		default:
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return append(b, '"')
}

func appendASCII(b []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	if c < ' ' {
		return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
	}
	return append(b, c)
}
