package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/tallystick/tallystick/storage"
)

// A log has one entry in the trusted root for each key, valid from just before its first
// tree was made on, and not for trees of other APIs.
func TestTreeLogs(t *testing.T) {
	spki := func() []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	old, current := spki(), spki()
	logs, err := treeLogs([]storage.Tree{
		{ID: 3, API: storage.APIv1, State: storage.StateActive, PublicKey: current, Created: 1_800_000_000},
		{ID: 1, API: storage.APIv1, State: storage.StateReadOnly, PublicKey: old, Created: 1_600_000_000},
		{ID: 2, API: storage.APIv1, State: storage.StateReadOnly, PublicKey: current, Created: 1_700_000_000},
		{ID: 4, API: "another", State: storage.StateActive, PublicKey: spki(), Created: 1_500_000_000},
	}, "https://log.example")
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) != 2 {
		t.Fatalf("%d logs", len(logs))
	}
	for i, created := range []int64{1_600_000_000, 1_700_000_000} {
		l := logs[i]
		if made := time.Unix(created, 0); !l.Valid.Start.Equal(made.Add(-time.Hour)) || !l.Valid.End.IsZero() || l.BaseURL != "https://log.example" {
			t.Errorf("log %d: %q, valid %v", i, l.BaseURL, l.Valid)
		}
	}
	if _, err := treeLogs([]storage.Tree{{ID: 1, API: storage.APIv1, PublicKey: []byte("x")}}, "https://log.example"); err == nil {
		t.Error("a tree without a key: accepted")
	}
}
