package main

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
)

// architecture is the page that has to agree with the code.
const architecture = "docs/ARCHITECTURE.md"

// section gives the text of a page between a heading of the second level and the next one.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, others, _ := repository(t)
	_, rest, ok := strings.Cut(string(others[page]), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, heading)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

func TestFloorsAreThoseOfTheDocs(t *testing.T) {
	documented := map[string]int{}
	for _, match := range regexp.MustCompile(`(?m)^(\d)  (.+)$`).FindAllStringSubmatch(section(t, architecture, "Floors"), -1) {
		floor, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range strings.Fields(match[2]) {
			documented[strings.TrimSuffix(pkg, "main.go")] = floor
		}
	}
	enforced := map[string]int{}
	for _, f := range floors {
		enforced[f.pkg] = f.floor
		if f.why == "" {
			t.Errorf("package %s has a floor without a reason", f.pkg)
		}
	}
	if !maps.Equal(documented, enforced) {
		t.Errorf("%s says\n%v\nrepo_test.go says\n%v", architecture, documented, enforced)
	}
	sources, _, _ := repository(t)
	for pkg := range enforced {
		if !slices.ContainsFunc(sources, func(s source) bool { return s.pkg == pkg }) {
			t.Errorf("package %q has a floor and is not there", pkg)
		}
	}
}

// measuring are packages that start goroutines for tests and benchmarks only.
var measuring = []string{"cli/bench", "examples/otel", "node/nodetest", "node/nodetest/sim", "testdata/scale", "tier/faultstore", "wal/crashfs", "wal/walbench"}

// TestGoroutinesAreThoseOfTheDocs compares files: who starts one has to say whose it is and how it ends.
func TestGoroutinesAreThoseOfTheDocs(t *testing.T) {
	text := section(t, architecture, "Goroutines")
	text, _, _ = strings.Cut(text, "\nTimers ")
	listed := map[string]bool{}
	for _, match := range regexp.MustCompile("`([a-z/_]+\\.go)` \\|").FindAllStringSubmatch(text, -1) {
		listed[match[1]] = true
	}
	starting := map[string]bool{}
	sources, _, _ := repository(t)
	for _, s := range sources {
		if s.test || slices.Contains(measuring, s.pkg) || strings.HasPrefix(s.pkg, "testdata/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				starting[s.path] = true
			case *ast.CallExpr:
				if call, ok := n.Fun.(*ast.SelectorExpr); ok && call.Sel.Name == "Go" {
					starting[s.path] = true
				}
			}
			return true
		})
	}
	for name := range starting {
		if !listed[name] {
			t.Errorf("%s starts a goroutine that the table in %s does not have", name, architecture)
		}
	}
	for name := range listed {
		if !starting[name] {
			t.Errorf("the table of goroutines in %s has %s, which starts none", architecture, name)
		}
	}
}

// TestDocsNameWhatIsThere follows links between pages and the paths of files that they name.
func TestDocsNameWhatIsThere(t *testing.T) {
	_, others, _ := repository(t)
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	file := regexp.MustCompile("`([a-z0-9]+(?:/[a-z0-9_]+)+\\.go)`")
	for name, text := range others {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, match := range link.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(path.Join(path.Dir(name), string(match[1]))); err != nil {
				t.Errorf("%s links to %s: %v", name, match[1], err)
			}
		}
		for _, match := range file.FindAllSubmatch(text, -1) {
			if _, err := os.Stat(string(match[1])); err != nil {
				t.Errorf("%s names %s: %v", name, match[1], err)
			}
		}
	}
}

func TestDecisionsAreNumberedAndListed(t *testing.T) {
	_, others, _ := repository(t)
	index := string(others["docs/decisions/README.md"])
	var names []string
	for name := range others {
		if dir, base := path.Split(name); dir == "docs/decisions/" && base != "README.md" {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		number := fmt.Sprintf("%04d", i+1)
		text := string(others["docs/decisions/"+name])
		if !strings.HasPrefix(name, number+"-") || !strings.HasPrefix(text, "# "+number+": ") {
			t.Errorf("%s: want number %s, in its name and its title", name, number)
		}
		if !strings.Contains(index, "]("+name+")") {
			t.Errorf("%s is not in the index", name)
		}
		for _, part := range []string{"**Decided.**", "**Why", "**Rejected.**"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no part %s", name, part)
			}
		}
	}
	if len(names) == 0 {
		t.Error("there are none")
	}
}

// TestGeneratedCodeHasTheFieldsOfItsSource finds what was forgotten to generate. That it is the same to the byte, .ci/run finds: that needs buf.
func TestGeneratedCodeHasTheFieldsOfItsSource(t *testing.T) {
	_, others, _ := repository(t)
	number := regexp.MustCompile(`(?m)^[^/]*?\b(\w+)\s*=\s*(\d+)\s*(?:\[[^\]]*\])?;`)
	for name, file := range map[string]protoreflect.FileDescriptor{
		"api/metadata/v1/command.proto": metadatapb.File_metadata_v1_command_proto,
		"api/metadata/v1/record.proto":  metadatapb.File_metadata_v1_record_proto,
	} {
		var written, generated []string
		for _, match := range number.FindAllSubmatch(others[name], -1) {
			written = append(written, fmt.Sprintf("%s = %s", match[1], match[2]))
		}
		for i := range file.Enums().Len() {
			generated = append(generated, enumValues(file.Enums().Get(i))...)
		}
		for i := range file.Messages().Len() {
			generated = append(generated, fieldsOf(file.Messages().Get(i))...)
		}
		slices.Sort(written)
		slices.Sort(generated)
		if len(written) == 0 || !slices.Equal(written, generated) {
			t.Errorf("%s has %v\nthe code generated from it has %v\nrun task generate", name, written, generated)
		}
	}
}

func fieldsOf(m protoreflect.MessageDescriptor) []string {
	var out []string
	if m.IsMapEntry() {
		return nil
	}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		out = append(out, fmt.Sprintf("%s = %d", f.Name(), f.Number()))
	}
	for i := range m.Enums().Len() {
		out = append(out, enumValues(m.Enums().Get(i))...)
	}
	for i := range m.Messages().Len() {
		out = append(out, fieldsOf(m.Messages().Get(i))...)
	}
	return out
}

func enumValues(e protoreflect.EnumDescriptor) []string {
	var out []string
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		out = append(out, fmt.Sprintf("%s = %d", v.Name(), v.Number()))
	}
	return out
}
