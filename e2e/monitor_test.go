package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// foundEntry is what is of interest in an alert.
type foundEntry struct {
	Rule     string
	LogIndex int64
}

// What real clients log, a monitor finds by what its rules say: keyless signatures by person and by CI job, in every form of cosign's; its keys; what
// rekor-cli uploads. It finds nothing else, and nothing twice.
func TestMonitorFinds(t *testing.T) {
	w := newWorkshop(t)
	var want []foundEntry
	for _, c := range slices.Concat(legacyCosigns(), bundleCosigns()) {
		for _, what := range works() {
			for _, how := range signings() {
				if how.unlogged {
					continue
				}
				s := w.sign(c, what, how)
				rules := args("a-person")
				switch {
				case s.key != "":
					rules = args("our-key")
				case s.job:
					rules = args("a-job", "another-branch-may-not", "our-repository")
				}
				for _, r := range rules {
					want = append(want, foundEntry{r, s.index})
				}
			}
		}
	}
	cli := &rekorCLI{w.shell, w.log, tool(t, "rekor-cli-v1.5.4", "rekor-cli")}
	a := newAuthor(t)
	for _, s := range a.submissions("monitor") {
		var u uploaded
		cli.ask(&u, "upload", cli.files(s)...)
		want = append(want, foundEntry{"by-rekor-cli", u.Index})
	}
	author := w.file("author.pub", a.submissions("monitor")[0].verifier)

	rules := fmt.Sprintf(`
logs: [{name: ours, url: %q, trustedRoot: trusted-root.json}]
rules:
  - {name: our-key, when: {key: %q}}
  - {name: by-rekor-cli, when: {key: %q}}
  - {name: a-person, when: {subject: %s, issuer: %q}}
  - {name: a-person-of-another-issuer, when: {subject: %[4]s}, unless: {issuer: %[5]q}}
  - {name: a-job, when: {subjectRegexp: '^https://github\.com/example/app/', issuer: %[6]q}}
  - {name: our-repository, when: {extensions: {sourceRepositoryURI: https://github.com/example/app}}}
  - {name: another-workflow, when: {extensions: {sourceRepositoryURI: https://github.com/example/app}}, unless: {subject: %[7]q}}
  - {name: another-branch-may-not, when: {extensions: {sourceRepositoryURI: https://github.com/example/app}}, unless: {extensions: {sourceRepositoryRef: refs/heads/other}}}
  - {name: unreadable, when: {unreadable: true}}
`, w.log.url, w.fingerprint("cosign.pub"), w.fingerprint(author), person, w.issuer.people, w.issuer.jobs, jobIdentity)
	w.file("rules.yaml", []byte(rules))
	got := w.monitor(3, "rules.yaml", "--state", "state")
	order := func(a, b foundEntry) int {
		return cmp.Or(cmp.Compare(a.LogIndex, b.LogIndex), cmp.Compare(a.Rule, b.Rule))
	}
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if !slices.Equal(got, want) {
		t.Errorf("found\n%v\nnot\n%v", got, want)
	}
	if again := w.monitor(0, "rules.yaml", "--state", "state"); again != nil {
		t.Errorf("found again: %v", again)
	}
}

// fingerprint returns what rules call a public key by.
func (s *shell) fingerprint(file string) string {
	return "sha256:" + strings.Fields(s.run(args("sh", "-c", "openssl pkey -pubin -in "+file+" -outform DER | openssl dgst -sha256 -r")))[0]
}

// monitor runs a monitor that reads what there is, and ends with that code. It returns what rules found.
func (s *shell) monitor(code int, words ...string) (all []foundEntry) {
	s.t.Helper()
	cmd := exec.Command(binary, append(args("monitor", "--once"), words...)...)
	cmd.Dir, cmd.Env = s.dir, s.env
	var messages strings.Builder
	cmd.Stderr = &messages
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		s.t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, &messages)
	}
	for line := range strings.Lines(string(out)) {
		var a struct {
			Kind  string
			Match *foundEntry
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.Kind != "match" || a.Match == nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		all = append(all, *a.Match)
	}
	return all
}

// Receipts that cosign wrote beside its signatures are held against the log.
func TestMonitorReceipts(t *testing.T) {
	w := newWorkshop(t)
	var receipts []string
	for _, c := range slices.Concat(legacyCosigns(), bundleCosigns()) {
		receipts = append(receipts, w.sign(c, works()[2], signings()[0]).bundle)
	}
	rules := fmt.Sprintf("logs: [{name: ours, url: %q, logKey: log.pub, receipts: [%s]}]\n", w.log.url, strings.Join(receipts, ", "))
	w.file("rules.yaml", []byte(rules))
	if got := w.monitor(0, "rules.yaml", "--state", "state"); got != nil {
		t.Error(got)
	}
	var state struct{ Kept []string }
	if err := json.Unmarshal(w.read(filepath.Join("state", "ours.state.json")), &state); err != nil || len(state.Kept) != len(receipts) {
		t.Errorf("%v: of %d receipts, %v were found to be kept", err, len(receipts), state.Kept)
	}
}
