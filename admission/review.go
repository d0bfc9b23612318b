package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// reviewVersion is the version of AdmissionReview that is spoken (k8s.io/api/admission/v1).
const reviewVersion = "admission.k8s.io/v1"

// review is an AdmissionReview's request, as far as it is of interest.
type review struct {
	uid             string
	kind            groupKind
	subResource     string
	operation       string
	namespace, name string
	object          []byte // JSON, nil if there is none
	oldObject       []byte
}

// maxUID is the longest UID of a request, in bytes. They are UUIDs.
const maxUID = 128

// parseReview reads an AdmissionReview of a request. Members that this program does not know are skipped: newer API
// servers may add some.
func parseReview(data []byte) (*review, error) {
	r := strictjson.New(data)
	var v review
	var apiVersion, kind string
	requested := false
	err := r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "apiVersion":
			apiVersion, err = text(&r)
		case "kind":
			kind, err = text(&r)
		case "request":
			requested = true
			err = v.read(&r)
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return nil, err
	case apiVersion != reviewVersion || kind != "AdmissionReview":
		return nil, fmt.Errorf("it is a %s and not a %s AdmissionReview", clip(apiVersion+" "+kind), reviewVersion)
	case !requested:
		return nil, errors.New("it has no request")
	case v.uid == "" || len(v.uid) > maxUID:
		return nil, errors.New("its request has no uid")
	}
	return &v, nil
}

func (v *review) read(r *strictjson.Reader) error {
	return r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "uid":
			v.uid, err = text(r)
		case "kind":
			err = r.Object(func(member []byte) (err error) {
				switch string(member) {
				case "group":
					v.kind.group, err = text(r)
				case "version":
					v.kind.version, err = text(r)
				case "kind":
					v.kind.kind, err = text(r)
				}
				return err
			})
		case "subResource":
			v.subResource, err = text(r)
		case "operation":
			v.operation, err = text(r)
		case "namespace":
			v.namespace, err = text(r)
		case "name":
			v.name, err = text(r)
		case "object":
			v.object, err = rawObject(r)
		case "oldObject":
			v.oldObject, err = rawObject(r)
		}
		return err
	})
}

// rawObject returns a value as it is, or nil for null.
func rawObject(r *strictjson.Reader) ([]byte, error) {
	if r.Null() {
		return nil, nil
	}
	return r.Raw()
}

// answer is an AdmissionReview's response.
type answer struct {
	UID       string   `json:"uid"`
	Allowed   bool     `json:"allowed"`
	Status    *status  `json:"status,omitempty"`
	Patch     []byte   `json:"patch,omitempty"`
	PatchType string   `json:"patchType,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`

	decision string // in a word: admitted, denied, warned or exempt
}

type status struct {
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int    `json:"code"`
}

func (a *answer) bytes() ([]byte, error) {
	return json.Marshal(struct {
		APIVersion string  `json:"apiVersion"`
		Kind       string  `json:"kind"`
		Response   *answer `json:"response"`
	}{reviewVersion, "AdmissionReview", a})
}

// patch is an operation of a JSON Patch (RFC 6902).
type patch struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value string `json:"value"`
}

// question is a request that was read: what it would start, and where to answer to. It keeps nothing of the request's body.
type question struct {
	s      *Server
	pin    bool // for the mutating webhook
	policy *Policy
	review
	uses []use
	err  error // why the images cannot be known
}

// ask reads what a review is about.
func (w webhook) ask(v *review) *question {
	q := &question{s: w.s, pin: w.pin, policy: w.s.policy.Load(), review: *v}
	if !q.policy.exempt[v.namespace] {
		q.uses, q.err = w.s.uses(v)
	}
	q.object, q.oldObject = nil, nil
	return q
}

func (q *question) by() string { return "namespace " + q.namespace }

// template reports whether the object makes no pods that are not judged themselves, and must not be changed: the controller of a
// Deployment looks for a ReplicaSet whose template is, byte by byte, that of the Deployment. If the Deployment has a tag (from before this
// webhook, or admitted with a warning, or by a rule that allowed it) and its ReplicaSet had a digest, the controller would take
// that for a stranger's, and make another ReplicaSet, without end. So tags are looked up for a ReplicaSet, to tell whether they
// may run, by either webhook, and left as they are; its pods are pinned. Other controllers do not compare: Jobs of CronJobs and
// pods of everything are pinned.
func (q *question) template() bool { return q.kind.kind == "ReplicaSet" }

// decide answers an AdmissionReview.
func (q *question) decide(ctx context.Context) *answer {
	s, v := q.s, &q.review
	if q.policy.exempt[v.namespace] {
		return &answer{UID: v.uid, Allowed: true, decision: "exempt"}
	}
	if q.err != nil {
		return s.deny(v, []string{q.err.Error()}, isRefusal(q.err))
	}
	var images []string
	for _, u := range q.uses {
		if !slices.Contains(images, u.image) {
			images = append(images, u.image)
		}
	}
	verdicts := s.judgeAll(ctx, images, asked{q.policy, q.pin || q.template(), q.by()})
	var problems []string
	var patches []patch
	certain := true
	for _, u := range q.uses {
		switch verdict := verdicts[u.image]; {
		case verdict == nil:
			return s.deny(v, []string{"an image was not judged"}, false)
		case !verdict.admitted:
			problems = append(problems, explain(u, verdict))
			certain = certain && isRefusal(verdict.err)
		case q.pin && !q.template() && verdict.changes():
			patches = append(patches, patch{"replace", u.pointer, verdict.stored})
		}
	}
	a := &answer{UID: v.uid, Allowed: true, decision: "admitted"}
	if problems != nil {
		if a = s.deny(v, problems, certain); !a.Allowed {
			return a
		}
	}
	if patches != nil {
		var err error
		if a.Patch, err = json.Marshal(patches); err != nil {
			return s.deny(v, []string{err.Error()}, false)
		}
		a.PatchType = "JSONPatch"
	}
	return a
}

// changes reports whether the image is to be stored under another name. One that has its digest, and was verified, stays as it is.
func (v *verdict) changes() bool {
	return v.stored != v.image && (v.rule.allow || !strings.Contains(v.image, "@"))
}

// uses returns the images that the request would start.
func (s *Server) uses(v *review) ([]use, error) {
	if v.operation != "CREATE" && v.operation != "UPDATE" {
		return nil, refusalf("the operation %q is not one that this webhook judges (CREATE and UPDATE); take it out of the webhook's rules", clip(v.operation))
	}
	if v.object == nil {
		return nil, errors.New("the request has no object")
	}
	uses, err := findImages(v.object, v.kind, s.limits.Images)
	if err != nil || v.operation != "UPDATE" || v.oldObject == nil {
		return uses, err
	}
	before, err := findImages(v.oldObject, v.kind, s.limits.Images)
	if err != nil {
		return uses, nil // all are judged
	}
	return changed(uses, before), nil
}

// explain says to a person why an image is not admitted.
func explain(u use, v *verdict) string {
	rule := ""
	if v.rule != nil {
		rule = fmt.Sprintf(" (rule %q)", v.rule.name)
	}
	err := errors.New("it was neither proved nor refused")
	if v.err != nil {
		err = v.err
	}
	return fmt.Sprintf("image %s of %v%s: %s", clip(u.image), u, rule, clipTo(err.Error(), 1200))
}

// Limits of what is said to people, in bytes. An API server passes on warnings of 4 KiB in all; beyond it, it cuts each
// to 256 characters (k8s.io/apiserver, pkg/endpoints/filters/warning.go).
const (
	maxMessage = 4000
	maxWarning = 1000
)

// deny refuses a request for these reasons, or admits it with warnings if the server only warns.
func (s *Server) deny(v *review, problems []string, certain bool) *answer {
	if s.warn {
		a := &answer{UID: v.uid, Allowed: true, decision: "warned"}
		for _, p := range problems {
			a.Warnings = append(a.Warnings, clipTo("tallystick would deny this: "+p, maxWarning))
		}
		return a
	}
	st := &status{Message: clipTo("tallystick: "+strings.Join(problems, "; "), maxMessage), Reason: "Forbidden", Code: http.StatusForbidden}
	if !certain {
		st.Reason, st.Code = "ServiceUnavailable", http.StatusServiceUnavailable
	}
	return &answer{UID: v.uid, Status: st, decision: "denied"}
}

// webhook is the endpoint of a webhook.
type webhook struct {
	s   *Server
	pin bool
}

func (w webhook) read(body []byte) (query, error) {
	v, err := parseReview(body)
	if err != nil {
		return nil, fmt.Errorf("the AdmissionReview cannot be read: %s", clipTo(err.Error(), 300))
	}
	return w.ask(v), nil
}

func (q *question) answer(ctx context.Context) (reply, error) {
	a := q.decide(ctx)
	data, err := a.bytes()
	if err != nil {
		return reply{}, err
	}
	r := reply{status: http.StatusOK, contentType: "application/json", body: data, decision: a.decision, about: []any{
		"uid", clip(q.uid), "operation", clip(q.operation), "kind", q.kind.String(), "subresource", clip(q.subResource), "namespace", clip(q.namespace), "name", clip(q.name),
	}}
	if a.Status != nil {
		r.message = a.Status.Message
	} else {
		r.message = strings.Join(a.Warnings, "; ")
	}
	if a.Patch != nil {
		r.about = append(r.about, "patch", string(a.Patch))
	}
	return r, nil
}

// refuse answers a request of which not even the uid is known. The API server takes it for a failure of the webhook,
// which denies with failurePolicy: Fail.
func (w webhook) refuse(status int, message string) reply {
	return reply{status: status, contentType: "text/plain; charset=utf-8", body: append(bytes.TrimSpace([]byte("tallystick: "+message)), '\n'), decision: "failed", message: message}
}
