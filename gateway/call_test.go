package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/api/rustmq/v1/rustmqpbconnect"
	"github.com/rustmq/rustmq/client"
	"github.com/rustmq/rustmq/mq"
)

// timed is an answer whose connection says by when it is read.
type timed struct {
	*httptest.ResponseRecorder
	read time.Time
}

// SetReadDeadline is what http.ResponseController looks for.
func (t *timed) SetReadDeadline(at time.Time) error {
	t.read = at
	return nil
}

// TestRequestsThatDoNotComeEnd: who begins a request and does not end it holds a place, and of what is being read a part, for no longer than a call takes.
func TestRequestsThatDoNotComeEnd(t *testing.T) {
	for procedure, kind := range map[string]connect.StreamType{
		rustmqpbconnect.ConsumeServiceFetchProcedure:         connect.StreamTypeUnary,
		rustmqpbconnect.ConsumeServiceConsumeProcedure:       connect.StreamTypeServer,
		rustmqpbconnect.ProduceServiceProduceStreamProcedure: connect.StreamTypeBidi,
	} {
		g := &Gateway{limits: Limits{}.withDefaults(), calls: make(map[*call]struct{})}
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		c := &call{g: g, control: http.NewResponseController(w), share: newShares(g.limits.CallerBytes).enter("")}
		if _, err := g.gate(context.WithValue(t.Context(), callKey{}, c), connect.Spec{Procedure: procedure, StreamType: kind}, connect.Peer{}, nil); err != nil {
			t.Fatal(err)
		}
		if kind == connect.StreamTypeBidi != w.read.IsZero() {
			t.Errorf("%s: before a request comes it is read until %v", procedure, w.read)
		}
		body := &intake{ReadCloser: io.NopCloser(strings.NewReader("the begin")), call: c}
		if _, err := body.Read(make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		begun := w.read
		if left := time.Until(begun); left <= 0 || left > g.limits.CallTime || g.requestBytes.Load() != 3 {
			t.Errorf("%s: of a request 3 bytes came, %d are held for %v", procedure, g.requestBytes.Load(), left)
		}
		if _, err := body.Read(make([]byte, 3)); err != nil || !w.read.Equal(begun) {
			t.Errorf("%s: the more comes the longer it may take: %v", procedure, err)
		}
		if err := c.late(); mq.CodeOf(err) != mq.RequestTimedOut {
			t.Errorf("%s: %v", procedure, err)
		}
		c.taken()
		if !w.read.IsZero() || g.requestBytes.Load() != 0 {
			t.Errorf("%s: of a request that is there %d bytes are held, it is read until %v", procedure, g.requestBytes.Load(), w.read)
		}
		c.onParting(func() { w.read = begun })
		c.part()
		c.taken()
		if err := c.late(); !w.read.Equal(begun) || !errors.Is(err, errStopping) {
			t.Errorf("%s: a call that is being ended reads on: %v", procedure, err)
		}
	}
}

// TestFetchThatIsEndedBeforeARecordCameSaysWhy, wherever it was; with records it gives these.
func TestFetchThatIsEndedBeforeARecordCameSaysWhy(t *testing.T) {
	g, err := New(Config{Cluster: []client.Option{client.Servers("127.0.0.1:1")}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.client.Close()
	g.stopping = true
	c := &call{g: g, control: http.NewResponseController(&timed{ResponseRecorder: httptest.NewRecorder()}), share: g.shares.enter("")}
	ctx := context.WithValue(t.Context(), callKey{}, c)
	f := fetch{partition: client.TopicPartition{Topic: "orders"}, wait: time.Minute, records: 1, bytes: 1}
	if _, err := g.fetch(ctx, f, 0, 10); mq.CodeOf(err) != mq.ShuttingDown {
		t.Errorf("with records to come: %v", err)
	}
	if resp, err := g.fetch(ctx, f, 10, 10); err != nil || len(resp.GetRecords()) != 0 || resp.GetNextOffset() != 10 {
		t.Errorf("at the end: %v, %v", resp, err)
	}
}

// TestCallersAreToldApart by their addresses, with which many of one network count as one.
func TestCallersAreToldApart(t *testing.T) {
	same := [][2]string{{"10.0.0.1:1", "10.0.0.1:2"}, {"[::ffff:10.0.0.1]:1", "10.0.0.1:2"}, {"[2001:db8::1]:1", "[2001:db8::ffff:1]:1"}, {"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"}, {"pipe", ""}}
	for _, pair := range same {
		if callerOf(pair[0]) != callerOf(pair[1]) {
			t.Errorf("%s and %s are two", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"10.0.0.1:1", "10.0.0.2:1"}, {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1"}, {"0.0.0.0:1", "[::]:1"}} {
		if callerOf(pair[0]) == callerOf(pair[1]) {
			t.Errorf("%s and %s are one", pair[0], pair[1])
		}
	}
	s := newShares(10)
	first := s.enter("10.0.0.1:1")
	if s.enter("10.0.0.1:2") != first || s.enter("10.0.0.2:1") == first {
		t.Error("shares are not by caller")
	}
	first.again()
	first.leave()
	first.leave()
	if first.leave(); len(s.of) != 1 {
		t.Errorf("%d shares are kept for one caller that is there", len(s.of))
	}
}

// TestShutdownWhileCallsComeIn: what comes in too late is not waited for, and does not disturb who waits.
func TestShutdownWhileCallsComeIn(t *testing.T) {
	for range 50 {
		g, err := New(Config{Cluster: []client.Option{client.Servers("127.0.0.1:1")}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		h := g.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
				}
			})
		}
		if err := g.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}
