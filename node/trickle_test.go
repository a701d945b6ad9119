package node

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob/memblob"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/partition"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// The flags make it as large as one likes, and other things than a trickle: docs/costs.md has figures of those.
var (
	tricklePartitions = flag.Int("trickle-partitions", 10_000, "partitions that get a trickle; a tenth of them with -short")
	trickleEvery      = flag.Duration("trickle-every", time.Minute, "time between two records of a partition")
	trickleFor        = flag.Duration("trickle-for", 5*time.Minute, "for how long")
	trickleSize       = flag.Int("trickle-size", 100, "bytes of a record")
	trickleRanges     = flag.Int("trickle-ranges", 4, "object_store.compact_ranges")
	trickleObject     = flag.Bool("trickle-object", false, "acks=object: do not wait for them, but have the object store get them as soon")
	trickleRead       = flag.Bool("trickle-read", false, "read it all from the object store at the end")
)

// trickle is a node with many partitions that get a record each, now and then.
type trickle struct {
	t     *testing.T
	n     *Node
	count int    // partitions
	path  string // of the metadata's database
	topic mq.TopicID
	batch mq.Batch // of one record
}

// trickled is what it took so far.
type trickled struct {
	entries, appended           uint64 // of the controllers' log: entries, and their bytes
	database                    int64  // bytes of its file
	objects, ranges, merged     int64  // objects that were uploaded, their ranges, and objects that were made of others
	writes, reads, sent, loaded int64
	held                        stored
}

func (r *trickle) look() trickled {
	info, err := os.Stat(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	s := r.n.sample()
	b := s.store.Billed()
	got := trickled{
		entries: s.raft.Applied, appended: s.raftLog.PayloadBytesTotal, database: info.Size(),
		objects: s.uploader.Objects, ranges: s.uploader.Ranges, merged: s.compactor.Objects,
		writes: b.Writes, reads: b.Reads, loaded: s.store.Downloaded(), held: s.stored,
	}
	for i := range s.store.Classes {
		got.sent += s.store.Classes[i].Uploaded
	}
	return got
}

// append gives some partitions a record each, and waits until they are acknowledged.
func (r *trickle) append(first, step int) {
	var done sync.WaitGroup
	durability := mq.DurabilityAll
	if *trickleObject {
		durability = mq.DurabilityObject
	}
	for i := first; i < r.count; i += step {
		batch := bytes.Clone(r.batch)
		if err := r.n.dataLog.Reserve(r.t.Context(), partition.LogBytes(batch)); err != nil {
			r.t.Fatal(err)
		}
		done.Add(1)
		r.n.partitions.Table().Get(mq.PartitionID{Topic: r.topic, Index: int32(i)}).Append(batch, durability, (*dripped)(&done))
	}
	if !*trickleObject {
		done.Wait()
	}
}

type dripped sync.WaitGroup

func (d *dripped) Complete(a partition.AppendResult) {
	if a.Err != nil {
		panic(a.Err)
	}
	(*sync.WaitGroup)(d).Done()
}

// create makes the topic.
func (r *trickle) create() {
	r.topic = mq.TopicID{1}
	create := &metadatapb.CreateTopic{Name: "trickle", Id: r.topic[:]}
	for range r.count {
		create.Assignments = append(create.Assignments, &metadatapb.ReplicaAssignment{Replicas: []int32{1}})
	}
	if _, err := r.n.cluster.Propose(r.t.Context(), &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: create}}); err != nil {
		r.t.Fatal(err)
	}
	b, err := mq.NewBatchBuilder(mq.CompressionNone, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := b.Append(mq.Record{Value: make([]byte, *trickleSize), Timestamp: time.Now().UnixMilli()}); err != nil {
		r.t.Fatal(err)
	}
	if r.batch, err = b.Build(nil, -1, -1, -1); err != nil {
		r.t.Fatal(err)
	}
}

// run lets it trickle, each second another part of the partitions; or each time all of them, if they get more than a record a second.
func (r *trickle) run() {
	tick := min(time.Second, *trickleEvery)
	parts := int(*trickleEvery / tick)
	for i := range int(*trickleFor / tick) {
		r.append(i%parts, parts)
		time.Sleep(tick)
	}
}

// read reads all from the object store, one partition after the other, and says what it took.
func (r *trickle) read() {
	before := r.look()
	var bytes int64
	for i := range r.count {
		id := mq.PartitionID{Topic: r.topic, Index: int32(i)}
		_, _, end, _ := r.n.partitions.Table().Get(id).Offsets()
		for from := mq.Offset(0); from < end; {
			batches, next, err := r.n.reader.Read(r.t.Context(), id, from, 1<<20)
			if err != nil {
				r.t.Fatal(err)
			}
			bytes, from = bytes+int64(len(batches)), next
		}
	}
	after := r.look()
	r.t.Logf("%d bytes were read by %d requests, which brought %d bytes", bytes, after.reads-before.reads, after.loaded-before.loaded)
}

// TestTrickleInManyPartitionsStaysCheap has 10,000 partitions of a node get a record each a minute, in virtual time, and counts what that takes of the controllers' log,
// of their database, and of the object store: it goes by time and by what is in use, and not by how many partitions there are.
func TestTrickleInManyPartitionsStaysCheap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metadata.db")
	count := *tricklePartitions
	if testing.Short() {
		count /= 10
	}
	synctest.Test(t, func(t *testing.T) {
		bucket := memblob.OpenBucket(nil)
		defer bucket.Close()
		cfg := Default()
		cfg.Node.DataDir = "/data"
		cfg.WAL.SegmentSize, cfg.ObjectStore.CompactRanges = 4*MiB, *trickleRanges
		n, err := StartWith(t.Context(), cfg, slog.New(slog.DiscardHandler), Seams{
			FS: crashfs.New(1), Bucket: bucket, Headless: true, Metadata: metadata.Options{Path: path, NoSync: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close(t.Context())
		r := &trickle{t: t, n: n, count: count, path: path}
		r.create()
		before := r.look()
		r.run()
		if err := n.uploader.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(storedEvery) // until all of it is merged and counted
		after := r.look()
		r.tell(before, after)
		r.check(cfg, before, after)
		if *trickleRead {
			r.read()
		}
	})
}

// tell says what it took.
func (r *trickle) tell(before, after trickled) {
	hours, seconds := trickleFor.Hours(), trickleFor.Seconds()
	r.t.Logf("%d partitions, a record of %d bytes each every %s, for %s: %d ranges in %d objects, and %d merged ones; now %d ranges in %d objects of %d bytes, %d are garbage", r.count, *trickleSize,
		*trickleEvery, *trickleFor, after.ranges, after.objects, after.merged, after.held.live.ranges, after.held.live.objects, after.held.live.bytes, after.held.garbage.objects)
	r.t.Logf("controllers' log: %.2f entries and %.0f bytes a second; database %d bytes before, %d after", float64(after.entries-before.entries)/seconds, float64(after.appended-before.appended)/seconds,
		before.database, after.database)
	writes, reads := float64(after.writes-before.writes), float64(after.reads-before.reads)
	r.t.Logf("an hour: %.0f objects and %.0f merged ones, %.0f writes of %.0f bytes, %.0f reads of %.0f bytes", float64(after.objects)/hours, float64(after.merged)/hours,
		writes/hours, float64(after.sent-before.sent)/writes, reads/hours, float64(after.loaded-before.loaded)/reads)
}

// check holds what it took to the bounds.
func (r *trickle) check(cfg Config, before, after trickled) {
	seconds := trickleFor.Seconds()
	bound := func(what string, got, most float64) {
		r.t.Helper()
		if got > most {
			r.t.Errorf("%s: %.2f, at most %.2f are in bounds", what, got, most)
		}
	}
	age, ranges := cfg.ObjectStore.FlushAge.Seconds(), float64(after.ranges)
	if *trickleObject {
		age = cfg.ObjectStore.AckAge.Seconds()
	}
	// Those of age take all along that are half as old: so there is one each half of flush_age, and more only where they are full.
	most := 2*seconds/age + 2 + 2*float64(after.sent)/float64(cfg.ObjectStore.FlushSize) + 200*ranges/float64(r.n.commitBytes())
	bound("objects", float64(after.objects), most)
	bound("objects and merged ones", float64(after.objects+after.merged), 2*most)
	bound("entries of the controllers' log a second", float64(after.entries-before.entries)/seconds, 2*most/seconds)
	bound("bytes of the controllers' log for a range", float64(after.appended-before.appended)/ranges, 1000)
	// An object is written and asked for. A merged one reads of all others at most what lies together there, and their footers: not a bit for each partition.
	bound("requests that read", float64(after.reads-before.reads), float64(after.writes-before.writes)+2*float64(after.merged*after.objects))
	// What a partition has is merged when it is so much, and what was merged once again.
	rows := min(ranges, float64(2**trickleRanges*r.count))
	bound("ranges that are left", float64(after.held.live.ranges), rows)
	// It grows by 16 MiB at a time.
	bound("bytes of the database", float64(after.database), float64(before.database)+(32<<20)+1000*rows)
	if held := after.held; held.live.objects+held.garbage.objects > after.objects+after.merged || held.live.ranges <= 0 {
		r.t.Errorf("%d objects were committed, and %d merged ones; the metadata has %+v", after.objects, after.merged, held)
	}
	r.checkMetrics(cfg, after)
}

// checkMetrics compares what is told with what was counted.
func (r *trickle) checkMetrics(cfg Config, s trickled) {
	registry, err := r.n.metrics()
	if err != nil {
		r.t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	told := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			told[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	kept := s.held.live.bytes + s.held.garbage.bytes
	for name, least := range map[string]float64{
		"rustmq_tier_billed_requests_total write": float64(s.writes), "rustmq_tier_billed_requests_total read": float64(s.reads),
		"rustmq_tier_cost_total write": float64(s.writes) * float64(cfg.Price.Writes) / 1000, "rustmq_tier_cost_total read": float64(s.reads) * float64(cfg.Price.Reads) / 1000,
		"rustmq_tier_stored_objects live": float64(s.held.live.objects), "rustmq_tier_stored_objects garbage": float64(s.held.garbage.objects),
		"rustmq_tier_stored_bytes live": float64(s.held.live.bytes), "rustmq_tier_stored_ranges": float64(s.held.live.ranges),
		"rustmq_tier_storage_cost_per_month": float64(kept) / bytesPerGiB * float64(cfg.Price.Storage),
	} {
		if got := told[name]; got < 0.999*least || got > 1.01*least {
			r.t.Errorf("metric %s is %v, %v was counted", name, got, least)
		}
	}
}
