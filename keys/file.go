package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// maxKeyFile is the most that is read of a key file, in bytes. An encrypted RSA
// 8192 key, to be refused by name, takes less than 8 KiB.
const maxKeyFile = 64 << 10

// Mode bits of what is written: the private key is for its owner alone.
const (
	privateMode = 0o600
	publicMode  = 0o644
)

func openFile(path string, password func() ([]byte, error)) (*Key, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	k, err := parse(data, password)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no file %s", ErrNotFound, path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening key file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading key file: %w", err)
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("key file %s has more than %d bytes", path, maxKeyFile)
	}
	return data, nil
}

// parse reads the private key in the first PEM block that holds one. A file of
// OpenSSL may begin with "EC PARAMETERS".
func parse(data []byte, password func() ([]byte, error)) (*Key, error) {
	block := privateBlock(data)
	if block == nil {
		return nil, errors.New("no PEM block with a private key")
	}
	private, err := decode(block, password)
	if err != nil {
		return nil, err
	}
	s, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T cannot sign", ErrKeyType, private)
	}
	p, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return newKey(s.Public(), nil)
	}
	return newKey(s.Public(), local{p})
}

func privateBlock(data []byte) *pem.Block {
	for {
		block, rest := pem.Decode(data)
		if block == nil || strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
		data = rest
	}
}

func decode(block *pem.Block, password func() ([]byte, error)) (crypto.PrivateKey, error) {
	if block.Headers["DEK-Info"] != "" {
		// RFC 1423: MD5 and no integrity check. OpenSSL itself moved away from it.
		return nil, errors.New("the key is encrypted in the old PEM form (DEK-Info), which is not safe; convert it with: openssl pkcs8 -topk8 -in KEY -out NEW")
	}
	if !strings.HasPrefix(block.Type, "ENCRYPTED ") {
		return cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), nil)
	}
	return decrypt(block, password)
}

// decrypt fails with ErrPassword for whatever goes wrong: the formats do not tell
// a wrong password from a damaged key.
func decrypt(block *pem.Block, password func() ([]byte, error)) (key crypto.PrivateKey, err error) {
	if password == nil {
		return nil, fmt.Errorf("%w, and none was given", ErrPassword)
	}
	secret, err := password()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPassword, err)
	}
	if secret == nil {
		secret = []byte{} // nil would mean "not encrypted" to cryptoutils
	}
	// The PKCS#8 library lets crypto/cipher panic over an initialisation vector or a
	// ciphertext of impossible length.
	defer func() {
		if r := recover(); r != nil {
			key, err = nil, fmt.Errorf("%w: the file is damaged: %v", ErrPassword, r)
		}
	}()
	key, err = cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), func(bool) ([]byte, error) { return secret, nil })
	if err != nil {
		return nil, fmt.Errorf("%w: it does not open with the password given: %w", ErrPassword, err)
	}
	return key, nil
}

// PublicPath returns where Generate puts the public key of the key file at path:
// beside it, with ".pub" in place of ".key" or ".pem", or added to any other name.
func PublicPath(path string) string {
	if ext := filepath.Ext(path); ext == ".key" || ext == ".pem" {
		path = strings.TrimSuffix(path, ext)
	}
	return path + ".pub"
}

// Generate makes a new P-256 key and writes it to path (PKCS#8 PEM, mode 0600) and
// its public half to PublicPath(path). When it returns without error both files
// are on stable storage. The key file is there whole or not at all, whatever
// happens meanwhile.
//
// A file that is at path already is never touched: the error is fs.ErrExist.
func Generate(path string) (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encoding the new key: %w", err)
	}
	k, err := newKey(private.Public(), local{private})
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	// A hard link, unlike a rename, fails if the name is taken.
	if err := writeFile(path, text, privateMode, os.Link); err != nil {
		return nil, fmt.Errorf("writing the new key: %w", err)
	}
	return k, k.WritePublic(PublicPath(path))
}

// WritePublic makes the file at path hold the public key as PEM, on stable
// storage. A file that does already is left alone.
func (k *Key) WritePublic(path string) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, k.PEM()) {
		return nil
	}
	if err := writeFile(path, k.PEM(), publicMode, os.Rename); err != nil {
		return fmt.Errorf("writing the public key: %w", err)
	}
	return nil
}

// writeFile writes a file beside path, syncs it, gives it its name with place, and
// syncs the directory.
func writeFile(path string, data []byte, mode fs.FileMode, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
