package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// workshop is where cosign signs things, with all that it takes: a log, a certificate
// authority, a timestamp authority, an issuer of identities, and trust in them. Its
// folder has
//   - trusted-root.json, log.pub, fulcio.pem and tsa.pem, who is trusted,
//   - cosign.key and cosign.pub, a key pair,
//   - blob.txt, an artifact.
type workshop struct {
	*shell
	issuer *issuer
	fulcio *fulcio
	tsa    *timestamper
	log    *testLog
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	i := startIssuer(t)
	w := &workshop{newShell(t), i, startFulcio(t, i), startTimestamper(t), startLog(t, "sqlite:")}
	w.file("log.pub", readFile(t, w.log.keyFile))
	w.file("fulcio.pem", w.fulcio.chain)
	w.file("tsa.pem", w.tsa.chain)
	w.trust("trusted-root.json", w.log, w.fulcio, w.tsa)
	w.file("blob.txt", []byte("an artifact\n"))
	w.file("predicate.json", []byte(`{"spdxVersion":"SPDX-2.3","name":"app"}`))
	w.run(args(cosign3(t), "generate-key-pair"))
	const service = ",api-version=1,operator=e2e,start-time=2024-01-01T00:00:00Z"
	for _, s := range []signing{{}, {timestamped: true}, {unlogged: true}, {timestamped: true, unlogged: true}} {
		words := args(cosign3(t), "signing-config", "create", "--out", s.services(),
			"--fulcio", "url="+w.fulcio.url+service, "--oidc-provider", "url="+w.issuer.people+service)
		if s.timestamped {
			words = append(words, "--tsa", "url="+w.tsa.endpoint()+service, "--tsa-config=ANY")
		}
		if !s.unlogged {
			words = append(words, "--rekor", "url="+w.log.url+service, "--rekor-config=ANY")
		}
		w.run(words)
	}
	return w
}

// trust writes a trusted root that names these authorities.
func (w *workshop) trust(name string, l *testLog, f *fulcio, s *timestamper) {
	w.t.Helper()
	w.file("log", readFile(w.t, l.keyFile))
	w.file("fulcio", f.chain)
	w.file("tsa", s.chain)
	w.run(args(cosign3(w.t), "trusted-root", "create", "--out", name,
		"--rekor", "url="+l.url+",public-key=log,start-time=2024-01-01T00:00:00Z",
		"--fulcio", "url="+f.url+",certificate-chain=fulcio", "--tsa", "url="+s.endpoint()+",certificate-chain=tsa"))
}

// work is something that is signed, and how.
type work struct {
	name    string
	command string // of cosign, to sign it; "verify…" of the same name checks it
	image   bool
	// predicateType is the type of what is attested; empty if the artifact itself is signed.
	predicateType string
}

// works are what cosign signs. Attestations are signed statements about an artifact.
func works() []work {
	const spdx = "https://spdx.dev/Document"
	return []work{
		{name: "image", command: "sign", image: true},
		{name: "attestation", command: "attest", image: true, predicateType: spdx},
		{name: "blob", command: "sign-blob"},
		{name: "blob-attestation", command: "attest-blob", predicateType: spdx},
	}
}

// signing says who signs, and who else sees it.
type signing struct {
	name        string
	pair        string // the key pair, by the prefix of its files; empty if keyless
	job         bool   // keyless, by a CI job and not by a person
	timestamped bool
	unlogged    bool
}

func signings() []signing {
	return []signing{
		{name: "key", pair: "cosign"},
		{name: "keyless"},
		{name: "keyless-timestamp", job: true, timestamped: true},
		{name: "keyless-unlogged", timestamped: true, unlogged: true},
	}
}

// services names the file that tells cosign where to have a signature timestamped and logged.
func (s signing) services() string {
	return fmt.Sprintf("signing-config-timestamped-%t-unlogged-%t.json", s.timestamped, s.unlogged)
}

// person is who signs keyless, if it is not a job.
const person = "dev@example.com"

// signed is a signature that cosign made.
type signed struct {
	cosign cosign
	work   work
	signing
	name     string
	registry *ociRegistry
	image    image  // if it is one that was signed
	artifact string // the file that was signed, or the image's reference
	digest   string // of the artifact: "sha256:…"
	index    int64  // in the log, unless unlogged
	// Either key, a file, or identity and issuer say who signed.
	key, identity, issuer string
	// What cosign made, as files: either a bundle (with a legacy blob's signed timestamp
	// in a file of its own), or a layer with its annotations.
	bundle, timestamp, payload, annotations string
}

// sign has cosign sign something. Images are in a registry of their own; it is the
// same image every time.
func (w *workshop) sign(c cosign, what work, how signing) signed {
	w.t.Helper()
	s := signed{cosign: c, work: what, signing: how, index: w.log.size()}
	s.name = what.name + "-" + c.form() + "-" + how.name + "-" + c.name
	command := w.signer(&s)
	if what.predicateType != "" {
		command = append(command, "--type", "spdxjson", "--predicate", "predicate.json")
	}
	if what.image {
		s.registry = startRegistry(w.t)
		s.image = s.registry.push("an application")
		s.artifact, s.digest = s.image.ref, "sha256:"+s.image.digest
		w.run(command, args(s.artifact))
		w.detach(&s)
	} else {
		s.artifact, s.digest = "blob.txt", fmt.Sprintf("sha256:%x", sha256.Sum256(w.read("blob.txt")))
		s.bundle = s.name + ".json"
		command = append(command, "--bundle", s.bundle)
		if how.timestamped && !c.trustedRoot {
			s.timestamp = s.name + ".timestamp.json"
			command = append(command, map[string]string{"sign-blob": "--rfc3161-timestamp", "attest-blob": "--rfc3161-timestamp-bundle"}[what.command], s.timestamp)
		}
		w.run(command, args(s.artifact))
	}
	if !how.unlogged {
		w.log.grew(s.index, 1)
	}
	return s
}

// cannotVerify says that cosign refuses what it wrote itself. cosign 3 timestamps the
// signature of a legacy attestation, and verifies timestamps of the envelope; both
// versions verify with SHA-256 only, although they sign with the hash that suits the key.
func (c cosign) cannotVerify(what work, how signing) bool {
	return c.name == "cosign3" && !c.trustedRoot && what.predicateType != "" && how.timestamped ||
		slices.Contains(args("p384", "p521", "ed25519"), how.pair)
}

// form names the form that cosign writes.
func (c cosign) form() string {
	if c.trustedRoot {
		return "bundle"
	}
	return "legacy"
}

// signer returns the beginning of the command that signs, and notes who signs.
func (w *workshop) signer(s *signed) []string {
	w.t.Helper()
	command := slices.Concat(args(s.cosign.program(w.t), s.work.command, "--yes"), s.cosign.write)
	if s.cosign.trustedRoot {
		command = append(command, "--signing-config", s.services(), "--trusted-root", "trusted-root.json")
	} else {
		command = append(command, "--rekor-url", w.log.url)
		if s.unlogged {
			command = append(command, "--tlog-upload=false")
		}
		if s.timestamped {
			command = append(command, "--timestamp-server-url", w.tsa.endpoint())
		}
		if s.pair == "" {
			// Without a CT log, new certificates cannot be looked up in it.
			command = append(command, "--fulcio-url", w.fulcio.url, "--oidc-issuer", w.issuer.people, "--insecure-skip-verify")
		}
	}
	switch {
	case s.pair != "":
		s.key = s.pair + ".pub"
		return append(command, "--key", s.pair+".key")
	case s.job:
		s.identity, s.issuer = jobIdentity, w.issuer.jobs
		return append(command, "--identity-token", w.issuer.job())
	default:
		s.identity, s.issuer = person, w.issuer.people
		return append(command, "--identity-token", w.issuer.person(person))
	}
}

// detach makes files of what cosign attached to an image.
func (w *workshop) detach(s *signed) {
	w.t.Helper()
	if s.cosign.trustedRoot {
		s.bundle = w.file(s.name+".json", s.registry.bundle(s.image))
		return
	}
	layer := s.registry.layers("sha256-" + s.image.digest + s.tag())[0]
	annotations, err := json.MarshalIndent(layer.Annotations, "", "  ")
	if err != nil {
		w.t.Fatal(err)
	}
	s.payload = w.file(s.name+".payload.json", s.registry.fetch("blobs/"+layer.Digest))
	s.annotations = w.file(s.name+".annotations.json", append(annotations, '\n'))
}

// tag is the suffix of the tag under which what cosign made is attached to the image.
func (s signed) tag() string {
	switch {
	case s.cosign.trustedRoot:
		return bundles
	case s.work.predicateType != "":
		return attestations
	}
	return signatures
}
