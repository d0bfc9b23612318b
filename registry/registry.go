// Package registry reads from a container registry what is attached to an image: the
// signatures and attestations that cosign stores under tags made from the image's digest, and the
// Sigstore bundles that refer to it (OCI image spec 1.1, referrers). It compares digests and verifies
// nothing else: what it returns is for a verify.Verifier to judge.
//
// A registry is taken for hostile. What it sends is bounded in bytes and requests, for an image
// as a whole; the time is the context's. An image is what its digest says: a tag is looked up once,
// and everything else is asked for by the digest that was found.
package registry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tallystick/tallystick/verify"
)

// Limits of what is read of an image.
const (
	MaxAttached = 64               // layers of a tag, and referrers; of more, the last ones are read
	MaxManifest = 4 << 20          // bytes of a manifest (OCI distribution spec: what a registry should take)
	MaxLayer    = verify.MaxBundle // bytes of a signature's payload, an attestation or a bundle
	MaxBytes    = 64 << 20         // bytes of all answers, unless Options say otherwise
	maxRequests = 1024             // HTTP requests, with redirects and what is tried again
)

// Options say how to reach a registry.
type Options struct {
	// Transport sends the requests; nil for http.DefaultTransport.
	Transport http.RoundTripper
	// Keychain has the credentials; nil for none. It is asked for those of the image's repository alone, and they
	// are sent to its registry and to the token server that this registry names, and nowhere else.
	Keychain authn.Keychain
	// AllowHTTP allows connections without TLS. To a registry on loopback they always are.
	AllowHTTP bool
	// MaxBytes bounds all answers together; 0 stands for the constant MaxBytes.
	MaxBytes int64
	// Public is for a registry that a stranger named, and not the user: it has to be at a public address and to speak TLS, whatever
	// AllowHTTP says, and errors tell nothing of what it answered but the status.
	Public bool
	// Room, if it is not nil, is asked before an answer takes up memory, about so many bytes: to wait until there is room, or to refuse. What
	// it returns is called when the answer is not needed any more. An image holds one room at a time.
	Room func(ctx context.Context, bytes int64) (free func(), err error)
}

// Image is an image whose digest is known. It is for one goroutine, and for one verdict: the limits are
// those of its lifetime.
type Image struct {
	// Name names the image by its digest: of a multi-platform image, that of the index.
	Name     name.Digest
	artifact verify.Artifact
	remote   remote
}

// Resolve finds the digest of an image. A reference that has one costs no request, and
// says nothing of whether there is such an image. A tag is looked up in the registry, here and never again.
func Resolve(ctx context.Context, ref name.Reference, o Options) (*Image, error) {
	i := &Image{remote: newRemote(ref.Context(), o)}
	switch ref := ref.(type) {
	case name.Digest:
		i.Name = ref
	case name.Tag:
		m, err := i.remote.manifest(ctx, ref.TagStr())
		i.remote.free()
		if err != nil {
			return nil, fmt.Errorf("looking up %s: %w", ref.Name(), err)
		}
		switch types.MediaType(m.mediaType) {
		case types.OCIManifestSchema1, types.OCIImageIndex, types.DockerManifestSchema2, types.DockerManifestList:
			i.Name = ref.Context().Digest(m.digest)
		default:
			return nil, fmt.Errorf("looking up %s: %w", ref.Name(), i.remote.quiet(fmt.Errorf("it is neither an image nor an index, but of type %q", clip(m.mediaType))))
		}
	default:
		return nil, fmt.Errorf("%v is neither a tag nor a digest", ref)
	}
	if !isDigest(i.Name.DigestStr()) {
		return nil, fmt.Errorf("%s: images are known by SHA-256 digests", i.Name)
	}
	var err error
	i.artifact, err = verify.ParseDigest(i.Name.DigestStr())
	return i, err
}

// Artifact is the image as something to verify.
func (i *Image) Artifact() verify.Artifact { return i.artifact }
