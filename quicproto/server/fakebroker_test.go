package server_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// fakeBroker keeps topics in memory. Hooks change what it does.
type fakeBroker struct {
	mu     sync.Mutex
	topics map[string]*fakeTopic

	openProduce func(s *server.Session, topic string) error                                            // refuse a Bind
	appended    func(partition int32, b mq.Batch, done server.Completion)                              // instead of appending
	deny        func(s *server.Session) error                                                          // refuse requests
	metadata    func(context.Context, *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error) // instead of an empty answer
	readers     int                                                                                    // open
	member      *fakeMember                                                                            // that OpenGroup gives
}

type fakeTopic struct {
	name       string
	id         mq.TopicID
	maxBatch   int
	partitions []*fakePartition
}

type fakePartition struct {
	mu       sync.Mutex
	batches  []mq.Batch // immutable
	start    mq.Offset
	end      mq.Offset
	waiters  map[*fakeReader]fakeWait
	source   func(from mq.Offset) server.Source              // nil: memory
	read     func(ctx context.Context, from mq.Offset) error // before each Read
	awaited  int                                             // Await calls that registered
	discard  bool                                            // count batches and drop them
	loop     []byte                                          // serve this for ever from any offset
	loopSize mq.Offset
}

type fakeWait struct {
	from mq.Offset
	w    server.Waiter
}

func newFakeBroker() *fakeBroker { return &fakeBroker{topics: make(map[string]*fakeTopic)} }

func (b *fakeBroker) add(name string, partitions int) *fakeTopic {
	t := &fakeTopic{name: name, maxBatch: mq.DefaultMaxBatchBytes, id: mq.TopicID{byte(len(name)), name[0]}}
	for range partitions {
		t.partitions = append(t.partitions, &fakePartition{waiters: make(map[*fakeReader]fakeWait)})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics[name] = t
	return t
}

func (b *fakeBroker) topic(name string) (*fakeTopic, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[name]; t != nil {
		return t, nil
	}
	return nil, mq.Errorf(mq.UnknownTopicOrPartition, "topic %q does not exist", name)
}

func (b *fakeBroker) openReaders() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.readers
}

func (b *fakeBroker) Identity() (mq.ClusterID, mq.NodeID) { return mq.ClusterID{1, 2, 3}, 7 }

// isSet has what a test has set of the broker so far be seen by those who open a topic: a network orders nothing for the race detector.
func (b *fakeBroker) isSet() {
	b.mu.Lock()
	defer b.mu.Unlock()
}

func (b *fakeBroker) OpenProduce(_ context.Context, s *server.Session, topic string) (server.Producer, error) {
	if b.openProduce != nil {
		if err := b.openProduce(s, topic); err != nil {
			return nil, err
		}
	}
	t, err := b.topic(topic)
	if err != nil {
		return nil, err
	}
	return &fakeProducer{b, t}, nil
}

type fakeProducer struct {
	b *fakeBroker
	t *fakeTopic
}

func (p *fakeProducer) Topic() (mq.TopicID, int32, int) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return p.t.id, int32(len(p.t.partitions)), p.t.maxBatch
}

func (p *fakeProducer) Append(_ context.Context, partition int32, b mq.Batch, d mq.Durability, done server.Completion) {
	if p.b.appended != nil {
		p.b.appended(partition, b, done)
		return
	}
	if partition < 0 || int(partition) >= len(p.t.partitions) {
		done.Complete(server.Appended{Err: mq.Errorf(mq.UnknownTopicOrPartition, "topic %s has no partition %d", p.t.name, partition)})
		return
	}
	base := p.t.partitions[partition].append(b)
	done.Complete(server.Appended{Base: base, Mark: d.Mark(), LogStart: 0, Timestamp: -1})
}

func (p *fakePartition) append(b mq.Batch) mq.Offset {
	p.mu.Lock()
	base := p.end
	b.SetBaseOffset(base)
	p.end = b.NextOffset()
	if !p.discard {
		p.batches = append(p.batches, b)
	}
	var wake []server.Waiter
	for r, w := range p.waiters {
		if w.from < p.end {
			wake = append(wake, w.w)
			delete(p.waiters, r)
		}
	}
	p.mu.Unlock()
	for _, w := range wake {
		w.Wake()
	}
	return base
}

// log is all batches so far.
func (p *fakePartition) log() []mq.Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.batches)
}

func (b *fakeBroker) OpenFetch(_ context.Context, _ *server.Session, topic string, partition int32, epoch mq.Epoch, _ mq.Isolation) (server.Reader, error) {
	t, err := b.topic(topic)
	if err != nil {
		return nil, err
	}
	if partition < 0 || int(partition) >= len(t.partitions) {
		return nil, mq.Errorf(mq.UnknownTopicOrPartition, "topic %s has no partition %d", topic, partition)
	}
	if epoch > 5 {
		return nil, mq.Errorf(mq.UnknownLeaderEpoch, "epoch %d", epoch)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers++
	return &fakeReader{b: b, t: t, p: t.partitions[partition]}, nil
}

// OpenTiered is OpenFetch: what the store has the partition's source says.
func (b *fakeBroker) OpenTiered(ctx context.Context, s *server.Session, topic string, partition int32, epoch mq.Epoch) (server.Reader, error) {
	return b.OpenFetch(ctx, s, topic, partition, epoch, mq.IsolationCommitted)
}

// fakeReader panics if it is used by two goroutines at a time, as the race detector would only maybe.
type fakeReader struct {
	b     *fakeBroker
	t     *fakeTopic
	p     *fakePartition
	using sync.Mutex
}

func (r *fakeReader) use() func() {
	if !r.using.TryLock() {
		panic("reader used by two goroutines at a time")
	}
	return r.using.Unlock
}

func (r *fakeReader) Offsets() (mq.TopicID, mq.Offset, mq.Offset, mq.Offset) {
	defer r.use()()
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return r.t.id, r.p.start, r.p.end, r.p.end
}

func (r *fakeReader) Source(from mq.Offset) server.Source {
	defer r.use()()
	if r.p.source == nil {
		return server.FromMemory
	}
	return r.p.source(from)
}

func (r *fakeReader) Read(ctx context.Context, from mq.Offset, max int, dst []byte) (server.Fetched, error) {
	defer r.use()()
	p := r.p
	if p.read != nil {
		if err := p.read(ctx, from); err != nil {
			return server.Fetched{}, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	got := server.Fetched{Buf: dst, Next: from, End: p.end, HighWatermark: p.end, LogStart: p.start, LogEnd: p.end}
	if p.loop != nil {
		got.Batches, got.Next, got.End = [][]byte{p.loop}, from+p.loopSize, from+2*p.loopSize
		return got, nil
	}
	if from < p.start || from > p.end {
		return server.Fetched{}, mq.Errorf(mq.OffsetOutOfRange, "offset %d is not in [%d, %d]", from, p.start, p.end)
	}
	copied := p.source != nil && p.source(from) == server.FromLog
	dst, n := dst[:0], 0
	for _, b := range p.batches {
		if b.NextOffset() <= from {
			continue
		}
		if n > 0 && n+len(b) > max {
			break
		}
		if n += len(b); copied {
			dst = append(dst, b...)
		} else {
			got.Batches = append(got.Batches, b)
		}
		got.Next = b.NextOffset()
	}
	if len(dst) > 0 {
		got.Buf, got.Batches = dst, [][]byte{dst}
	}
	return got, nil
}

func (r *fakeReader) Await(from mq.Offset, w server.Waiter) bool {
	defer r.use()()
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if from < r.p.end || r.p.loop != nil {
		return false
	}
	r.p.awaited++
	r.p.waiters[r] = fakeWait{from, w}
	return true
}

func (r *fakeReader) Close() {
	defer r.use()()
	r.p.mu.Lock()
	delete(r.p.waiters, r)
	r.p.mu.Unlock()
	r.b.mu.Lock()
	r.b.readers--
	r.b.mu.Unlock()
}

func (b *fakeBroker) allowed(s *server.Session) error {
	if b.deny != nil {
		return b.deny(s)
	}
	return nil
}

func (b *fakeBroker) Metadata(ctx context.Context, s *server.Session, req *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error) {
	if b.metadata != nil {
		return b.metadata(ctx, req)
	}
	r := &quicproto.MetadataResponse{Controller: 7}
	for _, name := range req.Topics {
		r.Topics = append(r.Topics, quicproto.Topic{Name: name})
	}
	return r, b.allowed(s)
}

func (b *fakeBroker) Operate(_ context.Context, s *server.Session, message []byte) ([]byte, error) {
	return append([]byte("did "), message...), b.allowed(s)
}

func (b *fakeBroker) DescribeCluster(_ context.Context, s *server.Session) (*quicproto.DescribeClusterResponse, error) {
	return &quicproto.DescribeClusterResponse{NodeID: 7, Software: s.ClientID}, b.allowed(s)
}

func (b *fakeBroker) CreateTopic(_ context.Context, s *server.Session, req *quicproto.CreateTopicRequest) (*quicproto.CreateTopicResponse, error) {
	t := b.add(req.Name, int(req.Partitions))
	return &quicproto.CreateTopicResponse{ID: t.id, Partitions: req.Partitions, Replicas: 1}, b.allowed(s)
}

func (b *fakeBroker) DeleteTopic(_ context.Context, s *server.Session, name string) error {
	_, err := b.topic(name)
	return err
}

func (b *fakeBroker) DescribeTopic(_ context.Context, _ *server.Session, name string) (*quicproto.DescribeTopicResponse, error) {
	t, err := b.topic(name)
	if err != nil {
		return nil, err
	}
	return &quicproto.DescribeTopicResponse{Name: name, ID: t.id}, nil
}

func (b *fakeBroker) AlterTopic(_ context.Context, _ *server.Session, req *quicproto.AlterTopicRequest) error {
	return mq.Errorf(mq.InvalidConfig, "no config %q", req.Set[0].Key)
}

func (b *fakeBroker) ListOffsets(_ context.Context, _ *server.Session, req *quicproto.ListOffsetsRequest) (*quicproto.ListOffsetsResponse, error) {
	return &quicproto.ListOffsetsResponse{Answers: []quicproto.OffsetAnswer{{Partition: req.Queries[0].Partition, Offset: 5}}}, nil
}

func (b *fakeBroker) InitProducerID(context.Context, *server.Session, *quicproto.InitProducerIDRequest) (*quicproto.InitProducerIDResponse, error) {
	return &quicproto.InitProducerIDResponse{ProducerID: 4000, ProducerEpoch: 1}, nil
}

var _ server.Broker = (*fakeBroker)(nil)

// testTimeout bounds every wait in a test that should not last.
const testTimeout = time.Minute
