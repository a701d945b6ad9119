package gateway

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	rustmqpb "github.com/rustmq/rustmq/api/rustmq/v1"
)

// inLine is a request of a ProduceStream whose answer is to come.
type inLine struct {
	pending     *pending
	correlation int64
	bytes       int64
}

// produceStream is one ProduceStream: the calling goroutine reads and hands records in, another one answers.
type produceStream struct {
	g      *Gateway
	conn   *connect.BidiStream[rustmqpb.ProduceStreamRequest, rustmqpb.ProduceStreamResponse]
	line   chan inLine // requests in order; beside those in it one is being handed in, and one answered
	window *semaphore.Weighted
}

// ProduceStream implements the service.
func (p producing) ProduceStream(ctx context.Context, conn *connect.BidiStream[rustmqpb.ProduceStreamRequest, rustmqpb.ProduceStreamResponse]) error {
	c := callOf(ctx)
	c.onParting(func() { _ = c.control.SetReadDeadline(time.Now()) }) // what was read is answered
	s := &produceStream{g: p.g, conn: conn, line: make(chan inLine, streamWindow-2), window: semaphore.NewWeighted(streamWindowBytes)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answered := make(chan error, 1)
	go func() {
		err := s.answer(ctx)
		cancel(err) // who reads need not go on
		answered <- err
	}()
	err := s.read(ctx, c)
	close(s.line)
	if failed := <-answered; failed != nil {
		return failed
	}
	return err
}

// read takes requests until the client ends the stream, or something is wrong.
func (s *produceStream) read(ctx context.Context, c *call) error {
	for {
		req, err := s.conn.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return c.late()
		case err != nil:
			return err
		}
		c.readUntil(time.Time{}) // the next request may be long in coming
		records, err := decode(req.GetRequest())
		if err != nil {
			return err
		}
		bytes := min(int64(proto.Size(req)), streamWindowBytes)
		if err := s.window.Acquire(ctx, bytes); err != nil {
			return err
		}
		sent := s.g.produce(ctx, records)
		c.settle()
		select {
		case s.line <- inLine{sent, req.GetCorrelationId(), bytes}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answer tells outcomes in order.
func (s *produceStream) answer(ctx context.Context) error {
	for next := range s.line {
		resp := &rustmqpb.ProduceStreamResponse{Response: next.pending.wait(ctx), CorrelationId: next.correlation}
		if err := s.conn.Send(resp); err != nil {
			return err
		}
		s.window.Release(next.bytes)
	}
	return nil
}
