package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	// Size is how many bytes the evidence was read from.
	Size int64
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

// Attached yields what is attached to the image, one by one, as it is read: first what is under tags, then what refers to it. What
// cannot be read is an element like the others and hides none of them. No element at all
// means that nothing is attached. Whoever has found what he looks for stops, and nothing more is read.
func (i *Image) Attached(ctx context.Context, kinds Kind) iter.Seq[Attached] {
	return func(yield func(Attached) bool) {
		defer i.remote.free()
		each := func(a Attached) bool {
			a.Err = i.remote.quiet(a.Err)
			return yield(a)
		}
		if kinds&Signatures != 0 && !i.tagged(ctx, ".sig", readSignature, each) {
			return
		}
		if kinds&Attestations != 0 && !i.tagged(ctx, ".att", readAttestation, each) {
			return
		}
		i.referrers(ctx, each)
	}
}

// tagged reads the layers of the tag that cosign makes from the image's digest. It reports whether to go on.
func (i *Image) tagged(ctx context.Context, suffix string, read func(part, []byte) (*verify.Evidence, error), yield func(Attached) bool) bool {
	tag := digestTag(i.Name.DigestStr()) + suffix
	source := "tag " + tag
	layers, n, err := i.layers(ctx, tag)
	if isNotFound(err) {
		return true
	}
	if err != nil {
		return yield(Attached{Source: source, Err: err})
	}
	skipped := n - len(layers)
	if !yieldSkipped(yield, source, skipped) {
		return false
	}
	for at, layer := range layers {
		a := Attached{Source: fmt.Sprintf("%s, layer %d", source, skipped+at), Size: layer.weight()}
		var content []byte
		if content, a.Err = i.remote.blob(ctx, layer.digest, layer.size); a.Err == nil {
			a.Evidence, a.Err = read(layer, content)
		}
		if !yield(a) {
			return false
		}
	}
	return true
}

// layers returns the last MaxAttached layers of a manifest, and how many there are.
func (i *Image) layers(ctx context.Context, reference string) ([]part, int, error) {
	m, err := i.remote.manifest(ctx, reference)
	if err != nil {
		return nil, 0, err
	}
	return readParts(m.data, "layers", func(part) bool { return true })
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
func (i *Image) referrers(ctx context.Context, yield func(Attached) bool) {
	const source = "referrers"
	var list referrerList
	err := i.remote.referrers(ctx, i.Name.DigestStr(), list.read)
	found, skipped := list.newest()
	if !yieldSkipped(yield, source, skipped) || err != nil && !yield(Attached{Source: source, Err: err}) {
		return
	}
	for _, r := range found {
		if !isDigest(r.digest) {
			if !yield(Attached{Source: source, Err: malformed("the digest of one is not sha256: and 64 hexadecimal digits")}) {
				return
			}
			continue
		}
		a := Attached{Source: "referrer " + r.digest}
		var isBundle bool
		a.Evidence, a.Size, isBundle, a.Err = i.bundle(ctx, r)
		if (isBundle || a.Err != nil) && !yield(a) {
			return
		}
	}
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
func (i *Image) bundle(ctx context.Context, referrer part) (e *verify.Evidence, size int64, isBundle bool, err error) {
	layers, n, err := i.layers(ctx, referrer.digest)
	if err != nil {
		return nil, 0, false, err
	}
	isBundle = strings.HasPrefix(referrer.artifactType, bundleMediaType) || n > 0 && strings.HasPrefix(layers[0].mediaType, bundleMediaType)
	switch {
	case !isBundle:
		return nil, 0, false, nil
	case n != 1 || !strings.HasPrefix(layers[0].mediaType, bundleMediaType):
		return nil, 0, true, malformed("its manifest has not one layer that is a bundle")
	}
	content, err := i.remote.blob(ctx, layers[0].digest, layers[0].size)
	if err != nil {
		return nil, 0, true, err
	}
	e, err = verify.ParseBundle(content)
	return e, layers[0].weight(), true, err
}

// yieldSkipped yields an element that says that some were not read, if there are such, and reports whether to go on. Clients
// append, so the first are the oldest.
func yieldSkipped(yield func(Attached) bool, source string, skipped int) bool {
	return skipped == 0 || yield(Attached{Source: source, Err: malformed("there are more than %d: the first %d were not read", MaxAttached, skipped)})
}

func malformed(format string, args ...any) error {
	return &verify.Error{Class: verify.ErrMalformed, Claim: "registry", Err: errors.New(clip(fmt.Sprintf(format, args...)))}
}
