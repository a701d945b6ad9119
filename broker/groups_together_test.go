package broker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/broker/coordinator"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// stopDisk has the disk finish no sync until resume is called.
func (f *fixture) stopDisk() (resume func()) {
	stopped := make(chan struct{})
	f.disk.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			<-stopped
		}
		return nil
	})
	resume = sync.OnceFunc(func() {
		f.disk.Hook(nil)
		close(stopped)
	})
	f.t.Cleanup(resume)
	return resume
}

// commitOne commits an offset of one partition, as nobody's.
func (f *fixture) commitOne(name string, offset mq.Offset) error {
	resp, err := f.CommitOffsets(f.t.Context(), alice, &quicproto.CommitOffsetsRequest{Group: name, Epoch: -1, Topics: []quicproto.TopicOffsets{{
		Topic: "orders", Offsets: []quicproto.CommittedOffset{{Offset: offset}},
	}}})
	if err == nil && resp.Topics[0][0] != mq.None {
		err = mq.Errorf(resp.Topics[0][0], "commit")
	}
	return err
}

// batchesIn counts the batches and records of a partition from an offset on.
func (f *fixture) batchesIn(part *partition.Partition, from mq.Offset) (batches, records, bytes int) {
	f.t.Helper()
	var buf partition.ReadBuffer
	for end := logEnd(part); from < end; {
		got, err := part.Read(f.t.Context(), from, 1<<20, mq.IsolationCommitted, &buf)
		f.must(err)
		if got.Next == from {
			f.t.Fatalf("nothing at %d of %d", from, end)
		}
		for _, piece := range got.Batches {
			for len(piece) > 0 {
				b, rest, err := mq.NextBatch(piece)
				f.must(err)
				batches, records, bytes = batches+1, records+int(b.LastOffsetDelta())+1, bytes+len(b)
				piece = rest
			}
		}
		from = got.Next
	}
	return batches, records, bytes
}

// waitingCommits has a group each commit, with a disk that has stopped, and waits until all are decided.
func (f *fixture) waitingCommits(count int) (outcomes chan error) {
	f.t.Helper()
	outcomes = make(chan error, count)
	before := f.groups().Figures().Offsets
	for i := range count {
		go func() { outcomes <- f.commitOne(fmt.Sprint("group-", i), mq.Offset(i)) }()
	}
	for began := time.Now(); f.groups().Figures().Offsets < before+count; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			f.t.Fatalf("%d are decided", f.groups().Figures().Offsets-before)
		}
	}
	return outcomes
}

// Commits that wait for the log go into it together, each is answered when that is durable, and the next coordinator knows all of them.
func TestCommitsThatWaitGoTogether(t *testing.T) {
	f, part := coordinated(t, 1)
	from := logEnd(part)
	const count = 200
	resume := f.stopDisk()
	outcomes := f.waitingCommits(count)
	select {
	case err := <-outcomes:
		t.Fatalf("answered before the disk has it: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	resume()
	for range count {
		f.must(<-outcomes)
	}
	batches, records, _ := f.batchesIn(part, from)
	if records != count || batches > 25 {
		t.Errorf("%d commits are %d records in %d batches, want few batches", count, records, batches)
	}
	f.must(part.Follow(part.Epoch()+1, other))
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
	f.groups().Reconcile()
	for i := range count {
		if got := f.committed(fmt.Sprint("group-", i), "orders", 0); got != mq.Offset(i) {
			t.Fatalf("group %d: %d is committed", i, got)
		}
	}
}

// What is gathered has a bound: a log that is behind is not given one batch of everything.
func TestBatchesOfCommitsAreBounded(t *testing.T) {
	f, part := coordinated(t, 1000)
	from := logEnd(part)
	var all []int32
	for p := range int32(1000) {
		all = append(all, p)
	}
	const count = 80
	resume := f.stopDisk()
	var committing sync.WaitGroup
	for i := range count {
		committing.Go(func() { f.commitFor(fmt.Sprint("group-", i), "orders", 1, all...) })
	}
	for f.groups().Figures().Offsets < 1000*count {
		time.Sleep(time.Millisecond)
	}
	resume()
	committing.Wait()
	batches, _, bytes := f.batchesIn(part, from)
	if size := bytes / batches; batches > 50 || size > 80<<10 {
		t.Errorf("%d large commits are %d batches of %d bytes", count, batches, size)
	}
}

// When the leadership ends all that was gathered fails, what was on its way and what was not, and nothing of it is known to the next coordinator but what is in its log.
func TestCommitsThatWaitFailTogether(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1)
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	f.commitFor("billing", "orders", 7, 0)
	part := f.partition(mq.OffsetsTopic, 0)
	resume := f.stopDisk()
	const count = 50
	outcomes := f.waitingCommits(count)
	end := logEnd(part)
	f.must(part.Follow(part.Epoch()+1, other))
	for range count {
		if err := <-outcomes; mq.CodeOf(err) != mq.NotCoordinator {
			t.Errorf("%v", err)
		}
	}
	resume()
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
	f.groups().Reconcile()
	if got := f.committed("billing", "orders", 0); got != 7 {
		t.Errorf("%d is committed", got)
	}
	if got := logEnd(part); got != end {
		t.Errorf("the log went on from %d to %d", end, got)
	}
	if got := len(f.loaded().Groups); got > int(end) {
		t.Errorf("%d groups of %d records", got, end)
	}
}

// A snapshot that is written between commits which are gathered begins where the log says, and the log is cut there.
func TestSnapshotAmongCommitsIsInItsPlace(t *testing.T) {
	f := newFixture(t, 1)
	f.coordinate(1, func(c *coordinator.Config) { c.SnapshotBytes = 2 << 10 })
	f.create("orders", 1)
	f.must2(f.FindCoordinator(t.Context(), alice, "billing"))
	part := f.partition(mq.OffsetsTopic, 0)
	f.disk.Hook(func(c crashfs.Call) error {
		if c.Op == crashfs.OpSync {
			time.Sleep(time.Millisecond) // so that much waits
		}
		return nil
	})
	const groups = 32
	var last [groups]mq.Offset
	var over atomic.Bool
	var committing sync.WaitGroup
	for i := range groups {
		committing.Go(func() {
			for offset := mq.Offset(1); !over.Load(); offset++ {
				if f.commitOne(fmt.Sprint("group-", i), offset) == nil {
					last[i] = offset
				}
			}
		})
	}
	for began, cut := time.Now(), mq.Offset(0); cut == 0; time.Sleep(time.Millisecond) {
		part.TieredTo(logEnd(part))
		cut = f.Image().Partition(part.ID()).LogStart
		if time.Since(began) > 30*time.Second {
			over.Store(true)
			t.Error("no snapshot")
			break
		}
	}
	over.Store(true)
	committing.Wait()
	f.must(part.SetLogStart(f.Image().Partition(part.ID()).LogStart))
	f.must(part.Follow(part.Epoch()+1, other))
	f.must(part.Lead(part.Epoch()+1, 1000, replicasOf(self)))
	f.groups().Reconcile()
	for i := range groups {
		if got := f.committed(fmt.Sprint("group-", i), "orders", 0); got != last[i] {
			t.Errorf("group %d: %d is committed, %d was acknowledged", i, got, last[i])
		}
	}
}

// BenchmarkCommits is so many members that each commit one offset and wait, over and over, on a disk that takes 0.2 ms for a sync.
func BenchmarkCommits(b *testing.B) {
	for _, members := range []int{1, 8, 100, 1000} {
		b.Run(fmt.Sprint("members=", members), func(b *testing.B) {
			f := newFixture(b, 1)
			f.coordinate(1)
			f.create("orders", 1)
			f.must2(f.FindCoordinator(b.Context(), alice, "billing"))
			f.commitFor("billing", "orders", 0, 0)
			part := f.partition(mq.OffsetsTopic, 0)
			f.disk.Hook(func(c crashfs.Call) error {
				if c.Op == crashfs.OpSync {
					time.Sleep(200 * time.Microsecond)
				}
				return nil
			})
			from := logEnd(part)
			var left atomic.Int64
			left.Store(int64(b.N))
			var committing sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for m := range members {
				committing.Go(func() {
					for offset := mq.Offset(1); left.Add(-1) >= 0; offset++ {
						if err := f.commitOne(fmt.Sprint("group-", m), offset); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			committing.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			batches, records, bytes := f.batchesIn(part, from)
			b.ReportMetric(float64(records)/float64(batches), "records/batch")
			b.ReportMetric(float64(bytes)/float64(records), "log-B/commit")
		})
	}
}
