package e2e

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/forge"
)

// The guides in docs/ are run as their readers would run them: the commands of a guide, byte
// for byte, in one bash (-euo pipefail), in an empty folder. Of a guide's code blocks,
//
//   - "```sh" is run. The first block are settings, NAME=value, of which the test replaces
//     those that it has values for.
//   - "```text" is all that the block of commands before it prints. An ellipsis stands for
//     anything in a line; alone in a line, for any number of lines.
//   - "```json policy.json" (any language, and a name) is a file that the reader saves.
//
// Commands that have to fail end with || echo "exit code $?", so that the output tells. (After a
// leading ! bash goes on, whatever becomes of the command.)

// guides are what starts the services of a guide, and returns its settings.
type guides map[string]func(*testing.T) map[string]string

// ours are the guides that need no other program than `make e2e-tools` builds.
func ours() guides {
	return guides{
		"sign-with-a-key.md": keySettings, "sign-keyless.md": keylessSettings,
		"verify-offline.md": offlineSettings, "trust.md": trustSettings,
		"gatekeeper.md": gatekeeperSettings, "notation.md": notationSettings,
		"sbom.md": sbomSettings, "audit.md": auditSettings,
	}
}

// engineGuides are the names of those that run in `make e2e-kubernetes`.
func engineGuides() []string {
	return args("admit.md", "kyverno.md", "policy-controller.md", "ratify.md", "vulnerabilities.md")
}

// TestGuides runs the guides.
func TestGuides(t *testing.T) { ours().run(t, nil) }

// run runs the guides, which may call more programs, by their names.
func (g guides) run(t *testing.T, more map[string]string) {
	for name, settings := range g {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, err := range runGuide(t, name, readFile(t, filepath.Join("../docs", name)), settings(t), more) {
				t.Error(err)
			}
		})
	}
}

// A guide that tells something else than what happens is found.
func TestWrongGuides(t *testing.T) {
	const settings, fence = "```sh\nNAME=value\n```\n", "```"
	for _, c := range []struct{ name, guide, wrong string }{
		{"right", "```sh\necho $NAME; echo b; echo c\n```\n```text\nour …ue\n…\nc\n```\n", ""},
		{"refused", "```sh\nfalse || echo \"exit code $?\"\n```\n```text\nexit code 1\n```\n", ""},
		{"file", "```text some/file\nhello\n```\n```sh\ncat some/file\n```\n```text\nhello\n```\n", ""},
		{"command fails", "```sh\necho a\nfalse\necho b\n```\n", "a\nline 6: false: exit code 1\n"},
		{"not refused", "```sh\ntrue || echo \"exit code $?\"\n```\n```text\nexit code 1\n```\n", "something else"},
		{"another line", "```sh\necho a\n```\n```text\nb\n```\n", "something else"},
		{"a line more", "```sh\necho a; echo b\n```\n```text\na\n```\n", "something else"},
		{"a line less", "```sh\necho a\n```\n```text\na\nb\n```\n", "something else"},
		{"more in a line", "```sh\necho abc\n```\n```text\na…b\n```\n", "something else"},
		{"before what fails", "```sh\necho a\n```\n```text\nb\n```\n```sh\nfalse\n```\n", "something else"},
		{"no output", "```sh\nfalse || echo \"exit code $?\"\n```\n", "need their output"},
		{"negation", "```sh\n! false\n```\n", "after !"},
		{"another language", "```console\n$ ls\n```\n", "nobody checks"},
		{"lonely output", "```sh\ntrue\n```\n```text a\na\n```\n```text\nb\n```\n", "does not follow"},
		{"open", "```sh\ntrue\n", "does not end"},
		{"indented", "  ```sh\ntrue\n```\n", "not at the beginning"},
		{"Go", "```go a.go\npackage  a\n```\n", "gofmt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := errors.Join(runGuide(t, "wrong.md", []byte(settings+c.guide), map[string]string{"NAME": "our value"}, nil)...)
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%v, not %q", err, c.wrong)
			}
		})
	}
	for guide, values := range map[string]map[string]string{
		settings:                                  {"OTHER": "value"},
		"```sh\nls\n" + fence + "\n":              nil,
		"```text\nNAME=value\n" + fence + "\n":    nil,
		"```sh file\nNAME=value\n" + fence + "\n": nil,
	} {
		if runGuide(t, "wrong.md", []byte(guide), values, nil) == nil {
			t.Errorf("with values for %v, the settings are taken: %s", values, guide)
		}
	}
}

// TestGuideLinks sees that there is no guide that nothing runs, and no link in one that leads nowhere.
func TestGuideLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	found, err := filepath.Glob("../docs/*")
	if err != nil {
		t.Fatal(err)
	}
	run := ours()
	for _, guide := range found {
		if name := filepath.Base(guide); run[name] == nil && !slices.Contains(engineGuides(), name) {
			t.Errorf("no test runs %s", guide)
		}
		for _, m := range link.FindAllStringSubmatch(prose(readFile(t, guide)), -1) {
			to := guide
			if m[1] != "" {
				to = filepath.Join("../docs", m[1])
			}
			text, err := os.ReadFile(to)
			if err != nil {
				t.Errorf("%s: link to %s: %v", guide, m[1], err)
			} else if m[2] != "" && !slices.Contains(anchors(text), m[2]) {
				t.Errorf("%s: link to %s%s: there is no such heading", guide, m[1], m[2])
			}
		}
	}
}

// prose returns a document without its code blocks.
func prose(text []byte) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(string(text), "")
}

// anchors returns the names that GitHub gives to the headings of a document, with "#".
func anchors(text []byte) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(text), -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, "#"+strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// codeBlock is a code block of a guide.
type codeBlock struct {
	line     int // where its content begins in the guide
	language string
	file     string // the name under which the reader saves it; empty if it is not saved
	content  string
}

func (b codeBlock) commands() bool { return b.language == "sh" && b.file == "" }
func (b codeBlock) output() bool   { return b.language == "text" && b.file == "" }

// parseGuide returns a guide's code blocks. An error begins with a line number.
func parseGuide(text []byte) ([]codeBlock, error) {
	var blocks []codeBlock
	var open *codeBlock
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		fence, isFence := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "```")
		switch {
		case open != nil && isFence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.content += line
		case isFence:
			open = &codeBlock{line: number + 1}
			open.language, open.file, _ = strings.Cut(fence, " ")
		case strings.Contains(line, "```"):
			return nil, fmt.Errorf("%d: a fence is not at the beginning of its line", number)
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%d: the block does not end", open.line)
	}
	for i, b := range blocks {
		var before, after codeBlock
		if i > 0 {
			before = blocks[i-1]
		}
		if i+1 < len(blocks) {
			after = blocks[i+1]
		}
		if err := b.check(before, after); err != nil {
			return nil, fmt.Errorf("%d: %w", b.line, err)
		}
	}
	return blocks, nil
}

// negation is a command whose failure bash would not notice.
var negation = regexp.MustCompile(`(?m)^\s*!`)

// check says what is wrong with a block between its neighbours.
func (b codeBlock) check(before, after codeBlock) error {
	switch {
	case b.language == "go" && b.file != "":
		if source, err := format.Source([]byte(b.content)); err != nil || string(source) != b.content {
			return fmt.Errorf("not as gofmt has it: %v", err)
		}
	case b.output() && !before.commands():
		return errors.New("output does not follow the commands that print it")
	case b.commands() && strings.Contains(b.content, "|| echo") && !after.output():
		return errors.New("commands that may fail need their output compared")
	case b.commands() && negation.MatchString(b.content):
		return errors.New("bash goes on when a command after ! succeeds")
	case b.file == "" && !b.commands() && !b.output():
		return fmt.Errorf("a block of %q that nobody checks", b.language)
	}
	return nil
}

// set replaces values in a block of settings.
func set(content string, values map[string]string) (string, error) {
	setting := regexp.MustCompile(`^(?:export )?([A-Z][A-Z0-9_]*)=(\S*)(?: +#.*)?$`)
	var out strings.Builder
	used := 0
	for line := range strings.Lines(content) {
		line = strings.TrimSuffix(line, "\n")
		m := setting.FindStringSubmatchIndex(line)
		switch {
		case m == nil && line != "" && line[0] != '#':
			return "", fmt.Errorf("not a setting: %q", line)
		case m != nil:
			if value, ok := values[line[m[2]:m[3]]]; ok {
				line = line[:m[4]] + quote(value) + line[m[5]:]
				used++
			}
		}
		fmt.Fprintln(&out, line)
	}
	if used != len(values) {
		return "", fmt.Errorf("the test has values for %d settings, and the guide %d of them", len(values), used)
	}
	return out.String(), nil
}

// quote quotes a word for a shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// runGuide runs the commands of a guide and compares what they print.
func runGuide(t *testing.T, name string, text []byte, settings, more map[string]string) []error {
	t.Helper()
	blocks, err := parseGuide(text)
	if err == nil && !blocks[0].commands() {
		err = fmt.Errorf("%d: the first block are the settings, in sh", blocks[0].line)
	}
	if err == nil {
		blocks[0].content, err = set(blocks[0].content, settings)
	}
	if err != nil {
		return []error{fmt.Errorf("docs/%s:%w", name, err)}
	}
	parts := t.TempDir()
	path := func(i int, what string) string { return filepath.Join(parts, fmt.Sprint(i), what) }
	script := `trap 'echo "line $LINENO: $BASH_COMMAND: exit code $?"' ERR` + "\n"
	for i, b := range blocks {
		content := b.content
		switch {
		case b.file != "":
			script += "mkdir -p " + quote(filepath.Dir(b.file)) + "; cp " + quote(path(i, name)) + " " + quote(b.file) + "\n"
		case b.commands():
			content = strings.Repeat("\n", b.line-1) + content // so that bash names the guide's lines
			script += "source " + quote(path(i, name)) + " >" + quote(path(i, "output")) + " 2>&1\n"
		}
		if err := os.Mkdir(filepath.Dir(path(i, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path(i, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var goVariables []string
	if slices.ContainsFunc(blocks, func(b codeBlock) bool { return b.language == "go" }) {
		goVariables = goEnvironment(t)
	}
	failure := runScript(t, script, more, goVariables)
	last := 0 // the commands that were reached
	for i := range blocks {
		if _, err := os.Stat(path(i, "output")); err == nil {
			last = i
		}
	}
	var wrong []error
	if failure != nil {
		wrong = append(wrong, fmt.Errorf("docs/%s:%d: the commands fail: %v\n%s", name, blocks[last].line, failure, readFile(t, path(last, "output"))))
		blocks = blocks[:last]
	}
	for i, b := range blocks {
		if !b.output() {
			continue
		}
		if printed := readFile(t, path(i-1, "output")); !expected(b.content).Match(printed) {
			wrong = append(wrong, fmt.Errorf("docs/%s:%d: the commands print something else:\n%s", name, b.line, printed))
		}
	}
	return wrong
}

// runScript runs a script in an empty folder and a home of its own, with the programs of the guides
// on the PATH, and ends what it left running.
func runScript(t *testing.T, script string, more map[string]string, variables []string) error {
	s := newShell(t)
	work := s.path("work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	env := slices.DeleteFunc(s.env, func(v string) bool { return strings.HasPrefix(v, "TALLYSTICK_") })
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = work, append(env, "PATH="+programs(t, more)+":"+os.Getenv("PATH"), "PWD="+work)
	cmd.Env = append(cmd.Env, variables...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // there may be nothing left
	defer end()
	hung := time.AfterFunc(3*patience, end)
	defer hung.Stop()
	return cmd.Wait()
}

// expected returns what matches the output that a guide shows.
func expected(shown string) *regexp.Regexp {
	var re strings.Builder
	for line := range strings.Lines(shown) {
		if strings.TrimSpace(line) == "…" {
			re.WriteString(`(?:.*\n)*`)
			continue
		}
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re.WriteString(strings.Join(parts, ".*") + `\n`)
	}
	return regexp.MustCompile(`\A` + re.String() + `\z`)
}

// programs makes a folder with the programs that the guides call, by the names they have there.
func programs(t *testing.T, more map[string]string) string {
	for _, name := range args("bash", "curl", "openssl", "unshare") {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("the guides use a program that is missing: %v", err)
		}
	}
	dir := t.TempDir()
	all := map[string]string{
		"tallystick": binary, "cosign": cosign3(t), "cosign-v2": tool(t, "cosign-v2.6.5", "cosign"),
		"fulcio": tool(t, "fulcio-v1.8.8", "fulcio"), "timestamp-server": tool(t, "timestamp-server-v2.1.3", "timestamp-server"),
		"notation": tool(t, "notation-v1.3.2", "notation"),
	}
	maps.Copy(all, more)
	for name, path := range all {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goEnvironment lets the go command take this module, as if it was published, from a proxy in files,
// and what it requires from where the e2e tests' own build had it from.
func goEnvironment(t *testing.T) []string {
	goCommand := func(dir string, args ...string) string {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return strings.TrimSpace(string(out))
	}
	goCommand("..", "mod", "graph") // gets every go.mod
	proxy, modules := t.TempDir(), t.TempDir()
	dir := filepath.Join(proxy, "github.com/tallystick/tallystick/@v")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"list": []byte("v0.0.1\n"), "v0.0.1.info": []byte(`{"Version":"v0.0.1"}`), "v0.0.1.mod": readFile(t, "../go.mod"),
		"v0.0.1.zip": moduleZip(t, "github.com/tallystick/tallystick@v0.0.1"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"GOPROXY=file://" + proxy + ",file://" + filepath.Join(goCommand(".", "env", "GOMODCACHE"), "cache/download"),
		"GOMODCACHE=" + modules, "GOCACHE=" + goCommand(".", "env", "GOCACHE"),
		"GOFLAGS=-modcacherw -trimpath", "GOSUMDB=off", "GOWORK=off", "GOTOOLCHAIN=local",
	}
}

// moduleZip packs the root module's Go files as a module proxy serves them (go.dev/ref/mod#zip-files).
func moduleZip(t *testing.T, prefix string) []byte {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "e2e" || name == "testdata" || name != ".." && name[0] == '.'):
			return fs.SkipDir
		case entry.IsDir() || path != "../go.mod" && (filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go")):
			return nil
		}
		w, err := z.Create(prefix + strings.TrimPrefix(path, ".."))
		if err == nil {
			_, err = w.Write(readFile(t, path))
		}
		return err
	})
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// What the guides call settings: where the services are that they use.

func keySettings(t *testing.T) map[string]string { return logAndImages(t, "IMAGE", "OTHER_IMAGE") }

func logAndImages(t *testing.T, images ...string) map[string]string {
	l, r := startLog(t, "sqlite:"), startRegistry(t)
	values := map[string]string{"LOG": l.url, "LOG_KEY": l.keyFile}
	for _, name := range images {
		values[name] = r.push("application " + name).ref
	}
	return values
}

func auditSettings(t *testing.T) map[string]string {
	return map[string]string{"LISTEN": "127.0.0.1:" + quietPort(t), "HOOK": "127.0.0.1:" + quietPort(t)}
}

// sbomSettings has what Syft 1.51.1 wrote about an image with two Debian packages (syft oci-dir:… --source-name … -o spdx-json).
func sbomSettings(t *testing.T) map[string]string {
	values := logAndImages(t, "IMAGE", "OTHER_IMAGE")
	values["TAG"], values["ADMIT"] = tagged(t, values["IMAGE"], "v1"), "127.0.0.1:"+quietPort(t)
	sbom, err := filepath.Abs("testdata/syft.spdx.json")
	if err != nil {
		t.Fatal(err)
	}
	values["SBOM"] = sbom
	return values
}

func keylessSettings(t *testing.T) map[string]string {
	values, i := logAndImages(t, "IMAGE"), startIssuer(t)
	for _, name := range args("FULCIO_PORT", "FULCIO_GRPC_PORT", "FULCIO_METRICS_PORT", "TSA_PORT") {
		values[name] = quietPort(t)
	}
	values["ISSUER"], values["TOKEN"] = i.people, i.person(person)
	return values
}

// offlineSettings has a signature in a Rekor v2 log, too, whose checkpoint two of three witnesses cosigned.
func offlineSettings(t *testing.T) map[string]string {
	values, world := logAndImages(t, "IMAGE"), forge.NewWorld()
	spec := world.Spec(forge.Message, world.V2)
	spec.Witnesses = world.Witnesses[:2]
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"artifact": world.Artifact, "bundle.json": forge.Encode(spec.Make().Bundle()), "trusted_root.json": forge.Encode(world.TrustedRoot(forge.Array{})),
		"key.pub":   world.Author.PEM(),
		"witnesses": []byte(world.Witnesses[0].Policy("one") + world.Witnesses[1].Policy("two") + world.Witnesses[2].Policy("three")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	values["WITNESSED"] = dir
	return values
}

func trustSettings(t *testing.T) map[string]string {
	i := startIssuer(t)
	f, next, s := startFulcio(t, i), startFulcio(t, i), startTimestamper(t)
	dir := t.TempDir()
	chain := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return map[string]string{
		"LISTEN": "127.0.0.1:" + quietPort(t), "NEW_LISTEN": "127.0.0.1:" + quietPort(t), "ISSUER": i.people, "TOKEN": i.person(person),
		"FULCIO": f.url, "FULCIO_CHAIN": chain("fulcio.pem", f.chain),
		"NEW_FULCIO": next.url, "NEW_FULCIO_CHAIN": chain("new-fulcio.pem", next.chain),
		"TSA": s.endpoint(), "TSA_CHAIN": chain("tsa.pem", s.chain),
	}
}

// quietPort returns a port that nobody listens on. It is below those that Linux and macOS give to whoever
// does not ask for one, so that it is still free when the guide starts its server, a while later.
func quietPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(20000 + rand.IntN(10000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}
