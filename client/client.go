// Package client is a Go client of the Rekor v1 API, for Tallystick and any other log
// that speaks it. A Client returns nothing that it has not verified: every entry by its
// signed entry timestamp and its inclusion proof under a checkpoint of a trusted log,
// every entry of a search, every checkpoint by its signature, and each checkpoint
// by its consistency with those that the client saw before.
//
//	trust, err := verify.TrustLogKey(pem)               // or verify.ParseTrustedRoot
//	log, err := client.New("https://log.example.com", trust, client.Options{})
//	e, err := log.Upload(ctx, proposal)
//
// What a log cannot be held to is said where it is returned: that there is no such
// entry, and that a search found all that there is, is the log's word alone. A Raw verifies nothing:
// it is for monitors, which do that themselves (see package monitor).
//
// It reads no environment and has no global state: a proxy, for one, has to come
// with Options.HTTP.
package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tallystick/tallystick/entry"
	"github.com/tallystick/tallystick/verify"
)

// MaxRetrieve is the most entries that one request asks for: the limit of Rekor v1.
const MaxRetrieve = 10

// Options are how a client behaves. Zero values stand for the defaults named here.
type Options struct {
	// HTTP makes the requests. Its CheckRedirect is not used: see New. Default: one that
	// uses no proxy.
	HTTP *http.Client
	// UserAgent says who asks. Default "tallystick-client".
	UserAgent string
	// LogURL is the BaseURL that the log has in the trust, where it is not the URL at which
	// the client reaches it.
	LogURL string
	// Checkpoints are what a former client remembered (see Client.Checkpoints): the log is
	// held to them.
	Checkpoints [][]byte

	// Timeout bounds one try of a request, its answer included. Default 30 seconds.
	Timeout time.Duration
	// Total bounds one request with all its tries and the waits between them. Default two
	// minutes.
	Total time.Duration
	// Retries is how often a request is tried again. Default 4; negative: never.
	Retries int
	// MinWait is how long the first wait between tries is at most; each further one may
	// be twice as long, up to MaxWait. Between a half and the whole of that is waited, at
	// random. Defaults: half a second, and 15 seconds.
	MinWait, MaxWait time.Duration
	// MaxRetryAfter bounds a wait that the server asks for (Retry-After). Default one minute.
	MaxRetryAfter time.Duration

	// Now is the clock by which a Retry-After with a date is read. Default time.Now.
	Now func() time.Time
	// Rand returns numbers from 0 up to 1. Default math/rand/v2.
	Rand func() float64
	// Sleep waits, or returns the error of a context that ends. Default: it waits.
	Sleep func(context.Context, time.Duration) error
}

func (o *Options) defaults() {
	if o.HTTP == nil {
		o.HTTP = &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}}
	}
	def(&o.UserAgent, "tallystick-client")
	def(&o.Timeout, 30*time.Second)
	def(&o.Total, 2*time.Minute)
	def(&o.Retries, 4)
	def(&o.MinWait, 500*time.Millisecond)
	def(&o.MaxWait, 15*time.Second)
	def(&o.MaxRetryAfter, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Client speaks to one log. It may be used by many goroutines.
type Client struct {
	transport
	trust   *verify.Trust
	parser  *entry.Parser
	history history
}

// New returns a client of the log at baseURL, which is what stands before "/api/v1/":
// http or https, perhaps with a path. It makes no request.
//
// Of a trust in several logs only those are believed that have this URL (or
// Options.LogURL) as their BaseURL, so that one log cannot pass off another's entries as
// its own. If none has it, the trust has to be in one log alone, perhaps of several
// keys: the URLs in it have to be the same.
//
// Redirects are followed on the same host and port only, and from http to https.
func New(baseURL string, trust *verify.Trust, o Options) (*Client, error) {
	if trust == nil {
		return nil, errors.New("a client needs to be told which log to trust")
	}
	t, err := newTransport(baseURL, o)
	if err != nil {
		return nil, err
	}
	c := &Client{transport: *t}
	if c.trust, err = narrow(trust, baseURL, o.LogURL); err != nil {
		return nil, err
	}
	if c.parser, err = entry.New(entry.Options{}); err != nil {
		return nil, err
	}
	for _, signed := range o.Checkpoints {
		if err := c.restore(signed); err != nil {
			return nil, fmt.Errorf("a checkpoint that was remembered: %w", err)
		}
	}
	return c, nil
}

// narrow returns the trust in the log at a URL.
func narrow(trust *verify.Trust, at, named string) (*verify.Trust, error) {
	logs := trust.Material().Logs
	if len(logs) == 0 {
		return nil, errors.New("the trust is in no log")
	}
	want := at
	if named != "" {
		want = named
	}
	var chosen []verify.Log
	one := true
	for _, l := range logs {
		if sameURL(l.BaseURL, want) {
			chosen = append(chosen, l)
		}
		one = one && sameURL(l.BaseURL, logs[0].BaseURL)
	}
	switch {
	case len(chosen) > 0:
		return verify.NewTrust(verify.Material{Logs: chosen})
	case named != "":
		return nil, fmt.Errorf("no log that is trusted has the URL %q", redacted(named))
	case !one:
		return nil, fmt.Errorf("several logs are trusted, and none has the URL %q: say which one it is by its URL in the trusted root", redacted(at))
	}
	return trust, nil
}

// sameURL compares base URLs.
func sameURL(a, b string) bool {
	u, err1 := url.Parse(a)
	v, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && strings.EqualFold(u.Scheme, v.Scheme) && strings.EqualFold(u.Host, v.Host) &&
		strings.TrimRight(u.Path, "/") == strings.TrimRight(v.Path, "/")
}
