package group

import (
	"maps"
	"slices"

	grouppb "github.com/rustmq/rustmq/api/group/v1"
	"github.com/rustmq/rustmq/mq"
)

// committed is what is committed of a partition.
type committed struct {
	offset   mq.Offset
	epoch    mq.Epoch
	metadata string
	commitMs int64
}

// topicOffsets are those of one incarnation of a topic.
type topicOffsets struct {
	id mq.TopicID // zero when no committer knew it
	at map[int32]committed
}

// offsets are all that a group has committed.
type offsets struct {
	topics map[string]*topicOffsets
	n      int
	bytes  int64 // that they hold
}

// set notes a commit. An id takes the place of none; what was committed under another id is of another topic.
func (o *offsets) set(topic string, id mq.TopicID, index int32, c committed) (gone []int32) {
	if o.topics == nil {
		o.topics = make(map[string]*topicOffsets)
	}
	t := o.topics[topic]
	if t == nil {
		t = &topicOffsets{id: id, at: make(map[int32]committed)}
		o.topics[topic] = t
		o.bytes += int64(topicOverhead + len(topic))
	}
	if !id.IsZero() && t.id != id {
		if !t.id.IsZero() {
			gone = slices.Sorted(maps.Keys(t.at))
			o.n -= len(t.at)
			for _, was := range t.at {
				o.bytes -= was.weight()
			}
			clear(t.at)
		}
		t.id = id
	}
	if was, ok := t.at[index]; ok {
		o.bytes -= was.weight()
	} else {
		o.n++
	}
	t.at[index] = c
	o.bytes += c.weight()
	return gone
}

func (o *offsets) remove(topic string, index int32) bool {
	t := o.topics[topic]
	if t == nil {
		return false
	}
	was, ok := t.at[index]
	if !ok {
		return false
	}
	delete(t.at, index)
	o.n--
	o.bytes -= was.weight()
	if len(t.at) == 0 {
		delete(o.topics, topic)
		o.bytes -= int64(topicOverhead + len(topic))
	}
	return true
}

func (o *offsets) apply(c *grouppb.Change) error {
	for _, t := range c.GetRemovedOffsets() {
		for _, index := range t.GetPartitions() {
			o.remove(t.GetTopic(), index)
		}
	}
	for _, t := range c.GetOffsets() {
		id, err := topicIDFrom(t.GetTopicId())
		if err != nil {
			return err
		}
		for _, c := range t.GetOffsets() {
			o.set(t.GetTopic(), id, c.GetPartition(), committed{
				offset: mq.Offset(c.GetOffset()), epoch: mq.Epoch(c.GetLeaderEpochPlusOne() - 1), metadata: c.GetMetadata(), commitMs: c.GetCommitMs(),
			})
		}
	}
	return nil
}

// commit is fenced by who the committer is, and then takes what it says, be it lower than what was.
func (s *Shard) commit(r *CommitRequest) (*CommitResponse, error) {
	if err := checkGroup(r.Group); err != nil {
		return nil, err
	}
	if err := checkTopicOffsets(r.Topics); err != nil {
		return nil, err
	}
	g, ok := s.named(r.Group)
	if err := s.mayCommit(g, r); err != nil {
		return nil, err
	}
	if !ok {
		made, err := s.make(r.Group)
		if err != nil {
			return nil, err
		}
		g = made
	}
	response := &CommitResponse{Topics: make([][]mq.Code, len(r.Topics))}
	for i, t := range r.Topics {
		response.Topics[i] = make([]mq.Code, len(t.Offsets))
		for j, o := range t.Offsets {
			if len(o.Metadata) > s.cfg.OffsetMetadataBytes {
				response.Topics[i][j] = mq.OffsetMetadataTooLarge
				continue
			}
			s.set(g, t.Topic, t.ID, o)
		}
	}
	return response, nil
}

func (s *Shard) set(g *group, topic string, id mq.TopicID, o Offset) {
	for _, index := range g.offsets.set(topic, id, o.Partition, committed{
		offset: o.Offset, epoch: o.LeaderEpoch, metadata: o.Metadata, commitMs: s.now.UnixMilli(),
	}) {
		g.touchOffset(s, topic, index)
	}
	g.touchOffset(s, topic, o.Partition)
}

// mayCommit says whether who commits is who it should be. A group that is not there is one without members.
func (s *Shard) mayCommit(g *group, r *CommitRequest) error {
	nobody := r.Member == "" && r.Generation < 0
	switch {
	case g == nil && nobody:
		return nil
	case g == nil:
		return mq.Errorf(mq.IllegalGeneration, "group %q has no members", r.Group)
	case nobody && g.size() == 0:
		return nil
	case g.protocol == ProtocolConsumer:
		return g.mayConsume(s, r.Member, r.Instance, r.Generation)
	}
	return s.mayCommitClassic(g, r)
}

// fetch gives what is committed, of the incarnation of each topic that is asked for.
func (s *Shard) fetch(r *FetchRequest) (*FetchResponse, error) {
	g, ok := s.named(r.Group)
	if r.Member != "" && ok && g.protocol == ProtocolConsumer {
		if err := g.mayConsume(s, r.Member, "", r.Generation); err != nil {
			return nil, err
		}
	}
	if r.Member != "" && !ok {
		return nil, mq.Errorf(mq.UnknownMemberID, "group %q has no members", r.Group)
	}
	if !ok {
		g = newGroup(r.Group)
	}
	response := &FetchResponse{}
	if r.Topics == nil {
		for _, topic := range sortedKeys(g.offsets.topics) {
			t := g.offsets.topics[topic]
			response.Topics = append(response.Topics, g.offsets.tell(TopicIndexes{
				Topic: topic, ID: t.id, Partitions: slices.Sorted(maps.Keys(t.at)),
			}))
		}
		return response, nil
	}
	for _, t := range r.Topics {
		response.Topics = append(response.Topics, g.offsets.tell(t))
	}
	return response, nil
}

func (o *offsets) tell(asked TopicIndexes) TopicOffsets {
	answer := TopicOffsets{Topic: asked.Topic, ID: asked.ID, Offsets: make([]Offset, len(asked.Partitions))}
	t := o.topics[asked.Topic]
	if t != nil && !asked.ID.IsZero() && !t.id.IsZero() && asked.ID != t.id {
		t = nil
	}
	for i, index := range asked.Partitions {
		answer.Offsets[i] = Offset{Partition: index, Offset: -1, LeaderEpoch: mq.NoEpoch}
		if t == nil {
			continue
		}
		if c, ok := t.at[index]; ok {
			answer.Offsets[i] = Offset{Partition: index, Offset: c.offset, LeaderEpoch: c.epoch, Metadata: c.metadata}
		}
	}
	return answer
}

// checkTopicOffsets refuses what must not get into the log.
func checkTopicOffsets(topics []TopicOffsets) error {
	n := 0
	for _, t := range topics {
		if err := checkText("topic", t.Topic, mq.MaxTopicNameBytes); err != nil {
			return err
		}
		if t.Topic == "" {
			return mq.Errorf(mq.InvalidRequest, "an offset of a topic without a name")
		}
		for _, o := range t.Offsets {
			if o.Partition < 0 || o.Offset < 0 || o.LeaderEpoch < mq.NoEpoch {
				return mq.Errorf(mq.InvalidRequest, "topic %q: partition %d, offset %d, leader epoch %d", t.Topic, o.Partition, o.Offset, o.LeaderEpoch)
			}
			if err := checkText("metadata", o.Metadata, mq.MaxGroupRecordBytes); err != nil {
				return err
			}
		}
		n += len(t.Offsets)
	}
	if n > mq.MaxOffsetsPerCommit {
		return mq.Errorf(mq.InvalidRequest, "%d offsets in one commit, more than %d", n, mq.MaxOffsetsPerCommit)
	}
	return nil
}
