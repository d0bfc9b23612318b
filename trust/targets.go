package trust

import (
	"encoding/json"
	"fmt"

	"github.com/tallystick/tallystick/verify"
)

// Names of the files by which Sigstore's clients find trust in a TUF repository.
const (
	RootTarget    = "trusted_root.json"
	SigningTarget = "signing_config.v0.2.json"
)

// Target is a file that a TUF repository delivers.
type Target struct {
	Name    string // without slashes
	Content []byte
	Custom  json.RawMessage // the target's custom metadata, an object; may be nil
}

// Targets returns the files of a TUF repository for Sigstore clients: the trusted root, the
// signing config, unless it is nil, and the root's keys and certificates one by one, as clients
// older than trusted roots want them: found by custom metadata that says what each is
// (sigstore/sigstore, pkg/tuf).
//
// Those clients know no validity, no Rekor v2 and no more than one timestamp authority. So what has
// an end is left out for them, and of the timestamp authorities all but the newest.
func Targets(root, signing []byte) ([]Target, error) {
	trust, err := verify.ParseTrustedRoot(root)
	if err != nil {
		return nil, err
	}
	out := []Target{{Name: RootTarget, Content: root}}
	if signing != nil {
		if err := checkSigningConfig(signing); err != nil {
			return nil, err
		}
		out = append(out, Target{Name: SigningTarget, Content: signing})
	}
	m := trust.Material()
	out = append(out, logTargets(m.Logs, "Rekor", "rekor", "pub")...)
	out = append(out, logTargets(m.CTLogs, "CTFE", "ctfe", "pub")...)
	n := 0
	for _, a := range m.CertificateAuthorities {
		if a.Valid.End.IsZero() {
			n++
			out = append(out, singleTarget("Fulcio", "fulcio", "crt.pem", n, a.URI, chainPEM(a.Chain)))
		}
	}
	if a := newestAuthority(m.TimestampAuthorities); a != nil {
		out = append(out, singleTarget("TSA", "tsa", "crt.pem", 1, a.URI, chainPEM(a.Chain)))
	}
	return out, nil
}

func logTargets(logs []verify.Log, usage, name, ext string) (out []Target) {
	for _, l := range logs {
		if v1(l) && l.Valid.End.IsZero() {
			out = append(out, singleTarget(usage, name, ext, len(out)+1, l.BaseURL, l.Key.PEM))
		}
	}
	return out
}

// singleTarget names the first of its kind as Sigstore's own repository does, "rekor.pub", and
// further ones "rekor_2.pub".
func singleTarget(usage, name, ext string, n int, uri string, content []byte) Target {
	if n > 1 {
		name = fmt.Sprintf("%s_%d", name, n)
	}
	type about struct {
		Usage  string `json:"usage"`
		Status string `json:"status"`
		URI    string `json:"uri"`
	}
	custom, err := json.Marshal(map[string]about{"sigstore": {usage, "Active", uri}})
	if err != nil {
		panic(err) // strings always encode
	}
	return Target{name + "." + ext, content, custom}
}

// checkSigningConfig refuses a file that is something else, not one that has faults.
func checkSigningConfig(data []byte) error {
	var c struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("signing config: %w", err)
	}
	if c.MediaType != SigningMediaType {
		return fmt.Errorf("signing config: its media type is %q, not %q", c.MediaType, SigningMediaType)
	}
	return nil
}
