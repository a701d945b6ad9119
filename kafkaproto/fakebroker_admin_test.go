package kafkaproto

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/rustmq/rustmq/mq"
)

// fakeAdmin is what fakeBroker keeps for administration. The broker's mutex guards it.
type fakeAdmin struct {
	denied   error             // what AuthoriseCluster says, and nothing else asks
	settings map[string]string // of the topics by name and setting, as "t retention.ms"
	cluster  map[string]string // of the cluster

	created     []*NewTopic
	moves       []Reassignment
	reassigning []Reassigning
	producers   []ProducerState
	elected     Elected
	quorum      Quorum
	quorumErr   error
	stall       chan struct{} // CreateTopic waits for it, if it is set
	unheard     []string      // topics that are made by CatchUp, with one partition each
	caughtUp    int           // how often it was called
}

func (b *fakeBroker) Knows(_ *Session, name string, id mq.TopicID) bool {
	if name == "" {
		_, ok := b.TopicName(id)
		return ok
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.topics[name] != nil
}

func (b *fakeBroker) CatchUp(context.Context) {
	b.mu.Lock()
	unheard := b.admin.unheard
	b.admin.unheard, b.admin.caughtUp = nil, b.admin.caughtUp+1
	b.mu.Unlock()
	for _, name := range unheard {
		b.make(name, 1)
	}
}

// alter changes what is kept.
func (b *fakeBroker) alter(f func(*fakeAdmin)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.admin)
}

// state is a copy of what is kept.
func (b *fakeBroker) state() fakeAdmin {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.admin
	a.settings, a.created, a.moves = maps.Clone(a.settings), slices.Clone(a.created), slices.Clone(a.moves)
	return a
}

func (b *fakeBroker) AuthoriseCluster(*Session, bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin.denied
}

func (b *fakeBroker) CreateTopic(ctx context.Context, s *Session, t *NewTopic, dry bool) (MadeTopic, error) {
	if stall := b.state().stall; stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return MadeTopic{}, mq.Wrapf(ctx.Err(), "make topic %q", t.Name)
		}
	}
	_, err := b.Topic(s, t.Name)
	switch {
	case err == nil:
		return MadeTopic{}, mq.Errorf(mq.TopicAlreadyExists, "topic %q", t.Name)
	case mq.CodeOf(err) != mq.UnknownTopicOrPartition:
		return MadeTopic{}, err
	case t.Partitions == 0, t.Partitions > 10_000:
		return MadeTopic{}, mq.Errorf(mq.InvalidPartitions, "%d partitions", t.Partitions)
	case t.Replicas > 1:
		return MadeTopic{}, mq.Errorf(mq.InvalidReplicationFactor, "there is one broker")
	}
	for _, replicas := range t.Assignments {
		if !slices.Equal(replicas, []mq.NodeID{1}) {
			return MadeTopic{}, mq.Errorf(mq.InvalidReplicationFactor, "there is one broker")
		}
	}
	made := MadeTopic{Partitions: int32(max(1, int(t.Partitions), len(t.Assignments))), Replicas: 1}
	b.mu.Lock()
	b.admin.created = append(b.admin.created, t)
	b.mu.Unlock()
	if !dry {
		made.ID = b.make(t.Name, int(made.Partitions)).id
		if err := b.AlterTopic(ctx, s, t.Name, t.Settings, false, false); err != nil {
			return MadeTopic{}, err
		}
	}
	made.Settings = b.settingsOf(t.Name)
	return made, nil
}

func (b *fakeBroker) DeleteTopic(_ context.Context, s *Session, name string, id mq.TopicID) error {
	t, err := b.Topic(s, name)
	if err != nil {
		return err
	}
	if id != (mq.TopicID{}) && id != t.ID {
		return mq.Errorf(mq.UnknownTopicID, "another")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.topics, name)
	return nil
}

func (b *fakeBroker) CreatePartitions(_ context.Context, s *Session, topic string, total int32, chosen [][]mq.NodeID, dry bool) error {
	t, err := b.Topic(s, topic)
	switch {
	case err != nil:
		return err
	case int(total) <= len(t.Partitions) || total > 1000:
		return mq.Errorf(mq.InvalidPartitions, "%d", total)
	case chosen != nil && len(chosen) != int(total)-len(t.Partitions):
		return mq.Errorf(mq.InvalidReplicationFactor, "%d assignments", len(chosen))
	case dry:
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for have := b.topics[topic]; len(have.parts) < int(total); {
		have.parts = append(have.parts, &fakePart{b: b, waiters: make(map[*fakeReader]Waiter), memory: true})
	}
	return nil
}

func (b *fakeBroker) DeleteRecords(_ context.Context, _ *Session, topic string, trims []Trim) []Trimmed {
	out := make([]Trimmed, len(trims))
	for i, t := range trims {
		p, err := b.part(topic, t.Partition)
		if err == nil && t.Before > p.end {
			err = mq.Errorf(mq.OffsetOutOfRange, "%d", t.Before)
		}
		if out[i].Err = err; err == nil {
			if out[i].LogStart = t.Before; t.Before < 0 {
				out[i].LogStart = p.end
			}
		}
	}
	return out
}

// settingsOf are the settings of a topic that need not be there.
func (b *fakeBroker) settingsOf(topic string) (list []Setting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range TopicSettings() {
		s := Setting{Name: name, Value: "d", Default: "d", Doc: "what it is"}
		if name == "cleanup.policy" {
			s.Value, s.Default = "delete", "delete"
		}
		if v, ok := b.admin.cluster[name]; ok {
			s.Cluster, s.Value = &v, v
		}
		if v, ok := b.admin.settings[topic+" "+name]; ok {
			s.Topic, s.Value = &v, v
		}
		list = append(list, s)
	}
	return list
}

func (b *fakeBroker) TopicSettings(s *Session, topic string) ([]Setting, error) {
	if _, err := b.Topic(s, topic); err != nil {
		return nil, err
	}
	return b.settingsOf(topic), nil
}

func (b *fakeBroker) ClusterSettings(*Session) ([]Setting, error) {
	list := append(b.settingsOf(""), Setting{Name: "num.partitions", Value: "4", Default: "1"})
	slices.SortFunc(list, func(x, y Setting) int { return cmp.Compare(x.Name, y.Name) })
	return list, nil
}

func (b *fakeBroker) AlterTopic(_ context.Context, s *Session, topic string, changes []Change, all, dry bool) error {
	if _, err := b.Topic(s, topic); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.admin.settings == nil {
		b.admin.settings = make(map[string]string)
	}
	for _, c := range changes {
		if c.Value == "bad" {
			return mq.Errorf(mq.InvalidConfig, "%s is bad", c.Name)
		}
	}
	if dry {
		return nil
	}
	if all {
		clear(b.admin.settings)
	}
	for _, c := range changes {
		if key := topic + " " + c.Name; c.Remove {
			delete(b.admin.settings, key)
		} else {
			b.admin.settings[key] = c.Value
		}
	}
	return nil
}

func (b *fakeBroker) TopicNames(s *Session) (names []string) {
	for _, t := range b.Topics(s) {
		names = append(names, t.Name)
	}
	return names
}

func (b *fakeBroker) LogDir() LogDir { return LogDir{Path: "/data/wal", Total: 1000, Usable: 10} }

func (b *fakeBroker) LogSizes(s *Session, want func(string, int32) bool) (sizes []LogSize) {
	for _, t := range b.Topics(s) {
		for i := range t.Partitions {
			if want(t.Name, int32(i)) {
				sizes = append(sizes, LogSize{TopicPartition{t.Name, int32(i)}, int64(100 + i), 0})
			}
		}
	}
	return sizes
}

func (b *fakeBroker) Producers(_ *Session, topic string, index int32) ([]ProducerState, error) {
	_, err := b.part(topic, index)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin.producers, nil
}

func (b *fakeBroker) ElectLeaders(_ context.Context, _ *Session, topic string, partitions []int32, _ bool) []Elected {
	out := make([]Elected, len(partitions))
	for i, index := range partitions {
		if _, err := b.part(topic, index); err != nil {
			out[i].Err = err
			continue
		}
		b.mu.Lock()
		out[i] = b.admin.elected
		b.mu.Unlock()
	}
	return out
}

func (b *fakeBroker) Unelected(*Session, bool) ([]TopicPartition, error) {
	return []TopicPartition{{"t", 0}, {"t", 1}, {"u", 0}}, nil
}

func (b *fakeBroker) Reassign(_ context.Context, _ *Session, topic string, moves []Reassignment) []error {
	out := make([]error, len(moves))
	for i, m := range moves {
		_, err := b.part(topic, m.Partition)
		switch {
		case err != nil:
			out[i] = err
		case m.Replicas == nil:
			out[i] = ErrNoReassignment
		case len(m.Replicas) > 1:
			out[i] = mq.Errorf(mq.InvalidReplicationFactor, "there is one broker")
		}
		b.mu.Lock()
		b.admin.moves = append(b.admin.moves, m)
		b.mu.Unlock()
	}
	return out
}

func (b *fakeBroker) Reassignments(*Session) ([]Reassigning, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin.reassigning, b.admin.denied
}

func (b *fakeBroker) Quorum(context.Context, *Session) (Quorum, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admin.quorum, b.admin.quorumErr
}
