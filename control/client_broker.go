package control

import (
	"context"
	"time"

	"connectrpc.com/connect"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/mq"
)

// Registered waits until this process is registered as a broker and not fenced, as far as it knows, and gives the epoch. An error that is not
// ctx's says why the controllers refuse it for good.
func (c *Client) Registered(ctx context.Context) (epoch uint64, err error) {
	for {
		c.mu.Lock()
		r := c.registered
		c.mu.Unlock()
		if r.epoch != 0 || r.err != nil {
			return r.epoch, r.err
		}
		select {
		case <-r.changed:
		case <-ctx.Done():
			return 0, mq.Wrapf(ctx.Err(), "wait for the registration of broker %d", c.cfg.Node)
		case <-c.stopped.Done():
			return 0, mq.Errorf(mq.ShuttingDown, "node %d is shutting down", c.cfg.Node)
		}
	}
}

func (c *Client) setRegistration(epoch uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.registered.changed)
	c.registered = registration{epoch, err, make(chan struct{})}
	c.epoch.Store(epoch)
}

// Leave asks the controllers to move what this broker leads to others, and returns when it leads nothing. Heartbeats go on until Close.
func (c *Client) Leave(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	select {
	case c.urge <- struct{}{}:
	default:
	}
	select {
	case <-c.mayLeave:
		return nil
	case <-ctx.Done():
		return mq.Wrapf(ctx.Err(), "wait until broker %d leads nothing", c.cfg.Node)
	case <-c.stopped.Done():
		return mq.Errorf(mq.ShuttingDown, "node %d is shutting down", c.cfg.Node)
	}
}

// beBroker registers and heartbeats, until the client is closed or refused for good.
func (c *Client) beBroker() {
	var p pauses
	waits := false
	for c.awaitFitness() {
		epoch, refused, err := c.register()
		if err != nil {
			if c.stopped.Err() != nil {
				return
			}
			// UnsupportedVersion is also what a node says that has no such service yet: of the cluster it is final.
			if !mq.CodeOf(err).Retriable() && !Undecided(err) && (refused || mq.CodeOf(err) != mq.UnsupportedVersion) {
				c.log.Error("the broker is not registered", "broker", c.cfg.Node, "error", err)
				c.setRegistration(0, err)
				return
			}
			if !waits {
				c.log.Info("the broker waits to be registered: no controller leads yet, or none is reached", "broker", c.cfg.Node, "last_answer", err)
			}
			waits = true
			if sleep(c.stopped, p.next(c.finder, false, c.cfg.Random())) != nil {
				return
			}
			continue
		}
		c.log.Info("the broker is registered", "broker", c.cfg.Node, "epoch", epoch)
		c.setRegistration(epoch, nil)
		p, waits = pauses{}, false
		c.heartbeats(epoch)
		c.leaseEnd.Store(0)
		c.setRegistration(0, nil)
	}
}

// registerTimeout is how long one attempt to register takes at most: one whose answer was lost is made again, and finds itself registered.
const registerTimeout = 5 * time.Second

// register tries once. refused says that an error is what the cluster decided.
func (c *Client) register() (epoch uint64, refused bool, err error) {
	ctx, cancel := context.WithTimeout(c.stopped, registerTimeout)
	defer cancel()
	result, err := c.Propose(ctx, &metadatapb.Command{Kind: &metadatapb.Command_RegisterBroker{RegisterBroker: c.cfg.Registration()}})
	if err != nil {
		return 0, result != nil, mq.Wrapf(err, "register broker %d", c.cfg.Node)
	}
	return result.GetRegisterBroker().GetBrokerEpoch(), false, nil
}

// heartbeats goes on as long as a registration is good, with one leading controller after the other.
func (c *Client) heartbeats(epoch uint64) {
	var p pauses
	for c.awaitFitness() {
		address := c.finder.pick()
		b := &beat{c: c, epoch: epoch, address: address, answers: make(chan *controlpb.HeartbeatResponse)}
		began := c.cfg.Now()
		err := b.run()
		if c.cfg.Now()-began > c.timing.Heartbeat { // it was of use: not one that ends as soon as it begins
			p = pauses{}
		}
		if c.stopped.Err() != nil {
			return
		}
		if c.unfit() != nil {
			continue
		}
		f := failureOf(err)
		switch mq.CodeOf(f.err) {
		case mq.None, mq.StaleBrokerEpoch:
			c.log.Warn("the registration is over", "broker", c.cfg.Node, "epoch", epoch, "error", err)
			return
		}
		c.log.Debug("heartbeats go elsewhere", "were to", address, "error", f.err)
		if sleep(c.stopped, c.failed(&p, address, f)) != nil {
			return
		}
	}
}

// beat is one stream of heartbeats. All but its receiver is one goroutine.
type beat struct {
	c       *Client
	epoch   uint64
	address string
	answers chan *controlpb.HeartbeatResponse
	stream  *connect.BidiStreamForClient[controlpb.HeartbeatRequest, controlpb.HeartbeatResponse]
	number  uint64
	sent    [16]time.Duration // when a heartbeat was sent, by its number; there are fewer between two answers, or the stream is given up
}

// run heartbeats until the stream ends; nil: the broker was fenced.
func (b *beat) run() error {
	ctx, cancel := context.WithCancel(b.c.stopped)
	received := make(chan error, 1)
	b.stream = b.c.service(b.address).Heartbeat(ctx)
	b.c.goroutines.Go(func() { received <- b.receive(ctx) })
	err := b.beat(ctx, received)
	cancel()
	_ = b.stream.CloseRequest() // the stream is over: nobody hears what this has to say
	_ = b.stream.CloseResponse()
	return err
}

// receive passes answers on.
func (b *beat) receive(ctx context.Context) error {
	for {
		answer, err := b.stream.Receive()
		if err != nil {
			return err
		}
		select {
		case b.answers <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *beat) beat(ctx context.Context, received <-chan error) error {
	ticker := time.NewTicker(b.c.timing.Heartbeat)
	defer ticker.Stop()
	silent := time.NewTimer(b.c.timing.Answer)
	defer silent.Stop()
	if err := b.send(); err != nil {
		return b.why(received, err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-received:
			return err
		case <-silent.C:
			return mq.Errorf(mq.NetworkException, "the controller at %s does not answer heartbeats", b.address)
		case answer := <-b.answers:
			silent.Reset(b.c.timing.Answer)
			if b.heard(answer) {
				return nil
			}
			continue
		case <-ticker.C:
		case <-b.c.urge:
		}
		if err := b.c.unfit(); err != nil {
			return err
		}
		if err := b.send(); err != nil {
			return b.why(received, err)
		}
	}
}

// why is the reason for which a stream takes no more: what the other side said, if it did.
func (b *beat) why(received <-chan error, err error) error {
	select {
	case said := <-received:
		return said
	case <-time.After(b.c.timing.Heartbeat):
		return err
	}
}

func (b *beat) send() error {
	b.c.mu.Lock()
	leaving := b.c.leaving
	b.c.mu.Unlock()
	b.number++
	// Before it is sent: the lease counts from the earliest moment at which it can have been.
	b.sent[b.number%uint64(len(b.sent))] = b.c.cfg.Now()
	return b.stream.Send(&controlpb.HeartbeatRequest{
		NodeId: int32(b.c.cfg.Node), BrokerEpoch: b.epoch, Number: b.number, ImageIndex: b.c.Image().Index, WantsShutdown: leaving,
	})
}

// heard takes an answer; true: the broker was fenced.
func (b *beat) heard(answer *controlpb.HeartbeatResponse) (fenced bool) {
	n := answer.GetNumber()
	if n == 0 || n > b.number || b.number-n >= uint64(len(b.sent)) {
		return false // not one that could be known
	}
	if answer.GetFenced() {
		return true
	}
	if lease := time.Duration(answer.GetLeaseMs()) * time.Millisecond; lease > 0 {
		end := b.sent[n%uint64(len(b.sent))] + min(lease, b.c.timing.Lease)
		b.c.leaseEnd.Store(max(b.c.leaseEnd.Load(), int64(end)))
		if b.c.local.Load() != nil {
			b.c.newsAt.Store(max(b.c.newsAt.Load(), int64(b.sent[n%uint64(len(b.sent))])))
		}
		b.c.onceLeased.Do(func() { close(b.c.leased) })
	}
	if answer.GetMayShutDown() {
		b.c.onceMayLeave.Do(func() { close(b.c.mayLeave) })
	}
	return false
}
