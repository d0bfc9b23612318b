package admission

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
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
	stored   string  // the name under which an object is to be stored that asks for it: the full name, by digest unless a rule exempts it
	pinned   string  // the full name by digest; empty of exempt images, which are not resolved
	digest   string  // "sha256:…"
	proofs   []proof // for each requirement of the rule
}

// proof says by what a requirement was met. The zero value is none.
type proof struct {
	of     *requirement
	result *verify.Result
	found  registry.Attached // without evidence, if that is too large to keep
}

// maxKept is how many bytes of evidence are kept of what proved something, until all else is proved and in memory. More is read again.
const maxKept = 1 << 20

// size is about how many bytes the evidence takes in memory: it has the payload in the envelope, and apart from it, and its parts.
func (p *proof) size() int64 { return 32<<10 + 4*p.found.Size }

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

// asked says how images are to be judged.
type asked struct {
	policy *Policy
	// pin is for callers who put the verdict's name in the place of the image's. For others, images have to be named as they
	// are stored.
	pin bool
	// by is who asks: places and memory are shared between them.
	by string
}

// judgeAll returns the verdict of each image, all of them within the context's time: whatever takes longer, and
// whatever panics, denies.
func (s *Server) judgeAll(ctx context.Context, images []string, a asked) map[string]*verdict {
	results := make(chan *verdict, len(images))
	for _, image := range images {
		go func() { results <- s.judgeOne(ctx, image, a) }()
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

func (s *Server) judgeOne(ctx context.Context, image string, a asked) (v *verdict) {
	v = &verdict{image: image}
	defer func() {
		if fault := recover(); fault != nil {
			s.logger.Error("a fault while an image was judged, which denies it", "image", clip(image), "fault", fmt.Sprint(fault))
			v = &verdict{image: image, err: errors.New("an internal error; the server's log has more")}
		}
	}()
	if err := s.judge(ctx, v, a); err != nil {
		v.err = err
		return v
	}
	v.admitted = true
	return v
}

// judge returns nil if, and only if, the image may run. All that can be said without the registry is said before a place is taken.
func (s *Server) judge(ctx context.Context, v *verdict, a asked) error {
	var options []name.Option
	if s.allowHTTP {
		options = append(options, name.Insecure)
	}
	ref, err := parseImage(v.image, options...)
	if err != nil {
		return err
	}
	repository := repositoryName(ref.Context())
	rule := a.policy.rule(repository)
	v.rule = rule
	if rule == nil {
		return refusalf("no rule of the policy is for %s, and what no rule is for is denied", repository)
	}
	if rule.allow {
		v.stored = repository + tagAndDigest(v.image)
		if !a.pin && v.stored != v.image {
			return refusalf("it is not named in full, and the node that pulls it may take it for another registry's; name it as %s, or see that the mutating webhook is asked before this one", v.stored)
		}
		return nil
	}
	if len(rule.requires) == 0 {
		return fmt.Errorf("rule %q requires nothing", rule.name) // ParsePolicy makes none
	}
	_, digest := ref.(name.Digest)
	if !digest && !a.pin {
		return refusalf("it has no digest, and a tag may stand for something else when it is pulled; name it as %s@sha256:…, or see that the mutating webhook is asked before this one", repository)
	}
	host, _, _ := strings.Cut(repository, "/")
	c := &check{s: s, rule: rule, read: s.now(), of: []string{a.by, "host " + host}, options: registry.Options{
		Transport: s.transport, Keychain: s.keychain, AllowHTTP: s.allowHTTP, MaxBytes: s.limits.ImageBytes, Public: !a.policy.hosts[host],
	}}
	c.options.Room = func(ctx context.Context, bytes int64) (func(), error) { return s.bytes.take(ctx, bytes, c.of...) }
	if digest { // which asks for nothing
		if err := c.resolve(ctx, v, ref); err != nil {
			return err
		}
		if v.proofs = c.remembered(ctx); v.proofs != nil {
			return nil
		}
	}
	give, err := s.checks.take(ctx, 1, c.of...)
	if err != nil {
		return errBusy
	}
	defer give()
	if !digest {
		if err := c.resolve(ctx, v, ref); err != nil {
			return err
		}
		if v.proofs = c.remembered(ctx); v.proofs != nil {
			return nil
		}
	}
	v.proofs, err = c.prove(ctx, c.image.Attached(ctx, rule.kinds))
	if err == nil {
		s.memory.put(c.key, v.proofs, c.read)
	}
	return err
}

// check is the judgement of one image that needs proofs.
type check struct {
	s       *Server
	rule    *rule
	of      []string  // whose shares it takes from
	read    time.Time // when it began
	options registry.Options
	image   *registry.Image
	key     memoryKey
}

// resolve finds the digest.
func (c *check) resolve(ctx context.Context, v *verdict, ref name.Reference) (err error) {
	if c.image, err = registry.Resolve(ctx, ref, c.options); err != nil {
		return fmt.Errorf("its digest could not be found out: %w", err)
	}
	v.pinned, v.digest = pinnedName(c.image.Name), c.image.Name.DigestStr()
	v.stored = v.pinned
	c.key = memoryKey{v.pinned, c.rule.kinds}
	return nil
}

// remembered proves all by what is remembered, or returns nil.
func (c *check) remembered(ctx context.Context) []proof {
	known := c.s.memory.get(c.key)
	if known == nil {
		return nil
	}
	proofs, err := c.prove(ctx, slices.Values(known))
	if err != nil {
		return nil
	}
	c.s.metrics.remembered.Inc()
	return proofs
}

// prove proves all that the rule requires, or returns why not. It reads no further than it needs to.
func (c *check) prove(ctx context.Context, found iter.Seq[registry.Attached]) ([]proof, error) {
	proofs, why := make([]proof, len(c.rule.requires)), make([]reasons, len(c.rule.requires))
	missing := len(proofs)
	for f := range found {
		for i := range c.rule.requires {
			if err := ctx.Err(); err != nil {
				return nil, errLate
			}
			if proofs[i].result != nil {
				continue
			}
			p, err := c.proveOne(&c.rule.requires[i], f)
			if err != nil {
				why[i].add(f.Source, err)
				continue
			}
			proofs[i] = p
			if missing--; missing == 0 {
				return proofs, nil
			}
		}
	}
	for i := range proofs {
		if proofs[i].result == nil {
			return nil, why[i].verdict(&c.rule.requires[i])
		}
	}
	return nil, errors.New("nothing is required") // ParsePolicy makes no such rule
}

// proveOne sees whether something meets a requirement.
func (c *check) proveOne(q *requirement, f registry.Attached) (proof, error) {
	if f.Err != nil {
		return proof{}, f.Err
	}
	r, err := q.verifier.Verify(f.Evidence, c.image.Artifact())
	if err != nil {
		return proof{}, err
	}
	if err := q.checkAge(r, c.s.now()); err != nil {
		return proof{}, err
	}
	if f.Size > maxKept {
		f.Evidence = nil
	}
	if r.Statement != nil {
		r.Statement.Predicate = nil // which was looked at, and may be large
	}
	return proof{q, r, f}, nil
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
