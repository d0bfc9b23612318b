package keys_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/keys"
)

func TestGenerate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.key")
	made, err := keys.Generate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key file has mode %v, not 0600", info.Mode().Perm())
	}
	opened, err := keys.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if made.LogID() != opened.LogID() {
		t.Errorf("the key opened has log ID %x, the key made %x", opened.LogID(), made.LogID())
	}
	public, err := os.ReadFile(filepath.Join(filepath.Dir(path), "log.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(public, opened.PEM()) {
		t.Errorf("public key file holds\n%s, not\n%s", public, opened.PEM())
	}
	checkSignature(t, opened)
	if names := list(t, filepath.Dir(path)); len(names) != 2 {
		t.Errorf("files left behind: %q", names)
	}
}

// An existing file, whatever it holds, is never replaced.
func TestGenerateKeepsExisting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Generate(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("error is %v, not fs.ErrExist", err)
	}
	if data, err := os.ReadFile(path); err != nil || len(data) != 0 {
		t.Errorf("the file now holds %q (%v)", data, err)
	}
	if names := list(t, filepath.Dir(path)); len(names) != 1 {
		t.Errorf("files left behind: %q", names)
	}
}

func TestPublicPath(t *testing.T) {
	for path, want := range map[string]string{
		"d.key/log.key": "d.key/log.pub",
		"log.pem":       "log.pub",
		"log":           "log.pub",
		"log.v1":        "log.v1.pub",
	} {
		if got := keys.PublicPath(path); got != want {
			t.Errorf("public path of %q is %q, not %q", path, got, want)
		}
	}
}

func TestOpenForms(t *testing.T) {
	private := newECDSA(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	sec1PEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	for name, data := range map[string][]byte{
		"pkcs8":           pkcs8(t, private),
		"sec1":            sec1PEM,
		"openssl ecparam": append(params, sec1PEM...),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := keys.Open(t.Context(), write(t, data), nil)
			if err != nil {
				t.Fatal(err)
			}
			if !k.PublicKey().Equal(&private.PublicKey) {
				t.Error("another key came out")
			}
			checkSignature(t, k)
		})
	}
}

// The files were made by cosign 2.6.5: cosign import-key-pair, with the password
// "hunter2" and with an empty one. Cosign before 1.5 wrote another PEM type.
func TestOpenCosign(t *testing.T) {
	data, err := os.ReadFile("testdata/cosign.pem")
	if err != nil {
		t.Fatal(err)
	}
	old := write(t, bytes.ReplaceAll(data, []byte("SIGSTORE"), []byte("COSIGN")))
	for path, password := range map[string][]byte{"testdata/cosign.pem": []byte("hunter2"), old: []byte("hunter2"), "testdata/cosign-no-password.pem": nil} {
		k, err := keys.Open(t.Context(), path, func() ([]byte, error) { return password, nil })
		if err != nil {
			t.Fatal(err)
		}
		checkPublic(t, k)
	}
}

// The files were made by OpenSSL 3: openssl pkcs8 -topk8 -v2 aes-256-cbc, with
// PBKDF2 (HMAC-SHA256) and with scrypt; password "hunter2".
func TestOpenEncryptedPKCS8(t *testing.T) {
	for _, name := range []string{"pbkdf2.pem", "scrypt.pem"} {
		path := filepath.Join("testdata", name)
		k, err := keys.Open(t.Context(), path, func() ([]byte, error) { return []byte("hunter2"), nil })
		if err != nil {
			t.Fatal(err)
		}
		checkPublic(t, k)
		// What OpenSSL's encryption does not authenticate must still not panic.
		for _, password := range []string{"", "hunter3", "x"} {
			_, err := keys.Open(t.Context(), path, func() ([]byte, error) { return []byte(password), nil })
			if !errors.Is(err, keys.ErrPassword) {
				t.Errorf("%s with password %q: error is %v, not ErrPassword", name, password, err)
			}
		}
	}
}

func TestOpenPasswordErrors(t *testing.T) {
	const path = "testdata/cosign.pem"
	unreadable := errors.New("unreadable")
	for name, password := range map[string]func() ([]byte, error){
		"none":       nil,
		"wrong":      func() ([]byte, error) { return []byte("hunter3"), nil },
		"empty":      func() ([]byte, error) { return nil, nil },
		"unreadable": func() ([]byte, error) { return nil, unreadable },
	} {
		_, err := keys.Open(t.Context(), path, password)
		if !errors.Is(err, keys.ErrPassword) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error is %v, not ErrPassword naming %s", name, err, path)
		}
		if name == "unreadable" && !errors.Is(err, unreadable) {
			t.Errorf("error is %v and hides %v", err, unreadable)
		}
	}
}

func TestOpenRefusesOtherTypes(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for want, private := range map[string]any{
		"Ed25519":     ed,
		"RSA 2048":    rsaKey,
		"ECDSA P-384": newECDSA(t, elliptic.P384()),
	} {
		_, err := keys.Open(t.Context(), write(t, pkcs8(t, private)), nil)
		if !errors.Is(err, keys.ErrKeyType) || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, not ErrKeyType naming %q", err, want)
		}
	}
}

func TestOpenRefusesWhatIsNoKey(t *testing.T) {
	k, err := keys.Generate(filepath.Join(t.TempDir(), "log.key"))
	if err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string][]byte{
		"no PEM block with a private key": k.PEM(),
		"more than 65536 bytes":           make([]byte, 65537),
		"old PEM form":                    []byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n"),
	} {
		if _, err := keys.Open(t.Context(), write(t, data), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, not %q", err, want)
		}
	}
	if _, err := keys.Open(t.Context(), filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("error is %v, not ErrNotFound", err)
	}
}

func TestWritePublicReplaces(t *testing.T) {
	dir := t.TempDir()
	k, err := keys.Generate(filepath.Join(dir, "log.key"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log.pub")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := k.WritePublic(path); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, k.PEM()) {
		t.Errorf("the file holds %q (%v)", data, err)
	}
}

// FuzzOpen looks for panics: whatever a file holds, Open answers.
func FuzzOpen(f *testing.F) {
	for _, name := range []string{"pbkdf2.pem", "public.pem"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(pkcs8(f, newECDSA(f, elliptic.P256())))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "k")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := keys.Open(t.Context(), path, nil); err == nil {
			checkSignature(t, k)
		}
	})
}

func checkSignature(t *testing.T, k *keys.Key) {
	t.Helper()
	message := []byte("rekor.example - 1\n0\n")
	signature, err := k.Sign(context.Background(), message)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(k.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(parsed.(*ecdsa.PublicKey), digest[:], signature) {
		t.Error("signature does not verify")
	}
	if k.LogID() != sha256.Sum256(k.SPKI()) {
		t.Error("log ID is not the SHA-256 of the public key")
	}
}

// checkPublic checks that k is the key of the files in testdata, whose public half
// OpenSSL wrote.
func checkPublic(t *testing.T, k *keys.Key) {
	t.Helper()
	public, err := os.ReadFile("testdata/public.pem")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(public, k.PEM()) {
		t.Errorf("public key is\n%s, not OpenSSL's\n%s", k.PEM(), public)
	}
	checkSignature(t, k)
}

func newECDSA(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pkcs8(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
