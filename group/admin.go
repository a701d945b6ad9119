package group

import (
	"time"

	"github.com/rustmq/rustmq/mq"
)

func (s *Shard) list() *ListResponse {
	response := &ListResponse{}
	for _, id := range sortedKeys(s.groups) {
		response.Groups = append(response.Groups, s.groups[id].listed())
	}
	return response
}

func (g *group) listed() Listed {
	l := Listed{Group: g.id, Protocol: g.protocol, State: g.state(), Members: g.size()}
	l.ProtocolType = consumerType
	if g.classic != nil {
		l.ProtocolType = g.classic.protocolType
	}
	return l
}

func (s *Shard) found(id string) (*group, error) {
	g, ok := s.named(id)
	if !ok {
		return nil, mq.Errorf(mq.GroupIDNotFound, "there is no group %.80q", id)
	}
	return g, nil
}

func (s *Shard) describe(r *DescribeRequest) (*DescribeResponse, error) {
	g, err := s.found(r.Group)
	if err != nil {
		return nil, err
	}
	d := &DescribeResponse{Listed: g.listed()}
	if g.emptySince > 0 && g.size() == 0 {
		d.EmptySince = time.UnixMilli(g.emptySince)
	}
	if c := g.classic; c != nil {
		d.Epoch, d.Assignor, d.Leader = c.generation, c.protocol, c.leader
		for _, id := range sortedKeys(c.members) {
			m := c.members[id]
			d.Members = append(d.Members, Described{
				Member: m.id, Instance: m.instance, ClientID: m.clientID, ClientHost: m.clientHost, Classic: true, Epoch: c.generation,
				Metadata: m.metadata(c.protocol), Assignment: m.assignment,
			})
		}
		return d, nil
	}
	d.Epoch, d.TargetEpoch, d.Assignor = g.epoch, g.targetEpoch, g.assignor(s)
	for _, m := range g.byID() {
		d.Members = append(d.Members, Described{
			Member: m.id, Instance: m.instance, Rack: m.rack, ClientID: m.clientID, ClientHost: m.clientHost, Classic: m.classic != nil, Epoch: m.epoch,
			Topics: m.topics, Pattern: m.pattern, Assigned: m.assigned, Revoking: m.revoking, Target: m.target,
		})
	}
	return d, nil
}

func (s *Shard) deleteGroup(r *DeleteGroupRequest) (*DoneResponse, error) {
	g, err := s.found(r.Group)
	if err != nil {
		return nil, err
	}
	if n := g.size(); n > 0 {
		return nil, mq.Errorf(mq.NonEmptyGroup, "group %q has %d members", g.id, n)
	}
	s.forget(g)
	return &DoneResponse{}, nil
}

// deleteOffsets forgets offsets of topics that nobody subscribes to.
func (s *Shard) deleteOffsets(r *DeleteOffsetsRequest) (*DeleteOffsetsResponse, error) {
	g, err := s.found(r.Group)
	if err != nil {
		return nil, err
	}
	codes := make([]mq.Code, len(r.Topics))
	for i, t := range r.Topics {
		yes, known := g.consumes(t.Topic)
		if !known {
			return nil, mq.Errorf(mq.NonEmptyGroup, "group %q has members, and it is not known what they consume", g.id)
		}
		if yes {
			codes[i] = mq.GroupSubscribedToTopic
		}
	}
	for i, t := range r.Topics {
		if codes[i] != mq.None {
			continue
		}
		for _, index := range t.Partitions {
			if g.offsets.remove(t.Topic, index) {
				g.touchOffset(s, t.Topic, index)
			}
		}
	}
	return &DeleteOffsetsResponse{Topics: codes}, nil
}

// reset sets offsets of topics that nobody subscribes to.
func (s *Shard) reset(r *ResetRequest) (*DoneResponse, error) {
	if err := checkGroup(r.Group); err != nil {
		return nil, err
	}
	if err := checkTopicOffsets(r.Topics); err != nil {
		return nil, err
	}
	g, ok := s.named(r.Group)
	for _, t := range r.Topics {
		for _, o := range t.Offsets {
			if len(o.Metadata) > s.cfg.OffsetMetadataBytes {
				return nil, mq.Errorf(mq.OffsetMetadataTooLarge, "metadata of %d bytes, more than %d", len(o.Metadata), s.cfg.OffsetMetadataBytes)
			}
		}
		if !ok {
			continue
		}
		switch yes, known := g.consumes(t.Topic); {
		case !known:
			return nil, mq.Errorf(mq.NonEmptyGroup, "group %q has members, and it is not known what they consume", g.id)
		case yes:
			return nil, mq.Errorf(mq.GroupSubscribedToTopic, "members of group %q consume topic %q", g.id, t.Topic)
		}
	}
	if !ok {
		made, err := s.make(r.Group)
		if err != nil {
			return nil, err
		}
		g = made
	}
	for _, t := range r.Topics {
		for _, o := range t.Offsets {
			s.set(g, t.Topic, t.ID, o)
		}
	}
	return &DoneResponse{}, nil
}

func (s *Shard) topicsDeleted(r *TopicsDeletedRequest) *DoneResponse {
	gone := make(map[mq.TopicID]bool, len(r.Topics))
	for _, id := range r.Topics {
		gone[id] = !id.IsZero()
	}
	for _, id := range sortedKeys(s.groups) {
		g := s.groups[id]
		for _, topic := range sortedKeys(g.offsets.topics) {
			t := g.offsets.topics[topic]
			if !gone[t.id] {
				continue
			}
			for index := range t.at {
				g.offsets.remove(topic, index)
				g.touchOffset(s, topic, index)
			}
		}
	}
	return &DoneResponse{}
}
