package server

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/quicproto"
)

// serveRequests answers the Request whose payload this is, and those after it on the same stream, one at a time.
func (ss *session) serveRequests(st stream, in *quicproto.FrameReader, payload []byte) error {
	for {
		var req quicproto.Request
		if err := req.Decode(payload); err != nil {
			return err
		}
		if _, err := st.Write(quicproto.AppendFrame(nil, ss.answer(&req))); err != nil {
			return err
		}
		t, _, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t != quicproto.TypeRequest {
			return mq.Errorf(mq.ProtocolViolation, "%v on a request stream", t)
		}
		if err := st.SetReadDeadline(time.Now().Add(ss.srv.limits.FrameTimeout)); err != nil {
			return err
		}
		if payload, err = in.Payload(); err != nil {
			return err
		}
		if err := st.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

// answer does what req asks for.
func (ss *session) answer(req *quicproto.Request) *quicproto.Response {
	ss.srv.counters.requests.Add(1)
	ss.busy.Add(1)
	defer func() {
		ss.touch()
		ss.busy.Add(-1)
	}()
	timeout := ss.srv.limits.RequestTimeout
	if req.Timeout > 0 {
		timeout = min(timeout, req.Timeout)
	}
	ctx, cancel := context.WithTimeout(ss.ctx, timeout)
	defer cancel()
	body, err := ss.ask(ctx, req)
	if err != nil {
		code, msg := quicproto.CodeAndText(err)
		return &quicproto.Response{Code: code, Msg: msg}
	}
	f := &quicproto.Response{}
	if body != nil {
		f.Body = body.AppendTo(nil)
	}
	if len(f.Body) > quicproto.MaxResponseBytes/2 {
		return &quicproto.Response{Code: mq.MessageTooLarge, Msg: "the answer is too large: ask for less at a time"}
	}
	return f
}

// ask calls the broker. The results are looked at only if there is no error, so that a nil pointer in an interface does no harm.
func (ss *session) ask(ctx context.Context, req *quicproto.Request) (quicproto.Body, error) {
	body, err := quicproto.ParseRequest(req)
	if err != nil {
		return nil, err
	}
	b, s := ss.srv.cfg.Broker, &ss.Session
	switch r := body.(type) {
	case *quicproto.MetadataRequest:
		return b.Metadata(ctx, s, r)
	case *quicproto.DescribeClusterRequest:
		return b.DescribeCluster(ctx, s)
	case *quicproto.OperateRequest:
		message, err := b.Operate(ctx, s, r.Message)
		return &quicproto.OperateResponse{Message: message}, err
	case *quicproto.CreateTopicRequest:
		return b.CreateTopic(ctx, s, r)
	case *quicproto.DeleteTopicRequest:
		return nil, b.DeleteTopic(ctx, s, r.Name)
	case *quicproto.DescribeTopicRequest:
		return b.DescribeTopic(ctx, s, r.Name)
	case *quicproto.AlterTopicRequest:
		return nil, b.AlterTopic(ctx, s, r)
	case *quicproto.ListOffsetsRequest:
		return b.ListOffsets(ctx, s, r)
	case *quicproto.InitProducerIDRequest:
		return b.InitProducerID(ctx, s, r)
	default:
		return ss.askGroups(ctx, body)
	}
}

// askGroups is ask for requests about consumer groups.
func (ss *session) askGroups(ctx context.Context, body quicproto.RequestBody) (quicproto.Body, error) {
	b, s := ss.srv.cfg.Broker, &ss.Session
	switch r := body.(type) {
	case *quicproto.FindCoordinatorRequest:
		return b.FindCoordinator(ctx, s, r.Group)
	case *quicproto.CommitOffsetsRequest:
		return b.CommitOffsets(ctx, s, r)
	case *quicproto.FetchOffsetsRequest:
		return b.FetchOffsets(ctx, s, r)
	case *quicproto.ListGroupsRequest:
		return b.ListGroups(ctx, s)
	case *quicproto.DescribeGroupRequest:
		return b.DescribeGroup(ctx, s, r.Group)
	case *quicproto.DeleteGroupRequest:
		return nil, b.DeleteGroup(ctx, s, r.Group)
	case *quicproto.DeleteOffsetsRequest:
		return b.DeleteOffsets(ctx, s, r)
	case *quicproto.ResetOffsetsRequest:
		return nil, b.ResetOffsets(ctx, s, r)
	default:
		return nil, mq.Errorf(mq.Internal, "API %d is parsed and not served", body.API())
	}
}
