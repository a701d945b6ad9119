package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/api/rustmq/v1/rustmqpbconnect"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/gateway"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/node/nodetest"
)

// serveGateway serves a gateway of its own to a node, with other limits. It ends with the test, or with stop.
func serveGateway(t *testing.T, n *nodetest.Live, limits gateway.Limits) (g *gateway.Gateway, address string, stop func(context.Context)) {
	t.Helper()
	return serveGatewayOf(t, gateway.Config{
		Node: 1, Software: "test", Limits: limits, Logger: slog.New(slog.DiscardHandler),
		Cluster: []client.Option{client.Servers(n.Addr().String()), client.CAFile(n.CAFile())},
	})
}

func serveGatewayOf(t *testing.T, cfg gateway.Config) (g *gateway.Gateway, address string, stop func(context.Context)) {
	t.Helper()
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, h := range g.Services() {
		mux.Handle(path, h)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux, Protocols: protocols, ReadTimeout: time.Second, WriteTimeout: time.Second} // a call's own take their place
	served := make(chan struct{})
	go func() {
		_ = srv.Serve(listener)
		close(served)
	}()
	var once atomic.Bool
	stop = func(ctx context.Context) {
		if once.Swap(true) {
			return
		}
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		closing, done := context.WithTimeout(ctx, 2*time.Second) // what was answered goes out, as it does where a node is stopped
		defer done()
		_ = srv.Shutdown(closing)
		_ = srv.Close()
		<-served
	}
	t.Cleanup(func() { stop(context.Background()) })
	return g, "http://" + listener.Addr().String(), stop
}

// TestCallersTogetherAreBounded: one too many is refused with a code that says so, and there is room again when one has ended.
func TestCallersTogetherAreBounded(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	g, base, _ := serveGateway(t, n, gateway.Limits{Calls: 3, Consumers: 2})
	a := newAPI(overHTTP2(t), base)
	createTopic(ctx, t, a, "orders", 1)
	req := &rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: "orders"}}}
	first := consume(ctx, t, a, req)
	consume(ctx, t, a, req)
	_, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: "orders"}))
	wantCode(t, "a third consumer", err, mq.TooManyRequests)
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Error(err)
	}
	createTopic(ctx, t, a, "others", 1) // the third call
	stream := a.ProduceStream(ctx)
	if err := stream.Send(&rustmqpb.ProduceStreamRequest{Request: &rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{textRecord("x")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	_, err = a.ListTopics(ctx, request(&rustmqpb.ListTopicsRequest{}))
	wantCode(t, "a fourth call", err, mq.TooManyRequests)
	if s := g.Stats(); s.Active != 3 || s.Consumers != 2 {
		t.Errorf("%+v", s)
	}
	_ = stream.CloseRequest()
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	_ = stream.CloseResponse()
	first.close()
	await(t, "there is room again", func() bool { return g.Stats().Active == 1 })
	if _, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: "orders"})); err != nil {
		t.Error(err)
	}
	refused := gateway.Outcome{Procedure: rustmqpbconnect.TopicServiceListTopicsProcedure, Code: "TOO_MANY_REQUESTS"}
	fine := gateway.Outcome{Procedure: rustmqpbconnect.TopicServiceCreateTopicProcedure, Code: "NONE"}
	if calls := g.Stats().Calls; calls[refused] != 1 || calls[fine] != 2 {
		t.Errorf("counted: %v", calls)
	}
}

// TestBytesOfRequestsAreBounded: what is being read counts, whoever sends it and however, and nothing of it is left.
func TestBytesOfRequestsAreBounded(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	g, base, _ := serveGateway(t, n, gateway.Limits{RequestBytes: 300 << 10, CallerBytes: 300 << 10})
	small := textRecord(strings.Repeat("x", 100<<10))
	large := textRecord(strings.Repeat("x", 400<<10))
	for name, a := range map[string]api{"connect": newAPI(overHTTP1(t), base), "gRPC": newAPI(overHTTP2(t), base, connect.WithGRPC())} {
		topic := "orders-" + name
		createTopic(ctx, t, a, topic, 1)
		_, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: topic, Records: []*rustmqpb.ProduceRecord{large}}))
		wantCode(t, name, err, mq.TooManyRequests)
		if resp, err := a.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: topic, Records: []*rustmqpb.ProduceRecord{small}})); err != nil || resp.Msg.GetFailed() != 0 {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
	}
	a := newAPI(overHTTP2(t), base)
	stream := a.ProduceStream(ctx) // it may send more than that in all: each request is given back when it is handed in
	for range 10 {
		if err := stream.Send(&rustmqpb.ProduceStreamRequest{Request: &rustmqpb.ProduceRequest{Topic: "orders-gRPC", Records: []*rustmqpb.ProduceRecord{small}}}); err != nil {
			t.Fatal(err)
		}
		if resp, err := stream.Receive(); err != nil || resp.GetResponse().GetFailed() != 0 {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	_ = stream.CloseRequest()
	_, _ = stream.Receive()
	_ = stream.CloseResponse()
	await(t, "nothing is held", func() bool { return g.Stats().RequestBytes == 0 && g.Stats().Active == 0 })

	// An answer is held, too: where there is no room for all that was asked for there is less.
	fill := newAPI(overHTTP2(t), url(n))
	createTopic(ctx, t, fill, "much", 1)
	for range 10 {
		if resp, err := fill.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: "much", Records: []*rustmqpb.ProduceRecord{small}})); err != nil || resp.Msg.GetFailed() != 0 {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	next := int64(0)
	for calls := 0; next < 10; calls++ {
		got, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: "much", Position: at(next)}))
		if err != nil || len(got.Msg.GetRecords()) == 0 || len(got.Msg.GetRecords()) > 3 {
			t.Fatalf("%d records, %v", len(got.Msg.GetRecords()), err)
		}
		next = got.Msg.GetNextOffset()
	}
}

// TestRequestThatDoesNotEndIsGivenUp: who sends half a request holds it for a bounded time.
func TestRequestThatDoesNotEndIsGivenUp(t *testing.T) {
	n := startNode(t)
	g, base, _ := serveGateway(t, n, gateway.Limits{CallTime: 300 * time.Millisecond})
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /rustmq.v1.ProduceService/Produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	await(t, "it is under way", func() bool { return g.Stats().Active == 1 })
	await(t, "it is given up", func() bool { return g.Stats().Active == 0 && g.Stats().RequestBytes == 0 })
}

// TestSlowConsumerHoldsLittle: what is read ahead for a client that takes nothing is bounded, however much there is.
func TestSlowConsumerHoldsLittle(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	const prefetch = 256 << 10
	g, base, _ := serveGateway(t, n, gateway.Limits{PrefetchBytes: prefetch})
	a := newAPI(overHTTP2(t), base)
	createTopic(ctx, t, a, "orders", 1)
	value := strings.Repeat("x", 64<<10)
	for range 16 {
		req := &rustmqpb.ProduceRequest{Topic: "orders"}
		for range 16 {
			req.Records = append(req.Records, textRecord(value))
		}
		if resp, err := a.Produce(ctx, request(req)); err != nil || resp.Msg.GetFailed() != 0 {
			t.Fatalf("%v, %v", resp.Msg.GetResults()[0], err)
		}
	}
	for name, a := range map[string]api{"HTTP/1.1": newAPI(overHTTP1(t), base), "HTTP/2": newAPI(overHTTP2(t), base)} {
		e := consume(ctx, t, a, &rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: "orders"}}})
		most, quiet := int64(0), 0
		for last := int64(-1); quiet < 25; { // until nothing has moved for half a second
			now := g.Stats()
			most = max(most, now.PrefetchedBytes)
			if quiet++; now.PrefetchedBytes != last {
				last, quiet = now.PrefetchedBytes, 0
			}
			time.Sleep(20 * time.Millisecond)
		}
		if most > 2*prefetch+1<<20 {
			t.Errorf("%s: %d bytes were read ahead", name, most)
		}
		count := 0
		for count < 256 {
			count += len(e.next().GetBatch().GetRecords())
		}
		e.close()
	}
}

// TestProduceStreamThatReadsNoAnswersIsReadNoFurther, and goes on when it does.
func TestProduceStreamThatReadsNoAnswersIsReadNoFurther(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	_, base, _ := serveGateway(t, n, gateway.Limits{})
	a := newAPI(overHTTP2(t), base, connect.WithGRPC())
	createTopic(ctx, t, a, "orders", 1)
	req := &rustmqpb.ProduceStreamRequest{Request: &rustmqpb.ProduceRequest{Topic: "orders"}}
	for range 1000 {
		req.Request.Records = append(req.Request.Records, textRecord("0123456789"))
	}
	stream := a.ProduceStream(ctx)
	const count = 600
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range count {
			if stream.Send(req) != nil {
				return
			}
			sent.Add(1)
		}
		_ = stream.CloseRequest()
	}()
	last := int64(-1)
	await(t, "sending has come to a stop", func() bool {
		now := sent.Load()
		stopped := now == last && now > 0
		last = now
		time.Sleep(500 * time.Millisecond)
		return stopped
	})
	if last > 400 {
		t.Errorf("%d requests were taken without any answer having been", last)
	}
	for i := range count {
		if resp, err := stream.Receive(); err != nil || resp.GetResponse().GetFailed() != 0 {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	<-done
	_ = stream.CloseResponse()
}

// TestShutdownEndsStreamsAndLetsTheRestFinish: each with its reason, and nothing is left, whatever clients do.
func TestShutdownEndsStreamsAndLetsTheRestFinish(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	g, base, stop := serveGateway(t, n, gateway.Limits{})
	a := newAPI(overHTTP2(t), base)
	createTopic(ctx, t, a, "orders", 1)
	idle := consume(ctx, t, a, &rustmqpb.ConsumeRequest{Group: &rustmqpb.GroupSubscription{Group: "g", Topics: []string{"orders"}}})
	idle.assigned(1)
	fetched := make(chan error, 1)
	go func() {
		resp, err := a.Fetch(ctx, request(&rustmqpb.FetchRequest{Topic: "orders", MaxWait: durationpb.New(time.Minute)}))
		if err == nil && len(resp.Msg.GetRecords()) > 0 {
			err = errors.New("there are records")
		}
		fetched <- err
	}()
	stream := a.ProduceStream(ctx)
	if err := stream.Send(&rustmqpb.ProduceStreamRequest{Request: &rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{{Topic: "nowhere"}}}}); err != nil {
		t.Fatal(err)
	}
	if resp, err := stream.Receive(); err != nil || resp.GetResponse().GetFailed() != 1 {
		t.Fatal(resp, err)
	}
	await(t, "all are under way", func() bool { return g.Stats().Consumers == 2 })
	began := time.Now()
	stop(ctx)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	for idle.stream.Receive() {
	}
	wantCode(t, "Consume", idle.stream.Err(), mq.ShuttingDown)
	if connect.CodeOf(idle.stream.Err()) != connect.CodeUnavailable {
		t.Error(idle.stream.Err())
	}
	if err := <-fetched; err != nil {
		t.Errorf("Fetch: %v", err)
	}
	_, err := stream.Receive()
	wantCode(t, "ProduceStream", err, mq.ShuttingDown)
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
	direct := newAPI(overHTTP2(t), url(n))
	d, err := direct.DescribeGroup(ctx, request(&rustmqpb.DescribeGroupRequest{Group: "g"}))
	if err == nil && len(d.Msg.GetMembers()) != 0 {
		t.Errorf("the member is still there: %v", d.Msg)
	}
}

// TestShutdownWaitsForNobodyWhoReadsNothing: a client that does not read cannot hold a node up.
func TestShutdownWaitsForNobodyWhoReadsNothing(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	_, base, stop := serveGateway(t, n, gateway.Limits{})
	a := newAPI(overHTTP2(t), base)
	createTopic(ctx, t, a, "orders", 1)
	value := strings.Repeat("x", 64<<10)
	for range 16 {
		req := &rustmqpb.ProduceRequest{Topic: "orders"}
		for range 16 {
			req.Records = append(req.Records, textRecord(value))
		}
		if _, err := a.Produce(ctx, request(req)); err != nil {
			t.Fatal(err)
		}
	}
	req := &rustmqpb.ConsumeRequest{Assignments: []*rustmqpb.Assignment{{Topic: "orders"}}}
	consume(ctx, t, a, req)
	consume(ctx, t, newAPI(overHTTP1(t), base), req)
	time.Sleep(200 * time.Millisecond) // both wait for their clients by then, or are on the way there
	began := time.Now()
	stop(ctx)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
