package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tallystick/tallystick/sig/strictjson"
	"github.com/tallystick/tallystick/verify"
)

// providerVersion is the version of Gatekeeper's external data that is spoken
// (open-policy-agent/frameworks, constraint/pkg/externaldata).
const providerVersion = "externaldata.gatekeeper.sh/v1beta1"

// parseProviderRequest returns the keys of a ProviderRequest, at most that many.
func parseProviderRequest(data []byte, most int) ([]string, error) {
	r := strictjson.New(data)
	var apiVersion, kind string
	var keys []string
	err := r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "apiVersion":
			apiVersion, err = text(&r)
		case "kind":
			kind, err = text(&r)
		case "request":
			err = r.Object(func(member []byte) error {
				if string(member) != "keys" || r.Null() {
					return nil
				}
				return r.Array(func() error {
					key, err := text(&r)
					if keys = append(keys, key); len(keys) > most {
						return fmt.Errorf("there are more than %d keys", most)
					}
					return err
				})
			})
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, err
	}
	if apiVersion != providerVersion || kind != "ProviderRequest" {
		return nil, fmt.Errorf("it is a %s and not a %s ProviderRequest", clip(apiVersion+" "+kind), providerVersion)
	}
	return keys, nil
}

// providerResponse is the body of a ProviderResponse.
type providerResponse struct {
	// Idempotent says that the same keys have the same answer, which Gatekeeper demands for mutation: a pinned image
	// stays as it is.
	Idempotent  bool           `json:"idempotent"`
	Items       []providerItem `json:"items,omitempty"`
	SystemError string         `json:"systemError,omitempty"`
}

// providerItem is the answer for a key: a value or an error.
type providerItem struct {
	Key   string `json:"key"`
	Value any    `json:"value,omitempty"`
	Error string `json:"error,omitempty"`
}

func (p *providerResponse) bytes() ([]byte, error) {
	return json.Marshal(struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Response   *providerResponse `json:"response"`
	}{providerVersion, "ProviderResponse", p})
}

// verified is the value of an image that may run.
type verified struct {
	// Image is the full name by digest. Empty if a rule exempts the image, which is then not looked at.
	Image  string `json:"image,omitempty"`
	Digest string `json:"digest,omitempty"`
	Rule   string `json:"rule"`
	Exempt bool   `json:"exempt"`
	Proofs []said `json:"proofs,omitempty"`
}

// said is what was proved for one requirement.
type said struct {
	Type    string      `json:"type,omitempty"` // predicate type; of a signature of the image there is none
	Key     string      `json:"key,omitempty"`  // "sha256:" and the digest of the SubjectPublicKeyInfo
	Subject string      `json:"subject,omitempty"`
	Issuer  string      `json:"issuer,omitempty"`
	Entries []saidEntry `json:"entries,omitempty"`
}

type saidEntry struct {
	Log      string `json:"log"` // URL, or its ID in hexadecimal
	LogIndex int64  `json:"logIndex"`
	Time     int64  `json:"integratedTime,omitempty"` // Unix seconds
}

func (v *verdict) value() verified {
	out := verified{Image: v.pinned, Digest: v.digest, Rule: v.rule.name, Exempt: v.rule.allow}
	for _, p := range v.proofs {
		s := said{Type: p.of.typ, Subject: p.result.Subject, Issuer: p.result.Issuer}
		if k := p.result.Key; k >= 0 && k < len(p.of.keys) {
			s.Key = p.of.keys[k]
		}
		for _, e := range p.result.Entries {
			s.Entries = append(s.Entries, saidEntry{logName(e.Log), e.LogIndex, e.IntegratedTime})
		}
		out.Proofs = append(out.Proofs, s)
	}
	return out
}

func logName(l verify.Log) string {
	if l.BaseURL != "" {
		return clip(l.BaseURL)
	}
	return fmt.Sprintf("%x", l.ID)
}

// provider is an endpoint for Gatekeeper. With pin the value of a key is the image's full name by digest, for
// mutation; else it says what was proved of an image that is named by its digest.
type provider struct {
	s   *Server
	pin bool
}

// keys are those of a request that was read.
type keys struct {
	p      provider
	policy *Policy
	keys   []string
}

func (p provider) read(body []byte) (query, error) {
	all, err := parseProviderRequest(body, p.s.limits.Images)
	if err != nil {
		return nil, fmt.Errorf("the ProviderRequest cannot be read: %s", clipTo(err.Error(), 300))
	}
	slices.Sort(all)
	return &keys{p, p.s.policy.Load(), slices.Compact(all)}, nil
}

// by is nobody: Gatekeeper does not say for whom it asks.
func (k *keys) by() string { return "" }

// answer answers for all keys, or, if anything could not be found out about one of them, for none: Gatekeeper remembers what it is told
// of a key for minutes, errors too, but no systemError.
func (k *keys) answer(ctx context.Context) (reply, error) {
	s := k.p.s
	// What one request asks about is one another's load, and takes a share of the server like a namespace.
	verdicts := s.judgeAll(ctx, k.keys, asked{k.policy, k.p.pin, fmt.Sprintf("request %d", s.asked.Add(1))})
	response := providerResponse{Idempotent: true}
	decision, message := "admitted", ""
	for _, key := range k.keys {
		v := verdicts[key]
		if v == nil {
			v = &verdict{}
		}
		item := providerItem{Key: key}
		switch {
		case !v.admitted:
			message = clip(key) + ": " + v.why()
			if !isRefusal(v.err) {
				return k.p.refuse(http.StatusOK, "not all images could be looked at: image "+message), nil
			}
			item.Error, decision = v.why(), "denied"
		case !k.p.pin:
			item.Value = v.value()
		case v.pinned != "":
			item.Value = v.pinned
		default:
			item.Value = v.stored
		}
		response.Items = append(response.Items, item)
	}
	data, err := response.bytes()
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, contentType: "application/json", body: data, decision: decision, message: message, about: []any{"keys", len(k.keys)}}, nil
}

// why says why an image is not admitted.
func (v *verdict) why() string {
	err := v.err
	if err == nil {
		err = errors.New("it was neither proved nor refused")
	}
	text := clipTo(err.Error(), 1200)
	if v.rule != nil {
		text = fmt.Sprintf("rule %q: %s", v.rule.name, text)
	}
	return text
}

// refuse answers with a systemError. Gatekeeper reads the body whatever the status: another body would look to it
// like an answer without errors.
func (p provider) refuse(status int, message string) reply {
	data, err := (&providerResponse{SystemError: clipTo("tallystick: "+message, maxMessage)}).bytes()
	if err != nil { // a string and a bool
		data = []byte("the answer cannot be written")
	}
	return reply{status: status, contentType: "application/json", body: data, decision: "failed", message: message}
}
