package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/gateway"
	"github.com/rustmq/rustmq/mq"
)

// streaming are the ways in for streams: one of the two directions is all that HTTP/1.1 has.
func streaming(t *testing.T, url string) map[string]api {
	t.Helper()
	return map[string]api{"connect": newAPI(overHTTP2(t), url), "gRPC": newAPI(overHTTP2(t), url, connect.WithGRPC())}
}

// fill produces so many records, each to the partition of its number modulo that of partitions, and gives their values.
func fill(ctx context.Context, t *testing.T, a api, topic string, partitions, count int) {
	t.Helper()
	req := &rustmqpb.ProduceRequest{Topic: topic}
	for i := range count {
		r := textRecord(fmt.Sprint(i))
		r.Partition = new(int32(i % partitions))
		req.Records = append(req.Records, r)
	}
	resp, err := a.Produce(ctx, request(req))
	if err != nil || resp.Msg.GetFailed() != 0 {
		t.Fatalf("produce: %v, %v", resp, err)
	}
}

// TestStreamOfRequestsIsAnsweredInOrder, while they come and after they have ended; what is against the rules ends it behind those answers.
func TestStreamOfRequestsIsAnsweredInOrder(t *testing.T) {
	n := startNode(t)
	for name, a := range streaming(t, url(n)) {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			topic := "orders-" + name
			createTopic(ctx, t, a, topic, 1)
			stream := a.ProduceStream(ctx)
			const count = 300
			go func() { // ends when all is sent, or the stream is over
				for i := range count {
					if stream.Send(&rustmqpb.ProduceStreamRequest{CorrelationId: int64(i), Request: &rustmqpb.ProduceRequest{
						Topic: topic, Records: []*rustmqpb.ProduceRecord{textRecord("a"), textRecord("b")},
					}}) != nil {
						return
					}
				}
				_ = stream.CloseRequest()
			}()
			for i := range count {
				resp, err := stream.Receive()
				if err != nil || resp.GetCorrelationId() != int64(i) || resp.GetResponse().GetResults()[1].GetRecord().GetOffset() != int64(2*i+1) {
					t.Fatalf("answer %d: %v, %v", i, resp, err)
				}
			}
			if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("the end: %v", err)
			}
			_ = stream.CloseResponse()

			stream = a.ProduceStream(ctx)
			for _, req := range []*rustmqpb.ProduceStreamRequest{
				{CorrelationId: 1, Request: &rustmqpb.ProduceRequest{Topic: topic, Records: []*rustmqpb.ProduceRecord{textRecord("good")}}},
				{CorrelationId: 2, Request: &rustmqpb.ProduceRequest{Topic: topic}},
			} {
				if err := stream.Send(req); err != nil {
					t.Fatal(err)
				}
			}
			if resp, err := stream.Receive(); err != nil || resp.GetCorrelationId() != 1 || resp.GetResponse().GetFailed() != 0 {
				t.Errorf("the good one: %v, %v", resp, err)
			}
			_, err := stream.Receive()
			wantCode(t, "the bad one", err, mq.InvalidRequest)
			_ = stream.CloseRequest()
			_ = stream.CloseResponse()
		})
	}
	stream := newAPI(overHTTP1(t), url(n)).ProduceStream(deadline(t))
	_ = stream.Send(&rustmqpb.ProduceStreamRequest{})
	if _, err := stream.Receive(); err == nil || !strings.Contains(err.Error(), "HTTP") {
		t.Errorf("over HTTP/1.1: %v", err)
	}
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}

// events reads a Consume stream.
type events struct {
	t      *testing.T
	stream *connect.ServerStreamForClient[rustmqpb.ConsumeResponse]
	id     string
	cancel context.CancelFunc
}

// consume begins to consume.
func consume(ctx context.Context, t *testing.T, a api, req *rustmqpb.ConsumeRequest) *events {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	stream, err := a.Consume(ctx, request(req))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	e := &events{t: t, stream: stream, cancel: cancel}
	t.Cleanup(e.close)
	started := e.next().GetStarted()
	if started.GetSessionId() == "" {
		t.Fatalf("the first event: %v", stream.Msg())
	}
	e.id = started.GetSessionId()
	return e
}

func (e *events) close() {
	e.cancel()
	_ = e.stream.Close()
}

// next is the next event that is no heartbeat.
func (e *events) next() *rustmqpb.ConsumeResponse {
	e.t.Helper()
	for e.stream.Receive() {
		if e.stream.Msg().GetHeartbeat() == nil {
			return e.stream.Msg()
		}
	}
	e.t.Fatalf("the stream ended: %v", e.stream.Err())
	return nil
}

// assigned waits until the member has so many partitions.
func (e *events) assigned(count int) {
	e.t.Helper()
	for have := 0; have < count; {
		have += len(e.next().GetAssigned().GetPartitions())
	}
}

// records reads so many, and gives the next offset of each partition.
func (e *events) records(count int) (values map[string]int, next map[int32]int64) {
	e.t.Helper()
	values, next = make(map[string]int), make(map[int32]int64)
	for n := 0; n < count; {
		b := e.next().GetBatch()
		if b == nil {
			continue
		}
		for _, r := range b.GetRecords() {
			values[r.GetValueText()]++
			n++
		}
		next[b.GetPartition()] = b.GetNextOffset()
	}
	return values, next
}

// ack acknowledges, and fails where that does.
func (e *events) ack(ctx context.Context, a api, topic string, next map[int32]int64) {
	e.t.Helper()
	req := &rustmqpb.AckRequest{SessionId: e.id}
	for p, offset := range next {
		req.Offsets = append(req.Offsets, &rustmqpb.PartitionOffset{Topic: topic, Partition: p, NextOffset: offset})
	}
	resp, err := a.Ack(ctx, request(req))
	if err != nil {
		e.t.Fatal(err)
	}
	for i, r := range resp.Msg.GetResults() {
		if r.GetError() != nil {
			e.t.Errorf("%v: %v", req.GetOffsets()[i], r.GetError())
		}
	}
}

// committed is what a group has committed, by partition.
func committed(ctx context.Context, t *testing.T, a api, group string) map[int32]int64 {
	t.Helper()
	d, err := a.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: group}))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[int32]int64)
	for _, p := range d.Msg.GetPartitions() {
		found[p.GetPartition()] = p.GetCommittedOffset()
	}
	return found
}

// TestConsumeByAssignment reads what is there and what comes, over each protocol, HTTP/1.1 included; a partition that fails says so.
func TestConsumeByAssignment(t *testing.T) {
	n := startNode(t)
	for name, a := range protocols(t, n) {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			topic := fmt.Sprint("t", len(name))
			createTopic(ctx, t, a, topic, 2)
			fill(ctx, t, a, topic, 2, 10)
			e := consume(ctx, t, a, &rustmqpb.ConsumeRequest{Text: true, Assignments: []*rustmqpb.Assignment{
				{Topic: topic, Partition: 0, Position: at(2)}, {Topic: topic, Partition: 1}, {Topic: topic, Partition: 9},
			}})
			seen, failed := 0, false
			for seen < 8 || !failed {
				event := e.next()
				seen += len(event.GetBatch().GetRecords())
				failed = failed || event.GetError().GetPartition() == 9 && event.GetError().GetCode() == rustmqpb.ErrorCode_ERROR_CODE_UNKNOWN_TOPIC_OR_PARTITION
			}
			fill(ctx, t, a, topic, 2, 2)
			if values, _ := e.records(2); values["0"] != 1 || values["1"] != 1 {
				t.Errorf("what came later: %v", values)
			}
			e.close()

			e = consume(ctx, t, a, &rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: topic, Partition: 0, Position: at(99)}}})
			if got := e.next().GetError().GetCode(); got != rustmqpb.ErrorCode_ERROR_CODE_OFFSET_OUT_OF_RANGE {
				t.Errorf("got %v", got)
			}
			if e.stream.Receive() {
				t.Errorf("an event after the last partition failed: %v", e.stream.Msg())
			}
			wantCode(t, "the end", e.stream.Err(), mq.OffsetOutOfRange)
			e.close()
		})
	}
}

// TestGroupGoesOnBehindWhatWasAcknowledged, and nowhere else: not behind what was sent and not acknowledged.
func TestGroupGoesOnBehindWhatWasAcknowledged(t *testing.T) {
	n := startNode(t)
	for name, a := range streaming(t, url(n)) {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			topic, group := "orders-"+name, "billing-"+name
			createTopic(ctx, t, a, topic, 2)
			fill(ctx, t, a, topic, 2, 10)
			req := &rustmqpb.ConsumeRequest{Text: true, Group: &rustmqpb.GroupSubscription{Group: group, Topics: []string{topic}}}
			e := consume(ctx, t, a, req)
			values, next := e.records(10)
			if len(values) != 10 || next[0] != 5 || next[1] != 5 {
				t.Fatalf("%v, %v", values, next)
			}
			e.ack(ctx, a, topic, map[int32]int64{0: 3})
			e.ack(ctx, a, topic, map[int32]int64{0: 2}) // overtaken
			if got := committed(ctx, t, a, group); got[0] != 3 || got[1] > 0 {
				t.Errorf("committed: %v", got)
			}
			resp, err := a.Ack(ctx, request(&rustmqpb.AckRequest{SessionId: e.id, Offsets: []*rustmqpb.PartitionOffset{
				{Topic: topic, Partition: 0, NextOffset: 6}, {Topic: topic, Partition: 7, NextOffset: 1}, {Topic: topic, Partition: 1, NextOffset: -1}, {Topic: topic, Partition: 1, NextOffset: 1},
			}}))
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []rustmqpb.ErrorCode{42, 42, 42, 0} {
				if got := resp.Msg.GetResults()[i].GetError(); got.GetCode() != want {
					t.Errorf("ack %d: %v", i, got)
				}
			}
			id := e.id
			e.close()
			await(t, "the member has left", func() bool {
				d, err := a.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: group}))
				return err == nil && len(d.Msg.GetMembers()) == 0
			})
			_, err = a.Ack(ctx, request(&rustmqpb.AckRequest{SessionId: id}))
			wantCode(t, "an ack for a stream that has ended", err, mq.UnknownMemberID)
			_, err = a.Ack(ctx, request(&rustmqpb.AckRequest{SessionId: "7-x"}))
			wantCode(t, "an ack for another node's stream", err, mq.UnknownMemberID)

			e = consume(ctx, t, a, req)
			if values, next := e.records(6); len(values) != 6 || next[0] != 5 || next[1] != 5 || values["4"] != 0 || values["6"] != 1 || values["1"] != 0 || values["3"] != 1 {
				t.Errorf("again: %v, %v", values, next)
			}
			e.close()
		})
	}
}

// TestAutoCommitIsOfWhatWasSentBefore: by itself the server commits what it sent, some time later, and nothing at the end.
func TestAutoCommitIsOfWhatWasSentBefore(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, a, "orders", 1)
	fill(ctx, t, a, "orders", 1, 5)
	req := &rustmqpb.ConsumeRequest{Group: &rustmqpb.GroupSubscription{Group: "g", TopicPattern: "ord.*", AutoCommitInterval: durationpb.New(100 * time.Millisecond)}}
	e := consume(ctx, t, a, req)
	e.records(5)
	await(t, "what was sent is committed", func() bool { return committed(ctx, t, a, "g")[0] == 5 })
	e.close()
	req.Group.AutoCommitInterval = durationpb.New(time.Hour)
	e = consume(ctx, t, a, req)
	e.assigned(1)
	fill(ctx, t, a, "orders", 1, 5)
	e.records(5)
	e.close()
	await(t, "the member has left", func() bool {
		d, err := a.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: "g"}))
		return err == nil && len(d.Msg.GetMembers()) == 0
	})
	if got := committed(ctx, t, a, "g")[0]; got != 5 {
		t.Errorf("%d is committed at the end of a stream, want 5", got)
	}
}

// failures counts what is logged of commits that failed.
type failures struct {
	slog.Handler
	count *atomic.Int64
}

func (failures) Enabled(context.Context, slog.Level) bool { return true }

func (f failures) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "was not committed") {
		f.count.Add(1)
	}
	return nil
}

// TestAutoCommitThatFailedIsRepeated when there is a coordinator again, though nothing more is sent to the member.
func TestAutoCommitThatFailedIsRepeated(t *testing.T) {
	c := startCluster(t)
	ctx := deadline(t)
	first := c.Nodes[0].Live
	failed := failures{slog.DiscardHandler, new(atomic.Int64)}
	_, base, _ := serveGatewayOf(t, gateway.Config{
		Node: 1, Software: "test", Logger: slog.New(failed),
		Cluster: []client.Option{client.Servers(first.Addr().String()), client.CAFile(first.CAFile()), client.RequestTimeout(time.Second)},
	})
	a := newAPI(overHTTP2(t), base)
	direct := newAPI(overHTTP2(t), url(first))
	createTopic(ctx, t, direct, "orders", 1)
	fill(ctx, t, direct, "orders", 1, 5)
	const interval = 2 * time.Second
	e := consume(ctx, t, a, &rustmqpb.ConsumeRequest{Group: &rustmqpb.GroupSubscription{Group: "g", Topics: []string{"orders"}, AutoCommitInterval: durationpb.New(interval)}})
	e.records(5)
	// Two of three are gone before it is time to commit.
	c.Nodes[1].Kill()
	c.Nodes[2].Kill()
	await(t, "the commit has failed", func() bool { return failed.count.Load() > 0 })
	if err := c.Start(ctx, c.Nodes[1], c.Nodes[2]); err != nil {
		t.Fatal(err)
	}
	await(t, "it is committed in the end", func() bool {
		d, err := direct.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: "g"}))
		return err == nil && len(d.Msg.GetPartitions()) == 1 && d.Msg.GetPartitions()[0].GetCommittedOffset() == 5
	})
}

// TestSecondMemberTakesOverWhatTheFirstHasAcknowledged: the first one is told, acknowledges what it has, and no record comes twice.
func TestSecondMemberTakesOverWhatTheFirstHasAcknowledged(t *testing.T) {
	c := startCluster(t)
	ctx := deadline(t)
	first, second := newAPI(overHTTP2(t), url(c.Nodes[0].Live)), newAPI(overHTTP2(t), url(c.Nodes[1].Live), connect.WithGRPC())
	createTopic(ctx, t, first, "orders", 4)
	fill(ctx, t, first, "orders", 4, 40)
	req := &rustmqpb.ConsumeRequest{Text: true, Group: &rustmqpb.GroupSubscription{Group: "g", Topics: []string{"orders"}, RevokeWait: durationpb.New(20 * time.Second)}}
	e := consume(ctx, t, first, req)
	_, next := e.records(40)
	other := consume(ctx, t, second, req)
	for {
		if revoked := e.next().GetRevoked(); revoked != nil {
			if len(revoked.GetPartitions()) != 2 || revoked.GetLost() {
				t.Errorf("revoked: %v", revoked)
			}
			break
		}
	}
	_, err := second.Ack(ctx, request(&rustmqpb.AckRequest{SessionId: e.id}))
	wantCode(t, "an ack at another node", err, mq.UnknownMemberID)
	e.ack(ctx, first, "orders", next)
	other.assigned(2)
	fill(ctx, t, second, "orders", 4, 4)
	values, _ := other.records(2)
	for v := range values {
		if len(v) != 1 || v > "3" {
			t.Errorf("%q came again", v)
		}
	}
	if values, _ := e.records(2); len(values) != 2 {
		t.Errorf("the first: %v", values)
	}
}

// TestBadConsumeRequestsAreRefused: what is wrong is named, and no stream begins.
func TestBadConsumeRequestsAreRefused(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, a, "orders", 1)
	group := func(change func(*rustmqpb.GroupSubscription)) *rustmqpb.ConsumeRequest {
		g := &rustmqpb.GroupSubscription{Group: "g", Topics: []string{"orders"}}
		change(g)
		return &rustmqpb.ConsumeRequest{Group: g}
	}
	one := &rustmqpb.Assignment{Topic: "orders"}
	for name, c := range map[string]struct {
		req  *rustmqpb.ConsumeRequest
		code mq.Code
	}{
		"nothing":       {&rustmqpb.ConsumeRequest{}, mq.InvalidRequest},
		"both":          {&rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{one}, Group: &rustmqpb.GroupSubscription{Group: "g"}}, mq.InvalidRequest},
		"twice":         {&rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{one, one}}, mq.InvalidRequest},
		"negative":      {&rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: "orders", Partition: -2}}}, mq.InvalidRequest},
		"an edge":       {&rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: "orders", Position: &rustmqpb.Position{At: &rustmqpb.Position_Edge{Edge: 5}}}}}, mq.InvalidRequest},
		"no group":      {group(func(g *rustmqpb.GroupSubscription) { g.Group = "" }), mq.InvalidConfig},
		"no topics":     {group(func(g *rustmqpb.GroupSubscription) { g.Topics = nil }), mq.InvalidConfig},
		"a pattern":     {group(func(g *rustmqpb.GroupSubscription) { g.TopicPattern = "(" }), mq.InvalidRegularExpression},
		"a reset":       {group(func(g *rustmqpb.GroupSubscription) { g.AutoOffsetReset = 9 }), mq.InvalidRequest},
		"an interval":   {group(func(g *rustmqpb.GroupSubscription) { g.AutoCommitInterval = durationpb.New(1) }), mq.InvalidRequest},
		"a rebalance":   {group(func(g *rustmqpb.GroupSubscription) { g.RebalanceTimeout = durationpb.New(1) }), mq.InvalidRequest},
		"a revoke wait": {group(func(g *rustmqpb.GroupSubscription) { g.RevokeWait = durationpb.New(time.Hour) }), mq.InvalidRequest},
	} {
		stream, err := a.Consume(ctx, request(c.req))
		if err == nil {
			for stream.Receive() {
				t.Errorf("%s: %v", name, stream.Msg())
			}
			err = stream.Err()
			_ = stream.Close()
		}
		wantCode(t, name, err, c.code)
	}
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

// TestStreamsOutliveALeader: what a stream consumes and produces goes on when the node that leads dies; a stream of the node that dies ends.
func TestStreamsOutliveALeader(t *testing.T) {
	c := startCluster(t)
	ctx := deadline(t)
	a, doomed := newAPI(overHTTP2(t), url(c.Nodes[0].Live)), newAPI(overHTTP2(t), url(c.Nodes[2].Live))
	createTopic(ctx, t, a, "orders", 6)
	fill(ctx, t, a, "orders", 6, 60)
	e := consume(ctx, t, a, &rustmqpb.ConsumeRequest{Text: true, Group: &rustmqpb.GroupSubscription{Group: "g", Topics: []string{"orders"}}})
	_, next := e.records(60)
	e.ack(ctx, a, "orders", next)
	dying := consume(ctx, t, doomed, &rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: "orders"}}})
	dying.records(10)
	produce := a.ProduceStream(ctx)
	c.Nodes[2].Kill()
	for dying.stream.Receive() {
	}
	if dying.stream.Err() == nil {
		t.Error("the stream of a node that was killed ended well")
	}
	for i := range 20 {
		req := &rustmqpb.ProduceRequest{Topic: "orders"}
		for p := range int32(6) {
			r := textRecord(fmt.Sprint("later-", i, "-", p))
			r.Partition = &p
			req.Records = append(req.Records, r)
		}
		if err := produce.Send(&rustmqpb.ProduceStreamRequest{Request: req}); err != nil {
			t.Fatal(err)
		}
	}
	_ = produce.CloseRequest()
	for range 20 {
		if resp, err := produce.Receive(); err != nil || resp.GetResponse().GetFailed() != 0 {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	_ = produce.CloseResponse()
	values, next := e.records(120)
	if len(values) != 120 {
		t.Errorf("%d different records of 120", len(values))
	}
	for p := range int32(6) {
		if next[p] != 30 {
			t.Errorf("partition %d goes on at %d, want 30", p, next[p])
		}
	}
	e.ack(ctx, a, "orders", next)
}

// TestNodeIsStoppedUnderItsStreams: they end with the reason, before the node closes what they need.
func TestNodeIsStoppedUnderItsStreams(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	a := newAPI(overHTTP2(t), url(n), connect.WithGRPC())
	createTopic(ctx, t, a, "orders", 1)
	fill(ctx, t, a, "orders", 1, 3)
	e := consume(ctx, t, a, &rustmqpb.ConsumeRequest{Group: &rustmqpb.GroupSubscription{Group: "g", Topics: []string{"orders"}}})
	e.records(3)
	closed := make(chan error, 1)
	go func() { closed <- n.Close(ctx) }()
	for e.stream.Receive() {
	}
	wantCode(t, "the stream", e.stream.Err(), mq.ShuttingDown)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
