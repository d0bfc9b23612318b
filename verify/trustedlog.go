package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/tlog"
	"golang.org/x/mod/sumdb/note"
)

// maxLogID is the longest log ID, in bytes. A SHA-256 has 32.
const maxLogID = 64

// Algorithm bytes of C2SP signed-note, which are part of a key hash.
const (
	noteEd25519     = "\x01"
	noteCosignature = "\x04"
	// Type 0xff is "other", and says which. This one is Sigstore's (sigstore_trustroot.proto,
	// TransparencyLogInstance.checkpoint_key_id).
	noteRSA = "\xffPKIX-RSA-PKCS#1v1.5"
)

// trustedLog is a Log made ready for checking.
type trustedLog struct {
	*Log
	id     string           // Log.ID as a string, for the map
	spki   []byte           // DER SubjectPublicKeyInfo
	v1     *ecdsa.PublicKey // nil unless P-256: Rekor v1 logs sign with nothing else
	v1Hint [4]byte          // what stands before its signatures of checkpoints: the start of SHA-256 over spki
	hexID  string           // Log.ID as SETs have it
	origin string           // host name of BaseURL; "" if it has none
	shown  *Log             // a copy, for results: whoever has one could change it
	v2     note.Verifier    // its name is origin; nil if that is "" or not a key name
}

// newTrustedLog makes a log ready. It replaces l's key and ID by copies of its own, and
// fills in an ID that is nil.
func newTrustedLog(l *Log) (*trustedLog, error) {
	if !isKey(l.Key) {
		return nil, errors.New("it has no key")
	}
	spki, err := x509.MarshalPKIXPublicKey(l.Key.Public)
	if err != nil {
		return nil, err
	}
	if l.Key, err = sig.ParsePublicKey(spki); err != nil {
		return nil, err
	}
	hash, err := signatureHash(l.Key)
	if err != nil {
		return nil, err
	}
	switch {
	case l.ID == nil:
		sum := sha256.Sum256(spki)
		l.ID = sum[:]
	case len(l.ID) == 0 || len(l.ID) > maxLogID:
		return nil, fmt.Errorf("its ID has %d bytes, not 1 to %d", len(l.ID), maxLogID)
	default:
		l.ID = append([]byte(nil), l.ID...)
	}
	if err := l.Valid.check(); err != nil {
		return nil, err
	}
	t := &trustedLog{Log: l, id: string(l.ID), spki: spki}
	shown := *l
	shown.ID = bytes.Clone(l.ID)
	t.shown = &shown
	t.hexID = hex.EncodeToString(l.ID)
	id := tlog.LogID(spki)
	t.v1Hint = [4]byte(id[:])
	if key, ok := l.Key.Public.(*ecdsa.PublicKey); ok && key.Curve == elliptic.P256() {
		t.v1 = key
	}
	if u, err := url.Parse(l.BaseURL); err == nil {
		t.origin = u.Hostname()
	}
	if isKeyName(t.origin) {
		t.v2 = &logVerifier{t.origin, logKeyHash(t.origin, l.Key, spki), l.Key, hash}
	}
	return t, nil
}

// isKey reports whether there is a key, and not only the place for one.
func isKey(k *sig.Key) bool {
	if k == nil {
		return false
	}
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		return pub != nil && pub.Curve != nil
	case *rsa.PublicKey:
		return pub != nil && pub.N != nil
	case ed25519.PublicKey:
		return len(pub) == ed25519.PublicKeySize
	}
	return false
}

// signatureHash returns the hash that a log signs with, by its key: SHA-256 for RSA, the
// one of the curve's size for ECDSA, and for Ed25519 one that is not used.
func signatureHash(k *sig.Key) (crypto.Hash, error) {
	if pub, ok := k.Public.(*ecdsa.PublicKey); ok {
		switch pub.Curve {
		case elliptic.P256():
			return crypto.SHA256, nil
		case elliptic.P384():
			return crypto.SHA384, nil
		case elliptic.P521():
			return crypto.SHA512, nil
		}
		return 0, fmt.Errorf("no log signs with a key on curve %s", pub.Curve.Params().Name)
	}
	return crypto.SHA256, nil
}

// isKeyName reports whether a name may stand in a signature line (C2SP signed-note).
func isKeyName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsRune(name, '+') && strings.IndexFunc(name, unicode.IsSpace) < 0
}

// keyHash is the first four bytes of SHA-256 over a key name and a key with its algorithm
// (C2SP signed-note).
func keyHash(name, algorithm string, key []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n" + algorithm))
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// logKeyHash returns the key hash in a v2 log's own signature line. That of an ECDSA key
// is without a name.
func logKeyHash(origin string, k *sig.Key, spki []byte) uint32 {
	switch pub := k.Public.(type) {
	case ed25519.PublicKey:
		return keyHash(origin, noteEd25519, pub)
	case *rsa.PublicKey:
		return keyHash(origin, noteRSA, spki)
	}
	sum := sha256.Sum256(spki)
	return binary.BigEndian.Uint32(sum[:])
}

// logVerifier checks a v2 log's signature lines.
type logVerifier struct {
	name string
	hash uint32
	key  *sig.Key
	with crypto.Hash
}

func (v *logVerifier) Name() string    { return v.name }
func (v *logVerifier) KeyHash() uint32 { return v.hash }
func (v *logVerifier) Verify(msg, signature []byte) bool {
	return v.key.VerifyMessage(v.with, msg, signature) == nil
}
