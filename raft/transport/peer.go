package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"
	etcdpb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	raftpb "github.com/rustmq/rustmq/api/raft/v1"
	"github.com/rustmq/rustmq/api/raft/v1/raftpbconnect"
	"github.com/rustmq/rustmq/api/rpcerr"
	"github.com/rustmq/rustmq/mq"
)

// peer sends messages to one member: a queue, a goroutine, and a stream while there is something to send.
type peer struct {
	t    *Transport
	id   uint64
	wake chan struct{} // receives when messages may be there

	mu    sync.Mutex
	queue []*etcdpb.Message
	bytes int64 // of queue
	gone  bool  // its goroutine has ended

	stream *outStream // of the goroutine
	broken bool       // of the goroutine: the last attempt failed
}

// outStream is an open stream of messages.
type outStream struct {
	*connect.ClientStreamForClient[raftpb.MessagesRequest, raftpb.MessagesResponse]
	to     Member
	cancel context.CancelFunc
}

// put queues a message, or says that there is no room.
func (p *peer) put(m *etcdpb.Message) bool {
	size, limit := int64(64), p.t.cfg.QueueBytes
	for _, e := range m.GetEntries() {
		size += 32 + int64(len(e.GetData()))
	}
	if len(m.GetEntries()) == 0 {
		limit += smallBytes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.bytes+size > limit && len(p.queue) > 0 {
		return false
	}
	p.queue = append(p.queue, m)
	p.bytes += size
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return true
}

// takeAll empties the queue.
func (p *peer) takeAll() []*etcdpb.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue := p.queue
	p.queue, p.bytes = nil, 0
	return queue
}

// run is the peer's goroutine.
func (p *peer) run() {
	defer p.hangUp()
	pause := minPause
	for {
		err := p.send(p.takeAll())
		if err == nil {
			pause = minPause
			if !p.sleep(p.wake, idleTimeout) && (p.t.ctx.Err() != nil || p.t.forget(p)) {
				return
			}
			continue
		}
		p.hangUp()
		if p.t.ctx.Err() != nil {
			return
		}
		p.t.unreachable(p.id)
		if !p.sleep(nil, pause) && p.t.ctx.Err() != nil {
			return
		}
		pause = min(2*pause, maxPause)
		p.takeAll() // raft sends anew what it still wants said
	}
}

// sleep waits for a signal, at most so long; it says whether the signal came.
func (p *peer) sleep(wake <-chan struct{}, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-wake:
		return true
	case <-timer.C:
	case <-p.t.ctx.Done():
	}
	return false
}

// send sends messages in batches.
func (p *peer) send(messages []*etcdpb.Message) error {
	for len(messages) > 0 {
		request := &raftpb.MessagesRequest{}
		size := 0
		for len(messages) > 0 && size < batchBytes {
			b, err := proto.Marshal(messages[0])
			if err != nil {
				return mq.Errorf(mq.Internal, "encode a raft message: %w", err)
			}
			request.Messages = append(request.Messages, b)
			size += len(b)
			messages = messages[1:]
		}
		if err := p.sendBatch(request); err != nil {
			if !p.broken {
				p.t.log.Warn("raft messages do not reach a member", "to", p.id, "err", err)
			}
			p.broken = true
			return err
		}
		if p.broken {
			p.t.log.Info("raft messages reach a member again", "to", p.id)
		}
		p.broken = false
	}
	return nil
}

// sendBatch sends a batch. A stream that was open before may have broken long ago, with nothing to send that would have shown it, and what is sent now may be the
// vote that decides an election: so it goes over a new one then. That it may arrive twice does not matter to raft.
func (p *peer) sendBatch(request *raftpb.MessagesRequest) error {
	old := p.stream
	err := p.trySend(request)
	if err == nil || old == nil || p.stream != old || p.t.ctx.Err() != nil {
		return err
	}
	p.t.unreachable(p.id) // what went before may be lost
	p.hangUp()
	return p.trySend(request)
}

func (p *peer) trySend(request *raftpb.MessagesRequest) error {
	to, ok := p.t.member(p.id)
	if !ok {
		return mq.Errorf(mq.NetworkException, "where raft id %d is is not known", p.id)
	}
	if p.stream != nil && p.stream.to != to {
		p.hangUp() // it has moved
	}
	if p.stream == nil {
		ctx, cancel := context.WithCancel(p.t.ctx)
		p.stream = &outStream{raftpbconnect.NewRaftServiceClient(p.t.cfg.Messages, to.URL).Messages(ctx), to, cancel}
		request.Hello = p.t.hello(p.id)
	}
	stalled := time.AfterFunc(stallTimeout, p.stream.cancel)
	defer stalled.Stop()
	err := p.stream.Send(request)
	if errors.Is(err, io.EOF) { // the other side has ended it, and says why
		_, err = p.stream.CloseAndReceive()
		if err == nil {
			err = mq.Errorf(mq.NetworkException, "node %d has ended the stream", to.Node)
		}
	}
	return rpcerr.FromConnect(err)
}

// hangUp ends the stream.
func (p *peer) hangUp() {
	if p.stream == nil {
		return
	}
	// Closing would wait for an answer; nothing that was sent is worth that.
	p.stream.cancel()
	p.stream = nil
}
