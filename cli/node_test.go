package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/cli/verify"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// testNode is a node that the serve command runs, and the environment of commands that use it.
type testNode struct {
	t       *testing.T
	dir     string
	environ []string
	server  string
	console string
	nodes   string // the listener for nodes, "" when there is none
	stop    func() int
}

// startNode runs serve until the test ends, on free ports, with settings in its environment.
func startNode(t *testing.T, settings ...string) *testNode {
	t.Helper()
	return startNodeIn(t, filepath.Join(t.TempDir(), "data"), settings...)
}

// startNodeIn is startNode with a data directory that may be there.
func startNodeIn(t *testing.T, dir string, settings ...string) *testNode {
	t.Helper()
	n := &testNode{t: t, dir: dir, environ: append([]string{"HOME=" + t.TempDir()}, settings...)}
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var logs bytes.Buffer
	a := &app{environ: n.environ, stdin: strings.NewReader(""), stdout: in, stderr: &logs}
	status := make(chan int, 1)
	go func() {
		status <- a.run(ctx, []string{"rustmq", "serve", "--data-dir", n.dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-level", "warn"})
		in.Close()
	}()
	stopped := -1
	n.stop = func() int {
		cancel()
		if stopped < 0 {
			stopped = <-status
		}
		return stopped
	}
	t.Cleanup(func() { n.stop() })
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		word, rest, _ := strings.Cut(strings.TrimSpace(scanner.Text()), " ")
		switch word {
		case "clients":
			n.server = strings.Fields(rest)[0]
		case "nodes":
			n.nodes = strings.TrimSpace(rest)
		case "console":
			n.console = strings.TrimSpace(rest)
		case "ready":
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return n
		}
	}
	t.Fatalf("serve ended with status %d before it was ready: %s", n.stop(), logs.String())
	return nil
}

// admin is where the node's admin listener is, host:port.
func (n *testNode) admin() string { return strings.Trim(strings.TrimPrefix(n.console, "http://"), "/") }

// run runs one command with the node as its server.
func (n *testNode) run(stdin string, args ...string) (status int, stdout, stderr string) {
	n.t.Helper()
	var out, errs bytes.Buffer
	a := &app{
		environ: append([]string{"RUSTMQ_SERVER=" + n.server}, n.environ...), stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs,
		spawn: spawnHere,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // one that takes longer hangs
	defer cancel()
	status = a.run(ctx, append([]string{"rustmq"}, args...))
	return status, out.String(), errs.String()
}

// spawnHere runs the far end of bench's bounds in this process.
func spawnHere(ctx context.Context, dir string) (io.WriteCloser, io.Reader, func() error, error) {
	theirIn, in := io.Pipe()
	out, theirOut := io.Pipe()
	done := make(chan error, 1)
	go func() {
		a := &app{stdin: theirIn, stdout: theirOut, stderr: io.Discard}
		if status := a.run(ctx, []string{"rustmq", "bench", farEnd, "--dir", dir}); status != exitDone {
			done <- errors.New("the far end failed")
		}
		close(done)
		theirOut.Close()
	}()
	return in, out, func() error { return <-done }, nil
}

func (n *testNode) must(stdin string, args ...string) string {
	n.t.Helper()
	status, stdout, stderr := n.run(stdin, args...)
	if status != exitDone {
		n.t.Fatalf("rustmq %v: status %d: %s", args, status, stderr)
	}
	return stdout
}

func TestTopicLifeFromTheCommandLine(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "orders", "--partitions", "3", "--config", "retention.ms=86400000")
	if status, _, stderr := n.run("", "topic", "create", "orders"); status != exitFailed || !strings.Contains(stderr, "orders") {
		t.Errorf("create again: status %d, %s", status, stderr)
	}
	var listed []map[string]any
	if err := json.Unmarshal([]byte(n.must("", "topic", "list", "-o", "json")), &listed); err != nil || len(listed) != 1 || listed[0]["name"] != "orders" || listed[0]["partitions"] != 3.0 {
		t.Errorf("listed %v, %v", listed, err)
	}
	n.must("", "topic", "alter", "orders", "--config", "retention.bytes=1000000", "--unset", "retention.ms", "--partitions", "4")
	var described topicDetails
	if err := json.Unmarshal([]byte(n.must("", "topic", "describe", "orders", "-o", "json")), &described); err != nil {
		t.Fatal(err)
	}
	settings := map[string]configLine{}
	for _, s := range described.Configs {
		settings[s.Key] = s
	}
	if len(described.Partitions) != 4 || settings["retention.bytes"].Value != "1000000" || !settings["retention.ms"].Default {
		t.Errorf("described %+v", described)
	}
	for _, want := range []string{"PARTITION", "HIGH WATERMARK", "retention.bytes"} {
		if out := n.must("", "topic", "describe", "orders"); !strings.Contains(out, want) {
			t.Errorf("%q is missing from\n%s", want, out)
		}
	}
	if status, _, stderr := n.run("", "topic", "alter", "orders", "--config", "retention.mss=1"); status != exitFailed || !strings.Contains(stderr, "retention.ms") {
		t.Errorf("unknown setting: status %d, %s", status, stderr)
	}
	n.must("", "topic", "delete", "orders")
	if status, _, stderr := n.run("", "topic", "describe", "orders"); status != exitFailed || !strings.Contains(stderr, "UNKNOWN_TOPIC") {
		t.Errorf("describe after delete: status %d, %s", status, stderr)
	}
}

func TestProducedLinesAreConsumedAsTheyWere(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "lines", "--partitions", "2")
	long := strings.Repeat("x", 1<<20)
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte("from file\r\n\n"+long+"\nbin\x00\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := n.run("from stdin\nlast", "produce", "lines", file, "-", "--partition", "1", "-H", "a=1,b", "-H", "c=2")
	if status != exitDone || stdout != "" {
		t.Fatalf("status %d, stdout %q, stderr %s", status, stdout, stderr)
	}
	for _, want := range []string{"6 records delivered", "records/s", "ack p50", "p99", "durability reached: replicated"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing from the summary %q", want, stderr)
		}
	}
	want := "from file\r\n\n" + long + "\nbin\x00\xff\nfrom stdin\nlast\n"
	if got := n.must("", "consume", "lines"); got != want {
		t.Errorf("consumed %d bytes, want %d", len(got), len(want))
	}
	got := n.must("", "consume", "lines", "-f", `%t %p %o %S %h %k\n`, "--from", "3", "--partition", "1")
	if want := "lines 1 3 5 a=1,b,c=2 \nlines 1 4 10 a=1,b,c=2 \nlines 1 5 4 a=1,b,c=2 \n"; got != want {
		t.Errorf("formatted %q, want %q", got, want)
	}
	if got := n.must("", "consume", "lines", "--from", "3", "--to", "5", "-p", "1"); got != "bin\x00\xff\nfrom stdin\n" {
		t.Errorf("from 3 to 5: %q", got)
	}
	if got := n.must("", "consume", "lines", "--from", "end"); got != "" {
		t.Errorf("from the end: %q", got)
	}
	if got := n.must("", "consume", "lines", "--from", "-1h", "-n", "1"); got != "from file\r\n" {
		t.Errorf("one from an hour ago: %q", got)
	}
	if got := n.must("", "consume", "lines", "--to", "-1h"); got != "" {
		t.Errorf("to an hour ago: %.40q", got)
	}
	if status, _, stderr := n.run("", "consume", "lines", "--partition", "7"); status != exitFailed || !strings.Contains(stderr, "no partition 7") {
		t.Errorf("unknown partition: status %d, %s", status, stderr)
	}
}

func TestKeysChooseThePartition(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "keyed", "--partitions", "4")
	n.must("a:1\nb:2\na:3\nnone\n", "produce", "keyed", "--key-separator", ":", "--compression", "zstd", "--acks", "leader")
	n.must("4\n", "produce", "keyed", "-k", "a")
	values := map[string]string{}
	partition := map[string]string{}
	for line := range strings.Lines(n.must("", "consume", "keyed", "-f", `%k/%K %p %s\n`)) {
		f := strings.Split(strings.TrimSpace(line), " ")
		values[f[0]] += f[2]
		if p, ok := partition[f[0]]; ok && p != f[1] {
			t.Errorf("key %s is in partitions %s and %s", f[0], p, f[1])
		}
		partition[f[0]] = f[1]
	}
	if fmt.Sprint(values) != "map[/-1:none a/1:134 b/1:2]" {
		t.Errorf("values by key: %v", values)
	}
}

func TestProduceFailsWhenARecordWasNotDelivered(t *testing.T) {
	n := startNode(t)
	if status, _, stderr := n.run("x\n", "produce", "missing", "--timeout", "5s"); status != exitFailed || !strings.Contains(stderr, "missing") {
		t.Errorf("missing topic: status %d, %s", status, stderr)
	}
	n.must("", "topic", "create", "small")
	status, _, stderr := n.run("one\n"+strings.Repeat("x", 1200<<10)+"\nthree\n", "produce", "small")
	if status != exitFailed || !strings.Contains(stderr, "MESSAGE_TOO_LARGE") || !strings.Contains(stderr, "2 records delivered, 1 not") {
		t.Errorf("a record that is too large: status %d, %s", status, stderr)
	}
	if got := n.must("", "consume", "small"); got != "one\nthree\n" {
		t.Errorf("the others: %q", got)
	}
	if status, _, stderr := n.run("", "produce", "small", "/nonexistent"); status != exitFailed || !strings.Contains(stderr, "/nonexistent") {
		t.Errorf("missing file: status %d, %s", status, stderr)
	}
}

func TestFollowSeesWhatComesLater(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "later")
	n.must("early\n", "produce", "later")
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		a := &app{environ: append([]string{"RUSTMQ_SERVER=" + n.server}, n.environ...), stdin: strings.NewReader(""), stdout: in, stderr: io.Discard}
		ended <- a.run(t.Context(), []string{"rustmq", "consume", "later", "--follow", "-n", "3"})
		in.Close()
	}()
	lines := bufio.NewReader(out)
	if got, err := lines.ReadString('\n'); err != nil || got != "early\n" {
		t.Fatalf("followed %q: %v", got, err)
	}
	n.must("late\nlast\n", "produce", "later")
	if got, err := io.ReadAll(lines); err != nil || string(got) != "late\nlast\n" {
		t.Errorf("followed %q: %v", got, err)
	}
	if status := <-ended; status != exitDone {
		t.Errorf("consume ended with status %d", status)
	}
}

func TestConsumeAsAMemberOfAGroupGoesOnWhereItStopped(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "grouped", "--partitions", "1")
	n.must("one\ntwo\nthree\n", "produce", "grouped")
	if got := n.must("", "consume", "grouped", "--group", "g", "-n", "2"); got != "one\ntwo\n" {
		t.Errorf("first %q", got)
	}
	if got := n.must("", "consume", "grouped", "--group", "g"); got != "three\n" {
		t.Errorf("then %q", got)
	}
	n.must("four\n", "produce", "grouped")
	if got := n.must("", "consume", "grouped", "--group", "g", "--from", "end"); got != "four\n" {
		t.Errorf("at last %q", got)
	}
	if status, _, stderr := n.run("", "consume", "grouped", "--group", "g", "-p", "0"); status != exitUsage || !strings.Contains(stderr, "--partition does not go with --group") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

func TestServeStopsCleanlyAndKeepsEverything(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "kept")
	n.must("one\ntwo\n", "produce", "kept")
	if status := n.stop(); status != exitDone {
		t.Fatalf("serve ended with status %d", status)
	}
	a, stdout, stderr := testApp(n.environ...)
	for _, inside := range []string{"wal", "raft"} {
		stdout.Reset()
		if status := a.run(t.Context(), []string{"rustmq", inside, "check", n.dir}); status != exitDone || !strings.Contains(stdout.String(), "no damage") {
			t.Errorf("%s check: status %d, %s%s", inside, status, stdout, stderr)
		}
		stdout.Reset()
		if status := a.run(t.Context(), []string{"rustmq", inside, "dump", filepath.Join(n.dir, inside)}); status != exitDone || strings.Count(stdout.String(), "\n") < 4 {
			t.Errorf("%s dump: status %d, %s%s", inside, status, stdout, stderr)
		}
	}
}

// TestDumpsOfARunningNode: what the logs hold, while the node goes on.
func TestDumpsOfARunningNode(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "dumped")
	n.must("one\ntwo\n", "produce", "dumped")
	var report raftDumpReport
	if err := json.Unmarshal([]byte(n.must("", "raft", "dump", n.dir, "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	var last uint64
	created := false
	for _, e := range report.Entries {
		kinds[e.Kind]++
		if last != 0 && e.Index != last+1 || e.Error != "" {
			t.Errorf("behind entry %d: %+v", last, e)
		}
		last = e.Index
		for _, command := range e.Commands {
			created = created || bytes.Contains(command, []byte(`"createTopic"`)) && bytes.Contains(command, []byte(`"dumped"`))
		}
	}
	if report.Term == 0 || report.Commit == 0 || !created || kinds["empty"] == 0 || kinds["proposals"] == 0 || len(report.Damage) > 0 {
		t.Errorf("%+v", report)
	}
	for _, want := range []string{"INDEX", "COMMITTED", "createTopic", "no damage"} {
		if out := n.must("", "raft", "dump", filepath.Join(n.dir, "raft")); !strings.Contains(out, want) {
			t.Errorf("%q is missing from\n%s", want, out)
		}
	}

	var frames []frameLine
	if err := json.Unmarshal([]byte(n.must("", "wal", "dump", n.dir, "-o", "json")), &frames); err != nil {
		t.Fatal(err)
	}
	data := 0
	for _, f := range frames {
		if f.Kind == "data" && len(f.Stream) == 40 && f.SizeBytes > 0 && f.Position > 0 && f.EndOffset > f.FirstOffset {
			data++
		}
	}
	if data == 0 || frames[0].Kind != "segment" {
		t.Errorf("%+v", frames)
	}
	yaml := n.must("", "wal", "dump", n.dir, "-o", "yaml")
	if got := strings.Count("\n"+yaml, "\n- path: "); got < data {
		t.Errorf("%d items in\n%s", got, yaml)
	}
	// It was in nobody's way.
	n.must("three\n", "produce", "dumped")
}

func TestFlippedBitIsNamedByCheck(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "flipped")
	for range 3 {
		n.must(strings.Repeat("needle", 50)+"\n", "produce", "flipped")
	}
	n.stop()
	segments, err := filepath.Glob(filepath.Join(n.dir, "wal", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	var flipped string
	for _, path := range segments {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(text, []byte("needle")); i >= 0 {
			text[i] ^= 1
			flipped = path
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if flipped == "" {
		t.Fatal("no segment holds the records")
	}
	a, stdout, stderr := testApp(n.environ...)
	status := a.run(t.Context(), []string{"rustmq", "wal", "check", n.dir, "-o", "json"})
	var report logReport
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatal(err, stdout, stderr)
	}
	if status != exitFailed || len(report.Damage) != 1 || report.Damage[0].Path != flipped || report.Damage[0].Position == 0 {
		t.Errorf("status %d, %+v, %s", status, report, stderr)
	}
	if !strings.Contains(stderr.String(), flipped) {
		t.Errorf("stderr does not name the place: %s", stderr)
	}
}

func TestVerifyFindsNothingWrongWithAHealthyNode(t *testing.T) {
	n := startNode(t)
	report := filepath.Join(t.TempDir(), "report.json")
	n.must("", "verify", "--topic", "proof", "--partitions", "2", "--duration", "1s", "--rate", "300", "--report", report)
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Sent  int   `json:"sent_records"`
		Acked int   `json:"acknowledged_records"`
		Read  int   `json:"read_records"`
		Found []any `json:"anomalies"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Sent == 0 || got.Acked != got.Sent || got.Read == 0 || len(got.Found) > 0 {
		t.Fatalf("report: %s", text)
	}
	// The topic goes on: what earlier runs left is not this one's.
	n.must("", "verify", "--topic", "proof", "--duration", "200ms", "--rate", "300")
}

// A signal has had enough of it: the serve command of this process takes them, too, so none is sent.
func TestVerifyThatEndsEarlyChecks(t *testing.T) {
	n := startNode(t)
	enough, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	report, err := verify.Run(t.Context(), enough, verify.Config{
		Topic: "proof", Partitions: 2, Acks: mq.DurabilityAll, Producers: 1, Rate: 300, Size: 100, Duration: time.Hour, Heal: time.Minute,
		Client: func(more ...client.Option) (*client.Client, error) {
			return client.New(append(more, client.Servers(n.server), client.CAFile(filepath.Join(n.dir, "pki/ca.crt")))...)
		},
		Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Acked == 0 || report.Acked != report.Sent || len(report.Anomalies) > 0 {
		t.Errorf("report: %+v", report)
	}
}

func TestCtlShowsTheCluster(t *testing.T) {
	n := startNode(t)
	n.must("", "topic", "create", "orders", "--partitions", "2")
	for _, command := range []struct{ args, want string }{
		{"ctl cluster status -o json", `"partitions": 2`},
		{"ctl cluster upgrade --dry-run -o json", fmt.Sprintf(`"feature_level": %d`, metadata.FeatureLevel)},
		{"ctl cluster upgrade", "FEATURE LEVEL  " + fmt.Sprint(metadata.FeatureLevel)},
		{"ctl node list -o json", `"state": "alive"`},
		{"ctl partition list", "orders  1          node 1"},
		{"ctl partition list --under-replicated -o json", "[]"},
		{"ctl partition elect --all -o json", "[]"},
		{"ctl partition elect orders 1", "orders  1          node 1  node 1"},
		{"ctl partition replicate --wait 1s -o json", "[]"},
		{"ctl raft status", "voter"},
		{"ctl tier status -o json", `"lag_records": 0`},
		{"ctl tier status --topic orders", "orders  2"},
		{"ctl config get num.partitions -o json", `"default": true`},
	} {
		if got := n.must("", strings.Fields(command.args)...); !strings.Contains(got, command.want) {
			t.Errorf("rustmq %s: %s", command.args, got)
		}
	}
	if status, _, stderr := n.run("", "ctl", "partition", "replicate", "orders", "--replicas", "2"); status != exitFailed || !strings.Contains(stderr, "too few nodes") {
		t.Errorf("status %d, %s: one node for two replicas", status, stderr)
	}
	n.must("", "ctl", "config", "set", "num.partitions=4")
	if got := n.must("", "ctl", "config", "get", "num.partitions", "-o", "json"); !strings.Contains(got, `"value": "4"`) {
		t.Errorf("after config set: %s", got)
	}
	if status, _, stderr := n.run("", "ctl", "config", "get", "num.partition"); status != 1 || !strings.Contains(stderr, "num.partitions") {
		t.Errorf("a setting that there is not: %d, %s", status, stderr)
	}
	n.must("", "ctl", "quota", "set", "--client-id", "loader", "producer_byte_rate=1.5MiB", "consumer_byte_rate=7")
	n.must("", "ctl", "quota", "set", "--any-user", "--any-client-id", "consumer_byte_rate=9")
	n.must("", "ctl", "quota", "set", "--client-id", "loader", "--unset", "consumer_byte_rate")
	if got := n.must("", "ctl", "quota", "list"); !strings.Contains(got, "-      loader     producer_byte_rate  1572864") || !strings.Contains(got, "(any)  (any)      consumer_byte_rate  9") {
		t.Errorf("quotas:\n%s", got)
	}
	for _, wrong := range []struct {
		args, says string
		status     int
	}{
		{"producer_byte_rate=1", "of whom", 2},
		{"--user a --any-user producer_byte_rate=1", "one of them", 2},
		{"--user a", "nothing to change", 2},
		{"--user a producer_byte_rate", "LIMIT=BYTES", 2},
		{"--user a producer_byte_rate=x", "not a size", 2},
		{"--user a producer_byte_rate=0", "from 1", 1},
		{"--user a producer_rate=1", "producer_byte_rate", 1},
		{"--user a producer_byte_rate=1 --unset producer_byte_rate", "twice", 1},
	} {
		if status, _, stderr := n.run("", append([]string{"ctl", "quota", "set"}, strings.Fields(wrong.args)...)...); status != wrong.status || !strings.Contains(stderr, wrong.says) {
			t.Errorf("quota set %s: %d, %s", wrong.args, status, stderr)
		}
	}
}
