package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	groups "github.com/rustmq/rustmq/group"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// fakeCoordinator coordinates groups in memory, at one of the fake brokers that share it: what one has decided the next one knows, as from a replicated log.
type fakeCoordinator struct {
	mu      sync.Mutex
	node    mq.NodeID
	epoch   mq.Epoch
	shard   *groups.Shard
	topics  func() []groups.Topic
	version uint64
	members map[groups.Wake]*fakeGroupMember
	commits map[TopicPartition][]mq.Offset // as they were carried out
	// before and after, if set, are asked about each request, with its name: an error is the answer, before or after it is carried out.
	before, after func(what string) error
	opened        int
}

// errMute has a member taken in, and nothing ever said to it.
var errMute = errors.New("mute")

// fakeGroupMember is a member on a stream.
type fakeGroupMember struct {
	c        *fakeCoordinator
	key      groups.Wake
	instance string
	w        server.MemberWatcher
	epoch    int32
	noted    uint32
	told     uint32 // the number of the last assignment
	due      bool
	assigned groups.Partitions
	say      groups.HeartbeatRequest
	heard    uint64
}

var _ server.Member = (*fakeGroupMember)(nil)

func newFakeCoordinator(node mq.NodeID, topics func() []groups.Topic) *fakeCoordinator {
	cfg := groups.DefaultConfig()
	c := &fakeCoordinator{
		node: node, epoch: 1, shard: groups.NewShard(cfg, nil), topics: topics, members: make(map[groups.Wake]*fakeGroupMember),
		commits: make(map[TopicPartition][]mq.Offset),
	}
	if err := c.shard.Loaded(time.Now()); err != nil {
		panic(err)
	}
	return c
}

// run has it look at the time until ctx ends.
func (c *fakeCoordinator) run(ctx context.Context) {
	for sleep(ctx, 100*time.Millisecond) {
		c.mu.Lock()
		c.refresh()
		c.carryOut(c.shard.Tick(time.Now()))
		for _, m := range c.members {
			if now := m.w.Heard(); now != m.heard {
				m.heard = now
				c.beat(m)
			}
		}
		c.mu.Unlock()
	}
}

// refresh takes what topics there are now.
func (c *fakeCoordinator) refresh() {
	c.version++
	c.shard.SetTopics(time.Now(), groups.NewTopics(c.version, c.topics()))
}

// move makes another node the coordinator; what is attached is not any more.
func (c *fakeCoordinator) move(node mq.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = node
	c.epoch++
	c.drop(mq.Errorf(mq.NotCoordinator, "node %d coordinates", node))
}

// breakAll ends all streams with an error.
func (c *fakeCoordinator) breakAll(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(err)
}

func (c *fakeCoordinator) drop(err error) {
	for _, m := range c.members {
		m.w.Ended(err)
	}
	clear(c.members)
}

// expel puts all members out, as when nothing was heard of them.
func (c *fakeCoordinator) expel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range slices.Collect(maps.Values(c.members)) {
		_, _ = c.handle(&groups.HeartbeatRequest{Group: m.key.Group, Member: m.key.Member, Instance: m.instance, Epoch: groups.EpochLeave})
		m.w.Ended(mq.Errorf(mq.UnknownMemberID, "put out"))
		delete(c.members, m.key)
	}
}

func (c *fakeCoordinator) handle(req groups.Request) (groups.Response, error) {
	e := c.shard.Handle(time.Now(), 1, req)
	response, err := e.Replies[0].Response, error(nil)
	if e.Replies[0].Err != nil {
		err = e.Replies[0].Err
	}
	c.carryOut(e)
	return response, err
}

func (c *fakeCoordinator) carryOut(e groups.Effects) {
	for _, wake := range e.Wakes {
		if m := c.members[wake]; m != nil {
			c.beat(m)
		}
	}
}

// beat heartbeats for a member, unless it has not taken note of its last assignment.
func (c *fakeCoordinator) beat(m *fakeGroupMember) {
	if m.told == 0 || m.noted != m.told {
		m.due = true
		return
	}
	req := m.say
	m.say, m.due = groups.HeartbeatRequest{}, false
	req.Group, req.Member, req.Instance, req.Epoch = m.key.Group, m.key.Member, m.instance, m.epoch
	c.answer(m, &req)
}

func (c *fakeCoordinator) answer(m *fakeGroupMember, req *groups.HeartbeatRequest) {
	response, err := c.handle(req)
	if err != nil {
		m.w.Ended(err)
		if c.members[m.key] == m {
			delete(c.members, m.key)
		}
		return
	}
	r := response.(*groups.HeartbeatResponse)
	changed := r.Changed && (m.told == 0 || !r.Assigned.Equal(m.assigned))
	if m.told == 0 || changed || r.Epoch != m.epoch {
		m.told++
		m.epoch = r.Epoch
		a := &quicproto.Assignment{Number: m.told, Epoch: r.Epoch, Changed: changed}
		if changed {
			m.assigned = r.Assigned
			for _, t := range r.Assigned {
				name := ""
				for _, known := range c.topics() {
					if known.ID == t.Topic {
						name = known.Name
					}
				}
				a.Partitions = append(a.Partitions, quicproto.GroupPartitions{TopicID: t.Topic, Topic: name, Partitions: t.Partitions})
			}
		}
		m.w.Assigned(a)
	}
}

func owned(list []quicproto.GroupPartitions) groups.Partitions {
	out := groups.Partitions{}
	for _, t := range list {
		out = append(out, groups.TopicPartitions{Topic: t.TopicID, Partitions: t.Partitions})
	}
	return out
}

func (m *fakeGroupMember) Heartbeat(h *quicproto.Heartbeat) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.c.members[m.key] != m {
		return
	}
	m.noted = h.Number
	if h.Subscribes {
		m.say.Topics, m.say.Pattern, m.say.Assignor = append([]string{}, h.Subscription.Topics...), &h.Subscription.Pattern, &h.Subscription.Assignor
	}
	if h.Owns {
		m.say.Owned = owned(h.Owned)
	}
	m.c.beat(m)
}

func (m *fakeGroupMember) Leave(context.Context) error {
	m.Detach()
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	epoch := groups.EpochLeave
	if m.instance != "" {
		epoch = groups.EpochLeaveStatic
	}
	_, err := m.c.handle(&groups.HeartbeatRequest{Group: m.key.Group, Member: m.key.Member, Instance: m.instance, Epoch: epoch})
	return err
}

func (m *fakeGroupMember) Detach() {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.c.members[m.key] == m {
		delete(m.c.members, m.key)
	}
}

// allow says whether a request is for node, and is to be carried out.
func (c *fakeCoordinator) allow(node mq.NodeID, what string) error {
	if node != c.node {
		return mq.Errorf(mq.NotCoordinator, "node %d coordinates, not %d", c.node, node)
	}
	if c.before != nil {
		return c.before(what)
	}
	return nil
}

func (c *fakeCoordinator) done(what string) error {
	if c.after != nil {
		return c.after(what)
	}
	return nil
}

func (f *fakeBroker) OpenGroup(_ context.Context, s *server.Session, open *quicproto.OpenGroup, w server.MemberWatcher) (server.Member, error) {
	c := f.coordinator
	if c == nil {
		return nil, f.refuse()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.allow(f.node, "open"); errors.Is(err, errMute) {
		return &fakeGroupMember{c: c, w: w}, nil
	} else if err != nil {
		return nil, err
	}
	c.refresh()
	c.opened++
	m := &fakeGroupMember{c: c, key: groups.Wake{Group: open.Group, Member: open.Member}, instance: open.Instance, w: w}
	old := c.members[m.key]
	c.members[m.key] = m
	if old != nil {
		old.w.Ended(mq.Errorf(mq.FencedMemberEpoch, "goes on elsewhere"))
	}
	c.answer(m, &groups.HeartbeatRequest{
		Group: open.Group, Member: open.Member, Epoch: open.Epoch, Instance: open.Instance, Rack: open.Rack, RebalanceTimeout: open.Rebalance, ClientID: s.ClientID,
		Topics: append([]string{}, open.Topics...), Pattern: &open.Pattern, Assignor: &open.Assignor, Owned: owned(open.Owned),
	})
	return m, nil
}

func (f *fakeBroker) FindCoordinator(context.Context, *server.Session, string) (*quicproto.FindCoordinatorResponse, error) {
	c := f.coordinator
	if c == nil {
		return nil, f.refuse()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &quicproto.FindCoordinatorResponse{Node: c.node, LeaderEpoch: c.epoch}, nil
}

func (f *fakeBroker) CommitOffsets(_ context.Context, _ *server.Session, req *quicproto.CommitOffsetsRequest) (*quicproto.CommitOffsetsResponse, error) {
	c := f.coordinator
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.allow(f.node, "commit"); err != nil {
		return nil, err
	}
	commit := &groups.CommitRequest{Group: req.Group, Member: req.Member, Instance: req.Instance, Generation: req.Epoch}
	for _, t := range req.Topics {
		to := groups.TopicOffsets{Topic: t.Topic, ID: t.TopicID}
		for _, o := range t.Offsets {
			to.Offsets = append(to.Offsets, groups.Offset{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata})
		}
		commit.Topics = append(commit.Topics, to)
	}
	response, err := c.handle(commit)
	if err != nil {
		return nil, err
	}
	for _, t := range req.Topics {
		for _, o := range t.Offsets {
			tp := TopicPartition{t.Topic, o.Partition}
			c.commits[tp] = append(c.commits[tp], o.Offset)
		}
	}
	if err := c.done("commit"); err != nil {
		return nil, err
	}
	return &quicproto.CommitOffsetsResponse{Topics: response.(*groups.CommitResponse).Topics}, nil
}

func (f *fakeBroker) FetchOffsets(_ context.Context, _ *server.Session, req *quicproto.FetchOffsetsRequest) (*quicproto.FetchOffsetsResponse, error) {
	c := f.coordinator
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.allow(f.node, "fetch"); err != nil {
		return nil, err
	}
	fetch := &groups.FetchRequest{Group: req.Group, Member: req.Member, Generation: req.Epoch}
	for _, t := range req.Topics {
		fetch.Topics = append(fetch.Topics, groups.TopicIndexes{Topic: t.Topic, ID: t.TopicID, Partitions: t.Partitions})
	}
	response, err := c.handle(fetch)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.FetchOffsetsResponse{}
	for _, t := range response.(*groups.FetchResponse).Topics {
		out := quicproto.TopicOffsets{Topic: t.Topic, TopicID: t.ID}
		for _, o := range t.Offsets {
			out.Offsets = append(out.Offsets, quicproto.CommittedOffset{Partition: o.Partition, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata})
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}

// coordinate has brokers coordinate groups, the first one at first, until stop is called.
func coordinate(brokers ...*fakeBroker) (c *fakeCoordinator, stop func()) {
	first := brokers[0]
	c = newFakeCoordinator(first.node, func() []groups.Topic {
		first.mu.Lock()
		defer first.mu.Unlock()
		var list []groups.Topic
		for name, t := range first.topics {
			list = append(list, groups.Topic{Name: name, ID: t.id, Partitions: int32(len(t.parts))})
		}
		return list
	})
	for _, b := range brokers {
		b.coordinator = c
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.run(ctx) })
	return c, func() {
		cancel()
		wg.Wait()
	}
}
