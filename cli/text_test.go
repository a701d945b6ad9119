package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

func readLines(r io.Reader) (lines []string, err error) {
	in := newLineReader(r)
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

func TestLinesAreCutAtNewlinesOnly(t *testing.T) {
	long := strings.Repeat("x", 3*readBuffer+17)
	for input, want := range map[string][]string{
		"":                    nil,
		"\n":                  {""},
		"a":                   {"a"},
		"a\n":                 {"a"},
		"a\nb":                {"a", "b"},
		"a\r\nb\r\n":          {"a\r", "b\r"},
		"\n\na\x00\xff\n":     {"", "", "a\x00\xff"},
		long + "\nb\n" + long: {long, "b", long},
		long + "\n":           {long},
		strings.Repeat("y", readBuffer-1) + "\nz":   {strings.Repeat("y", readBuffer-1), "z"},
		strings.Repeat("y", readBuffer) + "\nz":     {strings.Repeat("y", readBuffer), "z"},
		strings.Repeat("y", readBuffer) + "\n":      {strings.Repeat("y", readBuffer)},
		strings.Repeat("y", readBuffer+1) + "\n\nz": {strings.Repeat("y", readBuffer+1), "", "z"},
	} {
		got, err := readLines(strings.NewReader(input))
		if err != nil || strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%.20q (%d bytes): %d lines, %v; want %d", input, len(input), len(got), err, len(want))
		}
	}
}

func TestLinesSurviveAnySplitOfTheInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.StringMatching(`[a-c\r]{0,5}`), 1, 20).Draw(t, "lines")
		input := strings.Join(want, "\n") + "\n"
		got, err := readLines(iotest.OneByteReader(strings.NewReader(input)))
		if err != nil || strings.Join(got, "\n")+"\n" != input {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	})
}

func TestAFailedReadIsNotTheEnd(t *testing.T) {
	broken := errors.New("broken")
	lines, err := readLines(io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(lines) != 1 {
		t.Errorf("%q, %v", lines, err)
	}
}

func TestPaceSpacesRecordsEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, began := newPace(1000), time.Now()
		for range 5000 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 4990*time.Millisecond || took > 5*time.Second {
			t.Errorf("5,000 records at 1,000 a second took %s", took)
		}
		time.Sleep(time.Minute)
		began = time.Now()
		for range 1000 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 990*time.Millisecond {
			t.Errorf("after a pause 1,000 records took %s: no burst may make up for it", took)
		}
	})
}

func TestFormatDirectives(t *testing.T) {
	full := mq.Record{
		Key: []byte("k"), Value: []byte("value\x00"), Offset: 42, Timestamp: 1795507200123,
		Headers: []mq.Header{{Key: "a", Value: []byte("1")}, {Key: "b"}},
	}
	for text, want := range map[string]string{
		`%s\n`:                 "value\x00\n",
		`%t/%p@%o %T`:          "topic/3@42 1795507200123",
		`%k[%K] %S`:            "k[1] 6",
		`%R`:                   "\x00\x00\x00\x06",
		`%h`:                   "a=1,b=NULL",
		`100%% \\ \x41\x4\x7a`: "100% \\ A\x04z",
		`\r\t\0\'\"`:           "\r\t\x00'\"",
		``:                     "",
		`plain`:                "plain",
	} {
		f, err := parseFormat(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var got []byte
		for _, piece := range f {
			got = piece(got, "topic", 3, &full)
		}
		if string(got) != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	var null []byte
	f, err := parseFormat(`%s|%k|%S|%K|%R|%h`)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range f {
		null = piece(null, "topic", 0, &mq.Record{})
	}
	if want := "||-1|-1|\xff\xff\xff\xff|"; string(null) != want {
		t.Errorf("null key and value: %q, want %q", null, want)
	}
	for _, text := range []string{`%`, `\`, `%q`, `\q`, `\x`, `\xg`, `%s\`} {
		if _, err := parseFormat(text); err == nil {
			t.Errorf("%q is taken for a format", text)
		}
	}
}

func TestPlaces(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]client.Position{
		"start": client.Start(), "end": client.End(), "0": client.At(0), "17": client.At(17),
		"-1h":                           client.AtTime(now.Add(-time.Hour)),
		"-90m":                          client.AtTime(now.Add(-90 * time.Minute)),
		"@1795507200123":                client.AtTime(time.UnixMilli(1795507200123)),
		"2026-11-24T08:00:00Z":          client.AtTime(time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)),
		"2026-11-24T08:00:00.250+02:00": client.AtTime(time.Date(2026, 11, 24, 6, 0, 0, 250e6, time.UTC)),
		"2026-11-24":                    client.AtTime(time.Date(2026, 11, 24, 0, 0, 0, 0, time.Local)),
	} {
		if got, err := parsePlace("from", text, now); err != nil || got.Position != want {
			t.Errorf("%q: %v, %v; want %v", text, got.Position, err, want)
		}
	}
	for _, text := range []string{"", "-1", "-", "--1h", "1h", "@", "@-1", "tomorrow", "99999999999999999999"} {
		if got, err := parsePlace("from", text, now); err == nil {
			t.Errorf("%q: %v without an error", text, got.Position)
		}
	}
}

func TestLatencyQuantilesAreWithinThreePercent(t *testing.T) {
	var l latencies
	for i := range 100_000 {
		l.add(time.Duration(i) * 10 * time.Microsecond)
	}
	for _, q := range []float64{0.01, 0.5, 0.99, 1} {
		want := q * float64(time.Second)
		if got := float64(l.quantile(q)); got < want*0.96 || got > want*1.04 {
			t.Errorf("p%v is %v, want about %v", q*100, time.Duration(got), time.Duration(want))
		}
	}
	for _, d := range []time.Duration{0, 1, 31, 32, 63, 64, 1 << 62, 1<<63 - 1} {
		if got := latencyOf(latencyBucket(uint64(d))); float64(got) < float64(d)*0.97-1 || float64(got) > float64(d)*1.03+1 {
			t.Errorf("%d ns falls into the bucket of %d ns", d, got)
		}
	}
}

func TestTallyCountsEveryOutcome(t *testing.T) {
	tl := newTally()
	for i := range 10 {
		tl.begin(100)
		var err error
		if i == 3 {
			err = mq.Errorf(mq.MessageTooLarge, "too large")
		}
		tl.end(mq.MarkReplicated, err)
	}
	if tl.hopeless() {
		t.Error("one record that is too large stops the others")
	}
	tl.begin(100)
	tl.end(mq.MarkLocal, nil)
	text := tl.summary()
	for _, want := range []string{"10 records delivered", "1 not", "1.1 KiB", "durability reached: local"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	tl.end(mq.MarkNone, mq.Errorf(mq.UnknownTopicOrPartition, "no topic"))
	if n, err := tl.failures(); n != 2 || mq.CodeOf(err) != mq.MessageTooLarge || !tl.hopeless() {
		t.Errorf("%d failures, the first %v, hopeless %v", n, err, tl.hopeless())
	}
}

func TestYAMLSaysWhatJSONSays(t *testing.T) {
	value := []any{
		map[string]any{"name": "orders", "id": "-9Xq", "empty": []int{}, "none": nil, "replicas": []int{1, 2}},
		topicDetails{Name: "yes", ID: "a b", Configs: []configLine{{Key: "retention.ms", Value: "7"}}, Partitions: []partitionDetails{}},
	}
	var out bytes.Buffer
	if err := writeYAML(&out, value); err != nil {
		t.Fatal(err)
	}
	want := `- empty: []
  id: "-9Xq"
  name: orders
  none: null
  replicas:
    - 1
    - 2
- name: "yes"
  id: "a b"
  configs:
    - key: retention.ms
      value: "7"
      default: false
  partitions: []
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestProfilesAreChosenByServer(t *testing.T) {
	home := t.TempDir()
	a, _, _ := testApp("HOME=" + home)
	for _, p := range []struct {
		name string
		one  profile
	}{
		{"local", profile{Server: []string{"127.0.0.1:9092", "localhost:9092"}, CA: "/a/ca.crt"}},
		{"local-19092", profile{Server: []string{"127.0.0.1:19092"}, CA: "/b/ca.crt"}},
		{"local", profile{Server: []string{"127.0.0.1:9092"}, CA: `/new "a"/ca.crt`}},
	} {
		if _, err := a.writeProfile(p.name, p.one); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		environ, servers []string
		name, ca         string
	}{
		{nil, nil, "", `/new "a"/ca.crt`},
		{nil, []string{"127.0.0.1:9092"}, "", `/new "a"/ca.crt`},
		{nil, []string{"127.0.0.1:19092"}, "", "/b/ca.crt"},
		{nil, []string{"elsewhere:9092"}, "", ""},
		{nil, []string{"elsewhere:9092"}, "local-19092", "/b/ca.crt"},
	} {
		file, err := a.readProfiles()
		if err != nil {
			t.Fatal(err)
		}
		got, err := file.choose(tc.name, tc.servers)
		if err != nil || got.CA != tc.ca {
			t.Errorf("%q %q: %+v, %v; want %s", tc.name, tc.servers, got, err, tc.ca)
		}
	}
}

func TestWritingAProfileLeavesTheRestAlone(t *testing.T) {
	home := t.TempDir()
	a, _, _ := testApp("HOME=" + home)
	path := filepath.Join(home, ".config", "rustmq", "profiles.toml")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	before := "# mine\ndefault = \"work\"\n\n[local]\nserver = [\"old:1\"]\n\n[work]  # keep\nserver = [\"w:9092\"]\nca = \"/w.crt\"\n"
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.writeProfile("local", profile{Server: []string{"127.0.0.1:9092"}, CA: "/ca.crt"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(before, "server = [\"old:1\"]\n", "server = [\"127.0.0.1:9092\"]\nca = \"/ca.crt\"\n", 1)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	file, err := a.readProfiles()
	if err != nil {
		t.Fatal(err)
	}
	if one, err := file.choose("", nil); err != nil || one.CA != "/w.crt" {
		t.Errorf("the default is %+v, %v", one, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.lock")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBrokenProfilesAreNamed(t *testing.T) {
	for _, text := range []string{"[local\n", "[local]\nservers = [\"a:1\"]\n", "[local]\nserver = 7\n"} {
		home := t.TempDir()
		path := filepath.Join(home, "rustmq", "profiles.toml")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a, _, _ := testApp("XDG_CONFIG_HOME=" + home)
		if _, err := a.readProfiles(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCompletionScriptsParseAndComplete(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	a, stdout, stderr := testApp()
	if status := a.run(t.Context(), []string{"rustmq", "completion", "bash"}); status != exitDone {
		t.Fatal(stderr.String())
	}
	for _, tc := range []struct{ words, want string }{
		{"rustmq to", "topic"},
		{"rustmq topic cr", "create"},
		{"rustmq topic create --part", "--partitions"},
		{"rustmq topic create orders --repl", "--replicas"},
		{"rustmq completion --h", "--help"},
	} {
		words := strings.Fields(tc.words)
		script := stdout.String() + "\nCOMP_WORDS=(" + tc.words + "); COMP_CWORD=" + string(rune('0'+len(words)-1)) + "; _rustmq; echo \"${COMPREPLY[*]}\"\n"
		out, err := exec.Command(bash, "-c", script).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != tc.want {
			t.Errorf("%q completes to %q, %v; want %q", tc.words, out, err, tc.want)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		stdout.Reset()
		if status := a.run(t.Context(), []string{"rustmq", "completion", shell}); status != exitDone || !strings.Contains(stdout.String(), "describe") {
			t.Errorf("%s: status %d, %s", shell, status, stderr)
		}
	}
}

func TestConfigPrintsWhatServeWouldUse(t *testing.T) {
	a, stdout, stderr := testApp("RUSTMQ_WAL_SEGMENT_SIZE=32MiB")
	if status := a.run(t.Context(), []string{"rustmq", "config", "print", "--node-id", "7"}); status != exitDone {
		t.Fatal(stderr.String())
	}
	for _, want := range []string{"segment_size = \"32MiB\" # from RUSTMQ_WAL_SEGMENT_SIZE", "id = 7 # from --node-id", "listen = \"127.0.0.1:9092\"\n"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is missing from\n%s", want, stdout)
		}
	}
	stdout.Reset()
	if status := a.run(t.Context(), []string{"rustmq", "config", "print", "--defaults", "-o", "json"}); status != exitDone || !strings.Contains(stdout.String(), `"segment_size": "128MiB"`) {
		t.Errorf("%d %s %s", status, stdout, stderr)
	}
}
