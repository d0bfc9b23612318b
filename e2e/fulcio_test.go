package e2e

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuer is an OpenID Connect identity provider on loopback: discovery, keys, and
// tokens for whomever the test names (OpenID Connect Discovery 1.0, RFC 7517, RFC 7519).
// It is two issuers, since a Fulcio reads one sort of token from an issuer: of people,
// and of CI jobs.
type issuer struct {
	t      *testing.T
	people string // URL of the issuer whose tokens have an e-mail address
	jobs   string // URL of the issuer whose tokens are like those of GitHub's workflows
	key    *rsa.PrivateKey
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	// RSA, because cosign takes tokens from the command line with RS256 only.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i := &issuer{t, server.URL + "/people", server.URL + "/jobs", key}
	for _, url := range []string{i.people, i.jobs} {
		mux.Handle(strings.TrimPrefix(url, server.URL)+"/.well-known/openid-configuration", document{
			"issuer": url, "jwks_uri": server.URL + "/keys", "authorization_endpoint": url + "/auth", "token_endpoint": url + "/token",
			"response_types_supported": args("id_token"), "subject_types_supported": args("public"), "id_token_signing_alg_values_supported": args("RS256")})
	}
	mux.Handle("/keys", document{"keys": []any{document{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())}}})
	return i
}

// document is a JSON object that is served.
type document map[string]any

func (d document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any(d))
}

// person returns a token of whoever has that e-mail address.
func (i *issuer) person(email string) string {
	return i.token(i.people, email, document{"email": email, "email_verified": true})
}

// A job's identity in its certificate.
const (
	jobWorkflow = "example/app/.github/workflows/release.yaml"
	jobIdentity = "https://github.com/" + jobWorkflow + "@refs/heads/main"
)

// job returns a token of a CI job, with the claims of a GitHub workflow.
func (i *issuer) job() string { return i.jobFor("refs/heads/main") }

// jobFor returns that of a job for a branch or tag.
func (i *issuer) jobFor(ref string) string {
	workflow := jobWorkflow + "@" + ref
	return i.token(i.jobs, "repo:example/app:ref:"+ref, document{
		"job_workflow_ref": workflow, "job_workflow_sha": strings.Repeat("a", 40), "workflow_ref": workflow, "workflow_sha": strings.Repeat("a", 40),
		"sha": strings.Repeat("b", 40), "ref": ref, "event_name": "push", "workflow": "Release",
		"repository": "example/app", "repository_id": "1", "repository_visibility": "private", "repository_owner": "example", "repository_owner_id": "2",
		"run_id": "3", "run_attempt": "1", "runner_environment": "github-hosted"})
}

// token returns a signed token (JWT) with these claims besides the usual ones.
func (i *issuer) token(url, subject string, claims document) string {
	i.t.Helper()
	now := time.Now()
	claims["iss"], claims["sub"], claims["aud"] = url, subject, "sigstore"
	claims["iat"], claims["exp"] = now.Unix(), now.Add(10*time.Minute).Unix()
	part := func(d document) string {
		text, err := json.Marshal(d)
		if err != nil {
			i.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(document{"alg": "RS256", "typ": "JWT", "kid": "1"}) + "." + part(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	if err != nil {
		i.t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// fulcio is a certificate authority that gives short-lived certificates for the
// tokens of an issuer. Its own certificate is new at every start. There is no CT log.
type fulcio struct {
	*server
	chain []byte // its certificates, PEM
}

func startFulcio(t *testing.T, i *issuer) *fulcio {
	t.Helper()
	// Not t.TempDir: the path of a socket must be short.
	dir, err := os.MkdirTemp("", "fulcio-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "config.yaml")
	issuers := "oidc-issuers:\n"
	for url, kind := range map[string]string{i.people: "email", i.jobs: "github-workflow"} {
		issuers += fmt.Sprintf("  %s:\n    issuer-url: %s\n    client-id: sigstore\n    type: %s\n", url, url, kind)
	}
	if err := os.WriteFile(config, []byte(issuers), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	// Asking for the legacy API's root certificate sees that all its parts are up.
	f := &fulcio{server: serve(t, "http://"+net.JoinHostPort(host, port), "/api/v1/rootCert",
		tool(t, "fulcio-v1.8.8", "fulcio"), "serve", "--ca=ephemeralca", "--ct-log-url=", "--config-path="+config,
		"--host="+host, "--port="+port, "--grpc-host="+host, "--grpc-port=0", "--metrics-port=0",
		"--legacy-unix-domain-socket="+filepath.Join(dir, "socket"))}
	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	if err := json.Unmarshal(f.get("/api/v2/trustBundle"), &bundle); err != nil || len(bundle.Chains) != 1 {
		t.Fatalf("trust bundle of Fulcio: %d chains, %v", len(bundle.Chains), err)
	}
	f.chain = withoutBlankLines([]byte(strings.Join(bundle.Chains[0].Certificates, "")))
	return f
}

// timestamper is an RFC 3161 timestamp authority. Its keys are new at every start.
type timestamper struct {
	*server
	chain []byte // its certificates, PEM, its own first
}

// endpoint returns the URL where it timestamps.
func (s *timestamper) endpoint() string { return s.url + "/api/v1/timestamp" }

func startTimestamper(t *testing.T) *timestamper {
	t.Helper()
	host, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &timestamper{server: serve(t, "http://"+net.JoinHostPort(host, port), "/ping",
		tool(t, "timestamp-server-v2.1.3", "timestamp-server"), "serve", "--timestamp-signer=memory", "--disable-ntp-monitoring",
		"--host="+host, "--port="+port)}
	s.chain = withoutBlankLines(s.get("/api/v1/timestamp/certchain"))
	return s
}

// withoutBlankLines returns PEM without blank lines, which some readers do not take.
func withoutBlankLines(text []byte) []byte {
	for bytes.Contains(text, []byte("\n\n")) {
		text = bytes.ReplaceAll(text, []byte("\n\n"), []byte("\n"))
	}
	return text
}
