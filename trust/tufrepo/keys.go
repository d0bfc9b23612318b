package tufrepo

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// key is a private key at hand.
type key struct {
	path   string
	signer signature.Signer
	public *metadata.Key
	id     string
}

// keyring holds keys by their IDs. Which role a key has is for the root to say, not for the
// name of its file.
type keyring map[string]*key

// keyExtension is that of the files that are taken for keys.
const keyExtension = ".key"

// openKeys reads all keys in the folder, which it makes if there is none.
func (c *change) openKeys() error {
	dir := c.repository.Keys
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder for keys: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading keys: %w", err)
	}
	c.keys = keyring{}
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != keyExtension || e.Name()[0] == '.' {
			continue
		}
		if len(c.keys) == maxKeyFiles {
			return fmt.Errorf("%s holds more than %d keys", dir, maxKeyFiles)
		}
		data, err := readFile(dir, e.Name(), maxKeyFile)
		if err != nil {
			return fmt.Errorf("reading keys: %w", err)
		}
		k, err := parseKey(data)
		if err != nil {
			return fmt.Errorf("key file %s: %w", filepath.Join(dir, e.Name()), err)
		}
		k.path = filepath.Join(dir, e.Name())
		c.keys[k.id] = k
	}
	return nil
}

// parseKey reads a private key: PKCS#8 or SEC 1, in PEM, Ed25519 or ECDSA P-256, not encrypted.
func parseKey(data []byte) (*key, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	switch block.Type {
	case "PRIVATE KEY":
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newKey(private)
	case "EC PRIVATE KEY":
		private, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		return newKey(private)
	}
	return nil, fmt.Errorf("its PEM block is %q, not a private key that is not encrypted", block.Type)
}

func newKey(private crypto.PrivateKey) (*key, error) {
	var k key
	var err error
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P256() {
			return nil, fmt.Errorf("it is ECDSA %s; P-256 and Ed25519 are supported", p.Curve.Params().Name)
		}
		k.signer, err = signature.LoadECDSASigner(p, crypto.SHA256)
	case ed25519.PrivateKey:
		k.signer, err = signature.LoadED25519Signer(p)
	default:
		return nil, fmt.Errorf("it is a %T; ECDSA P-256 and Ed25519 are supported", private)
	}
	if err != nil {
		return nil, err
	}
	public, err := k.signer.PublicKey()
	if err != nil {
		return nil, err
	}
	if k.public, err = metadata.KeyFromPublicKey(public); err != nil {
		return nil, err
	}
	k.id, err = k.public.ID()
	return &k, err
}

// initialKeys returns n keys for a role of a new repository: those in files named after it, made
// if they are not there.
func (c *change) initialKeys(role string, n int) ([]*key, error) {
	var out []*key
	for i := range n {
		path := c.keyPath(role, i+1)
		found := false
		for _, k := range c.keys {
			if k.path == path {
				out, found = append(out, k), true
			}
		}
		if found {
			continue
		}
		k, err := c.generate(role)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// keyPath returns where the nth key of a role is.
func (c *change) keyPath(role string, n int) string {
	if n > 1 {
		role = fmt.Sprintf("%s-%d", role, n)
	}
	return filepath.Join(c.repository.Keys, role+keyExtension)
}

// generate makes a key in a new file named after the role.
func (c *change) generate(role string) (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encoding a new key: %w", err)
	}
	k, err := newKey(private)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for n := 1; ; n++ {
		k.path = c.keyPath(role, n)
		err := writeFile(k.path, text, 0o600, os.Link)
		if errors.Is(err, fs.ErrExist) && n < maxKeyFiles {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("writing a new key: %w", err)
		}
		c.keys[k.id] = k
		c.made = append(c.made, k.path)
		return k, nil
	}
}

// checkApart refuses a folder for keys that is the repository's, or inside of it, where clients
// could fetch them. Symbolic links are followed as far as the folders exist.
func checkApart(dir, keys string) error {
	d, err := realPath(dir)
	if err != nil {
		return err
	}
	k, err := realPath(keys)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(d, k)
	if err != nil {
		return err
	}
	if rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("the keys would be in %s, inside the repository %s, for everybody to fetch; name another folder", keys, dir)
	}
	return nil
}

// realPath returns an absolute path without symbolic links. What does not exist yet is taken
// as it is.
func realPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return "", err
		}
		rest = filepath.Join(filepath.Base(path), rest)
		path = filepath.Dir(path)
	}
}
