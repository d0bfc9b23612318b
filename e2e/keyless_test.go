package e2e

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// trust says who is trusted, by names of files.
type trust struct {
	root string // a trusted root
	// The same one by one, as cosign takes it in the legacy form; empty if it cannot be said so.
	log, fulcio, tsa string
}

// question asks whether somebody signed an artifact: what cosign and Tallystick are
// both asked, in the same words, and have to answer alike.
type question struct {
	name     string
	signed   signed
	artifact string // a file, or an image's reference
	trust    trust
	flags    []string // who has to have signed, and what else has to hold or need not
	refused  []string // why cosign refuses, as its versions and forms word it; nil if it has to accept
}

// More of why cosign refuses, as the versions and forms word it.
var (
	wrongIdentity = args("none of the expected identities matched", "no matching CertificateIdentity found")
	noKeySigned   = args("both public key and certificate were provided", "expected key signature, not certificate")
	wrongCA       = args("leaf certificate verification failed", "certificate signed by unknown authority")
	wrongTSA      = args("No certificate for signer", "certificate signed by unknown authority")
	noTimestamp   = args("failed to verify timestamps: threshold not met", "you must also specify --rfc3161-timestamp-path")
	expiredTSA    = args("timestamp is after the validity period end")
)

// Keyless signatures and those of keys, of everything and in every form, good and
// bad: cosign's verdict and Tallystick's are the same. All of it happens offline: log,
// certificate authority and timestamp authority are gone by then.
func TestVerifiersAgree(t *testing.T) {
	w := newWorkshop(t)
	strangers := w.strangers()
	keyUnlogged := signing{name: "key-unlogged", pair: "cosign", unlogged: true}
	var made []signed
	for _, c := range slices.Concat(legacyCosigns(), bundleCosigns()) {
		for _, what := range works() {
			for _, how := range append(signings(), keyUnlogged) {
				if !c.cannotVerify(what, how) {
					made = append(made, w.sign(c, what, how))
				}
			}
		}
	}
	w.log.stop()
	w.fulcio.stop()
	w.tsa.stop()
	w.file("tampered.txt", []byte("another artifact\n"))
	for _, s := range made {
		t.Run(s.name, func(t *testing.T) {
			for _, q := range w.questions(s, strangers) {
				t.Run(q.name, func(t *testing.T) {
					t.Parallel()
					w.agree(t, q)
				})
			}
		})
	}
}

// untrusted are trusts that do not fit the workshop's signatures.
type untrusted struct {
	foreignLog, foreignCA, foreignTSA trust
	expiredLog, expiredCA, expiredTSA trust
}

// strangers makes authorities that had no part in the workshop's signatures, and a
// key pair.
func (w *workshop) strangers() untrusted {
	w.t.Helper()
	w.run(args(cosign3(w.t), "generate-key-pair", "--output-key-prefix", "foreign"))
	l, f, s := startLog(w.t, "sqlite:"), startFulcio(w.t, w.issuer), startTimestamper(w.t)
	w.file("foreign-log.pub", readFile(w.t, l.keyFile))
	w.file("foreign-fulcio.pem", f.chain)
	w.file("foreign-tsa.pem", s.chain)
	w.trust("foreign-log.json", l, w.fulcio, w.tsa)
	w.trust("foreign-fulcio.json", w.log, f, w.tsa)
	w.trust("foreign-tsa.json", w.log, w.fulcio, s)
	ours := w.ours()
	return untrusted{
		foreignLog: trust{"foreign-log.json", "foreign-log.pub", ours.fulcio, ours.tsa},
		foreignCA:  trust{"foreign-fulcio.json", ours.log, "foreign-fulcio.pem", ours.tsa},
		foreignTSA: trust{"foreign-tsa.json", ours.log, ours.fulcio, "foreign-tsa.pem"},
		expiredLog: w.expired("expired-log.json", func(root map[string]any) any { return root["tlogs"].([]any)[0].(map[string]any)["publicKey"] }),
		expiredCA:  w.expired("expired-fulcio.json", func(root map[string]any) any { return root["certificateAuthorities"].([]any)[0] }),
		expiredTSA: w.expired("expired-tsa.json", func(root map[string]any) any { return root["timestampAuthorities"].([]any)[0] }),
	}
}

// ours is the trust in whoever has a part in the workshop's signatures.
func (w *workshop) ours() trust {
	return trust{"trusted-root.json", "log.pub", "fulcio.pem", "tsa.pem"}
}

// expired writes a trusted root in which the validity of one authority was over before
// the signatures were made.
func (w *workshop) expired(name string, of func(root map[string]any) any) trust {
	w.t.Helper()
	return trust{root: w.file(name, edit(w.t, w.read("trusted-root.json"), func(root map[string]any) {
		of(root).(map[string]any)["validFor"] = map[string]any{"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}
	}))}
}

// questions are what is asked about a signature.
func (w *workshop) questions(s signed, u untrusted) []question {
	w.t.Helper()
	var asked []question
	ask := func(name string, t trust, refused []string, flags ...[]string) {
		asked = append(asked, question{name, s, s.artifact, t, slices.Concat(flags...), refused})
	}
	const identity, issuer = "--certificate-identity", "--certificate-oidc-issuer"
	noSCT, timestamped, noLog := args("--insecure-ignore-sct"), args("--use-signed-timestamps"), args("--insecure-ignore-tlog")
	who := args("--key", s.key)
	if s.key == "" {
		who = slices.Concat(args(identity, s.identity, issuer, s.issuer), noSCT)
	}
	switch {
	case s.unlogged && s.timestamped:
		ask("not logged", w.ours(), notLogged, who, timestamped)
		ask("need not be logged", w.ours(), nil, who, timestamped, noLog)
		ask("foreign TSA", u.foreignTSA, wrongTSA, who, timestamped, noLog)
		ask("wrong identity", w.ours(), wrongIdentity, args(identity, "x"+s.identity, issuer, s.issuer), noSCT, timestamped, noLog)
	case s.unlogged:
		ask("not logged", w.ours(), notLogged, who)
		ask("need not be logged", w.ours(), nil, who, noLog)
	case s.timestamped:
		ask("timestamped", w.ours(), nil, who, timestamped)
		ask("timestamp not asked for", w.ours(), nil, who)
		ask("foreign TSA", u.foreignTSA, wrongTSA, who, timestamped)
		ask("expired TSA", u.expiredTSA, expiredTSA, who, timestamped)
	case s.key != "":
		ask("good", w.ours(), nil, who)
		ask("foreign key", w.ours(), wrongKey, args("--key", "foreign.pub"))
		ask("foreign log", u.foreignLog, wrongLog, who)
		ask("expired log", u.expiredLog, wrongLog, who)
		ask("tampered", w.ours(), wrongArtifact, who)
		asked[len(asked)-1].artifact = w.tampered(s)
	default:
		ask("good", w.ours(), nil, who)
		ask("regular expressions", w.ours(), nil, args(identity+"-regexp", "^dev@example[.]com$", issuer+"-regexp", "^http://127[.].*/people$"), noSCT)
		ask("wrong identity", w.ours(), wrongIdentity, args(identity, "x"+s.identity, issuer, s.issuer), noSCT)
		ask("wrong issuer", w.ours(), wrongIdentity, args(identity, s.identity, issuer, w.issuer.jobs), noSCT)
		ask("wrong regular expression", w.ours(), wrongIdentity, args(identity+"-regexp", "@example[.]org$", issuer, s.issuer), noSCT)
		ask("a key", w.ours(), noKeySigned, args("--key", "cosign.pub"))
		ask("foreign log", u.foreignLog, wrongLog, who)
		ask("foreign CA", u.foreignCA, wrongCA, who)
		ask("expired log", u.expiredLog, wrongLog, who)
		ask("expired CA", u.expiredCA, wrongCA, who)
		if s.cosign.trustedRoot || !s.work.image { // of legacy images, cosign accepts without a timestamp
			ask("no timestamp", w.ours(), noTimestamp, who, timestamped)
		}
		ask("tampered", w.ours(), wrongArtifact, who)
		asked[len(asked)-1].artifact = w.tampered(s)
	}
	return asked
}

// tampered returns another artifact than the one that was signed; if it is an image,
// with the signature of the other attached.
func (w *workshop) tampered(s signed) string {
	w.t.Helper()
	if !s.work.image {
		return "tampered.txt"
	}
	other := s.registry.push("another application")
	s.registry.transplant(s.image, other, s.tag())
	return other.ref
}

// agree asks cosign, which has to answer as the question says, and Tallystick, which
// has to answer the same.
func (w *workshop) agree(t *testing.T, q question) {
	t.Helper()
	if q.signed.cosign.trustedRoot || q.trust.log != "" {
		s, command := w.cosignAsks(w.with(t), q)
		if q.refused == nil {
			s.run(command)
		} else {
			s.refuse(q.refused, command)
		}
	}
	for _, command := range q.tallystickAsks() {
		out, messages, err := w.with(t).try(command)
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		want := 0
		if q.refused != nil {
			want = refusedCode
		}
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s%s", strings.Join(command, " "), code, want, out, messages)
		}
	}
}

// refusedCode is tallystick's exit code for what does not hold.
const refusedCode = 3

// tallystickAsks returns the commands by which Tallystick answers a question: with the
// signature in a file and, of an image, as its registry has it.
func (q question) tallystickAsks() [][]string {
	command := slices.Concat(args(binary, "verify", "--trusted-root", q.trust.root), q.flags)
	if q.signed.work.predicateType != "" {
		command = append(command, "--type", "spdxjson")
	}
	var all [][]string
	if q.signed.work.image {
		all = append(all, append(slices.Clone(command), q.artifact))
	}
	if q.signed.bundle != "" {
		command = append(command, "--bundle", q.signed.bundle)
		if q.signed.timestamp != "" {
			command = append(command, "--rfc3161-timestamp", q.signed.timestamp)
		}
		all = append(all, append(command, q.artifact))
	}
	return all
}

// cosignAsks returns the command by which cosign answers a question.
func (w *workshop) cosignAsks(s *shell, q question) (*shell, []string) {
	s.t.Helper()
	verify := map[string]string{"sign": "verify", "attest": "verify-attestation", "sign-blob": "verify-blob", "attest-blob": "verify-blob-attestation"}
	command := args(q.signed.cosign.program(s.t), verify[q.signed.work.command])
	command = slices.Concat(command, q.signed.cosign.read, q.flags)
	if q.signed.work.predicateType != "" {
		command = append(command, "--type", "spdxjson")
	}
	useTimestamps := slices.Contains(q.flags, "--use-signed-timestamps")
	if q.signed.cosign.trustedRoot {
		command = append(command, "--trusted-root", q.trust.root)
	} else {
		s = s.with(s.t, "SIGSTORE_REKOR_PUBLIC_KEY="+q.trust.log)
		command = append(command, "--offline")
		if !slices.Contains(q.flags, "--key") {
			command = append(command, "--ca-roots", q.trust.fulcio)
		}
		if useTimestamps {
			command = append(command, "--timestamp-certificate-chain", q.trust.tsa)
		}
	}
	if q.signed.bundle != "" && !q.signed.work.image {
		command = append(command, "--bundle", q.signed.bundle)
	}
	if q.signed.timestamp != "" && useTimestamps {
		command = append(command, "--rfc3161-timestamp", q.signed.timestamp)
	}
	return s, append(command, q.artifact)
}
