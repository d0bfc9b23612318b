package verify

import "time"

// TimestampVerifier checks RFC 3161 timestamps. Package verify/timestamp has one; it
// is handed in so that nobody compiles it who does not need it.
type TimestampVerifier interface {
	// VerifyTimestamp checks that token, a DER TimeStampResp, is a timestamp of message
	// by one of the authorities, whose certificates were valid then, and returns its time and
	// which authority it was. It need not look at Authority.Valid.
	VerifyTimestamp(token, message []byte, authorities []Authority) (t time.Time, authority int, err error)
}
