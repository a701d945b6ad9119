package client

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// delayed starts a cluster that acknowledges after so long, with topic t of four partitions, and a client that would linger for an hour and knows the topic.
func delayed(t *testing.T, delay time.Duration, hook func()) (*cluster, *Client) {
	h := startCluster(t)
	h.broker.create("t", 4)
	c := h.client(Linger(time.Hour))
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Key: []byte("k")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	h.broker.setFault(func(int32, mq.Batch) fault { hook(); return fault{} })
	h.broker.mu.Lock()
	h.broker.delay = delay
	h.broker.mu.Unlock()
	return h, c
}

// oneStay produces records without keys, as many as the partitioner sends to one partition, and waits until something of them is on the wire.
// It pauses behind the first one, which is sent meanwhile if it need not wait.
func oneStay(t *testing.T, c *Client, settled Promise) (n int) {
	t.Helper()
	before := c.holding.bytes.Load()
	n = (DefaultBatchBytes - batchOverhead) / (1000 + recordEncoding)
	for i := range n {
		c.Produce(soon(t), &Record{Topic: "t", Value: make([]byte, 1000)}, settled)
		if i == 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	for c.holding.bytes.Load() < before+busyBytes && soon(t).Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return n
}

// What the partitioner means for one batch goes in one batch, once there is much on the wire: a record by itself costs the servers as much as many.
func TestBatchesAreWholeWhileMuchIsOnTheWire(t *testing.T) {
	var batches atomic.Int64
	_, c := delayed(t, 2*time.Second, func() { batches.Add(1) })
	const stays = 6
	settled := make(chan error, stays*DefaultBatchBytes/1000)
	left := 0
	for range stays {
		left += oneStay(t, c, func(_ *Record, err error) { settled <- err })
	}
	for range left {
		if err := <-settled; err != nil {
			t.Fatal(err)
		}
	}
	if got := batches.Load(); got > stays+1 { // the very first record had nothing to wait for
		t.Errorf("%d batches for %d that are full", got, stays)
	}
}

// Who waits for what is on the wire is sent when that is acknowledged, however long it might linger, and when it is lost.
func TestHeldRecordGoesWhenTheWireIsFree(t *testing.T) {
	for name, lose := range map[string]bool{"acknowledged": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			h, c := delayed(t, 300*time.Millisecond, func() {})
			settled := make(chan error, DefaultBatchBytes/1000)
			promise := func(_ *Record, err error) { settled <- err }
			left := oneStay(t, c, promise)
			c.Produce(soon(t), &Record{Topic: "t", Value: make([]byte, 1000)}, promise)
			if lose {
				h.restart()
			}
			ctx := soon(t)
			for range left + 1 {
				select {
				case err := <-settled:
					if err != nil {
						t.Fatal(err)
					}
				case <-ctx.Done():
					t.Fatal("a record is still held")
				}
			}
			for c.holding.waiting() > 0 || c.holding.bytes.Load() != 0 {
				if time.Sleep(time.Millisecond); ctx.Err() != nil {
					t.Fatalf("with nothing in flight %d bytes are on the wire, for which %d partitions wait", c.holding.bytes.Load(), c.holding.waiting())
				}
			}
		})
	}
}

func (w *holding) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

// The last record that goes to a partition says so, and what goes there fits a batch.
func TestStickyFillsBatches(t *testing.T) {
	for _, size := range []int{0, 10, 100, 1000, 50_000, DefaultBatchBytes, 2 * DefaultBatchBytes} {
		pick := StickyPartitioner()("t")
		builder, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
		if err != nil {
			t.Fatal(err)
		}
		before, ended := -1, true
		for range 3 * (DefaultBatchBytes/(size+recordEncoding) + 1) {
			rec := &Record{Value: make([]byte, size)}
			part := pick(rec, 3)
			if (part != before) != ended {
				t.Fatalf("records of %d bytes: partition %d after %d, and that the stay ended was told: %t", size, part, before, ended)
			}
			if err := builder.Append(mq.Record{Value: rec.Value}); err != nil {
				t.Fatal(err)
			}
			if ended = rec.stay == stayLast; ended {
				if n := builder.Size(); size < DefaultBatchBytes && (n > DefaultBatchBytes*101/100 || n < DefaultBatchBytes*2/3) {
					t.Errorf("records of %d bytes: a batch of %d", size, n)
				}
				builder.Reset()
			}
			before = part
		}
	}
}
