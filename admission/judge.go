package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tallystick/tallystick/registry"
	"github.com/tallystick/tallystick/verify"
)

// verdict is what came out about one image. The zero value denies.
type verdict struct {
	image    string // as it was asked for
	admitted bool
	err      error   // why not
	rule     *rule   // that decided; nil if none did
	pinned   string  // the full name by digest; empty of exempt images, which are not resolved
	digest   string  // "sha256:…"
	proofs   []proof // for each requirement of the rule
}

// proof says by what a requirement was met.
type proof struct {
	of     *requirement
	result *verify.Result
	found  registry.Attached
}

// size is about how many bytes the signature takes. A predicate is the only part that is often large; it is there in the
// envelope as it was logged, too.
func (p *proof) size() int64 {
	const rest = 32 << 10
	if p.result.Statement == nil {
		return rest
	}
	return rest + 4*int64(len(p.result.Statement.Predicate))
}

// outcome is a verdict in a word, for metrics and logs.
func (v *verdict) outcome() string {
	switch {
	case v.admitted && v.rule.allow:
		return "exempt"
	case v.admitted:
		return "verified"
	case isRefusal(v.err):
		return "refused"
	}
	return "unavailable"
}

// isRefusal reports whether an error says that something does not hold, as opposed to that it could not be found out.
func isRefusal(err error) bool {
	var e *verify.Error
	var r refusal
	return errors.As(err, &r) || errors.As(err, &e) && !errors.Is(err, verify.ErrInternal)
}

// judgeAll returns the verdict of each image, all of them within the context's time: whatever takes longer, and
// whatever panics, denies.
func (s *Server) judgeAll(ctx context.Context, images []string, resolve bool) map[string]*verdict {
	p := s.policy.Load()
	results := make(chan *verdict, len(images))
	few := make(chan struct{}, s.limits.ChecksOfOne)
	for _, image := range images {
		go func() { results <- s.judgeOne(ctx, p, image, resolve, few) }()
	}
	all := make(map[string]*verdict, len(images))
	for range images {
		select {
		case v := <-results:
			all[v.image] = v
			continue
		case <-ctx.Done():
		}
		break
	}
	for _, image := range images {
		if all[image] == nil {
			all[image] = &verdict{image: image, err: errLate}
		}
		s.metrics.images.WithLabelValues(all[image].outcome()).Inc()
	}
	return all
}

var errLate = errors.New("it could not be verified in time: the registry may be slow or away; try again")

// judgeOne judges an image when there is room for it.
func (s *Server) judgeOne(ctx context.Context, p *Policy, image string, resolve bool, few chan struct{}) (v *verdict) {
	v = &verdict{image: image}
	defer func() {
		if fault := recover(); fault != nil {
			s.logger.Error("a fault while an image was judged, which denies it", "image", clip(image), "fault", fmt.Sprint(fault))
			v = &verdict{image: image, err: errors.New("an internal error; the server's log has more")}
		}
	}()
	for _, room := range []chan struct{}{few, s.checks} {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
		case <-ctx.Done():
			v.err = errBusy
			return v
		}
	}
	if err := s.judge(ctx, p, v, resolve); err != nil {
		v.err = err
		return v
	}
	v.admitted = true
	return v
}

// judge returns nil if, and only if, the image may run. Without resolve, an image that needs proofs has to be
// named by its digest.
func (s *Server) judge(ctx context.Context, p *Policy, v *verdict, resolve bool) error {
	var options []name.Option
	if s.allowHTTP {
		options = append(options, name.Insecure)
	}
	ref, err := parseImage(v.image, options...)
	if err != nil {
		return err
	}
	repository := repositoryName(ref.Context())
	rule := p.rule(repository)
	v.rule = rule
	if rule == nil {
		return refusalf("no rule of the policy is for %s, and what no rule is for is denied", repository)
	}
	if rule.allow {
		return nil
	}
	if len(rule.requires) == 0 {
		return fmt.Errorf("rule %q requires nothing", rule.name) // ParsePolicy makes none
	}
	if _, digest := ref.(name.Digest); !digest && !resolve {
		return refusalf("it has no digest, and a tag may stand for something else when it is pulled; name it as %s@sha256:…, or see that the mutating webhook is asked before this one", repository)
	}
	read := s.now()
	image, err := registry.Resolve(ctx, ref, registry.Options{
		Transport: s.transport, Keychain: s.keychain, AllowHTTP: s.allowHTTP, MaxBytes: s.limits.ImageBytes,
	})
	if err != nil {
		return fmt.Errorf("its digest could not be found out: %w", err)
	}
	v.pinned, v.digest = pinnedName(image.Name), image.Name.DigestStr()
	key := memoryKey{v.pinned, rule.kinds}
	if known := s.memory.get(key); known != nil {
		if v.proofs, err = s.prove(ctx, rule, known, image.Artifact()); err == nil {
			s.metrics.remembered.Inc()
			return nil
		}
	}
	found := image.Attached(ctx, rule.kinds)
	if v.proofs, err = s.prove(ctx, rule, found, image.Artifact()); err != nil {
		return err
	}
	var used []registry.Attached
	var bytes int64
	for _, p := range v.proofs {
		used = append(used, p.found)
		bytes += p.size()
	}
	s.memory.put(key, used, bytes, read)
	return nil
}

// prove proves all that the rule requires, or returns why not.
func (s *Server) prove(ctx context.Context, rule *rule, found []registry.Attached, a verify.Artifact) ([]proof, error) {
	var all []proof
	for i := range rule.requires {
		p, err := s.proveOne(ctx, &rule.requires[i], found, a)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// proveOne finds something that meets a requirement.
func (s *Server) proveOne(ctx context.Context, q *requirement, found []registry.Attached, a verify.Artifact) (proof, error) {
	var why reasons
	for _, f := range found {
		if err := ctx.Err(); err != nil {
			return proof{}, errLate
		}
		err := f.Err
		if err == nil {
			var r *verify.Result
			if r, err = q.verifier.Verify(f.Evidence, a); err == nil {
				err = s.checkAge(q, r)
			}
			if err == nil {
				return proof{q, r, f}, nil
			}
		}
		why.add(f.Source, err)
	}
	return proof{}, why.verdict(q)
}

// maxSkew is how far in the future a log's time may lie.
const maxSkew = 5 * time.Minute

// checkAge sees that the earliest proved time is not too long ago.
func (s *Server) checkAge(q *requirement, r *verify.Result) error {
	if q.maxAge == 0 {
		return nil
	}
	if len(r.Times) == 0 {
		return refusalf("nothing proves its time")
	}
	earliest := r.Times[0].Time
	for _, t := range r.Times {
		if t.Time.Before(earliest) {
			earliest = t.Time
		}
	}
	switch age := s.now().Sub(earliest); {
	case age < -maxSkew:
		return refusalf("its proved time, %s, is in the future", earliest.UTC().Format(time.RFC3339))
	case age > q.maxAge:
		return refusalf("it is from %s, longer ago than %s", earliest.UTC().Format(time.RFC3339), q.maxAge)
	}
	return nil
}

// reasons are why nothing that is attached meets a requirement.
type reasons struct {
	about     []string // of what is of the kind that is wanted
	other     int      // how many are of another kind
	uncertain error    // the first that could not be found out
	last      error
}

func (w *reasons) add(source string, err error) {
	switch {
	case err == nil:
		err = errors.New("it was neither proved nor refused")
		fallthrough
	case !isRefusal(err):
		if w.uncertain == nil {
			w.uncertain = fmt.Errorf("%s: %w", source, err)
		}
	case errors.Is(err, verify.ErrWrongArtifact):
		w.other++
		w.last = err
	default:
		w.about = append(w.about, fmt.Sprintf("%s: %s", source, clipTo(err.Error(), 300)))
	}
}

// maxReasons is how many signatures are explained.
const maxReasons = 3

// verdict puts them into words. It is never nil.
func (w *reasons) verdict(q *requirement) error {
	switch {
	case w.uncertain != nil: // it might have been a good one
		return fmt.Errorf("its %s could not be read: %w", q.what, w.uncertain)
	case len(w.about) == 0 && w.other == 0:
		return refusalf("no %s is attached to it: it was never signed, or its signatures are not in this registry", q.what)
	case len(w.about) == 0:
		return refusalf("no %s of it is among the %d things that are attached to it: %s", q.what, w.other, clipTo(w.last.Error(), 300))
	}
	more := ""
	if n := len(w.about) - maxReasons; n > 0 {
		w.about, more = w.about[:maxReasons], fmt.Sprintf("; and %d more", n)
	}
	return refusalf("no %s of it will do: %s%s", q.what, strings.Join(w.about, "; "), more)
}

// recovering makes an error of a fault of a RoundTripper: go-containerregistry sends requests from goroutines of its own,
// where a fault would end the program.
type recovering struct{ inner http.RoundTripper }

func (t recovering) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			answer, err = nil, fmt.Errorf("a fault while the registry was asked: %v", fault)
		}
	}()
	return t.inner.RoundTrip(r)
}
