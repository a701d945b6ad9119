package client

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// parseHere parses the Go files of this package, tests or the others.
func parseHere(t *testing.T, tests bool) (files []*ast.File, positions *token.FileSet) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	positions = token.NewFileSet()
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".go") && strings.HasSuffix(name, "_test.go") == tests {
			file, err := parser.ParseFile(positions, name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	return files, positions
}

// receiver is the name of the type that a method is of, empty for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name
	}
	return "?"
}

// TestEveryExportedNameIsDocumented, by a sentence that begins with the name; those of a group of constants or variables may have one together.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	files, positions := parseHere(t, false)
	check := func(name *ast.Ident, doc *ast.CommentGroup, begins bool) {
		if !name.IsExported() {
			return
		}
		if text := strings.TrimSpace(doc.Text()); text == "" || begins && !strings.HasPrefix(text, name.Name+" ") {
			t.Errorf("%s: %s has no doc that begins with its name", positions.Position(name.Pos()), name.Name)
		}
	}
	for _, file := range files {
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if of := receiver(d); of == "" || ast.IsExported(of) {
					check(d.Name, d.Doc, d.Name.Name != "Error" && d.Name.Name != "Unwrap")
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						doc := s.Doc
						if doc == nil {
							doc = d.Doc
						}
						check(s.Name, doc, true)
					case *ast.ValueSpec:
						for _, name := range s.Names {
							check(name, d.Doc, !d.Lparen.IsValid())
						}
					}
				}
			}
		}
	}
}

// TestTutorialNamesExamplesThatAreThere: each part of the package's doc that shows code names examples, and all of them exist; and no example is left out of it.
func TestTutorialNamesExamplesThatAreThere(t *testing.T) {
	tests, _ := parseHere(t, true)
	there := make(map[string]bool)
	for _, file := range tests {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example") {
				there[strings.TrimPrefix(f.Name.Name, "Example")] = false
			}
		}
	}
	files, _ := parseHere(t, false)
	link := regexp.MustCompile(`\[([A-Za-z_.]+)\]`)
	for _, file := range files {
		if file.Doc == nil {
			continue
		}
		parts := strings.Split(file.Doc.Text(), "\n# ")
		if len(parts) < 10 {
			t.Fatalf("the package's doc has %d parts", len(parts))
		}
		for _, part := range parts[1:] {
			title, text, _ := strings.Cut(part, "\n")
			_, named, has := strings.Cut(text, "See the example")
			if !has && strings.Contains(text, "\n\t") {
				t.Errorf("part %q shows code and names no example", title)
			}
			for _, m := range link.FindAllStringSubmatch(named, -1) {
				name := strings.ReplaceAll(m[1], ".", "_")
				if _, exists := there[name]; !exists {
					t.Errorf("part %q names the example of %s, which is not there", title, m[1])
				}
				there[name] = true
			}
		}
	}
	for name, named := range there {
		if base, _, _ := strings.Cut(name, "_invalid"); !named && !there[base] {
			t.Errorf("Example%s is not named in the package's doc", name)
		}
	}
}
