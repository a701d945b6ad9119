//go:build outside && linux

package nodetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rustmq/rustmq/tier/storetest"
)

// TestNodeOnS3 has a real node keep its data with a server of S3: what it produces is tiered, survives kill -9, and is read from
// there. The server is away for a while in between: the node starts without it.
func TestNodeOnS3(t *testing.T) {
	const records, size = 48, 256 << 10 // 12 MiB, in a log of 4
	server := storetest.S3(t)
	dir := t.TempDir()
	binary := buildBinary(t)
	config := filepath.Join(dir, "rustmq.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[node]\ndata_dir = %q\n[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n"+
		"[wal]\nsegment_size = \"1MiB\"\nmax_size = \"4MiB\"\n[memory]\ntail_size = \"1MiB\"\n[object_store]\nurl = %q\nflush_size = \"1MiB\"\nflush_age = \"100ms\"\ntimeout = \"5s\"\n",
		filepath.Join(dir, "data"), server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &s3Node{t: t, binary: binary, dir: dir, config: config}
	t.Cleanup(n.kill)
	n.start()
	n.rustmq("", "topic", "create", "orders")
	var sent strings.Builder
	for i := range records {
		fmt.Fprintf(&sent, "%04d%s\n", i, strings.Repeat("x", size))
	}
	n.rustmq(sent.String(), "produce", "orders", "--acks", "object", "--compression", "none")
	n.kill()

	server.Stop()
	n.start()
	n.logs("object store")
	server.Start()
	n.rustmq("one more\n", "produce", "orders", "--acks", "object")
	if got := n.rustmq("", "consume", "orders", "--from", "start"); got != sent.String()+"one more\n" {
		t.Errorf("%d bytes were sent, %d read", sent.Len(), len(got))
	}
	if cold := n.metric("rustmq_tier_fetched_bytes_total"); cold < 4<<20 {
		t.Errorf("%v bytes came from the store", cold)
	}
	if text, err := os.ReadFile(n.log()); err != nil || bytes.Contains(text, []byte("hush")) {
		t.Errorf("the log has a secret in it: %v", err)
	}
	if out := n.rustmq("", "object", "probe", server.URL); !strings.Contains(out, "delete") {
		t.Error(out)
	}
}

// s3Node is a process of one node that is alone.
type s3Node struct {
	t                   *testing.T
	binary, dir, config string
	process             *exec.Cmd
	client, admin       string
}

func (n *s3Node) log() string { return filepath.Join(n.dir, "log") }

func (n *s3Node) environment() []string {
	return append(os.Environ(), "HOME="+n.dir, "XDG_CONFIG_HOME="+n.dir, "RUSTMQ_SERVER="+n.client, "RUSTMQ_CA="+filepath.Join(n.dir, "data/pki/ca.crt"))
}

var addresses = regexp.MustCompile(`(?s)(127\.0\.0\.1:\d+).*http://(127\.0\.0\.1:\d+)`)

// start waits until the node says that it is ready, and where.
func (n *s3Node) start() {
	n.t.Helper()
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.process = exec.Command(n.binary, "serve", "--config", n.config)
	n.process.Env, n.process.Stderr = n.environment(), log
	out, err := n.process.StdoutPipe()
	if err == nil {
		err = n.process.Start()
	}
	if err != nil {
		n.process = nil
		n.t.Fatal(err)
	}
	var said []byte
	for buf := make([]byte, 4096); !bytes.Contains(said, []byte("ready")); {
		k, err := out.Read(buf)
		if said = append(said, buf[:k]...); err != nil {
			text, _ := os.ReadFile(n.log())
			n.t.Fatalf("the node does not start: %v\n%s\n%s", err, said, text)
		}
	}
	got := addresses.FindSubmatch(said)
	if got == nil {
		n.t.Fatalf("it does not say where it listens: %s", said)
	}
	n.client, n.admin = string(got[1]), string(got[2])
}

func (n *s3Node) kill() {
	if n.process != nil {
		_ = n.process.Process.Kill()
		_ = n.process.Wait()
		n.process = nil
	}
}

// rustmq is a client command's output.
func (n *s3Node) rustmq(stdin string, args ...string) string {
	n.t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(n.binary, args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = n.environment(), strings.NewReader(stdin), &out, &stderr
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(n.log())
		n.t.Fatalf("rustmq %s: %v\n%s\n%s", strings.Join(args, " "), err, stderr.String(), text[max(0, len(text)-3000):])
	}
	return out.String()
}

// logs waits until the node's log has the text.
func (n *s3Node) logs(text string) {
	n.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got, err := os.ReadFile(n.log())
		if err == nil && bytes.Contains(got, []byte(text)) {
			return
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the log has no %q: %s", text, got)
		}
	}
}

func (n *s3Node) metric(name string) float64 {
	n.t.Helper()
	answer, err := http.Get("http://" + n.admin + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				n.t.Fatal(err)
			}
			return f
		}
	}
	n.t.Fatalf("there is no metric %s", name)
	return 0
}
