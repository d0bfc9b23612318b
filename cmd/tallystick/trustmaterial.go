package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/sig"
	"github.com/tallystick/tallystick/storage"
	"github.com/tallystick/tallystick/tlog"
	"github.com/tallystick/tallystick/trust"
	"github.com/tallystick/tallystick/verify"
)

// authoritySettings say who else is believed beside the log.
type authoritySettings struct {
	FulcioChain []string `name:"fulcio-chain" placeholder:"FILE" group:"material" help:"Certificate chain of the certificate authority that issues signers' certificates (PEM, issuing certificate first, root last); can be repeated."`
	TSAChain    []string `name:"tsa-chain" placeholder:"FILE" group:"material" help:"Certificate chain of a timestamp authority (PEM, its own certificate first, root last); can be repeated."`
	CTLogKey    []string `name:"ctlog-key" placeholder:"FILE" group:"material" help:"Public key of the certificate authority's CT log (PEM); can be repeated."`
	CTLogURL    string   `name:"ctlog-url" placeholder:"URL" group:"material" help:"URL of the CT log."`
}

// serviceSettings say where clients sign besides the log.
type serviceSettings struct {
	FulcioURL string `name:"fulcio-url" placeholder:"URL" group:"material" help:"URL of the certificate authority (Fulcio)."`
	OIDCURL   string `name:"oidc-url" placeholder:"URL" group:"material" help:"URL of the issuer of identity tokens (OpenID Connect) that the certificate authority accepts."`
	TSAURL    string `name:"tsa-url" placeholder:"URL" group:"material" help:"URL of the timestamp authority's endpoint (…/api/v1/timestamp)."`
}

// materialSettings are both, for what tells of the whole.
type materialSettings struct {
	authoritySettings
	serviceSettings
}

// logURL is the log's address.
type logURL struct {
	PublicURL string `name:"public-url" aliases:"url" placeholder:"URL" group:"identity" help:"URL by which clients reach the log (also --url)."`
}

// url returns the address, which has to be given.
func (l *logURL) url() (string, error) {
	if l.PublicURL == "" {
		return "", usageError{errors.New("say by which URL clients reach the log: --public-url https://log.example.com")}
	}
	if _, err := parsePublicURL(l.PublicURL); err != nil {
		return "", usageError{err}
	}
	return strings.TrimSuffix(l.PublicURL, "/"), nil
}

// authorities reads the files of the authorities. The logs are left out.
func (s *materialSettings) authorities() (m verify.Material, err error) {
	for _, path := range s.FulcioChain {
		a, err := readPEM("--fulcio-chain", path, func(data []byte) (verify.Authority, error) { return trust.CertificateAuthority(data, s.FulcioURL) })
		if err != nil {
			return m, err
		}
		m.CertificateAuthorities = append(m.CertificateAuthorities, a)
	}
	for _, path := range s.TSAChain {
		a, err := readPEM("--tsa-chain", path, func(data []byte) (verify.Authority, error) { return trust.TimestampAuthority(data, s.TSAURL) })
		if err != nil {
			return m, err
		}
		m.TimestampAuthorities = append(m.TimestampAuthorities, a)
	}
	for _, path := range s.CTLogKey {
		l, err := readPEM("--ctlog-key", path, func(data []byte) (verify.Log, error) { return trust.Log(data, s.CTLogURL, time.Time{}) })
		if err != nil {
			return m, err
		}
		m.CTLogs = append(m.CTLogs, l)
	}
	return m, nil
}

func readPEM[T any](flag, path string, parse func([]byte) (T, error)) (T, error) {
	var none T
	data, err := readLimited(path, sig.MaxPEM)
	if err != nil {
		return none, fmt.Errorf("%s: %w", flag, err)
	}
	v, err := parse(data)
	if err != nil {
		return none, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	return v, nil
}

// signingConfig returns the signing config of a log with this URL. The operator of all services is
// who has the log's host name. Their start is the Unix epoch: nobody may find none because his
// clock is slow.
func (s *serviceSettings) signingConfig(logURL string) ([]byte, error) {
	u, err := parsePublicURL(logURL)
	if err != nil {
		return nil, err
	}
	return trust.SigningConfig(trust.Services{
		Log: logURL, Fulcio: s.FulcioURL, OIDC: s.OIDCURL, TSA: s.TSAURL, Operator: u.Hostname(),
	})
}

// clockSlack is how much before a tree was made its key counts as valid: clocks of servers that
// share a log differ a little.
const clockSlack = time.Hour

// treeLogs returns the logs that trees are of, one for each key: valid since the first tree of
// the key was made. A tree that takes no entries any more stays valid: what it holds does.
func treeLogs(trees []storage.Tree, url string) ([]verify.Log, error) {
	trees = slices.DeleteFunc(slices.Clone(trees), func(t storage.Tree) bool { return t.API != storage.APIv1 })
	slices.SortStableFunc(trees, func(a, b storage.Tree) int { return int(min(1, max(-1, a.Created-b.Created))) })
	var logs []verify.Log
	seen := map[[sha256.Size]byte]bool{}
	for _, t := range trees {
		id := sha256.Sum256(t.PublicKey)
		if seen[id] {
			continue
		}
		seen[id] = true
		key := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: t.PublicKey})
		l, err := trust.Log(key, url, time.Unix(t.Created, 0).Add(-clockSlack))
		if err != nil {
			return nil, fmt.Errorf("the key of tree %d: %w", t.ID, err)
		}
		logs = append(logs, l)
	}
	return logs, nil
}

// trustSource says where trust material is taken from.
type trustSource struct {
	logURL
	LogKey          string `name:"log-key" placeholder:"FILE" group:"trust" help:"Public key of the log (PEM), as serve writes it to log.pub, instead of the log's storage."`
	FromServer      string `name:"from-server" placeholder:"URL" help:"Ask a running server for its keys, instead of the log's storage. Needs --trust-on-first-use."`
	TrustOnFirstUse bool   `name:"trust-on-first-use" help:"Believe --from-server this once, without proof. Compare the log IDs that it prints with those that the log's operator tells you."`
	storageSettings
	materialSettings
}

// material returns the material.
func (s *trustSource) material(ctx context.Context, p *program) (verify.Material, error) {
	m, err := s.authorities()
	if err != nil {
		return m, err
	}
	url, err := s.publicURL()
	if err != nil {
		return m, s.suggestURL(ctx, err)
	}
	switch {
	case s.FromServer != "" && !s.TrustOnFirstUse:
		return m, usageError{errors.New("--from-server takes keys from the very log that they are to judge; if there is no better way, say so: --trust-on-first-use")}
	case s.FromServer != "" && s.LogKey != "":
		return m, usageError{errors.New("--from-server and --log-key do not go together (an environment variable or the configuration file may have set one)")}
	case s.TrustOnFirstUse && s.FromServer == "":
		return m, usageError{errors.New("--trust-on-first-use is about --from-server, which is not given")}
	case s.FromServer != "":
		m.Logs, err = s.serverLogs(ctx, p, url)
	case s.LogKey != "":
		var l verify.Log
		l, err = readPEM("--log-key", s.LogKey, func(data []byte) (verify.Log, error) { return trust.Log(data, url, time.Time{}) })
		m.Logs = []verify.Log{l}
	default:
		m.Logs, err = s.storedLogs(ctx, url)
	}
	return m, err
}

// publicURL returns the URL by which clients reach the log.
func (s *trustSource) publicURL() (string, error) {
	if s.PublicURL == "" && s.FromServer != "" {
		s.PublicURL = s.FromServer
	}
	return s.url()
}

// suggestURL adds to the error that there is no URL how the log in the storage is named, if that can be found
// out: serve is told the URL, too, and does not write it down.
func (s *trustSource) suggestURL(ctx context.Context, missing error) error {
	if s.PublicURL != "" || s.LogKey != "" {
		return missing
	}
	where, err := s.place()
	if err != nil {
		return missing
	}
	store, err := where.openReadOnly(ctx)
	if err != nil {
		return missing
	}
	defer store.Close()
	trees, err := store.Trees(ctx)
	if err != nil {
		return missing
	}
	for _, t := range trees {
		if t.API != storage.APIv1 || t.State != storage.StateActive {
			continue
		}
		if host, _, err := tlog.SplitOriginV1(t.Origin); err == nil {
			return usageError{fmt.Errorf("say by which URL clients reach the log: --public-url %s (the log in %s is named %s; give the URL that serve has, or prints when it starts)", exampleURL(host), where, host)}
		}
	}
	return missing
}

// exampleURL is a URL by which a log of that name may be reached.
func exampleURL(host string) string {
	ip := net.ParseIP(host)
	if ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	if host == "localhost" || ip != nil {
		return "http://" + host + ":3000"
	}
	return "https://" + host
}

// storedLogs returns the logs in the log's storage. The active one's key has to be that of log.pub.
func (s *trustSource) storedLogs(ctx context.Context, url string) ([]verify.Log, error) {
	where, err := s.place()
	if err != nil {
		return nil, err
	}
	expected, err := readPEM("the log's public key", s.publicKeyPath(), sig.ParsePEM)
	if err != nil {
		return nil, fmt.Errorf("%w (name the data directory of the log with --data-dir, or its key with --log-key)", err)
	}
	store, err := where.openReadOnly(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	trees, err := store.Trees(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the trees of the log in %s: %w", where, err)
	}
	active := 0
	for _, t := range trees {
		if t.API != storage.APIv1 || t.State != storage.StateActive {
			continue
		}
		active++
		key, err := sig.ParsePublicKey(t.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("the key of tree %d: %w", t.ID, err)
		}
		if !key.SamePublic(expected) {
			return nil, fmt.Errorf("the key of the log in %s is not the one in %s", where, s.publicKeyPath())
		}
	}
	if active == 0 {
		return nil, fmt.Errorf("%s holds no log that takes entries", where)
	}
	return treeLogs(trees, url)
}

// Limits of asking a server.
const (
	askTimeout = 30 * time.Second
	maxAnswer  = 1 << 20
)

// serverLogs asks a server for the keys of all its trees, and says on standard error what was
// believed.
func (s *trustSource) serverLogs(ctx context.Context, p *program, url string) ([]verify.Log, error) {
	if _, err := parsePublicURL(s.FromServer); err != nil {
		return nil, usageError{fmt.Errorf("--from-server: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := ask(ctx, s.FromServer, "/api/v1/log", "application/json")
	if err != nil {
		return nil, err
	}
	var trees struct {
		TreeID         string
		InactiveShards []struct{ TreeID string }
	}
	if err := json.Unmarshal(info, &trees); err != nil {
		return nil, fmt.Errorf("%s: the answer is not that of a Rekor v1 log: %w", s.FromServer, err)
	}
	ids := []string{trees.TreeID}
	for _, t := range trees.InactiveShards {
		ids = append(ids, t.TreeID)
	}
	if len(ids) > verify.MaxAuthorities {
		return nil, fmt.Errorf("%s has %d trees, more than %d", s.FromServer, len(ids), verify.MaxAuthorities)
	}
	var logs []verify.Log
	var seen [][]byte
	for _, id := range ids {
		key, err := ask(ctx, s.FromServer, "/api/v1/log/publicKey?treeID="+neturl.QueryEscape(id), "application/x-pem-file")
		if err != nil {
			return nil, err
		}
		l, err := trust.Log(key, url, time.Time{})
		if err != nil {
			return nil, fmt.Errorf("%s: the key of tree %.32q: %w", s.FromServer, id, err)
		}
		if slices.ContainsFunc(seen, func(k []byte) bool { return bytes.Equal(k, l.Key.PEM) }) {
			continue
		}
		seen = append(seen, l.Key.PEM)
		logs = append(logs, l)
		hash, err := l.Key.SPKIHash()
		if err != nil {
			return nil, err
		}
		p.warnOfTrust(s.FromServer, "this once", hash, "")
	}
	return logs, nil
}

// ask returns what a server answers to a GET.
func ask(ctx context.Context, server, path, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+path, nil)
	if err != nil {
		return nil, usageError{err}
	}
	req.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", req.URL, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s", req.URL, resp.Status)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("%s: the answer has more than %d bytes", req.URL, maxAnswer)
	}
	return data, nil
}

// tufFolder is the folder of a TUF repository to be served. It is opened for every request: another
// one may have come in its place.
type tufFolder string

// openTUF returns the folder, which has to hold a repository now.
func openTUF(dir string) (fs.FS, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("--tuf-dir: %w", err)
	}
	if _, err := fs.Stat(tufFolder(dir), "timestamp.json"); err != nil {
		return nil, fmt.Errorf("--tuf-dir: %s is no TUF repository (tallystick trust tuf init makes one): %w", dir, err)
	}
	return tufFolder(dir), nil
}

// Open opens a file below the folder, and never waits for somebody who writes to it.
func (f tufFolder) Open(name string) (fs.File, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// Stat says what a file below the folder is (fs.StatFS).
func (f tufFolder) Stat(name string) (fs.FileInfo, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Stat(name)
}
