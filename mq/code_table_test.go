package mq

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// constantsOfCode are the names of all constants of type Code that the package's source has.
func constantsOfCode(t *testing.T) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Code" {
				names = append(names, v.Names[0].Name)
			}
		}
	}
	return names
}

// namesInTable are the constants that the table's rows begin with.
func namesInTable(t *testing.T) (names []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "code.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "codeTable" {
			return true
		}
		for _, row := range spec.Values[0].(*ast.CompositeLit).Elts {
			names = append(names, row.(*ast.CompositeLit).Elts[0].(*ast.Ident).Name)
		}
		return false
	})
	return names
}

// Codes lists what the table has, and every edge tests its mapping by Codes: a constant that is missing in the table would be
// missing everywhere.
func TestEveryCodeIsInTheTable(t *testing.T) {
	constants, rows := constantsOfCode(t), namesInTable(t)
	slices.Sort(constants)
	slices.Sort(rows)
	if len(constants) < 40 || !slices.Equal(constants, rows) {
		t.Errorf("constants %v\nrows %v", constants, rows)
	}
	if got := len(Codes()); got != len(constants) {
		t.Errorf("%d codes are listed, there are %d constants", got, len(constants))
	}
	if Code(4711).String() != "CODE_"+strconv.Itoa(4711) {
		t.Error("a code from a newer peer has no name")
	}
}
