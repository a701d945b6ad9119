package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/rustmq/rustmq"

// floors is the import policy: an import only ever points down, or within one family of directories on the same
// floor. A package that is not in the table may not exist.
var floors = []struct {
	pkg   string // directory, "" for the root
	floor int
	why   string
}{
	{"", 6, "the program"},
	{"cli", 6, "words into calls, results into text"},
	{"cli/bench", 5, "measures through the public client"},
	{"cli/verify", 5, "a workload through the public client, and what its history says"},
	{"node/nodetest", 6, "a whole node in one test process"},
	{"node/nodetest/sim", 6, "a whole cluster in virtual time, to which harm is done by a seed"},
	{"testdata/scale", 6, "measures a server as clients see it"},
	{"examples/otel", 6, "for people to read: traces over records, in a module of its own"},
	{"testdata/kfake", 6, "franz-go's broker in memory, to measure beside ours"},
	{"testdata/kafka-clients", 6, "Kafka's own clients, in a module of its own"},
	{"testdata/propose", 6, "speaks to the controllers as a program of another feature level"},
	{"node", 5, "the only package that knows all others: composes, reconciles"},
	{"broker", 4, "what a request means"},
	{"broker/coordinator", 4, "hosts the coordinators of groups on the partitions that hold their state"},
	{"replication", 4, "streams from leaders to followers, in-sync sets"},
	{"admin", 4, "HTTP: health, metrics"},
	{"gateway", 4, "the services of rustmq.v1: a client of the cluster inside a broker's process"},
	{"control", 4, "between brokers and controllers: proposals, images, leases"},
	{"partition", 3, "one topic-partition"},
	{"metadata", 3, "pure replicated state"},
	{"client", 3, "the Go client library"},
	{"raft", 2, "the replicated log on the WAL"},
	{"group", 2, "consumer groups: a state machine"},
	{"raft/form", 1, "how controllers become one group, once"},
	{"raft/transport", 2, "what controllers say to each other over Connect"},
	{"tier", 2, "objects in a bucket"},
	{"tier/filestore", 1, "the durable driver of file:// buckets"},
	{"tier/faultstore", 2, "a bucket that fails, for tests"},
	{"tier/clouds", 2, "the stores of the clouds, on their SDKs"},
	{"tier/storetest", 2, "servers of object stores on loopback, for tests"},
	{"pki", 2, "authority and certificates"},
	{"pki/join", 2, "a new node's certificate, for a token"},
	{"quicproto", 1, "frames of the native protocol: below both of their ends"},
	{"quicproto/udp", 1, "sockets for both ends of the native protocol"},
	{"quicproto/transport", 1, "what sessions go over: QUIC, or TLS on TCP"},
	{"quicproto/server", 2, "listener and sessions: declares the broker it needs"},
	{"kafkaproto", 2, "Kafka's protocol: declares the broker it needs"},
	{"mq", 0, "the vocabulary: imports nothing of ours"},
	{"history", 1, "what clients did and were told, and what of it is wrong"},
	{"directio", 0, "what the log and the directory of objects share to go past the page cache"},
	{"wal", 1, "the log of opaque entries, the file-system seam"},
	{"wal/crashfs", 1, "a file system that crashes, for tests"},
	{"wal/walbench", 1, "the WAL alone against a raw group-commit loop"},
	{"api", 1, "the .proto files"},
	{"api/metadata/v1", 1, "generated from them"},
	{"api/replication/v1", 1, "generated from them"},
	{"api/group/v1", 1, "generated from them"},
	{"api/admin/v1", 1, "likewise: what operators ask"},
	{"api/rustmq/v1", 1, "likewise: the public API"},
	{"api/rustmq/v1/rustmqpbconnect", 1, "generated from them"},
	{"api/raft/v1", 1, "generated from them"},
	{"api/raft/v1/raftpbconnect", 1, "generated from them"},
	{"api/join/v1", 1, "generated from them"},
	{"api/join/v1/joinpbconnect", 1, "generated from them"},
	{"api/control/v1", 2, "generated from them, with messages of api/metadata/v1 inside"},
	{"api/control/v1/controlpbconnect", 2, "generated from them"},
	{"api/rpcerr", 1, "mq's errors over Connect and back"},
}

// neverReaches are rules about everything that a package is built from.
var neverReaches = []struct {
	pkg  string
	what []string
	why  string
}{
	{"client", []string{"node", "broker", "partition", "metadata", "raft", "tier", "wal", "quicproto/server"}, "whoever links the client links no server code"},
	{"mq", []string{"wal", "api"}, "the vocabulary depends on nothing"},
	{"metadata", []string{"quicproto", "tier", "partition", "net", "net/http"}, "commands in, Image out"},
	{"group", []string{"quicproto", "metadata", "partition", "wal", "net"}, "requests and time in, effects out"},
	{"partition", []string{"quicproto", "metadata", "net/http", "tier/clouds"}, "a partition knows no protocol and no cluster"},
	{"control", []string{"partition", "tier", "quicproto"}, "who leads what, and not what a leader does"},
	{"broker", []string{"net/http", "cli"}, "sockets belong to the front doors"},
	{"gateway", []string{"broker", "partition", "metadata", "wal", "tier", "quicproto/server"}, "it does what any client does, by the same way"},
	{"quicproto", []string{"metadata", "partition", "wal"}, "frames speak in mq terms only"},
	{"quicproto", []string{"github.com/quic-go/quic-go", "os"}, "frames are the same on any transport"},
	{"mq", []string{"net", "os"}, "the vocabulary does no I/O"},
	{"quicproto/server", []string{"metadata", "partition", "wal", "tier"}, "a front door declares what it needs in mq terms"},
	{"kafkaproto", []string{"metadata", "partition", "wal", "tier", "quicproto"}, "likewise, and the two front doors know nothing of each other"},
	{"", []string{"wal/crashfs", "tier/faultstore", "tier/storetest", "node/nodetest", "testing"}, "what fails on purpose is not in the program"},
}

// neverImports are rules about a package's own files.
var neverImports = []struct {
	pkg, what, why string
}{
	{"metadata", "time", "the state machine has no clock: time is in its commands"},
	{"metadata", "math/rand", "all replicas decide the same"},
	{"metadata", "math/rand/v2", "all replicas decide the same"},
	{"group", "math/rand", "ids come with the requests"},
	{"group", "math/rand/v2", "ids come with the requests"},
}

// fileUsers may touch files: everyone else goes through the seam in wal.
var fileUsers = map[string]string{
	"wal":            "the seam itself",
	"tier/filestore": "the file:// bucket",
	"tier":           "object dump and check of a file",
	"tier/clouds":    "credentials",
	"tier/storetest": "the directories of the servers",
	"metadata":       "bbolt's file and its snapshots",
	"pki":            "keys and certificates",
	"node":           "the configuration file",
	"node/nodetest":  "the directory of a node under test",
	"testdata/scale": "the directory of a server that is measured, and /proc",
	"client":         "the certificates that options name",
	"cli":            "inputs, profiles, logs to inspect",
	"cli/bench":      "the machine's own bounds",
	"wal/walbench":   "the machine's own bounds",
}

var fileFunctions = map[string]bool{
	"Open": true, "OpenFile": true, "Create": true, "CreateTemp": true, "ReadFile": true, "WriteFile": true, "Remove": true, "RemoveAll": true,
	"Rename": true, "Mkdir": true, "MkdirAll": true, "MkdirTemp": true, "Truncate": true, "Link": true, "Symlink": true, "ReadDir": true, "Chtimes": true,
}

// source is one Go file of the repository.
type source struct {
	path string // slash-separated, from the root
	pkg  string // its directory, "" for the root
	test bool
	text []byte
	file *ast.File
}

func (s source) generated() bool {
	return strings.HasSuffix(s.path, ".pb.go") || strings.HasSuffix(s.path, ".connect.go")
}

// repository gives what [readRepository] read, once for all tests.
func repository(t *testing.T) (sources []source, others map[string][]byte, positions *token.FileSet) {
	t.Helper()
	tree, err := repositoryOnce()
	if err != nil {
		t.Fatal(err)
	}
	return tree.sources, tree.others, tree.positions
}

var repositoryOnce = sync.OnceValues(readRepository)

type tree struct {
	sources   []source
	others    map[string][]byte // text that is not Go
	positions *token.FileSet
}

// readRepository reads all files of the repository that are text, and parses those of Go.
func readRepository() (tree, error) {
	positions, others := token.NewFileSet(), map[string][]byte{}
	var sources []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base == ".git" || base == "rustmq-data" || base == "dist" || base == "fuzz" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || d.Name() == ".git" { // a file in a second worktree
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if !strings.HasSuffix(name, ".go") {
			if !bytes.Contains(text, []byte{0}) {
				others[name] = text
			}
			return nil
		}
		file, err := parser.ParseFile(positions, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := path.Dir(name)
		if pkg == "." {
			pkg = ""
		}
		sources = append(sources, source{path: name, pkg: pkg, test: strings.HasSuffix(name, "_test.go"), text: text, file: file})
		return nil
	})
	return tree{sources, others, positions}, err
}

// imports are a file's, ours as directories.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if p == module {
			p = ""
		}
		paths = append(paths, strings.TrimPrefix(p, module+"/"))
	}
	return paths
}

func TestImportsOnlyPointDown(t *testing.T) {
	floor := map[string]int{}
	for _, f := range floors {
		floor[f.pkg] = f.floor
	}
	sources, _, _ := repository(t)
	for _, s := range sources {
		if s.test {
			continue
		}
		mine, ok := floor[s.pkg]
		if !ok {
			t.Errorf("%s: package %s has no floor: give it one in the table, with its reason", s.path, s.pkg)
			continue
		}
		for _, p := range s.imports() {
			theirs, ours := floor[p]
			family := strings.HasPrefix(p+"/", s.pkg+"/") || strings.HasPrefix(s.pkg+"/", p+"/") || s.pkg == ""
			if ours && (theirs > mine || theirs == mine && !family) {
				t.Errorf("%s: %s (floor %d) imports %s (floor %d): an import only ever points down", s.path, s.pkg, mine, p, theirs)
			}
		}
	}
}

func TestPackagesNeverReachWhatTheyMustNot(t *testing.T) {
	sources, _, _ := repository(t)
	direct := map[string][]string{}
	for _, s := range sources {
		if !s.test {
			direct[s.pkg] = append(direct[s.pkg], s.imports()...)
		}
	}
	for _, rule := range neverReaches {
		via := map[string]string{rule.pkg: ""}
		queue := []string{rule.pkg}
		for len(queue) > 0 {
			pkg := queue[0]
			queue = queue[1:]
			for _, p := range direct[pkg] {
				if _, seen := via[p]; !seen {
					via[p] = via[pkg] + " -> " + p
					queue = append(queue, p)
				}
			}
		}
		for _, what := range rule.what {
			if chain, reached := via[what]; reached {
				t.Errorf("%s reaches %s (%s%s): %s", rule.pkg, what, rule.pkg, chain, rule.why)
			}
		}
	}
	for _, rule := range neverImports {
		for _, s := range sources {
			imports := s.imports()
			// The one file that opens the database needs a timeout for its library.
			if !s.test && s.pkg == rule.pkg && slices.Contains(imports, rule.what) && !slices.Contains(imports, "go.etcd.io/bbolt") {
				t.Errorf("%s imports %s: %s", s.path, rule.what, rule.why)
			}
		}
	}
}

func TestFilesAreTouchedInFewPackages(t *testing.T) {
	sources, _, positions := repository(t)
	for _, s := range sources {
		if s.test || fileUsers[s.pkg] != "" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "os" && fileFunctions[call.Sel.Name] {
				t.Errorf("%s: os.%s in package %s: files are touched through the seam in wal", positions.Position(n.Pos()), call.Sel.Name, s.pkg)
			}
			return true
		})
	}
}

func TestEveryPackageHasADoc(t *testing.T) {
	sources, _, _ := repository(t)
	doc, files := map[string]int{}, map[string]int{}
	for _, s := range sources {
		if !s.test {
			files[s.pkg]++
		}
	}
	for _, s := range sources {
		if s.test || s.generated() {
			continue
		}
		doc[s.pkg] += 0
		if s.file.Doc == nil {
			continue
		}
		if files[s.pkg] > 1 && path.Base(s.path) != "doc.go" {
			t.Errorf("%s has a package comment: it belongs into doc.go", s.path)
		}
		text := s.file.Doc.Text()
		if !strings.HasPrefix(text, "Package "+s.file.Name.Name+" ") && !strings.HasPrefix(text, "Command ") {
			t.Errorf("%s: the package comment does not begin with %q", s.path, "Package "+s.file.Name.Name)
		}
		doc[s.pkg]++
	}
	for pkg, n := range doc {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1", pkg, n)
		}
	}
}

// limits and promises are how a package's doc says what it is not for and what must stay true.
var (
	limitsOfPackage   = regexp.MustCompile(`(?m)\b(does not|do not|[Nn]ot here|decides nothing|knows nothing)\b`)
	promisesOfPackage = regexp.MustCompile(`(?m)^# (Invariants|What (it promises|is promised))$`)
)

func TestPackageDocsSayWhatIsNotThereAndWhatMustHold(t *testing.T) {
	sources, _, _ := repository(t)
	generated := map[string]bool{}
	for _, s := range sources {
		generated[s.pkg] = generated[s.pkg] || s.generated()
	}
	for _, s := range sources {
		if s.test || s.file.Doc == nil || generated[s.pkg] || s.file.Name.Name == "main" { // nobody imports a command
			continue
		}
		text := s.file.Doc.Text()
		if !limitsOfPackage.MatchString(text) {
			t.Errorf("%s: the package's doc does not say what it does not do", s.path)
		}
		if !promisesOfPackage.MatchString(text) {
			t.Errorf("%s: the package's doc has no section of invariants", s.path)
		}
	}
}

func TestNothingIsLeftUndone(t *testing.T) {
	// In pieces, so that this file does not hold them itself.
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", `panic("not ` + `yet")`}
	sources, _, positions := repository(t)
	for _, s := range sources {
		if s.generated() {
			continue
		}
		for _, mark := range marks {
			if bytes.Contains(s.text, []byte(mark)) {
				t.Errorf("%s holds %s", s.path, mark)
			}
		}
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init: what must happen is called by whoever needs it", positions.Position(f.Pos()))
			}
		}
	}
}

func TestNoFileNamesAMachine(t *testing.T) {
	words := []string{"/wo" + "rk/", "/ro" + "ot/", "/tmp/" + "rmq", "proxy.golang" + ".org", "/home/" + "user"}
	sources, others, _ := repository(t)
	check := func(name string, text []byte) {
		for _, word := range words {
			if bytes.Contains(text, []byte(word)) {
				t.Errorf("%s names %s, which is there on one machine only", name, word)
			}
		}
	}
	for name, text := range others {
		check(name, text)
	}
	for _, s := range sources {
		check(s.path, s.text)
	}
}

// TestScriptsParse: those that measure run seldom, and not in CI.
func TestScriptsParse(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	_, others, _ := repository(t)
	found := 0
	for name, text := range others {
		if path.Ext(name) != ".sh" {
			continue
		}
		found++
		check := exec.Command(bash, "-n")
		check.Stdin = bytes.NewReader(text)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	if found < 5 {
		t.Errorf("%d scripts were found", found)
	}
}

// TestDocsNameTestsThatExist: a rule or an incident without its test would be one that may come back.
func TestDocsNameTestsThatExist(t *testing.T) {
	sources, _, _ := repository(t)
	exist := make(map[string]bool)
	for _, s := range sources {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				exist[f.Name.Name] = true
			}
		}
	}
	for _, name := range []string{"docs/ARCHITECTURE.md", "docs/incidents.md", "docs/proof.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`((Test|Fuzz)[A-Za-z0-9]+)").FindAllSubmatch(text, -1)
		if len(named) == 0 {
			t.Errorf("%s names no test", name)
		}
		for _, m := range named {
			if !exist[string(m[1])] {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
}

func TestGoModIsPlain(t *testing.T) {
	for _, name := range []string{"go.mod", "tools/go.mod"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "replace" || word == "exclude" {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// TestLongestFunctionsAndFiles judges nothing: a function past 70 lines or a file past 600 usually hides two ideas.
func TestLongestFunctionsAndFiles(t *testing.T) {
	type length struct {
		name  string
		lines int
	}
	var functions, files []length
	sources, _, positions := repository(t)
	for _, s := range sources {
		if s.generated() {
			continue
		}
		files = append(files, length{s.path, bytes.Count(s.text, []byte{'\n'})})
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && !s.test {
				lines := positions.Position(f.End()).Line - positions.Position(f.Pos()).Line + 1
				functions = append(functions, length{fmt.Sprintf("%s: %s", s.path, f.Name.Name), lines})
			}
		}
	}
	for title, list := range map[string][]length{"functions": functions, "files": files} {
		slices.SortFunc(list, func(a, b length) int { return cmp.Or(b.lines-a.lines, strings.Compare(a.name, b.name)) })
		t.Logf("longest %s:", title)
		for _, l := range list[:min(10, len(list))] {
			t.Logf("  %4d  %s", l.lines, l.name)
		}
	}
}
