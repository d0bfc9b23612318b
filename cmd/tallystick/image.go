package main

import (
	"context"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tallystick/tallystick/registry"
)

// resolveImage finds the digest of a container image: the one in the reference, for which
// nothing is asked, or that of the tag in its registry, which is asked with the
// credentials of the user's Docker configuration.
func (p *program) resolveImage(ctx context.Context, reference string) (*registry.Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, usageError{err}
	}
	return registry.Resolve(ctx, ref, registry.Options{Transport: p.httpClient().Transport, Keychain: authn.DefaultKeychain})
}
