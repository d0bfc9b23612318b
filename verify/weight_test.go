package verify

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goCommand runs the go command in a folder and returns what it printed, and an error with
// what it complained of.
func goCommand(dir string, env []string, args ...string) (string, error) {
	c := exec.Command("go", args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, complaint.String())
	}
	return out.String(), nil
}

// TestPackages: who imports this package compiles next to nothing else.
func TestPackages(t *testing.T) {
	const most = 12
	out, err := goCommand(".", nil, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(out)
	all = all[:len(all)-1] // the last one is this package
	t.Logf("%d packages beside the standard library:\n%s", len(all), strings.Join(all, "\n"))
	if len(all) > most {
		t.Errorf("%d packages beside the standard library, more than %d:\n%s", len(all), most, strings.Join(all, "\n"))
	}
}

const consumer = `package main

import (
	"fmt"
	"os"

	"github.com/tallystick/tallystick/verify"
)

func main() {
	root, err := os.ReadFile("trusted_root.json")
	if err != nil {
		panic(err)
	}
	trust, err := verify.ParseTrustedRoot(root)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%x\n", trust.Digest())
}
`

// TestModules: who imports this package gets next to nothing into go.mod and go.sum.
func TestModules(t *testing.T) {
	const most = 15
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	version, err := goCommand(root, nil, "list", "-m", "-f", "{{.GoVersion}}")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum")) // "go mod tidy" throws out what is not needed
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"main.go": consumer,
		"go.sum":  string(sums),
		"go.mod": "module example.com/consumer\n\ngo " + version + "\nrequire github.com/tallystick/tallystick v0.0.0\n\n" +
			"replace github.com/tallystick/tallystick => " + fmt.Sprintf("%q", root) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"GOFLAGS=-mod=mod", "GOWORK=off", "GOSUMDB=off", "PWD=" + dir}
	if _, err = goCommand(dir, append(env, "GOPROXY=off"), "mod", "tidy"); err != nil {
		_, err = goCommand(dir, env, "mod", "tidy") // a module is not on this machine yet
	}
	if err == nil {
		_, err = goCommand(dir, append(env, "GOPROXY=off"), "vet", ".")
	}
	if err != nil {
		t.Fatal(err)
	}
	if sums, err = os.ReadFile(filepath.Join(dir, "go.sum")); err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(sums)) {
		if name, _, _ := strings.Cut(line, " "); !slices.Contains(modules, name) {
			modules = append(modules, name)
		}
	}
	t.Logf("%d modules in go.sum: %s", len(modules), strings.Join(modules, " "))
	if len(modules) == 0 || len(modules) > most {
		t.Errorf("%d modules in go.sum, not 1 to %d: %s", len(modules), most, strings.Join(modules, " "))
	}
}

// TestNoState: the packages have no init function and no variable that changes. A local
// variable may not have the name of a package's, so that names alone say which is which.
func TestNoState(t *testing.T) {
	for _, dir := range []string{".", "timestamp"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
		var sources [][]byte
		for _, name := range files {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, source)
		}
		if len(files) == 0 {
			t.Errorf("%s: no files", dir)
		}
		for _, fault := range stateOf(t, files, sources) {
			t.Error(fault)
		}
	}
	for source, faults := range map[string]int{
		"var a = errors.New(``); var b = map[string]int{}; func f() { c := a; c = nil; _ = b[``] }": 0,
		"func init() {}":                                                     1,
		"var a int; func f() { a = 1 }":                                      1,
		"var a struct{ b int }; func f() { a.b++ }":                          1,
		"var a map[int]int; func f() { a[0] = 1 }":                           1,
		"var a []int; func f() { for a[0] = range 3 {} }":                    1,
		"var a int; func f() { g(&a) }":                                      1,
		"var a map[int]int; func f() { delete(a, 0); clear(a); copy(a, a) }": 3,
		"var a *int; func f() { *a = 1 }":                                    1,
		"var a sync.Mutex":                                                   1,
		"var a atomic.Int64":                                                 1,
		"var a = 1; func f() { a := 2; _ = a }":                              1,
	} {
		if found := stateOf(t, []string{"x.go"}, [][]byte{[]byte("package x; " + source)}); len(found) != faults {
			t.Errorf("%s: %q", source, found)
		}
	}
}

// stateOf returns what is wrong with the files of a package.
func stateOf(t *testing.T, names []string, sources [][]byte) (faults []string) {
	t.Helper()
	set := token.NewFileSet()
	fault := func(n ast.Node, what string) { faults = append(faults, set.Position(n.Pos()).String()+": "+what) }
	variables := map[string]*ast.Ident{}
	var files []*ast.File
	for i, name := range names {
		f, err := parser.ParseFile(set, name, sources[i], parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					fault(d, "an init function")
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					v, ok := s.(*ast.ValueSpec)
					if !ok || d.Tok != token.VAR {
						continue
					}
					for _, n := range v.Names {
						variables[n.Name] = n
					}
					if of, ok := v.Type.(*ast.SelectorExpr); ok {
						if p, ok := of.X.(*ast.Ident); ok && (p.Name == "sync" || p.Name == "atomic") {
							fault(v, "a variable that is made for changing")
						}
					}
				}
			}
		}
	}
	delete(variables, "_")
	// is reports whether an expression is a package's variable or a part of one.
	is := func(e ast.Expr) bool {
		for {
			switch x := e.(type) {
			case *ast.SelectorExpr:
				e = x.X
			case *ast.IndexExpr:
				e = x.X
			case *ast.SliceExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.Ident:
				return variables[x.Name] != nil
			default:
				return false
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			var changed []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				changed = n.Lhs
			case *ast.IncDecStmt:
				changed = []ast.Expr{n.X}
			case *ast.RangeStmt:
				changed = []ast.Expr{n.Key, n.Value}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					changed = []ast.Expr{n.X}
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear" || f.Name == "copy") {
					changed = n.Args[:1]
				}
			}
			for _, e := range changed {
				if is(e) {
					fault(n, "a package's variable is changed, or shares its name with a local one")
				}
			}
			return true
		})
	}
	return faults
}
