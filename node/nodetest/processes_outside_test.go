//go:build outside && linux

package nodetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rustmq/rustmq/cli/verify"
)

// processes are three real ones of `rustmq serve`, both roles each, which are one cluster.
type processes struct {
	t      *testing.T
	binary string
	dir    string
	world  []string  // command in front of every client's, as of another network namespace
	deaf   *realNode // of whom clients do not ask what the cluster is like
	nodes  [3]*realNode
}

type realNode struct {
	data               string
	client, rpc, admin string   // addresses
	wrap               []string // command in front of its own
	process            *exec.Cmd
	log                string // file
	args               []string
}

func buildBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "rustmq")
	run(t, "go", "build", "-o", binary, "../..")
	return binary
}

// newProcesses makes certificates and flags of three nodes whose data directories and addresses are set already.
func newProcesses(t *testing.T, nodes [3]*realNode, world ...string) *processes {
	t.Helper()
	p := &processes{t: t, binary: buildBinary(t), dir: t.TempDir(), nodes: nodes, world: world}
	p.must("ctl", "ca", "init", "--dir", p.path("ca"))
	var controllers []string
	for i, n := range nodes {
		controllers = append(controllers, "--controllers", fmt.Sprintf("%d@%s", i+1, n.rpc))
	}
	for i, n := range nodes {
		host, _, err := net.SplitHostPort(n.client)
		if err != nil {
			t.Fatal(err)
		}
		p.must("ctl", "ca", "node", "--dir", p.path("ca"), "--node-id", fmt.Sprint(i+1), "--host", host, "--out", p.path(fmt.Sprint("pki", i+1)))
		n.log = p.path(fmt.Sprintf("node%d.log", i+1))
		n.args = append([]string{
			"serve", "--node-id", fmt.Sprint(i + 1), "--data-dir", n.data, "--pki", p.path(fmt.Sprint("pki", i+1)), "--object-store", "file://" + p.path("objects"),
			"--listen", n.client, "--rpc-listen", n.rpc, "--admin-listen", n.admin,
		}, controllers...)
	}
	t.Cleanup(p.end)
	return p
}

func (p *processes) path(name string) string { return filepath.Join(p.dir, name) }

// command is a client's, which knows all nodes.
func (p *processes) command(args ...string) *exec.Cmd {
	words := append(append(append([]string{}, p.world...), p.binary), args...)
	cmd := exec.Command(words[0], words[1:]...)
	servers := make([]string, len(p.nodes))
	for i, n := range p.nodes {
		servers[i] = n.client
	}
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "RUSTMQ_SERVER="+strings.Join(servers, ","), "RUSTMQ_CA="+p.path("ca/ca.crt"))
	return cmd
}

func (p *processes) must(args ...string) {
	p.t.Helper()
	if out, err := p.command(args...).CombinedOutput(); err != nil {
		p.t.Fatalf("rustmq %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// ask decodes what a command answers in JSON.
func (p *processes) ask(into any, args ...string) error {
	var out, stderr bytes.Buffer
	args = append(args, "-o", "json", "--timeout", "3s")
	for _, n := range p.nodes {
		if n != p.deaf {
			args = append(args, "--server", n.client)
		}
	}
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, stderr.String())
	}
	return json.Unmarshal(out.Bytes(), into)
}

// start starts nodes, all of them if none is named, and waits until they serve.
func (p *processes) start(nodes ...*realNode) {
	p.t.Helper()
	if len(nodes) == 0 {
		nodes = p.nodes[:]
	}
	for _, n := range nodes {
		log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			p.t.Fatal(err)
		}
		words := append(append(append([]string{}, n.wrap...), p.binary), n.args...)
		n.process = exec.Command(words[0], words[1:]...)
		n.process.Env = append(os.Environ(), "HOME="+p.dir)
		n.process.Stderr, n.process.Stdout = log, log
		err = n.process.Start()
		log.Close()
		if err != nil {
			n.process = nil
			p.t.Fatal(err)
		}
	}
}

// kill ends a node with kill -9.
func (n *realNode) kill() {
	if n.process != nil {
		_ = n.process.Process.Kill()
		_ = n.process.Wait()
		n.process = nil
	}
}

// end ends everything; the logs of a test that failed are shown.
func (p *processes) end() {
	for i, n := range p.nodes {
		n.kill()
		if !p.t.Failed() {
			continue
		}
		text, _ := os.ReadFile(n.log)
		p.t.Logf("the end of node %d's log:\n%s", i+1, text[max(0, len(text)-8<<10):])
	}
}

type statusJSON struct {
	Controller, Brokers int
	Fenced              int `json:"fenced_brokers"`
	UnderReplicated     int `json:"under_replicated_partitions"`
}

type partitionJSON struct {
	Topic             string
	Partition, Leader int
}

// inSync waits until all brokers are there and every partition has all its replicas in sync.
func (p *processes) inSync() {
	p.t.Helper()
	var status statusJSON
	var err error
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		status = statusJSON{}
		err = p.ask(&status, "ctl", "cluster", "status")
		if err == nil && status.Brokers == len(p.nodes) && status.Fenced == 0 && status.UnderReplicated == 0 {
			return
		}
	}
	p.t.Fatalf("the cluster does not heal: %+v, %v", status, err)
}

// leaders are those of a topic's partitions.
func (p *processes) leaders(topic string) []int {
	p.t.Helper()
	var list []partitionJSON
	if err := p.ask(&list, "ctl", "partition", "list", "--topic", topic); err != nil {
		p.t.Fatal(err)
	}
	leaders := make([]int, len(list))
	for _, l := range list {
		leaders[l.Partition] = l.Leader
	}
	return leaders
}

// workload is a `rustmq verify` that runs.
type workload struct {
	p      *processes
	cmd    *exec.Cmd
	report string
	out    bytes.Buffer
}

func (p *processes) verify() *workload {
	p.t.Helper()
	p.must("topic", "create", "proof", "--partitions", "6", "--replicas", "3", "--config", "min.insync.replicas=2")
	w := &workload{p: p, report: p.path("report.json")}
	w.cmd = p.command("verify", "--topic", "proof", "--duration", "1h", "--rate", "600", "--report", w.report)
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	if err := w.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if w.cmd != nil {
			_ = w.cmd.Process.Kill()
			_ = w.cmd.Wait()
		}
	})
	return w
}

// stop ends the work, and says what was found: nothing wrong, and every record acknowledged.
func (w *workload) stop() verify.Report {
	w.p.t.Helper()
	var report verify.Report
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		w.p.t.Fatal(err)
	}
	err := w.cmd.Wait()
	w.cmd = nil
	if err != nil {
		w.p.t.Fatalf("verify: %v\n%s", err, w.out.String())
	}
	text, err := os.ReadFile(w.report)
	if err != nil {
		w.p.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &report); err != nil {
		w.p.t.Fatal(err)
	}
	if report.Acked == 0 || report.Acked != report.Sent || len(report.Anomalies) > 0 {
		w.p.t.Errorf("not every record was acknowledged once:\n%s", w.out.String())
	}
	return report
}
