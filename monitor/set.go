package monitor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// keyring are the keys of a trust that can sign entry timestamps, by log ID in hexadecimal.
type keyring map[string]verify.Log

func newKeyring(trust *verify.Trust) keyring {
	k := keyring{}
	for _, l := range trust.Material().Logs {
		// Rekor v1 logs sign with nothing else (see package verify).
		if pub, ok := l.Key.Public.(*ecdsa.PublicKey); ok && pub.Curve == elliptic.P256() {
			k[hex.EncodeToString(l.ID)] = l
		}
	}
	return k
}

// Classes of errors of a signed entry timestamp.
var (
	errForeignLog = errors.New("it is of a log that is not trusted")
	errBadSET     = errors.New("its signed entry timestamp is not the log's for this body, time and index")
	errNotValid   = errors.New("the log's key was not valid then")
)

// verifySET checks a signed entry timestamp, and returns whose it is.
func (k keyring) verifySET(logID string, body []byte, integratedTime, logIndex int64, set []byte) (verify.Log, error) {
	log, ok := k[logID]
	if !ok {
		return log, fmt.Errorf("%w: %s", errForeignLog, clip(logID))
	}
	if err := log.Key.VerifyMessage(crypto.SHA256, tlog.SETMessage(body, integratedTime, logID, logIndex), set); err != nil {
		return log, errBadSET
	}
	if at := time.Unix(integratedTime, 0).UTC(); integratedTime <= 0 || integratedTime > maxTime || !log.Valid.Contains(at) {
		return log, fmt.Errorf("%w: %d", errNotValid, integratedTime)
	}
	return log, nil
}

// maxTime is the end of the year 9999, in Unix seconds: beyond it times cannot be written down.
const maxTime = 253402300799
