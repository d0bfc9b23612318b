package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"
)

// How long answers may be kept by caches.
const (
	cacheShort  = "public, max-age=60"
	cacheLong   = "public, max-age=86400"
	revalidated = "no-cache"
)

// document is a JSON document that does not change while the server runs.
type document struct {
	content []byte
	etag    string
}

func newDocument(content []byte) document {
	sum := sha256.Sum256(content)
	return document{content, `"` + hex.EncodeToString(sum[:]) + `"`}
}

// serve answers with the document.
func (d document) serve(x *exchange, r *http.Request) error {
	x.Header().Set("Content-Type", typeJSON)
	x.Header().Set("Cache-Control", cacheShort)
	x.Header().Set("ETag", d.etag)
	http.ServeContent(x, r, "", time.Time{}, bytes.NewReader(d.content))
	return nil
}

// tufFile answers with a file of the TUF repository: metadata, or a target. Whatever else the
// folder holds is not served, nor what it holds listed.
func (s *Server) tufFile(x *exchange, r *http.Request) error {
	// Also of what is not there: it may come, as the next root does, which clients ask for.
	x.Header().Set("Cache-Control", revalidated)
	name := chi.URLParam(r, "*")
	notFound := refuse(http.StatusNotFound, "path %s was not found", cut(r.URL.Path, 256))
	if !tufName(name) {
		return notFound
	}
	info, err := fs.Stat(s.cfg.TUF, name) // to open a FIFO would take until somebody writes to it
	if isAbsent(err) {
		return notFound
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return notFound
	}
	f, err := s.cfg.TUF.Open(name)
	if isAbsent(err) {
		return notFound
	}
	if err != nil {
		return err
	}
	defer f.Close()
	content, ok := f.(io.ReadSeeker)
	if !ok {
		return notFound
	}
	x.Header().Set("Content-Type", "application/octet-stream")
	if path.Ext(name) == ".json" {
		x.Header().Set("Content-Type", typeJSON)
	}
	if name != "timestamp.json" && name != "root.json" { // which newer ones replace
		x.Header().Set("Cache-Control", cacheLong)
	}
	http.ServeContent(x, r, "", time.Time{}, content)
	return nil
}

// isAbsent reports whether an error says that there is no such file, which is nothing wrong with the
// server: also that a name is none, that its folder is no folder, or that a symbolic link leads in
// circles or out of the folder. The latter has no error value of its own, but is the one that the
// operating system does not say.
func isAbsent(err error) bool {
	var failed syscall.Errno
	switch {
	case err == nil:
		return false
	case errors.As(err, &failed):
		return errors.Is(err, fs.ErrNotExist) || failed == syscall.ENOTDIR || failed == syscall.ELOOP || failed == syscall.EINVAL
	}
	var of *fs.PathError
	return errors.As(err, &of) && !errors.Is(err, fs.ErrClosed) && !errors.Is(err, fs.ErrPermission)
}

// maxTUFName is the longest name of a file, in bytes: file systems have no longer ones.
const maxTUFName = 255

// tufName reports whether a repository has files with such a name: NAME.json, or
// targets/NAME.
func tufName(name string) bool {
	rest, target := strings.CutPrefix(name, "targets/")
	return rest != "" && len(rest) <= maxTUFName && rest[0] != '.' && !strings.ContainsAny(rest, "/\\\x00") &&
		(target || path.Ext(rest) == ".json")
}
