package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestProofModule runs the tests of the modules that check proofs in browsers, with Node: its WebCrypto is that of
// browsers, and real answers are changed a hundred thousand times faster than in one. The tests are in the folder browser.
func TestProofModule(t *testing.T) {
	modules := t.TempDir()
	if err := os.CopyFS(modules, os.DirFS("../server/ui/static")); err != nil {
		t.Fatal(err)
	}
	// Without it Node takes .js for its older form of modules.
	if err := os.WriteFile(filepath.Join(modules, "package.json"), []byte(`{"type":"module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob("browser/*.test.mjs")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	testdata, err := filepath.Abs("../verify/testdata")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", slices.Concat(args("--test"), tests)...)
	cmd.Env = append(os.Environ(), "TALLYSTICK_MODULES="+modules, "TALLYSTICK_TESTDATA="+testdata)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, out)
	}
	t.Logf("%s", out[max(0, len(out)-300):])
}
