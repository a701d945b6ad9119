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
		g := &Gateway{limits: DefaultLimits(), calls: make(map[*call]struct{})}
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		c := &call{g: g, control: http.NewResponseController(w)}
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
