package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/verify"
)

// Limits of answers, in bytes.
const (
	maxSmall   = 1 << 20          // checkpoints, proofs, keys, errors
	maxEntries = verify.MaxBundle // entries, also of a search
)

// transport makes requests, and judges nothing of their answers.
type transport struct {
	base *url.URL
	http *http.Client
	opts Options
}

func newTransport(baseURL string, o Options) (*transport, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a log, such as https://log.example.com", clip(redacted(baseURL)))
	}
	o.defaults()
	h := *o.HTTP
	h.CheckRedirect = checkRedirect
	return &transport{base: u, http: &h, opts: o}, nil
}

// redacted returns a URL without the password that may be in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text[strings.LastIndexByte(text, '@')+1:]
	}
	return u.Redacted()
}

// errRedirect says that a redirect is not followed.
var errRedirect = errors.New("the redirect is not followed")

func checkRedirect(next *http.Request, before []*http.Request) error {
	first := before[0]
	upgrade := first.URL.Scheme == "http" && next.URL.Scheme == "https" && next.URL.Hostname() == first.URL.Hostname()
	same := next.URL.Scheme == first.URL.Scheme && next.URL.Host == first.URL.Host
	switch {
	case !same && !upgrade:
		return fmt.Errorf("%w: to %s", errRedirect, clip(next.URL.Redacted()))
	case next.Method != first.Method:
		return fmt.Errorf("%w: it wants %s as %s", errRedirect, first.Method, next.Method)
	case len(before) >= 5:
		return fmt.Errorf("%w: too often", errRedirect)
	}
	return nil
}

// request is one request of the API. All of them may be repeated: an upload, too, for
// the same entry sent again gets the same index.
type request struct {
	path  string // after the base URL
	query url.Values
	body  []byte // if there is one, it is a POST of JSON
	want  int    // the status of success
	limit int64  // of the answer, in bytes
	// accept is the media type that is asked for, if that is not JSON.
	accept string
}

func (r *request) method() string {
	if r.body != nil {
		return http.MethodPost
	}
	return http.MethodGet
}

// String names the request in errors.
func (r *request) String() string {
	s := r.method() + " " + r.path
	if len(r.query) > 0 {
		s += "?" + r.query.Encode()
	}
	return s
}

// do makes a request, with retries, and returns header and body of a success. Errors
// of the server are *Error.
func (t *transport) do(ctx context.Context, r request) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.Total)
	defer cancel()
	for try := 0; ; try++ {
		header, body, err := t.once(ctx, &r)
		if err == nil {
			return header, body, nil
		}
		wait, again := t.wait(err, try)
		if !again || try >= t.opts.Retries || ctx.Err() != nil || t.ends(ctx, wait) {
			return nil, nil, fmt.Errorf("%s: %w", &r, err)
		}
		if ended := t.opts.Sleep(ctx, wait); ended != nil {
			return nil, nil, fmt.Errorf("%s: %w, while waiting to try again after: %w", &r, ended, err)
		}
	}
}

// ends reports whether ctx ends before a wait does.
func (t *transport) ends(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < wait
}

// wait says whether to try again after an error, and how long to wait before.
func (t *transport) wait(err error, try int) (time.Duration, bool) {
	var (
		answer *Error
		cert   *tls.CertificateVerificationError
		refuse *verify.Error
	)
	most := t.opts.MaxWait
	if try < 30 {
		most = min(most, t.opts.MinWait<<try)
	}
	wait := most/2 + time.Duration(t.opts.Rand()*float64(most/2))
	switch {
	case errors.As(err, &answer):
		switch answer.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return max(wait, min(t.retryAfter(answer.retry), t.opts.MaxRetryAfter)), true
		}
		return 0, false
	case errors.As(err, &cert), errors.As(err, &refuse), errors.Is(err, errRedirect):
		return 0, false
	}
	return wait, true // the connection broke, or none was made
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds, or a
// date. What cannot be read is 0.
func (t *transport) retryAfter(text string) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(t.opts.Now()))
	}
	return 0
}

// once makes a request once.
func (t *transport) once(ctx context.Context, r *request) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.Timeout)
	defer cancel()
	u := *t.base
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+r.path, ""
	u.RawQuery = r.query.Encode()
	var content io.Reader
	if r.body != nil {
		content = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method(), u.String(), content)
	if err != nil {
		return nil, nil, err
	}
	def(&r.accept, "application/json")
	req.Header.Set("Accept", r.accept)
	req.Header.Set("User-Agent", t.opts.UserAgent)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	limit := r.limit
	if resp.StatusCode != r.want {
		limit = maxSmall
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case resp.StatusCode != r.want:
		return nil, nil, readError(resp, body)
	case err != nil:
		return nil, nil, fmt.Errorf("reading the answer: %w", err)
	case int64(len(body)) > limit:
		return nil, nil, malformed("answer", fmt.Errorf("it has more than %d bytes", limit))
	}
	return resp.Header, body, nil
}

// readError returns the *Error of an answer. Its body need not be the API's: proxies
// answer, too.
func readError(resp *http.Response, body []byte) *Error {
	e := &Error{Status: resp.StatusCode, Code: resp.StatusCode, Message: http.StatusText(resp.StatusCode),
		location: resp.Header.Get("Location"), retry: resp.Header.Get("Retry-After")}
	code, message := e.Code, ""
	r := strictjson.New(body)
	err := r.Object(func(name []byte) error {
		switch string(name) {
		case "code":
			n, err := readInt(&r)
			code = int(n)
			return err
		case "message":
			text, err := r.Text()
			message = string(text)
			return err
		}
		return nil
	})
	if err == nil && message != "" {
		e.Code, e.Message = code, clip(message)
	}
	return e
}

// readInt reads a whole number.
func readInt(r *strictjson.Reader) (int64, error) {
	raw, err := r.Raw()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not a whole number", clip(string(raw)))
	}
	return n, nil
}

// FetchKey asks a log for the public key of its active tree, in PEM. Nothing vouches
// for it but the connection: it must not be trusted but by a human's decision, once.
func FetchKey(ctx context.Context, baseURL string, o Options) ([]byte, error) {
	t, err := newTransport(baseURL, o)
	if err != nil {
		return nil, err
	}
	// Rekor answers this with nothing else: 406 to one who asks for JSON.
	_, body, err := t.do(ctx, request{path: "/api/v1/log/publicKey", want: http.StatusOK, limit: maxSmall, accept: "application/x-pem-file"})
	if err != nil {
		return nil, err
	}
	text, err := keyText(body)
	if err != nil {
		return nil, malformed("public key", err)
	}
	return text, nil
}

// keyText returns the PEM of an answer that is it, or a JSON string of it.
func keyText(body []byte) (text []byte, err error) {
	text = body
	if r := strictjson.New(body); r.Peek() == '"' {
		if text, err = r.Text(); err == nil {
			err = r.End()
		}
	}
	if block, _ := pem.Decode(text); block == nil && err == nil {
		err = errors.New("it is not PEM")
	}
	return text, err
}
