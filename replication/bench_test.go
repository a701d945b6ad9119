package replication

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal"
)

// BenchmarkAppend appends batches of 16 KiB with `all` to 8 partitions of one leader, alone and with two followers on the same machine, whose work is in
// the figure: three logs on real disks, streams over loopback.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name    string
		brokers int
	}{{"alone", 1}, {"with-two-followers", 3}} {
		b.Run(c.name, func(b *testing.B) { benchmarkAppend(b, c.brokers) })
	}
}

func benchmarkAppend(b *testing.B, brokers int) {
	c := newCluster(b, brokers, 8, min(brokers, 2), 1)
	c.net.loopback = true
	dir := b.TempDir()
	c.fs = func(node mq.NodeID) (wal.FS, string) { return wal.OS(), dir + "/" + string('0'+rune(node)) }
	for i := range 8 {
		c.ctl.take(id(i), 1)
	}
	for _, one := range c.brokers {
		one.disk = nil
	}
	c.start()
	defer c.close()
	const size, inFlight = 16 << 10, 256
	l := c.brokers[1]
	for i := range 8 {
		for l.produce(i, batch(b, mq.NoProducerID, -1, -1, size), mq.DurabilityAll).Err != nil {
			settle()
		}
	}
	template := batch(b, mq.NoProducerID, -1, -1, size)
	b.SetBytes(size)
	slots := make(chan struct{}, inFlight)
	var failed atomic.Pointer[error]
	b.ResetTimer()
	for i := range b.N {
		slots <- struct{}{}
		l.send(i%8, slices.Clone(template), mq.DurabilityAll, freed{slots, &failed})
	}
	for range inFlight {
		slots <- struct{}{}
	}
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
}

// freed gives a place back when an append is acknowledged.
type freed struct {
	slots  chan struct{}
	failed *atomic.Pointer[error]
}

func (f freed) Complete(r partition.AppendResult) {
	if r.Err != nil {
		f.failed.Store(&r.Err)
	}
	<-f.slots
}
