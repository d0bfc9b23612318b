package forge

import (
	"crypto/sha256"
	"fmt"
)

// HashedRekordV1 returns the body of a hashedrekord 0.0.1 entry.
func HashedRekordV1(algorithm string, digest, signature, verifier []byte) Object {
	return Object{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": Object{
		"data":      Object{"hash": Object{"algorithm": algorithm, "value": fmt.Sprintf("%x", digest)}},
		"signature": Object{"content": Base64(signature), "publicKey": Object{"content": Base64(verifier)}},
	}}
}

// RekordV1 returns the body of a rekord 0.0.1 entry in the format x509.
func RekordV1(digest, signature, verifier []byte) Object {
	return Object{"apiVersion": "0.0.1", "kind": "rekord", "spec": Object{
		"data":      Object{"hash": Object{"algorithm": "sha256", "value": fmt.Sprintf("%x", digest)}},
		"signature": Object{"content": Base64(signature), "format": "x509", "publicKey": Object{"content": Base64(verifier)}},
	}}
}

// IntotoV1 returns the body of an intoto 0.0.1 entry, which records the envelope by its hash alone.
func IntotoV1(envelope, payload, verifier []byte) Object {
	return Object{"apiVersion": "0.0.1", "kind": "intoto", "spec": Object{
		"content":   Object{"hash": hashOf(envelope), "payloadHash": hashOf(payload)},
		"publicKey": Base64(verifier),
	}}
}

// DSSEV1 returns the body of a dsse 0.0.1 entry. envelope is what was uploaded.
func DSSEV1(envelope, payload, signature, verifier []byte) Object {
	return Object{"apiVersion": "0.0.1", "kind": "dsse", "spec": Object{
		"envelopeHash": hashOf(envelope),
		"payloadHash":  hashOf(payload),
		"signatures":   Array{Object{"signature": Base64(signature), "verifier": Base64(verifier)}},
	}}
}

// IntotoV2 returns the body of an intoto 0.0.2 entry, whose signatures are in base64 twice.
func IntotoV2(envelope []byte, payloadType string, payload, signature, verifier []byte) Object {
	return Object{"apiVersion": "0.0.2", "kind": "intoto", "spec": Object{"content": Object{
		"envelope": Object{"payloadType": payloadType, "signatures": Array{
			Object{"publicKey": Base64(verifier), "sig": Base64([]byte(Base64(signature)))},
		}},
		"hash":        hashOf(envelope),
		"payloadHash": hashOf(payload),
	}}}
}

// HashedRekordV2 returns the body of a hashedrekord 0.0.2 entry. algorithm and details are
// names of Sigstore's HashAlgorithm and PublicKeyDetails.
func HashedRekordV2(algorithm string, digest, signature []byte, details string, verifier Object) Object {
	v := Object{"keyDetails": details}
	for name, member := range verifier {
		v[name] = member
	}
	return Object{"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": Object{"hashedRekordV002": Object{
		"data":      Object{"algorithm": algorithm, "digest": Base64(digest)},
		"signature": Object{"content": Base64(signature), "verifier": v},
	}}}
}

func hashOf(b []byte) Object {
	return Object{"algorithm": "sha256", "value": fmt.Sprintf("%x", sha256.Sum256(b))}
}
