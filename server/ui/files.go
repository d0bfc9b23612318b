package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// File is a style sheet, a script or a picture.
type File struct {
	Type    string // media type
	Content []byte // not to be changed
	ETag    string // quoted
}

// files are all static files by name, and the folder that pages name them in: its name
// is a hash of all of them. Scripts import each other by relative URLs, so all have a
// new URL as soon as one of them changes.
type files struct {
	folder string // "ui/<hash>/"
	byName map[string]File
}

var fileTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func readFiles() (files, error) {
	found := files{byName: map[string]File{}}
	all := sha256.New()
	entries, err := fs.ReadDir(staticFiles, "static") // sorted
	if err != nil {
		return found, err
	}
	for _, e := range entries {
		kind, ok := fileTypes[path.Ext(e.Name())]
		if !ok {
			return found, fmt.Errorf("static file %s is of no known type", e.Name())
		}
		content, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return found, err
		}
		sum := sha256.Sum256(content)
		fmt.Fprintf(all, "%s %x\n", e.Name(), sum)
		found.byName[e.Name()] = File{kind, content, `"` + hex.EncodeToString(sum[:16]) + `"`}
	}
	found.folder = "ui/" + hex.EncodeToString(all.Sum(nil)[:8]) + "/"
	return found, nil
}

// File returns the static file with a path below /ui/: "NAME", or "HASH/NAME" as pages
// have it. forever says that what is under this path never changes. Under another
// hash, which pages of another version have, there is the file of this version.
func (p *Pages) File(name string) (f File, forever, ok bool) {
	folder, base := path.Split(name)
	if strings.Count(folder, "/") > 1 {
		return File{}, false, false
	}
	f, ok = p.files.byName[base]
	return f, "ui/"+folder == p.files.folder, ok
}
