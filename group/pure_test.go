package group

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestShardIsPure reads the package's own source: nothing reads a clock, draws a random number, does I/O, starts a goroutine or waits.
func TestShardIsPure(t *testing.T) {
	imports := map[string]bool{}
	for _, bad := range []string{"os", "io", "net", "sync", "sync/atomic", "context", "math/rand", "math/rand/v2", "crypto/rand", "log/slog", "runtime", "unsafe"} {
		imports[bad] = true
	}
	clock := map[string]bool{"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true, "NewTimer": true, "NewTicker": true, "Sleep": true, "Tick": true}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		seen++
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); imports[path] {
				t.Errorf("%s imports %s", f.Name(), path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType:
				t.Errorf("%s: %T", f.Name(), n)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && clock[n.Sel.Name] {
					t.Errorf("%s: time.%s", f.Name(), n.Sel.Name)
				}
			}
			return true
		})
	}
	if seen < 20 {
		t.Errorf("%d files were read", seen)
	}
}
