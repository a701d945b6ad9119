package coordinator

import (
	"time"

	"github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

const (
	// lookEvery is how often the loop looks at everything, whatever it was told.
	lookEvery = time.Second
	// roomEvery is how often it is tried again to append what the log had no room for.
	roomEvery = 10 * time.Millisecond
	// loadAgain is after which time a shard is loaded again that could not be, or died while this node goes on to lead. It doubles up to loadAgainMost with each that dies
	// young: below min.insync.replicas each dies of its first append.
	loadAgain     = 200 * time.Millisecond
	loadAgainMost = 5 * time.Second
	young         = 10 * time.Second
)

// loop is the one goroutine that looks after all shards: it makes them, has them do what time has made due, and buries them.
type loop struct {
	c      *Coordinator
	img    *metadata.Image // that the topics were made of
	shards map[int32]*hosted
	topic  mq.TopicID
}

// hosted is what the loop knows of a shard.
type hosted struct {
	*shard
	load  load
	again time.Time // of a dead one: when the next one may be made
	born  time.Time
	fails int       // how many before it have died young, in this epoch
	look  time.Time // when its members and its log are looked at
	held  bool      // it was held up: its members could not be heard, or not be answered
}

func newLoop(c *Coordinator) *loop {
	return &loop{c: c, img: &metadata.Image{}, shards: make(map[int32]*hosted)}
}

func (l *loop) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.c.alarm.moved:
			timer.Reset(time.Until(l.c.alarm.when()))
			continue
		case <-l.c.wake:
		case <-timer.C:
		case <-l.c.ctx.Done():
			l.end()
			return
		}
		now := time.Now()
		l.c.alarm.set(now.Add(lookEvery)) // before anything is looked at: what becomes due after it was looked at is not forgotten
		l.c.alarm.lower(l.step(now))
		timer.Reset(time.Until(l.c.alarm.when()))
	}
}

// step does what there is to do, and says when to look again.
func (l *loop) step(now time.Time) (next time.Time) {
	l.lookAtImage(now)
	l.beatPoked()
	next = now.Add(lookEvery)
	soonest := func(at time.Time) {
		if at.Before(next) {
			next = at
		}
	}
	for _, h := range l.shards {
		switch {
		case h.dead.Load():
			l.bury(h, now)
			soonest(h.again)
		case !h.load.done:
			soonest(l.load(h, now))
		default:
			soonest(h.judge(now))
			if !now.Before(h.look) {
				h.look = now.Add(lookEvery)
				h.beatLiving(now)
				h.beginSnapshot()
			}
			h.goOn()
		}
	}
	return next
}

// lookAtImage makes what is coordinated here what is led here.
func (l *loop) lookAtImage(now time.Time) {
	img := l.c.cfg.Image()
	if topics := topicsOf(l.img, img, l.c.topics.Load()); topics != nil {
		l.c.topics.Store(topics)
		for _, h := range l.shards {
			h.setTopics(now, topics, deletedTopics(l.img, img))
		}
	}
	l.img = img
	t := img.TopicByName(mq.OffsetsTopic)
	changed := false
	if t == nil || t.ID != l.topic {
		for index, h := range l.shards {
			h.die(mq.Errorf(mq.NotCoordinator, "topic %s is another one", mq.OffsetsTopic))
			h.bury()
			delete(l.shards, index)
			changed = true
		}
		l.topic = mq.TopicID{}
	}
	if t != nil {
		l.topic = t.ID
		for index := range t.Partitions() {
			changed = l.lookAtPartition(index, now) || changed
		}
	}
	if changed {
		l.publish()
	}
}

// lookAtPartition makes a shard of a partition that is led here, and gives up one of a partition that is not.
func (l *loop) lookAtPartition(index int32, now time.Time) (changed bool) {
	part := l.c.cfg.Partition(mq.PartitionID{Topic: l.topic, Index: index})
	epoch := mq.NoEpoch
	if part != nil {
		epoch = part.LeaderEpoch()
	}
	h := l.shards[index]
	if h != nil && (h.part != part || h.epoch != epoch) {
		h.die(mq.Errorf(mq.NotLeaderOrFollower, "node %d leads it in epoch %d no more", l.c.cfg.Node, h.epoch))
		if !h.bury() { // it is being handed an append: that ends soon, and is of an epoch that is over
			return false
		}
		delete(l.shards, index)
		h, changed = nil, true
	}
	if h == nil && epoch != mq.NoEpoch {
		l.shards[index] = &hosted{shard: newShard(l.c, index, part, epoch), born: now}
		changed = true
	}
	return changed
}

// bury ends a dead shard. Where this node still leads in its epoch, another one takes its place after a while.
func (l *loop) bury(h *hosted, now time.Time) {
	idle := h.bury()
	if h.again.IsZero() {
		if now.Sub(h.born) > young {
			h.fails = 0
		}
		h.again = now.Add(min(loadAgain<<min(h.fails, 8), loadAgainMost))
		l.c.cfg.Logger.Warn("the groups of a partition are read again", "partition", h.index, "leader_epoch", int32(h.epoch), "err", h.causeOfDeath())
	}
	if !idle || now.Before(h.again) {
		if !now.Before(h.again) {
			h.again = now.Add(roomEvery)
		}
		return
	}
	l.shards[h.index] = &hosted{shard: newShard(l.c, h.index, h.part, h.epoch), born: now, fails: h.fails + 1}
	l.publish()
	signal(l.c.wake)
}

// publish has requests find the shards as they are.
func (l *loop) publish() {
	t := &shardTable{topic: l.topic, shards: make(map[int32]*shard, len(l.shards))}
	for index, h := range l.shards {
		t.shards[index] = h.shard
	}
	l.c.table.Store(t)
}

// end buries everything.
func (l *loop) end() {
	for _, h := range l.shards {
		h.die(mq.Errorf(mq.ShuttingDown, "node %d is closing", l.c.cfg.Node))
		h.bury()
	}
	l.c.table.Store(&shardTable{})
}

// judge is tick, unless the shard is held up: as long as what was decided is not replicated members get no answers, and so are not heard; nor are they while this process
// stands still. Nobody is put out for that.
func (h *hosted) judge(now time.Time) time.Time {
	much := h.c.heldUpAfter()
	if !h.look.IsZero() && now.Sub(h.look) > much {
		h.held = true
	}
	if since, waits := h.waitsSince(); waits && now.Sub(since) > much {
		h.held = true
		h.flush()
		return now.Add(roomEvery)
	}
	if h.held {
		h.held = false
		h.mu.Lock()
		h.groups.Spare(time.Now())
		h.mu.Unlock()
	}
	return h.tick(now)
}

// tick has the group.Shard do what time has made due, and says when to look again.
func (s *shard) tick(now time.Time) time.Time {
	s.mu.Lock()
	at, ok := s.groups.Deadline()
	s.mu.Unlock()
	stuck := s.stuck()
	if stuck {
		s.flush()
	}
	if ok && !at.After(now) {
		_ = s.run(s.groups.Tick, nil) // one that takes nothing now is looked at again
		s.mu.Lock()
		at, ok = s.groups.Deadline()
		s.mu.Unlock()
	}
	next := now.Add(lookEvery)
	if ok && at.Before(next) {
		next = at
	}
	if stuck || !next.After(now) { // there is more than one tick does, or it does not take it
		next = now.Add(roomEvery)
	}
	return next
}

// setTopics tells what topics there are, and which are gone.
func (s *shard) setTopics(now time.Time, topics *group.Topics, gone []mq.TopicID) {
	s.mu.Lock()
	if !s.serving {
		s.mu.Unlock()
		return
	}
	s.groups.SetTopics(now, topics)
	s.mu.Unlock()
	if len(gone) > 0 {
		_ = s.handle(&group.TopicsDeletedRequest{Topics: gone}, nil) // what is refused is forgotten when the offsets expire
	}
}
