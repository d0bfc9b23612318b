package forge

import (
	"crypto/x509"
	"time"
)

// World is a small world of people and services, the trusted ones and others.
type World struct {
	Start, Now      time.Time // trust begins at Start; everything is signed at Now
	Artifact        []byte
	Author          *Key
	V1, V2, V2ECDSA *Log
	CA              *CA
	Certificate     *x509.Certificate // Author's, issued to Email by Issuer
	Witnesses       []*Witness

	OtherArtifact []byte
	OtherAuthor   *Key
	ForeignV1     *Log // the same as V1, but with a key that nobody trusts
	ForeignV2     *Log
	ForeignCA     *CA
}

// Whom the World's certificates are issued to, and on whose word.
const (
	Email  = "dev@example.test"
	Issuer = "https://oidc.example.test"
)

// NewWorld returns the World, which is the same each time.
func NewWorld() *World {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start.AddDate(0, 6, 0)
	const treeID = 1193050959916656506
	w := &World{
		Start: start, Now: now,
		Artifact:  []byte("an artifact\n"),
		Author:    P256("author"),
		V1:        NewLogV1("v1.log.example.test", treeID, P256("log v1")),
		V2:        NewLogV2("v2.log.example.test", Ed25519("log v2")),
		V2ECDSA:   NewLogV2("v2-ecdsa.log.example.test", P256("log v2 ecdsa")),
		CA:        NewCA("ca.example.test", "ca", start, start.AddDate(10, 0, 0)),
		Witnesses: []*Witness{NewWitness("w1.example.test/witness", now), NewWitness("w2.example.test/witness", now), NewWitness("w3.example.test/witness", now)},

		OtherArtifact: []byte("another artifact\n"),
		OtherAuthor:   P256("other author"),
		ForeignV1:     NewLogV1("v1.log.example.test", treeID, P256("foreign log v1")),
		ForeignV2:     NewLogV2("v2.log.example.test", Ed25519("foreign log v2")),
		ForeignCA:     NewCA("ca.example.test", "foreign ca", start, start.AddDate(10, 0, 0)),
	}
	w.Certificate = w.CA.Issue(w.Subject())
	return w
}

// Subject returns what the CA knows of the author.
func (w *World) Subject() Subject {
	return Subject{Email: Email, Issuer: Issuer, Key: w.Author, From: w.Now.Add(-time.Minute), To: w.Now.Add(9 * time.Minute)}
}

// TrustedRoot returns the trusted root of the services that are trusted. tsas may be nil.
func (w *World) TrustedRoot(tsas Array) Object {
	var tlogs Array
	for _, l := range []*Log{w.V1, w.V2, w.V2ECDSA} {
		tlogs = append(tlogs, l.TrustedRoot(w.Start, time.Time{}))
	}
	return TrustedRoot(tlogs, Array{w.CA.TrustedRoot()}, tsas, Array{})
}

// Spec returns the recipe of a bundle 0.3 with an entry in the logs, signed with the author's bare key.
func (w *World) Spec(c Content, logs ...*Log) Spec {
	return Spec{Artifact: w.Artifact, Author: w.Author, Content: c, Version: "0.3", Logs: logs, Has: SETAndProof, Time: w.Now}
}

// Keyless returns the same recipe with the author's certificate.
func (w *World) Keyless(c Content, logs ...*Log) Spec {
	s := w.Spec(c, logs...)
	s.Certificate = w.Certificate
	return s
}
