package trust

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// SigningMediaType is the media type of the signing configs that SigningConfig writes.
const SigningMediaType = "application/vnd.dev.sigstore.signingconfig.v0.2+json"

// Services say where clients sign. Empty URLs stand for services that are not there.
type Services struct {
	// Log is the URL of a log that speaks the Rekor v1 API. Clients add /api/v1/log/entries.
	Log string
	// Fulcio is the URL of the certificate authority; OIDC that of the issuer of its
	// identity tokens.
	Fulcio, OIDC string
	// TSA is the whole URL of the timestamp authority's endpoint.
	TSA string
	// Operator is who runs them: clients take one service of each operator.
	Operator string
	// Start is since when they run. The zero time stands for the Unix epoch. One that is in the
	// future by a client's clock makes it find no service.
	Start time.Time
}

// The signing config in JSON (protobuf-specs, sigstore_trustroot.proto).
type (
	signingConfig struct {
		MediaType string    `json:"mediaType"`
		CAs       []service `json:"caUrls,omitempty"`
		OIDC      []service `json:"oidcUrls,omitempty"`
		Logs      []service `json:"rekorTlogUrls"`
		LogConfig *selector `json:"rekorTlogConfig"`
		TSAs      []service `json:"tsaUrls,omitempty"`
		TSAConfig *selector `json:"tsaConfig,omitempty"`
	}
	service struct {
		URL      string     `json:"url"`
		Version  int        `json:"majorApiVersion"`
		ValidFor windowJSON `json:"validFor"`
		Operator string     `json:"operator"`
	}
	selector struct {
		Selector string `json:"selector"`
	}
)

// SigningConfig returns the services as a Sigstore signing config, version 0.2, in JSON.
// The same services give the same bytes.
func SigningConfig(s Services) ([]byte, error) {
	if s.Operator == "" {
		return nil, errors.New("signing config: it is not said who operates the services")
	}
	if s.Log == "" {
		return nil, errors.New("signing config: it has no log")
	}
	for _, u := range []string{s.Log, s.Fulcio, s.OIDC, s.TSA} {
		if err := checkURL(u); u != "" && err != nil {
			return nil, fmt.Errorf("signing config: %w", err)
		}
	}
	start := s.Start
	if start.IsZero() {
		start = time.Unix(0, 0)
	}
	list := func(url string) []service {
		if url == "" {
			return nil
		}
		return []service{{url, 1, windowJSON{Start: timestamp(start)}, s.Operator}}
	}
	c := signingConfig{
		MediaType: SigningMediaType,
		CAs:       list(s.Fulcio), OIDC: list(s.OIDC), Logs: list(s.Log), TSAs: list(s.TSA),
		LogConfig: &selector{"ANY"},
	}
	if s.TSA != "" { // sigstore-js wants a service for every config, and no other selector
		c.TSAConfig = &selector{"ANY"}
	}
	return marshal(c)
}

// checkURL refuses what clients could not use as a URL.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%q is not a URL such as https://log.example.com", text)
	}
	return nil
}
