package metadata

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestStateMachineIsPure reads the package's own source: nothing imports a clock or a random source, and files that decide
// something use no map, do no I/O and start no goroutine. What they do is then the same on every machine.
func TestStateMachineIsPure(t *testing.T) {
	edges := map[string]bool{ // the store, not the machine
		"bolt.go": true, "store.go": true, "load.go": true, "snapshot.go": true, "watch.go": true, "index.go": true, "store_refound.go": true, "store_mount.go": true,
	}
	nowhere := []string{"time", "math/rand", "math/rand/v2", "crypto/rand", "net", "context"}
	notInside := []string{"os", "io", "io/fs", "sync", "sync/atomic", "log/slog", "bufio", "go.etcd.io/bbolt", "maps", "unsafe", "runtime"}
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
			path, _ := strconv.Unquote(i.Path.Value)
			for _, bad := range nowhere {
				if path == bad {
					t.Errorf("%s imports %s", f.Name(), path)
				}
			}
			for _, bad := range notInside {
				if path == bad && !edges[f.Name()] {
					t.Errorf("%s imports %s, and is part of the state machine", f.Name(), path)
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.MapType:
				t.Errorf("%s has a map: the order in which it is gone through is no order", f.Name())
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", f.Name())
			case *ast.SelectStmt:
				if !edges[f.Name()] {
					t.Errorf("%s selects", f.Name())
				}
			}
			return true
		})
	}
	if seen < 15 {
		t.Errorf("only %d files were looked at", seen)
	}
}
