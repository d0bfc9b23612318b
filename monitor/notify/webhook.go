package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Webhook posts each alert, as Standard Webhooks (standardwebhooks.com, specification 1.0) has it, so that there are libraries that verify it:
//
//	POST the URL
//	Content-Type: application/json
//	Webhook-Id: the alert's ID; Idempotency-Key has it, too
//	Webhook-Timestamp: when it is sent, in Unix seconds
//	Webhook-Signature: v1,<base64 of the HMAC-SHA256 of "ID.TIMESTAMP.BODY", with the secret>
//
//	{"alert": …, "evidence": …}
//
// alert is a monitor.Alert, as in the journal, and evidence the content of its evidence file, if there is one. Any status 2xx means that it was taken. No redirect is followed.
type Webhook struct {
	name, url string
	secret    []byte
	http      *http.Client
	agent     string
	timeout   time.Duration
	now       func() time.Time
}

const (
	webhookTimeout = 30 * time.Second
	maxAnswer      = 64 << 10 // bytes that are read of an answer, so that the connection can be used again
	minSecret      = 24       // bytes, as in Standard Webhooks
	maxSecret      = 1024
)

// Name implements Sink.
func (w *Webhook) Name() string { return w.name }

// Most implements Sink.
func (w *Webhook) Most() int { return 1 }

// Deliver implements Sink.
func (w *Webhook) Deliver(ctx context.Context, alerts []Delivery) error {
	for i := range alerts {
		if err := w.post(ctx, &alerts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Webhook) post(ctx context.Context, d *Delivery) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	body := append([]byte(`{"alert":`), d.JSON...)
	if d.Evidence != nil {
		body = append(append(body, `,"evidence":`...), bytes.TrimSpace(d.Evidence)...)
	}
	body = append(body, '}')
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return hideURL(err)
	}
	id, at := d.Alert.ID, strconv.FormatInt(w.now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", w.agent)
	r.Header.Set("Idempotency-Key", id)
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(signature(w.secret, id, at, body)))
	answer, err := w.http.Do(r)
	if err != nil {
		return hideURL(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // the status says all
	if answer.StatusCode/100 == 2 {
		return nil
	}
	said := &Error{Err: fmt.Errorf("the webhook answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode)), After: w.retryAfter(answer.Header.Get("Retry-After"))}
	switch answer.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		said.Refused = true
	}
	return said
}

// signature returns the HMAC that Standard Webhooks asks for.
func signature(secret []byte, id, at string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(id + "." + at + "."))
	h.Write(body)
	return h.Sum(nil)
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds, or a date. What cannot be read is 0.
func (w *Webhook) retryAfter(text string) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(w.now()))
	}
	return 0
}

// hideURL takes the URL out of an error: many a webhook's URL is a secret.
func hideURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return fmt.Errorf("the webhook: %w", e.Err)
	}
	return errors.New("the webhook cannot be asked")
}

// readSecret reads a secret: "whsec_" and base64, as Standard Webhooks writes it, or text as it is.
func readSecret(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	secret := []byte(text)
	if coded, is := strings.CutPrefix(text, "whsec_"); is {
		var err error
		if secret, err = base64.StdEncoding.DecodeString(coded); err != nil {
			return nil, errors.New("it begins with whsec_, and what follows is not base64")
		}
	}
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("it has %d bytes, not %d to %d (openssl rand -hex 32 makes one)", len(secret), minSecret, maxSecret)
	}
	return secret, nil
}
