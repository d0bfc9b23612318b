package tlog

import (
	"encoding/base64"
	"strconv"
)

// SETMessage returns the bytes that a signed entry timestamp signs: the RFC 8785
// JSON object of body (as base64 text), integrated time (Unix seconds), log ID (64
// hexadecimal digits) and global log index. It is Rekor v1's form.
func SETMessage(body []byte, integratedTime int64, logID string, logIndex int64) []byte {
	b := make([]byte, 0, base64.StdEncoding.EncodedLen(len(body))+len(logID)+96)
	b = append(b, `{"body":"`...)
	b = base64.StdEncoding.AppendEncode(b, body)
	b = append(b, `","integratedTime":`...)
	b = strconv.AppendInt(b, integratedTime, 10)
	b = append(b, `,"logID":"`...)
	b = append(b, logID...)
	b = append(b, `","logIndex":`...)
	b = strconv.AppendInt(b, logIndex, 10)
	return append(b, '}')
}
