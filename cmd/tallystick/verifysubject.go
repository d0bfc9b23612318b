package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/tallystick/tallystick/verify"
)

// verifySubject is what a signature is to be about.
type verifySubject struct {
	kind     string          // "file", "digest" or "image"
	name     string          // as it was given
	artifact verify.Artifact // not known of an image by its tag, before that is looked up
	image    name.Reference  // nil for the other kinds
	notes    []string
}

// maxWholeArtifact is the largest file that is read into memory, in bytes. Of a larger one only the SHA-256 is
// known, which is all that most signatures need.
const maxWholeArtifact = 256 << 20

// readSubject finds out what an argument names. A file of that name comes first, so that a name which is
// tried as an image never is a file that was meant.
func readSubject(argument string, allowHTTP bool) (*verifySubject, error) {
	digest, notDigest := verify.ParseDigest(argument)
	options := []name.Option{name.StrictValidation}
	if allowHTTP {
		options = append(options, name.Insecure)
	}
	image, notImage := name.ParseReference(argument, options...)
	info, err := os.Stat(argument)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", argument)
	case err == nil:
		s := &verifySubject{kind: "file", name: argument}
		if notDigest == nil || notImage == nil {
			s.notes = append(s.notes, "there is a file of this name, so it was not taken for a digest or an image")
		}
		if s.artifact, err = readArtifact(argument); err != nil {
			return nil, err
		}
		return s, nil
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.ENAMETOOLONG):
		return nil, err
	case notDigest == nil:
		return &verifySubject{kind: "digest", name: argument, artifact: digest}, nil
	case notImage == nil:
		s := &verifySubject{kind: "image", name: argument, image: image}
		d, ok := image.(name.Digest)
		if !ok {
			return s, nil
		}
		if s.artifact, err = verify.ParseDigest(d.DigestStr()); err != nil {
			return nil, usageError{err}
		}
		return s, nil
	}
	return nil, usageError{fmt.Errorf("no such file: %s; nor is it a digest (sha256: and 64 hexadecimal digits) or the full name of an image (with its registry, and a tag or digest)", clean(argument))}
}

func readArtifact(path string) (verify.Artifact, error) {
	info, err := os.Stat(path)
	if err != nil {
		return verify.Artifact{}, err
	}
	if info.Size() <= maxWholeArtifact {
		content, err := readLimited(path, maxWholeArtifact)
		if err != nil {
			return verify.Artifact{}, err
		}
		return verify.Bytes(content), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return verify.Artifact{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return verify.Artifact{}, err
	}
	return verify.SHA256([sha256.Size]byte(h.Sum(nil))), nil
}
