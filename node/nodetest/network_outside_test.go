//go:build outside && linux

package nodetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// leaseTime is the default lease of a broker.
	leaseTime = 1500 * time.Millisecond
	// moveOn is a generous bound to how long clients may take to go on elsewhere; what they take is logged.
	moveOn = 20 * time.Second
)

// network is three nodes in network namespaces of their own, each with two links: one to clients, one to the other nodes. Both end in a
// namespace in the middle, where the clients are. A link is cut there: the node itself just hears nothing any more.
type network struct {
	*processes
	world string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Fatalf("%v: apt-get install iproute2", err)
	}
	world := fmt.Sprintf("rustmq%d", os.Getpid())
	namespace(t, world)
	for _, bridge := range []string{"clients", "nodes"} {
		run(t, "ip", "-n", world, "link", "add", bridge, "type", "bridge")
		run(t, "ip", "-n", world, "link", "set", bridge, "up")
	}
	run(t, "ip", "-n", world, "addr", "add", "10.77.1.254/24", "dev", "clients")
	var nodes [3]*realNode
	dir := t.TempDir()
	for i := range nodes {
		ns := fmt.Sprintf("%s-%d", world, i+1)
		namespace(t, ns)
		for subnet, link := range []string{"clients", "nodes"} {
			end := fmt.Sprintf("%s%d", link, i+1)
			run(t, "ip", "-n", world, "link", "add", end, "type", "veth", "peer", "name", link, "netns", ns)
			run(t, "ip", "-n", world, "link", "set", end, "master", link, "up")
			run(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("10.77.%d.%d/24", subnet+1, i+1), "dev", link)
			run(t, "ip", "-n", ns, "link", "set", link, "up")
		}
		nodes[i] = &realNode{
			data: filepath.Join(dir, fmt.Sprint(i+1)), wrap: []string{"ip", "netns", "exec", ns},
			client: fmt.Sprintf("10.77.1.%d:9092", i+1), rpc: fmt.Sprintf("10.77.2.%d:9093", i+1), admin: "127.0.0.1:9642",
		}
	}
	n := &network{processes: newProcesses(t, nodes, "ip", "netns", "exec", world), world: world}
	n.start()
	n.inSync()
	return n
}

func namespace(t *testing.T, name string) {
	t.Helper()
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", name) })
	run(t, "ip", "-n", name, "link", "set", "lo", "up")
}

// link sets links of a node "up" or "down".
func (n *network) link(node int, state string, links ...string) {
	n.t.Helper()
	for _, link := range links {
		run(n.t, "ip", "-n", n.world, "link", "set", fmt.Sprintf("%s%d", link, node), state)
	}
}

// longestGap is the longest time in which a partition acknowledged nothing that began from a moment on.
func longestGap(t *testing.T, w *workload, from time.Time) time.Duration {
	t.Helper()
	var longest time.Duration
	for _, g := range w.stop().Gaps {
		if g.Begin.After(from.Add(-time.Second)) {
			longest = max(longest, time.Duration(g.MS)*time.Millisecond)
		}
	}
	return longest
}

// TestSilentMachineIsReplaced has the packets of a machine dropped, those of the controllers' leader at last. Needs root:
//
//	go test -tags outside -run TestSilentMachineIsReplaced -v ./node/nodetest
func TestSilentMachineIsReplaced(t *testing.T) {
	for _, leads := range []bool{false, true} {
		t.Run(fmt.Sprintf("leads controllers %v", leads), func(t *testing.T) {
			n := newNetwork(t)
			w := n.verify()
			time.Sleep(2 * time.Second)
			victim := n.victim(leads)
			cut := time.Now()
			n.link(victim, "down", "clients", "nodes")
			time.Sleep(6 * time.Second)
			n.link(victim, "up", "clients", "nodes")
			n.inSync()
			gap := longestGap(t, w, cut)
			t.Logf("the longest gap was %v", gap)
			if gap > moveOn {
				t.Errorf("partitions acknowledged nothing for %v", gap)
			}
		})
	}
}

// victim is a node that leads the controllers or not.
func (n *network) victim(leads bool) int {
	n.t.Helper()
	var status statusJSON
	if err := n.ask(&status, "ctl", "cluster", "status"); err != nil {
		n.t.Fatal(err)
	}
	if leads {
		return status.Controller
	}
	return status.Controller%len(n.nodes) + 1
}

// TestCutOffLeaderAcknowledgesNothing cuts a leader off from the controllers and its followers, and not from its clients: one of them knows no other node.
// Needs root:
//
//	go test -tags outside -run TestCutOffLeaderAcknowledgesNothing -v ./node/nodetest
func TestCutOffLeaderAcknowledgesNothing(t *testing.T) {
	n := newNetwork(t)
	n.must("topic", "create", "zombie", "--partitions", "1", "--replicas", "3", "--config", "min.insync.replicas=2")
	w := n.verify()
	victim := n.leaders("zombie")[0]
	n.deaf = n.nodes[victim-1] // it goes on telling of the cluster that it knew
	ns := fmt.Sprintf("%s-%d", n.world, victim)
	for other := range n.nodes { // clients beside the node cannot reach others, and the node needs none of these
		if other+1 != victim {
			run(t, "ip", "-n", ns, "route", "add", "blackhole", fmt.Sprintf("10.77.1.%d/32", other+1))
		}
	}
	if took, err := n.produceTo(victim, "leader", "before"); err != nil {
		t.Fatalf("before the cut, after %v: %v", took, err)
	}
	cut := time.Now()
	n.link(victim, "down", "nodes")
	over := time.Now().Add(leaseTime)
	var acked sync.WaitGroup
	inLease := 0
	for i := 0; time.Since(cut) < 8*time.Second; i++ {
		acked.Go(func() {
			if _, err := n.produceTo(victim, "all", fmt.Sprintf("all %d", i)); err == nil {
				t.Error("a record was acknowledged as being on all replicas in sync by a leader that reaches none")
			}
		})
		sent := time.Now()
		_, err := n.produceTo(victim, "leader", fmt.Sprintf("leader %d", i))
		switch {
		case err == nil && sent.After(over):
			t.Errorf("a record that was sent %v after the cut was acknowledged", sent.Sub(cut))
		case err == nil:
			inLease++
		}
	}
	acked.Wait()
	if leader := n.leaders("zombie")[0]; leader == victim {
		t.Errorf("node %d still leads", leader)
	}
	before := n.consume("zombie")
	n.link(victim, "up", "nodes")
	n.inSync()
	if after := n.consume("zombie"); after != before {
		t.Errorf("what is there changed when the old leader came back: from\n%sto\n%s", before, after)
	}
	n.handOver(victim)
	if after := n.consume("zombie"); after != before {
		t.Errorf("the old leader has\n%sand the leader between had\n%s", after, before)
	}
	text, err := os.ReadFile(n.nodes[victim-1].log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "msg=truncate topic=zombie") && inLease > 0 {
		t.Errorf("%d records were acknowledged by the leader alone, and it has truncated nothing", inLease)
	}
	gap := longestGap(t, w, cut)
	t.Logf("%d records acknowledged within the lease; the longest gap was %v", inLease, gap)
	if gap > moveOn {
		t.Errorf("partitions acknowledged nothing for %v", gap)
	}
}

// produceTo sends a record from beside a node, where no other can be reached.
func (n *network) produceTo(node int, acks, value string) (time.Duration, error) {
	address := n.nodes[node-1].client
	began := time.Now()
	cmd := exec.Command("ip", "netns", "exec", fmt.Sprintf("%s-%d", n.world, node), n.binary,
		"produce", "zombie", "--acks", acks, "--server", address, "--ca", n.path("ca/ca.crt"), "--timeout", "600ms")
	cmd.Env = append(os.Environ(), "HOME="+n.dir)
	cmd.Stdin = strings.NewReader(value + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return time.Since(began), fmt.Errorf("%w: %s", err, out)
	}
	return time.Since(began), nil
}

// consume is all that a topic holds, with offsets.
func (n *network) consume(topic string) string {
	n.t.Helper()
	out, err := n.command("consume", topic, "-f", `%p %o %s\n`).Output()
	if err != nil {
		n.t.Fatalf("consume: %v", err)
	}
	return string(out)
}

// handOver stops other nodes until a node leads the topic again.
func (n *network) handOver(node int) {
	n.t.Helper()
	for range 3 {
		leader := n.leaders("zombie")[0]
		if leader == node {
			return
		}
		other := n.nodes[leader-1]
		other.kill()
		for until := time.Now().Add(20 * time.Second); n.leaders("zombie")[0] == leader && time.Now().Before(until); {
			time.Sleep(50 * time.Millisecond)
		}
		n.start(other)
		n.inSync()
	}
	n.t.Fatalf("node %d does not lead again", node)
}
