package control

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// service is a controller as nodes call it.
type service struct{ c *Controller }

// fail is an error as it is answered.
func (s service) fail(err error) error {
	leads, _ := s.c.cfg.Group.Leadership()
	return answer(err, leads)
}

// admit finds who calls, and refuses who is not a node of the cluster.
func (s service) admit(ctx context.Context) (mq.NodeID, error) {
	if s.c.stopped.Err() != nil {
		return mq.NoNode, mq.Errorf(mq.ShuttingDown, "controller %d is shutting down", s.c.cfg.Node)
	}
	peer, ok := s.c.cfg.Peer(ctx)
	if !ok {
		return mq.NoNode, mq.Errorf(mq.ClusterAuthorizationFailed, "only nodes of the cluster may call a controller")
	}
	return peer, nil
}

// admitAs is admit for a message that names its sender.
func (s service) admitAs(ctx context.Context, claimed int32) error {
	peer, err := s.admit(ctx)
	if err == nil && peer != mq.NodeID(claimed) {
		err = mq.Errorf(mq.ClusterAuthorizationFailed, "node %d speaks as node %d", peer, claimed)
	}
	return err
}

// lives refuses a caller who goes by an image of a later generation: this controller is one of those that were lost, and whatever it decides is void.
func (s service) lives(theirs uint64) error {
	ours := s.c.cfg.Store.Image()
	if raft.Generation(theirs) <= ours.Generation() {
		return nil
	}
	return mq.Errorf(mq.NotController, "controller %d is of generation %d, and the cluster was recovered without it: it is at generation %d now", s.c.cfg.Node,
		ours.Generation(), raft.Generation(theirs))
}

func (s service) notLeading() error {
	leads, _ := s.c.cfg.Group.Leadership()
	if leads.Leader == mq.NoNode || leads.Leader == s.c.cfg.Node {
		return mq.Errorf(mq.NotController, "controller %d does not lead; nobody is known to", s.c.cfg.Node)
	}
	return mq.Errorf(mq.NotController, "controller %d does not lead, controller %d at %s does", s.c.cfg.Node, leads.Leader, leads.Address)
}

// Propose implements the service.
func (s service) Propose(ctx context.Context, req *connect.Request[controlpb.ProposeRequest]) (*connect.Response[controlpb.ProposeResponse], error) {
	peer, err := s.admit(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	if err := errors.Join(checkProposer(peer, req.Msg.GetCommand()), s.lives(req.Msg.GetImageIndex())); err != nil {
		return nil, s.fail(err)
	}
	result, err := s.c.cfg.Group.Propose(ctx, req.Msg.GetCommand())
	if err != nil {
		return nil, s.fail(err)
	}
	// The command is in the image by now; later ones may be as well.
	return connect.NewResponse(&controlpb.ProposeResponse{Result: result, Index: s.c.cfg.Store.Image().Index}), nil
}

// Operate implements the service. Whether the operator may do it, the node that was asked has decided.
func (s service) Operate(ctx context.Context, req *connect.Request[controlpb.OperateRequest]) (*connect.Response[controlpb.OperateResponse], error) {
	if _, err := s.admit(ctx); err != nil {
		return nil, s.fail(err)
	}
	if err := s.lives(req.Msg.GetImageIndex()); err != nil {
		return nil, s.fail(err)
	}
	if leads, _ := s.c.cfg.Group.Leadership(); !leads.Leading {
		return nil, s.fail(s.notLeading())
	}
	if s.c.cfg.Operate == nil {
		return nil, s.fail(mq.Errorf(mq.InvalidRequest, "controller %d can be asked for no operation", s.c.cfg.Node))
	}
	response, err := s.c.cfg.Operate(ctx, req.Msg.GetRequest())
	if err != nil {
		return nil, s.fail(err)
	}
	return connect.NewResponse(&controlpb.OperateResponse{Response: response}), nil
}

// checkProposer sees to it that a broker speaks for itself only, in the commands in which a broker does.
func checkProposer(peer mq.NodeID, data []byte) error {
	command := &metadatapb.Command{}
	if err := proto.Unmarshal(data, command); err != nil {
		return mq.Errorf(mq.InvalidRequest, "not a metadata command")
	}
	var claimed int32
	switch c := command.GetKind().(type) {
	case *metadatapb.Command_RegisterBroker:
		claimed = c.RegisterBroker.GetNodeId()
	case *metadatapb.Command_RegisterController:
		claimed = c.RegisterController.GetController().GetNodeId()
	case *metadatapb.Command_CommitObject:
		claimed = c.CommitObject.GetNodeId()
	default:
		return nil
	}
	if mq.NodeID(claimed) != peer {
		return mq.Errorf(mq.ClusterAuthorizationFailed, "node %d proposes a command of node %d", peer, claimed)
	}
	return nil
}

// Heartbeat implements the service. It ends when the broker's stream does, or with the first heartbeat that this controller cannot answer.
func (s service) Heartbeat(ctx context.Context, stream *connect.BidiStream[controlpb.HeartbeatRequest, controlpb.HeartbeatResponse]) error {
	number, last := s.c.streams.Add(1), heartbeat{node: mq.NoNode}
	defer func() {
		if last.node != mq.NoNode {
			s.c.mu.Lock()
			s.c.judge.broke(s.c.now(), last.node, last.epoch, number)
			s.c.mu.Unlock()
			s.c.nudge()
		}
	}()
	for {
		m, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := s.admitAs(ctx, m.GetNodeId()); err != nil {
			return s.fail(err)
		}
		if err := s.lives(m.GetImageIndex()); err != nil {
			return s.fail(err)
		}
		last = heartbeat{
			node: mq.NodeID(m.GetNodeId()), epoch: m.GetBrokerEpoch(), stream: number, image: m.GetImageIndex(), leaving: m.GetWantsShutdown(),
		}
		response, err := s.hear(last)
		if err != nil {
			return s.fail(err)
		}
		response.Number = m.GetNumber()
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (s service) hear(h heartbeat) (*controlpb.HeartbeatResponse, error) {
	c := s.c
	leads, _ := c.cfg.Group.Leadership()
	img := c.cfg.Store.Image()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !leads.Leading || !c.judge.leading || c.term != leads.Term {
		return nil, s.notLeading()
	}
	before := c.judge.brokers[h.node]
	news := before == nil || before.leaving != h.leaving
	lease, fenced, err := c.judge.hear(c.now(), h, img)
	if err != nil {
		return nil, err
	}
	if news {
		c.nudge()
	}
	return &controlpb.HeartbeatResponse{
		LeaseMs: int64(lease / time.Millisecond), Fenced: fenced, MayShutDown: h.leaving && mayStop(img, h.node),
	}, nil
}

// mayStop says whether a broker that wants to leave has given up all that others can take.
func mayStop(img *metadata.Image, node mq.NodeID) bool {
	b := img.Broker(node)
	return b != nil && b.ShuttingDown && len(metadata.PlanShutdown(img, node, 1)) == 0
}

// Watch implements the service. A watcher that reads slowly is sent the difference to the latest image when it has taken what was
// sent before; nothing waits for it meanwhile.
func (s service) Watch(ctx context.Context, req *connect.Request[controlpb.WatchRequest], stream *connect.ServerStream[controlpb.WatchResponse]) error {
	if err := s.admitAs(ctx, req.Msg.GetNodeId()); err != nil {
		return s.fail(err)
	}
	if err := s.lives(req.Msg.GetHave()); err != nil {
		return s.fail(err)
	}
	watch := s.c.cfg.Store.Watch()
	defer watch.Close()
	ticker := time.NewTicker(s.c.cfg.Timing.KeepAlive)
	defer ticker.Stop()
	sent, quiet := s.c.imageAt(req.Msg.GetHave()), true
	for {
		leads, changed := s.c.cfg.Group.Leadership()
		switch {
		case s.c.stopped.Err() != nil:
			return s.fail(mq.Errorf(mq.ShuttingDown, "controller %d is shutting down", s.c.cfg.Node))
		case !leads.Leading:
			return s.fail(s.notLeading())
		}
		if img := watch.Image(); sent == nil || img.Index > sent.Index {
			for page := range metadata.ImagePages(sent, img) {
				if err := stream.Send(&controlpb.WatchResponse{Page: page}); err != nil {
					return err
				}
			}
			sent, quiet = img, false
		}
		if quiet {
			if err := stream.Send(&controlpb.WatchResponse{}); err != nil {
				return err
			}
		}
		quiet = false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.c.stopped.Done():
		case <-changed:
		case <-watch.C():
		case <-ticker.C:
			quiet = true
		}
	}
}

// imageAt is the image with this index, if it was seen lately; else nil.
func (c *Controller) imageAt(index uint64) *metadata.Image {
	if index == 0 {
		return nil
	}
	if img := c.cfg.Store.Image(); img.Index == index {
		return img
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, img := range c.recent {
		if img.Index == index {
			return img
		}
	}
	return nil
}
