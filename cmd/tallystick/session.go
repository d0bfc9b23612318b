package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/tallystick/tallystick/client"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/verify"
)

// logFlags say which log is spoken to, and whom the program believes.
type logFlags struct {
	RekorURL string `name:"rekor-url" default:"http://127.0.0.1:3000" group:"trust" help:"URL of the log."`
	LogURL   string `name:"log-url" placeholder:"URL" group:"trust" help:"URL of the log in the trusted root, if that has several logs and none at --rekor-url."`
	trustFlags
	TrustOnFirstUse bool          `name:"trust-on-first-use" help:"Without --trusted-root and --log-key: take the log's key from the log itself, the first time, and pin it."`
	State           string        `name:"state" placeholder:"FILE" help:"File with the newest checkpoints that were seen of this log, to which it is held (default: one for each --rekor-url, in the directory tallystick of the user's configuration)."`
	Timeout         time.Duration `name:"timeout" default:"1m" help:"How long one request may take, with all its tries."`
}

var errTimeout = errors.New("--timeout must be more than 0")

// session is a log that is spoken to. It keeps what was seen of the log for the next
// run.
type session struct {
	*client.Client
	program *program
	path    string // of the state file
	before  [][]byte
	kept    bool          // keep was called
	timeout time.Duration // of keep
	pin     string        // the file with the key, if it was taken from the log
}

// open makes the client. Nothing is asked of the log, but its key at the first use.
func (f *logFlags) open(ctx context.Context, p *program) (*session, error) {
	if f.Timeout <= 0 {
		return nil, usageError{errTimeout}
	}
	s := &session{program: p, path: f.State, timeout: f.Timeout}
	dir := p.configDir()
	if s.path == "" {
		if dir == "" {
			return nil, usageError{errors.New("there is no directory for the user's configuration ($HOME is not set): say where to keep what is seen of the log, with --state FILE")}
		}
		s.path = filepath.Join(dir, fileName(f.RekorURL)+".json")
	}
	options := client.Options{
		HTTP: p.httpClient(), UserAgent: "tallystick/" + version(), LogURL: f.LogURL, Total: f.Timeout,
	}
	trust, err := f.trust(ctx, s, dir, options)
	if err != nil {
		return nil, err
	}
	if s.before, err = readState(s.path); err != nil {
		return nil, err
	}
	options.Checkpoints = s.before
	s.Client, err = client.New(f.RekorURL, trust, options)
	if err != nil {
		hint := ""
		if f.LogURL == "" && len(trust.Material().Logs) > 1 {
			hint = " (--log-url says which of several trusted logs is meant)"
		}
		// Of a log that is not believed any more, say. Nothing was judged yet.
		return nil, fmt.Errorf("%s, with the state in %s: %v%s", redacted(f.RekorURL), s.path, err, hint)
	}
	return s, nil
}

func (f *logFlags) trust(ctx context.Context, s *session, dir string, o client.Options) (*verify.Trust, error) {
	if !f.TrustOnFirstUse || f.given() {
		return f.load()
	}
	if dir == "" {
		return nil, usageError{errors.New("--trust-on-first-use: there is no directory for the user's configuration to pin a key in ($HOME is not set)")}
	}
	s.pin = filepath.Join(dir, fileName(f.RekorURL)+".pub")
	if _, err := os.Stat(s.pin); errors.Is(err, fs.ErrNotExist) {
		if err := s.firstUse(ctx, f.RekorURL, o); err != nil {
			return nil, err
		}
	}
	trust, err := loadTrust("the key pinned at the first use", s.pin, maxLogKey, verify.TrustLogKey)
	if err != nil {
		return nil, fmt.Errorf("%w (if that file was never valid, delete it, and the next run takes the key from the log again)", err)
	}
	return trust, nil
}

// firstUse takes the log's key from the log, pins it, and says so.
func (s *session) firstUse(ctx context.Context, url string, o client.Options) error {
	key, err := client.FetchKey(ctx, url, o)
	if err != nil {
		return fmt.Errorf("getting the log's key: %w", err)
	}
	trust, err := verify.TrustLogKey(key)
	if err != nil {
		return fmt.Errorf("the key that %s gives: %v", redacted(url), err)
	}
	pinned := trust.Material().Logs[0].Key
	id, err := pinned.SPKIHash()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.pin), 0o700); err != nil {
		return fmt.Errorf("pinning the log's key: %w", err)
	}
	// A hard link, unlike a rename, fails if the name is taken.
	err = putFile(s.pin, pinned.PEM, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was first
	}
	if err != nil {
		return fmt.Errorf("pinning the log's key: %w", err)
	}
	s.program.warnOfTrust(url, "from now on", id, ", pinned in "+s.pin)
	return nil
}

// warnOfTrust says that a log's key was taken from the log itself; for how long, and what became of it.
func (p *program) warnOfTrust(url, howLong string, id tlog.Hash, kept string) {
	fmt.Fprintf(p.Stderr, "warning: whoever answers at %s is believed %s, because of --trust-on-first-use: log ID %s%s; compare it with what the log's operator says\n", clean(redacted(url)), howLong, id, kept)
}

// close keeps what was seen of the log, unless that was done. Err is what came of its use, and
// is returned with what helps to understand it. That nothing could be kept is a warning here, for
// it does not undo what was done; that the log contradicts itself is an error.
func (s *session) close(ctx context.Context, err error) error {
	if !s.kept {
		switch unkept := s.keep(ctx); {
		case refused(unkept):
			err = errors.Join(err, unkept)
		case unkept != nil:
			fmt.Fprintf(s.program.Stderr, "warning: %s\n", clean(unkept.Error()))
		}
	}
	switch {
	case errors.Is(err, client.ErrInconsistent):
		return fmt.Errorf("%w (what was seen before is in %s)", err, s.path)
	case errors.Is(err, verify.ErrUntrustedLog) && s.pin != "":
		return fmt.Errorf("%w (the key that is believed was pinned in %s when --trust-on-first-use was first used)", err, s.pin)
	}
	return err
}

// configDir returns where this program keeps files of its user: $XDG_CONFIG_HOME, or
// ~/.config, or %AppData% (Windows); "" if there is none.
func (p *program) configDir() string {
	switch {
	case filepath.IsAbs(p.Env["XDG_CONFIG_HOME"]):
		return filepath.Join(p.Env["XDG_CONFIG_HOME"], "tallystick")
	case filepath.IsAbs(p.Env["HOME"]):
		return filepath.Join(p.Env["HOME"], ".config", "tallystick")
	case filepath.IsAbs(p.Env["AppData"]):
		return filepath.Join(p.Env["AppData"], "tallystick")
	}
	return ""
}

// redacted returns a URL without the password that may be in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text[strings.LastIndexByte(text, '@')+1:]
	}
	return u.Redacted()
}

// fileName returns the name of a log's files: what a person recognises, and a digest.
func fileName(rekorURL string) string {
	host := "log"
	if u, err := url.Parse(rekorURL); err == nil && u.Host != "" {
		host = u.Host
		if u.User != nil { // the log is the same whoever asks, and a password is for no file name
			u.User = nil
			rekorURL = u.String()
		}
	}
	host = strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) {
			return r
		}
		return '_'
	}, strings.ToLower(host))
	sum := sha256.Sum256([]byte(strings.TrimRight(rekorURL, "/")))
	return fmt.Sprintf("%.100s-%x", host, sum[:6])
}

// httpClient returns a client that uses the proxies of the environment.
func (p *program) httpClient() *http.Client {
	get := func(name string) string {
		if v := p.Env[name]; v != "" {
			return v
		}
		return p.Env[strings.ToLower(name)]
	}
	proxies := httpproxy.Config{HTTPProxy: get("HTTP_PROXY"), HTTPSProxy: get("HTTPS_PROXY"), NoProxy: get("NO_PROXY"), CGI: p.Env["REQUEST_METHOD"] != ""}
	proxy := proxies.ProxyFunc()
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	t.MaxIdleConnsPerHost = uploadsAtOnce
	t.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{Transport: t}
}
