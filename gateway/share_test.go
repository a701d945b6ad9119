package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
	"github.com/rustmq/rustmq/gateway"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/wal/crashfs"
)

// from is an HTTP client whose connections come from an address of this machine.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{Protocols: protocols, DialContext: dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

const firstCaller, secondCaller = "127.0.0.1", "127.0.0.2"

// TestCallerWhoSendsSlowlyTakesNoMoreThanItsShare: others send on, and it does when it has ended what it began.
func TestCallerWhoSendsSlowlyTakesNoMoreThanItsShare(t *testing.T) {
	n := startNode(t)
	ctx := deadline(t)
	g, base, _ := serveGateway(t, n, gateway.Limits{RequestBytes: 1 << 20, CallerBytes: 256 << 10})
	slow, other := newAPI(from(t, firstCaller), base), newAPI(from(t, secondCaller), base)
	createTopic(ctx, t, other, "orders", 1)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const begun = 200 << 10
	if _, err := fmt.Fprintf(conn, "POST /rustmq.v1.ProduceService/Produce HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", 2*begun, strings.Repeat(" ", begun)); err != nil {
		t.Fatal(err)
	}
	await(t, "half a request is held", func() bool { return g.Stats().RequestBytes == begun })
	req := &rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{textRecord(strings.Repeat("x", 100<<10))}}
	_, err = slow.Produce(ctx, request(req))
	wantCode(t, "more of the same caller", err, mq.TooManyRequests)
	if resp, err := other.Produce(ctx, request(req)); err != nil || resp.Msg.GetFailed() != 0 {
		t.Errorf("another caller: %v, %v", resp, err)
	}
	conn.Close()
	await(t, "nothing is held", func() bool { return g.Stats().RequestBytes == 0 })
	if resp, err := slow.Produce(ctx, request(req)); err != nil || resp.Msg.GetFailed() != 0 {
		t.Errorf("when it has ended: %v, %v", resp, err)
	}
}

// sendAll sends so many requests of one record each on a stream while nothing is acknowledged, until want records are in flight; a moment later there may be no more of them. Then
// the disk goes on, and all answers are read.
func sendAll(ctx context.Context, t *testing.T, g *gateway.Gateway, a api, disk *crashfs.FS, count int, value string, want int64) {
	t.Helper()
	goOn := holdSyncs(disk)
	defer goOn()
	stream := a.ProduceStream(ctx)
	go func() { // ends when all is sent, or the stream is over
		for i := range count {
			if stream.Send(&rustmqpb.ProduceStreamRequest{CorrelationId: int64(i), Request: &rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{textRecord(value)}}}) != nil {
				return
			}
		}
		_ = stream.CloseRequest()
	}()
	await(t, "as many records as may be are in flight", func() bool { return g.Stats().BufferedRecords >= want })
	time.Sleep(100 * time.Millisecond) // in which one that goes on would take more
	if got := g.Stats().BufferedRecords; got != want {
		t.Errorf("%d records are in flight, want %d", got, want)
	}
	goOn()
	for i := range count {
		if resp, err := stream.Receive(); err != nil || resp.GetCorrelationId() != int64(i) || resp.GetResponse().GetFailed() != 0 {
			t.Fatalf("answer %d: %v, %v", i, resp, err)
		}
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	_ = stream.CloseResponse()
}

// TestCallerWhoseRecordsWaitTakesNoMoreThanItsShare: records that are long in being acknowledged leave room for those of others.
func TestCallerWhoseRecordsWaitTakesNoMoreThanItsShare(t *testing.T) {
	disk := crashfs.New(1)
	n := startNodeOn(t, disk)
	ctx := deadline(t)
	const share, record = 64 << 10, 10 << 10
	g, base, _ := serveGateway(t, n, gateway.Limits{BufferedBytes: 256 << 10, CallerBytes: share})
	greedy, other := newAPI(from(t, firstCaller), base), newAPI(from(t, secondCaller), base)
	createTopic(ctx, t, other, "orders", 1)
	fill(ctx, t, other, "orders", 1, 1) // both ends know the topic
	sendAll(ctx, t, g, greedy, disk, 20, strings.Repeat("x", record), share/record)
	if resp, err := other.Produce(ctx, request(&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{textRecord("x")}})); err != nil || resp.Msg.GetFailed() != 0 {
		t.Errorf("another caller: %v, %v", resp, err)
	}
	await(t, "nothing is in flight", func() bool { return g.Stats().BufferedBytes == 0 && g.Stats().Active == 0 })
}

// TestProduceStreamTakesSoManyRequestsAhead of its answers, and no more.
func TestProduceStreamTakesSoManyRequestsAhead(t *testing.T) {
	disk := crashfs.New(1)
	n := startNodeOn(t, disk)
	ctx := deadline(t)
	g, base, _ := serveGateway(t, n, gateway.Limits{})
	a := newAPI(overHTTP2(t), base)
	createTopic(ctx, t, a, "orders", 1)
	fill(ctx, t, a, "orders", 1, 1)
	sendAll(ctx, t, g, a, disk, 300, "x", 64)
}

// TestProduceIsAnsweredThoughTheNodeIsBeingStopped: what was taken is acknowledged, what comes later is refused.
func TestProduceIsAnsweredThoughTheNodeIsBeingStopped(t *testing.T) {
	disk := crashfs.New(1)
	n := startNodeOn(t, disk)
	ctx := deadline(t)
	g, base, stop := serveGateway(t, n, gateway.Limits{})
	a := newAPI(overHTTP2(t), base)
	createTopic(ctx, t, a, "orders", 1)
	fill(ctx, t, a, "orders", 1, 1)
	slowDown(disk)
	req := request(&rustmqpb.ProduceRequest{Topic: "orders", Records: []*rustmqpb.ProduceRecord{textRecord("x")}})
	outcome := make(chan error, 1)
	go func() {
		resp, err := a.Produce(ctx, req)
		if err == nil && (resp.Msg.GetFailed() != 0 || resp.Msg.GetResults()[0].GetRecord().GetOffset() != 1) {
			err = fmt.Errorf("%v", resp.Msg)
		}
		outcome <- err
	}()
	await(t, "its record is on its way", func() bool { return g.Stats().BufferedRecords == 1 })
	began := time.Now()
	stop(ctx)
	if err := <-outcome; err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	h := httptest.NewRecorder()
	refused := httptest.NewRequest(http.MethodPost, "/rustmq.v1.TopicService/ListTopics", strings.NewReader("{}"))
	refused.Header.Set("Content-Type", "application/json")
	g.Services()["/rustmq.v1.TopicService/"].ServeHTTP(h, refused)
	if !strings.Contains(h.Body.String(), "being stopped") {
		t.Errorf("what comes later: %d %s", h.Code, h.Body)
	}
}
