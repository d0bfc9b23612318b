package registry

import (
	"errors"
	"strconv"

	"github.com/tallystick/tallystick/sig/strictjson"
)

// part is a descriptor in a manifest (OCI image spec, descriptor.md), as far as it is of interest: a
// layer of an image, or a manifest of an index.
type part struct {
	mediaType    string
	digest       string
	size         int64
	artifactType string
	annotations  map[string]string // those with names that begin like cosign's
}

// weight is how many bytes are read for a layer: its content, and its annotations.
func (p *part) weight() int64 {
	n := p.size
	for _, value := range p.annotations {
		n += int64(len(value))
	}
	return n
}

// readParts reads a manifest and returns the last MaxAttached of those of its parts that are wanted, and how
// many of these there are. in is the member that has them: "layers" or "manifests". Memory is bounded by the
// number of parts that are returned, and the parts keep data.
func readParts(data []byte, in string, wanted func(part) bool) (parts []part, n int, err error) {
	r := strictjson.New(data)
	err = r.Object(func(name []byte) error {
		if string(name) != in || r.Null() {
			return nil
		}
		return r.Array(func() error {
			p, err := readPart(&r)
			if err != nil || !wanted(p) {
				return err
			}
			if parts = append(parts, p); len(parts) > MaxAttached {
				parts = parts[1:]
			}
			n++
			return nil
		})
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, 0, malformed("the manifest: %v", err)
	}
	return parts, n, nil
}

func readPart(r *strictjson.Reader) (p part, err error) {
	text := func(to *string) error {
		if r.Null() {
			return nil
		}
		b, err := r.Text()
		*to = string(b)
		return err
	}
	err = r.Object(func(name []byte) error {
		switch string(name) {
		case "mediaType":
			return text(&p.mediaType)
		case "digest":
			return text(&p.digest)
		case "artifactType":
			return text(&p.artifactType)
		case "size":
			raw, err := r.Raw()
			if err != nil {
				return err
			}
			if p.size, err = strconv.ParseInt(string(raw), 10, 64); err != nil {
				return errors.New("a size is not a whole number")
			}
		case "annotations":
			if r.Null() {
				return nil
			}
			return r.Object(func(name []byte) error {
				if !isAnnotation[string(name)] {
					return nil
				}
				if p.annotations == nil {
					p.annotations = make(map[string]string)
				}
				var value string
				err := text(&value)
				p.annotations[string(name)] = value
				return err
			})
		}
		return nil
	})
	return p, err
}
