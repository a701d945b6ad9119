package kafkaproto

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/rustmq/rustmq/mq"
)

// fakeBroker keeps batches in memory. Topics are made by make.
type fakeBroker struct {
	fakeGroups
	mu     sync.Mutex
	topics map[string]*fakeTopic
	// hold has appends answered by release, and not at once.
	hold bool
	held []func()
	next mq.ProducerID
	// opening is called by OpenProduce, if it is set.
	opening func(*Session)
	// initErr is what InitProducerID fails with.
	initErr error
	admin   fakeAdmin
	quotas  fakeQuotas
}

type fakeTopic struct {
	id    mq.TopicID
	parts []*fakePart
}

type fakePart struct {
	b       *fakeBroker
	batches []mq.Batch
	end     mq.Offset
	waiters map[*fakeReader]Waiter
	memory  bool // what is read is in memory
	follows bool // it does not lead: no epochs are known
	refers  bool // who reads in vain is sent elsewhere
	deaf    bool // nobody can wait for more, as where a partition is quarantined
	err     error
}

// appended is what was appended to the partition.
func (p *fakePart) appended() []mq.Batch {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return slices.Clone(p.batches)
}

// awaited is how many readers wait for more.
func (p *fakePart) awaited() int {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return len(p.waiters)
}

// fail has the partition answer with an error.
func (p *fakePart) fail(err error) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.err = err
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{fakeGroups: fakeGroups{fakeAnswers: newFakeGroups()}, topics: make(map[string]*fakeTopic)}
}

func (b *fakeBroker) make(name string, partitions int) *fakeTopic {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &fakeTopic{id: mq.TopicID{15: byte(len(b.topics) + 1)}}
	for range partitions {
		t.parts = append(t.parts, &fakePart{b: b, waiters: make(map[*fakeReader]Waiter), memory: true})
	}
	b.topics[name] = t
	return t
}

// release answers the appends that are held.
func (b *fakeBroker) release() {
	b.mu.Lock()
	held := b.held
	b.held = nil
	b.mu.Unlock()
	for _, answer := range held {
		answer()
	}
}

// holds is how many appends are held.
func (b *fakeBroker) holds() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.held)
}

func (b *fakeBroker) Identity() (mq.ClusterID, mq.NodeID) { return mq.ClusterID{1}, 1 }

func (b *fakeBroker) Nodes() []Node { return []Node{{ID: 1, Host: "one", Port: 9092, Rack: "r"}} }

func (b *fakeBroker) AllNodes() []Node {
	return append(b.Nodes(), Node{ID: 2, Host: "two", Port: 9092, Fenced: true})
}

func (b *fakeBroker) Topics(s *Session) (topics []Topic) {
	b.mu.Lock()
	names := make([]string, 0, len(b.topics))
	for name := range b.topics {
		names = append(names, name)
	}
	b.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		t, _ := b.Topic(s, name)
		topics = append(topics, *t)
	}
	return topics
}

func (b *fakeBroker) Topic(_ *Session, name string) (*Topic, error) {
	if err := mq.ValidTopicName(name); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[name]
	if t == nil {
		return nil, mq.Errorf(mq.UnknownTopicOrPartition, "no topic %q", name)
	}
	out := &Topic{ID: t.id, Name: name}
	for range t.parts {
		out.Partitions = append(out.Partitions, Partition{Leader: 1, LeaderEpoch: 3, Replicas: []mq.NodeID{1}, InSync: []mq.NodeID{1}})
	}
	return out, nil
}

func (b *fakeBroker) TopicByID(s *Session, id mq.TopicID) (*Topic, error) {
	if name, ok := b.TopicName(id); ok {
		return b.Topic(s, name)
	}
	return nil, mq.Errorf(mq.UnknownTopicID, "no topic %s", id)
}

func (b *fakeBroker) TopicName(id mq.TopicID) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, t := range b.topics {
		if t.id == id {
			return name, true
		}
	}
	return "", false
}

func (b *fakeBroker) MakeTopic(_ context.Context, _ *Session, name string) error {
	b.make(name, 2)
	return nil
}

func (b *fakeBroker) Leader(string, int32) (mq.NodeID, mq.Epoch) { return 1, 3 }

func (b *fakeBroker) part(topic string, index int32) (*fakePart, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[topic]; t != nil && index >= 0 && int(index) < len(t.parts) {
		p := t.parts[index]
		return p, p.err
	}
	return nil, mq.Errorf(mq.UnknownTopicOrPartition, "no partition %d of topic %q", index, topic)
}

func (b *fakeBroker) OpenProduce(_ context.Context, s *Session, topic string) (Producer, error) {
	if b.opening != nil {
		b.opening(s)
	}
	if _, err := b.part(topic, 0); mq.CodeOf(err) == mq.UnknownTopicOrPartition {
		return nil, err
	}
	return fakeProducer{b, topic}, nil
}

type fakeProducer struct {
	b     *fakeBroker
	topic string
}

func (fakeProducer) MaxBatch() int { return 1 << 20 }

func (p fakeProducer) Append(_ context.Context, index int32, batch mq.Batch, _ mq.Durability, done func(Appended)) {
	part, err := p.b.part(p.topic, index)
	if err != nil {
		done(Appended{Base: -1, LogStart: -1, Timestamp: -1, Err: err})
		return
	}
	p.b.mu.Lock()
	base := part.end
	batch.SetBaseOffset(base)
	batch.SetLeaderEpoch(3)
	part.batches = append(part.batches, batch)
	part.end += mq.Offset(batch.LastOffsetDelta()) + 1
	wake := part.waiters
	part.waiters = make(map[*fakeReader]Waiter)
	answer := func() { done(Appended{Base: base, Timestamp: -1}) }
	hold := p.b.hold
	if hold {
		p.b.held = append(p.b.held, answer)
	}
	p.b.mu.Unlock()
	for _, w := range wake {
		w.Wake()
	}
	if !hold {
		answer()
	}
}

func (b *fakeBroker) OpenFetch(_ context.Context, _ *Session, topic string, index int32, epoch mq.Epoch, rack string) (Reader, error) {
	p, err := b.part(topic, index)
	switch {
	case err != nil:
		return nil, err
	case epoch > 3:
		return nil, mq.Errorf(mq.UnknownLeaderEpoch, "epoch %d", epoch)
	case epoch >= 0 && epoch < 3:
		return nil, mq.Errorf(mq.FencedLeaderEpoch, "epoch %d", epoch)
	}
	return &fakeReader{p: p, rack: rack}, nil
}

type fakeReader struct {
	p      *fakePart
	rack   string
	failed bool
}

// Elsewhere sends clients in the rack "far" to node 2, and all when a read has failed and the partition is said to refer.
func (r *fakeReader) Elsewhere(mq.Offset) mq.NodeID {
	if r.rack == "far" || r.failed && r.p.refers {
		return 2
	}
	return mq.NoNode
}

func (r *fakeReader) Offsets() (logStart, highWatermark mq.Offset) {
	r.p.b.mu.Lock()
	defer r.p.b.mu.Unlock()
	return 0, r.p.end
}

func (r *fakeReader) InMemory(mq.Offset) bool { return r.p.memory }

func (r *fakeReader) Read(_ context.Context, from mq.Offset, most int) (Fetched, error) {
	r.p.b.mu.Lock()
	defer r.p.b.mu.Unlock()
	got := Fetched{Next: from, HighWatermark: r.p.end}
	if r.failed = from < 0 || from > r.p.end; r.failed {
		return got, mq.Errorf(mq.OffsetOutOfRange, "offset %d", from)
	}
	size := 0
	for _, b := range r.p.batches {
		end := b.BaseOffset() + mq.Offset(b.LastOffsetDelta()) + 1
		if end <= from || size > 0 && size+len(b) > most {
			continue
		}
		got.Batches, got.Next, size = append(got.Batches, b), end, size+len(b)
	}
	return got, nil
}

// EpochEnd: the log has records of epochs 1 and 3.
func (r *fakeReader) EpochEnd(epoch mq.Epoch) (mq.Epoch, mq.Offset, error) {
	r.p.b.mu.Lock()
	defer r.p.b.mu.Unlock()
	switch {
	case r.p.follows:
		return mq.NoEpoch, -1, mq.Errorf(mq.NotLeaderOrFollower, "elsewhere")
	case epoch < 1:
		return mq.NoEpoch, -1, nil
	case epoch < 3:
		return 1, 7, nil
	}
	return 3, r.p.end, nil
}

func (r *fakeReader) Await(from mq.Offset, w Waiter) bool {
	r.p.b.mu.Lock()
	defer r.p.b.mu.Unlock()
	if r.p.deaf || from < r.p.end || from > r.p.end {
		return false
	}
	r.p.waiters[r] = w
	return true
}

func (r *fakeReader) Close() {
	r.p.b.mu.Lock()
	defer r.p.b.mu.Unlock()
	delete(r.p.waiters, r)
}

func (b *fakeBroker) Place(_ context.Context, _ *Session, topic string, index int32, _ mq.Epoch, at Place) (Found, error) {
	p, err := b.part(topic, index)
	if err != nil {
		return Found{}, err
	}
	if at == -99 {
		return Found{}, mq.Errorf(mq.OffsetNotAvailable, "not yet")
	}
	return Found{Offset: p.end, Timestamp: -1, Epoch: 3}, nil
}

func (b *fakeBroker) InitProducerID(_ context.Context, _ *Session, id mq.ProducerID, epoch mq.ProducerEpoch) (mq.ProducerID, mq.ProducerEpoch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.initErr != nil {
		return mq.NoProducerID, mq.NoProducerEpoch, b.initErr
	}
	if id >= 0 && epoch < math.MaxInt16 {
		return id, epoch + 1, nil
	}
	b.next++
	return b.next, 0, nil
}
