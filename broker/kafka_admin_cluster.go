package broker

import (
	"cmp"
	"context"
	"slices"
	"strings"

	adminpb "github.com/rustmq/rustmq/api/admin/v1"
	"github.com/rustmq/rustmq/kafkaproto"
	"github.com/rustmq/rustmq/metadata"
	"github.com/rustmq/rustmq/mq"
)

// TopicNames implements kafkaproto.Admin.
func (k *Kafka) TopicNames(s *kafkaproto.Session) (names []string) {
	for t := range k.b.cfg.Controller.Image().Topics() {
		if k.b.authorise(as(s), OpDescribe, Resource{Topic: t.Name}) == nil {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	return names
}

// LogDir implements kafkaproto.Admin.
func (k *Kafka) LogDir() kafkaproto.LogDir { return k.log() }

// LogSizes implements kafkaproto.Admin. A mount has no log.
func (k *Kafka) LogSizes(s *kafkaproto.Session, want func(topic string, index int32) bool) (sizes []kafkaproto.LogSize) {
	if k.b.cfg.Mount != nil {
		return nil
	}
	img, may := k.b.cfg.Controller.Image(), make(map[string]bool)
	for id, part := range k.b.cfg.Partitions.Table().All() {
		t := img.Topic(id.Topic)
		if t == nil || !want(t.Name, id.Index) {
			continue
		}
		allowed, asked := may[t.Name]
		if !asked {
			allowed = k.b.authorise(as(s), OpDescribe, Resource{Topic: t.Name}) == nil
			may[t.Name] = allowed
		}
		if allowed {
			bytes, behind := part.Held()
			sizes = append(sizes, kafkaproto.LogSize{TopicPartition: kafkaproto.TopicPartition{Topic: t.Name, Partition: id.Index}, Bytes: bytes, Lag: behind})
		}
	}
	slices.SortFunc(sizes, func(x, y kafkaproto.LogSize) int {
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return sizes
}

// Producers implements kafkaproto.Admin.
func (k *Kafka) Producers(s *kafkaproto.Session, topic string, index int32) ([]kafkaproto.ProducerState, error) {
	if err := k.b.authorise(as(s), OpRead, Resource{Topic: topic}); err != nil {
		return nil, err
	}
	_, part, err := k.b.running(topic, index)
	if err != nil {
		return nil, err
	}
	known, err := part.Producers()
	states := make([]kafkaproto.ProducerState, len(known))
	for i, p := range known {
		states[i] = kafkaproto.ProducerState{ID: p.ID, Epoch: p.Epoch, LastSequence: p.LastSequence, LastTime: p.LastUse}
	}
	return states, err
}

// ElectLeaders implements kafkaproto.Admin.
func (k *Kafka) ElectLeaders(ctx context.Context, s *kafkaproto.Session, topic string, partitions []int32, unclean bool) []kafkaproto.Elected {
	out := make([]kafkaproto.Elected, len(partitions))
	err := k.b.authorise(as(s), OpAlter, Resource{})
	for from := 0; from < len(partitions); from += maxElections {
		chunk := partitions[from:min(from+maxElections, len(partitions))]
		switch {
		case err != nil:
			for i := range chunk {
				out[from+i].Err = err
			}
		case unclean:
			for i, index := range chunk {
				out[from+i] = k.electUnclean(ctx, topic, index)
			}
		default:
			k.electPreferred(ctx, topic, chunk, out[from:])
		}
	}
	return out
}

// electPreferred has the preferred leaders of a topic's partitions lead them.
func (k *Kafka) electPreferred(ctx context.Context, topic string, partitions []int32, out []kafkaproto.Elected) {
	resp, err := k.b.electLeaders(ctx, k.b.cfg.Controller.Image(), &adminpb.ElectLeadersRequest{Topic: topic, Partitions: partitions})
	for i := range partitions {
		if err != nil {
			out[i].Err = err
			continue
		}
		o := resp.GetOutcomes()[i]
		out[i] = kafkaproto.Elected{Before: mq.NodeID(o.GetBefore()), After: mq.NodeID(o.GetAfter())}
		if o.GetCode() != 0 {
			out[i].Err = mq.Errorf(mq.Code(o.GetCode()), "%s", o.GetMessage())
		}
	}
}

// electUnclean has a partition without a leader led by who may lack what was acknowledged.
func (k *Kafka) electUnclean(ctx context.Context, topic string, index int32) kafkaproto.Elected {
	img := k.b.cfg.Controller.Image()
	t := img.TopicByName(topic)
	if t == nil {
		return kafkaproto.Elected{Err: unknownTopic(topic)}
	}
	p := t.Partition(index)
	if p == nil {
		return kafkaproto.Elected{Err: unknownPartition(topic, index, t.Partitions())}
	}
	if p.Leader != mq.NoNode {
		return kafkaproto.Elected{Before: p.Leader, After: p.Leader}
	}
	resp, err := k.b.electUnclean(ctx, t, &adminpb.ElectLeadersRequest{Topic: topic, Partitions: []int32{index}, Unclean: true})
	if mq.CodeOf(err) == mq.InvalidRequest { // nobody can, or somebody without loss, whom the controllers are about to elect
		err = mq.Errorf(mq.LeaderNotAvailable, "%w", err)
	}
	if err != nil {
		return kafkaproto.Elected{Before: mq.NoNode, After: mq.NoNode, Err: err}
	}
	return kafkaproto.Elected{Before: mq.NoNode, After: mq.NodeID(resp.GetOutcomes()[0].GetAfter())}
}

// Unelected implements kafkaproto.Admin.
func (k *Kafka) Unelected(s *kafkaproto.Session, unclean bool) (list []kafkaproto.TopicPartition, err error) {
	if err := k.b.authorise(as(s), OpAlter, Resource{}); err != nil {
		return nil, err
	}
	img := k.b.cfg.Controller.Image()
	for _, t := range topicsByName(img) {
		for i, p := range t.All() {
			leader, err := img.Preferred(t, p)
			if unclean && p.Leader != mq.NoNode || !unclean && (err != nil || leader == p.Leader) {
				continue
			}
			if len(list) == maxElections {
				return list, nil
			}
			list = append(list, kafkaproto.TopicPartition{Topic: t.Name, Partition: i})
		}
	}
	return list, nil
}

func topicsByName(img *metadata.Image) []*metadata.Topic {
	return slices.SortedFunc(img.Topics(), func(a, b *metadata.Topic) int { return strings.Compare(a.Name, b.Name) })
}

// Reassign implements kafkaproto.Admin.
func (k *Kafka) Reassign(ctx context.Context, s *kafkaproto.Session, topic string, moves []kafkaproto.Reassignment) []error {
	out := make([]error, len(moves))
	err := k.b.authorise(as(s), OpAlter, Resource{})
	t := k.b.cfg.Controller.Image().TopicByName(topic)
	if err == nil && t == nil {
		err = unknownTopic(topic)
	}
	var wanted []*adminpb.PartitionMove
	var at []int // of each of them
	for i, m := range moves {
		if out[i] = err; err == nil {
			out[i] = checkMove(t, m)
		}
		if out[i] == nil {
			wanted, at = append(wanted, &adminpb.PartitionMove{Topic: topic, Partition: m.Partition, Replicas: nodeNumbers(m.Replicas)}), append(at, i)
		}
	}
	for from := 0; from < len(wanted); from += maxMoves {
		chunk := wanted[from:min(from+maxMoves, len(wanted))]
		resp, err := k.b.movePartitions(ctx, &adminpb.MovePartitionsRequest{Moves: chunk})
		for j := range chunk {
			if out[at[from+j]] = err; err != nil {
				continue
			}
			if o := resp.GetOutcomes()[j]; o.GetCode() != 0 {
				code := mq.Code(o.GetCode())
				out[at[from+j]] = mq.Errorf(code, "topic %q: %s", topic, strings.TrimPrefix(o.GetMessage(), code.String()+": "))
			}
		}
	}
	return out
}

// checkMove says what the controllers do not look at, or do not tell apart.
func checkMove(t *metadata.Topic, m kafkaproto.Reassignment) error {
	p := t.Partition(m.Partition)
	if p == nil {
		return unknownPartition(t.Name, m.Partition, t.Partitions())
	}
	if m.Replicas == nil {
		if p.Reassignment == nil {
			return kafkaproto.ErrNoReassignment
		}
		return nil
	}
	before := len(p.Replicas)
	if p.Reassignment != nil {
		before -= len(p.Reassignment.Adding)
	}
	if m.SameCount && len(m.Replicas) != before {
		return kafkaproto.ErrReplicaCount
	}
	return nil
}

// Reassignments implements kafkaproto.Admin.
func (k *Kafka) Reassignments(s *kafkaproto.Session) (list []kafkaproto.Reassigning, err error) {
	if err := k.b.authorise(as(s), OpDescribe, Resource{}); err != nil {
		return nil, err
	}
	for _, t := range topicsByName(k.b.cfg.Controller.Image()) {
		for i, p := range t.All() {
			if p.Reassignment != nil {
				list = append(list, kafkaproto.Reassigning{
					TopicPartition: kafkaproto.TopicPartition{Topic: t.Name, Partition: i},
					Replicas:       p.Replicas, Adding: p.Reassignment.Adding, Removing: p.Removing(),
				})
			}
		}
	}
	return list, nil
}

// Quorum implements kafkaproto.Admin.
func (k *Kafka) Quorum(ctx context.Context, s *kafkaproto.Session) (kafkaproto.Quorum, error) {
	if err := k.b.authorise(as(s), OpDescribe, Resource{}); err != nil {
		return kafkaproto.Quorum{}, err
	}
	resp, err := k.b.cfg.Operations.AskController(ctx, &adminpb.Request{Kind: &adminpb.Request_RaftStatus{RaftStatus: &adminpb.RaftStatusRequest{}}})
	if err != nil {
		return kafkaproto.Quorum{}, err
	}
	return quorumOf(k.b.cfg.Controller.Image(), resp.GetRaftStatus()), nil
}

// quorumOf is the status of raft. Only the leader knows how far the others have the log.
func quorumOf(img *metadata.Image, status *adminpb.RaftStatusResponse) kafkaproto.Quorum {
	q := kafkaproto.Quorum{Leader: mq.NoNode, Term: status.GetTerm(), Committed: status.GetCommit()}
	for _, m := range status.GetMembers() {
		if m.GetRaftId() == status.GetLeader() {
			q.Leader = mq.NodeID(m.GetNodeId())
		}
	}
	knows := int32(q.Leader) == status.GetAnsweredBy()
	for _, m := range status.GetMembers() {
		member := kafkaproto.QuorumMember{Node: mq.NodeID(m.GetNodeId()), Address: m.GetAddress(), Voter: m.GetRole() == "voter", End: -1}
		if knows {
			member.End = int64(m.GetMatch())
		}
		if c := img.Controller(m.GetRaftId()); c != nil {
			member.Dir = c.Dir
		}
		q.Members = append(q.Members, member)
	}
	slices.SortStableFunc(q.Members, func(a, b kafkaproto.QuorumMember) int { return cmp.Compare(a.Node, b.Node) })
	return q
}
