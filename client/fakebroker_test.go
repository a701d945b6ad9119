package client

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
	"github.com/rustmq/rustmq/quicproto/server"
)

// fakeBroker keeps topics in memory. It survives the servers in front of it, as a disk survives a process.
type fakeBroker struct {
	noGroups
	node  mq.NodeID
	group *group        // of which it is one, nil for one alone
	delay time.Duration // from append to acknowledgement

	mu     sync.Mutex
	addr   string
	topics map[string]*fakeTopic
	nextID mq.ProducerID
	// fault, if set, is asked about each append before it happens.
	fault func(partition int32, b mq.Batch) fault
	// leader, if set, is who metadata says leads.
	leader  func() mq.NodeID
	inits   int
	noIDs   error // what InitProducerID answers instead of an id
	discard bool  // keep nothing: for benchmarks
	shelf   shelf
	// listing, if set, is what the broker says of its groups.
	listing func() *quicproto.ListGroupsResponse
	// coordinator, if set, coordinates groups at one of the brokers that have it.
	coordinator *fakeCoordinator
}

// fault is what happens to one append.
type fault struct {
	refuse error  // not appended, answered with this
	after  func() // appended, and then this instead of an answer
}

type fakeTopic struct {
	id       mq.TopicID
	maxBatch atomic.Int64
	parts    []*fakeLog
}

// fakeLog is one partition.
type fakeLog struct {
	topic *fakeTopic

	mu        sync.Mutex
	batches   []mq.Batch
	start     mq.Offset
	end       mq.Offset
	freed     mq.Offset    // below it only the object store has them
	epoch     mq.Epoch     // of whoever leads; 0: the first
	cut       mq.Offset    // the end as a leader has it that is cut off; 0: as all others
	stored    atomic.Int64 // records that a leader read from there
	producers map[mq.ProducerID]*fakeProducer
	waiters   map[*fakeReader]struct{}
}

type fakeProducer struct {
	epoch  mq.ProducerEpoch
	next   int32
	recent []mq.Batch
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{node: 1, topics: make(map[string]*fakeTopic), nextID: 100}
}

func (f *fakeBroker) create(name string, partitions int) *fakeTopic {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := new(fakeTopic)
	t.maxBatch.Store(mq.DefaultMaxBatchBytes)
	t.id[0], t.id[1] = byte(len(f.topics)+1), byte(f.nextID)
	f.nextID++
	for range partitions {
		t.parts = append(t.parts, newFakeLog(t))
	}
	f.topics[name] = t
	return t
}

func newFakeLog(t *fakeTopic) *fakeLog {
	return &fakeLog{topic: t, producers: make(map[mq.ProducerID]*fakeProducer), waiters: make(map[*fakeReader]struct{})}
}

func (f *fakeBroker) topic(name string) (*fakeTopic, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[name]
	if t == nil {
		return nil, mq.Errorf(mq.UnknownTopicOrPartition, "no topic %s", name)
	}
	return t, nil
}

func (f *fakeBroker) setFault(fn func(int32, mq.Batch) fault) {
	f.mu.Lock()
	f.fault = fn
	f.mu.Unlock()
}

func (f *fakeBroker) Identity() (mq.ClusterID, mq.NodeID) { return mq.ClusterID{1}, f.node }

func (f *fakeBroker) OpenProduce(_ context.Context, _ *server.Session, name string) (server.Producer, error) {
	t, err := f.topic(name)
	if err != nil {
		return nil, err
	}
	return &fakeOpened{f, t}, nil
}

// fakeOpened implements server.Producer.
type fakeOpened struct {
	f *fakeBroker
	t *fakeTopic
}

func (o *fakeOpened) Topic() (mq.TopicID, int32, int) {
	return o.t.id, int32(len(o.t.parts)), int(o.t.maxBatch.Load())
}

func (o *fakeOpened) Append(ctx context.Context, partition int32, b mq.Batch, d mq.Durability, done server.Completion) {
	o.f.mu.Lock()
	hook, delay, discard := o.f.fault, o.f.delay, o.f.discard
	o.f.mu.Unlock()
	if discard {
		done.Complete(server.Appended{Base: 0, Mark: d.Mark(), LogStart: -1, Timestamp: -1})
		return
	}
	var ft fault
	if hook != nil {
		ft = hook(partition, b)
	}
	if ft.refuse == nil && int(partition) >= len(o.t.parts) {
		ft.refuse = mq.Errorf(mq.UnknownTopicOrPartition, "no partition %d", partition)
	}
	if ft.refuse != nil {
		done.Complete(server.Appended{Base: -1, LogStart: -1, Timestamp: -1, Err: ft.refuse})
		return
	}
	role := o.f.role(partition)
	if role == follows {
		done.Complete(server.Appended{Base: -1, LogStart: -1, Timestamp: -1, Err: mq.Errorf(mq.NotLeaderOrFollower, "node %d follows", o.f.node)})
		return
	}
	if role == cutOff && partition%2 == 0 {
		return // it reaches nobody, and so is never acknowledged
	}
	res := o.t.parts[partition].append(b)
	if role == cutOff {
		return // the others had it before
	}
	res.Mark = d.Mark()
	if ft.after != nil {
		ft.after()
		<-ctx.Done()
		done.Complete(server.Appended{Base: -1, LogStart: -1, Timestamp: -1, Err: mq.Errorf(mq.ShuttingDown, "killed")})
		return
	}
	if delay > 0 {
		time.AfterFunc(delay, func() { done.Complete(res) })
		return
	}
	done.Complete(res)
}

func (l *fakeLog) append(b mq.Batch) server.Appended {
	l.mu.Lock()
	defer l.mu.Unlock()
	res := server.Appended{Base: l.end, LogStart: l.start, Timestamp: -1}
	if id := b.ProducerID(); id >= 0 {
		p := l.producers[id]
		if p == nil {
			if b.BaseSequence() != 0 {
				res.Err = mq.Errorf(mq.UnknownProducerID, "producer %d starts with %d", id, b.BaseSequence())
				return res
			}
			p = &fakeProducer{epoch: b.ProducerEpoch()}
			l.producers[id] = p
		}
		for _, old := range p.recent {
			if old.BaseSequence() == b.BaseSequence() && old.RecordCount() == b.RecordCount() {
				res.Base, res.Duplicate = old.BaseOffset(), true
				return res
			}
		}
		if b.BaseSequence() != p.next {
			res.Err = mq.Errorf(mq.OutOfOrderSequence, "sequence %d, want %d", b.BaseSequence(), p.next)
			return res
		}
		p.next = mq.AddSequence(p.next, b.RecordCount())
		p.recent = append(p.recent, b)
		if len(p.recent) > mq.MaxProducerWindow {
			p.recent = p.recent[1:]
		}
	}
	b.SetBaseOffset(l.end)
	b.SetLeaderEpoch(max(1, l.epoch))
	l.batches = append(l.batches, b)
	l.end = b.NextOffset()
	for r := range l.waiters {
		delete(l.waiters, r)
		r.waiter.Wake()
	}
	return res
}

// records decodes everything from the start.
func (l *fakeLog) records() []mq.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []mq.Record
	for _, b := range l.batches {
		for rec, err := range b.Records(nil) {
			if err != nil {
				panic(err)
			}
			out = append(out, rec)
		}
	}
	return out
}

func (l *fakeLog) truncateFront(to mq.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = to
	l.batches = slices.DeleteFunc(l.batches, func(b mq.Batch) bool { return b.NextOffset() <= to })
}

func (f *fakeBroker) OpenFetch(_ context.Context, _ *server.Session, name string, partition int32, epoch mq.Epoch, _ mq.Isolation) (server.Reader, error) {
	t, err := f.topic(name)
	if err != nil {
		return nil, err
	}
	if int(partition) >= len(t.parts) {
		return nil, mq.Errorf(mq.UnknownTopicOrPartition, "no partition %d", partition)
	}
	if f.role(partition) == follows {
		return nil, mq.Errorf(mq.NotLeaderOrFollower, "node %d follows", f.node)
	}
	if f.group != nil && epoch > f.group.epoch(f.node, partition) {
		return nil, mq.Errorf(mq.UnknownLeaderEpoch, "epoch %d is not known to node %d", epoch, f.node)
	}
	return &fakeReader{f: f, index: partition, l: t.parts[partition]}, nil
}

// fakeReader implements server.Reader.
type fakeReader struct {
	f      *fakeBroker
	index  int32
	l      *fakeLog
	waiter server.Waiter
}

func (r *fakeReader) Offsets() (mq.TopicID, mq.Offset, mq.Offset, mq.Offset) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return r.l.topic.id, r.l.start, r.l.end, r.l.end
}

func (r *fakeReader) Source(from mq.Offset) server.Source {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if from < r.l.freed {
		return server.FromStore
	}
	return server.FromMemory
}

func (r *fakeReader) Read(_ context.Context, from mq.Offset, most int, dst []byte) (server.Fetched, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	l := r.l
	if from < l.start || from > l.end {
		return server.Fetched{}, mq.Errorf(mq.OffsetOutOfRange, "offset %d, log %d to %d", from, l.start, l.end)
	}
	role := r.f.role(r.index)
	if role == follows {
		return server.Fetched{}, mq.Errorf(mq.NotLeaderOrFollower, "node %d follows", r.f.node)
	}
	if role == cutOff && l.cut > 0 && from > l.cut {
		return server.Fetched{}, mq.Errorf(mq.OffsetOutOfRange, "offset %d, log %d to %d", from, l.start, l.cut)
	}
	got := server.Fetched{Buf: dst, Next: from, End: l.end, HighWatermark: l.end, LogStart: l.start, LogEnd: l.end}
	i, _ := slices.BinarySearchFunc(l.batches, from, func(b mq.Batch, at mq.Offset) int {
		if b.NextOffset() <= at {
			return -1
		}
		return 1
	})
	if role == cutOff {
		i, got.End = len(l.batches), from
	}
	n := 0
	for ; i < len(l.batches) && (n == 0 || n+len(l.batches[i]) <= most); i++ {
		got.Batches = append(got.Batches, l.batches[i])
		got.Next = l.batches[i].NextOffset()
		n += len(l.batches[i])
	}
	l.stored.Add(int64(max(0, min(got.Next, l.freed)-from)))
	return got, nil
}

func (r *fakeReader) Await(from mq.Offset, w server.Waiter) bool {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if role := r.f.role(r.index); role == follows || role == leads && (r.l.end > from || from < r.l.start) {
		return false
	}
	r.waiter = w
	r.l.waiters[r] = struct{}{}
	return true
}

func (r *fakeReader) Close() {
	r.l.mu.Lock()
	delete(r.l.waiters, r)
	r.l.mu.Unlock()
}

func (f *fakeBroker) Metadata(_ context.Context, _ *server.Session, req *quicproto.MetadataRequest) (*quicproto.MetadataResponse, error) {
	if f.group != nil {
		return f.group.metadata(f.node, req), nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	leader := f.node
	if f.leader != nil {
		leader = f.leader()
	}
	resp := &quicproto.MetadataResponse{
		ClusterID: mq.ClusterID{1}, Controller: f.node, Brokers: []quicproto.Broker{{ID: f.node, Addr: f.addr}},
	}
	names := req.Topics
	if req.All {
		for name := range f.topics {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	for _, name := range names {
		t := f.topics[name]
		if t == nil {
			resp.Topics = append(resp.Topics, quicproto.Topic{Name: name, Code: mq.UnknownTopicOrPartition, Msg: "no such topic"})
			continue
		}
		m := quicproto.Topic{Name: name, ID: t.id}
		for i := range t.parts {
			p := quicproto.Partition{Index: int32(i), Leader: leader, LeaderEpoch: 1, Replicas: []mq.NodeID{f.node}, InSync: []mq.NodeID{f.node}}
			if leader == mq.NoNode {
				p.Code = mq.LeaderNotAvailable
			}
			m.Partitions = append(m.Partitions, p)
		}
		resp.Topics = append(resp.Topics, m)
	}
	return resp, nil
}

func (f *fakeBroker) Operate(context.Context, *server.Session, []byte) ([]byte, error) {
	return nil, mq.Errorf(mq.UnsupportedVersion, "nobody operates this one")
}

func (f *fakeBroker) DescribeCluster(context.Context, *server.Session) (*quicproto.DescribeClusterResponse, error) {
	return &quicproto.DescribeClusterResponse{
		ClusterID: mq.ClusterID{1}, NodeID: f.node, Controller: f.node, FeatureLevel: 1, Software: "fake",
		Brokers: []quicproto.Broker{{ID: f.node, Addr: f.addr, Rack: "r"}},
	}, nil
}

func (f *fakeBroker) CreateTopic(_ context.Context, _ *server.Session, req *quicproto.CreateTopicRequest) (*quicproto.CreateTopicResponse, error) {
	if _, err := f.topic(req.Name); err == nil {
		return nil, mq.Errorf(mq.TopicAlreadyExists, "%s", req.Name)
	}
	t := f.create(req.Name, max(int(req.Partitions), 1))
	return &quicproto.CreateTopicResponse{ID: t.id, Partitions: int32(len(t.parts)), Replicas: 1}, nil
}

func (f *fakeBroker) DeleteTopic(_ context.Context, _ *server.Session, name string) error {
	if _, err := f.topic(name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.topics, name)
	return nil
}

func (f *fakeBroker) DescribeTopic(_ context.Context, _ *server.Session, name string) (*quicproto.DescribeTopicResponse, error) {
	t, err := f.topic(name)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.DescribeTopicResponse{Name: name, ID: t.id, Configs: []quicproto.Config{
		{Key: "retention.ms", Value: "1", Default: true}, {Key: "max.message.bytes", Value: strconv.FormatInt(t.maxBatch.Load(), 10), Default: true},
	}}
	for i, l := range t.parts {
		l.mu.Lock()
		resp.Partitions = append(resp.Partitions, quicproto.PartitionDetail{
			Partition: quicproto.Partition{Index: int32(i), Leader: f.node}, LogStart: l.start, HighWatermark: l.end, LogEnd: l.end, ObjectEnd: -1, Bytes: -1,
		})
		l.mu.Unlock()
	}
	return resp, nil
}

func (f *fakeBroker) AlterTopic(_ context.Context, _ *server.Session, req *quicproto.AlterTopicRequest) error {
	t, err := f.topic(req.Name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	grown := &fakeTopic{id: t.id, parts: slices.Clone(t.parts)}
	grown.maxBatch.Store(t.maxBatch.Load())
	for len(grown.parts) < int(req.Partitions) {
		grown.parts = append(grown.parts, newFakeLog(grown))
	}
	f.topics[req.Name] = grown
	return nil
}

func (f *fakeBroker) ListOffsets(_ context.Context, _ *server.Session, req *quicproto.ListOffsetsRequest) (*quicproto.ListOffsetsResponse, error) {
	t, err := f.topic(req.Topic)
	if err != nil {
		return nil, err
	}
	resp := &quicproto.ListOffsetsResponse{}
	for _, q := range req.Queries {
		a := quicproto.OffsetAnswer{Partition: q.Partition, Offset: -1, Timestamp: -1, LeaderEpoch: 1}
		l := t.parts[q.Partition]
		if f.role(q.Partition) != leads {
			a.Code, a.Msg = mq.NotLeaderOrFollower, "does not lead, or has no lease"
			resp.Answers = append(resp.Answers, a)
			continue
		}
		switch q.Timestamp {
		case quicproto.TimestampLatest:
			l.mu.Lock()
			a.Offset = l.end
			l.mu.Unlock()
		case quicproto.TimestampEarliest:
			l.mu.Lock()
			a.Offset = l.start
			l.mu.Unlock()
		default:
			for _, rec := range l.records() {
				if rec.Timestamp >= q.Timestamp {
					a.Offset, a.Timestamp = rec.Offset, rec.Timestamp
					break
				}
			}
		}
		resp.Answers = append(resp.Answers, a)
	}
	return resp, nil
}

// asked is how many producer ids were asked for.
func (f *fakeBroker) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inits
}

func (f *fakeBroker) setNoIDs(err error) {
	f.mu.Lock()
	f.noIDs = err
	f.mu.Unlock()
}

func (f *fakeBroker) InitProducerID(context.Context, *server.Session, *quicproto.InitProducerIDRequest) (*quicproto.InitProducerIDResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noIDs != nil {
		return nil, f.noIDs
	}
	f.nextID++
	f.inits++
	return &quicproto.InitProducerIDResponse{ProducerID: f.nextID}, nil
}
