package metadata

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// model is what the state machine should do, written as plainly as can be: maps, no transactions, no sharing.
type model struct {
	brokers    map[int32]*modelBroker
	topics     map[byte]*modelTopic
	names      map[string]byte
	used       map[byte]bool // topic ids that were deleted and are not reclaimed yet
	objects    map[uint64]int
	garbage    map[uint64]bool
	nextObject uint64
	orphans    []modelRange // ranges of deleted topics
	// controllers are nodes and their directories by raft id.
	controllers map[uint64][2]int32
	nextRaft    uint64
	tokens      map[byte]modelToken
}

// modelToken is good for a node until a time.
type modelToken struct {
	node    int32
	expires int64
}

type modelBroker struct {
	incarnation uint64
	dir         int32
	fenced      bool
	stopping    bool
	draining    bool
}

type modelTopic struct {
	name       string
	min        int // min.insync.replicas, 0: unset
	unclean    bool
	partitions []*modelPartition
}

type modelPartition struct {
	leader        int32
	leaderEpoch   int32
	epoch         int32
	replicas, isr []int32
	targets       []int32 // while it is being reassigned
	adding        []int32
	eligible      []int32
	lostDir       int32 // where the last copy of all that was committed is, 0: it is not lost
	uncleanEpoch  int32
	logStart, end int64
	ranges        []modelRange
}

type modelRange struct {
	first, end int64
	object     uint64
	keyed      bool // compacted by key
}

func (m *model) eachPartition(f func(t *modelTopic, p *modelPartition)) {
	for _, t := range m.topics {
		for _, p := range t.partitions {
			f(t, p)
		}
	}
}

func (m *model) alive(ids []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return m.brokers[id].fenced })
}

func (t *modelTopic) minInSync(p *modelPartition) int {
	switch {
	case t.min > 0:
		return t.min
	case len(p.replicas)-len(p.adding) >= 3:
		return 2
	}
	return 1
}

// running are those that do not want to stop, or all when none is.
func (m *model) running(ids []int32) []int32 {
	running := slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return m.brokers[id].stopping })
	if len(running) == 0 {
		return ids
	}
	return running
}

// candidates are those of whom the next leader is the first: who is in sync, or else eligible, or else there at all.
func (m *model) candidates(t *modelTopic, p *modelPartition) (ids []int32, how string) {
	if ids = m.alive(p.isr); len(ids) > 0 && p.lostDir == 0 {
		return ids, "in sync"
	}
	if ids = m.alive(p.eligible); len(ids) > 0 {
		return ids, "eligible"
	}
	if ids = m.alive(p.replicas); len(ids) > 0 && t.unclean {
		if some := p.without(ids, p.isr...); len(some) > 0 { // who is in sync here lost all
			ids = some
		}
		return ids, "unclean"
	}
	return nil, ""
}

// without is a list without some, in the order of the replicas.
func (p *modelPartition) without(ids []int32, gone ...int32) []int32 {
	var rest []int32
	for _, id := range p.replicas {
		if slices.Contains(ids, id) && !slices.Contains(gone, id) {
			rest = append(rest, id)
		}
	}
	return rest
}

// elect finds a leader for a partition without one.
func (m *model) elect(t *modelTopic, p *modelPartition) {
	if ids, how := m.candidates(t, p); len(ids) > 0 {
		m.lead(p, m.running(ids)[0], how)
	}
}

func (m *model) lead(p *modelPartition, id int32, how string) {
	p.leader = id
	switch how {
	case "eligible":
		p.eligible = append(p.eligible, p.isr...)
		p.isr = []int32{id}
	case "unclean":
		p.isr, p.eligible, p.lostDir, p.uncleanEpoch = []int32{id}, nil, 0, p.leaderEpoch+1
	}
}

// change does something to a partition, and what follows from it. left are those who leave the in-sync set with all that they had.
// With newEpoch the leader gets a new epoch even if it stays, as it does when a replica goes.
func (m *model) change(t *modelTopic, p *modelPartition, newEpoch bool, do func() (left []int32)) {
	before := fmt.Sprint(*p)
	leader, replicas := p.leader, p.replicas
	p.eligible = append(p.eligible, do()...)
	p.finish(t)
	if p.leader == -1 {
		m.elect(t, p)
		p.finish(t)
	}
	gone := slices.ContainsFunc(replicas, func(id int32) bool { return !slices.Contains(p.replicas, id) })
	if p.leader != leader || newEpoch || gone {
		p.leaderEpoch++
	}
	if fmt.Sprint(*p) != before {
		p.epoch++
	}
}

// finish ends a reassignment when all targets are in sync, and forgets the eligible when commits go on without them.
func (p *modelPartition) finish(t *modelTopic) {
	if p.targets != nil && p.lostDir == 0 && len(p.without(p.targets, p.isr...)) == 0 {
		p.replicas, p.isr, p.targets, p.adding = p.targets, p.targets, nil, nil
	}
	if !slices.Contains(p.isr, p.leader) {
		p.leader = -1
	}
	p.eligible = p.without(p.eligible, p.isr...)
	if p.leader != -1 && len(p.isr) >= t.minInSync(p) {
		p.eligible = nil
	}
}

func (m *model) register(node int32, incarnation uint64, dir int32, suspect func(*modelPartition) bool) {
	old := m.brokers[node]
	if old != nil && old.incarnation == incarnation && !old.fenced {
		return
	}
	draining := m.brokers[node] != nil && m.brokers[node].draining
	m.brokers[node] = &modelBroker{incarnation: incarnation, dir: dir, draining: draining}
	otherDir := old != nil && old.dir != dir
	m.eachPartition(func(t *modelTopic, p *modelPartition) {
		if !slices.Contains(p.replicas, node) {
			return
		}
		m.change(t, p, p.leader == node, func() []int32 {
			if p.leader == node {
				p.leader = -1
			}
			switch {
			case slices.Contains(p.isr, node) && p.lostDir != 0:
				if p.lostDir == dir {
					p.lostDir = 0
				}
				return nil
			case !otherDir && !suspect(p):
				return nil
			}
			p.eligible = p.without(p.eligible, node)
			switch {
			case !slices.Contains(p.isr, node):
			case len(p.isr) > 1:
				p.isr = p.without(p.isr, node)
			case len(m.alive(p.eligible)) > 0:
				p.isr = m.alive(p.eligible)[:1]
			case len(p.eligible) > 0:
				p.isr = p.eligible[:1]
			case otherDir:
				p.lostDir = old.dir
			}
			return nil
		})
	})
}

func (m *model) fence(node int32) {
	if m.brokers[node].fenced {
		return
	}
	m.brokers[node].fenced = true
	m.eachPartition(func(t *modelTopic, p *modelPartition) {
		if !slices.Contains(p.isr, node) {
			return
		}
		m.change(t, p, false, func() (left []int32) {
			if p.leader == node {
				p.leader = -1
			}
			if len(p.isr) > 1 {
				p.isr = p.without(p.isr, node)
				left = []int32{node}
			}
			return left
		})
	})
}

func (m *model) newPartition(replicas []int32) *modelPartition {
	p := &modelPartition{leader: -1, replicas: replicas}
	p.isr = m.running(m.alive(replicas))
	if len(p.isr) == 0 {
		return nil
	}
	p.leader = p.isr[0]
	return p
}

// commit gives the verdict on one range.
func (m *model) commit(p *modelPartition, node int32, object uint64, r *metadatapb.RangeCommit) mq.Code {
	if p == nil {
		return mq.UnknownTopicOrPartition
	}
	if p.has(modelRange{first: r.GetFirst(), end: r.GetEnd(), object: object}) >= 0 {
		return mq.None
	}
	switch {
	case r.GetLeaderEpoch() < p.leaderEpoch:
		return mq.FencedLeaderEpoch
	case r.GetLeaderEpoch() > p.leaderEpoch:
		return mq.UnknownLeaderEpoch
	case p.leader != node:
		return mq.NotLeaderOrFollower
	case r.GetFirst() >= r.GetEnd() || r.GetFirst() < 0:
		return mq.InvalidRequest
	case r.GetFirst() != p.end && (r.GetFirst() < p.end || r.GetFirst() > p.logStart):
		return mq.OffsetOutOfRange
	}
	p.ranges = append(p.ranges, modelRange{first: r.GetFirst(), end: r.GetEnd(), object: object})
	p.end = r.GetEnd()
	m.objects[object]++
	return mq.None
}

// drop takes a range away from its object.
func (m *model) drop(r modelRange) {
	m.objects[r.object]--
	if m.objects[r.object] == 0 {
		delete(m.objects, r.object)
		m.garbage[r.object] = true
	}
}

// replace gives the verdict on one range in the place of others.
func (m *model) replace(p *modelPartition, object uint64, r *metadatapb.Replacement) mq.Code {
	if p == nil {
		return mq.UnknownTopicOrPartition
	}
	fresh := modelRange{r.GetFirst(), r.GetEnd(), object, r.GetByKey()}
	if p.has(fresh) >= 0 {
		return mq.None
	}
	var old []modelRange
	for i, o := range r.GetOld() {
		if o.GetObjectId() == object || o.GetFirst() >= o.GetEnd() || i > 0 && o.GetFirst() != old[i-1].end {
			return mq.InvalidRequest
		}
		old = append(old, modelRange{first: o.GetFirst(), end: o.GetEnd(), object: o.GetObjectId()})
	}
	if fresh.first >= fresh.end || fresh.end != old[len(old)-1].end || fresh.first < old[0].first || fresh.first > old[0].first && fresh.first > p.logStart {
		return mq.InvalidRequest
	}
	at := p.has(old[0])
	if at < 0 || len(p.ranges) < at+len(old) || !slices.EqualFunc(p.ranges[at:at+len(old)], old, modelRange.same) {
		return mq.OffsetOutOfRange
	}
	p.ranges = slices.Replace(p.ranges, at, at+len(old), fresh)
	for _, o := range old {
		m.drop(o)
	}
	m.objects[object]++
	return mq.None
}

func (r modelRange) same(o modelRange) bool {
	return r.first == o.first && r.end == o.end && r.object == o.object
}

// has is where a range is, -1: nowhere.
func (p *modelPartition) has(r modelRange) int { return slices.IndexFunc(p.ranges, r.same) }

// reclaimAll drops all that is not needed.
func (m *model) reclaimAll() {
	m.eachPartition(func(_ *modelTopic, p *modelPartition) {
		p.ranges = slices.DeleteFunc(p.ranges, func(r modelRange) bool {
			if r.end <= p.logStart {
				m.drop(r)
			}
			return r.end <= p.logStart
		})
	})
	for _, r := range m.orphans {
		m.drop(r)
	}
	m.orphans = nil
	clear(m.used)
}

// modelRun drives state machine and model side by side.
type modelRun struct {
	*rapid.T
	*model
	b    *bench
	last *Image // as of the last check
}

func (r *modelRun) node() int32 {
	ids := slices.Sorted(maps.Keys(r.brokers))
	return rapid.SampledFrom(ids).Draw(r.T, "node")
}

func (r *modelRun) topic() byte { return byte(rapid.IntRange(1, 6).Draw(r.T, "topic")) }

// want fails when a command was answered in another way.
func (r *modelRun) want(code mq.Code, command *metadatapb.Command) *metadatapb.Result {
	result, err := r.b.do(command)
	if mq.CodeOf(err) != code {
		r.Fatalf("%v: got %v, want %v", command, err, code)
	}
	return result
}

func (r *modelRun) assignment(replicas int) []int32 {
	return rapid.Permutation(slices.Sorted(maps.Keys(r.brokers))).Draw(r.T, "replicas")[:min(replicas, len(r.brokers))]
}

func (r *modelRun) Register(*rapid.T) {
	node := int32(rapid.IntRange(1, 4).Draw(r.T, "node"))
	incarnation := rapid.Uint64Range(1, 1000).Draw(r.T, "incarnation")
	dir := node + int32(rapid.SampledFrom([]int{0, 0, 0, 100}).Draw(r.T, "dir"))
	command := registerCommand(node, incarnation)
	command.GetRegisterBroker().DirId = dirOf(dir)
	suspects := map[*modelPartition]bool{}
	for _, id := range slices.Sorted(maps.Keys(r.topics)) {
		for i, p := range r.topics[id].partitions {
			if rapid.IntRange(0, 5).Draw(r.T, "suspect") == 0 {
				suspects[p] = true
				command.GetRegisterBroker().Suspects = append(command.GetRegisterBroker().Suspects, PartitionRecord(partitionOf(id, int32(i))))
			}
		}
	}
	r.want(mq.None, command)
	r.register(node, incarnation, dir, func(p *modelPartition) bool { return suspects[p] })
}

func (r *modelRun) Fence(*rapid.T) {
	node := r.node()
	r.want(mq.None, fenceCommand(node, r.b.store.Image().Broker(mq.NodeID(node)).Epoch))
	r.fence(node)
}

func (r *modelRun) Create(*rapid.T) {
	id, name := r.topic(), fmt.Sprint("t", rapid.IntRange(0, 3).Draw(r.T, "name"))
	rf := rapid.IntRange(1, 3).Draw(r.T, "rf")
	var assignments [][]int32
	var partitions []*modelPartition
	code := mq.None
	for range rapid.IntRange(1, 3).Draw(r.T, "partitions") {
		a := r.assignment(rf)
		p := r.newPartition(a)
		if p == nil {
			code = mq.InvalidReplicationFactor
		}
		assignments, partitions = append(assignments, a), append(partitions, p)
	}
	there, taken := r.names[name]
	switch {
	case taken && there == id:
		r.want(mq.None, createCommand(id, name, assignments...))
		return
	case taken:
		code = mq.TopicAlreadyExists
	case r.topics[id] != nil || r.used[id]:
		code = mq.InvalidRequest
	}
	r.want(code, createCommand(id, name, assignments...))
	if code == mq.None {
		r.topics[id], r.names[name] = &modelTopic{name: name, partitions: partitions}, id
	}
}

func (r *modelRun) Delete(*rapid.T) {
	id := r.topic()
	t := r.topics[id]
	if t == nil {
		r.want(mq.UnknownTopicID, deleteCommand(id))
		return
	}
	r.want(mq.None, deleteCommand(id))
	delete(r.topics, id)
	delete(r.names, t.name)
	for _, p := range t.partitions {
		r.orphans = append(r.orphans, p.ranges...)
		if p.end > 0 {
			r.used[id] = true
		}
	}
}

// object is one that nobody had before, mostly.
func (r *modelRun) object() uint64 {
	object := r.nextObject
	if rapid.IntRange(0, 5).Draw(r.T, "old") == 0 {
		object = rapid.Uint64Range(1, r.nextObject).Draw(r.T, "object")
	}
	if object == r.nextObject {
		r.want(mq.None, objectIDsCommand(1))
		r.nextObject++
	}
	return object
}

// verdicts fails when the parts of a command that brings an object were decided in another way.
func (r *modelRun) verdicts(object uint64, command *metadatapb.Command, got []*metadatapb.Verdict, want []mq.Code) {
	if !slices.Equal(codes(got), want) {
		r.Fatalf("%v: got %v, want %v", command, codes(got), want)
	}
	if r.objects[object] == 0 {
		r.garbage[object] = true
	}
}

func (r *modelRun) Commit(*rapid.T) {
	object := r.object()
	node := r.node()
	command := commitCommand(node, object)
	var partitions []*modelPartition
	for range rapid.IntRange(0, 4).Draw(r.T, "ranges") {
		id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
		p := r.at(id)
		first, epoch := int64(0), mq.Epoch(0)
		if p != nil {
			first = p.end + rapid.SampledFrom([]int64{0, 0, 0, 0, 5, -5}).Draw(r.T, "gap")
			epoch = mq.Epoch(p.leaderEpoch) + rapid.SampledFrom([]mq.Epoch{0, 0, 0, 0, 1, -1}).Draw(r.T, "epoch")
			if rapid.Bool().Draw(r.T, "led") {
				node = p.leader
			}
		}
		command.GetCommitObject().Ranges = append(command.GetCommitObject().Ranges,
			rangeOf(id, epoch, first, first+rapid.Int64Range(0, 9).Draw(r.T, "size")))
		partitions = append(partitions, p)
	}
	command.GetCommitObject().NodeId = node
	if r.garbage[object] {
		r.want(mq.InvalidRequest, command)
		return
	}
	var want []mq.Code
	for i, c := range command.GetCommitObject().GetRanges() {
		want = append(want, r.commit(partitions[i], node, object, c))
	}
	r.verdicts(object, command, r.want(mq.None, command).GetCommitObject().GetVerdicts(), want)
}

// Replace compacts: ranges that follow each other, of some partitions, become one each. Now and then one of them is not what is there, or the new one not
// what it should be, or all comes twice.
func (r *modelRun) Replace(*rapid.T) {
	object := r.object()
	command := replaceCommand(object)
	c := command.GetReplaceRanges()
	var partitions []*modelPartition
	for range rapid.IntRange(0, 3).Draw(r.T, "replacements") {
		id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
		p := r.at(id)
		old := []*metadatapb.RangeRef{refOf(0, 5, 1)}
		if p != nil && len(p.ranges) > 0 {
			from := rapid.IntRange(0, len(p.ranges)-1).Draw(r.T, "from")
			to := rapid.IntRange(from+1, min(len(p.ranges), from+4)).Draw(r.T, "to")
			old = nil
			for _, o := range p.ranges[from:to] {
				old = append(old, refOf(o.first, o.end, o.object))
			}
		}
		one := replacementOf(id, old...)
		one.ByKey = rapid.IntRange(0, 3).Draw(r.T, "keyed") == 0
		some := rapid.SampledFrom(old).Draw(r.T, "some")
		switch rapid.IntRange(0, 12).Draw(r.T, "spoil") {
		case 0:
			some.ObjectId++
		case 1:
			some.First++
		case 2:
			some.End--
		case 3:
			one.First++
		case 4:
			one.End--
		case 5, 6:
			if p != nil { // what lies below the log start goes
				one.First = min(max(one.First, p.logStart), one.End-1)
			}
		}
		c.Replacements, partitions = append(c.Replacements, one), append(partitions, p)
	}
	for range rapid.IntRange(1, 2).Draw(r.T, "times") {
		if r.garbage[object] {
			r.want(mq.InvalidRequest, command)
			return
		}
		var want []mq.Code
		for i, one := range c.GetReplacements() {
			want = append(want, r.replace(partitions[i], object, one))
		}
		r.verdicts(object, command, r.want(mq.None, command).GetReplaceRanges().GetVerdicts(), want)
	}
}

func (r *modelRun) at(id mq.PartitionID) *modelPartition {
	t := r.topics[id.Topic[1]]
	if t == nil || int(id.Index) >= len(t.partitions) {
		return nil
	}
	return t.partitions[id.Index]
}

func (r *modelRun) LogStart(*rapid.T) {
	id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
	offset := rapid.Int64Range(0, 60).Draw(r.T, "offset")
	verdicts := r.want(mq.None, logStartCommand(id, offset)).GetSetLogStarts().GetVerdicts()
	want := mq.UnknownTopicOrPartition
	if p := r.at(id); p != nil {
		p.logStart = max(p.logStart, offset)
		want = mq.None
	}
	if got := codes(verdicts)[0]; got != want {
		r.Fatalf("set log start of %v: got %v, want %v", id, got, want)
	}
}

func (r *modelRun) ReclaimAll(*rapid.T) {
	for {
		limit := int32(rapid.IntRange(1, 5).Draw(r.T, "limit"))
		if !r.want(mq.None, reclaimCommand(limit)).GetReclaimRanges().GetMore() {
			break
		}
	}
	r.reclaimAll()
}

func (r *modelRun) RemoveGarbage(*rapid.T) {
	ids := slices.Sorted(maps.Keys(r.garbage))
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(r.T, "garbage")
	// Only what is deleted from the bucket for good is forgotten, and its id never comes again.
	r.want(mq.None, &metadatapb.Command{Kind: &metadatapb.Command_RemoveObjects{RemoveObjects: &metadatapb.RemoveObjects{ObjectIds: []uint64{id}}}})
	delete(r.garbage, id)
}

// check compares all of the state.
func (r *modelRun) check() {
	img := r.b.store.Image()
	controllers := map[uint64][2]int32{}
	for _, c := range img.Controllers() {
		controllers[c.RaftID] = [2]int32{int32(c.Node), int32(c.Dir[1])}
	}
	if !maps.Equal(controllers, r.controllers) {
		r.Fatalf("controllers %v, want %v", controllers, r.controllers)
	}
	if len(img.Brokers()) != len(r.brokers) {
		r.Fatalf("%d brokers, want %d", len(img.Brokers()), len(r.brokers))
	}
	for _, b := range img.Brokers() {
		if want := r.brokers[int32(b.ID)]; b.Fenced != want.fenced || b.ShuttingDown != want.stopping || b.Draining != want.draining {
			r.Fatalf("broker %+v, want %+v", *b, *want)
		}
	}
	if img.TopicCount() != len(r.topics) {
		r.Fatalf("%d topics, want %d", img.TopicCount(), len(r.topics))
	}
	for id, t := range r.topics {
		topic := img.TopicByName(t.name)
		if topic == nil || topic.ID != topicOf(id) || int(topic.Partitions()) != len(t.partitions) {
			r.Fatalf("topic %q: %+v", t.name, topic)
		}
		for i, want := range t.partitions {
			got := topic.Partition(int32(i))
			if int32(got.Leader) != want.leader || int32(got.LeaderEpoch) != want.leaderEpoch || got.PartitionEpoch != want.epoch ||
				int64(got.LogStart) != want.logStart || int64(got.TieredEnd) != want.end ||
				!slices.Equal(nodeNumbers(got.ISR), want.isr) || !slices.Equal(nodeNumbers(got.Replicas), want.replicas) ||
				!slices.Equal(nodeNumbers(got.Eligible), want.eligible) || int32(got.UncleanEpoch) != want.uncleanEpoch ||
				string(got.LostDir[:]) != string(want.lost()) || want.targets == nil != (got.Reassignment == nil) ||
				want.targets != nil && (!slices.Equal(nodeNumbers(got.Targets()), want.targets) ||
					!slices.Equal(nodeNumbers(got.Reassignment.Adding), want.adding)) {
				r.Fatalf("topic %q, partition %d: got %+v, want %+v", t.name, i, *got, *want)
			}
			r.checkRanges(partitionOf(id, int32(i)), want)
			r.checkMembership(partitionOf(id, int32(i)), topic, got)
		}
	}
	r.checkObjects()
	r.last = img
}

// checkObjects compares what is live: exactly what any topic refers to, so often as it does.
func (r *modelRun) checkObjects() {
	want := map[uint64]int{}
	r.eachPartition(func(_ *modelTopic, p *modelPartition) {
		for _, m := range p.ranges {
			want[m.object]++
		}
	})
	for _, m := range r.orphans {
		want[m.object]++
	}
	got := map[uint64]int{}
	if err := r.b.store.view(func(d *db) {
		each(d, bucketObjects, &metadatapb.Object{}, func(key []byte, o *metadatapb.Object) {
			got[binary.BigEndian.Uint64(key)] = int(o.GetLiveRanges())
		})
	}); err != nil {
		r.Fatal(err)
	}
	if !maps.Equal(got, want) {
		r.Fatalf("objects are referred to %v, want %v", got, want)
	}
	if got, want := r.b.garbage(), slices.Sorted(maps.Keys(r.garbage)); !slices.Equal(got, want) {
		r.Fatalf("garbage %v, want %v", got, want)
	}
}

func (p *modelPartition) lost() []byte {
	if p.lostDir == 0 {
		return make([]byte, len(mq.DirID{}))
	}
	return dirOf(p.lostDir)
}

// checkRanges compares what a reader from the log start on would see. That there is no gap the store sees to.
func (r *modelRun) checkRanges(id mq.PartitionID, p *modelPartition) {
	var want, got []modelRange
	for _, m := range p.ranges {
		if m.end > p.logStart {
			want = append(want, m)
		}
	}
	for _, g := range r.b.ranges(id, mq.Offset(p.logStart), 1000) {
		got = append(got, modelRange{int64(g.First), int64(g.End), g.ObjectID, g.ByKey})
	}
	if !slices.Equal(got, want) {
		r.Fatalf("%v: ranges %v, want %v", id, got, want)
	}
}

// checkModel drives both with random actions.
func checkModel(t *testing.T, steps int, actions func(r *modelRun) []func(*rapid.T)) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		b := &bench{t: t, store: openStore(t, filepath.Join(dir, fmt.Sprint(runs)))}
		defer func() { _ = b.store.Close() }()
		b.must(formCommand())
		r := &modelRun{T: rt, b: b, last: &Image{}, model: &model{
			brokers: map[int32]*modelBroker{}, topics: map[byte]*modelTopic{}, names: map[string]byte{}, used: map[byte]bool{},
			objects: map[uint64]int{}, garbage: map[uint64]bool{}, nextObject: 1, controllers: map[uint64][2]int32{}, tokens: map[byte]modelToken{},
		}}
		r.Register(rt)
		all := actions(r)
		for range rapid.IntRange(1, steps).Draw(rt, "steps") {
			all[rapid.IntRange(0, len(all)-1).Draw(rt, "action")](rt)
			r.check()
		}
		r.ReclaimAll(rt)
		if got, want := b.garbage(), slices.Sorted(maps.Keys(r.garbage)); !slices.Equal(got, want) {
			rt.Fatalf("garbage %v, want %v", got, want)
		}
		r.RemoveGarbage(rt)
		checkReload(t, b.store)
	})
}

func TestStateMachineDoesWhatThePlainModelDoes(t *testing.T) {
	checkModel(t, 60, func(r *modelRun) []func(*rapid.T) {
		return []func(*rapid.T){
			r.Register, r.Fence, r.Create, r.Create, r.Delete, r.Commit, r.Commit, r.Commit, r.Fork, r.LogStart, r.ReclaimAll, r.Elect, r.ChangeISR, r.ChangeISR,
			r.Configure, r.PlanElections, r.Reassign, r.Reassign, r.Stop, r.RemoveBroker, r.AddController, r.RegisterController, r.RemoveController,
			r.PutToken, r.UseToken, r.ElectUnclean, r.Replace,
		}
	})
}

// TestObjectIndexIsANaiveList flushes, compacts, deletes, forks and elects at random, and compares the index of the object store with plain lists.
func TestObjectIndexIsANaiveList(t *testing.T) {
	checkModel(t, 100, func(r *modelRun) []func(*rapid.T) {
		return []func(*rapid.T){
			r.Create, r.Commit, r.Fork, r.Commit, r.Create, r.Commit, r.Fork, r.Commit, r.Replace, r.Replace, r.Replace, r.LogStart, r.ReclaimAll, r.Delete, r.RemoveGarbage,
			r.Register, r.Fence, r.Elect,
		}
	})
}
