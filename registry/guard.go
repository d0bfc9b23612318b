package registry

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
)

// guard is under all requests for one image: those of the handshake, those that are tried again, and where
// redirects lead to. It bounds their number and the bytes of the answers, keeps to TLS and away from addresses that
// are not public, and sees that credentials go to the registry alone, and to the token server that the
// registry itself names: go-containerregistry would also believe a host that the registry redirects to.
type guard struct {
	inner    http.RoundTripper
	registry string // its host and port, as it is called
	plain    bool   // TLS is not needed

	mu       sync.Mutex
	requests int             // that are left
	bytes    int64           // that are left
	tokens   map[string]bool // token servers, by host and port
}

func newGuard(registry name.Registry, o Options) *guard {
	g := &guard{
		inner:    o.Transport,
		registry: strings.ToLower(registry.RegistryStr()),
		requests: maxRequests,
		bytes:    cmp.Or(o.MaxBytes, MaxBytes),
		tokens:   make(map[string]bool),
	}
	if g.inner == nil {
		g.inner = http.DefaultTransport
	}
	g.plain = o.AllowHTTP || isLoopback(hostName(g.registry))
	return g
}

// RoundTrip sends a request, if it may be sent.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	answer, err := g.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	g.learn(r.URL, answer.Header)
	answer.Body = &guardedBody{answer.Body, g}
	return answer, nil
}

func (g *guard) check(r *http.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.requests--; g.requests < 0 {
		return malformed("it takes more than %d requests", maxRequests)
	}
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && g.plain) {
		return fmt.Errorf("%s is not to be reached without TLS", origin(r.URL))
	}
	if g.isRegistry(r.URL) {
		return nil
	}
	if host := r.URL.Hostname(); !isPublic(host) && host != hostName(g.registry) {
		return fmt.Errorf("the registry leads to %s, which is not a public address", origin(r.URL))
	}
	if hasCredentials(r) && !g.tokens[hostPort(r.URL)] {
		return fmt.Errorf("the registry leads to %s, which is not to get credentials", origin(r.URL))
	}
	return nil
}

// hasCredentials reports whether a request may carry what a Keychain gave: a password, or a
// refresh token in the body. A bearer token is what a token server gave for one host, and
// go-containerregistry sends it to no other.
func hasCredentials(r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return r.Method != http.MethodGet || scheme != "" && !strings.EqualFold(scheme, "Bearer")
}

var realm = regexp.MustCompile(`(?i)\brealm="([^"]*)"`)

// maxTokenServers is how many token servers a registry may name. One is usual.
const maxTokenServers = 4

// learn takes token servers from the registry's own challenges (RFC 9110, section 11.6.1).
func (g *guard) learn(from *url.URL, h http.Header) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isRegistry(from) {
		return
	}
	for _, challenge := range h.Values("WWW-Authenticate") {
		for _, m := range realm.FindAllStringSubmatch(challenge, maxTokenServers) {
			if u, err := url.Parse(m[1]); err == nil && len(g.tokens) < maxTokenServers {
				g.tokens[hostPort(u)] = true
			}
		}
	}
}

func (g *guard) isRegistry(u *url.URL) bool {
	return strings.ToLower(u.Host) == g.registry || hostPort(u) == g.registry
}

// hostPort returns host and port of a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}

// origin returns a URL without its path and query, which may be secret.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// hostName returns a registry's name without the port.
func hostName(registry string) string { return (&url.URL{Host: registry}).Hostname() }

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// isPublic reports whether a host may be on the Internet. What a name stands for is not looked up.
func isPublic(host string) bool {
	if isLoopback(host) {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		// Resolvers take names that end in a number for addresses (127.1, 0x7f000001).
		last := host[strings.LastIndexByte(strings.TrimSuffix(host, "."), '.')+1:]
		return last != "" && (last[0] < '0' || last[0] > '9')
	}
	ip = ip.Unmap()
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// guardedBody counts the bytes of an answer (without its compression).
type guardedBody struct {
	io.ReadCloser
	g *guard
}

func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	if b.g.bytes -= int64(n); b.g.bytes < 0 {
		return 0, malformed("it takes more bytes than are read for an image")
	}
	return n, err
}
