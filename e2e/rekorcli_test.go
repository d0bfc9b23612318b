package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// rekorCLI is rekor-cli with a home of its own, so that what it remembers of a
// log is what it learnt in this test.
type rekorCLI struct {
	*shell
	log     *testLog
	command string
}

func newRekorCLI(t *testing.T, l *testLog) *rekorCLI {
	return &rekorCLI{newShell(t), l, tool(t, "rekor-cli-v1.5.4", "rekor-cli")}
}

func (r *rekorCLI) words(subcommand string, words ...string) []string {
	return append(args(r.command, subcommand, "--rekor_server", r.log.url, "--retry", "0", "--format", "json"), words...)
}

// ask runs a subcommand that must succeed and reads its answer into out.
func (r *rekorCLI) ask(out any, subcommand string, words ...string) {
	r.t.Helper()
	answer := r.run(r.words(subcommand, words...))
	if err := json.Unmarshal([]byte(answer), out); err != nil {
		r.t.Fatalf("rekor-cli %s said %q: %v", subcommand, answer, err)
	}
}

// files writes a submission's files and returns the flags that name them.
func (r *rekorCLI) files(s submission) []string {
	r.t.Helper()
	name := strings.NewReplacer(":", "-", ".", "-").Replace(s.String())
	flags := args("--type", s.String(), "--artifact", r.file(name, s.artifact), "--public-key", r.file(name+".pem", s.verifier))
	if s.signature != nil {
		flags = append(flags, "--pki-format", "x509", "--signature", r.file(name+".sig", s.signature))
	}
	return flags
}

// What rekor-cli answers.
type (
	uploaded struct {
		AlreadyExists bool
		Location      string
		Index         int64
	}
	gotten struct {
		Body            map[string]any
		UUID            string
		LogIndex        int64
		Attestation     string
		AttestationType string
	}
	found    struct{ UUIDs []string }
	verified struct {
		RootHash, EntryUUID string
		Index, Size         int64
	}
	logInfo struct {
		ActiveTreeSize, TotalTreeSize int64
		RootHash, TreeID              string
	}
	logProof struct {
		RootHash string
		Hashes   []string
	}
)

func (u uploaded) uuid() string { return u.Location[strings.LastIndex(u.Location, "/")+1:] }

func TestRekorCLI(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage newStorage) {
		r := newRekorCLI(t, startLog(t, storage(t)))
		a := newAuthor(t)
		for i, s := range a.submissions("rekor-cli") {
			r.check(s, int64(i))
		}
	})
}

// check takes a submission through everything that rekor-cli can do with one;
// its place in the log will be index.
func (r *rekorCLI) check(s submission, index int64) {
	r.t.Helper()
	flags := r.files(s)
	var first, again uploaded
	r.ask(&first, "upload", flags...)
	if first.AlreadyExists || first.Index != index {
		r.t.Errorf("%s: upload said %+v, want a new entry at %d", s, first, index)
	}
	r.ask(&again, "upload", flags...)
	if again.uuid() != first.uuid() || again.Index != index {
		r.t.Errorf("%s: second upload said %+v, want the same entry as %+v", s, again, first)
	}
	r.log.grew(index, 1)

	var byUUID, byIndex gotten
	r.ask(&byUUID, "get", "--uuid", first.uuid())
	r.ask(&byIndex, "get", "--log-index", fmt.Sprint(index))
	if byUUID.UUID != first.uuid() || byIndex.UUID != first.uuid() || byUUID.LogIndex != index {
		r.t.Errorf("%s: get said %+v and %+v, want %s at %d", s, byUUID, byIndex, first.uuid(), index)
	}
	if s.kind == "intoto" && byUUID.Attestation != string(s.payload) {
		r.t.Errorf("%s: attestation is %q, want %q", s, byUUID.Attestation, s.payload)
	}

	var bySHA, byKey found
	r.ask(&bySHA, "search", "--sha", s.digest)
	r.ask(&byKey, "search", "--public-key", r.file("key.pem", s.verifier), "--pki-format", "x509")
	if !slices.Contains(bySHA.UUIDs, first.uuid()) || !slices.Contains(byKey.UUIDs, first.uuid()) {
		r.t.Errorf("%s: search found %v by digest and %v by key, want %s among them", s, bySHA.UUIDs, byKey.UUIDs, first.uuid())
	}

	var known, asked verified
	r.ask(&known, "verify", "--uuid", first.uuid())
	r.ask(&asked, "verify", flags...)
	for _, v := range []verified{known, asked} {
		if v.EntryUUID != first.uuid() || v.Index != index || v.Size != index+1 {
			r.t.Errorf("%s: verify said %+v, want %s at %d of %d", s, v, first.uuid(), index, index+1)
		}
	}
}

func TestRekorCLIFindsCertificates(t *testing.T) {
	r := newRekorCLI(t, startLog(t, "sqlite:"))
	a := newAuthor(t)
	want := map[string]bool{}
	for _, s := range a.submissions("certificate") {
		s.verifier = a.certificate
		var u uploaded
		r.ask(&u, "upload", r.files(s)...)
		want[u.uuid()] = true
	}
	for _, flags := range [][]string{
		{"--email", a.email},
		{"--subject", strings.ToLower(a.email)},
		{"--public-key", r.file("certificate.pem", a.certificate), "--pki-format", "x509"},
		{"--email", a.email, "--public-key", "certificate.pem", "--pki-format", "x509", "--operator", "and"},
	} {
		var got found
		r.ask(&got, "search", flags...)
		if len(got.UUIDs) != len(want) || slices.ContainsFunc(got.UUIDs, func(id string) bool { return !want[id] }) {
			r.t.Errorf("search %v found %v, want %v", flags, got.UUIDs, want)
		}
	}
	r.refuse(args("no matching entries"), r.words("search", "--email", "nobody@example.com"))
}

func TestRekorCLIFollowsTheLog(t *testing.T) {
	eachStorage(t, func(t *testing.T, storage newStorage) {
		l := startLog(t, storage(t))
		r := newRekorCLI(t, l)
		a := newAuthor(t)
		var before, after logInfo
		for i, s := range a.submissions("first") {
			var u uploaded
			r.ask(&u, "upload", r.files(s)...)
			if i == 2 {
				r.ask(&before, "loginfo")
			}
		}
		l.stop()
		l.start()
		r.ask(&after, "loginfo")
		if before.ActiveTreeSize != 3 || after.ActiveTreeSize != 5 || after.TreeID != before.TreeID {
			t.Errorf("loginfo said %+v and then %+v, want 3 and 5 entries of one tree", before, after)
		}
		var proof logProof
		r.ask(&proof, "logproof", "--first-size", "3", "--last-size", "5")
		if proof.RootHash != after.RootHash || len(proof.Hashes) == 0 {
			t.Errorf("logproof said %+v, want hashes for root %s", proof, after.RootHash)
		}
		r.refuse(args("size", "400"), r.words("logproof", "--last-size", "6"))

		// A log that is not a continuation of what rekor-cli remembers is refused.
		r.log = startLog(t, storage(t))
		var u uploaded
		r.ask(&u, "upload", r.files(a.submissions("fork")[0])...)
		r.pretend(l.url, r.log.url)
		r.refuse(args("tree size", "root hash"), r.words("loginfo"))
	})
}

// pretend makes rekor-cli believe that what it remembers of one server is about
// another one and its tree.
func (r *rekorCLI) pretend(was, is string) {
	r.t.Helper()
	var remembered map[string]json.RawMessage
	const file = ".rekor/state.json"
	if err := json.Unmarshal(r.read(file), &remembered); err != nil {
		r.t.Fatal(err)
	}
	var info struct{ TreeID string }
	if err := json.Unmarshal(r.log.get("/api/v1/log"), &info); err != nil {
		r.t.Fatal(err)
	}
	remembered[is], remembered[info.TreeID] = remembered[was], remembered[was]
	changed, err := json.Marshal(remembered)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(file), changed, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestRekorCLIRefusals(t *testing.T) {
	r := newRekorCLI(t, startLog(t, "sqlite:"))
	a := newAuthor(t)
	s := a.submissions("refused")[0]
	flags := r.files(s)
	r.refuse(args("cannot be located"), r.words("verify", flags...))
	r.refuse(args("404"), r.words("get", "--log-index", "0"))
	s.verifier = newAuthor(t).publicKey
	r.refuse(args("verif", "signature"), r.words("upload", r.files(s)...))
	if size := r.log.size(); size != 0 {
		t.Errorf("the log has %d entries after nothing but refusals", size)
	}
}
