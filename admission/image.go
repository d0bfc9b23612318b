package admission

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// MaxReference is the longest image reference, in bytes.
const MaxReference = 512

// Parts of a reference (distribution/reference, regexp.go). What runtimes would not take, or would take in
// another way than go-containerregistry, is refused.
const (
	hostForm      = `[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?`
	componentForm = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
)

var (
	hostOnly      = regexp.MustCompile(`^` + hostForm + `$`)
	componentOnly = regexp.MustCompile(`^` + componentForm + `$`)
	// imageID is how a node names an image that lies on it: containerd and CRI-O run such a one without pulling it, whatever repository it would
	// be of. (Kubelets take sha256:… for a name, and pass it on; some runtimes take the beginning of an ID, too.)
	imageID   = regexp.MustCompile(`^(?:(?:sha256|sha384|sha512):[0-9a-f]+|[0-9a-f]{64})$`)
	reference = regexp.MustCompile(`^(?:` + hostForm + `/)?` + componentForm + `(?:/` + componentForm + `)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$`)
)

// parseImage reads an image reference as Kubernetes takes it: a name without a registry is one of Docker Hub, a name
// without tag and digest has the tag latest, and where there are both, the digest counts.
func parseImage(text string, o ...name.Option) (name.Reference, error) {
	switch {
	case text == "":
		return nil, refusalf("no image is named")
	case len(text) > MaxReference:
		return nil, refusalf("an image reference of %d bytes, more than %d", len(text), MaxReference)
	case imageID.MatchString(text):
		return nil, refusalf("%q is not an image reference but the ID of an image on a node; name it by its repository", clip(text))
	case !reference.MatchString(text):
		return nil, refusalf("%q is not an image reference (registry/repository:tag or …@sha256:digest, the name in lower case)", clip(text))
	}
	ref, err := name.ParseReference(text, o...)
	if err != nil {
		return nil, refusalf("%q is not an image reference: %v", clip(text), err)
	}
	return ref, nil
}

// repositoryName returns the full name of a repository, as people and runtimes write it.
func repositoryName(r name.Repository) string {
	host := r.RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	return host + "/" + r.RepositoryStr()
}

// tagAndDigest returns what follows the repository in an image reference.
func tagAndDigest(text string) string {
	end := len(text)
	if at := strings.IndexByte(text, '@'); at >= 0 {
		end = at
	}
	if colon := strings.LastIndexByte(text[:end], ':'); colon > strings.LastIndexByte(text[:end], '/') {
		end = colon
	}
	return text[end:]
}

// pinnedName returns the full name of an image by its digest.
func pinnedName(d name.Digest) string { return repositoryName(d.Context()) + "@" + d.DigestStr() }

// pattern is a set of repositories.
//
// A pattern is matched with a repository's whole name: registry host (with its port, if it has one), and path.
// Tags and digests are no part of it. In the path, * stands for any text within one component; ** as
// the last component stands for one component or more. The pattern ** alone stands for every repository of every
// registry. There is nothing else: hosts have no wildcards.
type pattern struct {
	text  string
	host  string   // empty for **
	parts []string // of the path, without **
	below bool     // ** comes after them
}

func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	if text == "**" {
		p.below = true
		return p, nil
	}
	if len(text) > MaxReference {
		return p, fmt.Errorf("a pattern of %d bytes, more than %d", len(text), MaxReference)
	}
	host, path, ok := strings.Cut(text, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return p, fmt.Errorf("%q does not begin with a registry's host, as docker.io/library/nginx does", clip(text))
	}
	if !hostOnly.MatchString(host) {
		return p, fmt.Errorf("%q: %q is not a registry's host in lower case (hosts have no wildcards)", clip(text), clip(host))
	}
	if host == name.DefaultRegistry {
		return p, fmt.Errorf("%q: write docker.io", clip(text))
	}
	p.host = host
	p.parts = strings.Split(path, "/")
	if last := len(p.parts) - 1; p.parts[last] == "**" {
		p.parts, p.below = p.parts[:last], true
	}
	for _, part := range p.parts {
		// A * may stand for what makes it a component, and for nothing.
		if strings.Contains(part, "**") {
			return p, fmt.Errorf("%q: ** stands alone, as the last component", clip(text))
		}
		stars := strings.Contains(part, "*")
		if stars && strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789._-*") != "" || !stars && !componentOnly.MatchString(part) {
			return p, fmt.Errorf("%q: %q is not a component of a repository's name (tags and digests are no part of a pattern)", clip(text), clip(part))
		}
	}
	if host == "docker.io" && len(p.parts) == 1 && !p.below {
		return p, fmt.Errorf("%q: names at docker.io have two components; write docker.io/library/%s", clip(text), p.parts[0])
	}
	return p, nil
}

// matches reports whether a repository, by its full name, is in the set.
func (p *pattern) matches(repository string) bool {
	if p.host == "" {
		return p.below
	}
	host, path, _ := strings.Cut(repository, "/")
	if host != p.host {
		return false
	}
	parts := strings.Split(path, "/")
	if len(parts) < len(p.parts) || len(parts) > len(p.parts) != p.below {
		return false
	}
	for i, part := range p.parts {
		if !glob(part, parts[i]) {
			return false
		}
	}
	return true
}

// covers reports whether all that q matches p matches too. It may say no where two patterns with * in one component
// are compared.
func (p *pattern) covers(q *pattern) bool {
	if p.host == "" || q.host == "" {
		return p.host == ""
	}
	if p.host != q.host || q.below && !p.below || len(q.parts) < len(p.parts) {
		return false
	}
	if !p.below && len(q.parts) != len(p.parts) || p.below && !q.below && len(q.parts) == len(p.parts) {
		return false
	}
	for i, part := range p.parts {
		if part != q.parts[i] && part != "*" && (strings.Contains(q.parts[i], "*") || !glob(part, q.parts[i])) {
			return false
		}
	}
	return true
}

// glob reports whether text is pattern, in which * stands for any text. Its work is at most the product of their
// lengths.
func glob(pattern, text string) bool {
	p, t, star, back := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			back++
			p, t = star+1, back
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// refusal says, in words for people, what does not hold: nothing will change it but another image or another
// policy. Other errors say that something could not be found out.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refusalf(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

var errBusy = errors.New("too many images are being verified at the moment; try again")
