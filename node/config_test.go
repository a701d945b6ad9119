package node

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/mq"
)

var update = flag.Bool("update", false, "write generated documentation anew")

func TestDefaultsAreValidAndNeedNoSource(t *testing.T) {
	loaded, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(loaded.Config, Default()) {
		t.Errorf("without sources: %+v, want the defaults", loaded.Config)
	}
	if len(loaded.Origin) != 0 {
		t.Errorf("origins of defaults: %v", loaded.Origin)
	}
}

func TestLaterSourcesWin(t *testing.T) {
	file := writeFile(t, "[node]\nid = 2\ndata_dir = \"/from/file\"\n[wal]\nsegment_size = \"32MiB\"\n[raft]\ntick = \"50ms\"\n")
	loaded, err := Load(Sources{
		File:    file,
		Environ: []string{"RUSTMQ_NODE_ID=3", "RUSTMQ_WAL_SEGMENT_SIZE=16MiB", "RUSTMQ_SERVER=h:1", "PATH=/bin", "RUSTMQ_SERVER_ADVERTISE=a:1, b:2"},
		Flags:   map[string]any{"node.id": "4", "node.roles": []string{"controller,broker"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Node.ID != 4 || loaded.Node.DataDir != "/from/file" || loaded.WAL.SegmentSize != 16*MiB || loaded.Raft.Tick != 50*time.Millisecond {
		t.Errorf("merged: %+v", loaded.Config)
	}
	if got := loaded.Server.Advertise; !reflect.DeepEqual(got, []string{"a:1", "b:2"}) {
		t.Errorf("list from the environment: %q", got)
	}
	if got := loaded.Node.Roles; !reflect.DeepEqual(got, []string{"controller", "broker"}) {
		t.Errorf("list from a flag: %q", got)
	}
	want := map[string]string{
		"node.id": "--node-id", "node.data_dir": file, "wal.segment_size": "RUSTMQ_WAL_SEGMENT_SIZE",
		"raft.tick": file, "server.advertise": "RUSTMQ_SERVER_ADVERTISE", "node.roles": "--roles",
	}
	if !reflect.DeepEqual(loaded.Origin, want) {
		t.Errorf("origins %v, want %v", loaded.Origin, want)
	}
}

func TestMistakesNameThePlaceAndWhatWouldBeRight(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		environ    []string
		flags      map[string]any
		want       []string
	}{
		{name: "unknown key", file: "[wal]\nsegmentsize = 1", want: []string{"unknown setting wal.segmentsize", "did you mean wal.segment_size?"}},
		{name: "unknown section", file: "[wall]\nsegment_size = 1", want: []string{"wall.segment_size", "did you mean wal.segment_size?"}},
		{name: "unknown empty section", file: "[wall]\n", want: []string{"unknown setting wall"}},
		{name: "setting outside its section", file: "listen = \"a:1\"", want: []string{"unknown setting listen"}},
		{name: "section as a value", file: "wal = 3", want: []string{"wal is a section"}},
		{name: "unknown in the environment", environ: []string{"RUSTMQ_NODE_IDS=1"}, want: []string{"RUSTMQ_NODE_IDS", "did you mean RUSTMQ_NODE_ID?"}},
		{name: "broken file", file: "[node\nid=1", want: []string{":1:6: "}},
		{name: "bad size", file: "[wal]\nsegment_size = \"64 MegaBytes\"", want: []string{"wal.segment_size", "64 MegaBytes", "64MiB"}},
		{name: "bad size from the environment", environ: []string{"RUSTMQ_WAL_SEGMENT_SIZE=x"}, want: []string{"RUSTMQ_WAL_SEGMENT_SIZE: wal.segment_size"}},
		{name: "duration without unit", file: "[raft]\ntick = 100", want: []string{"raft.tick", "250ms"}},
		{name: "number as text", file: "[node]\nid = \"one\"", want: []string{"node.id", "whole number"}},
		{name: "number as fraction", file: "[node]\nid = 1.5", want: []string{"node.id", "whole number"}},
		{name: "text as number", file: "[node]\ndata_dir = 7", want: []string{"node.data_dir", "quotes"}},
		{name: "list as number", file: "[node]\nroles = 7", want: []string{"node.roles", "list"}},
		{name: "list of numbers", file: "[node]\nroles = [7]", want: []string{"node.roles", "list"}},
		{name: "id zero", flags: map[string]any{"node.id": "0"}, want: []string{"node.id is 0", "at least 1"}},
		{name: "unknown assignor", file: "[groups]\nassignors = [\"sticky\"]", want: []string{"groups.assignors", "sticky", "uniform, range"}},
		{name: "assignor twice", file: "[groups]\nassignors = [\"range\", \"range\"]", want: []string{"groups.assignors", "twice"}},
		{name: "no assignors", file: "[groups]\nassignors = []", want: []string{"groups.assignors", "empty"}},
		{name: "unknown role", flags: map[string]any{"node.roles": "brokr"}, want: []string{"brokr", "broker, controller"}},
		{name: "half a node", flags: map[string]any{"node.roles": "broker"}, want: []string{"without controller"}},
		{name: "controller that is not named", flags: map[string]any{"node.controllers": "2@b:9093,3@c:9093"}, want: []string{"node 1 has controller", "does not name it", "1@HOST:PORT"}},
		{name: "named, and no controller", flags: map[string]any{"node.roles": "broker", "node.controllers": "1@a:9093,2@b:9093"}, want: []string{"names node 1", "without controller"}},
		{name: "node named twice", flags: map[string]any{"node.controllers": "1@a:9093,1@b:9093"}, want: []string{"node 1 or address b:9093 twice"}},
		{name: "address named twice", flags: map[string]any{"node.controllers": "1@a:9093,2@a:9093"}, want: []string{"node 2 or address a:9093 twice"}},
		{name: "controller without a node", flags: map[string]any{"node.controllers": "a:9093"}, want: []string{"NODE@HOST:PORT"}},
		{name: "another address of its own", flags: map[string]any{"node.controllers": "1@a:9093,2@b:9093", "rpc.advertise": "x:9093"}, want: []string{"node 1 at a:9093", "x:9093"}},
		{name: "address without port", flags: map[string]any{"server.listen": "localhost"}, want: []string{"server.listen", "host:port"}},
		{name: "port out of range", flags: map[string]any{"admin.listen": "h:70000"}, want: []string{"admin.listen", "65535"}},
		{name: "advertised port zero", flags: map[string]any{"server.advertise": "h:0"}, want: []string{"server.advertise", "between 1"}},
		{name: "advertised without host", flags: map[string]any{"server.advertise": ":9092"}, want: []string{"server.advertise", "host"}},
		{name: "log smaller than its segments", environ: []string{"RUSTMQ_WAL_MAX_SIZE=256MiB"}, want: []string{"wal.max_size is 256MiB", "512MiB"}},
		{name: "unknown store", flags: map[string]any{"object_store.url": "ftp://u:secret@h/"}, want: []string{"object_store.url", "ftp://", "file://"}},
		{name: "relative store", flags: map[string]any{"object_store.url": "file://objects"}, want: []string{"file:///"}},
		{name: "store without a bucket", flags: map[string]any{"object_store.url": "s3://?region=r"}, want: []string{"object_store.url", "s3://BUCKET"}},
		{name: "store with an unknown setting", flags: map[string]any{"object_store.url": "s3://b?access_key=secret"}, want: []string{"object_store.url", "known are prefix, region, endpoint"}},
		{name: "secrets in the store's URL", flags: map[string]any{"object_store.url": "azblob://a:secret@b"}, want: []string{"object_store.url", "no place for"}},
		{name: "too few requests", environ: []string{"RUSTMQ_OBJECT_STORE_MAX_REQUESTS=3"}, want: []string{"object_store.max_requests is 3", "4"}},
		{name: "too slow an upload", environ: []string{"RUSTMQ_OBJECT_STORE_UPLOAD_RATE=1KiB"}, want: []string{"object_store.upload_rate is 1KiB", "64KiB"}},
		{name: "too small a part", environ: []string{"RUSTMQ_OBJECT_STORE_PART_SIZE=1MiB"}, want: []string{"object_store.part_size is 1MiB", "5MiB"}},
		{name: "price as text", file: "[object_store.price]\nwrites = \"a lot\"", want: []string{"object_store.price.writes", "a lot", "0.023"}},
		{name: "negative price", file: "[object_store.price]\nreads = -0.1", want: []string{"object_store.price.reads is -0.1", "between 0"}},
		{name: "price without an end", file: "[object_store.price]\nstorage = inf", want: []string{"object_store.price.storage", "0.023"}},
		{name: "price that is no number", environ: []string{"RUSTMQ_OBJECT_STORE_PRICE_TRANSFER=NaN"}, want: []string{"object_store.price.transfer", "0.023"}},
		{name: "price for everything", file: "[object_store]\nprice = 3", want: []string{"object_store.price is a section", "[object_store.price]"}},
		{name: "log level", environ: []string{"RUSTMQ_LOG_LEVEL=verbose"}, want: []string{"log.level", "debug, info, warn, error"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := Sources{Environ: tc.environ, Flags: tc.flags}
			if tc.file != "" {
				src.File = writeFile(t, tc.file)
			}
			_, err := Load(src)
			if mq.CodeOf(err) != mq.InvalidConfig {
				t.Fatalf("error %v, want INVALID_CONFIG", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
				t.Errorf("more than one line, or a secret: %q", err)
			}
		})
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	_, err := Load(Sources{File: filepath.Join(t.TempDir(), "none.toml")})
	if mq.CodeOf(err) != mq.InvalidConfig || !strings.Contains(err.Error(), "none.toml") {
		t.Error(err)
	}
}

func TestKubernetesServiceLinksAreNotSettings(t *testing.T) {
	links := []string{
		"RUSTMQ_SERVICE_HOST=10.0.0.1", "RUSTMQ_SERVICE_PORT=9092", "RUSTMQ_SERVICE_PORT_QUIC=9092", "RUSTMQ_PORT=udp://10.0.0.1:9092",
		"RUSTMQ_PORT_9092_UDP=x", "RUSTMQ_PORT_9092_UDP_ADDR=x", "RUSTMQ_ADMIN_SERVICE_HOST=x", "RUSTMQ_ADMIN_PORT_9642_TCP_PROTO=tcp",
	}
	if _, err := Load(Sources{Environ: links}); err != nil {
		t.Error(err)
	}
	for _, s := range Settings() {
		if serviceLink.MatchString(s.Env) {
			t.Errorf("%s looks like a service link and would be passed over when misspelt", s.Env)
		}
	}
}

func TestEverySettingCanBeSetFromEverySource(t *testing.T) {
	env := map[string]bool{}
	for _, s := range Settings() {
		if env[s.Env] {
			t.Errorf("two settings are %s", s.Env)
		}
		env[s.Env] = true
		if s.Doc == "" || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("%s: documentation %q", s.Key, s.Doc)
		}
		if s.Default == "" {
			continue
		}
		for _, src := range []Sources{
			{Environ: []string{s.Env + "=" + s.Default}},
			{Flags: map[string]any{s.Key: s.Default}},
		} {
			loaded, err := Load(src)
			if err != nil {
				t.Errorf("%s at its default: %v", s.Key, err)
				continue
			}
			if !reflect.DeepEqual(loaded.Config, Default()) || loaded.Origin[s.Key] == "" {
				t.Errorf("%s=%s changes the configuration, or leaves no origin", s.Key, s.Default)
			}
		}
	}
}

func TestPrintedConfigurationReadsBack(t *testing.T) {
	loaded, err := Load(Sources{
		Environ: []string{"RUSTMQ_NODE_DATA_DIR=/a \"b\"\\c\t\x01é", "RUSTMQ_OBJECT_STORE_FLUSH_AGE=90s", "RUSTMQ_SERVER_ADVERTISE=a:1,b:2"},
		Flags:   map[string]any{"wal.segment_size": "100000000", "object_store.price.reads": "4e-7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := loaded.WriteTOML(&out); err != nil {
		t.Fatal(err)
	}
	again, err := Load(Sources{File: writeFile(t, out.String())})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	again.Origin, loaded.Origin = nil, nil
	if again.Server.Advertise == nil || len(again.ObjectStore.URL) != 0 {
		t.Errorf("%+v", again.Config)
	}
	if !reflect.DeepEqual(again.Config, loaded.Config) {
		t.Errorf("printed:\n%s\nread back: %+v\nwas: %+v", out.String(), again.Config, loaded.Config)
	}
}

func TestPrintedConfigurationHasNoPassword(t *testing.T) {
	c := Default()
	c.ObjectStore.URL = "mem://user:hunter2@x/"
	var out bytes.Buffer
	if err := (&Loaded{Config: c}).WriteTOML(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "mem://user:xxxxx@x/") {
		t.Error(out.String())
	}
}

func TestSizesAreExactAndReadBack(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "17B": 17, "1KiB": 1024, "1 kib": 1024, "1.5GiB": 3 << 29, "64MiB": 64 * MiB, "2MB": 2_000_000, "8388607TiB": 8388607 * TiB,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "-1.5KiB", "8388608TiB", "1e3", "0x10", "NaN", "Inf", "1_000", "1MiB2", "9223372036854775808"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d without an error", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes") >> rapid.IntRange(0, 60).Draw(t, "shift") << rapid.IntRange(0, 2).Draw(t, "up"))
		if s < 0 {
			return
		}
		if got, err := ParseSize(s.String()); err != nil || got != s {
			t.Fatalf("%d prints as %q, which reads as %d, %v", int64(s), s, got, err)
		}
	})
}

func TestConfigurationDocsAreUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := WriteDocs(&want); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is stale: task generate", path)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rustmq.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
