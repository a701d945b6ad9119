package metadata

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// What the model test does to brokers, controllers and memberships, and what must be true of these.

func (r *modelRun) Stop(*rapid.T) {
	node := r.node()
	r.want(mq.None, shutdownCommand(node, r.b.brokerEpoch(mq.NodeID(node))))
	r.brokers[node].stopping = r.brokers[node].stopping || !r.brokers[node].fenced
	// The plan ends, and what the broker leads then nobody else in sync can lead.
	for changes := PlanShutdown(r.b.store.Image(), mq.NodeID(node), 2); len(changes) > 0; changes = PlanShutdown(r.b.store.Image(), mq.NodeID(node), 2) {
		for _, c := range changes {
			if got := r.changePartition(c); got != mq.None {
				r.Fatalf("%v: %v", c, got)
			}
			p := r.at(mq.PartitionID{Topic: mq.TopicID(c.GetPartition().GetTopicId()), Index: c.GetPartition().GetPartition()})
			p.epoch++
			if c.Leader == nil {
				p.isr = p.without(p.isr, node)
				continue
			}
			p.leader = c.GetLeader()
			p.leaderEpoch++
		}
	}
	r.eachPartition(func(t *modelTopic, p *modelPartition) {
		others := r.running(p.without(r.alive(p.isr), node))
		if p.leader == node && len(others) > 0 && !r.brokers[others[0]].stopping {
			r.Fatalf("broker %d still leads %+v", node, *p)
		}
	})
}

func (r *modelRun) Drain(*rapid.T) {
	node, drain := int32(rapid.IntRange(1, 5).Draw(r.T, "node")), rapid.Bool().Draw(r.T, "drain")
	if r.brokers[node] == nil {
		r.want(mq.InvalidRequest, drainCommand(node, drain))
		return
	}
	r.want(mq.None, drainCommand(node, drain))
	r.brokers[node].draining = drain
}

func (r *modelRun) Reassign(*rapid.T) {
	id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
	p := r.at(id)
	if p == nil {
		return
	}
	targets := r.assignment(rapid.IntRange(0, 3).Draw(r.T, "targets"))
	original := p.without(p.replicas, p.adding...)
	replicas := slices.Clone(original)
	want := mq.None
	switch {
	case len(targets) == 0 && p.targets == nil:
		want = mq.InvalidRequest
	case len(targets) == 0:
		targets = original
	}
	var adding []int32
	for _, id := range targets {
		if !slices.Contains(original, id) {
			adding = append(adding, id)
		}
	}
	replicas = append(replicas, adding...)
	if !slices.ContainsFunc(p.isr, func(id int32) bool { return slices.Contains(replicas, id) }) {
		want = mq.InvalidRequest
	}
	asked := targets
	if slices.Equal(targets, original) && rapid.Bool().Draw(r.T, "cancel") && p.targets != nil {
		asked = nil
	}
	if got := codes(r.want(mq.None, reassignCommand(id, asked...)).GetReassignPartitions().GetVerdicts())[0]; got != want {
		r.Fatalf("reassign %+v to %v: got %v, want %v", *p, targets, got, want)
	}
	if want == mq.None {
		r.change(r.topics[id.Topic[1]], p, false, func() []int32 {
			p.replicas, p.targets, p.adding = replicas, targets, adding
			if slices.Equal(targets, original) {
				p.targets = nil
			}
			p.isr = p.without(p.isr)
			return nil
		})
	}
}

func (r *modelRun) RemoveBroker(*rapid.T) {
	node := int32(rapid.IntRange(1, 5).Draw(r.T, "node"))
	b := r.brokers[node]
	held := false
	r.eachPartition(func(_ *modelTopic, p *modelPartition) { held = held || slices.Contains(p.replicas, node) })
	want := mq.None
	if b != nil && (!b.fenced || held) {
		want = mq.InvalidRequest
	}
	r.want(want, removeBrokerCommand(node))
	if b != nil && want == mq.None && len(r.brokers) > 1 {
		delete(r.brokers, node)
	} else if b != nil && want == mq.None { // the model wants one
		r.want(mq.None, registerCommand(node, 1))
		r.brokers[node] = &modelBroker{incarnation: 1, dir: node}
	}
}

func (r *modelRun) AddController(*rapid.T) {
	node, dir := int32(rapid.IntRange(1, 3).Draw(r.T, "node")), int32(rapid.IntRange(1, 4).Draw(r.T, "dir"))
	for id, c := range r.controllers {
		if c == [2]int32{node, dir} {
			if got := r.want(mq.None, addControllerCommand(node, dir)).GetAddController().GetRaftId(); got != id {
				r.Fatalf("controller %d with directory %d has raft id %d, want %d", node, dir, got, id)
			}
			return
		}
	}
	if len(r.controllers) == maxControllers {
		r.want(mq.InvalidRequest, addControllerCommand(node, dir))
		return
	}
	got := r.want(mq.None, addControllerCommand(node, dir)).GetAddController().GetRaftId()
	if got < r.nextRaft || got < 1<<31 {
		r.Fatalf("raft id %d was used before", got)
	}
	r.controllers[got], r.nextRaft = [2]int32{node, dir}, got+1
}

func (r *modelRun) RegisterController(*rapid.T) {
	node := int32(rapid.IntRange(1, 3).Draw(r.T, "node"))
	raftID := rapid.SampledFrom(append(slices.Sorted(maps.Keys(r.controllers)), uint64(node))).Draw(r.T, "raft id")
	c := controllerRecordOf(raftID, node, int32(rapid.IntRange(1, 4).Draw(r.T, "dir")))
	c.GetEndpoint().Port = uint32(rapid.IntRange(1, 3).Draw(r.T, "port"))
	dir := int32(c.GetDirId()[1])
	want := mq.None
	switch there, ok := r.controllers[raftID]; {
	case ok && there != [2]int32{node, dir}, !ok && !r.founderIsMissing():
		want = mq.InvalidRequest
	case !ok:
		r.controllers[raftID], r.nextRaft = [2]int32{node, dir}, max(r.nextRaft, 1<<31)
	}
	r.want(want, registerControllerCommand(c))
	if want == mq.None && r.b.store.Image().Controller(raftID).Endpoint.Port != uint16(c.GetEndpoint().GetPort()) {
		r.Fatalf("controller %d is not where it says", raftID)
	}
}

// founderIsMissing says that nobody is recorded who formed the cluster, and that nobody was ever removed: each removal leaves one more id unused.
func (r *modelRun) founderIsMissing() bool {
	for id := range r.controllers {
		if id < 1<<31 {
			return false
		}
	}
	return max(r.nextRaft, 1<<31)-1<<31 == uint64(len(r.controllers))
}

func (r *modelRun) RemoveController(*rapid.T) {
	ids := slices.Sorted(maps.Keys(r.controllers))
	id := rapid.SampledFrom(append(ids, 99)).Draw(r.T, "raft id")
	if id != 99 && len(ids) == 1 {
		r.want(mq.InvalidRequest, removeControllerCommand(id))
		return
	}
	r.want(mq.None, removeControllerCommand(id))
	if _, there := r.controllers[id]; there && id < 1<<31 {
		r.nextRaft = max(r.nextRaft, 1<<31) + 1
	}
	delete(r.controllers, id)
}

func (r *modelRun) PutToken(*rapid.T) {
	id, node := byte(rapid.IntRange(1, 4).Draw(r.T, "token")), int32(rapid.IntRange(0, 2).Draw(r.T, "node"))
	now := rapid.Int64Range(0, 9).Draw(r.T, "now")
	t := modelToken{node, now + rapid.Int64Range(0, 5).Draw(r.T, "life")}
	want := mq.None
	if there, ok := r.tokens[id]; node < 1 || t.expires == now || ok && there != t {
		want = mq.InvalidRequest
	} else if !ok {
		maps.DeleteFunc(r.tokens, func(_ byte, t modelToken) bool { return t.expires <= now })
		r.tokens[id] = t
	}
	r.want(want, putTokenCommand(id, node, now, t.expires))
	r.checkTokens()
}

func (r *modelRun) UseToken(*rapid.T) {
	id, node := byte(rapid.IntRange(1, 4).Draw(r.T, "token")), int32(rapid.IntRange(1, 2).Draw(r.T, "node"))
	now := rapid.Int64Range(0, 14).Draw(r.T, "now")
	command := useTokenCommand(id, node, now)
	if rapid.IntRange(0, 3).Draw(r.T, "secret") == 0 {
		command.GetUseJoinToken().SecretSha256 = secretOf(id + 1)
	}
	want := mq.None
	if t, ok := r.tokens[id]; !ok || t.node != node || now >= t.expires || !slices.Equal(command.GetUseJoinToken().GetSecretSha256(), secretOf(id)) {
		want = mq.ClusterAuthorizationFailed
	} else {
		delete(r.tokens, id)
	}
	r.want(want, command)
	r.checkTokens()
}

// checkTokens looks into the database: no image has them.
func (r *modelRun) checkTokens() {
	if got := r.b.tokens(); !slices.Equal(got, slices.Sorted(maps.Keys(r.tokens))) {
		r.Fatalf("join tokens %v, want %v", got, r.tokens)
	}
}

func (r *modelRun) Elect(*rapid.T) {
	id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
	p := r.at(id)
	if p == nil {
		return
	}
	leader := rapid.SampledFrom(append(slices.Clone(p.replicas), -1)).Draw(r.T, "leader")
	stale := int32(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(r.T, "stale"))
	got := r.changePartition(&metadatapb.PartitionChange{
		Partition: PartitionRecord(id), PartitionEpoch: p.epoch + stale, LeaderEpoch: -1, Leader: new(leader),
	})
	t := r.topics[id.Topic[1]]
	who, how := r.candidates(t, p)
	want := mq.None
	switch {
	case stale != 0:
		want = mq.FencedLeaderEpoch
	case leader == -1:
		p.leader = -1
		p.leaderEpoch++
		p.epoch++
	case !slices.Contains(who, leader):
		want = mq.InvalidRequest
	default:
		r.lead(p, leader, how)
		p.finish(t)
		p.leaderEpoch++
		p.epoch++
	}
	if got != want {
		r.Fatalf("elect %d: got %v, want %v", leader, got, want)
	}
}

// ElectUnclean is what an operator does as the last resort.
func (r *modelRun) ElectUnclean(*rapid.T) {
	id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
	p := r.at(id)
	if p == nil {
		return
	}
	t := r.topics[id.Topic[1]]
	stale := int32(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(r.T, "stale"))
	_, how := r.candidates(t, p)
	ids, _ := r.candidates(&modelTopic{min: t.min, unclean: true}, p)
	alive := r.alive(p.replicas)
	command := uncleanCommand(id, p.epoch+stale)
	leader := int32(-1)
	if len(ids) > 0 {
		leader = r.running(ids)[0]
	}
	if rapid.Bool().Draw(r.T, "named") {
		leader = int32(rapid.IntRange(1, 5).Draw(r.T, "leader"))
		command = uncleanCommand(id, p.epoch+stale, leader)
	}
	want := mq.None
	switch {
	case stale != 0:
		want = mq.FencedLeaderEpoch
	case p.leader != -1, how == "in sync", how == "eligible", !slices.Contains(alive, leader):
		want = mq.InvalidRequest
	}
	r.want(want, command)
	if want == mq.None {
		r.lead(p, leader, "unclean")
		p.finish(t)
		p.leaderEpoch++
		p.epoch++
	}
}

// ChangeISR is what a leader proposes.
func (r *modelRun) ChangeISR(*rapid.T) {
	id := partitionOf(r.topic(), int32(rapid.IntRange(0, 2).Draw(r.T, "partition")))
	p := r.at(id)
	if p == nil || p.leader == -1 {
		return
	}
	change := &metadatapb.PartitionChange{Partition: PartitionRecord(id), PartitionEpoch: p.epoch, LeaderEpoch: p.leaderEpoch}
	isr := rapid.SliceOfNDistinct(rapid.SampledFrom(p.replicas), 1, len(p.replicas), rapid.ID).Draw(r.T, "isr")
	want := mq.None
	for _, id := range isr {
		change.Isr = append(change.Isr, &metadatapb.ISRMember{NodeId: id, BrokerEpoch: r.b.brokerEpoch(mq.NodeID(id))})
		if (r.brokers[id].fenced || r.brokers[id].stopping) && !slices.Contains(p.isr, id) {
			want = mq.InvalidRequest
		}
	}
	if !slices.Contains(isr, p.leader) {
		want = mq.InvalidRequest
	}
	if got := r.changePartition(change); got != want {
		r.Fatalf("in-sync set %v of %+v: got %v, want %v", isr, *p, got, want)
	}
	if want == mq.None {
		epoch := p.epoch + 1 // even if nothing changes
		r.change(r.topics[id.Topic[1]], p, false, func() []int32 {
			left := p.isr
			p.isr = p.without(isr)
			return left
		})
		p.epoch = epoch
	}
}

func (r *modelRun) changePartition(change *metadatapb.PartitionChange) mq.Code {
	return codes(r.want(mq.None, changeCommand(change)).GetChangePartitions().GetVerdicts())[0]
}

// Configure changes the settings that elections depend on.
func (r *modelRun) Configure(*rapid.T) {
	id := r.topic()
	t := r.topics[id]
	if t == nil {
		return
	}
	t.min = rapid.IntRange(0, 3).Draw(r.T, "min")
	t.unclean = rapid.IntRange(0, 3).Draw(r.T, "unclean") == 0
	topic := topicOf(id)
	r.want(mq.None, &metadatapb.Command{Kind: &metadatapb.Command_AlterTopicConfigs{AlterTopicConfigs: &metadatapb.AlterTopicConfigs{
		Id: topic[:], Changes: []*metadatapb.ConfigChange{
			{Key: "min.insync.replicas", Value: fmt.Sprint(t.min)},
			{Key: "unclean.leader.election.enable", Value: fmt.Sprint(t.unclean)},
		},
	}}})
	for _, p := range t.partitions {
		before := len(p.eligible)
		if p.finish(t); len(p.eligible) != before {
			p.epoch++
		}
	}
}

// PlanElections follows the plan to its end.
func (r *modelRun) PlanElections(*rapid.T) {
	for {
		changes := PlanElections(r.b.store.Image(), 2)
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			if got := r.changePartition(c); got != mq.None {
				r.Fatalf("%v: %v", c, got)
			}
		}
	}
	r.eachPartition(func(t *modelTopic, p *modelPartition) {
		if p.leader == -1 {
			if r.elect(t, p); p.leader != -1 {
				p.finish(t)
				p.leaderEpoch++
				p.epoch++
			}
		}
	})
}

// checkMembership holds a partition against what must be true of each, and of each and the one before.
func (r *modelRun) checkMembership(id mq.PartitionID, t *Topic, p *Partition) {
	subset := func(ids []mq.NodeID) bool {
		return !slices.ContainsFunc(ids, func(id mq.NodeID) bool { return !slices.Contains(p.Replicas, id) })
	}
	switch {
	case len(p.ISR) == 0 || !subset(p.ISR) || !subset(p.Eligible):
		r.Fatalf("%v: in-sync set or eligible replicas: %+v", id, *p)
	case slices.ContainsFunc(p.Eligible, func(id mq.NodeID) bool { return slices.Contains(p.ISR, id) }):
		r.Fatalf("%v: in sync and eligible: %+v", id, *p)
	case p.Leader != mq.NoNode && (!slices.Contains(p.ISR, p.Leader) || r.brokers[int32(p.Leader)].fenced || p.lost()):
		r.Fatalf("%v: the leader is not in sync and alive: %+v", id, *p)
	case len(p.Eligible) > 0 && p.Leader != mq.NoNode && len(p.ISR) >= t.MinInSync(p):
		r.Fatalf("%v: eligible replicas while commits go on: %+v", id, *p)
	}
	before := r.last.Partition(id)
	switch {
	case before == nil || r.last.Topic(id.Topic).Name != t.Name:
	case p.Leader != before.Leader && p.LeaderEpoch <= before.LeaderEpoch, p.LeaderEpoch < before.LeaderEpoch, p.PartitionEpoch < before.PartitionEpoch:
		r.Fatalf("%v: an epoch does not grow: %+v, then %+v", id, *before, *p)
	case p.PartitionEpoch == before.PartitionEpoch && !p.equal(&Partition{
		Leader: before.Leader, LeaderEpoch: before.LeaderEpoch, PartitionEpoch: before.PartitionEpoch, LogStart: p.LogStart, TieredEnd: p.TieredEnd,
		Replicas: before.Replicas, ISR: before.ISR, Eligible: before.Eligible, LostDir: before.LostDir, UncleanEpoch: before.UncleanEpoch,
		Reassignment: before.Reassignment,
	}):
		r.Fatalf("%v: the partition epoch stays: %+v, then %+v", id, *before, *p)
	case p.Leader != mq.NoNode && p.Leader != before.Leader && p.UncleanEpoch != p.LeaderEpoch &&
		!slices.Contains(before.ISR, p.Leader) && !slices.Contains(before.Eligible, p.Leader):
		r.Fatalf("%v: leader %d held not all that was committed: %+v, then %+v", id, p.Leader, *before, *p)
	}
}
