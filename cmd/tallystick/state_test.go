package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// newKey makes a key, and the PEM of its public part.
func newKey(t *testing.T) (key *ecdsa.PrivateKey, public []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// uploadTo logs something new, and keeps what was seen in a state file.
func uploadTo(t *testing.T, url, logKey, state string) {
	t.Helper()
	key, public := newKey(t)
	sum := sha256.Sum256([]byte(t.Name()))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	proposal, err := proposeDigest(digest{"sha256", sum[:]}, signature, public)
	if err != nil {
		t.Fatal(err)
	}
	code, _, errs := run(t, nil, "upload", "--rekor-url", url, "--log-key", logKey, "--state", state, "--entry", writeFile(t, "entry.json", string(proposal)))
	if code != exitOK {
		t.Fatal(errs)
	}
}

// Without the log's proof that two runs saw one tree, the file stays as the first one left it.
func TestStateIsNotOverwrittenWithoutProof(t *testing.T) {
	address, end := serveInMemory(t)
	defer end()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	defer proxy.Close()
	key, state := writeFile(t, "log.pub", fetch(t, address+"/api/v1/log/publicKey")), filepath.Join(t.TempDir(), "s.json")
	uploadTo(t, address, key, filepath.Join(t.TempDir(), "other.json"))

	f := logFlags{RekorURL: proxy.URL, State: state, Timeout: time.Minute}
	f.LogKey = key
	s, err := f.open(t.Context(), &program{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Log(t.Context()); err != nil {
		t.Fatal(err)
	}
	uploadTo(t, address, key, state)
	before := readFile(t, state)
	proxy.Close()
	s.timeout = time.Millisecond
	if err := s.keep(t.Context()); err == nil || refused(err) || !strings.Contains(err.Error(), "another run saw the log in the meantime") {
		t.Errorf("error is %v", err)
	}
	if after := readFile(t, state); string(after) != string(before) {
		t.Errorf("it was overwritten: %s", after)
	}
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := lockFile(ended, path); err == nil || f != nil || !strings.Contains(err.Error(), path) {
		t.Errorf("two have the lock: %v", err)
	}
	got := make(chan error)
	go func() {
		second, err := lockFile(t.Context(), path)
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("the lock did not go with its file: %v", err)
	}
	if _, err := lockFile(t.Context(), filepath.Join(path, "none")); err == nil {
		t.Error("locked without a file")
	}
}

// A name that is taken is not taken away, and nothing is left behind.
func TestPutFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := putFile(path, []byte("one"), os.Link); err != nil {
		t.Fatal(err)
	}
	if err := putFile(path, []byte("two"), os.Link); !os.IsExist(err) {
		t.Errorf("error is %v", err)
	}
	if got := readFile(t, path); string(got) != "one" {
		t.Errorf("it has %q", got)
	}
	if err := putFile(path, []byte("three"), os.Rename); err != nil || string(readFile(t, path)) != "three" {
		t.Error(err)
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 1 {
		t.Errorf("left behind: %v, %v", all, err)
	}
}

// FuzzState: what is read of a state file is what would be written.
func FuzzState(f *testing.F) {
	for _, seed := range []string{`{"checkpoints":["a - 1\n2\nAAAA\n\n\u2014 a BBBB\n"]}`, `{"checkpoints":[]}`, `{"checkpoints":null}`, `{"checkpoint":[]}`, `{}`, ``, `{"checkpoints":["a"],"checkpoints":[]}`} {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "s.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseState(data)
		if err != nil {
			if all != nil {
				t.Errorf("%q, %v", all, err)
			}
			return
		}
		if err := writeState(path, all); err != nil {
			t.Fatal(err)
		}
		if again, err := readState(path); err != nil || !slices.EqualFunc(again, all, slices.Equal) {
			t.Errorf("%q was written, and %q read, %v", all, again, err)
		}
	})
}

// A key that another process pinned first stays, whatever the log answered to this one.
func TestPinIsNotReplaced(t *testing.T) {
	home := t.TempDir()
	_, first := newKey(t)
	_, second := newKey(t)
	var pin string
	log := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := os.MkdirAll(filepath.Dir(pin), 0o700); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(pin, first, 0o600); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Write(second)
	}))
	defer log.Close()
	f := logFlags{RekorURL: log.URL, TrustOnFirstUse: true, Timeout: time.Minute}
	pin = filepath.Join(home, ".config", "tallystick", fileName(log.URL)+".pub")
	var errs strings.Builder
	s, err := f.open(t.Context(), &program{Env: map[string]string{"HOME": home}, Stdout: io.Discard, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	if s.pin != pin || string(readFile(t, pin)) != string(first) || errs.Len() > 0 {
		t.Errorf("%s was replaced: %s", pin, &errs)
	}
}
