package registry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// guard is under all requests for one image: those of the handshake, those that are tried again, and where
// redirects lead to. It bounds their number and the bytes of the answers, keeps to TLS and away from addresses that
// are not public, and sees that credentials go to the registry alone, and to the token server that the
// registry itself names: go-containerregistry would also believe a host that the registry redirects to.
//
// The user names the registry, which may be anywhere. Other hosts are the registry's to name: what their names
// stand for is checked where connections are made, unless a proxy makes them, or a RoundTripper that
// is no *http.Transport. A registry inside may lead to other hosts inside, as it does where the
// token server is another machine.
type guard struct {
	inner    http.RoundTripper
	direct   *http.Transport // inner, if it is one: it tells whether there is a proxy
	others   *http.Transport // makes connections to other hosts than the registry
	registry string          // its host and port, as it is called
	plain    bool            // of the registry TLS is not needed
	public   bool            // the registry, too, has to be at a public address

	mu       sync.Mutex
	requests int             // that are left
	bytes    int64           // that are left
	tokens   map[string]bool // token servers, by host and port
	scopes   map[scope]bool  // of the addresses at which the registry was reached
}

func newGuard(registry name.Registry, o Options) *guard {
	g := &guard{
		inner:    o.Transport,
		registry: strings.ToLower(registry.RegistryStr()),
		requests: maxRequests,
		bytes:    cmp.Or(o.MaxBytes, MaxBytes),
		tokens:   make(map[string]bool),
		scopes:   make(map[scope]bool),
	}
	if g.inner == nil {
		g.inner = http.DefaultTransport
	}
	if g.direct, _ = g.inner.(*http.Transport); g.direct != nil {
		g.others = g.direct.Clone()
		g.others.DialTLSContext = nil
		g.others.DialContext = g.dialer().DialContext
		// They are for this image alone, and nobody closes them.
		g.others.DisableKeepAlives, g.others.IdleConnTimeout = !o.Public, 5*time.Second
	}
	g.public = o.Public
	g.plain = !o.Public && (o.AllowHTTP || isLoopback(hostName(g.registry)))
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
	answer, err := g.send(r)
	if err != nil {
		return nil, err
	}
	g.learn(r.URL, answer.Header)
	answer.Body = &guardedBody{answer.Body, g}
	return answer, nil
}

// send sends a request to the registry by the transport that was given, to other hosts by
// one that looks at their addresses.
func (g *guard) send(r *http.Request) (*http.Response, error) {
	if g.direct == nil {
		return g.inner.RoundTrip(r)
	}
	if g.direct.Proxy != nil {
		if proxy, err := g.direct.Proxy(r); err != nil || proxy != nil {
			return g.inner.RoundTrip(r) // which also fails for the error
		}
	}
	if !g.isRegistry(r.URL) || g.public {
		return g.others.RoundTrip(r)
	}
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { g.reached(c.Conn.RemoteAddr()) }}
	return g.inner.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
}

// reached notes where the registry is.
func (g *guard) reached(at net.Addr) {
	ip, err := netip.ParseAddrPort(at.String())
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.scopes[scopeOf(ip.Addr())] = true
}

// dialer returns what connects to other hosts than the registry.
func (g *guard) dialer() *net.Dialer {
	return &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second, ControlContext: g.control}
}

// control refuses a connection before it is made (net.Dialer.ControlContext), if it is to an address
// to which the registry is not to lead: one that is not public, unless the registry is in the
// same kind of network.
func (g *guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return blocked("the registry leads to %s, which is no address", address)
	}
	s := scopeOf(to.Addr())
	g.mu.Lock()
	defer g.mu.Unlock()
	if s == public || s != reserved && g.scopes[s] {
		return nil
	}
	return blocked("the registry leads to %s, which is not a public address", to.Addr())
}

func (g *guard) check(r *http.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.requests--; g.requests < 0 {
		return malformed("it takes more than %d requests", maxRequests)
	}
	host := normal(r.URL.Hostname())
	itsHost := host == hostName(g.registry) // if perhaps at another port
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && g.plain && itsHost) {
		return blocked("%s is not to be reached without TLS", origin(r.URL))
	}
	if (g.public || !itsHost) && !isPublic(host) {
		return blocked("the registry leads to %s, which is not a public address", origin(r.URL))
	}
	if !g.isRegistry(r.URL) && hasCredentials(r) && !g.tokens[hostPort(r.URL)] {
		return blocked("the registry leads to %s, which is not to get credentials", origin(r.URL))
	}
	return nil
}

// blockedError says that a request was not sent. Nothing of it is the registry's text but a host's name.
type blockedError struct{ text string }

func (e *blockedError) Error() string { return clip(e.text) }

func blocked(format string, args ...any) error { return &blockedError{fmt.Sprintf(format, args...)} }

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
	return host == "localhost" || err == nil && scopeOf(ip) == loopback
}

// normal returns a host's name in the one spelling that is compared.
func normal(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// isPublic reports whether a host may be on the Internet. What a name stands for is not looked up:
// see guard.control.
func isPublic(host string) bool {
	host = normal(host)
	if ip, err := netip.ParseAddr(host); err == nil {
		return scopeOf(ip) == public
	}
	// RFC 6761, section 6.3: all names below localhost are this machine.
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" || last == "localhost" {
		return false
	}
	// International names come in their xn-- form; other characters may stand for ASCII ones, also digits.
	if strings.ContainsFunc(host, func(r rune) bool { return r > '~' }) {
		return false
	}
	// Resolvers take names that end in a number for addresses (127.1, 0x7f000001).
	return last[0] < '0' || last[0] > '9'
}

// scope is who can reach an address.
type scope int

const (
	reserved scope = iota // nobody, or by means of the network itself: link-local, multicast, special uses
	loopback              // this machine
	private               // those in one network
	public                // everybody
)

// Special networks (IANA, IPv4 and IPv6 Special-Purpose Address Registries). Of IPv6, only
// 2000::/3 is public at all.
var (
	privateNetworks = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")
	specialNetworks = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20") // 2001:: has Teredo's, 2002:: is 6to4
	publicIPv6 = netip.MustParsePrefix("2000::/3")
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: stands for the IPv4 address at its end
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func scopeOf(ip netip.Addr) scope {
	ip = ip.Unmap()
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	switch {
	case ip.IsLoopback():
		return loopback
	case slices.ContainsFunc(privateNetworks, in):
		return private
	case slices.ContainsFunc(specialNetworks, in) || ip.Is6() && !publicIPv6.Contains(ip):
		return reserved
	}
	return public
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
