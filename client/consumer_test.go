package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// fill produces n numbered records to each partition of a new topic, in batches of a few.
func fill(t testing.TB, h *cluster, c *Client, topic string, partitions, n int) *fakeTopic {
	t.Helper()
	ft := h.broker.create(topic, partitions)
	for p := range partitions {
		var recs []*Record
		for i := range n {
			recs = append(recs, &Record{
				Topic: topic, Partition: int32(p), Value: fmt.Append(nil, i), Timestamp: time.UnixMilli(1_000_000 + int64(i)),
				Headers: []mq.Header{{Key: "n", Value: fmt.Append(nil, i)}},
			})
		}
		if err := c.ProduceSync(soon(t), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return ft
}

func consumer(t testing.TB, c *Client, opts ...ConsumerOption) *Consumer {
	t.Helper()
	k, err := c.NewConsumer(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func assignAll(topic string, partitions int, from Position) []ConsumerOption {
	var opts []ConsumerOption
	for p := range partitions {
		opts = append(opts, Assign(topic, int32(p), from))
	}
	return opts
}

func TestConsumeToTheEndThatWasSeen(t *testing.T) {
	h := startCluster(t)
	c := h.client(PartitionBy(ManualPartitioner()), BatchBytes(1024))
	fill(t, h, c, "t", 3, 500)
	k := consumer(t, c, assignAll("t", 3, Start())...)
	ends, err := k.EndOffsets(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	k.StopAt(ends)
	if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: []byte("late")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	next := map[int32]int{}
	for rec, err := range k.Records(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		i := next[rec.Partition]
		if want := fmt.Sprint(i); string(rec.Value) != want || rec.Offset != mq.Offset(i) || string(rec.Headers[0].Value) != want || rec.Timestamp.UnixMilli() != 1_000_000+int64(i) {
			t.Fatalf("record %+v, want %s", rec, want)
		}
		next[rec.Partition]++
		if at := k.Position(TopicPartition{"t", rec.Partition}); at != rec.Offset+1 {
			t.Fatalf("position %d after offset %d", at, rec.Offset)
		}
	}
	for p := range int32(3) {
		if next[p] != 500 {
			t.Errorf("partition %d gave %d records", p, next[p])
		}
	}
	if _, err := k.Poll(soon(t)); !errors.Is(err, io.EOF) {
		t.Errorf("poll behind the end: %v", err)
	}
}

func TestPositions(t *testing.T) {
	h := startCluster(t)
	c := h.client(BatchBytes(1024))
	fill(t, h, c, "t", 1, 300)
	for _, tc := range []struct {
		from  Position
		first string
	}{
		{Start(), "0"},
		{At(0), "0"},
		{At(137), "137"},
		{At(299), "299"},
		{AtTime(time.UnixMilli(1_000_000 + 42)), "42"},
		{AtTime(time.UnixMilli(5)), "0"},
	} {
		k := consumer(t, c, Assign("t", 0, tc.from))
		recs, err := k.Poll(soon(t))
		if err != nil || string(recs[0].Value) != tc.first {
			t.Errorf("from %v: %v, %v", tc.from, recs, err)
		}
		k.Close()
	}
	for _, from := range []Position{End(), At(300), AtTime(time.UnixMilli(2_000_000))} {
		k := consumer(t, c, Assign("t", 0, from))
		for deadline := soon(t); k.Position(TopicPartition{"t", 0}) < 0 || from.kind == atOffset; {
			ctx, cancel := context.WithTimeout(deadline, 50*time.Millisecond)
			recs, err := k.Poll(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || deadline.Err() != nil {
				t.Fatalf("from %v: %v, %v", from, recs, err)
			}
			if from.kind == atOffset {
				break
			}
		}
		if at := k.Position(TopicPartition{"t", 0}); at != 300 {
			t.Errorf("from %v: position %d", from, at)
		}
		k.Close()
	}
}

func TestConsumerFollowsTheLog(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	c := h.client()
	k := consumer(t, c, Assign("t", 0, Start()))
	for i := range 50 {
		if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		recs, err := k.Poll(soon(t))
		if err != nil || len(recs) != 1 || string(recs[0].Value) != fmt.Sprint(i) {
			t.Fatalf("%d: %v, %v", i, recs, err)
		}
	}
}

func TestConsumerSurvivesRestartsWithoutGapOrDuplicate(t *testing.T) {
	h := startCluster(t)
	c := h.client(PartitionBy(ManualPartitioner()), BatchBytes(1024))
	const partitions, each = 3, 3000
	fill(t, h, c, "t", partitions, each)
	k := consumer(t, c, append(assignAll("t", partitions, Start()), PrefetchBytes(MinPrefetchBytes))...)
	next := map[int32]mq.Offset{}
	rng := rand.New(rand.NewPCG(1, 2))
	restarts, n := 0, 0
	for rec, err := range k.Records(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Offset != next[rec.Partition] {
			t.Fatalf("partition %d: offset %d, want %d", rec.Partition, rec.Offset, next[rec.Partition])
		}
		next[rec.Partition]++
		if n++; n == partitions*each {
			break
		}
		if rng.IntN(900) == 0 {
			h.restart()
			restarts++
		}
	}
	if restarts == 0 {
		t.Fatal("nothing was tested")
	}
}

func TestSeekPauseResume(t *testing.T) {
	h := startCluster(t)
	c := h.client(PartitionBy(ManualPartitioner()), BatchBytes(1024))
	fill(t, h, c, "t", 2, 1000)
	k := consumer(t, c, assignAll("t", 2, Start())...)
	p0, p1 := TopicPartition{"t", 0}, TopicPartition{"t", 1}
	k.Pause(p1)
	seen := 0
	for rec, err := range k.Records(soon(t)) {
		if err != nil || rec.Partition != 0 || rec.Offset != mq.Offset(seen) {
			t.Fatalf("%+v, %v, want offset %d", rec, err, seen)
		}
		if seen++; seen == 400 {
			break
		}
	}
	if err := k.Seek(p0, At(7)); err != nil {
		t.Fatal(err)
	}
	for rec, err := range k.Records(soon(t)) {
		if err != nil || rec.Partition != 0 || rec.Offset != 7 {
			t.Fatalf("after seek: %+v, %v", rec, err)
		}
		break
	}
	k.Pause(p0)
	k.Resume(p1)
	for i := range 1000 {
		for rec, err := range k.Records(soon(t)) {
			if err != nil || rec.Partition != 1 || rec.Offset != mq.Offset(i) {
				t.Fatalf("after resume: %+v, %v, want %d", rec, err, i)
			}
			break
		}
	}
	k.Resume(p0)
	for b, err := range k.Batches(soon(t)) {
		if err != nil || b.Partition != 0 || b.From != 8 {
			t.Fatalf("after resume: %+v, %v", b, err)
		}
		break
	}
	k.Unassign(p0, p1)
	if got := k.Assigned(); len(got) != 0 {
		t.Errorf("assigned: %v", got)
	}
}

func TestSeekDropsWhatIsOnItsWay(t *testing.T) {
	h := startCluster(t)
	c := h.client()
	h.broker.create("t", 1)
	const n = 60
	for range n {
		if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: make([]byte, 32<<10)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	k := consumer(t, c, Assign("t", 0, Start()), PrefetchBytes(MinPrefetchBytes))
	rng := rand.New(rand.NewPCG(3, 4))
	next := mq.Offset(0)
	seeks := 0
	for rec, err := range k.Records(soon(t)) {
		if err != nil || rec.Offset != next {
			t.Fatalf("after %d seeks: %+v, %v, want offset %d", seeks, rec, err, next)
		}
		next++
		if rng.IntN(5) == 0 || next == n {
			if seeks++; seeks == 60 {
				break
			}
			next = mq.Offset(rng.IntN(n))
			if err := k.Seek(TopicPartition{"t", 0}, At(next)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOutOfRangeIsToldOrReset(t *testing.T) {
	h := startCluster(t)
	c := h.client(BatchBytes(1024))
	ft := fill(t, h, c, "t", 1, 500)
	ft.parts[0].truncateFront(200)
	k := consumer(t, c, Assign("t", 0, At(3)))
	_, err := k.Poll(soon(t))
	wantCode(t, err, mq.OffsetOutOfRange)
	var pe *PartitionError
	if !errors.As(err, &pe) || pe.Topic != "t" {
		t.Errorf("no partition in %v", err)
	}
	if err := k.Seek(TopicPartition{"t", 0}, At(300)); err != nil {
		t.Fatal(err)
	}
	if recs, err := k.Poll(soon(t)); err != nil || recs[0].Offset != 300 {
		t.Fatalf("after seek: %v, %v", recs, err)
	}
	k = consumer(t, c, Assign("t", 0, At(3)), ResetTo(Start()))
	if recs, err := k.Poll(soon(t)); err != nil || recs[0].Offset < 190 {
		t.Fatalf("after reset: %v, %v", recs, err)
	}
}

func TestUnknownPartitionFailsAndOthersGoOn(t *testing.T) {
	h := startCluster(t)
	c := h.client()
	fill(t, h, c, "t", 1, 10)
	k := consumer(t, c, Assign("t", 0, Start()), Assign("t", 9, Start()), Assign("nowhere", 0, Start()))
	var records, failures int
	for _, err := range k.Records(soon(t)) {
		if err != nil {
			wantCode(t, err, mq.UnknownTopicOrPartition)
			failures++
		} else {
			records++
		}
		if records == 10 && failures == 2 {
			return
		}
	}
}

func TestCorruptBatchIsNotHandedOut(t *testing.T) {
	h := startCluster(t)
	c := h.client(BatchBytes(1024))
	ft := fill(t, h, c, "t", 1, 100)
	l := ft.parts[0]
	l.mu.Lock()
	bad := append(mq.Batch(nil), l.batches[1]...)
	bad[len(bad)-1] ^= 1
	l.batches[1] = bad
	l.mu.Unlock()
	k := consumer(t, c, Assign("t", 0, At(bad.BaseOffset())))
	_, err := k.Poll(soon(t))
	wantCode(t, err, mq.CorruptMessage)
}

func TestPrefetchIsBounded(t *testing.T) {
	h := startCluster(t)
	c := h.client()
	ft := h.broker.create("t", 1)
	for range 64 {
		if err := c.ProduceSync(soon(t), &Record{Topic: "t", Value: make([]byte, 64<<10)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	const prefetch = 256 << 10
	k := consumer(t, c, Assign("t", 0, Start()), PrefetchBytes(prefetch))
	seen, peak := 0, int64(0)
	for _, err := range k.Records(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		peak = max(peak, c.Stats().BytesPrefetched)
		if seen++; seen == len(ft.parts[0].records()) {
			break
		}
	}
	if peak > prefetch || peak == 0 {
		t.Errorf("%d bytes were fetched ahead, at most %d allowed", peak, prefetch)
	}
}

func TestCloseWakesPoll(t *testing.T) {
	h := startCluster(t)
	h.broker.create("t", 1)
	c := h.client()
	k := consumer(t, c, Assign("t", 0, Start()))
	done := make(chan error, 1)
	var polling atomic.Bool
	go func() {
		polling.Store(true)
		_, err := k.Poll(context.Background())
		done <- err
	}()
	for !polling.Load() {
		time.Sleep(time.Millisecond)
	}
	k.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("poll gave %v", err)
	}
	if _, err := k.Poll(soon(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("poll after close gave %v", err)
	}
}

// A consumer of many partitions reads over several connections, and one of few over only as many as it has partitions.
func TestConsumerSpreadsItsPartitionsOverItsConnections(t *testing.T) {
	h := startCluster(t)
	c := h.client(PartitionBy(ManualPartitioner()), Connections(3))
	for partitions, want := range map[int]int{1: 1, 2: 2, 7: 3} {
		topic := fmt.Sprint("t", partitions)
		fill(t, h, c, topic, partitions, 10)
		k := consumer(t, c, assignAll(topic, partitions, Start())...)
		ends, err := k.EndOffsets(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		k.StopAt(ends)
		read := 0
		for _, err := range k.Records(soon(t)) {
			if err != nil {
				t.Fatal(err)
			}
			read++
		}
		k.mu.Lock()
		var spread []int
		for _, f := range k.fetchers {
			spread = append(spread, len(f.parts))
		}
		k.mu.Unlock()
		if read != 10*partitions || len(spread) != want || slices.Max(spread)-slices.Min(spread) > 1 {
			t.Errorf("%d partitions: %d records, the connections have %v partitions: want %d, evenly", partitions, read, spread, want)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
