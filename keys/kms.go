package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// maxCalls bounds the calls to a service that are under way at once: each is a
// process of its own.
const maxCalls = 16

// maxCall is how long one call may take; a caller's nearer deadline comes first.
const maxCall = 30 * time.Second

// The scheme names a program to be run (sigstore-kms-<scheme>), so it must not be
// able to name a path.
var schemeSyntax = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

// openKMS reaches a key through sigstore's plug-in interface
// (sigstore/sigstore, pkg/signature/kms/cliplugin).
func openKMS(ctx context.Context, uri string) (*Key, error) {
	scheme, _, _ := strings.Cut(uri, "://")
	if !schemeSyntax.MatchString(scheme) {
		return nil, fmt.Errorf("key %q: %q cannot be the scheme of a key management service", uri, scheme)
	}
	// The library sends the deadline of this context along with every later call.
	service, err := kms.Get(context.WithoutCancel(ctx), uri, crypto.SHA256)
	var missing *kms.ProviderNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("%w: key %s needs the program sigstore-kms-%s on the PATH: %w", ErrNotFound, uri, scheme, err)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", uri, err)
	}
	r := &remote{uri: uri, service: service, calls: make(chan struct{}, maxCalls)}
	public, err := call(ctx, r, func(ctx context.Context) (crypto.PublicKey, error) {
		return service.PublicKey(options.WithContext(ctx))
	})
	if err != nil {
		return nil, fmt.Errorf("key %s: asking for its public key: %w", uri, err)
	}
	k, err := newKey(public, r)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", uri, err)
	}
	r.public = k.public
	return k, nil
}

// remote signs with a key that a service holds.
type remote struct {
	uri     string
	service kms.SignerVerifier
	public  *ecdsa.PublicKey
	calls   chan struct{} // holds one element per call under way
}

func (r *remote) sign(ctx context.Context, message []byte) ([]byte, error) {
	signature, err := call(ctx, r, func(ctx context.Context) ([]byte, error) {
		return r.service.SignMessage(bytes.NewReader(message), options.WithContext(ctx))
	})
	if err != nil {
		return nil, fmt.Errorf("signing with key %s: %w", r.uri, err)
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(r.public, digest[:], signature) {
		return nil, fmt.Errorf("signing with key %s: the service returned a signature that its public key does not verify", r.uri)
	}
	return signature, nil
}

// call runs one call to the service and returns at ctx's end even if the plug-in
// does not: it may have left a child that keeps its output open. Its place among
// maxCalls is free again only when it has really ended.
func call[T any](ctx context.Context, r *remote, f func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	ctx, cancel := context.WithTimeout(ctx, maxCall)
	defer cancel()
	select {
	case r.calls <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for one of %d calls to end: %w", maxCalls, ctx.Err())
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-r.calls }()
		value, err := guard(func() (T, error) { return f(ctx) })
		done <- answer{value, err}
	}()
	select {
	case a := <-done:
		if a.err != nil && ctx.Err() != nil {
			return none, fmt.Errorf("%w: %w", ctx.Err(), a.err)
		}
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// guard turns a panic into an error: the library takes for granted that a plug-in's
// answer has the part that was asked for.
func guard[T any](f func() (T, error)) (value T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the plug-in's answer is not one to this question: %v", r)
		}
	}()
	return f()
}
