package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"github.com/tallystick/tallystick/keys"
)

// The test binary is its own plug-in: called by the name sigstore-kms-test it
// speaks sigstore's plug-in protocol.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sigstore-kms-test" {
		if err := plugin(os.Args, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// plugin answers one call. The key reference is "<behaviour>:<key file>".
func plugin(argv []string, stdin io.Reader, stdout io.Writer) error {
	var args common.PluginArgs
	if err := json.Unmarshal([]byte(argv[2]), &args); err != nil {
		return err
	}
	behaviour, path, _ := strings.Cut(args.InitOptions.KeyResourceID, ":")
	if args.InitOptions.CtxDeadline != nil {
		return errors.New("the deadline of Open was kept for later calls")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	private := parsed.(*ecdsa.PrivateKey)
	var resp common.PluginResp
	switch args.MethodName {
	case common.PublicKeyMethodName:
		spki, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			return err
		}
		resp.PublicKey = &common.PublicKeyResp{PublicKeyPEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})}
	case common.SignMessageMethodName:
		switch behaviour {
		case "hangs":
			time.Sleep(time.Hour) // killed long before
		case "fails":
			resp.ErrorMessage = "quota exceeded"
			return json.NewEncoder(stdout).Encode(resp)
		case "empty":
			return json.NewEncoder(stdout).Encode(resp)
		case "garbage":
			_, err := io.WriteString(stdout, "hello")
			return err
		case "lies":
			private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return err
			}
		}
		message, err := io.ReadAll(stdin)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(message)
		signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		if err != nil {
			return err
		}
		resp.SignMessage = &common.SignMessageResp{Signature: signature}
	}
	return json.NewEncoder(stdout).Encode(resp)
}

// install puts the plug-in on the PATH and returns the URI of a key in it.
func install(t *testing.T, behaviour string, key []byte) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "sigstore-kms-test")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	return "test://" + behaviour + ":" + write(t, key)
}

func TestKMS(t *testing.T) {
	private := newECDSA(t, elliptic.P256())
	uri := install(t, "works", pkcs8(t, private))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	k, err := keys.Open(ctx, uri, nil)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	if !k.PublicKey().Equal(&private.PublicKey) {
		t.Error("another public key came out")
	}
	var all sync.WaitGroup // more than are let through at once
	for range 20 {
		all.Go(func() {
			if _, err := k.Sign(t.Context(), []byte("m")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	checkSignature(t, k)
}

func TestKMSFaults(t *testing.T) {
	for behaviour, want := range map[string]string{
		"fails":   "quota exceeded",
		"empty":   "not one to this question",
		"garbage": "parsing plugin response",
		"lies":    "its public key does not verify",
	} {
		t.Run(behaviour, func(t *testing.T) {
			uri := install(t, behaviour, pkcs8(t, newECDSA(t, elliptic.P256())))
			k, err := keys.Open(t.Context(), uri, nil)
			if err != nil {
				t.Fatal(err)
			}
			signature, err := k.Sign(t.Context(), []byte("m"))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), uri) {
				t.Errorf("error is %v, not %q naming %s", err, want, uri)
			}
			if signature != nil {
				t.Error("a signature came with the error")
			}
		})
	}
}

func TestKMSDeadline(t *testing.T) {
	k, err := keys.Open(t.Context(), install(t, "hangs", pkcs8(t, newECDSA(t, elliptic.P256()))), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := k.Sign(ctx, []byte("m")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, not the deadline", err)
	}
}

func TestKMSRefusals(t *testing.T) {
	uri := install(t, "works", pkcs8(t, newECDSA(t, elliptic.P384())))
	if _, err := keys.Open(t.Context(), uri, nil); !errors.Is(err, keys.ErrKeyType) || !strings.Contains(err.Error(), "P-384") {
		t.Errorf("error is %v, not ErrKeyType naming P-384", err)
	}
	if _, err := keys.Open(t.Context(), "awskms:///alias/log", nil); !errors.Is(err, keys.ErrNotFound) || !strings.Contains(err.Error(), "sigstore-kms-awskms") {
		t.Errorf("error is %v, not ErrNotFound naming the plug-in", err)
	}
	if _, err := keys.Open(t.Context(), "../evil://k", nil); err == nil || !strings.Contains(err.Error(), "cannot be the scheme") {
		t.Errorf("error is %v", err)
	}
}
