package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/verify"
)

// Kind is a set of what can be attached to an image.
type Kind int

// The kinds. A bundle is of either kind; it says inside of which. So bundles are
// always read.
const (
	Signatures   Kind = 1 << iota // of the image
	Attestations                  // statements about it
)

// Attached is one thing that is attached to an image, or that could not be read.
type Attached struct {
	// Source says where it is: a tag and its layer, or the digest of a referrer.
	Source string
	// Evidence is what it holds; nil if there is an error. Nothing of it is verified.
	Evidence *verify.Evidence
	// Err says why it cannot be read. It is a *verify.Error if that is for what it holds or
	// how much there is; else the registry did not let us have it.
	Err error
}

// Annotations in which cosign keeps a signature (cosign, specs/SIGNATURE_SPEC.md).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

var isAnnotation = map[string]bool{
	annotationSignature: true, annotationCertificate: true, annotationChain: true, annotationBundle: true, annotationTimestamp: true,
}

const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle" // and a version
	// emptyMediaType is that of a config without content (OCI image spec, guidelines for artifact usage).
	emptyMediaType = "application/vnd.oci.empty.v1+json"
)

// Attached returns what is attached to the image: first what is under tags, then what refers to it. What
// cannot be read is an element like the others and hides none of them. No element at all
// means that nothing is attached.
func (i *Image) Attached(ctx context.Context, kinds Kind) []Attached {
	var all []Attached
	if kinds&Signatures != 0 {
		all = append(all, i.tagged(ctx, ".sig", readSignature)...)
	}
	if kinds&Attestations != 0 {
		all = append(all, i.tagged(ctx, ".att", readAttestation)...)
	}
	return append(all, i.referrers(ctx)...)
}

// tagged reads the layers of the tag that cosign makes from the image's digest.
func (i *Image) tagged(ctx context.Context, suffix string, read func(part, []byte) (*verify.Evidence, error)) []Attached {
	tag := digestTag(i.Name.DigestStr()) + suffix
	source := "tag " + tag
	m, err := i.remote.manifest(ctx, tag)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return []Attached{{Source: source, Err: err}}
	}
	layers, n, err := readParts(m.data, "layers", func(part) bool { return true })
	if err != nil {
		return []Attached{{Source: source, Err: err}}
	}
	skipped := n - len(layers)
	all := notRead(source, skipped)
	for at, layer := range layers {
		a := Attached{Source: fmt.Sprintf("%s, layer %d", source, skipped+at)}
		var content []byte
		if content, a.Err = i.remote.blob(ctx, layer.digest, layer.size); a.Err == nil {
			a.Evidence, a.Err = read(layer, content)
		}
		all = append(all, a)
	}
	return all
}

// readSignature reads a layer of the tag .sig.
func readSignature(layer part, payload []byte) (*verify.Evidence, error) {
	if layer.annotations[annotationSignature] == "" {
		return nil, malformed("a layer has no annotation %s", annotationSignature)
	}
	return readAnnotated(layer, payload)
}

// readAttestation reads a layer of the tag .att: a DSSE envelope, which has its signature inside.
func readAttestation(layer part, envelope []byte) (*verify.Evidence, error) {
	if layer.annotations[annotationSignature] != "" {
		return nil, malformed("a signature is among the attestations")
	}
	return readAnnotated(layer, envelope)
}

func readAnnotated(layer part, payload []byte) (*verify.Evidence, error) {
	return verify.ParseCosign(verify.CosignSignature{
		Payload:     payload,
		Signature:   layer.annotations[annotationSignature],
		Certificate: layer.annotations[annotationCertificate],
		Chain:       layer.annotations[annotationChain],
		Bundle:      layer.annotations[annotationBundle],
		Timestamp:   layer.annotations[annotationTimestamp],
	})
}

// referrers reads the bundles that refer to the image (OCI distribution spec, listing referrers). If a page of the list cannot be
// read, those on the pages before it are there all the same.
func (i *Image) referrers(ctx context.Context) []Attached {
	const source = "referrers"
	var list referrerList
	err := i.remote.referrers(ctx, i.Name.DigestStr(), list.read)
	found, skipped := list.newest()
	all := notRead(source, skipped)
	if err != nil {
		all = append(all, Attached{Source: source, Err: err})
	}
	for _, r := range found {
		if !isDigest(r.digest) {
			all = append(all, Attached{Source: source, Err: malformed("the digest of one is not sha256: and 64 hexadecimal digits")})
			continue
		}
		e, isBundle, err := i.bundle(ctx, r)
		if isBundle || err != nil {
			all = append(all, Attached{"referrer " + r.digest, e, err})
		}
	}
	return all
}

// referrerList is a list of referrers, page by page. It keeps MaxAttached of each sort.
type referrerList struct {
	bundles, others []part // that are said to be bundles, and that may be
	n               int    // how many are said to be bundles
}

// read reads a page.
func (l *referrerList) read(page []byte) error {
	bundles, n, err := readParts(page, "manifests", func(p part) bool { return strings.HasPrefix(p.artifactType, bundleMediaType) })
	if err != nil {
		return err
	}
	others, _, err := readParts(page, "manifests", func(p part) bool { return p.artifactType == "" || p.artifactType == emptyMediaType })
	if err != nil {
		return err
	}
	last := func(all, more []part) []part {
		all = append(all, more...)
		return all[max(0, len(all)-MaxAttached):]
	}
	l.bundles, l.others, l.n = last(l.bundles, bundles), last(l.others, others), l.n+n
	return nil
}

// newest returns those that may be bundles, up to MaxAttached, and how many more bundles there are. Those
// that are said to be bundles come before the others: artifactType is not always right, because cosign 2
// writes the config's media type there, and so do some registries.
func (l *referrerList) newest() (found []part, skipped int) {
	room := min(MaxAttached-len(l.bundles), len(l.others))
	return append(l.bundles, l.others[len(l.others)-room:]...), l.n - len(l.bundles)
}

// bundle reads a referrer. One that is no bundle by its layer is none, and no error, if it was not
// said to be one.
func (i *Image) bundle(ctx context.Context, referrer part) (e *verify.Evidence, isBundle bool, err error) {
	m, err := i.remote.manifest(ctx, referrer.digest)
	if err != nil {
		return nil, false, err
	}
	layers, n, err := readParts(m.data, "layers", func(part) bool { return true })
	if err != nil {
		return nil, false, err
	}
	isBundle = strings.HasPrefix(referrer.artifactType, bundleMediaType) || n > 0 && strings.HasPrefix(layers[0].mediaType, bundleMediaType)
	switch {
	case !isBundle:
		return nil, false, nil
	case n != 1 || !strings.HasPrefix(layers[0].mediaType, bundleMediaType):
		return nil, true, malformed("its manifest has not one layer that is a bundle")
	}
	content, err := i.remote.blob(ctx, layers[0].digest, layers[0].size)
	if err != nil {
		return nil, true, err
	}
	e, err = verify.ParseBundle(content)
	return e, true, err
}

// notRead returns an element that says that some were not read, if there are such. Clients
// append, so the first are the oldest.
func notRead(source string, skipped int) []Attached {
	if skipped == 0 {
		return nil
	}
	return []Attached{{Source: source, Err: malformed("there are more than %d: the first %d were not read", MaxAttached, skipped)}}
}

func malformed(format string, args ...any) error {
	return &verify.Error{Class: verify.ErrMalformed, Claim: "registry", Err: errors.New(clip(fmt.Sprintf(format, args...)))}
}
