package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// Every setting of the program stands in one of the structs below, once. A field's
// tag has its name on the command line and in the configuration file, its default
// and its help; its environment variable follows from the name. Fields with a group
// are settings; the others ask for something once and cannot be set in a file.
// deploy/tallystick.yaml explains each of them.

// storageSettings say where a log is kept.
type storageSettings struct {
	DataDir             string `name:"data-dir" default:"./tallystick-data" group:"storage" help:"Directory of this server: its key, its high-water mark, and the SQLite file. It is made, for its owner alone, if missing."`
	Storage             string `name:"storage" default:"sqlite:" group:"storage" help:"Where the log is kept: sqlite: (in the data directory), sqlite:PATH, postgres://USER@HOST/DATABASE, or memory: (lost at the end)."`
	StoragePasswordFile string `name:"storage-password-file" placeholder:"FILE" group:"storage" help:"File with the PostgreSQL password. PGPASSWORD and PGPASSFILE work too."`
	HighWaterMark       string `name:"high-water-mark" placeholder:"FILE" group:"storage" help:"File that remembers, outside the database, what was signed (default: log.mark in the data directory)."`
}

// keySettings say what the log signs with.
type keySettings struct {
	Key             string `name:"key" placeholder:"KEY" group:"identity" help:"The log's key: a PEM file, or the URI of a key management service, such as awskms://… (needs the program sigstore-kms-awskms on the PATH). Default: log.key in the data directory; serve makes it with the log (one for memory: ends with the server)."`
	KeyPasswordFile string `name:"key-password-file" placeholder:"FILE" group:"identity" help:"File with the password of the key file. $TALLYSTICK_KEY_PASSWORD works too."`
}

// serveSettings are the settings of a server.
type serveSettings struct {
	PublicURL string `name:"public-url" placeholder:"URL" group:"identity" help:"URL by which clients reach the log. Its host name becomes the name of the log when the log is made, for ever (default: the listen address, if it names one host)."`
	keySettings
	storageSettings

	Listen        string `name:"listen" default:"127.0.0.1:3000" group:"network" help:"Address and port to listen on; port 0 means any free one."`
	TLSCert       string `name:"tls-cert" placeholder:"FILE" group:"network" help:"Certificate chain (PEM): serve HTTPS. Read again when the file changes, or at SIGHUP."`
	TLSKey        string `name:"tls-key" placeholder:"FILE" group:"network" help:"Private key of the certificate (PEM)."`
	MetricsListen string `name:"metrics-listen" placeholder:"ADDRESS" group:"network" help:"Serve /metrics on this address and port, without TLS, and not on the public one."`

	TUFDir string `name:"tuf-dir" placeholder:"DIR" group:"material" help:"TUF repository to hand out at /tuf/, as tallystick trust tuf makes it."`
	materialSettings

	AllowKinds   []string `name:"allow-kinds" placeholder:"KIND" default:"${kinds}" group:"policy" help:"Kinds of entries that are accepted; by default all that this program can check."`
	V1Duplicates string   `name:"v1-duplicates" default:"existing" enum:"existing,conflict" group:"policy" help:"Answer to an entry that is in the log already: existing (201 with that entry) or conflict (409, as Rekor does)."`

	Monitor         string        `name:"monitor" placeholder:"FILE" group:"monitor" help:"Rules (YAML) for a monitor inside the server: what to look for in its own log, and whom to tell. See tallystick monitor."`
	MonitorInterval time.Duration `name:"monitor-interval" default:"10s" group:"monitor" help:"How long that monitor waits between rounds."`

	MaxBody          size `name:"max-body" default:"4MiB" group:"limits" help:"Largest request body; a larger one is refused with 413."`
	MaxAttestation   size `name:"max-attestation" default:"1MiB" group:"limits" help:"Largest attestation that is kept; an entry with a larger one is logged without it."`
	MaxSearchResults int  `name:"max-search-results" default:"10000" group:"limits" help:"Most entries that one search returns."`
	QueueLimit       int  `name:"queue-limit" default:"4096" group:"limits" help:"Most entries that wait to be committed; beyond it the answer is 503 with Retry-After."`

	ReadHeaderTimeout time.Duration `name:"read-header-timeout" default:"10s" group:"timeouts" help:"How long a client may take for the request header."`
	BodyTimeout       time.Duration `name:"body-timeout" default:"10s" group:"timeouts" help:"How long a client may take for the request body."`
	RequestTimeout    time.Duration `name:"request-timeout" default:"30s" group:"timeouts" help:"How long a request may take the server; then it is answered with an error."`
	WriteTimeout      time.Duration `name:"write-timeout" default:"60s" group:"timeouts" help:"When a connection is closed, counted from the request header, however slowly the client takes the answer. More than --request-timeout."`
	IdleTimeout       time.Duration `name:"idle-timeout" default:"2m" group:"timeouts" help:"How long an idle connection is kept."`
	ShutdownTimeout   time.Duration `name:"shutdown-timeout" default:"30s" group:"timeouts" help:"How long requests under way may take after SIGTERM; all writes that were accepted are answered in it."`
	StartTimeout      time.Duration `name:"start-timeout" default:"1m" group:"timeouts" help:"How long storage and key may take to open."`

	LogFormat string `name:"log-format" default:"text" enum:"text,json" group:"output" help:"Form of log lines: text or json."`
	LogLevel  string `name:"log-level" default:"info" enum:"debug,info,warn,error" group:"output" help:"Least important log lines: debug, info, warn or error."`
}

// markPath returns where the high-water mark is.
func (s *storageSettings) markPath() string {
	if s.HighWaterMark != "" {
		return s.HighWaterMark
	}
	return filepath.Join(s.DataDir, "log.mark")
}

// defaultKeyPath returns where the key is that serve makes.
func (s *storageSettings) defaultKeyPath() string { return filepath.Join(s.DataDir, "log.key") }

// publicKeyPath returns where serve puts the public key, for clients to copy.
func (s *storageSettings) publicKeyPath() string { return filepath.Join(s.DataDir, "log.pub") }

// password returns how to learn the password of the key file, or nil if none is
// configured.
func (s *keySettings) password(src *sources) func() ([]byte, error) {
	if s.KeyPasswordFile != "" {
		return func() ([]byte, error) { return readSecret(s.KeyPasswordFile) }
	}
	if p, ok := src.env[keyPasswordVariable]; ok {
		return func() ([]byte, error) { return []byte(p), nil }
	}
	return nil
}

// check finds what a single flag cannot show.
func (s *serveSettings) check() error {
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key go together")
	}
	if err := s.checkListen(); err != nil {
		return err
	}
	if s.AllowKinds != nil && len(s.AllowKinds) == 0 {
		return errors.New("--allow-kinds is empty, so that nothing would be accepted; leave it out to accept all kinds")
	}
	if s.PublicURL != "" {
		if _, err := parsePublicURL(s.PublicURL); err != nil {
			return err
		}
	}
	if s.WriteTimeout <= s.RequestTimeout {
		return fmt.Errorf("--write-timeout %v must be more than --request-timeout %v, or no error could be answered", s.WriteTimeout, s.RequestTimeout)
	}
	for name, n := range map[string]int64{
		"max-body": int64(s.MaxBody), "max-search-results": int64(s.MaxSearchResults), "queue-limit": int64(s.QueueLimit),
		"read-header-timeout": int64(s.ReadHeaderTimeout), "body-timeout": int64(s.BodyTimeout), "request-timeout": int64(s.RequestTimeout), "write-timeout": int64(s.WriteTimeout),
		"idle-timeout": int64(s.IdleTimeout), "shutdown-timeout": int64(s.ShutdownTimeout), "start-timeout": int64(s.StartTimeout),
		"monitor-interval": int64(s.MonitorInterval),
	} {
		if n <= 0 {
			return fmt.Errorf("--%s must be more than 0", name)
		}
	}
	return nil
}

// checkListen checks what becomes, without a --public-url, the name of the log.
func (s *serveSettings) checkListen() error {
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return fmt.Errorf("--listen %q is not an address and port such as 127.0.0.1:3000", s.Listen)
	}
	if host == "" {
		return nil // every interface
	}
	if err := checkHostName(host); err != nil {
		return fmt.Errorf("--listen %q: %w", s.Listen, err)
	}
	return nil
}

// parsePublicURL checks what becomes, in part, the name of the log for ever.
func parsePublicURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("--public-url %q is not a URL such as https://log.example.com", text)
	}
	if err := checkHostName(u.Hostname()); err != nil {
		return nil, fmt.Errorf("--public-url %q: %w", text, err)
	}
	return u, nil
}

// logger returns the program's logger.
func (s *serveSettings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(s.LogLevel)) // its values are those of the flag
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// newTarget returns a settable zero value of the flag's type.
func newTarget(f *kong.Flag) reflect.Value { return reflect.New(f.Target.Type()).Elem() }

// printSettings writes the settings of the selected command as a configuration
// file. Secrets are masked.
func printSettings(w io.Writer, flags []*kong.Flag) error {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range flags {
		if f.Group == nil {
			continue
		}
		doc.Content = append(doc.Content,
			&yaml.Node{Kind: yaml.ScalarNode, Value: f.Name},
			&yaml.Node{Kind: yaml.ScalarNode, Value: settingText(f), Style: yaml.DoubleQuotedStyle})
	}
	encoder := yaml.NewEncoder(w)
	return errors.Join(encoder.Encode(doc), encoder.Close())
}

func settingText(f *kong.Flag) string {
	value := f.Target.Interface()
	if list, ok := value.([]string); ok {
		return strings.Join(list, ",")
	}
	text := fmt.Sprint(value)
	if f.Name == "storage" {
		return maskURL(text)
	}
	return text
}

// masked stands where something is not shown, because it may be a password.
const masked = "xxxxx"

// maskURL returns --storage without its passwords, wherever they stand. Of what is
// not a form that this program knows, nothing is shown but the scheme: it may be
// another program's form, with a password anywhere.
func maskURL(text string) string {
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case scheme == backendSQLite, text == "memory:":
		return text
	case scheme == "postgres" || scheme == "postgresql":
		return maskPostgres(text)
	case strings.HasPrefix(rest, "//") && schemeForm.MatchString(scheme):
		return scheme + "://" + masked
	}
	return masked
}

// schemeForm is what a URL's scheme looks like (RFC 3986 section 3.1).
var schemeForm = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*$`)

// maskPostgres masks the password before the host, and every parameter whose name
// speaks of one (password, sslpassword).
func maskPostgres(text string) string {
	u, query, ok := parsePostgres(text)
	if !ok {
		return "postgres://" + masked
	}
	for name := range query {
		if strings.Contains(strings.ToLower(name), "password") {
			query.Set(name, masked)
		}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}

// parsePostgres reads a URL, and says whether it is one whose parts are certain. An
// "@", "/", "?" or "#" in a password that was not written as %xx moves the rest of
// the password to another part, where nothing would mask it.
func parsePostgres(text string) (*url.URL, url.Values, bool) {
	u, err := url.Parse(text)
	if err != nil || !strings.Contains(text, "://") {
		return nil, nil, false
	}
	query, err := url.ParseQuery(u.RawQuery)
	moved := strings.Contains(u.EscapedPath(), "@") || u.User == nil && strings.Contains(u.RawQuery, "@") || strings.Contains(text, "#")
	return u, query, err == nil && !moved
}
