package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tallystick/tallystick/verify"
)

// manifestTypes are the manifests that are asked for.
var manifestTypes = strings.Join([]string{
	string(types.OCIManifestSchema1), string(types.OCIImageIndex), string(types.DockerManifestSchema2), string(types.DockerManifestList),
}, ",")

// remote reads from one repository (OCI distribution spec). Package remote of go-containerregistry, whose
// handshake with the registry it uses, reads manifests of any size, and into memory of many times that size.
type remote struct {
	repository name.Repository
	keychain   authn.Keychain
	guard      *guard
	client     *http.Client // nil before the handshake
	public     bool         // Options.Public
	room       func(ctx context.Context, bytes int64) (free func(), err error)
	taken      func() // gives back the room of what was read last; nil if there is none
}

func newRemote(repository name.Repository, o Options) remote {
	return remote{repository: repository, keychain: o.Keychain, guard: newGuard(repository.Registry, o), public: o.Public, room: o.Room}
}

// take makes room for the next answer, of up to that many bytes. The one before it is not needed any more: what is kept of it is small.
func (r *remote) take(ctx context.Context, bytes int64) (err error) {
	r.free()
	if r.room != nil {
		r.taken, err = r.room(ctx, bytes)
	}
	return err
}

// free gives back the room of what was read last.
func (r *remote) free() {
	if r.taken != nil {
		r.taken()
		r.taken = nil
	}
}

// connect finds out how the registry wants to be talked to: with TLS or not, and with
// which credentials.
func (r *remote) connect(ctx context.Context) error {
	if r.client != nil {
		return nil
	}
	auth := authn.Anonymous
	if r.keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, r.keychain, r.repository); err != nil {
			return err
		}
	}
	again := transport.NewRetry(r.guard,
		transport.WithRetryBackoff(transport.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
		transport.WithRetryStatusCodes(http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout))
	t, err := transport.NewWithContext(ctx, r.repository.Registry, auth, transport.NewUserAgent(again, "tallystick"),
		[]string{r.repository.Scope(transport.PullScope)})
	if err != nil {
		return err
	}
	r.client = &http.Client{Transport: t}
	return nil
}

// manifest is a manifest as it came.
type manifest struct {
	data      []byte
	mediaType string // as the registry says
	digest    string // of data: "sha256:…"
}

// manifest fetches a manifest by its tag or digest. One by digest has that digest.
func (r *remote) manifest(ctx context.Context, reference string) (manifest, error) {
	data, h, err := r.get(ctx, "manifests", reference, "", manifestTypes, MaxManifest)
	if err != nil {
		return manifest{}, err
	}
	m := manifest{data, mediaType(h), digestOf(data)}
	if isDigest(reference) && m.digest != reference {
		return manifest{}, malformed("the registry sent another manifest than %s", reference)
	}
	return m, nil
}

// mediaType returns what an answer is, without parameters such as charset.
func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return h.Get("Content-Type")
	}
	return t
}

// referrers fetches the list of what refers to a digest, of the API or, where there is none, of the tag that takes its
// place, and hands its pages to read, until that returns an error. No page at all means that nothing does.
func (r *remote) referrers(ctx context.Context, digest string, read func(page []byte) error) error {
	seen := make(map[string]bool)
	for query := ""; ; {
		seen[query] = true
		data, h, err := r.get(ctx, "referrers", digest, query, string(types.OCIImageIndex), MaxManifest)
		if query == "" && !hasReferrers(h, err) {
			m, err := r.manifest(ctx, digestTag(digest))
			if isNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
			return read(m.data)
		}
		switch {
		case err != nil:
			return err
		case mediaType(h) != string(types.OCIImageIndex):
			return malformed("a page is of type %q", mediaType(h))
		}
		if err := read(data); err != nil {
			return err
		}
		next, ok, err := r.guard.nextPage(h, r.url("referrers", digest, ""))
		switch {
		case err != nil:
			return malformed("%v: what is on it was not read", err)
		case !ok:
			return nil
		case seen[next]:
			return malformed("its link to the next page leads to one before it: there may be more")
		case len(seen) == maxPages:
			return malformed("it has more than %d pages: the rest was not read", maxPages)
		}
		query = next
	}
}

// hasReferrers reports whether the first answer about referrers, which has these headers or is this error, is one of a registry
// that has the API, or says nothing of that.
func hasReferrers(h http.Header, err error) bool {
	var refused *transport.Error
	switch {
	case err == nil:
		return mediaType(h) == string(types.OCIImageIndex) // else something else answers there
	case errors.As(err, &refused):
		return refused.StatusCode != http.StatusNotFound && refused.StatusCode != http.StatusBadRequest && refused.StatusCode != http.StatusNotAcceptable
	}
	return true
}

// blob fetches a blob of that digest and size.
func (r *remote) blob(ctx context.Context, digest string, size int64) ([]byte, error) {
	switch {
	case !isDigest(digest):
		return nil, malformed("a digest is not sha256: and 64 hexadecimal digits")
	case size < 0 || size > MaxLayer:
		return nil, malformed("%s is said to have %d bytes, and up to %d are read", digest, size, MaxLayer)
	}
	data, _, err := r.get(ctx, "blobs", digest, "", "", size)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != size || digestOf(data) != digest {
		return nil, malformed("the registry sent other bytes than those of %s", digest)
	}
	return data, nil
}

// get fetches one thing, of up to limit bytes.
func (r *remote) get(ctx context.Context, what, reference, query, accept string, limit int64) ([]byte, http.Header, error) {
	data, h, err := r.fetch(ctx, what, reference, query, accept, limit)
	if err != nil {
		return nil, nil, r.quiet(&remoteError{err})
	}
	return data, h, nil
}

// weight is about how many times its size an answer takes in memory: as it is read, and with what it is parsed to and
// verified by.
const weight = 4

// url is where something is.
func (r *remote) url(what, reference, query string) *url.URL {
	return &url.URL{
		Scheme:   r.repository.Scheme(), // the handshake's comes in its place
		Host:     r.repository.RegistryStr(),
		Path:     fmt.Sprintf("/v2/%s/%s/%s", r.repository.RepositoryStr(), what, reference),
		RawQuery: query,
	}
}

func (r *remote) fetch(ctx context.Context, what, reference, query, accept string, limit int64) ([]byte, http.Header, error) {
	if err := r.connect(ctx); err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(what, reference, query).String(), nil)
	if err != nil {
		return nil, nil, err
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	if err := transport.CheckError(answer, http.StatusOK); err != nil {
		return nil, nil, err
	}
	tooLong := func() error { return malformed("%s/%s has more than %d bytes", what, reference, limit) }
	if answer.ContentLength > limit {
		return nil, nil, tooLong()
	}
	most := limit
	if answer.ContentLength >= 0 {
		most = answer.ContentLength
	}
	if err := r.take(ctx, weight*most); err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(data)) > limit {
		return nil, nil, tooLong()
	}
	return data, answer.Header, nil
}

// remoteError is what went wrong when a registry was asked. The registry wrote a part of its text, which is clipped.
type remoteError struct{ err error }

func (e *remoteError) Error() string { return clip(e.err.Error()) }
func (e *remoteError) Unwrap() error { return e.err }

// quiet hides what a registry that a stranger named wrote into an error: who may name any host does not get to read what it
// answers. Its class and its causes remain.
func (r *remote) quiet(err error) error {
	if !r.public || err == nil || errors.As(err, new(*quietError)) {
		return err
	}
	return &quietError{err}
}

type quietError struct{ err error }

func (e *quietError) Unwrap() error { return e.err }

func (e *quietError) Error() string {
	var answered *transport.Error
	var own *blockedError
	switch {
	case errors.As(e.err, &own):
		return own.Error()
	case errors.As(e.err, &answered):
		return fmt.Sprintf("the registry answered with status %d", answered.StatusCode)
	case errors.As(e.err, new(*verify.Error)):
		return "what the registry sent is not in order"
	}
	return "the registry cannot be reached, or does not answer as registries do"
}

// clip returns text of strangers, not long, in one line, and without what a terminal would obey.
func clip(s string) string {
	const most = 500
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, strings.TrimSpace(s[:min(len(s), 4*most)]))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// isNotFound reports whether the registry said that there is no such thing.
func isNotFound(err error) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// isDigest reports whether s is a SHA-256 digest as OCI writes it.
func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 2*sha256.Size && strings.Trim(digits, "0123456789abcdef") == ""
}

// digestTag returns the tag that is made from a digest.
func digestTag(digest string) string { return strings.Replace(digest, ":", "-", 1) }
