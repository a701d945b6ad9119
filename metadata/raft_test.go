package metadata_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
	"github.com/rustmq/rustmq/wal"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// controller is a single controller: a raft node and a store, on a disk of which the power can be cut. The store's file is real; what a cut
// would leave of it is kept at each synced commit.
type controller struct {
	dir   string
	fs    *crashfs.FS
	lives int // how many files the store has had

	saved []byte // the database as of the last synced commit
	log   *wal.Log
	store *metadata.Store
	node  *raft.Node
}

func (c *controller) path() string {
	return filepath.Join(c.dir, fmt.Sprintf("metadata-%d.db", c.lives))
}

// boot starts with what a power cut has left.
func (c *controller) boot() (err error) {
	c.lives++
	if c.saved != nil {
		if err := os.WriteFile(c.path(), c.saved, 0o600); err != nil {
			return err
		}
	}
	c.log, _, err = wal.Open(wal.Options{FS: c.fs, Dir: "raft", SegmentBytes: 256 << 10}, func(wal.Entry) error { return nil })
	if err != nil {
		return err
	}
	c.store, err = metadata.Open(metadata.Options{Path: c.path(), NoSync: true, AfterCommit: c.keep})
	if err != nil {
		_ = c.log.Close()
		return err
	}
	c.node, err = raft.Open(raft.Config{ID: 1, Peers: []uint64{1}, Log: c.log, SM: c.store, MaxProposal: 64 << 10, CompactEntries: 6})
	if err != nil {
		c.halt()
	}
	return err
}

// keep is called at each synced commit.
func (c *controller) keep(path string) {
	if c.fs.Cut() {
		return // the disk does not turn any more
	}
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	// bbolt makes files larger than they need be.
	if c.saved, err = io.ReadAll(io.LimitReader(file, 256<<10)); err != nil {
		panic(err)
	}
}

func (c *controller) halt() {
	if c.node != nil {
		_ = c.node.Close()
	}
	_ = c.store.Close()
	_ = c.log.Close()
	c.node = nil
	_ = os.Remove(c.path())
}

func (c *controller) do(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	data, err := metadata.EncodeCommand(command)
	if err != nil {
		return nil, err
	}
	result, err := c.node.Propose(ctx, data)
	if err != nil {
		return nil, err
	}
	return metadata.DecodeResult(result)
}

// work forms the cluster, creates topics and takes ids until the power is cut. It gives what was acknowledged.
func (c *controller) work(life int) (topics []string, ids []uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c.boot() != nil {
		return nil, nil
	}
	defer c.halt()
	if _, err := c.node.AwaitLeader(ctx); err != nil {
		return nil, nil
	}
	cluster := mq.ClusterID{1}
	_, _ = c.do(ctx, &metadatapb.Command{Kind: &metadatapb.Command_FormCluster{FormCluster: &metadatapb.FormCluster{
		ClusterId: cluster[:], FeatureLevel: 1,
	}}})
	dir := mq.DirID{2}
	_, _ = c.do(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: &metadatapb.RegisterBroker{
		ClusterId: cluster[:], NodeId: 1, Incarnation: uint64(life), DirId: dir[:], MaxFeatureLevel: 1,
	}}})
	var mu sync.Mutex
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			name, id := fmt.Sprintf("t-%d-%d", life, i), mq.TopicID{byte(life), byte(i), 1}
			_, err := c.do(ctx, &metadatapb.Command{Kind: &metadatapb.Command_CreateTopic{CreateTopic: &metadatapb.CreateTopic{
				Id: id[:], Name: name, Assignments: []*metadatapb.ReplicaAssignment{{Replicas: []int32{1}}},
			}}})
			result, idErr := c.do(ctx, &metadatapb.Command{Kind: &metadatapb.Command_AllocateProducerIds{
				AllocateProducerIds: &metadatapb.AllocateProducerIDs{Count: 1},
			}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				topics = append(topics, name)
			}
			if idErr == nil {
				ids = append(ids, result.GetAllocate().GetFirst())
			}
		})
		if i%2 == 1 {
			wait.Wait()
		}
	}
	wait.Wait()
	return topics, ids
}

// TestNoAcknowledgedCommandIsLostWhereverThePowerIsCut cuts the power in every call of a short run. The database is restored as of its last synced
// commit. What was acknowledged must be there, and no id may come twice.
func TestNoAcknowledgedCommandIsLostWhereverThePowerIsCut(t *testing.T) {
	dir := t.TempDir()
	cuts := 0
	for k, done := 1, false; !done; k++ {
		synctest.Test(t, func(t *testing.T) {
			c := &controller{dir: filepath.Join(dir, fmt.Sprint(k)), fs: crashfs.New(uint64(k))}
			if err := os.Mkdir(c.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.fs.CutAt(k)
			topics, ids := c.work(1)
			done = !c.fs.Cut()
			c.fs.Crash()
			c.fs.CutAt(k%40 + 5)
			again, moreIDs := c.work(2)
			c.fs.Crash()
			last, lastIDs := c.work(3)
			if err := c.boot(); err != nil {
				t.Fatalf("cut at call %d: %v", k, err)
			}
			defer c.halt()
			if len(last) != 8 {
				t.Errorf("cut at call %d: in the end only %v were created", k, last)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := c.node.AwaitLeader(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := c.node.ReadIndex(ctx); err != nil {
				t.Fatal(err)
			}
			for _, name := range append(append(topics, again...), last...) {
				if c.store.Image().TopicByName(name) == nil {
					t.Errorf("cut at call %d: topic %s was acknowledged and is lost", k, name)
				}
			}
			seen := map[uint64]bool{}
			for _, id := range append(append(ids, moreIDs...), lastIDs...) {
				if seen[id] {
					t.Errorf("cut at call %d: id %d was handed out twice", k, id)
				}
				seen[id] = true
			}
		})
		cuts++
	}
	if cuts < 40 { // how many calls there are depends on what is written together
		t.Errorf("only %d cuts", cuts)
	}
	t.Logf("%d runs", cuts)
}

// BenchmarkPropose measures commands through raft, log and database, all synced, by how many wait at a time.
func BenchmarkPropose(b *testing.B) {
	for _, waiting := range []int{1, 16, 256, 1024} {
		b.Run(fmt.Sprintf("waiting-%d", waiting), func(b *testing.B) {
			dir := b.TempDir()
			log, _, err := wal.Open(wal.Options{Dir: filepath.Join(dir, "raft")}, func(wal.Entry) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			store, err := metadata.Open(metadata.Options{Path: filepath.Join(dir, "metadata.db")})
			if err != nil {
				b.Fatal(err)
			}
			node, err := raft.Open(raft.Config{ID: 1, Peers: []uint64{1}, Log: log, SM: store})
			if err != nil {
				b.Fatal(err)
			}
			c := &controller{node: node, store: store}
			if _, err := node.AwaitLeader(b.Context()); err != nil {
				b.Fatal(err)
			}
			cluster := mq.ClusterID{1}
			if _, err := c.do(b.Context(), &metadatapb.Command{Kind: &metadatapb.Command_FormCluster{FormCluster: &metadatapb.FormCluster{
				ClusterId: cluster[:], FeatureLevel: 1,
			}}}); err != nil {
				b.Fatal(err)
			}
			data, err := metadata.EncodeCommand(&metadatapb.Command{Kind: &metadatapb.Command_AllocateObjectIds{
				AllocateObjectIds: &metadatapb.AllocateObjectIDs{Count: 1},
			}})
			if err != nil {
				b.Fatal(err)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wait sync.WaitGroup
			for range waiting {
				wait.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := node.Propose(context.Background(), data); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proposals/s")
			b.StopTimer()
			_ = node.Close()
			_ = store.Close()
			_ = log.Close()
		})
	}
}
