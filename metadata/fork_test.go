package metadata

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// fork gives the verdict on one partition of a fork, and what it begins with.
func (p *modelPartition) fork(point int64) (ranges []modelRange, code mq.Code) {
	switch {
	case point < p.logStart:
		return nil, mq.OffsetOutOfRange
	case point > p.end && point > p.logStart:
		return nil, mq.OffsetNotAvailable
	}
	for _, m := range p.ranges {
		if m.end <= p.logStart || m.first >= point || point <= p.logStart {
			continue
		}
		if m.keyed && point != p.end {
			return nil, mq.InvalidRequest
		}
		m.end = min(m.end, point)
		ranges = append(ranges, m)
	}
	return ranges, mq.None
}

// Fork makes a topic of another one, now and then at points that are no good.
func (r *modelRun) Fork(*rapid.T) {
	id, from, name := r.topic(), r.topic(), fmt.Sprint("t", rapid.IntRange(0, 9).Draw(r.T, "name"))
	if ids := slices.Sorted(maps.Keys(r.topics)); len(ids) > 0 && rapid.IntRange(0, 9).Draw(r.T, "any") > 0 {
		from = rapid.SampledFrom(ids).Draw(r.T, "source")
	}
	source := r.topics[from]
	replicas := r.assignment(rapid.IntRange(1, 3).Draw(r.T, "rf"))
	code := mq.None
	var points []int64
	next := &modelTopic{name: name}
	if source == nil {
		code, points = mq.UnknownTopicID, []int64{0}
	} else {
		next.min, next.unclean = source.min, source.unclean
	}
	for i := 0; source != nil && i < len(source.partitions); i++ {
		p := source.partitions[i]
		point := max(p.end, p.logStart)
		if rapid.Bool().Draw(r.T, "inside") {
			point = rapid.Int64Range(0, point+2).Draw(r.T, "point")
		}
		points = append(points, point)
		forked := r.newPartition(replicas)
		if forked == nil {
			code = mq.InvalidReplicationFactor
			break
		}
		ranges, verdict := p.fork(point)
		if code == mq.None {
			code = verdict
		}
		forked.leaderEpoch, forked.logStart, forked.end, forked.ranges = p.leaderEpoch+1, p.logStart, point, ranges
		next.partitions = append(next.partitions, forked)
	}
	for source != nil && len(points) < len(source.partitions) {
		points = append(points, 0)
	}
	command := forkCommand(id, from, name, replicas, points...)
	there, taken := r.names[name]
	switch {
	case taken && there == id:
		r.want(mq.None, command)
		return
	case taken:
		code = mq.TopicAlreadyExists
	case r.topics[id] != nil || r.used[id]:
		code = mq.InvalidRequest
	}
	r.want(code, command)
	if code != mq.None {
		return
	}
	r.topics[id], r.names[name] = next, id
	for _, p := range next.partitions {
		for _, m := range p.ranges {
			r.objects[m.object]++
		}
	}
}

// newForkBench has topic 1, whose partition has [0, 20) and [20, 50) in objects 1 and 2; the second range holds two epochs.
func newForkBench(t *testing.T) *bench {
	b := newCluster(t, 2)
	b.must(createCommand(1, "t", []int32{1, 2}))
	b.must(&metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
		Id: slices.Clone(topicID(1)), Changes: []*metadatapb.ConfigChange{{Key: "retention.ms", Value: "1000"}},
	}}})
	b.must(objectIDsCommand(10))
	b.commit(1, 1, rangeOf(partitionOf(1, 0), 0, 0, 20))
	b.must(changeCommand(&metadatapb.PartitionChange{Partition: PartitionRecord(partitionOf(1, 0)), LeaderEpoch: -1, Leader: new(int32(1))}))
	second := rangeOf(partitionOf(1, 0), 1, 20, 50)
	second.Epochs = append(second.Epochs, &metadatapb.EpochStart{Epoch: 1, Start: 30})
	b.commit(1, 2, second)
	return b
}

func topicID(n byte) []byte {
	id := topicOf(n)
	return id[:]
}

func TestForkRefersToTheSameObjects(t *testing.T) {
	b := newForkBench(t)
	if got := b.must(forkCommand(2, 1, "fork", []int32{2, 1}, 50)); string(got.GetCreateTopic().GetId()) != string(topicID(2)) {
		t.Errorf("got %v", got)
	}
	fork := b.store.Image().TopicByName("fork")
	p := fork.Partition(0)
	if p.Leader != 2 || p.LeaderEpoch != 2 || p.PartitionEpoch != 0 || p.LogStart != 0 || p.TieredEnd != 50 || fork.Config.RetentionMs != 1000 || len(fork.Overrides) != 1 {
		t.Errorf("%+v, partition %+v", fork, p)
	}
	if got, want := b.ranges(partitionOf(2, 0), 0, 10), b.ranges(partitionOf(1, 0), 0, 10); !slices.Equal(got, want) || len(got) != 2 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	c, ok, err := b.store.Checkpoint(partitionOf(2, 0))
	if !ok || err != nil || c.End != 50 || len(c.ProducerState) != 0 || !slices.Equal(c.Epochs, mq.EpochHistory{{Epoch: 0, Start: 0}, {Epoch: 1, Start: 30}}) {
		t.Errorf("checkpoint %+v %v", c, err)
	}

	// Both go on.
	if got := b.commit(2, 3, rangeOf(partitionOf(2, 0), 2, 50, 60)); got[0] != mq.None {
		t.Errorf("the fork: %v", got)
	}
	if got := b.commit(1, 4, rangeOf(partitionOf(1, 0), 1, 50, 70)); got[0] != mq.None {
		t.Errorf("the source: %v", got)
	}
	// What the one merges the other keeps.
	b.replace(5, replacementOf(partitionOf(2, 0), refOf(0, 20, 1), refOf(20, 50, 2)))
	if len(b.garbage()) != 0 || len(b.ranges(partitionOf(1, 0), 0, 10)) != 3 {
		t.Errorf("garbage %v", b.garbage())
	}
	b.must(deleteCommand(1))
	b.must(reclaimCommand(100))
	if got := b.garbage(); !slices.Equal(got, []uint64{1, 2, 4}) {
		t.Errorf("garbage %v", got)
	}
	if got := bounds(b.ranges(partitionOf(2, 0), 0, 10)); !slices.Equal(got, [][2]mq.Offset{{0, 50}, {50, 60}}) {
		t.Errorf("ranges %v", got)
	}
	checkReload(t, b.store)
	b.must(deleteCommand(2))
	b.must(reclaimCommand(100))
	if got := b.garbage(); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("garbage %v", got)
	}
}

func TestForkEndsInsideARange(t *testing.T) {
	b := newForkBench(t)
	b.must(logStartCommand(partitionOf(1, 0), 25))
	b.must(forkCommand(2, 1, "fork", []int32{1}, 30))
	if got := b.ranges(partitionOf(2, 0), 0, 10); len(got) != 1 || got[0].First != 20 || got[0].End != 30 || got[0].ObjectID != 2 || got[0].Bytes != 100 {
		t.Errorf("ranges %+v", got)
	}
	if p := b.partition(2, 0); p.LogStart != 25 || p.TieredEnd != 30 {
		t.Errorf("%+v", p)
	}
	if c, _, err := b.store.Checkpoint(partitionOf(2, 0)); err != nil || c.End != 30 || !slices.Equal(c.Epochs, mq.EpochHistory{{Epoch: 0, Start: 0}}) {
		t.Errorf("checkpoint %+v %v", c, err)
	}
	// At the log start it begins empty, and refers to nothing: not to the range that this lies in either. And behind what was deleted too, that the object store never had.
	b.must(forkCommand(3, 1, "empty", []int32{1}, 25))
	b.must(logStartCommand(partitionOf(1, 0), 90))
	b.must(forkCommand(4, 1, "deleted", []int32{1}, 90))
	for topic, start := range map[byte]mq.Offset{3: 25, 4: 90} {
		p := b.partition(topic, 0)
		if p.LogStart != start || p.TieredEnd != start || len(b.ranges(partitionOf(topic, 0), 0, 10)) > 0 {
			t.Errorf("topic %d: %+v", topic, p)
		}
	}
	if got := b.commit(1, 3, rangeOf(partitionOf(4, 0), 2, 90, 95)); got[0] != mq.None {
		t.Errorf("commit: %v", got)
	}
	checkReload(t, b.store)
}

func TestForkIsRefusedWhole(t *testing.T) {
	b := newForkBench(t)
	b.must(createCommand(3, "two", []int32{1}, []int32{1}))
	good := func() *metadatapb.Command { return forkCommand(2, 1, "fork", []int32{1}, 50) }
	with := func(spoil func(*metadatapb.ForkTopic)) *metadatapb.Command {
		c := good()
		spoil(c.GetForkTopic())
		return c
	}
	b.refuse(mq.OffsetNotAvailable, forkCommand(2, 1, "fork", []int32{1}, 51))
	b.refuse(mq.OffsetOutOfRange, forkCommand(2, 1, "fork", []int32{1}, -1))
	b.refuse(mq.OffsetNotAvailable, forkCommand(2, 3, "fork", []int32{1}, 0, 1)) // the second one only
	b.refuse(mq.InvalidPartitions, forkCommand(2, 1, "fork", []int32{1}, 50, 50))
	b.refuse(mq.InvalidPartitions, with(func(c *metadatapb.ForkTopic) { c.Points = nil }))
	b.refuse(mq.InvalidPartitions, with(func(c *metadatapb.ForkTopic) { c.Assignments = nil }))
	b.refuse(mq.InvalidReplicationFactor, with(func(c *metadatapb.ForkTopic) { c.Assignments[0].Replicas = []int32{9} }))
	b.refuse(mq.UnknownTopicID, forkCommand(2, 9, "fork", []int32{1}, 50))
	b.refuse(mq.InvalidRequest, with(func(c *metadatapb.ForkTopic) { c.Id = c.GetId()[1:] }))
	b.refuse(mq.InvalidRequest, with(func(c *metadatapb.ForkTopic) { c.Source = nil }))
	b.refuse(mq.InvalidTopic, with(func(c *metadatapb.ForkTopic) { c.Name = "a b" }))
	b.refuse(mq.InvalidRequest, with(func(c *metadatapb.ForkTopic) { c.Id = c.GetSource() }))
	if there := b.refuse(mq.TopicAlreadyExists, forkCommand(2, 1, "two", []int32{1}, 50)); string(there.GetCreateTopic().GetId()) != string(topicID(3)) {
		t.Errorf("there is %v", there)
	}
	b.must(logStartCommand(partitionOf(1, 0), 30))
	b.refuse(mq.OffsetOutOfRange, forkCommand(2, 1, "fork", []int32{1}, 29))
	keyed := replacementOf(partitionOf(1, 0), refOf(20, 50, 2))
	keyed.ByKey = true
	b.replace(3, keyed)
	b.refuse(mq.InvalidRequest, forkCommand(2, 1, "fork", []int32{1}, 40))
	b.commit(1, 4, rangeOf(partitionOf(1, 0), 1, 50, 60))
	b.refuse(mq.InvalidRequest, good()) // a key may have come again behind it
	good = func() *metadatapb.Command { return forkCommand(2, 1, "fork", []int32{1}, 60) }
	b.must(good())
	before := b.digest()
	b.must(good()) // the answer was lost
	b.must(forkCommand(2, 1, "fork", []int32{1}, 40))
	if b.digest() != before {
		t.Error("proposed again, it changed something")
	}
}

func TestForkOfTooManyRangesIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a hundred thousand ranges")
	}
	b := newCluster(t, 1)
	b.must(createCommand(1, "t", []int32{1}, []int32{1}))
	b.must(objectIDsCommand(200))
	at := int64(0)
	for object := uint64(1); at < maxForked; object++ {
		var ranges []*metadatapb.RangeCommit
		for range 1000 {
			ranges = append(ranges, rangeOf(partitionOf(1, 0), 0, at, at+1))
			at++
		}
		b.commit(1, object, ranges...)
	}
	began := time.Now()
	b.must(forkCommand(2, 1, "most", []int32{1}, at, 0))
	t.Logf("%d ranges take %v", at, time.Since(began))
	b.commit(1, 150, rangeOf(partitionOf(1, 1), 0, 0, 1))
	b.refuse(mq.InvalidRequest, forkCommand(3, 1, "more", []int32{1}, at, 1))
	b.must(forkCommand(3, 1, "more", []int32{1}, at-1, 1))
}

func TestForkNeedsItsFeatureLevel(t *testing.T) {
	b := newBench(t)
	form := formCommand()
	form.GetFormCluster().FeatureLevel = ForkLevel - 1
	b.must(form)
	b.refuse(mq.UnsupportedVersion, forkCommand(2, 1, "fork", []int32{1}, 0))
}

// A fork travels in an image like any other topic.
func TestImageWithAForkTravels(t *testing.T) {
	b := newForkBench(t)
	before := b.store.Image()
	b.must(forkCommand(2, 1, "fork", []int32{2, 1}, 30))
	now := b.store.Image()
	reader := new(ImageReader)
	transfer(t, reader, &Image{}, before)
	img, _ := transfer(t, reader, before, now)
	checkSame(t, img, now)
}
