package e2e

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	oldtuf "github.com/theupdateframework/go-tuf/client"
)

// with restarts the log with more flags.
func (l *testLog) with(flags ...string) {
	l.t.Helper()
	l.stop()
	l.command = append(l.command, flags...)
	l.start()
}

// dataDir returns the log's data directory.
func (l *testLog) dataDir() string { return filepath.Dir(l.keyFile) }

// What the log says about whom to believe and where to sign is what cosign and sigstore-go
// take, for keys and for short-lived certificates, and the same that the command writes.
func TestTrustFromTheLog(t *testing.T) {
	i := startIssuer(t)
	ca, tsa, l := startFulcio(t, i), startTimestamper(t), startLog(t, "sqlite:")
	s := newShell(t)
	s.file("fulcio.pem", ca.chain)
	s.file("tsa.pem", tsa.chain)
	authorities := args("--fulcio-chain", s.path("fulcio.pem"), "--fulcio-url", ca.url, "--tsa-chain", s.path("tsa.pem"), "--tsa-url", tsa.endpoint())
	l.with(append(authorities, "--oidc-url", i.people)...)
	s.file("trusted-root.json", l.get("/trusted-root.json"))
	s.file("signing-config.json", l.get("/signing-config.json"))
	s.run(args(binary, "trust", "root", "--data-dir", l.dataDir(), "--public-url", l.url, "--out", "own.json"), authorities)
	if own := s.read("own.json"); !bytes.Equal(own, s.read("trusted-root.json")) {
		t.Errorf("the command writes\n%s\nthe log says\n%s", own, s.read("trusted-root.json"))
	}
	services, err := root.NewSigningConfigFromJSON(s.read("signing-config.json"))
	if err != nil {
		t.Fatal(err)
	}
	logs, err := root.SelectServices(services.RekorLogURLs(), services.RekorLogURLsConfig(), []uint32{1, 2}, time.Now())
	if err != nil || len(logs) != 1 || logs[0].URL != l.url {
		t.Errorf("sigstore-go would log at %v (%v)", logs, err)
	}

	s.file("blob", []byte("an artifact"))
	s.file("tampered", []byte("another artifact"))
	s.run(args(cosign3(t), "generate-key-pair"))
	images := startRegistry(t)
	certificate := args("--certificate-identity", person, "--certificate-oidc-issuer", i.people, "--insecure-ignore-sct", "--use-signed-timestamps")
	type check struct {
		good []string
		bad  []string
	}
	var checks []check
	for _, c := range bundleCosigns() {
		command := c.program(t)
		writing := slices.Concat(c.write, args("--signing-config", "signing-config.json", "--trusted-root", "trusted-root.json", "--yes"))
		reading := slices.Concat(c.read, args("--trusted-root", "trusted-root.json"))
		for _, by := range []struct {
			name      string
			sign, who []string
		}{
			{"key", args("--key", "cosign.key"), args("--key", "cosign.pub")},
			{"keyless", args("--identity-token", i.person(person)), certificate},
		} {
			before := l.size()
			file := c.name + "-" + by.name + ".json"
			s.run(args(command, "sign-blob", "--bundle", file), writing, by.sign, args("blob"))
			img := images.push(file)
			s.run(args(command, "sign"), writing, by.sign, args(img.ref))
			l.grew(before, 2)
			blob := slices.Concat(args(command, "verify-blob", "--bundle", file), reading, by.who)
			checks = append(checks,
				check{append(slices.Clone(blob), "blob"), append(slices.Clone(blob), "tampered")},
				check{slices.Concat(args(command, "verify"), reading, by.who, args(img.ref)), nil})
			if by.name == "keyless" { // cosign 3 itself, which is built on sigstore-go, does so for keys
				sigstoreVerifies(t, s, file)
			}
		}
	}
	l.stop()
	ca.stop()
	tsa.stop()
	for _, x := range checks {
		s.run(x.good)
		if x.bad != nil {
			s.refuse(wrongArtifact, x.bad)
		}
	}
}

// sigstoreVerifies checks the bundle of a blob with sigstore-go: certificate, log entry and timestamp
// are of those in the trusted root.
func sigstoreVerifies(t *testing.T, s *shell, file string) {
	t.Helper()
	trusted, err := root.NewTrustedRootFromJSON(s.read("trusted-root.json"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.LoadJSONFromPath(s.path(file))
	if err != nil {
		t.Fatal(err)
	}
	v, err := sgverify.NewVerifier(trusted, sgverify.WithTransparencyLog(1), sgverify.WithSignedTimestamps(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(b, sgverify.NewPolicy(sgverify.WithArtifact(bytes.NewReader(s.read("blob"))), sgverify.WithoutIdentitiesUnsafe()))
	if err != nil {
		t.Errorf("sigstore-go on %s: %v", file, err)
	}
}

// A TUF repository that the log hands out makes clients believe the log, through rotations
// of keys, until it says otherwise. Those that cosign 2, cosign 3, sigstore-go, policy-controller and
// Kyverno use read it.
func TestTrustByTUF(t *testing.T) {
	l, s := startLog(t, "sqlite:"), newShell(t)
	publish := func(l *testLog, url string) []string {
		s.run(args(binary, "trust", "root", "--data-dir", l.dataDir(), "--url", url, "-o", "trusted-root.json"))
		s.run(args(binary, "trust", "signing-config", "--url", url, "-o", "signing-config.json"))
		return args("--tuf-dir", "tuf", "--tuf-keys", "keys", "--trusted-root", "trusted-root.json", "--signing-config", "signing-config.json")
	}
	s.run(args(binary, "trust", "tuf", "init"), publish(l, l.url))
	first := s.read("tuf/root.json")
	l.with("--tuf-dir", s.path("tuf"))
	s.file("blob", []byte("an artifact"))
	s.run(args(cosign3(t), "generate-key-pair"))

	// Each version of cosign in a home of its own, with nothing else that says whom to believe.
	type user struct {
		*shell
		command     string
		write, read []string
	}
	var users []user
	for _, c := range []struct {
		name, command string
		write, read   []string
	}{
		{"2-legacy", cosign2(t), args("--rekor-url", l.url), nil},
		{"2-bundle", cosign2(t), args("--use-signing-config", "--new-bundle-format"), args("--new-bundle-format")},
		{"3-bundle", cosign3(t), nil, nil},
		{"3-legacy", cosign3(t), args("--use-signing-config=false", "--new-bundle-format=false", "--rekor-url", l.url), args("--new-bundle-format=false")},
	} {
		u := user{s.with(t, "TUF_ROOT="+s.path("root-"+c.name)), c.command, c.write, slices.Concat(args("--bundle", c.name+".json"), c.read)}
		u.run(args(u.command, "initialize", "--mirror", l.url+"/tuf/", "--root", "tuf/1.root.json"))
		u.run(args(u.command, "sign-blob", "--key", "cosign.key", "--yes", "--bundle", c.name+".json"), u.write, args("blob"))
		users = append(users, u)
	}
	believed := func(when string) {
		t.Helper()
		for _, u := range users {
			u.run(args(u.command, "verify-blob", "--key", "cosign.pub"), u.read, args("blob"))
		}
		sigstoreGets(t, s, l.url+"/tuf", first, when)
		legacyGets(t, s, l.url+"/tuf", first)
	}
	believed("at first")
	refresh := args(binary, "trust", "tuf", "refresh", "--tuf-dir", "tuf", "--tuf-keys", "keys")
	s.run(refresh)
	s.run(refresh, args("--rotate", "timestamp", "--rotate", "snapshot"))
	believed("after new online keys")
	s.run(refresh, args("--rotate", "root", "--rotate", "targets"))
	believed("after new offline keys")

	// From now on another log is believed.
	s.run(args(binary, "trust", "tuf", "refresh"), publish(startLog(t, "sqlite:"), l.url))
	for _, u := range users {
		u.refuse(wrongLog, args(u.command, "verify-blob", "--key", "cosign.pub"), u.read, args("blob"))
	}
}

// sigstoreGets fetches trusted root and signing config with sigstore-go, by the first root alone.
func sigstoreGets(t *testing.T, s *shell, mirror string, first []byte, when string) {
	t.Helper()
	client, err := tuf.New(&tuf.Options{Root: first, RepositoryBaseURL: mirror, DisableLocalCache: true})
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for target, file := range map[string]string{"trusted_root.json": "trusted-root.json", "signing_config.v0.2.json": "signing-config.json"} {
		got, err := client.GetTarget(target)
		if err != nil || !bytes.Equal(got, s.read(file)) {
			t.Errorf("%s: sigstore-go gets %q as %s (%v)", when, got, target, err)
		}
	}
}

// legacyGets fetches the log's key with the TUF client of policy-controller and Kyverno, which
// finds it by the metadata that Sigstore puts beside targets.
func legacyGets(t *testing.T, s *shell, mirror string, first []byte) {
	t.Helper()
	remote, err := oldtuf.HTTPRemoteStore(mirror, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := oldtuf.NewClient(oldtuf.MemoryLocalStore(), remote)
	if err := client.Init(first); err != nil {
		t.Fatal(err)
	}
	targets, err := client.Update()
	if err != nil {
		t.Fatal(err)
	}
	for name, info := range targets {
		var about struct {
			Sigstore struct{ Usage, Status string }
		}
		if info.Custom != nil {
			if err := json.Unmarshal(*info.Custom, &about); err != nil {
				t.Fatal(err)
			}
		}
		if about.Sigstore.Usage != "Rekor" {
			continue
		}
		var got download
		if err := client.Download(name, &got); err != nil || about.Sigstore.Status != "Active" || !bytes.Contains(got.Bytes(), []byte("PUBLIC KEY")) {
			t.Errorf("%s: %v %+v\n%s", name, err, about, got.Bytes())
		}
		return
	}
	t.Errorf("none of the targets is a log's key: %v", targets)
}

// download is where the legacy client puts a target.
type download struct{ bytes.Buffer }

// Delete is part of the client's interface.
func (d *download) Delete() error { d.Reset(); return nil }
