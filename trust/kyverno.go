package trust

import (
	"bytes"
	"crypto/ecdsa"
	"errors"

	"github.com/tallystick/tallystick/verify"
)

// Kyverno returns the parts of an attestor of a Kyverno ClusterPolicy (kyverno.io/v1) that say
// which log and authorities to believe, in YAML: "rekor" and "ctlog", and, if the material has
// certificate authorities, "roots", which only keyless attestors have. url is the log's.
//
// An attestor takes one log key, one CT log key and one chain of a timestamp authority: the
// material's newest, by the start of its validity, is taken, and one whose validity has an end
// never is, since a policy cannot say so. With no CT log, certificates need no SCT. Roots are the
// issuing certificates, so that no other authority below the same root is believed.
func Kyverno(m verify.Material, url string) ([]byte, error) {
	if _, err := verify.NewTrust(m); err != nil {
		return nil, err
	}
	if err := checkURL(url); err != nil {
		return nil, err
	}
	attestor := newMapping()
	log := newestLog(m.Logs)
	if log == nil {
		return nil, errors.New("there is no log that Kyverno could check: a Rekor v1 log with an ECDSA key, valid without end")
	}
	rekor := newMapping()
	rekor.text("url", url)
	rekor.add("pubkey", block(log.Key.PEM))
	attestor.add("rekor", rekor.node)

	ct, err := ctLog(m)
	if err != nil {
		return nil, err
	}
	attestor.add("ctlog", ct.node)

	var issuers []byte
	for _, a := range m.CertificateAuthorities {
		if a.Valid.End.IsZero() {
			issuers = append(issuers, chainPEM(a.Chain[:1])...)
		}
	}
	if issuers != nil {
		attestor.add("roots", block(issuers))
	} else if len(m.CertificateAuthorities) > 0 {
		return nil, errors.New("none of the certificate authorities is valid without end")
	}
	return attestor.bytes()
}

func ctLog(m verify.Material) (mapping, error) {
	out := newMapping()
	if len(m.CTLogs) == 0 {
		n := text("true")
		n.Tag, n.Style = "!!bool", 0
		out.add("ignoreSCT", n)
	} else if log := newestLog(m.CTLogs); log != nil {
		out.add("pubkey", block(log.Key.PEM))
	} else {
		return out, errors.New("there is no CT log that Kyverno could check: one with an ECDSA key, valid without end")
	}
	if tsa := newestAuthority(m.TimestampAuthorities); tsa != nil {
		out.add("tsaCertChain", block(chainPEM(tsa.Chain)))
	} else if len(m.TimestampAuthorities) > 0 {
		return out, errors.New("none of the timestamp authorities is valid without end")
	}
	return out, nil
}

// newestLog returns the log with the latest start among those that Kyverno can check.
func newestLog(logs []verify.Log) (newest *verify.Log) {
	for i, l := range logs {
		if _, ecdsaKey := l.Key.Public.(*ecdsa.PublicKey); !ecdsaKey || !v1(l) || !l.Valid.End.IsZero() {
			continue
		}
		if newest == nil || l.Valid.Start.After(newest.Valid.Start) {
			newest = &logs[i]
		}
	}
	return newest
}

// newestAuthority returns the authority with the latest start among those without an end.
func newestAuthority(list []verify.Authority) (newest *verify.Authority) {
	for i, a := range list {
		if a.Valid.End.IsZero() && (newest == nil || a.Valid.Start.After(newest.Valid.Start)) {
			newest = &list[i]
		}
	}
	return newest
}

// v1 reports whether a log's ID is the hash of its key, as that of Rekor v1 and of CT logs.
func v1(l verify.Log) bool {
	id, err := l.Key.SPKIHash()
	return err == nil && (l.ID == nil || bytes.Equal(l.ID, id[:]))
}
