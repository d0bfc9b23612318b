package ui

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/search"
	"github.com/tallystick/tallystick/sig"
)

const (
	// maxName is the most characters of a name in a list, and maxWhole on the page
	// that is about it.
	maxName  = 120
	maxWhole = 2000
	// maxSigners is how many signers a list names.
	maxSigners = 3
)

// link is text that leads somewhere.
type link struct {
	Text string
	Href string // relative to the root of the server, or an https URL; empty for no link
}

// searchLink returns the URL of a search, relative to the server's root.
func searchLink(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "search?" + q.Encode()
}

// who is a signer in one line.
type who struct {
	Name   link
	IsName bool // it is a name from a certificate, and no key
	More   int  // further names in the certificate
	Issuer link // whoever vouched for the name, if the certificate is believed; may be empty
	// Spelled has name and issuer in ASCII, as far as they have other letters, which may
	// look like Latin ones.
	Spelled []string
}

// newWho names a signer. Of several names in a certificate it takes the first that is
// wanted, or else the first.
func newWho(s entry.Signer, most int, wanted func(name string) bool) who {
	k := s.Key
	switch {
	case k == nil:
		return who{Name: link{Text: "a key that cannot be read"}}
	case len(k.Identities) > 0:
		chosen := k.Identities[max(0, slices.IndexFunc(k.Identities, wanted))]
		w := who{Name: nameLink("identity", chosen, most), IsName: true, More: len(k.Identities) - 1}
		w.spell(chosen)
		if len(k.Issuers) > 0 {
			w.Issuer = nameLink("issuer", k.Issuers[0], most)
			w.spell(k.Issuers[0])
		}
		return w
	case len(k.Certificates) > 0:
		return who{Name: link{"a certificate without a name", keyLink(k)}}
	}
	return who{Name: link{"the key " + fingerprint(k)[:16] + "…", keyLink(k)}}
}

func (w *who) spell(name string) {
	if s := spelled(name); s != "" {
		w.Spelled = append(w.Spelled, s)
	}
}

// none wants no name.
func none(string) bool { return false }

func nameLink(field, s string, most int) link {
	return link{name(s, most), searchLink(field, s)}
}

// keyLink leads to all entries of a key or certificate.
func keyLink(k *sig.Key) string { return searchLink("publicKey", hex.EncodeToString(k.PEMHash[:])) }

// fingerprint is the SHA-256 of a key's SubjectPublicKeyInfo, in hexadecimal.
func fingerprint(k *sig.Key) string {
	sum, err := k.SPKIHash()
	if err != nil { // keys of package sig can all be encoded
		return "0000000000000000"
	}
	return hex.EncodeToString(sum[:])
}

// keyKind says what kind of key it is: "ECDSA P-256".
func keyKind(k *sig.Key) string {
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + pub.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA, %d bits", pub.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "of another kind"
}

// hit is an entry in a list.
type hit struct {
	Href    string
	Index   string
	Who     []who
	More    int  // signers who are not in Who
	Named   bool // a name of Who is from a certificate
	Did     string
	Digest  string // of what it did; may be empty
	Of      string // what the digest is of
	Kind    string
	Time    stamp
	Problem string
}

func newHits(found []search.Hit, now time.Time, wanted func(name string) bool) []hit {
	hits := make([]hit, 0, len(found))
	for i := range found {
		hits = append(hits, newHit(&found[i], now, wanted))
	}
	return hits
}

func newHit(h *search.Hit, now time.Time, wanted func(name string) bool) hit {
	d := &h.Description
	v := hit{Href: "entry/" + h.UUID, Index: strconv.FormatInt(h.LogIndex, 10), Kind: kindOf(d), Time: newStamp(h.Time, now), Problem: line(h.Problem, 300)}
	for i, s := range d.Signers {
		if i == maxSigners {
			v.More = len(d.Signers) - i
			break
		}
		v.Who = append(v.Who, newWho(s, maxName, wanted))
		v.Named = v.Named || v.Who[i].IsName
	}
	v.Did = "signed " + object(d)
	if len(d.Signers) == 0 {
		v.Did = "An entry of a kind that this page cannot explain"
	}
	if len(d.Digests) > 0 {
		v.Digest, v.Of = d.Digests[0].String(), d.Digests[0].Of
	}
	return v
}

// kindOf is the kind with its version, as the API writes them.
func kindOf(d *entry.Description) string {
	if d.Kind == "" {
		return "unreadable"
	}
	return line(d.Kind+" "+d.Version, 60)
}

// object says in words what was signed.
func object(d *entry.Description) string {
	switch {
	case d.Kind == "hashedrekord" || d.Kind == "rekord":
		return "an artifact"
	case d.PayloadType == inTotoType:
		return "an in-toto statement"
	case d.PayloadType != "":
		return "an envelope with a payload of type " + name(d.PayloadType, 100)
	case d.Kind == "dsse" || d.Kind == "intoto":
		return "an attestation"
	}
	return "something"
}

// inTotoType is the media type of in-toto statements.
const inTotoType = "application/vnd.in-toto+json"
