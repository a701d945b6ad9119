package control

import (
	"context"

	"connectrpc.com/connect"

	controlpb "github.com/rustmq/rustmq/api/control/v1"
	"github.com/rustmq/rustmq/api/control/v1/controlpbconnect"
	metadatapb "github.com/rustmq/rustmq/api/metadata/v1"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
	"github.com/rustmq/rustmq/raft"
)

// maxAnswerBytes bounds an answer: a checkpoint with all that it may have, or a page of ranges, or of an image.
const maxAnswerBytes = 8 << 20

// Propose has a command decided by the leading controller, and returns when this node's image has what it did. While there is no leader it
// goes on looking for one, until ctx ends.
//
// A refusal comes back as an *mq.Error, together with the result. After an error for which Undecided is true the command may have been
// carried out; it is not proposed a second time. Errors: those of the state machine, of raft.Node.Propose, NetworkException, those of ctx.
func (c *Client) Propose(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	return c.decide(ctx, command, false)
}

// ProposeAgain is Propose for a command that does no harm twice: while answers are lost it is proposed again, with pauses, until ctx ends. After an error of no answer it may have
// been carried out.
func (c *Client) ProposeAgain(ctx context.Context, command *metadatapb.Command) (*metadatapb.Result, error) {
	return c.decide(ctx, command, true)
}

func (c *Client) decide(ctx context.Context, command *metadatapb.Command, again bool) (*metadatapb.Result, error) {
	data, err := metadata.EncodeCommand(command)
	if err != nil {
		return nil, err
	}
	encoded, index, err := c.propose(ctx, data, again)
	if err != nil {
		return nil, err
	}
	result, refused := metadata.DecodeResult(encoded)
	if err := c.reachable(index); err != nil {
		return result, err
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout) // a disk that hangs keeps this node's image where it is
	defer cancel()
	if err := c.AwaitIndex(ctx, index); err != nil {
		return result, makeUndecidedUnless(refused, err)
	}
	return result, refused
}

// reachable says why a store of this node's never gets to an index: its controller is one of those that were lost when the cluster was recovered without it.
func (c *Client) reachable(index uint64) error {
	if c.local.Load() == nil {
		return nil
	}
	if here := c.Image(); here.Index != 0 && here.Generation() < raft.Generation(index) {
		return mq.Errorf(mq.WrongDataDir, "the cluster was recovered (generation %d) without the controller of node %d, which is of generation %d: stop the node, and start it "+
			"with an empty data directory", raft.Generation(index), c.cfg.Node, here.Generation())
	}
	return nil
}

// makeUndecidedUnless is the error of a command that was decided when this node's image did not get there in time.
func makeUndecidedUnless(refused, err error) error {
	if refused != nil {
		return refused
	}
	return makeUndecided(err)
}

func (c *Client) propose(ctx context.Context, data []byte, again bool) (result []byte, index uint64, err error) {
	if l := c.local.Load(); l != nil {
		result, err := l.Propose(ctx, data)
		if unknown := Undecided(err); unknown && !again || !unknown && mq.CodeOf(err) != mq.NotController {
			return result, 0, err
		}
	}
	err = c.call(ctx, func(ctx context.Context, s controlpbconnect.ControlServiceClient) error {
		answer, err := s.Propose(ctx, connect.NewRequest(&controlpb.ProposeRequest{Command: data, ImageIndex: c.Image().Index}))
		if err == nil {
			result, index = answer.Msg.GetResult(), answer.Msg.GetIndex()
		}
		return err
	}, again)
	return result, index, err
}

// call has the leading controller do something. again: it may be done twice, so that it is tried until ctx ends when answers are lost.
func (c *Client) call(ctx context.Context, do func(context.Context, controlpbconnect.ControlServiceClient) error, again bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.stopped, cancel)()
	var p pauses
	for {
		address := c.finder.pick()
		err := do(ctx, c.service(address))
		if err == nil {
			return nil
		}
		f := failureOf(err)
		switch {
		case c.stopped.Err() != nil:
			f.err = mq.Errorf(mq.ShuttingDown, "node %d is shutting down: %w", c.cfg.Node, f.err)
			fallthrough
		case ctx.Err() != nil, !f.elsewhere, f.unknown && !again:
			if f.unknown && !again {
				f.err = makeUndecided(f.err)
			}
			return mq.Wrapf(f.err, "call the controller at %s", address)
		}
		if sleep(ctx, c.failed(&p, address, f)) != nil {
			return mq.Wrapf(f.err, "call the controller at %s", address)
		}
	}
}

// Operate has the leading controller do what an operator asks, as rustmq.admin.v1 encodes it. It must do no harm twice: while answers are lost it is asked
// again, until ctx ends. Errors are those of the operation, NetworkException, those of ctx.
func (c *Client) Operate(ctx context.Context, request []byte) (response []byte, err error) {
	err = c.call(ctx, func(ctx context.Context, s controlpbconnect.ControlServiceClient) error {
		answer, err := s.Operate(ctx, connect.NewRequest(&controlpb.OperateRequest{Request: request, ImageIndex: c.Image().Index}))
		if err == nil {
			response = answer.Msg.GetResponse()
		}
		return err
	}, true)
	return response, err
}

// Ranges is one page of the index of what the object store has of a partition: ranges that end above from, in order, at most limit, and
// perhaps fewer though there are more. None: there is nothing from there on. It is not older than this node's image, and linearizable if that
// is asked for.
func (c *Client) Ranges(ctx context.Context, p mq.PartitionID, from mq.Offset, limit int, linearizable bool) ([]metadata.Range, error) {
	if l := c.local.Load(); l != nil && !linearizable {
		return l.Store.Ranges(p, from, limit)
	}
	var answer *connect.Response[controlpb.RangesResponse]
	err := c.call(ctx, func(ctx context.Context, s controlpbconnect.ControlServiceClient) (err error) {
		answer, err = s.Ranges(ctx, connect.NewRequest(&controlpb.RangesRequest{
			Partition: nameOf(p), From: int64(from), Limit: int32(min(limit, maxRangesPage)), Freshness: c.freshness(linearizable),
		}))
		return err
	}, true)
	if err != nil {
		return nil, mq.Wrapf(err, "look up the objects of partition %s", p)
	}
	ranges := make([]metadata.Range, len(answer.Msg.GetRanges()))
	for i, r := range answer.Msg.GetRanges() {
		ranges[i] = metadata.Range{
			First: mq.Offset(r.GetRange().GetFirst()), End: mq.Offset(r.GetRange().GetEnd()), LeaderEpoch: mq.Epoch(r.GetRange().GetLeaderEpoch()),
			MinTime: r.GetRange().GetMinTime(), MaxTime: r.GetRange().GetMaxTime(), Position: r.GetRange().GetPosition(), Bytes: r.GetRange().GetBytes(),
			CRC: r.GetRange().GetCrc(), Rewrites: r.GetRange().GetRewrites(), ByKey: r.GetRange().GetByKey(), ObjectID: r.GetRange().GetObjectId(), Key: r.GetKey(), ObjectSize: r.GetObjectSize(),
		}
	}
	return ranges, nil
}

// Checkpoint is what a replica of a partition starts from at its tiered end; ok is false while nothing of it is in the object store. It is not
// older than this node's image, and linearizable if that is asked for.
func (c *Client) Checkpoint(ctx context.Context, p mq.PartitionID, linearizable bool) (point metadata.Checkpoint, ok bool, err error) {
	if l := c.local.Load(); l != nil && !linearizable {
		return l.Store.Checkpoint(p)
	}
	var answer *connect.Response[controlpb.CheckpointResponse]
	err = c.call(ctx, func(ctx context.Context, s controlpbconnect.ControlServiceClient) (err error) {
		answer, err = s.Checkpoint(ctx, connect.NewRequest(&controlpb.CheckpointRequest{Partition: nameOf(p), Freshness: c.freshness(linearizable)}))
		return err
	}, true)
	if err != nil {
		return point, false, mq.Wrapf(err, "look up the checkpoint of partition %s", p)
	}
	record := answer.Msg.GetCheckpoint()
	if record == nil {
		return point, false, nil
	}
	point = metadata.Checkpoint{End: mq.Offset(record.GetEnd()), ProducerState: record.GetProducerState()}
	for _, e := range record.GetEpochs() {
		point.Epochs = append(point.Epochs, mq.EpochStart{Epoch: mq.Epoch(e.GetEpoch()), Start: mq.Offset(e.GetStart())})
	}
	return point, true, nil
}

// CatchUp waits until Image has all that was decided when it was called. A controller of before there was this call tells what it knows.
func (c *Client) CatchUp(ctx context.Context) error {
	var index uint64
	err := c.call(ctx, func(ctx context.Context, s controlpbconnect.ControlServiceClient) error {
		answer, err := s.Status(ctx, connect.NewRequest(&controlpb.StatusRequest{Freshness: c.freshness(true)}))
		if err == nil {
			index = answer.Msg.GetImageIndex()
		}
		return err
	}, true)
	if err != nil {
		return mq.Wrapf(err, "catch up with the controllers")
	}
	return c.AwaitIndex(ctx, index)
}

func (c *Client) freshness(linearizable bool) *controlpb.Freshness {
	return &controlpb.Freshness{Linearizable: linearizable, MinIndex: c.Image().Index}
}

func nameOf(p mq.PartitionID) *controlpb.PartitionName {
	return &controlpb.PartitionName{TopicId: p.Topic[:], Partition: p.Index}
}
