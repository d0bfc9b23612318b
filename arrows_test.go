package tallystick

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tallystick/tallystick"

// room says what one folder may import. The table is the one in DESIGN.md; change
// both together.
type room struct {
	ours   []string // rooms of ours
	others []string // modules of others, by prefix; everything in std is free
}

var rooms = map[string]room{
	"tlog":             {nil, []string{"github.com/transparency-dev/merkle", "golang.org/x/mod/sumdb/note"}},
	"sig":              {[]string{"sig/strictjson"}, nil},
	"sig/strictjson":   {nil, nil},
	"entry":            {[]string{"tlog", "sig", "sig/strictjson"}, nil},
	"verify":           {[]string{"tlog", "sig", "sig/strictjson"}, []string{"golang.org/x/mod/sumdb/note"}},
	"verify/timestamp": {[]string{"verify"}, []string{"github.com/sigstore/timestamp-authority/v2"}},
	"trust":            {[]string{"verify", "sig"}, []string{"go.yaml.in/yaml/v3"}},
	"trust/tufrepo":    {[]string{"trust"}, []string{"github.com/theupdateframework/go-tuf/v2", "github.com/sigstore/sigstore"}},
	"client":           {[]string{"verify", "entry", "tlog", "sig", "sig/strictjson"}, nil},
	"monitor": {[]string{"client", "verify", "entry", "tlog", "sig", "sig/strictjson", "internal/strictyaml", "internal/plaintext"}, []string{"go.yaml.in/yaml/v3",
		"github.com/prometheus/client_golang"}},
	"monitor/notify": {[]string{"monitor", "internal/strictyaml", "internal/plaintext"}, []string{"go.yaml.in/yaml/v3", "github.com/prometheus/client_golang"}},
	"registry":       {[]string{"verify", "sig/strictjson"}, []string{"github.com/google/go-containerregistry"}},
	"admission": {[]string{"verify", "registry", "sig", "sig/strictjson", "internal/strictyaml", "internal/plaintext"}, []string{"github.com/google/go-containerregistry", "go.yaml.in/yaml/v3",
		"github.com/prometheus/client_golang"}},
	"storage":                 {[]string{"tlog"}, nil},
	"internal/forge":          {[]string{"tlog"}, nil},
	"internal/plaintext":      {nil, nil},
	"internal/strictyaml":     {[]string{"internal/plaintext"}, []string{"go.yaml.in/yaml/v3"}},
	"migrations":              {nil, nil},
	"storage/memory":          {[]string{"storage", "tlog"}, nil},
	"storage/sqlite":          {[]string{"storage", "tlog", "migrations"}, []string{"modernc.org/sqlite"}},
	"storage/postgres":        {[]string{"storage", "tlog", "migrations"}, []string{"github.com/jackc/pgx/v5"}},
	"storage/postgres/pgtest": {nil, []string{"github.com/jackc/pgx/v5", "golang.org/x/sys"}},
	"storage/storagetest":     {[]string{"storage", "tlog"}, []string{"golang.org/x/sync"}},
	"keys":                    {[]string{"tlog", "sig"}, []string{"github.com/sigstore/sigstore"}},
	"sequencer":               {[]string{"storage", "tlog"}, []string{"golang.org/x/mod/sumdb/note", "golang.org/x/sync", "github.com/hashicorp/golang-lru/v2"}},
	"openapi":                 {[]string{"tlog"}, []string{"github.com/go-openapi/strfmt"}},
	"openapi/openapitest":     {[]string{"openapi"}, []string{"github.com/getkin/kin-openapi"}},
	"server": {[]string{"entry", "sig", "tlog", "openapi", "storage", "search", "server/ui"}, []string{"github.com/go-chi/chi/v5", "github.com/prometheus/client_golang",
		"github.com/hashicorp/golang-lru/v2", "golang.org/x/sync"}},
	"server/ui":      {[]string{"search", "entry", "sig", "sig/strictjson", "tlog"}, []string{"rsc.io/qr"}},
	"search":         {[]string{"storage", "entry", "sig", "sig/strictjson", "tlog"}, nil},
	"check":          {[]string{"storage", "entry", "tlog"}, []string{"golang.org/x/mod/sumdb/note"}},
	"loadtest":       {[]string{"*"}, []string{"*"}},
	"cmd/tallystick": {[]string{"*"}, []string{"*"}},
}

// Arrows point down only: every import of every room is in its row, every room has
// a row, and the lower rooms keep no state and touch neither process nor environment.
func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || file == "e2e" || strings.HasPrefix(d.Name(), ".") && file != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		name := path.Dir(filepath.ToSlash(file))
		r, ok := rooms[name]
		if !ok {
			t.Errorf("%s: there is no row for the room %s", file, name)
			return nil
		}
		seen[name] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			to, _ := strconv.Unquote(i.Path.Value)
			if !r.allows(to) {
				t.Errorf("%s: %s may not import %s", file, name, to)
			}
		}
		if !strings.HasPrefix(name, "cmd/") && name != "loadtest" && name != "storage/postgres/pgtest" {
			checkManners(t, file, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("the room %s has a row, but no code", name)
		}
	}
}

func (r room) allows(to string) bool {
	if rest, ok := strings.CutPrefix(to, module+"/"); ok {
		return slices.Contains(r.ours, rest) || slices.Contains(r.ours, "*")
	}
	if first, _, _ := strings.Cut(to, "/"); !strings.Contains(first, ".") {
		return to != "flag" || slices.Contains(r.ours, "*")
	}
	return slices.ContainsFunc(r.others, func(m string) bool { return m == "*" || to == m || strings.HasPrefix(to, m+"/") })
}

// checkManners refuses what a library may not do: end the process, read its
// environment, or run code before main.
func checkManners(t *testing.T, file string, f *ast.File) {
	t.Helper()
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				t.Errorf("%s: has an init function", file)
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch x.Name + "." + n.Sel.Name {
			case "os.Exit", "log.Fatal", "log.Fatalf", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Args":
				t.Errorf("%s: uses %s.%s", file, x.Name, n.Sel.Name)
			}
		}
		return true
	})
}
