//go:build outside && linux

package nodetest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// These tests cut the power of real processes on real file systems: `rustmq serve` on a file system of its own, which the kernel is told
// to shut down without writing anything back. They need root, loop devices and mkfs; see .ci/outside.

const (
	outsideRounds     = 12
	outsidePartitions = 3
	// shutdownNoFlush is what EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN take: what is not on the disk yet is lost, the journal included.
	shutdownNoFlush = 2
	iocShutdown     = 0x8004587d
)

func TestPowerCutOfARealNode(t *testing.T) {
	for _, tool := range []string{"mkfs.ext4", "mkfs.xfs", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: apt-get install e2fsprogs xfsprogs mount", err)
		}
	}
	binary := filepath.Join(t.TempDir(), "rustmq")
	if out, err := exec.Command("go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, kind := range []string{"ext4", "xfs"} {
		for _, store := range []string{"beside", "on the same disk"} {
			t.Run(kind+"/objects "+store, func(t *testing.T) {
				d := newDisk(t, kind)
				objects := filepath.Join(d.mounted, "objects")
				if store == "beside" {
					objects = filepath.Join(t.TempDir(), "objects")
				}
				p := &plug{t: t, disk: d, binary: binary, objects: objects, home: t.TempDir(), sent: make(map[string]*sentRecord)}
				p.config()
				for round := range outsideRounds {
					p.round(round)
				}
				p.start()
				p.check()
				p.stop()
				t.Logf("%d records acknowledged in %d rounds, %d of them read that were not", p.acked, outsideRounds, p.unacked)
				if p.acked == 0 {
					t.Error("nothing was acknowledged")
				}
			})
		}
	}
}

// disk is a file system in a file.
type disk struct {
	t              *testing.T
	image, mounted string
	up             bool
}

func newDisk(t *testing.T, kind string) *disk {
	t.Helper()
	dir := t.TempDir()
	d := &disk{t: t, image: filepath.Join(dir, "image"), mounted: filepath.Join(dir, "mounted")}
	if err := os.Mkdir(d.mounted, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 512<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs."+kind, "-q", d.image)
	t.Cleanup(func() {
		if d.up {
			d.unmount()
		}
	})
	d.mount()
	return d
}

// mount mounts it by a loop device that goes when it is unmounted.
func (d *disk) mount() {
	d.t.Helper()
	run(d.t, "mount", "-o", "loop", d.image, d.mounted)
	d.up = true
}

func (d *disk) unmount() {
	d.t.Helper()
	run(d.t, "umount", d.mounted)
	d.up = false
}

// shutdown is the power cut: from here on nothing more gets to the disk.
func (d *disk) shutdown() {
	d.t.Helper()
	f, err := os.Open(d.mounted)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), iocShutdown, shutdownNoFlush); err != nil {
		d.t.Fatalf("shut down the file system: %v", err)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// plug is a node whose plug is pulled, and what its clients know.
type plug struct {
	t       *testing.T
	disk    *disk
	binary  string
	objects string
	home    string
	addr    string
	process *exec.Cmd

	mu             sync.Mutex
	sent           map[string]*sentRecord
	acked, unacked int
}

type sentRecord struct {
	partition int32
	offset    mq.Offset // as acknowledged; -1: it was not
}

// config writes the configuration: small segments, so that they are filled, freed and used again.
func (p *plug) config() {
	p.t.Helper()
	ports := make([]string, 3)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			p.t.Fatal(err)
		}
		ports[i] = l.Addr().String()
		l.Close()
	}
	p.addr = ports[0]
	text := fmt.Sprintf(`[node]
data_dir = %q
[server]
listen = %q
[rpc]
listen = %q
[admin]
listen = %q
[wal]
segment_size = "2MiB"
max_size = "64MiB"
[raft]
segment_size = "1MiB"
max_size = "8MiB"
[object_store]
url = %q
flush_age = "20ms"
flush_size = "1MiB"
`, filepath.Join(p.disk.mounted, "data"), ports[0], ports[1], ports[2], "file://"+p.objects)
	if err := os.WriteFile(filepath.Join(p.home, "rustmq.toml"), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// start starts the node and waits until it serves.
func (p *plug) start() {
	p.t.Helper()
	p.process = exec.Command(p.binary, "serve", "--config", filepath.Join(p.home, "rustmq.toml"))
	p.process.Env = append(os.Environ(), "HOME="+p.home)
	var log strings.Builder
	p.process.Stderr = &log
	out, err := p.process.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.process.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.kill() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			go func() {
				for lines.Scan() { // it must not wait for somebody to read
				}
			}()
			return
		}
	}
	_ = p.process.Wait()
	p.process = nil
	p.t.Fatalf("the node does not start:\n%s", log.String())
}

func (p *plug) kill() {
	if p.process != nil {
		_ = p.process.Process.Kill()
		_ = p.process.Wait()
		p.process = nil
	}
}

// stop ends the node as it should end.
func (p *plug) stop() {
	p.t.Helper()
	if err := p.process.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.process.Wait(); err != nil {
		p.t.Errorf("the node ended with %v", err)
	}
	p.process = nil
}

func (p *plug) client(opts ...client.Option) *client.Client {
	p.t.Helper()
	c, err := client.New(append(opts, client.Servers(p.addr), client.CAFile(filepath.Join(p.disk.mounted, "data/pki/ca.crt")))...)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// round is one life of the node, which ends in the middle of what it does.
func (p *plug) round(number int) {
	p.t.Helper()
	p.start()
	if number > 0 {
		p.check()
	}
	c := p.client(client.PartitionBy(client.ManualPartitioner()), client.DeliveryTimeout(2*time.Second), client.Linger(time.Millisecond))
	if number == 0 {
		if _, err := c.CreateTopic(p.t.Context(), client.NewTopic{Name: "orders", Partitions: outsidePartitions, Replicas: 1}); err != nil {
			p.t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(p.t.Context())
	var producing sync.WaitGroup
	producing.Go(func() { p.produce(ctx, c, number) })
	time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond) // any moment will do
	canary := filepath.Join(p.disk.mounted, "canary")
	if err := os.WriteFile(canary, []byte(canary), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.disk.shutdown()
	p.kill()
	stop()
	producing.Wait()
	if err := c.Close(); err != nil {
		p.t.Logf("close the client: %v", err)
	}
	p.disk.unmount()
	p.disk.mount()
	if text, err := os.ReadFile(canary); err == nil && string(text) == canary {
		p.t.Error("what was not synced is still there: that was no power cut")
	}
	_ = os.Remove(canary)
}

// produce sends records until the end, some of them with each durability.
func (p *plug) produce(ctx context.Context, c *client.Client, round int) {
	acks := []client.Acks{client.AcksLeader, client.AcksAll, client.AcksAll, client.AcksObject}
	for i := 0; ctx.Err() == nil; i++ {
		value := fmt.Sprintf("%03d-%07d-%s", round, i, strings.Repeat("x", rand.IntN(1000)))
		s := &sentRecord{partition: int32(i % outsidePartitions), offset: -1}
		p.mu.Lock()
		p.sent[value] = s
		p.mu.Unlock()
		rec := &client.Record{Topic: "orders", Partition: s.partition, Value: []byte(value), Acks: acks[rand.IntN(len(acks))]}
		c.Produce(ctx, rec, func(rec *client.Record, err error) {
			if err != nil {
				return // it may be there or not
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			s.offset = rec.Offset
			p.acked++
		})
	}
}

// check reads everything: each acknowledged record is where it was said to be, and no record is there twice.
func (p *plug) check() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	c := p.client()
	defer c.Close()
	var opts []client.ConsumerOption
	for i := range int32(outsidePartitions) {
		opts = append(opts, client.Assign("orders", i, client.Start()))
	}
	consumer, err := c.NewConsumer(opts...)
	if err != nil {
		p.t.Fatal(err)
	}
	defer consumer.Close()
	ends, err := consumer.EndOffsets(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	consumer.StopAt(ends)
	found := make(map[string]bool)
	next := make(map[int32]mq.Offset)
	p.unacked = 0
	for rec, err := range consumer.Records(ctx) {
		if err != nil {
			p.t.Fatal(err)
		}
		s := p.sent[string(rec.Value)]
		switch {
		case s == nil:
			p.t.Fatalf("phantom: partition %d offset %d has %.20q", rec.Partition, rec.Offset, rec.Value)
		case found[string(rec.Value)]:
			p.t.Fatalf("duplicate: partition %d offset %d has %.20q, which was read before", rec.Partition, rec.Offset, rec.Value)
		case rec.Offset != next[rec.Partition]:
			p.t.Fatalf("hole: partition %d goes on at offset %d, not %d", rec.Partition, rec.Offset, next[rec.Partition])
		case s.partition != rec.Partition, s.offset >= 0 && s.offset != rec.Offset:
			p.t.Fatalf("misplaced: partition %d offset %d has %.20q, which belongs to partition %d offset %d", rec.Partition, rec.Offset, rec.Value,
				s.partition, s.offset)
		case s.offset < 0:
			p.unacked++
		}
		found[string(rec.Value)] = true
		next[rec.Partition]++
	}
	for value, s := range p.sent {
		if s.offset >= 0 && !found[value] {
			p.t.Fatalf("lost: %.20q was acknowledged at partition %d offset %d; the partition ends at %d", value, s.partition, s.offset, next[s.partition])
		}
	}
}
