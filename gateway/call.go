package gateway

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/rustmq/rustmq/mq"
)

// call is one HTTP request to a service. Beside the goroutine that serves it only [Gateway.Shutdown] calls its methods.
type call struct {
	g       *Gateway
	control *http.ResponseController
	share   *share
	cancel  context.CancelCauseFunc
	refusal error // why it is not served, or nil

	procedure string  // "" until the gate has seen it
	code      mq.Code // how it ended, as far as it is known
	held      int64   // bytes of the request that are counted
	consumes  bool    // it is counted as a consumer
	endless   bool    // it is a stream of requests: another may be long in coming, but not in coming whole

	mu      sync.Mutex
	over    bool
	parted  bool   // it is being ended
	parting func() // ends it in order; nil where it ends by itself
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// serve wraps the services in what all calls have in common.
func (g *Gateway) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		c := &call{g: g, control: http.NewResponseController(w), share: g.shares.enter(r.RemoteAddr), cancel: cancel, code: mq.ProtocolViolation}
		defer c.share.leave()
		c.refusal = g.enter(c)
		defer g.leave(c)
		r = r.WithContext(context.WithValue(ctx, callKey{}, c))
		r.Body = &intake{ReadCloser: r.Body, call: c}
		next.ServeHTTP(w, r)
	})
}

// gate runs when the headers of a request are there and nothing else: what is refused costs no more.
func (g *Gateway) gate(ctx context.Context, spec connect.Spec, _ connect.Peer, _ http.Header) (context.Context, error) {
	c := callOf(ctx)
	c.procedure = spec.Procedure
	err := c.refusal
	if err == nil && consumes[spec.Procedure] {
		if c.consumes = g.consumers.Add(1) <= int64(g.limits.Consumers); !c.consumes {
			g.consumers.Add(-1)
			err = mq.Errorf(mq.TooManyRequests, "%d consumers are served here already", g.limits.Consumers)
		}
	}
	if err != nil {
		c.code = mq.CodeOf(err)
		return ctx, connectError(ctx, err)
	}
	c.endless = spec.StreamType&connect.StreamTypeClient != 0
	var read, write time.Time
	if !c.endless {
		read = time.Now().Add(g.limits.CallTime)
	}
	if spec.StreamType == connect.StreamTypeUnary {
		write = read.Add(g.limits.CallTime + answerTime)
	}
	c.readUntil(read)
	_ = c.control.SetWriteDeadline(write)
	return ctx, nil
}

// enter counts a call, or says why it is refused. Once the node is being stopped it counts none: somebody waits for those that it did.
func (g *Gateway) enter(c *call) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return errStopping
	}
	g.wg.Add(1)
	g.calls[c] = struct{}{}
	if len(g.calls) > g.limits.Calls {
		return mq.Errorf(mq.TooManyRequests, "%d calls are under way here", g.limits.Calls)
	}
	return nil
}

func (g *Gateway) leave(c *call) {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.settle()
	if c.consumes {
		g.consumers.Add(-1)
	}
	g.stats.ended(c.procedure, c.code)
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, counted := g.calls[c]; counted {
		delete(g.calls, c)
		g.wg.Done()
	}
}

// hold counts bytes until settle. TOO_MANY_REQUESTS: there is no room for them.
func (c *call) hold(n int) error {
	if !c.share.hold(int64(n)) {
		return mq.Errorf(mq.TooManyRequests, "requests of %d bytes from the address that it comes from are being read here", c.g.limits.CallerBytes)
	}
	if c.g.requestBytes.Add(int64(n)) > c.g.limits.RequestBytes && n > 0 {
		c.g.requestBytes.Add(int64(-n))
		c.share.hold(int64(-n))
		return mq.Errorf(mq.TooManyRequests, "requests of %d bytes are being read here", c.g.limits.RequestBytes)
	}
	c.held += int64(n)
	return nil
}

// settle gives back what was counted so far: it is not held any more.
func (c *call) settle() {
	c.g.requestBytes.Add(-c.held)
	c.share.hold(-c.held)
	c.held = 0
}

// taken says of a stream that a request is there as a whole: it is not counted any more, and what else comes may take its time.
func (c *call) taken() {
	c.settle()
	c.readUntil(time.Time{})
}

// readUntil sets by when what is being read has to come, if the call is not being ended. A connection that takes no deadline is one of a test.
func (c *call) readUntil(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.parted {
		_ = c.control.SetReadDeadline(t)
	}
}

// late is why nothing is read any more.
func (c *call) late() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parted {
		return errStopping
	}
	return mq.Errorf(mq.RequestTimedOut, "the rest of a request did not come within %v", c.g.limits.CallTime)
}

// isParted reports whether the call is being ended.
func (c *call) isParted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parted
}

// onParting says how the call ends in order when the node is being stopped: at once, if it is already.
func (c *call) onParting(end func()) {
	c.g.mu.Lock()
	stopping := c.g.stopping
	c.mu.Lock()
	c.parting, c.parted = end, c.parted || stopping
	c.mu.Unlock()
	c.g.mu.Unlock()
	if stopping {
		end()
	}
}

// part ends the call in order, if it does not end by itself.
func (c *call) part() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over && c.parting != nil {
		c.parted = true
		c.parting()
	}
}

// kill ends the call, whatever it waits for.
func (c *call) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.parted = true
	c.cancel(errStopping)
	past := time.Now()
	_ = c.control.SetReadDeadline(past)
	_ = c.control.SetWriteDeadline(past)
}

// intake is a request's body, whose bytes are counted as long as they are held.
type intake struct {
	io.ReadCloser
	call *call
}

// Read implements io.Reader.
func (i *intake) Read(p []byte) (int, error) {
	n, err := i.ReadCloser.Read(p)
	c := i.call
	if c.endless && c.held == 0 && n > 0 {
		c.readUntil(time.Now().Add(c.g.limits.CallTime))
	}
	if err := c.hold(n); err != nil {
		c.code = mq.TooManyRequests
		return 0, connectError(context.Background(), err)
	}
	return n, err
}

// outcome has errors carry their codes, and notes them to be counted.
type outcome struct {
	within time.Duration // that a call has which is no stream
}

// WrapUnary implements connect.Interceptor.
func (o outcome) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		callOf(ctx).readUntil(time.Time{}) // the request is there
		within, cancel := context.WithTimeout(ctx, o.within)
		defer cancel()
		resp, err := next(within, req)
		err = connectError(ctx, err)
		callOf(ctx).code = codeOf(err)
		return resp, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (outcome) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := connectError(ctx, next(ctx, conn))
		callOf(ctx).code = codeOf(err)
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (outcome) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
