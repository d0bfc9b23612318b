package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/monitor"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// hook returns a webhook to a URL, by way of the configuration.
func hook(t *testing.T, url string) *Webhook {
	t.Helper()
	r := &Reader{Env: func(string) string { return testSecret }, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	if err := parse(r, "webhooks: [{name: ops, url: '"+url+"', secretEnv: SECRET, plainHTTP: true}]"); err != nil {
		t.Fatal(err)
	}
	return r.Sinks[0].(*Webhook)
}

func delivery(a monitor.Alert, evidence string) Delivery {
	line, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	d := Delivery{Record: monitor.Record{Alert: a, JSON: line}}
	if evidence != "" {
		d.Evidence = []byte(evidence)
	}
	return d
}

// The signature is the one that Standard Webhooks' own libraries make (the test vector of theirs).
func TestSignatureVector(t *testing.T) {
	secret, err := readSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
	if err != nil {
		t.Fatal(err)
	}
	got := base64.StdEncoding.EncodeToString(signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, not %s", got, want)
	}
}

// A receiver gets the alert with its evidence, and can check who sent it.
func TestWebhook(t *testing.T) {
	var posted *http.Request
	var body []byte
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		posted = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer s.Close()
	if err := hook(t, s.URL+"/path?x=y").Deliver(t.Context(), []Delivery{delivery(alarm(7), "{\"format\": \"e\"}\n")}); err != nil {
		t.Fatal(err)
	}
	if posted.Method != "POST" || posted.URL.String() != "/path?x=y" {
		t.Errorf("%s %s", posted.Method, posted.URL)
	}
	mac := hmac.New(sha256.New, []byte(testSecret))
	fmt.Fprintf(mac, "%s.1800000000.%s", id(7), body)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "tallystick-monitor", "Idempotency-Key": id(7), "Webhook-Id": id(7), "Webhook-Timestamp": "1800000000",
		"Webhook-Signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
	} {
		if got := posted.Header.Get(name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	var got struct {
		Alert    monitor.Alert
		Evidence struct{ Format string }
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Alert.ID != id(7) || got.Evidence.Format != "e" {
		t.Errorf("%v: %s", err, body)
	}
	if err := hook(t, s.URL).Deliver(t.Context(), []Delivery{delivery(match(8), "")}); err != nil || strings.Contains(string(body), "evidence") {
		t.Errorf("without evidence: %v, %s", err, body)
	}
}

// Only 2xx is success. What the receiver says is passed on, its URL not; and no redirect is followed.
func TestWebhookAnswers(t *testing.T) {
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer stranger.Close()
	for _, c := range []struct {
		status  int
		retry   string
		ok      bool
		refused bool
		after   time.Duration
	}{
		{status: 200, ok: true}, {status: 202, ok: true}, {status: 204, ok: true},
		{status: 301}, {status: 302}, {status: 307}, {status: 308}, {status: 304},
		{status: 400, refused: true}, {status: 413, refused: true}, {status: 415, refused: true}, {status: 422, refused: true},
		{status: 401}, {status: 403}, {status: 404}, {status: 409}, {status: 410}, {status: 500}, {status: 503},
		{status: 429, retry: "17", after: 17 * time.Second}, {status: 503, retry: time.Unix(1_800_000_060, 0).UTC().Format(http.TimeFormat), after: time.Minute},
		{status: 503, retry: "soon"}, {status: 503, retry: "-3"}, {status: 503, retry: "99999999999999999999"}, {status: 503, retry: time.Unix(1_700_000_000, 0).UTC().Format(http.TimeFormat)},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", stranger.URL)
			w.Header().Set("Retry-After", c.retry)
			w.WriteHeader(c.status)
		}))
		err := hook(t, s.URL+"/canary").Deliver(t.Context(), []Delivery{delivery(match(0), "")})
		s.Close()
		var said *Error
		switch {
		case c.ok != (err == nil):
			t.Errorf("%d: %v", c.status, err)
		case err != nil && (!errors.As(err, &said) || said.Refused != c.refused || said.After != c.after || strings.Contains(err.Error(), "canary")):
			t.Errorf("%d %s: %#v", c.status, c.retry, err)
		}
	}
}

// A receiver that is away, that breaks off, that never answers, or that answers without end.
func TestWebhookAway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	release := make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/canary-break":
			panic(http.ErrAbortHandler)
		case "/canary-hang":
			<-release
		case "/canary-endless":
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					close(release)
					return
				}
			}
		}
	}))
	defer s.Close()
	for _, url := range []string{gone.URL + "/canary", s.URL + "/canary-break", s.URL + "/canary-hang"} {
		w := hook(t, url)
		if strings.HasSuffix(url, "hang") {
			w.timeout = 50 * time.Millisecond
		}
		if err := w.Deliver(t.Context(), []Delivery{delivery(match(0), "")}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if err := hook(t, s.URL+"/canary-endless").Deliver(t.Context(), []Delivery{delivery(match(0), "")}); err != nil {
		t.Errorf("what follows the status of success: %v", err)
	}
	<-release
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := hook(t, s.URL).Deliver(ctx, []Delivery{delivery(match(0), "")}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
