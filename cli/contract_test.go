package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/rustmq/rustmq/node"
)

// TestFlagsOfTheContractAreThere: scripts rely on these names and defaults. More flags may come, these stay.
func TestFlagsOfTheContractAreThere(t *testing.T) {
	connection := "server=127.0.0.1:9092 profile ca cert timeout=30s"
	want := map[string]string{
		"serve": "config roles=broker,controller data-dir=./rustmq-data node-id=1 listen=127.0.0.1:9092 rpc-listen=127.0.0.1:9093 " +
			"admin-listen=127.0.0.1:9642 advertise object-store pki",
		"topic create":            "partitions replicas config key " + connection,
		"topic list":              "output=table o key " + connection,
		"topic describe":          "output=table o key " + connection,
		"topic alter":             "config key " + connection,
		"topic fork":              "at=end o=table key " + connection,
		"topic trim":              "before partition o=table key " + connection,
		"topic delete":            "key " + connection,
		"group list":              "output=table o key " + connection,
		"group describe":          "output=table o key " + connection,
		"group delete":            "key " + connection,
		"group reset":             "topic to dry-run partition o=table key " + connection,
		"produce":                 "key-separator key H partition acks=all compression=none rate key-file " + connection,
		"consume":                 "from=start to group partition n follow f isolation=committed key " + connection,
		"bench":                   "limits size=1KiB producers=16 window=256 records duration topic o=table key " + connection,
		"wal dump":                "o=table",
		"wal check":               "o=table",
		"object dump":             "o=table object-store",
		"object check":            "o=table object-store",
		"object probe":            "o=table",
		"raft dump":               "o=table",
		"raft check":              "o=table",
		"ctl ca join-token":       "node-id pki=rustmq-data/pki rpc=127.0.0.1:9093 address ttl o=table",
		"ctl cluster upgrade":     "feature-level dry-run o=table key " + connection,
		"ctl cluster restore":     "object-store data-dir node-id cluster config o=table",
		"ctl cluster mount":       "object-store data-dir node-id cluster config o=table",
		"ctl tier status":         "topic o=table key " + connection,
		"ctl tier scrub":          "delete older-than o=table key " + connection,
		"ctl tier verify":         "object-store cluster config o=table",
		"ctl partition replicate": "replicas dry-run wait o=table key " + connection,
		"ctl partition elect":     "all unclean leader dry-run o=table key " + connection,
		"config print":            "defaults o config node-id",
		"config validate":         "",
		"config docs":             "",
		"version":                 "o=table",
		"completion":              "",
	}
	a, _, _ := testApp()
	leaves(nil, a.commands().Commands, func(path []string, c *cli.Command) {
		flags, ok := want[strings.Join(path, " ")]
		if !ok {
			return
		}
		delete(want, strings.Join(path, " "))
		for item := range strings.FieldsSeq(flags) {
			name, def, _ := strings.Cut(item, "=")
			i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
			if i < 0 {
				t.Errorf("%v has no flag %s", path, dashes(name))
				continue
			}
			if help := strings.Join(strings.Fields(flagHelp(c.Flags[i])), " "); def != "" && !strings.Contains(help, "(default: "+def) && !strings.Contains(help, "(default "+def) {
				t.Errorf("%v %s: the default is not %s: %s", path, dashes(name), def, help)
			}
		}
	})
	for path := range want {
		t.Errorf("there is no command %s", path)
	}
}

// TestServeTakesTheEnvironmentOfClients: what is exported for the client commands does not keep a node from starting.
func TestServeTakesTheEnvironmentOfClients(t *testing.T) {
	a, _, _ := testApp()
	names := map[string]bool{}
	leaves(nil, a.commands().Commands, func(_ []string, c *cli.Command) {
		for _, f := range c.Flags {
			for _, m := range regexp.MustCompile(`\[\$(\w+)\]`).FindAllStringSubmatch(flagHelp(f), -1) {
				names[m[1]] = true
			}
		}
	})
	if len(names) < 8 {
		t.Errorf("only %d names: %v", len(names), names)
	}
	for name := range names {
		if _, err := node.Load(node.Sources{Environ: []string{name + "=x"}}); err != nil && strings.Contains(err.Error(), "unknown setting") {
			t.Error(err)
		}
	}
}

// TestConnectionIsFlagThenEnvironmentThenProfile, for each of the settings that client commands share.
func TestConnectionIsFlagThenEnvironmentThenProfile(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "rustmq", "profiles.toml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "[mine]\nserver = [\"p:1\"]\nca = \"/p/ca\"\ncert = \"/p/cert\"\nkey = \"/p/key\"\nrack = \"p\"\ntransport = \"quic\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"RUSTMQ_SERVER=e:1,e:2", "RUSTMQ_CA=/e/ca", "RUSTMQ_CERT=/e/cert", "RUSTMQ_KEY=/e/key", "RUSTMQ_RACK=e", "RUSTMQ_TRANSPORT=tcp", "RUSTMQ_TIMEOUT=7s"}
	flags := "--server f:1 --server f:2 --ca /f/ca --cert /f/cert --rack f --transport auto --timeout 9s "
	for _, tc := range []struct {
		environ []string
		args    string
		want    string
	}{
		{nil, "topic list", "127.0.0.1:9092 - - - - auto 30s"},
		{nil, "topic list --profile mine", "p:1 /p/ca /p/cert /p/key p quic 30s"},
		{[]string{"RUSTMQ_PROFILE=mine"}, "topic list", "p:1 /p/ca /p/cert /p/key p quic 30s"},
		{[]string{"RUSTMQ_PROFILE=other"}, "topic list --profile mine", "p:1 /p/ca /p/cert /p/key p quic 30s"},
		{[]string{"RUSTMQ_PROFILE=mine", "RUSTMQ_CA=/e/ca"}, "topic list", "p:1 /e/ca /p/cert /p/key p quic 30s"},
		{append([]string{"RUSTMQ_PROFILE=mine"}, environ...), "topic list", "e:1,e:2 /e/ca /e/cert /e/key e tcp 7s"},
		{environ, "topic list " + flags + "--key /f/key", "f:1,f:2 /f/ca /f/cert /f/key f auto 9s"},
		{environ, "consume orders " + flags + "--key-file /f/key", "f:1,f:2 /f/ca /f/cert /f/key f auto 9s"},
		{environ, "produce orders --key a " + flags + "--key-file /f/key", "f:1,f:2 /f/ca /f/cert /f/key f auto 9s"},
		{environ, "bench latency --key /f/key " + flags, "f:1,f:2 /f/ca /f/cert /f/key f auto 9s"},
	} {
		a, _, _ := testApp(append([]string{"XDG_CONFIG_HOME=" + home}, tc.environ...)...)
		root := a.commands()
		var got string
		leaves(nil, root.Commands, func(_ []string, c *cli.Command) {
			c.Action = func(ctx *cli.Context) error {
				conn, err := a.connection(ctx, defaultTimeout)
				got = strings.Join([]string{strings.Join(conn.Server, ","), or(conn.CA, "-"), or(conn.Cert, "-"), or(conn.Key, "-"), or(conn.Rack, "-"), conn.over.String(), conn.timeout.String()}, " ")
				return err
			}
		})
		args := append([]string{"rustmq"}, strings.Fields(tc.args)...)
		if err := root.RunContext(t.Context(), reorder(root.Commands, args)); err != nil || got != tc.want {
			t.Errorf("%q %s\n got %s, %v\nwant %s", tc.environ, tc.args, got, err, tc.want)
		}
	}
}

var (
	jsonKey = regexp.MustCompile(`"([^"\\]+)":`)
	// measured are words in a key for what has a unit, and unit what such a key must end in.
	measured = regexp.MustCompile(`size|elapsed|duration|(^|_)age$|(^|_)lag|latency|bytes|delay`)
	unit     = regexp.MustCompile(`_(bytes|ms|us|records)$`)
)

// TestWhatIsListedOrDescribedHasThreeFormats runs everything that lists or describes something, on one node.
func TestWhatIsListedOrDescribedHasThreeFormats(t *testing.T) {
	n := startNode(t, "RUSTMQ_OBJECT_STORE_FLUSH_AGE=10ms")
	n.must("", "topic", "create", "orders", "--partitions", "2")
	n.must("one\ntwo\n", "produce", "orders", "--acks", "object")
	objects, err := filepath.Glob(filepath.Join(n.dir, "objects", "*", "objects", "*", "*.rmq"))
	if err != nil || len(objects) == 0 {
		t.Fatal(objects, err)
	}
	for _, line := range [][]string{
		{"topic", "list"},
		{"topic", "describe", "orders"},
		{"group", "reset", "billing", "--topic", "orders", "--to", "start"},
		{"group", "list"},
		{"group", "describe", "billing"},
		{"ctl", "cluster", "status"},
		{"ctl", "cluster", "upgrade"},
		{"ctl", "tier", "status"},
		{"ctl", "tier", "scrub"},
		{"ctl", "partition", "elect", "orders", "0"},
		{"wal", "dump", n.dir},
		{"wal", "check", n.dir},
		{"raft", "dump", n.dir},
		{"raft", "check", n.dir},
		{"object", "dump", objects[0]},
		{"object", "dump", objects[0], "--batches"},
		{"object", "check", objects[0]},
		{"config", "print", "--defaults"},
		{"version"},
	} {
		name := strings.Join(line[:min(2, len(line))], " ")
		table := n.must("", append(line, "-o", "table")...)
		if again := n.must("", line...); len(again) == 0 || len(table) == 0 {
			t.Errorf("%s: the table has %d bytes, without -o %d", name, len(table), len(again))
		}
		text := n.must("", append(line, "-o", "json")...)
		if !json.Valid([]byte(text)) {
			t.Errorf("%s: this is not JSON: %s", name, text)
		}
		yaml := n.must("", append(line, "-o", "yaml")...)
		if json.Valid([]byte(yaml)) || !strings.Contains(yaml, ":") {
			t.Errorf("%s: this is not YAML of blocks: %s", name, yaml)
		}
		if line[0] == "config" || line[0] == "raft" && line[1] == "dump" {
			continue // keys are a setting's name, and a command's own
		}
		for _, key := range jsonKey.FindAllStringSubmatch(text, -1) {
			if key := key[1]; strings.ToLower(key) != key || measured.MatchString(key) && !unit.MatchString(key) {
				t.Errorf("%s: key %q has no unit, or is not in lower case", name, key)
			}
		}
	}
	var dump objectDetails
	if err := json.Unmarshal([]byte(n.must("", "object", "dump", objects[0], "--batches", "-o", "json")), &dump); err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, r := range dump.Ranges {
		for _, b := range r.List {
			records += b.Records
		}
	}
	if dump.ID == 0 || dump.Node != 1 || records == 0 || dump.Ranges[0].SizeBytes == 0 || len(dump.Ranges[0].Epochs) == 0 {
		t.Errorf("%+v", dump)
	}
}

// TestConsoleIsWhereServeSays follows the address that serve prints.
func TestConsoleIsWhereServeSays(t *testing.T) {
	n := startNode(t)
	resp, err := http.Get(n.console)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"RustMQ node 1", node.Version(), n.server, `href="/metrics"`, `href="/livez"`, `href="/readyz"`} {
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: status %d, without %q:\n%s", n.console, resp.StatusCode, want, body)
		}
	}
}

// TestConfigValidateSaysWhatIsWrong: the command line is right, and the file is not.
func TestConfigValidateSaysWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rustmq.toml")
	for text, want := range map[string]int{"": exitDone, "[node]\nid = 3\n": exitDone, "[node]\nidd = 3\n": exitFailed, "[node\n": exitFailed} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a, stdout, stderr := testApp()
		status := a.run(t.Context(), []string{"rustmq", "config", "validate", path})
		if status != want || stdout.Len() > 0 || want == exitFailed && !strings.Contains(stderr.String(), path) {
			t.Errorf("%q: status %d, want %d: %s%s", text, status, want, stdout, stderr)
		}
	}
}
