package admission

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// groupKind is a kind of Kubernetes objects, with its group and version.
type groupKind struct{ group, version, kind string }

// apiVersion is how objects write group and version.
func (k groupKind) apiVersion() string {
	if k.group == "" {
		return k.version
	}
	return k.group + "/" + k.version
}

func (k groupKind) String() string { return clip(k.apiVersion() + " " + k.kind) }

// podSpecs says where the objects that are known have the specification of their pods.
var podSpecs = map[groupKind][]string{
	{"", "v1", "Pod"}:                   {"spec"},
	{"", "v1", "PodTemplate"}:           {"template", "spec"},
	{"", "v1", "ReplicationController"}: {"spec", "template", "spec"},
	{"apps", "v1", "Deployment"}:        {"spec", "template", "spec"},
	{"apps", "v1", "ReplicaSet"}:        {"spec", "template", "spec"},
	{"apps", "v1", "StatefulSet"}:       {"spec", "template", "spec"},
	{"apps", "v1", "DaemonSet"}:         {"spec", "template", "spec"},
	{"batch", "v1", "Job"}:              {"spec", "template", "spec"},
	{"batch", "v1", "CronJob"}:          {"spec", "jobTemplate", "spec", "template", "spec"},
}

// use is one place where an object names an image.
type use struct {
	pointer string // to the image (JSON Pointer, RFC 6901)
	what    string // "container", "init container", "ephemeral container" or "image volume"
	name    string // of the container or volume
	image   string
}

func (u use) String() string { return fmt.Sprintf("%s %q", u.what, clipTo(u.name, 63)) }

// lists are the members of a pod's specification that name images.
var lists = map[string]string{
	"containers": "container", "initContainers": "init container", "ephemeralContainers": "ephemeral container", "volumes": "image volume",
}

// findImages returns where an object of that kind names images, at most that many of them. An object that cannot be
// read, that is of another kind, or that has no specification of pods is an error.
func findImages(data []byte, kind groupKind, most int) ([]use, error) {
	path, ok := podSpecs[kind]
	if !ok {
		return nil, refusalf("objects of kind %v are not known here; take them out of the webhook's rules", kind)
	}
	f := finder{reader: strictjson.New(data), most: most}
	r := &f.reader
	if r.Peek() != '{' {
		return nil, errors.New("there is no object")
	}
	var apiVersion, name string
	found := false
	err := r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "apiVersion":
			apiVersion, err = text(r)
		case "kind":
			name, err = text(r)
		case path[0]:
			found = true
			err = f.descend("/"+path[0], path[1:])
		}
		return err
	})
	if err == nil {
		err = r.End()
	}
	switch {
	case err != nil:
		return nil, err
	case apiVersion != kind.apiVersion() || name != kind.kind:
		return nil, fmt.Errorf("the object is said to be a %v, and is a %s", kind, clip(apiVersion+" "+name))
	case !found:
		return nil, fmt.Errorf("the object has no %s", path[0])
	}
	return f.uses, nil
}

type finder struct {
	reader strictjson.Reader
	most   int
	uses   []use
}

// descend reads the specification at the end of the path.
func (f *finder) descend(pointer string, path []string) error {
	if len(path) == 0 {
		return f.spec(pointer)
	}
	found := false
	err := f.reader.Object(func(member []byte) error {
		if string(member) != path[0] {
			return nil
		}
		found = true
		return f.descend(pointer+"/"+path[0], path[1:])
	})
	if err == nil && !found {
		err = fmt.Errorf("the object has no %s/%s", pointer, path[0])
	}
	return err
}

// spec reads a PodSpec.
func (f *finder) spec(pointer string) error {
	r := &f.reader
	return r.Object(func(member []byte) error {
		what := lists[string(member)]
		if what == "" || r.Null() {
			return nil
		}
		list := pointer + "/" + string(member)
		i := -1
		return r.Array(func() error {
			i++
			u := use{pointer: list + "/" + strconv.Itoa(i), what: what}
			names, err := f.element(&u)
			if err != nil || !names {
				return err
			}
			if f.uses = append(f.uses, u); len(f.uses) > f.most {
				return refusalf("the object names more than %d images", f.most)
			}
			return nil
		})
	})
}

// element reads a container or volume. Containers name an image, and volumes may.
func (f *finder) element(u *use) (names bool, err error) {
	r := &f.reader
	volume := u.what == lists["volumes"]
	err = r.Object(func(member []byte) (err error) {
		switch string(member) {
		case "name":
			u.name, err = text(r)
		case "image":
			if !volume {
				u.image, err = text(r)
				return err
			}
			if r.Null() {
				return nil
			}
			names = true
			return r.Object(func(member []byte) (err error) {
				if string(member) == "reference" {
					u.image, err = text(r)
				}
				return err
			})
		}
		return err
	})
	if volume {
		u.pointer += "/image/reference"
	} else {
		u.pointer += "/image"
	}
	names = names || !volume
	if err == nil && names && u.image == "" {
		err = refusalf("%v names no image", u)
	}
	return names, err
}

// text reads a string.
func text(r *strictjson.Reader) (string, error) {
	b, err := r.Text()
	return string(b), err
}

// changed returns those uses that the old object did not have: the same image in a container or volume of the
// same name. An update starts nothing new there.
func changed(uses, before []use) []use {
	had := make(map[[3]string]bool, len(before))
	for _, u := range before {
		had[[3]string{u.what, u.name, u.image}] = true
	}
	var left []use
	for _, u := range uses {
		if !had[[3]string{u.what, u.name, u.image}] {
			left = append(left, u)
		}
	}
	return left
}
