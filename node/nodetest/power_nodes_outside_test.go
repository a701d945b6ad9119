//go:build outside && linux

package nodetest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var powerRounds = flag.Int("power.rounds", 4, "power cuts of three nodes, on each kind of file system")

// TestPowerCutOfRealNodes cuts the power of one of three nodes, and of all at once, each on a file system of its own, while a workload runs. Needs root:
//
//	go test -tags outside -run TestPowerCutOfRealNodes ./node/nodetest -args -power.rounds 100
func TestPowerCutOfRealNodes(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			var nodes [3]*realNode
			disks := make(map[*realNode]*disk)
			for i := range nodes {
				d := newDisk(t, kind)
				nodes[i] = &realNode{data: filepath.Join(d.mounted, "data"), client: freeAddress(t), rpc: freeAddress(t), admin: freeAddress(t)}
				disks[nodes[i]] = d
			}
			p := newProcesses(t, nodes)
			p.start()
			p.inSync()
			w := p.verify()
			for round := range *powerRounds {
				time.Sleep(time.Duration(300+rand.IntN(700)) * time.Millisecond) // any moment will do
				victims := p.nodes[:]
				if round%2 == 0 {
					i := rand.IntN(len(p.nodes))
					victims = p.nodes[i : i+1]
				}
				t.Logf("round %d: %d of them", round, len(victims))
				p.cutPower(victims, disks)
				p.start(victims...)
				p.inSync()
			}
			report := w.stop()
			t.Logf("%d records acknowledged over %d power cuts", report.Acked, *powerRounds)
		})
	}
}

// cutPower takes the power of nodes at once, and mounts what their disks have.
func (p *processes) cutPower(victims []*realNode, disks map[*realNode]*disk) {
	p.t.Helper()
	for _, n := range victims {
		canary := filepath.Join(disks[n].mounted, "canary")
		if err := os.WriteFile(canary, []byte(canary), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	var cuts sync.WaitGroup
	for _, n := range victims {
		cuts.Go(func() {
			disks[n].shutdown()
			n.kill()
		})
	}
	cuts.Wait()
	for _, n := range victims {
		d := disks[n]
		d.unmount()
		d.mount()
		canary := filepath.Join(d.mounted, "canary")
		if text, err := os.ReadFile(canary); err == nil && string(text) == canary {
			p.t.Error("what was not synced is still there: that was no power cut")
		}
		_ = os.Remove(canary)
	}
}

// freeAddress is a loopback address whose port is below those that the system gives to connections: a node that is started again finds it free.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(15000))
		stream, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		packets, err := net.ListenPacket("udp", address)
		if err == nil {
			packets.Close()
		}
		stream.Close()
		if err == nil {
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}
