package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rustmq/rustmq"

// floors says on which floor each package stands. An import only ever points
// down, or to a package below the importer's own folder.
var floors = map[string]int{
	"":                 6, // main.go
	"cli":              6,
	"cli/bench":        5, // measures through the client
	"node/nodetest":    6,
	"node":             5, // the only package that knows all others
	"broker":           4,
	"admin":            4,
	"partition":        3,
	"metadata":         3,
	"client":           3,
	"raft":             2,
	"tier":             2,
	"tier/filestore":   1, // a driver: below tier, which opens it
	"pki":              2,
	"quicproto/server": 2,
	"quicproto":        1, // frames: below both of their ends
	"api":              1,
	"api/metadata/v1":  1,
	"wal":              1,
	"mq":               0, // the vocabulary imports nothing of ours
}

// never says what a package must not reach, even through others, and why.
var never = []struct{ from, to, because string }{
	{"client", "quicproto/server", "a client links no server code"},
	{"client", "wal", "a client links no server code"},
	{"client", "partition", "a client links no server code"},
	{"quicproto", "github.com/quic-go/quic-go", "frames are the same on any transport"},
	{"mq", "net", "the vocabulary does no I/O"},
	{"partition", "gocloud.dev/blob/s3blob", "only tier opens buckets"},
}

// direct says what a package must not import itself, and why.
var direct = []struct{ from, to, because string }{
	{"metadata", "time", "the state machine has no clock"},
	{"partition", "os", "disk I/O happens in wal only"},
	{"broker", "os", "a broker does no I/O of its own"},
	{"quicproto", "os", "frames do no I/O of their own"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Dir        string
	GoFiles    []string
	Doc        string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,Dir,GoFiles,Doc", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// short is a package's path inside the module; ok is false for others' packages.
func short(path string) (name string, ok bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := short(p.ImportPath)
		if isTestSupport(from) {
			continue
		}
		floor, known := floors[from]
		if !known {
			t.Errorf("package %s stands on no floor: add it to the table, with care", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			to, ours := short(path)
			if !ours || strings.HasPrefix(to, from+"/") && from != "" {
				continue
			}
			if below, known := floors[to]; known && below >= floor && !(from == "" && to == "cli") {
				t.Errorf("%s (floor %d) imports %s (floor %d)", from, floor, to, below)
			}
			if isTestSupport(to) && from != "node/nodetest" {
				t.Errorf("%s imports %s, which is for tests", from, to)
			}
		}
	}
}

// isTestSupport tells packages that only tests may import.
func isTestSupport(name string) bool {
	return name == "wal/crashfs" || name == "wal/walbench" || name == "tier/faultstore" || strings.HasSuffix(name, "test")
}

func TestNeverReached(t *testing.T) {
	for _, p := range packages(t) {
		from, _ := short(p.ImportPath)
		for _, rule := range never {
			if from == rule.from && (slices.Contains(p.Deps, rule.to) || slices.Contains(p.Deps, module+"/"+rule.to)) {
				t.Errorf("%s reaches %s: %s", from, rule.to, rule.because)
			}
		}
		for _, rule := range direct {
			if from == rule.from && slices.Contains(p.Imports, rule.to) && !allowed(p, rule.to) {
				t.Errorf("%s imports %s: %s", from, rule.to, rule.because)
			}
		}
	}
}

// allowed makes room for the one place where the metadata's database is a file, whose library wants a timeout.
func allowed(p listed, path string) bool {
	fset := token.NewFileSet()
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
		if err != nil {
			return false
		}
		imports := func(want string) bool {
			return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"`+want+`"` })
		}
		if imports(path) && !imports("go.etcd.io/bbolt") {
			return false
		}
	}
	return true
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func TestModuleReplacesNothing(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mod), "\nreplace ") {
		t.Error("go.mod has a replace directive: whoever installs the module does not get it")
	}
}

// TestLongestFunctionsAndFiles judges nothing: what it prints usually hides two ideas.
func TestLongestFunctionsAndFiles(t *testing.T) {
	type long struct {
		lines int
		what  string
	}
	var functions, files []long
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		files = append(files, long{fset.Position(file.FileEnd).Line, path})
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1
				functions = append(functions, long{n, fmt.Sprintf("%s in %s", f.Name.Name, path)})
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]long{"functions": functions, "files": files} {
		slices.SortFunc(list, func(a, b long) int { return b.lines - a.lines })
		t.Logf("the longest %s:", name)
		for _, l := range list[:min(10, len(list))] {
			t.Logf("%5d lines: %s", l.lines, l.what)
		}
	}
}
