package group

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rustmq/rustmq/mq"
)

// A life is a shard with its log, the groups of one partition and all their members, on one goroutine and in virtual time: the same seed, the same life.
type life struct {
	rand   *rand.Rand
	now    time.Time
	cfg    Config
	plant  planted
	shard  *Shard
	topics []Topic
	ver    uint64

	log        []batch
	replicated int // batches
	start      int // the batch that the log begins with
	begun      int // the batch of the begin mark of the snapshot that is written, -1 for none
	ended      int // the batch of its end mark, -1 for none
	held       []heldReply
	token      Token
	waiting    map[Token]func(Response, error)

	late []lateCommit

	members   []*simMember
	classics  []*simClassic
	made      int
	accepted  map[place]int64 // what the shard of now has taken
	told      map[place]int64 // the greatest that somebody was told is committed
	fail      string
	churn     bool
	failovers int
	coop      bool // the members with the classic protocol give up only what they must
	mixed     int  // steps in which the mixed group had members of both
}

type place struct {
	group string
	partition
}

type batch struct {
	records []Record
	base    mq.Offset
}

type heldReply struct {
	after int // batches that must be replicated
	reply Reply
}

// lateCommit is on its way to the coordinator.
type lateCommit struct {
	at   time.Time
	send func()
}

const (
	consumerGroup = "consumers"
	classicGroup  = "classics"
	mixedGroup    = "both"
)

func newLife(seed uint64, plant planted) *life {
	l := &life{
		rand: rand.New(rand.NewPCG(seed, 848)), now: start, cfg: DefaultConfig(), plant: plant, begun: -1, ended: -1,
		waiting: make(map[Token]func(Response, error)), accepted: make(map[place]int64), told: make(map[place]int64), churn: true,
	}
	l.cfg.SessionTimeout, l.cfg.HeartbeatInterval, l.cfg.InitialRebalanceDelay = 10*time.Second, time.Second, time.Second
	l.cfg.OffsetsRetention, l.cfg.OffsetsCheck = 20*time.Second, 5*time.Second
	for i := range 1 + l.rand.IntN(3) {
		t := testTopic(fmt.Sprintf("topic-%d", i), 1+l.rand.Int32N(1+l.rand.Int32N(66)))
		for range t.Partitions {
			t.Racks = append(t.Racks, l.someRacks())
		}
		l.topics = append(l.topics, t)
	}
	l.coop = l.chance(0.5)
	l.elect()
	for range 1 + l.rand.IntN(1+l.rand.IntN(25)) {
		l.members = append(l.members, l.newMember())
	}
	for range 1 + l.rand.IntN(1+l.rand.IntN(25)) {
		l.classics = append(l.classics, l.newClassic())
	}
	return l
}

func (l *life) someRacks() []string {
	racks := []string{"a", "b", "c"}
	at := l.rand.IntN(3)
	return slices.Delete(racks, at, at+1)
}

func (l *life) failf(format string, args ...any) {
	if l.fail == "" {
		l.fail = l.now.Sub(start).String() + ": " + fmt.Sprintf(format, args...)
	}
}

func (l *life) chance(p float64) bool { return l.rand.Float64() < p }

// elect makes a shard of what is replicated, and of as much of the rest as there is.
func (l *life) elect() {
	l.shard = l.replay(l.start)
	l.publish()
	l.accepted = make(map[place]int64)
	for _, g := range l.shard.groups {
		for topic, t := range g.offsets.topics {
			for index, c := range t.at {
				l.accepted[place{g.id, partition{l.topic(topic).ID, index}}] = int64(c.offset)
			}
		}
	}
	for p, offset := range l.told {
		if l.accepted[p] < offset {
			l.failf("%s of %s was committed at %d, after the replay it is %d", p.group, l.name(p.topic), offset, l.accepted[p])
		}
	}
}

// publish tells the shard of the topics.
func (l *life) publish() {
	l.ver++
	l.shard.SetTopics(l.now, NewTopics(l.ver, slices.Clone(l.topics)))
}

func (l *life) replay(from int) *Shard {
	s := NewShard(l.cfg, nil)
	s.Limit(1<<40, 1<<40)
	s.planted = l.plant
	for _, b := range l.log[from:] {
		for i, r := range b.records {
			if err := s.Replay(b.base+mq.Offset(i), r); err != nil {
				l.failf("%v", err)
			}
		}
	}
	if err := s.Loaded(l.now); err != nil {
		l.failf("%v", err)
	}
	return s
}

func (l *life) topic(name string) *Topic {
	return &l.topics[slices.IndexFunc(l.topics, func(t Topic) bool { return t.Name == name })]
}

func (l *life) name(id mq.TopicID) string {
	for _, t := range l.topics {
		if t.ID == id {
			return t.Name
		}
	}
	return id.String()
}

// do is what the host does with effects.
func (l *life) do(fx Effects) {
	l.checkBytes()
	if len(fx.Records) > 0 {
		base := mq.Offset(0)
		if n := len(l.log); n > 0 {
			base = l.log[n-1].base + mq.Offset(len(l.log[n-1].records))
		}
		l.log = append(l.log, batch{fx.Records, base})
	}
	for _, r := range fx.Replies {
		l.held = append(l.held, heldReply{len(l.log), r})
	}
	for _, w := range fx.Wakes {
		if l.chance(0.5) && l.churn {
			continue
		}
		for _, m := range l.members {
			if m.id == w.Member && !m.stopped(l) {
				m.next = l.now
			}
		}
	}
}

// ask hands a request in; one of a hundred is lost on the way there, and its answer is lost as often.
func (l *life) ask(r Request, then func(Response, error)) Token {
	l.token++
	token := l.token
	if l.churn && l.chance(0.01) {
		return token
	}
	if !l.churn || !l.chance(0.01) {
		l.waiting[token] = then
	}
	l.do(l.shard.Handle(l.now, token, r))
	return token
}

// deliver gives out the replies of what is replicated.
func (l *life) deliver() {
	for len(l.held) > 0 && l.held[0].after <= l.replicated {
		r := l.held[0].reply
		l.held = l.held[1:]
		if then := l.waiting[r.Token]; then != nil {
			delete(l.waiting, r.Token)
			if r.Err != nil {
				then(r.Response, r.Err)
			} else {
				then(r.Response, nil)
			}
		}
	}
	if l.ended >= 0 && l.replicated > l.ended {
		l.start, l.begun, l.ended = l.begun, -1, -1
	}
}

// failover loses what is not replicated, as much of it as chance wants, and every answer that waits.
func (l *life) failover() {
	l.failovers++
	end := l.replicated + l.rand.IntN(len(l.log)-l.replicated+1)
	l.log, l.replicated = l.log[:end], end
	if l.ended >= end {
		l.ended = -1
	}
	if l.ended < 0 {
		l.begun = -1
	}
	l.held = nil
	lost := l.waiting
	l.waiting = make(map[Token]func(Response, error))
	l.elect()
	for _, token := range slices.Sorted(maps.Keys(lost)) {
		if l.chance(0.9) {
			lost[token](nil, mq.Errorf(mq.NotCoordinator, "another node leads"))
		}
	}
}

// durable is all that is written down of a shard.
func durable(s *Shard) []byte {
	probe := &Shard{groups: s.groups}
	var all []byte
	for step := SnapshotBegun; step != SnapshotEnded; {
		var fx Effects
		fx, step = probe.Snapshot(1 << 30)
		for _, r := range fx.Records {
			if len(r.Key) > 0 {
				all = append(all, r.Value...)
			}
		}
	}
	return all
}

// checkReplay compares the shard with replays of its log.
func (l *life) checkReplay() {
	live := durable(l.shard)
	for _, from := range []int{0, l.start} {
		if got := durable(l.replay(from)); !bytes.Equal(got, live) {
			l.failf("a replay from batch %d of %d is not the state that was written", from, len(l.log))
		}
	}
}

// snapshot writes the next step of one.
func (l *life) snapshot() {
	if l.ended >= 0 {
		return
	}
	fx, step := l.shard.Snapshot(1 + l.rand.IntN(2000))
	if len(fx.Records) == 0 && step != SnapshotWrites {
		l.failf("a step of a snapshot without records")
	}
	at := len(l.log)
	l.do(fx)
	switch step {
	case SnapshotBegun:
		l.begun = at
	case SnapshotEnded:
		l.ended = at
	}
}

// step lets some time pass.
func (l *life) step() {
	l.now = l.now.Add(time.Duration(l.rand.IntN(300)) * time.Millisecond)
	for range 1000 {
		at, ok := l.shard.Deadline()
		if !ok || at.After(l.now) {
			break
		}
		l.do(l.shard.Tick(l.now))
	}
	l.noteForgotten()
	arrived := slices.Clone(l.late)
	l.late = slices.DeleteFunc(l.late, func(c lateCommit) bool { return !c.at.After(l.now) })
	for _, c := range arrived {
		if !c.at.After(l.now) {
			c.send()
		}
	}
	for _, m := range slices.Clone(l.members) {
		m.act(l)
	}
	for _, m := range slices.Clone(l.classics) {
		m.act(l)
	}
	if l.churn {
		l.harm()
	}
	if !l.churn || l.chance(0.8) {
		l.replicated += l.rand.IntN(len(l.log) - l.replicated + 1)
		if !l.churn {
			l.replicated = len(l.log)
		}
	}
	l.deliver()
	l.checkOwners()
}

// noteForgotten lets go of offsets that the shard may have forgotten: of a group that has had no members for a retention.
func (l *life) noteForgotten() {
	for at := range l.told {
		g := l.shard.groups[at.group]
		now := mq.Offset(-1)
		if g != nil {
			now = g.offsets.tell(TopicIndexes{Topic: l.name(at.topic), Partitions: []int32{at.index}}).Offsets[0].Offset
		}
		mayForget := g == nil || g.size() == 0 && g.emptySince <= l.now.Add(-l.cfg.OffsetsRetention).UnixMilli()
		switch {
		case now < 0 && mayForget:
			delete(l.told, at)
			delete(l.accepted, at)
		case now < mq.Offset(l.told[at]):
			l.failf("%s of %s-%d was committed at %d, it is %d", at.group, l.name(at.topic), at.index, l.told[at], now)
		}
	}
}

// harm does one thing of all that may happen, seldom.
func (l *life) harm() {
	if l.chance(0.2) {
		l.snapshot()
	}
	if !l.chance(0.15) {
		return
	}
	switch l.rand.IntN(11) {
	case 0, 1:
		if len(l.members) < 50 {
			l.members = append(l.members, l.newMember())
		}
	case 2:
		if len(l.classics) < 50 {
			l.classics = append(l.classics, l.newClassic())
		}
	case 3, 4:
		m := l.members[l.rand.IntN(len(l.members))]
		m.leave(l)
	case 5:
		l.classics[l.rand.IntN(len(l.classics))].leave(l)
	case 6:
		l.members[l.rand.IntN(len(l.members))].pausedUntil = l.now.Add(time.Duration(l.rand.IntN(30)) * time.Second)
	case 7:
		l.classics[l.rand.IntN(len(l.classics))].pausedUntil = l.now.Add(time.Duration(l.rand.IntN(30)) * time.Second)
	case 8:
		t := &l.topics[l.rand.IntN(len(l.topics))]
		if t.Partitions < 66 {
			more := *t
			more.Partitions += 1 + l.rand.Int32N(5)
			more.Racks = slices.Clone(t.Racks)
			for int32(len(more.Racks)) < more.Partitions {
				more.Racks = append(more.Racks, l.someRacks())
			}
			*t = more
		}
		l.publish()
	case 9:
		l.failover()
	case 10:
		l.checkReplay()
	}
}

// checkOwners holds that a member which was not fenced owns, by the shard, all that it consumes.
func (l *life) checkOwners() {
	for _, id := range []string{consumerGroup, mixedGroup} {
		g := l.shard.groups[id]
		if g == nil || g.protocol != ProtocolConsumer {
			continue
		}
		owners := make(map[partition]string)
		kinds := make(map[bool]bool)
		for _, m := range g.byID() {
			kinds[m.classic != nil] = true
			for _, p := range m.assigned.plus(m.revoking).list() {
				if other, ok := owners[p]; ok {
					l.failf("%s-%d of %s has two owners: %s and %s", l.name(p.topic), p.index, id, other, m.id)
				}
				owners[p] = m.id
			}
		}
		if len(kinds) == 2 {
			l.mixed++
		}
		l.checkConsumed(g, owners)
	}
}

func (l *life) checkConsumed(g *group, owners map[partition]string) {
	check := func(id string, epoch int32, positions map[partition]int64) {
		for p := range positions {
			if owners[p] != id {
				l.failf("%s consumes %s-%d of %s in epoch %d, whose owner is %q", id, l.name(p.topic), p.index, g.id, epoch, owners[p])
			}
		}
	}
	for _, c := range l.members {
		if !c.gone && c.group == g.id && g.members[c.id] != nil && c.epoch != EpochJoin {
			check(c.id, c.epoch, c.positions)
		}
	}
	for _, c := range l.classics {
		if m := g.members[c.id]; !c.gone && c.group == g.id && m != nil && c.generation == m.epoch {
			check(c.id, c.generation, c.positions)
		}
	}
}

// tookCommit is called when the shard has taken a commit.
func (l *life) tookCommit(group, member string, offsets map[partition]int64) {
	for p, offset := range offsets {
		at := place{group, p}
		if l.accepted[at] > offset {
			l.failf("%s committed %s-%d at %d, where %d was", member, l.name(p.topic), p.index, offset, l.accepted[at])
		}
		l.accepted[at] = offset
	}
}

// commitRequest makes a request of offsets.
func (l *life) commitRequest(group, member string, generation int32, offsets map[partition]int64) *CommitRequest {
	r := &CommitRequest{Group: group, Member: member, Generation: generation}
	for _, p := range slices.SortedFunc(maps.Keys(offsets), comparePartitions) {
		last := len(r.Topics) - 1
		if last < 0 || r.Topics[last].ID != p.topic {
			r.Topics = append(r.Topics, TopicOffsets{Topic: l.name(p.topic), ID: p.topic})
			last++
		}
		r.Topics[last].Offsets = append(r.Topics[last].Offsets, Offset{Partition: p.index, Offset: mq.Offset(offsets[p]), LeaderEpoch: mq.NoEpoch})
	}
	return r
}

// fetchRequest asks for partitions.
func (l *life) fetchRequest(group, member string, generation int32, wanted []partition) *FetchRequest {
	r := &FetchRequest{Group: group, Member: member, Generation: generation, Topics: []TopicIndexes{}}
	slices.SortFunc(wanted, comparePartitions)
	for _, p := range wanted {
		last := len(r.Topics) - 1
		if last < 0 || r.Topics[last].ID != p.topic {
			r.Topics = append(r.Topics, TopicIndexes{Topic: l.name(p.topic), ID: p.topic})
			last++
		}
		r.Topics[last].Partitions = append(r.Topics[last].Partitions, p.index)
	}
	return r
}

// run lives a life of so many steps, then lets everything come to rest.
func (l *life) run(steps int) string {
	for range steps {
		if l.step(); l.fail != "" {
			return l.fail
		}
	}
	l.checkReplay()
	l.calm()
	return l.fail
}

// calm ends all harm. When every session that nobody keeps alive is over, four heartbeats of each are enough.
func (l *life) calm() {
	l.churn = false
	for _, m := range l.members {
		m.pausedUntil, m.next = time.Time{}, l.now
	}
	for _, m := range l.classics {
		m.pausedUntil, m.next = time.Time{}, l.now
	}
	const bound = 2*10*time.Second + 4*time.Second + 10*time.Second // sessions, the classic rebalance timeout, heartbeats
	for end := l.now.Add(bound); l.now.Before(end) && l.fail == ""; {
		l.step()
	}
	if l.fail != "" {
		return
	}
	for _, group := range []string{consumerGroup, classicGroup, mixedGroup} {
		l.checkRest(group)
	}
	l.checkReplay()
}

// checkRest wants each partition consumed by exactly one member.
func (l *life) checkRest(group string) {
	owner, members := make(map[partition]string), 0
	consumes := func(id string, positions map[partition]int64) {
		members++
		for p := range positions {
			if other, ok := owner[p]; ok {
				l.failf("at rest both %s and %s consume %s-%d", other, id, l.name(p.topic), p.index)
			}
			owner[p] = id
		}
	}
	for _, m := range l.members {
		if m.group == group {
			consumes(m.id, m.positions)
		}
	}
	for _, m := range l.classics {
		if m.group == group {
			consumes(m.id, m.positions)
		}
	}
	if members == 0 {
		return
	}
	for _, t := range l.topics {
		for index := range t.Partitions {
			if _, ok := owner[partition{t.ID, index}]; !ok {
				state := State("gone")
				if g := l.shard.groups[group]; g != nil {
					state = g.state()
				}
				l.failf("at rest nobody of %s, which is %s, consumes %s-%d", group, state, t.Name, index)
				return
			}
		}
	}
}

var (
	lives     = flag.Uint64("lives", 0, "how many lives to live, in place of the usual number")
	firstLife = flag.Uint64("first", 0, "the seed of the first of them")
)

func TestGroupsLiveThroughAnything(t *testing.T) {
	n := uint64(150)
	if testing.Short() {
		n = 30
	}
	if *lives > 0 {
		n = *lives
	}
	failovers, mixed := 0, 0
	for seed := *firstLife; seed < *firstLife+n; seed++ {
		l := newLife(seed, planted{})
		if fail := l.run(lifeSteps); fail != "" {
			t.Fatalf("seed %d: %s", seed, fail)
		}
		failovers, mixed = failovers+l.failovers, mixed+l.mixed
	}
	t.Logf("%d lives, %d failovers, %d steps with a mixed group", n, failovers, mixed)
}

// lifeSteps is how long a life is before it comes to rest: about a minute.
const lifeSteps = 400

// The simulation would notice mistakes of each kind. The bound is several times what was seen.
func TestPlantedBugsAreFoundInLivesOfGroups(t *testing.T) {
	for _, c := range []struct {
		name   string
		plant  planted
		within uint64
	}{
		{"epoch ignored", planted{epochIgnored: true}, 20},
		{"taken at once", planted{takenAtOnce: true}, 20},
		{"owners ignored", planted{ownersIgnored: true}, 20},
		{"epoch kept", planted{epochKept: true}, 20},
		{"generation again", planted{generationAgain: true}, 100},
		{"removal not written", planted{removalNotWritten: true}, 20},
		{"snapshot without revoking", planted{snapshotForgets: true}, 50},
		{"offsets of members expire", planted{membersExpire: true}, 50},
		{"topics not looked at", planted{topicsIgnored: true}, 100},
		{"sessions for ever", planted{sessionsForEver: true}, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range c.within {
				if fail := newLife(seed, c.plant).run(lifeSteps); fail != "" {
					t.Logf("life %d: %s", seed+1, fail)
					return
				}
			}
			t.Errorf("not found in %d lives", c.within)
		})
	}
}
