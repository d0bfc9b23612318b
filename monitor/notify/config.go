package notify

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/internal/plaintext"
	"github.com/tallystick/tallystick/internal/strictyaml"
)

// Limits of what a rules file says about sinks.
const (
	MaxSinks      = 16 // webhooks, and as many mails
	MaxRecipients = 32
)

// Reader reads the part of a rules file that says where alerts are delivered to, two fields at its top:
//
//	webhooks:
//	  - name: ops                          # a-z, 0-9 and "-"; what was delivered is remembered by it
//	    url: https://hooks.example.com/x   # http:// only to this machine, or with plainHTTP: true
//	    secretFile: hook.secret            # 24 bytes or more (see Webhook); or
//	    secretEnv: HOOK_SECRET             # … an environment variable
//	    timeout: 30s                       # of one attempt (left out: 30s)
//	mail:
//	  - name: ops
//	    server: smtp.example.com:587
//	    security: starttls                 # or tls; or none, to this machine only (left out: starttls)
//	    username: tallystick               # left out: without logging in
//	    passwordFile: smtp.password        # or passwordEnv
//	    from: Tallystick <tallystick@example.com>
//	    to: [ops@example.com]
//	    timeout: 1m
//
// It fills in Sinks. A Reader is used once.
type Reader struct {
	// Read returns the content of a file, of at most limit bytes.
	Read func(path string, limit int64) ([]byte, error)
	// Env returns an environment variable; "" if it is not set.
	Env func(name string) string
	// HTTP makes the requests of webhooks. Default: http.DefaultClient.
	HTTP *http.Client
	// TLS is how mail servers are spoken to. Default: TLS 1.2 and later, the system's authorities.
	TLS *tls.Config
	// UserAgent says who posts. Default "tallystick-monitor".
	UserAgent string
	// Now is the clock. Default time.Now.
	Now func() time.Time

	// Sinks are what the fields name.
	Sinks []Sink
}

// Fields returns the readers of the fields (see monitor.ParseOptions).
func (r *Reader) Fields() map[string]func(*yaml.Node) error {
	def(&r.HTTP, http.DefaultClient)
	def(&r.UserAgent, "tallystick-monitor")
	if r.TLS == nil {
		r.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	return map[string]func(*yaml.Node) error{
		"webhooks": func(n *yaml.Node) error { return strictyaml.Elements(n, "webhooks", MaxSinks, r.webhook) },
		"mail":     func(n *yaml.Node) error { return strictyaml.Elements(n, "mail", MaxSinks, r.mail) },
	}
}

var nameForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$`)

// name reads a sink's name, and makes it one that no other kind of sink has.
func (r *Reader) name(n *yaml.Node, kind string) (string, error) {
	text, err := strictyaml.Text(n, "name")
	if err != nil {
		return "", err
	}
	if !nameForm.MatchString(text) {
		return "", strictyaml.At(n, "name is not 1 to 48 of a-z, 0-9 and \"-\"")
	}
	name := kind + "-" + text
	if slices.ContainsFunc(r.Sinks, func(s Sink) bool { return s.Name() == name }) {
		return "", strictyaml.At(n, "two have the name %q", text)
	}
	return name, nil
}

// secret is something that is in a file or in the environment.
type secret struct{ file, env string }

// secret returns it; "" if neither is named.
func (r *Reader) secret(s secret) (string, error) {
	switch {
	case s.file != "" && s.env != "":
		return "", errors.New("it is in a file or in the environment, not in both")
	case s.file != "":
		data, err := r.Read(s.file, 4<<10)
		if err != nil {
			return "", err
		}
		text := strings.TrimRight(string(data), "\r\n")
		if text == "" {
			return "", errors.New("the file is empty")
		}
		return text, nil
	case s.env != "":
		text := r.Env(s.env)
		if text == "" {
			return "", fmt.Errorf("the environment variable %s is not set", plaintext.Clip(s.env, 120))
		}
		return text, nil
	}
	return "", nil
}

func (r *Reader) webhook(n *yaml.Node) error {
	w := &Webhook{agent: r.UserAgent, timeout: webhookTimeout, now: r.Now}
	var plain bool
	var in secret
	err := strictyaml.Fields(n, "a webhook", func(name string, key, value *yaml.Node) (err error) {
		switch name {
		case "name":
			w.name, err = r.name(value, "webhook")
		case "url":
			w.url, err = strictyaml.Text(value, name)
		case "plainHTTP":
			plain = true
			err = strictyaml.True(value, name)
		case "secretFile":
			in.file, err = strictyaml.Text(value, name)
		case "secretEnv":
			in.env, err = strictyaml.Text(value, name)
		case "timeout":
			w.timeout, err = strictyaml.Duration(value, name)
		default:
			err = strictyaml.Unknown(key, "a webhook")
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case w.name == "":
		return strictyaml.At(n, "a webhook has no name")
	}
	if err := checkURL(w.url, plain); err != nil {
		return strictyaml.At(n, "%s: url: %w", w.name, err)
	}
	text, err := r.secret(in)
	if err == nil && text == "" {
		err = errors.New("there is none: secretFile or secretEnv")
	}
	if err == nil {
		w.secret, err = readSecret(text)
	}
	if err != nil {
		return strictyaml.At(n, "%s: the secret: %w", w.name, err)
	}
	client := *r.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	w.http = &client
	r.Sinks = append(r.Sinks, w)
	return nil
}

// checkURL checks a webhook's URL. Errors do not show it: it may be a secret.
func checkURL(text string, plain bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "":
		return errors.New("it is not one such as https://hooks.example.com/path")
	case u.User != nil:
		return errors.New("it has a user or password in it")
	case u.Scheme == "http" && !plain && !isLocal(u.Hostname()):
		return errors.New("it is not https (plainHTTP: true allows that)")
	}
	return nil
}

// isLocal reports whether a host is this machine, without asking anybody.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (r *Reader) mail(n *yaml.Node) error {
	m := &Mail{tls: r.TLS, timeout: time.Minute, now: r.Now, security: startTLS}
	var in secret
	err := strictyaml.Fields(n, "a mail", func(name string, key, value *yaml.Node) (err error) {
		switch name {
		case "name":
			m.name, err = r.name(value, "mail")
		case "server":
			m.server, err = strictyaml.Text(value, name)
		case "security":
			var text string
			text, err = strictyaml.Text(value, name)
			m.security = security(text)
		case "username":
			m.user, err = strictyaml.Text(value, name)
		case "passwordFile":
			in.file, err = strictyaml.Text(value, name)
		case "passwordEnv":
			in.env, err = strictyaml.Text(value, name)
		case "from":
			m.from, err = readAddress(value, name)
		case "to":
			err = strictyaml.Elements(value, name, MaxRecipients, func(n *yaml.Node) error {
				a, err := readAddress(n, name)
				m.to = append(m.to, a)
				return err
			})
		case "timeout":
			m.timeout, err = strictyaml.Duration(value, name)
		default:
			err = strictyaml.Unknown(key, "a mail")
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case m.name == "":
		return strictyaml.At(n, "a mail has no name")
	case m.from == nil || m.to == nil:
		return strictyaml.At(n, "%s: from or to is missing", m.name)
	}
	if m.password, err = r.secret(in); err != nil {
		return strictyaml.At(n, "%s: the password: %w", m.name, err)
	}
	if err := m.check(); err != nil {
		return strictyaml.At(n, "%s: %w", m.name, err)
	}
	r.Sinks = append(r.Sinks, m)
	return nil
}

func (m *Mail) check() error {
	host, port, err := net.SplitHostPort(m.server)
	switch {
	case err != nil || host == "" || port == "":
		return errors.New("server is not a host and port such as smtp.example.com:587")
	case m.security != startTLS && m.security != fullTLS && m.security != noTLS:
		return errors.New("security is starttls, tls or none")
	case m.security == noTLS && !isLocal(host):
		return errors.New("security: none is for a mail server on this machine only")
	case (m.user == "") != (m.password == ""):
		return errors.New("username and password go together")
	}
	return nil
}

// readAddress reads an address such as ops@example.com or Name <ops@example.com> (RFC 5322).
func readAddress(n *yaml.Node, what string) (*mail.Address, error) {
	text, err := strictyaml.Text(n, what)
	if err != nil {
		return nil, err
	}
	a, err := mail.ParseAddress(text)
	if err != nil || strings.ContainsFunc(a.Address, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>\"(),;:\\", r) }) {
		return nil, strictyaml.At(n, "%s is not an address such as ops@example.com", what)
	}
	return a, nil
}

// oneLine returns text in which nothing moves what stands after it.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, s)
}
