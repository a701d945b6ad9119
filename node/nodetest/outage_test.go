package nodetest

import (
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node"
	"github.com/rustmq/rustmq/tier/faultstore"
	"github.com/rustmq/rustmq/wal"
)

// outage is a way in which an object store does not work.
type outage struct {
	name     string
	walBound node.Size
	noMD5    bool          // the store does not vouch for what it took: it is read back
	pace     chan struct{} // a call is finished for each element; nil: not this way
	fault    func(op faultstore.Op, over <-chan struct{}) faultstore.Fault
}

// unavailable is what a store answers with status 503.
var unavailable = mq.Errorf(mq.ObjectStoreUnavailable, "503 Service Unavailable")

var outages = []outage{
	{name: "it hangs", walBound: 64 << 20, fault: func(_ faultstore.Op, over <-chan struct{}) (f faultstore.Fault) {
		<-over
		return f
	}},
	{name: "it refuses", walBound: 24 << 20, fault: func(faultstore.Op, <-chan struct{}) faultstore.Fault {
		return faultstore.Fault{Before: unavailable}
	}},
	{name: "it takes and does not give", walBound: 24 << 20, noMD5: true, fault: func(op faultstore.Op, _ <-chan struct{}) (f faultstore.Fault) {
		if op.Kind != faultstore.Write {
			f.Before = unavailable
		}
		return f
	}},
	{name: "it takes something else", walBound: 24 << 20, noMD5: true, fault: func(op faultstore.Op, _ <-chan struct{}) (f faultstore.Fault) {
		if op.Kind == faultstore.Write {
			bit := int64(8 * 3000)
			f.Flip = &bit
		}
		return f
	}},
	slow(),
}

// slow is a store that does what it is asked for, each time after a long while: what is produced meanwhile is more than it takes. It is
// slow by what is produced and not by the clock, so that this is so on any machine.
func slow() outage {
	pace := make(chan struct{})
	return outage{name: "it is slow", walBound: 24 << 20, pace: pace, fault: func(_ faultstore.Op, over <-chan struct{}) (f faultstore.Fault) {
		select {
		case <-pace:
		case <-over:
		}
		return f
	}}
}

// finishCall lets a slow store be done with one of the calls that it was asked for.
func (o *outage) finishCall() {
	select {
	case o.pace <- struct{}{}:
	default:
	}
}

// finishCalls is finishCall again and again, until stop is called.
func (o *outage) finishCalls() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case o.pace <- struct{}{}:
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// TestOutageOfTheObjectStore keeps the object store away, or slow, for longer than memory lasts: producing goes on up to the log's bound and
// is then held back, consumers read on, memory stays what it was, nobody is told that a record is in the store, and all of it heals.
func TestOutageOfTheObjectStore(t *testing.T) {
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) { o.run(t) })
	}
}

const (
	outageValue   = 8 << 10 // bytes of a record
	outageSegment = 4 << 20
	// outageHeap is by how much the heap may grow: the hot tail (1 MiB), four objects on their way (1 MiB each, here and in the store's
	// hands), what waits for the log, the windows of the connections, and the ledger.
	outageHeap = 16 << 20
)

func (o *outage) run(t *testing.T) {
	store := faultstore.New()
	store.NoMD5 = o.noMD5
	over := make(chan struct{})
	var away atomic.Bool
	store.SetHook(func(op faultstore.Op) (f faultstore.Fault) {
		if away.Load() {
			return o.fault(op, over)
		}
		return f
	})
	cfg := Config(filepath.Join(t.TempDir(), "data"))
	cfg.WAL = node.WALConfig{SegmentSize: outageSegment, MaxSize: o.walBound, QueueSize: 4 << 20}
	cfg.Memory = node.MemoryConfig{TailSize: 1 << 20, CacheSize: 4 << 20}
	cfg.ObjectStore.FlushSize = 1 << 20
	n := live(t, &Rig{Config: cfg}, Seams{FS: wal.OS(), Bucket: store.Bucket()})
	heal := sync.OnceFunc(func() {
		away.Store(false)
		close(over)
	})
	t.Cleanup(heal) // before the node is closed
	l := &Ledger{Topic: "orders", Partitions: 4}
	vault := &Ledger{Topic: "vault", Partitions: 1}
	c := dial(t, n, client.BatchBytes(64<<10), client.PartitionBy(client.RoundRobinPartitioner()))
	for _, topic := range []*Ledger{l, vault} {
		if err := topic.CreateTopic(soon(t), c); err != nil {
			t.Fatal(err)
		}
	}
	away.Store(true)
	hasty := dial(t, n, client.DeliveryTimeout(time.Second), client.RequiredAcks(mq.DurabilityObject))
	vault.Produce(soon(t), hasty, 1, outageValue)
	vault.Wait()
	if acked, _, err := vault.Acked(); acked != 0 || mq.CodeOf(err) != mq.RequestTimedOut {
		t.Errorf("%d records are said to be in the store, which is away, and the error is %v", acked, err)
	}
	patient := dial(t, n, client.RequiredAcks(mq.DurabilityObject))
	vault.Produce(soon(t), patient, 1, outageValue)

	before := liveHeap()
	o.fill(t, n, l)
	// What the store was made to keep is in the heap too.
	kept := int64(0)
	for _, key := range store.Keys() {
		kept += int64(len(store.Content(key)))
	}
	if grown := liveHeap() - before - kept; grown > outageHeap && !o.noMD5 {
		t.Errorf("the heap grew by %d bytes while %d were taken", grown, o.walBound)
	} else {
		t.Logf("the heap grew by %d KiB", grown>>10)
	}
	stop := o.finishCalls() // some of it may be in the store already
	if err := l.Check(soon(t), c); err != nil {
		t.Errorf("during the outage: %v", err)
	}
	stop()
	if acked, _, _ := vault.Acked(); acked != 0 && o.pace == nil {
		t.Error("a record is said to be in the store, which is away")
	}
	if o.pace != nil {
		until(t, "an object is committed although the store is slow", func() bool {
			o.finishCall()
			return n.metric(t, "rustmq_tier_objects_total") > 0
		})
	}

	heal()
	until(t, "everything is in the store, and the log is free", func() bool {
		return tiered(t, c, l.Topic) && n.metric(t, `rustmq_wal_file_bytes{log="data"}`) <= float64(o.walBound-outageSegment)
	})
	l.Produce(soon(t), c, 100, outageValue)
	for _, topic := range []*Ledger{l, vault} {
		topic.Wait()
		if err := topic.Check(soon(t), c); err != nil {
			t.Errorf("topic %s after it healed: %v", topic.Topic, err)
		}
	}
	if acked, _, err := vault.Acked(); acked != 1 {
		t.Errorf("%d records that waited for the store were acknowledged, want 1: %v", acked, err)
	}
}

// fill produces until the log is at its bound and says so.
func (o *outage) fill(t *testing.T, n *Live, l *Ledger) {
	t.Helper()
	c := dial(t, n, client.BatchBytes(64<<10), client.PartitionBy(client.RoundRobinPartitioner()), client.DeliveryTimeout(1700*time.Millisecond))
	// A slow machine has no time for a record here and there long before the log is full.
	for l.lastErr == nil || !strings.Contains(l.lastErr.Error(), mq.StorageFull.String()) {
		if acked, sent, _ := l.Acked(); int64(acked)*outageValue > 2*int64(o.walBound) || int64(sent)*outageValue > 20*int64(o.walBound) {
			t.Fatalf("%d of %d records went into a log of %d bytes: %v", acked, sent, o.walBound, l.lastErr)
		}
		l.Produce(soon(t), c, 512, outageValue)
		l.Wait()
		o.finishCall()
	}
	acked, _, err := l.Acked()
	if mq.CodeOf(err) != mq.RequestTimedOut || !strings.Contains(err.Error(), mq.StorageFull.String()) {
		t.Errorf("a log at its bound holds back with %v", err)
	}
	if took := int64(acked) * outageValue; took < int64(o.walBound)/2 {
		t.Errorf("%d bytes were taken, the bound of the log is %d", took, o.walBound)
	}
	t.Logf("%d KiB were acknowledged", acked*outageValue>>10)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// liveHeap is what is in use, with nothing left to collect.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // pools let go at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// metric is one figure of /metrics.
func (n *Live) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, body, err := n.Get(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(body) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
