package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/net/dns/dnsmessage"
)

func mustDecode(t *testing.T, data []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}

// internet is some hosts that the transport leads to: with TLS on port 443, without it on port 80.
type internet struct {
	t     *testing.T
	hosts map[string]http.HandlerFunc

	mu   sync.Mutex
	seen []string // "GET https://host/path Authorization"
}

// fakeTransport is of a type that the guard does not know: all names lead to this machine.
type fakeTransport struct{ *http.Transport }

// transport starts the servers and returns the transport that leads to them.
func (n *internet) transport() http.RoundTripper { return fakeTransport{n.start()} }

func (n *internet) start() *http.Transport {
	handler := func(scheme string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			n.mu.Lock()
			n.seen = append(n.seen, strings.TrimSpace(fmt.Sprintf("%s %s://%s%s %s%s", r.Method, scheme, r.Host, r.URL.Path, r.Header.Get("Authorization"), body)))
			n.mu.Unlock()
			if h := n.hosts[scheme+"://"+r.Host]; h != nil {
				h(w, r)
				return
			}
			http.NotFound(w, r)
		})
	}
	secure, plain := httptest.NewTLSServer(handler("https")), httptest.NewServer(handler("http"))
	n.t.Cleanup(secure.Close)
	n.t.Cleanup(plain.Close)
	t := secure.Client().Transport.(*http.Transport).Clone()
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		to := secure.Listener.Addr().String()
		if strings.HasSuffix(address, ":80") {
			to = plain.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	}
	return t
}

// secrets returns the requests that carry something of the user's.
func (n *internet) secrets() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []string
	for _, s := range n.seen {
		if strings.Contains(s, "dXNlcjpzZWNyZXQ=") || strings.Contains(s, "secret") || strings.Contains(s, "session") {
			all = append(all, s)
		}
	}
	return all
}

// keychain has credentials for one registry, and remembers what it was asked for.
type keychain struct {
	registry string
	config   authn.AuthConfig
	asked    []string
}

func (k *keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	k.asked = append(k.asked, r.RegistryStr())
	if r.RegistryStr() != k.registry {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(k.config), nil
}

// user:secret in base64 is dXNlcjpzZWNyZXQ=.
var password = authn.AuthConfig{Username: "user", Password: "secret"}

func mustTag(t *testing.T, s string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(s)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

const anImage = `{"schemaVersion":2,"mediaType":"` + manifestType + `","layers":[]}`

func serveImage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", manifestType)
	io.WriteString(w, anImage)
}

// basic asks for a password, and redirects manifests to another host.
func basic(redirect string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v2/":
		case redirect != "":
			http.Redirect(w, r, redirect, http.StatusTemporaryRedirect)
		default:
			serveImage(w)
		}
	}
}

// bearer asks for a token of a realm, and takes the token "session".
func bearer(realm, redirect string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer session":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="s",scope="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v2/":
		case redirect != "":
			http.Redirect(w, r, redirect, http.StatusTemporaryRedirect)
		default:
			serveImage(w)
		}
	}
}

func tokenServer(token string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"token":%q}`, token) }
}

// Credentials go to the registry that was asked for, and to the token server that it names itself.
// (CVE-2025-27403: credentials were sent to other registries)
func TestCredentials(t *testing.T) {
	const registry = "example.com"
	for name, c := range map[string]struct {
		hosts    map[string]http.HandlerFunc
		config   authn.AuthConfig
		resolves bool
		secret   []string // hosts that may see something secret
	}{
		"basic": {
			map[string]http.HandlerFunc{"https://example.com": basic("")},
			password, true, []string{"https://example.com/"},
		},
		"basic, blobs elsewhere": {
			map[string]http.HandlerFunc{
				"https://example.com":     basic("https://cdn.example.com/blob"),
				"https://cdn.example.com": func(w http.ResponseWriter, _ *http.Request) { serveImage(w) },
			}, password, true, []string{"https://example.com/"},
		},
		"basic, elsewhere asks for a password": {
			map[string]http.HandlerFunc{"https://example.com": basic("https://cdn.example.com/blob"), "https://cdn.example.com": basic("")},
			password, false, []string{"https://example.com/"},
		},
		"basic, elsewhere with a password in the URL": {
			map[string]http.HandlerFunc{
				"https://example.com":     basic("https://user:secret@cdn.example.com/blob"),
				"https://cdn.example.com": func(w http.ResponseWriter, _ *http.Request) { serveImage(w) },
			}, password, false, []string{"https://example.com/"},
		},
		"bearer": {
			map[string]http.HandlerFunc{"https://example.com": bearer("https://example.com/token", ""), "https://auth.example.com": tokenServer("x")},
			password, false, []string{"https://example.com/"}, // here /token asks for a token, too
		},
		"bearer, token server of its own": {
			map[string]http.HandlerFunc{"https://example.com": bearer("https://auth.example.com/token", ""), "https://auth.example.com": tokenServer("session")},
			password, true, []string{"https://example.com/", "https://auth.example.com/"},
		},
		"bearer, blobs elsewhere": {
			map[string]http.HandlerFunc{
				"https://example.com":      bearer("https://auth.example.com/token", "https://cdn.example.com/blob"),
				"https://auth.example.com": tokenServer("session"),
				"https://cdn.example.com":  func(w http.ResponseWriter, _ *http.Request) { serveImage(w) },
			}, password, true, []string{"https://example.com/", "https://auth.example.com/"},
		},
		"bearer, elsewhere wants a token of its own": { // as registry.k8s.io does
			map[string]http.HandlerFunc{
				"https://example.com":      bearer("https://auth.example.com/token", "https://cdn.example.com/v2/blob"),
				"https://auth.example.com": tokenServer("session"),
				"https://cdn.example.com": func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") == "Bearer anonymous" {
						serveImage(w)
						return
					}
					w.Header().Set("WWW-Authenticate", `Bearer realm="https://tokens.example.com/token",service="s",scope="x"`)
					w.WriteHeader(http.StatusUnauthorized)
				},
				"https://tokens.example.com": tokenServer("anonymous"),
			}, password, true, []string{"https://example.com/", "https://auth.example.com/"},
		},
		"the handshake is redirected": {
			map[string]http.HandlerFunc{
				"https://example.com": func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "https://cdn.example.com"+r.URL.Path, http.StatusFound)
				},
				"https://cdn.example.com": bearer("https://cdn.example.com/token", ""),
			}, password, false, nil,
		},
		"the token server redirects": {
			map[string]http.HandlerFunc{
				"https://example.com": bearer("https://auth.example.com/token", ""),
				"https://auth.example.com": func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "https://cdn.example.com/token", http.StatusTemporaryRedirect)
				},
				"https://cdn.example.com": tokenServer("session"),
			}, authn.AuthConfig{IdentityToken: "secret"}, false, []string{"https://auth.example.com/"},
		},
		"identity token": {
			map[string]http.HandlerFunc{"https://example.com": bearer("https://auth.example.com/token", ""), "https://auth.example.com": tokenServer("session")},
			authn.AuthConfig{IdentityToken: "secret"}, true, []string{"https://example.com/", "https://auth.example.com/"},
		},
		"registry token": {
			map[string]http.HandlerFunc{
				"https://example.com":     bearer("https://example.com/token", "https://cdn.example.com/blob"),
				"https://cdn.example.com": func(w http.ResponseWriter, _ *http.Request) { serveImage(w) },
			}, authn.AuthConfig{RegistryToken: "session"}, true, []string{"https://example.com/"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &internet{t: t, hosts: c.hosts}
			k := &keychain{registry: registry, config: c.config}
			i, err := Resolve(t.Context(), mustTag(t, registry+"/test/app:v1"), Options{Transport: n.transport(), Keychain: k})
			if (err == nil) != c.resolves {
				t.Errorf("resolved to %v, %v\n%s", i, err, strings.Join(n.seen, "\n"))
			}
			for _, asked := range k.asked {
				if asked != registry {
					t.Errorf("credentials for %s were looked for", asked)
				}
			}
			got := n.secrets()
			for _, s := range got {
				allowed := false
				for _, host := range c.secret {
					allowed = allowed || strings.Contains(s, host)
				}
				if !allowed {
					t.Errorf("a secret went out: %s", s)
				}
			}
			if c.resolves && len(got) == 0 {
				t.Errorf("the credentials were not used:\n%s", strings.Join(n.seen, "\n"))
			}
		})
	}
}

// Without TLS nothing is sent, unless that is asked for.
func TestPlainHTTP(t *testing.T) {
	for name, c := range map[string]struct {
		image    string
		hosts    map[string]http.HandlerFunc
		allow    bool
		resolves bool
	}{
		"TLS":                {"example.com/a:b", map[string]http.HandlerFunc{"https://example.com": basic("")}, false, true},
		"no TLS":             {"example.com/a:b", map[string]http.HandlerFunc{"http://example.com": basic("")}, false, false},
		"private address":    {"10.1.2.3:80/a:b", map[string]http.HandlerFunc{"http://10.1.2.3": basic(""), "http://10.1.2.3:80": basic("")}, false, false},
		"… which is allowed": {"10.1.2.3:80/a:b", map[string]http.HandlerFunc{"http://10.1.2.3": basic(""), "http://10.1.2.3:80": basic("")}, true, true},
		"local name":         {"registry.local:80/a:b", map[string]http.HandlerFunc{"http://registry.local": basic(""), "http://registry.local:80": basic("")}, false, false},
		"redirect to no TLS, from one without": {"10.1.2.3:80/a:b", map[string]http.HandlerFunc{
			"http://10.1.2.3": basic("http://cdn.example.com/x"), "http://10.1.2.3:80": basic("http://cdn.example.com/x"), "http://cdn.example.com": basic(""),
		}, true, false},
		"realm without TLS, of one without": {"10.1.2.3:80/a:b", map[string]http.HandlerFunc{
			"http://10.1.2.3": bearer("http://auth.example.com/token", ""), "http://10.1.2.3:80": bearer("http://auth.example.com/token", ""), "http://auth.example.com": tokenServer("session"),
		}, true, false},
		"redirect to no TLS": {"example.com/a:b", map[string]http.HandlerFunc{"https://example.com": basic("http://cdn.example.com/x"), "http://cdn.example.com": basic("")}, false, false},
		"realm without TLS":  {"example.com/a:b", map[string]http.HandlerFunc{"https://example.com": bearer("http://auth.example.com/token", ""), "http://auth.example.com": tokenServer("session")}, false, false},
		"handshake to no TLS": {"example.com/a:b", map[string]http.HandlerFunc{"https://example.com": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com"+r.URL.Path, http.StatusFound)
		}, "http://example.com": basic("")}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := &internet{t: t, hosts: c.hosts}
			tag := mustTag(t, c.image)
			k := &keychain{registry: tag.RegistryStr(), config: password}
			_, err := Resolve(t.Context(), tag, Options{Transport: n.transport(), Keychain: k, AllowHTTP: c.allow})
			if (err == nil) != c.resolves {
				t.Errorf("%v\n%s", err, strings.Join(n.seen, "\n"))
			}
			for _, s := range n.seen {
				if strings.Contains(s, " http://") && !(c.allow && strings.Contains(s, " http://"+strings.TrimSuffix(tag.RegistryStr(), ":80"))) {
					t.Errorf("this was sent without TLS: %s", s)
				}
			}
		})
	}
}

// A registry on the Internet cannot make us ask addresses inside.
func TestInsideAddresses(t *testing.T) {
	for _, to := range []string{"169.254.169.254", "127.0.0.1", "localhost", "10.0.0.1", "[::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "0x7f000001", "2130706433", "127.1", "0.0.0.0", "224.0.0.1", "10.0.0.1.",
		"LOCALHOST", "localhost.", "LocalHost.", "a.localhost", "A.LOCALHOST.", "%EF%BD%8Cocalhost", "100.64.0.1", "192.0.0.192", "198.18.0.1", "240.0.0.1", "255.255.255.255",
		"[64:ff9b::7f00:1]", "[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001::1]", "[::]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[ff02::1]", "[fc00::1]",
		"[fe80::1%25eth0]", "[fec0::1]"} {
		n := &internet{t: t, hosts: map[string]http.HandlerFunc{"https://example.com": basic("https://" + to + "/x")}}
		_, err := Resolve(t.Context(), mustTag(t, "example.com/a:b"), Options{Transport: n.transport(), Keychain: &keychain{registry: "example.com", config: password}})
		if err == nil || !strings.Contains(err.Error(), "not a public address") {
			t.Errorf("%s: %v", to, err)
		}
		for _, s := range n.seen {
			if !strings.Contains(s, "https://example.com/") {
				t.Errorf("%s: %s", to, s)
			}
		}
	}
	for _, host := range []string{"example.com", "8.8.8.8", "2001:4860:4860::8888", "s3.eu-central-1.example", "a1b2.example.", "EXAMPLE.com", "100.128.0.1",
		"64:ff9b::808:808", "localhost.example", "xn--bcher-kva.example"} {
		if !isPublic(host) {
			t.Errorf("%s is taken for private", host)
		}
	}
}

// What a name stands for is looked at where the connection is made: a name for an address inside is of
// no use to a registry, unless the registry is in such a network itself.
func TestNamesOfInsideAddresses(t *testing.T) {
	n := &internet{t: t, hosts: map[string]http.HandlerFunc{}}
	transport := n.start()
	direct := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { serveImage(w) }))
	t.Cleanup(direct.Close)
	_, port, err := net.SplitHostPort(direct.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n.hosts["https://example.com"] = basic("https://cdn.example.com:" + port + "/x") // the fake Internet has it on loopback
	for at, allowed := range map[string]bool{
		"127.0.0.1": true, // as the registry is there
		"10.0.0.1":  false, "169.254.169.254": false, "100.64.0.1": false, "64:ff9b::a00:1": false, "fe80::1": false, "0.0.0.0": false,
	} {
		tag := mustTag(t, "example.com/a:b")
		r := newRemote(tag.Context(), Options{Transport: transport, Keychain: &keychain{registry: "example.com", config: password}})
		d := r.guard.dialer()
		d.Resolver = resolver(t, at)
		r.guard.others.DialContext = d.DialContext
		_, err := r.manifest(t.Context(), "b")
		if (err == nil) != allowed || err != nil && !strings.Contains(err.Error(), "leads to "+at+", which is not a public address") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// Whatever transport is given, other hosts than the registry are connected to with this check; but not a proxy, which
// the user named.
func TestOthersAreChecked(t *testing.T) {
	registry := mustTag(t, "example.com/a:b").Registry
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	for _, inner := range []http.RoundTripper{nil, http.DefaultTransport, &http.Transport{}} {
		c, err := newGuard(registry, Options{Transport: inner}).others.DialContext(t.Context(), "tcp", proxy.Listener.Addr().String())
		if err == nil || !strings.Contains(err.Error(), "not a public address") {
			t.Errorf("%T: connected to %v, %v", inner, c, err)
		}
	}
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(registry, Options{Transport: &http.Transport{Proxy: http.ProxyURL(u)}})
	for _, host := range []string{"example.com", "cdn.example.com"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.RoundTrip(r); err == nil {
			t.Errorf("%s: the proxy let it through", host)
		}
	}
	if want := []string{"CONNECT example.com:443", "CONNECT cdn.example.com:443"}; !slices.Equal(asked, want) {
		t.Errorf("the proxy was asked for %q, not %q", asked, want)
	}
	if len(g.scopes) != 0 {
		t.Errorf("the proxy's address is taken for the registry's: %v", g.scopes)
	}
}

// resolver says of every name that it stands for this address.
func resolver(t *testing.T, at string) *net.Resolver {
	t.Helper()
	ip := netip.MustParseAddr(at)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
			switch {
			case q.Type == dnsmessage.TypeA && ip.Is4():
				m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: ip.As4()}}}
			case q.Type == dnsmessage.TypeAAAA && ip.Is6():
				m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}}}
			}
			if answer, err := m.Pack(); err == nil {
				server.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// Other hosts may be where the registry is, and on the Internet.
func TestScopes(t *testing.T) {
	for _, c := range []struct {
		registry string // empty: not known, as behind a proxy
		to       string
		allowed  bool
	}{
		{"", "8.8.8.8:443", true}, {"", "10.0.0.1:443", false}, {"", "127.0.0.1:443", false}, {"", "169.254.169.254:443", false},
		{"8.8.8.8:443", "[2a00::1]:443", true}, {"8.8.8.8:443", "10.0.0.1:443", false}, {"8.8.8.8:443", "[::1]:443", false},
		{"10.0.0.1:443", "8.8.8.8:443", true}, {"10.0.0.1:443", "192.168.1.1:443", true}, {"10.0.0.1:443", "[fd00::1]:443", true},
		{"10.0.0.1:443", "127.0.0.1:443", false}, {"10.0.0.1:443", "169.254.169.254:443", false},
		{"127.0.0.1:443", "[::1]:443", true}, {"127.0.0.1:443", "10.0.0.1:443", false},
		{"169.254.1.1:443", "169.254.169.254:443", false},
	} {
		g := newGuard(mustTag(t, "example.com/a:b").Registry, Options{})
		if c.registry != "" {
			g.reached(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.registry)))
		}
		if err := g.control(t.Context(), "tcp", c.to, nil); (err == nil) != c.allowed {
			t.Errorf("from %q to %s: %v", c.registry, c.to, err)
		}
	}
}

// What a keychain cannot say is an error, and no anonymous try.
func TestKeychainFails(t *testing.T) {
	n := &internet{t: t, hosts: map[string]http.HandlerFunc{"https://example.com": basic("")}}
	_, err := Resolve(t.Context(), mustTag(t, "example.com/a:b"), Options{Transport: n.transport(), Keychain: failing{}})
	if !errors.Is(err, errKeychain) || len(n.seen) > 0 {
		t.Errorf("%v, %q", err, n.seen)
	}
}

type failing struct{}

var errKeychain = errors.New("no keychain")

func (failing) Resolve(authn.Resource) (authn.Authenticator, error) { return nil, errKeychain }
